"""The endpoints of a provider: base URLs, headers, and the header for a key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

from portico.config.check import hint_for_base_url
from portico.config.sources import holds_reference, resolve_header, resolve_variables
from portico.errors import ConfigError
from portico.models.catalog import host_of
from portico.urls import normalised_base_url, why_not_a_base_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from portico.config.document import ConfigPath
    from portico.config.schema import Config, ProviderConfig
    from portico.interfaces.plugins import ApiKind, ProviderSpec
    from portico.models.catalog import Provider


class BaseUrlRefused(ConfigError):
    """The base URL of a provider is wrong, so nothing is sent to it."""

    id = "base-url-refused"


def with_base_urls(config: Config, env: Mapping[str, str]) -> Config:
    """Return `config` with each `${VAR}` in a base URL resolved and checked. A URL with an unset variable is not changed."""
    resolved = {id: _with_base_url(id, provider, env) for id, provider in config.models.providers.items()}
    if all(resolved[id] is provider for id, provider in config.models.providers.items()):
        return config
    return replace(config, models=replace(config.models, providers=resolved))


def _with_base_url(id: str, provider: ProviderConfig, env: Mapping[str, str]) -> ProviderConfig:
    if provider.base_url is None or not holds_reference(provider.base_url):
        return provider
    place = f"models.providers.{id}.baseUrl"
    try:
        url = normalised_base_url(resolve_variables(provider.base_url, env, where=place))
    except ConfigError:
        return provider  # `checked_base_url` reports the variable when the provider is called
    why, hint = why_not_a_base_url(url), hint_for_base_url(url)
    if why is None:
        return replace(provider, base_url=url)
    return replace(provider, base_url=None, problem=f"`{place}` cannot be used: {why}{f' ({hint})' if hint else ''}")


def base_url_of(provider: Provider, region: str) -> str | None:
    """Return the API base to use without a profile; None if unknown.

    This is the config's base URL, else the region's, else the provider's first.

    If the config's base URL is unusable, return None, because the key is not for the provider's usual host.
    """
    if provider.config is not None and provider.config.problem is not None:
        return None
    if provider.config is not None and provider.config.base_url is not None:
        return provider.config.base_url.rstrip("/")
    bases = provider.spec.base_urls if provider.spec is not None else {}
    return next((bases[name] for name in (region, *bases) if name in bases), None)


def checked_base_url(
    provider: Provider, region: str, env: Mapping[str, str], specs: Iterable[ProviderSpec], *, own: Iterable[ApiKind | None] = ()
) -> str | None:
    """Check and return `base_url_of`. `own` are the protocols of single models in the config.

    Raises:
        ConfigError: `base-url-refused`: the config's base URL is unusable; `variable-unset`: its variable is not set.
    """
    config, place = provider.config, f"models.providers.{provider.id}.baseUrl"
    if config is not None and config.problem is not None:
        raise _wrong_base(provider, config.problem, "URL")
    url = base_url_of(provider, region)
    if url is None or config is None or config.base_url is None:
        return url
    url = resolve_variables(url, env, where=place)
    wrong = _misfit_of_all(url, provider.api, own, specs)
    if wrong is not None and wrong.is_certain:
        raise _wrong_base(provider, f"`{place}` {wrong.message}", wrong.instead)
    return url


def _wrong_base(provider: Provider, why: str, instead: str) -> ConfigError:
    message = f"Provider {provider.id} cannot be called: its base URL is wrong."
    hint = f"{{prog}} config set models.providers.{provider.id}.baseUrl {instead}"
    return BaseUrlRefused(message, why=why, hint=hint)


def headers_of(provider: Provider, model_id: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the config's headers for one model: the model's headers override the provider's headers.

    The case of header names does not matter.

    Raises:
        ConfigError: `variable-unset`.
    """
    place = f"models.providers.{provider.id}"
    model = provider.configured_model(model_id)
    own = model.headers if model is not None else {}
    own_names = {name.lower() for name in own}
    shared = {
        name: resolve_header(text, env, where=f"{place}.headers.{name}")
        for name, text in (provider.config.headers if provider.config is not None else {}).items()
        if name.lower() not in own_names
    }
    return shared | {
        name: resolve_header(text, env, where=f"the header {name} of {place}'s model {model_id}") for name, text in own.items()
    }


