"""Whether another user of this machine can change or replace a file: its owner and mode, and those of every folder above it.

A file that is yours alone is still another user's to choose if she owns, or can write to, any folder on the way to it: she
renames that folder and puts her own in its place. So each folder up to `/` is looked at, as OpenSSH's StrictModes does for
`authorized_keys` (sshd_config(5)) and as git does since CVE-2022-24765; of a symbolic link both the way to it and the way to its
target.

Files of this user and of root are trusted. A group that may write is no other user as long as nobody else is in it: with a umask
of 002 and a group for each user, which Debian and Fedora have, every file is made so. A sticky folder (`/tmp`) lets others add
files and not replace ours. As root only root's own files are trusted, also under sudo: code of a user's that root runs would make
every program of that user root. There are no such owners and modes on Windows, where nothing is ever found.
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

_MAX_LINKS: Final = 40  # as Linux follows them
_MAX_FILES: Final = 5_000


@dataclass(frozen=True, slots=True)
class Exposure:
    """What lets another user change a file: the file itself or a folder above it, why, and the command that ends it.

    `is_by_mode` says that it is open to others; else it belongs to another user.
    """

    path: str
    why: str
    hint: str
    is_by_mode: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


class OwnershipCheck:
    """Looks at files and folders, at each folder once: make a new one for each command, as modes change.

    `also` are users that are trusted besides this one and root. With `modes_only` every owner is, and only what is open to more
    users than its owner is found.
    """

    def __init__(self, *also: int, modes_only: bool = False) -> None:
        self._trusted = {os.geteuid(), 0, *also} if os.name == "posix" else set()
        self._modes_only = modes_only
        self._checked: dict[str, tuple[os.stat_result, Exposure | None]] = {}
        self._groups: dict[int, set[int]] = {}

    def exposure(self, path: Path) -> Exposure | None:
        """What lets another user change or replace `path`, or make it if it is missing; None where nothing does."""
        if os.name != "posix":
            return None
        try:
            return self._check_path(str(path.absolute()))  # `..` stays: after a link it is not the folder that the text says
        except OSError:
            return None  # it is missing, or cannot be reached: the reader says so

    def exposure_within(self, folder: Path) -> Exposure | None:
        """As `exposure`, of the folder and of everything in it; nobody else may add a file to it either."""
        if os.name != "posix":
            return None
        exposure = self.exposure(folder)
        try:
            return exposure or self._check_tree(os.path.realpath(folder))
        except OSError as error:
            return _unreadable(folder, error)

    def exposure_beside(self, folder: Path, reference: Path) -> Exposure | None:
        """What lets a user change the content of `folder` who cannot change `reference`; both lie in one folder."""
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
                    # Gone by now, as a .pyc's temporary file; or a link to nothing, as an editor's lock.
                    with contextlib.suppress(FileNotFoundError):
                        exposure = self._check_entry(entry)
                    if entry.is_dir():
                        pending.append(os.path.realpath(entry.path))
                    if exposure is not None:
                        return exposure
            if count > _MAX_FILES:
                return Exposure(folder, f"it has more than {_MAX_FILES} files, too many to look at", f"ls {quote(folder)}")
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
            hint = "move what is yours to a folder of your own"
            if not stat.S_ISDIR(status.st_mode):  # a folder of hers holds files of hers, and may be her home
                hint = f"move it to a folder of your own, or take it over: {_chown_command(path)}"
            return Exposure(path, f"it belongs to {_user_name(status.st_uid)}", hint)
        mode = stat.S_IMODE(status.st_mode)
        is_sticky = stat.S_ISDIR(status.st_mode) and bool(mode & stat.S_ISVTX) and may_be_sticky
        # A device, as /dev/null, holds nothing that could be changed, and the whole system needs its mode.
        if stat.S_ISLNK(status.st_mode) or stat.S_ISCHR(status.st_mode) or is_sticky or not mode & 0o022:
            return None
        if mode & 0o002 or not self._has_private_group(status) or _has_access_list(path):
            return Exposure(path, f"its mode is {mode:04o}", f"chmod go-w {quote(path)}", is_by_mode=True)
        return None

    def _has_private_group(self, status: os.stat_result) -> bool:
        """Whether nobody but the owner, this user and root is in the group."""
        if status.st_gid not in self._groups:
            self._groups[status.st_gid] = _members(status.st_gid)
        return self._groups[status.st_gid] <= self._trusted | {status.st_uid}


def _unreadable(folder: Path, error: OSError) -> Exposure:
    return Exposure(str(folder), f"it cannot be looked at ({error.strerror})", f"ls -lR {quote(str(folder))}")


def _members(group: int) -> set[int]:
    """The users of a group, by their own entry and by the group's; -1 is anybody, where the system does not say who is in it.

    A directory service (SSSD, LDAP) lists its users and groups only if it is set to `enumerate`, and a group's entry does not
    name those whose first group it is. There only a group with a user's name is hers alone (login.defs(5): USERGROUPS_ENAB).
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
    """Whether more users than owner and group are named (acl(5)); the group's bits then are the most that any of them has."""
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(path, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def _chown_command(path: str) -> str:
    """The command that makes `path` this user's; only root may give a file to another user."""
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
