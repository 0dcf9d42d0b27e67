"""Keyring programs, each on a D-Bus of its own: gnome-keyring started in any order, and KeePassXC with a person at its windows."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from portico.testing import secret_service as kit

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "/org/freedesktop/secrets"
PASSWORD = "portico"
ALLOW = ("Return",)  # what a person presses in a window of KeePassXC
# Exposed as the Secret Service: the group whose UUID is this one, which XML has in base64.
_DATABASE = """<?xml version="1.0" encoding="UTF-8"?>
<KeePassFile>
  <Meta><DatabaseName>Passwords</DatabaseName><CustomData><Item>
    <Key>FDO_SECRETS_EXPOSED_GROUP</Key><Value>{00000000-0000-0000-0000-000000000001}</Value>
  </Item></CustomData></Meta>
  <Root><Group><UUID>AAAAAAAAAAAAAAAAAAAAAQ==</UUID><Name>Passwords</Name></Group></Root>
</KeePassFile>
"""
_MAIN, _UNLOCK = "KeePassXC", "Unlock Database"
# What is not named here is as KeePassXC has it by default: it confirms each access to an entry.
_SETTINGS = "[General]\nUpdateCheckMessageShown=true\n\n[GUI]\nCheckForUpdates=false\n\n[FdoSecrets]\nEnabled=true\n"


@dataclass
class Bus:
    """A session bus with no service on it; `env` leads a program to it."""

    folder: Path
    env: dict[str, str]
    stack: ExitStack

    @property
    def address(self) -> str:
        return self.env["DBUS_SESSION_BUS_ADDRESS"]

    def gnome_keyring(self, *options: str, password: str = "") -> subprocess.Popen[bytes]:
        """Start the daemon in the foreground, as by hand or by the bus, and wait until it is the Secret Service."""
        command = ["gnome-keyring-daemon", "--foreground", "--components=secrets", *options]
        daemon = kit._start(command, self.env, self.stack, stdin=password.encode())
        kit._wait_for(self.has_service, daemon)
        return daemon

    def late_unlock(self) -> None:
        """Run `gnome-keyring-daemon --unlock` beside the one that runs, until it has said that it can do nothing or done it."""
        log = self.folder / "gnome-keyring-daemon.log"
        kit._start(
            ["gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock"], self.env, self.stack, stdin=b"pw"
        )
        deadline = time.monotonic() + 5
        while not (self.folder / "data/keyrings/login.keyring").exists() or "another secret service" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)

    def wait_for_end_of(self, pid: int) -> None:
        """Wait until process `pid` is not the Secret Service any more."""
        deadline = time.monotonic() + 5
        while self._owner() == pid:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def has_service(self) -> bool:
        """Whether a program is the Secret Service now."""
        return self._owner() is not None

    def call(self, path: str, interface: str, method: str, signature: str | None = None, *body: object) -> tuple[object, ...]:
        """One call of the Secret Service by a client of its own."""
        from jeepney import DBusAddress, new_method_call
        from jeepney.io.blocking import open_dbus_connection

        address = DBusAddress(path, "org.freedesktop.secrets", interface)
        with closing(open_dbus_connection(self.address)) as bus:
            return bus.send_and_get_reply(new_method_call(address, method, signature, body)).body

    def collections(self) -> list[str]:
        """The paths of all collections."""
        return list(self._property(SERVICE, "Service", "Collections"))

    def unlocked_collections(self) -> list[str]:
        """The paths of those that are unlocked."""
        return [path for path in self.collections() if not self._property(path, "Collection", "Locked")]

    def default_collection(self) -> str:
        """The path of the default one."""
        return str(self.call(SERVICE, "org.freedesktop.Secret.Service", "ReadAlias", "s", "default")[0])

    def second_collection(self) -> str:
        """A further collection of gnome-keyring's that can be locked, with PASSWORD; its path. No public call makes one unasked."""
        label = {"org.freedesktop.Secret.Collection.Label": ("s", "work")}
        return str(self._of_tests("CreateWithMasterPassword", "a{sv}(oayays)", label))

    def unlock(self, collection: str, password: str = PASSWORD) -> None:
        """Unlock a collection of gnome-keyring's, unasked."""
        self._of_tests("UnlockWithMasterPassword", "o(oayays)", collection, password=password)

    def _of_tests(self, method: str, signature: str, *body: object, password: str = PASSWORD) -> object:
        from jeepney import DBusAddress, new_method_call
        from jeepney.io.blocking import open_dbus_connection
        from secretstorage.util import format_secret, open_session

        interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"
        address = DBusAddress(SERVICE, "org.freedesktop.secrets", interface)
        with closing(open_dbus_connection(self.address)) as bus:
            secret = format_secret(open_session(bus), password.encode(), "text/plain")
            reply = bus.send_and_get_reply(new_method_call(address, method, signature, (*body, secret))).body
        return reply[0] if reply else None

    def _property(self, path: str, interface: str, name: str) -> Any:
        interface = f"org.freedesktop.Secret.{interface}"
        ((_, value),) = self.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, name)
        return value

    def _owner(self) -> int | None:
        from jeepney import MessageType
        from jeepney.bus_messages import message_bus
        from jeepney.io.blocking import open_dbus_connection

        with closing(open_dbus_connection(self.address)) as bus:
            reply = bus.send_and_get_reply(message_bus.GetConnectionUnixProcessID("org.freedesktop.secrets"))
        return None if reply.header.message_type is MessageType.error else int(reply.body[0])


