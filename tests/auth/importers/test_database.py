"""A tool's SQLite database: read while the tool runs and without a trace, and one entry of it taken out."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from portico.auth.importers import source
from portico.auth.importers.source import is_current_database, read_source, remove_from_source
from portico.errors import ConfigError, LockBusy
from portico.secret import Secret
from portico.testing.canary import canary, in_text
from tests.auth.importers.samples import (
    EXPIRES_MS,
    GLOBAL_API,
    SHARED,
    Sample,
    agents_database,
    openclaw_database,
    profiles_in,
    stored,
)
from tests.auth.importers.test_readers import BY_NAME

pytestmark = pytest.mark.requirement("E106")
OPENCLAW = BY_NAME["openclaw"]
PLACES = (SHARED, agents_database("main"), agents_database("work"))
# A process that has the database open, has written to it, and waits: what it wrote is in the log alone.
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute(sys.argv[2], (sys.argv[3],))
if sys.argv[4:]:
    connection.execute(sys.argv[4])
print("written", flush=True)
sys.stdin.read()
"""


def change(path):
    table, text = (
        ("config_machine_state", "value_json") if path.name == "openclaw.sqlite" else ("auth_profile_store", "store_json")
    )
    key = "state_key = 'authProfiles.store'" if path.name == "openclaw.sqlite" else "store_key = 'primary'"
    return f"UPDATE {table} SET {text} = ? WHERE {key}"


@contextmanager
def writing(path, profiles, *, then=()):
    """A process that keeps the database open after it has written these sign-ins; killed at the end."""
    command = [sys.executable, "-c", WRITER, str(path), change(path), stored(profiles), *then]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"written\n"
            yield process
        finally:
            process.kill()


def trace(folder):
    """What a reader could change: name, mode, owner, size and time of each file and of the folder.

    Not the time of the last change of state: SQLite, run by root, gives a log the owner that it has (`fchown` in os_unix.c).
    """
    seen = {}
    for path in (folder, *folder.iterdir()):
        found = path.stat()
        seen[path.name] = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
    return seen


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("place", PLACES)
def test_each_database_that_openclaw_keeps_sign_ins_in_is_looked_at(place, tmp_path):
    sample = Sample("openclaw")
    sample.write_config(tmp_path)
    path = openclaw_database(tmp_path / place, sample.profiles())
    assert path in OPENCLAW.places({}, tmp_path)
    assert OPENCLAW.places({}, tmp_path)[0].name == "openclaw.sqlite"

    (found,) = read_source(OPENCLAW, path)

    assert (found.access.reveal(), found.refresh.reveal()) == (sample.access, sample.refresh)
    assert (found.expires_at, found.api_url) == (EXPIRES_MS, GLOBAL_API)
    assert found.client_id == "78257093-7e40-4613-99e0-527b14b39113"
    assert in_text(repr(found)) == []


@pytest.mark.parametrize("table", ["auth_profile_store", "auth_profile_stores"])
def test_the_shared_database_of_an_earlier_version_has_a_table_of_its_own_for_them(table, tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, None)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            f"CREATE TABLE {table} (store_key TEXT PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL)"
        )
        connection.execute(f"INSERT INTO {table} VALUES ('shared', ?, 1)", (stored(sample.profiles()),))

    (found,) = read_source(OPENCLAW, path)

    assert found.access.reveal() == sample.access
    assert remove_from_source(OPENCLAW, path, found) == "removed"
    assert read_source(OPENCLAW, path) == ()


