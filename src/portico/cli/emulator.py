"""`emulator run|env|approve`: an emulator of the providers' servers, on this machine and offline."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError, ExitCode, LockBusy, NoWayToSignIn, PorticoError, UnknownName, UsageError
from portico.terminal.output import SHELLS, shell_lines, shell_of
from portico.util import signals

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.emulation.run import EmulationInfo
    from portico.interfaces.plugins import Emulator, EmulatorOptions

_EXAMPLES = """examples:
  {prog} emulator run                        emulate both regions of MiniMax (Global and CN), with the device code only
  {prog} emulator run --redirect             also emulate the browser flow, which MiniMax does not offer
  eval "$({prog} emulator env)"              in another terminal: point this shell at the emulator
  {prog} emulator approve ABCD-EFGH          approve a device code by hand
"""
_RUN_EXAMPLES = """examples:
  {prog} emulator run --access-ttl 30
  {prog} emulator run --region cn --redirect
  {prog} emulator run --knob lmstudio=1234 --knob expiry=s --knob token-fault=503
"""
_REGION: Final = "region in the commands that the emulator prints (default: global); it always emulates both regions"
_AUTO_APPROVE: Final = "approve every sign-in immediately (default: a sign-in waits for the approval on its page)"
_ENV_EXAMPLES = """examples:
  eval "$({prog} emulator env)"
  {prog} emulator env --shell fish | source
"""
_APPROVE_EXAMPLES = """examples:
  {prog} emulator approve ABCD-EFGH
  {prog} emulator approve ABCD-EFGH --deny
