"""Replies of authorization servers and forms of browsers, in several TCP segments."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from portico.errors import NetworkError
from portico.interfaces.authorization import FormRequest
from portico.net.client import HttpClient
from portico.net.server import QuietServer
from portico.oauth.authorization_response import UnrelatedResponse
from portico.oauth.pages import PageResponse, read_form, refuse
from tests.segments import answer_to, cut_server, cuts, failures, padded, response

pytestmark = pytest.mark.requirement("E85")
LENGTH = 300
REPLY = {"access_token": "not-a-secret", "token_type": "Bearer", "text": "€"}


def readers(client, server):
    form = FormRequest(f"{server.origin}/token", {"a": "1"}, {})

    async def posted():
        reply = await client.post_form(form, relocated={}, timeout_s=5)
        return reply.status, reply.body.reveal()

    async def fetched():
        reply = await client.get(f"{server.origin}/metadata", timeout_s=5)
        return reply.status, reply.body.reveal()

    return {"post": posted, "get": fetched}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("method", ["post", "get"])
async def test_a_reply_is_the_same_for_any_segmentation(method, status):
    body = padded(REPLY, LENGTH)
    async with cut_server() as server, HttpClient() as client:
        complete, wrong = await failures(server, response(body, status=status), readers(client, server)[method])

    assert complete == (status, body.decode())
    assert wrong == {}


@pytest.mark.parametrize("method", ["post", "get"])
async def test_an_incomplete_reply_is_an_error_even_if_it_is_json(method):
    async with cut_server() as server, HttpClient() as client:
        server.data = response(padded(REPLY, LENGTH), missing=1)
        with pytest.raises(NetworkError):
            await readers(client, server)[method]()


@asynccontextmanager
async def form_server():
    """A callback server's form reader; `read` has the result of each form."""
    read = []

    async def handle(request):
        try:
            read.append(await read_form(request))
        except UnrelatedResponse as unfit:
            read.append(unfit)
        return PageResponse(200, b"ok")

    runner = web.ServerRunner(QuietServer(handle, refuse))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], read
    finally:
        await runner.cleanup()


def post(body, *, missing=0):
    lines = ["POST / HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/x-www-form-urlencoded"]
    return "\r\n".join([*lines, f"Content-Length: {len(body) + missing}", "", ""]).encode() + body


async def test_a_posted_form_is_the_same_for_any_segmentation():
    body = b"code=abc&state=" + b"s" * 285
    async with form_server() as (port, read):
        for at in cuts(data := post(body)):
            await answer_to(port, data, at)

    assert set(read) == {body.decode()}
    assert len(read) == len(cuts(data))


async def test_an_incomplete_form_is_refused():
    async with form_server() as (port, read):
        await answer_to(port, post(b"code=abc&state=s", missing=1), ends=True)
        await asyncio.sleep(0.05)

    assert not any(isinstance(each, str) for each in read)


def test_large_replies_are_read_completely_in_any_number_of_segments():
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    st = hypothesis.strategies

    async def once(length, at):
        body = padded(REPLY, length)
        async with cut_server() as server, HttpClient() as client:
            server.data = response(body)
            server.at = tuple(each % len(server.data) for each in at)
            assert await readers(client, server)["post"]() == (200, body.decode())

    with asyncio.Runner() as runner:

        @hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // 10)
        @hypothesis.given(st.integers(LENGTH, 200_000), st.lists(st.integers(0, 1 << 20), max_size=6))
        def check(length, at):
            runner.run(once(length, at))

        check()
