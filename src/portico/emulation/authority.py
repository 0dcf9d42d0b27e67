"""A certificate authority that lives for one run of an emulator.

Its private key is never written down and is dropped once the one server certificate is signed, and name constraints (RFC 5280
section 4.2.1.10) bind it to the emulated hosts: a copy of the CA file left behind in some trust store can sign for nobody else.
"""

from __future__ import annotations

import datetime as dt
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate, CertificateBuilder, KeyUsage, Name

_VALIDITY: Final = dt.timedelta(days=7)
_CLOCK_SKEW: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """`ca_file` is what clients are told to trust; `server` answers TLS for the emulated hosts."""

    ca_file: Path
    server: ssl.SSLContext


def make_authority(folder: Path, hosts: Sequence[str]) -> Authority:
    """A new CA, its certificate in `folder`, and one server certificate for all `hosts` (its key on disk only to be loaded)."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _ca_certificate(ca_key, hosts)
    leaf = _server_certificate(ca, ca_key, server_key.public_key(), hosts)
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    # The CA goes along: a browser can then be told to trust it by its fingerprint alone.
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
