"""The operating system's keyring as a token store: every call limited in time, every error one that a user can act on.

`keyring.get_keyring()` imports every entry point in the environment and may hand back one that forgets (null), fails, keeps
passwords in plain text, or chains several and deletes from the first only. So the backend is chosen here, by class, among the
operating systems' own; any other has to be named by the user (`PYTHON_KEYRING_BACKEND`, `keyringrc.cfg`), and some not even
then.
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
# Another system's backend is not even imported: macOS's looks for its framework by `ctypes.util.find_library`, which anywhere
# else runs the compiler and the linker, with this process's environment.
SYSTEM_BACKENDS: Final = {"darwin": (MACOS,), "win32": (WINDOWS,)}.get(sys.platform, (FREEDESKTOP, KWALLET, LIBSECRET))

# Windows: CRED_MAX_CREDENTIAL_BLOB_SIZE is 2,560 bytes, python keyring #355 and #540.
_LIMITS: Final = {WINDOWS: 1280}
_UNSAFE_BACKENDS: Final = {
    "keyring.backends.null": "it forgets what it is given",
    "keyring.backends.fail": "it only fails",
    "keyring.backends.chainer": "it deletes from one of its keyrings only",
    "keyrings.alt": "it keeps secrets in plain text, or nearly so",
    "keyrings.cryptfile": "it asks for its password on the terminal of whoever calls it",
}


_SECRET_SERVICE_PRIORITY: Final = 5.0  # that of keyring 25
_IMPORT_LOCK: Final = threading.RLock()
_WHY_NONE: Final = {
    "darwin": "the macOS keychain cannot be used",
    "win32": "the Windows credential manager cannot be used",
}.get(sys.platform, "no Secret Service (gnome-keyring, KeePassXC) and no KWallet answers in this session")


class NoKeyring(KeyringUnavailable):
    """No keyring works here. `reasons` tells for each kind what it lacks."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("no keyring can be used here", why=_WHY_NONE, hint=FILE_HINT)
        self.reasons = tuple(reasons)


def class_name(backend: KeyringBackend | type[KeyringBackend]) -> str:
    """`module.Class` of a backend."""
    kind = backend if isinstance(backend, type) else type(backend)
    return f"{kind.__module__}.{kind.__qualname__}"


def max_record_length(backend: str) -> int | None:
    """The longest record that the backend of this class name keeps, in UTF-16 units; None where none is known."""
    return _LIMITS.get(backend)


def import_keyring_module(module: str) -> ModuleType:
    """A module of `keyring`'s, imported by one thread at a time.

    Its modules import each other, and two threads that begin at different ends are told of a deadlock (`_DeadlockError`).
    """
    with _IMPORT_LOCK:
        return importlib.import_module(module)


