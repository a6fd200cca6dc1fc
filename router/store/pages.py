"""The pages of an LMDB file, read as bytes: are all of them there, and is each what the tree says it is?

LMDB maps its file and trusts it. Where the file is shorter than the tree it holds (a torn copy, a broken file system),
reading the missing page ends the process with SIGBUS and not a word. So the file is looked at before LMDB is: at every
start its length, and the tree only where the length leaves a doubt; by `crossbus store verify` every page. It reads and
never writes, and nobody else may write meanwhile.

The form is that of LMDB's data version 1 (`struct MDB_meta`, `MDB_page` and `MDB_node` in its mdb.c), 64 bits, in this
machine's byte order.
"""

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_MAGIC = 0xBEEFC0DE
_VERSION = 1
_HEADER = struct.Struct("=QHHHH")  # page number, pad, flags, lower and upper bound of the free space
_META = struct.Struct("=IIQQ")  # magic, version, address, map size
_DB = struct.Struct("=IHHQQQQQ")  # pad, flags, depth, branch, leaf and overflow pages, entries, root
_META_TAIL = struct.Struct("=QQ")  # last page, transaction
_NODE = struct.Struct("=HHHH")  # two halves of a size or a page number, flags, key size
_NO_PAGE = 2**64 - 1
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_BIG_DATA, _SUB_DATA = 0x01, 0x02


class Damage(Exception):
    """The file cannot hold the store that it says it holds; the text says where."""


class _Meta:
    """The newer of the file's two heads."""

    def __init__(self, view: memoryview) -> None:
        found = [meta for start in self._starts(view) if (meta := self._read(view, start)) is not None]
        if not found:
            raise Damage("its head is not that of a store")
        self.transaction, self.page_bytes, self.last_page, self.roots = max(found)

    @staticmethod
    def _starts(view: memoryview) -> list[int]:
        """Where the heads are: at 0, and one page on; only the first head says how long a page is."""
        if len(view) < _HEADER.size + _META.size + 2 * _DB.size + _META_TAIL.size:
            raise Damage(f"it has {len(view)} bytes, which no store has")
        page_bytes = _DB.unpack_from(view, _HEADER.size + _META.size)[0]
        return [0, page_bytes] if 512 <= page_bytes <= 65536 and len(view) >= 2 * page_bytes else [0]

    @staticmethod
    def _read(view: memoryview, start: int) -> tuple[int, int, int, tuple[int, int]] | None:
        at = start + _HEADER.size
        magic, version, _, _ = _META.unpack_from(view, at)
        if magic != _MAGIC or version != _VERSION:
            return None
        at += _META.size
        free, main = _DB.unpack_from(view, at), _DB.unpack_from(view, at + _DB.size)
        last, transaction = _META_TAIL.unpack_from(view, at + 2 * _DB.size)
        return transaction, free[0], last, (free[7], main[7])


@contextmanager
def _viewed(path: Path) -> Iterator[memoryview]:
    """The file's bytes. Raises Damage, OSError."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            raise Damage("it is empty")
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
            yield view


def shortfall(path: Path) -> str | None:
    """Why a store's file is too short to be opened, or None. Fast, unless it is shorter than it was once meant to be,
    which a whole file may be too: then the tree is read. Raises OSError."""
    try:
        with _viewed(path) as view:
            meta = _Meta(view)
            if len(view) < (meta.last_page + 1) * meta.page_bytes:
                for _ in _walk(view, meta):
                    pass
    except Damage as damage:
        return str(damage)
    return None


def is_half_made(path: Path) -> bool:
    """Whether the file ends within the two heads that a new store begins with, and was never written to again. Raises
    OSError."""
    try:
        with _viewed(path) as view:
            meta = _Meta(view)
            return meta.transaction == 0 and len(view) < 2 * meta.page_bytes
    except (Damage, FileNotFoundError):
        return False


def check(path: Path, progress: Callable[[int], None]) -> int:
    """Read every page that the tree refers to; how many there are. Raises Damage, OSError.

    `progress` gets the number of pages that were read since it was called last.
    """
    count = 0
    with _viewed(path) as view:
        for pages in _walk(view, _Meta(view)):
            count += pages
            progress(pages)
    return count


def _walk(view: memoryview, meta: _Meta) -> Iterator[int]:
    """Each page of the tree that is in order, as how many pages it is. Raises Damage at the first that is not."""
    waiting = [root for root in meta.roots if root != _NO_PAGE]
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            raise Damage(f"page {number} is referred to twice")
        seen.add(number)
        flags, start, end = _page(view, meta, number)
        if flags & _OVERFLOW:
            raise Damage(f"page {number} is the body of a row, a page of the tree was expected")
        yield 1
        offsets = struct.unpack_from(f"={(end - _HEADER.size) // 2}H", view, start + _HEADER.size)
        for offset in offsets:
            if offset + _NODE.size > meta.page_bytes:
                raise Damage(f"page {number} has a row that begins outside of it")
            low, high, third, key_bytes = _NODE.unpack_from(view, start + offset)
            if flags & _BRANCH:
                waiting.append(low | high << 16 | third << 32)
                continue
            data = start + offset + _NODE.size + key_bytes
            inline = 8 if third & _BIG_DATA else low | high << 16
            if data + inline > start + meta.page_bytes:
                raise Damage(f"page {number} has a row that ends outside of it")
            if third & _BIG_DATA:
                yield _body(view, meta, int.from_bytes(view[data : data + 8], "little"), low | high << 16)
            elif third & _SUB_DATA:
                root = _DB.unpack_from(view, data)[7]
                waiting += [] if root == _NO_PAGE else [root]


def _page(view: memoryview, meta: _Meta, number: int) -> tuple[int, int, int]:
    """A page's flags, where it starts, and where its list of rows ends."""
    start = number * meta.page_bytes
    if number > meta.last_page or start + meta.page_bytes > len(view):
        raise Damage(
            f"page {number} of {meta.last_page} is missing: the file ends after {len(view)} bytes, it has been cut off"
        )
    said, _, flags, lower, upper = _HEADER.unpack_from(view, start)
    kind = flags & (_BRANCH | _LEAF | _OVERFLOW)
    if said != number or kind not in (_BRANCH, _LEAF, _OVERFLOW):
        raise Damage(f"page {number} holds something else")
    if kind != _OVERFLOW and not _HEADER.size <= lower <= upper <= meta.page_bytes:
        raise Damage(f"page {number} has bounds that cannot be")
    return flags, start, lower


def _body(view: memoryview, meta: _Meta, number: int, size: int) -> int:
    """How many pages a row's body has that is not in the tree itself."""
    flags, start, _ = _page(view, meta, number)
    pages: int = struct.unpack_from("=I", view, start + 12)[0]
    if not flags & _OVERFLOW or _HEADER.size + size > pages * meta.page_bytes:
        raise Damage(f"page {number} is no body of {size} bytes")
    if start + pages * meta.page_bytes > len(view):
        raise Damage(
            f"page {number + pages - 1} is missing: the file ends after {len(view)} bytes, it has been cut off"
        )
    return pages
