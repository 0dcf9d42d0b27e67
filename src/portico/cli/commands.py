"""The table of Portico's own commands, and the top-level help.

Each entry names a function `add_arguments(parser)` that adds the command's arguments and subcommands. Every leaf parser sets
`handler`: a function of `(args, app)` that returns the exit code, or the text `module:function`. A module is imported only when
its command runs. The top-level help does not need argparse, so it is printed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command:
    """A command: the `module:function` that adds its arguments to a parser, and its line in `--help`."""

    def __init__(self, target: str, summary: str) -> None:
        self.target = target
        self.summary = summary

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Import the command's module and let it add its arguments."""
        from portico.cli.parser import load_function  # the help does without argparse

        load_function(self.target)(parser)


COMMANDS: Final[dict[str, Command]] = {
    "onboard": Command("portico.cli.onboard:add_onboard_arguments", "Sign in to a provider and set the default model"),
    "configure": Command(
        "portico.cli.onboard:add_configure_arguments", "Set up providers, the default model and fallbacks from menus"
    ),
    "auth": Command("portico.cli.auth:add_arguments", "List your accounts, print an access token, sign out"),
    "models": Command("portico.cli.models:add_arguments", "List models, set the default model, aliases and fallbacks"),
    "ask": Command("portico.cli.ask:add_arguments", "Ask a model one question and stream the answer"),
    "usage": Command("portico.cli.usage:add_arguments", "Show what is left of your plans and what requests cost"),
    "plugins": Command("portico.cli.plugins:add_arguments", "List, inspect, enable and disable plugins"),
    "doctor": Command("portico.cli.doctor:add_arguments", "Diagnose problems and suggest fixes"),
    "explain": Command("portico.cli.explain:add_arguments", "Explain an error and how to fix it"),
    "config": Command("portico.cli.config:add_arguments", "Read, change and check the configuration"),
    "gateway": Command("portico.cli.gateway:add_arguments", "Manage the local server that lets your tools use the models"),
    "exec": Command("portico.cli.exec:add_exec_arguments", "Run a tool through the gateway, with its own key"),
    "env": Command("portico.cli.exec:add_env_arguments", "Print the variables that point a shell's tools at the gateway"),
    "completion": Command("portico.cli.completion:add_arguments", "Print the completion script of a shell"),
    "purge": Command("portico.cli.purge:add_arguments", "Sign out of every account and delete Portico's data"),
    "emulator": Command("portico.cli.emulator:add_arguments", "Run an emulator of the providers' servers, offline"),
    "demo": Command("portico.cli.demo:add_arguments", "Try a complete sign-in against the emulator"),
}


GLOBAL_OPTIONS: Final = (
    ("--config PATH", "use this config file (or PORTICO_CONFIG)"),
    ("--json", "print JSON for programs"),
    ("--quiet", "print results and errors only"),
    ("--verbose", "print more"),
    ("--no-color", "print without colour (or NO_COLOR)"),
)


def top_level_help(program: str) -> str:
    """Return the text that `--help` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {program} [options] <command> ...",
            "",
            "Sign in to a model provider once, and use its models in every tool on this machine.",
            "",
            "commands:",
            *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
            f"  {'help':{width}}  Print this help, or the help of a command",
            "",
            "options, before or after the command:",
            *(f"  {flag:13}  {what}" for flag, what in GLOBAL_OPTIONS),
            f"  {'--version':13}  print the version",
            f"  {'--help':13}  print this help; after a command, print its help",
            "",
            "examples:",
            f"  {program} onboard --auth-choice minimax-portal",
            f'  {program} ask "Why is the sky blue?"',
            f"  {program} plugins list",
            "",
            f"Plugins can add commands. To see them: {program} plugins list --verbose",
        ]
    )
