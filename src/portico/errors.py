"""The errors that a user can act on.

    PorticoError                 id, what, why, where, what to do next, exit code
     +-- InternalError           1    a bug
     +-- UsageError              2    the command line does not make sense
     |    +-- NameTaken          2    the name is already in use
     |    +-- UnknownName        2    nothing has this name
     +-- SignInNeeded            3    no usable credential
     +-- Denied                  4    the user or the provider denied access
     +-- TimedOut                5    the user did not approve in time
     +-- NoWayToSignIn           6    no sign-in flow can run on this machine
     +-- StoreError              7    the keyring, the encrypted file or the profile index failed
     |    +-- StoreUnknown       7    a write timed out: it may or may not have happened
     +-- NetworkError            8    the network or the server failed; trying again may help
     |    +-- OAuthError         8    the authorization server answered with an error (RFC 6749 section 5.2)
     +-- ConfigError             9    a config file or a plugin is invalid
     +-- LockBusy               10    another process holds the lock
     +-- NotRevoked             11    signed out here; not revoked at the provider

A leaf class is defined beside the code that raises it, and has an `id`. Code branches on the class, never on the id. The id is
for scripts and for `explain`. Classes with the same advice share an id. A leaf class takes the message alone:
`KeyringLocked("...")`. A class of this tree without an id takes an id first: `OAuthError("some-id", "...")`; plugins do this for
their own errors.

An exception outside this tree is a bug and is shown with its traceback. Hints name commands as `{prog} ...`; `{prog}` is
replaced by the program name that the user typed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Error = TypeVar("_Error", bound="PorticoError")
# The OAuth error codes that end a profile: RFC 6749 section 5.2, RFC 6750 section 3.1, OpenID Connect Core section 3.1.2.6, and
# GitHub's code for a spent refresh token. Any other response may come from a firewall or a busy server.
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

# The hint for a plugin's bug.
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
        id: the stable kebab-case name of the failure, for documentation and scripts.
        message: what went wrong, one sentence.
        why: the cause, if known.
        where: `file:line:column` or a URL without its query.
        hint: what to do next; `{prog}` stands for the program name.

    Raises:
        TypeError: neither the class nor the call has an id.
    """

    id: str
    exit_code: ClassVar[int] = ExitCode.INTERNAL
    # Whether the provider page quotes the message. Then the printed line starts with the message, so that a search finds it.
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
        """Return the `error` object of `--json` output."""
        optional = {"why": self.why, "where": self.where, "hint": self.hint_for(program)}
        optional_fields = {name: value for name, value in optional.items() if value is not None}
        return {"id": self.id, "message": self.message, "exitCode": self.exit_code, **optional_fields}

    def copy(self) -> Self:
        """Return the error without its traceback and cause, so that it can be raised again."""
        duplicate = _unfilled(type(self), self.args)
        duplicate.__dict__.update(self.__dict__)
        return duplicate

    def __reduce__(self) -> tuple[Callable[..., PorticoError], tuple[object, ...], dict[str, object]]:
        return _unfilled, (type(self), self.args), self.__dict__  # the constructors of leaf classes differ

    def hint_for(self, program: str) -> str | None:
        """Return the hint with the program's name for `{prog}`."""
        return self.hint.replace("{prog}", program) if self.hint is not None else None


def _unfilled(kind: type[_Error], args: tuple[object, ...]) -> _Error:
    return kind.__new__(kind, *args)


class InternalError(PorticoError):
    """A bug, in this program or in a plugin."""

    id = "internal-error"


def internal_error(exc: BaseException) -> PorticoError:
    """Return the error for an unexpected exception. Its text is left out: it may contain a secret."""
    hint = "This is a bug. Please report it, with the archive from: {prog} doctor --bundle report.tar.gz"
    return InternalError(f"Internal error: {type(exc).__name__}.", hint=hint)


def error_location(exc: BaseException) -> str:
    """Return an exception's class and position, without its text: `TypeError at dialect.py:12`."""
    import traceback

    frames = traceback.extract_tb(exc.__traceback__)
    location = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119 - no more imports
    return f"{type(exc).__name__}{location}"


def frames_of(exc: BaseException) -> str:
    """Return an exception's traceback for a log, a line per call, without its text: that may quote a token."""
    import traceback

    return "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(exc.__traceback__))


class UsageError(PorticoError):
    """The command line does not make sense. A leaf class has its own id if its page says more than the message."""

    id = "usage"
    exit_code = ExitCode.USAGE


class NameTaken(UsageError):
    """The name is already in use."""

    id = "name-taken"


class UnknownName(UsageError):
    """Nothing has this name. The hint suggests a similar name, or the command that lists them."""

    id = "unknown-name"


class SignInNeeded(PorticoError):
    """No usable credential: the user must sign in."""

    exit_code = ExitCode.SIGN_IN_NEEDED


class Denied(PorticoError):
    """The user or the provider denied access."""

    exit_code = ExitCode.DENIED


class TimedOut(PorticoError):
    """The user did not approve in time."""

    exit_code = ExitCode.TIMED_OUT


class NoWayToSignIn(PorticoError):
    """No sign-in flow can run: the server offers none, or this machine lacks what it needs."""

    exit_code = ExitCode.NO_WAY_TO_SIGN_IN


class StoreError(PorticoError):
    """The keyring, the encrypted file or the profile index failed."""

    exit_code = ExitCode.STORE_FAILED


class StoreUnknown(StoreError):
    """A write timed out: it may or may not have happened."""


class NetworkError(PorticoError):
    """The network or the server failed; a retry may help.

    Attributes:
        unsent: the request was certainly not sent: no name, no connection or no TLS. Otherwise it is possible that the server has
        acted on the request.
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
        code: the `error` value (RFC 6749 section 5.2, RFC 8628 section 3.5), or None.
        retry_after: the seconds that the server asked to wait, or None.
        transient: whether the same request may succeed later.
        ends_grant: whether the server has ended the profile of the refresh token: only a new sign-in can help.
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
    """A config file or a plugin is invalid."""

    exit_code = ExitCode.CONFIG


class LockBusy(PorticoError):
    """Another process did not release the lock in time."""

    id = "lock-busy"
    exit_code = ExitCode.LOCK_BUSY


class NotRevoked(PorticoError):
    """You are signed out on this machine, but the provider has not revoked the tokens."""

    id = "not-revoked"
    exit_code = ExitCode.NOT_REVOKED
