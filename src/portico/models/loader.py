"""From a name to a model that can be called: provider, protocol, URL, headers, limits, and whose credential to use.

A provider is usable when a profile, an environment key or the config says so, in this order. A profile carries the URL of its
requests: its token goes to the API base that it was issued for, whatever the config's `baseUrl` says since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from portico.contracts import ModelSpec
from portico.errors import ConfigError, SignInNeeded, UsageError
from portico.models.catalog import Catalog, Provider, host_of
from portico.models.reference import did_you_mean
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from portico.config.schema import Config
    from portico.contracts import ApiKind, ProviderSpec
    from portico.models.reference import ModelReference
    from portico.store.profiles import Profile

REGION_ENV = "MINIMAX_REGION"


@dataclass(frozen=True, slots=True)
class CallableModel:
    """Everything a request needs but the profile's token.

    Either `profile_id` names the profile whose token to ask the broker for, or `key` is the credential, or the provider
    takes none. `source` tells where the credential comes from, in words. `listed`: the catalogue has the model; `near` is what
    was probably meant where it does not.
    """

    reference: ModelReference
    spec: ModelSpec
    api: ApiKind
    base_url: str
    source: str
    auth_header: Literal["bearer", "x-api-key"] = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict)
    profile_id: str | None = None
    key: Secret | None = None
    listed: bool = True
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Credential:
    source: str
    base_url: str | None = None
    profile_id: str | None = None
    key: Secret | None = None


class ModelLoader:
    """Turns `provider/model`, an alias or nothing (the default) into a `CallableModel`.

    `env` is the environment with the config's own variables behind it, as `LoadedConfig.env` has it. `switched_off` names the
    plugins that are off, by the providers that they would bring.
    """

    def __init__(
        self,
        config: Config,
        specs: Iterable[ProviderSpec],
        profiles: Sequence[Profile],
        env: Mapping[str, str],
        *,
        switched_off: Mapping[str, str] | None = None,
    ) -> None:
        self.catalog = Catalog(config, specs)
        self._config = config
        self._profiles = profiles
        self._env = env
        self._switched_off = switched_off or {}

    def load(self, text: str | None = None, *, profile: Profile | None = None) -> CallableModel:
        """The model to call, with `profile`'s token where one is given.

        Raises:
            UsageError, ConfigError: `unknown-model`, with the spelling that was meant; `no-default-model`; `wrong-provider`.
            SignInNeeded: `unknown-model`, where the provider has no credential of any kind.
        """
        reference = self.catalog.expand(text or self._default())
        provider = self.catalog.providers.get(reference.provider)
        spec = self._spec(provider, reference)
        if provider is None or spec is None:
            raise self._unknown(provider, reference, UsageError if text is not None else ConfigError)
        if profile is not None and profile.provider != provider.id:
            hint = f"Give a model of it: --model {profile.provider}/MODEL"
            raise UsageError(
                "wrong-provider", f"{profile.id} is a sign-in to {profile.provider}, not to {provider.id}.", hint=hint
            )
        credential = _of_profile(profile) if profile is not None else self._credential(provider)
        if credential is None:
            raise self._no_credential(provider, reference)
        return self._callable(provider, reference, spec, credential)

    def has_credential(self, provider: Provider) -> bool:
        """Whether a profile, an environment key or a key in the config would answer for `provider`."""
        return self._credential(provider) is not None

    def profile_for(self, provider: Provider) -> Profile | None:
        """The profile whose token a request would carry: `auth.order` first, then the region of the config's `baseUrl`.

        A profile that needs a new sign-in comes last.
        """
        order = self._config.auth.order.get(provider.id, ())
        own = [one for one in self._profiles if one.provider == provider.id and not one.sign_out_unfinished]
        if order:
            own = [profile for profile in own if profile.id in order]
        written = provider.config.base_url if provider.config is not None else None
        region = self._env.get(REGION_ENV, "").lower()

        def rank(profile: Profile) -> tuple[bool, int, bool, int]:
            dead = profile.failure is not None and profile.failure.terminal
            place = order.index(profile.id) if profile.id in order else 0
            fits = host_of(written) == host_of(profile.api_base) if written else region in {"", profile.region}
            return dead, place, not fits, profile.created_at

        return min(own, key=rank, default=None)

    def in_use(self) -> frozenset[str]:
        """The ids of the profiles that are taken where nobody says which: one of each provider."""
        configured = self._config.models.providers
        providers = (Provider(id, (), config=configured.get(id)) for id in {one.provider for one in self._profiles})
        taken = map(self.profile_for, providers)
        return frozenset(profile.id for profile in taken if profile is not None)

    def rivals(self, profile_id: str) -> tuple[str, ...]:
        """The sign-ins that could have been taken in its place; none where `auth.order` says which comes first."""
        provider = next((one.provider for one in self._profiles if one.id == profile_id), None)
        if provider in self._config.auth.order:
            return ()
        own = (one for one in self._profiles if one.provider == provider and not one.sign_out_unfinished)
        return tuple(one.id for one in own if one.id != profile_id)

    def _default(self) -> str:
        primary = self._config.agents.primary
        if primary is None:
            raise ConfigError(
                "no-default-model",
                "No model was named and no default is set.",
                hint="{prog} models set <provider/model>, or: {prog} onboard --auth-choice minimax-portal",
            )
        return primary

    def _spec(self, provider: Provider | None, reference: ModelReference) -> ModelSpec | None:
        if provider is None:
            return None
        known = provider.model(reference.model)
        if known is not None or provider.config is None or self._wrong_case(reference):
            return known
        # A model newer than this catalogue is passed on where the user configured the provider: the provider itself says no.
        return ModelSpec(reference.model, reference.model)

    def _wrong_case(self, reference: ModelReference) -> bool:
        return any(str(known).lower() == str(reference).lower() for known in self.catalog.references())

    def _unknown(
        self, provider: Provider | None, reference: ModelReference, kind: type[UsageError | ConfigError]
    ) -> UsageError | ConfigError:
        plugin = self._switched_off.get(reference.provider)
        if plugin is not None:
            why = f'the plugin that brings provider {reference.provider} is off: "{plugin}"'
            return kind("unknown-model", f"Unknown model: {reference}", why=why, hint=f"{{prog}} plugins enable {plugin}")
        if self._wrong_case(reference):
            why = "model ids are case-sensitive"
        elif provider is None:
            why = f"no provider {reference.provider}: neither a plugin that is on nor models.providers brings it"
        else:
            why = f"provider {provider.id} lists no model {reference.model}"
        hint = did_you_mean(self.catalog.near(str(reference))) or "{prog} models list --all"
        return kind("unknown-model", f"Unknown model: {reference}", why=why, hint=hint)

    def _no_credential(self, provider: Provider, reference: ModelReference) -> SignInNeeded:
        keys = provider.spec.env_keys if provider.spec is not None else ()
        ways = [f"set {keys[0]}"] if keys else []
        ways += [f"add an apiKey to models.providers.{provider.id} in the config"]
        sign_in = "sign in: {prog} onboard --auth-choice minimax-portal"
        ways = [*ways, sign_in] if keys else [sign_in, *ways]  # without a key of its own, signing in is how it is meant
        plugin = self._switched_off.get(provider.id)
        if plugin is not None:
            ways.insert(0, f"{{prog}} plugins enable {plugin}")
        return SignInNeeded(
            "unknown-model",
            f"Unknown model: {reference}",
            why=f"no credential for provider {provider.id}: no auth profile, no environment key, no key in the config",
            hint="one of: " + "; ".join(ways),
        )

    def _credential(self, provider: Provider) -> _Credential | None:
        profile = self.profile_for(provider)
        if profile is not None:
            return _of_profile(profile)
        spec, config = provider.spec, provider.config
        for name in spec.env_keys if spec is not None else ():
            if value := self._env.get(name):
                return _Credential(f"environment variable {name}", key=Secret(value))
        written = config.api_key.reveal() if config is not None and config.api_key is not None else ""
        if not written or (spec is not None and written == spec.placeholder_key):
            return None
        return self._config_key(provider.id, written)

    def _config_key(self, provider_id: str, written: str) -> _Credential | None:
        from portico.config.environment import resolve_variables

        try:
            value = resolve_variables(written, self._env, where=f"models.providers.{provider_id}.apiKey")
        except ConfigError:
            return None  # the variable is not set: the same as no key, and `unknown-model` names the ways out
        return _Credential(f"config models.providers.{provider_id}.apiKey", key=Secret(value)) if value else None

    def _callable(self, provider: Provider, reference: ModelReference, spec: ModelSpec, credential: _Credential) -> CallableModel:
        base_url, api = credential.base_url or self.base_url(provider), provider.api
        if base_url is None or api is None:
            raise ConfigError(
                "provider-incomplete",
                f"Provider {provider.id} cannot be called.",
                why=f"models.providers.{provider.id} has no {'baseUrl' if base_url is None else 'api'}",
                hint="{prog} config set models.providers." + provider.id + (".baseUrl URL" if base_url is None else ".api KIND"),
            )
        listed = provider.model(reference.model) is not None
        return CallableModel(
            reference,
            spec,
            api,
            base_url.rstrip("/"),
            credential.source,
            auth_header=_auth_header(provider),
            headers=provider.config.headers if provider.config is not None else {},
            profile_id=credential.profile_id,
            key=credential.key,
            listed=listed,
            near=() if listed else tuple(self.catalog.near(str(reference))),
        )

    def base_url(self, provider: Provider) -> str | None:
        """Where `provider` is called without a profile: the config's URL, else the region's; None where nobody says."""
        if provider.config is not None and provider.config.base_url is not None:
            return provider.config.base_url
        if provider.spec is None or not provider.spec.base_urls:
            return None
        asked = self._env.get(REGION_ENV, "").lower()
        regions = provider.spec.base_urls
        return regions.get(asked) or next(iter(regions.values()))


def _of_profile(profile: Profile) -> _Credential:
    return _Credential(f"profile {profile.id}", profile.api_base, profile_id=profile.id)


def _auth_header(provider: Provider) -> Literal["bearer", "x-api-key"]:
    chosen = provider.config.auth_header if provider.config is not None else None
    if chosen is not None:
        return "bearer" if chosen or provider.api != "anthropic-messages" else "x-api-key"
    return provider.spec.auth_header if provider.spec is not None else "bearer"


def declared_hosts(spec: ProviderSpec) -> frozenset[str]:
    """Every host that a credential of this provider may be sent to."""
    return frozenset().union(*spec.hosts.values(), {host_of(url) for url in spec.base_urls.values()})
