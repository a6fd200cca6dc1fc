"""What the outage benchmark puts on a hub, and how it looks at it: settings, load, log and memory."""

import asyncio
import contextlib
import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

import uvloop

from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub

RATE = 200
"""Events for B a second."""
_ELSEWHERE = "222222222222"
"""The account of A's queue, so that it has an endpoint of its own."""
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/events"
_FILLING_CONNECTIONS = 4
_MEMORY_INTERVAL_S = 0.1


def settings(a_port: int, b_port: int) -> dict[str, Any]:
    """A hub with two rules on one bus, whose targets are queues at two endpoints."""
    keys = {"access_key_id": "none", "secret_access_key": "none-that-counts"}
    return {
        "accounts": [{"id": ACCOUNT}, {"id": _ELSEWHERE}],
        "store": {"durability": "fsync"},
        "endpoints": [
            {"service": "sqs", "url": f"http://127.0.0.1:{port}", "account": account, "credentials": keys}
            for account, port in ((_ELSEWHERE, a_port), (ACCOUNT, b_port))
        ],
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "rules": [
                    {
                        "Name": name,
                        "EventPattern": {"source": [f"shop.{name}"]},
                        "Targets": [{"Id": name, "Arn": f"arn:aws:sqs:{REGION}:{account}:{name}", "RoleArn": _ROLE}],
                    }
                    for name, account in (("a", _ELSEWHERE), ("b", ACCOUNT))
                ],
            }
        ],
    }


def _payload(source: str, count: int) -> bytes:
    entry = {"Source": source, "DetailType": "order", "Detail": json.dumps({"text": "x" * 500})}
    return request("AWSEvents.PutEvents", {"Entries": [entry] * count}, account=ACCOUNT, region=REGION)


def _ids(status: int, body: bytes) -> list[str]:
    """The entries that were acknowledged; those that were throttled have no id."""
    if status != 200:
        raise RuntimeError(f"PutEvents failed: {status} {body[:300]!r}")
    return [entry["EventId"] for entry in json.loads(body)["Entries"] if "EventId" in entry]


def fill(pipe: Pipe, port: int, count: int) -> None:
    """Put `count` events for A, as fast as the hub takes them: a process of its own, so that it takes no time from the
    one that measures B. Sends how many it has now and then, and at the end all ids."""
    ids: list[str] = []
    left = count

    async def worker() -> None:
        nonlocal left
        connection = await Connection.open(port)
        while left > 0:
            entries = min(10, left)
            left -= entries
            taken = _ids(*await connection.send(_payload("shop.a", entries) if entries < 10 else full))
            left += entries - len(taken)
            ids.extend(taken)
            if not taken:
                await asyncio.sleep(0.1)
        connection.close()

    async def all_workers() -> None:
        workers = asyncio.gather(*(worker() for _ in range(_FILLING_CONNECTIONS)))
        while not workers.done():
            await asyncio.wait([workers], timeout=0.1)
            pipe.send(len(ids))
        await workers

    full = _payload("shop.a", 10)
    uvloop.run(all_workers())
    pipe.send(ids)


async def steady(port: int, put: dict[str, int], *, more: Callable[[int], bool]) -> None:
    """One event for B after the other, at the rate, whether or not those before are answered yet, while there are
    `more`, told how many there were. `put` gets when each PutEvents call began, by the event's id."""
    payload = _payload("shop.b", 1)
    opened: list[Connection] = []
    idle: deque[Connection] = deque()  # in turns: the hub closes a connection that is not used for a while

    async def one() -> None:
        if not idle:
            opened.append(await Connection.open(port))
            idle.append(opened[-1])
        connection = idle.popleft()
        before_ns = time.monotonic_ns()
        answer = await connection.send(payload)
        idle.append(connection)
        [event_id] = _ids(*answer)
        put[event_id] = before_ns

    started = time.monotonic()
    count = 0
    try:
        async with asyncio.TaskGroup() as requests:
            while more(count):
                await asyncio.sleep(max(0.0, started + count / RATE - time.monotonic()))
                requests.create_task(one())
                count += 1
    finally:
        for connection in opened:
            connection.close()


class ReadHub(Hub):
    """A hub whose log is read by a process that does nothing else, as a log collector would. Its last lines become a
    note of what made the run fail."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self._readers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        super().start()
        self._readers.append(subprocess.Popen(["tail", "-n", "10"], stdin=self.process.stderr, stdout=subprocess.PIPE))

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        for reader in self._readers:
            lines, _ = reader.communicate(timeout=10)
            for error in raised:
                if isinstance(error, BaseException):
                    error.add_note(f"the hub's log ended with\n{lines.decode()}")


class Memory:
    """The hub's anonymous memory, looked at all the time by a thread; the most of each phase."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.phase = "undisturbed"
        self.most_mb: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_MEMORY_INTERVAL_S):
            # There is no process, or one that is ending, between two runs of the hub.
            with contextlib.suppress(OSError, RuntimeError):
                phase, found_mb = self.phase, self._hub.anonymous_mb()
                self.most_mb[phase] = max(self.most_mb.get(phase, 0.0), round(found_mb, 1))
