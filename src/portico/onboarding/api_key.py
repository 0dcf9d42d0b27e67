"""Setting a provider up with an API key: checked by one request, kept where the user wants it, written into the config.

The keyring is the place where no file holds it. A key that goes into the environment is the user's to set; one that goes into the
config is plain text in a file that only its owner may read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.config.document import format_path
from portico.config.sources import named_variable
from portico.errors import NetworkError, UsageError
from portico.interfaces.provider_spec import ModelSpec
from portico.models.credentials import API_KEY
from portico.onboarding.config_patch import kept_base_url, model_block, own_object
from portico.onboarding.default_model import with_default
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.config.document import ConfigPath, Document
    from portico.interfaces.basics import JsonValue
    from portico.interfaces.provider_spec import KeyChoice, ProviderSpec
    from portico.models.loader import CallableModel
    from portico.models.probe import Probe
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile, StoreName

KeyPlace = Literal["keyring", "env", "config"]

_EXPORT: Final = re.compile(r"^(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*=")
_SHAPE: Final = re.compile(r"[!-~]{1,4096}")
# What a failed check means for a key that was typed: these say that it is wrong, anything else says nothing about it.
_WRONG: Final = frozenset({"auth"})


@dataclass(frozen=True, slots=True)
class KeySetup:
    """One API-key choice as it was decided.

    `key` None: the provider wants none. `expect_generation` is what the profile must be when the key is stored, None where any
    other may be replaced. `default` is the reference of the model that becomes the default, None where that stays as it is.
    `replaces` is the key in the config that the new one may take the place of. `takes_over`: the config's base URL becomes the
    choice's own, also if it was another region's.
    """

    spec: ProviderSpec
    choice: KeyChoice
    place: KeyPlace
    key: Secret | None
    profile_id: str
    store: StoreName | None = None
    default: str | None = None
    expect_generation: int | None = None
    takes_over: bool = True
    replaces: Secret | None = None

    @property
    def reference(self) -> str:
        return f"{self.spec.id}/{self.choice.model}"

    @property
    def model(self) -> ModelSpec:
        """The model of the choice, as far as it is known."""
        known = next((model for model in self.spec.models if model.id == self.choice.model), None)
        return self.choice.spec or known or ModelSpec(self.choice.model, self.choice.model)


def read_key(text: str) -> Secret:
    """A key as people paste it: `export NAME=` before it, quotes and a semicolon around it are taken off.

    Raises:
        UsageError: `bad-key`: what is left is empty or no key.
    """
    bare = _EXPORT.sub("", text.strip()).strip().rstrip(";").strip().strip("\"'")
    if _SHAPE.fullmatch(bare) is None:
        why = "a key is visible characters without spaces"
        raise UsageError("bad-key", "That is no API key.", why=why, hint="Copy it again from the provider's page.")
    return Secret(bare)


def key_choices(bench: Workbench) -> dict[str, tuple[ProviderSpec, KeyChoice]]:
    """Every way to set a provider up with a key, by the id that `--auth-choice` takes."""
    return {choice.id: (spec, choice) for spec in bench.plugins.providers() for choice in spec.key_choices}


def callable_model(bench: Workbench, setup: KeySetup) -> CallableModel:
    """The model of the choice, called as the config will have it, with the key that is not kept yet.

    Raises:
        ConfigError: as the config is, it cannot be called.
    """
    from portico.config.check import examined
    from portico.config.sources import read_stack
    from portico.models.loader import ModelLoader
    from portico.models.reference import ModelReference

    spec, document = setup.spec, bench.config.document
    block = _block(replace(setup, place="keyring", takes_over=True), _configured(document, spec))
    config, _ = examined(read_stack(document.merge({"models": {"providers": {spec.id: block}}})))
    loader = ModelLoader(config, bench.plugins.providers(), (), bench.config.env)
    reference = ModelReference(spec.id, setup.choice.model)
    return loader.with_key(reference, setup.model, setup.key, setup.choice.region, "the key that was given")


async def check_key(bench: Workbench, model: CallableModel) -> Probe:
    """Ask the model that is called with the key one tiny question."""
    from portico.models.probe import probe

    async with bench.http() as http:
        return await probe(model, http=http, broker=bench.broker(http), clock=bench.clock)


def refuse_wrong(checked: Probe) -> None:
    """Refuse a key that the provider has refused; what could not be checked is kept all the same.

    Raises:
        PorticoError: the provider's refusal.
    """
    if checked.status in _WRONG and checked.error is not None:
        raise checked.error


def verdict(checked: Probe) -> str:
    """What the check has shown, for a person."""
    if checked.status == "ok":
        return f"checked: {checked.model.reference} answers"
    error = checked.error
    if isinstance(error, NetworkError) and checked.status in {"unreachable", "timeout"}:
        return f"not checked ({error.why or error.message}); it is kept all the same"
    said = [error.message, error.why or "", error.hint or ""] if error is not None else [checked.status]
    return f"the key is taken, but: {' '.join(filter(None, said))}"


def keep(bench: Workbench, setup: KeySetup) -> bool:
    """Store the key where it was decided, then write the config; whether that changed.

    Raises:
        UsageError: `profile-exists`: another command has stored a key under this name meanwhile.
        StoreError, ConfigError, LockBusy: nothing was stored, or everything was and the config's write can be repeated.
    """
    if setup.place == "keyring" and setup.key is not None:
        from portico.store.token_store import GenerationChanged, Tokens

        tokens = Tokens(setup.key, None, None)
        try:
            bench.local_store(setup.store).commit(_profile(bench, setup), tokens, expect_generation=setup.expect_generation)
        except GenerationChanged:
            raise key_exists(setup.profile_id) from None
    private = setup.place == "config" and setup.key is not None
    listed = bench.models().catalog.allowed is not None
    changed = bench.config.file.edit(partial(patched, setup=setup, listed=listed), private=private)
    bench.reload_config()
    return changed


def key_exists(profile_id: str) -> UsageError:
    """The error for a name that holds a key which the user has not agreed to replace."""
    hint = "Give --replace to put the new key in its place, or --profile NAME to keep both in the keyring."
    return UsageError("profile-exists", f"{profile_id} holds a key already.", hint=hint)


def key_in(document: Document, setup: KeySetup) -> tuple[ConfigPath, Secret] | None:
    """The key in the config file itself that a set-up would write over, and where it is; a reference to a variable is none."""
    if setup.place == "keyring" or setup.key is None:
        return None
    spec, name = setup.spec, setup.spec.env_keys[0]
    places: list[ConfigPath] = [("models", "providers", spec.id, "apiKey")]
    places += [("env", name), ("env", "vars", name)] if setup.place == "config" else []
    for path in places:
        text = document.get(path) if document.has(path) else None
        if not isinstance(text, str) or not text or text.startswith("${") or text == spec.placeholder_key:
            continue
        if path[0] == "env" or named_variable(text) is None:
            return path, Secret(text)
    return None


def patched(document: Document, *, setup: KeySetup, listed: bool) -> Document:
    """`document` with the provider's block, the key's place, and the default model; what the user wrote stays.

    `listed`: the models in it are a list of what is allowed.
    """
    spec, place = setup.spec, ("models", "providers", setup.spec.id)
    written = key_in(document, setup)
    if written is not None and written[1] not in (setup.key, setup.replaces):
        raise key_exists(format_path(written[0]))
    if setup.place == "config" and setup.key is not None:
        document = document.set(("env", spec.env_keys[0]), setup.key.reveal())
    document = document.merge({"models": {"providers": {spec.id: _block(setup, _configured(document, spec))}}})
    present = document.get((*place, "models")) if document.has((*place, "models")) else None
    model = _model_block(setup)
    if not isinstance(present, list):
        document = document.set((*place, "models"), [model])
    elif all(not isinstance(each, dict) or each.get("id") != setup.choice.model for each in present):
        document = document.set((*place, "models", len(present)), model)
    if setup.place == "keyring" and setup.key is not None:
        document = document.merge({"auth": {"profiles": {setup.profile_id: {"provider": spec.id, "mode": API_KEY}}}})
    return with_default(document, setup.default, listed=listed) if setup.default is not None else document


def _configured(document: Document, spec: ProviderSpec) -> dict[str, Any]:
    """The provider's block as `document` and the base under it have it together."""
    from portico.config.sources import read_stack

    return own_object(read_stack(document).effective, ("models", "providers", spec.id))


