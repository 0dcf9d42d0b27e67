"""`exec` and `env`: run a tool through the gateway, with a key that is in no file or argument; print the variables for a shell.

`exec` uses the running gateway. If no gateway is running, it starts a gateway and writes a note. The last tool that uses this
gateway stops it. The process that waits for a tool holds a lock named after the tool's key. A key without that lock is revoked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from portico.cli.parser import MODEL_HELP
from portico.errors import ConfigError, ExitCode, UnknownName, UsageError
from portico.gateway.keys import name_for, tool_of
from portico.terminal.output import SHELLS, shell_lines, shell_of
from portico.util.children import find_program, tool_environment
from portico.util.signals import SIGNAL_EXIT_BASE, EndedBySignal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from portico.app import App
    from portico.gateway.keys import GatewayKeys
    from portico.secret import Secret
    from portico.services.gateway_state import GatewayState
    from portico.util.lock import FileLock

_EXEC_EXAMPLES = """examples:
  {prog} exec -- claude                              run Claude Code with the default model
  {prog} exec --model opus -- codex "fix the tests"
  {prog} exec -- aider src/main.py
  {prog} exec -- python my_script.py                 run a script that uses an official SDK

The tool gets the gateway's address, its own gateway key and the model in the variables that the official SDKs read; claude,
codex, aider and opencode also get the settings they need. The key is revoked when the tool ends. If no gateway is running,
{prog} starts a gateway and stops it when the tool ends. If the usual port is taken, that gateway uses a free port.
The exit code is that of the tool, or 128 plus the signal's number if a signal ended the tool.
"""
# Signals to forward to the tool. The tool gets the terminal's signals itself, because it is in the same process group.
_FORWARDED: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
_OF_TERMINAL: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGQUIT") if hasattr(signal, name))


def add_exec_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `exec`."""
    import argparse

    parser.epilog = _EXEC_EXAMPLES
    parser.usage = "%(prog)s [--model REF] [--] TOOL [ARGUMENT ...]"
    parser.add_argument("--model", metavar="REF", help=MODEL_HELP)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="TOOL", help="the tool and its arguments")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace, app: App) -> int:
    """Run the tool and return its exit code.

    Raises:
        UsageError: `usage`, `unknown-name`.
        SignInNeeded, ConfigError: the model cannot be used.
        LockBusy, StoreError: the gateway could not be started, or the key could not be stored.
    """
    from portico.gateway.client_env import TAKEN_OUT, arguments, variables

    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    program = _tool_path(words, app.env)
    tool = os.path.basename(words[0]).removesuffix(".cmd").removesuffix(".exe")  # noqa: PTH119 - the word may not be a path
    model = tool_model(app, args.model)
    with _signals() as running, gateway_for_a_tool(app, tool) as (state, key):
        env = {name: value for name, value in tool_environment(app.env).items() if name not in TAKEN_OUT}
        command = [program, *arguments(state.url, model, tool), *words[1:]]
        with subprocess.Popen(command, env=env | variables(state.url, key, model, tool)) as process:
            running.append(process)
            code = process.wait()
    return code if code >= 0 else SIGNAL_EXIT_BASE - code


def _tool_path(words: list[str], env: Mapping[str, str]) -> str:
    if not words:
        raise UsageError("Specify a tool to run.", hint="{prog} exec -- claude")
    program = find_program(words[0], env)
    if program is None:
        raise UnknownName(f"Program not found: {words[0]}", hint="Install it, or specify its full path.")
    return program


@contextmanager
def _signals() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Leave signals to the tool while it runs, because it may survive a Ctrl-C.

    Before the tool starts, a signal ends this process.
    """
    running: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: object) -> None:
        for process in running:
            process.send_signal(number)
        if not running:
            raise EndedBySignal(number)

    def leave_alone(_number: int, _frame: object) -> None:
        if not running:
            raise KeyboardInterrupt

    # Functions instead of SIG_IGN, which the tool would inherit.
    forwarded = () if sys.platform == "win32" else _FORWARDED
    handlers = {**dict.fromkeys(forwarded, forward), **dict.fromkeys(_OF_TERMINAL, leave_alone)}
    # Signals that this process already ignores (nohup) stay ignored, for the tool too.
    handled = {number: handler for number, handler in handlers.items() if signal.getsignal(number) is not signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in handled.items()}
    try:
        yield running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ENV_EXAMPLES = """examples:
  eval "$({prog} env)"                             point the tools of this shell at the gateway
  {prog} env --shell fish | source
  {prog} env --shell powershell | Invoke-Expression
  {prog} env --json --model opus --key aider

