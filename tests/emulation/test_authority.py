from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography import x509

from portico.emulation.connect_proxy import make_authority

if TYPE_CHECKING:
    from pathlib import Path


def test_no_private_key_is_left_on_disk(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, ["login.example"])
    assert list(tmp_path.iterdir()) == [authority.ca_file]
    assert b"PRIVATE" not in authority.ca_file.read_bytes()


def test_the_authority_can_sign_for_the_emulated_hosts_alone(tmp_path: Path) -> None:
    ca = x509.load_pem_x509_certificate(make_authority(tmp_path, ["a.example", "b.example"]).ca_file.read_bytes())
    constraints = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert [name.value for name in constraints.value.permitted_subtrees or []] == ["a.example", "b.example"]


def test_a_strict_client_accepts_the_certificate(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, ["login.example"])
    client = ssl.create_default_context(cafile=authority.ca_file)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(wires[0], wires[1], server_hostname="login.example")
    server_side = authority.server.wrap_bio(wires[1], wires[0], server_side=True)
    done = [False, False]
    for _ in range(10):
        for index, end in enumerate((near, server_side)):
            try:
                end.do_handshake()
                done[index] = True
            except ssl.SSLWantReadError:
                continue
    assert done == [True, True]


def test_every_run_has_an_authority_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (make_authority(tmp_path / name, ["login.example"]).ca_file.read_bytes() for name in ("one", "two"))
    assert one != two
