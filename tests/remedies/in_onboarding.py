"""The end of a sign-in, the background process, and the questions of `onboard` and `configure`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from portico.accounts import storing
from portico.errors import StoreError
from portico.gateway import control
from portico.store import encrypted_file
from portico.store.errors import KeyringUnavailable
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from tests.free_port import free_port
from tests.minimax_session import GLOBAL, SIGN_IN, sealed_store
from tests.person import sit_down
from tests.remedies.in_sign_in import BY_BROWSER, KEY, PORTAL, typed_key
from tests.remedies.scenario import command_of, scenario
from tests.store.helpers import HELPERS, InMemory

BROWSER = ("--region", "global", "--flow", "browser")
NO_PORT = {"PORTICO_GATEWAY_PORT": None}


@scenario("none; tokens are refreshed when used (to change this: {prog} gateway start)")
def a_sign_in_without_a_background_process(desk):
    session = desk.emulator()
    line = desk.shown("Background", *PORTAL, *BROWSER, *session.store)
    desk.printed.append(line.removeprefix("Background").strip())
    desk.ok("config", "set", "gateway.port", str(free_port()))
    try:
        desk.follow(line, env=NO_PORT)
        assert "the running gateway refreshes the tokens" in desk.shown(
            "Background", *PORTAL, *BROWSER, *session.store, "--replace"
        )
    finally:
        session.run("gateway", "stop")


@scenario("the gateway cannot refresh the tokens until you restart it: {prog} gateway restart")
def a_gateway_that_was_started_without_the_passphrase_and_does_not_restart(desk):
    session = desk.emulator()
    session.ok("config", "set", "gateway.port", str(free_port()))
    session.ok("gateway", "start", env=NO_PORT | {"PORTICO_PASSPHRASE": None})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control, "restart", lambda *_args, **_how: (_ for _ in ()).throw(StoreError("busy", "It is busy.")))
            sealed = sealed_store() | NO_PORT
            words = (*PORTAL, *BROWSER, "--store", "file")
            line = desk.shown("Background", *words, env=sealed)
        desk.printed.append(line.removeprefix("Background").strip())
        state = control.running(session.paths)
        assert control.lacks_passphrase(session.paths, state)
        desk.follow(line, env=sealed)
        assert not control.lacks_passphrase(session.paths, control.running(session.paths))
    finally:
        session.run("gateway", "stop")


@scenario("Set it, and run the command again: export {}=...")
def a_key_of_the_environment_that_is_not_set(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--keep-key", "env", "--non-interactive", "--no-background")
    hint = desk.refused(*words)["hint"]
    name = hint.split("export ")[1].removesuffix("=...")
    desk.ok(*words, *session.store, env={name: KEY["MINIMAX_API_KEY"]})


@scenario('Next:  {prog} ask "Hello"   |   {prog} models list')
def what_comes_after_a_key(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background")
    line = desk.shown("Next:", *words, *session.store, env=KEY)
    for command in line.removeprefix("Next:").split("|"):
        desk.follow(command)


@scenario("To keep both: {prog} models auth login --provider {} --profile NAME")
def an_account_that_shall_not_be_replaced(desk):
    session = desk.signed_in()
    done, _ = sit_down(session, "onboard", *session.store, answers=["minimax", "minimax-portal", "global", "n"])
    hint = done.stderr.splitlines()[-2].strip()
    desk.printed.append(hint)
    desk.ok(*command_of(hint)[:-1], "work", "--region", "global", *BY_BROWSER, *session.store)
    assert [each["id"] for each in session.profiles()] == [GLOBAL, "minimax-portal:work"]


@scenario("{prog} models auth login --provider {} --store {}")
def a_store_that_fails_when_the_tokens_have_come(desk):
    desk.emulator()
    keyring = {"PYTHON_KEYRING_BACKEND": f"{HELPERS}.{InMemory.__name__}"} | sealed_store()
    commit = Vault.commit

    def away(vault, *args, **how):
        if vault._chosen_store != "file":
            raise KeyringUnavailable("The keyring went away.")
        return commit(vault, *args, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storing, "_RETRY_AFTER_S", 0)
        patch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
        patch.setattr(Vault, "commit", away)
        hint = desk.refused(*SIGN_IN, *BROWSER, env=keyring)["hint"]
        desk.follow(hint, *BY_BROWSER, env=keyring)
        desk.ok("auth", "token", env=keyring)
    InMemory.passwords.clear()


@scenario("{prog} config set base {}")
def the_terminal_closes_at_the_question_about_openclaws_config(desk):
    session = desk.emulator()
    path = Path(session.run_portico.environment(session.env)["HOME"]) / ".openclaw" / "openclaw.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    model = "minimax/MiniMax-M3"
    path.write_text(json.dumps({"agents": {"defaults": {"model": {"primary": model}}}}), encoding="utf-8")
    done, _ = sit_down(session, "configure", answers=[])
    assert done.returncode == 2
    hint = next(line.strip() for line in done.stderr.splitlines() if "config set base" in line)
    desk.printed.append(hint)
    desk.follow(hint)
    assert model in desk.ok("config", "get", "agents.defaults.model")


@scenario("Nothing was set up. To continue later: {prog} onboard")
def a_set_up_that_was_skipped(desk):
    session = desk.emulator()
    done, person = sit_down(session, "onboard", *session.store, answers=["back"])
    line = done.stderr.splitlines()[-1]
    desk.printed.append(line)
    assert command_of(line) == ["onboard"]
    again, person = sit_down(
        session, *command_of(line), *session.store, answers=["minimax", "minimax-portal", "global", "1", "n"]
    )
    assert (again.returncode, session.profiles()[0]["id"]) == (0, GLOBAL), person.shown.getvalue()


@scenario("Sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace")
def a_key_that_is_gone_from_the_store(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background", "--api-key-stdin")
    typed_key(desk, *words, *session.store, key=KEY["MINIMAX_API_KEY"])
    (profile,) = session.profiles()
    index = ProfileIndex(session.paths)
    index.update(profile["id"], lambda now: replace(now, slot="b" if now.slot == "a" else "a"))
    hint = desk.refused("auth", "token", profile["id"])["hint"]
    typed_key(desk, *command_of(hint), "--non-interactive", "--api-key-stdin", key=KEY["MINIMAX_API_KEY"])
    assert desk.ok("auth", "token", profile["id"]).strip() == KEY["MINIMAX_API_KEY"]
