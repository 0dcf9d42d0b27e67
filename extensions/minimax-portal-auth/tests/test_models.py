from __future__ import annotations

import pytest

from minimax_portal_auth.plugin import DEFAULT_MODEL, MODELS

BY_ID = {model.id: model for model in MODELS}


@pytest.mark.requirement("P1")
def test_both_m21_models_are_known_with_context_output_limit_and_price() -> None:
    base, lightning = BY_ID["MiniMax-M2.1"], BY_ID["MiniMax-M2.1-lightning"]
    for model in (base, lightning):
        assert model.context_window == 204_800
        assert model.max_tokens == 131_072
        assert model.cost is not None
    assert lightning.cost.input == base.cost.input
    assert lightning.cost.output > base.cost.output
    assert "higher output price" in lightning.note
    assert "Coding Plan" in lightning.note


def test_the_page_s_aliases_and_default_are_there() -> None:
    assert {model.alias: model.id for model in MODELS if model.alias} == {
        "minimax-m2.1": "MiniMax-M2.1",
        "minimax-m2.1-lightning": "MiniMax-M2.1-lightning",
    }
    assert DEFAULT_MODEL == "minimax-portal/MiniMax-M2.1"


def test_every_figure_has_a_public_source_and_every_gap_says_so() -> None:
    for model in MODELS:
        assert model.source
        if model.cost is None or model.max_tokens is None:
            assert "No public source" in model.note or "no public source" in model.note


def test_ids_are_unique() -> None:
    assert len(BY_ID) == len(MODELS)
