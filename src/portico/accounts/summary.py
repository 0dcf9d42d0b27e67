"""The last step of a sign-in or sign-out: print the summary, start the background refresh, clean up the config.

The plan's usage is requested once; a failure does not fail the sign-in. After a sign-out the config no longer names the profile,
and has the provider's base URL for the account that is now in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.accounts.storing import STORE_LABEL
from portico.accounts.view import in_words, summary_lines
from portico.config.load import without_profile
from portico.errors import PorticoError
from portico.models.catalog import Provider, host_of
from portico.models.loader import ModelLoader
from portico.net.reply_values import plain_text
from portico.store.records import OAuthProfile
from portico.usage.plan import PlanClient, plan_summary, profile_account, report_as_json

if TYPE_CHECKING:
    from portico.accounts.api_key import KeySetUpResult
    from portico.accounts.sign_in import SignedIn
    from portico.app import App
    from portico.interfaces.authorization import OAuthServer, TokenSet
    from portico.net.client import HttpClient
    from portico.store.records import Profile
    from portico.usage.plan import PlanReport


def show_sign_in(app: App, signed_in: SignedIn, *, background: str | None) -> None:
    """Print the summary of a sign-in: lines on stderr, or one JSON object on stdout."""
    if app.out.is_json:
        app.out.event(_sign_in_json(app, signed_in, background=background))
        return
    for line in _sign_in_lines(app, signed_in, background):
        app.out.note(line)


def _sign_in_json(app: App, signed_in: SignedIn, *, background: str | None) -> dict[str, object]:
    """The last event of the `--json` output."""
    profile = signed_in.profile
    return {
        "event": "signed-in",
        "profile": profile.id,
        "provider": profile.provider,
        "region": profile.region,
        "apiBase": profile.api_base,
        "inUse": signed_in.in_use.now,
        "wasInUse": signed_in.in_use.before,
        "expiresAt": profile.expires_at,
        "store": profile.store,
        "defaultModel": app.config.config.agents.primary,
        "config": str(app.paths.config),
        "oldRevoked": signed_in.old_revoked,
        "background": background,
        "plan": report_as_json(signed_in.plan, app.program) if signed_in.plan is not None else None,
        "notes": list(signed_in.notes),
    }


def show_key_set_up(app: App, result: KeySetUpResult) -> None:
    """Print the summary of a key set-up."""
    setup, primary = result.setup, app.config.config.agents.primary
    if app.out.is_json:
        fields = {
            "event": "set-up",
            "provider": setup.spec.id,
            "model": setup.reference,
            "keptIn": setup.place if setup.key else None,
        }
        in_use = {"inUse": result.in_use.now, "wasInUse": result.in_use.before}
        app.out.event({**fields, **in_use, "check": result.check, "defaultModel": primary, "config": str(app.paths.config)})
        return
    lines = ["", f"Set up: {setup.spec.label}, {setup.reference}"]
    if result.profile is not None:
        lines += summary_lines(result.in_use, result.profile, app.program)
    elif result.in_use.now is not None:
        lines.append(f"In use: {result.in_use.now} (unchanged): a stored credential has priority.")
    lines.append(f"  Check          {result.check}")
    lines += [f"  Key stored in  {_key_place(app, result)}"] if setup.choice.needs_key else []
    lines += [f"  Default model  {primary}", f"  Config         {app.paths.config}"]
    for line in [*lines, "", f'Next:  {app.program} ask "Hello"   |   {app.program} models list', ""]:
        app.out.note(line)


def _key_place(app: App, result: KeySetUpResult) -> str:
    setup = result.setup
    if setup.place == "env":
        name = setup.spec.env_keys[0]
        todo = "keep it set" if name in app.config.env else f"set it: export {name}=..."
        return f"the environment variable {name}; {todo}"
    if setup.place == "config":
        return f"{app.paths.config}, as plain text"
    return STORE_LABEL[setup.store or app.local_store().last_store or "keyring"]


def _sign_in_lines(app: App, signed_in: SignedIn, background: str | None) -> list[str]:
    profile, prog = signed_in.profile, app.program
    primary = app.config.config.agents.primary
    until = in_words(profile.expires_at, app.clock.wall_ms())
    lines = ["", f"Signed in: {profile.id}", *summary_lines(signed_in.in_use, profile, prog)]
    lines.append(f"  Region         {signed_in.region.label} ({profile.api_base})")
    lines.append(f"  Access token   good for {until}" + (", then refreshed automatically" if profile.has_refresh else ""))
    lines.append(f"  Stored in      {STORE_LABEL[profile.store]}")
    if profile.default_pending or primary == signed_in.method.default_model:
        lines.append(f"  Default model  {primary}")
    else:
        lines.append(f"  Default model  {primary or 'none'} (unchanged); this account also has {signed_in.method.default_model}")
    lines.append(f"  Config         {app.paths.config}" + ("" if signed_in.config_changed else " (unchanged)"))
    lines += [f"  Plan           {plan_summary(signed_in.plan, prog)}"] if signed_in.plan is not None else []
    lines += [f"  Background     {background}"] if background else []
    lines += [f"  Note           {note}" for note in signed_in.notes]
    if signed_in.old_revoked is not None:
        lines.append("  Old tokens     " + ("revoked" if signed_in.old_revoked else "replaced here; not revoked at the provider"))
    return [*lines, "", f'Next:  {_ask_command(app, signed_in)} "Hello"   |   {prog} auth list   |   {prog} models list', ""]


def _ask_command(app: App, signed_in: SignedIn) -> str:
    """Return the `ask` command for the new account, with `--model` and `--profile` if the defaults belong to another account."""
    config = app.config.config
    loader = ModelLoader(config, app.plugins.providers(), app.token_store.profiles(), app.config.env)
    words = [app.program, "ask"]
    primary = config.agents.primary
    if primary is None or loader.catalog.expand(primary).provider != signed_in.profile.provider:
        words.append(f"--model {signed_in.method.default_model}")
    if signed_in.profile.id not in loader.in_use():
        words.append(f"--profile {signed_in.profile.id}")
    return " ".join(words)


def forget_profile(app: App, profile_id: str) -> None:
    """Remove a profile from the config file: its entry, and its place in `auth.order`.

    Raises:
        ConfigError, LockBusy: the file cannot be read or changed.
    """
    app.edit_config(lambda document: without_profile(document, profile_id))


def follow_remaining(app: App, gone: Profile) -> None:
    """If `baseUrl` still belongs to the removed profile `gone`, replace it with the base URL of the account now in use.

    Raises:
        ConfigError, LockBusy, StoreError: the config or the index cannot be read or changed.
    """
    profiles = app.token_store.profiles()
    if all(profile.provider != gone.provider for profile in profiles):
        return
    config = app.config.config
    block = config.models.providers.get(gone.provider)
    written = block.base_url if block is not None else None
    if written is None or host_of(written) != host_of(gone.api_base):
        return
    in_use = ModelLoader(config, (), profiles, app.config.env).profile_for(Provider(gone.provider, (), config=block))
    if in_use is None or host_of(in_use.api_base) == host_of(written):
        return
    path = ("models", "providers", gone.provider, "baseUrl")
    app.edit_config(lambda document: document.set(path, in_use.api_base))


_PLAN_TIMEOUT_S: Final = 4.0


async def plan_of(app: App, profile: Profile, http: HttpClient) -> PlanReport | None:
    """Request the plan's usage; None if the provider does not report usage, or on a local error."""
    try:
        reader = app.plugins.plan_readers().get(profile.provider)
        spec = next((spec for spec in app.plugins.providers() if spec.id == profile.provider), None)
        if reader is None or spec is None:
            return None
        client = PlanClient(http, app.broker(http), app.clock)
        report = await client.ask(profile_account(profile, spec, reader), timeout_s=_PLAN_TIMEOUT_S)
    except PorticoError as error:
        app.out.detail(f"Could not request the plan: {error}")
        return None
    if report.error is not None:
        app.out.detail(f"Could not read the plan: {report.error}")
    return report


