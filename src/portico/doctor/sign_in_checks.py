"""Checks of the token store, the accounts in it, and the plugins that refresh them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import health_now
from portico.doctor.finding import Examined, Finding, Skipped, of_error
from portico.errors import ConfigError, PorticoError
from portico.gateway.keys import KeyPaths
from portico.plugins.discovery import with_plugin_enabled
from portico.plugins.manager import not_yours_error
from portico.store.errors import RecordMissing
from portico.store.profiles import sign_in_again, without_sign_in_hint
from portico.store.records import OAuthProfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.doctor.finding import CheckContext, Outcome

_SIGNED_OUT: Final = Skipped("you are not signed in")
_FOR_GATEWAY_KEYS: Final = "Your API key needs no store, but `exec`, `env` and the gateway do, for gateway keys."
_NO_STORE: Final = "Portico cannot store or read tokens."


def store(context: CheckContext) -> Iterator[Outcome]:
    """Check the store for new profiles: write a record, read it back, delete it."""
    chosen = context.config.config.auth.store if context.config is not None else None
    try:
        yield Examined("an encrypted file" if (chosen or context.app.local_store().last_store) == "file" else "the OS keyring")
        context.store("store").probe()
    except ConfigError:
        return  # the config check reports this
    except PorticoError as error:
        if context.profiles or _has_gateway_keys(context) or not context.has_key:
            yield of_error(error, why=error.why or _NO_STORE)
            return
        # The models work with the key from the environment or the config; only gateway keys need a store.
        finding = of_error(error, level="warning", why=f"{(error.why or _NO_STORE).rstrip('.')}. {_FOR_GATEWAY_KEYS}")
        yield replace(finding, hint=without_sign_in_hint(error.hint))


def _has_gateway_keys(context: CheckContext) -> bool:
    try:
        return bool(context.app.local_store(paths=KeyPaths.of(context.app.paths)).profiles())
    except PorticoError:
        return True


def records(context: CheckContext) -> Iterator[Outcome]:
    """Find accounts whose tokens are missing in the store."""
    if not context.profiles:
        yield _SIGNED_OUT
        return
    store = context.store("records")
    for profile in context.profiles:
        yield Examined(profile.id)
        try:
            store.read(profile.id)
        except PorticoError as error:
            yield replace(of_error(error), hint=sign_in_again(profile)) if isinstance(error, RecordMissing) else of_error(error)


def health(context: CheckContext) -> Iterator[Outcome]:
    """Find accounts that must sign in again now or soon."""
    if not context.profiles:
        yield _SIGNED_OUT
    for profile in context.profiles:
        state = health_now(profile, context.app.clock)
        yield Examined(f"{profile.id}: {state.status}")
        why = profile.failure.message if profile.failure is not None else None
        if state.status == "sign in again":
            yield Finding("sign-in-ended", "error", f"{profile.id} must sign in again.", why, sign_in_again(profile))
        elif state.status == "sign-out unfinished":
            hint = "{prog} auth logout " + profile.id
            yield Finding("sign-in-ended", "error", f"The sign-out of {profile.id} is not finished.", why, hint)
        elif state.status == "refresh failing":
            message = f"Portico cannot refresh {profile.id} at the moment."
            yield Finding("refresh-failing", "warning", message, why, "{prog} auth status")
        elif state.status == "expiring":
            yield Finding("refresh-failing", "warning", f"{profile.id} expires soon.", why, sign_in_again(profile))
        elif isinstance(profile, OAuthProfile) and not profile.has_refresh and profile.expires_at is not None:
            why = (
                "Portico cannot refresh its access token: when it expires, you must sign in again. "
                "An OpenID provider sends a refresh token if the scope has `offline_access`."
            )
            message = f"{profile.id}: the provider sent no refresh token."
            yield Finding("no-refresh-token", "warning", message, why, sign_in_again(profile))
        if profile.unread:
            message = f"{profile.id}: the last token response had invalid fields: {', '.join(profile.unread)}."
            why = "Portico keeps the tokens. Without a valid lifetime it refreshes them when a server rejects them."
            hint = "report it to the provider or to the author of its plugin, {prog} plugins info " + profile.plugin
            yield Finding("reply-fields-unread", "warning", message, why, hint)


def plugins(context: CheckContext) -> Iterator[Outcome]:
    """Find plugins that are broken, and plugins that are off although an account needs them."""
    if context.config is None:
        yield Skipped("the config cannot be read")
        return
    host = context.app.plugins
    host.load()
    on = {record.id for record in host.records() if record.enabled}
    off = {record.id for record in host.records()} - on  # a plugin can have two copies, and one of them may be enabled
    yield Examined(f"on: {', '.join(sorted(on)) or 'none'}")
    for record in host.records():
        if record.candidate.exposure is not None:
            yield of_error(not_yours_error(record))
        elif record.error is not None:
            message, hint = f"{record.id}: {record.error}", f"{{prog}} plugins info {record.id}"
            yield Finding("plugin-broken", "error", message, str(record.source), hint)
    for profile in context.profiles:
        if profile.plugin in off:
            message, why = f"The plugin {profile.plugin} is off.", f"{profile.id} cannot be refreshed without it."
            hint = f"{{prog}} plugins enable {profile.plugin}"
            yield Finding("plugin-off", "error", message, why, hint, partial(_turn_on, context, profile.plugin))
    for diagnostic in host.diagnostics():
        if diagnostic.level == "error":
            hint = "correct or remove that path of plugins.load.paths: {prog} config edit"
            hint = hint if diagnostic.source is not None else "install that package again"
            yield Finding("plugin-fault", "error", diagnostic.message, hint=hint)


def _turn_on(context: CheckContext, plugin: str) -> str:
    context.app.config.file.edit(lambda document: with_plugin_enabled(document, plugin))
    return f"turned on the plugin {plugin}"
