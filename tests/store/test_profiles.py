"""The profile index."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from portico.auth.refresh import OtherAccount
from portico.errors import StoreError
from portico.oauth.token_response import TokensUnfit
from portico.store.errors import ProfileDamaged
from portico.store.profiles import ProfileIndex, RememberedStore
from portico.store.records import (
    ApiKeyProfile,
    Failure,
    GatewayKeyProfile,
    JournalEntry,
    Leftover,
    profile_from_json,
    profile_to_json,
)
from portico.util.files import FILE_CRASH_POINTS
from tests.store.helpers import a_profile

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from portico.paths import Paths
from portico.store.profiles import ProfileIndex
from tests.store.helpers import a_profile
index = ProfileIndex(Paths(config=Path("none"), state=Path(sys.argv[1]), state_id="x"))
name, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    index.put(a_profile(f"{name}:{number}", created_at=number))
    index.update(f"{name}:0", lambda profile: replace(profile, refreshed_at=(profile.refreshed_at or 0) + 1))
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from portico.paths import Paths
from portico.store.profiles import ProfileIndex
from tests.store.helpers import a_profile
def die(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
index = ProfileIndex(Paths(config=Path("none"), state=Path(sys.argv[1]), state_id="x"), crash_point=die)
index.put(a_profile("new:one"))
"""


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def corrupt_files(paths):
    return list(paths.state.glob("*.corrupt-*"))


def test_a_profile_comes_back_as_it_was_put(paths, index):
    profile = a_profile(
        relocated=(("https://old.example/token", "https://new.example/token"),),
        revocation_endpoint="https://account.example/revoke",
        audience="api",
        scope="one two",
        store="file",
        slot="b",
        generation=7,
        expires_at=1,
        refreshed_at=2,
        has_refresh=True,
        failure=Failure(3, "network", "no answer", terminal=False, code=None),
        journal_entry=JournalEntry(generation=4, token="5e1f", started_at=5, sends=1, pid=6, boot_id="b"),
        config_pending=True,
    )
    index.put(profile)
    assert ProfileIndex(paths).get(profile.id) == profile
    assert index.profiles() == (profile,)
    server = profile.server()
    assert (server.token_endpoint, server.relocated) == (profile.token_endpoint, dict(profile.relocated))


def test_nothing_is_made_by_looking(paths, index):
    assert index.profiles() == ()
    assert index.get("any") is None
    assert index.store_name is None
    assert index.update("any", lambda profile: profile) is None
    index.edit(lambda draft: draft.remove("any"))
    assert not paths.index.exists()


def test_another_process_s_change_is_seen_at_once(paths, index):
    index.put(a_profile("one:one"))
    assert len(index.profiles()) == 1
    ProfileIndex(paths).put(a_profile("two:two"))
    assert len(index.profiles()) == 2


def test_an_update_sees_the_profile_as_it_is_then(paths, index):
    index.put(a_profile())
    stale = index.get("minimax-portal:default")
    ProfileIndex(paths).update(stale.id, lambda profile: replace(profile, expires_at=5))
    index.update(stale.id, lambda profile: replace(profile, config_pending=True))
    updated = index.get(stale.id)
    assert (updated.expires_at, updated.config_pending) == (5, True)


def test_generations_never_come_back(index):
    first = index.edit(lambda draft: draft.next_generation())
    index.put(a_profile(generation=40))
    second = index.edit(lambda draft: draft.next_generation())
    index.edit(lambda draft: draft.remove("minimax-portal:default"))
    third = index.edit(lambda draft: draft.next_generation())
    assert (first, second, third) == (1, 41, 42)


def test_the_store_that_worked_is_remembered(paths, index):
    index.remember_store("keyring", "keyring.backends.SecretService.Keyring")
    assert ProfileIndex(paths).store_name == "keyring"
    assert index.view().remembered == RememberedStore("keyring", "keyring.backends.SecretService.Keyring")
    before = paths.index.stat().st_mtime_ns
    index.remember_store("keyring", "keyring.backends.SecretService.Keyring")
    assert paths.index.stat().st_mtime_ns == before


@pytest.mark.requirement("E46")
def test_fields_of_other_versions_survive_every_change(paths, index):
    index.put(a_profile())
    document = json.loads(paths.index.read_text())
    document["profiles"]["minimax-portal:default"]["laterField"] = {"a": 1}
    document["laterSection"] = [1, 2]
    paths.index.write_text(json.dumps(document))
    index.update("minimax-portal:default", lambda profile: replace(profile, expires_at=9))
    index.put(a_profile("other:other"))
    after = json.loads(paths.index.read_text())
    assert after["profiles"]["minimax-portal:default"]["laterField"] == {"a": 1}
    assert after["laterSection"] == [1, 2]


