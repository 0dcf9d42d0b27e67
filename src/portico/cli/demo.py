"""`demo`: a whole sign-in against the emulator, with the real commands, in a few seconds, leaving nothing behind.

It plays in a throwaway folder: the page's three commands, a token that ends and is replaced, a question, and the sign-out. A
window of the user's own browser has a throwaway profile that reaches the emulator and nothing else. With `--keep` the emulator is
a process of its own, and stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.errors import ConfigError, ExitCode, LockBusy, PorticoError, StoreError
from portico.store.encrypted_file import FILE_ENV
from portico.util import signals
from portico.util.children import child_environment, find_program, portico_command, portico_environment
from portico.util.threads import off_loop

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Mapping

    from portico.app import App
    from portico.interfaces.plugins import Emulator
    from portico.paths import Paths

_EXAMPLES = """examples:
  {prog} demo                               browser flow, Global portal
  {prog} demo --flow device --region cn     device code, CN portal
  {prog} demo --keep                        leave emulator and sign-in, to try commands by hand

No account and no network are needed: MiniMax is played by an emulator on this machine. The redirect of the browser flow is the
emulator's own; MiniMax itself offers third parties only the device code.
"""


class DemoFailed(PorticoError):
    """A step of the demo did not do what it should."""

    id = "demo-failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--flow", choices=("browser", "device"), default="browser", help="how to sign in (browser)")
    parser.add_argument("--region", choices=("global", "cn"), default="global", help="which portal (global)")
    parser.add_argument("--keep", action="store_true", help="leave emulator and sign-in for trying commands")
    parser.set_defaults(handler=demo, warns_of_ended=False)


def demo(args: argparse.Namespace, app: App) -> int:
    """Play the whole sign-in."""
    app = app.outside_emulator()
    play = Play(flow=args.flow, region=args.region, keep=args.keep)
    if not args.keep:
        return run_on_stage(app, play)

    return run_and_keep(app, play)


# Of one family, because only Chromium's command line can be told of a proxy and of one CA to trust, without touching the system.
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "brave-browser")
_MAC_APPS: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_QUIET: Final = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-quic",
)
PID_FILE: Final = "browser.pid"


def window(env: Mapping[str, str], folder: Path, *, proxy_url: str, ca_file: Path) -> str | None:
    """The `$BROWSER` that opens such a window and notes its process in `folder`; None without a screen or a Chromium."""
    program = _program(env)
    if program is None:
        return None
    words = [
        program,
        *_QUIET,
        f"--user-data-dir={folder / 'browser'}",
        f"--proxy-server={proxy_url}",
        f"--ignore-certificate-errors-spki-list={_fingerprint(ca_file)}",
    ]
    script = folder / "browser.sh"
    note = shlex.quote(str(folder / PID_FILE))
    script.write_text(f'#!/bin/sh\necho $$ > {note}\nexec {shlex.join(words)} "$1"\n', encoding="utf-8")
    script.chmod(0o700)
    return shlex.quote(str(script))


def _program(env: Mapping[str, str]) -> str | None:
    if os.name != "posix" or os.geteuid() == 0 or env.get("SSH_CONNECTION"):
        return None  # as root Chromium runs only without its sandbox
    if sys.platform == "darwin":
        return next((app for app in _MAC_APPS if Path(app).exists()), None)
    if not (env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")):
        return None
    return next(filter(None, (find_program(name, env) for name in _NAMES)), None)


def _fingerprint(ca_file: Path) -> str:
    """The base64 SHA-256 of the CA's public key, as Chromium's command line wants it."""
    import base64
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    from portico.util.files import read_file

    key = load_pem_x509_certificate(read_file(ca_file, 1 << 20)).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


_END_S: Final = 30.0


def run_and_keep(app: App, play: Play) -> int:
    """Play, and leave emulator and sign-in; where the play fails, nothing is left."""
    emulator = _start(app)
    try:
        stage = _stage(app, emulator)
        code = signals.run(play.run(stage))
    except BaseException:
        emulator.terminate()  # it clears away what its commands have made
        emulator.wait(_END_S)
        raise
    _tell_what_next(stage, emulator.pid)
    return code


def _start(app: App) -> subprocess.Popen[bytes]:

    options = ["--json", "--redirect", "--access-ttl", str(ACCESS_TTL_S)]
    config = ["--config", app.options.config] if app.options.config else []
    return subprocess.Popen(
        portico_command(*config, "emulator", "run", *options),
        env=portico_environment(child_environment(app.env)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stage(app: App, emulator: subprocess.Popen[bytes]) -> Stage:
    from portico.paths import resolve_paths

    ready = _first_word(emulator)
    env = {**clean_environment(app.env), **ready["env"]}
    paths = resolve_paths(env=env)
    choose_port(paths.config, paths.locks)
    return Stage(app, Path(paths.state).parent, env, paths, tuple(ready["hosts"]))


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
    raise DemoFailed("The emulator did not start.", why=error.get("message"), hint=error.get("hint"))


def _tell_what_next(stage: Stage, pid: int) -> None:
    from portico.store.encrypted_file import FILE_ENV

    prog = stage.app.program
    stage.tell("Emulator and sign-in stay. Three commands to try:")
    passphrase = f'; export {FILE_ENV}="{stage.env[FILE_ENV]}"' if FILE_ENV in stage.env else ""
    stage.more(f'eval "$({prog} emulator env)"{passphrase}')
    stage.more(f"{prog} auth list --verbose")
    stage.more(f'{prog} ask "What can you do?"')
    stage.more(f"To end it, and to remove everything it made: kill {pid}")


_PROFILE = {"global": "minimax-portal:default", "cn": "minimax-portal:cn"}
_QUESTION = "Say hello in one sentence."
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Play:
    """What is played."""

    flow: Literal["browser", "device"]
    region: Literal["global", "cn"]
    keep: bool

    async def run(self, stage: Stage) -> int:
        """Play it; the exit code."""
        stage.tell(f"An emulator answers for {', '.join(stage.hosts[:4])} and {len(stage.hosts) - 4} more, on this machine only.")
        if self.flow == "browser":
            stage.more("Its redirect is Portico's extension: MiniMax itself offers third parties only the device code.")
        store = _store(stage)
        await self._sign_in(stage, store)
        await self._show_place(stage)
        await self._wait_for_refresh(stage)
        await self._ask(stage)
        if not self.keep:
            await self._sign_out(stage)
        return ExitCode.OK

    async def _sign_in(self, stage: Stage, store: list[str]) -> None:
        await stage.command("plugins", "enable", "minimax-portal-auth")
        said = await stage.command("gateway", "restart")
        stage.more(_first_line(said.out + said.err))
        options = ["--region", self.region, "--flow", self.flow, "--background", *store]
        words = ("onboard", "--auth-choice", "minimax-portal", *options, "--non-interactive", "--json")
        await stage.command(*words, on_line=lambda line: self._tell_event(stage, json.loads(line)))

    def _tell_event(self, stage: Stage, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "authorize-url":
                stage.more(f"the browser was sent to {event['url'].partition('?')[0]}")
                stage.more(f"the redirect was awaited at {event['redirectUri']}")
            case "device-code":
                stage.more(f"code {event['userCode']} at {event['verificationUri'].partition('?')[0]}")
            case "redirect-caught":
                stage.tell("Redirect caught; state, issuer and PKCE hold; the code is exchanged.")
            case "signed-in":
                stage.tell(f"Signed in as {event['profile']} ({event['region']}): default model {event['defaultModel']}")
                stage.more(f"API base {event['apiBase']}; {event['background']}")

    async def _show_place(self, stage: Stage) -> None:
        said = await stage.command("auth", "list", "--verbose", "--json")
        profile = json.loads(said.out)["profiles"][0]
        where = profile["backend"] or "a file sealed with a throwaway passphrase"
        stage.more(f"tokens kept in {where}: service {profile['service']}, user {profile['user']}")

    async def _wait_for_refresh(self, stage: Stage) -> None:
        from portico.store.token_store import local_token_store

        store = local_token_store(stage.paths, env=stage.env)
        first = store.get(_PROFILE[self.region])
        if first is None or first.expires_at is None:
            raise DemoFailed("The sign-in is not in the profile index.")
        stage.tell(f"The first access token lives {ACCESS_TTL_S:g} s; no command is run while it is replaced.")
        try:
            async with asyncio.timeout(ACCESS_TTL_S * 3):
                while True:
                    now = store.get(first.id)
                    if now is not None and now.generation > first.generation and stage.app.clock.wall_ms() > first.expires_at:
                        break
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise DemoFailed("The background process did not refresh the token.") from None
        stage.tell(f"Refreshed in the background: generation {first.generation} -> {now.generation}; the first token has ended.")

    async def _ask(self, stage: Stage) -> None:
        said = await stage.command("models", "list", "--plain")
        stage.more(f"models that the sign-in brought: {', '.join(said.out.split())}")
        said = await stage.command("ask", _QUESTION)
        stage.more(said.out.strip())

    async def _sign_out(self, stage: Stage) -> None:
        await stage.command("auth", "logout", _PROFILE[self.region], "--yes")
        stage.more("revoked at the provider, deleted here")
        said = await stage.command("gateway", "stop")
        stage.more(_first_line(said.out + said.err))
        stage.tell("Done. Nothing is left behind: no process, no record, no file.")


def _store(stage: Stage) -> list[str]:
    """The options that choose the store: none where the keyring works, else a sealed file with a throwaway passphrase."""
    from portico.store.encrypted_file import FILE_ENV, PassphraseSource
    from portico.store.token_store import local_token_store

    try:
        place = local_token_store(stage.paths, passphrase=lambda: PassphraseSource({}), env=stage.env).probe()
    except StoreError as error:
        import secrets

        from portico.util.files import write_private

        stage.tell("No keyring can be used here; a sealed file with a throwaway passphrase takes its place.")
        stage.more(f"why: {(error.why or error.message).partition(';')[0]}")
        passphrase = stage.folder / "passphrase"
        write_private(passphrase, secrets.token_urlsafe(24).encode())
        stage.env[FILE_ENV] = str(passphrase)
        return ["--store", "file"]
    stage.tell(f"The keyring works: {place.backend}.")
    return []


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


PLUGIN: Final = "minimax-portal-auth"
ACCESS_TTL_S: Final = 4.0
_COMMAND_S: Final = 150.0
_LET_GO_S: Final = 5.0
_FOREIGN: Final = ("PORTICO_", "MINIMAX_")


@dataclass(frozen=True, slots=True)
class Said:
    """What one command came to."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Stage:
    """One demo's surroundings. `env` is the environment of its commands."""

    app: App
    folder: Path
    env: dict[str, str]
    paths: Paths
    hosts: tuple[str, ...]
    began: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """One line of the transcript, with the seconds since the start."""
        seconds = time.monotonic() - self.began
        if self.app.out.is_json:
            self.app.out.event({"event": "step", "seconds": round(seconds, 1), "text": text})
        else:
            self.app.out.line(f"[{seconds:5.1f} s] {text}")

    def more(self, text: str) -> None:
        """A line that belongs to the one before."""
        if self.app.out.is_json:
            self.app.out.event({"event": "detail", "text": text})
        else:
            self.app.out.line(f"            {text}")

    async def command(self, *words: str, on_line: Callable[[str], None] | None = None) -> Said:
        """Run one of Portico's commands as a user would; `on_line` is told each line of its result as it comes.

        Raises:
            PorticoError: `demo-failed`: it ended with another code than 0; its own words are the cause.
        """
        import shlex

        self.tell(f"$ {self.app.program} {shlex.join(words)}")
        env = await off_loop(self._environment)
        process = await asyncio.create_subprocess_exec(
            *portico_command(*words), env=env, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, err = await asyncio.gather(_lines(process.stdout, on_line), _lines(process.stderr, None))
                code = await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            await _let_go(process)
            raise
        said = Said(code, out, err)
        if said.code:
            raise DemoFailed(f"`{words[0]}` ended with {said.code}.", why=(said.err or said.out).strip())
        return said

    def _environment(self) -> dict[str, str]:
        # The passphrase file is the demo's own, for the throwaway store that only its commands open.
        own = {FILE_ENV: self.env[FILE_ENV]} if FILE_ENV in self.env else {}
        return {**portico_environment(self.env), **own}


def run_on_stage(app: App, play: Play) -> int:
    """Set up, play, and clear away, whatever happens."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="portico-demo-")).resolve()
    try:
        return signals.run(_play(app, play, folder))
    finally:
        with signals.block_signals():
            clear_away(folder)
            shutil.rmtree(folder, ignore_errors=True)


async def _play(app: App, play: Play, folder: Path) -> int:
    async with set_up(app, folder) as stage:
        return await play.run(stage)


@contextlib.asynccontextmanager
async def set_up(app: App, folder: Path) -> AsyncIterator[Stage]:
    """The emulator, and the environment that leads to it and to nothing of the user's own."""
    from portico.emulation.run import run_emulation
    from portico.interfaces.plugins import EmulatorOptions
    from portico.paths import resolve_paths

    began = time.monotonic()
    emulators = [emulator for emulator in _emulators(app) if emulator.id == "minimax"]
    options = EmulatorOptions(redirect=True, access_ttl_s=ACCESS_TTL_S)
    async with run_emulation(emulators, options, folder) as info:
        env = {**clean_environment(app.env), **info.env}
        paths = resolve_paths(env=env)
        env["BROWSER"] = window(env, folder, proxy_url=info.proxy_url, ca_file=info.ca_file) or env["BROWSER"]
        hosts = tuple(host for emulator in emulators for host in emulator.hosts)
        choose_port(paths.config, paths.locks)
        yield Stage(app, folder, env, paths, hosts, began)


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without credentials, and without what the user's shell says about Portico and MiniMax: the demo has its own."""
    return {name: value for name, value in child_environment(env).items() if not name.upper().startswith(_FOREIGN)}


def clear_away(folder: Path) -> None:
    """End the background process and delete the keyring's records of a demo in `folder`."""
    from portico.gateway import control
    from portico.gateway.keys import KeyPaths
    from portico.paths import STATE_ENV, resolve_paths
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.token_store import local_token_store
    from portico.util.files import read_file

    paths = resolve_paths(str(folder / "portico.json5"), {STATE_ENV: str(folder / "state")})
    with contextlib.suppress(PorticoError, OSError):
        control.stop(paths)
    for each in (paths, KeyPaths.of(paths)):
        with contextlib.suppress(PorticoError, OSError):
            store = local_token_store(each, passphrase=lambda: PassphraseSource({}))
            for profile in store.profiles():
                store.delete(profile.id)
            store.sweep()
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(read_file(folder / PID_FILE, 64)), signal.SIGTERM)


def _emulators(app: App) -> tuple[Emulator, ...]:
    from portico.config.schema import PluginEntry, PluginsConfig
    from portico.plugins.manager import PluginHost

    # The user's own config may be broken or deny the plugin; the demo shows what it would be like without that.
    config = PluginsConfig(entries={PLUGIN: PluginEntry(enabled=True)})
    return PluginHost(config, paths=app.paths, env={}).emulators()


def choose_port(config: Path, locks: Path) -> None:
    """Give the demo's background process a port of its own: the user's may run already."""
    import socket

    from portico.config.document import ConfigFile

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ConfigFile(config, locks).edit(lambda document: document.set(("gateway", "port"), port))


async def _lines(stream: asyncio.StreamReader | None, on_line: Callable[[str], None] | None) -> str:
    lines: list[str] = []
    while stream is not None and (raw := await stream.readline()):
        lines.append(raw.decode(errors="replace"))
        if on_line is not None:
            on_line(lines[-1])
    return "".join(lines)


async def _let_go(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(_LET_GO_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
