"""Records in a keyring: bounded in time, every failure named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from portico.errors import StoreError, StoreUnknown
from portico.secret import Secret
from portico.store.errors import KeyringTimeout
from portico.store.keyring import KeyringStore
from portico.testing.canary import canary
from portico.util.lock import file_lock
from portico.util.threads import Deadlines
from tests.store.helpers import HELPERS

SECRET_SERVICE = "keyring.backends.SecretService.Keyring"
USER = "minimax-portal:default#a"
# keyring itself leaves its connection open when a collection stays locked.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed .*portico-bus:ResourceWarning")
QUICK = Deadlines(read_s=0.4, write_s=0.4, prompt_s=0.2)


def unlock(service):
    """Unlock the login collection without a prompt, by gnome-keyring's own interface for tests."""
    import secretstorage
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection
    from secretstorage.util import format_secret, open_session

    interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"
    test_interface = DBusAddress("/org/freedesktop/secrets", "org.freedesktop.secrets", interface)
    with closing(open_dbus_connection(service.address)) as bus:
        path = secretstorage.get_default_collection(bus).collection_path
        password = format_secret(open_session(bus), "portico", "text/plain")
        bus.send_and_get_reply(new_method_call(test_interface, "UnlockWithMasterPassword", "o(oayays)", (path, password)))


def pid_of_bus(service):
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import open_dbus_connection

    with closing(open_dbus_connection(service.address)) as bus:
        return bus.send_and_get_reply(message_bus.GetConnectionUnixProcessID("org.freedesktop.DBus")).body[0]


@pytest.fixture
def prompter_bus(own_secret_service):
    from jeepney.io.blocking import open_dbus_connection

    with closing(open_dbus_connection(own_secret_service.address)) as bus:
        yield bus


@pytest.fixture
def silent_prompter(own_secret_service, prompter_bus):
    """A service whose prompter takes the question and never answers."""
    from jeepney.bus_messages import message_bus

    prompter_bus.send_and_get_reply(message_bus.RequestName("org.gnome.keyring.SystemPrompter"))
    return own_secret_service


@pytest.mark.requirement("E39")
@pytest.mark.parametrize("size", [1, 1279, 1280, 1281, 10_000, 60_000])
def test_records_of_any_size_come_back_whole_from_the_secret_service(secret_service, size):
    store = KeyringStore(SECRET_SERVICE)
    value = Secret(("\U0001f511é" + canary("at") * size)[:size])
    store.set(USER, value)
    assert store.get(USER) == value
    store.delete(USER)
    assert store.get(USER) is None
    assert secret_service.items() == []


def test_deleting_what_is_not_there_is_no_error(secret_service):
    store = KeyringStore(SECRET_SERVICE)
    store.delete("nobody#a")
    assert store.get("nobody#a") is None
    assert secret_service.items() == []


@pytest.mark.requirement("E36")
def test_a_locked_keyring_whose_prompt_is_dismissed_is_locked_and_not_empty(own_secret_service):
    store = KeyringStore(SECRET_SERVICE)
    value = Secret(canary("at"))
    store.set(USER, value)
    own_secret_service.lock()
    for operation in (lambda: store.get(USER), lambda: store.set(USER, value), lambda: store.delete(USER)):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert exc_info.value.id == "keyring-locked"
        assert SECRET_SERVICE in exc_info.value.message
        assert "no program on this session bus can ask for its password" in exc_info.value.why
        assert "unlock" in exc_info.value.hint
    unlock(own_secret_service)
    assert store.get(USER) == value


@pytest.mark.requirement("E36")
def test_an_unanswered_prompt_is_waited_for_until_its_limit(silent_prompter):
    waits = []
    store = KeyringStore(SECRET_SERVICE, deadlines=QUICK, on_wait=waits.append)
    store.set(USER, Secret(canary("at")))
    silent_prompter.lock()
    started = time.monotonic()
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "keyring-timeout"
    assert time.monotonic() - started < QUICK.read_s + QUICK.prompt_s + 0.5
    assert len(waits) == 1
    with pytest.raises(StoreError) as exc_info:
        KeyringStore(SECRET_SERVICE, deadlines=QUICK).set(USER, Secret(canary("at")))
    assert (exc_info.value.id, type(exc_info.value)) == ("keyring-timeout", KeyringTimeout)  # it got no further than to unlock


