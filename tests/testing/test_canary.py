from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portico.testing.canary import canary, exempt, find_canaries, in_mapping, in_text

if TYPE_CHECKING:
    from pathlib import Path


def test_every_canary_is_another_and_is_found_in_text() -> None:
    first, second = canary("at"), canary("at")
    assert first != second
    assert in_text(f"x{first}y {second[:-4]}") == [first, second[:-4]]


def test_a_kind_that_would_not_be_found_is_refused() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        canary("Access-Token")


def test_canaries_are_found_in_contents_and_names_at_any_depth(tmp_path: Path) -> None:
    text, wide, name = canary("a"), canary("b"), canary("c")
    deep = tmp_path / "one" / "two"
    deep.mkdir(parents=True)
    exempt(deep)
    (deep / "text").write_bytes(b"\xff" + text.encode())
    assert find_canaries(tmp_path) == []
    shown = tmp_path / "one" / "three"
    shown.mkdir()
    exempt(shown / name)
    (shown / name).write_bytes(wide.encode("utf-16-le"))
    assert find_canaries(tmp_path) == []
    found = find_canaries(shown.rename(tmp_path / "four"))
    assert any(name in line for line in found)
    assert any(wide[:17] in line for line in found)
    exempt(tmp_path / "four")


def test_an_environment_that_holds_a_canary_names_the_variable_only() -> None:
    secret = canary("key")
    assert in_mapping({"PATH": "/bin", "API_KEY": secret}) == ["API_KEY"]
