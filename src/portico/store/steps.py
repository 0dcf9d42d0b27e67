"""The points of a write at which a process may die, told to whoever asks.

A test hands in an `OnStep` that kills the process at one of them; nothing else listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    OnStep = Callable[[str], None]

FILE_STEPS: Final = ("temp-opened", "temp-written", "temp-synced", "renamed", "folder-synced")
COMMIT_STEPS: Final = ("intent", "written", "verified", "flipped", "deleted", "cleared")
DELETE_STEPS: Final = ("forgotten", "deleted", "cleared")


def no_step(_name: str) -> None:
    """Nobody is listening."""
