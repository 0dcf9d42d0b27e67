"""Read files without blocking, and write files atomically.

Every file is read here (`read_file`, `read_start`, `read_end`; `read_private` for Portico's own): never a FIFO or a device, and
never more than the caller needs (CWE-400). A missing file is not the same as an unreadable file: if Portico treated an unreadable
index as empty, it would erase the other profiles.

A write goes to a temporary file beside the target (mode 0600 from the start), then fsync, rename, fsync of the folder. The
process can be killed at any point. The tests kill it at the points in `FILE_CRASH_POINTS`, with their own `CrashPoint`.

On a network file system (`network_file_system`) two machines may share one profile, but a lock may not work between them. On
Linux NFS `flock` becomes a lock at the server (flock(2)), but Portico cannot know how the server, SMB or FUSE handle that lock.
So Portico only warns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import StoreError, UsageError
from portico.paths import FILE_MODE, make_private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    CrashPoint = Callable[[str], None]

FILE_CRASH_POINTS: Final = ("temp-opened", "temp-written", "temp-synced", "renamed", "folder-synced")
INPUT_LIMIT: Final = 16 << 20  # characters: more than any model takes
_READ_LIMIT: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 20
_RANDOM_BYTES: Final = 6  # bytes in the name of a temporary file
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_SHARED_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _SHARED_FLAGS
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _SHARED_FLAGS
_REPLACE_TRIES: Final = 20 if sys.platform == "win32" else 1
_ADVICE: Final = {
    errno.ENOSPC: "free some space on that disk and run the command again; nothing stored before was touched",
    errno.EDQUOT: "free some of your disk quota and run the command again; nothing stored before was touched",
    errno.EFBIG: "raise the file size limit of this shell (ulimit -f) and run the command again",
    errno.EMFILE: "this process has too many files open: raise its limit (ulimit -n)",
    errno.EIO: "the disk reports an error: check it before you go on",
}
_STATE_ADVICE: Final = {
    errno.EROFS: "that file system is read-only: set PORTICO_STATE_DIR to a folder that can be written",
    errno.EACCES: "make yourself the owner of the folder (chown), or set PORTICO_STATE_DIR to a folder of your own",
    errno.EPERM: "make yourself the owner of the folder (chown), or set PORTICO_STATE_DIR to a folder of your own",
}


class UnsafeFile(StoreError):
    """The path of one of Portico's files is a link, a device or another user's file."""

    id = "store-unsafe-file"


class FileFailed(StoreError):
    """A file, a folder or a lock file of Portico cannot be read or written."""

    id = "file-failed"


def no_crash_point(_name: str) -> None:
    """Do nothing: only tests stop at a crash point."""


def write_private(path: Path, data: bytes, *, durable: bool = True, crash_point: CrashPoint = no_crash_point) -> None:
    """Replace `path` with a 0600 file that contains `data`; on any failure the old file stays.

    The folder belongs to Portico: if it is missing, it is created with mode 0700. For other folders use `write_in_place`. With
    `durable` False the two fsyncs are skipped, for content that may be lost in a power cut.

    Raises:
        StoreError: the write failed, or the target is not a regular file of this user.
    """
    try:
        make_private_folder(path.parent)
        check_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):
            _check_regular_file(path, path.lstat())
        temporary = write_temporary(path, data, durable=durable, crash_point=crash_point)
        try:
            replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        crash_point("renamed")
        if durable:
            sync_folder(path.parent)
            crash_point("folder-synced")
    except OSError as error:
        raise file_error(f"Could not write {path}.", error) from error


def read_private(path: Path) -> bytes | None:
    """Return the bytes of one of Portico's files, or None if it does not exist. Its mode becomes 0600.

    Raises:
        StoreError: the file cannot be read, is not a regular file, or belongs to another user.
    """

    def check(fd: int) -> None:
        status = os.fstat(fd)
        _check_regular_file(path, status)
        if os.name == "posix" and status.st_mode & 0o077:
            os.fchmod(fd, FILE_MODE)

    try:
        data = read_start(path, _READ_LIMIT + 1, follow=False, check=check)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe_file(path, "it is a symbolic link") from None
        raise file_error(f"Could not read {path}.", error) from error
    if len(data) > _READ_LIMIT:
        raise _unsafe_file(path, f"it is larger than {_READ_LIMIT >> 20} MiB")
    return data


def read_file(path: Path | str, limit: int, *, follow: bool = True, check: Callable[[int], None] | None = None) -> bytes:
    """Read a whole regular file of at most `limit` bytes.

    Raises:
        OSError: as `read_start`; EFBIG: the file is larger.
    """
    data = read_start(path, limit + 1, follow=follow, check=check)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {_format_size(limit)}")
    return data


def read_start(
    path: Path | str, length: int, *, offset: int = 0, follow: bool = True, check: Callable[[int], None] | None = None
) -> bytes:
    """Read at most `length` bytes of a regular file, from `offset` on. Never waits for the writer of a FIFO, or for a device.

    `follow` False refuses a symbolic link. `check` gets the open descriptor first, and may raise an error.

    Raises:
        OSError: the system's error; EINVAL: not a regular file; EAGAIN: the file has nothing to read now, such as /proc/kmsg.
    """
    fd = os.open(path, _READ_FLAGS if follow else _READ_FLAGS | _NO_FOLLOW)
    try:
        if check is not None:
            check(fd)
        if not stat.S_ISREG(mode := os.fstat(fd).st_mode):
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise OSError(errno.EINVAL, "it is not a regular file")
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
        chunks: list[bytes] = []
        while length > 0 and (chunk := os.read(fd, min(length, _CHUNK_BYTES))):
            chunks.append(chunk)
            length -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def read_end(path: Path | str, length: int) -> bytes:
    """Read at most the last `length` bytes of a regular file, as `read_start` does."""
    size = os.stat(path).st_size  # noqa: PTH116 - a text is a path too
    return read_start(path, length, offset=max(size - length, 0))


def read_text(stream: TextIO, *, line: bool = False) -> str:
    """Read a user's input: the whole stream, or one line with its line end.

    Raises:
        UsageError: the input has more than `INPUT_LIMIT` characters, such as /dev/zero.
    """
    text = stream.readline(INPUT_LIMIT + 1) if line else stream.read(INPUT_LIMIT + 1)
    if len(text) > INPUT_LIMIT:
        why = f"It has more than {INPUT_LIMIT} characters."
        raise UsageError(f"The {'line' if line else 'input'} is too long.", why=why, hint="Use a shorter input.")
    return text


def _format_size(size: int) -> str:
    for unit, shift in (("MiB", 20), ("KiB", 10)):
        if size and not size % (1 << shift):
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `<name>.corrupt-<time>-<random>` (0600), and return its new path."""
    new_path = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}")
    try:
        if os.name == "posix":
            path.chmod(FILE_MODE)
        path.rename(new_path)
    except OSError as error:
        raise file_error(f"Could not rename the damaged {path}.", error) from error
    return new_path


