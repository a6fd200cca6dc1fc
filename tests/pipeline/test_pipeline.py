"""An acknowledged event is delivered, dead-lettered with its reason, or pending and visible; whatever happens."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from router import limits
from router.core.pace import PaceSettings, Probing, TargetLimits
from router.core.ruletable import RuleTable
from router.core.ruletable_lookup import TooManySteps
from router.planning import Settings
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sources.outcome import MALFORMED_DETAIL, STORE_FAILED, THROTTLED, Refused, Taken
from router.store.base import Batch, StoreError, StoreFull, Table
from router.store.lmdb import LmdbStore
from tests.pipeline.hub import (
    FUNCTION,
    HERE,
    LETTERS,
    OTHER,
    QUEUE,
    RULE_ARN,
    HandWorld,
    Hub,
    ScriptedSink,
    incoming,
    memory,
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
SECOND = FUNCTION + "2"


def fresh_rows(store: MemoryStore) -> int:
    """How many deliveries were ever written down before they were made."""
    return sum(table == Table.DELIVERIES and value == b"" for batch in store.commits for table, _, value in batch.ops)


# accept


async def test_an_event_is_answered_and_sent_only_when_it_is_on_disk(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.rule()
    store.held = True
    answer = started(hub.accept("e1"))
    await turns()
    assert not answer.done()
    assert sink.sent == []
    store.release()
    assert await answer == [Taken("e1")]
    await until(hub.settled)
    assert sink.ids == ["e1"]


async def test_an_event_that_takes_too_many_steps_is_refused_with_what_was_expected(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def match(*_: object) -> None:
        raise TooManySteps("expected fewer steps")

    await hub.rule()
    monkeypatch.setattr(RuleTable, "match", match)
    said = "Parameter Detail is not valid. Reason: expected fewer steps."
    assert await hub.accept("e1") == [Refused("InvalidArgument", said)]


async def test_parked_deliveries_are_counted_by_where_they_come_from_and_go_to(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target("a"), target("b"))
    sink.script = [BUSY, BUSY]
    assert hub.pipeline.parked() == {}
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 2)
    assert hub.pipeline.parked() == {(HERE, "default", "lambda"): 2}
    hub.advance(10)
    await until(hub.settled)
    assert hub.pipeline.parked() == {}


@pytest.mark.parametrize(("error", "outcome"), [(StoreFull("full"), THROTTLED), (StoreError("broken"), STORE_FAILED)])
async def test_a_store_that_fails_fails_each_entry_and_delivers_nothing(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, error: StoreError, outcome: Refused
) -> None:
    await hub.rule()
    store.refuses = lambda batch: error
    assert await hub.pipeline.accept([incoming("e1"), incoming("e2", detail="["), incoming("e3")]) == [
        outcome,
        MALFORMED_DETAIL,
        outcome,
    ]
    await turns()
    assert sink.sent == []
    assert hub.settled()
    assert hub.metrics.bus(HERE, "default").accepted == 0
    store.refuses = lambda batch: None
    assert await hub.accept("e4") == [Taken("e4")]
    await until(hub.settled)
    assert sink.ids == ["e4"]


async def test_the_first_event_of_a_lane_makes_the_lane_durable_also_after_a_failed_commit(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    async with running(store, sink) as hub:
        await hub.rule()
        store.refuses = lambda batch: StoreError("broken")
        await hub.accept("e1")
        store.refuses = lambda batch: None
        sink.hanging[FUNCTION] = asyncio.Event()
        await hub.accept("e2")
        await turns()
    async with running(store.crashed(), again := ScriptedSink()) as hub:
        await until(hub.settled)
    assert again.ids == ["e2"]


async def test_what_matches_nothing_is_counted_and_not_stored(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    commits = len(store.commits)
    assert await hub.accept("e1", source="else") == [Taken("e1")]
    assert len(store.commits) == commits
    counters = hub.metrics.bus(HERE, "default")
    assert (counters.accepted, counters.matched, counters.unmatched) == (1, 0, 1)


async def test_an_unknown_bus_is_answered_and_dropped_or_refused_as_the_hub_file_says(store: MemoryStore) -> None:
    async with running(store, ScriptedSink()) as hub:
        assert await hub.pipeline.accept([incoming("e1", bus="nowhere")]) == [Taken("e1")]
        assert hub.metrics.unknown_bus == 1
    async with running(store, ScriptedSink(), settings=Settings(True, False)) as hub:
        [refused] = await hub.pipeline.accept([incoming("e1", bus="nowhere")])
        assert refused == Refused("ResourceNotFoundException", "Event bus nowhere does not exist.")
        assert hub.metrics.unknown_bus == 0


async def test_more_requests_than_may_wait_for_the_store_are_throttled(
    hub: Hub, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.rule()
    monkeypatch.setattr("router.limits.ACCEPTS_IN_FLIGHT_MAX", 2)
    store.held = True
    waiting = [started(hub.accept(f"e{number}")) for number in range(2)]
    await turns(3)
    assert await hub.accept("e3", "e4") == [THROTTLED, THROTTLED]
    store.release()
    assert await asyncio.gather(*waiting) == [[Taken("e0")], [Taken("e1")]]
    assert await hub.accept("e5") == [Taken("e5")]


async def test_a_caller_that_goes_away_leaves_its_event_to_be_delivered_once(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.rule()
    store.held = True
    caller = started(hub.accept("e1"))
    await turns(3)
    caller.cancel()
    await turns(3)
    store.release()
    await until(lambda: sink.ids == ["e1"])
    await until(hub.settled)


READ_ONLY = '{"eventName":"DescribeInstances","eventCategory":"Management","readOnly":true}'


@pytest.mark.parametrize(
    ("detail", "states"), [(READ_ONLY, ["all"]), (READ_ONLY.replace("Describe", "Run"), ["all", "enabled"])]
)
async def test_an_enabled_rule_does_not_see_read_only_management_events(
    hub: Hub, sink: ScriptedSink, detail: str, states: list[str]
) -> None:
    for name, state in (("all", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"), ("enabled", "ENABLED")):
        await hub.rule(name, '{"source":["aws.ec2"]}', target(name))
        await hub.catalog.set_rule_state(HERE, "default", name, state)  # type: ignore[arg-type]
    event = incoming("e1", detail=detail, source="aws.ec2", detail_type="AWS API Call via CloudTrail")
    assert await hub.pipeline.accept([event]) == [Taken("e1")]
    await until(hub.settled)
    assert sorted(attempt.target.id for attempt in sink.sent) == states


# deliver and settle


@pytest.mark.parametrize("outcome", [Delivered(), GONE])
async def test_an_event_of_several_targets_keeps_its_body_until_the_last_is_settled(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, outcome: Delivered | Rejected
) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target("a"), target("b", SECOND), target("c", SECOND))
    gate = sink.hanging[SECOND] = asyncio.Event()
    sink.always = outcome
    await hub.accept("e1")
    await until(lambda: store.rows(Table.DELIVERIES) == 2)
    assert store.rows(Table.EVENTS) == 1
    gate.set()
    await until(hub.settled)
    assert hub.journal() == 0
    assert hub.lanes.bytes_in_memory == 0
    assert len(hub.letters()) == (0 if outcome == Delivered() else 3)


async def test_a_retryable_failure_is_parked_with_its_attempts_and_a_due_time_within_the_policy(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.rule()
    sink.script = [BUSY] * 3
    hub.world.dice = 0.999
    await hub.accept("e1")
    for attempts in (1, 2, 3):
        await until(lambda: hub.lanes.parked == 1 and hub.idle())
        [(key, value)] = store.scan(Table.DELIVERIES)
        due_ms = int.from_bytes(key[4:12], "big")
        assert hub.world.ms < due_ms <= hub.world.ms + 1000 * 2 ** (attempts - 1)
        assert value
        before = len(sink.sent)
        hub.advance((due_ms - hub.world.ms - 1) / 1000)
        await turns()
        assert len(sink.sent) == before == attempts
        hub.advance(0.001)
        await until(lambda before=before: len(sink.sent) == before + 1)  # type: ignore[misc]
    await until(hub.settled)
    assert (hub.lanes.parked, hub.counters.retries, hub.counters.retryable, hub.counters.delivered) == (0, 3, 3, 1)


async def test_what_the_target_asks_to_wait_is_waited(hub: Hub, store: MemoryStore, sink: ScriptedSink) -> None:
    await hub.rule()
    sink.script = [Retryable("THROTTLING", "slow down", retry_after_s=77.0)]
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 1)
    [(key, _)] = store.scan(Table.DELIVERIES)
    assert int.from_bytes(key[4:12], "big") == hub.world.ms + 77_000


@pytest.mark.parametrize("seconds", [1e9, 1e300, float("inf")])
async def test_a_wait_beyond_the_maximum_age_gives_the_delivery_up(
    hub: Hub, sink: ScriptedSink, seconds: float
) -> None:
    await hub.rule()
    sink.script = [Retryable("THROTTLING", "slow down", retry_after_s=seconds)]
    await hub.accept("e1")
    await until(hub.settled)
    assert [letter.condition for letter in hub.letters()] == ["MaximumEventAgeInSeconds"]


async def test_parked_deliveries_go_on_after_a_restart_with_their_attempts_counted(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    world = HandWorld()
    sink.always = BUSY
    async with running(store, sink, world=world) as hub:
        await hub.rule("orders", '{"source":["orders"]}', target(attempts_max=2))
        await hub.accept("e1")
        await until(lambda: hub.lanes.parked == 1 and hub.idle())
    async with running(store := store.crashed(), sink, world=world) as hub:
        assert (hub.lanes.pending, hub.lanes.parked) == (1, 1)
        await turns()
        assert len(sink.sent) == 1
        hub.advance(1)
        await until(lambda: len(sink.sent) == 2 and hub.idle())
    async with running(store.crashed(), sink, world=world) as hub:
        hub.advance(2)
        await until(hub.settled)
        assert [(letter.attempts, letter.condition) for letter in hub.letters()] == [(3, "MaximumRetryAttempts")]
    assert len(sink.sent) == 3


async def test_a_crash_between_the_attempt_and_its_outcome_repeats_the_attempt(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    async with running(store, sink) as hub:
        await hub.rule()
        await hub.accept("e1")
        store.held = True
        await until(lambda: sink.ids == ["e1"])
        await turns()
        after = store.crashed()
    async with running(after, sink) as hub:
        await until(hub.settled)
    assert sink.ids == ["e1", "e1"]


async def test_the_target_as_it_is_now_gets_what_was_accepted_before(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target())
    sink.script = [BUSY]
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 1)
    await hub.targets("orders", target(arn=SECOND))
    hub.advance(1)
    await until(hub.settled)
    assert [attempt.target.arn for attempt in sink.sent] == [FUNCTION, SECOND]


async def test_a_removed_target_ends_its_deliveries_as_dead_letters_that_say_so(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    async with running(store, sink) as hub:
        await hub.rule("orders", '{"source":["orders"]}', target(letters=LETTERS))
        await hub.queue(LETTERS)
        sink.script = [BUSY]
        await hub.accept("e1")
        await until(lambda: hub.lanes.parked == 1)
        await hub.catalog.remove_targets(HERE, "default", "orders", ["t"])
        await hub.catalog.delete_rule(HERE, "default", "orders")
        assert await hub.accept("e2") == [Taken("e2")]
    async with running(store.crashed(), sink) as hub:
        hub.advance(1)
        await until(hub.settled)
        [letter] = hub.letters()
        assert (letter.code, letter.accepted.event.id, letter.attempts) == ("NO_RESOURCE", "e1", 2)
        assert letter.message == f"Target t was removed from rule {RULE_ARN}"
        assert hub.metrics.sink(HERE, "default", "removed").dead_letters == 1
        assert hub.messages(LETTERS) == []
    assert sink.ids == ["e1"]


async def test_input_that_cannot_be_made_is_given_up_and_the_other_events_go(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target(input_path="$.detail.a"))
    sink.bound(batch_max=10)
    bad = [incoming("e1"), incoming("e2", detail='{"a":"\\ud800"}')]
    await hub.pipeline.accept([*bad, incoming("e3", detail='{"a":1}')])
    await until(hub.settled)
    assert sink.ids == ["e3"]
    assert [(letter.accepted.event.id, letter.code) for letter in hub.letters()] == [
        ("e1", "INVALID_JSON"),
        ("e2", "INVALID_JSON"),
    ]


async def test_a_bug_in_a_transform_is_loud_counted_and_retried(
    hub: Hub, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target(template='"made"'))

    def broken(*args: object, **kwargs: object) -> bytes:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("router.catalog.routes.render", broken)
        await hub.accept("e1")
        await until(lambda: hub.lanes.parked == 1)
    assert hub.metrics.sink_bugs == 1
    assert "transform.bug" in caplog.messages
    hub.advance(1)
    await until(hub.settled)
    assert sink.ids == ["e1"]


async def test_a_bug_in_a_sink_is_loud_counted_and_retried(
    hub: Hub, sink: ScriptedSink, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.rule()
    sink.script = [KeyError("x")]
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 1)
    assert hub.metrics.sink_bugs == 1
    assert "sink.bug" in caplog.messages
    hub.advance(1)
    await until(hub.settled)
    assert sink.ids == ["e1", "e1"]


async def test_a_sink_that_gives_too_few_outcomes_has_delivered_nothing(store: MemoryStore) -> None:
    class Short(ScriptedSink):
        async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
            outcomes = await super().send(attempts)
            return outcomes if len(self.sent) > 3 else outcomes[1:]

    sink = Short(batch_max=10)
    async with running(store, sink) as hub:
        await hub.rule()
        await hub.accept("e1", "e2", "e3")
        await until(lambda: hub.lanes.parked == 3)
        assert hub.metrics.sink_bugs == 1
        hub.advance(1)
        await until(hub.settled)
        assert sink.ids == ["e1", "e2", "e3"] * 2


async def test_a_bug_while_settling_holds_up_no_other_lane_and_is_tried_again(
    hub: Hub, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target("a"), target("b", SECOND))

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    with quick_pauses(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(hub.dead_letters, "give_up", broken)
        sink.always = lambda attempt: GONE if attempt.target.id == "a" else Delivered()
        await hub.accept("e1")
        await until(lambda: hub.counters.delivered == 1)
        assert hub.lanes.pending == 1
        await until(lambda: "deliver.bug" in caplog.messages)
    await until(hub.settled)
    assert (hub.counters.delivered, len(hub.letters())) == (1, 1)


# the store fails


async def test_a_delivery_that_was_made_is_not_made_again_because_the_store_fails_for_a_while(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.rule("orders", '{"source":["orders"]}', target(attempts_max=0))
    failures = [StoreError("broken")] * 3

    def refuses(batch: Batch) -> StoreError | None:
        return failures.pop() if batch.essential and failures else None

    store.refuses = refuses
    sink.script = [Delivered(), BUSY]
    with quick_pauses(monkeypatch):
        await hub.accept("e1", "e2")
        await until(hub.settled)
    assert failures == []
    assert sink.ids == ["e1", "e2"]
    assert (hub.counters.delivered, hub.counters.dead_letters, len(hub.letters())) == (1, 1, 1)


async def test_a_deposit_that_could_not_be_written_is_made_again_and_is_there_once(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StoreError("broken"), StoreFull("full")]

    def refuses(batch: Batch) -> StoreError | None:
        return failures.pop() if batch.essential and failures else None

    # With a rate, deliveries wait for their turn and are not made with the acceptance.
    paces = PaceSettings(Probing(0, 30.0), [("*", TargetLimits(rate_per_s=1000.0))])
    async with running(store, ScriptedSink(), paces=paces) as hub:
        await hub.queue(QUEUE)
        await hub.rule("orders", '{"source":["orders"]}', target(arn=QUEUE))
        store.refuses = refuses
        with quick_pauses(monkeypatch):
            await hub.accept("e1", "e2")
            await until(hub.settled)
        assert failures == []
        assert sorted(message.event_id or "" for message in hub.messages(QUEUE)) == ["e1", "e2"]
        assert hub.inboxes.describe(QUEUE).messages == 2
        assert hub.lanes.bytes_in_memory == 0


async def test_an_inbox_that_takes_some_of_a_batch_gets_those_once_and_the_rest_later(store: MemoryStore) -> None:
    world = HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await hub.queue(QUEUE)
        await hub.rule("orders", '{"source":["orders"]}', target(arn=QUEUE))
        hub.inboxes._messages_max = 2
        await hub.accept("e1", "e2", "e3", "e4")
        await until(lambda: hub.lanes.parked == 2 and hub.idle())
        assert [message.event_id for message in hub.messages(QUEUE)] == ["e1", "e2"]
    async with running(store.crashed(), ScriptedSink(), world=world) as hub:
        hub.advance(1)
        await until(hub.settled)
        assert sorted(message.event_id or "" for message in hub.messages(QUEUE)) == ["e1", "e2", "e3", "e4"]


# with the acceptance


async def test_an_event_is_in_its_inbox_when_it_is_answered_with_one_commit(hub: Hub, store: MemoryStore) -> None:
    await hub.queue(QUEUE)
    await hub.rule("orders", '{"source":["orders"]}', target(arn=QUEUE))
    before = len(store.commits)
    assert await hub.accept("e1", "e2") == [Taken("e1"), Taken("e2")]
    assert [message.event_id for message in hub.messages(QUEUE)] == ["e1", "e2"]
    assert len(store.commits) - before == 1
    assert (hub.journal(), hub.lanes.pending) == (0, 0)
    assert store.scan(Table.DELIVERIES) == []
    counters, rule = hub.metrics.sink(HERE, "default", "sqs"), hub.metrics.rule(RULE_ARN)
    assert (counters.attempts, counters.delivered, rule.attempts, rule.delivered) == (2, 2, 2, 2)
    assert hub.metrics.bus(HERE, "default").deliveries == 2


async def test_an_event_that_is_refused_is_in_no_inbox(hub: Hub, store: MemoryStore) -> None:
    await hub.queue(QUEUE)
    await hub.rule("orders", '{"source":["orders"]}', target(arn=QUEUE))
    store.refuses = lambda batch: StoreFull("full")
    assert await hub.accept("e1") == [THROTTLED]
    store.refuses = lambda batch: None
    assert hub.messages(QUEUE) == []
    assert hub.inboxes.describe(QUEUE).messages == 0
    assert hub.metrics.sink(HERE, "default", "sqs").attempts == 0


async def test_beside_an_inbox_another_target_has_a_row_and_the_body(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(QUEUE)
    await hub.rule("orders", '{"source":["orders"]}', target("inbox", QUEUE), target("first"), target("second", SECOND))
    await hub.accept("e1")
    assert [message.event_id for message in hub.messages(QUEUE)] == ["e1"]
    await until(hub.settled)
    assert sink.ids == ["e1", "e1"]
    assert hub.journal() == 0


async def test_what_an_inbox_does_not_take_at_once_waits_beside_what_others_wait_for(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.queue(QUEUE)
    await hub.rule("orders", '{"source":["orders"]}', target("inbox", QUEUE), target("busy"))
    hub.inboxes._messages_max = 1
    sink.always = BUSY
    await hub.accept("e1", "e2")
    await until(lambda: hub.lanes.parked == 3 and hub.idle())
    assert [message.event_id for message in hub.messages(QUEUE)] == ["e1"]
    references = [int.from_bytes(value, "big") for _, value in store.scan(Table.REFERENCES)]
    assert (len(store.scan(Table.EVENTS)), references) == (2, [2])
    hub.inboxes._messages_max = 10
    sink.always = Delivered()
    hub.advance(3)
    await until(hub.settled)
    assert sorted(message.event_id or "" for message in hub.messages(QUEUE)) == ["e1", "e2"]
    assert hub.journal() == 0


async def test_no_more_than_a_bound_is_delivered_with_one_acceptance(
    hub: Hub, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEPOSITS_AT_ONCE_MAX", 2)
    await hub.queue(QUEUE)
    await hub.rule("orders", '{"source":["orders"]}', target(arn=QUEUE))
    await hub.accept("e1", "e2", "e3")
    assert fresh_rows(store) == 1
    await until(hub.settled)
    assert [message.event_id for message in hub.messages(QUEUE)] == ["e1", "e2", "e3"]


async def test_behind_what_waits_for_an_inbox_nothing_is_delivered_at_once(hub: Hub, store: MemoryStore) -> None:
    await hub.queue(QUEUE)
    await hub.rule("orders", '{"source":["orders"]}', target(arn=QUEUE))
    hub.inboxes._messages_max = 0
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 1 and hub.idle())
    hub.inboxes._messages_max = 10
    await hub.accept("e2")
    assert fresh_rows(store) == 2
    hub.advance(3)
    await until(hub.settled)
    assert sorted(message.event_id or "" for message in hub.messages(QUEUE)) == ["e1", "e2"]


# lanes together


async def test_a_target_that_hangs_holds_up_no_other_and_a_bounded_amount_of_memory(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(monkeypatch, deliveries=4)
    await hub.rule("orders", '{"source":["orders"]}', target("bad"), target("good", SECOND))
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    for number in range(50):
        await hub.accept(f"e{number}")
    await until(lambda: hub.counters.delivered == 50)
    bad = next(lane for lane in hub.lanes if lane.name.target_id == "bad")
    assert hub.lanes.pending == store.rows(Table.DELIVERIES) == 50
    assert len(bad.loaded) <= 5
    assert len(bad.ready) <= 4
    gate.set()
    await until(hub.settled)
    assert sorted(sink.ids) == sorted([f"e{number}" for number in range(50)] * 2)
    assert hub.lanes.bytes_in_memory == 0


async def test_large_events_of_a_target_that_hangs_are_not_held_in_memory(
    hub: Hub, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(monkeypatch, size=8 * 5000)
    await hub.rule("orders", '{"source":["orders"]}', target("bad"), target("good", SECOND))
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    large = '{"a":"' + "x" * 1000 + '"}'
    for number in range(50):
        await hub.accept(f"e{number}", detail=large)
    await until(lambda: hub.counters.delivered == 50)
    bad = next(lane for lane in hub.lanes if lane.name.target_id == "bad")
    assert 0 < hub.lanes.bytes_in_memory == bad.bytes < 5000 + 1500
    gate.set()
    await until(hub.settled)
    assert sorted(sink.ids) == sorted([f"e{number}" for number in range(50)] * 2)


async def test_one_call_that_hangs_leaves_the_targets_other_calls_free(hub: Hub, sink: ScriptedSink) -> None:
    sink.bound(concurrency=2)
    await hub.rule()
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    await hub.accept("e1")
    await until(lambda: sink.ids == ["e1"])
    del sink.hanging[FUNCTION]
    await hub.accept("e2")
    await until(lambda: hub.counters.delivered == 1)
    assert sink.ids == ["e1", "e2"]
    gate.set()
    await until(hub.settled)


async def test_a_backlog_on_disk_is_delivered_with_all_the_calls_that_the_sink_allows(store: MemoryStore) -> None:
    sink = ScriptedSink(concurrency=4)
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    async with running(store, sink) as hub:
        await hub.rule()
        await hub.accept(*(f"e{number}" for number in range(20)))
    async with running(store.crashed(), sink) as hub:
        await until(lambda: sink.calls == 4)
        await turns()
        assert sink.calls == sink.at_once_max == 4
        gate.set()
        await until(hub.settled)


async def test_events_wait_for_nothing_when_the_clock_was_set_back(
    store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(monkeypatch, deliveries=2)
    world = HandWorld()
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    async with running(store, sink, world=world) as hub:
        await hub.rule()
        await hub.accept(*(f"e{number}" for number in range(9)))
        world.ms -= 3_600_000
        gate.set()
        await until(hub.settled)
        gate.clear()
        world.ms += 3_600_000
        await hub.accept("a", "b", "c")
    world.ms -= 3_600_000
    gate.set()
    async with running(store.crashed(), sink, world=world) as hub:
        await until(hub.settled)
    assert {"a", "b", "c"} <= set(sink.ids)


# drain


async def test_drain_takes_nothing_new_and_waits_for_attempts_in_flight(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.rule()
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    await hub.accept("e1", "e2")
    await until(lambda: sink.ids == ["e1"])
    draining = started(hub.pipeline.drain(20.0))
    await turns()
    assert not draining.done()
    assert await hub.accept("e3") == [THROTTLED]
    gate.set()
    await draining
    assert hub.counters.delivered == 1
    assert hub.pipeline.in_flight == 0
    async with running(store.crashed(), again := ScriptedSink()) as after:
        await until(after.settled)
    assert again.ids == ["e2"]


async def test_drain_ends_at_its_limit_and_what_was_in_flight_is_delivered_after_the_restart(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    async with running(store, sink) as hub:
        await hub.rule()
        sink.hanging[FUNCTION] = asyncio.Event()
        await hub.accept("e1")
        await until(lambda: sink.ids == ["e1"])
        await hub.pipeline.drain(0.01)
    async with running(store.crashed(), again := ScriptedSink()) as hub:
        await until(hub.settled)
    assert again.ids == ["e1"]


async def test_drain_ends_while_the_store_fails(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.rule()
    store.refuses = lambda batch: StoreError("broken") if batch.essential else None
    with quick_pauses(monkeypatch):
        await hub.accept("e1")
        await until(lambda: sink.ids == ["e1"])
        await hub.pipeline.drain(20.0)
    assert hub.pipeline.in_flight == 0
    assert store.rows(Table.DELIVERIES) == 1


async def test_drain_waits_for_the_commit_of_what_was_accepted(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    store.held = True
    answer = started(hub.accept("e1"))
    await turns(3)
    draining = started(hub.pipeline.drain(20.0))
    await turns()
    assert not draining.done()
    store.release()
    await draining
    assert await answer == [Taken("e1")]
    assert (hub.lanes.pending, store.rows(Table.DELIVERIES)) == (1, 1)


# on the real store


async def test_everything_comes_through_on_the_embedded_store_and_leaves_nothing_behind(tmp_path: Path) -> None:
    world = HandWorld()
    sink = ScriptedSink(batch_max=3, concurrency=2)
    sink.script = [Delivered(), BUSY, GONE] * 20
    sent: list[str] = []
    for turn in range(2):
        store = LmdbStore(tmp_path / "data", map_bytes_max=1 << 26, reserve_bytes=1 << 22, monotonic=world.monotonic)
        async with running(store, sink, world=world) as hub:
            if turn == 0:
                await hub.queue(QUEUE)
                await hub.rule("orders", '{"source":["orders"]}', target("a"), target("q", QUEUE))
            for number in range(30):
                sent.append(f"{turn}-{number}")
                await hub.accept(sent[-1])
            if turn == 0:
                await hub.pipeline.drain(5.0)
            else:
                for _ in range(10):
                    hub.advance(900)
                    await until(hub.idle)
                await until(hub.settled)
                given_up = [letter.accepted.event.id for letter in hub.letters()]
                delivered = [event_id for event_id in sent if event_id not in given_up]
                assert hub.lanes.parked == hub.lanes.bytes_in_memory == 0
                assert sorted(message.event_id or "" for message in hub.messages(QUEUE)) == sorted(sent)
                assert len(given_up) == len(set(given_up)) == 20
                assert set(delivered) | set(given_up) == set(sink.ids) == set(sent)
                assert len(sink.sent) == len(sent) + 20
                assert OTHER not in {attempt.accepted.location for attempt in sink.sent}
        await store.close()
