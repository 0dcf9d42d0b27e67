"""Where a running emulator notes how to reach it, for the commands of another terminal."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from portico.errors import UsageError
from portico.paths import EMULATOR_ENV
from portico.util.files import read_private, remove_private, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from portico.emulation.run import EmulationInfo
    from portico.interfaces.plugin_parts import Emulator

_CODE: Final = "{code}"
_CONNECT_TIMEOUT_S: Final = 2.0


class EmulatorNotRunning(UsageError):
    """No emulator answers where one was noted, or none was noted."""

    id = "emulator-not-running"


@dataclass(frozen=True, slots=True)
class EmulatorState:
    """`env` leads a command to the emulator; `approvals` are the addresses of its approval pages, for any code."""

    proxy_url: str
    env: Mapping[str, str]
    approvals: Sequence[str]

    def approval_urls(self, user_code: str) -> list[str]:
        """The pages that may know `user_code`."""
        return [page.replace(_CODE, quote(user_code.strip(), safe="")) for page in self.approvals]


def make_state(info: EmulationInfo, emulators: Sequence[Emulator], home: Path) -> EmulatorState:
    """What to note of a running emulation. `home` is the state folder that the note lies in.

    It goes into the environment too: a shell that was pointed here has another state folder, one that ends with the emulator.
    """
    env = {**info.env, EMULATOR_ENV: str(home)}
    return EmulatorState(info.proxy_url, env, [emulator.approval_url(_CODE) for emulator in emulators])


def write_state(state: EmulatorState, file: Path) -> None:
    """Note `state` in `file`.

    Raises:
        StoreError: it cannot be written.
    """
    write_private(file, json.dumps(asdict(state), indent=2).encode(), durable=False)


def remove_state(file: Path) -> None:
    """Remove the note again."""
    remove_private(file)


def read_state(file: Path) -> EmulatorState:
    """The emulator noted in `file`, if it still answers.

    Raises:
        EmulatorNotRunning: `emulator-not-running`.
        StoreError: the file cannot be read.
    """
    data = read_private(file)
    try:
        fields = json.loads(data) if data is not None else None
        state = EmulatorState(fields["proxy_url"], fields["env"], fields["approvals"]) if fields else None
    except (ValueError, KeyError, TypeError):
        state = None
    if state is None or not _is_reachable(state.proxy_url):
        raise EmulatorNotRunning("No emulator is running.", hint="Start one: `{prog} emulator run`.")
    return state


def _is_reachable(proxy_url: str) -> bool:
    parts = urlsplit(proxy_url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
