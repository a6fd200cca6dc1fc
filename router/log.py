"""Structured logging: one JSON object a line on standard error.

One wide line for each failed attempt and each change of the hub's own state; none for a delivered event. Values that
are secrets are never passed here.
"""

import contextlib
import json
import logging
import logging.handlers
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

_NAME = "crossbus"
_LINES_WAITING_MAX = 10_000
_LAST_LINES_S_MAX = 2.0
_END = logging.makeLogRecord({})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Background(logging.handlers.QueueHandler):
    """Hands lines to a thread, so that a reader of standard error that stands still does not hold up the hub. When the
    thread is far behind, lines are dropped, and their number is told once it has caught up."""

    def __init__(self, lines: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(lines)
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                self.queue.put_nowait(
                    logging.makeLogRecord(
                        {
                            "msg": "log.dropped",
                            "levelno": logging.WARNING,
                            "levelname": "WARNING",
                            "fields": {"lines": self._dropped},
                        }
                    )
                )
                self._dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1


def start(to: TextIO | None = None) -> Callable[[], None]:
    """Send the hub's log to standard error, or `to` another stream. Call what is returned at the end, so that the last
    lines get there."""
    stream = logging.StreamHandler(to or sys.stderr)
    stream.setFormatter(_JsonLines())
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_LINES_WAITING_MAX)
    logging.basicConfig(level=logging.INFO, handlers=[_Background(lines)], force=True)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    ended = threading.Event()

    def write() -> None:
        while (record := lines.get()) is not _END:
            stream.handle(record)
        ended.set()

    threading.Thread(target=write, name="log", daemon=True).start()

    def stop() -> None:
        with contextlib.suppress(queue.Full):
            lines.put(_END, timeout=_LAST_LINES_S_MAX)
            ended.wait(_LAST_LINES_S_MAX)

    return stop


def info(event: str, **fields: Any) -> None:
    logging.getLogger(_NAME).info(event, extra={"fields": fields})


def warning(event: str, **fields: Any) -> None:
    logging.getLogger(_NAME).warning(event, extra={"fields": fields})


def exception(event: str, **fields: Any) -> None:
    """Inside an `except` block: the line carries the traceback."""
    logging.getLogger(_NAME).exception(event, extra={"fields": fields})
