"""`gateway run|start|stop|status|restart|logs`, and the work of a running one: fresh accounts, and models for tools."""

from __future__ import annotations

import gc
import importlib
import logging
import pkgutil
import re
import subprocess
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico import version
from portico.accounts.view import iso
from portico.auth.background import BackgroundRefresh
from portico.auth.broker import TokenBroker
from portico.auth.freshness import ended_profiles
from portico.cli import gateway_keys
from portico.cli.gateway_service import install, installed, uninstall
from portico.errors import ExitCode, PorticoError, UsageError
from portico.gateway import control
from portico.gateway.metrics import log_to_stderr
from portico.gateway.port import LAST_PORT, PORT_ENV, configured_port
from portico.gateway.router import signature
from portico.gateway.shutdown import watched_end
from portico.plugins.discovery import PluginDisabled
from portico.secret import Secret
from portico.services import gateway_state
from portico.services.service import ServiceFailed
from portico.store.encrypted_file import TEXT_ENV, PassphraseSource
from portico.store.keyring import import_keyring_module
from portico.util.children import child_environment, resolve_command
from portico.util.files import file_error, read_end, read_start, shared_folder_warning
from portico.util.threads import off_loop
from portico.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterator
    from typing import TextIO

    from portico.app import App
    from portico.gateway.control import StoppedGateway
    from portico.gateway.server import Inside
    from portico.gateway.shutdown import EndWatch
    from portico.interfaces.authorization import TokenDialect
    from portico.interfaces.basics import Clock
    from portico.services.gateway_state import GatewayState
    from portico.store.token_store import TokenStore
    from portico.terminal.output import Output
    from portico.util.lock import FileLock

_EXAMPLES = """examples:
  {prog} gateway start          keep every sign-in fresh, in the background
  {prog} gateway status --json
  {prog} gateway restart        after a change of the configuration
  {prog} gateway install        from now on, and at each login
  {prog} gateway logs --follow
"""
_LONGEST_LINE = 64 * 1024
_LOOK_EVERY_S = 2.0
_SAME_LOOKS = 3
_VERSION = re.compile(r'^__version__ = "([^"\n]+)"$', re.MULTILINE)
# All that a request, a refresh, or a change of the config, the sign-ins or the keys runs through.
_PACKAGES = ("auth", "config", "gateway", "interfaces", "models", "net", "oauth", "plugins", "services", "store", "usage", "util")
# What a store of credentials imports when it is opened, as far as this system has it; what prints the first line; and what a
# plugin imports that is switched on later.
_LATER = (
    "cryptography.hazmat.backends.openssl.backend",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.scrypt",
    "jeepney.bus_messages",
    "jeepney.io.blocking",
    "keyring.backend",
    "portico.terminal.output",
    "portico.plugin_api",
    "secretstorage.util",
)
_log = logging.getLogger(__name__)
_DEFAULT_LINES: Final = 50
_READ_LOG_EVERY_S: Final = 0.2
_READ: Final = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
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
    gateway_keys.add_key_commands(commands)
    summary = "let the operating system run it, now and at each login (systemd, launchd)"
    _add(commands, "install", summary, install)
    _add(commands, "uninstall", "undo `install`", uninstall)
    reading = _add(commands, "logs", "show what it has remarked", logs)
    reading.add_argument(
        "-n", "--lines", type=int, default=_DEFAULT_LINES, metavar="N", help=f"how many of the last lines ({_DEFAULT_LINES})"
    )
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


def run(args: argparse.Namespace, app: App) -> int:
    """Serve until a signal asks to end."""
    from portico.gateway.server import take_place

    # Both before anything that could hang: a config on a network folder, a keyring, a plugin.
    with watched_end() as watch:
        lock = take_place(app.paths)
        watch.guard(lock)
        try:
            return _serve(args, app, watch, lock)
        except BaseException:
            watch.guard(None)  # which would take the released lock for a lost one
            lock.release()
            raise


