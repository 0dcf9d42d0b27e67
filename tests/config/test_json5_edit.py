"""Edits of generated texts, compared with a dictionary and with another JSON5 parser."""

from __future__ import annotations

import copy
import json
import math
import re
from random import Random

import pytest

from portico.config.document import Document
from portico.config.json5 import Json5SyntaxError, parse
from portico.config.json5_edit import Splice, apply, check_edit

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis, which makes up the texts, is not installed")
st = pytest.importorskip("hypothesis.strategies")
pyjson5 = pytest.importorskip("pyjson5", reason="pyjson5, the independent reader, is not installed")

# Nine properties share the run's budget of cases, and the other tests have theirs.
few = hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // 10)
KEYS = st.sampled_from(
    ["a", "b", "apiKey", "$x", "minimax/MiniMax-M2.1", "with.dot", "", "é", "true", "it's", 'say "hi"', "\u2028"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(math.inf),
    st.just(-math.inf),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=12
)
PIECES = list("{}[]:,/*'\"\\ab1. \n#")
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


class Writer:
    """Writes a value the way a person might: any quotes, comments anywhere, commas at will."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.newline = random.choice(["\n", "\r\n"])
        self.comments = 0
        self.density = random.choice([0.0, 0.1, 0.4])

    def document(self, value: object) -> str:
        bom = self.random.choice(["", "", "\ufeff"])
        return bom + self.gap() + self.value(value) + self.gap()

    def gap(self) -> str:
        odd = self.random.choice(["\v", "\f", "\u00a0", "\u2003", "\u2028", "\ufeff", "\r"])
        parts = [self.random.choice(["", " ", "", "  ", self.newline, self.newline + "  ", "\t", odd])]
        while self.random.random() < self.density:
            self.comments += 1
            comment = f"c{self.comments} }},]{{[: \"'"
            parts.append(f"//{comment}{self.newline}" if self.random.random() < 0.5 else f"/*{comment}*/")
            parts.append(self.random.choice(["", " ", self.newline, self.newline + "    "]))
        return "".join(parts)

    def value(self, value: object) -> str:
        if isinstance(value, dict):
            members = [f"{self.gap()}{self.key(key)}{self.gap()}:{self.gap()}{self.value(item)}" for key, item in value.items()]
            return "{" + self.joined(members) + "}"
        if isinstance(value, list):
            return "[" + self.joined([f"{self.gap()}{self.value(item)}" for item in value]) + "]"
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, float) and math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.random.random() < 0.3:
            return self.number(value)
        return json.dumps(value)

    def number(self, value: float) -> str:
        if isinstance(value, int):
            return self.random.choice([hex(value), f"+{value}"]) if value >= 0 else hex(value)
        plain = repr(value)
        if "e" in plain:
            return plain.upper()
        return plain.removesuffix("0") if plain.endswith(".0") else plain.replace("0.", ".", 1) if abs(value) < 1 else plain

    def joined(self, parts: list[str]) -> str:
        text = "".join(f"{part}{self.gap()}," for part in parts)
        return (text if self.random.random() < 0.5 else text[:-1]) + self.gap()

    def key(self, key: str) -> str:
        if key[:1].isalpha() and key.isascii() and key.isalnum() and self.random.random() < 0.1:
            return f"\\u{ord(key[0]):04x}{key[1:]}"
        return key if re.fullmatch(r"[A-Za-z_$][\w$]*", key) and self.random.random() < 0.6 else self.string(key)

    def string(self, text: str) -> str:
        body = json.dumps(text, ensure_ascii=self.random.random() < 0.3)[1:-1]
        if self.random.random() < 0.1:
            body = f"\\{self.newline}" + body
        if self.random.random() < 0.5:
            return f'"{body}"'
        return "'" + body.replace('\\"', '"').replace("'", "\\'") + "'"


@st.composite
def documents(draw):
    value = draw(OBJECTS)
    text = Writer(Random(draw(st.integers(0, 2**32)))).document(value)
    return Document.parse(text, name=draw(st.sampled_from(["a.json5", "a.json"]))), value


def paths_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner_path for key, item in inner for inner_path in paths_of(item, (*path, key)))]


def value_at(value, path):
    for step in path:
        value = value[step]
    return value


def with_value(value, path, new):
    if not path:
        return copy.deepcopy(new)
    changed = copy.deepcopy(value)
    value_at(changed, path[:-1])[path[-1]] = copy.deepcopy(new)
    return changed


def merged(old, patch):
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return patch
    return {**old, **{key: merged(old[key], item) if key in old else item for key, item in patch.items()}}


def comments(text: str) -> list[str]:
    return re.findall(r"(?://|/\*)(c[0-9]+) ", text)


def is_subsequence(short: str, long: str) -> bool:
    """Whether `short` is `long` with characters taken away."""
    remaining = iter(long)
    return all(character in remaining for character in short)


def pyjson5_value(text: str) -> object:
    return pyjson5.decode(text.removeprefix("\ufeff"))


@few
@hypothesis.given(documents())
def test_any_text_is_read_as_by_an_independent_reader(generated):
    document, value = generated
    assert document.value() == value == pyjson5_value(document.text)


@pytest.mark.requirement("S6")
@few
@hypothesis.given(documents(), st.data(), VALUES)
def test_setting_a_value_changes_that_value_alone(generated, data, new):
    document, value = generated
    path = data.draw(st.sampled_from(paths_of(value)))
    hypothesis.assume(path)
    changed = document.set(path, new)
    assert changed.value() == with_value(value, path, new) == pyjson5_value(changed.text)
    start, end = span(document, path)
    assert changed.text.startswith(document.text[:start])
    assert changed.text.endswith(document.text[end:])


@pytest.mark.requirement("S6")
@few
@hypothesis.given(documents(), st.data(), KEYS, VALUES)
def test_a_new_member_takes_no_byte_away(generated, data, key, new):
    document, value = generated
    parents = [path for path in paths_of(value) if isinstance(value_at(value, path), dict) and key not in value_at(value, path)]
    hypothesis.assume(parents)
    path = (*data.draw(st.sampled_from(parents)), key)
    changed = document.set(path, new)
    assert changed.value() == with_value(value, path, new) == pyjson5_value(changed.text)
    assert is_subsequence(re.sub(r"\s", "", document.text), changed.text)
    assert comments(changed.text) == comments(document.text)
    if value_at(value, path[:-1]):
        assert is_subsequence(document.text, changed.text)


@pytest.mark.requirement("S6")
@few
@hypothesis.given(documents(), st.data(), VALUES)
def test_an_inserted_element_moves_the_others_on_and_takes_no_byte_away(generated, data, new):
    document, value = generated
    arrays = [path for path in paths_of(value) if isinstance(value_at(value, path), list)]
    hypothesis.assume(arrays)
    path = data.draw(st.sampled_from(arrays))
    index = data.draw(st.integers(0, len(value_at(value, path))))
    expected = copy.deepcopy(value)
    value_at(expected, path).insert(index, copy.deepcopy(new))
    changed = document.insert((*path, index), new)
    assert changed.value() == expected == pyjson5_value(changed.text)
    assert comments(changed.text) == comments(document.text)
    assert is_subsequence(re.sub(r"\s", "", document.text), changed.text)
    if value_at(value, path):
        assert is_subsequence(document.text, changed.text)


@pytest.mark.requirement("S6")
@few
@hypothesis.given(documents(), st.data())
def test_edits_one_after_the_other_end_where_a_dictionary_ends(generated, data):
    document, value = generated
    for _ in range(4):
        path = data.draw(st.sampled_from(paths_of(value)))
        new = data.draw(VALUES)
        kind = data.draw(st.sampled_from(["set", "unset", "merge"]))
        if kind == "merge" or not path:
            patch = {"m": new}
            document, value = document.merge(patch), merged(value, patch)
        elif kind == "set":
            document, value = document.set(path, new), with_value(value, path, new)
        else:
            document, value = document.unset(path), copy.deepcopy(value)
            del value_at(value, path[:-1])[path[-1]]
    assert document.value() == value == pyjson5_value(document.text)


@few
@hypothesis.given(documents(), st.data())
def test_what_the_check_of_an_edit_lets_pass_is_json5(generated, data):
    document, _ = generated
    low = data.draw(st.integers(0, len(document.text)))
    high = data.draw(st.integers(low, min(len(document.text), low + 6)))
    made = data.draw(
        st.one_of(st.text(PIECES, max_size=5), st.sampled_from(["a: 1,", ", 2", '"x": [', "}", "/*", "*/", "//", "1"]))
    )
    splice = Splice(low, high, made)
    text = apply(document.text, [splice])
    try:
        check_edit(document.root, text, [splice], grown=len(text) - len(document.text))
    except Json5SyntaxError:
        return
    parse(text)


@pytest.mark.requirement("S6")
@few
@hypothesis.given(documents(), st.data())
def test_taking_a_value_away_adds_no_byte_and_keeps_the_comments_of_others(generated, data):
    document, value = generated
    path = data.draw(st.sampled_from(paths_of(value)))
    hypothesis.assume(path)
    expected = copy.deepcopy(value)
    del value_at(expected, path[:-1])[path[-1]]
    changed = document.unset(path)
    assert changed.value() == expected == pyjson5_value(changed.text)
    assert is_subsequence(changed.text, document.text)
    start, end = span(document, path)
    assert set(comments(document.text[:start])) <= set(comments(changed.text))
    lost = [name for name in comments(document.text[end:]) if name not in comments(changed.text)]
    assert not lost or comments(document.text[end:])[: len(lost)] == lost


@pytest.mark.requirement("S6")
@few
@hypothesis.given(documents(), OBJECTS)
def test_a_merged_patch_is_laid_over_the_value_and_keeps_every_comment_outside_of_what_it_replaces(generated, patch):
    document, value = generated
    changed = document.merge(patch)
    assert changed.value() == merged(value, patch) == pyjson5_value(changed.text)
    assert changed.merge(patch).text == changed.text
    if not any(key in value for key in patch):
        assert comments(changed.text) == comments(document.text)


@few
@hypothesis.given(documents(), st.data())
def test_setting_what_is_there_already_changes_nothing(generated, data):
    document, value = generated
    path = data.draw(st.sampled_from(paths_of(value)))
    assert document.set(path, value_at(value, path)) is document


def span(document: Document, path: tuple[str | int, ...]) -> tuple[int, int]:
    """Where the entry at `path` stands, its key included."""
    entry = document._entry(path[:-1], path[-1])
    return entry.start, entry.end
