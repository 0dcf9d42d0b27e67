"""Files of Portico's own that cannot be written, read or locked; the sealed file and the index of accounts."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from portico.secret import Secret
from portico.store import encrypted_file, profiles, records
from portico.store.profiles import ProfileIndex
from portico.testing.canary import canary
from portico.util import lock
from portico.util.lock import FileLock
from tests.auth.importers.samples import Sample
from tests.minimax_session import GLOBAL, sealed_store
from tests.remedies.in_sign_in import BY_BROWSER, KEY, PORTAL, standard_input, typed_key
from tests.remedies.scenario import command_of, scenario
from tests.store.helpers import a_profile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.minimax_session import MinimaxSession
    from tests.remedies.scenario import Desk

ADD = ("gateway", "key", "add", "--store", "file")
ELSEWHERE = "PORTICO_STATE_DIR"


def sealed(desk: Desk, **emulator: object) -> MinimaxSession:
    """An account whose tokens are in the sealed file."""
    session = desk.emulator(**emulator)
    session.env |= sealed_store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
        session.sign_in("--region", "global", "--store", "file")
    return session


# --- the disk ----------------------------------------------------------------------------------------------------------


@contextmanager
def failing(folder: Path, code: int, *, ending: str = "") -> Iterator[None]:
    """No file below `folder` can be opened to be written. Neither a full disk nor a mode binds root, so this is the seam."""
    before = os.open

    def fail(path, flags, *rest, **more):
        if flags & (os.O_CREAT | os.O_RDWR) and str(path).startswith(str(folder)) and str(path).endswith(ending):
            raise OSError(code, os.strerror(code))
        return before(path, flags, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", fail)
        yield


def _fails_for_a_while(desk: Desk, code: int) -> None:
    env = sealed_store()
    desk.ok(*ADD, "before", env=env)
    with failing(desk.commands.paths.state, code, ending=".tmp"):
        desk.refused(*ADD, "tool", env=env)
        assert desk.ok("gateway", "key", "show", "before", env=env)
    desk.ok(*ADD, "tool", env=env)


def _fails_in_this_folder(desk: Desk, code: int) -> None:
    env = sealed_store()
    state = desk.commands.paths.state
    state.mkdir(exist_ok=True)
    with failing(state, code):
        assert ELSEWHERE in desk.refused(*ADD, "tool", env=env)["hint"]
        desk.ok(*ADD, "tool", env=env | {ELSEWHERE: str(state.with_name("elsewhere"))})


for _code, _hint, _run in (
    (
        errno.ENOSPC,
        "free some space on that disk and run the command again; nothing stored before was touched",
        _fails_for_a_while,
    ),
    (
        errno.EDQUOT,
        "free some of your disk quota and run the command again; nothing stored before was touched",
        _fails_for_a_while,
    ),
    (errno.EFBIG, "raise the file size limit of this shell (ulimit -f) and run the command again", _fails_for_a_while),
    (errno.EMFILE, "this process has too many files open: raise its limit (ulimit -n)", _fails_for_a_while),
    (errno.EIO, "the disk reports an error: check it before you go on", _fails_for_a_while),
    (errno.EROFS, "that file system is read-only: set PORTICO_STATE_DIR to a folder that can be written", _fails_in_this_folder),
    (
        errno.EACCES,
        "make yourself the owner of the folder (chown), or set PORTICO_STATE_DIR to a folder of your own",
        _fails_in_this_folder,
    ),
    (
        errno.EPERM,
        "make yourself the owner of the folder (chown), or set PORTICO_STATE_DIR to a folder of your own",
        _fails_in_this_folder,
    ),
    (errno.ENOLCK, "set PORTICO_STATE_DIR to a folder of your own, on a file system that can lock files", _fails_in_this_folder),
):
    scenario(_hint, name=f"the disk answers {errno.errorcode[_code]}")(lambda desk, code=_code, run=_run: run(desk, code))


@scenario("find out who put it there, then move it away: {}")
def a_link_in_the_place_of_the_index(desk):
    desk.ok("gateway", "key", "list")
    index = desk.commands.paths.index
    index.parent.mkdir(exist_ok=True)
    index.symlink_to("/etc/passwd")
    hint = desk.refused("auth", "list")["hint"]
    assert hint.endswith(f": {index}")
    index.rename(index.with_name("away"))
    desk.ok("auth", "list")


@scenario("Use a shorter input.")
def input_without_an_end(desk):
    desk.emulator()
    ask = ("ask", "--no-fallback", "--model", "minimax/MiniMax-M2.1", "-")
    with standard_input("x" * (16 << 20)):
        desk.refused(*ask, env=KEY)
    with standard_input("Hello"):
        desk.ok(*ask, env=KEY)


@scenario("Name another file: {prog} doctor --bundle FILE")
def a_bundle_that_cannot_be_written(desk):
    home = desk.commands.paths.state.parent
    hint = desk.refused("doctor", "--bundle", str(home / "nowhere" / "report.tar.gz"))["hint"]
    assert hint.startswith("Name another file")
    assert desk.commands.run("doctor", "--bundle", str(home / "report.tar.gz")).returncode in {0, 9}
    assert (home / "report.tar.gz").exists()


@scenario("make its folder yours (chown), and run the command again")
def a_unit_file_that_cannot_be_written(desk):
    home = desk.commands.paths.state.with_name("user")
    (home / "bin").mkdir(parents=True)
    systemctl = home / "bin" / "systemctl"
    systemctl.write_text("#!/bin/sh\n", encoding="utf-8")
    systemctl.chmod(0o755)
    env = {
        "PATH": f"{systemctl.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
    }
    install = ("auth", "keep-fresh", "--install")
    with failing(home / "config", errno.EACCES):
        assert str(home / "config") in desk.refused(*install, env=env)["message"]
    desk.ok(*install, env=env)


@scenario("If your crontab has a line that names this file, remove the line: crontab -e", marks=(pytest.mark.linux,))
def a_line_for_cron_that_names_a_deleted_proxy_file(desk):
    empty = desk.commands.paths.state.with_name("empty")
    empty.mkdir()
    env = {"PATH": str(empty)}
    proxy = {"https_proxy": f"http://me:{canary('proxy')}@proxy.example:8080"}
    desk.refused("auth", "keep-fresh", "--install", env={**env, **proxy})  # the error's hint is the line for cron

    desk.shown("remove the line: crontab -e", "auth", "keep-fresh", "--uninstall", env=env)

    assert not list(desk.commands.paths.state.glob("*-proxy.env"))
    assert "crontab" not in desk.ok("auth", "keep-fresh", "--uninstall", env=env)


# --- locks -------------------------------------------------------------------------------------------------------------


def _busy(desk: Desk, *, signed: bool) -> str:
    env = sealed_store()
    desk.ok(*ADD, "before", env=env)
    (path,) = [each for each in desk.commands.paths.locks.iterdir() if each.name == profiles.LOCK_NAME]
    held, acquire = FileLock(path), FileLock.acquire
    held.acquire()
    try:
        if not signed:
            os.truncate(path, 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileLock, "acquire", lambda self, _timeout_s=0: acquire(self, 0.05))
            hint = desk.refused(*ADD, "tool", env=env)["hint"]
    finally:
        held.release()
    desk.ok(*ADD, "tool", env=env)
    return hint


@scenario("try again, or look at what process {} is doing")
def another_process_is_changing_the_index(desk):
    assert f"process {os.getpid()} " in _busy(desk, signed=True)


@scenario("try again when it has finished")
def a_process_that_has_not_signed_its_lock_is_changing_the_index(desk):
    _busy(desk, signed=False)


@scenario("check that {} is a folder you own, on a file system that can lock files")
def a_file_of_another_tool_that_cannot_be_locked(desk):
    session = desk.emulator()
    home = session.paths.state.parent / "home"
    path = Sample("hermes").write(home)
    words = ("auth", "import", "--from", "hermes", "--yes", "--remove-source", *session.store)
    locked, flock = path.with_suffix(".lock"), fcntl.flock

    def no_locks(fd: int, mode: int) -> None:
        if locked.exists() and os.path.samestat(os.fstat(fd), locked.stat()):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(fd, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        hint = desk.refused(*words)["hint"]
    assert f"that {path.parent} is a folder" in hint
    desk.ok(*words)


# --- the index ---------------------------------------------------------------------------------------------------------


def damage(desk: Desk, text: str = "{") -> None:
    desk.commands.paths.index.write_text(text, encoding="utf-8")


@scenario("Check the accounts: {prog} auth list")
def an_index_that_is_damaged_and_has_a_good_copy(desk):
    index = ProfileIndex(desk.commands.paths)
    for name in ("test:one", "test:two"):
        index.put(a_profile(name))
    index.remember_store("file")
    damage(desk)
    assert "test:two" in desk.follow(desk.refused("auth", "status")["hint"])


@scenario("Sign in again: {prog} onboard")
def an_index_that_is_damaged_and_has_no_good_copy(desk):
    session = desk.emulator()
    session.paths.index.parent.mkdir(exist_ok=True)
    damage(desk)
    error = desk.refused("auth", "list")
    desk.follow(error["hint"], *PORTAL[1:], "--region", "global", "--flow", "browser", *session.store)
    desk.ok("auth", "token")


@scenario("Run the command again.")
def an_index_that_another_process_has_put_right_meanwhile(desk):
    index = ProfileIndex(desk.commands.paths)
    index.put(a_profile("test:one"))
    sound = desk.commands.paths.index.read_text(encoding="utf-8")
    damage(desk)

    def put_right(path, *rest, **more):
        if path.name == profiles.LOCK_NAME:
            damage(desk, sound)
        return lock.file_lock(path, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "file_lock", put_right)
        desk.refused("auth", "list")
    assert "test:one" in desk.ok("auth", "list")


@scenario("Upgrade Portico, or set PORTICO_STATE_DIR to another folder. The file was not changed.")
def an_index_of_a_later_version(desk):
    state = desk.commands.paths.state
    state.mkdir(exist_ok=True)
    later = json.dumps({"version": 99, "profiles": {}})
    damage(desk, later)
    desk.refused("auth", "list")
    assert desk.commands.paths.index.read_text(encoding="utf-8") == later
    desk.ok("auth", "list", env={ELSEWHERE: str(state.with_name("elsewhere"))})


@scenario("Sign in again, or remove it: {prog} auth logout {}")
def an_entry_of_the_index_that_is_damaged(desk):
    session = desk.signed_in()
    path = session.paths.index

    def spoil() -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["profiles"][GLOBAL]["issuer"] = None
        damage(desk, json.dumps(document))

    spoil()
    error = desk.refused("auth", "token")
    assert session.run(*command_of(error["hint"]), "--yes").returncode == 11  # without its tokens nothing can be revoked
    assert session.profiles() == []
    session.sign_in("--region", "global")
    spoil()
    session.sign_in("--region", "global")
    desk.ok("auth", "token")


# --- the sealed file ---------------------------------------------------------------------------------------------------


@scenario("Set {} to a file that you can read, with the passphrase as UTF-8 in its first line.")
def a_passphrase_file_that_is_not_there(desk):
    path = desk.commands.paths.state.with_name("passphrase")
    env = {"PORTICO_PASSPHRASE_FILE": str(path), "PORTICO_PASSPHRASE": None}
    desk.refused(*ADD, "tool", env=env)
    path.write_bytes(b"\xff\n")
    path.chmod(0o600)
    desk.refused(*ADD, "tool", env=env)
    path.write_text("correct horse\n", encoding="utf-8")
    desk.ok(*ADD, "tool", env=env)


@scenario("Use the passphrase that the encrypted file was made with. If it is lost, move {} away and sign in again.")
def a_passphrase_that_is_wrong_or_lost(desk):
    session = sealed(desk)
    lost = {"PORTICO_PASSPHRASE": canary("another")}
    hint = desk.refused("auth", "token", env=lost)["hint"]
    desk.ok("auth", "token")
    session.paths.encrypted_records.rename(session.paths.state / "away")
    assert str(session.paths.encrypted_records) in hint
    session.sign_in("--region", "global", "--store", "file", "--replace", env=lost)
    desk.ok("auth", "token", env=lost)


@scenario("Put it back from a backup, or sign in again: {prog} models auth login --provider {} --profile {} --replace")
def the_key_of_the_sealed_store_is_gone_or_damaged(desk):
    session = sealed(desk)
    key = session.paths.encrypted_records / "store.json"
    backup = key.read_bytes()
    for spoil in (key.unlink, lambda: key.write_bytes(b"{")):
        spoil()
        desk.refused("auth", "token")
        key.write_bytes(backup)
        desk.ok("auth", "token")
    key.unlink()
    desk.follow(desk.refused("auth", "token")["hint"], *BY_BROWSER)
    desk.ok("auth", "token")


@scenario("Put it back from a backup, or sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace")
def the_key_of_the_sealed_store_is_gone_and_what_it_opened_was_an_api_key(desk):
    session = desk.emulator()
    session.env |= sealed_store()
    words = (
        "onboard",
        "--auth-choice",
        "minimax-api",
        "--non-interactive",
        "--no-background",
        "--api-key-stdin",
        "--store",
        "file",
    )
    typed_key(desk, *words, key="sk-emulator-global")
    (session.paths.encrypted_records / "store.json").unlink()
    ask = ("ask", "--no-fallback", "--model", "minimax/MiniMax-M2.1", "Hello")
    hint = desk.refused(*ask)["hint"]
    typed_key(desk, *command_of(hint), "--non-interactive", "--no-background", "--api-key-stdin", key="sk-emulator-global")
    desk.ok(*ask)


@scenario("Put it back from a backup, or run the command again to make a new one.", "{prog} gateway key rotate {}")
def the_key_of_the_sealed_store_is_damaged_when_something_is_to_be_stored(desk):
    env = sealed_store()
    desk.ok(*ADD, "tool", env=env)
    key = desk.commands.paths.encrypted_records / "store.json"
    backup = key.read_bytes()
    key.write_bytes(b"{")
    desk.refused(*ADD, "other", env=env)
    key.write_bytes(backup)
    desk.ok(*ADD, "other", env=env)
    key.write_bytes(b"{")
    desk.refused(*ADD, "third", env=env)
    desk.ok(*ADD, "third", env=env)
    # The keys of before do not open any more, and say so.
    desk.follow(desk.refused("gateway", "key", "show", "tool", env=env)["hint"], env=env)
    desk.ok("gateway", "key", "show", "tool", env=env)


@scenario("Upgrade Portico. The file was not changed.")
def a_sealed_store_of_a_later_version(desk):
    env = sealed_store()
    desk.ok(*ADD, "tool", env=env)
    key = desk.commands.paths.encrypted_records / "store.json"
    before = key.read_text(encoding="utf-8")
    later = json.dumps(json.loads(before) | {"v": 99})
    key.write_text(later, encoding="utf-8")
    desk.refused("gateway", "key", "show", "tool", env=env)
    assert key.read_text(encoding="utf-8") == later
    key.write_text(before, encoding="utf-8")
    desk.ok("gateway", "key", "show", "tool", env=env)


@scenario("Report this to the author of the provider's plugin: `{prog} plugins list` shows which one it is.")
def tokens_of_a_length_that_none_has(desk):
    session = desk.emulator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "RECORD_LIMIT", 200)  # the emulator's tokens are short
        desk.refused(*PORTAL, "--region", "global", "--flow", "browser", *session.store)
    assert session.profiles() == []
    session.sign_in("--region", "global")


@scenario("Upgrade Portico. Nothing was changed.")
def tokens_of_a_later_version(desk):
    session = sealed(desk)
    vault = desk.store()._vault
    store, user = vault._store("file", None), vault.location(GLOBAL).user
    before = store.get(user)
    later = Secret(json.dumps(json.loads(before.reveal()) | {"v": 99}))
    store.set(user, later)
    desk.refused("auth", "token")
    assert store.get(user) == later
    store.set(user, before)
    session.ok("auth", "token")
