"""`exec` and `env`: run a tool that asks the gateway, with its key in no file or argument; print the variables for a shell.

A gateway that ran already is used and left alone. One that was started for a tool is noted, and ended by the last tool that uses
it. Each key has a lock of its name, which goes with the process that waits for the tool: one that was left is taken back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

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
  {prog} exec -- claude                              Claude Code, with the default model
  {prog} exec --model opus -- codex "fix the tests"
  {prog} exec -- aider src/main.py
  {prog} exec -- python my_script.py                 the official SDKs find what they need

The tool gets the gateway's address, a key of its own that ends with it, and the model, in the variables that the SDKs read;
claude, codex, aider and opencode get what else they need. If no gateway runs, one is started for as
long as the tool runs, on any free port if the gateway's own is taken.
The exit code is the tool's own; 128 and the signal's number where a signal ended it.
"""
# Whoever sends one of these means the tool. What the terminal sends reaches it by itself, in the same process group.
_PASSED_ON: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
_OF_TERMINAL: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGQUIT") if hasattr(signal, name))


def add_exec_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `exec`."""
    import argparse

    parser.epilog = _EXEC_EXAMPLES
    parser.usage = "%(prog)s [--model REF] [--] TOOL [ARGUMENT ...]"
    parser.add_argument("--model", metavar="REF", help="provider/model or an alias; else the default model")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="TOOL", help="the tool and its arguments")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace, app: App) -> int:
    """Run the tool; its exit code.

    Raises:
        UsageError: `usage`, `unknown-name`.
        SignInNeeded, ConfigError: no model answers to that name.
        LockBusy, StoreError: the gateway cannot be started, or the key not stored.
    """
    from portico.gateway.client_env import TAKEN_OUT, arguments, variables

    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    program = _found(words, app.env)
    tool = os.path.basename(words[0]).removesuffix(".cmd").removesuffix(".exe")  # noqa: PTH119 - of a word, which may be no path
    model = tool_model(app, args.model)
    with _signals() as tell, gateway_for_a_tool(app, tool) as (state, key):
        env = {name: value for name, value in tool_environment(app.env).items() if name not in TAKEN_OUT}
        command = [program, *arguments(state.url, model, tool), *words[1:]]
        with subprocess.Popen(command, env=env | variables(state.url, key, model, tool)) as process:
            tell.append(process)
            code = process.wait()
    return code if code >= 0 else SIGNAL_EXIT_BASE - code


def _found(words: list[str], env: Mapping[str, str]) -> str:
    if not words:
        raise UsageError("No tool was named.", hint="{prog} exec -- claude")
    program = find_program(words[0], env)
    if program is None:
        raise UnknownName(f"There is no program {words[0]} here.", hint="install it, or give its whole path")
    return program


@contextmanager
def _signals() -> Iterator[list[subprocess.Popen[bytes]]]:
    """While a tool runs, signals are its business: it may well go on after a Ctrl-C. What is begun is then cleared away."""
    running: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: object) -> None:
        for process in running:
            process.send_signal(number)
        if not running:
            raise EndedBySignal(number)

    def leave_alone(_number: int, _frame: object) -> None:
        if not running:
            raise KeyboardInterrupt

    # Functions and not SIG_IGN, which a program that is started would inherit.
    passed_on = () if sys.platform == "win32" else _PASSED_ON
    handlers = {**dict.fromkeys(passed_on, pass_on), **dict.fromkeys(_OF_TERMINAL, leave_alone)}
    # What this process was started to ignore (nohup) its tool ignores as well.
    heeded = {number: handler for number, handler in handlers.items() if signal.getsignal(number) is not signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in heeded.items()}
    try:
        yield running
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ENV_EXAMPLES = """examples:
  eval "$({prog} env)"                             this shell's tools ask the gateway
  {prog} env --shell fish | source
  {prog} env --shell powershell | Invoke-Expression
  {prog} env --json --model opus --key aider

What is printed holds a gateway key, which opens the gateway of this machine and nothing else; `{prog} gateway key revoke` ends
it. For one tool only, {prog} exec needs no key to be printed.
"""


def add_env_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `env`."""
    parser.epilog = _ENV_EXAMPLES
    parser.add_argument("--shell", choices=SHELLS, help="for which shell (default: yours)")
    parser.add_argument("--model", metavar="REF", help="provider/model or an alias; else the default model")
    parser.add_argument("--key", metavar="NAME", default="default", help="the gateway key that the tools show (default)")
    parser.set_defaults(handler=env)


