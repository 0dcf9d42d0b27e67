"""`exec`: a tool that asks the gateway, without a key in any file, argument or shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.util.children import find_program, tool_environment
from portico.util.signals import BY_SIGNAL, EndedBySignal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `exec`."""
    import argparse

    parser.epilog = _EXAMPLES
    parser.usage = "%(prog)s [--model REF] [--] TOOL [ARGUMENT ...]"
    parser.add_argument("--model", metavar="REF", help="provider/model or an alias; else the default model")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="TOOL", help="the tool and its arguments")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace, rt: Runtime) -> int:
    """Run the tool; its exit code.

    Raises:
        UsageError: `no-tool`, `tool-not-found`.
        SignInNeeded, ConfigError: no model answers to that name.
        LockBusy, StoreError: the gateway cannot be started, or the key not stored.
    """
    from portico.cli.tool_gateway import gateway_for_a_tool
    from portico.cli.tool_model import tool_model
    from portico.gateway.client_env import TAKEN_OUT, arguments, variables

    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    program = _found(words, rt.env)
    tool = os.path.basename(words[0]).removesuffix(".cmd").removesuffix(".exe")  # noqa: PTH119 - of a word, which may be no path
    model = tool_model(rt, args.model)
    with _signals() as tell, gateway_for_a_tool(rt, tool) as (state, key):
        env = {name: value for name, value in tool_environment(rt.env).items() if name not in TAKEN_OUT}
        command = [program, *arguments(state.url, model, tool), *words[1:]]
        with subprocess.Popen(command, env=env | variables(state.url, key, model, tool)) as process:
            tell.append(process)
            code = process.wait()
    return code if code >= 0 else BY_SIGNAL - code


def _found(words: list[str], env: Mapping[str, str]) -> str:
    if not words:
        raise UsageError("no-tool", "No tool was named.", hint="{prog} exec -- claude")
    program = find_program(words[0], env)
    if program is None:
        raise UsageError("tool-not-found", f"There is no program {words[0]} here.", hint="install it, or give its whole path")
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
