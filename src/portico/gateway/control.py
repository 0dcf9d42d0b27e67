"""Start, find, restart and stop the gateway of a state folder.

A background gateway keeps running after the command and the terminal have ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, LockBusy
from portico.gateway.metrics import LIMIT, open_log
from portico.gateway.shutdown import HAND_OVER, PinnedProcess, has_open
from portico.paths import CONFIG_ENV, PACKAGE, STATE_ENV
from portico.services.gateway_state import GatewayState, gateway_lock, read_state, remove_state, running, status
from portico.util.children import import_folders, portico_command, portico_environment
from portico.util.files import read_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.paths import Paths
    from portico.secret import Secret
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.records import StoreName
    from portico.util.lock import FileLock

TERM_S: Final = 5.0
"""A gateway may take this many seconds to end after SIGTERM. It forces its own end a little earlier (`shutdown.LONGEST_S`)."""
_AFTER_KILL_S: Final = 5.0
_KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows SIGTERM ends a process at once
_LOOK_EVERY_S: Final = 0.02
# Seconds from the release of the lock to the end of the process.
_REAP_S: Final = 1.0


class GatewayUnresponsive(LockBusy):
    """The process that holds the gateway's lock does not respond or does not end."""

    id = "gateway-unresponsive"


class GatewayFailed(ConfigError):
    """The gateway was started and then ended, or it does not respond."""

    id = "gateway-failed"


@dataclass(frozen=True, slots=True)
class StoppedGateway:
    """A gateway that was stopped. `state` is from its state file (None: no file). `killed`: it was ended by SIGKILL."""

    pid: int
    state: GatewayState | None
    killed: bool = False


def start(
    paths: Paths,
    *,
    port: int,
    passphrase: PassphraseSource | None = None,
    env: Mapping[str, str] | None = None,
    store: StoreName | None = None,
) -> GatewayState:
    """Start a gateway in the background and return once it responds. `passphrase` is used only for the encrypted file store.

    `store` is the store that the config selects for new profiles.

    Raises:
        LockBusy: `gateway-running`.
        ConfigError: `port-taken`, `gateway-failed`.
        StoreError: the file store's passphrase is not available, or the state folder cannot be used.
    """
    env = os.environ if env is None else env
    return _start(paths, port, passphrase_for(paths, passphrase, env, store), env)


def stop(paths: Paths) -> StoppedGateway | None:
    """Stop the gateway: SIGTERM, then SIGKILL if it has not ended after `TERM_S` seconds. Return None if no gateway is running.

    A gateway proves its process id by its response to a challenge. If it cannot respond (it hangs, or all its connections are
    in use), the id is read from the lock file. On systems that show a process's open files, the process must also have the lock
    file open. A stale state file is removed.

    Raises:
        LockBusy: `gateway-unresponsive`: the process may not be a gateway, belongs to another user, or did not end after
            SIGKILL.
        StoreError: the state file cannot be read.
    """
    state = running(paths)
    pid = state.pid if state is not None else gateway_lock(paths).owner_pid()
    if pid is None:
        if gateway_lock(paths).is_locked():
            raise _unresponsive(paths)
        remove_state(paths)
        return None
    killed = _end(paths, pid, proven=state is not None)
    _reap(pid)
    last_state = state or read_state(paths)
    remove_state(paths, last_state)
    return StoppedGateway(pid, last_state if last_state is not None and last_state.pid == pid else None, killed)


def _end(paths: Paths, pid: int, *, proven: bool) -> bool:
    """End process `pid`, which holds the lock. Return True if it was killed. `proven`: it has responded to the challenge."""
    lock = gateway_lock(paths)

    def is_ours() -> bool:
        has_lock_open = has_open(pid, lock.path)
        return lock.owner_pid() == pid and (proven if has_lock_open is None else has_lock_open)

    try:
        with contextlib.closing(PinnedProcess(pid, is_ours)) as process:
            if not process.send(signal.SIGTERM):
                if lock.owner_pid() is None:
                    return False  # it has just ended
                raise _unresponsive(paths)
            if _releases_lock(lock, pid, TERM_S):
                return False
            killed = process.send(_KILL)
            if not _releases_lock(lock, pid, _AFTER_KILL_S):
                raise _still_running(pid, "it still runs after SIGKILL: it waits for a device or a network folder")
            return killed
    except ProcessLookupError:
        return False
    except PermissionError:
        raise _still_running(pid, "it belongs to another user") from None


