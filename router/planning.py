"""What follows from events that come to a bus, put into the batch that accepts them: which rules they match, what each
rule's targets get, and what is delivered in the same transaction.

    event on a bus → rules that match → archives: a row in the archive
                                      → inboxes of this hub, as far as nothing is in their way: the message itself
                                      → all other targets: the event's body once, and a delivery's row for each

Theory. An inbox is in the same store as the event. To write the event, read it back and write it again as a message
takes three times the work and two transactions more, and says no more: so its message becomes durable with the
acceptance, and the delivery is settled in the moment in which it begins. It is an attempt like every other one for the
trace, the bus's log and the metrics. Whatever is not as simple (deliveries that wait already, a rate, a fault profile,
a target that fails, a payload that cannot be made, an inbox that refuses) goes the ordinary way, as if nothing had been
tried (docs/decisions/0010).

It awaits nothing, and what it decides counts only once the batch is durable.
"""

from collections.abc import Callable, Sequence

import msgspec

from router import archive_rows, attempt_counts, limits, log
from router.archive_rows import ArchiveRows, Tally
from router.attempts import Attempts
from router.bus_log import BusLog
from router.catalog.catalog import Catalog
from router.catalog.routes import RoutedRule, RoutedTarget
from router.core import cloudtrail
from router.core.event import Event, Location
from router.core.hops import Hops
from router.core.ruletable import MalformedDetail
from router.core.ruletable_lookup import TooManySteps
from router.lanes import Delivery, Lane, LaneName, Lanes, encoded, origin_of
from router.metrics import BusCounters, Metrics
from router.sinks.base import BUG, Accepted, Attempt, Delivered, DepositSink, Outcome
from router.sources.outcome import MALFORMED_DETAIL, Refused, Taken
from router.store.base import Batch, Store, Table, key64
from router.trace import Planned, Settled, Trace, planned
from router.world import World


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """An event at the door of a bus; its detail is not yet known to be JSON."""

    event: Event
    location: Location
    bus: str
    hops: Hops = Hops()
    trace_header: str | None = None
    parent_id: str | None = None
    via: LaneName | None = None
    """The rule and target that sent it on, where it comes from another bus."""
    scheduled: RoutedRule | None = None
    """The rule whose schedule made it: its targets get it, whatever its pattern says."""
    only_rules: frozenset[str] | None = None
    """The ARNs of the rules that may get it, where a replay names some."""


class Settings(msgspec.Struct, frozen=True):
    refuse_unknown_bus: bool
    read_only_by_flag: bool


class _Line:
    """One target's deliveries of one plan; those `at_once` go into the inbox that its `sink` leads to."""

    __slots__ = ("at_once", "key_head", "lane", "offered", "sink", "target")

    def __init__(self, lane: Lane, target: RoutedTarget, sink: DepositSink | None, now_ms: int) -> None:
        self.lane = lane
        self.target = target
        self.sink = sink
        self.key_head = lane.id + key64(now_ms)
        self.at_once: list[tuple[Accepted, bytes]] = []
        self.offered: list[Delivery] = []


class _Plan:
    """What is collected for one batch."""

    __slots__ = ("archived", "at_once", "batch", "lines", "now_ms", "rows", "tallies", "traced")

    def __init__(self, batch: Batch, now_ms: int) -> None:
        self.batch = batch
        self.now_ms = now_ms
        self.lines: dict[RoutedTarget, _Line] = {}
        self.tallies: list[tuple[Incoming, Sequence[RoutedRule]]] = []
        self.traced: list[Planned] = []
        self.archived: dict[int, Tally] = {}
        self.at_once = 0
        """How many deliveries are made with the acceptance."""
        self.rows: dict[bytes, int] = {}
        """How many deliveries have a row, by the sequence of their event."""


