"""The plugin manager: the installed plugins, whether they are on, and their contributions.

A plugin that is off is never imported. A plugin that cannot be read, imported, registered or called is reported and left out.
Only manifests and config decide which plugins are on, and if plugins' own settings are valid.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from portico.errors import ConfigError, UnknownName, UsageError
from portico.plugins.discovery import (
    Diagnostic,
    PluginDisabled,
    PluginRecord,
    decide,
    disabled_error,
    find,
    off_by_entry,
    why_blocked,
    with_entry_enabled,
)
from portico.plugins.manifest import PluginFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from portico.config.document import Problem
    from portico.config.schema import PluginsConfig
    from portico.config.sources import Effective
    from portico.interfaces.authorization import TokenDialect
    from portico.interfaces.plugins import AuthMethod, CliCommand, DoctorCheck, Emulator, PlanReader, ProviderSpec
    from portico.paths import Paths
    from portico.plugins.discovery import Candidate, FoundPlugins
    from portico.plugins.loading import Registry
    from portico.plugins.manifest import Manifest


class PluginNotYours(ConfigError):
    """Another user can change the code of the plugin."""

    id = "plugin-not-yours"


class PluginNotFound(UsageError):
    """No plugin with this id is installed."""

    id = "plugin-not-found"


class Inventory:
    """The discovered plugins in their order, with the decision whether each plugin is on.

    `records` has one plugin for each id. `overridden` has later copies, except bundled plugins that are also installed.
    """

    def __init__(self, found: FoundPlugins, config: PluginsConfig, env: Mapping[str, str]) -> None:
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
            # Otherwise another user could block a plugin by a manifest with the same id.
            self.records[id] = record
            self.overridden.append(replace(first.overridden_by(record), error=first.error))
            return
        if not (candidate.origin == "bundled" and first.candidate.origin == "installed"):
            self.overridden.append(record.overridden_by(first))

    def diagnostics(self) -> list[Diagnostic]:
        """Return problems of the plugins section and its paths."""
        return [*self._problems, *self._unknown_ids(), *self._unused_configs()]

    def _unknown_ids(self) -> Iterator[Diagnostic]:
        entries = self._config.entries
        listed = {
            "plugins.entries": [id for id in entries if not entries[id].inherited],
            "plugins.allow": self._config.allow or (),
            "plugins.deny": self._config.deny,
        }
        for setting, ids in listed.items():
            for id in ids:
                if id not in self.records:
                    yield Diagnostic("warning", f"{setting}: plugin not found: {id}{self._suggestion(id)}", plugin=id)

    def _unused_configs(self) -> Iterator[Diagnostic]:
        for id, entry in self._config.entries.items():
            record = self.records.get(id)
            if entry.config and record is not None and not record.enabled and not entry.inherited:
                yield Diagnostic("warning", f"plugin disabled ({record.decision.reason}) but config is present", plugin=id)

    def _suggestion(self, id: str) -> str:
        near = self.nearest(id)
        return f"; did you mean {near}?" if near else ""

    def nearest(self, name: str) -> str | None:
        """Return the id closest to a misspelt or shortened name."""
        from difflib import get_close_matches

        by_prefix = [id for id in self.records if id.startswith(name.lower())]
        return next(iter([*get_close_matches(name.lower(), self.records, n=1), *by_prefix]), None)


T = TypeVar("T")


class _Run:
    """The state that the hosts of one run share. Plugins are discovered only once, even if the config changes."""

    def __init__(self, paths: Paths, env: Mapping[str, str], bundled: Sequence[Path] | None) -> None:
        self.paths = paths
        self.env = env
        self.hosts: list[tuple[PluginsConfig, PluginHost]] = []
        self._bundled = bundled
        self._found: dict[tuple[str, ...], FoundPlugins] = {}
        self._lock = Lock()

    def found(self, load_paths: tuple[str, ...]) -> FoundPlugins:
        with self._lock:
            if load_paths not in self._found:
                self._found[load_paths] = find(load_paths, self.paths.config.parent, self._bundled)
            return self._found[load_paths]


class PluginHost:
    """The plugins of one run for one `plugins` section of the config.

    Args:
        config: the config's `plugins` section.
        paths: relative `plugins.load.paths` refer to the config file's folder.
        env: `PORTICO_LOAD_PLUGINS` (empty, or ids with commas) limits the plugins; `PORTICO_TRACE_PLUGINS=1` traces hook calls.
        bundled: the package folders of the bundled plugins; None finds them.
        run: the state shared with other hosts of the run (`for_config`).
    """

    def __init__(
        self,
        config: PluginsConfig,
        *,
        paths: Paths,
        env: Mapping[str, str],
        bundled: Sequence[Path] | None = None,
        run: _Run | None = None,
    ) -> None:
        self._config = config
        self._env = env
        self._run = run or _Run(paths, env, bundled)
        self._run.hosts.append((config, self))

    def for_config(self, config: PluginsConfig) -> PluginHost:
        """Return this run's host for another `plugins` section. The same section gets the same host."""
        same = next((each for section, each in self._run.hosts if _same_host(section, config)), None)
        return same or PluginHost(config, paths=self._run.paths, env=self._env, run=self._run)

    # --- discovery, without imports ---

    @cached_property
    def _inventory(self) -> Inventory:
        return _set_once(self, "_inventory", Inventory(self._run.found(self._config.load_paths), self._config, self._env))

    def records(self) -> list[PluginRecord]:
        """Return all discovered plugins in their order, and after them the later copies of an id, marked as overridden."""
        return [*self._inventory.records.values(), *self._inventory.overridden]

    def record(self, name: str) -> PluginRecord | None:
        """Return the plugin with this id, or with this name in any case."""
        records = self._inventory.records
        by_name = (record for record in records.values() if record.name.lower() == name.lower())
        return records.get(name) or min(by_name, key=lambda record: record.candidate.exposure is not None, default=None)

    def find(self, name: str) -> PluginRecord:
        """Return the plugin with this id or name.

        Raises:
            UsageError: `plugin-not-found`, with the nearest id.
        """
        if (record := self.record(name)) is not None:
            return record
        near = self._inventory.nearest(name)
        raise PluginNotFound(f"Plugin not found: {name}", hint=f"Did you mean {near}?" if near else "See `{prog} plugins list`.")

    def providers_off(self) -> dict[str, str]:
        """Map each provider that is missing because its plugin is off to the plugin's id. Unusable plugins are left out."""
        usable = [record for record in self.records() if record.candidate.exposure is None]
        provided = [(provider, record) for record in usable for provider in record.manifest.providers]
        enabled = {provider for provider, record in provided if record.enabled}
        return {provider: record.id for provider, record in provided if provider not in enabled}

    def diagnostics(self) -> list[Diagnostic]:
        """Return problems of the plugins section and its paths; they do not stop other commands."""
        return self._inventory.diagnostics()

    def plugin_for_choice(self, choice: str) -> str | None:
        """Return the id of the plugin whose manifest announces this auth choice."""
        return self._plugin_announcing(lambda manifest: choice in {each.id for each in manifest.auth_choices})

    def plugin_for_dialect(self, name: str) -> str | None:
        return self._plugin_announcing(lambda manifest: name in manifest.dialects)

    def _plugin_announcing(self, announces: Callable[[Manifest], bool]) -> str | None:
        """Return the id of the first plugin that announces something: plugins that are on first, then bundled plugins.

        Plugins whose code another user can change come last, so that their manifest cannot replace the sign-in of a usable
        plugin.
        """

        def rank(record: PluginRecord) -> tuple[bool, ...]:
            return record.candidate.exposure is not None, not record.enabled, record.candidate.origin != "bundled"

        claimants = [record for record in self._inventory.records.values() if announces(record.manifest)]
        first = min(claimants, key=rank, default=None)
        return first.id if first is not None else None

    def enabling(self, id: str) -> PluginHost:
        """Return a host in which the plugin is on, as after writing `with_plugin_enabled`.

        This overrides only the default that a bundled plugin is off, never the user's config.

        Raises:
            ConfigError: `plugin-disabled`: the plugin's entry switches it off, or the config or the environment blocks it.
        """
        config = with_entry_enabled(self._config, self.find(id).id)
        decision = why_blocked(id, config, self._env) or off_by_entry(id, self._config)
        if decision is not None:
            raise disabled_error(id, decision)
        return self.for_config(config)

    # --- loading ---

    def load(self, only: Collection[str] | None = None) -> None:
        """Import and register the plugins that are on, limited to `only`. Failures are recorded, not raised."""
        if any(record.enabled for record in self._inventory.records.values()):
            self._registry.load(only)

    def require(self, id: str) -> PluginRecord:
        """Load the plugin and return its record.

        Raises:
            UsageError: `plugin-not-found`.
            ConfigError: `plugin-disabled`, `plugin-not-yours` or `plugin-failed`.
        """
        record = self.find(id)
        if not record.enabled:
            raise disabled_error(id, record.decision)
        self.load({record.id})
        record = self.find(id)
        if record.error is not None and not record.loaded:
            raise _failed_error(record)
        return record

    @cached_property
    def _registry(self) -> Registry:
        from portico.plugins.loading import Registry

        return _set_once(self, "_registry", Registry(self._inventory, self._config, self._env))

    # --- contributions of loaded plugins ---

    def providers(self) -> tuple[ProviderSpec, ...]:
        """Return the providers of the built-ins and of all plugins that are on."""
        return tuple(self._registry.gather("portico_providers"))

    def plan_readers(self) -> Mapping[str, PlanReader]:
        """Return the plan readers of the built-ins and of all plugins that are on, by provider."""
        return {reader.provider: reader for reader in self._registry.gather("portico_plan_readers")}

    def auth_methods(self) -> tuple[AuthMethod, ...]:
        return tuple(self._registry.gather("portico_auth_methods"))

    def emulators(self) -> tuple[Emulator, ...]:
        return tuple(self._registry.gather("portico_emulators"))

    def doctor_checks(self) -> tuple[DoctorCheck, ...]:
        return tuple(self._registry.gather("portico_doctor_checks"))

    def dialects(self) -> tuple[TokenDialect, ...]:
        """Return the token dialects of all plugins that are on. The host's own dialect `standard` is not included."""
        return tuple(self._registry.gather("portico_token_dialects"))

    def cli_commands(self, only: Collection[str] | None = None) -> tuple[CliCommand, ...]:
        """Return the commands of all plugins that are on, limited to `only`."""
        if not any(record.enabled for record in self._inventory.records.values()):
            return ()
        return tuple(self._registry.gather("portico_cli_commands", only))

    def auth_method(self, choice: str) -> AuthMethod:
        """Return the method of an auth choice, after loading only the plugin that announces the choice.

        Raises:
            UsageError: `unknown-name`.
            ConfigError: the plugin is off or failed.
        """
        owner = self.plugin_for_choice(choice)
        if owner is None:
            raise UnknownName(f"Unknown auth choice: {choice}")
        method: AuthMethod = self._get_one("portico_auth_methods", owner, choice)
        return method

    def dialect(self, name: str) -> TokenDialect:
        """Return the token dialect with this name, after loading only the plugin that announces the dialect.

        Raises:
            ConfigError: `plugin-disabled`: no plugin has the dialect, or its plugin is off. `plugin-failed`.
        """
        if name == "standard":
            from portico.oauth.standard import StandardDialect

            return StandardDialect()
        owner = self.plugin_for_dialect(name)
        if owner is None:
            hint = "The plugin of this account is no longer installed: see `{prog} plugins list`."
            raise PluginDisabled(f"No plugin has the token dialect {name}.", hint=hint)
        dialect: TokenDialect = self._get_one("portico_token_dialects", owner, name)
        return dialect

    def _get_one(self, hook: str, owner: str, key: str) -> Any:
        from portico.plugins.loading import KINDS

        self.require(owner)
        kind = KINDS[hook]
        for item in self._registry.gather(hook, {owner}):
            if getattr(item, kind.key) == key:
                return item
        record = self.find(owner)
        if record.error is not None:
            raise _failed_error(record)
        raise PluginFailed(f'Plugin "{owner}" announces the {kind.label} {key} but does not have it.')


