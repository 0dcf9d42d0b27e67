"""Whether a plugin is on, and the edits that switch it. The first rule that applies decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.config.document import ConfigPath, Document
    from portico.config.schema import PluginsConfig

LOAD_ENV: Final = "PORTICO_LOAD_PLUGINS"


@dataclass(frozen=True, slots=True)
class Decision:
    """On or off. `reason` says why it is off, `word` says the same in a table cell, `remedy` how to lift it."""

    enabled: bool
    reason: str | None = None
    word: str | None = None
    remedy: str | None = None


ON: Final = Decision(enabled=True)


def decide(id: str, config: PluginsConfig, env: Mapping[str, str], *, bundled: bool) -> Decision:
    """Whether the plugin `id` is on. `bundled`: it comes with Portico, so it is off until somebody asks for it."""
    off = why_blocked(id, config, env) or off_by_entry(id, config)
    if off is not None:
        return off
    entry = config.entries.get(id)
    if bundled and (entry is None or entry.enabled is None):
        return _off("bundled (disabled by default)", "bundled", f"Run `{{prog}} plugins enable {id}`.")
    return ON


def why_blocked(id: str, config: PluginsConfig, env: Mapping[str, str]) -> Decision | None:
    """What keeps the plugin `id` off whatever its own entry says; None where nothing does."""
    if not config.enabled:
        return _off("plugins disabled", "plugins off", "Run `{prog} config set plugins.enabled true`.")
    if id in config.deny:
        # Not `config unset` with an index: where an included file's array is joined, the own file counts otherwise.
        remedy = f"Remove {id} from `plugins.deny`: `{{prog}} config edit`, or edit the file that it includes or reads as `base`."
        return _off("blocked by denylist", "denied", remedy)
    if config.allow and id not in config.allow:
        return _off("not in allowlist", "not allowed", f"Run `{{prog}} plugins enable {id}`.")  # which adds it
    wanted = env.get(LOAD_ENV)
    if wanted is not None and id not in {word.strip() for word in wanted.split(",")}:
        return _off(f"not in {LOAD_ENV}", "environment", f"Unset {LOAD_ENV}, or add {id} to it.")
    return None


def off_by_entry(id: str, config: PluginsConfig) -> Decision | None:
    """The user's own word that the plugin `id` is off, which only `plugins enable` takes back; None where there is none."""
    entry = config.entries.get(id)
    if entry is None or entry.enabled is not False:
        return None
    return _off("disabled in config", "config", f"Run `{{prog}} plugins enable {id}`.")


def with_entry_on(config: PluginsConfig, id: str) -> PluginsConfig:
    """The configuration as it is once `with_plugin_on(document, id)` has been written."""
    from portico.config.schema import PluginEntry

    entry = config.entries.get(id)
    on = PluginEntry(enabled=True) if entry is None else replace(entry, enabled=True)
    allow = (*config.allow, id) if config.allow and id not in config.allow else config.allow
    return replace(config, entries={**config.entries, id: on}, allow=allow)


def with_plugin_on(document: Document, id: str) -> Document:
    """The document with the plugin `id` switched on; it joins an allow list that has members.

    An empty allow list allows everything: a first member would switch every other plugin off.
    """
    from portico.config.sources import read_stack

    document, allow = document.set(_entry(id), value=True), ("plugins", "allow")
    effective = read_stack(document).effective
    listed = effective.get(allow) if effective.has(allow) else None
    if isinstance(listed, list) and listed and id not in listed:
        own = document.get(allow) if document.has(allow) else []  # an included file's array is joined with it
        if isinstance(own, list):
            document = document.set(allow, [*own, id])
    return document


def with_plugin_off(document: Document, id: str) -> Document:
    """The document with the plugin `id` switched off."""
    return document.set(_entry(id), value=False)


def refuse(id: str, decision: Decision) -> ConfigError:
    """The error of asking for a plugin that is off."""
    return ConfigError("plugin-disabled", f'Plugin "{id}" is off.', why=decision.reason, hint=decision.remedy)


def _entry(id: str) -> ConfigPath:
    return ("plugins", "entries", id, "enabled")


def _off(reason: str, word: str, remedy: str) -> Decision:
    return Decision(enabled=False, reason=reason, word=word, remedy=remedy)
