"""No test uses what is the user's: here each rule meets a test that breaks it, in a run of its own, and that run is red."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from portico.config.schema import DEFAULT_PORT
from tests import audit_hook, inner_run, isolation

pytestmark = pytest.mark.requirement("S11")
POSIX = pytest.mark.skipif(os.name != "posix", reason="terminals, sockets and signals as POSIX has them")


@pytest.fixture
def user(tmp_path):
    """The variables of a user who has a Portico, a session bus and a home."""
    home = tmp_path / "of-the-user"
    (home / "state").mkdir(parents=True)
    (home / "portico.json5").write_text("{}", encoding="utf-8")
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_RUNTIME_DIR": str(home / "runtime"),
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={home}/bus,guid=1",
        "PORTICO_CONFIG": str(home / "portico.json5"),
        "PORTICO_STATE_DIR": str(home / "state"),
        "ANTHROPIC_API_KEY": "of-the-user",
        "BROWSER": "of-the-user",
        "LC_TIME": "tr_TR.UTF-8",
    }


def test_a_run_has_an_environment_of_its_own_and_so_have_its_processes(user, tmp_path):
    environment = isolation.environment({**user, "PATH": "p", "PORTICO_NO_SKIP": "1", "PYTEST_ADDOPTS": "-x"}, tmp_path)
    assert environment == {"PATH": "p", "PORTICO_NO_SKIP": "1", "PYTEST_ADDOPTS": "-x", "HOME": str(tmp_path)}

    body = f"""
        USER = {user!r}

        def theirs(env):
            return [name for name, value in env.items() if USER.get(name) == value or "of-the-user" in value]

        def test_here():
            assert theirs(os.environ) == []

        def test_in_a_process():
            code = "import json, os; print(json.dumps(dict(os.environ)))"
            import json
            assert theirs(json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE).stdout)) == []
    """
    result = inner_run.run(tmp_path, body, **user)
    assert (result.returncode, "2 passed" in result.stdout) == (0, True), result.stdout


def test_this_very_run_has_no_variable_of_the_users():
    strange = {name for name in os.environ if name.startswith(("XDG_", "DBUS_", "PORTICO_", "LC_", "SSH_", "MINIMAX_"))}
    # Python itself sets LC_CTYPE where there is no locale (PEP 538), in a worker of pytest-xdist also.
    assert strange <= {"PORTICO_NO_SKIP", "PORTICO_TEST_TIMEOUT_S", "LC_CTYPE"}
    assert Path(os.environ["HOME"]).is_relative_to(os.environ["PYTEST_PORTICO_ISOLATION"])


BREAKS = {
    "the default port, listened on": ("socket.create_server(('127.0.0.1', PORT))", f"port {DEFAULT_PORT}"),
    "the default port, asked": ("socket.create_connection(('127.0.0.1', PORT))", f"port {DEFAULT_PORT}"),
    "the session bus": ("with socket.socket(socket.AF_UNIX) as one: one.connect(HOME + '/bus')", "of-the-user/bus"),
    "the bus that has no variable": (
        "with socket.socket(socket.AF_UNIX) as one: one.connect(HOME + '/runtime/bus')",
        "of-the-user/runtime/bus",
    ),
    "the configuration": ("open(HOME + '/portico.json5')", "of-the-user/portico.json5"),
    "the state folder": ("os.mkdir(HOME + '/state/locks')", "of-the-user/state/locks"),
    "a database in it": ("sqlite3.connect(HOME + '/state/history.sqlite')", "of-the-user/state/history.sqlite"),
    "the terminal": ("os.open('/dev/tty', os.O_RDWR)", "/dev/tty"),
}


@POSIX
def test_a_test_that_reaches_for_what_is_the_users_fails_even_if_it_goes_on(user, tmp_path):
    """In its own process and in one that it starts, whatever that makes of the refusal."""
    body = f"""
        import contextlib
        HEADER = "import contextlib, os, socket, sqlite3\\nPORT, HOME = {DEFAULT_PORT}, {user["HOME"]!r}\\n"
        LINES = {[line for line, _ in BREAKS.values()]!r}

        @pytest.mark.parametrize("line", LINES)
        def test_here(line):
            with contextlib.suppress(OSError):
                exec(HEADER + line)

        @pytest.mark.parametrize("line", LINES)
        def test_below(line):
            code = HEADER + f"with contextlib.suppress(OSError):\\n    {{line}}"
            subprocess.run([sys.executable, "-c", code], check=True)

        def test_that_breaks_nothing():
            pass
    """
    result = inner_run.run(tmp_path, body, **user)

    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    errors = [line for line in result.stdout.splitlines() if line.startswith("no test may use ")]
    for _, what in BREAKS.values():
        assert len([line for line in errors if what in line]) >= 2, (what, result.stdout)
    assert len(errors) == 2 * len(BREAKS)
    assert f"{2 * len(BREAKS) + 1} passed" in result.stdout
    assert f"{2 * len(BREAKS)} errors" in result.stdout
    assert sorted(path.name for path in Path(user["HOME"]).iterdir()) == ["portico.json5", "state"]


def test_what_is_written_at_home_makes_the_run_red(user, tmp_path):
    body = """
        from pathlib import Path

        def test_it():
            Path.home().joinpath("forgotten").touch()
    """
    result = inner_run.run(tmp_path, body, **user)

    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "LEAKED: left at home: forgotten" in result.stdout
    assert not Path(user["HOME"], "forgotten").exists()


@POSIX
def test_on_a_terminal_no_program_can_open_it_and_ctrl_c_still_ends_the_run(tmp_path):
    from tests.e2e.terminal import CTRL_C, Terminal

    body = """
        def test_it():
            assert subprocess.run(["sh", "-c", "exec 3</dev/tty"], capture_output=True).returncode != 0
            print("nobody asks here", file=sys.__stderr__, flush=True)
            import time
            time.sleep(50)
    """
    # The shell leads the session, as the one of a user does.
    script = 'test -r /dev/tty && : </dev/tty && echo "a terminal"; trap : INT; "$@"; echo "the end: $?"'
    terminal = Terminal(["sh", "-c", script, "sh", *inner_run.command(tmp_path, body), "-s"], inner_run.environment())
    try:
        terminal.expect("nobody asks here")
        assert "a terminal" in terminal.text
        terminal.press(CTRL_C)
        terminal.expect(f"the end: {pytest.ExitCode.INTERRUPTED:d}")
    finally:
        terminal.end()


@POSIX
def test_the_terminal_that_a_test_has_made_is_no_users(tmp_path):
    from tests.e2e.terminal import Terminal

    program = "with open('/dev/tty', 'w') as terminal: print('hello', file=terminal)"
    terminal = Terminal([sys.executable, "-c", program], os.environ)

    assert terminal.end() == 0
    assert terminal.text == "hello\n"


@POSIX
def test_a_run_in_the_background_of_a_script_lets_its_tests_interrupt_what_they_start(tmp_path):
    body = """
        import signal

        def test_it():
            process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(50)"],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            with process:
                process.stdout.readline()
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == -signal.SIGINT
    """
    result = subprocess.run(
        ["sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh", *inner_run.command(tmp_path, body)],
        env=inner_run.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout


def test_the_audit_hook_is_installed_in_this_run_and_in_its_processes():
    """With the real default port, whoever has it: nothing is asked of the system, because the audit hook comes first."""
    folder = Path(os.environ["PYTEST_PORTICO_ISOLATION"]) / "audit-hook"
    notes = folder / f"notes-{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    code = f"import socket; socket.create_connection(('127.0.0.1', {DEFAULT_PORT}))"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert f"PermissionError: no test may use port {DEFAULT_PORT}" in result.stderr
    assert notes.read_text(encoding="utf-8").startswith(f"port {DEFAULT_PORT} (tests/test_isolation.py::")
    notes.unlink()
    assert sys.modules[audit_hook.__name__] is audit_hook


@POSIX
def test_the_addresses_of_a_bus_are_those_that_d_bus_knows():
    address = "unix:abstract=/tmp/dbus-x,guid=1;unix:path=/run/user/1/bus;tcp:host=h"
    assert isolation.buses({"DBUS_SESSION_BUS_ADDRESS": address})[:2] == ("\0/tmp/dbus-x", "/run/user/1/bus")
    assert f"/run/user/{os.getuid()}/bus" in isolation.buses({})
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
