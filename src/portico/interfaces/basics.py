"""What every layer needs: JSON values, a clock, a person who can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from portico.secret import Secret

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class Clock(Protocol):
    """Time, injected so that tests need not wait."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch; jumps when the clock is set and runs on through sleep."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back, may stand still during sleep."""
        ...

    def boot(self) -> str:
        """A name for this run of the machine, in which all processes share `monotonic` and it goes on in sleep; else empty."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of a menu."""

    value: str
    label: str
    hint: str = ""


class Prompter(Protocol):
    """Asks a person. `interactive` False: nobody can be asked, and each question raises UsageError naming `flag`.

    `flag` is what answers the question on the command line: an option, or a whole command that begins with `{prog}`.
    """

    interactive: bool

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str: ...

    def choose_many(
        self, question: str, choices: Sequence[Choice], *, flag: str, chosen: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Any number of `choices`, in their order; `chosen` are those that are marked to begin with."""
        ...

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool: ...

    def text(self, question: str, *, flag: str, default: str | None = None) -> str: ...

    def secret(self, question: str, *, flag: str) -> Secret: ...
