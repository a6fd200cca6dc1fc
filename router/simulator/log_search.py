"""Searching a log group: which events an answer takes, and reading on in either direction.

Each call looks at a bounded number of events and lets others run in between, whatever the group holds.
"""

import asyncio

from router.aws.errors import InvalidParameterException
from router.simulator.filter_patterns import Test
from router.simulator.inbox import Inbox, Row
from router.simulator.inboxes import Inboxes
from router.simulator.records import DELAYED, DELIVERY_STREAM, Message, time_ms_of

_ANSWER_BYTES_MAX = 1024 * 1024
_ROWS_PER_CALL_MAX = 20_000
_PAGE_ROWS = 500


class Search:
    """Which events are wanted, and those found, within the bounds of one answer. Times are inclusive."""

    def __init__(
        self,
        from_ms: int | None,
        to_ms: int | None,
        *,
        limit: int,
        names: frozenset[str] | None = None,
        prefix: str | None = None,
        test: Test | None = None,
    ) -> None:
        self._from_ms = from_ms
        self._to_ms = to_ms
        self._names = names
        self._prefix = prefix
        self._test = test
        self._limit = limit
        self._bytes = 0
        self._found: list[Row] = []
        self.full = False

    def take(self, row: Row) -> bool:
        """Keep the event if it is wanted; False when the answer has no room for it: it belongs to the next one."""
        if self.full:
            return False
        if not self._wants(row.message):
            return True
        self._bytes += len(row.message.body)
        if self._found and self._bytes > _ANSWER_BYTES_MAX:
            self.full = True
            return False
        self._found.append(row)
        self.full = len(self._found) >= self._limit
        return True

    def _wants(self, message: Message) -> bool:
        stream = message.stream or DELIVERY_STREAM
        time_ms = time_ms_of(message)
        return (
            (self._names is None or stream in self._names)
            and (self._prefix is None or stream.startswith(self._prefix))
            and (self._from_ms is None or time_ms >= self._from_ms)
            and (self._to_ms is None or time_ms <= self._to_ms)
            and (self._test is None or self._test(message.body.decode(errors="replace")))
        )

    def sorted(self) -> list[Row]:
        return sorted(self._found, key=lambda row: (time_ms_of(row.message), row.position))


def number_of(token: str | None, prefix: str) -> int | None:
    """The number in a token of this kind, None without one; raises InvalidParameterException for any other."""
    if not token:
        return None
    digits = token.removeprefix(prefix)
    if not token.startswith(prefix) or not digits.isascii() or not digits.isdigit() or int(digits[:60]) >= DELAYED:
        raise InvalidParameterException("The specified nextToken is invalid.")
    return int(digits)


async def read_forward(inboxes: Inboxes, group: Inbox, position: int, search: Search) -> int:
    """Take events at and after `position`; the position of the first that was not looked at."""
    looked = 0
    while not search.full and looked < _ROWS_PER_CALL_MAX:
        rows = inboxes.rows(group, position, DELAYED, limit=_PAGE_ROWS)
        for row in rows:
            if not search.take(row):
                return position
            position = row.position + 1
        looked += len(rows)
        if len(rows) < _PAGE_ROWS:
            break
        await asyncio.sleep(0)
    return position


async def read_backward(inboxes: Inboxes, group: Inbox, position: int, search: Search) -> int:
    """Take the latest events before `position`; the position of the earliest that was looked at.

    The store reads forward only, so windows of positions are tried from the end: wider while they hold few rows,
    narrower while they hold more than a page.
    """
    looked, width = 0, _PAGE_ROWS
    oldest = inboxes.rows(group, 0, DELAYED, limit=1)
    first = oldest[0].position if oldest else position
    while position > first and not search.full and looked < _ROWS_PER_CALL_MAX:
        start = max(first, position - width)
        rows = inboxes.rows(group, start, position, limit=_PAGE_ROWS + 1)
        if len(rows) > _PAGE_ROWS:
            width //= 2
            continue
        for row in reversed(rows):
            if not search.take(row):
                return row.position + 1
        looked += max(1, len(rows))
        position = start
        if len(rows) < _PAGE_ROWS // 4:
            width *= 4
        await asyncio.sleep(0)
    return position
