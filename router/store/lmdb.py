"""The embedded store: one LMDB environment, group commit.

Theory. Operations are applied to the write transaction on the event loop and only its commit, which is where the disk
is waited for, runs on the commit thread. (Applied on a second thread, every `put` gives up the interpreter lock and
waits up to 5 ms to get it back from a busy loop: 900 records a second instead of 44,000; docs/decisions/0001.) While a
commit runs, new batches gather; when it ends they all go into the next transaction. A lone batch commits at once.

Rules.
- LMDB's own locking is off, because a transaction moves between two threads. In its place: a lock file keeps a second
  process out; there is one write transaction at a time; read transactions live on the event loop, within one call, so
  none is open when a write transaction begins. A reader that overlaps the commit thread reads the last committed
  state, whose pages the running transaction may not reuse.
- Commits are synced (neither `sync` nor `metasync` is turned off).
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import lmdb

from router import log
from router.store.base import RELEASE, Batch, StoreError, StoreFull, Table, key64

_FORMAT = b"crossbus-store-1"
_GROUP_OPS_MAX = 20_000
_FULL_S = 5.0
"""How long the store counts as full after it had no room for a batch, unless it finds some for another before."""


class FolderInUse(Exception):
    """Another hub has the data folder."""


class CommitObserver(Protocol):
    """Told of every commit: how long it took and how many batches it held."""

    def committed(self, seconds: float, batches: int) -> None: ...


class _Waiting:
    __slots__ = ("batch", "future")

    def __init__(self, batch: Batch, future: asyncio.Future[None]) -> None:
        self.batch = batch
        self.future = future


class LmdbStore:
    """The Store on LMDB; see the module's theory and `store.base` for the contract."""

    def __init__(
        self,
        folder: Path,
        *,
        map_bytes_max: int,
        reserve_bytes: int,
        monotonic: Callable[[], float],
        observer: CommitObserver | None = None,
    ) -> None:
        """Raises FolderInUse, StoreError (unreadable or foreign store)."""
        self._lock = _lock_folder(folder)
        try:
            self._env = lmdb.open(
                str(folder / "store"), map_size=map_bytes_max, max_dbs=len(Table) + 4, lock=False, readahead=False
            )
            self._dbs = [self._env.open_db(table.name.lower().encode()) for table in Table]
        except lmdb.Error as error:
            os.close(self._lock)
            raise StoreError(f"cannot open the store in {folder}: {error}") from error
        self._bytes_max = map_bytes_max
        self._grown = False
        self._reserve_bytes = reserve_bytes
        self._monotonic = monotonic
        self._observer = observer
        self._pending: deque[_Waiting] = deque()
        self._running: list[_Waiting] = []
        self._scheduled = False
        self._closed = False
        self._failure: str | None = None
        self._full_until = float("-inf")
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._check_format(folder)
        self._sequence = int.from_bytes(self.get(Table.META, b"sequence") or b"\0", "big") + 1
        self._commits: SimpleQueue[lmdb.Transaction | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._commit_thread, name="store-commit", daemon=True)
        self._thread.start()

    def _check_format(self, folder: Path) -> None:
        found = self.get(Table.META, b"format")
        if found is None:
            with self._env.begin(write=True) as txn:
                txn.put(b"format", _FORMAT, db=self._dbs[Table.META])
        elif found != _FORMAT:
            self._env.close()
            os.close(self._lock)
            raise StoreError(
                f"the store in {folder} has format {found.decode(errors='replace')!r}, this version reads "
                f"{_FORMAT.decode()!r}: start with another data folder or with the version that wrote it"
            )

    # reading

    def get(self, table: Table, key: bytes) -> bytes | None:
        with self._env.begin(db=self._dbs[table]) as txn:
            value: bytes | None = txn.get(key)
            return value

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, limit: int = 1000
    ) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        with self._env.begin(db=self._dbs[table]) as txn, txn.cursor() as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return rows
            for key, value in cursor.iternext():
                if len(rows) >= limit or (stop is not None and key >= stop):
                    break
                rows.append((key, value))
        return rows

    def failure(self) -> str | None:
        if self._failure is None and self._monotonic() < self._full_until:
            return self._full()
        return self._failure

    def _full(self) -> str:
        return f"the store is full: all of its {self._bytes_max} bytes are in use"

    def bytes_used(self) -> int:
        """How much of the map was ever in use, in bytes (freed pages inside it are used again)."""
        pages: int = self._env.info()["last_pgno"] + 1
        size: int = self._env.stat()["psize"]
        return pages * size

    # writing

    def sequences(self, count: int) -> int:
        first = self._sequence
        self._sequence += count
        return first

    async def commit(self, batch: Batch) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        future: asyncio.Future[None] = self._loop.create_future()
        self._pending.append(_Waiting(batch, future))
        self._idle.clear()
        if not self._scheduled and not self._running:
            # At the end of this turn of the loop, so that everything the turn commits shares one transaction.
            self._scheduled = True
            self._loop.call_soon(self._start)
        await asyncio.shield(future)

    def _start(self) -> None:
        self._scheduled = False
        if self._running:
            return
        if not self._pending:
            self._idle.set()
            return
        group: list[_Waiting] = []
        ops = 0
        while self._pending and ops < _GROUP_OPS_MAX:
            waiting = self._pending.popleft()
            ops += len(waiting.batch.ops)
            group.append(waiting)
        self._running = group
        txn = self._filled(group)
        if txn is None:
            self._running = []
            self._loop.call_soon(self._start)
        else:
            self._commits.put(txn)

    def _filled(self, group: list[_Waiting]) -> lmdb.Transaction | None:
        """A transaction that holds the group; batches that find no room are failed and taken out of it."""
        if self._grown and not all(waiting.batch.essential for waiting in group):
            self._resize(self._bytes_max)  # what may be refused gets pages that became free, and no more of the disk
        while group:
            applied: list[_Waiting] = []
            txn: lmdb.Transaction | None = None
            try:
                txn = self._env.begin(write=True)
                for waiting in group:
                    applied.append(waiting)
                    self._apply(txn, waiting.batch)
                txn.put(b"sequence", key64(self._sequence), db=self._dbs[Table.META])
            except lmdb.MapFullError:
                _abort(txn)
                self._make_room(group)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one batch, the others must go on
                _abort(txn)
                self._failure = f"the store refused a write: {type(error).__name__}: {error}"
                refused = applied[-1:] or group
                self._fail(refused, StoreError(self._failure))
                group[:] = [waiting for waiting in group if waiting not in refused]
            else:
                return txn
        return None

    def _make_room(self, group: list[_Waiting]) -> None:
        """Fail what may be refused; outcomes get more of the disk instead.

        An empty batch takes the place of what was refused: pages that a transaction frees can be used again only after
        one more has been committed, and where everything is refused nothing else would commit.
        """
        self._full_until = self._monotonic() + _FULL_S
        refused = [waiting for waiting in group if not waiting.batch.essential]
        if refused:
            self._fail(refused, StoreFull(self._full()))
            group[:] = [waiting for waiting in group if waiting.batch.essential]
            group.append(_Waiting(Batch(essential=True), self._loop.create_future()))
        else:
            self._resize(max(self._env.info()["map_size"], self._bytes_max) + self._reserve_bytes)

    def _resize(self, size: int) -> None:
        """LMDB makes it as large as what is in use, where that is more."""
        self._env.set_mapsize(size)
        self._grown = size > self._bytes_max

    def _apply(self, txn: lmdb.Transaction, batch: Batch) -> None:
        dbs = self._dbs
        for table, key, value in batch.ops:
            if value is not None:
                txn.put(key, value, db=dbs[table])
            elif table != RELEASE:
                txn.delete(key, db=dbs[table])
            else:
                self._release(txn, key)

    def _release(self, txn: lmdb.Transaction, sequence: bytes) -> None:
        references = self._dbs[Table.REFERENCES]
        found = txn.get(sequence, db=references)
        count = int.from_bytes(found, "big") if found else 1
        if count > 1:
            txn.put(sequence, (count - 1).to_bytes(4, "big"), db=references)
            return
        if found:
            txn.delete(sequence, db=references)
        txn.delete(sequence, db=self._dbs[Table.EVENTS])

    def _commit_thread(self) -> None:
        """Ends when None is handed over; each commit reports back to the loop."""
        while (txn := self._commits.get()) is not None:
            started = self._monotonic()
            error: Exception | None = None
            try:
                txn.commit()
            except lmdb.Error as problem:
                error = problem
            self._loop.call_soon_threadsafe(self._committed, self._monotonic() - started, error)

    def _committed(self, seconds: float, error: Exception | None) -> None:
        group, self._running = self._running, []
        if isinstance(error, lmdb.MapFullError):
            # The commit itself needs pages, for the list of free ones. Outcomes are written again, with more room.
            group = [waiting for waiting in group if waiting.batch.ops or not waiting.batch.essential]
            if group:
                self._make_room(group)
            self._pending.extendleft(reversed(group))
        elif error is not None:
            kind = StoreFull if os.strerror(errno.ENOSPC) in str(error) else StoreError
            self._failure = f"a commit failed: {error}"
            self._fail(group, kind(self._failure))
        else:
            self._failure = None
            if not all(waiting.batch.essential for waiting in group):
                self._full_until = float("-inf")
            if self._observer is not None:
                self._observer.committed(seconds, len(group))
            for waiting in group:
                for callback in waiting.batch.callbacks:
                    try:
                        callback()
                    except Exception:  # noqa: BLE001 - a bug; the batch is durable and the others wait for this
                        log.exception("store.callback_bug")
                if not waiting.future.done():
                    waiting.future.set_result(None)
        self._start()

    @staticmethod
    def _fail(group: list[_Waiting], error: StoreError) -> None:
        for waiting in group:
            if not waiting.future.done():
                waiting.future.set_exception(error)
                waiting.future.exception()  # a waiter that was cancelled leaves nobody to read it

    async def close(self) -> None:
        if self._closed:
            return
        while not self._idle.is_set():
            await self._idle.wait()
        self._closed = True
        self._commits.put(None)
        await asyncio.to_thread(self._thread.join)
        self._env.close()
        os.close(self._lock)


def _abort(txn: lmdb.Transaction | None) -> None:
    if txn is not None:
        txn.abort()


def _lock_folder(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot use the data folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise FolderInUse(
            f"the data folder {folder} is in use by another hub (process {holder}): stop it, or set another data_folder"
        ) from error
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
