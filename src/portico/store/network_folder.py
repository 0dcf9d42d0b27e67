"""Whether a folder lies on another machine, where two machines may share one sign-in, and a lock may not hold between them.

Linux's NFS turns `flock` into a lock at the server (flock(2)); whether a server keeps it, and what SMB and FUSE do, cannot be
told from here. One machine's processes still exclude each other, so this is a reason for a warning and not for a refusal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_KINDS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre"})
_FUSE_KINDS: Final = frozenset({"fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs"})
_SEPARATOR: Final = " - "
_MOUNT_POINT: Final = 4


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of network file system that `folder` lies on; None where it is a local one, or cannot be told.

    `mounts` is a table in the form of /proc/PID/mountinfo (proc(5)).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = os.path.realpath(folder)
    found = {place: kind for line in lines if (entry := _entry(line)) for place, kind in [entry] if _holds(place, real)}
    kind = found[max(found, key=len)] if found else ""
    return kind if kind in _KINDS or kind in _FUSE_KINDS else None


def shared_folder_warning(folder: Path) -> str | None:
    """What to know where `folder` is a network one."""
    kind = network_file_system(folder)
    if kind is None:
        return None
    return (
        f"{folder} lies on a network file system ({kind}): two machines that use it may refresh one sign-in at once, which ends "
        "it. Set PORTICO_STATE_DIR to a folder of this machine."
    )


def _entry(line: str) -> tuple[str, str] | None:
    """Mount point and kind; spaces and the like are written as octal escapes there."""
    left, separator, right = line.partition(_SEPARATOR)
    fields = left.split(" ")
    if not separator or len(fields) <= _MOUNT_POINT or not right:
        return None
    place = fields[_MOUNT_POINT].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
    return os.fsdecode(place), right.split(" ")[0]


def _holds(place: str, path: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
