"""Canaries: the secrets of a test, which a scan can find in places where no secret may be.

    token = canary("at")                      # CANARY-at-3f0c...
    ...
    assert not find_canaries(tmp_path)        # files and their names, to any depth

Use `exempt` for a file to which the test itself writes a canary.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A leak may contain only a part of the hex digits, so eight digits are enough to find a canary.
PATTERN: Final = re.compile(r"CANARY-[a-z0-9]+-[0-9a-f]{8,32}")
_BYTES: Final = re.compile(PATTERN.pattern.encode())
_UTF16: Final = re.compile(rb"C\0A\0N\0A\0R\0Y\0-\0(?:[a-z0-9]\0)+-\0(?:[0-9a-f]\0){8}")
_exempt: set[Path] = set()


def canary(kind: str) -> str:
    """A new secret that a scan can find. `kind` names its purpose: `access`, `refresh`, `code`, `key`..."""
    if not re.fullmatch("[a-z0-9]+", kind):
        raise ValueError(f"a kind is lower-case letters and digits, not {kind!r}")
    return f"CANARY-{kind}-{secrets.token_hex(16)}"


def exempt(path: Path) -> Path:
    """Exclude `path`, a file or a folder, from every later scan: the test itself wrote the secret there."""
    _exempt.add(path.absolute())
    return path


def in_text(text: str) -> list[str]:
    """The canaries in `text`."""
    return PATTERN.findall(text)


def in_mapping(values: Mapping[str, str]) -> list[str]:
    """The `name` of each entry (for example of an environment) with a canary in its name or value."""
    return [name for name, value in values.items() if PATTERN.search(name) or PATTERN.search(value)]


def find_canaries(folder: Path) -> list[str]:
    """`path: canary` for every regular file under `folder` with a canary in its bytes or name. Does not follow links."""
    return [f"{path}: {found}" for path in _files(folder) for found in _in_file(path)]


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        parent = Path(root).absolute()
        folders[:] = [name for name in folders if parent / name not in _exempt]
        yield from (parent / name for name in names if parent / name not in _exempt)


def _in_file(path: Path) -> set[str]:
    found = set(PATTERN.findall(path.name))
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            content = path.read_bytes()
            found |= {match.decode() for match in _BYTES.findall(content)}
            found |= {match.decode("utf-16-le") for match in _UTF16.findall(content)}
    except OSError:
        return found
    return found
