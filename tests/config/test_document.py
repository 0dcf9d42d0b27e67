"""Edits of handwritten texts."""

from __future__ import annotations

import textwrap

import pytest

from portico.config.document import ConfigSyntax, Document
from portico.errors import ConfigError

PEOPLE_WRITE = textwrap.dedent("""\
    // my models
    {
      env: { MINIMAX_API_KEY: 'sk-1' }, // from the console
      models: {
        mode: "merge", /* keep the others */
        providers: {
          // the fast one
          minimax: {
            baseUrl: "https://api.minimax.io/anthropic",
            models: [ { id: "a" }, { id: "b" } ], // two
          },
          /* other: {}, */
        },
      },
      "gateway": { port: 0x4650, },
    }
    """)


def document(text: str, name: str = "portico.json5") -> Document:
    return Document.parse(text, name=name)


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """The lines that went and the lines that came."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(
    ("path", "value", "removed", "new"),
    [
        (("gateway", "port"), 18500, '  "gateway": { port: 0x4650, },', '  "gateway": { port: 18500, },'),
        (
            ("env", "MINIMAX_API_KEY"),
            "it's",
            "  env: { MINIMAX_API_KEY: 'sk-1' }, // from the console",
            "  env: { MINIMAX_API_KEY: 'it\\'s' }, // from the console",
        ),
        (("models", "mode"), "replace", '    mode: "merge", /* keep the others */', '    mode: "replace", /* keep the others */'),
        (
            ("models", "providers", "minimax", "models", 1, "id"),
            "c",
            '        models: [ { id: "a" }, { id: "b" } ], // two',
            '        models: [ { id: "a" }, { id: "c" } ], // two',
        ),
    ],
)
def test_a_new_value_takes_the_place_and_the_quotes_of_the_old(path, value, removed, new):
    before = document(PEOPLE_WRITE)
    after = before.set(path, value)
    assert changed_lines(before.text, after.text) == ([removed], [new])
    assert after.get(path) == value


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ("{\n  a: 1 // one\n}\n", ("b",), 2, "{\n  a: 1, // one\n  b: 2\n}\n"),
        ("{\n  a: 1, // one\n}\n", ("b",), 2, "{\n  a: 1, // one\n  b: 2,\n}\n"),
        ("{\n  a: 1,\n  // b: 3\n}\n", ("b",), 2, "{\n  a: 1,\n  b: 2,\n  // b: 3\n}\n"),
        ("{ a: 1 }", ("b",), [1], "{ a: 1, b: [1] }"),
        ('{"a":1}', ("b",), {"c": [1, 2]}, '{"a":1,"b":{"c":[1,2]}}'),
        ('{\n\t"a": 1\n}', ("b",), {"c": {"d": 1}}, '{\n\t"a": 1,\n\t"b": {\n\t\t"c": {\n\t\t\t"d": 1\n\t\t}\n\t}\n}'),
        ("{\r\n  'a': 1,\r\n}\r\n", ("b",), 2, "{\r\n  'a': 1,\r\n  'b': 2,\r\n}\r\n"),
        ("\ufeff{\n  a: {},\n}", ("a", "b"), 1, "\ufeff{\n  a: { b: 1 },\n}"),
        ("{\n  a: {\n    // none yet\n  },\n}", ("a", "b"), 1, "{\n  a: {\n    // none yet\n    b: 1,\n  },\n}"),
        ("{}\n", ("a", "b"), 1, "{\n  a: { b: 1 },\n}\n"),
        ("{ l: [1, 2] }", ("l",), [1, 2, 3], "{ l: [1, 2, 3] }"),
        ("{ l: [1, /* two */ 2, 3] }", ("l",), [1, 2], "{ l: [1, /* two */ 2] }"),
        ("{\n  l: [\n    1, // one\n    2, // two\n  ],\n}", ("l",), [2], "{\n  l: [\n    2, // two\n  ],\n}"),
        ("{ l: [1] }", ("l", 1), 2, "{ l: [1, 2] }"),
        ("{ a: null }", ("a", "b", 0), 1, "{ a: { b: [1] } }"),
        ("{ a: 1, a: 2 }", ("a",), 3, "{ a: 1, a: 3 }"),
    ],
)
def test_what_is_added_looks_like_its_neighbours(text, path, value, expected):
    assert document(text).set(path, value).text == expected


def test_an_empty_json_file_is_filled_as_strict_json():
    filled = document("{}\n", "openclaw.json").merge({"plugins": {"entries": {"x": {"enabled": True}}}})
    assert filled.text == ('{\n  "plugins": {\n    "entries": {\n      "x": {\n        "enabled": true\n      }\n    }\n  }\n}\n')


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("{\n  a: 1, // one\n  b: 2, // two\n}", ("a",), "{\n  b: 2, // two\n}"),
        ("{\n  // above\n  a: 1,\n  b: 2\n}", ("b",), "{\n  // above\n  a: 1\n}"),
        ("{\n  a: 1, // one\n  b: 2 }", ("b",), "{\n  a: 1 // one\n  }"),
        ("{ a: 1, b: 2, c: 3 }", ("b",), "{ a: 1, c: 3 }"),
        ("{ a: 1, b: 2 }", ("b",), "{ a: 1 }"),
        ("{ a: 1, b: 2, }", ("b",), "{ a: 1, }"),
        ("{ a: 1 }", ("a",), "{}"),
        ("{ a: 1 /* why */ }", ("a",), "{ /* why */ }"),
        ("{ a: 1, b: 2, a: 3 }", ("a",), "{ b: 2 }"),
        ("{ l: [1, 2, 3] }", ("l", 0), "{ l: [2, 3] }"),
    ],
)
def test_what_is_taken_away_leaves_no_hole_and_keeps_the_comments_of_others(text, path, expected):
    assert document(text).unset(path).text == expected


@pytest.mark.requirement("S6")
@pytest.mark.parametrize(
    ("text", "index", "expected"),
    [
        ("{ l: [1, 2] }", 0, "{ l: [9, 1, 2] }"),
        ("{ l: [1, 2] }", 1, "{ l: [1, 9, 2] }"),
        ("{ l: [1, 2] }", 2, "{ l: [1, 2, 9] }"),
        ("{l:[1,2]}", 1, "{l:[1,9,2]}"),
        ("{ l: [ /* one */ 1 ] }", 0, "{ l: [ /* one */ 9, 1 ] }"),
        ("{ l: [1, /* one */ 2] }", 1, "{ l: [1, /* one */ 9, 2] }"),
        ("{\n  l: [ // mine\n    1, // one\n  ],\n}", 0, "{\n  l: [ // mine\n    9,\n    1, // one\n  ],\n}"),
        (
            "{\n  l: [\n    1, // one\n    // about two\n    2\n  ]\n}",
            1,
            "{\n  l: [\n    1, // one\n    9,\n    // about two\n    2\n  ]\n}",
        ),
        ("{\r\n\tl: [\r\n\t\t1,\r\n\t\t2,\r\n\t],\r\n}", 1, "{\r\n\tl: [\r\n\t\t1,\r\n\t\t9,\r\n\t\t2,\r\n\t],\r\n}"),
        ("{ l: [1, // one\n  /* two */ 2] }", 1, "{ l: [1, // one\n  9,\n  /* two */ 2] }"),
        ("{ l: [] }", 0, "{ l: [9] }"),
        ("{ l: null }", 0, "{ l: [9] }"),
        ("{ a: 1 }", 0, "{ a: 1, l: [9] }"),
    ],
)
def test_an_element_is_put_between_its_neighbours_and_their_comments_stay_with_them(text, index, expected):
    assert document(text).insert(("l", index), 9).text == expected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (("l", 3), "`l` is an array of 1, so it cannot contain `[3]`"),
        (("l", "x"), "`l` is an array of 1, so it cannot contain `x`"),
        (("o", 0), "`o` is an object, so it cannot contain `[0]`"),
        (("o", "k"), "`o` is an object, so it cannot contain `k`"),
        (("a", 0), "`a` is neither an object nor an array, so it cannot contain `[0]`"),
    ],
)
def test_what_is_no_place_in_an_array_takes_no_new_element(path, why):
    with pytest.raises(ConfigError) as exc_info:
        document("{ a: 1, l: [1], o: { k: 1 } }").insert(path, 9)
    assert (exc_info.value.id, exc_info.value.why) == ("config-elsewhere", why)


def test_an_edit_that_would_make_no_json5_is_refused_and_an_unread_tree_is_read_when_asked_for():
    before = document("{ a: 1 }")
    for path, value in ((("b",), "\ud800"), (("b",) * 120, 1)):
        with pytest.raises(ConfigError) as exc_info:
            before.set(path, value)
        assert type(exc_info.value) is ConfigSyntax
    assert before.set(("b",), 2).unset(("a",)).text == "{ b: 2 }"


@pytest.mark.requirement("S6")
def test_merging_writes_the_new_and_leaves_the_equal_and_the_rest():
    before = document(PEOPLE_WRITE)
    after = before.merge(
        {
            "gateway": {"port": 18000},
            "models": {"providers": {"minimax-portal": {"baseUrl": "u"}}},
            "agents": {"defaults": {"model": {"primary": "p/m"}}},
        }
    )
    assert changed_lines(before.text, after.text) == (
        [],
        ['      "minimax-portal": { baseUrl: "u" },', "  agents: {", "    defaults: {", '      model: { primary: "p/m" },'],
    )
    assert after.merge({"gateway": {"port": 18000}}) is after


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("", "1:1", "the file is empty; an empty config is `{}`"),
        ("{\n  a: 1\n  b: 2\n}", "3:3", "`,` or `}` is missing before a word without quotes"),
        ("{\r\n  a: 'x\r\n}", "2:6", "this string is not closed on its line"),
        ("\ufeff{,}", "1:2", "a key or `}` is missing here: found `,`"),
        ("{ a: 01 }", "1:6", "this is not a number"),
        ("{ a: /* x }", "1:6", "this comment is not closed"),
        ("{ a 1 }", "1:5", "`:` is missing after the key"),
        ("{} {}", "1:4", "nothing may follow the value, but here is `{`"),
        ("{ a: tru }", "1:6", "a value is missing here: found a word without quotes"),
        ("{ a: #1 }", "1:6", "no key or value can begin with this character"),
        ("[" * 200, "1:101", "nested more than 100 deep"),
        ("9" * 5000, "1:1", "this number is too long"),
        (r'"\ud800"', "1:1", "this string contains half of a surrogate pair"),
        (r'"a\1"', "1:3", r"`\1` is not an escape"),
        (r"{ a\u0020b: 1 }", "1:3", "this key needs quotes"),
    ],
)
def test_what_is_not_json5_is_refused_with_its_place(text, where, message):
    with pytest.raises(ConfigError) as exc_info:
        document(text, "f")
    assert (type(exc_info.value), exc_info.value.where, exc_info.value.message) == (ConfigSyntax, f"f:{where}", message)


@pytest.mark.requirement("E75")
@pytest.mark.parametrize(
    "text",
    [
        "{ apiKey: KEY }",
        "{ apiKey: 'x' 'KEY' }",
        "{ apiKey: 'x' KEY: 1 }",
        "{ env: { 'KEY' } }",
        "{ env: { KEY } }",
        "{ apiKey: 'KEY }",
        "KEY",
        "{} KEY",
        "{ 'a': 'KEY\\1' }",
    ],
)
@pytest.mark.parametrize("key", ["sk-live-0123", "0123456789abcdef0123456789abcdef", "eyJhbGciOiJIUzI1NiJ9.e30.x"])
def test_a_key_that_has_lost_its_place_is_not_read_out(text, key):
    with pytest.raises(ConfigError) as exc_info:
        document(text.replace("KEY", key))
    assert not any(key[start : start + 8] in str(exc_info.value) for start in range(len(key) - 7))


def test_everything_json5_has_is_read():
    text = (
        r"""{ a: [+1, -.5, 5., 0xFF, 1e3, -0x10, Infinity, -Infinity,], 'b\x41\u0042': "x\
y\v\0\'\😀", $c: null, d\u0065: true, """
        "/* 1 */ 'é': false, // 2\n é: 1 }"
    )
    assert document(text).value() == {
        "a": [1, -0.5, 5.0, 255, 1000.0, -16, float("inf"), float("-inf")],
        "bAB": "xy\v\0'😀",
        "$c": None,
        "de": True,
        "é": 1,
    }


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (("a", "b"), "`a` is neither an object nor an array, so it cannot contain `b`"),
        (("l", 5), "`l` is an array of 1, so it cannot contain `[5]`"),
        (("l", "x"), "`l` is an array of 1, so it cannot contain `x`"),
        (("o", 0), "`o` is an object, so it cannot contain `[0]`"),
    ],
)
def test_a_path_that_leads_nowhere_cannot_be_set(path, why):
    with pytest.raises(ConfigError) as exc_info:
        document("{ a: 1, l: [1], o: {} }").set(path, 1)
    assert (exc_info.value.id, exc_info.value.why) == ("config-elsewhere", why)


def test_a_new_array_begins_at_its_first_element():
    with pytest.raises(ConfigError, match="begins at"):
        document("{}").set(("a", 2), 1)


def test_what_is_not_there_is_a_key_error():
    for method in (document("{}").get, document("{}").unset, document("{}").position):
        with pytest.raises(KeyError, match="a"):
            method(("a",))
    assert not document("{}").has(("a",))


def test_lines_and_columns_are_counted_as_in_editors():
    parsed = document('\ufeff{\r\n  a: { "b": [1,\r\n 2] } }')
    assert parsed.position(("a", "b", 1)) == (3, 2)
    assert parsed.position(("a", "b"), of_key=True) == (2, 8)
    assert parsed.where(("a", "x", "y")) == "portico.json5:2:6"


def test_a_text_of_two_thousand_lines_is_edited_in_one_line():
    lines = [f'    key{number}: {{ a: {number}, "b": "x" }}, // {number}' for number in range(2000)]
    before = document("{\n" + "\n".join(lines) + "\n}\n")
    after = before.set(("key1000", "a"), -1)
    assert changed_lines(before.text, after.text) == ([lines[1000]], ['    key1000: { a: -1, "b": "x" }, // 1000'])


def test_a_document_does_not_show_its_text():
    assert repr(document("{ env: { KEY: 'sk-1' } }")) == "Document('portico.json5')"
