from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import product

import pytest

from minimax_portal_auth.dialects import DIALECTS, ReplyIncomplete, StateMismatch
from minimax_portal_auth.plugin import MinimaxPortal
from minimax_portal_auth.portals import check_scope
from portico.plugin_api import Denied, HttpReply, OAuthError, Pending, PorticoError, Secret, StandardDialect, TimedOut
from portico.testing.canary import canary

NOW = 1_795_400_000_000
U, B, S = DIALECTS
SERVER = MinimaxPortal({}).server("global")
CODE_SERVER = MinimaxPortal({"portals": {"global": {"clientId": "mcode-public"}}}).server("global")
PAGE = "https://platform.minimax.io/oauth-authorize?user_code=ABCD-EFGH&client=OpenClaw"
USER_CODE = {"user_code": "ABCD-EFGH", "verification_uri": PAGE, "expired_in": NOW + 300_000, "interval": 3000, "state": "st"}
DEVICE_CODE = {
    "device_code": "d" * 43,
    "user_code": "98FJ-WYXZ",
    "verification_uri": "https://account.minimax.io/oauth-authorize",
    "verification_uri_complete": "https://account.minimax.io/oauth-authorize?user_code=98FJ-WYXZ",
    "expires_in": 300,
    "interval": 3,
}


def reply(body: object, status: int = 200) -> HttpReply:
    text = body if isinstance(body, str) else json.dumps(body)
    return HttpReply(status=status, headers={}, body=Secret(text), url="https://account.minimax.io/oauth2/token", sent_at_ms=NOW)


def granted(**more: object) -> dict[str, object]:
    return {"status": "success", "access_token": "at", "refresh_token": "rt", "expired_in": NOW + 172_800_000, **more}


def shown(form: dict) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}


# --- what is sent ------------------------------------------------------------------------------------------------------------


def test_openclaws_device_request() -> None:
    request = U.device_request(SERVER, challenge="ch", state="st")
    assert request.url == "https://account.minimax.io/oauth2/device/code"
    assert shown(request.form) == {
        "response_type": "code",
        "client_id": "78257093-7e40-4613-99e0-527b14b39113",
        "scope": "group_id profile model.completion",
        "code_challenge": "ch",
        "code_challenge_method": "S256",
        "state": "st",
    }
    assert request.headers["Accept"] == "application/json"


def test_the_cli_family_sends_no_response_type_and_rfc_8628s_grant_type() -> None:
    assert "response_type" not in B.device_request(SERVER, challenge="ch", state="st").form
    form = shown(B.poll_request(SERVER, U.read_device_reply(reply(USER_CODE), state="st"), verifier=Secret("v")).form)
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code"
    assert form["user_code"] == "ABCD-EFGH"


def test_openclaws_poll_and_refresh_requests() -> None:
    device = U.read_device_reply(reply(USER_CODE), state="st")
    assert shown(U.poll_request(SERVER, device, verifier=Secret("v")).form) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:user_code",
        "client_id": SERVER.client_id,
        "user_code": "ABCD-EFGH",
        "code_verifier": "v",
    }
    assert shown(U.refresh_request(SERVER, Secret("rt")).form) == {
        "grant_type": "refresh_token",
        "refresh_token": "rt",
        "client_id": SERVER.client_id,
    }


def test_minimax_codes_requests_carry_the_audience_and_no_state_or_redirect() -> None:
    request = S.device_request(CODE_SERVER, challenge="ch", state="st")
    assert shown(request.form) == {
        "client_id": "mcode-public",
        "scope": "agent.default",
        "audience": "agent-backend",
        "code_challenge": "ch",
        "code_challenge_method": "S256",
    }
    assert shown(S.refresh_request(CODE_SERVER, Secret("rt")).form) == {
        "grant_type": "refresh_token",
        "refresh_token": "rt",
        "client_id": "mcode-public",
        "scope": "agent.default",
        "audience": "agent-backend",
    }


def test_revocation_and_code_exchange_follow_the_rfcs() -> None:
    revoke = U.revoke_request(SERVER, Secret("rt"), "refresh_token")
    assert revoke.url == "https://account.minimax.io/oauth2/revoke"
    assert shown(revoke.form) == {"token": "rt", "token_type_hint": "refresh_token", "client_id": SERVER.client_id}
    code = shown(U.code_request(SERVER, code=Secret("c"), redirect_uri="http://127.0.0.1:1/x", verifier=Secret("v")).form)
    assert code["grant_type"] == "authorization_code"
    assert code["code_verifier"] == "v"


