"""`plugins list|info|enable|disable|doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from portico.cli.parser import add_command
from portico.errors import ExitCode
from portico.interfaces.plugins import Finding
from portico.secret import redact
from portico.util import signals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from portico.app import App
    from portico.interfaces.plugins import DoctorCheck
    from portico.plugins.discovery import Diagnostic, PluginRecord

_EXAMPLES = """examples:
  {prog} plugins list
  {prog} plugins enable minimax-portal-auth
  {prog} plugins doctor
"""
_CHECK_TIMEOUT_S = 10.0
_COLUMNS = ("Name", "ID", "Status", "Source", "Version")
_ROOM_FOR_SOURCE = 120  # columns of the terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers()
    listing = add_command(commands, "plugins list", "list the plugins, and whether they are enabled", list_plugins, "--json")
    listing.add_argument("--enabled", action="store_true", help="list only the enabled plugins that could be loaded")
    example = "minimax-portal-auth"
    for each in (
        add_command(commands, "plugins info", "show a plugin", show_plugin, example),
        add_command(commands, "plugins enable", "enable a plugin", enable, example),
        add_command(commands, "plugins disable", "disable a plugin", disable, example),
    ):
        each.add_argument("id", help="the plugin's id or name")
    add_command(commands, "plugins doctor", "load the enabled plugins and run their checks", examine, "--json")


def list_plugins(args: argparse.Namespace, app: App) -> int:
    """Print every plugin. First load the enabled plugins, so the status `loaded` is true."""
    app.plugins.load()
    app.plugins.cli_commands()
    _show_list(app, only_loaded=args.enabled)
    return ExitCode.OK


def show_plugin(args: argparse.Namespace, app: App) -> int:
    """Print the details of a plugin."""
    record = app.plugins.find(args.id)
    if record.enabled:
        app.plugins.load({record.id})
        app.plugins.cli_commands({record.id})
    _show_one(app, app.plugins.find(args.id))
    return ExitCode.OK


def enable(args: argparse.Namespace, app: App) -> int:
    """Enable a plugin, then load it once to report problems now.

    Raises:
        ConfigError: `plugin-not-yours`: another user can change its code.
    """
    from portico.plugins.discovery import with_plugin_enabled
    from portico.plugins.manager import not_yours_error

    before = app.plugins.find(args.id)
    if before.candidate.exposure is not None:
        raise not_yours_error(before)
    changed = not before.enabled and app.edit_config(lambda document: with_plugin_enabled(document, before.id), strict=False)
    record = _loaded(app, before.id)
    if record.why is None and not changed:
        return _print_change(app, record, f'Plugin "{record.id}" is already enabled.', changed=False)
    if record.why is None:
        return _print_change(app, record, f'Enabled plugin "{record.id}".', changed=True)
    verb = "Enabled" if changed else "Already enabled"
    _print_change(app, record, f'{verb}: plugin "{record.id}". But it does not load: {record.why}.', changed=changed)
    if record.decision.remedy:
        app.out.note(record.decision.remedy.replace("{prog}", app.program))
    return ExitCode.CONFIG


def disable(args: argparse.Namespace, app: App) -> int:
    """Disable a plugin, and name the accounts that use it."""
    from portico.plugins.discovery import with_plugin_disabled

    record = app.plugins.find(args.id)
    entry = app.settings.config.plugins.entries.get(record.id)
    if not record.enabled and not (entry is not None and entry.enabled):
        return _print_change(app, record, f'Plugin "{record.id}" is already disabled.', changed=False)
    changed = app.edit_config(lambda document: with_plugin_disabled(document, record.id), strict=False)
    code = _print_change(app, app.plugins.find(record.id), f'Disabled plugin "{record.id}".', changed=changed)
    profiles = [profile.id for profile in app.token_store.profiles() if profile.plugin == record.id]
    if profiles:
        app.out.note(f"These accounts stay stored, but are not refreshed while the plugin is off: {', '.join(profiles)}.")
    return code


def _loaded(app: App, id: str) -> PluginRecord:
    if app.plugins.find(id).enabled:
        app.plugins.load({id})
    return app.plugins.find(id)


def _print_change(app: App, record: PluginRecord, text: str, *, changed: bool) -> int:
    restart = changed and app.gateway_runs()
    if app.options.json:
        answer = {"id": record.id, "enabled": record.enabled, "status": record.status, "error": record.why}
        app.out.json({**answer, "changed": changed, "restartGateway": restart})
    else:
        app.out.line(f"{text} Restart the gateway to apply." if restart else text)
        if restart:
            app.out.note(f"To restart it: {app.program} gateway restart")
    return ExitCode.OK


def examine(_args: argparse.Namespace, app: App) -> int:
    """Load the enabled plugins, call every hook once, and run the plugins' checks. Return 9 if any of this fails."""
    host = app.plugins
    host.load()
    for call_hook in (host.providers, host.auth_methods, host.dialects, host.emulators, host.cli_commands):
        call_hook()
    findings = _run_checks(host.doctor_checks())
    broken = [record for record in host.records() if record.error is not None]
    diagnostics = host.diagnostics()
    _show_problems(app, broken, diagnostics, findings)
    levels = {diagnostic.level for diagnostic in diagnostics} | {finding.level for finding in findings}
    return ExitCode.CONFIG if broken or "error" in levels else ExitCode.OK


