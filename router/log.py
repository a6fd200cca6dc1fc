"""Structured logging: one JSON object a line on standard error.

One wide line for each failed attempt and each change of the hub's own state; none for a delivered event. Values that
are secrets are never passed here.
"""

import json
import logging
import sys
from typing import Any

_NAME = "crossbus"


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


def start(level: str = "INFO") -> None:
    """Send the hub's log to standard error."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_JsonLines())
    logging.basicConfig(level=level, handlers=[stream], force=True)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


def info(event: str, **fields: Any) -> None:
    logging.getLogger(_NAME).info(event, extra={"fields": fields})


def warning(event: str, **fields: Any) -> None:
    logging.getLogger(_NAME).warning(event, extra={"fields": fields})


def exception(event: str, **fields: Any) -> None:
    """Inside an `except` block: the line carries the traceback."""
    logging.getLogger(_NAME).exception(event, extra={"fields": fields})
