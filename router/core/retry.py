"""When to try a delivery again, and when to give it up.

A delivery is tried again until its retries or its age run out, whichever comes first (EventBridge user guide,
"eb-rule-retry-policy"). AWS does not publish its curve; this is full jitter: a random part of 1 s, 2 s, 4 s and so on
up to 900 s, so that 185 retries last about 22 hours. Knows nothing of sinks: what can be retried is their verdict.

The maximum age is a promise in both directions: no try is scheduled after it, and an event is not given up for its age
while a try is still possible. A wait that would end after it is therefore cut, and the last try is made as the age runs
out. A `Retry-After` is never cut, because the target asked not to be called before; where it goes beyond the maximum
age no permitted try is left and the event is given up at once.
"""

from typing import Literal

import msgspec

BASE_S = 1.0
CAP_S = 900.0


class RetryPolicy(msgspec.Struct, frozen=True):
    """A target's RetryPolicy; the defaults are AWS's."""

    attempts_max: int = 185
    age_s_max: int = 86_400


class RetryAt(msgspec.Struct, frozen=True):
    due_ms: int


class DeadLetter(msgspec.Struct, frozen=True):
    """The retries are exhausted; `condition` is the dead letter's EXHAUSTED_RETRY_CONDITION."""

    condition: Literal["MaximumRetryAttempts", "MaximumEventAgeInSeconds"]


def ceiling_s(retry: int) -> float:
    """The longest wait before the retry of that number, counted from 1."""
    return min(CAP_S, BASE_S * 2.0 ** min(retry - 1, 32))


def decide(
    policy: RetryPolicy,
    *,
    attempts: int,
    accepted_ms: int,
    now_ms: int,
    random: float,
    retry_after_s: float | None,
) -> RetryAt | DeadLetter:
    """What becomes of a delivery whose latest try failed and can be retried.

    `attempts` counts the tries made, the first included, so that the next one is retry number `attempts`. `random` is
    in [0, 1). `retry_after_s` is what the target asked for: the larger of it and the back-off counts, and a negative
    one stops the retries ("eb-api-destinations").
    """
    if attempts > policy.attempts_max or (retry_after_s is not None and retry_after_s < 0):
        return DeadLetter("MaximumRetryAttempts")
    age_end_ms = accepted_ms + policy.age_s_max * 1000
    if now_ms >= age_end_ms or (retry_after_s is not None and now_ms + retry_after_s * 1000 > age_end_ms):
        return DeadLetter("MaximumEventAgeInSeconds")
    wait_s = max(random * ceiling_s(attempts), retry_after_s or 0.0)
    return RetryAt(min(now_ms + round(wait_s * 1000), age_end_ms))