@pytest.mark.requirement("E46")
def test_an_index_of_a_later_version_is_refused_and_not_touched(paths, index):
    index.put(a_profile())
    document = json.loads(paths.index.read_text())
    text = json.dumps({**document, "version": 2, "shape": "unknown"})
    paths.index.write_text(text)
    for operation in (
        index.profiles,
        lambda: index.put(a_profile("other:other")),
        lambda: index.edit(lambda draft: draft.remove("minimax-portal:default")),
    ):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert exc_info.value.id == "state-newer"
    assert paths.index.read_text() == text
    assert corrupt_files(paths) == []


@pytest.mark.requirement("E43")
@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 300, b'{"version": 1, "profiles": {"a"', b"[]", b'"text"', b'{"version": 1, "profiles": []}', b'{"profiles": {}}',
     b"\xff\xfe\x00", b"[" * 200_000],
    ids=["empty", "zeros", "truncated", "a list", "a string", "profiles a list", "no version", "not text", "nested"],
)  # fmt: skip
def test_a_damaged_index_is_moved_aside_and_the_backup_restored(paths, index, damage):
    index.put(a_profile("first:one"))
    index.put(a_profile("second:two"))
    index.remember_store("keyring", "some.Class")
    paths.index.write_bytes(damage)
    with pytest.raises(StoreError) as exc_info:
        index.profiles()
    assert exc_info.value.id == "index-damaged"
    assert exc_info.value.hint
    (corrupt_file,) = corrupt_files(paths)
    assert corrupt_file.name in exc_info.value.message
    assert corrupt_file.read_bytes() == damage
    assert stat.S_IMODE(corrupt_file.stat().st_mode) == 0o600
    assert [profile.id for profile in index.profiles()] == ["first:one", "second:two"]


@pytest.mark.requirement("E43")
def test_a_damaged_index_without_a_good_copy_is_never_taken_for_an_empty_one(paths, index):
    index.put(a_profile())
    paths.index.write_bytes(b"{")
    with pytest.raises(StoreError) as exc_info:
        index.put(a_profile("other:other"))
    assert exc_info.value.id == "index-damaged"
    assert "Sign in again" in exc_info.value.hint
    assert len(corrupt_files(paths)) == 1


@pytest.mark.requirement("E43")
def test_a_byte_order_mark_does_no_harm(paths, index):
    index.put(a_profile())
    paths.index.write_bytes(b"\xef\xbb\xbf" + paths.index.read_bytes())
    assert [profile.id for profile in index.profiles()] == ["minimax-portal:default"]


@pytest.mark.requirement("E43")
@pytest.mark.parametrize(
    ("field", "value"),
    [("issuer", None), ("generation", "7"), ("generation", True), ("slot", "c"), ("store", "cloud"), ("relocated", {"a": 1}),
     ("failure", {"at": 1}), ("fence", {"generation": 1}), ("hasRefresh", 1), ("expiresAt", 1.5)],
)  # fmt: skip
def test_one_damaged_entry_leaves_the_others_alone(paths, index, field, value):
    index.put(a_profile("good:one"))
    index.put(a_profile("bad:two"))
    document = json.loads(paths.index.read_text())
    document["profiles"]["bad:two"][field] = value
    paths.index.write_text(json.dumps(document))
    assert [profile.id for profile in index.profiles()] == ["good:one"]
    assert index.view().damaged == ("bad:two",)
    with pytest.raises(StoreError) as exc_info:
        index.get("bad:two")
    assert type(exc_info.value) is ProfileDamaged
    index.put(a_profile("new:three"))
    assert "bad:two" in json.loads(paths.index.read_text())["profiles"]
    index.put(a_profile("bad:two"))
    assert len(index.profiles()) == 3


def test_damaged_leftovers_are_passed_over(paths, index):
    good = Leftover("a:b", "keyring", "some.Class", "a")

    def add(draft):
        draft.leftovers = (good, good)

    index.edit(add)
    document = json.loads(paths.index.read_text())
    document["leftovers"] += ["nonsense", {"profile": "x"}, {"profile": "x", "store": "keyring", "slot": "z"}]
    paths.index.write_text(json.dumps(document))
    assert index.view().leftovers == (good,)


@pytest.mark.requirement("E42")
def test_an_index_that_cannot_be_read_is_not_an_empty_one(paths, index, monkeypatch):
    index.put(a_profile())
    before = paths.index.read_bytes()
    opened = os.open

    def no_more_files(path, *args, **more):
        if str(path) == str(paths.index):
            raise OSError(5, "Input/output error")
        return opened(path, *args, **more)

    monkeypatch.setattr(os, "open", no_more_files)
    fresh = ProfileIndex(paths)
    for operation in (fresh.profiles, lambda: fresh.put(a_profile("other:other"))):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert exc_info.value.id == "file-failed"
    monkeypatch.undo()
    assert paths.index.read_bytes() == before


