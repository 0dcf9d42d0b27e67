"""The credentials of a provider: its profiles, else an environment key, else a key in the config.

If a profile fails, a key is not tried: the profile may have a plan while the key is billed per token, and the user has not
agreed to this cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.config.sources import named_variable, resolve_variables
from portico.errors import ConfigError, SignInNeeded
from portico.models.catalog import Provider, host_of
from portico.secret import Secret
from portico.store.profiles import sign_in_again
from portico.urls import is_nearby

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.config.schema import Config
    from portico.store.records import Profile

API_KEY = "api_key"


class CredentialRefused(SignInNeeded):
    """The provider rejects the credential."""

    id = "credential-refused"


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential and its `source` in words. If it has a `base_url`, it is sent only to this URL.

    `signed_in_at` is the time of the sign-in or of storing the key (ms since the epoch); 0 without a profile. `sign_in_again`
    is the command that replaces the profile.
    """

    source: str
    base_url: str | None = None
    region: str | None = None
    profile_id: str | None = None
    key: Secret | None = None
    signed_in_at: int = 0
    sign_in_again: str | None = None


class Credentials:
    """The credentials of all providers. `env` is the environment plus the config's variables."""

    def __init__(self, config: Config, profiles: Sequence[Profile], env: Mapping[str, str]) -> None:
        self._config = config
        self._profiles = profiles
        self._env = env

    def for_provider(self, provider: Provider) -> list[Credential]:
        """Return the credentials to try for `provider`, best first; empty if the provider is not set up."""
        if profiles := self.profiles_of(provider):
            return [profile_credential(profile) for profile in profiles]
        env_keys = provider.spec.env_keys if provider.spec is not None else ()
        key = self.key_for(provider, env_keys) or _no_credential_needed(provider)
        return [key] if key is not None else []

    def key_for(self, provider: Provider, env_keys: Sequence[str]) -> Credential | None:
        """Return the key for `provider` from the first of these variables that is set, else from the config."""
        for name in env_keys:
            if value := self._env.get(name):
                return Credential(f"environment variable {name}", key=Secret(value))
        return self._config_key(provider)

    def profiles_of(self, provider: Provider) -> list[Profile]:
        """Return the provider's profiles, best first: by `auth.order`, then the region of the config's `baseUrl`, then the age.

        A profile that must sign in again is used only if there is no other profile.
        """
        order = self.order_for(provider.id)
        profiles = self._signed_in(provider.id)
        if order:
            profiles = [profile for profile in profiles if profile.id in order]
        base_url = provider.config.base_url if provider.config is not None else None
        region = self.region_for(provider)

        def rank(profile: Profile) -> tuple[int, bool, int]:
            position = order.index(profile.id) if profile.id in order else 0
            matches_region = host_of(base_url) == host_of(profile.api_base) if base_url else region in {"", profile.region}
            return position, not matches_region, profile.created_at

        ranked = sorted(profiles, key=rank)
        usable = [profile for profile in ranked if profile.failure is None or not profile.failure.terminal]
        return usable or ranked

    def order_for(self, provider: str) -> tuple[str, ...]:
        """Return the provider's `auth.order` without profiles that do not exist."""
        signed_in = {profile.id for profile in self._signed_in(provider)}
        return tuple(id for id in self._config.auth.order.get(provider, ()) if id in signed_in)

    def _signed_in(self, provider: str) -> list[Profile]:
        return [one for one in self._profiles if one.provider == provider and not one.sign_out_unfinished]

    def region_for(self, provider: Provider) -> str:
        """Return the region that the environment specifies for `provider`, or an empty string."""
        name = provider.spec.region_env if provider.spec is not None else None
        return self._env.get(name, "").lower() if name is not None else ""

    def unset_variable_for(self, provider: Provider) -> str | None:
        """Return the name of an unset variable if the config's `apiKey` is this bare name."""
        name = named_variable(_configured_key(provider))
        return name if name is not None and not self._env.get(name) else None

    def _config_key(self, provider: Provider) -> Credential | None:
        if not (configured := _configured_key(provider)):
            return None
        name = named_variable(configured)
        config_path = f"models.providers.{provider.id}.apiKey"
        try:
            value = self._env.get(name, "") if name is not None else resolve_variables(configured, self._env, where=config_path)
        except ConfigError:
            return None  # an unset variable means no key; the `unknown-model` error lists the remedies
        return Credential(f"config {config_path}", key=Secret(value)) if value else None


def _configured_key(provider: Provider) -> str:
    """Return the unresolved `apiKey` of the config; empty without a key, or if it is only a placeholder."""
    spec, config = provider.spec, provider.config
    configured = config.api_key.reveal() if config is not None and config.api_key is not None else ""
    return "" if spec is not None and configured == spec.placeholder_key and spec.needs_credential else configured


def _no_credential_needed(provider: Provider) -> Credential | None:
    """Return a credential without a key if the provider needs no key: by its plugin, or as a local server in the config."""
    if provider.spec is not None:
        needs_none = not provider.spec.needs_credential
    else:
        config = provider.config
        base_url = config.base_url if config is not None and config.api_key is None else None
        needs_none = base_url is not None and is_nearby(host_of(base_url))
    return Credential("no credential") if needs_none else None


def profile_credential(profile: Profile) -> Credential:
    """Return the credential of a profile.

    A token is sent to the API base that issued it, but a key is sent to the config's base URL.
    """
    base_url = profile.api_base if profile.type != API_KEY else None
    return Credential(
        f"profile {profile.id}",
        base_url,
        profile.region,
        profile_id=profile.id,
        signed_in_at=profile.created_at,
        sign_in_again=sign_in_again(profile),
    )
