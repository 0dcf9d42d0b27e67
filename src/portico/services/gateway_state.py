"""The note that a running gateway leaves of itself, and how it proves that the note is true.

A process id alone says nothing: after a crash another program may have it, and a third one the port. So a gateway counts as
running when the noted process holds the gateway's lock and what listens on the noted port proves that it knows the noted key.

What `/health` tells anybody, anybody can tell again once the gateway is dead and its port is free. So the client sends a number
of its own, and believes only an answer made with the key in the gateway's private note.
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
_LONGEST_ANSWER: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One gateway process. `started_at` is wall ms; `instance` is random and told to anybody; `key` to nobody.

    `opens_sealed`: it was given the sealed file store's passphrase, and has it until it ends. `version`: the Portico that it
    runs; None if that did not note its version yet, and so does not know `ending.HAND_OVER` either.
    """

    pid: int
    port: int
    started_at: int
    instance: str
    key: Secret
    opens_sealed: bool = False
    version: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def as_json(self) -> dict[str, object]:
        """What anybody may know of it."""
        return {"pid": self.pid, "port": self.port, "startedAt": self.started_at, "instance": self.instance}


def gateway_lock(paths: Paths) -> FileLock:
    """Held by a gateway for as long as it lives: at most one for each state folder."""
    return FileLock(paths.locks / "gateway.lock", what="the gateway")


def write_state(paths: Paths, state: GatewayState) -> None:
    """Leave the note.

    Raises:
        StoreError: it cannot be written.
    """
    note = {**state.as_json(), "key": state.key.reveal(), "opensSealed": state.opens_sealed, "version": state.version}
    write_private(paths.gateway, json.dumps(note).encode(), durable=False)


def read_state(paths: Paths) -> GatewayState | None:
    """What the note says, whether it is true or not; None where there is none that can be understood.

    Raises:
        StoreError: it cannot be read.
    """
    data = read_private(paths.gateway)
    return _parse(data) if data is not None else None


def remove_state(paths: Paths, state: GatewayState | None = None) -> None:
    """Take the note away; with `state`, only if it is that one's.

    Raises:
        StoreError: it is there and stays.
    """
    if state is None or read_state(paths) == state:
        remove_private(paths.gateway)


def running(paths: Paths) -> GatewayState | None:
    """The gateway of this state folder, if it is there and answers.

    Raises:
        StoreError: the state file cannot be read.
    """
    state = read_state(paths)
    return state if state is not None and holds_lock(paths, state) and _answers(state) else None


def status(paths: Paths) -> tuple[Condition, GatewayState | None]:
    """`running` with its state, `stopped`, or `unresponsive`: a process is there and does not answer (yet).

    Raises:
        StoreError: the state file cannot be read.
    """
    state = running(paths)
    if state is not None:
        return "running", state
    return ("unresponsive" if gateway_lock(paths).is_locked() else "stopped"), None


def holds_lock(paths: Paths, state: GatewayState) -> bool:
    """Whether the noted process is a gateway now, answering or not: the system takes the lock from one that has died."""
    return gateway_lock(paths).holder() == state.pid


def _answers(state: GatewayState) -> bool:
    """Whether the noted gateway answers on its port. Asked directly, whatever proxies the environment names."""
    from http.client import HTTPException, HTTPResponse

    challenge = new_challenge()
    request = f"GET /health?challenge={challenge} HTTP/1.1\r\nHost: 127.0.0.1:{state.port}\r\nConnection: close\r\n\r\n"
    received = _exchanged(state.port, request.encode())
    if received is None:
        return False
    try:
        reply = HTTPResponse(_Received(received))  # type: ignore[arg-type]  # it only asks for a file
        reply.begin()
        body = reply.read(_LONGEST_ANSWER)
    except (OSError, ValueError, HTTPException):
        return False
    if reply.length:
        return False  # the body broke off, which `read` with a limit does not report, or is too long to be a gateway's
    return reply.status == _HTTP_OK and is_proof(state.key, challenge, _proof_in(body))


def _exchanged(port: int, request: bytes) -> bytes | None:
    """All that comes back until the connection ends; None if that does not end in time: another user may have the port."""
    deadline, received = time.monotonic() + _PROBE_S, bytearray()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PROBE_S) as connection:
            connection.sendall(request)
            while len(received) <= 2 * _LONGEST_ANSWER:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = connection.recv(_LONGEST_ANSWER)
                if not chunk:
                    return bytes(received)
                received += chunk
                if time.monotonic() > deadline:
                    return None
    except OSError:
        return None
    return None


class _Received:
    """What `HTTPResponse` reads from in a socket's place."""

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
    noted = version if isinstance(version, str) else None
    return GatewayState(pid, port, at, instance, Secret(key), fields.get("opensSealed") is True, noted)


_BYTES: Final = 32
# What is signed says what for, so that no other use of the key can be made to sign an answer.
_PURPOSE: Final = b"portico gateway health\0"
_CHALLENGE: Final = re.compile(r"[0-9a-f]{64}")


def new_key() -> Secret:
    """A key for one gateway process: 256 random bits."""
    return Secret(secrets.token_hex(_BYTES))


def new_challenge() -> str:
    """A number that is asked once: 256 random bits, in hexadecimal digits."""
    return secrets.token_hex(_BYTES)


def is_challenge(text: str) -> bool:
    """Whether `text` is of the form that gets an answer."""
    return _CHALLENGE.fullmatch(text) is not None


def prove(key: Secret, challenge: str) -> str:
    """The answer to `challenge` that only a holder of `key` can give: HMAC-SHA-256 (RFC 2104), in hexadecimal digits."""
    return hmac.new(key.reveal().encode(), _PURPOSE + challenge.encode(), "sha256").hexdigest()


def is_proof(key: Secret, challenge: str, proof: object) -> bool:
    """Whether `proof` answers `challenge`; compared in constant time."""
    return isinstance(proof, str) and hmac.compare_digest(prove(key, challenge).encode(), proof.encode(errors="replace"))
