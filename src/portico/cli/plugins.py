"""`plugins list|info|enable|disable|doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from portico.errors import ExitCode
from portico.plugins.discovery import with_plugin_off, with_plugin_on
from portico.plugins.manager import not_yours

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from portico.app import Runtime
    from portico.interfaces.plugin_parts import DoctorCheck, Finding
    from portico.plugins.discovery import Diagnostic, PluginRecord

_EXAMPLES = """examples:
  {prog} plugins list
  {prog} plugins enable minimax-portal-auth
  {prog} plugins doctor
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    listing = commands.add_parser("list", help="list the plugins", epilog="example:\n  {prog} plugins list --json\n")
    listing.description = "List the plugins and whether they are on."
    listing.add_argument("--enabled", action="store_true", help="only those that are loaded")
    listing.set_defaults(handler=list_plugins)
    _add_one(commands, "info", "show one plugin", info)
    _add_one(commands, "enable", "switch a plugin on", enable)
    _add_one(commands, "disable", "switch a plugin off", disable)
    doctor_epilog = "example:\n  {prog} plugins doctor --json\n"
    checkup = commands.add_parser("doctor", help="look for plugins that do not work", epilog=doctor_epilog)
    checkup.description = "Load the plugins that are on, run their own checks, and say what is wrong."
    checkup.set_defaults(handler=doctor)


def _add_one(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, handler: object) -> None:
    epilog = f"example:\n  {{prog}} plugins {name} minimax-portal-auth\n"
    parser = commands.add_parser(name, help=summary, epilog=epilog, description=f"{summary.capitalize()}.")
    parser.add_argument("id", help="the plugin's id, or its name")
    parser.set_defaults(handler=handler)


def list_plugins(args: argparse.Namespace, rt: Runtime) -> int:
    """Print every plugin found; those that are on are loaded, so that `loaded` is the truth."""
    rt.plugins.load()
    rt.plugins.cli_commands()
    show_list(rt, only_loaded=args.enabled)
    return ExitCode.OK


def info(args: argparse.Namespace, rt: Runtime) -> int:
    """Print what is known of one plugin."""
    record = rt.plugins.find(args.id)
    if record.enabled:
        rt.plugins.load({record.id})
        rt.plugins.cli_commands({record.id})
    show_one(rt, rt.plugins.find(args.id))
    return ExitCode.OK


def enable(args: argparse.Namespace, rt: Runtime) -> int:
    """Switch a plugin on, and say so only if it will load."""
    return switch_on(rt, args.id)


def disable(args: argparse.Namespace, rt: Runtime) -> int:
    """Switch a plugin off."""
    return switch_off(rt, args.id)


def doctor(args: argparse.Namespace, rt: Runtime) -> int:  # noqa: ARG001 - a handler's signature
    """Say what is wrong with the plugins."""
    return examine(rt)


_CHECK_TIMEOUT_S = 10.0


def examine(rt: Runtime) -> int:
    """Load what is on, ask every hook once, run the plugins' checks; exit code 9 where something is broken."""
    host = rt.plugins
    host.load()
    for ask in (host.providers, host.auth_methods, host.dialects, host.emulators, host.cli_commands):
        ask()
    findings = _run_checks(host.doctor_checks())
    broken = [record for record in host.records() if record.error is not None]
    diagnostics = host.diagnostics()
    _show(rt, broken, diagnostics, findings)
    levels = {diagnostic.level for diagnostic in diagnostics} | {finding.level for finding in findings}
    return ExitCode.CONFIG if broken or "error" in levels else ExitCode.OK


def _show(rt: Runtime, broken: list[PluginRecord], diagnostics: list[Diagnostic], findings: list[Finding]) -> None:
    if rt.options.json:
        rt.out.json(
            {
                "errors": [record.as_json() for record in broken],
                "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
                "findings": [_as_json(finding, rt.program) for finding in findings],
            }
        )
        return
    bad = [finding for finding in findings if finding.level != "ok"]
    if not (broken or diagnostics or bad):
        rt.out.line("No plugin issues detected.")
    if broken:
        rt.out.line("Plugin errors:")
    for record in broken:
        rt.out.line(f"- {record.id}: {record.error} ({record.source})")
    if diagnostics or bad:
        rt.out.line("Diagnostics:")
    for diagnostic in diagnostics:
        rt.out.line(f"- {diagnostic.level}: {diagnostic.message}")
    for finding in findings if rt.options.verbose else bad:
        hint = f" {finding.hint.replace('{prog}', rt.program)}" if finding.hint else ""
        rt.out.line(f"- {finding.level}: {finding.message}{hint}")


