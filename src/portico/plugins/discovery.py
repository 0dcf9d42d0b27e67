"""Discovery: find plugins, decide which plugins are on, and check who can change their code. No plugin is imported.

Plugins are found by their manifests: in the config's paths, in installed distributions, and among the bundled plugins. The first
rule that applies decides if a plugin is on. Code that another user can change is never used.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import ConfigError
from portico.paths import PACKAGE, UnknownHome, expand_home
from portico.plugins.manifest import MANIFEST_NAME, Manifest, read_manifest
from portico.util.files import read_file
from portico.util.ownership import OwnershipCheck

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from importlib.metadata import EntryPoint

    from portico.config.document import ConfigPath, Document
    from portico.config.schema import PluginsConfig
    from portico.interfaces.basics import JsonValue
    from portico.util.ownership import Exposure

LOAD_ENV: Final = "PORTICO_LOAD_PLUGINS"


class PluginDisabled(ConfigError):
    """The plugin is off or no longer installed."""

    id = "plugin-disabled"


@dataclass(frozen=True, slots=True)
class Decision:
    """On or off. If off: `reason` in words, `word` for a table cell, and `remedy`, which switches the plugin on."""

    enabled: bool
    reason: str | None = None
    word: str | None = None
    remedy: str | None = None


ON: Final = Decision(enabled=True)


def decide(id: str, config: PluginsConfig, env: Mapping[str, str], *, bundled: bool) -> Decision:
    """Decide if the plugin `id` is on. A `bundled` plugin is off by default."""
    decision = why_blocked(id, config, env) or off_by_entry(id, config)
    if decision is not None:
        return decision
    entry = config.entries.get(id)
    if bundled and (entry is None or entry.enabled is None):
        return _disabled("bundled (disabled by default)", "bundled", f"Run `{{prog}} plugins enable {id}`.")
    return ON


def why_blocked(id: str, config: PluginsConfig, env: Mapping[str, str]) -> Decision | None:
    """Return what blocks the plugin `id`, even if its own entry switches it on; None if nothing blocks it."""
    if not config.enabled:
        return _disabled("plugins disabled", "plugins off", "Run `{prog} config set plugins.enabled true`.")
    if id in config.deny:
        # Not `config unset` with an index: an included file's array is merged, so the indexes in the own file differ.
        remedy = f"Remove {id} from `plugins.deny`: `{{prog}} config edit`, or edit the included file or the base file."
        return _disabled("blocked by denylist", "denied", remedy)
    if config.allow and id not in config.allow:
        # this command also adds the plugin to the list
        return _disabled("not in allowlist", "not allowed", f"Run `{{prog}} plugins enable {id}`.")
    enabled_only = env.get(LOAD_ENV)
    if enabled_only is not None and id not in {word.strip() for word in enabled_only.split(",")}:
        return _disabled(f"not in {LOAD_ENV}", "environment", f"Unset {LOAD_ENV}, or add {id} to it.")
    return None


def off_by_entry(id: str, config: PluginsConfig) -> Decision | None:
    """Return the decision of an entry that switches the plugin `id` off; else None."""
    entry = config.entries.get(id)
    if entry is None or entry.enabled is not False:
        return None
    return _disabled("disabled in config", "config", f"Run `{{prog}} plugins enable {id}`.")


def with_entry_enabled(config: PluginsConfig, id: str) -> PluginsConfig:
    """Return the config as it will be after writing `with_plugin_enabled(document, id)`."""
    from portico.config.schema import PluginEntry

    entry = config.entries.get(id)
    enabled_entry = PluginEntry(enabled=True) if entry is None else replace(entry, enabled=True)
    allow = (*config.allow, id) if config.allow and id not in config.allow else config.allow
    return replace(config, entries={**config.entries, id: enabled_entry}, allow=allow)


def with_plugin_enabled(document: Document, id: str) -> Document:
    """Return the document with the plugin `id` switched on, and added to an allow list that is not empty.

    An empty allow list allows all plugins. A first member would switch all other plugins off.
    """
    from portico.config.sources import read_stack

    document, allow = document.set(_enabled_path(id), value=True), ("plugins", "allow")
    effective = read_stack(document).effective
    allowed = effective.get(allow) if effective.has(allow) else None
    if isinstance(allowed, list) and allowed and id not in allowed:
        own_allowed = document.get(allow) if document.has(allow) else []  # an included file's array is merged with it
        if isinstance(own_allowed, list):
            document = document.set(allow, [*own_allowed, id])
    return document


def with_plugin_disabled(document: Document, id: str) -> Document:
    """Return the document with the plugin `id` switched off."""
    return document.set(_enabled_path(id), value=False)


def disabled_error(id: str, decision: Decision) -> ConfigError:
    """Return the error about a plugin that is off."""
    return PluginDisabled(f'Plugin "{id}" is off.', why=decision.reason, hint=decision.remedy)


def _enabled_path(id: str) -> ConfigPath:
    return ("plugins", "entries", id, "enabled")


def _disabled(reason: str, word: str, remedy: str) -> Decision:
    return Decision(enabled=False, reason=reason, word=word, remedy=remedy)


Status = Literal["enabled", "loaded", "disabled", "error"]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin and its state. `decision` has whether and why it is on or off; `error` is why it failed."""

    candidate: Candidate
    decision: Decision
    error: str | None = None
    loaded: bool = False
    hooks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def manifest(self) -> Manifest:
        return self.candidate.manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def source(self) -> Path:
        """The manifest's file."""
        return self.manifest.path

    @property
    def version(self) -> str | None:
        """The version from the manifest, else from the installed distribution."""
        return self.manifest.version or self.candidate.version

    @property
    def why(self) -> str | None:
        """Why the plugin failed, else why it is off."""
        return self.error or self.decision.reason

    @property
    def enabled(self) -> bool:
        return self.decision.enabled

    @property
    def status(self) -> Status:
        if self.error is not None:
            return "error"
        if not self.decision.enabled:
            return "disabled"
        return "loaded" if self.loaded else "enabled"

    def overridden_by(self, first: PluginRecord) -> PluginRecord:
        """Return this record marked as overridden by the plugin with the same id in `first`."""
        reason = f"overridden by {first.candidate.origin} plugin"
        return replace(self, decision=Decision(enabled=False, reason=reason, word="overridden"), error=None)

    def as_json(self) -> dict[str, JsonValue]:
        """Return the record for `plugins list --json`."""
        manifest = self.manifest
        record: dict[str, JsonValue] = {
            "id": self.id,
            "name": self.name,
            "description": manifest.description,
            "version": self.version,
            "source": str(self.source),
            "origin": self.candidate.origin,
            "enabled": self.enabled,
            "status": self.status,
            "providerIds": list(manifest.providers),
            "authChoices": [choice.id for choice in manifest.auth_choices],
            "hookNames": list(self.hooks),
            "cliCommands": list(self.commands),
            "configSchema": bool(manifest.config_schema),
            "configJsonSchema": dict(manifest.config_schema),
        }
        return {**record, "error": self.why} if self.why is not None else record


