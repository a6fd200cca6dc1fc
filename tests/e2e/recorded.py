"""Plays of what was recorded of deliveries: events put over boto3 to a hub process, and what arrives where.

Each recorded test is played in an account of its own (a `Scene`), so that one hub serves them all. A play gives the
answer to each step; a message is what ReceiveMessage gives of it, and of a target that is an inbox its body.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all
from tests.e2e.queue_server import QueueServer
from tests.e2e.test_schedules import age
from tests.recorded import Many, variant_of

NAME = "core.update-account-command"
DETAIL = {"command": "update-account", "payload": {"acc_id": "0a787ecb-4015", "sf_id": "baz"}}
PATTERN = {"source": [NAME], "detail-type": [NAME], "detail": {"command": ["update-account"]}}
FAR = "eu-west-1"
_ENTRIES_BYTES_MAX = 256 * 1024  # when AWS was asked
Answers = dict[str, Any]


class Scene:
    """One recorded test's account in the hub; `servers` is an SQS and SNS server that is not the hub's."""

    def __init__(self, hub: HubProcess, servers: QueueServer, account: str, other: str, test: str) -> None:
        self.hub, self.servers = hub, servers
        self.account, self.other, self.test = account, other, test
        self.events = hub.client("events", account)
        self._urls: dict[str, tuple[str, str, str]] = {}
        self._read: dict[str, int] = {}

    def queue(self, name: str = "queue", account: str = "", region: str = REGION) -> str:
        """Its ARN."""
        account = account or self.account
        url = self.hub.client("sqs", account, region).create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:{region}:{account}:{name}"
        self._urls[arn] = (url, account, region)
        return arn

    def bus(self, name: str = "bus") -> str:
        self.events.create_event_bus(Name=name)
        return name

    def rule(self, target: Any, name: str = "rule", *, bus: str = "default", pattern: object = PATTERN) -> None:
        """`target` is an ARN, or a target but for its id."""
        self.events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
        given = target if isinstance(target, dict) else {"Arn": target}
        answer = self.events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "target", **given}])
        assert answer["FailedEntryCount"] == 0, answer

    def put(self, *details: object, source: str = NAME, bus: str = "default", **more: Any) -> Any:
        """PutEvents of one entry for each detail; DETAIL where there is none."""
        entries = [
            {"Source": source, "DetailType": NAME, "EventBusName": bus, "Detail": json.dumps(detail), **more}
            for detail in details or (DETAIL,)
        ]
        answer = plain(self.events.put_events(Entries=entries))
        assert answer["FailedEntryCount"] == 0, answer
        return answer

    def messages(self, arn: str, count: int = 1) -> list[dict[str, Any]]:
        """The next messages of a queue, with what ReceiveMessage gives unasked."""
        url, account, region = self._urls[arn]
        sqs = self.hub.client("sqs", account, region)
        found: list[dict[str, Any]] = []
        end = time.monotonic() + 20
        while len(found) < count and time.monotonic() < end:
            found += sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10).get("Messages", [])
        assert len(found) == count, found
        return found

    def bodies(self, arn: str, count: int = 1) -> list[str]:
        """All that an inbox has, once it is that many."""

        def read() -> list[str]:
            _, text = self.hub.get(f"/_hub/v1/inboxes/messages?arn={arn}")
            return [message["body"] for message in json.loads(text).get("messages", [])]

        eventually(lambda: len(read()) >= count)
        found = read()
        assert len(found) == count, found
        return found

    def arn(self, service: str, rest: str) -> str:
        return f"arn:aws:{service}:{REGION}:{self.account}:{rest}"

    def role(self, account: str = "") -> str:
        return f"arn:aws:iam::{account or self.account}:role/events"


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the metadata of its transport."""
    metadata = answer.pop("ResponseMetadata")
    assert metadata["HTTPStatusCode"] == 200
    return answer


def refused(call: Callable[..., Any], **request: Any) -> Any:
    try:
        return plain(call(**request))
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        told = error.response["Error"]
        return {"Error": {"Code": told["Code"], "Message": told["Message"], "Status": status}}


# PutEvents


