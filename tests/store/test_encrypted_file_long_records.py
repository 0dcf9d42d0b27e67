"""Records too long for their keyring."""

from __future__ import annotations

import pytest

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.encrypted_file import LongRecordStore
from portico.store.keyring import KeyringStore
from portico.testing.canary import canary, find_canaries

WINDOWS = "keyring.backends.Windows.WinVaultKeyring"
USER = "minimax-portal:default#a"


@pytest.fixture
def store(paths, win_vault):
    return LongRecordStore(KeyringStore(WINDOWS), paths.encrypted_records)


def text_of(units):
    start = canary("at")
    return start + "x" * (units - len(start))


@pytest.mark.requirement("E39")
@pytest.mark.parametrize("units", [64, 1279, 1280])
def test_what_fits_goes_into_the_keyring_alone(paths, store, units):
    value = Secret(text_of(units))
    store.set(USER, value)
    assert store.get(USER) == value
    assert not paths.encrypted_records.exists()


@pytest.mark.requirement("E39")
@pytest.mark.parametrize("units", [1281, 10_000, 60_000])
def test_what_is_too_long_is_sealed_and_comes_back_whole(paths, store, win_vault, units):
    value = Secret(text_of(units))
    store.set(USER, value)
    assert store.get(USER) == value
    assert find_canaries(paths.state) == []
    assert "CANARY" not in win_vault.everything()
    store.delete(USER)
    assert store.get(USER) is None
    assert win_vault.credentials == {}
    assert list(paths.encrypted_records.iterdir()) == []


@pytest.mark.requirement("E39")
@pytest.mark.parametrize("count", [638, 639, 640, 641, 700])
def test_characters_beyond_the_basic_plane_count_twice_and_are_never_cut(store, count):
    value = Secret("\U0001f511" * count)
    store.set(USER, value)
    assert store.get(USER) == value


@pytest.mark.requirement("E38")
def test_a_keyring_that_was_asked_for_by_name_writes_no_file(paths, win_vault):
    store = LongRecordStore(KeyringStore(WINDOWS), paths.encrypted_records, may_encrypt=False)
    with pytest.raises(StoreError) as exc_info:
        store.set(USER, Secret(text_of(1281)))
    assert exc_info.value.id == "record-too-long"
    assert "1,281" in exc_info.value.why
    assert not paths.encrypted_records.exists()
    assert win_vault.credentials == {}


@pytest.mark.requirement("E43")
def test_a_key_whose_file_is_gone_or_damaged_is_named(paths, store):
    store.set(USER, Secret(text_of(2000)))
    (path,) = paths.encrypted_records.iterdir()
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "record-damaged"
    path.write_bytes(content[:-20])
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "record-damaged"
    assert len(list(paths.encrypted_records.glob("*.corrupt-*"))) == 1


@pytest.mark.requirement("E43")
@pytest.mark.parametrize("pointer", ['{"sealed":1}', '{"sealed":1,"key":"!"}', '{"sealed":2,"key":"AAAA"}', '{"sealed":'])
def test_a_damaged_key_is_named(store, pointer):
    store._keyring.set(USER, Secret(pointer))
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "record-damaged"
