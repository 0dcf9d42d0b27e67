"""The order of candidates, and the next try of a candidate that failed. The tests set the time."""

from __future__ import annotations

import pytest

from portico.interfaces.plugins import ModelSpec
from portico.models.failover import Cooldowns, Failover, key_of
from portico.models.loader import CallableModel
from portico.models.provider_errors import ProviderError, no_answer_error
from portico.models.reference import ModelReference
from portico.models.thinking import ModelLacksFeature


def model(name, profile="p:a", provider="p", host="api.example"):
    spec = ModelSpec(name, name)
    return CallableModel(
        ModelReference(provider, name), spec, "anthropic-messages", f"https://{host}", "a test", profile_id=profile
    )


FIRST, SECOND, OTHER_SIGN_IN = model("one"), model("two"), model("one", profile="p:b")
ONE, TWO, OTHER_ONE = key_of(FIRST), key_of(SECOND), key_of(OTHER_SIGN_IN)
DOWN = ProviderError("server", "overloaded", status=529)


@pytest.fixture
def cooldowns(fake_clock):
    return Cooldowns(fake_clock)


def tried(cooldowns, *candidates, errors):
    """The candidates that one request tries, each answering with its error in `errors`, or without one."""
    failover, seen = Failover(candidates, cooldowns), []
    while (candidate := failover.next()) is not None:
        seen.append(candidate)
        provider_error = errors.get(id(candidate))
        if provider_error is None:
            failover.answered(candidate)
            break
        failover.failed(candidate, provider_error)
    return seen, failover


def test_the_first_that_answers_is_the_last_that_is_tried(cooldowns):
    seen, failover = tried(cooldowns, FIRST, OTHER_SIGN_IN, SECOND, errors={id(FIRST): DOWN})
    assert seen == [FIRST, OTHER_SIGN_IN]
    assert [(one.outcome, one.why) for one in failover.attempts] == [("failed", "HTTP 529: overloaded"), ("answered", "")]


@pytest.mark.requirement("E84")
def test_after_an_unknown_answer_its_provider_does_not_get_the_request_again(cooldowns):
    same_server = model("one", profile="q:a", provider="q")
    elsewhere = model("one", profile="r:a", provider="r", host="other.example")
    unknown = ProviderError("answer-unknown", "it hung up", unknown=True)
    seen, failover = tried(cooldowns, FIRST, OTHER_SIGN_IN, SECOND, same_server, elsewhere, errors={id(FIRST): unknown})
    assert seen == [FIRST, elsewhere]
    assert [one.outcome for one in failover.attempts] == ["failed", *["passed over"] * 3, "answered"]
    assert failover.attempts[1].why == "not asked: api.example may still answer this request, and bill it"
    assert failover.unknown == unknown


def test_a_candidate_in_cooldown_is_passed_over_with_its_reason(cooldowns, fake_clock):
    tried(cooldowns, FIRST, SECOND, errors={id(FIRST): DOWN})
    seen, failover = tried(cooldowns, FIRST, SECOND, errors={})
    assert seen == [SECOND]
    assert (failover.attempts[0].outcome, failover.attempts[0].why) == ("passed over", "in cooldown after HTTP 529: overloaded")


def test_after_a_cooldown_one_request_tries_the_candidate_and_the_others_do_not_wait(cooldowns, fake_clock):
    tried(cooldowns, FIRST, SECOND, errors={id(FIRST): DOWN})
    fake_clock.advance(2)
    trial, others = Failover([FIRST, SECOND], cooldowns), Failover([FIRST, SECOND], cooldowns)
    assert trial.next() is FIRST
    assert others.next() is SECOND
    trial.answered(FIRST)
    assert Failover([FIRST, SECOND], cooldowns).next() is FIRST


def test_a_failed_trial_doubles_the_cooldown_up_to_a_minute(cooldowns, fake_clock):
    pauses = []
    for _ in range(8):
        cooldowns.failed(ONE, DOWN)
        cooldown = cooldowns.active(ONE)
        pauses.append((cooldown.until_ms - cooldown.began_ms) / 1000)
        fake_clock.advance(pauses[-1])
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_trial_whose_client_disconnected_allows_the_next_trial(cooldowns, fake_clock):
    cooldowns.failed(ONE, DOWN)
    fake_clock.advance(2)
    left, next_one = Failover([FIRST], cooldowns), Failover([FIRST], cooldowns)
    assert left.next() is FIRST
    left.gave_up(FIRST)
    assert next_one.next() is FIRST


def test_a_trial_without_an_outcome_blocks_the_candidate_for_a_minute_only(cooldowns, fake_clock):
    cooldowns.failed(ONE, ProviderError("rate-limit", ""))
    fake_clock.advance(15)
    assert Failover([FIRST], cooldowns).next() is FIRST
    assert cooldowns.active(ONE) is not None
    fake_clock.advance(60)
    assert cooldowns.active(ONE) is None


