"""Schedules in a hub whose clock moves by hand: what fires, when, and to whom, through crashes and clocks that jump."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from router import limits
from router.catalog import records
from router.catalog.model import RuleState, Target
from router.core.event import Location
from router.core.ruletable import RuleTable
from router.core.ruletable_lookup import TooManySteps
from router.sources import schedule
from router.sources.schedule import Schedules, Upcoming
from router.store.base import Batch, StoreError, StoreFull, Table
from router.world import iso_seconds
from tests.pipeline.hub import FAR, FUNCTION, HERE, QUEUE, HandWorld, Hub, ScriptedSink, running, started, target, until
from tests.pipeline.memory_store import MemoryStore

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
ARN = "arn:aws:events:us-east-1:111111111111:rule/r"
EVERY = "cron(* * * * ? *)"
BEGINNING = 1_790_000_000_000  # 2026-09-21T14:13:20Z
OTHER_FUNCTION = FUNCTION + "2"
FAR_FUNCTION = FUNCTION.replace("us-east-1", "eu-west-1")


class Clockwork:
    """A running hub, and its schedules, whose timer is `pass_`."""

    def __init__(self, hub: Hub, sink: ScriptedSink, late_s_max: int) -> None:
        self.world, self.catalog, self.metrics, self.settled = hub.world, hub.catalog, hub.metrics, hub.settled
        self.rule, self.targets, self.accept = hub.rule, hub.targets, hub.accept
        self.queue, self.messages = hub.queue, hub.messages
        self.sink = sink
        self.schedules = Schedules(
            catalog=hub.catalog,
            store=hub.store,
            accept=hub.pipeline.accept,
            world=hub.world,
            metrics=hub.metrics,
            late_s_max=late_s_max,
        )
        self.schedules.load()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def world() -> HandWorld:
    return HandWorld()


@asynccontextmanager
async def ticking(
    store: MemoryStore, world: HandWorld, *, late_s_max: int = limits.SCHEDULE_LATE_S_MAX
) -> AsyncIterator[Clockwork]:
    """One process: leaving it is a crash."""
    sink = ScriptedSink()
    async with running(store, sink, world=world) as hub:
        yield Clockwork(hub, sink, late_s_max)


async def put(
    hub: Clockwork,
    expression: str | None = "rate(1 minute)",
    *targets: Target,
    name: str = "r",
    at: Location = HERE,
    pattern: str | None = None,
    state: RuleState = "ENABLED",
) -> None:
    await hub.catalog.put_rule(
        at,
        "default",
        name,
        created_by=at.account,
        schedule_expression=expression,
        event_pattern=pattern,
        state=state,
    )
    await hub.catalog.put_targets(at, "default", name, targets or (target(),))


async def pass_(hub: Clockwork, seconds: float) -> None:
    """Time goes on at once, and what is due fires and is delivered."""
    hub.world.ms += round(seconds * 1000)
    assert await hub.schedules.fire()
    await until(hub.settled)


def fired(hub: Clockwork) -> list[str]:
    """The times of the events that arrived, as seconds since the beginning or as they are."""
    return [attempt.accepted.event.time for attempt in hub.sink.sent]


def times(*seconds: int) -> list[str]:
    return [iso_seconds(BEGINNING + second * 1000) for second in seconds]


# what fires


async def test_a_fire_is_the_event_that_aws_sends(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await hub.queue(QUEUE)
        await put(hub, "rate(1 minute)", target(arn=QUEUE))
        await pass_(hub, 60)
        (message,) = hub.messages(QUEUE)
    body = json.loads(message.body)
    assert list(body) == ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"]
    assert body.pop("id") == message.event_id
    assert body == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "111111111111",
        "time": "2026-09-21T14:14:20Z",
        "region": "us-east-1",
        "resources": [ARN],
        "detail": {},
    }


async def test_a_rate_fires_at_each_period_from_the_rules_creation(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(2 minutes)")
        await pass_(hub, 119)
        assert fired(hub) == []
        await pass_(hub, 1)
        await pass_(hub, 0)
        await pass_(hub, 119)
        assert fired(hub) == times(120)
        await pass_(hub, 5)
        assert fired(hub) == times(120, 240), "a timer that is late does not make the event late"
        assert len(set(hub.sink.ids)) == 2
        assert (hub.metrics.schedule_fires, hub.metrics.schedule_missed) == (2, 0)


async def test_a_cron_fires_in_each_of_its_minutes(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "cron(15,16 14 * * ? *)")
        for _ in range(5):
            await pass_(hub, 60)
        assert fired(hub) == ["2026-09-21T14:15:00Z", "2026-09-21T14:16:00Z"]
        await pass_(hub, DAY_MS / 1000 - 3 * 60)
        assert fired(hub)[2:] == ["2026-09-22T14:15:00Z"]


async def test_rules_of_all_locations_fire_together_each_to_its_own_targets(
    store: MemoryStore, world: HandWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCHEDULE_FIRES_PER_COMMIT_MAX", 2)
    async with ticking(store, world) as hub:
        await put(hub, name="a")
        await put(hub, "rate(1 minute)", target(arn=FAR_FUNCTION), name="b", at=FAR)
        await put(hub, name="c")
        await put(hub, "rate(1 hour)", name="later")
        await pass_(hub, 60)
        found = sorted((attempt.rule_arn, attempt.accepted.event.region) for attempt in hub.sink.sent)
        assert [(arn.rpartition("/")[2], region) for arn, region in found] == [
            ("b", "eu-west-1"),
            ("a", "us-east-1"),
            ("c", "us-east-1"),
        ]
        assert all(attempt.accepted.event.resources == (attempt.rule_arn,) for attempt in hub.sink.sent)


async def test_the_event_enters_the_default_bus_and_other_rules_match_it(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        await hub.rule("watching", '{"source":["aws.events"]}', target(arn=OTHER_FUNCTION))
        await hub.rule("elsewhere", '{"source":["aws.s3"]}')
        await pass_(hub, 60)
        assert sorted(attempt.rule_arn for attempt in hub.sink.sent) == [ARN, ARN.replace("/r", "/watching")]
        assert len(set(hub.sink.ids)) == 1
        assert hub.metrics.bus(HERE, "default").accepted == 1


@pytest.mark.parametrize("pattern", ['{"source":["aws.events"]}', '{"source":["orders"]}'])
async def test_a_rule_with_both_fires_on_either_and_once_where_both_hold(
    store: MemoryStore, world: HandWorld, pattern: str
) -> None:
    async with ticking(store, world) as hub:
        await put(hub, pattern=pattern)
        await pass_(hub, 60)
        assert fired(hub) == times(60)
        await hub.accept("e1")
        await until(hub.settled)
        assert hub.sink.ids[1:] == (["e1"] if "orders" in pattern else [])


async def test_targets_get_their_own_input(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(1 minute)", Target(id="t", arn=FUNCTION, input='{"custom-value":"somecustominput"}'))
        await pass_(hub, 60)
        assert [attempt.payload for attempt in hub.sink.sent] == [b'{"custom-value":"somecustominput"}']


async def test_a_rule_without_targets_fires_and_goes_on(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        await hub.catalog.remove_targets(HERE, "default", "r", ["t"])
        await pass_(hub, 60)
        assert (hub.sink.sent, hub.metrics.schedule_fires) == ([], 1)
        await hub.targets("r", target())
        await pass_(hub, 60)
        assert fired(hub) == times(120)


# changes


async def test_a_disabled_rule_does_not_fire_until_it_is_enabled(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, state="DISABLED")
        await pass_(hub, 150)
        assert (fired(hub), hub.metrics.schedule_missed) == ([], 0)
        await hub.catalog.set_rule_state(HERE, "default", "r", "ENABLED")
        await pass_(hub, 59)
        assert fired(hub) == []
        await pass_(hub, 1)
        await hub.catalog.set_rule_state(HERE, "default", "r", "DISABLED")
        await pass_(hub, 100)
        assert fired(hub) == times(210)


async def test_a_changed_expression_replaces_the_old_one(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(2 minutes)")
        await pass_(hub, 60)
        await put(hub, "rate(3 minutes)")
        for _ in range(6):
            await pass_(hub, 30)
        assert fired(hub) == times(240)
        await put(hub, None, pattern='{"source":["orders"]}')
        await pass_(hub, 600)
        assert (fired(hub), hub.schedules.count) == (times(240), 0)


async def test_putting_the_same_rule_again_keeps_the_cadence(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        for _ in range(4):
            await pass_(hub, 25)
            await put(hub, "rate(1 minute)", target(arn=OTHER_FUNCTION))
        assert fired(hub) == times(60)
        assert hub.sink.sent[0].target.arn == OTHER_FUNCTION


async def test_a_deleted_rule_does_not_fire_and_leaves_nothing(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        await pass_(hub, 60)
        assert len(list(records.fired(store))) == 1
        await hub.catalog.remove_targets(HERE, "default", "r", ["t"])
        await hub.catalog.delete_rule(HERE, "default", "r")
        assert list(records.fired(store)) == []
        await pass_(hub, 60)
        assert fired(hub) == times(60)
        assert hub.schedules.count == 0


async def test_a_rule_that_is_made_again_begins_anew(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        await pass_(hub, 60)
        await hub.catalog.remove_targets(HERE, "default", "r", ["t"])
        await hub.catalog.delete_rule(HERE, "default", "r")
        world.ms += 30_000
        await put(hub)
        await pass_(hub, 59)
        assert fired(hub) == times(60)
        await pass_(hub, 1)
        assert fired(hub) == times(60, 150)


async def test_a_rule_that_is_disabled_while_others_are_being_stored_does_not_fire(
    store: MemoryStore, world: HandWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCHEDULE_FIRES_PER_COMMIT_MAX", 1)
    async with ticking(store, world) as hub:
        await put(hub, name="a")
        await put(hub, name="b")
        world.ms += 60_000
        store.held = True
        firing = started(hub.schedules.fire())
        disabling = started(hub.catalog.set_rule_state(HERE, "default", "b", "DISABLED"))
        await anyio.lowlevel.checkpoint()
        store.release()
        store.held = False
        await disabling
        assert await firing
        await until(hub.settled)
        assert [attempt.rule_arn.rpartition("/")[2] for attempt in hub.sink.sent] == ["a"]


async def test_a_rule_that_is_changed_while_its_fire_is_being_stored_goes_on_as_changed(
    store: MemoryStore, world: HandWorld
) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        world.ms += 60_000
        store.held = True
        firing = started(hub.schedules.fire())
        changing = started(put(hub, "rate(3 minutes)"))
        await anyio.lowlevel.checkpoint()
        store.release()
        store.held = False
        await changing
        assert await firing
        await until(hub.settled)
        for _ in range(3):
            await pass_(hub, 60)
        assert fired(hub) == times(60, 240)


async def test_many_changes_leave_a_small_heap(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        for number in range(300):
            await put(hub, f"rate({number + 2} hours)")
        assert len(hub.schedules._heap) <= schedule._STALE_MAX + 2
        await pass_(hub, 301 * 3600)
        assert fired(hub) == times(301 * 3600)


# crashes, and a store that fails


async def test_a_restart_repeats_nothing_and_keeps_the_cadence(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(2 minutes)")
        await pass_(hub, 125)
        assert fired(hub) == times(120)
    after = store.crashed()
    async with ticking(after, world) as hub:
        await pass_(hub, 0)
        await pass_(hub, 114)
        assert fired(hub) == []
        await pass_(hub, 1)
        assert fired(hub) == times(240)


async def test_a_fire_that_was_durable_and_not_delivered_is_delivered_after_a_crash_and_not_made_again(
    store: MemoryStore, world: HandWorld
) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        hub.sink.hanging[FUNCTION] = asyncio.Event()
        world.ms += 60_000
        assert await hub.schedules.fire()
        await until(lambda: bool(hub.sink.sent))
        ids = hub.sink.ids
    async with ticking(store.crashed(), world) as hub:
        await pass_(hub, 0)
        assert (fired(hub), hub.sink.ids) == (times(60), ids)


async def test_a_crash_before_the_commit_leaves_a_fire_that_is_made_after_the_restart(
    store: MemoryStore, world: HandWorld
) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        world.ms += 60_000
        store.held = True
        firing = started(hub.schedules.fire())
        await anyio.lowlevel.checkpoint()
        after = store.crashed()
        assert not await firing
        assert hub.sink.sent == []
    async with ticking(after, world) as hub:
        await pass_(hub, 10)
        assert fired(hub) == times(60)
        assert hub.metrics.schedule_missed == 0


@pytest.mark.parametrize("error", [StoreError("disk"), StoreFull("full")])
async def test_a_fire_that_the_store_did_not_take_is_the_same_event_when_it_does(
    store: MemoryStore, world: HandWorld, error: StoreError
) -> None:
    tried: list[bytes] = []

    def refuse(batch: Batch) -> StoreError:
        tried.extend(value for table, _, value in batch.ops if table == Table.EVENTS and value is not None)
        return error

    async with ticking(store, world) as hub:
        await put(hub)
        await put(hub, name="other")
        world.ms += 60_000
        accepting, store.refuses = store.refuses, refuse
        assert not await hub.schedules.fire()
        store.refuses = accepting
        assert hub.sink.sent == []
        await pass_(hub, 20)
        assert fired(hub) == times(60, 60)
        assert len(tried) == 2
        assert all(any(event_id.encode() in body for body in tried) for event_id in hub.sink.ids)


async def test_an_event_that_the_bus_refuses_is_counted_as_missed_and_the_schedule_goes_on(
    store: MemoryStore, world: HandWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        with monkeypatch.context() as patch:
            patch.setattr(RuleTable, "match", too_costly)
            await pass_(hub, 60)
        assert (fired(hub), hub.metrics.schedule_fires, hub.metrics.schedule_missed) == ([], 0, 1)
        await pass_(hub, 60)
        assert fired(hub) == times(120)


def too_costly(*_: object) -> None:
    raise TooManySteps("it would take too many steps")


# missed fires


async def test_of_the_fires_while_the_hub_was_down_the_last_is_made_and_the_others_are_counted(
    store: MemoryStore, world: HandWorld
) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        await pass_(hub, 60)
    world.ms += 10 * MINUTE_MS + 30_000
    async with ticking(store.crashed(), world) as hub:
        await pass_(hub, 0)
        assert fired(hub) == times(660)
        assert (hub.metrics.schedule_fires, hub.metrics.schedule_missed) == (1, 9)
        await pass_(hub, 30)
        assert fired(hub) == times(660, 720)


@pytest.mark.parametrize(("late_s", "made"), [(300, True), (300.001, False)])
async def test_a_fire_is_late_by_the_setting_at_most(
    store: MemoryStore, world: HandWorld, late_s: float, *, made: bool
) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(1 day)")
    world.ms += DAY_MS + round(late_s * 1000)
    async with ticking(store.crashed(), world, late_s_max=300) as hub:
        await pass_(hub, 0)
        assert fired(hub) == (times(86_400) if made else [])
        assert (hub.metrics.schedule_fires, hub.metrics.schedule_missed) == (int(made), int(not made))


async def test_what_was_missed_is_not_counted_again_after_the_next_restart(
    store: MemoryStore, world: HandWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(1 hour)")
    world.ms += 100 * HOUR_MS + 30 * MINUTE_MS
    caplog.set_level("WARNING")
    after = store.crashed()
    async with ticking(after, world) as hub:
        await pass_(hub, 0)
        assert (fired(hub), hub.metrics.schedule_missed) == ([], 100)
        assert sum("schedules.missed" in record.getMessage() for record in caplog.records) == 1
    async with ticking(after.crashed(), world) as hub:
        await pass_(hub, 0)
        assert (fired(hub), hub.metrics.schedule_missed) == ([], 0)
        await pass_(hub, 30 * 60)
        assert fired(hub) == times(101 * 3600)


# clocks that jump


async def test_a_clock_set_forward_makes_the_last_fire_late_and_no_other(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, EVERY)
        await pass_(hub, 3600)
        assert fired(hub) == ["2026-09-21T15:13:00Z"]
        assert hub.metrics.schedule_missed == 59


@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_set_back_fires_nothing_twice(store: MemoryStore, world: HandWorld, *, restart: bool) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        await pass_(hub, 60)
        if not restart:
            world.ms -= HOUR_MS
            for _ in range(60):
                await pass_(hub, 60)
            assert fired(hub) == times(60)
            await pass_(hub, 60)
            assert fired(hub) == times(60, 120)
            return
    world.ms -= HOUR_MS
    async with ticking(store.crashed(), world) as hub:
        await pass_(hub, 3600)
        assert fired(hub) == []
        await pass_(hub, 60)
        assert fired(hub) == times(120)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("expression", ["rate(1 minute)", EVERY])
async def test_a_clock_that_was_wrong_by_more_than_a_day_is_followed_back(
    store: MemoryStore, world: HandWorld, expression: str, *, restart: bool
) -> None:
    world.ms += 3000 * DAY_MS
    async with ticking(store, world) as hub:
        await put(hub, expression)
        await pass_(hub, 60)
        assert len(fired(hub)) == 1
        if not restart:
            world.ms = BEGINNING
            await pass_(hub, 0)
            await pass_(hub, 60)
            assert fired(hub)[1:] == (times(60) if expression != EVERY else ["2026-09-21T14:14:00Z"])
            return
    world.ms = BEGINNING
    async with ticking(store.crashed(), world) as hub:
        await pass_(hub, 0)
        await pass_(hub, 60)
        assert fired(hub) == (times(60) if expression != EVERY else ["2026-09-21T14:14:00Z"])


# running


async def test_running_it_fires_in_time_wakes_for_changes_and_goes_on_after_the_store_failed(
    store: MemoryStore, world: HandWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_LOOK_S_MAX", 0.001)
    monkeypatch.setattr(schedule, "_PAUSE_S", 0.001)
    async with ticking(store, world) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(hub.schedules.run)
        await anyio.sleep(0.01)
        assert fired(hub) == []
        await put(hub)
        world.ms += 60_000
        await until(lambda: fired(hub) == times(60))
        accepting = store.refuses
        refused: list[Batch] = []

        def refuse(batch: Batch) -> StoreError:
            refused.append(batch)
            return StoreError("disk")

        await until(hub.settled)
        store.refuses = refuse
        world.ms += 60_000
        await until(lambda: len(refused) > 2)
        store.refuses = accepting
        await until(lambda: fired(hub) == times(60, 120))
        await until(hub.settled)
        tasks.cancel_scope.cancel()


async def test_a_fire_that_has_begun_is_finished_when_the_hub_stops(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
        world.ms += 60_000
        async with anyio.create_task_group() as tasks:
            store.held = True
            tasks.start_soon(hub.schedules.run)
            await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
            await anyio.lowlevel.cancel_shielded_checkpoint()
            store.release()
            store.held = False
        assert [row.fired_ms for row in records.fired(store)] == [BEGINNING + 60_000]


async def test_an_unreadable_stored_schedule_is_refused_with_its_rule(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub)
    after = store.crashed()
    for key, row in after.tables[Table.CATALOG].items():
        after.tables[Table.CATALOG][key] = row.replace(b"rate(1 minute)", b"rate(one minute)")
    with pytest.raises(StoreError, match=f"the schedule of the stored rule {ARN} cannot be read: expected rate"):
        async with ticking(after, world):
            pass


# looking


async def test_the_next_fires_are_shown_by_rule_a_page_at_a_time(store: MemoryStore, world: HandWorld) -> None:
    async with ticking(store, world) as hub:
        await put(hub, "rate(1 hour)", name="b")
        await put(hub, "cron(0 12 * * ? *)", target(arn=FAR_FUNCTION), name="a", at=FAR)
        await put(hub, "cron(0 0 1 1 ? 2020)", name="c")
        await put(hub, "rate(1 hour)", name="d", state="DISABLED")
        shown = hub.schedules.upcoming("", 10, 2)()
        prefix = "arn:aws:events:us-east-1:111111111111:rule/"
        here = ("111111111111", "us-east-1")
        assert shown == [
            Upcoming(
                "arn:aws:events:eu-west-1:111111111111:rule/a", "111111111111", "eu-west-1", "a", "cron(0 12 * * ? *)",
                "ENABLED", ["2026-09-22T12:00:00Z", "2026-09-23T12:00:00Z"],
            ),
            Upcoming(prefix + "b", *here, "b", "rate(1 hour)", "ENABLED", times(3600, 7200)),
            Upcoming(prefix + "c", *here, "c", "cron(0 0 1 1 ? 2020)", "ENABLED", []),
            Upcoming(prefix + "d", *here, "d", "rate(1 hour)", "DISABLED", []),
        ]  # fmt: skip
        assert hub.schedules.upcoming("", 1, 2)() == shown[:1]
        assert hub.schedules.upcoming(prefix + "b", 10, 2)() == shown[2:]
        await pass_(hub, 3600)
        assert hub.schedules.upcoming(prefix + "a", 1, 1)()[0].next == times(7200)
