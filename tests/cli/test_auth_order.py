"""`auth order`: two accounts of one provider, told apart by name, and the config otherwise untouched."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from tests.auth.helpers import a_profile
from tests.minimax_session import CN, GLOBAL, in_this_process

WORK = "minimax-portal:work"
PROVIDER = ("--provider", "minimax-portal")


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def two(session):
    """Two accounts of one region, with an order and something the user wrote."""
    session.sign_in("--region", "global")
    session.sign_in("--region", "global", "--profile", "work")
    return session


@pytest.mark.parametrize("words", [("auth",), ("models", "auth")])
def test_the_order_is_set_shown_and_cleared_with_every_comment_kept(two, words):
    config = two.paths.config
    config.write_text("// mine\n" + config.read_text(encoding="utf-8"), encoding="utf-8")

    assert "Order: (none)" in two.ok(*words, "order", "get", *PROVIDER)
    assert f"Order: {WORK}, {GLOBAL}" in two.ok(*words, "order", "set", *PROVIDER, WORK, GLOBAL, WORK)
    value = json.loads(two.ok(*words, "order", "get", *PROVIDER, "--json"))
    assert value == {
        "provider": "minimax-portal",
        "config": str(config),
        "order": [WORK, GLOBAL],
        "profiles": [GLOBAL, WORK],
    }
    assert config.read_text(encoding="utf-8").startswith("// mine\n")
    assert "Removed the order." in two.ok(*words, "order", "clear", *PROVIDER)
    assert json.loads(two.ok(*words, "order", "clear", *PROVIDER, "--json"))["order"] is None


def test_the_first_of_the_order_is_the_one_that_is_used_and_accounts_never_mix(two):
    tokens = {id: two.ok("auth", "token", id) for id in (GLOBAL, WORK)}
    assert len(set(tokens.values())) == 2

    for order in ((WORK, GLOBAL), (GLOBAL, WORK), (WORK,)):
        two.ok("auth", "order", "set", *PROVIDER, *order)
        assert two.ok("auth", "token") == tokens[order[0]]
        assert json.loads(two.ok("ask", "--json", "Who?"))["source"] == f"profile {order[0]}"


def test_one_that_needs_a_new_sign_in_steps_back_and_one_that_is_left_out_never_steps_in(two):
    failure = Failure(
        at=1, id="sign-in-expired", message="The provider refused the refresh token.", terminal=True, code="invalid_grant"
    )
    tokens = {id: two.ok("auth", "token", id) for id in (GLOBAL, WORK)}
    ProfileIndex(two.paths).update(WORK, lambda profile: replace(profile, failure=failure))

    two.ok("auth", "order", "set", *PROVIDER, WORK, GLOBAL)
    assert two.ok("auth", "token") == tokens[GLOBAL]
    done = two.run("auth", "order", "set", *PROVIDER, WORK)
    assert f"Not in the order, so not used: {GLOBAL}" in done.stderr
    assert two.ok("auth", "token") == tokens[WORK]


def test_an_alias_means_its_provider(session):
    session.sign_in("--region", "cn")
    assert "Provider: minimax-portal" in session.ok("auth", "order", "set", "--provider", "minimax", CN)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get",), "Specify --provider."),
        (("set", "--provider", "test"), "Name at least one account."),
        (("set", "--provider", "test", "nobody"), 'Auth profile "nobody" not found in'),
        (("set", "--provider", "openai", "test:default"), 'Auth profile "test:default" is for test, not openai.'),
        (("get", "--provider", "tset"), "Did you mean test?"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(words, said, run_portico, fake_clock):
    ProfileIndex(run_portico.paths).put(a_profile("https://as.example", fake_clock))

    done = in_this_process(("auth", "order", *words), run_portico.environment())

    assert done.returncode == 2
    assert said in done.stderr
    assert not run_portico.paths.config.exists()
