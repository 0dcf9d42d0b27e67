"""`plugins doctor`: what the host and the plugins themselves find wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.cli.runtime import Runtime
    from portico.interfaces.plugin_parts import DoctorCheck, Finding
    from portico.plugins.discovery import Diagnostic, PluginRecord

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
