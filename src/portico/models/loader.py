"""The loader: turn a name into callable models, which are the requested model and its fallbacks.

A callable model has everything that a request needs except a profile's token. The credential comes from a profile, an environment
variable or the config, in this order. A profile's token is sent only to the API base that issued it, even if the config's
`baseUrl` changes.
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
    """The config of a provider lacks a required setting."""

    id = "provider-incomplete"


class NoDefaultModel(ConfigError):
    """No model is specified, and the config has no default model."""

    id = "no-default-model"


class ModelNotAllowed(UsageError):
    """`agents.defaults.models` does not list the model."""

    id = "model-not-allowed"


class WrongProvider(UsageError):
    """The profile belongs to another provider than the model."""

    id = "wrong-provider"


class NoSuchProtocol(UsageError):
    """The provider does not serve the model over the client's protocol."""

    id = "no-such-protocol"


@dataclass(frozen=True, slots=True)
class CallableModel:
    """One model with one credential.

    The credential is the token of `profile_id`, or `key`. If both are missing, the provider needs no credential. `source`
    describes its origin. `bases` are the API bases by protocol, and `base_url` is the base of `api`. `listed`: the catalog has
    the model; if not, `near` are similar names. `fingerprint` changes with the key, the address and the headers. `signed_in_at`
    is the time of the profile's sign-in (ms since the epoch; 0 without a profile). `has_regions`: a region rejects the accounts
    of other regions. `sign_in_again` is the command that replaces the profile; `{prog}` in it stands for the program name.
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
    """A model that cannot be called, and the reason."""

    reference: ModelReference
    error: PorticoError


@dataclass(frozen=True, slots=True)
class Resolution:
    """The result for a name: at least one candidate, in the order of the attempts, and the models that cannot be called.

    `wanted` is the requested model, which may be in `passed`; None means the model of the first candidate.
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
    """Turns `provider/model`, an alias or None (the default model) into callable models.

    `env` is `LoadedConfig.env`: the environment plus the config's variables. `switched_off` maps providers to the disabled
    plugins that offer them.
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
        """Return the model to call, with `profile`'s token if specified.

        Raises:
            UsageError, ConfigError: `unknown-model`, with similar names; `model-not-allowed`; `no-default-model`;
                `wrong-provider`.
            SignInNeeded: `unknown-model`: the provider has no credential.
        """
        reference = self.reference(text)
        return self._callables(reference, named=text is not None, profile=profile)[0]

    def resolve(self, text: str | None = None) -> Resolution:
        """Return the candidates for a name: the model with each of its credentials and, for the default model, the fallbacks.

        The default model always has fallbacks: if it is named by None, in full, or by an alias. Other models have no fallbacks,
        because the user chose them on purpose. Models that cannot be called are in `passed`.

        Raises:
            UsageError, ConfigError, SignInNeeded: as `load`, if neither the model nor a fallback can be called; also if the model
                is unknown or not allowed.
        """
        wanted = self.reference(text)
        self._check(wanted, named=text is not None)
        candidates: list[CallableModel] = []
        passed: list[Passed] = []
        agents = self._config.agents
        is_default = wanted in self._references(filter(None, [agents.primary]))
        for reference in dict.fromkeys([wanted, *(self._references(agents.fallbacks) if is_default else ())]):
            try:
                candidates += self._callables(reference, named=False)
            except PorticoError as error:
                passed.append(Passed(reference, error))
        if not candidates:
            raise passed[0].error
        return Resolution(tuple(candidates), tuple(passed), wanted)

    def each_credential(self, text: str) -> tuple[CallableModel, ...]:
        """Return the model `text` with each of its credentials; empty if the model cannot be called."""
        try:
            return self._callables(self.reference(text), named=False)
        except PorticoError:
            return ()

    def one_of_each(self) -> dict[str, CallableModel]:
        """Return one callable model for each provider that has a credential, by provider id."""
        samples = {id: next((model.id for model in one.models), "any") for id, one in self.catalog.providers.items()}
        callables = {id: self.each_credential(f"{id}/{sample}") for id, sample in samples.items()}
        return {id: models[0] for id, models in callables.items() if models}

    def off_plugin(self, provider: str) -> str | None:
        """Return the id of the disabled plugin that offers `provider`."""
        return self._switched_off.get(provider)

    def reference(self, text: str | None) -> ModelReference:
        """Return the reference for a name, even if the model cannot be called.

        Raises:
            UsageError: `invalid-model-reference`.
            ConfigError: `no-default-model`.
        """
        return self.catalog.expand(text or self._default())

    def check(self, text: str) -> None:
        """Check that a name is a known model, even if the model cannot be called.

        Raises:
            UsageError, ConfigError: `invalid-model-reference`, `unknown-model`.
        """
        self._check(self.reference(text), named=False)

    def has_credential(self, provider: Provider) -> bool:
        """Whether `provider` has a profile, an environment key or a key in the config."""
        return bool(self.credentials.for_provider(provider))

    def profile_for(self, provider: Provider) -> Profile | None:
        """Return the profile whose token a request would carry."""
        return next(iter(self.credentials.profiles_of(provider)), None)

    def in_use(self) -> frozenset[str]:
        """Return the ids of the profiles that are used by default, one for each provider."""
        providers = {profile.provider for profile in self._profiles}
        return frozenset(profile.id for id in providers if (profile := self.profile_in_use(id)) is not None)

    def profile_in_use(self, provider: str) -> Profile | None:
        """Return the profile of `provider` that is used by default."""
        spec, config = self.catalog.specs.get(provider), self._config.models.providers.get(provider)
        return self.profile_for(Provider(provider, (), spec=spec, config=config))

    def describe_choice(self, profile_id: str) -> str | None:
        """Describe in a text which profile is used and which are not. None if there is only one, or if `auth.order` decides."""
        provider = next((one.provider for one in self._profiles if one.id == profile_id), None)
        if provider is not None and self.credentials.order_for(provider):
            return None
        own = (one for one in self._profiles if one.provider == provider and not one.sign_out_unfinished)
        others = [one.id for one in own if one.id != profile_id]
        return f"Using {profile_id}, and not {' or '.join(others)}." if others else None

    def base_url(self, provider: Provider) -> str | None:
        """Return the API base of `provider` without a profile; None if unknown."""
        return base_url_of(provider, self.credentials.region_for(provider))

    def _default(self) -> str:
        primary = self._config.agents.primary
        if primary is None:
            raise NoDefaultModel(
                "No model is specified and no default model is set.",
                hint="{prog} models set <provider/model>, or: {prog} onboard --auth-choice minimax-portal",
            )
        return primary

    def _references(self, names: Iterable[str]) -> list[ModelReference]:
        """Return the references for `names`. Leave out invalid names, because `models status` reports them."""
        references = []
        for text in names:
            with suppress(UsageError):
                references.append(self.catalog.expand(text))
        return references

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
            hint = f"Specify a model of its provider: --model {profile.provider}/MODEL"
            raise WrongProvider(f"{profile.id} is an account of {profile.provider}, not of {provider.id}.", hint=hint)
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
        # A model may be newer than this catalog. So if the provider is in the config, the provider itself decides.
        return ModelSpec(reference.model, reference.model, reasoning=reasons(reference.model))

    def _instead(self, reference: ModelReference) -> list[str]:
        """Return models with the same id whose provider is set up."""
        others = (provider for provider in self.catalog.providers.values() if provider.id != reference.provider)
        return [f"{one.id}/{reference.model}" for one in others if one.model(reference.model) and self.has_credential(one)]

    def with_key(self, reference: ModelReference, spec: ModelSpec, key: Secret | None, region: str, source: str) -> CallableModel:
        """Return the callable model for a key that is not stored yet.

        Raises:
            ConfigError: the config of the provider does not allow calls.
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
    """Return a digest of the key, the URL and the headers. It is keyed for this process, so that it does not reveal them."""
    import hashlib

    text = repr((key.reveal() if key is not None else None, *called))
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=_FINGERPRINT_KEY, digest_size=12).hexdigest()


def _incomplete(provider: Provider, missing: str) -> ConfigError:
    return ProviderIncomplete(
        f"Provider {provider.id} cannot be called.",
        why=f"models.providers.{provider.id} has no {missing}",
        hint=f"{{prog}} config set models.providers.{provider.id}.{missing} {'URL' if missing == 'baseUrl' else 'KIND'}",
    )
