"""Opening the system's browser on a page (RFC 8252 section 4.1), in a way that cannot hurt.

The URL is checked again here, whoever made it; the program is started by its argument list and never by a shell, without the
terminal and without the secrets of this process's environment; and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Final

from portico.children import child_environment, found_command
from portico.oauth.browser_choice import Launcher, Surroundings
from portico.urls import check_endpoint_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A launcher that fails does so at once; one that is still there after this has a browser to show for it.
_FAILS_WITHIN_S: Final = 3.0


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
        self._chosen: tuple[Launcher, ...] | str | None = None

    def obstacle(self) -> str | None:
        """Why no browser can be opened here; None where one can. Looks at files."""
        chosen = self._choice()
        return chosen if isinstance(chosen, str) else None

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
        chosen = await asyncio.to_thread(self._choice)
        if isinstance(chosen, str):
            return False
        for launcher in chosen:
            if await _started(launcher.argv(url), child_environment(self._env)) or is_shown():
                return True
        return False

    def _choice(self) -> tuple[Launcher, ...] | str:
        if not self._enabled:
            return "you asked for none (--no-browser)"
        if self._chosen is None:
            self._chosen = self._surroundings.choose()
        return self._chosen


async def _started(argv: list[str], env: dict[str, str]) -> bool:
    """Whether the program started and did not fail within a moment. A daemon thread awaits its end, so it leaves no zombie."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def settle(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

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
    done, _ = await asyncio.wait({ended}, timeout=_FAILS_WITHIN_S)
    return not done or ended.result() == 0


def _spawn(argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    nothing = subprocess.DEVNULL
    command = found_command(argv, env)
    return subprocess.Popen(command, env=env, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
