"""The files and commands for service managers: without secrets."""

from __future__ import annotations

import json
import plistlib
import subprocess
import sys
from dataclasses import replace

import pytest

from portico.errors import ConfigError
from portico.secret import Secret
from portico.services.managers import Launchd, Systemd, launchd_plist, service_manager, systemd_unit
from portico.services.service import Service, ServiceCommands
from tests.needs import needs

FAKE = """#!{python} -IS
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if {refuses!r} in sys.argv:
    sys.exit("Failed to connect to bus: No medium found")
"""


@pytest.fixture
def service(tmp_path):
    return Service(
        "portico-keep-fresh",
        "Portico keeps sign-ins fresh",
        ServiceCommands("auth keep-fresh --install", "auth keep-fresh --uninstall"),
        (sys.executable, "-P", "-m", "portico", "auth", "keep-fresh"),
        {"PORTICO_STATE_DIR": '/home/a b/100% "mine"', "PORTICO_CONFIG": "/home/a\\b/$HOME.json5"},
        tmp_path / "keep-fresh.log",
    )


@pytest.fixture
def program(tmp_path):
    """Install a program that records its arguments; `refuses` makes it fail for one of them."""
    folder, log = tmp_path / "programs", tmp_path / "asked.jsonl"
    folder.mkdir()

    def make(name, refuses="nothing"):
        path = folder / name
        path.write_text(FAKE.format(python=sys.executable, log=str(log), refuses=refuses), encoding="utf-8")
        path.chmod(0o755)
        return {"PATH": str(folder), "HOME": str(tmp_path / "home")}

    def calls():
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []

    make.calls = calls
    return make


def test_the_unit_asks_for_little_and_says_what_it_promises(service):
    unit = systemd_unit(service)

    for line in ("Type=notify", "NoNewPrivileges=yes", "UMask=0077", "Restart=on-failure", "WantedBy=default.target"):
        assert line in unit.splitlines()
    assert 'Environment="PORTICO_STATE_DIR=/home/a b/100%% \\"mine\\""' in unit
    assert 'Environment="PORTICO_CONFIG=/home/a\\\\b/$HOME.json5"' in unit
    assert '"-m" "portico" "auth" "keep-fresh"' in unit


@pytest.mark.parametrize("port", [None, 18444])
def test_systemd_itself_finds_nothing_wrong_with_the_units(service, port, tmp_path):
    needs("systemd-analyze")
    files = Systemd({"XDG_CONFIG_HOME": str(tmp_path)}).files(replace(service, port=port))
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    words = ["systemd-analyze", "--user", "verify", *map(str, files)]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)

    assert len(files) == (1 if port is None else 2)
    assert [line for line in (result.stderr + result.stdout).splitlines() if service.name in line] == []


def test_the_port_of_a_service_stays_open_by_a_socket_that_the_service_needs(service, program, tmp_path):
    manager, served = Systemd(program("systemctl")), replace(service, port=18444)
    folder = tmp_path / "home/.config/systemd/user"
    unit, socket = "portico-keep-fresh.service", "portico-keep-fresh.socket"

    assert manager.keeps_port(served) is False
    manager.install(served)
    assert {f"Requires={socket}", f"After={socket}"} <= {*(folder / unit).read_text(encoding="utf-8").splitlines()}
    assert "ListenStream=127.0.0.1:18444" in (folder / socket).read_text(encoding="utf-8").splitlines()
    assert manager.keeps_port(served) is True
    assert manager.keeps_port(replace(served, port=18445)) is False
    manager.stop(served)
    manager.uninstall(service)

    assert [words[2:] for words in program.calls()] == [
        ["daemon-reload"],
        ["enable", unit, socket],
        ["stop", socket, unit],
        ["restart", unit],
        ["stop", socket, unit],
        ["disable", "--now", socket, unit],
        ["daemon-reload"],
    ]
    assert [*folder.iterdir()] == []


