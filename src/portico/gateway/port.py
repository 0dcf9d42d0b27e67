"""The port that the gateway is to listen on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError

if TYPE_CHECKING:
    from portico.installation import Installation

PORT_ENV: Final = "PORTICO_GATEWAY_PORT"
LAST_PORT: Final = 65535


def configured_port(here: Installation) -> int:
    """The environment's port, or the configuration's; that one is read, and has to be right, in any case.

    Raises:
        ConfigError: `bad-port`.
    """
    configured = here.settings.config.gateway.port
    text = here.env.get(PORT_ENV)
    if text is None:
        return configured
    if not (text.isascii() and text.isdigit() and int(text) <= LAST_PORT):
        raise ConfigError("bad-port", f"{PORT_ENV} is not a port.", why=repr(text), hint=f"set it to 0 to {LAST_PORT}")
    return int(text)
