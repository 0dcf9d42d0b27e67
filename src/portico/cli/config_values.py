"""Values of a configuration as people type and read them: where they stand, what in them is secret."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

from portico.config.document import Document, format_path, parse_path
from portico.config.sources import is_reference, named_variable
from portico.errors import ConfigError, PorticoError, UsageError
from portico.secret import REDACTED, redact
from portico.util.files import read_text

if TYPE_CHECKING:
    from portico.config.document import ConfigPath
    from portico.interfaces.basics import JsonValue

_SECRET_ENDINGS: Final = ("key", "token", "secret", "password", "passphrase", "authorization", "cookie", "credential")

_USER: Final = re.compile(r"(?<=://)[^/@\s]+@")

# What stands where a key would, for a provider that is signed in to or asks for none: public words, worth seeing.
_PLACEHOLDERS: Final = frozenset({"minimax-oauth", "qwen-oauth", "lmstudio"})


class PathNotFound(PorticoError):
    """The configuration has nothing at a path. OpenClaw's exit code for it is 1."""


def given_value(text: str, *, strict: bool) -> JsonValue:
    """The value a user typed: JSON5, else the text itself. `-` reads the text from standard input, for secrets.

    Raises:
        UsageError: `strict`, and it is not JSON5 (`config-value`).
    """
    if text == "-":
        return read_text(sys.stdin).rstrip("\r\n")
    try:
        return Document.parse(text, name="value").value()
    except ConfigError as error:
        if strict:
            raise UsageError("config-value", f"the value is not JSON5: {error.message}", where=error.where) from None
        return text


def not_found(at: str, value: JsonValue) -> PathNotFound:
    """The error of a path that leads nowhere in `value`, with the nearest that does."""
    from portico.config.check import nearest

    steps = parse_path(at)
    for depth, step in enumerate(steps):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
            continue
        near = nearest(str(step), value) if isinstance(value, dict) else None
        hint = f"did you mean `{format_path((*steps[:depth], near))}`?" if near else "`{prog} config get` prints all there is"
        return PathNotFound("config-path-not-found", f"Config path not found: {at}", hint=hint)
    return PathNotFound("config-path-not-found", f"Config path not found: {at}")


def masked(value: JsonValue, path: ConfigPath) -> JsonValue:
    """`value`, which stands at `path`, without what is secret by its place or its shape; a variable's name is shown."""
    if isinstance(value, dict):
        return {key: masked(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, path) for item in value]
    if not isinstance(value, str) or not value or is_reference(value) or value in _PLACEHOLDERS:
        return value
    if path[:2] == ("models", "providers") and path[-1] == "apiKey" and named_variable(value) is not None:
        return value
    return REDACTED if is_secret_place(path) else _USER.sub(f"{REDACTED}@", redact(value))


def is_secret_place(path: ConfigPath) -> bool:
    """Whether what stands there is taken for a secret: a variable, a header, or what is named like a key or a token."""
    if path[:1] == ("env",) or "headers" in path:
        return True
    name = str(path[-1]) if path else ""
    return name.lower().replace("_", "").replace("-", "").removesuffix("s").endswith(_SECRET_ENDINGS)
