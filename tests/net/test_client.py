"""What the HTTP client makes of servers that break the rules of HTTP, take nothing, or end a kept connection."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from portico.errors import NetworkError
from portico.interfaces.authorization import FormRequest
from portico.net.client import Connections, HttpClient
from portico.net.errors import AnswerCut, AnswerUnknown, CertificatesUnreadable
from tests.gateway.providers import STREAM_HEAD, WHOLE, answered, chunk, provider, word


@pytest.mark.requirement("E68")
@pytest.mark.parametrize("wrong", [b"no number\r\n", b"-5\r\n", chunk(word("two"))[:-2] + b"no line end"])
async def test_broken_framing_in_the_middle_of_a_stream_cuts_it_though_the_connection_stays_open(wrong):
    first_is_read = asyncio.Event()

    async def goes_wrong(writer):
        writer.write(STREAM_HEAD + chunk(word("one")))
        await first_is_read.wait()
        writer.write(wrong)
        await asyncio.Event().wait()

    async with provider(goes_wrong) as acme, HttpClient() as http, asyncio.timeout(5):
        response = await http.send(f"{acme.base}/x", body=b"{}", headers={})
        chunks = response.chunks()
        assert await anext(chunks) == word("one")
        first_is_read.set()
        with pytest.raises(AnswerCut):
            async for _ in chunks:
                pass
        response.close()


@contextlib.asynccontextmanager
async def takes_nothing(reply=b""):
    """The URL of a server that says `reply` and reads nothing."""
    writers = []  # one that is let go of closes its connection from Python 3.13 on

    async def deaf(_reader, writer):
        writer.transport.pause_reading()
        writer.write(reply)
        writers.append(writer)

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def let_go(http):
    """Wait until none of the client's connections is open."""
    async with asyncio.timeout(1):
        while http._session.connector._still_open():
            await asyncio.sleep(0.005)


@pytest.mark.requirement("E72")
async def test_a_server_that_takes_nothing_of_a_large_body_is_given_up():
    async with takes_nothing() as url, HttpClient(silence_s=0.3) as http:
        with pytest.raises(AnswerUnknown, match="no answer in time"):
            async with asyncio.timeout(2.5):
                await http.send(url, body=b"x" * (32 << 20), headers={})
        await let_go(http)


@pytest.mark.requirement("E72")
async def test_what_such_a_server_has_not_taken_is_dropped_when_its_client_leaves():
    async with takes_nothing() as url, HttpClient() as http:
        asking = asyncio.create_task(http.send(url, body=b"x" * (32 << 20), headers={}))
        await asyncio.sleep(0.1)
        assert not asking.done()
        asking.cancel()
        await asyncio.wait([asking])
        await let_go(http)


@pytest.mark.requirement("E72")
async def test_what_such_a_server_has_not_taken_is_dropped_after_its_early_response():
    async with takes_nothing(answered({"error": "too long"}, status=413)) as url, HttpClient() as http:
        async with await http.send(url, body=b"x" * (32 << 20), headers={}) as response:
            assert (response.status, response.has_body) == (413, False)
            assert (await response.read(1 << 16))[1]
        await let_go(http)


async def test_a_request_that_was_answered_early_is_not_watched_beyond_its_end():
    async with takes_nothing(answered({"error": "too long"}, status=413)) as url, HttpClient() as http:
        async with await http.send(url, body=b"x" * (32 << 20), headers={}) as response:
            assert (await response.read(1 << 16))[1]
        # It would be kept, with its body, until the server has been silent for so long.
        assert not http._silence._since