def bad_entry(scene: Scene) -> Answers:
    """One entry with something missing, too big or broken."""
    entry = {"Source": NAME, "DetailType": NAME, "Detail": json.dumps(DETAIL)}
    broken = {"STRING": '"a string"', "ARRAY": '["an", "array"]', "MALFORMED_JSON": '{"not": "closed"'}
    if variant := variant_of(scene.test):
        entry["Detail"] = broken[variant]
    elif scene.test.endswith("too_big_detail"):
        empty = len(NAME) * 2 + len('{"payload": ""}')
        entry["Detail"] = json.dumps({"payload": "x" * (_ENTRIES_BYTES_MAX - empty)})
    else:
        del entry["DetailType" if scene.test.endswith("detail_type") else "Detail"]
    answer = refused(scene.events.put_events, Entries=[entry])
    return {"put-events": answer, "put-events-too-big-detail-error": answer}


def too_many_entries(scene: Scene) -> Answers:
    bus = scene.bus() if variant_of(scene.test) == "custom" else "default"
    entry = {"Source": NAME, "DetailType": NAME, "Detail": json.dumps(DETAIL), "EventBusName": bus}
    return {"put-events-exceed-limit-error": refused(scene.events.put_events, Entries=[entry] * 11)}


def times(scene: Scene) -> Answers:
    """boto3 makes timestamps of these texts, and so of a moment."""
    queue = scene.queue()
    scene.rule(queue, pattern={"source": [NAME]})
    found: list[dict[str, Any]] = []
    given = ("2022-01-01", "01-01-2022T00:00:00Z", "2022-01-01 00:00:00Z", datetime(2022, 1, 1, tzinfo=UTC))
    for moment, text in zip(given, ("short time", "new time", "long time", ""), strict=True):
        scene.put({"message": text}, Time=moment)
        found += scene.messages(queue)
    delivered = [json.loads(message["Body"])["time"] for message in found]
    assert delivered[3] == delivered[0]
    return {"messages": found[:3], "delivered time": Many(delivered[:3])}


def two_queues(scene: Scene) -> Answers:
    queues = [scene.queue("one"), scene.queue("two")]
    for number, queue in enumerate(queues):
        scene.rule(queue, f"rule{number}")
    answer = scene.put()
    found = {f"queue{number}_messages": scene.messages(queue) for number, queue in enumerate(queues, start=1)}
    (event_id,) = (entry["EventId"] for entry in answer["Entries"])
    assert {json.loads(message["Body"])["id"] for messages in found.values() for message in messages} == {event_id}
    return {"put-events-response": answer, "sqs-messages": found}


def no_queue(scene: Scene) -> Answers:
    scene.rule(scene.arn("sqs", "nowhere"))
    return {"put-events-response": scene.put()}


def service_event(scene: Scene) -> Answers:
    """S3's event comes to the default bus, and by a rule there to another one."""
    answers: Answers = {"create-custom-event-bus": plain(scene.events.create_event_bus(Name="the-bus"))}
    pattern = json.dumps({"source": ["aws.s3"], "detail-type": ["Object Created"]})
    queue = scene.queue()
    onward = {"Id": "1", "Arn": scene.arn("events", "event-bus/the-bus"), "RoleArn": scene.role()}
    for number, (rule, bus, target) in enumerate(
        (("first-rule", "default", onward), ("second-rule", "the-bus", {"Id": "1", "Arn": queue})), start=1
    ):
        put = scene.events.put_rule(Name=rule, EventBusName=bus, EventPattern=pattern)
        answers[f"create-rule-{number}"] = plain(put)
        put = scene.events.put_targets(Rule=rule, EventBusName=bus, Targets=[target])
        answers[f"put-target-{number}"] = plain(put)
    created = {
        "version": "0",
        "bucket": {"name": "the-bucket"},
        "object": {"key": "the-key", "size": 4, "etag": "8d777f385d3dfec8815d20f7496026dc", "sequencer": "0055AED6"},
        "request-id": "C3D13FE58DE4C810",
        "requester": scene.account,
        "source-ip-address": "192.0.2.1",
        "reason": "PutObject",
    }
    told = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "resources": ["arn:aws:s3:::the-bucket"],
        "detail": created,
    }
    assert scene.hub.service_events(told, scene.account)["accepted"] == 1
    return {**answers, "get-events": {"Messages": scene.messages(queue)}}


# Rules and patterns


