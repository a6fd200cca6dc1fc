"""How much of an LMDB file is in use: what the tables hold, and what they ever held; and how much more the disk takes.
It reads numbers that LMDB and the file system keep and looks at no row.
"""

import math
import os
from collections.abc import Iterable
from typing import Any

import lmdb


def bytes_ever_used(env: lmdb.Environment) -> int:
    """Up to the last page that was ever in use; freed pages before it are used again."""
    pages: int = env.info()["last_pgno"] + 1
    size: int = env.stat()["psize"]
    return pages * size


def bytes_in_use(env: lmdb.Environment, txn: "lmdb.Transaction[Any]", dbs: "Iterable[lmdb._Database]") -> int:
    """What the tables' pages take, free pages not counted."""
    stats = [env.stat(), *(txn.stat(db) for db in dbs)]
    pages: int = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
    size: int = stats[0]["psize"]
    return pages * size


def disk_bytes_free(folder: str) -> float:
    """Bytes that may still be written to the folder's file system; not a number where it cannot be asked."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return math.nan
    return float(found.f_bavail * found.f_frsize)
