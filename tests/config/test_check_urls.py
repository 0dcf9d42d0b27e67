"""The URLs that a config may have: base URLs of providers, and endpoints of the user's own portal."""

from __future__ import annotations

import json

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.config.sources import read_stack
from portico.paths import Paths
from portico.plugins.manager import entry_problems
from portico.urls import why_not_a_base_url

ACCEPTED = (
    "https://api.minimax.io/anthropic",
    "https://api.minimax.io:8443/v1/",
    "https://xn--mller-kva.example/v1",
    "https://192.0.2.1/v1",
    "https://[2001:db8::1]:443/v1",
    "http://127.0.0.1:1234/v1",
    "http://localhost:1234/v1",
    "http://[::1]:1234/v1",
)
NEARBY = ("http://192.168.1.5:1234/v1", "http://10.0.0.7/v1", "http://lmstudio:1234/v1", "http://nas.local:1234/v1")
# What is written, and what to write instead of its end.
ENDPOINTS = {
    "https://api.acme.example/v1/chat/completions": "/chat/completions",
    "https://api.acme.example/v1/chat/completions/": "/chat/completions/",
    "https://api.acme.example/v1/completions": "/completions",
    "https://api.acme.example/v1/responses": "/responses",
    "https://api.acme.example/v1/messages": "/v1/messages",
    "https://api.minimax.io/anthropic/v1/messages": "/v1/messages",
    "https://api.acme.example/messages": "/messages",
}
REFUSED = {
    "user": "https://user@api.minimax.io/v1",
    "user and password": "https://user:hunter2@api.minimax.io/v1",
    "user that looks like the host": "http://127.0.0.1@evil.example/v1",
    "port that looks like a password": "http://localhost:80@evil.example/v1",
    "fragment": "https://api.minimax.io/v1#x",
    "query": "https://api.minimax.io/v1?x=1",
    "foreign letters": "https://m\u00fcller.example/v1",
    "look-alike": "https://\u0430pi.minimax.io/v1",
    "final dot": "https://api.minimax.io./v1",
    "plain http": "http://api.minimax.io/v1",
    "plain http, false loopback": "http://127.evil.com/v1",
    "plain http, false localhost": "http://localhost.evil.com/v1",
    "octal": "http://0177.0.0.1/v1",
    "octal over https": "https://0177.0.0.1/v1",
    "hexadecimal": "https://0x7f.0x1/v1",
    "one number": "https://2130706433/v1",
    "two numbers": "https://127.1/v1",
    "zone": "http://[fe80::1%25eth0]/v1",
    "link-local": "http://169.254.169.254/latest",
    "port 0": "https://api.minimax.io:0/v1",
    "port 65536": "https://api.minimax.io:65536/v1",
    "port in words": "https://api.minimax.io:https/v1",
    "no host": "https:///v1",
    "no scheme": "api.minimax.io/v1",
    "other scheme": "ftp://api.minimax.io/v1",
    "script": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "blank": "https://api.minimax.io/v 1",
    "line end": "https://api.minimax.io/v\n1",
    "backslash": "https://api.minimax.io\\@evil.example/",
}
PORTALS_REFUSE = {name: url for name, url in REFUSED.items() if name != "query"} | {url: url for url in NEARBY}
PORTAL_KEYS = ("issuer", "authorizationEndpoint", "deviceAuthorizationEndpoint", "tokenEndpoint", "revocationEndpoint", "apiBase")


def problems_of(config: object) -> list[tuple[str, str]]:
    text = json.dumps(config, ensure_ascii=False)
    return [(problem.level, str(problem)) for problem in check(Document.parse(text, name="f"))[1]]


def provider(url: str) -> dict[str, object]:
    return {"models": {"providers": {"p": {"baseUrl": url}}}}


@pytest.mark.parametrize("url", [*ACCEPTED, "${P_URL}", "https://${REGION}.example/v1"])
def test_a_plain_base_url_is_taken_and_one_with_a_variable_waits_for_its_value(url):
    assert problems_of(provider(url)) == []


