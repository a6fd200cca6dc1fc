"""Archives on the data path: written with the acceptance, counted exactly, kept to their retention, deleted."""

import asyncio
import json

import msgspec
import pytest

from router import archive_rows
from router.catalog.archives import managed_pattern
from router.core.event import Event
from router.errors import ResourceNotFoundException
from router.planning import Incoming
from router.sources.outcome import Refused, Taken
from router.store.base import Batch, StoreError, StoreFull, Table
from tests.pipeline.hub import (
    HERE,
    OTHER,
    ROLE,
    HandWorld,
    ScriptedSink,
    incoming,
    running,
    target,
    until,
)
from tests.pipeline.memory_store import MemoryStore

DAY_MS = 86_400_000
SIZE = len("orders") + len("type") + len("{}") + 26


def rows(store: MemoryStore) -> list[tuple[bytes, Event]]:
    """The archived events with their keys."""
    return [
        (key, archive_rows.read(key, value).event)
        for key, value in sorted(store.tables[Table.ARCHIVE].items())
        if len(key) > 4
    ]


def dated(event_id: str, time: str) -> Incoming:
    item = incoming(event_id)
    return msgspec.structs.replace(item, event=msgspec.structs.replace(item.event, time=time))


async def test_an_archived_event_is_in_its_archive_once_it_is_accepted_and_has_no_delivery() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        assert await hub.accept("e1") == [Taken("e1")]
        assert [event.id for _, event in rows(store)] == ["e1"]
        assert hub.archived() == (1, SIZE)
        assert hub.settled()
        assert list(hub.lanes) == []
        assert (hub.metrics.archived, hub.archives.rows.events, hub.archives.rows.size) == (1, 1, SIZE)


async def test_it_is_written_in_the_batch_that_accepts_it() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.rule()
        await hub.archive()
        before = len(store.commits)
        await hub.accept("e1", "e2")
        tables = [table for table, _, _ in store.commits[before].ops]
        assert tables.count(Table.ARCHIVE) == tables.count(Table.EVENTS) == 2
        assert len([table for table in tables if table < 0]) == 1, "one change of the counters for both"


async def test_an_event_goes_into_every_archive_that_matches_and_to_targets_too() -> None:
    store = MemoryStore()
    async with running(store, sink := ScriptedSink()) as hub:
        await hub.rule()
        await hub.archive("one")
        await hub.archive("two", pattern='{"source":["orders"]}')
        await hub.archive("three", pattern='{"source":["payments"]}')
        await hub.accept("e1")
        await until(lambda: sink.ids == ["e1"])
        assert [hub.archived(name)[0] for name in ("one", "two", "three")] == [1, 1, 0]


async def test_without_an_archive_rule_nothing_is_archived() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.rule()
        await hub.accept("e1")
        assert store.rows(Table.ARCHIVE) == 0


async def test_a_refused_commit_leaves_nothing_in_the_counters() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        store.refuses = lambda batch: StoreFull("full")
        (outcome,) = await hub.accept("e1")
        assert isinstance(outcome, Refused)
        assert outcome.code == "ThrottlingException"
        store.refuses = lambda batch: None
        await hub.accept("e2")
        assert hub.archived() == (1, SIZE)
        assert hub.archives.rows.events == 1


async def test_counts_are_exact_after_a_restart() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.accept("e1", "e2", "e3")
    after = store.crashed()
    async with running(after, ScriptedSink()) as hub:
        assert hub.archived() == (3, 3 * SIZE)
        assert (hub.archives.rows.events, hub.archives.rows.size) == (3, 3 * SIZE)
        await hub.accept("e4")
        assert hub.archived() == (4, 4 * SIZE)


async def test_an_archive_that_is_made_after_a_restart_has_a_number_of_its_own() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        first = await hub.archive("one")
    async with running(store.crashed(), ScriptedSink()) as hub:
        assert (await hub.archive("two")).number > first.number


async def test_a_hop_to_another_bus_is_archived_there() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.catalog.create_bus(HERE, "central")
        central = "arn:aws:events:us-east-1:111111111111:event-bus/central"
        await hub.archives.create(HERE, "there", source_arn=central)
        await hub.rule("forward", '{"source":["orders"]}', target("b", central, role_arn=ROLE))
        await hub.accept("e1")
        await until(hub.settled)
        assert [event.id for _, event in rows(store)] == ["e1"]


