"""The accounts of both regions, and the registered clients. Tokens and codes are valid only in the region that issued them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from minimax_portal_auth.portals import DEVICE_CODE, FAMILIES
from portico.testing.authorization_server import AuthorizeEndpoint, Client
from portico.testing.grants import CodeTable, DeviceTable, TokenMint, issuer_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimax_portal_auth.emulator.hosts import RegionId
    from portico.plugin_api import Clock

PLAN_TTL_S: Final = 172_800.0  # OpenClaw's client sees two days (openclaw#79731)
CODE_TTL_S: Final = 3600.0  # MiniMax Code's client sees one hour
DEVICE_TTL_S: Final = 300.0
# The initial usage, as in the capture of openclaw#81115.
USED_AT_START: Final = 151


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A registered client. `standard`: the client uses the device-code dialect."""

    id: str
    product: str
    scope: str
    standard: bool
    access_ttl_s: float
    resource_suffix: str | None


def _known(client_id: str) -> KnownClient:
    family = FAMILIES[client_id]
    standard = family.dialect == DEVICE_CODE
    suffix = None if standard else "/anthropic" if family.product == "OpenClaw" else ""
    return KnownClient(client_id, family.product, family.scope, standard, CODE_TTL_S if standard else PLAN_TTL_S, suffix)


CLIENTS: Final[Mapping[str, KnownClient]] = MappingProxyType({client_id: _known(client_id) for client_id in FAMILIES})


class AccountSpace:
    """One region's accounts: issued tokens and codes, pending device codes, and the plan's usage."""

    def __init__(self, region: RegionId, *, clock: Clock | None, interval_s: float) -> None:
        self.region = region
        self.mint = TokenMint(clock=clock)
        self.devices = DeviceTable(clock=clock, ttl_s=DEVICE_TTL_S, interval_s=interval_s, strict_interval=False)
        self.codes = CodeTable(clock=clock)
        clients = {known.id: Client(known.id, known.product) for known in CLIENTS.values()}
        self.authorize = AuthorizeEndpoint(clients, self.codes, issuer_of)
        self.used = USED_AT_START
        self.first_used_at: int | None = None

    def use(self) -> None:
        """Count one request to a model."""
        self.used += 1
        if self.first_used_at is None:
            self.first_used_at = self.mint.clock.wall_ms()

    def client_of(self, access: str) -> KnownClient | None:
        """The client of the access token; None if the token is not valid in this region."""
        family = self.mint.family_of(access)
        return CLIENTS.get(family.client_id) if family is not None else None
