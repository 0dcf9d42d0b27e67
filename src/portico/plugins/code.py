"""Which code the plugins that are on would run now: what a long-lived process compares with what it has imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from portico.plugins.records import PluginRecord

_MOST_FILES: Final = 2000


def code_files(records: Iterable[PluginRecord]) -> tuple[Path, ...]:
    """The manifests and modules of the plugins that are on, and their folders, which change when a file comes or goes."""
    found: list[Path] = []
    for record in records:
        if record.enabled:
            folder = record.source.parent
            modules = [path for path in folder.rglob("*.py") if path.is_file()][:_MOST_FILES]
            found += [record.source, *modules, *dict.fromkeys(path.parent for path in (record.source, *modules))]
    return tuple(found)


def which_code(records: Iterable[PluginRecord]) -> tuple[tuple[str, int, int], ...]:
    """Each of those files with its time (ns) and its size; folders left out."""
    files = sorted({path for path in code_files(records) if path.is_file()})
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
