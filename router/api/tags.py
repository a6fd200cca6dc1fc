"""TagResource, UntagResource, ListTagsForResource, for buses and rules."""

from typing import Any

from router.api.access import Access
from router.aws.service import Caller
from router.catalog import rules, tags
from router.catalog.buses import DEFAULT
from router.catalog.model import Bus, Rule
from router.core.arn import InvalidArn, bus_arn, parse
from router.errors import ValidationException


async def tag_resource(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, rule = _resource(access, caller, request["ResourceARN"], "events:TagResource")
    given = tags.from_request(request["Tags"])
    await access.catalog.tag(bus.location, bus.name, rule.name if rule else None, given)
    return {}


async def untag_resource(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, rule = _resource(access, caller, request["ResourceARN"], "events:UntagResource")
    await access.catalog.untag(bus.location, bus.name, rule.name if rule else None, request["TagKeys"])
    return {}


async def list_tags_for_resource(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus, rule = _resource(access, caller, request["ResourceARN"], "events:ListTagsForResource")
    return {"Tags": tags.to_answer((rule or bus).tags)}


def _resource(access: Access, caller: Caller, text: str, action: str) -> tuple[Bus, Rule | None]:
    """The bus, or the bus and the rule, that an ARN names. Raises ApiError."""
    malformed = ValidationException(f"Parameter {text} is not valid. Reason: Provided Arn is not in correct format.")
    try:
        arn = parse(text)
    except InvalidArn:
        raise malformed from None
    kind, _, path = arn.resource.partition("/")
    if arn.service != "events" or not arn.account.isdigit() or not path:
        raise malformed
    if kind == "event-bus":
        return access.bus(caller, text, action), None
    if kind != "rule":
        raise ValidationException(f"Parameter {text} is not valid. Reason: Only rules and event buses have tags.")
    bus_name, _, rule_name = path.rpartition("/")
    bus, rule = access.rule(caller, bus_arn(arn.location, bus_name or DEFAULT), rule_name, action)
    if rule is None:
        raise rules.not_found(rule_name, bus.name)
    return bus, rule
