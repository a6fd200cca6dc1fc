"""The fast lane: hot operations (PutEvents, and sending, receiving and deleting messages) answered by a small protocol,
and every other connection handed to aiohttp at the boundary between two requests, with the bytes it has sent so far.

    a connection is  idle → reading → answering → idle …        one request at a time, in the order they came
                     idle or reading → handed over              for good: what aiohttp has stays aiohttp's
                     any → closed                               by the client, by its slowness, or by the hub's stop

Promises: what is answered here is answered byte for byte as aiohttp's way answers it; a request that is in any way
unusual or broken is aiohttp's. Nobody can hold a connection by being slow: a request has `REQUEST_READ_S_MAX` from its
first byte to its last, an answer `ANSWER_READ_S_MAX`, a pause `KEEP_ALIVE_S`; one sweep a second looks at all
connections, so that a request costs no timer. What a client sends ahead is bounded, and so is the number of
connections, aiohttp's counted. It must not know what an operation does.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.web_protocol import RequestHandler

from router import limits
from router.aws.service import Service, error_body
from router.errors import ServiceUnavailable
from router.metrics import Metrics
from router.sources.calls import Calls, RequestTimeout
from router.sources.fast_lane_parser import FastLaneParser, Request, Verdict
from router.world import World

_SWEEP_S = 1.0
_CONTENT_TYPE = "application/x-amz-json-1.1"


class Hot(NamedTuple):
    """An operation that the lane answers."""

    service: Service
    operation: str
    by_hand: bool
    """Whether it runs without a task, which saves what asyncio does for one: it waits for futures alone, never asks
    which task it is in, and goes on to its end when its client has gone."""


_HOT: Mapping[str, Mapping[str, bool]] = {
    "events": {"PutEvents": True},
    "sqs": {
        "SendMessage": False,
        "SendMessageBatch": False,
        "ReceiveMessage": False,
        "DeleteMessage": False,
        "DeleteMessageBatch": False,
    },
}
"""The operations of each service, and whether they run by hand."""


def hot_operations(services: Iterable[Service]) -> dict[str, Hot]:
    """By their X-Amz-Target."""
    return {
        f"{service.target_prefix}.{operation}": Hot(service, operation, by_hand)
        for service in services
        for operation, by_hand in _HOT.get(service.name, {}).items()
        if service.has(operation)
    }


class FastLanes(web.Server):
    """Makes a protocol for every connection of a port. `handler` and `options` are those of aiohttp's server."""

    def __init__(
        self,
        handler: Any,
        *,
        hot: Mapping[str, Hot],
        calls: Calls,
        metrics: Metrics,
        world: World,
        connections_max: int = limits.CONNECTIONS_MAX,
        **options: Any,
    ) -> None:
        super().__init__(handler, **options)
        self.hot = hot
        self.calls = calls
        self.metrics = metrics
        self.connections_max = connections_max
        self.taking = True
        """False: whatever comes from now on is aiohttp's to refuse."""
        self.ticks = 0
        """How often connections have been looked at: seconds, roughly."""
        self._world = world
        self._lanes: set[FastLane] = set()
        self._someone_left = asyncio.Event()
        self._handed: dict[RequestHandler, _Unread] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._own_headers = (0, "")

    def __call__(self) -> Any:
        return FastLane(self, asyncio.get_running_loop())

    def handler(self) -> RequestHandler:
        """A protocol of aiohttp's, for a connection that is handed over."""
        return super().__call__()

    @property
    def count(self) -> int:
        """Connections now, in the lane and handed over."""
        return len(self._lanes) + len(self._handed)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self._handed[handler] = _Unread(transport, self.ticks)
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._handed.pop(handler, None)
        super().connection_lost(handler, exc)

    def opened(self, lane: "FastLane") -> None:
        self._lanes.add(lane)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def left(self, lane: "FastLane") -> None:
        """The lane is closed or handed over."""
        self._lanes.discard(lane)
        self._someone_left.set()

    def own_headers(self) -> str:
        """What every answer says of the hub; the same for a second."""
        second = self._world.now_ms() // 1000
        if second != self._own_headers[0]:
            text = f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n"
            self._own_headers = second, text
        return self._own_headers[1]

    def _sweep(self) -> None:
        self.ticks += 1
        for lane in list(self._lanes):
            lane.check()
        for unread in list(self._handed.values()):
            unread.check(self.ticks)
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep) if self.count else None

    def pre_shutdown(self) -> None:
        for lane in list(self._lanes):
            lane.close()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._lanes:  # each is about to close, and takes an answer with it
                    self._someone_left.clear()
                    await self._someone_left.wait()
        for lane in list(self._lanes):
            lane.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await super().shutdown(timeout)


