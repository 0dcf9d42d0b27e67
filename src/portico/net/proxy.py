"""How a request leaves this machine: proxies, names looked up, connections, and trusted certificates.

The proxy is the one that the environment names for a URL; this is the one rule for everything that Portico sends. aiohttp's
`trust_env` would do this too, but it also sends the credentials of `~/.netrc` to whatever host they fit, and a `default` entry
there fits an authorization server; and it silently goes around a proxy that it cannot use.

`HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` are read as curl reads them (curl(1), ENVIRONMENT): the lower-case name comes first,
an empty value means no proxy, and `ALL_PROXY` stands for what has no variable of its own. `NO_PROXY` is a list of hosts,
domains, addresses and networks, each with a port if it is for that port alone, as curl and Go's golang.org/x/net/http/httpproxy
read it.

Names are looked up on daemon threads. asyncio uses its default executor, whose threads keep the interpreter from exiting:
without a network a failed command would hang until the resolver gives up.
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
"""Names a file of `NAME=value` lines: proxy variables with a password in them, for a service whose own file may hold none."""
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
# A scheme, or the user before a password. Not a single letter: that is a drive of Windows.
_SCHEME: Final = re.compile(r"[^/\\:]{2,}:")
_PLACE: Final = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<host>[A-Za-z0-9._\-\u0080-\uffff]*))(?::(?P<port>[^:\[\]]*))?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: its URL without credentials, and the credentials."""

    url: str
    user: str | None = None
    password: Secret | None = None

    def headers(self) -> dict[str, str]:
        """What the proxy alone is sent (RFC 9110 section 11.7.2)."""
        if self.user is None:
            return {}
        pair = f"{self.user}:{self.password.reveal() if self.password else ''}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def proxy_for(url: str, env: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for `url`, by `env`, else by the system's settings where a platform has some.

    None goes direct; a server on this machine always does, whatever `NO_PROXY` forgets to say.

    Raises:
        NetworkError: `proxy-unusable`, naming the variable and its fault and never a password.
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
    found = _variable(env, f"{parts.scheme}_proxy") or _variable(env, "all_proxy")
    return _read(found[1], found[0]) if found is not None and found[1] else None


async def proxy_off_loop(url: str, env: Mapping[str, str] = os.environ) -> Proxy | None:
    """As `proxy_for`; the file in `PORTICO_PROXY_FILE` is read on another thread, since its disk may be slow or gone."""
    return await off_loop(lambda: proxy_for(url, env)) if env.get(FILE_ENV) else proxy_for(url, env)


def goes_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` lists `host` and `port`.

    An entry is `*`, `host` or `.host` (that name and all below it), `*.host` (all below it), an address, or a network such as
    `10.0.0.0/8`, which holds for a URL with an address in it. Behind it may stand `:443`; an IPv6 address needs brackets then.
    Entries are separated by commas or spaces. One that is none of these lists nothing.
    """
    host, address = host.lower(), _address(host)
    return any(
        entry == "*" or (of_port in {None, port} and _lists(entry, host, address))
        for entry, of_port in map(_entry, no_proxy.lower().replace(",", " ").split())
    )


def problems(env: Mapping[str, str] = os.environ) -> Iterator[NetworkError]:
    """What is wrong with the variables of `env` that name a proxy, whatever is sent: one error for each that counts."""
    try:
        env = _with_file(env)
    except NetworkError as error:
        yield error
        return
    counting = (_variable(env, name) or _variable(env, "all_proxy") for name in ("https_proxy", "http_proxy"))
    for variable, value in dict.fromkeys(filter(None, counting)):
        try:
            if value:
                _read(value, variable)
        except NetworkError as error:
            yield error


def effective_variables(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of `env` about proxies that count, `NO_PROXY` with them, each under the name that it is written by.

    An empty value is among them: it means no proxy. The file in `PORTICO_PROXY_FILE` is not looked into.
    """
    return dict(filter(None, (_variable(env, name) for name in _NAMES)))


def sets_proxy(env: Mapping[str, str]) -> bool:
    """Whether `env` says by which proxy to go, be it by an empty value; `NO_PROXY` alone does not."""
    return FILE_ENV in env or any(name in VARIABLES for name in effective_variables(env))


def proxy_file(env: Mapping[str, str]) -> Path | None:
    """The file that `PORTICO_PROXY_FILE` names in `env`.

    Raises:
        NetworkError: `proxy-unusable`: it is a URL or looks like the address of a proxy, which may hold a password and is not
            shown, or it names no file.
    """
    value = env.get(FILE_ENV)
    if not value:
        return None
    hint = f"Write the URL into a file of mode 600, as HTTPS_PROXY=http://proxy.example:3128, and set {FILE_ENV} to its path."
    why = "it is a URL" if "://" in value else _why_an_address(value, env)
    if why is not None:
        raise ProxyUnusable(f"{FILE_ENV} is not the path of a file.", why=why, unsent=True, hint=hint)
    try:
        return expand_home(value, FILE_ENV, env).absolute()
    except UnknownHome as error:
        raise _unusable_file(Path(value), str(error)) from None


def _why_an_address(value: str, env: Mapping[str, str]) -> str | None:
    """Why `value` is taken for the address of a proxy: people write one without `http://`, as `user:password@host:3128`."""
    if not ("@" in value or _SCHEME.match(value)):
        return None
    with contextlib.suppress(UnknownHome):
        if os.path.exists(expand_home(value, FILE_ENV, env)):  # noqa: PTH110 - Path's own raises for a name that no file can have
            return None
    return "it looks like an address, which may hold a password and is not shown, and there is no such file"


