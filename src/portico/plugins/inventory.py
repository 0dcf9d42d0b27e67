"""What plugins there are and which of them are on, worked out from manifests and config alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from portico.plugins.decision import decide
from portico.plugins.discovery import Diagnostic
from portico.plugins.records import PluginRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.config.schema import PluginsConfig
    from portico.plugins.discovery import Candidate, Found


class Inventory:
    """The plugins found, first come first, and whether each is on.

    `records` holds one plugin an id; `overridden` the later copies, without those that an installed distribution replaces.
    """

    def __init__(self, found: Found, config: PluginsConfig, env: Mapping[str, str]) -> None:
        self._config = config
        self._env = env
        self._problems = found.problems
        self.records: dict[str, PluginRecord] = {}
        self.overridden: list[PluginRecord] = []
        self._bundled_ids = {each.manifest.id for each in found.candidates if each.origin == "bundled"}
        for candidate in found.candidates:
            self._add(candidate)

    def _add(self, candidate: Candidate) -> None:
        id = candidate.manifest.id
        bundled = candidate.origin != "config" and id in self._bundled_ids
        entry = self._config.entries.get(id)
        problem = candidate.problem or (entry.problem if entry is not None else None)
        record = PluginRecord(candidate, decide(id, self._config, self._env, bundled=bundled), error=problem)
        first = self.records.setdefault(id, record)
        if first is record:
            return
        if first.candidate.exposure is not None and candidate.exposure is None:
            # Otherwise another user keeps a plugin from being used by a manifest of its id alone.
            self.records[id] = record
            self.overridden.append(replace(first.overridden_by(record), error=first.error))
            return
        if not (candidate.origin == "bundled" and first.candidate.origin == "installed"):
            self.overridden.append(record.overridden_by(first))

    def diagnostics(self) -> list[Diagnostic]:
        """What is wrong with the plugins section and with the places it names."""
        return [*self._problems, *self._stale(), *self._unused()]

    def _stale(self) -> Iterator[Diagnostic]:
        entries = self._config.entries
        named = {
            "plugins.entries": [id for id in entries if not entries[id].inherited],
            "plugins.allow": self._config.allow or (),
            "plugins.deny": self._config.deny,
        }
        for place, ids in named.items():
            for id in ids:
                if id not in self.records:
                    yield Diagnostic("warning", f"{place}: plugin not found: {id}{self._suggestion(id)}", plugin=id)

    def _unused(self) -> Iterator[Diagnostic]:
        for id, entry in self._config.entries.items():
            record = self.records.get(id)
            if entry.config and record is not None and not record.enabled and not entry.inherited:
                yield Diagnostic("warning", f"plugin disabled ({record.decision.reason}) but config is present", plugin=id)

    def _suggestion(self, id: str) -> str:
        near = self.nearest(id)
        return f"; did you mean {near}?" if near else ""

    def nearest(self, name: str) -> str | None:
        """The id closest to a misspelt or shortened one."""
        from difflib import get_close_matches

        begun = [id for id in self.records if id.startswith(name.lower())]
        return next(iter([*get_close_matches(name.lower(), self.records, n=1), *begun]), None)
