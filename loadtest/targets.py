"""Fast targets and a source outside the hub, for measuring the hub and not them: an HTTP target, an SQS endpoint that
takes messages, and one that gives them, in one process on httptools under uvloop.

    python -m loadtest.targets

Prints its port. Any request without X-Amz-Target is a delivery; SendMessageBatch is one of each of its messages.
ReceiveMessage gives ten messages (one PutEvents entry of 1.3 KB each, ids of their own) while there are any that were
opened, and else waits for its WaitTimeSeconds; DeleteMessageBatch counts them. Nothing becomes visible again.
`Targets` runs it and asks it: what came and when (by event id, on the machine's monotonic clock, in s).
"""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import msgspec
import uvloop

from router.bench.listener import HttpConnection, Request, event_id
from router.bench.requests import entry
from router.world import RealWorld

_BATCH = 10
_SENT_ID = re.compile(rb'"Id"\s*:\s*"([^"]{1,80})"')
_SENT_EVENT = re.compile(rb'\\"id\\"\s*:\s*\\"([^"\\]{1,128})\\"')
_HANDLE = re.compile(rb'"ReceiptHandle"\s*:\s*"([0-9]{1,12})"')
_WAIT = re.compile(rb'"WaitTimeSeconds"\s*:\s*([0-9]{1,2})')
_MD5 = b"0" * 32


class Counts(msgspec.Struct):
    """How many came, deliveries that came again included; of the source, how many are to be had and are deleted."""

    posts: int = 0
    messages: int = 0
    left: int = 0
    given: int = 0
    deleted: int = 0


class _Server:
    def __init__(self) -> None:
        self.counts = Counts()
        self.arrived: dict[str, float] = {}
        self._now = RealWorld().monotonic
        self._outstanding: set[int] = set()
        self._waiting: deque[tuple[HttpConnection, asyncio.TimerHandle]] = deque()
        self._message = b',"Body":' + json.dumps(json.dumps(entry())).encode() + b"}"
        self._actions: dict[bytes, Callable[[Request, HttpConnection], bytes | None]] = {
            b"": self._post,
            b"AmazonSQS.SendMessageBatch": self._send,
            b"AmazonSQS.ReceiveMessage": self._receive,
            b"AmazonSQS.DeleteMessageBatch": self._delete,
        }

    def respond(self, request: Request, connection: HttpConnection) -> bytes | None:
        if request.path.startswith(b"/_targets/"):
            return self._asked(request.path)
        return self._actions[request.action](request, connection)

    def _post(self, request: Request, _: HttpConnection) -> bytes:
        self.counts.posts += 1
        if (found := event_id(request.body)) is not None:
            self.arrived.setdefault(found, self._now())
        return b""

    def _send(self, request: Request, _: HttpConnection) -> bytes:
        entries = _SENT_ID.findall(request.body)
        self.counts.messages += len(entries)
        now = self._now()
        for found in _SENT_EVENT.findall(request.body):
            self.arrived.setdefault(found.decode(), now)
        sent = [b'{"Id":"%s","MessageId":"%s","MD5OfMessageBody":"%s"}' % (name, name, _MD5) for name in entries]
        return b'{"Successful":[%s],"Failed":[]}' % b",".join(sent)

    def _receive(self, request: Request, connection: HttpConnection) -> bytes | None:
        if self.counts.left:
            return self._batch()
        wait = _WAIT.search(request.body)
        if wait is None or wait[1] == b"0":
            return b"{}"
        timer = asyncio.get_running_loop().call_later(int(wait[1]), self._give_nothing, connection)
        self._waiting.append((connection, timer))
        return None

    def _give_nothing(self, connection: HttpConnection) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0] is not connection)
        connection.answer(b"{}")

    def _batch(self) -> bytes:
        count = min(_BATCH, self.counts.left)
        first = self.counts.given
        self.counts.left -= count
        self.counts.given += count
        self._outstanding.update(range(first, first + count))
        messages = [
            b'{"MessageId":"%032x","ReceiptHandle":"%d","MD5OfBody":"%s"' % (number, number, _MD5) + self._message
            for number in range(first, first + count)
        ]
        return b'{"Messages":[%s]}' % b",".join(messages)

    def _delete(self, request: Request, _: HttpConnection) -> bytes:
        for handle in map(int, _HANDLE.findall(request.body)):
            if handle in self._outstanding:
                self._outstanding.remove(handle)
                self.counts.deleted += 1
        deleted = [b'{"Id":"%s"}' % name for name in _SENT_ID.findall(request.body)]
        return b'{"Successful":[%s],"Failed":[]}' % b",".join(deleted)

    def _asked(self, path: bytes) -> bytes:
        what, _, number = path.removeprefix(b"/_targets/").partition(b"/")
        if what == b"arrived":
            return msgspec.json.encode(self.arrived)
        if what == b"forget":
            self.arrived.clear()
        elif what == b"open":
            self.counts.left += int(number)
            while self._waiting and self.counts.left:
                connection, timer = self._waiting.popleft()
                timer.cancel()
                if not connection.is_closed:
                    connection.answer(self._batch())
        return msgspec.json.encode(self.counts)


class Targets:
    """The server as a process of its own, while it is entered."""

    def __init__(self) -> None:
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, "-m", "loadtest.targets"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def counts(self) -> Counts:
        return msgspec.convert(self._get("counts"), Counts)

    def arrived(self) -> dict[str, float]:
        """When each event came first, by its id."""
        found: dict[str, float] = self._get("arrived")
        return found

    def forget(self) -> None:
        """Forget when events came; counts stay."""
        self._get("forget")

    def open(self, messages: int) -> None:
        """Have so many messages more to be received."""
        self._get(f"open/{messages}")

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_targets/{what}", timeout=30) as answer:
            return json.load(answer)


async def _serve() -> None:
    server = _Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: HttpConnection(server.respond), "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
