"""A config with thousands of problems: the time grows linearly, and people see only the first problems."""

from __future__ import annotations

import gc
import json
import time

import pytest

from portico.cli.main import main
from portico.config.check import check
from portico.config.document import Document
from portico.config.sources import read_dotenv

pytestmark = pytest.mark.requirement("E134")

FEW, MANY = 1_000, 5_000
# Five times the text may take five times as long, and as much again for a machine that is busy: a square would take 25 times.
MOST = 12


def _entries(count: int, each: str) -> str:
    return ",".join(each.format(n=n) for n in range(count))


TEXTS = {
    "unknown keys": lambda count: f"{{{_entries(count, 'unknown{n}: 1')}}}",
    "near misses": lambda count: f"{{ gateway: {{{_entries(count, 'port{n}: 1')}}} }}",
    "one key again and again": lambda count: f"{{{_entries(count, 'gateway: {{}}')}}}",
    "variables that are no text": lambda count: f"{{ env: {{{_entries(count, 'NAME{n}: 1')}}} }}",
    "providers": lambda count: f"{{ models: {{ providers: {{{_entries(count // 5, 'p{n}: {{ api: 1, q: 1 }}')}}} }} }}",
    "models": lambda count: (
        f"{{ models: {{ providers: {{ p: {{ models: [{_entries(count // 5, '{{ id: 1, q: 1 }}')}] }} }} }} }}"
    ),
    "fallbacks": lambda count: f"{{ agents: {{ defaults: {{ model: {{ fallbacks: [{_entries(count, '{n}')}] }} }} }} }}",
    "orders": lambda count: f"{{ auth: {{ order: {{{_entries(count, 'p{n}: 1')}}} }} }}",
}


def _least_s(run) -> float:
    """The CPU time of the quickest of three runs, without the collector: a look at all that other tests left takes longer."""
    gc.disable()
    try:
        durations = []
        for _ in range(3):
            began = time.process_time()
            assert run()
            durations.append(time.process_time() - began)
        return min(durations)
    finally:
        gc.enable()


def _cpu_s(text: str) -> float:
    return _least_s(lambda: check(Document.parse(text, name="portico.json5"))[1])


@pytest.mark.parametrize("kind", TEXTS)
def test_five_times_as_many_faults_take_no_more_than_a_few_times_as_long(kind):
    _cpu_s(TEXTS[kind](10))
    assert _cpu_s(TEXTS[kind](MANY)) < MOST * _cpu_s(TEXTS[kind](FEW))


def test_ten_thousand_unknown_keys_are_each_looked_up_a_fixed_number_of_times(monkeypatch):
    """Counts the entries that a look-up goes by, which no busy machine changes."""
    visits = 0

    class Counted(list):
        def __reversed__(self):
            nonlocal visits
            for each in super().__reversed__():
                visits += 1
                yield each

        def __iter__(self):
            nonlocal visits
            for each in super().__iter__():
                visits += 1
                yield each

    document = Document.parse(TEXTS["unknown keys"](10_000), name="portico.json5")
    document.root.entries = Counted(document.root.entries)

    assert len(check(document)[1]) == 10_000
    assert visits < 10 * 10_000


@pytest.fixture
def portico(paths, monkeypatch, capsys):
    monkeypatch.setenv("PORTICO_CONFIG", str(paths.config))
    monkeypatch.setenv("PORTICO_STATE_DIR", str(paths.state))

    def run(text: str, *words: str) -> tuple[int, str, str]:
        paths.config.write_text(text, encoding="utf-8")
        paths.config.chmod(0o600)
        code = main([*words], program="portico")
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_people_see_twenty_of_many_faults_errors_first_and_programs_see_all(portico):
    text = TEXTS["unknown keys"](50).removesuffix("}") + ", history: 3}"
    code, out, _ = portico(text, "config", "validate")

    lines = out.splitlines()
    assert code == 9
    assert len(lines) == 21
    assert lines[0].startswith("error: ")
    assert lines[-1] == "and 31 more; to see all: portico config validate --json"
    assert len(json.loads(portico(text, "config", "validate", "--json")[1])["problems"]) == 51


def test_an_error_of_many_parts_names_twenty_and_carries_all_of_them_for_programs(portico):
    text = f"{{ agents: {{ defaults: {{ model: {{ fallbacks: [{_entries(30, '{n}')}] }} }} }} }}"
    code, _, err = portico(text, "models", "list")

    assert code == 9
    assert "30 errors in " in err
    assert err.count("must be a string that is not empty") == 20
    assert "and 10 more" in err
    error = json.loads(portico(text, "models", "list", "--json")[1])["error"]
    assert len(error["problems"]) == 30
    assert error["problems"][29]["message"] == "`agents.defaults.model.fallbacks[29]` must be a string that is not empty"


def test_a_number_too_long_to_be_printed_again_is_a_syntax_error_in_either_base(portico):
    for digits in ("0x" + "f" * 5_000, "9" * 5_000):
        code, out, err = portico(f"{{ gateway: {{ port: {digits} }} }}", "config", "get", "gateway.port")
        assert (code, "this number is too long" in err, out) == (9, True, "")


def test_a_place_in_an_array_with_thousands_of_digits_is_a_path_that_leads_nowhere(portico):
    text = '{ agents: { defaults: { model: { fallbacks: ["a/b"] } } } }'
    for words in (("get",), ("unset",)):
        code, _, err = portico(text, "config", *words, "agents.defaults.model.fallbacks." + "9" * 5_000)
        assert (code, "not found" in err) == (1, True), err
    assert portico(text, "config", "get", "agents.defaults.model.fallbacks.0")[:2] == (0, "a/b\n")


def test_a_long_dotenv_is_read_in_linear_time(tmp_path):
    def cpu_s(count: int) -> float:
        (tmp_path / ".env").write_text("".join(f"no variable {n}\nA{n}=a b #c\n" for n in range(count)), encoding="utf-8")
        return _least_s(lambda: len(read_dotenv(tmp_path)[0]) == count)

    cpu_s(10)
    assert cpu_s(MANY) < MOST * cpu_s(FEW)
