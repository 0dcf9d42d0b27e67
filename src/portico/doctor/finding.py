"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portico.doctor.patient import Patient
    from portico.errors import PorticoError

Level = Literal["error", "warning"]
Status = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong. `why` is why it matters, `hint` what to do, with `{prog}` for the program's name.

    `mend` does it, where that is safe without asking, and returns what it did.
    """

    id: str
    level: Level
    message: str
    why: str | None = None
    hint: str | None = None
    mend: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Saw:
    """What a check looked at, in a few words: a path, the accounts, the model that would answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a check had nothing to look at."""

    why: str


Seen = Found | Saw | Skipped


@dataclass(frozen=True, slots=True)
class Check:
    """One part of an installation to look at. `run` may block, for as long as it is given."""

    id: str
    label: str
    run: Callable[[Patient], Iterable[Seen]]


def of_error(error: PorticoError, *, level: Level = "error", why: str | None = None) -> Found:
    """What an operation that failed says."""
    where = f" ({error.where})" if error.where else ""
    return Found(error.id, level, f"{error.message}{where}", why or error.why, error.hint)
