"""Whose credential answers for a provider: its profiles, else an environment key, else a key in the config.

A key is not tried after a profile: it may be paid by the token where the profile has a plan, and nobody has said to spend that.
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
    """The provider does not accept the credential."""

    id = "credential-refused"


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential and where it comes from, in words. `base_url` is the only place it may be sent to, where it has one.

    `signed_in_at` is when its profile was signed in or its key stored (wall ms), 0 without a profile. `sign_in_again` is the
    command that replaces it, of a profile.
    """

    source: str
    base_url: str | None = None
    region: str | None = None
    profile_id: str | None = None
    key: Secret | None = None
    signed_in_at: int = 0
    sign_in_again: str | None = None


class Credentials:
    """The credentials of every provider. `env` is the environment with the config's own variables behind it."""

    def __init__(self, config: Config, profiles: Sequence[Profile], env: Mapping[str, str]) -> None:
        self._config = config
        self._profiles = profiles
        self._env = env

    def for_provider(self, provider: Provider) -> list[Credential]:
        """Those to try for `provider`, best first; none where nobody has set it up."""
        profiles = self.profiles_of(provider)
        if profiles:
            return [profile_credential(profile) for profile in profiles]
        key = self.key_for(provider, provider.spec.env_keys if provider.spec is not None else ()) or _no_credential_needed(
            provider
        )
        return [key] if key is not None else []

    def key_for(self, provider: Provider, env_keys: Sequence[str]) -> Credential | None:
        """The key for `provider` that stands in the first of these variables that is set, else in the config."""
        return self._environment_key(env_keys) or self._config_key(provider)

    def profiles_of(self, provider: Provider) -> list[Profile]:
        """Its profiles, best first: `auth.order`, then the region of the config's `baseUrl`, then the oldest.

        One that needs a new sign-in is used only if there is no other.
        """
        order = self.order_for(provider.id)
        profiles = [
            candidate for candidate in self._profiles if candidate.provider == provider.id and not candidate.sign_out_unfinished
        ]
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
        """The provider's `auth.order`, without profiles that do not exist: an order that names no other is none."""
        signed_in = {profile.id for profile in self._profiles if profile.provider == provider and not profile.sign_out_unfinished}
        return tuple(id for id in self._config.auth.order.get(provider, ()) if id in signed_in)

    def region_for(self, provider: Provider) -> str:
        """The region that the environment names for `provider`; empty where it names none."""
        name = provider.spec.region_env if provider.spec is not None else None
        return self._env.get(name, "").lower() if name is not None else ""

    def _environment_key(self, names: Sequence[str]) -> Credential | None:
        for name in names:
            if value := self._env.get(name):
                return Credential(f"environment variable {name}", key=Secret(value))
        return None

    def unset_variable_for(self, provider: Provider) -> str | None:
        """The variable that the config's `apiKey` is the bare name of, where it is not set."""
        name = named_variable(_configured_key(provider))
        return name if name is not None and not self._env.get(name) else None

    def _config_key(self, provider: Provider) -> Credential | None:
        configured, name = _configured_key(provider), named_variable(_configured_key(provider))
        if not configured:
            return None
        config_path = f"models.providers.{provider.id}.apiKey"
        try:
            value = self._env.get(name, "") if name is not None else resolve_variables(configured, self._env, where=config_path)
        except ConfigError:
            return None  # the variable is not set: the same as no key, and `unknown-model` names the ways out
        return Credential(f"config {config_path}", key=Secret(value)) if value else None


def _configured_key(provider: Provider) -> str:
    """The config's `apiKey` as it is written; empty where there is none, or the placeholder beside a sign-in."""
    spec, config = provider.spec, provider.config
    configured = config.api_key.reveal() if config is not None and config.api_key is not None else ""
    return "" if spec is not None and configured == spec.placeholder_key and spec.needs_credential else configured


def _no_credential_needed(provider: Provider) -> Credential | None:
    """For a server nearby: one that is known to ask for none, or one that the config alone names, without a key."""
    if provider.spec is not None:
        return None if provider.spec.needs_credential else Credential("no credential")
    base_url = provider.config.base_url if provider.config is not None else None
    needs_none = (
        base_url is not None and is_nearby(host_of(base_url)) and provider.config is not None and provider.config.api_key is None
    )
    return Credential("no credential") if needs_none else None


def profile_credential(profile: Profile) -> Credential:
    """The credential that a profile is. A token goes to the API base that it was issued for; a key where the config says."""
    base_url = profile.api_base if profile.type != API_KEY else None
    return Credential(
        f"profile {profile.id}",
        base_url,
        profile.region,
        profile_id=profile.id,
        signed_in_at=profile.created_at,
        sign_in_again=sign_in_again(profile),
    )
