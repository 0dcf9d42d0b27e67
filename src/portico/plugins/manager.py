"""The plugin manager: what plugins there are, which are on, and what those that are on bring.

A plugin that is off is never imported. One that cannot be read, imported, registered or called is reported and left out. Which
are on is worked out from manifests and config alone, and so are the problems in plugins' own settings.
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
    """No plugin of that id is installed."""

    id = "plugin-not-found"


class Inventory:
    """The plugins found, first come first, and whether each is on.

    `records` holds one plugin an id; `overridden` the later copies, without those that an installed distribution replaces.
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
            # Otherwise another user keeps a plugin from being used by a manifest of its id alone.
            self.records[id] = record
            self.overridden.append(replace(first.overridden_by(record), error=first.error))
            return
        if not (candidate.origin == "bundled" and first.candidate.origin == "installed"):
            self.overridden.append(record.overridden_by(first))

    def diagnostics(self) -> list[Diagnostic]:
        """What is wrong with the plugins section and with the places it names."""
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
        """The id closest to a misspelt or shortened one."""
        from difflib import get_close_matches

        by_prefix = [id for id in self.records if id.startswith(name.lower())]
        return next(iter([*get_close_matches(name.lower(), self.records, n=1), *by_prefix]), None)


T = TypeVar("T")


class _Run:
    """What the hosts of one run share, whatever the configuration has become meanwhile: plugins are looked for once."""

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
    """The plugins of one run, as one `plugins` section has them.

    Args:
        config: the config's `plugins` section.
        paths: relative `plugins.load.paths` start at the config file's folder.
        env: `PORTICO_LOAD_PLUGINS` (empty, or ids with commas) narrows what is on; `PORTICO_TRACE_PLUGINS=1` tells hook calls.
        bundled: the package folders of the plugins that come with Portico; None finds them.
        run: what is shared with the other hosts of the run (`for_config`).
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
        """The host of this run for another `plugins` section; the same host for the same section."""
        same = next((each for section, each in self._run.hosts if _same_host(section, config)), None)
        return same or PluginHost(config, paths=self._run.paths, env=self._env, run=self._run)

    # --- what there is, without importing anything ---

    @cached_property
    def _inventory(self) -> Inventory:
        return _set_once(self, "_inventory", Inventory(self._run.found(self._config.load_paths), self._config, self._env))

    def records(self) -> list[PluginRecord]:
        """Every plugin found, first come first; then the later copies of an id, shown as overridden."""
        return [*self._inventory.records.values(), *self._inventory.overridden]

    def record(self, name: str) -> PluginRecord | None:
        """The plugin of this id, or of this name in any case."""
        records = self._inventory.records
        by_name = (record for record in records.values() if record.name.lower() == name.lower())
        return records.get(name) or min(by_name, key=lambda record: record.candidate.exposure is not None, default=None)

    def find(self, name: str) -> PluginRecord:
        """The plugin of this id or name.

        Raises:
            UsageError: `plugin-not-found`, with the nearest id.
        """
        record = self.record(name)
        if record is None:
            near = self._inventory.nearest(name)
            hint = f"Did you mean {near}?" if near else "See `{prog} plugins list`."
            raise PluginNotFound(f"Plugin not found: {name}", hint=hint)
        return record

    def providers_off(self) -> dict[str, str]:
        """The providers that only a plugin which is off, and could be used, would bring, with its id."""
        usable = [record for record in self.records() if record.candidate.exposure is None]
        provided = [(provider, record) for record in usable for provider in record.manifest.providers]
        enabled = {provider for provider, record in provided if record.enabled}
        return {provider: record.id for provider, record in provided if provider not in enabled}

    def diagnostics(self) -> list[Diagnostic]:
        """What is wrong with the plugins section and with the places it names; none of it stops another command."""
        return self._inventory.diagnostics()

    def why_not(self, id: str) -> str | None:
        """Why the plugin is off or has failed; None where nothing is known against it."""
        return self.find(id).why

    def plugin_for_choice(self, choice: str) -> str | None:
        """The id of the plugin whose manifest announces this auth choice."""
        return self._plugin_announcing(lambda manifest: choice in {each.id for each in manifest.auth_choices})

    def plugin_for_dialect(self, name: str) -> str | None:
        """The id of the plugin whose manifest announces this token dialect."""
        return self._plugin_announcing(lambda manifest: name in manifest.dialects)

    def plugin_for_emulator(self, id: str) -> str | None:
        """The id of the plugin whose manifest announces this emulator."""
        return self._plugin_announcing(lambda manifest: id in manifest.emulators)

    def _plugin_announcing(self, announces: Callable[[Manifest], bool]) -> str | None:
        """Of several plugins that announce one thing, one that is on comes first, then one that comes with Portico.

        Last comes one whose code another user can change: her manifest takes no sign-in away from a plugin that can be used.
        """

        def rank(record: PluginRecord) -> tuple[bool, ...]:
            return record.candidate.exposure is not None, not record.enabled, record.candidate.origin != "bundled"

        claimants = [record for record in self._records() if announces(record.manifest)]
        first = min(claimants, key=rank, default=None)
        return first.id if first is not None else None

    def _records(self) -> Collection[PluginRecord]:
        return self._inventory.records.values()

    def enabling(self, id: str) -> PluginHost:
        """A host in which the plugin is on, as it will be once `with_plugin_enabled` has been written.

        This lifts the default that keeps a bundled plugin off, and never what the user has said.

        Raises:
            ConfigError: `plugin-disabled`: its own entry switches it off, or the config or the environment blocks it.
        """
        config = with_entry_enabled(self._config, self.find(id).id)
        decision = why_blocked(id, config, self._env) or off_by_entry(id, self._config)
        if decision is not None:
            raise disabled_error(id, decision)
        return self.for_config(config)

    # --- loading ---

    def load(self, only: Collection[str] | None = None) -> None:
        """Import and register the plugins that are on, or those of them that `only` names. Failures are recorded, not raised."""
        if any(record.enabled for record in self._records()):
            self._registry.load(only)

    def require(self, id: str) -> PluginRecord:
        """The plugin, loaded.

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

    # --- what the loaded plugins bring ---

    def providers(self) -> tuple[ProviderSpec, ...]:
        """The providers of the built-ins and of every plugin that is on."""
        return tuple(self._registry.gather("portico_providers"))

    def plan_readers(self) -> Mapping[str, PlanReader]:
        """Who reads the plan usage of which provider's accounts, by provider: of the built-ins and of every plugin that is on."""
        return {reader.provider: reader for reader in self._registry.gather("portico_plan_readers")}

    def auth_methods(self) -> tuple[AuthMethod, ...]:
        """The sign-in methods of every plugin that is on."""
        return tuple(self._registry.gather("portico_auth_methods"))

    def emulators(self) -> tuple[Emulator, ...]:
        """The emulators of every plugin that is on."""
        return tuple(self._registry.gather("portico_emulators"))

    def doctor_checks(self) -> tuple[DoctorCheck, ...]:
        """The doctor checks of every plugin that is on."""
        return tuple(self._registry.gather("portico_doctor_checks"))

    def dialects(self) -> tuple[TokenDialect, ...]:
        """The token dialects of every plugin that is on; the host's own `standard` is not among them."""
        return tuple(self._registry.gather("portico_token_dialects"))

    def cli_commands(self, only: Collection[str] | None = None) -> tuple[CliCommand, ...]:
        """The commands of every plugin that is on, or of those that `only` names."""
        if not any(record.enabled for record in self._records()):
            return ()
        return tuple(self._registry.gather("portico_cli_commands", only))

    def auth_method(self, choice: str) -> AuthMethod:
        """The method of an auth choice; only the plugin that announces it is loaded.

        Raises:
            UsageError: `unknown-name`.
            ConfigError: the plugin is off or has failed.
        """
        owner = self.plugin_for_choice(choice)
        if owner is None:
            raise UnknownName(f"Unknown auth choice: {choice}")
        method: AuthMethod = self._get_one("portico_auth_methods", owner, choice)
        return method

    def dialect(self, name: str) -> TokenDialect:
        """The token dialect of this name; only the plugin that announces it is loaded.

        Raises:
            ConfigError: `plugin-disabled`: no plugin knows it, or the one that does is off. `plugin-failed`.
        """
        if name == "standard":
            from portico.oauth.standard import StandardDialect

            return StandardDialect()
        owner = self.plugin_for_dialect(name)
        if owner is None:
            hint = "The plugin that this sign-in was made with is gone: see `{prog} plugins list`."
            raise PluginDisabled(f"No plugin knows the token dialect {name}.", hint=hint)
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
        raise PluginFailed(f'Plugin "{owner}" announces the {kind.label} {key} but does not bring it.')


