"""Servers that repeat a request's secrets in the reply, at each endpoint of a sign-in and a sign-out."""

from __future__ import annotations

import json
import time
import traceback
from base64 import b64encode, urlsafe_b64encode
from dataclasses import replace
from secrets import token_urlsafe
from urllib.parse import quote

import pytest

from portico.errors import NotRevoked, PorticoError
from portico.interfaces.authorization import FormRequest, HttpReply, TokenSet
from portico.net.client import HttpClient, secrets_of
from portico.oauth.device_flow import device_flow
from portico.oauth.dialects import read_reply
from portico.oauth.flow import FlowContext
from portico.oauth.revocation import revoke
from portico.oauth.standard import StandardDialect
from portico.oauth.token_response import read_json_object
from portico.secret import Secret
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Fault, serve
from portico.testing.clock import FakeClock
from tests.oauth.helpers import Events, get, pending_login

pytestmark = pytest.mark.requirement("E116")

SECRET_FIELDS = ("code", "code_verifier", "device_code", "token", "refresh_token")
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.kT0_vW-3xQzLmNcR8yBd"
SHAPES = {"a JWT": JWT, "20 characters": "q7ZtLw2RkN9xVb4Hc1Ms", "with / + and =": "8f/Kd+3Qa==Zx/90+LmPw/T5e+Rg=="}


def errors(said) -> list[dict[str, object]]:
    """The error fields that may contain `said`."""
    return [
        {"error": "invalid_grant", "error_description": f"the value {said} is unknown"},
        {"error": f"no {said}", "error_description": "unknown"},
        {"error": "invalid_grant", "error_description": "unknown", "error_uri": f"https://as.test/why?{said}"},
        {"error": "invalid_grant", "error_description": "x" * 180 + str(said)},  # the shown part ends inside the secret
    ]


def repeating(form: dict[str, str], write, place: int) -> str:
    text = " ".join(write(form[name]) for name in SECRET_FIELDS if name in form)
    return json.dumps(errors(text)[place])


