from __future__ import annotations

import json
from pathlib import Path

import pytest

from minimax_portal_auth.overrides import configured_portals
from minimax_portal_auth.plugin import SPEC, MinimaxPortal
from minimax_portal_auth.portals import MCODE_CLIENT, MMX_CLIENT, OPENCLAW_CLIENT, PORTALS
from portico.plugin_api import ConfigError, OAuthError, Redirect, Secret, TokenSet


def server(config: dict | None = None, region: str = "global"):
    return MinimaxPortal({"portals": {region: config}} if config else {}).server(region)


def accept(resource_url: str | None, region: str = "global", config: dict | None = None) -> str:
    token_set = TokenSet(access=Secret("t"), refresh=None, expires_at=None, resource_url=resource_url)
    method = MinimaxPortal({"portals": {region: config}} if config else {})
    return method.accept(region, token_set).api_base


@pytest.mark.parametrize(
    ("region", "account", "api"),
    [("global", "account.minimax.io", "api.minimax.io"), ("cn", "account.minimaxi.com", "api.minimaxi.com")],
)
def test_each_portal_names_its_own_hosts_and_openclaws_public_client(region: str, account: str, api: str) -> None:
    described = server(region=region)
    assert described.issuer == f"https://{account}"
    assert described.device_authorization_endpoint == f"https://{account}/oauth2/device/code"
    assert described.token_endpoint == f"https://{account}/oauth2/token"
    assert described.client_id == OPENCLAW_CLIENT
    assert described.scope == "group_id profile model.completion"
    assert described.dialect == "minimax-user-code"
    assert described.redirect is None
    assert described.relocated == {
        f"https://{api}/oauth/code": f"https://{account}/oauth2/device/code",
        f"https://{api}/oauth/token": f"https://{account}/oauth2/token",
    }
    assert SPEC.base_urls[region] == f"https://{api}/anthropic"


def test_the_prompt_shows_the_hosts_that_the_provider_page_names() -> None:
    hints = {region.id: region.hint for region in MinimaxPortal({}).regions}
    assert "api.minimax.io" in hints["global"]
    assert "api.minimaxi.com" in hints["cn"]
    assert [region.profile for region in MinimaxPortal({}).regions] == ["minimax-portal:default", "minimax-portal:cn"]


def test_the_hint_says_whose_client_id_it_is_and_how_to_set_another() -> None:
    method = MinimaxPortal({"portals": {"cn": {"clientId": "my-own"}}})
    assert "OpenClaw" in method.hint("global")
    command = "{prog} config set plugins.entries.minimax-portal-auth.config.portals.global.clientId ID"
    assert f"`{command}`" in method.hint("global")
    assert method.hint("cn") == ""


@pytest.mark.parametrize("region", ["global", "cn"])
def test_another_products_client_brings_its_scope_dialect_and_audience(region: str) -> None:
    cli = server({"clientId": MMX_CLIENT}, region)
    assert (cli.scope, cli.dialect, cli.audience) == ("openid profile coding_plan", "minimax-user-code-8628", None)
    assert cli.issuer == PORTALS[region].server.issuer
    code = server({"clientId": MCODE_CLIENT}, region)
    assert (code.scope, code.dialect, code.audience) == ("agent.default", "minimax-device-code", "agent-backend")
    assert code.issuer == {"global": "https://account.minimax.io", "cn": "https://account.minimax.cn"}[region]


def test_the_config_has_priority_over_a_known_clients_values() -> None:
    described = server({"clientId": MCODE_CLIENT, "scope": "mine", "audience": "me", "dialect": "standard"})
    assert (described.scope, described.audience, described.dialect) == ("mine", "me", "standard")


def test_an_issuer_alone_leaves_the_endpoints_to_discovery() -> None:
    described = server({"issuer": "https://login.example"})
    assert described.issuer == "https://login.example"
    # An issuer is compared exactly (RFC 9207 section 2.4); Auth0's end in a slash.
    assert server({"issuer": "https://login.example/"}).issuer == "https://login.example/"
    assert described.token_endpoint == ""
    assert described.device_authorization_endpoint is described.authorization_endpoint is described.revocation_endpoint is None
    assert described.relocated == {}


def test_every_endpoint_can_be_configured() -> None:
    described = server(
        {
            "issuer": "https://login.example",
            "authorizationEndpoint": "https://login.example/a",
            "deviceAuthorizationEndpoint": "https://login.example/d",
            "tokenEndpoint": "http://127.0.0.1:9/t",
            "revocationEndpoint": "http://localhost:9/r",
            "redirect": {"host": "localhost", "port": 8123, "path": "/cb"},
        }
    )
    assert described.authorization_endpoint == "https://login.example/a"
    assert described.token_endpoint == "http://127.0.0.1:9/t"
    assert described.redirect == Redirect(host="localhost", port=8123, path="/cb")


def test_redirect_true_uses_any_port_and_false_removes_the_redirect() -> None:
    assert server({"issuer": "https://login.example", "redirect": True}).redirect == Redirect(path="/callback")
    assert server({"redirect": False}).redirect is None


def test_the_flow_of_a_region_can_be_configured_alone() -> None:
    method = MinimaxPortal({"portals": {"cn": {"flow": "device"}}})
    assert (method.flow("global"), method.flow("cn")) == ("auto", "device")