def auth_header(provider: Provider, api: ApiKind, base_url: str, specs: Iterable[ProviderSpec]) -> Literal["bearer", "x-api-key"]:
    """Return the header for a key, by `authHeader`, else by the provider of this host, else by the protocol.

    OpenAI's protocols use `Authorization: Bearer` only. Anthropic's header is `x-api-key`
    (https://docs.anthropic.com/en/api/overview), which OpenClaw's library sends to every provider of that protocol.
    """
    if api != "anthropic-messages":
        return "bearer"
    chosen = provider.config.auth_header if provider.config is not None else None
    if chosen is not None:
        return "bearer" if chosen else "x-api-key"
    if provider.spec is not None:
        return provider.spec.auth_header
    of_host = next((spec for spec in specs if host_of(base_url) in declared_hosts(spec) and spec.needs_credential), None)
    return of_host.auth_header if of_host is not None else "x-api-key"


def all_bases(api: ApiKind, base_url: str, spec: ProviderSpec | None) -> Mapping[ApiKind, str]:
    """Return the API bases by protocol: `base_url` for `api`, and the provider's other bases at the same origin.

    The other bases are returned only for the provider's own hosts, because another server may serve only one protocol.
    """
    bases: dict[ApiKind, str] = {api: base_url}
    parts = urlsplit(base_url)
    if spec is None or host_of(base_url) not in declared_hosts(spec) or parts.path.rstrip("/") != spec.paths.get(api):
        return bases
    others = {kind: urlunsplit((parts.scheme, parts.netloc, path, "", "")) for kind, path in spec.paths.items() if kind != api}
    return {**bases, **others}


@dataclass(frozen=True, slots=True)
class Misfit:
    """A base URL that does not fit its `api`: which `key` to change, and its right value in `instead`.

    `is_certain` is true if the host's provider documents the path of each protocol; otherwise the user may have intended the
    path.
    """

    api: ApiKind
    key: Literal["baseUrl", "api"]
    instead: str
    is_certain: bool

    @property
    def message(self) -> str:
        """The problem, to be read after the config path of the base URL."""
        return f"is not where that provider serves {self.api}" if self.is_certain else f"looks wrong for {self.api}"


def misfit(base_url: str, api: ApiKind, specs: Iterable[ProviderSpec]) -> Misfit | None:
    """Return the misfit of `base_url` and `api`; None if they may fit.

    MiniMax serves Anthropic's protocol under `/anthropic` and OpenAI's under `/v1`; a request to the wrong path gets a 404
    without an explanation. Other providers use `/anthropic` too.
    """
    try:
        parts, host = urlsplit(base_url), host_of(base_url)
    except ValueError:  # for example `http://[${VAR}]`, with an unresolved variable
        return None
    path = parts.path.rstrip("/")
    spec = next((spec for spec in specs if api in spec.paths and host in declared_hosts(spec)), None)
    if spec is not None:
        right_path = spec.paths[api]
        # Anthropic's path may end in its version, and OpenAI's is added to a bare origin.
        if path in {right_path, f"{right_path}/v1" if api == "anthropic-messages" else ""}:
            return None
        if path in {"", *spec.paths.values()}:
            return Misfit(api, "baseUrl", urlunsplit((parts.scheme, parts.netloc, right_path, "", "")), is_certain=True)
    if path.endswith("/anthropic") and api != "anthropic-messages":
        return Misfit(api, "api", "anthropic-messages", is_certain=False)
    return None


def _misfit_of_all(
    base_url: str, api: ApiKind | None, own: Iterable[ApiKind | None], specs: Iterable[ProviderSpec]
) -> Misfit | None:
    """Return the misfit for the provider's protocol, unless the base URL fits a protocol that one of its models has (`own`)."""
    wrong = misfit(base_url, api, specs) if api is not None else None
    if wrong is not None and any(misfit(base_url, each, specs) is None for each in own if each is not None):
        return None
    return wrong


def misfits(config: Config, specs: Sequence[ProviderSpec]) -> Iterator[tuple[ConfigPath, Misfit]]:
    """Yield each misfit in the config with the path of the provider's block."""
    for id, provider in config.models.providers.items():
        spec = next((spec for spec in specs if spec.id == id), None)
        api = provider.api or (spec.api if spec is not None else None)
        own = [model.api for model in provider.models]
        wrong = _misfit_of_all(provider.base_url, api, own, specs) if provider.base_url is not None else None
        if wrong is not None:
            yield ("models", "providers", id), wrong


def declared_hosts(spec: ProviderSpec) -> frozenset[str]:
    """Return all hosts that a credential of this provider may be sent to."""
    return frozenset().union(*spec.hosts.values(), {host_of(url) for url in spec.base_urls.values()})
