"""The child processes of Portico: none runs code of the current folder, and none gets the passphrase of the encrypted file."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from portico.app import App
from portico.cli import config_edit, demo, gateway
from portico.cli import exec as exec_
from portico.cli.demo import Sandbox, clean_environment
from portico.errors import ConfigError, UsageError
from portico.gateway import control
from portico.gateway.control import same_installation
from portico.gateway.service import gateway_service
from portico.oauth.browser import BrowserOpener, Surroundings
from portico.secret import SECRET_VARIABLES
from portico.services.service import try_run
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from portico.testing.canary import canary
from portico.util.children import child_environment, find_program, portico_environment, tool_environment, without_proxy
from tests.minimax_session import in_this_process
from tests.source_tree import HOST, PLUGINS, Module, modules

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTERS: Final = {
    *(f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")),
    *(f"asyncio.create_subprocess_{name}" for name in ("exec", "shell")),
}


@pytest.fixture
def stopped_gateway(paths):
    yield paths
    control.stop(paths)


def environ_of(pid: int) -> dict[str, str]:
    pairs = Path("/proc", str(pid), "environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


# --- the current folder ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("E117")
def test_a_command_of_the_demo_does_not_run_the_modules_of_the_current_folder(hostile_folder, run_portico, paths, tmp_path):
    sandbox = Sandbox(App("portico"), tmp_path, clean_environment(run_portico.environment()), paths, ())
    assert asyncio.run(sandbox.command("--version")).out.startswith("portico ")


@pytest.mark.requirement("E117")
@pytest.mark.requirement("E132")
@pytest.mark.linux
def test_the_emulator_that_the_demo_leaves_runs_nothing_of_the_current_folder_and_has_no_key(
    hostile_folder, run_portico, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    secrets = {"OPENAI_API_KEY": canary("apikey"), **dict.fromkeys(SECRET_VARIABLES, canary("passphrase"))}
    emulator = demo._start(App("portico", env=run_portico.environment(secrets)))
    try:
        assert "env" in json.loads(emulator.stdout.readline() or "{}")
        environ = environ_of(emulator.pid)
        assert not secrets.keys() & environ.keys()
        assert environ["PYTHONSAFEPATH"] == "1"
    finally:
        emulator.terminate()
        emulator.communicate()


@pytest.mark.requirement("E117")
def test_the_runner_for_the_tests_of_plugins_does_not_either(hostile_folder, portico_run):
    result = portico_run("plugins", "list")
    assert result.returncode == 0, result.stderr


@pytest.mark.requirement("E117")
@pytest.mark.parametrize("python_path", [f".{os.pathsep}"])
def test_a_gateway_in_the_background_does_not_import_from_the_current_folder_either(hostile_folder, stopped_gateway, python_path):
    control.start(stopped_gateway, port=0, env={**os.environ, "PYTHONPATH": python_path})


@pytest.mark.requirement("E117")
@pytest.mark.parametrize("python_path", [None, ".", f"{os.pathsep}{HOST}"])
def test_nor_does_a_service_of_the_operating_system(hostile_folder, paths, python_path):
    app = App("portico", env={**os.environ, **({} if python_path is None else {"PYTHONPATH": python_path})})
    command = [*gateway_service(app).command[:-2], "--version"]
    env = {"PATH": os.environ["PATH"], **same_installation(paths, app.env)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.requirement("E117")
def test_python_with_the_module_option_runs_portico_and_nothing_that_only_looks_like_a_library(
    hostile_folder, run_portico, paths
):
    (hostile_folder / "portico.py").unlink()  # Python itself runs that one before any line of ours: nothing here can forbid it
    result = subprocess.run(
        [sys.executable, "-m", "portico", "config", "validate", "--json"],
        env=run_portico.environment(),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_python_with_the_module_option_runs_portico_in_a_folder_that_was_deleted(run_portico, tmp_path):
    command = f'rmdir "$PWD" && exec "{sys.executable}" -m portico --version'
    folder = tmp_path / "deleted"
    folder.mkdir()
    result = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=run_portico.environment(), capture_output=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.fixture
def planted_program(hostile_folder):
    """Makes a program of the current folder, which makes a note when it is run; its name."""

    def make(name: str) -> str:
        (hostile_folder / name).write_text(f"#!/bin/sh\n: > {hostile_folder}/{name}.ran\n", encoding="utf-8")
        (hostile_folder / name).chmod(0o755)
        return name

    return make


# An empty entry of PATH means the current folder; Windows looks there in any case.
CURRENT_FOLDER_FIRST: Final = f"{os.pathsep}{os.environ['PATH']}{os.pathsep}."


@pytest.mark.requirement("E117")
@pytest.mark.linux
@pytest.mark.parametrize("variable", [{}, {"BROWSER": "firefox"}])
def test_the_browser_is_no_program_of_the_current_folder(variable, planted_program, tmp_path, monkeypatch):
    monkeypatch.setattr("portico.oauth.browser._FAILURE_TIMEOUT_S", 30.0)  # it ends by itself, on a busy machine later
    (tmp_path / "firefox").write_text(f"#!/bin/sh\n: > {tmp_path}/opened\n", encoding="utf-8")
    (tmp_path / "firefox").chmod(0o755)
    for name in ("xdg-open", "firefox"):
        planted_program(name)
    opener = BrowserOpener({"DISPLAY": ":0", "PATH": f":{tmp_path}:/bin", **variable})

    assert asyncio.run(opener.open("http://127.0.0.1:9/"))
    assert (tmp_path / "opened").exists()


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_an_editor_that_was_not_chosen_is_no_program_of_the_current_folder(planted_program, run_portico, tool):
    for name in config_edit._FALLBACKS:
        planted_program(name)
    nano = tool.rename(tool.with_name("nano"))
    env = {"PATH": f":{nano.parent}:.", "VISUAL": None, "EDITOR": None}
    assert config_edit._editor(App("portico", env=run_portico.environment(env))) == [str(nano)]


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_a_tool_or_an_editor_that_is_named_without_a_folder_is_no_program_of_the_current_one(
    planted_program, run_portico, tmp_path
):
    name = planted_program("claude")
    app = App("portico", env=run_portico.environment({"PATH": CURRENT_FOLDER_FIRST}))
    with pytest.raises(UsageError, match="Program not found: claude"):
        exec_._tool_path([name], app.env)
    with pytest.raises(UsageError, match="Could not start"):
        config_edit._run(app, [name], tmp_path / "copy")
    assert exec_._tool_path([f"./{name}"], app.env) == f"./{name}"


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_what_talks_to_the_service_manager_is_no_program_of_the_current_folder(planted_program, run_portico):
    name = planted_program("no-such-manager")
    env = {"PATH": CURRENT_FOLDER_FIRST}
    assert try_run(env, [name]) == ("", f"{name} is not installed")
    with pytest.raises(ConfigError, match="Could not run"):
        list(gateway._lines_of_command([name], App("portico", env=run_portico.environment(env))))


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_the_browser_of_the_demo_is_no_program_of_the_current_folder(planted_program, monkeypatch):
    monkeypatch.setattr(demo.os, "geteuid", lambda: 1000)
    for name in demo._NAMES:
        planted_program(name)

    assert demo._program({"DISPLAY": ":0", "PATH": ":."}) is None


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_a_program_of_the_current_folder_hides_none_of_path_where_the_system_looks_there_first(
    planted_program, tmp_path, monkeypatch
):
    name, which = planted_program("claude"), shutil.which
    monkeypatch.setattr(shutil, "which", lambda word, **more: f"./{word}" if word == name else which(word, **more))
    for file in ("claude", "claude.CMD"):  # as npm has it: one for other shells, and one that Windows can run
        (tmp_path / file).touch(mode=0o755)
    env = {"PATH": f".:{tmp_path}", "PATHEXT": ".EXE;.CMD"}

    assert find_program(name, env) == str(tmp_path / "claude")
    assert find_program(name, env, "win32") == find_program("claude.CMD", env, "win32") == str(tmp_path / "claude.CMD")
    assert find_program("", env) is None


@pytest.mark.requirement("E117")
@pytest.mark.linux
def test_an_editor_that_may_not_be_run_is_not_called_missing(run_portico, tmp_path):
    (tmp_path / "editor").write_text("no program", encoding="utf-8")
    with pytest.raises(UsageError, match="Permission denied"):
        config_edit._run(App("portico", env=run_portico.environment()), [str(tmp_path / "editor")], tmp_path / "copy")


@pytest.mark.requirement("E117")
@pytest.mark.parametrize("variables", [{}, {"SYSTEMROOT": r"D:\Win"}, {"SystemRoot": r"D:\Win"}])
def test_on_windows_the_launcher_is_named_by_its_whole_path_for_windows_looks_in_the_current_folder_first(variables):
    (launcher,) = Surroundings(variables, platform="win32").find_launchers()
    assert launcher.command[0] == (r"D:\Win" if variables else r"C:\Windows") + r"\System32\rundll32.exe"


def _starts(of: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(of):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in STARTERS:
            yield node


@cache
def tree(module: Module) -> ast.Module:
    return ast.parse(module.path.read_bytes())


SOURCES: Final = [module for source in (HOST, *PLUGINS) for module in modules(source)]


@pytest.mark.requirement("E117")
def test_only_one_module_knows_how_a_python_of_ours_is_started():
    wrong = [
        f"{module.name}:{node.lineno}"
        for module in SOURCES
        if module.name != "portico.util.children"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr == "executable" and getattr(node.value, "id", "") == "sys"
    ]
    assert wrong == []


@pytest.mark.requirement("E117")
def test_only_that_module_looks_for_programs():
    wrong = [
        f"{module.name}:{node.lineno}"
        for module in SOURCES
        if module.name != "portico.util.children"
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.Attribute) and node.attr == "which" and getattr(node.value, "id", "") == "shutil")
        or (isinstance(node, ast.ImportFrom) and node.module == "shutil" and any(name.name == "which" for name in node.names))
    ]
    assert wrong == []


@pytest.mark.requirement("E132")
def test_every_start_of_a_program_names_its_environment_and_takes_it_from_that_module():
    wrong = []
    for module in SOURCES:
        calls = list(_starts(tree(module)))
        wrong += [f"{module.name}:{call.lineno}" for call in calls if not any(word.arg == "env" for word in call.keywords)]
        if calls and not any(name.startswith("portico.util.children.") for _, name in module.imports()):
            wrong.append(module.name)
    assert wrong == []


@pytest.mark.requirement("E117")
def test_every_program_is_started_by_these_helpers():
    others = (
        "os.system",
        "os.popen",
        "os.fork",
        "os.forkpty",
        "os.startfile",
        "pty.spawn",
        "os.exec",
        "os.spawn",
        "os.posix_spawn",
    )
    wrong = [
        f"{module.name}:{node.lineno}"
        for module in SOURCES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith((*others, "multiprocessing.", "webbrowser."))
    ]
    assert wrong == []


# --- the passphrase --------------------------------------------------------------------------------------------------------

SECRET: Final = dict.fromkeys(SECRET_VARIABLES, canary("passphrase"))


@pytest.fixture
def passphrase_file(paths, tmp_path):
    """The file with the passphrase of the encrypted file in use."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple", encoding="utf-8")
    passphrase.chmod(0o600)
    source = PassphraseSource({"PORTICO_PASSPHRASE_FILE": str(passphrase)})
    Vault(paths, ProfileIndex(paths), store="file", passphrase=source).probe()
    return passphrase


