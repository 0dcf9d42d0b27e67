"""A configuration put together from several texts, each part of which knows the text that it stands in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portico.config.config_path import array_index
from portico.config.json5 import Scalar

if TYPE_CHECKING:
    from portico.config.config_path import ConfigPath
    from portico.config.document import Document
    from portico.config.json5 import Entry, Node
    from portico.interfaces.basics import JsonValue

Content = dict[str, "Part"] | list["Part"] | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Part:
    """A value: its text is `node` of `document`. Its key, if it has one, is `key` of `key_document`, which may be another text.

    `content` are the parts of an object or an array, None for any other value.
    """

    document: Document
    node: Node
    content: Content = None
    key_document: Document | None = None
    key: Entry | None = None

    def place(self, *, of_key: bool = False) -> tuple[Document, int]:
        """The text that the value, or its key, stands in, and where in it."""
        if of_key and self.key is not None and self.key_document is not None:
            return self.key_document, self.key.start
        return self.document, self.node.start

    def called(self, document: Document, key: Entry | None) -> Part:
        """The same value under a key of `document`."""
        return replace(self, key_document=document, key=key)

    def value(self) -> JsonValue:
        """The value as plain JSON."""
        if isinstance(self.content, dict):
            return {key: part.value() for key, part in self.content.items()}
        if isinstance(self.content, list):
            return [part.value() for part in self.content]
        return self.node.value if isinstance(self.node, Scalar) else None

    def step(self, step: str | int) -> Part | None:
        """The part that one step of a path leads to."""
        if isinstance(self.content, dict):
            return self.content.get(step) if isinstance(step, str) else None
        index = array_index(step)
        return self.content[index] if self.content is not None and index is not None and index < len(self.content) else None


def laid_over(under: Part, over: Part, *, joins_arrays: bool = False) -> Part:
    """`over` on top of `under`: objects key by key, anything else replaced; arrays are joined where `joins_arrays` says so."""
    if isinstance(under.content, dict) and isinstance(over.content, dict):
        members = dict(under.content)
        for key, part in over.content.items():
            members[key] = laid_over(members[key], part, joins_arrays=joins_arrays) if key in members else part
        return replace(over, content=members)
    if joins_arrays and isinstance(under.content, list) and isinstance(over.content, list):
        return replace(over, content=[*under.content, *over.content])
    return over


def without(part: Part, path: ConfigPath) -> Part:
    """`part` without what stands at `path`, if anything does."""
    if not isinstance(part.content, dict) or path[0] not in part.content:
        return part
    members = dict(part.content)
    inner = members.pop(str(path[0]))
    if len(path) > 1:
        members[str(path[0])] = without(inner, path[1:])
    return replace(part, content=members)


def with_long_form(part: Part, path: ConfigPath, key: str, over: Part) -> Part:
    """`part` in which a text at `path` stands for an object whose `key` it is, where `over` has an object there.

    Otherwise what is laid over one key of the long form would hide the text, which says another.
    """
    if path:
        step = str(path[0])
        inner, above = part.step(step), over.step(step)
        if inner is None or above is None or not isinstance(part.content, dict):
            return part
        return replace(part, content={**part.content, step: with_long_form(inner, path[1:], key, above)})
    return replace(part, content={key: part}) if part.content is None and isinstance(over.content, dict) else part
