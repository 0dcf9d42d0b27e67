"""`demo`: run a complete sign-in against the emulator, with the real commands, in a few seconds.

The demo runs in a throwaway folder: enable the plugin, sign in, wait for a background refresh, ask a question, sign out. The
browser window has a throwaway profile that reaches only the emulator. With `--keep`, the emulator is a separate process and keeps
running; without it, nothing is left.
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
  {prog} demo                               sign in by the browser flow, Global portal
  {prog} demo --flow device --region cn     sign in by a device code, CN portal
  {prog} demo --keep                        keep the emulator and the account, to try commands by hand

You need no account and no network: an emulator on this machine stands in for MiniMax. Only the emulator offers the browser flow;
MiniMax itself offers third parties only the device code.
"""


class DemoFailed(PorticoError):
    """A step of the demo failed."""

    id = "demo-failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--flow", choices=("browser", "device"), default="browser", help="the sign-in flow (default: browser)")
    parser.add_argument("--region", choices=("global", "cn"), default="global", help="the region (default: global)")
    parser.add_argument("--keep", action="store_true", help="keep the emulator and the account, to try commands")
    parser.set_defaults(handler=demo, warns_of_ended=False)


def demo(args: argparse.Namespace, app: App) -> int:
    """Run the demo."""
    app = app.outside_emulator()
    script = Script(flow=args.flow, region=args.region, keep=args.keep)
    return run_and_keep(app, script) if args.keep else run_and_clear_away(app, script)


