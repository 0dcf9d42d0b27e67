"""A gateway whose port a service manager keeps (sd_listen_fds(3)): no connection is lost from one process to the next."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portico import version
from portico.cli.gateway import InstalledVersion
from portico.gateway import control
from portico.services.gateway_state import gateway_lock, read_state
from portico.testing.clock import FakeClock
from tests.free_port import free_port
from tests.gateway.helpers import get, status_of, wait_until
from tests.gateway.test_restart import a_stream, event, provider, rest_of
from tests.needs import needs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a socket that is passed on as POSIX has it")
__all__ = ("provider",)
UPGRADED = 75


@pytest.fixture
def kept():
    """What a socket unit keeps open."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        yield listening


@contextlib.contextmanager
def started(paths, kept, *, before="", env=None, files="1"):
    """A gateway that gets this socket, if there is one, once it answers or has ended. `before` is run in its process first."""
    fds = () if kept is None else (kept.fileno(),)
    passed_on = "".join(
        f"os.dup2({fd}, 3)\nos.environ |= dict(LISTEN_FDS={files!r}, LISTEN_PID=str(os.getpid()))\n" for fd in fds
    )
    main = "from portico.cli.main import main\nsys.exit(main(['gateway', 'run'], 'portico'))"
    command = [sys.executable, "-P", "-c", f"import os, sys\n{passed_on}{before}\n{main}"]
    paths.gateway_log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def is_ready():
        state = control.running(paths)
        return process.poll() is not None or (state is not None and state.pid == process.pid)

    with (
        paths.gateway_log.open("ab") as log,
        subprocess.Popen(command, env={**os.environ, **(env or {})}, pass_fds=fds, stderr=log) as process,
    ):
        try:
            wait_until(is_ready, 20)
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def asked(port):
    """A client that has sent a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        yield client


@pytest.mark.requirement("E73")
def test_a_client_that_connects_between_two_processes_is_answered_by_the_second(gateway_paths, kept):
    port = kept.getsockname()[1]
    with started(gateway_paths, kept) as first:
        assert status_of(get(port)) == 200
        first.send_signal(signal.SIGTERM)
        assert first.wait(10) == 0
    with asked(port) as client, started(gateway_paths, kept) as second:
        assert f'"pid": {second.pid}'.encode() in rest_of(client)


def test_systemds_own_program_passes_a_socket_on_to_it(gateway_paths):
    needs("systemd-socket-activate")
    port = free_port()
    passed = [f"--setenv={name}" for name in ("PORTICO_CONFIG", "PORTICO_STATE_DIR", "PYTHONPATH") if name in os.environ]
    command = [
        "systemd-socket-activate",
        f"--listen=127.0.0.1:{port}",
        *passed,
        sys.executable,
        "-P",
        "-m",
        "portico",
        "gateway",
        "run",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert b"Listening" in process.stderr.readline()
            with asked(port) as client:
                assert f'"pid": {process.pid}'.encode() in rest_of(client)
        finally:
            process.kill()


@pytest.mark.requirement("E73")
def test_asked_to_give_way_it_finishes_its_stream_while_new_clients_wait_for_the_next_process(gateway_paths, kept, provider):
    port = kept.getsockname()[1]
    with started(gateway_paths, kept) as first, a_stream(port, provider) as (client, far):
        first.send_signal(signal.SIGUSR1)
        wait_until(lambda: "ending after the running requests" in gateway_paths.gateway_log.read_text())
        assert gateway_lock(gateway_paths).owner_pid() == first.pid, (
            "the service manager waits for its end, and so does `gateway stop`"
        )
        with asked(port) as waiting:
            far.sendall(event(b"last") + b"data: [DONE]\n\n")
            far.shutdown(socket.SHUT_WR)
            assert rest_of(client).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert first.wait(10) == 0
            with started(gateway_paths, kept) as second:
                assert f'"pid": {second.pid}'.encode() in rest_of(waiting)


def test_what_is_not_finished_in_time_is_aborted(gateway_paths, kept, provider):
    hasty = "from portico.gateway import server; server.SERVICE_DRAIN_S = 0.3"
    with started(gateway_paths, kept, before=hasty) as first, a_stream(kept.getsockname()[1], provider) as (client, _):
        first.send_signal(signal.SIGUSR1)
        assert first.wait(10) == 0
        with contextlib.suppress(ConnectionError):
            assert not rest_of(client).endswith(b"0\r\n\r\n"), "a stream that broke off has no clean end"


def test_a_stop_while_it_finishes_a_stream_takes_no_longer_than_any_other(gateway_paths, kept, provider):
    with started(gateway_paths, kept) as first, a_stream(kept.getsockname()[1], provider):
        first.send_signal(signal.SIGUSR1)
        wait_until(lambda: "ending after the running requests" in gateway_paths.gateway_log.read_text())
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        first.wait(10)
        assert time.monotonic() - began < 5.5


def test_a_socket_that_other_machines_could_reach_is_refused(gateway_paths):
    with socket.create_server(("0.0.0.0", 0)) as open_to_all, started(gateway_paths, open_to_all) as process:
        assert process.wait(10) == 2
    assert "127.0.0.1" in gateway_paths.gateway_log.read_text()


@pytest.mark.parametrize("files", ["2", "0", "x"])
def test_anything_but_one_socket_is_refused(gateway_paths, kept, files):
    with started(gateway_paths, kept, files=files) as process:
        assert process.wait(10) == 2


def test_a_socket_that_was_passed_on_to_another_process_is_left_alone(gateway_paths):
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "PORTICO_GATEWAY_PORT": "0"}
    with started(gateway_paths, None, env=environment) as process:
        assert control.running(gateway_paths).pid == process.pid


# --- another version of Portico is installed ---------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path):
    """The file with the installed version, which is the one that runs at first."""
    file = tmp_path / "__init__.py"
    file.write_text('"""Portico."""\n\n__version__ = "1.0"\n')
    return file


def looking_at(file):
    return (
        "from pathlib import Path\nfrom portico.cli import gateway as gateway_work\ngateway_work._LOOK_EVERY_S = 0.05\n"
        f"gateway_work.InstalledVersion.__init__.__defaults__ = (Path({str(file)!r}), '1.0')"
    )


def test_a_service_ends_after_an_upgrade_with_a_code_by_which_its_manager_starts_the_new_version(
    gateway_paths, kept, provider, installed
):
    with (
        started(gateway_paths, kept, before=looking_at(installed)) as process,
        a_stream(kept.getsockname()[1], provider) as (client, far),
    ):
        installed.write_text('__version__ = "1.1"\n')
        wait_until(lambda: "ending after the running requests" in gateway_paths.gateway_log.read_text())
        far.sendall(event(b"last") + b"data: [DONE]\n\n")
        far.shutdown(socket.SHUT_WR)
        assert rest_of(client).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert process.wait(10) == UPGRADED
    assert "Portico 1.1 is installed, and this process runs 1.0: ending" in gateway_paths.gateway_log.read_text()
    assert read_state(gateway_paths) is None


def test_so_does_one_whose_unit_has_no_socket(gateway_paths, installed, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PORTICO_GATEWAY_PORT": str(free_port())}
        with started(gateway_paths, None, before=looking_at(installed), env=environment) as process:
            installed.write_text('__version__ = "1.1"\n')
            assert process.wait(10) == UPGRADED


def test_one_that_was_started_by_hand_goes_on_after_an_upgrade_and_says_what_to_run(gateway_paths, installed):
    environment = {"PORTICO_GATEWAY_PORT": "0"}
    with started(gateway_paths, None, before=looking_at(installed), env=environment) as process:
        installed.write_text('__version__ = "1.1"\n')
        text = "Portico 1.1 is installed, and this process runs 1.0: to use it, run: portico gateway restart"
        wait_until(lambda: text in gateway_paths.gateway_log.read_text())
        assert control.running(gateway_paths).pid == process.pid


def test_the_version_is_read_where_portico_has_it():
    written = re.search(r'__version__ = "(.*)"', Path(version.__file__).read_text(encoding="utf-8"))[1]
    assert InstalledVersion(FakeClock()).read() == version.__version__ == written


async def test_a_version_counts_once_it_has_been_there_for_a_few_looks(installed):
    versions, looks = [None, "1.1", "1.1", "1.0", "1.1", "1.2", "1.2", "1.2"], []
    watch = InstalledVersion(FakeClock(), installed, "1.0")

    def look():
        looks.append(versions[len(looks)])
        return looks[-1]

    watch.read = look
    assert await watch.changed() == "Portico 1.2 is installed, and this process runs 1.0"
    assert looks == versions


def test_while_a_package_manager_writes_the_file_its_version_is_unknown(installed):
    watch = InstalledVersion(FakeClock(), installed, "1.0")
    installed.unlink()
    assert watch.read() is None
    installed.write_text("")
    assert watch.read() is None
    installed.write_text('"""Portico."""\n__version__ = "1.1"\n')
    assert watch.read() == "1.1"
