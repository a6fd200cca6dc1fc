"""Seeded runs with everything that can go wrong, and a ledger that says what must have become of each event.

A run is a few processes one after the other, each on what the one before left on disk. Events come in while sinks fail,
the store refuses, targets are removed and put back, dead letters are redriven and the clock jumps; then the process is
killed, also between a commit and the moment when anybody hears of it. The last process is left in peace, and the books
are closed. A failure is run again with `pytest tests/pipeline/test_crashes.py -k SEED`.
"""

import asyncio
import random
from collections import Counter, defaultdict

import msgspec
import pytest

from router.errors import ApiError
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sources.outcome import Taken
from router.store.base import Batch, StoreError, StoreFull, Table
from tests.pipeline.hub import (
    FUNCTION,
    HERE,
    LETTERS,
    ORDERS,
    QUEUE,
    RULE_ARN,
    CalledSink,
    HandWorld,
    Hub,
    ScriptedSink,
    memory,
    quick_pauses,
    running,
    started,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore

TARGETS = (
    target("plain", FUNCTION, attempts_max=4),
    target("letters", FUNCTION + "2", attempts_max=2, letters=LETTERS),
    target("queue", QUEUE),
)
LANE_MAX = 3
Pair = tuple[str, str]


class Run:
    """One seed. The ledger holds (event, target) pairs and is kept outside the hub."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = HandWorld()
        self.store = MemoryStore()
        self.left: MemoryStore | None = None
        """What a killed process left; from then on it does nothing that counts."""
        self.killing = True
        self.peace = False
        self.planned: dict[str, list[str]] = {}
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.delivered: set[Pair] = set()
        self.number = 0

    def sink(self) -> ScriptedSink:
        self.batch_max, self.concurrency = self.dice.choice([1, 3, 10]), self.dice.choice([1, 4])
        if self.batch_max == 1 and self.dice.random() < 0.7:
            sink: ScriptedSink = CalledSink(concurrency=self.concurrency)
        else:
            sink = ScriptedSink(batch_max=self.batch_max, concurrency=self.concurrency)
        sink.always = self.outcome
        return sink

    def outcome(self, attempt: Attempt) -> Outcome:
        throw = self.dice.random()
        if self.peace or throw < 0.5:
            if self.left is None:
                self.delivered.add((attempt.accepted.event.id, attempt.target.id))
            return Delivered()
        if throw < 0.55:
            raise ZeroDivisionError
        return Retryable("ERROR_FROM_TARGET", "busy") if throw < 0.9 else Rejected("NO_PERMISSIONS", "no")

    def refuses(self, batch: Batch) -> StoreError | None:
        throw = self.dice.random()
        if self.peace or throw < 0.8:
            return None
        return StoreFull("full") if throw < 0.9 else StoreError("broken")

    def maybe_killed(self) -> None:
        if self.killing and self.left is None and self.dice.random() < 0.02:
            self.left = self.store.crashed()

    async def put(self, hub: Hub) -> None:
        ids = [f"e{self.number + index}" for index in range(self.dice.randint(1, 6))]
        self.number += len(ids)
        rule = hub.catalog.rule_by_arn(RULE_ARN)
        assert rule is not None
        self.planned.update({event_id: [found.id for found in rule.targets] for event_id in ids})
        outcomes = await hub.accept(*ids)
        if self.left is None:
            for event_id, outcome in zip(ids, outcomes, strict=True):
                (self.acknowledged if isinstance(outcome, Taken) else self.refused).add(event_id)

    async def redrive(self, hub: Hub) -> None:
        numbers = hub.numbers()
        for number in self.dice.sample(numbers, min(2, len(numbers))):
            await asyncio.gather(hub.redrive(number), hub.redrive(number), return_exceptions=True)

    async def change(self, hub: Hub) -> None:
        changed = self.dice.choice(TARGETS)
        try:
            if hub.catalog.target(RULE_ARN, changed.id) is None:
                await hub.targets("orders", changed)
            else:
                await hub.catalog.remove_targets(HERE, "default", "orders", [changed.id])
        except ApiError:
            assert not self.peace, "only a store that refuses may stop this"

    async def step(self, hub: Hub) -> "asyncio.Task[None] | None":
        throw = self.dice.random()
        if throw < 0.5:
            return started(self.put(hub))
        if throw < 0.6:
            return started(self.redrive(hub))
        if throw < 0.7:
            return started(self.change(hub))
        if throw < 0.95:
            hub.advance(self.dice.choice([0.1, 1.0, 10.0, 600.0]))
        else:
            self.world.ms -= 30_000
        return None

    async def work(self, hub: Hub) -> "list[asyncio.Task[None]]":
        """Let things go wrong for a while, or until the process is killed; the tasks that are under way."""
        tasks = []
        for _ in range(self.dice.randint(20, 60)):
            task = await self.step(hub)
            if task is not None:
                tasks.append(task)
            await turns(self.dice.randint(0, 8))
            if self.left is not None:
                break
            self.check_counts(hub)
        return tasks

    def check_counts(self, hub: Hub) -> None:
        lanes = list(hub.lanes)
        assert hub.lanes.bytes_in_memory == sum(sum(lane.loaded.values()) for lane in lanes)
        assert all(lane.bytes == sum(lane.loaded.values()) for lane in lanes)
        scripted = [lane for lane in lanes if lane.name.target_id != "queue"]
        in_hand = self.batch_max * self.concurrency
        assert all(len(lane.ready) <= LANE_MAX + self.batch_max + in_hand for lane in scripted)
        if not self.store.telling:
            rows = self.store.tables[Table.DELIVERIES]
            loaded = {key for lane in lanes for key in lane.loaded}
            assert hub.lanes.pending == len(rows)
            assert hub.lanes.parked == sum(1 for key, value in rows.items() if value and key not in loaded)

    async def process(self) -> None:
        """One process, from its start until it is killed."""
        async with running(self.store, self.sink(), world=self.world) as hub:
            assert hub.lanes.pending == self.store.rows(Table.DELIVERIES)
            self.store.refuses, self.store.once_durable = self.refuses, self.maybe_killed
            tasks = await self.work(hub)
            self.left = self.left or self.store.crashed()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.store, self.left = self.left, None

    async def close_the_books(self) -> None:
        """The last process: what went wrong in it is mended without a restart."""
        self.killing = False
        async with running(self.store, self.sink(), world=self.world) as hub:
            self.store.refuses = self.refuses
            tasks = await self.work(hub)
            self.peace = True
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(200):
                hub.advance(600)
                await turns(20)
                if hub.settled():
                    break
            await until(lambda: hub.settled() and hub.idle())
            lanes = hub.lanes
            assert (lanes.parked, lanes.bytes_in_memory, hub.pipeline.in_flight) == (0, 0, 0)
            assert not any(lane.loaded for lane in lanes)
            assert hub.dead_letters.count == len(hub.letters())
            self.check(hub)

    def check(self, hub: Hub) -> None:
        kept = Counter((letter.accepted.event.id, letter.target_id) for letter in hub.letters())
        sent_on = Counter((msgspec.json.decode(letter.body)["id"], "letters") for letter in hub.messages(LETTERS))
        deposited = Counter((message.event_id or "", "queue") for message in hub.messages(QUEUE))
        for written in (kept, sent_on, deposited):
            assert set(written.values()) <= {1}, "what is written with its settlement is there once"
        assert not kept.keys() & sent_on.keys()
        assert not kept.keys() & deposited.keys()
        became: defaultdict[str, set[str]] = defaultdict(set)
        for event_id, target_id in [*self.delivered, *kept, *sent_on, *deposited]:
            became[event_id].add(target_id)
        lost = {
            event_id: missing
            for event_id in self.acknowledged
            if (missing := set(self.planned[event_id]) - became[event_id])
        }
        assert lost == {}
        stray = {event_id: ids - set(self.planned[event_id]) for event_id, ids in became.items()}
        assert not any(stray.values()), "nothing goes where no rule sent it"
        assert not self.refused & {event_id for event_id, ids in became.items() if ids}


@pytest.mark.parametrize("seed", range(40))
async def test_every_acknowledged_event_is_accounted_for(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, deliveries=LANE_MAX)
    run = Run(seed)
    with quick_pauses(monkeypatch):
        async with running(run.store, run.sink(), world=run.world) as hub:
            await hub.queue(QUEUE)
            await hub.queue(LETTERS)
            await hub.rule("orders", ORDERS, *TARGETS)
        for _ in range(4):
            await run.process()
        await run.close_the_books()
    assert len(run.acknowledged) > 5
