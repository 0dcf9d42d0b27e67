"""How long a server is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.auth.backoff import Backoff, backoff_to_store, is_terminal, make_failure, stored_backoff
from portico.errors import ConfigError, NetworkError, OAuthError, StoreError
from portico.net.errors import Unreachable
from portico.store.records import profile_from_json, profile_to_json
from portico.testing.authorization_server import Fault
from tests.auth.helpers import PROFILE, a_profile

BUSY = OAuthError("server-busy", "busy", transient=True, retry_after=90)


def lengths(error, count):
    """The seconds of `count` backoffs in a row, each started at the end of the previous one."""
    backoff, now, seconds = None, 0, []
    for _ in range(count):
        backoff = Backoff.after(error, backoff, now)
        seconds.append((backoff.until_ms - now) / 1000)
        now = backoff.until_ms
    return seconds


def test_backoffs_grow_to_a_minute_and_are_spread():
    seconds = lengths(Unreachable("down"), 12)
    assert all(0.25 <= wait <= min(60, 2 * 2**number) for number, wait in enumerate(seconds))
    # The first few may meet at the floor; the long ones meet once in thousands of runs.
    assert len(set(seconds[5:])) > 1


def test_the_longest_pauses_are_a_minute_with_full_jitter(monkeypatch):
    drawn = []
    monkeypatch.setattr("random.uniform", lambda low, high: drawn.append((low, high)) or high)
    assert lengths(Unreachable("down"), 10)[-1] == 60
    assert drawn == [(0, high) for high in (2, 4, 8, 16, 32, 60, 60, 60, 60, 60)]


def test_a_network_that_is_not_there_is_looked_for_every_few_seconds_for_a_minute(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    offline = Unreachable("no name", unsent=True)
    assert lengths(offline, 14) == [2, 4, *[5] * 10, 60, 60]


def test_retry_after_lengthens_a_pause_within_reason():
    def asked(wait):
        return Backoff.after(OAuthError("x", "busy", transient=True, retry_after=wait), None, 0).until_ms / 1000

    assert asked(120) == 120
    assert asked(10**6) == 3600
    assert 0.25 <= asked(0) <= 2


def test_a_clock_that_is_set_back_ends_the_pause():
    backoff = Backoff.after(Unreachable("down"), None, 1_000_000)
    assert backoff.is_active(1_000_249)
    assert not backoff.is_active(999_999)
    assert not backoff.is_active(backoff.until_ms)


def test_a_caller_in_a_pause_gets_the_same_kind_of_error():
    error = StoreError("disk-full", "no space", why="ENOSPC", hint="make room")
    repeated = Backoff.after(error, None, 0).as_error()
    assert type(repeated) is StoreError
    assert repeated is not error
    assert (repeated.id, repeated.message, repeated.why, repeated.hint) == (error.id, error.message, error.why, error.hint)


def test_a_caller_in_a_pause_still_gets_what_decides_whether_to_try_again():
    busy = OAuthError("server-busy", "busy", code="slow_down", transient=True, retry_after=7)
    repeated = Backoff.after(busy, None, 0).as_error()
    assert isinstance(repeated, OAuthError)
    assert (repeated.code, repeated.transient, repeated.retry_after) == ("slow_down", True, 7)
    assert not is_terminal(repeated)

    offline = Backoff.after(Unreachable("no name", unsent=True), None, 0).as_error()
    assert isinstance(offline, NetworkError)
    assert offline.unsent


def test_a_pause_that_is_going_on_is_never_made_shorter():
    first = Backoff.after(BUSY, None, 0)
    assert Backoff.after(Unreachable("down"), first, 1000).until_ms == first.until_ms


def test_a_pause_goes_through_the_index_and_grows_there(fake_clock, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    profile, now, seconds = a_profile("https://as.example", fake_clock), 0, []
    for _ in range(3):
        backoff = backoff_to_store(profile, Unreachable("no answer"), now)
        failed = replace(profile, failure=make_failure(backoff.error, now, backoff))
        profile = profile_from_json(profile.id, profile_to_json(failed, {}))
        seconds.append((backoff.until_ms - now) / 1000)
        assert stored_backoff(profile, now).attempts == len(seconds)
        assert stored_backoff(profile, backoff.until_ms) is None
        now = backoff.until_ms
    assert seconds == [2, 4, 8]


@pytest.mark.parametrize(
    "error", [Unreachable("no name", unsent=True), StoreError("disk-full", "full"), ConfigError("plugin-off", "off")]
)
def test_what_has_reached_no_server_holds_back_no_other_process(fake_clock, error):
    assert backoff_to_store(a_profile("https://as.example", fake_clock), error, 0) is None


@pytest.mark.requirement("E58")
async def test_a_server_that_asks_for_time_gets_it_from_every_process(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", Fault(status=503, body=b"", headers={"Retry-After": "90"}))
    for _ in range(89):
        with pytest.raises(NetworkError, match="503") as raised:
            await account.broker().access(PROFILE)  # a new process each time
        account.clock.advance(1)
    assert account.posts == 1
    assert raised.value.hint == "Tried 88 s ago; run the command again in 2 s."
    assert (type(raised.value), raised.value.transient, raised.value.retry_after) == (OAuthError, True, 2.0)

    account.server.faults.always("/token", None)
    account.clock.advance(1)
    assert account.holds(await account.broker().access(PROFILE))
    assert account.index.get(PROFILE).failure is None
