"""The running emulator: set up, advice, the wait, and a clean floor afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from portico.errors import ConfigError, ExitCode, LockBusy, NoWayToSignIn
from portico.util import signals

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.emulation.run import EmulationInfo
    from portico.interfaces.plugin_parts import Emulator, EmulatorOptions

_SHOWN_HOSTS = 4


def run_emulator(rt: Runtime, options: EmulatorOptions, *, region: str) -> int:
    """Run until Ctrl-C or SIGTERM; that is the end it is made for, so the code is 0.

    Raises:
        LockBusy: `emulator-running`.
        NoWayToSignIn: `no-emulator`: no plugin brings one.
    """
    import shutil
    import tempfile

    from portico.cli.demo_stage import clear_away
    from portico.paths import make_private_folder
    from portico.util.lock import FileLock

    emulators = known_emulators(rt)
    lock = FileLock(make_private_folder(rt.paths.locks) / "emulator.lock", what="the emulator")
    if not lock.try_acquire():
        holder = lock.holder()
        why = f"process {holder}" if holder else None
        raise LockBusy("emulator-running", "An emulator is running already.", why=why, hint="Use it: `{prog} emulator env`.")
    folder = Path(tempfile.mkdtemp(prefix="portico-emulator-")).resolve()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            signals.run(_run(rt, emulators, options, folder, region))
    finally:
        with signals.blocked(), contextlib.ExitStack() as floor:
            floor.callback(lock.release)
            floor.callback(shutil.rmtree, folder, ignore_errors=True)
            clear_away(folder)
    rt.out.note("The emulator has ended; what it made is removed.")
    return ExitCode.OK


def known_emulators(rt: Runtime) -> tuple[Emulator, ...]:
    """The emulators of every plugin that announces one, also of those that are off by default: running one enables nothing.

    Raises:
        NoWayToSignIn: `no-emulator`.
    """
    # Which plugins may be used is the user's word; their settings are for the real services, and may be wrong.
    config = rt.settings.config.plugins
    unset = {id: replace(entry, config={}) for id, entry in config.entries.items()}
    host = rt.plugins.for_config(replace(config, entries=unset))
    off = []
    for record in host.records():
        if record.manifest.emulators and not record.enabled:
            try:
                host = host.enabling(record.id)
            except ConfigError:
                off.append(f"{record.id}: {record.why}")
    emulators = host.emulators()
    if not emulators:
        failed = [f"{record.id}: {record.error}" for record in host.records() if record.manifest.emulators and record.error]
        why = "; ".join([*off, *failed]) or None
        raise NoWayToSignIn("no-emulator", "No plugin brings an emulator.", why=why, hint="See `{prog} plugins list`.")
    return emulators


async def _run(rt: Runtime, emulators: tuple[Emulator, ...], options: EmulatorOptions, folder: Path, region: str) -> None:
    from portico.emulation.run import run_emulation
    from portico.emulation.state import remove_state, state_of, write_state

    ended = _ended()
    async with run_emulation(emulators, options, folder) as info:
        state = state_of(info, emulators, rt.paths.state)
        await asyncio.to_thread(write_state, state, rt.paths.emulator)
        try:
            _tell(rt, emulators, replace(info, env=state.env), options, region)
            await ended.wait()
        finally:
            remove_state(rt.paths.emulator)


def _ended() -> asyncio.Event:
    ended = asyncio.Event()
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    return ended


def _tell(rt: Runtime, emulators: tuple[Emulator, ...], info: EmulationInfo, options: EmulatorOptions, region: str) -> None:
    hosts = [host for emulator in emulators for host in emulator.hosts]
    if rt.out.is_json:
        ready = {"event": "ready", "proxyUrl": info.proxy_url, "hosts": hosts, "loopback": dict(info.loopback)}
        rt.out.event({**ready, "env": dict(info.env), "notes": list(info.notes)})
        return
    flow = "browser" if options.redirect else "device"
    shown = ", ".join(hosts[:_SHOWN_HOSTS])
    rt.out.line(f"Portico's emulator answers for {shown} and {len(hosts) - _SHOWN_HOSTS} more, on this machine only.")
    if options.redirect:
        rt.out.line("Its redirect is an extension: MiniMax itself offers third parties only the device code.")
    rt.out.line("")
    rt.out.line("In another terminal:")
    rt.out.exact(f'  eval "$({rt.program} emulator env)"')
    rt.out.exact(f"  {rt.program} onboard --auth-choice minimax-portal --region {region} --flow {flow}")
    rt.out.line("")
    rt.out.line(f"$BROWSER approves there by itself; by hand: {rt.program} emulator approve CODE")
    for address in info.loopback.values():
        rt.out.line(f"A local LM Studio is played at {address}/v1")
    for note in info.notes:
        rt.out.note(note)
    rt.out.line("Ctrl-C ends it and removes everything it made.")
