"""Signing in, signing out, accounts and keys, at the emulator."""

from __future__ import annotations

import io
import json
import socket
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from portico.store.profiles import ProfileIndex
from portico.store.records import SIGN_OUT_UNFINISHED, Failure
from tests.free_port import free_port
from tests.minimax_session import CN, GLOBAL, sealed_store
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.remedies.scenario import Desk

PORTAL = ("onboard", "--auth-choice", "minimax-portal", "--non-interactive", "--no-background")
BY_BROWSER = ("--flow", "browser", "--non-interactive", "--no-background")
DEVICE = (*PORTAL, "--region", "cn", "--flow", "device")
KEY = {"MINIMAX_API_KEY": "sk-emulator-global"}
AGAIN = "{prog} models auth login --provider {} --profile {} --replace"


def change(desk: Desk, **changed: object) -> None:
    ProfileIndex(desk.commands.paths).update(GLOBAL, lambda profile: replace(profile, **changed))


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@scenario("Run `{prog} onboard --auth-choice {}`.")
def nobody_is_signed_in(desk):
    session = desk.emulator()
    error = desk.refused("usage")
    assert desk.refused("auth", "token")["message"] == "You are not signed in."
    desk.follow(error["hint"], "--region", "global", *BY_BROWSER, *session.store)
    desk.ok("auth", "token")
    desk.ok("usage")


@scenario("Or do one of:")
def a_model_that_you_are_signed_out_of(desk):
    desk.signed_in()
    desk.ok("auth", "logout", "--yes")
    desk.refused("ask", "--model", "minimax-portal/MiniMax-M2.1", "Hello")
    desk.ok("ask", "--model", "minimax-portal/MiniMax-M2.1", "Hello", env=KEY)


@scenario(
    "use {}, which is set up: {prog} models set {}",
    "To fix this, do one of:",
    "set {} in the environment; a running gateway reads it after {prog} gateway restart",
    "sign in: {prog} onboard --auth-choice {}",
    "choose it in the menu: {prog} configure (Model/auth)",
    "then check: {prog} models list; if a gateway still rejects the model, upgrade if you can, then: {prog} gateway restart",
)
def a_key_is_missing_and_the_same_model_is_there_by_sign_in(desk):
    desk.signed_in()
    desk.ok("config", "set", "agents.defaults.model", '"minimax/MiniMax-M2.1"')
    error = desk.refused("ask", "Hello")
    desk.ok("ask", "Hello", env=KEY)
    desk.follow(error["hint"])
    desk.ok("ask", "Hello")


@scenario("Finish the sign-out: {prog} auth logout {}")
def an_account_whose_sign_out_is_unfinished(desk):
    desk.signed_in()
    change(desk, failure=Failure(at=1, id=SIGN_OUT_UNFINISHED, message="It was cut off.", terminal=True))
    error = desk.refused("auth", "token", GLOBAL)
    desk.follow(error["hint"], "--yes")
    assert "Finish" not in desk.refused("auth", "token", GLOBAL)["hint"]


@scenario(f"Sign in again: {AGAIN}", AGAIN)
def the_tokens_are_gone_from_the_store(desk):
    desk.signed_in()
    change(desk, slot="b" if ProfileIndex(desk.commands.paths).get(GLOBAL).slot == "a" else "a")
    error = desk.refused("auth", "token")
    desk.found("record-damaged")
    desk.follow(error["hint"], *BY_BROWSER)
    desk.ok("auth", "token")


@scenario(
    f"{{prog}}: {{}} must sign in again: {{}} - {AGAIN}",
)
def every_command_says_that_a_sign_in_has_ended(desk):
    desk.signed_in()
    change(desk, failure=Failure(at=1, id="sign-in-expired", message="It ended.", terminal=True, code="invalid_grant"))
    line = desk.shown("must sign in again", "config", "path")
    desk.follow(line, *BY_BROWSER)
    assert desk.commands.run("config", "path").stderr == ""


