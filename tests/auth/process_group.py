"""Real processes that share one sign-in at a real authorization server, all on the machine's own clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, replace

from portico.paths import STATE_ENV, resolve_paths
from portico.secret import Secret
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Fault, serve
from portico.testing.canary import canary, exempt
from portico.testing.grants import TokenMint, TokenRefused, token_hash
from portico.util.clock import SystemClock
from tests.auth.helpers import PROFILE, OffLoop, a_profile

# What a server does when a refresh token comes again: revokes its family, rejects it, or sends the next token set again.
REUSE = ("ends its family", "is refused", "is forgiven")


class Mint(TokenMint):
    def __init__(self, reuse):
        super().__init__()
        self._reuse = reuse

    def rotate(self, refresh, client_id):
        spent = self._spent.get(refresh)
        if spent is None or self._reuse == REUSE[0]:
            return super().rotate(refresh, client_id)
        if self._reuse == REUSE[2]:
            return self._issue(spent, self._make_refresh())
        raise TokenRefused("invalid_grant", "this refresh token was used before")


class HoldingServer(AuthorizationServer):
    """Processes a token request, and holds the response back while `hold` is set."""

    def __init__(self, reuse=REUSE[0]):
        super().__init__(clock=SystemClock())
        self.mint = Mint(reuse)
        self.hold = False
        self.processed = asyncio.Event()
        self.released = asyncio.Event()

    async def _token(self, request):
        response = await super()._token(request)
        self.processed.set()
        if self.hold:
            await self.released.wait()
        return response


@dataclass
class ProcessGroup:
    """One state folder, its server, and the processes in it."""

    server: HoldingServer
    base: str
    env: dict[str, str]
    index: OffLoop
    vault: OffLoop
    started: list

    def sign_in(self, *, expires_in_s=-1.0, lifetime_s=60.0):
        """Store a sign-in whose access token ends in `expires_in_s` seconds."""
        issued = self.server.mint.start(CLIENT_ID)
        now = SystemClock().wall_ms()
        tokens = Tokens(Secret(issued.access), Secret(issued.refresh), now + round(expires_in_s * 1000))
        created = now + round((expires_in_s - lifetime_s) * 1000)
        self.vault.commit(replace(a_profile(self.base, SystemClock()), created_at=created), tokens)
        return issued

    async def start(self, *flags, **env):
        """A process that waits for `go`."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "tests.auth.refresh_child", *flags)
        child = await asyncio.create_subprocess_exec(*command, env={**self.env, **env}, stdin=pipe, stdout=pipe, stderr=pipe)
        self.started.append(child)
        assert await child.stdout.readline() == b"ready\n", (await child.stderr.read()).decode()
        return child

    async def run(self, *flags, **env):
        """What one process got, or None where it was killed."""
        child = await self.start(*flags, **env)
        return await read_output(child)

    @property
    def current(self):
        """The hash of the stored access token."""
        return token_hash(self.vault.read(PROFILE).access.reveal())


async def read_output(child):
    out, err = await child.communicate(b"go\n")
    if child.returncode == -signal.SIGKILL:
        return None
    assert child.returncode == 0, err.decode()
    return out.decode().strip()


@contextlib.asynccontextmanager
async def process_group(folder, reuse=REUSE[0]):
    """A `Scene` in `folder`; whatever still runs at the end is killed."""
    folder.mkdir(exist_ok=True)
    secret = folder / "passphrase"
    secret.write_text(canary("passphrase"))
    env = {
        **os.environ,
        STATE_ENV: str(folder / "state"),
        "PORTICO_PASSPHRASE_FILE": str(exempt(secret)),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    paths = await asyncio.to_thread(lambda: resolve_paths(env=env))
    index = ProfileIndex(paths)
    server = HoldingServer(reuse)
    async with serve(server) as base, asyncio.timeout(60):
        started = []
        try:
            yield ProcessGroup(server, base, env, OffLoop(index), OffLoop(Vault(paths, index, store="file", env=env)), started)
        finally:
            server.released.set()
            for child in started:
                if child.returncode is None:
                    child.kill()
                    await child.communicate()


async def race(group, count, *flags):
    """Return the results of `count` processes started at once; the server is slow, so that all ask before the first response."""
    group.server.faults.always("/token", Fault(delay_s=0.3))
    running = await asyncio.gather(*(group.start(*flags) for _ in range(count)))
    return await asyncio.gather(*(read_output(child) for child in running))
