"""Which URLs may be sent a request, shown to a person or handed to a browser.

A configuration may hold any URL, and an authorization server may name any in its metadata; CVE-2025-6514 (mcp-remote) and
CVE-2026-4519 (CPython's webbrowser) show what a URL can do on its way to a browser. So the rule is an allow-list: plain https
with a real host, http for loopback only, and no character that any shell, terminal or launcher reads as its own.

A model server is allowed one thing more: plain http in the local network (`nearby`), where LM Studio and Ollama are used so.
The config check, the loader and the HTTP client all ask here.
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
# Names that public DNS does not have: RFC 6761, RFC 6762, RFC 8375, and what routers and container networks use.
_NEARBY_NAMES: Final = (".localhost", ".local", ".lan", ".home", ".internal", ".home.arpa")
# RFC 1918 and RFC 4193. Link-local addresses are none of them: clouds serve a machine its own credentials there (CWE-918), and
# OpenClaw refuses them too (https://docs.openclaw.ai/gateway/config-tools/custom-providers).
_NEARBY_NETWORKS: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
# The same service of two clouds, under an address and a name that are not link-local.
_METADATA: Final = frozenset({"fd00:ec2::254", "metadata.google.internal"})
_ENDPOINT: Final = re.compile(r"(?:(?:/chat)?/completions|/responses|(?:/v1)?/messages)/*\Z")
_SCHEME: Final = re.compile(r"\Ahttps?(?=:)", re.IGNORECASE)


class EndpointRefused(ConfigError):
    """A URL of the settings or of the metadata is not safe for a sign-in or a request."""

    id = "endpoint-refused"


def why_not_a_safe_url(url: object, *, nearby: bool = False) -> str | None:
    """Why `url` may not be requested or opened, in a few words that hold nothing of it; None where it may.

    `nearby` allows plain http also to the hosts that only the local network has (`is_nearby`).
    """
    if not isinstance(url, str) or not url:
        return "it is empty or not text"
    if len(url) > _MAX_LENGTH:
        return "it is too long"
    if not url.startswith(("https://", "http://")):
        return "it is not an https URL"
    if not _URL.fullmatch(url):
        return "it holds characters that no such URL needs"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it cannot be parsed"
    return _why_not_these(parts, port, nearby=nearby)


def check_endpoint_url(url: object, name: str = "endpoint", *, nearby: bool = False) -> str:
    """`url`, if it may be requested or opened; `nearby` is that of `why_not_a_safe_url`.

    Raises:
        ConfigError: `endpoint-refused`. The URL itself is not repeated: it may be made to fool the reader.
    """
    return usable(url, why_not_a_safe_url(url, nearby=nearby), name)


def usable(url: object, why_not: str | None, name: str) -> str:
    """`url`, the `name` of which is for a person, unless there is a reason `why_not`. Raises as `check_endpoint_url`."""
    if why_not is not None or not isinstance(url, str):
        raise EndpointRefused(
            f"The {name} is not a URL that can be used safely.",
            why=why_not,
            hint="Correct it, or `issuer`, in the provider's settings: `{prog} config edit`. Do not sign in there as it is.",
        )
    return url


def _why_not_these(parts: SplitResult, port: int | None, *, nearby: bool) -> str | None:
    host = parts.hostname or ""
    if "@" in parts.netloc:
        return "it carries a user name"
    if port is not None and not 1 <= port <= _MAX_PORT:
        return "its port is out of range"
    if "[" in parts.path or "[" in parts.query or "]" in parts.path or "]" in parts.query:
        return "it holds characters that no such URL needs"
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
    """Whether `host` is loopback, an address of the local network, or a name that public DNS does not have."""
    if host in _METADATA:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_NEARBY_NAMES)
    return address.is_loopback or any(address in network for network in _NEARBY_NETWORKS)


def normalised_base_url(text: str) -> str:
    """`text` without blanks around it and with its scheme in small letters, which is the same URL (RFC 3986 section 3.1)."""
    return _SCHEME.sub(lambda scheme: scheme[0].lower(), text.strip())


def why_not_a_base_url(url: str) -> str | None:
    """Why `url` cannot be the API base of models, in a few words that hold nothing of it; None where it can."""
    why = why_not_a_safe_url(url, nearby=True)
    if why is not None:
        return why
    if "?" in url:
        return "it has a query"
    return "it is the address of one endpoint, to which requests add a path of their own" if endpoint_end(url) else None


def endpoint_end(url: str) -> str | None:
    """The end of a URL that is a whole endpoint, such as `/chat/completions`, which has no place in an API base."""
    found = _ENDPOINT.search(url)
    return found[0] if found is not None else None


def is_in_the_clear(url: str) -> bool:
    """Whether requests to `url` can be read by others who share its network: plain http to another machine."""
    return url.startswith("http://") and not is_loopback(urlsplit(url).hostname or "")


def _is_host(host: str) -> bool:
    if ":" in host:
        return "%" not in host and _is_ip(host)
    labels = host.split(".")
    # A last label that is a number makes resolvers read the whole as an IPv4 address, octal and hexadecimal parts included.
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
    """`url` as it may stand in an error: no query, no fragment, no user name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def why_not_named_by(namer: str, url: object) -> str | None:
    """Why `url`, which the server at `namer` names in an answer, may not be requested or opened; None where it may.

    Plain http is for a server that is itself met that way, on this machine: one elsewhere could make Portico, or the browser,
    knock at whatever listens here.
    """
    why = why_not_a_safe_url(url)
    if why is None and str(url).startswith("http://") and not namer.startswith("http://"):
        return "it is not https, and the server that names it is not on this machine"
    return why
