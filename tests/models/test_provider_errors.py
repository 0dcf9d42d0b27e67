"""The meaning of each status, number and message of a provider for the next attempt."""

from __future__ import annotations

import json
import time
from typing import get_args

import pytest
from multidict import CIMultiDict

from portico.errors import LockBusy
from portico.interfaces.plugins import ProviderErrorKind
from portico.models.provider_errors import (
    MESSAGE_LIMIT,
    ProviderError,
    is_error_body,
    local_error,
    read_provider_error,
    rejects_token,
    shown,
    unreachable,
)
from portico.net.errors import AnswerUnknown, Unreachable
from portico.plugins.builtin import MINIMAX_ERROR_CODES as ERROR_CODES
from portico.secret import Secret
from portico.store.errors import KeyringLocked
from portico.testing.canary import canary

ELSEWHERE = {
    "local",
    "auth",
    "account-refused",
    "model-refused",
    "billing",
    "rate-limit",
    "plan-used-up",
    "plan-lacks-model",
    "no-plan",
    "server",
    "timeout",
    "unreachable",
    "answer-unknown",
}
USED_UP = (
    "usage limit exceeded, 5-hour usage limit reached for Token Plan Starter (0/0 used), resets at 2026-05-15T15:00:00Z (2056)"
)


def read(status, message="", *, headers=None, **fields):
    body = fields.pop("body", None)
    if body is None:
        body = json.dumps({"type": "error", "error": {"type": "x", "message": message}, **fields}).encode()
    return read_provider_error(status, headers or {}, body, ERROR_CODES)


@pytest.mark.parametrize("kind", get_args(ProviderErrorKind))
def test_each_kind_is_either_the_requests_own_fault_or_may_succeed_elsewhere(kind):
    assert ProviderError(kind, "").may_succeed_elsewhere == (kind in ELSEWHERE)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid-request"),
        (401, "auth"),
        (402, "billing"),
        (403, "model-refused"),
        (404, "invalid-request"),
        (405, "invalid-request"),
        (408, "timeout"),
        (413, "invalid-request"),
        (422, "invalid-request"),
        (425, "server"),
        (429, "rate-limit"),
        *((status, "server") for status in (500, 502, 503, 504, 520, 529)),
        *((status, "invalid-request") for status in (301, 302, 307, 308)),
    ],
)
def test_a_status_alone(status, kind):
    assert read(status).kind == kind
    assert read(status, body=b"<html>an error page</html>").kind == kind


@pytest.mark.parametrize("code", ERROR_CODES)
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_each_number_of_minimax_counts_whatever_the_status_and_wherever_it_stands(code, status):
    inside = json.dumps({"base_resp": {"status_code": code, "status_msg": "no"}}).encode()
    provider_error = read(status, body=inside)
    assert (provider_error.kind, provider_error.code, provider_error.message) == (ERROR_CODES[code], code, "no")
    assert read(status, f"no ({code})").kind == ERROR_CODES[code]


def test_a_number_that_nobody_knows_under_200_is_a_failure_of_the_server():
    assert read(200, body=b'{"base_resp": {"status_code": 4711, "status_msg": "?"}}').kind == "server"


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Your credit balance is too low to access the Anthropic API.", "billing"),
        (429, "You exceeded your current quota: insufficient_quota", "billing"),
        (404, "model: claude-nothing", "unknown-model"),
        (404, "The model `gpt-9` does not exist or you do not have access to it.", "unknown-model"),
        (404, "404 page not found", "invalid-request"),
        (400, "invalid params, unknown model 'x' (2013)", "unknown-model"),
        (400, "invalid params, messages must not be empty (2013)", "invalid-request"),
        (400, "messages: text content blocks must be non-empty", "invalid-request"),
    ],
)
def test_words_tell_what_a_status_leaves_open(status, message, kind):
    assert read(status, message).kind == kind


