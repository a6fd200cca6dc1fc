"""Calls that are begun without being waited for: as many at once as a target may get, settled together as they come
back, and in all else like the calls that a worker waits for."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from router import limits
from router.core.pace import PaceSettings, Probing, TargetLimits
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.store.base import StoreError, Table
from router.trace import read_settled
from tests.pipeline.hub import HERE, CalledSink, Hub, ScriptedSink, quick_pauses, running, turns, until
from tests.pipeline.memory_store import MemoryStore

BUSY = Retryable("ERROR_FROM_TARGET", "busy")
EVENTS = [f"e{number}" for number in range(10)]


class HandSink(ScriptedSink):
    """Its calls come back when a test says so."""

    def __init__(self, concurrency: int) -> None:
        super().__init__(concurrency=concurrency)
        self.out: dict[str, asyncio.Future[Outcome]] = {}

    def begin(self, attempt: Attempt, done: object) -> bool:
        assert callable(done)
        self.sent.append(attempt)
        future = self.out[attempt.accepted.event.id] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda told: done(told.result()))
        return True

    def back(self, *ids: str, outcome: Outcome | None = None) -> None:
        for event_id in ids:
            self.out.pop(event_id).set_result(outcome or Delivered())


@pytest.fixture
def hand() -> HandSink:
    return HandSink(concurrency=3)


@pytest.fixture
async def hub(store: MemoryStore, hand: HandSink) -> AsyncIterator[Hub]:
    async with running(store, hand) as hub:
        await hub.rule()
        yield hub


async def test_there_are_as_many_calls_as_the_sink_allows(hub: Hub, hand: HandSink) -> None:
    await hub.accept(*EVENTS)
    await turns()
    assert hand.ids == ["e0", "e1", "e2"]
    assert hub.pipeline.in_flight == 3
    hand.back("e1")
    await until(lambda: hand.ids == ["e0", "e1", "e2", "e3"])
    for event_id in ("e0", "e2", *EVENTS[3:]):
        await until(partial(hand.out.__contains__, event_id))
        hand.back(event_id)
    await until(hub.settled)
    assert (hub.counters.attempts, hub.counters.delivered) == (10, 10)
    assert hub.pipeline.in_flight == 0


async def test_a_call_gives_its_place_to_the_next_before_its_outcome_is_on_disk(
    hub: Hub, hand: HandSink, store: MemoryStore
) -> None:
    await hub.accept(*EVENTS)
    await turns()
    store.held = True
    hand.back("e0")
    await turns()
    assert hand.ids == ["e0", "e1", "e2", "e3"]
    assert (hub.pipeline.in_flight, hub.lanes.pending) == (4, 10)
    store.release()
    await until(lambda: hub.lanes.pending == 9)


async def test_no_more_than_a_bound_waits_to_be_written(
    hub: Hub, hand: HandSink, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OUTCOMES_UNSETTLED_MAX", 4)
    await hub.accept(*EVENTS)
    await turns()
    store.held = True
    for event_id in ("e0", "e1", "e2", "e3"):
        hand.back(event_id)
        await turns()
    assert len(hand.sent) == 6
    store.release()
    await until(lambda: len(hand.sent) == 7)


async def test_what_has_come_back_meanwhile_is_settled_in_one_commit(
    hub: Hub, hand: HandSink, store: MemoryStore
) -> None:
    await hub.accept("e0", "e1", "e2")
    await turns()
    before = len(store.commits)
    hand.back("e0", "e2")
    await until(lambda: hub.lanes.pending == 1)
    assert len(store.commits) - before == 1
    hand.back("e1", outcome=Rejected("NO_PERMISSIONS", "no"))
    await until(hub.settled)
    assert [letter.accepted.event.id for letter in hub.letters()] == ["e1"]


async def test_the_trace_has_the_time_of_each_call(hub: Hub, hand: HandSink, store: MemoryStore) -> None:
    await hub.accept("e0", "e1", "e2")
    await turns()
    store.held = True
    hand.back("e0")
    await turns()
    hub.world.ms += 40
    hand.back("e1", "e2")
    await turns()
    store.release()
    await until(hub.settled)
    rows = [read_settled(value[9:]) for _, value in store.scan(Table.TRACE) if value[:1] == b"S"]
    assert sorted(took_ms for row in rows for took_ms in row.took_each) == [0, 40, 40]
    assert {row.took_ms: len(row.delivered) // 8 for row in rows} == {0: 1, 40: 2}
    story = await hub.traces.of("e1")
    assert [attempt.took_ms for attempt in story.events[0].deliveries[0].attempts] == [40]


async def test_a_call_that_cannot_be_begun_is_sent_and_waited_for(store: MemoryStore) -> None:
    sink = CalledSink(concurrency=2)
    sink.begins = False
    async with running(store, sink) as hub:
        await hub.rule()
        await hub.accept(*EVENTS)
        await until(hub.settled)
    assert sorted(sink.ids) == EVENTS
    assert sink.at_once_max == 2


async def test_a_bug_in_beginning_a_call_is_counted_and_tried_again(store: MemoryStore) -> None:
    class Broken(ScriptedSink):
        def begin(self, attempt: Attempt, done: object) -> bool:
            raise ZeroDivisionError

    async with running(store, Broken()) as hub:
        await hub.rule()
        await hub.accept("e0")
        await until(lambda: hub.lanes.parked == 1)
        assert hub.metrics.sink_bugs == 1
        assert (hub.lane.busy, hub.pipeline.in_flight) == (0, 0)


async def test_a_target_that_keeps_failing_is_probed_and_then_gets_all_its_calls_again(store: MemoryStore) -> None:
    sink = CalledSink(concurrency=4)
    sink.always = BUSY
    async with running(store, sink, paces=PaceSettings(Probing(3, 30.0))) as hub:
        await hub.rule()
        await hub.accept(*EVENTS)
        await until(lambda: hub.pipeline.probed() == 1 and hub.idle_workers())
        made = len(sink.sent)
        assert made < len(EVENTS)
        sink.always = Delivered()
        sink.at_once_max = 0
        hub.advance(60)
        await until(hub.settled)
        assert hub.pipeline.probed() == 0
        assert sink.at_once_max > 1


async def test_calls_wait_for_their_targets_rate(store: MemoryStore, hand: HandSink) -> None:
    paces = PaceSettings(Probing(0, 30.0), [("*", TargetLimits(rate_per_s=2.0))])
    async with running(store, hand, paces=paces) as hub:
        await hub.rule()
        await hub.accept(*EVENTS)
        await turns()
        assert hand.ids == ["e0", "e1"]
        assert hub.lane.rest_until_s > 0
        hand.back("e0", "e1")


async def test_what_waits_for_a_target_that_is_removed_does_not_wait_for_its_calls(hub: Hub, hand: HandSink) -> None:
    await hub.accept(*EVENTS)
    await turns()
    await hub.catalog.remove_targets(HERE, "default", "orders", ["t"])
    hub.lanes._due(hub.lane)  # as when the next delivery is due
    await until(lambda: len(hub.letters()) == 7)
    hand.back("e0", "e1", "e2")
    await until(hub.settled)
    assert sorted(letter.accepted.event.id for letter in hub.letters()) == EVENTS[3:]
    assert hub.counters.delivered == 3


async def test_an_outcome_that_could_not_be_written_is_written_later(
    hub: Hub, hand: HandSink, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.accept("e0")
    await turns()
    failures = [StoreError("broken")]
    store.refuses = lambda batch: failures.pop() if failures else None
    with quick_pauses(monkeypatch):
        hand.back("e0")
        await until(hub.settled)
    assert (failures, hand.ids) == ([], ["e0"])


async def test_a_stop_waits_for_the_calls_that_are_out(hub: Hub, hand: HandSink) -> None:
    await hub.accept(*EVENTS)
    await turns()
    stopped = asyncio.ensure_future(hub.pipeline.drain(10))
    await turns()
    assert not stopped.done()
    hand.back("e0", "e1", "e2")
    await stopped
    assert (len(hand.sent), hub.lanes.pending) == (3, 7)