def _run_checks(checks: Sequence[DoctorCheck]) -> list[Finding]:
    if not checks:
        return []

    async def run_all() -> list[Finding]:
        return [finding for check in checks for finding in await _run_one(check)]

    return signals.run(run_all())


async def _run_one(check: DoctorCheck) -> Sequence[Finding]:
    import asyncio

    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return tuple(await check.run())
    except TimeoutError:
        return [Finding(check.id, "error", f"{check.label}: no answer within {_CHECK_TIMEOUT_S:.0f} s")]
    except Exception as exc:  # noqa: BLE001 - a plugin's check can raise anything; the others still run
        return [Finding(check.id, "error", f"{check.label}: {type(exc).__name__}: {redact(str(exc))}")]


def _show_problems(app: App, broken: list[PluginRecord], diagnostics: list[Diagnostic], findings: list[Finding]) -> None:
    if app.options.json:
        app.out.json(
            {
                "errors": [record.as_json() for record in broken],
                "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
                "findings": [_finding_as_json(finding, app.program) for finding in findings],
            }
        )
        return
    bad = [finding for finding in findings if finding.level != "ok"]
    if not (broken or diagnostics or bad):
        app.out.line("No plugin issues detected.")
    if broken:
        app.out.line("Plugin errors:")
    for record in broken:
        app.out.line(f"- {record.id}: {record.error} ({record.source})")
    if diagnostics or bad:
        app.out.line("Diagnostics:")
    for diagnostic in diagnostics:
        app.out.line(f"- {diagnostic.level}: {diagnostic.message}")
    for finding in findings if app.options.verbose else bad:
        hint = f" {finding.hint.replace('{prog}', app.program)}" if finding.hint else ""
        app.out.line(f"- {finding.level}: {finding.message}{hint}")


def _finding_as_json(finding: Finding, program: str) -> dict[str, str]:
    hint = finding.hint.replace("{prog}", program) if finding.hint else None
    fields = {"id": finding.id, "level": finding.level, "message": finding.message, "why": finding.why, "hint": hint}
    return {name: value for name, value in fields.items() if value is not None}


def _show_list(app: App, *, only_loaded: bool) -> None:
    every = app.plugins.records()
    shown = [record for record in every if record.status == "loaded"] if only_loaded else every
    diagnostics = app.plugins.diagnostics()
    if app.options.json:
        app.out.json(
            {
                "plugins": [record.as_json() for record in shown],
                "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
            }
        )
        return
    if not shown:
        app.out.line("No plugins found.")
    else:
        loaded = sum(record.status == "loaded" for record in every)
        app.out.line(f"Plugins ({loaded}/{len(every)} loaded)")
        app.out.line()
        if app.options.verbose:
            _show_blocks(app, shown)
        else:
            _show_table(app, [_row(record) for record in shown])
    for diagnostic in diagnostics:
        app.out.note(f"{diagnostic.level}: {diagnostic.message}")


def _show_table(app: App, rows: list[tuple[str, ...]]) -> None:
    room = app.out.room()
    columns = [column for column in _COLUMNS if column != "Source" or room is None or room >= _ROOM_FOR_SOURCE]
    app.out.table(columns, [[row[_COLUMNS.index(column)] for column in columns] for row in rows])


def _row(record: PluginRecord) -> tuple[str, ...]:
    name = record.name if record.name != record.id else ""
    return (name or record.id, record.id if name else "", _status_cell(record), _short(record.source), record.version or "")


def _show_blocks(app: App, records: list[PluginRecord]) -> None:
    for record in records:
        app.out.line(f"{record.name} ({record.id}) {_status_cell(record)}")
        for label, value in _details(record):
            app.out.line(f"  {label.lower()}: {value}")
        app.out.line()


def _show_one(app: App, record: PluginRecord) -> None:
    if app.options.json:
        app.out.json(record.as_json())
        return
    app.out.line(record.name)
    if record.name != record.id:
        app.out.line(f"id: {record.id}")
    if record.manifest.description:
        app.out.line(record.manifest.description)
    app.out.line()
    app.out.line(f"Status: {_status_cell(record)}")
    for label, value in _details(record):
        app.out.line(f"{label}: {value}")
    if record.decision.remedy and not record.enabled:
        app.out.note("\n" + record.decision.remedy.replace("{prog}", app.program))


def _status_cell(record: PluginRecord) -> str:
    """Return the status with a short reason: `disabled (bundled)`."""
    word = record.decision.word
    return f"{record.status} ({word})" if record.status == "disabled" and word else record.status


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