def entry_problems(source: Effective, config: PluginsConfig, *, paths: Paths, env: Mapping[str, str]) -> Iterator[Problem]:
    """What `plugins.entries.<id>.config` says against the plugin's `configSchema`, and where; no plugin is imported."""
    from portico.config.document import Problem, shown_path
    from portico.plugins.manifest import config_problems

    configured = {id: dict(entry.config) for id, entry in config.entries.items() if entry.config}
    host = PluginHost(config, paths=paths, env=env)
    for id, settings in configured.items():
        record = host.record(id)
        if record is None or record.id != id or record.candidate.problem is not None:
            continue  # `plugins doctor` reports that
        for problem in config_problems(record.manifest.config_schema, settings):
            path = ("plugins", "entries", id, "config", *problem.path)
            origin = source.origin(path, of_key=True)
            yield Problem("error", str(origin), path, f"{shown_path(path)} {problem.message}", layer=origin.layer, plugin=id)


def _same_host(one: PluginsConfig, other: PluginsConfig) -> bool:
    """Whether two sections make the same host: what is wrong with an entry takes no part in its comparison, and counts here."""
    return one == other and all(
        (entry.problem, entry.inherited) == (other.entries[id].problem, other.entries[id].inherited)
        for id, entry in one.entries.items()
    )


def _set_once(host: PluginHost, name: str, value: T) -> T:
    """`value`, or what another thread has made first: from Python 3.12 on, `cached_property` lets two of them in."""
    shared_value: T = host.__dict__.setdefault(name, value)
    return shared_value


def not_yours_error(record: PluginRecord) -> ConfigError:
    """The error of a plugin whose code another user can change."""
    exposure = record.candidate.exposure
    message = f'Plugin "{record.id}" is not used: another user can change its code.'
    hint = exposure.hint if exposure is not None else None
    return PluginNotYours(message, why=str(exposure), hint=hint)


def _failed_error(record: PluginRecord) -> ConfigError:
    if record.candidate.exposure is not None:
        return not_yours_error(record)
    hint = f"See `{{prog}} plugins info {record.id}`."
    return PluginFailed(f'Plugin "{record.id}" cannot be used.', why=record.error, hint=hint)
