"""What a plugin can bring besides providers and sign-ins: emulators, checks of `doctor`, commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from portico.interfaces.basics import JsonValue


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """What `portico emulator run` was asked for. `access_ttl_s` is the lifetime of access tokens in seconds."""

    redirect: bool = False
    access_ttl_s: float | None = None
    auto_approve: bool = False
    knobs: Mapping[str, str] = field(default_factory=dict)


class Emulator(Protocol):
    """A stand-in for a provider's servers, run by `portico emulator`. `hosts` are the real host names it answers for."""

    id: str
    label: str
    hosts: tuple[str, ...]

    def app(self, options: EmulatorOptions) -> object:
        """An `aiohttp.web.Application` that answers for every one of `hosts`, told apart by the Host header."""
        ...

    def config(self, options: EmulatorOptions) -> Mapping[str, JsonValue]:
        """What the user's config has to say so that real commands meet what `options` add to the real service."""
        ...

    def approval_url(self, user_code: str) -> str:
        """The page where a person would approve `user_code`."""
        ...

    def loopback_port(self, options: EmulatorOptions) -> int | None:
        """A port on 127.0.0.1 where the app answers plain HTTP too (0: any), for a service that is local in real life."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What a doctor check saw."""

    id: str
    level: Literal["ok", "warning", "error"]
    message: str
    why: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One check of `doctor`: `run` is called in the event loop and bounded by the caller."""

    id: str
    label: str
    run: Callable[[], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class CliCommand:
    """A command that a plugin adds. `target` is `module:function`, called with the words after the command's name."""

    name: str
    summary: str
    target: str
