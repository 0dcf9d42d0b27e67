"""An invalid response with the sign-in's state ends the sign-in at once; a response without the state never does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from portico.errors import Denied, OAuthError, PorticoError
from portico.oauth.callback import CallbackServer
from portico.oauth.flow import StrayRequest
from portico.testing.authorization_server import AuthorizationServer
from tests.oauth.helpers import LIMIT_S, get, pending_login

pytestmark = pytest.mark.requirement("E131")

DENIED = {"code": None, "error": "access_denied"}


def advertised(server):
    return replace(server, iss_advertised=True)


def form_post(server):
    return replace(server, response_mode="form_post")


def with_query(login, more: str, **changes) -> str:
    return f"{urlencode(login.answer(**changes))}&{more}"


# An invalid response with the right state, and the result: exit code, id, and a part of the reason.
REFUSED = {
    "a wrong iss": (lambda login: urlencode(login.answer(iss="https://evil.test")), 8, "callback-invalid", "another"),
    "no iss": (lambda login: urlencode(login.answer(iss=None)), 8, "callback-invalid", "no `iss`"),
    "a denial with a wrong iss": (
        lambda login: urlencode(login.answer(**DENIED, iss="https://evil.test")),
        8,
        "callback-invalid",
        "another",
    ),
    "a denial in two lines": (
        lambda login: urlencode(login.answer(**DENIED, error_description="No.\r\nNot today.\x1b[31m")),
        4,
        "access-denied",
        "access_denied: No. Not today. [31m",
    ),
    "a denial in Latin-1": (lambda login: with_query(login, "error_description=refus%E9", **DENIED), 4, "access-denied", "refus"),
    "a denial with a bare percent sign": (
        lambda login: with_query(login, "error_description=100%", **DENIED),
        4,
        "access-denied",
        "100%",
    ),
    "two codes": (lambda login: with_query(login, "code=x"), 8, "callback-invalid", "`code` twice"),
    "its state twice": (lambda login: with_query(login, f"state={login.state}"), 8, "callback-invalid", "`state` twice"),
    "a code and an error": (lambda login: with_query(login, "error=access_denied"), 8, "callback-invalid", "both"),
    "neither": (lambda login: urlencode(login.answer(code=None)), 8, "callback-invalid", "neither"),
    "an empty code": (lambda login: urlencode(login.answer(code="")), 8, "callback-invalid", "empty"),
    "an empty error": (lambda login: urlencode(login.answer(code=None, error="")), 8, "callback-invalid", "empty"),
    "a code of 20,000 characters": (
        lambda login: urlencode(login.answer(code="c" * 20_000)),
        8,
        "callback-invalid",
        "more than 8192 characters",
    ),
    "a code with a line break": (lambda login: urlencode(login.answer(code="a\r\nb")), 8, "callback-invalid", "`code`"),
    "a code that is no UTF-8": (lambda login: with_query(login, "code=%ff", code=None), 8, "callback-invalid", "`code`"),
    "a code with half an escape": (lambda login: with_query(login, "code=a%2", code=None), 8, "callback-invalid", "`code`"),
    "more parameters than any answer": (lambda login: with_query(login, "a=1&" * 200), 8, "callback-invalid", "parameters"),
}


async def error_of_login(login) -> PorticoError:
    with pytest.raises(PorticoError) as raised:
        await asyncio.wait_for(login.task, LIMIT_S)
    return raised.value


@pytest.mark.requirement("E9")
@pytest.mark.parametrize("case", REFUSED)
async def test_an_invalid_response_with_the_right_state_ends_the_sign_in_with_its_reason(case):
    make, exit_code, id, why = REFUSED[case]
    server = AuthorizationServer()
    async with pending_login(server, change=advertised) as login:
        response = await login.send(make(login))
        assert response.status == 303
        page = await get(login.port, response.headers["location"])
        error = await error_of_login(login)

    assert (error.exit_code, error.id) == (exit_code, id)
    assert why in error.why
    assert error.hint
    assert login.state not in str(error)
    assert page.status == (403 if exit_code == 4 else 502)
    assert server.faults.requests["/token"] == 0
    assert login.grants == []


@pytest.mark.parametrize("case", REFUSED)
async def test_an_invalid_response_without_the_state_never_ends_the_sign_in(case):
    make, *_ = REFUSED[case]
    async with pending_login(change=advertised) as login:
        genuine = make(login)
        for state in ("", "wrong", f"{login.state}x", login.state[:-1]):
            forged = genuine.replace(login.state, state)
            assert (await login.send(forged)).status == 400
        mixed = genuine.replace(f"state={login.state}", f"state={login.state}&state=wrong")
        assert (await login.send(mixed)).status == 400

        assert (await login.finish()).status == 200
    assert {event.reason for event in login.events.of(StrayRequest)} <= {"state-mismatch", "state-missing"}


async def test_a_response_by_the_wrong_method_with_the_state_ends_the_sign_in():
    async with pending_login(change=form_post) as login:
        wrong = await get(login.port, f"{login.path}?{urlencode(login.answer(state='x'))}")
        assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
        response = await login.send()
        await get(login.port, response.headers["location"])
        error = await error_of_login(login)

    assert (error.id, response.status) == ("callback-invalid", 303)
    assert "GET" in error.why


async def test_a_form_instead_of_a_query_with_the_state_ends_the_sign_in():
    async with pending_login() as login:
        body = urlencode(login.answer())
        lines = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        response = await get(login.port, login.path, method="POST", headers=lines, body=body)
        await get(login.port, response.headers["location"])
        error = await error_of_login(login)

    assert (error.id, response.status) == ("callback-invalid", 303)
    assert "POST" in error.why


async def test_unknown_parameters_are_ignored():
    async with pending_login() as login:
        query = with_query(login, "session_state=%00%ff&x=%zz&x=2&error_description=%0d%0a")
        response = await login.send(query)
        page = await get(login.port, response.headers["location"])
        await asyncio.wait_for(login.task, LIMIT_S)

    assert page.status == 200
    assert len(login.grants) == 1


async def test_a_state_that_the_server_repeats_in_its_description_is_not_shown():
    async with pending_login() as login:
        output = f"state {quote(login.state)}"
        response = await login.send(login.answer(code=None, error="server_error", error_description=output))
        await get(login.port, response.headers["location"])
        error = await error_of_login(login)

    assert isinstance(error, OAuthError)
    assert login.state[:12] not in str(error)


async def test_a_pasted_denial_ends_the_sign_in_and_a_cut_address_can_be_pasted_again():
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with pending_login(paste=lines.get) as login:
        lines.put_nowait(f"{login.redirect_uri}?state={login.state}")
        lines.put_nowait(f"{login.redirect_uri}?state={login.state}&code=a%2")
        lines.put_nowait(f"{login.redirect_uri}?{urlencode(login.answer(**DENIED))}")
        error = await error_of_login(login)

    assert isinstance(error, Denied)
    assert [event.reason for event in login.events.of(StrayRequest)] == ["iss-missing", "malformed-parameters"]


async def test_a_callback_before_the_sign_in_has_a_state_is_stray():
    from portico.interfaces.authorization import Redirect

    strays = []
    async with CallbackServer(Redirect(path="/cb"), on_stray=strays.append) as callback:
        port = callback.addresses[0][1]
        assert (await get(port, "/cb?state=x&error=access_denied")).status == 400
    assert strays == ["too-early"]
