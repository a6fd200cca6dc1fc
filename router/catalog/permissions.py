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
from router.core.policy import Decision, MalformedPolicy, check, evaluate
from router.errors import PolicyLengthExceededException, ResourceNotFoundException, ValidationException

if TYPE_CHECKING:
    from router.catalog.catalog import Catalog

_VERSION = "2012-10-17"


def authorize_put_events(
    catalog: "Catalog",
    caller_account: str,
    bus: Bus,
    *,
    source: str,
    detail_type: str,
    org_id: str | None,
    via_rule_arn: str | None,
) -> bool:
    """Whether an account may put this event on a bus, directly or through a rule of its own."""
    if bus.policy is None:
        return caller_account == bus.location.account
    context: dict[str, str | list[str]] = {
        "aws:PrincipalAccount": caller_account,
        "events:source": source,
        "events:detail-type": detail_type,
        "events:eventBusInvocation": "false" if via_rule_arn is None else "true",
    }
    if org_id is not None:
        context["aws:PrincipalOrgID"] = org_id
    if via_rule_arn is not None:
        context["aws:SourceArn"] = via_rule_arn
        context["aws:SourceAccount"] = parse(via_rule_arn).account
        rule = catalog.rule_by_arn(via_rule_arn)
        if rule is not None:
            context["events:creatorAccount"] = rule.created_by
    return allowed(bus, caller_account, "events:PutEvents", [bus.arn], context)


def allowed(
    bus: Bus, caller_account: str, action: str, resources: Sequence[str], context: Mapping[str, str | list[str]]
) -> bool:
    """Whether the caller may act on one thing, of which `resources` are the spellings: any of them may be allowed."""
    decisions = {
        evaluate(bus.policy, principal_account=caller_account, action=action, resource=resource, context=context)
        for resource in resources
    }
    if Decision.EXPLICIT_DENY in decisions:
        return False
    return caller_account == bus.location.account or Decision.ALLOW in decisions


def rule_resources(bus: Bus, rule: str) -> list[str]:
    """How a bus policy may spell a rule: `rule/BUS/NAME`, and on the default bus also as its ARN does."""
    prefix = f"arn:{partition(bus.location.region)}:events:{bus.location.region}:{bus.location.account}:rule/"
    spellings = [f"{prefix}{bus.name}/{rule}"]
    return [*spellings, prefix + rule] if bus.name == "default" else spellings


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
