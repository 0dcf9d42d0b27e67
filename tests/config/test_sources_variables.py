from __future__ import annotations

import pytest

from portico.config.sources import is_reference, resolve_variables, with_defaults
from portico.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("x-${A}-${B_2}", "x-one-two"),
        ("$${A}", "${A}"),
        ("${lower} $A ${}", "${lower} $A ${}"),
        ("${NESTED}", "${A}"),
    ],
)
def test_variables_are_replaced_once(text, expected):
    assert resolve_variables(text, {"A": "one", "B_2": "two", "NESTED": "${A}"}, where="p") == expected


@pytest.mark.parametrize("env", [{}, {"KEY": ""}])
def test_a_variable_that_is_unset_or_empty_is_named_with_the_place_that_wants_it(env):
    with pytest.raises(ConfigError) as exc_info:
        resolve_variables("${KEY}", env, where="models.providers.minimax.apiKey")
    assert exc_info.value.id == "variable-unset"
    assert "KEY" in exc_info.value.message
    assert exc_info.value.why == "`models.providers.minimax.apiKey` refers to it"


def test_the_process_comes_before_the_configuration_and_an_empty_variable_after_it():
    assert with_defaults({"A": "process", "B": "", "C": ""}, {"A": "config", "B": "config"}) == {
        "A": "process",
        "B": "config",
        "C": "",
    }


def test_a_reference_differs_from_text_that_contains_one():
    assert is_reference("${KEY}")
    assert not any(map(is_reference, ["$${KEY}", "x${KEY}", "${key}", "sk-1"]))
