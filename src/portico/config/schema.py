"""What a configuration says, in the words of the program. The file's own words are OpenClaw's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from portico.interfaces.provider_spec import ModelCost, PriceTier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.basics import JsonValue
    from portico.interfaces.provider_spec import ApiKind
    from portico.secret import Secret

DEFAULT_PORT: Final = 18444
# Headers that say where a message ends or whom it is for (RFC 9110, RFC 9112): a config cannot set them.
FRAMING: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class AuthProfile:
    """An entry of `auth.profiles`: which provider a stored credential is for. It holds no secret."""

    provider: str
    mode: Literal["api_key", "oauth", "token"]
    email: str | None = None


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """`auth`. `order` names a provider's profiles in the order they are tried; `store` None leaves the choice to the vault."""

    profiles: Mapping[str, AuthProfile] = field(default_factory=dict)
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    store: Literal["keyring", "file"] | None = None


@dataclass(frozen=True, slots=True)
class TierConfig:
    """An entry of `cost.tiers`: the prices above `input_above` tokens of input, None where the price below holds there too."""

    input_above: int
    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None

    def over(self, base: ModelCost) -> PriceTier:
        """The tier, with the prices of `base` where it gives none."""
        return PriceTier(
            self.input_above,
            base.input if self.input is None else self.input,
            base.output if self.output is None else self.output,
            base.cache_read if self.cache_read is None else self.cache_read,
            base.cache_write if self.cache_write is None else self.cache_write,
        )


@dataclass(frozen=True, slots=True)
class CostConfig:
    """Prices in US dollars per million tokens; None where none is given. `tiers` are the prices of larger requests."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    tiers: tuple[TierConfig, ...] | None = None

    def over(self, known: ModelCost | None) -> ModelCost:
        """These prices, and those of `known` where none is given here; 0 where neither gives one.

        An input or output price without tiers holds for every size: the tiers of `known` go by other prices.
        """
        behind = known or ModelCost(0.0, 0.0)
        base = ModelCost(
            behind.input if self.input is None else self.input,
            behind.output if self.output is None else self.output,
            behind.cache_read if self.cache_read is None else self.cache_read,
            behind.cache_write if self.cache_write is None else self.cache_write,
        )
        if self.tiers is not None:
            return replace(base, tiers=tuple(tier.over(base) for tier in self.tiers))
        return replace(base, tiers=behind.tiers) if self.input is None and self.output is None else base


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model as a file describes it: what is None is not said there. `context_window` and `max_tokens` are in tokens.

    `api` is its own protocol, over the provider's. `headers` are sent with each request to this model, over the provider's own;
    `${VAR}` in them is not resolved yet.
    """

    id: str
    name: str | None = None
    reasoning: bool | None = None
    input: tuple[str, ...] | None = None
    context_window: int | None = None
    max_tokens: int | None = None
    cost: CostConfig | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    api: ApiKind | None = None


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """An entry of `models.providers`. What is None is as the provider itself says; `${VAR}` is not resolved yet.

    `auth_header` true sends the key as `Authorization: Bearer`, false as the API kind's own header. `problem` says why the base
    URL cannot be used, and no request goes to the provider for as long as it is there.
    """

    base_url: str | None = None
    api: ApiKind | None = None
    api_key: Secret | None = None
    auth_header: bool | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    models: tuple[ModelConfig, ...] = ()
    problem: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """`models`. Mode `replace` hides the built-in providers, `merge` keeps them beside these."""

    mode: Literal["merge", "replace"] = "merge"
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """An entry of `agents.defaults.models`."""

    alias: str | None = None


@dataclass(frozen=True, slots=True)
class AgentDefaults:
    """`agents.defaults`. `models`, where it is not empty, is the list of models that may be used, unless `allow` is `all`."""

    primary: str | None = None
    fallbacks: tuple[str, ...] = ()
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    allow: Literal["listed", "all"] = "listed"


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """An entry of `plugins.entries`. `config` is the plugin's own, and may hold what is secret to it.

    `problem` says why the entry cannot be used, and its plugin with it. `inherited`: the base alone has it, so that its plugin
    may well be one that only OpenClaw knows.
    """

    enabled: bool | None = None
    config: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)
    problem: str | None = field(default=None, compare=False)
    inherited: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class PluginsConfig:
    """`plugins`. `allow` None allows every plugin; `deny` comes before it."""

    enabled: bool = True
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    load_paths: tuple[str, ...] = ()
    entries: Mapping[str, PluginEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`gateway`. `models` maps a model's name as clients send it to the reference of the model that answers to it here."""

    port: int = DEFAULT_PORT
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. `env` are variables for where the process has none of that name; their values may be API keys.

    `base` is the path of the OpenClaw file underneath as it is written, None where there is none. `history`: whether requests are
    noted.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: AuthConfig = field(default_factory=AuthConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    agents: AgentDefaults = field(default_factory=AgentDefaults)
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    base: str | None = None
    history: bool = True
