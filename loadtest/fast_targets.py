"""What a benchmark's hub delivers to and reads from, in a process of its own and faster than the hub: an HTTP target,
an SQS-protocol endpoint, and a queue that is full of prepared messages.

    python -m loadtest.fast_targets http|sqs-endpoint|sqs-source [--messages 10000]

Prints its port, serves until its standard input ends, and then prints what it counted as JSON. Nothing is checked but
what the count needs: a message is what has an `Id`, a deletion what has a `ReceiptHandle`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Self, cast

import httptools
import uvloop

from loadtest import ingest
from loadtest.hub import ACCOUNT

QUEUE = "events"
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nServer: target\r\n"
_JSON = "application/x-amz-json-1.0"


def answer(content_type: str, body: bytes) -> bytes:
    return f"{_HEAD.format(content_type)}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Counts:
    """What has come."""

    def __init__(self) -> None:
        self.requests = 0
        self.messages = 0
        self.deleted = 0


def http_target(counts: Counts) -> Callable[[str, bytes], bytes]:
    """Takes everything; each request is an event."""
    taken = answer("text/plain", b"ok")

    def serve(_target: str, _body: bytes) -> bytes:
        counts.messages += 1
        return taken

    return serve


def sqs_endpoint(counts: Counts) -> Callable[[str, bytes], bytes]:
    """SendMessageBatch: every entry is taken."""
    answers: dict[int, bytes] = {}
    for count in range(1, 11):
        sent = [{"Id": str(n), "MessageId": str(uuid.uuid4()), "MD5OfMessageBody": "0" * 32} for n in range(count)]
        answers[count] = answer(_JSON, json.dumps({"Successful": sent}, separators=(",", ":")).encode())

    def serve(_target: str, body: bytes) -> bytes:
        count = body.count(b'"MessageBody":')
        counts.messages += count
        return answers[count]

    return serve


def sqs_source(counts: Counts, messages: int) -> Callable[[str, bytes], bytes]:
    """ReceiveMessage gives ten messages that nobody had before, until all are given; DeleteMessageBatch takes all."""
    left = _batches(messages)
    empty = answer(_JSON, b"{}")
    deleted = {
        count: answer(_JSON, json.dumps({"Successful": [{"Id": str(n)} for n in range(count)], "Failed": []}).encode())
        for count in range(1, 11)
    }

    def serve(target: str, body: bytes) -> bytes:
        if target.endswith(".ReceiveMessage"):
            batch = next(left, None)
            counts.messages += 0 if batch is None else 10
            return batch or empty
        count = body.count(b'"ReceiptHandle":')
        counts.deleted += count
        return deleted[count]

    return serve


def _batches(messages: int) -> Iterator[bytes]:
    """Prepared, so that to serve them costs next to nothing."""
    text = json.dumps(ingest.entries()[0], separators=(",", ":"))
    batches = []
    for _ in range(messages // 10):
        ids = [str(uuid.uuid4()) for _ in range(10)]
        of_batch = [{"MessageId": one, "ReceiptHandle": one * 4, "MD5OfBody": "0" * 32, "Body": text} for one in ids]
        batches.append(answer(_JSON, json.dumps({"Messages": of_batch}, separators=(",", ":")).encode()))
    return iter(batches)


class _Connection(asyncio.Protocol):
    """Requests in, answers out, in order."""

    def __init__(self, serve: Callable[[str, bytes], bytes], counts: Counts) -> None:
        self._serve = serve
        self._counts = counts
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._target = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-target":
            self._target = value.decode()

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._counts.requests += 1
        self._transport.write(self._serve(self._target, body))


async def _run(kind: str, messages: int) -> None:
    counts = Counts()
    if kind == "sqs-source":
        serve = sqs_source(counts, messages)
    else:
        serve = {"http": http_target, "sqs-endpoint": sqs_endpoint}[kind](counts)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(serve, counts), "127.0.0.1", 0)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: _command(counts, ended))
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


def _command(counts: Counts, ended: asyncio.Event) -> None:
    """A line asks for the counts, the end of all lines ends the process."""
    if sys.stdin.readline():
        print(json.dumps(vars(counts)), flush=True)
    else:
        ended.set()


class FastTarget:
    """Such a process."""

    def __init__(self, kind: str, *, messages: int = 0) -> None:
        self._command = [sys.executable, "-m", "loadtest.fast_targets", kind, "--messages", str(messages)]
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    @property
    def queue_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}/{QUEUE}"

    def counts(self) -> dict[str, Any]:
        """What has come so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return cast(dict[str, Any], json.loads(self._process.stdout.readline()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("kind", choices=("http", "sqs-endpoint", "sqs-source"))
    arguments.add_argument("--messages", type=int, default=10_000)
    chosen = arguments.parse_args()
    uvloop.run(_run(chosen.kind, chosen.messages))


if __name__ == "__main__":
    main()