def file_variables(env: Mapping[str, str], path: Path) -> dict[str, str]:
    """The variables of the file at `path` that `env` does not set itself, in either case.

    A file that says nothing would mean to go around the proxy in silence. So each line has to be `NAME=value` with the name of a
    proxy's variable, except an empty one and one that begins with `#`, and one of the values has to be a proxy.

    Raises:
        NetworkError: `proxy-unusable`: the file is not there, others may read it or write to it, or it is not such a file.
    """
    own = {name.lower() for name in env}
    return {name: value for name, value in _file(path).items() if name.lower() not in own}


def may_hold_password(value: str) -> bool:
    """Whether a variable's value may hold the credentials of a proxy; of one that cannot be read nobody knows.

    A path, a query or a fragment has no meaning in a proxy's address, and may be a token that its owner has put there.
    """
    if not value:
        return False
    try:
        is_named = _read(value, "").user is not None
    except NetworkError:
        return True
    return is_named or not re.fullmatch(r"[^/?#]*/?", value.partition("://")[2] or value)


def _with_file(env: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of `env`, and behind them those of the file in its `PORTICO_PROXY_FILE`.

    Raises:
        NetworkError: `proxy-unusable`, as `file_in` and `behind`.
    """
    path = proxy_file(env)
    return env if path is None else {**file_variables(env, path), **env}


def _file(path: Path) -> dict[str, str]:

    def check(fd: int) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _unusable_file(path, "it is not a plain file")
        if os.name == "posix" and (found.st_mode & 0o077 or found.st_uid not in {os.geteuid(), 0}):
            hint = f"chmod 600 {quote(str(path))}" if found.st_uid == os.geteuid() else None
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
        if not separator or name not in VARIABLES:  # the line is not shown: it may hold a password
            raise _unusable_file(path, f"line {number} is not NAME=value with one of the names {', '.join(VARIABLES)}")
        variables[name] = value
    if not any(value.strip() for value in variables.values()):
        raise _unusable_file(path, "there is no proxy in it")
    return variables


def _unusable_file(path: Path, why: str, hint: str | None = None) -> NetworkError:
    hint = hint or f"Write it anew with mode 600, as HTTPS_PROXY=http://proxy.example:3128, or unset {FILE_ENV}."
    return ProxyUnusable(f"The file in {FILE_ENV} cannot be used: {path}", why=why, unsent=True, hint=hint)


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """The variable that counts, as it is written, and its value without spaces around it.

    `HTTP_PROXY` is what a CGI server makes of a request's header `Proxy` (httpoxy, CVE-2016-1000110): it does not count in one.
    """
    for written in (name, name.upper()):
        if written in env and not (written == "HTTP_PROXY" and "REQUEST_METHOD" in env):
            return written, env[written].strip()
    return None


def _by_settings(scheme: str, host: str) -> Proxy | None:
    """The proxy of the system's settings. Not by `getproxies`, for which `NO_PROXY` alone replaces all of them."""
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
        raise _unusable(variable, "a '/', '?' or '#' stands before its '@': in a password they are written %2F, %3F and %23")
    # The last one, as everywhere: a password may hold an `@` that nobody has written as %40.
    credentials, separator, place = authority.rpartition("@")
    user, has_secret, secret = credentials.partition(":")
    return Proxy(
        url=_place(place, variable),
        user=unquote(user) if separator else None,
        password=Secret(unquote(secret)) if has_secret else None,
    )


def _place(text: str, variable: str) -> str:
    """The URL of `host:port`. Not by urlsplit, which lets through what stands behind a bracket, or not, by its version."""
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
        why=f"{variable}: {why}",  # a sign-out, for one, says why it could not revoke and nothing else
        unsent=True,
        hint=f"{change} to a proxy such as http://proxy.example:3128, or list the host in NO_PROXY to go there directly.",
    )


