"""What each hook's answers must be: how they are named, and what they must have to be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
        missing = [name for name in (self.key, *self.attributes) if not hasattr(item, name)]
        if missing:
            return f"{self.label} of type {type(item).__name__} lacks {', '.join(missing)}"
        return None


_DIALECT: Final = (
    "device_request",
    "read_device_reply",
    "poll_request",
    "read_poll_reply",
    "code_request",
    "refresh_request",
    "read_token_reply",
    "revoke_request",
)

KINDS: Final[Mapping[str, Kind]] = {
    "portico_providers": Kind("provider", "id", ProviderSpec),
    "portico_plan_readers": Kind("plan reader", "provider", None, ("env_keys", "urls", "can_have_plan", "read")),
    "portico_auth_methods": Kind(
        "auth method", "choice", None, ("provider", "label", "regions", "default_model", "hint", "server", "flow", "accept")
    ),
    "portico_token_dialects": Kind("token dialect", "name", None, _DIALECT),
    "portico_emulators": Kind("emulator", "id", None, ("label", "hosts", "app")),
    "portico_doctor_checks": Kind("doctor check", "id", DoctorCheck),
    "portico_cli_commands": Kind("command", "name", CliCommand),
}
