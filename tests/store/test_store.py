"""The store's contract, as `router.store.base` states it: what takes `any_store` holds for every implementation (the
embedded one, and the one in memory that other tests stand on); the rest is about the embedded one's folder and size.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import lmdb
import pytest

from router.store.base import Batch, Store, StoreError, StoreFull, Table, counters, key64, successor
from router.store.lmdb import FolderInUse, LmdbStore, gathers_on
from router.world import RealWorld
from tests.pipeline.memory_store import MemoryStore

Open = Callable[[], LmdbStore]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def opened(folder: Path, *, map_bytes_max: int = 1 << 28) -> LmdbStore:
    return LmdbStore(
        folder, map_bytes_max=map_bytes_max, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic, observer=None
    )


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[LmdbStore]:
    store = opened(folder)
    yield store
    await store.close()


@pytest.fixture(params=["lmdb", "memory"])
async def any_store(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Store]:
    store = opened(folder) if request.param == "lmdb" else MemoryStore()
    yield store
    await store.close()


def put(table: Table, key: bytes, value: bytes) -> Batch:
    batch = Batch()
    batch.put(table, key, value)
    return batch


async def test_a_committed_batch_is_there_after_reopening(folder: Path) -> None:
    store = opened(folder)
    await store.commit(put(Table.CATALOG, b"a", b"1"))
    await store.close()
    store = opened(folder)
    assert store.get(Table.CATALOG, b"a") == b"1"
    await store.close()


async def test_what_is_not_committed_yet_cannot_be_read(any_store: Store) -> None:
    committing = asyncio.ensure_future(any_store.commit(put(Table.EVENTS, key64(1), b"x")))
    await asyncio.sleep(0)
    assert any_store.get(Table.EVENTS, key64(1)) is None
    await committing
    assert any_store.get(Table.EVENTS, key64(1)) == b"x"


async def test_batches_of_one_turn_share_a_commit_and_keep_their_order(folder: Path) -> None:
    groups: list[int] = []

    class Observer:
        def committed(self, seconds: float, batches: int) -> None:
            groups.append(batches)

    store = LmdbStore(
        folder, map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic, observer=Observer()
    )
    order: list[int] = []
    batches = []
    for number in range(20):
        batch = put(Table.META, b"last", str(number).encode())
        batch.then(lambda number=number: order.append(number))  # type: ignore[misc]
        batches.append(store.commit(batch))
    await asyncio.gather(*batches)
    assert store.get(Table.META, b"last") == b"19"
    assert order == list(range(20))
    assert groups == [20]
    await store.close()


async def test_what_follows_from_a_commit_shares_the_next_one_with_what_came_meanwhile(folder: Path) -> None:
    groups: list[int] = []

    class Observer:
        def committed(self, seconds: float, batches: int) -> None:
            groups.append(batches)

    store = LmdbStore(
        folder, map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic, observer=Observer()
    )

    async def accept_and_settle() -> None:
        await store.commit(put(Table.META, b"accepted", b"1"))
        await store.commit(put(Table.META, b"settled", b"1"))

    working = asyncio.ensure_future(accept_and_settle())
    await asyncio.sleep(0)  # its batch is handed over,
    await asyncio.sleep(0)  # and its transaction is on its way
    meanwhile = asyncio.ensure_future(store.commit(put(Table.META, b"other", b"1")))
    await asyncio.gather(working, meanwhile)
    assert groups == [1, 2]
    await store.close()


async def test_batches_that_come_turn_by_turn_after_a_commit_share_the_next_one(folder: Path) -> None:
    groups: list[int] = []

    class Observer:
        def committed(self, seconds: float, batches: int) -> None:
            groups.append(batches)

    store = LmdbStore(
        folder, map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic, observer=Observer()
    )
    await store.commit(put(Table.META, b"first", b"1"))
    committing = []
    for number in range(10):
        committing.append(asyncio.ensure_future(store.commit(put(Table.META, str(number).encode(), b"1"))))
        await asyncio.sleep(0)
    await asyncio.gather(*committing)
    assert groups == [1, 10]
    await store.close()


@pytest.mark.parametrize(
    ("turns", "idle", "expected"),
    [
        pytest.param(0, 1, True, id="what the commit was waited for has not gone on yet"),
        pytest.param(3, 4, True, id="nothing came, and settling may still"),
        pytest.param(4, 5, False, id="nothing came at all"),
        pytest.param(4, 2, False, id="what came is all that comes"),
        pytest.param(4, 1, True, id="more may come"),
        pytest.param(19, 0, True, id="more came with every turn"),
        pytest.param(20, 0, False, id="long enough"),
    ],
)
def test_a_transaction_waits_while_turns_bring_more(turns: int, idle: int, expected: bool) -> None:
    assert gathers_on(turns, idle) is expected


async def test_callbacks_run_before_the_waiter_goes_on(any_store: Store) -> None:
    seen: list[str] = []
    batch = put(Table.META, b"k", b"v")
    batch.then(lambda: seen.append("callback"))
    await any_store.commit(batch)
    seen.append("waiter")
    assert seen == ["callback", "waiter"]


async def test_a_cancelled_waiter_leaves_its_batch_durable(any_store: Store) -> None:
    task = asyncio.ensure_future(any_store.commit(put(Table.META, b"k", b"v")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await any_store.commit(Batch())
    assert any_store.get(Table.META, b"k") == b"v"


async def test_scan_gives_rows_in_key_order_within_its_bounds(any_store: Store) -> None:
    batch = Batch()
    for key in (b"b", b"a", b"d", b"c"):
        batch.put(Table.CATALOG, key, key)
    await any_store.commit(batch)
    assert [key for key, _ in any_store.scan(Table.CATALOG)] == [b"a", b"b", b"c", b"d"]
    assert [key for key, _ in any_store.scan(Table.CATALOG, b"b", b"d")] == [b"b", b"c"]
    assert [key for key, _ in any_store.scan(Table.CATALOG, b"b", limit=1)] == [b"b"]
    assert any_store.scan(Table.CATALOG, b"x") == []


@pytest.mark.parametrize("table", [Table.EVENTS, Table.MESSAGES, Table.TRACE])
async def test_rows_that_come_in_any_order_are_all_kept_and_the_last_value_of_a_key_counts(
    any_store: Store, table: Table
) -> None:
    batch = Batch()
    for number in (5, 3, 9, 9, 7, 3):
        batch.put(table, key64(number), b"first")
    batch.put(table, key64(9), b"second")
    await any_store.commit(batch)
    batch = Batch()
    batch.delete(table, key64(9))
    batch.put(table, key64(8), b"after a deletion")
    batch.put(table, key64(3), b"third")
    await any_store.commit(batch)
    rows = [(3, b"third"), (5, b"first"), (7, b"first"), (8, b"after a deletion")]
    assert any_store.scan(table) == [(key64(number), value) for number, value in rows]


@pytest.mark.parametrize("table", [Table.EVENTS, Table.MESSAGES, Table.TRACE])
async def test_rows_that_come_in_the_order_of_their_keys_fill_their_pages(store: LmdbStore, table: Table) -> None:
    used = store.bytes_used()
    batch = Batch()
    for number in range(1000):
        batch.put(table, key64(number), b"x" * 1500)  # two fit on a page of 4096 bytes
    await store.commit(batch)
    assert store.bytes_used() - used < 550 * 4096


async def test_release_of_the_last_reference_deletes_the_body(any_store: Store) -> None:
    batch = Batch()
    batch.put(Table.EVENTS, key64(7), b"body")
    batch.put(Table.REFERENCES, key64(7), (3).to_bytes(4, "big"))
    await any_store.commit(batch)
    for left in (2, 1):
        batch = Batch()
        batch.release(key64(7))
        await any_store.commit(batch)
        assert any_store.get(Table.EVENTS, key64(7)) == b"body", left
    batch = Batch()
    batch.release(key64(7))
    await any_store.commit(batch)
    assert any_store.get(Table.EVENTS, key64(7)) is None
    assert any_store.get(Table.REFERENCES, key64(7)) is None


async def test_a_body_with_one_delivery_needs_no_reference_row(any_store: Store) -> None:
    await any_store.commit(put(Table.EVENTS, key64(1), b"body"))
    batch = Batch()
    batch.release(key64(1))
    await any_store.commit(batch)
    assert any_store.get(Table.EVENTS, key64(1)) is None


async def test_sequences_are_never_given_twice_after_a_restart(folder: Path) -> None:
    store = opened(folder)
    first = store.sequences(10)
    await store.commit(put(Table.META, b"k", b"v"))
    await store.close()
    store = opened(folder)
    assert store.sequences(1) >= first + 10
    await store.close()


async def test_a_batch_without_room_fails_whole_and_the_next_small_one_is_kept(folder: Path) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    await store.commit(put(Table.META, b"kept", b"1"))
    big = Batch()
    big.put(Table.META, b"first", b"1")
    for number in range(40):
        big.put(Table.EVENTS, key64(number), b"x" * 60_000)
    with pytest.raises(StoreFull):
        await store.commit(big)
    assert store.get(Table.META, b"first") is None
    assert "full" in (store.failure() or "")
    await store.commit(put(Table.META, b"small", b"1"))
    assert store.get(Table.META, b"small") == b"1"
    assert store.failure() is None
    await store.close()


async def test_outcomes_are_written_from_the_reserve_when_the_store_is_full(folder: Path) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    outcome = Batch(essential=True)
    for number in range(30):
        outcome.put(Table.DEAD_LETTERS, key64(number), b"x" * 60_000)
    await store.commit(outcome)
    assert len(store.scan(Table.DEAD_LETTERS)) == 30
    await store.close()


async def test_a_full_batch_does_not_take_its_companions_down(folder: Path) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    big = Batch()
    for number in range(40):
        big.put(Table.EVENTS, key64(number), b"x" * 60_000)
    outcome = Batch(essential=True)
    outcome.put(Table.META, b"outcome", b"1")
    results = await asyncio.gather(store.commit(big), store.commit(outcome), return_exceptions=True)
    assert isinstance(results[0], StoreFull)
    assert results[1] is None
    assert store.get(Table.META, b"outcome") == b"1"
    await store.close()


async def test_what_is_put_beside_a_batch_is_written_with_it_and_told_before_it(any_store: Store) -> None:
    told: list[str] = []
    batch = put(Table.META, b"outcome", b"1")
    batch.then(lambda: told.append("batch"))
    other = Batch()
    other.beside().put(Table.META, b"record", b"1")
    other.beside().then(lambda: told.append("beside"))
    batch.extend(other)
    await any_store.commit(batch)
    assert (any_store.get(Table.META, b"outcome"), any_store.get(Table.META, b"record")) == (b"1", b"1")
    assert told == ["beside", "batch"]


@pytest.mark.parametrize("essential", [False, True])
async def test_what_is_put_beside_a_batch_is_left_out_alone_where_there_is_no_room(
    folder: Path, essential: bool
) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    told: list[str] = []
    batch = Batch(essential=essential)
    batch.put(Table.META, b"outcome", b"1")
    batch.then(lambda: told.append("batch"))
    for number in range(40):
        batch.beside().put(Table.EVENTS, key64(number), b"x" * 60_000)
    batch.beside().then(lambda: told.append("beside"))
    await store.commit(batch)
    assert store.get(Table.META, b"outcome") == b"1"
    assert store.scan(Table.EVENTS) == []
    assert batch.besides is None
    assert told == ["batch"]
    assert store.failure() is None
    await store.close()


async def test_what_is_put_beside_outcomes_gets_nothing_of_the_reserve(folder: Path) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    for number in range(20):
        outcome = Batch(essential=True)
        for row in range(5):
            outcome.put(Table.DEAD_LETTERS, key64(number * 5 + row), b"x" * 20_000)
        outcome.beside().put(Table.TRACE, key64(number), b"y" * 20_000)
        await store.commit(outcome)
    assert len(store.scan(Table.DEAD_LETTERS)) == 100
    assert 1 <= len(store.scan(Table.TRACE)) <= 10
    await store.close()


async def test_a_second_process_on_the_folder_is_refused(store: LmdbStore, folder: Path) -> None:
    program = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from router.store.lmdb import FolderInUse, LmdbStore\n"
        "async def main():\n"
        "    LmdbStore(Path(sys.argv[1]), map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=time.monotonic)\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except FolderInUse as error:\n"
        "    print(error)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=30
    )
    assert "is in use by another hub" in done.stdout, done.stderr


async def test_the_folder_is_free_again_after_close(folder: Path) -> None:
    await opened(folder).close()
    await opened(folder).close()


async def test_two_stores_on_one_folder_in_one_process_are_refused(store: LmdbStore, folder: Path) -> None:
    with pytest.raises(FolderInUse, match="is in use by another hub"):
        opened(folder)


async def test_a_store_of_another_format_is_refused(folder: Path) -> None:
    await opened(folder).close()
    with lmdb.open(str(folder / "store"), max_dbs=20, lock=False) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(b"format", b"crossbus-store-99", db=meta)
    with pytest.raises(StoreError, match="has format 'crossbus-store-99'"):
        opened(folder)


async def test_a_closed_store_refuses_batches(any_store: Store) -> None:
    await any_store.close()
    with pytest.raises(StoreError, match="closed"):
        await any_store.commit(put(Table.META, b"k", b"v"))


async def test_close_commits_what_was_handed_over(any_store: Store) -> None:
    committing = asyncio.ensure_future(any_store.commit(put(Table.META, b"k", b"v")))
    await asyncio.sleep(0)
    await any_store.close()
    await committing


async def test_sequences_grow_and_are_never_given_twice(any_store: Store) -> None:
    first = any_store.sequences(3)
    assert any_store.sequences(1) == first + 3


async def test_callbacks_run_in_the_order_of_their_commits(any_store: Store) -> None:
    order: list[int] = []
    batches = []
    for number in range(5):
        batch = put(Table.META, b"k", b"v")
        batch.then(lambda number=number: order.append(number))  # type: ignore[misc]
        batches.append(any_store.commit(batch))
    await asyncio.gather(*batches)
    assert order == [0, 1, 2, 3, 4]


async def test_what_may_be_refused_gets_no_more_of_the_disk_after_outcomes_did(folder: Path) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    numbers = iter(range(10_000))
    used = 0

    async def fill() -> int:
        taken = 0
        while True:
            try:
                await store.commit(put(Table.EVENTS, key64(next(numbers)), b"x" * 20_000))
            except StoreFull:
                return taken
            taken += 1

    assert await fill() > 10
    for turn in range(3):
        outcomes = Batch(essential=True)
        for _ in range(30):
            outcomes.put(Table.DEAD_LETTERS, key64(next(numbers)), b"x" * 20_000)
        await store.commit(outcomes)
        assert await fill() == 0, "free pages or not, more is in use than may be"
        assert store.bytes_used() <= (1 << 20) + (turn + 1) * 800_000
        assert store.bytes_used() > used
        used = store.bytes_used()
    for table, count in ((Table.DEAD_LETTERS, 90), (Table.EVENTS, 20)):
        for key, _ in store.scan(table, limit=count):
            gone = Batch(essential=True)
            gone.delete(table, key)
            await store.commit(gone)  # what a commit frees can be used from the one after the next
    assert await fill() > 10
    assert store.bytes_used() <= used + 800_000
    await store.close()


async def test_a_batch_that_cannot_be_written_fails_alone(store: LmdbStore) -> None:
    bad = put(Table.META, b"k" * 10_000, b"v")
    results = await asyncio.gather(
        store.commit(put(Table.META, b"a", b"1")),
        store.commit(bad),
        store.commit(put(Table.META, b"b", b"1")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), StoreError, type(None)]
    assert (store.get(Table.META, b"a"), store.get(Table.META, b"b")) == (b"1", b"1")


async def test_a_transaction_that_cannot_begin_fails_its_batches_and_the_next_one_is_tried(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def begin(self, **_: object) -> None:
            raise lmdb.PanicError("panic")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_env", Broken())
        with pytest.raises(StoreError, match="refused a write: PanicError"):
            await store.commit(put(Table.META, b"a", b"1"))
        assert store.failure()
    await store.commit(put(Table.META, b"b", b"1"))
    assert store.failure() is None


async def test_a_bug_in_a_callback_is_loud_and_keeps_nobody_waiting(
    store: LmdbStore, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    seen: list[str] = []
    first, second = put(Table.META, b"a", b"1"), put(Table.META, b"b", b"1")
    first.then(broken)
    first.then(lambda: seen.append("first"))
    second.then(lambda: seen.append("second"))
    await asyncio.gather(store.commit(first), store.commit(second))
    await store.commit(put(Table.META, b"c", b"1"))
    assert seen == ["first", "second"]
    assert caplog.messages == ["store.callback_bug"]


def test_successor_is_the_first_key_after_a_prefix() -> None:
    assert successor(b"a") == b"b"
    assert successor(b"a\xff") == b"b"
    assert successor(b"\xff\xff") is None


async def test_what_a_killed_hub_wrote_to_find_room_is_removed_at_the_next_start(folder: Path) -> None:
    store = opened(folder)
    await store.commit(put(Table.META, b"room-0", b"x" * 3000))
    await store.close()
    store = opened(folder)
    await store.commit(put(Table.META, b"other", b"row"))
    assert [key for key, _ in store.scan(Table.META, b"other", b"s")] == [b"other"]
    await store.close()


# counters, and pages bounded in bytes


async def test_counters_add_up_over_batches_of_one_commit_and_of_several(any_store: Store) -> None:
    batches = [Batch() for _ in range(3)]
    for number, batch in enumerate(batches, start=1):
        batch.add(Table.ARCHIVE, b"n", (number, 10 * number))
    await asyncio.gather(any_store.commit(batches[0]), any_store.commit(batches[1]))
    await any_store.commit(batches[2])
    less = Batch()
    less.add(Table.ARCHIVE, b"n", (-2, -20))
    await any_store.commit(less)
    assert counters(any_store.get(Table.ARCHIVE, b"n")) == [4, 40]


async def test_a_batch_that_failed_leaves_nothing_in_a_counter(folder: Path) -> None:
    store = opened(folder, map_bytes_max=1 << 20)
    good, large = Batch(), Batch()
    good.add(Table.ARCHIVE, b"n", (1,))
    large.add(Table.ARCHIVE, b"n", (100,))
    large.put(Table.EVENTS, key64(1), bytes(1 << 21))
    await store.commit(good)
    with pytest.raises(StoreFull):
        await store.commit(large)
    assert counters(store.get(Table.ARCHIVE, b"n")) == [1]
    await store.close()


async def test_a_counter_that_is_not_there_has_no_numbers(any_store: Store) -> None:
    assert counters(any_store.get(Table.ARCHIVE, b"n")) == []


async def test_a_page_ends_with_the_row_that_fills_its_bytes(any_store: Store) -> None:
    batch = Batch()
    for number in range(5):
        batch.put(Table.EVENTS, key64(number), bytes(100))
    await any_store.commit(batch)
    assert len(any_store.scan(Table.EVENTS, bytes_max=1)) == 1
    assert len(any_store.scan(Table.EVENTS, bytes_max=200)) == 2
    assert len(any_store.scan(Table.EVENTS, bytes_max=201)) == 3
    assert len(any_store.scan(Table.EVENTS, bytes_max=201, limit=2)) == 2
    assert len(any_store.scan(Table.EVENTS, bytes_max=1000)) == 5
