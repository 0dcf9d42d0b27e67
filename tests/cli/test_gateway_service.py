"""The gateway under a service manager: what each command does then, and what it says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portico.services.gateway_state import running
from portico.store.profiles import ProfileIndex
from portico.testing.canary import canary
from tests.gateway.helpers import get, status_of, wait_until
from tests.needs import needs
from tests.services import fake_systemd

pytestmark = pytest.mark.linux


@pytest.fixture
def systemd(minimax, tmp_path, unused_tcp_port):
    """A session of a user who has a service manager; `asked` is what that was told."""
    session, folder = minimax(), tmp_path / "systemd"
    session.env |= fake_systemd.install(folder, tmp_path / "home")
    session.ok("config", "set", "gateway.port", str(unused_tcp_port))
    session.folder = folder
    yield session
    session.run("gateway", "uninstall")
    session.run("gateway", "stop")


def told(session, *words):
    return json.loads(session.ok("gateway", *words, "--json"))


def test_an_installed_gateway_runs_at_once_has_told_that_it_is_ready_and_every_command_acts_on_it(systemd):
    placed = told(systemd, "install")
    first = running(systemd.paths)

    assert (placed["installed"], placed["kind"], placed["pid"], placed["previousPid"]) == (
        True,
        "systemd user unit",
        first.pid,
        None,
    )
    assert (systemd.folder / "told").read_text() == f"READY=1\nSTATUS=Serving on {first.url}"
    assert told(systemd, "status")["service"] == {"kind": "systemd user unit", "name": placed["name"]}
    assert told(systemd, "start")["started"] is False

    again = told(systemd, "restart")
    assert (again["restarted"], again["previousPid"]) == (True, first.pid)
    stopped = systemd.run("gateway", "stop")
    assert "stopped." in stopped.stdout
    assert f"It starts again at the next login (systemd user unit {placed['name']})" in stopped.stderr
    assert running(systemd.paths) is None
    assert "It starts at the next login" in systemd.ok("gateway", "status")
    assert told(systemd, "start")["started"] is True
    assert "STOPPING" not in systemd.ok("gateway", "logs", "-n", "3")

    assert told(systemd, "uninstall")["uninstalled"] is True
    assert running(systemd.paths) is None
    assert not Path(placed["path"]).exists()
    assert "No service is installed" in systemd.ok("gateway", "uninstall")
    verbs = [line.split()[2] for line in (systemd.folder / "asked").read_text().splitlines() if line.startswith("systemctl")]
    assert verbs[:5] == ["show", "daemon-reload", "enable", "stop", "restart"]
    assert verbs[5:] == ["start", "stop", "start", "disable", "daemon-reload"]


def test_whoever_has_the_port_is_named_before_anything_is_installed(systemd):
    port = int(systemd.ok("config", "get", "gateway.port"))
    with socket.create_server(("127.0.0.1", port)):
        refused = systemd.run("gateway", "install", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["id"]) == (9, "port-taken")
    assert told(systemd, "status")["service"] is None


def test_no_client_is_refused_while_an_installed_gateway_is_restarted(systemd):
    port = told(systemd, "install")["port"]
    with ThreadPoolExecutor() as pool:
        restarting, statuses = pool.submit(told, systemd, "restart"), []
        while not restarting.done() or not statuses:
            statuses.append(status_of(get(port)))
    assert restarting.result()["port"] == port
    assert {*statuses} == {200}


def test_a_gateway_that_runs_already_gives_way_to_the_service_and_its_port_is_the_configurations(systemd):
    before = told(systemd, "start")

    placed = told(systemd, "install")

    assert placed["previousPid"] == before["pid"] != placed["pid"]
    again = systemd.run("gateway", "start", "--port", "18999")
    assert "config set gateway.port 18999, then: portico gateway restart\n" in again.stderr
    refused = systemd.run("gateway", "restart", "--port", "18999")
    assert (refused.returncode, "portico config set gateway.port 18999" in refused.stderr) == (2, True)
    assert running(systemd.paths).pid == placed["pid"]
    told(systemd, "stop")
    refused = systemd.run("gateway", "start", "--port", "18999")
    assert refused.returncode == 2
    assert "portico config set gateway.port 18999" in refused.stderr


def test_a_sign_in_gives_an_installed_gateway_the_passphrase_that_it_does_not_have_and_the_port_stays(systemd):
    placed = told(systemd, "install")  # before there is a sealed file store
    systemd.store = ("--store", "file")

    systemd.env["PORTICO_PASSPHRASE"] = canary("passphrase")
    done = systemd.sign_in("--region", "global")

    after = running(systemd.paths)
    assert "it was restarted" in str(done)
    assert (after.port, after.opens_encrypted_file, after.pid != placed["pid"]) == (placed["port"], True, True)


def test_the_port_that_the_service_manager_keeps_is_nobody_elses(systemd):
    placed = told(systemd, "install")
    os.kill(placed["pid"], signal.SIGKILL)
    wait_until(lambda: running(systemd.paths) is None)

    findings = json.loads(systemd.run("doctor", "--json", env={"PORTICO_GATEWAY_PORT": None}).stdout)["findings"]

    assert "port-taken" not in [found["id"] for found in findings]


def sign_in_with_a_passphrase_in_a_file(session, tmp_path):
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("of no keyring\n", encoding="utf-8")
    passphrase.chmod(0o600)
    session.env = {name: value for name, value in session.env.items() if name != "PORTICO_PASSPHRASE"}
    session.env["PORTICO_PASSPHRASE_FILE"], session.store = str(passphrase), ("--store", "file")
    session.sign_in("--region", "global")


def test_a_tool_uses_the_service_whose_port_is_kept_also_while_its_gateway_is_between_two_processes(systemd, tmp_path):
    sign_in_with_a_passphrase_in_a_file(systemd, tmp_path)
    placed = told(systemd, "install")
    os.kill(placed["pid"], signal.SIGKILL)
    wait_until(lambda: running(systemd.paths) is None)

    assert f":{placed['port']}/" in systemd.ok("env", env={"PORTICO_GATEWAY_PORT": None})
    note = "import os, sys; open(sys.argv[1], 'w').write(os.environ['OPENAI_BASE_URL'])"
    systemd.ok("exec", "--", sys.executable, "-c", note, str(tmp_path / "used"))

    assert f":{placed['port']}/" in (tmp_path / "used").read_text()
    assert running(systemd.paths).port == placed["port"], "and it goes on when the tool has ended"


def test_a_gateway_that_runs_for_a_tool_goes_on_when_the_service_is_uninstalled(systemd, tmp_path):
    sign_in_with_a_passphrase_in_a_file(systemd, tmp_path)
    told(systemd, "install")
    told(systemd, "stop")
    words = [sys.executable, "-m", "portico", "exec", "--", sys.executable, "-uc", "print('ready'); input()"]
    env = systemd.run_portico.environment(systemd.env)
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout.readline() == "ready\n"
        before = running(systemd.paths)
        assert told(systemd, "uninstall")["uninstalled"] is True
        after = running(systemd.paths)
        tool.communicate("\n", timeout=60)

    assert after == before is not None
    assert running(systemd.paths) is None


@pytest.mark.requirement("E113")
def test_a_gateway_whose_proxy_has_got_another_password_is_noticed(systemd):
    def with_password(password):
        proxy = systemd.env["HTTPS_PROXY"].rpartition("//")[2].rpartition("@")[2]
        return dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://me:{password}@{proxy}")

    def outdated(password):
        findings = json.loads(systemd.run("doctor", "--json", env=with_password(password)).stdout)["findings"]
        return [(each["why"], each["hint"]) for each in findings if each["id"] == "service-outdated"]

    placed = json.loads(systemd.ok("gateway", "install", "--json", env=with_password("hunter2")))

    assert "me:hunter2@" in Path(placed["proxyFile"]).read_text(encoding="utf-8")
    assert "hunter2" not in Path(placed["path"]).read_text(encoding="utf-8")
    assert outdated("hunter2") == []
    assert outdated("hunter3") == [
        ("The service does not use the proxy that the variables of this shell name.", "portico gateway install")
    ]
    assert "with the proxy of this shell" in systemd.run("doctor", "--fix", env=with_password("hunter3")).stdout
    assert outdated("hunter3") == []
    systemd.ok("gateway", "uninstall")
    assert not Path(placed["proxyFile"]).exists()


WITHOUT = dict.fromkeys(
    f"{each}_proxy" if lower else f"{each.upper()}_PROXY" for each in ("https", "http", "all", "no") for lower in (True, False)
) | {"PORTICO_PROXY_FILE": None, "SSL_CERT_FILE": None, "PORTICO_PASSPHRASE_FILE": None}


def of_the_service(session, *options):
    """What doctor finds about the service from a shell without those variables, and what it mends."""
    value = json.loads(session.run("doctor", "--json", *options, env=WITHOUT).stdout)
    found = [each for each in value["findings"] if each["id"] == "service-outdated" or "the service" in each["message"]]
    return [each["id"] for each in found], value["mended"]


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(
    "away",
    [
        {"HTTPS_PROXY": "http://b:hunter2@two.test:2", "https_proxy": None},
        {"HTTPS_PROXY": "http://two.test:2", "https_proxy": None, "no_proxy": "a.test", "SSL_CERT_FILE": "ca.pem"},
        {"PORTICO_PROXY_FILE": "mine.env", "https_proxy": None, "HTTPS_PROXY": None},
        {"PORTICO_PASSPHRASE_FILE": "passphrase", "https_proxy": ""},
    ],
)
def test_a_shell_that_names_no_proxy_is_no_reason_to_take_it_from_the_service(away, systemd, tmp_path):
    for name, text in (("mine.env", "ALL_PROXY=http://b:hunter2@two.test:2\n"), ("passphrase", "hunter3\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "ca.pem").write_bytes(Path(systemd.env["SSL_CERT_FILE"]).read_bytes())
    if "PORTICO_PASSPHRASE_FILE" in away:
        ProfileIndex(systemd.paths).remember_store("file")
    away = {name: str(tmp_path / value) if value and "_FILE" in name else value for name, value in away.items()}
    unit = Path(json.loads(systemd.ok("gateway", "install", "--json", env=away))["path"])
    own = systemd.paths.state / "gateway-proxy.env"
    before, secret = unit.read_text(encoding="utf-8"), own.read_bytes() if own.exists() else None

    assert of_the_service(systemd) == ([], [])
    unit.write_text(before.replace("RestartSec=5", "RestartSec=4"), encoding="utf-8")
    assert of_the_service(systemd) == (["service-outdated"], [])
    left, mended = of_the_service(systemd, "--fix")

    assert left == []
    assert len(mended) == 1
    assert "proxy" not in mended[0]
    assert unit.read_text(encoding="utf-8") == before
    assert (own.read_bytes() if own.exists() else None) == secret


@pytest.mark.requirement("E113")
def test_an_installed_services_proxy_file_that_is_gone_is_found_from_a_shell_that_names_no_proxy(systemd):
    systemd.ok("gateway", "install", env={"HTTPS_PROXY": "http://b:hunter2@two.test:2", "https_proxy": None})
    (systemd.paths.state / "gateway-proxy.env").unlink()

    assert of_the_service(systemd, "--fix") == (["proxy-unusable"], [])


@pytest.mark.requirement("E113")
def test_the_password_of_a_proxy_is_in_its_file_and_nowhere_else(systemd, tmp_path):
    proxy = systemd.env["HTTPS_PROXY"].rpartition("//")[2]
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://me:hunter2@{proxy}")
    bundle = tmp_path / "report.tar.gz"

    placed = json.loads(systemd.ok("gateway", "install", "--json", env=away))
    systemd.ok("gateway", "restart", env=away)
    gone = {**away, "HTTPS_PROXY": "http://me:hunter2@", "https_proxy": None}
    said = [systemd.run("doctor", "--bundle", str(bundle), env=gone)]
    process = Path("/proc", str(running(systemd.paths).pid))
    in_process = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
    with tarfile.open(bundle) as archive:
        in_bundle = b"".join(archive.extractfile(each).read() for each in archive)
    said += [systemd.run("gateway", verb, env=away) for verb in ("status", "logs")]

    (own,) = [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert own == Path(placed["proxyFile"])
    assert b"proxy-unusable" in in_bundle
    assert b"hunter2" not in in_process + in_bundle
    assert not [done for done in said if "hunter2" in done.stdout + done.stderr]


@pytest.mark.requirement("E113")
def test_installing_a_gateway_again_without_its_proxy_says_so(systemd):
    away = {"HTTPS_PROXY": "http://two.test:2", "https_proxy": None}
    assert "goes without" not in systemd.run("gateway", "install", env=away).stderr

    assert "goes without the proxy that it had" in systemd.run("gateway", "install", env=WITHOUT).stderr


def test_systemd_finds_nothing_wrong_with_the_gateways_unit(systemd):
    needs("systemd-analyze")
    path = Path(told(systemd, "install")["path"])

    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)], capture_output=True, text=True, check=False, timeout=30
    )

    assert [line for line in (done.stderr + done.stdout).splitlines() if path.name in line] == []
    assert "RestrictNamespaces=yes" in path.read_text(encoding="utf-8")


def test_the_end_is_told_before_it_comes(minimax, tmp_path):
    session, place = minimax(), tmp_path / "notify"
    env = session.run_portico.environment(session.env) | {"NOTIFY_SOCKET": str(place)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(str(place))
        waiting.settimeout(30)
        command = [sys.executable, "-m", "portico", "gateway", "run", "--port", "0"]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
            assert waiting.recv(4096).startswith(b"READY=1\n")
            process.terminate()
            assert waiting.recv(4096) == b"STOPPING=1"
        assert process.returncode == 0


def test_without_a_service_manager_install_says_what_works_and_the_log_is_a_file(minimax, tmp_path):
    session = minimax()
    (tmp_path / "empty").mkdir()
    session.env |= {"PATH": str(tmp_path / "empty")}

    done = session.run("gateway", "install")

    assert done.returncode == 9
    assert "systemctl is not installed" in done.stderr
    assert "portico gateway start" in done.stderr
    assert session.ok("gateway", "logs") == ""
    session.ok("gateway", "start", "--verbose")
    session.ok("gateway", "stop")
    lines = [json.loads(line)["line"] for line in session.ok("gateway", "logs", "--json").splitlines()]
    assert "ending" in lines[-1]
    assert session.ok("gateway", "logs", "-n", "1") == f"{lines[-1]}\n"
