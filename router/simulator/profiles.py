"""Fault profiles at work: links and targets that are slow, fail, throttle or are away, as the hub file or somebody at
run time says.

A profile stands around the sinks of the (rule, target) pairs that it fits, whether they lead to an endpoint, to an
inbox or to another bus of the hub; the sinks of all other pairs are handed out as they are. Which profiles fit a pair
is looked up once, until profiles change. A delayed call holds its slot of the target's concurrency. What a fault comes
to is what the sink itself would say of it. A sink inside the hub, which alone would take a thousand deliveries in one
call, is called as the real service would be, so that a slow target is slow.

`core/profiles` decides; this waits, counts and remembers. Changes last until the hub restarts. The dice of a pair fall
in the same order for the same seed, counted from when the profile came into force.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import msgspec

from router import limits, log
from router.config_profiles import Profile
from router.core import profiles
from router.core.arn import parse
from router.core.pace import Bucket
from router.core.profiles import Ending, Faults, Whole
from router.errors import ResourceNotFoundException, ValidationException
from router.lanes import LaneName, origin_of
from router.metrics import FaultCounters, Metrics
from router.sinks import api_destination, failures
from router.sinks.base import Attempt, Outcome, Retryable, Sink
from router.sinks.http_client import HttpFault
from router.sinks.lambda_ import LambdaSink
from router.sinks.logs import LogsSink
from router.sinks.sns import SnsSink
from router.sinks.sqs import SqsSink
from router.world import World, stream

_API_DESTINATION = "api_destination"
# Deliveries a call and calls at once, of each kind that has its own; a bus takes what a PutEvents request may hold.
_CALLS = {sink.kind: (sink.batch_max, sink.concurrency) for sink in (LambdaSink, LogsSink, SnsSink, SqsSink)} | {
    "event_bus": (limits.ENTRIES_PER_REQUEST_MAX, limits.FAULTED_CALLS_MAX)
}
_Wait = Callable[[float], Awaitable[None]]


class _Running:
    """A profile and what it has come to since it is in force."""

    def __init__(self, profile: Profile, *, now_s: float, counters: FaultCounters) -> None:
        self.profile = profile
        self.selector = profile.selector()
        self.faults: Faults = profile.faults()
        self.since_s = now_s
        self.counters = counters
        self._buckets: dict[str, Bucket] = {}
        self._dice: dict[tuple[str, str], Callable[[], float]] = {}

    def dice(self, arn: str, rule_arn: str) -> Callable[[], float]:
        """The stream of a rule's calls to a target; it goes on when other profiles change."""
        found = self._dice.get((arn, rule_arn))
        if found is None:
            if len(self._dice) >= limits.FAULT_LINES_MAX:
                self._dice.clear()
            found = stream(f"{self.profile.seed}\n{self.profile.name}\n{rule_arn}\n{arn}")
            self._dice[arn, rule_arn] = found
        return found

    def bucket(self, arn: str, now_s: float) -> tuple[Bucket, float] | None:
        """A target's turns and their rate, where the profile throttles; all rules share them."""
        rate = self.faults.throttle_per_s
        if rate is None:
            return None
        if arn not in self._buckets and len(self._buckets) >= limits.FAULT_LINES_MAX:
            self._buckets.clear()
        return self._buckets.setdefault(arn, Bucket(max(1.0, rate), now_s)), rate

    def shown(self, now_s: float, *, declared: bool) -> dict[str, Any]:
        active_s = max(0.0, now_s - self.since_s)
        return {
            **msgspec.to_builtins(self.profile),
            "declared": declared,
            "active_s": round(active_s, 3) if self.profile.enabled else None,
            "out": self.profile.enabled and profiles.out(self.faults.outage, active_s),
        }


