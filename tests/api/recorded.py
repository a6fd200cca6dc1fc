"""Plays of what was recorded of buses, rules, targets, patterns and tags: the calls that lead to the recorded answers,
written from the recorded tests' names and steps. A play gives the answer to each step.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from router.aws.service import Caller
from router.errors import ApiError
from tests.api.hub import Api
from tests.catalog.hub import HERE, OTHER, QUEUE
from tests.recorded import ROWS, Many, name_of, variant_of

PATTERN = json.dumps(
    {
        "source": ["core.update-account-command"],
        "detail-type": ["core.update-account-command"],
        "detail": {"command": ["update-account"]},
    }
)
TAGS = [{"Key": "tag1", "Value": "value1"}, {"Key": "tag2", "Value": "value2"}]
EVENT = {
    "id": "1",
    "source": "order",
    "detail-type": "Test",
    "account": HERE.account,
    "region": HERE.region,
    "time": "2022-07-13T13:48:01Z",
    "detail": {"command": "update-account"},
}
Play = Callable[[Api, str], Awaitable[dict[str, Any]]]


async def step(api: Api, operation: str, **request: Any) -> Any:
    try:
        return await api.call(operation, **request)
    except ApiError as error:
        return {"Error": {"Code": error.code, "Message": error.message, "Status": error.status}}


async def bus_for(api: Api, variant: str) -> str:
    """The bus of a variant of a test: the default one or one of the test's own."""
    if "custom" not in variant:
        return "default"
    await api.call("CreateEventBus", Name="my-bus")
    return "my-bus"


async def buses(api: Api, variant: str) -> dict[str, Any]:
    """The recording calls every region `<region>`: here their names are taken back, once they were seen to be right."""
    answers: dict[str, Any] = {}
    callers = [Caller(HERE.account, region) for region in ("us-east-1", "us-west-1", "eu-central-1")]
    for caller in callers:
        request = {"Name": "my-bus", "Description": "test bus"}
        created = await step(api, "CreateEventBus", caller=caller, **request)
        assert created["EventBusArn"] == f"arn:aws:events:{caller.region}:{caller.account}:event-bus/my-bus"
        answers |= {
            f"create-custom-event-bus-{caller.region}": created,
            f"list-event-buses-after-create-{caller.region}": await step(
                api, "ListEventBuses", caller=caller, NamePrefix="my"
            ),
            f"describe-custom-event-bus-{caller.region}": await step(
                api, "DescribeEventBus", caller=caller, Name="my-bus"
            ),
        }
    for caller in callers:
        answers |= {
            f"delete-custom-event-bus-{caller.region}": await step(api, "DeleteEventBus", caller=caller, Name="my-bus"),
            f"list-event-buses-after-delete-{caller.region}": await step(
                api, "ListEventBuses", caller=caller, NamePrefix="my"
            ),
        }
    told = {name: json.dumps(answer) for name, answer in answers.items()}
    for caller in callers:
        told = {name: answer.replace(f":{caller.region}:", ":anywhere:") for name, answer in told.items()}
    return {name: json.loads(answer) for name, answer in told.items()}


async def same_bus_twice(api: Api, variant: str) -> dict[str, Any]:
    await api.call("CreateEventBus", Name="my-bus")
    return {"create-multiple-event-buses-same-name": await step(api, "CreateEventBus", Name="my-bus")}


async def no_bus(api: Api, variant: str) -> dict[str, Any]:
    described = await step(api, "DescribeEventBus", Name="no-bus")
    assert await api.call("DeleteEventBus", Name="no-bus") == {}
    # What was recorded as the deletion's answer is the description's once more.
    return {"describe-not-existing-event-bus-error": described, "delete-not-existing-event-bus": described}


async def bus_prefix(api: Api, variant: str) -> dict[str, Any]:
    await api.call("CreateEventBus", Name="my-bus")
    await api.call("CreateEventBus", Name="other")
    return {
        "list-event-buses-prefix-complete-name": await step(api, "ListEventBuses", NamePrefix="my-bus"),
        "list-event-buses-prefix": await step(api, "ListEventBuses", NamePrefix="my"),
    }


