"""Every id has a page, every page has an id, and every command on a page exists."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path

from portico.cli.completion import every_command
from portico.cli.explain import COLLECTIONS, INDEX, OLD_IDS, RENAMED_PAGE, current_id, every_id, index, page_of, section_of
from tests.error_ids import PASSED_ON, ids_by_reporting
from tests.source_tree import HOST, ROOT


@cache
def commands():
    return {node.path: node for node in every_command("portico")}


GLOBAL = {"--config", "--help", "--json", "--quiet", "--verbose", "--no-color", "--version"}
FINDINGS_BY_FOLDER = {"config-doubt", "config-open", "state-open"}
RAISED_ELSEWHERE = {"bad-request", "sign-out-unfinished"}  # by the HTTP parser, and by the profile index
# The ids of version 0.6.0, which scripts may know.
OF_0_6 = frozenset((Path(__file__).parent / "ids_of_0_6.txt").read_text(encoding="utf-8").split())
# Ids with one message, or with messages that begin alike.
SAME_WORDS = (
    *("access-denied", "bad-json", "bad-key", "bad-query", "certificate-refused", "emulator-ended", "emulator-not-running"),
    *("emulator-running", "gateway-locked", "gateway-running", "invalid-model-reference", "model-not-allowed", "model-twice"),
    *("no-default-model", "no-emulator", "no-models", "output-failed", "passphrase-wrong", "plugin-not-found", "record-damaged"),
    *("sign-in-timed-out", "unknown-model"),
)
PAGES = [page for page in sorted((ROOT / "docs" / "errors").glob("*.md")) if page.stem not in {*COLLECTIONS, RENAMED_PAGE, INDEX}]


def test_every_id_has_a_page_and_every_page_an_id():
    assert set(ids_by_reporting()[0]) - set(every_id()) == set()
    assert set(every_id()) - set(ids_by_reporting()[0]) - FINDINGS_BY_FOLDER - RAISED_ELSEWHERE == set()


def test_an_id_that_is_not_written_where_it_is_raised_is_known_to_come_from_elsewhere():
    assert ids_by_reporting()[1] == PASSED_ON


def test_every_id_of_the_version_before_is_one_still_or_leads_to_one():
    assert [old for old in OF_0_6 if current_id(old) not in every_id()] == []
    merged = [old for olds in OLD_IDS.values() for old in olds]
    assert (len(merged), set(merged) - OF_0_6) == (len(set(merged)), set())


def test_an_id_that_has_merged_keeps_its_exit_code():
    of_0_6 = {old: current_id(old) for old in OF_0_6 if current_id(old) != old}

    assert set(of_0_6.values()) == set(OLD_IDS)
    assert [new for new in OLD_IDS if len(ids_by_reporting()[0][new]) > 1] == []


def test_a_page_has_a_title_a_cause_steps_and_related_ids():
    for page in PAGES:
        id = page.stem
        head, _, rest = _text(id).partition("\n## What to do\n\n")
        title, kind, *cause = head.split("\n\n")
        assert (title.startswith(f"# {id}: "), title[-1] != ".", kind.startswith("[Exit code](")) == (True, True, True), id
        assert "".join(cause).strip(), id
        rest, _, related = rest.rpartition("\nSee also: ")
        what_to_do, *situations = re.split(r"\n## .+\n", rest)
        assert all(line.startswith(("- ", "  ")) for line in what_to_do.strip().split("\n")), id
        assert all("\n- " in situation for situation in situations), id
        assert set(re.findall(r"\[([a-z-]+)\]", related)) - {id} <= set(every_id()), id
        assert related.count("](") >= 1, id
        codes = re.match(r"\[Exit code\]\(\S+\) ([\d, or]+)\.", kind)
        assert codes is not None, id
        assert set(map(int, re.findall(r"\d+", codes.group(1)))) >= ids_by_reporting()[0].get(id, set()), id


def test_a_section_about_one_id_of_many_has_a_cause_and_steps():
    for page in (ROOT / "docs" / "errors" / f"{name}.md" for name in COLLECTIONS):
        for id in every_id():
            section = section_of(id, page)
            assert section is None or (section.startswith(f"# {id}: "), "\n- " in section) == (True, True), id


def test_the_index_lists_every_id_once_with_the_title_of_its_page():
    assert sorted(entry["id"] for entry in index()) == every_id()
    for entry in index():
        page = page_of(entry["id"])
        assert page is not None
        first_line = (section_of(entry["id"], page) or page.read_text(encoding="utf-8")).partition("\n")[0]
        assert first_line == f"# {entry['id']}: {entry['title']}"


def test_a_title_has_the_words_of_the_message_so_that_a_search_finds_the_page():
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(HOST.rglob("*.py"))).lower()
    titles = {entry["id"]: entry["title"].lower() for entry in index()}
    assert [id for id in SAME_WORDS if titles[id] not in source] == []


def test_what_a_page_says_to_type_is_a_command_with_these_options():
    anywhere = {flag for node in commands().values() for option in node.options for flag in option.flags}
    for id in (page.stem for page in (*PAGES, *map(Path, COLLECTIONS))):
        for code in re.findall(r"`([^`]+)`", " ".join(_text(id).split())):
            words = shlex.split(code) if code.startswith(("portico ", "--")) else []
            options = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
            known = anywhere if words[:1] != ["portico"] else _options(words[1:])
            assert options <= known | GLOBAL, (id, code)


def test_explain_prints_a_page_lists_them_and_knows_what_was_meant(run_portico):
    page = run_portico("explain", "keyring-locked")
    assert page.stdout.startswith("keyring-locked: The keyring is locked\n\nExit code 7.\n")
    assert "onboard --store file" in page.stdout
    list_of_ids = run_portico("explain").stdout
    assert list_of_ids.startswith("Signing in\n  not-signed-in ")
    assert re.search(r"^  keyring-locked +The keyring is locked$", list_of_ids, re.MULTILINE)
    assert json.loads(run_portico("explain", "--json").stdout)["ids"] == every_id()
    unknown = run_portico("explain", "keyring-lockt")
    assert (unknown.returncode, "Did you mean keyring-locked" in unknown.stderr) == (2, True)


def test_explain_shows_the_page_of_the_new_id_for_one_that_has_merged(run_portico):
    page = run_portico("explain", "keyring-not-open").stdout

    assert page.startswith("keyring-not-open is now keyring-locked.\n\nkeyring-locked: The keyring is locked\n\nExit code 7.\n")
    assert "open the database that has Portico's entries".lower() in page.lower()
    told = json.loads(run_portico("explain", "keyring-not-open", "--json").stdout)
    assert (told["id"], told["oldId"]) == ("keyring-locked", "keyring-not-open")


def test_explain_prints_each_row_of_the_table_of_old_ids_on_a_line(run_portico):
    page = run_portico("explain", "renamed").stdout

    pairs = [f"{old}: {new}" for new, olds in OLD_IDS.items() for old in olds]
    assert sorted(page.strip().rpartition("\n\n")[2].splitlines()) == sorted(pairs)
    assert "|" not in page


def test_explain_shows_one_section_of_a_page_about_many_ids(run_portico):
    page = run_portico("explain", "bad-json").stdout

    assert page.startswith("bad-json: The body is not a JSON object\n\nHTTP 400. ")
    assert "no-key" not in page
    assert json.loads(run_portico("explain", "state-open", "--json").stdout)["page"].startswith("# state-open: ")


def test_an_error_in_json_names_the_ids_that_it_may_have_had(run_portico):
    told = json.loads(run_portico("explain", "nothing-like-this", "--json").stdout)["error"]

    assert (told["id"], "unknown-error" in told["oldIds"]) == ("unknown-name", True)


def test_an_error_names_its_page_and_a_mistyped_command_does_not(run_portico):
    failed = run_portico("models", "aliases", "remove", "nobody")
    assert failed.stderr.endswith("  More: `portico explain config-path-not-found`\n")
    told = json.loads(run_portico("models", "aliases", "remove", "nobody", "--json").stdout)
    assert (ROOT / told["error"]["docs"]).is_file()
    assert "explain" not in run_portico("modells").stderr


def test_a_name_that_leads_out_of_the_folder_has_no_page():
    assert (page_of("../security"), page_of("")) == (None, None)


def _text(id: str) -> str:
    return (ROOT / "docs" / "errors" / f"{id}.md").read_text(encoding="utf-8")


def _options(words: list[str]) -> set[str]:
    """Those of the deepest command that the words name."""
    words = words[2:] if words[0] == "--config" else words
    path: tuple[str, ...] = ()
    for word in words:
        if (*path, word) not in commands():
            break
        path = (*path, word)
    node = commands()[path]
    if node.commands:  # a group: the next word, where there is one, would have to be one of its own
        rest = words[len(path) :]
        assert not rest or rest[0].startswith("-") or rest[0] == "COMMAND", words
    return {flag for option in node.options for flag in option.flags}
