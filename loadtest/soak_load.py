"""Who puts a soak's events, as a process of its own: first as fast as the hub takes them, then at a fixed rate.

At the fixed rate a request has a moment at which it is due, whatever became of those before it; one that is made late
is noted, for a client that waits for the hub, or for the processor, hides what it measures. An event that the hub
throttles is not put again: it was not acknowledged."""

import asyncio
import contextlib
import json
import time
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

import msgspec
import uvloop

from loadtest.client import Connection, unsigned_headers
from loadtest.hub import ACCOUNT, REGION
from loadtest.outage_queue import SPAWN
from loadtest.soak_site import BATCH, entries
from loadtest.soak_target import Tally

_CLOSED_CONNECTIONS = 16
_OPEN_CONNECTIONS = 48
_PAUSE_S = 0.2
_HEAD = "".join(
    f"{line}\r\n"
    for line in (
        "POST / HTTP/1.1",
        "Host: hub",
        *(
            f"{name}: {value}"
            for name, value in unsigned_headers("AWSEvents.PutEvents", account=ACCOUNT, region=REGION).items()
        ),
    )
).encode()


class Sent(msgspec.Struct):
    """What became of the requests so far."""

    events: int = 0
    """Put, acknowledged or not."""
    acknowledged: int = 0
    throttled: int = 0
    refused: int = 0
    """For any other reason: entries, or all of a request that failed."""
    unanswered: int = 0
    """Of requests whose connection broke; the hub may have taken them all the same."""
    behind_s: float = 0.0
    """How late the latest request of those since the last time was made."""
    error: str = ""
    """What the last refusal said."""


class _Client:
    def __init__(self, port: int) -> None:
        self._port = port
        self._acknowledged = Tally()
        self._sent = Sent()
        self._running = False
        self._workers: list[asyncio.Task[None]] = []

    async def serve(self, pipe: Pipe) -> None:
        """Until the other end of the pipe is closed."""
        with contextlib.suppress(EOFError):
            while True:
                command, value = await asyncio.to_thread(pipe.recv)
                pipe.send(await getattr(self, command)(value))
        for worker in self._workers:
            worker.cancel()

    async def saturate(self, seconds: float) -> None:
        """Put for so long, as fast as answers come."""
        end = time.monotonic() + seconds

        async def worker() -> None:
            connection = await Connection.open(self._port)
            while time.monotonic() < end:
                await self._put(connection)
            connection.close()

        await asyncio.gather(*(worker() for _ in range(_CLOSED_CONNECTIONS)))

    async def pace(self, rate: float) -> None:
        """Begin to put so many events a second."""
        started = time.monotonic()
        made = 0

        async def worker() -> None:
            nonlocal made
            connection: Connection | None = None
            while self._running:
                due = started + made * BATCH / rate
                made += 1
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self._sent.behind_s = max(self._sent.behind_s, time.monotonic() - due)
                try:
                    connection = connection or await Connection.open(self._port)
                    await self._put(connection)
                except (OSError, asyncio.IncompleteReadError) as error:
                    self._sent.unanswered += BATCH
                    self._sent.error = repr(error)
                    if connection is not None:
                        connection.close()
                    connection = None
                    await asyncio.sleep(_PAUSE_S)
            if connection is not None:
                connection.close()

        self._running = True
        self._workers = [asyncio.create_task(worker()) for _ in range(_OPEN_CONNECTIONS)]

    async def stop(self, _: None) -> None:
        """Make no more requests, and wait for the answers to those under way."""
        self._running = False
        await asyncio.gather(*self._workers)

    async def sent(self, _: None) -> Sent:
        self._sent.acknowledged = self._acknowledged.events
        found = msgspec.structs.replace(self._sent)
        self._sent.behind_s = 0.0
        return found

    async def counts(self, _: None) -> bytes:
        return self._acknowledged.counts()

    async def _put(self, connection: Connection) -> None:
        first = self._sent.events
        self._sent.events += BATCH
        body = entries(first)
        status, answer = await connection.send(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if status != 200:
            self._sent.refused += BATCH
            self._sent.error = f"{status} {answer[:300]!r}"
            return
        for number, entry in enumerate(json.loads(answer)["Entries"], first):
            if "EventId" in entry:
                self._acknowledged.add(number)
            elif entry["ErrorCode"] == "ThrottlingException":
                self._sent.throttled += 1
            else:
                self._sent.refused += 1
                self._sent.error = f"{entry['ErrorCode']}: {entry['ErrorMessage']}"


def _serve(pipe: Pipe, port: int) -> None:
    uvloop.run(_Client(port).serve(pipe))


class Load:
    """The process."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> Self:
        self._pipe, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(other, self._port), daemon=True)
        self._process.start()
        other.close()
        self.sent()  # it is there
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(10)
        self._pipe.close()
        self._process.close()

    def saturate(self, seconds: float) -> None:
        """Put for so long, as fast as the hub takes them."""
        self._call("saturate", seconds)

    def pace(self, rate: float) -> None:
        """Begin to put so many events a second."""
        self._call("pace", rate)

    def stop(self) -> None:
        """End that; every request is answered, or its connection broke."""
        self._call("stop", None)

    def sent(self) -> Sent:
        sent: Sent = self._call("sent", None)
        return sent

    def counts(self) -> bytes:
        """A byte an event, by number: 1 for what was acknowledged."""
        counts: bytes = self._call("counts", None)
        return counts

    def _call(self, command: str, value: Any) -> Any:
        self._pipe.send((command, value))
        return self._pipe.recv()