def _serve(args: argparse.Namespace, app: App, watch: EndWatch, lock: FileLock) -> int:
    from portico.gateway.server import Terms, run_gateway

    port = _port(args, app)
    from_stdin = _passphrase_from(app.stdin) if args.passphrase_stdin else None
    passphrase = from_stdin or control.passphrase_for(app.paths, app.passphrase, app.env, app.store_choice())
    log_to_stderr(app.paths.gateway_log, verbose=app.options.verbose)
    gateway_keys.make_first_key(app, passphrase)
    opens_encrypted_file = passphrase is not None
    announce = partial(_show_running, app.out)
    terms = Terms(app.paths, port, app.clock, app.env, announce, opens_encrypted_file)
    return run_gateway(terms, watch, lock, lambda started_at: serving(app, passphrase, started_at))


def _show_running(out: Output, state: GatewayState) -> None:
    if out.is_json:
        out.event({"event": "running", **state.as_json()})
    else:
        out.note(f"The gateway is running (pid {state.pid}) on {state.url}; Ctrl-C ends it.")


def _passphrase_from(stdin: TextIO) -> Secret:
    """The first line of standard input."""
    return Secret(stdin.buffer.readline(_LONGEST_LINE).decode().rstrip("\r\n"))


def start(args: argparse.Namespace, app: App) -> int:
    """Start it, unless it runs already; one that `exec` has started stays from then on."""
    from portico.cli.exec import keep_running

    port = _port(args, app)
    state = gateway_state.running(app.paths)
    if state is not None:
        if keep_running(app, state) and not app.options.json:
            app.out.note("It was started for a tool, and no longer ends with it.")
        if port not in {0, state.port} and not app.options.json:
            _show_other_port(app, port, is_service=installed(app) is not None)
        return _report(app, state, {"started": False}, f"The gateway is already running (pid {state.pid}) on {state.url}.")
    service = installed(app)
    if service is not None:
        state = service.start(app, args.port)
    else:
        state = control.start(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=app.store_choice())
    if not app.options.json:
        app.out.note(f"What your tools show it: {app.program} gateway key show")
    return _report(app, state, {"started": True}, f"The gateway is running (pid {state.pid}) on {state.url}.")


def _show_other_port(app: App, port: int, *, is_service: bool) -> None:
    if is_service:
        app.out.note(
            f"To have it on port {port}: {app.program} config set gateway.port {port}, then: {app.program} gateway restart"
        )
    else:
        app.out.note(f"To have it on port {port}: {app.program} gateway restart --port {port}")


def stop(_args: argparse.Namespace, app: App) -> int:
    """End it."""
    service = installed(app)
    stopped = control.stop(app.paths) if service is None else service.stop(app)
    if service is not None and not app.options.json:
        app.out.note(f"It starts again at the next login ({service}); to end that: {app.program} gateway uninstall")
    if stopped is None:
        return _report(app, None, {"stopped": False}, "No gateway is running.")
    return _report(app, stopped.state, {"stopped": True, "killed": stopped.killed, "pid": stopped.pid}, _how_it_ended(stopped))


def _how_it_ended(stopped: StoppedGateway) -> str:
    if stopped.killed:
        return f"The gateway (pid {stopped.pid}) did not end within {control.TERM_S:g} s of SIGTERM, and was killed (SIGKILL)."
    return f"The gateway (pid {stopped.pid}) has ended."


def restart(args: argparse.Namespace, app: App) -> int:
    """End it and start it anew."""
    pair = _restart(args, app)
    if pair is None:
        text = f"No gateway is running; nothing was restarted. To start one: {app.program} gateway start"
        return _report(app, None, {"restarted": False}, text)
    old, new = pair
    text = f"The gateway was restarted on {new.url} (pid {new.pid}; it was {old.pid})."
    if old.killed and not app.options.json:
        app.out.note(_how_it_ended(old))
    return _report(app, new, {"restarted": True, "previousPid": old.pid, "killed": old.killed}, text)


def _restart(args: argparse.Namespace, app: App) -> tuple[StoppedGateway, GatewayState] | None:
    """The gateways before and after; None where none ran."""
    service, port = installed(app), _port(args, app)
    if service is None:
        return control.restart(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=app.store_choice())
    service.check_port(args.port)  # before anything is stopped
    return service.restart(app) if gateway_state.status(app.paths)[0] != "stopped" else None


