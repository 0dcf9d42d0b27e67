"""Files: read without waiting, and written whole or not at all.

Every file is read here (`read_file`, `read_start`, `read_end`; `read_private` for Portico's own): never a FIFO or a device, and
never more than the caller has use for (CWE-400). A read tells "absent" from every other failure: an unreadable file taken for
an empty one gets other profiles erased.

A write goes to a temporary file beside the target (0600 from its first instant), then fsync, rename, fsync of the folder. A
process may be killed at any point of it; tests do so at the points that `FILE_CRASH_POINTS` and the other lists name, by a
`CrashPoint` that they hand in.

`network_file_system` says whether a folder lies on another machine, where two machines may share one profile, and a lock may
not hold between them. Linux's NFS turns `flock` into a lock at the server (flock(2)); whether a server keeps it, and what SMB
and FUSE do, cannot be found out from here. So this is a reason for a warning and not for an error.
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
    errno.EACCES: "make that place yours (chown), or set PORTICO_STATE_DIR to a folder that is",
    errno.EPERM: "make that place yours (chown), or set PORTICO_STATE_DIR to a folder that is",
}


class UnsafeFile(StoreError):
    """A link, a device or another user's file stands in the place of one of Portico's."""

    id = "store-unsafe-file"


class FileFailed(StoreError):
    """A file, a folder or a lock of Portico's cannot be read or written; the cause has the system's words."""

    id = "file-failed"


def no_crash_point(_name: str) -> None:
    """Nobody is listening."""


def write_private(path: Path, data: bytes, *, durable: bool = True, crash_point: CrashPoint = no_crash_point) -> None:
    """Replace `path` by a 0600 file that holds `data`; on any failure what was there stays as it was.

    The folder is Portico's own: it is made if need be, and its mode set to 0700. For any other folder there is `write_in_place`.
    A link, FIFO or folder in the target's place is refused. `durable` False leaves out the two fsyncs: for content that a power
    cut may lose.

    Raises:
        StoreError: the write failed, or the target is not a plain file of ours.
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
        raise file_error(f"cannot write {path}", error) from error


def read_private(path: Path) -> bytes | None:
    """The bytes of `path`, None only where there is no such file. A mode wider than 0600 is tightened first.

    Raises:
        StoreError: the file is there and cannot be read, is not a plain file, or belongs to somebody else.
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
        raise file_error(f"cannot read {path}", error) from error
    if len(data) > _READ_LIMIT:
        raise _unsafe_file(path, f"it is larger than {_READ_LIMIT >> 20} MiB")
    return data


def read_file(path: Path | str, limit: int, *, follow: bool = True, check: Callable[[int], None] | None = None) -> bytes:
    """The whole of a regular file of at most `limit` bytes.

    Raises:
        OSError: as `read_start`; EFBIG: it is larger.
    """
    data = read_start(path, limit + 1, follow=follow, check=check)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {_format_size(limit)}")
    return data


def read_start(
    path: Path | str, length: int, *, offset: int = 0, follow: bool = True, check: Callable[[int], None] | None = None
) -> bytes:
    """At most `length` bytes of a regular file, from `offset` on. Never waits: not for the writer of a FIFO, not for a device.

    `follow` False refuses a symbolic link. `check` looks at the open file's descriptor first, and raises what it has against it.

    Raises:
        OSError: as the system says it; EINVAL: it is not a regular file; EAGAIN: it has nothing to read now, as /proc/kmsg.
    """
    fd = os.open(path, _READ_FLAGS if follow else _READ_FLAGS | _NO_FOLLOW)
    try:
        if check is not None:
            check(fd)
        if not stat.S_ISREG(mode := os.fstat(fd).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) if stat.S_ISDIR(mode) else _not_a_file()
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
    """At most the last `length` bytes of a regular file, as of a log.

    Raises:
        OSError: as `read_start`.
    """
    size = os.stat(path).st_size  # noqa: PTH116 - a text is a path too
    return read_start(path, length, offset=max(size - length, 0))


def read_text(stream: TextIO, *, line: bool = False) -> str:
    """All of a stream that is a user's input, or its first line, line end included; of at most `INPUT_LIMIT` characters.

    Raises:
        UsageError: `usage`: it goes on after that, as /dev/zero does.
    """
    text = stream.readline(INPUT_LIMIT + 1) if line else stream.read(INPUT_LIMIT + 1)
    if len(text) > INPUT_LIMIT:
        what = "line" if line else "input"
        why = f"It has more than {INPUT_LIMIT} characters."
        raise UsageError(f"The {what} is too long.", why=why, hint="Give less of it.")
    return text


def _not_a_file() -> OSError:
    return OSError(errno.EINVAL, "it is not a plain file")


def _format_size(size: int) -> str:
    for unit, shift in (("MiB", 20), ("KiB", 10)):
        if size and not size % (1 << shift):
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `<name>.corrupt-<time>-<random>` (0600) beside it, and say where it is now.

    Raises:
        StoreError: it cannot be renamed.
    """
    new_path = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}")
    try:
        if os.name == "posix":
            path.chmod(FILE_MODE)
        path.rename(new_path)
    except OSError as error:
        raise file_error(f"cannot set the damaged {path} aside", error) from error
    return new_path