def one_function(scene: Scene) -> Answers:
    """Rules for one, two and three sources with one function: what it got after each event."""
    bus, function = scene.bus(), scene.arn("lambda", "function:f")
    answers: Answers = {}
    for number, name in enumerate(("one", "two", "three"), start=1):
        scene.rule(function, f"rule-{name}", bus=bus, pattern={"source": [f"source-{name}"]})
        scene.put(source=f"source-{name}", bus=bus)
        answers[f"events-source-{name}"] = scene.bodies(function, number)
    return answers


def one_event_two_rules(scene: Scene) -> Answers:
    bus, function = scene.bus(), scene.arn("lambda", "function:f")
    for name in ("one", "two"):
        scene.rule(function, name, bus=bus)
    scene.put(bus=bus)
    return {"events": scene.bodies(function, 2)}


def two_patterns(scene: Scene) -> Answers:
    bus, function = scene.bus(), scene.arn("lambda", "function:f")
    patterns: tuple[dict[str, Any], ...] = (
        {"detail-payload-with-id": {"payload": {"id": ["123"]}}},
        {"detail-with-id": {"id": ["123"]}},
    )
    answers: Answers = {}
    for number, pattern in enumerate(patterns, start=1):
        target = {"Arn": function, "InputPath": "$.detail"}
        scene.rule(target, f"rule-{number}", bus=bus, pattern={"detail": pattern})
        (name,) = pattern
        scene.put({name: {"payload": {"id": "123"}} if number == 1 else {"id": "123"}}, bus=bus)
        answers[f"events-{number}"] = scene.bodies(function, number)
    return answers


def exists_false(scene: Scene) -> Answers:
    queue = scene.queue()
    scene.rule(queue, pattern={"source": [NAME], "detail": {"key": [{"exists": False}]}})
    scene.put({"key": "value", "payload": "baz"}, {"no-key": "no-value", "payload": "baz"})
    return {"rule-exists-false": scene.messages(queue)}


def many_operators(scene: Scene) -> Answers:
    queue = scene.queue()
    detail = {
        "description": "this-is-event-details", "amount": 200, "salary": 2000, "env": "prod", "user": "user3",
        "admins": "admin", "test1": 300, "test2": "test22", "test3": "test333", "test4": "this test4",
        "ip": "10.102.1.100", "num-test1": 100, "num-test2": 200, "num-test3": 300, "num-test4": 200,
        "num-test5": 500, "num-test6": 300, "num-test7": 300,
    }  # fmt: skip
    pattern = {
        "description": [{"anything-but": "other"}],
        "amount": [{"numeric": [">", 0]}],
        "salary": [{"numeric": [">=", 2000]}],
        "env": ["prod"],
        "user": [{"anything-but": ["user1", "user2"]}],
        "admins": [{"exists": True}],
        "test1": [{"anything-but": [100, 200]}],
        "test2": [{"prefix": "test2"}],
        "test3": [{"suffix": "333"}],
        "test4": [{"anything-but": {"prefix": "that"}}],
        "ip": [{"cidr": "10.102.1.0/24"}],
        "num-test1": [{"numeric": ["=", 100]}],
        "num-test2": [{"numeric": ["<", 201]}],
        "num-test6": [{"numeric": [">", 299, "<=", 300]}],
        "missing": [{"exists": False}],
    }
    scene.rule({"Arn": queue, "InputPath": "$.detail"}, pattern={"source": [NAME], "detail": pattern})
    scene.put(detail, {**detail, "ip": "10.103.1.100"})
    return {"messages": scene.messages(queue)}


# Inputs


def input_path(scene: Scene) -> Answers:
    details = {
        "": ("$.detail", DETAIL),
        "event_detail0": ("$.detail.payload", DETAIL),
        "event_detail1": (
            "$.detail.payload",
            {"command": "c", "payload": {"acc_id": "0a787ecb-4015", "payload": {"message": "baz", "id": "123"}}},
        ),
    }
    path, detail = details[variant_of(scene.test)]
    queue = scene.queue()
    scene.rule({"Arn": queue, "InputPath": path}, pattern={"source": [NAME]})
    scene.put(detail)
    return {"message": scene.messages(queue)}


