"""The plugins' own settings in a configuration, held to their manifests; no plugin is imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.config.problem import Problem, named
from portico.plugins.config_schema import config_problems
from portico.plugins.manager import PluginHost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.config.schema import PluginsConfig
    from portico.config.sources import Effective
    from portico.paths import Paths


def entry_problems(source: Effective, config: PluginsConfig, *, paths: Paths, env: Mapping[str, str]) -> Iterator[Problem]:
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
            origin = source.origin(path, of_key=True)
            yield Problem("error", str(origin), path, f"{named(path)} {problem.message}", layer=origin.layer, plugin=id)
