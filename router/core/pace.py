"""How fast one target is called: at its rate, and, while it keeps failing, one call at a time with growing pauses.

A target whose latest calls have all failed is probed: one call, then a pause of a random half to whole of 1/64 of the
time for which it has been failing, at least 0.1 s and at most a limit. So an outage is noticed to be over within about
a sixty-fourth of its own length, however long it was, and a day of it costs some thousand calls and not millions. One
call that succeeds, or that the target rejects, ends it. AWS does not publish what it does.

Times come in as seconds on a clock that never goes back. Knows nothing of sinks, lanes or retry policies.
"""

from collections.abc import Sequence

import msgspec

PAUSE_S_MIN = 0.1
PAUSE_SHARE = 64
REST_S_MIN = 0.01
"""Shorter waits for a rate's next turn would be timers without end."""


class TargetLimits(msgspec.Struct, frozen=True):
    """What one target may get at once and in a second; None where its sink's own number counts, or there is none."""

    concurrency: int | None = None
    rate_per_s: float | None = None


class Probing(msgspec.Struct, frozen=True):
    """`after_failures` calls in a row must fail; 0 never probes."""

    after_failures: int
    pause_s_max: float


class PaceSettings(msgspec.Struct, frozen=True):
    """`limits`: patterns of target ARNs (`*`, `?`) and what holds for them; the first that fits counts."""

    probing: Probing
    limits: Sequence[tuple[str, TargetLimits]] = ()


class Failing(msgspec.Struct, frozen=True):
    """A target's latest calls failed, all of them; `code` and `message` are the last one's."""

    calls: int
    since_s: float
    code: str
    message: str


def failed(before: Failing | None, *, now_s: float, code: str, message: str) -> Failing:
    if before is None:
        return Failing(1, now_s, code, message)
    return Failing(before.calls + 1, before.since_s, code, message)


def probed(probing: Probing, failing: Failing | None) -> bool:
    """Whether the target gets one call at a time."""
    return failing is not None and 0 < probing.after_failures <= failing.calls


def pause_s(probing: Probing, failing: Failing, *, now_s: float, random: float) -> float:
    """How long a target that is probed is left alone after a failed call; `random` is in [0, 1)."""
    longest_s = pause_longest_s(probing, now_s - failing.since_s)
    return longest_s * (1 + random) / 2


def pause_longest_s(probing: Probing, failing_s: float) -> float:
    return min(probing.pause_s_max, max(PAUSE_S_MIN, failing_s / PAUSE_SHARE))


class Bucket(msgspec.Struct):
    """Turns under a rate: one second's worth may be taken at once."""

    turns: float
    filled_s: float


def turns(bucket: Bucket, rate_per_s: float, *, now_s: float) -> int:
    """How many deliveries may go now."""
    most = max(1.0, rate_per_s)
    bucket.turns = min(most, bucket.turns + max(0.0, now_s - bucket.filled_s) * rate_per_s)
    bucket.filled_s = now_s
    return int(bucket.turns + 1e-9)


def turn_s(bucket: Bucket, rate_per_s: float) -> float:
    """How long until the next delivery may go, where none may now."""
    return max(REST_S_MIN, (1 - bucket.turns) / rate_per_s)
