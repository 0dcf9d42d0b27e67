"""A sign-in with the scope `openid`: consent for offline access, the nonce, and the ID token."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portico.errors import ConfigError, NetworkError, NoWayToSignIn, OAuthError
from portico.interfaces.authorization import OAuthServer
from portico.net.client import HttpClient
from portico.oauth.device_flow import device_flow
from portico.oauth.discovery import discover
from portico.oauth.flow import DeviceCode, FlowContext
from portico.oauth.standard import StandardDialect
from portico.oauth.token_response import IdTokenRefused
from portico.testing.authorization_server import AuthorizationServer, Fault, serve
from portico.testing.clock import FakeClock
from tests.oauth.helpers import Events, NoBrowser, get, in_browser, pending_login


def with_scope(scope):
    return lambda server: replace(server, scope=scope)


OPENID = with_scope("openid offline_access")


def signing_in(server=None, **more):
    return pending_login(server, **more, timeout_s=30)


async def approved(login) -> str:
    """Follow the redirects from the authorization URL to the callback as a browser does; return the last page."""
    server_port = int(login.issuer.rpartition(":")[2])
    response = await get(server_port, login.authorize_url.removeprefix(login.issuer), headers="Connection: close\r\n")
    assert response.status == 303, response.body
    caught = await get(login.port, response.headers["location"].partition(f":{login.port}")[2])
    return (await get(login.port, caught.headers["location"])).body


def auto(**claims) -> AuthorizationServer:
    server = AuthorizationServer()
    server.authorize.auto_approve = True
    server.id_claims = claims
    return server


@pytest.mark.requirement("E136")
@pytest.mark.parametrize(
    ("scope", "prompt"),
    [
        ("openid offline_access", "consent"),
        ("offline_access profile", "consent"),
        ("openid profile", None),
        ("profile", None),
        ("", None),
        ("not_offline_access", None),
    ],
)
async def test_offline_access_is_requested_with_consent(scope, prompt):
    async with signing_in(change=with_scope(scope)) as login:
        assert login.parameters.get("prompt") == prompt


def with_query(query, scope="openid offline_access"):
    return lambda server: replace(server, scope=scope, authorization_endpoint=f"{server.authorization_endpoint}?{query}")


@pytest.mark.requirement("E136")
@pytest.mark.parametrize("prompt", ["consent", "select_account consent", ""])
async def test_a_prompt_in_the_endpoints_query_is_not_added_again(prompt):
    async with signing_in(change=with_query(urlencode({"access_type": "offline", "prompt": prompt}))) as login:
        query = parse_qs(urlsplit(login.authorize_url).query, keep_blank_values=True)

    assert query["prompt"] == [prompt]
    assert query["access_type"] == ["offline"]


@pytest.mark.requirement("E136")
@pytest.mark.parametrize("pushed", [False, True])
async def test_no_request_parameter_appears_twice_for_any_endpoint_query(pushed):
    change = with_query("scope=all&tenant=a%20b&tenant=c&client_id=other&state=x")
    async with signing_in(pushing(auto()) if pushed else auto(), change=change) as login:
        query = parse_qs(urlsplit(login.authorize_url).query, keep_blank_values=True)

    assert query["client_id"] == ["portico-test"]
    assert query["tenant"] == ["a b", "c"]
    assert {name for name, values in query.items() if len(values) > 1} == {"tenant"}


@pytest.mark.requirement("E136")
@pytest.mark.parametrize(("scope", "refresh"), [("openid offline_access", True), ("openid", False)])
async def test_with_consent_the_server_issues_a_refresh_token_for_offline_access(scope, refresh):
    async with signing_in(auto(), change=with_scope(scope)) as login:
        await approved(login)
        await asyncio.wait_for(login.task, 30)

    assert (login.grants[0].refresh is not None) is refresh


@pytest.mark.requirement("E137")
@pytest.mark.parametrize(("scope", "sent"), [("openid profile", True), ("profile", False), ("xopenid", False)])
async def test_a_request_with_openid_has_a_nonce(scope, sent):
    async with signing_in(change=with_scope(scope)) as one, signing_in(change=with_scope(scope)) as other:
        nonces = [login.parameters.get("nonce") for login in (one, other)]

    assert [nonce is not None and len(nonce) >= 43 for nonce in nonces] == [sent, sent]
    assert len({*nonces, one.state, other.state, None}) == (5 if sent else 3)


@pytest.mark.requirement("E137")
async def test_an_id_token_with_the_nonce_is_accepted():
    async with signing_in(auto(), change=OPENID) as login:
        assert "You are signed in" in await approved(login)
        await asyncio.wait_for(login.task, 30)

    assert login.grants[0].subject == "ada"


WRONG = {
    "another nonce": ({"nonce": "another"}, "nonce"),
    "no nonce": ({"nonce": None}, "nonce"),
    "a nonce that is a number": ({"nonce": 7}, "nonce"),
    "another issuer": ({"iss": "https://evil.test"}, "iss"),
    "no issuer": ({"iss": None}, "iss"),
    "another audience": ({"aud": "another-client"}, "aud"),
    "an audience that is an object": ({"aud": {"portico-test": 1}}, "aud"),
    "no audience": ({"aud": None}, "aud"),
    "several audiences without azp": ({"aud": ["portico-test", "another"]}, "azp"),
    "another azp": ({"aud": ["portico-test"], "azp": "another"}, "azp"),
    "a time that is past": ({"exp": 1_000_000}, "exp"),
    "a time that is text": ({"exp": "tomorrow"}, "exp"),
    "no end": ({"exp": None}, "exp"),
    "no subject": ({"sub": None}, "sub"),
}


@pytest.mark.requirement("E137")
@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_id_token_is_refused_and_the_tokens_are_revoked(case):
    claims, named = WRONG[case]
    server = auto(**claims)
    async with signing_in(server, change=OPENID) as login:
        page = await approved(login)
        with pytest.raises(OAuthError) as error:
            await asyncio.wait_for(login.task, 30)

    assert "You are signed in" not in page
    assert (type(error.value), error.value.exit_code) == (IdTokenRefused, 8)
    assert named in error.value.why
    assert ("`issuer` and `clientId`" in error.value.hint) is (named in {"iss", "aud", "azp"})
    assert "revoked" in error.value.message
    assert login.grants == []
    assert server.faults.requests["/revoke"] == 2
    assert server.mint.live_families == []


@pytest.mark.requirement("E137")
async def test_a_failed_revocation_is_reported_with_the_error():
    server = auto(nonce="another")
    server.faults.always("/revoke", Fault(status=401))
    async with signing_in(server, change=OPENID) as login:
        await approved(login)
        with pytest.raises(OAuthError) as error:
            await asyncio.wait_for(login.task, 30)

    assert "not revoked" in error.value.message


@pytest.mark.requirement("E137")
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["portico-test"]},
        {"aud": ["portico-test", "another"], "azp": "portico-test"},
        {"auth_time": 1, "amr": ["pwd"], "acr": "0", "odd": [1]},
        # Servers with wrong types in claims that this client does not use.
        {"amr": "pwd"},
        {"auth_time": "2026-01-01T00:00:00Z", "jti": 7, "acr": ["0"]},
    ],
)
async def test_a_valid_id_token_may_have_further_claims(claims):
    async with signing_in(auto(**claims), change=OPENID) as login:
        await approved(login)
        await asyncio.wait_for(login.task, 30)

    assert login.grants


@pytest.mark.requirement("E137")
@pytest.mark.parametrize("token", ["a.b.c", "....", "a.b", "x" * 70_000, "W10.W10.x", ["a"], 7])
async def test_an_unreadable_id_token_is_refused(token):
    server = auto()
    fields = {"access_token": "an-access-token", "refresh_token": "a-refresh-token", "token_type": "Bearer", "id_token": token}
    server.faults.always("/token", Fault(status=200, body=json.dumps(fields)))
    async with signing_in(server, change=OPENID) as login:
        await approved(login)
        with pytest.raises(OAuthError) as error:
            await asyncio.wait_for(login.task, 30)

    assert type(error.value) is IdTokenRefused


@pytest.mark.requirement("E137")
@pytest.mark.parametrize("scope", ["openid", "profile"])
async def test_a_reply_without_an_id_token_is_accepted(scope):
    server = auto()
    server.faults.always("/token", Fault(status=200, body='{"access_token": "an-access-token", "token_type": "Bearer"}'))
    async with signing_in(server, change=with_scope(scope)) as login:
        await approved(login)
        await asyncio.wait_for(login.task, 30)

    assert login.grants[0].subject is None


@pytest.mark.requirement("E137")
async def test_the_expiry_of_an_id_token_is_checked_by_the_servers_clock():
    clock = FakeClock()
    server = auto()
    server.mint.clock = clock  # decades behind this machine's clock, as the reply's `Date` shows
    async with signing_in(server, change=OPENID) as login:
        await approved(login)
        await asyncio.wait_for(login.task, 30)

    assert login.grants


@pytest.mark.requirement("E137")
@pytest.mark.parametrize(("claims", "id"), [({}, None), ({"aud": "another"}, "callback-invalid")])
async def test_the_id_token_of_a_device_sign_in_is_checked_for_issuer_and_audience(claims, id):
    clock, token_sets = FakeClock(), []
    server = AuthorizationServer(clock=clock)
    server.id_claims = claims

    def approve(event):
        if isinstance(event, DeviceCode):
            server.devices.decide(event.device.user_code, approved=True)

    async def keep(token_set):
        token_sets.append(token_set)

    async with serve(server) as base_url, HttpClient(clock=clock) as http:
        described = OPENID(server.description(base_url))
        ended = await asyncio.gather(
            device_flow(FlowContext(described, StandardDialect(), http, keep, approve, clock=clock)), return_exceptions=True
        )

    assert getattr(ended[0], "id", None) == id
    assert len(token_sets) == (id is None)


def pushing(server):
    server.authorize.require_pushed = True
    return server


@pytest.mark.requirement("E138")
@pytest.mark.parametrize("scope", ["profile", "openid offline_access"])
async def test_a_required_push_leaves_only_the_reference_in_the_url(scope):
    server = pushing(auto())
    async with signing_in(server, change=with_scope(scope)) as login:
        assert set(login.parameters) == {"client_id", "request_uri"}
        (pushed,) = server.authorize.pushed.values()
        page = await approved(login)
        await asyncio.wait_for(login.task, 30)

    assert "You are signed in" in page
    assert login.grants
    expected = {"client_id", "response_type", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"}
    assert set(pushed) == expected | ({"nonce", "prompt"} if "openid" in scope else set())


@pytest.mark.requirement("E138")
async def test_parameters_of_the_endpoints_own_query_are_pushed_too():
    server = pushing(auto())
    async with signing_in(server, change=with_query("access_type=offline&prompt=login", scope="offline_access")):
        (pushed,) = server.authorize.pushed.values()

    assert (pushed["access_type"], pushed["prompt"]) == ("offline", "login")


@pytest.mark.requirement("E138")
async def test_if_pushing_is_optional_the_request_is_not_pushed():
    server = auto()
    async with signing_in(server) as login:
        assert "state" in login.parameters

    assert server.faults.requests["/par"] == 0


PUSH_REFUSED = {
    "invalid_client": (Fault(status=401, body='{"error": "invalid_client"}'), "client-refused"),
    "a page": (Fault(status=200, body="<html>"), "reply-unreadable"),
    "no request_uri": (Fault(status=201, body='{"expires_in": 60}'), "reply-invalid"),
    "a request_uri that is a number": (Fault(status=201, body='{"request_uri": 5}'), "reply-invalid"),
    "a request_uri of two lines": (Fault(status=201, body='{"request_uri": "urn:a\\nb"}'), "reply-invalid"),
    "a redirect": (Fault(status=302, headers={"Location": "/login"}), "reply-unreadable"),
    "a hang-up": (Fault(drop="before"), "network"),
}


@pytest.mark.requirement("E138")
@pytest.mark.parametrize("case", PUSH_REFUSED)
async def test_a_failed_push_ends_the_sign_in_before_a_browser_opens(case):
    fault, id = PUSH_REFUSED[case]
    server, events = pushing(AuthorizationServer()), Events()
    server.faults.always("/par", fault)
    async with serve(server) as base_url, HttpClient() as http:
        with pytest.raises(NetworkError) as error:
            await in_browser(
                server.description(base_url),
                StandardDialect(),
                http,
                finish=None,
                on_event=events,
                opener=NoBrowser(),
                timeout_s=2,
            )

    assert error.value.id == id
    assert events.seen == []


@pytest.mark.requirement("E138")
async def test_a_server_that_requires_a_push_but_names_no_endpoint_is_an_error():
    server, events = pushing(AuthorizationServer()), Events()
    async with serve(server) as base_url, HttpClient() as http:
        described = replace(server.description(base_url), pushed_authorization_request_endpoint=None)
        with pytest.raises(NoWayToSignIn, match="pushed"):
            await in_browser(described, StandardDialect(), http, finish=None, on_event=events, opener=NoBrowser(), timeout_s=2)


@pytest.mark.requirement("E138")
@pytest.mark.parametrize(
    ("named", "endpoint", "required"),
    [
        ({}, "/par", True),
        ({"require_pushed_authorization_requests": None}, "/par", False),
        ({"require_pushed_authorization_requests": "true"}, "/par", False),
        ({"pushed_authorization_request_endpoint": None}, None, True),
    ],
)
async def test_the_metadata_sets_whether_and_where_requests_are_pushed(named, endpoint, required):
    server = pushing(AuthorizationServer())
    server.metadata_extra = named
    async with serve(server) as base_url, HttpClient() as http:
        found = await discover(OAuthServer(issuer=base_url, client_id="portico-test", token_endpoint=""), http)

    assert found.pushed_authorization_request_endpoint == (base_url + endpoint if endpoint else None)
    assert found.pushed_authorization_required is required


@pytest.mark.requirement("E138")
async def test_an_unsafe_push_endpoint_is_refused():
    server = pushing(AuthorizationServer())
    server.metadata_extra = {"pushed_authorization_request_endpoint": "http://evil.test/par"}
    async with serve(server) as base_url, HttpClient() as http:
        with pytest.raises(ConfigError) as error:
            await discover(OAuthServer(issuer=base_url, client_id="portico-test", token_endpoint=""), http)

    assert error.value.id == "endpoint-refused"


@pytest.mark.requirement("E138")
async def test_the_endpoints_own_query_stays_in_the_url():
    change = lambda server: replace(server, authorization_endpoint=f"{server.authorization_endpoint}?tenant=1")  # noqa: E731 - one change
    async with signing_in(pushing(auto()), change=change) as login:
        assert set(login.parameters) == {"tenant", "client_id", "request_uri"}
        await approved(login)
        await asyncio.wait_for(login.task, 30)
