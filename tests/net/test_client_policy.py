"""The HTTP client: what it sends where, what it refuses, and how soon it gives up."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import gzip
import json
import socket
import ssl
import threading
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from portico.errors import ConfigError, NetworkError
from portico.interfaces.authorization import FormRequest
from portico.net.client import REPLY_LIMIT, HttpClient
from portico.net.errors import RedirectRefused
from portico.net.proxy import Proxy, proxy_for, trusted_certificates
from portico.paths import EMULATOR_ENV
from portico.secret import Secret
from portico.testing.canary import canary

REDIRECTS = (301, 302, 303, 307, 308)


@asynccontextmanager
async def server(handler, *, context: ssl.SSLContext | None = None):
    """A server on 127.0.0.1 and what was posted to it."""
    posted: list[tuple[str, dict[str, str]]] = []

    async def noted(request: web.Request) -> web.StreamResponse:
        posted.append((request.path, dict(await request.post())))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", noted)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1], posted
    finally:
        await runner.cleanup()


async def post(url: str, *, relocated=None, timeout_s=5.0, form=None, **options):
    async with HttpClient(**options) as client:
        request = FormRequest(url, form or {"a": "1"}, {"Accept": "application/json"})
        return await client.post_form(request, relocated=relocated or {}, timeout_s=timeout_s)


async def ok(_request):
    return web.json_response({"ok": True})


async def test_a_form_is_sent_as_it_is_and_the_reply_comes_back_wrapped():
    secret = canary("code")

    async def echo(_request):
        return web.json_response({"access_token": secret}, headers={"X-Odd": "1"})

    async with server(echo) as (port, posted):
        reply = await post(f"http://127.0.0.1:{port}/token", form={"code": Secret(secret), "b": "x y+&"})

    assert posted == [("/token", {"code": secret, "b": "x y+&"})]
    assert (reply.status, reply.headers["x-odd"]) == (200, "1")
    assert json.loads(reply.body.reveal()) == {"access_token": secret}
    assert secret not in repr(reply)


async def test_the_time_of_sending_is_taken_before_the_request_leaves():
    async def slow(_request):
        await asyncio.sleep(0.05)
        return web.json_response({})

    async with server(slow) as (port, _):
        before = time.time_ns() // 1_000_000
        reply = await post(f"http://127.0.0.1:{port}/token")

    assert before <= reply.sent_at_ms < before + 45


@pytest.mark.requirement("E30")
@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("target", ["http://127.0.0.1:{other}/token", "https://evil.test/", "//evil.test/", "/elsewhere"])
async def test_a_redirect_is_not_followed_and_no_secret_is_sent_on(status, target):
    async with server(ok) as (other, sent_on):

        async def away(_request):
            return web.Response(status=status, headers={"Location": target.format(other=other)})

        async with server(away) as (port, posted):
            with pytest.raises(NetworkError) as error:
                await post(f"http://127.0.0.1:{port}/token", form={"code": Secret("c")})

    assert type(error.value) is RedirectRefused
    assert len(posted) == 1
    assert sent_on == []


@pytest.mark.requirement("E30")
@pytest.mark.parametrize("status", REDIRECTS)
async def test_only_a_known_move_that_keeps_the_method_is_gone_along_with(status):
    async with server(ok) as (other, sent_on):
        moved_url = f"http://127.0.0.1:{other}/oauth2/token"

        async def moved(_request):
            return web.Response(status=status, headers={"Location": moved_url})

        async with server(moved) as (port, _):
            url = f"http://127.0.0.1:{port}/oauth/token"
            if status in {307, 308}:
                assert (await post(url, relocated={url: moved_url})).status == 200
                assert sent_on == [("/oauth2/token", {"a": "1"})]
            else:
                with pytest.raises(NetworkError):
                    await post(url, relocated={url: moved_url})
                assert sent_on == []


@pytest.mark.requirement("E30")
async def test_a_known_move_is_followed_once_and_never_to_plain_http():
    async def again(request):
        return web.Response(status=307, headers={"Location": str(request.url)})

    async with server(again) as (port, posted):
        url = f"http://127.0.0.1:{port}/token"
        with pytest.raises(NetworkError):
            await post(url, relocated={url: url})
        assert len(posted) == 2

    async def downgrade(_request):
        return web.Response(status=307, headers={"Location": "http://as.test/token"})

    async with server(downgrade) as (port, _):
        url = f"http://127.0.0.1:{port}/token"
        with pytest.raises(ConfigError):
            await post(url, relocated={url: "http://as.test/token"})


async def test_a_hostile_endpoint_is_refused_before_anything_is_sent():
    with pytest.raises(ConfigError) as error:
        await post("http://public.test/token")

    assert error.value.id == "endpoint-refused"


async def test_too_long_a_body_and_a_compressed_bomb_are_cut_off():
    async def long(_request):
        return web.Response(body=b"x" * (REPLY_LIMIT + 1))

    async def bomb(_request):
        packed = gzip.compress(b"0" * (64 * 1024 * 1024))
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    for handler in (long, bomb):
        async with server(handler) as (port, _):
            with pytest.raises(NetworkError) as error:
                await post(f"http://127.0.0.1:{port}/token")
        assert error.value.id in {"reply-unreadable", "network"}


async def test_no_cookie_is_kept_and_the_client_names_itself_plainly():
    seen = []

    async def cookies(request):
        seen.append((request.headers.get("Cookie"), request.headers["User-Agent"]))
        return web.json_response({}, headers={"Set-Cookie": "a=1"})

    async with server(cookies) as (port, _), HttpClient() as client:
        for _ in range(2):
            await client.post_form(FormRequest(f"http://127.0.0.1:{port}/t", {}), relocated={})

    assert [cookie for cookie, _ in seen] == [None, None]
    assert all(agent.startswith("portico/") and "aiohttp" not in agent for _, agent in seen)


async def test_a_server_that_hangs_ends_at_the_deadline():
    hold = asyncio.Event()

    async def hang(_request):
        await hold.wait()

    async with server(hang) as (port, _):
        started = time.monotonic()
        with pytest.raises(NetworkError) as error:
            await post(f"http://127.0.0.1:{port}/token", timeout_s=0.1)
        hold.set()

    assert error.value.id == "network"
    assert error.value.why == "no answer in time"
    assert not error.value.unsent
    assert time.monotonic() - started < 2


async def test_a_server_that_hangs_up_is_a_network_error():
    async def drop(request):
        request.transport.abort()
        return web.Response()

    async with server(drop) as (port, _):
        with pytest.raises(NetworkError) as error:
            await post(f"http://127.0.0.1:{port}/token")

    assert error.value.id == "network"
    assert not error.value.unsent


async def test_without_a_network_the_check_is_named_and_the_emulator_only_to_those_who_use_it(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(NetworkError) as error:
        await post(f"http://127.0.0.1:{port}/token?secret=1")

    assert error.value.id == "network"
    assert error.value.where == f"http://127.0.0.1:{port}/token"
    assert "{prog} doctor" in (error.value.hint or "")
    assert "emulator" not in (error.value.hint or "")
    assert error.value.unsent
    monkeypatch.setenv(EMULATOR_ENV, "/nowhere")
    with pytest.raises(NetworkError, match="cannot be reached") as raised:
        await post(f"http://127.0.0.1:{port}/token")
    assert "{prog} emulator run" in (raised.value.hint or "")


@pytest.mark.linux
async def test_a_connection_that_is_never_answered_ends_after_the_connect_timeout():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        started = time.monotonic()
        with pytest.raises(NetworkError) as error:
            await post(f"http://127.0.0.1:{address[1]}/", connect_timeout_s=0.2, timeout_s=5)
        for one in waiting:
            one.close()

    assert error.value.unsent
    assert time.monotonic() - started < 2
    assert HttpClient()._timeout.connect < 10


async def test_a_name_that_is_never_resolved_ends_after_the_connect_timeout(monkeypatch):
    release = threading.Event()

    def look_up(*_args, **_options):
        release.wait(5)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    started = time.monotonic()
    with pytest.raises(NetworkError) as error:
        await post("https://as.test/token", connect_timeout_s=0.2)
    release.set()

    assert error.value.id == "network"
    assert time.monotonic() - started < 2


async def test_a_name_that_does_not_exist_is_said_to_be_the_cause(monkeypatch):
    def look_up(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(NetworkError) as error:
        await post("https://as.test/token")

    assert error.value.why == "its name cannot be resolved"


@pytest.mark.requirement("E31")
async def test_the_proxy_of_the_environment_is_used_and_never_for_this_machine(monkeypatch):
    asked = []

    async def proxy(reader, writer):
        asked.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, address)
    async with listening, server(ok) as (port, _):
        with pytest.raises(NetworkError) as error:
            await post("https://as.test/token")
        assert (await post(f"http://127.0.0.1:{port}/token")).status == 200

    assert asked == ["CONNECT as.test:443 HTTP/1.1"]
    assert error.value.why == "the proxy answered HTTP 403"


@pytest.mark.requirement("E31")
async def test_the_credentials_of_a_proxy_go_to_the_proxy_and_those_of_netrc_go_nowhere(monkeypatch, tmp_path):
    seen = []

    async def proxy(reader, writer):
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async def headers(request):
        seen.append(str(dict(request.headers)))
        return web.json_response({})

    netrc = tmp_path / "netrc"
    netrc.write_text("default login anyone password netrc-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("https_proxy", f"http://us%40er:p%3Aw@127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with listening, server(headers) as (port, _):
        with pytest.raises(NetworkError):
            await post("https://as.test/token")
        await post(f"http://127.0.0.1:{port}/token")

    expected = base64.b64encode(b"us@er:p:w").decode()
    assert f"Proxy-Authorization: Basic {expected}" in seen[0]
    assert len(seen) == 2
    assert not [text for text in seen if "\nAuthorization" in text or "'Authorization'" in text]


def test_no_proxy_is_honoured_and_a_bare_host_is_an_http_proxy(monkeypatch):
    monkeypatch.setenv("https_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", "direct.test")

    assert proxy_for("https://direct.test/") is None
    assert proxy_for("https://as.test/") == Proxy("http://proxy.test:3128")
    assert proxy_for("https://127.0.0.1/") is None


@pytest.fixture
def authority():
    return pytest.importorskip("trustme", reason="trustme is not installed").CA()


def tls(certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


@pytest.mark.requirement("E31")
async def test_a_certificate_of_the_authority_in_ssl_cert_file_is_trusted(authority, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with server(ok, context=tls(authority.issue_cert("127.0.0.1"))) as (port, _):
        assert (await post(f"https://127.0.0.1:{port}/token")).status == 200


@pytest.mark.requirement("E31")
@pytest.mark.parametrize("fault", ["unknown authority", "wrong host", "expired"])
async def test_a_bad_certificate_is_refused_and_nothing_is_sent(fault, authority, tmp_path, monkeypatch):
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    if fault != "unknown authority":
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    options = {"not_after": past} if fault == "expired" else {}
    certificate = authority.issue_cert("as.test" if fault == "wrong host" else "127.0.0.1", **options)
    async with server(ok, context=tls(certificate)) as (port, posted):
        with pytest.raises(NetworkError) as error:
            await post(f"https://127.0.0.1:{port}/token", form={"code": Secret("c")})

    assert error.value.id == "certificate-refused"
    assert error.value.unsent
    assert "SSL_CERT_FILE" in (error.value.hint or "")
    assert posted == []


@pytest.mark.requirement("E31")
def test_a_file_without_a_certificate_trusts_no_server_whichever_environment_names_it(tmp_path, monkeypatch):
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate")
    env = {"SSL_CERT_FILE": str(empty), "SSL_CERT_DIR": str(tmp_path)}
    assert trusted_certificates(env).get_ca_certs() == []
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert trusted_certificates(env).get_ca_certs() == []


async def test_closing_twice_and_closing_unused_are_harmless():
    client = HttpClient()
    await client.close()
    await client.close()
