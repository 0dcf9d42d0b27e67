"""What a configuration says, in the words of the program. The file's own words are OpenClaw's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import ApiKind, JsonValue, ModelSpec
    from portico.secret import Secret

DEFAULT_PORT: Final = 18444


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
class ProviderConfig:
    """An entry of `models.providers`. What is None is as the provider itself says; `${VAR}` is not resolved yet.

    `auth_header` true sends the key as `Authorization: Bearer`, false as the API kind's own header.
    """

    base_url: str | None = None
    api: ApiKind | None = None
    api_key: Secret | None = None
    auth_header: bool | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    models: tuple[ModelSpec, ...] = ()


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
    """`agents.defaults`. `models`, where it is not empty, is the list of models that may be used."""

    primary: str | None = None
    fallbacks: tuple[str, ...] = ()
    models: Mapping[str, ModelSettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """An entry of `plugins.entries`. `config` is the plugin's own, and may hold what is secret to it."""

    enabled: bool | None = None
    config: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)


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
    """`gateway`."""

    port: int = DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. `env` are variables for where the process has none of that name; their values may be API keys."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: AuthConfig = field(default_factory=AuthConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    agents: AgentDefaults = field(default_factory=AgentDefaults)
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