def input_template(scene: Scene) -> Answers:
    """With a field that one event has and another one lacks."""
    quoted = '"Event of <detail-type> type, at time <timestamp>, info extracted from detail <command>"'
    template = variant_of(scene.test) or quoted
    if "template_json" in scene.test:
        template = '{"detailType": <detail-type>, "time": <timestamp>, "command": <command>}'
    queue = scene.queue()
    paths = {"detail-type": "$.detail-type", "timestamp": "$.time", "command": "$.detail.command"}
    transformer = {"InputPathsMap": paths, "InputTemplate": template}
    scene.rule({"Arn": queue, "InputTransformer": transformer}, pattern={"source": [NAME]})
    scene.put()
    first = scene.messages(queue)
    scene.put({"no-command": "update-account"})
    return {"custom-variables-match-all": first, "custom-variables-not-match-all": scene.messages(queue)}


def predefined(scene: Scene) -> Answers:
    bus, queue = scene.bus(), scene.queue()
    target = {"Arn": queue, "InputTransformer": {"InputTemplate": variant_of(scene.test)}}
    scene.rule(target, bus=bus)
    scene.put(bus=bus)
    return {"messages": scene.messages(queue)}


def nested_keys(scene: Scene) -> Answers:
    queue = scene.queue()
    paths = {
        "userId": "$.detail.payload.acc_id",
        "payload": "$.detail.payload",
        "systemstring": "$.detail.awsAccountId",
        "listsingle": "$.detail.severity",
        "listmulti": "$.detail.states",
        "valid": "$.detail.valid",
    }
    transformer = {"InputPathsMap": paths, "InputTemplate": variant_of(scene.test)}
    scene.rule({"Arn": queue, "InputTransformer": transformer})
    scene.put({**DETAIL, "severity": ["HIGH"], "states": ["ACTIVE", "INACTIVE"], "valid": True})
    return {"input-transformed-messages": scene.messages(queue)}


# Targets


def sqs(scene: Scene) -> Answers:
    queue = scene.queue()
    scene.rule(queue)
    scene.put()
    return {"message": scene.messages(queue)}


def sqs_detail_match(scene: Scene) -> Answers:
    queue = scene.queue()
    target = {"Arn": queue, "InputPath": "$.detail"}
    scene.rule(target, pattern={"detail": {"EventType": ["0", "1"]}})
    scene.put({"EventType": "1"}, {"EventType": "2"})
    return {"messages": scene.messages(queue)}


def function_list(scene: Scene) -> Answers:
    bus, function = scene.bus(), scene.arn("lambda", "function:f")
    settings = {"message": "", "recipientEmails": [], "subject": "", "type": "SEND_NOTIFICATION"}
    automation: Any = {
        "id": "123", "actions": [{"id": "321", "type": "SEND_NOTIFICATION", "settings": settings}]
    }  # fmt: skip
    partial = "partial" in scene.test
    payload = {
        "userId": 10,
        "businessId": 3,
        "channelId": 6,
        "card": {"foo": "bar"},
        "targetEntity": True,
        "entityAuditTrailEvent": {"foo": "bar"},
        "automations": [{"foo": "bar"}, automation, {"bar": "foo"}] if partial else [automation],
    }
    wanted = {"automations": {"id": [{"exists": True}], "actions": {"id": [{"exists": True}]}}}
    scene.rule(function, bus=bus, pattern={"source": [NAME], "detail": {"payload": wanted}})
    scene.put({"payload": payload}, bus=bus)
    return {"events": scene.bodies(function)}


def stream(scene: Scene) -> Answers:
    bus, arn = scene.bus(), scene.arn("kinesis", "stream/s")
    parameters = {"PartitionKeyPath": "$.detail-type"}
    scene.rule({"Arn": arn, "RoleArn": scene.role(), "KinesisParameters": parameters}, bus=bus)
    scene.put(bus=bus)
    (body,) = scene.bodies(arn)
    return {"response": body}


def delivery_stream(scene: Scene) -> Answers:
    bus, arn = scene.bus(), scene.arn("firehose", "deliverystream/d")
    scene.rule({"Arn": arn, "RoleArn": scene.role()}, bus=bus)
    scene.put(*[DETAIL] * 10, bus=bus)
    return {"s3": scene.bodies(arn, 10)}


