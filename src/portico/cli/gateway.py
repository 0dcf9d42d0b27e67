"""`gateway run|start|stop|status|restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ConfigError, ExitCode, UsageError

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime
    from portico.gateway.state import GatewayState

PORT_ENV = "PORTICO_GATEWAY_PORT"
_EXAMPLES = """examples:
  {prog} gateway start          keep every sign-in fresh, in the background
  {prog} gateway status --json
  {prog} gateway restart        after a change of the configuration
"""
_LAST_PORT = 65535


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    foreground = _add(commands, "run", "run in the foreground, until interrupted", run)
    _add_port(foreground)
    foreground.add_argument(
        "--passphrase-stdin", action="store_true", help="read the sealed file store's passphrase from standard input"
    )
    _add_port(_add(commands, "start", "start in the background", start))
    _add(commands, "stop", "end it, once what was begun is finished", stop)
    _add(commands, "status", "say whether it runs", status)
    _add_port(_add(commands, "restart", "end it and start it anew; nothing happens where none runs", restart))


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
    from portico.cli.gateway_work import keep_fresh, passphrase_from_stdin
    from portico.gateway.log import log_to_stderr
    from portico.gateway.server import run_gateway
    from portico.gateway.service import passphrase_for

    port = _port(args, rt)
    given = passphrase_from_stdin() if args.passphrase_stdin else None
    passphrase = given or passphrase_for(rt.paths, rt.passphrase, rt.env)
    log_to_stderr(rt.paths.gateway_log, verbose=rt.options.verbose)
    run_gateway(
        rt.paths,
        port,
        lambda: keep_fresh(rt, passphrase),
        clock=rt.clock,
        opens_sealed=passphrase is not None,
        announce=lambda state: _say_running(rt, state),
    )
    return ExitCode.OK


def start(args: argparse.Namespace, rt: Runtime) -> int:
    """Start it, unless it runs already."""
    from portico.gateway import service

    port = _port(args, rt)
    present = service.running(rt.paths)
    if present is not None:
        return _answer(rt, present, {"started": False}, f"The gateway is already running (pid {present.pid}) on {present.url}.")
    state = service.start(rt.paths, port=port, passphrase=rt.passphrase, env=rt.env)
    return _answer(rt, state, {"started": True}, f"The gateway is running (pid {state.pid}) on {state.url}.")


def stop(_args: argparse.Namespace, rt: Runtime) -> int:
    """End it."""
    from portico.gateway import service

    state = service.stop(rt.paths)
    if state is None:
        return _answer(rt, None, {"stopped": False}, "No gateway is running.")
    return _answer(rt, state, {"stopped": True}, f"The gateway (pid {state.pid}) has ended.")


def restart(args: argparse.Namespace, rt: Runtime) -> int:
    """End it and start it anew."""
    from portico.gateway import service

    pair = service.restart(rt.paths, port=_port(args, rt), passphrase=rt.passphrase, env=rt.env)
    if pair is None:
        text = f"No gateway is running; nothing was restarted. To start one: {rt.program} gateway start"
        return _answer(rt, None, {"restarted": False}, text)
    old, new = pair
    text = f"The gateway was restarted on {new.url} (pid {new.pid}; it was {old.pid})."
    return _answer(rt, new, {"restarted": True, "previousPid": old.pid}, text)


def status(_args: argparse.Namespace, rt: Runtime) -> int:
    """Say what is so, also of sign-ins that it cannot keep fresh any more."""
    from portico.gateway import service
    from portico.onboarding.times import iso

    what, state = service.status(rt.paths)
    ended = _ended(rt)
    fields: dict[str, object] = {"status": what, "log": str(rt.paths.gateway_log), "signInNeeded": ended}
    if state is not None:
        text = f"The gateway is running (pid {state.pid}) on {state.url} since {iso(state.started_at)}."
        text += f"\nIt cannot keep these fresh, sign in again: {', '.join(ended)}" if ended else ""
        return _answer(rt, state, fields, text)
    if what == "unresponsive":
        return _answer(rt, None, fields, f"A gateway process is there and does not answer: see {rt.paths.gateway_log}")
    return _answer(rt, None, fields, "No gateway is running.")


def _ended(rt: Runtime) -> list[str]:
    """The sign-ins that were refused for good, as far as the index can be read."""
    from portico.auth.health import refused
    from portico.errors import PorticoError

    try:
        return [profile.id for profile in refused(rt.index.profiles())]
    except PorticoError:
        return []


def _answer(rt: Runtime, state: GatewayState | None, fields: dict[str, object], text: str) -> int:
    if rt.options.json:
        rt.out.json({**fields, "running": state is not None and not fields.get("stopped"), **(state.as_json() if state else {})})
    else:
        rt.out.line(text)
    return ExitCode.OK


def _say_running(rt: Runtime, state: GatewayState) -> None:
    if rt.options.json:
        rt.out.event({"event": "running", **state.as_json()})
    else:
        rt.out.note(f"The gateway is running (pid {state.pid}) on {state.url}; Ctrl-C ends it.")


def _port(args: argparse.Namespace, rt: Runtime) -> int:
    """`--port`, the environment's, or the configuration's; that one is read, and has to be right, in any case."""
    configured = rt.config.config.gateway.port
    if args.port is not None:
        if not 0 <= args.port <= _LAST_PORT:
            raise UsageError("usage", f"Argument --port: {args.port} is not a port (0 to {_LAST_PORT}).")
        return int(args.port)
    text = rt.env.get(PORT_ENV)
    if text is None:
        return configured
    if not (text.isascii() and text.isdigit() and int(text) <= _LAST_PORT):
        raise ConfigError("bad-port", f"{PORT_ENV} is not a port.", why=repr(text), hint=f"set it to 0 to {_LAST_PORT}")
    return int(text)