async def test_an_event_is_kept_under_its_own_time_and_in_order_within_the_second_it_came_in() -> None:
    store = MemoryStore()
    world = HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await hub.archive()
        now = "2026-09-21T14:13:20Z"
        await hub.pipeline.accept([dated("now", now)])
        world.ms += 400
        await hub.pipeline.accept([dated("later", now), dated("past", "1955-11-05T00:00:00Z")])
        found = [(int.from_bytes(key[4:12], "big"), event.id) for key, event in rows(store)]
        assert found == [(0, "past"), (1_790_000_000_000, "now"), (1_790_000_000_400, "later")]


async def test_the_trace_says_what_was_archived_also_after_a_restart() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.accept("e1")
    async with running(store.crashed(), ScriptedSink()) as hub:
        (event,) = (await hub.traces.of("e1")).events
        assert event.outcome == "matched"
        assert event.archives == event.rules == ["arn:aws:events:us-east-1:111111111111:rule/Events-Archive-all"]


async def test_an_archive_whose_target_was_removed_by_force_is_disabled_until_it_is_updated() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        archive = await hub.archive()
        await hub.catalog.remove_targets(HERE, "default", archive.rule_name, [archive.rule_name], force=True)
        assert hub.archives.state(archive) == "DISABLED"
        await hub.accept("e1")
        assert hub.archived() == (0, 0)
        await hub.archives.update(HERE, "all", retention_days=1)
        assert hub.archives.state(archive) == "ENABLED"
        await hub.accept("e2")
        assert hub.archived() == (1, SIZE)


async def test_a_changed_pattern_counts_from_then_on() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive(pattern='{"source":["payments"]}')
        await hub.accept("e1")
        await hub.archives.update(HERE, "all", event_pattern='{"source":["orders"]}')
        await hub.accept("e2")
        await hub.archives.update(HERE, "all", event_pattern="")
        await hub.accept("e3", source="anything")
        assert [event.id for _, event in rows(store)] == ["e2", "e3"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"replay-name": [{"exists": False}]}),
        ('{"source":["a"]}', {"source": ["a"], "replay-name": [{"exists": False}]}),
        ('{"replay-name":["x"],"source":["a"]}', {"source": ["a"], "replay-name": [{"exists": False}]}),
        (
            '{"$or":[{"source":["a"]},{"source":["b"]}]}',
            {"$or": [{"source": ["a"]}, {"source": ["b"]}], "replay-name": [{"exists": False}]},
        ),
    ],
)
def test_the_managed_rule_takes_the_archives_pattern_and_nothing_replayed(
    given: str | None, expected: dict[str, object]
) -> None:
    assert json.loads(managed_pattern(given)) == expected


# retention


async def test_retention_counts_from_when_an_event_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_rows, "_STEP_ROWS", 2)
    store, world = MemoryStore(), HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await hub.archive(days=2)
        old = ["2026-09-01T00:00:00Z", "2026-09-21T00:00:00Z", "2026-09-21T14:13:20Z", "2031-01-01T00:00:00Z"]
        await hub.pipeline.accept([dated(f"old-{index}", time) for index, time in enumerate(old)])
        world.ms += DAY_MS
        await hub.pipeline.accept([dated("late", "2026-09-01T00:00:00Z"), dated("new", "2026-09-22T14:13:20Z")])
        world.ms += DAY_MS + 1
        await hub.archives.sweep()
        assert sorted(event.id for _, event in rows(store)) == ["late", "new"]
        assert hub.archived() == (2, 2 * SIZE)
        assert hub.archives.expired == 4
        world.ms += DAY_MS
        await hub.archives.sweep()
        assert rows(store) == []
        assert hub.archived() == (0, 0)


async def test_an_archive_without_retention_keeps_everything() -> None:
    store, world = MemoryStore(), HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await hub.archive()
        await hub.accept("e1")
        world.ms += 10_000 * DAY_MS
        await hub.archives.sweep()
        assert hub.archived() == (1, SIZE)


async def test_events_dated_ahead_do_not_outlive_the_retention_of_events() -> None:
    store, world = MemoryStore(), HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        archive = await hub.archive(days=1)
        await hub.pipeline.accept([dated("ahead", "2099-01-01T00:00:00Z")])
        assert hub.archives.totals(archive).ahead == 1
        world.ms += DAY_MS + 1
        await hub.archives.sweep()
        assert hub.archives.totals(archive).numbers == (0, 0, 0)


# deleting


