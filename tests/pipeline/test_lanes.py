"""What a lane holds in memory, what stays on disk, and that nothing falls between the two."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from router.core.event import Event, Location
from router.core.hops import Hops
from router.lanes import Delivery, Lane, Lanes, Progress, encoded
from router.sinks.base import Accepted
from router.store.base import Batch, Table, key64
from tests.pipeline.hub import memory, until
from tests.pipeline.memory_store import MemoryStore

HERE = Location("111111111111", "us-east-1")
NOW = 1_790_000_000_000


class Bench:
    """Lanes over a store, a clock by hand; `woken` has the ids of targets whose lanes were woken."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.now_ms = NOW
        self.woken: list[str] = []
        self.lanes = Lanes(
            self.store, now_ms=lambda: self.now_ms, wake=lambda lane: self.woken.append(lane.name.target_id)
        )

    def plan(self, batch: Batch, name: str = "t", *, detail: str = "{}") -> tuple[Lane, Delivery]:
        event = Event("e", "type", "orders", HERE.account, "2026-11-23T10:00:00Z", HERE.region, (), detail)
        accepted = Accepted(event, HERE, "default", Hops(), self.now_ms)
        sequence = self.store.sequences(1)
        body = encoded(accepted)
        batch.put(Table.EVENTS, key64(sequence), body)
        lane = self.lanes.lane("rule", name, batch)
        key = self.lanes.add(lane, batch, due_ms=self.now_ms, sequence=sequence)
        return lane, Delivery(key, accepted, None, len(body))

    async def accept(self, count: int = 1, name: str = "t", *, detail: str = "{}") -> Lane:
        """`count` events, committed and offered."""
        batch = Batch()
        planned = [self.plan(batch, name, detail=detail) for _ in range(count)]
        lane = planned[0][0]
        batch.then(lambda: self.lanes.offer(lane, [delivery for _, delivery in planned]))
        await self.store.commit(batch)
        return lane

    async def settle(self, lane: Lane, deliveries: list[Delivery]) -> None:
        batch = Batch()
        for delivery in deliveries:
            batch.delete(Table.DELIVERIES, delivery.key)
            batch.release(delivery.sequence)
        batch.then(lambda: self.lanes.forget(lane, deliveries, settled=True))
        await self.store.commit(batch)

    async def park(self, lane: Lane, deliveries: list[Delivery], due_ms: int) -> None:
        batch = Batch()
        for delivery in deliveries:
            batch.delete(Table.DELIVERIES, delivery.key)
            progress = Progress((delivery.progress.attempts if delivery.progress else 0) + 1, NOW)
            sequence = int.from_bytes(delivery.sequence, "big")
            self.lanes.add(lane, batch, due_ms=due_ms, sequence=sequence, progress=progress)
        batch.then(lambda: self.lanes.forget(lane, deliveries, settled=False))
        for _ in deliveries:
            batch.then(lambda: self.lanes.park(lane, due_ms))
        await self.store.commit(batch)

    async def drained(self, lane: Lane, count: int = 10) -> list[bytes]:
        """Everything that is due, settled batch by batch; the sequences in the order in which they came."""
        taken: list[bytes] = []
        while deliveries := self.lanes.take(lane, count):
            taken += [delivery.sequence for delivery in deliveries]
            await self.settle(lane, deliveries)
        return taken

    def empty(self) -> bool:
        lanes = self.lanes
        return (lanes.pending, lanes.parked, lanes.bytes_in_memory) == (0, 0, 0) and not self.store.rows(
            Table.EVENTS, Table.REFERENCES, Table.DELIVERIES
        )


def due(bench: Bench, lane: Lane) -> None:
    """The lane's timer goes off."""
    assert lane.timer is not None
    lane.timer.cancel()
    bench.lanes._due(lane)


async def test_deliveries_are_taken_in_the_order_of_acceptance_and_once() -> None:
    bench = Bench()
    lane = await bench.accept(25)
    taken = await bench.drained(lane)
    assert taken == sorted(set(taken))
    assert len(taken) == 25
    assert bench.empty()


async def test_what_does_not_fit_stays_on_disk_and_is_read_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory(monkeypatch, deliveries=4)
    bench = Bench()
    lane = [await bench.accept() for _ in range(30)][-1]
    assert len(lane.loaded) == 4
    assert lane.more
    assert bench.lanes.pending == 30
    taken = await bench.drained(lane, 3)
    assert taken == sorted(set(taken))
    assert len(taken) == 30
    assert bench.empty()


