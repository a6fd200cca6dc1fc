"""Lanes: the deliveries of one target, a bounded window of them in memory, all of them on disk.

A lane stands for one (rule, target) pair, or for one dead-letter queue at a real endpoint. Every delivery that is not
settled has its row in table DELIVERIES, keyed (lane, due time, sequence); `ready` holds the next few. What does not
fit, and what is parked for a later attempt, stays on disk as such rows and is read again when its turn comes. So a
target that hangs costs a bounded amount of memory and nobody else's time.

Rules.
- A lane's bodies in memory are bounded in number and in bytes; where memory is full it still gets a little.
- `loaded` holds the keys that are ready or being attempted; a key in it is never loaded a second time.
- A delivery enters `ready` only after its row is durable, and leaves `loaded` only after what became of it is durable.
- `more` says that rows that are due, or were, may be on disk and not in memory. It may be true for nothing.
- A lane that rests is not woken, whatever becomes due; its timer wakes it when the rest is over.

Nothing here knows sinks, outcomes or retry policies; `pipeline` decides, lanes remember.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from router import limits, log
from router.catalog.routes import RoutedTarget
from router.core.event import Location
from router.core.pace import Bucket, Failing, TargetLimits
from router.sinks.base import Accepted, Attempt, Outcome
from router.store.base import Batch, Store, Table, key32, key64, successor

DEAD_LETTER_QUEUE = "dead-letter-queue"
"""Stands in a lane's rule ARN when the lane carries dead letters to a queue at a real endpoint."""

_SCAN_ROWS = 10_000
_READ_ROWS = 1000  # at once, of one lane: three milliseconds or so
_LANE_SHARE = 8
_LANE_SHARE_WHEN_FULL = 1024


class LaneName(msgspec.Struct, frozen=True, array_like=True):
    rule_arn: str
    target_id: str
    """The target's id; a queue's ARN for a lane of dead letters."""


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """A delivery that was given up and is kept."""

    accepted: Accepted
    rule_arn: str
    target_id: str
    target_arn: str | None
    code: str
    message: str
    attempts: int
    condition: str | None
    dead_ms: int
    queue_failure: str | None = None
    """Why its dead-letter queue did not take it, where it has one."""


class DeadLetterMessage(msgspec.Struct, frozen=True, array_like=True):
    """The journal's record of a dead letter on its way to a queue at a real endpoint."""

    letter: DeadLetter
    payload: bytes
    attributes: dict[str, str]


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What a delivery's row says once it has been attempted. A fresh delivery's row is empty."""

    attempts: int
    started_ms: int
    """What its age is counted from: acceptance, or the redrive."""
    code: str = ""
    message: str = ""


class Delivery(msgspec.Struct, gc=False):
    """One event for one target."""

    key: bytes
    body: Accepted | DeadLetterMessage
    progress: Progress | None
    size: int

    @property
    def sequence(self) -> bytes:
        return self.key[12:]

    @property
    def due_ms(self) -> int:
        return int.from_bytes(self.key[4:12], "big")

    @property
    def accepted(self) -> Accepted:
        body = self.body
        return body if isinstance(body, Accepted) else body.letter.accepted


class Made(NamedTuple):
    """What attempts have in common: the target as it was, the kind of sink that made them, how long they took, and,
    where they failed, when that was: what follows is counted from there, however long their outcomes wait to be
    written."""

    target: RoutedTarget | None
    kind: str
    took_ms: int
    failed_ms: int | None = None
    took_each: tuple[int, ...] = ()
    """Where they are calls that were delivered at the first attempt: how long each took; `took_ms` is the longest."""


class Ended(NamedTuple):
    """A call that has come back, or the outcome of what could not be sent."""

    delivery: Delivery
    attempt: Attempt | None
    outcome: Outcome
    made: Made


class Calling:
    """The calls of a lane that are begun without being waited for."""

    __slots__ = ("came", "ended", "turn", "unsettled")

    def __init__(self) -> None:
        self.came = asyncio.Event()
        """Set when there may be something to settle."""
        self.ended: list[Ended] = []
        """What has come back and is not yet being settled."""
        self.unsettled = 0
        """How many have come back whose outcome is not on disk."""
        self.turn = False
        """Whether the loop's next turn looks after the lane."""


