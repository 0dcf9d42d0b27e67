"""Set a provider up with an API key: check it by one request, store it where the user wants it, write it into the config.

In the keyring no file holds it. A key that goes into the environment is the user's to set; one that goes into the config is plain
text in a file that only its owner may read. What no flag says is asked before anything is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.accounts import storing
from portico.accounts.choices import LISTED_WITHIN_S, Question, offers_of, pick
from portico.accounts.config_patch import default_named, kept_base_url, model_block, model_of, own_object, with_default
from portico.accounts.storing import ProfileExists, profile_named
from portico.accounts.view import InUse, decide, id_in_use, in_use_after
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
    from portico.accounts.view import TakeOver
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
# What a failed check means for a key that was typed: these say that it is wrong, anything else says nothing about it.
_WRONG: Final = frozenset({"auth"})


class BadKey(UsageError):
    """What was given cannot be an API key."""

    id = "bad-key"


class KeyVariableNotSet(UsageError):
    """The variable that the key is to be kept in is not set."""

    id = "key-not-set"


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


def _read_key(text: str) -> Secret:
    """A key as people paste it: `export NAME=` before it, quotes and a semicolon around it are taken off.

    Raises:
        UsageError: `bad-key`: what is left is empty or no key.
    """
    bare = _EXPORT.sub("", text.strip()).strip().rstrip(";").strip().strip("\"'")
    if _SHAPE.fullmatch(bare) is None:
        why = "a key is visible characters without spaces"
        raise BadKey("That is no API key.", why=why, hint="Copy it again from the provider's page.")
    return Secret(bare)


def key_choices(app: App) -> dict[str, tuple[ProviderSpec, KeyChoice]]:
    """Every way to set a provider up with a key, by the id that `--auth-choice` takes."""
    return {choice.id: (spec, choice) for spec in app.plugins.providers() for choice in spec.key_choices}


def _callable_model(app: App, setup: KeySetup) -> CallableModel:
    """The model of the choice, called as the config will have it, with the key that is not kept yet.

    Raises:
        ConfigError: as the config is, it cannot be called.
    """
    spec, document = setup.spec, app.config.document
    block = _block(replace(setup, place="keyring", takes_over=True), _configured(document, spec))
    config, _ = check_stack(read_stack(document.merge({"models": {"providers": {spec.id: block}}})))
    loader = ModelLoader(config, app.plugins.providers(), (), app.config.env)
    reference = ModelReference(spec.id, setup.choice.model)
    return loader.with_key(reference, setup.model, setup.key, setup.choice.region, "the key that was given")


async def _check_key(app: App, model: CallableModel) -> Probe:
    """Ask the model that is called with the key one tiny question."""
    async with app.http() as http:
        return await probe(model, http=http, broker=app.broker(http), clock=app.clock)


def _refuse_wrong(probe_result: Probe) -> None:
    """Refuse a key that the provider has refused; what could not be checked is kept all the same.

    Raises:
        PorticoError: the provider's refusal.
    """
    if probe_result.status in _WRONG and probe_result.error is not None:
        raise probe_result.error


def _check_words(probe_result: Probe) -> str:
    """What the check has shown, for a person."""
    if probe_result.status == "ok":
        return f"checked: {probe_result.model.reference} answers"
    error = probe_result.error
    if isinstance(error, NetworkError) and probe_result.status in {"unreachable", "timeout"}:
        return f"not checked ({error.why or error.message}); it is kept all the same"
    sentences = [error.message, error.why or "", error.hint or ""] if error is not None else [probe_result.status]
    return f"the key is taken, but: {' '.join(filter(None, sentences))}"


def store_key(app: App, setup: KeySetup) -> bool:
    """Store the key where it was decided, then write the config; whether that changed.

    Raises:
        UsageError: `profile-exists`: another command has stored a key under this name meanwhile.
        StoreError, ConfigError, LockBusy: nothing was stored, or everything was and the config's write can be repeated.
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
    """The error for a name that holds a key which the user has not agreed to replace."""
    hint = "Give --replace to put the new key in its place, or --profile NAME to keep both in the keyring."
    return ProfileExists(f"{profile_id} holds a key already.", hint=hint)


def _key_in_config(document: Document, setup: KeySetup) -> tuple[ConfigPath, Secret] | None:
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


def _patched(document: Document, *, setup: KeySetup, listed: bool) -> Document:
    """`document` with the provider's block, the key's place, and the default model; what the user wrote stays.

    `listed`: the models in it are a list of what is allowed.
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
    """The provider's block as `document` and the base under it have it together."""
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


def _profile(app: App, setup: KeySetup) -> Profile:
    return ApiKeyProfile(
        id=setup.profile_id,
        provider=setup.spec.id,
        region=setup.choice.region,
        api_base=_base_url(setup),
        created_at=app.clock.wall_ms(),
    )


