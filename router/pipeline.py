"""THE DATA PATH: accept → deliver → settle, and recover.

    accept    match each event and put it into ONE batch with the deliveries that follow from it (`planning`); answer
              once that batch is on disk. What matches nothing is counted and not stored; what goes into an inbox of
              this hub, with nothing in its way, is in it with that batch.
    deliver   a lane's next deliveries, transformed, go to their sink as one batch; the sink says what became of each.
    settle    what became of them is written: done, parked until the next attempt, or given up as dead letters. Only
              then is anything done that follows from it.
    recover   after a restart the deliveries on disk go through the same deliver and settle; nothing is matched again.

The rules in force at accept decide where an event goes; an attempt uses the target as it is configured now. No JSON is
parsed here, no HTTP is spoken, and storage is a `Batch` that is committed whole.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeGuard

import anyio
import anyio.abc

from router import attempt_counts, limits, log
from router.archive_rows import ArchiveRows
from router.attempts import Attempts
from router.bus_log import BusLog
from router.catalog import kinds
from router.catalog.catalog import Catalog
from router.catalog.routes import RoutedTarget
from router.core.pace import PaceSettings
from router.dead_letters import DeadLetters
from router.lanes import (
    DEAD_LETTER_QUEUE,
    Calling,
    DeadLetterMessage,
    Delivery,
    Ended,
    Lane,
    LaneName,
    Lanes,
    Made,
    origin_of,
)
from router.metrics import LetterCounters, Metrics, Origin, SinkCounters
from router.pacing import Pacing
from router.planning import Incoming, Planner, Settings
from router.retries import AgedOut, Retries, aged_out, over, retry_policy
from router.sinks.base import Attempt, CallSink, Delivered, DepositSink, Outcome, Retryable, Sink
from router.sinks.table import SinkTable
from router.sources.outcome import STORE_FAILED, THROTTLED, Refused, Taken
from router.store.base import Batch, Store, StoreError, StoreFull, Table, commit
from router.trace import Settled, Trace, untraced
from router.world import World

_STORE_PAUSE_S = 1.0
Tried = tuple[Delivery, Attempt | None, Outcome | AgedOut]


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
        self._sinks = sinks
        self._world = world
        self._metrics = metrics
        self._trace = trace or untraced(store, world)
        self._bus_log = bus_log
        self.lanes = Lanes(store, now_ms=world.now_ms, wake=self._wake)
        self._retries = Retries(lanes=self.lanes, dead_letters=dead_letters, world=world)
        self._pacing = Pacing(self.lanes, world, paces)
        self._attempts = Attempts(catalog, world, metrics)
        self.planner = Planner(
            store=store,
            catalog=catalog,
            lanes=self.lanes,
            attempts=self._attempts,
            inbox_of=self._open_inbox,
            world=world,
            metrics=metrics,
            settings=settings,
            trace=self._trace,
            archive=archive or ArchiveRows(store, metrics),
            bus_log=bus_log,
        )
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
        outcomes = self.planner.plan(incoming, batch)
        self._accepting += 1
        try:
            await self._commit(batch)
        except StoreError as error:
            batch.failed = True
            failure = THROTTLED if isinstance(error, StoreFull) else STORE_FAILED
            return [failure if isinstance(outcome, Taken) else outcome for outcome in outcomes]
        finally:
            self._accepting -= 1
            self._finished.set()
        self._metrics.accept_s.observe(self._world.monotonic() - started)
        return outcomes

    async def _commit(self, batch: Batch) -> None:
        await commit(self._store, batch)

    # deliver

    def _wake(self, lane: Lane) -> None:
        """Start as many workers as the lane has batches for and its target's pace allows."""
        if self._tasks is None or self._stopping or not (lane.ready or lane.more) or self.lanes.resting(lane):
            return
        sink = self._sink(lane)
        if lane.calling is not None:
            self._look_after(lane, lane.calling)
            return
        if sink is not None and not lane.workers and self._streams(sink, lane):
            lane.workers, lane.calling = 1, Calling()
            self._tasks.start_soon(self._stream, lane, lane.calling)
            return
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
        target = self._attempts.target(lane)
        if target is None:
            lane.kind = "removed"
            return None
        lane.kind = target.kind
        lane.limits = self._pacing.limits_of(target.target.arn)
        return self._sinks.pick(target.kind, target.target.arn, lane.name.rule_arn)

    def _open_inbox(self, lane: Lane, target: RoutedTarget) -> DepositSink | None:
        """The sink of a lane into an inbox, where nothing waits in it, holds it up or stands around the sink."""
        if lane.ready or lane.more or lane.workers or lane.failing is not None or self._stopping:
            return None
        lane.kind = target.kind
        lane.limits = self._pacing.limits_of(target.target.arn)
        if lane.limits.rate_per_s is not None:
            return None
        return self._sinks.inbox(target.kind, target.target.arn, target.rule_arn)

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
                if sink is not None and self._streams(sink, lane) and (lane.workers == 1 or lane.calling is not None):
                    break
                if sink is not None and lane.workers > self._pacing.calls(lane, sink):
                    return
                aged = self._aged(lane, sink)
                deliveries = aged or self._next(lane, sink, sink.batch_max if sink else 100)
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
            if lane.calling is not None:
                self._look_after(lane, lane.calling)
        self._wake(lane)  # where the lane has to go on by `_stream`

    def _next(self, lane: Lane, sink: Sink | None, count: int) -> list[Delivery]:
        """The next batch, as far as the target's rate lets it go."""
        if sink is None:
            return self.lanes.take(lane, count)
        allowed = self._pacing.turns(lane, count)
        if not allowed and (lane.ready or lane.more):
            attempt_counts.throttled(self._metrics, lane, self._metrics.sink(*origin_of(lane.name), sink.kind))
        deliveries = self.lanes.take(lane, allowed, only=self._pacing.probed(lane)) if allowed else []
        self._pacing.took(lane, len(deliveries))
        return deliveries

    def _aged(self, lane: Lane, sink: Sink | None) -> list[Delivery]:
        """Of a lane that is probed, the first deliveries, as long as no attempt is left to them within their age."""
        if sink is None or not self._pacing.probed(lane):
            return []
        test = over(self._attempts.target(lane), pause_s_max=self._pacing.pause_s_max, now_ms=self._world.now_ms())
        return self.lanes.take_while(lane, limits.EXPIRED_DELIVERIES_MAX, test)

    async def _give_up(self, lane: Lane, deliveries: list[Delivery]) -> None:
        """Settle deliveries without an attempt."""
        target = self._attempts.target(lane)
        untried = self._attempts.untried
        tried = [(one, None, aged_out(one, lane.failing, untried(lane, target, one))) for one in deliveries]
        await self._settle(lane, {Made(target, lane.kind, 0): tried})
        log.warning("deliveries.aged_out", rule=lane.name.rule_arn, target=lane.name.target_id, count=len(deliveries))

    async def _deliver(self, lane: Lane, sink: Sink | None, deliveries: list[Delivery]) -> None:
        started = self._world.monotonic()
        target, attempts, outcomes = self._attempts.begin(lane, sink, deliveries)
        if sink is not None and attempts:
            ready = [attempt for attempt in attempts if attempt is not None]
            answered = await self._send(sink, ready) if ready else []
            if answered:
                self._pacing.called(lane, answered, retried=retry_policy(target).attempts_max > 0)
            sent = iter(answered)
            for index, attempt in enumerate(attempts):
                if attempt is not None:
                    outcomes[index] = next(sent)
        made = Made(target, sink.kind if sink else "removed", self._took_ms(started))
        await self._settle(lane, {made: list(zip(deliveries, attempts, outcomes, strict=True))})

    def _took_ms(self, started: float) -> int:
        return round((self._world.monotonic() - started) * 1000)

    # deliver, where one task has all of a lane's calls

    def _streams(self, sink: Sink, lane: Lane) -> TypeGuard[CallSink]:
        """Whether calls are begun one by one, each as soon as there is a turn for it; what is probed has one call."""
        return hasattr(sink, "begin") and not self._pacing.probed(lane)

    async def _stream(self, lane: Lane, calling: Calling) -> None:
        """As `_work`, for all calls of a lane in one task. A call that has come back gives its place to the next; what
        has come back meanwhile is settled together, and no more than a bound may wait for that."""
        try:
            while self._fill(lane, calling) or calling.unsettled:
                if calling.ended:
                    ended, calling.ended = calling.ended, []
                    await self._settle_calls(lane, calling, ended)
                else:
                    calling.came.clear()
                    await calling.came.wait()  # a sink's calls have deadlines; one that it never tells of is its bug
        finally:
            lane.workers -= 1
            lane.calling = None
        self._wake(lane)  # where the lane has to go on by `_work`

    def _look_after(self, lane: Lane, calling: Calling) -> None:
        """In the loop's next turn, so that all that this one brings is looked after together."""
        if not calling.turn:
            calling.turn = True
            asyncio.get_running_loop().call_soon(self._turn, lane, calling)

    def _turn(self, lane: Lane, calling: Calling) -> None:
        calling.turn = False
        if lane.calling is calling:
            calling.came.set()  # before: where the store cannot be read, the lane's task meets the same and ends loudly
            self._fill(lane, calling)

    def _fill(self, lane: Lane, calling: Calling) -> bool:
        """Begin as many calls as there are deliveries and turns for; whether any is out."""
        while not self._stopping and not self.lanes.resting(lane):
            sink = self._sink(lane)
            if sink is None or not self._streams(sink, lane):
                self._work_beside(lane, sink)
                break
            turns = min(self._pacing.calls(lane, sink) - lane.busy, limits.OUTCOMES_UNSETTLED_MAX - calling.unsettled)
            deliveries = self._next(lane, sink, turns) if turns > 0 else []
            if not deliveries:
                break
            self._begin_calls(lane, sink, deliveries)
        return lane.busy > 0

    def _work_beside(self, lane: Lane, sink: Sink | None) -> None:
        """The lane's deliveries are not calls of this kind any more, while some calls are out: they need not wait for
        those, unless the target is probed, which gets one call at a time."""
        waits = (lane.ready or lane.more) and lane.busy and not self._pacing.probed(lane)
        if sink is not None and lane.busy >= self._pacing.calls(lane, sink):
            return  # no turn before one of the calls is back
        if waits and lane.workers == 1 and self._tasks is not None:
            lane.workers += 1
            self._tasks.start_soon(self._work, lane)

    def _begin_calls(self, lane: Lane, sink: CallSink, deliveries: list[Delivery]) -> None:
        try:
            target, attempts, outcomes = self._attempts.begin(lane, sink, deliveries)
        except Exception:  # noqa: BLE001 - as in `_work`
            self._bug("deliver.bug", lane)
            self.lanes.give_back(lane, deliveries)
            self.lanes.rest(lane, _STORE_PAUSE_S)
            return
        self.in_flight += len(deliveries)
        lane.busy += len(deliveries)
        begun = Made(target, sink.kind, 0), self._world.monotonic()
        for delivery, attempt, outcome in zip(deliveries, attempts, outcomes, strict=True):
            ended = partial(self._ended, lane, delivery, attempt, begun)
            if attempt is None:
                ended(outcome)
            elif not self._begun(sink, attempt, ended):
                assert self._tasks is not None, "calls begin while the pipeline runs"
                self._tasks.start_soon(self._call, sink, attempt, ended)

    def _begun(self, sink: CallSink, attempt: Attempt, ended: Callable[[Outcome], None]) -> bool:
        try:
            return sink.begin(attempt, ended)
        except Exception as error:  # noqa: BLE001 - as in `_send`
            ended(self._sink_bug(sink, attempt, error))
            return True

    async def _call(self, sink: Sink, attempt: Attempt, ended: Callable[[Outcome], None]) -> None:
        (outcome,) = await self._send(sink, [attempt])
        ended(outcome)

    def _ended(
        self,
        lane: Lane,
        delivery: Delivery,
        attempt: Attempt | None,
        begun: tuple[Made, float],
        outcome: Outcome,
    ) -> None:
        """A call has come back; `begun` has what it has in common with others, and when it began."""
        calling = lane.calling
        if calling is None:
            return  # the data path was cancelled with calls out: their rows stand, and are tried again
        made, started = begun
        failed_ms = None
        if not isinstance(outcome, Delivered):
            failed_ms = self._world.now_ms()
        if attempt is not None and (failed_ms is not None or lane.failing is not None):
            self._pacing.called(lane, [outcome], retried=retry_policy(made.target).attempts_max > 0)
        lane.busy -= 1
        calling.unsettled += 1
        made = Made(made.target, made.kind, self._took_ms(started), failed_ms)
        calling.ended.append(Ended(delivery, attempt, outcome, made))
        self._look_after(lane, calling)

    async def _settle_calls(self, lane: Lane, calling: Calling, ended: Sequence[Ended]) -> None:
        """Where the store fails, the outcomes are written later, and the lane's other calls go on meanwhile."""
        tried: dict[Made, list[Tried]] = {}
        at_first: dict[tuple[RoutedTarget | None, str], list[Ended]] = {}
        for one in ended:
            if isinstance(one.outcome, Delivered) and one.delivery.progress is None:
                at_first.setdefault(one.made[:2], []).append(one)
            else:
                tried.setdefault(one.made, []).append(one[:3])
        for (target, kind), some in at_first.items():
            took_each = tuple([one.made.took_ms for one in some])
            tried[Made(target, kind, max(took_each), None, took_each)] = [one[:3] for one in some]
        try:
            batch = self._outcomes(lane, tried)
        except Exception:  # noqa: BLE001 - as in `_work`
            self._bug("deliver.bug", lane)
            self.lanes.give_back(lane, [one.delivery for one in ended])
            self.lanes.rest(lane, _STORE_PAUSE_S)
        else:
            if not await self._written(lane, batch):
                assert self._tasks is not None, "calls end while the pipeline runs"
                self._tasks.start_soon(self._settle_later, lane, calling, batch, ended)
                return
        self._done_with(calling, len(ended))

    async def _settle_later(self, lane: Lane, calling: Calling, batch: Batch, ended: Sequence[Ended]) -> None:
        local = any(_is_local(one.outcome) for one in ended)
        await self._write_again(lane, batch, [one.delivery for one in ended], local=local)
        self._done_with(calling, len(ended))
        calling.came.set()

    def _done_with(self, calling: Calling, count: int) -> None:
        calling.unsettled -= count
        self.in_flight -= count
        self._finished.set()

    async def _send(self, sink: Sink, attempts: Sequence[Attempt]) -> list[Outcome]:
        try:
            outcomes = await sink.send(attempts)
        except Exception as error:  # noqa: BLE001 - a sink's bug must not end its lane: it is loud, counted and retried
            return [self._sink_bug(sink, attempts[0], error)] * len(attempts)
        if len(outcomes) != len(attempts):
            self._metrics.sink_bugs += 1
            text = f"sink {sink.kind} gave {len(outcomes)} outcomes for {len(attempts)} attempts"
            log.warning("sink.bug", rule=attempts[0].rule_arn, target=attempts[0].target.id, error=text)
            return [Retryable("INTERNAL_ERROR", text)] * len(attempts)
        return outcomes

    def _sink_bug(self, sink: Sink, attempt: Attempt, error: Exception) -> Outcome:
        self._metrics.sink_bugs += 1
        log.exception("sink.bug", sink=sink.kind, rule=attempt.rule_arn, target=attempt.target.id)
        return Retryable("INTERNAL_ERROR", f"{type(error).__name__} in sink {sink.kind}")

    def _bug(self, event: str, lane: Lane) -> None:
        self._metrics.sink_bugs += 1
        log.exception(event, rule=lane.name.rule_arn, target=lane.name.target_id)

    # settle

    async def _settle(self, lane: Lane, tried: Mapping[Made, Sequence[Tried]]) -> None:
        """Write what became of the deliveries as soon as the store can."""
        batch = self._outcomes(lane, tried)
        if not await self._written(lane, batch):
            all_of_them = [one for some in tried.values() for one in some]
            outcomes = [one[2] for one in all_of_them]
            effects = [one.effects for one in outcomes if isinstance(one, Delivered) and one.effects is not None]
            local = bool(effects)
            for part in (batch, *effects) if local else ():
                part.failed = True  # none is written again: what they would have brought is made anew
            await self._write_again(lane, batch, [one[0] for one in all_of_them], local=local)

    async def _written(self, lane: Lane, batch: Batch) -> bool:
        try:
            with anyio.CancelScope(shield=True):
                await self._commit(batch)
        except StoreError as error:
            log.warning("settle.failed", rule=lane.name.rule_arn, target=lane.name.target_id, error=str(error))
            return False
        return True

    async def _write_again(self, lane: Lane, batch: Batch, deliveries: Sequence[Delivery], *, local: bool) -> None:
        """The store failed: try until it can. Where all that follows from the outcomes is written with them (`local`),
        nothing happened: then the deliveries stay as they were and are tried again."""
        while True:
            if local or self._stopping:
                self.lanes.give_back(lane, deliveries)
            if self._stopping:
                return
            await anyio.sleep(_STORE_PAUSE_S)
            if local or await self._written(lane, batch):
                return

    def _outcomes(self, lane: Lane, tried: Mapping[Made, Sequence[Tried]]) -> Batch:
        """What became of deliveries, and what follows from it."""
        batch = Batch(essential=True)
        for made, some in tried.items():
            self._put_outcomes(batch, lane, made, some)
        return batch

    def _put_outcomes(self, batch: Batch, lane: Lane, made: Made, tried: Sequence[Tried]) -> None:
        settled: list[Delivery] = []
        parked: list[tuple[Delivery, int]] = []
        traced = Settled(lane.id, made.took_ms, took_each=made.took_each)
        counters = self._metrics.sink(*origin_of(lane.name), made.kind)
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
                made.target,
                delivery,
                attempt,
                outcome,
                batch=batch,
                traced=traced,
                counters=self._letter_counters(lane, delivery, counters),
                now_ms=made.failed_ms or now_ms,
            )
            if due_ms is None:
                settled.append(delivery)
            else:
                parked.append((delivery, due_ms))
        self._trace.settled(batch, now_ms, traced)
        if self._bus_log is not None:
            self._bus_log.settled(batch, now_ms, lane=lane.name, target=made.target, tried=tried, told=traced)
        batch.then(lambda: self._settled(lane, made, tried, settled=settled, parked=parked, counters=counters))

    def _settled(
        self,
        lane: Lane,
        made: Made,
        tried: Sequence[Tried],
        *,
        settled: list[Delivery],
        parked: list[tuple[Delivery, int]],
        counters: SinkCounters,
    ) -> None:
        """The outcomes are durable."""
        now_ms = self._world.now_ms()
        attempt_counts.ended(self._metrics, lane, tried, counters, kind=made.kind, settled=len(settled), now_ms=now_ms)
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


def _is_local(outcome: Outcome | AgedOut) -> bool:
    """Whether all that follows from it is inside the hub, and written with it."""
    return isinstance(outcome, Delivered) and outcome.effects is not None
