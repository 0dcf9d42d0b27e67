"""A provider in the config only: the URLs and headers of its requests, from `ask` and through the gateway."""

from __future__ import annotations

import json
import socket

import pytest

from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, gateway
from tests.gateway.providers import STREAMS, WHOLE, answered, provider, provider_beside
from tests.minimax_session import in_this_process

KEY, TEAM = "sk-from-the-environment", "team-of-the-test"
ENV = {"ACME_API_KEY": KEY, "ACME_TEAM_NAME": TEAM, "ACME_HOST": "127.0.0.1"}
MESSAGE = {"type": "message", "content": [{"type": "text", "text": "yes"}], "usage": {"input_tokens": 1, "output_tokens": 1}}
BODIES = {CHAT: WHOLE, MESSAGES: MESSAGE, RESPONSES: {"object": "response", "output": []}}

HTTP, ANTHROPIC, RESPONSES_API = "openai-completions", "anthropic-messages", "openai-responses"
# The config of a provider; the path of its model's protocol; the path and headers that must arrive.
E153 = {
    "a name of the local network": ({"baseUrl": "http://models.local:{port}/v1"}, CHAT, CHAT, {}),
    "one label": ({"baseUrl": "http://nas:{port}/v1"}, CHAT, CHAT, {}),
    "a key": ({"baseUrl": "http://models.local:{port}/v1", "apiKey": "sk-lan"}, CHAT, CHAT, {"authorization": ["Bearer sk-lan"]}),
    "no key": ({"baseUrl": "http://models.local:{port}/v1", "apiKey": None}, CHAT, CHAT, {"authorization": []}),
}
E155 = {
    "a variable's name": ({"apiKey": "ACME_API_KEY"}, CHAT, CHAT, {"authorization": [f"Bearer {KEY}"]}),
    "a plain word": ({"apiKey": "lmstudio"}, CHAT, CHAT, {"authorization": ["Bearer lmstudio"]}),
    "capitals without an underscore": ({"apiKey": "OLLAMA"}, CHAT, CHAT, {"authorization": ["Bearer OLLAMA"]}),
    "a header that names a variable": ({"headers": {"X-Team": "ACME_TEAM_NAME"}}, CHAT, CHAT, {"x-team": [TEAM]}),
    "a header that refers to one": ({"headers": {"X-Team": "a ${ACME_TEAM_NAME}"}}, CHAT, CHAT, {"x-team": [f"a {TEAM}"]}),
    "a header's own word": ({"headers": {"X-Team": "UNSET_WORD"}}, CHAT, CHAT, {"x-team": ["UNSET_WORD"]}),
    "a base URL that refers to one": ({"baseUrl": "http://${ACME_HOST}:{port}/v1"}, CHAT, CHAT, {}),
}
E156 = {
    "a model's own protocol": ({"models": [{"id": "model", "api": ANTHROPIC}]}, MESSAGES, MESSAGES, {"x-api-key": ["sk-acme"]}),
    "the protocol of models alone": ({"api": None, "models": [{"id": "model", "api": RESPONSES_API}]}, RESPONSES, RESPONSES, {}),
    "one model of a provider for OpenClaw": (
        {"api": "google-generative-ai", "models": [{"id": "other"}, {"id": "model", "api": HTTP}]},
        CHAT,
        CHAT,
        {},
    ),
    "a model's headers over the provider's": (
        {"headers": {"X-Team": "all", "X-Org": "o"}, "models": [{"id": "model", "headers": {"x-team": "one"}}]},
        CHAT,
        CHAT,
        {"x-team": ["one"], "x-org": ["o"]},
    ),
    "a header in the place of the client's": ({"headers": {"User-Agent": "acme/1"}}, CHAT, CHAT, {"user-agent": ["acme/1"]}),
    "the key in the place of a header": ({"headers": {"authorization": "x"}}, CHAT, CHAT, {"authorization": ["Bearer sk-acme"]}),
    "Anthropic's own header": ({"api": ANTHROPIC}, MESSAGES, MESSAGES, {"x-api-key": ["sk-acme"], "authorization": []}),
    "authHeader": (
        {"api": ANTHROPIC, "authHeader": True},
        MESSAGES,
        MESSAGES,
        {"authorization": ["Bearer sk-acme"], "x-api-key": []},
    ),
    "authHeader false to OpenAI's": ({"authHeader": False}, CHAT, CHAT, {"authorization": ["Bearer sk-acme"], "x-api-key": []}),
    "a length that is not the body's": ({"headers": {"Content-Length": "1"}}, CHAT, CHAT, {}),
}
E158 = {
    "capitals in the scheme": ({"baseUrl": "HTTP://127.0.0.1:{port}/v1"}, CHAT, CHAT, {}),
    "blanks around": ({"baseUrl": "  http://127.0.0.1:{port}/v1/\t"}, CHAT, CHAT, {}),
    "Anthropic's with its version": ({"api": ANTHROPIC, "baseUrl": "http://127.0.0.1:{port}/v1"}, MESSAGES, MESSAGES, {}),
    "Anthropic's without": ({"api": ANTHROPIC, "baseUrl": "http://127.0.0.1:{port}/a"}, MESSAGES, f"/a{MESSAGES}", {}),
}
CASES = [
    pytest.param(*case, id=name, marks=mark)
    for mark, cases in (
        (pytest.mark.requirement("E153"), E153),
        (pytest.mark.requirement("E155"), E155),
        (pytest.mark.requirement("E156"), E156),
        (pytest.mark.requirement("E158"), E158),
    )
    for name, case in cases.items()
]