_PLACES: Final = (
    Choice("keyring", "OS keyring", "recommended: no file holds it"),
    Choice("env", "Environment variable", "you set it; the config refers to it"),
    Choice("config", "Config file", "plain text in a file that only you can read"),
)


def _ask_place(app: App, request: KeyRequest, choice: KeyChoice) -> KeyPlace:
    """Where the key is to be kept; in the keyring, where nobody can be asked."""
    if not choice.needs_key or request.place is not None:
        return request.place or "config"
    if not app.prompter.interactive:
        return "keyring"
    places: dict[str, KeyPlace] = {"keyring": "keyring", "env": "env", "config": "config"}
    return places[app.prompter.choose("Where should the key be kept?", _PLACES, flag="--keep-key", default="keyring")]


def _ask_key(app: App, request: KeyRequest, setup: KeySetup, refused: PorticoError | None) -> Secret | None:
    """The key: given, found in the environment, or typed. After one that was `refused` an empty line gives up.

    Raises:
        UsageError: `bad-key`, `key-not-set`; nobody can be asked.
        PorticoError: `refused` itself.
    """
    spec, place = setup.spec, setup.place
    if not setup.choice.needs_key:
        return None
    if request.key is not None:
        return _read_key(request.key.reveal())
    name = spec.env_keys[0]
    from_env = app.config.env.get(name)
    if from_env and refused is None and (place == "env" or _wants_existing(app, name)):
        return _read_key(from_env)
    if place == "env" and not app.prompter.interactive:
        raise KeyVariableNotSet(f"{name} is not set.", hint=f"Set it, and run the command again: export {name}=...")
    again = " (empty: give up)" if refused is not None else ""
    typed = app.prompter.secret(f"Enter {spec.group or spec.label} API key{again}", flag="--api-key-stdin")
    if refused is not None and not typed.reveal().strip():
        raise refused
    return _read_key(typed.reveal())


def _may_ask_again(app: App, request: KeyRequest, setup: KeySetup) -> bool:
    """Whether another key can be typed in the place of a wrong one: not where it was given, or where only the user can set it."""
    set_elsewhere = setup.place == "env" and bool(app.config.env.get(setup.spec.env_keys[0]))
    return app.prompter.interactive and setup.choice.needs_key and request.key is None and not set_elsewhere


def _wants_existing(app: App, name: str) -> bool:
    if not app.prompter.interactive:
        return True
    return app.prompter.confirm(f"Use the key that {name} holds?", flag="--api-key-stdin", default=True)


_NOT_CHECKED: Final = "not checked"
# Errors that another key mends.
_WRONG_KEY: Final = (BadKey, CredentialRefused)


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A key set-up of which everything has been asked.

    `check` is the outcome of the check in words, `reached` whether the provider answered it, `listed` the models that it lists.
    """

    setup: KeySetup
    check: str
    reached: bool = True
    listed: tuple[Discovered, ...] | None = None
    over: TakeOver | None = None


@dataclass(frozen=True, slots=True)
class KeySetUpResult:
    """A key set-up that is done. `profile` holds the key, None if it is kept elsewhere; `in_use` is what answers."""

    setup: KeySetup
    check: str
    config_changed: bool
    in_use: InUse
    profile: Profile | None


def prepare(app: App, request: KeyRequest) -> KeyPlan:
    """Ask what `request` leaves open, and check the key; nothing is written.

    Raises:
        PorticoError: the provider refused the key, the store or the config cannot be read, there is no terminal to ask on.
    """
    spec, choice = key_choices(app)[request.choice]
    choice = _with_region(spec, choice, request)
    named = default_named(request.default_model, spec, app.models()) if request.default_model is not None else None
    if named is not None and named.provider == spec.id and named.model != choice.model:
        choice = replace(choice, model=named.model, spec=None)
    place = _ask_place(app, request, choice)
    name = profile_named(app, request.profile or "default", spec.id)
    setup, over = KeySetup(spec, choice, place, None, name, request.store), None
    if place == "keyring" and choice.needs_key:
        setup = replace(setup, expect_generation=_agreed_generation(app, setup, replace=request.replace))
        over = decide(app, spec.id, choice.region, name, make_default=not request.keep_default)
    else:
        # A stored key comes before one of the environment or the config, and is sent to the base URL of its own region.
        setup = replace(setup, takes_over=id_in_use(app, spec.id) is None)
    plan = _with_a_key_that_works(app, request, setup)
    plan = replace(plan, setup=replace(plan.setup, replaces=_agreed_key(app, plan.setup, replace=request.replace)))
    default = None if request.keep_default else str(named or plan.setup.reference)
    return replace(plan, setup=replace(plan.setup, default=default), over=over)


def carry_out(app: App, plan: KeyPlan) -> KeySetUpResult:
    """Show that the store works, put the key into it, write the config.

    Raises:
        StoreError, ConfigError, LockBusy: nothing was stored, or everything was and the config's write can be repeated.
    """
    setup = plan.setup
    if setup.place == "keyring" and setup.key is not None:
        setup = replace(setup, store=storing.ready_store(app, setup.store, choice=setup.choice.id))
    app.reload_config()  # it may have been changed while the key was typed
    if plan.over is not None:
        setup = replace(setup, takes_over=plan.over.now(app))
    before = id_in_use(app, setup.spec.id)
    changed = store_key(app, setup)
    profile = app.token_store.get(setup.profile_id) if setup.place == "keyring" and setup.key is not None else None
    after = in_use_after(app, profile, before) if profile is not None else InUse(before, id_in_use(app, setup.spec.id))
    return KeySetUpResult(setup, plan.check, changed, after, profile)


def _with_region(spec: ProviderSpec, choice: KeyChoice, request: KeyRequest) -> KeyChoice:
    """The choice in the region that was asked for.

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


