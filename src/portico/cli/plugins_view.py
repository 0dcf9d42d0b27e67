"""How plugins are shown: a table, a page, or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.cli.runtime import Runtime
    from portico.plugins.discovery import PluginRecord

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
