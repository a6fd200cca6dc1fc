"""Resource policies against a second evaluator, written here from IAM's rules as tables without any code of `core/`.

It works on the policy's JSON as it stands: no parsing step, no lower-casing ahead, wildcards as regular expressions.
Policies and requests are drawn from few words, so that they nearly fit each other.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.policy import Decision, Principal, evaluate

EXAMPLES = max(400, settings().max_examples)
"""Each with several requests; more in `make test-deep`."""
A, B = "111111111111", "222222222222"
ROLE, PATHED, USER = f"arn:aws:iam::{A}:role/orders", f"arn:aws:iam::{A}:role/team/bills", f"arn:aws:iam::{A}:user/ann"
SESSION, OTHER_SESSION = f"arn:aws:sts::{A}:assumed-role/orders/s1", f"arn:aws:sts::{A}:assumed-role/bills/s1"
ROOT = f"arn:aws:iam::{A}:root"
SERVICE = "events.amazonaws.com"
BUS = f"arn:aws:events:us-east-1:{B}:event-bus/central"
RULE = f"arn:aws:events:us-east-1:{A}:rule/r"

# who asks, by everything that names them: the account, then what they are themselves
CALLERS: dict[str, tuple[Principal, str, Sequence[str]]] = {
    "the account": (Principal(A), A, ()),
    "another account": (Principal(B), B, ()),
    "root": (Principal(A, ROOT), A, ()),
    "a user": (Principal(A, USER), A, (USER,)),
    "a role": (Principal(A, ROLE), A, (ROLE,)),
    "a role with a path": (Principal(A, PATHED), A, (PATHED,)),
    "a session": (Principal(A, SESSION), A, (SESSION, ROLE)),
    "a session of the role with a path": (Principal(A, OTHER_SESSION), A, (OTHER_SESSION, PATHED)),
}
NAMES = [A, B, ROOT, f"arn:aws:iam::{B}:root", ROLE, PATHED, USER, SESSION, OTHER_SESSION, f"arn:aws:iam::{B}:user/u"]


def names_account(name: str, account: str) -> bool:
    return name in (account, f"arn:aws:iam::{account}:root")


def of_account(name: str, account: str) -> bool:
    return name == account or f"::{account}:" in name


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def named(caller: str, names: Any) -> tuple[bool, bool]:
    """Whether a principal block names the caller in some way, and whether in every way in which they are known."""
    who, account, selves = CALLERS[caller]
    if names == "*" or "*" in as_list(names.get("AWS", [])):
        return True, True
    texts = as_list(names.get("AWS", []))
    the_account = any(names_account(text, account) for text in texts)
    if who.arn is None:  # stands for everybody of the account
        return any(of_account(text, account) for text in texts), the_account
    hits = [self in texts for self in selves]
    return the_account or any(hits), the_account and all(hits)


def wild(pattern: str, text: str, flags: int = 0) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)
    return re.fullmatch(expression, text, flags | re.DOTALL) is not None


def arn_like(pattern: str, text: str) -> bool:
    halves = [half.split(":", 5) for half in (pattern, text)]
    return [len(half) for half in halves] == [6, 6] and all(wild(*pair) for pair in zip(*halves, strict=True))


TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda operand, value: operand == value,
    "StringEqualsIgnoreCase": lambda operand, value: operand.upper() == value.upper(),
    "StringLike": wild,
    "ArnEquals": arn_like,
    "ArnLike": arn_like,
    "Bool": lambda operand, value: operand.upper() == value.upper(),
}
NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def condition_holds(operator: str, key: str, operands: Any, context: dict[str, Any]) -> bool:
    present = {name.lower(): as_list(value) for name, value in context.items()}.get(key.lower())
    texts = ["true" if item is True else "false" if item is False else item for item in as_list(operands)]
    if operator == "Null":
        return (present is None) == (texts == ["true"])
    quantifier, _, plain = operator.rpartition(":")
    if plain.endswith("IfExists"):
        if present is None:
            return True
        plain = plain.removesuffix("IfExists")
    negated = plain in NEGATIONS
    test = TESTS[NEGATIONS.get(plain, plain)]

    def fits(value: str) -> bool:
        """Whether one value of the request satisfies the operator against all operands of the policy."""
        hit = any(test(operand, value) for operand in texts)
        return not hit if negated else hit

    if quantifier == "ForAllValues":
        return all(map(fits, present or []))
    if quantifier == "ForAnyValue":
        return any(map(fits, present or []))
    if present is None:
        return negated
    # one value each: a key with several is met by any of them, a negated test by none
    return all(map(fits, present)) if negated else any(map(fits, present))


def applies(statement: dict[str, Any], caller: str, action: str, resource: str, context: dict[str, Any]) -> bool:
    if "Principal" in statement:
        concerned = named(caller, statement["Principal"])[0]
    else:
        somehow, entirely = named(caller, statement["NotPrincipal"])
        concerned = not (entirely if statement["Effect"] == "Deny" else somehow)

    def listed(name: str, value: str, flags: int = 0) -> bool:
        hit = any(wild(pattern, value, flags) for pattern in as_list(statement.get(name, statement.get(f"Not{name}"))))
        return hit if name in statement else not hit

    return (
        concerned
        and listed("Action", action, re.IGNORECASE)
        and listed("Resource", resource)
        and all(
            condition_holds(operator, key, operands, context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, operands in keys.items()
        )
    )


def expected(policy: dict[str, Any], caller: str, action: str, resource: str, context: dict[str, Any]) -> Decision:
    effects = {
        statement["Effect"]
        for statement in as_list(policy["Statement"])
        if applies(statement, caller, action, resource, context)
    }
    if "Deny" in effects:
        return Decision.EXPLICIT_DENY
    return Decision.ALLOW if "Allow" in effects else Decision.NOT_ALLOWED


def some(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of the values, or a list of a few."""
    return st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


