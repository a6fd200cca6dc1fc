"""The pace of each lane: how many calls at once, how many deliveries a second, and the pauses of a target that fails.

`core/pace` decides; this remembers it with the lane and lets the lane rest. It must not know what a delivery carries or
what becomes of it: it sees only whether a call was any good.
"""

import asyncio
from collections.abc import Sequence

from router import limits, log
from router.core import pace
from router.core.pace import Bucket, PaceSettings, Probing, TargetLimits
from router.core.policy import like
from router.lanes import Lane, Lanes
from router.sinks.base import Outcome, Retryable, Sink
from router.world import World

_KNOWN_MAX = 100_000
_NO_LIMITS = TargetLimits()
_SETTINGS = PaceSettings(Probing(limits.PROBED_AFTER_FAILURES, limits.PROBE_PAUSE_S_MAX))


class Pacing:
    """See the module."""

    def __init__(self, lanes: Lanes, world: World, settings: PaceSettings | None = None) -> None:
        self._lanes = lanes
        self._world = world
        self._settings = settings or _SETTINGS
        self._known: dict[str, TargetLimits] = {}

    def limits_of(self, arn: str) -> TargetLimits:
        """What the hub file says of a target."""
        if not self._settings.limits:
            return _NO_LIMITS
        found = self._known.get(arn)
        if found is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            fitting = (limit for pattern, limit in self._settings.limits if like(pattern, arn))
            found = self._known[arn] = next(fitting, _NO_LIMITS)
        return found

    @property
    def pause_s_max(self) -> float:
        return self._settings.probing.pause_s_max

    def probed(self, lane: Lane) -> bool:
        """Whether its target keeps failing."""
        return lane.failing is not None and pace.probed(self._settings.probing, lane.failing)

    def calls(self, lane: Lane, sink: Sink) -> int:
        """How many calls may be under way at once."""
        return 1 if self.probed(lane) else lane.limits.concurrency or sink.concurrency

    def turns(self, lane: Lane, count: int) -> int:
        """How many of `count` deliveries may go now. Where none may, the lane rests until one may."""
        rate = lane.limits.rate_per_s
        if rate is None:
            return count
        now_s = asyncio.get_running_loop().time()
        if lane.bucket is None:
            lane.bucket = Bucket(max(1.0, rate), now_s)
        allowed = min(count, pace.turns(lane.bucket, rate, now_s=now_s))
        if not allowed:
            self._lanes.rest(lane, pace.turn_s(lane.bucket, rate))
        return allowed

    def took(self, lane: Lane, count: int) -> None:
        """So many deliveries go."""
        if lane.bucket is not None:
            lane.bucket.turns -= count

    def called(self, lane: Lane, outcomes: Sequence[Outcome], *, retried: bool) -> None:
        """A call came back. A target whose deliveries are never `retried` is not probed: each has its one attempt."""
        last = outcomes[-1]
        if not retried or not all(isinstance(outcome, Retryable) for outcome in outcomes):
            if self.probed(lane):
                log.info("target.answers", rule=lane.name.rule_arn, target=lane.name.target_id)
            lane.failing = None
            lane.rest_until_s = 0.0
            return
        assert isinstance(last, Retryable), "all of them are"
        was_probed = self.probed(lane)
        now_s = asyncio.get_running_loop().time()
        lane.failing = pace.failed(lane.failing, now_s=now_s, code=last.code, message=last.message)
        if self.probed(lane):
            wait_s = pace.pause_s(self._settings.probing, lane.failing, now_s=now_s, random=self._world.random())
            self._lanes.rest(lane, wait_s)
            self._lanes.put_back(lane)
            if not was_probed:
                log.warning(
                    "target.probed",
                    rule=lane.name.rule_arn,
                    target=lane.name.target_id,
                    calls=lane.failing.calls,
                    code=last.code,
                    message=last.message,
                )