@pytest.mark.parametrize("url", NEARBY)
def test_plain_http_in_the_local_network_is_taken_with_a_warning(url):
    ((level, message),) = problems_of(provider(url))
    assert (level, "plain http: other users of that network can read the key" in message) == ("warning", True)


@pytest.mark.requirement("E158")
@pytest.mark.parametrize(("url", "end"), ENDPOINTS.items())
def test_a_base_url_that_is_a_whole_endpoint_is_refused_with_what_to_leave_out(url, end):
    ((level, message),) = problems_of(provider(url))
    assert level == "error"
    assert message == (
        "f:1:44: `models.providers.p.baseUrl` cannot be used: it ends with the path of one endpoint, which Portico adds itself "
        f"(write it without `{end}`)"
    )


@pytest.mark.requirement("E158")
@pytest.mark.parametrize(
    "url", [" https://api.acme.example/v1", "https://api.acme.example/v1\n", "\thttps://api.acme.example/v1  "]
)
def test_blanks_around_a_base_url_are_left_out_with_a_warning(url):
    ((level, message),) = problems_of(provider(url))
    assert (level, "`models.providers.p.baseUrl` has spaces around it" in message) == ("warning", True)
    config, _ = check(Document.parse(json.dumps(provider(url)), name="f"))
    assert config.models.providers["p"].base_url == "https://api.acme.example/v1"


@pytest.mark.requirement("E158")
@pytest.mark.parametrize("url", ["HTTPS://api.acme.example/v1", "Https://api.acme.example/v1"])
def test_the_scheme_of_a_base_url_may_be_in_capitals(url):
    assert problems_of(provider(url)) == []


@pytest.mark.requirement("E156")
@pytest.mark.parametrize(
    ("headers", "level", "words"),
    [
        ({"X Team": "a"}, "error", "is not a valid header name"),
        ({"X-Team": "a\r\nX-More: b"}, "error", "contains a line break"),
        ({"Transfer-Encoding": "chunked"}, "warning", "is a header that Portico sets itself; it has no effect"),
    ],
)
@pytest.mark.parametrize("of_model", [False, True])
def test_a_header_that_cannot_be_sent_is_found(headers, level, words, of_model):
    block = {"models": [{"id": "m", "headers": headers}]} if of_model else {"headers": headers}
    ((found_level, message),) = problems_of({"models": {"providers": {"p": block}}})
    assert (found_level, words in message) == (level, True), message


@pytest.mark.requirement("E76")
@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
def test_any_other_base_url_is_refused_with_its_place_and_without_what_is_in_it(url):
    ((level, message),) = problems_of(provider(url))
    assert level == "error"
    assert message.startswith("f:1:44: `models.providers.p.baseUrl` cannot be used: ")
    assert url not in message
    assert "hunter2" not in message
    assert why_not_a_base_url(url)


@pytest.mark.requirement("E76")
@pytest.mark.parametrize("key", PORTAL_KEYS)
@pytest.mark.parametrize("url", PORTALS_REFUSE.values(), ids=PORTALS_REFUSE)
def test_the_url_of_an_own_portal_is_checked_too_and_may_be_http_only_on_this_machine(tmp_path, key, url):
    (problem,) = _portal_problems(tmp_path, key, url)
    assert (problem.level, problem.plugin) == ("error", "minimax-portal-auth")
    assert f"portals.global.{key}` cannot be used: " in problem.message
    assert "hunter2" not in problem.message


@pytest.mark.parametrize("url", ACCEPTED)
def test_a_plain_url_of_a_portal_is_taken(tmp_path, url):
    assert [*_portal_problems(tmp_path, "tokenEndpoint", url)] == []


def _portal_problems(tmp_path, key, url):
    entry = {"config": {"portals": {"global": {key: url}}}}
    document = Document.parse(json.dumps({"plugins": {"entries": {"minimax-portal-auth": entry}}}), name="f")
    paths = Paths(config=tmp_path / "f", state=tmp_path, state_id="t")
    return entry_problems(read_stack(document).effective, check(document)[0].plugins, paths=paths, env={})
