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

from portico.auth.importers import database, source
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
        info = path.stat()
        seen[path.name] = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns)
    return seen


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("place", PLACES)
def test_each_database_that_openclaw_keeps_sign_ins_in_is_looked_at(place, tmp_path):
    sample = Sample("openclaw")
    sample.write_config(tmp_path)
    path = openclaw_database(tmp_path / place, sample.profiles())
    assert path in OPENCLAW.default_paths({}, tmp_path)
    assert OPENCLAW.default_paths({}, tmp_path)[0].name == "openclaw.sqlite"

    (credential,) = read_source(OPENCLAW, path)

    assert (credential.access.reveal(), credential.refresh.reveal()) == (sample.access, sample.refresh)
    assert (credential.expires_at, credential.api_url) == (EXPIRES_MS, GLOBAL_API)
    assert credential.client_id == "78257093-7e40-4613-99e0-527b14b39113"
    assert in_text(repr(credential)) == []


@pytest.mark.parametrize("table", ["auth_profile_store", "auth_profile_stores"])
def test_the_shared_database_of_an_earlier_version_has_a_table_of_its_own_for_them(table, tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, None)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            f"CREATE TABLE {table} (store_key TEXT PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL)"
        )
        connection.execute(f"INSERT INTO {table} VALUES ('shared', ?, 1)", (stored(sample.profiles()),))

    (credential,) = read_source(OPENCLAW, path)

    assert credential.access.reveal() == sample.access
    assert remove_from_source(OPENCLAW, path, credential) == "removed"
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

    paths = OPENCLAW.default_paths(
        {"OPENCLAW_STATE_DIR": str(tmp_path / "state"), "OPENCLAW_AGENT_DIR": str(tmp_path / "own")}, tmp_path
    )
    at_home = OPENCLAW.default_paths({"OPENCLAW_HOME": str(tmp_path / "home")}, tmp_path)

    assert tmp_path / "state/state/openclaw.sqlite" in paths
    for folder in ("own", "one", "two"):
        assert {tmp_path / folder / "openclaw-agent.sqlite", tmp_path / folder / "auth-profiles.json"} <= set(paths)
    assert at_home[0] == tmp_path / "home/.openclaw/state/openclaw.sqlite"


@pytest.mark.parametrize("folder", ["~no-such-user-here/x", "a\0b", "\x1b[2Jx", "x" * 300, 3, "", None], ids=repr)
def test_a_folder_of_an_agents_that_cannot_be_there_keeps_nobody_from_the_others(folder, tmp_path):
    (tmp_path / ".openclaw").mkdir()
    config = {"agents": {"list": [{"id": "a", "agentDir": folder}, {"id": "b", "agentDir": str(tmp_path / "two")}]}}
    (tmp_path / ".openclaw/openclaw.json").write_text(json.dumps(config), encoding="utf-8")

    paths = OPENCLAW.default_paths({}, tmp_path)

    assert tmp_path / "two/openclaw-agent.sqlite" in paths
    assert all(str(path).isprintable() for path in paths)


@pytest.mark.parametrize(
    ("tool", "variable"),
    [
        ("openclaw", "OPENCLAW_STATE_DIR"),
        ("openclaw", "OPENCLAW_HOME"),
        ("openclaw", "OPENCLAW_AGENT_DIR"),
        ("mmx", "MMX_CONFIG_DIR"),
        ("hermes", "HERMES_HOME"),
        ("opencode", "XDG_DATA_HOME"),
    ],
)
def test_the_home_of_an_unknown_user_is_a_folder_of_that_name(tool, variable, tmp_path):
    paths = BY_NAME[tool].default_paths({variable: "~no-such-user-here"}, tmp_path)
    assert any(path.parts[0] == "~no-such-user-here" for path in paths)


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
    assert [credential.region for credential in read_source(OPENCLAW, path)] == [region]


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

        (credential,) = read_source(OPENCLAW, path)

        assert credential.access.reveal() == new.access
        assert trace(path.parent) == before
        assert f"{path.name}-wal" in before


