"""Model references, `provider/model`, and the errors about unusable references (provider page: notes, troubleshooting).

The provider's id is case-insensitive, but the model's id is not: `minimax/minimax-m2.1` is not a model, and is never corrected
silently.

The error for an unknown name, or for a provider without a key, starts with `Unknown model: provider/model`, as the provider page
documents. For a provider with a sign-in the error is "not signed in" instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError, SignInNeeded, UsageError
from portico.store.errors import NotSignedIn
from portico.store.profiles import sign_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.interfaces.plugins import ProviderSpec
    from portico.models.catalog import Catalog, Provider


class UnknownModel(UsageError):
    """No provider has the specified model."""

    id = "unknown-model"
    is_quoted = True


class ConfiguredModelUnknown(ConfigError):
    """No provider has a model of the config."""

    id = "unknown-model"
    is_quoted = True


class ModelNotSetUp(SignInNeeded):
    """The provider of the model has no credential."""

    id = "unknown-model"
    is_quoted = True


class InvalidModelReference(UsageError):
    """The text is neither `provider/model` nor an alias."""

    id = "invalid-model-reference"


@dataclass(frozen=True, slots=True, order=True)
class ModelReference:
    """One model of one provider; `str()` gives `provider/model`."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def did_you_mean(names: Sequence[str]) -> str | None:
    """Return `Did you mean x, y?`; None without names."""
    return f"Did you mean {', '.join(names)}?" if names else None


def parse_reference(text: str, *, near: Sequence[str] = ()) -> ModelReference:
    """Split `provider/model` at the first slash; a model id may contain further slashes. `near` are similar names.

    Raises:
        UsageError: `invalid-model-reference`: a side is empty, or there is no slash.
    """
    provider, slash, model = text.strip().partition("/")
    if not (slash and provider.strip() and model.strip()):
        raise InvalidModelReference(
            f"Invalid model reference: {text}",
            why="a reference is provider/model",
            hint=did_you_mean(near) or "{prog} models list --all",
        )
    return ModelReference(provider.strip().lower(), model.strip())


LIST: Final = "{prog} models list --all"
AFTERWARDS: Final = (
    "then check: {prog} models list; if a gateway still rejects the model, upgrade if you can, then: {prog} gateway restart"
)
_SET_UP_HINT: Final = (
    "or set up the provider: {prog} configure; a model newer than this version needs an upgrade, then: {prog} gateway restart"
)


def wrong_case(catalog: Catalog, reference: ModelReference) -> bool:
    """Whether a known model differs from `reference` only in case."""
    return any(str(known).lower() == str(reference).lower() for known in catalog.references())


def unknown_model_error(
    catalog: Catalog,
    reference: ModelReference,
    *,
    switched_off_by: str | None,
    kind: type[UnknownModel | ConfiguredModelUnknown],
) -> UnknownModel | ConfiguredModelUnknown:
    """Return the error for an unknown provider or model. `switched_off_by` is the disabled plugin that offers the provider."""
    provider = catalog.providers.get(reference.provider)
    if switched_off_by is not None:
        why = f'the plugin that brings provider {reference.provider} is off: "{switched_off_by}"'
        return kind(f"Unknown model: {reference}", why=why, hint=f"{{prog}} plugins enable {switched_off_by}")
    if wrong_case(catalog, reference):
        why = "model ids are case-sensitive"
    elif provider is None:
        why = f"no provider {reference.provider}: neither a plugin that is on nor models.providers brings it"
    else:
        why = f"provider {provider.id} lists no model {reference.model}"
    hint = did_you_mean(catalog.near(str(reference))) or LIST
    if provider is None:
        hint = f"{hint}\n  {_SET_UP_HINT}"
    return kind(f"Unknown model: {reference}", why=why, hint=hint)


