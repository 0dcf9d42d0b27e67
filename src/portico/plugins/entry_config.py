"""The plugins' own settings in a configuration, held to their manifests; no plugin is imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.config.config_path import format_path
from portico.config.section import Problem
from portico.plugins.config_schema import config_problems
from portico.plugins.manager import PluginHost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.config.document import Document
    from portico.config.schema import PluginsConfig
    from portico.paths import Paths


def entry_problems(document: Document, config: PluginsConfig, *, paths: Paths, env: Mapping[str, str]) -> Iterator[Problem]:
    """What `plugins.entries.<id>.config` says against the plugin's `configSchema`: for each, the plugin would not load."""
    set_up = {id: entry.config for id, entry in config.entries.items() if entry.config}
    if not set_up:
        return
    host = PluginHost(config, paths=paths, env=env)
    for id, settings in set_up.items():
        record = host.record(id)
        if record is None or record.id != id or record.candidate.problem is not None:
            continue  # `plugins doctor` says that
        for problem in config_problems(record.manifest.config_schema, dict(settings)):
            path = ("plugins", "entries", id, "config", *problem.path)
            where = document.where(path, of_key=True)
            yield Problem("error", where, path, f"`{format_path(path)}` {problem.message}")
