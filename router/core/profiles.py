"""Fault profiles: which calls one is for, how long it holds a call up, and what the call then comes to.

A call is what one sink sends at once. Each profile that a call fits says its fate from three dice of the profile's own
stream and from how long the profile has been in force; `together` makes one of them. The same number of dice falls for
every call, so that the n-th call has the same fate whatever else the profile does. A call that takes longer than its
sink waits for is a timeout, as a real one would be. Knows nothing of sinks, of their outcomes or of how anybody waits.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from router.core.event import Location
from router.core.pace import Bucket, turns
from router.core.policy import like

Dice = tuple[float, float, float]
"""Numbers in [0, 1): one for the errors, two for the latency."""


class Fixed(msgspec.Struct, frozen=True):
    ms: float


class Uniform(msgspec.Struct, frozen=True):
    low_ms: float
    high_ms: float


class Lognormal(msgspec.Struct, frozen=True):
    """Half of the calls take longer than the median; `sigma` is the logarithm's deviation, 0 for none."""

    median_ms: float
    sigma: float


Latency = Fixed | Uniform | Lognormal


class Ending(msgspec.Struct, frozen=True):
    """What a call comes to in place of its target's answer."""

    how: Literal["timeout", "reset", "status"]
    status: int = 0


TIMEOUT = Ending("timeout")


class Errors(msgspec.Struct, frozen=True):
    rate: float
    ending: Ending


class Outage(msgspec.Struct, frozen=True):
    """From `start_s` after the profile came into force for `length_s`, and, where it repeats, every `repeat_s`."""

    start_s: float
    length_s: float
    repeat_s: float | None
    ending: Ending


class Selector(msgspec.Struct, frozen=True):
    """Patterns with `*` and `?`; locations are written account/region."""

    sender: str = "*"
    receiver: str = "*"
    sink: str = "*"
    target: str = "*"


class Faults(msgspec.Struct, frozen=True):
    """What a profile does; None where it leaves something alone."""

    latency: Latency | None = None
    errors: Errors | None = None
    throttle_per_s: float | None = None
    outage: Outage | None = None


class Fate(msgspec.Struct, frozen=True):
    """What one profile does to one call."""

    delay_ms: float = 0.0
    ending: Ending | None = None
    cause: Literal["outage", "error"] | None = None


class Whole(msgspec.Struct, frozen=True):
    """What all profiles together do to one call; `by` is the index of the one whose ending it is. Where the ending is a
    timeout by latency alone, there is none."""

    delay_ms: float
    ending: Ending | None
    by: int | None


def fits(selector: Selector, *, sender: Location, receiver: Location, sink: str, target: str) -> bool:
    """Whether a profile is for the calls of a rule at `sender` to a target at `receiver`."""
    return (
        like(selector.sender, str(sender))
        and like(selector.receiver, str(receiver))
        and like(selector.sink, sink)
        and like(selector.target, target)
    )


def out(outage: Outage | None, active_s: float) -> bool:
    """Whether the target is away now."""
    if outage is None or active_s < outage.start_s:
        return False
    since_s = active_s - outage.start_s
    return (since_s % outage.repeat_s if outage.repeat_s is not None else since_s) < outage.length_s


def latency_ms(latency: Latency | None, first: float, second: float) -> float:
    if latency is None:
        return 0.0
    if isinstance(latency, Fixed):
        return latency.ms
    if isinstance(latency, Uniform):
        return latency.low_ms + first * (latency.high_ms - latency.low_ms)
    normal = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)  # Box and Muller's
    return latency.median_ms * math.exp(latency.sigma * normal)


def fate(faults: Faults, dice: Dice, *, active_s: float) -> Fate:
    """What a profile that has been in force for so long does to the call with these dice."""
    delay_ms = latency_ms(faults.latency, dice[1], dice[2])
    if faults.outage is not None and out(faults.outage, active_s):
        return Fate(delay_ms, faults.outage.ending, "outage")
    if faults.errors is not None and dice[0] < faults.errors.rate:
        return Fate(delay_ms, faults.errors.ending, "error")
    return Fate(delay_ms)


def together(fates: Sequence[Fate], *, timeout_ms: float) -> Whole:
    """Delays add up, the first ending counts, and nothing takes longer than the sink waits."""
    delay_ms = sum(one.delay_ms for one in fates)
    by, ending = next(((index, one.ending) for index, one in enumerate(fates) if one.ending is not None), (None, None))
    if delay_ms > timeout_ms:
        return Whole(timeout_ms, TIMEOUT, None)
    if ending == TIMEOUT:
        delay_ms = timeout_ms
    return Whole(delay_ms, ending, by)


def admitted(buckets: Sequence[tuple[Bucket, float]], count: int, *, now_s: float) -> tuple[int, int | None]:
    """How many of `count` deliveries the throttles, each with its rate a second, let through now, their turns taken;
    and the index of the one that holds up the rest, if any are held up."""
    allowed, by = count, None
    for index, (bucket, rate_per_s) in enumerate(buckets):
        free = turns(bucket, rate_per_s, now_s=now_s)
        if free < allowed:
            allowed, by = free, index
    for bucket, _ in buckets:
        bucket.turns -= allowed
    return allowed, by
