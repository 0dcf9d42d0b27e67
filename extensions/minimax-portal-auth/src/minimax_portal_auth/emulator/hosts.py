"""The host names that the emulator answers for."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Role = Literal["account", "api", "platform", "www", "agent", "anthropic", "lmstudio"]
RegionId = Literal["global", "cn"]


@dataclass(frozen=True, slots=True)
class EmulatedHost:
    """One host, with its role, its region, and the domain that it shares with other hosts."""

    name: str
    role: Role
    region: RegionId = "global"
    domain: str = ""

    def base_url(self, role: Role) -> str:
        """The base URL of the host with `role` under the same domain."""
        return f"https://{role}.{self.domain}"


def _minimax(domain: str, region: RegionId, *roles: Role) -> list[EmulatedHost]:
    return [EmulatedHost(f"{role}.{domain}", role, region, domain) for role in roles]


HOSTS: Final[Mapping[str, EmulatedHost]] = MappingProxyType(
    {
        host.name: host
        for host in (
            *_minimax("minimax.io", "global", "account", "api", "platform", "www", "agent"),
            *_minimax("minimaxi.com", "cn", "account", "api", "platform"),
            *_minimax("minimax.cn", "cn", "account", "api", "platform", "agent"),
            EmulatedHost("api.anthropic.com", "anthropic"),
        )
    }
)
LM_STUDIO: Final = EmulatedHost("127.0.0.1", "lmstudio")


def find_host(host: str) -> EmulatedHost | None:
    """The host of a Host header; every loopback name is LM Studio."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return LM_STUDIO if name in {"127.0.0.1", "localhost", "[::1]"} else HOSTS.get(name.lower())
