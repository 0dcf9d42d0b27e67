"""Loading: import plugins, register them and call their hooks.

A plugin's failure is recorded and does not affect other plugins. The results of each hook are checked: their type or
attributes, and that their keys are unique.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final

import pluggy

from portico.errors import PorticoError
from portico.interfaces.authorization import TokenDialect
from portico.interfaces.plugins import AuthMethod, CliCommand, DoctorCheck, PlanReader, ProviderSpec
from portico.plugins import spec
from portico.plugins.manifest import PluginFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import ModuleType
    from typing import TextIO

    from portico.config.schema import PluginsConfig
    from portico.plugins.discovery import Candidate, PluginRecord
    from portico.plugins.manager import Inventory

TRACE_ENV: Final = "PORTICO_TRACE_PLUGINS"


def new_registry(env: Mapping[str, str]) -> pluggy.PluginManager:
    """Return a registry with the hooks and the built-in providers."""
    from portico.plugins.builtin import BUILT_IN

    registry = pluggy.PluginManager(spec.PROJECT)
    registry.add_hookspecs(spec)
    if env.get(TRACE_ENV) == "1":
        _trace(registry)
    for id, plugin in BUILT_IN.items():
        register(registry, plugin, f"builtin:{id}")  # a manifest's id cannot contain a colon
    return registry


def import_plugin(candidate: Candidate) -> ModuleType:
    """Import the plugin's module from the plugin's folder.

    Raises:
        Exception: any exception of the plugin's code.
        ConfigError: another package with the same name is already loaded.
    """
    from importlib import import_module

    module = candidate.manifest.module
    if candidate.folder is not None:
        _import_package(module.partition(".")[0], candidate.folder)
    return import_module(module)


def _import_package(name: str, folder: Path) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    loaded = sys.modules.get(name)
    if loaded is not None:
        if folder.resolve() not in {Path(path).resolve() for path in getattr(loaded, "__path__", ())}:
            raise PluginFailed(f"another package named {name} is already loaded", where=getattr(loaded, "__file__", None))
        return
    init_file = folder / "__init__.py"
    spec = spec_from_file_location(name, init_file, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None or not init_file.is_file():
        raise PluginFailed(f"package {name} has no __init__.py", where=str(folder))
    package = module_from_spec(spec)
    sys.modules[name] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[name]
        raise


def register(registry: pluggy.PluginManager, plugin: object, name: str) -> tuple[str, ...]:
    """Register `plugin` and return the names of its hooks. A plugin with a misspelt hook is not registered.

    Raises:
        ConfigError: `plugin-failed`: a hook is unknown, has an unknown parameter, or has no marker.
    """
    try:
        registry.register(plugin, name=name)
    except (pluggy.PluginValidationError, ValueError) as exc:
        if registry.has_plugin(name):
            registry.unregister(name=name)
        raise PluginFailed(" ".join(str(exc).split())) from exc
    problems = [*_unknown_hooks(registry, plugin), *_unmarked_hooks(plugin, registry)]
    hooks = tuple(sorted(caller.name for caller in registry.get_hookcallers(plugin) or ()))
    if not hooks and not problems:
        problems = ["implements no hook"]
    if problems:
        registry.unregister(plugin)
        raise PluginFailed("; ".join(problems))
    return hooks


def _unknown_hooks(registry: pluggy.PluginManager, plugin: object) -> Iterator[str]:
    for caller in registry.get_hookcallers(plugin) or ():
        optional = any(impl.optionalhook for impl in caller.get_hookimpls() if impl.plugin is plugin)
        if not caller.has_spec() and not optional:
            yield f"unknown hook {caller.name}{_suggestion(caller.name)}"


def _unmarked_hooks(plugin: object, registry: pluggy.PluginManager) -> Iterator[str]:
    for name, value in vars(plugin).items():
        if name.startswith(spec.PREFIX) and callable(value) and registry.parse_hookimpl_opts(plugin, name) is None:
            yield f"{name} is not marked with @hookimpl"


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [hook for hook in vars(spec) if hook.startswith(spec.PREFIX)], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def call_one(registry: pluggy.PluginManager, hook: str, plugin: object, **arguments: object) -> list[object]:
    """Call one hook of one plugin, and return all items of its result.

    Raises:
        Exception: any exception of the plugin's code.
    """
    others = [each for each in registry.get_plugins() if each is not plugin]
    results = registry.subset_hook_caller(hook, others)(**arguments)
    return [item for result in results for item in result]


def _trace(registry: pluggy.PluginManager) -> None:
    from time import perf_counter

    started: list[float] = []

    def before(_hook: str, _impls: object, _arguments: object) -> None:
        started.append(perf_counter())

    def after(outcome: pluggy.Result[Any], hook: str, impls: Sequence[pluggy.HookImpl], _arguments: object) -> None:
        ms = (perf_counter() - started.pop()) * 1000
        names = ", ".join(impl.plugin_name for impl in impls)
        raised = f" raised {type(outcome.exception).__name__}" if outcome.exception is not None else ""
        trace(f"{hook}: {names or 'no plugin'} ({ms:.1f} ms){raised}")

    registry.add_hookcall_monitoring(before, after)


def trace(text: str) -> None:
    """Print a line for `PORTICO_TRACE_PLUGINS`. It has names and times, but no values."""
    print(f"plugins: {text}", file=sys.stderr)  # noqa: T201 - tracing goes to stderr


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of contribution: its name in messages, its key attribute, and its type or required attributes."""

    label: str
    key: str
    type: type | None = None
    attributes: tuple[str, ...] = ()

    def problem(self, item: object) -> str | None:
        """Return why `item` is not of this kind."""
        if self.type is not None and not isinstance(item, self.type):
            return f"{self.label} must be a {self.type.__name__}, not {type(item).__name__}"
        missing_attributes = [name for name in self.attributes or (self.key,) if not hasattr(item, name)]
        if missing_attributes:
            return f"{self.label} of type {type(item).__name__} lacks {', '.join(missing_attributes)}"
        return None


