"""Revoking tokens (RFC 7009)."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from portico.errors import NotRevoked
from portico.net.client import HttpClient
from portico.oauth.revocation import revoke
from portico.oauth.standard import StandardDialect
from portico.secret import Secret
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Fault, serve
from portico.testing.canary import canary

REVOKE = "/revoke"


@asynccontextmanager
async def signed_out(*faults, change=lambda described: described, access=True, **options):
    server = AuthorizationServer()
    server.faults.add(REVOKE, *faults)
    issued = server.mint.start(CLIENT_ID, "profile")
    async with serve(server) as base_url, HttpClient() as http:

        async def go():
            await revoke(
                change(server.description(base_url)),
                StandardDialect(),
                http,
                refresh=Secret(issued.refresh),
                access=Secret(issued.access) if access else None,
                **options,
            )

        yield server, issued, go


async def test_both_tokens_are_revoked():
    async with signed_out() as (server, issued, go):
        await go()

    assert server.faults.requests[REVOKE] == 2
    assert issued.family.revoked


async def test_unknown_tokens_count_as_revoked():
    async with signed_out() as (server, _, go):
        await go()
        await go()

    assert server.faults.requests[REVOKE] == 4


async def test_an_access_token_without_separate_revocation_counts_as_revoked():
    async with signed_out(None, Fault(status=400, body='{"error": "unsupported_token_type"}')) as (_, issued, go):
        await go()

    assert issued.family.revoked


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=400, body='{"error": "invalid_client"}'), Fault(drop="before"), Fault(status=302)],
)
async def test_a_server_that_does_not_revoke_is_an_error(fault):
    async with signed_out(fault, fault) as (_, issued, go):
        with pytest.raises(NotRevoked) as error:
            await go()

    assert (error.value.id, error.value.exit_code) == ("not-revoked", 11)
    assert issued.refresh not in str(error.value)


async def test_the_second_token_is_revoked_even_if_the_first_failed():
    async with signed_out(Fault(status=503)) as (server, _, go):
        with pytest.raises(NotRevoked):
            await go()

    assert server.faults.requests[REVOKE] == 2


async def test_a_hanging_server_ends_in_a_timeout():
    async with signed_out(Fault(delay_s=3), timeout_s=0.1) as (server, _, go):
        started = time.monotonic()
        with pytest.raises(NotRevoked) as error:
            await go()
        server.faults.clear()

        assert time.monotonic() - started < 2
    assert error.value.why == "no answer in time"


async def test_a_provider_without_revocation_is_an_error():
    async with signed_out(change=lambda described: replace(described, revocation_endpoint=None)) as (_, _, go):
        with pytest.raises(NotRevoked) as error:
            await go()

    assert error.value.id == "not-revoked"


async def test_a_token_that_a_server_repeats_in_its_error_is_not_shown():
    secret = canary("at")
    body = json.dumps({"error": "odd", "error_description": f"no such {secret}"})
    server = AuthorizationServer()
    server.faults.always(REVOKE, Fault(status=400, body=body))
    async with serve(server) as base_url, HttpClient() as http:
        with pytest.raises(NotRevoked) as error:
            await revoke(server.description(base_url), StandardDialect(), http, refresh=Secret(secret), access=None)

    assert secret not in str(error.value)


ERRORS = {
    "401 with invalid_client": (
        Fault(status=401, body='{"error": "invalid_client"}', headers={"WWW-Authenticate": "Basic"}),
        "The provider does not accept this client, so it did not revoke the tokens.",
        "HTTP 401, invalid_client",
    ),
    "401 without a body": (
        Fault(status=401),
        "The provider does not accept this client, so it did not revoke the tokens.",
        "HTTP 401",
    ),
    "401 with a page": (
        Fault(status=401, body="<html>Log in</html>", headers={"Content-Type": "text/html"}),
        "The provider does not accept this client, so it did not revoke the tokens.",
        "HTTP 401",
    ),
    "400 with invalid_client": (
        Fault(status=400, body='{"error": "invalid_client", "error_description": "no such client"}'),
        "The provider does not accept this client, so it did not revoke the tokens.",
        "HTTP 400, invalid_client: no such client",
    ),
    "a kind of token": (
        Fault(status=400, body='{"error": "unsupported_token_type"}'),
        "The provider cannot revoke this kind of token.",
        "HTTP 400, unsupported_token_type",
    ),
    "403 without a word": (Fault(status=403), "The provider does not allow this client to revoke tokens.", "HTTP 403"),
    "503 with a time": (
        Fault(status=503, headers={"Retry-After": "120"}),
        "The provider is busy or failing, and did not revoke the tokens.",
        "HTTP 503, try again in 120 s",
    ),
    "429": (Fault(status=429), "The provider is busy or failing, and did not revoke the tokens.", "HTTP 429"),
    "another error": (
        Fault(status=400, body='{"error": "invalid_request"}'),
        "The provider refused to revoke the tokens.",
        "HTTP 400, invalid_request",
    ),
    "a redirect": (
        Fault(status=302, headers={"Location": "/login"}),
        "Could not reach the provider to revoke the tokens.",
        "HTTP 302",
    ),
    "a hang-up": (Fault(drop="before"), "Could not reach the provider to revoke the tokens.", "it hung up"),
}


@pytest.mark.requirement("E139")
@pytest.mark.parametrize("refusal", ERRORS)
async def test_a_refused_revocation_has_its_own_message(refusal):
    fault, message, why = ERRORS[refusal]
    async with signed_out(fault, access=False) as (_, issued, go):
        with pytest.raises(NotRevoked) as error:
            await go()

    assert (error.value.id, error.value.exit_code) == ("not-revoked", 11)
    assert (error.value.message, error.value.why) == (message, why)
    assert not issued.family.revoked


@pytest.mark.requirement("E139")
async def test_of_two_errors_the_refresh_tokens_gives_the_message():
    async with signed_out(Fault(status=503), Fault(status=401)) as (_, _, go):
        with pytest.raises(NotRevoked) as error:
            await go()

    assert error.value.message.startswith("The provider is busy")
    assert error.value.why == "HTTP 503; HTTP 401"
