"""Which endpoint a target's calls go to, how they are signed, and what failures tell."""

import json

import pytest

from router.config import Endpoint
from router.sinks import failures
from router.sinks.batches import runs_of
from router.sinks.endpoints import Endpoints
from router.sinks.failures import retry_after_s, shown
from router.sinks.http_client import HttpClient, Response
from router.world import RealWorld
from tests.sinks.fakes import KEYS, SECRET, TOKEN, always, endpoints_at, serving

ARN = "arn:aws:sqs:us-east-1:222222222222:orders"


def endpoints(*entries: tuple[str, str, str, str]) -> Endpoints:
    return Endpoints(
        [
            Endpoint(service=service, account=account, region=region, url=url, credentials=KEYS)  # type: ignore[arg-type]
            for service, account, region, url in entries
        ],
        client=HttpClient(),
        world=RealWorld(),
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("sqs", "*", "*", "any")], "any"),
        ([("sqs", "*", "*", "any"), ("sqs", "*", "us-east-1", "region")], "region"),
        ([("sqs", "*", "us-east-1", "region"), ("sqs", "222222222222", "*", "account")], "account"),
        ([("sqs", "222222222222", "*", "account"), ("sqs", "222222222222", "us-east-1", "both")], "both"),
        ([("sqs", "*", "*", "first"), ("sqs", "*", "*", "second")], "first"),
        ([("sns", "*", "*", "topic"), ("sqs", "333333333333", "*", "other")], None),
        ([("sqs", "*", "eu-west-1", "elsewhere")], None),
    ],
)
async def test_most_specific_endpoint_wins(entries: list[tuple[str, str, str, str]], expected: str | None) -> None:
    table = endpoints(*((service, account, region, f"http://{name}") for service, account, region, name in entries))
    found = table.find(ARN)
    assert (found and found.url) == (expected and f"http://{expected}")
    assert table.has("sqs", "222222222222", "us-east-1") == (expected is not None)


async def test_service_is_built_once() -> None:
    table = endpoints(("sqs", "*", "*", "http://any"))
    assert table.find(ARN) is table.find(ARN + "2")


async def test_endpoint_with_a_path_and_port_is_called_there() -> None:
    async with serving(always(200, "{}")) as server, endpoints_at(server.url + "/base/", "sqs") as table:
        service = table.service(ARN)
        await service.json("AmazonSQS.ListQueues", "1.0", b"{}", deadline=table.deadline())
        [(_, path, headers, _)] = server.requests
    assert path == "/base/"
    assert headers["host"] == server.url.removeprefix("http://")
    assert service.url == server.url + "/base"


async def test_secrets_that_an_error_repeats_are_not_told() -> None:
    body = json.dumps(
        {"__type": "SignatureDoesNotMatch", "message": f"canonical x-amz-security-token:{TOKEN} {SECRET}"}
    )
    async with serving(always(403, body)) as server, endpoints_at(server.url, "sqs") as table:
        service = table.service(ARN)
        outcome = await service.json("AmazonSQS.ListQueues", "1.0", b"{}", deadline=table.deadline())
    assert not isinstance(outcome, Response)
    assert outcome.code == "NO_PERMISSIONS"
    assert "canonical x-amz-security-token:***" in outcome.message
    assert [secret for secret in (TOKEN, SECRET) if secret in f"{outcome!r} {service!r} {table!r}"] == []


async def test_each_call_has_the_rest_of_the_deadline() -> None:
    async with serving(always(200, "{}")) as server, endpoints_at(server.url, "sqs") as table:
        outcome = await table.service(ARN).json("X", "1.0", b"{}", deadline=table.deadline() - 100)
    assert not isinstance(outcome, Response)
    assert outcome.code == "TIMEOUT"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5.0),
        (" 5 ", 5.0),
        ("-3", -3.0),
        ("1.5", None),
        ("", None),
        ("nan", None),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 172_800.0),
        ("Mon, 99 Foo 2026", None),
        ("Monday, 23-Nov-26 10:00:30 GMT", 30.0),
        ("Mon Nov 23 10:00:30 2026", 30.0),
        ("Mon, 23 Nov 2026 12:00:30 +0200", 30.0),
        ("999999999999999", 172_800.0),
        ("-999999999999999", -999_999_999_999_999.0),
        ("+5", None),
        ("１", None),
    ],
)
def test_retry_after(text: str, expected: float | None) -> None:
    assert retry_after_s({"retry-after": text}, 1_795_428_000_000) == expected


def test_shown_text_is_bounded_and_plain() -> None:
    assert shown("a\x00b\nc") == "a b c"
    assert len(shown("x" * 10_000)) == failures.TEXT_CHARS_MAX
    assert shown("x" * 490 + "the-secret", ["the-secret"]).endswith("x***")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1], [[0]]),
        ([5, 5, 1], [[0, 1], [2]]),
        ([50, 1, 50], [[0], [1], [2]]),
        ([1, 1, 1, 1, 1], [[0, 1, 2], [3, 4]]),
    ],
)
def test_runs_keep_count_and_bytes(sizes: list[int], expected: list[list[int]]) -> None:
    assert [list(run) for run in runs_of(sizes, 3, 10)] == expected
