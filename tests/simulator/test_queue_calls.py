"""Queues as things: names, attributes, URLs, lists, tags; and what a message may hold."""

from hashlib import md5
from typing import Any

import pytest

from router.aws.service import Caller
from router.core.event import Location
from router.errors import ApiError
from router.simulator.errors import (
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InvalidAddress,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    MissingParameter,
    QueueDoesNotExist,
    QueueNameExists,
    TooManyEntriesInBatchRequest,
)
from router.simulator.queues import declare_queue
from tests.simulator.bench import CALLER, QUEUE, URL, Bench


async def test_create_answers_the_url_and_may_be_repeated(bench: Bench) -> None:
    create: dict[str, Any] = {"QueueName": "orders", "Attributes": {"DelaySeconds": "5"}}
    assert await bench("CreateQueue", **create) == {"QueueUrl": URL}
    assert await bench("CreateQueue", **create) == {"QueueUrl": URL}
    assert await bench("CreateQueue", QueueName="orders") == {"QueueUrl": URL}


async def test_create_with_other_attributes_is_refused(bench: Bench) -> None:
    await bench.queue()
    with pytest.raises(QueueNameExists, match="different value for attribute DelaySeconds"):
        await bench.queue(DelaySeconds="5")


@pytest.mark.parametrize("name", ["", "a b", "x" * 81, "orders.fifo", "ü"])
async def test_bad_names_are_refused(bench: Bench, name: str) -> None:
    with pytest.raises(InvalidParameterValue):
        await bench("CreateQueue", QueueName=name)


async def test_a_fifo_name_needs_its_suffix(bench: Bench) -> None:
    with pytest.raises(InvalidParameterValue, match=r"must end with .fifo suffix"):
        await bench("CreateQueue", QueueName="orders", Attributes={"FifoQueue": "true"})


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"VisibilityTimeout": "43201"}, InvalidAttributeValue),
        ({"VisibilityTimeout": "-1"}, InvalidAttributeValue),
        ({"MaximumMessageSize": "1023"}, InvalidAttributeValue),
        ({"Policy": "{"}, InvalidAttributeValue),
        ({"KmsMasterKeyId": "alias/mine"}, InvalidAttributeValue),
        ({"QueueArn": "x"}, InvalidAttributeName),
        ({"Nonsense": "x"}, InvalidAttributeName),
        ({"ContentBasedDeduplication": "true"}, InvalidAttributeName),
        ({"RedriveAllowPolicy": '{"redrivePermission":"perhaps"}'}, InvalidParameterValue),
    ],
)
async def test_bad_attributes_are_refused_and_change_nothing(
    bench: Bench, attributes: dict[str, str], error: type[ApiError]
) -> None:
    with pytest.raises(error):
        await bench.queue(**attributes)
    with pytest.raises(QueueDoesNotExist):
        await bench("GetQueueUrl", QueueName="orders")


async def test_attributes_are_given_back_over_a_restart(bench: Bench) -> None:
    await bench.queue(Policy='{"Version":"2012-10-17"}')
    await bench("SetQueueAttributes", QueueUrl=URL, Attributes={"VisibilityTimeout": "7"})
    await bench.reopen()
    have = (await bench("GetQueueAttributes", QueueUrl=URL, AttributeNames=["All"]))["Attributes"]
    assert (have["VisibilityTimeout"], have["DelaySeconds"]) == ("7", "0")
    assert (have["QueueArn"], have["Policy"]) == (QUEUE, '{"Version":"2012-10-17"}')
    assert await bench("GetQueueAttributes", QueueUrl=URL) == {}
    with pytest.raises(InvalidAttributeName):
        await bench("GetQueueAttributes", QueueUrl=URL, AttributeNames=["Nonsense"])


async def test_lists_are_by_location_prefix_and_page(bench: Bench) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        await bench.queue(name)
    await bench("CreateQueue", caller=Caller("111111111111", "eu-west-1"), QueueName="a9")
    first = await bench("ListQueues", QueueNamePrefix="a", MaxResults=2)
    rest = await bench("ListQueues", QueueNamePrefix="a", MaxResults=2, NextToken=first["NextToken"])
    names = [url.rpartition("/")[2] for url in first["QueueUrls"] + rest["QueueUrls"]]
    assert names == ["a1", "a2", "a3"]
    assert "NextToken" not in rest


async def test_a_queue_of_another_account_is_found_by_its_owner(bench: Bench) -> None:
    await bench.queue()
    other = Caller("222222222222", "us-east-1")
    with pytest.raises(QueueDoesNotExist, match=r"The specified queue does not exist\."):
        await bench("GetQueueUrl", caller=other, QueueName="orders")
    found = await bench("GetQueueUrl", caller=other, QueueName="orders", QueueOwnerAWSAccountId=CALLER.account)
    assert found == {"QueueUrl": URL}


