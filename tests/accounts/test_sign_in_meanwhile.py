"""Another command runs while a sign-in waits for its user: the sign-in overwrites nothing."""

from __future__ import annotations

import json

import pytest

from minimax_portal_auth.plugin import MinimaxPortal
from portico.accounts import config_patch, sign_in
from portico.config.document import ConfigUnreadable
from portico.oauth import revocation
from portico.store.vault import Vault
from portico.util.threads import off_loop
from tests.minimax_session import CN, GLOBAL, SIGN_IN
from tests.person import sit_down

pytestmark = pytest.mark.requirement("E86")

ARGS = (*SIGN_IN, "--region", "global", "--flow", "browser")


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def revoked(monkeypatch):
    """The access tokens of the revocation requests, in order."""
    seen = []
    revoke = revocation.revoke

    async def noted(*args, **tokens):
        await revoke(*args, **tokens)
        seen.append(tokens["access"].reveal())

    monkeypatch.setattr(revocation, "revoke", noted)
    return seen


def meanwhile(monkeypatch, session, *args):
    """Run another command, a real process, between a sign-in's approval and its storing; return its standard output."""
    keep, printed = sign_in._store_token_set, []

    async def after_another(*parts):
        result = await off_loop(lambda: session.run_portico.in_a_process(*args, env=session.env))
        assert result.returncode == 0, result.stderr
        printed.append(result.stdout.strip())
        return await keep(*parts)

    monkeypatch.setattr(sign_in, "_store_token_set", after_another)
    return printed


def test_a_slower_sign_in_with_the_same_name_fails_and_its_tokens_are_revoked(session, monkeypatch, revoked):
    meanwhile(monkeypatch, session, *ARGS, *session.store)

    result = session.run(*ARGS, *session.store)

    assert result.returncode == 2
    assert f"{GLOBAL} is already signed in; the new tokens were revoked." in result.stderr
    assert "--replace" in result.stderr
    assert len(revoked) == 1
    assert revoked != [session.ok("auth", "token", GLOBAL).strip()]
    assert "answering as" in session.ok("ask", "Who?")


def test_with_replace_an_account_stored_meanwhile_is_replaced_and_revoked(session, monkeypatch, revoked):
    meanwhile(monkeypatch, session, *ARGS, *session.store)

    result = session.run(*ARGS, "--replace", "--json", *session.store)

    last = json.loads(result.stdout.splitlines()[-1])
    assert (result.returncode, last["event"], last["oldRevoked"]) == (0, "signed-in", True)
    assert len(revoked) == 1
    assert revoked != [session.ok("auth", "token", GLOBAL).strip()]
    assert "answering as" in session.ok("ask", "Who?")


def test_if_the_old_account_was_refreshed_meanwhile_its_newest_tokens_are_revoked(minimax, monkeypatch, revoked):
    session = minimax(access_ttl_s=1)
    session.sign_in("--region", "global")
    refreshed = meanwhile(monkeypatch, session, "auth", "token", GLOBAL)

    assert session.sign_in("--region", "global", "--replace")[-1]["oldRevoked"] is True

    assert revoked == refreshed


def test_if_the_old_account_was_signed_out_meanwhile_the_new_account_is_stored(session, monkeypatch):
    session.sign_in("--region", "global")
    meanwhile(monkeypatch, session, "auth", "logout", GLOBAL, "--yes")

    assert session.sign_in("--region", "global", "--replace")[-1]["oldRevoked"] is None


def test_an_unreadable_index_at_the_end_revokes_the_new_tokens(session, monkeypatch, revoked):
    keep, index = sign_in._store_token_set, session.paths.index

    async def of_a_later_version(*parts):
        index.write_text(json.dumps({"version": 999}), encoding="utf-8")
        return await keep(*parts)

    monkeypatch.setattr(sign_in, "_store_token_set", of_a_later_version)
    result = session.run(*ARGS, *session.store)

    assert result.returncode == 7
    assert "the new tokens were revoked" in result.stderr
    assert len(revoked) == 1