async def test_a_delivery_in_hand_is_not_read_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, deliveries=4)
    bench = Bench()
    lane = [await bench.accept() for _ in range(8)][-1]
    first = bench.lanes.take(lane, 4)
    second = bench.lanes.take(lane, 4)
    assert len({delivery.key for delivery in first + second}) == 8
    assert bench.lanes.take(lane, 4) == []
    await bench.settle(lane, first + second)
    assert bench.empty()


async def test_a_row_that_is_read_before_it_is_offered_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    lane = await bench.accept()
    taken = bench.lanes.take(lane, 10)
    early: list[Delivery] = []

    def read_early() -> None:
        lane.more = True
        early.extend(bench.lanes.take(lane, 10))

    bench.store.once_durable = read_early
    await bench.accept()
    bench.store.once_durable = lambda: None
    assert len(early) == 1
    assert bench.lanes.pending == 2
    assert bench.lanes.take(lane, 10) == []
    await bench.settle(lane, taken + early)
    assert bench.empty()


async def test_a_retry_that_is_read_before_it_is_parked_counts_once() -> None:
    bench = Bench()
    lane = await bench.accept()
    early: list[Delivery] = []

    def read_early() -> None:
        lane.more = True
        early.extend(bench.lanes.take(lane, 10))

    bench.now_ms += 5
    taken = bench.lanes.take(lane, 10)
    bench.store.once_durable = read_early
    await bench.park(lane, taken, bench.now_ms)
    bench.store.once_durable = lambda: None
    assert [delivery.progress and delivery.progress.attempts for delivery in early] == [1]
    assert (bench.lanes.pending, bench.lanes.parked) == (1, 0)
    await bench.settle(lane, early)
    assert bench.empty()


async def test_a_retry_that_is_due_in_the_very_same_millisecond_is_tried_again() -> None:
    bench = Bench()
    lane = await bench.accept()
    [first] = bench.lanes.take(lane, 10)
    await bench.park(lane, [first], NOW)
    await until(lambda: lane.timer is None)
    [again] = bench.lanes.take(lane, 10)
    assert again.key == first.key
    assert again.progress is not None
    await bench.settle(lane, [again])
    assert bench.empty()


async def test_a_parked_delivery_is_not_in_memory_and_wakes_its_lane_when_it_is_due() -> None:
    bench = Bench()
    lane = await bench.accept()
    await bench.park(lane, bench.lanes.take(lane, 10), NOW + 60_000)
    assert (bench.lanes.pending, bench.lanes.parked, bench.lanes.bytes_in_memory) == (1, 1, 0)
    assert bench.lanes.take(lane, 10) == []
    bench.woken.clear()
    bench.now_ms = NOW + 60_000
    due(bench, lane)
    assert bench.woken == ["t"]
    assert len(await bench.drained(lane)) == 1
    assert bench.empty()


async def test_the_earliest_due_time_sets_the_timer_and_the_next_one_follows() -> None:
    bench = Bench()
    loop = asyncio.get_running_loop()
    lane = await bench.accept(3)
    for delivery, seconds in zip(bench.lanes.take(lane, 3), (300, 100, 200), strict=True):
        await bench.park(lane, [delivery], NOW + seconds * 1000)
    for seconds in (100, 200, 300):
        assert lane.timer is not None
        assert abs(lane.timer_s - loop.time() - (NOW / 1000 + seconds - bench.now_ms / 1000)) < 50
        bench.now_ms = NOW + seconds * 1000
        due(bench, lane)
        assert len(await bench.drained(lane)) == 1
    assert lane.timer is None
    assert bench.empty()


def test_deliveries_that_are_due_at_once_set_the_timer_of_the_hubs_own_loop_too() -> None:
    """uvloop gives no TimerHandle for a time that has come."""

    async def taken() -> int:
        bench = Bench()
        lane = await bench.accept(3)
        parked = bench.lanes.take(lane, 3)
        batch = Batch()
        for delivery in parked:
            batch.delete(Table.DELIVERIES, delivery.key)
            sequence = int.from_bytes(delivery.sequence, "big")
            bench.lanes.add(lane, batch, due_ms=NOW, sequence=sequence, progress=Progress(1, NOW))
        await bench.store.commit(batch)
        bench.lanes.forget(lane, parked, settled=False)
        for _ in parked:
            bench.lanes.park(lane, NOW)
        await asyncio.sleep(0.01)
        assert lane.timer is None
        return len(await bench.drained(lane))

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(taken()) == 3
    finally:
        loop.close()


