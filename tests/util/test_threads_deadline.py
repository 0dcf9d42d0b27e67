"""Calls with a deadline."""

from __future__ import annotations

import threading

import pytest

from portico.util.threads import DeadlinePassed, PromptWatch, call_with_deadline


def test_what_the_call_returns_or_raises_comes_through():
    assert call_with_deadline(lambda: 7, 1) == 7
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(lambda: 1 / 0, 1)


def test_a_call_runs_on_a_daemon_thread():
    thread = call_with_deadline(threading.current_thread, 1)
    assert thread.daemon
    assert thread is not threading.current_thread()


def test_after_the_deadline_the_caller_goes_on_and_so_does_the_call():
    release = threading.Event()
    with pytest.raises(DeadlinePassed) as exc_info:
        call_with_deadline(release.wait, 0.01)
    assert exc_info.value.worker.is_alive()
    release.set()
    exc_info.value.worker.join(5)
    assert not exc_info.value.worker.is_alive()


def test_a_late_call_gets_the_further_time_that_is_granted():
    release = threading.Event()

    def grant():
        release.set()
        return 5.0

    assert call_with_deadline(release.wait, 0.01, extra_s=grant)


def test_a_late_call_without_extra_time_raises_at_the_deadline():
    release, grants = threading.Event(), [0.01, 0.01, 0.0]
    with pytest.raises(DeadlinePassed) as exc_info:
        call_with_deadline(release.wait, 0.01, extra_s=lambda: grants.pop(0))
    assert (grants, "0.03 s" in str(exc_info.value)) == ([], True)
    release.set()


@pytest.mark.requirement("E102")
def test_a_call_is_waited_for_while_its_window_is_open_and_for_its_own_time_after_that():
    time = [0.0]
    person = PromptWatch(60, now=lambda: time[0])
    person.begin_call()
    assert person.extra_s(3) == 0  # no window was opened: the call is late
    with person.open_prompt():
        time[0] = 50
        assert (person.remaining_s(), person.extra_s(3)) == (10, 3)
        time[0] = 62
        assert (person.remaining_s(), person.extra_s(3)) == (0, 1)
        time[0] = 63
        assert person.extra_s(3) == 0  # even if the thread that opened the prompt does not give up
    time[0] = 64
    assert (person.remaining_s(), person.extra_s(3)) == (0, 2)
    person.begin_call()
    assert person.remaining_s() == 60


@pytest.mark.requirement("E102")
def test_the_windows_of_one_call_have_one_limit():
    time = [0.0]
    person = PromptWatch(60, now=lambda: time[0])
    for _ in range(2):
        with person.open_prompt():
            time[0] += 25
        time[0] += 100
    assert person.remaining_s() == 10
