"""Proxies, DNS, connections and trusted certificates for all requests that Portico sends.

The environment selects the proxy for a URL. aiohttp's `trust_env` would do that too. But aiohttp also sends credentials from
`~/.netrc` to every host with an entry there, and a `default` entry matches every host. And if aiohttp cannot use the proxy, it
connects directly without a warning.

`HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` work as in curl (curl(1), ENVIRONMENT): the lower-case name takes precedence, an
empty value means no proxy, and `ALL_PROXY` is used if the URL's scheme has no variable. `NO_PROXY` lists hosts, domains,
addresses and networks, each with an optional port, as in curl and Go's golang.org/x/net/http/httpproxy.

DNS lookups run on daemon threads. With asyncio's default executor, a command that failed because there is no network could not
exit until the DNS lookup times out.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import os
import re
import select
import socket
import ssl
import stat
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary, WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from portico.errors import NetworkError
from portico.net.errors import CertificatesUnreadable, ProxyUnusable
from portico.paths import UnknownHome, expand_home
from portico.secret import Secret
from portico.urls import is_loopback
from portico.util.files import read_file
from portico.util.threads import off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aiohappyeyeballs import AddrInfoType
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

FILE_ENV: Final = "PORTICO_PROXY_FILE"
"""The path of a file with proxy variables as `NAME=value` lines.

A service uses this file for a proxy with a password, because the service's unit file must not contain a password.
"""
VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
"""The variables that name a proxy."""

CERTIFICATES_ENV: Final = "SSL_CERT_FILE"
_CERTIFICATES_FOLDER_ENV: Final = "SSL_CERT_DIR"
_MOST_CERTIFICATES: Final = 16 << 20  # bytes; a system's own file has about 250 KB
_NAMES: Final = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
_SETTINGS: Final = "the system's settings"
_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65_535
_LARGEST: Final = 64 * 1024
_OTHER_KINDS: Final = frozenset({"https", "socks", "socks4", "socks4a", "socks5", "socks5h"})
# A scheme, or the user before a password. At least two letters: a single letter is a Windows drive.
_SCHEME: Final = re.compile(r"[^/\\:]{2,}:")
_PLACE: Final = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<host>[A-Za-z0-9._\-\u0080-\uffff]*))(?::(?P<port>[^:\[\]]*))?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: its URL without credentials, and the credentials."""

    url: str
    user: str | None = None
    password: Secret | None = None

    def headers(self) -> dict[str, str]:
        """The headers that only the proxy gets (RFC 9110 section 11.7.2)."""
        if self.user is None:
            return {}
        pair = f"{self.user}:{self.password.reveal() if self.password else ''}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def proxy_for(url: str, env: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for `url` from `env`, else from the system's settings; None for a direct connection.

    Connections to this machine are always direct, even without `NO_PROXY`.

    Raises:
        NetworkError: `proxy-unusable`, with the variable and the reason, never with a password.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if is_loopback(host):
        return None
    env = _with_file(env)
    _, without = _variable(env, "no_proxy") or ("", "")
    if goes_direct(host, parts.port or _PORTS.get(parts.scheme, 0), without):
        return None
    if not any(_variable(env, name) for name in _NAMES if name != "no_proxy"):
        return _by_settings(parts.scheme, host)
    name, value = _variable(env, f"{parts.scheme}_proxy") or _variable(env, "all_proxy") or ("", "")
    return _read(value, name) if value else None


async def proxy_off_loop(url: str, env: Mapping[str, str] = os.environ) -> Proxy | None:
    """As `proxy_for`, but read the file in `PORTICO_PROXY_FILE` on another thread, because its disk may be slow."""
    return await off_loop(lambda: proxy_for(url, env)) if env.get(FILE_ENV) else proxy_for(url, env)