async def bus_limit(api: Api, variant: str) -> dict[str, Any]:
    for number in range(6):
        await api.call("CreateEventBus", Name=f"my-bus-{number}")
    first = await step(api, "ListEventBuses", NamePrefix="my", Limit=3)
    second = await step(api, "ListEventBuses", NamePrefix="my", Limit=3, NextToken=first["NextToken"])
    return {"list-event-buses-limit": first, "list-event-buses-limit-next-token": second}


async def remove_permission(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    for sid in ("one", "two"):
        await api.call(
            "PutPermission",
            EventBusName=bus,
            Action="events:PutEvents",
            Principal=OTHER.account,
            StatementId=sid,
        )
    removed = await step(api, "RemovePermission", EventBusName=bus, StatementId="two")
    described = await step(api, "DescribeEventBus", Name=bus)
    cleared = await step(api, "RemovePermission", EventBusName=bus, RemoveAllPermissions=True)
    return {
        "remove-permission": removed,
        "describe-event-bus-remove-permission": described,
        "remove-permission-all": cleared,
        "describe-event-bus-remove-permission-all": await step(api, "DescribeEventBus", Name=bus),
    }


async def remove_unknown_permission(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    if "True" in variant:
        await api.call("PutPermission", EventBusName=bus, Action="events:PutEvents", Principal="*", StatementId="one")
    refused = await step(api, "RemovePermission", EventBusName=bus, StatementId="two")
    return {"remove-permission-non-existing-sid-error": refused}


async def rule_life(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    put = await step(api, "PutRule", Name="my-rule", EventBusName=bus, EventPattern=PATTERN)
    listed = await step(api, "ListRules", NamePrefix="my", EventBusName=bus)
    described = await step(api, "DescribeRule", Name="my-rule", EventBusName=bus)
    deleted = await step(api, "DeleteRule", Name="my-rule", EventBusName=bus)
    after = await step(api, "ListRules", NamePrefix="my", EventBusName=bus)
    return {
        "put-rule": put,
        "list-rules": listed,
        "describe-rule": described,
        "delete-rule": deleted,
        "list-rules-after-delete": after,
    }


async def switching(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    await api.call("PutRule", Name="my-rule", EventBusName=bus, EventPattern=PATTERN)
    disabled = await step(api, "DisableRule", Name="my-rule", EventBusName=bus)
    described = await step(api, "DescribeRule", Name="my-rule", EventBusName=bus)
    enabled = await step(api, "EnableRule", Name="my-rule", EventBusName=bus)
    return {
        "disable-rule": disabled,
        "describe-rule-disabled": described,
        "enable-rule": enabled,
        "describe-rule-enabled": await step(api, "DescribeRule", Name="my-rule", EventBusName=bus),
    }


async def delete_with_targets(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    await api.call("PutTargets", Rule="my-rule", Targets=[{"Id": "t", "Arn": QUEUE}])
    return {"delete-rule-with-targets-error": await step(api, "DeleteRule", Name="my-rule")}


async def target_life(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    await api.call("PutRule", Name="my-rule", EventBusName=bus, EventPattern=PATTERN)
    put = await step(api, "PutTargets", Rule="my-rule", EventBusName=bus, Targets=[{"Id": "my-target", "Arn": QUEUE}])
    listed = await step(api, "ListTargetsByRule", Rule="my-rule", EventBusName=bus)
    removed = await step(api, "RemoveTargets", Rule="my-rule", EventBusName=bus, Ids=["my-target"])
    after = await step(api, "ListTargetsByRule", Rule="my-rule", EventBusName=bus)
    return {
        "put-target": put,
        "list-targets": listed,
        "remove-target": removed,
        "list-targets-after-delete": after,
    }


async def six_targets(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    targets = [{"Id": str(number), "Arn": QUEUE} for number in range(7)]
    return {"put-targets-client-error": await step(api, "PutTargets", Rule="my-rule", Targets=targets)}


async def target_limit(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    targets = [{"Id": f"target{number}", "Arn": QUEUE} for number in range(5)]
    await api.call("PutTargets", Rule="my-rule", Targets=targets)
    first = await step(api, "ListTargetsByRule", Rule="my-rule", Limit=3)
    second = await step(api, "ListTargetsByRule", Rule="my-rule", Limit=3, NextToken=first["NextToken"])
    return {"list-targets-limit": first, "list-targets-limit-next-token": second}


async def names_by_target(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    for number in range(3):
        await api.call("PutRule", Name=f"rule{number}", EventBusName=bus, EventPattern=PATTERN)
        targets = [{"Id": "t", "Arn": QUEUE}]
        await api.call("PutTargets", Rule=f"rule{number}", EventBusName=bus, Targets=targets)
    found = await step(api, "ListRuleNamesByTarget", TargetArn=QUEUE, EventBusName=bus)
    return {"list_rule_names_by_target": found}


async def targets_put_again(api: Api, variant: str) -> dict[str, Any]:
    """Twice the same id: in one rule the later one stays, in two rules both do; as two ids of one ARN do."""
    rules = ["one", "two"] if "across" in variant else ["one", "one"]
    paths = ["$.detail", "$.doesnotexist" if "same_arn" in variant else "$.notexisting"]
    for rule in set(rules):
        await api.call("PutRule", Name=rule, EventPattern=PATTERN)
    for number, (rule, path) in enumerate(zip(rules, paths, strict=True)):
        target = {"Id": f"t{number}" if "same_arn" in variant else "t", "Arn": QUEUE, "InputPath": path}
        await api.call("PutTargets", Rule=rule, Targets=[target])
    return {
        "list-targets": await step(api, "ListTargetsByRule", Rule="one"),
        "list-targets-rule-one": await step(api, "ListTargetsByRule", Rule="one"),
        "list-targets-rule-two": await step(api, "ListTargetsByRule", Rule=rules[-1]),
    }


async def names_by_target_in_pages(api: Api, variant: str) -> dict[str, Any]:
    request: Any = {"TargetArn": QUEUE, "EventBusName": await bus_for(api, variant), "Limit": 2}
    for number in range(5):
        name: Any = {"EventBusName": request["EventBusName"]}
        await api.call("PutRule", Name=f"rule{number}", EventPattern=PATTERN, **name)
        await api.call("PutTargets", Rule=f"rule{number}", Targets=[{"Id": "t", "Arn": QUEUE}], **name)
    first = await step(api, "ListRuleNamesByTarget", **request)
    second = await step(api, "ListRuleNamesByTarget", **request, NextToken=first["NextToken"])
    third = await step(api, "ListRuleNamesByTarget", **request, NextToken=second["NextToken"])
    return {"first_page": first, "second_page": second, "third_page": third}


async def no_names_by_target(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    return {"list_rule_names_by_target_no_matches": await step(api, "ListRuleNamesByTarget", TargetArn=QUEUE)}


async def bad_targets(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    undefined = {"InputPathsMap": {"key": "$.detail"}, "InputTemplate": '"<key> and <notdefinedkey>"'}
    two = {"InputPath": "$.detail", "InputTransformer": {"InputTemplate": '"text"'}}

    async def put(**more: Any) -> Any:
        return await step(api, "PutTargets", Rule="my-rule", Targets=[{"Id": "my-target", "Arn": QUEUE, **more}])

    return {
        "missing-key-exception-error": await put(InputTransformer=undefined),
        "duplicated-input-operations-error": await put(**two),
    }


async def bad_pattern(api: Api, variant: str) -> dict[str, Any]:
    refused = await step(api, "TestEventPattern", EventPattern=variant_of(variant), Event=json.dumps(EVENT))
    return {"invalid-pattern": refused}


async def bad_event(api: Api, variant: str) -> dict[str, Any]:
    kind = name_of(variant)
    lacking = {name: value for name, value in EVENT.items() if name != "id"}
    event = {"test_plain_string_payload": "plain string", "test_array_event_payload": json.dumps([EVENT])}
    refused = await step(api, "TestEventPattern", EventPattern=PATTERN, Event=event.get(kind, json.dumps(lacking)))
    return {"plain-string-payload-exc": refused, "array-event-payload-exc": refused}


async def tagging(api: Api, variant: str) -> dict[str, Any]:
    arn = (await api.call("CreateEventBus", Name="my-bus"))["EventBusArn"]
    if "event_bus_default" in variant:
        arn = (await api.call("DescribeEventBus"))["Arn"]
    if "[rule" in variant:
        put = await api.call("PutRule", Name="r", EventBusName="my-bus", EventPattern=PATTERN)
        arn = put["RuleArn"]
    tagged = await step(api, "TagResource", ResourceARN=arn, Tags=TAGS)
    listed = await step(api, "ListTagsForResource", ResourceARN=arn)
    untagged = await step(api, "UntagResource", ResourceARN=arn, TagKeys=["tag2"])
    after = await step(api, "ListTagsForResource", ResourceARN=arn)
    return {
        "tag_resource": tagged,
        "list_tags_for_resource": listed,
        "untag_resource": untagged,
        "list_tags_for_untagged_resource": after,
        "untag_resource_not_existing_tag": await step(api, "UntagResource", ResourceARN=arn, TagKeys=["tag2"]),
    }


async def tag_nothing(api: Api, variant: str) -> dict[str, Any]:
    kind = "rule" if "rule" in variant else "event-bus"
    arn = f"arn:aws:events:us-east-1:111111111111:{kind}/nothing"
    return {
        "tag_not_existing_resource_error": await step(api, "TagResource", ResourceARN=arn, Tags=TAGS),
        "list_tags_for_not_existing_resource_error": await step(api, "ListTagsForResource", ResourceARN=arn),
        "untag_not_existing_resource_error": await step(api, "UntagResource", ResourceARN=arn, TagKeys=["tag1"]),
    }


async def rule_with_tags(api: Api, variant: str) -> dict[str, Any]:
    put = await step(api, "PutRule", Name="my_rule", EventPattern=PATTERN, Tags=TAGS)
    listed = await step(api, "ListTagsForResource", ResourceARN=put["RuleArn"])
    return {"put_rule_with_tags": put, "list_tags_for_rule": listed}


async def tags_of_deleted_rule(api: Api, variant: str) -> dict[str, Any]:
    await api.call("CreateEventBus", Name="my-bus")
    put = await api.call("PutRule", Name="my-rule", EventBusName="my-bus", EventPattern=PATTERN, Tags=TAGS)
    await api.call("DeleteRule", Name="my-rule", EventBusName="my-bus")
    refused = await step(api, "ListTagsForResource", ResourceARN=put["RuleArn"])
    return {"list_tags_for_deleted_rule_error": refused}


async def tags_of_new_rule(api: Api, variant: str) -> dict[str, Any]:
    await api.call("CreateEventBus", Name="my-bus")
    rule: Any = {"Name": "my-rule", "EventBusName": "my-bus"}
    arn = (await api.call("PutRule", **rule, EventPattern=PATTERN))["RuleArn"]
    await api.call("TagResource", ResourceARN=arn, Tags=TAGS)
    await api.call("DeleteRule", **rule)
    await api.call("PutRule", **rule, EventPattern=PATTERN)
    return {"list_tags_for_resource": await step(api, "ListTagsForResource", ResourceARN=arn)}


async def as_requested(api: Api, variant: str) -> dict[str, Any]:
    """The requests are part of these rows."""
    asked = [row for row in ROWS if row["test"] == variant]
    (name,) = {row["step"] for row in asked}
    return {name: Many([await step(api, row["operation"], **row["request"]) for row in asked])}
