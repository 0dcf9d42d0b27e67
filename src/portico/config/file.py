"""The configuration file on disk: read whole, changed under a lock, replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.document import Document
from portico.config.json5_lines import position
from portico.config.section import Problem
from portico.errors import ConfigError, LockBusy
from portico.paths import FILE_MODE, FOLDER_MODE
from portico.store.atomic import replace, sync_folder, temporaries, write_temporary
from portico.store.lock import file_lock
from portico.store.steps import no_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.store.steps import OnStep

BACKUPS: Final = (".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4")
_ROUNDS: Final = 5
_READ_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_ELSEWHERE: Final = "make that place yours, or name another file with `--config` or PORTICO_CONFIG"
_ADVICE: Final = {
    errno.ENOSPC: "free some space on that disk and run the command again",
    errno.EDQUOT: "free some of your disk quota and run the command again",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
}


class ConfigFile:
    """A configuration file. `locks` is the folder for the lock of its edits."""

    def __init__(self, path: Path, locks: Path, *, on_step: OnStep = no_step) -> None:
        self.path = path
        self._locks = locks
        self._on_step = on_step

    def load(self) -> Document:
        """What the file says; a file that does not exist says `{}`.

        Raises:
            ConfigError: it cannot be read (`config-unreadable`) or is not JSON5 in UTF-8 (`config-syntax`).
        """
        return self._parsed(self._read())

    def warnings(self) -> tuple[Problem, ...]:
        """What is wrong with the file itself: whoever may write it names the hosts that tokens and keys are sent to."""
        if os.name != "posix":
            return ()
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError:
            return ()
        if not mode & 0o022:
            return ()
        hint = f"chmod go-w {self.path}"
        return (Problem("warning", str(self.path), (), f"other users may change it (its mode is {mode:04o})", hint),)

    def edit(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """Put what `change` makes of the file in its place, and say whether that differs.

        Programs that edit through here wait for each other. One that does not, an editor say, is noticed until just before the
        file is replaced, and `change` is then called again with what it wrote. The five last versions are kept as `.bak` files.
        `private` takes the file away from everybody else; otherwise it keeps its mode.

        Raises:
            ConfigError: the file cannot be read or written (`config-write-failed`); it then is as it was.
            LockBusy: another process holds the lock, or the file never stopped changing.
        """
        target = Path(os.path.realpath(self.path))
        name = hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
        with file_lock(self._locks / f"config-{name}.lock", what=f"the configuration {self.path}"):
            for _ in range(_ROUNDS):
                before = self._read()
                document = self._parsed(before)
                text = change(document).text
                if text == document.text:
                    return False
                if self._replace(target, before, text.encode(), private=private):
                    return True
        raise LockBusy("config-changing", f"{self.path} is being changed by another program", hint="close it there and try again")

    def _parsed(self, data: bytes | None) -> Document:
        if data is None:
            return Document.parse("{}\n", name=str(self.path))
        try:
            return Document.parse(data.decode(), name=str(self.path))
        except UnicodeDecodeError as error:
            before = data[: error.start].decode()
            line, column = position(before, len(before))
            where = f"{self.path}:{line}:{column}"
            raise ConfigError("config-syntax", "the file is not UTF-8 text", where=where, hint="save it as UTF-8") from None

    def _read(self) -> bytes | None:
        """The bytes, None only where nothing at all has the file's name."""
        try:
            fd = os.open(self.path, _READ_FLAGS)
            with os.fdopen(fd, "rb") as file:
                kind = os.fstat(fd).st_mode
                if stat.S_ISREG(kind):
                    return file.read()
        except FileNotFoundError:
            if not self.path.is_symlink():
                return None
            raise ConfigError("config-unreadable", f"{self.path} is a link to a file that does not exist") from None
        except OSError as error:
            raise _failed(f"cannot read {self.path}", error, "config-unreadable") from error
        raise ConfigError("config-unreadable", f"{self.path} is not a plain file", hint="name another file with `--config`")

    def _replace(self, target: Path, before: bytes | None, after: bytes, *, private: bool) -> bool:
        """Put `after` in the place of `before`; False if something else stands there by now."""
        try:
            target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            for leftover in temporaries(target):
                leftover.unlink(missing_ok=True)
            temporary = write_temporary(target, after, on_step=self._on_step)
            try:
                _look_like(temporary, target, mode=FILE_MODE if private else 0o777)
                if self._read() != before:
                    return False
                if before is not None:
                    _back_up(target, before)
                self._on_step("backed-up")
                replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(f"cannot write {self.path}; it is as it was", error, "config-write-failed") from error
        self._on_step("renamed")
        try:
            sync_folder(target.parent)
        except OSError as error:
            raise _failed(f"{self.path} is changed, but a power cut may undo it", error, "config-write-failed") from error
        return True


def _look_like(temporary: Path, target: Path, *, mode: int) -> None:
    """Give `temporary` the owner of `target` and at most `mode` of its mode, which says too whether it may be written at all."""
    with contextlib.suppress(FileNotFoundError):
        found = target.stat()
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "the file is read-only")
        if os.name == "posix":
            if os.geteuid() == 0 and found.st_uid != 0:
                os.chown(temporary, found.st_uid, found.st_gid)
            temporary.chmod(stat.S_IMODE(found.st_mode) & mode)


def _back_up(target: Path, data: bytes) -> None:
    names = [target.with_name(target.name + suffix) for suffix in BACKUPS]
    for newer, older in reversed(list(pairwise(names))):
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)
    copy = write_temporary(names[0], data)
    replace(copy, names[0])


def _failed(message: str, error: OSError, id: str) -> ConfigError:
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ConfigError(id, message, why=f"{error.strerror or error} [{name}]", hint=_ADVICE.get(error.errno or 0))