@pytest.fixture
def tool(tmp_path):
    """A program that prints the names of its variables."""
    path = tmp_path / "tools" / "tool"
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable} -S\nimport os, sys\nopen(sys.argv[-1], 'a').write('\\n'.join(os.environ))\n", encoding="utf-8"
    )
    path.chmod(0o755)
    return path


@pytest.mark.requirement("E132")
def test_a_tool_that_exec_starts_gets_neither_the_passphrase_nor_the_name_of_its_file(
    stopped_gateway, passphrase_file, run_portico, tool, tmp_path
):
    acme = {"baseUrl": "https://acme.test", "api": "openai-completions", "apiKey": "k", "models": [{"id": "model"}]}
    config = {"models": {"providers": {"acme": acme}}, "agents": {"defaults": {"model": "acme/model"}}}
    stopped_gateway.config.write_text(json.dumps(config), encoding="utf-8")
    env = {"PORTICO_PASSPHRASE_FILE": str(passphrase_file), "PORTICO_PASSPHRASE": canary("passphrase")}
    environment_file = tmp_path / "seen"

    result = in_this_process(("exec", "--", str(tool), str(environment_file)), run_portico.environment(env))

    assert result.returncode == 0, result.stderr
    names = environment_file.read_text(encoding="utf-8").split()
    assert "PORTICO_GATEWAY_KEY" in names
    assert not set(SECRET_VARIABLES) & set(names)


