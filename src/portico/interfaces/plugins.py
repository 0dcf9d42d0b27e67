"""Types of plugins: providers with models and API keys, auth methods, plan readers, emulators, checks and commands."""

from __future__ import annotations

import warnings
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from portico.interfaces.authorization import OAuthServer, TokenSet
    from portico.interfaces.basics import JsonValue
    from portico.secret import Secret

ApiKind = Literal["anthropic-messages", "openai-completions", "openai-responses"]


# The kinds of reasons why a model did not answer (`models/provider_errors.py`). `local` is a failure on this machine (a locked
# keyring, a busy lock, a plugin's bug), not of the provider.
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
    """US dollars per million tokens, for all tokens of a large request.

    A request is large if it has more than `input_above` input tokens, including cached tokens.
    """

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
    """One model of a provider's catalog.

    None means that no public source states the value. `source` is the source of the other values.

    `retired_on` is the day or the month (ISO 8601) of the model's retirement; menus do not offer a retired model. `successor`
    is the id of the model to use if the provider rejects this model.
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
    """An auth choice without a sign-in: with an API key, or without a key for a server on this machine.

    `id` is the value of `--auth-choice`, `model` becomes the default model, `region` is a key of `base_urls`. `spec` describes
    a model that is not in the provider's catalog; it is written into the config. `aliases` are further values of
    `--auth-choice`, which menus do not show.
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
    `hosts` maps a region to the only hosts that may get the region's credential.
    `env_keys` are the environment variables for a key, in the order of reading.
    `auth_header` is the header of the credential: `Authorization: Bearer` or `x-api-key`.
    `paths` are the paths of all protocols under the same origin, if the provider has more than `api`.
    `error_codes` are the provider's own numbers in its error bodies.
    `subscribe_urls` maps a region to the page that sells a plan.
    `key_choices` and `sign_in_choices` are the auth choices with a key and with a sign-in.
    `group` is the name under which menus group auth choices (default: `label`). `group_hint` is the hint beside the name.
    `vendor` and `vendor_hint` are the deprecated names of `group` and `group_hint`.
    `region_env` is the environment variable for the region; it is used if there is no profile.
    `placeholder_key` stands for a key in configs. It is used as a key only if `needs_credential` is False (a provider on this
    machine).
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
    group: str = ""
    group_hint: str = ""
    vendor: InitVar[str] = ""
    vendor_hint: InitVar[str] = ""

    def __post_init__(self, vendor: str, vendor_hint: str) -> None:
        """Accept the deprecated arguments. Raise ValueError if a choice needs a key but there are no `env_keys`."""
        for old, name, value in (("vendor", "group", vendor), ("vendor_hint", "group_hint", vendor_hint)):
            if value:
                warnings.warn(f"ProviderSpec({old}=...) goes with 1.0; use {name}", DeprecationWarning, stacklevel=3)
                object.__setattr__(self, name, value)
        if not self.env_keys and any(choice.needs_key for choice in self.key_choices):
            raise ValueError(f"the provider {self.id} has a choice that needs a key, and no env_keys")


# The state of a plan's window; `unknown` without reliable data.
WindowState = Literal["limited", "exhausted", "unlimited", "not-in-plan", "unknown"]


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """One window of a plan: how much of one kind of use is left.

    `kind` is the provider's word for the use (`general`, `video`), and `name` is the length of the window (`5h`, `week`).
    `percent_left` includes the boost and may exceed 100; None if unknown or implausible. `left` and `total` are numbers of
    requests; both are None if they do not agree with the percentage. `resets_at` is in ms since the epoch. `boost` multiplies
    the plan's own allowance. `started` False: the window is unused and starts with its first use, so its reset time is unknown.
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
    """Reads how much of an account's plan is left. Pure: no I/O, no clock, no state; the host sends the requests.

    `provider` is the provider of the accounts. `env_keys` are the variables for a key of a plan, in the order of reading.
    """

    @property
    def provider(self) -> str: ...

    @property
    def env_keys(self) -> tuple[str, ...]: ...

    def urls(self, base_url: str) -> tuple[str, ...]:
        """Return the URLs to GET for an account with its API at `base_url`, in order; empty if there are none.

        The host requests the next URL if a URL is not served, cannot be reached, or answers with a web page or one of its
        `unsure_codes`. It also does so if another host than the API's answers with an HTTP error that has no error number. A
        URL is requested only if its host is in the `ProviderSpec` or in `hosts`.
        """
        ...

    def can_have_plan(self, key: Secret) -> bool:
        """Whether `key` may belong to a plan. False if the key's form shows that it is another kind of key."""
        ...

    def read(self, answer: Mapping[str, JsonValue], now_ms: int) -> tuple[PlanWindow, ...]:
        """Return the windows in an answer, at `now_ms` (ms since the epoch). Leave out invalid data without raising.

        The host has already handled failures: the HTTP status, and the provider's own `error_codes`.

        A reader may have two optional members. The method `unsure_codes(url)` returns the numbers of `error_codes` that prove
        nothing about the credential or the plan if `url` sends them. They are reported as a failure, and cause no refresh and
        no sign-in. The attribute `hosts` names further hosts of the provider that get credentials only in requests about plans.
        """
        ...


