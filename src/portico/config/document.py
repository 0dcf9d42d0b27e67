"""A JSON5 text and its value. Edits make a new document whose text differs only where it must."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from portico.config.config_path import ConfigPath, format_path, parse_path
from portico.config.json5 import Container, Entry, Json5SyntaxError, Node, hidden, line_starts, parse, plain, position
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portico.config.json5_edit import Editor, Splice
    from portico.interfaces.basics import JsonValue

__all__ = ["ConfigPath", "Document", "format_path", "parse_path"]


@dataclass(frozen=True, eq=False, repr=False)
class Document:
    """A text that is JSON5. `name` is what messages call it: a file's path. It may hold API keys, so `repr` does not show it.

    An edit makes sure that its text is JSON5 by reading again what it touches; the tree is made anew when it is next asked for.
    """

    name: str
    text: str

    @classmethod
    def parse(cls, text: str, *, name: str) -> Document:
        """Read `text`.

        Raises:
            ConfigError: it is not JSON5 (`config-syntax`, with `where` as `file:line:column`).
        """
        document = cls(name, text)
        try:
            document.root  # noqa: B018 - it is kept
        except Json5SyntaxError as error:
            raise _not_json5(name, text, error) from None
        return document

    @cached_property
    def root(self) -> Node:
        """The tree of the text."""
        return parse(self.text)

    def __repr__(self) -> str:
        return f"Document({self.name!r})"

    def value(self) -> JsonValue:
        """All of it as plain JSON. Of members with one key the last counts."""
        return plain(self.root)

    def get(self, path: ConfigPath) -> JsonValue:
        """The value at `path`; KeyError when there is none."""
        return plain(self._node(path))

    def has(self, path: ConfigPath) -> bool:
        return len(self._walk(path)[1]) == 0

    def position(self, path: ConfigPath, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path`, or of its key; KeyError when there is none."""
        entry = self._entry(path[:-1], path[-1]) if of_key and path else None
        return self.line_and_column(entry.start if entry else self._node(path).start)

    def find(self, path: ConfigPath, *, of_key: bool = False) -> tuple[Document, int]:
        """The document itself, and where in it stands what is at `path`, or the nearest thing around it that exists."""
        node, rest = self._walk(path)
        entry = self._entry(path[:-1], path[-1]) if of_key and path and not rest else None
        return self, entry.start if entry else node.start

    def where(self, path: ConfigPath, *, of_key: bool = False) -> str:
        """`file:line:column` of what stands at `path`, or of the nearest thing around it that exists."""
        line, column = self.line_and_column(self.find(path, of_key=of_key)[1])
        return f"{self.name}:{line}:{column}"

    def line_and_column(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, of a place in the text."""
        starts = self._line_starts
        line = bisect_right(starts, offset)
        return max(line, 1), max(offset - starts[max(line, 1) - 1], 0) + 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return line_starts(self.text)

    def duplicates(self) -> Iterator[tuple[ConfigPath, int]]:
        """Each member that a later one of the same key hides: its path, and where it stands."""
        for path, entry in hidden(self.root, ()):
            yield path, entry.start

    # --- edits -------------------------------------------------------------------------------------------------------------

    def set(self, path: ConfigPath, value: JsonValue) -> Document:
        """The document with `value` at `path`; what is missing on the way is made. An index one past the end appends.

        Raises:
            ConfigError: `path` leads through something that is neither object nor array (`config-path-blocked`).
        """
        from portico.config.json5_edit import nested, stale

        node, rest = self._walk(path)
        if rest and (isinstance(node, Container) or node.value is not None):
            container = self._container(node, path, rest)
            key = str(rest[0]) if container.is_object else None
            return self._splice(self._editor().append(container, [(key, nested(rest[1:], value))]))
        value = nested(rest, value)
        at = path[: len(path) - len(rest)]
        document = self
        for gone in stale(node, value, at):
            document = document.unset(gone)
        return document.overlay(at, value)

    def insert(self, path: ConfigPath, value: JsonValue) -> Document:
        """The document with `value` as a new element of an array; `path` ends with its index, and what is there moves on.

        Raises:
            ConfigError: there is no array to put it into, or a shorter one (`config-path-blocked`).
        """
        node, rest = self._walk(path[:-1])
        is_array = isinstance(node, Container) and not node.is_object and not rest
        if isinstance(node, Container) and is_array and node.find(path[-1]) is not None:
            return self._splice(self._editor().insert(node, int(path[-1]), value))
        if rest or is_array or not isinstance(node, Container):
            return self.set(path, value)
        raise self._blocked(node, path, path[-1:])

    def unset(self, path: ConfigPath) -> Document:
        """The document without what stands at `path`; KeyError when nothing does."""
        document = self
        while True:
            entry = document._entry(path[:-1], path[-1])
            parent = document._node(path[:-1])
            assert isinstance(parent, Container)  # noqa: S101 - it has the entry
            document = document._splice(document._editor().remove(parent, entry))
            if not parent.is_object or not document.has(path):
                return document

    def merge(self, patch: Mapping[str, JsonValue]) -> Document:
        """The document with `patch` laid over it: objects key by key, everything else replaced. What is equal stays untouched."""
        return self.overlay((), dict(patch))

    def overlay(self, path: ConfigPath, value: JsonValue) -> Document:
        """`merge` below `path`, which exists; anything but an object over an object replaces."""
        return self._splice(self._editor().put(self._node(path), value))

    # --- the tree ----------------------------------------------------------------------------------------------------------

    def _walk(self, path: ConfigPath) -> tuple[Node, ConfigPath]:
        """The deepest node on `path` that exists, and the steps that are left."""
        node = self.root
        for depth, step in enumerate(path):
            entry = node.find(step) if isinstance(node, Container) else None
            if entry is None:
                return node, path[depth:]
            node = entry.node
        return node, ()

    def _node(self, path: ConfigPath) -> Node:
        node, rest = self._walk(path)
        if rest:
            raise KeyError(format_path(path))
        return node

    def _entry(self, parent: ConfigPath, step: str | int) -> Entry:
        node = self._node(parent)
        entry = node.find(step) if isinstance(node, Container) else None
        if entry is None:
            raise KeyError(format_path((*parent, step)))
        return entry

    def _container(self, node: Node, path: ConfigPath, rest: ConfigPath) -> Container:
        step = rest[0]
        if isinstance(node, Container) and (isinstance(step, str) if node.is_object else str(step) == str(len(node.entries))):
            return node
        raise self._blocked(node, path, rest)

    def _blocked(self, node: Node, path: ConfigPath, rest: ConfigPath) -> ConfigError:
        at = path[: len(path) - len(rest)]
        what = "an object" if isinstance(node, Container) and node.is_object else "no object"
        if isinstance(node, Container) and not node.is_object:
            what = f"an array of {len(node.entries)}"
        return ConfigError(
            "config-path-blocked",
            f"`{format_path(path)}` cannot be set",
            why=f"`{format_path(at) or 'the configuration'}` is {what}, so it has no place for `{format_path((rest[0],))}`",
            where=self.where(at),
        )

    # What only edits need is loaded when there is one: most runs read a file and leave it.

    def _editor(self) -> Editor:
        from portico.config.json5_edit import Editor

        return Editor(self.text, self.root, strict_json=self.name.endswith(".json"))

    def _splice(self, splices: Iterable[Splice]) -> Document:
        from portico.config.json5_edit import apply, check_edit

        made = [*splices]
        text = apply(self.text, made)
        if text == self.text:
            return self
        try:
            check_edit(self.root, text, made, grown=len(text) - len(self.text))
        except Json5SyntaxError as error:
            raise _not_json5(self.name, text, error) from None
        return Document(self.name, text)


def _not_json5(name: str, text: str, error: Json5SyntaxError) -> ConfigError:
    line, column = position(text, error.offset)
    message = error.message if text.strip("\ufeff \t\r\n") else "the file is empty; an empty configuration is `{}`"
    return ConfigError("config-syntax", message, where=f"{name}:{line}:{column}")
