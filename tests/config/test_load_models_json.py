"""`models.json` beside the config: prices and limits in OpenClaw's format, without secrets."""

from __future__ import annotations

import pytest

from portico.config.schema import CostConfig, ModelConfig
from portico.testing.canary import canary, exempt

GOOD = """{ "providers": { "minimax": { "models": [
  { "id": "MiniMax-M2.1", "cost": { "input": 0.3, "output": 1.2 }, "contextWindow": 204800, "maxTokens": 131072 },
  { "id": "other", "cost": { "input": 1 } }
] } } }
"""


def test_corrections_are_read_by_provider_and_model_and_missing_keys_are_none(files):
    files.write_own("{}")
    files.write("portico/models.json", GOOD)
    loaded = files.load()
    assert (loaded.problems, loaded.fault) == ((), None)
    assert loaded.corrections == {
        ("minimax", "MiniMax-M2.1"): ModelConfig(
            "MiniMax-M2.1", context_window=204800, max_tokens=131072, cost=CostConfig(input=0.3, output=1.2)
        ),
        ("minimax", "other"): ModelConfig("other", cost=CostConfig(input=1)),
    }


def test_without_one_there_are_no_corrections(files):
    assert files.load().corrections == {}


def test_keys_and_headers_in_it_are_warned_of_and_not_read(files):
    exempt(files.home)
    key = canary("key")
    files.write_own("{}")
    files.write(
        "portico/models.json",
        f'{{"providers": {{"p": {{"baseUrl": "https://h.example", "api": "openai-completions",\n "apiKey": "{key}",\n'
        f' "headers": {{"X": "{key}"}}, "models": [{{"id": "m"}}]}}}}}}',
    )
    loaded = files.load()
    assert list(loaded.corrections) == [("p", "m")]
    assert files.warnings(loaded) == [
        "portico/models.json:2:12: `providers.p.apiKey` has no effect here: keep secrets out of this file",
        "portico/models.json:3:13: `providers.p.headers` has no effect here: keep secrets out of this file",
    ]
    assert key not in repr(loaded)


@pytest.mark.requirement("E75")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "portico/models.json:1:2: a key or `}` is missing here: found the end of the file"),
        ('{"providers": []}', "portico/models.json:1:15: `providers` must be an object"),
        ('{"providers": {"p": {"models": [{"id": "m",\n "maxTokens": 0}]}}}', "portico/models.json:2:15: `providers.p.models[0].maxTokens` must be a whole number of 1 or more"),
        ('{"providers": {"p": {"models": [{"id": "m", "maxToken": 5}]}}}', "portico/models.json:1:45: `providers.p.models[0].maxToken` is not a key that Portico knows"),
        ('{"providers": {"p": {"models": [{"id": "m", "cost": {"input": -1}}]}}}', "portico/models.json:1:63: `providers.p.models[0].cost.input` must be a number that is not negative"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_a_fault_with_its_place_for_those_who_need_it(files, text, message):
    files.write_own("{ gateway: { port: 18500 } }")
    files.write("portico/models.json", text)
    loaded = files.load()
    assert f"{loaded.fault.where}: {loaded.fault.message}".replace(f"{files.home}/", "") == message
    assert loaded.config.gateway.port == 18500


@pytest.mark.parametrize("text", ["[1, 2]", '{"gpt": {"price": 1}}', "3"])
def test_a_file_of_another_program_by_the_same_name_is_left_alone(files, text):
    files.write_own("{}")
    files.write("portico/models.json", text)
    loaded = files.load()
    assert (loaded.corrections, loaded.fault) == ({}, None)
    assert files.warnings(loaded) == ["portico/models.json:1:1: it has no `providers`, so Portico ignores it"]