OURS = [name for name in NAMES if A in name]
PRINCIPALS = st.one_of(
    st.builds(lambda names: {"AWS": names}, some(OURS)),
    st.builds(lambda names: {"AWS": names}, st.lists(st.sampled_from(OURS), min_size=2, max_size=5, unique=True)),
    st.builds(lambda names: {"AWS": names}, some([*NAMES, "*"])),
    st.builds(lambda names: {"AWS": names, "Service": SERVICE}, some(NAMES)),
    st.sampled_from(["*", "*", {"Service": SERVICE}]),
)
ACTIONS = st.just("*") | some(
    ["events:PutEvents", "events:putevents", "events:Put*", "events:*", "events:PutRul?", "sqs:*"]
)
RESOURCES = st.just("*") | some([BUS, BUS[:-1] + "?", BUS.upper(), f"arn:aws:events:*:{B}:*", RULE])
# The values that a request may have at a key, and what a policy asks for there.
KEYS: dict[str, tuple[list[str], list[Any]]] = {
    "aws:SourceArn": ([RULE, RULE + "2"], [RULE, RULE + "?", "arn:aws:events:*:*:rule/*", "arn:*:*:*:*:*", BUS]),
    "aws:SourceAccount": ([A, B], [A, B, "1*", "?" * 12]),
    "aws:PrincipalOrgID": (["o-a", "o-b"], ["o-a", "O-A", "o-*", "o-?"]),
    "events:source": (["my.app", "MY.APP", "my.other"], ["my.app", "MY.APP", "my.*", "my.?pp", "*", "x"]),
    "events:TargetArn": ([RULE, BUS], [RULE, BUS, "arn:aws:events:us-east-1:??????????11:rule/r*", "arn:*:*:*:*:*"]),
    "events:eventBusInvocation": (["true", "false"], ["true", "FALSE", True, False]),
    "events:ManagedBy": ([], ["x", "*"]),
}
ARN_KEYS = ["aws:SourceArn", "events:TargetArn"]
PLAIN = [*TESTS, *NEGATIONS]


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        plain = draw(st.sampled_from([*PLAIN, *PLAIN, "Null"]))
        key = draw(st.sampled_from(ARN_KEYS if plain.startswith("Arn") else sorted(KEYS)))
        operands = draw(some(KEYS[key][1]))
        if plain == "Null":
            operator, operands = "Null", draw(st.sampled_from(["true", "false", True, False]))
        else:
            quantifier = draw(st.sampled_from(["", "ForAnyValue:", "ForAllValues:"]))
            operator = quantifier + plain + draw(st.sampled_from(["", "", "IfExists"]))
        block.setdefault(operator, {})[draw(st.sampled_from([key, key.upper()]))] = operands
    return block


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    def either(name: str, of: int) -> str:
        """The element, or once in so many times its Not form."""
        return draw(st.sampled_from([name] * (of - 1) + [f"Not{name}"]))

    statement = {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        either("Principal", 2): draw(PRINCIPALS),
        either("Action", 6): draw(ACTIONS),
        either("Resource", 6): draw(RESOURCES),
    }
    condition = draw(conditions())
    return {**statement, "Condition": condition} if condition else statement


POLICIES = st.builds(
    lambda found: {"Version": "2012-10-17", "Statement": found}, st.lists(statements(), min_size=1, max_size=3)
)
CONTEXTS = st.fixed_dictionaries(
    {
        key: st.none() | st.sampled_from(values) | st.lists(st.sampled_from(values), min_size=2, max_size=3)
        for key, (values, _) in KEYS.items()
        if values
    }
).map(lambda drawn: {key: value for key, value in drawn.items() if value is not None})
REQUESTS = st.tuples(
    st.sampled_from(sorted(CALLERS)),
    st.sampled_from(["events:PutEvents", "events:PutRule", "events:DescribeRule"]),
    st.sampled_from([BUS, BUS + "2", RULE]),
    CONTEXTS,
)


@settings(max_examples=EXAMPLES)
@given(POLICIES, st.lists(REQUESTS, min_size=8, max_size=8))
def test_policies_decide_as_iams_rules_say(policy: dict[str, Any], requests: Sequence[Any]) -> None:
    text = json.dumps(policy)
    for caller, action, resource, context in requests:
        decision = evaluate(text, principal=CALLERS[caller][0], action=action, resource=resource, context=context)
        assert decision is expected(policy, caller, action, resource, context), (caller, action, resource, context)


@settings(max_examples=EXAMPLES)
@given(conditions(), st.lists(CONTEXTS, min_size=4, max_size=4))
def test_conditions_hold_as_iams_rules_say(condition: dict[str, Any], contexts: Sequence[Any]) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": condition}
    text = json.dumps({"Statement": statement})
    for context in contexts:
        decision = evaluate(text, principal=Principal(A), action="a:b", resource=BUS, context=context)
        assert decision is expected({"Statement": statement}, "the account", "a:b", BUS, context), context


def test_the_drawn_policies_decide_every_way_for_every_caller() -> None:
    seen: dict[tuple[str, Decision], int] = {}

    @settings(max_examples=300, database=None)
    @given(POLICIES, REQUESTS)
    def look(policy: dict[str, Any], request: Any) -> None:
        caller, action, resource, context = request
        decision = expected(policy, caller, action, resource, context)
        seen[caller, decision] = seen.get((caller, decision), 0) + 1

    look()
    assert {caller for caller, _ in seen} == set(CALLERS)
    assert {decision for _, decision in seen} == set(Decision)
