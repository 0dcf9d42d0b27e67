"""What the commands print and write of an account whose server repeats the refresh token that it refuses."""

from __future__ import annotations

import asyncio
import json
import tarfile
import threading
from contextlib import contextmanager

import pytest

from portico.secret import Secret
from portico.store import encrypted_file
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.testing.authorization_server import AuthorizationServer, Fault, serve
from portico.testing.clock import FakeClock
from tests.auth.helpers import a_profile
from tests.minimax_session import in_this_process, sealed_store

PROFILE = "minimax-portal:default"
TOKENS = {"20 characters": "q7ZtLw2RkN9xVb4Hc1Ms", "with / + and =": "8f/Kd+3Qa==Zx/90+LmPw/T5e+Rg=="}
COMMANDS = (
    ("auth", "token", PROFILE),
    ("ask", "--json", "Hello"),
    ("auth", "status"),
    ("auth", "status", "--json"),
    ("auth", "list", "--verbose", "--json"),
    ("models", "status"),
    ("doctor", "--json"),
    ("doctor", "--bundle", "BUNDLE"),
    ("auth", "logout", PROFILE, "--yes", "--json"),
)


@contextmanager
def served(server: AuthorizationServer):
    """`server` on an event loop of its own, since commands in this process have theirs."""
    ready, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    base: list[str] = []

    async def run() -> None:
        async with serve(server) as url:
            base.append(url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(5)
        yield base[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


@pytest.mark.requirement("E116")
@pytest.mark.parametrize("shape", TOKENS)
def test_a_repeated_refresh_token_is_in_no_output_no_file_and_no_bundle(run_portico, paths, monkeypatch, shape, tmp_path):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    token, env = TOKENS[shape], sealed_store()
    said = json.dumps({"error": "invalid_grant", "error_description": f"the refresh {token} was used before"})
    server, clock = AuthorizationServer(), FakeClock()
    server.faults.always("/token", Fault(status=400, body=said))
    server.faults.always("/revoke", Fault(status=400, body=said))
    entry = {"enabled": True}
    paths.config.parent.mkdir(parents=True, exist_ok=True)
    models = {"agents": {"defaults": {"model": "minimax-portal/MiniMax-M3"}}}
    paths.config.write_text(json.dumps({**models, "plugins": {"entries": {"minimax-portal-auth": entry}}}), encoding="utf-8")
    with served(server) as base:
        vault = Vault(paths, ProfileIndex(paths), store="file", passphrase=PassphraseSource(env))
        profile = a_profile(base, clock, PROFILE)
        object.__setattr__(profile, "provider", "minimax-portal")
        vault.commit(profile, Tokens(Secret("an-access-token"), Secret(token), 1_000))
        bundle = tmp_path / "bundle.tar.gz"
        outputs = []
        for command in COMMANDS:
            words = tuple(str(bundle) if word == "BUNDLE" else word for word in command)
            done = in_this_process(words, run_portico.environment(env))
            outputs += [done.stdout, done.stderr]
            outputs += [file.read_text("utf-8", "replace") for file in paths.state.rglob("*") if file.is_file()]
    with tarfile.open(bundle) as archive:
        outputs += [archive.extractfile(member).read().decode() for member in archive.getmembers() if member.isfile()]

    assert server.faults.requests["/token"] == 1
    assert server.faults.requests["/revoke"] == 2
    assert any("was used before" in output for output in outputs)
    assert not [output for output in outputs if token in output or token[4:] in output]