@pytest.fixture(autouse=True)
def lan(monkeypatch):
    """A local network in which each host is this machine."""
    real = socket.getaddrinfo
    hosts = {"models.local", "nas"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **more: real("127.0.0.1" if host in hosts else host, *a, **more))


def write(paths, port, block, more=None):
    usual = {"baseUrl": "http://127.0.0.1:{port}/v1", "api": HTTP, "apiKey": "sk-acme", "models": [{"id": "model"}]}
    acme = {key: value for key, value in {**usual, **block}.items() if value is not None}
    acme["baseUrl"] = acme["baseUrl"].replace("{port}", str(port))
    config = {"models": {"providers": {"acme": acme}}, "agents": {"defaults": {"model": "acme/model"}}, **(more or {})}
    paths.config.parent.mkdir(parents=True, exist_ok=True)
    paths.config.write_text(json.dumps(config), encoding="utf-8")


def sent(request, wanted):
    """Return the values of the wanted headers in all requests to the provider."""
    return {name: [value for key, value in request.headers if key.lower() == name] for name in wanted}


@pytest.mark.parametrize(("block", "path", "arrives_at", "headers"), CASES)
def test_ask_sends_what_the_config_says(run_portico, block, path, arrives_at, headers):
    with provider_beside(STREAMS[path]) as acme:
        write(run_portico.paths, acme.port, block)
        result = in_this_process(("ask", "Hello"), run_portico.environment(ENV))

    assert (result.returncode, result.stdout.strip()) == (0, "yes"), result.stderr
    (request,) = acme.requests
    assert (request.path, sent(request, headers)) == (arrives_at, headers)


@pytest.mark.parametrize(("block", "path", "arrives_at", "headers"), CASES)
async def test_the_gateway_sends_what_the_config_says(paths, block, path, arrives_at, headers):
    async with provider(answered(BODIES[path])) as acme:
        write(paths, acme.port, block)
        async with gateway(paths, env=ENV) as server:
            status, answer, _ = await server.json(path, {"messages": []})

    assert (status, answer) == (200, BODIES[path])
    (request,) = acme.requests
    assert (request.path, sent(request, headers)) == (arrives_at, headers)
    assert request.json() == {"model": "model", "messages": []}


