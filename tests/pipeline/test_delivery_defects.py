"""What goes wrong between acceptance, inboxes and calls stays where it belongs."""

import asyncio
from typing import Any

import msgspec
import pytest

from router.catalog.model import RetryPolicy, Target
from router.catalog.target_parameters import KinesisParameters, SqsParameters
from router.config_profiles import Profile
from router.core.pace import PaceSettings, Probing, TargetLimits
from router.lanes import Lane
from router.sinks.base import Sink
from router.sources.outcome import Refused, Taken
from router.store.base import StoreError, StoreFull
from tests.pipeline.hub import (
    FUNCTION,
    HERE,
    ORDERS,
    QUEUE,
    ROLE,
    Hub,
    ScriptedSink,
    incoming,
    quick_pauses,
    replaying,
    running,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore
from tests.pipeline.test_calls import HandSink

FIFO = "arn:aws:sqs:us-east-1:111111111111:queue.fifo"
STREAM = "arn:aws:kinesis:us-east-1:111111111111:stream/orders"
THERE = "arn:aws:events:us-east-1:111111111111:event-bus/there"
GROUPED = Target(id="t", arn=FIFO, sqs_parameters=SqsParameters("$.detail.group"))
NO_TEXT = '{"group":"\\ud800"}'  # JSON by its grammar, so it is accepted


async def fifo(hub: Hub) -> None:
    await hub.inboxes.create(FIFO, "sqs", {"FifoQueue": "true", "ContentBasedDeduplication": "true"}, {})


async def test_a_parameter_that_is_no_text_refuses_no_event(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        await fifo(hub)
        await hub.rule("orders", ORDERS, GROUPED)
        pair = [incoming("good", detail='{"group":"a"}'), incoming("bad", detail=NO_TEXT)]
        assert await hub.pipeline.accept(pair) == [Taken("good"), Taken("bad")]
        await until(hub.settled)
        assert [message.event_id for message in hub.messages(FIFO)] == ["good"]
        assert [(letter.accepted.event.id, letter.code) for letter in hub.letters()] == [("bad", "INVALID_PARAMETER")]


async def test_a_partition_key_that_is_no_text_refuses_no_event(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        keyed = Target(id="t", arn=STREAM, role_arn=ROLE, kinesis_parameters=KinesisParameters("$.detail.group"))
        await hub.rule("orders", ORDERS, keyed)
        assert await hub.accept("bad", detail=NO_TEXT) == [Taken("bad")]
        await until(hub.settled)
        assert [letter.code for letter in hub.letters()] == ["INVALID_PARAMETER"]


async def test_a_parameter_that_is_no_text_does_not_end_replays(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.accept("bad", detail=NO_TEXT)
        await fifo(hub)
        await hub.rule("orders", ORDERS, GROUPED)
        async with replaying(hub):
            await hub.replay()
            await until(lambda: hub.replay_state() == "COMPLETED")


async def test_a_parameter_that_is_no_text_holds_up_no_other_hop(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        await hub.catalog.create_bus(HERE, "there")
        await fifo(hub)
        await hub.rule("orders", ORDERS, target("hop", THERE, role_arn=ROLE))
        await hub.rule("grouped", ORDERS, GROUPED, bus="there")
        await hub.pipeline.accept([incoming("good", detail='{"group":"a"}'), incoming("bad", detail=NO_TEXT)])
        await until(hub.settled)
        assert [message.event_id for message in hub.messages(FIFO)] == ["good"]


async def test_a_bug_in_an_inboxs_sink_refuses_no_event(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(store, ScriptedSink()) as hub:
        await hub.queue(QUEUE)
        await hub.rule("orders", ORDERS, target(arn=QUEUE), target("other"))

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(type(hub.sinks.pick("sqs", QUEUE, "")), "_draft", broken)
            assert await hub.accept("e1") == [Taken("e1")]
            await until(lambda: hub.counters.delivered == 1 and hub.lanes.parked == 1)
        hub.advance(600)
        await until(hub.settled)
        assert [message.event_id for message in hub.messages(QUEUE)] == ["e1"]


async def test_what_was_refused_with_its_batch_is_no_duplicate_in_the_making(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        await fifo(hub)
        once = Target(
            id="t", arn=FIFO, input_path="$.detail", sqs_parameters=SqsParameters("g"), retry_policy=RetryPolicy(0, 60)
        )
        await hub.rule("orders", ORDERS, once)
        full = [StoreFull("full")]
        store.refuses = lambda batch: full.pop() if full else None
        (refused,) = await hub.accept("e1", detail='{"order":7}')
        assert isinstance(refused, Refused)
        assert await hub.accept("e2", detail='{"order":7}') == [Taken("e2")]
        await until(hub.settled)
        assert hub.letters() == []
        assert [message.body for message in hub.messages(FIFO)] == [b'{"order":7}']


async def test_a_hop_that_could_not_be_written_is_no_duplicate_in_the_making(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(store, ScriptedSink()) as hub:
        await hub.catalog.create_bus(HERE, "there")
        await fifo(hub)
        once = msgspec.structs.replace(GROUPED, retry_policy=RetryPolicy(0, 60))
        await hub.rule("orders", ORDERS, target("hop", THERE, role_arn=ROLE))
        await hub.rule("grouped", ORDERS, once, bus="there")
        failures = [StoreError("broken")]
        store.refuses = lambda batch: failures.pop() if failures and batch.essential else None
        with quick_pauses(monkeypatch):
            await hub.accept("e1", detail='{"group":"a"}')
            await until(lambda: hub.settled() and not failures)
        assert hub.letters() == []
        assert [message.event_id for message in hub.messages(FIFO)] == ["e1"]


async def test_an_inbox_is_not_filled_beyond_its_bound_by_several_rules(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        hub.inboxes._messages_max = 4
        await hub.queue(QUEUE)
        await hub.queue(f"{QUEUE}2")
        for name, arn in (("a", QUEUE), ("b", f"{QUEUE}2"), ("c", QUEUE)):
            await hub.rule(name, ORDERS, target(arn=arn))
        await hub.accept("e1", "e2", "e3", "e4")
        await until(hub.idle)
        assert len(hub.messages(QUEUE)) == 4


async def test_what_has_no_turn_beside_calls_that_are_out_waits_without_work(store: MemoryStore) -> None:
    hand = HandSink(concurrency=1)
    async with running(store, hand) as hub:
        await hub.queue(QUEUE)
        await hub.rule()
        await hub.accept("e0", "e1")
        await turns()
        assert hand.ids == ["e0"]
        picked = 0
        pick = hub.pipeline._sink

        def counting(lane: Lane) -> Sink | None:
            nonlocal picked
            picked += 1
            return pick(lane)

        hub.pipeline._sink = counting  # type: ignore[method-assign]
        await hub.targets("orders", target(arn=QUEUE))
        hub.lanes._due(hub.lane)
        await turns(1000)
        assert picked < 20
        hand.back("e0")
        await until(hub.settled)
        assert [message.event_id for message in hub.messages(QUEUE)] == ["e1"]


async def test_a_profile_put_while_calls_are_out_gives_a_target_no_more_calls_than_its_limit(
    store: MemoryStore,
) -> None:
    hand = HandSink(concurrency=8)
    paces = PaceSettings(Probing(0, 30.0), [("*", TargetLimits(concurrency=2))])
    async with running(store, hand, paces=paces) as hub:
        await hub.rule()
        await hub.accept("e0", "e1", "e2", "e3")
        await turns()
        assert hand.ids == ["e0", "e1"]
        gate = hand.hanging[FUNCTION] = asyncio.Event()
        hub.profiles.put(Profile(name="slow"))
        hub.lanes._due(hub.lane)
        await turns()
        assert hand.ids == ["e0", "e1"]
        gate.set()
        hand.back("e0", "e1")
        await until(hub.settled)


async def test_a_call_that_comes_back_after_the_stop_is_no_error(store: MemoryStore) -> None:
    hand = HandSink(concurrency=3)
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with running(store, hand) as hub:
        await hub.rule()
        await hub.accept("e0", "e1")
        await turns()
        await hub.pipeline.drain(0)
    hand.back("e0")  # as the client's `close` ends what is out
    await turns()
    assert told == []
