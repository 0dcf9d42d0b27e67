"""Network errors: the reason of a failed request, and whether the request may be sent again."""

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
"""How many bytes of an error's body are read."""
FORBIDDEN_BODY_S: Final = 10.0
"""Seconds to wait for the body of a 403.

The body of a 403 shows whether a refresh can help; for other errors the status is enough.
"""
_OFFLINE: Final = "Check the connection and HTTPS_PROXY; `{prog} doctor` asks each server that is in use."
_EMULATOR_AWAY: Final = "This shell uses the emulator, which does not answer. Start it again: `{prog} emulator run`."


class RedirectRefused(NetworkError):
    """The server answered with a redirect, which is never followed with a credential."""

    id = "reply-unreadable"


class ReplyTooLong(NetworkError):
    """The response is too long for a token response."""

    id = "reply-unreadable"


class CertificatesUnreadable(NetworkError):
    """The file that SSL_CERT_FILE names cannot be read."""

    id = "certificate-refused"


class RequestRefused(NetworkError):
    """A header of the request contains a line break, so nothing was sent."""

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
    """The server may have handled the request, but its response did not arrive."""

    id = "answer-unknown"


class AnswerUnknown(AnswerMissing):
    """The request was sent and no complete response came. The provider may have handled and billed it.

    Such a POST must not be sent to the same provider again (RFC 9110 section 9.2.2).
    """

    def __init__(self, why: str | None, *, timed_out: bool = False) -> None:
        super().__init__("The connection broke after the request was sent.", why=why)
        self.timed_out = timed_out


class AnswerCut(NetworkError):
    """The connection broke in the middle of a response. `timed_out`: the server sent nothing for too long."""

    id = "answer-cut"

    def __init__(self, why: str | None, *, timed_out: bool = False) -> None:
        super().__init__("The answer broke off.", why=why)
        self.timed_out = timed_out


def after_head(error: NetworkError) -> AnswerUnknown:
    """The error for a response that broke off before any part was used."""
    return AnswerUnknown(error.why, timed_out=isinstance(error, AnswerCut) and error.timed_out)


def post_error(error: Exception, url: str, *, written: bool, env: Mapping[str, str] | None = None) -> NetworkError:
    """The error for a failed POST: `AnswerUnknown`, unless it is certain that no byte was `written`."""
    failed = network_error(error, url, unsent=not written, env=env)
    return failed if failed.unsent else AnswerUnknown(failed.why, timed_out=isinstance(error, TimeoutError))


def answer_cut(error: Exception, url: str) -> AnswerCut:
    """The error for a body that ended early because of `error`."""
    return AnswerCut(network_error(error, url).why, timed_out=isinstance(error, TimeoutError))


def header_breaks() -> NetworkError:
    """The error for a request with a line break in a header."""
    why = "it comes from the provider's key or from its headers in the configuration"
    return RequestRefused("A header of the request holds a line break.", why=why, unsent=True)


def network_error(error: Exception, url: str, *, unsent: bool = False, env: Mapping[str, str] | None = None) -> NetworkError:
    """The error for an exception of aiohttp, TLS or the socket. `url` is shown without its query.

    `unsent`: no byte of the request was written. Exceptions that only occur while connecting also show this. `env` is the
    environment for the hint; None means the process's environment.
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
    """The hint for an unreachable server, or for an unreachable emulator if this shell uses the emulator."""
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
        # The message of asyncio repeats the address, so the text for the error number is used.
        number = error.os_error.errno
        return os.strerror(number) if number else error.os_error.strerror or "the connection failed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it hung up"
    return "the exchange broke off"
