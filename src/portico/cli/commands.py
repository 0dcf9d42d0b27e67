"""The host's commands: which module answers to which word.

A command module has `configure(parser)`, which adds its arguments and subcommands; every leaf sets `handler`, a function of
`(args, runtime)` that returns the exit code. The module is imported only when its command is called.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One entry of the table: the module to import, and one line for `--help`."""

    module: str
    summary: str


COMMANDS: Final[dict[str, Command]] = {
    "onboard": Command("portico.cli.onboard", "Sign in to a provider and make one of its models the default"),
    "configure": Command("portico.cli.configure", "Set up providers, the default model and fallbacks from menus"),
    "auth": Command("portico.cli.auth", "Show sign-ins, keep them fresh, print an access token, sign out"),
    "models": Command("portico.cli.models", "List models, choose the default, sign in to a provider"),
    "ask": Command("portico.cli.ask", "Ask a model one question and stream the answer"),
    "usage": Command("portico.cli.usage", "Show what is left of your plans, and what requests have cost"),
    "plugins": Command("portico.cli.plugins", "List, inspect, enable and disable plugins"),
    "doctor": Command("portico.cli.doctor", "Say what is wrong here, why, and what mends it"),
    "explain": Command("portico.cli.explain", "Say what an error means, and what to do"),
    "config": Command("portico.cli.config", "Read, change and check the configuration"),
    "gateway": Command("portico.cli.gateway", "Run the background process that keeps sign-ins fresh"),
    "exec": Command("portico.cli.exec", "Run a tool that asks the gateway, with a key of its own"),
    "env": Command("portico.cli.env", "Print the variables that point a shell's tools at the gateway"),
    "completion": Command("portico.cli.completion", "Print what a shell needs to complete commands and options"),
    "purge": Command("portico.cli.purge", "Sign out of everything and delete what Portico has made"),
    "emulator": Command("portico.cli.emulator", "Run a stand-in for the providers' servers, offline"),
    "demo": Command("portico.cli.demo", "Walk through a whole sign-in against the emulator"),
}
