"""A gateway and a key for as long as a tool runs: nothing is left of either, whatever became of the one before.

A gateway that ran already is used and left alone. One that was started for a tool is noted, and ended by the last tool that uses
it. Each key has a lock of its name, which goes with the process that waits for the tool: one that was left is taken back.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError
from portico.gateway.keys import name_for, tool_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from portico.cli.runtime import Runtime
    from portico.gateway.keys import GatewayKeys
    from portico.gateway.state import GatewayState
    from portico.secret import Secret
    from portico.util.lock import FileLock

_ANY_FREE: Final = 0
# Seconds: another tool's gateway is being started, or drained.
_LONGEST_S: Final = 90.0


@contextmanager
def gateway_for_a_tool(rt: Runtime, tool: str) -> Iterator[tuple[GatewayState, Secret]]:
    """A running gateway, and a key for `tool` that is refused afterwards.

    Raises:
        LockBusy, ConfigError, StoreError: the gateway cannot be started, or the key not stored.
    """
    from portico.cli.gateway_keys import gateway_keys

    keys = gateway_keys(rt)
    name = name_for(tool, os.getpid())
    waits = _lock_of(name, rt)
    with _one_at_a_time(rt):
        _take_back(keys, rt)
        waits.acquire()
        try:
            state = _running(rt)
            key = keys.add(name)
        except BaseException:
            _clear_away(keys, waits, rt)
            raise
    try:
        yield state, key
    finally:
        with _one_at_a_time(rt):
            _revoke(keys, name, rt)
            _clear_away(keys, waits, rt)


def _running(rt: Runtime) -> GatewayState:
    from portico.gateway import control
    from portico.gateway.state import running
    from portico.util.files import write_private

    present = running(rt.paths)
    if present is not None:
        return present
    with suppress(ConfigError):  # of a gateway of the tool's own more can be told
        kept = _start_kept(rt)
        if kept is not None:
            return kept
    state = control.start(rt.paths, port=_free_port(rt), passphrase=rt.passphrase, env=rt.env, store=rt.store_choice())
    write_private(_note(rt), state.instance.encode(), durable=False)
    return state


def _start_kept(rt: Runtime) -> GatewayState | None:
    """The installed gateway, if its manager keeps its port open: it is between two processes, and another one could not start.

    Raises:
        ConfigError: `service-failed`, `gateway-failed`: the port is not its manager's after all.
    """
    from portico.gateway.control import READY_S, wait_until_running
    from portico.gateway.port import PortTaken, bound
    from portico.gateway.service import kept_service

    port = rt.settings.config.gateway.port
    kept = kept_service(rt, port)
    if kept is None:
        return None
    try:
        bound(port).close()
    except PortTaken as taken:
        if taken.owner is None or taken.owner.is_other_user:
            return None
        manager, service = kept
        manager.start(service)
        return wait_until_running(rt.paths, READY_S)
    return None


def _free_port(rt: Runtime) -> int:
    """The gateway's own port, where tools with an address of their own find this gateway too; any other if that is taken."""
    from portico.gateway.port import PortTaken, bound, configured_port

    port = configured_port(rt)
    try:
        bound(port).close()
    except PortTaken:
        return _ANY_FREE
    return port


def keep_running(rt: Runtime, state: GatewayState) -> bool:
    """Leave a gateway running that was started for a tool, when that ends; whether it was one.

    Raises:
        LockBusy, StoreError: as `file_lock`.
    """
    from portico.util.files import remove_private

    with _one_at_a_time(rt):
        if not is_for_tools(rt, state):
            return False
        remove_private(_note(rt))
        return True


def is_for_tools(rt: Runtime, state: GatewayState) -> bool:
    """Whether this gateway was started for a tool, and ends with it.

    Raises:
        StoreError: the note of it cannot be read.
    """
    from portico.util.files import read_private

    return _note(rt).exists() and read_private(_note(rt)) == state.instance.encode()


def _clear_away(keys: GatewayKeys, waits: FileLock, rt: Runtime) -> None:
    """End the gateway that was started for tools, unless another one still uses it."""
    from portico.gateway import control
    from portico.gateway.state import read_state
    from portico.util.files import remove_private

    remove_private(waits.path)
    waits.release()
    if not _note(rt).exists() or any(_waits(key.name, rt) for key in keys.all()):
        return
    state = read_state(rt.paths)  # whether it answers or hangs
    if state is not None and is_for_tools(rt, state):
        control.stop(rt.paths)
    remove_private(_note(rt))


def _take_back(keys: GatewayKeys, rt: Runtime) -> None:
    """Revoke the keys of processes that are gone."""
    for key in keys.all():
        if tool_of(key.name) is not None and not _waits(key.name, rt):
            _revoke(keys, key.name, rt)


def _revoke(keys: GatewayKeys, name: str, rt: Runtime) -> None:
    for left in keys.revoke(name):
        rt.out.warn(f"its record could not be deleted, and opens nothing any more: {left}")


def _waits(name: str, rt: Runtime) -> bool:
    """Whether a process waits for the tool of this key."""
    return tool_of(name) is not None and _lock_of(name, rt).is_taken()


def _lock_of(name: str, rt: Runtime) -> FileLock:
    from portico.paths import make_private_folder
    from portico.util.lock import FileLock

    return FileLock(make_private_folder(rt.paths.locks) / f"{name}.lock", what="a tool")


def _one_at_a_time(rt: Runtime) -> AbstractContextManager[object]:
    from portico.paths import make_private_folder
    from portico.util.lock import file_lock

    return file_lock(make_private_folder(rt.paths.locks) / "exec.lock", _LONGEST_S, "the start and the end of tools")


def _note(rt: Runtime) -> Path:
    return rt.paths.state / "exec-gateway"
