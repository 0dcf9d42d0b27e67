"""A `systemctl --user` and a `journalctl --user` for machines without systemd, which start and stop the services of real unit files.

Type=notify is taken at its word: `start` returns when READY=1 has come, and fails where it does not. A socket that a unit requires is
kept open by a process of its own until it is stopped (systemd.socket(5)); no connection starts a service here.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_S = 20
LONGEST_S = 300  # how long a socket stays open, so that none outlives its test for long
# A process runs this code before its program: fd 3 is the socket, and the variable contains the process id.
PASSES_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


def install(folder: Path, home: Path, *, config: Path | None = None) -> dict[str, str]:
    """Put both programs into `folder`; return the variables of a user who has them, with this home and config folder."""
    programs, config = folder / "bin", config or home / "config"
    programs.mkdir(parents=True)
    for name in ("systemctl", "journalctl"):
        words = shlex.join([sys.executable, "-IS", __file__, name, str(folder), str(config / "systemd" / "user")])
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "XDG_CONFIG_HOME": str(config)}


def systemctl(words: list[str], folder: Path, units: Path) -> int:
    verb, *arguments = [word for word in words if word != "--user"]
    names = [word for word in arguments if not word.startswith("-")]
    if verb in {"stop", "restart"} or "--now" in arguments:
        for name in names:
            _stop(folder, name)
    if verb in {"start", "restart"}:
        return _start(folder, units / names[0])
    return 0


def journalctl(words: list[str], folder: Path) -> int:
    unit = words[words.index("--unit") + 1]
    lines = int(words[words.index("--lines") + 1])
    sys.stdout.writelines(f"{line}\n" for line in (folder / f"{unit}.journal").read_text().splitlines()[-lines:])
    return 0


def _start(folder: Path, unit: Path) -> int:
    lines = unit.read_text().splitlines()
    command = shlex.split(next(line for line in lines if line.startswith("ExecStart=")).partition("=")[2])
    own = [shlex.split(line.partition("=")[2])[0] for line in lines if line.startswith("Environment=")]
    needed = [line.partition("=")[2] for line in lines if line.startswith("Requires=")]
    listening = [_socket(folder, unit.with_name(name)) for name in needed]
    command = [*(word for each in listening for word in (sys.executable, "-c", PASSES_ON, str(each.fileno()))), *command]
    notify_path = folder / "notify"
    notify_path.unlink(missing_ok=True)
    passed_on = ("HOME", "PATH", "DBUS_SESSION_BUS_ADDRESS")
    env = {name: os.environ[name] for name in passed_on if name in os.environ} | dict(each.split("=", 1) for each in own)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify_socket,
        (folder / f"{unit.name}.journal").open("ab") as journal,
    ):
        notify_socket.bind(str(notify_path))
        notify_socket.settimeout(READY_S)
        process = subprocess.Popen(
            command,
            env=env | {"NOTIFY_SOCKET": str(notify_path)},
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=journal,
            cwd="/",
            pass_fds=[each.fileno() for each in listening],
        )
        (folder / f"{unit.name}.pid").write_text(str(process.pid))
        try:
            notification = notify_socket.recv(4096)
        except TimeoutError:
            return 1
    (folder / "told").write_bytes(notification)
    return 0 if b"READY=1" in notification.split(b"\n") else 1


def _socket(folder: Path, unit: Path) -> socket.socket:
    """Return the socket of a unit from the process that keeps it open, after starting this process if needed."""
    if not (folder / f"{unit.name}.pid").exists():
        pipe = subprocess.PIPE
        command = [sys.executable, "-IS", __file__, "keep", str(folder), str(unit)]
        keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.DEVNULL, cwd="/")
        (folder / f"{unit.name}.pid").write_text(str(keeper.pid))
        keeper.stdout.readline()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(folder / "keeper"))
        return socket.socket(fileno=socket.recv_fds(connection, 1, 1)[1][0])


def hold_socket(folder: Path, unit: Path) -> None:
    """Keep a unit's socket open, and pass it to every client of the socket `keeper`."""
    address = next(line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith("ListenStream="))
    host, _, port = address.rpartition(":")
    (folder / "keeper").unlink(missing_ok=True)
    with socket.create_server((host, int(port))) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.bind(str(folder / "keeper"))
        control.listen()
        control.settimeout(LONGEST_S)
        sys.stdout.write("\n")
        sys.stdout.flush()
        while True:
            with control.accept()[0] as connection:
                socket.send_fds(connection, [b"1"], [listener.fileno()])


def _stop(folder: Path, name: str) -> None:
    pid_path = folder / f"{name}.pid"
    if not pid_path.exists():
        return
    pid = int(pid_path.read_text())
    pid_path.unlink()
    try:
        os.kill(pid, signal.SIGTERM)
        while True:
            os.kill(pid, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        hold_socket(Path(sys.argv[2]), Path(sys.argv[3]))
    program, state, units = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with (state / "asked").open("a") as calls:
        print(program, *sys.argv[4:], file=calls)
    sys.exit(systemctl(sys.argv[4:], state, units) if program == "systemctl" else journalctl(sys.argv[4:], state))
