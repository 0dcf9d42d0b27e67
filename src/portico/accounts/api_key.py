"""Set up a provider with an API key: check the key by one request, store it, and write the config.

A key goes into the keyring, into an environment variable that the user sets, or as plain text into the config file, which only
its owner may read. Every prompt comes before the first write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.accounts import storing
from portico.accounts.choices import LISTED_WITHIN_S, Question, key_choices, offers_of, pick
from portico.accounts.config_patch import custom_base_url, default_named, model_block, model_of, own_object, with_default
from portico.accounts.storing import ProfileExists, profile_named
from portico.accounts.view import InUse, decide_switch, id_in_use, in_use_after
from portico.config.check import check_stack
from portico.config.document import format_path
from portico.config.sources import named_variable, read_stack
from portico.errors import NetworkError, PorticoError, UnknownName, UsageError
from portico.interfaces.basics import Choice
from portico.interfaces.plugins import ModelSpec
from portico.models.catalog import host_of
from portico.models.client import list_models, probe
from portico.models.credentials import API_KEY, CredentialRefused
from portico.models.endpoints import declared_hosts
from portico.models.loader import ModelLoader
from portico.models.reference import ModelReference
from portico.secret import Secret
from portico.store.records import ApiKeyProfile
from portico.store.token_store import ABSENT
from portico.util import signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.accounts.sign_in import KeyRequest
    from portico.accounts.view import AccountSwitch
    from portico.app import App
    from portico.config.document import ConfigPath, Document
    from portico.interfaces.basics import JsonValue
    from portico.interfaces.plugins import KeyChoice, ProviderSpec
    from portico.models.client import Discovered, Probe
    from portico.models.loader import CallableModel
    from portico.store.records import Profile, StoreName

KeyPlace = Literal["keyring", "env", "config"]
_EXPORT: Final = re.compile(r"^(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*=")
_SHAPE: Final = re.compile(r"[!-~]{1,4096}")


class BadKey(UsageError):
    """The text cannot be an API key."""

    id = "bad-key"


class KeyVariableNotSet(UsageError):
    """The environment variable for the key is not set."""

    id = "key-not-set"


@dataclass(frozen=True, slots=True)
class KeySetup:
    """The decisions of one key set-up.

    `key` None: the provider needs no key. `expect_generation`: the generation of the stored profile; None: replace any profile.
    `default`: the new default model, None: unchanged. `replaces`: the key in the config that the new key may replace.
    `sets_base_url`: write the base URL of the choice, even if it replaces the base URL of another region.
    """

    spec: ProviderSpec
    choice: KeyChoice
    place: KeyPlace
    key: Secret | None
    profile_id: str
    store: StoreName | None = None
    default: str | None = None
    expect_generation: int | None = None
    sets_base_url: bool = True
    replaces: Secret | None = None

    @property
    def reference(self) -> str:
        return f"{self.spec.id}/{self.choice.model}"

    @property
    def model(self) -> ModelSpec:
        """The model of the choice, with its known limits and prices."""
        known = next((model for model in self.spec.models if model.id == self.choice.model), None)
        return self.choice.spec or known or ModelSpec(self.choice.model, self.choice.model)


def _read_key(text: str) -> Secret:
    """Read a pasted key. Strips `export NAME=`, quotes and a semicolon.

    Raises:
        UsageError: `bad-key`.
    """
    bare = _EXPORT.sub("", text.strip()).strip().rstrip(";").strip().strip("\"'")
    if _SHAPE.fullmatch(bare) is None:
        why = "a key has visible characters and no spaces"
        raise BadKey("This is not an API key.", why=why, hint="Copy it again from the provider's page.")
    return Secret(bare)


def _callable_model(app: App, setup: KeySetup) -> CallableModel:
    """Return the model of the choice as it will be with the changed config and the new key.

    Raises:
        ConfigError: the config makes the model unusable.
    """
    spec, document = setup.spec, app.config.document
    block = _block(replace(setup, place="keyring", sets_base_url=True), _configured(document, spec))
    config, _ = check_stack(read_stack(document.merge({"models": {"providers": {spec.id: block}}})))
    loader = ModelLoader(config, app.plugins.providers(), (), app.config.env)
    reference = ModelReference(spec.id, setup.choice.model)
    return loader.with_key(reference, setup.model, setup.key, setup.choice.region, "the new key")


async def _check_key(app: App, model: CallableModel) -> Probe:
    async with app.http() as http:
        return await probe(model, http=http, broker=app.broker(http), clock=app.clock)


def _check_words(probe_result: Probe) -> str:
    """Return the result of the check in words."""
    if probe_result.status == "ok":
        return f"checked: {probe_result.model.reference} answers"
    error = probe_result.error
    if isinstance(error, NetworkError) and probe_result.status in {"unreachable", "timeout"}:
        return f"not checked ({error.why or error.message}); stored anyway"
    sentences = [error.message, error.why or "", error.hint or ""] if error is not None else [probe_result.status]
    return f"the provider accepts the key, but: {' '.join(filter(None, sentences))}"


def store_key(app: App, setup: KeySetup) -> bool:
    """Store the key, then write the config. Return whether the config changed.

    Raises:
        UsageError: `profile-exists`: in the meantime, another command has stored a key under this name.
        StoreError, ConfigError, LockBusy: nothing was stored, or only the config is not written; run the command again.
    """
    if setup.place == "keyring" and setup.key is not None:
        from portico.store.token_store import GenerationChanged, Tokens

        tokens = Tokens(setup.key, None, None)
        try:
            app.local_store(setup.store).commit(_profile(app, setup), tokens, expect_generation=setup.expect_generation)
        except GenerationChanged:
            raise _key_exists(setup.profile_id) from None
    private = setup.place == "config" and setup.key is not None
    listed = app.models().catalog.allowed is not None
    return app.edit_config(partial(_patched, setup=setup, listed=listed), private=private)


def _key_exists(profile_id: str) -> UsageError:
    hint = "Add --replace to replace it, or --profile NAME to keep both in the keyring."
    return ProfileExists(f"{profile_id} already has a key.", hint=hint)


def _key_in_config(document: Document, setup: KeySetup) -> tuple[ConfigPath, Secret] | None:
    """Return the key in the config file that a set-up would overwrite, and its path. A reference to a variable is not a key."""
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


def _patched(document: Document, *, setup: KeySetup, listed: bool) -> Document:
    """Return `document` with the provider's block, the key's place, and the default model; the user's own entries stay.

    `listed`: the document has a list of allowed models.
    """
    spec, place = setup.spec, ("models", "providers", setup.spec.id)
    written = _key_in_config(document, setup)
    if written is not None and written[1] not in (setup.key, setup.replaces):
        raise _key_exists(format_path(written[0]))
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
    """Return the provider's block of `document`, merged with its base file."""
    return own_object(read_stack(document).effective, ("models", "providers", spec.id))


