"""Find and start the user's browser (RFC 8252 section 4.1).

The URL is checked again before the start. The browser is started without a shell, without the terminal and without the secrets
in this process's environment, and Portico does not wait for its end.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.urls import check_endpoint_url
from portico.util.children import child_environment, find_program, resolve_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TEXT_BROWSERS: Final = frozenset(
    {"www-browser", "w3m", "lynx", "links", "links2", "elinks", "edbrowse", "browsh", "carbonyl", "retawq"}
)
# These programs join all arguments to one line of code, or run their first argument as code.
_SHELLS: Final = frozenset(
    {
        "ash",
        "bash",
        "busybox",
        "cmd",
        "csh",
        "dash",
        "fish",
        "ksh",
        "mksh",
        "perl",
        "powershell",
        "pwsh",
        "sh",
        "ssh",
        "tcsh",
        "zsh",
    }
)
_CODE_SWITCH: Final = re.compile(r"-[a-z]{0,3}[ce]|--?(?:command|eval|exec|execute|print)=?|/[ck]", re.IGNORECASE)
_LINUX_LAUNCHERS: Final = (("xdg-open",), ("gio", "open"), ("x-www-browser",), ("firefox",), ("chromium",), ("google-chrome",))
_CONTAINER_FILES: Final = ("/.dockerenv", "/run/.containerenv")
_CONTAINER_VARIABLES: Final = ("CODESPACES", "REMOTE_CONTAINERS", "KUBERNETES_SERVICE_HOST", "container")


@dataclass(frozen=True, slots=True)
class Launcher:
    """A program and its arguments; the URL replaces `%s`, or is added at the end."""

    command: tuple[str, ...]

    def argv(self, url: str) -> list[str]:
        if any("%s" in word for word in self.command):
            return [word.replace("%s", url) for word in self.command]
        return [*self.command, url]


_WINDOWS_LAUNCHER: Final = ("rundll32.exe", "url.dll,FileProtocolHandler")
# `wslview` of wslu; then the launcher of Windows, on PATH (`appendWindowsPath` in wsl.conf) or on the mounted disk.
_WSL_LAUNCHERS: Final = (("wslview",), _WINDOWS_LAUNCHER, ("/mnt/c/Windows/System32/rundll32.exe", *_WINDOWS_LAUNCHER[1:]))
_MACOS_LAUNCHER: Final = ("/usr/bin/open",)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment, the platform and the root of the file system (which a test replaces)."""

    env: Mapping[str, str]
    platform: str = sys.platform
    root: Path = Path("/")

    def find_launchers(self) -> tuple[Launcher, ...] | str:
        """The launchers to try in this order, or why no launcher exists, as a phrase after "No browser was opened:"."""
        if self.env.get("BROWSER"):
            return self._from_browser_variable(self.env["BROWSER"])
        if self.env.get("SSH_CONNECTION") or self.env.get("SSH_TTY"):
            return "this is an SSH session"
        if self.platform in {"darwin", "win32"}:
            return (self._system_launcher(),)
        has_display = bool(self.env.get("DISPLAY") or self.env.get("WAYLAND_DISPLAY"))
        if self._is_wsl():
            # With a display (WSLg), Linux browsers work too.
            return self._installed((*_WSL_LAUNCHERS, *_LINUX_LAUNCHERS) if has_display else _WSL_LAUNCHERS)
        if not has_display:
            return "this is a container" if self._is_container() else "there is no graphical display"
        return self._installed(_LINUX_LAUNCHERS)

    def _system_launcher(self) -> Launcher:
        """The system's launcher by its full path, because CreateProcess first searches the current folder for a bare name."""
        if self.platform == "darwin":
            return Launcher(_MACOS_LAUNCHER)
        system = self.env.get("SYSTEMROOT") or self.env.get("SystemRoot") or r"C:\Windows"
        return Launcher((rf"{system}\System32\{_WINDOWS_LAUNCHER[0]}", *_WINDOWS_LAUNCHER[1:]))

    def _from_browser_variable(self, value: str) -> tuple[Launcher, ...] | str:
        """Only the programs in `$BROWSER`: a user who sets the variable may not want another browser."""
        parsed = [self._parse(command) for command in value.split(os.pathsep)]
        launchers = tuple(dict.fromkeys(launcher for launcher in parsed if isinstance(launcher, Launcher)))
        reasons = [launcher for launcher in parsed if isinstance(launcher, str)]
        return launchers or (reasons[-1] if reasons else "$BROWSER names no installed program")

    def _parse(self, command: str) -> Launcher | str | None:
        try:
            # On Windows, backslashes separate folders, and a word keeps its quotes.
            words = shlex.split(command, posix=self.platform != "win32")
        except ValueError:
            return "$BROWSER cannot be read"
        if not words or find_program(words[0], self.env) is None:
            return None
        if Path(words[0]).name in _TEXT_BROWSERS:
            return "$BROWSER is a text browser, which would take over this terminal"
        # An argument with `%s` among other words is code for an interpreter. A URL must not become part of the code.
        if any("%s" in word and any(character.isspace() for character in word) for word in words):
            return "$BROWSER puts the address inside a script"
        if _runs_as_code(words):
            return "$BROWSER would run the address as code"
        return Launcher(tuple(words))

    def _installed(self, launchers: Sequence[tuple[str, ...]]) -> tuple[Launcher, ...] | str:
        """The installed launchers, without further links to the same program."""
        installed: dict[tuple[Path, ...], Launcher] = {}
        for words in launchers:
            program = find_program(words[0], self.env)
            if program is not None and Path(program).resolve().name not in _TEXT_BROWSERS:
                installed.setdefault((Path(program).resolve(), *map(Path, words[1:])), Launcher(words))
        return tuple(installed.values()) or "no browser is installed"

    def _is_wsl(self) -> bool:
        return self.platform == "linux" and bool(self.env.get("WSL_DISTRO_NAME"))

    def _is_container(self) -> bool:
        has_container_file = any((self.root / path.lstrip("/")).exists() for path in _CONTAINER_FILES)
        return has_container_file or any(self.env.get(name) for name in _CONTAINER_VARIABLES)


