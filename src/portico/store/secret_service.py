"""The Secret Service of a Linux desktop (gnome-keyring, KeePassXC, KWallet 6), over one connection.

This module replaces python keyring's backend `keyring.backends.SecretService.Keyring`, and uses the same items. That backend
opens a connection for every call, and KeePassXC prompts its user for each connection and item. Even a read creates a missing
default collection. An item is deleted without unlocking it. Every failed unlock is reported in the same way. See the Secret
Service API, https://specifications.freedesktop.org/secret-service/latest/.
"""

from __future__ import annotations

import os
import re
import socket
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.errors import (
    KeyringLocked,
    KeyringNotOpen,
    KeyringStartedEarly,
    KeyringTimeout,
    KeyringUnavailable,
    KeyringUnknown,
    PromptDismissed,
)
from portico.store.profiles import FILE_HINT
from portico.store.records import SERVICE
from portico.store.session_bus import SECRETS, open_session_bus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jeepney import Message
    from jeepney.io.blocking import DBusConnection
    from keyring.backend import KeyringBackend
    from secretstorage.dhcrypto import Session

    from portico.store.records import RecordMatch
    from portico.util.threads import PromptWatch

_PREFIX: Final = "org.freedesktop.Secret."
_BUS: Final = "org.freedesktop.DBus"
_ROOT: Final = "/org/freedesktop/secrets"
_PREFERRED_ENV: Final = "KEYRING_PROPERTY_PREFERRED_COLLECTION"
_PROMPTER: Final = "org.gnome.keyring.SystemPrompter"
_NO_OBJECT: Final = "/"  # the service's answer for "no such object" and for "no prompt is needed"
_OBJECT_PATH: Final = re.compile(r"(/[A-Za-z0-9_]+)+")
_GNOME: Final = "gnome-keyring"
_KEEPASSXC: Final = "keepassxc"
_GONE: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.UnknownMethod",
        "org.freedesktop.DBus.Error.UnknownObject",
        "org.freedesktop.Secret.Error.NoSuchObject",
    }
)
_ABSENT: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.Disconnected",
    }
)
_NO_OWNER: Final = "org.freedesktop.DBus.Error.NameHasNoOwner"
_IS_LOCKED: Final = "org.freedesktop.Secret.Error.IsLocked"
_COPIES: Final = 8
# KeePassXC answers every write with a prompt, but completes most prompts at once, without a window.
_PROMPT_GRACE_S: Final = 0.3
# The options that give gnome-keyring the password of its login keyring: by hand, and by PAM.
_WITH_PASSWORD: Final = frozenset({"--unlock", "--login"})


