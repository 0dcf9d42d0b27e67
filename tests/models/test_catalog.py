"""The catalog: names of models, and suggestions for misspelt names."""

from __future__ import annotations

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.errors import UsageError
from portico.interfaces.plugins import ModelCost, ModelSpec, ProviderSpec
from portico.models.catalog import Catalog
from portico.models.reference import ModelReference, parse_reference

PORTAL = ProviderSpec(
    id="minimax-portal",
    label="MiniMax",
    api="anthropic-messages",
    base_urls={"global": "https://api.minimax.io/anthropic", "cn": "https://api.minimaxi.com/anthropic"},
    hosts={"global": frozenset({"api.minimax.io"}), "cn": frozenset({"api.minimaxi.com"})},
    models=(
        ModelSpec("MiniMax-M2.1", "MiniMax M2.1", 204_800, 131_072, ModelCost(0.3, 1.2), alias="minimax-m2.1"),
        ModelSpec("MiniMax-M2.1-lightning", "MiniMax M2.1 Lightning", alias="minimax-m2.1-lightning"),
    ),
    placeholder_key="minimax-oauth",
)


def catalog(text: str = "{}") -> Catalog:
    config, problems = check(Document.parse(text, name="test"))
    assert not problems
    return Catalog(config, [PORTAL])


@pytest.mark.requirement("P8")
@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("minimax/MiniMax-M2.1", ModelReference("minimax", "MiniMax-M2.1")),
        (" MiniMax/MiniMax-M2.1 ", ModelReference("minimax", "MiniMax-M2.1")),
        ("openrouter/minimax/minimax-m2.1", ModelReference("openrouter", "minimax/minimax-m2.1")),
    ],
)
def test_a_reference_is_a_provider_and_a_model_split_at_the_first_slash(text, reference):
    assert parse_reference(text) == reference


@pytest.mark.parametrize("text", ["", "MiniMax-M2.1", "/MiniMax-M2.1", "minimax/", " / "])
def test_a_reference_with_an_empty_side_is_refused_by_name(text):
    with pytest.raises(UsageError) as raised:
        parse_reference(text)

    assert raised.value.id == "invalid-model-reference"
    assert raised.value.message == f"Invalid model reference: {text}"


def test_a_config_entry_wins_over_the_plugins_and_keeps_what_it_leaves_out():
    models = '[{id: "MiniMax-M2.1", name: "Mine", contextWindow: 1000}, {id: "MiniMax-M9", name: "New"}]'
    found = catalog(f'{{models: {{providers: {{"minimax-portal": {{models: {models}}}}}}}}}')

    mine = found.find(ModelReference("minimax-portal", "MiniMax-M2.1"))

    assert (mine.name, mine.context_window, mine.max_tokens) == ("Mine", 1000, 131_072)
    assert mine.cost == ModelCost(0.3, 1.2)
    assert found.find(ModelReference("minimax-portal", "MiniMax-M9")).name == "New"
    assert found.find(ModelReference("minimax-portal", "MiniMax-M2.1-lightning")) is not None


def test_mode_replace_hides_what_the_config_does_not_list():
    text = '{models: {mode: "replace", providers: {own: {baseUrl: "http://127.0.0.1:1/v1", api: "openai-responses"}}}}'

    assert list(catalog(text).providers) == ["own"]


@pytest.mark.parametrize("name", ["minimax-m2.1", "MINIMAX-M2.1", "MiniMax-M2.1", "minimax-portal/MiniMax-M2.1"])
def test_an_alias_a_bare_id_and_a_reference_name_the_same_model(name):
    assert catalog().expand(name) == ModelReference("minimax-portal", "MiniMax-M2.1")


def test_an_alias_in_the_config_comes_before_a_plugins():
    text = '{agents: {defaults: {models: {"minimax-portal/MiniMax-M2.1-lightning": {alias: "minimax-m2.1"}}}}}'

    assert catalog(text).expand("minimax-m2.1").model == "MiniMax-M2.1-lightning"


@pytest.mark.requirement("P14")
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("minimax-portal/minimax-m2.1", "minimax-portal/MiniMax-M2.1"),
        ("minimax-portal/MINIMAX-M2.1-LIGHTNING", "minimax-portal/MiniMax-M2.1-lightning"),
        ("minimax-portal/MiniMax-M21", "minimax-portal/MiniMax-M2.1"),
        ("minimaxportal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1"),
        ("minimax-portal/M2", "minimax-portal/MiniMax-M2.1"),
    ],
)
def test_a_wrong_case_or_a_near_miss_names_the_spelling_that_was_meant(typed, meant):
    found = catalog()

    assert found.find(parse_reference(typed)) is None
    assert found.near(typed)[0] == meant


def test_a_name_near_to_nothing_has_no_advice():
    assert catalog().near("acme/zzz") == []
