"""The other side of the delivery benchmark: it answers the hub's sinks and source as real ones do, and counts."""

from collections.abc import Iterator

import msgspec
import pytest

from loadtest.fast_targets import FastTarget
from router.catalog.model import Target
from router.sinks.base import Delivered
from router.sinks.http_client import HttpClient
from router.sinks.sqs import SqsSink
from tests.sinks.fakes import attempt, endpoints_at

QUEUE = Target(id="t", arn="arn:aws:sqs:us-east-1:222222222222:orders")


def target_of(kind: str) -> Iterator[FastTarget]:
    with FastTarget(kind, messages=20) as target:
        yield target


@pytest.fixture
def http() -> Iterator[FastTarget]:
    yield from target_of("http")


@pytest.fixture
def endpoint() -> Iterator[FastTarget]:
    yield from target_of("sqs-endpoint")


@pytest.fixture
def source() -> Iterator[FastTarget]:
    yield from target_of("sqs-source")


async def test_http_target_takes_and_counts_every_request(http: FastTarget) -> None:
    client = HttpClient()
    for body in (b"", b"x" * 100_000):
        url = f"http://127.0.0.1:{http.port}/hook"
        assert (await client.request("POST", url, headers={}, body=body, timeout_s=20)).status == 200
    await client.close()
    assert http.counts() == {"requests": 2, "messages": 2, "deleted": 0}


async def test_endpoint_takes_and_counts_every_message(endpoint: FastTarget) -> None:
    async with endpoints_at(f"http://127.0.0.1:{endpoint.port}", "sqs") as endpoints:
        sink = SqsSink(endpoints)
        assert await sink.send([attempt(QUEUE)] * 10) == [Delivered()] * 10
        assert await sink.send([attempt(QUEUE)] * 3) == [Delivered()] * 3
    assert endpoint.counts() == {"requests": 2, "messages": 13, "deleted": 0}


async def test_source_gives_each_message_once_and_counts_what_is_deleted(source: FastTarget) -> None:
    async with endpoints_at(f"http://127.0.0.1:{source.port}", "sqs") as endpoints:
        service = endpoints.service(QUEUE.arn)

        async def call(operation: str, body: bytes = b"{}") -> dict[str, list[dict[str, str]]]:
            answer = await service.json(f"AmazonSQS.{operation}", "1.0", body, deadline=endpoints.deadline())
            found: dict[str, list[dict[str, str]]] = msgspec.json.decode(getattr(answer, "body", b""))
            return found

        received = [await call("ReceiveMessage") for _ in range(3)]
        assert [len(one.get("Messages", [])) for one in received] == [10, 10, 0]
        messages = [message for one in received for message in one.get("Messages", [])]
        assert len({message["MessageId"] for message in messages}) == 20
        deletions = [{"Id": str(n), "ReceiptHandle": messages[n]["ReceiptHandle"]} for n in range(4)]
        deleted = await call("DeleteMessageBatch", msgspec.json.encode({"Entries": deletions}))
    assert [one["Id"] for one in deleted["Successful"]] == ["0", "1", "2", "3"]
    assert source.counts() == {"requests": 4, "messages": 20, "deleted": 4}
