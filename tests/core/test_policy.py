"""Resource policies: IAM's evaluation as tables, and what is refused."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.policy import (
    Decision,
    InvalidPrincipal,
    MalformedPolicy,
    Principal,
    check,
    evaluate,
    like,
    principal_of,
)

BUS = "arn:aws:events:eu-west-1:333333333333:event-bus/central"
RULE = "arn:aws:events:us-east-1:111111111111:rule/forward"
CONTEXT: dict[str, str | list[str]] = {
    "aws:SourceArn": RULE,
    "aws:SourceAccount": "111111111111",
    "aws:PrincipalOrgID": "o-abc",
    "events:source": ["my.app", "my.other"],
    "events:eventBusInvocation": "true",
}
ACCOUNT = Principal("111111111111")
ALLOW, DENY, NEITHER = Decision.ALLOW, Decision.EXPLICIT_DENY, Decision.NOT_ALLOWED


def statement(**changes: Any) -> dict[str, Any]:
    """An Allow for everyone to put events, with elements replaced; one set to None is left out."""
    base = {"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": BUS}
    return {key: value for key, value in (base | changes).items() if value is not None}


def policy(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def decided(
    *statements: Any,
    who: Principal = ACCOUNT,
    action: str = "events:PutEvents",
    resource: str = BUS,
    context: dict[str, str | list[str]] | None = None,
) -> Decision:
    return evaluate(
        policy(*statements),
        principal=who,
        action=action,
        resource=resource,
        context=CONTEXT if context is None else context,
    )


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], NEITHER),
        ([statement()], ALLOW),
        ([statement(Effect="Deny")], DENY),
        ([statement(), statement(Effect="Deny")], DENY),
        ([statement(Effect="Deny"), statement()], DENY),
        ([statement(), statement(Effect="Deny", Principal={"AWS": "222222222222"})], ALLOW),
        ([statement(Action="events:PutRule"), statement()], ALLOW),
    ],
)
def test_explicit_deny_wins_over_allow(statements: list[Any], expected: Decision) -> None:
    assert decided(*statements) is expected


def test_no_policy_allows_nothing() -> None:
    assert evaluate(None, principal=Principal("1" * 12), action="a:b", resource="r", context={}) is NEITHER


def test_statement_may_stand_alone() -> None:
    text = json.dumps({"Statement": statement(), "Id": "x"})
    assert evaluate(text, principal=Principal("1" * 12), action="events:PutEvents", resource=BUS, context={}) is ALLOW


@pytest.mark.parametrize(
    ("principal", "allowed"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"AWS": "111111111111"}, True),
        ({"AWS": "222222222222"}, False),
        ({"AWS": ["222222222222", "111111111111"]}, True),
        ({"AWS": ["222222222222", "*"]}, True),
        ({"AWS": "arn:aws:iam::111111111111:root"}, True),
        ({"AWS": "arn:aws:iam::222222222222:root"}, False),
        ({"AWS": "arn:aws:iam::111111111111:role/path/Forwarder"}, True),
        ({"AWS": "arn:aws:sts::111111111111:assumed-role/Forwarder/s"}, True),
        ({"AWS": "arn:aws-cn:iam::111111111111:user/u"}, True),
        ({"Service": "events.amazonaws.com"}, False),
        ({"Service": "events.amazonaws.com", "AWS": "111111111111"}, True),
    ],
)
def test_principal_is_the_account(principal: Any, allowed: bool) -> None:
    assert decided(statement(Principal=principal)) is (ALLOW if allowed else NEITHER)
    assert decided(statement(Principal=None, NotPrincipal=principal)) is (NEITHER if allowed else ALLOW)


@pytest.mark.parametrize(
    ("principal", "allowed"),
    [("*", True), ({"Service": ["x.amazonaws.com", "events.amazonaws.com"]}, True), ({"AWS": "111111111111"}, False)],
)
def test_service_is_a_principal_of_its_own(principal: Any, allowed: bool) -> None:
    decision = decided(statement(Principal=principal), who=Principal("", service="events.amazonaws.com"))
    assert decision is (ALLOW if allowed else NEITHER)


@pytest.mark.parametrize(
    ("actions", "allowed"),
    [
        ("events:PutEvents", True),
        ("EVENTS:putevents", True),
        ("*", True),
        ("events:*", True),
        ("events:Put*", True),
        ("events:PutEvent?", True),
        ("events:PutEvents?", False),
        ("events:Describe*", False),
        (["events:PutRule", "events:PutEvents"], True),
    ],
)
def test_action_is_compared_without_case(actions: Any, allowed: bool) -> None:
    assert decided(statement(Action=actions)) is (ALLOW if allowed else NEITHER)
    assert decided(statement(Action=None, NotAction=actions)) is (NEITHER if allowed else ALLOW)


@pytest.mark.parametrize(
    ("resources", "allowed"),
    [
        (BUS, True),
        ("*", True),
        ("arn:aws:events:*:333333333333:event-bus/*", True),
        ("arn:aws:events:eu-west-?:333333333333:event-bus/central", True),
        (BUS.upper(), False),
        (BUS + "2", False),
        ([BUS + "2", BUS], True),
    ],
)
def test_resource_is_compared_with_case(resources: Any, allowed: bool) -> None:
    assert decided(statement(Resource=resources)) is (ALLOW if allowed else NEITHER)
    assert decided(statement(Resource=None, NotResource=resources)) is (NEITHER if allowed else ALLOW)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:PrincipalOrgID": "o-abc"}}, True),
        ({"StringEquals": {"AWS:principalorgid": "o-abc"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "O-ABC"}}, False),
        ({"StringEquals": {"aws:PrincipalOrgID": ["o-x", "o-abc"]}}, True),
        ({"StringEquals": {"events:creatorAccount": "1"}}, False),
        ({"StringEqualsIfExists": {"events:creatorAccount": "1"}}, True),
        ({"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-x"}}, False),
        ({"StringNotEquals": {"aws:PrincipalOrgID": "o-x"}}, True),
        ({"StringNotEquals": {"aws:PrincipalOrgID": ["o-x", "o-abc"]}}, False),
        ({"StringNotEquals": {"events:creatorAccount": "1"}}, True),
        ({"StringEqualsIgnoreCase": {"aws:PrincipalOrgID": "O-ABC"}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:PrincipalOrgID": "O-ABC"}}, False),
        ({"StringLike": {"aws:PrincipalOrgID": "o-?b*"}}, True),
        ({"StringLike": {"aws:PrincipalOrgID": "o-"}}, False),
        ({"StringNotLike": {"aws:PrincipalOrgID": "o-*"}}, False),
        ({"ArnEquals": {"aws:SourceArn": RULE}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:events:*:111111111111:rule/*"}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:*:rule/*:*:*"}}, False),
        ({"ArnLike": {"aws:SourceAccount": "arn:*:*:*:*:*"}}, False),
        ({"ArnNotLike": {"aws:SourceArn": "arn:aws:events:*:222222222222:*"}}, True),
        ({"ArnNotEquals": {"aws:SourceArn": RULE}}, False),
        ({"Bool": {"events:eventBusInvocation": "true"}}, True),
        ({"Bool": {"events:eventBusInvocation": True}}, True),
        ({"Bool": {"events:eventBusInvocation": False}}, False),
        ({"Null": {"events:creatorAccount": "true"}}, True),
        ({"Null": {"events:creatorAccount": "false"}}, False),
        ({"Null": {"aws:SourceArn": False}}, True),
        ({"Null": {"aws:SourceArn": "true"}}, False),
        ({"StringEquals": {"events:source": "my.app"}}, True),
        ({"StringNotEquals": {"events:source": "my.app"}}, False),
        ({"ForAnyValue:StringEquals": {"events:source": "my.app"}}, True),
        ({"ForAnyValue:StringEquals": {"events:source": "other"}}, False),
        ({"ForAnyValue:StringEquals": {"events:detail-type": "x"}}, False),
        ({"ForAnyValue:StringEqualsIfExists": {"events:detail-type": "x"}}, True),
        ({"ForAnyValue:StringNotEquals": {"events:source": "my.app"}}, True),
        ({"ForAnyValue:StringNotEquals": {"events:source": ["my.app", "my.other"]}}, False),
        ({"ForAnyValue:StringNotEquals": {"events:detail-type": "x"}}, False),
        ({"ForAllValues:StringEquals": {"events:source": "my.app"}}, False),
        ({"ForAllValues:StringLike": {"events:source": "my.*"}}, True),
        ({"ForAllValues:StringEquals": {"events:detail-type": "x"}}, True),
        ({"ForAllValues:StringNotEquals": {"events:source": "my.app"}}, False),
        ({"ForAllValues:StringNotEquals": {"events:source": "x"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-abc", "aws:SourceAccount": "111111111111"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-abc", "aws:SourceAccount": 222222222222}}, False),
        ({"StringEquals": {"aws:SourceAccount": 111111111111}, "Bool": {"events:eventBusInvocation": "false"}}, False),
        ({}, True),
    ],
)
def test_condition_decides(condition: Any, holds: bool) -> None:
    assert decided(statement(Condition=condition)) is (ALLOW if holds else NEITHER)
    assert decided(statement(Effect="Deny", Condition=condition)) is (DENY if holds else NEITHER)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ('{"\ud800', "not valid JSON"),
        ("[]", "Expected a policy object, got a list"),
        ('"x"', "got a string"),
        ("null", "got null"),
        ("1", "got a number"),
        ("{}", "no Statement"),
        ('{"Statment": []}', "Unknown policy element 'Statment'"),
        ('{"Version": "2020-01-01", "Statement": []}', "Expected Version"),
        (policy("x"), r"Statement\[0\]: expected an object, got a string"),
        (policy(statement(Principle="*")), "unknown element 'Principle'"),
        (policy(statement(Sid=True)), r"Sid: expected a string, got a boolean"),
        (policy(statement(), statement(Effect="allow")), r"Statement\[1\]\.Effect: expected Allow or Deny"),
        (policy(statement(Effect=[])), "expected Allow or Deny"),
        (policy(statement(Principal=None)), "expected either Principal or NotPrincipal"),
        (policy(statement(NotPrincipal="*")), "expected either Principal or NotPrincipal"),
        (policy(statement(Action=None)), "expected either Action or NotAction"),
        (policy(statement(Resource=None)), "expected either Resource or NotResource"),
        (policy(statement(Action="PutEvents")), "expected service:Action"),
        (policy(statement(Action=[])), "expected at least one value"),
        (policy(statement(Action=1.5)), "expected a string, got a number"),
        (policy(statement(Resource={})), "expected a string, got an object"),
        (policy(statement(Resource="arn:${aws:x}")), "policy variables are not supported"),
        (policy(statement(Principal="111111111111")), 'expected "\\*" or an object'),
        (policy(statement(Principal={})), 'expected "\\*" or an object'),
        (policy(statement(Principal={"AWS": "someone"})), "expected \\*, an account id"),
        (policy(statement(Principal={"AWS": "arn:aws:iam::111111111111:role/*"})), "expected \\*, an account id"),
        (policy(statement(Principal={"Federated": "x"})), "type 'Federated' are not supported"),
        (policy(statement(Condition=[])), "Condition: expected an object, got a list"),
        (policy(statement(Condition={"StringEquals": "x"})), "StringEquals: expected an object"),
        (policy(statement(Condition={"StringEquals": {"aws:Nonsense": "x"}})), "key 'aws:Nonsense' is not supported"),
        (policy(statement(Condition={"DateLessThan": {"aws:SourceArn": "x"}})), "operator 'DateLessThan'"),
        (policy(statement(Condition={"ForSome:StringLike": {"aws:SourceArn": "x"}})), "operator 'ForSome:StringLike'"),
        (policy(statement(Condition={"Null": {"aws:SourceArn": "maybe"}})), "expected true or false"),
        (policy(statement(Condition={"Null": {"aws:SourceArn": ["true", "false"]}})), "expected true or false"),
        (policy(statement(Condition={"NullIfExists": {"aws:SourceArn": "true"}})), "operator 'NullIfExists'"),
        (policy(statement(Condition={"ArnLike": {"aws:SourceArn": "*"}})), "ARN pattern of six parts"),
    ],
)
def test_policy_that_cannot_be_honoured_is_refused(text: str, says: str) -> None:
    with pytest.raises(MalformedPolicy, match=says):
        check(text)
    with pytest.raises(MalformedPolicy):
        evaluate(text, principal=Principal("1" * 12), action="a:b", resource="r", context={})


def test_recorded_policy_of_put_permission_is_accepted() -> None:
    check(policy(statement(Sid="statement-1", Principal={"AWS": "arn:aws:iam::111111111111:root"})))


@given(pattern=st.text("ab*?", max_size=10), text=st.text("ab", max_size=10))
def test_wildcards_mean_what_the_regular_expression_means(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    assert like(pattern, text) is (re.fullmatch(expression, text) is not None)


def test_many_stars_do_not_explode() -> None:
    assert not like("*a" * 200 + "b", "a" * 2000)


IAM, STS = "arn:aws:iam::111111111111:", "arn:aws:sts::111111111111:"
ROLE, USER, ROOT, SESSION = IAM + "role/team/orders", IAM + "user/ann", IAM + "root", STS + "assumed-role/orders/s1"


@pytest.mark.parametrize(
    ("caller", "reached"),
    [
        (None, {"account", "root", "role", "user", "session"}),
        (ROOT, {"account", "root"}),
        (ROLE, {"account", "root", "role"}),
        (USER, {"account", "root", "user"}),
        (SESSION, {"account", "root", "role", "session"}),
        (STS + "assumed-role/orders/s2", {"account", "root", "role"}),
        (STS + "federated-user/ann", {"account", "root"}),
        (IAM + "role/orders", {"account", "root"}),
    ],
)
def test_a_policy_that_names_a_user_or_role_means_that_one(caller: str | None, reached: set[str]) -> None:
    names = {"account": "111111111111", "root": ROOT, "role": ROLE, "user": USER, "session": SESSION}
    who = Principal("111111111111") if caller is None else principal_of(caller)
    for effect, decision in (("Allow", ALLOW), ("Deny", DENY)):
        found = {
            word
            for word, name in names.items()
            if decided(statement(Effect=effect, Principal={"AWS": name}), who=who) is decision
        }
        assert found == reached


@pytest.mark.parametrize(
    ("caller", "names", "spared"),
    [
        (None, ["111111111111"], True),
        (None, [USER], False),
        (None, "*", True),
        (USER, [USER], False),
        (USER, [ROOT], False),
        (USER, [USER, ROOT], True),
        (ROLE, [ROLE, "111111111111"], True),
        (SESSION, [ROLE, ROOT], False),
        (SESSION, [SESSION, ROOT], False),
        (SESSION, [SESSION, ROLE, ROOT], True),
    ],
)
def test_a_denial_spares_only_who_is_named_with_their_account(caller: str | None, names: Any, spared: bool) -> None:
    who = Principal("111111111111") if caller is None else principal_of(caller)
    denial = statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": names})
    assert decided(statement(), denial, who=who) is (ALLOW if spared else DENY)


def test_a_service_is_spared_by_its_name() -> None:
    denial = statement(Effect="Deny", Principal=None, NotPrincipal={"Service": "events.amazonaws.com"})
    assert decided(statement(), denial, who=Principal("", service="events.amazonaws.com")) is ALLOW
    assert decided(statement(), denial) is DENY


@pytest.mark.parametrize("name", [[USER], [ROOT], [ROLE, ROOT]])
def test_whom_an_allow_leaves_out_it_leaves_out_in_any_way(name: list[str]) -> None:
    leaving_out = statement(Principal=None, NotPrincipal={"AWS": name})
    assert decided(leaving_out) is NEITHER
    assert decided(leaving_out, who=Principal("222222222222")) is ALLOW


@pytest.mark.parametrize(
    "arn",
    [
        *("", "111111111111", "*", IAM + "group/g", IAM + "role/", IAM + "user/*", STS + "assumed-role/x"),
        *(STS + "root", "arn:aws:iam::11:root", "arn:aws:s3:::bucket", IAM + "role/x\ny?"),
    ],
)
def test_what_is_no_principal_is_refused(arn: str) -> None:
    with pytest.raises(InvalidPrincipal, match="ARN of an IAM principal"):
        principal_of(arn)


def test_refusals_name_the_principal_and_else_the_accounts_root() -> None:
    assert [str(principal_of(USER)), str(ACCOUNT)] == [USER, ROOT]
