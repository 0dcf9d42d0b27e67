"""Sign in, from start to end: plugin, region, store, flow, tokens, config, background.

Every prompt and every check comes before the browser opens. Until the provider issues tokens, only the probe of the store writes,
so an interrupt changes nothing. Between the commit of the tokens and the write of the config, the profile is marked
`config_pending`: after a kill, the next run writes the config.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from portico.accounts import api_key, choices, config_patch, storing, summary
from portico.accounts.choices import TYPE_DEFAULT, Question, key_choices, offers_of, pick
from portico.accounts.config_patch import default_named, finish_pending
from portico.accounts.sign_out import revoke_at
from portico.accounts.storing import new_profile, profile_named, revoke_replaced, to_replace
from portico.accounts.summary import plan_of, remarks
from portico.accounts.view import SignInView, decide_switch, id_in_use, in_use_after
from portico.errors import PorticoError
from portico.models.reference import ModelReference, parse_reference
from portico.store.token_store import ABSENT, GenerationChanged, Tokens
from portico.util import signals
from portico.util.threads import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from portico.accounts.api_key import KeyPlace, KeyPlan
    from portico.accounts.choices import Offer
    from portico.accounts.storing import Replaced
    from portico.accounts.view import AccountSwitch, InUse
    from portico.app import App
    from portico.interfaces.authorization import OAuthServer, TokenDialect, TokenSet
    from portico.interfaces.plugins import AuthMethod, ProviderSpec, Region
    from portico.net.client import HttpClient
    from portico.plugins.manager import PluginHost
    from portico.secret import Secret
    from portico.store.records import Profile, StoreName
    from portico.usage.plan import PlanReport

DEFAULT_TIMEOUT_S: Final = 900.0
# A background refresh may change the profile once or twice while a sign-in replaces it.
_COMMIT_ROUNDS: Final = 5
FlowName = Literal["auto", "browser", "device"]


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """One `onboard --auth-choice ...` or `models auth login ...`.

    `timeout_s` bounds the wait for approval. `make_default` None: only if no default model is set. `default_model` None: the
    method's default model. `background` None: ask.
    """

    choice: str
    region: str | None = None
    flow: FlowName | None = None
    force: bool = False
    profile: str | None = None
    store: StoreName | None = None
    open_browser: bool = True
    timeout_s: float | None = None
    replace: bool = False
    callback_port: int | None = None
    make_default: bool | None = True
    default_model: str | None = None
    background: bool | None = None


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The options of one key set-up; None for an option that the user did not set. `key` comes from standard input.

    `default_model`, if the provider has it, is also the model to set up. It becomes the default unless `keep_default`.
    """

    choice: str
    key: Secret | None = None
    place: KeyPlace | None = None
    default_model: str | None = None
    keep_default: bool = False
    region: str | None = None
    profile: str | None = None
    store: StoreName | None = None
    check: bool = True
    replace: bool = False


@dataclass(frozen=True, slots=True)
class SetUpRequest:
    """One `onboard` or wizard run: the options for a choice that signs in, and for a choice with an API key."""

    sign_in: SignInRequest
    key: KeyRequest

    @property
    def settles_default(self) -> bool:
        """Whether the options decide about the default model, and no prompt is needed."""
        return self.key.default_model is not None or self.key.keep_default


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A finished sign-in. `old_revoked` None: it replaced no profile. `plan` None: the provider reports no plan usage."""

    profile: Profile
    method: AuthMethod
    region: Region
    in_use: InUse
    notes: tuple[str, ...]
    config_changed: bool
    old_revoked: bool | None = None
    plan: PlanReport | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All decisions of one sign-in, made before the first write. In `host` the plugin is enabled."""

    request: SignInRequest
    method: AuthMethod
    region: Region
    profile_id: str
    server: OAuthServer
    dialect: TokenDialect
    flow: FlowName
    replaced: Replaced | None
    switch: AccountSwitch
    host: PluginHost


def set_up(app: App, choice: str, request: SetUpRequest, *, pick_default: bool = False) -> None:
    """Ask for everything that the options do not specify, then sign in or store the key.

    With `pick_default`, also ask for the default model.

    Raises:
        PorticoError: nothing was written, or the account is stored and the next run writes the config.
    """
    pick_default = pick_default and not request.settles_default
    choice, region = choices.resolve_choice(app, choice, request.sign_in.region)
    if choice in key_choices(app):
        _set_up_key(app, replace(request.key, choice=choice), pick_default=pick_default)
    else:
        sign_in_as(app, replace(request.sign_in, choice=choice, region=region), pick_default=pick_default)


def sign_in_as(app: App, request: SignInRequest, *, pick_default: bool = False) -> None:
    """Sign in. Every prompt comes before the browser; `pick_default` also asks for the default model."""
    plan = prepare(app, request)
    if pick_default:
        plan = _with_default_picked(app, plan)
    background = summary.wants_background(app, request.background)
    signed_in = carry_out(app, plan)
    summary.show_sign_in(app, signed_in, background=summary.set_up_background(app, wanted=background))


