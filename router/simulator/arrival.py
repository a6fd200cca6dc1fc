"""What one batch brings to one inbox: one record and one callback, however many messages."""

from hashlib import sha256

from router.simulator.deduplication import Pending
from router.simulator.inbox import Inbox, add_to_tallies, tally_of
from router.simulator.records import DELAYED, Draft, Message, Stored, StreamTally
from router.sinks.base import Rejected, Retryable
from router.store.base import Batch, Store
from router.world import World

_CLEARED_EACH_TIME = 20


class Arrival:
    """Collects until the batch is durable; nothing of it counts before, and nothing at all when the batch fails."""

    __slots__ = (
        "_dedup_keys",
        "_delayed",
        "_first",
        "_first_delayed",
        "_store",
        "_streams",
        "_world",
        "batch",
        "count",
        "inbox",
    )

    def __init__(self, batch: Batch, inbox: Inbox, store: Store, world: World) -> None:
        self.batch = batch
        self.inbox = inbox
        self.count = 0
        self._store = store
        self._world = world
        self._first: int | None = None
        self._first_delayed: int | None = None
        self._delayed: list[int] = []
        self._streams: dict[str, StreamTally] = {}
        self._dedup_keys: list[bytes] = []

    def check(self, draft: Draft) -> str | Stored | Retryable | Rejected:
        """For a FIFO queue: the scoped deduplication id of a message that may go in, or what becomes of it instead."""
        settings = self.inbox.settings
        assert settings is not None, f"{self.inbox.record.arn} is not a queue"
        if draft.group_id is None:
            return Rejected("INVALID_PARAMETER", "The request must contain the parameter MessageGroupId.")
        dedup_id = draft.dedup_id
        if dedup_id is None and settings.content_based:
            dedup_id = sha256(draft.body).hexdigest()
        if dedup_id is None:
            return Rejected(
                "INVALID_PARAMETER",
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
                "explicitly",
            )
        scoped = f"{draft.group_id}\0{dedup_id}" if settings.dedup_per_group else dedup_id
        deduplication = self.inbox.deduplication(self._store, self._world)
        if not self._dedup_keys:
            deduplication.clear(self.batch, _CLEARED_EACH_TIME)
        known = deduplication.seen(self.batch, scoped)
        if isinstance(known, Pending):
            return Retryable(
                "RESOURCE_MODIFICATION_COLLISION", "A message with the same deduplication id is being written."
            )
        return scoped if known is None else known

    def add(self, stored: Stored, message: Message, scoped: str | None) -> None:
        self.count += 1
        position = stored.position
        if position & DELAYED:
            self._delayed.append(position)
            if self._first_delayed is None or position < self._first_delayed:
                self._first_delayed = position
        elif self._first is None:
            self._first = position
        if message.stream is not None:
            add_to_tallies(self._streams, message.stream, tally_of(message))
        if scoped is not None:
            deduplication = self.inbox.deduplication(self._store, self._world)
            self._dedup_keys.append(deduplication.note(self.batch, scoped, stored))

    def durable(self) -> None:
        """The batch's callback."""
        inbox = self.inbox
        inbox.durable = True
        inbox.count += self.count
        for position in self._delayed:
            inbox.note_delayed(position)
        for stream, tally in self._streams.items():
            add_to_tallies(inbox.streams, stream, tally)
        for key in self._dedup_keys:
            inbox.deduplication(self._store, self._world).durable(self.batch, key)
        inbox.arrived(self._first, self._first_delayed)
