"""Another user of this machine, made for a test run and removed at its end. Only root can: `@pytest.mark.root`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADD: Final = "/usr/sbin/useradd"
_REMOVE: Final = "/usr/sbin/userdel"
_TRIES: Final = 50  # each of the two locks /etc/passwd and fails while another run has it
_RETRY_S: Final = 0.2
# The interpreter may lie in a folder that only root can read: what the code imports is loaded before root is given up.
_FIRST: Final = """
import ctypes, encodings.idna, hashlib, http.client, json, os, pathlib, re, socket, ssl, stat, subprocess, sys, time, urllib.parse, urllib.request
os.setgroups([{gid}]); os.setgid({gid}); os.setuid({uid})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc shows its user's process, as it does of one that logged in
os.environ["HOME"] = {home!r}
os.chdir({home!r})
"""


@dataclass(frozen=True, slots=True)
class SecondUser:
    """A local user with a home of her own (0755, under the system's temporary folder) and none of root's rights."""

    name: str
    uid: int
    gid: int
    home: Path

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """A Python that runs `code` as her, the standard library's usual modules imported, `arguments` in `sys.argv[1:]`."""
        first = _FIRST.format(uid=self.uid, gid=self.gid, home=str(self.home))
        # Without the checkout's folder on its path, which she may not be able to read.
        command = [sys.executable, "-I", "-c", f"{first}\n{code}", *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
        )

    def run(self, code: str, *arguments: str, timeout_s: float = 20) -> str:
        """What `code` prints, run as her to its end; an exit code other than 0 fails the test."""
        with self.start(code, *arguments) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        assert process.returncode == 0, err
        return out


@contextmanager
def second_user() -> Iterator[SecondUser]:
    """A new user with the lowest free system id, gone at the end with her home and her processes."""
    home = Path(tempfile.mkdtemp(prefix="portico-user-"))
    name = home.name.lower().replace("_", "-")
    _run(_ADD, "--system", "--no-create-home", "--home-dir", str(home), "--user-group", "--shell", "/bin/sh", name)
    import pwd  # not on Windows

    try:
        entry = pwd.getpwnam(name)
        user = SecondUser(name, entry.pw_uid, entry.pw_gid, home)
        os.chown(home, user.uid, user.gid)
        home.chmod(0o755)
        yield user
    finally:
        _end_processes(pwd.getpwnam(name).pw_uid)
        _run(_REMOVE, name)
        shutil.rmtree(home, ignore_errors=True)


def _end_processes(uid: int) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == uid:
                os.kill(int(folder.name), signal.SIGKILL)


def _run(*command: str) -> None:
    for _ in range(_TRIES):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode == 0:
            return
        if "lock" not in ended.stderr:
            break
        time.sleep(_RETRY_S)
    raise RuntimeError(f"{command[0]}: {ended.stderr.strip()}")