def test_only_a_service_whose_clients_wait_at_its_port_is_started_again_soon(service):
    assert "RestartSec=30\n" in systemd_unit(service), (
        "what fails at once, as where a keyring stays locked, has time until it fails again"
    )
    assert "RestartSec=5\n" in systemd_unit(replace(service, port=18444))


def test_a_service_that_is_started_with_another_port_has_its_socket_moved_first(service, program, tmp_path):
    manager = Systemd(program("systemctl"))
    manager.install(replace(service, port=18444))
    before = len(program.calls())

    for _ in range(2):
        manager.start(replace(service, port=18445))

    unit, socket = "portico-keep-fresh.service", "portico-keep-fresh.socket"
    assert [words[2:] for words in program.calls()[before:]] == [
        ["stop", socket, unit],
        ["daemon-reload"],
        ["start", unit],
        ["start", unit],
    ]


def test_a_service_that_is_installed_again_without_a_port_loses_its_socket(service, program, tmp_path):
    manager, socket = Systemd(program("systemctl")), tmp_path / "home/.config/systemd/user/portico-keep-fresh.socket"
    manager.install(replace(service, port=18444))
    assert socket.exists()

    path = manager.install(service)

    assert not socket.exists()
    assert path.read_text(encoding="utf-8") == systemd_unit(service)


def test_where_no_manager_answers_the_units_and_what_enabled_them_are_taken_away_all_the_same(service, program, tmp_path):
    manager = Systemd(program("systemctl"))
    files = manager.files(replace(service, port=18444))
    manager.install(replace(service, port=18444))
    for path, target in zip(files, ("default.target.wants", "sockets.target.wants"), strict=True):
        path.with_name(target).mkdir()
        (path.with_name(target) / path.name).symlink_to(path)

    assert Systemd({"PATH": str(tmp_path), "HOME": str(tmp_path / "home")}).uninstall(service) is True

    assert [each for each in (tmp_path / "home").rglob("*") if each.is_symlink() or each.is_file()] == []


def test_a_path_that_would_begin_a_new_line_of_the_unit_is_refused(service):
    with pytest.raises(ConfigError):
        systemd_unit(replace(service, environment={"PORTICO_STATE_DIR": "/x\nExecStartPre=/bin/evil"}))


def test_the_property_list_says_the_same(service):
    value = plistlib.loads(launchd_plist(service))

    assert value["ProgramArguments"] == list(service.command)
    assert value["EnvironmentVariables"] == dict(service.environment)
    assert (value["Umask"], value["KeepAlive"], value["RunAtLoad"]) == (0o077, {"SuccessfulExit": False}, True)


def test_systemd_is_asked_in_order_and_the_folders_mode_stays(service, program, tmp_path):
    manager = Systemd(program("systemctl"))
    folder = tmp_path / "home" / ".config" / "systemd" / "user"
    folder.mkdir(parents=True)
    folder.chmod(0o755)

    assert manager.why_unavailable() is None
    path = manager.install(service)
    assert path == folder / "portico-keep-fresh.service"
    assert path.read_text(encoding="utf-8") == systemd_unit(service)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert manager.uninstall(service) is True
    assert manager.uninstall(service) is False

    unit = "portico-keep-fresh.service"
    assert program.calls() == [
        ["systemctl", "--user", "show", "--property=Version"],
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", unit],
        ["systemctl", "--user", "restart", unit],
        ["systemctl", "--user", "disable", "--now", unit],
        ["systemctl", "--user", "daemon-reload"],
    ]
    assert not path.exists()


