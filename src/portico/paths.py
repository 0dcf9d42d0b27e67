"""Every file and folder that Portico touches, with its mode.

| what | default | mode |
|---|---|---|
| config file | `<user config folder>/portico.json5` | 0600, as found if it exists |
| state folder | `<user state folder>` | 0700 |
| `auth-profiles.json` | state folder; no secrets | 0600 |
| `sealed/` | state folder; AES-256-GCM records | 0700, files 0600 |
| `locks/` | state folder; never deleted | 0700, files 0600 |
| `uses/` | state folder; empty files, whose times are the last uses of profiles | 0700, files 0600 |
| `history.sqlite`, `-wal`, `-shm` | state folder; requests without their texts; no secrets | 0600 |
| `gateway.json`, `gateway.log` | state folder | 0600 |
| `keep-fresh.log` | state folder; for launchd only, systemd has its journal | 0600 |
| `gateway-proxy.env`, `keep-fresh-proxy.env` | state folder; a service's proxy, if it has a password | 0600 |
| `emulator.json` | state folder | 0600 |
| `edit-*/` | state folder; the config during `config edit`, kept if it is invalid | 0700, files 0600 |
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_ENV: Final = "PORTICO_CONFIG"
STATE_ENV: Final = "PORTICO_STATE_DIR"
EMULATOR_ENV: Final = "PORTICO_EMULATOR_HOME"  # in an emulator's shell: the state folder of the emulator's user
PACKAGE: Final = Path(__file__).parent
"""The folder of Portico's own modules."""
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_APP: Final = "portico"
_SET_HOME: Final = "Set HOME, or set PORTICO_CONFIG and PORTICO_STATE_DIR."


class NoHome(ConfigError):
    """The home folder is unknown, so the place of the files is unknown too."""

    id = "no-home"


@dataclass(frozen=True, slots=True)
class Paths:
    """The config file and the state folder.

    `state_id` is empty for the user's default state folder. It identifies the keyring records of any other state folder,
    however its path is spelled.
    """

    config: Path
    state: Path
    state_id: str

    @property
    def index(self) -> Path:
        return self.state / "auth-profiles.json"

    @property
    def encrypted_records(self) -> Path:
        return self.state / "sealed"

    @property
    def locks(self) -> Path:
        return self.state / "locks"

    @property
    def uses(self) -> Path:
        return self.state / "uses"

    @property
    def history(self) -> Path:
        return self.state / "history.sqlite"

    @property
    def gateway(self) -> Path:
        return self.state / "gateway.json"

    @property
    def gateway_log(self) -> Path:
        return self.state / "gateway.log"

    @property
    def emulator(self) -> Path:
        return self.state / "emulator.json"


def resolve_paths(config: str | None = None, env: Mapping[str, str] | None = None) -> Paths:
    """Return the paths to use: from `--config`, else `PORTICO_CONFIG` and `PORTICO_STATE_DIR`, else the platform's folders.

    If `env` lacks `HOME`, `XDG_CONFIG_HOME` or `XDG_STATE_HOME`, the process's own value is used.

    Raises:
        UnknownHome: `no-home`.
        RuntimeError, OSError: the platform's folders need a home folder, and there is none.
    """
    env = os.environ if env is None else env
    chosen_config = config or env.get(CONFIG_ENV)
    chosen_state = env.get(STATE_ENV)
    source = "--config" if config else CONFIG_ENV
    state = expand_home(chosen_state, STATE_ENV, env).absolute() if chosen_state else _default_state(env)
    config_file = expand_home(chosen_config, source, env).absolute() if chosen_config else _default_config(env)
    return Paths(config=config_file, state=state, state_id=_state_id(state, env))


class UnknownHome(NoHome):
    """A path starts with an unknown home folder. `fault` is the message without the source of the path."""

    def __init__(self, source: str, user: str) -> None:
        self.fault = (
            f"begins with the home folder of an unknown user: there is no user {user} on this machine"
            if user
            else "begins with `~`, and this user has no home folder"
        )
        hint = "Write the whole path, `~/...` for your own home folder, or `./~...` for a file whose name begins with `~`."
        super().__init__(f"{source} {self.fault}", hint=hint if user else _SET_HOME)


