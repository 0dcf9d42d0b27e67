"""The configuration that counts: what all its files say together, and the file and line that each value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.config.config_path import ConfigPath, format_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from portico.config.document import Document
    from portico.config.parts import Part
    from portico.config.problem import Layer
    from portico.interfaces.basics import JsonValue


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value stands: `file:line:column`, counted from 1. `layer` tells Portico's own files from those of the base."""

    file: str
    line: int
    column: int
    layer: Layer

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Effective:
    """What a configuration says.

    Args:
        document: the own file's text; all there is, where no other file is named in it.
        whole: that text with everything that it includes, over its base; None where there is nothing of the kind.
        base: the texts that belong to the base.
        own: the texts that the own file includes.
    """

    def __init__(
        self,
        document: Document,
        whole: Part | None = None,
        *,
        base: Collection[Document] = (),
        own: Collection[Document] = (),
    ) -> None:
        self.document = document
        self._whole = whole
        self._base = frozenset(base)
        self._own = (document, *own)

    def value(self) -> JsonValue:
        """All of it as plain JSON."""
        return self._whole.value() if self._whole is not None else self.document.value()

    def get(self, path: ConfigPath) -> JsonValue:
        """The value at `path`; KeyError when there is none."""
        if self._whole is None:
            return self.document.get(path)
        part, depth = self._walk(self._whole, path)
        if depth < len(path):
            raise KeyError(format_path(path))
        return part.value()

    def has(self, path: ConfigPath) -> bool:
        """Whether any file says something at `path`."""
        if self._whole is None:
            return self.document.has(path)
        return self._walk(self._whole, path)[1] == len(path)

    def origin(self, path: ConfigPath, *, of_key: bool = False) -> Origin:
        """Where the value at `path` stands, or its key, or else the nearest thing around it that exists."""
        if self._whole is None:
            return self._at(*self.document.find(path, of_key=of_key))
        part, depth = self._walk(self._whole, path)
        return self._at(*part.place(of_key=of_key and depth == len(path)))

    def hidden(self) -> Iterator[tuple[ConfigPath, Origin]]:
        """Each member that a later one of the same key in the same object of the same text hides."""
        for document in (*self._own, *self._base):
            for path, offset in document.duplicates():
                yield path, self._at(document, offset)

    def _walk(self, part: Part, path: ConfigPath) -> tuple[Part, int]:
        """The deepest part on `path` that exists, and how many steps it is away."""
        for depth, step in enumerate(path):
            inner = part.step(step)
            if inner is None:
                return part, depth
            part = inner
        return part, len(path)

    def _at(self, document: Document, offset: int) -> Origin:
        line, column = document.line_and_column(offset)
        return Origin(document.name, line, column, "base" if document in self._base else "own")
