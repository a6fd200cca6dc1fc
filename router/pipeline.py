"""THE DATA PATH: accept → deliver → settle, and recover.

    accept    match each event and put it into ONE batch with the deliveries that follow from it; answer once that batch
              is on disk. What matches nothing is counted and not stored.
    deliver   a lane's next deliveries, transformed, go to their sink as one batch; the sink says what became of each.
    settle    what became of them is written: done, parked until the next attempt, or given up as dead letters. Only
              then is anything done that follows from it.
    recover   after a restart the deliveries on disk go through the same deliver and settle; nothing is matched again.

The rules in force at accept decide where an event goes; an attempt uses the target as it is configured now. No JSON is
parsed here, no HTTP is spoken, and storage is a `Batch` that is committed whole.
"""

from collections.abc import Sequence

import anyio
import anyio.abc
import msgspec

from router import archive_rows, attempt_counts, limits, log
from router.archive_rows import ArchiveRows, Tally
from router.bus_log import BusLog
from router.catalog import kinds
from router.catalog.catalog import Catalog
from router.catalog.model import Target
from router.catalog.routes import RoutedRule, RoutedTarget, payload
from router.core import cloudtrail
from router.core.event import Event, Location, envelope
from router.core.hops import Hops
from router.core.pace import PaceSettings
from router.core.ruletable import MalformedDetail
from router.core.ruletable_lookup import TooManySteps
from router.core.transform import InvalidInput
from router.dead_letters import DeadLetters
from router.lanes import DEAD_LETTER_QUEUE, DeadLetterMessage, Delivery, Lane, LaneName, Lanes, encoded, origin_of
from router.metrics import LetterCounters, Metrics, Origin, SinkCounters
from router.pacing import Pacing
from router.retries import AgedOut, Retries, aged_out, over, retry_policy
from router.sinks.base import Accepted, Attempt, Delivered, Outcome, Rejected, Retryable, Sink
from router.sinks.table import SinkTable
from router.sources.outcome import MALFORMED_DETAIL, STORE_FAILED, THROTTLED, Refused, Taken
from router.store.base import Batch, Store, StoreError, StoreFull, Table, commit, key64
from router.trace import Planned, Settled, Trace, planned, untraced
from router.world import World

_STORE_PAUSE_S = 1.0


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


