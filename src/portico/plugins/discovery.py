"""Finding plugins by their manifests, without importing one: paths from the config, installed distributions, bundled ones."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import ConfigError
from portico.ownership import Owners
from portico.paths import PACKAGE, UnknownHome, expanded
from portico.plugins.manifest import MANIFEST_NAME, Manifest, read_manifest
from portico.store.atomic import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.metadata import EntryPoint

    from portico.interfaces.basics import JsonValue
    from portico.ownership import Exposure


ENTRY_POINT_GROUP: Final = "portico.plugins"
_LARGEST_TEXT: Final = 4 << 20  # bytes of a distribution's metadata, which holds its whole README
Origin = Literal["config", "installed", "bundled"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that was found. `problem` says why its manifest cannot be read; the manifest then holds only an id and a path.

    `folder` is where its code is imported from, None where Python's own path finds it. `exposure` says what lets another user
    change its code, which then is never imported.
    """

    origin: Origin
    manifest: Manifest
    problem: str | None = None
    folder: Path | None = None
    version: str | None = None
    exposure: Exposure | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something about plugins that a person should know."""

    level: Literal["warning", "error"]
    message: str
    plugin: str | None = None
    source: str | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The diagnostic as `plugins list --json` prints it."""
        optional: dict[str, JsonValue] = {"pluginId": self.plugin, "source": self.source}
        known = {name: value for name, value in optional.items() if value is not None}
        return {"level": self.level, "message": self.message, **known}


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to choose from. `candidates` come first come first: load paths, installed distributions, bundled plugins.

    `problems` are about the places that were looked at.
    """

    candidates: tuple[Candidate, ...]
    problems: tuple[Diagnostic, ...]


def find(load_paths: Iterable[str], base: Path, bundled: Sequence[Path] | None = None) -> Found:
    """Look for plugins in every place.

    Args:
        load_paths: `plugins.load.paths`; relative ones start at `base`, the config file's folder.
        base: see above.
        bundled: the package folders of the plugins that come with Portico; None finds them.
    """
    folders = bundled_folders() if bundled is None else bundled
    trusted = {folder.resolve() for folder in folders}
    found = [*chain(in_load_paths(load_paths, base), installed(), (in_folder(folder, "bundled") for folder in folders))]
    owners = Owners()
    return Found(
        tuple(_with_exposure(each, owners, trusted) for each in found if isinstance(each, Candidate)),
        tuple(each for each in found if isinstance(each, Diagnostic)),
    )


def _with_exposure(candidate: Candidate, owners: Owners, trusted: set[Path]) -> Candidate:
    """The candidate with what lets another user change its code, who cannot change Portico itself where both lie together."""
    folder = candidate.manifest.path.parent
    if candidate.origin == "bundled" or folder.resolve() in trusted:
        return candidate
    own = beside(folder)
    exposure = owners.exposure_beside(folder, own) if own is not None else owners.exposure_within(folder)
    if exposure is None:
        return candidate
    return replace(candidate, exposure=exposure, problem=f"another user can change its code ({exposure})")


def bundled_folders() -> list[Path]:
    """The packages of the plugins that come with Portico: in a checkout its `extensions`, else the copy in the wheel."""
    checkout = PACKAGE.parent.parent
    if PACKAGE.parent.name == "src" and (checkout / "extensions").is_dir():
        return sorted(manifest.parent for manifest in checkout.glob(f"extensions/*/src/*/{MANIFEST_NAME}"))
    return sorted(manifest.parent for manifest in PACKAGE.glob(f"_bundled/*/{MANIFEST_NAME}"))


def beside(folder: Path) -> Path | None:
    """Portico's own package if `folder`, a plugin's, lies in the same folder, as in one `site-packages`; else None."""
    own = PACKAGE.resolve()
    return own if folder.resolve().parent == own.parent else None


def in_folder(folder: Path, origin: Origin) -> Candidate:
    """The plugin whose package is `folder`."""
    return _candidate(folder / MANIFEST_NAME, origin, fallback_id=folder.name, folder=folder)


def in_load_paths(paths: Iterable[str], base: Path) -> Iterator[Candidate | Diagnostic]:
    """The plugins of `plugins.load.paths`: each a package folder, a folder of such, or a project with a `src` folder.

    Relative paths start at `base`, the config file's folder.
    """
    for text in paths:
        try:
            path = base / expanded(text, "plugin path")
        except UnknownHome as error:
            yield Diagnostic("error", error.message, source=text)
            continue
        root = path.parent if path.name == MANIFEST_NAME else path
        folders = _plugin_folders(root)
        if folders:
            yield from (in_folder(folder, "config") for folder in folders)
        else:
            what = "plugin manifest not found" if root.exists() else "plugin path not found"
            yield Diagnostic("error", f"{what}: {text}", source=str(path))


def _plugin_folders(root: Path) -> list[Path]:
    for pattern in (MANIFEST_NAME, f"*/{MANIFEST_NAME}", f"src/*/{MANIFEST_NAME}"):
        found = sorted(manifest.parent for manifest in root.glob(pattern))
        if found:
            return found
    return []


def installed() -> Iterator[Candidate | Diagnostic]:
    """The plugins of installed distributions, by their entry points."""
    for point in _entry_points():
        yield _from_entry_point(point)


def _entry_points() -> Iterator[EntryPoint]:
    # Looking for the group's name in a few small files costs a tenth of importing `importlib.metadata`, which then reads only the
    # distributions that have it: it would wait for ever for a FIFO in any other one. What only `importlib.metadata` can find, in
    # an archive on the path or by another finder of distributions, is left to it.
    if any(map(_finds_elsewhere, sys.meta_path)):
        yield from _all_entry_points()
        return
    seen: set[str] = set()
    for folder in sys.path:
        try:
            infos = sorted(entry for entry in Path(folder).iterdir() if entry.name.endswith((".dist-info", ".egg-info")))
        except NotADirectoryError:
            if Path(folder).is_file():
                yield from _entry_points_in(folder)
            continue
        except OSError:
            continue
        for info in infos:
            name = info.name.partition("-")[0].lower()
            if name not in seen and _mentions_group(info):  # of two distributions of one name Python has the first
                yield from _entry_points_of(info)
            seen.add(name)


def _finds_elsewhere(finder: object) -> bool:
    """Whether it may find distributions that are not in the folders of `sys.path`; the backport of Python's own does not."""
    backport = getattr(finder, "__module__", type(finder).__module__).partition(".")[0] == "importlib_metadata"
    return hasattr(finder, "find_distributions") and finder is not PathFinder and not backport


