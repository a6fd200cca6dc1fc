from pathlib import Path
from typing import Any

import pytest

from tests.api.hub import serving
from tests.catalog.hub import PATTERN, QUEUE, ROLE, matched, put_rule

PREFIX = "arn:aws:events:us-east-1:111111111111:"
NO_RULE = "ResourceNotFoundException: Rule no does not exist on EventBus default."
NO_BUS = "ResourceNotFoundException: Event bus no does not exist."
ALL_CLOUDTRAIL = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


async def test_a_rule_is_put_described_listed_switched_and_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        put = await api.call("PutRule", Name="r", EventPattern=PATTERN, Description="d", RoleArn=ROLE)
        assert put == {"RuleArn": PREFIX + "rule/r"}
        listed = {
            "Name": "r",
            "Arn": PREFIX + "rule/r",
            "EventBusName": "default",
            "EventPattern": PATTERN,
            "State": "ENABLED",
            "Description": "d",
            "RoleArn": ROLE,
        }
        assert await api.call("ListRules") == {"Rules": [listed]}
        assert await api.call("DescribeRule", Name="r") == {**listed, "CreatedBy": "111111111111"}
        assert await api.call("DisableRule", Name="r") == {}
        assert (await api.call("DescribeRule", Name="r"))["State"] == "DISABLED"
        assert await api.call("EnableRule", Name="r") == {}
        assert (await api.call("DescribeRule", Name="r"))["State"] == "ENABLED"
        assert await api.call("DeleteRule", Name="r") == {}
        assert await api.call("ListRules") == {"Rules": []}


