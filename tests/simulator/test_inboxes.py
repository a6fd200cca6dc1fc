"""Inboxes of every kind: first use, listing and reading for the hub's API, refusals; and the sinks that fill them."""

from typing import Any

import msgspec
import pytest

from router.catalog.kinds import KINDS as TARGET_KINDS
from router.catalog.model import InputTransformer, Target
from router.catalog.target_parameters import KinesisParameters, SqsParameters
from router.core.event import Event, Location, envelope
from router.core.hops import Hops
from router.errors import ResourceNotFoundException
from router.simulator.records import KINDS
from router.sinks.base import Accepted, Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.inbox import inbox_sinks
from router.store.base import Batch
from tests.simulator.bench import FIFO, FIFO_URL, QUEUE, Bench

TOPIC = "arn:aws:sns:us-east-1:111111111111:alerts"
FUNCTION = "arn:aws:lambda:us-east-1:111111111111:function:f"
GROUP = "arn:aws:logs:us-east-1:111111111111:log-group:/g"


async def test_inboxes_are_listed_and_read_without_removing(bench: Bench) -> None:
    await bench.queue()
    await bench.deposit("one", "two", "three", arn=TOPIC)
    await bench.deposit("f", arn=FUNCTION)
    await bench.reopen()
    assert [(info.kind, info.messages) for info in bench.inboxes.page()] == [("lambda", 1), ("sns", 3), ("sqs", 0)]
    assert [info.arn for info in bench.inboxes.page(after=FUNCTION, limit=1)] == [TOPIC]
    assert [info.arn for info in bench.inboxes.page(kind="sqs", account="111111111111")] == [QUEUE]
    first = bench.inboxes.read(TOPIC, limit=2)
    rest = bench.inboxes.read(TOPIC, after=first[-1].position)
    assert [row.message.body for row in first + rest] == [b"one", b"two", b"three"]
    await bench.inboxes.purge(TOPIC)
    assert bench.inboxes.describe(TOPIC).messages == 0
    await bench.inboxes.delete(TOPIC)
    with pytest.raises(ResourceNotFoundException):
        bench.inboxes.read(TOPIC)


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (QUEUE, "NO_RESOURCE"),
        ("nonsense", "INVALID_PARAMETER"),
        ("arn:aws:ec2:us-east-1:111111111111:instance/i", "NO_RESOURCE"),
    ],
)
async def test_deposits_without_an_inbox_are_rejected(bench: Bench, arn: str, code: str) -> None:
    batch = Batch()
    outcome = bench.inboxes.deposit(batch, arn=arn, body=b"x")
    assert isinstance(outcome, Rejected)
    assert (outcome.code, batch.ops) == (code, [])


async def test_a_full_inbox_is_retryable_and_counts_its_own_batch(bench: Bench) -> None:
    bench.messages_max = 2
    await bench.reopen()
    batch = Batch()
    outcomes = [bench.inboxes.deposit(batch, arn=TOPIC, body=b"x") for _ in range(3)]
    await bench.store.commit(batch)
    assert outcomes[:2] == [None, None]
    assert isinstance(outcomes[2], Retryable)
    assert outcomes[2].code == "RESOURCE_LIMIT_EXCEEDED"


async def test_many_deposits_of_one_batch_have_one_callback(bench: Bench) -> None:
    await bench.queue()
    batch = Batch()
    for _ in range(50):
        bench.inboxes.deposit(batch, arn=QUEUE, body=b"x")
    assert len(batch.callbacks) == 1


async def test_dead_letter_attributes_are_received(bench: Bench) -> None:
    await bench.queue()
    batch = Batch()
    bench.inboxes.deposit(batch, arn=QUEUE, body=b"x", attributes={"ERROR_CODE": "TIMEOUT"}, trace_header="Root=1")
    await bench.store.commit(batch)
    (message,) = await bench.receive(MessageAttributeNames=["All"])
    assert message["MessageAttributes"] == {"ERROR_CODE": {"DataType": "String", "StringValue": "TIMEOUT"}}
    assert message["Attributes"]["AWSTraceHeader"] == "Root=1"


def attempt(bench: Bench, arn: str, payload: bytes | None = None, **target: Any) -> Attempt:
    event = Event("e1", "type", "src", "111111111111", "2027-01-15T07:59:59Z", "us-east-1", (), '{"user":"ann","n":1}')
    accepted = Accepted(event, Location("111111111111", "us-east-1"), "default", Hops(), bench.world.now_ms(), "Root=1")
    return Attempt(
        accepted, envelope(event) if payload is None else payload, "arn:rule", Target(id="t", arn=arn, **target)
    )


async def settle(bench: Bench, outcomes: list[Outcome]) -> None:
    batch = Batch(essential=True)
    for outcome in outcomes:
        if isinstance(outcome, Delivered) and outcome.effects is not None:
            batch.extend(outcome.effects)
    await bench.store.commit(batch)


async def send(bench: Bench, kind: str, *attempts: Attempt) -> list[Outcome]:
    outcomes = await inbox_sinks(bench.inboxes)[kind].send(attempts)
    await settle(bench, outcomes)
    return outcomes


