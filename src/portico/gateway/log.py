"""The gateway's log: Portico's own remarks and other libraries' warnings, without secrets, and never longer than it may be."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from portico.paths import FILE_MODE, make_private_folder
from portico.secret import redact
from portico.store.atomic import file_error, read_end, replace, write_private

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    _Stream = logging.StreamHandler[TextIO]
else:
    _Stream = logging.StreamHandler

LIMIT: Final = 1 << 20
# A FIFO in the log's place is an error at once (ENXIO): otherwise opening it waits for a reader.
_LOG_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_log(path: Path) -> int:
    """A descriptor that appends to the log; one that is too long is put aside first, as `<name>.old`.

    Raises:
        StoreError: it cannot be opened.
    """
    make_private_folder(path.parent)
    try:
        if path.exists() and path.lstat().st_size > LIMIT:
            replace(path, _aside(path))
        log = os.open(path, _LOG_FLAGS, FILE_MODE)
        if os.name == "posix":
            os.fchmod(log, FILE_MODE)
    except OSError as error:
        raise file_error("store-write-failed", f"cannot write {path}", error) from error
    return log


def log_to_stderr(path: Path, *, verbose: bool) -> None:
    """Log with the time of each remark, redacted, whoever makes it. Where stderr is the log at `path`, it is kept short."""
    handler = _Capped(path)
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(capture=True)
    logging.getLogger().addHandler(handler)
    logging.getLogger("portico").setLevel(logging.DEBUG if verbose else logging.INFO)


class _Capped(_Stream):
    """Writes to stderr. It is the file of a process that may run for months, so nobody else would shorten it."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        # A log that cannot be shortened is no reason to end.
        with contextlib.suppress(Exception):
            self._shorten()

    def _shorten(self) -> None:
        fd = self.stream.fileno()
        found = os.fstat(fd)
        if found.st_size <= LIMIT or not os.path.samestat(found, self._path.stat()):
            return
        # Copied and cut rather than renamed: the descriptor stays, and Windows renames no file that is open.
        write_private(_aside(self._path), read_end(self._path, 2 * LIMIT), durable=False)
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")
