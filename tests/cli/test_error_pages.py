"""Every id that can be told has a page, every page is of an id, and what a page says to type can be typed."""

from __future__ import annotations

import json
import re
import shlex

from portico.cli.completion import every_command
from portico.cli.explain import every_id, page_of
from tests.error_ids import PASSED_ON, ids_by_reporting
from tests.source_tree import HOST, PLUGINS, ROOT

IDS, PASSING = ids_by_reporting()
SOURCE = "\n".join(path.read_text(encoding="utf-8") for root in (HOST, *PLUGINS) for path in sorted(root.rglob("*.py")))
COMMANDS = {node.path: node for node in every_command("portico")}
GLOBAL = {"--config", "--help", "--json", "--quiet", "--verbose", "--no-color", "--version"}
FINDINGS_BY_FOLDER = {"config-open", "state-open"}


def test_every_id_has_a_page_and_every_page_an_id():
    assert set(IDS) - set(every_id()) == set()
    assert [id for id in every_id() if f'"{id}"' not in SOURCE and id not in FINDINGS_BY_FOLDER | set(IDS)] == []


def test_an_id_that_is_not_written_where_it_is_raised_is_known_to_come_from_elsewhere():
    assert PASSING == PASSED_ON


def test_a_page_says_how_it_ends_what_has_happened_and_what_to_do():
    for id in every_id():
        head, _, what_to_do = _text(id).partition("\n## What to do\n\n")
        title, kind, *what = head.split("\n\n")
        assert (title, bool(re.match(r"\[Exit code\]|HTTP \d{3}|A finding of", kind))) == (f"# {id}", True)
        assert "".join(what).strip(), id
        assert all(line.startswith(("- ", "  ")) for line in what_to_do.strip().split("\n")), id
        codes = re.match(r"\[Exit code\]\(\S+\) ([\d, or]+)\.", kind)
        said = set(map(int, re.findall(r"\d+", codes.group(1)))) if codes else set()
        assert said >= IDS.get(id, set()), id


def test_what_a_page_says_to_type_is_a_command_with_these_options():
    anywhere = {flag for node in COMMANDS.values() for option in node.options for flag in option.flags}
    for id in every_id():
        for code in re.findall(r"`([^`]+)`", " ".join(_text(id).split())):
            words = shlex.split(code) if code.startswith(("portico ", "--")) else []
            options = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
            known = anywhere if words[:1] != ["portico"] else _options(words[1:])
            assert options <= known | GLOBAL, (id, code)


def test_explain_prints_a_page_lists_them_and_knows_what_was_meant(run_portico):
    page = run_portico("explain", "keyring-locked")
    assert page.stdout.startswith("keyring-locked\n\nExit code 7.\n")
    assert "onboard --store file" in page.stdout
    assert json.loads(run_portico("explain", "--json").stdout)["ids"] == every_id()
    unknown = run_portico("explain", "keyring-lockt")
    assert (unknown.returncode, "Did you mean keyring-locked" in unknown.stderr) == (2, True)


def test_an_error_names_its_page_and_a_mistyped_command_does_not(run_portico):
    failed = run_portico("models", "aliases", "remove", "nobody")
    assert failed.stderr.endswith("  More: `portico explain alias-not-found`\n")
    told = json.loads(run_portico("models", "aliases", "remove", "nobody", "--json").stdout)
    assert (ROOT / told["error"]["docs"]).is_file()
    assert "explain" not in run_portico("modells").stderr


def test_a_name_that_leads_out_of_the_folder_has_no_page():
    assert (page_of("../security"), page_of("")) == (None, None)


def _text(id: str) -> str:
    return page_of(id).read_text(encoding="utf-8")


def _options(words: list[str]) -> set[str]:
    """Those of the deepest command that the words name."""
    words = words[2:] if words[0] == "--config" else words
    path: tuple[str, ...] = ()
    for word in words:
        if (*path, word) not in COMMANDS:
            break
        path = (*path, word)
    node = COMMANDS[path]
    if node.commands:  # a group: the next word, where there is one, would have to be one of its own
        rest = words[len(path) :]
        assert not rest or rest[0].startswith("-") or rest[0] == "COMMAND", words
    return {flag for option in node.options for flag in option.flags}
