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

_MOST_LINKS: Final = 40  # as Linux follows them
_MOST_FILES: Final = 5_000


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


class Owners:
    """Looks at files and folders, at each folder once: make a new one for each command, as modes change.

    `also` are users that are trusted besides this one and root. With `modes_only` every owner is, and only what is open to more
    users than its owner is found.
    """

    def __init__(self, *also: int, modes_only: bool = False) -> None:
        self._trusted = {os.geteuid(), 0, *also} if os.name == "posix" else set()
        self._modes_only = modes_only
        self._looked: dict[str, tuple[os.stat_result, Exposure | None]] = {}
        self._groups: dict[int, set[int]] = {}

    def exposure(self, path: Path) -> Exposure | None:
        """What lets another user change or replace `path`, or make it if it is missing; None where nothing does."""
        if os.name != "posix":
            return None
        try:
            return self._on_the_way(str(path.absolute()))  # `..` stays: after a link it is not the folder that the text says
        except OSError:
            return None  # it is missing, or cannot be reached: the reader says so

    def exposure_within(self, folder: Path) -> Exposure | None:
        """As `exposure`, of the folder and of everything in it; nobody else may add a file to it either."""
        if os.name != "posix":
            return None
        found = self.exposure(folder)
        try:
            return found or self._in_tree(os.path.realpath(folder))
        except OSError as error:
            return _unseen(folder, error)

    def exposure_beside(self, folder: Path, known: Path) -> Exposure | None:
        """What lets a user change the content of `folder` who cannot change `known`; both lie in one folder."""
        if os.name != "posix":
            return None
        try:
            state = known.stat()
            among = Owners(state.st_uid)
            if among._fault(str(known), state, may_be_sticky=False) is not None:
                return None
            return among._in_tree(os.path.realpath(folder))
        except OSError as error:
            return _unseen(folder, error)

    def _on_the_way(self, path: str) -> Exposure | None:
        place, rest, links = "/", path.split("/")[::-1], 0
        found = self._look("/")[1]
        while rest and found is None:
            part = rest.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                place = os.path.dirname(place)  # noqa: PTH120 - `place` has no link in it
                continue
            place = f"{place.rstrip('/')}/{part}"
            state, found = self._look(place)
            if stat.S_ISLNK(state.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    return None
                target = os.readlink(place)  # noqa: PTH115 - a text is enough
                place = "/" if target.startswith("/") else os.path.dirname(place)  # noqa: PTH120
                rest += target.split("/")[::-1]
        return found

    def _in_tree(self, folder: str) -> Exposure | None:
        waiting, seen, count = [folder], set(), 0
        while waiting:
            current = waiting.pop()
            if current in seen:
                continue
            seen.add(current)
            found = self._fault(current, os.stat(current), may_be_sticky=False)  # noqa: PTH116
            if found is not None:
                return found
            with os.scandir(current) as entries:
                for entry in entries:
                    count += 1
                    # Gone by now, as a .pyc's temporary file; or a link to nothing, as an editor's lock.
                    with contextlib.suppress(FileNotFoundError):
                        found = self._of_entry(entry)
                    if entry.is_dir():
                        waiting.append(os.path.realpath(entry.path))
                    if found is not None:
                        return found
            if count > _MOST_FILES:
                return Exposure(folder, f"it has more than {_MOST_FILES} files, too many to look at", f"ls {quote(folder)}")
        return None

    def _of_entry(self, entry: os.DirEntry[str]) -> Exposure | None:
        if entry.is_symlink():
            return self._on_the_way(entry.path)
        return self._fault(entry.path, entry.stat(follow_symlinks=False))

    def _look(self, place: str) -> tuple[os.stat_result, Exposure | None]:
        known = self._looked.get(place)
        if known is None:
            state = os.lstat(place)
            known = self._looked[place] = state, self._fault(place, state)
        return known

    def _fault(self, place: str, state: os.stat_result, *, may_be_sticky: bool = True) -> Exposure | None:
        if state.st_uid not in self._trusted and not self._modes_only:
            hint = "move what is yours to a folder of your own"
            if not stat.S_ISDIR(state.st_mode):  # a folder of hers holds files of hers, and may be her home
                hint = f"move it to a folder of your own, or take it over: {_take_over(place)}"
            return Exposure(place, f"it belongs to {_name(state.st_uid)}", hint)
        mode = stat.S_IMODE(state.st_mode)
        is_sticky = stat.S_ISDIR(state.st_mode) and bool(mode & stat.S_ISVTX) and may_be_sticky
        # A device, as /dev/null, holds nothing that could be changed, and the whole system needs its mode.
        if stat.S_ISLNK(state.st_mode) or stat.S_ISCHR(state.st_mode) or is_sticky or not mode & 0o022:
            return None
        if mode & 0o002 or not self._is_private(state) or _has_access_list(place):
            return Exposure(place, f"its mode is {mode:04o}", f"chmod go-w {quote(place)}", is_by_mode=True)
        return None

    def _is_private(self, state: os.stat_result) -> bool:
        """Whether nobody but the owner, this user and root is in the group."""
        if state.st_gid not in self._groups:
            self._groups[state.st_gid] = _members(state.st_gid)
        return self._groups[state.st_gid] <= self._trusted | {state.st_uid}


def _unseen(folder: Path, error: OSError) -> Exposure:
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
    members |= {_user(name) for name in entry.gr_mem}
    if group not in {each.gr_gid for each in grp.getgrall()}:
        members.add(_user(entry.gr_name))
    return members


def _user(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def _has_access_list(place: str) -> bool:
    """Whether more users than owner and group are named (acl(5)); the group's bits then are the most that any of them has."""
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(place, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def _take_over(place: str) -> str:
    """The command that makes `place` this user's; only root may give a file to another user."""
    import pwd

    user, sudo = os.geteuid(), "" if os.geteuid() == 0 else "sudo "
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return f"{sudo}chown -h {quote(name)} {quote(place)}"


def _name(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
