"""The vault: one interface to the tokens in every store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from portico.errors import LockBusy, SignInNeeded, StoreError, StoreUnknown
from portico.secret import Secret
from portico.store.encrypted_file import PassphraseSource
from portico.store.errors import RecordMissing
from portico.store.profiles import ProfileIndex
from portico.store.records import Leftover, Tokens
from portico.store.vault import Vault
from portico.testing.canary import canary, find_canaries
from portico.util.lock import file_lock
from portico.util.threads import Deadlines
from tests.store.helpers import HELPERS, InMemory, Leaky, a_profile, some_tokens

SECRET_SERVICE = "keyring.backends.SecretService.Keyring"
WINDOWS = "keyring.backends.Windows.WinVaultKeyring"
BACKEND_ENV = "PYTHON_KEYRING_BACKEND"
ID = "minimax-portal:default"
CN = "minimax-portal:cn"
CN_REMEDY = "Sign in again: {prog} models auth login --provider minimax-portal --region cn --profile minimax-portal:cn --replace"

WRITER = """
import sys
from portico.paths import resolve_paths
from portico.secret import Secret
from portico.store.profiles import ProfileIndex
from portico.store.vault import Tokens, Vault
from tests.store.helpers import a_profile
paths = resolve_paths()
vault = Vault(paths, ProfileIndex(paths))
for number in range(int(sys.argv[2])):
    vault.commit(a_profile(sys.argv[1]), Tokens(Secret(f"{sys.argv[1]} {number}"), None, number))
