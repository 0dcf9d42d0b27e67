"""Where the demo plays: a throwaway folder, an emulator, commands in processes of their own, and a clean floor afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.cli.demo_browser import PID_FILE, window
from portico.errors import PorticoError
from portico.store.encrypted_file import FILE_ENV
from portico.util import signals
from portico.util.children import child_environment, portico_command, portico_environment
from portico.util.threads import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from portico.cli.demo_play import Play
    from portico.cli.runtime import Runtime
    from portico.interfaces.plugin_parts import Emulator
    from portico.paths import Paths

PLUGIN: Final = "minimax-portal-auth"
ACCESS_TTL_S: Final = 4.0
_COMMAND_S: Final = 150.0
_LET_GO_S: Final = 5.0
_FOREIGN: Final = ("PORTICO_", "MINIMAX_")


@dataclass(frozen=True, slots=True)
class Said:
    """What one command came to."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Stage:
    """One demo's surroundings. `env` is the environment of its commands."""

    rt: Runtime
    folder: Path
    env: dict[str, str]
    paths: Paths
    hosts: tuple[str, ...]
    began: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """One line of the transcript, with the seconds since the start."""
        seconds = time.monotonic() - self.began
        if self.rt.out.is_json:
            self.rt.out.event({"event": "step", "seconds": round(seconds, 1), "text": text})
        else:
            self.rt.out.line(f"[{seconds:5.1f} s] {text}")

    def more(self, text: str) -> None:
        """A line that belongs to the one before."""
        if self.rt.out.is_json:
            self.rt.out.event({"event": "detail", "text": text})
        else:
            self.rt.out.line(f"            {text}")

    async def command(self, *words: str, on_line: Callable[[str], None] | None = None) -> Said:
        """Run one of Portico's commands as a user would; `on_line` is told each line of its result as it comes.

        Raises:
            PorticoError: `demo-failed`: it ended with another code than 0; its own words are the cause.
        """
        import shlex

        self.tell(f"$ {self.rt.program} {shlex.join(words)}")
        env = await off_loop(self._environment)
        process = await asyncio.create_subprocess_exec(
            *portico_command(*words), env=env, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, err = await asyncio.gather(_lines(process.stdout, on_line), _lines(process.stderr, None))
                code = await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            await _let_go(process)
            raise
        said = Said(code, out, err)
        if said.code:
            raise PorticoError("demo-failed", f"`{words[0]}` ended with {said.code}.", why=(said.err or said.out).strip())
        return said

    def _environment(self) -> dict[str, str]:
        # The passphrase file is the demo's own, for the throwaway store that only its commands open.
        own = {FILE_ENV: self.env[FILE_ENV]} if FILE_ENV in self.env else {}
        return {**portico_environment(self.env), **own}


def run_on_stage(rt: Runtime, play: Play) -> int:
    """Set up, play, and clear away, whatever happens."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="portico-demo-")).resolve()
    try:
        return signals.run(_play(rt, play, folder))
    finally:
        with signals.blocked():
            clear_away(folder)
            shutil.rmtree(folder, ignore_errors=True)


async def _play(rt: Runtime, play: Play, folder: Path) -> int:
    async with set_up(rt, folder) as stage:
        return await play.run(stage)


@contextlib.asynccontextmanager
async def set_up(rt: Runtime, folder: Path) -> AsyncIterator[Stage]:
    """The emulator, and the environment that leads to it and to nothing of the user's own."""
    from portico.emulation.run import run_emulation
    from portico.interfaces.plugin_parts import EmulatorOptions
    from portico.paths import resolve_paths

    began = time.monotonic()
    emulators = [emulator for emulator in _emulators(rt) if emulator.id == "minimax"]
    options = EmulatorOptions(redirect=True, access_ttl_s=ACCESS_TTL_S)
    async with run_emulation(emulators, options, folder) as info:
        env = {**clean_environment(rt.env), **info.env}
        paths = resolve_paths(env=env)
        env["BROWSER"] = window(env, folder, proxy_url=info.proxy_url, ca_file=info.ca_file) or env["BROWSER"]
        hosts = tuple(host for emulator in emulators for host in emulator.hosts)
        choose_port(paths.config, paths.locks)
        yield Stage(rt, folder, env, paths, hosts, began)


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without credentials, and without what the user's shell says about Portico and MiniMax: the demo has its own."""
    return {name: value for name, value in child_environment(env).items() if not name.upper().startswith(_FOREIGN)}


def clear_away(folder: Path) -> None:
    """End the background process and delete the keyring's records of a demo in `folder`."""
    from portico.gateway import control
    from portico.gateway.keys import KeyPaths
    from portico.paths import STATE_ENV, resolve_paths
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.token_store import local_token_store
    from portico.util.files import read_file

    paths = resolve_paths(str(folder / "portico.json5"), {STATE_ENV: str(folder / "state")})
    with contextlib.suppress(PorticoError, OSError):
        control.stop(paths)
    for each in (paths, KeyPaths.of(paths)):
        with contextlib.suppress(PorticoError, OSError):
            store = local_token_store(each, passphrase=lambda: PassphraseSource({}))
            for profile in store.profiles():
                store.delete(profile.id)
            store.sweep()
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(read_file(folder / PID_FILE, 64)), signal.SIGTERM)


def _emulators(rt: Runtime) -> tuple[Emulator, ...]:
    from portico.config.schema import PluginEntry, PluginsConfig
    from portico.plugins.manager import PluginHost

    # The user's own config may be broken or deny the plugin; the demo shows what it would be like without that.
    config = PluginsConfig(entries={PLUGIN: PluginEntry(enabled=True)})
    return PluginHost(config, paths=rt.paths, env={}).emulators()


def choose_port(config: Path, locks: Path) -> None:
    """Give the demo's background process a port of its own: the user's may run already."""
    import socket

    from portico.config.document import ConfigFile

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ConfigFile(config, locks).edit(lambda document: document.set(("gateway", "port"), port))


async def _lines(stream: asyncio.StreamReader | None, on_line: Callable[[str], None] | None) -> str:
    lines: list[str] = []
    while stream is not None and (raw := await stream.readline()):
        lines.append(raw.decode(errors="replace"))
        if on_line is not None:
            on_line(lines[-1])
    return "".join(lines)


async def _let_go(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(_LET_GO_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
