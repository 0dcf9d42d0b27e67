"""The base, an OpenClaw file: read underneath the config, written only on request, and named as the origin of its values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portico.errors import ConfigError
from portico.secret import Secret

# As OpenClaw 2026.2.6-3 (https://www.npmjs.com/package/openclaw) left it after a sign-in to MiniMax's portal.
OPENCLAW_WROTE = (Path(__file__).parent / "data" / "openclaw-after-portal-sign-in.json").read_text(encoding="utf-8")
BUSY = """{
  // a gateway, channels and agents of OpenClaw's own
  gateway: { mode: "local", port: 18789, auth: { mode: "token", token: "t" } },
  channels: { telegram: { enabled: true, botTokn: "x" } },
  tools: { profile: "coding" }, bindings: [], session: {}, someLaterSection: { a: 1 },
  agents: { list: [{ id: "main" }], defaults: { model: { primary: "anthropic/claude-opus-4-6" }, imageModel: { primary: "x/y" } } },
  plugins: { allow: ["telegram"], load: { paths: ["~/plugins"] }, slots: { memory: "none" }, entries: { telegram: { enabled: true } } },
  models: { bedrockDiscovery: {}, providers: {
    google: { baseUrl: "https://g.example", api: "google-generative-ai", models: [] },
    later: { baseUrl: "https://l.example", api: "a-later-protocol", models: [] },
    ours: { baseUrl: "https://o.example", apiKey: { source: "env", provider: "default", id: "OURS_KEY" },
      models: [{ id: "m", name: "M", compat: {}, api: "openai-completions" }] },
  } },
}
"""


def origin_of(loaded, files, *path: str | int) -> str:
    return str(loaded.effective.origin(path)).removeprefix(f"{files.home}/")


def over(files, base: str, own: str = "{ base: '../openclaw/openclaw.json' }"):
    files.write_base(base)
    files.write_own(own)
    return files.load()


def test_what_openclaw_wrote_loads_without_a_word_as_own_file_and_as_base(files):
    files.write_own(OPENCLAW_WROTE)
    alone = files.load()
    below = over(files, OPENCLAW_WROTE)
    assert (alone.problems, below.problems, alone.fault, below.fault) == ((), (), None, None)
    assert alone.config.models == below.config.models
    assert below.config.agents.primary == "minimax-portal/MiniMax-M2.1"
    assert origin_of(below, files, "models", "providers", "minimax-portal", "baseUrl") == "openclaw/openclaw.json:42:20"
    assert below.effective.origin(("agents",)).layer == "base"


def test_a_busy_openclaw_file_loads_without_a_word_and_keeps_its_own_affairs_to_itself(files):
    loaded = over(files, BUSY)
    config = loaded.config
    assert (loaded.problems, loaded.fault) == ((), None)
    assert config.agents.primary == "anthropic/claude-opus-4-6"
    assert config.gateway.port == 18444
    assert (config.plugins.allow, config.plugins.load_paths) == (None, ())
    assert config.plugins.entries["telegram"].inherited
    assert list(config.models.providers) == ["ours"]
    assert config.models.providers["ours"].api_key == Secret("${OURS_KEY}")
    assert not loaded.effective.has(("gateway", "port"))


def test_the_own_file_comes_first_objects_key_by_key_arrays_whole(files):
    base = "{ env: { A: 'base', B: 'base' }, agents: { defaults: { model: { primary: 'b/b', fallbacks: ['b/1', 'b/2'] } } } }"
    own = "{ base: '../openclaw/openclaw.json', env: { A: 'own' }, agents: { defaults: { model: { fallbacks: ['o/1'] } } } }"
    loaded = over(files, base, own)
    assert (loaded.config.agents.primary, loaded.config.agents.fallbacks) == ("b/b", ("o/1",))
    assert loaded.config.env == {"A": "own", "B": "base"}
    assert origin_of(loaded, files, "agents", "defaults", "model", "fallbacks", 0).startswith("portico/portico.json5:1:")
    assert origin_of(loaded, files, "agents", "defaults", "model", "primary").startswith("openclaw/openclaw.json:1:")


def test_the_own_file_overrides_both_forms_of_a_variable(files):
    own = "{ base: '../openclaw/openclaw.json', env: { vars: { A: 'own' }, B: 'own' } }"
    assert over(files, "{ env: { A: 'base', vars: { B: 'base', C: 'base' } } }", own).config.env == {
        "A": "own",
        "B": "own",
        "C": "base",
    }


def test_a_base_may_include_files_of_its_own(files):
    files.write("openclaw/agents.json5", "{ defaults: {\n model: 'p/m' } }")
    loaded = over(files, "{ agents: { $include: './agents.json5' } }")
    assert loaded.config.agents.primary == "p/m"
    assert origin_of(loaded, files, "agents", "defaults", "model") == "openclaw/agents.json5:2:9"
    assert loaded.effective.origin(("agents", "defaults", "model")).layer == "base"


@pytest.mark.parametrize("path", ["~/openclaw/openclaw.json", "../openclaw/openclaw.json", "{home}/openclaw/openclaw.json"])
def test_a_base_is_found_from_home_from_the_file_that_names_it_or_by_its_whole_path(files, monkeypatch, path):
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(files.home))
    loaded = over(files, "{ models: { mode: 'replace' } }", f"{{ base: '{path.format(home=files.home.as_posix())}' }}")
    assert loaded.config.models.mode == "replace"
    assert loaded.base.path == files.base


def test_a_base_that_is_not_there_is_a_warning_where_it_is_named(files):
    files.write_own("{\n  base: '../openclaw/openclaw.json', gateway: { port: 18500 } }")
    loaded = files.load()
    assert (loaded.config.gateway.port, loaded.fault) == (18500, None)
    (message,) = files.warnings(loaded)
    assert message.startswith(
        "portico/portico.json5:2:9: `base` names a file that does not exist, openclaw/openclaw.json; Portico"
    )


@pytest.mark.requirement("E75")
@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("{\n  models: {,", "openclaw/openclaw.json:2:12: a key or `}` is missing here: found `,`"),
        ("{ models: { mode: 'marge' } }", 'openclaw/openclaw.json:1:19: `models.mode` must be "merge" or "replace"'),
        (
            "{ env: { $include: 'gone' } }",
            "openclaw/openclaw.json:1:20: `env.$include` names a file that does not exist: openclaw/gone",
        ),
        ("[]", "openclaw/openclaw.json:1:1: the base must be an object"),
        (
            "{ env: { A: 1 }, auth: 2 }",
            """2 errors in the base:
  openclaw/openclaw.json:1:13: `env.A` must be a string that is not empty
  openclaw/openclaw.json:1:24: `auth` must be an object""",
        ),
    ],
)
def test_a_base_that_cannot_be_used_is_a_fault_for_those_who_need_it_and_the_own_file_stands(files, base, message):
    loaded = over(
        files, base, "{ base: '../openclaw/openclaw.json', gateway: { port: 18500 }, models: { providers: { p: {} } } }"
    )
    fault = loaded.fault
    assert fault.id == "config-invalid"
    assert (f"{fault.where}: {fault.message}" if fault.where else fault.message).replace(f"{files.home}/", "") == message
    assert (loaded.config.gateway.port, list(loaded.config.models.providers), loaded.config.env) == (18500, ["p"], {})
    assert loaded.problems == ()
    assert loaded.effective.get(("gateway", "port")) == 18500


def test_a_base_that_is_the_file_itself_is_a_fault(files):
    files.write_own("{ base: './portico.json5' }")
    assert "names this file itself" in files.load().fault.message


def test_an_error_in_the_own_file_stops_everybody_and_names_that_file(files):
    with pytest.raises(ConfigError) as exc_info:
        over(files, "{ gateway: { port: 'x' } }", "{ base: '../openclaw/openclaw.json',\n gateway: { port: 'y' } }")
    assert exc_info.value.where == f"{files.own}:2:19"


@pytest.mark.requirement("E75")
def test_an_unknown_key_of_a_base_is_no_more_than_a_warning_since_openclaw_took_it(files):
    loaded = over(files, "{ models: { providr: {}, colour: 1 }, providers: {} }")
    assert loaded.fault is None
    assert files.warnings(loaded) == [
        "openclaw/openclaw.json:1:13: `models.providr` is not a key that Portico knows; it has no effect (did you mean `providers`?)",
        "openclaw/openclaw.json:1:26: `models.colour` is not a key that Portico knows; it has no effect",
    ]


@pytest.mark.parametrize("value", ["5", "''", "['a']", "null"])
def test_a_base_is_named_by_a_path(files, value):
    files.write_own(f"{{ base: {value} }}")
    with pytest.raises(ConfigError) as exc_info:
        files.load()
    assert exc_info.value.where == f"{files.own}:1:9"


def test_a_fault_names_what_is_wrong_in_the_base_and_beside_the_file(files):
    files.write("portico/models.json", '{ "providers": 1 }')
    assert over(files, "{ auth: 2 }").fault.message.startswith("2 errors in the base and models.json:\n")


@pytest.mark.requirement("S6")
def test_an_edit_neither_changes_the_base_nor_copies_from_it(files):
    base = files.write_base(BUSY)
    own = files.write_own("{\n  base: '../openclaw/openclaw.json', // OpenClaw's\n}\n")
    assert files.load().file.edit(lambda document: document.set(("agents", "defaults", "model", "primary"), "p/m"))
    assert base.read_text(encoding="utf-8") == BUSY
    assert own.read_text(encoding="utf-8").startswith("{\n  base: '../openclaw/openclaw.json', // OpenClaw's\n  agents: {")
    assert "claude" not in own.read_text(encoding="utf-8")
    assert files.load().config.agents.primary == "p/m"


def test_a_default_in_the_short_form_stays_under_fallbacks_in_the_long_one(files):
    files.write_base('{ agents: { defaults: { model: "a/x" } } }')
    files.write_own('{ base: "../openclaw/openclaw.json", agents: { defaults: { model: { fallbacks: ["b/y"] } } } }')

    loaded = files.load()

    assert (loaded.config.agents.primary, loaded.config.agents.fallbacks) == ("a/x", ("b/y",))
    assert loaded.effective.origin(("agents", "defaults", "model", "primary")).layer == "base"