def entry_problems(source: Effective, config: PluginsConfig, *, paths: Paths, env: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the violations of plugins' `configSchema` in `plugins.entries.<id>.config`; no plugin is imported."""
    from portico.config.document import Problem, shown_path
    from portico.plugins.manifest import config_problems

    configured = {id: dict(entry.config) for id, entry in config.entries.items() if entry.config}
    host = PluginHost(config, paths=paths, env=env)
    for id, settings in configured.items():
        record = host.record(id)
        if record is None or record.id != id or record.candidate.problem is not None:
            continue  # `plugins doctor` reports the problem
        for problem in config_problems(record.manifest.config_schema, settings):
            path = ("plugins", "entries", id, "config", *problem.path)
            origin = source.origin(path, of_key=True)
            yield Problem("error", str(origin), path, f"{shown_path(path)} {problem.message}", layer=origin.layer, plugin=id)


def _same_host(one: PluginsConfig, other: PluginsConfig) -> bool:
    """Whether two sections can share a host. `==` ignores the problems of entries, so the problems are compared separately."""
    return one == other and all(
        (entry.problem, entry.inherited) == (other.entries[id].problem, other.entries[id].inherited)
        for id, entry in one.entries.items()
    )


def _set_once(host: PluginHost, name: str, value: T) -> T:
    """Return `value`, or the value of another thread that was faster. Since Python 3.12, `cached_property` does not lock."""
    shared_value: T = host.__dict__.setdefault(name, value)
    return shared_value


def not_yours_error(record: PluginRecord) -> ConfigError:
    """Return the error about a plugin whose code another user can change."""
    exposure = record.candidate.exposure
    message = f'Plugin "{record.id}" is not used: another user can change its code.'
    hint = exposure.hint if exposure is not None else None
    return PluginNotYours(message, why=str(exposure), hint=hint)


def _failed_error(record: PluginRecord) -> ConfigError:
    if record.candidate.exposure is not None:
        return not_yours_error(record)
    hint = f"See `{{prog}} plugins info {record.id}`."
    return PluginFailed(f'Plugin "{record.id}" cannot be used.', why=record.error, hint=hint)
