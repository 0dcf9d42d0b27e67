"""What counts as a token reply, and what each refusal means."""

from __future__ import annotations

import json

import pytest

from portico.errors import Denied, OAuthError, PorticoError, TimedOut
from portico.oauth.standard import StandardDialect
from portico.oauth.token_response import normalise_expiry, plain_text, read_json_object, read_token_fields, retry_after
from portico.testing.canary import canary
from tests.oauth.parts import reply

NOW = 1_000_000
GOOD = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt-1", "scope": "profile"}


def read(**changes):
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return StandardDialect().read_token_reply(reply(json.dumps(fields), sent_at_ms=NOW))


def test_a_good_reply_becomes_a_grant():
    grant = read()

    assert grant.access.reveal() == "at-1"
    assert grant.refresh is not None
    assert grant.refresh.reveal() == "rt-1"
    assert grant.expires_at == NOW + 3_600_000
    assert grant.scope == "profile"
    assert "at-1" not in repr(grant)


@pytest.mark.requirement("E26")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "{}"),
        (200, "[]"),
        (200, '"x"'),
        (200, ""),
        (200, "null"),
        (200, "<html>sign in to the hotel's network</html>"),
        (200, '{"access_token": "a", "access_token": "b", "token_type": "bearer"}'),
        (200, '{"access_token": "a", "token_type": "bearer", "expires_in": NaN}'),
        (200, '{"access_token": "a", "token_type": "bearer", "expires_in": Infinity}'),
        (200, "[" * 100_000),
        (200, '{"access_token": "a", "token_ty'),
        (400, "{}"),
        (400, '{"error": null}'),
        (400, '{"error": 5}'),
        (403, '{"message": "blocked"}'),
        (429, '{"message": "slow"}'),
        (500, '{"message": "oops"}'),
        (502, "<html>bad gateway</html>"),
        (201, json.dumps(GOOD)),
        (404, json.dumps(GOOD)),
    ],
)
def test_what_is_not_plainly_a_token_reply_is_transient_and_makes_no_grant(status, body):
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply(body, status))

    assert error.value.transient


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": ...},
        {"access_token": ""},
        {"access_token": None},
        {"access_token": 5},
        {"access_token": ["a"]},
        {"access_token": "a\r\nX-Evil: 1"},
        {"access_token": "a b"},
        {"access_token": "é"},
        {"access_token": "a" * 1_000_000},
        {"token_type": ...},
        {"token_type": None},
        {"token_type": "mac"},
        {"token_type": 1},
        {"expires_in": "abc"},
        {"expires_in": "3600s"},
        {"expires_in": "-1"},
        {"expires_in": "9" * 5_000},
        {"expires_in": -1},
        {"expires_in": 0},
        {"expires_in": True},
        {"expires_in": 1e308},
        {"expires_in": 10**400},
        {"expires_in": [3600]},
        {"refresh_token": 5},
        {"refresh_token": "a\nb"},
        {"scope": 5},
        {"resource_url": "https://a\x1b[31m"},
    ],
)
def test_a_field_that_is_not_what_it_must_be_makes_no_grant(changes):
    with pytest.raises(OAuthError) as error:
        read(**changes)

    assert error.value.id == "reply-invalid"
    assert "at-1" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "expires_at"),
    [
        ({"expires_in": "3600"}, NOW + 3_600_000),
        ({"expires_in": ...}, None),
        ({"expires_in": None}, None),
        ({"expires_in": 1.5}, NOW + 1500),
    ],
)
def test_lifetimes_that_servers_in_the_wild_send_are_read(changes, expires_at):
    assert read(**changes).expires_at == expires_at


@pytest.mark.parametrize("changes", [{"refresh_token": ...}, {"refresh_token": None}, {"refresh_token": ""}])
def test_a_reply_without_a_refresh_token_says_so(changes):
    assert read(**changes).refresh is None


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_the_token_type_is_read_in_any_case(kind):
    assert read(token_type=kind).access


def test_a_null_error_beside_a_token_is_no_error():
    assert read(error=None).access


def test_a_scope_may_be_a_list():
    assert read(scope=["a", "b"]).scope == "a b"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3600, NOW + 3_600_000),
        (1_700_000_000, 1_700_000_000_000),
        (1_700_000_000_000, 1_700_000_000_000),
        ("3600", NOW + 3_600_000),
    ],
)
def test_a_lifetime_of_unknown_unit_is_told_by_its_size(value, expected):
    now = NOW if isinstance(value, str) or value < 1e9 else 1_699_999_999_000

    assert normalise_expiry(value, now, "auto") == expected