ENTRY_POINT_GROUP: Final = "portico.plugins"
_MAX_METADATA_BYTES: Final = 4 << 20  # a distribution's metadata contains its whole README
Origin = Literal["config", "installed", "bundled"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A discovered plugin.

    `problem` is why its manifest is unreadable; the manifest then has only an id and a path. `folder` is the folder of its
    code; None if Python finds the code on `sys.path`. `exposure` is how another user can change the code; such code is never
    imported.
    """

    origin: Origin
    manifest: Manifest
    problem: str | None = None
    folder: Path | None = None
    version: str | None = None
    exposure: Exposure | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A warning or error about plugins for the user."""

    level: Literal["warning", "error"]
    message: str
    plugin: str | None = None
    source: str | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Return the diagnostic for `plugins list --json`."""
        optional: dict[str, JsonValue] = {"pluginId": self.plugin, "source": self.source}
        optional_fields = {name: value for name, value in optional.items() if value is not None}
        return {"level": self.level, "message": self.message, **optional_fields}


@dataclass(frozen=True, slots=True)
class FoundPlugins:
    """The discovered plugins (from load paths, then installed distributions, then bundled plugins), and the problems of paths."""

    candidates: tuple[Candidate, ...]
    problems: tuple[Diagnostic, ...]


def find(load_paths: Iterable[str], base: Path, bundled: Sequence[Path] | None = None) -> FoundPlugins:
    """Look for plugins in load paths, installed distributions and the bundled plugins.

    Args:
        load_paths: `plugins.load.paths`.
        base: the config file's folder, to which relative load paths refer.
        bundled: the package folders of the bundled plugins; None finds them.
    """
    folders = bundled_folders() if bundled is None else bundled
    trusted = {folder.resolve() for folder in folders}
    found = [*chain(in_load_paths(load_paths, base), installed(), (candidate_in(folder, "bundled") for folder in folders))]
    checker = OwnershipCheck()
    return FoundPlugins(
        tuple(_with_exposure(candidate, checker, trusted) for candidate in found if isinstance(candidate, Candidate)),
        tuple(diagnostic for diagnostic in found if isinstance(diagnostic, Diagnostic)),
    )


def _with_exposure(candidate: Candidate, checker: OwnershipCheck, trusted: set[Path]) -> Candidate:
    """Return the candidate with its exposure. Users who can also change Portico's package in the same folder do not count."""
    folder = candidate.manifest.path.parent
    if candidate.origin == "bundled" or folder.resolve() in trusted:
        return candidate
    reference = package_beside(folder)
    exposure = checker.exposure_beside(folder, reference) if reference is not None else checker.exposure_within(folder)
    if exposure is None:
        return candidate
    return replace(candidate, exposure=exposure, problem=f"another user can change its code ({exposure})")


def bundled_folders() -> list[Path]:
    """Return the packages of the bundled plugins: in a checkout from `extensions`, else from the wheel."""
    checkout = PACKAGE.parent.parent
    if PACKAGE.parent.name == "src" and (checkout / "extensions").is_dir():
        return sorted(manifest.parent for manifest in checkout.glob(f"extensions/*/src/*/{MANIFEST_NAME}"))
    return sorted(manifest.parent for manifest in PACKAGE.glob(f"_bundled/*/{MANIFEST_NAME}"))


def package_beside(folder: Path) -> Path | None:
    """Return Portico's package if it is in the same folder as the plugin's `folder` (as in `site-packages`); else None."""
    package = PACKAGE.resolve()
    return package if folder.resolve().parent == package.parent else None


def candidate_in(folder: Path, origin: Origin) -> Candidate:
    """Return the plugin whose package is `folder`."""
    return _candidate(folder / MANIFEST_NAME, origin, fallback_id=folder.name, folder=folder)


def in_load_paths(paths: Iterable[str], base: Path) -> Iterator[Candidate | Diagnostic]:
    """Yield the plugins of `plugins.load.paths`: a package folder, a folder of packages, or a project with a `src` folder.

    Relative paths refer to `base`, the config file's folder.
    """
    for text in paths:
        try:
            path = base / expand_home(text, "plugin path")
        except UnknownHome as error:
            yield Diagnostic("error", error.message, source=text)
            continue
        root = path.parent if path.name == MANIFEST_NAME else path
        folders = _plugin_folders(root)
        if folders:
            yield from (candidate_in(folder, "config") for folder in folders)
        else:
            problem = "plugin manifest not found" if root.exists() else "plugin path not found"
            yield Diagnostic("error", f"{problem}: {text}", source=str(path))


def _plugin_folders(root: Path) -> list[Path]:
    for pattern in (MANIFEST_NAME, f"*/{MANIFEST_NAME}", f"src/*/{MANIFEST_NAME}"):
        found = sorted(manifest.parent for manifest in root.glob(pattern))
        if found:
            return found
    return []


def installed() -> Iterator[Candidate | Diagnostic]:
    """Yield the plugins of installed distributions, by their entry points."""
    yield from map(_from_entry_point, _entry_points())


def _entry_points() -> Iterator[EntryPoint]:
    # Searching a few small files for the group's name takes a tenth of the time of importing `importlib.metadata`. It also does
    # not read other distributions, where a FIFO would block forever. Archives and other finders still need
    # `importlib.metadata`.
    if any(map(_may_find_elsewhere, sys.meta_path)):
        from importlib.metadata import entry_points

        yield from entry_points(group=ENTRY_POINT_GROUP)
        return
    seen: set[str] = set()
    for folder in sys.path:
        try:
            entries = sorted(each for each in Path(folder).iterdir() if each.name.endswith((".dist-info", ".egg-info")))
        except NotADirectoryError:
            if Path(folder).is_file():
                from importlib.metadata import distributions

                for distribution in distributions(path=[folder]):
                    yield from distribution.entry_points.select(group=ENTRY_POINT_GROUP)
            continue
        except OSError:
            continue
        for metadata in entries:
            name = metadata.name.partition("-")[0].lower()
            if name not in seen and _has_group(metadata):  # if two distributions have the same name, Python uses the first
                from importlib.metadata import Distribution

                yield from Distribution.at(metadata).entry_points.select(group=ENTRY_POINT_GROUP)
            seen.add(name)


def _may_find_elsewhere(finder: object) -> bool:
    """Whether `finder` may find distributions outside the folders of `sys.path`; the backport of Python's own finder does not."""
    backport = getattr(finder, "__module__", type(finder).__module__).partition(".")[0] == "importlib_metadata"
    return hasattr(finder, "find_distributions") and finder is not PathFinder and not backport


def _has_group(metadata: Path) -> bool:
    """Whether a distribution has entry points of the group, and its metadata is readable."""
    try:
        if ENTRY_POINT_GROUP.encode() not in read_file(metadata / "entry_points.txt", _MAX_METADATA_BYTES):
            return False
        for name in ("METADATA", "PKG-INFO"):
            if (metadata / name).exists():
                read_file(metadata / name, _MAX_METADATA_BYTES)
    except OSError:
        return False
    return True


def _from_entry_point(point: EntryPoint) -> Candidate | Diagnostic:
    package = point.module.partition(".")[0]
    version = point.dist.version if point.dist is not None else None
    folder = _package_folder(package)
    if folder is None:
        return Diagnostic("error", f"package {package} of an installed plugin is missing", plugin=point.name)
    return _candidate(folder / MANIFEST_NAME, "installed", fallback_id=point.name, version=version)


def _package_folder(package: str) -> Path | None:
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _candidate(
    path: Path, origin: Origin, *, fallback_id: str, folder: Path | None = None, version: str | None = None
) -> Candidate:
    try:
        manifest = read_manifest(path)
    except ConfigError as exc:
        fallback = Manifest(path=path, id=fallback_id, name=fallback_id, description="", module="")
        return Candidate(origin, fallback, problem=exc.message, folder=folder, version=version)
    return Candidate(origin, manifest, folder=folder, version=version)
