"""Fixtures that the tests of the store share."""

from __future__ import annotations

import gc
import threading
import warnings

import pytest

from portico.store import encrypted_file
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.testing.canary import canary
from portico.testing.secret_service import missing_part
from portico.testing.secret_service import secret_service as run_secret_service
from tests.needs import needs
from tests.store.helpers import HELPERS, FakeWin32Cred, InMemory, OtherInMemory, WinError
from tests.store.keyrings import keepassxc as run_keepassxc
from tests.store.keyrings import private_bus


@pytest.fixture
def index(paths) -> ProfileIndex:
    return ProfileIndex(paths)


@pytest.fixture
def own_secret_service(monkeypatch):
    """One for this test alone, to be locked, stopped or killed."""
    if missing_part() is not None:
        pytest.skip(missing_part())
    with run_secret_service() as service:
        for name, value in service.env.items():
            monkeypatch.setenv(name, value)
        yield service
    _let_calls_end()


@pytest.fixture
def session_bus(monkeypatch):
    """A session bus of this test alone, with no keyring on it yet."""
    needs("dbus-daemon", "gnome-keyring-daemon")
    with private_bus() as bus:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        yield bus
    _let_calls_end()


@pytest.fixture
def keepassxc(monkeypatch):
    """KeePassXC with its default settings and a database that is open, on a screen and a bus of this test alone."""
    needs("dbus-daemon", "keepassxc", "keepassxc-cli", "Xvfb", "xdotool")
    with private_bus() as bus:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        with run_keepassxc(bus) as program:
            yield program
    _let_calls_end()


def _let_calls_end():
    for thread in threading.enumerate():
        if thread.name == "portico-keyring":
            thread.join(10)
    with warnings.catch_warnings():  # keyring leaves its connection open when a collection stays locked
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def in_memory():
    """The name of a backend that keeps every record, empty again afterwards."""
    yield f"{HELPERS}.InMemory"
    InMemory.passwords.clear()
    OtherInMemory.passwords.clear()


@pytest.fixture
def win_vault(monkeypatch):
    """keyring's own Windows backend over the Credential Locker's calls and its limit."""
    from keyring.backends import Windows

    vault = FakeWin32Cred()
    monkeypatch.setattr(Windows, "missing_deps", None)
    monkeypatch.setattr(Windows, "win32cred", vault, raising=False)
    monkeypatch.setattr(Windows, "pywintypes", type("pywintypes", (), {"error": WinError}), raising=False)
    return vault


@pytest.fixture
def quick_scrypt(monkeypatch):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})


@pytest.fixture
def passphrase(quick_scrypt) -> PassphraseSource:
    return PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")})
