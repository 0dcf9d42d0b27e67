"""What a failed request means, and whether the same request may be sent again."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError
from portico.paths import EMULATOR_ENV
from portico.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_LIMIT: Final = 64 * 1024
"""Bytes of an error's body that are read."""
FORBIDDEN_BODY_S: Final = 10.0
"""Seconds for the body of a 403, which tells whether a refresh would help; the status of another error tells that alone."""
_OFFLINE: Final = "Check the connection and HTTPS_PROXY; `{prog} doctor` asks each server that is in use."
_EMULATOR_AWAY: Final = "This shell uses the emulator, which does not answer. Start it again: `{prog} emulator run`."


class RedirectRefused(NetworkError):
    """The server answered with a redirect, which is never followed with a credential."""

    id = "reply-unreadable"


class ReplyTooLong(NetworkError):
    """The answer is longer than any token reply."""

    id = "reply-unreadable"


class CertificatesUnreadable(NetworkError):
    """The file that SSL_CERT_FILE names cannot be read."""

    id = "certificate-refused"


class RequestRefused(NetworkError):
    """A header of the request would break out of its line, so nothing was sent."""

    id = "request-refused"


class Unreachable(NetworkError):
    """The server cannot be reached."""

    id = "network"


class CertificateRefused(NetworkError):
    """The server's certificate cannot be trusted."""

    id = "certificate-refused"


class ProxyUnusable(NetworkError):
    """The proxy that the environment names cannot be used, so nothing was sent."""

    id = "proxy-unusable"


class AnswerMissing(NetworkError):
    """A server may have answered, and the answer did not arrive."""

    id = "answer-unknown"


class AnswerUnknown(AnswerMissing):
    """The request was sent and no whole answer came, so the provider may have answered it, and may bill it.

    Such a POST must not be sent to the same provider again (RFC 9110 section 9.2.2).
    """

    def __init__(self, why: str | None, *, timed_out: bool = False) -> None:
        super().__init__("The connection broke after the request was sent.", why=why)
        self.timed_out = timed_out


class AnswerCut(NetworkError):
    """An answer broke off after its head. `timed_out`: nothing more of it came for too long."""

    id = "answer-cut"

    def __init__(self, why: str | None, *, timed_out: bool = False) -> None:
        super().__init__("The answer broke off.", why=why)
        self.timed_out = timed_out


def after_head(error: NetworkError) -> AnswerUnknown:
    """What it means that an answer breaks off before anything of it could be passed on."""
    return AnswerUnknown(error.why, timed_out=isinstance(error, AnswerCut) and error.timed_out)


def post_error(error: Exception, url: str, *, written: bool, env: Mapping[str, str] | None = None) -> NetworkError:
    """What the failure of a POST means: `AnswerUnknown` unless it is certain that no byte of it was `written`."""
    failed = network_error(error, url, unsent=not written, env=env)
    return failed if failed.unsent else AnswerUnknown(failed.why, timed_out=isinstance(error, TimeoutError))


def answer_cut(error: Exception, url: str) -> AnswerCut:
    """The error for a body that ended early because of `error`."""
    return AnswerCut(network_error(error, url).why, timed_out=isinstance(error, TimeoutError))


def header_breaks() -> NetworkError:
    """The error for a request with a header that would break out of its line."""
    why = "it comes from the provider's key or from its headers in the configuration"
    return RequestRefused("A header of the request holds a line break.", why=why, unsent=True)


def network_error(error: Exception, url: str, *, unsent: bool = False, env: Mapping[str, str] | None = None) -> NetworkError:
    """What a failure of aiohttp, of TLS or of the socket means for the user. `url` is shown without its query.

    `unsent`: nothing of the request was written. A failure that can only come while the connection is made says so itself.
    `env` is the environment that the hint is for; None is the process's.
    """
    import aiohttp

    before_sending = (
        aiohttp.ClientConnectorError,
        aiohttp.ClientSSLError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.InvalidURL,
    )
    where, unsent = without_query(url), unsent or isinstance(error, before_sending)
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return CertificateRefused(
            "The server's certificate cannot be trusted.",
            unsent=unsent,
            why=_certificate_reason(error),
            where=where,
            hint="If your network replaces certificates, point SSL_CERT_FILE at its authority.",
        )
    why = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
    return Unreachable("The server cannot be reached.", unsent=unsent, why=why, where=where, hint=_offline_hint(env))


def _offline_hint(env: Mapping[str, str] | None) -> str:
    """What helps if a server cannot be reached, or, in a shell that is pointed at the emulator, if the emulator cannot."""
    return _EMULATOR_AWAY if EMULATOR_ENV in (os.environ if env is None else env) else _OFFLINE


def _certificate_reason(error: Exception) -> str:
    inner = getattr(error, "certificate_error", error)
    return str(getattr(inner, "verify_message", "") or "TLS failed")


def _reason(error: Exception) -> str:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError):
        # asyncio's own text repeats the address; the number behind it says what happened.
        number = error.os_error.errno
        return os.strerror(number) if number else error.os_error.strerror or "the connection failed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it hung up"
    return "the exchange broke off"
