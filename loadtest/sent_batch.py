"""SQS's SendMessageBatch as the queues of load tests read and answer it: all of it is taken."""

import msgspec


class Entry(msgspec.Struct, rename="pascal"):
    """A message that is sent."""

    id: str
    message_body: str


class _Batch(msgspec.Struct, rename="pascal"):
    entries: list[Entry]


class _Sent(msgspec.Struct, rename="pascal"):
    id: str
    message_id: str
    m_d5_of_message_body: str = msgspec.field(name="MD5OfMessageBody", default="0" * 32)


class _Answer(msgspec.Struct, rename="pascal"):
    successful: list[_Sent]
    failed: list[str] = []


_decode = msgspec.json.Decoder(_Batch).decode
_encode = msgspec.json.Encoder().encode


def read(body: bytes) -> list[Entry]:
    """The messages of a request. Raises msgspec.DecodeError."""
    return _decode(body).entries


def taken(entries: list[Entry]) -> bytes:
    """The answer's body."""
    return _encode(_Answer([_Sent(entry.id, entry.id) for entry in entries]))
