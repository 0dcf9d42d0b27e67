"""Start, find and stop the gateway of a state folder. Each command says what is so, not what was meant.

A gateway in the background is a process of its own, which outlives the command and the terminal.
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
from portico.gateway.ending import GIVE_WAY, Pinned, has_open
from portico.gateway.metrics import LIMIT, open_log
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
"""Seconds that a gateway has to end after SIGTERM; it ends itself by force a little earlier (`ending.LONGEST_S`)."""
_AFTER_KILL_S: Final = 5.0
_KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows SIGTERM ends a process at once
_LOOK_EVERY_S: Final = 0.02
# Seconds from a process's letting go of the lock to its end.
_REAP_S: Final = 1.0


class GatewayUnresponsive(LockBusy):
    """A gateway's process holds the lock and does not answer, or does not end."""

    id = "gateway-unresponsive"


class GatewayFailed(ConfigError):
    """The gateway was started and has ended, or does not answer."""

    id = "gateway-failed"


@dataclass(frozen=True, slots=True)
class Ended:
    """A gateway that was ended. `state`: its note, None where it had not written one yet. `killed`: SIGTERM was not enough."""

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
    """Start a gateway in the background and return once it answers. `passphrase` is asked only if the file store is in use.

    `store` is the one that the config chooses for what is new.

    Raises:
        LockBusy: `gateway-running`.
        ConfigError: `port-taken`, `gateway-failed`.
        StoreError: the file store's passphrase cannot be had, or the state folder cannot be used.
    """
    env = os.environ if env is None else env
    secret = passphrase_for(paths, passphrase, env, store)
    return _start(paths, port, secret, env)


def stop(paths: Paths) -> Ended | None:
    """End the gateway: SIGTERM, and SIGKILL if it has not ended `TERM_S` seconds later; None where none is running.

    The process is the one that has answered the challenge. Of one that cannot answer (it hangs, or all its connections are taken)
    the lock tells which it is, and where the system shows it, that it has the lock's file open. A stale state file is removed.

    Raises:
        LockBusy: `gateway-unresponsive`: it does not answer, and cannot be told for certain from another program; or it is
            another user's, or stays after SIGKILL.
        StoreError: the state file cannot be read.
    """
    state = running(paths)
    pid = state.pid if state is not None else gateway_lock(paths).holder()
    if pid is None:
        if _held(paths):
            raise _unresponsive(paths)
        remove_state(paths)
        return None
    killed = _end(paths, pid, proven=state is not None)
    _reap(pid)
    noted = state or read_state(paths)
    remove_state(paths, noted)
    return Ended(pid, noted if noted is not None and noted.pid == pid else None, killed)


def _end(paths: Paths, pid: int, *, proven: bool) -> bool:
    """End process `pid`, the holder of the lock; whether it had to be killed."""
    lock = gateway_lock(paths)

    def is_ours() -> bool:
        shown = has_open(pid, lock.path)
        return lock.holder() == pid and (proven if shown is None else shown)

    try:
        with contextlib.closing(Pinned(pid, is_ours)) as process:
            if not process.send(signal.SIGTERM):
                if lock.holder() is None:
                    return False  # it has ended meanwhile
                raise _unresponsive(paths)
            if _gone(lock, pid, TERM_S):
                return False
            killed = process.send(_KILL)
            if not _gone(lock, pid, _AFTER_KILL_S):
                raise _stays(pid, "it is still there after SIGKILL: the system waits for a device or a network folder for it")
            return killed
    except ProcessLookupError:
        return False
    except PermissionError:
        raise _stays(pid, "it belongs to another user") from None


def _gone(lock: FileLock, pid: int, longest_s: float) -> bool:
    """Whether process `pid` does not hold the lock any more, within `longest_s` seconds."""
    deadline = time.monotonic() + longest_s
    while lock.holder() == pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _stays(pid: int, why: str) -> LockBusy:
    return GatewayUnresponsive(f"the gateway (pid {pid}) was asked to end and has not", why=why)


def restart(
    paths: Paths,
    *,
    port: int,
    passphrase: PassphraseSource | None = None,
    env: Mapping[str, str] | None = None,
    store: StoreName | None = None,
) -> tuple[Ended, GatewayState] | None:
    """Start another gateway in the running one's place; (old, new), or None where none was running: then nothing is started.

    The old one closes its port, and finishes its streams beside the new one, for ten minutes at most. One that cannot do that (it
    hangs, is of an earlier version, or runs on Windows) is stopped.

    Raises: as `stop` and `start` do.
    """
    env = os.environ if env is None else env
    if status(paths)[0] == "stopped":
        stop(paths)
        return None
    secret = passphrase_for(paths, passphrase, env, store)
    old = give_way(paths, TERM_S) or stop(paths)
    return None if old is None else (old, _start(paths, port, secret, env))


def give_way(paths: Paths, longest_s: float) -> Ended | None:
    """Ask the gateway to let another take its place, and wait until it is the gateway no more; None where it does not do that.

    `longest_s` is how long it is waited for, in seconds.

    Raises:
        StoreError: the state file cannot be read.
        LockBusy: `gateway-unresponsive`: it is another user's.
    """
    state = running(paths)
    if GIVE_WAY is None or state is None or state.version is None:
        return None
    lock = gateway_lock(paths)
    try:
        with contextlib.closing(Pinned(state.pid, lambda: lock.holder() == state.pid)) as process:
            gave_way = process.send(GIVE_WAY) and _gone(lock, state.pid, longest_s)
        _reap(state.pid)
    except ProcessLookupError:
        return None
    except PermissionError:
        raise _stays(state.pid, "it belongs to another user") from None
    return Ended(state.pid, state) if gave_way else None


