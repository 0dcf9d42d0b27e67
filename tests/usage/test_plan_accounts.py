"""The accounts that may have a plan, and the URLs for each of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.errors import UsageError
from portico.models.loader import ModelLoader
from portico.plugin_api import built_in_plans
from portico.plugins.builtin import MINIMAX as PROVIDER
from portico.plugins.builtin import MINIMAX_PLANS as PLANS
from portico.store.records import OAuthProfile
from portico.testing.canary import canary, in_text
from portico.usage.plan import plan_accounts

PORTAL = replace(PROVIDER, id="minimax-portal", env_keys=("MINIMAX_OAUTH_TOKEN", "MINIMAX_API_KEY"))
READERS = {
    "minimax": PLANS,
    "minimax-portal": built_in_plans("minimax", provider="minimax-portal", env_keys=("MINIMAX_OAUTH_TOKEN",)),
}


def a_profile(id, region="global", **changes):
    known = {
        "id": id,
        "provider": id.partition(":")[0],
        "plugin": "minimax-portal-auth",
        "region": region,
        "issuer": "https://account.minimax.io",
        "client_id": "c",
        "dialect": "d",
        "api_base": PROVIDER.base_urls[region],
        "token_endpoint": "https://account.minimax.io/oauth2/token",
        "created_at": 1,
    }
    return OAuthProfile(**{**known, **changes})


def accounts_of(*profiles, config="{}", env=None, **wanted):
    settings, problems = check(Document.parse(config, name="t"))
    assert problems == []
    loader = ModelLoader(settings, [PROVIDER, PORTAL], profiles, env or {}, switched_off={"acme": "acme-auth"})
    return {account.label: account for account in plan_accounts(loader, READERS, profiles, **wanted)}


def test_a_key_is_one_account_however_many_providers_could_use_it():
    assert list(accounts_of(env={"MINIMAX_API_KEY": canary("key")})) == ["MINIMAX_API_KEY"]


def test_every_sign_in_is_an_account_also_one_that_has_ended():
    from portico.store.records import Failure

    ended = Failure(at=1, id="sign-in-expired", message="Refused.", terminal=True, code="invalid_grant")
    profiles = (a_profile("minimax-portal:old", failure=ended), a_profile("minimax-portal:cn", "cn"))

    accounts = accounts_of(*profiles)

    assert {name: one.region for name, one in accounts.items()} == {"minimax-portal:cn": "cn", "minimax-portal:old": "global"}


def test_a_sign_in_that_was_signed_out_is_none():
    from portico.store.records import SIGN_OUT_UNFINISHED, Failure

    signed_out = Failure(at=1, id=SIGN_OUT_UNFINISHED, message="", terminal=True)

    assert accounts_of(a_profile("minimax-portal:default", failure=signed_out)) == {}


def test_a_token_that_somebody_handed_out_is_the_portals():
    [account] = accounts_of(env={"MINIMAX_OAUTH_TOKEN": canary("at")}).values()

    assert (account.label, account.spec.id) == ("MINIMAX_OAUTH_TOKEN", "minimax-portal")


@pytest.mark.parametrize(
    ("base", "hosts"),
    [
        ("https://api.minimax.io/anthropic", {"www.minimax.io", "api.minimax.io"}),
        ("https://api.minimaxi.com/v1", {"api.minimaxi.com"}),
        ("https://api.minimax.cn/anthropic", {"api.minimax.cn"}),
        ("https://www.minimax.io/anthropic", set()),
        ("https://api.minimax.io.evil.example/anthropic", set()),
        ("http://127.0.0.1:8080/anthropic", set()),
    ],
)
def test_a_credential_is_asked_about_at_its_own_api_host_and_only_where_the_provider_declares_it(base, hosts):
    from urllib.parse import urlsplit

    for account in (
        *accounts_of(config=f'{{ models: {{ providers: {{ minimax: {{ baseUrl: "{base}", apiKey: "k" }} }} }} }}').values(),
        *accounts_of(a_profile("minimax-portal:default", api_base=base)).values(),
    ):
        assert {urlsplit(url).hostname for url in account.urls()} == hosts


def test_the_region_is_that_of_the_host_whatever_the_environment_says():
    config = '{ models: { providers: { minimax: { baseUrl: "https://api.minimaxi.com/anthropic", apiKey: "k" } } } }'

    [account] = accounts_of(config=config, env={"MINIMAX_REGION": "global"}).values()

    assert (account.region, account.subscribe_url) == ("cn", PROVIDER.subscribe_urls["cn"])


def test_accounts_can_be_narrowed_to_a_provider_or_a_profile():
    profiles = (a_profile("minimax-portal:default"), a_profile("minimax-portal:cn", "cn"))
    env = {"MINIMAX_API_KEY": canary("key")}

    assert list(accounts_of(*profiles, env=env, provider="minimax")) == ["MINIMAX_API_KEY"]
    assert list(accounts_of(*profiles, env=env, profile="minimax-portal:cn")) == ["minimax-portal:cn"]


def test_a_provider_without_supported_plans_is_an_error():
    with pytest.raises(UsageError, match="acme") as exc_info:
        accounts_of(provider="acme")
    assert exc_info.value.hint == "{prog} plugins enable acme-auth"
    with pytest.raises(UsageError, match="openai"):
        accounts_of(a_profile("openai:default"), profile="openai:default")


def test_a_provider_that_the_config_replaces_still_has_its_accounts():
    config = (
        '{ models: { mode: "replace", providers: { acme: { baseUrl: "https://a.example/v1", api: "openai-completions" } } } }'
    )

    assert list(accounts_of(a_profile("minimax-portal:default"), config=config)) == ["minimax-portal:default"]


def test_no_form_of_an_account_shows_its_key():
    [account] = accounts_of(env={"MINIMAX_API_KEY": canary("key")}).values()

    assert in_text(f"{account!r} {account} {vars(type(account))}") == []