def status(_args: argparse.Namespace, app: App) -> int:
    """Say what is so, also of sign-ins that it cannot keep fresh any more."""
    condition, state = gateway_state.status(app.paths)
    refused_ids, service = _refused_ids(app), installed(app)
    fields: dict[str, object] = {"status": condition, "log": str(app.paths.gateway_log), "signInNeeded": refused_ids}
    fields["service"] = None if service is None else {"kind": service.manager.kind, "name": service.service.name}
    if state is not None:
        text = f"The gateway is running (pid {state.pid}) on {state.url} since {iso(state.started_at)}."
        text += f"\nIt is started at each login: {service}" if service is not None else ""
        text += _version_words(app, state)
        text += f"\nIt cannot keep these fresh, sign in again: {', '.join(refused_ids)}" if refused_ids else ""
        return _report(app, state, fields, text)
    if condition == "unresponsive":
        text = f"A gateway process is there and does not answer; start it anew: {app.program} gateway restart"
        return _report(app, None, fields, f"{text}\nIts log: {app.paths.gateway_log}")
    later = f" It starts at the next login ({service}), or now: {app.program} gateway start" if service is not None else ""
    return _report(app, None, fields, f"No gateway is running.{later}")


def _version_words(app: App, state: GatewayState) -> str:
    """What a gateway of another version than this command's lacks; nothing for one of the same."""
    if state.version == __version__:
        return ""
    runs = "an earlier version" if state.version is None else f"Portico {state.version}"
    return f"\nIt runs {runs}, and {__version__} is installed; to have that one: {app.program} gateway restart"


def _refused_ids(app: App) -> list[str]:
    """The sign-ins that were refused for good, as far as the index can be read."""
    try:
        return [profile.id for profile in ended_profiles(app.token_store.profiles())]
    except PorticoError:
        return []


def _report(app: App, state: GatewayState | None, fields: dict[str, object], text: str) -> int:
    if app.options.json:
        app.out.json({**fields, "running": state is not None and not fields.get("stopped"), **(state.as_json() if state else {})})
    else:
        app.out.line(text)
    return ExitCode.OK


def _port(args: argparse.Namespace, app: App) -> int:
    """`--port`, else the configured one."""
    if args.port is None:
        return configured_port(app)
    if not 0 <= args.port <= LAST_PORT:
        raise UsageError(f"Argument --port: {args.port} is not a port (0 to {LAST_PORT}).")
    _ = app.settings  # it has to be right in any case
    return int(args.port)


def logs(args: argparse.Namespace, app: App) -> int:
    """Show the last lines, and with `--follow` each new one until Ctrl-C.

    Raises:
        ConfigError: `service-failed`: the journal cannot be read.
    """
    service = installed(app)
    command = service.manager.log_command(service.service, args.lines, follow=args.follow) if service is not None else None
    for line in (
        _lines_of_file(app.paths.gateway_log, args.lines, follow=args.follow)
        if command is None
        else _lines_of_command(command, app)
    ):
        if app.out.is_json:
            app.out.event({"line": line})
        else:
            app.out.exact(line)
    return ExitCode.OK