def test_a_log_without_its_index_is_refused_since_it_could_be_read_by_making_a_file_only(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    with writing(path, Sample("openclaw").profiles()) as process:
        process.kill()
        process.wait()
    path.with_name(f"{path.name}-shm").unlink()
    before = trace(path.parent)

    with pytest.raises(ConfigError, match=r"openclaw\.sqlite-wal") as raised:
        read_source(OPENCLAW, path)

    assert raised.value.id == "import-unreadable"
    assert trace(path.parent) == before


def test_a_database_without_a_log_that_is_being_written_to_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
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

    with pytest.raises(ConfigError, match=why) as raised:
        read_source(OPENCLAW, path)

    assert raised.value.id == "import-unreadable"
    assert str(path) in raised.value.message


def test_a_damaged_database_differs_from_an_empty_one(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000)
    with pytest.raises(ConfigError, match="SQLite cannot use"):
        read_source(OPENCLAW, path)

    path.write_bytes(b"")
    assert read_source(OPENCLAW, path) == ()
    assert not is_current_database(OPENCLAW, path)


def table_of(tmp_path, columns, values=()):
    """A main agent's database with a table of another shape in the place of OpenClaw's."""
    path = openclaw_database(tmp_path / agents_database("main"), None)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE auth_profile_store")
        connection.execute(f"CREATE TABLE auth_profile_store ({columns})")
        for row in values:
            connection.execute(f"INSERT INTO auth_profile_store VALUES ({', '.join('?' * len(row))})", row)
    return path


def test_a_cell_that_is_no_utf_8_is_refused_without_a_word_of_it(tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / agents_database("main"), {})
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        text = stored({"minimax-portal:default": sample.profile(email="J?rg")}).encode().replace(b"J?rg", b"J\xf6rg")
        connection.execute("UPDATE auth_profile_store SET store_json = CAST(? AS TEXT)", (text,))

    with pytest.raises(ConfigError, match="text that is not UTF-8") as raised:
        read_source(OPENCLAW, path)

    assert in_text(json.dumps(raised.value.as_json("portico"))) == []


def test_no_text_of_sqlites_is_passed_on(tmp_path):
    path = openclaw_database(tmp_path / agents_database("main"), Sample("openclaw").profiles())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        says = "SELECT RAISE(ABORT, 'words of the database')"
        connection.execute(f"CREATE TRIGGER says BEFORE UPDATE ON auth_profile_store BEGIN {says}; END")
    (credential,) = read_source(OPENCLAW, path)
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="Could not change") as raised:
        remove_from_source(OPENCLAW, path, credential)

    assert "words of the database" not in str(raised.value)
    assert "SQLITE_CONSTRAINT_TRIGGER" in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "columns",
    [
        "store_key TEXT PRIMARY KEY, updated_at INTEGER, store_json TEXT AS ('{}')",
        "store_key TEXT PRIMARY KEY, updated_at INTEGER, store_json TEXT AS (hex(zeroblob(20000000)))",
        "store_key TEXT AS ('primary') STORED, updated_at INTEGER, store_json TEXT",
        "store_key TEXT PRIMARY KEY, updated_at INTEGER",
    ],
    ids=["computed", "computed and large", "key computed", "missing"],
)
def test_a_table_that_does_not_only_store_its_columns_is_refused(columns, tmp_path):
    path = table_of(tmp_path, columns)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO auth_profile_store (updated_at) VALUES (1)")

    with pytest.raises(ConfigError, match="its table auth_profile_store has other columns than expected"):
        read_source(OPENCLAW, path)


