"""`portico plugins`, run as its users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.helpers import GOOD, install, was_imported, write_plugin

MINIMAX = "minimax-portal-auth"


@pytest.fixture
def configure(paths):
    def write(**plugins):
        paths.config.write_text(json.dumps({"plugins": plugins}))

    return write


@pytest.fixture
def acme(tmp_path, configure):
    folder = write_plugin(tmp_path / "plugins", "acme-auth", providers=["acme"])
    configure(load={"paths": [str(folder)]}, entries={"acme-auth": {"enabled": False}})
    return folder


def test_the_list_shows_the_bundled_plugin_with_what_its_manifest_says(run_portico):
    done = run_portico("plugins", "list")
    assert done.returncode == 0, done.stderr
    heading, _, columns, *_, row = done.stdout.splitlines()
    assert heading == "Plugins (0/1 loaded)"
    assert columns.split() == ["Name", "ID", "Status", "Source", "Version"]
    assert row.split("  ")[:3] == ["MiniMax OAuth", MINIMAX, "disabled (bundled)"]


def test_the_beginning_of_an_id_is_enough_to_suggest_it(run_portico):
    done = run_portico("plugins", "enable", "minimax")
    assert done.returncode == 2
    assert "Did you mean minimax-portal-auth?" in done.stderr


def test_the_list_as_json_has_the_plugins_and_the_diagnostics(run_portico, acme):
    listed = json.loads(run_portico("plugins", "list", "--json").stdout)
    record = next(each for each in listed["plugins"] if each["id"] == "acme-auth")
    assert record | {"source": None, "configJsonSchema": None} == {
        "id": "acme-auth",
        "name": "The acme-auth",
        "description": "A plugin",
        "version": None,
        "source": None,
        "origin": "config",
        "enabled": False,
        "status": "disabled",
        "providerIds": ["acme"],
        "authChoices": [],
        "hookNames": [],
        "cliCommands": [],
        "configSchema": True,
        "configJsonSchema": None,
        "error": "disabled in config",
    }
    assert listed["diagnostics"] == []


def test_info_shows_one_plugin(run_portico):
    done = run_portico("plugins", "info", "MiniMax OAuth")
    lines = done.stdout.splitlines()
    assert lines[:5] == ["MiniMax OAuth", f"id: {MINIMAX}", "OAuth flow for MiniMax models", "", "Status: disabled (bundled)"]
    assert "Providers: minimax-portal" in lines
    assert "Run `portico plugins enable minimax-portal-auth`." in done.stderr


@pytest.mark.requirement("P2")
def test_enable_and_disable_say_what_they_did_and_do_nothing_twice(run_portico, acme):
    said = [run_portico("plugins", verb, "acme-auth").stdout for verb in ("enable", "enable", "disable", "disable")]
    assert said == [
        'Enabled plugin "acme-auth".\n',
        'Plugin "acme-auth" is already enabled.\n',
        'Disabled plugin "acme-auth".\n',
        'Plugin "acme-auth" is already disabled.\n',
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_running_gateway_has_to_be_restarted(run_portico, acme, unused_tcp_port):
    started = run_portico("gateway", "start", "--port", str(unused_tcp_port))
    assert started.returncode == 0, started.stderr
    try:
        said = [run_portico("plugins", verb, "acme-auth").stdout for verb in ("enable", "enable", "disable")]
    finally:
        run_portico("gateway", "stop")
    assert said == [
        'Enabled plugin "acme-auth". Restart the gateway to apply.\n',
        'Plugin "acme-auth" is already enabled.\n',
        'Disabled plugin "acme-auth". Restart the gateway to apply.\n',
    ]


def test_enable_loads_the_plugin_and_the_list_then_says_loaded(run_portico, acme):
    run_portico("plugins", "enable", "acme-auth")
    assert was_imported(acme)
    listed = json.loads(run_portico("plugins", "list", "--enabled", "--json").stdout)
    assert [(each["id"], each["status"], each["hookNames"]) for each in listed["plugins"]] == [
        ("acme-auth", "loaded", ["portico_providers"])
    ]


@pytest.mark.parametrize(
    ("plugins", "why"),
    [
        ({"deny": ["acme-auth"]}, "blocked by denylist"),
        ({"enabled": False}, "plugins disabled"),
    ],
)
def test_enable_says_what_still_keeps_the_plugin_off(run_portico, acme, configure, plugins, why):
    configure(load={"paths": [str(acme)]}, entries={"acme-auth": {"enabled": False}}, **plugins)
    done = run_portico("plugins", "enable", "acme-auth")
    assert done.returncode == 9
    assert f"it does not load: {why}." in done.stdout
    assert "plugins." in done.stderr
    assert not was_imported(acme)


def test_enable_joins_an_allow_list(run_portico, paths, acme, configure):
    configure(load={"paths": [str(acme)]}, allow=["other"])
    assert run_portico("plugins", "enable", "acme-auth").stdout == 'Enabled plugin "acme-auth".\n'
    assert json.loads(paths.config.read_text())["plugins"]["allow"] == ["other", "acme-auth"]


def test_enable_of_a_plugin_that_fails_says_why(run_portico, acme):
    (acme / "plugin.py").write_text("raise RuntimeError('no card reader')")
    done = run_portico("plugins", "enable", "acme-auth", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 9
    assert answer == {
        "id": "acme-auth",
        "enabled": True,
        "status": "error",
        "error": "failed to load plugin: RuntimeError: no card reader",
        "changed": True,
        "restartGateway": False,
    }


@pytest.mark.parametrize("verb", ["info", "enable", "disable"])
def test_a_typo_gets_the_nearest_id_on_stderr_and_writes_nothing(run_portico, paths, verb):
    done = run_portico("plugins", verb, "minimax-portl-auth")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Plugin not found: minimax-portl-auth" in done.stderr
    assert "Did you mean minimax-portal-auth?" in done.stderr
    assert not paths.config.exists()


def test_ids_of_plugins_that_are_gone_are_warnings(run_portico, configure):
    configure(entries={"long-gone": {"enabled": True}})
    done = run_portico("plugins", "list")
    assert done.returncode == 0
    assert "warning: plugins.entries: plugin not found: long-gone" in done.stderr


@pytest.mark.requirement("S3")
def test_a_broken_plugin_is_listed_as_such_and_the_others_load(run_portico, tmp_path, configure):
    broken = write_plugin(tmp_path / "broken", "broken", code="1 / 0")
    unreadable = write_plugin(tmp_path / "unreadable", "unreadable")
    (unreadable / "portico.plugin.json").write_text("{")
    good = write_plugin(tmp_path / "good", "good")
    configure(load={"paths": [str(broken), str(unreadable), str(good)]})
    done = run_portico("plugins", "list", "--json")
    status = {each["id"]: each["status"] for each in json.loads(done.stdout)["plugins"]}
    assert status == {"broken": "error", unreadable.name: "error", "good": "loaded", MINIMAX: "disabled"}
    doctor = run_portico("plugins", "doctor")
    assert doctor.returncode == 9
    assert "Plugin errors:\n- broken: failed to load plugin: ZeroDivisionError: division by zero (" in doctor.stdout


def test_the_doctor_finds_nothing_wrong_with_a_fresh_installation(run_portico):
    done = run_portico("plugins", "doctor")
    assert (done.returncode, done.stdout) == (0, "No plugin issues detected.\n")


def test_the_doctor_runs_the_plugins_own_checks_and_survives_one_that_fails(run_portico, tmp_path, configure):
    code = """