async def test_only_the_path_of_a_url_counts(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a", QueueUrl="https://sqs.us-east-1.amazonaws.com/111111111111/orders")
    assert await bench.bodies() == ["a"]
    for url in ("http://hub/orders", "http://hub/", ""):
        with pytest.raises(InvalidAddress):
            await bench.send("a", QueueUrl=url)


async def test_tags_come_and_go(bench: Bench) -> None:
    await bench.queue()
    await bench("TagQueue", QueueUrl=URL, Tags={"team": "a", "stage": "b"})
    await bench("UntagQueue", QueueUrl=URL, TagKeys=["stage"])
    assert await bench("ListQueueTags", QueueUrl=URL) == {"Tags": {"team": "a"}}


async def test_a_declared_queue_is_made_and_then_mended(bench: Bench) -> None:
    here = Location("111111111111", "us-east-1")
    await declare_queue(bench.inboxes, here, "orders", {"DelaySeconds": "5"}, {})
    await bench("SetQueueAttributes", QueueUrl=URL, Attributes={"DelaySeconds": "9", "VisibilityTimeout": "1"})
    assert await declare_queue(bench.inboxes, here, "orders", {"DelaySeconds": "5"}, {"a": "b"}) == QUEUE
    have = (await bench("GetQueueAttributes", QueueUrl=URL, AttributeNames=["All"]))["Attributes"]
    assert (have["DelaySeconds"], have["VisibilityTimeout"]) == ("5", "1")


async def test_attributes_of_a_message_come_back_with_their_md5(bench: Bench) -> None:
    await bench.queue()
    attributes = {
        "text": {"DataType": "String", "StringValue": "v"},
        "blob": {"DataType": "Binary.gif", "BinaryValue": b"\x00\xff"},
        "many.a": {"DataType": "Number", "StringValue": "1.5e3"},
    }
    sent = await bench("SendMessage", QueueUrl=URL, MessageBody="b", MessageAttributes=attributes)
    (message,) = await bench.receive(MessageAttributeNames=["All"], VisibilityTimeout=0)
    assert message["MessageAttributes"] == attributes
    digest = md5(usedforsecurity=False)
    for name, kind, marker, value in (
        (b"blob", b"Binary.gif", b"\x02", b"\x00\xff"),
        (b"many.a", b"Number", b"\x01", b"1.5e3"),
        (b"text", b"String", b"\x01", b"v"),
    ):
        digest.update(len(name).to_bytes(4, "big") + name + len(kind).to_bytes(4, "big") + kind)
        digest.update(marker + len(value).to_bytes(4, "big") + value)
    assert sent["MD5OfMessageAttributes"] == message["MD5OfMessageAttributes"] == digest.hexdigest()
    (message,) = await bench.receive(MessageAttributeNames=["many.*"], VisibilityTimeout=0)
    assert list(message["MessageAttributes"]) == ["many.a"]
    (message,) = await bench.receive()
    assert "MessageAttributes" not in message


async def test_system_attributes_are_those_asked_for(bench: Bench) -> None:
    await bench.queue()
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    await bench("SendMessage", QueueUrl=URL, MessageBody="b", MessageSystemAttributes=trace)
    (message,) = await bench.receive(
        AttributeNames=["AWSTraceHeader"], MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )
    assert message["Attributes"] == {"AWSTraceHeader": "Root=1", "ApproximateReceiveCount": "1"}
    with pytest.raises(InvalidAttributeName):
        await bench.receive(AttributeNames=["Nonsense"])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"MessageBody": ""}, MissingParameter),
        ({"MessageBody": "\x00"}, InvalidMessageContents),
        ({"MessageBody": "x" * 1025}, InvalidParameterValue),
        ({"DelaySeconds": 901}, InvalidParameterValue),
        ({"MessageDeduplicationId": "d"}, InvalidParameterValue),
        ({"MessageAttributes": {"aws.x": {"DataType": "String", "StringValue": "v"}}}, InvalidParameterValue),
        ({"MessageAttributes": {"x": {"DataType": "String", "StringValue": ""}}}, InvalidParameterValue),
        ({"MessageAttributes": {"x": {"DataType": "Text", "StringValue": "v"}}}, InvalidParameterValue),
        ({"MessageAttributes": {"x": {"DataType": "Number", "StringValue": "v"}}}, InvalidParameterValue),
    ],
)
async def test_bad_messages_are_refused(bench: Bench, fields: dict[str, Any], error: type[ApiError]) -> None:
    await bench.queue(MaximumMessageSize="1024")
    with pytest.raises(error):
        await bench("SendMessage", **{"QueueUrl": URL, "MessageBody": "b", **fields})
    assert await bench.counts() == (0, 0, 0)


async def test_a_batch_takes_its_good_entries(bench: Bench) -> None:
    await bench.queue()
    entries = [
        {"Id": "1", "MessageBody": "one"},
        {"Id": "2", "MessageBody": ""},
        {"Id": "3", "MessageBody": "three", "DelaySeconds": 0},
    ]
    answer = await bench("SendMessageBatch", QueueUrl=URL, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["1", "3"]
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in answer["Failed"]] == [
        ("2", "MissingParameter", True)
    ]
    assert await bench.bodies() == ["one", "three"]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([], EmptyBatchRequest),
        ([{"Id": str(number), "MessageBody": "b"} for number in range(11)], TooManyEntriesInBatchRequest),
        ([{"Id": "1", "MessageBody": "b"}] * 2, BatchEntryIdsNotDistinct),
        ([{"Id": "a b", "MessageBody": "b"}], InvalidBatchEntryId),
        ([{"Id": str(number), "MessageBody": "b" * 600_000} for number in range(2)], BatchRequestTooLong),
    ],
)
async def test_bad_batches_are_refused_whole(bench: Bench, entries: list[Any], error: type[ApiError]) -> None:
    await bench.queue()
    with pytest.raises(error):
        await bench("SendMessageBatch", QueueUrl=URL, Entries=entries)
    assert await bench.counts() == (0, 0, 0)