def _with_default_picked(app: App, plan: Plan) -> Plan:
    own, provider = plan.method.default_model, plan.method.provider
    spec = next((spec for spec in plan.host.providers() if spec.id == provider), None)
    offers = offers_of(provider, spec.models, None) if spec is not None else []
    picked = _picked_default(app, spec, offers, parse_reference(own))
    chosen = None if picked is None or str(picked) == own else str(picked)
    return replace(plan, request=replace(plan.request, make_default=picked is not None, default_model=chosen))


def _set_up_key(app: App, request: KeyRequest, *, pick_default: bool) -> None:
    plan = api_key.prepare(app, request)
    # Without a catalogue, `prepare` has just asked for a model: ask again only if a current default could stay.
    if pick_default and (plan.setup.spec.models or plan.setup.choice.spec or app.config.config.agents.primary):
        plan = _with_model_picked(app, plan)
    summary.show_key_set_up(app, api_key.carry_out(app, plan))


def _with_model_picked(app: App, plan: KeyPlan) -> KeyPlan:
    setup, spec, choice = plan.setup, plan.setup.spec, plan.setup.choice
    own = ModelReference(spec.id, choice.model)
    offers = offers_of(spec.id, (setup.model, *spec.models), api_key.listed_for(app, plan))
    picked = _picked_default(app, spec, offers, own)
    if picked is not None and picked.provider == spec.id and picked != own:
        choice = replace(choice, model=picked.model, spec=None)
    return replace(plan, setup=replace(setup, choice=choice, default=None if picked is None else str(picked)))


def _picked_default(app: App, spec: ProviderSpec | None, offers: list[Offer], own: ModelReference) -> ModelReference | None:
    loader = app.models()
    question = Question("Default model", TYPE_DEFAULT, "--default-model MODEL", app.config.config.agents.primary, own)
    return pick(app, question, offers, lambda text: default_named(text, spec, loader))


def prepare(app: App, request: SignInRequest) -> Plan:
    """Ask for everything that `request` does not specify, and check that the sign-in is possible. Writes nothing."""
    from portico.oauth.sign_in import check_flow

    host = choices.host_for(app, request.choice)
    method = host.auth_method(request.choice)
    region = choices.region_of(app, method, request.region, host=host)
    server = method.server(region.id)
    if request.callback_port is not None and server.redirect is not None:
        server = replace(server, redirect=replace(server.redirect, port=request.callback_port))
    flow = request.flow or method.flow(region.id)
    check_flow(server, flow, force=request.force)
    dialect = host.dialect(server.dialect)
    profile_id = region.profile if request.profile is None else profile_named(app, request.profile, method.provider)
    replaced = to_replace(app, request, profile_id, method, first=True)
    if request.default_model is not None:
        request = replace(request, default_model=_default_model(app, request.default_model, method, host))
    switch = decide_switch(app, method.provider, region.id, profile_id, make_default=request.make_default)
    return Plan(request, method, region, profile_id, server, dialect, flow, replaced, switch, host)


def _default_model(app: App, text: str, method: AuthMethod, host: PluginHost) -> str:
    spec = next((spec for spec in host.providers() if spec.id == method.provider), None)
    return str(default_named(text, spec, app.models()))


def carry_out(app: App, plan: Plan) -> SignedIn:
    """Probe the store, run the flow, store the tokens.

    Raises:
        PorticoError: any failure; nothing was stored, or the next run writes the config.
    """
    finish_pending(app)
    store = storing.ready_store(app, plan.request.store, choice=plan.request.choice)
    return signals.run(_sign_in(app, plan, store))


async def _sign_in(app: App, plan: Plan, store: StoreName | None) -> SignedIn:
    async with app.http() as http:
        if plan.server.needs_discovery:
            from portico.oauth.discovery import discover

            plan = replace(plan, server=await discover(plan.server, http))
        overwritten: list[Replaced] = []
        try:
            signed_in = await _run_flow(app, plan, store, http, overwritten)
        except BaseException:
            # If the new tokens are stored, only a later step failed: the old tokens must still be revoked.
            for replaced in overwritten:
                await revoke_replaced(app, replaced, http)
            raise
        # The browser already shows its page and does not wait for these two requests.
        replaced_profile = next(iter(overwritten), None)
        revoked, report = await asyncio.gather(
            revoke_replaced(app, replaced_profile, http), plan_of(app, signed_in.profile, http)
        )
    return replace(signed_in, old_revoked=revoked, plan=report)


