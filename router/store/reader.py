"""A store's tables read offline, for those who check or export it: nothing is written, not even a lock's owner.

The hub's lock is taken, shared, so that no hub changes the store meanwhile, and several readers do not disturb each
other. A row is never looked at before the pages under it were found in order (`check_pages`), because LMDB trusts them.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import lmdb

from router.store import pages
from router.store.base import StoreError, Table
from router.store.lmdb import FolderInUse


class StoreReader:
    """Enter it to read. Raises StoreError where there is no store that can be read, FolderInUse where a hub has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "store" / "data.mdb"
        self._lock = -1
        self._env: lmdb.Environment | None = None
        self._txn: lmdb.Transaction | None = None
        self._dbs: dict[Table, lmdb._Database] = {}

    def __enter__(self) -> Self:
        if not self._file.is_file():
            raise StoreError(f"there is no store in {self._folder}: {self._file} is not there")
        try:
            self._lock = os.open(self._folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # a copy of the store alone: no hub has it
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            self._close()
            raise FolderInUse(
                f"a hub has the data folder {self._folder} (process {holder}): stop it first, or verify a copy of it"
            ) from error
        except OSError as error:
            self._close()
            raise StoreError(f"cannot read the data folder {self._folder}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._txn is not None:
            self._txn.abort()
        if self._env is not None:
            self._env.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._txn, self._env, self._lock = None, None, -1

    def file_bytes(self) -> int:
        return self._file.stat().st_size

    def check_pages(self, progress: Callable[[int], None]) -> int:
        """Read every page, then open the tables; how many pages. Raises pages.Damage, StoreError."""
        try:
            count = pages.check(self._file, progress)
            self._env = lmdb.open(
                str(self._file.parent), readonly=True, lock=False, max_dbs=len(Table) + 4, readahead=False
            )
            self._txn = self._env.begin()
            for table in Table:
                try:
                    self._dbs[table] = self._env.open_db(table.name.lower().encode(), txn=self._txn, create=False)
                except lmdb.NotFoundError:
                    continue  # of an older version, or of a hub that was killed while it made its first tables
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"cannot read the store in {self._folder}: {error}") from error
        return count

    def rows(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a table in key order."""
        assert self._txn is not None, "the pages come first"
        if table in self._dbs:
            with self._txn.cursor(db=self._dbs[table]) as cursor:
                for key, value in cursor.iternext():
                    yield bytes(key), bytes(value)

    def get(self, table: Table, key: bytes) -> bytes | None:
        assert self._txn is not None, "the pages come first"
        value = self._txn.get(key, db=self._dbs[table]) if table in self._dbs else None
        return None if value is None else bytes(value)

    def count(self, table: Table) -> int:
        """How many rows the table says it has."""
        assert self._txn is not None, "the pages come first"
        return int(self._txn.stat(self._dbs[table])["entries"]) if table in self._dbs else 0
