"""Queries and their life: Scheduled → Running → Complete, Failed, Timeout or Cancelled.

A query is checked and translated when it is started, so that what is wrong with it is told at once. It then waits for
one of a few places and runs in a process of its own (`worker`), to which the events of its log groups go in pages,
straight from the store, with a turn of the loop between two. Results come back as JSON and are kept as such, in memory:
a bounded number of bytes, for a bounded time, until the hub stops.

It must not know requests. `run` must run; what is started without it stays Scheduled.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

import anyio
import msgspec

from router import limits, log
from router.core.event import Location
from router.simulator.inbox import Inbox
from router.simulator.inboxes import Inboxes
from router.simulator.insights.sql import Plan
from router.simulator.insights.wire import (
    Broken,
    Done,
    Job,
    Page,
    Rows,
    Source,
    decode_answer,
    framed,
)
from router.simulator.records import DELAYED, message_key, position_of, resource_name
from router.store.base import StoreError, Table

Status = Literal["Scheduled", "Running", "Complete", "Failed", "Cancelled", "Timeout"]
ACTIVE: tuple[Status, ...] = ("Scheduled", "Running")

_FIRST_PAGE_ROWS = 4
_PAGE_ROWS_MAX = 256
_PAGE_BYTES = 512 * 1024
"""About what a page holds: reading it is one step of the loop, well under a millisecond."""
_WORKER = "router.simulator.insights.worker"
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT")
_KILL_S_MAX = 5.0


class Query:
    """One query; `Queries` is the only writer."""

    def __init__(self, query_id: str, location: Location, text: str, plan: Plan) -> None:
        self.id = query_id
        self.location = location
        self.text = text
        self.plan = plan
        self.groups: tuple[Inbox, ...] = ()
        self.from_ms = 0
        self.to_ms = 0
        self.created_ms = 0
        self.started_s = 0.0
        self.duration_ms = 0
        self.ended_s: float | None = None
        self.status: Status = "Scheduled"
        self.rows: list[bytes] = []
        """Each the JSON of a list of fields and values."""
        self.matched = 0
        self.scanned = 0
        self.bytes = 0
        self.result_bytes = 0
        self.reason: str | None = None
        """Why it failed."""
        self.scope = anyio.CancelScope()

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


class _WorkerFailed(Exception):
    """The query cannot be answered; the text says why, for the person who asked."""


class Queries:
    """All queries of the hub."""

    def __init__(self, inboxes: Inboxes) -> None:
        self._inboxes = inboxes
        self._world = inboxes.world
        self._queries: dict[str, Query] = {}
        self._waiting: asyncio.Queue[Query] = asyncio.Queue()

    async def run(self) -> None:
        """Run queries until cancelled."""
        async with anyio.create_task_group() as tasks:
            for _ in range(limits.INSIGHTS_WORKERS_MAX):
                tasks.start_soon(self._serve)

    async def _serve(self) -> None:
        while True:
            query = await self._waiting.get()
            if query.active:
                await self._execute(query)

    def start(self, query: Query, groups: Sequence[Inbox], from_ms: int, to_ms: int) -> None:
        """Take the query up. The caller has checked `active_in`."""
        query.groups, query.from_ms, query.to_ms = tuple(groups), from_ms, to_ms
        query.created_ms = self._world.now_ms()
        self._sweep()
        self._queries[query.id] = query
        self._waiting.put_nowait(query)

    def find(self, query_id: str, location: Location) -> Query | None:
        self._sweep()
        query = self._queries.get(query_id)
        return query if query is not None and query.location == location else None

    def all(self, location: Location) -> list[Query]:
        """The newest first."""
        self._sweep()
        return [query for query in reversed(self._queries.values()) if query.location == location]

    @property
    def active(self) -> int:
        """Scheduled and running, everywhere."""
        return sum(query.active for query in self._queries.values())

    def active_in(self, location: Location) -> int:
        return sum(query.active and query.location == location for query in self._queries.values())

    def stop(self, query: Query) -> None:
        """End a query that is active."""
        self._end(query, "Cancelled")
        query.scope.cancel()

    def _sweep(self) -> None:
        """Forget ended queries that are too old, too many or too large, the oldest first."""
        ended = [query for query in self._queries.values() if not query.active]
        count, size = len(ended), sum(query.result_bytes for query in ended)
        now_s = self._world.monotonic()
        for query in ended:
            old = query.ended_s is not None and now_s - query.ended_s > limits.INSIGHTS_KEPT_S_MAX
            if not old and count <= limits.INSIGHTS_KEPT_MAX and size <= limits.INSIGHTS_KEPT_BYTES_MAX:
                return
            del self._queries[query.id]
            count -= 1
            size -= query.result_bytes

    def _end(self, query: Query, status: Status, reason: str | None = None) -> None:
        query.status, query.reason = status, reason
        query.ended_s = self._world.monotonic()
        if query.started_s:
            query.duration_ms = round((query.ended_s - query.started_s) * 1000)
        if status != "Complete":
            query.rows.clear()
        query.result_bytes = sum(map(len, query.rows))
        if reason is not None:
            log.warning("insights.query_failed", query_id=query.id, status=status, reason=reason)

    # running one

    async def _execute(self, query: Query) -> None:
        query.status = "Running"
        query.started_s = self._world.monotonic()
        try:
            with query.scope, anyio.fail_after(limits.INSIGHTS_TIMEOUT_S):
                done = await self._ask_worker(query)
                query.matched, query.scanned, query.bytes = done.matched, done.scanned, done.bytes
                self._end(query, "Complete")
        except TimeoutError:
            self._end(
                query, "Timeout", f"the query took longer than {limits.INSIGHTS_TIMEOUT_S:g} s: narrow its time range"
            )
        except (_WorkerFailed, StoreError, OSError) as error:
            self._end(query, "Failed", str(error))
        finally:
            if query.active:  # the hub stops
                self._end(query, "Cancelled")

    async def _ask_worker(self, query: Query) -> Done:
        """Raises _WorkerFailed, StoreError or OSError, whichever comes first."""
        async with _worker() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout
            ends: list[Done | _WorkerFailed | StoreError | OSError] = []

            async def feed() -> None:
                try:
                    await self._feed(query, stdin)
                except (StoreError, OSError) as error:
                    ends.append(error)
                    tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed)
                ends.append(await self._listen(query, stdout))
                tasks.cancel_scope.cancel()
            if not isinstance(ends[0], Done):
                raise ends[0]
            return ends[0]

    async def _listen(self, query: Query, stdout: asyncio.StreamReader) -> Done | _WorkerFailed:
        while True:
            answer = await _answer(stdout)
            if not isinstance(answer, Rows):
                return answer
            query.rows += answer.rows

    async def _feed(self, query: Query, stdin: asyncio.StreamWriter) -> None:
        """The job, then the events; a worker that has ended early has said why."""
        with suppress(ConnectionError):
            await _write(stdin, _job(query))
            for group in query.groups:
                await self._feed_group(query, group, stdin)
            await _write(stdin, None)

    async def _feed_group(self, query: Query, group: Inbox, stdin: asyncio.StreamWriter) -> None:
        start, stop = (message_key(group.prefix, position) for position in (0, DELAYED))
        limit = _FIRST_PAGE_ROWS
        while rows := self._inboxes.store.scan(Table.MESSAGES, start, stop, limit=limit):
            start = rows[-1][0] + b"\0"
            await _write(stdin, Page(group.number, [(position_of(key), value) for key, value in rows]))
            size = sum(len(value) for _, value in rows)
            if size > _PAGE_BYTES:
                limit = max(1, limit // 2)
            elif size < _PAGE_BYTES // 2:
                limit = min(_PAGE_ROWS_MAX, limit * 2)
            query.scanned += len(rows)
            query.bytes += size
            await asyncio.sleep(0)


def _job(query: Query) -> Job:
    plan = query.plan
    return Job(
        from_ms=query.from_ms,
        to_ms=query.to_ms,
        sources=[
            Source(group.number, f"{query.location.account}:{resource_name(group.record.arn)}")
            for group in query.groups
        ],
        select=plan.select,
        select_parameters=plan.select_parameters,
        count=plan.count,
        count_parameters=plan.count_parameters,
        columns=plan.columns,
        fields=plan.fields,
        used=plan.used,
        texts=plan.texts,
        bytes_max=limits.INSIGHTS_BYTES_MAX,
        result_bytes_max=limits.INSIGHTS_RESULT_BYTES_MAX,
        memory_bytes_max=limits.INSIGHTS_MEMORY_BYTES_MAX,
    )


@asynccontextmanager
async def _worker() -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process that is gone at the end, whatever happens. It gets nothing of the hub's environment that could
    be a secret."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Cancelled in the middle, this would leave a process that nobody knows.
    with anyio.CancelScope(shield=True):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _WORKER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            limit=1 << 20,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_KILL_S_MAX):
            assert process.stdin is not None
            process.stdin.close()
            await process.communicate()  # what is left in the pipe, so that it closes, then its end


async def _write(stdin: asyncio.StreamWriter, value: msgspec.Struct | None) -> None:
    for part in framed(value):
        stdin.write(part)
    await stdin.drain()


async def _answer(stdout: asyncio.StreamReader) -> Rows | Done | _WorkerFailed:
    try:
        size = int.from_bytes(await stdout.readexactly(4), "big")
        answer = decode_answer(await stdout.readexactly(size))
    except (asyncio.IncompleteReadError, msgspec.DecodeError):
        return _WorkerFailed(
            "the process that runs the query ended without an answer: it may have been out of memory, or DuckDB is not "
            "installed"
        )
    return _WorkerFailed(answer.reason) if isinstance(answer, Broken) else answer