class FaultySink:
    """A sink and the profiles that stand around it for one rule and target."""

    def __init__(
        self, sink: Sink, around: Sequence[_Running], *, arn: str, rule_arn: str, world: World, wait: _Wait
    ) -> None:
        batch_max, concurrency = _CALLS.get(sink.kind, (1, limits.FAULTED_CALLS_MAX))
        self.kind = sink.kind
        self.batch_max = min(sink.batch_max, batch_max)
        self.concurrency = max(sink.concurrency, concurrency)
        self._sink = sink
        self._around = around
        self._world = world
        self._wait = wait
        self._timeout_s = limits.API_DESTINATION_TIMEOUT_S if sink.kind == _API_DESTINATION else limits.SINK_TIMEOUT_S
        self._dice = [one.dice(arn, rule_arn) for one in around]
        now_s = world.monotonic()
        throttles = [(index, one.bucket(arn, now_s)) for index, one in enumerate(around)]
        self._buckets = [(index, bucket) for index, bucket in throttles if bucket is not None]

    def begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> bool:
        """Never: whether a call is delayed is decided when it is sent."""
        return False

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        now_s = self._world.monotonic()
        whole = self._decided(len(attempts), now_s)
        allowed, throttle = len(attempts), None
        if whole.ending is None and self._buckets:
            allowed, throttle = profiles.admitted([one for _, one in self._buckets], len(attempts), now_s=now_s)
        if throttle is not None:
            throttle = self._buckets[throttle][0]
            self._around[throttle].counters.throttle += len(attempts) - allowed
        if whole.delay_ms:
            await self._wait(whole.delay_ms / 1000)
        if whole.ending is not None:
            return [self._failure(whole.ending, whole.by)] * len(attempts)
        outcomes = await self._sink.send(attempts[:allowed]) if allowed else []
        if throttle is not None:
            what = self._what(throttle)
            outcomes += [Retryable("THROTTLING", f"{what}: rate exceeded")] * (len(attempts) - allowed)
        return outcomes

    def _decided(self, count: int, now_s: float) -> Whole:
        """What becomes of a call of `count` deliveries that begins now, counted."""
        fates = [
            profiles.fate(one.faults, (dice(), dice(), dice()), active_s=now_s - one.since_s)
            for one, dice in zip(self._around, self._dice, strict=True)
        ]
        whole = profiles.together(fates, timeout_ms=self._timeout_s * 1000)
        for index, (one, fate) in enumerate(zip(self._around, fates, strict=True)):
            counters = one.counters
            counters.delay += count if fate.delay_ms else 0
            if index == whole.by:
                counters.outage += count if fate.cause == "outage" else 0
                counters.error += count if fate.cause == "error" else 0
        return whole

    def _failure(self, ending: Ending, by: int | None) -> Outcome:
        what = self._what(by)
        match ending.how:
            case "timeout":
                return failures.of_fault(HttpFault("timeout", f"no answer within {self._timeout_s:g} s"), what)
            case "reset":
                return failures.of_fault(HttpFault("reset", "the connection was reset"), what)
            case "status" if self.kind == _API_DESTINATION:
                return api_destination.of_status(ending.status, what)
            case "status":
                return failures.of_error("", f"{what}: status {ending.status}", ending.status)

    def _what(self, by: int | None) -> str:
        """Who is to blame: a profile, or all of them that delay."""
        names = [one.profile.name for one in self._around] if by is None else [self._around[by].profile.name]
        return f"{self.kind} under fault profile {', '.join(names)}"


class Profiles:
    """All profiles of a hub, by name. What is enabled is in force."""

    def __init__(
        self, declared: Sequence[Profile], *, world: World, metrics: Metrics, wait: _Wait = anyio.sleep
    ) -> None:
        self._declared = {profile.name: profile for profile in declared}
        self._world = world
        self._metrics = metrics
        self._wait = wait
        self._running: dict[str, _Running] = {}
        self._sinks: dict[tuple[str, str, str], Sink] = {}
        self.in_force = False
        self._set(self._declared.values())

    def around(self, sink: Sink, arn: str, rule_arn: str) -> Sink:
        """The sink as it is, or with what stands around it for this rule and target."""
        key = (sink.kind, arn, rule_arn)
        found = self._sinks.get(key)
        if found is None:
            if len(self._sinks) >= limits.FAULT_LINES_MAX:
                self._sinks.clear()
            found = self._sinks[key] = self._found(sink, arn, rule_arn)
        return found

    def _found(self, sink: Sink, arn: str, rule_arn: str) -> Sink:
        sender, _ = origin_of(LaneName(rule_arn, arn))
        receiver = parse(arn).location
        fitting = [
            one
            for one in self._running.values()
            if one.profile.enabled
            and profiles.fits(one.selector, sender=sender, receiver=receiver, sink=sink.kind, target=arn)
        ]
        if not fitting:
            return sink
        return FaultySink(sink, fitting, arn=arn, rule_arn=rule_arn, world=self._world, wait=self._wait)

    def put(self, profile: Profile) -> None:
        """Add a profile, or replace the one of its name; its time begins now. Raises ValidationException."""
        if profile.name not in self._running and len(self._running) >= limits.PROFILES_MAX:
            raise ValidationException(f"expected at most {limits.PROFILES_MAX} profiles: remove one first")
        self._set([profile])
        self._say("put", profile.name)

    def switch(self, name: str, *, enabled: bool) -> None:
        """Switch a profile on, its time beginning now, or off. Raises ResourceNotFoundException."""
        found = self._get(name)
        self._set([msgspec.structs.replace(found.profile, enabled=enabled)])
        self._say("enabled" if enabled else "disabled", name)

    def remove(self, name: str) -> None:
        """Raises ResourceNotFoundException."""
        self._get(name)
        del self._running[name]
        self._changed()
        self._say("removed", name)

    def reset(self) -> None:
        """The hub file's profiles and no others, as after a restart."""
        self._running.clear()
        self._set(self._declared.values())
        self._say("reset", None)

    def shown(self) -> list[dict[str, Any]]:
        now_s = self._world.monotonic()
        return [
            one.shown(now_s, declared=self._declared.get(name) == one.profile) for name, one in self._running.items()
        ]

    def _get(self, name: str) -> _Running:
        found = self._running.get(name)
        if found is None:
            raise ResourceNotFoundException(f"There is no fault profile {name}.")
        return found

    def _set(self, given: Iterable[Profile]) -> None:
        now_s = self._world.monotonic()
        for profile in given:
            counters = self._metrics.faults(profile.name)
            self._running[profile.name] = _Running(profile, now_s=now_s, counters=counters)
        self._changed()

    def _changed(self) -> None:
        self._sinks.clear()
        self.in_force = any(one.profile.enabled for one in self._running.values())

    def _say(self, change: str, name: str | None) -> None:
        log.info(
            "profiles.changed",
            change=change,
            profile=name,
            in_force=[name for name, one in self._running.items() if one.profile.enabled],
        )
