"""The sign-in, start to end: plugin, region, store, flow, tokens, config, background.

Everything that can be refused is refused before anything is written or a browser opens. Between the vault's commit and the
config's write the profile carries `config_pending`, so that a run which is killed there is finished by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portico.errors import PorticoError
from portico.onboarding import choices, config_patch, storing
from portico.onboarding.new_profile import new_profile
from portico.onboarding.pending import finish_pending
from portico.onboarding.profile_name import profile_named
from portico.onboarding.replacing import revoke_replaced, to_replace
from portico.onboarding.sign_out import revoke_at
from portico.onboarding.view import SignInView

if TYPE_CHECKING:
    from portico.contracts import AuthMethod, OAuthServer, Region, TokenDialect, TokenGrant
    from portico.oauth.client import OAuthClient
    from portico.onboarding.replacing import Replaced
    from portico.onboarding.request import FlowName, SignInRequest
    from portico.onboarding.workbench import Workbench
    from portico.store.profiles import Profile, StoreName

DEFAULT_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that is stored and written into the config. `old_revoked` None: nothing was replaced."""

    profile: Profile
    method: AuthMethod
    region: Region
    notes: tuple[str, ...]
    config_changed: bool
    old_revoked: bool | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """One sign-in's decisions, all taken before the flow starts."""

    request: SignInRequest
    method: AuthMethod
    region: Region
    profile_id: str
    server: OAuthServer
    dialect: TokenDialect
    flow: FlowName
    store: StoreName | None
    replaced: Replaced | None


def sign_in(bench: Workbench, request: SignInRequest) -> SignedIn:
    """Sign in as `request` says, asking only for what it leaves open.

    Raises:
        PorticoError: any of its kinds; nothing is stored then, or everything is and the config's write is finished next time.
    """
    import asyncio

    finish_pending(bench)
    plan = _plan(bench, request)
    choices.enable(bench, request.choice)
    return asyncio.run(_carried_out(bench, plan))


async def _carried_out(bench: Workbench, plan: _Plan) -> SignedIn:
    from portico.oauth.endpoints import discover

    async with bench.http() as http:
        plan = replace(plan, server=await discover(plan.server, http))
        done = await _run(bench, plan, http)
        revoked = await revoke_replaced(bench, plan.replaced, http)
    return replace(done, old_revoked=revoked)


def _plan(bench: Workbench, request: SignInRequest) -> _Plan:
    from portico.oauth.sign_in import check_flow

    host = choices.host_for(bench, request.choice)
    method = host.auth_method(request.choice)
    region = choices.region_of(bench, method, request.region, host=host)
    server = method.server(region.id)
    if request.callback_port is not None and server.redirect is not None:
        server = replace(server, redirect=replace(server.redirect, port=request.callback_port))
    flow = request.flow or method.flow(region.id)
    check_flow(server, flow, force=request.force)
    dialect = host.dialect(server.dialect)
    profile_id = region.profile if request.profile is None else profile_named(bench, request.profile, method.provider)
    replaced = to_replace(bench, request, profile_id, method)
    store = storing.ready_store(bench, request.store or bench.config.config.auth.store, choice=request.choice)
    return _Plan(request, method, region, profile_id, server, dialect, flow, store, replaced)


async def _run(bench: Workbench, plan: _Plan, http: OAuthClient) -> SignedIn:
    from portico.oauth.browser import BrowserOpener
    from portico.oauth.sign_in import sign_in as run_flow

    done: list[SignedIn] = []

    async def finish(grant: TokenGrant) -> None:
        done.append(await _keep(bench, plan, grant, http))

    request = plan.request
    hint = plan.method.hint(plan.region.id).replace("{prog}", bench.program)
    await run_flow(
        plan.server,
        plan.dialect,
        http,
        flow=plan.flow,
        force=request.force,
        finish=finish,
        on_event=SignInView(bench.out, bench.env, bench.program, show_qr=bench.prompter.interactive, hint=hint),
        opener=BrowserOpener(bench.env, enabled=request.open_browser),
        paste=bench.read_line if bench.prompter.interactive else None,
        timeout_s=request.timeout_s or DEFAULT_TIMEOUT_S,
        clock=bench.clock,
    )
    return done[0]


async def _keep(bench: Workbench, plan: _Plan, grant: TokenGrant, http: OAuthClient) -> SignedIn:
    """Check the grant, store it, write the config: what the browser's page waits for. An interrupt waits for it, too."""
    import asyncio

    keeping = asyncio.ensure_future(_kept(bench, plan, grant, http))
    try:
        return await asyncio.shield(keeping)
    except asyncio.CancelledError:
        await asyncio.wait({keeping})
        raise


async def _kept(bench: Workbench, plan: _Plan, grant: TokenGrant, http: OAuthClient) -> SignedIn:
    from portico.store.off_loop import off_loop
    from portico.store.vault import Tokens

    tokens = Tokens(grant.access, grant.refresh, grant.expires_at, generation=0)

    async def give_back() -> bool:
        return await revoke_at(plan.server, plan.dialect, tokens, http) is None

    try:
        accepted = plan.method.accept(plan.region.id, grant)
    except PorticoError as error:
        revoked = await give_back()
        error.message = f"{error.message.rstrip('.')}; {storing.fate(revoked=revoked)}."
        raise
    profile = new_profile(
        bench,
        plan.method,
        plan.server,
        grant,
        id=plan.profile_id,
        region=plan.region.id,
        api_base=accepted.api_base,
        make_default=plan.request.make_default,
    )
    stored = await storing.store(bench, profile, tokens, chosen=plan.store, give_back=give_back)
    changed = await off_loop(lambda: config_patch.write_config(bench, stored, plan.method))
    return SignedIn(stored, plan.method, plan.region, accepted.notes, changed)
