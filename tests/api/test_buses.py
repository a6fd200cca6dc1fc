import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.hub import ME, THEM, serving
from tests.catalog.hub import HERE, OTHER, QUEUE, Clock

ARN = "arn:aws:events:us-east-1:111111111111:event-bus/"


async def test_a_bus_is_created_described_listed_and_deleted(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, clock=clock) as api:
        created = await api.call("CreateEventBus", Name="orders", Description="d", Tags=[{"Key": "k", "Value": "v"}])
        assert created == {"EventBusArn": ARN + "orders", "Description": "d"}
        seconds = clock.ms // 1000
        described = {
            "Name": "orders",
            "Arn": ARN + "orders",
            "Description": "d",
            "CreationTime": seconds,
            "LastModifiedTime": seconds,
        }
        assert await api.call("DescribeEventBus", Name="orders") == described
        assert await api.call("DescribeEventBus", Name=ARN + "orders") == described
        assert await api.call("ListEventBuses", NamePrefix="orders") == {"EventBuses": [described]}
        assert await api.call("DeleteEventBus", Name="orders") == {}
        assert await api.call("ListEventBuses", NamePrefix="orders") == {"EventBuses": []}


async def test_describe_without_a_name_means_the_default_bus(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert (await api.call("DescribeEventBus"))["Arn"] == ARN + "default"


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        ("CreateEventBus", {"Name": "default"}, "ResourceAlreadyExistsException: Event bus default already exists."),
        ("CreateEventBus", {"Name": "a/b"}, "ValidationException: Event bus name must not contain '/'."),
        (
            "CreateEventBus",
            {"Name": "aws.partner/x", "EventSourceName": "aws.partner/x/y"},
            "ValidationException: Parameter Name is not valid. Reason: the name of a partner event bus is that of its "
            "event source: expected aws.partner/x/y, got aws.partner/x.",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "KmsKeyIdentifier": "arn:aws:kms:us-east-1:111111111111:k"},
            "ValidationException: Parameter KmsKeyIdentifier is not valid. Reason: expected the id or the ARN of a KMS "
            "key, or its alias (alias/NAME) or the alias's ARN, got 'arn:aws:kms:us-east-1:111111111111:k'.",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "KmsKeyIdentifier": "arn:aws:kms:eu-west-1:111111111111:alias/k"},
            "ValidationException: Parameter KmsKeyIdentifier is not valid. Reason: expected a key in us-east-1, the "
            "region of the event bus, got one in eu-west-1.",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "KmsKeyIdentifier": "my key"},
            "ValidationException: 1 validation error detected: Value 'my key' at 'kmsKeyIdentifier' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-/:]*$",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "LogConfig": {"Level": "DEBUG"}},
            "ValidationException: 1 validation error detected: Value 'DEBUG' at 'logConfig.level' failed to satisfy "
            "constraint: Member must satisfy enum value set: [TRACE, ERROR, INFO, OFF]",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "DeadLetterConfig": {}},
            "ValidationException: Parameter DeadLetterConfig.Arn is not valid. Reason: Provide a valid SQS queue ARN, "
            "or an empty string to remove the dead-letter queue configuration.",
        ),
        ("UpdateEventBus", {"Name": "no"}, "ResourceNotFoundException: Event bus no does not exist."),
        (
            "UpdateEventBus",
            {"Name": "default", "DeadLetterConfig": {"Arn": QUEUE + ".fifo"}},
            "ValidationException: SQS FIFO is not supported by Dead Letter Queues.",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "DeadLetterConfig": {"Arn": QUEUE + ".fifo"}},
            "ValidationException: SQS FIFO is not supported by Dead Letter Queues.",
        ),
        (
            "CreateEventBus",
            {"Name": "a", "Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
            "ValidationException: Invalid parameter: Duplicated keys are not allowed.",
        ),
        ("DescribeEventBus", {"Name": "no"}, "ResourceNotFoundException: Event bus no does not exist."),
        ("DeleteEventBus", {"Name": "default"}, "ValidationException: Cannot delete event bus default."),
        ("ListEventBuses", {"NextToken": "made-up"}, "ValidationException: Parameter NextToken is not valid."),
    ],
)
async def test_a_refusal_has_its_code_and_text(
    tmp_path: Path, operation: str, request_: dict[str, Any], expected: str
) -> None:
    async with serving(tmp_path) as api:
        assert await api.refused(operation, **request_) == expected


