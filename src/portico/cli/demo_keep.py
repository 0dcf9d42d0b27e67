"""`demo --keep`: the same play against an emulator that is a process of its own, and stays."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, ExitCode, LockBusy, PorticoError
from portico.util import signals
from portico.util.children import child_environment, portico_command, portico_environment

if TYPE_CHECKING:
    from portico.cli.demo_play import Play
    from portico.cli.demo_stage import Stage
    from portico.cli.runtime import Runtime

_END_S: Final = 30.0


def run_and_keep(rt: Runtime, play: Play) -> int:
    """Play, and leave emulator and sign-in; where the play fails, nothing is left."""
    emulator = _start(rt)
    try:
        stage = _stage(rt, emulator)
        code = signals.run(play.run(stage))
    except BaseException:
        emulator.terminate()  # it clears away what its commands have made
        emulator.wait(_END_S)
        raise
    _tell_what_next(stage, emulator.pid)
    return code


def _start(rt: Runtime) -> subprocess.Popen[bytes]:
    from portico.cli.demo_stage import ACCESS_TTL_S

    options = ["--json", "--redirect", "--access-ttl", str(ACCESS_TTL_S)]
    config = ["--config", rt.options.config] if rt.options.config else []
    return subprocess.Popen(
        portico_command(*config, "emulator", "run", *options),
        env=portico_environment(child_environment(rt.env)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stage(rt: Runtime, emulator: subprocess.Popen[bytes]) -> Stage:
    from portico.cli.demo_stage import Stage, choose_port, clean_environment
    from portico.paths import resolve_paths

    ready = _first_word(emulator)
    env = {**clean_environment(rt.env), **ready["env"]}
    paths = resolve_paths(env=env)
    choose_port(paths.config, paths.locks)
    return Stage(rt, Path(paths.state).parent, env, paths, tuple(ready["hosts"]))


def _first_word(emulator: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert emulator.stdout is not None  # noqa: S101 - it is a pipe
    ready: dict[str, Any] = json.loads(emulator.stdout.readline() or "{}")
    if "env" in ready:
        return ready
    error = ready.get("error", {})
    kind = {ExitCode.LOCK_BUSY: LockBusy, ExitCode.CONFIG: ConfigError}.get(error.get("exitCode"))
    if kind is not None:
        said = {name: error.get(name) for name in ("why", "where", "hint")}
        raise kind(error["id"], error["message"], **said)
    raise PorticoError("demo-failed", "The emulator did not start.", why=error.get("message"), hint=error.get("hint"))


def _tell_what_next(stage: Stage, pid: int) -> None:
    from portico.store.encrypted_file import FILE_ENV

    prog = stage.rt.program
    stage.tell("Emulator and sign-in stay. Three commands to try:")
    passphrase = f'; export {FILE_ENV}="{stage.env[FILE_ENV]}"' if FILE_ENV in stage.env else ""
    stage.more(f'eval "$({prog} emulator env)"{passphrase}')
    stage.more(f"{prog} auth list --verbose")
    stage.more(f'{prog} ask "What can you do?"')
    stage.more(f"To end it, and to remove everything it made: kill {pid}")
