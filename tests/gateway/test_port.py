"""A port that another program holds is told with its owner and program, and nothing hands a key to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from portico.app import App
from portico.doctor.finding import CheckContext, Finding
from portico.doctor.gateway_checks import running
from portico.errors import ConfigError
from portico.gateway import control
from portico.gateway.port import Owner, bind_port, owner_of
from portico.services.gateway_state import gateway_lock
from tests.free_port import free_port
from tests.gateway.helpers import server_on
from tests.minimax_session import in_this_process

pytestmark = pytest.mark.requirement("E120")
LISTENS = """
family, host, port = getattr(socket, sys.argv[1]), sys.argv[2], int(sys.argv[3])
with socket.socket(family) as listener:
    listener.bind((host, port))
    listener.listen()
    print("listens", flush=True)
    sys.stdin.read()
    listener.setblocking(False)
    try:
        print(listener.accept()[0].recv(100))
    except BlockingIOError:
        print("was sent nothing")
"""
ACME = {"baseUrl": "https://acme.test", "api": "openai-completions", "apiKey": "k", "models": [{"id": "model"}]}


@contextlib.contextmanager
def squatter(user, port, family="AF_INET", host="127.0.0.1"):
    with user.start(LISTENS, family, host, str(port)) as process:
        try:
            assert process.stdout.readline() == "listens\n"
            yield process
            assert process.communicate(timeout=10)[0] == "was sent nothing\n"
        finally:
            process.kill()


def with_port(paths, port):
    config = {"gateway": {"port": port}, "models": {"providers": {"acme": ACME}}, "agents": {"defaults": {"model": "acme/model"}}}
    paths.config.write_text(json.dumps(config), encoding="utf-8")
    return {name: value for name, value in os.environ.items() if name != "PORTICO_GATEWAY_PORT"} | {
        "PORTICO_PASSPHRASE": "correct horse battery staple"
    }


@pytest.mark.root
@pytest.mark.parametrize("words", [("gateway", "start"), ("gateway", "run"), ("env",)])
def test_a_port_of_another_user_is_told_with_her_name_and_program_and_is_sent_no_key(gateway_paths, another_user, words):
    port = free_port()
    env = with_port(gateway_paths, port)
    made = in_this_process(("gateway", "key", "add", "default", "--store", "file"), env)
    key = made.stdout.strip()
    assert key, made.stderr
    with squatter(another_user, port) as process:
        done = in_this_process((*words, "--json"), env)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["id"]) == (9, "port-taken")
    assert f"user {another_user.name} (uid {another_user.uid})" in error["why"]
    assert f"pid {process.pid}" in error["why"]
    assert "python" in error["why"]
    assert "gateway key rotate" in error["hint"]
    assert key not in done.stdout + done.stderr


@pytest.mark.root
def test_no_key_is_handed_to_her_and_doctor_finds_her_while_a_gateway_is_there_that_does_not_answer(gateway_paths, another_user):
    port, lock = free_port(), gateway_lock(gateway_paths)
    env = with_port(gateway_paths, port)
    assert in_this_process(("gateway", "key", "add", "default", "--store", "file"), env).returncode == 0
    assert lock.try_acquire()
    try:
        with squatter(another_user, port):
            done = in_this_process(("env", "--json"), env)
            found = [each.id for each in running(CheckContext(App(env=env))) if isinstance(each, Finding)]
        assert (done.returncode, json.loads(done.stdout)["error"]["id"]) == (9, "port-taken")
        assert found == ["gateway-unresponsive", "port-taken"]
        with bind_port(port):
            assert in_this_process(("env",), env).returncode == 0, "it may be the gateway that has the port"
            assert [each.id for each in running(CheckContext(App(env=env))) if isinstance(each, Finding)] == [
                "gateway-unresponsive"
            ]
    finally:
        lock.release()


@pytest.mark.root
def test_doctor_finds_her_on_the_port_as_an_error_also_while_the_gateway_has_another(gateway_paths, another_user):
    port = free_port()
    env = with_port(gateway_paths, port)
    control.start(gateway_paths, port=0, env=env)
    with squatter(another_user, port):
        found = [each for each in running(CheckContext(App(env=env))) if isinstance(each, Finding)]
    assert [(each.id, each.level, another_user.name in each.why) for each in found] == [("port-taken", "error", True)]


@pytest.mark.root
@pytest.mark.parametrize(("family", "host"), [("AF_INET", "0.0.0.0"), ("AF_INET6", "::"), ("AF_INET6", "::ffff:127.0.0.1")])
def test_she_is_seen_on_every_address_that_gets_what_is_sent_to_this_one(another_user, family, host):
    port = free_port()
    with squatter(another_user, port, family, host):
        owner = owner_of(port)
    assert (owner.uid, owner.name, owner.is_other_user) == (another_user.uid, another_user.name, True)


@pytest.mark.linux
def test_a_program_of_this_user_is_named_and_not_called_another_users(gateway_paths):
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ConfigError) as raised:
        bind_port(listener.getsockname()[1])
    assert f"pid {os.getpid()}" in raised.value.why
    assert owner_of(listener.getsockname()[1] if listener.fileno() != -1 else 1) is None
    assert "gateway key rotate" in raised.value.hint, "it is not Portico's, so what tools have sent went to a stranger"


@pytest.mark.linux
def test_another_gateway_of_this_user_is_no_reason_to_rotate_keys(gateway_paths):
    state = control.start(gateway_paths, port=0)
    with pytest.raises(ConfigError) as raised:
        bind_port(state.port)
    assert f"pid {state.pid}" in raised.value.why
    assert "rotate" not in raised.value.hint


@pytest.mark.linux
def test_a_listener_on_another_address_or_port_is_not_taken_for_it():
    with socket.create_server(("127.0.0.2", 0)) as listener:
        assert owner_of(listener.getsockname()[1]) is None
    assert owner_of(free_port()) is None


def test_where_nothing_is_known_of_the_owner_that_is_said(monkeypatch):
    monkeypatch.setattr("portico.gateway.port.owner_of", lambda _port: None)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ConfigError) as raised:
        bind_port(listener.getsockname()[1])
    assert "unknown" in raised.value.why
    assert "gateway key rotate" in raised.value.hint


@pytest.mark.parametrize(
    ("owner", "text"),
    [
        (Owner(4_000_000_000, None, None, None), "uid 4000000000, program unknown"),
        (Owner(0, "root", None, None), "user root (uid 0), program unknown"),
        (Owner(0, "root", 7, "nc"), "user root (uid 0), program nc (pid 7)"),
    ],
)
def test_an_owner_is_told_as_far_as_it_is_known(owner, text):
    assert str(owner) == text


@pytest.mark.linux
def test_a_programs_name_cannot_write_to_the_terminal(tmp_path):
    code = "import socket; l = socket.create_server(('127.0.0.1', 0)); open('/proc/self/comm', 'w').write('a\\x1b[2Jb'); print(l.getsockname()[1], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        owner = owner_of(int(process.stdout.readline()))
        process.communicate("\n")
    assert Path("/proc").exists()
    assert owner.pid == process.pid
    assert str(owner).isprintable()


def test_the_variables_of_a_shell_are_printed_only_for_a_port_that_is_free_or_has_the_gateway(gateway_paths):
    port = free_port()
    env = with_port(gateway_paths, port)
    made = in_this_process(("gateway", "key", "add", "default", "--store", "file"), env)
    assert made.returncode == 0, made.stderr
    assert in_this_process(("env",), env).returncode == 0
    with server_on(port, b"{}") as other:
        done = in_this_process(("env",), env)
    assert (done.returncode, done.stdout, made.stdout.strip() in done.stderr) == (9, "", False)
    assert other.seen == []
    control.start(gateway_paths, port=port, env=env)
    assert made.stdout.strip() in in_this_process(("env",), env).stdout