def test_launchd_is_asked_in_order(service, program, tmp_path):
    manager = Launchd(program("launchctl"))

    path = manager.install(service)
    assert path == tmp_path / "home/Library/LaunchAgents/portico-keep-fresh.plist"
    assert manager.uninstall(service) is True

    assert [words[1] for words in program.calls()] == ["bootstrap", "bootout"]
    assert not path.exists()


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(("kind", "name"), [(Systemd, "systemctl"), (Launchd, "launchctl")])
def test_what_holds_a_password_is_in_a_file_of_its_own_and_goes_with_the_service(service, program, tmp_path, kind, name):
    own = tmp_path / "state/gateway-proxy.env"
    secret = {"HTTPS_PROXY": "http://me:hunter2@proxy.example:8080", "ALL_PROXY": "http://me:hunter2@proxy.example:8080"}
    manager = kind(program(name))
    changed = replace(service, secrets=own, secret_environment={name: Secret(value) for name, value in secret.items()})
    assert "hunter2" not in repr(changed)

    path = manager.install(changed)

    assert own.read_text(encoding="utf-8").splitlines() == [
        f"ALL_PROXY={secret['ALL_PROXY']}",
        f"HTTPS_PROXY={secret['HTTPS_PROXY']}",
    ]
    assert own.stat().st_mode & 0o777 == 0o600
    assert b"hunter2" not in path.read_bytes()
    manager.install(replace(changed, secret_environment={}))
    assert not own.exists()
    manager.install(changed)
    assert manager.uninstall(replace(service, secrets=own)) is True
    assert not own.exists()


@pytest.mark.requirement("E113")
def test_a_value_that_goes_on_in_the_next_line_is_refused_and_not_shown(service, program, tmp_path):
    changed = replace(
        service, secrets=tmp_path / "proxy.env", secret_environment={"HTTPS_PROXY": Secret("http://me:hunter2@x\nhttp_proxy=y")}
    )

    with pytest.raises(ConfigError, match="HTTPS_PROXY") as exc_info:
        Systemd(program("systemctl")).install(changed)

    assert "hunter2" not in f"{exc_info.value} {exc_info.value.why} {exc_info.value.hint}"
    assert not (tmp_path / "proxy.env").exists()


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(("kind", "name"), [(Systemd, "systemctl"), (Launchd, "launchctl")])
def test_the_variables_of_an_installed_service_are_read_as_they_were_written(service, program, kind, name):
    manager = kind(program(name))
    odd = {**service.environment, "https_proxy": "", "HTTP_PROXY": "http://a.test:1/?x='y'%20", "NO_PROXY": "*.a, b\\"}
    assert manager.environment(service) == {}

    path = manager.install(replace(service, environment=odd))

    assert manager.environment(service) == odd
    for damaged in (b"", b'Environment="X', b"<plist", b"<plist><dict/></plist>", b"\xff\xfe", b"bplist00"):
        path.write_bytes(damaged)
        assert manager.environment(service) == {}


@pytest.mark.requirement("E113")
@pytest.mark.parametrize(("manager", "name"), [(Systemd, "systemctl"), (Launchd, "launchctl")])
def test_a_file_that_the_new_service_names_is_not_deleted(service, program, tmp_path, manager, name):
    own = tmp_path / "proxy.env"
    own.write_text("HTTPS_PROXY=http://me:hunter2@proxy.example:8080\n", encoding="utf-8")

    manager(program(name)).install(replace(service, secrets=own, environment={"PORTICO_PROXY_FILE": str(own)}))

    assert own.exists()


@pytest.mark.requirement("E113")
def test_a_service_that_no_unit_can_hold_leaves_no_password_behind(service, program, tmp_path):
    secret = {"HTTPS_PROXY": Secret("http://me:hunter2@proxy.example:8080")}
    changed = replace(service, secrets=tmp_path / "proxy.env", secret_environment=secret, environment={"PORTICO_CONFIG": "/a\nb"})

    with pytest.raises(ConfigError):
        Systemd(program("systemctl")).install(changed)

    assert not (tmp_path / "proxy.env").exists()


def test_the_managers_error_is_reported(service, program):
    assert "No medium found" in str(Systemd(program("systemctl", refuses="show")).why_unavailable())
    with pytest.raises(ConfigError, match="No medium found"):
        Systemd(program("systemctl", refuses="enable")).install(service)


def test_without_the_managers_program_there_is_no_manager(tmp_path):
    assert Systemd({"PATH": str(tmp_path)}).why_unavailable() == "systemctl is not installed"
    assert service_manager({}, "win32") is None
    assert service_manager({}, "darwin").kind == "launchd agent"
