"""Resource policies of buses: the statements that PutPermission makes, and whether a policy lets a caller do something.

The bus's own account may do anything that its policy does not expressly deny; others need the policy's leave
(EventBridge user guide, "eb-cross-account" and "eb-use-conditions").
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from router import limits
from router.catalog.model import Bus, Rule
from router.core.arn import parse, partition
from router.core.event import Location
from router.core.pattern import InvalidPattern
from router.core.pattern import parse as parse_pattern
from router.core.pattern_values import asked_values
from router.core.policy import Decision, MalformedPolicy, Principal, check, evaluate
from router.errors import (
    AccessDeniedException,
    PolicyLengthExceededException,
    ResourceNotFoundException,
    ValidationException,
)

if TYPE_CHECKING:
    from router.catalog.catalog import Catalog

_VERSION = "2012-10-17"
_PATTERN_KEYS = {
    "events:source": "source",
    "events:detail-type": "detail-type",
    "events:detail.service": "detail.service",
    "events:detail.eventTypeCode": "detail.eventTypeCode",
    "events:detail.userIdentity.principalId": "detail.userIdentity.principalId",
}
"""Keys of PutRule and the fields of the rule's pattern that they stand for."""
Context = Mapping[str, str | list[str]]


def authorize_put_events(
    catalog: "Catalog",
    sender: Principal,
    bus: Bus,
    *,
    source: str | None,
    detail_type: str | None,
    org_id: str | None,
    via_rule_arn: str | None,
) -> Decision:
    """Whether an event may be put on a bus, directly or through a rule, whose target's role is then the sender."""
    context: dict[str, str | list[str]] = {
        "aws:PrincipalAccount": sender.account,
        "events:eventBusInvocation": "false" if via_rule_arn is None else "true",
    }
    if source:
        context["events:source"] = source
    if detail_type:
        context["events:detail-type"] = detail_type
    if org_id is not None:
        context["aws:PrincipalOrgID"] = org_id
    if via_rule_arn is not None:
        context["aws:SourceArn"] = via_rule_arn
        context["aws:SourceAccount"] = parse(via_rule_arn).account
        rule = catalog.rule_by_arn(via_rule_arn)
        if rule is not None:
            context["events:creatorAccount"] = rule.created_by
            if rule.managed_by is not None:
                context["events:ManagedBy"] = rule.managed_by
    return decide(bus, sender, "events:PutEvents", resources=[bus.arn], context=context)


def decide(bus: Bus, who: Principal, action: str, *, resources: Sequence[str], context: Context) -> Decision:
    """Whether the caller may act on one thing, of which `resources` are the spellings: any of them may be allowed."""
    own = who.account == bus.location.account
    if bus.policy is None:
        return Decision.ALLOW if own else Decision.NOT_ALLOWED
    decisions = {
        evaluate(bus.policy, principal=who, action=action, resource=resource, context=context) for resource in resources
    }
    if Decision.EXPLICIT_DENY in decisions:
        return Decision.EXPLICIT_DENY
    return Decision.ALLOW if own or Decision.ALLOW in decisions else Decision.NOT_ALLOWED


def refusal(who: Principal, action: str, resource: str, decision: Decision) -> AccessDeniedException:
    """IAM's words (IAM user guide, "troubleshoot_access-denied")."""
    reason = (
        "with an explicit deny in a resource-based policy"
        if decision is Decision.EXPLICIT_DENY
        else f"because no resource-based policy allows the {action} action"
    )
    return AccessDeniedException(f"User: {who} is not authorized to perform: {action} on resource: {resource} {reason}")


def rule_resources(location: Location, bus: str, rule: str) -> list[str]:
    """How a bus policy may spell a rule: `rule/BUS/NAME`, and on the default bus also as its ARN does."""
    prefix = f"arn:{partition(location.region)}:events:{location.region}:{location.account}:rule/"
    spellings = [f"{prefix}{bus}/{rule}"]
    return [*spellings, prefix + rule] if bus == "default" else spellings


