"""Run emulators, build the environment in which commands use them, and store how to reach a running emulator."""

from __future__ import annotations

import json
import shlex
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote, urlsplit

from portico.emulation import approver
from portico.emulation.connect_proxy import EmulationProxy, make_authority
from portico.errors import UsageError
from portico.paths import CONFIG_ENV, EMULATOR_ENV, STATE_ENV, make_private_folder
from portico.util.children import script_command, without_proxy
from portico.util.files import read_private, remove_private, write_private

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from aiohttp import web

    from portico.emulation.connect_proxy import Authority
    from portico.interfaces.basics import JsonValue
    from portico.interfaces.plugins import Emulator, EmulatorOptions

_CODE: Final = "{code}"
_CONNECT_TIMEOUT_S: Final = 2.0


class EmulatorNotRunning(UsageError):
    """No emulator is running."""

    id = "emulator-not-running"


@dataclass(frozen=True, slots=True)
class EmulatorState:
    """How to reach a running emulator: `env` for commands, `approvals` with the URLs of its approval pages for any code."""

    proxy_url: str
    env: Mapping[str, str]
    approvals: Sequence[str]

    def approval_urls(self, user_code: str) -> list[str]:
        """The pages that may know `user_code`."""
        return [page.replace(_CODE, quote(user_code.strip(), safe="")) for page in self.approvals]


def make_state(info: EmulationInfo, emulators: Sequence[Emulator], home: Path) -> EmulatorState:
    """The stored state of a running emulation.

    `home` is the state folder that contains this state. `home` is in the environment too, because a shell that uses the
    emulator has another state folder.
    """
    env = {**info.env, EMULATOR_ENV: str(home)}
    return EmulatorState(info.proxy_url, env, [emulator.approval_url(_CODE) for emulator in emulators])


def write_state(state: EmulatorState, file: Path) -> None:
    """Write `state` to `file`.

    Raises:
        StoreError: it cannot be written.
    """
    write_private(file, json.dumps(asdict(state), indent=2).encode(), durable=False)


def remove_state(file: Path) -> None:
    """Remove the stored state."""
    remove_private(file)


def read_state(file: Path) -> EmulatorState:
    """The emulator stored in `file`, if it still answers.

    Raises:
        EmulatorNotRunning: `emulator-not-running`.
        StoreError: the file cannot be read.
    """
    data = read_private(file)
    try:
        fields = json.loads(data) if data is not None else None
        state = EmulatorState(fields["proxy_url"], fields["env"], fields["approvals"]) if fields else None
    except (ValueError, KeyError, TypeError):
        state = None
    if state is None or not _is_reachable(state.proxy_url):
        raise EmulatorNotRunning("No emulator is running.", hint="Start one: `{prog} emulator run`.")
    return state


def _is_reachable(proxy_url: str) -> bool:
    parts = urlsplit(proxy_url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_SHUTDOWN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class EmulationInfo:
    """A running emulation.

    `env` is added to a command's environment. `config` and `state` are temporary paths in the run's folder, and part of `env`,
    so that the user's own files do not change. `loopback` has the plain HTTP URLs of emulated local services. `notes` names the
    missing parts.
    """

    proxy_url: str
    ca_file: Path
    config: Path
    state: Path
    env: Mapping[str, str]
    loopback: Mapping[str, str]
    notes: tuple[str, ...] = ()


@asynccontextmanager
async def run_emulation(emulators: Sequence[Emulator], options: EmulatorOptions, folder: Path) -> AsyncIterator[EmulationInfo]:
    """Serve the hosts of `emulators` until the block ends. `folder` gets the CA file and the temporary config and state.

    Raises:
        UsageError: an emulator does not know one of `options.knobs`.
    """
    import asyncio

    files = await asyncio.to_thread(_make_files, emulators, options, folder)
    async with AsyncExitStack() as stack:
        hosts: dict[str, Callable[[], asyncio.Protocol]] = {}
        loopback: dict[str, str] = {}
        notes: list[str] = []
        proxy = EmulationProxy(hosts, files.authority.server)
        stack.push_async_callback(proxy.abort)
        for emulator in emulators:
            runner = await _start_app(emulator, options, stack)
            assert runner.server is not None  # noqa: S101 - `setup` made it
            hosts.update(dict.fromkeys(emulator.hosts, runner.server))
            loopback |= await _serve_on_loopback(runner, emulator, options, notes)
        await proxy.start()
        stack.push_async_callback(proxy.close)
        yield EmulationInfo(
            proxy_url=proxy.url,
            ca_file=files.authority.ca_file,
            config=files.config,
            state=files.state,
            env=_environment(proxy.url, files),
            loopback=loopback,
            notes=tuple(notes),
        )


@dataclass(frozen=True, slots=True)
class _RunFiles:
    authority: Authority
    config: Path
    state: Path


def _make_files(emulators: Sequence[Emulator], options: EmulatorOptions, folder: Path) -> _RunFiles:
    make_private_folder(folder)
    authority = make_authority(folder, [host for emulator in emulators for host in emulator.hosts])
    config = folder / "portico.json5"
    _write_config(config, emulators, options)
    return _RunFiles(authority, config, make_private_folder(folder / "state"))


async def _start_app(emulator: Emulator, options: EmulatorOptions, stack: AsyncExitStack) -> web.AppRunner:
    from aiohttp import web

    app = cast("web.Application", emulator.app(options))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _serve_on_loopback(
    runner: web.AppRunner, emulator: Emulator, options: EmulatorOptions, notes: list[str]
) -> dict[str, str]:
    from aiohttp import web

    port = emulator.loopback_port(options)
    if port is None:
        return {}
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
    except OSError as error:
        notes.append(f"127.0.0.1:{port} is taken ({error.strerror or error}); {emulator.label} does not answer there.")
        return {}
    return {emulator.id: f"http://127.0.0.1:{runner.addresses[-1][1]}"}


def _write_config(path: Path, emulators: Sequence[Emulator], options: EmulatorOptions) -> None:
    merged: dict[str, JsonValue] = {}
    for emulator in emulators:
        _merge(merged, emulator.config(options))
    path.touch(mode=0o600)
    path.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")


def _merge(target: dict[str, JsonValue], source: Mapping[str, JsonValue]) -> None:
    for key, value in source.items():
        existing = target.get(key)
        if isinstance(existing, dict) and isinstance(value, dict):
            _merge(existing, value)
        else:
            target[key] = value


def _environment(proxy_url: str, files: _RunFiles) -> Mapping[str, str]:
    """The environment in which a command uses the emulator.

    The proxy variables are set in upper and lower case, because programs read them in a different order. Plain http is sent to
    the proxy too, which rejects it, so that it does not leave the machine. The approver is started by its path, so that it
    works with any folder and `PYTHONPATH`.
    """
    return {
        **dict.fromkeys(_PROXY_VARIABLES, proxy_url),
        **without_proxy({}),
        "SSL_CERT_FILE": str(files.authority.ca_file),
        "BROWSER": f"{shlex.join(script_command(approver.__file__))} %s",
        STATE_ENV: str(files.state),
        CONFIG_ENV: str(files.config),
    }
