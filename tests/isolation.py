"""Nothing of the user's is used by a test run: not the environment, home, terminal, keyring or port, and no signal it ignores.

`begin` runs once in each process of pytest, before a test module is imported. What it replaces, the tests cannot reach by accident;
what cannot be replaced is refused by an audit hook (`tests/audit_hook.py`), in this process and in every Python that a test starts.
"""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.schema import DEFAULT_PORT
from portico.errors import PorticoError
from portico.paths import resolve_paths
from tests import audit_hook

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a program needs to be found and to start, and what belongs to the run itself. A variable that is not here is the user's.
_PASSED_ON: Final = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHASHSEED", "CI"),
        *("TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT"),
        *("PORTICO_NO_SKIP", "PORTICO_TEST_TIMEOUT_S", "HYPOTHESIS_PROFILE"),
    }
)
_PASSED_ON_PREFIXES: Final = ("PYTEST_", "COV_CORE_", "COVERAGE_")
_FOLDER_ENV: Final = "PYTEST_PORTICO_ISOLATION"
_WORKER_ENV: Final = "PYTEST_XDIST_WORKER"
_NOTES: Final = "notes"
_HOMES: Final = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")


class Isolation:
    """The folder of a run: `home` in it for HOME, and the notes of the audit hook. The workers of pytest-xdist share their starter's."""

    def __init__(self) -> None:
        inherited = os.environ.get(_FOLDER_ENV) if _WORKER_ENV in os.environ else None
        self._is_ours = inherited is None
        self._folder = Path(inherited or tempfile.mkdtemp(prefix="portico-tests-"))
        self.home = self._folder / "home"
        self._hook_folder = self._folder / "audit-hook"

    def begin(self) -> None:
        """Leave the user's environment and terminal, and install the audit hook."""
        heed_signals()
        if not self._is_ours:  # the starter has, and its hook is the `sitecustomize` of this process
            return
        self.home.mkdir()
        self._hook_folder.mkdir()
        session = os.getsid(0) if sys.platform != "win32" else 0
        refused = {"port": DEFAULT_PORT, "session": session, "sockets": buses(os.environ), "files": files_of_portico()}
        variables = environment(os.environ, self.home)
        os.environ.clear()
        os.environ.update(variables)
        leave_the_terminal()
        notes = str(self._hook_folder / _NOTES)
        text = f"{inspect.getsource(audit_hook)}\n\ninstall({notes!r}, **{refused!r})\n"
        (self._hook_folder / "sitecustomize.py").write_text(text, encoding="utf-8")
        # Some tests hand their own `sys.path` to a process, others their PYTHONPATH.
        sys.path.append(str(self._hook_folder))
        # First, since a `sitecustomize` of the user's would be found in its place.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(self._hook_folder), os.environ.get("PYTHONPATH"))))
        os.environ[_FOLDER_ENV] = str(self._folder)
        audit_hook.install(notes, **refused)

    def refused(self) -> list[str]:
        """What the audit hook has refused, here and in the processes of this one's tests, since it was asked last."""
        notes = self._hook_folder / f"{_NOTES}-{os.environ.get(_WORKER_ENV, '')}"
        try:
            lines = notes.read_text(encoding="utf-8").splitlines()
            notes.unlink()
        except FileNotFoundError:
            return []
        return lines

    def left_at_home(self) -> list[str]:
        """The files that a test has made in the home of the run, where a user's would be."""
        return [f"left at home: {path.relative_to(self.home)}" for path in self.home.rglob("*") if not path.is_dir()]

    def end(self) -> None:
        if self._is_ours:
            shutil.rmtree(self._folder, ignore_errors=True)


def environment(of_the_user: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of a run: nothing of the user's but what starts programs, and `home` for a home."""
    variables = {
        name: value
        for name, value in of_the_user.items()
        if name.upper() in _PASSED_ON or name.upper().startswith(_PASSED_ON_PREFIXES)
    }
    return variables | dict.fromkeys(_HOMES if sys.platform == "win32" else _HOMES[:1], str(home))


def leave_the_terminal() -> None:
    """Give up the controlling terminal, so that nothing below this process can open /dev/tty; Ctrl-C still arrives.

    A process that leads its session keeps it, since everything in the session would be hung up on; there the audit hook has to do.
    """
    if sys.platform == "win32" or os.getsid(0) == os.getpid():
        return
    import fcntl
    import termios

    with suppress(OSError):  # there is none
        fd = os.open(audit_hook.TERMINAL, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.ioctl(fd, termios.TIOCNOTTY)
        finally:
            os.close(fd)


def heed_signals() -> None:
    """Let Ctrl-C and Ctrl-\\ end what the tests start: a shell without job control starts what it runs aside with both ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGQUIT") and signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def buses(of_the_user: Mapping[str, str]) -> tuple[str, ...]:
    """The sockets behind which the user's keyring is: the session bus by its address, and where it is without one."""
    lines = []
    for address in of_the_user.get("DBUS_SESSION_BUS_ADDRESS", "").split(";"):
        for pair in address.removeprefix("unix:").split(","):
            key, _, value = pair.partition("=")
            lines += {"path": [value], "abstract": [f"\0{value}"]}.get(key, [])
    runtime = [of_the_user.get("XDG_RUNTIME_DIR"), f"/run/user/{os.getuid()}" if sys.platform != "win32" else None]
    return (*lines, *(f"{folder}/bus" for folder in runtime if folder))


def files_of_portico() -> tuple[str, ...]:
    """The configuration and the state folder of the user's own Portico, by the environment as it is now."""
    try:
        paths = resolve_paths()
    except (PorticoError, RuntimeError, OSError):  # no home
        return ()
    return tuple(str(path) for path in (paths.config, paths.state) if path.is_absolute())