class Pipeline:
    """One hub's data path. `run` must be entered before anything is accepted."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        sinks: SinkTable,
        dead_letters: DeadLetters,
        world: World,
        metrics: Metrics,
        settings: Settings,
        trace: Trace | None = None,
        paces: PaceSettings | None = None,
        archive: ArchiveRows | None = None,
        bus_log: BusLog | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._sinks = sinks
        self._world = world
        self._metrics = metrics
        self._settings = settings
        self._trace = trace or untraced(store, world)
        self._archive = archive or ArchiveRows(store, metrics)
        self._bus_log = bus_log
        self.lanes = Lanes(store, now_ms=world.now_ms, wake=self._wake)
        self._retries = Retries(lanes=self.lanes, dead_letters=dead_letters, world=world)
        self._pacing = Pacing(self.lanes, world, paces)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._accepting = 0
        self._stopping = False
        self._finished = anyio.Event()
        self.in_flight = 0

    # accept

    async def accept(self, incoming: Sequence[Incoming], batch: Batch | None = None) -> list[Taken | Refused]:
        """One outcome for each event, in order. Taken means: on disk, or nothing follows from it. What `batch` already
        holds becomes durable with them."""
        if self._accepting >= limits.ACCEPTS_IN_FLIGHT_MAX or self._stopping:
            return [THROTTLED] * len(incoming)
        started = self._world.monotonic()
        batch = batch or Batch()
        outcomes = self.plan(incoming, batch)
        self._accepting += 1
        try:
            await self._commit(batch)
        except StoreError as error:
            failure = THROTTLED if isinstance(error, StoreFull) else STORE_FAILED
            return [failure if isinstance(outcome, Taken) else outcome for outcome in outcomes]
        finally:
            self._accepting -= 1
            self._finished.set()
        self._metrics.accept_s.observe(self._world.monotonic() - started)
        return outcomes

    def plan(self, incoming: Sequence[Incoming], batch: Batch) -> list[Taken | Refused]:
        """Match the events and put what follows from them into `batch`, which the caller commits."""
        outcomes: list[Taken | Refused] = []
        offers: dict[Lane, list[Delivery]] = {}
        tallies: list[tuple[Incoming, Sequence[RoutedRule]]] = []
        traced: list[Planned] = []
        archived: dict[int, Tally] = {}
        now_ms = self._world.now_ms()
        for item in incoming:
            route = self._catalog.route(item.location, item.bus)
            if route is None:
                refused = self.refusal(item)
                if refused is None:
                    batch.then(self._dropped)
                    traced.append(planned(item, item.via, dropped=True))
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
            rules = self._allowed(rules, item.event)
            if item.scheduled is not None:
                rules = [item.scheduled, *(rule for rule in rules if rule.arn != item.scheduled.arn)]
            if item.only_rules is not None:
                rules = [rule for rule in rules if rule.arn in item.only_rules]
            if rules:
                traced.append(
                    self._plan_deliveries(item, rules, now_ms=now_ms, batch=batch, offers=offers, archived=archived)
                )
            else:
                traced.append(planned(item, item.via))
            tallies.append((item, rules))
            outcomes.append(Taken(item.event.id))
        if archived:
            self._archive.count(batch, archived)
        self._trace.planned(batch, now_ms, traced)
        if self._bus_log is not None:
            self._bus_log.planned(batch, now_ms, incoming=incoming, outcomes=outcomes, matched=tallies)
        batch.then(lambda: self._accepted(tallies, offers))
        return outcomes

    def _allowed(self, rules: Sequence[RoutedRule], event: Event) -> Sequence[RoutedRule]:
        """Without the ENABLED rules when the event is a read-only management event."""
        if not event.source.startswith("aws.") or all(rule.all_cloudtrail for rule in rules):
            return rules
        if not self.withheld_from_enabled(event.source, event.detail_type, event.detail):
            return rules
        return [rule for rule in rules if rule.all_cloudtrail]

    def withheld_from_enabled(self, source: str, detail_type: str, detail: str) -> bool:
        """Whether a rule in state ENABLED must not see such an event; `detail` is the text of a JSON object."""
        return source.startswith("aws.") and cloudtrail.withheld_from_enabled(
            detail_type, detail, by_flag=self._settings.read_only_by_flag
        )

    def _plan_deliveries(
        self,
        item: Incoming,
        rules: Sequence[RoutedRule],
        *,
        now_ms: int,
        batch: Batch,
        offers: dict[Lane, list[Delivery]],
        archived: dict[int, Tally],
    ) -> Planned:
        """What the trace says of it. An archive has the event with its acceptance; there is no delivery to it."""
        targets = [target for rule in rules for target in rule.targets]
        idle_rules: list[str] = []
        archives: dict[int, str] = {}
        for rule in rules:
            if rule.archive is not None:
                archives[rule.archive] = rule.arn
            elif not rule.targets:
                idle_rules.append(rule.arn)
        if not targets and not archives:
            return planned(item, item.via, idle_rules=idle_rules)
        sequence = self._store.sequences(1)
        archive_rules = tuple(archives.values())
        if archives:
            archive_rows.put(batch, archived, archives, item.event, now_ms=now_ms, sequence=sequence)
        if not targets:
            return planned(item, item.via, idle_rules=idle_rules, archive_rules=archive_rules)
        accepted = Accepted(
            item.event, item.location, item.bus, item.hops, now_ms, item.trace_header, parent_id=item.parent_id
        )
        body = encoded(accepted)
        batch.put(Table.EVENTS, key64(sequence), body)
        if len(targets) > 1:
            batch.put(Table.REFERENCES, key64(sequence), len(targets).to_bytes(4, "big"))
        lanes: list[bytes] = []
        for target in targets:
            lane = self.lanes.lane(target.rule_arn, target.target.id, batch)
            key = self.lanes.add(lane, batch, due_ms=now_ms, sequence=sequence)
            offers.setdefault(lane, []).append(Delivery(key, accepted, None, len(body)))
            lanes.append(lane.id)
        return planned(
            item,
            item.via,
            sequence=key64(sequence),
            lanes=b"".join(lanes),
            idle_rules=idle_rules,
            archive_rules=archive_rules,
        )

    def _accepted(
        self, tallies: list[tuple[Incoming, Sequence[RoutedRule]]], offers: dict[Lane, list[Delivery]]
    ) -> None:
        """The batch is durable: count, and hand the deliveries to their lanes."""
        metrics = self._metrics
        for item, rules in tallies:
            counters = metrics.bus(item.location, item.bus)
            counters.accepted += 1
            if rules:
                counters.matched += 1
                counters.rules_matched += len(rules)
                for rule in rules:
                    metrics.rule(rule.arn).matched += 1
                    counters.deliveries += len(rule.targets)
            else:
                counters.unmatched += 1
        for lane, deliveries in offers.items():
            self.lanes.offer(lane, deliveries)

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

    async def _commit(self, batch: Batch) -> None:
        await commit(self._store, batch)

    # deliver

    def _wake(self, lane: Lane) -> None:
        """Start as many workers as the lane has batches for and its target's pace allows."""
        if self._tasks is None or self._stopping or not (lane.ready or lane.more) or self.lanes.resting(lane):
            return
        sink = self._sink(lane)
        batches = -(-len(lane.ready) // sink.batch_max) + lane.more if sink else 1
        wanted = min(self._pacing.calls(lane, sink) if sink else lane.busy + 1, lane.busy + batches)
        while lane.workers < wanted:
            lane.workers += 1
            self._tasks.start_soon(self._work, lane)

    def _sink(self, lane: Lane) -> Sink | None:
        if lane.name.rule_arn == DEAD_LETTER_QUEUE:
            lane.kind = "sqs"
            lane.limits = self._pacing.limits_of(lane.name.target_id)
            return self._sinks.pick("sqs", lane.name.target_id, DEAD_LETTER_QUEUE)
        target = self._target(lane)
        if target is None:
            lane.kind = "removed"
            return None
        lane.kind = target.kind
        lane.limits = self._pacing.limits_of(target.target.arn)
        return self._sinks.pick(target.kind, target.target.arn, lane.name.rule_arn)

    def parked(self) -> dict[Origin, int]:
        """How many deliveries wait on disk for their next attempt, by where they come from and go to."""
        counts: dict[Origin, int] = {}
        for lane in list(self.lanes):
            if lane.parked:
                origin = (*origin_of(lane.name), lane.kind or "sqs")
                counts[origin] = counts.get(origin, 0) + lane.parked
        return counts

    def probed(self) -> int:
        """How many targets keep failing and get one call at a time."""
        return sum(self._pacing.probed(lane) for lane in list(self.lanes))

    async def _work(self, lane: Lane) -> None:
        """Deliver until the lane has nothing that is due, or rests; its pace says how many of these run."""
        try:
            while not self._stopping and not self.lanes.resting(lane):
                sink = self._sink(lane)
                if sink is not None and lane.workers > self._pacing.calls(lane, sink):
                    return
                aged = self._aged(lane, sink)
                deliveries = aged or self._next(lane, sink)
                if not deliveries:
                    return
                self.in_flight += len(deliveries)
                lane.busy += 1
                try:
                    self._wake(lane)
                    if aged:
                        await self._give_up(lane, aged)
                    else:
                        await self._deliver(lane, sink, deliveries)
                except Exception:  # noqa: BLE001 - a bug in one lane must not end the others: loud, counted and retried
                    self._bug("deliver.bug", lane)
                    self.lanes.give_back(lane, deliveries)
                    await anyio.sleep(_STORE_PAUSE_S)
                finally:
                    lane.busy -= 1
                    self.in_flight -= len(deliveries)
                    self._finished.set()
        finally:
            lane.workers -= 1

    def _next(self, lane: Lane, sink: Sink | None) -> list[Delivery]:
        """The next batch, as far as the target's rate lets it go."""
        if sink is None:
            return self.lanes.take(lane, 100)
        allowed = self._pacing.turns(lane, sink.batch_max)
        if not allowed and (lane.ready or lane.more):
            attempt_counts.throttled(self._metrics, lane, self._metrics.sink(*origin_of(lane.name), sink.kind))
        deliveries = self.lanes.take(lane, allowed, only=self._pacing.probed(lane)) if allowed else []
        self._pacing.took(lane, len(deliveries))
        return deliveries

    def _aged(self, lane: Lane, sink: Sink | None) -> list[Delivery]:
        """Of a lane that is probed, the first deliveries, as long as no attempt is left to them within their age."""
        if sink is None or not self._pacing.probed(lane):
            return []
        test = over(self._target(lane), pause_s_max=self._pacing.pause_s_max, now_ms=self._world.now_ms())
        return self.lanes.take_while(lane, limits.EXPIRED_DELIVERIES_MAX, test)

    async def _give_up(self, lane: Lane, deliveries: list[Delivery]) -> None:
        """Settle deliveries without an attempt."""
        target = self._target(lane)
        tried = [(one, None, aged_out(one, lane.failing, self._untried(lane, target, one))) for one in deliveries]
        await self._settle(lane, target, lane.kind, tried, took_ms=0)
        log.warning("deliveries.aged_out", rule=lane.name.rule_arn, target=lane.name.target_id, count=len(deliveries))

    def _untried(self, lane: Lane, target: RoutedTarget | None, delivery: Delivery) -> bytes:
        """What the target would have got; the event where that cannot be made."""
        made = self._attempt(lane, target, delivery) if target is not None else None
        return made.payload if isinstance(made, Attempt) else envelope(delivery.accepted.event)

    def _target(self, lane: Lane) -> RoutedTarget | None:
        return self._catalog.compiled_target(lane.name.rule_arn, lane.name.target_id)

    async def _deliver(self, lane: Lane, sink: Sink | None, deliveries: list[Delivery]) -> None:
        started = self._world.monotonic()
        target, attempts, outcomes = self._attempts(lane, sink, deliveries)
        if sink is not None and attempts:
            ready = [attempt for attempt in attempts if attempt is not None]
            answered = await self._send(sink, ready) if ready else []
            if answered:
                self._pacing.called(lane, answered, retried=retry_policy(target).attempts_max > 0)
            sent = iter(answered)
            for index, attempt in enumerate(attempts):
                if attempt is not None:
                    outcomes[index] = next(sent)
        await self._settle(
            lane,
            target,
            sink.kind if sink else "removed",
            list(zip(deliveries, attempts, outcomes, strict=True)),
            took_ms=round((self._world.monotonic() - started) * 1000),
        )

    def _attempts(
        self, lane: Lane, sink: Sink | None, deliveries: list[Delivery]
    ) -> tuple[RoutedTarget | None, list[Attempt | None], list[Outcome]]:
        """What each delivery sends, or, where there is nothing to send, its outcome."""
        attempts: list[Attempt | None] = []
        outcomes: list[Outcome] = []
        name = lane.name
        if name.rule_arn == DEAD_LETTER_QUEUE:
            queue = Target(id="dead-letter-queue", arn=name.target_id)
            for delivery in deliveries:
                message = delivery.body
                assert isinstance(message, DeadLetterMessage)
                letter = message.letter
                attempts.append(Attempt(letter.accepted, message.payload, letter.rule_arn, queue, message.attributes))
            return None, attempts, [_NOT_SENT] * len(attempts)
        target = self._catalog.compiled_target(name.rule_arn, name.target_id)
        if target is None or sink is None:
            gone = Rejected("NO_RESOURCE", f"Target {name.target_id} was removed from rule {name.rule_arn}")
            return None, [None] * len(deliveries), [gone] * len(deliveries)
        counters = self._metrics.sink(*origin_of(name), sink.kind)
        attempt_counts.begun(self._metrics, lane, deliveries, counters, now_ms=self._world.now_ms())
        for delivery in deliveries:
            made = self._attempt(lane, target, delivery)
            attempts.append(made if isinstance(made, Attempt) else None)
            outcomes.append(_NOT_SENT if isinstance(made, Attempt) else made)
        return target, attempts, outcomes

    def _attempt(self, lane: Lane, target: RoutedTarget, delivery: Delivery) -> Attempt | Outcome:
        """What is sent, or, where the target's input cannot be made, what that comes to."""
        accepted = delivery.accepted
        try:
            made = payload(target, accepted.event, ingested_ms=accepted.ingested_ms)
        except (InvalidInput, msgspec.DecodeError) as error:
            # DecodeError: JSON by its grammar, yet no text (`"\ud800"`).
            return Rejected(InvalidInput.code, str(error))
        except Exception as error:  # noqa: BLE001 - as for a sink's bug; it must not hold up the other events
            self._bug("transform.bug", lane)
            return Retryable("INTERNAL_ERROR", f"{type(error).__name__} in the input transform")
        return Attempt(accepted, made, lane.name.rule_arn, target.target)

    async def _send(self, sink: Sink, attempts: Sequence[Attempt]) -> list[Outcome]:
        try:
            outcomes = await sink.send(attempts)
        except Exception as error:  # noqa: BLE001 - a sink's bug must not end its lane: it is loud, counted and retried
            self._metrics.sink_bugs += 1
            log.exception("sink.bug", sink=sink.kind, rule=attempts[0].rule_arn, target=attempts[0].target.id)
            return [Retryable("INTERNAL_ERROR", f"{type(error).__name__} in sink {sink.kind}")] * len(attempts)
        if len(outcomes) != len(attempts):
            self._metrics.sink_bugs += 1
            text = f"sink {sink.kind} gave {len(outcomes)} outcomes for {len(attempts)} attempts"
            log.warning("sink.bug", rule=attempts[0].rule_arn, target=attempts[0].target.id, error=text)
            return [Retryable("INTERNAL_ERROR", text)] * len(attempts)
        return outcomes

    def _bug(self, event: str, lane: Lane) -> None:
        self._metrics.sink_bugs += 1
        log.exception(event, rule=lane.name.rule_arn, target=lane.name.target_id)

    # settle

    async def _settle(
        self,
        lane: Lane,
        target: RoutedTarget | None,
        kind: str,
        tried: Sequence[tuple[Delivery, Attempt | None, Outcome | AgedOut]],
        *,
        took_ms: int,
    ) -> None:
        """Write what became of the deliveries, as soon as the store can. Where all that follows from it is written with
        it (`effects`), nothing happened when the store fails: then they stay as they were and are tried again."""
        batch = Batch(essential=True)
        settled: list[Delivery] = []
        parked: list[tuple[Delivery, int]] = []
        traced = Settled(lane.id, took_ms)
        counters = self._metrics.sink(*origin_of(lane.name), kind)
        now_ms = self._world.now_ms()
        for delivery, attempt, outcome in tried:
            if isinstance(outcome, Delivered):
                batch.delete(Table.DELIVERIES, delivery.key)
                batch.release(delivery.sequence)
                if outcome.effects is not None:
                    batch.extend(outcome.effects)
                settled.append(delivery)
                traced.took(delivery)
                continue
            due_ms = self._retries.failed(
                lane,
                target,
                delivery,
                attempt,
                outcome,
                batch=batch,
                traced=traced,
                counters=self._letter_counters(lane, delivery, counters),
                now_ms=now_ms,
            )
            if due_ms is None:
                settled.append(delivery)
            else:
                parked.append((delivery, due_ms))
        self._trace.settled(batch, now_ms, traced)
        if self._bus_log is not None:
            self._bus_log.settled(batch, now_ms, lane=lane.name, target=target, tried=tried, told=traced)
        batch.then(lambda: self._settled(lane, tried, settled, parked, counters))
        local = any(isinstance(outcome, Delivered) and outcome.effects is not None for _, _, outcome in tried)
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    await self._commit(batch)
            except StoreError as error:
                log.warning("settle.failed", rule=lane.name.rule_arn, target=lane.name.target_id, error=str(error))
            else:
                return
            if local or self._stopping:
                self.lanes.give_back(lane, [delivery for delivery, _, _ in tried])
            if self._stopping:
                return
            await anyio.sleep(_STORE_PAUSE_S)
            if local:
                return

    def _settled(
        self,
        lane: Lane,
        tried: Sequence[tuple[Delivery, Attempt | None, Outcome | AgedOut]],
        settled: list[Delivery],
        parked: list[tuple[Delivery, int]],
        counters: SinkCounters,
    ) -> None:
        """The outcomes are durable."""
        attempt_counts.ended(self._metrics, lane, tried, counters, settled=len(settled), now_ms=self._world.now_ms())
        if lane.name.rule_arn == DEAD_LETTER_QUEUE:
            for delivery, _, outcome in tried:
                if isinstance(outcome, Delivered):
                    self._letter_counters(lane, delivery, counters).queued()
        self.lanes.forget(lane, settled, settled=True)
        self.lanes.forget(lane, (delivery for delivery, _ in parked), settled=False)
        for _, due_ms in parked:
            self.lanes.park(lane, due_ms)

    def _letter_counters(self, lane: Lane, delivery: Delivery, counters: SinkCounters) -> LetterCounters:
        """What a delivery's dead letter counts with: the rule and the kind of target that it was for, also where it is
        itself a dead letter on its way to its queue."""
        if not isinstance(delivery.body, DeadLetterMessage):
            return LetterCounters(counters, self._metrics.rule(lane.name.rule_arn))
        letter = delivery.body.letter
        kind = kinds.kind_of(letter.target_arn or "") or "removed"
        origin = origin_of(LaneName(letter.rule_arn, letter.target_id))
        return LetterCounters(self._metrics.sink(*origin, kind), self._metrics.rule(letter.rule_arn))

    # recover, run, stop

    def recover(self) -> None:
        """Go on with the deliveries that a previous run left. Call it once, before anything is accepted."""
        self.lanes.recover()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Own the workers until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    async def drain(self, limit_s: float) -> None:
        """Take nothing new, start no attempt, let those in flight finish within the limit."""
        self._stopping = True
        self.lanes.stop()
        with anyio.move_on_after(limit_s):
            await self._quiet()

    async def _quiet(self) -> None:
        """Return when nothing is in flight; it never comes back after `drain` has begun."""
        while self.in_flight or self._accepting:
            self._finished = anyio.Event()
            await self._finished.wait()


_NOT_SENT: Outcome = Retryable("INTERNAL_ERROR", "the attempt was not made")


def _too_costly(error: TooManySteps) -> Refused:
    return Refused("InvalidArgument", f"Parameter Detail is not valid. Reason: {error}.")