def _entry(text: str) -> tuple[str, int | None]:
    """An entry of `NO_PROXY` without its port, and the port; None where it is for every port."""
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
    """The authorities that this machine trusts, or those in the file that `SSL_CERT_FILE` of `env` names. Blocks: it reads files.

    Raises:
        NetworkError: `certificate-refused`: that file has no end, or cannot be read; OpenSSL would wait for a FIFO for ever.
    """
    named = env.get(CERTIFICATES_ENV)
    try:
        if named:
            read_file(named, _MOST_CERTIFICATES)
    except FileNotFoundError:
        pass  # then no server is trusted, which each request says
    except OSError as error:
        message = f"The certificates in {named} cannot be read."
        hint = f"Point {CERTIFICATES_ENV} at a file of certificates, or unset it."
        raise CertificatesUnreadable(message, unsent=True, why=error.strerror, hint=hint) from None
    if all(env.get(name) == os.environ.get(name) for name in (CERTIFICATES_ENV, _CERTIFICATES_FOLDER_ENV)):
        return ssl.create_default_context()
    # OpenSSL reads these variables of the process alone.
    usual = ssl.get_default_verify_paths()
    context = ssl.create_default_context(capath=env.get(_CERTIFICATES_FOLDER_ENV) or usual.openssl_capath)
    with contextlib.suppress(FileNotFoundError, ssl.SSLError):  # as with the process's own: a file without any trusts no server
        context.load_verify_locations(cafile=named or usual.openssl_cafile)
    return context


_AddressInfo = Any  # typeshed names a union of tuples here that no function signature can repeat


class DaemonResolver(AbstractResolver):
    """The system's own look-up, each on a daemon thread."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        try:
            found = await off_loop(
                lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            )
        except UnicodeError:
            raise OSError("the name cannot be looked up") from None
        return [_result(host, info) for info in found]

    async def close(self) -> None:
        """Nothing is kept."""


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


KEPT_S: Final = 15.0
"""Seconds for which an idle connection may be used again."""
_TURNS: Final = 20  # of the event loop, in which asyncio closes a socket that has ended; it needs about three
_SURELY_SENT: Final = 64 << 10


class ConnectedBody(aiohttp.Payload):
    """A request's body that is told by which connection it goes."""

    protocol: ResponseHandler | None = None


class Connections(aiohttp.TCPConnector):
    """At most `limit` connections at once (0: any number), and none after its end; names are looked up on daemon threads.

    aiohttp ends a TLS connection with a close_notify and forgets it (RFC 8446 section 6.1 lets a client close without waiting for
    the server's). If the server is slow to answer, the socket is still open when the client is closed, and stays open.
    """

    def __init__(self, *, limit: int) -> None:
        self._opened: WeakSet[socket.socket] = WeakSet()
        self._arrivals: WeakKeyDictionary[ResponseHandler, Callable[[int], object]] = WeakKeyDictionary()
        super().__init__(resolver=DaemonResolver(), limit=limit, keepalive_timeout=KEPT_S, socket_factory=self._new_socket)

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's name
        """A connection for `req`. A kept one is used only if it is open, idle, and nothing has come since: its end, say."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                return connection
            arrived = self._arrivals.get(protocol)
            if arrived is None:
                self._arrivals[protocol] = _arrivals(protocol)
                if protocol.closed is not None:
                    protocol.closed.add_done_callback(_seen)
            elif protocol.should_close or _is_unsent(protocol) or arrived(0):  # aiohttp would take that for the next response
                protocol.abort()
                connection.close()
                continue
            body = req.body
            if isinstance(body, ConnectedBody):
                body.protocol = protocol
                if req.is_ssl() and (body.size or 0) > _SURELY_SENT:
                    # A response may come before the whole request has gone out, and what waits below TLS cannot be asked: the
                    # rest would go out before the next request.
                    protocol.force_close()
            return connection

    def _new_socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._opened.add(made)
        return made

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, those as well whose server neither reads what was written nor answers the close."""
        closing = super().close(abort_ssl=abort_ssl)
        await self._let_close()
        for each in self._left_open():
            try:
                # Ends both directions, which asyncio then reads as the end of the connection.
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # not connected, or ended by the server
        await self._let_close()
        await closing

    async def _let_close(self) -> None:
        for _ in range(_TURNS):
            if not self._left_open():
                return
            await asyncio.sleep(0)

    def _left_open(self) -> list[socket.socket]:
        return [each for each in self._opened if each.fileno() != -1]


def _seen(end: asyncio.Future[None]) -> None:
    """Take notice of how a connection ended, which asyncio would log otherwise; whoever used it has its own error."""
    if not end.cancelled():
        end.exception()


def _is_unsent(protocol: ResponseHandler) -> bool:
    """Whether a kept connection has not sent all that was written."""
    return protocol.transport is None or protocol.transport.get_write_buffer_size() > 0


def _arrivals(protocol: ResponseHandler) -> Callable[[int], object]:
    """What tells, without waiting, of bytes that have come by a connection and that the event loop has not read yet."""
    opened: Any = None if protocol.transport is None else protocol.transport.get_extra_info("socket")
    if opened is None:
        return lambda _ms: False
    if not hasattr(select, "poll"):  # Windows
        return lambda _ms: select.select([opened], [], [], 0)[0]
    looking = select.poll()
    looking.register(opened, select.POLLIN)
    return looking.poll