_CANNOT_REFRESH: Final = "The provider issued no refresh token: you must sign in again when the access token expires."
_REFRESH_SCOPE: Final = "Add `offline_access` to the scope to get a refresh token."


def remarks(server: OAuthServer, token_set: TokenSet, replaced: Profile | None) -> tuple[str, ...]:
    """Return notes on a token set: no refresh token, more scopes than requested (RFC 6749 section 3.3), a different account."""
    notes = []
    requested = set(server.scope.split())
    if token_set.refresh is None:
        # OpenID Connect Core section 11: `offline_access` requests a refresh token.
        lacks_scope = "openid" in requested and "offline_access" not in requested
        notes.append(f"{_CANNOT_REFRESH} {_REFRESH_SCOPE}" if lacks_scope else _CANNOT_REFRESH)
    extra = set((token_set.scope or "").split()) - requested
    if extra and server.scope:
        notes.append(plain_text(f"The provider granted more scopes than requested: {' '.join(sorted(extra))}") or "")
    before = replaced.subject if isinstance(replaced, OAuthProfile) else None
    if replaced is not None and before is not None and token_set.subject not in {None, before}:
        notes.append(f"{replaced.id} is now signed in to a different account.")
    return tuple(notes)


def wants_background(app: App, wanted: bool | None) -> bool:
    """Whether to start a background refresh. `wanted` None: ask on a terminal."""
    if wanted is not None:
        return wanted
    if app.gateway_runs() or not app.prompter.interactive:
        return False
    question = "Stay signed in? A background process refreshes the tokens before they expire."
    return app.prompter.confirm(question, flag="--background", default=True)