@pytest.mark.parametrize(("count", "length"), [(101, 0), (3, 2 << 20)], ids=["many rows", "long rows"])
def test_a_table_with_too_much_in_it_is_refused(count, length, tmp_path):
    text = stored({}).replace("1", json.dumps("x" * length), 1)
    columns = "store_key TEXT PRIMARY KEY, store_json TEXT, updated_at INTEGER"
    rows_of = [(f"key{number}", text, 1) for number in range(count)]
    with pytest.raises(ConfigError, match="auth_profile_store has more than"):
        read_source(OPENCLAW, table_of(tmp_path, columns, rows_of))
    assert read_source(OPENCLAW, table_of(tmp_path, columns, rows_of[: count // 2])) == ()


def test_a_database_that_keeps_its_reader_at_work_without_an_end_is_left_alone(tmp_path):
    path = openclaw_database(tmp_path / agents_database("main"), Sample("openclaw").profiles())
    counting = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000000) SELECT max(n) FROM c"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"CREATE TRIGGER counting BEFORE UPDATE ON auth_profile_store BEGIN SELECT * FROM ({counting}); END")
    (credential,) = read_source(OPENCLAW, path)
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="too much work"):
        remove_from_source(OPENCLAW, path, credential)

    assert path.read_bytes() == before


def test_a_database_whose_last_write_was_cut_off_is_read_after_the_tool_has_been_started(tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, sample.profiles(), wal=False)
    # More than the cache holds is in the file before the end, and what was there is in the journal.
    writes = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('PRAGMA cache_size=2');"
        "c.execute('CREATE TABLE filler (words)'); c.execute('BEGIN');"
        "[c.execute('INSERT INTO filler VALUES (?)', ('x' * 3000,)) for _ in range(100)]; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", writes, str(path)], check=False)
    before = trace(path.parent)
    assert f"{path.name}-journal" in before

    with pytest.raises(ConfigError, match=r"a write to openclaw\.sqlite was interrupted; start the tool once"):
        read_source(OPENCLAW, path)

    assert trace(path.parent) == before
    assert len(profiles_in(path)) == 2  # as the tool does when it starts
    assert read_source(OPENCLAW, path)[0].access.reveal() == sample.access


@pytest.mark.parametrize("opens", ["and closes", "and stays"])
def test_what_the_tool_writes_while_its_closed_database_is_read_is_read_again(opens, tmp_path, monkeypatch):
    new, real, tool = Sample("openclaw"), database._open, []
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())

    @contextmanager
    def meanwhile(*how):
        with real(*how) as connection:
            yield connection
        if not tool:
            tool.append(sqlite3.connect(path, isolation_level=None))
            tool[0].execute(change(path), (stored(new.profiles()),))
            if opens == "and closes":
                tool[0].close()

    monkeypatch.setattr(database, "_open", meanwhile)

    (credential,) = read_source(OPENCLAW, path)

    tool[0].close()
    assert credential.access.reveal() == new.access


def test_a_tool_that_closes_its_database_while_its_log_is_looked_for_is_no_failure(tmp_path, monkeypatch):
    sample, real = Sample("openclaw"), database._open
    path = openclaw_database(tmp_path / SHARED, {})
    tool = sqlite3.connect(path, isolation_level=None)
    tool.execute(change(path), (stored(sample.profiles()),))

    def closed_before(*how):
        tool.close()
        return real(*how)

    monkeypatch.setattr(database, "_open", closed_before)

    (credential,) = read_source(OPENCLAW, path)

    assert credential.access.reveal() == sample.access


