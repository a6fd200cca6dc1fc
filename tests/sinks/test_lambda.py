"""The Lambda sink against a server that answers as Lambda does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from router.catalog.model import Target
from router.sinks.base import Delivered, Outcome, Rejected, Retryable, Sink
from router.sinks.lambda_ import LambdaSink
from tests.sinks import suite
from tests.sinks.fakes import always, attempt, endpoints_at, serving

ARN = "arn:aws:lambda:us-east-1:222222222222:function:work"
ENCODED = "arn%3Aaws%3Alambda%3Aus-east-1%3A222222222222%3Afunction%3Awork"
FUNCTION = Target(id="t", arn=ARN)


@asynccontextmanager
async def sink_at(url: str, timeout_s: float = 5.0) -> AsyncIterator[Sink]:
    async with endpoints_at(url, "lambda", timeout_s=timeout_s) as endpoints:
        yield LambdaSink(endpoints)


CASE = suite.Case(sink=sink_at, attempt=lambda _: attempt(FUNCTION), success=always(202))


@pytest.mark.parametrize("fact", suite.FACTS)
async def test_lambda_sink_keeps_the_suite(fact: suite.Fact) -> None:
    await fact(CASE)


@pytest.mark.parametrize(
    ("suffix", "query"), [("", ""), (":live", "?Qualifier=live"), (":$LATEST", "?Qualifier=%24LATEST")]
)
async def test_function_is_invoked_as_an_event_by_its_arn(suffix: str, query: str) -> None:
    async with serving(always(202)) as server, sink_at(server.url) as sink:
        outcomes = await sink.send([attempt(Target(id="t", arn=ARN + suffix), trace_header="Root=1-2-3")])
        [(method, path, headers, body)] = server.requests
    assert outcomes == [Delivered()]
    assert (method, path) == ("POST", f"/2015-03-31/functions/{ENCODED}/invocations{query}")
    assert headers["x-amz-invocation-type"] == "Event"
    assert headers["x-amzn-trace-id"] == "Root=1-2-3"
    assert "/us-east-1/lambda/aws4_request" in headers["authorization"]
    assert body == b'{"n":1}'


async def test_trace_header_that_is_no_header_value_is_left_out() -> None:
    async with serving(always(202)) as server, sink_at(server.url) as sink:
        assert await sink.send([attempt(FUNCTION, trace_header="a\r\nX-Evil: 1")]) == [Delivered()]
        assert "x-amzn-trace-id" not in server.requests[0][2]


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (404, "ResourceNotFoundException", Rejected("NO_RESOURCE", "")),
        (403, "AccessDeniedException", Rejected("NO_PERMISSIONS", "")),
        (403, "", Rejected("NO_PERMISSIONS", "")),
        (429, "TooManyRequestsException", Retryable("THROTTLING", "")),
        (502, "EC2ThrottledException", Retryable("THROTTLING", "")),
        (409, "ResourceConflictException", Retryable("RESOURCE_MODIFICATION_COLLISION", "")),
        (409, "SnapStartNotReadyException", Retryable("ERROR_FROM_TARGET", "")),
        (409, "CodeArtifactUserPendingException", Retryable("ERROR_FROM_TARGET", "")),
        (409, "RuntimeVersionDeletedException", Rejected("ERROR_FROM_TARGET", "")),
        (408, "EFSMountTimeoutException", Retryable("TIMEOUT", "")),
        (402, "ServiceQuotaExceededException", Retryable("RESOURCE_LIMIT_EXCEEDED", "")),
        (502, "ResourceNotReadyException", Retryable("ERROR_FROM_TARGET", "")),
        (502, "KMSAccessDeniedException", Rejected("NO_PERMISSIONS", "")),
        (415, "UnsupportedMediaTypeException", Rejected("ERROR_FROM_TARGET", "")),
        (500, "ServiceException", Retryable("ERROR_FROM_TARGET", "")),
        (413, "RequestTooLargeException", Rejected("INVALID_PARAMETER", "")),
        (400, "InvalidRequestContentException", Rejected("INVALID_PARAMETER", "")),
    ],
)
async def test_error_of_the_call(status: int, error: str, expected: Outcome) -> None:
    answer = always(status, json.dumps({"Type": "User", "Message": "why"}), x_amzn_errortype=f"{error}:http://x/")
    async with serving(answer) as server, sink_at(server.url) as sink:
        [outcome] = await sink.send([attempt(FUNCTION)])
    assert not isinstance(outcome, Delivered)
    assert not isinstance(expected, Delivered)
    assert (type(outcome), outcome.code) == (type(expected), expected.code)
