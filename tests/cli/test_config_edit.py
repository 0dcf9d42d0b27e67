"""`config edit` in a terminal of its own, with programs for editors."""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from portico.cli.main import main

pytest.importorskip("pty", reason="needs pseudo-terminals")
from tests.e2e.terminal import CTRL_C, END_OF_INPUT, NO, YES, Terminal

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "{\n  gateway: { port: 18500 }, // mine\n}\n"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config" / "portico.json5"
    path.parent.mkdir()
    path.write_text(TEXT, encoding="utf-8")
    path.chmod(0o644)
    return path


@pytest.fixture
def edit(tmp_path, config):
    """Start `config edit` with an editor that does what the lines of Python say; `path` and `text` are at hand there."""
    started = []

    def start(lines: str, **env: str) -> Terminal:
        script = tmp_path / "my editor.py"
        head = "import os, sys, time\nfrom pathlib import Path\npath = Path(sys.argv[-1])\ntext = path.read_text()\n"
        script.write_text(head + textwrap.dedent(lines), encoding="utf-8")
        terminal = Terminal(
            [sys.executable, "-m", "portico", "config", "edit"],
            {
                **{name: value for name, value in os.environ.items() if name not in {"VISUAL", "EDITOR"}},
                "PORTICO_CONFIG": str(config),
                "PORTICO_STATE_DIR": str(tmp_path / "state"),
                "EDITOR": f"{sys.executable} {shlex.quote(str(script))}",
                **env,
            },
        )
        started.append(terminal)
        return terminal

    yield start
    for terminal in started:
        terminal.kill()


def kept(tmp_path) -> list[Path]:
    return [*(tmp_path / "state").glob("edit-*/*")]


def test_what_holds_takes_the_files_place_and_the_copy_is_gone(edit, config, tmp_path):
    terminal = edit("path.write_text(text.replace('18500', '18501'))")
    terminal.expect("Updated .*portico.json5")
    assert terminal.end() == 0
    assert config.read_text(encoding="utf-8") == TEXT.replace("18500", "18501")
    assert config.with_name("portico.json5.bak").read_text(encoding="utf-8") == TEXT
    assert (kept(tmp_path), config.stat().st_mode & 0o777) == ([], 0o644)


def test_a_copy_that_is_left_as_it_was_changes_nothing(edit, config, tmp_path):
    before = config.stat()
    terminal = edit("pass")
    terminal.expect("Nothing was changed")
    assert terminal.end() == 0
    assert (config.stat().st_mtime_ns, kept(tmp_path)) == (before.st_mtime_ns, [])


def test_an_error_is_told_with_its_line_and_the_copy_is_opened_again_as_it_was_left(edit, config):
    terminal = edit("path.write_text(text.replace('18500', '0') if '18500' in text else text.replace('port: 0', 'port: 18502'))")
    terminal.expect(r"portico.json5:2:20:\s+`gateway.port`\s+must\s+be\s+1-65535")
    terminal.expect("Edit it again")
    assert config.read_text(encoding="utf-8") == TEXT
    terminal.press(YES)
    terminal.expect("Updated .*portico.json5")
    assert terminal.end() == 0
    assert config.read_text(encoding="utf-8") == TEXT.replace("18500", "18502")


def test_who_gives_up_is_told_where_the_text_is_kept(edit, config, tmp_path):
    terminal = edit("path.write_text(text + '}')")
    terminal.expect("Edit it again")
    terminal.press(NO)
    terminal.expect(r"your edited copy is kept at\s+\S*edit-")
    assert terminal.end() == 9
    (copy,) = kept(tmp_path)
    assert (copy.read_text(encoding="utf-8"), config.read_text(encoding="utf-8")) == (TEXT + "}", TEXT)
    assert (copy.parent.stat().st_mode & 0o777, copy.stat().st_mode & 0o777) == (0o700, 0o600)


def test_ctrl_c_at_the_question_loses_nothing(edit, config, tmp_path):
    terminal = edit("path.write_text('{')")
    terminal.expect("Edit it again")
    terminal.press(CTRL_C)
    terminal.expect("your edited copy is kept at")
    assert terminal.end() == 130
    assert ([copy.read_text(encoding="utf-8") for copy in kept(tmp_path)], config.read_text(encoding="utf-8")) == (["{"], TEXT)


