"""Tokens that a killed refresh had written, before the profile pointed at them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.errors import StoreError
from portico.store.profiles import ProfileIndex
from portico.store.records import Failure, JournalEntry, Renewal, fingerprint
from portico.store.vault import Vault
from tests.store.helpers import HELPERS, InMemory, a_profile, some_tokens

ID = "minimax-portal:default"
STARTED = 1_700_000_500_000


class Killed(BaseException):
    """Ends a commit where SIGKILL would."""


def a_vault(paths, *, die_at=None):
    def crash_point(step):
        if step == die_at:
            raise Killed

    return Vault(paths, ProfileIndex(paths), env={"PYTHON_KEYRING_BACKEND": f"{HELPERS}.InMemory"}, crash_point=crash_point)


def refreshing(paths, index):
    """A signed-in profile whose refresh was sent: it has a journal entry."""
    stored = a_vault(paths).commit(a_profile(), some_tokens())
    entry = JournalEntry(generation=stored.generation, token="0" * 64, started_at=STARTED, sends=1, pid=1)
    return index.update(ID, lambda profile: replace(profile, journal_entry=entry))


def killed_commit(paths, profile, tokens, *, at, expect_generation):
    if expect_generation is not None:
        tokens = replace(tokens, renewal=Renewal(replaces=expect_generation, refreshed_at=STARTED))
    with pytest.raises(Killed):
        a_vault(paths, die_at=at).commit(profile, tokens, expect_generation=expect_generation)


def idle_user():
    (user,) = [user for _, user in InMemory.passwords if "#b" in user]
    return user


@pytest.mark.requirement("E51")
@pytest.mark.parametrize("at", ["written", "verified"])
@pytest.mark.parametrize("how", ["read", "refresh", "sweep"])
def test_the_tokens_that_a_killed_refresh_has_written_are_the_profile_s(paths, index, in_memory, at, how):
    before = refreshing(paths, index)
    new = some_tokens(expires_at=1_700_009_000_000)
    killed_commit(paths, replace(before, journal_entry=None), new, at=at, expect_generation=before.generation)

    if how == "sweep":
        assert a_vault(paths).sweep() == ()
    tokens = a_vault(paths).read(ID, to_refresh=how == "refresh")
    if how == "read":  # it was given what there was, and finished the rest for the next one
        assert tokens.generation == before.generation
        tokens = a_vault(paths).read(ID)
    assert (tokens.access, tokens.refresh) == (new.access, new.refresh)
    after = index.get(ID)
    assert after.generation == tokens.generation > before.generation
    assert (after.journal_entry, after.failure, after.expires_at, after.refreshed_at) == (None, None, new.expires_at, STARTED)
    assert len(InMemory.passwords) == 1
    assert index.view().leftovers == ()


def test_a_killed_refresh_that_had_written_nothing_leaves_the_old_tokens_and_its_journal_entry(paths, index, in_memory):
    before = refreshing(paths, index)
    killed_commit(paths, before, some_tokens(), at="intent", expect_generation=before.generation)

    assert a_vault(paths).read(ID).generation == before.generation
    assert index.get(ID).journal_entry == before.journal_entry
    assert index.view().leftovers == ()


def test_the_tokens_of_a_killed_sign_in_never_become_another_sign_in_s(paths, index, in_memory):
    before = refreshing(paths, index)
    killed_commit(paths, a_profile(created_at=STARTED), some_tokens(), at="verified", expect_generation=None)

    assert a_vault(paths).read(ID).generation == before.generation
    assert index.get(ID).created_at == before.created_at
    assert len(InMemory.passwords) == 1


def test_a_record_that_the_kill_has_cut_short_is_deleted(paths, index, in_memory):
    before = refreshing(paths, index)
    killed_commit(paths, before, some_tokens(), at="written", expect_generation=before.generation)
    InMemory.passwords["portico", idle_user()] = '{"v":1,"generation":2,"acc'

    assert a_vault(paths).read(ID).generation == before.generation
    assert len(InMemory.passwords) == 1


def test_of_a_sign_in_that_has_ended_nothing_is_finished(paths, index, in_memory):
    before = refreshing(paths, index)
    killed_commit(paths, before, some_tokens(), at="verified", expect_generation=before.generation)
    ended = Failure(at=1, id="sign-out-unfinished", message="it could not be deleted", terminal=True)
    index.update(ID, lambda profile: replace(profile, failure=ended))

    assert a_vault(paths).sweep() == ()
    assert index.get(ID).failure == ended
    assert len(InMemory.passwords) == 1


def test_a_record_whose_own_refresh_token_was_sent_since_is_no_step_forward(paths, index, in_memory):
    before = refreshing(paths, index)
    new = some_tokens()
    killed_commit(paths, before, new, at="verified", expect_generation=before.generation)
    index.update(
        ID, lambda profile: replace(profile, journal_entry=replace(profile.journal_entry, token=fingerprint(new.refresh)))
    )

    assert a_vault(paths).read(ID, to_refresh=True).generation == before.generation


def test_new_tokens_that_cannot_be_read_now_stay_for_later(paths, index, in_memory, monkeypatch):
    before = refreshing(paths, index)
    new = some_tokens()
    killed_commit(paths, before, new, at="verified", expect_generation=before.generation)
    honest = InMemory.get_password

    def locked(self, service, username):
        if "#b" in username:
            raise OSError("locked")
        return honest(self, service, username)

    with monkeypatch.context() as patch:
        patch.setattr(InMemory, "get_password", locked)
        assert a_vault(paths).read(ID).generation == before.generation
        with pytest.raises(StoreError):
            a_vault(paths).read(ID, to_refresh=True)
        (stuck,) = a_vault(paths).sweep()
        assert "locked" in stuck
    assert a_vault(paths).read(ID, to_refresh=True).access == new.access
