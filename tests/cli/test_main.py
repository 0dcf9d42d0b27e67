"""The program from outside: help, versions, misspelt words, and places where a terminal is not what it should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import portico
from portico.cli.dispatch import COMMANDS
from portico.cli.main import main, program_name
from portico.cli.parser import add_global_options, make_parser
from portico.util.signals import EndedBySignal


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["--quiet", "--version"]])
def test_the_version_is_one_line(words, capsys):
    assert main(words, program="portico") == 0
    assert capsys.readouterr().out == f"portico {portico.__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["--quiet", "--help"], ["--json", "help"]])
def test_help_lists_every_command_and_an_example(words, capsys):
    assert main(words, program="portico") == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "  help " in shown
    assert "portico onboard --auth-choice minimax-portal" in shown


def test_no_command_prints_the_help_on_stderr_and_is_a_usage_error(capsys):
    assert main([], program="portico") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: portico")


def test_a_group_without_its_command_prints_its_help_and_is_a_usage_error(capsys):
    assert main(["plugins"], program="portico") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: portico plugins")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["help", "plugins"], "usage: portico plugins [-h] <command> ..."),
        (["plugins", "help"], "usage: portico plugins [-h] <command> ..."),
        (["plugins", "help", "enable"], "usage: portico plugins enable [-h] id"),
        (["plugins", "--help"], "usage: portico plugins [-h] <command> ..."),
        (["help", "plugins", "enable"], "usage: portico plugins enable [-h] id"),
    ],
)
def test_help_of_a_command_is_there_in_both_spellings(words, first, capsys):
    assert main(words, program="portico") == 0
    assert capsys.readouterr().out.startswith(first)


def _parsers(parser):
    import argparse

    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example_in_the_programs_own_name(name):

    parser = make_parser("openclaw", name, COMMANDS[name].summary)
    COMMANDS[name].add_arguments(parser)
    add_global_options(parser)
    for each in _parsers(parser):
        shown = each.format_help()
        assert "example" in shown, each.prog
        assert "  openclaw " in shown.partition("example")[2], each.prog
        assert "portico " not in shown, each.prog
        assert each.description, each.prog


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["plugin"], "Unknown command: plugin", "Did you mean `portico plugins`?"),
        (["frobnicate"], "Unknown command: frobnicate", "See `portico --help`."),
        (["plugins", "lits"], "Unknown command: plugins lits", "Did you mean `portico plugins list`?"),
        (["plugins", "list", "--enbled"], "Unknown argument --enbled: did you mean --enabled?", "Usage: portico plugins list"),
        (["plugins", "list", "--enab"], "Unknown argument --enab: did you mean --enabled?", "Usage: portico plugins list"),
        (["plugins", "info"], "The following arguments are required: id.", "Usage: portico plugins info [-h] id"),
        (["--jsno", "plugins"], "Unknown option: --jsno", "See `portico --help`."),
        (
            ["emulator", "run", "--rediret"],
            "Unknown argument --rediret: did you mean --redirect?",
            "See `portico emulator run --help`.",
        ),
        (
            ["gateway", "start", "--port", "x"],
            "Argument --port: expected a whole number, not 'x'.",
            "Usage: portico gateway start",
        ),
        (["--config"], "Argument --config: specify a path.", ""),
    ],
)
@pytest.mark.requirement("E78")
def test_a_line_that_makes_no_sense_is_a_usage_error_with_what_was_meant(words, message, hint, paths, capsys):
    assert main(words, program="portico") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"portico: {message}\n")
    assert hint in captured.err


@pytest.mark.parametrize("words", [["--json"], ["plugins", "--json"], ["--json", "auth"]])
def test_no_command_is_json_too_where_that_was_asked_for(words, capsys):
    assert main(words, program="portico") == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["error"]["id"] == "usage"


@pytest.mark.parametrize("words", [["--version", "--json"], ["--json", "--version"]])
def test_the_version_is_json_where_that_was_asked_for(words, capsys):
    assert main(words, program="portico") == 0
    assert json.loads(capsys.readouterr().out) == {"program": "portico", "version": portico.__version__}


def test_a_usage_error_is_json_where_json_was_asked_for_anywhere_on_the_line(paths, capsys):
    assert main(["plugins", "lits", "--json"], program="portico") == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["error"]["id"] == "usage"


@pytest.mark.parametrize("after", [0, 1, 2])
def test_global_options_may_stand_before_and_after_each_word(after, tmp_path, paths, capsys):
    config = tmp_path / "other.json5"
    config.write_text("{ plugins: { entries: { gone: { enabled: true } } } }")
    words = ["plugins", "list"]
    words[after:after] = ["--json", "--config", str(config)]
    assert main(words, program="portico") == 0
    assert "gone" in json.loads(capsys.readouterr().out)["diagnostics"][0]["message"]


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/usr/bin/portico", "portico"),
        ("/home/me/bin/openclaw", "openclaw"),
        (r"C:\tools\portico.exe", "portico"),
        ("/x/portico/__main__.py", "portico"),
        ("-c", "portico"),
        ("", "portico"),
    ],
)
def test_the_program_is_called_what_it_was_started_as(argv0, name):
    assert program_name(argv0) == name


@pytest.mark.requirement("E78")
def test_a_broken_configuration_is_exit_code_9_with_its_place(run_portico, paths):
    paths.config.write_text("{ plugins: [ }")
    done = run_portico("plugins", "list")
    assert done.returncode == 9
    assert f"{paths.config}:1:" in done.stderr


def test_a_broken_configuration_does_not_hide_that_a_word_is_misspelt(run_portico, paths):
    paths.config.write_text("{ plugins: [ }")
    assert "Unknown command: frobnicate" in run_portico("frobnicate").stderr


# --- odd places to run in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"COLUMNS": "20"},
        {"NO_COLOR": "1", "TERM": "dumb"},
        {"PYTHONOPTIMIZE": "2"},
        {"HOME": None},
    ],
    ids=str,
)
@pytest.mark.requirement("E79")
def test_odd_environments_change_nothing(portico_run, env):
    done = portico_run("plugins", "list", env=env)
    assert done.returncode == 0, done.stderr
    assert "minimax-portal-auth" in done.stdout


@pytest.mark.requirement("E79")
def test_a_character_that_the_console_lacks_is_escaped(portico_run, paths, tmp_path):
    config = tmp_path / "config-\u4e2d.json5"
    config.write_text('{ plugins: { entries: { "g\u00f6ne": { enabled: true } } } }', encoding="utf-8")
    done = portico_run("--config", str(config), "plugins", "list", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "plugin not found: g\\xf6ne" in done.stderr


@pytest.mark.requirement("E79")
def test_paths_with_spaces_and_other_scripts_work(run_portico, tmp_path):
    folder = tmp_path / "my files \u4e2d"
    folder.mkdir()
    (folder / "c.json5").write_text("{}")
    done = run_portico("--config", str(folder / "c.json5"), "plugins", "disable", "minimax-portal-auth")
    assert done.returncode == 0, done.stderr
    done = run_portico("--config", str(folder / "c.json5"), "plugins", "enable", "minimax-portal-auth")
    assert (done.returncode, done.stdout) == (0, 'Enabled plugin "minimax-portal-auth".\n')


def _shell(run_portico, line):
    command = line.replace("portico", f"{sys.executable} -m portico")
    return subprocess.run(
        ["sh", "-c", command], env=run_portico.environment(), capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shell")
@pytest.mark.parametrize(
    "line", ["portico plugins list >&-", "portico plugins list <&-", "portico --help >&- 2>&-", "portico nope 2>&-"]
)
@pytest.mark.requirement("E79")
def test_closed_streams_are_no_crash(run_portico, line):
    done = _shell(run_portico, line)
    assert done.returncode == (2 if "nope" in line else 0), done.stderr
    assert ("Plugins (" in done.stdout) == ("<&-" in line)
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["plugins", "--help"], ["plugins", "list"]])
def test_a_reader_that_is_gone_already_is_no_crash(run_portico, words):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "portico", *words]
    done = subprocess.run(command, env=run_portico.environment(), stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.requirement("E79")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's /dev/full")
def test_output_that_cannot_be_written_is_a_failure_in_one_line(run_portico):
    done = _shell(run_portico, "portico plugins list >/dev/full")
    done = _shell(run_portico, "portico plugins list --json >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "portico: Could not write the output.\n  No space left on device\n"


NO_HOME = """
import pwd, sys
from portico.cli.main import main
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
sys.exit(main(["plugins", "list"], "portico"))
"""


@pytest.mark.requirement("E79")
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX user database")
def test_a_user_without_a_home_is_told_what_to_set(run_portico):
    gone = ("HOME", "PORTICO_STATE_DIR", "PORTICO_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    env = run_portico.environment(dict.fromkeys(gone))
    done = subprocess.run([sys.executable, "-c", NO_HOME], env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 9, done.stderr
    assert "Set HOME, or set PORTICO_CONFIG and PORTICO_STATE_DIR." in done.stderr


@pytest.mark.requirement("E80")
@pytest.mark.requirement("S4")
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["help"], ["plugins", "list"], ["help", "plugins"]])
def test_help_version_and_the_plugin_list_load_no_http_library(words, paths):
    code = f"""