from portico.plugin_api import DoctorCheck, Finding, hookimpl

async def fine(): return [Finding("fine", "ok", "all is well")]
async def bad(): return [Finding("bad", "warning", "the clock is off", hint="See `{prog} plugins`.")]
async def worse(): raise OSError("no route")

@hookimpl
def portico_doctor_checks():
    return [DoctorCheck(each.__name__, each.__name__, each) for each in (fine, bad, worse)]
"""
    configure(load={"paths": [str(write_plugin(tmp_path, code=code))]})
    done = run_portico("plugins", "doctor")
    assert done.returncode == 9
    assert done.stdout.splitlines() == [
        "Diagnostics:",
        "- warning: the clock is off See `portico plugins`.",
        "- error: worse: OSError: no route",
    ]
    findings = json.loads(run_portico("plugins", "doctor", "--json").stdout)["findings"]
    assert [each["level"] for each in findings] == ["ok", "warning", "error"]


# --- what an installed third-party plugin may and may not do -------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path):
    site = tmp_path / "site"
    code = (
        GOOD
        + """
from portico.plugin_api import CliCommand

@hookimpl
def portico_cli_commands():
    return [CliCommand("acme", "Talk to Acme", f"{__name__}:talk")]

def talk(words):
    if words[:1] == ["fail"]:
        import portico.errors
        raise getattr(portico.errors, words[1])("acme-failed", "Acme failed.", hint="Try `{prog} acme`.")
    if words == ["exit"]:
        raise SystemExit("had enough")
    if words == ["bug"]:
        raise RuntimeError("access_token=CANARY-not-shown")
    if words == ["wait"]:
        import time
        print("waiting", flush=True)
        time.sleep(60)
    if words == ["flood"]:
        for number in range(200_000):
            print(number)
    print("acme", *words)
    return 0
