"""What an installation of Portico brings: distributions, bytes, and bytes once byte-compiled.

Counts the closure of Portico's dependencies as they are installed here, and Portico itself with its bundled plugin. pip and
setuptools are not counted: they come with the environment.
"""

from __future__ import annotations

import argparse
import marshal
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from figures import ROOT, SOURCES, Figure
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER_BYTES = 16  # of a .pyc file (PEP 552)
MB = 1_000_000
MOST_DISTRIBUTIONS, MOST_MB, MOST_COMPILED_MB = 36, 50, 75
NOT_COUNTED = {"pip", "setuptools"}


def closure() -> list[metadata.Distribution]:
    """Every distribution that Portico needs in this environment, without Portico itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting: list[str] = list(project["dependencies"])
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found[name] = metadata.distribution(requirement.name)
            waiting += found[name].requires or []
    return list(found.values())


def everything_in(site_packages: Path) -> list[metadata.Distribution]:
    """Every distribution in another environment's folder of packages, Portico and its dependencies that is."""
    found = metadata.distributions(path=[str(site_packages)])
    return [distribution for distribution in found if canonicalize_name(distribution.name) not in NOT_COUNTED]


def sizes(files: list[Path]) -> tuple[int, int]:
    """(bytes, bytes with every module byte-compiled) of `files`."""
    plain = compiled = 0
    for path in files:
        size = path.stat().st_size
        plain += size
        compiled += size + (_compiled_size(path) if path.suffix == ".py" else 0)
    return plain, compiled


def measure(site_packages: Path | None = None) -> list[Figure]:
    """The three figures of an installation: of the environment in `site_packages`, or of this one and the checkout."""
    found = everything_in(site_packages) if site_packages is not None else closure()
    files = [
        Path(str(distribution.locate_file(file)))
        for distribution in found
        for file in distribution.files or []
        if file.suffix != ".pyc" and ".." not in file.parts
    ]
    count = len(found)
    if site_packages is None:
        files += [path for source in SOURCES for path in source.rglob("*") if path.suffix != ".pyc"]
        count += 1
    plain, compiled = sizes([path for path in files if path.is_file()])
    return [
        Figure("distributions, portico among them", count, MOST_DISTRIBUTIONS, "", "pip and setuptools not counted"),
        Figure("installed size", plain / MB, MOST_MB, "MB", "files as installed"),
        Figure("installed size, byte-compiled", compiled / MB, MOST_COMPILED_MB, "MB", "with a .pyc for every module"),
    ]


def _compiled_size(path: Path) -> int:
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # a package may carry templates or another version's syntax; it is not compiled then
        return 0
    return HEADER_BYTES + len(marshal.dumps(code))


def main() -> int:
    """Print the figures; exit 1 where one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site-packages", type=Path, help="measure this environment (default: the one that runs this)")
    figures = measure(parser.parse_args().site_packages)
    print(*figures, sep="\n")
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