async def test_there_is_a_sink_for_every_kind_of_inbox(bench: Bench) -> None:
    services = {kind.service for kind in TARGET_KINDS if kind.name in inbox_sinks(bench.inboxes)}
    assert sorted(services) == sorted(KINDS)


async def test_a_call_shares_one_batch_on_its_first_delivered(bench: Bench) -> None:
    await bench.queue()
    outcomes = await send(bench, "sqs", *(attempt(bench, QUEUE, str(n).encode()) for n in range(3)))
    assert [isinstance(outcome, Delivered) and outcome.effects is not None for outcome in outcomes] == [
        True,
        False,
        False,
    ]
    assert await bench.bodies() == ["0", "1", "2"]


async def test_what_is_not_settled_is_not_there(bench: Bench) -> None:
    await bench.queue()
    await inbox_sinks(bench.inboxes)["sqs"].send([attempt(bench, QUEUE)])
    assert await bench.counts() == (0, 0, 0)


async def test_outcomes_are_in_the_order_of_the_attempts(bench: Bench) -> None:
    await bench.queue(MaximumMessageSize="1024")
    outcomes = await send(
        bench, "sqs", *(attempt(bench, QUEUE, body) for body in (b"a", b"x" * 1025, b"b", b"y" * 2000))
    )
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected, Delivered, Rejected]
    assert await bench.bodies() == ["a", "b"]


async def test_fifo_targets_take_their_group_from_the_event(bench: Bench) -> None:
    await bench.queue("orders.fifo", ContentBasedDeduplication="true")
    parameters = SqsParameters(message_group_id="$.detail.user")
    outcomes = await send(
        bench, "sqs", attempt(bench, FIFO, sqs_parameters=parameters), attempt(bench, FIFO, sqs_parameters=parameters)
    )
    assert [type(outcome) for outcome in outcomes] == [Delivered, Delivered]
    (message,) = await bench.receive(QueueUrl=FIFO_URL)
    assert message["Attributes"]["MessageGroupId"] == "ann"
    (outcome,) = await send(bench, "sqs", attempt(bench, FIFO))
    assert isinstance(outcome, Rejected)


async def log_events(bench: Bench, *attempts: Attempt) -> tuple[list[Outcome], list[tuple[int, str]]]:
    outcomes = await send(bench, "logs", *attempts)
    found = await bench("FilterLogEvents", logGroupName="/g") if bench.inboxes.find(GROUP) else {"events": []}
    return outcomes, [(event["timestamp"], event["message"]) for event in found["events"]]


async def test_log_events_hold_the_envelope_at_the_events_time(bench: Bench) -> None:
    one = attempt(bench, GROUP)
    _, found = await log_events(bench, one)
    assert found == [(bench.world.now_ms() - 1000, one.payload.decode())]


async def test_log_events_made_by_a_transformer(bench: Bench) -> None:
    transformer = InputTransformer(input_template="x")
    now_ms = bench.world.now_ms()
    payloads = [
        msgspec.json.encode({"timestamp": now_ms - 5, "message": "in ms"}),
        msgspec.json.encode({"timestamp": "2027-01-15T08:00:00Z", "message": "as text"}),
        msgspec.json.encode({"timestamp": 1, "message": "too old"}),
    ]
    _, found = await log_events(bench, *(attempt(bench, GROUP, p, input_transformer=transformer) for p in payloads))
    assert found == [(now_ms - 5, "in ms"), (now_ms, "as text"), (now_ms, "too old")]


@pytest.mark.parametrize("payload", [b'{"message":"m"}', b'"text"', b'{"timestamp":"soon","message":"m"}', b"{"])
async def test_log_events_made_wrong_are_rejected(bench: Bench, payload: bytes) -> None:
    transformer = InputTransformer(input_template="x")
    outcomes, found = await log_events(bench, attempt(bench, GROUP, payload, input_transformer=transformer))
    assert isinstance(outcomes[0], Rejected)
    assert (outcomes[0].code, found) == ("INVALID_PARAMETER", [])


async def test_a_log_event_that_is_too_large_is_rejected(bench: Bench) -> None:
    outcomes, _ = await log_events(bench, attempt(bench, GROUP, b"x" * (1024 * 1024 + 1)))
    assert isinstance(outcomes[0], Rejected)
    assert "got 1048577" in outcomes[0].message


@pytest.mark.parametrize(("path", "key"), [(None, b"e1"), ("$.detail.user", b'"ann"'), ("$.detail.none", b"{}")])
async def test_kinesis_records_have_their_partition_key(bench: Bench, path: str | None, key: bytes) -> None:
    stream = "arn:aws:kinesis:us-east-1:111111111111:stream/s"
    parameters = KinesisParameters(partition_key_path=path) if path else None
    await send(bench, "kinesis", attempt(bench, stream, kinesis_parameters=parameters))
    (row,) = bench.inboxes.read(stream)
    assert row.message.attributes == {"PartitionKey": ("String", key)}
