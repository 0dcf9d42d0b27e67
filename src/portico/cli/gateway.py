"""`gateway run|start|stop|status|restart|logs`, and the work of a running gateway: refresh accounts and serve models."""

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
from portico.cli.parser import add_command
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
  {prog} gateway start          start the gateway in the background
  {prog} gateway status --json
  {prog} gateway restart        apply a changed config
  {prog} gateway install        start the gateway now and at each login
  {prog} gateway logs --follow

On this machine, the gateway gives your tools the models of your accounts, and refreshes the accounts' tokens.
"""
_LONGEST_LINE = 64 * 1024
_VERSION_POLL_S = 2.0
_SAME_VERSIONS = 3
_VERSION = re.compile(r'^__version__ = "([^"\n]+)"$', re.MULTILINE)
# All packages that a running gateway may need: for requests, refreshes, and changes of the config, the accounts or the keys.
_PACKAGES = ("auth", "config", "gateway", "interfaces", "models", "net", "oauth", "plugins", "services", "store", "usage", "util")
# Modules that are imported late: by the token stores of this system, by the output, and by a plugin that is enabled later.
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
_LOG_POLL_S: Final = 0.2
_READ_BYTES: Final = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers()
    foreground = add_command(commands, "gateway run", "run the gateway in the foreground, until Ctrl-C", run)
    _add_port(foreground)
    foreground.add_argument(
        "--passphrase-stdin", action="store_true", help="read the encrypted file's passphrase from standard input"
    )
    _add_port(add_command(commands, "gateway start", "start the gateway in the background", start))
    add_command(commands, "gateway stop", "stop the gateway; running requests get 3 seconds to finish", stop)
    add_command(commands, "gateway status", "show whether the gateway is running", status)
    gateway_keys.add_key_commands(commands)
    summary = "install the gateway as a service that starts now and at each login (systemd, launchd)"
    add_command(commands, "gateway install", summary, install)
    add_command(commands, "gateway uninstall", "stop the service and remove it", uninstall)
    reading = add_command(commands, "gateway logs", "show the gateway's log", logs)
    how_many = f"number of lines to show (default: {_DEFAULT_LINES})"
    reading.add_argument("-n", "--lines", type=int, default=_DEFAULT_LINES, metavar="N", help=how_many)
    reading.add_argument("-f", "--follow", action="store_true", help="also show new lines, until Ctrl-C")
    summary = "replace the running gateway; running streams finish"
    _add_port(add_command(commands, "gateway restart", summary, restart))


def _add_port(parser: argparse.ArgumentParser) -> None:
    help_text = f"port on 127.0.0.1; 0 means any free port (default: {PORT_ENV}, else gateway.port in the config, else 18444)"
    parser.add_argument("--port", type=int, metavar="PORT", help=help_text)


def run(args: argparse.Namespace, app: App) -> int:
    """Serve until a signal stops the gateway."""
    from portico.gateway.server import take_place

    # Before anything that could hang: a config on a network folder, a keyring, a plugin.
    with watched_end() as watch:
        lock = take_place(app.paths)
        watch.guard(lock)
        try:
            return _serve(args, app, watch, lock)
        except BaseException:
            watch.guard(None)  # otherwise the released lock would look like a lost lock
            lock.release()
            raise


def _serve(args: argparse.Namespace, app: App, watch: EndWatch, lock: FileLock) -> int:
    from portico.gateway.server import Terms, run_gateway

    port = _port(args, app)
    from_stdin = None
    if args.passphrase_stdin:
        from_stdin = Secret(app.stdin.buffer.readline(_LONGEST_LINE).decode().rstrip("\r\n"))
    passphrase = from_stdin or control.passphrase_for(app.paths, app.passphrase, app.env, app.store_choice())
    log_to_stderr(app.paths.gateway_log, verbose=app.options.verbose)
    gateway_keys.make_first_key(app, passphrase)
    announce = partial(_show_running, app.out)
    terms = Terms(app.paths, port, app.clock, app.env, announce, passphrase is not None)
    return run_gateway(terms, watch, lock, lambda started_at: serving(app, passphrase, started_at))


def _show_running(out: Output, state: GatewayState) -> None:
    if out.is_json:
        out.event({"event": "running", **state.as_json()})
    else:
        out.note(f"The gateway is running (pid {state.pid}) on {state.url}. Press Ctrl-C to stop it.")


def start(args: argparse.Namespace, app: App) -> int:
    """Start the gateway unless one is running. A gateway that `exec` started keeps running from now on."""
    from portico.cli.exec import keep_running

    port = _port(args, app)
    state = gateway_state.running(app.paths)
    if state is not None:
        if keep_running(app, state) and not app.options.json:
            app.out.note("This gateway was started for a tool. It now keeps running when the tool ends.")
        if port not in {0, state.port} and not app.options.json:
            _show_other_port(app, port, is_service=installed(app) is not None)
        return _report(app, state, {"started": False}, f"The gateway is already running (pid {state.pid}) on {state.url}.")
    service = installed(app)
    if service is not None:
        state = service.start(app, args.port)
    else:
        state = control.start(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=app.store_choice())
    if not app.options.json:
        app.out.note(f"To print the key for your tools: {app.program} gateway key show")
    return _report(app, state, {"started": True}, f"The gateway is running (pid {state.pid}) on {state.url}.")


def _show_other_port(app: App, port: int, *, is_service: bool) -> None:
    if is_service:
        app.out.note(f"To use port {port}: {app.program} config set gateway.port {port}, then: {app.program} gateway restart")
    else:
        app.out.note(f"To use port {port}: {app.program} gateway restart --port {port}")


def stop(_args: argparse.Namespace, app: App) -> int:
    """Stop the gateway."""
    service = installed(app)
    stopped = control.stop(app.paths) if service is None else service.stop(app)
    if service is not None and not app.options.json:
        app.out.note(f"It starts again at the next login ({service}). To remove the service: {app.program} gateway uninstall")
    if stopped is None:
        return _report(app, None, {"stopped": False}, "No gateway is running.")
    return _report(app, stopped.state, {"stopped": True, "killed": stopped.killed, "pid": stopped.pid}, _how_it_ended(stopped))


def _how_it_ended(stopped: StoppedGateway) -> str:
    if stopped.killed:
        return f"The gateway (pid {stopped.pid}) did not stop within {control.TERM_S:g} s of SIGTERM, and was killed (SIGKILL)."
    return f"The gateway (pid {stopped.pid}) stopped."


def restart(args: argparse.Namespace, app: App) -> int:
    """Replace the running gateway."""
    pair = _restart(args, app)
    if pair is None:
        text = f"No gateway is running, so none was restarted. To start one: {app.program} gateway start"
        return _report(app, None, {"restarted": False}, text)
    old, new = pair
    text = f"Restarted the gateway on {new.url} (pid {new.pid}, before {old.pid})."
    if old.killed and not app.options.json:
        app.out.note(_how_it_ended(old))
    return _report(app, new, {"restarted": True, "previousPid": old.pid, "killed": old.killed}, text)


def _restart(args: argparse.Namespace, app: App) -> tuple[StoppedGateway, GatewayState] | None:
    """Return the old and the new gateway; None if no gateway was running."""
    service, port = installed(app), _port(args, app)
    if service is None:
        return control.restart(app.paths, port=port, passphrase=app.passphrase, env=app.env, store=app.store_choice())
    service.check_port(args.port)  # before anything is stopped
    return service.restart(app) if gateway_state.status(app.paths)[0] != "stopped" else None


def status(_args: argparse.Namespace, app: App) -> int:
    """Print whether the gateway is running, and which accounts it cannot refresh any more."""
    condition, state = gateway_state.status(app.paths)
    refused_ids, service = _refused_ids(app), installed(app)
    fields: dict[str, object] = {"status": condition, "log": str(app.paths.gateway_log), "signInNeeded": refused_ids}
    fields["service"] = None if service is None else {"kind": service.manager.kind, "name": service.service.name}
    if state is not None:
        text = f"The gateway is running (pid {state.pid}) on {state.url} since {iso(state.started_at)}."
        text += f"\nIt starts at each login: {service}" if service is not None else ""
        text += _version_words(app, state)
        text += f"\nThese accounts must sign in again: {', '.join(refused_ids)}" if refused_ids else ""
        return _report(app, state, fields, text)
    if condition == "unresponsive":
        text = f"The gateway does not respond. Restart it: {app.program} gateway restart"
        return _report(app, None, fields, f"{text}\nIts log: {app.paths.gateway_log}")
    later = (
        f" It starts at the next login ({service}). To start it now: {app.program} gateway start" if service is not None else ""
    )
    return _report(app, None, fields, f"No gateway is running.{later}")


def _version_words(app: App, state: GatewayState) -> str:
    """Return a line about the gateway's version if this command has another version, else an empty text."""
    if state.version == __version__:
        return ""
    runs = "an earlier version" if state.version is None else f"Portico {state.version}"
    return f"\nIt runs {runs}, but {__version__} is installed. To use that version: {app.program} gateway restart"


