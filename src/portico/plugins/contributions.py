"""What each hook's answers must be: how they are named, and what they must have to be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.interfaces.auth_method import AuthMethod
from portico.interfaces.authorization import TokenDialect
from portico.interfaces.plan_reader import PlanReader
from portico.interfaces.plugin_parts import CliCommand, DoctorCheck
from portico.interfaces.provider_spec import ProviderSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of contribution: what it is called, the attribute that names one, its type or the attributes it must have."""

    label: str
    key: str
    type: type | None = None
    attributes: tuple[str, ...] = ()

    def problem(self, item: object) -> str | None:
        """Why `item` cannot be one of these."""
        if self.type is not None and not isinstance(item, self.type):
            return f"{self.label} must be a {self.type.__name__}, not {type(item).__name__}"
        missing = [name for name in self.attributes or (self.key,) if not hasattr(item, name)]
        if missing:
            return f"{self.label} of type {type(item).__name__} lacks {', '.join(missing)}"
        return None


def _members(protocol: type) -> tuple[str, ...]:
    """What a protocol asks for, in the order in which it is written there.

    So what a later version asks for besides is optional, and stands in a protocol of its own, as `KnowsClients` does.
    """
    return tuple(name for name in (*protocol.__annotations__, *vars(protocol)) if not name.startswith("_"))


KINDS: Final[Mapping[str, Kind]] = {
    "portico_providers": Kind("provider", "id", ProviderSpec),
    "portico_plan_readers": Kind("plan reader", "provider", attributes=_members(PlanReader)),
    "portico_auth_methods": Kind("auth method", "choice", attributes=_members(AuthMethod)),
    "portico_token_dialects": Kind("token dialect", "name", attributes=_members(TokenDialect)),
    "portico_emulators": Kind("emulator", "id", attributes=("id", "label", "hosts", "app")),
    "portico_doctor_checks": Kind("doctor check", "id", DoctorCheck),
    "portico_cli_commands": Kind("command", "name", CliCommand),
}
