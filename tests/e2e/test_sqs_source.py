"""Queue sources end to end: a real daemon process, and an SQS-protocol server that is not ours."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all
from tests.e2e.queue_server import Depth, QueueServer
from tests.e2e.target import HttpTarget

EVENTS = 5000
PER_MESSAGE = 10
VISIBILITY_S = 3
EMPTY = Depth(visible=0, in_flight=0)


@pytest.fixture
def server() -> Iterator[QueueServer]:
    with QueueServer() as running:
        yield running


def to_recorder(recorder: HttpTarget) -> dict[str, Any]:
    """Resources: every order goes to the HTTP target."""
    name = {"Name": "recorder"}
    key = {"ApiKeyName": "X-Key", "ApiKeyValue": "open-sesame"}
    connection = {"AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": key}}
    destination = {
        "ConnectionName": "recorder",
        "InvocationEndpoint": recorder.url,
        "HttpMethod": "POST",
        "InvocationRateLimitPerSecond": 100_000,
    }
    target = {
        "Id": "recorder",
        "Arn": f"arn:aws:events:{REGION}:{WORKLOAD}:api-destination/recorder",
        "RoleArn": f"arn:aws:iam::{WORKLOAD}:role/invoke",
    }
    return {
        "account": WORKLOAD,
        "region": REGION,
        "connections": [name | connection],
        "api_destinations": [name | destination],
        "rules": [{"Name": "orders", "EventPattern": {"source": ["shop"]}, "Targets": [target]}],
    }


def to_queue(pattern: dict[str, Any]) -> dict[str, Any]:
    """Resources: every event that matches goes to the hub's own queue `seen`."""
    target = {"Id": "seen", "Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:seen"}
    rule = {
        "Name": "seen",
        "EventPattern": pattern,
        "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
        "Targets": [target],
    }
    return {"account": WORKLOAD, "region": REGION, "queues": [{"QueueName": "seen"}], "rules": [rule]}


def entry(number: int, **members: Any) -> dict[str, Any]:
    return {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"n": number}), **members}


def orders() -> Iterator[list[str]]:
    """Ten messages at a time, each a list of entries that are numbered throughout."""
    firsts = range(0, EVENTS, PER_MESSAGE)
    messages = [json.dumps([entry(number) for number in range(first, first + PER_MESSAGE)]) for first in firsts]
    return iter([messages[start : start + 10] for start in range(0, len(messages), 10)])


class Recorder(HttpTarget):
    """Outside the hub: it sees what was really delivered. A repeat is allowed, and is the same event."""

    def seen(self) -> dict[str, int]:
        """Event ids with the numbers of what they carry."""
        events = [json.loads(body) for body in list(self.bodies)]
        return {event["id"]: event["detail"]["n"] for event in events}


def test_no_event_is_lost_when_the_hub_is_killed_twice_with_messages_in_flight(
    tmp_path: Path, server: QueueServer
) -> None:
    url = server.create("orders", visibility_s=VISIBILITY_S)
    waiting = orders()
    message_ids: list[str] = []
    with Recorder() as recorder:
        settings = {"resources": [to_recorder(recorder)], "sqs_sources": [server.source(url, pollers=4)]}
        with HubProcess(tmp_path, settings) as hub:

            def frozen_with_messages_in_flight() -> bool:
                message_ids.extend(server.send(url, next(waiting)))
                hub.freeze()
                if server.depth(url).in_flight and len(recorder.seen()) < len(message_ids) * PER_MESSAGE:
                    return True
                hub.thaw()
                return False

            for _ in range(2):
                recorded = len(recorder.bodies)
                for messages in itertools.islice(waiting, 12):
                    message_ids += server.send(url, messages)
                eventually(lambda recorded=recorded: len(recorder.bodies) > recorded)
                eventually(frozen_with_messages_in_flight)
                hub.kill()
                assert server.depth(url).in_flight > 0, "and nobody is left who could delete them"
                hub.start()
            for messages in waiting:
                message_ids += server.send(url, messages)
            eventually(lambda: len(recorder.bodies) >= EVENTS and len(recorder.seen()) >= EVENTS, seconds=60)
            assert set(recorder.seen()) == set(server.event_ids(url, message_ids, PER_MESSAGE))
            assert sorted(recorder.seen().values()) == list(range(EVENTS))
            eventually(lambda: server.depth(url) == EMPTY)
            assert hub.metric("crossbus_sqs_source_refused_total") == 0


