"""The log: one JSON object a line, and a reader that stands still holds up nobody."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any, TextIO

import pytest

from router import log


@pytest.fixture
def unread() -> Iterator[tuple[int, TextIO]]:
    """A pipe that nobody reads yet."""
    reading, writing = os.pipe()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with os.fdopen(writing, "w", buffering=1) as stream:
        yield reading, stream
        root.handlers[:] = handlers
        root.setLevel(level)
    os.close(reading)


def read_lines(reading: int, lines: list[dict[str, Any]], until: str) -> None:
    with os.fdopen(os.dup(reading), "r") as stream:
        for line in stream:
            lines.append(json.loads(line))
            if lines[-1]["event"] == until:
                return


def test_a_reader_that_stands_still_holds_up_nobody_and_gets_every_line_later(unread: tuple[int, TextIO]) -> None:
    reading, stream = unread
    stop = log.start(stream)
    for number in range(5000):
        log.warning("attempt.failed", number=number, text="x" * 200)
    lines: list[dict[str, Any]] = []
    reader = threading.Thread(target=read_lines, args=(reading, lines, "last"))
    reader.start()
    log.info("last")
    reader.join(20)
    stop()
    assert [line["number"] for line in lines[:-1]] == list(range(5000))


def test_what_is_too_much_is_dropped_and_its_number_told(unread: tuple[int, TextIO]) -> None:
    reading, stream = unread
    stop = log.start(stream)
    for number in range(15_000):
        log.warning("attempt.failed", number=number, text="x" * 200)
    lines: list[dict[str, Any]] = []
    reader = threading.Thread(target=read_lines, args=(reading, lines, "last"))
    reader.start()
    while reader.is_alive():
        log.info("last")
        reader.join(0.05)
    stop()
    # Told once where the reader keeps up from then on, more often where it falls behind again.
    dropped = sum(line["lines"] for line in lines if line["event"] == "log.dropped")
    written = [line["number"] for line in lines if line["event"] == "attempt.failed"]
    assert len(written) > 10_000
    assert dropped >= 15_000 - len(written) > 0
    assert written == sorted(written)
