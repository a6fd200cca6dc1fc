"""Who may receive what: the in-memory side of one queue, standard or FIFO.

Theory. Messages lie in the store in the order in which they were sent. The queue remembers how far it has read (one
cursor for plain messages, one for delayed ones) and an `Entry` for each message it has read and that still exists: in
flight (hidden until `expires`), returned (visible again), or, FIFO only, passed over because its group was blocked. All
else is on disk, so memory is bounded by `limits.QUEUE_IN_FLIGHT_MAX` entries and no receive starts from the front.

Rules.
- A row that is not an entry and lies at or after its cursor has not been handed out. Whoever makes rows durable behind
  a cursor calls `arrived`, which sets the cursor back; rows that are entries are skipped on the way forward again.
- An entry leaves only when its message was deleted durably: `gone` says whether it was there, so that a message is
  counted out once, however many callers delete it.
- Standard queues take returned and fresh messages in turn, so that a message nobody deletes does not hide the others;
  at the bound only returned ones are given out.
- FIFO: a group with a message in flight gives nothing out. Within one receive, several messages of one group may go out
  in order. At most `limits.FIFO_IN_FLIGHT_MAX` messages are looked at, as in SQS ("FIFO queue quotas").

Visibility is in memory: after a restart every message is visible. It knows keys, groups and times, never requests.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from heapq import heapify, heappop, heappush

from router import limits
from router.simulator.records import (
    DEDUPLICATION,
    DELAYED,
    Message,
    QueueSettings,
    decode_message,
    delayed_position,
    due_ms_of,
    message_key,
    position_of,
)
from router.store.base import Store, Table
from router.world import World

_ROWS_PER_TAKE_MAX = 1000
"""What one `take` looks at before it lets others run."""
WAIT_S_MIN = 0.02
"""Between two looks of a long poll: what is due may be held back by a bound."""
_REMOVAL_S = 30.0
"""How long an expired or moved message stays hidden while its removal is written."""


class Taken:
    """A message handed out, with the receipt that deletes it."""

    __slots__ = ("first_received_ms", "key", "message", "receipt", "received")

    def __init__(self, key: bytes, message: Message, entry: "Entry") -> None:
        self.key = key
        self.message = message
        self.receipt = entry.receipt
        self.received = entry.received
        self.first_received_ms = entry.first_received_ms

    @property
    def position(self) -> int:
        return position_of(self.key)


class Taking:
    """What one receive wants and what it found."""

    __slots__ = (
        "budget",
        "expired",
        "messages",
        "moved",
        "now_ms",
        "now_s",
        "receives_max",
        "settings",
        "visibility_s",
        "wanted",
    )

    def __init__(
        self,
        wanted: int,
        settings: QueueSettings,
        *,
        visibility_s: float,
        receives_max: int,
        world: World,
    ) -> None:
        self.wanted = wanted
        self.settings = settings
        self.visibility_s = visibility_s
        self.receives_max = receives_max
        """A message received this often is moved instead; 0: never."""
        self.now_ms = world.now_ms()
        self.now_s = world.monotonic()
        self.budget = _ROWS_PER_TAKE_MAX
        self.messages: list[Taken] = []
        self.expired: list[bytes] = []
        """Older than the queue keeps messages: to be deleted. Held back like messages in flight."""
        self.moved: list[tuple[bytes, Message]] = []
        """To be moved to the dead-letter queue. Held back like messages in flight."""

    @property
    def missing(self) -> int:
        return self.wanted - len(self.messages)


class Entry:
    """What the queue remembers of a message it has read."""

    __slots__ = ("expires", "first_received_ms", "group", "receipt", "received")

    def __init__(self, message: Message) -> None:
        self.expires: float | None = None
        """When it is visible again (monotonic); None: it is visible."""
        self.receipt = 0
        """Its latest; 0: it was not handed out since the start."""
        self.received = message.received
        self.first_received_ms = message.first_received_ms
        self.group = message.group_id or ""


class Queue:
    """A standard queue."""

    def __init__(self, prefix: bytes, store: Store, world: World) -> None:
        self._prefix = prefix
        self._store = store
        self._world = world
        self._entries: dict[bytes, Entry] = {}
        self._in_flight = 0
        self._heap: list[tuple[float, bytes]] = []
        self._returned: deque[bytes] = deque()
        self._cursor = message_key(prefix, 0)
        self._delayed_cursor = message_key(prefix, DELAYED)
        self._delayed_stop = message_key(prefix, DEDUPLICATION)
        self._returned_first = False
        self._receipt = int.from_bytes(world.token(4), "big") << 32
        self._pollers: list[asyncio.Future[None]] = []

    # handing out

    def take(self, taking: Taking) -> None:
        """Fill `taking` with what is visible."""
        self.expire()
        share = (taking.wanted + self._returned_first) // 2
        self._returned_first = not self._returned_first
        self._take_returned(share, taking)
        self._delayed_cursor = self._take_fresh(
            self._delayed_cursor, message_key(self._prefix, delayed_position(taking.now_ms + 1, 0)), taking
        )
        self._cursor = self._take_fresh(self._cursor, message_key(self._prefix, DELAYED), taking)
        self._take_returned(taking.missing, taking)

    def _take_returned(self, count: int, taking: Taking) -> None:
        found = len(taking.messages)
        while self._returned and taking.budget and len(taking.messages) - found < count:
            self._take_entry(self._returned.popleft(), taking)

    def _take_entry(self, key: bytes, taking: Taking) -> None:
        """Hand out a message that is visible again; nothing where it is not, or is being deleted."""
        taking.budget -= 1
        entry = self._entries.get(key)
        if entry is None or entry.expires is not None:
            return
        value = self._store.get(Table.MESSAGES, key)
        if value is not None:
            self._consider(key, entry, decode_message(value), taking)

    def _take_fresh(self, cursor: bytes, stop: bytes, taking: Taking) -> bytes:
        """Hand out messages that were not read before; the new cursor."""
        while True:
            room = limits.QUEUE_IN_FLIGHT_MAX - len(self._entries)
            limit = min(taking.missing, taking.budget, room)
            rows = self._store.scan(Table.MESSAGES, cursor, stop, limit=limit) if limit > 0 else []
            if not rows:
                return cursor
            for key, value in rows:
                cursor = key + b"\0"
                if key not in self._entries:
                    message = decode_message(value)
                    self._consider(key, self._track(key, message), message, taking)
            taking.budget -= len(rows)

    def _track(self, key: bytes, message: Message) -> Entry:
        entry = self._entries[key] = Entry(message)
        return entry

    def _consider(self, key: bytes, entry: Entry, message: Message, taking: Taking) -> None:
        if message.sent_ms + taking.settings.retention_ms <= taking.now_ms:
            taking.expired.append(key)
            self._hide(key, entry, taking.now_s + _REMOVAL_S)
        elif taking.receives_max and entry.received >= taking.receives_max:
            taking.moved.append((key, message))
            self._hide(key, entry, taking.now_s + _REMOVAL_S)
        else:
            entry.received += 1
            entry.first_received_ms = entry.first_received_ms or taking.now_ms
            self._receipt += 1
            entry.receipt = self._receipt
            self._hide(key, entry, taking.now_s + taking.visibility_s)
            taking.messages.append(Taken(key, message, entry))

    # visibility

    def _hide(self, key: bytes, entry: Entry, expires: float) -> None:
        if entry.expires is None:
            self._in_flight += 1
            self._hidden(entry)
        entry.expires = expires
        heappush(self._heap, (expires, key))
        if len(self._heap) > 2 * len(self._entries) + 1000:
            self._heap = [(e.expires, k) for k, e in self._entries.items() if e.expires is not None]
            heapify(self._heap)

    def _show(self, key: bytes, entry: Entry) -> None:
        entry.expires = None
        self._in_flight -= 1
        self._shown(key, entry)

    def _hidden(self, entry: Entry) -> None:
        """A visible entry was hidden."""

    def _shown(self, key: bytes, entry: Entry) -> None:
        """A hidden entry is visible again."""
        self._returned.append(key)

    def _left(self, entry: Entry) -> None:
        """A hidden entry's message was deleted."""

    def expire(self) -> None:
        """Make visible what was hidden long enough."""
        now_s = self._world.monotonic()
        while self._heap and self._heap[0][0] <= now_s:
            expires, key = heappop(self._heap)
            entry = self._entries.get(key)
            if entry is not None and entry.expires == expires:
                self._show(key, entry)

    def change(self, key: bytes, receipt: int, visibility_s: float) -> bool:
        """Set how long from now a message in flight stays hidden; False when it is not in flight under this receipt."""
        self.expire()
        entry = self._entries.get(key)
        if entry is None or entry.receipt != receipt or entry.expires is None:
            return False
        if visibility_s > 0:
            self._hide(key, entry, self._world.monotonic() + visibility_s)
        else:
            self._show(key, entry)
            self.wake()
        return True

    def holds(self, key: bytes, receipt: int) -> bool | None:
        """Whether `receipt` is the message's latest; None when this queue has not handed the message out."""
        entry = self._entries.get(key)
        return None if entry is None or not entry.receipt else entry.receipt == receipt

    def in_flight_under(self, key: bytes, receipt: int) -> bool:
        self.expire()
        entry = self._entries.get(key)
        return entry is not None and entry.receipt == receipt and entry.expires is not None

    # coming and going

    def removing(self, messages: Iterable[tuple[bytes, Message]]) -> None:
        """Hold back messages that were not read yet, while their deletion is written."""
        expires = self._world.monotonic() + _REMOVAL_S
        for key, message in messages:
            if key not in self._entries:
                self._hide(key, self._track(key, message), expires)

    def gone(self, key: bytes) -> bool:
        """The message was deleted durably; False when that was known."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        if entry.expires is not None:
            self._in_flight -= 1
            self._left(entry)
        return True

    def arrived(self, first_key: bytes | None, first_delayed_key: bytes | None) -> None:
        """Messages are durable from these keys on."""
        if first_key is not None and first_key < self._cursor:
            self._cursor = first_key
        if first_delayed_key is not None and first_delayed_key < self._delayed_cursor:
            self._delayed_cursor = first_delayed_key
        self.wake()

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def entries(self) -> int:
        """How many messages are held in memory."""
        return len(self._entries)

    # long polling

    def wake(self) -> None:
        pollers, self._pollers = self._pollers, []
        for poller in pollers:
            if not poller.done():
                poller.set_result(None)

    async def wait(self, wait_s: float) -> None:
        """Until something may have become visible, at most `wait_s`."""
        poller = asyncio.get_running_loop().create_future()
        self._pollers.append(poller)
        with suppress(TimeoutError):
            try:
                async with asyncio.timeout(max(0.0, min(wait_s, self._due_in_s()))):
                    await poller
            finally:
                if not poller.done():
                    poller.cancel()
                if poller in self._pollers:
                    self._pollers.remove(poller)

    def _due_in_s(self) -> float:
        """When the next hidden or delayed message will be visible."""
        due_s = self._heap[0][0] - self._world.monotonic() if self._heap else float(limits.WAIT_S_MAX)
        rows = self._store.scan(Table.MESSAGES, self._delayed_cursor, self._delayed_stop, limit=1)
        if rows:
            due_s = min(due_s, (due_ms_of(position_of(rows[0][0])) - self._world.now_ms()) / 1000)
        return max(due_s, WAIT_S_MIN)
