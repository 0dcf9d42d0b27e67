"""Checks which URLs are safe to request, to show to a user, or to open in a browser.

A config file may contain any URL, and so may an authorization server's metadata. CVE-2025-6514 (mcp-remote) and CVE-2026-4519
(CPython's webbrowser) show what a URL can do on its way to a browser. So this is an allow-list: https with a real host, http for
loopback only, and no character that is special to a shell, a terminal or a launcher.

Model servers may also use plain http in the local network (`nearby`), as LM Studio and Ollama do.
The config check, the loader and the HTTP client use this module.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from portico.errors import ConfigError

_MAX_LENGTH: Final = 8192
_URL: Final = re.compile(r"https?://[A-Za-z0-9\-._~:/?&=%+,@\[\]]+")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_PORT: Final = 65535
# Names outside public DNS: RFC 6761, RFC 6762, RFC 8375, and those of routers and container networks.
_NEARBY_NAMES: Final = (".localhost", ".local", ".lan", ".home", ".internal", ".home.arpa")
# RFC 1918 and RFC 4193. Without link-local addresses: clouds serve a machine's own credentials there (CWE-918), and
# OpenClaw rejects them too (https://docs.openclaw.ai/gateway/config-tools/custom-providers).
_NEARBY_NETWORKS: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
# The credential services of two clouds, at an address and a name that are not link-local.
_METADATA: Final = frozenset({"fd00:ec2::254", "metadata.google.internal"})
_ENDPOINT: Final = re.compile(r"(?:(?:/chat)?/completions|/responses|(?:/v1)?/messages)/*\Z")
_SCHEME: Final = re.compile(r"\Ahttps?(?=:)", re.IGNORECASE)


class EndpointRefused(ConfigError):
    """A URL in the config or in a server's metadata is not safe for a sign-in or a request."""

    id = "endpoint-refused"


def why_not_a_safe_url(url: object, *, nearby: bool = False) -> str | None:
    """Return why `url` is not safe to request or open, without quoting it; None if it is safe.

    `nearby` also allows plain http to hosts in the local network (`is_nearby`).
    """
    if not isinstance(url, str) or not url:
        return "it is empty or not text"
    if len(url) > _MAX_LENGTH:
        return "it is too long"
    if not url.startswith(("https://", "http://")):
        return "it is not an https URL"
    if not _URL.fullmatch(url):
        return "it has characters that are not allowed"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it cannot be parsed"
    return _why_not_these(parts, port, nearby=nearby)


def check_endpoint_url(url: object, name: str = "endpoint", *, nearby: bool = False) -> str:
    """Return `url` if it is safe to request or open (`why_not_a_safe_url`).

    Raises:
        ConfigError: `endpoint-refused`. The error does not quote the URL, because the text of a URL can deceive the reader.
    """
    return usable(url, why_not_a_safe_url(url, nearby=nearby), name)


def usable(url: object, why_not: str | None, name: str) -> str:
    """Return `url`. If `why_not` is a reason, raise the same error as `check_endpoint_url`; its message calls the URL `name`."""
    if why_not is not None or not isinstance(url, str):
        raise EndpointRefused(
            f"The {name} is not a URL that can be used safely.",
            why=why_not,
            hint="Correct this URL or `issuer` in the provider's settings: `{prog} config edit`. Do not sign in before that.",
        )
    return url


def _why_not_these(parts: SplitResult, port: int | None, *, nearby: bool) -> str | None:
    host = parts.hostname or ""
    if "@" in parts.netloc:
        return "it has a user name"
    if port is not None and not 1 <= port <= _MAX_PORT:
        return "its port is out of range"
    if "[" in parts.path or "[" in parts.query or "]" in parts.path or "]" in parts.query:
        return "it has characters that are not allowed"
    if not _is_host(host):
        return "its host is not a host name or an IP address"
    if parts.scheme == "http" and not (is_nearby(host) if nearby else is_loopback(host)):
        return f"it is not https, and its host is not {'in the local network' if nearby else 'this machine'}"
    return None


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback IP literal. A name such as `127.evil.com` is neither."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_nearby(host: str) -> bool:
    """Whether `host` is loopback, an address of the local network, or a name outside public DNS."""
    if host in _METADATA:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_NEARBY_NAMES)
    return address.is_loopback or any(address in network for network in _NEARBY_NETWORKS)


def normalised_base_url(text: str) -> str:
    """Return the URL `text` without spaces around it and with its scheme in lower case (RFC 3986 section 3.1)."""
    return _SCHEME.sub(lambda scheme: scheme[0].lower(), text.strip())


def why_not_a_base_url(url: str) -> str | None:
    """Return why `url` cannot be an API base URL of models, without quoting it; None if it can."""
    why = why_not_a_safe_url(url, nearby=True)
    if why is not None:
        return why
    if "?" in url:
        return "it has a query"
    return "it ends with the path of one endpoint, which Portico adds itself" if endpoint_end(url) else None


def endpoint_end(url: str) -> str | None:
    """Return the endpoint's path at the end of `url`, such as `/chat/completions`. An API base URL must not have such an end."""
    found = _ENDPOINT.search(url)
    return found[0] if found is not None else None


def is_in_the_clear(url: str) -> bool:
    """Whether others in the network can read requests to `url`, because it is plain http to another machine."""
    return url.startswith("http://") and not is_loopback(urlsplit(url).hostname or "")


def _is_host(host: str) -> bool:
    if ":" in host:
        return "%" not in host and _is_ip(host)
    labels = host.split(".")
    # If the last label is a number, resolvers read the whole host as an IPv4 address, with octal and hexadecimal parts.
    if labels[-1].isdigit() or labels[-1].lower().startswith("0x"):
        return _is_ip(host)
    return all(_LABEL.fullmatch(label) for label in labels)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def without_query(url: str) -> str:
    """Return `url` for an error message: without query, fragment and user name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def why_not_named_by(namer: str, url: object) -> str | None:
    """Return why `url`, found in a response of the server at `namer`, is not safe to request or open; None if it is safe.

    Only a server that itself uses plain http, so on this machine, may name a plain http URL. Otherwise a server elsewhere could
    make Portico or the browser send requests to any program on this machine.
    """
    why = why_not_a_safe_url(url)
    if why is None and str(url).startswith("http://") and not namer.startswith("http://"):
        return "it is not https, and the server that names it is not on this machine"
    return why