@contextmanager
def private_bus(*, of_the_machine: bool = False) -> Iterator[Bus]:
    """A bus whose socket is `bus` in its folder, and that folder as XDG_RUNTIME_DIR.

    `of_the_machine`: it starts the services that are installed, as the bus of a login does.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="portico-bus-", ignore_cleanup_errors=True)))
        env = kit._private_environment(folder, f"unix:path={folder / 'bus'}")
        config = kit._bus_config(folder)
        if of_the_machine:
            text = config.read_text(encoding="utf-8")
            config.write_text(text.replace("<auth>", "<standard_session_servicedirs/>\n  <auth>"), encoding="utf-8")
        daemon = kit._start(["dbus-daemon", "--nofork", f"--config-file={config}"], env, stack)
        kit._wait_for((folder / "bus").exists, daemon)
        yield Bus(folder, env, stack)


def put_item(collection: str, value: str, user: str = "minimax-portal:default#a") -> None:
    """An item in a collection, as another program puts it there."""
    import secretstorage

    with closing(secretstorage.dbus_init()) as bus:
        secretstorage.Collection(bus, collection).create_item("a copy", {"service": "portico", "username": user}, value.encode())


class Prompter:
    """gnome-keyring's prompter on `address`: it shows nothing, and refuses when it is told to."""

    def __init__(self, address: str) -> None:
        from jeepney.bus_messages import message_bus
        from jeepney.io.blocking import open_dbus_connection

        self.bus = open_dbus_connection(address)
        self.bus.send_and_get_reply(message_bus.RequestName("org.gnome.keyring.SystemPrompter"))

    def requests(self) -> list[Any]:
        """What has been asked of it so far."""
        from jeepney import MessageType

        messages = []
        while True:
            try:
                message = self.bus.receive(timeout=0.1)
            except TimeoutError:
                return messages
            if message.header.message_type is MessageType.method_call:
                messages.append(message)

    def refuse(self, *_text: str) -> None:
        from jeepney import new_error

        for message in self.requests():
            self.bus.send(new_error(message, "org.gnome.keyring.Prompter.Refused"))

    def close(self) -> None:
        self.bus.close()


