"""Authlib builds the requests. Each trap in Authlib has one test."""

from __future__ import annotations

import random
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from authlib.oauth2.rfc6749.parameters import parse_authorization_code_response

from portico.errors import Denied, OAuthError
from portico.interfaces.authorization import DeviceAuthorization, OAuthServer
from portico.oauth.authorization_response import CallbackRefused, ExpectedResponse, Parameters, UnrelatedResponse, read_parameters
from portico.oauth.browser_flow import new_authorization_request
from portico.oauth.standard import StandardDialect, one_time_value
from portico.secret import Secret
from portico.testing.grants import s256
from tests.oauth.helpers import reply
from tests.source_tree import HOST, modules

REDIRECT = "http://127.0.0.1:1/callback/x"
SERVER = OAuthServer(
    issuer="https://as.test",
    client_id="client & co",
    token_endpoint="https://as.test/token",
    scope="openid profile",
    authorization_endpoint="https://as.test/authorize?tenant=1",
    device_authorization_endpoint="https://as.test/device",
    revocation_endpoint="https://as.test/revoke",
)
DEVICE = DeviceAuthorization("AAAA", "https://as.test/d", 1, 5.0, device_code=Secret("dc"))


def revealed(form):
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}


@pytest.mark.requirement("E34")
def test_a_thousand_flows_have_a_thousand_challenges_for_any_random_seed():
    seen = set()
    for _ in range(1_000):
        random.seed(0)
        request = new_authorization_request(SERVER, REDIRECT)
        query = parse_qs(urlsplit(request.url).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["code_challenge"] == [s256(request.verifier.reveal())]
        assert query["state"] == [request.state.reveal()]
        seen.add((query["code_challenge"][0], query["state"][0]))

    assert len({challenge for challenge, _ in seen}) == len({state for _, state in seen}) == 1_000


@pytest.mark.requirement("E34")
def test_a_verifier_has_256_bits_and_the_form_of_the_rfc():
    verifier = one_time_value().reveal()

    assert len(verifier) == 43
    assert verifier.isascii()
    assert len({one_time_value().reveal() for _ in range(100)}) == 100


@pytest.mark.requirement("E34")
def test_the_verifier_of_the_exchange_matches_the_challenge_of_the_url():
    request = new_authorization_request(SERVER, REDIRECT)
    form = revealed(
        StandardDialect().code_request(SERVER, code=Secret("c+1 &"), redirect_uri=REDIRECT, verifier=request.verifier).form
    )

    assert form == {
        "grant_type": "authorization_code",
        "code": "c+1 &",
        "redirect_uri": REDIRECT,
        "code_verifier": request.verifier.reveal(),
        "client_id": "client & co",
    }
    assert parse_qs(urlsplit(request.url).query)["code_challenge"] == [s256(form["code_verifier"])]


def test_the_authorization_url_keeps_the_endpoints_own_query():
    query = parse_qs(urlsplit(new_authorization_request(SERVER, REDIRECT).url).query)

    assert query["tenant"] == ["1"]
    assert query["response_type"] == ["code"]
    assert query["scope"] == ["openid profile"]
    assert query["redirect_uri"] == [REDIRECT]


def test_trap_a_state_of_none_is_refused():
    with pytest.raises(UnrelatedResponse):
        ExpectedResponse(Secret("s"), "https://as.test", iss_required=False).read(Parameters([("code", "c")]))


def test_trap_an_error_response_is_never_read_as_another_grant():
    answer = ExpectedResponse(Secret("s"), "https://as.test", iss_required=False).read(
        Parameters([("error", "access_denied"), ("state", "s")])
    )

    assert isinstance(answer, Denied)


def test_trap_the_grant_type_is_never_guessed():
    dialect = StandardDialect()
    requests = [
        dialect.code_request(SERVER, code=Secret("c"), redirect_uri=REDIRECT, verifier=Secret("v")),
        dialect.refresh_request(SERVER, Secret("r")),
        dialect.poll_request(SERVER, DEVICE, verifier=Secret("v")),
    ]

    assert [request.form["grant_type"] for request in requests] == [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
    ]


def test_trap_a_duplicate_code_is_refused():
    parameters = Parameters([("code", "a"), ("code", "b"), ("state", "s")])
    answer = ExpectedResponse(Secret("s"), "i", iss_required=False).read(parameters)

    assert isinstance(answer, CallbackRefused)
    assert answer.reason == "duplicate-parameter"


@pytest.mark.parametrize("code", ["c", "c+1 & é", "%41", "a;b=c"])
def test_authlib_reads_the_same_code_from_an_accepted_response(code):
    query = urlencode({"state": "s", "code": code, "x": ""})
    taken = ExpectedResponse(Secret("s"), "i", iss_required=False).read(read_parameters(query))

    assert isinstance(taken, Secret)
    assert taken.reveal() == parse_authorization_code_response(f"{REDIRECT}?{query}", "s")["code"] == code


@pytest.mark.parametrize(("status", "body"), [(200, "{}"), (400, '{"access_token": "a", "token_type": "bearer"}'), (400, "{}")])
def test_trap_an_empty_or_failed_reply_has_no_token(status, body):
    with pytest.raises(OAuthError):
        StandardDialect().read_token_reply(reply(body, status))


def test_trap_authlibs_clients_are_not_used():
    assert [
        f"{module.name}:{line}"
        for module in modules(HOST)
        for line, name in module.imports()
        if name.startswith(("authlib.integrations", "authlib.oauth2.client")) or name.endswith(("OAuth2Client", "OAuth2Session"))
    ] == []


def test_trap_a_zero_lifetime_is_ignored_and_the_token_is_not_lost():
    token_set = StandardDialect().read_token_reply(reply('{"access_token": "a", "token_type": "bearer", "expires_in": 0}'))
    assert (token_set.expires_at, token_set.unread) == (None, ("expires_in",))


def test_secrets_in_a_form_stay_wrapped():
    dialect = StandardDialect()
    refresh = dialect.refresh_request(SERVER, Secret("refresh-secret"))
    revoke = dialect.revoke_request(SERVER, Secret("revoke-secret"), "refresh_token")

    assert "refresh-secret" not in repr(refresh)
    assert "revoke-secret" not in repr(revoke)
    assert revealed(refresh.form) == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-secret",
        "client_id": "client & co",
    }
    assert revealed(revoke.form) == {"token": "revoke-secret", "token_type_hint": "refresh_token", "client_id": "client & co"}


def test_neither_the_url_nor_its_state_is_in_a_repr():
    request = new_authorization_request(SERVER, REDIRECT)

    assert request.state.reveal() not in repr(request)
    assert request.verifier.reveal() not in repr(request)
