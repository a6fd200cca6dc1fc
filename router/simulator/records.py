"""What the inboxes keep in the store: the records, and the order of their keys.

A row of INBOXES is key32(inbox) -> `InboxRecord`; row 0 holds the `Tallies` of a clean stop. A row of MESSAGES is
key32(inbox) + key64(position). The two highest bits of a position say what the row is, so that everything an inbox has
lies under one prefix:

    00  a message, in the order of its sequence number
    01  a message that was sent with a delay: when it is due (ms), then 20 bits of its sequence
    10  FIFO: a deduplication id, by 62 bits of its hash
    11  FIFO: when a deduplication id ends (ms), then 20 bits of its sequence
"""

from collections.abc import Mapping

import msgspec

from router import limits
from router.store.base import key32

DELAYED = 1 << 62
DEDUPLICATION = 2 << 62
DEDUPLICATION_END = 3 << 62
_LOW_BITS = 20
_LOW_MASK = (1 << _LOW_BITS) - 1

KINDS = (
    "appsync",
    "batch",
    "codebuild",
    "codepipeline",
    "ecs",
    "execute-api",
    "firehose",
    "glue",
    "imagebuilder",
    "inspector",
    "kinesis",
    "lambda",
    "logs",
    "redshift",
    "redshift-serverless",
    "sagemaker",
    "sns",
    "sqs",
    "ssm",
    "states",
)
"""An inbox's kind is the service of its ARN."""

DELIVERY_STREAM = "crossbus"
"""The log stream that rules deliver to."""

Attributes = dict[str, tuple[str, bytes]]
"""Message attributes: name -> (data type, value); the value of a type that is not Binary… is UTF-8 text."""


class InboxRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an inbox is. `streams` are the log streams that were created by name, with their times."""

    arn: str
    kind: str
    created_ms: int
    modified_ms: int
    attributes: dict[str, str] = {}
    tags: dict[str, str] = {}
    streams: dict[str, int] = {}
    gone_ms: int | None = None
    """When it was deleted or purged; its messages are being removed."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message or log event as it is stored. New fields go to the end, with a default."""

    id: str
    sent_ms: int
    body: bytes
    event_id: str | None = None
    attributes: Attributes | None = None
    trace_header: str | None = None
    group_id: str | None = None
    dedup_id: str | None = None
    sender: str | None = None
    received: int = 0
    """How often it was received, where that must survive a restart (queues with a RedrivePolicy)."""
    first_received_ms: int = 0
    source_arn: str | None = None
    """The queue it was moved from, in a dead-letter queue."""
    stream: str | None = None
    timestamp_ms: int | None = None
    """A log event's own time."""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A message that is to be deposited."""

    body: bytes
    attributes: Attributes | None = None
    trace_header: str | None = None
    group_id: str | None = None
    dedup_id: str | None = None
    event_id: str | None = None
    sender: str | None = None
    delay_s: int | None = None
    """None: the queue's own delay."""
    stream: str | None = None
    timestamp_ms: int | None = None


class Stored(msgspec.Struct, frozen=True, gc=False):
    """What a deposited message got."""

    message_id: str
    position: int


class StreamTally(msgspec.Struct, array_like=True):
    """What a log stream holds; times in ms."""

    created_ms: int
    first_ms: int
    last_ms: int
    ingested_ms: int
    bytes: int

    def add(self, other: "StreamTally") -> None:
        self.created_ms = min(self.created_ms, other.created_ms)
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.ingested_ms = max(self.ingested_ms, other.ingested_ms)
        self.bytes += other.bytes


class Tallies(msgspec.Struct):
    """What a clean stop leaves, so that the next start need not count: by inbox number."""

    counts: dict[int, int]
    streams: dict[int, dict[str, StreamTally]]


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A queue's attributes as numbers, with SQS's defaults."""

    visibility_s: int = limits.VISIBILITY_S_DEFAULT
    delay_s: int = 0
    retention_ms: int = limits.QUEUE_RETENTION_S_DEFAULT * 1000
    wait_s: int = 0
    message_bytes_max: int = limits.MESSAGE_BYTES_MAX
    fifo: bool = False
    content_based: bool = False
    dedup_per_group: bool = False
    dead_letter_arn: str | None = None
    receives_max: int = 0


encode_message = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(InboxRecord).decode
decode_tallies = msgspec.msgpack.Decoder(Tallies).decode

TALLIES_KEY = key32(0)


def text_attributes(texts: Mapping[str, str] | None) -> Attributes | None:
    """Message attributes of type String."""
    return {name: ("String", text.encode()) for name, text in texts.items()} if texts else None


def is_binary(data_type: str) -> bool:
    return data_type.partition(".")[0] == "Binary"


def delayed_position(due_ms: int, sequence: int) -> int:
    return DELAYED | due_ms << _LOW_BITS | sequence & _LOW_MASK


def dedup_end_position(end_ms: int, sequence: int) -> int:
    return DEDUPLICATION_END | end_ms << _LOW_BITS | sequence & _LOW_MASK


def dedup_end_ms(position: int) -> int:
    return (position & (DELAYED - 1)) >> _LOW_BITS


def time_ms_of(message: Message) -> int:
    """A log event's own time."""
    return message.sent_ms if message.timestamp_ms is None else message.timestamp_ms


def position_of(key: bytes) -> int:
    """The position in a key of MESSAGES."""
    return int.from_bytes(key[4:12], "big")


def due_ms_of(position: int) -> int:
    """When a delayed message is due; 0 for one without a delay."""
    return (position & (DELAYED - 1)) >> _LOW_BITS if position & DELAYED else 0


def message_bytes(body: bytes, attributes: Attributes | None) -> int:
    """What a message counts against MaximumMessageSize: its body and its attributes' names, types and values."""
    size = len(body)
    if attributes:
        for name, (data_type, value) in attributes.items():
            size += len(name.encode()) + len(data_type) + len(value)
    return size


def prefix_of(number: int) -> bytes:
    return key32(number)


def message_key(prefix: bytes, position: int) -> bytes:
    return prefix + position.to_bytes(8, "big")


def resource_name(arn: str) -> str:
    """The last part of an inbox's ARN: a queue's, topic's or function's name; a log group's name whole."""
    resource = arn.split(":", 5)[5]
    return resource.removeprefix("log-group:")
