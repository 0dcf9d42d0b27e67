"""Which of `keyring`'s backends to use.

`keyring.get_keyring()` imports every entry point in the environment and may hand back one that forgets (null), fails, keeps
passwords in plain text, or chains several and deletes from the first only. So the backend is chosen here, by class, among the
operating systems' own; any other has to be named by the user (`PYTHON_KEYRING_BACKEND`, `keyringrc.cfg`), and some not even then.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Final, cast

from portico.errors import StoreError
from portico.store.remedy import FILE_HINT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from keyring.backend import KeyringBackend

BACKEND_ENV: Final = "PYTHON_KEYRING_BACKEND"
FREEDESKTOP: Final = "keyring.backends.SecretService.Keyring"
KWALLET: Final = "keyring.backends.kwallet.DBusKeyring"
LIBSECRET: Final = "keyring.backends.libsecret.Keyring"
MACOS: Final = "keyring.backends.macOS.Keyring"
WINDOWS: Final = "keyring.backends.Windows.WinVaultKeyring"
# Another system's backend is not even imported: macOS's looks for its framework by `ctypes.util.find_library`, which anywhere
# else runs the compiler and the linker, with this process's environment.
OF_THE_SYSTEM: Final = {"darwin": (MACOS,), "win32": (WINDOWS,)}.get(sys.platform, (FREEDESKTOP, KWALLET, LIBSECRET))

# Windows: CRED_MAX_CREDENTIAL_BLOB_SIZE is 2,560 bytes, python keyring #355 and #540.
_LIMITS: Final = {WINDOWS: 1280}
_REFUSED: Final = {
    "keyring.backends.null": "it forgets what it is given",
    "keyring.backends.fail": "it only fails",
    "keyring.backends.chainer": "it deletes from one of its keyrings only",
    "keyrings.alt": "it keeps secrets in plain text, or nearly so",
    "keyrings.cryptfile": "it asks for its password on the terminal of whoever calls it",
}


_SECRET_SERVICE_PRIORITY: Final = 5.0  # that of keyring 25
_IMPORTING: Final = threading.RLock()
_NOBODY_ANSWERS: Final = {
    "darwin": "the macOS keychain cannot be used",
    "win32": "the Windows credential manager cannot be used",
}.get(sys.platform, "no Secret Service (gnome-keyring, KeePassXC) and no KWallet answers in this session")


class NoKeyring(StoreError):
    """No keyring works here. `reasons` tells for each kind what it lacks."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("no-keyring", "no keyring can be used here", why=_NOBODY_ANSWERS, hint=FILE_HINT)
        self.reasons = tuple(reasons)


def class_name(backend: KeyringBackend | type[KeyringBackend]) -> str:
    """`module.Class` of a backend."""
    kind = backend if isinstance(backend, type) else type(backend)
    return f"{kind.__module__}.{kind.__qualname__}"


def unit_limit(backend: str) -> int | None:
    """The longest record that the backend of this class name keeps, in UTF-16 units; None where none is known."""
    return _LIMITS.get(backend)


def imported(module: str) -> ModuleType:
    """A module of `keyring`'s, imported by one thread at a time.

    Its modules import each other, and two threads that begin at different ends are told of a deadlock (`_DeadlockError`).
    """
    with _IMPORTING:
        return importlib.import_module(module)


def load_backend(name: str) -> KeyringBackend:
    """The backend of that class, without asking whether it can work here and without looking for others.

    Raises:
        StoreError: there is no such class, it cannot be made, or it must not be used.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        kind = getattr(imported(module_name), attribute)
    except Exception as error:  # noqa: BLE001 - whatever a foreign module raises
        raise _unusable(name, error) from None
    reason = _refusal(kind)
    if reason is not None and class_name(kind) != _CHAINER:
        raise _refused(name, reason)
    try:
        return cast("KeyringBackend", kind())
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises
        raise _unusable(name, error) from None


def choose_backend(env: Mapping[str, str]) -> KeyringBackend:
    """The backend that the user named, else the best of the system's own that can work here.

    Of a chainer, the first member that may be used.

    Raises:
        StoreError: there is none, or the one named cannot or must not be used.
    """
    named = _named(env)
    if named is None:
        return _best_of_the_system()
    backend = load_backend(named)
    if class_name(backend) == _CHAINER:
        return _first_member(backend)
    try:
        _priority(backend)
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises
        raise _unusable(named, error) from None
    return backend


_CHAINER: Final = "keyring.backends.chainer.ChainerBackend"


def _named(env: Mapping[str, str]) -> str | None:
    name = env.get(BACKEND_ENV)
    if name is not None:
        if not name.strip():
            raise StoreError("keyring-unusable", f"{BACKEND_ENV} is set but empty", hint=f"unset {BACKEND_ENV}")
        return name.strip()
    core = imported("keyring.core")
    try:
        with _IMPORTING:  # the configured class is imported, if there is one
            configured = core.load_config()
    except Exception as error:  # noqa: BLE001 - whatever the configured class raises
        raise _unusable("the backend named in keyringrc.cfg", error) from None
    return None if configured is None else class_name(configured)


def _best_of_the_system() -> KeyringBackend:
    viable: list[tuple[float, KeyringBackend]] = []
    reasons = []
    for name in OF_THE_SYSTEM:
        try:
            backend = load_backend(name)
            viable.append((_priority(backend), backend))
        except StoreError as error:
            reasons.append(f"{name}: {error.why}")
        except Exception as error:  # noqa: BLE001 - `priority` raises what its platform raises
            reasons.append(f"{name}: {error}")
    if not viable:
        raise NoKeyring(reasons)
    return max(viable, key=lambda entry: entry[0])[1]


def _priority(backend: KeyringBackend) -> float:
    """How much keyring itself would prefer this backend.

    Raises:
        Exception: the backend cannot work here.
    """
    if class_name(backend) != FREEDESKTOP:
        return backend.priority
    from portico.store.session_bus import why_not_here

    reason = why_not_here()  # keyring's own test knows no session bus but the one in the environment
    if reason is not None:
        raise RuntimeError(reason)
    return _SECRET_SERVICE_PRIORITY


def _first_member(chainer: KeyringBackend) -> KeyringBackend:
    members = cast("list[KeyringBackend]", getattr(chainer, "backends", []))
    for member in members:
        if _refusal(type(member)) is None:
            return member
    raise _refused(_CHAINER, "none of its keyrings may be used")


def _refusal(kind: object) -> str | None:
    if not isinstance(kind, type):
        return "it is not a class"
    for parent in kind.__mro__:
        if "plaintext" in parent.__name__.lower():
            return "it keeps secrets in plain text"
        for module, reason in _REFUSED.items():
            if parent.__module__ == module or parent.__module__.startswith(f"{module}."):
                return reason
    return None


def _refused(name: str, reason: str) -> StoreError:
    return StoreError("keyring-refused", f"the keyring {name} is not used for tokens", why=reason, hint=FILE_HINT)


def _unusable(name: str, error: Exception) -> StoreError:
    return StoreError(
        "keyring-unusable",
        f"the keyring {name} cannot be used",
        why=f"{type(error).__name__}: {error}",
        hint=f"correct or unset {BACKEND_ENV}, or: {FILE_HINT}",
    )
