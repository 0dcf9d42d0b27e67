"""Connections are closed when the client is, whatever the server makes of it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from contextlib import contextmanager, suppress

import pytest

from portico.emulation.connect_proxy import make_authority
from portico.errors import NetworkError
from portico.net.client import HttpClient

KEPT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
TOO_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n" + b" " * (2 << 20)


@contextmanager
def deaf_server(folder, answer, monkeypatch):
    """Answers over TLS, then hears nothing more: no close_notify of the client's is ever answered."""
    authority = make_authority(folder, ["localhost"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    thread = threading.Thread(target=answer_once, args=(listener, authority.server, answer, over))
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}/v1/models"
    finally:
        over.set()
        listener.close()
        thread.join(10)


def answer_once(listener, context, answer, over):
    with suppress(OSError), listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as secured:
        secured.recv(65536)
        with suppress(OSError):
            secured.sendall(answer)
        over.wait(10)


def left_open(main) -> list[str]:
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main)
        gc.collect()
    return [str(each.message) for each in caught if each.category is ResourceWarning]


async def a_model_is_asked(url):
    async with HttpClient() as http:
        response = await http.send(url, headers={})
        await response.read(100)


async def an_answer_is_given_up(url):
    async with HttpClient() as http:
        (await http.send(url, headers={})).close()


async def a_server_is_asked(url):
    client = HttpClient()
    with suppress(NetworkError):
        await client.get(url)
    await client.close()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [(a_model_is_asked, KEPT), (an_answer_is_given_up, TOO_LONG), (a_server_is_asked, CLOSED), (a_server_is_asked, TOO_LONG)],
    ids=["of a request of its own", "of an answer given up", "that the server wants closed", "of an answer that is too long"],
)
def test_no_connection_outlives_its_client_though_the_server_does_not_answer_the_close(asked, answer, tmp_path, monkeypatch):
    with deaf_server(tmp_path, answer, monkeypatch) as url:
        assert left_open(asyncio.wait_for(asked(url), 5)) == []
