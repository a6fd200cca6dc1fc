"""The embedded store: one LMDB environment, group commit.

Theory. Operations are applied to the write transaction on the event loop and only its commit, which is where the disk
is waited for, runs on the commit thread. (Applied on a second thread, every `put` gives up the interpreter lock and
waits up to 5 ms to get it back from a busy loop: 900 records a second instead of 44,000; docs/decisions/0001.) While a
commit runs, new batches gather; when it ends they all go into the next transaction. That one begins a few turns of the
loop later, and goes on gathering as long as turns bring more: what was waiting for the commit goes on meanwhile and
often has the next batch at once (what was accepted is delivered, what was delivered is settled, who was answered asks
again). So under load there are half as many commits, each of which costs two syncs. No clock is waited for: turns of
an idle loop take microseconds, and a lone batch commits at once.

Rows that come in the order of their keys are appended: left to itself, LMDB divides a full page and leaves room in the
first half that nothing will ever use, and each page more is one more to write and to sync.

Rules.
- LMDB's own locking is off, because a transaction moves between two threads. In its place: a lock file keeps a second
  process out; there is one write transaction at a time; read transactions live on the event loop, within one call, so
  none is open when a write transaction begins. A reader that overlaps the commit thread reads the last committed
  state, whose pages the running transaction may not reuse.
- With `sync`, a commit is: write the pages; fdatasync; write the head that makes them visible, through a descriptor
  opened with O_DSYNC. Pages in use are never written over, so a sync that failed, and after which the system calls its
  pages clean, spoils nothing: the next transaction writes all of its own pages anew.
- Without `sync`, the same writes in the same order, neither of them waited for. A stop in good order syncs once.
- The names of a new store's files are synced before anything is acknowledged: a file without a name is lost.
- A folder that held a store once (it has the file `format`) never silently gets a new, empty one.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import lmdb

from router import log
from router.store import format, pages, usage
from router.store.base import ADD, RELEASE, Batch, StoreError, StoreFull, Table, added, key64, successor

_GROUP_OPS_MAX = 20_000
_APPENDED = [table in (Table.EVENTS, Table.MESSAGES, Table.TRACE, Table.ARCHIVE) for table in Table]
"""By table: those of large rows that mostly come in the order of their keys."""
_EVENTS, _REFERENCES = int(Table.EVENTS), int(Table.REFERENCES)
_GATHERING_TURNS_MAX = 20
_IDLE_TURNS_MAX = 2
"""So many turns in a row without a new batch end the gathering."""
_GATHERING_TURNS_MIN = 4
"""From a commit to the next; as many as accepting, delivering to an inbox and settling take."""
_TRY_AGAIN_S = 1.0
"""How long after a failed commit or a refused batch the store tries one of its own: who asks `failure` may keep all
others away."""
_TRIAL_BYTES_MAX = 1 << 20
_TRIAL_STORE_SHARE = 64
_TRIAL_KEY = b"room-"
_TRIAL_ROW_BYTES = 3000  # one page each: free pages need not lie side by side
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM_BYTES_MIN = 1 << 20
"""With less than this left, a write that fell short is taken for a full disk."""


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


def _refusable(group: list[_Waiting]) -> list[Batch]:
    """What must do without the reserve."""
    batches = [waiting.batch for waiting in group]
    return [batch for batch in batches if not batch.essential] + [
        batch.besides for batch in batches if batch.besides is not None
    ]


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
        sync: bool = True,
    ) -> None:
        """Raises FolderInUse, StoreError (unreadable, torn, foreign or newer store)."""
        self._lock = _lock_folder(folder)
        self._folder = folder
        self._sync = sync
        try:
            self._env, self._dbs = _opened(folder, map_bytes_max, sync=sync)
        except (lmdb.Error, OSError, StoreError) as error:
            os.close(self._lock)
            reason = error.strerror if isinstance(error, OSError) else error
            raise StoreError(f"cannot open the store in {folder}: {reason}") from error
        self._bytes_max = map_bytes_max
        self._grown = False
        self._reserve_bytes = reserve_bytes
        self._monotonic = monotonic
        self._observer = observer
        self._pending: deque[_Waiting] = deque()
        self._running: list[_Waiting] = []
        self._shared = True
        """Whether any event may have more than one reference, as far as the transaction that is being filled goes."""
        self._scheduled = False
        self._closed = False
        self._failure: str | None = None
        self._dead: str | None = None
        """Why nothing can be written any more until the hub is restarted."""
        self._trying = False
        self._full: str | None = None
        self._trial: Batch | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._sequence = int.from_bytes(self.get(Table.META, b"sequence") or b"\0", "big") + 1
        self._committing = threading.Lock()
        self._commits: SimpleQueue[lmdb.Transaction | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._commit_thread, name="store-commit", daemon=True)
        self._thread.start()
        self._remove_trial()  # a hub that was killed may have left it

    # reading

    def get(self, table: Table, key: bytes) -> bytes | None:
        with self._reading(table) as txn:
            value: bytes | None = txn.get(key)
            return value

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        limit: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        with self._reading(table) as txn, txn.cursor() as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return rows
            for key, value in cursor.iternext():
                if len(rows) >= limit or (stop is not None and key >= stop):
                    break
                rows.append((key, value))
                if bytes_max is not None:
                    size += len(value)
                    if size >= bytes_max:
                        break
        return rows

    def _reading(self, table: Table) -> "lmdb.Transaction[bytes]":
        try:
            return self._env.begin(db=self._dbs[table])
        except lmdb.PanicError:
            self._go_on_reading()
        return self._env.begin(db=self._dbs[table])

    def failure(self) -> str | None:
        return self._failure or self._full

    def bytes_used(self) -> int:
        """How much of the map was ever in use, in bytes (freed pages inside it are used again)."""
        return usage.bytes_ever_used(self._env)

    def bytes_in_use(self) -> int:
        """As `bytes_used`, free pages not counted: what may not be more than the bound."""
        with self._reading(Table.META) as txn:
            return usage.bytes_in_use(self._env, txn, self._dbs)

    def rows(self, table: Table) -> int | None:
        """How many rows a table has; None while a commit runs: it may have ended, and nobody have been told."""
        if self._running:
            return None
        with self._reading(table) as txn:
            return int(txn.stat(self._dbs[table])["entries"])

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
        self._schedule()
        await future  # whoever is cancelled here takes back nothing

    def _schedule(self) -> None:
        if not self._scheduled and not self._running:
            # At the end of this turn of the loop, so that everything the turn commits shares one transaction.
            self._scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        if self._running:
            return
        if not self._pending and self._trial is None:
            self._idle.set()
            return
        group: list[_Waiting] = []
        ops = 0
        if self._trial is not None:  # alone: where there is no room for it, there may be for the others
            group.append(_Waiting(self._trial, self._loop.create_future()))
            self._trial = None
        else:
            while self._pending and ops < _GROUP_OPS_MAX:
                waiting = self._pending.popleft()
                ops += len(waiting.batch.ops) + len(waiting.batch.besides.ops if waiting.batch.besides else ())
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
        if self._dead is not None:
            self._fail(group, StoreError(self._dead))
            return None
        if self._grown and _refusable(group):
            self._resize(self._bytes_max)  # what may be refused gets pages that became free, and no more of the disk
        while group:
            applied: list[_Waiting] = []
            txn: lmdb.Transaction | None = None
            try:
                txn = self._env.begin(write=True)
                self._shared = txn.stat(self._dbs[Table.REFERENCES])["entries"] > 0
                refusable = _refusable(group)
                if refusable and self._is_over(txn, refusable):
                    raise lmdb.MapFullError("more is in use than may be")
                for waiting in group:
                    applied.append(waiting)
                    self._apply(txn, waiting.batch)
                    if waiting.batch.besides is not None:
                        self._apply(txn, waiting.batch.besides)
                txn.put(b"sequence", key64(self._sequence), db=self._dbs[Table.META])
            except lmdb.MapFullError:
                _abort(txn)
                self._make_room(group)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one batch, the others must go on
                _abort(txn)
                self._failure = f"the store refused a write: {type(error).__name__}: {error}"
                refused = applied[-1:] or group
                self._fail(refused, StoreError(self._failure))
                self._try_again_later()
                group[:] = [waiting for waiting in group if waiting not in refused]
            else:
                return txn
        return None

    def _make_room(self, group: list[_Waiting]) -> None:
        """Leave out what is besides; where that is not enough, fail what may be refused, and give outcomes more of the
        disk instead.

        An empty batch takes the place of what was refused: pages that a transaction frees can be used again only after
        one more has been committed, and where everything is refused nothing else would commit.
        """
        beside = [waiting.batch for waiting in group if waiting.batch.besides is not None]
        if beside:
            for batch in beside:
                batch.besides = None
            return
        self._full = f"the store is full: all of its {self._bytes_max} bytes are in use"
        self._try_again_later()
        refused = [waiting for waiting in group if not waiting.batch.essential]
        if refused:
            self._fail(refused, StoreFull(self._full))
            group[:] = [waiting for waiting in group if waiting.batch.essential]
            group.append(_Waiting(Batch(essential=True), self._loop.create_future()))
        else:
            self._resize(max(self._env.info()["map_size"], self._bytes_max) + self._reserve_bytes)

    def _is_over(self, txn: lmdb.Transaction, more: list[Batch]) -> bool:
        """Whether these batches would bring what is in use, free pages not counted, over its bound. Where outcomes have
        made the file larger, its free pages do not tell: what is accepted would go on and on becoming outcomes."""
        if self.bytes_used() <= self._bytes_max:
            return False
        added = sum(len(value) for batch in more for _, _, value in batch.ops if value is not None)
        return usage.bytes_in_use(self._env, txn, self._dbs) + added > self._bytes_max

    def _resize(self, size: int) -> None:
        """LMDB makes it as large as what is in use, where that is more."""
        self._env.set_mapsize(size)
        self._grown = size > self._bytes_max

    def _apply(self, txn: lmdb.Transaction, batch: Batch) -> None:
        dbs = self._dbs
        for table, key, value in batch.ops:
            if value is None:
                if table == RELEASE:
                    self._release(txn, key)
                else:
                    txn.delete(key, b"", dbs[table])
            elif table <= ADD:
                db = dbs[ADD - table]
                found = txn.get(key, None, db)
                txn.put(key, added(bytes(found) if found else None, value), db=db)
            # LMDB appends nothing that is not behind the last row, and changes nothing when it says so.
            elif not _APPENDED[table] or not txn.put(key, value, True, True, True, dbs[table]):
                txn.put(key, value, True, True, False, dbs[table])
                self._shared = self._shared or table == _REFERENCES

    def _release(self, txn: lmdb.Transaction, sequence: bytes) -> None:
        if self._shared:
            references = self._dbs[_REFERENCES]
            found = txn.get(sequence, None, references)
            count = int.from_bytes(found, "big") if found else 1
            if count > 1:
                txn.put(sequence, (count - 1).to_bytes(4, "big"), db=references)
                return
            if found:
                txn.delete(sequence, b"", references)
        txn.delete(sequence, b"", self._dbs[_EVENTS])

    def _commit_thread(self) -> None:
        """Ends when None is handed over; each commit reports back to the loop."""
        while (txn := self._commits.get()) is not None:
            started = self._monotonic()
            error: Exception | None = None
            try:
                with self._committing:
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
            self._commit_failed(group, error)
        else:
            if self._failure is not None:
                log.info("store.recovered", reason=self._failure)
            self._failure = None
            if not all(waiting.batch.essential for waiting in group):
                self._full = None
            if self._observer is not None:
                self._observer.committed(seconds, len(group))
            for waiting in group:
                besides = waiting.batch.besides
                for callback in (*(besides.callbacks if besides else ()), *waiting.batch.callbacks):
                    try:
                        callback()
                    except Exception:  # noqa: BLE001 - a bug; the batch is durable and the others wait for this
                        log.exception("store.callback_bug")
                if not waiting.future.done():
                    waiting.future.set_result(None)
        self._scheduled = True
        self._gather(0, 0, len(self._pending))

    def _gather(self, turns: int, idle: int, known: int) -> None:
        """Called once a turn; `known` batches were waiting in the turn before."""
        waiting = len(self._pending)
        idle = idle + 1 if waiting == known else 0
        if gathers_on(turns, idle):
            self._loop.call_soon(self._gather, turns + 1, idle, waiting)
        else:
            self._start()

    def _commit_failed(self, group: list[_Waiting], error: Exception) -> None:
        full = any(os.strerror(number) in str(error) for number in _NO_ROOM) or self._disk_full()
        reason = f"a commit failed: {error}"
        if full:
            reason = self._full = f"no room on the disk of {self._folder}: {error}"
        elif os.strerror(errno.EROFS) in str(error):
            reason = f"the file system of {self._folder} has become read-only: {error}"
        if self._failure is None:
            log.warning("store.failed", reason=reason)
        self._failure = reason
        self.get(Table.META, b"sequence")  # finds out whether it was the head
        if self._dead is not None:
            self._dead = self._failure = f"the disk failed under the store ({error}): mend it, then restart the hub"
        self._fail(group, StoreFull(reason) if full and self._dead is None else StoreError(self._failure))
        self._try_again_later()

    def _go_on_reading(self) -> None:
        """After the write of a head failed LMDB refuses everything, reading too: open the file again, only to read, so
        that what is pending can still be told. Writing goes on after a restart alone, because the failed commit may be
        in the file, and what is held in memory does not know of it."""
        with self._committing:
            pass  # the commit that failed is about to be reported
        self._dead = "the disk failed under the store: mend it, then restart the hub"
        self._env.close()
        self._env = lmdb.open(
            str(self._folder / "store"), readonly=True, lock=False, max_dbs=len(Table) + 4, readahead=False
        )
        self._dbs = [self._env.open_db(table.name.lower().encode(), create=False) for table in Table]

    def _disk_full(self) -> bool:
        """Whether a write can only have fallen short: LMDB calls that an input/output error."""
        allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        try:
            left = os.statvfs(self._folder)
            size = (self._folder / "store" / "data.mdb").stat().st_size
        except OSError:
            return False
        too_long = allowed != resource.RLIM_INFINITY and size + _ROOM_BYTES_MIN > allowed
        return too_long or left.f_bavail * left.f_frsize < _ROOM_BYTES_MIN

    def _try_again_later(self) -> None:
        if not self._trying:
            self._trying = True
            self._loop.call_later(_TRY_AGAIN_S, self._try_again)

    def _try_again(self) -> None:
        """A batch of the store's own, which fails the same way or ends the failure."""
        self._trying = False
        if self.failure() is not None and not self._closed and self._dead is None:
            self._trial = self._room() if self._full else Batch(essential=True)
            self._idle.clear()
            self._schedule()

    def _room(self) -> Batch:
        """As much as must find room before the store no longer counts as full. It is really written, because only that
        shows room on the disk too, and the next transaction takes it away."""
        rows = max(1, min(_TRIAL_BYTES_MAX, self._bytes_max // _TRIAL_STORE_SHARE) // _TRIAL_ROW_BYTES)
        trial = Batch()
        for number in range(rows):
            trial.put(Table.META, b"%s%d" % (_TRIAL_KEY, number), bytes(_TRIAL_ROW_BYTES))
        trial.then(self._remove_trial)
        return trial

    def _remove_trial(self) -> None:
        removal = Batch(essential=True)
        for key, _ in self.scan(Table.META, _TRIAL_KEY, successor(_TRIAL_KEY)):
            removal.delete(Table.META, key)
        if removal.ops:
            self._pending.append(_Waiting(removal, self._loop.create_future()))
            self._idle.clear()
            self._schedule()

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
        if not self._sync:
            with contextlib.suppress(lmdb.Error):
                await asyncio.to_thread(self._env.sync, True)
        self._env.close()
        os.close(self._lock)


def gathers_on(turns: int, idle: int) -> bool:
    """Whether the next transaction waits a turn more, after `turns` of them; the last `idle` brought nothing."""
    return turns < _GATHERING_TURNS_MIN or (turns < _GATHERING_TURNS_MAX and idle < _IDLE_TURNS_MAX)


def _abort(txn: lmdb.Transaction | None) -> None:
    if txn is not None:
        txn.abort()


def _opened(folder: Path, map_bytes_max: int, *, sync: bool) -> tuple[lmdb.Environment, list[lmdb._Database]]:
    """The environment and its tables, of the current format. Raises lmdb.Error, OSError, StoreError."""
    file = folder / "store" / "data.mdb"
    known = folder / "format"
    if not known.exists() and pages.is_half_made(file):
        file.unlink()
    if known.exists() and not file.exists():
        raise StoreError(f"its file {file} is gone: put it back, or set another data_folder to start without it")
    damage = pages.shortfall(file) if known.exists() or (file.exists() and file.stat().st_size) else None
    if damage is not None:
        raise StoreError(
            f"{file} is damaged: {damage}. Put back a copy, or set another data_folder to start without it"
        )
    env = lmdb.open(
        str(folder / "store"), map_size=map_bytes_max, max_dbs=len(Table) + 4, lock=False, readahead=False, sync=sync
    )
    try:
        dbs = [env.open_db(table.name.lower().encode()) for table in Table]
        _bring_up_to_date(env, dbs)
        if not known.exists():
            env.sync(True)
            # `format` comes last: who finds it relies on the names above.
            for path in (folder / "store", *_same_file_system(folder)):
                _sync_path(path)
            known.write_bytes(format.text(format.FORMAT) + b"\n")
            for path in (known, folder):
                _sync_path(path)
    except BaseException:
        env.close()
        raise
    return env, dbs


def _bring_up_to_date(env: lmdb.Environment, dbs: list[lmdb._Database]) -> None:
    meta = dbs[Table.META]
    with env.begin(db=meta) as reading:
        found: bytes | None = reading.get(format.KEY)
    steps = format.migrations(found)
    if found is not None and not steps:
        return
    with env.begin(write=True) as txn:
        for step in steps:
            step(lambda table, key: txn.get(key, db=dbs[table]), lambda table, k, v: txn.put(k, v, db=dbs[table]))
        txn.put(format.KEY, format.text(format.FORMAT), db=meta)


def _same_file_system(folder: Path) -> Iterator[Path]:
    """The folder and those above it that may be as new as it is."""
    path = folder.resolve()
    device = path.stat().st_dev
    while path.stat().st_dev == device:
        yield path
        if path == path.parent:
            return
        path = path.parent


def _sync_path(path: Path) -> None:
    """What may not be opened (a folder above that is someone else's) was there before; and not every file system syncs
    folders. Raises OSError where a sync fails."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


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
