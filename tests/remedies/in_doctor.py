"""Findings of `doctor`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from portico.store.profile_record import Failure
from portico.store.profiles import ProfileIndex
from tests.minimax_session import GLOBAL
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from tests.remedies.scenario import Desk

KEY = {"MINIMAX_API_KEY": "sk-emulator-global"}


def with_base_url(desk: Desk, provider: str, url: str, api: str) -> None:
    entry = {"baseUrl": url, "api": api, "models": [{"id": "x"}]}
    desk.commands.paths.config.write_text(json.dumps({"models": {"providers": {provider: entry}}}), encoding="utf-8")


@scenario("{prog} config set models.providers.{}.baseUrl {}")
def a_base_url_where_the_provider_serves_another_api(desk):
    with_base_url(desk, "minimax", "https://api.minimax.io/v1", "anthropic-messages")
    desk.follow(desk.found("base-url-refused", env=KEY)["hint"])
    desk.not_found("base-url-refused", env=KEY)


@scenario("{prog} config set {} {}", "write {}: {}, if nothing answers there")
def a_base_url_that_looks_like_that_of_another_api(desk):
    with_base_url(desk, "acme", "http://127.0.0.1:9/anthropic", "openai-completions")
    desk.shown("if nothing answers there", "config", "validate")
    desk.follow(desk.found("base-url-of-another-api")["hint"])
    desk.not_found("base-url-of-another-api")


@scenario("write it without them", "leave it out")
def what_stands_in_a_provider_without_effect(desk):
    def written(url: str, headers: dict[str, str]) -> None:
        entry = {"baseUrl": url, "api": "openai-completions", "headers": headers, "models": [{"id": "x"}]}
        desk.commands.paths.config.write_text(json.dumps({"models": {"providers": {"acme": entry}}}), encoding="utf-8")

    written(" http://127.0.0.1:9/v1", {"Content-Length": "7", "X-Team": "blue"})
    desk.shown("write it without them", "config", "validate")
    desk.shown("leave it out", "config", "validate")
    written("http://127.0.0.1:9/v1", {"X-Team": "blue"})
    assert "warning" not in desk.ok("config", "validate")


@scenario("{prog} auth order {}")
def an_order_that_names_nobody(desk):
    desk.ok("config", "set", "auth.order.acme", '["acme:gone"]')
    desk.follow(desk.found("dangling-reference")["hint"])
    desk.not_found("dangling-reference")


@scenario("{prog} plugins info {}")
def a_plugin_that_is_broken(desk):
    folder = desk.commands.paths.config.parent / "broken"
    folder.mkdir()
    (folder / "portico.plugin.json").write_text('{"id": 1}', encoding="utf-8")
    desk.ok("config", "set", "plugins.load.paths", json.dumps([str(folder)]))
    desk.follow(desk.found("plugin-broken")["hint"])


@scenario("Run `{prog} config set models.providers.{}.apiKey -`.", "{prog} config set models.providers.{}.apiKey -")
def a_default_model_of_a_provider_that_only_the_config_knows(desk):
    entry = {"baseUrl": "https://acme.example/v1", "api": "openai-completions", "models": [{"id": "m"}]}
    desk.ok("config", "set", "models.providers.acme", json.dumps(entry))
    desk.ok("models", "set", "acme/m")
    hint = desk.found("unknown-model")["hint"]
    desk.shown("Run `", "models", "status")
    desk.ok(*command_of(hint)[:-1], '"sk-any"')
    desk.not_found("unknown-model")


@scenario("{prog} auth status")
def a_refresh_that_keeps_failing(desk):
    desk.signed_in()
    failing = Failure(at=1, id="network", message="No answer.", terminal=False)
    ProfileIndex(desk.commands.paths).update(GLOBAL, lambda one: replace(one, failure=failing))
    desk.follow(desk.found("refresh-failing")["hint"])


@scenario("chmod {} {}")
def a_state_folder_that_others_can_read(desk):
    desk.ok("config", "set", "gateway.port", "18555")
    state = desk.commands.paths.state
    state.mkdir(exist_ok=True)
    state.chmod(0o755)
    _, mode, path = desk.found("state-open")["hint"].split()
    assert path == str(state)
    state.chmod(int(mode, 8))
    desk.not_found("state-open")


@scenario("Subscribe: {}")
def an_account_without_a_plan(desk):
    session = desk.signed_in(knobs={"quota": "none"})
    hint = desk.found("no-plan")["hint"]
    assert hint.startswith("Subscribe: https://platform.minimax.io/")
    assert session.profiles()[0]["region"] == "global"
