import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.catalog.model import Bus
from router.catalog.permissions import authorize_put_events
from router.core.policy import Decision, Principal
from tests.api.hub import ME, THEM, Api, serving
from tests.catalog.hub import HERE, OTHER, PATTERN, QUEUE, put_rule

PREFIX = "arn:aws:events:us-east-1:111111111111:"
BUS = PREFIX + "event-bus/orders"
RULES = PREFIX + "rule/orders/*"


async def share(api: Api, *statements: dict[str, Any], bus: str = "orders") -> None:
    given = [{"Effect": "Allow", "Principal": {"AWS": OTHER.account}, **statement} for statement in statements]
    await api.call("PutPermission", EventBusName=bus, Policy=json.dumps({"Statement": given}))


async def test_another_accounts_bus_is_closed_without_a_policy(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        refused = await api.refused("PutRule", THEM, Name="r", EventBusName=BUS, EventPattern=PATTERN)
        assert refused == (
            "AccessDeniedException: User: arn:aws:iam::222222222222:root is not authorized to perform: events:PutRule "
            f"on resource: {PREFIX}rule/orders/r because no resource-based policy allows the events:PutRule action"
        )
        assert (await api.refused("DescribeEventBus", THEM, Name=BUS)).startswith("AccessDeniedException")
        assert (await api.refused("ListRules", THEM, EventBusName=BUS)).startswith("AccessDeniedException")


# Every action that a bus's policy can open to others, beside PutEvents.
ACTIONS: dict[str, dict[str, Any]] = {
    "DescribeEventBus": {"Name": BUS},
    "PutRule": {"Name": "r", "EventBusName": BUS, "EventPattern": PATTERN},
    "DescribeRule": {"Name": "r", "EventBusName": BUS},
    "EnableRule": {"Name": "r", "EventBusName": BUS},
    "DisableRule": {"Name": "r", "EventBusName": BUS},
    "DeleteRule": {"Name": "r", "EventBusName": BUS},
    "ListRules": {"EventBusName": BUS},
    "PutTargets": {"Rule": "r", "EventBusName": BUS, "Targets": [{"Id": "t", "Arn": QUEUE}]},
    "RemoveTargets": {"Rule": "r", "EventBusName": BUS, "Ids": ["t"]},
    "ListTargetsByRule": {"Rule": "r", "EventBusName": BUS},
    "ListRuleNamesByTarget": {"TargetArn": QUEUE, "EventBusName": BUS},
    "TagResource": {"ResourceARN": PREFIX + "rule/orders/r", "Tags": [{"Key": "k", "Value": "v"}]},
    "UntagResource": {"ResourceARN": PREFIX + "rule/orders/r", "TagKeys": ["k"]},
    "ListTagsForResource": {"ResourceARN": PREFIX + "rule/orders/r"},
}
_RESOURCE = {"DescribeEventBus": "event-bus/orders", "ListRules": "rule/orders/*"} | {
    "ListRuleNamesByTarget": "rule/orders/*"
}


@pytest.mark.parametrize("operation", ACTIONS)
async def test_each_action_needs_the_policys_leave_and_that_is_enough(tmp_path: Path, operation: str) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await put_rule(api.catalog, "r", bus="orders")
        others = [f"events:{name}" for name in ACTIONS if name != operation]
        resources = [BUS, RULES]
        resource = PREFIX + _RESOURCE.get(operation, "rule/orders/r")
        await share(api, {"Action": others, "Resource": resources})
        assert await api.refused(operation, THEM, **ACTIONS[operation]) == (
            f"AccessDeniedException: User: arn:aws:iam::222222222222:root is not authorized to perform: "
            f"events:{operation} on resource: {resource} because no resource-based policy allows the "
            f"events:{operation} action"
        )
        await share(api, {"Action": f"events:{operation}", "Resource": resource})
        await api.call(operation, THEM, **ACTIONS[operation])
        await share(
            api,
            {"Action": "events:*", "Resource": resources},
            {"Effect": "Deny", "Action": f"events:{operation}", "Resource": resource},
        )
        assert (await api.refused(operation, THEM, **ACTIONS[operation])).endswith(
            f"{resource} with an explicit deny in a resource-based policy"
        )


@pytest.mark.parametrize("operation", ACTIONS)
async def test_whether_another_accounts_bus_exists_is_not_told(tmp_path: Path, operation: str) -> None:
    async with serving(tmp_path) as api:
        missing = await api.refused(operation, THEM, **ACTIONS[operation])
        await api.call("CreateEventBus", Name="orders")
        assert await api.refused(operation, THEM, **ACTIONS[operation]) == missing


ROLE_OF_THEIRS = f"arn:aws:iam::{OTHER.account}:role/deploy"


@pytest.mark.parametrize(
    ("caller", "opened"),
    [
        (None, True),
        (ROLE_OF_THEIRS, True),
        (f"arn:aws:sts::{OTHER.account}:assumed-role/deploy/session", True),
        (f"arn:aws:iam::{OTHER.account}:user/deploy", False),
        (f"arn:aws:iam::{OTHER.account}:root", False),
    ],
)
async def test_a_bus_may_be_open_to_one_role_alone(tmp_path: Path, caller: str | None, opened: bool) -> None:
    them = msgspec.structs.replace(THEM, arn=caller)
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(api, {"Principal": {"AWS": ROLE_OF_THEIRS}, "Action": "events:DescribeEventBus", "Resource": BUS})
        if opened:
            await api.call("DescribeEventBus", them, Name=BUS)
        else:
            refused = await api.refused("DescribeEventBus", them, Name=BUS)
            assert refused.startswith(
                f"AccessDeniedException: User: {caller} is not authorized to perform: events:Desc"
            )


ONLY_EC2 = {"ForAllValues:StringEquals": {"events:source": ["aws.ec2"]}, "Null": {"events:source": "false"}}


@pytest.mark.parametrize(
    ("condition", "pattern", "opened"),
    [
        ({"StringEquals": {"events:source": "aws.ec2"}}, {"source": ["aws.ec2"]}, True),
        ({"StringEquals": {"events:source": "aws.ec2"}}, {"source": ["aws.s3"]}, False),
        ({"StringEquals": {"events:source": "aws.ec2"}}, {"detail-type": ["t"]}, False),
        (ONLY_EC2, {"source": ["aws.ec2"]}, True),
        (ONLY_EC2, {"source": ["aws.ec2", "aws.s3"]}, False),
        (ONLY_EC2, {"source": ["aws.ec2", {"prefix": ""}]}, False),
        (ONLY_EC2, {"account": ["1"]}, False),
        (ONLY_EC2, {"$or": [{"source": ["aws.ec2"]}, {"account": ["1"]}]}, False),
        ({"StringEquals": {"events:detail-type": "t"}}, {"detail-type": ["t"]}, True),
        ({"StringEquals": {"events:detail-type": "t"}}, {"detail-type": ["u"]}, False),
        ({"StringEquals": {"events:detail.service": "EC2"}}, {"detail": {"service": ["EC2"]}}, True),
        ({"StringEquals": {"events:detail.service": "EC2"}}, {"detail": {"service": ["RDS"]}}, False),
        ({"StringEquals": {"events:detail.eventTypeCode": "E"}}, {"detail": {"eventTypeCode": ["E"]}}, True),
        ({"StringEquals": {"events:detail.eventTypeCode": "E"}}, {"detail": {"eventTypeCode": ["F"]}}, False),
        (
            {"StringEquals": {"events:detail.userIdentity.principalId": "AIDA"}},
            {"detail": {"userIdentity": {"principalId": ["AIDA"]}}},
            True,
        ),
        (
            {"StringEquals": {"events:detail.userIdentity.principalId": "AIDA"}},
            {"detail": {"userIdentity": {"principalId": ["AROA"]}}},
            False,
        ),
    ],
)
async def test_a_policy_may_open_rules_by_what_their_patterns_ask_for(
    tmp_path: Path, condition: dict[str, Any], pattern: dict[str, Any], opened: bool
) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(api, {"Action": "events:PutRule", "Resource": RULES, "Condition": condition})
        request = {"Name": "r", "EventBusName": BUS, "EventPattern": json.dumps(pattern)}
        if opened:
            await api.call("PutRule", THEM, **request)
        else:
            assert (await api.refused("PutRule", THEM, **request)).startswith("AccessDeniedException")


async def test_a_pattern_that_is_none_has_no_keys_and_is_refused_as_such(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(api, {"Action": "events:PutRule", "Resource": RULES})
        refused = await api.refused("PutRule", THEM, Name="r", EventBusName=BUS, EventPattern="{")
        assert refused.startswith("InvalidEventPatternException")


async def test_who_manages_a_rule_is_a_condition_key(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await put_rule(api.catalog, "managed", bus="orders", managed_by="events.amazonaws.com")
        await put_rule(api.catalog, "plain", bus="orders")
        condition = {"StringEquals": {"events:ManagedBy": "events.amazonaws.com"}}
        await share(api, {"Action": "events:DescribeRule", "Resource": RULES, "Condition": condition})
        await api.call("DescribeRule", THEM, Name="managed", EventBusName=BUS)
        refused = await api.refused("DescribeRule", THEM, Name="plain", EventBusName=BUS)
        assert refused.startswith("AccessDeniedException")


@pytest.mark.parametrize("role", ["r", "arn:aws:iam::111111111111:user/u", "arn:aws:iam:::role"])
async def test_a_rules_role_must_be_a_roles_arn(tmp_path: Path, role: str) -> None:
    async with serving(tmp_path) as api:
        assert await api.refused("PutRule", Name="r", EventPattern=PATTERN, RoleArn=role) == (
            f"ValidationException: Parameter {role} is not valid. Reason: Provided Arn is not in correct format."
        )


async def test_a_policy_opens_rules_of_a_bus_to_another_account(tmp_path: Path) -> None:
    actions = ["events:PutRule", "events:PutTargets", "events:DescribeRule", "events:TagResource"]
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(api, {"Action": actions, "Resource": RULES}, {"Action": "events:ListRules", "Resource": RULES})
        put = await api.call("PutRule", THEM, Name="r", EventBusName=BUS, EventPattern=PATTERN)
        assert put == {"RuleArn": PREFIX + "rule/orders/r"}
        described = await api.call("DescribeRule", THEM, Name="r", EventBusName=BUS)
        assert described["CreatedBy"] == OTHER.account
        await api.call("PutTargets", THEM, Rule="r", EventBusName=BUS, Targets=[{"Id": "t", "Arn": QUEUE}])
        await api.call("TagResource", THEM, ResourceARN=put["RuleArn"], Tags=[{"Key": "a", "Value": "b"}])
        assert len((await api.call("ListRules", THEM, EventBusName=BUS))["Rules"]) == 1
        assert (await api.refused("DeleteRule", THEM, Name="r", EventBusName=BUS)).startswith("AccessDeniedException")


async def test_a_rule_on_the_default_bus_may_be_spelled_either_way(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for resource in ("rule/default/r", "rule/r"):
            await share(api, {"Action": "events:PutRule", "Resource": PREFIX + resource}, bus="default")
            await api.call("PutRule", THEM, Name="r", EventBusName=PREFIX + "event-bus/default", EventPattern=PATTERN)


async def test_conditions_see_creator_target_and_organization(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await put_rule(api.catalog, "ours", bus="orders")
        await share(
            api,
            {
                "Action": "events:*",
                "Resource": RULES,
                "Condition": {
                    "StringEquals": {"events:creatorAccount": OTHER.account, "aws:PrincipalOrgID": "o-1234567890"},
                    "ForAllValues:ArnLike": {"events:TargetArn": "arn:aws:sqs:*:111111111111:*"},
                },
            },
        )
        await api.call("PutRule", THEM, Name="theirs", EventBusName=BUS, EventPattern=PATTERN)
        await api.call("PutTargets", THEM, Rule="theirs", EventBusName=BUS, Targets=[{"Id": "t", "Arn": QUEUE}])
        topic = {"Id": "t", "Arn": "arn:aws:sns:us-east-1:111111111111:topic"}
        refused = await api.refused("PutTargets", THEM, Rule="theirs", EventBusName=BUS, Targets=[topic])
        assert refused.startswith("AccessDeniedException")
        refused = await api.refused("DisableRule", THEM, Name="ours", EventBusName=BUS)
        assert refused.startswith("AccessDeniedException")


async def test_an_express_denial_holds_for_the_own_account(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(api, {"Effect": "Deny", "Principal": "*", "Action": "events:DeleteRule", "Resource": RULES})
        assert (await api.refused("DeleteRule", ME, Name="r", EventBusName="orders")).startswith("AccessDenied")


def sending(api: Api, account: str, bus: Bus, *, role: str | None = None, **given: Any) -> bool:
    keys: dict[str, Any] = {"source": "orders", "detail_type": "t", "org_id": None, "via_rule_arn": None, **given}
    return authorize_put_events(api.catalog, Principal(account, role), bus, **keys) is Decision.ALLOW


async def test_only_the_own_account_puts_events_without_a_policy(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        bus = api.catalog.bus(HERE, "default")
        assert bus
        assert [sending(api, account, bus) for account in (HERE.account, OTHER.account)] == [True, False]


VIA = "arn:aws:events:us-east-1:222222222222:rule/r"


@pytest.mark.parametrize(
    ("condition", "given", "expected"),
    [
        ({}, {}, True),
        ({"StringEquals": {"events:source": "orders"}}, {}, True),
        ({"StringEquals": {"events:source": "bills"}}, {}, False),
        ({"StringEquals": {"events:detail-type": "t"}}, {}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, {"org_id": "o-1"}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, {}, False),
        ({"Bool": {"events:eventBusInvocation": "true"}}, {"via_rule_arn": VIA}, True),
        ({"Bool": {"events:eventBusInvocation": "true"}}, {}, False),
        ({"Bool": {"events:eventBusInvocation": "false"}}, {}, True),
        ({"ArnEquals": {"aws:SourceArn": VIA}}, {"via_rule_arn": VIA}, True),
        ({"ArnEquals": {"aws:SourceArn": VIA}}, {}, False),
        ({"StringEquals": {"aws:SourceAccount": OTHER.account}}, {"via_rule_arn": VIA}, True),
    ],
)
async def test_conditions_on_putting_events(
    tmp_path: Path, condition: dict[str, Any], given: dict[str, Any], expected: bool
) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(api, {"Action": "events:PutEvents", "Resource": BUS, "Condition": condition})
        bus = api.catalog.bus(HERE, "orders")
        assert bus
        assert sending(api, OTHER.account, bus, **given) is expected


async def test_an_express_denial_keeps_the_own_account_from_putting_events(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        await share(
            api,
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "events:PutEvents",
                "Resource": BUS,
                "Condition": {"StringNotEquals": {"events:source": "orders"}},
            },
        )
        bus = api.catalog.bus(HERE, "orders")
        assert bus
        assert [sending(api, HERE.account, bus, source=source) for source in ("orders", "bills")] == [True, False]


async def test_a_hop_is_the_targets_role(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        role = f"arn:aws:iam::{OTHER.account}:role/forward"
        await share(api, {"Principal": {"AWS": role}, "Action": "events:PutEvents", "Resource": BUS})
        bus = api.catalog.bus(HERE, "orders")
        assert bus
        assert sending(api, OTHER.account, bus, via_rule_arn=VIA, role=role)
        assert not sending(api, OTHER.account, bus, via_rule_arn=VIA, role=role + "2")


async def test_a_hop_knows_who_made_and_who_manages_its_rule(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        via = await put_rule(api.catalog, "forward", managed_by="events.amazonaws.com")
        keys = {"events:creatorAccount": HERE.account, "events:ManagedBy": "events.amazonaws.com"}
        await share(
            api,
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "events:PutEvents",
                "Resource": BUS,
                "Condition": {"StringEquals": keys},
            },
        )
        bus = api.catalog.bus(HERE, "orders")
        assert bus
        assert [sending(api, HERE.account, bus, via_rule_arn=arn) for arn in (via, via + "2")] == [False, True]
