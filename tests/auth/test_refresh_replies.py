"""Fifty replies to a refresh, in two dialects, and what each does to the sign-in."""

from __future__ import annotations

import json
from dataclasses import replace
from email.utils import formatdate

import pytest

from minimax_portal_auth.dialects import DIALECTS
from portico.auth.backoff import is_terminal
from portico.errors import NetworkError, PorticoError, SignInNeeded
from portico.oauth.standard import StandardDialect
from portico.testing.authorization_server import Fault
from portico.testing.clock import START_MS
from tests.auth.helpers import PROFILE

ENDS_AT = START_MS + 60_000  # of the token that is refreshed in each of these tests
GOOD = {"access_token": "at-new", "refresh_token": "rt-new", "token_type": "Bearer", "expires_in": 3600}
MOMENT = {"status": "success", "access_token": "at-new", "refresh_token": "rt-new", "expired_in": ENDS_AT + 3_600_000}


def changed(fields=GOOD, **changes):
    return {name: value for name, value in {**fields, **changes}.items() if value is not ...}


def envelope(code, message):
    return {"base_resp": {"status_code": code, "status_msg": message}}


# What a reply does: it is renewed, with an end that is known or not; kept, and tried again; ended. What came and is of another
# type is revoked; a refresh token that came without an access token of use takes the place of the one that was sent.
RENEWED, UNKNOWN, UNCHANGED, ENDED = "renewed", "renewed, end unknown", "unchanged", "ended"
REVOKED, UNCHANGED_BUT_REFRESH = "ended, and revoked", "unchanged but for the refresh token"

REPLIES = [
    (200, GOOD, RENEWED),
    (200, MOMENT, {"standard": UNKNOWN, "minimax": RENEWED}),
    (201, GOOD, RENEWED),
    (200, changed(expires_in=0), UNKNOWN),
    (200, changed(expires_in=-3600), UNKNOWN),
    (200, changed(expires_in="3599.5"), RENEWED),
    (200, changed(expires_in="an hour"), UNKNOWN),
    (200, changed(expires_in=1e300), UNKNOWN),
    (200, changed(expires_in=...), UNKNOWN),
    (200, changed(MOMENT, expired_in=0), UNKNOWN),
    (200, changed(MOMENT, expired_in=START_MS - 1), UNKNOWN),
    (200, changed(MOMENT, expired_in="soon"), UNKNOWN),
    (200, changed(MOMENT, expired_in=10**30), UNKNOWN),
    (200, changed(scope=7), RENEWED),
    (200, changed(scope={"a": 1}), RENEWED),
    (200, changed(scope="another.thing"), RENEWED),
    (200, changed(token_type=...), RENEWED),
    (200, changed(token_type=5), RENEWED),
    (200, changed(refresh_token=...), RENEWED),
    (200, changed(refresh_token=5), RENEWED),
    (200, changed(resource_url=["x"]), RENEWED),
    (200, changed(resource_url="https://elsewhere.example"), RENEWED),
    (200, changed(error="none", status="odd", base_resp={"status_code": 1004}), RENEWED),
    (200, changed(token_type="mac"), REVOKED),
    (200, changed(token_type="DPoP", refresh_token=...), UNCHANGED),
    (200, changed(access_token="a b\r\nc"), UNCHANGED_BUT_REFRESH),
    (200, changed(access_token=...), UNCHANGED_BUT_REFRESH),
    (200, changed(access_token=None, refresh_token=...), UNCHANGED),
    (200, {}, UNCHANGED),
    (200, [], UNCHANGED),
    (200, "<html>portal</html>", UNCHANGED),
    (200, {"error": "invalid_grant"}, UNCHANGED),
    (200, envelope(1004, "login fail"), UNCHANGED),
    (204, "", UNCHANGED),
    (302, "", UNCHANGED),
    *((400, {"error": word}, ENDED) for word in ("invalid_grant", "invalid_client", "invalid_scope", "bad_refresh_token")),
    (401, {"error": "invalid_token"}, ENDED),
    (401, {"error": "consent_required"}, ENDED),
    (400, envelope(0, "invalid_grant"), {"standard": UNCHANGED, "minimax": ENDED}),
    (400, {"error": "invalid_request"}, UNCHANGED),
    (400, {"error": "rate_limited"}, UNCHANGED),
    (400, {"error": "access_denied"}, UNCHANGED),
    (400, {"error": "expired_token"}, UNCHANGED),
    (401, {"error": "Unauthorized"}, UNCHANGED),
    (401, {"message": "who are you"}, UNCHANGED),
    (403, {"error": "access_denied"}, UNCHANGED),
    (403, {"error": "invalid_grant"}, UNCHANGED),
    (404, {"error": "Not Found"}, UNCHANGED),
    (429, {"error": "access_denied"}, UNCHANGED),
    (500, {"error": "expired_token"}, UNCHANGED),
    (500, {"error": "internal_failure"}, UNCHANGED),
    (503, {"error": "access_denied"}, UNCHANGED),
    (503, {"error": "invalid_grant"}, UNCHANGED),
    (400, {"status": "denied"}, UNCHANGED),
    (200, {"status": "expired"}, UNCHANGED),
]


