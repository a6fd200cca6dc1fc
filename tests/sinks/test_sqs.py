"""The SQS sink against a server that answers as SQS does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from router import limits
from router.catalog.model import Target
from router.catalog.target_parameters import SqsParameters
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable, Sink
from router.sinks.sqs import SqsSink, _Entry, _entry
from tests.sinks import suite
from tests.sinks.fakes import Answer, always, attempt, endpoints_at, serving

QUEUE = Target(id="t", arn="arn:aws:sqs:us-east-1:222222222222:orders")
FIFO = Target(
    id="t",
    arn="arn:aws:sqs:us-east-1:222222222222:orders.fifo",
    sqs_parameters=SqsParameters(message_group_id="$.detail.group"),
)


@asynccontextmanager
async def sink_at(url: str, timeout_s: float = 5.0) -> AsyncIterator[Sink]:
    async with endpoints_at(url, "sqs", timeout_s=timeout_s) as endpoints:
        yield SqsSink(endpoints)


def answering(**failed: dict[str, Any]) -> Answer:
    """All entries are taken but those named (`e1` is the entry of Id 1)."""

    async def answer(request: web.Request) -> web.Response:
        ids = [entry["Id"] for entry in (await request.json())["Entries"]]
        return web.json_response(
            {
                "Successful": [
                    {"Id": i, "MessageId": "m", "MD5OfMessageBody": "x"} for i in ids if f"e{i}" not in failed
                ],
                "Failed": [{"Id": i, **failed[f"e{i}"]} for i in ids if f"e{i}" in failed],
            }
        )

    return answer


async def sent(answer: Answer, attempts: list[Attempt]) -> tuple[list[Outcome], list[Any]]:
    """The outcomes, and the requests' bodies."""
    async with serving(answer) as server, sink_at(server.url) as sink:
        outcomes = await sink.send(attempts)
        return outcomes, [json.loads(body) for body in server.bodies]


CASE = suite.Case(sink=sink_at, attempt=lambda _: attempt(QUEUE), success=answering())


@pytest.mark.parametrize("fact", suite.FACTS)
async def test_sqs_sink_keeps_the_suite(fact: suite.Fact) -> None:
    await fact(CASE)


async def test_request_is_signed_send_message_batch() -> None:
    async with serving(answering()) as server, sink_at(server.url) as sink:
        await sink.send([attempt(QUEUE, b'{"n":"\xc3\xa4"}', trace_header="Root=1-2-3"), attempt(QUEUE)])
        [(method, path, headers, body)] = server.requests
    assert (method, path) == ("POST", "/")
    assert headers["x-amz-target"] == "AmazonSQS.SendMessageBatch"
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-east-1/sqs/aws4_request" in headers["authorization"]
    assert json.loads(body) == {
        "QueueUrl": f"{server.url}/222222222222/orders",
        "Entries": [
            {
                "Id": "0",
                "MessageBody": '{"n":"ä"}',
                "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}},
            },
            {"Id": "1", "MessageBody": '{"n":1}'},
        ],
    }


async def test_dead_letter_attributes_go_as_strings() -> None:
    _, [body] = await sent(answering(), [attempt(QUEUE, attributes={"ERROR_CODE": "TIMEOUT"})])
    assert body["Entries"][0]["MessageAttributes"] == {"ERROR_CODE": {"DataType": "String", "StringValue": "TIMEOUT"}}


async def test_fifo_message_has_its_group_from_the_event_and_leaves_deduplication_to_the_queue() -> None:
    _, [body] = await sent(answering(), [attempt(FIFO, event_id="e-1"), attempt(FIFO, b'"other"', event_id="e-1")])
    assert body["Entries"] == [
        {"Id": "0", "MessageBody": '{"n":1}', "MessageGroupId": "g 1"},
        {"Id": "1", "MessageBody": '"other"', "MessageGroupId": "g 1"},
    ]


async def test_trace_header_that_no_queue_takes_is_left_out() -> None:
    outcomes, [body] = await sent(answering(), [attempt(QUEUE, trace_header="Root=1\x01")])
    assert outcomes == [Delivered()]
    assert "MessageSystemAttributes" not in body["Entries"][0]


@pytest.mark.parametrize(
    "target",
    [
        Target(id="t", arn=FIFO.arn),
        Target(id="t", arn=FIFO.arn, sqs_parameters=SqsParameters(message_group_id="$.detail.absent")),
    ],
)
async def test_fifo_message_without_group_is_rejected(target: Target) -> None:
    [outcome], bodies = await sent(answering(), [attempt(target)])
    assert isinstance(outcome, Rejected)
    assert outcome.code == "INVALID_PARAMETER"
    assert bodies == []


async def test_each_entry_of_a_partial_failure_has_its_own_outcome() -> None:
    answer = answering(
        e1={"Code": "InvalidMessageContents", "Message": "bad text", "SenderFault": True},
        e2={"Code": "InternalError", "Message": "later", "SenderFault": False},
        e3={"Code": "KmsThrottled", "SenderFault": True},
    )
    outcomes, _ = await sent(answer, [attempt(QUEUE) for _ in range(5)])
    assert [(type(o), getattr(o, "code", None)) for o in outcomes] == [
        (Delivered, None),
        (Rejected, "INVALID_PARAMETER"),
        (Retryable, "ERROR_FROM_TARGET"),
        (Retryable, "THROTTLING"),
        (Delivered, None),
    ]


