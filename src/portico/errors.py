"""Everything that can go wrong in a way a user can act on.

    PorticoError                 id, what, why, where, what to do next, exit code
     +-- InternalError           1    a bug
     +-- UsageError              2    the command line does not make sense
     |    +-- NameTaken          2    a name that something else has already
     |    +-- UnknownName        2    a name of nothing
     +-- SignInNeeded            3    no usable credential
     +-- Denied                  4    the user or the provider said no
     +-- TimedOut                5    nobody approved in time
     +-- NoWayToSignIn           6    no flow can run here
     +-- StoreError              7    the keyring, the sealed file or the profile index failed
     |    +-- StoreUnknown       7    a write timed out: it may or may not have happened
     +-- NetworkError            8    the network or the far side failed; trying again may help
     |    +-- OAuthError         8    the authorization server answered with an error (RFC 6749 section 5.2)
     +-- ConfigError             9    a configuration or plugin cannot be used as it stands
     +-- LockBusy               10    another process holds the lock
     +-- NotRevoked             11    signed out here; not revoked at the provider

A leaf class stands beside the code that raises it and has its `id`: code branches on the class, never on the id's text, which is
for scripts and for `explain`. Classes with the same advice share an id. `raise KeyringLocked("...")` takes the message alone; a
class of this tree that has no id takes one first: `OAuthError("some-id", "...")`, as a plugin does for an error of its own.

An exception outside this tree is a bug and keeps its traceback. Hints name commands as `{prog} ...`; the program name that the
user typed is put in when the error is shown.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Error = TypeVar("_Error", bound="PorticoError")
# The words of an authorization server that end a stored sign-in: RFC 6749 section 5.2, RFC 6750 section 3.1, OpenID Connect Core
# section 3.1.2.6, and GitHub's for a spent refresh token. Whatever else comes may be a firewall's or a busy server's.
ENDS_A_GRANT: Final = frozenset(
    {
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_token",
        "bad_refresh_token",
        "interaction_required",
        "login_required",
        "consent_required",
    }
)

# What to do about a mistake of a plugin's.
REPORT_TO_AUTHOR: Final = "Report this to the author of the provider's plugin: `{prog} plugins list` shows which one it is."


class ExitCode:
    """The exit codes of every command. `models status --check` alone keeps OpenClaw's 1 and 2."""

    OK: Final = 0
    INTERNAL: Final = 1
    USAGE: Final = 2
    SIGN_IN_NEEDED: Final = 3
    DENIED: Final = 4
    TIMED_OUT: Final = 5
    NO_WAY_TO_SIGN_IN: Final = 6
    STORE_FAILED: Final = 7
    NETWORK: Final = 8
    CONFIG: Final = 9
    LOCK_BUSY: Final = 10
    NOT_REVOKED: Final = 11
    EXPIRING: Final = 12
    HUNG_UP: Final = 129
    INTERRUPTED: Final = 130
    TERMINATED: Final = 143


