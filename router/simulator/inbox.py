"""One inbox in memory: what it is, how much it holds, and for queues who may receive what."""

import msgspec

from router.simulator.deduplication import Deduplication
from router.simulator.fifo import FifoQueue
from router.simulator.records import (
    DEDUPLICATION,
    DELAYED,
    InboxRecord,
    Message,
    QueueSettings,
    StreamTally,
    due_ms_of,
    message_key,
    prefix_of,
)
from router.simulator.visibility import Queue
from router.store.base import Store
from router.world import World


class InboxInfo(msgspec.Struct, frozen=True):
    """An inbox as the hub's API shows it."""

    arn: str
    kind: str
    messages: int
    created_ms: int
    attributes: dict[str, str]


class Row(msgspec.Struct, frozen=True):
    """A stored message and where it lies; positions only ever grow, except that delayed messages come last."""

    position: int
    message: Message


class Inbox:
    """State of one inbox; `Inboxes` is the only writer."""

    __slots__ = (
        "_deduplication",
        "_due",
        "_queue",
        "count",
        "durable",
        "number",
        "prefix",
        "record",
        "settings",
        "streams",
    )

    def __init__(self, number: int, record: InboxRecord, *, durable: bool) -> None:
        self.number = number
        self.prefix = prefix_of(number)
        self.record = record
        self.settings = settings_of(record)
        self.durable = durable
        self.count = 0
        """Durable messages, delayed and hidden ones included."""
        self.streams: dict[str, StreamTally] = {}
        """Of a log group: what its streams hold."""
        self._due: dict[int, int] = {}
        self._queue: Queue | None = None
        self._deduplication: Deduplication | None = None

    def saved(self, record: InboxRecord, settings: QueueSettings | None) -> None:
        """The record is durable."""
        self.record = record
        self.settings = settings
        self.durable = True
        self.wake()

    def queue(self, store: Store, world: World) -> Queue:
        """Who may receive what; built when first needed."""
        if self._queue is None:
            kind = FifoQueue if self.settings is not None and self.settings.fifo else Queue
            self._queue = kind(self.prefix, store, world)
        return self._queue

    def deduplication(self, store: Store, world: World) -> Deduplication:
        if self._deduplication is None:
            self._deduplication = Deduplication(self.prefix, store, world)
        return self._deduplication

    def wake(self) -> None:
        """Let long polls look again."""
        if self._queue is not None:
            self._queue.wake()

    def arrived(self, first: int | None, first_delayed: int | None) -> None:
        """Messages are durable from these positions on."""
        if self._queue is not None:
            self._queue.arrived(
                None if first is None else message_key(self.prefix, first),
                None if first_delayed is None else message_key(self.prefix, first_delayed),
            )

    def areas(self) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """The ranges of keys of plain and of delayed messages."""
        plain, delayed, end = (message_key(self.prefix, position) for position in (0, DELAYED, DEDUPLICATION))
        return (plain, delayed), (delayed, end)

    @property
    def in_flight(self) -> int:
        if self._queue is None:
            return 0
        self._queue.expire()
        return self._queue.in_flight

    @property
    def in_memory(self) -> int:
        """How many messages are remembered."""
        return self._queue.entries if self._queue is not None else 0

    def note_delayed(self, position: int) -> None:
        """Count a delayed message by the second in which it is due; there are at most 15 minutes of them."""
        if position & DELAYED:
            second = due_ms_of(position) // 1000
            self._due[second] = self._due.get(second, 0) + 1

    def delayed(self, now_ms: int) -> int:
        """How many messages are not due yet, to the second. In FIFO queues none: their delay is the queue's."""
        for second in [second for second in self._due if second * 1000 <= now_ms]:
            del self._due[second]
        return sum(self._due.values())

    def tally(self, message: Message) -> None:
        """Count a log event to its stream."""
        if message.stream is not None:
            add_to_tallies(self.streams, message.stream, tally_of(message))


def tally_of(message: Message) -> StreamTally:
    time_ms = message.sent_ms if message.timestamp_ms is None else message.timestamp_ms
    return StreamTally(message.sent_ms, time_ms, time_ms, message.sent_ms, len(message.body))


def add_to_tallies(tallies: dict[str, StreamTally], stream: str, tally: StreamTally) -> None:
    known = tallies.get(stream)
    if known is None:
        tallies[stream] = tally
    else:
        known.add(tally)


def settings_of(record: InboxRecord) -> QueueSettings | None:
    """A queue's attributes as numbers; None for an inbox that is no queue."""
    if record.kind != "sqs":
        return None
    given = record.attributes
    numbers = {
        field: int(given[name]) * scale
        for name, field, scale in (
            ("VisibilityTimeout", "visibility_s", 1),
            ("DelaySeconds", "delay_s", 1),
            ("MessageRetentionPeriod", "retention_ms", 1000),
            ("ReceiveMessageWaitTimeSeconds", "wait_s", 1),
            ("MaximumMessageSize", "message_bytes_max", 1),
        )
        if name in given
    }
    redrive = msgspec.json.decode(given["RedrivePolicy"]) if given.get("RedrivePolicy") else {}
    return QueueSettings(
        **numbers,
        fifo=record.arn.endswith(".fifo"),
        content_based=given.get("ContentBasedDeduplication") == "true",
        dedup_per_group=given.get("DeduplicationScope") == "messageGroup",
        dead_letter_arn=redrive.get("deadLetterTargetArn"),
        receives_max=int(redrive.get("maxReceiveCount", 0)),
    )
