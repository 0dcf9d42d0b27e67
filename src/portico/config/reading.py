"""Reading the files of a configuration: whole, never a FIFO or a folder, and never "empty" for what merely cannot be read."""

from __future__ import annotations

import errno
import os
import stat
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.document import Document
from portico.config.json5 import position
from portico.config.problem import Problem
from portico.errors import ConfigError
from portico.ownership import Owners
from portico.store.atomic import read_start

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_BYTES: Final = 4 << 20
_NOT_YOURS: Final = "make it yours (chown, chmod u+rw), or name another file with `--config` or PORTICO_CONFIG"
_NO_FILE: Final = "name a regular file with `--config` or PORTICO_CONFIG"
_ADVICE: Final = {
    errno.ENOSPC: "free some space on that disk and run the command again",
    errno.EDQUOT: "free some of your disk quota and run the command again",
    errno.EROFS: "that file system is read-only: name another file with `--config` or PORTICO_CONFIG",
    errno.EACCES: _NOT_YOURS,
    errno.EPERM: _NOT_YOURS,
    errno.EINVAL: _NO_FILE,
    errno.EAGAIN: _NO_FILE,
    errno.EISDIR: _NO_FILE,
}


def read_bytes(path: Path) -> bytes | None:
    """The bytes of `path`, None only where nothing at all has that name.

    Raises:
        ConfigError: it is there and cannot be read, or is larger than any configuration (`config-unreadable`).
    """
    try:
        data = read_start(path, MAX_BYTES + 1)
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise ConfigError("config-unreadable", f"{path} is a link to a file that does not exist") from None
    except OSError as error:
        raise os_failure(f"cannot read {path}", error, "config-unreadable") from error
    if len(data) > MAX_BYTES:
        why = f"it is larger than {MAX_BYTES >> 20} MiB, which no configuration is"
        raise ConfigError(
            "config-unreadable", f"refusing to read {path}", why=why, hint="name another file with `--config` or PORTICO_CONFIG"
        )
    return data


def decoded(data: bytes, name: str) -> Document:
    """The document that the bytes of a file called `name` are.

    Raises:
        ConfigError: they are not JSON5 in UTF-8 (`config-syntax`, with `where` as `file:line:column`).
    """
    try:
        return Document.parse(data.decode(), name=name)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = position(before, len(before))
        where = f"{name}:{line}:{column}"
        raise ConfigError("config-syntax", "the file is not UTF-8 text", where=where, hint="save it as UTF-8") from None


def encoded(text: str, path: Path) -> bytes:
    """`text` as the bytes of the file at `path`.

    Raises:
        ConfigError: nobody would read so long a file (`config-too-large`).
    """
    data = text.encode()
    if len(data) > MAX_BYTES:
        why = f"a configuration has at most {MAX_BYTES >> 20} MiB"
        raise ConfigError("config-too-large", f"{path} would become too large to be read again", why=why)
    return data


def read_document(path: Path) -> Document | None:
    """What the file at `path` says, None where there is none.

    Raises:
        ConfigError: as `read_bytes` and `decoded` do.
    """
    data = read_bytes(path)
    return decoded(data, str(path)) if data is not None else None


def others_may(path: Path, bits: int) -> str | None:
    """The mode of `path`, in words, where it gives any of `bits` to users other than its owner; None where it does not."""
    if os.name != "posix":
        return None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    return f"its mode is {mode:04o}" if mode & bits else None


def exposed(paths: Iterable[Path]) -> tuple[Problem, ...]:
    """A warning for each file or folder that lets other users change what is read: they would name the hosts that keys go to.

    What exposes several of `paths` is named once, for the first of them.
    """
    owners, found = Owners(), dict[str, Problem]()
    for path in paths:
        exposure = owners.exposure(path)
        if exposure is None or exposure.path in found:
            continue
        hint = exposure.hint
        if exposure.path == os.path.realpath(path):
            message = f"other users may change it ({exposure.why})"
            if exposure.is_by_mode:  # chmod follows a link
                hint = hint.replace(quote(exposure.path), quote(str(path)))
        else:
            message = f"other users may replace it ({exposure})"
        found[exposure.path] = Problem("warning", str(path), (), message, hint)
    return tuple(found.values())


def os_failure(message: str, error: OSError, id: str) -> ConfigError:
    """`error` as a user reads it: which file, the system's words, and what to do."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ConfigError(id, message, why=f"{error.strerror or error} [{name}]", hint=_ADVICE.get(error.errno or 0))
