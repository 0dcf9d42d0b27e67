"""Kills a commit, or a delete, at each of its steps, and looks at what a fresh process finds.

Run as a program. It imports everything once and then forks: a child that is killed with SIGKILL at one step, and a fresh one that
reads, sweeps and reports. Prints one JSON line for each step.

    python -m tests.store.kill_matrix <keyring|file|long> <first|again|delete> <every|own>

`own` leaves out the steps inside the writes of files, which are the same in every store.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import keyring.backends.SecretService  # noqa: F401 - so that the children need not
import secretstorage

from portico.errors import PorticoError, SignInNeeded
from portico.paths import Paths
from portico.secret import Secret
from portico.store import encrypted_file
from portico.store import keyring as keyring_backend
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.util.files import FILE_CRASH_POINTS
from tests.store.helpers import a_profile

ID = "minimax-portal:default"
OLD, NEW = Tokens(Secret("old"), None, 1), Tokens(Secret("new" + "w" * 400), None, 2)


def open_vault(paths: Paths, store: str, crash_point=lambda _step: None) -> Vault:
    passphrase = PassphraseSource({"PORTICO_PASSPHRASE": "throwaway"})
    index = ProfileIndex(paths, crash_point=crash_point)
    return Vault(paths, index, store="file" if store == "file" else None, passphrase=passphrase, crash_point=crash_point)


def run_scenario(vault: Vault, scenario: str) -> None:
    if scenario == "delete":
        vault.delete(ID)
    else:
        vault.commit(a_profile(), NEW)


def in_a_child(call) -> int:
    """The wait status of a process that made the call."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
            print_report({"failed": f"{type(error).__name__}: {error}"})
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def steps_of(store: str, scenario: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        paths = prepare(Path(folder), store, scenario)
        pipe_out, pipe_in = os.pipe()
        if in_a_child(
            lambda: run_scenario(open_vault(paths, store, lambda step: os.write(pipe_in, f"{step}\n".encode())), scenario)
        ):
            raise SystemExit("the undisturbed run failed")
        os.close(pipe_in)
        with os.fdopen(pipe_out) as reader:
            steps = reader.read().split()
        in_a_child(lambda: open_vault(paths, store).delete(ID))
        return steps


def prepare(folder: Path, store: str, scenario: str) -> Paths:
    paths = Paths(config=folder / "none", state=folder / "state", state_id=folder.name[-8:])

    if scenario != "first":
        in_a_child(lambda: open_vault(paths, store).commit(a_profile(), OLD))
    return paths


def die_at(number: int):
    reached = 0

    def crash_point(_step: str) -> None:
        nonlocal reached
        if reached == number:
            os.kill(os.getpid(), signal.SIGKILL)
        reached += 1

    return crash_point


def report_state(paths: Paths, store: str, number: int, step: str) -> None:
    vault = open_vault(paths, store)
    before = state_of(vault, ID)
    stuck = vault.sweep()
    after = state_of(vault, ID)
    files = [path.name for path in paths.state.rglob("*") if path.suffix in {".sealed", ".keyed", ".tmp"}]
    report = {
        "number": number,
        "step": step,
        "before": before,
        "after": after,
        "stuck": stuck,
        "records": sum(name.endswith(".sealed") for name in files) if store == "file" else count_keyring_items(paths),
        "keyed": sum(name.endswith(".keyed") for name in files),
        "leftovers": len(ProfileIndex(paths).view().leftovers),
    }
    vault.commit(a_profile(), NEW)
    report["again"] = state_of(vault, ID)
    vault.delete(ID)
    print_report(report)


def count_keyring_items(paths: Paths) -> int:
    with closing(secretstorage.dbus_init()) as bus:
        items = secretstorage.get_default_collection(bus).get_all_items()
        return sum(item.get_attributes()["username"].endswith(f"@{paths.state_id}") for item in items)


def print_report(report: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def state_of(vault: Vault, id: str) -> str:
    try:
        return vault.read(id).access.reveal()[:3]
    except SignInNeeded:
        return "none"
    except PorticoError as error:
        return f"{error.id}: {error}"


def kill_and_report(store: str, scenario: str, number: int, step: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = prepare(Path(folder), store, scenario)
        status = in_a_child(lambda: run_scenario(open_vault(paths, store, die_at(number)), scenario))
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"{step}: not killed")
        if in_a_child(lambda: report_state(paths, store, number, step)):
            raise SystemExit(f"{step}: the fresh process failed")


def main(store: str, scenario: str, which: str) -> None:
    encrypted_file._COST = {"n": 16, "r": 1, "p": 1}
    if store == "long":
        keyring_backend._LIMITS[keyring_backend.FREEDESKTOP] = 300
    for number, step in enumerate(steps_of(store, scenario)):
        if which == "own" and step in FILE_CRASH_POINTS:
            continue
        kill_and_report(store, scenario, number, step)


if __name__ == "__main__":
    main(*sys.argv[1:])
