"""What an account's plan has left, and how a provider tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.basics import JsonValue
    from portico.secret import Secret

# How much a window of a plan still gives; `unknown` where the provider tells nothing that can be relied on.
WindowState = Literal["limited", "exhausted", "unlimited", "not-in-plan", "unknown"]


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """One window of a plan: how much of one kind of use it still gives.

    `kind` is the provider's word for that use (`general`, `video`), `name` is how long the window lasts (`5h`, `week`).
    `percent_left` counts the boost in and may exceed 100; None where none is told that can be. `left` and `total` are requests,
    both None unless they agree with the percentage. `resets_at` is wall ms. `boost` is what the plan's own allowance is
    multiplied by. `started` False: the window begins with its first use, and nothing has been used, so that it resets at no time
    that is known.
    """

    kind: str
    name: str
    state: WindowState
    percent_left: float | None = None
    left: int | None = None
    total: int | None = None
    resets_at: int | None = None
    boost: float = 1.0
    started: bool = True


class PlanReader(Protocol):
    """How a provider tells what an account's plan has left. Pure: no I/O, no clock, no state; the host sends the requests.

    `provider` is whose accounts it reads. `env_keys` are the variables that may hold a key of a plan, in the order of trying.
    """

    @property
    def provider(self) -> str: ...

    @property
    def env_keys(self) -> tuple[str, ...]: ...

    def urls(self, base_url: str) -> tuple[str, ...]:
        """Where an account whose API is at `base_url` is asked, by GET, in order.

        The next URL is asked if the one before is not served, cannot be reached, answers with a web page or with one of its
        `unsure_codes`, or is at a host other than the API's and answers with an HTTP error without an error number. Empty if no
        such account can be asked. A URL is requested only at a host that the provider declares, or that `hosts` names.
        """
        ...

    def can_have_plan(self, key: Secret) -> bool:
        """Whether `key` may be one of a plan; False for one whose form says that it is of another kind."""
        ...

    def read(self, answer: Mapping[str, JsonValue], now_ms: int) -> tuple[PlanWindow, ...]:
        """The windows that an answer tells of, at `now_ms` (wall ms). What makes no sense in it is left out, and raises nothing.

        Failures are read by the host before: the HTTP status, and the provider's own `error_codes`.

        A reader may have a method `unsure_codes(url)` besides: the numbers of `error_codes` that prove nothing about the
        credential or the plan where `url` answers them. They are told as a failure, cost no refresh and ask for no sign-in. An
        attribute `hosts` may name further hosts of the provider's own that are asked about plans, and are sent its credentials
        for nothing else.
        """
        ...
