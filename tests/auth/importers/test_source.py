"""Taking one credential out of another tool's file, and nothing else."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest

from portico.auth.importers import sidecar, source
from portico.auth.importers.source import read_source, remove_from_source
from portico.errors import ConfigError, LockBusy
from portico.secret import Secret
from portico.testing.canary import canary
from tests.auth.importers.samples import SHARED, TOOLS, Sample, openclaw_database
from tests.auth.importers.test_readers import BY_NAME


@pytest.mark.parametrize("tool", TOOLS)
def test_only_that_credential_goes_and_the_mode_stays(tool, tmp_path):
    sample = Sample(tool)
    path = sample.write(tmp_path)
    path.chmod(0o640)
    before = json.loads(path.read_text(encoding="utf-8"))
    (credential,) = read_source(BY_NAME[tool], path)

    assert remove_from_source(BY_NAME[tool], path, credential) == "removed"

    after = path.read_text(encoding="utf-8")
    assert sample.access not in after
    assert sample.refresh not in after
    for location in (credential.location, *credential.copy_locations):
        parent = before
        for step in location[:-1]:
            parent = parent[step]
        del parent[location[-1]]
    assert json.loads(after) == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.glob(".*.tmp")) == []
    assert remove_from_source(BY_NAME[tool], path, credential) == "gone"


@pytest.mark.parametrize("tool", TOOLS)
def test_tokens_that_the_tool_has_stored_meanwhile_are_left_alone(tool, tmp_path):
    path = Sample(tool).write(tmp_path)
    (credential,) = read_source(BY_NAME[tool], path)
    before = path.read_bytes()

    assert remove_from_source(BY_NAME[tool], path, replace(credential, refresh=Secret(canary("rt")))) == "changed"
    assert path.read_bytes() == before


def test_a_link_stays_a_link(tmp_path):
    path = Sample("mmx").write(tmp_path)
    real = path.rename(tmp_path / "config.json")
    path.symlink_to(real)
    (credential,) = read_source(BY_NAME["mmx"], path)

    assert remove_from_source(BY_NAME["mmx"], path, credential) == "removed"
    assert path.is_symlink()
    assert "oauth" not in json.loads(real.read_text(encoding="utf-8"))


def test_a_file_that_cannot_be_written_stays_whole_and_is_named(tmp_path, monkeypatch):
    path = Sample("mmx").write(tmp_path)
    (credential,) = read_source(BY_NAME["mmx"], path)
    before = path.read_bytes()

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(source, "write_temporary", full)
    with pytest.raises(ConfigError, match="No space left on device") as raised:
        remove_from_source(BY_NAME["mmx"], path, credential)

    assert raised.value.id == "source-not-removed"
    assert path.read_bytes() == before


def test_the_lock_that_openclaw_itself_takes_is_waited_for(tmp_path, monkeypatch):
    path = Sample("openclaw").write(tmp_path)
    (credential,) = read_source(BY_NAME["openclaw"], path)
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    lock = path.with_name("auth-profiles.json.lock")
    lock.mkdir()

    with pytest.raises(LockBusy, match="OpenClaw is using"):
        remove_from_source(BY_NAME["openclaw"], path, credential)

    lock.rmdir()
    assert remove_from_source(BY_NAME["openclaw"], path, credential) == "removed"
    assert not lock.exists()


def aged(path, seconds):
    """Give a lock the age of one that its owner has not touched for so long."""
    at = time.time() - seconds
    os.utime(path, (at, at))
    return path


@pytest.mark.requirement("E111")
def test_a_lock_folder_that_its_owner_has_not_touched_for_half_a_minute_is_taken_over(tmp_path, monkeypatch):
    path = Sample("openclaw").write(tmp_path)
    (credential,) = read_source(BY_NAME["openclaw"], path)
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    lock = path.with_name("auth-profiles.json.lock")
    lock.mkdir()
    aged(lock, 25)
    with pytest.raises(LockBusy):
        remove_from_source(BY_NAME["openclaw"], path, credential)

    aged(lock, 31)

    assert remove_from_source(BY_NAME["openclaw"], path, credential) == "removed"
    assert not lock.exists()


@pytest.mark.requirement("E111")
@pytest.mark.parametrize(
    ("content", "age_s", "outcome"),
    [
        ('{"pid": ENDED, "createdAt": "2026-11-28T19:48:15.277Z"}', 200, "removed"),
        ('{"pid": ENDED, "createdAt": "2026-11-28T19:48:15.277Z"}', 0, None),
        ('{"pid": ENDED, "createdAt": "2026-11-28T19:48:15.277Z"}', 100, None),
        ('{"pid": RUNS, "createdAt": "2026-11-28T19:48:15.277Z"}', 7200, None),
        ("", 200, "removed"),
        ("", 100, None),
        ('{"pid": -1}', 200, "removed"),
        ('{"pid": "RUNS"}', 100, None),
        ("[" * 4096, 200, "removed"),
    ],
    ids=[
        "holder not here and old",
        "holder not here",
        "holder not here and young",
        "holder runs",
        "empty and old",
        "empty and young",
        "no process",
        "no number",
        "nonsense",
    ],
)
def test_a_lock_file_has_no_owner_if_its_process_is_not_found_and_it_is_old(content, age_s, outcome, tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = Sample("openclaw").write(tmp_path)
    (credential,) = read_source(BY_NAME["openclaw"], path)
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    lock = path.with_name("auth-profiles.json.lock")
    lock.write_text(content.replace("ENDED", str(process.pid)).replace("RUNS", str(os.getpid())))
    aged(lock, age_s)

    if outcome is None:
        with pytest.raises(LockBusy, match="OpenClaw is using") as raised:
            remove_from_source(BY_NAME["openclaw"], path, credential)
        assert str(lock) in str(raised.value.hint)
    else:
        assert remove_from_source(BY_NAME["openclaw"], path, credential) == outcome
    assert lock.exists() is (outcome is None)


@pytest.mark.requirement("E111")
@pytest.mark.parametrize("as_file", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize("at", ["time", "secrets"], ids=["while it looks", "while it takes it"])
def test_of_two_that_find_one_lock_left_behind_only_one_gets_it(at, as_file, tmp_path, monkeypatch):
    lock = tmp_path / "a.lock"
    if as_file:
        lock.touch()
    else:
        lock.mkdir()
    aged(lock, 1000)
    busy = LockBusy("another has it")
    with ExitStack() as first:

        def meanwhile(*args):
            """The first one takes the lock over while the second is at it; then what was asked for of a module."""
            monkeypatch.setattr(sidecar, at, modules[at])
            first.enter_context(sidecar.sidecar(lock, busy_error=busy, wait_s=0.1, as_file=as_file))
            return time.time() if at == "time" else secrets.token_hex(*args)

        modules = {"time": time, "secrets": secrets}
        name = {"time": "time", "secrets": "token_hex"}[at]
        monkeypatch.setattr(sidecar, at, SimpleNamespace(**{**vars(modules[at]), name: meanwhile}))

        with pytest.raises(LockBusy), sidecar.sidecar(lock, busy_error=busy, wait_s=0.1, as_file=as_file):
            pytest.fail("both are inside")

        assert [each.name for each in tmp_path.iterdir()] == ["a.lock"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("E111")
@pytest.mark.parametrize("as_file", [False, True], ids=["folder", "file"])
def test_a_lock_that_was_taken_over_meanwhile_is_not_deleted_at_the_end(as_file, tmp_path):
    lock = tmp_path / "a.lock"
    busy = LockBusy("another has it")
    with ExitStack() as second:
        with sidecar.sidecar(lock, busy_error=busy, wait_s=0.1, as_file=as_file):
            aged(lock, 1000)
            lock.rename(tmp_path / "taken")
            second.enter_context(sidecar.sidecar(lock, busy_error=busy, wait_s=0.1, as_file=as_file))

        assert lock.exists()
    assert not lock.exists()


@pytest.mark.requirement("E111")
@pytest.mark.parametrize("as_file", [False, True], ids=["folder", "file"])
def test_a_lock_that_a_third_one_takes_meanwhile_is_not_replaced(as_file, tmp_path, monkeypatch):
    lock = tmp_path / "a.lock"
    make, delete = (lock.touch, lock.unlink) if as_file else (lock.mkdir, lock.rmdir)
    make()
    aged(lock, 1000)
    thirds = []

    def meanwhile(call):
        """`call`, before which another one takes the lock over, and a third one as soon as that lock is aside."""

        def changed(*args, **options):
            if args[0] == lock and call is rename:
                delete()
                make()
            elif list(tmp_path.glob(".*.stale")) and not thirds:
                thirds.append(None)
                make()
                thirds[0] = lock.lstat()
            return call(*args, **options)

        return changed

    rename = os.rename
    for name in ("rename", "mkdir", "link"):
        monkeypatch.setattr(os, name, meanwhile(getattr(os, name)))

    with pytest.raises(LockBusy), sidecar.sidecar(lock, busy_error=LockBusy("x"), wait_s=0, as_file=as_file):
        pytest.fail("both are inside")

    now = lock.lstat()
    assert (now.st_ino, now.st_mtime_ns) == (thirds[0].st_ino, thirds[0].st_mtime_ns)
    assert list(tmp_path.iterdir()) == [lock]


REMOVE_WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from portico.auth.importers.source import read_source, remove_from_source
from portico.auth.importers.tools import IMPORTERS
from portico.errors import PorticoError
importer, path = next(each for each in IMPORTERS if each.name == "openclaw"), Path(sys.argv[1])
(found,) = read_source(importer, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    print(remove_from_source(importer, path, found))
except PorticoError as error:
    print(error.id, error)
"""


