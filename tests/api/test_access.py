import json
from pathlib import Path
from typing import Any

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


async def test_whether_another_accounts_bus_exists_is_not_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        refused = await api.refused("DescribeEventBus", THEM, Name=PREFIX + "event-bus/no")
        assert refused.startswith("AccessDeniedException")


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


def sending(api: Api, account: str, bus: Bus, **given: Any) -> bool:
    keys: dict[str, Any] = {"source": "orders", "detail_type": "t", "org_id": None, "via_rule_arn": None, **given}
    return authorize_put_events(api.catalog, Principal(account), bus, **keys) is Decision.ALLOW


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