# --- the device reply --------------------------------------------------------------------------------------------------------


def test_a_user_code_reply_is_read_in_its_own_units() -> None:
    device = U.read_device_reply(reply(USER_CODE), state="st")
    assert (device.user_code, device.verification_uri, device.device_code) == ("ABCD-EFGH", PAGE, None)
    assert device.expires_at == NOW + 300_000
    assert device.interval == 3.0


@pytest.mark.parametrize("value", [300, (NOW + 300_000) // 1000, NOW + 300_000])
def test_expired_in_is_read_by_its_size(value: int) -> None:
    assert U.read_device_reply(reply({**USER_CODE, "expired_in": value}), state="st").expires_at == NOW + 300_000
    assert U.read_poll_reply(reply(granted(expired_in=value))).expires_at == NOW + 300_000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3000, 3.0),
        (500, 2.0),
        ("3000", 3.0),
        (3, 3.0),
        ("5", 5.0),
        (1, 2.0),
        (0, 2.0),
        (None, 2.0),
        ("5 s", 2.0),
        (-1, 2.0),
        (True, 2.0),
        (10**7, 60.0),
        pytest.param(10**400, 60.0, id="huge"),
        ([], 2.0),
    ],
)
@pytest.mark.requirement("E109")
def test_the_interval_is_milliseconds_or_few_seconds_and_two_to_sixty_seconds_long(value: object, seconds: float) -> None:
    assert U.read_device_reply(reply({**USER_CODE, "interval": value}), state="st").interval == seconds


@pytest.mark.parametrize("echo", ["other", "", None, 7, "sté", "\ud800", ["st"], {"st": 1}])
def test_a_reply_that_does_not_echo_the_state_is_refused(echo: object) -> None:
    with pytest.raises(OAuthError) as raised:
        U.read_device_reply(reply({**USER_CODE, "state": echo}), state="st")
    assert type(raised.value) is StateMismatch


@pytest.mark.parametrize(
    "change",
    [
        {"user_code": None},
        {"user_code": "x" * 100},
        {"user_code": "AB\x1b[2J"},
        {"verification_uri": None},
        {"verification_uri": "http://platform.minimax.io/"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "https://x.example/$(id)"},
        {"user_code": "AB\u202eCD"},
    ],
)
def test_an_incomplete_or_unsafe_device_reply_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(OAuthError) as raised:
        U.read_device_reply(reply({**USER_CODE, **change}), state="st")
    assert type(raised.value) is ReplyIncomplete


@pytest.mark.requirement("E109")
@pytest.mark.parametrize("value", [None, "3600s", 0, -1, True, 1e300, NOW - 1])
def test_a_code_without_a_usable_lifetime_expires_after_fifteen_minutes(value: object) -> None:
    assert U.read_device_reply(reply({**USER_CODE, "expired_in": value}), state="st").expires_at == NOW + 900_000
    assert S.read_device_reply(reply({**DEVICE_CODE, "expires_in": value}), state="").expires_at == NOW + 900_000


@pytest.mark.requirement("E109")
@pytest.mark.parametrize(("value", "seconds"), [("5", 5.0), (10**6, 60.0), (0, 1.0), ("x", 5.0)])
def test_the_interval_of_a_device_code_reply_is_read_from_digits_and_capped(value: object, seconds: float) -> None:
    assert S.read_device_reply(reply({**DEVICE_CODE, "interval": value}), state="").interval == seconds


def test_a_device_code_reply_is_read_in_seconds() -> None:
    device = S.read_device_reply(reply(DEVICE_CODE), state="st")
    assert device.device_code == Secret("d" * 43)
    assert device.verification_uri_complete == DEVICE_CODE["verification_uri_complete"]
    assert (device.expires_at, device.interval) == (NOW + 300_000, 3.0)
    assert S.read_device_reply(reply({**DEVICE_CODE, "interval": None}), state="").interval == 5.0
    assert "device_code" in S.poll_request(CODE_SERVER, device, verifier=Secret("v")).form


def test_the_older_field_name_of_the_page_is_read_too() -> None:
    body = {**DEVICE_CODE, "verification_uri": None, "verification_url": "https://account.minimax.io/x"}
    assert S.read_device_reply(reply(body), state="").verification_uri == "https://account.minimax.io/x"


