"""HTTP/1 answers out of a connection's bytes, without sockets: one answer to one request, or why there is none.

    head of an interim answer (1xx)* → head → body → complete      a body ends by its length, by its last chunk, or with
                                                                    the connection

Promises: where an answer ends is beyond doubt, or it is broken. A head is read by two: llhttp (httptools) in its strict
mode, and the checks here, which know nothing of each other; what either refuses is refused. Two lengths, a length and a
transfer coding, folded lines, bare line feeds, NUL and the like are refused so. What follows a complete answer belongs
to nobody: the connection is not to be used again. Heads, bodies and what comes between chunks are bounded.

A server sends the same head again and again, but for a second's date: heads are remembered whole and looked up by all
of their bytes, so that one that has been read is not read again.
"""

from typing import Final

import httptools
import msgspec

from router.sinks.http_messages import Response

HEAD_BYTES_MAX = 32 * 1024  # ours: of all heads of an answer, and of anything between its chunks
HEADERS_MAX = 128  # ours
_REMEMBERED_MAX = 256  # ours: heads
_REMEMBERED_BYTES_MAX = 1024  # ours: a longer head is read anew each time
_LENGTH_DIGITS_MAX = 15
_STARTS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_CHARACTERS = bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)) + b"\t\r\n"
_UPGRADED: Final = 101

_NO_BODY, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)