def test_openclaws_own_variables_and_its_config_say_where_its_databases_are(tmp_path):
    config = {
        "agents": {
            "list": [{"id": "a", "agentDir": str(tmp_path / "one")}],
            "entries": {"b": {"agentDir": str(tmp_path / "two")}},
        }
    }
    (tmp_path / "state").mkdir()
    (tmp_path / "state/openclaw.json").write_text(json.dumps(config), encoding="utf-8")

    places = OPENCLAW.places(
        {"OPENCLAW_STATE_DIR": str(tmp_path / "state"), "OPENCLAW_AGENT_DIR": str(tmp_path / "own")}, tmp_path
    )
    at_home = OPENCLAW.places({"OPENCLAW_HOME": str(tmp_path / "home")}, tmp_path)

    assert tmp_path / "state/state/openclaw.sqlite" in places
    for folder in ("own", "one", "two"):
        assert {tmp_path / folder / "openclaw-agent.sqlite", tmp_path / folder / "auth-profiles.json"} <= set(places)
    assert at_home[0] == tmp_path / "home/.openclaw/state/openclaw.sqlite"


@pytest.mark.parametrize(
    ("name", "provider", "region"),
    [
        ("minimax:global", "minimax", "global"),
        ("minimax:cn", "minimax", "cn"),
        ("minimax-portal:default", "minimax-portal-cn", "cn"),
        ("minimax-portal:somebody@example.com", "minimax-portal", None),
    ],
)
def test_a_sign_in_is_known_by_its_kind_whatever_it_is_called(name, provider, region, tmp_path):
    path = openclaw_database(tmp_path / SHARED, {name: Sample("openclaw").profile(provider=provider)})
    assert [found.region for found in read_source(OPENCLAW, path)] == [region]


def test_an_api_key_is_no_sign_in(tmp_path):
    key = {"type": "api_key", "provider": "minimax", "key": "somebody-else's"}
    path = openclaw_database(tmp_path / SHARED, {"minimax:global": key})
    assert read_source(OPENCLAW, path) == ()


@pytest.mark.parametrize("place", PLACES)
def test_a_closed_database_is_read_without_a_trace(place, tmp_path):
    path = openclaw_database(tmp_path / place, Sample("openclaw").profiles())
    before = trace(path.parent)

    assert read_source(OPENCLAW, path)

    assert trace(path.parent) == before
    assert set(before) == {path.parent.name, path.name}


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
@pytest.mark.parametrize("place", PLACES)
def test_what_openclaw_has_written_to_its_log_alone_is_read_without_a_trace(place, killed, tmp_path):
    old, new = Sample("openclaw"), Sample("openclaw")
    path = openclaw_database(tmp_path / place, old.profiles())
    with writing(path, new.profiles()) as process:
        if killed:
            process.kill()
            process.wait()
        before = trace(path.parent)

        (found,) = read_source(OPENCLAW, path)

        assert found.access.reveal() == new.access
        assert trace(path.parent) == before
        assert f"{path.name}-wal" in before


def test_a_log_without_its_index_is_refused_since_it_could_be_read_by_making_a_file_only(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    with writing(path, Sample("openclaw").profiles()) as process:
        process.kill()
        process.wait()
    path.with_name(f"{path.name}-shm").unlink()
    before = trace(path.parent)

    with pytest.raises(ConfigError, match=r"openclaw\.sqlite-wal") as caught:
        read_source(OPENCLAW, path)

    assert caught.value.id == "import-unreadable"
    assert trace(path.parent) == before


def test_a_database_without_a_log_that_is_being_written_to_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_S", 0.1)
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles(), wal=False)
    with closing(sqlite3.connect(path, isolation_level=None)) as theirs:
        theirs.execute("BEGIN EXCLUSIVE")
        theirs.execute(change(path), (stored(Sample("openclaw").profiles()),))
        with pytest.raises(LockBusy, match="OpenClaw is using"):
            read_source(OPENCLAW, path)


@pytest.mark.parametrize(
    ("cell", "why"),
    [("{", "not JSON"), ("[]", "not one JSON object"), ('{"profiles":3}', "profiles"), ("x" * 5_000_000, "4 MiB")],
    ids=["cut", "array", "shape", "long"],
)
def test_a_damaged_cell_is_refused_and_named_by_its_file(cell, why, tmp_path):
    path = openclaw_database(tmp_path / agents_database("main"), {})
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change(path), (cell,))

    with pytest.raises(ConfigError, match=why) as caught:
        read_source(OPENCLAW, path)

    assert caught.value.id == "import-unreadable"
    assert str(path) in caught.value.message