class _Unread:
    """What a handed-over connection's client has not read yet: aiohttp itself would wait for it for ever."""

    __slots__ = ("_since", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, ticks: int) -> None:
        self._transport = transport
        self._size = 0
        self._since = ticks

    def check(self, ticks: int) -> None:
        """Called once a second: who has read nothing for too long is dropped."""
        size = self._transport.get_write_buffer_size()
        if size == 0 or size != self._size:
            self._size, self._since = size, ticks
        elif (ticks - self._since) * _SWEEP_S > limits.ANSWER_READ_S_MAX:
            self._transport.abort()


class FastLane(asyncio.Protocol):
    """One connection."""

    def __init__(self, lanes: FastLanes, loop: asyncio.AbstractEventLoop) -> None:
        self._lanes = lanes
        self._loop = loop
        self._parser = FastLaneParser(lanes.hot)
        self._transport: asyncio.Transport | None = None
        self._answering = False
        self._task: asyncio.Task[None] | None = None
        """What answers the request in hand, where it needs a task."""
        self._since = lanes.ticks
        self._writing_paused = False
        self._reading_paused = False
        self._closing = False

    # asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        lanes = self._lanes
        lanes.opened(self)
        if lanes.count > lanes.connections_max:
            lanes.metrics.connections_refused += 1
            self._closing = True
            text = f"The hub has {lanes.connections_max} connections and takes no more. Try again."
            self._refuse(ServiceUnavailable(text), _CONTENT_TYPE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lanes.left(self)
        self._transport = None
        # A long poll takes no message for nobody. What is on its way to the disk gets there all the same.
        if self._task is not None:
            self._task.cancel()
        self._parser.close()

    def eof_received(self) -> None:
        """As aiohttp: a client that has said its last is not answered any more."""

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._parser.buffered:
            self._since = self._lanes.ticks
        self._parser.feed(data)
        if not self._answering and not self._writing_paused:
            self._advance()
        elif self._parser.buffered > limits.FAST_LANE_AHEAD_BYTES_MAX and not self._reading_paused:
            self._reading_paused = True
            assert self._transport is not None
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._since = self._lanes.ticks

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._since = self._lanes.ticks
        if not self._answering and not self._closing:
            self._advance()

    # the lanes'

    def check(self) -> None:
        """Called once a second: a connection that has been slow for too long ends."""
        waited_s = (self._lanes.ticks - self._since) * _SWEEP_S
        if self._answering:
            return
        if self._writing_paused or self._closing:
            if waited_s > limits.ANSWER_READ_S_MAX:
                self.abort()
        elif self._parser.buffered:
            if waited_s > limits.REQUEST_READ_S_MAX:
                self._time_out()
        elif waited_s > limits.KEEP_ALIVE_S:
            self.close()

    def close(self) -> None:
        """End the connection, after the answer that is being made."""
        self._closing = True
        if not self._answering and self._transport is not None:
            self._since = self._lanes.ticks
            self._transport.close()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # one request after the other

    def _advance(self) -> None:
        """Answer what has come whole, until an answer has to wait or the client does not read."""
        parser, lanes = self._parser, self._lanes
        while not self._answering and not self._writing_paused and not self._closing:
            found = parser.next() if lanes.taking or not parser.buffered else Verdict.HAND_OVER
            if found is Verdict.WAIT:
                break
            if found is Verdict.HAND_OVER:
                self._hand_over()
                return
            assert isinstance(found, Request)
            self._begin(found)
        if self._reading_paused and not self._answering and not self._writing_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    def _begin(self, request: Request) -> None:
        service, operation, by_hand = self._lanes.hot[request.target]
        calls = self._lanes.calls
        self._lanes.metrics.fast_lane_requests += 1
        self._answering = True
        try:
            caller = calls.caller(service, path="/", raw_query="", headers=request.headers, body=request.body)
        except Exception as error:  # noqa: BLE001 - the outermost edge, as in `http`: a bug is loud here and 500 there
            self._refuse(error, service.content_type)
            return
        work = calls.answer(service, operation, request.body, caller)
        if by_hand:
            self._step(work, service.content_type)
        else:
            self._task = self._loop.create_task(self._answer(work, service.content_type))

    def _step(self, work: Coroutine[Any, Any, bytes], content_type: str) -> None:
        """Run an operation until it waits or ends, as a task's step does."""
        try:
            waits = work.send(None)
        except StopIteration as done:
            self._write("200 OK", {"Content-Type": content_type}, done.value)
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(error, content_type)
        else:
            if waits is None:  # it only let others go first
                self._loop.call_soon(self._go_on, work, content_type)
            else:
                waits._asyncio_future_blocking = False
                waits.add_done_callback(lambda _: self._go_on(work, content_type))

    def _go_on(self, work: Coroutine[Any, Any, bytes], content_type: str) -> None:
        self._step(work, content_type)
        if not self._answering and self._transport is not None:
            self._advance()

    async def _answer(self, work: Coroutine[Any, Any, bytes], content_type: str) -> None:
        """The task of a request: it ends by answering, or is cancelled because nobody is there to be answered."""
        try:
            body = await work
        except Exception as error:  # noqa: BLE001 - as above
            self._task = None
            self._refuse(error, content_type)
        else:
            self._task = None
            self._write("200 OK", {"Content-Type": content_type}, body)
        if self._transport is not None:
            self._advance()

    def _refuse(self, error: Exception, content_type: str) -> None:
        refused = self._lanes.calls.refusal(error, method="POST", path="/")
        status, body, headers = error_body(refused, content_type)
        self._write(f"{status} {HTTPStatus(status).phrase}", headers, body)

    def _write(self, status: str, headers: Mapping[str, str], body: bytes) -> None:
        """The end of a request. Headers are in aiohttp's order."""
        self._answering = False
        transport = self._transport
        if transport is None:
            return
        self._since = self._lanes.ticks
        given = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        end = "Connection: close\r\n\r\n" if self._closing else "\r\n"
        head = f"HTTP/1.1 {status}\r\n{given}Content-Length: {len(body)}\r\n{self._lanes.own_headers()}{end}"
        transport.write(head.encode() + body)
        if self._closing:
            transport.close()

    def _time_out(self) -> None:
        """A request whose end does not come. aiohttp's way answers the same."""
        self._closing = True
        hot = self._lanes.hot.get(self._parser.target or "")
        text = f"The request body did not arrive within {limits.REQUEST_READ_S_MAX} s."
        self._refuse(RequestTimeout(text), hot.service.content_type if hot else _CONTENT_TYPE)

    def _hand_over(self) -> None:
        transport, unread = self._transport, self._parser.unread
        assert transport is not None
        self._lanes.left(self)
        self._transport = None
        self._parser.close()
        handler = self._lanes.handler()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if self._reading_paused:  # before the handler may pause it for itself
            transport.resume_reading()
        handler.data_received(unread)