def env(args: argparse.Namespace, app: App) -> int:
    """Print them.

    Raises:
        UsageError: `unknown-name`.
        StoreError: the key cannot be read.
        ConfigError: `port-taken`: another program would get the key.
        SignInNeeded, ConfigError: no model answers to that name.
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
            # A gateway that does not answer may have the port itself, and a service manager keeps it while there is none.
            hers = taken.owner is None or taken.owner.is_other_user
            if hers or (condition == "stopped" and service_keeping_port(app, configured_port(app)) is None):
                raise
    keys = gateway_keys(app)
    keys.ensure_one()
    values = {**variables(url, keys.show(args.key), model), **without_proxy(app.env)}
    if condition == "unresponsive":
        app.out.note(f"The gateway does not answer; start it anew: {app.program} gateway restart")
    elif state is None:
        app.out.note(f"No gateway is running; start it: {app.program} gateway start")
    shell = "json" if app.out.is_json else args.shell or shell_of(app.env)
    if shell == "json":
        app.out.json(values)
    else:
        for line in shell_lines(values, shell):
            app.out.exact(line)
    return ExitCode.OK


_ANY_FREE: Final = 0
# Seconds: another tool's gateway is being started, or drained.
_LONGEST_S: Final = 90.0


@contextmanager
def gateway_for_a_tool(app: App, tool: str) -> Iterator[tuple[GatewayState, Secret]]:
    """A running gateway, and a key for `tool` that is refused afterwards.

    Raises:
        LockBusy, ConfigError, StoreError: the gateway cannot be started, or the key not stored.
    """
    from portico.cli.gateway_keys import gateway_keys

    keys = gateway_keys(app)
    name = name_for(tool, os.getpid())
    waits = _lock_of(name, app)
    with _one_at_a_time(app):
        _take_back(keys, app)
        waits.acquire()
        try:
            state = _running(app)
            key = keys.add(name)
        except BaseException:
            _clear_away(keys, waits, app)
            raise
    try:
        yield state, key
    finally:
        with _one_at_a_time(app):
            _revoke(keys, name, app)
            _clear_away(keys, waits, app)


def _running(app: App) -> GatewayState:
    from portico.gateway import control
    from portico.services.gateway_state import running
    from portico.util.files import write_private

    present = running(app.paths)
    if present is not None:
        return present
    with suppress(ConfigError):  # of a gateway of the tool's own more can be told
        kept = _start_kept(app)
        if kept is not None:
            return kept
    state = control.start(app.paths, port=_free_port(app), passphrase=app.passphrase, env=app.env, store=app.store_choice())
    write_private(_note(app), state.instance.encode(), durable=False)
    return state


def _start_kept(app: App) -> GatewayState | None:
    """The installed gateway, if its manager keeps its port open: it is between two processes, and another one could not start.

    Raises:
        ConfigError: `service-failed`, `gateway-failed`: the port is not its manager's after all.
    """
    from portico.gateway.control import READY_S, wait_until_running
    from portico.gateway.port import PortTaken, bind_port
    from portico.gateway.service import service_keeping_port

    port = app.settings.config.gateway.port
    kept = service_keeping_port(app, port)
    if kept is None:
        return None
    try:
        bind_port(port).close()
    except PortTaken as taken:
        if taken.owner is None or taken.owner.is_other_user:
            return None
        manager, service = kept
        manager.start(service)
        return wait_until_running(app.paths, READY_S)
    return None


def _free_port(app: App) -> int:
    """The gateway's own port, where tools with an address of their own find this gateway too; any other if that is taken."""
    from portico.gateway.port import PortTaken, bind_port, configured_port

    port = configured_port(app)
    try:
        bind_port(port).close()
    except PortTaken:
        return _ANY_FREE
    return port


def keep_running(app: App, state: GatewayState) -> bool:
    """Leave a gateway running that was started for a tool, when that ends; whether it was one.

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
    """Whether this gateway was started for a tool, and ends with it.

    Raises:
        StoreError: the note of it cannot be read.
    """
    from portico.util.files import read_private

    return _note(app).exists() and read_private(_note(app)) == state.instance.encode()


def _clear_away(keys: GatewayKeys, waits: FileLock, app: App) -> None:
    """End the gateway that was started for tools, unless another one still uses it."""
    from portico.gateway import control
    from portico.services.gateway_state import read_state
    from portico.util.files import remove_private

    remove_private(waits.path)
    waits.release()
    if not _note(app).exists() or any(_waits(key.name, app) for key in keys.all()):
        return
    state = read_state(app.paths)  # whether it answers or hangs
    if state is not None and is_for_tools(app, state):
        control.stop(app.paths)
    remove_private(_note(app))


def _take_back(keys: GatewayKeys, app: App) -> None:
    """Revoke the keys of processes that are gone."""
    for key in keys.all():
        if tool_of(key.name) is not None and not _waits(key.name, app):
            _revoke(keys, key.name, app)


def _revoke(keys: GatewayKeys, name: str, app: App) -> None:
    for left in keys.revoke(name):
        app.out.warn(f"its record could not be deleted, and opens nothing any more: {left}")


def _waits(name: str, app: App) -> bool:
    """Whether a process waits for the tool of this key."""
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
    """The reference that `name` stands for, or the default model's; something has to answer for it.

    Raises:
        SignInNeeded, UsageError, ConfigError: as `portico.models.loader.ModelLoader.resolve`.
    """
    loader = app.models()
    loader.resolve(name)
    return str(loader.reference(name))
