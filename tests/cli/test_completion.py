"""Completions in real shells, and the pages of the reference that are made of the program."""

from __future__ import annotations

import subprocess

import pytest

from portico.cli.completion import bash, every_command, fish, zsh
from tests.made_pages import MADE
from tests.needs import needs

LINES = [
    (("auth", ""), "keep-fresh"),
    (("gateway", "key", "re"), "revoke"),
    (("env", "--shell", "f"), "fish"),
    (("models", "fallbacks", "add", "--js"), "--json"),
    (("do",), "doctor"),
]
BASH = 'source "$1"; shift; COMP_WORDS=(portico "$@"); COMP_CWORD=$#; _portico_complete; printf "%s\\n" "${COMPREPLY[@]}"'
ZSH = (
    "autoload -Uz compinit bashcompinit; compinit -u -D; bashcompinit; source $1; shift; setopt ksharrays; "
    'COMP_WORDS=(portico "$@"); COMP_CWORD=$#; _portico_complete; print -rl -- ${COMPREPLY[@]}'
)
FISH = "source $argv[1]; complete -C (string join -- ' ' portico $argv[2..] | string collect)"


@pytest.mark.parametrize(
    ("command", "made"),
    [
        (["bash", "-c", BASH, "bash"], bash),
        pytest.param(["zsh", "-f", "-c", ZSH, "zsh"], zsh, marks=pytest.mark.interop),
        pytest.param(["fish", "-N", "-c", FISH], fish, marks=pytest.mark.interop),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_a_real_shell_offers_what_comes_next(tmp_path, command, made):
    needs(command[0])
    script = tmp_path / "completion"
    script.write_text(made(list(every_command("portico")), "portico"), encoding="utf-8")
    for words, wanted in LINES:
        done = subprocess.run([*command, str(script), *words], capture_output=True, text=True, check=False, timeout=30)
        offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert wanted in offered, (words, done.stdout, done.stderr)
        # zsh and fish leave out themselves what does not fit.
        assert command[0] != "bash" or all(each.startswith(words[-1]) for each in offered)


def test_every_command_has_an_example_in_its_help():
    without = [
        " ".join(node.path)
        for node in every_command("portico")
        if node.path and "example" not in node.parser.format_help().lower()
    ]
    assert without == []


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_a_page_of_the_reference_is_what_the_program_says(path):
    assert path.read_text(encoding="utf-8") == MADE[path](), "python -m tests.made_pages --write"