@pytest.mark.parametrize("plugin", ["is switched on by this sign-in", "is on already"])
def test_an_invalid_config_at_the_end_revokes_the_new_tokens(session, monkeypatch, revoked, plugin):
    keep = sign_in._store_token_set
    if plugin == "is on already":
        session.ok("plugins", "enable", "minimax-portal-auth")

    async def with_a_broken_config(*parts):
        await off_loop(lambda: session.run_portico.in_a_process("config", "set", "gateway.port", "18790", env=session.env))
        text = session.paths.config.read_text(encoding="utf-8")
        session.paths.config.write_text(text.replace("18790", '"none"'), encoding="utf-8")
        return await keep(*parts)

    monkeypatch.setattr(sign_in, "_store_token_set", with_a_broken_config)
    result = session.run(*ARGS, *session.store)

    assert result.returncode == 9
    assert "the new tokens were revoked" in result.stderr
    assert len(revoked) == 1


def test_no_prompt_appears_while_the_new_tokens_are_not_stored(session, monkeypatch, revoked):
    meanwhile(monkeypatch, session, *ARGS, *session.store)

    words = [word for word in ARGS if word != "--non-interactive"]
    result, person = sit_down(session, *words, *session.store, answers=[])

    assert (result.returncode, person.asked) == (2, [])
    assert f"{GLOBAL} is already signed in; the new tokens were revoked." in result.stderr
    assert len(revoked) == 1
    assert revoked != [session.ok("auth", "token", GLOBAL).strip()]


def test_the_users_agreement_is_valid_for_one_account_only(session, monkeypatch, revoked):
    """Another account is stored while the tokens of the agreed account are read: reading may wait for an unlock."""
    session.sign_in("--region", "global")
    read, keep, ran = Vault.read, sign_in._store_token_set, []

    def after_another(vault, *args, **how):
        monkeypatch.setattr(Vault, "read", read)
        ran.append(session.run_portico.in_a_process(*ARGS, "--replace", *session.store, env=session.env))
        return read(vault, *args, **how)

    async def then(*parts):
        monkeypatch.setattr(Vault, "read", after_another)
        return await keep(*parts)

    monkeypatch.setattr(sign_in, "_store_token_set", then)
    words = [word for word in ARGS if word != "--non-interactive"]
    result, person = sit_down(session, *words, *session.store, answers=["y"])

    assert ran[0].returncode == 0, ran[0].stderr
    assert (result.returncode, len(person.asked)) == (2, 1), result.stderr
    assert revoked != [session.ok("auth", "token", GLOBAL).strip()]
    assert "answering as" in session.ok("ask", "Who?")


def test_if_the_config_cannot_be_written_the_old_tokens_are_still_revoked(session, monkeypatch, revoked):
    session.sign_in("--region", "global")
    old = session.ok("auth", "token", GLOBAL).strip()

    def refuse(*_args):
        raise ConfigUnreadable("the disk is full")

    monkeypatch.setattr(config_patch, "write_config", refuse)
    result = session.run(*ARGS, "--replace", *session.store)

    assert result.returncode == 9
    assert revoked == [old]


@pytest.mark.parametrize("before", [(), ("--region", "global", "--replace")])
def test_the_account_in_use_is_decided_again_at_the_end(session, monkeypatch, before):
    if before:
        session.sign_in("--region", "global")
    cn = (*SIGN_IN, "--region", "cn", "--flow", "browser")
    meanwhile(monkeypatch, session, *cn, *session.store)

    result = session.run(*ARGS, "--keep-default", *before, *session.store)

    assert result.returncode == 0, result.stderr
    assert f"In use: {CN} (unchanged)." in result.stderr
    assert json.loads(session.ok("ask", "--json", "Who?"))["source"] == f"profile {CN}"


def test_a_plugin_failure_at_the_end_revokes_the_new_tokens(session, monkeypatch, revoked):
    def fail(*_args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(MinimaxPortal, "accept", fail)
    assert session.run(*ARGS, *session.store).returncode == 1
    assert len(revoked) == 1
