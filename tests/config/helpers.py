"""A configuration of several files in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.config.load import LoadedConfig, load_config
from portico.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path


class Files:
    """The folder of Portico's own file, and one beside it for OpenClaw's."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.own = folder / "portico" / "portico.json5"
        self.base = folder / "openclaw" / "openclaw.json"
        self.paths = Paths(config=self.own, state=folder / "state", state_id="test")

    def write(self, name: str, text: str) -> Path:
        """`text` as a file of this name under the folder, private as Portico would make it."""
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def write_own(self, text: str) -> Path:
        return self.write("portico/portico.json5", text)

    def write_base(self, text: str) -> Path:
        return self.write("openclaw/openclaw.json", text)

    def load(self, **env: str) -> LoadedConfig:
        return load_config(self.paths, env)

    def warnings(self, loaded: LoadedConfig) -> list[str]:
        """The warnings, with the folder left out of every place."""
        return [str(problem).replace(f"{self.home}/", "") for problem in loaded.problems]
