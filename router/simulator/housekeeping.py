"""Removing what nobody will receive: the rows of inboxes that are gone, and messages older than their queues keep them.

It works in small batches with turns for others between them, and goes on where it stopped after a restart.
"""

import asyncio
from contextlib import suppress

from router.simulator.inbox import Inbox
from router.simulator.inboxes import Inboxes
from router.simulator.records import decode_message, prefix_of
from router.store.base import Batch, Store, StoreError, Table, successor
from router.world import World

_PAGE_ROWS = 1000
_SWEEP_S = 30.0
_GONE_MS = 60_000
"""How long a removed inbox's number is watched for batches that were still under way."""
_INBOXES_PER_TURN = 50


class Housekeeping:
    """Give `run` a task; `collect` and `sweep` are one round each."""

    def __init__(self, inboxes: Inboxes, store: Store, world: World) -> None:
        self._inboxes = inboxes
        self._store = store
        self._world = world

    async def run(self) -> None:
        """Until cancelled. What the store refuses now is tried again at the next round."""
        while True:
            with suppress(StoreError):
                await self.collect()
                await self.sweep()
            self._inboxes.removals.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._inboxes.removals.wait()

    async def collect(self) -> None:
        """Remove the rows of inboxes that are gone."""
        for number, record in list(self._inboxes.gone.items()):
            prefix = prefix_of(number)
            while rows := self._store.scan(Table.MESSAGES, prefix, successor(prefix), limit=_PAGE_ROWS):
                batch = Batch(essential=True)
                for key, _ in rows:
                    batch.delete(Table.MESSAGES, key)
                await self._store.commit(batch)
            if record.gone_ms is None or record.gone_ms + _GONE_MS <= self._world.now_ms():
                batch = Batch(essential=True)
                batch.delete(Table.INBOXES, prefix)
                await self._store.commit(batch)
                del self._inboxes.gone[number]

    async def sweep(self) -> None:
        """Remove messages that are older than their queues keep them, which nobody received."""
        for turn, inbox in enumerate(self._inboxes.all()):
            if inbox.settings is not None and inbox.count:
                for start, stop in inbox.areas():
                    await self._sweep_area(inbox, start, stop)
            if turn % _INBOXES_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _sweep_area(self, inbox: Inbox, start: bytes, stop: bytes) -> None:
        settings = inbox.settings
        assert settings is not None, f"{inbox.record.arn} is not a queue"
        limit = 1
        while rows := self._store.scan(Table.MESSAGES, start, stop, limit=limit):
            limit = _PAGE_ROWS
            oldest_ms = self._world.now_ms() - settings.retention_ms
            old = [(key, message) for key, value in rows if (message := decode_message(value)).sent_ms <= oldest_ms]
            if not old:
                return
            inbox.queue(self._store, self._world).removing(old)
            batch = Batch(essential=True)
            self._inboxes.remove(batch, inbox, [key for key, _ in old])
            await self._store.commit(batch)
            start = rows[-1][0] + b"\0"