def set_up_background(app: App, *, wanted: bool) -> str:
    """Start the background process if it is wanted, and return its state in words.

    A failed start does not fail the sign-in.
    """
    if app.gateway_runs():
        return _running_gateway_state(app)
    if not wanted:
        return f"none; tokens are refreshed when used (to change this: {app.program} gateway start)"
    from portico.gateway import control
    from portico.gateway.port import port_of

    try:
        port, store = port_of(app.config.config, app.env), app.store_choice()
        started = control.start(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=store)
    except PorticoError as error:
        app.out.warn(f"Could not start the background process: {error}")
        step = error.hint_for(app.program)
        return f"not started; {step.splitlines()[0]}" if step else "not started"
    return f"the gateway (pid {started.pid}) refreshes the tokens until this machine restarts"


def _running_gateway_state(app: App) -> str:
    """Restart the running gateway if it lacks the encrypted file's passphrase; return its state in words."""
    from portico.gateway import control
    from portico.services.gateway_state import running

    try:
        state = running(app.paths)
        if state is not None and control.lacks_passphrase(app.paths, state):
            _restart_gateway(app, state.port)
            return "the gateway refreshes the tokens; it was restarted with the token store's passphrase"
    except PorticoError as error:
        app.out.warn(f"Could not restart the gateway with the token store's passphrase: {error}")
        return f"the gateway cannot refresh the tokens until you restart it: {app.program} gateway restart"
    return "the running gateway refreshes the tokens"


def _restart_gateway(app: App, port: int) -> None:
    """Restart the gateway with the passphrase, on its port.

    A service manager does not know the passphrase and would not free its port, so its service is stopped until the next login.

    Raises:
        PorticoError: as `control.restart`; `service-failed`.
    """
    from portico.gateway import control
    from portico.gateway.service import gateway_service
    from portico.services.managers import service_manager

    store, manager, service = app.store_choice(), service_manager(app.env), gateway_service(app)
    if manager is None or not manager.path(service).exists():
        control.restart(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=store)
        return
    control.passphrase_for(app.paths, app.passphrase, app.env, store)  # before anything is stopped
    manager.stop(service)
    control.stop(app.paths)
    control.start(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=store)