@scenario("{prog} auth logout {}, or --all")
def which_of_two_accounts_to_sign_out_of(desk):
    session = desk.signed_in()
    session.sign_in("--region", "cn")
    error = desk.refused("auth", "logout", "--yes")
    command = command_of(error["hint"])
    desk.ok(*command[:2], CN, "--yes")


@scenario("Accounts of {}: {}")
def an_order_of_nobody(desk):
    desk.signed_in()
    words = ("auth", "order", "set", "--provider", "minimax-portal")
    desk.refused(*words)
    id = desk.refused(*words, "nobody")["hint"].split(": ")[1]
    desk.ok(*words, id)


@scenario("Specify a model of its provider: --model {}/MODEL")
def a_model_of_another_provider_than_the_accounts(desk):
    desk.signed_in()
    hint = desk.refused("ask", "--profile", GLOBAL, "--model", "minimax/MiniMax-M2.1", "Hello")["hint"]
    desk.ok("ask", "--profile", GLOBAL, *hint.split(": ")[1].replace("MODEL", "MiniMax-M2.1").split(), "Hello")


@scenario("Add --replace to replace it, or --profile NAME to keep both in the keyring.")
def a_key_of_that_name_exists(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background", "--api-key-stdin", *session.store)
    typed_key(desk, *words, key="sk-emulator-global")
    with standard_input("sk-emulator-global"):
        desk.refused(*words)
    typed_key(desk, *words, "--replace", key="sk-emulator-global")
    typed_key(desk, *words, "--profile", "other", key="sk-emulator-global")


@scenario("--method {}")
def an_unknown_method(desk):
    session = desk.emulator()
    login = ("models", "auth", "login", "--provider", "minimax-portal", *BY_BROWSER, *session.store)
    methods = desk.refused(*login, "--method", "zzz")["hint"].removeprefix("--method ").split("|")
    desk.ok(*login, "--method", methods[0])


@scenario("Leave --region out.")
def a_choice_that_means_another_region(desk):
    session = desk.emulator()
    choice = ("onboard", "--auth-choice", "minimax-global-oauth", *BY_BROWSER, *session.store)
    desk.refused(*choice, "--region", "cn")
    desk.ok(*choice)


@scenario("Add --replace to sign in again (this revokes the old tokens), or --profile NAME to keep both.")
def an_account_of_that_name_exists(desk):
    desk.signed_in()
    desk.refused(*PORTAL, "--region", "global", "--flow", "browser")
    desk.ok(*PORTAL, "--region", "global", "--flow", "browser", "--profile", "work")
    desk.ok(*PORTAL, "--region", "global", "--flow", "browser", "--replace")


@scenario("{prog} auth token {}")
def two_accounts_and_a_default_model_of_neither(desk):
    session = desk.signed_in()
    session.sign_in("--region", "cn")
    desk.ok("config", "set", "agents.defaults.model", '"anthropic/claude-opus-4-6"')
    error = desk.refused("auth", "token")
    for id in error["hint"].removeprefix("portico auth token ").split("|"):
        assert id in {GLOBAL, CN}
        desk.ok("auth", "token", id)


@scenario("--region {}", "Did you mean --region {}?")
def an_unknown_region(desk):
    desk.emulator()
    near = desk.refused(*PORTAL, "--region", "globl")
    regions = desk.refused(*PORTAL, "--region", "zzz")["hint"].removeprefix("--region ")
    assert near["hint"].removesuffix("?").split()[-1] in regions.split("|")
    desk.ok(*PORTAL, "--flow", "browser", "--region", regions.split("|")[0], *desk.commands.store)


@scenario("--auth-choice {}", "Did you mean --auth-choice {}?")
def an_unknown_auth_choice(desk):
    desk.emulator()
    known = desk.refused("onboard", "--auth-choice", "zzz", "--non-interactive")["hint"].removeprefix("--auth-choice ")
    near = desk.refused("onboard", "--auth-choice", "minimax-portl", "--non-interactive")["hint"]
    meant = near.removesuffix("?").split()[-1]
    assert meant in known.split("|")
    desk.ok("onboard", "--auth-choice", meant, "--region", "global", *BY_BROWSER, *desk.commands.store)


@scenario("{} has no regions; leave --region out")
def a_region_of_a_provider_without(desk):
    words = ("onboard", "--auth-choice", "anthropic-api", "--non-interactive")
    desk.refused(*words, "--region", "zzz")
    assert desk.refused(*words)["id"] == "input-needed"


@scenario(
    "Correct or unset {}, or: {prog} onboard --store file   (keeps the tokens in a file encrypted with a passphrase)",
    "{prog} onboard --store file   (keeps the tokens in a file encrypted with a passphrase)",
)
def a_keyring_backend_that_does_not_exist(desk):
    desk.emulator()
    desk.found("keyring-unavailable", env={"PYTHON_KEYRING_BACKEND": "no.such.Backend"})
    desk.ok(*PORTAL, "--region", "global", "--flow", "browser", "--store", "file", env=sealed_store())


@scenario("Choose another name: --profile NAME")
def a_name_that_is_none(desk):
    desk.emulator()
    for name in ("two\nlines", "x" * 195):  # too long with the provider's name before it
        assert desk.refused(*PORTAL, "--region", "global", "--profile", name)["id"] == "usage"
    desk.ok(*PORTAL, "--region", "global", "--flow", "browser", "--profile", "work", *desk.commands.store)


@scenario("Run the command again with {}.")
def no_terminal_to_ask_on(desk):
    error = desk.refused("purge")
    assert error["hint"] == "Run the command again with --yes."
    desk.ok("purge", "--yes")


@scenario("Check {} and its region: the provider rejects accounts of its other regions in the same way.")
def a_pasted_key_that_the_provider_refuses(desk):
    desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background")
    error = desk.refused(*words, env={"MINIMAX_API_KEY": "sk-emulator-cn"})
    assert "auth list" not in error["hint"]  # nothing was stored that could be listed
    assert error["hint"].startswith("Check the new key and its region")
    desk.ok(*words, *desk.commands.store, env=KEY)


@scenario("Sign in again, with the account's own region (the provider rejects accounts of its other regions in the same way): {}")
def a_stored_key_that_the_provider_refuses(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background")
    typed_key(desk, *words, "--api-key-stdin", *session.store, key="sk-emulator-global")
    session.ok("config", "set", "models.providers.minimax.baseUrl", "https://api.minimaxi.com/anthropic")
    error = desk.refused("ask", "--model", "minimax/MiniMax-M2.1", "--no-fallback", "Hello")
    typed_key(desk, *command_of(error["hint"]), "--non-interactive", "--api-key-stdin", key="sk-emulator-global")


@contextmanager
def standard_input(text: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(f"{text}\n".encode()))
    try:
        yield
    finally:
        sys.stdin = before


def typed_key(desk: Desk, *words: str, key: str) -> None:
    with standard_input(key):
        desk.ok(*words)


@scenario("Knobs: {}")
def an_unknown_knob_of_the_emulator(desk):
    run = ("emulator", "run", "--knob")
    known = desk.refused(*run, "nonsense=1")["hint"].removeprefix("Knobs: ").split(", ")
    near = desk.refused(*run, "bost=1")["hint"]
    assert near == "Did you mean boost?"
    assert "boost" in known
    # A wrong value, since with a right one the emulator would keep running.
    assert "Invalid value for knob boost" in desk.refused(*run, "boost=x")["message"]


@scenario("Answer its prompt: `{prog} auth status --check` opens it.")
def a_keyring_that_would_have_to_ask(desk):
    session = desk.signed_in()
    if session.store:
        pytest.skip("no keyring can run here")
    desk.keyring().lock()
    line = desk.shown("Answer its prompt", "auth", "status")
    assert command_of(line) == ["auth", "status", "--check"]
    # Nobody sits at this keyring: that its window opens, and is answered, is `tests/store/test_secret_service.py`'s to show.
    assert session.run(*command_of(line)).returncode == 7


@scenario("Copy it again from the provider's page.")
def text_that_is_no_key(desk):
    desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background")
    desk.refused(*words, env={"MINIMAX_API_KEY": "two words"})
    desk.ok(*words, *desk.commands.store, env=KEY)


@scenario(
    "choose another: {prog} gateway start --port PORT, or {prog} config set gateway.port PORT",
    "tools may have sent their keys there; replace each of them: {prog} gateway key rotate NAME",
    "choose another: {prog} gateway start --port PORT, or {prog} config set gateway.port PORT\n"
    "  tools may have sent their keys there; replace each of them: {prog} gateway key rotate NAME",
)
def the_gateways_port_is_taken_when_a_sign_in_wants_to_start_it(desk):
    session = desk.emulator()
    free = {"PORTICO_GATEWAY_PORT": None}
    with taken_port() as port:
        session.ok("config", "set", "gateway.port", str(port))
        words = ("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--flow", "browser", "--non-interactive")
        desk.shown("not started; ", *words, "--background", *session.store, env=free)
        desk.refused("gateway", "start", env=free)
        try:
            desk.ok("gateway", "start", "--port", str(free_port()), env=free)
            desk.ok("gateway", "key", "add", "tool")
            desk.ok("gateway", "key", "rotate", "tool")
        finally:
            session.run("gateway", "stop")


@scenario("Stop the program that uses the port, or pick another one with `--callback-port`, or use `--flow device`.")
def the_port_for_the_redirect_is_taken(desk):
    session = desk.emulator()
    with taken_port() as port:
        desk.refused(*PORTAL, "--region", "global", "--flow", "browser", "--callback-port", str(port), *session.store)
    desk.ok(*PORTAL, "--region", "global", "--flow", "browser", "--callback-port", str(port), *session.store)


@scenario("Check the connection and HTTPS_PROXY; `{prog} doctor` asks each server that is in use.")
def the_network_is_down(desk):
    session = desk.signed_in()
    with taken_port() as port:
        pass  # nobody listens there any more
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://127.0.0.1:{port}") | {"PORTICO_EMULATOR_HOME": None}
    error = desk.refused(*DEVICE, env=away)
    assert "emulator" not in json.dumps(error)
    assert session.run(*command_of(error["hint"]), env=away).returncode == 9
    desk.ok("auth", "token")


@scenario("This shell uses the emulator, which does not answer. Start it again: `{prog} emulator run`.")
def the_emulator_of_this_shell_is_gone(desk):
    session = desk.signed_in()
    with taken_port() as port:
        pass
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://127.0.0.1:{port}")
    error = desk.refused(*DEVICE, env=away | {"PORTICO_EMULATOR_HOME": str(session.paths.state)})
    assert command_of(error["hint"]) == ["emulator", "run"]
    desk.ok("auth", "token")


@scenario("The provider serves no API at this address. Check baseUrl and api of the provider in your config: {prog} doctor")
def an_address_at_which_the_provider_serves_nothing(desk):
    desk.signed_in()
    entry = {"baseUrl": "https://api.minimax.io/elsewhere", "api": "anthropic-messages", "models": [{"id": "MiniMax-M2.1"}]}
    desk.ok("config", "set", "models.providers.minimax", json.dumps(entry))
    ask = ("ask", "--no-fallback", "--model", "minimax/MiniMax-M2.1", "Hello")
    error = desk.refused(*ask, env=KEY)
    assert command_of(error["hint"]) == ["doctor"]
    desk.commands.run("doctor", env=KEY)
    desk.ok("config", "set", "models.providers.minimax.baseUrl", "https://api.minimax.io/anthropic")
    desk.ok(*ask, env=KEY)
