"""`models status`: what is set up, whether it works, and in which exit code that is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from portico.testing.canary import in_text
from tests.minimax_session import CN, GLOBAL


def status(session, *options, **more):
    return json.loads(session.ok("models", "status", "--json", *options, **more))


@pytest.fixture
def session(minimax):
    return minimax()


def test_before_anything_is_set_up_it_names_the_next_command(session):
    done = session.run("models", "status")

    assert done.returncode == 0
    assert "You are not signed in. Run `portico onboard --auth-choice minimax-portal`." in done.stdout
    assert session.run("models").stdout == done.stdout


@pytest.mark.requirement("P12")
def test_it_shows_the_default_the_fallbacks_the_aliases_and_who_is_signed_in(session):
    session.sign_in("--region", "global")
    session.ok("models", "fallbacks", "add", "minimax/MiniMax-M2.1", env={"MINIMAX_API_KEY": "not-a-real-one"})

    told = status(session, env={"MINIMAX_API_KEY": "not-a-real-one"})

    assert told["resolvedDefault"] == "minimax-portal/MiniMax-M2.1"
    assert told["fallbacks"] == ["minimax/MiniMax-M2.1"]
    assert told["aliases"]["minimax-m2.1"] == "minimax-portal/MiniMax-M2.1"
    accounts = {one["provider"]: one for one in told["auth"]["providers"]}
    assert accounts["minimax-portal"]["effective"]["kind"] == "profiles"
    assert accounts["minimax"]["effective"] == {"kind": "env", "detail": "MINIMAX_API_KEY"}
    assert told["auth"]["providersWithOAuth"] == ["minimax-portal (1)"]
    (profile,) = told["auth"]["oauth"]["profiles"]
    assert (profile["profileId"], profile["type"], profile["status"]) == (GLOBAL, "oauth", "ok")


def test_plain_is_the_default_model_alone(session):
    session.sign_in("--region", "global")

    assert session.ok("models", "status", "--plain") == "minimax-portal/MiniMax-M2.1\n"
    assert session.run("models", "status", "--plain", "--json").returncode == 2


def test_check_ends_with_1_where_a_model_in_use_has_no_credential(session):
    session.sign_in("--region", "global")
    assert session.run("models", "status", "--check").returncode == 0
    session.ok("models", "fallbacks", "add", "anthropic/claude-opus-4-6")

    done = session.run("models", "status", "--check")

    assert done.returncode == 1
    assert "Missing auth\n- anthropic:" in done.stdout


def test_check_ends_with_1_for_a_sign_in_that_the_portal_ended_and_2_for_one_that_keeps_failing(session):
    session.sign_in("--region", "global")
    index = ProfileIndex(session.paths)

    def becomes(failure):
        index.update(GLOBAL, lambda profile: replace(profile, failure=failure, expires_at=1))
        return session.run("models", "status", "--check")

    away = Failure(at=1, id="network", message="No answer.", terminal=False)
    failing = becomes(away)
    ended = becomes(replace(away, id="sign-in-expired", terminal=True, code="invalid_grant"))

    assert (failing.returncode, f"{GLOBAL} failing" in failing.stdout) == (2, True)
    assert (ended.returncode, f"{GLOBAL} expired" in ended.stdout) == (1, True)


@pytest.mark.requirement("P12")
def test_a_probe_asks_each_credential_for_a_word_and_says_what_came_of_it(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    told = status(session, "--probe", env={"MINIMAX_API_KEY": "sk-wrong-1234567890"})

    probes = {one["profileId"] or one["source"]: one for one in told["auth"]["probes"]}
    assert {name: one["status"] for name, one in probes.items()} == {
        GLOBAL: "ok",
        CN: "ok",
        "environment variable MINIMAX_API_KEY": "auth",
    }
    assert probes[GLOBAL]["latencyMs"] >= 0
    assert in_text(json.dumps(told)) == []


def test_a_probe_can_be_of_one_provider_or_one_sign_in(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    (probe,) = status(session, "--probe", "--probe-profile", CN)["auth"]["probes"]
    assert probe["profileId"] == CN
    assert len(status(session, "--probe", "--probe-provider", "minimax-portal")["auth"]["probes"]) == 2
    unknown = session.run("models", "status", "--probe", "--probe-profile", "minimax-portal:work")
    assert (unknown.returncode, "Not signed in: minimax-portal:work" in unknown.stderr) == (3, True)
    assert session.run("models", "status", "--probe", "--probe-provider", "acme").returncode == 2
    assert session.run("models", "status", "--probe", "--probe-timeout", "0").returncode == 2


def test_a_probe_of_a_plan_that_is_missing_or_used_up_says_which(minimax):
    none = minimax(knobs={"quota": "none"})
    none.sign_in("--region", "global")

    done = none.run("models", "status", "--probe")

    assert "billing" in done.stdout
    assert "https://platform.minimax.io/console/plan" in done.stderr


def test_a_probe_without_a_network_says_that_and_how_to_go_on(session, unused_tcp_port):
    session.sign_in("--region", "global")
    proxy = f"http://127.0.0.1:{unused_tcp_port}"

    (probe,) = status(session, "--probe", env={"HTTPS_PROXY": proxy, "https_proxy": proxy})["auth"]["probes"]

    assert probe["status"] == "unreachable"
    assert probe["latencyMs"] is None


def test_a_probe_behind_a_proxy_that_cannot_be_used_has_reached_nobody(session):
    session.sign_in("--region", "global")
    proxy = "socks5://127.0.0.1:9"

    (probe,) = status(session, "--probe", env={"HTTPS_PROXY": proxy, "https_proxy": proxy})["auth"]["probes"]

    assert probe["status"] == "unreachable"
