"""`auth keep-fresh` as a process of its own: in the foreground, once, and handed to a service manager."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import pytest

from portico.net.proxy import proxy_for
from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from portico.testing.canary import in_text
from tests.minimax_session import CN, GLOBAL
from tests.services.test_service_files import FAKE

# What a service's process does when it refreshes, as far as the way to the network goes.
FETCH = """
import asyncio
from portico.net.client import HttpClient

async def main():
    async with HttpClient() as http:
        await http.get("https://as.example/metadata")

asyncio.run(main())
"""


def start(session, *words, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "portico", "auth", "keep-fresh", *words],
        env=session.run_portico.environment({**session.env, **env}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def generation(session, id=GLOBAL):
    return ProfileIndex(session.paths).get(id).generation


@pytest.mark.requirement("P16")
def test_in_the_foreground_it_refreshes_until_it_is_asked_to_end(minimax, tmp_path):
    session = minimax(access_ttl_s=2)
    session.sign_in("--region", "global")
    before, place = generation(session), str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(place)
        manager.settimeout(20)
        process = start(session, "--json", NOTIFY_SOCKET=place)
        try:
            assert manager.recv(100) == b"READY=1"
            running = json.loads(process.stdout.readline())
            assert (running["event"], running["pid"], running["profiles"]) == ("running", process.pid, [GLOBAL])
            deadline = time.monotonic() + 20
            while generation(session) == before:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
            out, log = process.communicate(timeout=30)
        assert manager.recv(100) == b"STOPPING=1"
    assert process.returncode == 0
    assert in_text(out + log) == []


def test_once_refreshes_what_is_due_and_ends_as_status_would(minimax):
    session = minimax(access_ttl_s=2)
    assert session.run("auth", "keep-fresh", "--once").returncode == 3
    session.sign_in("--region", "global")
    before = generation(session)
    deadline = time.monotonic() + 20
    while generation(session) == before:
        assert time.monotonic() < deadline
        value = json.loads(session.ok("auth", "keep-fresh", "--once", "--json"))
        time.sleep(0.05)

    assert value == {"exitCode": 0, "profiles": [{"id": GLOBAL, "result": "refreshed"}]}


def test_once_tells_by_its_exit_code_what_it_could_not_do(minimax, unused_tcp_port):
    session = minimax()
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")
    index = ProfileIndex(session.paths)
    index.update(GLOBAL, lambda profile: replace(profile, expires_at=1, created_at=0))
    away = {"HTTPS_PROXY": f"http://127.0.0.1:{unused_tcp_port}", "https_proxy": None}

    done = session.run("auth", "keep-fresh", "--once", "--json", env=away)

    assert done.returncode == 12
    results = {each["id"]: each["result"] for each in json.loads(done.stdout)["profiles"]}
    assert results == {GLOBAL: "failed", CN: "not due"}
    refused = Failure(at=1, id="sign-in-expired", message="refused", terminal=True, code="invalid_grant")
    index.update(CN, lambda profile: replace(profile, failure=refused))
    ended = session.run("auth", "keep-fresh", "--once")
    assert ended.returncode == 3
    assert f"{CN}: not due" in ended.stderr


@pytest.fixture
def systemctl(tmp_path):
    """A `systemctl` on PATH that records what it is asked."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program, log = folder / "systemctl", tmp_path / "asked.jsonl"
    program.write_text(FAKE.format(python=sys.executable, log=str(log), refuses="nothing"), encoding="utf-8")
    program.chmod(0o755)
    home = tmp_path / "home"
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}, log


@pytest.mark.linux
def test_install_and_uninstall_leave_what_they_say(run_portico, systemctl, tmp_path):
    env, log = systemctl
    secret = {"HTTPS_PROXY": "http://me:hunter2@proxy.example:8080", "SSL_CERT_FILE": "/etc/ca.pem", "MINIMAX_API_KEY": "hunter3"}

    done = run_portico("auth", "keep-fresh", "--install", "--json", env={**env, **secret})

    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    unit = tmp_path / f"home/config/systemd/user/{value['name']}.service"
    own_file = run_portico.paths.state / "keep-fresh-proxy.env"
    assert value == {
        "installed": True,
        "kind": "systemd user unit",
        "name": value["name"],
        "path": str(unit),
        "proxyFile": str(own_file),
    }
    assert value["name"] == f"portico-keep-fresh-{run_portico.paths.state_id}"
    text = unit.read_text(encoding="utf-8")
    assert f'Environment="PORTICO_STATE_DIR={run_portico.paths.state}"' in text
    assert f'Environment="PORTICO_CONFIG={run_portico.paths.config}"' in text
    assert 'Environment="SSL_CERT_FILE=/etc/ca.pem"' in text
    assert "hunter" not in text
    assert f'Environment="PORTICO_PROXY_FILE={own_file}"' in text
    assert own_file.read_text(encoding="utf-8") == f"HTTPS_PROXY={secret['HTTPS_PROXY']}\n"
    assert own_file.stat().st_mode & 0o777 == 0o600
    asked = [json.loads(line)[2] for line in log.read_text(encoding="utf-8").splitlines()]
    assert asked == ["show", "daemon-reload", "enable", "restart"]

    gone = run_portico("auth", "keep-fresh", "--uninstall", env=env)
    assert gone.stdout == f"Stopped and removed: {value['name']}\n"
    assert not unit.exists()
    assert not own_file.exists()
    assert run_portico("auth", "keep-fresh", "--uninstall", env=env).stdout == "No service is installed.\n"


