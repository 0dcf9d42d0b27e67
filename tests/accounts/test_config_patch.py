"""What a sign-in writes into the config, and which entries it does not change."""

from __future__ import annotations

import pytest

from portico.accounts.config_patch import patched
from portico.config.check import check
from portico.config.document import Document
from portico.interfaces.plugins import ModelCost, ModelSpec, ProviderSpec
from portico.store.records import OAuthProfile

GLOBAL, CN = "https://api.minimax.io/anthropic", "https://api.minimaxi.com/anthropic"
SPEC = ProviderSpec(
    id="minimax-portal",
    label="MiniMax",
    api="anthropic-messages",
    base_urls={"global": GLOBAL, "cn": CN},
    hosts={"global": frozenset({"api.minimax.io"}), "cn": frozenset({"api.minimaxi.com"})},
    models=(
        ModelSpec("MiniMax-M2.1", "MiniMax M2.1", 204_800, 131_072, ModelCost(0.3, 1.2, 0.03, 0.375), alias="minimax-m2.1"),
        ModelSpec("MiniMax-M2.1-lightning", "MiniMax M2.1 Lightning", alias="minimax-m2.1-lightning"),
        ModelSpec("MiniMax-M3", "MiniMax M3"),
    ),
    placeholder_key="minimax-oauth",
)
DEFAULT = "minimax-portal/MiniMax-M2.1"


def profile(api_base=GLOBAL, id="minimax-portal:default"):
    return OAuthProfile(
        id=id,
        provider="minimax-portal",
        plugin="minimax-portal-auth",
        region="global",
        issuer="https://account.minimax.io",
        client_id="client",
        dialect="standard",
        api_base=api_base,
        token_endpoint="https://account.minimax.io/oauth2/token",
        created_at=1,
    )


def patch(text, signed_in=None, default=DEFAULT, *, in_use=True):
    document = Document.parse(text, name="test")
    return patched(document, signed_in or profile(), SPEC, in_use=in_use, default_model=default, listed=True)


def test_an_empty_config_gets_provider_aliases_profile_and_default_model():
    config, problems = check(patch("{}"))

    provider = config.models.providers["minimax-portal"]
    assert (provider.base_url, provider.api, provider.api_key.reveal()) == (GLOBAL, "anthropic-messages", "minimax-oauth")
    assert [model.id for model in provider.models] == ["MiniMax-M2.1", "MiniMax-M2.1-lightning"]
    assert provider.models[0].cost.over(None) == ModelCost(0.3, 1.2, 0.03, 0.375)
    assert {key: value.alias for key, value in config.agents.models.items()} == {
        DEFAULT: "minimax-m2.1",
        "minimax-portal/MiniMax-M2.1-lightning": "minimax-m2.1-lightning",
    }
    assert config.auth.profiles["minimax-portal:default"].mode == "oauth"
    assert config.agents.primary == DEFAULT
    assert problems == []


def test_a_second_write_changes_nothing():
    once = patch("{}")

    assert patch(once.text).text == once.text


@pytest.mark.requirement("S6")
def test_every_byte_that_the_user_wrote_stays():
    text = "// mine\n{\n  agents: { defaults: { maxConcurrent: 4, /* keep */ } }, // end\n  'other': [1, 2,],\n}\n"

    after = patch(text).text

    for stored in ("// mine\n", "maxConcurrent: 4, /* keep */", "// end", "'other': [1, 2,],"):
        assert stored in after


def test_the_users_models_stay_and_missing_models_are_appended():
    text = """{models: {providers: {"minimax-portal": {models: [
      // my price
      {id: "MiniMax-M2.1", name: "Mine", cost: {input: 9, output: 9}},
    ]}}}}"""

    after = patch(text)

    assert "// my price" in after.text
    assert after.get(("models", "providers", "minimax-portal", "models", 0, "name")) == "Mine"
    assert after.get(("models", "providers", "minimax-portal", "models", 1, "id")) == "MiniMax-M2.1-lightning"


def test_an_own_key_and_a_base_url_of_another_host_stay():
    text = '{models: {providers: {"minimax-portal": {baseUrl: "http://127.0.0.1:9/v1", apiKey: "${MINE}"}}}}'

    own = patch(text).get(("models", "providers", "minimax-portal"))

    assert (own["baseUrl"], own["apiKey"]) == ("http://127.0.0.1:9/v1", "${MINE}")


@pytest.mark.parametrize(("in_use", "base_url"), [(True, CN), (False, GLOBAL)])
def test_the_base_url_is_that_of_the_account_in_use(in_use, base_url):
    after = patch(patch("{}").text, profile(CN, "minimax-portal:cn"), in_use=in_use)

    assert after.get(("models", "providers", "minimax-portal", "baseUrl")) == base_url
    assert set(after.get(("auth", "profiles"))) == {"minimax-portal:default", "minimax-portal:cn"}


def test_a_used_alias_is_not_added_again():
    text = '{agents: {defaults: {models: {"acme/x": {alias: "MiniMax-M2.1"}}}}}'

    assert "alias" not in patch(text).value()["agents"]["defaults"]["models"].get(DEFAULT, {})


@pytest.mark.requirement("E88")
def test_an_existing_order_stays_and_no_order_is_added():
    assert not patch("{}").has(("auth", "order"))
    after = patch('{auth: {order: {"minimax-portal": ["minimax-portal:cn"]}}}')
    assert after.get(("auth", "order", "minimax-portal")) == ["minimax-portal:cn"]


@pytest.mark.parametrize(
    "text", ['{agents: {defaults: {model: "acme/x"}}}', '{agents: {defaults: {model: {primary: "acme/x"}}}}']
)
def test_the_default_model_changes_only_on_request_in_either_form(text):
    assert check(patch(text, default=None))[0].agents.primary == "acme/x"
    assert check(patch(text))[0].agents.primary == DEFAULT


def test_fallbacks_stay_and_an_allow_list_gets_the_new_default():
    text = '{agents: {defaults: {model: {primary: "acme/x", fallbacks: ["acme/y"]}, models: {"acme/x": {}}}}}'

    defaults = patch(text).get(("agents", "defaults"))

    assert defaults["model"] == {"primary": DEFAULT, "fallbacks": ["acme/y"]}
    assert DEFAULT in defaults["models"]
