"""The records of stacks, durable in the store: listed, read, written and taken away.

Rows of table CATALOG under the kind `stack`; what is read is what is durable. A write must name the version that it
changes, so that of two who deploy the same stack at once one is refused. What a record means is not known here, it is
told in `router.importers.record`.
"""

import asyncio
from collections.abc import Iterator

import msgspec

from router import limits
from router.core.event import Location
from router.errors import LimitExceededException, ServiceUnavailable, ValidationException
from router.importers.record import StackRecord
from router.store.base import Batch, Store, StoreError, Table, settled, successor

_KIND = b"stack"
_PAGE_ROWS = 100
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StackRecord).decode


def key(record: StackRecord) -> bytes:
    return _key(Location(record.account, record.region), record.stack)


def _key(location: Location, stack: str) -> bytes:
    return b"\0".join((_KIND, location.account.encode(), location.region.encode(), stack.encode()))


class StackChanged(ValidationException):
    """Somebody else wrote the record meanwhile."""


class Stacks:
    """Reads raise StoreError for a row that this version cannot read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changing = asyncio.Lock()

    def all(self) -> Iterator[StackRecord]:
        """Every record, by account, region and name."""
        start = _KIND + b"\0"
        stop = successor(start)
        while True:
            rows = self._store.scan(Table.CATALOG, start, stop, limit=_PAGE_ROWS)
            for row_key, row in rows:
                yield _read(row_key, row)
            if len(rows) < _PAGE_ROWS:
                return
            start = rows[-1][0] + b"\0"

    def of(self, location: Location) -> list[StackRecord]:
        return [
            record for record in self.all() if (record.account, record.region) == (location.account, location.region)
        ]

    def get(self, location: Location, stack: str) -> StackRecord | None:
        row_key = _key(location, stack)
        row = self._store.get(Table.CATALOG, row_key)
        return None if row is None else _read(row_key, row)

    async def put(self, record: StackRecord) -> int:
        """Write it over the version that it names (0: there is none yet); returns its new version.

        Raises StackChanged, LimitExceededException, ServiceUnavailable.
        """
        async with self._changing:
            location = Location(record.account, record.region)
            found = self.get(location, record.stack)
            _check_version(record, found)
            if found is None and len(self.of(location)) >= limits.STACKS_PER_LOCATION_MAX:
                raise LimitExceededException(f"Limit for stack has been exceeded: {limits.STACKS_PER_LOCATION_MAX}")
            new = msgspec.structs.replace(record, version=record.version + 1)
            value = _encode(new)
            if len(value) > limits.STACK_RECORD_BYTES_MAX:
                raise LimitExceededException(
                    f"expected the record of a stack to have at most {limits.STACK_RECORD_BYTES_MAX} bytes, got "
                    f"{len(value)}: split the template"
                )
            batch = Batch()
            batch.put(Table.CATALOG, key(new), value)
            await self._commit(batch)
            return new.version

    async def delete(self, location: Location, stack: str) -> bool:
        """Whether there was one."""
        async with self._changing:
            if self.get(location, stack) is None:
                return False
            batch = Batch()
            batch.delete(Table.CATALOG, _key(location, stack))
            await self._commit(batch)
            return True

    async def _commit(self, batch: Batch) -> None:
        """A cancelled caller is held until it is durable: who comes next must see it."""
        try:
            await self._store.commit(batch)
        except StoreError as error:
            raise ServiceUnavailable(f"The stack could not be stored: {error}") from error
        except asyncio.CancelledError:
            await settled(self._store)
            raise


def _check_version(record: StackRecord, found: StackRecord | None) -> None:
    version = found.version if found is not None else 0
    if record.version != version:
        raise StackChanged(
            f"Stack {record.stack} was changed meanwhile: expected version {version}, got {record.version}. Somebody "
            "else deploys it; look at the plan again, then deploy again"
        )


def _read(row_key: bytes, row: bytes) -> StackRecord:
    try:
        return _decode(row)
    except msgspec.DecodeError as error:
        shown = row_key.decode(errors="replace").replace("\0", "/")
        raise StoreError(f"the catalog's row {shown!r} cannot be read: {error}") from error
