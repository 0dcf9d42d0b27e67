"""What a gateway runs is in memory once it answers: an upgrade of the files under it mixes no two versions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace

import aiohttp
import pytest

from portico.gateway import control
from portico.secret import Secret
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, serve
from portico.testing.canary import canary
from portico.util.clock import SystemClock
from tests.auth.helpers import PROFILE, OffLoop, a_profile, until
from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, a_key, configure, with_key
from tests.gateway.providers import WHOLE, answered, provider
from tests.key_index import key_index

# A gateway that writes down each module that it looks for, and the moment from which it answers.
WATCHED = """
import sys
log = open(sys.argv[1], "a", buffering=1)
sys.addaudithook(lambda event, args: event == "import" and log.write(f"{args[0]}\\n"))
from portico.gateway import server
write_state = server.write_state
server.write_state = lambda *args: (write_state(*args), log.write("READY\\n"))
from portico.cli.main import main
sys.exit(main(["gateway", "run", "--port", "0"], "portico"))
"""
UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
OVERLOADED = b'HTTP/1.1 529 Overloaded\r\nContent-Length: 40\r\n\r\n{"error": {"type": "overloaded_error" }}\n'


@pytest.fixture(params=["file", "keyring"])
def store(request):
    if request.param == "keyring":
        request.getfixturevalue("secret_service")
    return request.param


async def test_neither_a_request_nor_a_refresh_nor_a_change_of_keys_or_config_imports_anything(store, gateway_paths, tmp_path):
    environment = {**os.environ, "PORTICO_PASSPHRASE": canary("passphrase")}
    passphrase = PassphraseSource(environment)
    vault = OffLoop(Vault(gateway_paths, ProfileIndex(gateway_paths), store=store, passphrase=passphrase))
    server, clock, log = AuthorizationServer(access_ttl_s=3600), SystemClock(), tmp_path / "log"
    blocking = OffLoop(control)
    async with serve(server) as base, provider(answered(WHOLE)) as acme, provider(OVERLOADED) as busy, provider(UNKNOWN) as other:
        bases = {"acme": acme.base, "busy": busy.base, "other": other.base, "gone": "http://127.0.0.1:9/v1"}
        await asyncio.to_thread(configure, gateway_paths, bases, fallbacks=["busy/model"])
        issued = server.mint.start(CLIENT_ID)
        profile = replace(a_profile(base, clock), created_at=clock.wall_ms() - 100_000)
        before = vault.commit(profile, Tokens(Secret(issued.access), Secret(issued.refresh), clock.wall_ms() + 1_000))
        key = await asyncio.to_thread(with_key, gateway_paths)
        with subprocess.Popen([sys.executable, "-P", "-c", WATCHED, str(log)], env=environment) as process:
            try:
                await until(lambda: blocking.running(gateway_paths) is not None, 30)
                url = blocking.running(gateway_paths).url
                await until(lambda: vault.read(PROFILE).generation > before.generation, 30)
                statuses = await asked(url, key)
                another = canary("gatewaykey")
                await asyncio.to_thread(key_index(gateway_paths).put, a_key("another", another))
                await asyncio.to_thread(configure, gateway_paths, bases, primary="busy/model", fallbacks=["gone/model"])
                statuses += await asked(url, another)
                blocking.stop(gateway_paths)
            finally:
                process.kill()
        vault.delete(PROFILE)

    assert {200, 401, 404} <= set(statuses)
    late = log.read_text().partition("READY\n")[2].split()
    assert [name for name in late if name.partition(".")[0] not in sys.stdlib_module_names] == []


async def asked(url, key):
    """The statuses of a request of each kind: all routes, streams, answers and errors."""
    question = [{"role": "user", "content": "Hello"}]
    bodies = {CHAT: "messages", MESSAGES: "messages", f"{MESSAGES}/count_tokens": "messages", RESPONSES: "input"}
    statuses = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        for path in ("/health", "/metrics", "/v1/models", "/nowhere"):
            async with session.get(url + path) as answer:
                statuses.append(answer.status)
        async with session.get(f"{url}/v1/models", headers={"Authorization": "Bearer wrong"}) as answer:
            statuses.append(answer.status)
        for path, member in bodies.items():
            for model in ("acme/model", "busy/model", "other/model", "gone/model", "no/such", "claude-x", None):
                for stream in (False, True):
                    body = {"model": model, member: question, "stream": stream, "max_tokens": 9}
                    async with session.post(url + path, data=json.dumps(body)) as answer:
                        await answer.read()
                        statuses.append(answer.status)
        async with session.post(url + CHAT, data=b"[" * 100_000) as answer:
            statuses.append(answer.status)
    return statuses
