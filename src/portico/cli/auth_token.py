"""`auth token`: print an access token, for an `apiKeyHelper`.

A token that is still fresh is printed without loading an HTTP library, an event loop or a plugin.
"""

from __future__ import annotations

from portico.auth.freshness import LastUses, effective_now_ms, is_usable, profile_due
from portico.errors import ExitCode
from portico.store.errors import WhichProfile
from portico.store.profiles import not_signed_in, require_profile

TYPE_CHECKING = False  # importing `typing` would slow `auth token` down
if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.secret import Secret
    from portico.store.records import Profile


def print_token(args: argparse.Namespace, app: App) -> int:
    """Print the access token of the named account, or of the account that the default model uses.

    Raises:
        SignInNeeded: no such account, or it must sign in again. Nothing is printed.
    """
    profile = pick_profile(args.profile, app)
    token, expires_at = _fresh(profile, app) or _refreshed(profile, app)
    LastUses(app.paths, app.clock).record(profile.id)
    if app.out.stdout is not None and app.out.stdout.isatty():
        app.out.note("This is a credential, and your terminal keeps it in its scrollback. Pass it to a tool only.")
    if app.out.is_json:
        app.out.json({"profile": profile.id, "token": token.reveal(), "expiresAt": expires_at})
    else:
        app.out.exact(token.reveal())
    return ExitCode.OK


def pick_profile(name: str | None, app: App) -> Profile:
    """Return the profile with the id `name`; without a name the only profile, or the one that the default model uses.

    Raises:
        SignInNeeded: `not-signed-in`.
        StoreError: `record-damaged`.
        UsageError: `which-profile`: there are several, and the default model uses none of them.
    """
    index = app.token_store.snapshot()
    profiles = {profile.id: profile for profile in index.profiles}
    wanted = name if name is not None or profiles else next(iter(index.damaged), None)
    if wanted is not None:
        return require_profile(index, wanted)
    profiles = {id: profile for id, profile in profiles.items() if not profile.sign_out_unfinished}
    if not profiles:
        raise not_signed_in(None, [])
    return next(iter(profiles.values())) if len(profiles) == 1 else _of_default_model(profiles, app)


def _of_default_model(profiles: dict[str, Profile], app: App) -> Profile:
    from portico.models.loader import ModelLoader

    config = app.config.config
    loader = ModelLoader(config, (), tuple(profiles.values()), app.config.env)
    if config.agents.primary is not None:
        provider = loader.catalog.providers.get(loader.catalog.expand(config.agents.primary).provider)
        profile = loader.profile_for(provider) if provider is not None else None
        if profile is not None:
            if (choice := loader.describe_choice(profile.id)) is not None:
                app.out.note(choice)
            return profile
    hint = "{prog} auth token " + "|".join(profiles)
    raise WhichProfile("You have several accounts, and the default model uses none of them.", hint=hint)


def _fresh(profile: Profile, app: App) -> tuple[Secret, int | None] | None:
    now = effective_now_ms(profile, app.clock)
    if profile_due(profile, now) or not is_usable(profile.expires_at, now):
        return None
    tokens = app.token_store.read(profile.id).tokens
    return (tokens.access, tokens.expires_at) if is_usable(tokens.expires_at, now) else None


def _refreshed(profile: Profile, app: App) -> tuple[Secret, int | None]:
    from portico.util import signals

    async def refresh() -> tuple[Secret, int | None]:
        async with app.http() as http:
            token = await app.broker(http).access(profile.id)
        return token.token, token.expires_at

    return signals.run(refresh())
