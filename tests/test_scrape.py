"""What is read of the store when Prometheus asks: ages, what is in use, and whether memory and disk agree."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from router import limits
from router.core.event import Location
from router.lanes import Lane, Lanes, Progress
from router.metrics import Metrics
from router.scrape import StoreScrape
from router.store.base import Batch, Table
from router.store.lmdb import LmdbStore
from router.store.usage import disk_bytes_free
from router.world import RealWorld

HERE = Location("111111111111", "us-east-1")
RULE = "arn:aws:events:us-east-1:111111111111:rule/shop/orders"
NOW = 1_790_000_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LmdbStore]:
    opened = LmdbStore(
        tmp_path / "data", map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic, observer=None
    )
    yield opened
    await opened.close()


@pytest.fixture
def lanes(store: LmdbStore) -> Lanes:
    return Lanes(store, now_ms=lambda: NOW, wake=lambda lane: None)


@pytest.fixture
def scrape(store: LmdbStore, lanes: Lanes) -> StoreScrape:
    return StoreScrape(store, lanes, now_ms=lambda: NOW)


async def admit(
    store: LmdbStore, lanes: Lanes, *ages_s: float, rule: str = RULE, target: str = "t", due_in_s: float = 3600.0
) -> Lane:
    """Deliveries that were begun so long ago, each failed once and due again later."""
    batch = Batch()
    lane = lanes.lane(rule, target, batch)
    lane.kind = "lambda"
    due_ms = NOW + int(due_in_s * 1000)
    for age_s in ages_s:
        progress = Progress(1, NOW - int(age_s * 1000))
        lanes.add(lane, batch, due_ms=due_ms, sequence=store.sequences(1), progress=progress)
        batch.then(lambda: lanes.admit(lane, due_ms))
    await store.commit(batch)
    return lane


async def test_an_origins_age_is_that_of_its_oldest_delivery(
    store: LmdbStore, lanes: Lanes, scrape: StoreScrape
) -> None:
    await admit(store, lanes, 3.0, 90.5, 7.0)
    await admit(store, lanes, 200.0, target="u")
    await admit(store, lanes, 1.0, rule="arn:aws:events:eu-west-1:111111111111:rule/orders")
    scrape.look()
    far = Location("111111111111", "eu-west-1")
    assert scrape.ages_s == {(HERE, "shop", "lambda"): 200.0, (far, "default", "lambda"): 1.0}
    lanes.stop()


async def test_a_fresh_deliverys_age_counts_from_when_it_was_due(
    store: LmdbStore, lanes: Lanes, scrape: StoreScrape
) -> None:
    batch = Batch()
    lane = lanes.lane(RULE, "t", batch)
    lanes.add(lane, batch, due_ms=NOW - 4000, sequence=store.sequences(1))
    await store.commit(batch)
    lane.more = True
    scrape.look()
    assert scrape.ages_s == {(HERE, "shop", "sqs"): 4.0}


async def test_nothing_pending_has_no_age_and_is_accounted_for(
    store: LmdbStore, lanes: Lanes, scrape: StoreScrape
) -> None:
    lane = await admit(store, lanes, 3.0)
    scrape.look()
    assert scrape.ages_s
    batch = Batch()
    for key, _ in store.scan(Table.DELIVERIES):
        batch.delete(Table.DELIVERIES, key)
    lane.parked = 0
    lanes.pending = 0
    await store.commit(batch)
    scrape.look()
    assert (scrape.ages_s, scrape.unaccounted) == ({}, 0)
    lanes.stop()


@pytest.mark.parametrize("missing", [1, -1])
async def test_a_delivery_that_memory_and_disk_do_not_agree_on_is_unaccounted_for(
    store: LmdbStore, lanes: Lanes, scrape: StoreScrape, missing: int
) -> None:
    await admit(store, lanes, 3.0, 4.0)
    scrape.look()
    assert scrape.unaccounted == 0
    lanes.pending += missing
    scrape.look()
    assert scrape.unaccounted == missing
    lanes.stop()


async def test_a_commit_under_way_is_not_taken_for_a_loss(store: LmdbStore, lanes: Lanes, scrape: StoreScrape) -> None:
    """Its rows may be there already while nobody has been told."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(admit, store, lanes, 3.0)
        while store.rows(Table.DELIVERIES) is not None:
            await anyio.lowlevel.checkpoint()
        scrape.look()
    scrape.look()
    assert scrape.unaccounted == 0
    lanes.stop()


async def test_a_look_reads_a_bounded_number_of_rows(
    store: LmdbStore, lanes: Lanes, scrape: StoreScrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AGED_LANES_MAX", 2)
    monkeypatch.setattr(limits, "AGED_ROWS_MAX", 4)
    await admit(store, lanes, 50.0, target="one parked")
    await admit(store, lanes, 1.0, 2.0, 3.0, target="three")
    await admit(store, lanes, 1.0, 2.0, 9.0, 4.0, target="four")
    scrape.look()
    assert scrape.ages_s == {(HERE, "shop", "lambda"): 2.0}
    lanes.stop()


async def test_what_tables_take_shrinks_where_what_was_ever_used_does_not(store: LmdbStore) -> None:
    empty = store.bytes_in_use()
    fill = Batch()
    for number in range(1000):
        fill.put(Table.CATALOG, b"%d" % number, bytes(3000))
    await store.commit(fill)
    full, used = store.bytes_in_use(), store.bytes_used()
    assert empty + 3_000_000 < full <= used
    clear = Batch()
    for number in range(1000):
        clear.delete(Table.CATALOG, b"%d" % number)
    await store.commit(clear)
    assert store.bytes_in_use() < full - 3_000_000
    assert store.bytes_used() >= used


def test_a_disk_that_cannot_be_asked_has_no_number_of_bytes(tmp_path: Path) -> None:
    assert disk_bytes_free(str(tmp_path)) > 0
    assert math.isnan(disk_bytes_free(str(tmp_path / "missing")))


def test_an_origin_without_anything_pending_is_0() -> None:
    metrics = Metrics()
    metrics.sink(HERE, "default", "sqs")
    looked: list[int] = []
    metrics.before_scrape(lambda: looked.append(1))
    metrics.origin_gauge("age", "An age.", lambda: {(HERE, "shop", "lambda"): 2.5})
    metrics.look()
    found = {
        (sample.labels["bus"], sample.labels["sink"]): sample.value
        for family in metrics.families()
        for sample in family.samples
        if sample.name == "crossbus_age"
    }
    assert found == {("default", "sqs"): 0, ("shop", "lambda"): 2.5}
    assert looked == [1]
