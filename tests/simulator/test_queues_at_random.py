"""Queues under random calls, failed batches and restarts: nothing is lost, nothing comes back, counts are right."""

import random
from typing import Any

import pytest

from router.simulator.records import Draft, Stored
from router.store.base import Batch
from tests.simulator.bench import FIFO, FIFO_URL, QUEUE, URL, Bench


class Model:
    """What must be in the queue."""

    def __init__(self, bench: Bench, seed: int, *, fifo: bool) -> None:
        self.bench = bench
        self.random = random.Random(seed)
        self.fifo = fifo
        self.arn, self.url = (FIFO, FIFO_URL) if fifo else (QUEUE, URL)
        self.next = 0
        self.kept: set[str] = set()
        self.held: list[dict[str, Any]] = []
        self.waiting: list[tuple[Batch, list[str]]] = []

    async def step(self) -> None:
        chosen = self.random.choice(
            (self.deposit, self.deposit, self.commit, self.receive, self.receive, self.delete, self.pass_time)
        )
        await chosen()
        if self.random.random() < 0.01:
            self.waiting.clear()
            await self.bench.reopen(clean=self.random.random() < 0.5)
            self.held.clear()

    async def deposit(self) -> None:
        """A batch that becomes durable later, or never."""
        batch = Batch()
        bodies = [str(self.next + index) for index in range(self.random.randint(1, 8))]
        self.next += len(bodies)
        drafts = [
            Draft(
                body.encode(),
                group_id=f"g{int(body) % 5}" if self.fifo else None,
                dedup_id=body if self.fifo else None,
                delay_s=None if self.fifo else self.random.choice((None, None, 3)),
            )
            for body in bodies
        ]
        outcomes = self.bench.inboxes.deposit_many(batch, self.arn, drafts)
        assert all(isinstance(outcome, Stored) for outcome in outcomes)
        if self.random.random() < 0.9:
            self.waiting.append((batch, bodies))

    async def commit(self) -> None:
        """In any order, but for FIFO queues, whose order would change."""
        if self.waiting:
            batch, bodies = self.waiting.pop(0 if self.fifo else self.random.randrange(len(self.waiting)))
            await self.bench.store.commit(batch)
            self.kept.update(bodies)

    async def receive(self) -> None:
        messages = await self.bench.receive(
            self.random.randint(1, 10), QueueUrl=self.url, VisibilityTimeout=self.random.choice((0, 5, 30))
        )
        for message in messages:
            assert message["Body"] in self.kept, f"{message['Body']} was deleted or never sent"
            self.held = [held for held in self.held if held["Body"] != message["Body"]]
            self.held.append(message)

    async def delete(self) -> None:
        if self.held and not self.fifo:
            message = self.held.pop(self.random.randrange(len(self.held)))
            await self.bench.delete(message, self.url)
            self.kept.discard(message["Body"])

    async def pass_time(self) -> None:
        self.bench.world.advance(self.random.random() * 4)
        if self.fifo:
            await self.receive_and_delete()

    async def receive_and_delete(self) -> None:
        for message in await self.bench.receive(5, QueueUrl=self.url):
            assert message["Body"] in self.kept
            await self.bench.delete(message, self.url)
            self.kept.discard(message["Body"])

    async def drain(self) -> list[str]:
        found: list[str] = []
        self.bench.world.advance(60)
        while messages := await self.bench.receive(QueueUrl=self.url):
            for message in messages:
                found.append(message["Body"])
                await self.bench.delete(message, self.url)
        return found


@pytest.mark.parametrize("fifo", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_what_was_kept_is_drained(bench: Bench, seed: int, fifo: bool) -> None:
    await bench.queue("orders.fifo" if fifo else "orders")
    model = Model(bench, seed, fifo=fifo)
    for _ in range(400):
        await model.step()
    assert sum(await bench.counts(model.url)) == len(model.kept)
    found = await model.drain()
    assert sorted(found) == sorted(model.kept)
    assert await bench.counts(model.url) == (0, 0, 0)
    if fifo:
        for group in range(5):
            numbers = [int(body) for body in found if int(body) % 5 == group]
            assert numbers == sorted(numbers)
