"""The SNS sink against a server that answers as SNS does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from router.catalog.model import Target
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable, Sink
from router.sinks.sns import BadXml, SnsSink, parse_xml
from tests.sinks import suite
from tests.sinks.fakes import Answer, always, attempt, endpoints_at, serving

TOPIC = Target(id="t", arn="arn:aws:sns:us-east-1:222222222222:orders")
NAMESPACE = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'


@asynccontextmanager
async def sink_at(url: str, timeout_s: float = 5.0) -> AsyncIterator[Sink]:
    async with endpoints_at(url, "sns", timeout_s=timeout_s) as endpoints:
        yield SnsSink(endpoints)


def answering(**failed: str) -> Answer:
    """All entries are taken but those named: `e1="Code,true"` for Id 1 and SenderFault."""

    async def answer(request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        if form["Action"] == "Publish":
            return web.Response(
                text=f"<PublishResponse {NAMESPACE}><PublishResult><MessageId>m</MessageId></PublishResult>"
                "</PublishResponse>"
            )
        ids = [value for name, value in form.items() if name.endswith(".Id")]
        good = "".join(f"<member><MessageId>m</MessageId><Id>{i}</Id></member>" for i in ids if f"e{i}" not in failed)
        bad = ""
        for i in ids:
            if f"e{i}" in failed:
                code, fault = failed[f"e{i}"].split(",")
                bad += f"<member><Id>{i}</Id><Code>{code}</Code><SenderFault>{fault}</SenderFault></member>"
        return web.Response(
            text=f"<PublishBatchResponse {NAMESPACE}><PublishBatchResult><Failed>{bad}</Failed>"
            f"<Successful>{good}</Successful></PublishBatchResult></PublishBatchResponse>"
        )

    return answer


async def sent(answer: Answer, attempts: list[Attempt]) -> tuple[list[Outcome], list[dict[str, list[str]]]]:
    async with serving(answer) as server, sink_at(server.url) as sink:
        outcomes = await sink.send(attempts)
        return outcomes, [parse_qs(body.decode(), strict_parsing=True) for body in server.bodies]


CASE = suite.Case(sink=sink_at, attempt=lambda _: attempt(TOPIC), success=answering())


@pytest.mark.parametrize("fact", suite.FACTS)
async def test_sns_sink_keeps_the_suite(fact: suite.Fact) -> None:
    await fact(CASE)


async def test_one_message_is_published_by_itself() -> None:
    text = '{"a":"ä & b=c"}'
    outcomes, [form] = await sent(answering(), [attempt(TOPIC, text.encode())])
    assert outcomes == [Delivered()]
    assert form == {
        "Action": ["Publish"],
        "Version": ["2010-03-31"],
        "TopicArn": [TOPIC.arn],
        "Message": [text],
    }


async def test_each_entry_of_a_partial_failure_has_its_own_outcome() -> None:
    outcomes, [form] = await sent(
        answering(e1="InvalidParameter,true", e2="InternalError,false", e3="AuthorizationError,true"),
        [attempt(TOPIC) for _ in range(5)],
    )
    assert form["Action"] == ["PublishBatch"]
    assert [(type(o), getattr(o, "code", None)) for o in outcomes] == [
        (Delivered, None),
        (Rejected, "INVALID_PARAMETER"),
        (Retryable, "ERROR_FROM_TARGET"),
        (Rejected, "NO_PERMISSIONS"),
        (Delivered, None),
    ]


async def test_batch_is_split_by_bytes() -> None:
    outcomes, forms = await sent(answering(), [attempt(TOPIC, b"x" * 100_000) for _ in range(5)])
    assert outcomes == [Delivered()] * 5
    assert [form["Action"][0] for form in forms] == ["PublishBatch", "PublishBatch", "Publish"]


def error_xml(code: str, message: str = "the reason") -> str:
    return (
        f"<ErrorResponse {NAMESPACE}><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{escape(message)}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NotFound", Rejected("NO_RESOURCE", "")),
        (403, "AuthorizationError", Rejected("NO_PERMISSIONS", "")),
        (403, "SignatureDoesNotMatch", Rejected("NO_PERMISSIONS", "")),
        (400, "Throttling", Retryable("THROTTLING", "")),
        (400, "KMSThrottling", Retryable("THROTTLING", "")),
        (400, "KMSAccessDenied", Rejected("NO_PERMISSIONS", "")),
        (400, "EndpointDisabled", Rejected("ERROR_FROM_TARGET", "")),
        (400, "ParameterValueInvalid", Rejected("INVALID_PARAMETER", "")),
        (403, "InvalidSecurity", Rejected("NO_PERMISSIONS", "")),
        (429, "", Retryable("THROTTLING", "")),
        (503, "ServiceUnavailable", Retryable("ERROR_FROM_TARGET", "")),
        (400, "InvalidParameter", Rejected("INVALID_PARAMETER", "")),
        (500, "InternalError", Retryable("ERROR_FROM_TARGET", "")),
    ],
)
async def test_error_of_the_call(status: int, code: str, expected: Outcome) -> None:
    outcomes, _ = await sent(always(status, error_xml(code)), [attempt(TOPIC), attempt(TOPIC)])
    for outcome in outcomes:
        assert isinstance(outcome, type(expected))
        assert not isinstance(outcome, Delivered)
        assert not isinstance(expected, Delivered)
        assert outcome.code == expected.code
        assert outcome.message.endswith("the reason")


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a>" * 100 + "</a>" * 100,
        "<a>",
        "",
        '<?xml version="1.0" encoding="no-such"?><a>&x;</a>',
    ],
)
def test_xml_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(BadXml):
        parse_xml(text.encode())
