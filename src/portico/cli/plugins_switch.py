"""Switching plugins on and off: the edit, then what it really did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode
from portico.plugins.discovery import with_plugin_off, with_plugin_on
from portico.plugins.manager import not_yours

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.plugins.discovery import PluginRecord


def switch_on(rt: Runtime, name: str) -> int:
    """Enable a plugin, then load it once: what keeps it from working is said now, not at the next start.

    Raises:
        ConfigError: `plugin-not-yours`: another user can change its code.
    """
    before = rt.plugins.find(name)
    if before.candidate.exposure is not None:
        raise not_yours(before)
    changed = rt.settings.file.edit(lambda document: with_plugin_on(document, before.id)) if not before.enabled else False
    if changed:
        rt.reload_config()
    record = _loaded(rt, before.id)
    if record.why is None and not changed:
        return _say(rt, record, f'Plugin "{record.id}" is already enabled.', changed=False)
    if record.why is None:
        return _say(rt, record, f'Enabled plugin "{record.id}".', changed=True)
    verb = "Enabled" if changed else "Already enabled"
    _say(rt, record, f'{verb}: plugin "{record.id}". But it will not load: {record.why}.', changed=changed)
    if record.decision.remedy:
        rt.out.note(record.decision.remedy.replace("{prog}", rt.program))
    return ExitCode.CONFIG


def switch_off(rt: Runtime, name: str) -> int:
    """Disable a plugin, and name the sign-ins that were made with it."""
    record = rt.plugins.find(name)
    entry = rt.settings.config.plugins.entries.get(record.id)
    if not record.enabled and not (entry is not None and entry.enabled):
        return _say(rt, record, f'Plugin "{record.id}" is already disabled.', changed=False)
    changed = rt.settings.file.edit(lambda document: with_plugin_off(document, record.id))
    rt.reload_config()
    code = _say(rt, rt.plugins.find(record.id), f'Disabled plugin "{record.id}".', changed=changed)
    profiles = [profile.id for profile in rt.token_store.profiles() if profile.plugin == record.id]
    if profiles:
        rt.out.note(f"Its sign-ins stay stored, but are not refreshed while it is off: {', '.join(profiles)}.")
    return code


def _loaded(rt: Runtime, id: str) -> PluginRecord:
    if rt.plugins.find(id).enabled:
        rt.plugins.load({id})
    return rt.plugins.find(id)


def _say(rt: Runtime, record: PluginRecord, text: str, *, changed: bool) -> int:
    restart = changed and rt.gateway_runs()
    if rt.options.json:
        answer = {"id": record.id, "enabled": record.enabled, "status": record.status, "error": record.why}
        rt.out.json({**answer, "changed": changed, "restartGateway": restart})
    else:
        rt.out.line(f"{text} Restart the gateway to apply." if restart else text)
        if restart:
            rt.out.note(f"To restart it: {rt.program} gateway restart")
    return ExitCode.OK
