"""Records in files encrypted with a passphrase."""

from __future__ import annotations

import json
import stat

import pytest

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.encrypted_file import EncryptedFileStore, PassphraseSource
from portico.store.errors import StoreKeyLost
from portico.testing.canary import canary, find_canaries

USER = "minimax-portal:default#a"


@pytest.fixture
def store(paths, passphrase):
    return EncryptedFileStore(paths, passphrase)


def record_file(paths):
    (path,) = paths.encrypted_records.glob("*.sealed")
    return path


@pytest.mark.requirement("E39")
@pytest.mark.parametrize("size", [0, 1, 1279, 1280, 1281, 10_000, 60_000])
def test_records_of_any_size_come_back_whole(paths, store, passphrase, size):
    value = Secret(("\U0001f511é" + canary("at") * size)[:size])
    store.set(USER, value)
    assert EncryptedFileStore(paths, passphrase).get(USER) == value
    store.delete(USER)
    assert store.get(USER) is None
    assert [path.name for path in paths.encrypted_records.iterdir()] == ["store.json"]


@pytest.mark.requirement("E44")
def test_files_are_private_and_hold_nothing_readable(paths, store):
    store.set(USER, Secret(canary("at")))
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths.encrypted_records.iterdir()} == {0o600}
    assert stat.S_IMODE(paths.encrypted_records.stat().st_mode) == 0o700
    assert find_canaries(paths.state) == []


def test_the_real_cost_of_a_guess_is_what_owasp_asks(paths, real_scrypt):
    EncryptedFileStore(paths, PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")})).set(USER, Secret(canary("at")))
    kdf = json.loads((paths.encrypted_records / "store.json").read_text())["kdf"]
    assert (kdf["name"], kdf["n"], kdf["r"], kdf["p"]) == ("scrypt", 1 << 15, 8, 3)


def test_reading_and_deleting_what_is_not_there_asks_for_no_passphrase(paths):
    store = EncryptedFileStore(paths, PassphraseSource({}))
    assert store.get(USER) is None
    store.delete(USER)
    assert not paths.encrypted_records.exists()


@pytest.mark.requirement("E36")
def test_a_wrong_passphrase_is_named_and_harms_nothing(paths, store, passphrase):
    value = Secret(canary("at"))
    store.set(USER, value)
    wrong = EncryptedFileStore(paths, PassphraseSource({"PORTICO_PASSPHRASE": canary("wrong")}))
    for operation in (lambda: wrong.get(USER), lambda: wrong.set(USER, Secret(canary("at")))):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert exc_info.value.id == "passphrase-wrong"
    assert EncryptedFileStore(paths, passphrase).get(USER) == value


@pytest.mark.requirement("E43")
@pytest.mark.parametrize("damage", ["empty", "truncated", "list", "tag", "other user", "not base64"])
def test_a_damaged_record_is_moved_aside_and_the_others_survive(paths, store, damage):
    other = Secret(canary("at"))
    store.set("other:one#a", other)
    theirs = record_file(paths)
    store.set(USER, Secret(canary("at")))
    path = next(found for found in paths.encrypted_records.glob("*.sealed") if found != theirs)
    document = json.loads(path.read_text())
    spoilt = {**document, "data": document["data"][:-8] + "AAAAAAA="}
    path.write_bytes({
        "empty": b"",
        "truncated": path.read_bytes()[:40],
        "list": b"[]",
        "tag": json.dumps(spoilt).encode(),
        "other user": theirs.read_bytes(),
        "not base64": json.dumps({**document, "data": "!"}).encode(),
    }[damage])  # fmt: skip
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "record-damaged"
    (corrupt_file,) = paths.encrypted_records.glob("*.corrupt-*")
    assert corrupt_file.name in exc_info.value.message
    assert stat.S_IMODE(corrupt_file.stat().st_mode) == 0o600
    assert store.get("other:one#a") == other


@pytest.mark.requirement("E43")
def test_records_without_their_key_file_are_named_and_then_moved_aside(paths, store, passphrase):
    store.set(USER, Secret(canary("at")))
    (paths.encrypted_records / "store.json").unlink()
    fresh = EncryptedFileStore(paths, passphrase)
    with pytest.raises(StoreError) as exc_info:
        fresh.get(USER)
    assert type(exc_info.value) is StoreKeyLost
    fresh.set("new:one#a", Secret(canary("at")))
    assert len(list(paths.encrypted_records.glob("*.corrupt-*"))) == 1


@pytest.mark.requirement("E43")
def test_records_without_their_key_file_stay_in_place_until_there_is_a_passphrase(paths, store, passphrase):
    value = Secret(canary("at"))
    store.set(USER, value)
    key = (paths.encrypted_records / "store.json").rename(paths.state / "backup.json")
    with pytest.raises(StoreError) as exc_info:
        EncryptedFileStore(paths, PassphraseSource({})).set("new:one#a", Secret(canary("at")))
    assert exc_info.value.id == "passphrase-needed"
    key.rename(paths.encrypted_records / "store.json")
    assert EncryptedFileStore(paths, passphrase).get(USER) == value


@pytest.mark.requirement("E43")
@pytest.mark.parametrize(
    "change",
    [{"kdf": None}, {"data": "!"}, {"v": None}, {"kdf": {"name": "scrypt", "n": 1 << 30, "r": 8, "p": 1, "salt": "AAAA"}},
     {"kdf": {"name": "scrypt", "n": 1000, "r": 8, "p": 1, "salt": "AAAA"}}, {"kdf": {"name": "md5"}}],
)  # fmt: skip
def test_a_damaged_key_file_is_moved_aside(paths, store, passphrase, change):
    store.set(USER, Secret(canary("at")))
    path = paths.encrypted_records / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError) as exc_info:
        EncryptedFileStore(paths, passphrase).get(USER)
    assert type(exc_info.value) is StoreKeyLost
    assert len(list(paths.encrypted_records.glob("store.json.corrupt-*"))) == 1


@pytest.mark.requirement("E46")
@pytest.mark.parametrize("name", ["store.json", "record"])
def test_files_of_a_later_version_are_refused_and_not_touched(paths, store, passphrase, name):
    store.set(USER, Secret(canary("at")))
    path = paths.encrypted_records / name if name == "store.json" else record_file(paths)
    text = json.dumps({**json.loads(path.read_text()), "v": 2})
    path.write_text(text)
    with pytest.raises(StoreError) as exc_info:
        EncryptedFileStore(paths, passphrase).get(USER)
    assert exc_info.value.id == "state-newer"
    assert path.read_text() == text
    assert list(paths.encrypted_records.glob("*.corrupt-*")) == []


def test_users_that_differ_in_case_have_files_of_their_own(store):
    one, two = Secret(canary("at")), Secret(canary("at"))
    store.set("p:A#a", one)
    store.set("p:a#a", two)
    assert (store.get("p:A#a"), store.get("p:a#a")) == (one, two)
    assert store._records.path("p:A#a").name.lower() != store._records.path("p:a#a").name.lower()