async def test_a_client_that_does_not_read_is_no_silence_of_a_server_that_takes_the_rest_of_the_request():
    resume, gone = asyncio.Event(), asyncio.Event()

    async def answers_early(reader, writer):
        writer.transport.pause_reading()
        writer.write(STREAM_HEAD + chunk(word("one")))
        await resume.wait()
        writer.transport.resume_reading()
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.transport.abort()
        gone.set()

    server = await asyncio.start_server(answers_early, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    async with server, HttpClient() as http, asyncio.timeout(5):
        response = await http.send(url, body=b"x" * (32 << 20), headers={})
        resume.set()
        while not response.has_body:
            await asyncio.sleep(0.01)
        assert not http._silence._since
        assert await anext(response.chunks()) == word("one")
        response.close()
        await gone.wait()


async def test_reading_that_is_given_up_as_the_response_is_closed_ends_as_given_up():
    async def stalls(writer):
        writer.write(STREAM_HEAD)
        await asyncio.Event().wait()

    async with provider(stalls) as acme, HttpClient() as http, asyncio.timeout(5):
        response = await http.send(f"{acme.base}/x", body=b"{}", headers={})
        reading = asyncio.create_task(response.read(1 << 16))
        await asyncio.sleep(0.02)
        reading.cancel()
        response.close()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not http._silence._since
        while acme.open:
            await asyncio.sleep(0.005)


@pytest.mark.requirement("E84")
async def test_a_form_whose_connection_ended_before_it_was_written_is_known_not_to_have_left(monkeypatch):
    connect = Connections.connect

    async def ended(*args, **more):
        connection = await connect(*args, **more)
        connection.transport.abort()
        await asyncio.sleep(0)
        return connection

    monkeypatch.setattr(Connections, "connect", ended)
    async with provider(answered(WHOLE)) as acme, HttpClient() as http:
        with pytest.raises(NetworkError) as raised:
            await http.post_form(FormRequest(f"{acme.base}/token", {"a": "1"}), relocated={})
    assert (raised.value.id, raised.value.unsent, acme.requests) == ("network", True, [])


@pytest.mark.requirement("E84")
async def test_a_form_whose_connection_breaks_after_it_was_written_may_have_been_acted_upon():
    async def hangs_up(writer):
        writer.close()

    async with provider(hangs_up) as acme, HttpClient() as http:
        with pytest.raises(NetworkError) as raised:
            await http.post_form(FormRequest(f"{acme.base}/token", {"a": "1"}), relocated={})
    assert (raised.value.id, raised.value.unsent, len(acme.requests)) == ("network", False, 1)


@pytest.mark.requirement("E68")
async def test_what_a_server_says_unasked_on_an_idle_connection_is_no_response_to_the_next_request():
    extra_sent = asyncio.Event()

    async def says_more(writer):
        writer.write(answered({"id": "its own"}))
        await asyncio.sleep(0.02)
        writer.write(answered({"id": "nobody's"}))
        await writer.drain()
        extra_sent.set()
        await asyncio.Event().wait()

    async with provider(says_more, answered({"id": "second"})) as acme, HttpClient() as http, asyncio.timeout(5):
        for expected in (b"its own", b"second"):
            async with await http.send(f"{acme.base}/x", body=b"{}", headers={}) as response:
                assert expected in (await response.read(1 << 16))[0]
            await extra_sent.wait()
            await asyncio.sleep(0.02)  # the loop reads what was said
    assert acme.connections == 2


@pytest.mark.requirement("E31")
async def test_certificates_that_could_not_be_read_once_are_read_again_for_the_next_request(monkeypatch, tmp_path):
    certificates = tmp_path / "authorities.pem"
    certificates.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    async with HttpClient() as http:
        for _ in range(2):
            with pytest.raises(NetworkError) as raised:
                await http.warm_up("https://models.example")
            assert type(raised.value) is CertificatesUnreadable
        certificates.rmdir()
        certificates.write_text("")
        await http.warm_up("https://models.example")


@pytest.mark.requirement("E84")
async def test_a_form_with_what_is_no_text_is_sent_and_left_to_its_server_to_refuse():
    async with provider(answered({"error": "invalid_grant"}, status=400)) as acme, HttpClient() as http:
        reply = await http.post_form(FormRequest(f"{acme.base}/token", {"code": "a\udcffb"}), relocated={})
    assert (reply.status, acme.requests[0].body) == (400, b"code=a%ED%B3%BFb")


@pytest.mark.requirement("E31")
@pytest.mark.parametrize("body", [b"{}", None])
async def test_a_proxy_with_a_password_gets_it_for_plain_http_too(monkeypatch, body):
    async with provider(answered(WHOLE)) as proxy, HttpClient() as http:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:pass@127.0.0.1:{proxy.port}")
        for _ in range(2):
            async with await http.send("http://models.lan/v1/x", body=body, headers={"x-api-key": "k"}) as response:
                assert (await response.read(1 << 16))[1]
    assert [each.path for each in proxy.requests] == ["http://models.lan/v1/x"] * 2
    assert [each.header("proxy-authorization") for each in proxy.requests] == ["Basic bWU6cGFzcw=="] * 2
    assert proxy.connections == 1
