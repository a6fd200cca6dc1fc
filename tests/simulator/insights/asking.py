"""Queries asked of a handful of events, by the worker's own code in this process."""

import io
import json
from collections.abc import Sequence
from typing import Any

from router.simulator.insights import worker
from router.simulator.insights.sql import Plan, translate
from router.simulator.insights.wire import Broken, Done, Job, Page, Rows, Source, decode_answer, framed
from router.simulator.records import Message, encode_message

START_MS = 1_700_000_000_000
"""2023-11-14 22:13:20 UTC; events are a second apart."""
LOG = "111111111111:/orders"


def job_of(plan: Plan, **changes: Any) -> Job:
    fields = {name: getattr(plan, name) for name in Plan.__struct_fields__}
    bounds = {"bytes_max": 1 << 26, "result_bytes_max": 1 << 24, "memory_bytes_max": 1 << 28}
    times = {"from_ms": 0, "to_ms": START_MS * 2}
    return Job(**{**fields, **bounds, **times, "sources": [Source(7, LOG)], **changes})


def answers(job: Job, pages: Sequence[Page]) -> list[Rows | Done | Broken]:
    """All that the worker says."""
    said = io.BytesIO()
    worker.main(io.BytesIO(b"".join(part for value in (job, *pages, None) for part in framed(value))), said)
    said.seek(0)
    found = []
    while head := said.read(4):
        found.append(decode_answer(said.read(int.from_bytes(head, "big"))))
    return found


def page(events: Sequence[object]) -> Page:
    """Texts as they are, anything else as JSON."""
    bodies = [event if isinstance(event, str) else json.dumps(event) for event in events]
    messages = [
        Message(str(number), START_MS + 60_000, body.encode(), stream="one", timestamp_ms=START_MS + number * 1000)
        for number, body in enumerate(bodies)
    ]
    return Page(7, [(number, encode_message(message)) for number, message in enumerate(messages)])


def ask(
    text: str, events: Sequence[object], *, limit: int | None = None, **changes: Any
) -> tuple[list[dict[str, str]], Done | Broken]:
    """The rows as field and value, and how it ended."""
    *rows, end = answers(job_of(translate(text, limit), **changes), [page(events)])
    assert not isinstance(end, Rows)
    found = [json.loads(row) for one in rows if isinstance(one, Rows) for row in one.rows]
    return [{cell["field"]: cell["value"] for cell in row} for row in found], end


def rows(text: str, events: Sequence[object], **changes: Any) -> list[dict[str, str]]:
    """The rows without @ptr."""
    found, end = ask(text, events, **changes)
    assert isinstance(end, Done), end
    return [{name: value for name, value in row.items() if name != "@ptr"} for row in found]


def value(expression: str, event: object) -> str | None:
    """What an expression gives for one event."""
    (row,) = rows(f"fields {expression} as it", [event])
    return row.get("it")