@pytest.mark.requirement("E36")
def test_a_keyring_unlocked_while_its_prompt_is_waited_for_gives_the_record(silent_prompter, prompter_bus):
    def unlock_and_close_the_prompt(_text):
        unlock(silent_prompter)
        prompter_bus.close()

    store = KeyringStore(SECRET_SERVICE, deadlines=Deadlines(read_s=0.4, prompt_s=20), on_wait=unlock_and_close_the_prompt)
    value = Secret(canary("at"))
    store.set(USER, value)
    silent_prompter.lock()
    assert store.get(USER) == value


@pytest.mark.requirement("E36")
def test_a_hung_service_is_abandoned_and_its_late_write_is_pending(own_secret_service):
    store = KeyringStore(SECRET_SERVICE, deadlines=QUICK)
    store.set(USER, Secret(canary("at")))
    own_secret_service.daemon.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(StoreError) as exc_info:
            KeyringStore(SECRET_SERVICE, deadlines=QUICK).get(USER)
        assert (exc_info.value.id, time.monotonic() - started < QUICK.read_s + 0.3) == ("keyring-timeout", True)
        with pytest.raises(StoreUnknown) as unknown:
            store.set(USER, Secret(canary("at")))
        assert unknown.value.id == "keyring-unknown"
        assert store.has_pending_call
        worker = store._unfinished[0]
    finally:
        own_secret_service.daemon.send_signal(signal.SIGCONT)
    worker.join(10)
    assert not store.has_pending_call


@pytest.mark.requirement("E36")
@pytest.mark.parametrize("victim", ["service", "bus"])
def test_a_service_that_dies_in_the_middle_of_a_call_is_named(own_secret_service, victim):
    store = KeyringStore(SECRET_SERVICE, deadlines=Deadlines(read_s=20))
    store.set(USER, Secret(canary("at")))
    own_secret_service.daemon.send_signal(signal.SIGSTOP)
    pid = own_secret_service.daemon.pid if victim == "service" else pid_of_bus(own_secret_service)
    killer = threading.Timer(0.2, os.kill, [pid, signal.SIGKILL])
    killer.start()
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    killer.join()
    assert exc_info.value.id == "keyring-unavailable"
    assert SECRET_SERVICE in exc_info.value.message
    assert exc_info.value.hint


@pytest.mark.requirement("E36")
def test_without_a_bus_the_recorded_keyring_is_unavailable_and_not_empty(monkeypatch):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(StoreError) as exc_info:
        KeyringStore(SECRET_SERVICE).get(USER)
    assert exc_info.value.id == "keyring-unavailable"
    assert "--store file" in exc_info.value.hint


@pytest.mark.requirement("E36")
def test_an_error_that_is_no_keyring_error_is_wrapped_and_does_not_quote_the_secret(in_memory):
    value = canary("at")
    with pytest.raises(StoreError) as exc_info:
        KeyringStore(f"{HELPERS}.Leaky").set(USER, Secret(value))
    assert exc_info.value.id == "keyring-unavailable"
    assert "OSError" in exc_info.value.why
    assert value not in f"{exc_info.value!r} {exc_info.value} {exc_info.value.__cause__!r}"


@pytest.mark.requirement("E36")
def test_a_keychain_without_prompts_over_ssh_counts_as_locked(in_memory):
    store = KeyringStore(in_memory)

    def refuse(*_args):
        from keyring.errors import KeyringError

        raise KeyringError("Can't get password from keychain: (-25308, 'Unknown Error')")

    store._backend().get_password = refuse
    with pytest.raises(StoreError) as exc_info:
        store.get(USER)
    assert exc_info.value.id == "keyring-locked"


