"""What takes a soak's events, as a process of its own: an SQS endpoint, an API destination, one that refuses, and
readers that receive and delete what comes into the hub's queues. It counts how often each event came on each route, in
a byte an event, so that hours fit into memory."""

import asyncio
import contextlib
import json
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

import msgspec
import uvloop

from loadtest import sent_batch
from loadtest.client import Connection, request
from loadtest.hub import REGION
from loadtest.outage_queue import SPAWN
from loadtest.soak_site import QUEUES, ROUTES

NUMBER_MAX = 1 << 28
_GROWTH = 1 << 20
_READERS = {"orders": 2, "audited": 1, "failed": 1}
"""Few: what waits for them is then received by tens, where many would each take the one message that has just come."""
_INVISIBLE_S = 600
"""Far longer than it takes to delete a message, so that what comes twice is the hub's doing."""


class Tally:
    """How often each numbered event came; from 255 times on it counts no further."""

    def __init__(self) -> None:
        self._counts = bytearray()
        self.events = 0
        self.arrivals = 0

    def add(self, number: int) -> None:
        """Raises ValueError for a number that no soak gets to."""
        if number >= len(self._counts):
            if number >= NUMBER_MAX:
                raise ValueError(f"an event has the number {number}; the most is {NUMBER_MAX - 1}")
            self._counts.extend(bytes(number + _GROWTH - len(self._counts)))
        before = self._counts[number]
        self.arrivals += 1
        self.events += not before
        if before < 255:
            self._counts[number] = before + 1

    def counts(self) -> bytes:
        """A byte an event, by number; what is beyond its end never came."""
        return bytes(self._counts)


class _Detail(msgspec.Struct):
    number: int


class _Envelope(msgspec.Struct):
    detail: _Detail


class _Message(msgspec.Struct, rename="pascal"):
    body: str
    receipt_handle: str


class _Received(msgspec.Struct, rename="pascal"):
    messages: list[_Message] = []


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_received = msgspec.json.Decoder(_Received).decode


class _TargetServer:
    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._tallies = {name: Tally() for name in ROUTES}
        self.refused = 0

    async def serve(self) -> None:
        """Until the other end of the pipe is closed, or a reader fails."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 22)
        self._pipe.send(server.sockets[0].getsockname()[1])
        async with asyncio.TaskGroup() as tasks:
            readers = await self._commands(tasks)
            for reader in readers:
                reader.cancel()

    async def _commands(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        readers: list[asyncio.Task[None]] = []
        with contextlib.suppress(EOFError):
            while True:
                command, value = await asyncio.to_thread(self._pipe.recv)
                if command == "read":
                    for name, count in _READERS.items():
                        readers += [tasks.create_task(self._read(value, name)) for _ in range(count)]
                    self._pipe.send(None)
                elif command == "counts":
                    self._pipe.send(self._tallies[value].counts())
                else:
                    found = {name: (tally.events, tally.arrivals) for name, tally in self._tallies.items()}
                    self._pipe.send(found)
        return readers

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                start = head.lower().index(b"content-length:") + 15
                body = await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
                status, answer = self._answer(head, body)
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the hub has gone, or this process ends
        finally:
            writer.close()

    def _answer(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        if b"SendMessageBatch" in head:
            sent = sent_batch.read(body)
            for entry in sent:
                self._tallies["ledger"].add(_decode_envelope(entry.message_body).detail.number)
            return b"200 OK", sent_batch.taken(sent)
        if head.startswith(b"POST /refusing"):
            return b"403 Forbidden", b""
        self._tallies["webhook"].add(_decode_envelope(body).detail.number)
        return b"200 OK", b""

    async def _read(self, port: int, name: str) -> None:
        """Receive and delete, for ever. Raises RuntimeError where the hub does not answer as it should."""
        account, tally = QUEUES[name], self._tallies[name]
        url = {"QueueUrl": f"http://127.0.0.1:{port}/{account}/{name}"}
        asked = {**url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20, "VisibilityTimeout": _INVISIBLE_S}
        receive = request("AmazonSQS.ReceiveMessage", asked, account=account, region=REGION, service="sqs")
        connection = await Connection.open(port)
        while True:
            messages = _decode_received(await _good(connection, receive)).messages
            for message in messages:
                tally.add(_decode_envelope(message.body).detail.number)
            if messages:
                rows = [{"Id": str(n), "ReceiptHandle": one.receipt_handle} for n, one in enumerate(messages)]
                body = {**url, "Entries": rows}
                answer = await _good(
                    connection,
                    request("AmazonSQS.DeleteMessageBatch", body, account=account, region=REGION, service="sqs"),
                )
                if json.loads(answer).get("Failed"):
                    raise RuntimeError(f"messages of {name} could not be deleted: {answer[:300]!r}")


async def _good(connection: Connection, asked: bytes) -> bytes:
    status, body = await connection.send(asked)
    if status != 200:
        raise RuntimeError(f"the hub answered {status} {body[:300]!r} to {asked[:200]!r}")
    return body


def _serve(pipe: Pipe) -> None:
    uvloop.run(_TargetServer(pipe).serve())


class Target:
    """The process. Its calls raise EOFError once it has failed; it says why on its standard error."""

    def __init__(self) -> None:
        self.port = 0

    def __enter__(self) -> Self:
        self._pipe, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self.port = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(10)
        self._pipe.close()
        self._process.close()

    def read(self, hub_port: int) -> None:
        """Begin to receive and delete what the hub's queues get."""
        self._call("read", hub_port)

    def arrived(self) -> dict[str, tuple[int, int]]:
        """For each route how many events came, and how many deliveries of them."""
        found: dict[str, tuple[int, int]] = self._call("arrived", None)
        return found

    def counts(self, name: str) -> bytes:
        """How often each event came on this route, by number."""
        counts: bytes = self._call("counts", name)
        return counts

    def stop(self) -> None:
        """End the readers, so that the hub can be stopped."""
        self._process.terminate()
        self._process.join(10)

    def _call(self, command: str, value: Any) -> Any:
        self._pipe.send((command, value))
        return self._pipe.recv()