def goes_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` lists `host` and `port`.

    An entry is `*`, `host` or `.host` (this name and its subdomains), `*.host` (only its subdomains), an address, or a network
    such as `10.0.0.0/8`. Addresses and networks match only a `host` that is an IP address. A port such as `:443` may follow the
    entry; an IPv6 address then needs brackets. Entries are separated by commas or spaces. Any other entry matches nothing.
    """
    host, address = host.lower(), _address(host)
    return any(
        entry == "*" or (of_port in {None, port} and _lists(entry, host, address))
        for entry, of_port in map(_entry, no_proxy.lower().replace(",", " ").split())
    )


def problems(env: Mapping[str, str] = os.environ) -> Iterator[NetworkError]:
    """One error for each unusable proxy variable that is in effect in `env`."""
    try:
        env = _with_file(env)
    except NetworkError as error:
        yield error
        return
    effective = (_variable(env, name) or _variable(env, "all_proxy") for name in ("https_proxy", "http_proxy"))
    for variable, value in dict.fromkeys(filter(None, effective)):
        try:
            if value:
                _read(value, variable)
        except NetworkError as error:
            yield error


def effective_variables(env: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables and `NO_PROXY` that are in effect in `env`, each under its name in `env`.

    Empty values, which mean no proxy, are included. The file in `PORTICO_PROXY_FILE` is not read.
    """
    return dict(filter(None, (_variable(env, name) for name in _NAMES)))


def sets_proxy(env: Mapping[str, str]) -> bool:
    """Whether `env` sets a proxy variable, even to an empty value. `NO_PROXY` alone does not count."""
    return FILE_ENV in env or any(name in VARIABLES for name in effective_variables(env))


def proxy_file_path(env: Mapping[str, str]) -> Path | None:
    """The path in `PORTICO_PROXY_FILE` of `env`; None if the variable is not set.

    Raises:
        NetworkError: `proxy-unusable`: the value is a URL, looks like a proxy's address, or begins with an unknown home folder.
            The error does not show the value, because it may contain a password.
    """
    value = env.get(FILE_ENV)
    if not value:
        return None
    hint = f"Write the URL into a file of mode 600, as HTTPS_PROXY=http://proxy.example:3128, and set {FILE_ENV} to its path."
    why = "it is a URL" if "://" in value else _address_reason(value, env)
    if why is not None:
        raise ProxyUnusable(f"{FILE_ENV} is not the path of a file.", why=why, unsent=True, hint=hint)
    try:
        return expand_home(value, FILE_ENV, env).absolute()
    except UnknownHome as error:
        raise _unusable_file(Path(value), str(error)) from None


def _address_reason(value: str, env: Mapping[str, str]) -> str | None:
    """Why `value` looks like a proxy's address instead of a path, such as `user:password@host:3128`; None if it does not."""
    if not ("@" in value or _SCHEME.match(value)):
        return None
    with contextlib.suppress(UnknownHome):
        if os.path.exists(expand_home(value, FILE_ENV, env)):  # noqa: PTH110 - Path.exists raises for an impossible file name
            return None
    return "it looks like a proxy's address, not like a path (the value may contain a password, so it is not shown)"


def file_variables(env: Mapping[str, str], path: Path) -> dict[str, str]:
    """The variables of the file at `path` that `env` does not set, in upper or lower case.

    Each line must be `NAME=value` with the name of a proxy variable, or empty, or begin with `#`. At least one value must be a
    proxy: an empty or misspelt file would silently bypass the proxy.

    Raises:
        NetworkError: `proxy-unusable`: the file is missing or invalid, or other users may read or write it.
    """
    own = {name.lower() for name in env}
    return {name: value for name, value in _file(path).items() if name.lower() not in own}


def may_hold_password(value: str) -> bool:
    """Whether a variable's value may hold credentials of a proxy. True for a value that cannot be parsed.

    Also true for a value with a path, query or fragment: a proxy's address has no use for them, so they may be a token.
    """
    if not value:
        return False
    try:
        has_user = _read(value, "").user is not None
    except NetworkError:
        return True
    return has_user or not re.fullmatch(r"[^/?#]*/?", value.partition("://")[2] or value)


def _with_file(env: Mapping[str, str]) -> Mapping[str, str]:
    """Return `env`, plus the variables that only the file in `PORTICO_PROXY_FILE` sets.

    Raises:
        NetworkError: `proxy-unusable`, as `proxy_file_path` and `file_variables`.
    """
    path = proxy_file_path(env)
    return env if path is None else {**file_variables(env, path), **env}


def _file(path: Path) -> dict[str, str]:

    def check(fd: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable_file(path, "it is not a plain file")
        if os.name == "posix" and (status.st_mode & 0o077 or status.st_uid not in {os.geteuid(), 0}):
            hint = f"chmod 600 {quote(str(path))}" if status.st_uid == os.geteuid() else None
            raise _unusable_file(path, "others may read it or write to it", hint)

    try:
        lines = read_file(path, _LARGEST, follow=False, check=check).decode().splitlines()
    except OSError as error:
        raise _unusable_file(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _unusable_file(path, "it is not UTF-8 text") from None
    variables = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator or name not in VARIABLES:  # the error does not show the line, because it may contain a password
            raise _unusable_file(path, f"line {number} is not NAME=value with one of the names {', '.join(VARIABLES)}")
        variables[name] = value
    if not any(value.strip() for value in variables.values()):
        raise _unusable_file(path, "there is no proxy in it")
    return variables


def _unusable_file(path: Path, why: str, hint: str | None = None) -> NetworkError:
    hint = hint or f"Write it again with mode 600, as HTTPS_PROXY=http://proxy.example:3128, or unset {FILE_ENV}."
    return ProxyUnusable(f"The file in {FILE_ENV} cannot be used: {path}", why=why, unsent=True, hint=hint)


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """The variable in effect for `name`: its name in `env`, and its value without surrounding spaces.

    In a CGI program `HTTP_PROXY` is ignored: there a request's `Proxy` header sets it (httpoxy, CVE-2016-1000110).
    """
    for written in (name, name.upper()):
        if written in env and not (written == "HTTP_PROXY" and "REQUEST_METHOD" in env):
            return written, env[written].strip()
    return None


def _by_settings(scheme: str, host: str) -> Proxy | None:
    """The proxy in the system's settings. `getproxies` would ignore these settings if `NO_PROXY` alone is set."""
    for system in ("macosx_sysconf", "registry"):
        proxies, bypass = (getattr(urllib.request, f"{name}_{system}", None) for name in ("getproxies", "proxy_bypass"))
        if proxies is not None and bypass is not None:
            named = proxies().get(scheme)
            return _read(named.strip(), _SETTINGS) if named and not bypass(host) else None
    return None


