"""`$include`: other files in the place of an object (https://docs.openclaw.ai/gateway/configuration). They stay apart on disk.

Its value is a path, or several that are merged in order: objects key by key, arrays joined. Keys beside it come on top in the
same way. A path is relative to the file that names it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.json5 import Container
from portico.config.parts import Part, laid_over
from portico.config.problem import Problem, named
from portico.config.reading import read_document
from portico.errors import ConfigError
from portico.paths import UnknownHome, expanded

if TYPE_CHECKING:
    from portico.config.config_path import ConfigPath
    from portico.config.document import Document
    from portico.config.json5 import Entry, Node
    from portico.config.problem import Layer

INCLUDE: Final = "$include"
MAX_DEPTH: Final = 10
MAX_FILES: Final = 200  # files that include each other several times would otherwise multiply without end


@dataclass(slots=True)
class Assembly:
    """A file of one layer, put together with what it includes.

    `documents` are the included texts; `problems` tell of what could not be included, each at the place that names it.
    """

    layer: Layer
    documents: dict[str, Document] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _count: int = 0

    def whole(self, document: Document) -> Part:
        """`document` with what it includes."""
        return self._part(document, document.root, None, (), (_identity(document.name),))

    def _part(self, document: Document, node: Node, key: Entry | None, path: ConfigPath, chain: tuple[str, ...]) -> Part:
        if not isinstance(node, Container):
            return Part(document, node, None, document, key)
        if not node.is_object:
            elements = [self._part(document, each.node, None, (*path, n), chain) for n, each in enumerate(node.entries)]
            return Part(document, node, elements, document, key)
        last = {str(entry.key): entry for entry in node.entries}
        include = last.pop(INCLUDE, None)
        members = {name: self._part(document, each.node, each, (*path, name), chain) for name, each in last.items()}
        own = Part(document, node, members, document, key)
        return own if include is None else self._with_included(own, include, (*path, INCLUDE), chain)

    def _with_included(self, own: Part, include: Entry, path: ConfigPath, chain: tuple[str, ...]) -> Part:
        found = self._included(own.document, include.node, path, chain)
        if found is None:
            return own
        found = found.called(own.document, own.key)
        if not own.content:
            return found
        if not isinstance(found.content, dict):
            self._refuse(own.document, include.node, path, "must name objects, since other keys stand beside it")
            return own
        return laid_over(found, own, joins_arrays=True)

    def _included(self, document: Document, node: Node, path: ConfigPath, chain: tuple[str, ...]) -> Part | None:
        nodes = [entry.node for entry in node.entries] if isinstance(node, Container) and not node.is_object else [node]
        found: Part | None = None
        for each in nodes:
            value = None if isinstance(each, Container) else each.value
            if not isinstance(value, str) or not value.strip():
                self._refuse(document, each, path, "must be a path or an array of paths")
                continue
            part = self._file(document, each, value, path, chain)
            if part is not None:
                found = part if found is None else laid_over(found, part, joins_arrays=True)
        return found

    def _file(self, document: Document, node: Node, written: str, path: ConfigPath, chain: tuple[str, ...]) -> Part | None:
        try:
            place = Path(os.path.normpath(Path(document.name).parent / expanded(written, named(path))))
        except UnknownHome as error:
            self._refuse(document, node, path, error.fault, error.hint)
            return None
        identity = _identity(str(place))
        self._count += 1
        if identity in chain:
            self._refuse(document, node, path, f"goes round in a circle: {' -> '.join([*chain, identity])}")
        elif len(chain) > MAX_DEPTH:
            self._refuse(document, node, path, f"leads more than {MAX_DEPTH} files deep")
        elif self._count > MAX_FILES:
            self._refuse(document, node, path, f"leads to more than {MAX_FILES} files")
        elif included := self._read(document, node, place, path, identity):
            return self._part(included, included.root, None, path[:-1], (*chain, identity))
        return None

    def _read(self, document: Document, node: Node, place: Path, path: ConfigPath, identity: str) -> Document | None:
        if identity in self.documents:
            return self.documents[identity]
        try:
            found = read_document(place)
        except ConfigError as error:
            if error.where is None:
                self._refuse(document, node, path, f"cannot be followed: {error}")
            else:  # the mistake is in the file itself
                self.problems.append(Problem("error", error.where, path, error.message, error.hint, self.layer))
            return None
        if found is None:
            self._refuse(document, node, path, f"names a file that does not exist: {place}")
            return None
        return self.documents.setdefault(identity, found)

    def _refuse(self, document: Document, node: Node, path: ConfigPath, message: str, hint: str | None = None) -> None:
        line, column = document.line_and_column(node.start)
        where = f"{document.name}:{line}:{column}"
        self.problems.append(Problem("error", where, path, f"{named(path)} {message}", hint, self.layer))


def may_include(text: str) -> bool:
    """Whether an `$include` can be in `text`, spelled with escapes perhaps."""
    return "include" in text or "\\u" in text or "\\x" in text


def _identity(name: str) -> str:
    return os.path.realpath(name)
