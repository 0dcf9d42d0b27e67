"""Where a provider's models are served, and how its key is sent there."""

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
    """The base URL of a provider cannot be right, so nothing is sent there."""

    id = "base-url-refused"


def with_base_urls(config: Config, env: Mapping[str, str]) -> Config:
    """`config` with each `${VAR}` in a base URL resolved and the URL checked; where a variable is not set it stays as it is."""
    found = {id: _with_base_url(id, provider, env) for id, provider in config.models.providers.items()}
    if all(found[id] is provider for id, provider in config.models.providers.items()):
        return config
    return replace(config, models=replace(config.models, providers=found))


def _with_base_url(id: str, provider: ProviderConfig, env: Mapping[str, str]) -> ProviderConfig:
    if provider.base_url is None or not holds_reference(provider.base_url):
        return provider
    place = f"models.providers.{id}.baseUrl"
    try:
        url = normalised_base_url(resolve_variables(provider.base_url, env, where=place))
    except ConfigError:
        return provider  # said when the provider is called
    why, hint = why_not_a_base_url(url), hint_for_base_url(url)
    if why is None:
        return replace(provider, base_url=url)
    return replace(provider, base_url=None, problem=f"`{place}` cannot be used: {why}{f' ({hint})' if hint else ''}")


def base_url_of(provider: Provider, region: str) -> str | None:
    """The API base where no profile says it: the config's, else the region's, else the first; None where nobody says.

    A provider whose base URL in the config cannot be used has none: its key is not for the provider's usual host.
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
    """As `base_url_of`. `own` are the protocols that models have in the config instead of the provider's.

    Raises:
        ConfigError: `base-url-refused`: the config's cannot be used; `variable-unset`: it refers to a variable that is not set.
    """
    written, place = provider.config, f"models.providers.{provider.id}.baseUrl"
    if written is not None and written.problem is not None:
        raise _wrong_base(provider, written.problem, "URL")
    url = base_url_of(provider, region)
    if url is None or written is None or written.base_url is None:
        return url
    url = resolve_variables(url, env, where=place)
    wrong = _misfit_of_all(url, provider.api, own, specs)
    if wrong is not None and wrong.is_certain:
        raise _wrong_base(provider, f"`{place}` {wrong.message}", wrong.instead)
    return url


def _wrong_base(provider: Provider, why: str, instead: str) -> ConfigError:
    message = f"Provider {provider.id} cannot be called: its base URL cannot be right."
    hint = f"{{prog}} config set models.providers.{provider.id}.baseUrl {instead}"
    return BaseUrlRefused(message, why=why, hint=hint)


def headers_of(provider: Provider, model_id: str, env: Mapping[str, str]) -> dict[str, str]:
    """The config's headers of requests to one model: its own over the provider's, whatever the case of their names.

    Raises:
        ConfigError: `variable-unset`.
    """
    place = f"models.providers.{provider.id}"
    shared = provider.config.headers if provider.config is not None else {}
    model = provider.configured_model(model_id)
    own = model.headers if model is not None else {}
    taken = {name.lower() for name in own}
    found = {
        name: resolve_header(text, env, where=f"{place}.headers.{name}")
        for name, text in shared.items()
        if name.lower() not in taken
    }
    return found | {
        name: resolve_header(text, env, where=f"the header {name} of {place}'s model {model_id}") for name, text in own.items()
    }


def auth_header(provider: Provider, api: ApiKind, base_url: str, specs: Iterable[ProviderSpec]) -> Literal["bearer", "x-api-key"]:
    """How a key is sent: as `authHeader` says; else as the provider at that host is known to want it; else by the protocol.

    OpenAI's protocols know `Authorization: Bearer` alone; Anthropic's own header is `x-api-key`
    (https://docs.anthropic.com/en/api/overview), which OpenClaw's library sends to every provider of that protocol.
    """
    if api != "anthropic-messages":
        return "bearer"
    chosen = provider.config.auth_header if provider.config is not None else None
    if chosen is not None:
        return "bearer" if chosen else "x-api-key"
    if provider.spec is not None:
        return provider.spec.auth_header
    there = next((spec for spec in specs if host_of(base_url) in declared_hosts(spec) and spec.needs_credential), None)
    return there.auth_header if there is not None else "x-api-key"


def all_bases(api: ApiKind, base_url: str, spec: ProviderSpec | None) -> Mapping[ApiKind, str]:
    """The bases by protocol: `base_url` for `api`, and those beside it at one origin, where the provider is known to have them.

    Only a host of the provider's own is taken to serve them: behind anybody else's URL there may be one protocol alone.
    """
    bases: dict[ApiKind, str] = {api: base_url}
    parts = urlsplit(base_url)
    if spec is None or host_of(base_url) not in declared_hosts(spec) or parts.path.rstrip("/") != spec.paths.get(api):
        return bases
    others = {kind: urlunsplit((parts.scheme, parts.netloc, path, "", "")) for kind, path in spec.paths.items() if kind != api}
    return {**bases, **others}


@dataclass(frozen=True, slots=True)
class Misfit:
    """A base URL and an `api` that do not fit each other: the key of the two to change, and its right value.

    `is_certain` at a host whose provider says where it serves each protocol; elsewhere the path may be somebody's own choice.
    """

    api: ApiKind
    key: Literal["baseUrl", "api"]
    instead: str
    is_certain: bool

    @property
    def message(self) -> str:
        """What is wrong, to follow the place of the base URL."""
        return f"is not where that provider serves {self.api}" if self.is_certain else f"looks wrong for {self.api}"


def misfit(base_url: str, api: ApiKind, specs: Iterable[ProviderSpec]) -> Misfit | None:
    """What does not fit if requests of `api` go to `base_url`; None where they may be answered.

    MiniMax has Anthropic's protocol under `/anthropic` and OpenAI's under `/v1`: the one sent to the other is a bare 404. Other
    providers use the first of these names too.
    """
    try:
        parts, host = urlsplit(base_url), host_of(base_url)
    except ValueError:  # `http://[${VAR}]`, whose variable is not resolved here
        return None
    written = parts.path.rstrip("/")
    spec = next((spec for spec in specs if api in spec.paths and host in declared_hosts(spec)), None)
    if spec is not None:
        meant = spec.paths[api]
        # Anthropic's may have its version, and a bare origin gets OpenAI's.
        if written in {meant, f"{meant}/v1" if api == "anthropic-messages" else ""}:
            return None
        if written in {"", *spec.paths.values()}:
            return Misfit(api, "baseUrl", urlunsplit((parts.scheme, parts.netloc, meant, "", "")), is_certain=True)
    if written.endswith("/anthropic") and api != "anthropic-messages":
        return Misfit(api, "api", "anthropic-messages", is_certain=False)
    return None


def _misfit_of_all(
    base_url: str, api: ApiKind | None, own: Iterable[ApiKind | None], specs: Iterable[ProviderSpec]
) -> Misfit | None:
    """As `misfit`, of a provider some of whose models have protocols of their `own`, which the base URL may be meant for."""
    wrong = misfit(base_url, api, specs) if api is not None else None
    if wrong is not None and any(misfit(base_url, each, specs) is None for each in own if each is not None):
        return None
    return wrong


def misfits(config: Config, specs: Sequence[ProviderSpec]) -> Iterator[tuple[ConfigPath, Misfit]]:
    """Each provider of the config whose base URL and `api` do not fit, by the path of its block."""
    for id, provider in config.models.providers.items():
        spec = next((spec for spec in specs if spec.id == id), None)
        api = provider.api or (spec.api if spec is not None else None)
        own = [model.api for model in provider.models]
        found = _misfit_of_all(provider.base_url, api, own, specs) if provider.base_url is not None else None
        if found is not None:
            yield ("models", "providers", id), found


def declared_hosts(spec: ProviderSpec) -> frozenset[str]:
    """Every host that a credential of this provider may be sent to."""
    return frozenset().union(*spec.hosts.values(), {host_of(url) for url in spec.base_urls.values()})
