"""The browser: which program may show a page to this user, and how it is started (RFC 8252 section 4.1).

The URL is checked again here, whoever made it; the program is started by its argument list and never by a shell, without the
terminal and without the secrets of this process's environment; and nothing waits for it.
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
# These make one line of code of all their arguments, or take a first one for a program's text.
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
    """A program and its arguments; the URL goes where `%s` stands, or to the end."""

    command: tuple[str, ...]

    def argv(self, url: str) -> list[str]:
        if any("%s" in word for word in self.command):
            return [word.replace("%s", url) for word in self.command]
        return [*self.command, url]


_WINDOWS_LAUNCHER: Final = ("rundll32.exe", "url.dll,FileProtocolHandler")
# `wslview` of wslu; then Windows' own, on PATH (`appendWindowsPath` of wsl.conf) or where its disk is mounted.
_WSL_LAUNCHERS: Final = (("wslview",), _WINDOWS_LAUNCHER, ("/mnt/c/Windows/System32/rundll32.exe", *_WINDOWS_LAUNCHER[1:]))
_MACOS_LAUNCHER: Final = ("/usr/bin/open",)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the program runs: environment, platform and the root of the file system (which a test replaces)."""

    env: Mapping[str, str]
    platform: str = sys.platform
    root: Path = Path("/")

    def find_launchers(self) -> tuple[Launcher, ...] | str:
        """The launchers to try, in this order, or why there is none: a short phrase that follows "no browser was opened:"."""
        if self.env.get("BROWSER"):
            return self._from_browser_variable(self.env["BROWSER"])
        if self.env.get("SSH_CONNECTION") or self.env.get("SSH_TTY"):
            return "this is an SSH session"
        if self.platform in {"darwin", "win32"}:
            return (self._system_launcher(),)
        has_display = bool(self.env.get("DISPLAY") or self.env.get("WAYLAND_DISPLAY"))
        if self._is_wsl():
            # With a display (WSLg), Linux's own browsers can be seen too.
            return self._installed((*_WSL_LAUNCHERS, *_LINUX_LAUNCHERS) if has_display else _WSL_LAUNCHERS)
        if not has_display:
            return "this is a container" if self._is_container() else "there is no graphical display"
        return self._installed(_LINUX_LAUNCHERS)

    def _system_launcher(self) -> Launcher:
        """By its whole path: CreateProcess looks for a bare name in the current folder before the system's."""
        if self.platform == "darwin":
            return Launcher(_MACOS_LAUNCHER)
        system = self.env.get("SYSTEMROOT") or self.env.get("SystemRoot") or r"C:\Windows"
        return Launcher((rf"{system}\System32\{_WINDOWS_LAUNCHER[0]}", *_WINDOWS_LAUNCHER[1:]))

    def _from_browser_variable(self, value: str) -> tuple[Launcher, ...] | str:
        """What `$BROWSER` names and nothing else: whoever sets it may want no other browser."""
        parsed = [self._parse(command) for command in value.split(os.pathsep)]
        launchers = tuple(dict.fromkeys(launcher for launcher in parsed if isinstance(launcher, Launcher)))
        reasons = [launcher for launcher in parsed if isinstance(launcher, str)]
        return launchers or (reasons[-1] if reasons else "$BROWSER names no program that is there")

    def _parse(self, command: str) -> Launcher | str | None:
        try:
            # Backslashes separate folders on Windows, where a word keeps its quotes.
            words = shlex.split(command, posix=self.platform != "win32")
        except ValueError:
            return "$BROWSER cannot be read"
        if not words or find_program(words[0], self.env) is None:
            return None
        if Path(words[0]).name in _TEXT_BROWSERS:
            return "$BROWSER is a text browser, which would take over this terminal"
        # A `%s` among other words of one argument is code for some interpreter, and a URL must not become part of it.
        if any("%s" in word and any(character.isspace() for character in word) for word in words):
            return "$BROWSER puts the address inside a script"
        if _runs_as_code(words):
            return "$BROWSER would run the address as code"
        return Launcher(tuple(words))

    def _installed(self, launchers: Sequence[tuple[str, ...]]) -> tuple[Launcher, ...] | str:
        """Those that are installed; a program that several of them are links to is there once."""
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
    """Whether a shell stands before the address, or a switch after which some interpreter expects code.

    A URL may hold `&`, and so more than one command.
    """
    arguments = words if any("%s" in word for word in words) else (*words, "%s")
    switches = [word.partition("%s")[0] or before for before, word in pairwise(arguments) if "%s" in word]
    return any(_program_name(word) in _SHELLS for word in arguments) or any(map(_CODE_SWITCH.fullmatch, switches))


def _program_name(word: str) -> str:
    """The name of a program without its folder, its `.exe` and its version."""
    name = re.split(r"[/\\]", word.strip("\"'"))[-1].lower().removesuffix(".exe")
    return name.rstrip("0123456789.")


# A launcher that fails does so at once; one that is still there after this has a browser to show for it.
_FAILURE_TIMEOUT_S: Final = 3.0


class BrowserOpener:
    """Opens pages in the user's graphical browser.

    Args:
        env: the environment to read and to pass on, without its secrets.
        enabled: False for `--no-browser`.
        surroundings: where the program runs; this machine, if not given.
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
        """Why no browser can be opened here; None where one can. Looks at files."""
        launchers = self._launchers_or_reason()
        return launchers if isinstance(launchers, str) else None

    async def open(self, url: str, *, is_shown: Callable[[], bool] = lambda: False) -> bool:
        """Start the browser on `url`; False where there is none, or where each launcher failed at once.

        One that is not there or ends with an error is followed by the next; one that ends well, or is still running, is the last.
        So is one after which `is_shown` says that a browser has asked for the page.

        Args:
            url: the page. Every user of this machine can read it in the launcher's arguments.
            is_shown: whether a browser shows the page by now.

        Raises:
            ConfigError: `endpoint-refused`: the URL may not be opened.
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
    """Whether the program started and did not fail within a moment. A daemon thread awaits its end, so it leaves no zombie."""
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
            return  # the sign-in, and its loop, were over first

    threading.Thread(target=run, name="portico-browser", daemon=True).start()
    done, _ = await asyncio.wait({exited}, timeout=_FAILURE_TIMEOUT_S)
    return not done or exited.result() == 0


def _spawn(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    devnull = subprocess.DEVNULL
    command = resolve_command(argv, env)
    return subprocess.Popen(command, env=env, stdin=devnull, stdout=devnull, stderr=devnull, start_new_session=True)
