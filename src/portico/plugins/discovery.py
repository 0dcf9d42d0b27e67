"""Finding plugins by their manifests, without importing one: paths from the config, installed distributions, bundled ones."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Final

import portico
from portico.errors import ConfigError
from portico.plugins.manifest import MANIFEST_NAME, Manifest, read_manifest
from portico.plugins.records import Candidate, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import EntryPoint

    from portico.plugins.records import Origin

ENTRY_POINT_GROUP: Final = "portico.plugins"


def bundled_folders() -> list[Path]:
    """The packages of the plugins that come with Portico: in a checkout its `extensions`, else the copy in the wheel."""
    package = Path(portico.__file__).parent
    checkout = package.parent.parent
    if package.parent.name == "src" and (checkout / "extensions").is_dir():
        return sorted(manifest.parent for manifest in checkout.glob(f"extensions/*/src/*/{MANIFEST_NAME}"))
    return sorted(manifest.parent for manifest in package.glob(f"_bundled/*/{MANIFEST_NAME}"))


def in_folder(folder: Path, origin: Origin) -> Candidate:
    """The plugin whose package is `folder`."""
    return _candidate(folder / MANIFEST_NAME, origin, fallback_id=folder.name, folder=folder)


def in_load_paths(paths: Iterable[str], base: Path) -> Iterator[Candidate | Diagnostic]:
    """The plugins of `plugins.load.paths`: each a package folder, a folder of such, or a project with a `src` folder.

    Relative paths start at `base`, the config file's folder.
    """
    for text in paths:
        path = base / Path(text).expanduser()
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
    if not _may_be_installed():
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield _from_entry_point(point)


def _may_be_installed() -> bool:
    # Looking for the group's name in a few small files costs a tenth of importing `importlib.metadata`. What only that can read
    # (an archive on the path, another finder of distributions) is left to it.
    if any(hasattr(finder, "find_distributions") for finder in sys.meta_path if finder is not PathFinder):
        return True
    return any(map(_mentions_group, sys.path))


def _mentions_group(folder: str) -> bool:
    try:
        names = [entry.name for entry in Path(folder).iterdir()]
    except NotADirectoryError:
        return True
    except OSError:
        return False
    files = (Path(folder, name, "entry_points.txt") for name in names if name.endswith((".dist-info", ".egg-info")))
    return any(_mentions(file) for file in files)


def _mentions(file: Path) -> bool:
    try:
        return ENTRY_POINT_GROUP.encode() in file.read_bytes()
    except OSError:
        return False


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
