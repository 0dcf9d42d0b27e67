"""`.env` beside a config: its syntax, and the order of the sources of a variable."""

from __future__ import annotations

import os

import pytest

from portico.config.sources import read_dotenv
from portico.testing.canary import canary, exempt

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes")


def read(files, text: str) -> dict[str, str]:
    files.write("portico/.env", text)
    values, problems = read_dotenv(files.own.parent)
    assert problems == ()
    return dict(values)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=one", "one"),
        ("export A=one", "one"),
        ("  A =  one two   # a remark", "one two"),
        ("A=one#two", "one#two"),
        ("A='one # $X ${Y} \\n'", "one # $X ${Y} \\n"),
        ('A="one # \\"two\\" \\\\ \\n\\t$X"  # a remark', 'one # "two" \\ \n\t$X'),
        ("A=${B}", "${B}"),
        ("A=sk-a=b==", "sk-a=b=="),
        ("\ufeffA=one", "one"),
        ("A=old\r\nA=one\r\n", "one"),
    ],
)
def test_a_line_is_a_name_and_its_value(files, line, value):
    assert read(files, line) == {"A": value}


@pytest.mark.parametrize("text", ["", "\n\n", "# A=1\n", "A=\n", "A=''", "A= # nothing"])
def test_comments_and_empty_values_set_no_variable(files, text):
    assert read(files, text) == {}


@pytest.mark.requirement("E75")
def test_an_invalid_line_is_reported_without_its_text(files):
    exempt(files.home)
    key = canary("key")
    files.write("portico/.env", f'A=1\n{key}\nB="{key}\n=x\n1A=x\nA B=x\n')
    values, problems = read_dotenv(files.own.parent)
    assert values == {"A": "1"}
    assert [problem.where.rpartition("/")[2] for problem in problems] == [f".env:{number}:1" for number in (2, 3, 4, 5, 6)]
    assert not any(key in str(problem) for problem in problems)


@posix
@pytest.mark.requirement("E44")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o622, True)])
def test_one_that_others_may_read_is_warned_of(files, mode, warned):
    path = files.write("portico/.env", "A=1")
    path.chmod(mode)
    values, problems = read_dotenv(files.own.parent)
    assert values == {"A": "1"}
    assert [problem.hint for problem in problems] == ([f"chmod 600 {path}"] if warned else [])


@posix
@pytest.mark.parametrize("kind", ["folder", "fifo", "dangling", "binary"])
def test_one_that_cannot_be_read_is_a_warning_and_nothing_waits_for_it(files, kind):
    path = files.write("portico/.env", "")
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(path.with_name("gone"))
    else:
        path.write_bytes(b"A=\xff")
    values, (problem,) = read_dotenv(files.own.parent)
    assert (values, problem.level) == ({}, "warning")
    assert "could not read this file" in problem.message


@pytest.mark.requirement("E75")
def test_the_process_comes_first_then_the_file_beside_the_config_then_the_config_and_then_the_base_in_the_same_order(files):
    files.write_base("{ env: { BASE: 'base', BASE_FILE: 'base', CONFIG: 'base', FILE: 'base', PROCESS: 'base', EMPTY: 'base' } }")
    files.write("openclaw/.env", "BASE_FILE=base.env\nCONFIG=base.env\nFILE=base.env\nPROCESS=base.env\n")
    files.write_own(
        "{ base: '../openclaw/openclaw.json', env: { CONFIG: 'config', FILE: 'config', vars: { PROCESS: 'config' } } }"
    )
    files.write("portico/.env", "FILE=file\nPROCESS=file\n")
    loaded = files.load(PROCESS="process", EMPTY="")
    assert loaded.problems == ()
    assert loaded.env == {
        "PROCESS": "process",
        "FILE": "file",
        "CONFIG": "config",
        "BASE_FILE": "base.env",
        "BASE": "base",
        "EMPTY": "base",
    }


def test_values_of_the_file_are_in_no_repr_and_not_in_the_process_environment(files):
    exempt(files.home)
    key = canary("key")
    files.write_own("{}")
    files.write("portico/.env", f"PORTICO_TEST_KEY={key}")
    loaded = files.load()
    assert loaded.env["PORTICO_TEST_KEY"] == key
    assert key not in repr(loaded)
    assert "PORTICO_TEST_KEY" not in os.environ