def test_the_providers_time_is_read():
    assert read(429, USED_UP).resets_at == 1_778_857_200_000
    assert read(429, headers={"Retry-After": "7"}).retry_after == 7
    date = {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 23:59:29 GMT"}
    assert read(429, headers=date).retry_after == 30
    assert read(429, headers={"Retry-After": "soon"}).retry_after is None


@pytest.mark.parametrize(
    "moment",
    ["2026-13-45T00:00:00Z", "2026-02-30T00:00:00Z", "2026-02-02T25:61:61Z", "2026-02-02T00:00:00+99:99", "0000-01-01T00:00:00Z"],
)
@pytest.mark.parametrize("status", [403, 429])
def test_an_invalid_time_is_ignored(status, moment):
    provider_error = read(status, f"usage limit exceeded, resets at {moment}")
    assert (provider_error.resets_at, provider_error.message) == (None, f"usage limit exceeded, resets at {moment}")


def test_an_error_of_many_mib_in_a_stream_takes_no_long_time():
    started = time.process_time()
    text = shown("%252541" * 1_000_000, Secret("q7ZtLw2RkN9xVb4Hc1Ms"))

    assert len(text) == 300
    assert time.process_time() - started < 0.5


def test_what_is_shown_holds_no_credential_and_no_control_character():
    key = canary("key")
    provider_error = read_provider_error(
        401, {}, json.dumps({"error": f"no \x1b[2J {key} {'x' * 999}"}).encode(), {}, Secret(key)
    )
    assert key not in str(provider_error)
    assert "\x1b" not in provider_error.message
    assert len(str(provider_error)) <= 310
    assert provider_error.message.endswith("x" * 999)
    endless = read_provider_error(401, {}, json.dumps({"error": "x" * 60_000}).encode(), {})
    assert len(endless.message) == MESSAGE_LIMIT


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"3", b"\xff\xfe", b"[" * 9000, b'{"error": 5}', b'{"error": {"message": 5}}']
)
def test_a_body_of_any_shape_is_read(body):
    assert read(500, body=body).kind == "server"
    assert not is_error_body(body, ERROR_CODES)


@pytest.mark.parametrize(
    ("answer", "provider_error"),
    [
        ({"base_resp": {"status_code": 2062}}, True),
        ({"base_resp": {"status_code": 0}, "content": []}, False),
        ({"base_resp": {"status_code": 2056}, "choices": []}, True),
        ({"base_resp": {"status_code": "2056"}}, False),
        ({"content": []}, False),
    ],
)
def test_an_answer_with_a_number_that_is_not_zero_is_no_answer(answer, provider_error):
    assert is_error_body(json.dumps(answer).encode(), ERROR_CODES) is provider_error


def error(kind, message, **more):
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


CHALLENGE = 'Bearer realm="api", error="{}", error_description="no"'
LOGIN_FAIL = "login fail: Please carry the API secret key in the 'X-Api-Key' field of the request header"