CASES = {
    "as it is": str,
    "URL-encoded": lambda secret: quote(secret, safe=""),
    "in base64": lambda secret: b64encode(f"{CLIENT_ID}:{secret}".encode()).decode(),
    "JSON in JSON": lambda secret: json.dumps({"sent": secret}).replace("/", "\\/"),
}
AT_EACH_PLACE = pytest.mark.parametrize(
    ("case", "place"), [*((case, 0) for case in CASES), *(("as it is", place) for place in (1, 2, 3))]
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
async def test_a_code_and_its_verifier_that_the_token_endpoint_repeats_are_in_no_error(case, place):
    sent = {}

    def refuse(form):
        sent.update(form)
        return repeating(form, CASES[case], place)

    server = AuthorizationServer()
    server.faults.always("/token", Fault(status=400, body=refuse))
    async with pending_login(server) as login:
        response = await login.send()
        await get(login.port, response.headers["location"])
        with pytest.raises(PorticoError) as raised:
            await login.task

    assert_hidden(raised.value, sent["code"], sent["code_verifier"])


@AT_EACH_PLACE
async def test_a_device_code_that_the_token_endpoint_repeats_is_in_no_error(case, place):
    server, events, clock = AuthorizationServer(), Events(), FakeClock()
    server.faults.always("/token", Fault(status=400, body=lambda form: repeating(form, CASES[case], place)))
    async with serve(server) as base_url, HttpClient(clock=clock) as http:
        described = server.description(base_url)
        with pytest.raises(PorticoError) as raised:
            await device_flow(FlowContext(described, StandardDialect(), http, finish=None, on_event=events, clock=clock))

    assert_hidden(raised.value, server.devices.grants[0].device_code)


@AT_EACH_PLACE
@pytest.mark.parametrize("shape", SHAPES)
async def test_neither_token_of_a_revocation_is_in_its_error_whichever_the_server_repeats(case, place, shape):
    token, other = SHAPES[shape], "another-one.Zx81hQ2LmR0tVw"
    server = AuthorizationServer()

    def refuse(_form):
        return json.dumps(errors(f"{CASES[case](token)} {CASES[case](other)}")[place])

    server.faults.always("/revoke", Fault(status=400, body=refuse))
    async with serve(server) as base_url, HttpClient() as http:
        described = server.description(base_url)
        with pytest.raises(NotRevoked) as raised:
            await revoke(described, StandardDialect(), http, refresh=Secret(token), access=Secret(other))

    assert_hidden(raised.value, token, other)


async def test_tokens_repeated_in_other_fields_of_the_reply_are_not_stored():
    fields = {"access_token": JWT, "refresh_token": SHAPES["20 characters"], "token_type": "Bearer", "expires_in": 3600}
    tells = f"{quote(SHAPES['20 characters'])} and {JWT}"
    body = json.dumps(
        {**fields, "scope": f"profile {JWT}", "resource_url": f"https://api.test/{JWT}", "notification_message": tells}
    )
    server = AuthorizationServer()
    server.faults.always("/token", Fault(status=200, body=body))
    async with pending_login(server) as login:
        await login.finish()

    token_set = login.grants[0]
    assert (token_set.access, token_set.refresh) == (Secret(JWT), Secret(SHAPES["20 characters"]))
    stored_text = f"{token_set.scope} {token_set.resource_url} {token_set.notice}"
    assert token_set.scope.startswith("profile ")
    assert JWT[-12:] not in stored_text
    assert SHAPES["20 characters"] not in stored_text


async def test_a_dialect_that_reads_the_body_itself_shows_no_secret():
    class Plain(StandardDialect):
        def read_token_reply(self, reply):
            raise PorticoError("refused", f"It says: {reply.body.reveal()[:40]}", why=reply.body.reveal())

    server = AuthorizationServer()
    sent = []
    server.faults.always("/token", Fault(status=400, body=lambda form: sent.append(form) or f"{form['code']} was used before"))
    async with pending_login(server, Plain()) as login:
        response = await login.send()
        await get(login.port, response.headers["location"])
        with pytest.raises(PorticoError) as raised:
            await login.task

    assert "was used before" in raised.value.why
    assert_hidden(raised.value, sent[0]["code"])


def test_the_secrets_of_a_form_are_recognised_by_field_name_too():
    fields = {
        "grant_type": "x-user-code",
        "user_code": "WDJB-MJHT",
        "client_secret": "a-client-secret",
        "token": Secret("t" * 20),
    }
    request = FormRequest("https://as.test/token", fields, {"Authorization": "Basic cG9ydGljbw=="})

    assert [secret.reveal() for secret in secrets_of(request)] == ["WDJB-MJHT", "a-client-secret", "t" * 20, "cG9ydGljbw=="]


def reply_of(fields, *sent: str, status: int = 200) -> HttpReply:
    secrets = tuple(Secret(text) for text in sent)
    return HttpReply(status, {}, Secret(json.dumps(fields, ensure_ascii=False)), "https://as.test/token", 0, secrets=secrets)


LONG = token_urlsafe(1500)
COSTLY = {
    "thousands of tokens and of texts": {
        "a": [{"access_token": token_urlsafe(30)} for _ in range(4000)],
        "b": ["z z z z z z z z"] * 9000,
    },
    "a long token and thousands of texts": {"access_token": token_urlsafe(90_000), "b": ["abcdef ghijkl"] * 50_000},
    "a MiB of escapes": {"b": [" " + "%2541" * 13_000] * 16},
    "a MiB of letters that are no ASCII": {"b": ["é" * 64_000] * 8},
}


@pytest.mark.parametrize("costly", COSTLY)
def test_a_reply_designed_to_be_slow_is_read_in_under_two_seconds(costly):
    reply = reply_of(COSTLY[costly], LONG)
    started = time.process_time()
    read_reply("odd", reply, read_json_object)

    assert time.process_time() - started < 1.5


@pytest.mark.parametrize("odd", ["\ufeff", ""])
def test_a_number_with_thousands_of_digits_does_not_expose_a_credential(odd):
    body = f'{odd}{{"access_token": "{LONG}", "digits": {"1" * 5000}}}'

    def read(_reply):
        raise PorticoError("refused", "It says no.", why=f"token {LONG}")

    with pytest.raises(PorticoError) as raised:
        read_reply("odd", HttpReply(200, {}, Secret(body), "https://as.test/token", 0), read)

    assert_hidden(raised.value, LONG)


def test_a_dialect_with_its_own_field_names_gets_an_unchanged_token():
    class Camel(StandardDialect):
        def read_token_reply(self, reply):
            fields = read_json_object(reply)
            return TokenSet(Secret(fields["accessToken"]), Secret(fields["refreshToken"]), expires_at=None)

    fields = {"accessToken": JWT, "refreshToken": LONG}
    token_set = read_reply("odd", reply_of(fields, LONG), Camel().read_token_reply)

    assert (token_set.access, token_set.refresh) == (Secret(JWT), Secret(LONG))


def test_new_tokens_that_begin_like_the_old_tokens_stay_whole_in_any_field():
    old, new = f"{JWT}AAAA", f"{JWT.rpartition('.')[0]}.another-signature"

    def read(reply):
        fields = read_json_object(reply)["data"]
        return TokenSet(Secret(fields["accessToken"]), Secret(fields["rt"]), expires_at=None)

    fields = {"data": {"accessToken": new, "rt": "sk-odd-ort01-second/+x=="}, "msg": f"instead of {old}"}
    reply = reply_of(fields, old, "sk-odd-ort01-the-first")
    token_set = read_reply("odd", reply, read)

    assert (token_set.access, token_set.refresh) == (Secret(new), Secret("sk-odd-ort01-second/+x=="))
    assert read_json_object(reply)["msg"] == "instead of [redacted]"


@pytest.mark.parametrize("token", ["1:q7ZtLw2RkN9xVb4Hc1Ms", "ada@as.test:443/q7ZtLw2RkN9xVb4Hc1Ms"])
def test_an_unchanged_token_with_a_colon_stays_whole_in_any_field_and_is_in_no_url(token):
    fields = {"refreshToken": token, "why": f"https://as.test/why?{token}"}
    read = read_reply("odd", reply_of(fields, token), read_json_object)

    assert read == {"refreshToken": token, "why": "https://as.test/why?[redacted]"}


@pytest.mark.parametrize("odd", [{"scope": ["a", "b"]}, {"subject": 7}, {"notice": {"a": LONG}}, {"token_type": True}])
def test_a_token_sets_text_of_another_type_does_not_lose_the_tokens(odd):
    token_set = read_reply("odd", reply_of({}, LONG), lambda _reply: TokenSet(Secret(JWT), None, expires_at=None, **odd))

    (name,) = odd
    assert (token_set.access, token_set.unread) == (Secret(JWT), (name,))
    assert getattr(token_set, name) == ("Bearer" if name == "token_type" else None)


def test_a_token_set_without_a_secret_is_an_invalid_reply():
    with pytest.raises(PorticoError) as raised:
        read_reply("odd", reply_of({}, LONG), lambda _reply: TokenSet(JWT, None, expires_at=None))

    assert raised.value.id == "reply-invalid"


@pytest.mark.parametrize("name", ["scope", "resource_url", "notification_message", "token_type"])
def test_a_field_that_equals_the_token_is_not_stored(name):
    fields = {"access_token": JWT, "token_type": "Bearer", "expires_in": 60, name: LONG}
    token_set = read_reply("standard", reply_of(fields, LONG), StandardDialect().read_token_reply)

    stored_text = f"{token_set.scope} {token_set.resource_url} {token_set.notice} {token_set.token_type} {token_set.unfit}"
    assert LONG[:12] not in stored_text


def test_a_subject_that_contains_a_token_is_dropped():
    account = "user_2NNEqL2nrIRdJ194ndJqAHwEfxC"
    claims = "." + urlsafe_b64encode(json.dumps({"sub": account}).encode()).decode() + "."
    fields = {"access_token": f"{account}.q7ZtLw2RkN9xVb4Hc1Ms", "token_type": "Bearer", "id_token": f"e30{claims}x"}
    token_set = read_reply("standard", reply_of(fields), StandardDialect().read_token_reply)

    assert token_set.subject is None


@pytest.mark.parametrize("kind", [ValueError, KeyError, PorticoError])
def test_a_dialects_failure_shows_no_text_and_no_cause(kind):
    def read(reply):
        try:
            int(reply.body.reveal())
        except ValueError as error:
            if kind is PorticoError:
                raise PorticoError("refused", "It is no number.") from error
            raise kind(str(error)) from error

    with pytest.raises(PorticoError) as raised:
        read_reply("odd", reply_of(LONG, LONG), read)

    assert LONG[:12] not in "".join(traceback.format_exception(raised.value))
    assert LONG[:12] not in shown_of(raised.value)


async def test_a_code_in_a_dialects_own_field_is_in_no_error():
    class Own(StandardDialect):
        def code_request(self, server, **more):
            request = super().code_request(server, **more)
            return replace(request, form={**request.form, "code": "", "proof": more["code"].reveal()})

        def read_token_reply(self, reply):
            raise PorticoError("refused", "It says no.", why=reply.body.reveal())

    server, sent = AuthorizationServer(), []
    server.faults.always("/token", Fault(status=400, body=lambda form: sent.append(form) or f"{form['proof']} is unknown"))
    async with pending_login(server, Own()) as login:
        response = await login.send()
        await get(login.port, response.headers["location"])
        with pytest.raises(PorticoError) as raised:
            await login.task

    assert "is unknown" in raised.value.why
    assert_hidden(raised.value, sent[0]["proof"])


def quoting(method):
    """A dialect whose `method` fails and quotes all its arguments."""

    def fail(_self, *args, **more):
        values = [*args, *more.values()]
        raise ValueError([value.reveal() if isinstance(value, Secret) else str(value) for value in values])

    return type("Quoting", (StandardDialect,), {method: fail})()


async def test_a_dialects_failure_with_a_code_ends_the_sign_in_without_quoting_it():
    async with pending_login(AuthorizationServer(), quoting("code_request")) as login:
        answer = login.answer()
        response = await login.send(answer)
        await get(login.port, response.headers["location"])
        with pytest.raises(PorticoError) as raised:
            await login.task

    assert (raised.value.id, raised.value.message) == ("reply-invalid", "Could not make the request for the provider.")
    assert_hidden(raised.value, answer["code"])
    assert answer["code"] not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("method", ["device_request", "poll_request"])
async def test_a_dialects_failure_with_a_device_code_ends_the_sign_in_at_once(method):
    server, events, clock = AuthorizationServer(), Events(), FakeClock()
    async with serve(server) as url, HttpClient() as http:
        with pytest.raises(PorticoError) as raised:
            described = server.description(url)
            await device_flow(FlowContext(described, quoting(method), http, lambda _grant: None, events, clock=clock))

    assert raised.value.id == "reply-invalid"
    assert "ValueError" in raised.value.why


async def test_a_dialects_failure_in_a_revocation_is_reported_without_a_token():
    server = AuthorizationServer()
    async with serve(server) as url, HttpClient() as http:
        with pytest.raises(NotRevoked) as raised:
            tokens = {"refresh": Secret(LONG), "access": Secret(JWT)}
            await revoke(server.description(url), quoting("revoke_request"), http, **tokens)

    assert "ValueError" in raised.value.why
    assert_hidden(raised.value, LONG, JWT)
