"""Resource policies of event buses: IAM's evaluation of one policy for one request.

A statement applies when its principal, action, resource and every condition do. One applying Deny decides; otherwise
one applying Allow does; otherwise the policy does not allow the request. Whether a policy is needed at all (a caller
from the bus's own account) is not decided here.

A caller of whom only the account is known stands for every user and role of it. `check` refuses whatever `evaluate`
could not honour: unknown elements, condition operators and condition keys, and policy variables. Sources: IAM user
guide, "reference_policies_elements" and "reference_policies_evaluation-logic"; EventBridge user guide,
"eb-use-conditions".
"""

import enum
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec


class Decision(enum.Enum):
    ALLOW = "allow"
    EXPLICIT_DENY = "explicit-deny"
    NOT_ALLOWED = "not-allowed"


class InvalidPrincipal(ValueError):
    """The ARN is not one of an IAM user, role or session of a role, or of an account's root."""


class Principal(msgspec.Struct, frozen=True):
    """Who asks: an IAM user, a role, a session of a role, or a whole account; with `service`, an AWS service.

    Without `arn` only the account is known, and policies about any of its users and roles are about the caller.
    """

    account: str
    arn: str | None = None
    service: str | None = None

    def __str__(self) -> str:
        """The ARN that AWS's refusals name."""
        return self.arn or f"arn:aws:iam::{self.account}:root"


class MalformedPolicy(ValueError):
    """The policy is not one that can be honoured; the message says where and why."""


CONDITION_KEYS = frozenset(
    {
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourcearn",
        "events:creatoraccount",
        "events:detail-type",
        "events:detail.eventtypecode",
        "events:detail.service",
        "events:detail.useridentity.principalid",
        "events:eventbusinvocation",
        "events:managedby",
        "events:source",
        "events:targetarn",
    }
)
"""The keys that a condition may name, in lower case; one that is absent from a request's context counts as absent."""

_Test = Callable[[str, str], bool]


class _Principals(msgspec.Struct, frozen=True):
    """`arns` are users, roles and sessions, `arn_accounts` their accounts; a role has its sessions' form there too."""

    everyone: bool
    accounts: frozenset[str]
    arns: frozenset[str]
    arn_accounts: frozenset[str]
    services: frozenset[str]

    def include(self, who: Principal) -> bool:
        """Whether Principal names the caller."""
        if self.everyone:
            return True
        if who.service is not None:
            return who.service in self.services
        if who.account in self.accounts:
            return True
        if who.arn is None:
            return who.account in self.arn_accounts
        return not self.arns.isdisjoint(_identities(who.arn))

    def spare(self, who: Principal, *, deny: bool) -> bool:
        """Whether NotPrincipal lets the caller off.

        A caller is their account and themselves (a session is its role, too). Off a Deny gets only who is named as all
        of these ("reference_policies_elements_notprincipal"). Whom an Allow names in any way it does not reach; that
        page warns against such a statement and does not say so.
        """
        if not deny or self.everyone or who.service is not None:
            return self.include(who)
        return who.account in self.accounts and (who.arn is None or self.arns.issuperset(_identities(who.arn)))


class _Condition(msgspec.Struct, frozen=True):
    """One key under one operator; `null` is the operand of the Null operator."""

    key: str
    values: tuple[str, ...]
    test: _Test
    negated: bool
    if_exists: bool
    quantifier: Literal["", "foranyvalue", "forallvalues"]
    null: bool | None = None


class _Statement(msgspec.Struct, frozen=True):
    deny: bool
    principals: _Principals
    not_principals: bool
    actions: tuple[str, ...]
    not_actions: bool
    resources: tuple[str, ...]
    not_resources: bool
    conditions: tuple[_Condition, ...]


