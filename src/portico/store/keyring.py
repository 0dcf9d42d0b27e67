"""The operating system's keyring as a token store. Every call has a deadline, and every error has a hint.

`keyring.get_keyring()` imports every entry point in the environment. It may return a backend that stores nothing (null), fails,
stores passwords as plain text, or chains several backends and deletes only from the first. So this module chooses by class
among the operating systems' own backends. The user can name another backend (`PYTHON_KEYRING_BACKEND`, `keyringrc.cfg`); unsafe
backends are rejected.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar, cast

from portico.errors import LockBusy, StoreError
from portico.secret import Secret, redact
from portico.store.errors import KeyringLocked, KeyringTimeout, KeyringUnavailable, KeyringUnknown
from portico.store.profiles import FILE_HINT
from portico.store.records import SERVICE
from portico.util.lock import FileLock
from portico.util.threads import ABORT_GRACE_S, DeadlinePassed, Deadlines, PromptWatch, call_with_deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from keyring.backend import KeyringBackend

    from portico.store.records import RecordMatch, StoreName
    from portico.store.secret_service import SecretService

BACKEND_ENV: Final = "PYTHON_KEYRING_BACKEND"
FREEDESKTOP: Final = "keyring.backends.SecretService.Keyring"
KWALLET: Final = "keyring.backends.kwallet.DBusKeyring"
LIBSECRET: Final = "keyring.backends.libsecret.Keyring"
MACOS: Final = "keyring.backends.macOS.Keyring"
WINDOWS: Final = "keyring.backends.Windows.WinVaultKeyring"
# Backends of other systems are not imported. The macOS backend calls `ctypes.util.find_library`; on other systems this function
# runs the compiler and the linker with this process's environment.
SYSTEM_BACKENDS: Final = {"darwin": (MACOS,), "win32": (WINDOWS,)}.get(sys.platform, (FREEDESKTOP, KWALLET, LIBSECRET))

# Windows: CRED_MAX_CREDENTIAL_BLOB_SIZE is 2,560 bytes, python keyring #355 and #540.
_LIMITS: Final = {WINDOWS: 1280}
_UNSAFE_BACKENDS: Final = {
    "keyring.backends.null": "it forgets every secret",
    "keyring.backends.fail": "it always fails",
    "keyring.backends.chainer": "it deletes from one of its keyrings only",
    "keyrings.alt": "it keeps secrets in plain text, or nearly so",
    "keyrings.cryptfile": "it asks for its password on the terminal",
}


_SECRET_SERVICE_PRIORITY: Final = 5.0  # as in keyring 25
_IMPORT_LOCK: Final = threading.RLock()
_WHY_NONE: Final = {
    "darwin": "the macOS keychain is not available",
    "win32": "the Windows credential manager is not available",
}.get(sys.platform, "no Secret Service (gnome-keyring, KeePassXC) and no KWallet answers in this session")


class NoKeyring(KeyringUnavailable):
    """No keyring can be used. `reasons` has the reason for each kind."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("No keyring is available.", why=_WHY_NONE, hint=FILE_HINT)
        self.reasons = tuple(reasons)


def class_name(backend: KeyringBackend | type[KeyringBackend]) -> str:
    """Return `module.Class` of a backend."""
    kind = backend if isinstance(backend, type) else type(backend)
    return f"{kind.__module__}.{kind.__qualname__}"


def max_record_length(backend: str) -> int | None:
    """Return the length of the longest record that this class of backend accepts, in UTF-16 units; None if no limit is known."""
    return _LIMITS.get(backend)


def import_keyring_module(module: str) -> ModuleType:
    """Import a module of `keyring`, one thread at a time.

    The modules of `keyring` import each other. Two threads that start with different modules get a `_DeadlockError`.
    """
    with _IMPORT_LOCK:
        return importlib.import_module(module)