def test_requests_that_fail_together_are_one_failure(cooldowns):
    for _ in range(100):
        cooldowns.failed(ONE, DOWN)
    assert cooldowns.active(ONE).failures == 1


def test_success_forgets_what_was(cooldowns, fake_clock):
    for _ in range(3):
        cooldowns.failed(ONE, DOWN)
        fake_clock.advance(60)
    cooldowns.answered(ONE)
    cooldowns.failed(ONE, DOWN)
    assert cooldowns.active(ONE).failures == 1


@pytest.mark.parametrize(
    ("provider_error", "seconds"),
    [
        (ProviderError("rate-limit", "", retry_after=7), 7),
        (ProviderError("server", "", retry_after=120), 120),
        (ProviderError("rate-limit", "", retry_after=10**9), 8 * 86_400),
        (ProviderError("rate-limit", ""), 15),
        (ProviderError("plan-used-up", ""), 300),
        (ProviderError("plan-used-up", "", resets_at=2_000_000_000_000 + 5_000_000), 5000),
        (ProviderError("plan-used-up", "", resets_at=1), 300),
        (ProviderError("auth", ""), 60),
    ],
)
def test_a_pause_is_as_long_as_the_provider_says_else_as_its_kind(cooldowns, fake_clock, provider_error, seconds):
    cooldowns.failed(ONE, provider_error)
    fake_clock.advance(seconds - 0.01)
    assert cooldowns.active(ONE) is not None
    fake_clock.advance(0.01)
    assert cooldowns.active(ONE) is None


def test_one_model_of_a_provider_does_not_hold_back_the_others_but_a_credential_does(cooldowns):
    cooldowns.failed(ONE, DOWN)
    assert cooldowns.active(TWO) is None
    cooldowns.failed(ONE, ProviderError("plan-used-up", ""))
    assert cooldowns.active(TWO) is not None
    assert cooldowns.active(OTHER_ONE) is None


@pytest.mark.parametrize("kind", ["invalid-request", "content", "unknown-model"])
def test_a_wrong_request_starts_no_cooldown(cooldowns, kind):
    cooldowns.failed(ONE, ProviderError(kind, ""))
    assert cooldowns.active(ONE) is None


def test_a_clock_that_is_set_back_ends_a_pause(cooldowns, fake_clock):
    cooldowns.failed(ONE, DOWN)
    fake_clock.jump(-60)
    assert cooldowns.active(ONE) is None


def test_where_all_rest_on_a_guess_the_one_that_is_back_first_is_tried(cooldowns, fake_clock):
    cooldowns.failed(ONE, ProviderError("unreachable", "", retry_after=50))
    cooldowns.failed(TWO, DOWN)
    seen, failover = tried(cooldowns, FIRST, SECOND, errors={id(SECOND): DOWN})
    assert seen == [SECOND]
    assert [one.outcome for one in failover.attempts] == ["passed over", "failed"]
    assert failover.reason.provider_error.kind == "unreachable", "a fallback does not hide why the model itself does not answer"


def test_if_all_are_in_cooldown_by_the_providers_times_none_is_tried_and_the_end_is_known(cooldowns, fake_clock):
    cooldowns.failed(ONE, ProviderError("plan-used-up", "used up", retry_after=100))
    cooldowns.failed(OTHER_ONE, ProviderError("rate-limit", "slow down", retry_after=50))
    seen, failover = tried(cooldowns, FIRST, OTHER_SIGN_IN, errors={})
    assert seen == []
    assert failover.reason.provider_error.message == "slow down", "it is over sooner"
    assert failover.wait_ms == 50_000
    assert failover.back_at == fake_clock.wall_ms() + 50_000


def test_if_the_wanted_model_cannot_be_called_a_fallback_in_cooldown_is_a_reason_too(cooldowns):
    tried(cooldowns, FIRST, errors={id(FIRST): ProviderError("rate-limit", "slow down", status=429, retry_after=20.0)})
    failover = Failover([FIRST, SECOND], cooldowns, ModelReference("q", "wanted"))
    assert failover.next() is SECOND
    failover.failed(SECOND, ProviderError("model-refused", "no", status=403))
    assert failover.next() is None
    assert (failover.reason.model, failover.wait_ms) == (FIRST, 20_000)


def test_the_error_of_a_fallback_without_a_feature_names_the_wanted_model(cooldowns):
    failover = Failover([FIRST], cooldowns, ModelReference("q", "wanted"))
    assert failover.next() is FIRST
    failover.failed(FIRST, ProviderError("invalid-request", "no"), ModelLacksFeature("p/one is not a reasoning model."))
    assert no_answer_error(failover).why == "asked instead of q/wanted, which cannot be called"