def _members(protocol: type) -> tuple[str, ...]:
    """Return the members of a protocol, in their order.

    Plugins must have all of them, so a later optional addition needs a separate protocol, such as `KnowsClients`.
    """
    return tuple(name for name in (*protocol.__annotations__, *vars(protocol)) if not name.startswith("_"))


KINDS: Final[Mapping[str, Kind]] = {
    "portico_providers": Kind("provider", "id", ProviderSpec),
    "portico_plan_readers": Kind("plan reader", "provider", attributes=_members(PlanReader)),
    "portico_auth_methods": Kind("auth method", "choice", attributes=_members(AuthMethod)),
    "portico_token_dialects": Kind("token dialect", "name", attributes=_members(TokenDialect)),
    "portico_emulators": Kind("emulator", "id", attributes=("id", "label", "hosts", "app")),
    "portico_doctor_checks": Kind("doctor check", "id", DoctorCheck),
    "portico_cli_commands": Kind("command", "name", CliCommand),
}


# A refresh loads dialects on its own thread, but stdout and the loaded modules belong to the whole process.
_LOADING: Final = RLock()


class Registry:
    """Loads the plugins of an `Inventory` and caches the results of their hooks; failures go into the inventory's records."""

    def __init__(self, inventory: Inventory, config: PluginsConfig, env: Mapping[str, str]) -> None:
        self._inventory = inventory
        self._config = config
        self._env = env
        self._attempted: set[str] = set()
        self._results: dict[tuple[str, str], list[Any]] = {}

    def load(self, only: Collection[str] | None = None) -> None:
        """Import and register the plugins that are on, limited to `only`."""
        with _LOADING:
            for record in list(self._inventory.records.values()):
                is_wanted = record.enabled and record.error is None and (only is None or record.id in only)
                if is_wanted and record.id not in self._attempted:
                    self._attempted.add(record.id)
                    self._load_one(record)

    def gather(self, hook: str, only: Collection[str] | None = None) -> list[Any]:
        """Return the results of `hook` from built-ins and plugins. If two results have the same key, use the first."""
        with _LOADING:
            self.load(only)
            return list(self._gather_unique(hook, only))

    def _gather_unique(self, hook: str, only: Collection[str] | None) -> Iterator[Any]:
        kind = KINDS[hook]
        owners: dict[str, str] = {}
        for name, plugin in self._implementers(hook):
            if only is not None and name not in only:
                continue
            for item in self._call_hook(hook, name, plugin):
                key = getattr(item, kind.key)
                owner = owners.setdefault(key, name)
                if owner == name:
                    yield item
                else:
                    self._update(name, error=f"{kind.label} already registered: {key} ({owner})")

    @cached_property
    def _pluggy(self) -> pluggy.PluginManager:
        return new_registry(self._env)

    def _implementers(self, hook: str) -> list[tuple[str, object]]:
        names = {impl.plugin_name for impl in getattr(self._pluggy.hook, hook).get_hookimpls()}
        return [(name, plugin) for name, plugin in self._pluggy.list_name_plugin() if name in names]

    def _load_one(self, record: PluginRecord) -> None:
        from portico.plugins.manifest import config_problems

        problems = [*config_problems(record.manifest.config_schema, self._plugin_config(record.id))]
        if problems:
            self._update(record.id, error=f"invalid config: {'; '.join(map(str, problems))}")
            return
        with self._isolated(record.id, "failed to load plugin"):
            module = import_plugin(record.candidate)
            hooks = register(self._pluggy, module, record.id)
            self._update(record.id, loaded=True, hooks=hooks)

    def _plugin_config(self, id: str) -> dict[str, Any]:
        entry = self._config.entries.get(id)
        return dict(entry.config) if entry is not None else {}

    def _call_hook(self, hook: str, name: str, plugin: object) -> list[Any]:
        cached = self._results.get((hook, name))
        if cached is not None:
            return cached
        items: list[Any] = []
        with self._isolated(name, f"{hook} failed"):
            items = self._call_and_check(hook, name, plugin)
        self._results[hook, name] = items
        if hook == "portico_cli_commands":
            self._update(name, commands=tuple(command.name for command in items))
        return items

    def _call_and_check(self, hook: str, name: str, plugin: object) -> list[Any]:
        arguments = {"config": self._plugin_config(name)} if hook == "portico_auth_methods" else {}
        items = call_one(self._pluggy, hook, plugin, **arguments)
        problems = [problem for item in items if (problem := KINDS[hook].problem(item)) is not None]
        if problems:
            raise PluginFailed("; ".join(problems))
        return items

    @contextmanager
    def _isolated(self, name: str, what: str) -> Iterator[None]:
        # A program may read stdout, so a plugin's output must not appear in it.
        try:
            with _STDOUT_TO_STDERR:
                yield
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a plugin may fail in any way; it is reported, others go on
            self._update(name, error=f"{what}: {_describe(exc)}")
            self._trace(exc)

    def _update(self, name: str, **changes: Any) -> None:
        record = self._inventory.records.get(name)
        if record is not None:
            self._inventory.records[name] = replace(record, **changes)

    def _trace(self, exc: BaseException) -> None:
        if self._env.get(TRACE_ENV) == "1":
            import traceback

            from portico.secret import redact

            trace(redact("".join(traceback.format_exception(exc))))


class _StdoutToStderr:
    """Redirects stdout to stderr while any thread is in the block. `redirect_stdout` is not safe with two threads."""

    def __init__(self) -> None:
        self._changing = Lock()
        self._inside = 0
        self._stdout: TextIO = sys.stdout

    def __enter__(self) -> None:
        with self._changing:
            if not self._inside:
                self._stdout, sys.stdout = sys.stdout, sys.stderr
            self._inside += 1

    def __exit__(self, *_exc: object) -> None:
        with self._changing:
            self._inside -= 1
            if not self._inside:
                sys.stdout = self._stdout


_STDOUT_TO_STDERR: Final = _StdoutToStderr()


def _describe(exc: BaseException) -> str:
    from portico.net.reply_values import plain_text
    from portico.secret import redact

    text = plain_text(redact(str(exc)), 300)
    if text is None:
        return type(exc).__name__
    return text if isinstance(exc, PorticoError) else f"{type(exc).__name__}: {text}"