class PorticoError(Exception):
    """A failure the user can act on.

    Attributes:
        id: stable kebab-case name of the failure; documentation and scripts refer to it. A leaf class has one; an error of a
            class without gets one with the message, before it.
        message: what went wrong, one sentence.
        why: the cause, where it is known.
        where: `file:line:column` or a URL without its query.
        hint: what to do next; `{prog}` stands for the program name.

    Raises:
        TypeError: the class has no id and none was given.
    """

    id: str
    exit_code: ClassVar[int] = ExitCode.INTERNAL
    # Whether the provider page quotes the message: it then opens its line, so that a search for it finds it.
    is_quoted: ClassVar[bool] = False

    def __init__(
        self,
        id_or_message: str,
        message: str | None = None,
        /,
        *,
        why: str | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        if message is None and not hasattr(type(self), "id"):
            raise TypeError(f"{type(self).__name__} needs an id before its message")
        if message is not None:
            self.id = id_or_message
        self.message = id_or_message if message is None else message
        super().__init__(self.message)
        self.why = why
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        location = f"{self.where}: " if self.where else ""
        return f"{location}{self.message.removesuffix('.')} ({self.why})" if self.why else f"{location}{self.message}"

    def as_json(self, program: str) -> dict[str, object]:
        """The error as the `error` object of `--json` output."""
        optional = {"why": self.why, "where": self.where, "hint": self.hint_for(program)}
        optional_fields = {name: value for name, value in optional.items() if value is not None}
        return {"id": self.id, "message": self.message, "exitCode": self.exit_code, **optional_fields}

    def copy(self) -> Self:
        """The same error without its traceback and cause, to be raised once more."""
        duplicate = _unfilled(type(self), self.args)
        duplicate.__dict__.update(self.__dict__)
        return duplicate

    def __reduce__(self) -> tuple[Callable[..., PorticoError], tuple[object, ...], dict[str, object]]:
        return _unfilled, (type(self), self.args), self.__dict__  # the constructors of leaf classes differ

    def hint_for(self, program: str) -> str | None:
        """The hint with the program's name put in."""
        return self.hint.replace("{prog}", program) if self.hint is not None else None


def _unfilled(kind: type[_Error], args: tuple[object, ...]) -> _Error:
    return kind.__new__(kind, *args)


class InternalError(PorticoError):
    """A bug, in this program or in a plugin."""

    id = "internal-error"


def internal_error(exc: BaseException) -> PorticoError:
    """What is shown of an exception that nobody foresaw; its text may hold a secret, so it is left out."""
    hint = "This is a bug: please report it, with the archive that this writes: {prog} doctor --bundle report.tar.gz"
    return InternalError(f"Internal error: {type(exc).__name__}.", hint=hint)


def error_location(exc: BaseException) -> str:
    """What an exception is and where it was raised, without its text: `TypeError at dialect.py:12`."""
    import traceback

    frames = traceback.extract_tb(exc.__traceback__)
    location = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119 - no more imports
    return f"{type(exc).__name__}{location}"


def frames_of(exc: BaseException) -> str:
    """Where an exception came from, a line for each call, for a log. Its text is left out: it may quote a token."""
    import traceback

    return "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(exc.__traceback__))


class UsageError(PorticoError):
    """The command line does not make sense. A leaf class has another id where more is to be said than the message says."""

    id = "usage"
    exit_code = ExitCode.USAGE


class NameTaken(UsageError):
    """The name belongs to something else already."""

    id = "name-taken"


class UnknownName(UsageError):
    """The command line names something that does not exist; the hint names the nearest, or the command that lists them."""

    id = "unknown-name"


class SignInNeeded(PorticoError):
    """No usable credential: only a person can mend it, by signing in."""

    exit_code = ExitCode.SIGN_IN_NEEDED


class Denied(PorticoError):
    """The user, or the provider, said no."""

    exit_code = ExitCode.DENIED


class TimedOut(PorticoError):
    """Nobody approved in time."""

    exit_code = ExitCode.TIMED_OUT


class NoWayToSignIn(PorticoError):
    """No flow can run here: none is served, or what it needs is missing."""

    exit_code = ExitCode.NO_WAY_TO_SIGN_IN


class StoreError(PorticoError):
    """The keyring, the sealed file or the profile index failed."""

    exit_code = ExitCode.STORE_FAILED


class StoreUnknown(StoreError):
    """A write ran past its deadline: it may or may not have happened."""


class NetworkError(PorticoError):
    """The network or the far side failed in a way that trying again may mend.

    Attributes:
        unsent: the request is known not to have left: no name, no connection, no TLS. Otherwise it may have been received and
            acted upon, whatever came back.
    """

    exit_code = ExitCode.NETWORK

    def __init__(
        self,
        id_or_message: str,
        message: str | None = None,
        /,
        *,
        unsent: bool = False,
        why: str | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(id_or_message, message, why=why, where=where, hint=hint)
        self.unsent = unsent


class OAuthError(NetworkError):
    """The authorization server answered with an error.

    Attributes:
        code: the `error` value as RFC 6749 section 5.2 or RFC 8628 section 3.5 names it, or None where the reply had none.
        retry_after: seconds the server asked to wait, or None.
        transient: whether trying the same request again can help.
        ends_grant: whether the server has ended the sign-in whose refresh token it was sent: only a new one can help.
    """

    def __init__(
        self,
        id_or_message: str,
        message: str | None = None,
        /,
        *,
        code: str | None = None,
        transient: bool = False,
        ends_grant: bool = False,
        retry_after: float | None = None,
        why: str | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(id_or_message, message, why=why, where=where, hint=hint)
        self.code = code
        self.transient = transient
        self.ends_grant = ends_grant
        self.retry_after = retry_after


class ConfigError(PorticoError):
    """A configuration or a plugin cannot be used as it stands."""

    exit_code = ExitCode.CONFIG


class LockBusy(PorticoError):
    """Another process holds the lock and did not let go in time."""

    id = "lock-busy"
    exit_code = ExitCode.LOCK_BUSY


class NotRevoked(PorticoError):
    """Signed out on this machine; the provider has not revoked the tokens."""

    id = "not-revoked"
    exit_code = ExitCode.NOT_REVOKED