def _block(setup: KeySetup, configured: Mapping[str, Any]) -> dict[str, JsonValue]:
    written = custom_base_url(configured, setup.spec) or (None if setup.sets_base_url else configured.get("baseUrl"))
    api = configured.get("api", setup.spec.api) if written is not None else setup.spec.api
    block: dict[str, JsonValue] = {"baseUrl": written or _base_url(setup), "api": api}
    if not setup.spec.needs_credential and setup.spec.placeholder_key is not None:
        block["apiKey"] = setup.spec.placeholder_key
    elif setup.place != "keyring":
        block["apiKey"] = f"${{{setup.spec.env_keys[0]}}}"
    return block


def _model_block(setup: KeySetup) -> dict[str, JsonValue]:
    """Return the model's entry. It has no prices and limits of the catalogue, so that an update of Portico can correct them."""
    if setup.choice.spec is not None:
        return model_block(setup.choice.spec)
    model = setup.model
    return {"id": model.id, "name": model.name}


def _base_url(setup: KeySetup) -> str:
    bases = setup.spec.base_urls
    return bases.get(setup.choice.region) or next(iter(bases.values()))


def _profile(app: App, setup: KeySetup) -> Profile:
    return ApiKeyProfile(
        id=setup.profile_id,
        provider=setup.spec.id,
        region=setup.choice.region,
        api_base=_base_url(setup),
        created_at=app.clock.wall_ms(),
    )


_PLACES: Final = (
    Choice("keyring", "OS keyring", "recommended: in no file"),
    Choice("env", "Environment variable", "you set it; the config refers to it"),
    Choice("config", "Config file", "plain text in a file that only you can read"),
)


def _ask_place(app: App, request: KeyRequest, choice: KeyChoice) -> KeyPlace:
    """Ask where to store the key; without prompts, in the keyring."""
    if not choice.needs_key or request.place is not None:
        return request.place or "config"
    if not app.prompter.interactive:
        return "keyring"
    places: dict[str, KeyPlace] = {"keyring": "keyring", "env": "env", "config": "config"}
    return places[app.prompter.choose("Where do you want to store the key?", _PLACES, flag="--keep-key", default="keyring")]


