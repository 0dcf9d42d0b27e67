"""`auth status`, and the line that every command says once a sign-in has ended."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from portico.testing.canary import in_text
from tests.auth.helpers import a_profile
from tests.minimax_session import CN, GLOBAL, in_this_process

HOUR = 3_600_000
REFUSED = Failure(
    at=1, id="sign-in-expired", message="The provider refused\nthe refresh token.", terminal=True, code="invalid_grant"
)
LINE = f"portico: {GLOBAL} must sign in again: The provider refused the refresh token. - portico models auth login"


@pytest.fixture
def session(minimax):
    return minimax()


def change(session, id=GLOBAL, **changed):
    ProfileIndex(session.paths).update(id, lambda profile: replace(profile, **changed))


@pytest.mark.requirement("E81")
def test_a_healthy_sign_in_is_shown_whole_and_never_a_secret(session):
    session.sign_in("--region", "global")
    now = int(time.time() * 1000)
    change(session, refreshed_at=now - 60_000)

    text = session.ok("auth", "status", "--check")
    (value,) = json.loads(session.ok("auth", "status", "--check", "--json"))["profiles"]

    for shown in (
        f"{GLOBAL}: ok",
        "expires in",
        "works; last refresh: 20",
        "(1m ago)",
        "global (https://api",
        "to do         nothing",
    ):
        assert shown in text
    assert (value["status"], value["access"], value["refresh"], value["advice"]) == ("ok", "good", "works", None)
    assert value["lastRefreshAt"] == now - 60_000
    assert value["remainingMs"] > 0
    assert in_text(text) == []


@pytest.mark.requirement("E81")
def test_check_tells_the_cases_apart_by_its_exit_code(session):
    assert session.run("auth", "status", "--check").returncode == 3
    session.sign_in("--region", "global")
    now = int(time.time() * 1000)
    away = Failure(at=now, id="network", message="No answer.", terminal=False)

    change(session, has_refresh=False, expires_at=now + HOUR)
    assert session.run("auth", "status", "--check").returncode == 12
    assert session.run("auth", "status").returncode == 0
    change(session, has_refresh=False, expires_at=now - HOUR)
    assert session.run("auth", "status", "--check").returncode == 3
    change(session, has_refresh=True, failure=away)
    failing = session.run("auth", "status", "--check")
    assert failing.returncode == 12
    assert f"{GLOBAL}: refresh failing" in failing.stdout
    assert "No answer." in failing.stdout
    change(session, failure=REFUSED)
    value = json.loads(session.run("auth", "status", "--check", "--json").stdout)
    assert value["exitCode"] == 3
    assert value["profiles"][0]["lastFailure"]["terminal"] is True
    assert "models auth login" in value["profiles"][0]["advice"]


@pytest.mark.requirement("E81")
@pytest.mark.requirement("E177")
def test_a_store_that_does_not_give_the_tokens_back_is_noticed(session):
    session.sign_in("--region", "global")
    change(session, slot="b" if ProfileIndex(session.paths).get(GLOBAL).slot == "a" else "a")

    assert session.run("auth", "status").returncode == 7
    done = session.run("auth", "status", "--check", "--json")

    assert done.returncode == 7
    assert json.loads(done.stdout)["profiles"][0]["status"] == "store unreadable"
    assert f"{GLOBAL}: store unreadable" in session.run("auth", "status", "--check").stdout


def test_from_the_first_refusal_on_every_command_says_so_in_one_line(session):
    session.sign_in("--region", "global")
    change(session, failure=REFUSED)

    for words in (("plugins", "list"), ("config", "path"), ("models", "list"), ("auth", "list"), ("gateway", "status", "--json")):
        done = session.run(*words)
        assert done.returncode == 0
        assert [line for line in done.stderr.splitlines() if line.startswith(LINE)] == done.stderr.splitlines()[-1:]
    assert session.run("config", "path", "--quiet").stderr == ""
    assert LINE in session.run("config", "get", "no.such.thing").stderr
    assert LINE not in session.run("auth", "token").stderr


def test_several_ended_sign_ins_are_one_line_and_a_mended_one_is_none(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")
    change(session, failure=REFUSED)
    change(session, CN, failure=REFUSED)

    (line,) = session.run("config", "path").stderr.splitlines()
    assert line == f"portico: these accounts must sign in again: {GLOBAL}, {CN} - see portico auth status"

    session.ok("auth", "logout", CN, "--yes")
    session.sign_in("--region", "global", "--replace")
    assert session.run("config", "path").stderr == ""


def test_a_damaged_index_stops_no_command_that_does_not_need_it(run_portico, fake_clock):
    ProfileIndex(run_portico.paths).put(a_profile("https://as.example", fake_clock))
    run_portico.paths.index.write_text("{", encoding="utf-8")

    done = in_this_process(("config", "path"), run_portico.environment())

    assert (done.returncode, done.stderr) == (0, "")
