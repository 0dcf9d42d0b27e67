"""`$include`, as in OpenClaw: files in place of an object, and the origin of every value."""

from __future__ import annotations

import os

import pytest

from portico.config.sources import MAX_DEPTH, MAX_FILES
from portico.errors import ConfigError


def origin_of(files, *path: str | int) -> str:
    return str(files.load().effective.origin(path)).removeprefix(f"{files.home}/")


def refused(files) -> list[str]:
    with pytest.raises(ConfigError) as exc_info:
        files.load()
    error = exc_info.value
    text = f"{error.where}: {error.message}" if error.where else error.message
    return [line.strip() for line in text.replace(f"{files.home}/", "").splitlines()]


def test_an_included_file_stands_in_the_place_that_names_it_and_names_others_from_where_it_is(files):
    files.write_own("{ agents: { $include: './agents.json5' }, gateway: { port: 18500 } }")
    files.write("portico/agents.json5", "{ defaults: { $include: '../shared/defaults.json5' } }")
    files.write("shared/defaults.json5", "{\n  model: 'p/m' }")
    loaded = files.load()
    assert (loaded.config.agents.primary, loaded.config.gateway.port, loaded.problems) == ("p/m", 18500, ())
    assert origin_of(files, "agents", "defaults", "model") == "shared/defaults.json5:2:10"
    assert origin_of(files, "gateway", "port") == "portico/portico.json5:1:60"
    assert loaded.effective.origin(("agents",)).layer == "own"


def test_keys_beside_it_come_on_top_objects_key_by_key_and_arrays_are_joined(files):
    files.write_own("{ $include: 'a.json5', models: { mode: 'replace' }, plugins: { deny: ['mine'] }, gateway: { port: 1111 } }")
    files.write(
        "portico/a.json5",
        "{ models: { mode: 'merge', providers: { p: {} } }, plugins: { deny: ['theirs'] }, gateway: { port: 2222 } }",
    )
    config = files.load().config
    assert (config.models.mode, list(config.models.providers)) == ("replace", ["p"])
    assert (config.plugins.deny, config.gateway.port) == (("theirs", "mine"), 1111)


def test_several_files_are_merged_in_their_order(files):
    files.write_own("{ plugins: { $include: ['a.json5', 'b.json5'] } }")
    files.write("portico/a.json5", "{ enabled: false, deny: ['a'], entries: { x: { enabled: true } } }")
    files.write("portico/b.json5", "{ enabled: true, deny: ['b'], entries: { x: { config: { k: 1 } } } }")
    plugins = files.load().config.plugins
    assert (plugins.enabled, plugins.deny) == (True, ("a", "b"))
    assert (plugins.entries["x"].enabled, plugins.entries["x"].config) == (True, {"k": 1})
    assert origin_of(files, "plugins", "deny", 0) == "portico/a.json5:1:26"
    assert origin_of(files, "plugins", "deny", 1) == "portico/b.json5:1:25"


def test_a_problem_names_the_file_that_has_it(files):
    files.write_own("{ $include: ['a.json5', 'b.json5'], gateway: { port: 0 } }")
    files.write("portico/a.json5", "{\n  models: { mode: 'marge' } }")
    files.write("portico/b.json5", "{ plugins: { colour: 1,\n colour: 2, enabled: 'x' } }")
    assert refused(files) == [
        "3 errors in portico/portico.json5:",
        "portico/portico.json5:1:54: `gateway.port` must be 1-65535",
        'portico/a.json5:2:19: `models.mode` must be "merge" or "replace" (did you mean `merge`?)',
        "portico/b.json5:2:22: `plugins.enabled` must be true or false",
    ]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("{ env: { $include: 'gone.json5' } }", "1:20: `env.$include` names a file that does not exist: portico/gone.json5"),
        ("{ env: { $include: 5 } }", "1:20: `env.$include` must be a path or an array of paths"),
        ("{ env: { $include: { a: 1 } } }", "1:20: `env.$include` must be a path or an array of paths"),
        ("{ env: { $include: ['x.json5', 7] } }", "1:32: `env.$include` must be a path or an array of paths"),
        ("{ $include: 'list.json5', a: 1 }", "1:13: `$include` must name objects, because there are other keys beside it"),
        ("{ $include: 'portico.json5' }", "1:13: `$include` includes itself: {own} -> {own}"),
        ("{ $include: '.' }", "1:13: `$include` names a file that cannot be read, portico: Is a directory [EISDIR]"),
    ],
)
def test_what_cannot_be_included_is_an_error_where_it_is_named(files, own, message):
    files.write("portico/x.json5", "{}")
    files.write("portico/list.json5", "[1]")
    files.write_own(own)
    assert refused(files) == [f"portico/portico.json5:{message.replace('{own}', 'portico/portico.json5')}"]


