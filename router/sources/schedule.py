"""Events on a schedule: one timer for the rules of all locations that have a ScheduleExpression.

Promises: a fire's event, its deliveries and how far the rule's schedule has come are one transaction, so that a restart
neither repeats nor loses a fire; a fire that is tried again after the store failed is the same event, with the same id.
A fire that could not be made in its time (the hub was down, its clock jumped, its store failed) is made late, at most
`late_s_max` late, and only the last of them; the others are counted and logged, as AWS makes none up. A clock that is
set back fires nothing twice: schedules wait until it has come again to where it was, unless that is more than a day
ahead, which only a clock can be that was wrong before. Rules that are disabled, deleted or changed are so at once.

The event is `Scheduled Event` from `aws.events`, on the default bus of the rule's location: to the rule's own targets,
and to whatever else matches it there (classic.md section 3.2). It knows rules and not where they send.
"""

import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence

import anyio
import msgspec

from router import limits, log
from router.catalog import buses, records
from router.catalog.catalog import Catalog
from router.catalog.model import Rule
from router.catalog.state import Changes
from router.core.event import Event
from router.core.schedule import InvalidSchedule, Schedule, fires, next_after, parse
from router.metrics import Metrics
from router.planning import Incoming
from router.sources.outcome import Refused, Taken
from router.store.base import Batch, Store, StoreError, Table
from router.world import World, iso_ms, iso_seconds, uuid5

_LOOK_S_MAX = 1.0  # ours: how long a clock that was set may go unnoticed
_PAUSE_S = 1.0  # ours: after the store did not take a fire
_STALE_MAX = 100  # ours: entries of the heap that stand for nothing any more, beside as many as there are rules

Accept = Callable[[Sequence[Incoming], Batch], Awaitable[list[Taken | Refused]]]
"""The pipeline's: what the batch already holds becomes durable with the events."""


class Upcoming(msgspec.Struct, frozen=True):
    """A scheduled rule and when it fires next; a disabled one does not."""

    rule_arn: str
    account: str
    region: str
    rule: str
    schedule_expression: str
    state: str
    next: list[str]


class _Entry:
    """One scheduled rule. `after_ms` is how far its schedule has come, `next_ms` its next fire."""

    __slots__ = ("after_ms", "next_ms", "rule", "schedule")

    def __init__(self, rule: Rule, schedule: Schedule, after_ms: int) -> None:
        self.rule = rule
        self.schedule = schedule
        self.come_to(after_ms)

    def come_to(self, after_ms: int) -> None:
        self.after_ms = after_ms
        enabled = self.rule.state != "DISABLED"
        self.next_ms = next_after(self.schedule, after_ms, self.rule.anchor_ms) if enabled else None


class _Fire(msgspec.Struct, frozen=True):
    """What is due of one rule: how far its schedule comes, whether an event is made of it, and how many are not."""

    entry: _Entry
    at_ms: int
    made: bool
    missed: int