async def test_deleting_a_bus_that_does_not_exist_succeeds(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert await api.call("DeleteEventBus", Name="no") == {}


KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
ATTRIBUTES: dict[str, Any] = {
    "Description": "d",
    "KmsKeyIdentifier": "alias/k",
    "DeadLetterConfig": {"Arn": QUEUE},
    "LogConfig": {"IncludeDetail": "FULL", "Level": "INFO"},
}
NOTHING: dict[str, Any] = {"Description": "", "KmsKeyIdentifier": "", "DeadLetterConfig": {}, "LogConfig": {}}


def shown(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name in ATTRIBUTES}


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        f"arn:aws:kms:us-east-1:222222222222:key/{KEY}",
        "alias/aws/events",
        "arn:aws:kms:us-east-1:111111111111:alias/k",
    ],
)
async def test_each_form_of_a_key_is_kept_as_it_was_given(tmp_path: Path, key: str) -> None:
    async with serving(tmp_path) as api:
        assert (await api.call("CreateEventBus", Name="a", KmsKeyIdentifier=key))["KmsKeyIdentifier"] == key
        assert (await api.call("DescribeEventBus", Name="a"))["KmsKeyIdentifier"] == key


async def test_attributes_outlive_a_restart_and_empty_ones_are_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert await api.call("CreateEventBus", Name="a", **ATTRIBUTES) == {"EventBusArn": ARN + "a", **ATTRIBUTES}
        nothing = {**NOTHING, "DeadLetterConfig": None}
        assert await api.call("CreateEventBus", Name="b", **nothing) == {"EventBusArn": ARN + "b"}
    async with serving(tmp_path) as api:
        assert shown(await api.call("DescribeEventBus", Name="a")) == ATTRIBUTES
        assert shown(await api.call("DescribeEventBus", Name="b")) == {}


async def test_an_update_changes_what_it_is_given_and_the_time_and_keeps_the_rest(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, clock=clock) as api:
        await api.call("CreateEventBus", Name="a", Tags=[{"Key": "k", "Value": "v"}], **ATTRIBUTES)
        created = clock.ms // 1000
        clock.ms += 5000
        changed = {**ATTRIBUTES, "LogConfig": {"Level": "TRACE"}}
        assert await api.call("UpdateEventBus", Name="a", LogConfig={"Level": "TRACE"}) == {
            "Arn": ARN + "a",
            "Name": "a",
            **changed,
        }
        described = await api.call("DescribeEventBus", Name="a")
        assert shown(described) == changed
        assert (described["CreationTime"], described["LastModifiedTime"]) == (created, created + 5)
        assert (await api.call("ListTagsForResource", ResourceARN=ARN + "a"))["Tags"] == [{"Key": "k", "Value": "v"}]


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
async def test_an_update_with_an_empty_attribute_removes_it_alone(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="a", **ATTRIBUTES)
        left = {other: value for other, value in ATTRIBUTES.items() if other != name}
        assert shown(await api.call("UpdateEventBus", Name="a", **{name: NOTHING[name]})) == left
        assert shown(await api.call("DescribeEventBus", Name="a")) == left


async def test_the_default_bus_is_updated_with_its_name_and_without_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("UpdateEventBus", Name="default", Description="d")
        await api.call("UpdateEventBus", LogConfig={"Level": "ERROR"})
    async with serving(tmp_path) as api:
        described = await api.call("DescribeEventBus")
        assert shown(described) == {"Description": "d", "LogConfig": {"Level": "ERROR"}}


async def test_an_update_that_changes_nothing_leaves_the_time_alone(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, clock=clock) as api:
        await api.call("CreateEventBus", Name="a", **ATTRIBUTES)
        created = clock.ms // 1000
        clock.ms += 5000
        await api.call("UpdateEventBus", Name="a", Description="d")
        assert (await api.call("DescribeEventBus", Name="a"))["LastModifiedTime"] == created