class BrokenAnswer(Exception):
    """What came is not an answer, or not beyond doubt one."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    status: int
    headers: dict[str, str]
    framing: int
    length: int
    keeps: bool
    """Whether the server keeps the connection open."""


class _Pairs:
    """What llhttp finds in a head."""

    __slots__ = ("complete", "pairs")

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


class Heads:
    """Reads heads, and remembers those that it has read. One for many readers."""

    def __init__(self) -> None:
        self._read: dict[bytes, _Head] = {}

    def read(self, head: bytes) -> _Head:
        """`head` is all from the status line to the empty line. Raises BrokenAnswer."""
        found = self._read.get(head)
        if found is None:
            found = _read_head(head)
            if len(head) <= _REMEMBERED_BYTES_MAX:
                if len(self._read) >= _REMEMBERED_MAX:
                    self._read.clear()
                self._read[head] = found
        return found


class AnswerReader:
    """Reads the answers of one connection, one after the other. `begin` each; a broken one is the last."""

    __slots__ = (
        "_body_bytes_max", "_chunks", "_got", "_head", "_head_bytes", "_heads", "_only_head", "_parts", "_pending",
        "keeps", "started",
    )  # fmt: skip

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._chunks: _Chunks | None = None
        self.started = False
        """Whether a byte of the answer in hand has come."""
        self.keeps = False
        """Whether the connection can be used again after the answer that was just completed."""
        self.begin(only_head=False, body_bytes_max=0)

    def begin(self, *, only_head: bool, body_bytes_max: int) -> None:
        """An answer is expected from here on; `only_head` where it is one to HEAD."""
        self.started = self.keeps = False
        self._only_head = only_head
        self._body_bytes_max = body_bytes_max
        self._head: _Head | None = None
        self._head_bytes = 0
        self._pending = b""
        self._parts: list[bytes] = []
        self._got = 0

    def feed(self, data: bytes) -> Response | None:
        """The answer, once it is complete or longer than wanted. Raises BrokenAnswer."""
        self.started = True
        if self._head is not None:
            return self._read_body(self._head, data)
        pending = self._pending
        if pending:
            data = pending + data
        searched = max(0, len(pending) - 3)
        while True:  # until the head's end is not there, or the head is no interim one
            end = data.find(b"\r\n\r\n", searched) + 4
            if end < 4:
                self._wait(data)
                return None
            self._bound(end)
            head = self._heads.read(data[:end])
            data = data[end:]
            if head.status >= 200 or head.status == _UPGRADED:
                break
            self._head_bytes += end
            searched = 0
        self._head = head
        self._pending = b""
        if head.framing == _NO_BODY or self._only_head:
            self.keeps = head.keeps and not data
            return Response(head.status, head.headers, b"")
        if head.framing == _LENGTH and len(data) == head.length <= self._body_bytes_max:
            self.keeps = head.keeps
            return Response(head.status, head.headers, data)
        if head.framing == _CHUNKED:
            self._chunks = _Chunks()
        return self._read_body(head, data)

    def end(self) -> Response | None:
        """The other side has closed: the answer, where that is its end."""
        head = self._head
        if head is None or head.framing != _UNTIL_CLOSE or self._only_head:
            return None
        return Response(head.status, head.headers, b"".join(self._parts))

    def _wait(self, data: bytes) -> None:
        """The head is not all there."""
        if not data.startswith(_STARTS) and not any(start.startswith(data[: len(start)]) for start in _STARTS):
            raise BrokenAnswer
        self._bound(len(data))
        self._pending = data

    def _bound(self, size: int) -> None:
        if self._head_bytes + size > HEAD_BYTES_MAX:
            raise BrokenAnswer

    def _read_body(self, head: _Head, data: bytes) -> Response | None:
        complete = False
        if head.framing == _LENGTH:
            left = head.length - self._got
            complete = len(data) >= left
            self.keeps = head.keeps and len(data) == left
            data = data[:left]
        elif head.framing == _CHUNKED:
            assert self._chunks is not None
            data, complete = self._chunks.feed(data)
            self.keeps = complete and head.keeps and not self._chunks.followed
        self._got += len(data)
        if data:
            self._parts.append(data)
        if self._got > self._body_bytes_max:
            self.keeps = False
            cut = b"".join(self._parts)[: self._body_bytes_max]
            return Response(head.status, head.headers, cut, truncated=True)
        if not complete:
            return None
        return Response(head.status, head.headers, b"".join(self._parts))


class _Chunks:
    """A chunked body, by llhttp. `followed` says that bytes came after its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._complete = False
        self._between = 0
        self._trailers = 0
        self._last = b""
        self.followed = False
        self._llhttp = httptools.HttpResponseParser(self)
        # A head of its own: what the answer's says has been read already.
        self._llhttp.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What of a body there is in `data`, and whether it is complete. Raises BrokenAnswer."""
        self._parts.clear()
        try:
            self._llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                raise BrokenAnswer from None
            self.followed = True
        self._last = (self._last + data[-5:])[-5:]
        if self._complete:
            del self._llhttp  # it holds this as this holds it
            # llhttp skips line ends between answers without a word. A body ends with just two.
            self.followed = self.followed or self._last[-4:] != b"\r\n\r\n" or self._last[:1] in b"\r\n"
        body = b"".join(self._parts)
        self._between = 0 if body else self._between + len(data)
        if self._between > HEAD_BYTES_MAX or self._trailers > HEADERS_MAX:
            raise BrokenAnswer
        return body, self._complete

    # llhttp's

    def on_message_begin(self) -> None:
        self.followed = self._complete

    def on_header(self, _name: bytes, _value: bytes) -> None:
        self._trailers += 1

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self.followed = True
        else:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        self._complete = True


def _read_head(head: bytes) -> _Head:
    """Raises BrokenAnswer."""
    lines = head.count(b"\r\n")
    if (
        not head.startswith(_STARTS)
        or head.translate(None, _CHARACTERS)
        or head.count(b"\r") != lines
        or head.count(b"\n") != lines
        or b"\n " in head
        or b"\n\t" in head
        or lines - 2 > HEADERS_MAX
    ):
        raise BrokenAnswer
    found = _Pairs()
    llhttp = httptools.HttpResponseParser(found)
    try:
        llhttp.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        if not found.complete or llhttp.get_status_code() != _UPGRADED:  # after which it reads no HTTP
            raise BrokenAnswer from None
    if not found.complete or len(found.pairs) != lines - 2:
        raise BrokenAnswer
    status = llhttp.get_status_code()
    if head[9:12] != b"%d" % status or head[12:13] not in (b" ", b"\r") or status < 100:
        raise BrokenAnswer
    headers: dict[str, str] = {}
    said: dict[str, list[str]] = {"content-length": [], "transfer-encoding": [], "connection": []}
    for raw_name, raw_value in found.pairs:
        name, value = raw_name.decode().lower(), raw_value.decode("utf-8", "surrogateescape").strip(" \t")
        headers[name] = value
        if name in said:
            said[name].append(value)
    framing, length = _framing(status, head[7:8] == b"1", said["content-length"], said["transfer-encoding"])
    tokens = {token.strip(" \t").lower() for value in said["connection"] for token in value.split(",")}
    keeps = "close" not in tokens and (head[7:8] == b"1" or "keep-alive" in tokens)
    return _Head(status, headers, framing, length, keeps and status != _UPGRADED)


def _framing(status: int, is_newest: bool, lengths: list[str], codings: list[str]) -> tuple[int, int]:
    """How the body ends, and its length (RFC 9112, section 6.3). Raises BrokenAnswer."""
    length = 0
    if lengths:
        (text, *more) = lengths
        if more or codings or not (text.isascii() and text.isdigit()) or len(text) > _LENGTH_DIGITS_MAX:
            raise BrokenAnswer
        length = int(text)
    if codings and (not is_newest or [coding.lower() for coding in codings] != ["chunked"]):
        raise BrokenAnswer  # no other coding was asked for
    if status < 200 or status in (204, 304):
        return _NO_BODY, 0
    if codings:
        return _CHUNKED, 0
    return (_LENGTH, length) if lengths else (_UNTIL_CLOSE, 0)
