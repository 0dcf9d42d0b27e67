"""One round of refreshes, and what a service manager is told."""

from __future__ import annotations

import socket
from dataclasses import replace

from portico.auth.keep_fresh import refresh_what_is_due, tell_service_manager
from portico.store.profiles import Failure
from portico.testing.authorization_server import Fault


async def results(account, broker=None):
    outcomes = await refresh_what_is_due(broker or account.broker(), account.index.real)
    return {outcome.profile_id: outcome.result for outcome in outcomes}


async def test_only_what_is_due_is_refreshed_and_one_failure_stops_no_other(account):
    account.sign_in("test:due", ttl_s=30)
    account.sign_in("test:long", ttl_s=3600)
    account.sign_in("test:ended", ttl_s=30)
    failure = Failure(at=1, id="sign-in-expired", message="refused", terminal=True)
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


def test_systemd_is_told_where_it_waits_and_nothing_happens_where_it_does_not(tmp_path):
    place = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(place)
        tell_service_manager({"NOTIFY_SOCKET": place}, "READY=1")
        waiting.settimeout(5)
        assert waiting.recv(100) == b"READY=1"
    tell_service_manager({"NOTIFY_SOCKET": place}, "READY=1")
    tell_service_manager({}, "READY=1")