def test_minimax_codes_client_falls_back_to_the_user_code_without_a_device_code() -> None:
    device = S.read_device_reply(reply({key: value for key, value in USER_CODE.items() if key != "state"}), state="st")
    assert device.interval == 3.0
    assert shown(S.poll_request(CODE_SERVER, device, verifier=Secret("v")).form)["user_code"] == "ABCD-EFGH"


# --- the poll and token replies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("body", "status", "slow"),
    [
        ({"status": "pending"}, 200, False),
        ({"error": "authorization_pending"}, 400, False),
        ({"status": "slow_down"}, 200, True),
        ({"error": "slow_down"}, 200, True),
        ({"error": "slow_down"}, 400, True),
    ],
)
def test_a_pending_reply_continues_polling(dialect, body: object, status: int, slow: bool) -> None:
    assert dialect.read_poll_reply(reply(body, status)) == Pending(slow_down=slow)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"status": "denied"}, 200, Denied),
        ({"status": "access_denied"}, 200, Denied),
        ({"status": "rejected"}, 200, Denied),
        ({"status": "failed", "error": "access_denied"}, 200, Denied),
        ({"error": "access_denied"}, 400, Denied),
        ({"status": "expired"}, 200, TimedOut),
        ({"error": "expired_token"}, 400, TimedOut),
        ({"status": "success", "error": "expired_token"}, 200, TimedOut),
    ],
)
def test_denials_and_errors_are_distinguished(dialect, body: object, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        dialect.read_poll_reply(reply(body, status))


@pytest.mark.parametrize(
    ("body", "status", "id", "transient"),
    [
        ({"status": "error"}, 200, "minimax-refused", False),
        ({"status": "failed"}, 200, "minimax-refused", False),
        ({"error": "invalid_grant"}, 400, "sign-in-ended", False),
        ({"error": "server_error"}, 500, "server-error", True),
        ({"base_resp": {"status_code": 1004, "status_msg": "token not match group"}}, 200, "minimax-refused", False),
        ({"base_resp": {"status_code": 1001, "status_msg": "timeout"}}, 200, "minimax-refused", True),
        ({"base_resp": {"status_msg": "invalid_grant"}}, 400, "sign-in-ended", False),
        ({"base_resp": {"status_code": "1004", "status_msg": "login fail"}}, 403, "minimax-refused", False),
        ({"base_resp": {"status_code": "1002", "status_msg": "rate limit"}}, 200, "minimax-refused", True),
        ({"base_resp": {"status_msg": "sorry"}}, 403, "minimax-refused", True),
        ({"base_resp": {"status_msg": "invalid_grant"}}, 403, "sign-in-ended", False),
        ({"base_resp": {"status_msg": "invalid_grant"}}, 429, "sign-in-ended", True),
        ({"base_resp": {}}, 429, "minimax-refused", True),
        ({"base_resp": {"status_code": 0}}, 408, "minimax-refused", True),
        ({"base_resp": {"status_code": 2056, "status_msg": "usage limit"}}, 429, "minimax-refused", True),
        ({"status": "error"}, 429, "minimax-refused", True),
        ({"error": "blocked_by_waf"}, 403, "server-error", True),
        ({}, 502, "reply-unreadable", True),
        ("<html>bad gateway</html>", 502, "reply-unreadable", True),
        ("[]", 200, "reply-unreadable", True),
        ({"status": "success"}, 200, "reply-invalid", False),
    ],
)
def test_every_other_reply_is_a_typed_error(body: object, status: int, id: str, transient: bool) -> None:
    for read in (U.read_poll_reply, U.read_token_reply):
        with pytest.raises(OAuthError) as raised:
            read(reply(body, status))
        assert (raised.value.id, raised.value.transient) == (id, transient)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("body", "id"),
    [
        ({"base_resp": {"status_code": 4242, "status_msg": "maintenance"}}, "minimax-refused"),
        ({"base_resp": {"status_code": "soon"}}, "minimax-refused"),
        ({"status": "surprise"}, "reply-invalid"),
        ({"base_resp": {"status_code": 0}, "status": "surprise"}, "reply-invalid"),
    ],
)
def test_an_unknown_status_ends_a_sign_in_but_never_a_stored_account(dialect, body: object, id: str) -> None:
    for read in (dialect.read_poll_reply, dialect.read_token_reply):
        with pytest.raises(OAuthError) as raised:
            read(reply(body))
        assert (raised.value.id, raised.value.transient, raised.value.ends_grant) == (id, False, False)


