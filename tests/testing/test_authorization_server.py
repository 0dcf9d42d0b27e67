from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Client, Fault, Gate, serve
from portico.testing.clock import FakeClock
from portico.testing.grants import s256, token_hash

VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:41234/callback"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def server(clock):
    return AuthorizationServer(clock=clock)


@pytest.fixture
async def base(server):
    async with serve(server) as url:
        yield url


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


def request_url(base, **changed):
    fields = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT,
        "scope": "profile",
        "state": "the-state",
        "code_challenge": s256(VERIFIER),
        "code_challenge_method": "S256",
        **changed,
    }
    return f"{base}/authorize?{urlencode({name: value for name, value in fields.items() if value is not None})}"


async def consent(http, url, decision="approve"):
    """Walk the consent page; the parameters that go back to the client."""
    async with http.get(url) as reply:
        ticket = re.search(r'name="ticket" value="([^"]+)"', await reply.text())[1]
    form = {"ticket": ticket, "decision": decision}
    async with http.post(url.partition("?")[0], data=form, allow_redirects=False) as reply:
        assert reply.status == 303
        return answer_of(reply)


def answer_of(reply):
    target = urlsplit(reply.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == REDIRECT
    return {name: values[0] for name, values in parse_qs(target.query).items()}


async def post(http, url, **form):
    async with http.post(url, data={"client_id": CLIENT_ID, **form}) as reply:
        return reply.status, await reply.json()


async def redeem(http, base, code, **changed):
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **changed}
    return await post(http, f"{base}/token", **form)


async def refresh(http, base, token):
    return await post(http, f"{base}/token", grant_type="refresh_token", refresh_token=token)


async def test_consent_sends_back_a_code_with_state_and_iss_that_buys_tokens_once(http, base, server):
    answer = await consent(http, request_url(base))
    assert (answer["state"], answer["iss"]) == ("the-state", base)
    status, tokens = await redeem(http, base, answer["code"])
    assert status == 200
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    assert server.mint.family_of(tokens["access_token"]).scope == "profile"
    again = await redeem(http, base, answer["code"])
    assert again[1]["error"] == "invalid_grant"
    assert server.mint.family_of(tokens["access_token"]) is None, "a replayed code revokes what it bought"


async def test_a_refusal_goes_back_as_access_denied(http, base):
    answer = await consent(http, request_url(base), decision="deny")
    assert answer == {"error": "access_denied", "state": "the-state", "iss": base}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
async def test_a_request_without_s256_is_refused_at_the_redirect(http, base, changed, error):
    async with http.get(request_url(base, **changed), allow_redirects=False) as reply:
        assert answer_of(reply)["error"] == error


@pytest.mark.parametrize(
    "changed", [{"redirect_uri": "https://evil.example/cb"}, {"client_id": "nobody"}, {"redirect_uri": None}]
)
async def test_a_browser_is_never_sent_to_a_redirect_uri_that_is_not_the_clients(http, base, changed):
    async with http.get(request_url(base, **changed), allow_redirects=False) as reply:
        assert reply.status == 400
        assert "Location" not in reply.headers


def test_a_registered_loopback_redirect_may_have_any_port_but_no_other_path():
    client = Client("c", redirect_uris=("http://127.0.0.1/cb",))
    assert client.takes("http://127.0.0.1:5000/cb")
    assert not client.takes("http://127.0.0.1:5000/other")
    assert not client.takes("http://localhost:5000/cb")
    assert not client.takes("http://127.0.0.1@evil.example/cb")


@pytest.mark.parametrize("wrong", [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"redirect_uri": REDIRECT + "x"}])
async def test_a_code_is_worth_nothing_without_its_verifier_and_redirect_uri(http, base, server, wrong):
    server.authorize.auto_approve = True
    async with http.get(request_url(base), allow_redirects=False) as reply:
        code = answer_of(reply)["code"]
    assert (await redeem(http, base, code, **wrong))[1]["error"] == "invalid_grant"


async def test_form_post_hands_the_answer_over_in_a_form(http, base, server):
    server.authorize.auto_approve = True
    async with http.get(request_url(base, response_mode="form_post")) as reply:
        text = await reply.text()
    assert f'action="{REDIRECT}"' in text
    assert 'name="code"' in text


async def test_metadata_names_every_endpoint_and_can_be_bent(http, base, server):
    server.metadata_extra = {"issuer": "https://other.example", "revocation_endpoint": None}
    async with http.get(f"{base}/.well-known/oauth-authorization-server") as reply:
        document = await reply.json()
    assert document["token_endpoint"] == f"{base}/token"
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["issuer"] == "https://other.example"
    assert "revocation_endpoint" not in document