async def test_a_log_is_refused_where_log_groups_are_at_an_endpoint(tmp_path: Path) -> None:
    refused = (
        "ValidationException: Parameter LogConfig.Level is not valid. Reason: this hub writes event bus logs into its "
        "own log groups, and those of 111111111111/us-east-1 are at an endpoint (endpoints in the hub file); expected "
        "OFF, got INFO."
    )
    async with serving(tmp_path, logs_leave=lambda location: location == HERE) as api:
        config = {"Level": "INFO"}
        assert await api.refused("CreateEventBus", Name="a", LogConfig=config) == refused
        assert await api.refused("UpdateEventBus", Name="default", LogConfig=config) == refused
        assert (await api.call("CreateEventBus", Name="a", LogConfig={"Level": "OFF"}))["LogConfig"] == {"Level": "OFF"}
        assert (await api.call("CreateEventBus", THEM, Name="a", LogConfig=config))["LogConfig"] == config


async def test_which_buses_write_a_log_follows_their_changes(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="a", LogConfig={"Level": "INFO", "IncludeDetail": "FULL"})
        await api.call("CreateEventBus", Name="b", LogConfig={"Level": "ERROR"})
        await api.call("UpdateEventBus", LogConfig={"Level": "TRACE"})
        await api.call("CreateEventBus", Name="off", LogConfig={"IncludeDetail": "FULL"})
        await api.call("DeleteEventBus", Name="b")
        await api.call("CreateEventBus", Name="b")
    async with serving(tmp_path) as api:
        found = {bus: (log.level.name, log.full) for (_, bus), log in api.catalog.logs.items()}
        assert found == {"a": ("INFO", True), "default": ("TRACE", False)}
        await api.call("UpdateEventBus", LogConfig={"Level": "OFF"})
        await api.call("DeleteEventBus", Name="a")
        assert api.catalog.logs == {}


async def test_pages_follow_one_another_in_name_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for name in ("b3", "b1", "a", "b2", "c"):
            await api.call("CreateEventBus", Name=name)
        first = await api.call("ListEventBuses", NamePrefix="b", Limit=2)
        assert [bus["Name"] for bus in first["EventBuses"]] == ["b1", "b2"]
        second = await api.call("ListEventBuses", NamePrefix="b", Limit=5, NextToken=first["NextToken"])
        assert [bus["Name"] for bus in second["EventBuses"]] == ["b3"]
        assert "NextToken" not in second


async def test_a_token_is_good_for_its_own_listing_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for name in ("b1", "b2", "b3"):
            await api.call("CreateEventBus", Name=name)
        token = (await api.call("ListEventBuses", NamePrefix="b", Limit=1))["NextToken"]
        refused = "ValidationException: Parameter NextToken is not valid."
        assert await api.refused("ListEventBuses", NextToken=token) == refused
        assert await api.refused("ListEventBuses", THEM, NamePrefix="b", NextToken=token) == refused
        assert await api.refused("ListRules", NextToken=token) == refused
        assert await api.refused("ListEventBuses", NamePrefix="b", NextToken=token[:-4] + "AAAA") == refused


async def test_a_token_outlives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for name in ("a", "b"):
            await api.call("CreateEventBus", Name=name)
        token = (await api.call("ListEventBuses", Limit=1))["NextToken"]
    async with serving(tmp_path) as api:
        page = await api.call("ListEventBuses", NextToken=token)
        assert [bus["Name"] for bus in page["EventBuses"]] == ["b", "default"]


