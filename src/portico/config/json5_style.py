"""Reading the habits of a text, so that what is added to it looks like its neighbours."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.config.json5_lines import comma_after, has_newline, line_indent
from portico.config.json5_tokens import trivia_end
from portico.config.json5_tree import Container, Scalar
from portico.config.json5_writer import Style, could_be_bare

if TYPE_CHECKING:
    from portico.config.json5_tree import Entry, Node

# The first objects and arrays of a text show its habits, and so do their first entries; reading all of a long one would cost more
# than the edit.
_SAMPLE: Final = 8


def read_style(text: str, root: Node, *, strict_json: bool) -> Style:
    """The habits of `text`. What it does not show is as in the documentation's examples, or as in JSON if `strict_json`."""
    first_line = text[: text.find("\n") + 1]
    style = Style(newline="\r\n" if first_line.endswith("\r\n") else "\n")
    if strict_json:
        style = replace(style, bare_keys=False, trailing_comma=False, short_objects=False)
    filled = _first_filled(root)
    members = [entry for container in filled if container.is_object for entry in container.entries[:_SAMPLE]]
    if not members:
        return style
    tall = [container for container in filled if _is_tall(text, container)]
    short = [container for container in filled if container.is_object and container not in tall]
    keys = [key_text(text, entry) for entry in members]
    bare_keys = _has_bare_keys(keys)
    tight = _is_tight(text, members[0])
    one_line = text.find("\n", root.start, root.end) < 0 and text.find("\r", root.start, root.end) < 0
    return replace(
        style,
        unit=_unit(text, tall) or style.unit,
        quote=_quote(text, members, keys),
        bare_keys=bare_keys,
        trailing_comma=comma_after(text, tall[0].entries[-1].end) is not None if tall else style.trailing_comma and bare_keys,
        after_colon="" if tight else " ",
        after_comma="" if tight and one_line else " ",
        pad=_pad(text, short[0]) if short else ("" if tight else " "),
        one_line=one_line,
        short_objects=bool(short) or bare_keys,
    )


def key_text(text: str, entry: Entry) -> str:
    """The key of a member as it is written, quotes included."""
    return text[entry.start : entry.key_end]


def _first_filled(root: Node) -> list[Container]:
    """The first objects and arrays that hold something, in the order of the text."""
    found: list[Container] = []
    waiting = [root]
    while waiting and len(found) < _SAMPLE:
        node = waiting.pop()
        if isinstance(node, Container) and node.entries:
            found.append(node)
            waiting += [entry.node for entry in reversed(node.entries) if isinstance(entry.node, Container)]
    return found


def _is_tall(text: str, container: Container) -> bool:
    return has_newline(text[container.start : container.entries[0].start])


def _has_bare_keys(keys: list[str]) -> bool:
    bare = [key for key in keys if key[0] not in "\"'"]
    return bool(bare) or not any(could_be_bare(key) for key in keys)


def _is_tight(text: str, member: Entry) -> bool:
    return trivia_end(text, member.key_end) + 1 == member.node.start


def _pad(text: str, container: Container) -> str:
    return " " if text[container.start + 1] in " \t" else ""


def _unit(text: str, tall: list[Container]) -> str | None:
    """The commonest step from the line of an opening bracket to the line of what it holds."""
    steps: dict[str, int] = {}
    for container in tall[: _SAMPLE // 2]:
        outer, inner = line_indent(text, container.start), line_indent(text, container.entries[0].start)
        if inner.startswith(outer) and inner != outer:
            step = inner[len(outer) :]
            steps[step] = steps.get(step, 0) + 1
    return max(steps, key=steps.__getitem__, default=None)


def _quote(text: str, members: list[Entry], keys: list[str]) -> str:
    """The commonest quote of values, else of keys."""
    values = [text[entry.node.start] for entry in members if isinstance(entry.node, Scalar)]
    marks = Counter(mark for mark in values if mark in "\"'") or Counter(key[0] for key in keys if key[0] in "\"'")
    return max(marks, key=marks.__getitem__) if marks else '"'
