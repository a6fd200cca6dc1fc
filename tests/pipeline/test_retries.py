"""Retries as the pipeline makes them: of what failed only, within both bounds of the policy, across restarts."""

import pytest

from router.sinks.base import Delivered, Outcome, Rejected, Retryable
from tests.pipeline.hub import (
    FUNCTION,
    LETTERS,
    ORDERS,
    HandWorld,
    Hub,
    ScriptedSink,
    running,
    target,
    until,
)
from tests.pipeline.memory_store import MemoryStore

BUSY = Retryable("ERROR_FROM_TARGET", "busy")
GONE = Rejected("NO_PERMISSIONS", "no")
SECOND = "arn:aws:lambda:us-east-1:111111111111:function:second"


async def parked(hub: Hub, count: int = 1) -> None:
    await until(lambda: hub.lanes.parked == count and hub.idle())


async def test_only_the_failed_deliveries_of_a_call_are_tried_again(hub: Hub, sink: ScriptedSink) -> None:
    sink.bound(batch_max=10)
    await hub.rule()
    sink.script = [Delivered(), BUSY, GONE, Delivered(), Retryable("THROTTLING", "slow", retry_after_s=30.0)]
    await hub.accept("e1", "e2", "e3", "e4", "e5")
    await parked(hub, 2)
    assert [letter.accepted.event.id for letter in hub.letters()] == ["e3"]
    hub.advance(1)
    await parked(hub, 1)
    assert sink.ids[5:] == ["e2"]
    hub.advance(29)
    await until(hub.settled)
    assert sink.ids[5:] == ["e2", "e5"]
    counters = hub.counters
    assert (counters.delivered, counters.retryable, counters.rejected, counters.retries) == (4, 2, 1, 2)


async def test_targets_of_one_rule_are_retried_each_by_itself(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule("orders", ORDERS, target("bad", attempts_max=1), target("good", SECOND))
    sink.always = lambda attempt: BUSY if attempt.target.arn == FUNCTION else Delivered()
    await hub.accept("e1")
    await parked(hub)
    hub.advance(1)
    await until(hub.settled)
    assert sorted(attempt.target.id for attempt in sink.sent) == ["bad", "bad", "good"]
    assert [(letter.target_id, letter.condition) for letter in hub.letters()] == [("bad", "MaximumRetryAttempts")]


@pytest.mark.parametrize(
    ("attempts_max", "age_s_max", "step_s", "attempts", "condition"),
    [
        (0, 60, 5, 1, "MaximumRetryAttempts"),
        (2, 60, 5, 3, "MaximumRetryAttempts"),
        (185, 60, 25, 4, "MaximumEventAgeInSeconds"),
        (4, 60, 20, 4, "MaximumEventAgeInSeconds"),
        (3, 60, 20, 4, "MaximumRetryAttempts"),
        (2, 60, 20, 3, "MaximumRetryAttempts"),
        (None, 60, 61, 2, "MaximumEventAgeInSeconds"),
        (1, None, 3600, 2, "MaximumRetryAttempts"),
        (None, None, 86_400, 2, "MaximumEventAgeInSeconds"),
    ],
)
@pytest.mark.parametrize("restarts", [False, True])
async def test_attempts_or_age_whichever_comes_first_also_across_restarts(
    store: MemoryStore,
    sink: ScriptedSink,
    attempts_max: int | None,
    age_s_max: int | None,
    step_s: float,
    attempts: int,
    condition: str,
    *,
    restarts: bool,
) -> None:
    """A try is made every `step_s`: at 0, after one step, after two…; a wait past the age ends with it."""
    world = HandWorld()
    sink.always = BUSY
    async with running(store, sink, world=world) as hub:
        await hub.queue(LETTERS)
        await hub.rule("orders", ORDERS, target(attempts_max=attempts_max, age_s_max=age_s_max, letters=LETTERS))
        await hub.accept("e1")
        await until(lambda: hub.settled() or (hub.lanes.parked == 1 and hub.idle()))
        message = hub.messages(LETTERS)
        while not message and not restarts:
            hub.advance(step_s)
            await until(lambda: hub.settled() or (hub.lanes.parked == 1 and hub.idle()))
            message = hub.messages(LETTERS)
    while not message:
        world.ms += round(step_s * 1000)
        store = store.crashed()
        async with running(store, sink, world=world) as hub:
            await until(lambda hub=hub: hub.settled() or (hub.lanes.parked == 1 and hub.idle()))  # type: ignore[misc]
            message = hub.messages(LETTERS)
    assert len(sink.sent) == attempts
    [letter] = message
    assert letter.attributes is not None
    assert letter.attributes["EXHAUSTED_RETRY_CONDITION"] == ("String", condition.encode())
    assert letter.attributes["RETRY_ATTEMPTS"] == ("String", str(attempts - 1).encode())


@pytest.mark.parametrize("restart", [False, True])
async def test_what_the_target_asks_to_wait_is_waited_also_across_a_restart(
    store: MemoryStore, sink: ScriptedSink, *, restart: bool
) -> None:
    world = HandWorld()
    sink.script = [Retryable("THROTTLING", "slow down", retry_after_s=120.0)]
    async with running(store, sink, world=world) as hub:
        await hub.rule()
        await hub.accept("e1")
        await parked(hub)
        if not restart:
            hub.advance(119)
            await parked(hub)
            assert len(sink.sent) == 1
            hub.advance(1)
            await until(hub.settled)
    if restart:
        async with running(store.crashed(), sink, world=world) as hub:
            hub.advance(119)
            await parked(hub)
            assert len(sink.sent) == 1
            hub.advance(1)
            await until(hub.settled)
    assert sink.ids == ["e1", "e1"]


@pytest.mark.parametrize(
    ("outcome", "conditions"), [(BUSY, ["MaximumRetryAttempts"]), (GONE, [None]), (Delivered(), [])]
)
async def test_without_retries_there_is_one_attempt(
    hub: Hub, sink: ScriptedSink, outcome: Outcome, conditions: list[str | None]
) -> None:
    await hub.rule("orders", ORDERS, target(attempts_max=0))
    sink.always = outcome
    await hub.accept("e1")
    await until(hub.settled)
    assert len(sink.sent) == 1
    assert [letter.condition for letter in hub.letters()] == conditions
    assert hub.counters.retries == 0
