"""What the hub and its worker say to each other over the worker's pipes: frames of MessagePack with their length.

To the worker: one `Job`, then `Page`s of events as they lie in the store, then an empty frame. From it: `Rows` as often
as it takes, then one `Done`; or one `Broken` instead of what is left. Nothing here reads or writes a pipe.
"""

from typing import Any

import msgspec

FRAME_BYTES_MAX = 1 << 30
"""A page holds at most some hundred events of 1 MiB."""


class Source(msgspec.Struct, frozen=True):
    """A log group: the number of its inbox, and what `@log` says."""

    number: int
    log: str


class Job(msgspec.Struct, frozen=True):
    """Times are in ms, inclusive. The maxima are the worker's to keep."""

    from_ms: int
    to_ms: int
    sources: list[Source]
    select: str
    select_parameters: dict[str, Any]
    count: str
    count_parameters: dict[str, Any]
    columns: list[str]
    fields: list[list[str]]
    used: list[str]
    texts: list[int]
    bytes_max: int
    result_bytes_max: int
    memory_bytes_max: int


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events of one log group: position and the stored `Message`."""

    source: int
    rows: list[tuple[int, bytes]]


class Rows(msgspec.Struct, frozen=True, tag="rows", gc=False):
    """Result rows, each as the JSON of a list of fields and values."""

    rows: list[bytes]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """All is said: how many events the query matched, of how many in the range of time, and their bytes."""

    matched: int
    scanned: int
    bytes: int


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The query failed, and why, for the person who asked."""

    reason: str


Answer = Rows | Done | Broken

encode = msgspec.msgpack.Encoder().encode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_page = msgspec.msgpack.Decoder(Page).decode
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
decode_answer = _answers.decode


def framed(value: msgspec.Struct | None) -> list[bytes]:
    """The frame as parts to write one after the other; None: the empty frame that ends the pages."""
    body = encode(value) if value is not None else b""
    return [len(body).to_bytes(4, "big"), body]
