"""The loader: credentials, URLs, and errors about missing parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.errors import ConfigError, SignInNeeded, UsageError
from portico.interfaces.plugins import ModelSpec, ProviderSpec
from portico.models.loader import ModelLoader
from portico.store.records import ApiKeyProfile, Failure, OAuthProfile
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
    region_env="MINIMAX_REGION",
    sign_in_choices=("minimax-portal",),
    paths={"anthropic-messages": "/anthropic", "openai-completions": "/v1"},
)
KEYED = replace(PORTAL, id="minimax", env_keys=("MINIMAX_API_KEY",), placeholder_key=None)
ORDER = '{"minimax-portal": ["minimax-portal:default"]}'
REF = "minimax-portal/MiniMax-M2.1"


def profile(id="minimax-portal:default", **changes):
    defaults = {
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
    return OAuthProfile(id=id, **{**defaults, **changes})


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


def test_the_error_of_an_unknown_model_names_the_missing_part_and_the_remedies():
    with pytest.raises(SignInNeeded) as raised:
        loader().load("minimax/MiniMax-M2.1")

    error = raised.value
    assert error.message == "Unknown model: minimax/MiniMax-M2.1"
    assert "no auth profile, no environment key, no key in the config" in error.why
    assert all(remedy in error.hint for remedy in ("MINIMAX_API_KEY", "models.providers.minimax", "onboard --auth-choice"))


@pytest.mark.requirement("P14")
@pytest.mark.parametrize("configured", ["{}", '{models: {providers: {"minimax-portal": {}}}}'])
def test_a_wrong_case_is_never_sent_and_gets_a_did_you_mean(configured):
    with pytest.raises(UsageError) as raised:
        loader(configured, profile()).load("minimax-portal/minimax-M2.1")

    assert raised.value.message == "Unknown model: minimax-portal/minimax-M2.1"
    assert raised.value.why == "model ids are case-sensitive"
    assert raised.value.hint.startswith("Did you mean minimax-portal/MiniMax-M2.1")


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
    with pytest.raises(ConfigError) as raised:
        loader().load()
    assert raised.value.id == "no-default-model"


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
    spent = profile(failure=Failure(at=1, id="sign-in-expired", message="expired", terminal=True, code="invalid_grant"))

    assert loader("{}", spent, PROFILE_CN).load(REF).profile_id == "minimax-portal:cn"


def test_a_provider_without_a_url_says_what_to_set():
    text = '{models: {providers: {acme: {apiKey: "k-1234567890", api: "anthropic-messages"}}}}'

    with pytest.raises(ConfigError) as raised:
        loader(text).load("acme/x")

    assert raised.value.id == "provider-incomplete"
    assert "models.providers.acme.baseUrl" in raised.value.hint


# --- several candidates ----------------------------------------------------------------------------------------------------

FALLBACK = "minimax/MiniMax-M2.1"
WITH_FALLBACK = f'{{agents: {{defaults: {{model: {{primary: "{REF}", fallbacks: ["{FALLBACK}"]}}}}}}}}'


def names(resolution):
    return [(str(one.reference), one.profile_id or one.source) for one in resolution.candidates]


@pytest.mark.requirement("P4")
def test_a_providers_other_sign_ins_come_before_the_fallbacks():
    found = loader(WITH_FALLBACK, profile(), PROFILE_CN, env={"MINIMAX_API_KEY": canary("key")}).resolve()

    assert names(found) == [
        (REF, "minimax-portal:default"),
        (REF, "minimax-portal:cn"),
        (FALLBACK, "environment variable MINIMAX_API_KEY"),
    ]
    assert found.model is found.candidates[0]


def test_a_sign_in_that_has_ended_is_no_candidate_while_another_works():
    spent = profile(failure=Failure(at=1, id="sign-in-expired", message="expired", terminal=True, code="invalid_grant"))

    assert names(loader("{}", spent, PROFILE_CN).resolve(REF)) == [(REF, "minimax-portal:cn")]
    assert names(loader("{}", spent).resolve(REF)) == [(REF, "minimax-portal:default")]


@pytest.mark.requirement("P4")
def test_a_default_model_without_a_credential_is_passed_over_for_the_fallback_with_its_reason():
    found = loader(WITH_FALLBACK, env={"MINIMAX_API_KEY": canary("key")}).resolve()

    assert [name for name, _ in names(found)] == [FALLBACK]
    assert str(found.passed[0].reference) == REF
    assert "no credential for provider minimax-portal" in found.passed[0].error.why


@pytest.mark.requirement("E146")
@pytest.mark.parametrize(("name", "expected"), [(REF, [REF, FALLBACK]), ("mine", [REF, FALLBACK]), ("acme/x", ["acme/x"])])
def test_fallbacks_answer_for_the_default_model_alone_however_it_is_named(name, expected):
    acme = '{acme: {baseUrl: "https://acme.example/v1", api: "openai-responses", apiKey: "k", models: [{id: "x"}]}}'
    model = f'{{primary: "{REF}", fallbacks: ["{FALLBACK}"]}}'
    text = f'{{models: {{providers: {acme}}}, agents: {{defaults: {{model: {model}, allow: "all", models: {{"{REF}": {{alias: "mine"}}}}}}}}}}'
    found = loader(text, profile(), env={"MINIMAX_API_KEY": canary("key")})

    assert [name for name, _ in names(found.resolve(name))] == expected


@pytest.mark.requirement("E146")
def test_a_model_that_was_named_keeps_every_account_of_its_provider():
    found = loader(WITH_FALLBACK, profile(), PROFILE_CN, env={"MINIMAX_API_KEY": canary("key")})

    assert names(found.resolve(FALLBACK)) == [(FALLBACK, "environment variable MINIMAX_API_KEY")]
    swapped = WITH_FALLBACK.replace(REF, "x").replace(FALLBACK, REF).replace('"x"', f'"{FALLBACK}"')
    found = loader(swapped, profile(), PROFILE_CN, env={"MINIMAX_API_KEY": canary("key")})
    assert names(found.resolve(REF)) == [(REF, "minimax-portal:default"), (REF, "minimax-portal:cn")]


def test_where_nothing_can_be_called_the_named_model_says_why():
    with pytest.raises(SignInNeeded) as raised:
        loader(WITH_FALLBACK).resolve()
    assert (raised.value.id, raised.value.message) == ("not-signed-in", "You are not signed in to minimax-portal.")


def test_an_unknown_model_is_never_answered_for_by_another():
    with pytest.raises(UsageError, match="Unknown model"):
        loader(WITH_FALLBACK, profile()).resolve("minimax-portal/minimax-m2.1")


def test_a_fallback_that_is_no_reference_stops_nobody():
    text = f'{{agents: {{defaults: {{model: {{primary: "{REF}", fallbacks: ["nonsense"]}}}}}}}}'

    assert len(loader(text, profile()).resolve().candidates) == 1


def test_a_key_is_not_spent_where_a_sign_in_is_there():
    env = {"MINIMAX_API_KEY": canary("key")}
    both = [profile(provider="minimax", id="minimax:default"), profile()]

    assert names(loader("{}", *both, env=env).resolve("minimax/MiniMax-M2.1")) == [("minimax/MiniMax-M2.1", "minimax:default")]


@pytest.mark.requirement("P13")
def test_with_another_account_the_first_remedy_is_the_model_that_works():
    with pytest.raises(SignInNeeded) as raised:
        loader("{}", profile()).load("minimax/MiniMax-M2.1")
    assert f"use {REF}, which is set up" in raised.value.hint


# --- keys, and servers without a key -----------------------------------------------------------------------------------------


def test_a_stored_key_goes_where_the_config_says_and_a_token_where_it_was_issued():
    key = ApiKeyProfile(id="minimax:default", provider="minimax", api_base=GLOBAL, region="cn", created_at=1)
    text = '{models: {providers: {minimax: {baseUrl: "https://proxy.example/anthropic"}}}}'

    assert loader(text, key).load("minimax/MiniMax-M2.1").base_url == "https://proxy.example/anthropic"
    assert loader("{}", key).load("minimax/MiniMax-M2.1").base_url == CN


@pytest.mark.requirement("P5")
@pytest.mark.parametrize("key", ["", 'apiKey: "lmstudio", '])
def test_a_server_on_this_machine_needs_no_key(key):
    from portico.plugins.builtin import LMSTUDIO

    text = f'{{models: {{providers: {{lmstudio: {{{key}models: [{{id: "any"}}]}}}}}}}}'
    config, _ = check(Document.parse(text, name="test"))
    model = ModelLoader(config, [LMSTUDIO], (), {}).load("lmstudio/any")

    assert (model.api, model.base_url) == ("openai-responses", "http://127.0.0.1:1234/v1")
    assert model.key is None if not key else model.key.reveal() == "lmstudio"


@pytest.mark.parametrize(
    ("url", "works"), [("http://127.0.0.1:11434/v1", True), ("http://[::1]:11434/v1", True), ("https://api.example/v1", False)]
)
def test_a_provider_that_only_the_config_knows_needs_no_key_on_this_machine(url, works):
    text = f'{{models: {{providers: {{own: {{baseUrl: "{url}", api: "openai-completions"}}}}}}}}'

    if works:
        assert loader(text).load("own/any").key is None
    else:
        with pytest.raises(SignInNeeded):
            loader(text).load("own/any")


def test_the_other_protocols_of_the_same_origin_are_known_at_the_providers_own_hosts_only():
    own = loader("{}", profile()).load(REF)
    assert own.bases == {"anthropic-messages": GLOBAL, "openai-completions": "https://api.minimax.io/v1"}

    text = '{models: {providers: {minimax: {baseUrl: "https://proxy.example/anthropic", apiKey: "k"}}}}'
    assert loader(text).load("minimax/MiniMax-M2.1").bases == {"anthropic-messages": "https://proxy.example/anthropic"}

    swapped = '{models: {providers: {minimax: {baseUrl: "https://api.minimax.io/v1", api: "openai-completions", apiKey: "k"}}}}'
    found = loader(swapped).load("minimax/MiniMax-M2.1")
    assert found.bases == {"openai-completions": "https://api.minimax.io/v1", "anthropic-messages": GLOBAL}


# --- the list of allowed models --------------------------------------------------------------------------------------------

LISTED = f'{{agents: {{defaults: {{models: {{"{REF}": {{alias: "mm"}}}}, model: {{primary: "{REF}"}}}}}}}}'


@pytest.mark.requirement("P7")
def test_a_model_off_the_list_is_refused_and_says_how_to_let_it_in():
    env = {"MINIMAX_API_KEY": canary("key")}

    with pytest.raises(UsageError) as raised:
        loader(LISTED, profile(), env=env).load("minimax/MiniMax-M2.1")
    assert raised.value.id == "model-not-allowed"
    assert "config set 'agents.defaults.models[\"minimax/MiniMax-M2.1\"]'" in raised.value.hint
    assert str(loader(LISTED, profile(), env=env).load("mm").reference) == REF


def test_the_default_and_the_fallbacks_are_allowed_whether_the_list_names_them_or_not():
    text = f'{{agents: {{defaults: {{models: {{"minimax/MiniMax-M2.1": {{}}}}, model: {{primary: "{REF}", fallbacks: ["{FALLBACK}"]}}}}}}}}'
    found = loader(text, profile(), env={"MINIMAX_API_KEY": canary("key")})

    assert [name for name, _ in names(found.resolve())] == [REF, FALLBACK]
    assert str(found.load(REF).reference) == REF


def test_the_shorthands_that_a_sign_in_writes_are_no_list():
    text = f'{{agents: {{defaults: {{models: {{"{REF}": {{alias: "minimax-m2.1"}}}}}}}}}}'

    assert loader(text, env={"MINIMAX_API_KEY": canary("key")}).load("minimax/MiniMax-M2.1").key is not None