class Lane:
    """See the module's rules."""

    __slots__ = (
        "bucket",
        "busy",
        "bytes",
        "calling",
        "failing",
        "id",
        "kind",
        "limits",
        "loaded",
        "more",
        "name",
        "newest_ms",
        "parked",
        "persisted",
        "ready",
        "rest_until_s",
        "timer",
        "timer_s",
        "workers",
    )

    def __init__(self, number: bytes, name: LaneName, *, persisted: bool) -> None:
        self.id = number
        self.name = name
        self.kind = ""
        """The kind of sink that takes its deliveries, as far as it is known; for metrics."""
        self.persisted = persisted
        self.ready: deque[Delivery] = deque()
        self.loaded: dict[bytes, int] = {}
        self.bytes = 0
        self.newest_ms = 0
        """The latest due time of a new delivery: what is not later is due, also when the clock was set back."""
        self.more = False
        self.workers = 0
        self.busy = 0
        """How many of the workers have a batch in hand; or calls that are out."""
        self.calling: Calling | None = None
        """Where one task has all of the lane's calls."""
        self.parked = 0
        self.timer: asyncio.Handle | None = None
        self.timer_s = 0.0
        """When it goes off, on the event loop's clock; uvloop's handle does not say so where that is at once."""
        self.rest_until_s = 0.0
        """On the event loop's clock: until then no call begins."""
        self.failing: Failing | None = None
        """What its calls since the last good one came to; a restart forgets it."""
        self.limits = TargetLimits()
        self.bucket: Bucket | None = None
        """Its turns, where its target has a rate."""


_encode = msgspec.msgpack.Encoder().encode
decode_accepted = msgspec.msgpack.Decoder(Accepted).decode
decode_dead_letter = msgspec.msgpack.Decoder(DeadLetterMessage).decode
decode_progress = msgspec.msgpack.Decoder(Progress).decode
_decode_name = msgspec.msgpack.Decoder(LaneName).decode