def test_a_message_that_cannot_be_taken_stays_whole_for_the_queue_s_own_redrive(
    tmp_path: Path, server: QueueServer
) -> None:
    dead_letters = server.create("orders-dlq")
    url = server.create("orders", visibility_s=2, dead_letters="orders-dlq")
    poison = [
        '{"Source": "shop", "DetailType":',
        json.dumps(entry(1, Source="aws.s3")),
        json.dumps([entry(2), entry(3, Detail="not JSON"), entry(4)]),
        json.dumps([entry(5), entry(6, Source="")]),
        json.dumps(entry(7, EventBusName=f"arn:aws:events:{REGION}:222222222222:event-bus/default")),
        "[]",
        '"order"',
    ]
    good = [json.dumps(entry(8)), json.dumps([entry(9), entry(10)])]
    settings = {"resources": [to_queue({"source": [{"prefix": ""}]})], "sqs_sources": [server.source(url)]}
    with HubProcess(tmp_path, settings) as hub:
        server.send(url, [*poison, *good])
        eventually(lambda: server.depth(url) == EMPTY and server.depth(dead_letters).visible)
        refused = hub.metric("crossbus_sqs_source_refused_total", queue=url)
        assert hub.metric("crossbus_sqs_source_taken_total", queue=url) == 3
        assert hub.metric("crossbus_sqs_source_deleted_total", queue=url) == len(good)
        sqs = hub.client("sqs")
        events = [json.loads(m["Body"]) for m in receive_all(sqs, f"{hub.url}/{WORKLOAD}/seen", expected=3)]
        assert hub.metric("crossbus_events_accepted_total") == 3, "no part of a refused message was taken"
        assert hub.stop() == 0
    assert sorted(server.bodies(dead_letters)) == sorted(poison)
    assert refused == 2 * len(poison), "each is refused as often as the queue delivers it"
    assert sorted(event["detail"]["n"] for event in events) == [8, 9, 10]
    assert {(event["account"], event["region"]) for event in events} == {(WORKLOAD, REGION)}
    assert not [line for line in hub.log if "cannot be taken" in line["event"]], "told once a minute at most"


def envelope(number: int, **members: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": f"7bf73129-1428-4cd3-a780-95db273d160{number}",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.secretsmanager",
        "account": "999999999999",
        "time": "2026-11-23T10:00:00Z",
        "region": "ap-southeast-2",
        "resources": ["arn:aws:secretsmanager:ap-southeast-2:999999999999:secret:payroll"],
        "detail": {"eventName": "GetSecretValue", "eventSource": "secretsmanager.amazonaws.com", "readOnly": True},
        **members,
    }


def invoke(number: int) -> dict[str, Any]:
    """A data event, which a trail must select."""
    detail = {"eventName": "Invoke", "eventSource": "lambda.amazonaws.com", "managementEvent": False}
    return envelope(number, source="aws.lambda", detail=detail)


def test_a_trusted_queue_s_envelopes_keep_who_where_when_and_id_bare_and_through_sns(
    tmp_path: Path, server: QueueServer
) -> None:
    url = server.create("forwarded")
    sns = server.client("sns")
    topic = sns.create_topic(Name="forwarded")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=server.arn("forwarded"))
    settings = {
        "resources": [to_queue({"account": ["999999999999"]})],
        "trails": [{"management_events": {"read_write_type": "All"}}],
        "sqs_sources": [server.source(url, trusted=True)],
    }
    listed = [envelope(2), envelope(3, source="shop", **{"detail-type": "order"}, detail={"n": 3})]
    with HubProcess(tmp_path, settings) as hub:
        server.send(url, [json.dumps(envelope(0)), json.dumps([*listed, invoke(4)]), json.dumps(invoke(5))])
        sns.publish(TopicArn=topic, Message=json.dumps(envelope(1)))
        messages = receive_all(hub.client("sqs"), f"{hub.url}/{WORKLOAD}/seen", expected=4)
        events = sorted((json.loads(message["Body"]) for message in messages), key=lambda event: event["id"])
        assert events == [envelope(0), envelope(1), *listed]
        eventually(lambda: server.depth(url) == EMPTY)
        assert hub.metric("crossbus_events_accepted_total", account=WORKLOAD, region=REGION) == 4
        assert hub.metric("crossbus_events_withheld_total", account=WORKLOAD, region=REGION) == 2
        assert hub.metric("crossbus_sqs_source_refused_total") == 0