def evaluate(
    policy: str | None,
    *,
    principal: Principal,
    action: str,
    resource: str,
    context: Mapping[str, str | list[str]],
) -> Decision:
    """What the policy says of a request; raises `MalformedPolicy` for a text that `check` would refuse.

    The keys of `context` may be in any case. A value is a text, or for a key with several of them a list.
    """
    if policy is None:
        return Decision.NOT_ALLOWED
    known = {key.lower(): [value] if isinstance(value, str) else value for key, value in context.items()}
    allowed = False
    for statement in _parse(policy):
        if (
            _is_about(statement, principal)
            and any(like(pattern, action.lower()) for pattern in statement.actions) is not statement.not_actions
            and any(like(pattern, resource) for pattern in statement.resources) is not statement.not_resources
            and all(_satisfied(condition, known.get(condition.key)) for condition in statement.conditions)
        ):
            if statement.deny:
                return Decision.EXPLICIT_DENY
            allowed = True
    return Decision.ALLOW if allowed else Decision.NOT_ALLOWED


def _is_about(statement: _Statement, who: Principal) -> bool:
    if statement.not_principals:
        return not statement.principals.spare(who, deny=statement.deny)
    return statement.principals.include(who)


def check(policy_text: str) -> None:
    """Raises `MalformedPolicy` unless the text is a policy that `evaluate` can honour in full."""
    _parse(policy_text)


def like(pattern: str, text: str) -> bool:
    """Whether the whole text fits a pattern in which `*` is any run of characters and `?` any one."""
    at = star = anchor = position = 0
    starred = False
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            starred, star, anchor = True, at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif starred:
            anchor += 1
            at, position = star + 1, anchor
        else:
            return False
    return pattern[at:].strip("*") == ""


def _arn_like(pattern: str, text: str) -> bool:
    """Each of the six parts is compared by itself; no star reaches across the first five colons."""
    patterns, parts = pattern.split(":", 5), text.split(":", 5)
    return len(patterns) == len(parts) == 6 and all(map(like, patterns, parts))


def _equal(operand: str, value: str) -> bool:
    return operand == value


def _equal_ignoring_case(operand: str, value: str) -> bool:
    return operand.lower() == value.lower()


_OPERATORS: dict[str, tuple[_Test, bool]] = {
    "stringequals": (_equal, False),
    "stringnotequals": (_equal, True),
    "stringequalsignorecase": (_equal_ignoring_case, False),
    "stringnotequalsignorecase": (_equal_ignoring_case, True),
    "stringlike": (like, False),
    "stringnotlike": (like, True),
    "arnequals": (_arn_like, False),
    "arnlike": (_arn_like, False),
    "arnnotequals": (_arn_like, True),
    "arnnotlike": (_arn_like, True),
    "bool": (_equal_ignoring_case, False),
}


def _satisfied(condition: _Condition, found: list[str] | None) -> bool:
    """An absent key fails a test, fulfils a negated one, and fulfils any under IfExists or ForAllValues."""
    if condition.null is not None:
        return (found is None) is condition.null
    if found is None:
        return (
            condition.if_exists
            or condition.quantifier == "forallvalues"
            or (condition.negated and not condition.quantifier)
        )
    hits = [any(condition.test(operand, value) for operand in condition.values) for value in found]
    if condition.quantifier == "forallvalues":
        return not any(hits) if condition.negated else all(hits)
    if condition.quantifier == "foranyvalue":
        return not all(hits) if condition.negated else any(hits)
    return any(hits) is not condition.negated


_ACCOUNT = re.compile(r"[0-9]{12}")
_PRINCIPAL_ARN = re.compile(
    r"arn:(aws[a-z-]*):(?:iam::([0-9]{12}):(root|(?:user|role)/[^*?/]+(?:/[^*?/]+)*)"
    r"|sts::([0-9]{12}):((?:assumed-role/[^*?/]+|federated-user)/[^*?/]+))"
)
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_OPERATOR = re.compile(r"(?:(foranyvalue|forallvalues):)?([a-z]+?)(ifexists)?")
_STATEMENT_KEYS = frozenset(
    {
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    }
)


