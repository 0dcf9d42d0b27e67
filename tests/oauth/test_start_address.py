"""The start address: what other users of the machine can see of a sign-in, and that they cannot use it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

import pytest

from portico.errors import Denied
from portico.interfaces.authorization import Redirect
from portico.oauth.browser import BrowserOpener
from portico.oauth.flow import AuthorizeUrl, BrowserNotOpened, BrowserNotSeen, DeviceCode, Exchanging, StrayRequest
from portico.testing.authorization_server import AuthorizationServer, Fault, Gate
from tests.oauth.helpers import LIMIT_S, Events, Opener, get, pending_login, raw, visit
from tests.oauth.test_sign_in import Run

pytestmark = pytest.mark.requirement("E118")
TOKEN = "/token"


@pytest.fixture
def unknown_sender(monkeypatch, tmp_path):
    """A system that does not show the user of the other process."""
    monkeypatch.setattr("portico.net.peer.TABLES", tmp_path / "none")
    monkeypatch.setattr("portico.net.peer.between", lambda *_ends: None)


@pytest.fixture
def opener():
    return Opener()


async def reason_of(login) -> str:
    return (await login.events.first(StrayRequest)).reason


async def test_the_browsers_address_has_nothing_of_the_authorization_request(opener):
    async with pending_login(opener=opener) as login:
        address = await opener.start_address()
        response = await visit(address)

        assert re.fullmatch(rf"http://127\.0\.0\.1:{login.port}/start/[\w-]{{43}}", address)
        assert (response.status, response.headers["location"]) == (303, login.authorize_url)
        assert (response.headers["cache-control"], response.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert response.body == ""
        assert (await login.finish()).status == 200


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_the_start_address_has_the_callbacks_host(host, opener):
    async with pending_login(opener=opener, change=lambda server: replace(server, redirect=Redirect(host=host))) as login:
        address = await opener.start_address()
        assert urlsplit(address).netloc == urlsplit(login.redirect_uri).netloc
        if host == "localhost":
            assert (await visit(address)).headers["location"] == login.authorize_url


async def test_the_shown_address_is_the_providers_own(opener):
    async with pending_login(opener=opener) as login:
        shown = (await login.events.first(AuthorizeUrl)).url
        assert shown.startswith(f"{login.issuer}/authorize?")
        assert login.parameters["redirect_uri"].endswith(login.path)


async def test_without_a_browser_there_is_no_start_address():
    async with pending_login() as login:
        assert (await get(login.port, "/start/")).status == 404
        assert (await reason_of(login)) == "path"


@pytest.mark.linux
async def test_a_second_request_of_this_user_gets_410_and_the_login_continues(opener):
    async with pending_login(opener=opener) as login:
        address = await opener.start_address()
        await visit(address)
        response = await visit(address)

        assert response.status == 410
        assert "already used" in response.body
        assert "location" not in response.headers
        assert login.state not in response.head + response.body
        assert (await reason_of(login)) == "start-address-used"
        assert (await login.finish()).status == 200


@pytest.mark.linux
async def test_of_two_requests_at_once_one_is_redirected(opener):
    async with pending_login(opener=opener) as login:
        address = await opener.start_address()
        statuses = [reply.status for reply in await asyncio.gather(*(visit(address) for _ in range(4)))]

        assert sorted(statuses) == [303, 410, 410, 410]
        assert (await login.finish()).status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({"method": "HEAD"}, 405),
        ({"method": "OPTIONS"}, 405),
        ({"method": "POST"}, 405),
        ({"headers": "Sec-Purpose: prefetch\r\n"}, 503),
        ({"headers": "Sec-Purpose: prefetch;prerender\r\n"}, 503),
        ({"headers": "Purpose: prefetch\r\n"}, 503),
        ({"headers": "X-Moz: prefetch\r\n"}, 503),
        ({"headers": "X-Purpose: preview\r\n"}, 503),
        ({"host": "evil.com"}, 421),
    ],
)
async def test_a_prefetch_or_a_request_for_another_host_does_not_use_the_address(head, status, opener, unknown_sender):
    async with pending_login(opener=opener) as login:
        address = await opener.start_address()
        response = await visit(address, **head)
        assert response.status == status
        assert "location" not in response.headers

        assert (await visit(address)).headers["location"] == login.authorize_url
        assert (await login.finish()).status == 200


@pytest.mark.parametrize("host", ["localhost:4711", "127.0.0.1:4711", "[::1]:80", "localhost"])
async def test_the_start_address_works_with_another_local_name_or_port(host, opener):
    async with pending_login(opener=opener) as login:
        assert (await visit(await opener.start_address(), host=host)).headers["location"] == login.authorize_url
        query = urlencode(login.answer())
        assert (await get(login.port, f"{login.path}?{query}", host=host)).status == 421  # the callback's host must match exactly
        assert (await login.finish()).status == 200


async def test_a_guessed_start_address_gets_nothing(opener):
    async with pending_login(opener=opener):
        address = await opener.start_address()
        for wrong in (address[:-1], address + "x", address.replace("/start/", "/START/"), f"{address}/", address[:-44]):
            assert (await visit(wrong)).status == 404

        assert (await visit(f"{address}?x=1")).status == 303


async def test_if_the_sender_is_unknown_the_first_request_is_redirected_and_the_login_works(opener, unknown_sender):
    async with pending_login(opener=opener) as login:
        assert (await visit(await opener.start_address())).headers["location"] == login.authorize_url
        assert (await login.finish()).status == 200


async def test_if_the_sender_is_unknown_a_second_request_ends_the_login_before_any_code_is_accepted(opener, unknown_sender):
    server = AuthorizationServer()
    async with pending_login(server, opener=opener) as login:
        address = await opener.start_address()
        assert (await visit(address)).status == 303
        assert (await visit(address)).status == 410
        with pytest.raises(Denied) as raised:
            await asyncio.wait_for(login.task, LIMIT_S)
        with pytest.raises(ConnectionRefusedError):
            await login.send()

    assert (raised.value.id, raised.value.exit_code) == ("start-address-used", 4)
    assert "--no-browser" in (raised.value.hint or "")
    assert server.faults.requests[TOKEN] == 0
    assert login.grants == []


async def test_if_the_sender_is_unknown_a_second_request_during_the_exchange_revokes_the_tokens(opener, unknown_sender):
    server, gate = AuthorizationServer(), Gate()
    server.faults.add(TOKEN, Fault(gate=gate))
    async with pending_login(server, opener=opener) as login:
        address = await opener.start_address()
        await visit(address)
        answered = asyncio.create_task(login.send())
        await login.events.first(Exchanging)
        await gate.reached()
        assert (await visit(address)).status == 410
        gate.release()
        page = await get(login.port, (await answered).headers["location"])
        with pytest.raises(Denied) as raised:
            await asyncio.wait_for(login.task, LIMIT_S)

    assert raised.value.id == "start-address-used"
    assert page.status == 403
    assert server.faults.requests["/revoke"] == 2
    assert login.grants == []


async def test_a_device_page_is_opened_by_a_start_address_too_which_ends_with_the_sign_in():
    run = Run(redirect=False)
    async with run.started() as task:
        device = (await run.events.first(DeviceCode)).device
        address = await run.opener.start_address()
        assert device.user_code not in address
        assert (await visit(address)).headers["location"] == device.verification_uri_complete
        assert (await visit(f"{address}x")).status == 404
        run.approve_device()
        await asyncio.wait_for(task, LIMIT_S)
        with pytest.raises(ConnectionRefusedError):
            await visit(address)

    assert len(run.grants) == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:4711", 303),
        ("LOCALHOST", 303),
        ("[::1]:80", 303),
        ("127.0.0.1", 303),
        ("evil.com", 421),
        ("127.0.0.1.evil.com:80", 421),
        ("localhost:x", 421),
        ("", 421),
        ("localhost\r\nHost: localhost", 421),
    ],
)
async def test_a_device_pages_start_address_accepts_only_local_names_and_any_port(host, status):
    run = Run(redirect=False)
    async with run.started():
        parts = urlsplit(await run.opener.start_address())
        text = f"GET {parts.path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        reply = await raw(parts.port, text.encode())

    # aiohttp refuses a second Host header by itself.
    assert reply.status in ({400, 421} if status == 421 else {303})


async def test_if_the_sender_is_unknown_a_second_request_ends_a_device_sign_in_and_its_polls(unknown_sender):
    run = Run(redirect=False)
    async with run.started() as task:
        address = await run.opener.start_address()
        await visit(address)
        assert (await visit(address)).status == 410
        with pytest.raises(Denied) as raised:
            await asyncio.wait_for(task, LIMIT_S)
        polls = run.server.faults.requests[TOKEN]
        run.approve_device()
        await asyncio.sleep(0.1)

    assert raised.value.id == "start-address-used"
    assert run.server.faults.requests[TOKEN] == polls
    assert run.grants == []


@pytest.mark.parametrize("redirect", [True, False])
async def test_an_interrupted_sign_in_closes_its_start_address(redirect):
    run = Run(redirect=redirect)
    async with run.started() as task:
        address = await run.opener.start_address()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(ConnectionRefusedError):
            await visit(address)


async def test_without_a_free_port_the_device_page_is_shown_and_no_browser_starts(monkeypatch):
    from portico.net.server import bind_loopback
    from portico.oauth import start_address

    with bind_loopback(Redirect())[0] as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(start_address, "bind_loopback", lambda redirect: bind_loopback(replace(redirect, port=port)))
        run = Run(redirect=False)
        async with run.started() as task:
            shown = await run.events.first(DeviceCode)
            run.approve_device()
            await asyncio.wait_for(task, LIMIT_S)

    assert not shown.opened
    assert str(port) in shown.not_opened
    assert run.opener.opened == []
    assert len(run.grants) == 1


@pytest.mark.parametrize("redirect", [True, False])
async def test_a_browser_that_does_not_load_the_page_is_reported_and_the_sign_in_continues(redirect, monkeypatch):
    monkeypatch.setattr("portico.oauth.flow._BROWSER_TIMEOUT_S", 0.01)
    run = Run(redirect=redirect)
    async with run.started() as task:
        await run.events.first(BrowserNotSeen)
        assert (await visit(await run.opener.start_address())).status == 303
        run.approve_device()
        await asyncio.wait_for(task, LIMIT_S)

    assert len(run.grants) == 1


async def test_a_browser_that_loads_the_page_is_not_reported(opener):
    from portico.oauth.flow import FlowContext
    from portico.oauth.start_address import StartServer

    events = Events()
    async with StartServer("https://as.test/device", events) as listener, asyncio.timeout(LIMIT_S):
        context = FlowContext(None, None, None, None, events, opener)
        running = asyncio.create_task(context.open_page(listener.url, listener.address))
        assert (await visit(await opener.start_address())).headers["location"] == "https://as.test/device"
        await running

    assert events.seen == []


@pytest.mark.linux
async def test_after_the_browser_loaded_the_page_no_further_launcher_is_tried(tmp_path):
    log_file = tmp_path / "noted"
    for name, then in {"first": "exit 3", "second": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} >> {log_file}\n{then}\n")
        (tmp_path / name).chmod(0o755)
    opener = BrowserOpener({"BROWSER": f"{tmp_path}/first:{tmp_path}/second", "PATH": os.environ["PATH"]})

    assert await opener.open("http://127.0.0.1:9/start/x", is_shown=lambda: True)
    assert log_file.read_text() == "first\n"


# --- another user of this machine ---------------------------------------------------------------------------------------

SEEN = """
seen = []
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try: words = (folder / "cmdline").read_bytes().decode().split("\\0")
    except OSError: continue
    her_own = folder.name == str(os.getpid())
    # The shell, and for a moment the copy of it that becomes `sleep`.
    seen += [words[:-1]] if not her_own and sys.argv[1] in words and words[:-1] not in seen else []
