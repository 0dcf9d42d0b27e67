"""`docs/reference/commands.md`: the commands' own help."""

from __future__ import annotations

import re

from portico.cli.completion import every_command

_HEAD = """# Commands

This page is made from the commands' help; a test compares the two. Every command also takes `--config PATH`, `--json`, `--quiet`,
`--verbose` and `--no-color`, before or after its other arguments. [Exit codes](exit-codes.md) are the same for all commands,
unless a command's help names others.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for node in every_command("portico"):
        if not node.path:
            continue
        help_text = re.split(r"\nglobal options:\n", node.parser.format_help())
        # argparse folds lines by the width of the terminal; one long line is the same everywhere.
        examples = help_text[1].partition("\n\n")[2] if len(help_text) > 1 else ""
        lines = [f"\n## portico {' '.join(node.path)}\n", f"{node.summary[:1].upper()}{node.summary[1:]}.\n".replace("..", ".")]
        for option in node.options:
            if not set(option.flags) & {"--help", "--config", "--json", "--quiet", "--verbose", "--no-color"}:
                takes = f" {{{','.join(option.choices)}}}" if option.choices else ""
                lines.append(f"- `{', '.join(option.flags)}{takes}`: {option.help.replace('%%', '%')}")
        lines += [""] * bool(node.options) + ["```text", examples.rstrip("\n"), "```"] * bool(examples.strip())
        parts.append("\n".join(lines))
    return "\n".join(parts).rstrip("\n") + "\n"
