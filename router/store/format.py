"""The store's format version: what is written, what is read, and how an older store becomes a current one.

Table META holds one row `format`, `crossbus-store-N`. It is read at every start before anything else. A store without
the row is version 1, which is what was written before there was one. An older store is migrated in one transaction,
which also writes the row: a crash leaves it as it was or done. A newer one, and one that is not the hub's, is refused.
What only adds a table is no new version: older versions do not look at it.

    1   the first one
    2   the catalog has kinds of things of their own (archives, connections…): version 1 would end at an archive's rule,
        and would not honour the others
"""

import re
from collections.abc import Callable
from typing import Final

from router.store.base import StoreError, Table

FORMAT: Final[int] = 2
KEY: Final = b"format"

Get = Callable[[Table, bytes], bytes | None]
Put = Callable[[Table, bytes, bytes], object]
Migration = Callable[[Get, Put], None]
"""Makes a store of version N one of version N + 1."""

MIGRATIONS: dict[int, Migration] = {1: lambda get, put: None}
"""By the version that they start from."""


def text(version: int) -> bytes:
    return b"crossbus-store-%d" % version


def version_of(found: bytes | None) -> int:
    """The version that a store's row says. Raises StoreError for a row that no version of the hub wrote."""
    if found is None:
        return 1
    match = re.fullmatch(rb"crossbus-store-([1-9][0-9]{0,8})", found)
    if match is None:
        raise StoreError(
            f"has format {found.decode(errors='replace')!r}, which is not a hub's: set another data_folder"
        )
    return int(match[1])


def migrations(found: bytes | None) -> list[Migration]:
    """What makes a store with this row a current one, in order. Raises StoreError where nothing does."""
    version, current = version_of(found), text(FORMAT).decode()
    said = text(version).decode()
    if version > FORMAT:
        raise StoreError(
            f"has format {said!r}, which is newer than {current!r}, the newest that this version of crossbus reads: "
            "start the version that wrote it, or set another data_folder"
        )
    if any(step not in MIGRATIONS for step in range(version, FORMAT)):
        raise StoreError(
            f"has format {said!r}, which this version of crossbus cannot bring to {current!r} any more: start a "
            "version in between once, or set another data_folder"
        )
    return [MIGRATIONS[step] for step in range(version, FORMAT)]