def _mentions_group(info: Path) -> bool:
    """Whether a distribution has such entry points, and its files are ones that can be read."""
    try:
        if ENTRY_POINT_GROUP.encode() not in read_file(info / "entry_points.txt", _LARGEST_TEXT):
            return False
        for name in ("METADATA", "PKG-INFO"):
            if (info / name).exists():
                read_file(info / name, _LARGEST_TEXT)
    except OSError:
        return False
    return True


def _entry_points_of(info: Path) -> Iterable[EntryPoint]:
    from importlib.metadata import Distribution

    return Distribution.at(info).entry_points.select(group=ENTRY_POINT_GROUP)


def _entry_points_in(archive: str) -> Iterator[EntryPoint]:
    from importlib.metadata import distributions

    for distribution in distributions(path=[archive]):
        yield from distribution.entry_points.select(group=ENTRY_POINT_GROUP)


def _all_entry_points() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINT_GROUP)


def _from_entry_point(point: EntryPoint) -> Candidate | Diagnostic:
    package = point.module.partition(".")[0]
    version = point.dist.version if point.dist is not None else None
    folder = _package_folder(package)
    if folder is None:
        return Diagnostic("error", f"package {package} of an installed plugin is not there", plugin=point.name)
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
        nothing = Manifest(path=path, id=fallback_id, name=fallback_id, description="", module="")
        return Candidate(origin, nothing, problem=exc.message, folder=folder, version=version)
    return Candidate(origin, manifest, folder=folder, version=version)
