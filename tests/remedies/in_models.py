"""Models that do not answer, names of models, and thinking: before a provider whose every answer the test decides, or the emulator."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.free_port import free_port
from tests.gateway.providers import STREAMS, answered, closed, provider_beside
from tests.minimax_session import sealed_store
from tests.remedies.in_sign_in import KEY, standard_input, typed_key
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gateway.providers import Provider
    from tests.remedies.scenario import Desk

ASK: Final = ("ask", "--no-fallback", "--model")
CHAT, MESSAGES = STREAMS["/v1/chat/completions"], STREAMS["/v1/messages"]
STORE: Final = ("--store", "file")
M21: Final = "minimax-portal/MiniMax-M2.1"


def configured(desk: Desk, name: str, **entry: object) -> None:
    """A provider of models in the config, with a key unless `apiKey` is None."""
    block = {"api": "openai-completions", "apiKey": "sk-acme-0123456789", "models": [{"id": "model"}, {"id": "other"}], **entry}
    written = {key: value for key, value in block.items() if value is not None}
    desk.ok("config", "set", f"models.providers.{name}", json.dumps(written))


@contextmanager
def acme(desk: Desk, *answers: bytes | Callable[..., object], **entry: object) -> Iterator[Provider]:
    """A provider called `acme` that gives these answers, and is configured."""
    with provider_beside(*answers) as served:
        configured(desk, "acme", baseUrl=served.base, **entry)
        yield served


@contextmanager
def sealed(desk: Desk) -> Iterator[None]:
    """Keys are kept in a sealed file, whose passphrase is in the environment."""
    desk.commands.env |= sealed_store()
    yield


def refusal(status: int, message: str) -> bytes:
    return answered({"error": {"message": message}}, status=status)


# --- why a model did not answer ----------------------------------------------------------------------------------------------------


@scenario("Check {}.")
def a_key_that_a_provider_without_regions_refuses(desk):
    with acme(desk, refusal(401, "invalid api key"), CHAT):
        error = desk.refused(*ASK, "acme/model", "Hello")
        where = error["hint"].removeprefix("Check config ").rstrip(".")
        with standard_input("sk-another-0123456789"):
            desk.ok("config", "set", where, "-")
        desk.ok(*ASK, "acme/model", "Hello")


@scenario("Sign in again: {}")
def a_stored_key_that_a_provider_without_regions_refuses(desk):
    with (
        sealed(desk),
        provider_beside(answered({"data": []}), refusal(401, "invalid x-api-key"), answered({"data": []}), MESSAGES) as served,
    ):
        desk.ok("config", "set", "models.providers.anthropic", json.dumps({"baseUrl": served.base.removesuffix("/v1")}))
        words = ("onboard", "--auth-choice", "anthropic-api", "--non-interactive", "--no-background", "--api-key-stdin")
        typed_key(desk, *words, *STORE, key="sk-ant-0123456789")
        error = desk.refused(*ASK, "anthropic/claude-opus-4-6", "Hello")
        typed_key(desk, *command_of(error["hint"]), "--non-interactive", "--api-key-stdin", key="sk-ant-9876543210")
        desk.ok(*ASK, "anthropic/claude-opus-4-6", "Hello")


@scenario("Wait a minute and try again, or use another model: {prog} models list")
def a_provider_that_wants_fewer_requests(desk):
    with acme(desk, refusal(429, "slow down"), CHAT):
        error = desk.refused(*ASK, "acme/model", "Hello")
        assert "acme/other" in desk.follow(error["hint"])
        desk.ok(*ASK, "acme/other", "Hello")


@scenario("Pay on the provider's website, or use another model: {prog} models list")
def a_provider_that_asks_for_payment(desk):
    with acme(desk, refusal(402, "Your credit balance is too low")), provider_beside(CHAT) as backup:
        configured(desk, "backup", baseUrl=backup.base)
        error = desk.refused(*ASK, "acme/model", "Hello")
        assert "backup/model" in desk.follow(error["hint"])
        desk.ok(*ASK, "backup/model", "Hello")


@scenario("The provider's message says why. Other models: {prog} models list")
def a_model_that_is_refused_to_this_account(desk):
    with acme(desk, refusal(403, "The model is not available in your region"), CHAT):
        error = desk.refused(*ASK, "acme/model", "Hello")
        assert "not available in your region" in error["why"]
        assert "acme/other" in desk.follow(error["hint"])
        desk.ok(*ASK, "acme/other", "Hello")


@scenario("Choose another: {prog} models list --all")
def a_model_that_the_provider_no_longer_serves(desk):
    with acme(desk, refusal(404, "model does not exist"), CHAT):
        error = desk.refused(*ASK, "acme/model", "Hello")
        assert "acme/other" in desk.follow(error["hint"])
        desk.ok(*ASK, "acme/other", "Hello")


@scenario("Check the account on the provider's website, or use another account: {prog} auth list")
def an_account_that_is_suspended(desk):
    session = desk.signed_in()
    with acme(desk, refusal(403, "Your account has been suspended for abuse")):
        error = desk.refused(*ASK, "acme/model", "Hello")
        assert session.profiles()[0]["id"] in desk.follow(error["hint"])
        desk.ok(*ASK, M21, "Hello")


@scenario("Check the connection and HTTPS_PROXY; `{prog} doctor` asks each server that is in use.")
def a_provider_that_cannot_be_reached(desk):
    configured(desk, "acme", baseUrl=f"http://127.0.0.1:{free_port()}/v1")
    error = desk.refused(*ASK, "acme/model", "Hello")
    found = json.loads(desk.commands.run(*command_of(error["hint"]), "--json").stdout)["findings"]
    assert "network" in [each["id"] for each in found]
    with acme(desk, CHAT):
        desk.ok(*ASK, "acme/model", "Hello")
        desk.not_found("network")


@scenario("The request was not sent again, because the provider may bill it twice. Send it again if that does not matter.")
def an_answer_that_did_not_arrive(desk):
    with acme(desk, closed, CHAT) as served:
        desk.refused(*ASK, "acme/model", "Hello")
        assert len(served.requests) == 1
        desk.ok(*ASK, "acme/model", "Hello")


@scenario("When the limits reset: {prog} usage")
def a_plan_that_is_used_up(desk):
    desk.signed_in(knobs={"quota": "exhausted"})
    error = desk.refused(*ASK, M21, "Hello")
    shown = desk.follow(error["hint"])
    assert ("used up" in shown, "Resets in" in shown) == (True, True)


@scenario("Use a current model: {prog} models set {}/{}")
def a_model_that_the_plan_does_not_include(desk):
    desk.signed_in(knobs={"refuse-model": "MiniMax-M2.1"})
    error = desk.refused("ask", "--no-fallback", "Hello")
    desk.follow(error["hint"])
    desk.ok("ask", "--no-fallback", "Hello")


@scenario("Try again in a moment.")
def a_provider_that_fails(desk):
    with acme(desk, refusal(500, "oops"), CHAT):
        desk.refused(*ASK, "acme/model", "Hello")
        desk.ok(*ASK, "acme/model", "Hello")


# --- thinking ----------------------------------------------------------------------------------------------------------------------


@scenario("Use --effort {} instead.")
def an_effort_that_the_model_does_not_have(desk):
    with acme(desk, CHAT, models=[{"id": "gpt-5-pro"}, {"id": "gpt-5.1"}, {"id": "o4-mini"}]):
        for model, option in (
            ("gpt-5.1", ("--effort", "max")),
            ("gpt-5-pro", ("--effort", "low")),
            ("o4-mini", ("--thinking", "off")),
        ):
            error = desk.refused(*ASK, f"acme/{model}", *option, "Hello")
            effort = error["hint"].removeprefix("Use ").removesuffix(" instead.").split()
            desk.ok(*ASK, f"acme/{model}", *effort, "Hello")


@scenario("Leave out --thinking off.")
def thinking_that_cannot_be_switched_off(desk):
    with acme(desk, CHAT, models=[{"id": "mystery", "reasoning": True}, {"id": "MiniMax-M2.1"}]):
        for model in ("mystery", "MiniMax-M2.1"):
            desk.refused(*ASK, f"acme/{model}", "--thinking", "off", "Hello")
            desk.ok(*ASK, f"acme/{model}", "Hello")


# --- a provider that is not set up -------------------------------------------------------------------------------------------------


@scenario("{prog} config set env.{} - reads the key and stores it in the configuration; or: export {}=...")
def a_key_that_is_the_name_of_a_variable_that_is_not_set(desk):
    with acme(desk, CHAT, apiKey="ACME_API_KEY") as served:
        error = desk.refused(*ASK, "acme/model", "Hello")
        desk.ok(*ASK, "acme/model", "Hello", env={"ACME_API_KEY": "sk-exported-0123456789"})
        with standard_input("sk-typed-0123456789"):
            desk.follow(error["hint"])
        desk.ok(*ASK, "acme/model", "Hello")
        sent = [request.header("authorization") for request in served.requests]
        assert sent == ["Bearer sk-exported-0123456789", "Bearer sk-typed-0123456789"]


@scenario("switch its plugin on: {prog} plugins enable {}")
def a_provider_in_the_config_whose_plugin_is_off(desk):
    session = desk.signed_in()
    desk.ok("auth", "logout", "--yes")
    desk.ok("plugins", "disable", "minimax-portal-auth")
    entry = {"baseUrl": "https://api.minimax.io/anthropic", "api": "anthropic-messages", "models": [{"id": "MiniMax-M2.1"}]}
    desk.ok("config", "set", "models.providers.minimax-portal", json.dumps(entry))
    error = desk.refused(*ASK, M21, "Hello")
    desk.follow(error["hint"])
    assert desk.refused(*ASK, M21, "Hello")["id"] == "not-signed-in"
    session.sign_in("--region", "global")
    desk.ok(*ASK, M21, "Hello")


@scenario("{prog} onboard --auth-choice {}")
def a_default_model_whose_key_is_missing(desk):
    session = desk.emulator()
    desk.ok("models", "set", "minimax/MiniMax-M2.1")
    step = desk.shown("- minimax: ", "models", "status")
    typed_key(
        desk,
        *command_of(step),
        "--non-interactive",
        "--no-background",
        "--api-key-stdin",
        *session.store,
        key=KEY["MINIMAX_API_KEY"],
    )
    desk.ok("ask", "--no-fallback", "Hello")
