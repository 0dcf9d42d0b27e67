"""Keyrings that are locked, silent, away or of the wrong kind, and the Secret Service as desktops and servers have it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from keyring.backends import Windows, macOS
from keyring.errors import KeyringLocked

from portico.store import keyring, vault
from portico.store.keyring import BACKEND_ENV, FREEDESKTOP, MACOS, WINDOWS
from portico.store.profiles import ProfileIndex
from portico.store.records import Profile, encode_record, record_user
from portico.store.vault import Vault
from portico.testing.secret_service import missing_part
from portico.util.threads import Deadlines
from tests.auth.helpers import as_api_key
from tests.minimax_session import GLOBAL, sealed_store
from tests.needs import needs
from tests.remedies.in_sign_in import BY_BROWSER, PORTAL
from tests.remedies.scenario import command_of, scenario
from tests.store.helpers import HELPERS, FakeWin32Cred, InMemory, WinError, a_profile, some_tokens
from tests.store.keyrings import ALLOW, PASSWORD, SERVICE, Prompter, keepassxc, private_bus, put_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.remedies.scenario import Desk
    from tests.store.keyrings import Bus

BUS = "DBUS_SESSION_BUS_ADDRESS"
FILE = "{prog} onboard --store file   (keeps the tokens in a file encrypted with a passphrase)"
STARTED_ANEW = "kill {}, then run gnome-keyring-daemon --unlock and type the password and Ctrl-D"
SIGN_IN = (*PORTAL, "--region", "global", "--flow", "browser")


@contextmanager
def impatient() -> Iterator[None]:
    """Nobody waits long for a keyring."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault, "Deadlines", lambda: Deadlines(read_s=0.5, write_s=0.5, prompt_s=0.5))
        yield


@contextmanager
def a_bus(desk: Desk, *programs: str) -> Iterator[Bus]:
    """A session bus of its own for the commands, with no keyring on it yet."""
    needs("dbus-daemon", "gnome-keyring-daemon", *programs)
    if missing_part() is not None:
        pytest.skip(missing_part())
    with private_bus() as bus, pytest.MonkeyPatch.context() as patch:
        patch.setenv(BUS, bus.address)
        desk.commands.env[BUS] = bus.address
        yield bus


def in_the_file(desk: Desk, hint: str, *words: str) -> None:
    """Do what the hint says for those who can do without the keyring."""
    command = command_of(hint[hint.index("portico ") :])
    assert command[-2:] == ["--store", "file"]
    desk.commands.env |= sealed_store()
    desk.ok(*command, *words)
    desk.ok("auth", "token")


def works(desk: Desk) -> None:
    """Doctor finds nothing wrong with the keyring any more."""
    (store,) = [each for each in json.loads(desk.commands.run("doctor", "--json").stdout)["results"] if each["id"] == "store"]
    assert store["status"] == "ok", store


# --- backends ----------------------------------------------------------------------------------------------------------


class Wallet(InMemory):
    """A keyring that is locked, or does not answer, as KWallet is and does."""

    is_locked = is_silent = False

    def get_password(self, service, username):
        if Wallet.is_locked:
            raise KeyringLocked("Failed to unlock the keyring!")
        if Wallet.is_silent:
            threading.Event().wait(2)
        return super().get_password(service, username)

    def set_password(self, service, username, password):
        self.get_password(service, username)
        super().set_password(service, username, password)


InMemory._classes -= {Wallet}


@scenario("Unlock the keyring (log in to the desktop, or answer its prompt) and run the command again.")
def a_wallet_that_is_locked_or_does_not_answer(desk):
    session = desk.emulator()
    session.env[BACKEND_ENV] = f"{__name__}.Wallet"
    words = ("gateway", "key", "add", "--store", "keyring")
    with pytest.MonkeyPatch.context() as patch, impatient():
        for id, state in (("keyring-locked", "is_locked"), ("keyring-unknown", "is_silent")):
            patch.setattr(Wallet, state, True)
            assert desk.refused(*words, id)["id"] == id
            patch.setattr(Wallet, state, False)
            desk.ok(*words, id)
    InMemory.passwords.clear()