# The config, the id of the error, and texts of its lines.
REFUSED = [
    pytest.param({"apiKey": "ACME_API_KEY"}, "key-not-set", ("ACME_API_KEY", "config set env.ACME_API_KEY -"), id="E155"),
    pytest.param({"headers": {"X-Team": "${ACME_TEAM}"}}, "variable-unset", ("ACME_TEAM", "acme.headers.X-Team"), id="header"),
    pytest.param({"baseUrl": "http://${ACME_HOST}:1/v1"}, "variable-unset", ("ACME_HOST", "acme.baseUrl"), id="base URL"),
    pytest.param(
        {"baseUrl": "http://127.0.0.1:{port}/v1/chat/completions"},
        "base-url-refused",
        ("without `/chat/completions`",),
        id="E158",
    ),
    pytest.param({"baseUrl": "http://127.0.0.1:{port}/v1/responses"}, "base-url-refused", ("/responses",), id="responses"),
    pytest.param(
        {"api": ANTHROPIC, "baseUrl": "http://127.0.0.1:{port}/anthropic/v1/messages"},
        "base-url-refused",
        ("without `/v1/messages`",),
        id="messages",
    ),
    pytest.param({"baseUrl": "http://acme.example:{port}/v1"}, "base-url-refused", ("https",), id="public plain http"),
]


@pytest.mark.requirement("E155")
@pytest.mark.requirement("E158")
@pytest.mark.parametrize(("block", "id", "words"), REFUSED)
def test_what_cannot_be_right_is_not_sent_and_ask_says_what_to_write(run_portico, block, id, words):
    with provider_beside(STREAMS[CHAT]) as acme:
        write(run_portico.paths, acme.port, block)
        result = in_this_process(("--json", "ask", "Hello"), run_portico.environment())

    assert (json.loads(result.stdout)["error"]["id"], acme.requests) == (id, [])
    assert all(word in result.stdout for word in words), result.stdout


@pytest.mark.requirement("E155")
@pytest.mark.requirement("E158")
@pytest.mark.parametrize(("block", "id", "words"), REFUSED)
async def test_what_cannot_be_right_is_not_sent_and_the_gateway_says_what_to_write(paths, block, id, words):
    async with provider(answered(WHOLE)) as acme:
        write(paths, acme.port, block)
        async with gateway(paths) as server:
            status, answer, _ = await server.json(CHAT, {"messages": []})

    assert (status >= 400, acme.requests) == (True, [])
    assert answer["error"]["code"] == id
    assert all(word in answer["error"]["message"] for word in words), answer


@pytest.mark.requirement("E155")
@pytest.mark.parametrize("place", ["dotenv", "config"])
def test_a_variable_may_stand_beside_or_in_the_config(run_portico, place):
    with provider_beside(STREAMS[CHAT]) as acme:
        more = {"env": {"ACME_API_KEY": KEY}} if place == "config" else {}
        write(run_portico.paths, acme.port, {"apiKey": "ACME_API_KEY"}, more)
        if place == "dotenv":
            note = run_portico.paths.config.parent / ".env"
            note.write_text(f"ACME_API_KEY={KEY}\n", encoding="utf-8")
            note.chmod(0o600)
        result = in_this_process(("ask", "Hello"), run_portico.environment())

    assert (result.returncode, result.stderr) == (0, "")
    assert acme.requests[0].header("authorization") == f"Bearer {KEY}"


@pytest.mark.requirement("E156")
@pytest.mark.parametrize("id", ["minimax", "my-minimax"])
def test_minimax_gets_its_key_as_bearer_whatever_the_provider_is_called(paths, id):
    from portico.app import App

    block = {
        "baseUrl": "https://api.minimax.io/anthropic",
        "api": ANTHROPIC,
        "apiKey": "sk-x",
        "models": [{"id": "MiniMax-M2.1"}],
    }
    paths.config.parent.mkdir(parents=True, exist_ok=True)
    paths.config.write_text(json.dumps({"models": {"providers": {id: block}}}), encoding="utf-8")

    assert App().models().load(f"{id}/MiniMax-M2.1").auth_header == "bearer"


