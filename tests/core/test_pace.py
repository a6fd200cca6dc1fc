"""How fast one target is called."""

import math

import pytest

from router.core import pace
from router.core.pace import Bucket, Failing, Probing

PROBING = Probing(after_failures=3, pause_s_max=30.0)


def failing(calls: int, since_s: float = 100.0) -> Failing:
    return Failing(calls, since_s, "TIMEOUT", "no answer")


def test_failures_are_counted_from_the_first_on_and_the_last_is_remembered() -> None:
    first = pace.failed(None, now_s=5.0, code="TIMEOUT", message="no answer")
    second = pace.failed(first, now_s=9.0, code="THROTTLING", message="busy")
    assert first == Failing(1, 5.0, "TIMEOUT", "no answer")
    assert second == Failing(2, 5.0, "THROTTLING", "busy")


@pytest.mark.parametrize(("calls", "expected"), [(1, False), (2, False), (3, True), (1000, True)])
def test_a_target_is_probed_after_so_many_failures_in_a_row(calls: int, expected: bool) -> None:
    assert pace.probed(PROBING, failing(calls)) is expected


def test_a_target_that_has_not_failed_is_not_probed() -> None:
    assert not pace.probed(PROBING, None)


def test_after_no_number_of_failures_is_a_target_probed_where_the_setting_is_0() -> None:
    assert not pace.probed(Probing(0, 30.0), failing(10**6))


@pytest.mark.parametrize(
    ("failing_s", "longest_s"), [(0.0, 0.1), (6.4, 0.1), (64.0, 1.0), (640.0, 10.0), (1920.0, 30.0), (86_400.0, 30.0)]
)
def test_the_pause_is_a_share_of_the_time_for_which_the_target_has_failed(failing_s: float, longest_s: float) -> None:
    pauses = [
        pace.pause_s(PROBING, failing(9), now_s=100.0 + failing_s, random=random) for random in (0.0, 0.5, 1 - 1e-12)
    ]
    assert pauses == pytest.approx([longest_s / 2, longest_s * 0.75, longest_s])


def test_an_outage_of_a_day_costs_some_thousand_calls() -> None:
    now_s, calls = 100.0, 3
    while now_s < 100.0 + 86_400:
        calls += 1
        now_s += pace.pause_s(PROBING, failing(calls), now_s=now_s, random=0.5)
    assert 1000 < calls < 10_000


def test_a_second_s_worth_of_turns_may_be_taken_at_once_and_the_rest_at_the_rate() -> None:
    bucket = Bucket(20.0, 0.0)
    taken = 0
    for tenth in range(101):
        now = pace.turns(bucket, 20.0, now_s=tenth / 10)
        bucket.turns -= now
        taken += now
    assert taken == 20 + 10 * 20


def test_a_rate_below_one_gives_single_turns() -> None:
    bucket = Bucket(1.0, 0.0)
    assert pace.turns(bucket, 0.1, now_s=0.0) == 1
    bucket.turns -= 1
    assert pace.turns(bucket, 0.1, now_s=9.0) == 0
    assert math.isclose(pace.turn_s(bucket, 0.1), 1.0)
    assert pace.turns(bucket, 0.1, now_s=10.0) == 1


def test_a_clock_that_stands_still_gives_no_turns() -> None:
    bucket = Bucket(0.0, 5.0)
    assert pace.turns(bucket, 100.0, now_s=5.0) == 0
    assert pace.turn_s(bucket, 100.0) == pace.REST_S_MIN
