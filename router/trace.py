"""The trace: what happened to each event, written with what it tells of, kept for a bounded time.

Theory. The trace is a log: one row for the events of an accept, one row for what a settle made of a lane's deliveries,
each in the batch that does what the row says. So it costs no commit, a few bytes an event, and a crash leaves both or
neither. There is no index by event: rows are in the order of their sequences, which follow what caused them, and who
asks for an event reads the log (`trace_tree`). That is slow for the one who asks, and free for the events.

Rules.
- What is pending or parked, and what is kept as a dead letter, is not said here: it is read where it lives.
- An event that a producer put and that goes nowhere has no batch: it is remembered in memory, the last few of them.
- Rows leave oldest first, in small steps, when they are too old or together too large.

Nothing here decides what becomes of a delivery.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import anyio
import anyio.lowlevel
import msgspec

from router import limits
from router.core.event import Event, Location
from router.lanes import Delivery, Lane, LaneName, Progress
from router.sinks.base import Accepted
from router.store.base import Batch, Store, StoreError, Table, key64
from router.world import World

PLANNED = b"P"
SETTLED = b"S"
_HEAD_BYTES = 9  # a row's kind, and its time in ms
_ROW_BYTES = 32  # what a row takes beside its value, about
_EVENTS_PER_ROW_MAX = 100
_IDLE_RULES_MAX = 100
_STEP_ROWS = 500
_SWEEP_S = 1.0


class Planned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event on a bus, and where it goes from there."""

    event_id: str
    source: str
    detail_type: str
    location: Location
    bus: str
    parent_id: str | None
    """The id it had before a cross-region hop."""
    via: LaneName | None
    """The rule and target that sent it here from another bus."""
    sequence: bytes = b""
    lanes: bytes = b""
    """The numbers of the lanes of its deliveries, four bytes each."""
    idle_rules: Sequence[str] = ()
    """Rules that it matched and that have no targets."""
    dropped: bool = False
    """There is no such bus."""
    redriven: int | None = None
    """The number of the dead letter that is delivered after all."""
    archive_rules: Sequence[str] = ()
    """Managed rules whose archives have it; it was in them once it was accepted."""


class LetterPlace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a dead letter went: to a queue, or kept under a number, or kept because its queue did not take it."""

    queue: str | None = None
    number: int | None = None
    sequence: bytes | None = None
    """On its way to a queue at a real endpoint it is a delivery of its own, due at once."""
    due_ms: int = 0


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An attempt that failed, and what follows: another one, or a dead letter."""

    sequence: bytes
    attempt: int
    code: str
    message: str
    due_ms: int | None = None
    condition: str | None = None
    place: LetterPlace | None = None


