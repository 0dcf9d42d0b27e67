"""Where a provider's models are served: the API base of each protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from portico.models.catalog import host_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import ApiKind, ProviderSpec
    from portico.models.catalog import Provider


def base_url_of(provider: Provider, region: str) -> str | None:
    """The API base where no profile says it: the config's, else the region's, else the first; None where nobody says."""
    if provider.config is not None and provider.config.base_url is not None:
        return provider.config.base_url.rstrip("/")
    bases = provider.spec.base_urls if provider.spec is not None else {}
    return next((bases[name] for name in (region, *bases) if name in bases), None)


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


def declared_hosts(spec: ProviderSpec) -> frozenset[str]:
    """Every host that a credential of this provider may be sent to."""
    return frozenset().union(*spec.hosts.values(), {host_of(url) for url in spec.base_urls.values()})
