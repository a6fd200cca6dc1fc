"""Records of stacks: durable, versioned, bounded."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from router import limits
from router.core.event import Location
from router.errors import LimitExceededException
from router.importers.record import StackRecord
from router.stacks import StackChanged, Stacks
from router.store.base import StoreError, Table
from tests.pipeline.memory_store import MemoryStore

HERE = Location("111111111111", "us-east-1")
RECORD = StackRecord(account=HERE.account, region=HERE.region, stack="shop")


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_written_record_is_read_also_by_another_start() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        stacks = Stacks(store)
        assert await stacks.put(RECORD) == 1
        assert await stacks.put(msgspec.structs.replace(RECORD, version=1, status="complete")) == 2
        again = Stacks(store)
        assert again.get(HERE, "shop") == msgspec.structs.replace(RECORD, version=2, status="complete")
        assert [record.stack for record in again.of(HERE)] == ["shop"]
        assert again.of(Location("222222222222", "us-east-1")) == []

    run(scenario())


def test_write_that_does_not_know_the_latest_version_is_refused() -> None:
    async def scenario() -> None:
        stacks = Stacks(MemoryStore())
        await stacks.put(RECORD)
        with pytest.raises(StackChanged, match="expected version 1, got 0"):
            await stacks.put(RECORD)

    run(scenario())


def test_who_comes_after_a_write_that_was_cancelled_sees_it() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        stacks = Stacks(store)
        store.held = True
        first = asyncio.create_task(stacks.put(RECORD))
        await asyncio.sleep(0)
        first.cancel()
        second = asyncio.create_task(stacks.put(RECORD))
        for _ in range(3):
            await asyncio.sleep(0)
        store.release()
        with pytest.raises(StackChanged, match="expected version 1, got 0"):
            await second
        with pytest.raises(asyncio.CancelledError):
            await first

    run(scenario())


def test_deleted_record_is_gone_and_deleting_it_again_is_no_error() -> None:
    async def scenario() -> None:
        stacks = Stacks(MemoryStore())
        await stacks.put(RECORD)
        assert await stacks.delete(HERE, "shop")
        assert not await stacks.delete(HERE, "shop")
        assert stacks.get(HERE, "shop") is None

    run(scenario())


def test_record_and_number_of_stacks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        stacks = Stacks(MemoryStore())
        large = msgspec.structs.replace(RECORD, reason="x" * limits.STACK_RECORD_BYTES_MAX)
        with pytest.raises(LimitExceededException, match="expected the record of a stack to have at most"):
            await stacks.put(large)
        monkeypatch.setattr(limits, "STACKS_PER_LOCATION_MAX", 1)
        await stacks.put(RECORD)
        with pytest.raises(LimitExceededException):
            await stacks.put(msgspec.structs.replace(RECORD, stack="other"))

    run(scenario())


def test_all_stacks_are_listed_over_pages() -> None:
    async def scenario() -> None:
        stacks = Stacks(MemoryStore())
        names = [f"s{number:03}" for number in range(205)]
        for name in names:
            await stacks.put(msgspec.structs.replace(RECORD, stack=name))
        assert [record.stack for record in stacks.all()] == names

    run(scenario())


def test_row_that_cannot_be_read_is_named() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.tables[Table.CATALOG][b"stack\0a\0b\0c"] = b"{"
        with pytest.raises(StoreError, match="the catalog's row 'stack/a/b/c' cannot be read"):
            list(Stacks(store).all())

    run(scenario())
