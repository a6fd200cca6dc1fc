"""A small fast HTTP server for measurements: an `asyncio.Protocol` on httptools, and an HTTP target that remembers when
each event came.

It answers what comes, in order, and is meant for loopback and for clients that do not pipeline.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Self, cast

import httptools
import msgspec

from router.world import RealWorld

_BODY_BYTES_MAX = 16 * 1024 * 1024
_EVENT_ID = re.compile(rb'"id"\s*:\s*"([^"]{1,128})"')


class Request(msgspec.Struct):
    """`action` is the X-Amz-Target, empty where there is none."""

    path: bytes = b""
    action: bytes = b""
    body: bytes = b""


class HttpConnection(asyncio.Protocol):
    """One client's connection. `respond` gives the answer's body, or None and calls `answer` later."""

    def __init__(self, respond: Callable[[Request, "HttpConnection"], bytes | None]) -> None:
        self._respond = respond
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def answer(self, body: bytes) -> None:
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._request = Request()
        self._parts = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._request.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 12 and name.lower() == b"x-amz-target":
            self._request.action = value
        elif len(name) == 6 and name.lower() == b"expect" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > _BODY_BYTES_MAX:
            raise ValueError(f"expected a body of at most {_BODY_BYTES_MAX} bytes")
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._request.body = b"".join(self._parts)
        body = self._respond(self._request, self)
        if body is not None:
            self.answer(body)


def event_id(body: bytes) -> str | None:
    """The id of the envelope that the body is; its `id` is the first of that name."""
    found = _EVENT_ID.search(body)
    return found[1].decode("ascii", "replace") if found else None


class HttpTarget:
    """Takes every request as an event's delivery, while it is entered; `arrived` is when each event came first."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.port = 0
        self.requests = 0
        self.arrived: dict[str, float] = {}
        self._host = host
        self._now = RealWorld().monotonic

    def respond(self, request: Request, _: HttpConnection) -> bytes:
        self.requests += 1
        found = event_id(request.body)
        if found is not None:
            self.arrived.setdefault(found, self._now())
        return b""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HttpConnection(self.respond), self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