def load_backend(name: str) -> KeyringBackend:
    """The backend of that class, without asking whether it can work here and without looking for others.

    Raises:
        StoreError: there is no such class, it cannot be made, or it must not be used.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        kind = getattr(import_keyring_module(module_name), attribute)
    except Exception as error:  # noqa: BLE001 - whatever a foreign module raises
        raise _unusable_error(name, error) from None
    reason = _why_refused(kind)
    if reason is not None and class_name(kind) != _CHAINER:
        raise _refused_error(name, reason)
    try:
        return cast("KeyringBackend", kind())
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises
        raise _unusable_error(name, error) from None


def choose_backend(env: Mapping[str, str]) -> KeyringBackend:
    """The backend that the user named, else the best of the system's own that can work here.

    Of a chainer, the first member that may be used.

    Raises:
        StoreError: there is none, or the one named cannot or must not be used.
    """
    name = _configured_name(env)
    if name is None:
        return _best_system_backend(env)
    backend = load_backend(name)
    if class_name(backend) == _CHAINER:
        return _first_member(backend)
    try:
        _priority(backend, env)
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises
        raise _unusable_error(name, error) from None
    return backend


_CHAINER: Final = "keyring.backends.chainer.ChainerBackend"


def _configured_name(env: Mapping[str, str]) -> str | None:
    name = env.get(BACKEND_ENV)
    if name is not None:
        if not name.strip():
            raise KeyringUnavailable(f"{BACKEND_ENV} is set but empty", hint=f"unset {BACKEND_ENV}")
        return name.strip()
    core = import_keyring_module("keyring.core")
    try:
        with _IMPORT_LOCK:  # the configured class is imported, if there is one
            config_class = core.load_config()
    except Exception as error:  # noqa: BLE001 - whatever the configured class raises
        raise _unusable_error("the backend named in keyringrc.cfg", error) from None
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
        except Exception as error:  # noqa: BLE001 - `priority` raises what its platform raises
            reasons.append(f"{name}: {error}")
    if not viable:
        raise NoKeyring(reasons)
    return max(viable, key=lambda candidate: candidate[0])[1]


def _priority(backend: KeyringBackend, env: Mapping[str, str]) -> float:
    """How much keyring itself would prefer this backend.

    Raises:
        Exception: the backend cannot work here.
    """
    if class_name(backend) != FREEDESKTOP:
        return backend.priority
    from portico.store.session_bus import why_unavailable

    reason = why_unavailable(env)  # keyring's own test knows no session bus but the one in the environment
    if reason is not None:
        raise RuntimeError(reason)
    return _SECRET_SERVICE_PRIORITY


def _first_member(chainer: KeyringBackend) -> KeyringBackend:
    members = cast("list[KeyringBackend]", getattr(chainer, "backends", []))
    for member in members:
        if _why_refused(type(member)) is None:
            return member
    raise _refused_error(_CHAINER, "none of its keyrings may be used")


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
    return KeyringUnavailable(f"the keyring {name} is not used for tokens", why=reason, hint=FILE_HINT)


def _unusable_error(name: str, error: Exception) -> StoreError:
    return KeyringUnavailable(
        f"the keyring {name} cannot be used",
        why=f"{type(error).__name__}: {error}",
        hint=f"correct or unset {BACKEND_ENV}, or: {FILE_HINT}",
    )


T = TypeVar("T")

_LOCKED: Final = frozenset({"KeyringLocked", "LockedException", "PromptDismissedException", "KeychainDenied"})
_ABSENT: Final = frozenset({"NoKeyringError", "SecretServiceNotAvailableException", "InitError"})
_MACOS_NO_PROMPT: Final = "-25308"  # errSecInteractionNotAllowed: an SSH session; keyring calls it "Unknown Error"
_SERVICE_LOCKED: Final = "org.freedesktop.Secret.Error.IsLocked"
_COPIES: Final = 8
_UNLOCK_HINT: Final = "unlock the keyring (log in to the desktop, or answer its prompt) and run the command again"
_UNLOCK_HINT_MACOS: Final = "unlock it (over SSH: security unlock-keychain) and run the command again"
_RETRY_HINT: Final = f"run the command again; if it stays so, do without: {FILE_HINT}"

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
        self._backend_name = backend
        self._env = os.environ if env is None else env
        self._deadlines = deadlines or Deadlines()
        self._on_wait = on_wait
        self._lock = lock
        self._asks = asks
        self._loaded: KeyringBackend | None = None
        self._service: SecretService | None = None  # what is called in place of keyring's Secret Service backend
        self._prompts = PromptWatch(self._deadlines.prompt_s, on_wait)
        self.reset_after_fork()
        _ALL.add(self)

    def reset_after_fork(self) -> None:
        """In a child process: no thread of the parent gives its turn back here, and the parent's connection is the parent's."""
        self._load_lock = threading.Lock()
        self._call_lock = threading.Lock()  # two prompts at once have been seen to deadlock (poetry#8623)
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
        return max_record_length(self.backend)

    def is_backend(self, backend: str | None) -> bool:
        """Whether it is the keyring of that class; None is the best, and the class that it was found to be."""
        return backend == self._backend_name or (self._loaded is not None and backend == class_name(self._loaded))

    def same_or_new(self, opened: list[KeyringStore]) -> KeyringStore:
        """The one of `opened` that is the same keyring, else this one, which is one of them from now on."""
        with KeyringStore.sharing:
            same = self._find_same(opened)
            if same is None and opened:
                for each in (self, *opened):  # which class the best keyring is of, is known only when it is loaded
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
        """Whether a call that timed out is still going on."""
        self._unfinished = [thread for thread in self._unfinished if thread.is_alive()]
        return bool(self._unfinished)

    def get(self, user: str, matches: RecordMatch | None = None) -> Secret | None:
        """The record of `user`, None only where there is none. Of several copies the first that `matches`, else the first.

        Raises:
            StoreError: the keyring failed, is locked, may have the record where it cannot be seen, or did not answer in time.
        """
        backend, service = self._backend(), self._service
        return self._call("read", lambda: _get_password(backend, user) if service is None else service.read(user, matches))

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

    def delete(self, user: str, *, keep: RecordMatch | None = None, ask: bool = True) -> None:
        """Remove the record of `user` and every copy that the keyring has made of it, but what `keep` wants.

        `ask` False: where the keyring would have to ask its user, it fails instead. Only the Secret Service heeds either.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: the keyring failed or is locked, the record stays, or may be where it cannot be seen.
        """
        backend, service = self._backend(), self._service
        delete_error: type[Exception] = import_keyring_module("keyring.errors").PasswordDeleteError

        def remove() -> bool:
            if service is not None:
                return service.delete(user, keep)
            if keep is not None:
                return True  # the other keyrings have one record by a name
            for _ in range(_COPIES):
                with contextlib.suppress(delete_error):  # also what "there is none" is called
                    backend.delete_password(SERVICE, user)
                if backend.get_password(SERVICE, user) is None:
                    return True
            return False

        if not self._call("delete", remove, ask=ask):
            raise KeyringUnavailable(f"{self.backend} still has a record that was deleted", hint=_RETRY_HINT)

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

    def _call(self, doing: Literal["read", "write", "delete"], call: Callable[[], T], *secrets: Secret, ask: bool = True) -> T:
        seconds = self._deadlines.read_s if doing == "read" else self._deadlines.write_s
        if not self._call_lock.acquire(timeout=self._deadlines.prompt_s):
            raise self._busy_error()
        if self.has_pending_call:  # a worker without a turn, inside all the same
            self._call_lock.release()
            raise self._busy_error()
        file_turn = _LockTurn(None if doing == "read" else self._lock, self._deadlines.read_s)
        self._prompts.begin_call(ask=ask and self._asks, during_prompt=file_turn.let_go)
        try:
            with file_turn:
                return call_with_deadline(call, seconds, extra_s=self._extra_wait(seconds), abort=self._abort)
        except DeadlinePassed as late:
            raise self._timeout_error(doing, late) from None
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - jeepney, pywin32 and GLib errors come through raw
            raise self._translate_error(doing, error, *secrets) from None
        finally:
            self._call_lock.release()

    def _abort(self) -> None:
        if self._service is not None:
            self._service.abort()

    def _extra_wait(self, seconds: float) -> Callable[[], float]:
        """Tells for how many further seconds to wait for a person, if it is a person that the keyring is waiting for.

        Only the Secret Service says whether it is. Of the others Windows asks nobody, and the rest are given the benefit once.
        """
        if self._service is not None:
            return lambda: self._prompts.extra_s(seconds)
        may_ask = self._asks and self._loaded is not None and self._class_name() != WINDOWS
        extra_waits = [self._deadlines.prompt_s] if may_ask else []

        def extra_s() -> float:
            if not extra_waits:
                return 0.0
            self._prompts.notify("The keyring may be locked: please answer its prompt.")
            return extra_waits.pop()

        return extra_s

    def _class_name(self) -> str | None:
        return self._backend_name if self._loaded is None else class_name(self._loaded)

    def _busy_error(self) -> StoreError:
        return KeyringTimeout("another call to the keyring has not come back", hint=self._timeout_hint())

    def _timeout_error(self, doing: str, error: DeadlinePassed) -> StoreError:
        keyring = self._class_name() or "the keyring"
        if doing == "read" and self._service is not None:  # a read may be broken off: it changes nothing
            self._service.abort()
            error.worker.join(ABORT_GRACE_S)
        self._unfinished.append(error.worker)
        if doing == "read":
            return KeyringTimeout(f"{keyring} did not answer", why=str(error), hint=self._timeout_hint())
        return KeyringUnknown(
            f"{keyring} did not say whether it could {doing} the record",
            why=f"{error}; what may have been left is tidied up the next time",
            hint=self._timeout_hint(),
        )

    def _translate_error(self, doing: str, error: Exception, *secrets: Secret) -> StoreError:
        keyring = self._class_name() or "the keyring"
        class_names = {kind.__name__ for kind in type(error).__mro__}
        text = redact(str(error), *secrets)
        why = f"{type(error).__module__}.{type(error).__name__}: {text}"
        if class_names & _LOCKED or _MACOS_NO_PROMPT in text or _SERVICE_LOCKED in text:
            return KeyringLocked(f"{keyring} is locked", why=why, hint=self._unlock_hint())
        if class_names & _ABSENT or isinstance(error, ConnectionError | FileNotFoundError):
            hint = f"start it (log in to the desktop) and run the command again, or do without: {FILE_HINT}"
            return KeyringUnavailable(f"{keyring} cannot be reached", why=why, hint=hint)
        return KeyringUnavailable(f"{keyring} could not {doing} the record", why=why, hint=_RETRY_HINT)

    def _unlock_hint(self) -> str:
        return _UNLOCK_HINT_MACOS if self._class_name() == MACOS else _UNLOCK_HINT

    def _timeout_hint(self) -> str:
        """The Secret Service says when it waits for a person, and Windows never does; the others may be locked."""
        return _RETRY_HINT if self._class_name() in {FREEDESKTOP, WINDOWS} else self._unlock_hint()


class _LockTurn:
    """A turn on the file `path`, waited for up to `timeout_s` seconds; without a file, or without success, it is none.

    One thread has it, and the one that waits for that thread ends it, maybe before that thread has come back.
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
    def let_go(self) -> Iterator[None]:
        """While it is another's."""
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
