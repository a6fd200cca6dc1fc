"""The deduplication ids of one FIFO queue, on disk for five minutes ("FIFO queue exactly-once processing").

Each id is a row under its hash and a row under the time it ends; ended ids are cleared away by later messages, so
memory holds only ids whose batch is not durable yet. While such a batch is under way nobody knows whether its message
will be there, so the same id in another batch is neither a duplicate nor new: `Pending`, try again. Within one batch it
is a duplicate, because a batch is kept whole or not at all.
"""

from hashlib import blake2b

import msgspec

from router import limits
from router.simulator.records import (
    DEDUPLICATION,
    DEDUPLICATION_END,
    Stored,
    dedup_end_ms,
    dedup_end_position,
    message_key,
    position_of,
)
from router.store.base import Batch, Store, Table, key64
from router.world import World

_PENDING_S_MAX = 10.0
"""A batch that is not durable by then is taken for failed."""
_GRACE_MS = 60_000
"""Rows stay this much longer than they count, so that clearing never races with an id that is used again."""


class Pending:
    """A message with this deduplication id is being written."""


class DeduplicationRow(msgspec.Struct, frozen=True, array_like=True):
    """The row of an id: the message that has it, until when."""

    id: str
    end_ms: int
    stored: Stored


class _Held:
    __slots__ = ("batch", "row", "until_s")

    def __init__(self, batch: Batch, row: DeduplicationRow, until_s: float) -> None:
        self.batch = batch
        self.row = row
        self.until_s = until_s


PENDING = Pending()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeduplicationRow).decode


class Deduplication:
    """`scoped` ids are the deduplication id, with the group where DeduplicationScope is messageGroup."""

    def __init__(self, prefix: bytes, store: Store, world: World) -> None:
        self._prefix = prefix
        self._store = store
        self._world = world
        self._held: dict[bytes, _Held] = {}

    def seen(self, batch: Batch, scoped: str) -> Stored | Pending | None:
        """The message that already has this id; None when it is new."""
        self._drop_failed()
        key = self._key(scoped)
        held = self._held.get(key)
        if held is not None and held.row.id == scoped and not held.batch.failed:
            return held.row.stored if held.batch is batch else PENDING
        value = self._store.get(Table.MESSAGES, key)
        if value is not None:
            row = _decode(value)
            if row.id == scoped and row.end_ms > self._world.now_ms():
                return row.stored
        return None

    def note(self, batch: Batch, scoped: str, stored: Stored) -> bytes:
        """Keep the id with its message; hand the returned key to `durable` once `batch` is."""
        key = self._key(scoped)
        end_ms = self._world.now_ms() + limits.DEDUPLICATION_S * 1000
        row = DeduplicationRow(scoped, end_ms, stored)
        batch.put(Table.MESSAGES, key, _encode(row))
        batch.put(Table.MESSAGES, message_key(self._prefix, dedup_end_position(end_ms, stored.position)), key)
        self._held.pop(key, None)
        self._held[key] = _Held(batch, row, self._world.monotonic() + _PENDING_S_MAX)
        return key

    def durable(self, batch: Batch, key: bytes) -> None:
        held = self._held.get(key)
        if held is not None and held.batch is batch:
            del self._held[key]

    def clear(self, batch: Batch, rows_max: int) -> None:
        """Delete rows that ended, at most `rows_max`."""
        stop = message_key(self._prefix, dedup_end_position(self._world.now_ms() - _GRACE_MS, 0))
        start = message_key(self._prefix, DEDUPLICATION_END)
        for end_key, key in self._store.scan(Table.MESSAGES, start, stop, limit=rows_max):
            batch.delete(Table.MESSAGES, end_key)
            value = self._store.get(Table.MESSAGES, key)
            if (
                value is not None
                and key not in self._held
                and _decode(value).end_ms <= dedup_end_ms(position_of(end_key))
            ):
                batch.delete(Table.MESSAGES, key)

    def _drop_failed(self) -> None:
        now_s = self._world.monotonic()
        while self._held:
            key = next(iter(self._held))
            if self._held[key].until_s > now_s:
                break
            del self._held[key]

    def _key(self, scoped: str) -> bytes:
        digest = blake2b(scoped.encode(), digest_size=8).digest()
        return self._prefix + key64(DEDUPLICATION | int.from_bytes(digest, "big") >> 2)
