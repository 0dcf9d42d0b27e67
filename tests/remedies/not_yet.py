"""Remedies that no test follows yet. This list only shrinks: a new remedy has a scenario from the start."""

from __future__ import annotations

from typing import Final

NOT_YET: Final = frozenset(
    {
    }
)
