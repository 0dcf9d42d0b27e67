from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from portico.emulation.connect_proxy import EmulationProxy
from portico.emulation.run import run_emulation
from portico.interfaces.plugins import EmulatorOptions

if TYPE_CHECKING:
    from pathlib import Path

    from portico.emulation.run import EmulationInfo


async def ask(info: EmulationInfo, request: bytes) -> bytes:
    """What the proxy answers to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(info.proxy_url).port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("host", ["login.example", "api.example"])
async def test_it_is_the_far_side_itself_for_every_emulated_host(browser: aiohttp.ClientSession, host: str) -> None:
    async with browser.get(f"https://{host}/hello") as reply:
        assert await reply.text() == f"hello from {host}"


async def test_it_serves_many_clients_at_once(browser: aiohttp.ClientSession) -> None:
    async def one() -> str:
        async with browser.get("https://api.example/hello") as reply:
            return await reply.text()

    assert set(await asyncio.gather(*(one() for _ in range(20)))) == {"hello from api.example"}


@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT real.example:443 HTTP/1.1",
        b"CONNECT login.example:80 HTTP/1.1",
        b"CONNECT login.example HTTP/1.1",
        b"GET http://login.example/hello HTTP/1.1",
        b"GET / HTTP/1.1",
        b"nonsense",
    ],
)
async def test_it_refuses_every_other_host_port_and_method(emulation: EmulationInfo, request_line: bytes) -> None:
    answer = await ask(emulation, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"forwards nothing" in answer or b"only for HTTPS hosts" in answer


async def test_a_head_without_end_is_cut_off(emulation: EmulationInfo) -> None:
    assert (await ask(emulation, b"CONNECT " + b"x" * 20_000)).startswith(b"HTTP/1.1 431 ")


async def test_a_client_that_does_not_trust_the_throwaway_authority_gets_no_connection(emulation: EmulationInfo) -> None:
    async with aiohttp.ClientSession(proxy=emulation.proxy_url) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get("https://login.example/hello")


async def test_it_listens_on_loopback_only_and_is_gone_after_the_run(small, tmp_path: Path) -> None:
    async with run_emulation([small], EmulatorOptions(), tmp_path / "run") as info:
        where = urlsplit(info.proxy_url)
        assert where.hostname == "127.0.0.1"
        # One client that never says a word must not keep the run from ending.
        _, idle = await asyncio.open_connection(where.hostname, where.port)
    with pytest.raises(OSError):
        await asyncio.open_connection(where.hostname, where.port)
    idle.close()


async def test_nothing_is_left_open_when_a_client_leaves_in_the_middle_of_the_handshake(emulation: EmulationInfo) -> None:
    asyncio.get_running_loop().set_debug(True)
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(emulation.proxy_url).port)
    writer.write(b"CONNECT login.example:443 HTTP/1.1\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    context = ssl.create_default_context(cafile=emulation.ca_file)
    async with (
        aiohttp.ClientSession(proxy=emulation.proxy_url, connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get("https://login.example/hello") as reply,
    ):
        assert reply.status == 200


@pytest.mark.parametrize("turns", range(5))
def test_what_connects_as_it_closes_is_left_open_at_no_turn_of_the_loop(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: left.append(str(unraisable.exc_value)))

    async def close_while_somebody_connects() -> None:
        proxy = EmulationProxy({}, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        await proxy.start()
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", urlsplit(proxy.url).port or 0))
            for _ in range(turns):
                await asyncio.sleep(0)
            await proxy.close()
            await proxy.abort()

    for _ in range(5):
        asyncio.run(close_while_somebody_connects())
    gc.collect()
    assert left == []
