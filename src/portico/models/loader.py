"""The loader: from a name to a model that can be called, and to those that answer in its place.

A callable model is everything that a request needs but a profile's token. A provider is usable when a profile, an environment
key or the config says so, in this order. A profile carries the URL of its requests: its token goes to the API base that it was
issued for, whatever the config's `baseUrl` says since.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import ConfigError, PorticoError, UsageError
from portico.interfaces.plugins import ModelSpec
from portico.models.catalog import Catalog, Provider
from portico.models.credentials import Credential, Credentials, profile_credential
from portico.models.endpoints import all_bases, auth_header, base_url_of, checked_base_url, headers_of, with_base_urls
from portico.models.reference import (
    ConfiguredModelUnknown,
    UnknownModel,
    key_not_set_error,
    no_credential_error,
    unknown_model_error,
    wrong_case,
)
from portico.models.thinking import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from portico.config.schema import Config, ModelConfig
    from portico.interfaces.plugins import ApiKind, ProviderErrorKind, ProviderSpec
    from portico.models.reference import ModelReference
    from portico.secret import Secret
    from portico.store.records import Profile


class ProviderIncomplete(ConfigError):
    """The config of a provider lacks what is needed to call it."""

    id = "provider-incomplete"


class NoDefaultModel(ConfigError):
    """No model was named, and the config has no default."""

    id = "no-default-model"


class ModelNotAllowed(UsageError):
    """`agents.defaults.models` does not list the model."""

    id = "model-not-allowed"


class WrongProvider(UsageError):
    """The profile belongs to another provider than the model."""

    id = "wrong-provider"


class NoSuchProtocol(UsageError):
    """The model is not served over the API that the client speaks."""

    id = "no-such-protocol"


@dataclass(frozen=True, slots=True)
class CallableModel:
    """One model with one credential.

    Either `profile_id` names the profile whose token to ask the broker for, or `key` is the credential, or the provider
    takes none. `source` tells where the credential comes from, in words. `bases` are the API bases by protocol, `base_url` is
    that of `api`. `listed`: the catalogue has the model; `near` is what was probably meant where it does not. `fingerprint`
    changes with the key and with how and where the model is called, `signed_in_at` with the profile's sign-in (wall ms; 0 without
    one). `has_regions`: the provider has accounts of several regions, each of which is refused in the others.
    `sign_in_again` is the command that replaces the profile; `{prog}` in it stands for the program name.
    """

    reference: ModelReference
    spec: ModelSpec
    api: ApiKind
    base_url: str
    source: str
    auth_header: Literal["bearer", "x-api-key"] = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    profile_id: str | None = None
    key: Secret | None = None
    bases: Mapping[ApiKind, str] = field(default_factory=dict)
    error_codes: Mapping[int, ProviderErrorKind] = field(default_factory=dict, repr=False)
    subscribe_url: str | None = None
    listed: bool = True
    near: tuple[str, ...] = ()
    fingerprint: str = ""
    signed_in_at: int = 0
    has_regions: bool = False
    sign_in_again: str | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A model that was to be called and cannot be, and why."""

    reference: ModelReference
    error: PorticoError


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name stands for: the candidates in the order they are tried, at least one, and those that cannot be called.

    `wanted` is the model that was asked for, which may be among the latter; None where it is the first candidate.
    """

    candidates: tuple[CallableModel, ...]
    passed: tuple[Passed, ...] = ()
    wanted: ModelReference | None = None

    @property
    def model(self) -> CallableModel:
        return self.candidates[0]


_ALLOWED: Final = "agents.defaults.models"
_FINGERPRINT_KEY: Final = os.urandom(32)


class ModelLoader:
    """Turns `provider/model`, an alias or nothing (the default) into models that can be called.

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
        corrections: Mapping[tuple[str, str], ModelConfig] | None = None,
        switched_off: Mapping[str, str] | None = None,
    ) -> None:
        config = with_base_urls(config, env)
        self.catalog = Catalog(config, specs, corrections)
        self.credentials = Credentials(config, profiles, env)
        self._config = config
        self._env = env
        self._profiles = profiles
        self._switched_off = switched_off or {}

    def load(self, text: str | None = None, *, profile: Profile | None = None) -> CallableModel:
        """The model to call, with `profile`'s token where one is given.

        Raises:
            UsageError, ConfigError: `unknown-model`, with the spelling that was meant; `model-not-allowed`; `no-default-model`;
                `wrong-provider`.
            SignInNeeded: `unknown-model`, where the provider has no credential of any kind.
        """
        reference = self.reference(text)
        return self._callables(reference, named=text is not None, profile=profile)[0]

    def resolve(self, text: str | None = None) -> Resolution:
        """What to call for a name, in order: each of its provider's credentials and, for the default model, the fallbacks.

        It is the default model however it was named: not at all, in full, or by an alias. Any other model was chosen on purpose
        and is answered by itself or not at all. A model that cannot be called is passed over, and says why.

        Raises:
            UsageError, ConfigError, SignInNeeded: as `load`, where neither the model nor a fallback can be called; also where the
                model is unknown or not allowed, since then no other was meant.
        """
        wanted = self.reference(text)
        self._check(wanted, named=text is not None)
        candidates: list[CallableModel] = []
        passed: list[Passed] = []
        for reference in dict.fromkeys([wanted, *(self._fallbacks() if self._is_default(wanted) else ())]):
            try:
                candidates += self._callables(reference, named=False)
            except PorticoError as error:
                passed.append(Passed(reference, error))
        if not candidates:
            raise passed[0].error
        return Resolution(tuple(candidates), tuple(passed), wanted)

    def each_credential(self, text: str) -> tuple[CallableModel, ...]:
        """The model that `text` names with each credential that answers for it; none where it cannot be called."""
        try:
            return self._callables(self.reference(text), named=False)
        except PorticoError:
            return ()

    def one_of_each(self) -> dict[str, CallableModel]:
        """By provider, one of its models with the credential that answers for it; without those that have none."""
        samples = {id: next((model.id for model in one.models), "any") for id, one in self.catalog.providers.items()}
        found = {id: self.each_credential(f"{id}/{sample}") for id, sample in samples.items()}
        return {id: models[0] for id, models in found.items() if models}

    def switched_off_by(self, reference: ModelReference) -> str | None:
        """The plugin that would bring the model's provider and is off."""
        return self.off_plugin(reference.provider)

    def off_plugin(self, provider: str) -> str | None:
        """The plugin that would bring `provider` and is off."""
        return self._switched_off.get(provider)

    def reference(self, text: str | None) -> ModelReference:
        """The model that a name stands for, whether or not it can be called.

        Raises:
            UsageError: `invalid-model-reference`.
            ConfigError: `no-default-model`.
        """
        return self.catalog.expand(text or self._default())

    def check(self, text: str) -> None:
        """Show that a name stands for a model that exists, whether or not it can be called.

        Raises:
            UsageError, ConfigError: `invalid-model-reference`, `unknown-model`.
        """
        self._check(self.reference(text), named=False)

    def has_credential(self, provider: Provider) -> bool:
        """Whether a profile, an environment key or a key in the config would answer for `provider`."""
        return bool(self.credentials.for_provider(provider))

    def profile_for(self, provider: Provider) -> Profile | None:
        """The profile whose token a request would carry."""
        return next(iter(self.credentials.profiles_of(provider)), None)

    def in_use(self) -> frozenset[str]:
        """The ids of the profiles that are taken where nobody says which: one of each provider."""
        providers = {one.provider for one in self._profiles}
        return frozenset(profile.id for id in providers if (profile := self.profile_in_use(id)) is not None)

    def profile_in_use(self, provider: str) -> Profile | None:
        """The profile of `provider` that is used if the user names none."""
        spec, config = self.catalog.specs.get(provider), self._config.models.providers.get(provider)
        return self.profile_for(Provider(provider, (), spec=spec, config=config))

    def describe_choice(self, profile_id: str) -> str | None:
        """Which profile is used and which others are not, for a person; None if there is no other, or `auth.order` decides."""
        provider = next((one.provider for one in self._profiles if one.id == profile_id), None)
        if provider is not None and self.credentials.order_for(provider):
            return None
        own = (one for one in self._profiles if one.provider == provider and not one.sign_out_unfinished)
        others = [one.id for one in own if one.id != profile_id]
        return f"Using {profile_id}, and not {' or '.join(others)}." if others else None

    def base_url(self, provider: Provider) -> str | None:
        """Where `provider` is called without a profile; None where nobody says."""
        return base_url_of(provider, self.credentials.region_for(provider))

    def _default(self) -> str:
        primary = self._config.agents.primary
        if primary is None:
            raise NoDefaultModel(
                "No model was named and no default is set.",
                hint="{prog} models set <provider/model>, or: {prog} onboard --auth-choice minimax-portal",
            )
        return primary

    def _is_default(self, reference: ModelReference) -> bool:
        return reference in self._references(filter(None, [self._config.agents.primary]))

    def _fallbacks(self) -> list[ModelReference]:
        return self._references(self._config.agents.fallbacks)

    def _references(self, names: Iterable[str]) -> list[ModelReference]:
        """Those of `names` that are references: a wrong one is a finding of `models status`, and no reason to fail."""
        found = []
        for text in names:
            with suppress(UsageError):
                found.append(self.catalog.expand(text))
        return found

    def _check(self, reference: ModelReference, *, named: bool) -> tuple[Provider, ModelSpec]:
        kind = UnknownModel if named else ConfiguredModelUnknown
        provider = self.catalog.providers.get(reference.provider)
        spec = None if provider is None else self._spec(provider, reference)
        if provider is None or spec is None:
            off = self._switched_off.get(reference.provider)
            raise unknown_model_error(self.catalog, reference, switched_off_by=off, kind=kind)
        if named and not self.catalog.allows(reference):
            raise ModelNotAllowed(
                f"Model not allowed: {reference}",
                why=f"the configuration allows only the models that `{_ALLOWED}` lists, the default and the fallbacks",
                hint=f'{{prog}} config set \'{_ALLOWED}["{reference}"]\' "{{}}"',
            )
        return provider, spec

    def _callables(self, reference: ModelReference, *, named: bool, profile: Profile | None = None) -> tuple[CallableModel, ...]:
        provider, spec = self._check(reference, named=named)
        if profile is not None and profile.provider != provider.id:
            hint = f"Give a model of it: --model {profile.provider}/MODEL"
            raise WrongProvider(f"{profile.id} is a sign-in to {profile.provider}, not to {provider.id}.", hint=hint)
        credentials = [profile_credential(profile)] if profile is not None else self.credentials.for_provider(provider)
        if not credentials and (unset := self.credentials.unset_variable_for(provider)) is not None:
            raise key_not_set_error(provider, unset)
        if not credentials:
            raise no_credential_error(
                provider,
                reference,
                switched_off_by=self._switched_off.get(provider.id),
                instead=self._instead(reference),
                base_url=self.base_url(provider),
            )
        return tuple(self._callable(provider, reference, spec, credential) for credential in credentials)

    def _spec(self, provider: Provider, reference: ModelReference) -> ModelSpec | None:
        known = provider.model(reference.model)
        if known is not None or provider.config is None or wrong_case(self.catalog, reference):
            return known
        # A model newer than this catalogue is passed on where the user configured the provider: the provider itself says no.
        return ModelSpec(reference.model, reference.model, reasoning=reasons(reference.model))

    def _instead(self, reference: ModelReference) -> list[str]:
        """Models of the same id whose provider is set up."""
        others = (provider for provider in self.catalog.providers.values() if provider.id != reference.provider)
        return [f"{one.id}/{reference.model}" for one in others if one.model(reference.model) and self.has_credential(one)]

    def with_key(self, reference: ModelReference, spec: ModelSpec, key: Secret | None, region: str, source: str) -> CallableModel:
        """The model as the config sets its provider up, called with a key that is not kept anywhere yet.

        Raises:
            ConfigError: as the config is, it cannot be called.
        """
        provider = self.catalog.providers[reference.provider]
        model = self._callable(provider, reference, spec, Credential(source, None, region, key=key))
        return replace(model, listed=True, near=())

    def _callable(self, provider: Provider, reference: ModelReference, spec: ModelSpec, credential: Credential) -> CallableModel:
        region = credential.region or self.credentials.region_for(provider)
        api = provider.api_of(reference.model)
        specs = self.catalog.specs.values()
        base_url = credential.base_url or checked_base_url(provider, region, self._env, specs, own=(api,))
        if base_url is None or api is None:
            raise _incomplete(provider, "baseUrl" if base_url is None else "api")
        base_url = base_url.rstrip("/")
        listed, known = provider.model(reference.model) is not None, provider.spec
        links = known.subscribe_urls if known is not None else {}
        bases = all_bases(provider.api or api, base_url, known)
        if api not in bases:
            bases = {api: base_url}
        header = auth_header(provider, api, base_url, specs)
        headers = headers_of(provider, reference.model, self._env)
        return CallableModel(
            reference,
            spec,
            api,
            bases[api],
            credential.source,
            auth_header=header,
            headers=headers,
            profile_id=credential.profile_id,
            sign_in_again=credential.sign_in_again,
            key=credential.key,
            bases=bases,
            error_codes=known.error_codes if known is not None else {},
            subscribe_url=next((links[name] for name in (region, *links) if name in links), None),
            listed=listed,
            near=() if listed else tuple(self.catalog.near(str(reference))),
            fingerprint=_fingerprint(credential.key, base_url, api, header, sorted(headers.items()), sorted(bases.items())),
            signed_in_at=credential.signed_in_at,
            has_regions=known is not None and len(known.base_urls) > 1,
        )


def _fingerprint(key: Secret | None, *called: object) -> str:
    """A name for this key and this way of calling, which tells nothing of either: a keyed digest, of this process alone."""
    import hashlib

    told = repr((key.reveal() if key is not None else None, *called))
    return hashlib.blake2b(told.encode(errors="surrogatepass"), key=_FINGERPRINT_KEY, digest_size=12).hexdigest()


def _incomplete(provider: Provider, missing: str) -> ConfigError:
    return ProviderIncomplete(
        f"Provider {provider.id} cannot be called.",
        why=f"models.providers.{provider.id} has no {missing}",
        hint=f"{{prog}} config set models.providers.{provider.id}.{missing} {'URL' if missing == 'baseUrl' else 'KIND'}",
    )
