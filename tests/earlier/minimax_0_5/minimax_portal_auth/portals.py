"""The two portals, Global and CN: where to sign in, where the API is, and which origins a token may be sent to.

The regions are separate account spaces: a token of one is refused by the other. The account service moved from the API hosts
(`/oauth/...`) to its own (`/oauth2/...`) in May 2026 and left 307 redirects behind (openclaw#89193, hermes-agent#19335); a POST
must not follow a redirect on its own say-so, so the moves are written down here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from minimax_portal_auth.families import FAMILIES, OPENCLAW_CLIENT
from portico.plugin_api import OAuthServer, Region

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimax_portal_auth.families import Family

Flow = Literal["auto", "browser", "device"]

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Portal:
    """One region's portal. `origins` are the only places that a token of this portal is sent to."""

    region: Region
    server: OAuthServer
    api_base: str
    origins: frozenset[str]
    flow: Flow = "auto"


def origin(url: str) -> str:
    """`scheme://host[:port]` of `url`, in lower case and without the scheme's own port (RFC 6454 section 4).

    Raises:
        ValueError: the URL names no host, a user, or a port that is none.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError(f"not a URL with a plain host: {url}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _relocations(api: str, account: str) -> Mapping[str, str]:
    return MappingProxyType(
        {f"{api}/oauth/code": f"{account}/oauth2/device/code", f"{api}/oauth/token": f"{account}/oauth2/token"}
    )


def _portal(region: Region, *, account: str, api: str, more_origins: frozenset[str] = frozenset()) -> Portal:
    family = FAMILIES[OPENCLAW_CLIENT]
    server = OAuthServer(
        issuer=account,
        client_id=OPENCLAW_CLIENT,
        token_endpoint=f"{account}/oauth2/token",
        scope=family.scope,
        device_authorization_endpoint=f"{account}/oauth2/device/code",
        revocation_endpoint=f"{account}/oauth2/revoke",
        dialect=family.dialect,
        relocated=_relocations(api, account),
    )
    return Portal(region=region, server=server, api_base=f"{api}/anthropic", origins=frozenset({api}) | more_origins)


GLOBAL: Final = _portal(
    Region("global", "Global", "api.minimax.io - international accounts", "minimax-portal:default"),
    account="https://account.minimax.io",
    api="https://api.minimax.io",
)
CN: Final = _portal(
    Region("cn", "CN", "api.minimaxi.com - accounts in China", "minimax-portal:cn"),
    account="https://account.minimaxi.com",
    api="https://api.minimaxi.com",
    more_origins=frozenset({"https://api.minimax.cn"}),
)
PORTALS: Final[Mapping[str, Portal]] = MappingProxyType({portal.region.id: portal for portal in (GLOBAL, CN)})


def for_client(portal: Portal, client_id: str) -> Portal:
    """`portal` for another client: what is known of a public client comes with its id, an unknown one changes only the id."""
    family = FAMILIES.get(client_id)
    if family is None:
        return replace(portal, server=replace(portal.server, client_id=client_id))
    return _for_family(portal, client_id, family)


def _for_family(portal: Portal, client_id: str, family: Family) -> Portal:
    region = portal.region.id
    account = family.accounts.get(region, portal.server.issuer)
    server = replace(
        portal.server,
        issuer=account,
        client_id=client_id,
        scope=family.scope,
        audience=family.audience,
        dialect=family.dialect,
        token_endpoint=f"{account}/oauth2/token",
        device_authorization_endpoint=f"{account}/oauth2/device/code",
        revocation_endpoint=f"{account}/oauth2/revoke",
    )
    api_base = family.api_bases.get(region, portal.api_base)
    return replace(portal, server=server, api_base=api_base, origins=portal.origins | {origin(api_base)})
