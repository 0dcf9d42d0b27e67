"""The table of config keys, and the classes of their values.

The check walks the table, `config schema` prints it as JSON Schema, and `docs/reference/config.md` is made from it. The keys are
OpenClaw's (https://docs.openclaw.ai/gateway/configuration) except those marked `own`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

from portico.config import openclaw
from portico.interfaces.plugins import ApiKind, ModelCost, PriceTier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portico.config.document import ConfigPath
    from portico.interfaces.basics import JsonValue
    from portico.secret import Secret

DEFAULT_PORT: Final = 18444
API_KINDS: Final[tuple[ApiKind, ...]] = get_args(ApiKind)
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
# Headers of message framing and routing (RFC 9110, RFC 9112): a config cannot set them.
FRAMING: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


# --- the values -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuthProfile:
    """An entry of `auth.profiles`; it contains no secret."""

    provider: str
    mode: Literal["api_key", "oauth", "token"]
    email: str | None = None


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """`auth`. `order` lists the profiles of each provider in the order of use. `store` None means the store that worked last."""

    profiles: Mapping[str, AuthProfile] = field(default_factory=dict)
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    store: Literal["keyring", "file"] | None = None


@dataclass(frozen=True, slots=True)
class TierConfig:
    """An entry of `cost.tiers`: the prices above `input_above` input tokens. None means the price of smaller requests."""

    input_above: int
    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None

    def over(self, base: ModelCost) -> PriceTier:
        """Return the tier, with the prices of `base` in place of the prices that are None."""
        cost = _with_prices(base, self)
        return PriceTier(self.input_above, cost.input, cost.output, cost.cache_read, cost.cache_write)


@dataclass(frozen=True, slots=True)
class CostConfig:
    """Prices in US dollars per million tokens, None if not in the file; `tiers` has the prices of larger requests."""

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    tiers: tuple[TierConfig, ...] | None = None

    def over(self, known: ModelCost | None) -> ModelCost:
        """Return these prices. A missing price (None) is replaced by the price in `known`, else by 0.

        If there is an input or output price but no tiers, the prices are for every size: the tiers of `known` belong to other
        prices.
        """
        known = known or ModelCost(0.0, 0.0)
        base = replace(_with_prices(known, self), tiers=())
        if self.tiers is not None:
            return replace(base, tiers=tuple(tier.over(base) for tier in self.tiers))
        return replace(base, tiers=known.tiers) if self.input is None and self.output is None else base


def _with_prices(base: ModelCost, own: TierConfig | CostConfig) -> ModelCost:
    prices = {name: getattr(own, name) for name in ("input", "output", "cache_read", "cache_write")}
    return replace(base, **{name: price for name, price in prices.items() if price is not None})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model in a config file; None means that the file does not have the key.

    `context_window` and `max_tokens` are in tokens. `api` and `headers` override those of the provider; `${VAR}` in a header is
    not resolved yet.
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
    """An entry of `models.providers`. None means the plugin's value; `${VAR}` is not resolved yet.

    `auth_header` true sends the key as `Authorization: Bearer`, false in the header of the protocol. `problem` says why the base
    URL cannot be used; the provider then gets no requests.
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
    """`models`. Mode `replace` hides the built-in providers, `merge` keeps them."""

    mode: Literal["merge", "replace"] = "merge"
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """An entry of `agents.defaults.models`."""

    alias: str | None = None