@pytest.mark.linux
@pytest.mark.requirement("E111")
def test_a_lock_file_that_cannot_be_filled_is_deleted_and_nothing_is_changed_without_it(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    locks = tmp_path / ".openclaw/locks/oauth-refresh"
    locks.mkdir(parents=True)
    before = path.read_bytes()

    def removed(room):
        words = [sys.executable, "-c", REMOVE_WITHOUT_ROOM, str(path), str(room)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert removed(0).startswith("source-not-removed")
    assert "lock-dff9e703222e1f2656fb5ceb7c2e0043.lock cannot be made: File too large" in removed(0)
    assert list(locks.iterdir()) == []
    assert path.read_bytes() == before
    assert removed(1 << 20) == "removed\n"


@pytest.mark.requirement("E111")
def test_a_lock_folder_with_something_in_it_is_nobodys_to_delete_and_is_named(tmp_path, monkeypatch):
    path = Sample("openclaw").write(tmp_path)
    (credential,) = read_source(BY_NAME["openclaw"], path)
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    lock = path.with_name("auth-profiles.json.lock")
    (lock / "inside").mkdir(parents=True)
    aged(lock, 60)

    with pytest.raises(LockBusy) as raised:
        remove_from_source(BY_NAME["openclaw"], path, credential)

    assert str(lock) in str(raised.value.hint)
    assert (lock / "inside").is_dir()


def test_a_file_that_is_replaced_at_the_last_moment_is_looked_at_again(tmp_path, monkeypatch):
    path = Sample("mmx").write(tmp_path)
    (credential,) = read_source(BY_NAME["mmx"], path)
    real, theirs = source.write_temporary, Sample("mmx")
    writes = []

    def meanwhile(target, data):
        writes.append(target)
        if len(writes) == 1:
            theirs.write(tmp_path)
        return real(target, data)

    monkeypatch.setattr(source, "write_temporary", meanwhile)

    assert remove_from_source(BY_NAME["mmx"], path, credential) == "changed"
    assert theirs.refresh in path.read_text(encoding="utf-8")


def test_a_word_of_a_file_that_is_no_json_is_not_shown_since_it_may_be_a_token(tmp_path):
    path = Sample("mmx").write(tmp_path)
    path.write_text('{"oauth": {"access_token": rt_secret12, "refresh_token": 1}}', encoding="utf-8")

    with pytest.raises(ConfigError, match="it is not JSON") as raised:
        read_source(BY_NAME["mmx"], path)

    assert "rt_secret12" not in str(raised.value.as_json("portico"))
    assert str(raised.value.where).endswith(":1:28")


def test_of_a_pool_each_sign_in_goes_alone_though_the_others_move_up(tmp_path):
    sample = Sample("hermes")
    more = [sample.pooled("manual:minimax_oauth", canary("at"), canary("rt"), id=f"id{number}") for number in range(12)]
    path = sample.write(tmp_path, entry={"access_token": ""}, pool=more)
    credentials = read_source(BY_NAME["hermes"], path)

    for credential in (credentials[0], credentials[10], credentials[1]):
        assert remove_from_source(BY_NAME["hermes"], path, credential) == "removed"
    assert remove_from_source(BY_NAME["hermes"], path, credentials[0]) == "gone"

    remaining = json.loads(path.read_text(encoding="utf-8"))["credential_pool"]["minimax-oauth"][1:]
    assert [entry["access_token"] for entry in remaining] == [entry["access_token"] for entry in (*more[2:10], more[11])]


def test_a_sign_in_that_hermes_has_refreshed_is_changed_though_a_copy_of_the_old_one_is_left(tmp_path):
    sample = Sample("hermes")
    path = sample.write(tmp_path)
    (credential,) = read_source(BY_NAME["hermes"], path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["providers"]["minimax-oauth"] |= {"access_token": canary("at"), "refresh_token": canary("rt")}
    path.write_text(json.dumps(content), encoding="utf-8")
    before = path.read_bytes()

    assert remove_from_source(BY_NAME["hermes"], path, credential) == "changed"
    assert path.read_bytes() == before