class Settled(msgspec.Struct, array_like=True, gc=False):
    """What became of some deliveries of one lane, tried together."""

    lane: bytes
    took_ms: int
    delivered: bytearray = msgspec.field(default_factory=bytearray)
    """The sequences of what the target took at the first attempt, eight bytes each."""
    delivered_later: list[tuple[bytes, int]] = []
    """Sequences, and which attempt it was."""
    failures: list[Failure] = []
    took_each: Sequence[int] = ()
    """How long each of `delivered` took, in ms, where they were calls of their own; `took_ms` is then the longest."""

    def took(self, delivery: Delivery) -> None:
        if delivery.progress is None:
            self.delivered += delivery.sequence
        else:
            self.delivered_later.append((delivery.sequence, delivery.progress.attempts + 1))

    def parked(self, delivery: Delivery, progress: Progress, due_ms: int) -> None:
        self.failures.append(Failure(delivery.sequence, *_said(progress), due_ms))

    def given_up(self, delivery: Delivery, progress: Progress, condition: str | None, place: LetterPlace) -> None:
        self.failures.append(Failure(delivery.sequence, *_said(progress), None, condition, place))


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of the log, not yet decoded."""

    at_ms: int
    body: bytes
    is_plan: bool


_encode = msgspec.msgpack.Encoder().encode
read_plan = msgspec.msgpack.Decoder(list[Planned]).decode
read_settled = msgspec.msgpack.Decoder(Settled).decode


class Arrival(Protocol):
    """An event on a bus, whoever has it."""

    @property
    def event(self) -> Event: ...
    @property
    def location(self) -> Location: ...
    @property
    def bus(self) -> str: ...
    @property
    def parent_id(self) -> str | None: ...


def planned(
    item: Arrival,
    via: LaneName | None = None,
    *,
    sequence: bytes = b"",
    lanes: bytes = b"",
    idle_rules: Sequence[str] = (),
    dropped: bool = False,
    archive_rules: Sequence[str] = (),
) -> Planned:
    """What the trace says of an event, its texts cut; without lanes and archives it goes nowhere from its bus."""
    event = item.event
    return Planned(
        event.id,
        event.source[: limits.TRACE_TEXT_CHARS_MAX],
        event.detail_type[: limits.TRACE_TEXT_CHARS_MAX],
        item.location,
        item.bus,
        item.parent_id,
        via,
        sequence,
        lanes,
        idle_rules[:_IDLE_RULES_MAX],
        dropped,
        None,
        archive_rules[:_IDLE_RULES_MAX],
    )


class Trace:
    """Writes the trace of one hub and removes what is too old. With an `age_s_max` of 0 it keeps nothing."""

    def __init__(self, store: Store, world: World, *, age_s_max: int, bytes_max: int) -> None:
        self._store = store
        self._world = world
        self.age_s_max = age_s_max
        self.bytes_max = bytes_max
        self.bytes = 0
        """What the rows take, about; until `count` has been, those of this run."""
        self._first = key64(store.sequences(1))
        self.nowhere: deque[tuple[int, Planned]] = deque(maxlen=limits.TRACE_NOWHERE_EVENTS_MAX)
        """Times in ms and events that went nowhere and were not stored, oldest first."""

    def planned(self, batch: Batch, at_ms: int, events: Sequence[Planned]) -> None:
        """These events are accepted with `batch`. Where they go nowhere it may be one that is never written, unless it
        is a hop's."""
        if not self.age_s_max:
            return
        stored = events if batch.essential else [event for event in events if event.lanes or event.archive_rules]
        for start in range(0, len(stored), _EVENTS_PER_ROW_MAX):
            self._append(batch, PLANNED, at_ms, _encode(stored[start : start + _EVENTS_PER_ROW_MAX]))
        if len(stored) < len(events):
            nowhere = [(at_ms, event) for event in events if not event.lanes and not event.archive_rules]
            batch.then(lambda: self.nowhere.extend(nowhere))

    def settled(self, batch: Batch, at_ms: int, outcomes: Settled) -> None:
        """This is what `batch` settles or parks."""
        if self.age_s_max:
            self._append(batch, SETTLED, at_ms, _encode(outcomes))

    def redriven(self, batch: Batch, at_ms: int, accepted: Accepted, *, number: int, sequence: int, lane: Lane) -> None:
        """Dead letter `number` is a delivery of this lane again."""
        if self.age_s_max:
            event = planned(accepted, sequence=key64(sequence), lanes=lane.id)
            self._append(batch, PLANNED, at_ms, _encode([msgspec.structs.replace(event, redriven=number)]))

    def _append(self, batch: Batch, kind: bytes, at_ms: int, body: bytes) -> None:
        batch.put(Table.TRACE, key64(self._store.sequences(1)), kind + key64(at_ms) + body)
        size = len(body) + _HEAD_BYTES + _ROW_BYTES
        batch.then(lambda: self._grow(size))

    def _grow(self, size: int) -> None:
        self.bytes += size

    def rows(self, after: bytes, limit: int) -> tuple[bytes, list[Row]]:
        """The next rows of the log behind the key `after` (b"" is the beginning), and the last one's key."""
        found = self._store.scan(Table.TRACE, after and after + b"\0", limit=limit)
        rows = [
            Row(int.from_bytes(value[1:_HEAD_BYTES], "big"), value[_HEAD_BYTES:], value[:1] == PLANNED)
            for _, value in found
        ]
        return (found[-1][0] if found else after), rows

    # keeping it bounded

    async def run(self) -> None:
        """Until cancelled. What the store refuses now is tried again at the next round."""
        await self.count()
        while True:
            with suppress(StoreError):
                while await self.sweep():
                    pass
            await anyio.sleep(_SWEEP_S)

    async def count(self) -> None:
        """Add up what earlier runs left, with turns for others between. Call it once, before `sweep`."""
        start = b""
        while found := self._store.scan(Table.TRACE, start, self._first, limit=_STEP_ROWS):
            self.bytes += sum(len(value) + _ROW_BYTES for _, value in found)
            start = found[-1][0] + b"\0"
            await anyio.lowlevel.checkpoint()

    async def sweep(self) -> int:
        """Delete the oldest rows that are too old, or one too many: one step of it; how many went."""
        oldest_ms = self._world.now_ms() - self.age_s_max * 1000
        batch = Batch(essential=True)
        size = 0
        for key, value in self._store.scan(Table.TRACE, limit=_STEP_ROWS):
            if int.from_bytes(value[1:_HEAD_BYTES], "big") >= oldest_ms and self.bytes - size <= self.bytes_max:
                break
            batch.delete(Table.TRACE, key)
            size += len(value) + _ROW_BYTES
        gone = len(batch.ops)
        if gone:
            batch.then(lambda: self._grow(-size))
            await self._store.commit(batch)
        return gone


def untraced(store: Store, world: World) -> Trace:
    """A trace that keeps nothing."""
    return Trace(store, world, age_s_max=0, bytes_max=0)


def _said(progress: Progress) -> tuple[int, str, str]:
    return progress.attempts, progress.code, progress.message[: limits.TRACE_MESSAGE_CHARS_MAX]
