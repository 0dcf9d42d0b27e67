"""The health of a profile from its index entry: an expired token is never ok, and each problem has its own name and code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.auth.freshness import health_at, needs_sign_in, worst_exit_code
from portico.errors import ExitCode
from portico.store.records import Failure
from tests.auth.helpers import a_profile

HOUR = 3_600_000
REFUSED = Failure(at=1, id="sign-in-expired", message="refused", terminal=True, code="invalid_grant")
AWAY = Failure(at=1, id="network", message="no answer", terminal=False)


@pytest.fixture
def profile(fake_clock):
    now = fake_clock.wall_ms()
    return replace(a_profile("https://as.example", fake_clock), has_refresh=True, expires_at=now + 48 * HOUR)


@pytest.mark.requirement("E81")
@pytest.mark.parametrize(
    ("changed", "left_h", "expected"),
    [
        ({}, 48, ("ok", "good", "not tried yet", 0)),
        ({"refreshed_at": 1}, 1, ("ok", "good", "works", 0)),
        ({"refreshed_at": 1}, -1, ("refresh due", "ended", "works", 0)),
        ({"failure": AWAY}, 1, ("refresh failing", "good", "failing", 0)),
        ({"failure": AWAY}, -1, ("refresh failing", "ended", "failing", 12)),
        ({"failure": REFUSED}, 48, ("sign in again", "good", "refused", 3)),
        ({"failure": REFUSED}, -1, ("sign in again", "ended", "refused", 3)),
        ({"has_refresh": False}, 48, ("ok", "good", "none", 0)),
        ({"has_refresh": False}, 24, ("expiring", "good", "none", 12)),
        ({"has_refresh": False}, -1, ("sign in again", "ended", "none", 3)),
        ({"has_refresh": False}, None, ("ok", "unknown", "none", 0)),
        ({"failure": AWAY, "has_refresh": False}, -1, ("sign in again", "ended", "none", 3)),
        ({"refresh_in_h": -1, "failure": REFUSED}, 48, ("sign in again", "good", "refused", 3)),
        ({"refresh_in_h": -1, "failure": REFUSED}, None, ("sign in again", "unknown", "refused", 3)),
        ({"refresh_in_h": 25}, 1, ("ok", "good", "not tried yet", 0)),
        ({"refresh_in_h": 25, "failure": AWAY}, 1, ("refresh failing", "good", "failing", 0)),
        ({"refresh_in_h": 24, "failure": AWAY}, 1, ("refresh failing", "good", "failing", 12)),
        ({"refresh_in_h": -1}, 48, ("ok", "good", "ended", 0)),
        ({"refresh_in_h": -1}, 24, ("expiring", "good", "ended", 12)),
        ({"refresh_in_h": -1}, -1, ("sign in again", "ended", "ended", 3)),
    ],
)
def test_each_state_has_its_own_word_and_code(profile, fake_clock, changed, left_h, expected):
    now = fake_clock.wall_ms()
    ends = None if left_h is None else now + left_h * HOUR
    if "refresh_in_h" in changed:
        changed = {**changed, "refresh_expires_at": now + changed["refresh_in_h"] * HOUR}
        del changed["refresh_in_h"]
    profile = replace(profile, expires_at=ends, **changed)
    health = health_at(profile, now)

    assert (health.status, health.access, health.refresh, health.exit_code) == expected
    assert needs_sign_in(profile, fake_clock) == (expected[3] == 3)


def test_the_worst_of_several_counts(profile, fake_clock):
    now = fake_clock.wall_ms()
    expiring = replace(profile, has_refresh=False, expires_at=now + HOUR)

    assert worst_exit_code([], fake_clock) == ExitCode.SIGN_IN_NEEDED
    assert worst_exit_code([profile], fake_clock) == ExitCode.OK
    assert worst_exit_code([profile, expiring], fake_clock) == ExitCode.EXPIRING
    assert worst_exit_code([expiring, replace(profile, failure=REFUSED)], fake_clock) == ExitCode.SIGN_IN_NEEDED
