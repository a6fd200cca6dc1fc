"""The CloudWatch Logs sink against a server that answers as CloudWatch Logs does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from router.catalog.model import InputTransformer, Target
from router.sinks.base import Delivered, Outcome, Rejected, Retryable, Sink
from router.sinks.logs import LogsSink
from tests.sinks import suite
from tests.sinks.fakes import always, attempt, endpoints_at, reset, serving

GROUP = Target(id="t", arn="arn:aws:logs:us-east-1:222222222222:log-group:/aws/events/orders:*")
TRANSFORMED = Target(id="t", arn=GROUP.arn, input_transformer=InputTransformer(input_template="x"))
TEN_MS = 1_795_428_000_000


@asynccontextmanager
async def sink_at(url: str, timeout_s: float = 5.0) -> AsyncIterator[Sink]:
    async with endpoints_at(url, "logs", timeout_s=timeout_s) as endpoints:
        yield LogsSink(endpoints)


CASE = suite.Case(sink=sink_at, attempt=lambda _: attempt(GROUP), success=always(200, "{}"))


@pytest.mark.parametrize("fact", suite.FACTS)
async def test_logs_sink_keeps_the_suite(fact: suite.Fact) -> None:
    await fact(CASE)


class Logs:
    """Groups and streams that are there or not, and what was put."""

    def __init__(self, *groups: str) -> None:
        self.groups = set(groups)
        self.streams: set[tuple[str, str]] = set()
        self.calls: list[str] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.info: dict[str, int] = {}

    async def __call__(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].removeprefix("Logs_20140328.")
        body = await request.json()
        self.calls.append(operation)
        group = body["logGroupName"]
        if operation == "CreateLogGroup":
            if group in self.groups:
                return error("ResourceAlreadyExistsException")
            self.groups.add(group)
        elif group not in self.groups:
            return error("ResourceNotFoundException")
        elif operation == "CreateLogStream":
            self.streams.add((group, body["logStreamName"]))
        elif (group, body["logStreamName"]) not in self.streams:
            return error("ResourceNotFoundException")
        else:
            self.batches.append(body["logEvents"])
            return web.json_response({"rejectedLogEventsInfo": self.info} if self.info else {})
        return web.Response()


def error(code: str) -> web.Response:
    return web.Response(status=400, text=json.dumps({"__type": code, "message": "no"}))


@pytest.mark.parametrize("groups", [[], ["/aws/events/orders"]])
async def test_group_and_stream_are_made_on_first_use(groups: list[str]) -> None:
    logs = Logs(*groups)
    async with serving(logs) as server, sink_at(server.url) as sink:
        assert await sink.send([attempt(GROUP)]) == [Delivered()]
        assert await sink.send([attempt(GROUP)]) == [Delivered()]
    assert logs.calls == ["PutLogEvents", "CreateLogGroup", "CreateLogStream", "PutLogEvents", "PutLogEvents"]
    assert logs.batches == [[{"timestamp": TEN_MS, "message": '{"n":1}'}]] * 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDeniedException", (Rejected, "NO_PERMISSIONS")),
        ("InvalidParameterException", (Rejected, "INVALID_PARAMETER")),
        ("LimitExceededException", (Retryable, "RESOURCE_LIMIT_EXCEEDED")),
        ("OperationAbortedException", (Retryable, "RESOURCE_MODIFICATION_COLLISION")),
        ("ServiceUnavailableException", (Retryable, "ERROR_FROM_TARGET")),
        ("ThrottlingException", (Retryable, "THROTTLING")),
    ],
)
async def test_stream_that_cannot_be_made_says_why(code: str, expected: tuple[type[Outcome], str]) -> None:
    async def answer(request: web.Request) -> web.Response:
        is_put = request.headers["X-Amz-Target"].endswith("PutLogEvents")
        return error("ResourceNotFoundException" if is_put else code)

    async with serving(answer) as server, sink_at(server.url) as sink:
        outcomes = await sink.send([attempt(GROUP), attempt(GROUP)])
    assert [(type(outcome), getattr(outcome, "code", None)) for outcome in outcomes] == [expected] * 2


async def test_connection_that_breaks_while_the_stream_is_made_is_retryable() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        is_put = request.headers["X-Amz-Target"].endswith("PutLogEvents")
        return error("ResourceNotFoundException") if is_put else await reset(request)

    async with serving(answer) as server, sink_at(server.url) as sink:
        [outcome] = await sink.send([attempt(GROUP)])
    assert isinstance(outcome, Retryable)
    assert outcome.code == "CONNECTION_FAILURE"


async def test_batch_is_in_order_of_time_and_outcomes_in_order_of_attempts() -> None:
    logs = Logs()
    logs.info = {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
    async with serving(logs) as server, sink_at(server.url) as sink:
        outcomes = await sink.send(
            [
                attempt(GROUP, time="2026-11-23T10:00:02Z"),
                attempt(GROUP, b"\xff"),
                attempt(GROUP, time="2026-11-23T10:00:00Z"),
                attempt(GROUP, time="2026-11-23T10:00:01Z"),
            ]
        )
    assert [[event["timestamp"] - TEN_MS for event in batch] for batch in logs.batches] == [[0, 1000, 2000]]
    assert [type(outcome) for outcome in outcomes] == [Rejected, Rejected, Rejected, Delivered]
    assert ["older" in getattr(o, "message", "") for o in outcomes] == [False, False, True, False]


async def test_batch_never_spans_more_than_a_day() -> None:
    logs = Logs()
    times = ["2026-11-23T10:00:00Z", "2026-11-24T10:00:00Z", "2026-11-24T09:59:59Z"]
    async with serving(logs) as server, sink_at(server.url) as sink:
        assert await sink.send([attempt(GROUP, time=time) for time in times]) == [Delivered()] * 3
    assert [len(batch) for batch in logs.batches] == [2, 1]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"timestamp":1795428000123,"message":"hello"}', {"timestamp": TEN_MS + 123, "message": "hello"}),
        (b'{"timestamp":"1795428000123","message":{"a":1}}', {"timestamp": TEN_MS + 123, "message": '{"a":1}'}),
        (b'{"timestamp":"2026-11-23T10:00:00Z","message":"x"}', {"timestamp": TEN_MS, "message": "x"}),
    ],
)
async def test_input_transformer_makes_timestamp_and_message(payload: bytes, expected: dict[str, Any]) -> None:
    logs = Logs()
    async with serving(logs) as server, sink_at(server.url) as sink:
        assert await sink.send([attempt(TRANSFORMED, payload)]) == [Delivered()]
    assert logs.batches == [[expected]]


@pytest.mark.parametrize("payload", [b"{}", b'"text"', b'{"timestamp":"soon","message":"x"}', b'{"timestamp":1}'])
async def test_transformed_payload_of_another_shape_is_rejected(payload: bytes) -> None:
    async with serving(Logs()) as server, sink_at(server.url) as sink:
        [outcome] = await sink.send([attempt(TRANSFORMED, payload)])
    assert isinstance(outcome, Rejected)
    assert outcome.code == "INVALID_PARAMETER"


async def test_throttling_is_retryable() -> None:
    async with serving(lambda _: _throttled()) as server, sink_at(server.url) as sink:
        [outcome] = await sink.send([attempt(GROUP)])
    assert isinstance(outcome, Retryable)
    assert outcome.code == "THROTTLING"


async def _throttled() -> web.Response:
    return error("ThrottlingException")