class Lanes:
    """All lanes of a hub. `wake(lane)` is called whenever a lane may have something to do."""

    def __init__(self, store: Store, *, now_ms: Callable[[], int], wake: Callable[[Lane], None]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._wake = wake
        self._lanes: dict[LaneName, Lane] = {}
        self._by_id: dict[bytes, Lane] = {}
        self._next = 1
        self.bytes_in_memory = 0
        self.pending = 0
        """Deliveries that are accepted and not settled, in memory or on disk."""

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def parked(self) -> int:
        return sum(lane.parked for lane in self._lanes.values())

    def numbered(self, number: bytes) -> Lane:
        """A lane that is known to exist; one that ever had a delivery always does."""
        return self._by_id[number]

    def named(self, name: LaneName) -> Lane:
        """As `numbered`."""
        return self._lanes[name]

    def in_flight(self, lane: Lane, key: bytes) -> bool:
        """Whether the delivery with this row is being attempted now."""
        return bool(lane.loaded.get(key)) and all(delivery.key != key for delivery in lane.ready)

    def lane(self, rule_arn: str, target_id: str, batch: Batch) -> Lane:
        """The pair's lane. A new one becomes durable with `batch`, in which its first delivery must be."""
        name = LaneName(rule_arn, target_id)
        lane = self._lanes.get(name)
        if lane is None:
            lane = Lane(key32(self._next), name, persisted=False)
            self._next += 1
            self._lanes[name] = self._by_id[lane.id] = lane
        if not lane.persisted:
            found = lane
            batch.put(Table.LANES, lane.id, _encode(name))
            batch.then(lambda: setattr(found, "persisted", True))
        return lane

    def add(self, lane: Lane, batch: Batch, *, due_ms: int, sequence: int, progress: Progress | None = None) -> bytes:
        """Put a delivery's row into `batch`; its key is returned."""
        key = lane.id + key64(due_ms) + key64(sequence)
        batch.put(Table.DELIVERIES, key, _encode(progress) if progress else b"")
        return key

    def offer(self, lane: Lane, deliveries: Iterable[Delivery]) -> None:
        """Take over deliveries whose rows just became durable."""
        for delivery in deliveries:
            self.pending += 1
            lane.newest_ms = max(lane.newest_ms, int.from_bytes(delivery.key[4:12], "big"))
            if delivery.key in lane.loaded:
                continue  # read from disk already, in the moment between the commit and this call
            if lane.more or len(lane.ready) >= limits.LANE_DELIVERIES_IN_MEMORY_MAX or not self._has_room(lane):
                lane.more = True
            else:
                self._load(lane, delivery)
        self._wake(lane)

    def park(self, lane: Lane, due_ms: int) -> None:
        """A row with progress, due later, just became durable."""
        lane.parked += 1
        self._set_timer(lane, due_ms)

    def admit(self, lane: Lane, due_ms: int) -> None:
        """A new delivery's row, one with progress, just became durable; it is read when it is due."""
        self.pending += 1
        lane.newest_ms = max(lane.newest_ms, due_ms)
        self.park(lane, due_ms)

    def take(self, lane: Lane, count: int, *, only: bool = False) -> list[Delivery]:
        """Up to `count` deliveries that are due, oldest due time first; they stay loaded until `forget`. With `only`,
        none is read from disk beyond them."""
        ready = lane.ready
        if lane.more and (len(ready) < count if only else not ready):
            self._refill(
                lane, count if only else max(count, min(_READ_ROWS, limits.LANE_DELIVERIES_IN_MEMORY_MAX // 2))
            )
        return [ready.popleft() for _ in range(min(count, len(ready)))]

    def take_while(self, lane: Lane, count: int, test: Callable[[Delivery], bool]) -> list[Delivery]:
        """As `take` with `only`, and none after the first that the test does not hold for."""
        if lane.more and not lane.ready:
            self._refill(lane, 1)
        if lane.more and len(lane.ready) < count and lane.ready and test(lane.ready[0]):
            self._refill(lane, count)
        taken: list[Delivery] = []
        while lane.ready and len(taken) < count and test(lane.ready[0]):
            taken.append(lane.ready.popleft())
        return taken

    def put_back(self, lane: Lane) -> None:
        """Drop what is ready from memory: the rows stand, and are read again when their turn comes."""
        while lane.ready:
            delivery = lane.ready.popleft()
            self._unload(lane, delivery)
            if delivery.progress is not None:
                lane.parked += 1
            lane.more = True

    def resting(self, lane: Lane) -> bool:
        return lane.rest_until_s > 0 and lane.rest_until_s > asyncio.get_running_loop().time()

    def rest(self, lane: Lane, wait_s: float) -> None:
        """Begin no call for so long, then wake."""
        lane.rest_until_s = asyncio.get_running_loop().time() + wait_s
        self._call_at(lane, lane.rest_until_s)

    def forget(self, lane: Lane, deliveries: Iterable[Delivery], *, settled: bool) -> None:
        """Drop deliveries from memory: their rows are gone (`settled`) or have moved to a later due time."""
        for delivery in deliveries:
            self._unload(lane, delivery)
            if settled:
                self.pending -= 1

    def give_back(self, lane: Lane, deliveries: Iterable[Delivery]) -> None:
        """What became of these could not be written: their rows stand as they were and are read again."""
        for delivery in deliveries:
            self._unload(lane, delivery)
            if delivery.progress is not None:
                lane.parked += 1
        lane.more = True

    def recover(self) -> None:
        """Read all lanes and count their rows; lanes with due rows wake at once. Rows are not kept in memory."""
        for number, value in self._store.scan(Table.LANES, limit=2**31):
            name = _decode_name(value)
            lane = Lane(number, name, persisted=True)
            self._lanes[name] = self._by_id[number] = lane
            self._next = max(self._next, int.from_bytes(number, "big") + 1)
        start = b""
        while rows := self._store.scan(Table.DELIVERIES, start, limit=_SCAN_ROWS):
            for key, value in rows:
                lane = self._by_id[key[:4]]
                self.pending += 1
                lane.more = True
                if value:
                    lane.parked += 1
                else:
                    lane.newest_ms = max(lane.newest_ms, int.from_bytes(key[4:12], "big"))
            start = rows[-1][0] + b"\0"
        for lane in list(self._lanes.values()):
            if lane.more:
                self._wake(lane)

    def stop(self) -> None:
        """No lane wakes by a timer any more."""
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
                lane.timer = None

    def _has_room(self, lane: Lane) -> bool:
        full = self.bytes_in_memory >= limits.DELIVERIES_IN_MEMORY_BYTES_MAX
        return lane.bytes < limits.DELIVERIES_IN_MEMORY_BYTES_MAX // (_LANE_SHARE_WHEN_FULL if full else _LANE_SHARE)

    def _load(self, lane: Lane, delivery: Delivery) -> None:
        lane.loaded[delivery.key] = delivery.size
        lane.bytes += delivery.size
        self.bytes_in_memory += delivery.size
        lane.ready.append(delivery)

    def _unload(self, lane: Lane, delivery: Delivery) -> None:
        size = lane.loaded.pop(delivery.key, 0)
        lane.bytes -= size
        self.bytes_in_memory -= size

    def _refill(self, lane: Lane, wanted: int) -> None:
        """Read the first rows that are due and not loaded: `wanted` of them, as far as there is memory."""
        end = lane.id + key64(max(self._now_ms(), lane.newest_ms) + 1)
        rows = self._store.scan(Table.DELIVERIES, lane.id, end, limit=wanted + len(lane.loaded))
        lane.more = len(rows) == wanted + len(lane.loaded)
        for key, value in rows:
            if key in lane.loaded:
                continue
            if lane.bytes and not self._has_room(lane):
                lane.more = True
                break
            try:
                delivery = self._read(lane, key, value)
            except (LookupError, msgspec.DecodeError):
                # It stays on disk and pending. Nothing else in the hub may stop for it.
                log.exception("delivery.unreadable", rule=lane.name.rule_arn, key=key.hex())
                lane.loaded[key] = 0
                continue
            if value:
                lane.parked -= 1
            self._load(lane, delivery)
        if not lane.more:
            later = self._store.scan(Table.DELIVERIES, end, successor(lane.id), limit=1)
            if later:
                self._set_timer(lane, int.from_bytes(later[0][0][4:12], "big"))

    def _read(self, lane: Lane, key: bytes, value: bytes) -> Delivery:
        body = self._store.get(Table.EVENTS, key[12:])
        if body is None:
            raise LookupError("its event is not in the journal")
        decode = decode_dead_letter if lane.name.rule_arn == DEAD_LETTER_QUEUE else decode_accepted
        return Delivery(key, decode(body), decode_progress(value) if value else None, len(body))

    def _set_timer(self, lane: Lane, due_ms: int) -> None:
        when_s = asyncio.get_running_loop().time() + max(0, due_ms - self._now_ms()) / 1000
        self._call_at(lane, max(when_s, lane.rest_until_s))

    def _call_at(self, lane: Lane, when_s: float) -> None:
        if lane.timer is not None:
            if lane.timer_s <= when_s:
                return
            lane.timer.cancel()
        lane.timer_s = when_s
        lane.timer = asyncio.get_running_loop().call_at(when_s, self._due, lane)

    def _due(self, lane: Lane) -> None:
        lane.timer = None
        if self.resting(lane):
            self._call_at(lane, lane.rest_until_s)
            return
        lane.more = True
        self._wake(lane)


def encoded(body: Accepted | DeadLetterMessage) -> bytes:
    """The journal's record of an event or of a dead letter on its way."""
    return _encode(body)


@lru_cache(maxsize=65_536)
def origin_of(name: LaneName) -> tuple[Location, str]:
    """Location and bus of the sending rule; for a lane of dead letters, where the queue is, and no bus."""
    if name.rule_arn == DEAD_LETTER_QUEUE:
        parts = name.target_id.split(":", 5)
        return Location(parts[4], parts[3]), ""
    parts = name.rule_arn.split(":", 5)
    path = parts[5].split("/")
    return Location(parts[4], parts[3]), "/".join(path[1:-1]) or "default"
