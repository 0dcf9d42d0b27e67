"""Real commands against MiniMax's emulator, with the paths of one test."""

from __future__ import annotations

import io
import json
from contextlib import closing
from dataclasses import dataclass, field
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

from minimax_portal_auth.emulator import MinimaxEmulator
from portico.cli.main import main
from portico.interfaces.plugins import EmulatorOptions
from portico.paths import CONFIG_ENV, STATE_ENV
from portico.testing.canary import canary
from portico.testing.emulated import emulated
from portico.testing.secret_service import missing_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TextIO

    import pytest

    from portico.emulation.run import EmulationInfo
    from portico.testing.process import PorticoRunner

GLOBAL, CN = "minimax-portal:default", "minimax-portal:cn"
SIGN_IN = ("onboard", "--auth-choice", "minimax-portal", "--non-interactive", "--no-background")


@dataclass
class MinimaxSession:
    """One emulator and the commands that meet it. `env` is what they get on top of the runner's own."""

    info: EmulationInfo
    run_portico: PorticoRunner
    redirect: bool = False
    store: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.env = {name: value for name, value in self.info.env.items() if name not in {CONFIG_ENV, STATE_ENV}} | self.env
        self.paths.config.parent.mkdir(parents=True, exist_ok=True)
        if not self.paths.config.exists():
            self.paths.config.write_text(self.info.config.read_text(encoding="utf-8"), encoding="utf-8")

    @property
    def paths(self):
        return self.run_portico.paths

    def run(self, *args: str, env: Mapping[str, str | None] | None = None) -> CompletedProcess[str]:
        """One command, in this process: what a process of its own adds is what `tests/e2e` shows."""
        merged = self.run_portico.environment({**self.env, **(env or {})})
        result = in_this_process(args, merged)
        outputs = self.run_portico.outputs
        outputs.mkdir(parents=True, exist_ok=True)
        output = result.stderr + ("" if args[:2] == ("auth", "token") else result.stdout)
        (outputs / f"{len(list(outputs.iterdir())):03d}.txt").write_text(output, encoding="utf-8")
        return result

    def ok(self, *args: str, **more: Any) -> str:
        """Standard output of a command that ends well."""
        result = self.run(*args, **more)
        assert result.returncode == 0, f"{args} ended with {result.returncode}:\n{result.stderr}\n{result.stdout}"
        return result.stdout

    def sign_in(self, *options: str, **more: Any) -> list[dict[str, Any]]:
        """The events of a sign-in that ends well; by the browser flow, which waits for no poll, where it is on."""
        flow = ("--flow", "browser") if self.redirect else ()
        return events(self.ok(*SIGN_IN, "--json", *flow, *self.store, *options, **more))

    def profiles(self) -> list[dict[str, Any]]:
        return json.loads(self.ok("auth", "list", "--verbose", "--json"))["profiles"]


def in_this_process(
    args: tuple[str, ...], env: Mapping[str, str], stdin: TextIO | None = None, *, typed: str | None = None
) -> CompletedProcess[str]:
    """One command with an environment and streams of its own.

    It reads `stdin`, or the text `typed`; with neither it reads what the test reads, which gives nothing.
    """
    out, err = io.StringIO(), io.StringIO()
    if typed is not None:
        stdin = io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8")
    code = main(list(args), program="portico", env=env, stdin=stdin, stdout=out, stderr=err)
    return CompletedProcess(args, code, out.getvalue(), err.getvalue())


def events(text: str) -> list[dict[str, Any]]:
    """Standard output of a command with `--json`, one object per line."""
    return [json.loads(line) for line in text.splitlines()]


def start(folder: Path, **options: Any) -> AbstractContextManager[EmulationInfo]:
    """The emulator, until the block ends."""
    return emulated([MinimaxEmulator()], EmulatorOptions(**options), folder)


def secret_service_users() -> list[str]:
    """The `username` attribute of every record of Portico's in the Secret Service; no secret is asked for."""
    import secretstorage

    with closing(secretstorage.dbus_init()) as bus:
        items = secretstorage.search_items(bus, {"service": "portico"})
        return sorted(item.get_attributes()["username"] for item in items)


def sealed_store() -> dict[str, str]:
    """The environment of a sealed file store, for machines without a keyring."""
    return {"PORTICO_PASSPHRASE": canary("passphrase")}


def any_store(request: pytest.FixtureRequest) -> tuple[dict[str, str], tuple[str, ...]]:
    """A real keyring where one can run, else a sealed file: the environment, and the options of a sign-in."""
    if missing_part() is None:
        request.getfixturevalue("secret_service")
        return {}, ()
    return sealed_store(), ("--store", "file")


def sessions(run_portico: PorticoRunner, folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """What the fixture `minimax` gives: a function that starts an emulator and hands out its session."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def begin(*, redirect: bool = True, **options: Any) -> MinimaxSession:
            env, store = any_store(request)
            env = env | request.getfixturevalue("browser_that_approves")()
            info = stack.enter_context(start(folder / "emulation", redirect=redirect, **options))
            return MinimaxSession(info, run_portico, redirect, store, env)

        yield begin