def test_an_unknown_status_is_shown_escaped_and_capped() -> None:
    with pytest.raises(OAuthError) as raised:
        U.read_poll_reply(reply({"status": "\x1b[2Jboo\u202e" + "x" * 500}))
    text = str(raised.value)
    assert "boo" in text
    assert text.isprintable()
    assert len(text) < 200


def test_a_success_reply_gives_a_complete_token_set() -> None:
    access, refresh = canary("at"), canary("rt")
    body = granted(
        access_token=access, refresh_token=refresh, token_type="Bearer", resource_url="https://api.minimax.io/anthropic"
    )
    token_set = U.read_poll_reply(reply({**body, "notification_message": "Hi\x1b[31m there\u202e\n!" + "y" * 900}))
    assert (token_set.access, token_set.refresh) == (Secret(access), Secret(refresh))
    assert token_set.expires_at == NOW + 172_800_000
    assert token_set.resource_url == "https://api.minimax.io/anthropic"
    assert token_set.notice.startswith("Hi [31m there !")
    assert len(token_set.notice) <= 500


def test_a_refresh_reply_may_have_no_refresh_token() -> None:
    assert U.read_token_reply(reply(granted(refresh_token=""))).refresh is None


def test_the_standard_success_needs_no_status() -> None:
    body = {"access_token": "at", "refresh_token": "rt", "token_type": "bearer", "expires_in": 3600, "scope": ["agent.default"]}
    token_set = S.read_poll_reply(reply(body))
    assert (token_set.expires_at, token_set.scope) == (NOW + 3_600_000, "agent.default")


def test_a_missing_scope_ends_a_sign_in_but_not_a_refresh() -> None:
    body = {"access_token": "at", "token_type": "bearer", "expires_in": 3600, "scope": "something.else"}
    for read in (S.read_poll_reply, S.read_token_reply):
        token_set = read(reply(body))
        assert token_set.scope == "something.else"
        with pytest.raises(OAuthError) as raised:
            check_scope(token_set)
        assert raised.value.id == "scope-missing"


FIELDS = [
    "access_token",
    "refresh_token",
    "token_type",
    "expires_in",
    "expired_in",
    "status",
    "scope",
    "resource_url",
    "error",
    "error_description",
    "message",
    "notification_message",
    "device_code",
    "user_code",
    "verification_uri",
    "verification_uri_complete",
    "interval",
    "state",
    "base_resp",
]
ODD = (None, True, 0, -1, 1, 1e308, 10**400, "", "a b", "3600", "\ud800", "é", "success", "pending", [], [1], {}, {"a": 1})
ENVELOPES = tuple({"status_code": value, "status_msg": value} for value in ODD)


@pytest.mark.parametrize("dialect", [*DIALECTS, StandardDialect()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("status", [200, 400, 429])
def test_a_field_of_any_type_gives_a_result_or_an_error_with_a_reason(dialect, status: int) -> None:
    for body in (granted(), {}, USER_CODE, DEVICE_CODE):
        for name, value in product(FIELDS, (*ODD, *ENVELOPES)):
            answer = reply({**body, name: value}, status)
            for read in (dialect.read_token_reply, dialect.read_poll_reply, partial(dialect.read_device_reply, state="st")):
                try:
                    outcome = read(answer)
                except PorticoError as error:
                    outcome = error.id
                assert outcome, (name, value)


def test_no_error_contains_a_token() -> None:
    token = canary("at")
    for body in (
        {"access_token": [token], "status": "success"},
        {"token": token, "status": "error"},
        f'{{"access_token": "{token}"',
    ):
        with pytest.raises(OAuthError) as raised:
            U.read_token_reply(reply(body))
        assert token not in f"{raised.value}{raised.value!r}{raised.value.why}"


def test_a_refresh_of_minimax_codes_client_never_requests_a_replys_scope() -> None:
    for scope, sent in (
        ("agent.default", "agent.default"),
        ("agent.default more", "agent.default more"),
        ("Agent, Profile", None),
    ):
        form = S.refresh_request(replace(CODE_SERVER, scope=scope), Secret("rt")).form
        assert form.get("scope") == sent
