"""The emulator's settings: `portico emulator run --knob NAME=VALUE`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from portico.plugin_api import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXPIRY_UNITS: Final = ("ms", "s", "relative")
FAULTS: Final = ("500", "503", "html", "oversize", "drop", "slow")
OMITTABLE: Final = ("refresh_token", "resource_url", "interval", "expired_in", "state")
QUOTAS: Final = ("exhausted", "none", "unlimited", "not-in-plan")
REJECTIONS: Final = ("403", "200")
REMAINS: Final = ("older", "html", "null", "no-week", "no-percent", "modalities", "m-plan", "absurd")
_MAX_PORT: Final = 65535
_MAX_BOOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The emulator's settings (`--knob`); the defaults are the real service.

    - `expiry`: the unit of `expired_in`; `omit`: fields left out of replies
    - `resource_url`, `notice`: put into token replies; `status`: the reply to every poll; `interval`: seconds between polls
    - `www`: put the approval page on the old www host; `legacy`: `/oauth/*` on the API hosts does not redirect
    - `device_fault`, `token_fault`: how requests to these endpoints fail
    - `quota`: `exhausted` (for two hours), `none` (no plan), `unlimited`, `not-in-plan` (no text models)
    - `boost`: the factor of the plan's windows, in permille
    - `remains`: the usage reply: `older` (only the older endpoint), `html`, `null` (no rows), `no-week`, `no-percent`,
      `modalities` (the rows of April 2026), `m-plan` (the row of October 2026; its windows start with the first use), `absurd`
    - `refuse_model`: a model that the plan does not include; `refusal`: reject a credential with `403`, or with `200` and a
      `base_resp`, instead of 401; `api_key`: an accepted key
    - `anthropic`: `overloaded`; `lmstudio`: the port for a local LM Studio (0: any; `off`)
    """

    expiry: str = "ms"
    omit: frozenset[str] = frozenset()
    resource_url: str | None = None
    notice: str | None = None
    status: str | None = None
    interval: float = 3.0
    www: bool = False
    legacy: bool = False
    device_fault: str | None = None
    token_fault: str | None = None
    quota: str | None = None
    boost: int = 1000
    remains: str | None = None
    refuse_model: str | None = None
    refusal: str | None = None
    api_key: str | None = None
    anthropic: str | None = None
    lmstudio: int | None = None


def parse_settings(options: Mapping[str, str]) -> Settings:
    """Parse the settings of the command line.

    Raises:
        UsageError: `usage`: an unknown knob, or an invalid value.
    """
    values: dict[str, object] = {}
    for name, value in options.items():
        key = name.replace("-", "_")
        if key not in _PARSERS:
            raise _unknown_error(name)
        try:
            values[key] = _PARSERS[key](value)
        except ValueError as error:
            raise UsageError(f"Invalid value for knob {name}: {value!r}", why=str(error) or None) from None
    return Settings(**values)  # type: ignore[arg-type]  # each parser returns its field's type


def _unknown_error(name: str) -> UsageError:
    known = sorted(field.name.replace("_", "-") for field in fields(Settings))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "Knobs: " + ", ".join(known)
    return UsageError(f"Unknown knob: {name}", hint=hint)


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError("expected one of " + ", ".join(choices))
        return value

    return read


def _parse_names(value: str) -> frozenset[str]:
    names = frozenset(filter(None, value.split(",")))
    if not names <= set(OMITTABLE):
        raise ValueError("expected some of " + ",".join(OMITTABLE))
    return names


def _parse_switch(value: str) -> bool:
    return _one_of("on", "off")(value) == "on"


def _parse_port(value: str) -> int | None:
    if value == "off":
        return None
    if not value.isdigit() or int(value) > _MAX_PORT:
        raise ValueError("expected a port, 0 for any, or off")
    return int(value)


def _parse_permille(value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= _MAX_BOOST:
        raise ValueError(f"expected a whole number from 1 to {_MAX_BOOST}")
    return int(value)


def _parse_seconds(value: str) -> float:
    seconds = float(value)
    if not 0 <= seconds <= 600:  # noqa: PLR2004 - longer than the lifetime of any code
        raise ValueError("expected seconds from 0 to 600")
    return seconds


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "expiry": _one_of(*EXPIRY_UNITS),
    "omit": _parse_names,
    "resource_url": str,
    "notice": str,
    "status": str,
    "interval": _parse_seconds,
    "www": _parse_switch,
    "legacy": _parse_switch,
    "device_fault": _one_of(*FAULTS),
    "token_fault": _one_of(*FAULTS),
    "quota": _one_of(*QUOTAS),
    "boost": _parse_permille,
    "remains": _one_of(*REMAINS),
    "refuse_model": str,
    "refusal": _one_of(*REJECTIONS),
    "api_key": str,
    "anthropic": _one_of("overloaded"),
    "lmstudio": _parse_port,
}