@scenario("Choose another store: {prog} onboard --store file", "{prog} onboard --store file")
def a_keyring_that_forgets(desk):
    session = desk.emulator()
    session.env[BACKEND_ENV] = f"{HELPERS}.Forgetful"
    hint = desk.found("store-forgetful")["hint"]
    in_the_file(desk, hint, *SIGN_IN[1:])


@scenario("Unlock the keychain (over SSH: security unlock-keychain) and run the command again.")
def the_macos_keychain_over_ssh(desk):
    keychain = {"locked": True}

    class Security:
        """keyring's calls of the framework Security, with which `keychain` is locked."""

        Error = type("Error", (Exception,), {})
        KeychainDenied = type("KeychainDenied", (Error,), {})
        NotFound = type("NotFound", (Error,), {})

        def find_generic_password(self, _keychain, _service, user):
            if keychain["locked"]:
                raise self.Error(-25308, "Unknown Error")
            if user not in keychain:
                raise self.NotFound
            return keychain[user]

        def set_generic_password(self, _keychain, _service, user, password):
            if keychain["locked"]:
                raise self.Error(-25308, "Unknown Error")
            keychain[user] = password

        def delete_generic_password(self, _keychain, _service, user):
            if keychain.pop(user, None) is None:
                raise self.NotFound

    add = ("gateway", "key", "add", "--store", "keyring", "tool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(macOS, "api", Security(), raising=False)
        patch.setattr(keyring, "_priority", lambda *_: 5.0)
        patch.setattr(macOS.platform, "system", lambda: "Darwin")
        env = {BACKEND_ENV: MACOS}
        desk.refused(*add, env=env)
        keychain["locked"] = False
        desk.ok(*add, env=env)
        desk.ok("gateway", "key", "show", "tool", env=env)


@scenario("Leave out --store: the record is then encrypted in a file, and only its key is in the keyring.")
def tokens_too_long_for_the_windows_vault(desk):
    session = desk.emulator()
    session.env |= sealed_store() | {BACKEND_ENV: WINDOWS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Windows, "missing_deps", None)
        patch.setattr(Windows, "win32cred", FakeWin32Cred(), raising=False)
        patch.setattr(Windows, "pywintypes", type("pywintypes", (), {"error": WinError}), raising=False)
        patch.setitem(keyring._LIMITS, WINDOWS, 200)  # the emulator's tokens are short
        desk.refused(*SIGN_IN, "--store", "keyring")
        desk.ok(*SIGN_IN)
        desk.ok("auth", "token")


@scenario(f"Run the command again. If it fails again, do without a keyring: {FILE}")
def a_secret_service_that_hangs(desk):
    session = desk.emulator()
    daemon = desk.keyring().daemon
    session.sign_in("--region", "global")
    with impatient():
        daemon.send_signal(signal.SIGSTOP)
        try:
            # Which of the two it is depends on how far the program came before the keyring was stopped.
            assert desk.found("keyring-unknown", "keyring-timeout")["hint"].startswith("Run the command again.")
            hint = desk.refused("auth", "token")["hint"]
        finally:
            daemon.send_signal(signal.SIGCONT)
    desk.ok("auth", "token")
    in_the_file(desk, hint, *BY_BROWSER)


# --- gnome-keyring -----------------------------------------------------------------------------------------------------


@scenario("Unset {}, or set it to one of them.")
def a_preferred_collection_that_does_not_exist(desk):
    desk.keyring()
    variable = "KEYRING_PROPERTY_PREFERRED_COLLECTION"
    add = ("gateway", "key", "add", "--store", "keyring")
    with patch.dict(os.environ, {variable: "login"}):  # python-keyring reads it from the process
        error = desk.refused(*add, "one")
    assert error["hint"].startswith(f"Unset {variable}")
    known = error["why"].removeprefix("its collections are ").split(", ")
    with patch.dict(os.environ, {variable: next(each for each in known if each.endswith("/login"))}):
        desk.ok(*add, "one")
    desk.ok(*add, "two")


@scenario(f"{STARTED_ANEW}; or: {FILE}", f"{{}}; or: {FILE}")
def a_gnome_keyring_started_before_its_password_was_given(desk):
    with a_bus(desk) as bus:
        bus.gnome_keyring("--start")
        restart(bus, desk.found("keyring-locked")["hint"], "kill ")
        works(desk)


@scenario(f"Log in to the desktop, or {STARTED_ANEW}; or: {FILE}")
def a_gnome_keyring_that_was_locked_where_nothing_can_ask(desk):
    with a_bus(desk) as bus:
        bus.gnome_keyring("--unlock", password=PASSWORD)
        bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", bus.collections())
        restart(bus, desk.found("keyring-locked")["hint"], "Log in to the desktop, or kill ")
        works(desk)


def restart(bus: Bus, hint: str, start: str) -> None:
    pid = int(hint.removeprefix(start).split(",")[0])
    os.kill(pid, signal.SIGTERM)
    bus.wait_for_end_of(pid)
    bus.gnome_keyring("--unlock", password=PASSWORD)


@scenario("Log in to the desktop with a password, or make a keyring there (Passwords and Keys)")
def a_gnome_keyring_without_a_default_collection(desk):
    with a_bus(desk) as bus:
        bus.gnome_keyring("--start")
        with a_person_who(bus, refuses=True):
            desk.found("keyring-unavailable")
        bus.call(SERVICE, "org.freedesktop.Secret.Service", "SetAlias", "so", "default", bus.second_collection())
        works(desk)


@contextmanager
def a_person_who(bus: Bus, *, refuses: bool) -> Iterator[None]:
    """Somebody at the windows of gnome-keyring, who refuses each, or lets it wait."""
    over = threading.Event()
    with closing(Prompter(bus.address)) as prompter:

        def sit() -> None:
            while refuses and not over.is_set():
                prompter.refuse()

        thread = threading.Thread(target=sit)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@scenario(f"Run the command again and allow it; or: {FILE}")
def a_window_that_was_refused(desk):
    _at_a_window(desk, "keyring-locked", refuses=True)


@scenario("Run the command again and answer its prompt.")
def a_window_that_nobody_answered(desk):
    _at_a_window(desk, "keyring-timeout", refuses=False)


def _at_a_window(desk: Desk, id: str, *, refuses: bool) -> None:
    with a_bus(desk) as bus, impatient():
        bus.gnome_keyring("--unlock", password=PASSWORD)
        (login,) = [each for each in bus.collections() if each.endswith("/login")]
        bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", [login])
        with a_person_who(bus, refuses=refuses):
            desk.found(id)
        bus.unlock(login)
        works(desk)


class NeverUnlocks:
    """A Secret Service whose one collection stays locked, without a window, until `is_locked` is False."""

    def __init__(self, bus: Bus) -> None:
        from jeepney.bus_messages import message_bus
        from jeepney.io.blocking import open_dbus_connection

        self.is_locked = True
        self._over = threading.Event()
        self._bus = open_dbus_connection(bus.address)
        self._bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.secrets"))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        from jeepney import HeaderFields, MessageType, new_error, new_method_return

        collection = f"{SERVICE}/collection/one"
        while not self._over.is_set():
            try:
                message = self._bus.receive(timeout=0.05)
            except TimeoutError:
                continue
            if message.header.message_type is not MessageType.method_call:
                continue
            signature, body = {
                "ReadAlias": ("o", (collection,)),
                "Unlock": ("aoo", ([] if self.is_locked else [collection], "/")),
                "Get": ("v", (("b", self.is_locked),)),
            }.get(message.header.fields[HeaderFields.member], ("", ()))
            reply = new_method_return(message, signature, body) if body else new_error(message, "org.example.NotHere")
            self._bus.send(reply)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._bus.close()


@scenario("Unlock the keyring and run the command again.")
def a_keyring_that_stays_locked_and_opens_no_window(desk):
    with a_bus(desk) as bus, closing(NeverUnlocks(bus)) as service:
        desk.found("keyring-locked")
        service.is_locked = False
        desk.not_found("keyring-locked")


@scenario(f"Start it (log in to the desktop) and run the command again, or do without a keyring: {FILE}")
def a_secret_service_that_the_bus_cannot_start(desk):
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    desk.emulator()
    with a_bus(desk) as bus:
        config = bus.folder / "bus.conf"
        text = config.read_text(encoding="utf-8").replace("<auth>", f"<servicedir>{bus.folder}</servicedir>\n  <auth>")
        config.write_text(text, encoding="utf-8")
        service = f"[D-BUS Service]\nName=org.freedesktop.secrets\nExec={bus.folder}/nowhere\n"
        (bus.folder / "org.freedesktop.secrets.service").write_text(service, encoding="utf-8")
        of_the_bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        with closing(open_dbus_connection(bus.address)) as connection:
            connection.send_and_get_reply(new_method_call(of_the_bus, "ReloadConfig"))
        hint = desk.found("keyring-unavailable")["hint"]
        bus.gnome_keyring("--unlock", password=PASSWORD)
        works(desk)
        in_the_file(desk, hint, *SIGN_IN[1:])


@scenario("Sign in: {prog} onboard")
def an_account_that_is_signed_out_at_this_very_moment(desk):
    session = desk.signed_in()
    signed_in = Vault._require_profile

    def signed_out(self: Vault, id: str):
        ProfileIndex(session.paths).edit(lambda draft: draft.remove(id))
        return signed_in(self, id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vault, "_require_profile", signed_out)
        error = desk.refused("auth", "token")
    desk.follow(error["hint"], *SIGN_IN[1:], *session.store)
    desk.ok("auth", "token")


# --- KeePassXC ---------------------------------------------------------------------------------------------------------

_SCREEN = ("keepassxc", "keepassxc-cli", "Xvfb", "xdotool")
_INTEROP = (pytest.mark.interop,)


def known(desk: Desk, profile: Profile | None = None) -> tuple[str, str]:
    """An account whose tokens are in a Secret Service by the index; the user and the text of their record."""
    profile = replace(profile or a_profile(), store="keyring", backend=FREEDESKTOP, slot="a", generation=1)
    paths = desk.commands.paths
    ProfileIndex(paths).put(profile)
    tokens = some_tokens((int(time.time()) + 3600) * 1000)
    return record_user(profile.id, "a", paths.state_id), encode_record(profile, tokens).reveal()


@scenario("Open a database, and expose a group of it in Database Settings, Secret Service Integration", marks=_INTEROP)
def a_keepassxc_without_an_open_database(desk):
    with a_bus(desk, *_SCREEN) as bus:
        with keepassxc(bus, ()) as program:
            desk.found("keyring-unavailable")
            program.process.kill()
            program.process.wait()
        with keepassxc(bus):
            works(desk)


_NOT_OPEN = "{} If the record is lost, sign in again: "


@scenario(
    "Open the database with Portico's entries in {}, and run the command again.",
    f"{_NOT_OPEN}{{prog}} models auth login --provider {{}} --profile {{}} --replace",
    f"{_NOT_OPEN}{{prog}} onboard --auth-choice {{}}-api{{}} --profile {{}} --replace",
    marks=_INTEROP,
)
def a_record_that_no_open_database_of_keepassxc_has(desk):
    session = desk.emulator()
    with a_bus(desk, *_SCREEN) as bus, keepassxc(bus) as program:
        user, record = known(desk)
        error = desk.refused("auth", "token")
        put_item(bus.default_collection(), record, user)
        with program.person(*ALLOW):
            desk.ok("auth", "token")
            desk.follow(error["hint"], *BY_BROWSER)
            desk.ok("auth", "token")
            known(desk, as_api_key(a_profile("minimax:default", provider="minimax")))
            assert "minimax-api" in desk.refused("ask", "--no-fallback", "--model", "minimax/MiniMax-M2.1", "Hello")["hint"]
        assert session.profiles()[0]["id"] == GLOBAL


@scenario("Unlock that database, or bring the one with Portico's entries to the front.", marks=_INTEROP)
def a_record_that_may_be_in_a_locked_database_of_keepassxc(desk):
    with a_bus(desk, *_SCREEN) as bus, keepassxc(bus, ("one", "two")) as program:
        (aside,) = set(bus.collections()) - {bus.default_collection()}
        user, record = known(desk)
        put_item(aside, record, user)
        program.lock(aside)
        assert aside.rpartition("/")[2] in desk.refused("auth", "token")["why"]
        program.unlock(aside)
        with program.person(*ALLOW):
            desk.ok("auth", "token")
