"""Basic interfaces of all layers: JSON values, the clock, prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from portico.secret import Secret

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class Clock(Protocol):
    """Time, injected so that tests do not wait."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch. Jumps when the clock is set; continues while the machine sleeps."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never goes back; may stop while the machine sleeps."""
        ...

    def boot(self) -> str:
        """Return an id of this boot; empty if `monotonic` differs between processes or stops while the machine sleeps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend this task for `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of a menu."""

    value: str
    label: str
    hint: str = ""


class Prompter(Protocol):
    """Asks the user. If it cannot or may not ask, `interactive` is False: each question raises a UsageError that names `flag`.

    `flag` is the option that answers the question on the command line, or a whole command that starts with `{prog}`.
    """

    interactive: bool

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str: ...

    def choose_many(
        self, question: str, choices: Sequence[Choice], *, flag: str, chosen: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Return the selected `choices`, in their order. `chosen` are selected at the start."""
        ...

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool: ...

    def text(self, question: str, *, flag: str, default: str | None = None) -> str: ...

    def secret(self, question: str, *, flag: str) -> Secret: ...