@dataclass(frozen=True, slots=True)
class AgentDefaults:
    """`agents.defaults`. The `models` are the only allowed models, unless the map is empty or `allow` is `all`."""

    primary: str | None = None
    fallbacks: tuple[str, ...] = ()
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    allow: Literal["listed", "all"] = "listed"


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """An entry of `plugins.entries`. `config` has the plugin's own settings, which may be secret.

    `problem` says why the entry, and so the plugin, cannot be used. `inherited` is true if only the base has the entry: it may be
    a plugin of OpenClaw.
    """

    enabled: bool | None = None
    config: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)
    problem: str | None = field(default=None, compare=False)
    inherited: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class PluginsConfig:
    """`plugins`. Without `allow` every plugin is allowed; `deny` takes precedence."""

    enabled: bool = True
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    load_paths: tuple[str, ...] = ()
    entries: Mapping[str, PluginEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`gateway`. `models` maps a model name of clients to the reference of a model."""

    port: int = DEFAULT_PORT
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config.

    `env` has variables that the process may lack; their values may be API keys. `base` is the path of the base file as it is
    written, or None. `history` says whether requests are recorded.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: AuthConfig = field(default_factory=AuthConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    agents: AgentDefaults = field(default_factory=AgentDefaults)
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    base: str | None = None
    history: bool = True


# --- the table ------------------------------------------------------------------------------------------------------------------

Kind = Literal["text", "string", "secret", "flag", "whole", "amount", "texts", "object", "map", "array", "any"]
# Checks that a type cannot express; each is a function in `config/check.py`.
Rule = Literal[
    "config",
    "variables",
    "profile",
    "defaults",
    "plugins",
    "folders",
    "entries",
    "provider",
    "model",
    "headers",
    "cost",
    "tiers",
    "corrected-provider",
    "corrected-headers",
]


@dataclass(frozen=True, slots=True)
class Key:
    """A config key, or the items of a map or an array.

    Attributes:
        kind: the type of its value: a `text` is not empty, a `string` may be; a `secret` is a text or a reference.
        description: the text for the reference page and for editors.
        words: the allowed texts, if limited; `openclaw_words` are those that only OpenClaw knows.
        minimum: the smallest allowed whole number; `maximum` is the largest, None means no limit.
        keys: the keys of an object, without which it is not checked; `openclaw_keys` are those that only OpenClaw uses.
        of: the items of a map or an array.
        or_text: whether a plain text is allowed instead.
        own: whether only Portico has the key, so OpenClaw's strict schema refuses it.
        required: whether an object must have the key; `required_by_openclaw`: whether OpenClaw's strict schema says so.
        rule: a further check, which may change the value.
        factory: the class whose fields, in snake case, are the keys of an object; None leaves a dictionary.
    """

    kind: Kind
    description: str = ""
    words: tuple[str, ...] = ()
    openclaw_words: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int | None = None
    keys: Mapping[str, Key] = field(default_factory=dict)
    of: Key | None = None
    or_text: bool = False
    own: bool = False
    required: bool = False
    required_by_openclaw: bool = False
    openclaw_keys: tuple[str, ...] = ()
    rule: Rule | None = None
    factory: Callable[..., object] | None = None


def _text(description: str, *words: str, own: bool = False, required: bool = False, required_by_openclaw: bool = False) -> Key:
    return Key("text", description, words, own=own, required=required, required_by_openclaw=required_by_openclaw)


def _object(
    description: str,
    keys: Mapping[str, Key],
    factory: Callable[..., object] | None = None,
    rule: Rule | None = None,
    openclaw_keys: tuple[str, ...] = (),
    *,
    or_text: bool = False,
) -> Key:
    return Key("object", description, keys=keys, factory=factory, rule=rule, openclaw_keys=openclaw_keys, or_text=or_text)


def _map(description: str, of: Key, rule: Rule | None = None, *, own: bool = False) -> Key:
    return Key("map", description, of=of, rule=rule, own=own)


_PRICES: Final = {
    "input": Key("amount", "Price of input tokens."),
    "output": Key("amount", "Price of output tokens."),
    "cacheRead": Key("amount", "Price of tokens read from the provider's cache."),
    "cacheWrite": Key("amount", "Price of tokens written to the provider's cache."),
}
_TIER: Final = _object(
    "The prices of a request with more input than `inputAbove`; a missing price is the same as for smaller requests.",
    {
        "inputAbove": Key("whole", "The number of input tokens, including cached ones.", minimum=1, required=True, own=True),
        **{name: replace(key, own=True) for name, key in _PRICES.items()},
    },
    TierConfig,
)
_COST: Final = _object(
    "Prices in US dollars per million tokens.",
    {**_PRICES, "tiers": Key("array", "Prices of larger requests.", of=_TIER, own=True, rule="tiers")},
    CostConfig,
    "cost",
)
_HEADERS: Final = _map("Headers of requests to this model; they override the provider's.", Key("text"), "headers")
_MODEL_API: Final = Key("text", "The protocol of this model; it overrides the provider's.", API_KINDS, openclaw.API_KINDS)
_MODEL: Final = _object(
    "A model of the provider.",
    {
        "id": _text("The provider's name of the model; case matters.", required=True, required_by_openclaw=True),
        "name": _text("The name for people.", required_by_openclaw=True),
        "api": _MODEL_API,
        "reasoning": Key("flag", "Whether the model thinks before it answers."),
        "input": Key("texts", "The kinds of input: text, image, video."),
        "contextWindow": Key("whole", "The size of the context window in tokens.", minimum=1),
        "maxTokens": Key("whole", "The longest answer in tokens.", minimum=1),
        "cost": _COST,
        "headers": _HEADERS,
    },
    ModelConfig,
    "model",
    openclaw.MODEL,
)
_PROVIDER: Final = _object(
    "A provider of models.",
    {
        "baseUrl": _text(
            "The URL of the API: https, or http on this machine or in the local network; without the path of an endpoint.",
            required_by_openclaw=True,
        ),
        "apiKey": Key(
            "secret",
            "The API key; `${NAME}`, or the bare name of a variable such as `ACME_API_KEY`, reads it from the environment.",
        ),
        "api": replace(_MODEL_API, description="The protocol of the provider."),
        "authHeader": Key("flag", "Send the key as `Authorization: Bearer`; false: in the header of the protocol."),
        "headers": replace(_HEADERS, description="Headers of every request; values may be variables, as in `apiKey`."),
        "models": Key("array", "Models, added to those that Portico knows.", of=_MODEL, required_by_openclaw=True),
    },
    ProviderConfig,
    "provider",
    openclaw.PROVIDER,
)
_PROFILE: Final = _object(
    "A profile, without its secrets.",
    {
        "provider": _text("The provider of the profile."),
        "mode": _text("The kind of credential.", "api_key", "oauth", "token"),
        "email": _text("The email address of the account."),
    },
    AuthProfile,
    "profile",
)
_CHOICE: Final = {
    "primary": _text("The default model: provider/model, or an alias."),
    "fallbacks": Key("texts", "The models to ask if the default model fails, in order."),
}
_ALIAS: Final = {"alias": _text("A short name for the model.")}
_DEFAULTS: Final = _object(
    "The default values.",
    {
        "model": _object("The model to use.", _CHOICE, or_text=True),
        "models": _map(
            "The models that you allow, by reference; empty: all models.",
            _object("The settings of a model.", _ALIAS, ModelSettings, openclaw_keys=openclaw.MODEL_SETTINGS),
        ),
        "allow": _text("listed: allow only the models in `models`; all: allow every model.", "listed", "all", own=True),
    },
    AgentDefaults,
    "defaults",
    openclaw.AGENT_DEFAULTS,
)
_ENTRY: Final = _object(
    "A plugin.",
    {"enabled": Key("flag", "Turn the plugin on."), "config": Key("object", "The plugin's own settings: see `plugins info`.")},
    PluginEntry,
    openclaw_keys=openclaw.PLUGIN_ENTRY,
)
_PLUGINS: Final = {
    "enabled": Key("flag", "False turns every plugin off."),
    "allow": Key("texts", "The only plugins that may be on; empty: all."),
    "deny": Key("texts", "Plugins that stay off."),
    "load": _object("Plugins in other folders.", {"paths": Key("texts", "Folders to search for plugins.", rule="folders")}),
    "entries": _map("Plugins by id.", _ENTRY, "entries"),
}
TOP: Final = _object(
    "Portico's config.",
    {
        "base": _text(
            "An OpenClaw file, such as ~/.openclaw/openclaw.json, for every value that this file does not set.", own=True
        ),
        "history": _text("Record requests, without their text, for `usage cost`; default: on.", "on", "off", own=True),
        "env": Key(
            "map",
            "Variables that are used if the environment does not have them.",
            keys={
                "vars": _map("The same as in `env`, in a separate object.", Key("string")),
                "shellEnv": Key("any", "Only for OpenClaw: Portico does not start a shell to read variables."),
            },
            of=Key("string"),
            rule="variables",
        ),
        "auth": _object(
            "Signed-in accounts.",
            {
                "profiles": _map("Profiles by id.", _PROFILE),
                "order": _map("The order in which the profiles of a provider are used.", Key("texts")),
                "store": _text("The token store for new profiles.", "keyring", "file", own=True),
            },
            AuthConfig,
            openclaw_keys=openclaw.AUTH,
        ),
        "models": _object(
            "Providers and their models.",
            {
                "mode": _text("merge: add to the built-in providers; replace: use only these.", "merge", "replace"),
                "providers": _map("Providers by id.", _PROVIDER),
            },
            ModelsConfig,
            openclaw_keys=openclaw.MODELS,
        ),
        "agents": _object("The models to use.", {"defaults": _DEFAULTS}, openclaw_keys=openclaw.AGENTS),
        "plugins": _object("Plugins.", _PLUGINS, PluginsConfig, "plugins", openclaw.PLUGINS),
        "gateway": _object(
            "The local gateway.",
            {
                "port": Key("whole", "The port on 127.0.0.1.", minimum=1, maximum=65535),
                "models": _map("Model names of clients, each with the model to use.", Key("text"), own=True),
            },
            GatewayConfig,
            openclaw_keys=openclaw.GATEWAY,
        ),
    },
    Config,
    "config",
    openclaw.SECTIONS,
)
_CORRECTED_MODEL: Final = replace(_MODEL, keys={**_MODEL.keys, "headers": replace(_HEADERS, rule="corrected-headers")})
# `models.json`; OpenClaw reads more keys of this file.
CORRECTIONS: Final = _object(
    "Corrections of models.",
    {
        "providers": _map(
            "Providers by id.",
            _object(
                "A provider.",
                {"models": Key("array", of=_CORRECTED_MODEL)},
                rule="corrected-provider",
                openclaw_keys=openclaw.CORRECTED_PROVIDER,
            ),
        )
    },
)


def is_known(section: str) -> bool:
    """Whether Portico or OpenClaw knows this top-level key."""
    return section in TOP.keys or section in TOP.openclaw_keys or section == openclaw.INCLUDE


def portico_only_paths(value: JsonValue, key: Key = TOP, path: ConfigPath = ()) -> Iterator[ConfigPath]:
    """Yield the paths of the keys in `value` that OpenClaw's schema does not have."""
    for step, each, inner in _inside(value, key):
        if inner.own:
            yield (*path, step)
        else:
            yield from portico_only_paths(each, inner, (*path, step))


def missing_for_openclaw(value: JsonValue, key: Key = TOP, path: ConfigPath = ()) -> Iterator[tuple[ConfigPath, str]]:
    """Yield the path of each object in `value` that lacks a key which OpenClaw's schema requires, with the key."""
    if isinstance(value, dict):
        yield from ((path, name) for name, inner in key.keys.items() if inner.required_by_openclaw and name not in value)
    for step, each, inner in _inside(value, key):
        yield from missing_for_openclaw(each, inner, (*path, step))


def _inside(value: JsonValue, key: Key) -> Iterator[tuple[str | int, JsonValue, Key]]:
    """Yield each member or element of `value` that the table describes, with its key in the table."""
    if isinstance(value, list) and key.of is not None:
        yield from ((index, each, key.of) for index, each in enumerate(value))
    elif isinstance(value, dict):
        for name, each in value.items():
            inner = key.keys.get(name, key.of)
            if inner is not None:
                yield name, each, inner


# --- the table as JSON Schema ---------------------------------------------------------------------------------------------------

_TEXTS: Final[dict[str, JsonValue]] = {"type": "array", "items": {"type": "string", "minLength": 1}}
_INCLUDE: Final[dict[str, JsonValue]] = {
    "description": "Files to merge into this object, relative to this file; the keys beside it are merged last.",
    "anyOf": [{"type": "string", "minLength": 1}, _TEXTS],
}


def json_schema() -> dict[str, JsonValue]:
    """Return the table as JSON Schema (https://json-schema.org/draft/2020-12), for editors.

    The schema allows unknown keys, because OpenClaw has more. It cannot express every rule: `config validate` checks all.
    """
    top = _schema(TOP)
    return {"$schema": DRAFT, "title": "Portico", **top, "$defs": {"include": _INCLUDE}}


def _schema(key: Key) -> dict[str, JsonValue]:
    schema = _SIMPLE[key.kind] if key.kind in _SIMPLE else _container(key)
    if key.kind == "text":
        schema = {"enum": [*key.words, *key.openclaw_words]} if key.words else schema
    elif key.kind == "whole":
        schema = {**schema, "minimum": key.minimum} | ({"maximum": key.maximum} if key.maximum is not None else {})
    if key.or_text:
        schema = {"anyOf": [{"type": "string", "minLength": 1}, schema]}
    return {"description": key.description, **schema} if key.description else dict(schema)


def _container(key: Key) -> dict[str, JsonValue]:
    if key.kind == "array":
        return {"type": "array", "items": _schema(key.of) if key.of is not None else {}}
    properties: dict[str, JsonValue] = {name: _schema(inner) for name, inner in key.keys.items()}
    schema: dict[str, JsonValue] = {"type": "object", "properties": {**properties, openclaw.INCLUDE: {"$ref": "#/$defs/include"}}}
    needed: list[JsonValue] = [name for name, inner in key.keys.items() if inner.required]
    if needed:
        schema["required"] = needed
    if key.of is not None:
        schema["additionalProperties"] = _schema(key.of)
    return schema


_SIMPLE: Final[dict[str, dict[str, JsonValue]]] = {
    "any": {},
    "string": {"type": "string"},
    "text": {"type": "string", "minLength": 1},
    "secret": {"type": "string", "minLength": 1},
    "flag": {"type": "boolean"},
    "whole": {"type": "integer"},
    "amount": {"type": "number", "minimum": 0},
    "texts": _TEXTS,
}
