"""The state file of a running gateway, and the proof that the gateway on the port wrote it.

After a crash, another program may have the process id, and a third program may have the port. So a gateway counts as running
only if the process in the state file holds the gateway's lock, and the program on the port proves that it knows the key in the
state file.

Any program could repeat an old response of `/health` on the port of a dead gateway. So the client sends a random challenge, and
accepts only a response made with the key in the private state file.

All functions raise a StoreError if they cannot read, write or delete the state file.
"""

from __future__ import annotations

import hmac
import io
import json
import re
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.secret import Secret
from portico.util.files import read_private, remove_private, write_private
from portico.util.lock import FileLock

if TYPE_CHECKING:
    from portico.paths import Paths

Condition = Literal["running", "stopped", "unresponsive"]

_PROBE_S: Final = 2.0
_HTTP_OK: Final = 200
_MAX_RESPONSE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One gateway process.

        `started_at` is in ms since the epoch. `instance` is random and public; `key` is private. `opens_encrypted_file`: the
    process has the passphrase of the encrypted file. `version` is the version of Portico that runs. It is None for an old
    version, which did not write this field and cannot handle `shutdown.HAND_OVER`.
    """

    pid: int
    port: int
    started_at: int
    instance: str
    key: Secret
    opens_encrypted_file: bool = False
    version: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def as_json(self) -> dict[str, object]:
        """Return the public fields."""
        return {"pid": self.pid, "port": self.port, "startedAt": self.started_at, "instance": self.instance}


def gateway_lock(paths: Paths) -> FileLock:
    """Return the lock that allows only one gateway process for each state folder."""
    return FileLock(paths.locks / "gateway.lock", what="the gateway")


def write_state(paths: Paths, state: GatewayState) -> None:
    """Write the state file."""
    fields = {"key": state.key.reveal(), "opensSealed": state.opens_encrypted_file, "version": state.version}
    write_private(paths.gateway, json.dumps({**state.as_json(), **fields}).encode(), durable=False)


def read_state(paths: Paths) -> GatewayState | None:
    """Read the state file without checking the gateway; None if the file is missing or invalid."""
    data = read_private(paths.gateway)
    return _parse(data) if data is not None else None


def remove_state(paths: Paths, state: GatewayState | None = None) -> None:
    """Delete the state file; with `state`, only if the file contains this state."""
    if state is None or read_state(paths) == state:
        remove_private(paths.gateway)


def running(paths: Paths) -> GatewayState | None:
    """Return the gateway of this state folder, if it runs and answers."""
    state = read_state(paths)
    return state if state is not None and holds_lock(paths, state) and _answers(state) else None


def status(paths: Paths) -> tuple[Condition, GatewayState | None]:
    """Return `running` with the gateway's state, `stopped`, or `unresponsive` for a process that does not answer (yet)."""
    if (state := running(paths)) is not None:
        return "running", state
    return ("unresponsive" if gateway_lock(paths).is_locked() else "stopped"), None


def holds_lock(paths: Paths, state: GatewayState) -> bool:
    """Whether the process in `state` is a gateway now. The operating system releases the lock of a dead process."""
    return gateway_lock(paths).owner_pid() == state.pid


def _answers(state: GatewayState) -> bool:
    """Whether the gateway answers on its port. Connects directly, ignoring proxy variables."""
    from http.client import HTTPException, HTTPResponse

    challenge = new_challenge()
    request = f"GET /health?challenge={challenge} HTTP/1.1\r\nHost: 127.0.0.1:{state.port}\r\nConnection: close\r\n\r\n"
    received = _exchange(state.port, request.encode())
    if received is None:
        return False
    try:
        response = HTTPResponse(_Received(received))  # type: ignore[arg-type]  # only `makefile` is called
        response.begin()
        body = response.read(_MAX_RESPONSE_BYTES)
    except (OSError, ValueError, HTTPException):
        return False
    if response.length:
        return False  # the body is incomplete (`read` with a limit does not report this) or too long for a gateway
    return response.status == _HTTP_OK and is_proof(state.key, challenge, _proof_in(body))


def _exchange(port: int, request: bytes) -> bytes | None:
    """Send a request and return all bytes of the response; None if the response does not end in time."""
    deadline, received = time.monotonic() + _PROBE_S, bytearray()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PROBE_S) as connection:
            connection.sendall(request)
            while len(received) <= 2 * _MAX_RESPONSE_BYTES:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = connection.recv(_MAX_RESPONSE_BYTES)
                if not chunk:
                    return bytes(received)
                received += chunk
                if time.monotonic() > deadline:
                    return None
    except OSError:
        return None
    return None


class _Received:
    """Replaces a socket for `HTTPResponse`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _proof_in(body: bytes) -> object:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields.get("proof") if isinstance(fields, dict) else None


def _parse(data: bytes) -> GatewayState | None:
    try:
        fields = json.loads(data)
        pid, port, at, instance, key = (fields[name] for name in ("pid", "port", "startedAt", "instance", "key"))
    except (ValueError, LookupError, TypeError):
        return None
    if not (all(type(number) is int for number in (pid, port, at)) and 0 < port < 1 << 16 and pid > 0):
        return None
    if not (isinstance(instance, str) and isinstance(key, str) and key):
        return None
    version = fields.get("version")
    opens_encrypted_file = fields.get("opensSealed") is True
    return GatewayState(pid, port, at, instance, Secret(key), opens_encrypted_file, version if isinstance(version, str) else None)


_BYTES: Final = 32
# The signed text includes this purpose, so that no other use of the key can produce a proof.
_PURPOSE: Final = b"portico gateway health\0"
_CHALLENGE: Final = re.compile(r"[0-9a-f]{64}")


def new_key() -> Secret:
    """Return a key for one gateway process: 256 random bits."""
    return Secret(secrets.token_hex(_BYTES))


def new_challenge() -> str:
    """Return a challenge for one use: 256 random bits, in hexadecimal digits."""
    return secrets.token_hex(_BYTES)


def is_challenge(text: str) -> bool:
    """Whether `text` has the form of a challenge."""
    return _CHALLENGE.fullmatch(text) is not None


def prove(key: Secret, challenge: str) -> str:
    """Return the proof for `challenge` by `key`: HMAC-SHA-256 (RFC 2104), in hexadecimal digits."""
    return hmac.new(key.reveal().encode(), _PURPOSE + challenge.encode(), "sha256").hexdigest()


def is_proof(key: Secret, challenge: str, proof: object) -> bool:
    """Whether `proof` is right for `challenge`. Compares in constant time."""
    return isinstance(proof, str) and hmac.compare_digest(prove(key, challenge).encode(), proof.encode(errors="replace"))