import sys
from portico.cli.main import main
main({words!r}, "portico")
print([name for name in ("aiohttp", "authlib", "keyring", "ssl", "asyncio", "rich", "questionary") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.requirement("E80")
@pytest.mark.requirement("S4")
@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_version_and_help_need_neither_argparse_nor_dataclasses(words):
    code = f"""
import sys
from portico.cli.main import main
main({words!r}, "portico")
print([name for name in ("argparse", "dataclasses", "pathlib", "json", "pluggy") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.requirement("E127")
@pytest.mark.parametrize(("daemon", "taken_apart"), [(True, False), (False, True)], ids=["nobody waits for", "is waited for"])
def test_beside_a_thread_that_is_still_at_work_the_process_ends_without_taking_the_interpreter_apart(daemon, taken_apart):
    code = f"""
import atexit, os, sys, threading, time
from portico.cli import main
class Witness:
    def __init__(self): self.write = os.write
    def __del__(self): self.write(1, b"taken apart\\n")
witness = Witness()
def command():
    threading.Thread(target=time.sleep, args=({60 if daemon else 0.1},), daemon={daemon}).start()
    atexit.register(print, "an exit function")
    sys.stdout.write("not flushed\\n")
    return 7
main.main = command
main.run()
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == ["not flushed", "an exit function", *(["taken apart"] if taken_apart else [])]


@pytest.mark.parametrize(
    ("signal_raised", "code"),
    [(EndedBySignal(signal.SIGTERM), 143), (EndedBySignal(signal.SIGHUP), 129), (KeyboardInterrupt(), 130)],
)
def test_a_signal_that_comes_while_a_class_is_made_ends_the_command_as_at_any_other_moment(
    monkeypatch, capsys, signal_raised, code
):
    class Interrupted:
        def __set_name__(self, owner, name):
            raise signal_raised

    def dispatch(*_args):
        type("ProviderSpec", (), {"paths": Interrupted()})

    monkeypatch.setattr("portico.cli.dispatch.dispatch", dispatch)

    assert main(["models", "list"], "portico") == code
    assert "Traceback" not in capsys.readouterr().err