@pytest.mark.requirement("E41")
@pytest.mark.parametrize("step", FILE_CRASH_POINTS)
def test_a_kill_at_any_step_of_a_save_leaves_the_old_or_the_new_index(paths, index, step):
    index.put(a_profile("old:one"))
    index.put(a_profile("old:two"))
    result = subprocess.run([sys.executable, "-c", KILLED, str(paths.state), step], env=environment(), check=False)
    assert result.returncode == -signal.SIGKILL
    expected = ["old:one", "old:two"] + (["new:one"] if step in {"renamed", "folder-synced"} else [])
    fresh = ProfileIndex(paths)
    assert [profile.id for profile in fresh.profiles()] == expected
    fresh.put(a_profile("after:all"))
    assert not [entry for entry in paths.state.iterdir() if entry.name.endswith(".tmp")]


@pytest.mark.requirement("E45")
@pytest.mark.parametrize("count", [50, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_two_processes_writing_different_profiles_lose_no_update(paths, index, count):
    commands = [[sys.executable, "-c", WRITER, str(paths.state), name, str(count)] for name in ("left", "right")]
    writers = [subprocess.Popen(command, env=environment()) for command in commands]
    assert [writer.wait(600) for writer in writers] == [0, 0]
    profile_ids = {profile.id for profile in index.profiles()}
    assert profile_ids == {f"{name}:{number}" for name in ("left", "right") for number in range(count)}
    assert [index.get(f"{name}:0").refreshed_at for name in ("left", "right")] == [count, count]


@pytest.mark.requirement("E97")
@pytest.mark.parametrize(
    ("id", "code", "ends"),
    [
        ("refresh-answer-lost", None, False),
        ("access-denied", None, False),
        ("reply-invalid", None, False),
        ("oauth-error", "Not Found", False),
        ("invalid-grant", "invalid_grant", True),
        ("refresh-answer-lost", "invalid_grant", True),
        ("other-account", None, True),
        (TokensUnfit.id, None, True),
        (OtherAccount.id, None, True),
        ("sign-out-unfinished", None, True),
    ],
)
def test_what_an_older_version_took_for_the_end_of_a_sign_in_may_be_tried_again(id, code, ends):
    failure = {"at": 1, "id": id, "message": "so it was", "terminal": True, **({"code": code} if code else {})}
    entry = {**profile_to_json(a_profile(), {}), "failure": failure}
    assert profile_from_json("test:default", entry).failure.terminal == ends


@pytest.mark.requirement("E96")
def test_an_older_version_never_reads_so_many_sends_that_it_ends_the_profile():
    journal_entry = JournalEntry(generation=4, token="5e1f", started_at=5, sends=500, pid=6, sent_at=7)
    entry = profile_to_json(replace(a_profile(), journal_entry=journal_entry), {})
    assert entry["fence"]["sends"] < 12
    assert profile_from_json("test:default", entry).journal_entry == journal_entry


@pytest.mark.parametrize(
    ("profile", "own"),
    [
        (
            ApiKeyProfile(id="minimax:default", provider="minimax", region="cn", api_base="https://api.example", created_at=5),
            {"provider": "minimax", "region": "cn", "apiBase": "https://api.example", "type": "api_key"},
        ),
        (
            GatewayKeyProfile(id="gateway:aider", name="aider", created_at=5, sha256="5e1f"),
            {"provider": "gateway", "clientId": "aider", "type": "gateway_key", "subject": "5e1f"},
        ),
    ],
    ids=["api key", "gateway key"],
)
def test_a_key_is_written_with_all_that_earlier_versions_look_for_and_comes_back_as_one(paths, index, profile, own):
    index.put(profile)
    entry = json.loads(paths.index.read_text())["profiles"][profile.id]

    empty = dict.fromkeys(("plugin", "region", "issuer", "clientId", "dialect", "apiBase", "tokenEndpoint", "scope"), "")
    stored = {"store": "keyring", "generation": 0, "hasRefresh": False, "createdAt": 5}
    pending = dict.fromkeys(("configPending", "defaultPending", "usePending"), False)
    assert entry == {**empty, **stored, **pending, **own}
    assert ProfileIndex(paths).get(profile.id) == profile


def test_a_key_in_the_place_of_an_account_leaves_nothing_of_that(paths, index):
    index.put(
        a_profile(relocated=(("https://old.example", "https://new.example"),), subject="ada", revocation_endpoint="https://r")
    )
    key = ApiKeyProfile(id="minimax-portal:default", provider="minimax-portal", created_at=5)
    index.put(key)
    assert not {"relocated", "subject", "revocationEndpoint"} & set(json.loads(paths.index.read_text())["profiles"][key.id])
    assert index.get(key.id) == key


def test_a_kind_of_a_later_version_is_left_alone(paths, index):
    index.put(a_profile())
    document = json.loads(paths.index.read_text())
    document["profiles"]["minimax-portal:default"]["type"] = "passkey"
    paths.index.write_text(json.dumps(document))
    assert (index.profiles(), index.view().damaged) == ((), ("minimax-portal:default",))