def _runs_as_code(words: Sequence[str]) -> bool:
    """Whether the command passes the URL to a shell, or passes it after a switch that expects code.

    A URL may contain `&`, which separates commands in a shell.
    """
    arguments = words if any("%s" in word for word in words) else (*words, "%s")
    switches = [word.partition("%s")[0] or before for before, word in pairwise(arguments) if "%s" in word]
    return any(_program_name(word) in _SHELLS for word in arguments) or any(map(_CODE_SWITCH.fullmatch, switches))


def _program_name(word: str) -> str:
    """The name of a program without its folder, its `.exe` and its version."""
    name = re.split(r"[/\\]", word.strip("\"'"))[-1].lower().removesuffix(".exe")
    return name.rstrip("0123456789.")


# If a launcher fails, it fails at once. If it still runs after this time, the browser has started.
_FAILURE_TIMEOUT_S: Final = 3.0


class BrowserOpener:
    """Opens pages in the user's graphical browser.

    Args:
        env: the environment to read and to pass on, without its secrets.
        enabled: False for `--no-browser`.
        surroundings: where the program runs; by default this machine.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        enabled: bool = True,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._env = os.environ if env is None else env
        self._enabled = enabled
        self._surroundings = surroundings or Surroundings(self._env)
        self._cached_launchers: tuple[Launcher, ...] | str | None = None

    def obstacle(self) -> str | None:
        """Why no browser can be opened; None if a browser can be opened. Reads the file system."""
        launchers = self._launchers_or_reason()
        return launchers if isinstance(launchers, str) else None

    async def open(self, url: str, *, is_shown: Callable[[], bool] = lambda: False) -> bool:
        """Open `url` in the browser. Return False if there is no browser or every launcher failed.

        Tries the launchers in order. Stops when a launcher exits without an error or keeps running, or when `is_shown` returns
        True.

        Args:
            url: the page. Every user of this machine can read the URL in the launcher's arguments.
            is_shown: whether a browser has loaded the page.

        Raises:
            ConfigError: `endpoint-refused`: the URL is not safe to open.
        """
        check_endpoint_url(url, "page to open")
        launchers = await asyncio.to_thread(self._launchers_or_reason)
        if isinstance(launchers, str):
            return False
        for launcher in launchers:
            if await _start_launcher(launcher.argv(url), child_environment(self._env)) or is_shown():
                return True
        return False

    def _launchers_or_reason(self) -> tuple[Launcher, ...] | str:
        if not self._enabled:
            return "you asked for none (--no-browser)"
        if self._cached_launchers is None:
            self._cached_launchers = self._surroundings.find_launchers()
        return self._cached_launchers


async def _start_launcher(argv: list[str], env: dict[str, str]) -> bool:
    """Start a launcher.

    Return False if it fails within `_FAILURE_TIMEOUT_S`. A daemon thread waits for the launcher, so that it does not become a
    zombie.
    """
    loop = asyncio.get_running_loop()
    exited: asyncio.Future[int] = loop.create_future()

    def settle(exit_code: int) -> None:
        if not exited.done():
            exited.set_result(exit_code)

    def run() -> None:
        try:
            code = _spawn(argv, env).wait()
        except OSError:
            code = -1
        try:
            loop.call_soon_threadsafe(settle, code)
        except RuntimeError:
            return  # the sign-in and its loop have ended

    threading.Thread(target=run, name="portico-browser", daemon=True).start()
    await asyncio.wait({exited}, timeout=_FAILURE_TIMEOUT_S)
    return not exited.done() or exited.result() == 0


def _spawn(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    devnull = subprocess.DEVNULL
    command = resolve_command(argv, env)
    return subprocess.Popen(command, env=env, stdin=devnull, stdout=devnull, stderr=devnull, start_new_session=True)
