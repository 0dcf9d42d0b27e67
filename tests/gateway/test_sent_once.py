"""A POST goes to a provider once: after a byte of it was written, a broken connection never sends it there again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
from dataclasses import replace

import pytest

from portico.gateway import forward
from portico.net.client import Connections, HttpClient
from portico.testing.clock import FakeClock
from portico.util.threads import off_loop
from tests.auth.helpers import PROFILE
from tests.gateway.fronts import configure, gateway
from tests.gateway.providers import DONE, STREAM_HEAD, WHOLE, answered, closed, event, provider, reset, streamed, word

KEPT = 5
MODELS = [{"id": "model"}, {"id": "other"}]


class Counting:
    """A provider that answers the first `fine` requests and breaks every later connection as `how` says, once it has read."""

    def __init__(self, how, fine=KEPT):
        self.how, self.fine, self.broken = how, fine, 0
        self._answered = 0
        self._all = asyncio.Event()

    async def __call__(self, writer):
        if self._answered < self.fine:
            self._answered += 1
            if self._answered == self.fine:
                self._all.set()
            await self._all.wait()  # so that each of the first requests has a connection of its own
            writer.write(answered(WHOLE))
            await writer.drain()
            return
        self.broken += 1
        await self.how(writer)


async def reset_later(writer):
    await asyncio.sleep(0.05)
    await reset(writer)


async def half_a_head(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")
    await writer.drain()
    writer.close()


async def half_a_body(writer):
    writer.write(answered(WHOLE)[:-5])
    await writer.drain()
    writer.close()


async def half_an_event(writer):
    writer.write(STREAM_HEAD + b"100\r\ndata: {")
    await writer.drain()
    writer.close()


BREAKS = [closed, reset, reset_later, half_a_head, half_a_body, half_an_event]


async def keep_connections(here):
    """As many idle connections to the provider as `Counting` answers requests."""
    answers = await asyncio.gather(*(here.json() for _ in range(KEPT)))
    assert [status for status, _, _ in answers] == [200] * KEPT


@pytest.mark.requirement("E84")
@pytest.mark.parametrize("how", BREAKS)
async def test_a_request_whose_connection_breaks_was_sent_once_and_the_client_is_told_not_to_repeat_it(paths, how):
    breaking = Counting(how)
    async with provider(breaking) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            await keep_connections(here)
            assert acme.connections == KEPT
            status, reply, headers = await here.json()

    assert breaking.broken == 1
    assert (status, reply["error"]["code"]) == (502, "answer-unknown")
    assert headers["x-should-retry"] == "false"
    assert headers["x-portico-attempts"] == "acme/model; key; answer-unknown"
    assert "may have" in reply["error"]["message"]


@pytest.mark.requirement("E84")
async def test_a_request_that_breaks_on_a_new_connection_was_sent_once_too(paths):
    breaking = Counting(closed, fine=0)
    async with provider(breaking) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, _ = await here.json()
    assert (breaking.broken, status, reply["error"]["code"]) == (1, 502, "answer-unknown")


@pytest.mark.requirement("E84")
@pytest.mark.parametrize("how", [closed, half_an_event])
async def test_the_same_provider_is_not_asked_by_another_way_and_the_next_one_is_and_that_is_said(paths, how):
    breaking = Counting(how, fine=0)
    async with provider(breaking) as acme, provider(answered(WHOLE)) as backup:
        configure(
            paths,
            {"acme": {"baseUrl": acme.base, "models": MODELS}, "backup": backup.base},
            fallbacks=["acme/other", "backup/model"],
        )
        async with gateway(paths) as here:
            status, reply, headers = await here.json()

    assert (status, reply) == (200, WHOLE)
    assert (breaking.broken, len(backup.requests)) == (1, 1)
    assert headers["x-portico-attempts"] == (
        "acme/model; key; answer-unknown, acme/other; key; skipped after answer-unknown, backup/model; key; answered"
    )


@pytest.mark.requirement("E84")
async def test_where_the_next_one_fails_as_well_the_client_still_hears_of_the_unknown_answer(paths):
    error = answered({"error": {"message": "slow down"}}, "Retry-After: 7", status=429)
    async with provider(Counting(closed, fine=0)) as acme, provider(error) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            status, reply, headers = await here.json()

    assert (status, reply["error"]["code"], headers["x-should-retry"]) == (502, "answer-unknown", "false")
    assert "Retry-After" not in headers
    assert "acme/model" in reply["error"]["message"]
    assert "backup/model" in reply["error"]["message"]


@pytest.mark.requirement("E84")
async def test_a_provider_that_was_never_reached_may_be_asked_by_another_way(paths, unused_tcp_port):
    configure(
        paths,
        {"acme": {"baseUrl": f"http://127.0.0.1:{unused_tcp_port}/v1", "models": MODELS}},
        fallbacks=["acme/other"],
    )
    async with gateway(paths) as here:
        status, reply, headers = await here.json()
    assert (status, reply["error"]["code"]) == (502, "network")
    assert "x-should-retry" not in headers
    assert headers["x-portico-attempts"] == "acme/model; key; unreachable, acme/other; key; unreachable"


@pytest.mark.requirement("E84")
async def test_an_error_whose_body_breaks_off_is_still_the_providers_answer(paths):
    cut = answered({"error": {"message": "slow down"}}, "Retry-After: 7", status=429)[:-5]

    async def answer(writer):
        writer.write(cut)
        await writer.drain()
        writer.close()

    async with provider(answer) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, headers = await here.json()
    assert (status, reply["error"]["code"], headers["Retry-After"]) == (429, "rate-limited", "7")


@pytest.mark.requirement("E84")
async def test_a_provider_silent_for_too_long_is_not_asked_again_either(paths, monkeypatch):
    from portico.gateway import router

    async def hang(_writer):
        await asyncio.Event().wait()

    monkeypatch.setattr(router, "SILENCE_TIMEOUT_S", 0.2)
    async with provider(hang) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "models": MODELS}}, fallbacks=["acme/other"])
        async with gateway(paths) as here:
            status, reply, headers = await here.json()
    assert len(acme.requests) == 1
    assert (status, reply["error"]["code"], headers["x-should-retry"]) == (504, "answer-unknown", "false")


@pytest.mark.requirement("E84")
async def test_an_idle_connection_is_used_for_15_seconds_and_no_longer(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("aiohttp.connector.monotonic", clock.monotonic)
    async with provider(answered(WHOLE)) as acme, HttpClient() as http:

        async def ask():
            answer = await http.send(f"{acme.base}/x", body=b"{}", headers={})
            assert await answer.read(1 << 16) == (json.dumps(WHOLE).encode(), True)
            answer.close()

        await ask()
        clock.advance(14.9)
        await ask()
        assert acme.connections == 1
        clock.advance(15.1)
        await ask()
        assert acme.connections == 2


@pytest.mark.requirement("E84")
async def test_an_idle_connection_that_has_ended_is_seen_before_it_is_used():
    """The end has arrived, and the loop has had no turn to read it: nothing of the request may go into that connection."""
    ended = []

    async def answer(writer):
        writer.write(answered(WHOLE))
        await writer.drain()
        ended.append(writer)

    async with provider(answer) as acme, HttpClient() as http:
        for number in (1, 2, 3):
            made = await http.send(f"{acme.base}/x", body=b"{}", headers={})
            await made.read(1 << 16)
            made.close()
            assert len(acme.requests) == number
            # By the system call alone: this loop reads nothing between here and the next request.
            end = socket.socket(fileno=os.dup(ended[-1].get_extra_info("socket").fileno()))
            end.shutdown(socket.SHUT_WR)
            end.close()
    assert acme.connections == 3


@pytest.mark.requirement("E84")
async def test_a_request_refused_for_its_key_is_not_sent_again(paths):
    """A key cannot be refreshed; `test_hostile_providers` shows the one resend with a refreshed token."""
    async with provider(answered({"error": {"message": "bad key"}}, status=401)) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "apiKey": "sk-x-1234567890"}})
        async with gateway(paths) as here:
            status, _, headers = await here.json()
    assert (status, len(acme.requests)) == (403, 1)
    assert "x-should-retry" not in headers


OK = word("one") + DONE
FINE = {"whole": answered(WHOLE), "streamed": streamed(word("one"), DONE)}
ENDED = {
    "403": answered({"error": {"type": "authentication_error", "message": "token expired"}}, status=403),
    "200": answered({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}),
    "401": answered({"error": {"message": "no"}}, status=401),
    "stream": streamed(event({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}), DONE),
}


@contextlib.asynccontextmanager
async def signed_in(account, acme):
    """A gateway whose one candidate is a profile at `acme`, with tokens of a real authorization server."""
    account.sign_in(ttl_s=3600)
    account.index.update(PROFILE, lambda profile: replace(profile, api_base=acme.base))
    configure(account.paths, {"test": acme.base})
    async with gateway(account.paths, clock=account.clock, vault=account.vault.real) as here:
        yield here


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("ended", ENDED)
@pytest.mark.parametrize("fine", FINE)
async def test_a_request_whose_token_is_rejected_is_sent_once_more_after_one_refresh(account, ended, fine):
    async with provider(ENDED[ended], FINE[fine]) as acme, signed_in(account, acme) as here:
        async with here.ask() as answer:
            body = await answer.read()
            headers = answer.headers
        held = await off_loop(lambda: account.vault.read(PROFILE))

    assert (answer.status, body) == (200, OK if fine == "streamed" else json.dumps(WHOLE).encode())
    assert headers["x-portico-attempts"] == f"test/model; {PROFILE}; answered"
    assert account.posts == 1
    sent = [request.header("authorization") for request in acme.requests]
    assert len(set(sent)) == len(sent) == 2
    assert sent[1] == f"Bearer {held.access.reveal()}"


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("ended", ENDED)
async def test_a_second_rejection_is_told_and_puts_the_profile_to_rest(account, ended):
    async with provider(ENDED[ended]) as acme, signed_in(account, acme) as here:
        first, second = await here.json(), await here.json()

    assert (first[0], first[1]["error"]["code"]) == (403, "credential-refused")
    assert "it was not asked again: in cooldown until" in second[1]["error"]["message"]
    assert (len(acme.requests), account.posts) == (2, 1)


@pytest.mark.requirement("E101")
async def test_a_403_about_rights_is_told_without_a_refresh(account):
    of_rights = answered({"error": {"type": "permission_error", "message": "no access to this model"}}, status=403)
    async with provider(of_rights, answered(WHOLE)) as acme, signed_in(account, acme) as here:
        status, reply, _ = await here.json()

    assert (status, len(acme.requests), account.posts) == (403, 1, 0)
    assert "no access to this model" in reply["error"]["message"]


@pytest.mark.requirement("E101")
async def test_of_requests_whose_token_another_has_replaced_meanwhile_each_is_sent_again_without_a_refresh(account):
    together = asyncio.Barrier(5)
    seen = []

    async def answer(writer):
        number = len(seen)
        seen.append(number)
        if number < 5:
            await together.wait()
            writer.write(ENDED["200"])
        else:
            writer.write(answered(WHOLE))
        await writer.drain()

    async with provider(answer) as acme, signed_in(account, acme) as here:
        got = await asyncio.gather(*(here.json() for _ in range(5)))

    assert [status for status, _, _ in got] == [200] * 5
    assert (len(acme.requests), account.posts) == (10, 1)


@pytest.mark.requirement("E101")
async def test_a_rejection_whose_body_never_ends_is_waited_for_a_moment_and_the_request_sent_again(account, monkeypatch):
    monkeypatch.setattr(forward, "ERROR_BODY_S", 0.1)

    async def hangs(writer):
        writer.write(ENDED["401"][:-1])
        await writer.drain()
        await asyncio.sleep(60)

    async with provider(hangs, answered(WHOLE)) as acme, signed_in(account, acme) as here, asyncio.timeout(5):
        status, reply, _ = await here.json()

    assert (status, reply, len(acme.requests), account.posts) == (200, WHOLE, 2, 1)


@pytest.mark.requirement("E101")
async def test_a_403_counts_though_its_connection_stays_open_after_its_body(account, monkeypatch):
    monkeypatch.setattr(forward, "ERROR_BODY_S", 0.2)

    async def stays_open(writer):
        writer.write(b'HTTP/1.1 403 X\r\nContent-Type: application/json\r\n\r\n{"error": "invalid_token"}')
        await writer.drain()
        await asyncio.sleep(60)

    async with provider(stays_open, answered(WHOLE)) as acme, signed_in(account, acme) as here, asyncio.timeout(5):
        status, reply, _ = await here.json()

    assert (status, reply, len(acme.requests), account.posts) == (200, WHOLE, 2, 1)


@pytest.mark.requirement("E101")
async def test_nothing_of_a_stream_that_has_begun_is_sent_again(account):
    late = event({"base_resp": {"status_code": 1004, "status_msg": "login fail"}})
    async with provider(streamed(word("one"), late, DONE)) as acme, signed_in(account, acme) as here, here.ask() as answer:
        body = await answer.read()

    assert (body, len(acme.requests), account.posts) == (word("one") + late + DONE, 1, 0)


@pytest.mark.requirement("E101")
async def test_a_good_answer_that_quotes_the_number_is_passed_on(account):
    quoting = {**WHOLE, "choices": [{"message": {"content": '{"base_resp": {"status_code": 1004}}'}}]}
    async with provider(answered(quoting)) as acme, signed_in(account, acme) as here:
        status, reply, _ = await here.json()

    assert (status, reply, len(acme.requests), account.posts) == (200, quoting, 1, 0)


@pytest.mark.requirement("E84")
async def test_what_an_earlier_request_met_is_not_said_of_a_later_one(paths):
    error = answered({"error": {"message": "slow down"}}, "Retry-After: 7", status=429)
    async with provider(Counting(closed, fine=0)) as acme, provider(answered(WHOLE), error) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            assert (await here.json())[0] == 200
            status, reply, headers = await here.json()
    assert len(acme.requests) == 1
    assert (status, reply["error"]["code"], headers["Retry-After"]) == (429, "rate-limited", "7")
    assert "x-should-retry" not in headers


@pytest.mark.requirement("E84")
@pytest.mark.parametrize("status", [400, 409])
async def test_a_refusal_that_ends_the_search_does_not_hide_the_unknown_answer(paths, status):
    """SDKs send a request again after 409; this one must not be."""
    error = answered({"error": {"message": "no"}}, status=status)
    async with provider(Counting(closed, fine=0)) as acme, provider(error) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            got, reply, headers = await here.json()
    assert (got, reply["error"]["code"], headers["x-should-retry"]) == (502, "answer-unknown", "false")


@pytest.mark.requirement("E84")
async def test_a_connection_that_ends_before_anything_was_written_is_not_an_unknown_answer(paths, monkeypatch):
    connect = Connections.connect

    async def ended(*args, **more):
        connection = await connect(*args, **more)
        connection.transport.abort()
        await asyncio.sleep(0)
        return connection

    monkeypatch.setattr(Connections, "connect", ended)
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "models": MODELS}}, fallbacks=["acme/other"])
        async with gateway(paths) as here:
            status, reply, headers = await here.json()
    assert acme.requests == []
    assert (status, reply["error"]["code"]) == (502, "network")
    assert headers["x-portico-attempts"] == "acme/model; key; unreachable, acme/other; key; unreachable"


@pytest.mark.requirement("E84")
async def test_silence_in_the_middle_of_an_answer_is_told_as_too_long_a_wait(paths, monkeypatch):
    from portico.gateway import router

    async def half_and_silence(writer):
        writer.write(answered(WHOLE)[:-5])
        await writer.drain()
        await asyncio.Event().wait()

    monkeypatch.setattr(router, "SILENCE_TIMEOUT_S", 0.2)
    async with provider(half_and_silence) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, _ = await here.json()
    assert (status, reply["error"]["code"]) == (504, "answer-unknown")


@pytest.mark.requirement("E84")
async def test_two_provider_ids_of_one_server_are_one_provider(paths):
    async with provider(Counting(closed, fine=0)) as acme:
        configure(paths, {"acme": acme.base, "acme-portal": acme.base}, fallbacks=["acme-portal/model"])
        async with gateway(paths) as here:
            status, reply, headers = await here.json()
    assert len(acme.requests) == 1
    assert (status, reply["error"]["code"]) == (502, "answer-unknown")
    assert headers["x-portico-attempts"].endswith("acme-portal/model; key; skipped after answer-unknown")


@pytest.mark.requirement("E84")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_whose_request_has_not_gone_out_whole_is_not_used_again(tmp_path, monkeypatch, scheme):
    """The provider answers before it has read the body: what is left of it would go out before the next request."""
    limit = answered({"error": {"message": "slow down"}}, status=429)
    connections = []

    async def early(reader, writer):
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(limit)
        await writer.drain()
        await asyncio.Event().wait()

    context = certified(tmp_path, monkeypatch) if scheme == "https" else None
    server = await asyncio.start_server(early, "127.0.0.1", 0, limit=1024, ssl=context)
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    async with HttpClient() as http:
        for _ in range(2):
            answer = await http.send(url, body=b"x" * (8 << 20), headers={})
            await answer.read(1 << 16)
            answer.close()
        assert len(connections) == 2
    server.close()
    for writer in connections:
        writer.transport.abort()


def certified(folder, monkeypatch):
    """What a server of 127.0.0.1 shows, by an authority that everybody trusts for the length of a test."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    return context
