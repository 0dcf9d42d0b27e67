"""`docs/reference/config.md`: the table of keys that Portico reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.config.schema import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.config.schema import Key

_HEAD: Final = """# Configuration

This page lists every key that Portico reads. It is generated from the program. `portico config schema` prints the same as JSON
Schema, for completion in editors. Keys marked *own* are Portico's; the others are OpenClaw's, with OpenClaw's meaning.

The file is JSON5: comments, trailing commas, keys without quotes. It is `portico.json5` in the config folder, or the file that
`--config` or `PORTICO_CONFIG` names ([files](files.md)). An OpenClaw file can be its base (`base`), and any object can include other
files (`$include`). `${NAME}` in a value is replaced by the variable when the value is used, and never written back; `$${NAME}` is the
text `${NAME}`. A near miss of one of these keys is an error with file, line and column. Any other unknown key is a warning at most.
`portico config get PATH --verbose` prints the file and line of a value.
"""
_HOLDERS: Final = frozenset({"object", "map", "array"})
_KINDS: Final = {
    "object": "an object",
    "text": "text",
    "string": "text, may be empty",
    "secret": "text",
    "flag": "true or false",
    "whole": "a whole number",
    "amount": "a number, 0 or more",
    "texts": "a list of text values",
    "any": "anything",
}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, key in TOP.keys.items():
        rows = [f"| `{path}` | {_takes(each)} | {_says(each)} |" for path, each in _rows(name, key)]
        parts.append("\n".join([f"## {name}\n", "| key | takes | |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _rows(path: str, key: Key) -> Iterator[tuple[str, Key]]:
    """`key` and those below it; what only holds others is left out where it says nothing that they do not."""
    if key.kind not in _HOLDERS or key.or_text or not (key.keys or key.of):
        yield path, key
    for name, each in key.keys.items():
        yield from _rows(f"{path}.{name}", each)
    if key.of is not None:
        below = f"{path}[]" if key.kind == "array" else f"{path}.<{_noun(path)}>"
        if key.of.kind not in _HOLDERS:
            yield path if key.kind == "array" else below, _speaking(key.of, key)
        else:
            yield from _rows(below, key.of)


def _noun(path: str) -> str:
    nouns = {"agents.defaults.models": "provider/model", "gateway.models": "name", "env": "NAME", "env.vars": "NAME"}
    return "header" if path.endswith(".headers") else nouns.get(path, "id")


def _speaking(of: Key, around: Key) -> Key:
    return replace(of, description=of.description or around.description, own=of.own or around.own)


def _takes(key: Key) -> str:
    if key.words:
        return ", ".join(f"`{word}`" for word in (*key.words, *key.openclaw_words))
    if key.or_text:
        return "a text, or an object"
    text = _KINDS[key.kind]
    if key.kind == "whole":
        text += f" from {key.minimum}" + (f" to {key.maximum}" if key.maximum is not None else "")
    return text


def _says(key: Key) -> str:
    return key.description + (" *own*" if key.own else "") + (" *needed*" if key.required else "")