# Only Chromium's command line takes a proxy and a CA to trust, without a change to the system.
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
    """Return a `$BROWSER` that opens the demo's window and writes its PID into `folder`; None without a screen or a Chromium."""
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
        return None  # Chromium's sandbox does not work for root
    if sys.platform == "darwin":
        return next((app for app in _MAC_APPS if Path(app).exists()), None)
    if not (env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")):
        return None
    return next(filter(None, (find_program(name, env) for name in _NAMES)), None)


def _fingerprint(ca_file: Path) -> str:
    """Return the base64 SHA-256 of the CA's public key, as Chromium's command line expects it."""
    import base64
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    from portico.util.files import read_file

    key = load_pem_x509_certificate(read_file(ca_file, 1 << 20)).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


_END_S: Final = 30.0


def run_and_keep(app: App, script: Script) -> int:
    """Run the demo, and keep the emulator and the account. If the demo fails, delete everything."""
    emulator = _start(app)
    try:
        sandbox = _sandbox_of(app, emulator)
        code = signals.run(script.run(sandbox))
    except BaseException:
        emulator.terminate()  # the emulator deletes everything that the demo's commands made
        emulator.wait(_END_S)
        raise
    _show_next_steps(sandbox, emulator.pid)
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


def _sandbox_of(app: App, emulator: subprocess.Popen[bytes]) -> Sandbox:
    from portico.paths import resolve_paths

    ready = _ready_event(emulator)
    env = {**clean_environment(app.env), **ready["env"]}
    paths = resolve_paths(env=env)
    choose_port(paths.config, paths.locks)
    return Sandbox(app, Path(paths.state).parent, env, paths, tuple(ready["hosts"]))


def _ready_event(emulator: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert emulator.stdout is not None  # noqa: S101 - it is a pipe
    ready: dict[str, Any] = json.loads(emulator.stdout.readline() or "{}")
    if "env" in ready:
        return ready
    error = ready.get("error", {})
    kind = {ExitCode.LOCK_BUSY: LockBusy, ExitCode.CONFIG: ConfigError}.get(error.get("exitCode"))
    if kind is not None:
        details = {name: error.get(name) for name in ("why", "where", "hint")}
        raise kind(error["id"], error["message"], **details)
    raise DemoFailed("The emulator did not start.", why=error.get("message"), hint=error.get("hint"))


def _show_next_steps(sandbox: Sandbox, pid: int) -> None:
    prog = sandbox.app.program
    sandbox.step("The emulator keeps running, and the account stays. Three commands to try:")
    passphrase = f'; export {FILE_ENV}="{sandbox.env[FILE_ENV]}"' if FILE_ENV in sandbox.env else ""
    sandbox.detail(f'eval "$({prog} emulator env)"{passphrase}')
    sandbox.detail(f"{prog} auth list --verbose")
    sandbox.detail(f'{prog} ask "What can you do?"')
    sandbox.detail(f"To stop the emulator and delete everything that it made: kill {pid}")


_PROFILE = {"global": "minimax-portal:default", "cn": "minimax-portal:cn"}
_QUESTION = "Say hello in one sentence."
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Script:
    """The steps of one demo."""

    flow: Literal["browser", "device"]
    region: Literal["global", "cn"]
    keep: bool

    async def run(self, sandbox: Sandbox) -> int:
        """Run all steps and return the exit code."""
        sandbox.step(
            f"An emulator answers for {', '.join(sandbox.hosts[:4])} and {len(sandbox.hosts) - 4} more, on this machine only."
        )
        if self.flow == "browser":
            sandbox.detail("Only the emulator offers the browser flow; MiniMax itself offers third parties only the device code.")
        store = _store(sandbox)
        await self._sign_in(sandbox, store)
        await self._show_store(sandbox)
        await self._wait_for_refresh(sandbox)
        await self._ask(sandbox)
        if not self.keep:
            await self._sign_out(sandbox)
        return ExitCode.OK

    async def _sign_in(self, sandbox: Sandbox, store: list[str]) -> None:
        await sandbox.command("plugins", "enable", "minimax-portal-auth")
        result = await sandbox.command("gateway", "restart")
        sandbox.detail(_first_line(result.out + result.err))
        options = ["--region", self.region, "--flow", self.flow, "--background", *store]
        words = ("onboard", "--auth-choice", "minimax-portal", *options, "--non-interactive", "--json")
        await sandbox.command(*words, on_line=lambda line: self._show_event(sandbox, json.loads(line)))

    def _show_event(self, sandbox: Sandbox, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "authorize-url":
                sandbox.detail(f"opened the browser at {event['url'].partition('?')[0]}")
                sandbox.detail(f"waited for the redirect at {event['redirectUri']}")
            case "device-code":
                sandbox.detail(f"code {event['userCode']} at {event['verificationUri'].partition('?')[0]}")
            case "redirect-caught":
                sandbox.step("Redirect received; state, issuer and PKCE verified; exchanging the code.")
            case "signed-in":
                sandbox.step(f"Signed in as {event['profile']} ({event['region']}): default model {event['defaultModel']}")
                sandbox.detail(f"API base {event['apiBase']}; {event['background']}")

    async def _show_store(self, sandbox: Sandbox) -> None:
        result = await sandbox.command("auth", "list", "--verbose", "--json")
        profile = json.loads(result.out)["profiles"][0]
        store = profile["backend"] or "a file encrypted with a throwaway passphrase"
        sandbox.detail(f"tokens stored in {store}: service {profile['service']}, user {profile['user']}")

    async def _wait_for_refresh(self, sandbox: Sandbox) -> None:
        from portico.store.token_store import local_token_store

        store = local_token_store(sandbox.paths, env=sandbox.env)
        first = store.get(_PROFILE[self.region])
        if first is None or first.expires_at is None:
            raise DemoFailed("The account is not in the profile index.")
        sandbox.step(f"The first access token lives {ACCESS_TTL_S:g} s; waiting for the gateway to refresh it.")
        try:
            async with asyncio.timeout(ACCESS_TTL_S * 3):
                while True:
                    now = store.get(first.id)
                    if now is not None and now.generation > first.generation and sandbox.app.clock.wall_ms() > first.expires_at:
                        break
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise DemoFailed("The gateway did not refresh the token.") from None
        sandbox.step(
            f"Refreshed in the background: generation {first.generation} -> {now.generation}; the first token has expired."
        )

    async def _ask(self, sandbox: Sandbox) -> None:
        result = await sandbox.command("models", "list", "--plain")
        sandbox.detail(f"models of the account: {', '.join(result.out.split())}")
        result = await sandbox.command("ask", _QUESTION)
        sandbox.detail(result.out.strip())

    async def _sign_out(self, sandbox: Sandbox) -> None:
        await sandbox.command("auth", "logout", _PROFILE[self.region], "--yes")
        sandbox.detail("revoked at the provider, deleted here")
        result = await sandbox.command("gateway", "stop")
        sandbox.detail(_first_line(result.out + result.err))
        sandbox.step("Done. Nothing is left: no process, no keyring record, no file.")


def _store(sandbox: Sandbox) -> list[str]:
    """Return the options that choose the store: none if the keyring works, else the encrypted file with a new passphrase."""
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.token_store import local_token_store

    try:
        place = local_token_store(sandbox.paths, passphrase=lambda: PassphraseSource({}), env=sandbox.env).probe()
    except StoreError as error:
        import secrets

        from portico.util.files import write_private

        sandbox.step("No keyring is available; using an encrypted file with a throwaway passphrase.")
        sandbox.detail(f"why: {(error.why or error.message).partition(';')[0]}")
        passphrase = sandbox.folder / "passphrase"
        write_private(passphrase, secrets.token_urlsafe(24).encode())
        sandbox.env[FILE_ENV] = str(passphrase)
        return ["--store", "file"]
    sandbox.step(f"The keyring works: {place.backend}.")
    return []


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


PLUGIN: Final = "minimax-portal-auth"
ACCESS_TTL_S: Final = 4.0
_COMMAND_S: Final = 150.0
_STOP_S: Final = 5.0
_FOREIGN: Final = ("PORTICO_", "MINIMAX_")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The output of one command."""

    out: str
    err: str


@dataclass(slots=True)
class Sandbox:
    """The throwaway folder and paths of one demo. `env` is the environment of its commands."""

    app: App
    folder: Path
    env: dict[str, str]
    paths: Paths
    hosts: tuple[str, ...]
    began: float = field(default_factory=time.monotonic)

    def step(self, text: str) -> None:
        """Print one line of the transcript, with the seconds since the start."""
        seconds = time.monotonic() - self.began
        if self.app.out.is_json:
            self.app.out.event({"event": "step", "seconds": round(seconds, 1), "text": text})
        else:
            self.app.out.line(f"[{seconds:5.1f} s] {text}")

    def detail(self, text: str) -> None:
        """Print a detail of the last step."""
        if self.app.out.is_json:
            self.app.out.event({"event": "detail", "text": text})
        else:
            self.app.out.line(f"            {text}")

    async def command(self, *words: str, on_line: Callable[[str], None] | None = None) -> CommandResult:
        """Run a command of Portico as a user would, and call `on_line` with each line of the output.

        Raises:
            PorticoError: `demo-failed`: the exit code is not 0.
        """
        self.step(f"$ {self.app.program} {shlex.join(words)}")
        env = await off_loop(self._environment)
        process = await asyncio.create_subprocess_exec(
            *portico_command(*words), env=env, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, err = await asyncio.gather(_lines(process.stdout, on_line), _lines(process.stderr, None))
                code = await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            await _stop_process(process)
            raise
        if code:
            raise DemoFailed(f"`{words[0]}` ended with exit code {code}.", why=(err or out).strip())
        return CommandResult(out, err)

    def _environment(self) -> dict[str, str]:
        # The demo's own passphrase file; it opens only the throwaway store.
        own = {FILE_ENV: self.env[FILE_ENV]} if FILE_ENV in self.env else {}
        return {**portico_environment(self.env), **own}


def run_and_clear_away(app: App, script: Script) -> int:
    """Run the demo in a temporary folder, and delete everything afterwards, even if the demo fails."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="portico-demo-")).resolve()
    try:
        return signals.run(_run_in(folder, app, script))
    finally:
        with signals.block_signals():
            clear_away(folder)
            shutil.rmtree(folder, ignore_errors=True)


async def _run_in(folder: Path, app: App, script: Script) -> int:
    async with set_up(app, folder) as sandbox:
        return await script.run(sandbox)


@contextlib.asynccontextmanager
async def set_up(app: App, folder: Path) -> AsyncIterator[Sandbox]:
    """Run the emulator, with an environment that leads to the emulator and has nothing of the user."""
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
        yield Sandbox(app, folder, env, paths, hosts, began)


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` without credentials and without the variables of Portico and MiniMax; the demo sets its own."""
    return {name: value for name, value in child_environment(env).items() if not name.upper().startswith(_FOREIGN)}


def clear_away(folder: Path) -> None:
    """Stop the gateway and the browser of a demo in `folder`, and delete its keyring records."""
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

    # Not the user's config, which may be broken or deny the plugin.
    config = PluginsConfig(entries={PLUGIN: PluginEntry(enabled=True)})
    return PluginHost(config, paths=app.paths, env={}).emulators()


def choose_port(config: Path, locks: Path) -> None:
    """Give the demo's gateway a free port, because the user's own gateway may be running."""
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


async def _stop_process(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