async def test_a_batch_that_is_refused_as_a_whole_is_taken_entry_by_entry() -> None:
    take = answering()

    async def answer(request: web.Request) -> web.StreamResponse:
        if len((await request.json())["Entries"]) > 1:
            return web.json_response({"__type": "com.amazonaws.sqs#BatchRequestTooLong"}, status=400)
        return await take(request)

    outcomes, bodies = await sent(answer, [attempt(QUEUE) for _ in range(3)])
    assert outcomes == [Delivered()] * 3
    assert [len(body["Entries"]) for body in bodies] == [3, 1, 1, 1]


async def test_entry_that_the_answer_leaves_out_is_retried() -> None:
    outcomes, _ = await sent(always(200, json.dumps({"Successful": [{"Id": "0"}]})), [attempt(QUEUE), attempt(QUEUE)])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Retryable]


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, "com.amazonaws.sqs#QueueDoesNotExist", Rejected("NO_RESOURCE", "")),
        (400, "AWS.SimpleQueueService.NonExistentQueue", Rejected("NO_RESOURCE", "")),
        (400, "com.amazon.coral.service#AccessDeniedException", Rejected("NO_PERMISSIONS", "")),
        (403, "InvalidSignatureException", Rejected("NO_PERMISSIONS", "")),
        (400, "com.amazonaws.sqs#RequestThrottled", Retryable("THROTTLING", "")),
        (400, "ThrottlingException", Retryable("THROTTLING", "")),
        (400, "com.amazonaws.sqs#InvalidAttributeValue", Rejected("INVALID_PARAMETER", "")),
        (400, "com.amazonaws.sqs#InvalidAddress", Rejected("NO_RESOURCE", "")),
        (400, "com.amazonaws.sqs#KmsDisabled", Rejected("NO_RESOURCE", "")),
        (400, "com.amazonaws.sqs#KmsAccessDenied", Rejected("NO_PERMISSIONS", "")),
        (400, "com.amazonaws.sqs#KmsThrottled", Retryable("THROTTLING", "")),
        (400, "com.amazonaws.sqs#UnsupportedOperation", Rejected("ERROR_FROM_TARGET", "")),
        (503, "ServiceUnavailable", Retryable("ERROR_FROM_TARGET", "")),
        (404, "", Rejected("NO_RESOURCE", "")),
        (403, "", Rejected("NO_PERMISSIONS", "")),
    ],
)
async def test_error_of_the_call(status: int, error: str, expected: Outcome) -> None:
    assert not isinstance(expected, Delivered)
    outcomes, _ = await sent(
        always(status, json.dumps({"__type": error, "message": "the reason"})), [attempt(QUEUE), attempt(QUEUE)]
    )
    for outcome in outcomes:
        assert isinstance(outcome, type(expected))
        assert not isinstance(outcome, Delivered)
        assert outcome.code == expected.code
        assert "the reason" in outcome.message


async def test_entry_that_fails_a_whole_call_does_not_fail_the_others() -> None:
    good = answering()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "poison" in await request.text():
            return web.json_response({"__type": "x#InvalidMessageContents"}, status=400)
        return await good(request)

    outcomes, bodies = await sent(answer, [attempt(QUEUE), attempt(QUEUE, b"poison"), attempt(QUEUE)])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected, Delivered]
    assert [len(body["Entries"]) for body in bodies] == [3, 1, 1, 1]


async def test_batch_is_split_by_bytes() -> None:
    outcomes, bodies = await sent(answering(), [attempt(QUEUE, b"x" * 400_000) for _ in range(5)])
    assert outcomes == [Delivered()] * 5
    assert [len(body["Entries"]) for body in bodies] == [2, 2, 1]


@pytest.mark.parametrize("payload", [b"x" * (limits.MESSAGE_BYTES_MAX + 1), b'"\x01"', b"", b"\xff", "\ufffe".encode()])
async def test_payload_that_no_queue_takes_is_rejected_alone(payload: bytes) -> None:
    outcomes, bodies = await sent(answering(), [attempt(QUEUE), attempt(QUEUE, payload), attempt(QUEUE)])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected, Delivered]
    assert sum(len(body["Entries"]) for body in bodies) == 2


async def test_an_endpoint_that_knows_the_queue_by_another_url_is_asked_for_it_once() -> None:
    own_url = "http://sqs.example/222222222222/orders"
    take = answering()

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.headers["X-Amz-Target"] == "AmazonSQS.GetQueueUrl":
            assert body == {"QueueName": "orders", "QueueOwnerAWSAccountId": "222222222222"}
            return web.json_response({"QueueUrl": own_url})
        if body["QueueUrl"] != own_url:
            return web.json_response({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"}, status=400)
        return await take(request)

    async with serving(answer) as server, sink_at(server.url) as sink:
        for _ in range(2):
            assert await sink.send([attempt(QUEUE)]) == [Delivered()]
        targets = [headers["x-amz-target"].rpartition(".")[2] for _, _, headers, _ in server.requests]
    assert targets == ["SendMessageBatch", "GetQueueUrl", "SendMessageBatch", "SendMessageBatch"]


@given(st.one_of(st.text(), st.text(alphabet="a\x00\x0b\x7f\x85\t\n\ue000\ufffe\uffffé😀"), st.binary(max_size=8)))
def test_body_is_taken_if_every_character_of_it_is_text_to_sqs(body: str | bytes) -> None:
    payload = body if isinstance(body, bytes) else body.encode()
    taken = isinstance(_entry("0", attempt(QUEUE, payload), is_fifo=False), _Entry)
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = ""
    allowed = ((0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
    assert taken == (
        text != "" and all(one in "\t\n\r" or any(low <= ord(one) <= high for low, high in allowed) for one in text)
    )
