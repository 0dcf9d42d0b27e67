"""Whose process has connected, looked up in Linux's own lists of sockets, with real connections."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import contextmanager

import pytest

from portico.net import peer
from portico.net import peer as tcp_sockets
from portico.net.peer import own_users, peer_of

pytestmark = [pytest.mark.linux, pytest.mark.requirement("E119")]
NOBODY_HERE = 4_000_000_000


def addresses(*ends):
    return ((tcp_sockets.plain(end[0]), end[1]) for end in ends)


@pytest.fixture(params=["asked", "listed"])
def whichever(request, monkeypatch):
    """Both ways to learn whose a socket is: the kernel is asked for it, or its list of all is read."""
    if request.param == "listed":
        monkeypatch.setattr(peer, "between", lambda *_ends: None)
        return
    with connected() as (accepted, client):
        if tcp_sockets.between(*addresses(client.getsockname(), accepted.getsockname())) is None:
            pytest.skip("this kernel does not answer for one socket (sock_diag)")


@pytest.fixture
def shown(request, whichever, monkeypatch):
    """As `whichever`, and a kernel that answers is enough: its list of all is not read."""
    if "asked" in request.node.callspec.id:
        monkeypatch.setattr(peer, "listed", lambda *_line: pytest.fail("the list of all sockets was read"))


@pytest.fixture
def only_listed(monkeypatch, tmp_path):
    """A system that answers no question for one socket, and whose list of all is what the test writes to this folder."""
    monkeypatch.setattr(peer, "between", lambda *_ends: None)
    monkeypatch.setattr(tcp_sockets, "TABLES", tmp_path)


@contextmanager
def connected(listening="127.0.0.1", to=None):
    """A connection to a listener at `listening`, by a client that was given the address `to`: both ends, the server's first."""
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with socket.create_server((listening, 0), family=family) as listener:
        client_family = socket.AF_INET6 if ":" in (to or listening) else socket.AF_INET
        with socket.socket(client_family) as client:
            client.connect((to or listening, listener.getsockname()[1]))
            accepted, _ = listener.accept()
            with accepted:
                yield accepted, client


@pytest.mark.parametrize(
    ("listening", "to"), [("127.0.0.1", None), ("::1", None), ("127.0.0.1", "::ffff:127.0.0.1"), ("127.0.0.1", "127.0.0.2")]
)
def test_a_client_of_this_user_is_found_over_ipv4_ipv6_and_an_ipv6_socket_to_an_ipv4_address(listening, to, shown):
    if to == "127.0.0.2":
        listening = "0.0.0.0"
    with connected(listening, to) as (accepted, _):
        assert peer_of(accepted) == "this-user"


@pytest.mark.parametrize(("listening", "to"), [("127.0.0.1", None), ("::1", None), ("127.0.0.1", "::ffff:127.0.0.1")])
def test_a_client_that_is_none_of_the_given_users_is_another_users_and_root_is_unknown(listening, to, shown):
    with connected(listening, to) as (accepted, _):
        assert peer_of(accepted, users={NOBODY_HERE}) == ("other-user" if os.getuid() else "unknown")


def test_a_listener_for_both_families_shows_an_ipv4_client_too(shown):
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getpeername()[0] == "::ffff:127.0.0.1"
        assert peer_of(accepted) == "this-user"


def test_a_client_that_has_sent_its_last_byte_and_waits_for_the_answer_is_still_known(shown):
    with connected() as (accepted, client):
        client.shutdown(socket.SHUT_WR)
        assert peer_of(accepted) == "this-user"


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_has_closed_is_gone_and_never_taken_for_root_or_unknown(reset, whichever):
    with connected() as (accepted, client):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert peer_of(accepted, users={0, NOBODY_HERE}) == "gone"


@pytest.mark.parametrize("text", [None, "", "  sl  local_address\n", "   0: not a list\n"])
def test_where_the_system_has_no_such_list_or_the_client_is_in_none_it_is_unknown(text, tmp_path, only_listed):
    if text is not None:
        (tmp_path / "tcp").write_text(text)
    with connected() as (accepted, client):
        assert peer_of(accepted) == "unknown"
        client.close()
        assert peer_of(accepted) == "gone"


