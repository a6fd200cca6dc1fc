"""One bad target: it is probed and not hammered, what waits for it is given up in time, and nobody else notices."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from router import limits
from router.core.pace import PaceSettings, Probing, TargetLimits
from router.sinks.base import Delivered, Rejected, Retryable
from router.store.base import Table
from tests.pipeline.hub import FUNCTION, LETTERS, QUEUE, HandWorld, Hub, ScriptedSink, memory, running, target, until
from tests.pipeline.memory_store import MemoryStore

BUSY = Retryable("ERROR_FROM_TARGET", "busy")
SECOND = FUNCTION + "2"
Start = Callable[..., AbstractAsyncContextManager[Hub]]


@pytest.fixture
def start(store: MemoryStore, sink: ScriptedSink) -> Start:
    """A hub that probes after three failures and then for good, unless the test says otherwise."""

    def begin(
        *, after: int = 3, pause_s: float = 60.0, world: HandWorld | None = None, arns: PaceSettings | None = None
    ) -> AbstractAsyncContextManager[Hub]:
        paces = arns or PaceSettings(Probing(after, pause_s))
        return running(store, sink, world=world, paces=paces)

    return begin


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that no test outlives."""
    monkeypatch.setattr("router.core.pace.PAUSE_S_MIN", 30.0)


