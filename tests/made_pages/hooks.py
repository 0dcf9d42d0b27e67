"""`docs/reference/hooks.md`: the hook specifications' own words."""

from __future__ import annotations

import inspect
import re

from portico import plugin_api
from portico.plugins import manifest, spec

_HEAD = """# Hooks

This page lists what a plugin can provide. It is generated from `portico.plugins.spec`. [Write a plugin](../how-to/write-a-plugin.md) has a
complete example. A plugin imports only `portico.plugin_api`, which contains the types named here.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, f"## The manifest\n\n{_manifest()}\n"]
    for name, hook in vars(spec).items():
        if name.startswith(spec.PREFIX):
            returns = re.sub(r"^Iterable\[(.*)\]$", r"any number of `\1`", str(inspect.get_annotations(hook)["return"]))
            takes = ", ".join(f"`{each}`" for each in inspect.signature(hook).parameters)
            parts.append(f"## {name}\n\n{_prose(hook)}\n\nArguments: {takes or 'none'}. Returns {returns}.\n")
    return "\n".join([*parts, f"## The names of `portico.plugin_api`\n\n{_names()}\n"])


def _names() -> str:
    """The list in the module's docstring, from its first topic on."""
    return "- " + inspect.cleandoc(plugin_api.__doc__ or "").partition("\n\n- ")[2]


def _manifest() -> str:
    """The example of the module's docstring, and what it says of it."""
    title, example, rest = re.split(r"\n\n(?=    \{)|(?<=\})\n\n", inspect.cleandoc(manifest.__doc__ or ""))
    return f"{title.rstrip(':.')}:\n\n```json\n{inspect.cleandoc(example)}\n```\n\n{rest}"


def _prose(hook: object) -> str:
    """A docstring as prose: its arguments as a list, and since when there is the hook."""
    text = inspect.getdoc(hook) or ""
    text = re.sub(
        r"Args:\n((?:    .*\n?)+)", lambda found: "- " + inspect.cleandoc(found[1]).replace(": ", "`: ", 1).strip() + "\n", text
    )
    text = re.sub(r"^- (\w+`)", r"- `\1", text, flags=re.MULTILINE)
    return re.sub(r"\.\. versionadded:: (\S+)", r"Since \1.", text)
