"""Retries: bounds, curve, Retry-After and the end of the age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import limits
from router.core.retry import CAP_S, DeadLetter, RetryAt, RetryPolicy, ceiling_s, decide

DAY_MS = 86_400_000
ATTEMPTS = DeadLetter("MaximumRetryAttempts")
AGE = DeadLetter("MaximumEventAgeInSeconds")


def decided(
    policy: RetryPolicy | None = None,
    *,
    attempts: int = 1,
    now_ms: int = 0,
    random: float = 0.5,
    retry_after_s: float | None = None,
) -> RetryAt | DeadLetter:
    return decide(
        policy or RetryPolicy(),
        attempts=attempts,
        accepted_ms=0,
        now_ms=now_ms,
        random=random,
        retry_after_s=retry_after_s,
    )


def test_a_target_without_a_policy_has_aws_defaults() -> None:
    assert RetryPolicy() == RetryPolicy(attempts_max=185, age_s_max=86_400)
    assert RetryPolicy() == RetryPolicy(limits.RETRY_ATTEMPTS_DEFAULT, limits.EVENT_AGE_S_DEFAULT)


@pytest.mark.parametrize(
    ("retry", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (10, 512.0), (11, 900.0), (185, 900.0), (10**9, 900.0)]
)
def test_longest_wait_doubles_up_to_the_cap(retry: int, longest: float) -> None:
    assert ceiling_s(retry) == longest


def test_wait_is_a_random_part_of_the_longest() -> None:
    assert decided(attempts=4, now_ms=1000, random=0.25) == RetryAt(3000)
    assert decided(attempts=4, now_ms=1000, random=0.0) == RetryAt(1000)


@pytest.mark.parametrize(
    ("attempts_max", "attempts", "gives_up"),
    [(185, 185, False), (185, 186, True), (0, 1, True), (1, 1, False), (1, 2, True)],
)
def test_retries_end_at_their_number(attempts_max: int, attempts: int, gives_up: bool) -> None:
    outcome = decided(RetryPolicy(attempts_max=attempts_max), attempts=attempts)
    assert (outcome == ATTEMPTS) is gives_up


def test_wait_past_the_age_is_cut_to_its_end() -> None:
    assert decided(attempts=11, now_ms=DAY_MS - 1000, random=0.9) == RetryAt(DAY_MS)


@pytest.mark.parametrize("now_ms", [DAY_MS, DAY_MS + 1])
def test_event_past_its_age_is_given_up(now_ms: int) -> None:
    assert decided(now_ms=now_ms) == AGE


def test_number_of_retries_is_named_before_the_age() -> None:
    assert decided(attempts=186, now_ms=DAY_MS) == ATTEMPTS


@pytest.mark.parametrize(
    ("retry_after_s", "outcome"),
    [
        (None, RetryAt(500)),
        (0, RetryAt(500)),
        (0.25, RetryAt(500)),
        (120, RetryAt(120_000)),
        (86_400, RetryAt(DAY_MS)),
        (86_401, AGE),
        (float("inf"), AGE),
        (-1, ATTEMPTS),
    ],
)
def test_larger_of_retry_after_and_back_off_counts(retry_after_s: float | None, outcome: RetryAt | DeadLetter) -> None:
    assert decided(retry_after_s=retry_after_s) == outcome


@pytest.mark.parametrize(
    ("attempts", "now_ms", "outcome"),
    [
        (1, 0, RetryAt(500)),
        (2, 59_000, RetryAt(60_000)),
        (2, 59_999, RetryAt(60_000)),
        (2, 60_000, AGE),
        (3, 59_999, ATTEMPTS),
        (3, 60_000, ATTEMPTS),
    ],
)
def test_the_bound_that_is_met_first_counts(attempts: int, now_ms: int, outcome: RetryAt | DeadLetter) -> None:
    policy = RetryPolicy(attempts_max=2, age_s_max=60)
    assert decided(policy, attempts=attempts, now_ms=now_ms, random=0.5) == outcome


def test_a_retry_after_can_lengthen_the_back_off_and_not_shorten_it() -> None:
    assert decided(attempts=8, random=0.5, retry_after_s=63.0) == RetryAt(64_000)
    assert decided(attempts=8, random=0.5, retry_after_s=65.0) == RetryAt(65_000)


@given(
    attempts_max=st.integers(0, 185),
    age_s_max=st.integers(60, 86_400),
    attempts=st.integers(1, 190),
    accepted_ms=st.integers(0, 2**42),
    elapsed_ms=st.integers(-5_000, DAY_MS + 5_000),
    random=st.floats(0, 1, exclude_max=True),
    retry_after_s=st.none() | st.floats(-10, 10**6),
)
def test_no_retry_leaves_the_bounds(
    attempts_max: int,
    age_s_max: int,
    attempts: int,
    accepted_ms: int,
    elapsed_ms: int,
    random: float,
    retry_after_s: float | None,
) -> None:
    now_ms = accepted_ms + elapsed_ms
    age_end_ms = accepted_ms + age_s_max * 1000
    outcome = decide(
        RetryPolicy(attempts_max, age_s_max),
        attempts=attempts,
        accepted_ms=accepted_ms,
        now_ms=now_ms,
        random=random,
        retry_after_s=retry_after_s,
    )
    if isinstance(outcome, RetryAt):
        assert attempts <= attempts_max
        assert now_ms <= outcome.due_ms <= age_end_ms
        assert outcome.due_ms - now_ms <= max(CAP_S, retry_after_s or 0) * 1000 + 1
        if retry_after_s is not None:
            assert retry_after_s >= 0
            assert outcome.due_ms >= min(now_ms + int(retry_after_s * 1000), age_end_ms)
    elif outcome == ATTEMPTS:
        assert attempts > attempts_max or (retry_after_s is not None and retry_after_s < 0)
    else:
        assert now_ms + (retry_after_s or 0) * 1000 >= age_end_ms


@given(random=st.lists(st.floats(0, 1, exclude_max=True), min_size=186, max_size=186))
def test_delivery_that_always_fails_ends(random: list[float]) -> None:
    now_ms, tries = 0, 1
    for number in random:
        outcome = decided(attempts=tries, now_ms=now_ms, random=number)
        if isinstance(outcome, DeadLetter):
            break
        now_ms, tries = outcome.due_ms, tries + 1
    else:
        raise AssertionError("186 tries and no end")
    assert tries <= 186
    assert now_ms <= DAY_MS
