"""The portals Global and CN: the account service, the client, the API, and the origins that may receive a token.

The regions have separate accounts; each rejects the other's tokens. In May 2026 the account service moved from the API hosts
(`/oauth/...`) to its own hosts (`/oauth2/...`), with 307 redirects (openclaw#89193, hermes-agent#19335). A POST must not follow a
redirect, so `relocated` lists the moves.

All clients are public, without a secret. MiniMax registers one client per product and has no self-registration. The user can set
`clientId` in the plugin's config; a known id implies the scope, audience and dialect of its product. Sources: OpenClaw's
`extensions/minimax` (family A), MiniMax's `mmx-cli` 1.0.27 and its opencode plugin (family B), MiniMax's `minimax-code`,
packages/oauth-core (family C).

The `resource_url` in a token reply depends on the client: for OpenClaw it ends in `/anthropic`, for MiniMax's CLI it is an
origin. A wrong URL could steal the token, so the field only selects one of the portal's own origins.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from portico.plugin_api import OAuthError, OAuthServer, Region, plain_text, why_not_a_safe_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.plugin_api import TokenSet

Flow = Literal["auto", "browser", "device"]

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
REQUIRED_SCOPE: Final = "agent.default"

OPENCLAW_CLIENT: Final = "78257093-7e40-4613-99e0-527b14b39113"
MMX_CLIENT: Final = "659cf4c1-615c-45f6-a5f6-4bf15eb476e5"
OPENCODE_CLIENT: Final = "d38bdbee-2b8c-4c74-9a9c-5875fabe6317"
MCODE_CLIENT: Final = "mcode-public"

USER_CODE: Final = "minimax-user-code"
USER_CODE_8628: Final = "minimax-user-code-8628"
DEVICE_CODE: Final = "minimax-device-code"


class ScopeMissing(OAuthError):
    """The provider did not grant the scope that the models need."""

    id = "scope-missing"


class ResourceUrlRefused(OAuthError):
    """The token reply names an API host that is not in this region."""

    id = "resource-url"


@dataclass(frozen=True, slots=True)
class Family:
    """The parameters of one product's client. `accounts` and `api_bases`: by region, if they differ from the portal's."""

    product: str
    scope: str
    dialect: str
    audience: str | None = None
    accounts: Mapping[str, str] = field(default_factory=dict)
    api_bases: Mapping[str, str] = field(default_factory=dict)


_PLAN_SCOPE: Final = "openid profile coding_plan"

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        OPENCLAW_CLIENT: Family("OpenClaw", "group_id profile model.completion", USER_CODE),
        MMX_CLIENT: Family("MiniMax CLI", _PLAN_SCOPE, USER_CODE_8628),
        OPENCODE_CLIENT: Family("opencode", _PLAN_SCOPE, USER_CODE_8628),
        MCODE_CLIENT: Family(
            "MiniMax Code",
            "agent.default",
            DEVICE_CODE,
            audience="agent-backend",
            accounts=MappingProxyType({"cn": "https://account.minimax.cn"}),
            api_bases=MappingProxyType(
                {
                    "global": "https://agent.minimax.io/mavis/api/v1/llm",
                    "cn": "https://agent.minimax.cn/mavis/api/v1/llm",
                }
            ),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Portal:
    """One region's portal. A token of this portal is sent only to `origins`."""

    region: Region
    server: OAuthServer
    api_base: str
    origins: frozenset[str]
    flow: Flow = "auto"


def origin(url: str) -> str:
    """`scheme://host[:port]` of `url`, in lower case and without the scheme's default port (RFC 6454 section 4).

    Raises:
        ValueError: the URL has no host, a user, or an invalid port.
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
    """Return `portal` for another client. A known id sets the parameters of its family; an unknown id changes only the id."""
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


def check_scope(token_set: TokenSet) -> None:
    """Refuse tokens of MiniMax Code's client if the required scope is missing.

    A reply without the field `scope` grants the requested scope (RFC 6749 section 5.1).

    Raises:
        OAuthError: `scope-missing`.
    """
    if token_set.scope is not None and REQUIRED_SCOPE not in token_set.scope.split():
        raise ScopeMissing(
            "MiniMax granted fewer scopes than requested, so the token would not work.",
            why=f"the scope {REQUIRED_SCOPE} is missing",
            hint="Run the command again, and allow everything that the page asks for.",
        )


def api_base_for(portal: Portal, resource_url: str | None) -> str:
    """The API base for inference: the portal's default, or another origin of the portal if the reply names it.

    Raises:
        OAuthError: `resource-url`: the reply names a URL outside this region.
    """
    if not resource_url:
        return portal.api_base
    named_origin = origin(resource_url) if why_not_a_safe_url(resource_url) is None else None
    if named_origin not in portal.origins:
        raise ResourceUrlRefused(
            f"The token reply names an API outside the {portal.region.label} portal: {plain_text(resource_url, 100)}",
            why=f"Portico sends this token only to {', '.join(sorted(portal.origins))}; nothing was stored",
            hint="Sign in with the account's own --region. For a portal of your own, set its API: "
            f"{{prog}} config set plugins.entries.minimax-portal-auth.config.portals.{portal.region.id}.apiBase URL",
        )
    return portal.api_base if named_origin == origin(portal.api_base) else f"{named_origin}/anthropic"
