"""What a fault profile does to one call, decided without a clock."""

import math
import statistics

import pytest

from router.core import profiles
from router.core.event import Location
from router.core.pace import Bucket
from router.core.profiles import (
    TIMEOUT,
    Dice,
    Ending,
    Errors,
    Fate,
    Faults,
    Fixed,
    Lognormal,
    Outage,
    Selector,
    Uniform,
    Whole,
)
from router.world import stream

RESET = Ending("reset")
BUSY = Ending("status", 503)
HERE = Location("111111111111", "us-east-1")
THERE = Location("222222222222", "eu-west-1")
QUEUE = "arn:aws:sqs:eu-west-1:222222222222:orders"
MIDDLE: Dice = (0.5, 0.5, 0.5)


def fits(selector: Selector) -> bool:
    return profiles.fits(selector, sender=HERE, receiver=THERE, sink="sqs", target=QUEUE)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(), True),
        (Selector(sender="111111111111/us-east-1"), True),
        (Selector(sender="*/us-*"), True),
        (Selector(sender="2*/*"), False),
        (Selector(receiver="222222222222/*"), True),
        (Selector(receiver="*/us-east-1"), False),
        (Selector(sink="sqs"), True),
        (Selector(sink="sns"), False),
        (Selector(target="arn:aws:sqs:*:orders"), True),
        (Selector(target="arn:aws:sqs:*:order?"), True),
        (Selector(target="arn:aws:sqs:*:payments"), False),
        (Selector("111111111111/*", "*/eu-west-1", "s?s", "*:orders"), True),
    ],
)
def test_a_profile_is_for_the_calls_that_all_its_patterns_fit(selector: Selector, expected: bool) -> None:
    assert fits(selector) is expected


@pytest.mark.parametrize(
    ("active_s", "expected"), [(0.0, False), (9.9, False), (10.0, True), (14.9, True), (15.0, False), (1000.0, False)]
)
def test_an_outage_begins_ends_and_does_not_come_again(active_s: float, expected: bool) -> None:
    assert profiles.out(Outage(10.0, 5.0, None, RESET), active_s) is expected


@pytest.mark.parametrize(
    ("active_s", "expected"), [(9.0, False), (12.0, True), (16.0, False), (70.0, True), (74.9, True), (75.0, False)]
)
def test_an_outage_that_repeats_comes_again_at_its_time(active_s: float, expected: bool) -> None:
    assert profiles.out(Outage(10.0, 5.0, 60.0, RESET), active_s) is expected


def test_without_an_outage_nothing_is_out() -> None:
    assert not profiles.out(None, 1.0)


def test_latency_is_none_fixed_or_between_two_bounds() -> None:
    assert profiles.latency_ms(None, 0.3, 0.3) == 0.0
    assert profiles.latency_ms(Fixed(20.0), 0.3, 0.3) == 20.0
    assert [profiles.latency_ms(Uniform(10.0, 30.0), dice, 0.9) for dice in (0.0, 0.5)] == [10.0, 20.0]


def test_lognormal_latency_has_its_median_and_its_spread() -> None:
    dice = stream("lognormal")
    drawn = [profiles.latency_ms(Lognormal(100.0, 0.5), dice(), dice()) for _ in range(20_000)]
    logarithms = [math.log(one) for one in drawn]
    assert statistics.median(drawn) == pytest.approx(100.0, rel=0.02)
    assert statistics.stdev(logarithms) == pytest.approx(0.5, rel=0.02)
    # The 99th percentile of the normal distribution is 2.326 deviations from its middle.
    assert sorted(drawn)[19_800] == pytest.approx(100 * math.exp(2.326 * 0.5), rel=0.05)


def test_lognormal_latency_is_finite_for_every_number_of_the_dice() -> None:
    largest = 1 - 2**-53
    for first in (0.0, largest):
        for second in (0.0, largest):
            assert 0 < profiles.latency_ms(Lognormal(100.0, 5.0), first, second) < float("inf")


def test_lognormal_latency_without_a_spread_is_its_median() -> None:
    assert profiles.latency_ms(Lognormal(100.0, 0.0), 0.9, 0.1) == 100.0