def events(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


async def fail(hub: Hub, sink: ScriptedSink, calls: int, *, of: int) -> None:
    """Put `of` events; the first `calls` calls are made and fail."""
    sink.always = BUSY
    await hub.accept(*events(of))
    await until(lambda: len(sink.sent) == calls and hub.idle_workers())


@pytest.mark.usefixtures("patience")
async def test_a_target_that_keeps_failing_is_left_alone(start: Start, sink: ScriptedSink) -> None:
    async with start() as hub:
        await hub.rule()
        await fail(hub, sink, 3, of=20)
        await hub.accept("later")
        await asyncio.sleep(0.05)
        assert len(sink.sent) == 3
        assert (hub.lanes.pending, hub.pipeline.probed()) == (21, 1)


async def test_a_probe_that_succeeds_lets_everything_go_at_once(start: Start, sink: ScriptedSink) -> None:
    sink.bound(concurrency=4)
    async with start(after=5) as hub:
        await hub.rule()
        sink.always = BUSY
        await hub.accept(*events(60))
        await until(lambda: len(sink.sent) >= 6)
        sink.at_once_max = 0
        tried = len(sink.sent)
        sink.always = Delivered()
        await until(lambda: hub.counters.delivered >= 60 - tried)
        assert sink.at_once_max == 4
        hub.advance(10)
        await until(hub.settled)
        assert set(sink.ids) == set(events(60))


async def test_a_target_is_probed_by_one_call_at_a_time(start: Start, sink: ScriptedSink) -> None:
    sink.bound(concurrency=4)
    async with start(after=5) as hub:
        await hub.rule()
        sink.always = BUSY
        await hub.accept(*events(60))
        await until(lambda: len(sink.sent) >= 8 and not sink.calls)
        sink.at_once_max = 0
        before = len(sink.sent)
        await until(lambda: len(sink.sent) >= before + 4)
        assert sink.at_once_max == 1


async def test_calls_beyond_the_first_end_when_the_target_begins_to_be_probed(start: Start, sink: ScriptedSink) -> None:
    sink.bound(concurrency=4)
    async with start(pause_s=0.0) as hub:
        await hub.rule()
        sink.always = BUSY
        await hub.accept(*events(40))
        await until(lambda: len(sink.sent) >= 12)
        sink.at_once_max = sink.calls
        await until(lambda: len(sink.sent) >= 30)
        assert sink.at_once_max == 1


async def test_an_answer_that_rejects_shows_that_the_target_is_there(start: Start, sink: ScriptedSink) -> None:
    sink.script = [BUSY, BUSY, Rejected("NO_PERMISSIONS", "no"), BUSY, BUSY, Delivered()]
    async with start(pause_s=60) as hub:
        await hub.rule()
        await hub.accept(*events(8))
        await until(lambda: len(sink.sent) >= 8)
        assert hub.lane.failing is None


@pytest.mark.usefixtures("patience")
async def test_partly_good_answers_are_good(start: Start, sink: ScriptedSink) -> None:
    sink.bound(batch_max=2)
    sink.script = [BUSY, Delivered()] * 8
    async with start() as hub:
        await hub.rule()
        await hub.accept(*events(16))
        await until(lambda: len(sink.sent) == 16)
        assert hub.lane.failing is None


@pytest.mark.usefixtures("patience")
async def test_events_that_are_not_retried_each_have_their_attempt(start: Start, sink: ScriptedSink) -> None:
    async with start() as hub:
        await hub.rule("orders", '{"source":["orders"]}', target(attempts_max=0))
        sink.always = BUSY
        await hub.accept(*events(20))
        await until(hub.settled)
        assert sorted(sink.ids) == sorted(events(20))
        assert {letter.condition for letter in hub.letters()} == {"MaximumRetryAttempts"}


@pytest.mark.usefixtures("patience")
async def test_another_target_is_served_while_one_is_left_alone(start: Start, sink: ScriptedSink) -> None:
    async with start() as hub:
        await hub.rule("orders", '{"source":["orders"]}', target("bad"), target("good", SECOND))
        sink.always = lambda attempt: BUSY if attempt.target.arn == FUNCTION else Delivered()
        await hub.accept(*events(30))
        await until(lambda: hub.counters.delivered == 30)
        assert sum(attempt.target.arn == FUNCTION for attempt in sink.sent) == 3


@pytest.mark.usefixtures("patience")
async def test_what_waits_for_a_failing_target_is_held_on_disk(
    start: Start, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(monkeypatch, deliveries=4)
    async with start() as hub:
        await hub.rule()
        await fail(hub, sink, 3, of=100)
        assert hub.lanes.pending == 100
        assert (len(hub.lane.ready), hub.lanes.bytes_in_memory, hub.lanes.parked) == (0, 0, 3)


async def test_what_is_too_old_is_given_up_untried_and_says_why(
    start: Start, sink: ScriptedSink, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXPIRED_DELIVERIES_MAX", 7)
    async with start() as hub:
        await hub.rule("orders", '{"source":["orders"]}', target(age_s_max=60))
        sink.always = BUSY
        await hub.accept(*events(40))
        await until(lambda: len(sink.sent) >= 4)
        hub.advance(100)
        await until(lambda: not hub.lanes.pending)
        tried = set(sink.ids)
        letters = {letter.accepted.event.id: letter for letter in hub.letters()}
        assert set(letters) == set(events(40))
        assert {letter.condition for letter in letters.values()} == {"MaximumEventAgeInSeconds"}
        assert {letter.code for letter in letters.values()} == {"ERROR_FROM_TARGET"}
        untried = [letter for event_id, letter in letters.items() if event_id not in tried]
        assert len(untried) >= 20
        assert {(letter.attempts, letter.message) for letter in untried} == {
            (0, "Not attempted, the target kept failing: busy")
        }
        assert store.rows(Table.EVENTS) == 0


async def test_an_untried_dead_letter_reaches_its_queue_with_no_retries(start: Start, sink: ScriptedSink) -> None:
    async with start() as hub:
        await hub.queue(LETTERS)
        await hub.rule("orders", '{"source":["orders"]}', target(age_s_max=60, letters=LETTERS))
        sink.always = BUSY
        await hub.accept(*events(10))
        await until(lambda: len(sink.sent) >= 3)
        hub.advance(100)
        await until(hub.settled)
        tried = set(sink.ids)
        retries = {
            message.event_id or "": (message.attributes or {})["RETRY_ATTEMPTS"][1] for message in hub.messages(LETTERS)
        }
        assert len(hub.messages(LETTERS)) == 10
        assert b"0" in retries.values()
        assert len(tried) < 10


async def test_what_is_too_old_is_in_its_queue_as_its_target_would_have_got_it(
    start: Start, sink: ScriptedSink
) -> None:
    async with start() as hub:
        await hub.queue(LETTERS)
        given = target(age_s_max=60, letters=LETTERS, template='{"seen": <aws.events.event.json>}')
        await hub.rule("orders", '{"source":["orders"]}', given)
        sink.always = BUSY
        await hub.accept(*events(10))
        await until(lambda: len(sink.sent) >= 3)
        hub.advance(100)
        await until(hub.settled)
        assert len(set(sink.ids)) < 10
        assert [list(json.loads(message.body)) for message in hub.messages(LETTERS)] == [["seen"]] * 10


async def test_a_delivery_has_its_last_attempt_as_its_age_runs_out(start: Start, sink: ScriptedSink) -> None:
    async with start(pause_s=0.0) as hub:
        await hub.rule("orders", '{"source":["orders"]}', target(age_s_max=60))
        hub.world.dice = 0.999
        sink.always = BUSY
        await hub.accept("e1")
        await until(lambda: len(sink.sent) == 1)
        for wait_s in (1, 2, 4, 8, 16, 29):  # the last one would be 32 s, and goes beyond the 60
            assert not hub.letters()
            hub.advance(wait_s)
            await until(hub.idle_workers)
        (letter,) = hub.letters()
        assert (len(sink.sent), letter.attempts) == (7, 7)


async def test_a_restart_begins_with_all_calls_again(start: Start, store: MemoryStore, sink: ScriptedSink) -> None:
    async with start(pause_s=900) as hub:
        await hub.rule()
        sink.always = BUSY
        await hub.accept(*events(20))
        await until(lambda: len(sink.sent) >= 4)
    sink.always = Delivered()
    async with running(store.crashed(), sink) as hub:
        hub.advance(10)
        await until(hub.settled)
    assert set(sink.ids) == set(events(20))


async def test_the_calls_of_a_target_are_as_many_as_the_hub_file_says(start: Start, sink: ScriptedSink) -> None:
    sink.bound(concurrency=2)
    arns = PaceSettings(Probing(3, 30.0), [(SECOND, TargetLimits(concurrency=5)), ("arn:*", TargetLimits(1))])
    async with start(arns=arns) as hub:
        gate = sink.hanging[FUNCTION] = sink.hanging[SECOND] = asyncio.Event()
        await hub.rule("orders", '{"source":["orders"]}', target("one"), target("five", SECOND))
        await hub.accept(*events(20))
        await until(lambda: sink.calls == 6)
        await asyncio.sleep(0.01)
        assert sink.calls == 6
        assert sum(attempt.target.arn == SECOND for attempt in sink.sent) == 5
        gate.set()
        await until(hub.settled)


async def test_a_target_gets_no_more_a_second_than_the_hub_file_says(start: Start, sink: ScriptedSink) -> None:
    sink.bound(batch_max=10)
    arns = PaceSettings(Probing(3, 30.0), [("*:function:*", TargetLimits(rate_per_s=20.0))])
    async with start(arns=arns) as hub:
        await hub.queue(QUEUE)
        await hub.rule("orders", '{"source":["orders"]}', target(), target("q", QUEUE))
        begun = asyncio.get_running_loop().time()
        await hub.accept(*events(35))
        await until(hub.settled)
        took_s = asyncio.get_running_loop().time() - begun
        assert len(sink.sent) == 35
        assert took_s >= 0.7
