"""The top-level help, written without argparse so that it is there at once."""

from __future__ import annotations

from typing import Final

from portico.cli.commands import COMMANDS

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
