"""The fast lane's requests out of a connection's bytes, without sockets: a hot operation's request, "more bytes are
needed", or "not for the lane".

Only one form is read: `POST / HTTP/1.1`, printable ASCII, every header once and on one line, a Content-Length of plain
digits, nothing about how to transfer it. Promises: a request is given only where its end is beyond doubt, and its bytes
are then exactly those from one boundary to the next; before that nothing is consumed, so that `unread` is what another
parser must be shown. Two readers have to agree: the checks here, and llhttp (httptools) in its strict mode. It must not
know what an operation is, nor answer anything.
"""

from collections.abc import Container
from enum import Enum

import httptools
import msgspec

from router import limits

_START = b"POST / HTTP/1.1\r\n"
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\r\n"
# How a body is encoded or transferred, and who else speaks on the connection, are questions for the whole server.
_ELSEWHERE = frozenset(
    {
        "content-encoding", "expect", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class Request(msgspec.Struct, frozen=True, gc=False):
    """Header names are lower case; `target` is X-Amz-Target's value."""

    target: str
    headers: dict[str, str]
    body: bytes


class Verdict(Enum):
    """What there is instead of a request."""

    WAIT = "more bytes are needed"
    HAND_OVER = "not for the lane, with all that follows it"


class FastLaneParser:
    """Reads one connection. After HAND_OVER it is spent: `unread` goes to whoever takes over."""

    def __init__(self, targets: Container[str]) -> None:
        self._targets = targets
        self._llhttp = httptools.HttpRequestParser(self)
        self._data = b""
        self._parts: list[bytes] = []
        self._buffered = 0
        self._pairs: list[tuple[bytes, bytes]] = []
        self._headers_complete = False
        self._message_complete = False
        self._head: tuple[str, dict[str, str]] | None = None
        self._head_bytes = 0
        self._needed = 0
        """Up to which byte the request in hand reaches, once its head is read; before that, 0."""

    @property
    def buffered(self) -> int:
        """How many bytes have come that no request was made of yet."""
        return self._buffered

    @property
    def unread(self) -> bytes:
        """All bytes from the last boundary between requests on."""
        self._join()
        return self._data

    @property
    def target(self) -> str | None:
        """What the request in hand calls, once its head is read."""
        return self._head[0] if self._head is not None else None

    def close(self) -> None:
        """Let go of llhttp, which holds this parser as this holds it. Nothing may be fed any more."""
        del self._llhttp

    def feed(self, data: bytes) -> None:
        self._buffered += len(data)
        if self._data:
            self._parts.append(data)
        else:
            self._data = data

    def next(self) -> Request | Verdict:
        """The next request. Call it until it has none, after every `feed`."""
        if self._buffered < self._needed or not self._buffered:
            return Verdict.WAIT
        self._join()
        if self._head is None:
            verdict = self._read_head()
            if verdict is not None:
                return verdict
            if self._buffered < self._needed:
                return Verdict.WAIT
        assert self._head is not None
        body = self._data[self._head_bytes : self._needed]
        self._llhttp.feed_data(body)  # it skips what it needs not show
        if not self._message_complete:
            return Verdict.HAND_OVER  # the two readers disagree about where it ends
        request = Request(*self._head, body)
        self._data = self._data[self._needed :]
        self._buffered = len(self._data)
        self._head, self._needed = None, 0
        return request

    def _join(self) -> None:
        if self._parts:
            self._data = b"".join((self._data, *self._parts))
            self._parts.clear()

    def _read_head(self) -> Verdict | None:
        """None where it is read: then `_head` and `_needed` are known."""
        data = self._data
        if not data.startswith(_START) and data != _START[: len(data)]:
            return Verdict.HAND_OVER
        end = data.find(b"\r\n\r\n", 0, limits.FAST_LANE_HEAD_BYTES_MAX) + 4
        if end < 4:
            return Verdict.HAND_OVER if len(data) >= limits.FAST_LANE_HEAD_BYTES_MAX else Verdict.WAIT
        head = data[:end]
        lines = head.count(b"\r\n")
        if (
            head.translate(None, _PRINTABLE)
            or head.count(b"\r") != lines
            or head.count(b"\n") != lines
            or b"\n " in head
            or lines - 2 > limits.FAST_LANE_HEADERS_MAX
        ):
            return Verdict.HAND_OVER
        self._pairs = []
        self._headers_complete = self._message_complete = False
        try:
            self._llhttp.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return Verdict.HAND_OVER
        headers = {name.decode().lower(): value.decode().strip(" ") for name, value in self._pairs}
        target = headers.get("x-amz-target", "")
        length = headers.get("content-length", "")
        if (
            not self._headers_complete
            or self._message_complete
            or len(headers) != lines - 2
            or target not in self._targets
            or not length.isdigit()
            or len(length) > 10
            or length[0] == "0"
            or int(length) > limits.REQUEST_BODY_BYTES_MAX
            or "host" not in headers
            or headers.get("connection", "keep-alive").lower() != "keep-alive"
            or not _ELSEWHERE.isdisjoint(headers)
        ):
            return Verdict.HAND_OVER
        self._head = target, headers
        self._head_bytes = end
        self._needed = end + int(length)
        return None

    # llhttp's

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_message_complete(self) -> None:
        self._message_complete = True