@pytest.mark.parametrize(
    ("portals", "path", "says"),
    [
        ({"globl": {}}, "portals.globl", "did you mean `global`"),
        ({"global": {"clientid": "x"}}, "portals.global.clientid", "did you mean `clientId`"),
        ({"global": {"zzz": "x"}}, "portals.global.zzz", "unknown key"),
        ({"global": {"tokenEndpoint": "http://login.example/t"}}, "portals.global.tokenEndpoint", "https"),
        ({"global": {"tokenEndpoint": "http://127.evil.example/t"}}, "portals.global.tokenEndpoint", "https"),
        ({"global": {"issuer": "https://user@login.example"}}, "portals.global.issuer", "user"),
        ({"global": {"apiBase": "https://api.example?x=1"}}, "portals.global.apiBase", "query"),
        ({"global": {"apiBase": "javascript:alert(1)"}}, "portals.global.apiBase", "https"),
        ({"cn": {"clientId": ""}}, "portals.cn.clientId", "text"),
        ({"cn": {"clientId": 7}}, "portals.cn.clientId", "text"),
        ({"cn": {"flow": "carrier-pigeon"}}, "portals.cn.flow", "auto, browser, device"),
        ({"cn": {"redirect": "yes"}}, "portals.cn.redirect", "true, false"),
        ({"cn": {"redirect": True}}, "portals.cn.redirect", "authorizationEndpoint"),
        ({"cn": {"redirect": {"host": "0.0.0.0"}, "issuer": "https://x.example"}}, "redirect.host", "loopback"),
        ({"cn": {"redirect": {"port": 70000}, "issuer": "https://x.example"}}, "redirect.port", "65535"),
        ({"cn": {"redirect": {"path": "cb"}, "issuer": "https://x.example"}}, "redirect.path", "begins"),
        ({"cn": []}, "portals.cn", "object"),
        ([], "portals", "object"),
    ],
)
def test_an_invalid_value_is_named_with_its_path(portals: object, path: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configured_portals({"portals": portals})  # type: ignore[dict-item]
    assert f"{path}: " in raised.value.message
    assert "plugins.entries.minimax-portal-auth.config.portals" in raised.value.message
    assert says in raised.value.message


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        configured_portals({"portals": {"global": {"flow": "x", "scop": "y"}, "cn": {"issuer": "ftp://x"}}})
    assert raised.value.message.count("portals.") == 3


@pytest.mark.parametrize(
    "resource_url",
    [
        None,
        "https://api.minimax.io",
        "https://api.minimax.io/",
        "https://api.minimax.io/v1",
        "https://api.minimax.io/anthropic",
        "https://api.minimax.io/anthropic/v1/",
        "https://API.minimax.io:443/anthropic",
    ],
)
def test_every_form_of_resource_url_gives_the_same_base(resource_url: str | None) -> None:
    assert accept(resource_url) == "https://api.minimax.io/anthropic"


def test_the_renamed_cn_host_is_accepted() -> None:
    assert accept("https://api.minimax.cn/anthropic", "cn") == "https://api.minimax.cn/anthropic"
    assert accept(None, "cn") == "https://api.minimaxi.com/anthropic"


@pytest.mark.parametrize(
    "resource_url",
    [
        "http://api.minimax.io/anthropic",
        "https://api.minimaxi.com/anthropic",
        "https://api.minimax.io.evil.example/anthropic",
        "https://evil.example/api.minimax.io",
        "https://api.minimax.io@evil.example/",
        "https://api.minimax.io:8443/anthropic",
        "https://api.minimax.io\\@evil.example/",
        "//api.minimax.io/anthropic",
        "not a url",
        "https://[::1",
    ],
)
def test_a_resource_url_outside_the_region_is_refused(resource_url: str) -> None:
    with pytest.raises(OAuthError) as raised:
        accept(resource_url)
    assert raised.value.id == "resource-url"
    assert not raised.value.transient


def test_tokens_of_the_users_own_portal_are_sent_only_to_its_api() -> None:
    own = {"apiBase": "http://127.0.0.1:9001/llm"}
    assert accept(None, config=own) == accept("http://127.0.0.1:9001/v1", config=own) == "http://127.0.0.1:9001/llm"
    with pytest.raises(OAuthError):
        accept("https://api.minimax.io/anthropic", config=own)


def test_minimaxs_notice_is_shown() -> None:
    token_set = TokenSet(access=Secret("t"), refresh=None, expires_at=None, notice="Welcome.")
    assert MinimaxPortal({}).accept("global", token_set).notes == ("Welcome.",)


def test_a_token_is_sent_only_to_hosts_of_its_region() -> None:
    assert SPEC.hosts["global"] == {"api.minimax.io", "agent.minimax.io"}
    assert SPEC.hosts["cn"] == {"api.minimaxi.com", "api.minimax.cn", "agent.minimax.cn"}


def test_the_manifest_announces_what_the_plugin_registers() -> None:
    from minimax_portal_auth import plugin
    from minimax_portal_auth.overrides import _KEYS

    manifest = json.loads((Path(plugin.__file__).parent / "portico.plugin.json").read_text())
    assert manifest["module"] == plugin.__name__
    assert manifest["providers"] == [spec.id for spec in plugin.portico_providers()]
    assert manifest["dialects"] == [dialect.name for dialect in plugin.portico_token_dialects()]
    assert [choice["id"] for choice in manifest["authChoices"]] == [each.choice for each in plugin.portico_auth_methods({})]
    assert set(manifest["configSchema"]["$defs"]["portal"]["properties"]) == set(_KEYS)