async def test_a_device_is_pending_then_told_to_slow_down_then_approved(http, base, server, clock):
    _, device = await post(http, f"{base}/device_authorization", scope="profile")
    poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device["device_code"]}
    assert (await post(http, f"{base}/token", **poll))[1]["error"] == "authorization_pending"
    assert (await post(http, f"{base}/token", **poll))[1]["error"] == "slow_down"
    clock.advance(10)
    async with http.post(f"{base}/device", data={"user_code": device["user_code"].lower(), "decision": "approve"}) as page:
        assert "Device connected" in await page.text()
    status, tokens = await post(http, f"{base}/token", **poll)
    assert status == 200
    assert server.mint.family_of(tokens["access_token"]).client_id == CLIENT_ID
    assert (await post(http, f"{base}/token", **poll))[1]["error"] == "invalid_grant"


async def test_a_device_is_denied_or_expires(http, base, server, clock):
    _, denied = await post(http, f"{base}/device_authorization")
    _, late = await post(http, f"{base}/device_authorization")
    server.devices.decide(denied["user_code"], approved=False)
    poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
    assert (await post(http, f"{base}/token", device_code=denied["device_code"], **poll))[1]["error"] == "access_denied"
    clock.advance(301)
    assert (await post(http, f"{base}/token", device_code=late["device_code"], **poll))[1]["error"] == "expired_token"
    assert not server.devices.decide(late["user_code"], approved=True)


async def test_a_refresh_rotates_and_reuse_ends_the_family(http, base, server):
    first = server.mint.start(CLIENT_ID)
    _, second = await refresh(http, base, first.refresh)
    assert server.mint.family_of(second["access_token"]).generation == 1
    status, reply = await refresh(http, base, first.refresh)
    assert (status, reply["error"]) == (400, "invalid_grant")
    assert (await refresh(http, base, second["refresh_token"]))[1]["error"] == "invalid_grant"
    assert first.family.reused
    assert server.mint.family_of(second["access_token"]) is None
    assert server.presented.twice == [token_hash(first.refresh)]
    assert server.presented.total == 3


async def test_revocation_of_a_refresh_token_ends_the_family_and_unknown_tokens_are_no_error(http, base, server):
    issued = server.mint.start(CLIENT_ID)
    for token in (issued.refresh, "unknown"):
        async with http.post(f"{base}/revoke", data={"client_id": CLIENT_ID, "token": token}) as reply:
            assert reply.status == 200
    assert server.mint.live_families == []
    assert (await refresh(http, base, issued.refresh))[1]["error"] == "invalid_grant"


async def test_an_access_token_is_good_for_its_lifetime_only(server, clock):
    server.mint.access_ttl_s = 30
    issued = server.mint.start(CLIENT_ID)
    clock.advance(29)
    assert server.mint.family_of(issued.access) is issued.family
    clock.advance(1)
    assert server.mint.family_of(issued.access) is None


async def test_a_fixed_answer_is_given_once_and_nothing_is_processed(http, base, server):
    issued = server.mint.start(CLIENT_ID)
    server.faults.add("/token", Fault(status=503, body='{"error":"busy"}', headers={"Retry-After": "2"}))
    async with http.post(f"{base}/token", data={"grant_type": "refresh_token", "refresh_token": issued.refresh}) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    assert server.mint.is_current(issued.refresh)
    assert (await refresh(http, base, issued.refresh))[0] == 200


@pytest.mark.parametrize(("drop", "spent"), [("before", False), ("after", True)])
async def test_a_dropped_connection_spends_the_token_only_after_processing(http, base, server, drop, spent):
    issued = server.mint.start(CLIENT_ID)
    server.faults.add("/token", Fault(drop=drop))
    with pytest.raises(aiohttp.ClientError):
        await refresh(http, base, issued.refresh)
    assert server.presented.times(issued.refresh) >= 1
    assert server.mint.is_current(issued.refresh) is not spent


async def test_half_an_answer_is_cut_off_in_the_body(http, base, server):
    issued = server.mint.start(CLIENT_ID)
    server.faults.add("/token", Fault(half=True))
    with pytest.raises(aiohttp.ClientPayloadError):
        await refresh(http, base, issued.refresh)
    assert not server.mint.is_current(issued.refresh)


async def test_a_hanging_request_is_let_go(http, base, server):
    gate = Gate()
    issued = server.mint.start(CLIENT_ID)
    server.faults.add("/token", Fault(gate=gate))
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(refresh(http, base, issued.refresh))
        await gate.reached()
        assert server.mint.is_current(issued.refresh)
        gate.release()
        assert (await waiting)[0] == 200


async def test_a_server_that_shuts_down_lets_go_of_hanging_requests(http, server):
    gate = Gate()
    server.faults.always("/token", Fault(gate=gate))
    async with asyncio.timeout(5):
        async with serve(server) as base:
            waiting = asyncio.create_task(refresh(http, base, "x"))
            await gate.reached()
        with contextlib.suppress(aiohttp.ClientError):
            await waiting


def test_it_runs_alone_as_a_module():
    command = [sys.executable, "-m", "portico.testing.authorization_server", "--auto-approve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert re.fullmatch(rf"http://127\.0\.0\.1:\d+ serves client {CLIENT_ID}\n", child.stdout.readline())
        finally:
            child.terminate()