def expand_home(text: str, source: str, env: Mapping[str, str] | None = None) -> Path:
    """Return `text` as a path, with a `~` or `~user` at its start expanded.

    `source` names the variable, option or config key of the path, for the error. The home folder is that of `env`, else the
    process's.

    Raises:
        UnknownHome: `no-home`.
    """
    path = Path(text)
    if not text.startswith("~"):
        return path  # `Path` turns `./~name` into `~name`, so the text is tested
    if path.parts[0] == "~" and (home := _other_home(env)) is not None:
        return home.joinpath(*path.parts[1:])
    try:
        return path.expanduser()
    except RuntimeError:  # its message does not name the user
        raise UnknownHome(source, path.parts[0].removeprefix("~")) from None


def no_home(why: str) -> ConfigError:
    """Return the error for a user without a home folder."""
    return NoHome("Portico does not know where its files are.", why=why, hint=_SET_HOME)


def make_folder(folder: Path) -> Path:
    """Create `folder` and its missing parents with mode 0700 (XDG Base Directory Specification). Return `folder`.

    Folders that exist keep their mode.

    Raises:
        OSError: a folder cannot be created.
    """
    # `parents=True` would give the parents the umask's mode, and one of them is often the state folder.
    for parent in reversed([parent for parent in folder.parents if not parent.exists()]):
        parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder


def make_private_folder(folder: Path) -> Path:
    """Create `folder` as `make_folder` does, and reduce its mode to 0700 unless it is shared like `/tmp`. Return `folder`.

    Raises:
        OSError: a folder cannot be created or changed.
    """
    make_folder(folder)
    if os.name == "posix" and (mode := folder.stat().st_mode) & 0o077 and not mode & stat.S_ISVTX:
        folder.chmod(FOLDER_MODE)
    return folder


def _state_id(state: Path, env: Mapping[str, str]) -> str:
    folder = _real_path(state)
    if folder == _real_path(_standard_state(env)):
        return ""
    import hashlib  # costs milliseconds, but not for the default folder

    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]


def _real_path(path: Path) -> str:
    # Every spelling of a folder has the same id, so that a sign-out finds all records of the folder.
    return os.path.normcase(os.path.realpath(path))


def _standard_state(env: Mapping[str, str]) -> Path:
    """Return the default state folder without XDG_STATE_HOME, which may differ between shells of one user."""
    if os.name == "nt":
        return _default_state(env)
    home = _other_home(env) or Path(os.path.expanduser("~"))  # noqa: PTH111 - Path's own raises if the home folder is unknown
    return home / _below_home(".local/state") / _APP


def _default_state(env: Mapping[str, str]) -> Path:
    from platformdirs import user_state_path

    return _other_folder(env, "XDG_STATE_HOME", ".local/state") or user_state_path(_APP, appauthor=False)


def _default_config(env: Mapping[str, str]) -> Path:
    from platformdirs import user_config_path

    folder = _other_folder(env, "XDG_CONFIG_HOME", ".config") or user_config_path(_APP, appauthor=False)
    return folder / "portico.json5"


def _other_home(env: Mapping[str, str] | None) -> Path | None:
    """Return the home folder in `env`, or None if it is the process's own."""
    home = None if env is None or os.name == "nt" else env.get("HOME")
    return Path(home) if home and home != os.environ.get("HOME") else None


def _other_folder(env: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """Return the folder by `variable` or `HOME` in `env`; None if both are as in the process, where platformdirs reads them."""
    chosen = env.get(variable, "").strip()
    if chosen and chosen != os.environ.get(variable, "").strip():
        return Path(chosen) / _APP
    home = _other_home(env)
    return home / _below_home(below_home) / _APP if home is not None and not chosen else None


def _below_home(folder: str) -> str:
    return "Library/Application Support" if sys.platform == "darwin" else folder


def hashed_name(name: str | Path) -> str:
    """Return a file name for `name`, which may have any characters: 16 hexadecimal digits."""
    import hashlib

    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