@pytest.mark.requirement("E153")
def test_plain_http_in_the_local_network_is_warned_of_by_validate_and_doctor_and_by_no_other_command(run_portico):
    write(run_portico.paths, 1, {"baseUrl": "http://models.local:1/v1"})
    env = run_portico.environment()

    results = {
        words: in_this_process(words, env)
        for words in [("config", "validate"), ("doctor",), ("models", "list"), ("models", "status")]
    }

    texts = [result.stdout + result.stderr for result in results.values()]
    assert [text.count("plain http") for text in texts] == [1, 1, 0, 0], texts


@pytest.mark.requirement("E158")
@pytest.mark.parametrize("url", ["ftp://acme.example/v1", "https://acme.example/v1/chat/completions", "http://acme.example/v1"])
def test_a_base_url_that_cannot_be_right_stops_no_command_that_does_without_it(run_portico, url):
    write(run_portico.paths, 1, {"baseUrl": url})
    env = run_portico.environment()

    listed, status = in_this_process(("models", "list", "--plain"), env), in_this_process(("auth", "list"), env)

    assert (listed.returncode, listed.stdout) == (0, "acme/model\n"), listed.stderr
    assert status.returncode == 0, status.stderr
    assert "`models.providers.acme.baseUrl`" in listed.stderr
    assert in_this_process(("config", "validate"), env).returncode == 9


@pytest.mark.requirement("E158")
@pytest.mark.parametrize(
    ("id", "url", "api", "meant"),
    [
        ("minimax", "https://api.minimax.io/v1", ANTHROPIC, "https://api.minimax.io/anthropic"),
        ("minimax", "https://api.minimax.io", None, "https://api.minimax.io/anthropic"),
        ("my-minimax", "https://api.minimaxi.com/v1/", ANTHROPIC, "https://api.minimaxi.com/anthropic"),
        ("my-minimax", "https://api.minimaxi.com/anthropic", HTTP, "https://api.minimaxi.com/v1"),
    ],
)
def test_the_base_of_another_protocol_is_found_by_validate_and_not_asked(run_portico, id, url, api, meant):
    block = {"baseUrl": url, "apiKey": "sk-x", "models": [{"id": "MiniMax-M2.1"}], **({"api": api} if api else {})}
    run_portico.paths.config.parent.mkdir(parents=True, exist_ok=True)
    run_portico.paths.config.write_text(json.dumps({"models": {"providers": {id: block}}}), encoding="utf-8")
    env = run_portico.environment()

    validated = in_this_process(("config", "validate"), env)
    result = in_this_process(("--json", "ask", "--model", f"{id}/MiniMax-M2.1", "Hello"), env)

    assert (validated.returncode, "portico.json5:1:" in validated.stdout) == (9, True), validated
    assert f"`models.providers.{id}.baseUrl` is not where that provider serves" in validated.stdout
    assert f"(write {meant})" in validated.stdout
    error = json.loads(result.stdout)["error"]
    assert (error["id"], error["hint"]) == ("base-url-refused", f"portico config set models.providers.{id}.baseUrl {meant}")


@pytest.mark.requirement("E158")
def test_a_variable_where_a_url_has_an_address_is_no_fault_of_the_program(run_portico):
    block = {"baseUrl": "http://[${ACME_HOST}]:8080/v1", "api": HTTP, "models": [{"id": "model"}]}
    run_portico.paths.config.parent.mkdir(parents=True, exist_ok=True)
    run_portico.paths.config.write_text(json.dumps({"models": {"providers": {"acme": block}}}), encoding="utf-8")
    validated = in_this_process(("config", "validate"), run_portico.environment())
    assert (validated.returncode, validated.stderr) == (0, "")


