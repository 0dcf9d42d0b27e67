"""Find out whether another user can change or replace a file. This depends on the owner and mode of the file and of its folders.

Another user who owns a folder above a file, or can write to it, can rename that folder and put another folder in its place. So
each folder up to `/` is checked, as OpenSSH's StrictModes does for `authorized_keys` (sshd_config(5)), and git since
CVE-2022-24765. For a symbolic link, the folders of the link and of its target are checked.

Portico trusts the files of this user and of root. A group with write permission is harmless if it has no other member: Debian and
Fedora have a group for each user and a umask of 002, so all their files are like this. In a sticky folder (`/tmp`), other users
can add files, but cannot replace this user's files. Root trusts only its own files, even under sudo: if root ran the code of a
user, all programs of that user could become root. Windows has no such owners and modes, so nothing is found on Windows.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_MAX_LINKS: Final = 40  # Linux's limit
_MAX_FILES: Final = 5_000


@dataclass(frozen=True, slots=True)
class Exposure:
    """Why another user can change a file: the `path` of the file or of a folder above it, and the command that corrects it.

    `is_by_mode` is true if the mode lets other users write; otherwise the path belongs to another user.
    """

    path: str
    why: str
    hint: str
    is_by_mode: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


class OwnershipCheck:
    """Checks files and folders, each folder once; make a new object for each command, because modes change.

    `also` are trusted users besides this one and root. With `modes_only` every owner is trusted, and only modes are checked.
    """

    def __init__(self, *also: int, modes_only: bool = False) -> None:
        self._trusted = {os.geteuid(), 0, *also} if os.name == "posix" else set()
        self._modes_only = modes_only
        self._checked: dict[str, tuple[os.stat_result, Exposure | None]] = {}
        self._groups: dict[int, set[int]] = {}

    def exposure(self, path: Path) -> Exposure | None:
        """Return why another user can change, replace or create `path`; None if no other user can."""
        if os.name != "posix":
            return None
        try:
            return self._check_path(str(path.absolute()))  # `..` stays: after a link it is another folder than in the text
        except OSError:
            return None  # missing or unreachable: the code that reads the file reports this

    def exposure_within(self, folder: Path) -> Exposure | None:
        """Return why another user can change `folder` or a file in `folder`, or can add a file; None if no other user can."""
        if os.name != "posix":
            return None
        exposure = self.exposure(folder)
        try:
            return exposure or self._check_tree(os.path.realpath(folder))
        except OSError as error:
            return _unreadable(folder, error)

    def exposure_beside(self, folder: Path, reference: Path) -> Exposure | None:
        """Return why a user who cannot change `reference` can change the content of `folder`, which is beside `reference`."""
        if os.name != "posix":
            return None
        try:
            status = reference.stat()
            checker = OwnershipCheck(status.st_uid)
            if checker._check_status(str(reference), status, may_be_sticky=False) is not None:
                return None
            return checker._check_tree(os.path.realpath(folder))
        except OSError as error:
            return _unreadable(folder, error)

    def _check_path(self, path: str) -> Exposure | None:
        current, remaining, links_followed = "/", path.split("/")[::-1], 0
        exposure = self._check_component("/")[1]
        while remaining and exposure is None:
            component = remaining.pop()
            if component in {"", "."}:
                continue
            if component == "..":
                current = os.path.dirname(current)  # noqa: PTH120 - `current` has no link in it
                continue
            current = f"{current.rstrip('/')}/{component}"
            status, exposure = self._check_component(current)
            if stat.S_ISLNK(status.st_mode):
                links_followed += 1
                if links_followed > _MAX_LINKS:
                    return None
                target = os.readlink(current)  # noqa: PTH115 - a text is enough
                current = "/" if target.startswith("/") else os.path.dirname(current)  # noqa: PTH120
                remaining += target.split("/")[::-1]
        return exposure

    def _check_tree(self, folder: str) -> Exposure | None:
        pending, seen, count = [folder], set(), 0
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            exposure = self._check_status(current, os.stat(current), may_be_sticky=False)  # noqa: PTH116
            if exposure is not None:
                return exposure
            with os.scandir(current) as entries:
                for entry in entries:
                    count += 1
                    # The file may be gone (a temporary .pyc), or be a link to a missing file (an editor's lock).
                    with contextlib.suppress(FileNotFoundError):
                        exposure = self._check_entry(entry)
                    if entry.is_dir():
                        pending.append(os.path.realpath(entry.path))
                    if exposure is not None:
                        return exposure
            if count > _MAX_FILES:
                return Exposure(folder, f"it has more than {_MAX_FILES} files, too many to check", f"ls {quote(folder)}")
        return None

    def _check_entry(self, entry: os.DirEntry[str]) -> Exposure | None:
        if entry.is_symlink():
            return self._check_path(entry.path)
        return self._check_status(entry.path, entry.stat(follow_symlinks=False))

    def _check_component(self, path: str) -> tuple[os.stat_result, Exposure | None]:
        checked = self._checked.get(path)
        if checked is None:
            status = os.lstat(path)
            checked = self._checked[path] = status, self._check_status(path, status)
        return checked

    def _check_status(self, path: str, status: os.stat_result, *, may_be_sticky: bool = True) -> Exposure | None:
        if status.st_uid not in self._trusted and not self._modes_only:
            hint = "move your files to a folder of your own"
            if not stat.S_ISDIR(status.st_mode):  # no chown for a folder: the folder may be the other user's home
                hint = f"move it to a folder of your own, or take it over: {_chown_command(path)}"
            return Exposure(path, f"it belongs to {_user_name(status.st_uid)}", hint)
        mode = stat.S_IMODE(status.st_mode)
        is_sticky = stat.S_ISDIR(status.st_mode) and bool(mode & stat.S_ISVTX) and may_be_sticky
        # A device such as /dev/null has no content to change, and the system needs its mode.
        if stat.S_ISLNK(status.st_mode) or stat.S_ISCHR(status.st_mode) or is_sticky or not mode & 0o022:
            return None
        if mode & 0o002 or not self._has_private_group(status) or _has_access_list(path):
            return Exposure(path, f"its mode is {mode:04o}", f"chmod go-w {quote(path)}", is_by_mode=True)
        return None

    def _has_private_group(self, status: os.stat_result) -> bool:
        """Whether the group has no members except the owner, this user and root."""
        if status.st_gid not in self._groups:
            self._groups[status.st_gid] = _members(status.st_gid)
        return self._groups[status.st_gid] <= self._trusted | {status.st_uid}


def _unreadable(folder: Path, error: OSError) -> Exposure:
    return Exposure(str(folder), f"it cannot be read ({error.strerror})", f"ls -lR {quote(str(folder))}")


def _members(group: int) -> set[int]:
    """Return the users in a group, from the entries of the users and of the group. -1 means that there may be unknown users.

    The entry of a group does not name the users whose primary group it is. A directory service (SSSD, LDAP) lists such users only
    if `enumerate` is set; without `enumerate`, only a group with the name of a user is private (login.defs(5): USERGROUPS_ENAB).
    """
    import grp
    import pwd

    try:
        entry = grp.getgrgid(group)
    except KeyError:
        return {-1}
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group}
    members |= {_user_id(name) for name in entry.gr_mem}
    if group not in {each.gr_gid for each in grp.getgrall()}:
        members.add(_user_id(entry.gr_name))
    return members


def _user_id(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def _has_access_list(path: str) -> bool:
    """Whether the path has an access list (acl(5)). Then the mode bits of the group are the limit for all users in the list."""
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(path, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def _chown_command(path: str) -> str:
    """Return the command that makes this user the owner of `path`; only root may change an owner."""
    import pwd

    user, sudo = os.geteuid(), "" if os.geteuid() == 0 else "sudo "
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return f"{sudo}chown -h {quote(name)} {quote(path)}"


def _user_name(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