async def test_a_timer_that_goes_off_early_is_set_again() -> None:
    bench = Bench()
    lane = await bench.accept()
    await bench.park(lane, bench.lanes.take(lane, 1), NOW + 60_000)
    bench.now_ms = NOW + 59_999
    due(bench, lane)
    assert bench.lanes.take(lane, 1) == []
    assert lane.timer is not None
    bench.lanes.stop()


async def test_what_is_given_back_is_read_again_with_its_progress() -> None:
    bench = Bench()
    lane = await bench.accept(2)
    await bench.park(lane, bench.lanes.take(lane, 1), NOW + 1)
    bench.now_ms += 1
    due(bench, lane)
    taken = bench.lanes.take(lane, 1) + bench.lanes.take(lane, 1)
    assert len(taken) == 2
    bench.lanes.give_back(lane, taken)
    assert (bench.lanes.pending, bench.lanes.parked, bench.lanes.bytes_in_memory) == (2, 1, 0)
    again = bench.lanes.take(lane, 10)
    assert sorted((d.key, d.progress) for d in again) == sorted((d.key, d.progress) for d in taken)
    await bench.settle(lane, again)
    assert bench.empty()


async def test_a_lane_has_its_share_of_memory_and_a_little_when_others_have_it_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = len(await _body())
    memory(monkeypatch, size=8 * 10 * size)
    bench = Bench()
    for number in range(8):
        greedy = await bench.accept(40, f"greedy-{number}")
        assert len(greedy.loaded) == 10
    late = await bench.accept(3, "late")
    assert bench.lanes.bytes_in_memory <= 81 * size + 3 * size
    assert len(await bench.drained(late, 3)) == 3
    for lane in bench.lanes:
        await bench.drained(lane)
    assert bench.empty()


async def _body() -> bytes:
    bench = Bench()
    await bench.accept()
    return bench.store.scan(Table.EVENTS)[0][1]


async def test_one_event_larger_than_all_memory_is_taken_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, size=100)
    bench = Bench()
    lane = await bench.accept(3, detail='{"a":"' + "x" * 1000 + '"}')
    counts = []
    while deliveries := bench.lanes.take(lane, 10):
        counts.append(len(deliveries))
        await bench.settle(lane, deliveries)
    assert counts == [1, 1, 1]
    assert bench.empty()


async def test_recovery_counts_everything_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.lanes._SCAN_ROWS", 3)
    bench = Bench()
    lane = await bench.accept(10)
    await bench.accept(1, "other")
    await bench.park(lane, bench.lanes.take(lane, 4), NOW + 60_000)
    after = Bench(bench.store.crashed())
    after.lanes.recover()
    assert (after.lanes.pending, after.lanes.parked, after.lanes.bytes_in_memory) == (11, 4, 0)
    assert sorted(after.woken) == ["other", "t"]
    batch = Batch()
    lane = after.lanes.lane("rule", "t", batch)
    assert batch.ops == []
    assert len(await after.drained(lane)) == 6
    after.now_ms += 60_000
    due(after, lane)
    assert len(await after.drained(lane)) == 4
    assert len(await after.drained(after.lanes.lane("rule", "other", batch))) == 1
    assert after.empty()
    bench.lanes.stop()


async def test_lanes_made_after_a_recovery_get_numbers_of_their_own() -> None:
    bench = Bench()
    await bench.accept(1, "a")
    after = Bench(bench.store.crashed())
    after.lanes.recover()
    await after.accept(1, "b")
    numbers = [lane.id for lane in after.lanes]
    assert len(set(numbers)) == 2
    assert len(after.store.scan(Table.LANES)) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store, sequence: store.tables[Table.EVENTS].pop(sequence),
        lambda store, sequence: store.tables[Table.EVENTS].update({sequence: b"\xc1"}),
    ],
)
async def test_a_row_that_cannot_be_read_stays_pending_and_stops_nothing_else(
    spoil: Callable[[MemoryStore, bytes], object], caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    await bench.accept(3)
    spoil(bench.store, bench.store.scan(Table.DELIVERIES)[1][0][12:])
    after = Bench(bench.store.crashed())
    after.lanes.recover()
    lane = next(iter(after.lanes))
    assert len(await after.drained(lane)) == 2
    assert caplog.messages == ["delivery.unreadable"]
    assert (after.lanes.pending, after.lanes.bytes_in_memory, after.store.rows(Table.DELIVERIES)) == (1, 0, 1)


async def test_a_stopped_lane_is_woken_by_no_timer() -> None:
    bench = Bench()
    lane = await bench.accept()
    await bench.park(lane, bench.lanes.take(lane, 1), NOW + 1)
    bench.lanes.stop()
    assert lane.timer is None
