"""The store's contract in memory, with what a test wants to happen to it: a disk that fails, is slow, or is cut off.

`crashed` is what the next process finds: what was durable, and nothing of what was on its way.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

from router.store.base import ADD, RELEASE, Batch, StoreError, Table, added, key64


class MemoryStore:
    """See the module. One commit holds all batches of a turn of the loop, as the embedded store's does."""

    def __init__(self) -> None:
        self.tables: dict[int, dict[bytes, bytes]] = defaultdict(dict)
        self.refuses: Callable[[Batch], StoreError | None] = lambda batch: None
        """Asked for each batch when it would become durable."""
        self.leaves_out = False
        """While true there is no room for what is written besides."""
        self.held = False
        """While true nothing becomes durable and nothing fails."""
        self.once_durable: Callable[[], None] = lambda: None
        """Runs when rows are durable and before anybody is told: reads see them already."""
        self.commits: list[Batch] = []
        self._sequence = 1
        self._pending: deque[tuple[Batch, asyncio.Future[None]]] = deque()
        self._closed = False
        self._killed = False
        self.telling = False
        """Rows are durable of which nobody has been told yet."""

    def crashed(self) -> "MemoryStore":
        """A new store on what is durable; this one never makes anything durable any more."""
        self._closed = self._killed = True
        while self._pending:
            _fail(self._pending.popleft()[1], StoreError("the process was killed"))
        after = MemoryStore()
        for table, rows in self.tables.items():
            after.tables[table] = dict(rows)
        after._sequence = self._sequence
        return after

    def release(self) -> None:
        self.held = False
        self._turn()

    def rows(self, *tables: Table) -> int:
        return sum(len(self.tables[table]) for table in tables)

    # the contract

    def sequences(self, count: int) -> int:
        self._sequence += count
        return self._sequence - count

    async def commit(self, batch: Batch) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._pending.append((batch, future))
        loop.call_soon(self._turn)
        await asyncio.shield(future)

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.tables[table].get(key)

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        limit: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        rows = self.tables[table]
        found = [(key, rows[key]) for key in sorted(rows) if key >= start and (stop is None or key < stop)][:limit]
        return within(found, bytes_max)

    def failure(self) -> str | None:
        return None

    async def close(self) -> None:
        self.held = False
        while self._pending or self.telling:
            self._turn()
            await asyncio.sleep(0)
        self._closed = True

    # inside

    def _turn(self) -> None:
        if self.held or self._closed or self.telling or not self._pending:
            return
        group, self._pending = self._pending, deque()
        durable: list[tuple[Batch, asyncio.Future[None]]] = []
        for batch, future in group:
            error = self.refuses(batch)
            if error is None:
                if self.leaves_out:
                    batch.besides = None
                self._apply(batch)
                if batch.besides is not None:
                    self._apply(batch.besides)
                durable.append((batch, future))
            else:
                _fail(future, error)
        self.telling = True
        asyncio.get_running_loop().call_soon(self._tell, durable)
        self.once_durable()

    def _tell(self, durable: list[tuple[Batch, asyncio.Future[None]]]) -> None:
        """A turn later, as the embedded store's thread reports to the loop: others may have read the rows by then."""
        self.telling = False
        for batch, future in durable:
            if self._killed:
                _fail(future, StoreError("the process was killed"))
                continue
            self.commits.append(batch)
            for callback in (*(batch.besides.callbacks if batch.besides else ()), *batch.callbacks):
                callback()
            if not future.done():
                future.set_result(None)
        self._turn()

    def _apply(self, batch: Batch) -> None:
        for table, key, value in batch.ops:
            if table == RELEASE:
                self._release(key)
            elif value is None:
                self.tables[table].pop(key, None)
            elif table < 0:
                self.tables[ADD - table][key] = added(self.tables[ADD - table].get(key), value)
            else:
                self.tables[table][key] = value
        self.tables[Table.META][b"sequence"] = key64(self._sequence)

    def _release(self, sequence: bytes) -> None:
        references = self.tables[Table.REFERENCES]
        left = int.from_bytes(references.pop(sequence, b"\x01"), "big") - 1
        if left:
            references[sequence] = left.to_bytes(4, "big")
        else:
            self.tables[Table.EVENTS].pop(sequence, None)


def within(rows: list[tuple[bytes, bytes]], bytes_max: int | None) -> list[tuple[bytes, bytes]]:
    """The first rows, up to the one with which they have so many bytes."""
    if bytes_max is None:
        return rows
    size, kept = 0, []
    for key, value in rows:
        kept.append((key, value))
        size += len(value)
        if size >= bytes_max:
            break
    return kept


def _fail(future: asyncio.Future[None], error: StoreError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a waiter that was cancelled leaves nobody to read it
