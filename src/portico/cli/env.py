"""`env`: the variables that point a shell's tools at the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.cli.shells import SHELLS, shell_lines, shell_of
from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  eval "$({prog} env)"                             this shell's tools ask the gateway
  {prog} env --shell fish | source
  {prog} env --shell powershell | Invoke-Expression
  {prog} env --json --model opus --key aider

What is printed holds a gateway key, which opens the gateway of this machine and nothing else; `{prog} gateway key revoke` ends
it. For one tool only, {prog} exec needs no key to be printed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `env`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--shell", choices=SHELLS, help="for which shell (default: yours)")
    parser.add_argument("--model", metavar="REF", help="provider/model or an alias; else the default model")
    parser.add_argument("--key", metavar="NAME", default="default", help="the gateway key that the tools show (default)")
    parser.set_defaults(handler=env)


def env(args: argparse.Namespace, rt: Runtime) -> int:
    """Print them.

    Raises:
        UsageError: `no-such-key`.
        StoreError: the key cannot be read.
        ConfigError: `port-taken`: another program would get the key.
        SignInNeeded, ConfigError: no model answers to that name.
    """
    from portico.cli.gateway_keys import gateway_keys
    from portico.cli.tool_model import tool_model
    from portico.gateway import control
    from portico.gateway.client_env import variables
    from portico.gateway.port import PortTaken, bound, configured_port
    from portico.gateway.service import kept_service
    from portico.util.children import without_proxy

    model = tool_model(rt, args.model)
    condition, state = control.status(rt.paths)
    url = state.url if state is not None else f"http://127.0.0.1:{configured_port(rt)}"
    if condition != "running":
        try:
            bound(configured_port(rt)).close()
        except PortTaken as taken:
            # A gateway that does not answer may have the port itself, and a service manager keeps it while there is none.
            hers = taken.owner is None or taken.owner.is_other_user
            if hers or (condition == "stopped" and kept_service(rt, configured_port(rt)) is None):
                raise
    keys = gateway_keys(rt)
    keys.ensure_one()
    values = {**variables(url, keys.show(args.key), model), **without_proxy(rt.env)}
    if condition == "unresponsive":
        rt.out.note(f"The gateway does not answer; start it anew: {rt.program} gateway restart")
    elif state is None:
        rt.out.note(f"No gateway is running; start it: {rt.program} gateway start")
    shell = "json" if rt.out.is_json else args.shell or shell_of(rt.env)
    if shell == "json":
        rt.out.json(values)
    else:
        for line in shell_lines(values, shell):
            rt.out.exact(line)
    return ExitCode.OK