print(json.dumps(seen))
"""
SENT = """
import http.client
for method, url, body in json.loads(sys.argv[1]):
    parts = urllib.parse.urlsplit(url)
    line = http.client.HTTPConnection(parts.netloc, timeout=5)
    form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    line.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, form)
    reply = line.getresponse()
    print(reply.status, reply.headers.get("Location", "-"), "belongs to another user" in reply.read().decode())
"""


async def as_other_user(another_user, *requests: tuple[str, str, str | None]) -> list[str]:
    """Send requests as another user; return each response's status, Location, and whether the page names another user."""
    return (await asyncio.to_thread(another_user.run, SENT, json.dumps(requests))).splitlines()


@pytest.fixture
def launcher(tmp_path):
    """A browser that keeps running with its address as argument; it ends with the test, or after 30 s."""
    program, end = tmp_path / "fake-firefox", tmp_path / "end"
    program.write_text(f"#!/bin/sh\nn=0; while [ ! -e {end} ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.05; done\n")
    program.chmod(0o755)
    yield BrowserOpener({"BROWSER": str(program), "PATH": os.environ["PATH"]}), str(program)
    end.touch()


async def seen_by_other_user(another_user, program) -> list[list[str]]:
    """The browser's arguments in /proc, as another user reads them; each attempt starts a Python process."""
    async with asyncio.timeout(4 * LIMIT_S):
        while not (found := json.loads(await asyncio.to_thread(another_user.run, SEEN, program))):
            pass
    return found


