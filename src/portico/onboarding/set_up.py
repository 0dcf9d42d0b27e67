"""An auth choice from its first question to its last word, whether a flag named it or a menu."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portico.models.reference import ModelReference, parse_reference
from portico.onboarding import background, choices, key_sign_in, sign_in, summary
from portico.onboarding.api_key import key_choices
from portico.onboarding.model_names import default_named, known_model
from portico.onboarding.picker import DEFAULT_BY_HAND, Question, offers_of, pick

if TYPE_CHECKING:
    from portico.interfaces.provider_spec import ProviderSpec
    from portico.onboarding.key_sign_in import KeyPlan
    from portico.onboarding.picker import Offer
    from portico.onboarding.request import KeyRequest, SignInRequest
    from portico.onboarding.sign_in import Plan
    from portico.onboarding.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of either kind of choice."""

    sign_in: SignInRequest
    key: KeyRequest

    @property
    def settles_default(self) -> bool:
        """Whether there is no question left about the default model."""
        return self.key.default_model is not None or self.key.keep_default


def set_up(bench: Workbench, choice: str, asked: Asked, *, pick_default: bool = False) -> None:
    """Ask what is left open, with `pick_default` also for the default model; then do it, and say what was done.

    Raises:
        PorticoError: nothing was written, or the sign-in was kept and its config is written by the next run.
    """
    picks = pick_default and not asked.settles_default
    choice, region = choices.by_name(bench, choice, asked.sign_in.region)
    if choice in key_choices(bench):
        _with_key(bench, replace(asked.key, choice=choice), picks=picks)
    else:
        sign_in_as(bench, replace(asked.sign_in, choice=choice, region=region), picks=picks)


def sign_in_as(bench: Workbench, request: SignInRequest, *, picks: bool = False) -> None:
    """Sign in; every question comes before the browser, the one about the default model only where `picks`.

    Raises:
        PorticoError: as `set_up`.
    """
    plan = sign_in.prepare(bench, request)
    if picks:
        plan = _with_default_picked(bench, plan)
    stay = background.is_wanted(bench, request.background)
    done = sign_in.carry_out(bench, plan)
    summary.tell(bench, done, background=background.settle(bench, wanted=stay))


def _with_default_picked(bench: Workbench, plan: Plan) -> Plan:
    own, provider = plan.method.default_model, plan.method.provider
    spec = next((spec for spec in plan.host.providers() if spec.id == provider), None)
    offers = offers_of(provider, spec.models, None) if spec is not None else []
    picked = _picked_default(bench, spec, offers, parse_reference(own))
    chosen = None if picked is None or str(picked) == own else str(picked)
    return replace(plan, request=replace(plan.request, make_default=picked is not None, default_model=chosen))


def _with_key(bench: Workbench, request: KeyRequest, *, picks: bool) -> None:
    plan = key_sign_in.prepare(bench, request)
    # A provider without a catalogue has been asked about just now: only a default that could stay leaves a question.
    if picks and (plan.setup.spec.models or plan.setup.choice.spec or bench.config.config.agents.primary):
        plan = _with_model_picked(bench, plan)
    summary.tell_key(bench, key_sign_in.carry_out(bench, plan))


def _with_model_picked(bench: Workbench, plan: KeyPlan) -> KeyPlan:
    setup, spec, choice = plan.setup, plan.setup.spec, plan.setup.choice
    own = ModelReference(spec.id, choice.model)
    offers = offers_of(spec.id, (setup.model, *spec.models), key_sign_in.listed_for(bench, plan))
    picked = _picked_default(bench, spec, offers, own)
    if picked is not None and picked.provider == spec.id and picked != own:
        choice = replace(choice, model=picked.model, spec=None)
    return replace(plan, setup=replace(setup, choice=choice, default=None if picked is None else str(picked)))


def _picked_default(
    bench: Workbench, spec: ProviderSpec | None, offers: list[Offer], own: ModelReference
) -> ModelReference | None:
    loader = bench.models()
    question = Question("Default model", DEFAULT_BY_HAND, "--default-model MODEL", bench.config.config.agents.primary, own)
    return pick(
        bench, question, offers, lambda text: default_named(text, spec, loader) if spec is not None else known_model(text, loader)
    )