def _lines_of_command(command: list[str], app: App) -> Iterator[str]:
    try:
        process = subprocess.Popen(
            resolve_command(command, app.env),
            env=child_environment(app.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ServiceFailed(f"`{command[0]}` cannot be run.", why=error.strerror) from None
    with process:
        try:
            yield from (line.rstrip("\n") for line in process.stdout or ())
        finally:
            process.terminate()
    if process.returncode > 0:
        raise ServiceFailed(f"`{' '.join(command)}` failed.", why=f"exit code {process.returncode}")


def _lines_of_file(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """The last lines of a file that is put aside and begun anew when it is too long."""
    data = _read_part(path, None)
    yield from data.decode(errors="replace").splitlines()[-lines:] if lines else ()
    at, rest = (path.stat().st_size if path.exists() else 0), b""
    while follow:
        time.sleep(_READ_LOG_EVERY_S)
        size = path.stat().st_size if path.exists() else 0
        at = at if at <= size else 0
        if at == size:
            continue
        data = _read_part(path, at)
        at += len(data)
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def _read_part(path: Path, at: int | None) -> bytes:
    """A piece of the log from `at` on, or its end; empty where there is no log."""
    try:
        return read_end(path, _READ) if at is None else read_start(path, _READ, offset=at)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise file_error(f"cannot read {path}", error) from error


async def keep_fresh(app: App, passphrase: Secret | None) -> None:
    """Refresh every profile when it is due, until cancelled. `passphrase` opens the sealed file store."""
    store = unattended_store(app, passphrase)
    async with refreshing(app, store) as broker:
        await refresh_for_good(app, store, broker)


@asynccontextmanager
async def serving(app: App, passphrase: Secret | None, started_at: int) -> AsyncIterator[Inside]:
    """The inside of a gateway process that started at `started_at` (wall ms)."""
    from portico.gateway.router import open_front
    from portico.gateway.server import Inside

    installed = InstalledVersion(app.clock)
    await off_loop(import_all)
    store = unattended_store(app, passphrase)
    async with refreshing(app, store) as broker, open_front(app, broker, started_at) as front:
        yield Inside(lambda: refresh_for_good(app, store, broker), front, installed.changed)


async def refresh_for_good(app: App, store: TokenStore, broker: TokenBroker) -> None:
    """Look for what killed processes have left, then refresh what is due, until cancelled."""
    await tidy_up(app, store)
    await BackgroundRefresh(broker, store, app.clock).run()


async def tidy_up(app: App, store: TokenStore) -> None:
    """Delete what killed processes have left, and warn of a state folder that several machines share."""
    warning = await off_loop(lambda: shared_folder_warning(app.paths.state))
    if warning is not None:
        _log.warning("%s", warning)
    try:
        await off_loop(store.sweep)
    except PorticoError as error:
        _log.warning("leftovers of earlier runs could not be looked for: %s", error)


@asynccontextmanager
async def refreshing(app: App, store: TokenStore) -> AsyncIterator[TokenBroker]:
    """A broker that needs nobody to be asked."""
    async with app.http() as http:
        yield TokenBroker(
            store=store,
            dialects=lambda name: find_dialect(app, name),
            http=http,
            clock=app.clock,
            paths=app.paths,
        )


def unattended_store(app: App, passphrase: Secret | None) -> TokenStore:
    """The token store, opened by `passphrase` or by what the environment has, and by nobody who would have to be asked."""
    variables = app.env if passphrase is None else {TEXT_ENV: passphrase.reveal()}
    return app.local_store(passphrase=PassphraseSource(variables), on_wait=lambda text: _log.warning("%s", text))


def find_dialect(app: App, name: str) -> TokenDialect:
    """The token dialect of this name, from a plugin that may have been added or switched on since this process began.

    Raises:
        ConfigError: as `PluginHost.dialect` has it.
    """
    try:
        return app.plugins.dialect(name)
    except PluginDisabled:  # that may have changed
        app.reload_config(look_for_plugins=True)
        return app.plugins.dialect(name)


def import_all() -> None:
    """Import what a gateway may need later, so that an upgrade under it never mixes two versions. Blocking.

    Only what another system needs may be missing. A plugin that is switched on later brings its own code.
    """
    packages = [importlib.import_module(f"portico.{name}") for name in _PACKAGES]
    modules = [each.name for package in packages for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    for name in (*modules, *_LATER):
        with suppress(ImportError):
            import_keyring_module(name)
    gc.collect()
    gc.freeze()  # what was imported stays: no collection need look at it again


class InstalledVersion:
    """The version of Portico that is installed, which another one may be before this process has ended.

    The file that has it is asked for its time at each look, and read when that is another.
    """

    def __init__(self, clock: Clock, file: Path = Path(version.__file__), running: str = version.__version__) -> None:
        self._clock = clock
        self._file = file
        self._running = running
        self._version: str | None = running
        self._seen = signature([file])

    async def changed(self) -> str:
        """Return a sentence about both once it is another, and has been for a few looks: package managers write file by file."""
        looks: list[str | None] = []
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            looks = [*looks, await off_loop(self.look)][-_SAME_LOOKS:]
            version = looks[0]
            if version not in {None, self._running} and looks == [version] * _SAME_LOOKS:
                return f"Portico {version} is installed, and this process runs {self._running}"

    def look(self) -> str | None:
        """The version now; None where that cannot be told, as while it is being installed. Blocking."""
        now = signature([self._file])
        if now != self._seen:
            self._seen = now
            try:
                match = _VERSION.search(read_start(self._file, _LONGEST_LINE).decode(errors="replace"))
            except OSError:
                match = None
            self._version = match[1] if match is not None else None
        return self._version
