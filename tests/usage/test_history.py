"""The history never delays its callers, loses no rows to other processes, and stops no request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from portico.errors import StoreError
from portico.interfaces.plugins import ModelCost, ModelSpec
from portico.models.loader import CallableModel
from portico.models.protocols import Usage
from portico.models.reference import ModelReference
from portico.paths import STATE_ENV
from portico.secret import Secret
from portico.testing.canary import canary, in_text
from portico.testing.clock import FakeClock
from portico.usage.entry import Entry, Retention, entry_of
from portico.usage.history import History
from portico.usage.history_file import COLUMNS, MIGRATIONS, HistoryFile, HistoryWriter

DAY_MS = 86_400_000


def an_entry(**changes):
    known = {
        "at_ms": 1,
        "model": "minimax/MiniMax-M2.1",
        "credential": "MINIMAX_API_KEY",
        "client": "ask",
        "api": "anthropic-messages",
    }
    return Entry(**{**known, **changes})


def entries(paths):
    def work(connection):
        return [
            Entry(**dict(zip(COLUMNS, row, strict=True)))
            for row in connection.execute(f"SELECT {','.join(COLUMNS)} FROM requests")
        ]

    return HistoryFile(paths, pytest.fail).read(work) or []


def record_all(paths, *new_entries, **more):
    """Record entries; return the closed history and its warnings."""
    messages = []
    history = History(paths, warn=messages.append, **more)
    for entry in new_entries:
        history.record(entry)
    history.close(timeout_s=30)
    return history, messages


@contextlib.contextmanager
def hold_database(paths, *, by):
    """The database, locked by a transaction of another process."""
    with contextlib.closing(HistoryFile(paths, pytest.fail).open()) as connection:
        connection.execute(by)
        connection.execute("SELECT count(*) FROM requests").fetchone()
        yield connection


# --- rows --------------------------------------------------------------------------------------------------------------------


def test_every_field_of_an_entry_comes_back_as_it_was(paths):
    whole = an_entry(
        input_tokens=7,
        output_tokens=9,
        cache_read_tokens=3,
        cache_write_tokens=2,
        cost_usd=0.25,
        first_byte_ms=120,
        latency_ms=900,
        outcome="rate-limit",
        attempts=3,
    )

    record_all(paths, whole, an_entry())

    assert entries(paths) == [whole, an_entry()]
    assert entries(paths)[1].cost_usd is None


def test_an_entry_has_the_price_of_its_time_and_none_where_none_is_known():
    model = CallableModel(
        ModelReference("minimax", "MiniMax-M2.1"),
        ModelSpec("MiniMax-M2.1", "M2.1", cost=ModelCost(0.3, 1.2)),
        "anthropic-messages",
        "https://api.minimax.io/anthropic",
        "environment variable MINIMAX_API_KEY",
        key=Secret(canary("key")),
    )
    fields = {"at_ms": 5, "client": "ask", "outcome": "answered", "attempts": 1}

    priced = entry_of(model, Usage(1_000_000, 1_000_000), **fields)
    unpriced = entry_of(replace(model, spec=ModelSpec("x", "x"), profile_id="minimax:default"), Usage(5, 5), **fields)

    assert (priced.cost_usd, priced.credential) == (1.5, "environment variable MINIMAX_API_KEY")
    assert (unpriced.cost_usd, unpriced.credential) == (None, "minimax:default")
    assert entry_of(model, Usage(5, 0), **fields).cost_usd is None
    assert in_text(repr(priced)) == []


@pytest.mark.requirement("E48")
def test_no_column_is_for_what_was_asked_or_answered_or_for_a_secret():
    numbers = {name for name in COLUMNS if name.endswith(("_ms", "_tokens", "_usd"))} | {"attempts"}

    assert set(COLUMNS) - numbers == {"model", "credential", "client", "api", "outcome"}
    assert Entry._fields == COLUMNS


def test_names_and_numbers_of_any_size_are_limited(paths):
    record_all(paths, an_entry(client="x" * 100_000, input_tokens=10**30, cost_usd=float("nan")))

    [entry] = entries(paths)
    assert (len(entry.client), entry.input_tokens, entry.cost_usd) == (200, 2**53, None)


# --- delays ------------------------------------------------------------------------------------------------------------------


async def test_recording_blocks_no_event_loop_while_another_process_holds_the_database(paths):
    await asyncio.to_thread(record_all, paths, an_entry())
    history = History(paths, warn=pytest.fail)
    holding, let_go = threading.Event(), threading.Event()

    def hold():
        with hold_database(paths, by="BEGIN IMMEDIATE"):
            holding.set()
            let_go.wait(20)

    lock = asyncio.create_task(asyncio.to_thread(hold))
    await asyncio.to_thread(holding.wait, 20)

    for number in range(50):
        history.record(an_entry(at_ms=number))  # blockbuster fails the test if the call blocks

    let_go.set()
    await lock
    assert await asyncio.to_thread(history.close)
    assert len(await asyncio.to_thread(entries, paths)) == 51


def test_what_the_queue_cannot_hold_is_counted_and_the_rest_is_written(paths):
    record_all(paths, an_entry())
    history = History(paths, warn=pytest.fail, queue_limit=3)
    with hold_database(paths, by="BEGIN IMMEDIATE") as lock:
        for number in range(100):
            history.record(an_entry(at_ms=number))
        dropped = history.dropped
        lock.execute("COMMIT")

    assert dropped >= 90
    assert history.close() is False
    assert len(entries(paths)) == 101 - dropped


def test_closing_waits_no_longer_than_its_timeout(paths):
    record_all(paths, an_entry())
    history = History(paths, warn=lambda _text: None)
    with hold_database(paths, by="BEGIN IMMEDIATE"):
        history.record(an_entry())
        assert history.close(timeout_s=0.05) is False
    assert history.close() is True


def test_after_the_close_nothing_is_taken_and_that_is_counted(paths):
    history, _ = record_all(paths, an_entry())
    history.record(an_entry())

    assert history.dropped == 1
    assert len(entries(paths)) == 1


def test_a_history_that_is_never_used_makes_no_file_and_no_thread(paths):
    history = History(paths)

    assert history.close() is True
    assert not paths.history.exists()
    assert "portico-history" not in {thread.name for thread in threading.enumerate()}


def test_the_database_library_is_loaded_by_the_writers_thread_alone():
    code = "import sys, portico.usage.history; print('sqlite3' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)

    assert result.stdout == "False\n"


# --- several processes ---------------------------------------------------------------------------------------------------------


def child(paths, name, count):
    env = {**os.environ, STATE_ENV: str(paths.state), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.usage.history_child", name, str(count)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_that_write_at_once_lose_nothing_and_make_the_database_once(paths):
    writers = {name: child(paths, name, 300) for name in ("one", "two", "three")}
    for process in writers.values():  # start together; the database does not exist yet
        process.stdin.write("go\n")
        process.stdin.flush()

    outputs = {name: process.communicate(timeout=50) for name, process in writers.items()}

    assert outputs == dict.fromkeys(writers, ("writing\n300\n", ""))
    rows = [(entry.client, entry.model) for entry in entries(paths)]
    assert sorted(rows) == sorted((name, f"m/{number}") for name in writers for number in range(300))


def test_somebody_who_reads_keeps_nobody_from_writing_and_sees_one_moment(paths):
    record_all(paths, an_entry())
    with hold_database(paths, by="BEGIN") as reader:
        history, messages = record_all(paths, an_entry(), an_entry())

        assert (history.dropped, messages) == (0, [])
        assert reader.execute("SELECT count(*) FROM requests").fetchone() == (1,)
    assert len(entries(paths)) == 3


def test_a_write_waits_for_another_one_that_is_going_on(paths):
    record_all(paths, an_entry())

    def write():
        with HistoryWriter(paths, Retention(), FakeClock(0), pytest.fail) as writer:
            return writer.write([an_entry()])

    with hold_database(paths, by="BEGIN IMMEDIATE") as lock, ThreadPoolExecutor() as threads:
        written = threads.submit(write)
        lock.execute("COMMIT")
        assert written.result(20)

    assert len(entries(paths)) == 2


def test_a_write_that_waits_too_long_is_dropped_with_one_warning(paths):
    record_all(paths, an_entry())
    messages = []
    file = HistoryFile(paths, messages.append, busy_s=0.0)
    with (
        hold_database(paths, by="BEGIN IMMEDIATE"),
        HistoryWriter(paths, Retention(), FakeClock(0), messages.append, file=file) as writer,
    ):
        assert [writer.write([an_entry()]) for _ in range(3)] == [False, False, False]

    assert messages == ["Could not write the usage history (database is locked); requests still work."]


@pytest.mark.linux
def test_a_process_that_is_killed_while_it_writes_leaves_a_sound_history(paths):
    process = child(paths, "killed", 0)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)

    record_all(paths, an_entry(client="after"))

    rows = entries(paths)
    assert rows[-1].client == "after"
    assert [entry.model for entry in rows[:-1]] == [f"m/{number}" for number in range(len(rows) - 1)]
    with contextlib.closing(sqlite3.connect(paths.history)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- files -------------------------------------------------------------------------------------------------------------------


@pytest.mark.linux
@pytest.mark.requirement("E44")
def test_its_files_are_private_whatever_the_umask_and_a_wider_one_is_tightened(paths):
    before = os.umask(0)
    try:
        with contextlib.closing(HistoryFile(paths, pytest.fail).open()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths.state.glob("history.sqlite*")}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("history.sqlite", "history.sqlite-wal", "history.sqlite-shm"), 0o600)

    paths.history.chmod(0o644)
    record_all(paths, an_entry())
    assert stat.S_IMODE(paths.history.stat().st_mode) == 0o600


@pytest.mark.linux
@pytest.mark.requirement("E44")
@pytest.mark.parametrize("kind", ["link", "folder", "FIFO"])
@pytest.mark.timeout(20)
def test_anything_but_a_file_of_ones_own_in_its_place_is_refused_and_stops_no_request(paths, tmp_path, kind):
    paths.state.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    make = {
        "link": lambda: paths.history.symlink_to(elsewhere),
        "folder": paths.history.mkdir,
        "FIFO": lambda: os.mkfifo(paths.history),
    }
    make[kind]()

    history, messages = record_all(paths, an_entry())

    assert history.dropped == 1
    assert len(messages) == 1
    assert str(paths.history) in messages[0]
    assert elsewhere.read_bytes() == b""


def garbage(path):
    path.write_bytes(os.urandom(20_000))


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def a_bad_page(path):
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * len(data[4096:])
    path.write_bytes(data)


def somebody_elses(path):
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE requests (something TEXT)")
        connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("damage", [garbage, cut, a_bad_page, somebody_elses])
def test_a_damaged_history_is_renamed_with_a_warning_and_the_request_is_recorded_in_a_new_one(paths, damage):
    record_all(paths, *(an_entry(at_ms=number) for number in range(200)))
    damage(paths.history)
    before = paths.history.read_bytes()

    history, messages = record_all(paths, an_entry(client="after"))

    assert history.dropped == 0
    assert [entry.client for entry in entries(paths)] == ["after"]
    [corrupt_file] = paths.state.glob("history.sqlite.corrupt-*")
    assert corrupt_file.read_bytes() == before
    assert os.name != "posix" or stat.S_IMODE(corrupt_file.stat().st_mode) == 0o600
    assert len(messages) == 1
    assert str(corrupt_file) in messages[0]


def test_a_damaged_history_that_is_only_read_is_set_aside_too(paths):
    record_all(paths, an_entry())
    garbage(paths.history)
    messages = []

    assert HistoryFile(paths, messages.append).read(lambda connection: connection.execute("SELECT 1").fetchall()) is None

    assert len(messages) == 1


def test_of_two_that_meet_the_damage_one_sets_it_aside_and_the_new_history_stays(paths):
    record_all(paths, an_entry())
    garbage(paths.history)
    files = [HistoryFile(paths, lambda _text: None) for _ in range(2)]
    errors = []
    for file in files:
        with pytest.raises(sqlite3.DatabaseError) as exc_info:
            file.open()
        errors.append(exc_info.value)

    assert files[0].recover(errors[0])
    record_all(paths, an_entry(client="after"))
    assert files[1].recover(errors[1])

    assert [entry.client for entry in entries(paths)] == ["after"]
    assert len([*paths.state.glob("history.sqlite.corrupt-*")]) == 1


def test_a_history_that_is_removed_while_it_is_written_begins_anew(paths):
    with HistoryWriter(paths, Retention(), FakeClock(0), pytest.fail) as writer:
        writer.write([an_entry(client="before")])
        for path in paths.state.glob("history.sqlite*"):
            path.unlink()
        writer.write([an_entry(client="after")])

    assert [entry.client for entry in entries(paths)] == ["after"]


@pytest.mark.requirement("E46")
def test_the_history_of_a_later_version_is_left_unchanged_and_reported(paths):
    record_all(paths, an_entry())
    with contextlib.closing(sqlite3.connect(paths.history)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    before = paths.history.read_bytes()

    history, messages = record_all(paths, an_entry())

    assert history.dropped == 1
    assert "version 99" in messages[0]
    assert paths.history.read_bytes() == before
    with pytest.raises(StoreError, match="later version"):
        entries(paths)


def test_an_older_schema_is_brought_up_to_date_with_its_rows(paths):
    record_all(paths, an_entry(client="old"))
    later = (*MIGRATIONS, "ALTER TABLE requests ADD COLUMN tenant TEXT NOT NULL DEFAULT ''")
    work = "SELECT client, tenant FROM requests"

    rows = HistoryFile(paths, pytest.fail, migrations=later).read(lambda connection: connection.execute(work).fetchall())

    assert rows == [("old", "")]


def test_a_migration_that_fails_leaves_the_history_as_it_was(paths):
    record_all(paths, an_entry(client="old"))
    broken = (*MIGRATIONS, "ALTER TABLE requests ADD COLUMN tenant TEXT; SELECT nothing FROM nowhere")

    with pytest.raises(sqlite3.OperationalError):
        HistoryFile(paths, pytest.fail, migrations=broken).open()

    assert [entry.client for entry in entries(paths)] == ["old"]


# --- retention -----------------------------------------------------------------------------------------------------------------


def test_old_rows_go_after_a_while_and_the_rest_stays(paths, fake_clock):
    now = fake_clock.wall_ms()
    old = [an_entry(at_ms=now - 11 * DAY_MS)] * 10
    new = [an_entry(at_ms=now - 9 * DAY_MS)] * 989

    record_all(paths, *old, *new, clock=fake_clock, retention=Retention(days=10))
    assert len(entries(paths)) == 999

    record_all(paths, an_entry(at_ms=now), clock=fake_clock, retention=Retention(days=10))
    assert len(entries(paths)) == 990


def test_there_are_never_many_more_rows_than_the_retention_allows(paths, fake_clock):
    new_entries = [an_entry(at_ms=fake_clock.wall_ms(), attempts=number) for number in range(3000)]

    record_all(paths, *new_entries, clock=fake_clock, retention=Retention(rows=500))

    rows = entries(paths)
    assert 500 <= len(rows) < 1500
    assert rows[-1].attempts == 2999