class DBusError(Exception):
    """The service answered a call with the D-Bus error `name`."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class SecretService:
    """Portico's records in the Secret Service.

    Not thread-safe. `keyring` is python keyring's backend, which determines an item's attributes. `prompts` is notified when a
    prompt opens. `env` locates the session bus.
    """

    def __init__(self, keyring: KeyringBackend, prompts: PromptWatch, env: Mapping[str, str]) -> None:
        self._env = env
        self._keyring = cast("Any", keyring)
        self._prompts = prompts
        self._bus: DBusConnection | None = None
        self._finalizer: weakref.finalize[..., SecretService] | None = None
        self._owner = ""
        self._session: Session | None = None

    def read(self, user: str, matches: RecordMatch | None = None) -> Secret | None:
        """Return the secret of `user`, or None if it does not exist.

        If there are several copies, return the first that `matches`, else the first.

        Raises:
            StoreError: the keyring is locked, has no default collection, or may have the secret in a closed database, or the user
                dismissed the prompt.
            OSError, DBusError: the service failed.
        """
        self._connect()
        for is_last_try in (False, True):
            try:
                return self._read_best(user, matches)
            except DBusError as error:  # the item was found, but deleted or locked before it was read
                if is_last_try or error.name not in _GONE | {_IS_LOCKED}:
                    raise
        raise AssertionError("unreachable: the last try returned or raised")

    def _read_best(self, user: str, matches: RecordMatch | None) -> Secret | None:
        first: Secret | None = None
        default = self._default_collection()
        for item in self._items(user, default):
            self._unlock(item)
            secret = self._get_secret(item)
            if matches is None or matches(secret):
                return secret
            first = first or secret
        if first is None and default is None:
            raise self._no_collection_error("No token can be read from it.")
        self._check_none_locked(user, default)
        if self._program() != _GNOME:
            raise self._not_found_error(user)
        return first

    def write(self, user: str, secret: Secret) -> None:
        """Write the secret of `user` to the default collection, which is created if it does not exist.

        Raises:
            StoreUnknown: the user did not answer the prompt for the write itself.
            StoreError: the keyring is locked, or the user dismissed the prompt.
            OSError, DBusError: the service failed.
        """
        from secretstorage.util import format_secret

        self._connect()
        collection = self._default_collection()
        if collection is None:
            collection = self._create_collection()
        self._unlock(collection)
        properties = {
            f"{_PREFIX}Item.Label": ("s", f"Password for '{user}' on '{SERVICE}'"),
            f"{_PREFIX}Item.Attributes": ("a{ss}", {**self._attributes(user), "application": self._keyring.appid}),
        }
        encrypted = format_secret(self._open_session(), secret.reveal().encode(), "text/plain")
        item, prompt = self._call(collection, "Collection", "CreateItem", "a{sv}(oayays)b", properties, encrypted, True)
        if item == _NO_OBJECT:
            dismissed, item = self._prompt(prompt, "write the record")
            if dismissed:
                raise self._dismissed_error("Nothing was written.")
        self._remove_others(collection, user, item)

    def _remove_others(self, collection: str, user: str, written: str) -> None:
        """Delete older copies of the new item, because `replace` leaves copies of another `KEYRING_PROPERTY_APPID`.

        This opens no window. It may fail, because a read can distinguish the copies.
        """
        with suppress(StoreError, DBusError, OSError), self._prompts.without_prompts():
            items = self._search(collection, self._attributes(user))
            for item in items if written in items else []:
                if item != written:
                    self._remove(item)

    def delete(self, user: str, keep: RecordMatch | None = None) -> bool:
        """Delete every copy of the secret of `user` for which `keep` is false. Return whether no copy is left.

        Raises:
            StoreUnknown: the user did not answer the prompt for the deletion itself.
            StoreError: the keyring is locked, has no default collection, or may have a copy in a closed database, or the user
                dismissed the prompt.
            OSError, DBusError: the service failed.
        """
        self._connect()
        default = self._default_collection()
        removed = False
        for _ in range(_COPIES):
            items = list(self._items(user, default))
            if keep is not None:
                items = [item for item in items if len(items) > 1 and not self._is_to_keep(item, keep)]
            if not items:
                break
            for item in items:
                self._remove(item)
            removed = True
        else:
            return False
        if default is None and not removed and keep is None:
            raise self._no_collection_error("No token can be deleted from it.")
        self._check_none_locked(user, default)
        if not removed and keep is None and self._program() != _GNOME:
            raise self._not_found_error(user)
        return True

    def _is_to_keep(self, item: str, keep: RecordMatch) -> bool:
        try:
            self._unlock(item)
            return keep(self._get_secret(item))
        except DBusError as error:
            if error.name not in _GONE:
                raise
            return True  # the item was deleted before it was read

    def _remove(self, item: str) -> None:
        try:
            self._unlock(item)
            (prompt,) = self._call(item, "Item", "Delete")
        except DBusError as error:
            if error.name not in _GONE:
                raise
            return  # the item is already deleted
        if prompt != _NO_OBJECT and self._prompt(prompt, "delete the record")[0]:
            raise self._dismissed_error("Nothing was deleted.")

    def abort(self) -> None:
        """Shut the connection down; any thread may call this. The waiting call fails, and gnome-keyring closes its prompt."""
        bus = self._bus
        if bus is not None:
            with suppress(OSError):
                bus.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._bus, self._session, self._owner = None, None, ""
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None

    # --- the connection ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Connect to the running service. A restarted service does not know the earlier sessions."""
        if self._bus is not None and not _is_alive(self._bus):
            self.close()
        if self._bus is None:
            self._bus = open_session_bus(self._env)
            self._finalizer = weakref.finalize(self, self._bus.close)
        try:
            owner = self._call_bus("GetNameOwner", SECRETS)
        except DBusError as error:
            if error.name != _NO_OWNER:
                raise
            self._start()
            owner = self._call_bus("GetNameOwner", SECRETS)
        if owner != self._owner:
            self._owner, self._session = owner, None

    def _start(self) -> None:
        try:
            self._call_bus("StartServiceByName", SECRETS)
        except DBusError as error:
            raise ConnectionError(str(error)) from None

    def _open_session(self) -> Session:
        from secretstorage.util import open_session

        if self._session is None:
            self._session = open_session(self._connected_bus())
        return self._session

    def _connected_bus(self) -> DBusConnection:
        if self._bus is None:
            raise ConnectionError("not connected")
        return self._bus

    def _call(self, path: str, interface: str, method: str, signature: str | None = None, *body: object) -> Any:
        from jeepney import DBusAddress, new_method_call

        address = DBusAddress(path, SECRETS, interface if "." in interface else f"{_PREFIX}{interface}")
        return _body(self._connected_bus().send_and_get_reply(new_method_call(address, method, signature, body)))

    def _call_bus(self, method: str, *body: object) -> Any:
        from jeepney.bus_messages import message_bus

        return _body(self._connected_bus().send_and_get_reply(getattr(message_bus, method)(*body)))[0]

    def _get_property(self, path: str, interface: str, name: str) -> Any:
        ((_, value),) = self._call(path, "org.freedesktop.DBus.Properties", "Get", "ss", f"{_PREFIX}{interface}", name)
        return value

    # --- collections and items -----------------------------------------------------------------------------------------

    def _default_collection(self) -> str | None:
        """Return the collection in `KEYRING_PROPERTY_PREFERRED_COLLECTION`, else the default collection, else None."""
        preferred = getattr(self._keyring, "preferred_collection", None)
        if preferred is not None:
            return self._preferred_collection(str(preferred))
        (path,) = self._call(_ROOT, "Service", "ReadAlias", "s", "default")
        return None if path == _NO_OBJECT else str(path)

    def _preferred_collection(self, path: str) -> str:
        if _OBJECT_PATH.fullmatch(path):  # the bus disconnects a client that sends an invalid path
            with suppress(DBusError):
                self._get_property(path, "Collection", "Locked")
                return path
        collections = self._get_property(_ROOT, "Service", "Collections")
        raise KeyringUnavailable(
            f"{_PREFERRED_ENV} names a collection that {self._program()} does not have: {path}",
            why=f"its collections are {', '.join(collections) or 'none'}",
            hint=f"Unset {_PREFERRED_ENV}, or set it to one of them.",
        )

    def _attributes(self, user: str) -> dict[str, str]:
        """Return the attributes of an item of `user`; keyring has two naming schemes (`KEYRING_PROPERTY_SCHEME`)."""
        names = self._keyring.schemes[self._keyring.scheme]
        return {names["username"]: user, names["service"]: SERVICE}

    def _items(self, user: str, default: str | None) -> Iterator[str]:
        """Unlock the default collection. Yield the items of `user` in this collection first, then the items in others."""
        attributes = self._attributes(user)
        if default is not None:
            self._unlock(default)
            yield from self._search(default, attributes)
        # KeePassXC's default collection is the database in the front tab.
        for path in self._get_property(_ROOT, "Service", "Collections"):
            if path != default:
                yield from self._search(path, attributes)

    def _check_none_locked(self, user: str, default: str | None) -> None:
        """Check that no locked collection may hide items: other services than gnome-keyring may hide them."""
        if self._program() == _GNOME:
            return
        for path in self._get_property(_ROOT, "Service", "Collections"):
            try:
                locked = path != default and bool(self._get_property(path, "Collection", "Locked"))
            except DBusError:
                continue
            if locked:
                raise KeyringLocked(
                    f"{self._program()} may have the record of {user} in a locked database.",
                    why=f"{path.rpartition('/')[2]} is locked",
                    hint="Unlock that database, or bring the one with Portico's entries to the front.",
                )

    def _not_found_error(self, user: str) -> StoreError:
        """Return the error for a missing record. KeePassXC lists neither closed databases nor groups that are not exposed."""
        program = self._program()
        return KeyringNotOpen(
            f"{program} has no record of {user} in its open databases.",
            why="records in closed or hidden databases cannot be seen",
            hint=f"Open the database with Portico's entries in {program}, and run the command again.",
        )

    def _search(self, collection: str, attributes: dict[str, str]) -> list[str]:
        try:
            (items,) = self._call(collection, "Collection", "SearchItems", "a{ss}", attributes)
        except DBusError as error:
            if error.name not in _GONE | {_IS_LOCKED}:
                raise
            return []
        return cast("list[str]", items)

    def _create_collection(self) -> str:
        """Create a default collection. The service's prompt asks for its password."""
        if self._cannot_prompt():
            raise self._no_collection_error("None can be made: no program on this session bus can ask for its password.")
        # KeePassXC would create a second database, but the user has one that is closed or not exposed
        if self._program() == "KeePassXC":
            raise self._no_collection_error("No token can be stored in it.")
        label = {f"{_PREFIX}Collection.Label": ("s", "Default")}
        path, prompt = self._call(_ROOT, "Service", "CreateCollection", "a{sv}s", label, "default")
        if path != _NO_OBJECT:
            return str(path)
        if self._prompt_was_dismissed(prompt, "make a default collection"):
            raise self._no_collection_error("Its prompt to make one was dismissed.")
        default = self._default_collection()
        if default is None:
            raise self._no_collection_error("None was made.")
        return default

    def _get_secret(self, item: str) -> Secret:
        session = self._open_session()
        ((_, parameters, value, _),) = self._call(item, "Item", "GetSecret", "o", session.object_path)
        return Secret(_decrypt(session, bytes(parameters), bytes(value)).decode())

    # --- unlocking -----------------------------------------------------------------------------------------------------

    def _unlock(self, path: str) -> None:
        """Unlock a collection or an item, with a prompt if the service wants one."""
        unlocked, prompt = self._call(_ROOT, "Service", "Unlock", "ao", [path])
        if path in unlocked:
            return
        dismissed = prompt != _NO_OBJECT and self._prompt_was_dismissed(prompt, "unlock the keyring")
        try:  # the user may have dismissed the prompt, and unlocked the item in the service's own window
            locked = bool(self._get_property(path, "Item" if _is_item(path) else "Collection", "Locked"))
        except DBusError as error:
            if error.name not in _GONE or _is_item(path):
                raise
            raise self._no_collection_error("Its default collection does not exist.") from None
        if locked:
            raise self._locked_error(dismissed=dismissed)

    def _locked_error(self, *, dismissed: bool) -> StoreError:
        if self._cannot_prompt():
            if self._started_without_password():
                return self._started_early_error("Its login keyring is locked.")
            return KeyringLocked(
                f"The keyring {self._service_name()} is locked.",
                why=f"no program on this session bus can ask for its password ({_PROMPTER})",
                hint=f"Log in to the desktop, or {self._restart_hint()}; or: {FILE_HINT}",
            )
        if dismissed:
            return self._dismissed_error("It stays locked.")
        return KeyringLocked(
            f"The keyring {self._service_name()} is locked.",
            why="it did not open a prompt",
            hint="Unlock the keyring and run the command again.",
        )

    def _prompt_was_dismissed(self, prompt: str, what: str) -> bool:
        """Open a prompt that only the user can answer, and wait for the answer. Return whether it was dismissed."""
        if self._prompts.prompts_forbidden:
            hint = "Answer its prompt: `{prog} auth status --check` opens it."
            raise KeyringLocked(
                f"The keyring {self._service_name()} needs to ask you to {what}.", why="its prompt was not opened", hint=hint
            )
        return self._prompt(prompt, what, sent=False)[0]

    def _prompt(self, prompt: str, what: str, *, sent: bool = True) -> tuple[bool, str]:
        """Open a prompt and wait until it closes or the user's time is over. Return whether it was dismissed, and its result.

        Raises:
            StoreUnknown: the user did not answer, and with `sent` the service may still do the work later.
            StoreError: the user did not answer.
        """
        from jeepney import MatchRule
        from jeepney.bus_messages import message_bus

        bus = self._connected_bus()
        # Some services broadcast the signal, so the rule is for this prompt only. A rule for all prompts would keep the
        # connection busy.
        completed = MatchRule(type="signal", sender=self._owner, path=prompt, interface=f"{_PREFIX}Prompt", member="Completed")
        ended = MatchRule(type="signal", sender=_BUS, interface=_BUS, member="NameOwnerChanged")
        ended.add_arg_condition(0, self._owner)
        for rule in (completed, ended):
            _body(bus.send_and_get_reply(message_bus.AddMatch(rule)))
        signals: deque[Message] = deque()
        with self._prompts.open_prompt() as watch, bus.filter(completed, queue=signals), bus.filter(ended, queue=signals):
            self._call(prompt, "Prompt", "Prompt", "s", "")
            try:
                try:
                    message = bus.recv_until_filtered(signals, timeout=min(_PROMPT_GRACE_S, watch.remaining_s()))
                except TimeoutError:
                    watch.notify(f"{self._program()} is waiting for you. Please answer its prompt.")
                    message = bus.recv_until_filtered(signals, timeout=watch.remaining_s())
            except TimeoutError:
                error = self._unanswered_error(what, watch.limit_s, sent=sent)
                # gnome-keyring closes the window when its client disconnects. `Dismiss` would make gnome-keyring 42 abort
                # (assertion in perform_next_unlock).
                self.close()
                raise error from None
        if ended.matches(message):
            raise ConnectionError("it ended while its prompt was open")
        for rule in (completed, ended):
            _body(bus.send_and_get_reply(message_bus.RemoveMatch(rule)))
        dismissed, (_, result) = message.body
        return bool(dismissed), str(result)

    # --- errors ----------------------------------------------------------------------------------------------------------

    def _service_name(self) -> str:
        return f"{type(self._keyring).__module__}.{type(self._keyring).__qualname__} ({self._program()})"

    def _pid(self) -> int:
        try:
            return int(self._call_bus("GetConnectionUnixProcessID", self._owner))
        except DBusError:
            return 0

    def _command(self) -> list[str]:
        """Return the command line of the service, or [] if the system does not show it (a sandbox, or the service has ended)."""
        try:
            text = Path(f"/proc/{self._pid()}/cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(word) for word in text.split(b"\0")]

    def _program(self) -> str:
        """Return the name of the service's program, as its users know it."""
        name = Path(next(iter(self._command()), "")).name
        if name.startswith(_GNOME):
            return _GNOME
        return "KeePassXC" if name.startswith(_KEEPASSXC) else name or "the keyring"

    def _cannot_prompt(self) -> bool:
        """Whether gnome-keyring would dismiss every prompt.

        This happens if the program that shows its windows (GNOME Shell, gcr) is missing.

        Without a display, gcr exits as soon as the bus has started it.
        """
        if self._program() != _GNOME or self._call_bus("NameHasOwner", _PROMPTER):
            return False
        if _PROMPTER not in self._call_bus("ListActivatableNames"):
            return True
        try:
            self._call_bus("StartServiceByName", _PROMPTER)
        except DBusError:
            return True
        return False

    def _started_without_password(self) -> bool:
        command = self._command()
        return bool(command) and not _WITH_PASSWORD.intersection(command)

    def _no_collection_error(self, consequence: str) -> StoreError:
        program = self._program()
        if self._cannot_prompt() and self._started_without_password():
            return self._started_early_error(consequence)
        hint = {
            _GNOME: "Log in to the desktop with a password, or make a keyring there (Passwords and Keys)",
            "KeePassXC": "Open a database, and expose a group of it in Database Settings, Secret Service Integration",
        }.get(program, "Make a default keyring in it")
        return KeyringUnavailable(
            f"The keyring {self._service_name()} has no default collection.", why=consequence, hint=f"{hint}; or: {FILE_HINT}"
        )

    def _started_early_error(self, consequence: str) -> StoreError:
        """Return the error for a gnome-keyring that was started without a password.

        `--unlock` and `--login` pass the password only to a new daemon (gnome-keyring-daemon(1)).
        """
        return KeyringStartedEarly(
            f"gnome-keyring (process {self._pid()}) was started without the password of the login keyring.",
            why=f"{consequence} `gnome-keyring-daemon --unlock` has no effect while that process runs",
            hint=f"{self._restart_hint()}; or: {FILE_HINT}",
        )

    def _restart_hint(self) -> str:
        return f"kill {self._pid()}, then run gnome-keyring-daemon --unlock and type the password and Ctrl-D"

    def _dismissed_error(self, consequence: str) -> StoreError:
        return PromptDismissed(
            f"The prompt of {self._program()} was dismissed, or access was denied.",
            why=consequence,
            hint=f"Run the command again and allow it; or: {FILE_HINT}",
        )

    def _unanswered_error(self, what: str, seconds: float, *, sent: bool) -> StoreError:
        message = f"You did not answer the prompt of {self._program()} to {what}."
        why = f"it was open for {seconds:g} s"
        hint = "Run the command again and answer its prompt."
        if sent:
            return KeyringUnknown(message, why=why, hint=hint)
        return KeyringTimeout(message, why=why, hint=hint)


def _is_item(path: str) -> bool:
    """Whether `path` is an item, one step below a collection: `/org/freedesktop/secrets/collection/login/7`."""
    return path.removeprefix(_ROOT).count("/") > 2  # noqa: PLR2004


def _is_alive(bus: DBusConnection) -> bool:
    """Whether the connection still works. Discards all messages that have arrived."""
    try:
        while True:
            bus.receive(timeout=0)
    except TimeoutError:
        return True
    except (OSError, ValueError):
        return False


def _body(reply: Message) -> Any:
    from jeepney import HeaderFields, MessageType

    if reply.header.message_type is MessageType.error:
        name = str(reply.header.fields.get(HeaderFields.error_name))
        text = " ".join(str(part) for part in reply.body)
        if name in _ABSENT:
            raise ConnectionError(f"{name}: {text}")
        raise DBusError(name, text)
    return reply.body


def _decrypt(session: Session, parameters: bytes, value: bytes) -> bytes:
    """Decrypt a secret: AES-128-CBC with PKCS#7 padding, if the session is encrypted (API, "Transfer of Secrets")."""
    if not session.encrypted or session.aes_key is None:
        return value
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decryptor = Cipher(algorithms.AES(session.aes_key), modes.CBC(parameters)).decryptor()
    padded = decryptor.update(value) + decryptor.finalize()
    return padded[: -padded[-1]]