def _with_a_key_that_works(app: App, request: KeyRequest, setup: KeySetup) -> KeyPlan:
    """Ask for a key, and again for as long as what is typed is none or is refused."""
    refused: PorticoError | None = None
    while True:
        try:
            with_key = replace(setup, key=_ask_key(app, request, setup, refused))
            plan = _with_model(app, with_key)
            return _with_check(app, plan) if request.check else plan
        except PorticoError as error:
            if error is refused or not isinstance(error, _WRONG_KEY) or not _may_ask_again(app, request, setup):
                raise
            refused = error
            app.out.warn("\n  ".join(filter(None, (error.message, error.why))))


def _with_model(app: App, setup: KeySetup) -> KeyPlan:
    """A provider without a catalogue is asked which models it has, and the person which of them is meant.

    Raises:
        UsageError: nobody can be asked.
        SignInNeeded: the provider refused the key.
    """
    if setup.choice.model:
        return KeyPlan(setup, _NOT_CHECKED)
    text = f"Which model of {setup.spec.label}?"
    question = Question(text, f"{text} Its id", "--default-model MODEL")
    listed = _listed_models(app, setup) if app.prompter.interactive else None
    if app.prompter.interactive and not listed:
        app.out.note(f"{setup.spec.label} has not listed its models.")
    offers = offers_of(setup.spec.id, setup.spec.models, listed)
    picked = pick(app, question, offers, lambda text: model_of(setup.spec, text))
    assert picked is not None  # noqa: S101 - there was none to keep
    return KeyPlan(replace(setup, choice=replace(setup.choice, model=picked.model)), _NOT_CHECKED, listed=listed)


def listed_for(app: App, plan: KeyPlan) -> tuple[Discovered, ...] | None:
    """The models that the provider of `plan` lists, None where it does not say so quickly."""
    if plan.listed is not None or not plan.reached:
        return plan.listed
    try:
        return _listed_models(app, plan.setup)
    except PorticoError:
        return None


def _listed_models(app: App, setup: KeySetup) -> tuple[Discovered, ...] | None:
    """The models that the provider lists for the key, None where it does not answer quickly.

    Raises:
        SignInNeeded: it refused the key.
    """
    listed = list_models(app, {setup.spec.id: _callable_model(app, setup)}, within_s=LISTED_WITHIN_S)[setup.spec.id]
    if isinstance(listed, PorticoError):
        if isinstance(listed, _WRONG_KEY):
            raise listed
        return None
    return listed


def _agreed_generation(app: App, setup: KeySetup, *, replace: bool) -> int | None:
    """What the profile must be when the key is stored: as it is now; None if the user lets the key replace any other."""
    if replace:
        return None
    profile = app.token_store.get(setup.profile_id)
    if profile is None:
        return ABSENT
    question = f"{setup.profile_id} holds a key already. Replace it?"
    if app.prompter.interactive and app.prompter.confirm(question, flag="--replace"):
        return profile.generation
    raise _key_exists(setup.profile_id)


def _agreed_key(app: App, setup: KeySetup, *, replace: bool) -> Secret | None:
    """The key in the config that the new one may replace, None if there is none."""
    written = _key_in_config(app.config.document, setup)
    if written is None or written[1] == setup.key:
        return None
    place, present = format_path(written[0]), written[1]
    question = f"{place} in the config holds another key. Replace it?"
    if replace or (app.prompter.interactive and app.prompter.confirm(question, flag="--replace")):
        return present
    raise _key_exists(place)


def _with_check(app: App, plan: KeyPlan) -> KeyPlan:
    setup = plan.setup
    model = _callable_model(app, setup)
    elsewhere = "" if host_of(model.base_url) in declared_hosts(setup.spec) else f" at {model.base_url}"
    app.out.note(f"Checking {setup.reference}{elsewhere}...")
    probe_result = signals.run(_check_key(app, model))
    if setup.choice.needs_key:
        _refuse_wrong(probe_result)
    return replace(plan, check=_check_words(probe_result), reached=probe_result.status not in {"unreachable", "timeout"})