@pytest.mark.root
@pytest.mark.requirement("E119")
async def test_another_user_sees_no_state_in_the_browsers_arguments_and_cannot_use_the_start_address_or_the_callback(
    another_user, launcher
):
    opener, program = launcher
    async with pending_login(opener=opener) as login:
        ((*_, address),) = await seen_by_other_user(another_user, program)
        for secret in (login.state, login.parameters["code_challenge"], login.authorize_url):
            assert secret not in address
        query = urlencode(login.answer())

        responses = await as_other_user(another_user, ("GET", address, None), ("GET", f"{login.redirect_uri}?{query}", None))
        assert responses == ["403 - True"] * 2
        assert [event.reason for event in login.events.of(StrayRequest)] == ["other-user"] * 2
        assert login.events.of(Exchanging) == []

        assert (await visit(address)).headers["location"] == login.authorize_url
        assert (await get(login.port, (await login.send(query)).headers["location"])).status == 200
        await asyncio.wait_for(login.task, LIMIT_S)

    assert len(login.grants) == 1
    assert login.events.of(BrowserNotOpened) == []


@pytest.mark.root
@pytest.mark.requirement("E119")
@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_another_user_is_refused_at_every_address_and_the_login_continues(host, another_user, opener):
    async with pending_login(opener=opener, change=lambda server: replace(server, redirect=Redirect(host=host))) as login:
        address = await opener.start_address()
        answer = f"{login.redirect_uri}?{urlencode(login.answer())}"
        denied = f"{login.redirect_uri}?{urlencode(login.answer(code=None, error='access_denied'))}"
        by_post = ("POST", login.redirect_uri, urlencode(login.answer()))
        responses = await as_other_user(
            another_user, ("GET", address, None), ("GET", answer, None), ("GET", denied, None), by_post
        )
        assert responses == ["403 - True"] * 4
        assert [event.reason for event in login.events.of(StrayRequest)] == ["other-user"] * 4
        assert not login.task.done()


