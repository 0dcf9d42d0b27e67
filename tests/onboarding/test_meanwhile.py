"""What another command did while a sign-in waited for its person is seen when the tokens are stored: nothing is overwritten."""

from __future__ import annotations

import json

import pytest

from portico.oauth import revocation
from portico.onboarding import sign_in
from portico.store.off_loop import off_loop
from tests.minimax_session import GLOBAL, SIGN_IN

pytestmark = pytest.mark.requirement("E86")

ARGS = (*SIGN_IN, "--region", "global", "--flow", "browser")


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def revoked(monkeypatch):
    """The access tokens that the provider was told to revoke, in order."""
    seen = []
    revoke = revocation.revoke

    async def noted(*args, **tokens):
        await revoke(*args, **tokens)
        seen.append(tokens["access"].reveal())

    monkeypatch.setattr(revocation, "revoke", noted)
    return seen


def meanwhile(monkeypatch, session, *args):
    """Let another command, a real process, run between the approval of a sign-in and its storing; its standard output."""
    keep, printed = sign_in._keep, []

    async def after_another(*parts):
        done = await off_loop(lambda: session.run_portico(*args, env=session.env))
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
        return await keep(*parts)

    monkeypatch.setattr(sign_in, "_keep", after_another)
    return printed


def test_a_sign_in_that_another_one_has_overtaken_is_refused_and_given_back(session, monkeypatch, revoked):
    meanwhile(monkeypatch, session, *ARGS, *session.store)

    done = session.run(*ARGS, *session.store)

    assert done.returncode == 2
    assert f"{GLOBAL} is signed in already; the sign-in was revoked again." in done.stderr
    assert "--replace" in done.stderr
    assert len(revoked) == 1
    assert revoked != [session.ok("auth", "token", GLOBAL).strip()]
    assert "answering as" in session.ok("ask", "Who?")


def test_with_replace_the_one_that_was_stored_meanwhile_is_replaced_and_revoked(session, monkeypatch, revoked):
    meanwhile(monkeypatch, session, *ARGS, *session.store)

    done = session.run(*ARGS, "--replace", "--json", *session.store)

    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["event"], last["oldRevoked"]) == (0, "signed-in", True)
    assert len(revoked) == 1
    assert revoked != [session.ok("auth", "token", GLOBAL).strip()]
    assert "answering as" in session.ok("ask", "Who?")


def test_what_is_replaced_may_have_been_refreshed_meanwhile_and_its_newest_tokens_are_revoked(minimax, monkeypatch, revoked):
    session = minimax(access_ttl_s=1)
    session.sign_in("--region", "global")
    refreshed = meanwhile(monkeypatch, session, "auth", "token", GLOBAL)

    assert session.sign_in("--region", "global", "--replace")[-1]["oldRevoked"] is True

    assert revoked == refreshed


def test_what_was_to_be_replaced_and_was_signed_out_meanwhile_leaves_its_place_free(session, monkeypatch):
    session.sign_in("--region", "global")
    meanwhile(monkeypatch, session, "auth", "logout", GLOBAL, "--yes")

    assert session.sign_in("--region", "global", "--replace")[-1]["oldRevoked"] is None
