"""A JSON5 text and its value. Edits make a new document whose text differs only where it must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.config.config_path import ConfigPath, format_path, parse_path
from portico.config.json5_edits import Editor, Splice, apply, same
from portico.config.json5_lines import position
from portico.config.json5_style import read_style
from portico.config.json5_tokens import Json5SyntaxError
from portico.config.json5_tree import Container, Entry, Node, parse, plain
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portico.contracts import JsonValue

__all__ = ["ConfigPath", "Document", "format_path", "parse_path"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Document:
    """A parsed text. `name` is what messages call it: a file's path. The text may hold API keys, so `repr` does not show it."""

    name: str
    text: str
    _root: Node

    @classmethod
    def parse(cls, text: str, *, name: str) -> Document:
        """Read `text`.

        Raises:
            ConfigError: it is not JSON5 (`config-syntax`, with `where` as `file:line:column`).
        """
        try:
            return cls(name, text, parse(text))
        except Json5SyntaxError as error:
            line, column = position(text, error.offset)
            message = error.message if text.strip("\ufeff \t\r\n") else "the file is empty; an empty configuration is `{}`"
            raise ConfigError("config-syntax", message, where=f"{name}:{line}:{column}") from None

    def __repr__(self) -> str:
        return f"Document({self.name!r})"

    def value(self) -> JsonValue:
        """All of it as plain JSON. Of members with one key the last counts."""
        return plain(self._root)

    def get(self, path: ConfigPath) -> JsonValue:
        """The value at `path`; KeyError when there is none."""
        return plain(self._node(path))

    def has(self, path: ConfigPath) -> bool:
        return len(self._walk(path)[1]) == 0

    def position(self, path: ConfigPath, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path`, or of its key; KeyError when there is none."""
        entry = self._entry(path[:-1], path[-1]) if of_key and path else None
        return position(self.text, entry.start if entry else self._node(path).start)

    def where(self, path: ConfigPath, *, of_key: bool = False) -> str:
        """`file:line:column` of what stands at `path`, or of the nearest thing around it that exists."""
        depth = len(path)
        while not self.has(path[:depth]):
            depth -= 1
        line, column = self.position(path[:depth], of_key=of_key and depth == len(path))
        return f"{self.name}:{line}:{column}"

    def duplicates(self) -> Iterator[tuple[ConfigPath, str]]:
        """Each member that a later one of the same key hides: its path, and `file:line:column`."""
        for path, entry in _hidden(self._root, ()):
            line, column = position(self.text, entry.start)
            yield path, f"{self.name}:{line}:{column}"

    # --- edits -------------------------------------------------------------------------------------------------------------

    def set(self, path: ConfigPath, value: JsonValue) -> Document:
        """The document with `value` at `path`; what is missing on the way is made. An index one past the end appends.

        Raises:
            ConfigError: `path` leads through something that is neither object nor array (`config-path-blocked`).
        """
        node, rest = self._walk(path)
        if rest and plain(node) is not None:
            container = self._container(node, path, rest)
            key = str(rest[0]) if container.is_object else None
            return self._splice(self._editor().append(container, [(key, _nested(rest[1:], value))]))
        value = _nested(rest, value)
        at = path[: len(path) - len(rest)]
        document = self
        for stale in _stale(node, value, at):
            document = document.unset(stale)
        return document.overlay(at, value)

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
        node = self._root
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
        if isinstance(node, Container):
            fits = isinstance(step, str) if node.is_object else str(step) == str(len(node.entries))
            if fits:
                return node
        at = path[: len(path) - len(rest)]
        what = "an object" if isinstance(node, Container) and node.is_object else "no object"
        if isinstance(node, Container) and not node.is_object:
            what = f"an array of {len(node.entries)}"
        raise ConfigError(
            "config-path-blocked",
            f"`{format_path(path)}` cannot be set",
            why=f"`{format_path(at) or 'the configuration'}` is {what}, so it has no place for `{format_path((step,))}`",
            where=self.where(at),
        )

    def _editor(self) -> Editor:
        return Editor(self.text, read_style(self.text, self._root, strict_json=self.name.endswith(".json")))

    def _splice(self, splices: Iterable[Splice]) -> Document:
        text = apply(self.text, splices)
        return self if text == self.text else Document.parse(text, name=self.name)


def _nested(path: ConfigPath, value: JsonValue) -> JsonValue:
    """`value` inside the objects and arrays that `path` names."""
    for step in reversed(path):
        if isinstance(step, int) and step:
            raise ConfigError("config-path-blocked", f"a new array begins at [0], not at [{step}]")
        value = {step: value} if isinstance(step, str) else [value]
    return value


def _stale(node: Node, value: JsonValue, path: ConfigPath) -> Iterator[ConfigPath]:
    """What has to go from `node` so that laying `value` over it gives `value`, last things first."""
    if not isinstance(node, Container):
        return
    if node.is_object and isinstance(value, dict):
        for key in dict.fromkeys(str(entry.key) for entry in reversed(node.entries)):
            entry = node.find(key)
            if key not in value:
                yield (*path, key)
            elif entry is not None:
                yield from _stale(entry.node, value[key], (*path, key))
    elif not node.is_object and isinstance(value, list):
        yield from _left_out([plain(entry.node) for entry in node.entries], value, path)


def _left_out(old: list[JsonValue], new: list[JsonValue], path: ConfigPath) -> Iterator[ConfigPath]:
    """The elements of `old` to take away where `new` is `old` without them; none where it is anything else."""
    gone, rest = [], list(new)
    for index in range(len(old) - 1, -1, -1):
        if rest and same(old[index], rest[-1]):
            rest.pop()
        else:
            gone.append((*path, index))
    if not rest:
        yield from gone


def _hidden(node: Node, path: ConfigPath) -> Iterator[tuple[ConfigPath, Entry]]:
    if not isinstance(node, Container):
        return
    for index, entry in enumerate(node.entries):
        inner = (*path, entry.key if entry.key is not None else index)
        if node.find(inner[-1]) is not entry:
            yield inner, entry
        else:
            yield from _hidden(entry.node, inner)
