"""Which URLs may be sent a request, shown to a person or handed to a browser.

A configuration may hold any URL, and an authorization server may name any in its metadata; CVE-2025-6514 (mcp-remote) and
CVE-2026-4519 (CPython's webbrowser) show what a URL can do on its way to a browser. So the rule is an allow-list: plain https
with a real host, http for loopback only, and no character that any shell, terminal or launcher reads as its own.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_MAX_LENGTH: Final = 8192
_URL: Final = re.compile(r"https?://[A-Za-z0-9\-._~:/?&=%+,@\[\]]+")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_PORT: Final = 65535
_NEARBY_NAMES: Final = (".localhost", ".local", ".lan", ".home", ".internal", ".home.arpa")


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
        return f"it is not https, and its host is not {'near' if nearby else 'this machine'}"
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
    """Whether `host` is loopback, a private address, or a name that public DNS does not have (RFC 6761, 6762, 8375)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_NEARBY_NAMES)
    return address.is_private and not address.is_link_local


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