async def test_locations_do_not_see_each_others_buses(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        assert [bus["Name"] for bus in (await api.call("ListEventBuses", THEM))["EventBuses"]] == ["default"]


async def test_a_short_permission_becomes_the_recorded_statement(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        permission: dict[str, Any] = {"Action": "events:PutEvents", "Principal": OTHER.account, "StatementId": "s"}
        assert await api.call("PutPermission", **permission) == {}
        assert (await api.call("DescribeEventBus"))["Policy"] == (
            '{"Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Allow","Principal":'
            '{"AWS":"arn:aws:iam::222222222222:root"},"Action":"events:PutEvents",'
            '"Resource":"arn:aws:events:us-east-1:111111111111:event-bus/default"}]}'
        )


async def test_statements_are_replaced_by_id_and_removed_by_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="b")
        for statement_id in ("one", "two", "one"):
            await api.call(
                "PutPermission",
                EventBusName="b",
                Action="events:PutEvents",
                Principal="*",
                StatementId=statement_id,
                Condition={"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-1"},
            )
        policy = json.loads((await api.call("DescribeEventBus", Name="b"))["Policy"])
        assert [statement["Sid"] for statement in policy["Statement"]] == ["one", "two"]
        assert policy["Statement"][0]["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}
        await api.call("RemovePermission", EventBusName="b", StatementId="one")
        await api.call("RemovePermission", EventBusName="b", StatementId="two")
        assert "Policy" not in await api.call("DescribeEventBus", Name="b")


async def test_a_whole_policy_replaces_the_old_one_and_can_be_removed(tmp_path: Path) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": ARN + "default"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    async with serving(tmp_path) as api:
        await api.call("PutPermission", Action="events:PutEvents", Principal="*", StatementId="s")
        await api.call("PutPermission", Policy=policy)
        assert (await api.call("DescribeEventBus"))["Policy"] == policy
        await api.call("PutPermission", Action="events:PutEvents", Principal="*", StatementId="s")
        assert len(json.loads((await api.call("DescribeEventBus"))["Policy"])["Statement"]) == 2
        await api.call("RemovePermission", RemoveAllPermissions=True)
        assert "Policy" not in await api.call("DescribeEventBus")


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        (
            "PutPermission",
            {"EventBusName": "no", "Action": "events:PutEvents", "Principal": "*", "StatementId": "s"},
            "ResourceNotFoundException: Event bus no does not exist.",
        ),
        (
            "PutPermission",
            {"Action": "events:PutEvents"},
            "ValidationException: Parameter(s) Principal, StatementId must be specified.",
        ),
        (
            "PutPermission",
            {"Action": "events:PutRule", "Principal": "*", "StatementId": "s"},
            "ValidationException: Provided value in parameter 'action' is not supported.",
        ),
        (
            "PutPermission",
            {
                "Action": "events:PutEvents",
                "Principal": "222222222222",
                "StatementId": "s",
                "Condition": {"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o"},
            },
            "ValidationException: Parameter Condition is not valid. Reason: Principal must be * when Condition is "
            "specified.",
        ),
        (
            "PutPermission",
            {
                "Action": "events:PutEvents",
                "Principal": "*",
                "StatementId": "s",
                "Condition": {"Type": "StringLike", "Key": "aws:PrincipalOrgID", "Value": "o"},
            },
            "ValidationException: Parameter Condition is not valid. Reason: Expected Type StringEquals and Key "
            "aws:PrincipalOrgID, got StringLike and aws:PrincipalOrgID.",
        ),
        (
            "PutPermission",
            {"Policy": '{"Statement":[]}', "StatementId": "s"},
            "ValidationException: Parameter(s) StatementId must not be specified together with Policy.",
        ),
        (
            "PutPermission",
            {"Policy": '{"Version":"2012-10-17"}'},
            "ValidationException: Parameter Policy is not valid. Reason: The policy has no Statement",
        ),
        (
            "PutPermission",
            {"Policy": " " * 10_241},
            "PolicyLengthExceededException: The policy of event bus default may have 10240 characters, got 10241.",
        ),
        (
            "RemovePermission",
            {"StatementId": "s"},
            "ResourceNotFoundException: Statement with the provided id does not exist.",
        ),
        (
            "RemovePermission",
            {},
            "ValidationException: Parameter(s) StatementId or RemoveAllPermissions must be specified.",
        ),
        (
            "RemovePermission",
            {"StatementId": "s", "EventBusName": "no"},
            "ResourceNotFoundException: Event bus no does not exist.",
        ),
    ],
)
async def test_a_refused_permission_has_its_code_and_text(
    tmp_path: Path, operation: str, request_: dict[str, Any], expected: str
) -> None:
    async with serving(tmp_path) as api:
        assert await api.refused(operation, **request_) == expected
        assert "Policy" not in await api.call("DescribeEventBus", ME)
