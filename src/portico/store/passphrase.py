"""Where the sealed file store's passphrase comes from."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from portico.errors import StoreError
from portico.paths import UnknownHome, expanded
from portico.secret import SECRET_VARIABLES, Secret
from portico.store.atomic import file_error, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILE_ENV, TEXT_ENV = SECRET_VARIABLES
_FILE_LIMIT: Final = 64 * 1024
_ANOTHER: Final = f"set {FILE_ENV} to a file that you can read, with the passphrase as UTF-8 in its first line"


class PassphraseSource:
    """The passphrase: from the file that `PORTICO_PASSPHRASE_FILE` names, from `PORTICO_PASSPHRASE`, or from a person.

    `prompt` is called with the question, once when a store is opened and twice when one is made; the answer is kept. It returns
    None if nobody can be asked.
    The process's own `PORTICO_PASSPHRASE` is taken away when it is read, so that no child process inherits it.
    What is made of it costs 32 MiB and a tenth of a second, so that is kept as well, for every store of one run.
    """

    def __init__(self, env: Mapping[str, str] | None = None, prompt: Callable[[str], Secret | None] = lambda _: None) -> None:
        self._env = os.environ if env is None else env
        self._prompt = prompt
        self._typed: Secret | None = None
        self._taken: Secret | None = None
        self._stretched: dict[str, tuple[Secret, bytes]] = {}
        self._stretching = threading.Lock()
        self._turn = threading.Lock()  # of two threads the second would find it taken away, or ask once more

    def get(self, *, new: bool = False) -> Secret:
        """The passphrase; `new` says that a store is about to be made with it.

        Raises:
            StoreError: there is none, it is empty, its file cannot be read, or the two that were typed differ.
        """
        with self._turn:
            return self._got(new=new)

    def stretched(self, stretch: Callable[[Secret], bytes], how: str, *, new: bool = False) -> bytes:
        """The key that `stretch` makes of the passphrase. `how` names that function's salt and cost; `new` as for `get`.

        Raises:
            StoreError: as `get`.
        """
        with self._stretching:
            passphrase = self.get(new=new)
            known = self._stretched.get(how)
            if known is None or known[0] != passphrase:
                known = self._stretched[how] = passphrase, stretch(passphrase)
            return known[1]

    def _got(self, *, new: bool) -> Secret:
        path = self._env.get(FILE_ENV)
        if path:
            return _not_empty(_first_line(_place(path)), f"the file in {FILE_ENV}")
        if self._taken is not None:
            return self._taken
        if TEXT_ENV in self._env:
            return self._taken_from_environment()
        if self._typed is None or new:
            self._typed = self._asked(new=new)
        return self._typed

    def _taken_from_environment(self) -> Secret:
        self._taken = _not_empty(self._env[TEXT_ENV], TEXT_ENV)
        if self._env is os.environ:
            del os.environ[TEXT_ENV]
        return self._taken

    def _asked(self, *, new: bool) -> Secret:
        first = self._prompt("New passphrase for the token store" if new else "Passphrase of the token store")
        if first is None:
            raise StoreError(
                "passphrase-needed",
                "the sealed file store needs its passphrase",
                why="nobody can be asked here",
                hint=f"set {FILE_ENV} to a file that holds it, or {TEXT_ENV}",
            )
        if new and first and self._prompt("The same passphrase again") != first:
            raise StoreError("passphrase-mismatch", "the two passphrases differ", hint="run the command again")
        return _not_empty(first.reveal(), "the passphrase typed")


def _place(text: str) -> Path:
    try:
        return expanded(text, FILE_ENV)
    except UnknownHome as error:
        raise StoreError(
            "passphrase-unreadable", f"the file in {FILE_ENV} cannot be found", why=str(error), hint=error.hint
        ) from None


def _first_line(path: Path) -> str:
    from portico.ownership import Owners

    # Who owns it is the deployer's choice, and warned of (`others-may-change`): a secret that is mounted into a container belongs
    # to the user that it has outside.
    exposure = Owners(modes_only=True).exposure(path)
    if exposure is not None:
        message = f"other users could choose the passphrase in {path}"
        raise StoreError("passphrase-unreadable", message, why=str(exposure), hint=exposure.hint)
    try:
        return read_file(path, _FILE_LIMIT, check=_check).decode().split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        raise file_error("passphrase-unreadable", f"cannot use the passphrase in {path}", error, advice=_ANOTHER) from error
    except UnicodeDecodeError:
        message = f"cannot use the passphrase in {path}"
        raise StoreError("passphrase-unreadable", message, why="not UTF-8", hint=_ANOTHER) from None


def _check(fd: int) -> None:
    # Who may read it is the deployer's choice: container secrets are often readable by all inside.
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and os.name == "posix" and found.st_mode & 0o022:
        raise OSError(errno.EPERM, "others may write to it")


def _not_empty(value: str, what: str) -> Secret:
    if not value:
        raise StoreError("passphrase-needed", f"{what} is empty", hint=f"put a passphrase there, or unset {TEXT_ENV}")
    return Secret(value)
