"""Servers that repeat the secrets of a request in their answer, at each endpoint of a sign-in and a sign-out."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import quote

import pytest

from portico.contracts import FormRequest
from portico.errors import NotRevoked, PorticoError
from portico.oauth.client import OAuthClient
from portico.oauth.device_flow import device_flow
from portico.oauth.repeated import secrets_of
from portico.oauth.revocation import revoke
from portico.oauth.standard import StandardDialect
from portico.secret import Secret
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Fault, serve
from portico.testing.clock import FakeClock
from tests.oauth.parts import Events, get, pending_login

pytestmark = pytest.mark.requirement("E116")

SECRET_FIELDS = ("code", "code_verifier", "device_code", "token", "refresh_token")
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.kT0_vW-3xQzLmNcR8yBd"
SHAPES = {"a JWT": JWT, "20 characters": "q7ZtLw2RkN9xVb4Hc1Ms", "with / + and =": "8f/Kd+3Qa==Zx/90+LmPw/T5e+Rg=="}


def errors(said) -> list[dict[str, object]]:
    """Where a refusal may hold `said`."""
    return [
        {"error": "invalid_grant", "error_description": f"the value {said} is unknown"},
        {"error": f"no {said}", "error_description": "unknown"},
        {"error": "invalid_grant", "error_description": "unknown", "error_uri": f"https://as.test/why?{said}"},
        {"error": "invalid_grant", "error_description": "x" * 180 + str(said)},  # what is shown of it ends within
    ]


def repeating(form: dict[str, str], write, place: int) -> str:
    said = " ".join(write(form[name]) for name in SECRET_FIELDS if name in form)
    return json.dumps(errors(said)[place])


WAYS = {
    "as it is": str,
    "URL-encoded": lambda secret: quote(secret, safe=""),
    "in base64": lambda secret: b64encode(f"{CLIENT_ID}:{secret}".encode()).decode(),
    "JSON in JSON": lambda secret: json.dumps({"sent": secret}).replace("/", "\\/"),
}
AT_EACH_PLACE = pytest.mark.parametrize(
    ("way", "place"), [*((way, 0) for way in WAYS), *(("as it is", place) for place in (1, 2, 3))]
)


def shown_of(error: PorticoError) -> str:
    return json.dumps([error.as_json("portico"), str(error), repr(error), error.args, getattr(error, "code", None)])


def assert_hidden(error: PorticoError, *secrets: str) -> None:
    shown = shown_of(error)
    for secret in secrets:
        assert not [at for at in range(len(secret) - 11) if secret[at : at + 12] in shown]
        encoded = b64encode(secret.encode()).decode()
        assert encoded[4:16] not in shown
        assert quote(secret, safe="")[:16] not in shown


@AT_EACH_PLACE
async def test_a_code_and_its_verifier_that_the_token_endpoint_repeats_are_in_no_error(way, place):
    sent = {}

    def refuse(form):
        sent.update(form)
        return repeating(form, WAYS[way], place)

    server = AuthorizationServer()
    server.faults.always("/token", Fault(status=400, body=refuse))
    async with pending_login(server) as login:
        caught = await login.send()
        await get(login.port, caught.headers["location"])
        with pytest.raises(PorticoError) as raised:
            await login.task

    assert_hidden(raised.value, sent["code"], sent["code_verifier"])


@AT_EACH_PLACE
async def test_a_device_code_that_the_token_endpoint_repeats_is_in_no_error(way, place):
    server, events, clock = AuthorizationServer(), Events(), FakeClock()
    server.faults.always("/token", Fault(status=400, body=lambda form: repeating(form, WAYS[way], place)))
    async with serve(server) as base_url, OAuthClient(clock=clock) as http:
        described = server.description(base_url)
        with pytest.raises(PorticoError) as raised:
            await device_flow(described, StandardDialect(), http, finish=None, on_event=events, clock=clock)

    assert_hidden(raised.value, server.devices.grants[0].device_code)


@AT_EACH_PLACE
@pytest.mark.parametrize("shape", SHAPES)
async def test_neither_token_of_a_revocation_is_in_its_error_whichever_the_server_repeats(way, place, shape):
    token, other = SHAPES[shape], "another-one.Zx81hQ2LmR0tVw"
    server = AuthorizationServer()

    def refuse(_form):
        return json.dumps(errors(f"{WAYS[way](token)} {WAYS[way](other)}")[place])

    server.faults.always("/revoke", Fault(status=400, body=refuse))
    async with serve(server) as base_url, OAuthClient() as http:
        described = server.description(base_url)
        with pytest.raises(NotRevoked) as raised:
            await revoke(described, StandardDialect(), http, refresh=Secret(token), access=Secret(other))

    assert_hidden(raised.value, token, other)


async def test_what_a_server_writes_of_its_own_tokens_elsewhere_in_the_reply_is_not_kept():
    fields = {"access_token": JWT, "refresh_token": SHAPES["20 characters"], "token_type": "Bearer", "expires_in": 3600}
    tells = f"{quote(SHAPES['20 characters'])} and {JWT}"
    body = json.dumps(
        {**fields, "scope": f"profile {JWT}", "resource_url": f"https://api.test/{JWT}", "notification_message": tells}
    )
    server = AuthorizationServer()
    server.faults.always("/token", Fault(status=200, body=body))
    async with pending_login(server) as login:
        await login.finish()

    grant = login.grants[0]
    assert (grant.access, grant.refresh) == (Secret(JWT), Secret(SHAPES["20 characters"]))
    kept = f"{grant.scope} {grant.resource_url} {grant.notice}"
    assert grant.scope.startswith("profile ")
    assert JWT[-12:] not in kept
    assert SHAPES["20 characters"] not in kept


async def test_a_dialect_that_reads_the_body_by_itself_shows_no_secret_either():
    class Plain(StandardDialect):
        def read_token_reply(self, reply):
            raise PorticoError("refused", f"It says: {reply.body.reveal()[:40]}", why=reply.body.reveal())

    server = AuthorizationServer()
    sent = []
    server.faults.always("/token", Fault(status=400, body=lambda form: sent.append(form) or f"{form['code']} was used before"))
    async with pending_login(server, Plain()) as login:
        caught = await login.send()
        await get(login.port, caught.headers["location"])
        with pytest.raises(PorticoError) as raised:
            await login.task

    assert "was used before" in raised.value.why
    assert_hidden(raised.value, sent[0]["code"])


def test_the_secrets_of_a_form_are_known_by_their_names_too():
    fields = {
        "grant_type": "x-user-code",
        "user_code": "WDJB-MJHT",
        "client_secret": "a-client-secret",
        "token": Secret("t" * 20),
    }
    request = FormRequest("https://as.test/token", fields, {"Authorization": "Basic cG9ydGljbw=="})

    assert [secret.reveal() for secret in secrets_of(request)] == ["WDJB-MJHT", "a-client-secret", "t" * 20, "cG9ydGljbw=="]