def test_there_are_fifty():
    assert len(REPLIES) >= 50


@pytest.mark.requirement("E90")
@pytest.mark.requirement("E91")
@pytest.mark.requirement("E97")
@pytest.mark.requirement("E98")
@pytest.mark.parametrize("dialect", [StandardDialect(), DIALECTS[0], DIALECTS[2]], ids=["standard", "minimax", "minimax code"])
@pytest.mark.parametrize(("status", "body", "does"), REPLIES, ids=str)
async def test_what_a_reply_does_to_a_sign_in(account, dialect, status, body, does):
    expected = does if isinstance(does, str) else does["standard" if type(dialect) is StandardDialect else "minimax"]
    account.sign_in(ttl_s=60)
    account.index.update(PROFILE, lambda now: replace(now, revocation_endpoint=f"{account.base}/revoke"))
    before = account.vault.read(PROFILE)
    account.clock.advance(60)
    text = body if isinstance(body, str) else json.dumps(body)
    date = formatdate(account.clock.wall_ms() / 1000, usegmt=True)
    location = {"Location": f"{account.base}/elsewhere"} if status == 302 else {}
    headers = {"Content-Type": "application/json", "Date": date, **location}
    account.server.faults.add("/token", Fault(status=status, body=text, headers=headers))
    broker = account.broker(dialects=lambda _name: dialect)

    access_token, error = None, None
    try:
        access_token = await broker.access(PROFILE)
    except PorticoError as raised:
        error = raised

    stored, profile = account.vault.read(PROFILE), account.index.get(PROFILE)
    assert account.posts == 1
    if expected in {RENEWED, UNKNOWN}:
        assert stored.access == access_token.token
        assert stored.access.reveal() == "at-new"
        rotated = isinstance(body.get("refresh_token"), str)
        assert stored.refresh.reveal() == ("rt-new" if rotated else before.refresh.reveal())
        assert (profile.failure, profile.journal_entry) == (None, None)
        assert (stored.expires_at is None) == (expected == UNKNOWN)
        assert (await broker.access(PROFILE)).token == access_token.token
        assert account.posts == 1
        return
    assert stored.access == before.access
    assert stored.refresh.reveal() == ("rt-new" if expected == UNCHANGED_BUT_REFRESH else before.refresh.reveal())
    assert account.server.faults.requests["/revoke"] == (2 if expected == REVOKED else 0)
    ended = expected in {ENDED, REVOKED}
    assert profile.failure.terminal == ended
    assert isinstance(error, SignInNeeded if ended else NetworkError)
    if ended:
        return
    if expected == UNCHANGED_BUT_REFRESH:
        assert profile.journal_entry is None
        return
    assert not is_terminal(error)
    account.clock.advance(3600)
    assert account.holds(await account.broker().access(PROFILE))