def remove_private(path: Path) -> None:
    """Delete `path`, if it exists, and the temporary files of interrupted writes."""
    try:
        path.unlink(missing_ok=True)
        for temporary in temporaries(path):
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise file_error(f"Could not delete {path}.", error) from error


def write_temporary(path: Path, data: bytes, *, durable: bool = True, crash_point: CrashPoint = no_crash_point) -> Path:
    """Write `data` to a new 0600 file beside `path`, and return its path. On failure no file is left."""
    temporary = path.with_name(f".{path.name}.{os.urandom(_RANDOM_BYTES).hex()}.tmp")
    fd = os.open(temporary, _CREATE_FLAGS, FILE_MODE)
    try:
        try:
            if os.name == "posix":
                os.fchmod(fd, FILE_MODE)  # a umask may have removed bits
            crash_point("temp-opened")
            remaining = memoryview(data)
            while remaining:
                remaining = remaining[os.write(fd, remaining) :]
            crash_point("temp-written")
            if durable:
                os.fsync(fd)
                crash_point("temp-synced")
        finally:
            os.close(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def write_in_place(path: Path, data: bytes, *, mode: int = 0o777) -> None:
    """Replace `path` in a folder that does not belong to Portico. The folder must exist, and keeps its mode and owner.

    An existing file keeps its owner and group, and of its permissions only those in `mode`. A new file has mode 0600. On any
    failure the old file stays, and no other file is left.
    """
    temporary = write_temporary(path, data)
    try:
        with contextlib.suppress(FileNotFoundError):
            copy_permissions(temporary, path.stat(), mode=mode)
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def copy_permissions(temporary: Path, status: os.stat_result, *, mode: int = 0o777) -> None:
    """Give `temporary` the group and permissions of the file with `status`, as root also its owner.

    Permissions that are not in `mode` are left out. If the group cannot be set, the file has another group, which gets no
    permissions.
    """
    if os.name != "posix":
        return
    temporary_status, new_mode = temporary.stat(), stat.S_IMODE(status.st_mode) & mode
    if os.geteuid() == 0 and status.st_uid != temporary_status.st_uid:
        os.chown(temporary, status.st_uid, status.st_gid)
    elif status.st_gid != temporary_status.st_gid:
        try:
            os.chown(temporary, -1, status.st_gid)
        except OSError:
            new_mode &= ~0o070
    temporary.chmod(new_mode)


def temporaries(path: Path) -> Iterator[Path]:
    """Yield the temporary files of unfinished writes of `path`, and of a write in progress."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.tmp")
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        yield from (Path(entry.path) for entry in entries if pattern.fullmatch(entry.name))


def replace(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`. On Windows, retry for a second, because a scanner or a reader may have the old file open."""
    for tries_left in reversed(range(_REPLACE_TRIES)):
        try:
            temporary.replace(path)
        except PermissionError:
            if not tries_left:
                raise
            time.sleep(0.05)
        else:
            return


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable. Windows has no such call and does not need it."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_folder(folder: Path) -> None:
    """Raise `UnsafeFile` if the folder, or a link to the folder, belongs to another user."""
    if os.name == "posix" and {folder.stat().st_uid, folder.lstat().st_uid} != {os.geteuid()}:
        raise _unsafe_file(folder, "it belongs to another user")


def file_error(message: str, error: OSError, *, advice: str | None = None, kind: type[StoreError] = FileFailed) -> StoreError:
    """Return `error` as a StoreError, with the system's reason and the hint of `disk_hint`."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return kind(message, why=f"{error.strerror or error} [{name}]", hint=disk_hint(error, advice))


def disk_hint(error: OSError, advice: str | None = None) -> str | None:
    """Return the hint for `error`: a full disk or another limit has its own hint, any other error gets `advice`.

    `advice` None means that the file is in the state folder, which PORTICO_STATE_DIR can move.
    """
    code = error.errno or 0
    return _ADVICE.get(code) or (_STATE_ADVICE.get(code) if advice is None else advice)


def _check_regular_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
        raise _unsafe_file(path, f"it is {kinds.get(stat.S_IFMT(status.st_mode), 'not a regular file')}")
    if os.name == "posix" and status.st_uid != os.geteuid():
        raise _unsafe_file(path, "it belongs to another user")


def _unsafe_file(path: Path, why: str) -> StoreError:
    return UnsafeFile(f"{path} is not safe to use.", why=why, hint=f"find out who put it there, then move it away: {path}")


_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre"}) | {
    f"fuse.{program}" for program in ("sshfs", "rclone", "s3fs", "glusterfs")
}
_SEPARATOR: Final = " - "
_MOUNT_POINT_FIELD: Final = 4


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the network file system of `folder`; None if the file system is local or unknown.

    `mounts` has the format of /proc/PID/mountinfo (proc(5)).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    path = f"{os.path.realpath(folder).rstrip('/')}/"
    mounts_above = [mount for line in lines if (mount := _parse_mount(line)) and path.startswith(f"{mount[0].rstrip('/')}/")]
    # If there are several mounts at a mount point, only the last is visible.
    fs_type = max(reversed(mounts_above), key=lambda mount: len(mount[0]), default=("", ""))[1]
    return fs_type if fs_type in _NETWORK_TYPES else None


def shared_folder_warning(folder: Path) -> str | None:
    """Return a warning if `folder` is on a network file system."""
    fs_type = network_file_system(folder)
    if fs_type is None:
        return None
    return (
        f"{folder} is on a network file system ({fs_type}): if two machines use it, both may refresh an account at the same "
        "time, which ends its sign-in. Set PORTICO_STATE_DIR to a folder on this machine."
    )


def _parse_mount(line: str) -> tuple[str, str] | None:
    """Return the mount point and the type. In the file, white space and backslashes are octal escapes."""
    left, separator, right = line.partition(_SEPARATOR)
    fields = left.split(" ")
    if not separator or len(fields) <= _MOUNT_POINT_FIELD or not right:
        return None
    mount_point = fields[_MOUNT_POINT_FIELD].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
    return os.fsdecode(mount_point), right.split(" ")[0]
