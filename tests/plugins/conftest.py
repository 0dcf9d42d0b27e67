"""A plugin host over plugins made for the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portico.config.schema import PluginEntry, PluginsConfig
from portico.plugins.manager import PluginHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portico.paths import Paths


@pytest.fixture
def make_host(paths: Paths) -> Callable[..., PluginHost]:
    """`make_host(*folders, bundled=[], env={}, config={id: {...}}, **plugins)`: plugins of load paths are on by default."""

    def make(
        *folders: Path,
        bundled: list[Path] | None = None,
        env: dict[str, str] | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        **plugins: Any,
    ) -> PluginHost:
        entries = {id: PluginEntry(config=each) for id, each in (config or {}).items()}
        section = PluginsConfig(load_paths=tuple(map(str, folders)), **{"entries": entries, **plugins})
        return PluginHost(section, paths=paths, env=env or {}, bundled=bundled or [])

    return make
