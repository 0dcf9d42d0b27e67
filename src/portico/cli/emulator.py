"""`emulator run|env|approve`: a stand-in for the providers' servers, on this machine and offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.cli.shells import SHELLS, shell_lines, shell_of
from portico.errors import ExitCode, PorticoError, UsageError

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} emulator run                        MiniMax, Global and CN, as it is: device code only
  {prog} emulator run --redirect             with a redirect, which MiniMax itself does not have
  eval "$({prog} emulator env)"              in another terminal: point this shell at it
  {prog} emulator approve ABCD-EFGH          approve a code by hand
"""
_RUN_EXAMPLES = """examples:
  {prog} emulator run --access-ttl 30
  {prog} emulator run --region cn --redirect
  {prog} emulator run --knob lmstudio=1234 --knob expiry=s --knob token-fault=503
"""
_ENV_EXAMPLES = """examples:
  eval "$({prog} emulator env)"
  {prog} emulator env --shell fish | source
"""
_APPROVE_EXAMPLES = """examples:
  {prog} emulator approve ABCD-EFGH
  {prog} emulator approve ABCD-EFGH --deny
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    running = commands.add_parser("run", help="answer for the providers' hosts until Ctrl-C", epilog=_RUN_EXAMPLES)
    running.add_argument(
        "--region", choices=("global", "cn"), default="global", help="the region the advice is for (both answer)"
    )
    running.add_argument(
        "--redirect", action="store_true", help="serve the browser redirect too, an extension of the emulator's own"
    )
    running.add_argument("--access-ttl", type=_positive, metavar="S", help="lifetime of access tokens, in seconds")
    running.add_argument("--auto-approve", action="store_true", help="approve every sign-in at once")
    running.add_argument("--knob", action="append", default=[], metavar="NAME=VALUE", help="turn something, such as notice=Hello")
    running.set_defaults(handler=run, tells_trouble=False)
    leading = commands.add_parser("env", help="print the variables that point a shell at the emulator", epilog=_ENV_EXAMPLES)
    leading.add_argument("--shell", choices=SHELLS, help="for which shell (default: yours)")
    leading.set_defaults(handler=env, tells_trouble=False)
    approving = commands.add_parser("approve", help="approve a sign-in by its code", epilog=_APPROVE_EXAMPLES)
    approving.add_argument("code", metavar="CODE", help="the code that the sign-in shows")
    approving.add_argument("--deny", action="store_true", help="refuse it instead")
    approving.set_defaults(handler=approve, tells_trouble=False)


def run(args: argparse.Namespace, rt: Runtime) -> int:
    """Answer for the providers' hosts until Ctrl-C, then leave nothing behind."""
    from portico.cli.emulator_run import run_emulator
    from portico.interfaces.plugin_parts import EmulatorOptions

    rt = rt.outside_emulator()
    options = EmulatorOptions(
        redirect=args.redirect, access_ttl_s=args.access_ttl, auto_approve=args.auto_approve, knobs=_knobs(args.knob)
    )
    return run_emulator(rt, options, region=args.region)


def env(args: argparse.Namespace, rt: Runtime) -> int:
    """Print the variables that point a shell at the running emulator."""
    from portico.emulation.state import read_state

    rt = rt.outside_emulator()
    shell = "json" if rt.out.is_json else args.shell or shell_of(rt.env)
    try:
        values = read_state(rt.paths.emulator).env
    except PorticoError:
        if shell != "json":
            rt.out.exact("false")  # what `eval` then carries out, in every shell: of nothing at all it would make a success
        raise
    if shell == "json":
        rt.out.json(dict(values))
    else:
        for line in shell_lines(values, shell):
            rt.out.exact(line)
    return ExitCode.OK


def approve(args: argparse.Namespace, rt: Runtime) -> int:
    """Approve or refuse a sign-in, on the emulator's own page.

    Raises:
        UsageError: `emulator-unknown-code`: no sign-in waits under it.
        PorticoError: `emulator-not-approved`: a page did not take it.
    """
    import subprocess

    from portico.emulation import approver
    from portico.emulation.state import read_state
    from portico.util.children import child_environment, script_command

    state = read_state(rt.outside_emulator().paths.emulator)
    environment = child_environment({**rt.env, **state.env})
    deny = ["--deny"] if args.deny else []
    said = ""
    for url in state.approval_urls(args.code):
        # The URL holds the code, and a program's arguments can be read by every user of the machine.
        command = script_command(approver.__file__, *deny, "-")
        done = subprocess.run(command, env=environment, input=f"{url}\n", capture_output=True, text=True, check=False)
        if done.returncode == ExitCode.OK:
            rt.out.note("Refused." if args.deny else "Approved.")
            if rt.out.is_json:
                rt.out.json({"code": args.code, "approved": not args.deny})
            return ExitCode.OK
        if done.returncode != approver.NOT_TAKEN:
            said = done.stderr.strip().removeprefix("approver: ")
    if not said:
        hint = "A code is good once, and for a few minutes: start the sign-in again to get a new one."
        raise UsageError("emulator-unknown-code", f"No sign-in waits under the code {args.code}.", hint=hint)
    raise PorticoError("emulator-not-approved", f"The emulator did not take the code {args.code}.", why=said)


def _knobs(given: list[str]) -> dict[str, str]:
    knobs = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise UsageError("usage", f"--knob takes NAME=VALUE, not {each!r}.")
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
        raise argparse.ArgumentTypeError("a number of seconds above 0")
    return seconds