@pytest.mark.requirement("E132")
@pytest.mark.linux
def test_a_gateway_gets_the_passphrase_of_a_file_through_its_pipe_and_not_the_files_name(stopped_gateway, passphrase_file):
    env = {**os.environ, "PORTICO_PASSPHRASE_FILE": str(passphrase_file)}

    state = control.start(stopped_gateway, port=0, env=env)

    assert state.opens_encrypted_file
    assert not set(SECRET_VARIABLES) & environ_of(state.pid).keys()


@pytest.mark.requirement("E132")
def test_an_editor_gets_neither(run_portico, tool, tmp_path):
    app = App("portico", env=run_portico.environment(SECRET))
    config_edit._run(app, [str(tool)], tmp_path / "seen")
    assert not set(SECRET_VARIABLES) & set((tmp_path / "seen").read_text(encoding="utf-8").split())


@pytest.mark.requirement("E132")
def test_what_reads_the_journal_gets_neither(run_portico, tool, tmp_path):
    app = App("portico", env=run_portico.environment(SECRET))
    list(gateway._lines_of_command([str(tool), str(tmp_path / "seen")], app))
    names = (tmp_path / "seen").read_text(encoding="utf-8").split()
    assert "PATH" in names
    assert not set(SECRET_VARIABLES) & set(names)


