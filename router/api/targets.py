"""PutTargets, RemoveTargets, ListTargetsByRule, ListRuleNamesByTarget.

A refused target refuses the whole request, as on AWS. `FailedEntries` is for changes that ran into each other there;
here changes wait for each other, so it stays empty.
"""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog import rules, targets


async def put_targets(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    arns = [target["Arn"] for target in request["Targets"]]
    bus, rule = access.rule(
        caller, request.get("EventBusName"), request["Rule"], "events:PutTargets", lambda: {"events:TargetArn": arns}
    )
    if rule is None:
        raise rules.not_found(request["Rule"], bus.name)
    given = [targets.from_request(target) for target in request["Targets"]]
    await access.catalog.put_targets(bus.location, bus.name, request["Rule"], given)
    return {"FailedEntryCount": 0, "FailedEntries": []}


async def remove_targets(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, _ = access.rule(caller, request.get("EventBusName"), request["Rule"], "events:RemoveTargets")
    await access.catalog.remove_targets(
        bus.location, bus.name, request["Rule"], request["Ids"], force=bool(request.get("Force"))
    )
    return {"FailedEntryCount": 0, "FailedEntries": []}


async def list_targets_by_rule(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, rule = access.rule(caller, request.get("EventBusName"), request["Rule"], "events:ListTargetsByRule")
    if rule is None:
        raise rules.not_found(request["Rule"], bus.name)
    known = {target.id: target for target in rule.targets}
    ids, more = page(sorted(known), request, "ListTargetsByRule", rule.arn)
    return {"Targets": [targets.to_answer(known[target_id]) for target_id in ids], **more}


async def list_rule_names_by_target(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """Rules in any state, disabled ones too."""
    bus = access.rules(caller, request.get("EventBusName"), "events:ListRuleNamesByTarget")
    arn = request["TargetArn"]
    names = access.catalog.rule_names_by_target(bus.location, bus.name, arn)
    found, more = page(names, request, "ListRuleNamesByTarget", bus.arn, arn)
    return {"RuleNames": list(found), **more}