@pytest.mark.requirement("E101")
@pytest.mark.parametrize(
    ("status", "challenge", "body"),
    [
        (401, "", {}),
        (403, CHALLENGE.format("invalid_token"), {}),
        (403, "", {"error": "invalid_token", "error_description": "The access token expired"}),
        (403, "", {"error": {"code": "token_expired", "message": "no"}}),
        (403, "", error("authentication_error", "invalid api key")),
        (403, "", error("authorized_error", f"{LOGIN_FAIL} (1004)")),
        (403, "", error("x", LOGIN_FAIL)),
        (403, "", error("authorized_error", "invalid api key (2049)")),
        (403, "", {"base_resp": {"status_code": 1004, "status_msg": "token not match group"}}),
        (403, 'Bearer error="invalid_token"', {"error": "insufficient_scope"}),
        (403, 'Bearer realm="x, error=foo", error="invalid_token"', {}),
        (403, r'Bearer realm="a \", error=\"foo", error=invalid_token', {}),
        (403, "Bearer error=insufficient_scope, Bearer error=invalid_token", {}),
        (403, 'Negotiate abc==, Bearer realm = "api" , error = "invalid_token"', {}),
        (403, 'Bearer realm="api"', {"error": "invalid_token"}),
        (403, "", {"detail": "Token has expired"}),
        (403, "", {"detail": "Invalid token."}),
        (403, "", {"message": "Invalid or expired access token"}),
        (403, "", {"message": "The security token included in the request is expired"}),
        (403, "", {"message": "Your session has expired"}),
        (403, "", {"error": "Forbidden", "message": "Your OAuth token is no longer valid, please sign in again"}),
        (403, "", {"error": {"message": "Invalid authentication credentials"}}),
        (403, "", {"error": {"message": "Authentication failed: token has been revoked"}}),
        (403, "", {"errors": [{"title": "token expired"}]}),
        (403, "", {"message": "token expired", "model": "MiniMax-M2.1"}),
        (403, "", {"code": 403, "message": "token is invalid"}),
        (403, "", {"status": 403, "error": "Forbidden", "message": "Access denied: expired bearer token"}),
        (403, "", {"error": {"message": "Authentication required", "type": "x"}}),
        (403, "", b"invalid access token"),
        (403, "", error("permission_error", "OAuth token has been revoked. Please obtain a new token.")),
        (403, "", {"error": "invalid_token", "error_description": "Token was not recognised for this organization"}),
        (403, "", error("x", "The access token is expired. See https://docs.example/models/auth", code="invalid_token")),
        (403, "", error("token_expired", "Sign in again, or ask the owner of your plan")),
        (403, "", {"message": "Your token has expired (https://docs.example/limits#token), sign in again"}),
        (403, "", {"error": "Your token has expired, see https://docs.example/models"}),
        (403, "", {"error": "No such token in this organization", "code": "invalid_token"}),
        (403, "", {"message": "The incoming token has expired"}),
        (403, "", {"message": "ID token expired"}),
        (200, "", {"base_resp": {"status_code": 1004, "status_msg": "cookie is missing, log in again"}}),
        (200, "", {"id": "", "choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}),
    ],
)
@pytest.mark.parametrize("codes", [ERROR_CODES, {2049: "auth"}], ids=["MiniMax", "another"])
def test_an_answer_that_rejects_the_token_is_worth_a_refresh(status, challenge, body, codes):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    assert rejects_token(status, headers, data, codes)
    assert rejects_token(status, {name.lower(): value for name, value in headers.items()}, data, codes)
    provider_error = read_provider_error(status, headers, data, codes)
    assert (provider_error.kind, provider_error.rejects_token, provider_error.may_succeed_elsewhere) == ("auth", True, True)


@pytest.mark.requirement("E101")
@pytest.mark.parametrize(
    ("status", "challenge", "body"),
    [
        (403, CHALLENGE.format("insufficient_scope"), {"error": "invalid_token"}),
        (403, 'Bearer realm="x, error=invalid_token"', {}),
        (403, 'Bearer realm="no end, error=invalid_token', {}),
        (403, 'Bearer error="use_dpop_nonce"', {"error": "invalid_token"}),
        (403, "", {}),
        (403, "", b""),
        (403, "", b"[1]"),
        (403, "", {"message": "Missing Authentication Token"}),
        (403, "", {"message": "Invalid CSRF token"}),
        (403, "", {"message": "CSRF token expired"}),
        (403, "", {"error": "forbidden", "message": "Token count required"}),
        (403, "", {"message": "token count is invalid"}),
        (403, "", {"message": "The next page token is not valid"}),
        (403, "", {"message": "max token count missing"}),
        (403, "", {"error": {"message": "Authenticated user does not have access to this resource"}}),
        (403, "", {"error": {"message": "Access denied: two-factor authentication required for this account"}}),
        (403, "", {"error": {"message": "Proxy authentication failed"}}),
        (403, "", {"error": {"message": "Your IP is not authenticated for this endpoint"}}),
        (403, "", b"Authentication is provided by Zscaler; access to this category is denied"),
        (403, "", error("forbidden", "Request contains an unknown special token")),
        (403, "", error("authentication_error", "Your plan does not include this model")),
        (403, "", error("authentication_error", "two-factor authentication required")),
        (403, "", error("x", "this model is not permitted", code="unauthenticated")),
        (403, "", error("x", "Account suspended. Please log in again after payment")),
        (403, "", {"base_resp": {"status_code": 1004, "status_msg": "your plan does not include this model"}}),
        (403, "", b"<html><title>invalid token, authentication failed</title></html>"),
        (403, "", {"error": "insufficient_scope", "error_description": "the token lacks a scope"}),
        (403, "", error("permission_error", "Your API key does not have permission to use the specified resource.")),
        (403, "", error("permission_error", "OAuth token does not meet scope requirement")),
        (403, "", error("permission_error", "This credential is only for use with another product.")),
        (403, "", error("insufficient_scope", "the token lacks a scope", code="invalid_token")),
        (403, "", error("x", "Your plan has no access, see https://docs.example/invalid-token")),
        (403, "", error("x", "https://docs.example/token/expired")),
        (403, "", error("permission_error", "OAuth authentication is currently not allowed for this organization.")),
        (403, "", error("x", "Project does not have access to model", code="model_not_found")),
        (403, "", error("request_forbidden", "Country not supported", code="unsupported_country_region_territory")),
        (403, "", error("x", "your Token Plan has expired")),
        (403, "", error("x", "your current plan does not support model MiniMax-M3 (2061)")),
        (403, "", error("x", "insufficient balance (1008)")),
        (403, "", error("x", "token quota exceeded: the daily limit is reached")),
        (403, "", {"status": 403, "error": "Forbidden", "message": "Access denied"}),
        (403, "", {"base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}),
        (200, "", {"base_resp": {"status_code": 0, "status_msg": "invalid token"}}),
        (200, "", {"base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}),
        (200, "", {"base_resp": {"status_code": True}}),
        (200, "", error("authentication_error", "token expired")),
        (400, "", {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}),
        (429, "", error("authentication_error", "token expired")),
        (500, "", error("authentication_error", "token expired")),
    ],
)
def test_an_answer_about_rights_a_model_a_plan_or_a_place_is_not(status, challenge, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    assert not rejects_token(status, headers, data, ERROR_CODES)
    assert not read_provider_error(status, headers, data, ERROR_CODES).rejects_token


@pytest.mark.requirement("E101")
def test_each_of_several_challenges_is_read():
    headers = CIMultiDict([("www-authenticate", "Basic realm=x"), ("WWW-Authenticate", CHALLENGE.format("invalid_token"))])
    assert rejects_token(403, headers, b"", ERROR_CODES)


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("part", ["a", "a=", '"', 'a="', "\\", "token ", "the ", "invalid ", "session ", "token is "])
def test_a_long_answer_is_read_in_a_moment(part):
    filler = (part * (1 << 16))[: 1 << 16]
    began = time.process_time()
    rejects_token(403, {"WWW-Authenticate": filler}, json.dumps({"message": filler}).encode(), ERROR_CODES)
    rejects_token(403, {}, json.dumps({"message": filler}).encode(), ERROR_CODES)
    assert time.process_time() - began < 2


def test_the_network_is_unreachable_or_too_slow():
    assert unreachable(Unreachable("cannot be reached", unsent=True, why="refused")).kind == "unreachable"
    assert unreachable(Unreachable("cannot be reached", why="no answer in time")).kind == "unreachable"


def test_the_answer_to_a_request_that_was_sent_is_unknown_or_too_slow():
    broken, too_late = unreachable(AnswerUnknown("it hung up")), unreachable(AnswerUnknown("no answer in time", timed_out=True))
    assert (broken.kind, broken.unknown, broken.may_succeed_elsewhere) == ("answer-unknown", True, True)
    assert (too_late.kind, too_late.unknown, too_late.may_succeed_elsewhere) == ("timeout", True, True)


@pytest.mark.requirement("E144")
@pytest.mark.parametrize(
    ("message", "moment"),
    [
        ("resets at 2026-05-15T15:00:00Z", 1_778_857_200_000),
        ("resets at 2026-05-15T15:00:00.250Z", 1_778_857_200_250),
        ("resets at 2026-05-15 15:00:00 UTC", 1_778_857_200_000),
        ("It will reset at 2026-05-15T23:00:00+08:00.", 1_778_857_200_000),
        ("resets at 2026-05-15T23:00:00+0800", 1_778_857_200_000),
        ("resets at 1778857200", 1_778_857_200_000),
        ("try again after 1778857200123", 1_778_857_200_123),
        ("resets at 2026-05-15 15:00:00", None),  # in which zone?
        ("resets at 17788572001", None),
        ("resets at noon", None),
    ],
)
def test_the_moment_that_a_message_names_is_read_in_each_of_its_forms(message, moment):
    assert read(429, f"usage limit exceeded, {message} (2056)").resets_at == moment


@pytest.mark.requirement("E144")
@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 20s.", 20),
        ("Please try again in 350ms. Visit", 0.35),
        ("Please try again in 1m12.5s.", 72.5),
        ("try again in 6m0s", 360),
        ("resets in 3h 20m", 12_000),
        ("available again in 2 days, 1 hour and 5 minutes", 176_700),
        ("retry after 40 seconds", 40),
        ("try again in 3 steps", None),
        ("try again in a while", None),
    ],
)
def test_the_span_that_a_message_names_is_read_in_each_of_its_forms(message, seconds):
    assert read(429, f"Rate limit reached. {message}").retry_after == (seconds and pytest.approx(seconds))


@pytest.mark.requirement("E144")
@pytest.mark.parametrize(
    ("fields", "headers", "expected"),
    [
        ({"resets_in_seconds": 40}, {}, (40, None)),
        ({"resets_at": 1_778_857_200}, {}, (None, 1_778_857_200_000)),
        ({"resets_at": 1_778_857_200_123}, {}, (None, 1_778_857_200_123)),
        ({"resets_at": "2026-05-15T15:00:00Z"}, {}, (None, 1_778_857_200_000)),
        ({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}, {}, (34.5, None)),
        ({}, {"retry-after-ms": "2500", "Retry-After": "3"}, (2.5, None)),
        ({}, {"Retry-After-Ms": "soon", "Retry-After": "3"}, (3, None)),
        ({"resets_at": -5, "resets_in_seconds": True}, {}, (None, None)),
        ({"resets_at": 1e300, "resets_in_seconds": "NaN"}, {}, (None, None)),
        ({"details": "none"}, {}, (None, None)),
    ],
)
def test_the_fields_and_headers_that_tell_a_time_are_read(fields, headers, expected):
    provider_error = read(429, body=json.dumps({"error": {"message": "limit", **fields}}).encode(), headers=CIMultiDict(headers))
    assert (provider_error.retry_after, provider_error.resets_at) == expected


@pytest.mark.requirement("E143")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("auth", "Invalid API key"),
        ("auth", "This api_key has been revoked."),
        ("auth", "The key you provided is not valid"),
        ("billing", "Your account is overdue; a payment is required"),
        ("billing", "Insufficient balance"),
        ("account-refused", "Your account has been suspended for abuse"),
        ("account-refused", "organization is restricted"),
        ("account-refused", "Country, region, or territory not supported"),
        ("model-refused", "Your account does not have access to model gpt-5"),
        ("model-refused", "API key is not allowed to use the model gpt-5"),
        ("model-refused", "The model is not available in your region"),
        ("model-refused", "Invalid CSRF token"),
        ("model-refused", "Missing Authentication Token"),
        ("model-refused", "<html>Your account is blocked</html>"),
        ("model-refused", "Request not allowed"),
        ("model-refused", ""),
    ],
)
def test_a_403_is_about_the_model_unless_its_words_say_otherwise(kind, message):
    assert read(403, message).kind == kind


@pytest.mark.requirement("E143")
def test_a_403_with_a_number_of_minimax_means_what_the_number_means():
    assert [read(403, f"no ({code})").kind for code in (2049, 2061, 2056)] == ["auth", "plan-lacks-model", "plan-used-up"]


@pytest.mark.requirement("E141")
def test_trouble_on_this_machine_has_its_own_word_and_passes_by_itself_only_where_that_is_so():
    locked, busy, down = (
        KeyringLocked("it is locked"),
        LockBusy("busy"),
        Unreachable("down"),
    )
    outcomes = [(one.label, one.temporary, one.may_succeed_elsewhere) for one in map(local_error, (locked, busy, down))]
    assert outcomes == [("keyring-locked", False, True), ("lock-busy", True, True), ("network", True, True)]
