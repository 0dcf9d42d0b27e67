"""Records in the Secret Service: KeePassXC and gnome-keyring as they are on a desktop, on a server, under cron."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from keyring.backends import SecretService

from portico.app import App
from portico.doctor.examination import CHECKS, examine
from portico.errors import StoreError, StoreUnknown
from portico.secret import Secret
from portico.store.errors import KeyringLocked, KeyringNotOpen, KeyringStartedEarly, PromptDismissed
from portico.store.keyring import FREEDESKTOP, KeyringStore, choose_backend, class_name
from portico.store.session_bus import open_session_bus
from portico.store.vault import Vault
from portico.testing.canary import canary
from portico.util.lock import FileLock
from portico.util.threads import Deadlines
from tests.minimax_session import SIGN_IN
from tests.needs import needs
from tests.store.helpers import a_profile, some_tokens
from tests.store.keyrings import ALLOW, PASSWORD, SERVICE, Prompter, private_bus, put_item
from tests.store.keyrings import keepassxc as run_keepassxc

pytestmark = [pytest.mark.linux, pytest.mark.filterwarnings("ignore:unclosed .*portico-bus:ResourceWarning")]
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user")
USER = "minimax-portal:default#a"
CLOSE, DENY = ("Escape",), ("Tab", "Tab", "Tab", "Return")
# A person takes longer than any of these but the last.
QUICK = Deadlines(read_s=1, write_s=1, prompt_s=20)


def a_store(**more):
    return KeyringStore(FREEDESKTOP, **{"deadlines": QUICK, **more})


def stored_before(user=USER):
    """A record of an earlier run of the program."""
    value = Secret(canary("at"))
    a_store().set(user, value)
    return value


def user_of(vault, profile):
    """The user under which the record of `profile` is."""
    return vault._location(profile.store, profile.backend, profile.id, profile.slot).user


@contextmanager
def clients_counted(address):
    """The names of the programs that connect to the bus meanwhile."""
    from jeepney import MatchRule
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import open_dbus_connection

    rule = MatchRule(type="signal", sender="org.freedesktop.DBus", member="NameOwnerChanged")
    names, signals = [], []
    with closing(open_dbus_connection(address)) as bus, bus.filter(rule, queue=signals):
        bus.send_and_get_reply(message_bus.AddMatch(rule))
        yield names
        bus.send_and_get_reply(message_bus.GetId())
        names += [name for name, old, new in (message.body for message in signals) if name.startswith(":") and new and not old]


@pytest.fixture
def prompter(session_bus):
    with closing(Prompter(session_bus.address)) as prompter:
        yield prompter


# --- KeePassXC ---------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_probe_and_two_commits_ask_a_keepassxc_with_default_settings_nothing(keepassxc, paths, index):
    vault = Vault(paths, index, store="keyring", deadlines=Deadlines(read_s=2, write_s=2, prompt_s=3))
    vault.probe()
    first = vault.commit(a_profile(), some_tokens())
    tokens = some_tokens()
    second = vault.commit(first, tokens)
    assert (first.slot, second.slot, vault.read(second.id)) == ("a", "b", tokens.__class__(*tokens_of(tokens), second.generation))
    assert (keepassxc.windows(), index.view().leftovers) == ([], ())


def tokens_of(tokens):
    return (tokens.access, tokens.refresh, tokens.expires_at)


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_sign_in_asks_a_keepassxc_with_default_settings_nothing_and_each_later_command_asks_once(minimax, keepassxc):
    session = minimax()
    session.env["DBUS_SESSION_BUS_ADDRESS"] = keepassxc.bus.address
    session.sign_in("--region", "global")
    assert keepassxc.windows() == []
    with keepassxc.person(*ALLOW):
        assert session.ok("auth", "token").strip()
        assert keepassxc.prompts == ["KeePassXC -  Access Request"]
        session.ok("doctor")
    with keepassxc.person(*DENY):
        denied = session.run("auth", "token")
    assert (denied.returncode, "was dismissed, or access was denied" in denied.stderr) == (7, True)


@pytest.mark.interop
@pytest.mark.requirement("E102")
@pytest.mark.parametrize("command", [("doctor",), ("auth", "status", "--check")])
def test_a_command_that_reads_two_sign_ins_asks_for_each_of_them_once(minimax, keepassxc, command):
    session = minimax()
    session.env["DBUS_SESSION_BUS_ADDRESS"] = keepassxc.bus.address
    session.sign_in("--region", "global")
    session.sign_in("--region", "global", "--profile", "second")
    with keepassxc.person(*ALLOW):
        session.run(*command)
    assert keepassxc.prompts == ["KeePassXC -  Access Request"] * 2


@pytest.mark.interop
@pytest.mark.requirement("E177")
def test_auth_status_opens_no_window_and_names_the_command_that_does(minimax, keepassxc):
    session = minimax()
    session.env["DBUS_SESSION_BUS_ADDRESS"] = keepassxc.bus.address
    session.sign_in("--region", "global")
    with keepassxc.person(*ALLOW):
        plain = session.run("auth", "status")
        assert keepassxc.prompts == []
        checked = session.run("auth", "status", "--check")
    assert (plain.returncode, "portico auth status --check" in plain.stdout) == (7, True)
    assert (checked.returncode, keepassxc.prompts) == (0, ["KeePassXC -  Access Request"])


@pytest.mark.interop
@pytest.mark.requirement("E102")
@pytest.mark.parametrize("command", [("auth", "keep-fresh"), ("auth", "keep-fresh", "--once"), ("gateway", "run")])
def test_a_program_that_works_unattended_says_on_stderr_that_a_window_waits(minimax, keepassxc, command, unused_tcp_port):
    session = minimax(access_ttl_s=2)
    session.env["DBUS_SESSION_BUS_ADDRESS"] = keepassxc.bus.address
    session.sign_in("--region", "global")
    words = [sys.executable, "-m", "portico", *command, *(["--port", str(unused_tcp_port)] if "gateway" in command else [])]
    deadline, announced = time.monotonic() + 20, False
    while not announced:  # `--once` ends where nothing is due yet
        assert time.monotonic() < deadline
        env = session.run_portico.environment(session.env)
        with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as waiting:
            end = threading.Timer(15, waiting.kill)
            end.start()
            announced = any("KeePassXC is waiting for you" in line for line in waiting.stderr)
            end.cancel()
            waiting.kill()


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_record_of_an_earlier_run_is_read_once_its_user_allows_it_however_long_that_takes(keepassxc):
    value, waits = stored_before(), []
    store = a_store(on_wait=waits.append)
    with keepassxc.person(*ALLOW, after_s=2.5):
        started = time.monotonic()
        assert store.get(USER) == value
        assert time.monotonic() - started > QUICK.read_s * 2
        assert store.get(USER) == value
    assert (len(keepassxc.prompts), waits) == (1, ["KeePassXC is waiting for you. Please answer its prompt."])


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_record_of_an_earlier_run_is_unlocked_before_it_is_deleted(keepassxc):
    stored_before()
    with keepassxc.person(*ALLOW):
        a_store().delete(USER)
    assert len(keepassxc.prompts) == 1
    with pytest.raises(StoreError) as exc_info:  # it may be in a database that is closed
        a_store().get(USER)
    assert type(exc_info.value) is KeyringNotOpen


@pytest.mark.interop
@pytest.mark.requirement("E102")
@pytest.mark.requirement("E103")
@pytest.mark.parametrize("keys", [CLOSE, DENY], ids=["closed", "denied"])
@pytest.mark.parametrize("operation", ["read", "write", "delete"])
def test_access_that_is_denied_is_a_dismissed_prompt_and_neither_locked_nor_empty(keepassxc, keys, operation):
    value = stored_before()
    store = a_store()
    operations = {
        "read": lambda: store.get(USER),
        "write": lambda: store.set(USER, Secret(canary("at"))),
        "delete": lambda: store.delete(USER),
    }
    with keepassxc.person(*keys), pytest.raises(StoreError) as exc_info:
        operations[operation]()
    assert type(exc_info.value) is PromptDismissed
    assert "KeePassXC" in exc_info.value.message
    assert "--store file" in exc_info.value.hint
    with keepassxc.person(*ALLOW):
        assert a_store().get(USER) == value


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_window_that_nobody_answers_is_waited_for_up_to_the_limit_for_a_person(keepassxc):
    stored_before()
    store = a_store(deadlines=Deadlines(read_s=0.4, write_s=0.4, prompt_s=1.0))
    started = time.monotonic()
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert 1.0 <= time.monotonic() - started < 5.0
    assert (exc_info.value.id, "did not answer" in exc_info.value.message) == ("keyring-timeout", True)
    assert not store.has_pending_call
    with pytest.raises(StoreUnknown):  # its user may still allow it
        store.set(USER, Secret(canary("at")))


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_locked_database_is_unlocked_by_its_user_and_the_record_is_read(keepassxc):
    value = stored_before()
    keepassxc.lock(keepassxc.bus.default_collection())
    with keepassxc.person(PASSWORD, "Return"):
        assert a_store().get(USER) == value
    assert keepassxc.prompts == ["Unlock Database - KeePassXC", "KeePassXC -  Access Request"]


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_a_keyring_that_ends_while_its_window_is_open_is_waited_for_no_longer(keepassxc):
    stored_before()
    store = a_store(on_wait=lambda _: keepassxc.process.kill())
    started = time.monotonic()
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert (exc_info.value.id, time.monotonic() - started < QUICK.prompt_s / 2) == ("keyring-unavailable", True)


@pytest.mark.interop
@pytest.mark.requirement("E103")
@pytest.mark.parametrize("operation", ["read", "write", "delete"])
def test_without_an_open_database_the_advice_is_to_open_one_and_no_window_comes_up(monkeypatch, operation):
    needs("dbus-daemon", "keepassxc", "keepassxc-cli", "Xvfb", "xdotool")
    with private_bus() as bus, run_keepassxc(bus, ()) as program:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        with pytest.raises(StoreError) as exc_info:
            {"read": a_store().get, "write": lambda user: a_store().set(user, Secret("x")), "delete": a_store().delete}[
                operation
            ](USER)
        assert program.windows() == []
    assert exc_info.value.id == "keyring-unavailable"
    assert "Open a database" in exc_info.value.hint
    assert "--store file" in exc_info.value.hint


@pytest.mark.interop
@pytest.mark.requirement("E103")
def test_a_record_that_may_be_in_a_locked_database_is_not_missing_and_what_was_deleted_is_gone(monkeypatch):
    needs("dbus-daemon", "keepassxc", "keepassxc-cli", "Xvfb", "xdotool")
    with private_bus() as bus, run_keepassxc(bus, ("passwords", "other")) as program:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        store, value = a_store(), Secret(canary("at"))
        store.set(USER, value)
        (aside,) = set(bus.collections()) - {bus.default_collection()}
        program.lock(aside)
        for operation in (store.get, store.delete):
            with pytest.raises(StoreError) as exc_info:
                operation("somebody#a")
            assert (exc_info.value.id, aside.rpartition("/")[2] in exc_info.value.why) == ("keyring-locked", True)
        assert store.get(USER) == value
        for _ in range(2):  # deleted, and none is seen any more: the locked database may have another
            with pytest.raises(StoreError) as exc_info:
                store.delete(USER)
            assert exc_info.value.id == "keyring-locked"
        program.unlock(aside)
        with pytest.raises(StoreError) as exc_info:
            store.get(USER)
        assert type(exc_info.value) is KeyringNotOpen


@pytest.fixture
def two_databases(monkeypatch):
    needs("dbus-daemon", "keepassxc", "keepassxc-cli", "Xvfb", "xdotool")
    with private_bus() as bus, run_keepassxc(bus, ("one", "two")) as program:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        front = bus.default_collection()
        (aside,) = set(bus.collections()) - {front}
        yield program, front, aside


@pytest.mark.interop
@pytest.mark.requirement("E103")
def test_a_copy_in_a_locked_database_is_not_deleted_by_deleting_the_one_that_is_seen(two_databases):
    program, _, aside = two_databases
    put_item(aside, "a copy of another day")
    program.lock(aside)
    store = a_store()
    store.set(USER, Secret(canary("at")))
    with pytest.raises(StoreError) as exc_info:
        store.delete(USER)
    assert (exc_info.value.id, aside.rpartition("/")[2] in exc_info.value.why) == ("keyring-locked", True)
    program.unlock(aside)
    with program.person(*ALLOW):
        store.delete(USER)
        assert program.prompts == ["KeePassXC -  Access Request"]


@pytest.mark.interop
@pytest.mark.requirement("E103")
def test_a_record_in_a_database_that_was_closed_is_neither_missing_nor_deleted(two_databases, paths, index):
    program, front, _ = two_databases
    profile = Vault(paths, index, deadlines=QUICK).commit(a_profile(), some_tokens())
    program.close(front)
    with pytest.raises(StoreError) as exc_info:
        Vault(paths, index, deadlines=QUICK).read(profile.id)
    assert (type(exc_info.value), "Open the database" in exc_info.value.hint) == (KeyringNotOpen, True)
    vault = Vault(paths, index, deadlines=QUICK)
    (stuck,) = vault.delete(profile.id)
    assert "in its open databases" in stuck
    assert [leftover.slot for leftover in index.view().leftovers] == [profile.slot]
    assert len(vault.sweep()) == 1


@pytest.mark.interop
@pytest.mark.requirement("E103")
def test_a_sign_out_at_an_open_database_is_complete(keepassxc, paths, index):
    vault = Vault(paths, index, deadlines=QUICK)
    vault.delete(vault.commit(a_profile(), some_tokens()).id)
    assert (index.view().leftovers, keepassxc.windows()) == ((), [])


@pytest.mark.interop
@pytest.mark.requirement("E103")
def test_a_keyring_of_an_unknown_name_may_hide_what_is_locked(monkeypatch):
    needs("dbus-daemon", "keepassxc", "keepassxc-cli", "Xvfb", "xdotool")
    with private_bus() as bus, run_keepassxc(bus, ("one", "two"), name="xdg-dbus-proxy") as program:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        (aside,) = set(bus.collections()) - {bus.default_collection()}
        put_item(aside, "the record")
        program.lock(aside)
        for operation in (a_store().get, a_store().delete):
            with pytest.raises(StoreError) as exc_info:
                operation(USER)
            assert exc_info.value.id == "keyring-locked"


@pytest.mark.interop
@pytest.mark.requirement("E102")
def test_others_have_their_turn_to_write_while_a_person_is_asked(keepassxc, tmp_path):
    stored_before()
    path, owners, value = tmp_path / "keyring.lock", [], Secret(canary("at"))
    store = a_store(on_wait=lambda _: owners.append(FileLock(path).is_locked()), lock=path)
    with keepassxc.person(*ALLOW, after_s=1):
        store.set(USER, value)
    assert (owners, FileLock(path).is_locked(), store.get(USER)) == ([False], False, value)


@pytest.mark.interop
@pytest.mark.requirement("E102")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_has_a_connection_and_turns_of_its_own(keepassxc):
    store, value = a_store(), Secret(canary("at"))
    store.set(USER, value)
    store._call_lock.acquire()  # by another thread, which is not in the child
    name = store._service._bus.unique_name
    child = os.fork()
    if not child:
        try:
            store.set("child#a", value)
            os._exit(0 if store._service._bus.unique_name != name else 3)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    store._call_lock.release()
    assert (os.waitstatus_to_exitcode(status), store.get(USER), store._service._bus.unique_name) == (0, value, name)
    assert keepassxc.windows() == []


# --- gnome-keyring -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("E102")
def test_all_calls_of_a_store_make_one_connection(secret_service):
    store, value = a_store(), Secret(canary("at"))
    with clients_counted(secret_service.address) as clients:
        store.set(USER, value)
        assert store.get(USER) == value
        store.delete(USER)
        assert store.get(USER) is None
    assert len(clients) == 1


@pytest.mark.requirement("E102")
@pytest.mark.parametrize("first", ["named", "best"])
def test_the_best_keyring_and_the_one_of_that_name_are_opened_once(secret_service, run_portico, first):
    env = run_portico.environment()
    profile = App(env=env).local_store("keyring").commit(a_profile(), some_tokens())
    app = App(env=env)
    operations = [lambda: app.local_store().read(profile.id), app.local_store("keyring").probe]
    for operation in operations if first == "named" else reversed(operations):
        operation()
    assert len({store._service._bus.unique_name for store in app.keyrings}) == 1


@pytest.mark.requirement("E102")
@pytest.mark.parametrize("scheme", ["default", "KeePassXC"])
def test_what_keyring_itself_wrote_is_read_and_what_portico_wrote_keyring_reads(secret_service, monkeypatch, scheme):
    monkeypatch.setenv("KEYRING_PROPERTY_SCHEME", scheme)
    backend, store = SecretService.Keyring(), a_store()
    value, other = canary("at"), canary("at")
    backend.set_password("portico", USER, value)
    assert store.get(USER) == Secret(value)
    store.set(USER, Secret(other))
    assert backend.get_password("portico", USER) == other
    (item,) = secret_service.items()
    assert (item.label, item.attributes["application"]) == (f"Password for '{USER}' on 'portico'", "Python keyring library")


@pytest.mark.requirement("E102")
def test_a_record_outside_the_default_collection_is_found_and_deleted(secret_service):
    import secretstorage

    value = canary("at")
    with closing(secretstorage.dbus_init()) as bus:
        aside = secretstorage.Collection(bus, "/org/freedesktop/secrets/collection/session")
        aside.create_item("an older one", {"service": "portico", "username": USER}, value.encode())
    store = a_store()
    assert store.get(USER) == Secret(value)
    store.delete(USER)
    assert store.get(USER) is None


@pytest.mark.requirement("E103")
def test_of_two_copies_the_one_of_the_profiles_generation_is_read(secret_service, paths, index):
    vault, tokens = Vault(paths, index, deadlines=QUICK), some_tokens()
    older = vault.commit(a_profile(), some_tokens())
    stale = a_store().get(user_of(vault, older))
    newer = vault.commit(older, tokens)
    put_item("/org/freedesktop/secrets/collection/session", a_store().get(user_of(vault, newer)).reveal(), user_of(vault, newer))
    a_store().set(user_of(vault, newer), stale)
    found = Vault(paths, index, deadlines=QUICK).read(newer.id)
    assert (found.generation, found.access) == (newer.generation, tokens.access)
    assert vault.delete(newer.id) == ()
    assert secret_service.items() == []


@pytest.mark.requirement("E103")
def test_a_copy_that_could_not_be_deleted_is_deleted_later_although_its_name_is_in_use_again(session_bus, paths, index):
    session_bus.gnome_keyring("--unlock", password=PASSWORD)
    vault = Vault(paths, index, deadlines=QUICK)
    login, work = session_bus.default_collection(), session_bus.second_collection()
    profile = vault.commit(a_profile(), some_tokens())
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "SetAlias", "so", "default", work)
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", [login])
    for _ in range(2):
        profile = vault.commit(profile, some_tokens())
    assert (profile.slot, [leftover.slot for leftover in index.view().leftovers]) == ("a", ["a"])
    session_bus.unlock(login)
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "SetAlias", "so", "default", login)
    assert vault.read(profile.id).generation == profile.generation
    attributes = {"service": "portico"}
    copies = [
        session_bus.call(path, "org.freedesktop.Secret.Collection", "SearchItems", "a{ss}", attributes)[0]
        for path in (login, work)
    ]
    assert ([len(items) for items in copies], index.view().leftovers) == ([0, 1], ())


@pytest.mark.requirement("E102")
def test_what_was_written_is_read_although_another_appid_has_a_copy(secret_service, monkeypatch):
    stored_before()
    monkeypatch.setenv("KEYRING_PROPERTY_APPID", "another")
    store, value = a_store(), Secret(canary("at"))
    store.set(USER, value)
    assert (store.get(USER), len(secret_service.items())) == (value, 1)


@pytest.mark.requirement("E103")
@pytest.mark.parametrize("path", ["login", "/org/freedesktop/secrets/collection/nope"])
def test_a_preferred_collection_that_does_not_exist_is_named(secret_service, monkeypatch, path):
    monkeypatch.setenv("KEYRING_PROPERTY_PREFERRED_COLLECTION", path)
    for operation in (a_store().get, a_store().delete, lambda user: a_store().set(user, Secret("x"))):
        with pytest.raises(StoreError) as exc_info:
            operation(USER)
        assert exc_info.value.id == "keyring-unavailable"
        assert (
            f"KEYRING_PROPERTY_PREFERRED_COLLECTION names a collection that gnome-keyring does not have: {path}"
            in exc_info.value.message
        )
    monkeypatch.setenv("KEYRING_PROPERTY_PREFERRED_COLLECTION", "/org/freedesktop/secrets/collection/session")
    assert a_store().get(USER) is None


@pytest.mark.requirement("E102")
def test_after_a_window_was_refused_the_same_operation_opens_no_other(session_bus, prompter, paths, index):
    session_bus.gnome_keyring("--unlock", password=PASSWORD)
    windows = []

    def refuse(text):
        windows.append(text)
        prompter.refuse()

    vault = Vault(paths, index, deadlines=QUICK, on_wait=refuse)
    profile = vault.commit(a_profile(), some_tokens())
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", session_bus.collections())
    for operation in (
        lambda: vault.commit(profile, some_tokens()),
        lambda: vault.commit(profile, some_tokens()),  # with what the one before has left
        vault.sweep,
        lambda: vault.delete(profile.id),
        vault.sweep,
    ):
        windows.clear()
        with suppress(StoreError):
            operation()
        assert len(windows) == 1


@pytest.mark.requirement("E102")
def test_a_store_goes_on_after_its_keyring_was_started_anew(session_bus):
    daemon = session_bus.gnome_keyring("--unlock", password=PASSWORD)
    store, value = a_store(), Secret(canary("at"))
    store.set(USER, value)
    daemon.terminate()
    daemon.wait()
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "keyring-unavailable"
    session_bus.gnome_keyring("--unlock", password=PASSWORD)
    assert store.get(USER) == value


@pytest.mark.requirement("E102")
def test_ctrl_c_ends_the_wait_for_a_prompt_and_stderr_says_that_it_waits(session_bus, prompter, run_portico, index):
    session_bus.gnome_keyring("--unlock", password=PASSWORD)
    profile = Vault(run_portico.paths, index).commit(a_profile(), some_tokens((int(time.time()) + 3600) * 1000))
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", session_bus.collections())
    command = [sys.executable, "-m", "portico", "auth", "token", profile.id]
    with subprocess.Popen(
        command, env=run_portico.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr.readline() == "gnome-keyring is waiting for you. Please answer its prompt.\n"
        waiting.send_signal(signal.SIGINT)
        assert (waiting.wait(5), waiting.stdout.read()) == (130, "")


@pytest.mark.requirement("E103")
def test_a_read_makes_no_collection_and_asks_for_none(session_bus, prompter):
    session_bus.gnome_keyring("--start")
    before = session_bus.collections()
    for operation in (a_store().get, a_store().delete):
        with pytest.raises(StoreError) as exc_info:
            operation(USER)
        assert exc_info.value.id == "keyring-unavailable"
        assert "--store file" in exc_info.value.hint
    assert (session_bus.collections(), prompter.requests()) == (before, [])


@pytest.mark.requirement("E103")
def test_a_write_asks_to_make_the_missing_collection_and_says_that_there_is_none_when_that_is_refused(session_bus, prompter):
    session_bus.gnome_keyring("--start")
    with pytest.raises(StoreError) as exc_info:
        a_store(on_wait=prompter.refuse).set(USER, Secret(canary("at")))
    assert (exc_info.value.id, "dismissed" in exc_info.value.why) == ("keyring-unavailable", True)


@pytest.mark.requirement("E103")
def test_a_dismissed_prompt_of_gnome_keyring_differs_from_a_keyring_that_cannot_prompt(session_bus):
    session_bus.gnome_keyring("--unlock", password=PASSWORD)
    stored_before()
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", session_bus.collections())
    with pytest.raises(StoreError) as no_prompter:
        a_store().get(USER)
    with closing(Prompter(session_bus.address)) as prompter, pytest.raises(StoreError) as refused:
        a_store(on_wait=prompter.refuse).get(USER)
    assert (type(no_prompter.value), type(refused.value)) == (KeyringLocked, PromptDismissed)
    assert "gnome-keyring-daemon --unlock" in no_prompter.value.hint


def started_for_the_first_time(bus):
    bus.gnome_keyring("--start")


def unlocked_too_late(bus):
    bus.gnome_keyring("--start")
    bus.late_unlock()


def started_again(bus):
    daemon = bus.gnome_keyring("--unlock", password="pw")
    daemon.terminate()
    daemon.wait()
    bus.gnome_keyring("--start")


@pytest.mark.requirement("E104")
@pytest.mark.parametrize("begin", [started_for_the_first_time, unlocked_too_late, started_again])
def test_a_gnome_keyring_started_without_its_password_is_named_and_its_remedy_works(session_bus, begin):
    begin(session_bus)
    store, value = a_store(), Secret(canary("at"))
    for operation in (lambda: store.get(USER), lambda: store.set(USER, value), lambda: store.delete(USER)):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert type(exc_info.value) is KeyringStartedEarly
        assert "`gnome-keyring-daemon --unlock` has no effect" in exc_info.value.why
    words = exc_info.value.hint.split(",")[0].split()
    assert words[0] == "kill"
    assert "run gnome-keyring-daemon --unlock" in exc_info.value.hint
    os.kill(int(words[1]), signal.SIGTERM)
    session_bus.wait_for_end_of(int(words[1]))
    if not session_bus.has_service():  # the one that came too late takes its place at once
        session_bus.gnome_keyring("--unlock", password="pw")
    store.set(USER, value)
    assert store.get(USER) == value


@pytest.mark.requirement("E103")
@pytest.mark.requirement("E104")
def test_a_prompter_that_is_installed_and_has_no_display_cannot_ask(monkeypatch):
    needs("dbus-daemon", "gnome-keyring-daemon")
    if not Path("/usr/share/dbus-1/services/org.gnome.keyring.SystemPrompter.service").exists():
        pytest.skip("gcr not installed")
    with private_bus(of_the_machine=True) as bus:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        daemon = bus.gnome_keyring("--start")
        for operation in (a_store().get, lambda user: a_store().set(user, Secret("x"))):
            with pytest.raises(StoreError) as exc_info:
                operation(USER)
            assert type(exc_info.value) is KeyringStartedEarly
        daemon.terminate()
        daemon.wait()
    with private_bus(of_the_machine=True) as bus:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        bus.gnome_keyring("--unlock", password=PASSWORD)
        stored_before()
        bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", bus.collections())
        with pytest.raises(StoreError) as exc_info:
            a_store().get(USER)
        assert (exc_info.value.id, "no program on this session bus can ask" in exc_info.value.why) == ("keyring-locked", True)


def in_words(session, *args):
    """The first error of a command with `--json`: its id, what it says, why, and what to do."""
    result = session.run(*args, "--json")
    whole = args[0] == "doctor"  # the other prints one event a line
    printed = json.loads(result.stdout if whole else result.stdout.splitlines()[-1])
    error = printed["findings"][0] if whole else printed["error"]
    return {name: error[name] for name in ("id", "message", "why", "hint")}


@pytest.mark.requirement("E103")
@pytest.mark.requirement("E104")
@pytest.mark.parametrize("begin", [started_for_the_first_time, unlocked_too_late, started_again])
def test_doctor_and_a_sign_in_say_the_same_of_a_keyring(minimax, session_bus, begin):
    session = minimax()
    session.env["DBUS_SESSION_BUS_ADDRESS"] = session_bus.address
    begin(session_bus)
    of_doctor, of_sign_in = in_words(session, "doctor"), in_words(session, *SIGN_IN, "--region", "global")
    assert of_sign_in.pop("hint") == of_doctor.pop("hint").replace("onboard --", "onboard --auth-choice minimax-portal --")
    assert (of_doctor, of_doctor["id"]) == (of_sign_in, "keyring-locked")


@pytest.mark.requirement("E102")
def test_doctor_waits_for_a_person_whom_the_keyring_asks(session_bus, prompter, paths):
    session_bus.gnome_keyring("--unlock", password=PASSWORD)
    session_bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", session_bus.collections())
    person = threading.Timer(1.5, prompter.refuse)
    person.start()
    (check_result,) = examine(
        App("portico", env=dict(os.environ)), checks=[check for check in CHECKS if check.id == "store"], longest_s=0.8
    )[:1]
    person.join()
    assert [finding.id for finding in check_result.findings] == ["keyring-locked"]


# --- the session bus ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("E105")
def test_without_an_address_the_bus_in_the_runtime_folder_is_used_and_the_environment_stays_as_it_is(
    own_secret_service, monkeypatch
):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own_secret_service.folder))
    before = dict(os.environ)
    assert class_name(choose_backend(os.environ)) == FREEDESKTOP
    store, value = KeyringStore(), Secret(canary("at"))
    store.set(USER, value)
    assert store.get(USER) == value
    assert dict(os.environ) == before


@pytest.mark.requirement("E105")
@pytest.mark.parametrize("letters", ["a, b=%", "jörg"])
def test_a_bus_is_connected_to_whatever_letters_its_folder_has(own_secret_service, monkeypatch, tmp_path, letters):
    odd = tmp_path / letters
    odd.symlink_to(own_secret_service.folder)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(odd))
    assert a_store().get(USER) is None
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={quote(str(odd))}/bus")
    assert a_store().get(USER) is None


@pytest.mark.requirement("E105")
@pytest.mark.parametrize("form", ["unix:path=/nonexistent/bus;{}", "tcp:host=127.0.0.1,port=1;{};disabled:", "unix:runtime=yes"])
def test_each_address_of_a_list_is_tried_and_the_runtime_folder_is_one(own_secret_service, monkeypatch, form):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own_secret_service.folder))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", form.format(own_secret_service.address))
    assert a_store().get(USER) is None


@pytest.mark.requirement("E105")
@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("disabled:", "is disabled"),
        ("autolaunch:", "`unix:` only"),
        ("/run/user/1000/bus", "not a D-Bus address"),
        ("unix:nothing", "not a D-Bus address"),
        ("unix:tmpdir=/tmp", "no `path`"),
        ("unix:runtime=yes", "XDG_RUNTIME_DIR is not set"),
        ("unix:path=/etc/passwd/bus", "Not a directory"),
        ("unix:path={silent}", "Did not authenticate"),
        (";", "leads to no bus"),
    ],
)
def test_an_address_that_leads_to_no_bus_is_named_and_it_is_not_the_keyring_that_is_at_fault(
    monkeypatch, tmp_path, address, fault
):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.chdir(tmp_path)  # a socket's path is at most 107 bytes long
    address = address.format(silent="silent")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("silent")
        listener.listen()
        with pytest.raises(StoreError) as exc_info:
            a_store(deadlines=Deadlines(read_s=3)).get(USER)
    assert (exc_info.value.id, address in exc_info.value.why, fault in exc_info.value.why) == ("keyring-unavailable", True, True)


@pytest.mark.requirement("E105")
@as_root
def test_a_bus_that_this_user_may_not_enter_is_named(own_secret_service, monkeypatch):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", own_secret_service.address)
    code = f"""if True:
        import os
        from portico.errors import StoreError
        from portico.store.keyring import KeyringStore
        KeyringStore({FREEDESKTOP!r}).get("u#a")  # what another user could not import is imported now
        os.seteuid(65534)
        try:
            KeyringStore({FREEDESKTOP!r}).get("u#a")
        except StoreError as error:
            print(error.id, error.why)
    """
    result = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.startswith("keyring-unavailable ")
    assert own_secret_service.address in result.stdout


@pytest.mark.requirement("E105")
def test_what_is_no_socket_of_this_user_is_no_bus(monkeypatch, tmp_path):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(ConnectionError, match="DBUS_SESSION_BUS_ADDRESS is not set, and XDG_RUNTIME_DIR is not set"):
        open_session_bus()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ConnectionError, match="does not exist"):
        open_session_bus()
    (tmp_path / "bus").touch()
    with pytest.raises(ConnectionError, match="not a socket"):
        open_session_bus()
    tmp_path.chmod(0o777)
    with pytest.raises(ConnectionError, match="writable for others"):
        open_session_bus()
    own = os.getuid()
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    with pytest.raises(ConnectionError, match="belongs to another user"):
        open_session_bus()


@pytest.mark.requirement("E105")
@as_root
def test_a_socket_at_which_another_user_listens_is_no_bus_although_it_has_the_users_name_on_it(monkeypatch, tmp_path):
    ready, printed = os.pipe()
    other = os.fork()
    if not other:  # the bus of somebody else, who has come to a socket of this user's
        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(tmp_path)
            listener.bind("bus")
            os.setuid(65534)
            listener.listen()
            os.write(printed, b".")
            with listener.accept()[0] as client:
                client.recv(100)
                client.sendall(b"OK 0123\r\n")
                while client.recv(100):
                    pass
                os._exit(0)
    os.read(ready, 1)
    try:
        monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
        with pytest.raises(ConnectionError, match="it belongs to user 65534"):
            open_session_bus()
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_the_connection_is_closed_with_its_store(secret_service):
    store = a_store()
    store.set(USER, Secret(canary("at")))
    bus = store._service._bus
    del store
    assert bus.sock.fileno() == -1


def test_a_thread_of_another_store_does_not_disturb(secret_service, tmp_path):
    lock = (
        tmp_path / "keyring.lock"
    )  # gnome-keyring loses sight of things when several write at once; Portico's stores take turns
    users = [f"p#{number}" for number in range(8)]
    values = {user: Secret(canary("at")) for user in users}
    threads = [
        threading.Thread(target=a_store(deadlines=Deadlines(), lock=lock).set, args=(user, values[user])) for user in users
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = a_store(deadlines=Deadlines())
    assert {user: store.get(user) for user in users} == values
