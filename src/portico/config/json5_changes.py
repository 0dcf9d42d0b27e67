"""What has to change in a tree: values inside new containers, what has to go, and the stretch of text that an edit touches."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from portico.config.json5_edits import same
from portico.config.json5_parser import check_stretch, parse
from portico.config.json5_tree import Container, Node, plain
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.config.config_path import ConfigPath
    from portico.config.json5_edits import Splice
    from portico.interfaces.basics import JsonValue

_START: Final = attrgetter("start")


def check_edit(root: Node, text: str, splices: Sequence[Splice], *, grown: int) -> None:
    """Hold `text`, which `splices` have made of the text of `root` and which is `grown` characters longer, to JSON5.

    Only the entries that the splices touch are read again, in the smallest container that holds them all.

    Raises:
        Json5SyntaxError: it is not JSON5.
    """
    low, high = min(splice.start for splice in splices), max(splice.end for splice in splices)
    around = _around(root, low, high)
    if around is None:
        parse(text)
        return
    container, depth = around
    entries, first = container.entries, bisect_right(container.entries, low, key=_START) - 1
    following = bisect_left(entries, high, key=_START)
    stop = entries[following].start if following < len(entries) else container.end - 1
    begun = entries[first] if first >= 0 else None
    # What may stand behind an entry, a comma, a bracket or a comment, runs together with none.
    passed = begun is not None and low >= begun.end
    start = container.start + 1 if begun is None else begun.end if passed else begun.start
    check_stretch(text, start, stop + grown, is_object=container.is_object, depth=depth, after_entry=passed)


def _around(node: Node, low: int, high: int) -> tuple[Container, int] | None:
    """The innermost container whose brackets stand around `low` to `high`, and how deep it is."""
    found, depth = None, 0
    while isinstance(node, Container) and node.start < low and high < node.end:
        found = node, depth
        index = bisect_right(node.entries, low, key=_START) - 1
        if index < 0:
            break
        node, depth = node.entries[index].node, depth + 1
    return found


def nested(path: ConfigPath, value: JsonValue) -> JsonValue:
    """`value` inside the objects and arrays that `path` names."""
    for step in reversed(path):
        if isinstance(step, int) and step:
            raise ConfigError("config-path-blocked", f"a new array begins at [0], not at [{step}]")
        value = {step: value} if isinstance(step, str) else [value]
    return value


def stale(node: Node, value: JsonValue, path: ConfigPath) -> Iterator[ConfigPath]:
    """What has to go from `node` so that laying `value` over it gives `value`, last things first."""
    if not isinstance(node, Container):
        return
    if node.is_object and isinstance(value, dict):
        for key in dict.fromkeys(str(entry.key) for entry in reversed(node.entries)):
            entry = node.find(key)
            if key not in value:
                yield (*path, key)
            elif entry is not None:
                yield from stale(entry.node, value[key], (*path, key))
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