@pytest.mark.requirement("E177")
def test_a_keyring_that_may_not_ask_is_not_waited_for_as_if_somebody_answered(in_memory):
    messages, answer = [], threading.Event()
    store = KeyringStore(in_memory, deadlines=Deadlines(read_s=0.1, prompt_s=20), on_wait=messages.append, asks=False)
    store._backend().get_password = lambda *_: answer.wait(30)

    with pytest.raises(StoreError) as exc_info:
        store.get(USER)

    answer.set()
    assert (exc_info.value.id, messages) == ("keyring-timeout", [])


@pytest.mark.requirement("E36")
def test_while_a_read_that_timed_out_is_still_inside_the_keyring_nothing_else_goes_in(in_memory):
    store = KeyringStore(in_memory, deadlines=Deadlines(read_s=0.1, write_s=0.1, prompt_s=0))
    value, answer, inside = Secret(canary("at")), threading.Event(), []
    store.set(USER, value)
    backend = store._backend()
    honest = backend.get_password

    def slow(*args):
        inside.append(threading.current_thread())
        answer.wait(10)
        return honest(*args)

    backend.get_password = slow
    for operation in (
        lambda: store.get(USER),
        lambda: store.get(USER),
        lambda: store.set(USER, value),
        lambda: store.delete(USER),
    ):
        with pytest.raises(StoreError) as exc_info:
            operation()
        assert (exc_info.value.id, type(exc_info.value), len(inside)) == ("keyring-timeout", KeyringTimeout, 1)
    answer.set()
    inside[0].join(10)
    assert store.get(USER) == value


@pytest.mark.requirement("E36")
def test_a_call_that_never_comes_back_does_not_delay_the_end_of_the_process():
    code = (
        "from portico.util.threads import Deadlines\n"
        "from portico.store.keyring import KeyringStore\n"
        "from portico.errors import StoreError\n"
        f"store = KeyringStore('{HELPERS}.Stuck', deadlines=Deadlines(0.1, 0.1, 0.1))\n"
        "try: store.get('a')\n"
        "except StoreError as error: print(error.id)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=20, check=True)
    assert result.stdout == "keyring-timeout\n"


def test_a_turn_that_does_not_come_is_taken_all_the_same(in_memory, tmp_path):
    store = KeyringStore(in_memory, deadlines=Deadlines(read_s=0.05), lock=tmp_path / "keyring.lock")
    value = Secret(canary("at"))
    with file_lock(tmp_path / "keyring.lock"):
        store.set(USER, value)
        assert store.get(USER) == value
    with file_lock(tmp_path / "keyring.lock", 0):
        pass


def test_an_item_that_moves_while_it_is_looked_up_is_looked_up_again(secret_service):
    import keyring

    store, values = KeyringStore(SECRET_SERVICE), [canary("at"), canary("at")]
    store.set(USER, Secret(values[0]))
    unlock = store._service._unlock

    def unlock_what_has_moved(path):
        if store._service._unlock is unlock_what_has_moved and path.rpartition("/")[2].isdigit():  # an item
            store._service._unlock = unlock
            keyring.delete_password("portico", USER)
            keyring.set_password("portico", USER, values[1])
        unlock(path)

    store._service._unlock = unlock_what_has_moved
    assert store.get(USER) == Secret(values[1])
    assert store._service._unlock is unlock


@pytest.mark.requirement("E40")
def test_deleting_removes_every_copy_the_credential_locker_has_made(win_vault):
    from keyring.backends.Windows import WinVaultKeyring

    store = KeyringStore("keyring.backends.Windows.WinVaultKeyring")
    assert isinstance(store._backend(), WinVaultKeyring)
    first, second, other = canary("at"), canary("at"), canary("at")
    store.set("p#a", Secret(first))
    store.set("q#a", Secret(other))
    store.set("p#a", Secret(second))
    assert first in win_vault.everything()
    store.delete("p#a")
    assert first not in win_vault.everything()
    assert second not in win_vault.everything()
    assert store.get("q#a") == Secret(other)