"""


def same(left, right):
    return (left.access, left.refresh, left.expires_at) == (right.access, right.refresh, right.expires_at)


def all_secrets(service):
    """Every secret in the default collection: only a test looks at these."""
    import secretstorage

    with closing(secretstorage.dbus_init()) as bus:
        items = secretstorage.get_default_collection(bus).get_all_items()
        return "\n".join(item.get_secret().decode() for item in items)


@pytest.fixture
def vault(paths, index, secret_service):
    return Vault(paths, index)


@pytest.fixture
def forgetful_env():
    return {BACKEND_ENV: f"{HELPERS}.Forgetful"}


def memory_vault(paths, **wiring):
    return Vault(paths, ProfileIndex(paths), env={BACKEND_ENV: f"{HELPERS}.InMemory"}, **wiring)


@pytest.fixture(params=["keyring", "file", "long"])
def any_vault(request, paths, index, passphrase, in_memory):
    """A vault on each kind of store: a keyring, encrypted files, and a keyring that keeps only the keys of encrypted files."""
    if request.param == "keyring":
        request.getfixturevalue("secret_service")
        yield Vault(paths, index)
    elif request.param == "file":
        yield Vault(paths, index, store="file", passphrase=passphrase)
    else:
        request.getfixturevalue("win_vault")
        yield Vault(paths, index, env={BACKEND_ENV: WINDOWS})


def tokens_for(vault):
    tokens = some_tokens()
    return replace(tokens, access=Secret(tokens.access.reveal() + "x" * 2000))


def test_tokens_come_back_as_they_were_committed(any_vault, paths):
    tokens = tokens_for(any_vault)
    stored = any_vault.commit(a_profile(), tokens)
    read_tokens = any_vault.read(ID)
    assert same(read_tokens, tokens)
    assert read_tokens.generation == stored.generation
    assert ProfileIndex(paths).get(ID) == stored
    assert (stored.expires_at, stored.has_refresh) == (tokens.expires_at, True)
    assert find_canaries(paths.state) == []


def test_a_record_names_what_its_profile_is(vault, index, secret_service):
    stored = vault.commit(a_profile(), some_tokens())
    record = json.loads(all_secrets(secret_service))
    assert set(record) == {
        "v", "generation", "type", "provider", "access", "refresh", "expiresAt", "region", "apiBase", "clientId",
    }  # fmt: skip
    assert (record["v"], record["generation"], record["clientId"]) == (1, stored.generation, "client-1")
    vault.delete(ID)


def test_the_place_of_a_record_names_service_and_user(vault, paths, secret_service):
    vault.commit(a_profile(), some_tokens())
    location = vault.location(ID)
    assert (location.store, location.backend, location.service) == ("keyring", SECRET_SERVICE, "portico")
    assert location.user == f"{ID}#a@{paths.state_id}"
    (item,) = secret_service.items()
    assert (item.attributes["service"], item.attributes["username"]) == (location.service, location.user)
    vault.delete(ID)
    assert secret_service.items() == []


def test_the_default_state_folder_has_no_state_id_in_its_users(paths, in_memory):
    paths = replace(paths, state_id="")
    vault = memory_vault(paths)
    vault.commit(a_profile(), some_tokens())
    assert vault.location(ID).user == f"{ID}#a"


@pytest.mark.requirement("E40")
def test_every_commit_leaves_one_record_and_no_old_token(any_vault, request, paths):
    old = [tokens_for(any_vault) for _ in range(4)]
    for tokens in old:
        stored = any_vault.commit(a_profile(), tokens)
    assert same(any_vault.read(ID), old[-1])
    assert ProfileIndex(paths).view().leftovers == ()
    if stored.backend == WINDOWS:
        everything = request.getfixturevalue("win_vault").everything()
        assert len(everything.splitlines()) == len(list(paths.encrypted_records.iterdir())) == 1
    elif stored.store == "keyring":
        everything = all_secrets(None)
        assert everything.count('"access"') == 1
        assert not any(token.access.reveal() in everything for token in old[:-1])
    else:
        assert len(list(paths.encrypted_records.glob("*.sealed"))) == 1
    any_vault.delete(ID)


@pytest.mark.requirement("E40")
def test_the_credential_locker_s_copies_of_old_values_are_gone_too(paths, index, win_vault):
    index.remember_store("keyring", WINDOWS)
    vault = Vault(paths, index)
    old = [some_tokens() for _ in range(3)]
    for tokens in old:
        vault.commit(a_profile(), tokens)
        vault.commit(a_profile("other:one"), some_tokens())
    everything = win_vault.everything()
    assert old[-1].access.reveal() in everything
    assert not any(tokens.access.reveal() in everything for tokens in old[:-1])


@pytest.mark.requirement("E47")
def test_deleting_leaves_nothing_of_a_profile(any_vault, request, paths):
    any_vault.commit(a_profile("other:one"), tokens_for(any_vault))
    any_vault.commit(a_profile(), tokens_for(any_vault))
    any_vault.commit(a_profile(), tokens_for(any_vault))
    assert any_vault.delete(ID) == ()
    assert any_vault.delete(ID) == ()
    with pytest.raises(SignInNeeded) as exc_info:
        any_vault.read(ID)
    assert exc_info.value.id == "not-signed-in"
    assert any_vault.read("other:one")
    any_vault.delete("other:one")
    assert list(paths.encrypted_records.glob("*.sealed")) + list(paths.encrypted_records.glob("*.keyed")) == []
    assert list(paths.locks.glob("vault-*.lock"))


@pytest.mark.requirement("E43")
@pytest.mark.requirement("E47")
@pytest.mark.parametrize("store", ["keyring", "file"])
@pytest.mark.parametrize(
    "damage", [{"createdAt": "x"}, {"store": "cloud"}, {"store": 7, "backend": 7, "slot": 7}, "nonsense"], ids=str
)
def test_deleting_a_profile_whose_entry_is_damaged_leaves_none_of_its_tokens(paths, passphrase, in_memory, store, damage):
    vault = memory_vault(paths, store=store, passphrase=passphrase)
    vault.commit(a_profile(), some_tokens())
    vault.commit(a_profile(), some_tokens())
    document = json.loads(paths.index.read_text())
    entry = document["profiles"][ID]
    document["profiles"][ID] = {**entry, **damage} if isinstance(damage, dict) else damage
    paths.index.write_text(json.dumps(document))

    assert memory_vault(paths).delete(ID) == ()

    assert InMemory.passwords == {}
    assert list(paths.encrypted_records.glob("*.sealed")) == []
    assert ProfileIndex(paths).view().damaged == ()


@pytest.mark.requirement("E47")
@pytest.mark.filterwarnings("ignore:unclosed .*portico-bus:ResourceWarning")  # keyring leaves it open when it stays locked
def test_what_could_not_be_deleted_is_reported_and_tried_again(own_secret_service, paths, index):
    from tests.store.test_keyring import unlock

    vault = Vault(paths, index, deadlines=Deadlines(0.5, 0.5, 0.5))
    vault.commit(a_profile(), some_tokens())
    own_secret_service.lock()
    stuck = vault.delete(ID)
    assert len(stuck) == 2
    assert f"portico / {ID}#a" in stuck[0]
    assert "locked" in stuck[0]
    with pytest.raises(SignInNeeded):
        vault.read(ID)
    unlock(own_secret_service)
    assert vault.sweep() == ()
    assert own_secret_service.items() == []


def test_a_generation_never_comes_back_after_signing_out_and_in(vault):
    first = vault.commit(a_profile(), some_tokens())
    vault.delete(ID)
    second = vault.commit(a_profile(), some_tokens())
    with pytest.raises(StoreError) as exc_info:
        vault.commit(a_profile(), some_tokens(), expect_generation=first.generation)
    assert exc_info.value.id == "generation-changed"
    assert vault.read(ID).generation == second.generation
    vault.delete(ID)
    with pytest.raises(StoreError) as exc_info:
        vault.commit(a_profile(), some_tokens(), expect_generation=second.generation)
    assert exc_info.value.id == "generation-changed"


def test_a_commit_with_the_generation_it_saw_goes_through(vault):
    first = vault.commit(a_profile(), some_tokens())
    second = vault.commit(first, some_tokens(), expect_generation=first.generation)
    assert second.generation > first.generation
    assert {first.slot, second.slot} == {"a", "b"}
    vault.delete(ID)


@pytest.mark.requirement("E37")
def test_a_probe_writes_reads_back_deletes_and_remembers(any_vault, index, paths, request):
    location = any_vault.probe()
    assert index.view().remembered.name == location.store
    assert index.view().remembered.backend == location.backend
    assert list(paths.encrypted_records.glob("*.sealed")) + list(paths.encrypted_records.glob("*.keyed")) == []


@pytest.mark.requirement("E37")
def test_a_probe_finds_a_store_that_forgets_out(paths, index, in_memory, forgetful_env):
    with pytest.raises(StoreError) as exc_info:
        Vault(paths, index, env=forgetful_env).probe()
    assert exc_info.value.id == "store-forgetful"
    assert f"{HELPERS}.Forgetful" in exc_info.value.message
    assert index.store_name is None


@pytest.mark.requirement("E37")
def test_a_failed_write_keeps_the_tokens_for_another_store(paths, index, passphrase, in_memory):
    tokens = some_tokens()
    with pytest.raises(StoreError):
        Vault(paths, index, env={BACKEND_ENV: f"{HELPERS}.Leaky"}).commit(a_profile(), tokens)
    assert index.get(ID) is None
    Vault(paths, index, store="file", passphrase=passphrase).commit(a_profile(), tokens)
    assert same(Vault(paths, index, passphrase=passphrase).read(ID), tokens)


@pytest.mark.requirement("E38")
def test_without_a_keyring_nothing_weaker_is_used_silently(paths, index, monkeypatch):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(paths.state))
    for vault in (Vault(paths, index), Vault(paths, index, store="keyring")):
        for operation in (vault.probe, lambda vault=vault: vault.commit(a_profile(), some_tokens())):
            with pytest.raises(StoreError) as exc_info:
                operation()
            assert exc_info.value.id == "keyring-unavailable"
            assert "{prog} onboard --store file" in exc_info.value.hint
    assert not paths.encrypted_records.exists()
    assert find_canaries(paths.state) == []


@pytest.mark.requirement("E38")
def test_a_keyring_asked_for_by_name_never_writes_a_file_of_tokens(paths, index, win_vault):
    index.remember_store("keyring", WINDOWS)
    vault = Vault(paths, index, store="keyring")
    with pytest.raises(StoreError) as exc_info:
        vault.commit(a_profile(), tokens_for(vault))
    assert exc_info.value.id == "record-too-long"
    assert not paths.encrypted_records.exists()
    assert win_vault.credentials == {}


@pytest.mark.requirement("E38")
def test_reading_goes_to_the_store_that_has_the_tokens_and_to_no_other(paths, index, secret_service, passphrase, monkeypatch):
    tokens = some_tokens()
    Vault(paths, index).commit(a_profile(), tokens)
    assert same(Vault(paths, index, store="file").read(ID), tokens)
    assert same(Vault(paths, index, env={**os.environ, BACKEND_ENV: f"{HELPERS}.InMemory"}).read(ID), tokens)
    with monkeypatch.context() as patch:
        patch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        with pytest.raises(StoreError) as exc_info:
            Vault(paths, index, store="file", passphrase=passphrase).read(ID)
        assert exc_info.value.id == "keyring-unavailable"
    Vault(paths, index).delete(ID)


@pytest.mark.requirement("E38")
def test_a_refresh_stays_where_the_profile_is(paths, index, passphrase, secret_service):
    Vault(paths, index, store="file", passphrase=passphrase).commit(a_profile(), some_tokens())
    stored = Vault(paths, index, passphrase=passphrase).commit(index.get(ID), some_tokens())
    assert (stored.store, stored.slot) == ("file", "b")
    assert secret_service.items() == []


@pytest.mark.requirement("E40")
def test_moving_to_another_store_empties_the_old_one(paths, index, passphrase, secret_service):
    Vault(paths, index).commit(a_profile(), some_tokens())
    tokens = some_tokens()
    mover = Vault(paths, index, store="file", passphrase=passphrase)
    mover.probe()
    assert mover.commit(a_profile(), tokens).store == "file"
    assert secret_service.items() == []
    assert same(mover.read(ID), tokens)


@pytest.mark.requirement("E43")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 1}', '{"v": 1, "generation": 1, "access": ""}',
                                  '{"v": 1, "generation": true, "access": "x"}',
                                  '{"v": 1, "generation": 1, "access": "x", "refresh": 7}',
                                  '{"v": 1, "generation": 1, "access": "x", "expiresAt": "soon"}'])  # fmt: skip
def test_a_damaged_record_is_named_and_left_for_a_look(paths, index, in_memory, text):
    vault = memory_vault(paths)
    vault.commit(a_profile("other:one"), some_tokens())
    vault.commit(a_profile(CN, region="cn"), some_tokens())
    location = vault.location(CN)
    InMemory.passwords[location.service, location.user] = text
    with pytest.raises(StoreError) as exc_info:
        vault.read(CN)
    assert exc_info.value.id == "record-damaged"
    assert exc_info.value.hint == CN_REMEDY
    assert location.user in exc_info.value.why
    assert vault.read("other:one")


@pytest.mark.requirement("E46")
def test_a_record_of_a_later_version_is_refused_and_not_touched(paths, index, in_memory):
    vault = memory_vault(paths)
    vault.commit(a_profile(), some_tokens())
    location = vault.location(ID)
    text = '{"v": 2, "tokens": {}}'
    InMemory.passwords[location.service, location.user] = text
    with pytest.raises(StoreError) as exc_info:
        vault.read(ID)
    assert exc_info.value.id == "state-newer"
    assert InMemory.passwords == {(location.service, location.user): text}


def test_a_record_that_is_gone_is_not_a_profile_that_never_was(paths, index, in_memory):
    vault = memory_vault(paths)
    vault.commit(a_profile(CN, region="cn"), some_tokens())
    InMemory.passwords.clear()
    with pytest.raises(StoreError) as exc_info:
        vault.read(CN)
    assert type(exc_info.value) is RecordMissing
    assert exc_info.value.hint == CN_REMEDY


def test_the_error_of_a_profile_without_tokens_names_the_sign_in(paths, index, in_memory):
    index.put(a_profile(CN, region="cn"))
    with pytest.raises(SignInNeeded) as exc_info:
        memory_vault(paths).read(CN)
    assert exc_info.value.hint == CN_REMEDY


def test_a_reader_reads_again_after_a_commit_meanwhile(paths, index, in_memory, monkeypatch):
    vault = memory_vault(paths)
    vault.commit(a_profile(), some_tokens())
    newer = some_tokens()
    get_password = InMemory.get_password

    def read_after_commit(self, service, username):
        monkeypatch.setattr(InMemory, "get_password", get_password)
        # The reader has the turn at the keyring for as long as this takes.
        memory_vault(paths, deadlines=Deadlines(read_s=0.01)).commit(a_profile(), newer)
        return get_password(self, service, username)

    monkeypatch.setattr(InMemory, "get_password", read_after_commit)
    assert same(vault.read(ID), newer)


def test_what_a_timed_out_write_has_left_is_swept_and_the_old_tokens_stay(own_secret_service, paths, index):
    tokens = some_tokens()
    vault = Vault(paths, index, deadlines=Deadlines(0.4, 0.4, 0.2))
    vault.commit(a_profile(), tokens)
    own_secret_service.daemon.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnknown):
            vault.commit(a_profile(), some_tokens())
        assert len(vault.sweep()) == 1
        (store,) = [store for store in vault._keyrings if store.has_pending_call]
        worker = store._unfinished[0]
    finally:
        own_secret_service.daemon.send_signal(signal.SIGCONT)
    worker.join(10)
    assert len(own_secret_service.items()) == 2
    assert Vault(paths, ProfileIndex(paths)).sweep() == ()
    assert len(own_secret_service.items()) == 1
    assert same(vault.read(ID), tokens)
    assert index.view().leftovers == ()


def test_what_a_killed_commit_has_left_goes_with_the_next_read(paths, index, in_memory):
    class Killed(BaseException):
        pass

    def die(step):
        if step == "flipped":
            raise Killed

    memory_vault(paths).commit(a_profile(), some_tokens())
    with pytest.raises(Killed):
        memory_vault(paths, crash_point=die).commit(a_profile(), some_tokens())
    assert len(InMemory.passwords) == 2
    assert memory_vault(paths).read(ID).generation == 2
    assert len(InMemory.passwords) == 1
    assert index.view().leftovers == ()


@pytest.mark.parametrize("error", [StoreError("index-failed", "the disk is full"), LockBusy("the index is in use")])
def test_a_commit_whose_tidying_up_fails_has_stored_its_tokens_all_the_same(paths, index, in_memory, monkeypatch, error):
    memory_vault(paths).commit(a_profile(), some_tokens())

    def fail(*_args, **_kwargs):
        raise error

    def spoil(step):
        if step == "flipped":
            monkeypatch.setattr(ProfileIndex, "edit", fail)

    tokens = some_tokens()
    stored = memory_vault(paths, crash_point=spoil).commit(a_profile(), tokens)
    monkeypatch.undo()

    assert index.get(ID) == stored
    assert same(memory_vault(paths).read(ID), tokens)
    assert memory_vault(paths).sweep() == ()
    assert len(InMemory.passwords) == 1


def test_an_index_in_use_does_not_hide_what_failed_or_keep_a_commit_from_beginning(paths, index, in_memory, monkeypatch):
    vault = memory_vault(paths)

    def busy(*_args):
        raise LockBusy("the index is in use")

    monkeypatch.setattr(vault, "_discard", busy)
    vault.commit(a_profile(), some_tokens())
    with monkeypatch.context() as patch:
        patch.setattr(InMemory, "set_password", Leaky.set_password)
        with pytest.raises(StoreError) as exc_info:
            vault.commit(a_profile(), some_tokens())
    assert exc_info.value.id == "keyring-unavailable"


def test_a_sweep_leaves_a_commit_that_is_going_on_alone(paths, index, in_memory):
    vault = memory_vault(paths)
    swept = []

    def sweep_meanwhile(step):
        if step == "written":
            swept.append(memory_vault(paths).sweep())

    tokens = some_tokens()
    memory_vault(paths, crash_point=sweep_meanwhile).commit(a_profile(), tokens)
    assert swept == [()]
    assert same(vault.read(ID), tokens)


def test_a_sweep_drops_what_its_profile_points_at_without_deleting_it(paths, index, in_memory):
    vault = memory_vault(paths)
    tokens = some_tokens()
    stored = vault.commit(a_profile(), tokens)

    def mark(draft):
        draft.leftovers = (Leftover(ID, stored.store, stored.backend, stored.slot),)

    index.edit(mark)
    assert vault.sweep() == ()
    assert index.view().leftovers == ()
    assert same(vault.read(ID), tokens)


def test_a_commit_waits_for_another_s_and_says_who_it_is(paths, index, in_memory):
    vault = memory_vault(paths, deadlines=Deadlines(prompt_s=-15))
    with file_lock(vault._lock(ID).path), pytest.raises(LockBusy) as exc_info:
        vault.commit(a_profile(), some_tokens())
    assert str(os.getpid()) in exc_info.value.message


@pytest.mark.requirement("E42")
@pytest.mark.parametrize("when", ["intent", "verified"])
def test_a_full_disk_leaves_the_old_tokens_in_place(paths, index, in_memory, monkeypatch, when):
    tokens = some_tokens()
    memory_vault(paths).commit(a_profile(), tokens)

    def full(*_args):
        raise OSError(28, "No space left on device")

    def fill(step):
        if step == when:
            monkeypatch.setattr(os, "fsync", full)

    if when == "intent":
        fill("intent")
    with pytest.raises(StoreError) as exc_info:
        memory_vault(paths, crash_point=fill).commit(a_profile(), some_tokens())
    assert "ENOSPC" in str(exc_info.value)
    monkeypatch.undo()
    assert same(memory_vault(paths).read(ID), tokens)
    memory_vault(paths).sweep()
    assert len(InMemory.passwords) == 1


@pytest.mark.parametrize("id", ["", "a\nb", "x" * 201])
def test_a_profile_name_that_cannot_be_shown_is_refused(paths, index, in_memory, id):
    with pytest.raises(ValueError, match="printable"):
        memory_vault(paths).commit(a_profile(id), some_tokens())


@pytest.mark.requirement("E39")
def test_what_is_longer_than_any_token_is_refused_clearly(paths, index, in_memory):
    with pytest.raises(StoreError) as exc_info:
        memory_vault(paths).commit(a_profile(), Tokens(Secret("x" * 300_000), None, None))
    assert exc_info.value.id == "record-too-long"
    with pytest.raises(StoreError) as exc_info:
        memory_vault(paths).commit(a_profile(), Tokens(Secret("\ud800"), None, None))
    assert exc_info.value.id == "record-not-text"
    assert InMemory.passwords == {}
    assert index.get(ID) is None


def test_the_sealed_store_without_a_passphrase_says_where_to_put_it(paths, index):
    with pytest.raises(StoreError) as exc_info:
        Vault(paths, index, store="file", env={}).probe()
    assert exc_info.value.id == "passphrase-needed"


def test_a_passphrase_from_the_vault_s_environment_is_used(paths, index, quick_scrypt):
    env = {"PORTICO_PASSPHRASE": canary("passphrase")}
    tokens = some_tokens()
    Vault(paths, index, store="file", env=env).commit(a_profile(), tokens)
    assert same(Vault(paths, index, passphrase=PassphraseSource(env)).read(ID), tokens)


@pytest.mark.requirement("E45")
@pytest.mark.parametrize("count", [15, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_two_processes_storing_different_accounts_lose_no_tokens(paths, index, secret_service, count):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    commands = [[sys.executable, "-c", WRITER, id, str(count)] for id in ("left:one", "right:one")]
    writers = [subprocess.Popen(command, env=environment) for command in commands]
    assert [writer.wait(600) for writer in writers] == [0, 0]
    vault = Vault(paths, index)
    for id in ("left:one", "right:one"):
        assert vault.read(id).access == Secret(f"{id} {count - 1}")
    assert len(secret_service.items()) == 2
    assert {profile.expires_at for profile in index.profiles()} == {count - 1}
    for id in ("left:one", "right:one"):
        assert vault.delete(id) == ()