def put_beside(path, suffix):
    """Files beside a database that make SQLite look at the one with this suffix."""
    side_paths = [path.with_name(path.name + each) for each in {"-shm": ("-wal", "-shm")}.get(suffix, (suffix,))]
    for side_path in side_paths:
        side_path.write_bytes(b"")
    return side_paths[-1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_pipe_beside_a_database_is_not_waited_for(suffix, tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles(), wal=suffix != "-journal")
    pipe = put_beside(path, suffix)
    pipe.unlink()
    os.mkfifo(pipe)

    with pytest.raises(ConfigError, match=f"{pipe.name} is not a plain file"):
        read_source(OPENCLAW, path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file to another user")
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_log_or_a_journal_that_another_user_has_put_beside_a_database_is_not_believed(suffix, tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles(), wal=suffix != "-journal")
    (credential,) = read_source(OPENCLAW, path)
    place = put_beside(path, suffix)
    os.chown(place, 4711, -1)
    before = path.read_bytes()

    with pytest.raises(ConfigError, match=f"{place.name} belongs to another user"):
        read_source(OPENCLAW, path)
    with pytest.raises(ConfigError, match=f"{place.name} belongs to another user"):
        remove_from_source(OPENCLAW, path, credential)
    assert path.read_bytes() == before


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
    (credential,) = read_source(OPENCLAW, path)

    assert remove_from_source(OPENCLAW, path, credential) == "removed"

    assert profiles_in(path) == {"anthropic:default": sample.profiles()["anthropic:default"]}
    other = [(old, new) for old, new in zip(before, rows(path), strict=True) if old != new]
    assert len(other) == 1
    assert sample.access in other[0][0]
    data = path.read_bytes()
    assert sample.access.encode() not in data
    assert sample.refresh.encode() not in data
    after = trace(path.parent)
    assert {name: seen[0] for name, seen in after.items()} == {name: seen[0] for name, seen in folder.items()}
    assert remove_from_source(OPENCLAW, path, credential) == "gone"


def test_openclaw_may_run_meanwhile_and_sees_the_change(tmp_path):
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, {})
    with writing(path, sample.profiles()):
        (credential,) = read_source(OPENCLAW, path)

        assert remove_from_source(OPENCLAW, path, credential) == "removed"

        assert list(profiles_in(path)) == ["anthropic:default"]
        for each in path.parent.iterdir():
            if not each.name.endswith("-shm"):
                assert sample.access.encode() not in each.read_bytes()


def test_tokens_that_a_reader_of_the_database_keeps_in_its_file_are_not_called_erased(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, sample.profiles())
    with closing(sqlite3.connect(path, isolation_level=None)) as tool:
        tool.execute("BEGIN")
        tool.execute("SELECT * FROM config_machine_state").fetchall()
        (credential,) = read_source(OPENCLAW, path)

        assert remove_from_source(OPENCLAW, path, credential) == "not-erased"

        assert list(profiles_in(path)) == ["anthropic:default"]
        assert sample.refresh.encode() in path.read_bytes()
    assert sample.refresh.encode() not in path.read_bytes()
    assert remove_from_source(OPENCLAW, path, credential) == "gone"


def test_tokens_that_openclaw_has_stored_meanwhile_are_left_alone(tmp_path):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    (credential,) = read_source(OPENCLAW, path)
    before = path.read_bytes()

    assert remove_from_source(OPENCLAW, path, replace(credential, refresh=Secret(canary("rt")))) == "changed"
    assert path.read_bytes() == before


def test_a_write_of_openclaws_at_the_last_moment_is_looked_at_again(tmp_path, monkeypatch):
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    (credential,) = read_source(OPENCLAW, path)
    theirs, real = Sample("openclaw"), source.replace_cell

    def meanwhile(*args, **options):
        monkeypatch.setattr(source, "replace_cell", real)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(change(path), (stored(theirs.profiles()),))
        return real(*args, **options)

    monkeypatch.setattr(source, "replace_cell", meanwhile)

    assert remove_from_source(OPENCLAW, path, credential) == "changed"
    assert profiles_in(path)["minimax-portal:default"]["access"] == theirs.access


def test_a_database_that_openclaw_is_writing_to_stays_as_it_is_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    sample = Sample("openclaw")
    path = openclaw_database(tmp_path / SHARED, {})
    with writing(path, sample.profiles(), then=["BEGIN IMMEDIATE"]):
        (credential,) = read_source(OPENCLAW, path)
        with pytest.raises(LockBusy, match="OpenClaw is using") as raised:
            remove_from_source(OPENCLAW, path, credential)

    assert raised.value.id == "lock-busy"
    assert "minimax-portal:default" in profiles_in(path)


def test_a_refresh_by_openclaw_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_LOCK_TIMEOUT_S", 0.1)
    path = openclaw_database(tmp_path / SHARED, Sample("openclaw").profiles())
    # The name is what openclaw 2026.9.6 made of ["minimax-portal","minimax-portal:default"].
    lock = tmp_path / ".openclaw/locks/oauth-refresh/lock-dff9e703222e1f2656fb5ceb7c2e0043.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": os.getpid(), "createdAt": "2026-11-28T19:48:15.277Z"}))
    (credential,) = read_source(OPENCLAW, path)

    with pytest.raises(LockBusy, match="OpenClaw is using"):
        remove_from_source(OPENCLAW, path, credential)

    lock.unlink()
    assert remove_from_source(OPENCLAW, path, credential) == "removed"
    assert not lock.exists()
