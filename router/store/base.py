"""The store's contract: ordered tables of bytes, changed in batches that are committed whole.

**On disk when `commit` returns.** Every operation of the batch, or, when it raises, none of it. With `durability:
fsync` the batch is synced: it survives the process being killed and the machine losing power. With `durability: os` it
is handed to the operating system and not synced: it survives a killed process; a machine that goes down may lose what
was acknowledged in its last seconds, and may leave a store that cannot be opened. Nothing else depends on the setting.
PutEvents answers after this, so it is also what an answer means (`docs/durability.md`).

**Ordered.** Batches become durable in the order of their `commit` calls: after a crash, a batch is there only if every
batch before it is. `batch.then(callback)` callbacks run on the event loop, in that order, once the batch is durable and
before any task waiting for it goes on; never for a batch that failed. Nothing is ordered between what is read from the
store and what is on its way into it.

**Repeated.** A crash keeps every batch whose `commit` returned, and may keep later ones, whole and in order, of which
nobody was told. So whoever starts again finds things done that it does not remember: what it does then must be fit to
be done twice. A commit that raises because its last write, the one that makes it visible, failed on the disk is not
acknowledged; it may be there all the same, which is why no later commit succeeds until a restart.

**Read.** `get` and `scan` see what is durable and nothing else. They are called on the event loop and return before any
later commit of this hub starts, so they never hold back space.

**References.** `release(sequence)` takes one reference off an event's body; the last one deletes it, in the same
transaction.

**Counters.** `add` adds to a row of numbers in the same transaction, whatever other batches of the same commit do to
it: who counts need not know what the count is, and no batch that fails leaves a trace in it.

**Besides.** What is put into `batch.beside()` is written with the batch, in the same transaction, if there is room for
it that is not the reserve; otherwise it is left out, its callbacks do not run, and the batch is none the worse for it.

**Failure.** After a commit failed, `failure()` says why until one succeeds; after a batch found no room, until one that
may be refused does. The store tries by itself, so that a hub that gets no traffic recovers too, and who asks first may
keep all others away.

It knows tables and bytes, never what an event or a rule is.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Protocol

import anyio


class Table(IntEnum):
    """Every table, with its key."""

    META = 0  # name
    EVENTS = 1  # sequence (8 bytes): the journal of accepted events that still have deliveries
    REFERENCES = 2  # sequence: how many deliveries still need the body, where it is more than one
    DELIVERIES = 3  # lane (4), due time in ms (8), sequence (8): deliveries not settled
    LANES = 4  # lane (4): which rule and target a lane stands for
    DEAD_LETTERS = 5  # sequence (8): deliveries given up without a queue to take them
    CATALOG = 6  # kind, account, region, names, joined by NUL
    INBOXES = 7  # inbox (4): what the inbox is, its attributes, how many messages it holds
    MESSAGES = 8  # inbox (4), sequence (8)
    TRACE = 9  # sequence (8): what happened to events, a row for each batch of outcomes
    ARCHIVE = 10  # archive (4): its counters; archive (4), event time in ms (8), sequence (8): an archived event


class StoreError(Exception):
    """The batch is not on disk and nothing of it ever will be."""


class StoreFull(StoreError):
    """There is no room for the batch."""


class Batch:
    """Operations that become durable together, and what to do once they are."""

    __slots__ = ("besides", "callbacks", "essential", "failed", "ops")

    def __init__(self, *, essential: bool = False) -> None:
        self.ops: list[tuple[int, bytes, bytes | None]] = []
        self.callbacks: list[Callable[[], None]] = []
        self.essential = essential
        """Essential batches (outcomes) may use the reserve that is kept when the store is full."""
        self.failed = False
        """Whether whoever committed it was refused and gave it up: nothing of it will ever be there."""
        self.besides: Batch | None = None
        """See `beside`. The store sets it to None when it leaves it out."""

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.ops.append((table, key, value))

    def delete(self, table: Table, key: bytes) -> None:
        """Deleting what is not there is not an error."""
        self.ops.append((table, key, None))

    def release(self, sequence: bytes) -> None:
        self.ops.append((RELEASE, sequence, None))

    def add(self, table: Table, key: bytes, amounts: Sequence[int]) -> None:
        """Add to the numbers of a row, which begins at zeros; `counters` reads it. None may become negative."""
        packed = b"".join(amount.to_bytes(8, "big", signed=True) for amount in amounts)
        self.ops.append((ADD - table, key, packed))

    def then(self, callback: Callable[[], None]) -> None:
        """`callback` must not raise; it is a plain function and runs after the batch is durable."""
        self.callbacks.append(callback)

    def beside(self) -> "Batch":
        """What is written with this batch as long as there is room. Its callbacks run before those of this one."""
        if self.besides is None:
            self.besides = Batch()
        return self.besides

    def extend(self, other: "Batch") -> None:
        """Take over another batch's operations and callbacks, after the own ones."""
        self.ops += other.ops
        self.callbacks += other.callbacks
        if other.besides is not None:
            self.beside().extend(other.besides)


RELEASE = -1
ADD = -100
"""What an `add` has in place of its table is this less the table's number."""


class Store(Protocol):
    """See the module's contract."""

    def sequences(self, count: int) -> int:
        """The first of `count` fresh, consecutive, growing numbers; none is given twice, also after a restart."""
        ...

    async def commit(self, batch: Batch) -> None:
        """Raises StoreFull or StoreError with nothing of the batch kept."""
        ...

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        limit: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order (`stop` None: to the end), at most `limit`, and none after those
        whose values together have `bytes_max`."""
        ...

    def failure(self) -> str | None:
        """Why the store cannot take events now, or None."""
        ...

    async def close(self) -> None:
        """Commit what was handed over, then close. Later commits raise StoreError."""
        ...


async def commit(store: Store, batch: Batch) -> None:
    """Commit a batch that may hold nothing, which is done at once. One that holds nothing but what is besides is done
    also when that cannot be written. Raises StoreError."""
    if batch.ops or batch.besides is not None:
        try:
            await store.commit(batch)
        except StoreError:
            if batch.ops:
                raise
        else:
            return
    for callback in batch.callbacks:
        callback()


async def settled(store: Store) -> None:
    """Wait until every commit so far is durable or has failed, however often the caller is cancelled meanwhile: for
    those who hold a lock until what they wrote is true."""
    while True:  # ends with the store's answer: it commits in order
        with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
            with suppress(StoreError):
                await store.commit(Batch())
            return


def counters(row: bytes | None) -> list[int]:
    """The numbers of a row that `Batch.add` adds to; none where there is no row."""
    return [int.from_bytes(row[start : start + 8], "big") for start in range(0, len(row), 8)] if row else []


def added(row: bytes | None, amounts: bytes) -> bytes:
    """The row of numbers after an `add`, for those who implement it."""
    old = row or bytes(len(amounts))
    return b"".join(
        (
            int.from_bytes(old[start : start + 8], "big")
            + int.from_bytes(amounts[start : start + 8], "big", signed=True)
        ).to_bytes(8, "big")
        for start in range(0, len(amounts), 8)
    )


def key32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def key64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def successor(prefix: bytes) -> bytes | None:
    """The first key after all keys with this prefix; None when there is none (all bytes 0xff)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
