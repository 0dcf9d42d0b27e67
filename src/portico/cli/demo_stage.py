"""Where the demo plays: a throwaway folder, an emulator, commands in processes of their own, and a clean floor afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import PorticoError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from portico.cli.demo_play import Play
    from portico.cli.runtime import Runtime
    from portico.contracts import Emulator
    from portico.emulation.run import EmulationInfo
    from portico.paths import Paths

PLUGIN: Final = "minimax-portal-auth"
ACCESS_TTL_S: Final = 4.0
_COMMAND_S: Final = 150.0
_LET_GO_S: Final = 5.0
# What the user's own shell says about Portico and MiniMax has no place in the demo.
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
        self.rt.out.line(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    def more(self, text: str) -> None:
        """A line that belongs to the one before."""
        self.rt.out.line(f"            {text}")

    async def command(self, *words: str, on_line: Callable[[str], None] | None = None) -> Said:
        """Run one of Portico's commands as a user would; `on_line` is told each line of its result as it comes.

        Raises:
            PorticoError: `demo-failed`: it ended with another code than 0; its own words are the cause.
        """
        import shlex

        self.tell(f"$ {self.rt.program} {shlex.join(words)}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "portico", *words, env=self.env, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
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


def run_on_stage(rt: Runtime, play: Play) -> int:
    """Set up, play, and clear away, whatever happens."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="portico-demo-")).resolve()
    try:
        return asyncio.run(_play(rt, play, folder))
    finally:
        with undisturbed():
            clear_away(folder)
            shutil.rmtree(folder, ignore_errors=True)


async def _play(rt: Runtime, play: Play, folder: Path) -> int:
    _end_on_terminate()
    async with set_up(rt, folder) as stage:
        return await play.run(stage)


@contextlib.asynccontextmanager
async def set_up(rt: Runtime, folder: Path) -> AsyncIterator[Stage]:
    """The emulator, and the environment that leads to it and to nothing of the user's own."""
    from portico.contracts import EmulatorOptions
    from portico.emulation.run import run_emulation
    from portico.paths import resolve_paths

    began = time.monotonic()
    emulators = [emulator for emulator in _emulators(rt) if emulator.id == "minimax"]
    options = EmulatorOptions(redirect=True, access_ttl_s=ACCESS_TTL_S)
    async with run_emulation(emulators, options, folder) as info:
        own = {name: value for name, value in rt.env.items() if not name.upper().startswith(_FOREIGN)}
        env = {**own, **info.env}
        hosts = tuple(host for emulator in emulators for host in emulator.hosts)
        _choose_port(info)
        yield Stage(rt, folder, env, resolve_paths(env=env), hosts, began)


def clear_away(folder: Path) -> None:
    """End the background process and delete the keyring's records of a demo in `folder`."""
    from portico.gateway import service
    from portico.paths import STATE_ENV, resolve_paths
    from portico.store.passphrase import PassphraseSource
    from portico.store.profiles import ProfileIndex
    from portico.store.vault import Vault

    paths = resolve_paths(str(folder / "portico.json5"), {STATE_ENV: str(folder / "state")})
    with contextlib.suppress(PorticoError, OSError):
        service.stop(paths)
    with contextlib.suppress(PorticoError, OSError):
        index = ProfileIndex(paths)
        vault = Vault(paths, index, passphrase=PassphraseSource({}, None))
        for profile in index.profiles():
            vault.delete(profile.id)
        vault.sweep()
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((folder / "browser.pid").read_text(encoding="ascii")), signal.SIGTERM)


def _emulators(rt: Runtime) -> tuple[Emulator, ...]:
    from portico.config.schema import PluginEntry, PluginsConfig
    from portico.plugins.manager import PluginHost

    # The user's own config may be broken or deny the plugin; the demo shows what it would be like without that.
    config = PluginsConfig(entries={PLUGIN: PluginEntry(enabled=True)})
    return PluginHost(config, paths=rt.paths, env={}).emulators()


def _choose_port(info: EmulationInfo) -> None:
    """Give the demo's background process a port of its own: the user's may run already."""
    import socket

    from portico.config.file import ConfigFile

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ConfigFile(info.config, info.state / "locks").edit(lambda document: document.set(("gateway", "port"), port))


def _end_on_terminate() -> None:
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Clearing away takes a moment; a second Ctrl-C in it would leave things behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
