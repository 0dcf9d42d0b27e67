"""A refresh token, or an access token, that the server repeats when it refuses a refresh: it is written nowhere."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest

from portico.errors import OAuthError, PorticoError
from portico.oauth.standard import StandardDialect
from portico.secret import Secret
from portico.store.records import Tokens
from portico.testing.authorization_server import Fault
from tests.auth.helpers import a_profile

pytestmark = pytest.mark.requirement("E116")

SHAPES = {
    "a JWT": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.kT0_vW-3xQzLmNcR8yBd",
    "20 characters": "q7ZtLw2RkN9xVb4Hc1Ms",
    "with / + and =": "8f/Kd+3Qa==Zx/90+LmPw/T5e+Rg==",
}
ACCESS = "the-access.Yw3nP0sVb8XkD1"


def refused(**fields) -> dict[str, object]:
    return {"error": "invalid_grant", **fields}


ANSWERS = {
    "described": (400, lambda token: refused(error_description=f"the token {token} is spent")),
    "URL-encoded": (400, lambda token: refused(error_description=f"refresh={quote(token, safe='')}")),
    "as the error": (400, lambda token: {"error": token}),
    "at a busy server": (503, lambda token: {"error": "temporarily_unavailable", "error_description": f"later, {token}"}),
    "as the type": (200, lambda token: {"access_token": "another", "token_type": token}),
    "as the scope": (200, lambda token: {"access_token": "another", "token_type": "Bearer", "scope": token}),
    "with the access token": (400, lambda token: refused(error_description=f"{ACCESS} and {token}")),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_repeated_refresh_token_is_in_no_file_no_log_and_no_message(account, caplog, shape, answer):
    token = SHAPES[shape]
    status, fields = ANSWERS[answer]
    body = json.dumps(fields(token))
    headers = {"X-Debug": token, "WWW-Authenticate": f'Bearer error="invalid_token", error_description="{token}"'}
    account.server.faults.always("/token", Fault(status=status, body=body, headers=headers))
    account.vault.commit(
        a_profile(account.base, account.clock), Tokens(Secret(ACCESS), Secret(token), account.clock.wall_ms() + 1_000)
    )
    account.clock.advance(2)
    texts = []
    with caplog.at_level(logging.DEBUG):
        try:
            await account.broker().access("test:default")
        except PorticoError as error:
            texts += [json.dumps(error.as_json("portico")), str(error), repr(error), str(error.__cause__)]

    written = [file.read_text("utf-8", "replace") for file in account.paths.state.rglob("*") if file.is_file()]
    everything = "\n".join([*written, *texts, caplog.text])
    assert "test:default" in everything
    for secret in (token, ACCESS):
        assert not [at for at in range(len(secret) - 11) if secret[at : at + 12] in everything]
        assert quote(secret, safe="")[:16] not in everything


async def test_a_dialect_that_refuses_a_refresh_token_in_its_own_words_shows_none_of_it(account):
    class Picky(StandardDialect):
        def refresh_request(self, server, refresh):
            raise OAuthError("refresh-odd", "The token is of an odd kind.", why=refresh.reveal(), transient=True)

    account.vault.commit(
        a_profile(account.base, account.clock), Tokens(Secret(ACCESS), Secret(SHAPES["a JWT"]), account.clock.wall_ms() + 1_000)
    )
    account.clock.advance(2)
    with pytest.raises(OAuthError) as raised:
        await account.broker(dialects=lambda _name: Picky()).access("test:default")

    assert raised.value.why == "[redacted]"
    written = [file.read_text("utf-8", "replace") for file in account.paths.state.rglob("*") if file.is_file()]
    assert SHAPES["a JWT"] not in "\n".join(written)
