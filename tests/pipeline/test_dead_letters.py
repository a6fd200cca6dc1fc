"""A delivery that is given up goes to its dead-letter queue with its reason, or is kept and can be redriven."""

import asyncio

import pytest

from router.errors import ResourceNotFoundException, ValidationException
from router.sinks.base import Delivered, Rejected, Retryable
from router.store.base import StoreError, Table
from tests.pipeline.hub import (
    FUNCTION,
    HERE,
    LETTERS,
    ORDERS,
    REAL_LETTERS,
    RULE_ARN,
    HandWorld,
    Hub,
    ScriptedSink,
    quick_pauses,
    running,
    started,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore

BUSY = Retryable("ERROR_FROM_TARGET", "busy")
GONE = Rejected("NO_PERMISSIONS", "no")


async def given_up(hub: Hub, sink: ScriptedSink, *ids: str) -> None:
    """Kept dead letters of these events."""
    await hub.rule()
    sink.script = [GONE] * len(ids)
    await hub.accept(*ids)
    await until(hub.settled)


# to a queue


async def test_exhausted_attempts_go_to_the_queue_with_every_attribute(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(attempts_max=2, letters=LETTERS, template='"made"'))
    sink.always = BUSY
    await hub.accept("e1")
    for _ in range(2):
        await until(lambda: hub.lanes.parked == 1 and hub.idle())
        hub.advance(5)
    await until(hub.settled)
    [message] = hub.messages(LETTERS)
    assert message.body == b'"made"'
    assert message.attributes == {
        "RULE_ARN": ("String", RULE_ARN.encode()),
        "TARGET_ARN": ("String", FUNCTION.encode()),
        "ERROR_CODE": ("String", b"ERROR_FROM_TARGET"),
        "ERROR_MESSAGE": ("String", b"busy"),
        "EXHAUSTED_RETRY_CONDITION": ("String", b"MaximumRetryAttempts"),
        "RETRY_ATTEMPTS": ("String", b"2"),
    }
    assert hub.letters() == []
    assert (hub.counters.dead_letters, hub.counters.dead_letters_to_queue) == (1, 1)
    assert hub.metrics.rule(RULE_ARN).dead_letters == 1


async def test_an_event_that_is_too_old_says_so(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(age_s_max=60, letters=LETTERS))
    sink.always = BUSY
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 1 and hub.idle())
    hub.advance(61)
    await until(hub.settled)
    [message] = hub.messages(LETTERS)
    assert message.attributes is not None
    assert message.attributes["EXHAUSTED_RETRY_CONDITION"] == ("String", b"MaximumEventAgeInSeconds")
    assert message.attributes["RETRY_ATTEMPTS"] == ("String", b"1")


async def test_what_is_not_retried_goes_to_the_queue_at_once_without_the_retry_attributes(
    hub: Hub, sink: ScriptedSink
) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    sink.script = [GONE]
    await hub.accept("e1")
    await until(hub.settled)
    [message] = hub.messages(LETTERS)
    assert message.attributes == {
        "RULE_ARN": ("String", RULE_ARN.encode()),
        "TARGET_ARN": ("String", FUNCTION.encode()),
        "ERROR_CODE": ("String", b"NO_PERMISSIONS"),
        "ERROR_MESSAGE": ("String", b"no"),
    }
    assert len(sink.sent) == 1


async def test_a_queue_that_is_missing_leaves_the_dead_letter_here_with_both_reasons(
    hub: Hub, sink: ScriptedSink
) -> None:
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    sink.script = [GONE]
    await hub.accept("e1")
    await until(hub.settled)
    [letter] = hub.letters()
    assert (letter.code, letter.message) == ("NO_PERMISSIONS", "no")
    assert letter.queue_failure is not None
    assert letter.queue_failure.startswith("NO_RESOURCE: The specified queue does not exist")
    assert (hub.counters.dead_letters, hub.counters.dead_letters_queue_failed) == (1, 1)