class Schedules:
    """See the module's contract. `load` before anything else, `run` until cancelled."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: Store,
        accept: Accept,
        world: World,
        metrics: Metrics,
        late_s_max: int = limits.SCHEDULE_LATE_S_MAX,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._accept = accept
        self._world = world
        self._metrics = metrics
        self._late_ms_max = late_s_max * 1000
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, int, _Entry]] = []
        """By next fire; what is not its rule's entry any more, or not its next fire, stands for nothing."""
        self._numbers = itertools.count()
        self._latest_ms = 0
        self._changed = anyio.Event()

    @property
    def count(self) -> int:
        return len(self._entries)

    def load(self) -> None:
        """Take over the scheduled rules, and follow their changes. Raises StoreError for what cannot be read."""
        come_to = {fired.rule_arn: fired for fired in records.fired(self._store)}
        for rule in self._catalog.scheduled_rules():
            fired = come_to.get(rule.arn)
            after_ms = rule.anchor_ms
            if fired is not None and fired.anchor_ms == rule.anchor_ms:
                after_ms = max(after_ms, fired.fired_ms)
            self._latest_ms = max(self._latest_ms, after_ms)
            try:
                self._enter(rule, after_ms)
            except InvalidSchedule as error:
                raise StoreError(f"the schedule of the stored rule {rule.arn} cannot be read: {error}") from error
        self._catalog.watch(self._follow)

    def _follow(self, changes: Changes) -> None:
        for rule in changes.gone_rules:
            self._entries.pop(rule.arn, None)
        for rule, _ in changes.rules:
            old = self._entries.get(rule.arn)
            if rule.schedule_expression is None:
                self._entries.pop(rule.arn, None)
            elif old is None or _schedule_of(old.rule) != _schedule_of(rule):
                self._enter(rule, rule.anchor_ms)
            else:
                old.rule = rule

    def _enter(self, rule: Rule, after_ms: int) -> None:
        assert rule.schedule_expression is not None
        self._entries[rule.arn] = entry = _Entry(rule, parse(rule.schedule_expression), after_ms)
        self._push(entry)

    def _push(self, entry: _Entry) -> None:
        if entry.next_ms is not None:
            heapq.heappush(self._heap, (entry.next_ms, next(self._numbers), entry))
        if len(self._heap) > 2 * len(self._entries) + _STALE_MAX:
            self._heap = [item for item in self._heap if self._stands(item)]
            heapq.heapify(self._heap)
        self._changed.set()

    def _stands(self, item: tuple[int, int, _Entry]) -> bool:
        next_ms, _, entry = item
        return self._entries.get(entry.rule.arn) is entry and entry.next_ms == next_ms

    # firing

    async def run(self) -> None:
        """Fire what is due in time, until cancelled; a fire that has begun is finished."""
        while True:
            with anyio.CancelScope(shield=True):
                taken = await self.fire()
            self._changed = anyio.Event()
            with anyio.move_on_after(self._wait_s() if taken else _PAUSE_S):
                await self._changed.wait()

    def _wait_s(self) -> float:
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return math.inf
        return min(max(0.0, (self._heap[0][0] - self._world.now_ms()) / 1000), _LOOK_S_MAX)

    async def fire(self) -> bool:
        """Fire all that is due now; False when the store did not take all of it, which is then due still."""
        now_ms = self._world.now_ms()
        self._notice_clock(now_ms)
        due = self._due(now_ms)
        missed = [fire for fire in due if fire.missed]
        for start in range(0, len(due), limits.SCHEDULE_FIRES_PER_COMMIT_MAX):
            if not await self._fire(due[start : start + limits.SCHEDULE_FIRES_PER_COMMIT_MAX]):
                for fire in due[start:]:
                    self._push(fire.entry)
                return False
        if missed:
            log.warning(
                "schedules.missed",
                fires=sum(fire.missed for fire in missed),
                rules=len(missed),
                first_rule=missed[0].entry.rule.arn,
                late_s_max=self._late_ms_max // 1000,
            )
        return True

    def _notice_clock(self, now_ms: int) -> None:
        """Follow a clock that was set back far: what had come to a time ahead of it never was there."""
        if self._too_far_ahead(self._latest_ms, now_ms):
            log.warning("schedules.clock_set_back", clock_from=iso_ms(self._latest_ms), clock_to=iso_ms(now_ms))
            for entry in list(self._entries.values()):
                if entry.after_ms > now_ms:
                    entry.come_to(now_ms)
                    self._push(entry)
            self._latest_ms = now_ms
        self._latest_ms = max(self._latest_ms, now_ms)

    @staticmethod
    def _too_far_ahead(ms: int, now_ms: int) -> bool:
        return ms - now_ms > limits.SCHEDULE_CLOCK_BACK_S_MAX * 1000

    def _due(self, now_ms: int) -> list[_Fire]:
        """What is due, taken off the heap."""
        due: list[_Fire] = []
        while self._heap and self._heap[0][0] <= now_ms:
            item = heapq.heappop(self._heap)
            if not self._stands(item):
                continue
            entry = item[2]
            found = fires(entry.schedule, entry.after_ms, now_ms, entry.rule.anchor_ms)
            assert found.last_ms is not None, "what is due has fired by now"
            made = now_ms - found.last_ms <= self._late_ms_max
            due.append(_Fire(entry, found.last_ms, made, found.count - made))
        return due

    async def _fire(self, due: Sequence[_Fire]) -> bool:
        """Make the events and what follows from them durable, with how far the schedules have come."""
        due = [fire for fire in due if self._entries.get(fire.entry.rule.arn) is fire.entry]
        batch = Batch()
        incoming: list[Incoming] = []
        for fire in due:
            rule = fire.entry.rule
            row = records.Fired(rule.arn, rule.anchor_ms, fire.at_ms)
            batch.put(Table.CATALOG, records.fired_key(rule), records.value(row))
            if fire.made:
                incoming.append(self._incoming(rule, fire.at_ms))
        taken: list[bool] = []
        batch.then(lambda: taken.append(True))
        outcomes = await self._accept(incoming, batch)
        if not taken:
            return False
        for fire in due:
            self._metrics.schedule_missed += fire.missed
            if self._entries.get(fire.entry.rule.arn) is fire.entry:
                fire.entry.come_to(fire.at_ms)
                self._push(fire.entry)
        for item, outcome in zip(incoming, outcomes, strict=True):
            if isinstance(outcome, Refused):  # the bus would refuse it again
                self._metrics.schedule_missed += 1
                log.warning(
                    "schedule.refused",
                    rule=item.event.resources[0],
                    event_id=item.event.id,
                    code=outcome.code,
                    message=outcome.message,
                )
            else:
                self._metrics.schedule_fires += 1
        return True

    def _incoming(self, rule: Rule, at_ms: int) -> Incoming:
        event = Event(
            uuid5("schedule", f"{rule.arn}\n{at_ms}"),
            "Scheduled Event",
            "aws.events",
            rule.location.account,
            iso_seconds(at_ms),
            rule.location.region,
            (rule.arn,),
            "{}",
        )
        return Incoming(event, rule.location, buses.DEFAULT, scheduled=self._catalog.routed_rule(rule.arn))

    # looking

    def upcoming(self, after: str, limit: int, count: int) -> Callable[[], list[Upcoming]]:
        """What finds the next `count` fires of the rules whose ARNs come after `after`; it may be called on a thread,
        because the looking ahead can take a second."""
        now_ms = self._world.now_ms()
        arns = heapq.nsmallest(limit, (arn for arn in self._entries if arn > after))
        found = [
            (entry.rule, entry.schedule, max(entry.after_ms, now_ms)) for entry in map(self._entries.__getitem__, arns)
        ]
        return lambda: [_upcoming(rule, schedule, after_ms, count) for rule, schedule, after_ms in found]


def _schedule_of(rule: Rule) -> tuple[str | None, int, str]:
    return rule.schedule_expression, rule.anchor_ms, rule.state


def _upcoming(rule: Rule, schedule: Schedule, after_ms: int, count: int) -> Upcoming:
    times: list[str] = []
    moment = next_after(schedule, after_ms, rule.anchor_ms)
    while moment is not None and len(times) < count and rule.state != "DISABLED":
        times.append(iso_seconds(moment))
        moment = next_after(schedule, moment, rule.anchor_ms)
    return Upcoming(
        rule.arn,
        rule.location.account,
        rule.location.region,
        rule.name,
        rule.schedule_expression or "",
        rule.state,
        times,
    )
