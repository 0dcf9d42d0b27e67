"""A token store as one for several machines would be: one secret for each profile, every change of it a compare-and-set."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field, replace

from portico.errors import LockBusy
from portico.store.errors import NotSignedIn
from portico.store.token_store import ABSENT, GenerationChanged, ProfileTokens


@dataclass
class Engine:
    """What all machines share. A version is put only in place of the one that was read."""

    secrets: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)
    generations: itertools.count = field(default_factory=lambda: itertools.count(1))
    guard: threading.Lock = field(default_factory=threading.Lock)

    def put(self, id, value, expected) -> bool:
        with self.guard:
            if self.secrets.get(id) is not expected:
                return False
            self.secrets[id] = value
            return True


@dataclass
class SharedStore:
    """One machine's view of the engine. `alive` False: the machine has died, and its turns are over."""

    engine: Engine
    alive: bool = True
    files: tuple = ()

    @property
    def damaged(self):
        return ()

    @property
    def _all(self):
        return tuple(value.profile for value in self.engine.secrets.values() if value is not None)

    def snapshot(self):
        return Snapshot(self._all)

    def profiles(self):
        return self._all

    def get(self, profile_id):
        value = self.engine.secrets.get(profile_id)
        return None if value is None else value.profile

    def read(self, profile_id, *, to_refresh=False):
        value = self.engine.secrets.get(profile_id)
        if value is None:
            raise NotSignedIn(f"{profile_id} is not signed in")
        return value

    def commit(self, profile, tokens, *, expect_generation=None, may_move=False):
        generation = next(self.engine.generations)
        while True:
            before = self.engine.secrets.get(profile.id)
            _check(profile.id, before, expect_generation)
            stored = replace(
                profile, generation=generation, expires_at=tokens.expires_at, has_refresh=tokens.refresh is not None, slot="a"
            )
            if self.engine.put(profile.id, ProfileTokens(stored, replace(tokens, generation=generation)), before):
                return stored

    def update(self, profile_id, change):
        while True:
            before = self.engine.secrets.get(profile_id)
            if before is None:
                return None
            profile = change(before.profile)
            if self.engine.put(profile_id, replace(before, profile=profile), before):
                return profile

    def begin_refresh(self, profile_id, *, wait_s=0.0, unless=lambda: False):
        deadline = time.monotonic() + wait_s
        while True:
            with self.engine.guard:
                owner = self.engine.owners.get(profile_id)
                if owner is None or not owner.store.alive:
                    turn = self.engine.owners[profile_id] = Turn(self, profile_id)
                    return turn
            if unless():
                return None
            if time.monotonic() >= deadline:
                raise LockBusy(f"another machine is refreshing {profile_id}")
            time.sleep(0.01)

    def delete(self, profile_id, *, expect_generation=None, unfinished=None):
        while True:
            before = self.engine.secrets.get(profile_id)
            _check(profile_id, before, expect_generation)
            if self.engine.put(profile_id, None, before):
                return ()

    def sweep(self):
        return ()

    def probe(self):
        return None


@dataclass
class Snapshot:
    profiles: tuple
    damaged: tuple = ()

    def get(self, id):
        return next((profile for profile in self.profiles if profile.id == id), None)


@dataclass(eq=False)
class Turn:
    store: SharedStore
    profile_id: str

    def note_sending(self, profile, entry):
        now = self.store.update(profile.id, lambda now: replace(now, journal_entry=entry) if _same(now, profile) else now)
        if now is None or not _same(now, profile):
            raise GenerationChanged("newer tokens were stored")
        return now

    def note_failure(self, profile, failure, entry):
        self.store.update(
            profile.id, lambda now: replace(now, failure=failure, journal_entry=entry) if _same(now, profile) else now
        )

    def end(self):
        with self.store.engine.guard:
            if self.store.engine.owners.get(self.profile_id) is self:
                del self.store.engine.owners[self.profile_id]


def _same(now, profile) -> bool:
    return now.generation == profile.generation


def _check(profile_id, actual, expected) -> None:
    generation = ABSENT if actual is None else actual.profile.generation
    if expected not in {None, generation}:
        raise GenerationChanged(f"Newer tokens of {profile_id} were stored.")
