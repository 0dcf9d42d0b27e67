"""`auth import` with somebody to ask: what is explained, what is asked, and what a no leaves."""

from __future__ import annotations

import io

import pytest

from portico.app import App
from portico.cli.auth_import import import_
from portico.cli.parser import make_parser
from portico.store.profiles import ProfileIndex
from portico.terminal.output import Output
from portico.terminal.prompts import NumberedPrompter
from tests.auth.importers.samples import Sample
from tests.minimax_session import GLOBAL, any_store


@pytest.fixture
def asked(run_portico, tmp_path, request, monkeypatch):
    """`auth import` as it is with these answers at the terminal: the exit code and all that was said."""
    env, options = any_store(request)
    given = run_portico.environment({**env, "HOME": str(tmp_path / "home"), "XDG_DATA_HOME": None})
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    def run(answers, *words):
        from portico.cli import auth

        parser = make_parser("portico", "auth", "x")
        auth.add_arguments(parser)
        said = io.StringIO()
        prompter = NumberedPrompter(io.StringIO(answers), said)
        # Its own environment: the process's loses its passphrase to the first run, and the next would ask at the real terminal.
        app = App("portico", env=given, out=Output(stdout=said, stderr=said), prompter=prompter)
        code = import_(parser.parse_args(["import", *options, *words]), app)
        return code, said.getvalue()

    return run


def test_a_no_changes_nothing(asked, run_portico, tmp_path):
    path = Sample("mmx").write(tmp_path / "home")
    before = path.read_bytes()

    code, said = asked("n\n")

    assert code == 0
    assert "only one tool can refresh an account" in said
    assert "Nothing was changed." in said
    assert ProfileIndex(run_portico.paths).profiles() == ()
    assert path.read_bytes() == before


def test_removal_is_asked_for_and_its_default_is_no(asked, run_portico, tmp_path):
    sample = Sample("mmx")
    path = sample.write(tmp_path / "home")

    code, said = asked("y\n\n")

    assert code == 0
    assert f"Remove mmx's copy from {path}? This signs mmx out. [y/N]" in said
    assert "still has the account" in said
    assert sample.refresh in path.read_text(encoding="utf-8")
    assert ProfileIndex(run_portico.paths).get(GLOBAL) is not None
    assert asked("y\ny\n")[0] == 0
    assert sample.refresh not in path.read_text(encoding="utf-8")


def test_of_several_tools_one_is_asked_for(asked, run_portico, tmp_path):
    Sample("mmx").write(tmp_path / "home")
    Sample("hermes").write(tmp_path / "home")

    code, said = asked("hermes\ny\nn\n")

    assert code == 0
    assert "Which tool's sign-in do you want to take over?" in said
    assert ProfileIndex(run_portico.paths).get(GLOBAL).client_id.startswith("78257093")