def _refused_ids(app: App) -> list[str]:
    """Return the accounts that must sign in again; empty if the profile index cannot be read."""
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
    """Return `--port` or the configured port."""
    if args.port is None:
        return configured_port(app)
    if not 0 <= args.port <= LAST_PORT:
        raise UsageError(f"Argument --port: {args.port} is not a port (0 to {LAST_PORT}).")
    _ = app.settings  # fails if the config has an error
    return int(args.port)


def logs(args: argparse.Namespace, app: App) -> int:
    """Print the last lines, and with `--follow` each new line until Ctrl-C.

    Raises:
        ConfigError: `service-failed`: the journal could not be read.
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
        raise ServiceFailed(f"Could not run `{command[0]}`.", why=error.strerror) from None
    with process:
        try:
            yield from (line.rstrip("\n") for line in process.stdout or ())
        finally:
            process.terminate()
    if process.returncode > 0:
        raise ServiceFailed(f"`{' '.join(command)}` failed.", why=f"exit code {process.returncode}")


def _lines_of_file(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """Yield the last lines of the log file, which is rotated when it gets too long."""
    data = _read_part(path, None)
    yield from data.decode(errors="replace").splitlines()[-lines:] if lines else ()
    at, rest = (path.stat().st_size if path.exists() else 0), b""
    while follow:
        time.sleep(_LOG_POLL_S)
        size = path.stat().st_size if path.exists() else 0
        at = at if at <= size else 0
        if at == size:
            continue
        data = _read_part(path, at)
        at += len(data)
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def _read_part(path: Path, at: int | None) -> bytes:
    """Read a piece of the log from `at` on, or its end; empty if there is no log."""
    try:
        return read_end(path, _READ_BYTES) if at is None else read_start(path, _READ_BYTES, offset=at)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise file_error(f"Could not read {path}.", error) from error


async def keep_fresh(app: App, passphrase: Secret | None) -> None:
    """Refresh every profile when it is due, until cancelled. `passphrase` decrypts the encrypted file."""
    store = unattended_store(app, passphrase)
    async with refreshing(app, store) as broker:
        await refresh_for_good(app, store, broker)


@asynccontextmanager
async def serving(app: App, passphrase: Secret | None, started_at: int) -> AsyncIterator[Inside]:
    """Provide the work of a gateway process that started at `started_at` (ms since the epoch)."""
    from portico.gateway.router import open_front
    from portico.gateway.server import Inside

    installed = InstalledVersion(app.clock)
    await off_loop(import_all)
    store = unattended_store(app, passphrase)
    async with refreshing(app, store) as broker, open_front(app, broker, started_at) as front:
        yield Inside(lambda: refresh_for_good(app, store, broker), front, installed.changed)


async def refresh_for_good(app: App, store: TokenStore, broker: TokenBroker) -> None:
    """Clean up after killed processes, then refresh profiles when they are due, until cancelled."""
    await tidy_up(app, store)
    await BackgroundRefresh(broker, store, app.clock).run()


async def tidy_up(app: App, store: TokenStore) -> None:
    """Clean up after killed processes, and warn of a state folder that several machines share."""
    warning = await off_loop(lambda: shared_folder_warning(app.paths.state))
    if warning is not None:
        _log.warning("%s", warning)
    try:
        await off_loop(store.sweep)
    except PorticoError as error:
        _log.warning("could not clean up after killed processes: %s", error)


@asynccontextmanager
async def refreshing(app: App, store: TokenStore) -> AsyncIterator[TokenBroker]:
    """Provide a token broker that asks no questions."""
    async with app.http() as http:
        yield TokenBroker(
            store=store,
            dialects=lambda name: find_dialect(app, name),
            http=http,
            clock=app.clock,
            paths=app.paths,
        )


def unattended_store(app: App, passphrase: Secret | None) -> TokenStore:
    """Return the token store, which takes the passphrase from `passphrase` or the environment and never asks for it."""
    variables = app.env if passphrase is None else {TEXT_ENV: passphrase.reveal()}
    return app.local_store(passphrase=PassphraseSource(variables), on_wait=lambda text: _log.warning("%s", text))


def find_dialect(app: App, name: str) -> TokenDialect:
    """Return the token dialect `name`. Its plugin may have been added or enabled after this process started.

    Raises:
        ConfigError: as `PluginHost.dialect`.
    """
    try:
        return app.plugins.dialect(name)
    except PluginDisabled:  # the plugin may have been enabled since then
        app.reload_config(look_for_plugins=True)
        return app.plugins.dialect(name)


def import_all() -> None:
    """Import everything a gateway may need later, so that an upgrade on disk never mixes two versions. Blocking.

    Modules for other operating systems may be missing.
    """
    packages = [importlib.import_module(f"portico.{name}") for name in _PACKAGES]
    modules = [each.name for package in packages for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    for name in (*modules, *_LATER):
        with suppress(ImportError):
            import_keyring_module(name)
    gc.collect()
    gc.freeze()  # the imported modules stay, so the collector can skip them


class InstalledVersion:
    """Watches the installed version of Portico, which can change while this process runs.

    The version file is read only when its time has changed.
    """

    def __init__(self, clock: Clock, file: Path = Path(version.__file__), running: str = version.__version__) -> None:
        self._clock = clock
        self._file = file
        self._running = running
        self._version: str | None = running
        self._seen = signature([file])

    async def changed(self) -> str:
        """Wait until another version is installed, and return a sentence.

        The version must be the same for a few polls, because installers write file by file.
        """
        versions: list[str | None] = []
        while True:
            await self._clock.sleep(_VERSION_POLL_S)
            versions = [*versions, await off_loop(self.read)][-_SAME_VERSIONS:]
            version = versions[0]
            if version not in {None, self._running} and versions == [version] * _SAME_VERSIONS:
                return f"Portico {version} is installed, and this process runs {self._running}"

    def read(self) -> str | None:
        """Return the installed version; None if it is unknown, for example during an installation. Blocking."""
        now = signature([self._file])
        if now != self._seen:
            self._seen = now
            try:
                match = _VERSION.search(read_start(self._file, _LONGEST_LINE).decode(errors="replace"))
            except OSError:
                match = None
            self._version = match[1] if match is not None else None
        return self._version
