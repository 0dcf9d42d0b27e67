"""The keys of a configuration that Portico reads, in one table: what each may be, and what it says.

The checker reads them and finds what is wrong; this table is for those who want to know beforehand. A test holds the two
together. The keys are OpenClaw's (https://docs.openclaw.ai/gateway/configuration) but for those that are marked as Portico's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

from portico.config import foreign_keys
from portico.interfaces.provider_spec import ApiKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.config.config_path import ConfigPath
    from portico.interfaces.basics import JsonValue

Kind = Literal["text", "string", "flag", "whole", "amount", "texts", "object", "map", "array", "any"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key, or what a map or an array holds. A `text` is not empty, a `string` may be.

    `words` are the only texts it may be; `low` and `high` bound a whole number. `keys` are those of an object, `of` is what a map
    or an array holds; `or_text` allows a plain text in its place. `own`: OpenClaw's schema does not have it.
    """

    kind: Kind
    says: str = ""
    words: tuple[str, ...] = ()
    low: int = 0
    high: int | None = None
    keys: Mapping[str, Key] = field(default_factory=dict)
    of: Key | None = None
    or_text: bool = False
    own: bool = False
    required: bool = False


def _text(says: str, *words: str, own: bool = False, required: bool = False) -> Key:
    return Key("text", says, words, own=own, required=required)


def _object(says: str, keys: Mapping[str, Key], *, or_text: bool = False) -> Key:
    return Key("object", says, keys=keys, or_text=or_text)


def _map(says: str, of: Key, *, own: bool = False) -> Key:
    return Key("map", says, of=of, own=own)


_STRING: Final = Key("text")
_PRICES: Final = {
    "input": Key("amount", "Of what is sent."),
    "output": Key("amount", "Of what comes back."),
    "cacheRead": Key("amount", "Of what is read from the provider's cache."),
    "cacheWrite": Key("amount", "Of what is written to it."),
}
_TIER: Final = _object(
    "The prices of a request with more input than that; what is left out costs what it does below.",
    {
        "inputAbove": Key("whole", "Above how many tokens of input, cached ones among them.", low=1, required=True, own=True),
        **{name: replace(key, own=True) for name, key in _PRICES.items()},
    },
)
_COST: Final = _object(
    "Prices in US dollars per million tokens.",
    {**_PRICES, "tiers": Key("array", "Prices of larger requests.", of=_TIER, own=True)},
)
MODEL: Final = _object(
    "A model of the provider.",
    {
        "id": _text("The provider's own name of the model; case matters.", required=True),
        "name": _text("What people call it."),
        "api": _text("The protocol that this model speaks, over the provider's.", *get_args(ApiKind), *foreign_keys.API_KINDS),
        "reasoning": Key("flag", "Whether it thinks before it answers."),
        "input": Key("texts", "What it takes: text, image, video."),
        "contextWindow": Key("whole", "How many tokens fit in.", low=1),
        "maxTokens": Key("whole", "How many tokens an answer may have.", low=1),
        "cost": _COST,
        "headers": _map("Headers of requests to this model, over the provider's.", _STRING),
    },
)
_PROVIDER: Final = _object(
    "A provider of models.",
    {
        "baseUrl": _text(
            "Where its API is: https, or http on this machine or in the local network; without the endpoint's own path."
        ),
        "apiKey": _text(
            "Its key; `${NAME}`, or the bare name of a variable such as `ACME_API_KEY`, takes it from the environment."
        ),
        "api": _text("The protocol it speaks.", *get_args(ApiKind), *foreign_keys.API_KINDS),
        "authHeader": Key("flag", "Send the key as `Authorization: Bearer`; false: in the protocol's own header."),
        "headers": _map("Headers of every request; values may be variables, as in `apiKey`.", _STRING),
        "models": Key("array", "Its models, added to those that Portico knows.", of=MODEL),
    },
)
_PROFILE: Final = _object(
    "A sign-in, without its secrets.",
    {
        "provider": _text("Whose it is."),
        "mode": _text("How it was made.", "api_key", "oauth", "token"),
        "email": _text("Whose account it is."),
    },
)
_CHOICE: Final = {
    "primary": _text("The default: provider/model, or an alias."),
    "fallbacks": Key("texts", "What is asked when it fails, in order."),
}
_DEFAULTS: Final = _object(
    "What holds where nothing else is said.",
    {
        "model": _object("The model to use.", _CHOICE, or_text=True),
        "models": _map(
            "The models that may be used, by reference; empty: all.",
            _object("One of them.", {"alias": _text("A short name for it.")}),
        ),
        "allow": _text("listed: only the models listed there; all: every model, listed or not.", "listed", "all", own=True),
    },
)
_ENTRY: Final = _object(
    "One plugin.",
    {"enabled": Key("flag", "Whether it is on."), "config": Key("object", "Its own settings: see `plugins info`.")},
)
_PLUGINS: Final = {
    "enabled": Key("flag", "False switches every plugin off."),
    "allow": Key("texts", "The only plugins that may be on; empty: all."),
    "deny": Key("texts", "Plugins that stay off."),
    "load": _object("Plugins from elsewhere.", {"paths": Key("texts", "Folders to look for plugins in.")}),
    "entries": _map("Plugins by id.", _ENTRY),
}
TOP: Final = _object(
    "Portico's configuration.",
    {
        "base": _text("An OpenClaw file that lies under this one, such as ~/.openclaw/openclaw.json.", own=True),
        "history": _text(
            "Whether requests are noted for `usage cost`, without their words; on where it is not said.", "on", "off", own=True
        ),
        "env": Key(
            "map",
            "Variables for where the environment has none of the name.",
            keys={
                "vars": _map("The same, in a place of their own.", Key("string")),
                "shellEnv": Key("any", "OpenClaw's alone: Portico starts no shell to ask for variables."),
            },
            of=Key("string"),
        ),
        "auth": _object(
            "Sign-ins.",
            {
                "profiles": _map("Sign-ins by id.", _PROFILE),
                "order": _map("The order in which a provider's sign-ins are taken.", Key("texts")),
                "store": _text("Where tokens are kept.", "keyring", "file", own=True),
            },
        ),
        "models": _object(
            "Providers and their models.",
            {
                "mode": _text("merge: beside the built-in providers; replace: instead of them.", "merge", "replace"),
                "providers": _map("Providers by id.", _PROVIDER),
            },
        ),
        "agents": _object("Which models are used.", {"defaults": _DEFAULTS}),
        "plugins": _object("Plugins.", _PLUGINS),
        "gateway": _object(
            "The background process on this machine.",
            {
                "port": Key("whole", "Its port on 127.0.0.1.", low=1, high=65535),
                "models": _map("Model names as clients send them, and the models that answer.", _STRING, own=True),
            },
        ),
    },
)


def porticos_own(value: JsonValue, key: Key = TOP, path: ConfigPath = ()) -> Iterator[ConfigPath]:
    """The paths in `value` of the keys that OpenClaw's schema does not have."""
    if isinstance(value, list):
        inside: list[tuple[str | int, JsonValue, Key | None]] = [(index, each, key.of) for index, each in enumerate(value)]
    elif isinstance(value, dict):
        inside = [(name, each, key.keys.get(name, key.of)) for name, each in value.items()]
    else:
        return
    for name, each, inner in inside:
        if inner is not None and inner.own:
            yield (*path, name)
        elif inner is not None:
            yield from porticos_own(each, inner, (*path, name))
