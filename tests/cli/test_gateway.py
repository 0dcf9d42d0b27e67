"""`portico gateway` by its words and exit codes. Gateways are real processes; the commands about them run in this one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from portico.gateway import control
from tests.minimax_session import in_this_process

pytestmark = pytest.mark.requirement("S9")


@pytest.fixture
def gateway(run_portico, paths):
    def run(*words, env=None):
        return in_this_process(("gateway", *words), run_portico.environment(env or {}))

    yield run
    control.stop(paths)


def test_start_status_restart_and_stop_say_what_they_did(gateway):
    done = gateway("start", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The gateway is running (pid ")
    assert gateway("status").stdout.startswith(done.stdout.rstrip(".\n"))
    assert gateway("start").stdout.startswith("The gateway is already running (pid ")
    assert gateway("start", "--port", "99999").returncode == 2
    assert gateway("restart", "--port", "0").stdout.startswith("Restarted the gateway on http://127.0.0.1:")
    assert gateway("stop").stdout.endswith("stopped.\n")
    assert gateway("status").stdout == "No gateway is running.\n"


def test_with_none_running_stop_and_restart_say_so_and_succeed(gateway):
    stopped, restarted = gateway("stop"), gateway("restart")
    assert (stopped.returncode, stopped.stdout) == (0, "No gateway is running.\n")
    assert restarted.returncode == 0
    assert restarted.stdout.startswith("No gateway is running, so none was restarted.")
    assert "gateway start" in restarted.stdout


def test_json_says_the_same(gateway):
    assert json.loads(gateway("status", "--json").stdout)["status"] == "stopped"
    assert json.loads(gateway("stop", "--json").stdout) == {"stopped": False, "running": False}
    assert json.loads(gateway("restart", "--json").stdout) == {"restarted": False, "running": False}
    started = json.loads(gateway("start", "--port", "0", "--json").stdout)
    assert started["started"] is True
    status = json.loads(gateway("status", "--json").stdout)
    assert status["status"] == "running"
    assert {name: status[name] for name in ("pid", "port", "instance")} == {
        name: started[name] for name in ("pid", "port", "instance")
    }
    again = json.loads(gateway("restart", "--port", "0", "--json").stdout)
    assert (again["restarted"], again["previousPid"]) == (True, started["pid"])
    assert json.loads(gateway("stop", "--json").stdout)["stopped"] is True


def test_the_port_comes_from_the_option_then_the_environment_then_the_configuration(gateway, paths, unused_tcp_port_factory):
    option, environment, configured = (unused_tcp_port_factory() for _ in range(3))
    paths.config.write_text(f"{{ gateway: {{ port: {configured} }} }}")
    variable = {"PORTICO_GATEWAY_PORT": str(environment)}
    assert json.loads(gateway("start", "--port", str(option), "--json", env=variable).stdout)["port"] == option
    assert json.loads(gateway("restart", "--json", env=variable).stdout)["port"] == environment
    assert json.loads(gateway("restart", "--json", env={"PORTICO_GATEWAY_PORT": None}).stdout)["port"] == configured


@pytest.mark.parametrize("port", ["-1", "http"])
def test_a_port_that_is_none_is_refused(gateway, port):
    assert gateway("start", f"--port={port}").returncode == 2
    done = gateway("start", "--json", env={"PORTICO_GATEWAY_PORT": port})
    assert (done.returncode, json.loads(done.stdout)["error"]["id"]) == (9, "config-invalid")


def test_in_the_foreground_it_runs_until_interrupted_and_admits_no_second(run_portico, gateway):
    command = [sys.executable, "-m", "portico", "gateway", "run", "--port", "0", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=run_portico.environment()) as foreground:
        try:
            said = json.loads(foreground.stdout.readline())
            assert (said["event"], said["pid"]) == ("running", foreground.pid)
            second = run_portico("gateway", "run", "--port", "0")
            assert second.returncode == 10
            assert "already running" in second.stderr
            foreground.send_signal(signal.SIGINT)
            assert foreground.wait(10) == 0
        finally:
            foreground.kill()
    assert gateway("status").stdout == "No gateway is running.\n"


@pytest.mark.parametrize("words", [(), ("run",), ("restart",)])
def test_help_has_an_example(run_portico, words):
    assert "portico gateway" in run_portico("gateway", *words, "--help").stdout.partition("example")[2]