def pattern_context(event_pattern: str | None) -> dict[str, str | list[str]]:
    """The condition keys that PutRule has of the pattern; none of a pattern that PutRule refuses anyway."""
    try:
        pattern = parse_pattern(event_pattern) if event_pattern else None
    except InvalidPattern:
        pattern = None
    if pattern is None:
        return {}
    asked = {key: asked_values(pattern, path) for key, path in _PATTERN_KEYS.items()}
    return {key: values for key, values in asked.items() if values is not None}


def rule_context(rule: Rule | None, caller_account: str) -> dict[str, str | list[str]]:
    """The condition keys that a call on a rule has."""
    context: dict[str, str | list[str]] = {
        "aws:PrincipalAccount": caller_account,
        "events:creatorAccount": rule.created_by if rule else caller_account,
    }
    if rule is not None and rule.managed_by is not None:
        context["events:ManagedBy"] = rule.managed_by
    return context


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """PutPermission's short form."""

    statement_id: str
    action: str
    principal: str
    condition: dict[str, str] | None = None


def from_request(request: Mapping[str, Any]) -> Permission:
    """Raises ValidationException."""
    missing = [name for name in ("Action", "Principal", "StatementId") if not request.get(name)]
    if missing:
        raise ValidationException(f"Parameter(s) {', '.join(missing)} must be specified.")
    if request["Action"] != "events:PutEvents":
        raise ValidationException("Provided value in parameter 'action' is not supported.")
    condition = request.get("Condition")
    if condition is not None:
        if condition["Type"] != "StringEquals" or condition["Key"] != "aws:PrincipalOrgID":
            raise ValidationException(
                "Parameter Condition is not valid. Reason: Expected Type StringEquals and Key aws:PrincipalOrgID, got "
                f"{condition['Type']} and {condition['Key']}."
            )
        if request["Principal"] != "*":
            raise ValidationException(
                "Parameter Condition is not valid. Reason: Principal must be * when Condition is specified."
            )
    return Permission(
        statement_id=request["StatementId"],
        action=request["Action"],
        principal=request["Principal"],
        condition=condition,
    )


def checked(bus: Bus, policy: str) -> str:
    """A whole policy, as it may be put on the bus. Raises PolicyLengthExceededException, ValidationException."""
    if len(policy) > limits.POLICY_CHARS_MAX:
        raise PolicyLengthExceededException(
            f"The policy of event bus {bus.name} may have {limits.POLICY_CHARS_MAX} characters, got {len(policy)}."
        )
    try:
        check(policy)
    except MalformedPolicy as error:
        raise ValidationException(f"Parameter Policy is not valid. Reason: {error}") from error
    return policy


def with_statement(bus: Bus, permission: Permission) -> str:
    """The bus's policy with one more statement; one with the same id is replaced in its place."""
    principal: Any = permission.principal
    if principal != "*":
        principal = {"AWS": f"arn:{partition(bus.location.region)}:iam::{principal}:root"}
    statement: dict[str, Any] = {
        "Sid": permission.statement_id,
        "Effect": "Allow",
        "Principal": principal,
        "Action": permission.action,
        "Resource": bus.arn,
    }
    if permission.condition is not None:
        condition = permission.condition
        statement["Condition"] = {condition["Type"]: {condition["Key"]: condition["Value"]}}
    document = _document(bus)
    statements = document["Statement"]
    for index, old in enumerate(statements):
        if old.get("Sid") == permission.statement_id:
            statements[index] = statement
            break
    else:
        statements.append(statement)
    return checked(bus, _text(document))


def without_statement(bus: Bus, statement_id: str) -> str | None:
    """The bus's policy without a statement; None when nothing is left. Raises ResourceNotFoundException."""
    document = _document(bus)
    left = [statement for statement in document["Statement"] if statement.get("Sid") != statement_id]
    if len(left) == len(document["Statement"]):
        raise ResourceNotFoundException("Statement with the provided id does not exist.")
    return _text({**document, "Statement": left}) if left else None


def _document(bus: Bus) -> dict[str, Any]:
    if bus.policy is None:
        return {"Version": _VERSION, "Statement": []}
    document: dict[str, Any] = msgspec.json.decode(bus.policy)
    statements = document["Statement"]
    return {**document, "Statement": statements if isinstance(statements, list) else [statements]}


def _text(document: Mapping[str, Any]) -> str:
    return msgspec.json.encode(document).decode()