@pytest.mark.requirement("E132")
def test_a_command_of_the_demo_gets_no_key_and_no_passphrase_of_the_user():
    secrets = {**SECRET, "OPENAI_API_KEY": canary("apikey"), "PORTICO_CONFIG": "c", "PATH": "p"}
    assert clean_environment(secrets) == {"PATH": "p", **without_proxy({})}


# --- the way to this machine's own servers ------------------------------------------------------------------------------------


@pytest.mark.requirement("E150")
@pytest.mark.parametrize(
    ("no_proxy", "upper", "lower"),
    [
        ({}, "127.0.0.1,localhost,::1", "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.test"}, "a.test,127.0.0.1,localhost,::1", "a.test,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a.test 10.0.0.0/8"}, *["a.test 10.0.0.0/8,127.0.0.1,localhost,::1"] * 2),
        ({"NO_PROXY": "A.test", "no_proxy": "b.test,"}, "A.test,127.0.0.1,localhost,::1", "b.test,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.test", "no_proxy": ""}, "a.test,127.0.0.1,localhost,::1", "127.0.0.1,localhost,::1"),
        ({"no_proxy": "::1, LOCALHOST"}, *["::1, LOCALHOST,127.0.0.1"] * 2),
        ({"no_proxy": "localhost,127.0.0.1,::1"}, *["localhost,127.0.0.1,::1"] * 2),
        ({"no_proxy": "*"}, "*", "*"),
        ({"no_proxy": "*,a.test"}, *["*,a.test,127.0.0.1,localhost,::1"] * 2),
    ],
)
@pytest.mark.parametrize("environment", [tool_environment, child_environment, portico_environment])
def test_every_child_reaches_this_machine_without_a_proxy_and_keeps_what_the_user_has_excepted(
    environment, no_proxy, upper, lower
):
    child = environment({"HTTP_PROXY": "http://proxy.test:1", **no_proxy})

    assert (child["NO_PROXY"], child["no_proxy"], child["HTTP_PROXY"]) == (upper, lower, "http://proxy.test:1")