def _block(setup: KeySetup, configured: Mapping[str, Any]) -> dict[str, JsonValue]:
    chosen = kept_base_url(configured, setup.spec) or (None if setup.takes_over else configured.get("baseUrl"))
    api = configured.get("api", setup.spec.api) if chosen is not None else setup.spec.api
    block: dict[str, JsonValue] = {"baseUrl": chosen or _base_url(setup), "api": api}
    if not setup.spec.needs_credential and setup.spec.placeholder_key is not None:
        block["apiKey"] = setup.spec.placeholder_key
    elif setup.place != "keyring":
        block["apiKey"] = f"${{{setup.spec.env_keys[0]}}}"
    return block


def _model_block(setup: KeySetup) -> dict[str, JsonValue]:
    """What has to be written: prices and limits of a model in the catalogue are looked up there, and so can be corrected."""
    if setup.choice.spec is not None:
        return model_block(setup.choice.spec)
    model = setup.model
    return {"id": model.id, "name": model.name}


def _base_url(setup: KeySetup) -> str:
    bases = setup.spec.base_urls
    return bases.get(setup.choice.region) or next(iter(bases.values()))


def _profile(bench: Workbench, setup: KeySetup) -> Profile:
    from portico.store.records import ApiKeyProfile

    return ApiKeyProfile(
        id=setup.profile_id,
        provider=setup.spec.id,
        region=setup.choice.region,
        api_base=_base_url(setup),
        created_at=bench.clock.wall_ms(),
    )