def _read(value: str, variable: str) -> Proxy:
    if not value.isprintable() or any(character.isspace() for character in value):
        raise _unusable(variable, "it has a space in it, or a character that no address has")
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
    if scheme.lower() != "http":
        raise _unusable(variable, _why_not_this_kind(scheme.lower()))
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        raise _unusable(variable, "there is a '/', '?' or '#' before the '@'; in a password, write them as %2F, %3F and %23")
    # The last `@` ends the credentials, as in curl, because a password may contain an unescaped `@`.
    credentials, separator, place = authority.rpartition("@")
    user, has_secret, secret = credentials.partition(":")
    return Proxy(
        url=_place(place, variable),
        user=unquote(user) if separator else None,
        password=Secret(unquote(secret)) if has_secret else None,
    )


def _place(text: str, variable: str) -> str:
    """The URL of `host:port`. Not parsed by urlsplit, because Python's versions accept different text after a bracket."""
    found = _PLACE.fullmatch(text)
    if found is None:
        brackets = text.count("[") != text.count("]") or text.find("[") > text.find("]")
        raise _unusable(variable, "its square brackets do not match" if brackets else "it is not a host and a port")
    host, port = found["address"] or found["host"], found["port"]
    if not host:
        raise _unusable(variable, "it names no host")
    if found["address"] is not None and not isinstance(_address(host), ipaddress.IPv6Address):
        raise _unusable(variable, "there is no IPv6 address between its brackets")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= _LAST_PORT):
        raise _unusable(variable, f"its port is not a number from 1 to {_LAST_PORT}")
    return f"http://{f'[{host}]' if found['address'] is not None else host}:{int(port or 80)}"


def _why_not_this_kind(scheme: str) -> str:
    if scheme in _OTHER_KINDS:
        return f"it is a proxy of kind {scheme}; only plain HTTP proxies are supported"
    return "there is no http before its '://'; only plain HTTP proxies are supported"


def _unusable(variable: str, why: str) -> NetworkError:
    place = variable if variable == _SETTINGS else f"the variable {variable}"
    change = "Change them" if variable == _SETTINGS else f"Set {variable}"
    return ProxyUnusable(
        f"The proxy in {place} cannot be used.",
        why=f"{variable}: {why}",  # names the variable, because some messages show only the reason
        unsent=True,
        hint=f"{change} to a proxy such as http://proxy.example:3128, or list the host in NO_PROXY to go there directly.",
    )


def _entry(text: str) -> tuple[str, int | None]:
    """Split an entry of `NO_PROXY` into the entry without its port, and the port (None: every port)."""
    host, separator, port = text.rpartition(":")
    is_port = separator and port.isascii() and port.isdigit()
    if not is_port or (":" in host and not host.endswith("]")):  # the colons of an address without brackets
        return text.removeprefix("[").removesuffix("]"), None
    return host.removeprefix("[").removesuffix("]"), int(port)


