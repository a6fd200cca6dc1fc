"""Every operation of the control plane through boto3 against a real daemon, and what of it survives a SIGKILL."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess

EVENTS = f"arn:aws:events:{REGION}:{WORKLOAD}"
PATTERN = '{"source":["shop"]}'
QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"
TARGET = {"Id": "queue", "Arn": QUEUE}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("control-plane"), {}) as running:
        yield running


@pytest.fixture(scope="module")
def events(hub: HubProcess) -> Any:
    return hub.client("events")


def bare(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without boto3's own part."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def refusal(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**request)
    code: str = refused.value.response["Error"]["Code"]
    return code


# each operation


def test_a_bus_is_created_described_listed_and_deleted(events: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=60)
    arn = f"{EVENTS}:event-bus/orders"
    assert bare(events.create_event_bus(Name="orders", Description="all")) == {
        "EventBusArn": arn,
        "Description": "all",
    }
    described = bare(events.describe_event_bus(Name="orders"))
    created, modified = described.pop("CreationTime"), described.pop("LastModifiedTime")
    assert described == {"Name": "orders", "Arn": arn, "Description": "all"}
    assert before < created <= modified < datetime.now(UTC) + timedelta(seconds=60)
    (listed,) = events.list_event_buses(NamePrefix="ord")["EventBuses"]
    assert listed == bare(events.describe_event_bus(Name=arn))
    assert bare(events.delete_event_bus(Name="orders")) == {}
    assert bare(events.delete_event_bus(Name="orders")) == {}, "deleting is idempotent"
    assert events.list_event_buses(NamePrefix="ord")["EventBuses"] == []


def test_every_location_has_a_default_bus(events: Any) -> None:
    described = events.describe_event_bus()
    assert (described["Name"], described["Arn"]) == ("default", f"{EVENTS}:event-bus/default")


def test_a_rule_is_put_described_switched_and_deleted(events: Any) -> None:
    arn = f"{EVENTS}:rule/orders"
    request = {
        "Name": "orders",
        "EventPattern": PATTERN,
        "Description": "first",
        "RoleArn": "arn:aws:iam::111111111111:role/r",
    }
    assert bare(events.put_rule(**request)) == {"RuleArn": arn}
    expected = {**request, "Arn": arn, "State": "ENABLED", "EventBusName": "default"}
    assert bare(events.describe_rule(Name="orders")) == {**expected, "CreatedBy": WORKLOAD}
    assert events.list_rules(NamePrefix="orders")["Rules"] == [expected]
    assert bare(events.disable_rule(Name="orders")) == {}
    assert events.describe_rule(Name="orders")["State"] == "DISABLED"
    events.enable_rule(Name="orders")
    assert events.describe_rule(Name="orders")["State"] == "ENABLED"
    assert bare(events.put_rule(Name="orders", EventPattern=PATTERN, State="DISABLED")) == {"RuleArn": arn}
    replaced = bare(events.describe_rule(Name="orders"))
    assert replaced["State"] == "DISABLED"
    assert not {"Description", "RoleArn"} & set(replaced), "PutRule replaces what it does not name"
    assert bare(events.delete_rule(Name="orders")) == {}
    assert bare(events.delete_rule(Name="orders")) == {}, "deleting is idempotent"
    assert refusal(events.describe_rule, Name="orders") == "ResourceNotFoundException"


def test_targets_are_put_listed_and_removed_in_every_form(events: Any) -> None:
    targets: list[dict[str, Any]] = [
        TARGET,
        {
            "Id": "transformed",
            "Arn": f"arn:aws:lambda:{REGION}:{WORKLOAD}:function:f",
            "InputTransformer": {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"n": <n>}'},
            "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
            "DeadLetterConfig": {"Arn": QUEUE},
        },
        {
            "Id": "stream",
            "Arn": f"arn:aws:kinesis:{REGION}:{WORKLOAD}:stream/s",
            "RoleArn": f"arn:aws:iam::{WORKLOAD}:role/r",
            "KinesisParameters": {"PartitionKeyPath": "$.detail.n"},
        },
        {"Id": "path", "Arn": f"arn:aws:sns:{REGION}:{WORKLOAD}:t", "InputPath": "$.detail"},
        {"Id": "constant", "Arn": f"{QUEUE}.fifo", "Input": "1", "SqsParameters": {"MessageGroupId": "g"}},
    ]
    events.put_rule(Name="targets", EventPattern=PATTERN)
    assert bare(events.put_targets(Rule="targets", Targets=targets)) == {"FailedEntryCount": 0, "FailedEntries": []}
    listed = events.list_targets_by_rule(Rule="targets")["Targets"]
    assert listed == sorted(targets, key=lambda target: str(target["Id"]))
    assert events.list_rule_names_by_target(TargetArn=QUEUE)["RuleNames"] == ["targets"]
    events.put_targets(Rule="targets", Targets=[{**TARGET, "InputPath": "$.detail"}])
    (changed,) = [t for t in events.list_targets_by_rule(Rule="targets")["Targets"] if t["Id"] == "queue"]
    assert changed == {**TARGET, "InputPath": "$.detail"}
    assert refusal(events.delete_rule, Name="targets") == "ValidationException"
    ids = [str(target["Id"]) for target in targets]
    assert bare(events.remove_targets(Rule="targets", Ids=ids)) == {"FailedEntryCount": 0, "FailedEntries": []}
    assert events.list_targets_by_rule(Rule="targets")["Targets"] == []
    assert events.list_rule_names_by_target(TargetArn=QUEUE)["RuleNames"] == []
    events.delete_rule(Name="targets")


def test_permissions_are_put_replaced_and_removed(events: Any) -> None:
    events.create_event_bus(Name="shared")
    arn = f"{EVENTS}:event-bus/shared"

    def statements() -> Any:
        return json.loads(events.describe_event_bus(Name="shared")["Policy"])["Statement"]

    request = {"EventBusName": "shared", "Action": "events:PutEvents"}
    assert bare(events.put_permission(**request, StatementId="one", Principal=SECURITY)) == {}
    organization = {"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-1"}
    events.put_permission(**request, StatementId="two", Principal="*", Condition=organization)
    allow = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": arn}
    assert statements() == [
        {"Sid": "one", "Principal": {"AWS": f"arn:aws:iam::{SECURITY}:root"}, **allow},
        {"Sid": "two", "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, **allow},
    ]
    assert bare(events.remove_permission(EventBusName="shared", StatementId="one")) == {}
    assert [statement["Sid"] for statement in statements()] == ["two"]
    events.remove_permission(EventBusName="shared", RemoveAllPermissions=True)
    assert "Policy" not in events.describe_event_bus(Name="shared")
    policy = {"Version": "2012-10-17", "Statement": [{"Sid": "three", "Principal": "*", **allow}]}
    events.put_permission(EventBusName="shared", Policy=json.dumps(policy))
    assert [statement["Sid"] for statement in statements()] == ["three"]
    events.delete_event_bus(Name="shared")


def test_tags_are_put_changed_and_removed(events: Any) -> None:
    events.put_rule(Name="tagged", EventPattern=PATTERN, Tags=[{"Key": "team", "Value": "a"}])
    for arn in (f"{EVENTS}:rule/tagged", f"{EVENTS}:event-bus/default"):
        assert (
            bare(events.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}]))
            == {}
        )
        tags = events.list_tags_for_resource(ResourceARN=arn)["Tags"]
        assert tags == [{"Key": "team", "Value": "b"}, {"Key": "x", "Value": ""}]
        assert bare(events.untag_resource(ResourceARN=arn, TagKeys=["x", "unknown"])) == {}
        assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "b"}]
        events.untag_resource(ResourceARN=arn, TagKeys=["team"])
    events.delete_rule(Name="tagged")


def test_patterns_are_tried_out(events: Any) -> None:
    envelope = {
        "id": "1",
        "account": WORKLOAD,
        "source": "shop",
        "time": "2026-11-23T10:00:00Z",
        "region": REGION,
        "detail-type": "order",
        "detail": {"price": 12},
    }
    for price, expected in ((10, True), (12, False)):
        pattern = json.dumps({"detail": {"price": [{"numeric": [">", price]}]}})
        answer = events.test_event_pattern(EventPattern=pattern, Event=json.dumps(envelope))
        assert bare(answer) == {"Result": expected}


def test_events_are_put_to_a_bus_by_name_and_by_arn_and_to_one_that_does_not_exist(events: Any) -> None:
    entry = {"Source": "shop", "DetailType": "order", "Detail": "{}", "Time": datetime.now(UTC), "Resources": ["a"]}
    buses = ("default", f"{EVENTS}:event-bus/default", "nowhere")
    answer = events.put_events(Entries=[{**entry, "EventBusName": bus} for bus in buses])
    assert answer["FailedEntryCount"] == 0
    assert len({given["EventId"] for given in answer["Entries"]}) == 3


def test_lists_come_in_pages(events: Any) -> None:
    names = [f"page-{number}" for number in range(5)]
    events.create_event_bus(Name="paged")
    for name in names:
        events.create_event_bus(Name=name)
        events.put_rule(Name=name, EventPattern=PATTERN, EventBusName="paged")
        events.put_targets(Rule=name, EventBusName="paged", Targets=[{**TARGET, "Id": f"{name}-{i}"} for i in range(3)])
    calls: list[tuple[Any, dict[str, Any], Any, list[str]]] = [
        (events.list_event_buses, {"NamePrefix": "page-"}, lambda page: [b["Name"] for b in page["EventBuses"]], names),
        (events.list_rules, {"EventBusName": "paged"}, lambda page: [r["Name"] for r in page["Rules"]], names),
        (
            events.list_rule_names_by_target,
            {"EventBusName": "paged", "TargetArn": QUEUE},
            lambda page: page["RuleNames"],
            names,
        ),
        (
            events.list_targets_by_rule,
            {"EventBusName": "paged", "Rule": "page-0"},
            lambda page: [t["Id"] for t in page["Targets"]],
            ["page-0-0", "page-0-1", "page-0-2"],
        ),
    ]
    for call, request, read, expected in calls:
        page = call(**request, Limit=2)
        found, limit = read(page), 1
        assert len(found) == 2
        while "NextToken" in page:
            page = call(**request, Limit=limit, NextToken=page["NextToken"])
            assert len(read(page)) <= limit
            found, limit = found + read(page), limit + 1
        assert found == expected
        assert "NextToken" not in call(**request, Limit=len(expected))


def test_locations_see_only_their_own(hub: HubProcess, events: Any) -> None:
    events.create_event_bus(Name="mine")
    events.put_rule(Name="mine", EventPattern=PATTERN)
    for account, region in ((SECURITY, REGION), (WORKLOAD, "eu-west-1"), ("999999999999", "ap-south-1")):
        other = hub.client("events", account, region)
        assert [bus["Name"] for bus in other.list_event_buses()["EventBuses"]] == ["default"]
        assert other.list_rules()["Rules"] == []
        assert refusal(other.describe_rule, Name="mine") == "ResourceNotFoundException"
        created = other.create_event_bus(Name="mine")["EventBusArn"]
        assert created == f"arn:aws:events:{region}:{account}:event-bus/mine"
        other.delete_event_bus(Name="mine")
    security = hub.client("events", SECURITY)
    assert refusal(security.describe_event_bus, Name=f"{EVENTS}:event-bus/mine") == "AccessDeniedException"
    entry = {"Source": "shop", "DetailType": "order", "Detail": "{}", "EventBusName": f"{EVENTS}:event-bus/mine"}
    assert refusal(security.put_events, Entries=[entry]) == "AccessDeniedException"
    assert [bus["Name"] for bus in events.list_event_buses(NamePrefix="mine")["EventBuses"]] == ["mine"]


# restarts


def configured(hub: HubProcess, account: str = WORKLOAD, region: str = REGION) -> dict[str, Any]:
    """Buses with policies and tags, rules with targets and tags, of one location."""
    events = hub.client("events", account, region)
    found: dict[str, Any] = {}
    for bus in events.list_event_buses()["EventBuses"]:
        rules = {}
        for rule in events.list_rules(EventBusName=bus["Name"])["Rules"]:
            targets = events.list_targets_by_rule(Rule=rule["Name"], EventBusName=bus["Name"])["Targets"]
            tags = events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
            rules[rule["Name"]] = (rule, targets, tags)
        found[bus["Name"]] = (bus, events.list_tags_for_resource(ResourceARN=bus["Arn"])["Tags"], rules)
    return found


def test_everything_configured_survives_a_kill(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {}) as hub:
        for account, region in ((WORKLOAD, REGION), (SECURITY, "eu-west-1"), ("999999999999", "ap-south-1")):
            events = hub.client("events", account, region)
            bus = events.create_event_bus(Name="kept", Description="d", Tags=[{"Key": "a", "Value": "1"}])
            events.create_event_bus(Name="gone")
            events.delete_event_bus(Name="gone")
            events.put_permission(EventBusName="kept", StatementId="s", Action="events:PutEvents", Principal=WORKLOAD)
            events.tag_resource(ResourceARN=bus["EventBusArn"], Tags=[{"Key": "b", "Value": "2"}])
            target = {"Id": "q", "Arn": f"arn:aws:sqs:{region}:{account}:q"}
            for name in ("default", "kept"):
                events.put_rule(
                    Name="r",
                    EventPattern=PATTERN,
                    EventBusName=name,
                    Tags=[{"Key": "c", "Value": "3"}],
                    State="DISABLED",
                )
                events.put_targets(Rule="r", EventBusName=name, Targets=[target, {**target, "Id": "removed"}])
                events.remove_targets(Rule="r", EventBusName=name, Ids=["removed"])
                events.put_rule(Name="deleted", EventPattern=PATTERN, EventBusName=name)
                events.delete_rule(Name="deleted", EventBusName=name)
            events.put_permission(StatementId="default", Action="events:PutEvents", Principal="*")
        locations = ((WORKLOAD, REGION), (SECURITY, "eu-west-1"), ("999999999999", "ap-south-1"))
        before = [configured(hub, *location) for location in locations]
        assert [sorted(buses) for buses in before] == [["default", "kept"]] * 3
        hub.kill()
        hub.start()
        assert [configured(hub, *location) for location in locations] == before


def test_what_the_hub_file_declares_is_applied_again_at_each_start(tmp_path: Path) -> None:
    rule = {"Name": "declared", "EventBusName": "declared", "EventPattern": {"source": ["shop"]}, "Targets": [TARGET]}
    resources = {
        "account": WORKLOAD,
        "region": REGION,
        "buses": [{"Name": "declared", "Description": "d"}],
        "queues": [{"QueueName": "orders", "Attributes": {"VisibilityTimeout": "7"}}],
        "rules": [rule],
    }
    with HubProcess(tmp_path, {"resources": [resources]}) as hub:
        events = hub.client("events")
        before = configured(hub)
        assert before["declared"][2]["declared"][1] == [TARGET]
        events.put_rule(Name="declared", EventBusName="declared", EventPattern='{"source":["other"]}', State="DISABLED")
        events.remove_targets(Rule="declared", EventBusName="declared", Ids=["queue"])
        events.put_permission(EventBusName="declared", StatementId="s", Action="events:PutEvents", Principal="*")
        events.put_rule(Name="made", EventBusName="declared", EventPattern=PATTERN)
        sqs = hub.client("sqs")
        url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "9"})
        assert [entry["resource"] for entry in hub.log if entry["event"] == "catalog.declared_changed"] == [
            f"{EVENTS}:rule/declared/declared",
            f"{EVENTS}:event-bus/declared",
        ]
        hub.kill()
        hub.start()
        after = configured(hub)
        made = after["declared"][2].pop("made")
        for buses in (before, after):
            buses["declared"][0].pop("LastModifiedTime")
        assert after == before
        assert made[0]["EventPattern"] == PATTERN, "what the API made stays"
        attributes = hub.client("sqs").get_queue_attributes(
            QueueUrl=hub.client("sqs").get_queue_url(QueueName="orders")["QueueUrl"],
            AttributeNames=["VisibilityTimeout"],
        )
        assert attributes["Attributes"] == {"VisibilityTimeout": "7"}
