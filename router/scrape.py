"""What is read of the store when Prometheus asks: how much of it is in use, how old the oldest delivery of each origin
is, and whether the counts in memory and the rows on disk agree.

`look` runs on the event loop, where the store's read transactions live, and within bounds: of the lanes that have
something pending those with most parked, of each the rows that are due first. With more pending than the bounds allow
an age is a lower bound. It changes nothing and must not know sinks or outcomes.
"""

from collections.abc import Callable
from typing import Protocol

from router import limits
from router.lanes import Lane, Lanes, decode_progress, origin_of
from router.metrics import Origin
from router.store.base import Table, successor


class ScrapedStore(Protocol):
    """As much of the embedded store as this reads."""

    def scan(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, limit: int = 1000
    ) -> list[tuple[bytes, bytes]]: ...

    def rows(self, table: Table) -> int | None:
        """How many rows a table has; None while a commit is under way, of which memory knows nothing yet."""
        ...

    def bytes_in_use(self) -> int: ...


class StoreScrape:
    """`look` reads, the rest says what was found."""

    def __init__(self, store: ScrapedStore, lanes: Lanes, *, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._lanes = lanes
        self._now_ms = now_ms
        self.ages_s: dict[Origin, float] = {}
        """Since its acceptance, or its redrive: of the oldest delivery of each origin that has any pending."""
        self.unaccounted = 0
        """Deliveries that memory counts as pending and the disk does not have, or, below 0, the other way round."""
        self.bytes_in_use = 0

    def look(self) -> None:
        rows = self._store.rows(Table.DELIVERIES)
        if rows is not None:
            self.unaccounted = self._lanes.pending - rows
        self.bytes_in_use = self._store.bytes_in_use()
        now_ms = self._now_ms()
        ages_s: dict[Origin, float] = {}
        busy = [lane for lane in self._lanes if lane.parked or lane.loaded or lane.more]
        busy.sort(key=lambda lane: lane.parked, reverse=True)
        busy = busy[: limits.AGED_LANES_MAX]
        for lane in busy:
            started_ms = self._oldest_ms(lane, limits.AGED_ROWS_MAX // len(busy))
            if started_ms is not None:
                origin = (*origin_of(lane.name), lane.kind or "sqs")
                ages_s[origin] = max(ages_s.get(origin, 0.0), (now_ms - started_ms) / 1000)
        self.ages_s = ages_s

    def _oldest_ms(self, lane: Lane, rows_max: int) -> int | None:
        rows = self._store.scan(Table.DELIVERIES, lane.id, successor(lane.id), limit=rows_max)
        # A fresh delivery is due when it is accepted.
        return min(
            (decode_progress(value).started_ms if value else int.from_bytes(key[4:12], "big") for key, value in rows),
            default=None,
        )
