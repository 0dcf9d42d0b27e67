"""The plugin's hooks: provider, auth method, dialects, plan reader and emulator."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from minimax_portal_auth.overrides import configured_portals
from minimax_portal_auth.portals import DEVICE_CODE, FAMILIES, MCODE_CLIENT, OPENCLAW_CLIENT, PORTALS, api_base_for, check_scope
from portico.plugin_api import (
    AcceptedTokens,
    AuthMethod,
    ConfigError,
    ProviderSpec,
    built_in,
    built_in_plans,
    hookimpl,
    plain_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from minimax_portal_auth.portals import Flow, Portal
    from portico.plugin_api import Emulator, JsonValue, ModelSpec, OAuthServer, PlanReader, Region, TokenDialect, TokenSet

PROVIDER: Final = "minimax-portal"
DEFAULT_MODEL: Final = f"{PROVIDER}/MiniMax-M2.1"
BORROWED_CLIENT_HINT: Final = (
    "Signs in with OpenClaw's public client id: MiniMax's page shows the name OpenClaw, and MiniMax can withdraw the id. "
    "To set another id: `{{prog}} config set plugins.entries.minimax-portal-auth.config.portals.{region}.clientId ID`."
)
# platform.minimax.io/docs/m-plan/faq: only MiniMax Code needs no key.
SUBSCRIPTION_KEY_HINT: Final = (
    "According to MiniMax's M Plan FAQ, tools other than MiniMax Code need a Subscription Key. If the models reject this "
    "account, use a key: `{{prog}} onboard --auth-choice {choice}`."
)
_KEY_CHOICES: Final = MappingProxyType({"global": "minimax-api", "cn": "minimax-cn-api"})
# The plan's models are those of Portico's provider `minimax`, with the aliases of OpenClaw's page and notes about the plan.
_ALIASES: Final = {"MiniMax-M2.1": "minimax-m2.1", "MiniMax-M2.1-lightning": "minimax-m2.1-lightning"}
_NOTES: Final = {
    "MiniMax-M2.1": "Under a Coding Plan MiniMax answers most of its traffic from Lightning.",
    "MiniMax-M2.1-lightning": (
        "Under a Coding Plan you cannot choose this model: MiniMax sends most M2.1 traffic to Lightning, and falls back to M2.1 "
        "at peak times."
    ),
}


class UnknownClient(ConfigError):
    """The dialect of the client id is unknown."""

    id = "config-invalid"


def _plan_model(model: ModelSpec) -> ModelSpec:
    return replace(model, alias=_ALIASES.get(model.id), note=" ".join(filter(None, (_NOTES.get(model.id), model.note))) or None)


def _hosts(portal: Portal) -> frozenset[str]:
    """Every host that may receive a token of this region, for any client."""
    region = portal.region.id
    bases = [*portal.origins, *(family.api_bases[region] for family in FAMILIES.values() if region in family.api_bases)]
    return frozenset(host for base in bases if (host := urlsplit(base).hostname))


_KEY_PROVIDER: Final = built_in("minimax")
MODELS: Final = tuple(_plan_model(model) for model in _KEY_PROVIDER.models)
SPEC: Final = ProviderSpec(
    id=PROVIDER,
    label="MiniMax",
    api="anthropic-messages",
    base_urls=MappingProxyType({region: portal.api_base for region, portal in PORTALS.items()}),
    hosts=MappingProxyType({region: _hosts(portal) for region, portal in PORTALS.items()}),
    models=MODELS,
    # In OpenClaw's order: a token, then a key.
    env_keys=("MINIMAX_OAUTH_TOKEN", "MINIMAX_API_KEY"),
    region_env=_KEY_PROVIDER.region_env,
    aliases=("minimax",),
    placeholder_key="minimax-oauth",
    paths=_KEY_PROVIDER.paths,
    error_codes=_KEY_PROVIDER.error_codes,
    subscribe_urls=_KEY_PROVIDER.subscribe_urls,
    sign_in_choices=(PROVIDER,),
)


class MinimaxPortal:
    """`--auth-choice minimax-portal`: the Global and the CN portal."""

    choice = PROVIDER
    provider = PROVIDER
    label = "MiniMax OAuth"
    regions: tuple[Region, ...] = tuple(portal.region for portal in PORTALS.values())
    default_model = DEFAULT_MODEL

    def __init__(self, config: Mapping[str, JsonValue]) -> None:
        self._portals = configured_portals(config)

    def hint(self, region: str) -> str:
        client = self._portals[region].server.client_id
        client_hint = BORROWED_CLIENT_HINT.format(region=region) if client == OPENCLAW_CLIENT else ""
        is_other_tool = client in FAMILIES and client != MCODE_CLIENT
        key_hint = SUBSCRIPTION_KEY_HINT.format(choice=_KEY_CHOICES[region]) if is_other_tool else ""
        return " ".join(filter(None, (client_hint, key_hint)))

    def server(self, region: str) -> OAuthServer:
        return self._portals[region].server

    def flow(self, region: str) -> Flow:
        return self._portals[region].flow

    def accept(self, region: str, token_set: TokenSet) -> AcceptedTokens:
        if self._portals[region].server.dialect == DEVICE_CODE:
            check_scope(token_set)
        notes = (token_set.notice,) if token_set.notice else ()
        return AcceptedTokens(api_base=api_base_for(self._portals[region], token_set.resource_url), notes=notes)

    def for_client(self, client_id: str) -> MinimaxPortal:
        """The auth method with another product's client id, at MiniMax's own portals."""
        if client_id not in FAMILIES:
            raise UnknownClient(f"No public source knows this client id of MiniMax: {plain_text(client_id, 80)}")
        return MinimaxPortal({"portals": {region: {"clientId": client_id} for region in PORTALS}})


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """MiniMax's models for a signed-in account."""
    return (SPEC,)


@hookimpl
def portico_plan_readers() -> Iterable[PlanReader]:
    """The plan reader of a signed-in account: the same service as for a key."""
    return (built_in_plans("minimax", provider=PROVIDER, env_keys=("MINIMAX_OAUTH_TOKEN",)),)


@hookimpl
def portico_auth_methods(config: Mapping[str, JsonValue]) -> Iterable[AuthMethod]:
    """The auth method, with the portals of the user's config."""
    return (MinimaxPortal(config),)


@hookimpl
def portico_token_dialects() -> Sequence[TokenDialect]:
    """MiniMax's dialects."""
    from minimax_portal_auth.dialects import DIALECTS  # models are listed without the OAuth engine

    return DIALECTS


@hookimpl
def portico_emulators() -> Iterable[Emulator]:
    """The emulator of MiniMax's account service and API."""
    from minimax_portal_auth.emulator import MinimaxEmulator

    return (MinimaxEmulator(),)
