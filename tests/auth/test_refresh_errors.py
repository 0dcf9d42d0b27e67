from __future__ import annotations

from dataclasses import replace

import pytest

from portico.auth.backoff import answers_missing_error, as_transient, is_terminal, make_failure, sign_in_expired
from portico.errors import ENDS_A_GRANT, ConfigError, LockBusy, OAuthError, StoreError
from portico.net.errors import Unreachable
from portico.oauth.token_errors import AccessDenied, SignInTimedOut, error_for, oauth_error
from portico.store.profiles import sign_in_again
from portico.store.records import JournalEntry
from tests.auth.helpers import a_profile
from tests.oauth.helpers import reply


@pytest.mark.requirement("E97")
@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("code", sorted(ENDS_A_GRANT))
def test_ten_words_of_the_server_are_final(code, status):
    error = oauth_error(reply("", status), {"error": code})
    assert is_terminal(error)
    assert make_failure(error, 5).code == code


@pytest.mark.requirement("E97")
@pytest.mark.parametrize(
    "status", [200, 202, 402, 403, 404, 405, 408, 409, 410, 418, 422, 425, 429, 451, 500, 502, 503, 504, 530]
)
@pytest.mark.parametrize("code", sorted(ENDS_A_GRANT))
def test_the_same_words_at_any_other_status_are_not(code, status):
    assert not is_terminal(oauth_error(reply("", status), {"error": code}))


OTHER_WORDS = [
    "invalid_request",
    "rate_limited",
    "internal_failure",
    "Not Found",
    "Unauthorized",
    "Bad Request",
    "INVALID_GRANT",
    "invalid_grant ",
    "access_denied",
    "expired_token",
    "authorization_pending",
    "slow_down",
    "server_error",
    "temporarily_unavailable",
    "account_selection_required",
]


@pytest.mark.requirement("E97")
@pytest.mark.requirement("E98")
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("code", OTHER_WORDS)
def test_any_other_word_at_any_status_is_not(code, status):
    assert not is_terminal(oauth_error(reply("", status), {"error": code}))


@pytest.mark.parametrize(
    "error",
    [
        error_for("server_error"),
        error_for("temporarily_unavailable"),
        error_for("invalid_grant"),
        OAuthError("reply-unreadable", "a page", transient=True),
        Unreachable("unreachable"),
        StoreError("disk-full", "full"),
        ConfigError("plugin-off", "off"),
        LockBusy("busy"),
    ],
)
def test_anything_else_may_be_tried_again(error):
    assert not is_terminal(error)


@pytest.mark.requirement("E98")
@pytest.mark.parametrize("error", [AccessDenied("no"), SignInTimedOut("late")])
def test_a_no_from_the_page_ends_no_stored_sign_in(error):
    assert not is_terminal(error)
    assert not is_terminal(as_transient(error))


def test_every_remedy_names_the_sign_in_that_it_is_for(fake_clock):
    profile = replace(a_profile("https://as.example", fake_clock), id="minimax-portal:cn", region="cn")
    rejected = replace(profile, failure=make_failure(error_for("invalid_client"), 5))
    entry = JournalEntry(generation=1, token="", started_at=0, sends=3, pid=1)
    lost = Unreachable("lost")
    for error in (
        sign_in_expired(profile),
        sign_in_expired(rejected),
        answers_missing_error(lost, entry, profile),
    ):
        assert sign_in_again(profile) in error.hint