def test_the_end_of_the_input_at_the_question_names_the_command_to_run_again(edit, config, tmp_path):
    terminal = edit("path.write_text('{')")
    terminal.expect("Edit it again")
    terminal.press(END_OF_INPUT)
    terminal.expect("your edited copy is kept at")
    terminal.expect(r"Edit it again: the input has ended\.\s+Run: portico config edit")
    assert terminal.end() == 2
    assert ([copy.read_text(encoding="utf-8") for copy in kept(tmp_path)], config.read_text(encoding="utf-8")) == (["{"], TEXT)


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(edit, config, tmp_path):
    terminal = edit(f"Path({str(config)!r}).write_text('{{ theirs: 1 }}')\npath.write_text(text.replace('18500', '18501'))")
    terminal.expect("Another program has changed")
    assert terminal.end() == 9
    assert config.read_text(encoding="utf-8") == "{ theirs: 1 }"
    assert [copy.read_text(encoding="utf-8") for copy in kept(tmp_path)] == [TEXT.replace("18500", "18501")]


def test_a_broken_file_can_be_mended_and_a_missing_one_be_begun(edit, config):
    config.write_text("{ gateway: ", encoding="utf-8")
    terminal = edit("path.write_text(text + '{} }')")
    terminal.expect("Updated")
    assert terminal.end() == 0
    assert config.read_text(encoding="utf-8") == "{ gateway: {} }"
    config.unlink()
    terminal = edit("path.write_text(text.replace('{}', '{ gateway: { port: 1 } }'))")
    terminal.expect("Updated")
    assert terminal.end() == 0
    assert (config.read_text(encoding="utf-8"), config.stat().st_mode & 0o777) == ("{ gateway: { port: 1 } }\n", 0o600)


def test_a_file_that_a_key_came_into_becomes_private(edit, config):
    terminal = edit("path.write_text('{ env: { A_KEY: \"x\" } }')")
    terminal.expect("Updated")
    assert terminal.end() == 0
    assert config.stat().st_mode & 0o777 == 0o600


def test_the_editor_has_ctrl_c_to_itself_and_no_secret_of_the_environment(edit, config, tmp_path):
    seen = tmp_path / "seen.json"
    terminal = edit(
        f"""
        import json, signal
        signal.signal(signal.SIGINT, lambda *_: Path({str(seen)!r}).write_text(json.dumps(dict(os.environ))) and sys.exit(0))
        print("the editor is up", flush=True)
        time.sleep(30)
        """,
        PORTICO_PASSPHRASE="hunter2",
        PORTICO_PASSPHRASE_FILE="/nowhere",
        MINIMAX_API_KEY="sk-x",
        LANG_HERE="kept",
    )
    terminal.expect("the editor is up")
    terminal.press(CTRL_C)
    terminal.expect("Nothing was changed")
    assert terminal.end() == 0
    told = json.loads(seen.read_text(encoding="utf-8"))
    assert told["LANG_HERE"] == "kept"
    assert not {"PORTICO_PASSPHRASE", "PORTICO_PASSPHRASE_FILE", "MINIMAX_API_KEY"} & told.keys()


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"EDITOR": "/nowhere/editor"}, 2, "Could not start /nowhere/editor"),
        ({"VISUAL": "false"}, 2, "false ended with exit code 1"),
        ({"EDITOR": "'"}, 2, "Could not read EDITOR as a command"),
    ],
)
def test_an_editor_that_fails_changes_nothing(edit, config, tmp_path, env, code, said):
    terminal = edit("pass", **env)
    terminal.expect(said)
    assert terminal.end() == code
    assert (config.read_text(encoding="utf-8"), kept(tmp_path)) == (TEXT, [])


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_without_a_terminal_it_is_refused(config, monkeypatch, capsys, words):
    monkeypatch.setenv("PORTICO_CONFIG", str(config))
    assert main(["config", "edit", *words], program="portico") == 2
    said = capsys.readouterr()
    assert "needs a terminal" in said.out + said.err
    assert "config set" in said.out + said.err