@pytest.mark.root
@pytest.mark.requirement("E119")
async def test_another_users_form_post_is_refused(another_user, opener):
    async with pending_login(opener=opener, change=lambda server: replace(server, response_mode="form_post")) as login:
        form = urlencode(login.answer())
        assert await as_other_user(another_user, ("POST", login.redirect_uri, form)) == ["403 - True"]
        head = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
        response = await get(login.port, login.path, method="POST", headers=head, body=form)
        assert (await get(login.port, response.headers["location"])).status == 200
        await asyncio.wait_for(login.task, LIMIT_S)

    assert len(login.grants) == 1


@pytest.mark.root
@pytest.mark.requirement("E119")
async def test_another_user_who_sends_a_response_and_closes_at_once_is_refused_too(another_user, opener):
    code = """
import struct
for linger in (False, True):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    if linger: client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sendall(sys.argv[2].encode()); client.close()
"""
    async with pending_login(opener=opener) as login:
        line = f"GET {login.path}?{urlencode(login.answer())} HTTP/1.1\r\nHost: 127.0.0.1:{login.port}\r\n\r\n"
        await asyncio.to_thread(another_user.run, code, str(login.port), line)
        await reason_of(login)
        await asyncio.sleep(0.05)

        assert {event.reason for event in login.events.of(StrayRequest)} <= {"gone", "other-user"}
        assert login.events.of(Exchanging) == []
        assert (await login.finish()).status == 200


@pytest.mark.root
@pytest.mark.requirement("E119")
async def test_another_user_sees_no_user_code_in_the_browsers_arguments_and_cannot_use_the_start_address(another_user, launcher):
    opener, program = launcher
    run = Run(redirect=False)
    async with run.started(opener=opener) as task:
        device = (await run.events.first(DeviceCode)).device
        ((*_, address),) = await seen_by_other_user(another_user, program)
        assert device.user_code not in address
        assert device.user_code.replace("-", "") not in address
        assert await as_other_user(another_user, ("GET", address, None)) == ["403 - True"]

        assert (await visit(address)).headers["location"] == device.verification_uri_complete
        run.approve_device()
        await asyncio.wait_for(task, LIMIT_S)

    assert len(run.grants) == 1
