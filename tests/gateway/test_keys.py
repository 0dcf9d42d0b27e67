"""Gateway keys: made, shown, rotated and revoked by name, in the vault; the index holds none of them."""

from __future__ import annotations

import json

import pytest

from portico.errors import StoreError, UsageError
from portico.gateway.keys import GatewayKeys, KeyInfo, KeyPaths, known, owner
from portico.store.encrypted_file import PassphraseSource
from portico.store.records import fingerprint
from portico.store.token_store import local_token_store
from portico.testing.canary import canary
from portico.util.clock import SystemClock
from tests.key_index import key_index


@pytest.fixture
def open_store(paths):
    source = PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")})
    return lambda: local_token_store(KeyPaths.of(paths), store="file", passphrase=lambda: source)


@pytest.fixture
def keys(open_store):
    return GatewayKeys(open_store(), SystemClock())


def test_the_first_key_is_made_once(keys):
    assert keys.ensure_one() == "default"
    first = keys.show("default")
    assert keys.ensure_one() is None
    assert keys.show("default") == first
    assert first.reveal().startswith("sk-portico-")
    assert len(first.reveal()) > 50


@pytest.mark.requirement("E86")
@pytest.mark.parametrize("make", ["add", "ensure_one"])
def test_of_two_keys_of_one_name_made_at_once_the_first_stays(keys, open_store, make, monkeypatch):
    late = GatewayKeys(open_store(), SystemClock())
    made, stored = [], late._store_new

    def after_another(*parts):
        made.append(keys.add("default"))
        return stored(*parts)

    monkeypatch.setattr(late, "_store_new", after_another)
    if make == "add":
        with pytest.raises(UsageError, match="There is a gateway key default already"):
            late.add("default")
    else:
        assert late.ensure_one() is None
    assert keys.show("default") == made[0]


def test_each_tool_has_its_own_and_loses_it_alone(keys, paths):
    aider, codex = keys.add("aider"), keys.add("codex")
    assert aider != codex
    assert [key.name for key in keys.all()] == ["aider", "codex"]
    assert owner(keys.all(), [codex.reveal()]) == "codex"

    assert keys.revoke("codex") == ()
    assert owner(keys.all(), [codex.reveal()]) is None
    assert owner(keys.all(), ["wrong", aider.reveal()]) == "aider"
    with pytest.raises(UsageError, match="no gateway key codex"):
        keys.show("codex")


def test_a_rotated_key_ends_the_one_before_it(keys):
    old = keys.add("aider")
    new = keys.rotate("aider")
    assert owner(keys.all(), [old.reveal()]) is None
    assert owner(keys.all(), [new.reveal()]) == "aider"
    assert keys.show("aider") == new


def test_the_index_holds_no_key_and_the_sign_ins_know_nothing_of_them(keys, paths):
    key = keys.add("aider")
    text = key_index(paths).path.read_text(encoding="utf-8")
    assert key.reveal() not in text
    assert fingerprint(key) in text
    assert key_index(paths).path.stat().st_mode & 0o777 == 0o600
    assert not paths.index.exists()


@pytest.mark.parametrize("name", ["", "a b", "ä", "-x", "x" * 65, "a/b", "a:b"])
def test_what_is_no_name_is_refused(keys, name):
    with pytest.raises(UsageError) as caught:
        keys.add(name)
    assert caught.value.id == "usage"


def test_a_name_that_is_taken_says_how_to_replace_its_key(keys):
    keys.add("aider")
    with pytest.raises(UsageError) as caught:
        keys.add("aider")
    assert (caught.value.id, "rotate aider" in (caught.value.hint or "")) == ("name-taken", True)
    for act in (keys.rotate, keys.revoke, keys.show):
        with pytest.raises(UsageError, match="no gateway key other"):
            act("other")


def test_a_key_whose_making_was_cut_short_opens_nothing(keys, paths, monkeypatch):
    def fails(*_args):
        raise StoreError("file-failed", "no")

    monkeypatch.setattr("portico.store.encrypted_file.EncryptedFileStore.set", fails)
    with pytest.raises(StoreError):
        keys.add("aider")
    assert known(key_index(paths).profiles()) == ()


def test_a_shown_key_is_compared_with_every_key_and_never_by_its_beginning():
    key = canary("gatewaykey")
    listed = [KeyInfo("a", 1, fingerprint_of(key)), KeyInfo("b", 2, fingerprint_of("other"))]
    assert owner(listed, [key]) == "a"
    assert owner(listed, [key[:-1], f"{key}x", key.upper(), ""]) is None
    assert owner([], [key]) is None
    assert owner(listed, []) is None


def fingerprint_of(text):
    from portico.secret import Secret

    return fingerprint(Secret(text))


def test_the_commands_make_show_list_and_revoke(run_portico, secret_service):
    shown = run_portico("gateway", "key", "show")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("sk-portico-")
    added = json.loads(run_portico("gateway", "key", "add", "aider", "--json").stdout)
    assert (added["name"], added["key"].startswith("sk-portico-")) == ("aider", True)
    listed = json.loads(run_portico("gateway", "key", "list", "--json").stdout)
    assert [key["name"] for key in listed["keys"]] == ["default", "aider"]
    assert "sk-portico" not in json.dumps(listed)
    rotated = run_portico("gateway", "key", "rotate", "aider").stdout.strip()
    assert rotated != added["key"]
    gone = run_portico("gateway", "key", "revoke", "aider")
    assert gone.stdout == "Revoked the gateway key aider.\n"
    assert run_portico("gateway", "key", "show", "aider").returncode == 2
    assert len(secret_service.items()) == 1


def test_without_a_keyring_it_says_how_to_choose_the_sealed_file(run_portico, paths):
    env = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere", "PYTHON_KEYRING_BACKEND": None}
    done = run_portico("gateway", "key", "add", "aider", env=env)
    assert done.returncode == 7
    chosen = run_portico(
        "gateway", "key", "add", "aider", "--store", "file", env={**env, "PORTICO_PASSPHRASE": canary("passphrase")}
    )
    assert chosen.returncode == 0, chosen.stderr