def test_a_damaged_database_and_an_empty_one_are_told_apart(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000)
    with pytest.raises(ConfigError, match="SQLite cannot use"):
        read_source(OPENCLAW, path)

    path.write_bytes(b"")
    assert read_source(OPENCLAW, path) == ()
    assert not is_current_database(OPENCLAW, path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file to another user")
def test_another_users_database_is_refused(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    os.chown(path, 4711, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        read_source(OPENCLAW, path)


@pytest.mark.parametrize("place", PLACES)
def test_that_entry_alone_goes_and_its_tokens_with_it(place, tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / place, sample.profiles(), mode=0o640)
    path.parent.chmod(0o2775)
    before, folder = rows(path), trace(path.parent)
    (found,) = read_source(OPENCLAW, path)

    assert remove_from_source(OPENCLAW, path, found) == "removed"

    assert profiles_in(path) == {"anthropic:default": sample.profiles()["anthropic:default"]}
    other = [(old, new) for old, new in zip(before, rows(path), strict=True) if old != new]
    assert len(other) == 1
    assert sample.access in other[0][0]
    data = path.read_bytes()
    assert sample.access.encode() not in data
    assert sample.refresh.encode() not in data
    after = trace(path.parent)
    assert {name: seen[0] for name, seen in after.items()} == {name: seen[0] for name, seen in folder.items()}
    assert remove_from_source(OPENCLAW, path, found) == "gone"


def test_openclaw_may_run_meanwhile_and_sees_the_change(tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, {})
    with writing(path, sample.profiles()):
        (found,) = read_source(OPENCLAW, path)

        assert remove_from_source(OPENCLAW, path, found) == "removed"

        assert list(profiles_in(path)) == ["anthropic:default"]
        for each in path.parent.iterdir():
            if not each.name.endswith("-shm"):
                assert sample.access.encode() not in each.read_bytes()


def test_tokens_that_openclaw_has_stored_meanwhile_are_left_alone(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    (found,) = read_source(OPENCLAW, path)
    before = path.read_bytes()

    assert remove_from_source(OPENCLAW, path, replace(found, refresh=Secret(canary("rt")))) == "changed"
    assert path.read_bytes() == before


def test_a_write_of_openclaws_at_the_last_moment_is_looked_at_again(tmp_path, monkeypatch):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    (found,) = read_source(OPENCLAW, path)
    theirs, real = Sample("openclaw"), source.replace_cell

    def meanwhile(*args, **options):
        monkeypatch.setattr(source, "replace_cell", real)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(change(path), (stored(theirs.profiles()),))
        return real(*args, **options)

    monkeypatch.setattr(source, "replace_cell", meanwhile)

    assert remove_from_source(OPENCLAW, path, found) == "changed"
    assert profiles_in(path)["minimax-portal:default"]["access"] == theirs.access


def test_a_database_that_openclaw_is_writing_to_stays_as_it_is_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_S", 0.1)
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, {})
    with writing(path, sample.profiles(), then=["BEGIN IMMEDIATE"]):
        (found,) = read_source(OPENCLAW, path)
        with pytest.raises(LockBusy, match="OpenClaw is using") as caught:
            remove_from_source(OPENCLAW, path, found)

    assert caught.value.id == "source-busy"
    assert "minimax-portal:default" in profiles_in(path)


def test_a_refresh_that_openclaw_has_under_way_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_S", 0.1)
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    # The name is what openclaw 2026.9.6 made of ["minimax-portal","minimax-portal:default"].
    lock = tmp_path / ".openclaw/locks/oauth-refresh/lock-dff9e703222e1f2656fb5ceb7c2e0043.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": os.getpid(), "createdAt": "2026-11-28T19:48:15.277Z"}))
    (found,) = read_source(OPENCLAW, path)

    with pytest.raises(LockBusy, match="OpenClaw is using"):
        remove_from_source(OPENCLAW, path, found)

    lock.unlink()
    assert remove_from_source(OPENCLAW, path, found) == "removed"
    assert not lock.exists()
