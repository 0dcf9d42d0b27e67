"""Records in the operating system's keyring: every call bounded in time, every exception one that a user can act on."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar

from portico.errors import LockBusy, StoreError, StoreUnknown
from portico.secret import Secret, redact
from portico.store.deadline import LETTING_GO_S, DeadlinePassed, Deadlines, Person, call_with_deadline
from portico.store.keyring_backend import (
    FREEDESKTOP,
    MACOS,
    WINDOWS,
    choose_backend,
    class_name,
    imported,
    load_backend,
    unit_limit,
)
from portico.store.lock import FileLock
from portico.store.records import SERVICE
from portico.store.remedy import FILE_HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from keyring.backend import KeyringBackend

    from portico.store.profile_record import StoreName
    from portico.store.records import Fits
    from portico.store.secret_service import SecretService

T = TypeVar("T")

_LOCKED: Final = frozenset({"KeyringLocked", "LockedException", "PromptDismissedException", "KeychainDenied"})
_ABSENT: Final = frozenset({"NoKeyringError", "SecretServiceNotAvailableException", "InitError"})
_MACOS_NO_PROMPT: Final = "-25308"  # errSecInteractionNotAllowed: an SSH session; keyring calls it "Unknown Error"
_SERVICE_LOCKED: Final = "org.freedesktop.Secret.Error.IsLocked"
_COPIES: Final = 8
_UNLOCK: Final = "unlock the keyring (log in to the desktop, or answer its prompt) and run the command again"
_UNLOCK_MACOS: Final = "unlock it (over SSH: security unlock-keychain) and run the command again"
_AGAIN: Final = f"run the command again; if it stays so, do without: {FILE_HINT}"

_ALL: Final[weakref.WeakSet[KeyringStore]] = weakref.WeakSet()


class KeyringStore:
    """One keyring. `backend` names its class, None to choose the best; `on_wait` is told when a prompt is being waited for.
    With `asks` False nobody is waited for: the Secret Service then does not ask its user, and any other keyring that does has no
    more time than one that asks nothing.

    `lock` is the file on which processes take turns to write: gnome-keyring 42 has been seen to lose sight of items, and to
    abort, when two of them write at once. It is a courtesy: a turn that does not come in time is taken all the same, and
    while a person is asked it is the others'.
    """

    name: StoreName = "keyring"
    sharing: ClassVar = threading.Lock()

    def __init__(
        self,
        backend: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        deadlines: Deadlines | None = None,
        on_wait: Callable[[str], None] | None = None,
        lock: Path | None = None,
        asks: bool = True,
    ) -> None:
        self._wanted = backend
        self._env = os.environ if env is None else env
        self._deadlines = deadlines or Deadlines()
        self._on_wait = on_wait
        self._lock = lock
        self._asks = asks
        self._loaded: KeyringBackend | None = None
        self._service: SecretService | None = None  # what is called in place of keyring's Secret Service backend
        self._person = Person(self._deadlines.prompt_s, on_wait)
        self.begin_anew()
        _ALL.add(self)

    def begin_anew(self) -> None:
        """In a child process: no thread of the parent gives its turn back here, and the parent's connection is the parent's."""
        self._loading = threading.Lock()
        self._turn = threading.Lock()  # two prompts at once have been seen to deadlock (poetry#8623)
        self._unfinished: list[threading.Thread] = []
        if self._service is not None:
            self._service.close()  # of the parent's socket nothing is shut down by that

    @property
    def backend(self) -> str:
        """The class in use.

        Raises:
            StoreError: none can be used.
        """
        return class_name(self._backend())

    @property
    def limit(self) -> int | None:
        """The longest record in UTF-16 units, None where none is known."""
        return unit_limit(self.backend)

    def is_of(self, backend: str | None) -> bool:
        """Whether it is the keyring of that class; None is the best, and the class that it was found to be."""
        return backend == self._wanted or (self._loaded is not None and backend == class_name(self._loaded))

    def shared(self, opened: list[KeyringStore]) -> KeyringStore:
        """The one of `opened` that is the same keyring, else this one, which is one of them from now on."""
        with KeyringStore.sharing:
            found = self._among(opened)
            if found is None and opened:
                for each in (self, *opened):  # which class the best keyring is of, is known only when it is loaded
                    with contextlib.suppress(StoreError):
                        each.backend  # noqa: B018 - it loads
                found = self._among(opened)
            if found is None:
                opened.append(self)
            return found or self

    def _among(self, opened: list[KeyringStore]) -> KeyringStore | None:
        known = {self._wanted, self._wanted_name()}
        return next((each for each in opened if any(each.is_of(name) for name in known)), None)

    @property
    def unsettled(self) -> bool:
        """Whether a call that timed out is still going on."""
        self._unfinished = [thread for thread in self._unfinished if thread.is_alive()]
        return bool(self._unfinished)

    def get(self, user: str, fits: Fits | None = None) -> Secret | None:
        """The record of `user`, None only where there is none. Of several copies the first that `fits`, else the first.

        Raises:
            StoreError: the keyring failed, is locked, may have the record where it cannot be seen, or did not answer in time.
        """
        backend, service = self._backend(), self._service
        return self._call("read", lambda: _get_password(backend, user) if service is None else service.read(user, fits))

    def set(self, user: str, value: Secret) -> None:
        """Keep `value` as the record of `user`.

        Raises:
            StoreUnknown: the keyring did not answer in time: the record may or may not be there.
            StoreError: the keyring failed or is locked.
        """
        backend, service = self._backend(), self._service

        def write() -> None:
            if service is None:
                backend.set_password(SERVICE, user, value.reveal())
            else:
                service.write(user, value)

        self._call("write", write, value)

    def delete(self, user: str, *, keep: Fits | None = None, ask: bool = True) -> None:
        """Remove the record of `user` and every copy that the keyring has made of it, but what `keep` wants.

        `ask` False: where the keyring would have to ask its user, it fails instead. Only the Secret Service heeds either.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: the keyring failed or is locked, the record stays, or may be where it cannot be seen.
        """
        backend, service = self._backend(), self._service
        failed: type[Exception] = imported("keyring.errors").PasswordDeleteError

        def remove() -> bool:
            if service is not None:
                return service.delete(user, keep)
            if keep is not None:
                return True  # the other keyrings have one record by a name
            for _ in range(_COPIES):
                with contextlib.suppress(failed):  # also what "there is none" is called
                    backend.delete_password(SERVICE, user)
                if backend.get_password(SERVICE, user) is None:
                    return True
            return False

        if not self._call("delete", remove, ask=ask):
            raise StoreError("keyring-failed", f"{self.backend} still has a record that was deleted", hint=_AGAIN)

    def _backend(self) -> KeyringBackend:
        with self._loading:
            if self._loaded is None:
                name = self._wanted
                loaded = load_backend(name) if name is not None else self._call("read", lambda: choose_backend(self._env))
                if class_name(loaded) == FREEDESKTOP:
                    from portico.store.secret_service import SecretService

                    self._service = SecretService(loaded, self._person)
                self._loaded = loaded
            return self._loaded

    def _call(self, doing: Literal["read", "write", "delete"], call: Callable[[], T], *known: Secret, ask: bool = True) -> T:
        seconds = self._deadlines.read_s if doing == "read" else self._deadlines.write_s
        if not self._turn.acquire(timeout=self._deadlines.prompt_s):
            raise self._occupied()
        if self.unsettled:  # a worker without a turn, inside all the same
            self._turn.release()
            raise self._occupied()
        file_turn = _FileTurn(None if doing == "read" else self._lock, self._deadlines.read_s)
        self._person.begin(ask=ask and self._asks, meanwhile=file_turn.let_go)
        try:
            with file_turn:
                return call_with_deadline(call, seconds, more=self._patience(seconds), break_off=self._break_off)
        except DeadlinePassed as late:
            raise self._late(doing, late) from None
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - jeepney, pywin32 and GLib errors come through raw
            raise self._translated(doing, error, *known) from None
        finally:
            self._turn.release()

    def _break_off(self) -> None:
        if self._service is not None:
            self._service.break_off()

    def _patience(self, seconds: float) -> Callable[[], float]:
        """Tells for how many further seconds to wait for a person, if it is a person that the keyring is waiting for.

        Only the Secret Service says whether it is. Of the others Windows asks nobody, and the rest are given the benefit once.
        """
        if self._service is not None:
            return lambda: self._person.more_s(seconds)
        may_ask = self._asks and self._loaded is not None and self._wanted_name() != WINDOWS
        grants = [self._deadlines.prompt_s] if may_ask else []

        def more() -> float:
            if not grants:
                return 0.0
            self._person.tell("The keyring may be locked: please answer its prompt.")
            return grants.pop()

        return more

    def _wanted_name(self) -> str | None:
        return self._wanted if self._loaded is None else class_name(self._loaded)

    def _occupied(self) -> StoreError:
        return StoreError("keyring-timeout", "another call to the keyring has not come back", hint=self._when_silent())

    def _late(self, doing: str, late: DeadlinePassed) -> StoreError:
        who = self._wanted_name() or "the keyring"
        if doing == "read" and self._service is not None:  # a read may be broken off: it changes nothing
            self._service.break_off()
            late.worker.join(LETTING_GO_S)
        self._unfinished.append(late.worker)
        if doing == "read":
            return StoreError("keyring-timeout", f"{who} did not answer", why=str(late), hint=self._when_silent())
        return StoreUnknown(
            "keyring-unknown",
            f"{who} did not say whether it could {doing} the record",
            why=f"{late}; what may have been left is tidied up the next time",
            hint=self._when_silent(),
        )

    def _translated(self, doing: str, error: Exception, *known: Secret) -> StoreError:
        who = self._wanted_name() or "the keyring"
        kinds = {kind.__name__ for kind in type(error).__mro__}
        text = redact(str(error), *known)
        why = f"{type(error).__module__}.{type(error).__name__}: {text}"
        if kinds & _LOCKED or _MACOS_NO_PROMPT in text or _SERVICE_LOCKED in text:
            return StoreError("keyring-locked", f"{who} is locked", why=why, hint=self._unlocking())
        if kinds & _ABSENT or isinstance(error, ConnectionError | FileNotFoundError):
            hint = f"start it (log in to the desktop) and run the command again, or do without: {FILE_HINT}"
            return StoreError("keyring-unavailable", f"{who} cannot be reached", why=why, hint=hint)
        return StoreError("keyring-failed", f"{who} could not {doing} the record", why=why, hint=_AGAIN)

    def _unlocking(self) -> str:
        return _UNLOCK_MACOS if self._wanted_name() == MACOS else _UNLOCK

    def _when_silent(self) -> str:
        """The Secret Service says when it waits for a person, and Windows never does; the others may be locked."""
        return _AGAIN if self._wanted_name() in {FREEDESKTOP, WINDOWS} else self._unlocking()


class _FileTurn:
    """A turn on the file `path`, waited for up to `patience_s` seconds; without a file, or without success, it is none.

    One thread has it, and the one that waits for that thread ends it, maybe before that thread has come back.
    """

    def __init__(self, path: Path | None, patience_s: float) -> None:
        self._lock = None if path is None else FileLock(path, what="the keyring")
        self._patience_s = patience_s
        self._guard = threading.Lock()
        self._over = False

    def __enter__(self) -> None:
        self._take()

    def __exit__(self, *_exc: object) -> None:
        with self._guard:
            self._over = True
            self._release()

    @contextlib.contextmanager
    def let_go(self) -> Iterator[None]:
        """While it is another's."""
        with self._guard:
            self._release()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        with self._guard, contextlib.suppress(LockBusy, StoreError):
            if self._lock is not None and not self._over:
                self._lock.acquire(self._patience_s)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _begin_anew_in_child() -> None:
    KeyringStore.sharing = threading.Lock()
    for store in _ALL:
        store.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)


def _get_password(backend: KeyringBackend, user: str) -> Secret | None:
    value = backend.get_password(SERVICE, user)
    return None if value is None else Secret(value)
