"""PutRule, DescribeRule, ListRules, EnableRule, DisableRule, DeleteRule."""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog import rules, tags
from router.catalog.model import Rule, RuleState
from router.catalog.permissions import pattern_context


async def put_rule(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    pattern = request.get("EventPattern")
    bus, _ = access.rule(
        caller, request.get("EventBusName"), request["Name"], "events:PutRule", lambda: pattern_context(pattern)
    )
    rule = await access.catalog.put_rule(
        bus.location,
        bus.name,
        request["Name"],
        created_by=caller.account,
        event_pattern=pattern,
        schedule_expression=request.get("ScheduleExpression"),
        state=request.get("State") or "ENABLED",
        description=request.get("Description"),
        role_arn=request.get("RoleArn"),
        tags_given=tags.from_request(request.get("Tags") or ()),
    )
    return {"RuleArn": rule.arn}


async def describe_rule(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, rule = access.rule(caller, request.get("EventBusName"), request["Name"], "events:DescribeRule")
    if rule is None:
        raise rules.not_found(request["Name"], bus.name)
    return {**_item(rule), "CreatedBy": rule.created_by}


async def list_rules(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus = access.rules(caller, request.get("EventBusName"), "events:ListRules")
    names, more = page(access.catalog.rule_names(bus.location, bus.name), request, "ListRules", bus.arn)
    known = access.catalog.rules(bus.location, bus.name)
    return {"Rules": [_item(known[name]) for name in names], **more}


async def enable_rule(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    return await _set_state(access, caller, request, "events:EnableRule", "ENABLED")


async def disable_rule(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    return await _set_state(access, caller, request, "events:DisableRule", "DISABLED")


async def _set_state(
    access: Access, caller: Caller, request: dict[str, Any], action: str, state: RuleState
) -> dict[str, Any]:
    bus, _ = access.rule(caller, request.get("EventBusName"), request["Name"], action)
    await access.catalog.set_rule_state(bus.location, bus.name, request["Name"], state)
    return {}


async def delete_rule(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, _ = access.rule(caller, request.get("EventBusName"), request["Name"], "events:DeleteRule")
    await access.catalog.delete_rule(bus.location, bus.name, request["Name"], force=bool(request.get("Force")))
    return {}


def _item(rule: Rule) -> dict[str, Any]:
    item = {
        "Name": rule.name,
        "Arn": rule.arn,
        "EventPattern": rule.event_pattern,
        "ScheduleExpression": rule.schedule_expression,
        "State": rule.state,
        "Description": rule.description,
        "RoleArn": rule.role_arn,
        "ManagedBy": rule.managed_by,
        "EventBusName": rule.bus,
    }
    return {name: value for name, value in item.items() if value is not None}
