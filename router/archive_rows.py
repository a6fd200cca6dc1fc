"""Table ARCHIVE: the archived events, written with what accepts them, read in the order of their times.

Theory. An archive is a number. Its events are rows keyed (archive, event time in ms, sequence), so that a replay reads
a range of times and goes on behind the last key it had, whatever comes or goes meanwhile. One more row, whose key is
the number alone, counts them: events, bytes, and those dated ahead. It is changed by `Batch.add` in the batch that
writes or deletes the events, so it is exact whatever crashes, and costs a write a batch and not one an event. A row
begins with when the event came in, which retention counts from, and its size as AWS counts it; both are read without
decoding it.

Rules.
- The event time is what the envelope says, in whole seconds; where that is the second in which it came in, the
  millisecond in which it came in. So live events of one second stay in their order.
- What has a number that no archive of the catalog has is being deleted: there is no other note of that.

Nothing here knows what an archive is called, or who may read it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec

from router.core.event import Event, entry_size
from router.metrics import Metrics
from router.store.base import Batch, Store, Table, counters, key32, key64, successor

NUMBER_MAX = 2**32 - 2
_AHEAD_MS = 3_600_000
"""How far ahead of its arrival an event must be dated to count as that."""
_HEAD_BYTES = 12
_ENVELOPE_BYTES = 12  # the account id, beside the 14 that a time counts: recorded, 159 bytes for 133 of texts
_STEP_ROWS = 1000
_STEP_BYTES = 4 * 1024**2

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


class Tally:
    """What a batch adds to an archive's counters."""

    __slots__ = ("ahead", "events", "size")

    def __init__(self, events: int = 0, size: int = 0, ahead: int = 0) -> None:
        self.events = events
        self.size = size
        self.ahead = ahead

    def add(self, key: bytes, value: bytes, sign: int = 1) -> None:
        """Count a row."""
        self.events += sign
        self.size += sign * size_of(value)
        self.ahead += sign * is_ahead(key, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and self.numbers == other.numbers

    @property
    def numbers(self) -> tuple[int, int, int]:
        return self.events, self.size, self.ahead


class Archived(msgspec.Struct, frozen=True, gc=False):
    """An event of an archive; `time_ms` is what replays select it by."""

    key: bytes
    event: Event

    @property
    def time_ms(self) -> int:
        return int.from_bytes(self.key[4:12], "big")


def archived_size(event: Event) -> int:
    """What an event counts in an archive's SizeBytes, as recorded on AWS."""
    return _ENVELOPE_BYTES + entry_size(
        has_time=True,
        source=event.source,
        detail_type=event.detail_type,
        detail=event.detail,
        resources=event.resources,
    )


def is_ahead(key: bytes, value: bytes) -> bool:
    return int.from_bytes(key[4:12], "big") > ingested_ms(value) + _AHEAD_MS


def ingested_ms(value: bytes) -> int:
    return int.from_bytes(value[:8], "big")


def size_of(value: bytes) -> int:
    """What a row counts in its archive's SizeBytes."""
    return int.from_bytes(value[8:_HEAD_BYTES], "big")


def read(key: bytes, value: bytes) -> Archived:
    """Raises msgspec.DecodeError."""
    return Archived(key, _decode(value[_HEAD_BYTES:]))


@lru_cache(maxsize=4096)
def _time_ms(time: str) -> int:
    """An envelope's time; what is before 1970 counts as 1970."""
    return max(0, round(datetime.fromisoformat(time).timestamp()) * 1000)


def put(
    batch: Batch, tallies: dict[int, Tally], archives: Iterable[int], event: Event, *, now_ms: int, sequence: int
) -> None:
    """An event for archives, that comes in now. What it adds is in `tallies`, for `count` at the batch's end."""
    time_ms = _time_ms(event.time)
    if time_ms <= now_ms < time_ms + 1000:
        time_ms = now_ms
    size = archived_size(event)
    value = now_ms.to_bytes(8, "big") + size.to_bytes(4, "big") + _encode(event)
    tail = time_ms.to_bytes(8, "big") + sequence.to_bytes(8, "big")
    for number in archives:
        batch.put(Table.ARCHIVE, key32(number) + tail, value)
        tally = tallies.get(number)
        if tally is None:
            tally = tallies[number] = Tally()
        tally.events += 1
        tally.size += size
        if time_ms > now_ms + _AHEAD_MS:
            tally.ahead += 1


class ArchiveRows:
    """The rows of one hub; `events` and `size` are those of all archives together."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self.events = 0
        self.size = 0
        self.number_max = 0
        """The highest number that has rows."""

    def load(self) -> list[int]:
        """Add up the counters; every number that has rows."""
        found = list(self.numbers())
        for number in found:
            total = self.totals(number)
            self.events += total.events
            self.size += total.size
        self.number_max = max(found, default=0)
        return found

    def numbers(self) -> Iterator[int]:
        """Every number that has rows now."""
        start: bytes | None = b""
        while start is not None and (rows := self._store.scan(Table.ARCHIVE, start, limit=1)):
            number = int.from_bytes(rows[0][0][:4], "big")
            yield number
            start = successor(key32(number))

    def totals(self, number: int) -> Tally:
        """What the archive holds, as far as it is durable."""
        return Tally(*counters(self._store.get(Table.ARCHIVE, key32(number))))

    def count(self, batch: Batch, tallies: dict[int, Tally]) -> None:
        """Write what the batch's rows add or take."""
        for number, tally in tallies.items():
            batch.add(Table.ARCHIVE, key32(number), tally.numbers)
        batch.then(lambda: self._grow(tallies.values()))

    def _grow(self, tallies: Iterable[Tally]) -> None:
        for tally in tallies:
            self.events += tally.events
            self.size += tally.size
            self._metrics.archived += max(tally.events, 0)

    def page(
        self, number: int, *, after: bytes, start_ms: int, end_ms: int, limit: int, bytes_max: int
    ) -> list[tuple[bytes, bytes]]:
        """The next rows with start <= time < end, behind the key `after` (b"" is the beginning); `read` decodes one."""
        first = after + b"\0" if after else key32(number) + key64(start_ms)
        return self._store.scan(Table.ARCHIVE, first, key32(number) + key64(end_ms), limit=limit, bytes_max=bytes_max)

    async def expire(self, number: int, oldest_ms: int, after: bytes) -> tuple[bytes | None, int]:
        """One step of a pass that deletes what came in before `oldest_ms`: where the next one begins (None: it was the
        last), and how many events went.

        A pass ends with the events of that time; events that came in early and are dated later are found by a pass over
        all, which is made only where there are any.
        """
        whole = self.totals(number).ahead > 0
        stop = successor(key32(number)) if whole else key32(number) + key64(oldest_ms)
        first = after + b"\0" if after else key32(number) + b"\0"
        rows = self._step(first, stop)
        old = [(key, value) for key, value in rows if ingested_ms(value) < oldest_ms]
        await self._delete(number, old)
        return (rows[-1][0] if rows else None), len(old)

    async def clear(self, number: int) -> int:
        """One step of deleting an archive's events, or at last its counters; how many rows went. Events that came just
        before the counters went, and were not to be seen yet, are not counted any more."""
        rows = self._step(key32(number) + b"\0", successor(key32(number)))
        counted = self._store.get(Table.ARCHIVE, key32(number)) is not None
        await self._delete(number, rows, counted=counted)
        if not rows and counted:
            batch = Batch(essential=True)
            batch.delete(Table.ARCHIVE, key32(number))
            await self._store.commit(batch)
            return 1
        return len(rows)

    def _step(self, start: bytes, stop: bytes | None) -> list[tuple[bytes, bytes]]:
        return self._store.scan(Table.ARCHIVE, start, stop, limit=_STEP_ROWS, bytes_max=_STEP_BYTES)

    async def _delete(self, number: int, rows: Sequence[tuple[bytes, bytes]], *, counted: bool = True) -> None:
        if not rows:
            return
        batch = Batch(essential=True)
        tally = Tally()
        for key, value in rows:
            batch.delete(Table.ARCHIVE, key)
            tally.add(key, value, sign=-1)
        if counted:
            self.count(batch, {number: tally})
        else:
            batch.then(lambda: self._grow((tally,)))
        await self._store.commit(batch)
