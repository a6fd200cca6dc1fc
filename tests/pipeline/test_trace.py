"""What happened to an event can be asked for: from acceptance to its last attempt, on every bus, also after a crash."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from router import limits
from router.core.event import Location
from router.errors import ResourceNotFoundException
from router.planning import Settings
from router.sinks.base import Delivered, Rejected, Retryable
from router.sources.outcome import Taken
from router.store.base import StoreError, Table
from router.store.lmdb import LmdbStore
from router.trace_tree import TraceAnswer, TracedDelivery, TracedEvent
from tests.pipeline.hub import (
    FAR,
    FUNCTION,
    HERE,
    LETTERS,
    ORDERS,
    QUEUE,
    REAL_LETTERS,
    ROLE,
    RULE_ARN,
    HandWorld,
    Hub,
    ScriptedSink,
    incoming,
    running,
    started,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore

BUSY = Retryable("ERROR_FROM_TARGET", "busy")
GONE = Rejected("NO_PERMISSIONS", "no")


async def traced(hub: Hub, event_id: str = "e1") -> TracedEvent:
    """The one tree of an event."""
    [event] = (await hub.traces.of(event_id)).events
    return event


async def delivery(hub: Hub, event_id: str = "e1") -> TracedDelivery:
    """The one delivery of an event."""
    [found] = (await traced(hub, event_id)).deliveries
    return found


async def untold(hub: Hub, event_id: str = "e1") -> str:
    """Why nothing is said of an event."""
    with pytest.raises(ResourceNotFoundException) as caught:
        await hub.traces.of(event_id)
    return caught.value.message


async def parked(hub: Hub) -> None:
    await until(lambda: hub.lanes.parked == 1 and hub.idle())


async def swept(hub: Hub) -> None:
    while await hub.trace.sweep():
        pass


def bus(location: Location, name: str = "default") -> str:
    return f"arn:aws:events:{location.region}:{location.account}:event-bus/{name}"


async def forward(hub: Hub, here: Location, bus_here: str, *arns: str) -> None:
    """A rule that sends all orders of a bus on."""
    await hub.catalog.put_rule(here, bus_here, "on", created_by=here.account, event_pattern=ORDERS)
    targets = [target(f"t{number}", arn, role_arn=ROLE) for number, arn in enumerate(arns)]
    await hub.catalog.put_targets(here, bus_here, "on", targets)


# accepted and delivered


async def test_a_delivered_event_is_traced_from_acceptance_to_its_attempt(hub: Hub, store: MemoryStore) -> None:
    await hub.rule("orders", ORDERS, target("a"), target("b"))
    await hub.rule("idle")
    await hub.catalog.remove_targets(HERE, "default", "idle", ["t"])
    await hub.accept("e1", "e2")
    await until(hub.settled)
    answer = await hub.traces.of("e1")
    [event] = answer.events
    assert (event.event_id, event.source, event.detail_type, event.parent_id) == ("e1", "orders", "type", None)
    assert (event.account, event.region, event.bus, event.outcome) == (HERE.account, HERE.region, "default", "matched")
    assert (event.accepted_at, event.complete) == ("2026-09-21T14:13:20.000Z", True)
    assert sorted(event.rules) == [RULE_ARN.replace("orders", "idle"), RULE_ARN]
    assert [(one.target_id, one.state, one.attempts_made) for one in event.deliveries] == [
        ("a", "delivered", 1),
        ("b", "delivered", 1),
    ]
    [attempt] = event.deliveries[0].attempts
    assert (attempt.number, attempt.at, attempt.took_ms, attempt.code) == (1, event.accepted_at, 0, None)
    assert (event.deliveries[0].rule_arn, event.deliveries[0].target_arn) == (RULE_ARN, FUNCTION)
    assert answer.states == {"delivered": 2}
    assert store.rows(Table.EVENTS, Table.DELIVERIES, Table.REFERENCES) == 0


async def test_a_settle_of_many_is_one_row(store: MemoryStore) -> None:
    sink = ScriptedSink(batch_max=50)
    async with running(store, sink) as hub:
        await hub.rule()
        await hub.accept(*(f"e{number}" for number in range(40)))
        await until(hub.settled)
        assert store.rows(Table.TRACE) == 2
        assert (await delivery(hub, "e39")).state == "delivered"


async def test_what_is_not_durable_is_not_traced(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    store.refuses = lambda batch: StoreError("broken")
    await hub.accept("e1")
    assert (await untold(hub)).startswith("Event e1 is not known, or its trace is not kept any more: traces are kept ")
    assert store.rows(Table.TRACE) == hub.trace.bytes == 0


async def test_an_event_that_nothing_matches_is_remembered_and_not_stored(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    await hub.catalog.remove_targets(HERE, "default", "orders", ["t"])
    await hub.accept("e1", source="nobody")
    await hub.accept("e2")
    assert [(event.outcome, event.rules) for event in [await traced(hub, "e1"), await traced(hub, "e2")]] == [
        ("unmatched", []),
        ("matched", [RULE_ARN]),
    ]
    assert store.rows(Table.TRACE) == 0


async def test_an_event_for_an_unknown_bus_is_traced_as_dropped(hub: Hub, store: MemoryStore) -> None:
    await hub.pipeline.accept([incoming("e1", bus="nowhere")])
    event = await traced(hub)
    assert (event.outcome, event.bus, event.deliveries) == ("dropped: unknown_bus", "nowhere", [])
    assert store.rows(Table.TRACE) == 0


async def test_a_refused_event_is_not_traced(store: MemoryStore, sink: ScriptedSink) -> None:
    async with running(store, sink, settings=Settings(refuse_unknown_bus=True, read_only_by_flag=False)) as hub:
        await hub.pipeline.accept([incoming("e1", bus="nowhere")])
        await untold(hub)


# on its way


async def test_a_delivery_is_pending_then_in_flight_then_delivered(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.rule()
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    await hub.accept("e1", "e2")
    await until(lambda: sink.ids == ["e1"])
    first, second = await delivery(hub, "e1"), await delivery(hub, "e2")
    assert (first.state, first.attempts_made, second.state) == ("in_flight", 0, "pending")
    gate.set()
    await until(hub.settled)
    assert (await delivery(hub, "e2")).state == "delivered"


async def test_a_parked_delivery_shows_its_failures_and_its_next_attempt(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule()
    sink.script = [BUSY, Retryable("TIMEOUT", "x" * 900)]
    await hub.accept("e1")
    await parked(hub)
    hub.advance(10)
    await until(lambda: len(sink.sent) == 2)
    await parked(hub)
    found = await delivery(hub)
    assert (found.state, found.attempts_made, found.next_attempt_at) == ("parked", 2, "2026-09-21T14:13:31.000Z")
    assert [(attempt.number, attempt.code, attempt.at) for attempt in found.attempts] == [
        (1, "ERROR_FROM_TARGET", "2026-09-21T14:13:20.000Z"),
        (2, "TIMEOUT", "2026-09-21T14:13:30.000Z"),
    ]
    assert found.attempts[1].message == "x" * limits.TRACE_MESSAGE_CHARS_MAX
    hub.advance(10)
    await until(hub.settled)
    found = await delivery(hub)
    assert (found.state, found.attempts_made, found.next_attempt_at) == ("delivered", 3, None)
    assert [attempt.number for attempt in found.attempts] == [1, 2, 3]


async def test_what_is_settled_between_two_reads_is_read_again(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.rule()
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    await hub.accept("e1")
    await until(lambda: sink.ids == ["e1"])
    get = store.get
    steps: list[Callable[[], None]] = [gate.set]

    def settled_meanwhile(table: Table, key: bytes) -> bytes | None:
        if table == Table.DELIVERIES and steps:
            steps.pop()()
            return None
        return get(table, key)

    monkeypatch.setattr(store, "get", settled_meanwhile)
    asking = started(hub.traces.of("e1"))
    assert (await asking).states.keys() <= {"delivered", "in_flight"}
    await until(hub.settled)


async def test_what_is_not_known_of_a_delivery_is_said(hub: Hub, store: MemoryStore, sink: ScriptedSink) -> None:
    await hub.rule()
    await hub.accept("e1")
    await until(hub.settled)
    del store.tables[Table.TRACE][max(store.tables[Table.TRACE])]
    assert (await delivery(hub)).state == "unknown"


# given up


async def test_a_kept_dead_letter_has_its_reason_and_its_number_and_is_followed_when_redriven(
    hub: Hub, sink: ScriptedSink
) -> None:
    await hub.rule()
    sink.script = [GONE, GONE]
    await hub.accept("e1")
    await until(hub.settled)
    found = await delivery(hub)
    letter = found.dead_letter
    assert letter is not None
    assert (found.state, letter.code, letter.message, letter.condition) == ("dead_letter", "NO_PERMISSIONS", "no", None)
    [number] = hub.numbers()
    assert (letter.number, letter.kept, letter.redriven, letter.queue) == (number, True, False, None)
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    await hub.redrive(number)
    await until(lambda: len(sink.sent) == 2)
    assert (await hub.traces.of("e1")).states == {"in_flight": 1}
    gate.set()
    await until(hub.settled)
    await hub.redrive(hub.numbers()[0])
    await until(hub.settled)
    first, second, third = (await traced(hub)).deliveries
    assert [one.state for one in (first, second, third)] == ["dead_letter", "dead_letter", "delivered"]
    assert first.dead_letter is not None
    assert second.dead_letter is not None
    assert (first.dead_letter.kept, first.dead_letter.redriven) == (False, True)
    assert (second.redriven_from, third.redriven_from) == (number, second.dead_letter.number)
    assert (await hub.traces.of("e1")).states == {"delivered": 1}


async def test_a_dead_letter_in_a_queue_names_the_queue(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(attempts_max=0, letters=LETTERS))
    sink.always = BUSY
    await hub.accept("e1")
    await until(hub.settled)
    letter = (await delivery(hub)).dead_letter
    assert letter is not None
    assert (letter.queue, letter.number, letter.to_queue) == (LETTERS, None, None)
    assert letter.condition == "MaximumRetryAttempts"


async def test_a_dead_letter_whose_queue_does_not_take_it_says_why(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    sink.always = GONE
    await hub.accept("e1")
    await until(hub.settled)
    letter = (await delivery(hub)).dead_letter
    assert letter is not None
    assert (letter.queue, letter.kept) == (LETTERS, True)
    assert (letter.queue_failure or "").startswith("NO_RESOURCE: ")


async def test_a_dead_letter_is_followed_on_its_way_to_a_real_queue(store: MemoryStore, sink: ScriptedSink) -> None:
    letters = ScriptedSink()
    letters.script = [BUSY, GONE]
    sink.always = GONE
    async with running(store, sink, letters_sink=letters) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        await hub.accept("e1")
        await parked(hub)
        letter = (await delivery(hub)).dead_letter
        assert letter is not None
        assert letter.to_queue is not None
        assert (letter.queue, letter.to_queue.state, letter.to_queue.target_arn) == (
            REAL_LETTERS,
            "parked",
            REAL_LETTERS,
        )
        hub.advance(10)
        await until(hub.settled)
        letter = (await delivery(hub)).dead_letter
        assert letter is not None
        assert letter.to_queue is not None
        kept = letter.to_queue.dead_letter
        assert kept is not None
        assert (letter.to_queue.attempts_made, kept.kept, kept.queue_failure) == (2, True, "NO_PERMISSIONS: no")
        await hub.redrive(hub.numbers()[0])
        await until(hub.settled)
        assert [one.redriven_from for one in (await traced(hub)).deliveries] == [None, kept.number]


async def test_a_removed_target_ends_its_deliveries_and_its_arn_is_not_known_any_more(
    hub: Hub, sink: ScriptedSink
) -> None:
    await hub.rule()
    sink.script = [BUSY]
    await hub.accept("e1")
    await parked(hub)
    await hub.catalog.remove_targets(HERE, "default", "orders", ["t"])
    hub.advance(10)
    await until(hub.settled)
    found = await delivery(hub)
    assert (found.state, found.target_arn) == ("dead_letter", None)
    assert [attempt.code for attempt in found.attempts] == ["ERROR_FROM_TARGET", "NO_RESOURCE"]


# hops


async def test_hops_within_and_across_regions_are_one_tree_whichever_id_is_asked_for(
    hub: Hub, sink: ScriptedSink
) -> None:
    await hub.catalog.create_bus(HERE, "second")
    await forward(hub, HERE, "default", bus(HERE, "second"), bus(FAR))
    await forward(hub, HERE, "second", FUNCTION)
    await forward(hub, FAR, "default", FUNCTION.replace(HERE.region, FAR.region))
    await hub.accept("e1")
    await until(hub.settled)
    event = await traced(hub)
    near, far = (one.event for one in event.deliveries)
    assert near is not None
    assert far is not None
    assert (near.event_id, near.bus, near.parent_id) == ("e1", "second", None)
    assert (far.parent_id, far.region, far.bus) == ("e1", FAR.region, "default")
    assert [one.state for one in near.deliveries + far.deliveries] == ["delivered", "delivered"]
    assert far.event_id in sink.ids
    assert await traced(hub, far.event_id) == event
    assert (await hub.traces.of("e1")).states == {"delivered": 4}


async def test_a_hop_to_where_nothing_matches_or_no_bus_is_stays_traced(store: MemoryStore, sink: ScriptedSink) -> None:
    async with running(store, sink) as hub:
        await forward(hub, HERE, "default", bus(HERE, "nowhere"), bus(FAR))
        await hub.accept("e1")
        await until(hub.settled)
    async with running(store.crashed(), sink) as hub:
        outcomes = [one.event.outcome if one.event else None for one in (await traced(hub)).deliveries]
        assert outcomes == ["dropped: unknown_bus", "unmatched"]


async def test_a_hop_whose_origin_is_not_kept_any_more_is_still_told(hub: Hub, store: MemoryStore) -> None:
    await forward(hub, HERE, "default", bus(FAR))
    await forward(hub, FAR, "default", FUNCTION.replace(HERE.region, FAR.region))
    await hub.accept("e1")
    await until(hub.settled)
    del store.tables[Table.TRACE][min(store.tables[Table.TRACE])]
    event = await traced(hub)
    assert (event.parent_id, event.region, event.deliveries[0].state) == ("e1", FAR.region, "delivered")


# kept, and for how long


async def test_after_a_crash_the_trace_tells_what_is_on_disk(store: MemoryStore, sink: ScriptedSink) -> None:
    world = HandWorld()
    async with running(store, sink, world=world) as hub:
        await hub.rule("orders", ORDERS, target("a"), target("q", QUEUE))
        await hub.queue(QUEUE)
        sink.script = [BUSY]
        await hub.accept("e1")
        await parked(hub)
        world.ms += 100
        store.refuses = lambda batch: StoreError("broken") if batch.essential else None
        await hub.accept("e2")
        await turns()
    async with running(store.crashed(), ScriptedSink(), world=world) as hub:
        first = (await traced(hub, "e1")).deliveries
        assert [(one.target_id, one.state) for one in first] == [("a", "parked"), ("q", "delivered")]
        assert first[0].attempts[0].code == "ERROR_FROM_TARGET"
        hub.advance(10)
        await until(hub.settled)
        assert (await hub.traces.of("e1")).states == (await hub.traces.of("e2")).states == {"delivered": 2}


async def test_old_rows_leave_and_newer_ones_stay(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    await hub.accept("e1")
    await until(hub.settled)
    hub.advance(3000)
    await hub.accept("e2")
    await until(hub.settled)
    await swept(hub)
    assert store.rows(Table.TRACE) == 4
    hub.advance(601)
    await swept(hub)
    assert store.rows(Table.TRACE) == 2
    assert "3600 s" in await untold(hub, "e1")
    assert (await delivery(hub, "e2")).state == "delivered"


async def test_the_oldest_leave_when_there_are_too_many_bytes(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    for number in range(20):
        await hub.accept(f"e{number}")
    await until(hub.settled)
    hub.trace.bytes_max = hub.trace.bytes // 2
    await swept(hub)
    assert 0 < hub.trace.bytes <= hub.trace.bytes_max
    await untold(hub, "e0")
    assert (await delivery(hub, "e19")).state == "delivered"


async def test_the_space_of_what_left_is_used_again(tmp_path: Path) -> None:
    world = HandWorld()
    store = LmdbStore(tmp_path / "data", map_bytes_max=2 << 20, reserve_bytes=1 << 20, monotonic=world.monotonic)
    async with running(store, ScriptedSink(batch_max=100), world=world) as hub:
        hub.trace.bytes_max = 100_000
        await hub.rule()
        written = 0
        while written < 5 << 20:
            outcomes = await hub.accept(*(f"{'e' * 200}{number}" for number in range(100)))
            assert all(isinstance(outcome, Taken) for outcome in outcomes)
            await until(hub.settled)
            written += hub.trace.bytes
            await swept(hub)
            written -= hub.trace.bytes
    await store.close()


async def test_what_earlier_runs_left_is_counted_once(store: MemoryStore, sink: ScriptedSink) -> None:
    async with running(store, sink) as hub:
        await hub.rule()
        for number in range(5):
            await hub.accept(f"e{number}")
        await until(hub.settled)
        before = hub.trace.bytes
    async with running(store.crashed(), sink) as hub:
        await hub.accept("e9")
        await until(hub.settled)
        new = hub.trace.bytes
        await hub.trace.count()
        assert hub.trace.bytes == before + new


async def test_the_sweeper_goes_on_after_the_store_refused(
    hub: Hub, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.trace._SWEEP_S", 0.0)
    await hub.rule()
    await hub.accept("e1")
    await until(hub.settled)
    hub.advance(3601)
    store.refuses = lambda batch: StoreError("broken")
    sweeping = started(hub.trace.run())
    await turns()
    assert (store.rows(Table.TRACE), sweeping.done()) == (2, False)
    store.refuses = lambda batch: None
    await until(lambda: store.rows(Table.TRACE) == hub.trace.bytes == 0)
    assert not sweeping.done()
    sweeping.cancel()


async def test_what_is_pending_and_what_is_kept_is_told_also_when_its_trace_is_gone(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    letters = ScriptedSink()
    letters.always = BUSY
    sink.always = lambda attempt: BUSY if attempt.target.id == "busy" else GONE
    async with running(store, sink, letters_sink=letters) as hub:
        targets = [target("busy"), target("kept"), target("sent", letters=REAL_LETTERS), target("q", QUEUE)]
        await hub.queue(QUEUE)
        await hub.rule("orders", ORDERS, *targets)
        await hub.accept("e1", "e2")
        await until(lambda: hub.lanes.parked == 4 and hub.idle())
        store.tables[Table.TRACE].clear()
        event = await traced(hub)
        assert (event.complete, event.outcome) == (False, "matched")
        assert sorted((one.target_id, one.state) for one in event.deliveries) == [
            ("busy", "parked"),
            ("kept", "dead_letter"),
            ("sent", "dead_letter"),
        ]
        by_target = {one.target_id: one for one in event.deliveries}
        [attempt] = by_target["busy"].attempts
        assert (attempt.number, attempt.at, attempt.code) == (1, None, "ERROR_FROM_TARGET")
        sent, kept = by_target["sent"].dead_letter, by_target["kept"].dead_letter
        assert sent is not None
        assert sent.to_queue is not None
        assert kept is not None
        assert (sent.queue, sent.to_queue.state, kept.kept) == (REAL_LETTERS, "parked", True)
        hub.advance(10)
        await until(lambda: hub.lanes.parked == 4 and hub.idle() and len(sink.sent) == 8)
        again = {one.target_id: one for one in (await traced(hub)).deliveries}
        assert [attempt.number for attempt in again["busy"].attempts] == [2]
        assert again["busy"].attempts[0].at is not None


async def test_a_redriven_dead_letter_of_which_nothing_else_is_kept_is_told(hub: Hub, sink: ScriptedSink) -> None:
    await hub.rule()
    sink.script = [GONE]
    await hub.accept("e1")
    await until(hub.settled)
    hub.advance(3601)
    await swept(hub)
    [number] = hub.numbers()
    await hub.redrive(number)
    await until(hub.settled)
    event = await traced(hub)
    assert (event.complete, event.deliveries[0].redriven_from, event.deliveries[0].state) == (
        False,
        number,
        "delivered",
    )


async def test_a_trace_that_is_switched_off_keeps_nothing_and_still_tells_what_is_pending(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    async with running(store, sink, trace_age_s_max=0) as hub:
        await hub.rule()
        sink.script = [BUSY, GONE]
        await hub.accept("e1")
        await hub.accept("e2", source="nobody")
        await parked(hub)
        assert (await delivery(hub)).state == "parked"
        assert "`trace.age_s_max` in the hub file is 0" in await untold(hub, "e2")
        hub.advance(10)
        await until(hub.settled)
        await hub.redrive(hub.numbers()[0])
        await until(hub.settled)
        await untold(hub)
        assert store.rows(Table.TRACE) == 0


async def test_an_answer_is_bounded(hub: Hub, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRACED_DELIVERIES_MAX", 1)
    monkeypatch.setattr(limits, "TRACED_ATTEMPTS_MAX", 2)
    await hub.rule("orders", ORDERS, target("a"), target("b"))
    sink.always = lambda attempt: BUSY if attempt.target.id == "a" and len(sink.sent) < 7 else Delivered()
    await hub.accept("e1")
    for _ in range(10):
        hub.advance(900)
        await until(hub.idle)
    await until(hub.settled)
    event = await traced(hub)
    [found] = event.deliveries
    assert (event.deliveries_left_out, found.target_id) == (1, "a")
    assert [attempt.number for attempt in found.attempts] == [found.attempts_made - 1, found.attempts_made]


async def test_a_request_of_many_events_is_several_rows_of_bounded_size(hub: Hub, store: MemoryStore) -> None:
    await hub.rule("orders", ORDERS, target("q", QUEUE))
    await hub.queue(QUEUE)
    await hub.accept(*(f"e{number}" for number in range(250)))
    rows = list(store.tables[Table.TRACE].values())
    assert sum(row[:1] == b"P" for row in rows) == 3
    await until(hub.settled)
    answer: TraceAnswer = await hub.traces.of("e249")
    assert answer.states == {"delivered": 1}
