"""Simulated targets read as their users read them: boto3's `sqs` and `logs`, the hub's own API, the command line."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("inboxes"), {}) as running:
        yield running


@pytest.fixture(scope="module")
def sqs(hub: HubProcess) -> Any:
    return hub.client("sqs")


@pytest.fixture(scope="module")
def logs(hub: HubProcess) -> Any:
    return hub.client("logs")


def bare(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without boto3's own part."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def queue(sqs: Any, name: str, **attributes: str) -> str:
    url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url


def receive(sqs: Any, url: str, **options: Any) -> list[dict[str, Any]]:
    request = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"], **options}
    found: list[dict[str, Any]] = sqs.receive_message(QueueUrl=url, **request).get("Messages", [])
    return found


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [message["Body"] for message in messages]


# queues


def test_a_queue_is_created_found_described_changed_and_deleted(hub: HubProcess, sqs: Any) -> None:
    url = queue(sqs, "life", VisibilityTimeout="7")
    assert url == f"{hub.url}/{WORKLOAD}/life"
    assert queue(sqs, "life", VisibilityTimeout="7") == url
    with pytest.raises(sqs.exceptions.QueueNameExists):
        queue(sqs, "life", VisibilityTimeout="8")
    assert sqs.get_queue_url(QueueName="life")["QueueUrl"] == url
    security = hub.client("sqs", SECURITY)
    assert security.get_queue_url(QueueName="life", QueueOwnerAWSAccountId=WORKLOAD)["QueueUrl"] == url
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"})
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    wanted = {"VisibilityTimeout": "7", "DelaySeconds": "1", "QueueArn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:life"}
    assert wanted.items() <= found.items()
    assert abs(int(found["CreatedTimestamp"]) - time.time()) < 60
    sqs.tag_queue(QueueUrl=url, Tags={"a": "b"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "b"}
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName="life")


def test_queues_are_listed_in_pages_by_prefix_and_location(hub: HubProcess, sqs: Any) -> None:
    urls = [queue(sqs, f"list-{number}") for number in range(3)]
    hub.client("sqs", region="eu-west-1").create_queue(QueueName="list-elsewhere")
    assert sqs.list_queues(QueueNamePrefix="list-")["QueueUrls"] == urls
    page = sqs.list_queues(QueueNamePrefix="list-", MaxResults=2)
    assert page["QueueUrls"] == urls[:2]
    rest = sqs.list_queues(QueueNamePrefix="list-", MaxResults=2, NextToken=page["NextToken"])
    assert (rest["QueueUrls"], "NextToken" in rest) == (urls[2:], False)
    assert not sqs.list_queues(QueueNamePrefix="nothing").get("QueueUrls")


def test_a_message_with_attributes_is_sent_received_and_deleted(sqs: Any) -> None:
    url = queue(sqs, "one")
    attributes = {
        "text": {"DataType": "String", "StringValue": "ключ"},
        "number": {"DataType": "Number.int", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    sent = sqs.send_message(
        QueueUrl=url, MessageBody="hello 😀", MessageAttributes=attributes, MessageSystemAttributes=trace
    )
    (message,) = receive(sqs, url)
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "hello 😀")
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert message["Attributes"]["AWSTraceHeader"] == "Root=1"
    assert abs(int(message["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]
    assert [found[name] for name in counts] == ["0", "1"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]
    assert [found[name] for name in counts] == ["0", "0"]


def test_a_long_poll_is_woken_by_a_later_message(hub: HubProcess, sqs: Any) -> None:
    url = queue(sqs, "awaited")
    found: list[dict[str, Any]] = []
    started = threading.Event()

    def poll() -> None:
        started.set()
        found.extend(receive(hub.client("sqs"), url, WaitTimeSeconds=20))

    waiting = threading.Thread(target=poll)
    waiting.start()
    started.wait()
    time.sleep(0.5)
    sqs.send_message(QueueUrl=url, MessageBody="late")
    waiting.join(10)
    assert not waiting.is_alive()
    assert bodies(found) == ["late"]


def test_a_message_comes_back_after_its_visibility_timeout_with_its_count(sqs: Any) -> None:
    url = queue(sqs, "again")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (first,) = receive(sqs, url, VisibilityTimeout=1)
    assert receive(sqs, url) == []
    (second,) = receive(sqs, url, WaitTimeSeconds=10, VisibilityTimeout=600)
    assert second["MessageId"] == first["MessageId"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert receive(sqs, url) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0)
    (third,) = receive(sqs, url)
    assert third["Attributes"]["ApproximateReceiveCount"] == "3"


def test_batches_fail_in_parts(sqs: Any) -> None:
    url = queue(sqs, "batch", MaximumMessageSize="1024")
    entries = [
        {"Id": "good", "MessageBody": "a"},
        {"Id": "long", "MessageBody": "x" * 1025},
        {"Id": "delayed", "MessageBody": "b", "DelaySeconds": 901},
        {"Id": "other", "MessageBody": "c"},
    ]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["good", "other"]
    assert [(entry["Id"], entry["SenderFault"]) for entry in answer["Failed"]] == [("long", True), ("delayed", True)]
    messages = receive(sqs, url)
    assert sorted(bodies(messages)) == ["a", "c"]
    handles = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]
    changes = [{**handle, "VisibilityTimeout": 60} for handle in handles] + [
        {"Id": "bad", "ReceiptHandle": "nonsense", "VisibilityTimeout": 60}
    ]
    answer = sqs.change_message_visibility_batch(QueueUrl=url, Entries=changes)
    assert [entry["Id"] for entry in answer["Successful"]] == ["0", "1"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("bad", "ReceiptHandleIsInvalid")]
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=[*handles, {"Id": "bad", "ReceiptHandle": "nonsense"}])
    assert [entry["Id"] for entry in answer["Successful"]] == ["0", "1"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("bad", "ReceiptHandleIsInvalid")]
    for bad, error in (
        ([], "EmptyBatchRequest"),
        ([{"Id": "a", "MessageBody": "x"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": str(i), "MessageBody": "x"} for i in range(11)], "TooManyEntriesInBatchRequest"),
    ):
        with pytest.raises(getattr(sqs.exceptions, error)):
            sqs.send_message_batch(QueueUrl=url, Entries=bad)


def test_a_purge_empties_a_queue(sqs: Any) -> None:
    url = queue(sqs, "purged")
    for _ in range(3):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.purge_queue(QueueUrl=url)
    assert receive(sqs, url) == []
    sqs.send_message(QueueUrl=url, MessageBody="after")
    assert bodies(receive(sqs, url)) == ["after"]


def test_a_delayed_message_waits(sqs: Any) -> None:
    url = queue(sqs, "delayed")
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=1)
    sqs.send_message(QueueUrl=url, MessageBody="now")
    assert bodies(receive(sqs, url)) == ["now"]
    assert bodies(receive(sqs, url, WaitTimeSeconds=10)) == ["later"]


def test_a_fifo_queue_keeps_order_in_groups_and_drops_duplicates(sqs: Any) -> None:
    url = queue(sqs, "ordered.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    sent = [sqs.send_message(QueueUrl=url, MessageBody=f"{n}", MessageGroupId="a") for n in (1, 2, 3, 2)]
    assert sent[3]["MessageId"] == sent[1]["MessageId"], "the same contents within five minutes are one message"
    assert [m["SequenceNumber"] for m in sent[:3]] == sorted(m["SequenceNumber"] for m in sent[:3])
    sqs.send_message(QueueUrl=url, MessageBody="b", MessageGroupId="b", MessageDeduplicationId="once")
    (first,) = receive(sqs, url, MaxNumberOfMessages=1)
    assert first["Body"] == "1"
    assert bodies(receive(sqs, url)) == ["b"], "group a waits for its first message"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert bodies(receive(sqs, url)) == ["2", "3"]
    with pytest.raises(ClientError, match="MessageGroupId"):
        sqs.send_message(QueueUrl=url, MessageBody="x")


def test_queues_and_their_messages_survive_a_kill(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {}) as hub:
        sqs = hub.client("sqs")
        plain, ordered = queue(sqs, "plain", VisibilityTimeout="600"), queue(sqs, "ordered.fifo", FifoQueue="true")
        for number in range(5):
            sqs.send_message(QueueUrl=plain, MessageBody=str(number))
            sqs.send_message(
                QueueUrl=ordered, MessageBody=str(number), MessageGroupId="g", MessageDeduplicationId=str(number)
            )
        held, deleted = receive(sqs, plain, MaxNumberOfMessages=2)
        sqs.delete_message(QueueUrl=plain, ReceiptHandle=deleted["ReceiptHandle"])
        hub.client("logs").create_log_group(logGroupName="/kept")
        hub.kill()
        hub.start(hub.port)
        sqs = hub.client("sqs")
        assert sqs.list_queues()["QueueUrls"] == [ordered, plain]
        assert sqs.get_queue_attributes(QueueUrl=plain, AttributeNames=["VisibilityTimeout"])["Attributes"] == {
            "VisibilityTimeout": "600"
        }
        expected = sorted({str(n) for n in range(5)} - {deleted["Body"]})
        assert sorted(bodies(receive(sqs, plain))) == expected
        assert bodies(receive(sqs, ordered)) == [str(n) for n in range(5)]
        assert [g["logGroupName"] for g in hub.client("logs").describe_log_groups()["logGroups"]] == ["/kept"]
        sqs.delete_message(QueueUrl=plain, ReceiptHandle=held["ReceiptHandle"])


# logs


def test_log_groups_and_streams_are_created_described_and_deleted(logs: Any) -> None:
    for name in ("/group/a", "/group/b"):
        logs.create_log_group(logGroupName=name)
    with pytest.raises(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName="/group/a")
    groups = logs.describe_log_groups(logGroupNamePrefix="/group/", limit=1)
    assert [group["logGroupName"] for group in groups["logGroups"]] == ["/group/a"]
    assert abs(groups["logGroups"][0]["creationTime"] / 1000 - time.time()) < 60
    rest = logs.describe_log_groups(logGroupNamePrefix="/group/", limit=1, nextToken=groups["nextToken"])
    assert [group["logGroupName"] for group in rest["logGroups"]] == ["/group/b"]
    logs.create_log_stream(logGroupName="/group/a", logStreamName="s")
    streams = logs.describe_log_streams(logGroupName="/group/a")["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["s"]
    logs.delete_log_group(logGroupName="/group/a")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.filter_log_events(logGroupName="/group/a")


def test_events_that_a_rule_delivers_are_filtered_and_read(hub: HubProcess, logs: Any) -> None:
    events = hub.client("events")
    group = "/aws/events/orders"
    events.put_rule(Name="to-logs", EventPattern='{"source":["logged"]}')
    arn = f"arn:aws:logs:{REGION}:{WORKLOAD}:log-group:{group}"
    events.put_targets(Rule="to-logs", Targets=[{"Id": "log", "Arn": arn}])
    for start in range(0, 30, 10):
        entries = [
            {"Source": "logged", "DetailType": "order", "Detail": json.dumps({"n": n})}
            for n in range(start, start + 10)
        ]
        assert events.put_events(Entries=entries)["FailedEntryCount"] == 0

    def numbers(found: list[dict[str, Any]]) -> list[int]:
        return [json.loads(event["message"])["detail"]["n"] for event in found]

    def count() -> bool:
        known = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        return bool(known) and len(logs.filter_log_events(logGroupName=group)["events"]) == 30

    eventually(count)
    everything = list(range(30))
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 7})
    assert sorted(n for page in pages for n in numbers(page["events"])) == everything
    last = logs.filter_log_events(logGroupName=group, filterPattern="{ $.detail.n >= 25 }")["events"]
    assert sorted(numbers(last)) == everything[25:]
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    name = stream["logStreamName"]
    first = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True, limit=20)
    then = logs.get_log_events(logGroupName=group, logStreamName=name, nextToken=first["nextForwardToken"])
    assert sorted(numbers(first["events"]) + numbers(then["events"])) == everything
    end = logs.get_log_events(logGroupName=group, logStreamName=name, nextToken=then["nextForwardToken"])
    assert (end["events"], end["nextForwardToken"]) == ([], then["nextForwardToken"])
    future = int(time.time() * 1000) + 3_600_000
    assert logs.filter_log_events(logGroupName=group, startTime=future)["events"] == []


ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"
OTHER_ROOT = "Root=1-5759e988-000000000000000000000001;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.mark.parametrize(
    ("of_entry", "of_call", "arrives"),
    [
        ({}, {}, None),
        ({"TraceHeader": ROOT}, {}, ROOT),
        ({}, {"X-Amzn-Trace-Id": OTHER_ROOT}, OTHER_ROOT),
        ({"TraceHeader": ROOT}, {"X-Amzn-Trace-Id": OTHER_ROOT}, ROOT),
        ({"TraceHeader": ""}, {"X-Amzn-Trace-Id": OTHER_ROOT}, None),
        ({"TraceHeader": "no"}, {"X-Amzn-Trace-Id": OTHER_ROOT}, None),
        ({}, {"X-Amzn-Trace-Id": "no"}, None),
    ],
)
def test_the_trace_reaches_queues_and_dead_letter_queues_and_no_body(
    hub: HubProcess, sqs: Any, of_entry: dict[str, str], of_call: dict[str, str], arrives: str | None
) -> None:
    urls = [queue(sqs, "traced"), queue(sqs, "traced-letters")]
    events = hub.client("events")
    events.put_rule(Name="traced", EventPattern='{"source":["traced"]}')
    prefix = f"arn:aws:sqs:{REGION}:{WORKLOAD}"
    letters = {"DeadLetterConfig": {"Arn": f"{prefix}:traced-letters"}}
    targets = [{"Id": "q", "Arn": f"{prefix}:traced"}, {"Id": "none", "Arn": f"{prefix}:nowhere", **letters}]
    events.put_targets(Rule="traced", Targets=targets)
    entry = {"Source": "traced", "DetailType": "d", "Detail": "{}", **of_entry}
    scope = f"{WORKLOAD}/20260101/{REGION}/events/aws4_request"
    headers = {
        "X-Amz-Target": "AWSEvents.PutEvents",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }
    status, text = hub.request("POST", "/", json.dumps({"Entries": [entry]}).encode(), {**headers, **of_call})
    assert (status, json.loads(text)["FailedEntryCount"]) == (200, 0)
    for url in urls:
        (message,) = eventually(lambda url=url: receive(sqs, url, WaitTimeSeconds=1))
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        assert message["Attributes"].get("AWSTraceHeader") == arrives
        assert "Root=" not in message["Body"]


# every other kind


def test_every_kind_of_simulated_target_has_an_inbox(hub: HubProcess, sqs: Any) -> None:
    queue(sqs, "kinds")
    events = hub.client("events")
    events.put_rule(Name="kinds", EventPattern='{"source":["kinds"]}')
    events.put_rule(Name="more", EventPattern='{"source":["kinds"]}')
    prefix = f"{REGION}:{WORKLOAD}"
    role = f"arn:aws:iam::{WORKLOAD}:role/r"
    arns = {
        "sqs": f"arn:aws:sqs:{prefix}:kinds",
        "sns": f"arn:aws:sns:{prefix}:kinds",
        "lambda": f"arn:aws:lambda:{prefix}:function:kinds",
        "kinesis": f"arn:aws:kinesis:{prefix}:stream/kinds",
        "firehose": f"arn:aws:firehose:{prefix}:deliverystream/kinds",
        "states": f"arn:aws:states:{prefix}:stateMachine:kinds",
    }
    targets: list[dict[str, Any]] = [
        {"Id": kind, "Arn": arn, **({"RoleArn": role} if kind in ("kinesis", "firehose", "states") else {})}
        for kind, arn in arns.items()
    ]
    targets[3]["KinesisParameters"] = {"PartitionKeyPath": "$.detail.n"}
    events.put_targets(Rule="kinds", Targets=targets[:3])
    events.put_targets(Rule="more", Targets=targets[3:])
    entry = {"Source": "kinds", "DetailType": "d", "Detail": '{"n":"é"}'}
    (answer,) = events.put_events(Entries=[entry])["Entries"]
    for kind, arn in arns.items():
        (message,) = eventually(lambda arn=arn: messages(hub, arn))
        assert json.loads(message["body"])["id"] == message["event_id"] == answer["EventId"]
        if kind == "kinesis":
            assert message["attributes"] == {"PartitionKey": '"é"'}
    rows = json.loads(hub.get("/_hub/v1/inboxes")[1])["inboxes"]
    assert {(row["arn"], row["kind"], row["count"]) for row in rows} >= {(arn, kind, 1) for kind, arn in arns.items()}
    for number in range(4):
        events.put_events(Entries=[{**entry, "Detail": json.dumps({"n": number})}])
    arn = arns["sns"]
    eventually(lambda: len(messages(hub, arn)) == 5)
    first = messages(hub, arn, "&limit=2")
    rest = messages(hub, arn, f"&limit=1000&after={first[-1]['position']}")
    assert [message["position"] for message in first + rest] == [m["position"] for m in messages(hub, arn)]
    assert json.loads(hub.request("DELETE", f"/_hub/v1/inboxes/messages?arn={arn}")[1]) == {"purged": 5}
    assert messages(hub, arn) == []
    assert len(messages(hub, arns["lambda"])) == 5, "other inboxes keep theirs"


def messages(hub: HubProcess, arn: str, query: str = "") -> list[dict[str, Any]]:
    """What the hub's own API shows of an inbox; nothing where there is none yet."""
    found: list[dict[str, Any]] = json.loads(hub.get(f"/_hub/v1/inboxes/messages?arn={arn}{query}")[1]).get(
        "messages", []
    )
    return found


