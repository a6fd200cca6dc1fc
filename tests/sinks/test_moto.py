"""The sinks against moto's servers, which were written from AWS's models and not from these sinks."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from router.catalog.model import Target
from router.catalog.target_parameters import SqsParameters
from router.sinks.base import Delivered, Rejected
from router.sinks.logs import LogsSink
from router.sinks.sns import SnsSink
from router.sinks.sqs import SqsSink
from router.world import RealWorld, iso_seconds
from tests.sinks.fakes import SECRET, attempt, endpoints_at

Client = Callable[[str], Any]
ACCOUNT = "123456789012"  # moto's own


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def client(url: str) -> Client:
    def make(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=SECRET,
        )

    return make


def bodies(sqs: Any, queue_url: str) -> list[str]:
    got = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    return sorted(message["Body"] for message in got.get("Messages", []))


async def test_messages_arrive_in_a_queue_with_their_attributes(url: str, client: Client) -> None:
    sqs = client("sqs")
    queue_url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    target = Target(id="t", arn=f"arn:aws:sqs:us-east-1:{ACCOUNT}:orders")
    async with endpoints_at(url, "sqs") as endpoints:
        sent = [attempt(target, b'{"n":"\xc3\xa4"}', attributes={"ERROR_CODE": "TIMEOUT"}) for _ in range(3)]
        assert await SqsSink(endpoints).send(sent) == [Delivered()] * 3
    got = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])["Messages"]
    assert [message["Body"] for message in got] == ['{"n":"ä"}'] * 3
    assert got[0]["MessageAttributes"] == {"ERROR_CODE": {"DataType": "String", "StringValue": "TIMEOUT"}}


async def test_fifo_queue_drops_the_repeat_of_an_event_and_not_what_another_target_makes_of_it(
    url: str, client: Client
) -> None:
    sqs = client("sqs")
    queue_url = sqs.create_queue(
        QueueName="orders.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    )["QueueUrl"]
    target = Target(
        id="t",
        arn=f"arn:aws:sqs:us-east-1:{ACCOUNT}:orders.fifo",
        sqs_parameters=SqsParameters(message_group_id="g"),
    )
    async with endpoints_at(url, "sqs") as endpoints:
        for _ in range(2):
            assert await SqsSink(endpoints).send([attempt(target)]) == [Delivered()]
        assert await SqsSink(endpoints).send([attempt(target, b'"made"')]) == [Delivered()]
    assert bodies(sqs, queue_url) == ['"made"', '{"n":1}']


async def test_absent_queue_and_topic_are_no_resource(url: str) -> None:
    queue = Target(id="t", arn=f"arn:aws:sqs:us-east-1:{ACCOUNT}:absent")
    topic = Target(id="t", arn=f"arn:aws:sns:us-east-1:{ACCOUNT}:absent")
    async with endpoints_at(url, "sqs") as endpoints:
        outcomes = await SqsSink(endpoints).send([attempt(queue)])
    async with endpoints_at(url, "sns") as endpoints:
        outcomes += await SnsSink(endpoints).send([attempt(topic)])
    assert [(type(outcome), getattr(outcome, "code", None)) for outcome in outcomes] == [(Rejected, "NO_RESOURCE")] * 2


@pytest.mark.parametrize("count", [1, 3])
async def test_messages_go_through_a_topic(url: str, client: Client, count: int) -> None:
    sqs, sns = client("sqs"), client("sns")
    queue_url = sqs.create_queue(QueueName=f"subscriber-{count}")["QueueUrl"]
    topic_arn = sns.create_topic(Name=f"topic-{count}")["TopicArn"]
    sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:subscriber-{count}",
        Attributes={"RawMessageDelivery": "true"},
    )
    payload = '{"text":"ä & <b> = 100% + more"}'
    async with endpoints_at(url, "sns") as endpoints:
        sent = [attempt(Target(id="t", arn=topic_arn), payload.encode()) for _ in range(count)]
        assert await SnsSink(endpoints).send(sent) == [Delivered()] * count
    assert bodies(sqs, queue_url) == [payload] * count


async def test_events_arrive_in_a_log_group_made_on_first_use(url: str, client: Client) -> None:
    target = Target(id="t", arn=f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/events/orders")
    async with endpoints_at(url, "logs") as endpoints:
        outcomes = await LogsSink(endpoints).send(
            [attempt(target, time=iso_seconds(RealWorld().now_ms())) for _ in range(3)]
        )
    assert outcomes == [Delivered()] * 3
    events = client("logs").filter_log_events(logGroupName="/aws/events/orders")["events"]
    assert [event["message"] for event in events] == ['{"n":1}'] * 3
