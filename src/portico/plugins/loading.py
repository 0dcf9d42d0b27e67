"""Importing and registering one plugin at a time, so that none can take another one down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import pluggy

from portico.errors import ConfigError
from portico.plugins import spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from portico.plugins.discovery import Candidate

TRACE_ENV: Final = "PORTICO_TRACE_PLUGINS"


def new_registry(env: Mapping[str, str]) -> pluggy.PluginManager:
    """A registry that knows the hooks and holds the built-in providers."""
    from portico.plugins.builtin import BUILT_IN

    registry = pluggy.PluginManager(spec.PROJECT)
    registry.add_hookspecs(spec)
    if env.get(TRACE_ENV) == "1":
        _trace(registry)
    for id, plugin in BUILT_IN.items():
        register(registry, plugin, f"builtin:{id}")  # a name that no manifest's id can be
    return registry


def import_plugin(candidate: Candidate) -> ModuleType:
    """The plugin's module, imported from where the plugin was found.

    Raises:
        Exception: whatever the plugin's code raises.
        ConfigError: another package of the same name is loaded already.
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
        if folder.resolve() not in _folders(loaded):
            raise ConfigError("plugin-conflict", f"another package named {name} is already loaded", where=_place(loaded))
        return
    start = folder / "__init__.py"
    found = spec_from_file_location(name, start, submodule_search_locations=[str(folder)])
    if found is None or found.loader is None or not start.is_file():
        raise ConfigError("plugin-code", f"package {name} has no __init__.py", where=str(folder))
    package = module_from_spec(found)
    sys.modules[name] = package
    try:
        found.loader.exec_module(package)
    except BaseException:
        del sys.modules[name]
        raise


def _folders(package: ModuleType) -> set[Path]:
    from pathlib import Path

    return {Path(entry).resolve() for entry in getattr(package, "__path__", ())}


def _place(package: ModuleType) -> str | None:
    return getattr(package, "__file__", None)


def register(registry: pluggy.PluginManager, plugin: object, name: str) -> tuple[str, ...]:
    """Register `plugin` and return the names of the hooks it implements; what is misspelt leaves it unregistered.

    Raises:
        ConfigError: `plugin-hooks`: a hook is unknown, takes what it is not given, or lacks its marker.
    """
    try:
        registry.register(plugin, name=name)
    except (pluggy.PluginValidationError, ValueError) as exc:
        if registry.has_plugin(name):
            registry.unregister(name=name)
        raise ConfigError("plugin-hooks", _one_line(exc)) from exc
    problems = [*_misspelt(registry, plugin), *_unmarked(plugin, registry)]
    hooks = tuple(sorted(caller.name for caller in registry.get_hookcallers(plugin) or ()))
    if not hooks and not problems:
        problems = ["implements no hook"]
    if problems:
        registry.unregister(plugin)
        raise ConfigError("plugin-hooks", "; ".join(problems))
    return hooks


def _misspelt(registry: pluggy.PluginManager, plugin: object) -> Iterator[str]:
    for caller in registry.get_hookcallers(plugin) or ():
        optional = any(impl.optionalhook for impl in caller.get_hookimpls() if impl.plugin is plugin)
        if not caller.has_spec() and not optional:
            yield f"unknown hook {caller.name}{_suggestion(caller.name)}"


def _unmarked(plugin: object, registry: pluggy.PluginManager) -> Iterator[str]:
    for name, value in vars(plugin).items():
        if name.startswith(spec.PREFIX) and callable(value) and registry.parse_hookimpl_opts(plugin, name) is None:
            yield f"{name} is not marked with @hookimpl"


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [hook for hook in vars(spec) if hook.startswith(spec.PREFIX)], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def call_one(registry: pluggy.PluginManager, hook: str, plugin: object, **arguments: object) -> list[object]:
    """What one plugin answers to one hook, its iterables read to the end.

    Raises:
        Exception: whatever the plugin's code raises.
    """
    others = [each for each in registry.get_plugins() if each is not plugin]
    answers = registry.subset_hook_caller(hook, others)(**arguments)
    return [item for answer in answers for item in answer]


def _trace(registry: pluggy.PluginManager) -> None:
    from time import perf_counter

    started: list[float] = []

    def before(_hook: str, _impls: object, _arguments: object) -> None:
        started.append(perf_counter())

    def after(outcome: pluggy.Result[Any], hook: str, impls: Sequence[pluggy.HookImpl], _arguments: object) -> None:
        took = (perf_counter() - started.pop()) * 1000
        names = ", ".join(impl.plugin_name for impl in impls)
        trace(f"{hook}: {names or 'nobody'} ({took:.1f} ms){_failed(outcome)}")

    registry.add_hookcall_monitoring(before, after)


def _failed(outcome: pluggy.Result[Any]) -> str:
    return f" raised {type(outcome.exception).__name__}" if outcome.exception is not None else ""


def trace(text: str) -> None:
    """One line of `PORTICO_TRACE_PLUGINS`; names and times, never values."""
    print(f"plugins: {text}", file=sys.stderr)  # noqa: T201 - a tracing aid, on stderr by its definition


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