@dataclass(frozen=True, slots=True)
class Region:
    """A region of an auth choice. `id` is the value of `--region`; `profile` is the name of the default profile."""

    id: str
    label: str
    hint: str
    profile: str


@dataclass(frozen=True, slots=True)
class AcceptedTokens:
    """The result of a provider's own checks of a valid reply: the API base to use, and notes for the user."""

    api_base: str
    notes: tuple[str, ...] = ()


class AuthMethod(Protocol):
    """The sign-in of one auth choice, described by its plugin; the host runs the flow."""

    choice: str
    provider: str
    label: str
    regions: tuple[Region, ...]
    default_model: str

    def hint(self, region: str) -> str:
        """Return a note for the user before a sign-in to `region`, or an empty string. Shown once, at the first step.

        `{prog}` in it stands for the program's name.
        """
        ...

    def server(self, region: str) -> OAuthServer:
        """Return the authorization server of `region`, with the user's overrides from the plugin's config.

        If the result has an `issuer` but no endpoints, discovery finds the endpoints.
        """
        ...

    def flow(self, region: str) -> Literal["auto", "browser", "device"]:
        """Return the flow that the user's plugin config selects."""
        ...

    def accept(self, region: str, token_set: TokenSet) -> AcceptedTokens:
        """Check that the reply (such as its `resource_url`) belongs to this region.

        Raises:
            OAuthError: the reply belongs to another region.
        """
        ...


@runtime_checkable
class KnowsClients(Protocol):
    """An auth method that also knows the provider's other public clients, so that another tool's account can be imported."""

    def for_client(self, client_id: str) -> AuthMethod:
        """Return the same choice for the client `client_id`, at the provider's own portals.

        Raises:
            ConfigError: `config-invalid`.
        """
        ...


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """The options of `portico emulator run`. `access_ttl_s` is the lifetime of access tokens in seconds."""

    redirect: bool = False
    access_ttl_s: float | None = None
    auto_approve: bool = False
    knobs: Mapping[str, str] = field(default_factory=dict)


class Emulator(Protocol):
    """Emulates a provider's servers for `portico emulator`. `hosts` are the real host names that it serves."""

    id: str
    label: str
    hosts: tuple[str, ...]

    def app(self, options: EmulatorOptions) -> object:
        """Return an `aiohttp.web.Application` that serves all `hosts`, selected by the Host header."""
        ...

    def config(self, options: EmulatorOptions) -> Mapping[str, JsonValue]:
        """Return the config that commands need to use the additions of `options`."""
        ...

    def approval_url(self, user_code: str) -> str:
        """Return the URL of the page on which a user approves `user_code`."""
        ...

    def loopback_port(self, options: EmulatorOptions) -> int | None:
        """Return a port on 127.0.0.1 for plain HTTP (0: any), to emulate a local service; else None."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of a doctor check."""

    id: str
    level: Literal["ok", "warning", "error"]
    message: str
    why: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One check of `doctor`. `run` is called in the event loop, with a time limit."""

    id: str
    label: str
    run: Callable[[], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class CliCommand:
    """A command of a plugin. `target` is `module:function`, called with the arguments after the command's name."""

    name: str
    summary: str
    target: str