def wait_until_running(paths: Paths, longest_s: float) -> GatewayState:
    """The gateway that a service manager has started, once it answers, within `longest_s` seconds.

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
    """What a gateway needs to open the store; None if `uses_encrypted_file` is false.

    Raises:
        StoreError: it is needed and cannot be had.
    """
    from portico.store.encrypted_file import PassphraseSource as Source

    return (source or Source(env)).get() if uses_encrypted_file(paths, store) else None


def lacks_passphrase(paths: Paths, state: GatewayState) -> bool:
    """Whether a sign-in is in the sealed file that this gateway cannot open: it was put there after the gateway started."""
    return not state.opens_sealed and uses_encrypted_file(paths)


def uses_encrypted_file(paths: Paths, store: StoreName | None = None) -> bool:
    """Whether a sign-in is in the sealed file store, or the next one would be; `store` is the one that the config chooses."""
    from portico.store.token_store import local_token_store

    kept = local_token_store(paths)
    return (store or kept.last_store) == "file" or any(profile.store == "file" for profile in kept.profiles())


def _start(paths: Paths, port: int, secret: Secret | None, env: Mapping[str, str]) -> GatewayState:
    from portico.gateway.port import bound
    from portico.gateway.server import already_running

    if _held(paths):
        raise already_running(paths)
    # Asked here too, since an error in this terminal is worth more than one in the log.
    bound(port).close()
    return spawn(paths, port, env=env, passphrase=secret)


def _held(paths: Paths) -> bool:
    """Whether a gateway process is there, answering or not: the system takes the lock from one that has died."""
    return gateway_lock(paths).is_locked()


def _reap(pid: int) -> None:
    """If it was a child of this process, let the system forget it; it may stay for the answer to a refresh."""
    deadline = time.monotonic() + _REAP_S
    if sys.platform != "win32":
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(_LOOK_EVERY_S)


def _unresponsive(paths: Paths) -> LockBusy:
    pid = gateway_lock(paths).holder()
    end = "the process that holds the lock" if pid is None else f"process {pid}"
    return GatewayUnresponsive(
        f"a gateway process is there (pid {pid or 'unknown'}) and does not answer",
        why="it cannot be told for certain from another program, so it was not ended",
        hint=f"look at {paths.gateway_log}, end {end} yourself, and run the command again",
    )


READY_S: Final = 20.0
_READY_EVERY_S: Final = 0.05
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def spawn(paths: Paths, port: int, *, env: Mapping[str, str], passphrase: Secret | None) -> GatewayState:
    """Start a gateway and return once it answers. The passphrase goes through a pipe: arguments and environments can be read.

    Raises:
        ConfigError: `gateway-failed`: it ended, or did not answer in time; the reason is in its log.
        StoreError: the log cannot be opened.
    """
    command = gateway_command(port)
    if passphrase is not None:
        command.append("--passphrase-stdin")
    log = open_log(paths.gateway_log)
    try:
        began = os.fstat(log).st_size
        stdin = subprocess.PIPE if passphrase is not None else subprocess.DEVNULL
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log,
            stderr=log,
            env=_its_own(gateway_environment(paths, env)),
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
            pass  # it has ended already, and its log says why
    return _when_ready(paths, child, began)


def _when_ready(paths: Paths, child: subprocess.Popen[bytes], log_began: int) -> GatewayState:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        ended = child.poll() is not None
        state = running(paths)
        # On Windows a virtual environment's python.exe is a launcher: the process that serves is its child.
        if state is not None and (state.pid == child.pid or sys.platform == "win32"):
            child.returncode = 0  # from here on nobody waits for it
            return state
        if ended:
            raise _failed(paths, f"it ended with exit code {child.returncode}", log_began)
        time.sleep(_READY_EVERY_S)
    child.kill()
    child.wait()
    raise _failed(paths, f"it did not answer within {READY_S:g} s", log_began)


def _failed(paths: Paths, what: str, log_began: int) -> ConfigError:
    lines = read_start(paths.gateway_log, LIMIT, offset=log_began).decode(errors="replace").split("\n")
    said = " / ".join(line.strip() for line in lines if line.strip())[-400:]
    hint = f"see {paths.gateway_log}, or run it in the foreground: {{prog}} gateway run"
    return GatewayFailed(f"the gateway did not start: {what}", why=said or None, hint=hint)


def gateway_command(port: int) -> list[str]:
    """What runs a gateway."""
    return portico_command("gateway", "run", "--port", str(port))


def gateway_environment(paths: Paths, env: Mapping[str, str]) -> dict[str, str]:
    """The environment without the passphrase, and with what makes the child the same installation from any folder."""
    return {**portico_environment(env), **same_installation(paths, env)}


def _its_own(env: dict[str, str]) -> dict[str, str]:
    """Without the way to a service manager that waits for its starter and not for this process (sd_notify(3))."""
    return {name: value for name, value in env.items() if name != "NOTIFY_SOCKET"}


def same_installation(paths: Paths, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that make a process this installation, with this configuration and state, from any folder."""
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
