"""A clock that jumps: deliveries come later or sooner than they would have, and none is lost."""

import pytest

from router.sinks.base import Delivered, Retryable
from tests.pipeline.hub import HandWorld, ScriptedSink, running, target, turns, until
from tests.pipeline.memory_store import MemoryStore

BUSY = Retryable("THROTTLING", "busy")
HOUR_MS = 3_600_000


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def parked(store: MemoryStore, world: HandWorld) -> MemoryStore:
    """What a killed hub leaves: a delivery that failed once and is due in less than a second."""
    sink = ScriptedSink()
    sink.script = [BUSY]
    async with running(store, sink, world=world) as hub:
        await hub.rule("orders", '{"source":["orders"]}', target(attempts_max=5, age_s_max=7200))
        await hub.accept("e1")
        await until(lambda: hub.lanes.parked == 1)
    return store.crashed()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_parked_delivery_waits_until_a_clock_that_was_set_back_has_come_to_its_due_time(
    store: MemoryStore, *, restart: bool
) -> None:
    world = HandWorld()
    left = await parked(store, world)
    sink = ScriptedSink()
    if restart:
        world.ms -= HOUR_MS
    async with running(left, sink, world=world) as hub:
        world.ms -= 0 if restart else HOUR_MS
        hub.advance(3500)
        await turns()
        assert (sink.ids, hub.lanes.parked, hub.lanes.pending) == ([], 1, 1)
        hub.advance(200)
        await until(hub.settled)
    assert sink.ids == ["e1"]


@pytest.mark.parametrize("jump_ms", [HOUR_MS, 1000 * HOUR_MS])
async def test_a_parked_delivery_is_due_at_a_restart_after_the_clock_was_set_forward(
    store: MemoryStore, jump_ms: int
) -> None:
    world = HandWorld()
    left = await parked(store, world)
    world.ms += jump_ms
    sink = ScriptedSink()
    async with running(left, sink, world=world) as hub:
        await until(hub.settled)
        assert hub.dead_letters.count == 0
    assert sink.ids == ["e1"]


async def test_a_delivery_that_the_clock_made_too_old_is_given_up_after_its_next_attempt_with_its_reason(
    store: MemoryStore,
) -> None:
    world = HandWorld()
    left = await parked(store, world)
    world.ms += 1000 * HOUR_MS
    sink = ScriptedSink()
    sink.always = BUSY
    async with running(left, sink, world=world) as hub:
        await until(hub.settled)
        (letter,) = hub.letters()
        assert (letter.code, letter.attempts, letter.condition) == ("THROTTLING", 2, "MaximumEventAgeInSeconds")
        world.ms -= 1000 * HOUR_MS
        sink.always = Delivered()
        await hub.redrive(hub.numbers()[0])
        hub.advance(1)
        await until(hub.settled)
        assert hub.dead_letters.count == 0
    assert sink.ids == ["e1", "e1"]


async def test_the_clock_going_back_and_forth_loses_nothing_and_repeats_nothing(store: MemoryStore) -> None:
    world, sink = HandWorld(), ScriptedSink()
    sink.always = lambda attempt: BUSY if len(sink.sent) % 3 == 0 else Delivered()
    ids = [f"e{number}" for number in range(60)]
    async with running(store, sink, world=world) as hub:
        await hub.rule()
        for number, event_id in enumerate(ids):
            world.ms += (-1) ** number * number * 60_000
            await hub.accept(event_id)
            await turns(3)
        for _ in range(100):
            hub.advance(3600)
            await turns(10)
        await until(hub.settled)
        assert hub.dead_letters.count == 0
        assert hub.counters.delivered == len(ids)
    assert set(sink.ids) == set(ids)
