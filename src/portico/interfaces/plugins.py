"""What a plugin brings: a provider with its models and API keys, auth methods, plan readers, emulators, checks and commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from portico.interfaces.authorization import OAuthServer, TokenSet
    from portico.interfaces.basics import JsonValue
    from portico.secret import Secret

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


# How much a window of a plan still gives; `unknown` where the provider tells nothing that can be relied on.
WindowState = Literal["limited", "exhausted", "unlimited", "not-in-plan", "unknown"]


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """One window of a plan: how much of one kind of use it still gives.

    `kind` is the provider's word for that use (`general`, `video`), `name` is how long the window lasts (`5h`, `week`).
    `percent_left` counts the boost in and may exceed 100; None where none is told that can be. `left` and `total` are requests,
    both None unless they agree with the percentage. `resets_at` is wall ms. `boost` is what the plan's own allowance is
    multiplied by. `started` False: the window begins with its first use, and nothing has been used, so that it resets at no time
    that is known.
    """

    kind: str
    name: str
    state: WindowState
    percent_left: float | None = None
    left: int | None = None
    total: int | None = None
    resets_at: int | None = None
    boost: float = 1.0
    started: bool = True


class PlanReader(Protocol):
    """How a provider tells what an account's plan has left. Pure: no I/O, no clock, no state; the host sends the requests.

    `provider` is whose accounts it reads. `env_keys` are the variables that may hold a key of a plan, in the order of trying.
    """

    @property
    def provider(self) -> str: ...

    @property
    def env_keys(self) -> tuple[str, ...]: ...

    def urls(self, base_url: str) -> tuple[str, ...]:
        """Where an account whose API is at `base_url` is asked, by GET, in order.

        The next URL is asked if the one before is not served, cannot be reached, answers with a web page or with one of its
        `unsure_codes`, or is at a host other than the API's and answers with an HTTP error without an error number. Empty if no
        such account can be asked. A URL is requested only at a host that the provider declares, or that `hosts` names.
        """
        ...

    def can_have_plan(self, key: Secret) -> bool:
        """Whether `key` may be one of a plan; False for one whose form says that it is of another kind."""
        ...

    def read(self, answer: Mapping[str, JsonValue], now_ms: int) -> tuple[PlanWindow, ...]:
        """The windows that an answer tells of, at `now_ms` (wall ms). What makes no sense in it is left out, and raises nothing.

        Failures are read by the host before: the HTTP status, and the provider's own `error_codes`.

        A reader may have a method `unsure_codes(url)` besides: the numbers of `error_codes` that prove nothing about the
        credential or the plan where `url` answers them. They are told as a failure, cost no refresh and ask for no sign-in. An
        attribute `hosts` may name further hosts of the provider's own that are asked about plans, and are sent its credentials
        for nothing else.
        """
        ...


@dataclass(frozen=True, slots=True)
class Region:
    """One of an auth choice's portals: `id` is what `--region` takes, `profile` names the default profile."""

    id: str
    label: str
    hint: str
    profile: str


@dataclass(frozen=True, slots=True)
class AcceptedTokens:
    """What a provider's own checks made of a validated reply: the API base to use, what to tell the user."""

    api_base: str
    notes: tuple[str, ...] = ()


class AuthMethod(Protocol):
    """How one auth choice signs in, as its plugin tells it; the host runs the flow."""

    choice: str
    provider: str
    label: str
    regions: tuple[Region, ...]
    default_model: str

    def hint(self, region: str) -> str:
        """What a user should know before signing in to `region`; empty where there is nothing. Shown once, at the first step.

        `{prog}` in it stands for the program's name.
        """
        ...

    def server(self, region: str) -> OAuthServer:
        """The authorization server of `region`, with the user's overrides from the plugin's config applied.

        `issuer` alone may be known: empty endpoints are then found by discovery.
        """
        ...

    def flow(self, region: str) -> Literal["auto", "browser", "device"]:
        """The flow the user's plugin config asks for."""
        ...

    def accept(self, region: str, token_set: TokenSet) -> AcceptedTokens:
        """Hold what the reply says (its `resource_url`, say) to what this region may be.

        Raises:
            OAuthError: the reply names a place that is not this region's.
        """
        ...


@runtime_checkable
class KnowsClients(Protocol):
    """An auth method that also knows the provider's other public clients: a sign-in that another tool made can be taken over."""

    def for_client(self, client_id: str) -> AuthMethod:
        """The same choice as the client `client_id` uses it, at the provider's own portals.

        Raises:
            ConfigError: `config-invalid`.
        """
        ...


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """What `portico emulator run` was asked for. `access_ttl_s` is the lifetime of access tokens in seconds."""

    redirect: bool = False
    access_ttl_s: float | None = None
    auto_approve: bool = False
    knobs: Mapping[str, str] = field(default_factory=dict)


class Emulator(Protocol):
    """A stand-in for a provider's servers, run by `portico emulator`. `hosts` are the real host names it answers for."""

    id: str
    label: str
    hosts: tuple[str, ...]

    def app(self, options: EmulatorOptions) -> object:
        """An `aiohttp.web.Application` that answers for every one of `hosts`, told apart by the Host header."""
        ...

    def config(self, options: EmulatorOptions) -> Mapping[str, JsonValue]:
        """What the user's config has to say so that real commands meet what `options` add to the real service."""
        ...

    def approval_url(self, user_code: str) -> str:
        """The page where a person would approve `user_code`."""
        ...

    def loopback_port(self, options: EmulatorOptions) -> int | None:
        """A port on 127.0.0.1 where the app answers plain HTTP too (0: any), for a service that is local in real life."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What a doctor check saw."""

    id: str
    level: Literal["ok", "warning", "error"]
    message: str
    why: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One check of `doctor`: `run` is called in the event loop and bounded by the caller."""

    id: str
    label: str
    run: Callable[[], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class CliCommand:
    """A command that a plugin adds. `target` is `module:function`, called with the words after the command's name."""

    name: str
    summary: str
    target: str