"""
    )
    folder = write_plugin(site, "acme-auth", code=code)
    install(site, folder)
    source = Path(__file__).parents[2] / "src"
    return folder, {"PYTHONPATH": os.pathsep.join([str(source), str(site)])}


@pytest.mark.requirement("S2")
def test_a_plugin_that_is_off_is_never_imported_by_any_command(run_portico, configure, installed):
    folder, env = installed
    configure(entries={"acme-auth": {"enabled": False}})
    for words in (
        ["plugins", "list"],
        ["plugins", "info", "acme-auth"],
        ["plugins", "doctor"],
        ["acme"],
        ["plugins", "disable", "acme-auth"],
    ):
        run_portico(*words, env=env)
    code = """
import sys
from portico.cli.main import main
main(["plugins", "list"])
print([name for name in sys.modules if name.startswith(sys.argv[1]) or name.startswith("minimax_portal_auth")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, folder.name],
        env=run_portico.environment(env),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert not was_imported(folder)


def test_an_installed_plugin_is_on_and_its_command_works_like_the_hosts_own(run_portico, installed):
    _, env = installed
    done = run_portico("acme", "--loud", "hello", env=env)
    assert (done.returncode, done.stdout) == (0, "acme --loud hello\n")
    shown = run_portico("plugins", "info", "acme-auth", env=env).stdout
    assert "Origin: installed\nVersion: 1.2.3\n" in shown
    assert "CLI commands: acme\n" in shown


def test_the_environment_switches_every_plugin_off(run_portico, installed):
    folder, env = installed
    done = run_portico("acme", env={**env, "PORTICO_LOAD_PLUGINS": ""})
    assert (done.returncode, done.stderr) == (2, "portico: Unknown command: acme\n  See `portico --help`.\n")
    assert not was_imported(folder)


CODES = {
    "PorticoError": 1,
    "UsageError": 2,
    "SignInNeeded": 3,
    "Denied": 4,
    "TimedOut": 5,
    "NoWayToSignIn": 6,
    "StoreError": 7,
    "NetworkError": 8,
    "OAuthError": 8,
    "ConfigError": 9,
    "LockBusy": 10,
    "NotRevoked": 11,
}


@pytest.mark.requirement("E78")
@pytest.mark.parametrize(("error", "code"), CODES.items())
def test_each_kind_of_failure_has_its_exit_code_and_one_block_on_stderr(run_portico, installed, error, code):
    done = run_portico("acme", "fail", error, env=installed[1])
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "portico: Acme failed.\n  Try `portico acme`.\n"


@pytest.mark.requirement("E77")
@pytest.mark.requirement("E78")
def test_a_failure_as_json_is_one_object_on_stdout(run_portico, installed):
    done = run_portico("--json", "acme", "fail", "Denied", env=installed[1])
    assert (done.returncode, done.stderr) == (4, "")
    assert json.loads(done.stdout) == {
        "error": {"id": "acme-failed", "message": "Acme failed.", "exitCode": 4, "hint": "Try `portico acme`."}
    }


@pytest.mark.requirement("E78")
def test_a_bug_keeps_its_traceback_without_what_looks_like_a_secret(run_portico, installed):
    done = run_portico("acme", "bug", env=installed[1])
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError" in done.stderr
    assert "CANARY" not in done.stderr


@pytest.mark.requirement("E78")
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_ends_with_130_and_no_traceback(run_portico, installed):
    command = [sys.executable, "-m", "portico", "acme", "wait"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=run_portico.environment(installed[1]), text=True, **pipes) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, "portico: Interrupted.\n")


def test_a_misspelt_command_of_a_plugin_gets_a_did_you_mean(run_portico, installed):
    done = run_portico("acmme", env=installed[1])
    assert (done.returncode, done.stderr) == (2, "portico: Unknown command: acmme\n  Did you mean `portico acme`?\n")


def test_a_command_that_exits_with_a_text_says_it(run_portico, installed):
    done = run_portico("acme", "exit", env=installed[1])
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "had enough\n")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_goes_away_is_no_crash(run_portico, installed):
    command = [sys.executable, "-m", "portico", "acme", "flood"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=run_portico.environment(installed[1]), text=True, **pipes) as process:
        process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read()
        process.wait(20)
    assert (process.returncode, stderr) == (141, "")
