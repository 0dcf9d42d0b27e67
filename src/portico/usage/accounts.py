"""Whose plan can be asked about: a provider's key, then its sign-ins, each with the place that it may be sent to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.errors import UsageError
from portico.models.catalog import Provider, host_of
from portico.models.credentials import of_profile
from portico.models.endpoints import base_url_of, declared_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from portico.interfaces.plan_reader import PlanReader
    from portico.interfaces.provider_spec import ProviderSpec
    from portico.models.credentials import Credential
    from portico.models.loader import ModelLoader
    from portico.secret import Secret
    from portico.store.profiles import Profile


@dataclass(frozen=True, slots=True)
class PlanAccount:
    """One credential whose plan can be asked about. `label` names it for people: a profile's id, or where a key stands.

    `base_url` is where its API is, empty where nobody says. Either `profile_id` or `key` is set. `sign_in_again` is the command
    that replaces the profile; `{prog}` in it stands for the program name.
    """

    label: str
    spec: ProviderSpec
    reader: PlanReader
    region: str
    base_url: str
    profile_id: str | None = None
    key: Secret | None = None
    sign_in_again: str | None = None

    def urls(self) -> tuple[str, ...]:
        """Where to ask, in order; none where its API is at a host that the provider does not declare."""
        hosts = declared_hosts(self.spec)
        if host_of(self.base_url) not in hosts:
            return ()
        hosts = hosts.union(getattr(self.reader, "hosts", ()))
        return tuple(url for url in self.reader.urls(self.base_url) if host_of(url) in hosts)

    @property
    def subscribe_url(self) -> str | None:
        """Where a plan is bought, in the account's region."""
        links = self.spec.subscribe_urls
        return next((links[name] for name in (self.region, *links) if name in links), None)


def plan_accounts(
    loader: ModelLoader,
    readers: Mapping[str, PlanReader],
    profiles: Sequence[Profile],
    *,
    provider: str | None = None,
    profile: str | None = None,
) -> tuple[PlanAccount, ...]:
    """Every account with a plan to ask about, or those of `provider`, or the one of `profile`.

    Of the keys of a provider the first counts: those of its reader's variables in their order, then the config's. Each of its
    profiles is an account of its own.

    Raises:
        UsageError: `no-plan-reader`: nothing is known of such a provider's plans.
    """
    named = next((one.provider for one in profiles if one.id == profile), None)
    for wanted in (provider, named):
        if wanted is not None and wanted not in readers:
            raise _no_reader(loader, readers, wanted)
    found = (account for id, reader in readers.items() for account in _of_provider(loader, id, reader, profiles))
    return tuple(account for account in found if provider in {None, account.spec.id} and profile in {None, account.profile_id})


def of_sign_in(profile: Profile, spec: ProviderSpec, reader: PlanReader) -> PlanAccount:
    """The account of a profile that was made by signing in."""
    return _account(of_profile(profile), Provider(spec.id, (), spec), spec, reader, profile.region)


def _of_provider(loader: ModelLoader, id: str, reader: PlanReader, profiles: Sequence[Profile]) -> Iterator[PlanAccount]:
    spec = loader.catalog.specs.get(id)
    if spec is None:
        return
    provider = loader.catalog.providers.get(id) or Provider(id, (), spec)
    region = loader.credentials.region_of(provider)
    key = loader.credentials.key_of(provider, reader.env_keys)
    if key is not None:
        yield _account(key, provider, spec, reader, region)
    preferred = loader.credentials.profiles_of(provider)
    own = [one for one in profiles if one.provider == id and not one.sign_out_unfinished]
    for profile in [*preferred, *(one for one in own if one not in preferred)]:
        yield _account(of_profile(profile), provider, spec, reader, profile.region)


def _account(credential: Credential, provider: Provider, spec: ProviderSpec, reader: PlanReader, region: str) -> PlanAccount:
    base_url = credential.base_url or base_url_of(provider, region) or ""
    return PlanAccount(
        credential.profile_id or credential.source.removeprefix("environment variable ").removeprefix("config "),
        spec,
        reader,
        next((name for name, hosts in spec.hosts.items() if host_of(base_url) in hosts), region),
        base_url,
        credential.profile_id,
        credential.key,
        credential.sign_in_again,
    )


def _no_reader(loader: ModelLoader, readers: Mapping[str, PlanReader], provider: str) -> UsageError:
    plugin = loader.off_plugin(provider)
    message = f"Nothing is known of plans of provider {provider}."
    if plugin is not None:
        why = f'the plugin that brings it is off: "{plugin}"'
        return UsageError("no-plan-reader", message, why=why, hint=f"{{prog}} plugins enable {plugin}")
    return UsageError("no-plan-reader", message, hint=f"--provider {'|'.join(readers)}")