def topic(scene: Scene) -> Answers:
    """A real topic, of a server that is not the hub's, with a queue that subscribes to it."""
    sns, server = scene.servers.client("sns"), scene.servers
    arn = sns.create_topic(Name="topic")["TopicArn"]
    url = server.create("subscriber")
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=server.arn("subscriber"))
    scene.rule(arn, bus=scene.bus())
    scene.put(bus="bus")
    found = eventually(lambda: server.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages"))
    # How a notification is signed, and the order of its own keys, is that server's; the hub's part is the message.
    bodies = [{**json.loads(message["Body"]), "SignatureVersion": "1"} for message in found]
    return {"messages": [{**message, "Body": body} for message, body in zip(found, bodies, strict=True)]}


def bus_to_bus(scene: Scene) -> Answers:
    scene.bus("one")
    scene.bus("two")
    queue = scene.queue()
    scene.rule({"Arn": scene.arn("events", "event-bus/two"), "RoleArn": scene.role()}, bus="one")
    scene.rule(queue, bus="two")
    scene.put(bus="one")
    return {"messages": scene.messages(queue)}


# Archives and replays


def replays(scene: Scene) -> Answers:
    """One that ends, and one that is cancelled."""
    events, queue = scene.events, scene.queue()
    source = events.describe_event_bus()["Arn"]
    scene.rule(queue)
    events.create_archive(ArchiveName="the-archive", EventSourceArn=source, EventPattern=json.dumps(PATTERN))
    scene.put(*[DETAIL] * 3)
    scene.messages(queue, 3)
    now = time.time()
    request = {
        "EventSourceArn": scene.arn("events", "archive/the-archive"),
        "Description": "description of the replay",
        "EventStartTime": now - 600,
        "EventEndTime": now + 600,
        "Destination": {"Arn": source, "FilterArns": [scene.arn("events", "rule/rule")]},
    }
    started = plain(events.start_replay(ReplayName="the-replay", **request))
    messages = scene.messages(queue, 3)
    eventually(lambda: events.describe_replay(ReplayName="the-replay")["State"] == "COMPLETED")
    listed = plain(events.list_replays(NamePrefix="the-replay"))
    described = plain(events.describe_replay(ReplayName="the-replay"))
    events.start_replay(ReplayName="another", **request)
    return {
        "start-replay": started,
        "replay-messages": messages,
        "list-replays": listed,
        "describe-replay": described,
        "cancel-replay": plain(events.cancel_replay(ReplayName="another")),
        "describe-replay-canceled": plain(events.describe_replay(ReplayName="another")),
    }


# Across accounts and regions


class _Place:
    """A bus in an account and a region, with its policy open to the other account."""

    def __init__(self, scene: Scene, account: str, region: str, bus: str, sender: str) -> None:
        self.account, self.region, self.bus = account, region, bus
        self.events = scene.hub.client("events", account, region)
        if bus != "default":
            self.events.create_event_bus(Name=bus)
        if sender != account:
            self.events.put_permission(
                EventBusName=bus, Action="events:PutEvents", Principal=sender, StatementId="sender"
            )
        self.arn = f"arn:aws:events:{region}:{account}:event-bus/{bus}"
        self.queue = scene.queue(f"queue-{bus}", account, region)

    def rule(self, name: str, source: str, **target: str) -> None:
        self.events.put_rule(Name=name, EventBusName=self.bus, EventPattern=json.dumps({"source": [source]}))
        answer = self.events.put_targets(Rule=name, EventBusName=self.bus, Targets=[{"Id": "1", **target}])
        assert answer["FailedEntryCount"] == 0

    def put(self, source: str, bus: str = "") -> None:
        entry = {"Source": source, "DetailType": NAME, "Detail": json.dumps(DETAIL), "EventBusName": bus or self.bus}
        assert self.events.put_events(Entries=[entry])["FailedEntryCount"] == 0


def _places(scene: Scene) -> tuple[_Place, _Place]:
    kind, _, across = variant_of(scene.test).partition("-")
    bus = "default" if kind == "default" else "the-bus"
    account = scene.other if "account" in across else scene.account
    region = FAR if "region" in across else REGION
    first = _Place(scene, scene.account, REGION, bus, scene.account)
    return first, _Place(scene, account, region, bus, scene.account)


def across(scene: Scene) -> Answers:
    first, second = _places(scene)
    first.rule("here", "source-primary", Arn=first.queue)
    first.rule("onward", "source-primary", Arn=second.arn, RoleArn=scene.role())
    second.rule("from-first", "source-primary", Arn=second.queue)
    second.rule("here", "source-secondary", Arn=second.queue)
    first.put("source-primary")
    answers: Answers = {
        "messages_primary_queue_from_primary_event_bus": scene.messages(first.queue),
        "messages_secondary_queue_from_primary_event_bus": scene.messages(second.queue),
    }
    second.put("source-secondary")
    return {**answers, "messages_secondary_queue_from_secondary_event_bus": scene.messages(second.queue)}


def put_across(scene: Scene) -> Answers:
    """Straight to the other account's bus."""
    first, second = _places(scene)
    second.rule("here", "source-primary", Arn=second.queue)
    first.put("source-primary", bus=second.arn)
    return {"messages": scene.messages(second.queue)}


PLAYS: dict[str, Callable[[Scene], Answers]] = {
    "test_put_event_without_detail": bad_entry,
    "test_put_event_without_detail_type": bad_entry,
    "test_put_event_malformed_detail": bad_entry,
    "test_put_event_with_too_big_detail": bad_entry,
    "test_put_events_exceed_limit_ten_entries": too_many_entries,
    "test_put_events_time": times,
    "test_put_events_response_entries_order": two_queues,
    "test_put_events_with_target_delivery_failure": no_queue,
    "test_put_events_to_default_eventbus_for_custom_eventbus": service_event,
    "test_process_to_multiple_matching_rules_single_target": one_event_two_rules,
    "test_process_to_single_matching_rules_single_target": one_function,
    "test_process_pattern_to_single_matching_rules_single_target": two_patterns,
    "test_start_list_describe_canceled_replay": replays,
    "test_event_bus_to_event_bus_cross_account_region": across,
    "test_put_events": put_across,
    "test_put_events_with_input_path": input_path,
    "test_put_events_with_input_path_nested": input_path,
    "test_put_events_with_input_transformer_input_template_string": input_template,
    "test_put_events_with_input_transformer_input_template_json": input_template,
    "test_input_transformer_predefined_variables": predefined,
    "test_input_transformer_nested_keys_replacement": nested_keys,
    "test_put_events_with_rule_pattern_exists_false": exists_false,
    "test_put_event_with_content_base_rule_in_pattern": many_operators,
    "test_put_events_with_target_lambda_list_entry": function_list,
    "test_put_events_with_target_lambda_list_entries_partial_match": function_list,
    "test_put_events_with_target_sqs_event_detail_match": sqs_detail_match,
    "test_put_events_with_target_events": bus_to_bus,
    "test_put_events_with_target_firehose": delivery_stream,
    "test_put_events_with_target_kinesis": stream,
    "test_put_events_with_target_sns": topic,
    "test_put_events_with_target_sqs": sqs,
}


# Schedules: a hub of their own, stopped and told that its rule is older


def scheduled(folder: Path, expression: str, count: int, **target: str) -> tuple[Any, list[list[dict[str, Any]]]]:
    """The rule's targets as they are listed, and the messages of so many fires."""
    found: list[list[dict[str, Any]]] = []
    with HubProcess(folder, {}) as hub:
        url = hub.client("sqs").create_queue(QueueName="ticks")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{WORKLOAD}:ticks"
        events = hub.client("events")
        events.put_rule(Name="ticking", ScheduleExpression=expression)
        events.put_targets(Rule="ticking", Targets=[{"Id": "queue", "Arn": arn, **target}])
        listed = plain(events.list_targets_by_rule(Rule="ticking"))
        for _ in range(count):
            assert hub.stop() == 0
            age(folder, 61_000)
            hub.start()
            (message,) = receive_all(hub.client("sqs"), url, expected=1)
            found.append([{name: value for name, value in message.items() if name != "Attributes"}])
    return listed, found


def rate_to_queue(folder: Path) -> Answers:
    listed, (first, second) = scheduled(folder, "rate(1 minute)", 2)
    return {"list-targets": listed, "messages-first": first, "messages-second": second}


def rate_with_input(folder: Path) -> Answers:
    listed, (messages,) = scheduled(folder, "rate(1 minute)", 1, Input=json.dumps({"custom-value": "somecustominput"}))
    return {"list-targets": listed, "messages": messages}


def cron_to_queue(folder: Path) -> Answers:
    _, (messages,) = scheduled(folder, "cron(* * * * ? *)", 1)
    return {"message": messages}


SCHEDULED: dict[str, Callable[[Path], Answers]] = {
    "tests_schedule_rate_target_sqs": rate_to_queue,
    "tests_schedule_rate_custom_input_target_sqs": rate_with_input,
    "test_schedule_cron_target_sqs": cron_to_queue,
}