def _ask_key(app: App, request: KeyRequest, setup: KeySetup, rejected: PorticoError | None) -> Secret | None:
    """Return the key from the request or from the environment, or ask for it. After a `rejected` key, an empty answer gives up.

    Raises:
        UsageError: `bad-key`, `key-not-set`, or a question cannot be asked.
        PorticoError: `rejected` itself.
    """
    spec, place = setup.spec, setup.place
    if not setup.choice.needs_key:
        return None
    if request.key is not None:
        return _read_key(request.key.reveal())
    name = spec.env_keys[0]
    from_env = app.config.env.get(name)
    if from_env and rejected is None and (place == "env" or _wants_existing(app, name)):
        return _read_key(from_env)
    if place == "env" and not app.prompter.interactive:
        raise KeyVariableNotSet(f"{name} is not set.", hint=f"Set it, and run the command again: export {name}=...")
    give_up = " (empty: give up)" if rejected is not None else ""
    typed = app.prompter.secret(f"Enter {spec.group or spec.label} API key{give_up}", flag="--api-key-stdin")
    if rejected is not None and not typed.reveal().strip():
        raise rejected
    return _read_key(typed.reveal())


def _may_ask_again(app: App, request: KeyRequest, setup: KeySetup) -> bool:
    """Whether the user can type another key: not if the key came from standard input or from the environment."""
    from_env = setup.place == "env" and bool(app.config.env.get(setup.spec.env_keys[0]))
    return app.prompter.interactive and setup.choice.needs_key and request.key is None and not from_env


def _wants_existing(app: App, name: str) -> bool:
    if not app.prompter.interactive:
        return True
    return app.prompter.confirm(f"Use the key in {name}?", flag="--api-key-stdin", default=True)


_NOT_CHECKED: Final = "not checked"
# After these errors the user can try another key.
_WRONG_KEY: Final = (BadKey, CredentialRefused)


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A key set-up after every prompt.

    `check`: the result of the check in words. `reached`: the provider answered the check. `listed`: the provider's models.
    """

    setup: KeySetup
    check: str
    reached: bool = True
    listed: tuple[Discovered, ...] | None = None
    switch: AccountSwitch | None = None


@dataclass(frozen=True, slots=True)
class KeySetUpResult:
    """A finished key set-up. `profile` None: the key is not in the token store."""

    setup: KeySetup
    check: str
    config_changed: bool
    in_use: InUse
    profile: Profile | None


def prepare(app: App, request: KeyRequest) -> KeyPlan:
    """Ask for everything that `request` does not specify, and check the key. Writes nothing.

    Raises:
        PorticoError: the provider rejected the key, the store or the config cannot be read, a question cannot be asked.
    """
    spec, choice = key_choices(app)[request.choice]
    choice = _with_region(spec, choice, request)
    named = default_named(request.default_model, spec, app.models()) if request.default_model is not None else None
    if named is not None and named.provider == spec.id and named.model != choice.model:
        choice = replace(choice, model=named.model, spec=None)
    place = _ask_place(app, request, choice)
    name = profile_named(app, request.profile or "default", spec.id)
    setup, switch = KeySetup(spec, choice, place, None, name, request.store), None
    if place == "keyring" and choice.needs_key:
        setup = replace(setup, expect_generation=_agreed_generation(app, setup, replace=request.replace))
        switch = decide_switch(app, spec.id, choice.region, name, make_default=not request.keep_default)
    else:
        # A stored credential has priority, and needs the base URL of its own region.
        setup = replace(setup, sets_base_url=id_in_use(app, spec.id) is None)
    plan = _with_working_key(app, request, setup)
    plan = replace(plan, setup=replace(plan.setup, replaces=_agreed_key(app, plan.setup, replace=request.replace)))
    default = None if request.keep_default else str(named or plan.setup.reference)
    return replace(plan, setup=replace(plan.setup, default=default), switch=switch)


def carry_out(app: App, plan: KeyPlan) -> KeySetUpResult:
    """Probe the store, store the key, write the config.

    Raises:
        StoreError, ConfigError, LockBusy: nothing was stored, or only the config is not written; run the command again.
    """
    setup = plan.setup
    if setup.place == "keyring" and setup.key is not None:
        setup = replace(setup, store=storing.ready_store(app, setup.store, choice=setup.choice.id))
    app.reload_config()  # another process may have changed the file while a prompt was open
    if plan.switch is not None:
        setup = replace(setup, sets_base_url=plan.switch.applies(app))
    before = id_in_use(app, setup.spec.id)
    changed = store_key(app, setup)
    profile = app.token_store.get(setup.profile_id) if setup.place == "keyring" and setup.key is not None else None
    after = in_use_after(app, profile, before) if profile is not None else InUse(before, id_in_use(app, setup.spec.id))
    return KeySetUpResult(setup, plan.check, changed, after, profile)


def _with_region(spec: ProviderSpec, choice: KeyChoice, request: KeyRequest) -> KeyChoice:
    """Return the choice in the region of `request`.

    Raises:
        UsageError: `unknown-name`.
    """
    if request.region is None:
        return choice
    if request.region not in spec.base_urls:
        regions = "|".join(region for region in spec.base_urls if region)
        hint = f"--region {regions}" if regions else f"{spec.label} has no regions; leave --region out"
        raise UnknownName(f"Unknown region: {request.region}", hint=hint)
    return replace(choice, region=request.region)


def _with_working_key(app: App, request: KeyRequest, setup: KeySetup) -> KeyPlan:
    """Ask for a key until the provider accepts it."""
    rejected: PorticoError | None = None
    while True:
        try:
            with_key = replace(setup, key=_ask_key(app, request, setup, rejected))
            plan = _with_model(app, with_key)
            return _with_check(app, plan) if request.check else plan
        except PorticoError as error:
            if error is rejected or not isinstance(error, _WRONG_KEY) or not _may_ask_again(app, request, setup):
                raise
            rejected = error
            app.out.warn("\n  ".join(filter(None, (error.message, error.why))))


def _with_model(app: App, setup: KeySetup) -> KeyPlan:
    """Choose the model. Without a catalogue, list the provider's models and ask the user.

    Raises:
        UsageError: a question cannot be asked.
        SignInNeeded: the provider rejected the key.
    """
    if setup.choice.model:
        return KeyPlan(setup, _NOT_CHECKED)
    label = setup.spec.label
    question = Question(f"Which {label} model?", f"Model id at {label}", "--default-model MODEL")
    listed = _listed_models(app, setup) if app.prompter.interactive else None
    if app.prompter.interactive and not listed:
        app.out.note(f"{label} did not list its models.")
    offers = offers_of(setup.spec.id, setup.spec.models, listed)
    picked = pick(app, question, offers, lambda text: model_of(setup.spec, text))
    assert picked is not None  # noqa: S101 - the question offers no model to keep
    return KeyPlan(replace(setup, choice=replace(setup.choice, model=picked.model)), _NOT_CHECKED, listed=listed)


def listed_for(app: App, plan: KeyPlan) -> tuple[Discovered, ...] | None:
    """Return the models that the plan's provider lists; None if it does not answer within `LISTED_WITHIN_S`."""
    if plan.listed is not None or not plan.reached:
        return plan.listed
    try:
        return _listed_models(app, plan.setup)
    except PorticoError:
        return None


