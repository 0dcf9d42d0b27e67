"""A JSON5 text as a tree of values that know where in the text they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.config.config_path import array_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.config.config_path import ConfigPath
    from portico.interfaces.basics import JsonValue


@dataclass(slots=True, eq=False)
class Scalar:
    """A value that holds no other."""

    start: int
    end: int
    value: bool | float | str | None


@dataclass(slots=True, eq=False)
class Entry:
    """A member of an object, or an element of an array (`key` None). It spans from its key to the end of its value."""

    start: int
    key_end: int
    key: str | None
    node: Node

    @property
    def end(self) -> int:
        return self.node.end


@dataclass(slots=True, eq=False)
class Container:
    """An object or an array, brackets included."""

    start: int
    end: int
    entries: list[Entry]
    is_object: bool
    _by_key: dict[str | None, Entry] | None = field(default=None, init=False, repr=False)

    def find(self, key: str | int) -> Entry | None:
        """The entry that counts: the last of members with one key, as in JavaScript."""
        if not self.is_object:
            index = array_index(key)
            return self.entries[index] if index is not None and index < len(self.entries) else None
        if self._by_key is None:  # made once, since a checker asks for the place of every key; a tree does not change
            self._by_key = {entry.key: entry for entry in self.entries}
        return self._by_key.get(key) if isinstance(key, str) else None


Node = Scalar | Container


def plain(node: Node) -> JsonValue:
    """The value of `node`; of members with one key the last counts."""
    if isinstance(node, Scalar):
        return node.value
    if node.is_object:
        return {str(entry.key): plain(entry.node) for entry in node.entries}
    return [plain(entry.node) for entry in node.entries]


def hidden(node: Node, path: ConfigPath) -> Iterator[tuple[ConfigPath, Entry]]:
    """Each member under `node`, which stands at `path`, that a later one of the same key hides."""
    if not isinstance(node, Container):
        return
    last = {entry.key: entry for entry in node.entries} if node.is_object else None
    complete = last is None or len(last) == len(node.entries)
    for index, entry in enumerate(node.entries):
        step = index if entry.key is None else entry.key
        if not complete and last is not None and last[entry.key] is not entry:
            yield (*path, step), entry
        elif isinstance(entry.node, Container):
            yield from hidden(entry.node, (*path, step))
