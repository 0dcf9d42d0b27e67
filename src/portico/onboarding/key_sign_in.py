"""`--auth-choice` with an API key, from the question to the summary: what was not said is asked, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.config.document import format_path
from portico.errors import PorticoError, UsageError
from portico.models.catalog import host_of
from portico.models.endpoints import declared_hosts
from portico.onboarding import api_key, storing
from portico.onboarding.account_in_use import InUse, decide, id_in_use, in_use_after
from portico.onboarding.api_key import (
    KeySetup,
    callable_model,
    check_key,
    key_choices,
    key_exists,
    key_in,
    refuse_wrong,
    verdict,
)
from portico.onboarding.key_questions import ask_key, ask_place, may_ask_again
from portico.onboarding.model_names import default_named, model_of
from portico.onboarding.profile_name import profile_named
from portico.util import signals

if TYPE_CHECKING:
    from portico.interfaces.provider_spec import KeyChoice, ProviderSpec
    from portico.models.discovery import Discovered
    from portico.onboarding.account_in_use import TakeOver
    from portico.onboarding.request import KeyRequest
    from portico.onboarding.workbench import Workbench
    from portico.secret import Secret
    from portico.store.records import Profile

_NOT_CHECKED: Final = "not checked"
# Errors that another key mends.
_WRONG_KEY: Final = frozenset({"bad-key", "credential-refused"})


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A key set-up of which everything has been asked.

    `told` is what the check has shown, `reached` whether the provider answered it, `listed` the models that it was asked for.
    """

    setup: KeySetup
    told: str
    reached: bool = True
    listed: tuple[Discovered, ...] | None = None
    over: TakeOver | None = None


@dataclass(frozen=True, slots=True)
class KeyKept:
    """A key set-up that is done. `profile` holds the key, None if it is kept elsewhere; `in_use` is what answers."""

    setup: KeySetup
    told: str
    config_changed: bool
    in_use: InUse
    profile: Profile | None


def set_up(bench: Workbench, request: KeyRequest) -> KeyKept:
    """Ask what is left open, check the key, store it, write the config.

    Raises:
        PorticoError: nothing was written: the provider refused the key, the store or the config failed, nobody could be asked.
    """
    return carry_out(bench, prepare(bench, request))


def prepare(bench: Workbench, request: KeyRequest) -> KeyPlan:
    """Ask what `request` leaves open, and check the key; nothing is written.

    Raises:
        PorticoError: as `set_up`.
    """
    spec, choice = key_choices(bench)[request.choice]
    choice = _with_region(spec, choice, request)
    named = default_named(request.default_model, spec, bench.models()) if request.default_model is not None else None
    if named is not None and named.provider == spec.id and named.model != choice.model:
        choice = replace(choice, model=named.model, spec=None)
    place = ask_place(bench, request, choice)
    name = profile_named(bench, request.profile or "default", spec.id)
    setup, over = KeySetup(spec, choice, place, None, name, request.store), None
    if place == "keyring" and choice.needs_key:
        setup = replace(setup, expect_generation=_agreed_generation(bench, setup, replace=request.replace))
        over = decide(bench, spec.id, choice.region, name, make_default=not request.keep_default)
    else:
        # A stored key comes before one of the environment or the config, and is sent to the base URL of its own region.
        setup = replace(setup, takes_over=id_in_use(bench, spec.id) is None)
    plan = _with_a_key_that_works(bench, request, setup)
    plan = replace(plan, setup=replace(plan.setup, replaces=_agreed_key(bench, plan.setup, replace=request.replace)))
    default = None if request.keep_default else str(named or plan.setup.reference)
    return replace(plan, setup=replace(plan.setup, default=default), over=over)


def carry_out(bench: Workbench, plan: KeyPlan) -> KeyKept:
    """Show that the store works, put the key into it, write the config.

    Raises:
        StoreError, ConfigError, LockBusy: nothing was stored, or everything was and the config's write can be repeated.
    """
    setup = plan.setup
    if setup.place == "keyring" and setup.key is not None:
        setup = replace(setup, store=storing.ready_store(bench, setup.store, choice=setup.choice.id))
    bench.reload_config()  # it may have been changed while the key was typed
    if plan.over is not None:
        setup = replace(setup, takes_over=plan.over.now(bench))
    before = id_in_use(bench, setup.spec.id)
    changed = api_key.keep(bench, setup)
    profile = bench.token_store.get(setup.profile_id) if setup.place == "keyring" and setup.key is not None else None
    after = in_use_after(bench, profile, before) if profile is not None else InUse(before, id_in_use(bench, setup.spec.id))
    return KeyKept(setup, plan.told, changed, after, profile)