def no_credential_error(
    provider: Provider, reference: ModelReference, *, switched_off_by: str | None, instead: Sequence[str], base_url: str | None
) -> SignInNeeded:
    """Return the error for a provider without a credential. `instead` are models of the same name that can be called."""
    missing_credentials = "no auth profile, no environment key, no key in the config"
    missing_provider = "" if provider.config is not None else f"models.providers has no {provider.id}, and there is "
    others = [f"use {name}, which is set up: {{prog}} models set {name}" for name in instead]
    if switched_off_by is None and is_signed_in_to(provider):
        keys = provider.spec.env_keys if provider.spec is not None else ()
        others += [f"set {keys[0]} in the environment"] if keys else []
        return NotSignedIn(
            f"You are not signed in to {provider.id}.",
            why=f"no credential for provider {provider.id}, which serves {reference.model}",
            hint="\n  ".join([sign_in(provider.id), *(["Or do one of:"] if others else []), *(f"- {other}" for other in others)]),
        )
    if switched_off_by is not None:
        others.append(f"switch its plugin on: {{prog}} plugins enable {switched_off_by}")
    steps = [*others, *_set_up_steps(provider, reference, base_url)]
    return ModelNotSetUp(
        f"Unknown model: {reference}",
        why=f"no credential for provider {provider.id}: {missing_provider}{missing_credentials}",
        hint="\n  ".join(["To fix this, do one of:", *(f"- {step}" for step in steps), AFTERWARDS]),
    )


class KeyNotSet(SignInNeeded):
    """The config's `apiKey` is the name of a variable that is not set."""

    id = "key-not-set"


def key_not_set_error(provider: Provider, name: str) -> KeyNotSet:
    """Return the error for an `apiKey` that is the name of an unset variable. The name is never sent as a key."""
    config_path = f"models.providers.{provider.id}.apiKey"
    return KeyNotSet(
        f"{name} is not set, so there is no key for provider {provider.id}.",
        why=f"`{config_path}` in the configuration is the name of this environment variable",
        hint=f"{{prog}} config set env.{name} - reads the key and stores it in the configuration; or: export {name}=...",
    )


def is_signed_in_to(provider: Provider) -> bool:
    """Whether this provider has a sign-in (an auth choice with the provider's name), and not only keys."""
    return provider.spec is not None and provider.id in provider.spec.sign_in_choices


def set_up_command(provider: Provider) -> str:
    """Return the command that sets this provider up; `{prog}` stands for the program name."""
    spec = provider.spec
    choices = (*(key_choice.id for key_choice in spec.key_choices), *spec.sign_in_choices) if spec is not None else ()
    choice = provider.id if is_signed_in_to(provider) else next(iter(choices), None)
    if choice is None:  # no plugin offers the provider: only a key in the config works
        return f"{{prog}} config set models.providers.{provider.id}.apiKey -"
    return f"{{prog}} onboard --auth-choice {choice}"


def _set_up_steps(provider: Provider, reference: ModelReference, base_url: str | None) -> list[str]:
    spec = provider.spec
    keys = spec.env_keys if spec is not None else ()
    sign_in_steps = [
        f"sign in: {{prog}} onboard --auth-choice {choice}" for choice in (spec.sign_in_choices if spec is not None else ())
    ]
    key_steps = [f"set {keys[0]} in the environment; a running gateway reads it after {{prog}} gateway restart"] if keys else []
    menu_steps = ["choose it in the menu: {prog} configure (Model/auth)"] if spec is not None else []
    block = f"add models.providers.{provider.id} to the configuration: {_config_block(reference, spec, keys, base_url)}"
    return [*key_steps, *sign_in_steps, *menu_steps, block]


def _config_block(reference: ModelReference, spec: ProviderSpec | None, keys: Sequence[str], base_url: str | None) -> str:
    key = f"${{{keys[0]}}}" if keys else "..."
    api = spec.api if spec is not None else "openai-completions"
    name = next((model.name for model in spec.models if model.id == reference.model), reference.model) if spec is not None else ""
    model = f'{{ id: "{reference.model}", name: "{name or reference.model}" }}'
    provider_fields = f'baseUrl: "{base_url or "https://..."}", apiKey: "{key}", api: "{api}", models: [{model}]'
    return f'models: {{ providers: {{ "{reference.provider}": {{ {provider_fields} }} }} }}'
