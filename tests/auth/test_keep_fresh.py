"""One round of refreshes."""

from __future__ import annotations

from dataclasses import replace

from portico.auth.background import refresh_what_is_due
from portico.store.records import Failure
from portico.testing.authorization_server import Fault


async def results(account, broker=None):
    outcomes = await refresh_what_is_due(broker or account.broker(), account.index.real)
    return {outcome.profile_id: outcome.result for outcome in outcomes}


async def test_only_what_is_due_is_refreshed_and_one_failure_stops_no_other(account):
    account.sign_in("test:due", ttl_s=30)
    account.sign_in("test:long", ttl_s=3600)
    account.sign_in("test:ended", ttl_s=30)
    failure = Failure(at=1, id="sign-in-expired", message="refused", terminal=True, code="invalid_grant")
    account.index.update("test:ended", lambda profile: replace(profile, failure=failure))
    account.clock.jump(29)

    assert await results(account) == {"test:due": "refreshed", "test:long": "not due", "test:ended": "not due"}
    assert account.posts == 1
    assert await results(account) == {"test:due": "not due", "test:long": "not due", "test:ended": "not due"}


async def test_a_server_that_is_away_is_an_outcome_with_its_cause_and_is_not_stormed(account):
    account.sign_in("test:due", ttl_s=30)
    account.clock.jump(29)
    account.server.faults.add("/token", Fault(status=503))

    (outcome,) = await refresh_what_is_due(account.broker(), account.index.real)
    assert outcome.result == "failed"
    assert outcome.error is not None
    assert await results(account) == {"test:due": "waiting"}
    assert account.posts <= 1
    assert account.index.get("test:due").failure is not None
