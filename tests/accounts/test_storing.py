"""Store the tokens of a finished sign-in when the store fails at the last moment."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from portico.accounts import storing
from portico.errors import LockBusy, StoreError
from portico.store import encrypted_file, keyring, vault
from portico.store.encrypted_file import PassphraseSource
from portico.store.keyring import NoKeyring
from portico.store.profiles import ProfileIndex
from portico.store.token_store import LocalTokenStore
from portico.store.vault import Vault
from portico.testing.canary import canary
from portico.testing.clock import FakeClock
from portico.util.lock import file_lock
from portico.util.threads import Deadlines
from tests.store.helpers import HELPERS, InMemory, a_profile, some_tokens

AWAY, THERE = f"{HELPERS}.Broken", f"{HELPERS}.InMemory"


class Person:
    """Gives the next of `answers`, and records the rows. `meanwhile` runs before each answer."""

    def __init__(self, *answers, meanwhile=lambda: None):
        self.interactive = bool(answers)
        self.shown = []
        self._answers = list(answers)
        self._meanwhile = meanwhile

    def choose(self, _title, rows, **_how):
        self.shown.append({row.value: row.hint for row in rows})
        self._meanwhile()
        return self._answers.pop(0)


class StoreApp:
    """The store part of an app; its environment can change during a test."""

    def __init__(self, paths):
        self.paths = paths
        self.index = ProfileIndex(paths)
        self.clock = FakeClock()
        self.prompter = Person()
        self.out = SimpleNamespace(warn=lambda _text: None)
        self.env = {"PYTHON_KEYRING_BACKEND": AWAY, "PORTICO_PASSPHRASE": canary("passphrase")}
        self.deadlines = Deadlines(prompt_s=0.1)
        self.revocations = 0

    def local_store(self, store=None):
        return LocalTokenStore(self.paths, self.index, lambda: self.vault(store))

    def vault(self, store=None):
        passphrase = PassphraseSource(self.env)
        return Vault(self.paths, self.index, store=store, passphrase=passphrase, env=self.env, deadlines=self.deadlines)

    async def revoke_new(self):
        self.revocations += 1
        return True

    def store(self, chosen=None, question=None):
        self.tokens = some_tokens()
        profile = a_profile()
        there = self.index.get(profile.id)
        expected = vault.ABSENT if there is None else there.generation
        stored = storing.store(
            self,
            profile,
            self.tokens,
            question=question or storing.StoreQuestion(),
            chosen=chosen,
            revoke_new=self.revoke_new,
            expect_generation=expected,
        )
        return asyncio.run(stored)

    def keyring_comes_back(self):
        self.env["PYTHON_KEYRING_BACKEND"] = THERE

    def blocking_folder(self):
        self.paths.encrypted_records.write_text("in the way")

    def folder_comes_back(self):
        self.paths.encrypted_records.unlink()


@pytest.fixture
def app(paths, monkeypatch):
    monkeypatch.setattr(vault, "_LOCK_MARGIN_S", 0)
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    yield StoreApp(paths)
    InMemory.passwords.clear()


@pytest.mark.requirement("E37")
def test_if_the_keyring_fails_the_encrypted_file_is_offered(app):
    app.prompter = Person("other")

    stored = app.store()

    assert stored.store == "file"
    assert "keyring" in app.prompter.shown[0]["again"]
    assert "encrypted" in app.prompter.shown[0]["other"]
    assert app.vault().read(stored.id).access == app.tokens.access
    assert app.revocations == 0


@pytest.mark.requirement("E37")
@pytest.mark.parametrize("known_by", ["the store that worked last", "the profile"])
def test_if_the_encrypted_file_fails_the_keyring_is_offered(app, known_by):
    if known_by == "the profile":
        app.vault("file").commit(a_profile(), some_tokens())
        app.paths.encrypted_records.rename(app.paths.encrypted_records.with_name("away"))
    else:
        app.index.remember_store("file")
    app.blocking_folder()
    app.prompter = Person("other", meanwhile=app.keyring_comes_back)

    stored = app.store()

    assert stored.store == "keyring"
    assert "encrypted" in app.prompter.shown[0]["again"]
    assert "keyring" in app.prompter.shown[0]["other"]
    assert app.vault().read(stored.id).access == app.tokens.access


@pytest.mark.requirement("E95")
@pytest.mark.parametrize("when", ["before it is asked", "while it is asked"])
def test_an_interrupted_command_does_not_wait_for_an_answer_and_revokes(app, when):
    question = storing.StoreQuestion()
    app.prompter = Person("again", meanwhile=lambda: time.sleep(5))
    if when == "before it is asked":
        question.give_up()
    else:
        threading.Timer(0.3, lambda: question._answer.get_loop().call_soon_threadsafe(question.give_up)).start()
    began = time.monotonic()

    with pytest.raises(StoreError, match="the new tokens were revoked"):
        app.store(question=question)

    assert app.revocations == 1
    assert time.monotonic() - began < 4


@pytest.mark.requirement("E37")
@pytest.mark.parametrize("remembered", ["keyring", "file"])
def test_try_again_uses_the_same_store(app, remembered):
    app.index.remember_store(remembered, AWAY if remembered == "keyring" else None)
    if remembered == "file":
        app.blocking_folder()
    else:
        app.index.remember_store("keyring")

    def mend():
        app.keyring_comes_back()
        if remembered == "file":
            app.folder_comes_back()

    app.prompter = Person("again", meanwhile=mend)

    assert (app.store()).store == remembered
    assert app.revocations == 0


@pytest.mark.requirement("E37")
def test_give_up_revokes_the_tokens_and_says_so(app):
    app.prompter = Person("drop")

    with pytest.raises(StoreError) as caught:
        app.store()

    assert app.revocations == 1
    assert "the new tokens were revoked" in caught.value.message
    assert app.index.profiles() == ()


@pytest.mark.requirement("E37")
def test_give_up_without_a_keyring_prints_the_usual_failure(app, monkeypatch):
    monkeypatch.setattr(keyring, "SYSTEM_BACKENDS", ())
    monkeypatch.setattr(keyring, "_configured_name", lambda _env: None)
    app.index.remember_store("file")
    app.blocking_folder()
    app.prompter = Person("other", "drop")

    with pytest.raises(NoKeyring) as caught:
        app.store()

    assert app.revocations == 1
    assert caught.value.message == ("No keyring is available. The sign-in failed; the new tokens were revoked.")


@pytest.mark.requirement("E37")
@pytest.mark.parametrize("kind", [StoreError, LockBusy])
def test_without_a_terminal_a_failing_store_is_tried_three_times_and_the_tokens_revoked(app, kind, monkeypatch):
    tries = []
    commit = Vault.commit
    monkeypatch.setattr(Vault, "commit", lambda *args, **named: (tries.append(1), commit(*args, **named)))
    lock = app.vault()._lock(a_profile().id)
    if kind is LockBusy:
        app.keyring_comes_back()
        lock.acquire()

    with pytest.raises(kind) as caught:
        app.store()

    lock.release()
    assert (len(tries), app.revocations) == (3, 1)
    assert ". The sign-in failed; the new tokens were revoked." in caught.value.message


@pytest.mark.requirement("E37")
def test_at_a_terminal_the_user_can_wait_for_a_busy_lock(app):
    app.keyring_comes_back()
    process = file_lock(app.vault()._lock(a_profile().id).path)
    process.__enter__()
    app.prompter = Person("again", meanwhile=lambda: process.__exit__(None, None, None))

    assert (app.store()).store == "keyring"
    assert app.revocations == 0
