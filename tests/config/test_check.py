"""The check of a config: its values, and all problems in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.config.schema import AgentDefaults, AuthProfile, Config, CostConfig, ModelConfig, ModelSettings, PluginEntry
from portico.interfaces.plugins import ModelCost
from portico.secret import Secret

DATA = Path(__file__).parent / "data"
PAGES_BLOCKS = Path(__file__).parents[1] / "e2e" / "page" / "blocks"
API_KINDS = '"anthropic-messages" or "openai-completions" or "openai-responses"'
EXAMPLES = [*sorted(PAGES_BLOCKS.glob("*.json5")), *sorted(DATA.iterdir())]


def checked(text: str) -> tuple[Config, list[str]]:
    config, problems = check(Document.parse(text, name="f"))
    return config, [f"{problem.level} {problem}" for problem in problems]


def example(name: str) -> Config:
    (path,) = (each for each in EXAMPLES if each.name == name)
    config, problems = check(Document.parse(path.read_text(encoding="utf-8"), name=name))
    assert not problems
    return config


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_provider_pages_snippets_and_openclaws_own_file_load_without_a_word(path):
    assert example(path.name) != Config()


def test_the_api_key_snippet_of_the_page_is_read_as_documented():
    config = example("2-api-key.json5")
    provider = config.models.providers["minimax"]
    (model,) = provider.models
    assert config.env == {"MINIMAX_API_KEY": "sk-..."}
    assert config.models.mode == "merge"
    assert (provider.base_url, provider.api) == ("https://api.minimax.io/anthropic", "anthropic-messages")
    assert provider.api_key == Secret("${MINIMAX_API_KEY}")
    assert (model.id, model.name, model.context_window, model.max_tokens) == ("MiniMax-M2.1", "MiniMax M2.1", 200000, 8192)
    assert model.cost == CostConfig(15, 60, 2, 10)


def test_the_fallback_snippet_of_the_page_is_read_as_documented():
    assert example("3-fallback.json5").agents == AgentDefaults(
        primary="anthropic/claude-opus-4-6",
        fallbacks=("minimax/MiniMax-M2.1",),
        models={"anthropic/claude-opus-4-6": ModelSettings("opus"), "minimax/MiniMax-M2.1": ModelSettings("minimax")},
    )


def test_openclaws_own_file_is_read_as_openclaw_reads_it():
    config = example("openclaw-after-portal-sign-in.json")
    assert config.plugins.entries == {"minimax-portal-auth": PluginEntry(enabled=True)}
    assert config.auth.profiles == {"minimax-portal:default": AuthProfile("minimax-portal", "oauth")}


def test_an_empty_config_has_the_default_values():
    config, problems = checked("{}")
    assert config == Config()
    assert (config.gateway.port, config.plugins.enabled, config.plugins.allow, problems) == (18444, True, None, [])


def test_every_key_that_portico_uses_is_read():
    config, problems = checked("""{
        env: { A: "1", EMPTY: "", vars: { B: "2" }, shellEnv: { enabled: true } },
        auth: { order: { p: ["p:a", "p:b"] }, store: "file", cooldowns: {} },
        models: { mode: "replace", providers: { p: { headers: { "X-A": "b" }, authHeader: false }, g: { api: "github-copilot" } } },
        agents: { list: [], defaults: { model: "p/m" } },
        plugins: { enabled: false, allow: ["a"], deny: ["d"], load: { paths: ["~/x"] }, entries: { a: { config: { k: [1] } } } },
        gateway: { port: 1.8e4, mode: "local", models: { "claude-opus-4-6": "minimax/MiniMax-M2.1" } },
        wizard: { anything: 1 }, base: "~/.openclaw/openclaw.json",
    }""")
    assert problems == []
    assert config.env == {"B": "2", "A": "1"}
    assert (config.auth.order, config.auth.store) == ({"p": ("p:a", "p:b")}, "file")
    assert list(config.models.providers) == ["p"]
    assert (config.models.providers["p"].headers, config.models.providers["p"].auth_header) == ({"X-A": "b"}, False)
    assert config.agents.primary == "p/m"
    assert (config.plugins.enabled, config.plugins.allow, config.plugins.deny) == (False, ("a",), ("d",))
    assert (config.plugins.load_paths, config.plugins.entries["a"].config) == (("~/x",), {"k": [1]})
    assert (config.gateway.port, config.gateway.models) == (18000, {"claude-opus-4-6": "minimax/MiniMax-M2.1"})
    assert config.base == "~/.openclaw/openclaw.json"


def test_a_missing_key_of_a_model_is_none():
    config, problems = checked("""{ models: { providers: { p: { models: [
        { id: "bare" },
        { id: "full", name: "F", reasoning: false, input: ["text"], contextWindow: 9, maxTokens: 8,
          cost: { output: 2 }, headers: { "X-A": "b" } },
    ] } } } }""")
    assert problems == []
    bare, full = config.models.providers["p"].models
    assert bare == ModelConfig("bare")
    assert full == ModelConfig("full", "F", False, ("text",), 9, 8, CostConfig(output=2), {"X-A": "b"})
    assert (bare.reasoning, bare.input, bare.cost, bare.context_window) == (None, None, None, None)
    assert full.cost.over(ModelCost(1, 9, 0.5)) == ModelCost(1, 2, 0.5, 0)
    assert full.cost.over(None) == ModelCost(0, 2)


def test_every_problem_is_named_in_one_run_with_its_place_and_what_was_meant():
    _, problems = checked(
        "{\n"
        '  models: { mode: "marge", providers: { m: {\n'
        '    baseURL: "x", baseUrl: "ftp://x", api: "anthropic-message", models: [{ id: 3 }, 4, {}] } } },\n'
        "  env: { A: 1 }, gateway: { port: 70000, spare: 1 },\n"
        "  plugin: {}, agents: { defaults: { model: { fallbacks: [1] } } },\n"
        "  auth: null, gateway: { port: true },\n"
        "}"
    )
    assert problems == [
        'error f:2:19: `models.mode` must be "merge" or "replace" (did you mean `merge`?)',
        "error f:3:5: `models.providers.m.baseURL` is not a key that Portico knows (did you mean `baseUrl`?)",
        "error f:3:28: `models.providers.m.baseUrl` cannot be used: it is not an https URL",
        "error f:3:44: `models.providers.m.api` must be " + API_KINDS + " (did you mean `anthropic-messages`?)",
        "error f:3:80: `models.providers.m.models[0].id` must be a string that is not empty",
        "error f:3:85: `models.providers.m.models[1]` must be an object",
        "error f:3:88: `models.providers.m.models[2]` needs `id`",
        "error f:4:13: `env.A` must be a string that is not empty",
        "warning f:4:18: `gateway` is written twice; the last value is used",
        "error f:5:3: `plugin` is not a key that Portico knows (did you mean `plugins`?)",
        "error f:5:58: `agents.defaults.model.fallbacks[0]` must be a string that is not empty",
        "error f:6:9: `auth` must not be null (leave the key out)",
        "error f:6:32: `gateway.port` must be 1-65535",
    ]


def test_an_unknown_key_that_resembles_nothing_is_a_warning():
    _, problems = checked("{ plugins: { entries: { x: { colour: 1 } } }, unheardOf: { a: 1 } }")
    assert problems == [
        "warning f:1:30: `plugins.entries.x.colour` is not a key that Portico knows; it has no effect",
        "warning f:1:47: `unheardOf` is not a key that Portico knows; it has no effect",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "error f:1:1: the config must be an object"),
        ("{ models: { providers: [] } }", "error f:1:24: `models.providers` must be an object"),
        (
            "{ models: { providers: { p: { models: {} } } } }",
            "error f:1:39: `models.providers.p.models` must be an array of objects",
        ),
        ("{ plugins: { allow: 'x' } }", "error f:1:21: `plugins.allow` must be an array of strings"),
        ("{ plugins: { enabled: 1 } }", "error f:1:23: `plugins.enabled` must be true or false"),
        (
            "{ models: { providers: { p: { models: [{ id: 'm', cost: { input: -1 } }] } } } }",
            "error f:1:66: `models.providers.p.models[0].cost.input` must be a number that is not negative",
        ),
        (
            "{ models: { providers: { p: { models: [{ id: 'm', maxTokens: Infinity }] } } } }",
            "error f:1:62: `models.providers.p.models[0].maxTokens` must be a whole number of 1 or more",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error(text, problem):
    assert checked(text)[1] == [problem]


def test_no_secret_of_a_configuration_is_in_its_repr():
    config, _ = checked(
        "{ env: { K: 'sk-env' }, models: { providers: { p: { apiKey: 'sk-key', headers: { A: 'sk-head' } } } },"
        " plugins: { entries: { x: { config: { secret: 'sk-plugin' } } } } }"
    )
    assert "sk-" not in repr(config)