async def test_a_rule_may_have_a_schedule_a_pattern_or_both(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", ScheduleExpression="rate(5 minutes)", EventPattern=PATTERN)
        both = {
            "Name": "r",
            "Arn": PREFIX + "rule/r",
            "EventBusName": "default",
            "EventPattern": PATTERN,
            "ScheduleExpression": "rate(5 minutes)",
            "State": "ENABLED",
        }
        assert await api.call("ListRules") == {"Rules": [both]}
        assert await api.call("DescribeRule", Name="r") == {**both, "CreatedBy": "111111111111"}
        assert matched(api.catalog) == ["r"]
        await api.call("PutRule", Name="r", ScheduleExpression="cron(0 10 * * ? *)", EventPattern="")
        scheduled = {**both, "ScheduleExpression": "cron(0 10 * * ? *)"}
        del scheduled["EventPattern"]
        assert await api.call("ListRules") == {"Rules": [scheduled]}
        assert matched(api.catalog) == []
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        del both["ScheduleExpression"]
        assert await api.call("ListRules") == {"Rules": [both]}


async def test_a_rule_on_a_custom_bus_is_named_by_name_or_arn_of_the_bus(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        for bus in ("orders", PREFIX + "event-bus/orders"):
            put = await api.call("PutRule", Name="r", EventBusName=bus, EventPattern=PATTERN)
            assert put == {"RuleArn": PREFIX + "rule/orders/r"}
        assert [rule["Name"] for rule in (await api.call("ListRules", EventBusName="orders"))["Rules"]] == ["r"]
        assert await api.call("ListRules") == {"Rules": []}


async def test_every_state_is_accepted(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for state in ("ENABLED", "DISABLED", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"):
            await api.call("PutRule", Name="r", EventPattern=PATTERN, State=state)
            assert (await api.call("DescribeRule", Name="r"))["State"] == state


async def test_tags_count_at_creation_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for value in ("first", "second"):
            await api.call("PutRule", Name="r", EventPattern=PATTERN, Tags=[{"Key": "k", "Value": value}])
        assert await api.call("ListTagsForResource", ResourceARN=PREFIX + "rule/r") == {
            "Tags": [{"Key": "k", "Value": "first"}]
        }


async def test_rules_are_listed_in_pages_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for number in (4, 0, 3, 1, 2):
            await api.call("PutRule", Name=f"r{number}", EventPattern=PATTERN)
            await api.call("PutTargets", Rule=f"r{number}", Targets=[{"Id": "t", "Arn": QUEUE}])
        first = await api.call("ListRules", Limit=2)
        assert [rule["Name"] for rule in first["Rules"]] == ["r0", "r1"]
        second = await api.call("ListRules", Limit=3, NextToken=first["NextToken"])
        assert [rule["Name"] for rule in second["Rules"]] == ["r2", "r3", "r4"]
        assert "NextToken" not in second
        names = await api.call("ListRuleNamesByTarget", TargetArn=QUEUE, Limit=4)
        assert names["RuleNames"] == ["r0", "r1", "r2", "r3"]
        rest = await api.call("ListRuleNamesByTarget", TargetArn=QUEUE, NextToken=names["NextToken"])
        assert rest == {"RuleNames": ["r4"]}
        assert await api.call("ListRuleNamesByTarget", TargetArn=QUEUE + "2") == {"RuleNames": []}


async def test_targets_are_put_listed_in_pages_and_removed(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        targets = [{"Id": f"t{number}", "Arn": QUEUE} for number in range(5)]
        assert await api.call("PutTargets", Rule="r", Targets=targets) == {"FailedEntryCount": 0, "FailedEntries": []}
        first = await api.call("ListTargetsByRule", Rule="r", Limit=3)
        assert first["Targets"] == targets[:3]
        second = await api.call("ListTargetsByRule", Rule="r", NextToken=first["NextToken"])
        assert second == {"Targets": targets[3:]}
        removed = await api.call("RemoveTargets", Rule="r", Ids=["t0", "unknown"])
        assert removed == {"FailedEntryCount": 0, "FailedEntries": []}
        assert await api.call("ListTargetsByRule", Rule="r") == {"Targets": targets[1:]}


async def test_a_refused_target_leaves_the_others_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        refused = await api.refused(
            "PutTargets", Rule="r", Targets=[{"Id": "t", "Arn": QUEUE}, {"Id": "u", "Arn": "nonsense"}]
        )
        assert refused == (
            "ValidationException: Parameter nonsense is not valid. Reason: Provided Arn is not in correct format."
        )
        assert await api.call("ListTargetsByRule", Rule="r") == {"Targets": []}


async def test_a_target_that_is_none_is_refused_by_its_service(tmp_path: Path) -> None:
    target = {"Id": "t", "Arn": "arn:aws:dynamodb:us-east-1:111111111111:table/t", "RoleArn": ROLE}
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        refused = await api.refused("PutTargets", Rule="r", Targets=[target])
        assert "Targets of service dynamodb are not supported" in refused


async def test_an_ecs_target_is_answered_with_its_parameters(tmp_path: Path) -> None:
    arn = "arn:aws:ecs:us-east-1:111111111111:cluster/c"
    target = {"Id": "t", "Arn": arn, "EcsParameters": {"TaskDefinitionArn": arn, "TaskCount": 2}, "RoleArn": ROLE}
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        await api.call("PutTargets", Rule="r", Targets=[target])
        assert (await api.call("ListTargetsByRule", Rule="r"))["Targets"] == [target]


async def test_a_rule_with_targets_is_not_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        await api.call("PutTargets", Rule="r", Targets=[{"Id": "t", "Arn": QUEUE}])
        expected = "ValidationException: Rule can't be deleted since it has targets."
        assert await api.refused("DeleteRule", Name="r") == expected
        assert await api.refused("DeleteRule", Name="r", Force=True) == expected


async def test_deleting_a_rule_that_does_not_exist_succeeds(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert await api.call("DeleteRule", Name="no") == {}
        assert await api.refused("DeleteRule", Name="no", EventBusName="no") == NO_BUS


async def test_a_managed_rule_says_so_and_yields_to_force(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await put_rule(api.catalog, "m", managed_by="events.amazonaws.com")
        assert (await api.call("DescribeRule", Name="m"))["ManagedBy"] == "events.amazonaws.com"
        expected = "ManagedRuleException: m is a managed rule. Set 'force' parameter to true to override."
        assert await api.refused("DeleteRule", Name="m") == expected
        assert await api.refused("RemoveTargets", Rule="m", Ids=["t"]) == expected
        await api.call("RemoveTargets", Rule="m", Ids=["t"], Force=True)
        await api.call("DeleteRule", Name="m", Force=True)


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        ("PutRule", {"Name": "r", "EventBusName": "no", "EventPattern": PATTERN}, NO_BUS),
        (
            "PutRule",
            {"Name": "r"},
            "ValidationException: Parameter(s) EventPattern or ScheduleExpression must be specified.",
        ),
        (
            "PutRule",
            {"Name": "r", "EventPattern": '{"source":[]}'},
            "InvalidEventPatternException: Event pattern is not valid. Reason: Empty arrays are not allowed\n at "
            '[Source: (String)"{"source":[]}"; line: 1, column: 13]',
        ),
        (
            "PutRule",
            {"Name": "r", "ScheduleExpression": "rate(1 minutes)"},
            "ValidationException: Parameter ScheduleExpression is not valid.",
        ),
        (
            "PutRule",
            {"Name": "r", "ScheduleExpression": "rate(5 minutes)", "State": ALL_CLOUDTRAIL},
            f"ValidationException: State {ALL_CLOUDTRAIL} is not supported for a rule with a ScheduleExpression.",
        ),
        (
            "PutRule",
            {"Name": "r", "ScheduleExpression": "rate(5 minutes)", "EventPattern": '{"source":[]}'},
            "InvalidEventPatternException: Event pattern is not valid. Reason: Empty arrays are not allowed\n at "
            '[Source: (String)"{"source":[]}"; line: 1, column: 13]',
        ),
        (
            "PutRule",
            {"Name": "r", "ScheduleExpression": "", "EventPattern": ""},
            "ValidationException: Parameter(s) EventPattern or ScheduleExpression must be specified.",
        ),
        (
            "PutRule",
            {"Name": "r", "EventBusName": "orders", "ScheduleExpression": "rate(5 minutes)"},
            "ValidationException: ScheduleExpression is supported only on the default event bus.",
        ),
        (
            "PutRule",
            {
                "Name": "r",
                "EventBusName": "arn:aws:events:eu-west-1:111111111111:event-bus/no",
                "EventPattern": PATTERN,
            },
            NO_BUS,
        ),
        ("DescribeRule", {"Name": "no"}, NO_RULE),
        ("EnableRule", {"Name": "no"}, NO_RULE),
        ("DisableRule", {"Name": "no"}, NO_RULE),
        ("ListRules", {"EventBusName": "no"}, NO_BUS),
        ("ListTargetsByRule", {"Rule": "no"}, NO_RULE),
        ("ListTargetsByRule", {"Rule": "no", "EventBusName": "no"}, NO_BUS),
        ("ListRuleNamesByTarget", {"TargetArn": QUEUE, "EventBusName": "no"}, NO_BUS),
        ("PutTargets", {"Rule": "no", "Targets": [{"Id": "t", "Arn": QUEUE}]}, NO_RULE),
        ("RemoveTargets", {"Rule": "no", "Ids": ["t"]}, NO_RULE),
        (
            "PutTargets",
            {"Rule": "no", "Targets": [{"Id": "a b", "Arn": QUEUE}]},
            "ValidationException: 1 validation error detected: Value 'a b' at 'targets.1.member.id' failed to satisfy "
            r"constraint: Member must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+",
        ),
    ],
)
async def test_a_refusal_has_its_code_and_text(
    tmp_path: Path, operation: str, request_: dict[str, Any], expected: str
) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        assert await api.refused(operation, **request_) == expected
        assert await api.call("ListRules") == {"Rules": []}


async def test_a_refused_change_leaves_the_rule_as_it_was(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        await api.refused("PutRule", Name="r", EventPattern="{")
        assert matched(api.catalog) == ["r"]


EVENT = (
    '{"id":"1","account":"111111111111","source":"orders","time":"2026-11-23T10:00:00Z","region":"us-east-1",'
    '"detail-type":"t"}'
)


async def test_a_pattern_is_tested_against_an_event(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert await api.call("TestEventPattern", EventPattern=PATTERN, Event=EVENT) == {"Result": True}
        other = EVENT.replace("orders", "bills")
        assert await api.call("TestEventPattern", EventPattern=PATTERN, Event=other) == {"Result": False}


@pytest.mark.parametrize("event", ["x", "[]", '"a"', "{}", EVENT.replace('"id":"1",', "")])
async def test_an_event_without_an_envelope_is_refused(tmp_path: Path, event: str) -> None:
    async with serving(tmp_path) as api:
        refused = await api.refused("TestEventPattern", EventPattern=PATTERN, Event=event)
        assert refused == "ValidationException: Parameter Event is not valid."


async def test_a_bad_pattern_is_refused_in_the_engines_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        refused = await api.refused("TestEventPattern", EventPattern="[]", Event=EVENT)
        assert refused.startswith("InvalidEventPatternException: Event pattern is not valid. Reason: Filter is not an")
