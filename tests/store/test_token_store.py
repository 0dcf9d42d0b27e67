"""What every token store does: this machine's own, and one that several machines share.

A further implementation is put through this by another `kind` of the `machines` fixture: a function that gives a new machine's
view of one store, and one that kills a machine.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from portico.errors import LockBusy, SignInNeeded
from portico.secret import Secret
from portico.store.records import Failure, JournalEntry
from portico.store.token_store import ABSENT, GenerationChanged, Tokens, TokenStore, local_token_store
from tests.store.helpers import a_profile, some_tokens
from tests.store.in_memory_store import Engine, SharedStore

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "minimax-portal:default"
JOURNAL_ENTRY = JournalEntry(generation=0, token="f" * 64, started_at=1, sends=1, pid=1, boot_id="boot", sent_at=1)
FAILED = Failure(1, "network", "The server did not answer.", terminal=False)

# Begins a refresh, notes that the token is being sent, and lives until it is killed.
OWNER = """
import sys
from dataclasses import replace
from portico.paths import resolve_paths
from portico.store.token_store import local_token_store
from tests.store.test_token_store import JOURNAL_ENTRY, ID
store = local_token_store(resolve_paths(), store="file")
turn, profile = store.begin_refresh(ID), store.get(ID)
turn.note_sending(profile, replace(JOURNAL_ENTRY, generation=profile.generation))
print("sending", flush=True)
sys.stdin.read()
"""


@dataclass
class Machines:
    """`open` gives one more view of the same store; `dead_owner` leaves a refresh whose owner died after it had sent."""

    open: Callable[[], TokenStore]
    dead_owner: Callable[[], Any]


@pytest.fixture(params=["local", "shared"])
def machines(request, paths, run_portico, passphrase):
    with ExitStack() as stack:
        yield _local(paths, run_portico, passphrase, stack) if request.param == "local" else _shared()


def _local(paths, run_portico, passphrase, stack) -> Machines:
    def dead_owner() -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", OWNER],
            env=run_portico.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.enter_context(child)
        assert child.stdout.readline() == b"sending\n"
        child.kill()
        child.wait()

    return Machines(lambda: local_token_store(paths, store="file", passphrase=lambda: passphrase), dead_owner)


def _shared() -> Machines:
    engine = Engine()

    def dead_owner() -> None:
        other = SharedStore(engine)
        turn, profile = other.begin_refresh(ID), other.get(ID)
        turn.note_sending(profile, replace(JOURNAL_ENTRY, generation=profile.generation))
        other.alive = False

    return Machines(lambda: SharedStore(engine), dead_owner)


@pytest.fixture
def store(machines) -> TokenStore:
    return machines.open()


def same(left: Tokens, right: Tokens) -> bool:
    return (left.access, left.refresh, left.expires_at) == (right.access, right.refresh, right.expires_at)


def test_what_was_committed_is_listed_and_read_by_everybody_with_its_profile(machines, store):
    tokens = some_tokens()
    stored = store.commit(a_profile(), tokens, expect_generation=ABSENT)
    other = machines.open()

    assert other.profiles() == (stored,)
    assert (other.snapshot().profiles, other.snapshot().damaged, other.snapshot().get(ID)) == ((stored,), (), stored)
    assert (other.get(ID), stored.has_refresh, stored.expires_at) == (stored, True, tokens.expires_at)
    assert other.read(ID).profile == stored
    assert other.read(ID).stored
    assert same(other.read(ID).tokens, tokens)


def test_nobody_is_listed_and_nothing_read_before_the_first_sign_in(store):
    assert (store.profiles(), store.get(ID)) == ((), None)
    assert store.update(ID, lambda profile: profile) is None
    with pytest.raises(SignInNeeded):
        store.read(ID)


def test_each_commit_is_a_new_version_also_after_a_sign_out(store):
    first = store.commit(a_profile(), some_tokens())
    second = store.commit(first, some_tokens(), expect_generation=first.generation)
    assert store.delete(ID, expect_generation=second.generation) == ()
    third = store.commit(a_profile(), some_tokens(), expect_generation=ABSENT)

    assert len({ABSENT, first.generation, second.generation, third.generation}) == 4


def test_a_commit_or_a_deletion_against_a_stale_version_is_refused_and_changes_nothing(machines, store):
    first = store.commit(a_profile(), some_tokens())
    newer = some_tokens()
    second = machines.open().commit(first, newer, expect_generation=first.generation)

    for stale in (first.generation, ABSENT):
        with pytest.raises(GenerationChanged):
            store.commit(first, some_tokens(), expect_generation=stale)
    with pytest.raises(GenerationChanged):
        store.delete(ID, expect_generation=first.generation)
    assert store.read(ID).profile == second
    assert same(store.read(ID).tokens, newer)


def test_of_many_writers_that_expect_one_version_one_stores_its_tokens(machines, store):
    first = store.commit(a_profile(), some_tokens())
    won, lost = [], []

    def write(number):
        tokens = Tokens(Secret(f"access {number}"), None, number)
        try:
            machines.open().commit(first, tokens, expect_generation=first.generation)
            won.append(number)
        except GenerationChanged:
            lost.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (len(won), len(lost)) == (1, 5)
    assert store.read(ID).tokens.expires_at == won[0]


def test_updates_of_one_profile_lose_none(machines, store):
    store.commit(replace(a_profile(), scope=""), some_tokens())

    def add(word):
        machines.open().update(ID, lambda profile: replace(profile, scope=f"{profile.scope} {word}".strip()))

    writers = [threading.Thread(target=add, args=(f"s{number}",)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(store.get(ID).scope.split()) == [f"s{number}" for number in range(6)]


def test_a_deleted_profile_is_gone_for_everybody(machines, store):
    store.commit(a_profile(), some_tokens())
    store.commit(a_profile("minimax-portal:cn"), some_tokens())

    assert store.delete(ID) == ()
    assert [profile.id for profile in machines.open().profiles()] == ["minimax-portal:cn"]
    with pytest.raises(SignInNeeded):
        machines.open().read(ID)


def test_a_second_owner_gets_no_turn_and_sees_what_the_first_noted(machines, store):
    profile = store.commit(a_profile(), some_tokens())
    entry = replace(JOURNAL_ENTRY, generation=profile.generation)
    turn = store.begin_refresh(ID)
    other = machines.open()

    with pytest.raises(LockBusy):
        other.begin_refresh(ID)
    assert turn.note_sending(profile, entry).journal_entry == entry
    assert other.get(ID).journal_entry == entry
    assert other.begin_refresh(ID, wait_s=30, unless=lambda: other.get(ID).journal_entry is not None) is None
    turn.end()
    turn.end()
    other.begin_refresh(ID).end()


def test_a_turn_is_had_as_soon_as_the_first_owner_ends_its(machines, store):
    store.commit(a_profile(), some_tokens())
    turn, polled = store.begin_refresh(ID), threading.Event()
    end_turn = threading.Thread(target=lambda: (polled.wait(10), turn.end()))
    end_turn.start()
    second = machines.open().begin_refresh(ID, wait_s=10, unless=lambda: bool(polled.set()))
    end_turn.join()
    assert second is not None
    second.end()


def test_turns_with_two_profiles_are_apart(store):
    store.begin_refresh(ID).end()
    first, second = store.begin_refresh(ID), store.begin_refresh("minimax-portal:cn")
    first.end()
    second.end()


def test_a_refresh_that_succeeds_leaves_no_journal_entry(machines, store):
    profile = store.commit(a_profile(), some_tokens())
    turn = store.begin_refresh(ID)
    sending = turn.note_sending(profile, replace(JOURNAL_ENTRY, generation=profile.generation))
    new = some_tokens()
    store.commit(replace(sending, journal_entry=None), new, expect_generation=sending.generation)
    turn.end()

    after = machines.open().read(ID, to_refresh=True)
    assert (after.profile.journal_entry, after.profile.generation > profile.generation) == (None, True)
    assert same(after.tokens, new)


def test_a_refresh_that_fails_leaves_its_failure_and_what_may_be_spent(machines, store):
    profile = store.commit(a_profile(), some_tokens())
    entry = replace(JOURNAL_ENTRY, generation=profile.generation)
    turn = store.begin_refresh(ID)
    turn.note_failure(turn.note_sending(profile, entry), FAILED, entry)
    turn.end()

    after = machines.open().get(ID)
    assert (after.failure, after.journal_entry, after.generation) == (FAILED, entry, profile.generation)


def test_the_journal_says_nothing_of_tokens_that_were_replaced_meanwhile(machines, store):
    profile = store.commit(a_profile(), some_tokens())
    turn = store.begin_refresh(ID)
    new_profile = machines.open().commit(a_profile(), some_tokens())

    with pytest.raises(GenerationChanged):
        turn.note_sending(profile, replace(JOURNAL_ENTRY, generation=profile.generation))
    turn.note_failure(profile, FAILED, None)
    turn.end()
    assert store.get(ID) == new_profile


def test_a_dead_owners_refresh_is_taken_over_with_its_journal_entry(machines, store):
    profile = store.commit(a_profile(), some_tokens())
    machines.dead_owner()

    turn = store.begin_refresh(ID)
    tokens = store.read(ID, to_refresh=True)
    assert (tokens.profile.journal_entry, tokens.profile.generation) == (
        replace(JOURNAL_ENTRY, generation=profile.generation),
        profile.generation,
    )
    again = turn.note_sending(tokens.profile, replace(tokens.profile.journal_entry, sends=2))
    store.commit(replace(again, journal_entry=None), some_tokens(), expect_generation=again.generation)
    turn.end()
    assert store.get(ID).journal_entry is None


def test_a_store_that_works_can_be_probed_and_holds_nothing_afterwards(store):
    store.probe()
    assert (store.profiles(), store.sweep()) == ((), ())
