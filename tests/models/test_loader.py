"""The loader: whose credential, which URL, and what to say when a piece is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.config.checker import check
from portico.config.document import Document
from portico.contracts import ModelSpec, ProviderSpec
from portico.errors import ConfigError, SignInNeeded, UsageError
from portico.models.loader import ModelLoader
from portico.store.profiles import Failure, Profile
from portico.testing.canary import canary

GLOBAL, CN = "https://api.minimax.io/anthropic", "https://api.minimaxi.com/anthropic"
PORTAL = ProviderSpec(
    id="minimax-portal",
    label="MiniMax",
    api="anthropic-messages",
    base_urls={"global": GLOBAL, "cn": CN},
    hosts={"global": frozenset({"api.minimax.io"}), "cn": frozenset({"api.minimaxi.com"})},
    models=(ModelSpec("MiniMax-M2.1", "MiniMax M2.1", alias="minimax-m2.1"),),
    placeholder_key="minimax-oauth",
)
KEYED = replace(PORTAL, id="minimax", env_keys=("MINIMAX_API_KEY",), placeholder_key=None)
ORDER = '{"minimax-portal": ["minimax-portal:default"]}'
REF = "minimax-portal/MiniMax-M2.1"


def profile(id="minimax-portal:default", **changes):
    known = {
        "provider": "minimax-portal",
        "plugin": "minimax-portal-auth",
        "region": "global",
        "issuer": "https://account.minimax.io",
        "client_id": "client",
        "dialect": "standard",
        "api_base": GLOBAL,
        "token_endpoint": "https://account.minimax.io/oauth2/token",
        "created_at": 1,
    }
    return Profile(id=id, **{**known, **changes})


PROFILE_CN = profile("minimax-portal:cn", region="cn", api_base=CN, created_at=2)


def loader(text="{}", *profiles, env=None):
    config, _ = check(Document.parse(text, name="test"))
    return ModelLoader(config, [PORTAL, KEYED], profiles, env or {})


def test_a_profile_makes_its_providers_models_callable_at_the_profiles_own_url():
    model = loader("{}", profile(api_base="https://api.minimax.io/other/")).load(REF)

    assert model.profile_id == "minimax-portal:default"
    assert model.base_url == "https://api.minimax.io/other"
    assert (model.api, model.key, model.source) == ("anthropic-messages", None, "profile minimax-portal:default")


def test_the_config_cannot_send_a_profiles_token_to_another_host():
    text = '{models: {providers: {"minimax-portal": {baseUrl: "https://evil.example/anthropic"}}}}'

    assert loader(text, profile()).load(REF).base_url == GLOBAL


def test_an_environment_key_alone_makes_a_provider_callable():
    key = canary("key")

    model = loader(env={"MINIMAX_API_KEY": key}).load("minimax/MiniMax-M2.1")

    assert model.key.reveal() == key
    assert model.source == "environment variable MINIMAX_API_KEY"
    assert key not in repr(model)


@pytest.mark.parametrize(("env", "base"), [({}, GLOBAL), ({"MINIMAX_REGION": "cn"}, CN), ({"MINIMAX_REGION": "CN"}, CN)])
def test_without_a_profile_the_region_is_global_unless_the_environment_says_otherwise(env, base):
    assert loader(env={"MINIMAX_API_KEY": canary("key"), **env}).load("minimax/MiniMax-M2.1").base_url == base


def test_a_key_in_the_config_may_come_from_the_environment():
    key = canary("key")
    text = f'{{models: {{providers: {{acme: {{baseUrl: "{GLOBAL}", api: "anthropic-messages", apiKey: "${{ACME}}"}}}}}}}}'

    assert loader(text, env={"ACME": key}).load("acme/anything").key.reveal() == key
    with pytest.raises(SignInNeeded):
        loader(text).load("acme/anything")


def test_the_placeholder_that_a_sign_in_writes_is_no_credential():
    text = '{models: {providers: {"minimax-portal": {apiKey: "minimax-oauth"}}}}'

    with pytest.raises(SignInNeeded):
        loader(text).load(REF)


def test_an_unknown_model_says_which_piece_is_missing_and_the_ways_out():
    with pytest.raises(SignInNeeded) as caught:
        loader().load("minimax/MiniMax-M2.1")

    error = caught.value
    assert error.message == "Unknown model: minimax/MiniMax-M2.1"
    assert "no auth profile, no environment key, no key in the config" in error.why
    assert all(way in error.hint for way in ("MINIMAX_API_KEY", "models.providers.minimax", "onboard --auth-choice"))


@pytest.mark.requirement("P14")
@pytest.mark.parametrize("configured", ["{}", '{models: {providers: {"minimax-portal": {}}}}'])
def test_a_wrong_case_is_never_sent_and_gets_a_did_you_mean(configured):
    with pytest.raises(UsageError) as caught:
        loader(configured, profile()).load("minimax-portal/minimax-M2.1")

    assert caught.value.message == "Unknown model: minimax-portal/minimax-M2.1"
    assert caught.value.why == "model ids are case-sensitive"
    assert caught.value.hint.startswith("Did you mean minimax-portal/MiniMax-M2.1")


def test_a_model_newer_than_the_catalogue_is_passed_on_where_the_provider_is_configured():
    text = '{models: {providers: {"minimax-portal": {}}}}'

    assert loader(text, profile()).load("minimax-portal/Brand-New-9").spec.id == "Brand-New-9"
    with pytest.raises(UsageError, match="Unknown model"):
        loader("{}", profile()).load("minimax-portal/Brand-New-9")


def test_without_a_name_the_default_is_loaded_and_a_wrong_default_is_the_configs_fault():
    good = f'{{agents: {{defaults: {{model: {{primary: "{REF}"}}}}}}}}'
    bad = '{agents: {defaults: {model: {primary: "nobody/x"}}}}'

    assert str(loader(good, profile()).load().reference) == REF
    with pytest.raises(ConfigError, match="Unknown model: nobody/x"):
        loader(bad).load()
    with pytest.raises(ConfigError) as caught:
        loader().load()
    assert caught.value.id == "no-default-model"


@pytest.mark.parametrize(
    ("text", "env", "chosen"),
    [
        ("{}", {}, "minimax-portal:default"),
        (f'{{models: {{providers: {{"minimax-portal": {{baseUrl: "{CN}"}}}}}}}}', {}, "minimax-portal:cn"),
        ("{}", {"MINIMAX_REGION": "cn"}, "minimax-portal:cn"),
        (
            f'{{auth: {{order: {ORDER}}}, models: {{providers: {{"minimax-portal": {{baseUrl: "{CN}"}}}}}}}}',
            {},
            "minimax-portal:default",
        ),
    ],
)
def test_of_two_regions_the_order_decides_then_the_configs_url_then_the_environment(text, env, chosen):
    assert loader(text, profile(), PROFILE_CN, env=env).load(REF).profile_id == chosen


def test_a_profile_that_needs_a_new_sign_in_comes_last():
    spent = profile(failure=Failure(at=1, id="sign-in-expired", message="expired", terminal=True))

    assert loader("{}", spent, PROFILE_CN).load(REF).profile_id == "minimax-portal:cn"


def test_a_provider_without_a_url_says_what_to_set():
    text = '{models: {providers: {acme: {apiKey: "k-1234567890", api: "anthropic-messages"}}}}'

    with pytest.raises(ConfigError) as caught:
        loader(text).load("acme/x")

    assert caught.value.id == "provider-incomplete"
    assert "models.providers.acme.baseUrl" in caught.value.hint
