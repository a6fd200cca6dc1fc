"""The process that runs one query: `python -m router.simulator.insights.worker`, spoken to over its pipes (`wire`).

It is a process of its own so that the hub's event loop and memory stay what they are: DuckDB is imported here and
nowhere else, and ending the process ends the query. DuckDB gets no files, no network, no extensions, a bound on its
memory and no way to change any of that. It runs with low priority. It must not know the hub.
"""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import duckdb
import msgspec

from router.simulator.insights.values import FIRST_MACROS, MACROS
from router.simulator.insights.wire import (
    FRAME_BYTES_MAX,
    Answer,
    Broken,
    Done,
    Job,
    Page,
    Rows,
    decode_job,
    decode_page,
    framed,
)
from router.simulator.records import DELIVERY_STREAM, Message, decode_message, time_ms_of

_NICENESS = 10
_THREADS_MAX = 2
_ROWS_AT_ONCE = 1000
_INSERT_ROWS = 8192
_INSERT_BYTES = 16 * 1024**2
_REASON_CHARS_MAX = 500
_TYPES = dict.fromkeys(("pos", "grp", "ts", "ing"), "BIGINT") | dict.fromkeys(
    ("stream", "log", "message", "json"), "VARCHAR"
)
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


class Failed(Exception):
    """The query cannot go on; the text says why."""


def main(given: BinaryIO, said: BinaryIO) -> None:
    """Run the query that `given` asks for and say what became of it."""

    def say(answer: Answer) -> None:
        for part in framed(answer):
            said.write(part)
        said.flush()

    try:
        for answer in _answers(given):
            say(answer)
    except Failed as error:
        say(Broken(str(error)))
    except duckdb.OutOfMemoryException:
        say(Broken("the query needs more memory than a query may have: narrow its time range, or ask for fewer fields"))
    except (duckdb.Error, MemoryError) as error:
        say(Broken(str(error).partition("\n")[0][:_REASON_CHARS_MAX] or type(error).__name__))


def _answers(given: BinaryIO) -> Iterator[Answer]:
    job = decode_job(_frame(given))
    connection = connect(job.memory_bytes_max)
    events = _Events(connection, job)
    while frame := _frame(given):
        events.add(decode_page(frame))
    events.flush()
    counted = connection.execute(job.count, job.count_parameters).fetchone()
    connection.execute(job.select, job.select_parameters)
    size = 0
    while found := connection.fetchmany(_ROWS_AT_ONCE):
        rows = [_row(job.columns, events.filled_in(row)) for row in found]
        size += sum(map(len, rows))
        if size > job.result_bytes_max:
            raise Failed(
                f"the results are larger than {job.result_bytes_max} bytes, the most that a query may have: ask for "
                "fewer events (limit) or fewer fields"
            )
        yield Rows(rows)
    yield Done(int(counted[0]) if counted else 0, events.count, events.bytes)