@lru_cache(maxsize=1024)
def _parse(text: str) -> tuple[_Statement, ...]:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise MalformedPolicy(f"The policy is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedPolicy(f"Expected a policy object, got {_kind(document)}")
    for key in document:
        if key not in ("Version", "Id", "Statement"):
            raise MalformedPolicy(f"Unknown policy element {key!r}; expected Version, Id and Statement")
    if document.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
        raise MalformedPolicy(f"Expected Version 2012-10-17 or 2008-10-17, got {document['Version']!r}")
    if "Statement" not in document:
        raise MalformedPolicy("The policy has no Statement")
    statements = document["Statement"]
    if not isinstance(statements, list):
        statements = [statements]
    return tuple(_statement(item, f"Statement[{index}]") for index, item in enumerate(statements))


def _statement(item: Any, where: str) -> _Statement:
    if not isinstance(item, dict):
        raise MalformedPolicy(f"{where}: expected an object, got {_kind(item)}")
    for key in item:
        if key not in _STATEMENT_KEYS:
            raise MalformedPolicy(f"{where}: unknown element {key!r}")
    if not isinstance(item.get("Sid", ""), str):
        raise MalformedPolicy(f"{where}.Sid: expected a string, got {_kind(item['Sid'])}")
    effect = item.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise MalformedPolicy(f"{where}.Effect: expected Allow or Deny, got {effect!r}")
    principal, not_principals = _either(item, "Principal", where)
    action, not_actions = _either(item, "Action", where)
    resource, not_resources = _either(item, "Resource", where)
    actions = _strings(action, f"{where}.Action")
    for text in actions:
        if _ACTION.fullmatch(text) is None:
            raise MalformedPolicy(f"{where}.Action: expected service:Action or *, got {text!r}")
    return _Statement(
        deny=effect == "Deny",
        principals=_principals(principal, f"{where}.Principal"),
        not_principals=not_principals,
        actions=tuple(text.lower() for text in actions),
        not_actions=not_actions,
        resources=_strings(resource, f"{where}.Resource"),
        not_resources=not_resources,
        conditions=_conditions(item.get("Condition", {}), f"{where}.Condition"),
    )


def _either(item: dict[str, Any], name: str, where: str) -> tuple[Any, bool]:
    """The value of `name` or of its Not form, and whether it is the latter; exactly one must be there."""
    if (name in item) is (f"Not{name}" in item):
        raise MalformedPolicy(f"{where}: expected either {name} or Not{name}")
    return (item[name], False) if name in item else (item[f"Not{name}"], True)


def _principals(value: Any, where: str) -> _Principals:
    if value == "*":
        return _Principals(True, frozenset(), frozenset(), frozenset(), frozenset())
    if not isinstance(value, dict) or not value:
        raise MalformedPolicy(f'{where}: expected "*" or an object with AWS or Service, got {value!r}')
    everyone = False
    accounts: set[str] = set()
    arns: set[str] = set()
    arn_accounts: set[str] = set()
    services: frozenset[str] = frozenset()
    for kind, names in value.items():
        texts = _strings(names, f"{where}.{kind}")
        if kind == "Service":
            services = frozenset(texts)
        elif kind == "AWS":
            everyone = "*" in texts
            for text in texts:
                account, named = _named(text, where)
                if named:
                    arns |= named
                    arn_accounts.add(account)
                else:
                    accounts.add(account)
        else:
            raise MalformedPolicy(f"{where}: principals of type {kind!r} are not supported; expected AWS or Service")
    return _Principals(everyone, frozenset(accounts), frozenset(arns), frozenset(arn_accounts), services)


def _named(text: str, where: str) -> tuple[str, set[str]]:
    """The account that a text under AWS names, and what of it: nothing where it is the whole account."""
    if text == "*" or _ACCOUNT.fullmatch(text):
        return text, set()
    try:
        account, identities = _taken_apart(text)
    except InvalidPrincipal as error:
        raise MalformedPolicy(f"{where}: expected *, an account id or {error}") from None
    return account, identities


def principal_of(arn: str) -> Principal:
    """The caller that an ARN names; an account's root is that root and nobody else of the account.

    Raises InvalidPrincipal.
    """
    account, _ = _taken_apart(arn)
    return Principal(account, arn)


def _identities(arn: str) -> set[str]:
    """What a policy must name to mean this caller, apart from the account."""
    if ":assumed-role/" in arn:
        return {arn, arn.rpartition("/")[0]}
    return set() if arn.endswith(":root") else {arn}


def _taken_apart(arn: str) -> tuple[str, set[str]]:
    """The account in a principal's ARN, and what stands for it in a set of ARNs.

    A role stands there as itself and, without its path, in the form that its sessions have.
    """
    match = _PRINCIPAL_ARN.fullmatch(arn)
    if match is None:
        raise InvalidPrincipal(f"the ARN of an IAM principal, got {arn!r}")
    partition, of_iam, resource, of_sts, session = match.groups()
    if session:
        return of_sts, {arn}
    if resource.startswith("role/"):
        return of_iam, {arn, f"arn:{partition}:sts::{of_iam}:assumed-role/{resource.rpartition('/')[2]}"}
    return of_iam, set() if resource == "root" else {arn}


def _conditions(value: Any, where: str) -> tuple[_Condition, ...]:
    if not isinstance(value, dict):
        raise MalformedPolicy(f"{where}: expected an object, got {_kind(value)}")
    conditions: list[_Condition] = []
    for operator, tests in value.items():
        if not isinstance(tests, dict):
            raise MalformedPolicy(f"{where}.{operator}: expected an object, got {_kind(tests)}")
        for key, operands in tests.items():
            conditions.append(_condition(operator, key, operands, f"{where}.{operator}"))
    return tuple(conditions)


def _condition(operator: str, key: str, operands: Any, where: str) -> _Condition:
    if key.lower() not in CONDITION_KEYS:
        raise MalformedPolicy(f"{where}: condition key {key!r} is not supported")
    values = _strings(operands, f"{where}.{key}")
    if operator.lower() == "null":
        if len(values) != 1 or values[0] not in ("true", "false"):
            raise MalformedPolicy(f"{where}.{key}: expected true or false, got {operands!r}")
        return _Condition(key.lower(), (), _equal, False, False, "", null=values[0] == "true")
    match = _OPERATOR.fullmatch(operator.lower())
    if match is None or match[2] not in _OPERATORS:
        raise MalformedPolicy(f"{where}: condition operator {operator!r} is not supported")
    test, negated = _OPERATORS[match[2]]
    if test is _arn_like:
        for text in values:
            if text.count(":") < 5:
                raise MalformedPolicy(f"{where}.{key}: expected an ARN pattern of six parts, got {text!r}")
    quantifier: Literal["", "foranyvalue", "forallvalues"] = ""
    if match[1] is not None:
        quantifier = "foranyvalue" if match[1] == "foranyvalue" else "forallvalues"
    return _Condition(key.lower(), values, test, negated, match[3] is not None, quantifier)


def _strings(value: Any, where: str) -> tuple[str, ...]:
    """One string or a non-empty list of them; true, false and whole numbers are taken as their texts."""
    texts: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool):
            texts.append("true" if item else "false")
        elif isinstance(item, int):
            texts.append(str(item))
        elif not isinstance(item, str):
            raise MalformedPolicy(f"{where}: expected a string, got {_kind(item)}")
        elif "${" in item:
            raise MalformedPolicy(f"{where}: policy variables are not supported, got {item!r}")
        else:
            texts.append(item)
    if not texts:
        raise MalformedPolicy(f"{where}: expected at least one value, got an empty list")
    return tuple(texts)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
