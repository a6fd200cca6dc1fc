"""Replays over the real data path: which events, to whom, with what in their envelope, in what states; and killed."""

import asyncio
import json
import random
import re
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import limits
from router.catalog.replays import Replay
from router.core.event import envelope
from router.errors import IllegalStatusException, LimitExceededException, ResourceAlreadyExistsException
from router.planning import Incoming
from router.sources.replay import Replays
from router.store.base import Batch, StoreError, StoreFull, Table
from router.trace import read_plan
from router.world import iso_seconds
from tests.pipeline.hub import (
    BUS,
    FUNCTION,
    HERE,
    ORDERS,
    RULE_ARN,
    HandWorld,
    Hub,
    ScriptedSink,
    incoming,
    replaying,
    running,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore

START_MS = 1_789_000_000_000


def at(event_id: str, ms: int, source: str = "orders") -> Incoming:
    item = incoming(event_id, source=source)
    return msgspec.structs.replace(item, event=msgspec.structs.replace(item.event, time=iso_seconds(ms)))


async def fill(hub: Hub, count: int) -> None:
    """An archive with events e0, e1…, a second apart."""
    await hub.archive()
    await hub.pipeline.accept([at(f"e{number}", START_MS + 1000 * number) for number in range(count)])


async def replayed(hub: Hub, name: str = "again", **options: object) -> None:
    await hub.replay(name, **options)  # type: ignore[arg-type]
    async with replaying(hub):
        await until(lambda: hub.replay_state(name) == "COMPLETED" and hub.settled())


def numbers(sink: ScriptedSink) -> list[str]:
    """The times of the events that were sent, in order."""
    return [attempt.accepted.event.time for attempt in sink.sent]


async def test_a_replayed_event_has_the_replays_name_an_id_of_its_own_and_all_else_as_it_was() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await hub.archive()
        first = msgspec.structs.replace(
            incoming("e1", detail='{"a":1.0}'), trace_header="Root=1-5759e988-bd862e3fe1be46a994272793"
        )
        await hub.pipeline.accept([first])
        await hub.rule()
        await replayed(hub)
        (attempt,) = sink.sent
        sent = json.loads(attempt.payload)
        assert list(sent) == [
            "version", "id", "detail-type", "source", "account", "time", "region", "replay-name", "resources", "detail",
        ]  # fmt: skip
        assert sent["replay-name"] == "again"
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", sent["id"])
        was = json.loads(envelope(first.event))
        assert {name: sent[name] for name in was if name != "id"} == {name: was[name] for name in was if name != "id"}
        assert attempt.accepted.trace_header is None


async def test_every_replay_gives_its_events_other_ids() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await fill(hub, 2)
        await hub.rule()
        await replayed(hub, "one")
        await replayed(hub, "two")
        assert len({*sink.ids, "e0", "e1"}) == 6


async def test_what_is_replayed_is_not_archived_again() -> None:
    async with running(MemoryStore(), ScriptedSink()) as hub:
        await fill(hub, 3)
        await hub.archive("other")
        await replayed(hub)
        assert (hub.archived()[0], hub.archived("other")[0]) == (3, 0)


async def test_it_goes_to_all_rules_of_the_bus_as_they_are_now() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await hub.rule("before", '{"source":["payments"]}', target("before"))
        await fill(hub, 2)
        await hub.rule("after", ORDERS, target("after"))
        await replayed(hub)
        assert [attempt.target.id for attempt in sink.sent] == ["after", "after"]


async def test_with_filters_it_goes_to_those_rules_only_and_only_where_they_match() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await hub.archive()
        await hub.pipeline.accept([at("e1", START_MS), at("e2", START_MS + 1000, "payments")])
        await hub.rule("orders", ORDERS, target("wanted"))
        await hub.rule("same", ORDERS, target("unwanted"))
        await hub.rule("all", '{"source":[{"prefix":""}]}', target("unwanted", FUNCTION + "2"))
        await replayed(hub, rules=[RULE_ARN])
        assert [(attempt.target.id, attempt.accepted.event.source) for attempt in sink.sent] == [("wanted", "orders")]


async def test_a_rule_that_is_disabled_gets_nothing_also_where_it_is_named() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await hub.rule()
        await fill(hub, 2)
        await until(hub.settled)
        sent = len(sink.sent)
        await hub.catalog.set_rule_state(HERE, "default", "orders", "DISABLED")
        await replayed(hub, rules=[RULE_ARN])
        assert len(sink.sent) == sent


TIMES = st.lists(st.integers(0, 40).map(lambda tenth: START_MS + 500 * tenth), max_size=12)


@settings(max_examples=40, deadline=None)
@given(TIMES, st.integers(-2, 42), st.integers(1, 44), st.integers(1, 5))
def test_a_replay_takes_the_events_from_its_start_to_before_its_end(
    times: Sequence[int], start: int, length: int, page: int
) -> None:
    start_ms, end_ms = START_MS + 500 * start, START_MS + 500 * (start + length)

    async def play() -> list[str]:
        async with running(MemoryStore(), sink := ScriptedSink()) as hub:
            await hub.archive()
            await hub.pipeline.accept([at(f"e{index}", ms) for index, ms in enumerate(times)])
            await hub.rule()
            await replayed(hub, start_ms=start_ms, end_ms=end_ms)
            assert hub.replays.get(HERE, "again").replayed == len(sink.sent)
            return sorted(numbers(sink))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REPLAY_EVENTS_PER_COMMIT_MAX", page)
        sent = asyncio.run(play())
    whole = [ms // 1000 * 1000 for ms in times]
    assert sent == sorted(iso_seconds(ms) for ms in whole if start_ms <= ms < end_ms)


async def test_events_of_a_replay_come_in_the_order_of_their_times() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await hub.archive()
        moments = list(range(30))
        random.Random(1).shuffle(moments)
        await hub.pipeline.accept([at(f"e{number}", START_MS + 1000 * number) for number in moments])
        await hub.rule()
        await replayed(hub)
        assert numbers(sink) == [iso_seconds(START_MS + 1000 * number) for number in range(30)]


async def test_a_page_is_bounded_in_events_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_EVENTS_PER_COMMIT_MAX", 4)
    monkeypatch.setattr(limits, "REPLAY_BYTES_PER_COMMIT_MAX", 5000)
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.pipeline.accept([incoming(f"s{number}") for number in range(6)])
        await hub.accept(*(f"l{number}" for number in range(4)), detail=json.dumps({"text": "x" * 3000}))
        await hub.rule()
        before = len(store.commits)
        await replayed(hub)
        sizes = [
            sum(table == Table.EVENTS and value is not None for table, _, value in batch.ops)
            for batch in store.commits[before:]
        ]
        assert [size for size in sizes if size] == [4, 4, 2]


# states


async def test_the_progress_of_a_replay_is_told_while_it_runs_and_after() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await fill(hub, 250)
        replay = await hub.replay()
        assert (replay.state, hub.replays.last_ms(replay)) == ("STARTING", None)
        async with replaying(hub):
            seen: set[tuple[str, int | None]] = set()
            while hub.replay_state() != "COMPLETED":
                seen.add((hub.replay_state(), hub.replays.last_ms(hub.replays.get(HERE, "again"))))
                await asyncio.sleep(0)
        assert ("RUNNING", START_MS + 99_000) in seen
        assert ("RUNNING", START_MS + 199_000) in seen
        ended = hub.replays.get(HERE, "again")
        assert (hub.replays.last_ms(ended), ended.replayed) == (START_MS + 249_000, 250)
        assert ended.ended_ms is not None
        assert [key for key in store.tables[Table.CATALOG] if key.startswith(b"replay-progress")] == []


async def test_a_replay_of_nothing_completes_without_a_last_event() -> None:
    async with running(MemoryStore(), ScriptedSink()) as hub:
        await fill(hub, 3)
        await replayed(hub, start_ms=1, end_ms=2)
        assert hub.replays.last_ms(hub.replays.get(HERE, "again")) is None


async def test_a_cancelled_replay_ends_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_EVENTS_PER_COMMIT_MAX", 1)
    async with running(MemoryStore(), ScriptedSink()) as hub:
        await fill(hub, 200)
        await hub.replay()
        async with replaying(hub):
            await until(lambda: hub.metrics.replayed >= 10)
            assert (await hub.replays.cancel(HERE, "again")).state == "CANCELLING"
            await until(lambda: hub.replay_state() == "CANCELLED")
        replay = hub.replays.get(HERE, "again")
        assert 10 <= replay.replayed < 200
        assert hub.replays.last_ms(replay) == START_MS + 1000 * (replay.replayed - 1)
        with pytest.raises(IllegalStatusException):
            await hub.replays.cancel(HERE, "again")


async def test_a_replay_can_be_cancelled_before_it_begins() -> None:
    async with running(MemoryStore(), ScriptedSink()) as hub:
        await fill(hub, 3)
        await hub.replay()
        await hub.replays.cancel(HERE, "again")
        async with replaying(hub):
            await until(lambda: hub.replay_state() == "CANCELLED")
        assert hub.metrics.replayed == 0


@pytest.mark.parametrize("gone", ["archive", "same name", "bus"])
async def test_a_replay_fails_where_its_archive_or_its_bus_is_deleted(gone: str) -> None:
    async with running(MemoryStore(), ScriptedSink()) as hub:
        await hub.catalog.create_bus(HERE, "mine")
        mine = "arn:aws:events:us-east-1:111111111111:event-bus/mine"
        await hub.archives.create(HERE, "all", source_arn=mine)
        await hub.replays.start(
            HERE, "again", archive_arn=ARCHIVE_ARN, destination=mine, start_ms=0, end_ms=1 << 42
        )  # fmt: skip
        await hub.archives.delete(HERE, "all")
        if gone == "bus":
            await hub.catalog.delete_bus(HERE, "mine")
        if gone == "same name":
            await hub.archives.create(HERE, "all", source_arn=mine)
        async with replaying(hub):
            await until(lambda: hub.replay_state() == "FAILED")
        assert hub.replays.get(HERE, "again").state_reason == "Archive all does not exist."


ARCHIVE_ARN = "arn:aws:events:us-east-1:111111111111:archive/all"


async def test_an_event_that_cannot_be_read_fails_the_replay_with_its_reason() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await fill(hub, 1)
        (key,) = [key for key in store.tables[Table.ARCHIVE] if len(key) > 4]
        store.tables[Table.ARCHIVE][key] = bytes(12) + b"\xc1"
        await hub.replay()
        async with replaying(hub):
            await until(lambda: hub.replay_state() == "FAILED")
        assert (hub.replays.get(HERE, "again").state_reason or "").startswith("An event of the archive cannot be read")


async def test_ten_replays_of_a_location_run_at_once_and_no_more() -> None:
    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await fill(hub, 150)
        await hub.rule()
        for number in range(10):
            await hub.replay(f"r{number}")
        with pytest.raises(LimitExceededException):
            await hub.replay("r10")
        async with replaying(hub):
            await until(lambda: all(hub.replay_state(f"r{number}") == "COMPLETED" for number in range(10)))
            await until(hub.settled)
            names = [attempt.accepted.event.replay_name for attempt in sink.sent]
            assert {name: names.count(name) for name in names} == {f"r{number}": 150 for number in range(10)}
            assert len(set(sink.ids)) == 1500
            await hub.replay("r10")


async def test_a_name_is_free_again_when_its_replay_is_forgotten() -> None:
    world = HandWorld()
    async with running(MemoryStore(), ScriptedSink(), world=world) as hub:
        await fill(hub, 1)
        await replayed(hub)
        world.ms += 89 * 86_400_000
        await hub.replays.prune()
        with pytest.raises(ResourceAlreadyExistsException, match=r"^Replay again already exists\.$"):
            await hub.replay()
        world.ms += 2 * 86_400_000
        await hub.replays.prune()
        await hub.replay()


# beside live traffic


async def test_replays_take_turns_and_each_waits_for_its_commit() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await fill(hub, 300)
        for number in range(5):
            await hub.replay(f"r{number}")
        async with replaying(hub):
            await turns(100)
            store.held = True
            await turns(100)
            waiting = [batch for batch, _ in store._pending]
            assert sum(any(key.startswith(b"replay-progress") for _, key, _ in batch.ops) for batch in waiting) <= 1
            store.release()
            await until(lambda: all(hub.replay_state(f"r{number}") == "COMPLETED" for number in range(5)))


async def test_a_replay_pauses_while_much_is_pending_and_never_stands_still() -> None:
    asked: list[int] = []

    def pending() -> int:
        asked.append(hub.lanes.pending)
        return hub.lanes.pending

    async with running(MemoryStore(), sink := ScriptedSink()) as hub:
        await fill(hub, 500)
        sink.hanging[FUNCTION] = asyncio.Event()
        await hub.rule()
        hub.replays = Replays(
            catalog=hub.catalog,
            store=hub.store,
            rows=hub.archives.rows,
            accept=hub.pipeline.accept,
            pending=pending,
            world=hub.world,
            metrics=hub.metrics,
            pending_max=150,
            state_s_min=0.0,
            pause_s=0.02,
        )
        await hub.replay()
        async with replaying(hub):
            await until(lambda: hub.replay_state() == "COMPLETED")
        assert asked[:6] == [0, 100, 200, 300, 400, 500]
        assert hub.lanes.pending == 500


async def test_a_store_that_is_full_holds_a_replay_up_and_loses_nothing() -> None:
    store = MemoryStore()
    refused = 0

    def refuses(batch: Batch) -> StoreError | None:
        nonlocal refused
        if not batch.essential and any(key.startswith(b"replay-progress") for _, key, _ in batch.ops) and refused < 5:
            refused += 1
            return StoreFull("full") if refused % 2 else StoreError("broken")
        return None

    async with running(store, sink := ScriptedSink()) as hub:
        await fill(hub, 150)
        await hub.rule()
        store.refuses = refuses
        await replayed(hub)
        assert refused == 5
        assert numbers(sink) == [iso_seconds(START_MS + 1000 * number) for number in range(150)]
        assert hub.metrics.replayed == 150


@pytest.mark.parametrize("seed", range(20))
async def test_a_replay_that_is_killed_goes_on_exactly_where_it_was(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Killed at random moments, also between a commit and its answer: each event is accepted once by each replay."""
    monkeypatch.setattr(limits, "REPLAY_EVENTS_PER_COMMIT_MAX", 7)
    dice = random.Random(seed)
    store, world = MemoryStore(), HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await fill(hub, 100)
        await hub.rule()
        await hub.replay("one")
        await hub.replay("two", start_ms=START_MS + 10_000, end_ms=START_MS + 60_000)
    for _ in range(30):
        after = await lived(store, world, commits=dice.randint(1, 12))
        if after is None:
            break
        store = after
    store = store.crashed()
    async with running(store, ScriptedSink(), world=world) as hub:
        async with replaying(hub):
            await until(lambda: all(_ended(hub, name) for name in ("one", "two")) and hub.settled())
        states = {name: hub.replays.get(HERE, name) for name in ("one", "two")}
        assert [replay.state for replay in states.values()] == ["COMPLETED", "COMPLETED"]
        assert [replay.replayed for replay in states.values()] == [100, 50]
        plans = [read_plan(row.body) for row in hub.trace.rows(b"", 100_000)[1] if row.is_plan]
        accepted = [plan.event_id for each in plans for plan in each if "-" in plan.event_id]
        assert len(accepted) == len(set(accepted)) == 150


def dying(store: MemoryStore, commits: int) -> list[MemoryStore]:
    """After so many commits, before anybody is told of the last, the process is killed; then what it left is here."""
    left: list[MemoryStore] = []
    to_come = iter(range(commits - 1))

    def kill() -> None:
        if next(to_come, None) is None and not left:
            left.append(store.crashed())

    store.once_durable = kill
    return left


async def lived(store: MemoryStore, world: HandWorld, *, commits: int) -> MemoryStore | None:
    """A process that replays until it is killed: what it left; None where it came to the end before."""
    left = dying(store, commits)
    async with running(store, ScriptedSink(), world=world) as hub, replaying(hub):
        await until(lambda: bool(left) or all(_ended(hub, name) for name in ("one", "two")))
    return left[0] if left else None


def _ended(hub: Hub, name: str) -> bool:
    return hub.replays.get(HERE, name).state == "COMPLETED"


async def test_a_replay_that_was_cancelled_before_a_restart_is_cancelled_after_it() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await fill(hub, 3)
        await hub.replay()
        await hub.replays.cancel(HERE, "again")
    async with running(store.crashed(), ScriptedSink()) as hub:
        async with replaying(hub):
            await until(lambda: hub.replay_state() == "CANCELLED")
        assert isinstance(hub.replays.get(HERE, "again"), Replay)
        assert hub.replays.get(HERE, "again").bus_arn == BUS