"""


class NotApproved(PorticoError):
    """The emulator did not accept the approval of a code."""

    id = "emulator-not-approved"


class EmulatorRunning(LockBusy):
    """The user already runs an emulator."""

    id = "emulator-running"


class NoEmulator(NoWayToSignIn):
    """No installed plugin has an emulator."""

    id = "no-emulator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers()
    running = commands.add_parser("run", help="run the emulator until Ctrl-C", epilog=_RUN_EXAMPLES)
    running.add_argument("--region", choices=("global", "cn"), default="global", help=_REGION)
    running.add_argument("--redirect", action="store_true", help="also serve the browser flow, which MiniMax does not offer")
    running.add_argument(
        "--access-ttl", type=_positive, metavar="S", help="lifetime of access tokens, in seconds (default: as long as at MiniMax)"
    )
    running.add_argument("--auto-approve", action="store_true", help=_AUTO_APPROVE)
    running.add_argument(
        "--knob",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change how the emulator behaves, for example token-fault=503 (the plugin's README lists all); repeatable",
    )
    running.set_defaults(handler=run, warns_of_ended=False)
    leading = commands.add_parser("env", help="print the variables that point a shell at the emulator", epilog=_ENV_EXAMPLES)
    leading.add_argument("--shell", choices=SHELLS, help="the shell to print for (default: yours)")
    leading.set_defaults(handler=env, warns_of_ended=False)
    approving = commands.add_parser("approve", help="approve a sign-in by its code", epilog=_APPROVE_EXAMPLES)
    approving.add_argument("code", metavar="CODE", help="the code that the sign-in prints")
    approving.add_argument("--deny", action="store_true", help="deny the sign-in instead")
    approving.set_defaults(handler=approve, warns_of_ended=False)


def run(args: argparse.Namespace, app: App) -> int:
    """Run the emulator until Ctrl-C, then delete everything that it made."""
    from portico.interfaces.plugins import EmulatorOptions

    app = app.outside_emulator()
    options = EmulatorOptions(
        redirect=args.redirect, access_ttl_s=args.access_ttl, auto_approve=args.auto_approve, knobs=_knobs(args.knob)
    )
    return run_emulator(app, options, region=args.region)


def env(args: argparse.Namespace, app: App) -> int:
    """Print the variables that point a shell at the running emulator."""
    from portico.emulation.run import read_state

    app = app.outside_emulator()
    shell = "json" if app.out.is_json else args.shell or shell_of(app.env)
    try:
        values = read_state(app.paths.emulator).env
    except PorticoError:
        if shell != "json":
            app.out.exact("false")  # `eval` of empty output would succeed; `false` fails in every shell
        raise
    if shell == "json":
        app.out.json(dict(values))
    else:
        for line in shell_lines(values, shell):
            app.out.exact(line)
    return ExitCode.OK


def approve(args: argparse.Namespace, app: App) -> int:
    """Approve or deny a sign-in, on the emulator's page.

    Raises:
        UsageError: `unknown-name`: no sign-in waits for this code.
        PorticoError: `emulator-not-approved`: the page did not accept the approval.
    """
    import subprocess

    from portico.emulation import approver
    from portico.emulation.run import read_state
    from portico.util.children import child_environment, script_command

    state = read_state(app.outside_emulator().paths.emulator)
    environment = child_environment({**app.env, **state.env})
    deny = ["--deny"] if args.deny else []
    reason = ""
    for url in state.approval_urls(args.code):
        # The URL contains the code; every user of the machine can read a program's arguments, so send it on stdin.
        command = script_command(approver.__file__, *deny, "-")
        result = subprocess.run(command, env=environment, input=f"{url}\n", capture_output=True, text=True, check=False)
        if result.returncode == ExitCode.OK:
            app.out.note("Denied." if args.deny else "Approved.")
            if app.out.is_json:
                app.out.json({"code": args.code, "approved": not args.deny})
            return ExitCode.OK
        if result.returncode != approver.NOT_ACCEPTED:
            reason = result.stderr.strip().removeprefix("approver: ")
    if not reason:
        hint = "A code works once, for a few minutes. To get a new code, start the sign-in again."
        raise UnknownName(f"No sign-in waits for the code {args.code}.", hint=hint)
    raise NotApproved(f"The emulator did not accept the code {args.code}.", why=reason)


def _knobs(settings: list[str]) -> dict[str, str]:
    knobs = {}
    for each in settings:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise UsageError(f"--knob takes NAME=VALUE, not {each!r}.")
        knobs[name] = value
    return knobs


def _positive(text: str) -> float:
    import argparse
    import math

    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError("expected a number of seconds above 0")
    return seconds


_SHOWN_HOSTS = 4


def run_emulator(app: App, options: EmulatorOptions, *, region: str) -> int:
    """Run until Ctrl-C or SIGTERM, and return 0.

    Raises:
        LockBusy: `emulator-running`.
        NoWayToSignIn: `no-emulator`: no plugin has an emulator.
    """
    import shutil
    import tempfile

    from portico.cli.demo import clear_away
    from portico.paths import make_private_folder
    from portico.util.lock import FileLock

    emulators = known_emulators(app)
    lock = FileLock(make_private_folder(app.paths.locks) / "emulator.lock", what="the emulator")
    if not lock.try_acquire():
        pid = lock.owner_pid()
        why = f"process {pid}" if pid else None
        raise EmulatorRunning("An emulator is already running.", why=why, hint='To use it: eval "$({prog} emulator env)"')
    folder = Path(tempfile.mkdtemp(prefix="portico-emulator-")).resolve()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            signals.run(_run(app, emulators, options, folder, region))
    finally:
        with signals.block_signals(), contextlib.ExitStack() as stack:
            stack.callback(lock.release)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            clear_away(folder)
    app.out.note("The emulator stopped, and deleted everything that it made.")
    return ExitCode.OK


def known_emulators(app: App) -> tuple[Emulator, ...]:
    """Return the emulators of all plugins, including plugins that are off by default. No plugin is enabled for good.

    Raises:
        NoWayToSignIn: `no-emulator`.
    """
    # The config decides which plugins may be used. Their settings are for the real services, so they are left out.
    config = app.settings.config.plugins
    unset = {id: replace(entry, config={}) for id, entry in config.entries.items()}
    host = app.plugins.for_config(replace(config, entries=unset))
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
        raise NoEmulator("No plugin has an emulator.", why=why, hint="See `{prog} plugins list`.")
    return emulators


async def _run(app: App, emulators: tuple[Emulator, ...], options: EmulatorOptions, folder: Path, region: str) -> None:
    from portico.emulation.run import make_state, remove_state, run_emulation, write_state

    ended = _end_event()
    async with run_emulation(emulators, options, folder) as info:
        state = make_state(info, emulators, app.paths.state)
        await asyncio.to_thread(write_state, state, app.paths.emulator)
        try:
            _show_ready(app, emulators, replace(info, env=state.env), options, region)
            await ended.wait()
        finally:
            remove_state(app.paths.emulator)


def _end_event() -> asyncio.Event:
    ended = asyncio.Event()
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    return ended


def _show_ready(app: App, emulators: tuple[Emulator, ...], info: EmulationInfo, options: EmulatorOptions, region: str) -> None:
    hosts = [host for emulator in emulators for host in emulator.hosts]
    if app.out.is_json:
        ready = {"event": "ready", "proxyUrl": info.proxy_url, "hosts": hosts, "loopback": dict(info.loopback)}
        app.out.event({**ready, "env": dict(info.env), "notes": list(info.notes)})
        return
    flow = "browser" if options.redirect else "device"
    shown = ", ".join(hosts[:_SHOWN_HOSTS])
    app.out.line(f"Portico's emulator answers for {shown} and {len(hosts) - _SHOWN_HOSTS} more, on this machine only.")
    if options.redirect:
        app.out.line("Only the emulator offers the browser flow; MiniMax itself offers third parties only the device code.")
    app.out.line("")
    app.out.line("In another terminal:")
    app.out.exact(f'  eval "$({app.program} emulator env)"')
    app.out.exact(f"  {app.program} onboard --auth-choice minimax-portal --region {region} --flow {flow}")
    app.out.line("")
    app.out.line(f"$BROWSER approves the sign-in there. To approve by hand: {app.program} emulator approve CODE")
    for address in info.loopback.values():
        app.out.line(f"An LM Studio server is emulated at {address}/v1")
    for note in info.notes:
        app.out.note(note)
    app.out.line("Press Ctrl-C to stop the emulator and delete everything that it made.")
