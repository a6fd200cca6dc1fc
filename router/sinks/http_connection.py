"""One connection of the HTTP client: an `asyncio.Protocol` that has one call at a time.

    open → idle ⇄ calling → closed         idle → closed: by the other side, by age, or for bytes that nobody asked for

It reads answers (`http_answer`) and tells its owner what became of a call; whether the connection is kept, and what a
lost one means for the call, is the owner's decision. It must not know origins, bounds or deadlines.
"""

import asyncio
from typing import Protocol, cast

from router.sinks.http_answer import AnswerReader, BrokenAnswer, Heads
from router.sinks.http_dial import reason
from router.sinks.http_messages import HttpFault, Request, Response


class Owner(Protocol):
    """Who a connection belongs to. Each call that was begun gets one of these, and is then no longer the
    connection's."""

    def answered(self, connection: "Connection", response: Response, *, reusable: bool) -> None:
        """The call's answer is complete."""
        ...

    def failed(self, connection: "Connection", fault: HttpFault, *, unanswered: bool) -> None:
        """There is no answer, and the connection is closed. `unanswered`: no byte of one came."""
        ...

    def left(self, connection: "Connection") -> None:
        """The connection closed while it had no call."""
        ...

    def gone(self, connection: "Connection") -> None:
        """The connection's socket is given back, whatever was told before."""
        ...


class Connection(asyncio.Protocol):
    """See the module. Made by whoever dials; `call` when it is open and idle."""

    __slots__ = ("_owner", "_reader", "_transport", "calling", "calls", "closed", "idle_until", "lost")

    def __init__(self, owner: Owner, heads: Heads) -> None:
        self._owner = owner
        self._reader = AnswerReader(heads)
        self._transport: asyncio.Transport | None = None
        self.calling = False
        self.closed = False
        self.lost = False
        """Whether its socket is given back."""
        self.calls = 0
        """How many answers have come over it."""
        self.idle_until = 0.0
        """The owner's: when it is too old to be kept, while it is idle."""

    def call(self, request: Request) -> None:
        """Send a request. The owner is told of its end, never from within."""
        assert self._transport is not None
        assert not self.calling
        self.calling = True
        self._reader.begin(only_head=request.answers_head, body_bytes_max=request.body_bytes_max)
        self._transport.write(request.data)

    def usable(self) -> bool:
        """Whether a request may be sent, as far as anybody knows."""
        return not self.closed and self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once. The owner is told nothing but `gone`."""
        self.calling = False
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # the transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.calling:
            self._leave()
            return
        try:
            response = self._reader.feed(data)
        except BrokenAnswer:
            self._fail(HttpFault("protocol", "the answer is not well-formed HTTP"), unanswered=False)
            return
        if response is not None:
            self._answer(response, keeps=self._reader.keeps)

    def eof_received(self) -> None:
        if self.calling:
            response = self._reader.end()
            if response is not None:
                self._answer(response, keeps=False)
        else:
            self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self.calling:
            text = "the connection was closed before the answer was complete"
            if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
                text = reason(exc)
            self._fail(HttpFault("reset", text), unanswered=not self._reader.started)
        else:
            self._leave()
        self._owner.gone(self)

    def _answer(self, response: Response, *, keeps: bool) -> None:
        self.calling = False
        self.calls += 1
        assert self._transport is not None
        # Where the other side has answered what it has not read, what is unread would come before the next request.
        reusable = keeps and not self._transport.is_closing() and not self._transport.get_write_buffer_size()
        if not reusable:
            self.closed = True
            self._transport.abort()
        self._owner.answered(self, response, reusable=reusable)

    def _fail(self, fault: HttpFault, *, unanswered: bool) -> None:
        self.abort()
        self._owner.failed(self, fault, unanswered=unanswered)

    def _leave(self) -> None:
        if not self.closed:
            self.abort()
            self._owner.left(self)