def test_errors_come_at_their_rate() -> None:
    dice = stream("errors")
    faults = Faults(errors=Errors(0.2, BUSY))
    fates = [profiles.fate(faults, (dice(), dice(), dice()), active_s=0.0) for _ in range(20_000)]
    failed = [one for one in fates if one.ending is not None]
    assert len(failed) / len(fates) == pytest.approx(0.2, abs=0.01)
    assert set(failed) == {Fate(0.0, BUSY, "error")}


@pytest.mark.parametrize(("rate", "dice", "failed"), [(0.0, 0.0, False), (1.0, 1 - 2**-53, True)])
def test_a_rate_of_0_never_fails_and_of_1_always_does(rate: float, dice: float, failed: bool) -> None:
    fate = profiles.fate(Faults(errors=Errors(rate, RESET)), (dice, 0.0, 0.0), active_s=0.0)
    assert (fate.ending is not None) is failed


def test_another_latency_does_not_change_which_calls_fail() -> None:
    def failed(faults: Faults) -> list[bool]:
        dice = stream("same")
        return [profiles.fate(faults, (dice(), dice(), dice()), active_s=0).ending is not None for _ in range(200)]

    errors = Errors(0.3, RESET)
    plain = failed(Faults(errors=errors))
    assert failed(Faults(Lognormal(10.0, 1.0), errors)) == plain == failed(Faults(Uniform(1.0, 2.0), errors))


def test_an_outage_comes_before_errors_and_delays_hold_for_both() -> None:
    faults = Faults(Fixed(7.0), Errors(1.0, BUSY), None, Outage(10.0, 5.0, None, RESET))
    assert profiles.fate(faults, MIDDLE, active_s=12.0) == Fate(7.0, RESET, "outage")
    assert profiles.fate(faults, MIDDLE, active_s=20.0) == Fate(7.0, BUSY, "error")


def test_a_call_that_nothing_happens_to_takes_its_latency() -> None:
    assert profiles.fate(Faults(Fixed(7.0), Errors(0.1, BUSY)), MIDDLE, active_s=0.0) == Fate(7.0)


def test_delays_add_up_and_the_first_ending_counts() -> None:
    fates = [Fate(10.0), Fate(20.0, BUSY, "error"), Fate(5.0, RESET, "outage")]
    assert profiles.together(fates, timeout_ms=1000.0) == Whole(35.0, BUSY, 1)
    assert profiles.together(fates[:1], timeout_ms=1000.0) == Whole(10.0, None, None)


def test_a_timeout_takes_as_long_as_the_sink_waits() -> None:
    assert profiles.together([Fate(10.0, TIMEOUT, "error")], timeout_ms=5000.0) == Whole(5000.0, TIMEOUT, 0)


def test_latency_beyond_what_the_sink_waits_for_is_a_timeout() -> None:
    fates = [Fate(3000.0), Fate(3000.0, BUSY, "error")]
    assert profiles.together(fates, timeout_ms=5000.0) == Whole(5000.0, TIMEOUT, None)
    assert profiles.together([Fate(5000.0)], timeout_ms=5000.0) == Whole(5000.0, None, None)


def test_a_throttle_lets_its_rate_through_and_no_more() -> None:
    bucket = Bucket(10.0, 0.0)
    assert profiles.admitted([(bucket, 10.0)], 8, now_s=0.0) == (8, None)
    assert profiles.admitted([(bucket, 10.0)], 8, now_s=0.0) == (2, 0)
    assert profiles.admitted([(bucket, 10.0)], 8, now_s=0.0) == (0, 0)
    assert profiles.admitted([(bucket, 10.0)], 8, now_s=0.5) == (5, 0)


def test_of_two_throttles_the_tighter_one_counts_and_both_are_used_up_alike() -> None:
    wide, tight = Bucket(10.0, 0.0), Bucket(3.0, 0.0)
    assert profiles.admitted([(wide, 10.0), (tight, 3.0)], 8, now_s=0.0) == (3, 1)
    assert (wide.turns, tight.turns) == (7.0, 0.0)


def test_without_throttles_all_go() -> None:
    assert profiles.admitted([], 8, now_s=0.0) == (8, None)
