"""One-event messages from a queue, through 100 rules of which one matches, into an SQS inbox.

    python -m loadtest.sqs_source [--fauxqs PATH] [--events 10000] [--runs 5] [--rules 100] [--pollers 8]

The queue is filled first; the clock runs from when the hub is ready. The SQS-protocol server is fauxqs, where it is
found (`--fauxqs`, or on PATH), or else moto's, which is itself the limit. Server and hub share the machine. Reports
medians, and writes them to loadtest/results/sqs_source.json.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import Any, Self

from loadtest import ingest
from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.report import report

_HOW_TO_GET_FAUXQS = (
    "fauxqs is not on PATH: moto's server, many times slower, takes its place and is what is measured.\n"
    "With Node 20 or later:  npm install --prefix FOLDER fauxqs\n"
    "then:                   python -m loadtest.sqs_source --fauxqs FOLDER/node_modules/.bin/fauxqs\n"
)
_FILLING_CONNECTIONS = 4
_WAIT_S_MAX = 600


class QueueServer:
    """A fresh SQS-protocol server process on a free port, with one queue."""

    def __init__(self, fauxqs: str | None, *, visibility_s: int = 30) -> None:
        self._visibility_s = visibility_s
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._command = [fauxqs] if fauxqs else [sys.executable, "-m", "moto.server", "-p", str(self.port)]
        self.queue_url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, "FAUXQS_PORT": str(self.port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.perf_counter() + 30
        while time.perf_counter() < end and self._process.poll() is None:
            try:
                request = {"QueueName": "events", "Attributes": {"VisibilityTimeout": str(self._visibility_s)}}
                self.queue_url = asyncio.run(self.call("CreateQueue", request))["QueueUrl"]
                return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"{self._command[0]} does not answer on port {self.port}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    async def call(self, action: str, body: dict[str, Any]) -> Any:
        connection = await Connection.open(self.port)
        status, answer = await connection.send(_request(action, body))
        connection.close()
        if status != 200:
            raise RuntimeError(f"{action} failed: {status} {answer[:300]!r}")
        return json.loads(answer)

    async def fill(self, events: int) -> None:
        """Send so many messages of one event each; an event's one resource is its number."""
        entry = ingest.entries()[0]
        firsts = iter(range(0, events, 10))

        async def worker() -> None:
            for first in firsts:
                bodies = [json.dumps({**entry, "Resources": [str(first + number)]}) for number in range(10)]
                batch = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
                await self.call("SendMessageBatch", {"QueueUrl": self.queue_url, "Entries": batch})

        await asyncio.gather(*(worker() for _ in range(_FILLING_CONNECTIONS)))

    async def emptied(self) -> None:
        """Wait until every message is deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        body = {"QueueUrl": self.queue_url, "AttributeNames": names}
        end = time.perf_counter() + _WAIT_S_MAX
        while time.perf_counter() < end:
            attributes = (await self.call("GetQueueAttributes", body))["Attributes"]
            if not any(int(attributes[name]) for name in names):
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the queue is not empty after {_WAIT_S_MAX} s")


def _request(action: str, body: dict[str, Any], account: str = ACCOUNT) -> bytes:
    return request(f"AmazonSQS.{action}", body, account=account, region=REGION, service="sqs")


def settings(server: QueueServer, rules: int, pollers: int) -> dict[str, Any]:
    """The hub of `ingest`, with the server's queue as a source."""
    source = {
        "queue_url": server.queue_url,
        "endpoint": f"http://127.0.0.1:{server.port}",
        "queue_region": REGION,
        "credentials": {"access_key_id": ACCOUNT, "secret_access_key": "none-that-counts"},
        "account": ACCOUNT,
        "region": REGION,
        "pollers": pollers,
    }
    return {**ingest.settings(rules), "sqs_sources": [source]}


async def _delivered(hub: Hub, events: int) -> None:
    """Wait until the hub's own queue holds all events."""
    url = f"http://127.0.0.1:{hub.port}/{ACCOUNT}/events"
    payload = _request("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"]})
    connection = await Connection.open(hub.port)
    end = time.perf_counter() + _WAIT_S_MAX
    held = 0
    while time.perf_counter() < end:
        _, answer = await connection.send(payload)
        held = int(json.loads(answer)["Attributes"]["ApproximateNumberOfMessages"])
        if held >= events:
            connection.close()
            return
        await asyncio.sleep(0.02)
    raise RuntimeError(f"{held} of {events} events were delivered within {_WAIT_S_MAX} s")


async def _times(server: QueueServer, hub: Hub, events: int) -> tuple[float, float]:
    """Seconds from now until the source queue was empty, and until all was delivered."""
    started = time.perf_counter()

    async def emptied() -> float:
        await server.emptied()
        return time.perf_counter() - started

    async def delivered() -> float:
        await _delivered(hub, events)
        return time.perf_counter() - started

    return await asyncio.gather(emptied(), delivered())


def one_run(events: int, rules: int, pollers: int, fauxqs: str | None) -> dict[str, float]:
    """One fresh server and one fresh hub: the figures of a run."""
    with QueueServer(fauxqs) as server:
        asyncio.run(server.fill(events))
        with Hub(settings(server, rules, pollers)) as hub:
            cpu = hub.cpu_s()
            taken_s, delivered_s = asyncio.run(_times(server, hub, events))
            return {
                "taken_per_s": round(events / taken_s),
                "delivered_per_s": round(events / delivered_s),
                "delivered_per_hub_cpu_s": round(events / (hub.cpu_s() - cpu)),
                "loaded_anonymous_mb": round(hub.anonymous_mb(), 1),
            }


def main() -> None:
    """Run, print a table of medians, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--fauxqs", metavar="PATH", help="the fauxqs program (default: the one on PATH, if any)")
    arguments.add_argument("--events", type=int, help="messages a run (default 10000, from moto 500)")
    arguments.add_argument("--runs", type=int, default=5, help="runs, each with a fresh hub and server (default 5)")
    arguments.add_argument("--rules", type=int, default=100, help="rules on the bus, one of which matches")
    arguments.add_argument("--pollers", type=int, default=8, help="long polls at a time (default 8)")
    chosen = arguments.parse_args()
    fauxqs = chosen.fauxqs or shutil.which("fauxqs")
    events = chosen.events or (10_000 if fauxqs else 500)  # moto's work grows with the square of what is in a queue
    if fauxqs is None:
        print(_HOW_TO_GET_FAUXQS, file=sys.stderr)
    runs = []
    for number in range(chosen.runs):
        runs.append(one_run(events, chosen.rules, chosen.pollers, fauxqs))
        print(f"run {number + 1} of {chosen.runs}: {runs[-1]['taken_per_s']:,} taken a second", flush=True)
    server = "fauxqs" if fauxqs else "moto"
    headline = f"{events} messages each, {chosen.pollers} pollers, from {server}"
    report("sqs_source", headline, runs, server=server)


if __name__ == "__main__":
    main()