The output contains a gateway key, which works only with the gateway on this machine.
To revoke the key: {prog} gateway key revoke NAME
To run a single tool, use {prog} exec, which prints no key.
"""


def add_env_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `env`."""
    parser.epilog = _ENV_EXAMPLES
    parser.add_argument("--shell", choices=SHELLS, help="the shell to print for (default: yours)")
    parser.add_argument("--model", metavar="REF", help=MODEL_HELP)
    parser.add_argument("--key", metavar="NAME", default="default", help="gateway key to use (default: the key named default)")
    parser.set_defaults(handler=env)


def env(args: argparse.Namespace, app: App) -> int:
    """Print the variables.

    Raises:
        UsageError: `unknown-name`.
        StoreError: the key could not be read.
        ConfigError: `port-taken`: another program would get the key.
        SignInNeeded, ConfigError: the model cannot be used.
    """
    from portico.cli.gateway_keys import gateway_keys
    from portico.gateway.client_env import variables
    from portico.gateway.port import PortTaken, bind_port, configured_port
    from portico.gateway.service import service_keeping_port
    from portico.services import gateway_state
    from portico.util.children import without_proxy

    model = tool_model(app, args.model)
    condition, state = gateway_state.status(app.paths)
    url = state.url if state is not None else f"http://127.0.0.1:{configured_port(app)}"
    if condition != "running":
        try:
            bind_port(configured_port(app)).close()
        except PortTaken as taken:
            # An unresponsive gateway has the port, or a service manager keeps the port between two gateways.
            other_user = taken.owner is None or taken.owner.is_other_user
            if other_user or (condition == "stopped" and service_keeping_port(app, configured_port(app)) is None):
                raise
    keys = gateway_keys(app)
    keys.ensure_one()
    values = {**variables(url, keys.show(args.key), model), **without_proxy(app.env)}
    if condition == "unresponsive":
        app.out.note(f"The gateway does not respond. Restart it: {app.program} gateway restart")
    elif state is None:
        app.out.note(f"No gateway is running. Start one: {app.program} gateway start")
    shell = "json" if app.out.is_json else args.shell or shell_of(app.env)
    if shell == "json":
        app.out.json(values)
    else:
        for line in shell_lines(values, shell):
            app.out.exact(line)
    return ExitCode.OK


_ANY_FREE: Final = 0
# Seconds to wait while another tool's gateway starts or drains.
_LONGEST_S: Final = 90.0


@contextmanager
def gateway_for_a_tool(app: App, tool: str) -> Iterator[tuple[GatewayState, Secret]]:
    """Provide a running gateway, and a key for `tool` that is revoked afterwards.

    Raises:
        LockBusy, ConfigError, StoreError: the gateway could not be started, or the key could not be stored.
    """
    from portico.cli.gateway_keys import gateway_keys

    keys = gateway_keys(app)
    name = name_for(tool, os.getpid())
    lock = _lock_of(name, app)
    with _one_at_a_time(app):
        _revoke_orphaned(keys, app)
        lock.acquire()
        try:
            state = _running(app)
            key = keys.add(name)
        except BaseException:
            _clear_away(keys, lock, app)
            raise
    try:
        yield state, key
    finally:
        with _one_at_a_time(app):
            _revoke(keys, name, app)
            _clear_away(keys, lock, app)


def _running(app: App) -> GatewayState:
    from portico.gateway import control
    from portico.services.gateway_state import running
    from portico.util.files import write_private

    present = running(app.paths)
    if present is not None:
        return present
    with suppress(ConfigError):  # if the gateway does not start below, that error says more
        state = _start_service(app)
        if state is not None:
            return state
    state = control.start(app.paths, port=_free_port(app), passphrase=app.passphrase, env=app.env, store=app.store_choice())
    write_private(_note(app), state.instance.encode(), durable=False)
    return state


