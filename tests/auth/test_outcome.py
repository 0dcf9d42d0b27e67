from __future__ import annotations

from dataclasses import replace

import pytest

from portico.auth.outcome import Pause, answers_missing, failure_of, is_terminal, sign_in_expired
from portico.errors import ConfigError, Denied, LockBusy, NetworkError, OAuthError, StoreError
from portico.oauth.token_errors import error_for
from portico.store.profiles import Fence
from portico.store.remedy import sign_in_again
from tests.auth.parts import a_profile


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope"])
def test_a_refusal_by_the_server_is_final(code):
    error = error_for(code)
    assert is_terminal(error)
    assert failure_of(error, 5).code == code


@pytest.mark.parametrize(
    "error",
    [
        error_for("server_error"),
        error_for("temporarily_unavailable"),
        error_for("invalid_grant", transient=True),
        OAuthError("reply-unreadable", "a page", transient=True),
        NetworkError("network", "unreachable"),
        StoreError("disk-full", "full"),
        ConfigError("plugin-off", "off"),
        LockBusy("lock-busy", "busy"),
    ],
)
def test_anything_else_may_be_tried_again(error):
    assert not is_terminal(error)


def test_a_denial_is_final():
    assert is_terminal(Denied("access-denied", "no"))


def test_pauses_grow_to_a_minute_and_are_spread():
    pause, seconds = None, []
    for _ in range(12):
        pause = Pause.after(NetworkError("network", "down"), pause, 0)
        seconds.append(pause.until_ms / 1000)
    assert all(0.25 <= pause <= min(60, 2 * 2**number) for number, pause in enumerate(seconds))
    # The first few may meet at the floor; the long ones meet once in thousands of runs.
    assert len(set(seconds[5:])) > 1


def test_the_longest_pauses_are_a_minute_with_full_jitter(monkeypatch):
    drawn = []
    monkeypatch.setattr("random.uniform", lambda low, high: drawn.append((low, high)) or high)
    pause = None
    for _ in range(10):
        pause = Pause.after(NetworkError("network", "down"), pause, 0)
    assert drawn == [(0, high) for high in (2, 4, 8, 16, 32, 60, 60, 60, 60, 60)]
    assert pause.until_ms == 60_000


def test_a_network_that_is_not_there_is_looked_for_every_few_seconds_for_a_minute(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    offline = NetworkError("network", "no name", unsent=True)
    pause, seconds = None, []
    for _ in range(14):
        pause = Pause.after(offline, pause, 0)
        seconds.append(pause.until_ms / 1000)
    assert seconds == [2, 4, *[5] * 10, 60, 60]


def test_retry_after_lengthens_a_pause_within_reason():
    def asked(wait):
        return Pause.after(OAuthError("x", "busy", transient=True, retry_after=wait), None, 0).until_ms / 1000

    assert asked(120) == 120
    assert asked(10**6) == 900
    assert 0.25 <= asked(0) <= 2


def test_a_clock_that_is_set_back_ends_the_pause():
    pause = Pause.after(NetworkError("network", "down"), None, 1_000_000)
    assert pause.holds(1_000_249)
    assert not pause.holds(999_999)
    assert not pause.holds(pause.until_ms)


def test_a_caller_in_a_pause_gets_the_same_kind_of_error():
    error = StoreError("disk-full", "no space", why="ENOSPC", hint="make room")
    again = Pause.after(error, None, 0).as_error()
    assert type(again) is StoreError
    assert again is not error
    assert (again.id, again.message, again.why, again.hint) == (error.id, error.message, error.why, error.hint)


def test_a_caller_in_a_pause_still_gets_what_decides_whether_to_try_again():
    busy = OAuthError("server-busy", "busy", code="slow_down", transient=True, retry_after=7)
    again = Pause.after(busy, None, 0).as_error()
    assert isinstance(again, OAuthError)
    assert (again.code, again.transient, again.retry_after) == ("slow_down", True, 7)
    assert not is_terminal(again)

    offline = Pause.after(NetworkError("network", "no name", unsent=True), None, 0).as_error()
    assert isinstance(offline, NetworkError)
    assert offline.unsent


def test_every_remedy_names_the_sign_in_that_it_is_for(fake_clock):
    profile = replace(a_profile("https://as.example", fake_clock), id="minimax-portal:cn", region="cn")
    refused = replace(profile, failure=failure_of(error_for("invalid_client"), 5))
    fence = Fence(generation=1, token="", started_at=0, sends=3, pid=1)
    for error in (sign_in_expired(profile), sign_in_expired(refused), answers_missing(profile, fence)):
        assert sign_in_again(profile) in error.hint
