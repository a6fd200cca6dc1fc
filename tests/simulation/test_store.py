"""The simulated store keeps the contract that every store keeps; its crashes lose what they may, and nothing else."""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from router.store.base import Batch, Store, StoreError, Table, key64
from tests.simulation.store import CRASH_POINTS, CrashPoint, Disk, Image, SimulatedStore
from tests.store import test_store as contract

Fact = Callable[[Store], Awaitable[None]]
FACTS: list[Fact] = [
    fact
    for name, fact in vars(contract).items()
    if name.startswith("test_") and list(inspect.signature(fact).parameters) == ["any_store"]
]


def opened(image: Image, seed: int = 0) -> SimulatedStore:
    return SimulatedStore(
        image, Disk(random.Random(seed), lambda kind: None, lambda start, stop: None), died=lambda: None
    )


def put(number: int) -> Batch:
    batch = Batch()
    batch.put(Table.EVENTS, key64(number), b"body")
    batch.put(Table.DELIVERIES, key64(number), b"")
    return batch


@pytest.mark.parametrize("fact", FACTS, ids=[fact.__name__ for fact in FACTS])
async def test_simulated_store_keeps_the_contract(fact: Fact) -> None:
    await fact(opened(Image()))


def test_the_contract_has_facts() -> None:
    assert len(FACTS) >= 5


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("seed", range(5))
async def test_a_crash_keeps_what_was_told_and_of_the_rest_the_first_batches_whole(
    point: CrashPoint, seed: int
) -> None:
    image = Image()
    store = opened(image, seed)
    await store.commit(put(1))
    store.crash_after = (2, point)
    told: list[int] = []

    async def commit(number: int) -> None:
        with suppress(StoreError):
            await store.commit(put(number))
            told.append(number)

    await asyncio.gather(*(commit(number) for number in range(2, 6)))
    await asyncio.sleep(0.02)  # the crash after a failed commit takes its time
    kept = [int.from_bytes(key, "big") for key in image.rows(Table.EVENTS)]
    assert kept == list(range(1, len(kept) + 1))
    assert set(told) <= set(kept)
    assert list(image.rows(Table.DELIVERIES)) == list(image.rows(Table.EVENTS))


async def test_numbers_are_given_once_also_after_a_crash() -> None:
    image = Image()
    store = opened(image)
    first = store.sequences(10)
    await store.commit(put(first))
    store.crash()
    assert opened(image).sequences(1) > first + 9