async def test_a_store_that_fails_counts_and_keeps_a_dead_letter_once(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    failures = [StoreError("broken")] * 3
    store.refuses = lambda batch: failures.pop() if batch.essential and failures else None
    sink.script = [GONE]
    with quick_pauses(monkeypatch):
        await hub.accept("e1")
        await until(hub.settled)
    assert (hub.counters.dead_letters, hub.counters.dead_letters_queue_failed) == (1, 1)
    assert hub.dead_letters.count == len(hub.letters()) == 1


async def test_a_real_queue_gets_the_message_with_its_attributes_and_retries_of_its_own(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    queue = ScriptedSink(batch_max=10)
    queue.script = [BUSY, BUSY]
    world = HandWorld()
    async with running(store, sink, world=world, letters_sink=queue) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        sink.script = [GONE]
        await hub.accept("e1")
        await until(lambda: len(queue.sent) == 1 and hub.lanes.parked == 1 and hub.idle())
        assert (hub.lanes.pending, hub.counters.dead_letters) == (1, 1)
    async with running(store.crashed(), sink, world=world, letters_sink=queue) as hub:
        hub.advance(5)
        await until(lambda: len(queue.sent) == 2 and hub.lanes.parked == 1 and hub.idle())
        hub.advance(5)
        await until(hub.settled)
        assert hub.letters() == []
        assert (hub.counters.dead_letters_to_queue, hub.counters.dead_letters_queue_failed) == (1, 0)
    assert len(queue.sent) == 3
    assert queue.sent[2].attributes == {
        "RULE_ARN": RULE_ARN,
        "TARGET_ARN": FUNCTION,
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "no",
    }
    assert b'"id":"e1"' in queue.sent[2].payload


async def test_a_real_queue_that_refuses_leaves_the_dead_letter_here(store: MemoryStore, sink: ScriptedSink) -> None:
    queue = ScriptedSink()
    queue.script = [Rejected("NO_RESOURCE", "no such queue")]
    async with running(store, sink, letters_sink=queue) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        sink.script = [GONE]
        await hub.accept("e1")
        await until(hub.settled)
        [letter] = hub.letters()
        assert (letter.code, letter.rule_arn, letter.target_id) == ("NO_PERMISSIONS", RULE_ARN, "t")
        assert letter.queue_failure == "NO_RESOURCE: no such queue"
        counters = hub.counters
        assert (counters.dead_letters, counters.dead_letters_to_queue, counters.dead_letters_queue_failed) == (1, 0, 1)


# kept here


async def test_without_a_queue_the_dead_letter_is_kept_with_its_reason(hub: Hub, sink: ScriptedSink) -> None:
    await given_up(hub, sink, "e1")
    [letter] = hub.letters()
    assert (letter.rule_arn, letter.target_id, letter.target_arn) == (RULE_ARN, "t", FUNCTION)
    assert (letter.code, letter.message, letter.attempts, letter.condition) == ("NO_PERMISSIONS", "no", 1, None)
    assert (letter.accepted.event.id, letter.queue_failure) == ("e1", None)
    assert hub.dead_letters.count == 1


async def test_kept_dead_letters_are_there_and_counted_after_a_restart(store: MemoryStore, sink: ScriptedSink) -> None:
    async with running(store, sink) as hub:
        await given_up(hub, sink, "e1", "e2")
    async with running(store.crashed(), sink) as hub:
        assert hub.dead_letters.count == 2
        assert [letter.accepted.event.id for letter in hub.letters()] == ["e1", "e2"]


async def test_a_redrive_delivers_with_all_retries_before_it_again_and_removes_the_dead_letter(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.rule("orders", ORDERS, target(attempts_max=1, age_s_max=60))
    sink.script = [GONE]
    await hub.accept("e1")
    await until(hub.settled)
    hub.advance(3600)
    sink.script = [BUSY]
    await hub.redrive(hub.numbers()[0])
    assert (hub.letters(), hub.dead_letters.count) == ([], 0)
    await until(lambda: hub.lanes.parked == 1 and hub.idle())
    assert hub.counters.retries == 0
    hub.advance(1)
    await until(hub.settled)
    assert sink.ids == ["e1", "e1", "e1"]
    assert hub.counters.retries == 1
    assert store.rows(Table.DEAD_LETTERS) == 0


async def test_two_redrives_at_once_make_one_delivery(hub: Hub, store: MemoryStore, sink: ScriptedSink) -> None:
    await given_up(hub, sink, "e1")
    number = hub.numbers()[0]
    results = await asyncio.gather(hub.redrive(number), hub.redrive(number), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ResourceNotFoundException]
    await until(hub.settled)
    with pytest.raises(ResourceNotFoundException):
        await hub.redrive(number)
    assert sink.ids == ["e1", "e1"]
    assert hub.dead_letters.count == 0


async def test_a_redrive_whose_caller_goes_away_and_comes_back_makes_one_delivery(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await given_up(hub, sink, "e1")
    number = hub.numbers()[0]
    store.held = True
    first = started(hub.redrive(number))
    await turns(3)
    first.cancel()
    await turns(3)
    with pytest.raises(ResourceNotFoundException, match="is being redriven"):
        await hub.redrive(number)
    store.release()
    await until(hub.settled)
    assert sink.ids == ["e1", "e1"]
    assert hub.dead_letters.count == 0


async def test_a_redrive_that_could_not_be_written_keeps_the_dead_letter_for_the_next_one(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await given_up(hub, sink, "e1")
    number = hub.numbers()[0]
    store.refuses = lambda batch: StoreError("broken")
    with pytest.raises(StoreError):
        await hub.redrive(number)
    store.refuses = lambda batch: None
    assert (hub.numbers(), hub.dead_letters.count, hub.lanes.pending) == ([number], 1, 0)
    await hub.redrive(number)
    await until(hub.settled)
    assert sink.ids == ["e1", "e1"]


async def test_a_redrive_whose_target_is_gone_is_refused_and_the_dead_letter_stays(
    hub: Hub, sink: ScriptedSink
) -> None:
    await given_up(hub, sink, "e1")
    await hub.catalog.remove_targets(HERE, "default", "orders", ["t"])
    with pytest.raises(ValidationException, match=r"target t of .* does not exist any more"):
        await hub.redrive(hub.numbers()[0])
    assert hub.dead_letters.count == 1


async def test_a_redrive_is_done_after_a_crash(store: MemoryStore, sink: ScriptedSink) -> None:
    async with running(store, sink) as hub:
        await given_up(hub, sink, "e1")
        sink.hanging[FUNCTION] = asyncio.Event()
        await hub.redrive(hub.numbers()[0])
        await turns()
    async with running(store.crashed(), again := ScriptedSink()) as hub:
        await until(hub.settled)
        assert hub.letters() == []
    assert again.ids == ["e1"]


async def test_old_dead_letters_go_and_the_oldest_of_too_many(
    hub: Hub, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given_up(hub, sink, "e1", "e2")
    hub.advance(15 * 86_400)
    sink.script = [GONE] * 3
    await hub.accept("e3", "e4", "e5")
    await until(hub.settled)
    monkeypatch.setattr(hub.dead_letters, "_count_max", 2)
    assert await hub.dead_letters.sweep() == 3
    assert [letter.accepted.event.id for letter in hub.letters()] == ["e4", "e5"]
    assert (hub.dead_letters.count, hub.dead_letters.expired) == (2, 3)
    assert await hub.dead_letters.sweep() == 0


async def test_a_sweep_and_a_redrive_at_once_count_a_dead_letter_once(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await given_up(hub, sink, "e1", "e2")
    first, second = hub.numbers()
    hub.advance(15 * 86_400)
    store.held = True
    redriving = started(hub.redrive(first))
    await turns(3)
    sweeping = started(hub.dead_letters.sweep())
    await turns(3)
    with pytest.raises(ResourceNotFoundException):
        await hub.redrive(second)
    store.release()
    await redriving
    assert await sweeping == 1
    assert (hub.dead_letters.count, hub.letters()) == (0, [])
    sink.always = Delivered()
    await until(hub.settled)
    assert sink.ids == ["e1", "e2", "e1"]
