"""A FIFO queue's side of `visibility`: groups in order, one receive at a time for each."""

from collections import deque
from heapq import heappop, heappush

from router import limits
from router.simulator.records import DELAYED, Message, decode_message, message_key
from router.simulator.visibility import WAIT_S_MIN, Entry, Queue, Taking
from router.store.base import Store, Table
from router.world import World

_PAGE_ROWS = 64


class _Group:
    __slots__ = ("in_flight", "offered", "waiting")

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        """Keys of read messages that are visible, smallest first; some may have been deleted since."""
        self.in_flight = 0
        self.offered = False


class FifoQueue(Queue):
    """See `visibility` for the theory. A delay is the queue's, for all messages alike, so it keeps their order."""

    def __init__(self, prefix: bytes, store: Store, world: World) -> None:
        super().__init__(prefix, store, world)
        self._groups: dict[str, _Group] = {}
        self._ready: deque[str] = deque()
        self._delayed_until_ms: int | None = None

    def take(self, taking: Taking) -> None:
        self.expire()
        self._delayed_until_ms = None
        mine: set[str] = set()
        """Groups that this receive takes from: it may go on with them."""
        while taking.missing and taking.budget > 0:
            if self._ready:
                self._take_group(self._ready.popleft(), mine, taking)
            elif len(self._entries) >= limits.FIFO_IN_FLIGHT_MAX or not self._take_page(mine, taking):
                break

    def _take_group(self, name: str, mine: set[str], taking: Taking) -> None:
        group = self._groups.get(name)
        if group is None:
            return
        group.offered = False
        if group.in_flight:
            return
        while group.waiting and taking.missing and taking.budget > 0:
            self._take_entry(heappop(group.waiting), taking)
        mine.add(name)
        self._offer(name, group)

    def _take_page(self, mine: set[str], taking: Taking) -> bool:
        """Read on; False when there is nothing more to read."""
        rows = self._store.scan(
            Table.MESSAGES, self._cursor, message_key(self._prefix, DELAYED), limit=min(_PAGE_ROWS, taking.budget)
        )
        for key, value in rows:
            if key not in self._entries:
                if not taking.missing:
                    return True
                message = decode_message(value)
                due_ms = message.sent_ms + taking.settings.delay_s * 1000
                if due_ms > taking.now_ms:
                    self._delayed_until_ms = due_ms
                    return False
                self._take_row(key, message, mine, taking)
            self._cursor = key + b"\0"
            taking.budget -= 1
        return bool(rows)

    def _take_row(self, key: bytes, message: Message, mine: set[str], taking: Taking) -> None:
        name = message.group_id or ""
        group = self._groups.setdefault(name, _Group())
        entry = self._track(key, message)
        if group.waiting or (group.in_flight and name not in mine):
            heappush(group.waiting, key)
            self._offer(name, group)
        else:
            mine.add(name)
            self._consider(key, entry, message, taking)

    def _offer(self, name: str, group: _Group) -> None:
        """Line the group up when it has something to give; forget it when it is empty."""
        if group.in_flight:
            return
        if not group.waiting:
            self._groups.pop(name, None)
        elif not group.offered:
            group.offered = True
            self._ready.append(name)

    def _hidden(self, entry: Entry) -> None:
        self._groups.setdefault(entry.group, _Group()).in_flight += 1

    def _shown(self, key: bytes, entry: Entry) -> None:
        group = self._groups[entry.group]
        heappush(group.waiting, key)
        self._left(entry)

    def _left(self, entry: Entry) -> None:
        group = self._groups[entry.group]
        group.in_flight -= 1
        self._offer(entry.group, group)

    def _due_in_s(self) -> float:
        due_s = super()._due_in_s()
        if self._delayed_until_ms is not None:
            due_s = max(WAIT_S_MIN, min(due_s, (self._delayed_until_ms - self._world.now_ms()) / 1000))
        return due_s