@pytest.mark.requirement("E158")
def test_a_base_url_may_be_that_of_the_protocol_which_its_model_has_of_its_own(run_portico):
    block = {"baseUrl": "https://api.minimax.io/v1", "apiKey": "sk-x", "models": [{"id": "MiniMax-M3", "api": HTTP}]}
    run_portico.paths.config.parent.mkdir(parents=True, exist_ok=True)
    run_portico.paths.config.write_text(json.dumps({"models": {"providers": {"minimax": block}}}), encoding="utf-8")
    env = {**run_portico.environment(), "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}

    assert in_this_process(("config", "validate"), env).returncode == 0
    result = (("--json", "ask", "--model", f"minimax/{id}", "Hello") for id in ("MiniMax-M3", "MiniMax-M2.5"))
    own, shared = (json.loads(in_this_process(words, env).stdout)["error"]["id"] for words in result)
    assert (own, shared) == ("network", "base-url-refused"), "the model's protocol is served there, the provider's is not"


@pytest.mark.requirement("E158")
@pytest.mark.parametrize("first", ["api", "baseUrl"])
def test_the_protocol_and_the_base_of_a_provider_can_be_changed_one_after_the_other(run_portico, first):
    block = {"baseUrl": "https://api.minimax.io/anthropic", "api": ANTHROPIC, "apiKey": "sk-x", "models": [{"id": "MiniMax-M3"}]}
    run_portico.paths.config.parent.mkdir(parents=True, exist_ok=True)
    run_portico.paths.config.write_text(json.dumps({"models": {"providers": {"minimax": block}}}), encoding="utf-8")
    changes = {"api": HTTP, "baseUrl": "https://api.minimax.io/v1"}
    env = run_portico.environment()

    halfway, unrelated, last = (
        in_this_process(("config", "set", key, value), env)
        for key, value in (
            (f"models.providers.minimax.{first}", changes.pop(first)),
            ("gateway.port", "18555"),
            *((f"models.providers.minimax.{key}", value) for key, value in changes.items()),
        )
    )

    assert (halfway.returncode, unrelated.returncode, last.returncode) == (0, 0, 0)
    assert "`models.providers.minimax.baseUrl` is not where that provider serves" in halfway.stderr
    assert "is not where" not in unrelated.stderr + last.stderr
    assert in_this_process(("config", "validate"), env).returncode == 0


@pytest.mark.requirement("E158")
@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://api.minimax.io/anthropic/v1", ANTHROPIC),
        ("https://api.minimax.io/v1", RESPONSES_API),
        ("https://api.minimax.io", HTTP),
        ("https://api.minimax.io/of-my-own", ANTHROPIC),
        ("https://api.anthropic.com/v1", ANTHROPIC),
        ("https://proxy.example/v1", ANTHROPIC),
    ],
)
def test_a_base_that_may_be_right_is_left_alone(run_portico, url, api):
    block = {"baseUrl": url, "api": api, "apiKey": "sk-x", "models": [{"id": "model"}]}
    run_portico.paths.config.parent.mkdir(parents=True, exist_ok=True)
    run_portico.paths.config.write_text(json.dumps({"models": {"providers": {"acme": block}}}), encoding="utf-8")

    assert in_this_process(("config", "validate"), run_portico.environment()).returncode == 0


@pytest.mark.requirement("E153")
async def test_the_client_for_model_apis_goes_by_the_rule_of_the_config_check():
    from portico.errors import ConfigError
    from portico.net.client import HttpClient

    async with HttpClient() as http:
        for host in ("10.0.0.7", "192.168.77.5", "172.16.0.1", "[fd00::7]", "models.local", "127.0.0.1"):
            await http._route(f"http://{host}:1234/v1/models")
        for host in ("203.0.113.7", "acme.example", "169.254.169.254", "172.32.0.1"):
            with pytest.raises(ConfigError) as raised:
                await http._route(f"http://{host}:1234/v1/models")
            assert raised.value.id == "endpoint-refused"