def load_backend(name: str) -> KeyringBackend:
    """Return the backend of class `name`, even if it does not work on this machine.

    Raises:
        StoreError: the class does not exist, cannot be instantiated, or is unsafe.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        kind = getattr(import_keyring_module(module_name), attribute)
    except Exception as error:  # noqa: BLE001 - a foreign module may raise anything
        raise _unusable_error(name, error) from None
    reason = _why_refused(kind)
    if reason is not None and class_name(kind) != _CHAINER:
        raise _refused_error(name, reason)
    try:
        return cast("KeyringBackend", kind())
    except Exception as error:  # noqa: BLE001 - a foreign class may raise anything
        raise _unusable_error(name, error) from None


def choose_backend(env: Mapping[str, str]) -> KeyringBackend:
    """Return the backend that the user named, else the system's best backend. From a chainer, return its first safe member.

    Raises:
        StoreError: no backend works, or the named backend does not work or is unsafe.
    """
    name = _configured_name(env)
    if name is None:
        return _best_system_backend(env)
    backend = load_backend(name)
    if class_name(backend) == _CHAINER:
        return _first_member(backend)
    try:
        _priority(backend, env)
    except Exception as error:  # noqa: BLE001 - a foreign class may raise anything
        raise _unusable_error(name, error) from None
    return backend


_CHAINER: Final = "keyring.backends.chainer.ChainerBackend"


def _configured_name(env: Mapping[str, str]) -> str | None:
    name = env.get(BACKEND_ENV)
    if name is not None:
        if not name.strip():
            raise KeyringUnavailable(f"{BACKEND_ENV} is empty.", hint=f"Unset {BACKEND_ENV}.")
        return name.strip()
    core = import_keyring_module("keyring.core")
    try:
        with _IMPORT_LOCK:  # this imports the configured class
            config_class = core.load_config()
    except Exception as error:  # noqa: BLE001 - the configured class may raise anything
        raise _unusable_error("named in keyringrc.cfg", error) from None
    return None if config_class is None else class_name(config_class)


def _best_system_backend(env: Mapping[str, str]) -> KeyringBackend:
    viable: list[tuple[float, KeyringBackend]] = []
    reasons = []
    for name in SYSTEM_BACKENDS:
        try:
            backend = load_backend(name)
            viable.append((_priority(backend, env), backend))
        except StoreError as error:
            reasons.append(f"{name}: {error.why}")
        except Exception as error:  # noqa: BLE001 - `priority` may raise anything
            reasons.append(f"{name}: {error}")
    if not viable:
        raise NoKeyring(reasons)
    return max(viable, key=lambda candidate: candidate[0])[1]


def _priority(backend: KeyringBackend, env: Mapping[str, str]) -> float:
    """Return the priority that `keyring` gives the backend.

    Raises:
        Exception: the backend cannot work on this machine.
    """
    if class_name(backend) != FREEDESKTOP:
        return backend.priority
    from portico.store.session_bus import why_unavailable

    reason = why_unavailable(env)  # keyring's own test finds the session bus only by the environment
    if reason is not None:
        raise RuntimeError(reason)
    return _SECRET_SERVICE_PRIORITY


def _first_member(chainer: KeyringBackend) -> KeyringBackend:
    members = cast("list[KeyringBackend]", getattr(chainer, "backends", []))
    for member in members:
        if _why_refused(type(member)) is None:
            return member
    raise _refused_error(_CHAINER, "none of its keyrings is safe")


def _why_refused(kind: object) -> str | None:
    if not isinstance(kind, type):
        return "it is not a class"
    for parent in kind.__mro__:
        if "plaintext" in parent.__name__.lower():
            return "it keeps secrets in plain text"
        for module, reason in _UNSAFE_BACKENDS.items():
            if parent.__module__ == module or parent.__module__.startswith(f"{module}."):
                return reason
    return None


def _refused_error(name: str, reason: str) -> StoreError:
    return KeyringUnavailable(f"The keyring {name} cannot be used for tokens.", why=reason, hint=FILE_HINT)


def _unusable_error(name: str, error: Exception) -> StoreError:
    return KeyringUnavailable(
        f"Could not use the keyring {name}.",
        why=f"{type(error).__name__}: {error}",
        hint=f"Correct or unset {BACKEND_ENV}, or: {FILE_HINT}",
    )


T = TypeVar("T")

_LOCKED: Final = frozenset({"KeyringLocked", "LockedException", "PromptDismissedException", "KeychainDenied"})
_ABSENT: Final = frozenset({"NoKeyringError", "SecretServiceNotAvailableException", "InitError"})
_MACOS_NO_PROMPT: Final = "-25308"  # errSecInteractionNotAllowed: an SSH session; keyring calls it "Unknown Error"
_SERVICE_LOCKED: Final = "org.freedesktop.Secret.Error.IsLocked"
_COPIES: Final = 8
_UNLOCK_HINT: Final = "Unlock the keyring (log in to the desktop, or answer its prompt) and run the command again."
_UNLOCK_HINT_MACOS: Final = "Unlock the keychain (over SSH: security unlock-keychain) and run the command again."
_RETRY_HINT: Final = f"Run the command again. If it fails again, do without a keyring: {FILE_HINT}"

_ALL: Final[weakref.WeakSet[KeyringStore]] = weakref.WeakSet()


class KeyringStore:
    """One keyring. `backend` names its class (None: the best class). `on_wait` is called when a prompt waits for the user.

    With `asks` False the Secret Service does not ask its user, and another keyring gets no extra time for a prompt.

    `lock` is a lock file, so that only one process writes at a time: with two writers, gnome-keyring 42 hides items and aborts.
    The lock is not strict: after its timeout the write is done without it, and the lock is released during a prompt.
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
        self._backend_name = backend
        self._env = os.environ if env is None else env
        self._deadlines = deadlines or Deadlines()
        self._on_wait = on_wait
        self._lock = lock
        self._asks = asks
        self._loaded: KeyringBackend | None = None
        self._service: SecretService | None = None  # used instead of keyring's own Secret Service backend
        self._prompts = PromptWatch(self._deadlines.prompt_s, on_wait)
        self.reset_after_fork()
        _ALL.add(self)

    def reset_after_fork(self) -> None:
        """Drop the parent's threads, locks and connection in a child process."""
        self._load_lock = threading.Lock()
        self._call_lock = threading.Lock()  # two prompts at the same time can deadlock (poetry#8623)
        self._unfinished: list[threading.Thread] = []
        if self._service is not None:
            self._service.close()  # does not shut down the parent's socket

    @property
    def backend(self) -> str:
        """The keyring's class.

        Raises:
            StoreError: no keyring can be used.
        """
        return class_name(self._backend())

    @property
    def limit(self) -> int | None:
        """The length of the longest record in UTF-16 units; None if no limit is known."""
        return max_record_length(self.backend)

    def is_backend(self, backend: str | None) -> bool:
        """Whether this is the keyring of class `backend` (None: the best class)."""
        return backend == self._backend_name or (self._loaded is not None and backend == class_name(self._loaded))

    def same_or_new(self, opened: list[KeyringStore]) -> KeyringStore:
        """Return the object in `opened` for the same keyring. If there is none, add this object and return it."""
        with KeyringStore.sharing:
            same = self._find_same(opened)
            if same is None and opened:
                for each in (self, *opened):  # the class of the best keyring is known after it was loaded
                    with contextlib.suppress(StoreError):
                        each.backend  # noqa: B018 - it loads
                same = self._find_same(opened)
            if same is None:
                opened.append(self)
            return same or self

    def _find_same(self, opened: list[KeyringStore]) -> KeyringStore | None:
        names = {self._backend_name, self._class_name()}
        return next((each for each in opened if any(each.is_backend(name) for name in names)), None)

    @property
    def has_pending_call(self) -> bool:
        self._unfinished = [thread for thread in self._unfinished if thread.is_alive()]
        return bool(self._unfinished)

    def get(self, user: str, matches: RecordMatch | None = None) -> Secret | None:
        """Return the record, or None if it does not exist.

        If there are several copies, return the first that `matches`, else the first.

        Raises:
            StoreError: the keyring failed, is locked, did not answer in time, or may have the record in a closed database.
        """
        backend, service = self._backend(), self._service
        return self._call("read", lambda: _get_password(backend, user) if service is None else service.read(user, matches))

    def set(self, user: str, value: Secret) -> None:
        """Write `value` as the record of `user`.

        Raises:
            StoreUnknown: the keyring did not answer in time: the record may or may not exist.
            StoreError: the keyring failed or is locked.
        """
        backend, service = self._backend(), self._service

        def write() -> None:
            if service is None:
                backend.set_password(SERVICE, user, value.reveal())
            else:
                service.write(user, value)

        self._call("write", write, value)

    def delete(self, user: str, *, keep: RecordMatch | None = None, ask: bool = True) -> None:
        """Delete every copy of the record of `user` for which `keep` is false.

        With `ask` False, fail if the keyring would have to ask its user. Only the Secret Service supports `keep` and `ask`.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: the keyring failed or is locked, or the record is not deleted or may be in a closed database.
        """
        backend, service = self._backend(), self._service
        delete_error: type[Exception] = import_keyring_module("keyring.errors").PasswordDeleteError

        def remove() -> bool:
            if service is not None:
                return service.delete(user, keep)
            if keep is not None:
                return True  # the other keyrings have one record per name
            for _ in range(_COPIES):
                with contextlib.suppress(delete_error):  # also raised for a missing record
                    backend.delete_password(SERVICE, user)
                if backend.get_password(SERVICE, user) is None:
                    return True
            return False

        if not self._call("delete", remove, ask=ask):
            raise KeyringUnavailable(f"Could not delete the record: the keyring {self.backend} still has it.", hint=_RETRY_HINT)

    def _backend(self) -> KeyringBackend:
        with self._load_lock:
            if self._loaded is None:
                wanted = self._backend_name
                loaded = load_backend(wanted) if wanted is not None else self._call("read", lambda: choose_backend(self._env))
                if class_name(loaded) == FREEDESKTOP:
                    from portico.store.secret_service import SecretService

                    self._service = SecretService(loaded, self._prompts, self._env)
                self._loaded = loaded
            return self._loaded

    def _call(self, act: Literal["read", "write", "delete"], call: Callable[[], T], *secrets: Secret, ask: bool = True) -> T:
        seconds = self._deadlines.read_s if act == "read" else self._deadlines.write_s
        if not self._call_lock.acquire(timeout=self._deadlines.prompt_s):
            raise self._busy_error()
        if self.has_pending_call:  # its worker thread has released the lock, but is still in a call of the keyring
            self._call_lock.release()
            raise self._busy_error()
        file_turn = _LockTurn(None if act == "read" else self._lock, self._deadlines.read_s)
        self._prompts.begin_call(ask=ask and self._asks, during_prompt=file_turn.released)
        try:
            with file_turn:
                return call_with_deadline(call, seconds, extra_s=self._extra_wait(seconds), abort=self._abort)
        except DeadlinePassed as late:
            raise self._timeout_error(act, late) from None
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - jeepney, pywin32 and GLib raise their own errors
            raise self._translate_error(act, error, *secrets) from None
        finally:
            self._call_lock.release()

    def _abort(self) -> None:
        if self._service is not None:
            self._service.abort()

    def _extra_wait(self, seconds: float) -> Callable[[], float]:
        """Return a function that returns how many more seconds to wait for the user's answer to a prompt.

        Only the Secret Service reports its prompts. Windows never prompts. Other keyrings get the time for one prompt, once.
        """
        if self._service is not None:
            return lambda: self._prompts.extra_s(seconds)
        may_ask = self._asks and self._loaded is not None and self._class_name() != WINDOWS
        extra_waits = [self._deadlines.prompt_s] if may_ask else []

        def extra_s() -> float:
            if not extra_waits:
                return 0.0
            self._prompts.notify("The keyring may be locked. Please answer its prompt.")
            return extra_waits.pop()

        return extra_s

    def _class_name(self) -> str | None:
        return self._backend_name if self._loaded is None else class_name(self._loaded)

    def _label(self) -> str:
        name = self._class_name()
        return "keyring" if name is None else f"keyring {name}"

    def _busy_error(self) -> StoreError:
        return KeyringTimeout("Another call to the keyring is still running.", hint=self._timeout_hint())

    def _timeout_error(self, act: str, error: DeadlinePassed) -> StoreError:
        keyring = self._label()
        if act == "read" and self._service is not None:  # a read can be aborted, because it changes nothing
            self._service.abort()
            error.worker.join(ABORT_GRACE_S)
        self._unfinished.append(error.worker)
        if act == "read":
            return KeyringTimeout(f"The {keyring} did not answer.", why=str(error), hint=self._timeout_hint())
        return KeyringUnknown(
            f"The {keyring} did not say whether it could {act} the record.",
            why=f"{error}; a later command deletes what is left",
            hint=self._timeout_hint(),
        )

    def _translate_error(self, act: str, error: Exception, *secrets: Secret) -> StoreError:
        keyring = self._label()
        class_names = {kind.__name__ for kind in type(error).__mro__}
        text = redact(str(error), *secrets)
        why = f"{type(error).__module__}.{type(error).__name__}: {text}"
        if class_names & _LOCKED or _MACOS_NO_PROMPT in text or _SERVICE_LOCKED in text:
            return KeyringLocked(f"The {keyring} is locked.", why=why, hint=self._unlock_hint())
        if class_names & _ABSENT or isinstance(error, ConnectionError | FileNotFoundError):
            hint = f"Start it (log in to the desktop) and run the command again, or do without a keyring: {FILE_HINT}"
            return KeyringUnavailable(f"Could not reach the {keyring}.", why=why, hint=hint)
        return KeyringUnavailable(f"The {keyring} could not {act} the record.", why=why, hint=_RETRY_HINT)

    def _unlock_hint(self) -> str:
        return _UNLOCK_HINT_MACOS if self._class_name() == MACOS else _UNLOCK_HINT

    def _timeout_hint(self) -> str:
        """Return the hint after a timeout. Only for the Secret Service and Windows is it certain that no prompt is waiting."""
        return _RETRY_HINT if self._class_name() in {FREEDESKTOP, WINDOWS} else self._unlock_hint()


class _LockTurn:
    """The lock file `path`, taken for one call to the keyring.

    Without a file, or after `timeout_s` seconds of waiting, the call is made without the lock.

    A worker thread makes the call. The thread that waits for the worker releases the lock, maybe before the worker returns.
    """

    def __init__(self, path: Path | None, timeout_s: float) -> None:
        self._lock = None if path is None else FileLock(path, what="the keyring")
        self._timeout_s = timeout_s
        self._guard = threading.Lock()
        self._ended = False

    def __enter__(self) -> None:
        self._acquire()

    def __exit__(self, *_exc: object) -> None:
        with self._guard:
            self._ended = True
            self._release()

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Release the lock during the block."""
        with self._guard:
            self._release()
        try:
            yield
        finally:
            self._acquire()

    def _acquire(self) -> None:
        with self._guard, contextlib.suppress(LockBusy, StoreError):
            if self._lock is not None and not self._ended:
                self._lock.acquire(self._timeout_s)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _reset_in_child() -> None:
    KeyringStore.sharing = threading.Lock()
    for store in _ALL:
        store.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


def _get_password(backend: KeyringBackend, user: str) -> Secret | None:
    value = backend.get_password(SERVICE, user)
    return None if value is None else Secret(value)