async def test_deleting_takes_rule_and_archive_at_once_and_the_events_in_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive_rows, "_STEP_ROWS", 10)
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        archive = await hub.archive()
        await hub.archive("other")
        await hub.accept(*(f"e{number}" for number in range(35)))
        await hub.archives.delete(HERE, "all")
        assert hub.catalog.rules(HERE, "default").get(archive.rule_name) is None
        with pytest.raises(ResourceNotFoundException, match=r"^Archive all does not exist\.$"):
            hub.archives.get(HERE, "all")
        assert len(rows(store)) == 70
        before = len(store.commits)
        await hub.archives.sweep()
        assert len(store.commits) - before == 5, "four steps of events, and the counters"
        assert {key[:4] for key in store.tables[Table.ARCHIVE]} == {(2).to_bytes(4, "big")}
        assert hub.archives.rows.events == 35


async def test_an_archive_of_the_same_name_is_another_one() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.accept("e1")
        await hub.archives.delete(HERE, "all")
        await hub.archive()
        assert hub.archived() == (0, 0)
        await hub.accept("e2")
        await hub.archives.sweep()
        assert [event.id for _, event in rows(store)] == ["e2"]


async def test_what_was_on_its_way_when_its_archive_was_deleted_goes_too() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        batch = Batch()
        hub.pipeline.planner.plan([incoming("e1")], batch)
        await hub.archives.delete(HERE, "all")
        await hub.archives.sweep()
        await store.commit(batch)
        assert len(rows(store)) == 1
        await hub.archives.sweep()
        assert store.rows(Table.ARCHIVE) == 0


async def test_what_is_deleted_is_looked_after_for_a_minute() -> None:
    store, world = MemoryStore(), HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await hub.archive()
        await hub.accept("e1")
        await hub.archives.delete(HERE, "all")
        for left in (1, 0):
            await hub.archives.sweep()
            assert store.rows(Table.ARCHIVE) == 0
            assert len(hub.archives._doomed) == left
            world.ms += 60_000


async def test_what_was_on_its_way_into_an_archive_without_events_goes_too() -> None:
    store, world = MemoryStore(), HandWorld()
    async with running(store, ScriptedSink(), world=world) as hub:
        await hub.archive(days=1)
        await hub.accept("old")
        world.ms += DAY_MS + 1
        await hub.archives.sweep()
        batch = Batch()
        hub.pipeline.planner.plan([incoming("e1")], batch)
        await hub.archives.delete(HERE, "all")
        coming = asyncio.create_task(store.commit(batch))
        await asyncio.sleep(0)
        assert rows(store) == []
        await hub.archives.sweep()
        await coming
        await hub.archives.sweep()
        assert store.rows(Table.ARCHIVE) == 0
        assert hub.archives.rows.events == 0


@pytest.mark.parametrize("commits", range(6))
async def test_a_deletion_goes_on_after_a_kill_at_any_of_its_commits(
    monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setattr(archive_rows, "_STEP_ROWS", 10)
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.archive("kept")
        await hub.accept(*(f"e{number}" for number in range(35)))
        allowed = commits

        def refuses(batch: Batch) -> StoreError | None:
            nonlocal allowed
            allowed -= 1
            return StoreError("killed") if allowed < 0 else None

        store.refuses = refuses
        try:
            await hub.archives.delete(HERE, "all")
            await hub.archives.sweep()
        except Exception:  # noqa: BLE001 - what a killed process says is not looked at
            pass
    after = store.crashed()
    async with running(after, ScriptedSink()) as hub:
        deleted = hub.catalog.things.names(type(hub.archives.get(HERE, "kept")), HERE) == ["kept"]
        assert deleted == (commits > 0)
        await hub.archives.sweep()
        assert len(rows(after)) == (35 if deleted else 70)
        assert hub.archived("kept") == (35, 35 * SIZE)
        if not deleted:
            assert hub.archived("all") == (35, 35 * SIZE)


async def test_the_background_task_deletes_without_being_asked() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        await hub.accept("e1")
        sweeping = asyncio.create_task(hub.archives.run())
        await asyncio.sleep(0)
        await hub.archives.delete(HERE, "all")
        await until(lambda: store.rows(Table.ARCHIVE) == 0)
        sweeping.cancel()


async def test_archives_of_other_accounts_are_others() -> None:
    store = MemoryStore()
    async with running(store, ScriptedSink()) as hub:
        await hub.archive()
        theirs = "arn:aws:events:us-east-1:222222222222:event-bus/default"
        await hub.archives.create(OTHER, "all", source_arn=theirs)
        await hub.pipeline.accept([incoming("theirs", at=OTHER)])
        assert hub.archived() == (0, 0)
        assert hub.archives.totals(hub.archives.get(OTHER, "all")).events == 1