def _releases_lock(lock: FileLock, pid: int, longest_s: float) -> bool:
    """Whether process `pid` releases the lock within `longest_s` seconds."""
    deadline = time.monotonic() + longest_s
    while lock.owner_pid() == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _still_running(pid: int, why: str) -> LockBusy:
    return GatewayUnresponsive(f"the gateway (pid {pid}) did not end", why=why)


def restart(
    paths: Paths,
    *,
    port: int,
    passphrase: PassphraseSource | None = None,
    env: Mapping[str, str] | None = None,
    store: StoreName | None = None,
) -> tuple[StoppedGateway, GatewayState] | None:
    """Replace the running gateway and return (old, new). If no gateway is running, start nothing and return None.

    The old gateway closes its port and finishes its streams while the new gateway runs, for ten minutes at most. An old gateway
    that cannot do this (it hangs, has an older version, or runs on Windows) is stopped.

    Raises: as `stop` and `start` do.
    """
    env = os.environ if env is None else env
    if status(paths)[0] == "stopped":
        stop(paths)
        return None
    secret = passphrase_for(paths, passphrase, env, store)
    old = hand_over(paths, TERM_S) or stop(paths)
    return None if old is None else (old, _start(paths, port, secret, env))


def hand_over(paths: Paths, longest_s: float) -> StoppedGateway | None:
    """Ask the gateway to release port and lock, and wait up to `longest_s` seconds. Return None if it does not release them.

    Raises:
        StoreError: the state file cannot be read.
        LockBusy: `gateway-unresponsive`: it belongs to another user.
    """
    state = running(paths)
    if HAND_OVER is None or state is None or state.version is None:
        return None
    lock = gateway_lock(paths)
    try:
        with contextlib.closing(PinnedProcess(state.pid, lambda: lock.owner_pid() == state.pid)) as process:
            released = process.send(HAND_OVER) and _releases_lock(lock, state.pid, longest_s)
        _reap(state.pid)
    except ProcessLookupError:
        return None
    except PermissionError:
        raise _still_running(state.pid, "it belongs to another user") from None
    return StoppedGateway(state.pid, state) if released else None


def wait_until_running(paths: Paths, longest_s: float) -> GatewayState:
    """Wait up to `longest_s` seconds for the first response of a gateway that a service manager starts.

    Raises:
        ConfigError: `gateway-failed`.
    """
    deadline = time.monotonic() + longest_s
    while (state := running(paths)) is None:
        if time.monotonic() > deadline:
            why = f"it did not answer within {longest_s:g} s"
            raise GatewayFailed(f"the gateway did not start: {why}", hint="see {prog} gateway logs")
        time.sleep(_LOOK_EVERY_S)
    return state


def passphrase_for(
    paths: Paths, source: PassphraseSource | None, env: Mapping[str, str], store: StoreName | None = None
) -> Secret | None:
    """The passphrase for the encrypted file store; None if `uses_encrypted_file` is false.

    Raises:
        StoreError: no passphrase is available.
    """
    from portico.store.encrypted_file import PassphraseSource as Source

    return (source or Source(env)).get() if uses_encrypted_file(paths, store) else None


def lacks_passphrase(paths: Paths, state: GatewayState) -> bool:
    """Whether the encrypted file store is in use, but this gateway was started without its passphrase."""
    return not state.opens_encrypted_file and uses_encrypted_file(paths)


def uses_encrypted_file(paths: Paths, store: StoreName | None = None) -> bool:
    """Whether a profile is in the encrypted file store, or the next new profile will be. `store`: the config's store."""
    from portico.store.token_store import local_token_store

    token_store = local_token_store(paths)
    return (store or token_store.last_store) == "file" or any(profile.store == "file" for profile in token_store.profiles())


def _start(paths: Paths, port: int, secret: Secret | None, env: Mapping[str, str]) -> GatewayState:
    from portico.gateway.port import bind_port
    from portico.gateway.server import already_running

    if gateway_lock(paths).is_locked():  # by a live process: the system releases the lock of a dead process
        raise already_running(paths)
    # Checked here too, so that the error appears in this terminal and not only in the log.
    bind_port(port).close()
    return spawn(paths, port, env=env, passphrase=secret)