async def _run_flow(app: App, plan: Plan, store: StoreName | None, http: HttpClient, overwritten: list[Replaced]) -> SignedIn:
    """Run the flow and store the tokens. Appends the replaced profile to `overwritten` as soon as it is replaced."""
    from portico.oauth.browser import BrowserOpener
    from portico.oauth.sign_in import sign_in as run_flow

    results: list[SignedIn] = []

    async def finish(token_set: TokenSet) -> None:
        results.append(await _store_token_set(app, plan, store, token_set, http, overwritten))

    request = plan.request
    hint = plan.method.hint(plan.region.id).replace("{prog}", app.program)
    await run_flow(
        plan.server,
        plan.dialect,
        http,
        flow=plan.flow,
        force=request.force,
        finish=finish,
        on_event=SignInView(app.out, app.env, app.program, show_qr=app.prompter.interactive, hint=hint),
        opener=BrowserOpener(app.env, enabled=request.open_browser),
        paste=app.read_line if app.prompter.interactive else None,
        timeout_s=request.timeout_s or DEFAULT_TIMEOUT_S,
        clock=app.clock,
    )
    return results[0]


async def _store_token_set(
    app: App, plan: Plan, store: StoreName | None, token_set: TokenSet, http: HttpClient, overwritten: list[Replaced]
) -> SignedIn:
    """Check and store the token set, and write the config. The browser's page and an interrupt wait until this has finished."""
    question = storing.StoreQuestion()
    storing_task = asyncio.ensure_future(_store_and_configure(app, plan, store, token_set, http, overwritten, question))
    try:
        return await asyncio.shield(storing_task)
    except asyncio.CancelledError:
        question.give_up()
        await asyncio.wait({storing_task})
        raise


async def _store_and_configure(
    app: App,
    plan: Plan,
    store: StoreName | None,
    token_set: TokenSet,
    http: HttpClient,
    overwritten: list[Replaced],
    question: storing.StoreQuestion,
) -> SignedIn:
    from portico.oauth.token_response import check_fit

    tokens = Tokens(token_set.access, token_set.refresh, token_set.expires_at, generation=0)

    async def revoke_new() -> bool:
        return await revoke_at(plan.server, plan.dialect, tokens, http) is None

    async with _revoking_on_failure(revoke_new):
        check_fit(token_set)
        accepted = plan.method.accept(plan.region.id, token_set)
        await off_loop(lambda: choices.enable(app, plan.request.choice))
        becomes_in_use = await off_loop(lambda: plan.switch.applies(app))
        before = await off_loop(lambda: id_in_use(app, plan.method.provider))
        profile = await off_loop(
            lambda: new_profile(
                app,
                plan.method,
                plan.server,
                token_set,
                id=plan.profile_id,
                region=plan.region.id,
                api_base=accepted.api_base,
                make_default=plan.request.make_default,
                use_pending=becomes_in_use,
                default_model=plan.request.default_model,
            )
        )
    stored, replaced = await _commit(app, plan, store, profile, tokens, revoke_new, question)
    overwritten += [replaced] if replaced is not None else []
    changed = await off_loop(lambda: config_patch.write_config(app, stored, plan.method))
    notes = (*accepted.notes, *remarks(plan.server, token_set, replaced.profile if replaced is not None else None))
    in_use = await off_loop(lambda: in_use_after(app, stored, before))
    return SignedIn(stored, plan.method, plan.region, in_use, notes, changed)


async def _commit(
    app: App,
    plan: Plan,
    store: StoreName | None,
    profile: Profile,
    tokens: Tokens,
    revoke_new: Callable[[], Awaitable[bool]],
    question: storing.StoreQuestion,
) -> tuple[Profile, Replaced | None]:
    """Commit the tokens and return the replaced profile, which must be the profile that the user agreed to replace.

    Another command may have signed in, signed out or refreshed while this one waited for the user. Therefore the commit repeats
    the check under its lock.
    """
    agreed = plan.replaced
    for left in reversed(range(_COMMIT_ROUNDS)):
        async with _revoking_on_failure(revoke_new):
            replaced = await off_loop(
                partial(to_replace, app, plan.request, plan.profile_id, plan.method, first=False, agreed=agreed)
            )
        expected = replaced.profile.generation if replaced is not None else ABSENT
        # `storing.store` itself revokes the tokens after a store error.
        async with _revoking_on_failure(revoke_new, errors=() if left else GenerationChanged):
            try:
                stored = await storing.store(
                    app, profile, tokens, question=question, chosen=store, revoke_new=revoke_new, expect_generation=expected
                )
            except GenerationChanged:
                if not left:
                    raise
                agreed = replaced or agreed
            else:
                return stored, replaced
    raise AssertionError("unreachable: the last round returned or raised")


@asynccontextmanager
async def _revoking_on_failure(
    revoke_new: Callable[[], Awaitable[bool]], *, errors: type[PorticoError] | tuple[type[PorticoError], ...] = PorticoError
) -> AsyncIterator[None]:
    """Revoke the new tokens if the block raises one of `errors`, and add the result to the error's message.

    Also revokes them on other exceptions: a plugin's bug, or Ctrl-C at a prompt.
    """
    try:
        yield
    except errors as error:
        revoked = await revoke_new()
        error.message = f"{error.message.rstrip('.')}; {storing.revocation_words(revoked=revoked)}."
        raise
    except PorticoError:
        raise
    except (Exception, KeyboardInterrupt):
        await revoke_new()
        raise
