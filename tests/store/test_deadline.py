"""Calls with a deadline."""

from __future__ import annotations

import threading

import pytest

from portico.store.deadline import DeadlinePassed, call_with_deadline


def test_what_the_call_returns_or_raises_comes_through():
    assert call_with_deadline(lambda: 7, 1) == 7
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(lambda: 1 / 0, 1)


def test_a_call_runs_on_a_daemon_thread():
    thread = call_with_deadline(threading.current_thread, 1)
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_a_late_call_is_given_up_and_goes_on():
    release = threading.Event()
    with pytest.raises(DeadlinePassed) as caught:
        call_with_deadline(release.wait, 0.01)
    assert caught.value.worker.is_alive()
    release.set()
    caught.value.worker.join(5)
    assert not caught.value.worker.is_alive()


def test_a_late_call_gets_the_further_time_that_is_granted():
    release = threading.Event()

    def grant():
        release.set()
        return 5.0

    assert call_with_deadline(release.wait, 0.01, more=grant)