def _reap(pid: int) -> None:
    """Wait for the end of `pid` if it is a child process. The process may still wait for the response to a refresh."""
    deadline = time.monotonic() + _REAP_S
    if sys.platform != "win32":
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(_LOOK_EVERY_S)


def _unresponsive(paths: Paths) -> LockBusy:
    pid = gateway_lock(paths).owner_pid()
    process = "that process" if pid is None else f"process {pid}"
    return GatewayUnresponsive(
        f"the process that holds the gateway's lock (pid {pid or 'unknown'}) does not respond",
        why="it may not be a gateway, so Portico did not end it",
        hint=f"look at {paths.gateway_log}, end {process} yourself, and run the command again",
    )


READY_S: Final = 20.0
_READY_EVERY_S: Final = 0.05
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def spawn(paths: Paths, port: int, *, env: Mapping[str, str], passphrase: Secret | None) -> GatewayState:
    """Start a gateway and return once it responds.

    The passphrase is sent through a pipe, because other processes can read arguments and environment.

    Raises:
        ConfigError: `gateway-failed`: it ended, or did not respond in time; the reason is in its log.
        StoreError: the log cannot be opened.
    """
    command = gateway_command(port)
    if passphrase is not None:
        command.append("--passphrase-stdin")
    log = open_log(paths.gateway_log)
    try:
        log_start = os.fstat(log).st_size
        stdin = subprocess.PIPE if passphrase is not None else subprocess.DEVNULL
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log,
            stderr=log,
            env=_without_notify_socket(gateway_environment(paths, env)),
            cwd=paths.state,
            **_detached(),
        )
    finally:
        os.close(log)
    if passphrase is not None and child.stdin is not None:
        try:
            child.stdin.write(passphrase.reveal().encode() + b"\n")
            child.stdin.close()
        except BrokenPipeError:
            pass  # the child has ended, and its log says why
    return _when_ready(paths, child, log_start)


def _when_ready(paths: Paths, child: subprocess.Popen[bytes], log_start: int) -> GatewayState:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        has_ended = child.poll() is not None
        state = running(paths)
        # On Windows the python.exe of a virtual environment is a launcher: the gateway is its child process.
        if state is not None and (state.pid == child.pid or sys.platform == "win32"):
            child.returncode = 0  # prevents a ResourceWarning: the child keeps running
            return state
        if has_ended:
            raise _failed(paths, f"it ended with exit code {child.returncode}", log_start)
        time.sleep(_READY_EVERY_S)
    child.kill()
    child.wait()
    raise _failed(paths, f"it did not answer within {READY_S:g} s", log_start)


def _failed(paths: Paths, what: str, log_start: int) -> ConfigError:
    lines = read_start(paths.gateway_log, LIMIT, offset=log_start).decode(errors="replace").split("\n")
    log_text = " / ".join(line.strip() for line in lines if line.strip())[-400:]
    hint = f"see {paths.gateway_log}, or run it in the foreground: {{prog}} gateway run"
    return GatewayFailed(f"the gateway did not start: {what}", why=log_text or None, hint=hint)


def gateway_command(port: int) -> list[str]:
    """The command line of a gateway process."""
    return portico_command("gateway", "run", "--port", str(port))


def gateway_environment(paths: Paths, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a gateway process: without the passphrase, and with `same_installation`."""
    return {**portico_environment(env), **same_installation(paths, env)}


def _without_notify_socket(env: dict[str, str]) -> dict[str, str]:
    """Return `env` without the socket of a service manager (sd_notify(3)), which waits for the parent process only."""
    return {name: value for name, value in env.items() if name != "NOTIFY_SOCKET"}


def same_installation(paths: Paths, env: Mapping[str, str]) -> dict[str, str]:
    """The variables with which a process uses this installation, config and state from any working folder."""
    python_path = import_folders(env)
    source = PACKAGE.absolute().parent
    if not _INSTALLED & set(source.parts):
        python_path.append(str(source))
    own = {CONFIG_ENV: str(paths.config), STATE_ENV: str(paths.state)}
    return {**own, **({"PYTHONPATH": os.pathsep.join(dict.fromkeys(python_path))} if python_path else {})}


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
        return {"creationflags": flags}
    return {"start_new_session": True}