@pytest.mark.parametrize(("number", "found"), [(errno.ENOPROTOOPT, "unknown"), (errno.EBADF, "gone")])
def test_a_system_that_does_not_say_whether_the_client_is_connected_is_not_one_whose_client_has_closed(
    number, found, only_listed
):
    class Poor:
        """A socket of a system that lacks TCP_INFO, or one that is closed."""

        def __init__(self, true: socket.socket) -> None:
            self.getpeername, self.getsockname = true.getpeername, true.getsockname

        def getsockopt(self, *_what: int) -> bytes:
            raise OSError(number, os.strerror(number))

    with connected() as (accepted, _):
        assert peer_of(Poor(accepted)) == found


def test_a_listener_at_the_clients_address_is_not_taken_for_the_client():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.bind(("127.0.77.1", 0))  # an address where no other program of this machine has its end
        client.connect(listener.getsockname())
        address = client.getsockname()
        accepted, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with accepted, socket.create_server(address):
            assert tcp_sockets.between(*addresses(address, accepted.getsockname())) is None
            assert peer_of(accepted) == "gone"


def listed(accepted, client, uid):
    """A list with the client's socket under `uid`, among others of the same port."""

    def address(end):
        host, port = end
        return f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"

    local, there = address(client.getsockname()), address(accepted.getsockname())
    form = "   1: {} {} 01 00000000:00000000 00:00000000 00000000 {:5} 0 4711 1 0000000000000000 20 4 30 10 -1\n"
    return form.format(there, local, 0) + form.format(local, there, uid) + form.format(f"{local[:-4]}0001", there, 7)


@pytest.mark.skipif(struct.pack("=H", 1) != b"\1\0", reason="the list is written here as a little-endian machine prints it")
@pytest.mark.parametrize(
    ("map_text", "found"),
    [
        ("         0          0 4294967295\n", "other-user"),
        ("         0       1000          1\n         1     100000      65536\n", "unknown"),
    ],
)
def test_a_user_without_a_number_in_this_user_namespace_is_unknown_and_a_real_one_of_that_number_is_not(
    map_text, found, tmp_path, monkeypatch, only_listed
):
    overflow, mine = 65534, tmp_path / "self"
    mine.mkdir()
    (mine / "uid_map").write_text(map_text)
    monkeypatch.setattr(peer, "_SELF", mine)
    with connected() as (accepted, client):
        (tmp_path / "tcp").write_text(listed(accepted, client, overflow))
        assert peer_of(accepted) == found
        (tmp_path / "tcp").write_text(listed(accepted, client, 1234))
        assert peer_of(accepted) == "other-user"
        (tmp_path / "tcp").write_text(listed(accepted, client, os.getuid()))
        assert peer_of(accepted) == "this-user"


@pytest.mark.parametrize(("login", "more"), [("1234", {1234}), ("4294967295", set()), ("", set()), (None, set())])
def test_the_user_who_logged_in_and_became_another_counts_as_this_user(login, more, tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "_SELF", tmp_path)
    if login is not None:
        (tmp_path / "loginuid").write_text(login)

    assert own_users() == {os.getuid(), os.geteuid()} | more


@pytest.mark.root
@pytest.mark.parametrize(("family", "host"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1"), ("AF_INET6", "::ffff:127.0.0.1")])
def test_another_users_process_is_another_users(family, host, another_user, whichever):
    listening = "::1" if host == "::1" else "127.0.0.1"
    with socket.create_server((listening, 0), family=socket.AF_INET6 if ":" in listening else socket.AF_INET) as listener:
        code = """
client = socket.socket(getattr(socket, sys.argv[1])); client.connect((sys.argv[2], int(sys.argv[3]))); sys.stdin.readline()
os.write(client.fileno(), b"x"); client.close(); print("closed", flush=True); sys.stdin.readline()
"""
        with another_user.start(code, family, host, str(listener.getsockname()[1])) as she:
            accepted, _ = listener.accept()
            with accepted:
                assert peer_of(accepted) == "other-user"
                she.stdin.write("\n")
                she.stdin.flush()
                assert she.stdout.readline() == "closed\n"
                assert peer_of(accepted) == "gone"
            she.communicate("\n", timeout=10)