class Planner:
    """See the module."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        lanes: Lanes,
        attempts: Attempts,
        inbox_of: Callable[[Lane, RoutedTarget], DepositSink | None],
        world: World,
        metrics: Metrics,
        settings: Settings,
        trace: Trace,
        archive: ArchiveRows,
        bus_log: BusLog | None,
    ) -> None:
        """`inbox_of` gives the sink of a lane that leads into an inbox of this hub, with nothing in its way."""
        self._store = store
        self._catalog = catalog
        self._lanes = lanes
        self._attempts = attempts
        self._inbox_of = inbox_of
        self._world = world
        self._metrics = metrics
        self._settings = settings
        self._trace = trace
        self._archive = archive
        self._bus_log = bus_log

    def plan(self, incoming: Sequence[Incoming], batch: Batch) -> list[Taken | Refused]:
        """Match the events and put what follows from them into `batch`, which the caller commits; an outcome for each,
        in order."""
        outcomes: list[Taken | Refused] = []
        plan = _Plan(batch, self._world.now_ms())
        location, bus, route = None, "", None
        for item in incoming:
            if item.location is not location or item.bus != bus:
                location, bus = item.location, item.bus
                route = self._catalog.route(location, bus)
            if route is None:
                refused = self.refusal(item)
                if refused is None:
                    batch.then(self._dropped)
                    plan.traced.append(planned(item, item.via, dropped=True))
                outcomes.append(refused or Taken(item.event.id))
                continue
            try:
                rules = route.table.match(item.event)
            except MalformedDetail:
                outcomes.append(MALFORMED_DETAIL)
                continue
            except TooManySteps as error:
                outcomes.append(_too_costly(error))
                continue
            if rules and item.event.source.startswith("aws."):
                rules = self._allowed(rules, item.event)
            if item.scheduled is not None:
                rules = [item.scheduled, *(rule for rule in rules if rule.arn != item.scheduled.arn)]
            if item.only_rules is not None:
                rules = [rule for rule in rules if rule.arn in item.only_rules]
            plan.traced.append(self._deliveries(plan, item, rules) if rules else planned(item, item.via))
            plan.tallies.append((item, rules))
            outcomes.append(Taken(item.event.id))
        self._finish(plan, incoming, outcomes)
        return outcomes

    def _allowed(self, rules: Sequence[RoutedRule], event: Event) -> Sequence[RoutedRule]:
        """Without the ENABLED rules when the event is a read-only management event."""
        if all(rule.all_cloudtrail for rule in rules):
            return rules
        if not self.withheld_from_enabled(event.source, event.detail_type, event.detail):
            return rules
        return [rule for rule in rules if rule.all_cloudtrail]

    def withheld_from_enabled(self, source: str, detail_type: str, detail: str) -> bool:
        """Whether a rule in state ENABLED must not see such an event; `detail` is the text of a JSON object."""
        return source.startswith("aws.") and cloudtrail.withheld_from_enabled(
            detail_type, detail, by_flag=self._settings.read_only_by_flag
        )

    def _deliveries(self, plan: _Plan, item: Incoming, rules: Sequence[RoutedRule]) -> Planned:
        """What the trace says of it. An archive has the event with its acceptance; there is no delivery to it."""
        targets: Sequence[RoutedTarget] = rules[0].targets
        idle_rules: list[str] = []
        archives: dict[int, str] = {}
        if len(rules) > 1 or not targets:
            targets = [target for rule in rules for target in rule.targets]
            for rule in rules:
                if rule.archive is not None:
                    archives[rule.archive] = rule.arn
                elif not rule.targets:
                    idle_rules.append(rule.arn)
            if not targets and not archives:
                return planned(item, item.via, idle_rules=idle_rules)
        number = self._store.sequences(1)
        if archives:
            archive_rows.put(plan.batch, plan.archived, archives, item.event, now_ms=plan.now_ms, sequence=number)
            if not targets:
                return planned(item, item.via, idle_rules=idle_rules, archive_rules=tuple(archives.values()))
        accepted = Accepted(
            item.event, item.location, item.bus, item.hops, plan.now_ms, item.trace_header, parent_id=item.parent_id
        )
        sequence, body, rows = number.to_bytes(8, "big"), b"", 0
        lanes = b""
        for target in targets:
            line = plan.lines.get(target) or self._line(plan, target)
            lanes += line.lane.id
            if line.sink is not None and plan.at_once < limits.DEPOSITS_AT_ONCE_MAX:
                plan.at_once += 1
                line.at_once.append((accepted, sequence))
                continue
            body = body or encoded(accepted)
            rows += 1
            line.offered.append(self._row(plan, line, accepted, sequence, len(body)))
        if rows:
            plan.batch.put(Table.EVENTS, sequence, body)
            if rows > 1:
                plan.batch.put(Table.REFERENCES, sequence, rows.to_bytes(4, "big"))
            plan.rows[sequence] = rows
        return planned(
            item,
            item.via,
            sequence=sequence,
            lanes=lanes,
            idle_rules=idle_rules,
            archive_rules=tuple(archives.values()),
        )

    def _line(self, plan: _Plan, target: RoutedTarget) -> _Line:
        lane = self._lanes.lane(target.rule_arn, target.target.id, plan.batch)
        line = plan.lines[target] = _Line(lane, target, self._inbox_of(lane, target), plan.now_ms)
        return line

    def _row(self, plan: _Plan, line: _Line, accepted: Accepted, sequence: bytes, size: int) -> Delivery:
        key = line.key_head + sequence
        plan.batch.put(Table.DELIVERIES, key, b"")
        return Delivery(key, accepted, None, size)

    def _finish(self, plan: _Plan, incoming: Sequence[Incoming], outcomes: Sequence[Taken | Refused]) -> None:
        """Put what is common to all of the batch's events behind them."""
        batch, now_ms = plan.batch, plan.now_ms
        if plan.archived:
            self._archive.count(batch, plan.archived)
        self._trace.planned(batch, now_ms, plan.traced)
        if self._bus_log is not None:
            self._bus_log.planned(batch, now_ms, incoming=incoming, outcomes=outcomes, matched=plan.tallies)
        batch.then(lambda: self._accepted(plan))
        for line in plan.lines.values():
            if line.at_once:
                self._deliver_at_once(plan, line)

    def _deliver_at_once(self, plan: _Plan, line: _Line) -> None:
        """Deposit the line's deliveries; those that cannot be are rows like all others, and have not been tried."""
        assert line.sink is not None, "only lines into an inbox deliver at once"
        batch, lane = plan.batch, line.lane
        make, target = self._attempts.attempt, line.target
        made = [make(lane, target, accepted) for accepted, _ in line.at_once]
        deposited = iter(self._deposited(lane, line.sink, [one for one in made if isinstance(one, Attempt)], batch))
        tried: list[tuple[Accepted, bytes, Attempt, Outcome]] = []
        for (accepted, sequence), attempt in zip(line.at_once, made, strict=True):
            if isinstance(attempt, Attempt) and isinstance(outcome := next(deposited), Delivered):
                tried.append((accepted, sequence, attempt, outcome))
            else:
                self._leave_for_later(plan, line, accepted, sequence)
        if not tried:
            return
        told = Settled(lane.id, 0, bytearray().join([sequence for _, sequence, _, _ in tried]))
        self._trace.settled(batch, plan.now_ms, told)
        if self._bus_log is not None and self._catalog.logs:
            deliveries = [(Delivery(line.key_head + one[1], one[0], None, 0), *one[2:]) for one in tried]
            self._bus_log.settled(batch, plan.now_ms, lane=lane.name, target=target, tried=deliveries, told=told)
        counters = self._metrics.sink(*origin_of(lane.name), target.kind)
        count, began_ms = len(tried), plan.now_ms
        batch.then(
            lambda: attempt_counts.at_once(
                self._metrics, lane, count, counters, took_ms=self._world.now_ms() - began_ms
            )
        )

    def _deposited(self, lane: Lane, sink: DepositSink, attempts: list[Attempt], batch: Batch) -> list[Outcome]:
        """A sink's bug must not refuse the events, nor what comes with them: they go the ordinary way."""
        try:
            return sink.deposit(attempts, batch) if attempts else []
        except Exception:  # noqa: BLE001 - loud, counted and tried again, as in `pipeline`
            self._metrics.sink_bugs += 1
            log.exception("sink.bug", sink=sink.kind, rule=lane.name.rule_arn, target=lane.name.target_id)
            return [BUG] * len(attempts)

    def _leave_for_later(self, plan: _Plan, line: _Line, accepted: Accepted, sequence: bytes) -> None:
        body = encoded(accepted)
        rows = plan.rows.get(sequence, 0) + 1
        plan.rows[sequence] = rows
        if rows == 1:
            plan.batch.put(Table.EVENTS, sequence, body)
        else:
            plan.batch.put(Table.REFERENCES, sequence, rows.to_bytes(4, "big"))
        line.offered.append(self._row(plan, line, accepted, sequence, len(body)))

    def _accepted(self, plan: _Plan) -> None:
        """The batch is durable: count, and hand the deliveries to their lanes."""
        metrics = self._metrics
        location, bus, counters = None, "", BusCounters()
        for item, rules in plan.tallies:
            if item.location is not location or item.bus != bus:
                location, bus = item.location, item.bus
                counters = metrics.bus(location, bus)
            counters.accepted += 1
            if rules:
                counters.matched += 1
                counters.rules_matched += len(rules)
                for rule in rules:
                    metrics.rule(rule.arn).matched += 1
                    counters.deliveries += len(rule.targets)
            else:
                counters.unmatched += 1
        for line in plan.lines.values():
            if line.offered:
                self._lanes.offer(line.lane, line.offered)

    def _dropped(self) -> None:
        """An event for a bus that does not exist was acknowledged, or came from another bus of this hub."""
        self._metrics.unknown_bus += 1

    def refusal(self, item: Incoming) -> Refused | None:
        """Why the event would be refused at its bus's door, whatever its detail."""
        if self._settings.refuse_unknown_bus and self._catalog.route(item.location, item.bus) is None:
            return Refused("ResourceNotFoundException", f"Event bus {item.bus} does not exist.")
        return None

    def too_costly(self, item: Incoming) -> Refused | None:
        """Why the rules of the event's bus would refuse it, for those who must know before they hand over several."""
        route = self._catalog.route(item.location, item.bus)
        try:
            if route is not None:
                route.table.match(item.event)
        except TooManySteps as error:
            return _too_costly(error)
        return None


def _too_costly(error: TooManySteps) -> Refused:
    return Refused("InvalidArgument", f"Parameter Detail is not valid. Reason: {error}.")
