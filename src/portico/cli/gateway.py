"""`gateway run|start|stop|status|restart`; the rest of `gateway` stands in the modules beside this one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from portico.errors import ExitCode, UsageError
from portico.gateway.port import LAST_PORT, PORT_ENV, configured_port
from portico.version import __version__

if TYPE_CHECKING:
    import argparse

    from portico.cli.render import Output
    from portico.cli.runtime import Runtime
    from portico.gateway.control import Ended
    from portico.gateway.ending import EndWatch
    from portico.gateway.state import GatewayState
    from portico.util.lock import FileLock

_EXAMPLES = """examples:
  {prog} gateway start          keep every sign-in fresh, in the background
  {prog} gateway status --json
  {prog} gateway restart        after a change of the configuration
  {prog} gateway install        from now on, and at each login
  {prog} gateway logs --follow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    from portico.cli.gateway_keys import add_key_commands
    from portico.cli.gateway_logs import LINES, logs
    from portico.cli.gateway_service import install, uninstall

    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    foreground = _add(commands, "run", "run in the foreground, until interrupted", run)
    _add_port(foreground)
    foreground.add_argument(
        "--passphrase-stdin", action="store_true", help="read the sealed file store's passphrase from standard input"
    )
    _add_port(_add(commands, "start", "start in the background", start))
    _add(commands, "stop", "end it within 5 seconds; requests under way get 3 of them", stop)
    _add(commands, "status", "say whether it runs", status)
    add_key_commands(commands)
    _add(commands, "install", "let the operating system run it, now and at each login (systemd, launchd)", install)
    _add(commands, "uninstall", "undo `install`", uninstall)
    reading = _add(commands, "logs", "show what it has remarked", logs)
    reading.add_argument("-n", "--lines", type=int, default=LINES, metavar="N", help=f"how many of the last lines ({LINES})")
    reading.add_argument("-f", "--follow", action="store_true", help="go on with each new line, until Ctrl-C")
    summary = "start another in its place; streams under way finish, and nothing happens where none runs"
    _add_port(_add(commands, "restart", summary, restart))


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, handler: object
) -> argparse.ArgumentParser:
    epilog = f"example:\n  {{prog}} gateway {name}\n"
    parser = commands.add_parser(name, help=summary, epilog=epilog, description=f"{summary.capitalize()}.")
    parser.set_defaults(handler=handler)
    return parser


def _add_port(parser: argparse.ArgumentParser) -> None:
    help_text = f"port on 127.0.0.1; 0 takes any (default: {PORT_ENV}, then gateway.port of the configuration, then 18444)"
    parser.add_argument("--port", type=int, metavar="PORT", help=help_text)


def run(args: argparse.Namespace, rt: Runtime) -> int:
    """Serve until a signal asks to end."""
    from portico.gateway.ending import watched_end
    from portico.gateway.server import take_place

    # Both before anything that could hang: a config on a network folder, a keyring, a plugin.
    with watched_end() as watch:
        lock = take_place(rt.paths)
        watch.guard(lock)
        try:
            return _serve(args, rt, watch, lock)
        except BaseException:
            lock.release()
            raise


def _serve(args: argparse.Namespace, rt: Runtime, watch: EndWatch, lock: FileLock) -> int:
    from portico.cli.gateway_keys import make_first_key
    from portico.cli.gateway_work import passphrase_from_stdin, serving
    from portico.gateway.control import passphrase_for
    from portico.gateway.metrics import log_to_stderr
    from portico.gateway.server import Terms, run_gateway

    port = _port(args, rt)
    given = passphrase_from_stdin() if args.passphrase_stdin else None
    passphrase = given or passphrase_for(rt.paths, rt.passphrase, rt.env, rt.store_choice())
    log_to_stderr(rt.paths.gateway_log, verbose=rt.options.verbose)
    make_first_key(rt, passphrase)
    opens_sealed = passphrase is not None
    announce = partial(_say_running, rt.out)
    terms = Terms(rt.paths, port, rt.clock, rt.env, announce, opens_sealed)
    return run_gateway(terms, watch, lock, lambda started_at: serving(rt, passphrase, started_at))


def start(args: argparse.Namespace, rt: Runtime) -> int:
    """Start it, unless it runs already; one that `exec` has started stays from then on."""
    from portico.cli.gateway_service import installed
    from portico.cli.tool_gateway import keep_running
    from portico.gateway import control
    from portico.gateway.state import running

    port = _port(args, rt)
    present = running(rt.paths)
    if present is not None:
        if keep_running(rt, present) and not rt.options.json:
            rt.out.note("It was started for a tool, and no longer ends with it.")
        if port not in {0, present.port} and not rt.options.json:
            _say_other_port(rt, port, is_service=installed(rt) is not None)
        return _answer(rt, present, {"started": False}, f"The gateway is already running (pid {present.pid}) on {present.url}.")
    kept = installed(rt)
    if kept is not None:
        state = kept.start(rt, args.port)
    else:
        state = control.start(rt.paths, port=port, passphrase=rt.passphrase, env=rt.env, store=rt.store_choice())
    if not rt.options.json:
        rt.out.note(f"What your tools show it: {rt.program} gateway key show")
    return _answer(rt, state, {"started": True}, f"The gateway is running (pid {state.pid}) on {state.url}.")