def _with_region(spec: ProviderSpec, choice: KeyChoice, request: KeyRequest) -> KeyChoice:
    """The choice in the region that was asked for.

    Raises:
        UsageError: `unknown-region`.
    """
    if request.region is None:
        return choice
    if request.region not in spec.base_urls:
        regions = "|".join(region for region in spec.base_urls if region)
        hint = f"--region {regions}" if regions else f"{spec.label} has no regions; leave --region out"
        raise UsageError("unknown-region", f"Unknown region: {request.region}", hint=hint)
    return replace(choice, region=request.region)


def _with_a_key_that_works(bench: Workbench, request: KeyRequest, setup: KeySetup) -> KeyPlan:
    """Ask for a key, and again for as long as what is typed is none or is refused."""
    refused: PorticoError | None = None
    while True:
        try:
            with_key = replace(setup, key=ask_key(bench, request, setup, refused))
            plan = _with_model(bench, with_key)
            return _checked(bench, plan) if request.check else plan
        except PorticoError as error:
            if error is refused or error.id not in _WRONG_KEY or not may_ask_again(bench, request, setup):
                raise
            refused = error
            bench.out.warn("\n  ".join(filter(None, (error.message, error.why))))


def _with_model(bench: Workbench, setup: KeySetup) -> KeyPlan:
    """A provider without a catalogue is asked which models it has, and the person which of them is meant.

    Raises:
        UsageError: nobody can be asked.
        SignInNeeded: the provider refused the key.
    """
    from portico.onboarding.picker import Question, offers_of, pick

    if setup.choice.model:
        return KeyPlan(setup, _NOT_CHECKED)
    text = f"Which model of {setup.spec.label}?"
    question = Question(text, f"{text} Its id", "--default-model MODEL")
    listed = _listed_with(bench, setup) if bench.prompter.interactive else None
    if bench.prompter.interactive and not listed:
        bench.out.note(f"{setup.spec.label} has not listed its models.")
    offers = offers_of(setup.spec.id, setup.spec.models, listed)
    picked = pick(bench, question, offers, lambda text: model_of(setup.spec, text))
    assert picked is not None  # noqa: S101 - there was none to keep
    return KeyPlan(replace(setup, choice=replace(setup.choice, model=picked.model)), _NOT_CHECKED, listed=listed)


def listed_for(bench: Workbench, plan: KeyPlan) -> tuple[Discovered, ...] | None:
    """The models that the provider of `plan` lists, None where it does not say so quickly."""
    if plan.listed is not None or not plan.reached:
        return plan.listed
    try:
        return _listed_with(bench, plan.setup)
    except PorticoError:
        return None


def _listed_with(bench: Workbench, setup: KeySetup) -> tuple[Discovered, ...] | None:
    """The models that the provider lists for the key, None where it does not answer quickly.

    Raises:
        SignInNeeded: it refused the key.
    """
    from portico.models.discovery import listed_now
    from portico.onboarding.picker import LISTED_WITHIN_S

    listed = listed_now(bench, {setup.spec.id: callable_model(bench, setup)}, within_s=LISTED_WITHIN_S)[setup.spec.id]
    if isinstance(listed, PorticoError):
        if listed.id in _WRONG_KEY:
            raise listed
        return None
    return listed


def _agreed_generation(bench: Workbench, setup: KeySetup, *, replace: bool) -> int | None:
    """What the profile must be when the key is stored: as it is now; None if the user lets the key replace any other."""
    from portico.store.token_store import ABSENT

    if replace:
        return None
    profile = bench.token_store.get(setup.profile_id)
    if profile is None:
        return ABSENT
    question = f"{setup.profile_id} holds a key already. Replace it?"
    if bench.prompter.interactive and bench.prompter.confirm(question, flag="--replace"):
        return profile.generation
    raise key_exists(setup.profile_id)


def _agreed_key(bench: Workbench, setup: KeySetup, *, replace: bool) -> Secret | None:
    """The key in the config that the new one may replace, None if there is none."""
    written = key_in(bench.config.document, setup)
    if written is None or written[1] == setup.key:
        return None
    place, present = format_path(written[0]), written[1]
    question = f"{place} in the config holds another key. Replace it?"
    if replace or (bench.prompter.interactive and bench.prompter.confirm(question, flag="--replace")):
        return present
    raise key_exists(place)


def _checked(bench: Workbench, plan: KeyPlan) -> KeyPlan:
    setup = plan.setup
    model = callable_model(bench, setup)
    elsewhere = "" if host_of(model.base_url) in declared_hosts(setup.spec) else f" at {model.base_url}"
    bench.out.note(f"Checking {setup.reference}{elsewhere}...")
    checked = signals.run(check_key(bench, model))
    if setup.choice.needs_key:
        refuse_wrong(checked)
    return replace(plan, told=verdict(checked), reached=checked.status not in {"unreachable", "timeout"})