def connect(memory_bytes_max: int) -> "duckdb.DuckDBPyConnection":
    """A database in memory that can do nothing but compute."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": f"{memory_bytes_max // 1024}KiB",
            "threads": str(min(_THREADS_MAX, os.cpu_count() or 1)),
        },
    )
    for macro in (*FIRST_MACROS, *MACROS):
        connection.execute(macro)
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


class _Events:
    """The table `events`, filled page by page."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", job: Job) -> None:
        self._connection = connection
        self._job = job
        self._sources = {source.number: source.log for source in job.sources}
        self.count = 0
        self.bytes = 0
        self._waiting: list[tuple[int, int, int, Message]] = []
        self._waiting_bytes = 0
        self._bodies: dict[tuple[int, int], bytes] = {}
        self._columns = ["pos", "grp", "ts", *job.used]
        fields = [f"f{number} VARCHAR" for number in range(1, len(job.fields) + 1)]
        columns = [f"{column} {_TYPES[column]}" for column in self._columns]
        connection.execute(f"CREATE TABLE events ({', '.join([*columns, *fields])})")
        self._paths = [pointer for pointers in job.fields for pointer in pointers]
        self._insert = self._statement()

    def _statement(self) -> str:
        """The INSERT that takes a list for each column, and the events' JSON where there are fields to find in it."""
        given = [*self._columns, *(["json"] if self._paths else [])]
        rows = f"SELECT {', '.join(f'unnest(${column}::{_TYPES[column]}[]) AS {column}' for column in given)}"
        if not self._paths:
            return f"INSERT INTO events {rows}"
        values, at = [], 0
        for pointers in self._job.fields:
            values.append(f"coalesce({', '.join(f'cb_leaf(j[{at + n}])' for n in range(1, len(pointers) + 1))})")
            at += len(pointers)
        return (
            f"INSERT INTO events SELECT {', '.join([*self._columns, *values])} "
            f"FROM (SELECT *, TRY(json_extract(json, $paths)) AS j FROM ({rows}))"
        )

    def add(self, page: Page) -> None:
        """Raises Failed when the events are too much."""
        job = self._job
        for position, stored in page.rows:
            message = decode_message(stored)
            time_ms = time_ms_of(message)
            if job.from_ms <= time_ms <= job.to_ms:
                self._waiting.append((position, page.source, time_ms, message))
                self._waiting_bytes += len(message.body)
        if self.bytes + self._waiting_bytes > job.bytes_max:
            raise Failed(
                f"the events in the query's range of time hold more than {job.bytes_max} bytes, the most that a query "
                "may look at: narrow the range, or name fewer log groups"
            )
        if len(self._waiting) >= _INSERT_ROWS or self._waiting_bytes >= _INSERT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Put what waits into the table: a statement costs 4 ms, whatever it brings."""
        waiting = self._waiting
        if not waiting:
            return
        self.count += len(waiting)
        if self._job.texts:
            self._bodies |= {(source, position): message.body for position, source, _, message in waiting}
        self.bytes += self._waiting_bytes
        lists: dict[str, Callable[[], list[Any]]] = {
            "pos": lambda: [position for position, *_ in waiting],
            "grp": lambda: [source for _, source, *_ in waiting],
            "ts": lambda: [time_ms for _, _, time_ms, _ in waiting],
            "ing": lambda: [message.sent_ms for *_, message in waiting],
            "stream": lambda: [message.stream or DELIVERY_STREAM for *_, message in waiting],
            "log": lambda: [self._sources[source] for _, source, *_ in waiting],
            "message": lambda: [message.body.decode("utf-8", "replace") for *_, message in waiting],
        }
        parameters: dict[str, Any] = {column: lists[column]() for column in self._columns}
        if self._paths:
            parameters["paths"] = self._paths
            parameters["json"] = [_object(message.body) for *_, message in waiting]
        self._connection.execute(self._insert, parameters)
        self._waiting, self._waiting_bytes = [], 0

    def filled_in(self, row: tuple[Any, ...]) -> tuple[str | None, ...]:
        """A row of the result with the events' text where that was kept out of the database."""
        if not self._job.texts:
            return row
        *values, source, position = row
        for column in self._job.texts:
            values[column] = self._bodies[source, position].decode("utf-8", "replace")
        return tuple(values)


def _object(body: bytes) -> str | None:
    """The text of a JSON object; None for anything else."""
    if body.lstrip()[:1] != b"{":
        return None
    try:
        _check_json(body)
        return body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _row(columns: list[str], row: tuple[str | None, ...]) -> bytes:
    return msgspec.json.encode(
        [{"field": name, "value": value} for name, value in zip(columns, row, strict=True) if value is not None]
    )


def _frame(given: BinaryIO) -> bytes:
    """The next frame's body; empty at its end, or where the hub is gone."""
    size = int.from_bytes(given.read(4), "big")
    if size > FRAME_BYTES_MAX:
        raise Failed(f"a frame of {size} bytes came, at most {FRAME_BYTES_MAX} may")
    return given.read(size)


if __name__ == "__main__":
    os.nice(_NICENESS)
    main(sys.stdin.buffer, sys.stdout.buffer)