def _say_other_port(rt: Runtime, port: int, *, is_service: bool) -> None:
    if is_service:
        rt.out.note(f"To have it on port {port}: {rt.program} config set gateway.port {port}, then: {rt.program} gateway restart")
    else:
        rt.out.note(f"To have it on port {port}: {rt.program} gateway restart --port {port}")


def stop(_args: argparse.Namespace, rt: Runtime) -> int:
    """End it."""
    from portico.cli.gateway_service import installed
    from portico.gateway import control

    kept = installed(rt)
    ended = control.stop(rt.paths) if kept is None else kept.stop(rt)
    if kept is not None and not rt.options.json:
        rt.out.note(f"It starts again at the next login ({kept}); to end that: {rt.program} gateway uninstall")
    if ended is None:
        return _answer(rt, None, {"stopped": False}, "No gateway is running.")
    return _answer(rt, ended.state, {"stopped": True, "killed": ended.killed, "pid": ended.pid}, _how_it_ended(ended))


def _how_it_ended(ended: Ended) -> str:
    from portico.gateway.control import TERM_S

    if ended.killed:
        return f"The gateway (pid {ended.pid}) did not end within {TERM_S:g} s of SIGTERM, and was killed (SIGKILL)."
    return f"The gateway (pid {ended.pid}) has ended."


def restart(args: argparse.Namespace, rt: Runtime) -> int:
    """End it and start it anew."""
    pair = _restarted(args, rt)
    if pair is None:
        text = f"No gateway is running; nothing was restarted. To start one: {rt.program} gateway start"
        return _answer(rt, None, {"restarted": False}, text)
    old, new = pair
    text = f"The gateway was restarted on {new.url} (pid {new.pid}; it was {old.pid})."
    if old.killed and not rt.options.json:
        rt.out.note(_how_it_ended(old))
    return _answer(rt, new, {"restarted": True, "previousPid": old.pid, "killed": old.killed}, text)


def _restarted(args: argparse.Namespace, rt: Runtime) -> tuple[Ended, GatewayState] | None:
    """The gateways before and after; None where none ran."""
    from portico.cli.gateway_service import installed
    from portico.gateway import control

    kept, port = installed(rt), _port(args, rt)
    if kept is None:
        return control.restart(rt.paths, port=port, passphrase=rt.passphrase, env=rt.env, store=rt.store_choice())
    kept.check_port(args.port)  # before anything is stopped
    return kept.restart(rt) if control.status(rt.paths)[0] != "stopped" else None


def status(_args: argparse.Namespace, rt: Runtime) -> int:
    """Say what is so, also of sign-ins that it cannot keep fresh any more."""
    from portico.cli.gateway_service import installed
    from portico.gateway import control
    from portico.onboarding.times import iso

    what, state = control.status(rt.paths)
    ended, kept = _ended(rt), installed(rt)
    fields: dict[str, object] = {"status": what, "log": str(rt.paths.gateway_log), "signInNeeded": ended}
    fields["service"] = None if kept is None else {"kind": kept.manager.kind, "name": kept.service.name}
    if state is not None:
        text = f"The gateway is running (pid {state.pid}) on {state.url} since {iso(state.started_at)}."
        text += f"\nIt is started at each login: {kept}" if kept is not None else ""
        text += _says_version(rt, state)
        text += f"\nIt cannot keep these fresh, sign in again: {', '.join(ended)}" if ended else ""
        return _answer(rt, state, fields, text)
    if what == "unresponsive":
        text = f"A gateway process is there and does not answer; start it anew: {rt.program} gateway restart"
        return _answer(rt, None, fields, f"{text}\nIts log: {rt.paths.gateway_log}")
    later = f" It starts at the next login ({kept}), or now: {rt.program} gateway start" if kept is not None else ""
    return _answer(rt, None, fields, f"No gateway is running.{later}")


def _says_version(rt: Runtime, state: GatewayState) -> str:
    """What a gateway of another version than this command's lacks; nothing for one of the same."""
    if state.version == __version__:
        return ""
    runs = "an earlier version" if state.version is None else f"Portico {state.version}"
    return f"\nIt runs {runs}, and {__version__} is installed; to have that one: {rt.program} gateway restart"


def _ended(rt: Runtime) -> list[str]:
    """The sign-ins that were refused for good, as far as the index can be read."""
    from portico.auth.health import refused
    from portico.errors import PorticoError

    try:
        return [profile.id for profile in refused(rt.token_store.profiles())]
    except PorticoError:
        return []


def _answer(rt: Runtime, state: GatewayState | None, fields: dict[str, object], text: str) -> int:
    if rt.options.json:
        rt.out.json({**fields, "running": state is not None and not fields.get("stopped"), **(state.as_json() if state else {})})
    else:
        rt.out.line(text)
    return ExitCode.OK


def _say_running(out: Output, state: GatewayState) -> None:
    if out.is_json:
        out.event({"event": "running", **state.as_json()})
    else:
        out.note(f"The gateway is running (pid {state.pid}) on {state.url}; Ctrl-C ends it.")


def _port(args: argparse.Namespace, rt: Runtime) -> int:
    """`--port`, else the configured one."""
    if args.port is None:
        return configured_port(rt)
    if not 0 <= args.port <= LAST_PORT:
        raise UsageError("usage", f"Argument --port: {args.port} is not a port (0 to {LAST_PORT}).")
    _ = rt.settings  # it has to be right in any case
    return int(args.port)
