"""An SQS endpoint outside the hub that can go away and come back, as a process of its own.

It knows SendMessageBatch. An event has come when its request has been read and is about to be answered with a success;
the time of that is the machine's monotonic clock, which all processes share. What is away answers 500, refuses
connections, or takes requests and never answers them; none of these counts as come.
"""

import asyncio
import contextlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any, Literal, Self

import msgspec
import uvloop

from loadtest import sent_batch

Outage = Literal["500", "refuse", "hang"]
SPAWN = multiprocessing.get_context("spawn")


class _Envelope(msgspec.Struct):
    id: str


class Stats(msgspec.Struct, frozen=True):
    """What has come, and the calls while the queue was away: all, and the most that came in one second."""

    events: int
    repeats: int
    calls: int
    calls_per_s_most: int


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_FAULT = b'{"__type":"com.amazonaws.sqs#InternalFailure","message":"this queue is away"}'


class _QueueServer:
    """SendMessageBatch, and a pipe on which it is told to go away and to come back. An event counts when its request
    has come and is about to be answered with a success."""

    def __init__(self, pipe: Pipe, outage: Outage) -> None:
        self._pipe = pipe
        self._outage = outage
        self._away = False
        self._returned = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._arrived_ns: dict[str, int] = {}
        self._repeats = 0
        self._away_calls: Counter[int] = Counter()

    async def serve(self) -> None:
        """Until the other end of the pipe is closed."""
        await self._listen()
        self._pipe.send(self._port)
        commands: dict[str, Callable[[], Awaitable[Any]]] = {
            "leave": self._leave,
            "return": self._return,
            "stats": self._stats,
            "arrived": self._arrived,
        }
        with contextlib.suppress(EOFError):
            while True:
                command = await asyncio.to_thread(self._pipe.recv)
                self._pipe.send(await commands[command]())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self._port, limit=1 << 22)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _leave(self) -> None:
        self._away = True
        self._returned.clear()
        if self._outage == "refuse" and self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()

    async def _return(self) -> int:
        self._away = False
        self._returned.set()
        if self._outage == "refuse":
            await self._listen()
        return time.monotonic_ns()

    async def _stats(self) -> Stats:
        calls = self._away_calls
        return Stats(len(self._arrived_ns), self._repeats, calls.total(), max(calls.values(), default=0))

    async def _arrived(self) -> dict[str, int]:
        return self._arrived_ns

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                start = head.lower().index(b"content-length:") + 15
                body = await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
                status, answer = b"200 OK", b""
                if not self._away:
                    answer = self._took(body)
                elif await self._failed():
                    status, answer = b"500 Internal Server Error", _FAULT
                else:
                    return
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the hub was killed, or this process ends
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _failed(self) -> bool:
        """Whether the call gets an answer; one that hangs gets none, not even when the queue is back."""
        self._away_calls[time.monotonic_ns() // 10**9] += 1
        if self._outage == "hang":
            await self._returned.wait()
        return self._outage == "500"

    def _took(self, body: bytes) -> bytes:
        now_ns = time.monotonic_ns()
        entries = sent_batch.read(body)
        arrived = self._arrived_ns
        for entry in entries:
            event_id = _decode_envelope(entry.message_body).id
            if event_id in arrived:
                self._repeats += 1
            else:
                arrived[event_id] = now_ns
        return sent_batch.taken(entries)


def _serve(pipe: Pipe, outage: Outage) -> None:
    uvloop.run(_QueueServer(pipe, outage).serve())


class QueueEndpoint:
    """The server as a process of its own."""

    def __init__(self, outage: Outage = "500") -> None:
        self._outage = outage
        self.port = 0

    def __enter__(self) -> Self:
        self._pipe, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(other, self._outage), daemon=True)
        self._process.start()
        other.close()
        self.port = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(10)
        self._pipe.close()
        self._process.close()

    def leave(self) -> None:
        """Go away, in the manner of the outage."""
        self._call("leave")

    def come_back(self) -> int:
        """When it was back, on the machine's monotonic clock, in ns."""
        back_ns: int = self._call("return")
        return back_ns

    def stats(self) -> Stats:
        stats: Stats = self._call("stats")
        return stats

    def arrived(self) -> dict[str, int]:
        """When each event arrived first, by its id; on the machine's monotonic clock, in ns."""
        arrived: dict[str, int] = self._call("arrived")
        return arrived

    def arrived_of(self, events: int, *, within_s: float) -> dict[str, int]:
        """As `arrived`, once so many events have come or the time is over."""
        end = time.monotonic() + within_s
        while self.stats().events < events and time.monotonic() < end:
            time.sleep(0.05)
        return self.arrived()

    def _call(self, command: str) -> Any:
        self._pipe.send(command)
        return self._pipe.recv()