def _start_service(app: App) -> GatewayState | None:
    """Start the installed gateway if its service manager keeps the port open, since no other gateway could use that port.

    Raises:
        ConfigError: `service-failed`, `gateway-failed`: the service manager does not have the port.
    """
    from portico.gateway.control import READY_S, wait_until_running
    from portico.gateway.port import PortTaken, bind_port
    from portico.gateway.service import service_keeping_port

    port = app.settings.config.gateway.port
    installed = service_keeping_port(app, port)
    if installed is None:
        return None
    try:
        bind_port(port).close()
    except PortTaken as taken:
        if taken.owner is None or taken.owner.is_other_user:
            return None
        manager, service = installed
        manager.start(service)
        return wait_until_running(app.paths, READY_S)
    return None


def _free_port(app: App) -> int:
    """Return the configured port, which other tools may know, or `_ANY_FREE` if that port is taken."""
    from portico.gateway.port import PortTaken, bind_port, configured_port

    port = configured_port(app)
    try:
        bind_port(port).close()
    except PortTaken:
        return _ANY_FREE
    return port


def keep_running(app: App, state: GatewayState) -> bool:
    """Keep a gateway that was started for a tool running when the tool ends. Return whether it was started for a tool.

    Raises:
        LockBusy, StoreError: as `file_lock`.
    """
    from portico.util.files import remove_private

    with _one_at_a_time(app):
        if not is_for_tools(app, state):
            return False
        remove_private(_note(app))
        return True


def is_for_tools(app: App, state: GatewayState) -> bool:
    """Whether this gateway was started for a tool, and stops when the tool ends.

    Raises:
        StoreError: the note could not be read.
    """
    from portico.util.files import read_private

    return _note(app).exists() and read_private(_note(app)) == state.instance.encode()


def _clear_away(keys: GatewayKeys, lock: FileLock, app: App) -> None:
    """Stop the gateway that was started for tools, unless another tool still uses it."""
    from portico.gateway import control
    from portico.services.gateway_state import read_state
    from portico.util.files import remove_private

    remove_private(lock.path)
    lock.release()
    if not _note(app).exists() or any(_has_running_tool(key.name, app) for key in keys.all()):
        return
    state = read_state(app.paths)  # also of a gateway that hangs
    if state is not None and is_for_tools(app, state):
        control.stop(app.paths)
    remove_private(_note(app))


def _revoke_orphaned(keys: GatewayKeys, app: App) -> None:
    """Revoke the keys of tools whose process is gone."""
    for key in keys.all():
        if tool_of(key.name) is not None and not _has_running_tool(key.name, app):
            _revoke(keys, key.name, app)


def _revoke(keys: GatewayKeys, name: str, app: App) -> None:
    for left in keys.revoke(name):
        app.out.warn(f"Could not delete the key's record, but the key is revoked: {left}")


def _has_running_tool(name: str, app: App) -> bool:
    """Whether a process still waits for this key's tool."""
    return tool_of(name) is not None and _lock_of(name, app).is_locked()


def _lock_of(name: str, app: App) -> FileLock:
    from portico.paths import make_private_folder
    from portico.util.lock import FileLock

    return FileLock(make_private_folder(app.paths.locks) / f"{name}.lock", what="a tool")


def _one_at_a_time(app: App) -> AbstractContextManager[object]:
    from portico.paths import make_private_folder
    from portico.util.lock import file_lock

    return file_lock(make_private_folder(app.paths.locks) / "exec.lock", _LONGEST_S, "the start and the end of tools")


def _note(app: App) -> Path:
    return app.paths.state / "exec-gateway"


def tool_model(app: App, name: str | None) -> str:
    """Return the reference of the model `name`, or of the default model, if it can be used.

    Raises:
        SignInNeeded, UsageError, ConfigError: as `portico.models.loader.ModelLoader.resolve`.
    """
    loader = app.models()
    loader.resolve(name)
    return str(loader.reference(name))
