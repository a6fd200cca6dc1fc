"""The store's contract over an image in memory whose disk takes time, fails, and forgets what was not synced.

`Image` is what is synced. A commit gathers batches as the embedded store does, takes its time, and is in the image only
at its end; who committed is told a turn later. A crash may come at each of these points: before anything was written,
while it is (then the image keeps some of the batches, whole and in order), after the sync and before anybody is told,
and right after. A commit whose last write fails is refused and not seen, and may be there after a crash all the same,
unless a later one succeeded.
"""

import asyncio
import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import Literal

from router.store.base import ADD, RELEASE, Batch, StoreError, StoreFull, Table, added, key64
from tests.pipeline.memory_store import within

CrashPoint = Literal["before the sync", "during the sync", "before telling", "after telling", "after a failed commit"]
CRASH_POINTS: tuple[CrashPoint, ...] = (
    "before the sync",
    "during the sync",
    "before telling",
    "after telling",
    "after a failed commit",
)
_SLOW_S = 0.1
_FULL_S = (1.0, 20.0)


class Rows:
    """One table, in the order of its keys."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: dict[bytes, bytes] = {}

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class Image:
    """What is synced: all that a crash leaves."""

    def __init__(self) -> None:
        self.tables = {int(table): Rows() for table in Table}

    def rows(self, table: Table) -> dict[bytes, bytes]:
        return self.tables[table].values

    def apply(self, batch: Batch) -> None:
        for table, key, value in batch.ops:
            if table == RELEASE:
                self._release(key)
            elif value is None:
                self.tables[table].delete(key)
            elif table < 0:
                rows = self.tables[ADD - table]
                rows.put(key, added(rows.values.get(key), value))
            else:
                self.tables[table].put(key, value)
        if batch.besides is not None:
            self.apply(batch.besides)

    def _release(self, sequence: bytes) -> None:
        references = self.tables[Table.REFERENCES]
        left = int.from_bytes(references.values.get(sequence, b"\x01"), "big") - 1
        if left:
            references.put(sequence, left.to_bytes(4, "big"))
        else:
            references.delete(sequence)
            self.tables[Table.EVENTS].delete(sequence)


class Disk:
    """What goes wrong with the disk, by the dice. `hit` is told each fault; `trouble` when commits were held up."""

    def __init__(
        self, dice: random.Random, hit: Callable[[str], None], trouble: Callable[[float, float], None]
    ) -> None:
        self.dice = dice
        self.hit = hit
        self.trouble = trouble
        self.calm = True
        self.full_until = 0.0

    def seconds(self) -> float:
        """How long the next commit takes."""
        if self.calm:
            return 0.001
        throw = self.dice.random()
        if throw < 0.02:
            self.hit("slow commit")
            return self.dice.uniform(_SLOW_S, 3.0)
        return 0.0005 + 0.01 * throw

    def full(self, now: float) -> bool:
        """Whether there is no room now but the reserve."""
        if self.calm:
            return False
        if now >= self.full_until and self.dice.random() < 0.004:
            self.full_until = now + self.dice.uniform(*_FULL_S)
        return now < self.full_until


Waiting = tuple[Batch, asyncio.Future[None]]


class SimulatedStore:
    """See the module. `died` is called at the point where the machine goes down; nothing happens after it."""

    def __init__(self, image: Image, disk: Disk, died: Callable[[], None]) -> None:
        self.image = image
        self._disk = disk
        self._died = died
        self._loop = asyncio.get_running_loop()
        self._sequence = int.from_bytes(self.get(Table.META, b"sequence") or b"\0", "big") + 1
        self._pending: deque[Waiting] = deque()
        self._running: list[Waiting] = []
        self._scheduled = False
        self._down = False
        self._sequenced: Batch | None = None
        """While a commit is on its way to the disk: how far its numbers go."""
        self._ghost: list[Waiting] = []
        """A refused commit that is on the disk and that nobody sees."""
        self.commits = 0
        self.crash_after: tuple[int, CrashPoint] | None = None
        self.ghost_kept = False

    # the contract

    def sequences(self, count: int) -> int:
        self._sequence += count
        return self._sequence - count

    async def commit(self, batch: Batch) -> None:
        if self._down:
            raise StoreError("the store is closed")
        future: asyncio.Future[None] = self._loop.create_future()
        self._pending.append((batch, future))
        if not self._scheduled and not self._running:
            self._scheduled = True
            self._loop.call_soon(self._start)
        await asyncio.shield(future)

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.image.tables[table].values.get(key)

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        limit: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        rows = self.image.tables[table]
        first = bisect_left(rows.keys, start)
        last = len(rows.keys) if stop is None else bisect_left(rows.keys, stop)
        return within([(key, rows.values[key]) for key in rows.keys[first : min(last, first + limit)]], bytes_max)

    def failure(self) -> str | None:
        return None

    async def close(self) -> None:
        while self._pending or self._running:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
        self._down = True

    # a commit

    def _start(self) -> None:
        self._scheduled = False
        if self._down or self._running:
            return
        full = bool(self._pending) and self._disk.full(self._loop.time())
        while self._pending:
            batch, future = self._pending.popleft()
            if full and not batch.essential:
                self._disk.hit("store full")
                _fail(future, StoreFull("the store is full"))
            elif not self._disk.calm and self._disk.dice.random() < 0.004:
                self._disk.hit("batch refused")
                self._held_up(self._loop.time())
                _fail(future, StoreError("the store refused a write"))
            else:
                if full:
                    batch.besides = None
                self._running.append((batch, future))
        if not self._running:
            return
        self.commits += 1
        if self._crashes("before the sync"):
            self.crash()
            return
        # What may be given out again after a crash is what was given out since.
        sequence = self._sequenced = Batch()
        sequence.put(Table.META, b"sequence", key64(self._sequence))
        seconds = self._disk.seconds()
        if self._crashes("during the sync"):
            self._loop.call_later(seconds / 2, self.crash)
        else:
            self._loop.call_later(seconds, self._synced, sequence, self._loop.time())

    def _synced(self, sequence: Batch, started: float) -> None:
        if self._down:
            return
        self._sequenced = None
        last = self._crashes("after a failed commit")
        if last or (not self._disk.calm and self._disk.dice.random() < 0.01):
            self._commit_failed(sequence, started, last=last)
            return
        if self._loop.time() - started > _SLOW_S:
            self._disk.trouble(started, self._loop.time())
        self._ghost = []
        for batch, _ in self._running:
            self.image.apply(batch)
        self.image.apply(sequence)
        if self._crashes("before telling"):
            self.crash(synced=True)
        else:
            # A turn later, as a thread's report: others may have read the rows by then.
            self._loop.call_soon(self._tell)

    def _commit_failed(self, sequence: Batch, started: float, *, last: bool) -> None:
        """The last write failed, or was never heard of; who was refused may still act on it before a crash."""
        dice = self._disk.dice
        self._disk.hit("commit failed")
        self._held_up(started)
        if last:
            self.crash_after = None
            self._loop.call_later(dice.uniform(0, 0.01), self.crash)
        group, self._running = self._running, []
        self._ghost = [*group, (sequence, self._loop.create_future())] if last or dice.random() < 0.5 else []
        for _, future in group:
            _fail(future, StoreError("a commit failed"))
        self._start()

    def _tell(self) -> None:
        if self._down:
            return
        group, self._running = self._running, []
        for batch, future in group:
            for callback in (*(batch.besides.callbacks if batch.besides else ()), *batch.callbacks):
                callback()
            if not future.done():
                future.set_result(None)
        if self._crashes("after telling"):
            self.crash()
        else:
            self._start()

    def _held_up(self, since: float) -> None:
        """Whoever was refused pauses before the next try."""
        self._disk.trouble(since, self._loop.time() + 1.5)

    # the crash

    def _crashes(self, point: CrashPoint) -> bool:
        if self.crash_after is None or self.commits < self.crash_after[0] or self.crash_after[1] != point:
            return False
        self._disk.hit(f"crash {point}")
        return True

    def crash(self, *, synced: bool = False) -> None:
        """Lose what is not synced; of the commit under way the disk may have the first batches."""
        if self._down:
            return
        self._down = True
        kept = len(self._running) if synced else self._kept()
        waiting = [*self._running, *self._pending]
        if kept:
            self._disk.hit("crash left a commit that nobody was told of")
        if kept < len(waiting):
            self._disk.hit("crash lost unsynced batches")
        self._died()
        for _, future in waiting:
            _fail(future, StoreError("the machine is down"))

    def _kept(self) -> int:
        """Leave on the disk what may be there; how many batches of the commit under way are."""
        dice = self._disk.dice
        if self._ghost:
            if dice.random() < 0.7:
                self._disk.hit("refused commit there after a crash")
                self.ghost_kept = True
                for batch, _ in self._ghost:
                    self.image.apply(batch)
            return 0
        if self._sequenced is None:
            return 0
        kept = dice.randint(0, len(self._running))
        if kept:
            for batch, _ in self._running[:kept]:
                self.image.apply(batch)
            self.image.apply(self._sequenced)
        return kept


def _fail(future: asyncio.Future[None], error: StoreError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a waiter that was cancelled leaves nobody to read it
