"""A CONNECT proxy on loopback that serves the emulated hosts itself and rejects all others, with a temporary CA.

The proxy never opens a connection, so a test or a demo cannot reach the real service by mistake. The private key of the
certificate authority is never written to a file, and is discarded after it has signed the one server certificate. Name
constraints (RFC 5280 section 4.2.1.10) limit the authority to the emulated hosts, even if its certificate stays in a trust
store.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate, CertificateBuilder, KeyUsage, Name

_VALIDITY: Final = dt.timedelta(days=7)
_CLOCK_SKEW: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate authority of one run: `ca_file` for clients, `server` for the TLS of the emulated hosts."""

    ca_file: Path
    server: ssl.SSLContext


def make_authority(folder: Path, hosts: Sequence[str]) -> Authority:
    """Create a CA, its certificate in `folder`, and a server certificate for all `hosts` (its key is on disk only to load it)."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _ca_certificate(ca_key, hosts)
    leaf = _server_certificate(ca, ca_key, server_key.public_key(), hosts)
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    # With the CA in the chain, a browser can be configured to trust it by its fingerprint.
    chain = leaf.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM)
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Authority(ca_file=ca_file, server=_server_context(folder / "server.pem", key + chain))


def _server_context(chain_file: Path, chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    descriptor = os.open(chain_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(chain)
        context.load_cert_chain(chain_file)
    finally:
        chain_file.unlink()
    return context


def _ca_certificate(key: EllipticCurvePrivateKey, hosts: Sequence[str]) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name("Portico emulator (throwaway CA)")
    permitted = [x509.DNSName(host) for host in hosts]
    builder = (
        _certificate_builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _server_certificate(
    ca: Certificate, ca_key: EllipticCurvePrivateKey, key: EllipticCurvePublicKey, hosts: Sequence[str]
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    builder = (
        _certificate_builder(_name("Portico emulator"), ca.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    return builder.sign(ca_key, hashes.SHA256())


def _name(text: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate_builder(subject: Name, issuer: Name, key: EllipticCurvePublicKey) -> CertificateBuilder:
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + _VALIDITY)


def _key_usage(*, signs: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


_HEAD_LIMIT: Final = 16 * 1024
_HEAD_TIMEOUT_S: Final = 10.0
_HEAD_END: Final = b"\r\n\r\n"
_TLS_PORT: Final = "443"


class EmulationProxy:
    """The proxy on `127.0.0.1`, any port; `url` is the value for `HTTPS_PROXY`.

    Args:
        hosts: the factory of the server protocol for each emulated host name.
        tls: the server's TLS context for all hosts.
    """

    def __init__(self, hosts: Mapping[str, Callable[[], asyncio.Protocol]], tls: ssl.SSLContext) -> None:
        self._hosts = hosts
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._sockets: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        self.url = ""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening and drop every connection that has not reached an emulated host."""
        if self._server is None:
            return
        # When a server closes, asyncio leaves connections open that it has accepted but not set up (`Server._attach`). So stop
        # accepting first, and let the loop set up the accepted connections.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._server.close()
        for connection in tuple(self._connections):
            connection.drop()
        handshakes = [connection.handshake for connection in self._connections if connection.handshake]
        await asyncio.gather(*handshakes, return_exceptions=True)

    async def abort(self) -> None:
        """Drop the remaining connections. A TLS shutdown would wait for the client, which may never answer."""
        for transport in tuple(self._sockets):
            transport.abort()
        await asyncio.sleep(0)

    def _connection(self) -> _Connection:
        return _Connection(self._hosts, self._tls, self._connections, self._sockets)


class _Connection(asyncio.Protocol):
    """One client: read the head of its request, then reject it or pass the socket to the emulated host."""

    def __init__(
        self,
        hosts: Mapping[str, Callable[[], asyncio.Protocol]],
        tls: ssl.SSLContext,
        open_connections: set[_Connection],
        sockets: weakref.WeakSet[asyncio.Transport],
    ) -> None:
        self._hosts = hosts
        self._tls = tls
        self._open_connections = open_connections
        self._sockets = sockets
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_server makes no other kind
        self._transport = transport
        self._open_connections.add(self)
        self._sockets.add(transport)
        self._deadline = asyncio.get_running_loop().call_later(_HEAD_TIMEOUT_S, self.drop)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._forget()

    def data_received(self, data: bytes) -> None:
        if self.handshake is not None:
            return
        self._head += data
        if _HEAD_END in self._head:
            self._handle_request(self._head.split(b"\r\n", 1)[0].decode("latin-1"))
        elif len(self._head) > _HEAD_LIMIT:
            self._reject("431 Request Header Fields Too Large", "The request's head is too long.")

    def drop(self) -> None:
        """Abort this connection."""
        if self.handshake is not None:
            self.handshake.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _handle_request(self, request_line: str) -> None:
        method, _, remainder = request_line.partition(" ")
        target = remainder.partition(" ")[0]
        host, _, port = target.rpartition(":")
        if method != "CONNECT":
            self._reject("403 Forbidden", "Portico's emulator answers only for HTTPS hosts, by CONNECT.")
        elif port != _TLS_PORT or host.lower() not in self._hosts:
            self._reject("403 Forbidden", "Portico's emulator does not serve this host, and forwards nothing.")
        else:
            self._start_tls(self._hosts[host.lower()])

    def _reject(self, status: str, reason: str) -> None:
        assert self._transport is not None  # noqa: S101 - data came over it
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(reason)}\r\nConnection: close\r\n\r\n"
        self._transport.write((head + reason).encode())
        self._transport.close()

    def _start_tls(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        assert self._transport is not None  # noqa: S101 - data came over it
        self._transport.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        self.handshake = asyncio.get_running_loop().create_task(self._serve_tls(self._transport, make_protocol))

    async def _serve_tls(self, transport: asyncio.Transport, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        protocol = make_protocol()
        loop = asyncio.get_running_loop()
        try:
            tls_transport = await loop.start_tls(transport, protocol, self._tls, server_side=True)
        except (OSError, asyncio.CancelledError):  # the client has disconnected, or does not trust the CA
            transport.abort()
            return
        finally:
            self._forget()
        if tls_transport is None or tls_transport.is_closing():
            return
        protocol.connection_made(tls_transport)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._open_connections.discard(self)
