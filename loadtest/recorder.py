"""A target outside the hub that remembers what it got: an API destination and an SQS endpoint in one small server.

    python -m loadtest.recorder [--delay-ms 5]

Prints its port. A delivery counts when it has come, before it is answered; the answer comes `--delay-ms` later, so that
a hub that is killed has deliveries in flight. `GET /stats` says how many came, `GET /ids` which, how often, `GET
/arrived` when each event came first, on the machine's monotonic clock, in ns.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from typing import Any, Self

import msgspec

from loadtest import sent_batch


class _Envelope(msgspec.Struct):
    id: str


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_encode = msgspec.json.Encoder().encode


class _Server:
    """`queue` and `destination` count the deliveries of each event, by its id."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self.queue: Counter[str] = Counter()
        self.destination: Counter[str] = Counter()
        self.arrived_ns: dict[str, int] = {}

    async def serve(self) -> None:
        """Until the process is ended."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 22)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                start = head.lower().find(b"content-length:")
                length = int(head[start + 15 : head.index(b"\r\n", start)]) if start >= 0 else 0
                body = await reader.readexactly(length)
                answer = await self._answer(head, body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the hub was killed
        finally:
            writer.close()

    async def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET /stats"):
            counts = {"queue": self.queue, "destination": self.destination}
            return _encode({name: [len(found), found.total()] for name, found in counts.items()})
        if head.startswith(b"GET /ids"):
            return _encode({"queue": self.queue, "destination": self.destination})
        if head.startswith(b"GET /arrived"):
            return _encode(self.arrived_ns)
        now_ns = time.monotonic_ns()
        if b"SendMessageBatch" in head:
            entries = sent_batch.read(body)
            self._came([_decode_envelope(entry.message_body).id for entry in entries], self.queue, now_ns)
            await asyncio.sleep(self._delay_s)
            return sent_batch.taken(entries)
        self._came([_decode_envelope(body).id], self.destination, now_ns)
        await asyncio.sleep(self._delay_s)
        return b""

    def _came(self, event_ids: list[str], at: Counter[str], now_ns: int) -> None:
        at.update(event_ids)
        for event_id in event_ids:
            self.arrived_ns.setdefault(event_id, now_ns)


class Recorder:
    """The server as a process of its own."""

    def __init__(self, *, delay_ms: int = 5) -> None:
        self._delay_ms = delay_ms
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.recorder", "--delay-ms", str(self._delay_ms)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stats(self) -> dict[str, tuple[int, int]]:
        """For the queue and the destination: how many events came, and how many deliveries."""
        return {name: (found[0], found[1]) for name, found in self._get("stats").items()}

    def ids(self) -> dict[str, dict[str, int]]:
        """For the queue and the destination: how often each event came, by its id."""
        found: dict[str, dict[str, int]] = self._get("ids")
        return found

    def arrived(self) -> dict[str, int]:
        """When each event came first, by its id; on the machine's monotonic clock, in ns."""
        found: dict[str, int] = self._get("arrived")
        return found

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=30) as answer:
            return json.load(answer)


def main() -> None:
    """Serve until terminated."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--delay-ms", type=int, default=5, help="how long each answer takes (default 5)")
    asyncio.run(_Server(arguments.parse_args().delay_ms / 1000).serve())


if __name__ == "__main__":
    main()