@dataclass
class KeePassXC:
    """One that runs on a screen of its own. `prompts` are the titles of the windows that a person answered."""

    bus: Bus
    process: subprocess.Popen[bytes]
    prompts: list[str] = field(default_factory=list)

    def windows(self) -> list[str]:
        """The windows that it shows beside its main one."""
        result = self._xdotool("search", "--onlyvisible", "--name", ".", "getwindowname", "%@")
        names = result.splitlines()
        return [name for name in names if name.startswith(_UNLOCK) or (name != _MAIN and not name.endswith(f" - {_MAIN}"))]

    @contextmanager
    def person(self, *keys: str, after_s: float = 0.0) -> Iterator[None]:
        """Somebody who answers each window by these keys, `after_s` seconds after it has come up."""
        leaves = threading.Event()

        def answer() -> None:
            while not leaves.wait(0.05):
                for name in self.windows()[-1:]:
                    self.prompts.append(name)
                    leaves.wait(after_s)
                    self._wait_for_focus(name)
                    for key in keys:
                        self._xdotool("type" if key == PASSWORD else "key", key)
                    deadline = time.monotonic() + 2
                    while name in self.windows() and time.monotonic() < deadline:
                        time.sleep(0.02)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            leaves.set()
            thread.join()

    def _wait_for_focus(self, name: str) -> None:
        """Until the window takes keys: what is typed before goes nowhere, and the rest means another button."""
        deadline = time.monotonic() + 5
        while self._xdotool("getwindowfocus", "getwindowname").strip() != name and time.monotonic() < deadline:
            time.sleep(0.02)

    def lock(self, collection: str) -> None:
        """Lock a database, as its user does in the menu."""
        _, prompt = self.bus.call(SERVICE, "org.freedesktop.Secret.Service", "Lock", "ao", [collection])
        if prompt != "/":
            self.bus.call(prompt, "org.freedesktop.Secret.Prompt", "Prompt", "s", "")
        deadline = time.monotonic() + 5
        while collection in self.bus.unlocked_collections():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def unlock(self, collection: str) -> None:
        """Unlock a database, as its user does when a program asks for it."""
        _, prompt = self.bus.call(SERVICE, "org.freedesktop.Secret.Service", "Unlock", "ao", [collection])
        with self.person(PASSWORD, "Return"):
            if prompt != "/":
                self.bus.call(str(prompt), "org.freedesktop.Secret.Prompt", "Prompt", "s", "")
            deadline = time.monotonic() + 5
            while collection not in self.bus.unlocked_collections():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.prompts.clear()

    def close(self, collection: str) -> None:
        """Close a database: for the Secret Service that is to delete the collection, which its user confirms."""
        prompt = self.bus.call(collection, "org.freedesktop.Secret.Collection", "Delete")[0]
        with self.person("Return"):
            if prompt != "/":
                self.bus.call(str(prompt), "org.freedesktop.Secret.Prompt", "Prompt", "s", "")
            deadline = time.monotonic() + 5
            while collection in self.bus.collections():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.prompts.clear()

    def _xdotool(self, *words: str) -> str:
        return subprocess.run(
            ["xdotool", *words], env=self.bus.env, capture_output=True, text=True, timeout=10, check=False
        ).stdout


@contextmanager
def keepassxc(bus: Bus, databases: tuple[str, ...] = ("passwords",), name: str = "keepassxc") -> Iterator[KeePassXC]:
    """KeePassXC with its default settings, its Secret Service switched on, and these databases open, which expose a group each.

    `name` is what the process is called: that of a Flatpak is `xdg-dbus-proxy`, as far as the bus knows.
    """
    reading, writing = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp", "-screen", "0", "1024x768x24"],
        env=bus.env,
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    bus.stack.callback(kit._stop, screen)
    os.close(writing)
    # One KeePassXC for each user: it finds the other by a socket in the folder for temporary files.
    with os.fdopen(reading, encoding="ascii") as pipe:
        bus.env |= {"DISPLAY": f":{pipe.readline().strip()}", "QT_QPA_PLATFORM": "xcb", "TMPDIR": str(bus.folder)}
    (bus.folder / "database.xml").write_text(_DATABASE, encoding="utf-8")
    (bus.folder / "keepassxc.ini").write_text(_SETTINGS, encoding="utf-8")
    command = ["keepassxc", "--config", str(bus.folder / "keepassxc.ini"), "--localconfig", str(bus.folder / "local.ini")]
    if name != command[0]:
        (bus.folder / name).symlink_to(str(shutil.which(command[0])))
        command[0] = str(bus.folder / name)
    for database in databases:
        files = [str(bus.folder / "database.xml"), str(bus.folder / f"{database}.kdbx")]
        answers = f"{PASSWORD}\n{PASSWORD}\n"
        subprocess.run(
            ["keepassxc-cli", "import", "-q", "-p", "-t", "100", *files],
            env=bus.env,
            input=answers,
            text=True,
            capture_output=True,
            timeout=30,
            check=True,
        )
        command += [files[1]]
    if databases:
        command.insert(1, "--pw-stdin")
    program = kit._start(command, bus.env, bus.stack, stdin=f"{PASSWORD}\n".encode() * len(databases))
    bus.stack.callback(program.kill)  # it takes SIGTERM for a question
    kit._wait_for(lambda: bus.has_service() and len(bus.unlocked_collections()) == len(databases), program)
    yield KeePassXC(bus, program)
