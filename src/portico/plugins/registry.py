"""The plugins that are on, loaded and asked one by one: whatever one of them does, it is recorded and the others go on."""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, PorticoError
from portico.plugins.contributions import KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import pluggy

    from portico.config.schema import PluginsConfig
    from portico.plugins.inventory import Inventory
    from portico.plugins.records import PluginRecord

# Dialects are asked for on the threads of refreshes, while stdout and the loaded modules belong to the whole process.
_ONE_AT_A_TIME: Final = RLock()


class Registry:
    """Loads the plugins of an `Inventory` and keeps what they answer; failures go into the inventory's records."""

    def __init__(self, inventory: Inventory, config: PluginsConfig, env: Mapping[str, str]) -> None:
        self._inventory = inventory
        self._config = config
        self._env = env
        self._attempted: set[str] = set()
        self._answers: dict[tuple[str, str], list[Any]] = {}

    def load(self, only: Collection[str] | None = None) -> None:
        """Import and register the plugins that are on, or those of them that `only` names."""
        with _ONE_AT_A_TIME:
            for record in list(self._inventory.records.values()):
                wanted = record.enabled and record.error is None and (only is None or record.id in only)
                if wanted and record.id not in self._attempted:
                    self._attempted.add(record.id)
                    self._load_one(record)

    def gather(self, hook: str, only: Collection[str] | None = None) -> list[Any]:
        """What the built-ins and the plugins answer to `hook`; of two things of one name the first stays."""
        with _ONE_AT_A_TIME:
            self.load(only)
            return list(self._gathered(hook, only))

    def _gathered(self, hook: str, only: Collection[str] | None) -> Iterator[Any]:
        kind = KINDS[hook]
        owners: dict[str, str] = {}
        for name, plugin in self._implementers(hook):
            if only is not None and name not in only:
                continue
            for item in self._ask(hook, name, plugin):
                key = getattr(item, kind.key)
                owner = owners.setdefault(key, name)
                if owner == name:
                    yield item
                else:
                    self._update(name, error=f"{kind.label} already registered: {key} ({owner})")

    @cached_property
    def _pluggy(self) -> pluggy.PluginManager:
        from portico.plugins.loading import new_registry

        return new_registry(self._env)

    def _implementers(self, hook: str) -> list[tuple[str, object]]:
        names = {impl.plugin_name for impl in getattr(self._pluggy.hook, hook).get_hookimpls()}
        return [(name, plugin) for name, plugin in self._pluggy.list_name_plugin() if name in names]

    def _load_one(self, record: PluginRecord) -> None:
        from portico.plugins.config_schema import config_problems
        from portico.plugins.loading import import_plugin, register

        problems = [*config_problems(record.manifest.config_schema, self._config_of(record.id))]
        if problems:
            self._update(record.id, error=f"invalid config: {'; '.join(map(str, problems))}")
            return
        with self._isolated(record.id, "failed to load plugin"):
            module = import_plugin(record.candidate)
            hooks = register(self._pluggy, module, record.id)
            self._update(record.id, loaded=True, hooks=hooks)

    def _config_of(self, id: str) -> dict[str, Any]:
        entry = self._config.entries.get(id)
        return dict(entry.config) if entry is not None else {}

    def _ask(self, hook: str, name: str, plugin: object) -> list[Any]:
        known = self._answers.get((hook, name))
        if known is not None:
            return known
        items: list[Any] = []
        with self._isolated(name, f"{hook} failed"):
            items = self._answers_of(hook, name, plugin)
        self._answers[hook, name] = items
        if hook == "portico_cli_commands":
            self._update(name, commands=tuple(command.name for command in items))
        return items

    def _answers_of(self, hook: str, name: str, plugin: object) -> list[Any]:
        from portico.plugins.loading import call_one

        arguments = {"config": self._config_of(name)} if hook == "portico_auth_methods" else {}
        items = call_one(self._pluggy, hook, plugin, **arguments)
        problems = [problem for item in items if (problem := KINDS[hook].problem(item)) is not None]
        if problems:
            raise ConfigError("plugin-answer", "; ".join(problems))
        return items

    @contextmanager
    def _isolated(self, name: str, what: str) -> Iterator[None]:
        # What plugin code prints must not reach a stdout that some program reads.
        try:
            with redirect_stdout(sys.stderr):
                yield
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a plugin may fail in any way; it is reported, others go on
            self._update(name, error=f"{what}: {_describe(exc)}")
            self._trace(exc)

    def _update(self, name: str, **changes: Any) -> None:
        record = self._inventory.records.get(name)
        if record is not None:
            self._inventory.records[name] = replace(record, **changes)

    def _trace(self, exc: BaseException) -> None:
        from portico.plugins.loading import TRACE_ENV, trace

        if self._env.get(TRACE_ENV) == "1":
            import traceback

            from portico.secret import redact

            trace(redact("".join(traceback.format_exception(exc))))


def _describe(exc: BaseException) -> str:
    from portico.oauth.token_response import plain_text
    from portico.secret import redact

    text = plain_text(redact(str(exc)), 300)
    if text is None:
        return type(exc).__name__
    return text if isinstance(exc, PorticoError) else f"{type(exc).__name__}: {text}"
