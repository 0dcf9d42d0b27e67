"""Token replies, and the meaning of each error."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from portico.errors import OAuthError, PorticoError
from portico.net.reply_values import plain_text
from portico.oauth.standard import StandardDialect
from portico.oauth.token_errors import AccessDenied, ClientRefused, ServerError, SignInEnded, SignInTimedOut, retry_after
from portico.oauth.token_response import (
    BEARER,
    TokensUnfit,
    check_fit,
    normalise_expiry,
    read_json_object,
    read_token_fields,
    server_clock,
)
from portico.testing.canary import canary
from tests.oauth.helpers import reply

NOW = 1_000_000
GOOD = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt-1", "scope": "profile"}


def read(**changes):
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return StandardDialect().read_token_reply(reply(json.dumps(fields), sent_at_ms=NOW))


def test_a_valid_reply_gives_a_token_set():
    token_set = read()

    assert token_set.access.reveal() == "at-1"
    assert token_set.refresh is not None
    assert token_set.refresh.reveal() == "rt-1"
    assert token_set.expires_at == NOW + 3_600_000
    assert token_set.scope == "profile"
    assert "at-1" not in repr(token_set)


@pytest.mark.requirement("E26")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "[]"),
        (200, '"x"'),
        (200, ""),
        (200, "null"),
        (200, "<html>sign in to the hotel's network</html>"),
        (200, "[" * 100_000),
        (200, '{"access_token": "a", "token_ty'),
        (400, "{}"),
        (400, '{"error": null}'),
        (400, '{"error": 5}'),
        (403, '{"message": "blocked"}'),
        (429, '{"message": "slow"}'),
        (500, '{"message": "oops"}'),
        (502, "<html>bad gateway</html>"),
        (404, json.dumps(GOOD)),
    ],
)
def test_an_unclear_reply_is_transient_and_gives_no_token_set(status, body):
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply(body, status))

    assert error.value.transient


@pytest.mark.requirement("E28")
@pytest.mark.requirement("E93")
@pytest.mark.parametrize("access", [..., "", None, 5, ["a"], "a\r\nX-Evil: 1", "a b", "é", "a" * 100_000, "\ud800"])
def test_an_unusable_access_token_is_unfit_and_its_refresh_token_can_be_revoked(access):
    token_set = read(access_token=access)

    assert token_set.refresh.reveal() == "rt-1"
    token_set.access.reveal().encode()  # even an unusable token can be revoked
    with pytest.raises(OAuthError) as error:
        check_fit(token_set)
    assert type(error.value) is TokensUnfit
    assert "access_token" in error.value.why
    assert "X-Evil" not in str(error.value)


@pytest.mark.requirement("E28")
@pytest.mark.parametrize("access", [..., "", None, 5, "a" * 100_000])
def test_a_reply_without_tokens_is_a_permanent_error(access):
    with pytest.raises(OAuthError) as error:
        read(access_token=access, refresh_token=...)

    assert (error.value.id, error.value.transient, error.value.ends_grant) == ("reply-invalid", False, False)


@pytest.mark.requirement("E91")
@pytest.mark.parametrize("kind", ["mac", "DPoP", "N_A", "bearer token", "x" * 5_000])
def test_tokens_of_another_type_are_unfit(kind):
    with pytest.raises(OAuthError) as error:
        check_fit(read(token_type=kind))

    assert (type(error.value), error.value.transient, error.value.ends_grant) == (TokensUnfit, False, False)
    assert len(str(error.value)) < 200


@pytest.mark.requirement("E90")
@pytest.mark.parametrize(
    ("changes", "unread"),
    [
        *(({"expires_in": odd}, "expires_in") for odd in (0, -1, -3600.5, True, 1e308, 10**400, 10**16, [3600], {}, "abc")),
        *(({"expires_in": odd}, "expires_in") for odd in ("3600s", "-1", "0", "1e3", "9" * 5_000, "½", "", " 60")),
        *(({"scope": odd}, "scope") for odd in (5, True, {"a": 1}, [1], "a\x00b", "\u202eb", "\ud800")),
        *(({"token_type": odd}, "token_type") for odd in (..., None, "", "  ", 1, [], {})),
        *(({"refresh_token": odd}, "refresh_token") for odd in (5, [], {}, "\ud800", "r" * 200_000)),
        *(({"resource_url": odd}, "resource_url") for odd in (5, "https://a\x1b[31m", [])),
    ],
)
def test_an_invalid_field_beside_a_valid_token_counts_as_absent(changes, unread):
    token_set = read(**changes)

    check_fit(token_set)
    assert token_set.access.reveal() == "at-1"
    assert token_set.unread == (unread,)
    absent = {"expires_in": "expires_at", "refresh_token": "refresh"}.get(unread, unread)
    assert getattr(token_set, absent) == (BEARER if unread == "token_type" else None)


@pytest.mark.requirement("E90")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, '{"access_token": "a", "access_token": "at-1", "token_type": "bearer"}'),
        (200, '{"access_token": "at-1", "scope": "a", "scope": "b", "token_type": "bearer"}'),
        (200, '{"access_token": "at-1", "token_type": "bearer", "expires_in": NaN}'),
        (200, '{"access_token": "at-1", "token_type": "bearer", "expires_in": -Infinity}'),
        (200, '{"access_token": "at-1", "token_type": "bearer", "expires_in": ' + "9" * 6_000 + "}"),
        (200, '\ufeff{"access_token": "at-1", "token_type": "bearer"}'),
        (200, '{"access_token": "at-1", "token_type": "bearer", "greeting": "h\udce9"}'),
        (200, '{"access_token": "at-1", "token_type": "bearer", "error": "", "status": 0}'),
        (200, '{"access_token": "at-1", "token_type": "bearer", "error": "none"}'),
        (201, json.dumps(GOOD)),
        (203, json.dumps(GOOD)),
    ],
)
def test_a_valid_token_is_read_from_a_body_that_a_strict_parser_would_refuse(status, body):
    token_set = StandardDialect().read_token_reply(reply(body, status))

    check_fit(token_set)
    assert token_set.access.reveal() == "at-1"


@pytest.mark.parametrize(
    ("changes", "expires_at"),
    [
        ({"expires_in": "3600"}, NOW + 3_600_000),
        ({"expires_in": ...}, None),
        ({"expires_in": None}, None),
        ({"expires_in": 1.5}, NOW + 1500),
        ({"expires_in": "3599.25"}, NOW + 3_599_250),
    ],
)
def test_lifetimes_that_servers_in_the_wild_send_are_read(changes, expires_at):
    assert read(**changes).expires_at == expires_at


@pytest.mark.requirement("E90")
@pytest.mark.parametrize("refresh", ["rt new 1", "rt-new\n", "é", "r" * 100_000])
def test_a_refresh_token_is_any_text_that_a_form_can_carry(refresh):
    token_set = read(refresh_token=refresh)

    assert (token_set.refresh.reveal(), token_set.unread) == (refresh, ())


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
def test_the_unit_of_a_lifetime_is_guessed_from_its_size(value, expected):
    now = NOW if isinstance(value, str) or value < 1e9 else 1_699_999_000_000

    assert normalise_expiry(value, now, "auto") == expected


def test_an_expiry_in_the_past_without_the_servers_date_is_ignored():
    for moment in (1_600_000_000_000, 1_699_999_999_999, 1_700_000_059_999):
        with pytest.raises(ValueError, match="past"):
            normalise_expiry(moment, 1_700_000_000_000, "ms")


def test_a_dialect_can_use_another_expiry_field_and_no_type():
    fields = {"access_token": "at-1", "expired_in": NOW + 90_000}
    token_set = read_token_fields(reply("{}", sent_at_ms=NOW), fields, expiry_field="expired_in", unit="ms", type_required=False)

    assert (token_set.expires_at, token_set.unread) == (NOW + 90_000, ())


HOUR_MS = 3_600_000


@pytest.mark.requirement("E92")
@pytest.mark.parametrize("ahead_h", [-10 * 365 * 24, -49, -8, -1.25, -1, 0, 0.25, 1, 1.25, 8, 49, 10 * 365 * 24])
@pytest.mark.parametrize("life_s", [4, 60, 3600, 172_800])
@pytest.mark.parametrize("unit", ["ms", "auto"])
def test_an_expiry_is_compared_with_the_servers_date(ahead_h, life_s, unit):
    true_ms = 1_700_000_000_000
    local_ms = true_ms + round(ahead_h * HOUR_MS)
    answer = reply("", sent_at_ms=local_ms, Date=formatdate(true_ms / 1000, usegmt=True))
    ends = normalise_expiry(true_ms + life_s * 1000, local_ms, unit, server_now_ms=server_clock(answer))

    assert local_ms + life_s * 1000 - 1000 <= ends <= local_ms + life_s * 1000


@pytest.mark.requirement("E92")
def test_if_the_clocks_agree_an_expiry_is_compared_with_the_local_clock():
    for late_ms in (0, 1, 999):
        now = 1_700_000_000_000 + late_ms
        answer = reply("", sent_at_ms=now, Date=formatdate(1_700_000_000, usegmt=True))
        assert server_clock(answer) == now


@pytest.mark.requirement("E92")
def test_a_slow_reply_is_not_a_wrong_clock():
    now = 1_700_000_000_000
    answer = replace(reply("", sent_at_ms=now, Date=formatdate(1_700_000_020, usegmt=True)), took_ms=20_000)
    assert server_clock(answer) == now


@pytest.mark.requirement("E92")
def test_an_unreadable_date_is_ignored():
    for date in ("", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT", "0"):
        assert server_clock(reply("", Date=date)) is None


@pytest.mark.requirement("E26")
@pytest.mark.parametrize(
    ("code", "kind", "id", "transient"),
    [
        ("invalid_request", ClientRefused, "client-refused", False),
        ("invalid_client", ClientRefused, "client-refused", False),
        ("invalid_grant", SignInEnded, "sign-in-ended", False),
        ("unauthorized_client", ClientRefused, "client-refused", False),
        ("unsupported_grant_type", ClientRefused, "client-refused", False),
        ("invalid_scope", ClientRefused, "client-refused", False),
        ("temporarily_unavailable", ServerError, "server-error", True),
        ("server_error", ServerError, "server-error", True),
        ("invalid_token", SignInEnded, "sign-in-ended", False),
        ("bad_refresh_token", SignInEnded, "sign-in-ended", False),
        ("interaction_required", SignInEnded, "sign-in-ended", False),
        ("login_required", SignInEnded, "sign-in-ended", False),
        ("consent_required", SignInEnded, "sign-in-ended", False),
        ("access_denied", AccessDenied, "access-denied", None),
        ("expired_token", SignInTimedOut, "sign-in-timed-out", None),
        ("no_such_thing", ServerError, "server-error", False),
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
def test_the_servers_text_is_shown_escaped_cut_and_without_secrets():
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
def test_an_error_of_a_firewall_or_a_busy_server_does_not_end_the_sign_in(status):
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply('{"error": "blocked_by_waf"}', status))

    assert error.value.transient


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client"])
def test_a_403_with_a_known_error_code_is_final(code):
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply(f'{{"error": "{code}"}}', 403))

    assert not error.value.transient


def test_an_error_with_a_5xx_status_is_transient_and_has_retry_after():
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_token_reply(reply('{"error": "invalid_grant"}', 503, Retry_After="7"))

    assert (error.value.transient, error.value.retry_after) == (True, 7.0)


def test_a_retry_after_date_is_relative_to_the_servers_date():
    later, date = "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:29 GMT"

    assert retry_after(reply("", 503, Retry_After=later, Date=date)) == 90
    assert retry_after(reply("", 503, Retry_After=date, Date=later)) == 0
    assert retry_after(reply("", 503, Retry_After="Thu, 01 Jan 1970 00:17:10 GMT", sent_at_ms=1_000_000)) == 30


@pytest.mark.requirement("E99")
def test_a_retry_after_of_any_length_is_read_and_limited_to_a_year():
    year = 365 * 86_400
    for value, seconds in (("0", 0), ("000604801", 604_801), ("86400000", year), ("9" * 11, year), ("9" * 6_000, year)):
        assert retry_after(reply("", 503, Retry_After=value)) == seconds
    assert retry_after(reply("", 503, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT", sent_at_ms=NOW)) == year


@pytest.mark.requirement("E99")
@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", ""])
def test_a_utc_date_is_read_in_any_zone_spelling_and_local_time_zone(zone, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        later, date = f"Fri, 31 Dec 1999 23:59:59 {zone}", f"Fri, 31 Dec 1999 23:58:29 {zone}"
        assert retry_after(reply("", 503, Retry_After=later, Date="Fri, 31 Dec 1999 23:58:29 GMT")) == 90
        assert retry_after(reply("", 503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT", Date=date)) == 90
        assert retry_after(reply("", 503, Retry_After=f"Thu, 01 Jan 1970 00:17:10 {zone}", sent_at_ms=NOW)) == 30
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "½", "", "Fri, 99 Dec 1999 23:59:59 GMT"])
def test_a_retry_after_that_is_neither_seconds_nor_a_date_is_ignored(value):
    with pytest.raises(OAuthError) as error:
        read_json_object(reply("<html>", 503, Retry_After=value))

    assert error.value.retry_after is None


def test_text_for_the_user_has_no_control_characters():
    assert plain_text("a\x1b[31m\u202eb\n  c\x00") == "a [31m b c"
    assert plain_text("x" * 600) == "x" * 499 + "…"
    assert plain_text(5) is None
    assert plain_text(" \n") is None