def remove_private(path: Path) -> None:
    """Delete `path` and what killed writes have left of it; nothing happens where nothing is.

    Raises:
        StoreError: something is there and stays.
    """
    try:
        path.unlink(missing_ok=True)
        for temporary in temporaries(path):
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise file_error(f"cannot delete {path}", error) from error


def write_temporary(path: Path, data: bytes, *, durable: bool = True, crash_point: CrashPoint = no_crash_point) -> Path:
    """A new 0600 file beside `path` with `data` in it, on disk; the folder stays as it is, and nothing is left on failure.

    Raises:
        OSError: as the system says it.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(_RANDOM_BYTES).hex()}.tmp")
    fd = os.open(temporary, _CREATE_FLAGS, FILE_MODE)
    try:
        try:
            if os.name == "posix":
                os.fchmod(fd, FILE_MODE)  # a umask of 0777 would have left no mode at all
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
    """Replace `path` in a folder that is not Portico's own: the folder must exist, and keeps its mode and owner.

    A file that was there keeps its owner, its group and at most `mode` of its mode; a new one is 0600. On any failure the old
    file is as it was, and nothing else is left.

    Raises:
        OSError: as the system says it.
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
    """Give `temporary` the group and at most `mode` of the mode of the file that it replaces, and as root its owner too.

    If the group cannot be given, the group's permissions are left out: they would be another group's.

    Raises:
        OSError: as the system says it.
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
    """What unfinished writes of `path` have left, including one that is going on now; no other program's temporary files."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.tmp")
    with contextlib.suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        yield from (Path(entry.path) for entry in entries if pattern.fullmatch(entry.name))


def replace(temporary: Path, path: Path) -> None:
    """Rename over `path`; on Windows tried again for a second while a scanner or a reader has the old file open.

    Raises:
        OSError: as the system says it.
    """
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
    """Make a rename in `folder` last through a power cut. Windows has no such call and needs none.

    Raises:
        OSError: as the system says it.
    """
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_folder(folder: Path) -> None:
    """Refuse a folder, or a link to one, that belongs to somebody else.

    Raises:
        StoreError: it does.
        OSError: it cannot be looked at.
    """
    if os.name == "posix" and {folder.stat().st_uid, folder.lstat().st_uid} != {os.geteuid()}:
        raise _unsafe_file(folder, "it belongs to another user")


def file_error(message: str, error: OSError, *, advice: str | None = None, kind: type[StoreError] = FileFailed) -> StoreError:
    """`error` as a user reads it: which file, the system's words, and what to do; `advice` as for `disk_hint`."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return kind(message, why=f"{error.strerror or error} [{name}]", hint=disk_hint(error, advice))


def disk_hint(error: OSError, advice: str | None = None) -> str | None:
    """What to do about `error`: `advice` where neither the disk nor the process is at its limit.

    None for `advice` says that the file is in the state folder, which PORTICO_STATE_DIR may put elsewhere.
    """
    code = error.errno or 0
    return _ADVICE.get(code) or (_STATE_ADVICE.get(code) if advice is None else advice)


def _check_regular_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
        raise _unsafe_file(path, f"it is {kinds.get(stat.S_IFMT(status.st_mode), 'not a plain file')}")
    if os.name == "posix" and status.st_uid != os.geteuid():
        raise _unsafe_file(path, "it belongs to another user")


def _unsafe_file(path: Path, why: str) -> StoreError:
    return UnsafeFile(f"refusing to use {path}", why=why, hint=f"look at who put it there, then move it away: {path}")


_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre"})
_NETWORK_FUSE_TYPES: Final = frozenset({"fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs"})
_SEPARATOR: Final = " - "
_MOUNT_POINT_FIELD: Final = 4


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of network file system that `folder` lies on; None where it is a local one, or cannot be told.

    `mounts` is a table in the form of /proc/PID/mountinfo (proc(5)).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real_path = os.path.realpath(folder)
    mount_points = {
        mount_point: fs_type
        for line in lines
        if (mount := _parse_mount(line))
        for mount_point, fs_type in [mount]
        if _contains(mount_point, real_path)
    }
    fs_type = mount_points[max(mount_points, key=len)] if mount_points else ""
    return fs_type if fs_type in _NETWORK_TYPES or fs_type in _NETWORK_FUSE_TYPES else None


def shared_folder_warning(folder: Path) -> str | None:
    """What to know where `folder` is a network one."""
    fs_type = network_file_system(folder)
    if fs_type is None:
        return None
    return (
        f"{folder} lies on a network file system ({fs_type}): two machines that use it may refresh one sign-in at once, which "
        "ends it. Set PORTICO_STATE_DIR to a folder of this machine."
    )


def _parse_mount(line: str) -> tuple[str, str] | None:
    """Mount point and kind; spaces and the like are written as octal escapes there."""
    left, separator, right = line.partition(_SEPARATOR)
    fields = left.split(" ")
    if not separator or len(fields) <= _MOUNT_POINT_FIELD or not right:
        return None
    mount_point = fields[_MOUNT_POINT_FIELD].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
    return os.fsdecode(mount_point), right.split(" ")[0]


def _contains(mount_point: str, path: str) -> bool:
    return path == mount_point or path.startswith(mount_point.rstrip("/") + "/")
