"""The menu of sections, until the person is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import PorticoError
from portico.interfaces.basics import Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.onboarding.workbench import Workbench

_DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the menu. `hint` tells what is so now.

    `run` asks, then writes, or raises and has written nothing; it may give False where the person went back.
    """

    id: str
    label: str
    hint: Callable[[], str]
    run: Callable[[], bool | None]


def run_sections(bench: Workbench, sections: Sequence[Section]) -> None:
    """Offer the sections until the person is done; what fails in one is told, and the menu comes again.

    Raises:
        UsageError: `input-needed`: nobody answers any more.
    """
    by_id = {section.id: section for section in sections}
    marked = sections[0].id
    while True:
        rows = [Choice(section.id, section.label, section.hint()) for section in sections]
        rows.append(Choice(_DONE, "Done"))
        chosen = bench.prompter.choose("Select a section to configure", rows, flag="--section", default=marked)
        if chosen == _DONE:
            return
        marked = _DONE if _is_done(bench, by_id[chosen]) else chosen


def _is_done(bench: Workbench, section: Section) -> bool:
    try:
        return section.run() is not False
    except PorticoError as error:
        if error.id == "input-needed":
            raise
        bench.out.warn("\n  ".join(filter(None, (error.message, error.why, error.hint_for(bench.program)))))
        return False
