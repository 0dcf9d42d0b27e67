"""Starting the gateway as a background process of its own, that outlives the command and the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from portico.children import import_folders, portico_command, portico_environment
from portico.errors import ConfigError
from portico.gateway.log import LIMIT, open_log
from portico.gateway.state import running
from portico.paths import CONFIG_ENV, PACKAGE, STATE_ENV
from portico.store.atomic import read_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.gateway.state import GatewayState
    from portico.paths import Paths
    from portico.secret import Secret

READY_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.05
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
        time.sleep(_LOOK_EVERY_S)
    child.kill()
    child.wait()
    raise _failed(paths, f"it did not answer within {READY_S:g} s", log_began)


def _failed(paths: Paths, what: str, log_began: int) -> ConfigError:
    lines = read_start(paths.gateway_log, LIMIT, offset=log_began).decode(errors="replace").split("\n")
    said = " / ".join(line.strip() for line in lines if line.strip())[-400:]
    hint = f"see {paths.gateway_log}, or run it in the foreground: {{prog}} gateway run"
    return ConfigError("gateway-failed", f"the gateway did not start: {what}", why=said or None, hint=hint)


def gateway_command(port: int) -> list[str]:
    """What runs a gateway."""
    return portico_command("gateway", "run", "--port", str(port))


def gateway_environment(paths: Paths, env: Mapping[str, str]) -> dict[str, str]:
    """The environment without the passphrase, and with what makes the child the same installation from any folder."""
    return {**portico_environment(env), **same_installation(paths, env)}


def _its_own(env: dict[str, str]) -> dict[str, str]:
    """Without the way to a service manager that waits for whoever starts this process, and not for it (sd_notify(3))."""
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
