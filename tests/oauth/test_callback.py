"""The callback server over raw sockets: which requests it refuses or answers, while the sign-in continues."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from portico.errors import ConfigError, Denied, NoWayToSignIn, OAuthError
from portico.interfaces.authorization import Redirect
from portico.oauth.callback import CallbackServer
from portico.oauth.flow import AuthorizeUrl, RedirectCaught, StrayRequest
from portico.testing.authorization_server import AuthorizationServer, Fault, Gate
from tests.oauth.helpers import LIMIT_S, get, pending_login, raw

TOKEN = "/token"
XSS = (
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "</title><script>alert(1)</script>",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "javascript:alert(1)//" + "A" * 7000,
)


@pytest.mark.requirement("E1")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_every_socket_is_loopback_in_any_environment(host, monkeypatch):
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("BIND", "0.0.0.0")
    monkeypatch.setenv("container", "docker")

    async with CallbackServer(Redirect(host=host)) as callback:
        bound = {address[0] for address in callback.addresses}

    assert bound <= {"127.0.0.1", "::1"}


@pytest.mark.requirement("E1")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "127.evil.com", "example.com"])
async def test_a_redirect_host_that_is_not_loopback_is_refused(host):
    with pytest.raises(ConfigError) as raised:
        async with CallbackServer(Redirect(host=host)):
            raise AssertionError("it listens")

    assert raised.value.id == "endpoint-refused"


@pytest.mark.requirement("E2")
async def test_the_server_listens_before_the_url_is_shown_and_the_url_has_its_port():
    async with pending_login() as login:
        assert (await get(login.port, "/")).status == 404
        assert login.redirect_uri == f"http://127.0.0.1:{login.port}/callback"


@pytest.mark.requirement("E2")
@pytest.mark.requirement("E154")
async def test_each_flow_has_its_own_port_and_state_and_the_registered_path():
    async with pending_login() as one, pending_login() as other:
        assert one.port != other.port
        assert one.state != other.state
        assert (one.path, other.path) == ("/callback", "/callback")


@pytest.mark.requirement("E154")
async def test_a_response_to_one_sign_in_is_refused_by_another_and_both_continue():
    async with pending_login() as one, pending_login() as other:
        assert (await get(one.port, f"{one.path}?{urlencode(other.answer())}")).status == 400

        assert (await one.finish()).status == 200
        assert (await other.finish()).status == 200


@pytest.mark.requirement("E3")
@pytest.mark.parametrize(("taken", "host"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("::1", "localhost")])
async def test_a_taken_port_is_an_immediate_error_and_its_owner_gets_no_request(taken, host):
    with socket.socket(socket.AF_INET6 if ":" in taken else socket.AF_INET) as owner:
        owner.bind((taken, 0))
        owner.listen()
        owner.setblocking(False)
        port = owner.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(NoWayToSignIn) as error:
            async with CallbackServer(Redirect(host=host, port=port)):
                raise AssertionError("it listens")

        assert time.monotonic() - started < 1
        assert error.value.id == "callback-port-taken"
        assert str(port) in error.value.message
        with pytest.raises(BlockingIOError):
            owner.accept()


async def test_a_fixed_port_can_be_used_again_at_once():
    async with CallbackServer(Redirect()) as first:
        port = first.addresses[0][1]
    async with CallbackServer(Redirect(port=port, path="/cb")) as second:
        assert second.redirect_uri == f"http://127.0.0.1:{port}/cb"


async def test_localhost_listens_on_both_families_on_one_port():
    async with CallbackServer(Redirect(host="localhost")) as callback:
        addresses = callback.addresses

    assert {address[0] for address in addresses} == {"127.0.0.1", "::1"}
    assert len({address[1] for address in addresses}) == 1


@pytest.mark.requirement("E4")
@pytest.mark.parametrize(
    "lines",
    [
        "Host: evil.com",
        "Host: evil.com:{port}",
        "Host: 127.0.0.1",
        "Host: 127.0.0.1:1",
        "Host: localhost:{port}",
        "Host: 127.0.0.1.evil.com:{port}",
        "Host: 127.0.0.1:{port}@evil",
        "Host: [::1]:{port}",
        "Host:",
        "Accept: */*",
        "Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}",
        "Host: 127.0.0.1:{port}\r\nHost: evil.com",
    ],
)
async def test_a_request_for_another_host_is_refused_and_the_login_continues(lines):
    async with pending_login() as login:
        target = f"{login.path}?{urlencode(login.answer())}"
        for version in ("1.1", "1.0"):
            text = f"GET {target} HTTP/{version}\r\n{lines.format(port=login.port)}\r\n\r\n"
            assert 400 <= (await raw(login.port, text.encode())).status < 500

        assert (await login.finish()).status == 200


@pytest.mark.requirement("E4")
async def test_an_absolute_url_as_target_is_refused_even_with_the_right_host_header():
    async with pending_login() as login:
        for origin in ("http://evil.com", f"http://127.0.0.1:{login.port}"):
            assert (await get(login.port, f"{origin}{login.path}?{urlencode(login.answer())}")).status == 421

        assert (await login.finish()).status == 200


@pytest.mark.requirement("E5")
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "TRACE", "POST", "DELETE", "PATCH"])
async def test_another_method_gets_405_and_the_login_continues(method):
    async with pending_login() as login:
        response = await login.send(method=method)

        assert response.status == 405
        assert response.headers["allow"] == "GET"
        assert (await login.finish()).status == 200


@pytest.mark.requirement("E6")
async def test_any_other_path_gets_404_and_the_login_continues():
    async with pending_login() as login:
        query = urlencode(login.answer())
        paths = ["/", "/favicon.ico", "/robots.txt", "/cancel", "//cb", f"/{login.path}", f"{login.path}/", f"{login.path}%2f"]
        paths += [login.path.upper(), f"{login.path};a", f"/x/..{login.path}", quote(login.path, safe=""), "/callback/x"]
        statuses = {path: (await get(login.port, f"{path}?{query}")).status for path in paths}

        assert {status for path, status in statuses.items() if path.startswith("/")} == {404}
        assert all(400 <= status < 500 for status in statuses.values())
        assert (await login.finish()).status == 200


@pytest.mark.requirement("E7")
async def test_a_response_without_the_flows_state_is_refused_before_any_token_request():
    server = AuthorizationServer()
    async with pending_login() as earlier:
        stale = earlier.state
    async with pending_login(server) as login:
        cut = login.state[:-1]
        for state in ("", None, stale, cut, login.state + "x", login.state.swapcase(), "é", "\udcff"):
            answer = login.answer(state=state)
            assert (await login.send(urlencode(answer, errors="surrogateescape"))).status == 400

        assert server.faults.requests[TOKEN] == 0
        assert (await login.finish()).status == 200


@pytest.mark.requirement("E8")
async def test_an_error_without_the_right_state_does_not_end_the_login():
    async with pending_login() as login:
        for query in ("error=access_denied", "error=access_denied&state=wrong", "error=access_denied&state="):
            assert (await login.send(query)).status == 400

        assert (await login.finish()).status == 200


@pytest.mark.requirement("E8")
async def test_a_denial_with_the_right_state_ends_the_login_as_denied():
    async with pending_login() as login:
        response = await login.send(login.answer(code=None, error="access_denied"))
        page = await get(login.port, response.headers["location"])

        with pytest.raises(Denied) as raised:
            await login.task

    assert (response.status, page.status) == (303, 403)
    assert "denied" in page.body
    assert raised.value.exit_code == 4


@pytest.mark.requirement("E8")
async def test_another_error_with_the_right_state_is_mapped():
    async with pending_login() as login:
        response = await login.send(login.answer(code=None, error="invalid_scope", error_description="no such scope"))
        await get(login.port, response.headers["location"])

        with pytest.raises(OAuthError) as error:
            await login.task

    assert error.value.id == "client-refused"
    assert error.value.why == "invalid_scope: no such scope"


@pytest.mark.requirement("E10")
@pytest.mark.parametrize("advertised", [True, False])
@pytest.mark.parametrize("kind", ["code", "error"])
@pytest.mark.parametrize("issuer", ["another", "with a slash", "in capitals", "empty", "none"])
async def test_the_issuer_must_match_exactly_on_codes_and_on_errors(advertised, kind, issuer):
    async with pending_login(change=lambda server: replace(server, iss_advertised=advertised)) as login:
        right = {} if kind == "code" else {"code": None, "error": "server_error"}
        wrong = {"another": "https://other.test", "with a slash": login.issuer + "/", "in capitals": login.issuer.upper()}
        response = await login.send(login.answer(**right, iss={**wrong, "empty": "", "none": None}[issuer]))
        await get(login.port, response.headers["location"])
        ended = (await asyncio.gather(login.task, return_exceptions=True))[0]

    if issuer == "none" and not advertised:
        assert getattr(ended, "id", None) == (None if kind == "code" else "server-error")
    else:
        assert ended.id == "callback-invalid"


@pytest.mark.requirement("E11")
async def test_fifty_valid_callbacks_at_once_make_one_token_request(monkeypatch):
    # Finding each sender takes 10 ms, and the result page is requested after the last.
    monkeypatch.setattr("portico.oauth.callback._RESULT_PAGE_TIMEOUT_S", LIMIT_S)
    server = AuthorizationServer()
    async with pending_login(server) as login:
        answer = login.answer()
        replies = await asyncio.gather(*(login.send(answer) for _ in range(50)))
        await get(login.port, replies[0].headers["location"])
        await asyncio.wait_for(login.task, 5)

    assert {reply.status for reply in replies} == {303}
    assert server.faults.requests[TOKEN] == 1
    assert len(login.grants) == 1


@pytest.mark.requirement("E12")
async def test_a_browser_that_closes_before_reading_the_page_does_not_lose_the_login():
    async with pending_login() as login:
        _, writer = await asyncio.open_connection("127.0.0.1", login.port)
        request = f"GET {login.path}?{urlencode(login.answer())} HTTP/1.1\r\nHost: 127.0.0.1:{login.port}\r\n\r\n"
        writer.write(request.encode())
        await login.events.first(RedirectCaught)
        writer.transport.abort()
        started = time.monotonic()
        await asyncio.wait_for(login.task, 5)

    assert len(login.grants) == 1
    assert time.monotonic() - started < 0.9, "it waited for a browser that had gone"


@pytest.mark.linux
@pytest.mark.requirement("E119")
async def test_a_response_of_an_unknown_sender_with_a_closed_connection_is_refused_and_the_login_continues():
    async with pending_login() as login:
        _, writer = await asyncio.open_connection("127.0.0.1", login.port)
        request = f"GET {login.path}?{urlencode(login.answer())} HTTP/1.1\r\nHost: 127.0.0.1:{login.port}\r\n\r\n"
        writer.write(request.encode())
        writer.transport.abort()
        assert (await login.events.first(StrayRequest)).reason == "gone"

        assert (await login.finish()).status == 200


@pytest.mark.requirement("E13")
@pytest.mark.parametrize(
    "extra",
    ["x=" + "a" * 8_000, "x=" + "a" * 65_536, "x=%zz", "x=%", "x=%00", "code=%0d%0aa", "x=%ff", "x=\xff", "a=1&" * 5_000],
)
async def test_oversized_and_malformed_queries_are_refused_or_read_and_never_crash(extra):
    async with pending_login() as login:
        for state in ("wrong", login.state):
            reply = await login.send(f"{extra}&{urlencode({'state': state})}")
            assert "Traceback" not in reply.body
            assert 400 <= reply.status < 500 or (reply.status, state) == (303, login.state)
        if reply.status == 303:
            with pytest.raises(OAuthError, match=r"is invalid|was not used"):
                await login.task
        else:
            assert (await login.finish()).status == 200


@pytest.mark.requirement("E13")
async def test_plus_and_percent_in_a_code_are_decoded():
    server = AuthorizationServer()
    async with pending_login(server) as login:
        seen = []
        server.codes.redeem = lambda code, **_rest: seen.append(code) or _refuse()
        response = await login.send(f"code=a%2Bb+c%25&state={login.state}&iss={quote(login.issuer)}")
        await get(login.port, response.headers["location"])
        with pytest.raises(OAuthError):
            await login.task

    assert seen == ["a+b c%"]


def _refuse():
    from portico.testing.grants import TokenRefused

    raise TokenRefused("invalid_grant")


@pytest.mark.requirement("E14")
@pytest.mark.parametrize("attack", XSS)
async def test_no_page_shows_received_text(attack):
    async with pending_login() as login:
        encoded = quote(attack)
        targets = [
            f"{login.path}?{name}={encoded}&state=x" for name in ("error", "error_description", "error_uri", "state", "code")
        ]
        targets += [f"{login.path}?iss={encoded}", f"{login.path}?{encoded}=1", f"/{encoded}"]
        bodies = [(await get(login.port, target)).body for target in targets]
        bodies.append((await get(login.port, "/", headers=f"X-Evil: {attack}\r\nReferer: {attack}\r\n")).body)
        bodies.append((await raw(login.port, f"{attack} / HTTP/1.1\r\n\r\n".encode())).body)
        response = await login.send(login.answer(code=None, error=attack[:200], error_description=attack))
        bodies.append((await get(login.port, response.headers["location"])).body)
        with pytest.raises(OAuthError):
            await login.task

    assert not [body for body in bodies if attack[:20] in body or "alert(1)" in body]
    assert all(body.startswith("<!doctype html>") for body in bodies)


@pytest.mark.requirement("E15")
async def test_every_response_has_the_security_headers_and_no_server_header():
    async with pending_login() as login:
        response = await login.send()
        page = await get(login.port, response.headers["location"])
        await login.task
    async with pending_login() as login:
        replies = [response, page, await get(login.port, "/"), await login.send("x=1"), await login.send(method="PUT")]
        replies += [await login.send(host="evil.com"), await raw(login.port, b"nonsense\r\n\r\n")]
        replies.append(await get(login.port, login.path, method="OPTIONS", headers="Origin: https://evil.com\r\n"))

    for reply in replies:
        policy = reply.headers["content-security-policy"]
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["connection"] == "close"
        assert "server" not in reply.headers
        assert not [name for name in reply.headers if name.startswith("access-control")]
        for directive in ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert directive in policy
        assert "unsafe" not in policy
        if reply.body:
            assert reply.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.requirement("E16")
async def test_the_browser_ends_at_an_address_without_the_code_and_a_reload_is_harmless():
    server, gate = AuthorizationServer(), Gate()

    async def finish(_token_set):
        await gate.wait()

    async with pending_login(server, finish=finish) as login:
        answer = login.answer()
        first = asyncio.create_task(login.send(answer))
        await gate.reached()
        second = asyncio.create_task(login.send(answer))
        gate.release()
        caught, repeated = await first, await second
        clean = caught.headers["location"]
        pages = await asyncio.gather(get(login.port, clean), get(login.port, clean))
        await login.task

    assert caught.status == repeated.status == 303
    assert re.fullmatch(r"/result/[\w-]{20,}", clean)
    assert answer["code"] not in caught.head + caught.body
    assert {page.status for page in pages} == {200}
    assert server.faults.requests[TOKEN] == 1


async def test_the_page_says_that_the_exchange_failed():
    server = AuthorizationServer()
    server.faults.add(TOKEN, Fault(status=400, body='{"error":"invalid_grant"}'))
    async with pending_login(server) as login:
        response = await login.send()
        page = await get(login.port, response.headers["location"])
        with pytest.raises(OAuthError):
            await login.task

    assert page.status == 502
    assert "The sign-in failed" in page.body


async def test_the_page_says_that_storing_failed():
    async def finish(_token_set):
        raise ConfigError("full", "The disk is full.")

    async with pending_login(finish=finish) as login:
        response = await login.send()
        page = await get(login.port, response.headers["location"])
        with pytest.raises(ConfigError):
            await login.task

    assert page.status == 502


async def test_the_browser_waits_for_a_limited_time_and_then_shows_the_pending_page():
    async with CallbackServer(Redirect(), hold_s=0.01) as callback:
        from portico.oauth.authorization_response import ExpectedResponse
        from portico.secret import Secret

        callback.expect(ExpectedResponse(Secret("s" * 43), "https://as.test", iss_required=False))
        port = callback.addresses[0][1]
        path = callback.redirect_uri.removeprefix(f"http://127.0.0.1:{port}")
        caught = await get(port, f"{path}?code=c&state={'s' * 43}")
        waiting = await get(port, caught.headers["location"])
        callback.settle("signed-in")
        response = await get(port, caught.headers["location"])

    assert (waiting.status, waiting.headers["refresh"]) == (200, "2")
    assert "Almost there" in waiting.body
    assert "signed in" in response.body


@pytest.mark.requirement("E17")
async def test_slow_half_open_and_huge_requests_do_not_delay_the_real_redirect():
    async with pending_login() as login:
        loris = [await asyncio.open_connection("127.0.0.1", login.port) for _ in range(200)]
        for _, writer in loris:
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
        started = time.monotonic()
        page = await login.finish()
        took = time.monotonic() - started
        for _, writer in loris:
            writer.transport.abort()

    assert page.status == 200
    assert took < 1


@pytest.mark.requirement("E17")
async def test_the_65th_connection_closes_the_one_that_has_waited_longest():
    async with pending_login() as login:
        connections = [await asyncio.open_connection("127.0.0.1", login.port) for _ in range(64)]
        assert (await get(login.port, "/")).status == 404
        first, *others = (reader for reader, _ in connections)
        assert await asyncio.wait_for(first.read(), LIMIT_S) == b""
        assert [each.at_eof() for each in others] == [False] * 63
        for _, writer in connections:
            writer.transport.abort()


@pytest.mark.requirement("E17")
async def test_a_form_post_response_is_accepted_and_a_huge_body_is_not_read():
    async with pending_login(change=lambda server: replace(server, response_mode="form_post")) as login:
        form = urlencode(login.answer())
        head = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n"
        huge = await get(login.port, login.path, method="POST", headers=head.format(10 * 2**30), body="x" * 10)
        chunked = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n"
        flood = await get(login.port, login.path, method="POST", headers=chunked, body="18000\r\n" + "x" * 0x18000 + "\r\n")
        wrong_type = await get(
            login.port, login.path, method="POST", headers="Content-Type: text/plain\r\nContent-Length: 1\r\n", body="x"
        )
        by_get = await login.send(login.answer(state="wrong"))
        response = await get(login.port, login.path, method="POST", headers=head.format(len(form)), body=form)
        page = await get(login.port, response.headers["location"])
        await asyncio.wait_for(login.task, 5)

    assert (huge.status, flood.status, wrong_type.status, by_get.status) == (413, 413, 400, 405)
    assert (response.status, page.status) == (303, 200)
    assert login.parameters["response_mode"] == "form_post"


@pytest.mark.requirement("E24")
async def test_the_server_stops_within_two_seconds_despite_open_connections():
    async with pending_login() as login:
        _, idle = await asyncio.open_connection("127.0.0.1", login.port)
        _, half = await asyncio.open_connection("127.0.0.1", login.port)
        half.write(b"GET /callback HTTP/1.1\r\nHost:")
        response = await login.send()
        started = time.monotonic()
        await login.task
        took = time.monotonic() - started
        for writer in (idle, half):
            writer.transport.abort()

        assert response.status == 303
        assert took < 2
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", login.port)


@pytest.mark.requirement("E24")
async def test_a_cancelled_login_closes_its_server_while_a_browser_waits():
    gate = Gate()

    async def finish(_token_set):
        await gate.wait()

    async with pending_login(finish=finish) as login:
        waiting_browser = asyncio.create_task(login.send())
        await gate.reached()
        login.task.cancel()
        started = time.monotonic()
        await asyncio.gather(login.task, return_exceptions=True)

        assert time.monotonic() - started < 2
        assert (await waiting_browser).status == 303
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", login.port)


async def test_stray_requests_are_reported_by_reason_only():
    async with pending_login() as login:
        await login.send("state=<script>")
        await get(login.port, "/favicon.ico")
        reasons = [event.reason for event in login.events.of(StrayRequest)]

    assert reasons == ["state-mismatch", "path"]
    assert len(login.events.of(AuthorizeUrl)) == 1
