"""Hops between buses: settled here and accepted there in one commit, or refused with the reason."""

import asyncio

import pytest

from router.core.event import Event, Location
from router.planning import Settings
from router.sources.outcome import Taken
from router.store.base import StoreError, Table
from tests.pipeline.hub import (
    FAR,
    FUNCTION,
    HERE,
    ORDERS,
    OTHER,
    ROLE,
    HandWorld,
    Hub,
    ScriptedSink,
    incoming,
    quick_pauses,
    running,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore


def bus(location: Location, name: str = "default") -> str:
    return f"arn:aws:events:{location.region}:{location.account}:event-bus/{name}"


async def forward(hub: Hub, here: Location, bus_here: str, arn: str) -> None:
    """A rule that sends all orders of a bus on."""
    await hub.catalog.put_rule(here, bus_here, "on", created_by=here.account, event_pattern=ORDERS)
    await hub.catalog.put_targets(here, bus_here, "on", [target(arn=arn, role_arn=ROLE)])


async def test_a_hop_is_settled_here_and_accepted_there_in_one_commit(
    hub: Hub, store: MemoryStore, sink: ScriptedSink
) -> None:
    await hub.catalog.create_bus(HERE, "second")
    there = f"arn:aws:events:us-east-1:{HERE.account}:event-bus/second"
    await hub.rule("orders", '{"source":["orders"]}', target(arn=there, role_arn=ROLE))
    await hub.rule("on", '{"source":["orders"]}', target(), bus="second")
    gate = sink.hanging[FUNCTION] = asyncio.Event()
    await hub.accept("e1")
    await until(lambda: len(sink.sent) == 1)
    assert (store.rows(Table.EVENTS), store.rows(Table.DELIVERIES), hub.lanes.pending) == (1, 1, 1)
    gate.set()
    await until(hub.settled)
    assert sink.ids == ["e1"]
    assert hub.metrics.bus(HERE, "second").matched == 1


async def test_a_hop_that_could_not_be_written_leaves_nothing_there_and_is_made_again(
    hub: Hub, store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.catalog.create_bus(HERE, "second")
    there = f"arn:aws:events:us-east-1:{HERE.account}:event-bus/second"
    await hub.rule("orders", '{"source":["orders"]}', target(arn=there, role_arn=ROLE))
    await hub.rule("on", '{"source":["orders"]}', target(), bus="second")
    failures = [StoreError("broken")] * 2
    store.refuses = lambda batch: failures.pop() if batch.essential and failures else None
    with quick_pauses(monkeypatch):
        await hub.accept("e1", "e2")
        await until(hub.settled)
    assert sorted(sink.ids) == ["e1", "e2"]
    assert hub.metrics.bus(HERE, "second").accepted == 2


async def test_a_hop_repeated_after_a_crash_is_the_same_event(store: MemoryStore, sink: ScriptedSink) -> None:
    world = HandWorld()
    there = f"arn:aws:events:{FAR.region}:{FAR.account}:event-bus/default"
    ids: set[str] = set()
    for _ in range(2):
        async with running(store.crashed() if ids else store, sink, world=world) as hub:
            if not ids:
                await hub.rule("orders", '{"source":["orders"]}', target(arn=there, role_arn=ROLE))
                await hub.catalog.put_rule(
                    FAR, "default", "on", created_by=FAR.account, event_pattern='{"source":["orders"]}'
                )
                await hub.catalog.put_targets(
                    FAR, "default", "on", [target(arn=FUNCTION.replace(HERE.region, FAR.region))]
                )
                sink.hanging[FUNCTION] = asyncio.Event()
                store.refuses = lambda batch: StoreError("broken") if batch.essential else None
                await hub.accept("e1")
                await turns()
                ids.add("none")
                store.refuses = lambda batch: None
            else:
                await until(hub.settled)
    [attempt] = sink.sent
    event: Event = attempt.accepted.event
    assert event.id != "e1"
    assert (attempt.accepted.parent_id, attempt.accepted.location) == ("e1", FAR)
    assert (event.account, event.region) == (HERE.account, HERE.region)


async def test_a_local_hop_keeps_the_event_as_it_is(hub: Hub, sink: ScriptedSink) -> None:
    await hub.catalog.create_bus(HERE, "second")
    await forward(hub, HERE, "default", bus(HERE, "second"))
    await forward(hub, HERE, "second", FUNCTION)
    event = incoming("e1", detail='{"a":1}')
    await hub.pipeline.accept([event])
    await until(hub.settled)
    [attempt] = sink.sent
    assert attempt.accepted.event == event.event
    assert (attempt.accepted.bus, attempt.accepted.hops.local) == ("second", 1)


async def test_a_second_hop_within_a_region_is_refused_at_once(hub: Hub, sink: ScriptedSink) -> None:
    for name in ("second", "third"):
        await hub.catalog.create_bus(HERE, name)
    await forward(hub, HERE, "default", bus(HERE, "second"))
    await forward(hub, HERE, "second", bus(HERE, "third"))
    await forward(hub, HERE, "third", FUNCTION)
    await hub.accept("e1")
    await until(hub.settled)
    assert sink.sent == []
    assert [(letter.code, letter.condition) for letter in hub.letters()] == [("THIRD_ACCOUNT_HOP_DETECTED", None)]


async def test_a_second_hop_across_regions_is_refused_at_once(hub: Hub, sink: ScriptedSink) -> None:
    await forward(hub, HERE, "default", bus(FAR))
    await forward(hub, FAR, "default", bus(HERE, "second"))
    await hub.catalog.create_bus(HERE, "second")
    await forward(hub, HERE, "second", FUNCTION)
    await hub.accept("e1")
    await until(hub.settled)
    assert sink.sent == []
    assert [letter.code for letter in hub.letters()] == ["THIRD_REGION_HOP_DETECTED"]


async def test_a_bus_that_does_not_let_the_account_in_refuses_the_hop(hub: Hub) -> None:
    await forward(hub, HERE, "default", bus(OTHER))
    await hub.accept("e1")
    await until(hub.settled)
    [letter] = hub.letters()
    assert (letter.code, letter.target_arn) == ("NO_PERMISSIONS", bus(OTHER))
    assert hub.metrics.bus(OTHER, "default").accepted == 0


async def test_another_accounts_bus_that_does_not_exist_is_no_permission(hub: Hub) -> None:
    await forward(hub, HERE, "default", bus(OTHER, "nowhere"))
    await hub.accept("e1")
    await until(hub.settled)
    assert [letter.code for letter in hub.letters()] == ["NO_PERMISSIONS"]


async def test_a_hop_to_an_own_bus_that_does_not_exist_is_dropped_and_counted(hub: Hub) -> None:
    await forward(hub, HERE, "default", bus(HERE, "nowhere"))
    assert await hub.accept("e1") == [Taken("e1")]
    await until(hub.settled)
    assert hub.letters() == []
    assert hub.metrics.unknown_bus == 1


async def test_where_unknown_buses_are_refused_a_hop_to_one_is_a_dead_letter(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    async with running(store, sink, settings=Settings(refuse_unknown_bus=True, read_only_by_flag=False)) as hub:
        await forward(hub, HERE, "default", bus(HERE, "nowhere"))
        await hub.accept("e1")
        await until(hub.settled)
        assert [letter.code for letter in hub.letters()] == ["NO_RESOURCE"]


async def test_a_hop_to_a_bus_where_nothing_matches_is_counted_there_and_done(hub: Hub) -> None:
    await hub.catalog.create_bus(HERE, "second")
    await forward(hub, HERE, "default", bus(HERE, "second"))
    await hub.accept("e1")
    await until(hub.settled)
    assert hub.metrics.bus(HERE, "second").unmatched == 1
    assert hub.metrics.sink(HERE, "default", "event_bus").delivered == 1