@pytest.mark.linux
@pytest.mark.requirement("E113")
def test_a_proxy_with_a_password_is_told_of_and_used_by_the_process_that_the_unit_runs(run_portico, systemctl, tmp_path):
    env, _ = systemctl
    seen = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            seen.append((self.path, self.headers["Proxy-Authorization"]))
            self.send_error(403)

        def log_message(self, *_args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        away = {"HTTPS_PROXY": f"http://me:hunt%40er2@127.0.0.1:{proxy.server_port}"}
        done = run_portico("auth", "keep-fresh", "--install", env={**env, **away})
        assert done.returncode == 0, done.stderr
        (unit,) = (tmp_path / "home/config/systemd/user").iterdir()
        lines = unit.read_text(encoding="utf-8").splitlines()
        own = [shlex.split(line.removeprefix("Environment="))[0] for line in lines if line.startswith("Environment=")]
        process = {**dict(each.split("=", 1) for each in own), "HOME": str(tmp_path)}
        subprocess.run([sys.executable, "-c", FETCH], env=process, cwd="/", capture_output=True, check=False)
        proxy.shutdown()

    assert "keep-fresh-proxy.env, which only you can read" in done.stderr
    assert "hunt" not in unit.read_text(encoding="utf-8") + done.stdout + done.stderr
    assert seen == [("as.example:443", f"Basic {base64.b64encode(b'me:hunt@er2').decode()}")]


@pytest.mark.linux
@pytest.mark.requirement("E113")
def test_without_a_service_manager_the_line_for_cron_names_the_file_with_the_proxy_and_no_password(run_portico, tmp_path):
    (tmp_path / "empty").mkdir()
    away = {"PATH": str(tmp_path / "empty"), "https_proxy": "http://me:hunter2@proxy.example:8080"}

    done = run_portico("auth", "keep-fresh", "--install", env=away)

    own_file = run_portico.paths.state / "keep-fresh-proxy.env"
    assert f"PORTICO_PROXY_FILE={own_file}" in done.stderr
    assert "hunter" not in done.stderr
    assert own_file.read_text(encoding="utf-8") == f"https_proxy={away['https_proxy']}\n"


def ways(env):
    """The proxy for each of three URLs, by the environment `env` alone: its URL, user and password."""
    with patch.dict(os.environ, env, clear=True):
        found = [proxy_for(url) for url in ("https://as.example/", "http://as.example/", "https://direct.example/")]
    return [each and (each.url, each.user, each.password and each.password.reveal()) for each in found]


def of_unit(path):
    """The variables of a process that the unit at `path` runs."""
    lines = path.read_text(encoding="utf-8").splitlines()
    own = [shlex.split(line.removeprefix("Environment="))[0] for line in lines if line.startswith("Environment=")]
    return dict(each.split("=", 1) for each in own)


SHELLS = {
    "lower over upper": {"https_proxy": "http://u:hunter2@real.example:3128", "HTTPS_PROXY": "http://plain.example:1"},
    "upper under lower": {"https_proxy": "http://plain.example:1", "HTTPS_PROXY": "http://u:hunter2@real.example:3128"},
    "an empty one": {"https_proxy": "", "HTTPS_PROXY": "http://plain.example:1", "ALL_PROXY": "http://u:hunter2@all.example:2"},
    "an empty one alone": {"https_proxy": "", "all_proxy": "http://all.example:2"},
    "an empty one over the file": {"HTTPS_PROXY": "", "PORTICO_PROXY_FILE": "ALL_PROXY=http://u:hunter2@one.example:1\n"},
    "a file": {"PORTICO_PROXY_FILE": "ALL_PROXY=http://u:hunter2@one.example:1\n", "no_proxy": "direct.example"},
    "a file beside a password": {
        "PORTICO_PROXY_FILE": "HTTP_PROXY=http://a:hunter1@one.example:1\n",
        "HTTPS_PROXY": "http://b:hunter2@two.example:2",
    },
    "a file beside a plain one": {
        "PORTICO_PROXY_FILE": "HTTP_PROXY=http://a:hunter1@one.example:1\nhttps_proxy=http://a:hunter1@one.example:1\n",
        "HTTPS_PROXY": "http://two.example:2",
    },
    "a file that the environment overrides": {
        "PORTICO_PROXY_FILE": "https_proxy=http://a:hunter1@one.example:1\nhttp_proxy=http://one.example:1\n",
        "HTTPS_PROXY": "http://b:hunter2@two.example:2",
    },
    "an exception": {"https_proxy": "a.example", "no_proxy": "direct.example:443", "NO_PROXY": "as.example"},
    "spaces": {"ALL_PROXY": " http://u:hunter2@all.example:2 "},
}


@pytest.mark.linux
@pytest.mark.requirement("E113")
@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_a_service_goes_the_way_that_the_shell_goes_which_installs_it(shell, run_portico, systemctl, tmp_path):
    env, _ = systemctl
    if "PORTICO_PROXY_FILE" in shell:
        file = tmp_path / "proxies"
        file.write_text(shell["PORTICO_PROXY_FILE"], encoding="utf-8")
        file.chmod(0o600)
        shell = {**shell, "PORTICO_PROXY_FILE": str(file)}

    done = run_portico("auth", "keep-fresh", "--install", "--json", env={**env, **shell})

    assert done.returncode == 0, done.stderr
    unit = Path(json.loads(done.stdout)["path"])
    here = ways(shell)
    assert ways(of_unit(unit)) == here
    assert here.count(None) < 3
    assert "hunter" not in unit.read_text(encoding="utf-8")


@pytest.mark.linux
@pytest.mark.requirement("E150")
@pytest.mark.parametrize(
    ("shell", "excepted"),
    [
        ({"HTTP_PROXY": "http://plain.example:1"}, "127.0.0.1,localhost,::1"),
        ({"HTTPS_PROXY": "http://me:hunter2@x.example:1", "no_proxy": "a.test"}, "a.test,127.0.0.1,localhost,::1"),
        ({}, None),
    ],
)
def test_a_service_with_a_proxy_reaches_this_machine_without_it(shell, excepted, run_portico, systemctl):
    env, _ = systemctl

    done = run_portico("auth", "keep-fresh", "--install", "--json", env={**env, **shell})

    variables = of_unit(Path(json.loads(done.stdout)["path"]))
    assert (variables.get("NO_PROXY"), variables.get("no_proxy")) == (excepted, excepted)


@pytest.mark.linux
@pytest.mark.requirement("E113")
def test_a_value_that_is_no_proxy_and_may_be_half_a_password_is_in_no_unit_either(run_portico, systemctl):
    env, _ = systemctl

    done = run_portico("auth", "keep-fresh", "--install", "--json", env={**env, "HTTPS_PROXY": "http://me:hunter2"})

    assert "hunter2" not in Path(json.loads(done.stdout)["path"]).read_text(encoding="utf-8")


@pytest.mark.linux
@pytest.mark.requirement("E113")
def test_a_service_with_a_proxy_file_that_cannot_be_used_is_not_installed(run_portico, systemctl, tmp_path):
    env, log = systemctl

    done = run_portico("auth", "keep-fresh", "--install", env={**env, "PORTICO_PROXY_FILE": str(tmp_path / "none")})

    assert (done.returncode, "PORTICO_PROXY_FILE" in done.stderr) == (8, True)
    assert not log.exists()


@pytest.mark.linux
@pytest.mark.requirement("E113")
@pytest.mark.parametrize("other", ["keep-fresh-proxy.env", "gateway-proxy.env"])
@pytest.mark.parametrize("managed", [True, False])
def test_a_proxy_file_of_porticos_own_is_there_as_long_as_a_service_or_a_line_for_cron_names_it(
    managed, other, run_portico, systemctl, tmp_path
):
    env, _ = systemctl
    if not managed:
        (tmp_path / "empty").mkdir()
        env = {**env, "PATH": str(tmp_path / "empty")}
    state = run_portico.paths.state
    text = "HTTPS_PROXY=http://me:hunter2@proxy.example:8080\n"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    (state / other).write_text(text, encoding="utf-8")
    (state / other).chmod(0o600)

    done = run_portico("auth", "keep-fresh", "--install", env={**env, "PORTICO_PROXY_FILE": str(state / other)})

    own = state / "keep-fresh-proxy.env"
    named = done.stderr if not managed else next((tmp_path / "home/config/systemd/user").iterdir()).read_text(encoding="utf-8")
    assert f"PORTICO_PROXY_FILE={own}" in named
    assert own.read_text(encoding="utf-8") == text
    assert (state / other).exists()


@pytest.mark.linux
@pytest.mark.requirement("E113")
@pytest.mark.parametrize("managed", [True, False])
def test_a_proxy_that_is_not_there_any_more_does_not_leave_without_a_word(managed, run_portico, systemctl, tmp_path):
    env, _ = systemctl
    if not managed:
        (tmp_path / "empty").mkdir()
        env = {**env, "PATH": str(tmp_path / "empty")}
    away = {"HTTPS_PROXY": "http://me:hunter2@proxy.example:8080"}
    first = run_portico("auth", "keep-fresh", "--install", env={**env, **away})

    again = run_portico("auth", "keep-fresh", "--install", "--json", env=env)
    third = run_portico("auth", "keep-fresh", "--install", env=env)

    assert [("goes without the proxy" in done.stderr) for done in (first, again, third)] == [False, True, False]
    assert not (run_portico.paths.state / "keep-fresh-proxy.env").exists()


PLAIN, SECRET = "http://two.example:2", "http://me:hunter2@one.example:1"
AGAIN = {
    "https, then http": ({"HTTPS_PROXY": PLAIN}, {"HTTP_PROXY": PLAIN}, "proxy that it had for https"),
    "a password, then http": ({"HTTPS_PROXY": SECRET}, {"HTTP_PROXY": SECRET}, "proxy that it had for https"),
    "all, then http": ({"ALL_PROXY": SECRET}, {"http_proxy": PLAIN}, "proxy that it had for https"),
    "a file, then http": ({"PORTICO_PROXY_FILE": f"HTTPS_PROXY={SECRET}"}, {"HTTP_PROXY": PLAIN}, "proxy that it had for https"),
    "https, then a file": ({"HTTPS_PROXY": PLAIN}, {"PORTICO_PROXY_FILE": f"http_proxy={SECRET}"}, "proxy that it had for https"),
    "http, then nothing": ({"HTTP_PROXY": PLAIN}, {}, "proxy that it had for http:"),
    "exceptions, then none": ({"HTTPS_PROXY": SECRET, "NO_PROXY": "a.example"}, {"HTTPS_PROXY": SECRET}, "NO_PROXY that it had"),
    "https, then all": ({"HTTPS_PROXY": SECRET}, {"all_proxy": PLAIN}, None),
    "https, then a file with all": ({"HTTPS_PROXY": PLAIN}, {"PORTICO_PROXY_FILE": f"ALL_PROXY={SECRET}"}, None),
    "a password, then a file": ({"HTTPS_PROXY": SECRET}, {"PORTICO_PROXY_FILE": f"HTTPS_PROXY={SECRET}"}, None),
    "all, then https": ({"ALL_PROXY": PLAIN}, {"HTTPS_PROXY": PLAIN}, None),
    "https, then none on purpose": ({"HTTPS_PROXY": SECRET}, {"HTTPS_PROXY": ""}, None),
    "none, then nothing": ({"HTTPS_PROXY": ""}, {}, None),
    "http, then https": ({"HTTP_PROXY": SECRET}, {"HTTPS_PROXY": SECRET}, None),
    "exceptions, then others": (
        {"HTTPS_PROXY": PLAIN, "NO_PROXY": "a.example"},
        {"https_proxy": PLAIN, "no_proxy": "b.test"},
        None,
    ),
}


@pytest.mark.linux
@pytest.mark.requirement("E113")
@pytest.mark.parametrize(("before", "now", "words"), AGAIN.values(), ids=AGAIN)
def test_what_counts_for_a_service_that_is_installed_again_is_its_way_by_https(
    before, now, words, run_portico, systemctl, tmp_path
):
    env, _ = systemctl

    def installed(name, shell):
        if "PORTICO_PROXY_FILE" in shell:
            file = tmp_path / name
            file.write_text(shell["PORTICO_PROXY_FILE"] + "\n", encoding="utf-8")
            file.chmod(0o600)
            shell = {**shell, "PORTICO_PROXY_FILE": str(file)}
        done = run_portico("auth", "keep-fresh", "--install", env={**env, **shell})
        assert done.returncode == 0, done.stderr
        return done.stderr

    first, again = installed("first", before), installed("again", now)

    assert "goes without" not in first
    assert (f"goes without the {words}" in again) if words else ("goes without" not in again)
    assert "hunter2" not in first + again


@pytest.mark.linux
@pytest.mark.requirement("E113")
@pytest.mark.parametrize("options", [(), ("--quiet",), ("--json",)])
def test_uninstall_takes_the_password_away_that_a_line_for_cron_needed(options, run_portico, tmp_path):
    (tmp_path / "empty").mkdir()
    env = {"PATH": str(tmp_path / "empty")}
    own = run_portico.paths.state / "keep-fresh-proxy.env"
    run_portico("auth", "keep-fresh", "--install", env={**env, "https_proxy": "http://me:hunter2@proxy.example:8080"})
    assert own.exists()

    done = run_portico("auth", "keep-fresh", "--uninstall", *options, env=env)

    assert not own.exists()
    assert (done.returncode, str(own) in done.stdout, "No service" in done.stdout) == (0, True, False)
    assert "crontab" not in done.stderr
    if "--json" in options:
        assert "crontab" not in done.stdout
    else:
        advice = "If your crontab has a line that names this file, remove the line: crontab -e"
        assert done.stdout == f"Deleted: {own}\n{advice}\n"
    assert "No service is installed" in run_portico("auth", "keep-fresh", "--uninstall", env=env).stdout


@pytest.mark.linux
def test_what_the_unit_runs_really_runs(run_portico, systemctl, tmp_path):
    env, _ = systemctl
    path = json.loads(run_portico("auth", "keep-fresh", "--install", "--json", env=env).stdout)["path"]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    command = shlex.split(next(line for line in lines if line.startswith("ExecStart=")).removeprefix("ExecStart="))
    own = dict(
        shlex.split(line.removeprefix("Environment="))[0].split("=", 1) for line in lines if line.startswith("Environment=")
    )

    done = subprocess.run(
        [*command, "--once"], env={**own, "HOME": str(tmp_path)}, cwd="/", capture_output=True, text=True, check=False
    )

    assert done.returncode == 3
    assert "You are not signed in" in done.stderr


@pytest.mark.linux
def test_without_a_service_manager_the_line_for_cron_is_printed_and_works(run_portico, tmp_path):
    (tmp_path / "empty").mkdir()

    done = run_portico("auth", "keep-fresh", "--install", env={"PATH": str(tmp_path / "empty")})

    assert done.returncode == 9
    assert "systemctl is not installed" in done.stderr
    line = next(line.strip() for line in done.stderr.splitlines() if "*/4 * * * * " in line)
    assert line.startswith("*/4 * * * * ")
    job = subprocess.run(
        ["/bin/sh", "-c", line.removeprefix("*/4 * * * * ").replace("\\%", "%")],
        env={"HOME": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (job.returncode, job.stderr) == (3, "")


@pytest.mark.linux
@pytest.mark.requirement("E105")
@pytest.mark.parametrize("address", ["unix:path=/run/user/1/bus", None])
def test_the_line_for_cron_leads_to_the_session_bus(run_portico, tmp_path, address):
    (tmp_path / "empty").mkdir()
    env = {"PATH": str(tmp_path / "empty"), "DBUS_SESSION_BUS_ADDRESS": address, "XDG_RUNTIME_DIR": "/run/user/1"}

    done = run_portico("auth", "keep-fresh", "--install", env=env)

    assert f" {f'DBUS_SESSION_BUS_ADDRESS={address}' if address else 'XDG_RUNTIME_DIR=/run/user/1'} " in done.stderr


@pytest.mark.linux
def test_a_sealed_store_wants_its_passphrase_in_a_file_and_the_unit_names_only_the_file(run_portico, systemctl, tmp_path):
    env, _ = systemctl
    ProfileIndex(run_portico.paths).remember_store("file")

    refused = run_portico("auth", "keep-fresh", "--install", env={**env, "PORTICO_PASSPHRASE": "hunter2"})
    assert refused.returncode == 7
    assert "PORTICO_PASSPHRASE_FILE" in refused.stderr
    done = run_portico("auth", "keep-fresh", "--install", "--json", env={**env, "PORTICO_PASSPHRASE_FILE": str(tmp_path / "key")})

    text = Path(json.loads(done.stdout)["path"]).read_text(encoding="utf-8")
    assert f'Environment="PORTICO_PASSPHRASE_FILE={tmp_path / "key"}"' in text