def test_a_broken_file_is_named_itself_with_its_own_line(files):
    files.write_own("{ $include: 'a.json5' }")
    files.write("portico/a.json5", "{\n  env: {,\n}")
    assert refused(files) == ["portico/a.json5:2:9: a key or `}` is missing here: found `,`"]


def test_a_circle_of_includes_is_reported_file_by_file(files):
    files.write_own("{ env: { $include: 'a.json5' } }")
    files.write("portico/a.json5", "{ $include: 'b.json5' }")
    files.write("portico/b.json5", "{ vars: { $include: ['a.json5'] } }")
    (message,) = refused(files)
    assert message == (
        "portico/b.json5:1:22: `env.vars.$include` includes itself: portico/portico.json5 -> portico/a.json5"
        " -> portico/b.json5 -> portico/a.json5"
    )


@pytest.mark.parametrize(("files_deep", "allowed"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_files_may_lead_to_files_ten_deep(files, files_deep, allowed):
    files.write_own("{ $include: '1.json5' }")
    for number in range(1, files_deep):
        files.write(f"portico/{number}.json5", f"{{ $include: '{number + 1}.json5' }}")
    files.write(f"portico/{files_deep}.json5", "{ gateway: { port: 18600 } }")
    if allowed:
        assert files.load().config.gateway.port == 18600
    else:
        assert refused(files) == ["portico/10.json5:1:13: `$include` is nested more than 10 files deep"]


def test_files_that_multiply_come_to_an_end(files):
    files.write_own(f"{{ $include: {['1.json5'] * 10} }}")
    for number in range(1, 9):
        files.write(f"portico/{number}.json5", f"{{ $include: {[f'{number + 1}.json5'] * 10} }}")
    files.write("portico/9.json5", "{}")
    assert any(f"includes more than {MAX_FILES} files" in line for line in refused(files))


def test_an_include_is_found_however_its_key_is_spelled(files):
    files.write_own(r"{ '\x24\u0069nclude': 'a.json5' }")
    files.write("portico/a.json5", "{ gateway: { port: 18600 } }")
    assert files.load().config.gateway.port == 18600


def test_a_path_may_begin_at_home(files, monkeypatch):
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(files.home))
    files.write_own("{ $include: '~/shared/a.json5' }")
    files.write("shared/a.json5", "{ gateway: { port: 18600 } }")
    assert origin_of(files, "gateway", "port") == "shared/a.json5:1:20"


@pytest.mark.requirement("S6")
def test_an_edit_writes_into_the_own_file_and_never_what_it_includes(files):
    text = "{\n  $include: 'a.json5', // shared\n  env: { $include: 'env.json5' },\n}\n"
    own = files.write_own(text)
    included = files.write("portico/a.json5", "{ gateway: { port: 18600 }, models: { mode: 'merge' } }")
    files.write("portico/env.json5", "{ A: '1' }")
    assert files.load().file.edit(lambda document: document.set(("gateway", "port"), 18700))
    assert own.read_text(encoding="utf-8") == text.replace("  env: ", "  env: ").replace(
        "  env: { $include: 'env.json5' },\n", "  env: { $include: 'env.json5' },\n  gateway: { port: 18700 },\n"
    )
    assert included.read_text(encoding="utf-8") == "{ gateway: { port: 18600 }, models: { mode: 'merge' } }"
    loaded = files.load()
    assert (loaded.config.gateway.port, loaded.config.env) == (18700, {"A": "1"})