def test_a_moment_long_past_is_not_an_expiry():
    with pytest.raises(ValueError, match="range"):
        normalise_expiry(1_600_000_000_000, 1_700_000_000_000, "ms")


def test_a_dialect_may_name_the_lifetime_otherwise_and_leave_out_the_type():
    fields = {"access_token": "at-1", "expired_in": NOW + 5000}
    grant = read_token_fields(reply("{}", sent_at_ms=NOW), fields, expiry_field="expired_in", unit="ms", type_required=False)

    assert grant.expires_at == NOW + 5000


@pytest.mark.requirement("E26")
@pytest.mark.parametrize(
    ("code", "kind", "id", "transient"),
    [
        ("invalid_request", OAuthError, "invalid-request", False),
        ("invalid_client", OAuthError, "invalid-client", False),
        ("invalid_grant", OAuthError, "invalid-grant", False),
        ("unauthorized_client", OAuthError, "unauthorized-client", False),
        ("unsupported_grant_type", OAuthError, "unsupported-grant-type", False),
        ("invalid_scope", OAuthError, "invalid-scope", False),
        ("temporarily_unavailable", OAuthError, "temporarily-unavailable", True),
        ("server_error", OAuthError, "server-error", True),
        ("access_denied", Denied, "access-denied", None),
        ("expired_token", TimedOut, "code-expired", None),
        ("no_such_thing", OAuthError, "oauth-error", False),
    ],
)
def test_each_error_code_has_its_own_outcome(code, kind, id, transient):
    with pytest.raises(PorticoError) as error:
        StandardDialect().read_token_reply(reply(json.dumps({"error": code}), 400))

    assert (type(error.value), error.value.id) == (kind, id)
    assert getattr(error.value, "transient", None) is transient
    assert code in str(error.value)
    assert error.value.hint


@pytest.mark.requirement("E26")
def test_the_servers_own_words_are_shown_escaped_capped_and_without_secrets():
    secret = canary("rt")
    body = {"error": "odd\x1b[2Jcode", "error_description": f"refresh_token={secret} \u202e\x07" + "x" * 5_000}
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply(json.dumps(body), 400))

    shown = str(error.value)
    assert secret not in shown
    assert shown.isprintable()
    assert len(shown) < 500


@pytest.mark.requirement("E26")
@pytest.mark.parametrize("status", [403, 408, 425, 429, 500])
def test_a_firewalls_or_a_busy_servers_no_is_no_verdict_on_the_grant(status):
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply('{"error": "blocked_by_waf"}', status))

    assert error.value.transient


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client"])
def test_a_forbidden_that_names_the_grant_or_the_client_is_final(code):
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply(f'{{"error": "{code}"}}', 403))

    assert not error.value.transient


def test_an_error_on_a_server_side_status_is_transient_and_keeps_retry_after():
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply('{"error": "invalid_grant"}', 503, Retry_After="7"))

    assert (error.value.transient, error.value.retry_after) == (True, 7.0)


def test_a_retry_after_may_be_a_date_which_counts_from_the_server_s_own():
    later, told = "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:29 GMT"

    assert retry_after(reply("", 503, Retry_After=later, Date=told)) == 90
    assert retry_after(reply("", 503, Retry_After=told, Date=later)) == 0
    assert retry_after(reply("", 503, Retry_After="Thu, 01 Jan 1970 00:17:10 GMT", sent_at_ms=1_000_000)) == 30


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "99999999999", "", "Fri, 99 Dec 1999 23:59:59 GMT"])
def test_a_retry_after_that_is_neither_seconds_nor_a_date_is_ignored(value):
    with pytest.raises(OAuthError) as error:
        read_json_object(reply("<html>", 503, Retry_After=value))

    assert error.value.retry_after is None


def test_text_for_the_user_holds_no_control_characters():
    assert plain_text("a\x1b[31m\u202eb\n  c\x00") == "a [31m b c"
    assert plain_text("x" * 600) == "x" * 499 + "…"
    assert plain_text(5) is None
    assert plain_text(" \n") is None
