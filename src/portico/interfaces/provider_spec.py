"""A provider of models: where it is, what it speaks, its models and what they cost, and the API keys that set it up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ApiKind = Literal["anthropic-messages", "openai-completions", "openai-responses"]


# Why a model did not answer, in the terms that decide what to do next (`models/provider_errors.py`). `local` is no provider's
# word: a failure on this machine (a locked keyring, a busy lock, a plugin's bug), which has an id of its own.
ProviderErrorKind = Literal[
    "local",
    "auth",
    "account-refused",
    "model-refused",
    "billing",
    "rate-limit",
    "plan-used-up",
    "plan-lacks-model",
    "no-plan",
    "server",
    "timeout",
    "unreachable",
    "answer-unknown",
    "unknown-model",
    "content",
    "invalid-request",
]


@dataclass(frozen=True, slots=True)
class PriceTier:
    """US dollars per million tokens of a whole request with more than `input_above` input tokens, cached ones among them."""

    input_above: int
    input: float
    output: float
    cache_read: float = 0.0
    cache_write: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelCost:
    """US dollars per million tokens. `tiers` are the prices of larger requests, if they differ."""

    input: float
    output: float
    cache_read: float = 0.0
    cache_write: float = 0.0
    tiers: tuple[PriceTier, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of a provider's catalogue. None means: no public source says. `source` is that source.

    `retired_on` is the day or the month (ISO 8601) since which the provider no longer offers it: no menu does either. `successor`
    is the id of the model to use where the provider refuses this one, retired or not.
    """

    id: str
    name: str
    context_window: int | None = None
    max_tokens: int | None = None
    cost: ModelCost | None = None
    reasoning: bool = False
    input: tuple[str, ...] = ("text",)
    alias: str | None = None
    note: str | None = None
    source: str | None = None
    retired_on: str | None = None
    successor: str | None = None


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """A way to set a provider up without an account of its own kind: with an API key, or with none for a server on this machine.

    `id` is what `--auth-choice` takes, `model` the one that becomes the default, `region` the key of `base_urls` that it uses.
    `spec` describes a model that is not in the provider's catalogue and is written into the config. `aliases` are further names
    that `--auth-choice` takes for it, and menus do not show.
    """

    id: str
    label: str
    model: str
    hint: str = ""
    region: str = ""
    needs_key: bool = True
    spec: ModelSpec | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider of models.

    `base_urls` maps a region to the API base (a provider without regions has the one key `""`).
    `hosts` maps a region to the only hosts its credential may be sent to.
    `env_keys` are the environment variables that hold a credential, in the order they are tried.
    `auth_header` is how the credential travels: `Authorization: Bearer` or `x-api-key`.
    `paths` are the places of further protocols under the same origin, for a provider that speaks more than `api`; `api` is in it.
    `error_codes` are the provider's own numbers in its error bodies. `subscribe_urls` maps a region to where a plan is bought.
    `key_choices` and `sign_in_choices` are the auth choices that set it up, with a key and by signing in.
    `vendor` is whose models they are, by which menus group what sets them up (the label, where it is empty); `vendor_hint` is
    told beside it.
    `region_env` is the environment variable that names the region where no profile does. `placeholder_key` stands in configs
    where a key would; it is none, unless the provider asks for no credential (`needs_credential` False: one on this machine).
    """

    id: str
    label: str
    api: ApiKind
    base_urls: Mapping[str, str]
    hosts: Mapping[str, frozenset[str]]
    models: tuple[ModelSpec, ...] = ()
    env_keys: tuple[str, ...] = ()
    auth_header: Literal["bearer", "x-api-key"] = "bearer"
    aliases: tuple[str, ...] = ()
    placeholder_key: str | None = None
    paths: Mapping[ApiKind, str] = field(default_factory=dict)
    error_codes: Mapping[int, ProviderErrorKind] = field(default_factory=dict)
    subscribe_urls: Mapping[str, str] = field(default_factory=dict)
    region_env: str | None = None
    needs_credential: bool = True
    key_choices: tuple[KeyChoice, ...] = ()
    sign_in_choices: tuple[str, ...] = ()
    vendor: str = ""
    vendor_hint: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError where a key is to be set up and no variable is named for it."""
        if not self.env_keys and any(choice.needs_key for choice in self.key_choices):
            raise ValueError(f"the provider {self.id} has a choice that needs a key, and no env_keys")