def _listed_models(app: App, setup: KeySetup) -> tuple[Discovered, ...] | None:
    """Return the models that the provider lists for the key; None if it does not answer within `LISTED_WITHIN_S`.

    Raises:
        SignInNeeded: the provider rejected the key.
    """
    listed = list_models(app, {setup.spec.id: _callable_model(app, setup)}, within_s=LISTED_WITHIN_S)[setup.spec.id]
    if isinstance(listed, PorticoError):
        if isinstance(listed, _WRONG_KEY):
            raise listed
        return None
    return listed


def _agreed_generation(app: App, setup: KeySetup, *, replace: bool) -> int | None:
    """Return the generation of the profile that the user agrees to replace; None: with `--replace`, any profile."""
    if replace:
        return None
    profile = app.token_store.get(setup.profile_id)
    if profile is None:
        return ABSENT
    question = f"{setup.profile_id} already has a key. Replace it?"
    if app.prompter.interactive and app.prompter.confirm(question, flag="--replace"):
        return profile.generation
    raise _key_exists(setup.profile_id)


def _agreed_key(app: App, setup: KeySetup, *, replace: bool) -> Secret | None:
    """Return the key in the config that the user agrees to replace; None if the config has no other key."""
    written = _key_in_config(app.config.document, setup)
    if written is None or written[1] == setup.key:
        return None
    path, present = format_path(written[0]), written[1]
    question = f"{path} in the config has another key. Replace it?"
    if replace or (app.prompter.interactive and app.prompter.confirm(question, flag="--replace")):
        return present
    raise _key_exists(path)


def _with_check(app: App, plan: KeyPlan) -> KeyPlan:
    setup = plan.setup
    model = _callable_model(app, setup)
    elsewhere = "" if host_of(model.base_url) in declared_hosts(setup.spec) else f" at {model.base_url}"
    app.out.note(f"Checking {setup.reference}{elsewhere}...")
    probe_result = signals.run(_check_key(app, model))
    # Only a rejected key is an error; a key that could not be checked is stored.
    if setup.choice.needs_key and probe_result.status == "auth" and probe_result.error is not None:
        raise probe_result.error
    return replace(plan, check=_check_words(probe_result), reached=probe_result.status not in {"unreachable", "timeout"})
