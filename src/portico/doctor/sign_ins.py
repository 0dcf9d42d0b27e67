"""The keyring, the sign-ins in it, and the plugins that refresh them."""

from __future__ import annotations

from dataclasses import replace
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
    from collections.abc import Callable, Iterator

    from portico.doctor.finding import CheckContext, Outcome

_SIGNED_OUT: Final = Skipped("nobody is signed in")
_FOR_KEYS_OF_TOOLS: Final = "The API key needs no store; `exec`, `env` and the gateway do, for the keys of your tools."


def store(context: CheckContext) -> Iterator[Outcome]:
    """The store that the next sign-in would use, by a record that is written, read back and deleted."""
    chosen = context.config.config.auth.store if context.config is not None else None
    try:
        yield Examined("an encrypted file" if (chosen or context.app.local_store().last_store) == "file" else "the OS keyring")
        context.store("store").probe()
    except ConfigError:
        return  # the check of the configuration tells it
    except PorticoError as error:
        if context.profiles or _gateway_keys(context) or not context.has_key:
            yield of_error(error, why=error.why or "No token can be kept or read.")
            return
        # Models answer by the key alone; only the keys of the gateway need a place.
        finding = of_error(error, level="warning", why=f"{error.why or 'No token can be kept or read'}. {_FOR_KEYS_OF_TOOLS}")
        yield replace(finding, hint=without_sign_in_hint(error.hint))


def _gateway_keys(context: CheckContext) -> bool:
    try:
        return bool(context.app.local_store(paths=KeyPaths.of(context.app.paths)).profiles())
    except PorticoError:
        return True


def records(context: CheckContext) -> Iterator[Outcome]:
    """A sign-in whose tokens are gone from the store."""
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
    """A sign-in that has ended, or is about to."""
    if not context.profiles:
        yield _SIGNED_OUT
    for profile in context.profiles:
        state = health_now(profile, context.app.clock)
        yield Examined(f"{profile.id}: {state.status}")
        why = profile.failure.message if profile.failure is not None else None
        if state.status in {"sign in again", "sign-out unfinished"}:
            hint = "{prog} auth logout " + profile.id if state.status == "sign-out unfinished" else sign_in_again(profile)
            yield Finding("sign-in-ended", "error", f"{profile.id}: {state.status}.", why, hint)
        elif state.status in {"refresh failing", "expiring"}:
            hint = "{prog} auth status" if state.status == "refresh failing" else sign_in_again(profile)
            yield Finding("refresh-failing", "warning", f"{profile.id}: {state.status}.", why, hint)
        elif isinstance(profile, OAuthProfile) and not profile.has_refresh and profile.expires_at is not None:
            why = (
                "Its access token cannot be refreshed: you have to sign in again when it ends. "
                "An OpenID provider gives a refresh token if the scope has `offline_access`."
            )
            message = f"{profile.id}: the provider gave no refresh token."
            yield Finding("no-refresh-token", "warning", message, why, sign_in_again(profile))
        if profile.unread:
            fields = ", ".join(profile.unread)
            yield Finding(
                "reply-fields-unread",
                "warning",
                f"{profile.id}: the last token reply held fields that cannot be read: {fields}.",
                "The tokens are kept. Where it is the lifetime, they are used until a server refuses them, and then refreshed.",
                "report it to the provider or to the author of its plugin, {prog} plugins info " + profile.plugin,
            )


def plugins(context: CheckContext) -> Iterator[Outcome]:
    """A plugin that is broken, or that is off while a sign-in needs it."""
    if context.config is None:
        yield Skipped("the configuration cannot be read")
        return

    host = context.app.plugins
    host.load()
    on = {record.id for record in host.records() if record.enabled}
    off = {record.id for record in host.records()} - on  # of two copies of one plugin only the later one may be off
    yield Examined(f"on: {', '.join(sorted(on)) or 'none'}")
    for record in host.records():
        if record.candidate.exposure is not None:
            yield of_error(not_yours_error(record))
        elif record.error is not None:
            yield Finding(
                "plugin-broken", "error", f"{record.id}: {record.error}", str(record.source), "{prog} plugins info " + record.id
            )
    for profile in context.profiles:
        if profile.plugin in off:
            why = f"{profile.id} cannot be refreshed without it."
            yield Finding(
                "plugin-off",
                "error",
                f"The plugin {profile.plugin} is off.",
                why,
                f"{{prog}} plugins enable {profile.plugin}",
                _switching_on(context, profile.plugin),
            )
    for diagnostic in host.diagnostics():
        if diagnostic.level == "error":
            is_path = diagnostic.source is not None
            hint = (
                "correct or remove that path of plugins.load.paths: {prog} config edit"
                if is_path
                else "install that package again"
            )
            yield Finding("plugin-fault", "error", diagnostic.message, hint=hint)


def _switching_on(context: CheckContext, plugin: str) -> Callable[[], str]:
    def switch_on() -> str:
        context.app.config.file.edit(lambda document: with_plugin_enabled(document, plugin))
        return f"the plugin {plugin} is on"

    return switch_on