def _lists(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    below = entry.removeprefix("*").rstrip(".")
    name = below.removeprefix(".")
    if not name or "*" in name:
        return False
    return host.endswith(f".{name}") or (host == name and not entry.startswith("*"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def trusted_certificates(env: Mapping[str, str]) -> ssl.SSLContext:
    """The TLS context with the certificate authorities of this machine, or of the file in `SSL_CERT_FILE` of `env`. Blocking.

    Raises:
        NetworkError: `certificate-refused`: the file cannot be read or is endless. For a FIFO, OpenSSL would wait forever.
    """
    named = env.get(CERTIFICATES_ENV)
    try:
        if named:
            read_file(named, _MOST_CERTIFICATES)
    except FileNotFoundError:
        pass  # then no server is trusted, and each request fails with that reason
    except OSError as error:
        message = f"The certificates in {named} cannot be read."
        hint = f"Point {CERTIFICATES_ENV} at a file of certificates, or unset it."
        raise CertificatesUnreadable(message, unsent=True, why=error.strerror, hint=hint) from None
    if all(env.get(name) == os.environ.get(name) for name in (CERTIFICATES_ENV, _CERTIFICATES_FOLDER_ENV)):
        return ssl.create_default_context()
    # OpenSSL reads these variables only from the process's environment, not from `env`.
    usual = ssl.get_default_verify_paths()
    context = ssl.create_default_context(capath=env.get(_CERTIFICATES_FOLDER_ENV) or usual.openssl_capath)
    with contextlib.suppress(FileNotFoundError, ssl.SSLError):  # as OpenSSL does: without certificates no server is trusted
        context.load_verify_locations(cafile=named or usual.openssl_cafile)
    return context


_AddressInfo = Any  # typeshed uses a private union of tuples here


class DaemonResolver(AbstractResolver):
    """DNS lookups by the system, each on a daemon thread."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        try:
            found = await off_loop(
                lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            )
        except UnicodeError:
            raise OSError("the name cannot be looked up") from None
        return [_result(host, info) for info in found]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _result(host: str, info: _AddressInfo) -> ResolveResult:
    family, _, proto, _, address = info
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=int(str(address[1])),
        family=family,
        proto=proto,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


IDLE_S: Final = 15.0
"""How long an idle connection may be reused, in seconds."""
_LOOP_PASSES: Final = 20  # passes of the event loop to wait until asyncio closes an ended socket; usually three are enough
_SURELY_SENT: Final = 64 << 10


class ConnectedBody(aiohttp.Payload):
    """A request's body with the connection that sends it."""

    protocol: ResponseHandler | None = None


class Connections(aiohttp.TCPConnector):
    """A pool of at most `limit` connections (0: no limit).

    An idle connection is checked before each use. `close` closes every socket: aiohttp ends a TLS connection with a
    close_notify and does not wait for the server's (RFC 8446 section 6.1), so it could leave a socket open if the server is
    slow.
    """

    def __init__(self, *, limit: int) -> None:
        self._opened: WeakSet[socket.socket] = WeakSet()
        self._arrivals: WeakKeyDictionary[ResponseHandler, Callable[[int], object]] = WeakKeyDictionary()
        super().__init__(resolver=DaemonResolver(), limit=limit, keepalive_timeout=IDLE_S, socket_factory=self._new_socket)

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's name
        """Return a connection for `req`.

        A pooled connection is reused only if it is open and idle and nothing has arrived on it.
        """
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                return connection
            arrived = self._arrivals.get(protocol)
            if arrived is None:
                self._arrivals[protocol] = _arrivals(protocol)
                if protocol.closed is not None:
                    protocol.closed.add_done_callback(_retrieve_exception)
            # aiohttp would read arrived bytes as the next response
            elif protocol.should_close or _is_unsent(protocol) or arrived(0):
                protocol.abort()
                connection.close()
                continue
            body = req.body
            if isinstance(body, ConnectedBody):
                body.protocol = protocol
                if req.is_ssl() and (body.size or 0) > _SURELY_SENT:
                    # A response may come before the whole request is sent. The TLS layer does not show how much of the request
                    # it still has to send, and would send the rest before the next request.
                    protocol.force_close()
            return connection

    def _new_socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._opened.add(made)
        return made

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, even if its server reads nothing and does not respond to the close."""
        closing = super().close(abort_ssl=abort_ssl)
        await self._wait_for_close()
        for opened in self._still_open():
            try:
                # After this, asyncio reads the end of the connection and closes the socket.
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # not connected, or ended by the server
        await self._wait_for_close()
        await closing

    async def _wait_for_close(self) -> None:
        for _ in range(_LOOP_PASSES):
            if not self._still_open():
                return
            await asyncio.sleep(0)

    def _still_open(self) -> list[socket.socket]:
        return [opened for opened in self._opened if opened.fileno() != -1]


def _retrieve_exception(closed: asyncio.Future[None]) -> None:
    """Retrieve a connection's error, so that asyncio does not log it. The request gets its own error."""
    if not closed.cancelled():
        closed.exception()


def _is_unsent(protocol: ResponseHandler) -> bool:
    """Whether a pooled connection has unsent data."""
    return protocol.transport is None or protocol.transport.get_write_buffer_size() > 0


def _arrivals(protocol: ResponseHandler) -> Callable[[int], object]:
    """Return a function that tests, without waiting, if unread bytes have arrived on a connection."""
    opened: Any = None if protocol.transport is None else protocol.transport.get_extra_info("socket")
    if opened is None:
        return lambda _ms: False
    if not hasattr(select, "poll"):  # Windows
        return lambda _ms: select.select([opened], [], [], 0)[0]
    poller = select.poll()
    poller.register(opened, select.POLLIN)
    return poller.poll
