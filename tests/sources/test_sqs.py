"""The SQS source against moto's SQS server, and against servers that fail."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import boto3
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer

from router.config import Keys
from router.config import SqsSource as SqsSourceConfig
from router.core.event import Location, message_event_id
from router.metrics import QueueSourceCounters
from router.sinks.http_client import HttpClient
from router.sources.outcome import THROTTLED, Refused, Taken
from router.sources.sqs import BadMessage, Message, SqsSource, read_message
from router.store.base import StoreError
from router.world import RealWorld
from tests.sinks.fakes import SECRET, Answer, hang, refused_url, serving

KEYS = Keys(access_key_id="AKIDEXAMPLE", secret_access_key=SECRET)
QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:q"
ENTRY = {"Source": "shop", "DetailType": "Order", "Detail": "{}"}
ENVELOPE = {"version": "0", "id": "e-1", "detail-type": "Order", "source": "aws.s3", "detail": {}}


class FakeIntake:
    """Takes everything, or answers as told; `calls` keeps what each call brought."""

    def __init__(self) -> None:
        self.calls: list[tuple[Location, str, bool, list[list[tuple[bytes, str]]]]] = []
        self.answer: Callable[[list[tuple[bytes, str]]], Taken | Refused] = lambda message: Taken(message[0][1])
        self.fault: Exception | None = None
        self.before: Callable[[], Any] | None = None
        self.called = asyncio.Event()

    async def put_messages(
        self, location: Location, bus: str, *, trusted: bool, messages: Sequence[Message]
    ) -> Sequence[Taken | Refused]:
        self.calls.append((location, bus, trusted, [list(message) for message in messages]))
        self.called.set()
        if self.before is not None:
            await self.before()
        if self.fault is not None:
            raise self.fault
        return [self.answer(list(message)) for message in messages]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(event) for *_, messages in self.calls for message in messages for event, _ in message]

    @property
    def ids(self) -> list[str]:
        return [event_id for *_, messages in self.calls for message in messages for _, event_id in message]


class Queue:
    """A fresh queue on moto's server."""

    def __init__(self, endpoint: str, name: str, visibility_s: int) -> None:
        self.endpoint = endpoint
        self._sqs = boto3.client(
            "sqs",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=SECRET,
        )
        self.url = self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(visibility_s)})[
            "QueueUrl"
        ]

    async def send(self, *bodies: Any) -> list[str]:
        """The messages' ids."""
        texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        sent = await asyncio.to_thread(
            self._sqs.send_message_batch,
            QueueUrl=self.url,
            Entries=[{"Id": str(index), "MessageBody": text} for index, text in enumerate(texts)],
        )
        return [entry["MessageId"] for entry in sent["Successful"]]

    async def left(self) -> int:
        """Messages in the queue, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = await asyncio.to_thread(self._sqs.get_queue_attributes, QueueUrl=self.url, AttributeNames=names)
        return sum(int(value) for value in got["Attributes"].values())


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def make_queue(moto_url: str, request: pytest.FixtureRequest) -> Callable[..., Queue]:
    def make(visibility_s: int = 30) -> Queue:
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
        return Queue(moto_url, name, visibility_s)

    return make


def config(endpoint: str, url: str, **more: Any) -> SqsSourceConfig:
    settings: dict[str, Any] = {"pollers": 1, "wait_s": 0, **more}
    return SqsSourceConfig(
        queue_url=url,
        endpoint=endpoint,
        queue_region="us-east-1",
        credentials=KEYS,
        account="111111111111",
        region="eu-west-1",
        **settings,
    )


@asynccontextmanager
async def running(settings: SqsSourceConfig, intake: FakeIntake, **more: Any) -> AsyncIterator[SqsSource]:
    client = HttpClient()
    source = SqsSource(
        settings,
        intake=intake,
        client=client,
        world=RealWorld(),
        counters=QueueSourceCounters(),
        **{"failure": lambda: None, "backoff_base_s": 0.01, "empty_receive_s_min": 0.05, **more},
    )
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await client.close()


async def until(fact: Callable[[], bool], what: str) -> None:
    for _ in range(1000):
        if fact():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never came true: {what}")


async def test_untrusted_messages_are_put_and_then_deleted(make_queue: Callable[..., Queue]) -> None:
    queue, intake = make_queue(), FakeIntake()
    ids = await queue.send(ENTRY, [{**ENTRY, "Source": "a"}, {**ENTRY, "Source": "b"}])
    async with running(config(queue.endpoint, queue.url, bus="orders"), intake) as source:
        await until(lambda: source.counters.deleted == 2, "both messages deleted")
    assert await queue.left() == 0
    assert {(location, bus, trusted) for location, bus, trusted, _ in intake.calls} == {
        (Location("111111111111", "eu-west-1"), "orders", False)
    }
    assert sorted(event["Source"] for event in intake.events) == ["a", "b", "shop"]
    arn = "arn:aws:sqs:us-east-1:123456789012:" + queue.url.rpartition("/")[2]
    assert sorted(intake.ids) == sorted(
        [message_event_id(arn, ids[0], 0), message_event_id(arn, ids[1], 0), message_event_id(arn, ids[1], 1)]
    )
    assert (source.counters.received, source.counters.taken, source.counters.refused) == (2, 3, 0)


async def test_trusted_messages_are_unwrapped(make_queue: Callable[..., Queue]) -> None:
    queue, intake = make_queue(), FakeIntake()
    wrapped = {"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": json.dumps(ENVELOPE)}
    about_notifications = {**ENVELOPE, "detail": {"Type": "Notification"}}
    await queue.send(ENVELOPE, wrapped, about_notifications)
    async with running(config(queue.endpoint, queue.url, trusted=True), intake) as source:
        await until(lambda: source.counters.deleted == 3, "all messages deleted")
    assert {trusted for _, _, trusted, _ in intake.calls} == {True}
    assert sorted(intake.events, key=str) == sorted([ENVELOPE, ENVELOPE, about_notifications], key=str)


async def test_one_receive_is_one_call_of_the_intake(make_queue: Callable[..., Queue]) -> None:
    queue, intake = make_queue(), FakeIntake()
    await queue.send(*[[ENTRY] * 10 for _ in range(10)])
    async with running(config(queue.endpoint, queue.url), intake) as source:
        await until(lambda: source.counters.deleted == 10, "all messages deleted")
    assert [len(messages) for *_, messages in intake.calls] == [10]
    assert source.counters.taken == 100


async def test_message_that_cannot_be_read_or_taken_is_left_and_told_once(
    make_queue: Callable[..., Queue], caplog: pytest.LogCaptureFixture
) -> None:
    queue, intake = make_queue(visibility_s=1), FakeIntake()
    intake.answer = lambda message: (
        Refused("MalformedDetail", "Detail is malformed.") if b"evil" in message[0][0] else (Taken(message[0][1]))
    )
    await queue.send("not json", {**ENTRY, "Source": "evil"}, ENTRY, [ENTRY, 7], [])
    async with running(config(queue.endpoint, queue.url), intake) as source:
        await until(lambda: source.counters.deleted == 1 and source.counters.refused >= 8, "the bad come again")
        assert source.state.ok
        source.tell_refused()
        source.tell_refused()
    assert await queue.left() == 4
    [told] = [record for record in caplog.records if record.name == "router.sources.sqs"]
    assert told.levelno == logging.WARNING
    assert "cannot be taken and stay in the queue" in told.message


async def test_message_is_deleted_only_after_the_intake_and_comes_again_with_the_same_ids(
    make_queue: Callable[..., Queue],
) -> None:
    queue, intake = make_queue(visibility_s=1), FakeIntake()
    intake.fault = StoreError("the disk is full")
    await queue.send([ENTRY, ENTRY])
    async with running(config(queue.endpoint, queue.url), intake) as source:
        await until(lambda: len(intake.calls) >= 2, "the message comes again")
        assert await queue.left() == 1
        assert (source.counters.deleted, source.counters.refused) == (0, 0)
        assert source.postponed >= 2
        assert not source.state.ok
        intake.fault = None
        await until(lambda: source.counters.deleted == 1, "the message is deleted")
        await until(lambda: source.state.ok, "the source is well again")
    assert await queue.left() == 0
    assert len(set(intake.ids)) == 2


async def test_throttled_message_is_left_and_not_counted_as_refused(make_queue: Callable[..., Queue]) -> None:
    queue, intake = make_queue(visibility_s=1), FakeIntake()
    intake.answer = lambda _: THROTTLED
    await queue.send(ENTRY)
    async with running(config(queue.endpoint, queue.url), intake) as source:
        await until(lambda: source.postponed >= 1, "the message is postponed")
        intake.answer = lambda message: Taken(message[0][1])
        await until(lambda: source.counters.deleted == 1, "the message is deleted")
    assert source.counters.refused == 0


async def test_nothing_is_received_while_the_store_fails_and_a_message_is_received_once(
    make_queue: Callable[..., Queue],
) -> None:
    queue, intake = make_queue(), FakeIntake()
    failure: str | None = "the store is full"
    await queue.send(ENTRY)
    async with running(config(queue.endpoint, queue.url, pollers=3), intake, failure=lambda: failure) as source:
        await until(lambda: not source.state.ok, "the source says why it waits")
        await asyncio.sleep(0.3)
        assert (source.counters.received, source.counters.receive_errors, source.postponed) == (0, 0, 0)
        assert source.state.error == "the hub cannot take events: the store is full"
        failure = None
        await until(lambda: source.counters.deleted == 1, "the message is deleted")
        await until(lambda: source.state.ok, "the source is well again")
    assert source.counters.received == 1
    assert await queue.left() == 0


async def test_cancelled_source_never_deletes_what_the_intake_has_not_taken(make_queue: Callable[..., Queue]) -> None:
    queue, intake = make_queue(), FakeIntake()
    intake.before = lambda: asyncio.sleep(3600)
    await queue.send(ENTRY)
    async with running(config(queue.endpoint, queue.url), intake, take_s_max=0.2) as source:
        await asyncio.wait_for(intake.called.wait(), 10)
    assert (source.counters.taken, source.counters.deleted, source.postponed) == (0, 0, 1)
    assert await queue.left() == 1


async def test_cancelled_source_finishes_what_it_has_in_hand(make_queue: Callable[..., Queue]) -> None:
    queue, intake = make_queue(), FakeIntake()
    intake.before = lambda: asyncio.sleep(0.2)
    await queue.send(ENTRY)
    async with running(config(queue.endpoint, queue.url), intake) as source:
        await asyncio.wait_for(intake.called.wait(), 10)
    assert (source.counters.taken, source.counters.deleted) == (1, 1)
    assert await queue.left() == 0


async def test_errors_of_the_endpoint_back_off_and_do_not_end_the_source() -> None:
    intake = FakeIntake()
    async with refused_url() as url, running(config(url, f"{url}/123456789012/q"), intake) as source:
        await until(lambda: source.counters.receive_errors >= 3, "several tries")
        assert not source.state.ok
        assert source.state.error is not None
        assert "CONNECTION_FAILURE" in source.state.error
        assert SECRET not in repr(source.state)


async def test_source_goes_on_when_the_endpoint_is_back() -> None:
    statuses = iter([500, 503, 403])
    received = web.json_response

    async def answer(request: web.Request) -> web.Response:
        if request.headers["X-Amz-Target"].endswith("DeleteMessageBatch"):
            return received({"Successful": [{"Id": "0"}]})
        if status := next(statuses, None):
            return received({"__type": "Oops", "message": f"{SECRET} {status}"}, status=status)
        return received({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": json.dumps(ENTRY)}]})

    intake = FakeIntake()
    async with serving(answer) as server, running(config(server.url, f"{server.url}/123456789012/q"), intake) as source:
        await until(lambda: source.counters.receive_errors == 3, "three errors")
        assert SECRET not in repr(source.state)
        await until(lambda: source.counters.deleted > 0, "a message deleted")
        assert source.state.ok
    assert set(intake.ids) == {message_event_id(QUEUE_ARN, "m", 0)}


async def test_failed_delete_is_tried_again() -> None:
    deletes: list[list[str]] = []
    is_full = True

    async def answer(request: web.Request) -> web.Response:
        nonlocal is_full
        if request.headers["X-Amz-Target"].endswith("DeleteMessageBatch"):
            ids = [entry["Id"] for entry in (await request.json())["Entries"]]
            deletes.append(ids)
            if len(deletes) == 1:
                return web.json_response({}, status=500)
            return web.json_response({"Successful": [{"Id": ids[0]}], "Failed": [{"Id": i} for i in ids[1:]]})
        batch, is_full = is_full, False
        names = ["a", "b"] if batch else []
        return web.json_response(
            {"Messages": [{"MessageId": n, "ReceiptHandle": n, "Body": json.dumps(ENTRY)} for n in names]}
        )

    async with serving(answer) as server, running(config(server.url, "http://q/queue"), FakeIntake()) as source:
        await until(lambda: source.counters.deleted == 2, "both deleted")
    assert deletes == [["0", "1"], ["0", "1"], ["1"]]
    assert source.delete_errors == 0


async def test_empty_queue_is_not_asked_in_a_busy_loop() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    intake = FakeIntake()
    async with (
        serving(answer) as server,
        running(config(server.url, "http://q/queue"), intake, empty_receive_s_min=3600) as source,
    ):
        await until(lambda: bool(server.requests), "one receive")
        await asyncio.sleep(0.1)
        assert len(server.requests) == 1
        assert source.state.ok
    assert intake.calls == []


async def test_each_poller_waits_for_messages_in_its_own_receive() -> None:
    waits: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        waits.append((await request.json())["WaitTimeSeconds"])
        return await hang(request)

    settings = {"pollers": 3, "wait_s": 20}
    async with serving(answer) as server, running(config(server.url, "http://q/queue", **settings), FakeIntake()):
        await until(lambda: len(waits) == 3, "three receives at once")
    assert waits == [20, 20, 20]


@pytest.mark.parametrize("answer", [{"Messages": 7}, {"Messages": [{"Body": 1}]}, []])
async def test_answer_of_another_shape_is_an_error_of_the_endpoint(answer: Any) -> None:
    async def nonsense(_: web.Request) -> web.Response:
        return web.json_response(answer)

    handler: Answer = nonsense
    async with serving(handler) as server, running(config(server.url, "http://q/queue"), FakeIntake()) as source:
        await until(lambda: source.counters.receive_errors >= 2, "errors counted")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (' {"a": 1} ', [b'{"a": 1}']),
        ('[{"a":1}, {"b":2}]', [b'{"a":1}', b'{"b":2}']),
        ('{"Type":"Notification","Message":"[{}]"}', [b"{}"]),
        ('{"Type":"Notification"}', [b'{"Type":"Notification"}']),
    ],
)
def test_trusted_body_is_read(body: str, expected: list[bytes]) -> None:
    assert [text for text, _ in read_message(QUEUE_ARN, "m", body, trusted=True)] == expected


def test_untrusted_body_is_not_unwrapped() -> None:
    body = '{"Type":"Notification","Message":"{}"}'
    assert [text for text, _ in read_message(QUEUE_ARN, "m", body, trusted=False)] == [body.encode()]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "7",
        '"{}"',
        "null",
        "[]",
        "[7]",
        "[{},[]]",
        '{"a":1} {"b":2}',
        "[{}",
        '{"Type":"Notification","Message":"x"}',
    ],
)
def test_body_that_brings_no_events_is_refused(body: str) -> None:
    with pytest.raises(BadMessage):
        read_message(QUEUE_ARN, "m", body, trusted=True)