def test_a_long_poll_of_a_client_that_has_gone_takes_no_message(hub: HubProcess) -> None:
    sqs = hub.client("sqs")
    url = sqs.create_queue(QueueName="gone")["QueueUrl"]
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 10}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: hub\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nX-Amz-Date: 20260101T000000Z\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={WORKLOAD}/20260101/{REGION}/sqs/aws4_request, "
        f"SignedHeaders=host, Signature={'0' * 64}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    before = hub.metric("crossbus_requests_total", operation="ReceiveMessage")
    with socket.create_connection(("127.0.0.1", hub.port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(0.3)
    time.sleep(0.3)
    assert hub.metric("crossbus_requests_total", operation="ReceiveMessage") == before, "the poll was under way"
    sqs.send_message(QueueUrl=url, MessageBody="for somebody")
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]
    assert message["Body"] == "for somebody"


def test_a_queue_url_names_the_host_that_the_client_called(hub: HubProcess) -> None:
    sqs = boto3.client(
        "sqs",
        endpoint_url=f"http://localhost:{hub.port}",
        region_name=REGION,
        aws_access_key_id=WORKLOAD,
        aws_secret_access_key="none",
    )
    url = sqs.create_queue(QueueName="named")["QueueUrl"]
    assert url == f"http://localhost:{hub.port}/{WORKLOAD}/named"
