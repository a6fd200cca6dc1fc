"""Load: PutEvents as fast as it is answered (`saturate`), or at a rate, answered or not (`paced`).

Times are seconds of the machine's monotonic clock, which its processes share. What is refused is counted, with the
first reason; a request that fails altogether ends the load with `PutRefused`, a connection that fails with OSError.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from router.bench.connection import Connection
from router.bench.requests import PutEvents, outcome
from router.world import RealWorld

Connect = Callable[[], Awaitable[Connection]]
CONNECTIONS = 16
CONNECTIONS_MAX = 1000
_TIMER_S = 0.002


class PutRefused(Exception):
    """PutEvents was answered with an error, or with something else than an answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"PutEvents failed: {status} {body[:300]!r}")
        self.status = status
        self.body = body


class Put(msgspec.Struct):
    """What the clients saw."""

    seconds: float = 0.0
    accepted: int = 0
    refused: int = 0
    first_refusal: str | None = None
    latencies_s: list[float] = []
    """Each request's, from sending it to its answer."""
    at: dict[str, float] = {}
    """`paced` only: when each accepted event's request was due to go, by event id."""
    late_s_max: float = 0.0
    """`paced` only: how much later than due a request was begun, at most: above a few ms, the client is too slow."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def saturate(connect: Connect, requests: PutEvents, events: int, *, connections: int = CONNECTIONS) -> Put:
    """Put at least `events` events, one request after the other on each connection."""
    put = Put()
    now = RealWorld().monotonic
    left = -(-events // requests.entries)

    async def worker() -> None:
        nonlocal left
        connection = await connect()
        try:
            while left > 0:
                left -= 1
                request = requests.take()
                started = now()
                status, body = await connection.send(request)
                put.latencies_s.append(now() - started)
                if status == 200 and b'"FailedEntryCount":0' in body:
                    put.accepted += requests.entries
                else:
                    _note(put, status, body)
        finally:
            connection.close()

    started = now()
    async with tasks() as group:
        for _ in range(min(connections, left)):
            group.create_task(worker())
    put.seconds = now() - started
    return put


def _note(put: Put, status: int, body: bytes) -> list[str]:
    """Count what became of a request's entries; the ids of those that were accepted."""
    if status != 200:
        raise PutRefused(status, body)
    try:
        ids, refusals = outcome(body)
    except msgspec.DecodeError as error:
        raise PutRefused(status, body) from error
    put.accepted += len(ids)
    put.refused += len(refusals)
    if refusals and put.first_refusal is None:
        put.first_refusal = refusals[0]
    return ids


@asynccontextmanager
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that fails as its first task does."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def paced(
    connect: Connect,
    take: Callable[[int], bytes],
    *,
    per_s: float,
    count: int,
    connections: int = CONNECTIONS,
) -> Put:
    """`count` requests, `per_s` a second, evenly, whether or not those before are answered. `take` gives request n.

    A request that finds no connection free waits for one, and that is part of its time.
    """
    put = Put()
    now = RealWorld().monotonic
    idle: deque[Connection] = deque()
    free = asyncio.Semaphore(connections)

    async def one(request: bytes, due: float) -> None:
        async with free:
            connection = idle.popleft() if idle else await connect()
            try:
                status, body = await connection.send(request)
            finally:
                idle.append(connection)
        put.latencies_s.append(now() - due)
        for event_id in _note(put, status, body):
            put.at[event_id] = due

    started = now()
    try:
        async with tasks() as group:
            for number in range(count):
                due = started + number / per_s
                request = take(number)
                if (left_s := due - now()) > 0:
                    await asyncio.sleep(left_s)
                begun = now()
                # An event loop's timer is a millisecond coarse, which is not the receiver's fault; being later is
                # counted to the request, so that a stall hides nothing.
                put.late_s_max = max(put.late_s_max, begun - due)
                group.create_task(one(request, begun if begun - due < _TIMER_S else due))
    finally:
        for connection in idle:
            connection.close()
    put.seconds = now() - started
    return put
