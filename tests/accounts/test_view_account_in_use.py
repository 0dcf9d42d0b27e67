"""Which account is in use after a sign-in: a change is always printed."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from tests.minimax_session import CN, GLOBAL, SIGN_IN
from tests.person import ENTER, sit_down

pytestmark = pytest.mark.requirement("E88")

WORK = "minimax-portal:work"
PROVIDER = ("--provider", "minimax-portal")
BROWSER = ("--flow", "browser")


@pytest.fixture
def session(minimax):
    return minimax()


def in_use(session):
    return json.loads(session.ok("ask", "--json", "Who?"))["source"].removeprefix("profile ")


def base_url(session):
    return session.ok("config", "get", "models.providers.minimax-portal.baseUrl").strip()


def signed_in(session, *options):
    """Sign in and return the printed text."""
    result = session.run(*SIGN_IN, *BROWSER, *session.store, *options)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_the_first_account_is_in_use_without_a_note(session):
    assert "In use" not in signed_in(session, "--region", "global")
    assert "In use" not in signed_in(session, "--region", "global", "--replace")


def test_an_account_of_another_region_becomes_the_account_in_use_with_a_note(session):
    session.sign_in("--region", "global")

    assert f"In use: {CN} (was {GLOBAL})" in signed_in(session, "--region", "cn")
    assert in_use(session) == CN


def test_with_keep_default_the_account_in_use_stays(session):
    session.sign_in("--region", "global")
    before = base_url(session)

    last = session.sign_in("--region", "cn", "--keep-default")[-1]

    assert (last["inUse"], last["wasInUse"]) == (GLOBAL, GLOBAL)
    assert (in_use(session), base_url(session)) == (GLOBAL, before)
    assert json.loads(session.ok("ask", "--json", "--profile", CN, "Who?"))["source"] == f"profile {CN}"


def test_a_second_account_of_the_region_is_not_used_and_the_command_is_printed(session):
    session.sign_in("--region", "global")

    output = signed_in(session, "--region", "global", "--profile", "work")

    assert f"In use: {GLOBAL} (unchanged). To use {WORK} instead:\n" in output
    command = next(line.strip() for line in output.splitlines() if "auth order set" in line)
    assert in_use(session) == GLOBAL
    session.ok(*command.split()[1:])
    assert in_use(session) == WORK


@pytest.mark.parametrize("options", [("--region", "cn"), ("--region", "global", "--profile", "work")])
def test_an_explicit_order_is_never_changed(session, options):
    session.sign_in("--region", "global")
    session.ok("auth", "order", "set", *PROVIDER, GLOBAL)
    before = session.ok("auth", "order", "get", *PROVIDER, "--json")

    output = signed_in(session, *options)

    assert json.loads(session.ok("auth", "order", "get", *PROVIDER, "--json"))["order"] == json.loads(before)["order"]
    assert f"In use: {GLOBAL} (unchanged)." in output
    assert in_use(session) == GLOBAL


def test_an_account_that_must_sign_in_again_is_replaced_without_a_prompt(session):
    session.sign_in("--region", "global")
    index = ProfileIndex(session.paths)
    ended = Failure(1, "sign-in-expired", "it has ended", terminal=True, code="invalid_grant")
    index.update(GLOBAL, lambda profile: replace(profile, failure=ended))

    assert f"In use: {CN} (was {GLOBAL})" in signed_in(session, "--region", "cn")
    assert "api.minimaxi.com" in base_url(session)


@pytest.mark.parametrize(("answer", "used"), [("y", CN), (ENTER, CN), ("n", GLOBAL)])
def test_on_a_terminal_the_prompt_comes_before_the_browser(session, answer, used):
    session.sign_in("--region", "global")

    words = [word for word in SIGN_IN if word != "--non-interactive"]
    result, person = sit_down(session, *words, *BROWSER, "--region", "cn", *session.store, answers=[answer])

    assert result.returncode == 0, result.stderr
    assert person.asked[0] == f"{GLOBAL} (global) is in use. Use {CN} (cn) from now on?"
    assert f"In use: {used} ({'unchanged' if used == GLOBAL else f'was {GLOBAL}'})" in result.stderr
    assert in_use(session) == used


def test_an_older_account_never_comes_into_use_without_the_users_choice(session):
    """The new account's region has an older account, which would come into use."""
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")
    assert in_use(session) == CN

    output = signed_in(session, "--region", "global", "--profile", "work")

    assert f"In use: {CN} (unchanged). To use {WORK} instead:\n" in output
    assert in_use(session) == CN
    command = next(line.strip() for line in output.splitlines() if "auth order set" in line)
    session.ok(*command.split()[1:])
    assert in_use(session) == WORK


def test_the_printed_command_puts_the_old_account_in_use_again(session):
    session.sign_in("--region", "global")
    output = signed_in(session, "--region", "cn")
    command = next(line.strip() for line in output.splitlines() if "auth order set" in line)
    session.ok(*command.split()[1:])
    assert in_use(session) == GLOBAL


def test_a_sign_out_prints_which_account_is_in_use(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "global", "--profile", "work")
    assert f"In use: {WORK} (was {GLOBAL})" in session.run("auth", "logout", GLOBAL, "--yes").stderr
    assert "In use" not in session.run("auth", "logout", WORK, "--yes").stderr


def test_a_key_of_another_region_becomes_the_account_in_use_unless_keep_default(session, monkeypatch):
    def set_up(choice, key, *options):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
        words = ("onboard", "--auth-choice", choice, "--non-interactive", "--api-key-stdin", *session.store)
        result = session.run(*words, *options)
        assert result.returncode == 0, result.stderr
        return result.stderr

    set_up("minimax-api", "sk-emulator-global")
    unchanged = set_up("minimax-cn-api", "sk-emulator-cn", "--profile", "cn", "--keep-default")
    taken_over = set_up("minimax-cn-api", "sk-emulator-cn", "--profile", "cn", "--replace")

    assert "In use: minimax:default (unchanged)." in unchanged
    assert "In use: minimax:cn (was minimax:default)" in taken_over


@pytest.mark.parametrize("options", [(), ("--keep-default",)])
def test_a_key_in_the_config_does_not_change_the_base_url_of_a_stored_key(session, monkeypatch, options):
    def set_up(choice, key, *words):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
        result = session.run("onboard", "--auth-choice", choice, "--non-interactive", "--api-key-stdin", *session.store, *words)
        assert result.returncode == 0, result.stderr
        return result.stderr

    set_up("minimax-api", "sk-emulator-global")
    output = set_up("minimax-cn-api", "sk-emulator-cn", "--keep-key", "config", *options)

    assert "In use: minimax:default (unchanged)" in output
    assert session.ok("config", "get", "models.providers.minimax.baseUrl").strip() == "https://api.minimax.io/anthropic"
    assert in_use(session) == "minimax:default"


def test_the_printed_command_lists_every_account_of_the_order(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "global", "--profile", "work")
    session.ok("auth", "order", "set", *PROVIDER, GLOBAL, WORK)

    output = signed_in(session, "--region", "cn")

    assert f"auth order set --provider minimax-portal {CN} {GLOBAL} {WORK}\n" in output
