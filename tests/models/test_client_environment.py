"""The client for model APIs: the variables that it uses, and the secrets that it never sends."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from portico.errors import ConfigError, NetworkError
from portico.net.client import HttpClient


@pytest.fixture
async def echo(aiohttp_server):
    async def handle(request):
        answer = web.json_response({"headers": dict(request.headers)})
        answer.set_cookie("session", "1")
        return answer

    app = web.Application()
    app.router.add_post("/", handle)
    return await aiohttp_server(app)


async def test_a_netrc_entry_for_the_host_is_not_sent_and_cookies_are_not_stored(echo, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async with HttpClient() as http:
        for _ in range(2):
            async with await http.post(str(echo.make_url("/")), body={}, headers={"X-Own": "1"}) as answer:
                headers = json.loads((await answer.read(1 << 16))[0])["headers"]

    assert headers["X-Own"] == "1"
    assert "Authorization" not in headers
    assert "Cookie" not in headers
    assert headers["User-Agent"].startswith("portico/")


@pytest.mark.parametrize("value", ["Bearer key\n", "Bearer key\r\nX-Other: 1", "a\0b"])
async def test_a_header_with_a_line_break_is_not_reported_as_an_unreachable_server(echo, value):
    """Such as a key that was read from a file together with the end of its line."""
    async with HttpClient() as http:
        with pytest.raises(NetworkError) as raised:
            await http.post(str(echo.make_url("/")), body={}, headers={"Authorization": value})
    assert (raised.value.id, raised.value.unsent) == ("request-refused", True)
    assert "key" not in f"{raised.value}".partition("(")[0]


async def test_a_url_that_would_carry_the_credential_in_the_clear_is_refused():
    async with HttpClient() as http:
        with pytest.raises(ConfigError) as raised:
            await http.post("http://api.minimax.io/anthropic/v1/messages", body={}, headers={})

    assert raised.value.id == "endpoint-refused"
