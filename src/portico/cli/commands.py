"""The host's commands: which function adds the arguments of which word, and the top-level help.

The table names a function of each command's module, `add_arguments(parser)`, which adds its arguments and subcommands. Every leaf
sets `handler`: a function of `(args, app)` that returns the exit code, or `module:function` where another module has it. A module
is imported only when its command is called. The help is written without argparse, so that it is there at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command:
    """One entry of the table: `module:function` that adds its arguments to a parser, and one line for `--help`."""

    def __init__(self, target: str, summary: str) -> None:
        self.target = target
        self.summary = summary

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Import the command's module and let it add its arguments."""
        from portico.cli.parser import load_function  # the help does without argparse

        load_function(self.target)(parser)


COMMANDS: Final[dict[str, Command]] = {
    "onboard": Command(
        "portico.cli.onboard:add_onboard_arguments", "Sign in to a provider and make one of its models the default"
    ),
    "configure": Command(
        "portico.cli.onboard:add_configure_arguments", "Set up providers, the default model and fallbacks from menus"
    ),
    "auth": Command("portico.cli.auth:add_arguments", "Show sign-ins, keep them fresh, print an access token, sign out"),
    "models": Command("portico.cli.models:add_arguments", "List models, choose the default, sign in to a provider"),
    "ask": Command("portico.cli.ask:add_arguments", "Ask a model one question and stream the answer"),
    "usage": Command("portico.cli.usage:add_arguments", "Show what is left of your plans, and what requests have cost"),
    "plugins": Command("portico.cli.plugins:add_arguments", "List, inspect, enable and disable plugins"),
    "doctor": Command("portico.cli.doctor:add_arguments", "Say what is wrong here, why, and what mends it"),
    "explain": Command("portico.cli.explain:add_arguments", "Say what an error means, and what to do"),
    "config": Command("portico.cli.config:add_arguments", "Read, change and check the configuration"),
    "gateway": Command("portico.cli.gateway:add_arguments", "Run the background process that keeps sign-ins fresh"),
    "exec": Command("portico.cli.exec:add_exec_arguments", "Run a tool that asks the gateway, with a key of its own"),
    "env": Command("portico.cli.exec:add_env_arguments", "Print the variables that point a shell's tools at the gateway"),
    "completion": Command("portico.cli.completion:add_arguments", "Print what a shell needs to complete commands and options"),
    "purge": Command("portico.cli.purge:add_arguments", "Sign out of everything and delete what Portico has made"),
    "emulator": Command("portico.cli.emulator:add_arguments", "Run a stand-in for the providers' servers, offline"),
    "demo": Command("portico.cli.demo:add_arguments", "Walk through a whole sign-in against the emulator"),
}


GLOBAL_OPTIONS: Final = (
    ("--config PATH", "use this configuration file (or PORTICO_CONFIG)"),
    ("--json", "print JSON for programs"),
    ("--quiet", "print results and errors only"),
    ("--verbose", "print more"),
    ("--no-color", "print without colour (or NO_COLOR)"),
)


def top_level_help(program: str) -> str:
    """What `--help` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {program} [options] <command> ...",
            "",
            "Sign in to a model provider once; every tool on this machine uses its models.",
            "",
            "commands:",
            *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
            f"  {'help':{width}}  Print this, or the help of the command named after it",
            "",
            "options, before or after the command:",
            *(f"  {flag:13}  {what}" for flag, what in GLOBAL_OPTIONS),
            f"  {'--version':13}  print the version",
            f"  {'--help':13}  print this; after a command, print that command's help",
            "",
            "examples:",
            f"  {program} onboard --auth-choice minimax-portal",
            f'  {program} ask "Why is the sky blue?"',
            f"  {program} plugins list",
            "",
            f"Plugins can add commands: `{program} plugins list --verbose` names them.",
        ]
    )
