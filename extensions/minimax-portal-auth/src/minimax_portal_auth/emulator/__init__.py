"""An emulator of MiniMax's account service and API, to use Portico without an account and without a network.

By default the emulator serves the endpoints that public clients use, and 404 for anything else. Only `redirect` adds endpoints
that MiniMax does not have; their pages say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimax_portal_auth.emulator.hosts import HOSTS
from minimax_portal_auth.emulator.pages import approval_path
from minimax_portal_auth.emulator.service import MinimaxService
from minimax_portal_auth.emulator.settings import parse_settings
from minimax_portal_auth.portals import PORTALS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from portico.plugin_api import Clock, EmulatorOptions, JsonValue

__all__ = ["MinimaxEmulator", "MinimaxService"]

_APPROVAL_HOST = "https://platform.minimax.io"
_PLUGIN = "minimax-portal-auth"


class MinimaxEmulator:
    """The `Emulator` for MiniMax. `service` is the service of the latest `app`, for tests that change it while it runs."""

    id = "minimax"
    label = "MiniMax (account service and API, Global and CN)"
    hosts = tuple(HOSTS)

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self.service: MinimaxService | None = None

    def app(self, options: EmulatorOptions) -> web.Application:
        self.service = MinimaxService(options, clock=self._clock)
        return self.service.app()

    def config(self, options: EmulatorOptions) -> Mapping[str, JsonValue]:
        """With `redirect`, both portals use discovery and a redirect URI."""
        if not options.redirect:
            return {}
        portals: dict[str, JsonValue] = {
            region: {"issuer": portal.server.issuer, "redirect": True} for region, portal in PORTALS.items()
        }
        return {"plugins": {"entries": {_PLUGIN: {"config": {"portals": portals}}}}}

    def approval_url(self, user_code: str) -> str:
        return _APPROVAL_HOST + approval_path(user_code)

    def loopback_port(self, options: EmulatorOptions) -> int | None:
        return parse_settings(options.knobs).lmstudio
