"""Opening a store: its format's version, files that are torn or gone, and what is synced."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from router.store import format
from router.store import lmdb as lmdb_store
from router.store.base import Batch, StoreError, Table, key64
from router.store.lmdb import FolderInUse, LmdbStore
from router.world import RealWorld


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def opened(folder: Path, *, sync: bool = True) -> LmdbStore:
    return LmdbStore(folder, map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic, sync=sync)


async def filled(folder: Path, rows: int = 50) -> None:
    store = opened(folder)
    for number in range(rows):
        batch = Batch()
        batch.put(Table.EVENTS, key64(number), b"x" * 10_000)
        batch.put(Table.CATALOG, b"key-%d" % number, b"x" * 100)
        await store.commit(batch)
    await store.close()


def file_of(folder: Path) -> Path:
    return folder / "store" / "data.mdb"


def set_format(folder: Path, value: bytes | None) -> None:
    with lmdb.open(str(folder / "store"), max_dbs=20, lock=False) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True, db=meta) as txn:
            if value is None:
                txn.delete(b"format")
            else:
                txn.put(b"format", value)


# the format's version


async def test_a_store_without_a_version_is_version_1_and_gets_the_current_ones_row(folder: Path) -> None:
    await filled(folder)
    set_format(folder, None)
    store = opened(folder)
    assert store.get(Table.META, b"format") == b"crossbus-store-2"
    assert store.get(Table.EVENTS, key64(7)) == b"x" * 10_000
    await store.close()


async def test_a_newer_store_is_refused_and_can_be_opened_by_who_wrote_it(folder: Path) -> None:
    await filled(folder)
    set_format(folder, b"crossbus-store-3")
    with pytest.raises(StoreError, match=r"'crossbus-store-3', which is newer than .* start the version that wrote it"):
        opened(folder)
    set_format(folder, b"crossbus-store-2")
    await opened(folder).close()


async def test_a_store_that_is_not_a_hubs_is_refused(folder: Path) -> None:
    await filled(folder)
    set_format(folder, b"something else")
    with pytest.raises(StoreError, match="which is not a hub's: set another data_folder"):
        opened(folder)


async def test_an_older_store_is_migrated_step_by_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def to_2(get: format.Get, put: format.Put) -> None:
        put(Table.META, b"steps", (get(Table.META, b"steps") or b"") + b"2")

    def to_3(get: format.Get, put: format.Put) -> None:
        put(Table.META, b"steps", (get(Table.META, b"steps") or b"") + b"3")

    await filled(folder)
    set_format(folder, b"crossbus-store-1")
    monkeypatch.setattr(format, "FORMAT", 3)
    monkeypatch.setattr(format, "MIGRATIONS", {1: to_2, 2: to_3})
    for _ in range(2):
        store = opened(folder)
        assert store.get(Table.META, b"steps") == b"23"
        assert store.get(Table.META, b"format") == b"crossbus-store-3"
        await store.close()


async def test_a_migration_that_fails_leaves_the_store_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(get: format.Get, put: format.Put) -> None:
        put(Table.META, b"half", b"1")
        raise StoreError("no")

    await filled(folder)
    with monkeypatch.context() as patch:
        patch.setattr(format, "FORMAT", 3)
        patch.setattr(format, "MIGRATIONS", {2: broken})
        with pytest.raises(StoreError, match="no"):
            opened(folder)
    store = opened(folder)
    assert store.get(Table.META, b"half") is None
    await store.close()


async def test_a_store_that_is_too_old_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(folder)
    monkeypatch.setattr(format, "FORMAT", 3)
    with pytest.raises(StoreError, match="start a version in between once"):
        opened(folder)


# files that are torn or gone


@pytest.mark.parametrize("left", [0.3, 0.6, 0.9])
async def test_a_file_that_was_cut_off_is_refused_and_left_as_it_is(folder: Path, left: float) -> None:
    await filled(folder)
    length = int(file_of(folder).stat().st_size * left)
    os.truncate(file_of(folder), length)
    with pytest.raises(StoreError, match=r"data\.mdb is damaged: page \d+ .*cut off. Put back a copy"):
        opened(folder)
    assert file_of(folder).stat().st_size == length


@pytest.mark.parametrize("length", [1, 100, 5000])
async def test_a_head_that_was_cut_off_is_refused(folder: Path, length: int) -> None:
    await filled(folder)
    os.truncate(file_of(folder), length)
    with pytest.raises(StoreError, match=r"data\.mdb is damaged"):
        opened(folder)


async def test_a_file_that_holds_something_else_is_refused(folder: Path) -> None:
    await filled(folder)
    file_of(folder).write_bytes(b"#" * 100_000)
    with pytest.raises(StoreError, match="its head is not that of a store"):
        opened(folder)


@pytest.mark.parametrize("lose", [lambda path: os.truncate(path, 0), lambda path: path.unlink()])
async def test_a_store_that_is_gone_is_not_silently_begun_anew(folder: Path, lose: Callable[[Path], object]) -> None:
    await filled(folder)
    lose(file_of(folder))
    with pytest.raises(StoreError, match=r"data\.mdb is (gone|damaged: it is empty)"):
        opened(folder)


async def test_a_file_that_is_empty_because_the_first_start_was_killed_is_no_damage(folder: Path) -> None:
    (folder / "store").mkdir(parents=True)
    file_of(folder).touch()
    await opened(folder).close()


async def test_a_file_whose_first_write_was_cut_in_two_is_begun_again(folder: Path) -> None:
    await opened(folder).close()
    heads = file_of(folder).read_bytes()[:4096]
    (folder / "format").unlink()
    with lmdb.open(str(folder / "other"), lock=False) as env:
        page_bytes = env.stat()["psize"]
    file_of(folder).write_bytes((folder / "other" / "data.mdb").read_bytes()[:page_bytes])
    store = opened(folder)
    await store.commit(Batch())
    await store.close()
    (folder / "format").unlink()
    file_of(folder).write_bytes(heads)
    with pytest.raises(StoreError, match=r"data\.mdb is damaged: page \d+ of \d+ is missing"):
        opened(folder)  # it has held something


async def test_a_refused_store_leaves_the_folder_free(folder: Path) -> None:
    await filled(folder)
    os.truncate(file_of(folder), 5000)
    for _ in range(2):
        with pytest.raises(StoreError):
            opened(folder)
    file_of(folder).unlink()
    (folder / "format").unlink()
    store = opened(folder)
    with pytest.raises(FolderInUse):
        opened(folder)
    await store.close()


# syncing


async def test_durability_decides_whether_commits_are_synced(folder: Path) -> None:
    for sync in (True, False):
        store = opened(folder, sync=sync)
        assert store._env.flags()["sync"] is sync
        await store.close()


async def test_the_names_of_a_new_stores_files_are_synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = folder / "made" / "with" / "it"
    await opened(folder).close()
    assert {str(path) for path in folder.parents[:3]} <= set(synced), "folders above that are as new as it is"
    assert synced.index(str(folder / "format")) > synced.index(str(folder / "store")), "who finds it trusts the names"
    assert synced.index(str(folder / "format")) > synced.index(str(folder.parents[2]))
    assert {str(path) for path in (folder.parent, folder, folder / "store", folder / "format")} <= set(synced)
    synced.clear()
    await opened(folder).close()
    assert synced == []


async def test_a_failure_ends_by_itself_once_commits_succeed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_store, "_TRY_AGAIN_S", 0.01)
    store = opened(folder)
    broken = True

    class Breaking:
        def __init__(self, env: lmdb.Environment) -> None:
            self._env = env

        def begin(self, **options: Any) -> Any:
            if broken:
                raise lmdb.PanicError("panic")
            return self._env.begin(**options)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_env", Breaking(store._env))
        batch = Batch()
        batch.put(Table.META, b"k", b"v")
        with pytest.raises(StoreError, match="refused a write: PanicError"):
            await store.commit(batch)
        await asyncio.sleep(0.1)
        assert store.failure() is not None
        broken = False
        async with asyncio.timeout(5):
            while store.failure() is not None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
    assert store.get(Table.META, b"k") is None
    await store.close()