def _run_checks(checks: Sequence[DoctorCheck]) -> list[Finding]:
    if not checks:
        return []
    from portico.util import signals

    async def run_all() -> list[Finding]:
        return [finding for check in checks for finding in await _run_one(check)]

    return signals.run(run_all())


async def _run_one(check: DoctorCheck) -> Sequence[Finding]:
    import asyncio

    from portico.interfaces.plugin_parts import Finding
    from portico.secret import redact

    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return tuple(await check.run())
    except TimeoutError:
        return [Finding(check.id, "error", f"{check.label}: no answer in {_CHECK_TIMEOUT_S:.0f} s")]
    except Exception as exc:  # noqa: BLE001 - a plugin's check may fail in any way; the others still run
        return [Finding(check.id, "error", f"{check.label}: {type(exc).__name__}: {redact(str(exc))}")]


def _as_json(finding: Finding, program: str) -> dict[str, str]:
    hint = finding.hint.replace("{prog}", program) if finding.hint else None
    fields = {"id": finding.id, "level": finding.level, "message": finding.message, "why": finding.why, "hint": hint}
    return {name: value for name, value in fields.items() if value is not None}


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


_COLUMNS = ("Name", "ID", "Status", "Source", "Version")
_ROOM_FOR_SOURCE = 120


def show_list(rt: Runtime, *, only_loaded: bool) -> None:
    """Print all plugins, or those that are loaded."""
    every = rt.plugins.records()
    shown = [record for record in every if record.status == "loaded"] if only_loaded else every
    diagnostics = rt.plugins.diagnostics()
    if rt.options.json:
        rt.out.json(
            {
                "plugins": [record.as_json() for record in shown],
                "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
            }
        )
        return
    if not shown:
        rt.out.line("No plugins found.")
    else:
        loaded = sum(record.status == "loaded" for record in every)
        rt.out.line(f"Plugins ({loaded}/{len(every)} loaded)")
        rt.out.line()
        if rt.options.verbose:
            _show_blocks(rt, shown)
        else:
            _show_table(rt, [_row(record) for record in shown])
    for diagnostic in diagnostics:
        rt.out.note(f"{diagnostic.level}: {diagnostic.message}")


def _show_table(rt: Runtime, rows: list[tuple[str, ...]]) -> None:
    room = rt.out.room()
    kept = [column for column in _COLUMNS if column != "Source" or room is None or room >= _ROOM_FOR_SOURCE]
    rt.out.table(kept, [[row[_COLUMNS.index(column)] for column in kept] for row in rows])


def _row(record: PluginRecord) -> tuple[str, ...]:
    name = record.name if record.name != record.id else ""
    return (name or record.id, record.id if name else "", status_cell(record), _short(record.source), record.version or "")


def status_cell(record: PluginRecord) -> str:
    """The status with the reason in a word: `disabled (bundled)`."""
    word = record.decision.word
    return f"{record.status} ({word})" if record.status == "disabled" and word else record.status


def _show_blocks(rt: Runtime, records: list[PluginRecord]) -> None:
    for record in records:
        rt.out.line(f"{record.name} ({record.id}) {status_cell(record)}")
        for label, value in _details(record):
            rt.out.line(f"  {label.lower()}: {value}")
        rt.out.line()


def show_one(rt: Runtime, record: PluginRecord) -> None:
    """Print one plugin."""
    if rt.options.json:
        rt.out.json(record.as_json())
        return
    rt.out.line(record.name)
    if record.name != record.id:
        rt.out.line(f"id: {record.id}")
    if record.manifest.description:
        rt.out.line(record.manifest.description)
    rt.out.line()
    rt.out.line(f"Status: {status_cell(record)}")
    for label, value in _details(record):
        rt.out.line(f"{label}: {value}")
    if record.decision.remedy and not record.enabled:
        rt.out.note("\n" + record.decision.remedy.replace("{prog}", rt.program))


def _details(record: PluginRecord) -> Iterator[tuple[str, str]]:
    manifest = record.manifest
    yield "Source", _short(record.source)
    yield "Origin", record.candidate.origin
    if record.version:
        yield "Version", record.version
    lists = {
        "Providers": manifest.providers,
        "Auth choices": [choice.id for choice in manifest.auth_choices],
        "Hooks": record.hooks,
        "CLI commands": record.commands,
    }
    yield from ((label, ", ".join(values)) for label, values in lists.items() if values)
    if record.why:
        yield ("Error" if record.error else "Reason"), record.why


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):
        return str(path)
