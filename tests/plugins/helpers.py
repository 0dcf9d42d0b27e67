"""Plugins made for one test: a package with a manifest, in a folder or installed as a distribution."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

GOOD: Final = """
from portico.plugin_api import ProviderSpec, hookimpl

@hookimpl
def portico_providers():
    return [ProviderSpec(id=PROVIDER, label="Acme", api="openai-completions", base_urls={"": "https://a.example"}, hosts={})]
"""
DIALECT: Final = (
    GOOD
    + """
from portico.plugin_api import StandardDialect

class Words(StandardDialect):
    name = "acme-words"

@hookimpl
def portico_token_dialects():
    return [Words()]
"""
)
_numbers = count()


def write_plugin(root: Path, id: str = "acme-auth", *, code: str = GOOD, package: str | None = None, **manifest: Any) -> Path:
    """Write a plugin under `root` and return its package folder, with a name that no other test uses.

    `code` is its module, and may use `PROVIDER` and `HERE` (the package folder).
    """
    package = package or f"{id.replace('-', '_')}_{next(_numbers)}"
    folder = root / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    preamble = f"from pathlib import Path\nHERE = Path(__file__).parent\nPROVIDER = {id!r}\n(HERE / 'imported').touch()\n"
    (folder / "plugin.py").write_text(preamble + code)
    fields = {"id": id, "name": f"The {id}", "description": "A plugin", "module": f"{package}.plugin", **manifest}
    (folder / "portico.plugin.json").write_text(json.dumps(fields))
    return folder


def install(site: Path, folder: Path, id: str = "acme-auth", *, version: str = "1.2.3") -> None:
    """Make the package in `site` a distribution with an entry point, as pip does."""
    info = site / f"{folder.name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[portico.plugins]\n{id} = {folder.name}.plugin\n")


def was_imported(folder: Path) -> bool:
    """Whether the plugin's module was imported."""
    return (folder / "imported").exists()
