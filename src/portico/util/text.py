"""Text from elsewhere, made fit to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import UsageError

if TYPE_CHECKING:
    from portico.interfaces.basics import JsonValue


class NameTaken(UsageError):
    """The name belongs to something else already."""

    id = "name-taken"


class UnknownName(UsageError):
    """The command line names something that does not exist; the hint names the nearest, or the command that lists them."""

    id = "unknown-name"


def plain_text(value: JsonValue, limit: int = 500) -> str | None:
    """`value` as text that a terminal can show: no control, format or bidirectional characters, at most `limit` long."""
    if not isinstance(value, str):
        return None
    text = "".join(character if character.isprintable() else " " for character in value[: limit * 4])
    text = " ".join(text.split())
    return (text if len(text) <= limit else text[: limit - 1] + "…") or None
