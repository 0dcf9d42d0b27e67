"""Failures of the network in the user's words."""

from __future__ import annotations

import os
import ssl
from typing import Final

import aiohttp

from portico.errors import NetworkError
from portico.oauth.urls import without_query
from portico.paths import EMULATOR_ENV

_OFFLINE: Final = "Check the connection and HTTPS_PROXY; `{prog} doctor` asks each server that is in use."
_EMULATOR_AWAY: Final = "This shell uses the emulator, which does not answer. Start it again: `{prog} emulator run`."

# Each of these ends the attempt while the connection is being made.
_BEFORE_SENDING: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientSSLError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


def network_error(error: Exception, url: str) -> NetworkError:
    """What a failure of aiohttp, of TLS or of the socket means for the user. `url` is shown without its query."""
    where, unsent = without_query(url), isinstance(error, _BEFORE_SENDING)
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return NetworkError(
            "certificate-refused",
            "The server's certificate cannot be trusted.",
            unsent=unsent,
            why=_certificate_reason(error),
            where=where,
            hint="If your network replaces certificates, point SSL_CERT_FILE at its authority.",
        )
    why = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
    return NetworkError("network", "The server cannot be reached.", unsent=unsent, why=why, where=where, hint=offline_hint())


def offline_hint() -> str:
    """What helps if a server cannot be reached, or, in a shell that is pointed at the emulator, if the emulator cannot."""
    return _EMULATOR_AWAY if EMULATOR_ENV in os.environ else _OFFLINE


def _certificate_reason(error: Exception) -> str:
    inner = getattr(error, "certificate_error", error)
    return str(getattr(inner, "verify_message", "") or "TLS failed")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "the connection failed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it hung up"
    return "the exchange broke off"
