"""Parameters: types, defaults, constraints, and what is never shown."""

from typing import Any

import pytest

from router.importers.document import TemplateRefused
from router.importers.parameters import Secret, values


def resolved(declaration: dict[str, Any], given: str | None = None, **more: Any) -> Any:
    return values({"P": declaration}, {} if given is None else {"P": given}, **more).values["P"]


def refusals(declared: dict[str, Any], given: dict[str, str]) -> list[str]:
    with pytest.raises(TemplateRefused) as refused:
        values(declared, given)
    return refused.value.problems


def test_given_value_goes_before_the_previous_and_that_before_the_default() -> None:
    declaration = {"Type": "String", "Default": "default"}
    assert resolved(declaration, "given", previous={"P": "previous"}) == "given"
    assert resolved(declaration, previous={"P": "previous"}) == "previous"
    assert resolved(declaration) == "default"


def test_scalars_become_text() -> None:
    assert resolved({"Type": "Number", "Default": 5}) == "5"
    assert resolved({"Type": "String", "Default": True, "AllowedValues": [True, False]}) == "true"


def test_lists_are_split_at_commas() -> None:
    assert resolved({"Type": "CommaDelimitedList", "Default": "a, b,c"}) == ["a", "b", "c"]
    assert resolved({"Type": "List<Number>"}, "1,2") == ["1", "2"]
    assert resolved({"Type": "List<AWS::EC2::Subnet::Id>"}, "subnet-1") == ["subnet-1"]
    assert resolved({"Type": "CommaDelimitedList", "Default": ""}) == []


def test_every_missing_parameter_is_named_at_once() -> None:
    declared = {"A": {"Type": "String"}, "B": {"Type": "Number"}, "C": {"Type": "String", "Default": ""}}
    assert refusals(declared, {}) == ["Parameters: [A, B] must have values"]


def test_unknown_parameter_is_refused() -> None:
    assert refusals({}, {"X": "1"}) == ["Parameters: [X] do not exist in the template"]


@pytest.mark.parametrize(
    ("declaration", "given", "text"),
    [
        ({"Type": "String", "AllowedValues": ["a", "b"]}, "c", "Parameter 'P' must be one of AllowedValues: a, b"),
        ({"Type": "Number"}, "x", "Parameter 'P' must be a number."),
        ({"Type": "Number", "MinValue": 2}, "1", "must be a number not less than 2"),
        ({"Type": "Number", "MaxValue": 2}, "3", "must be a number not greater than 2"),
        ({"Type": "List<Number>"}, "1,x", "Parameter 'P' must be a number."),
        ({"Type": "String", "MinLength": "2"}, "x", "must contain at least 2 characters"),
        ({"Type": "String", "MaxLength": 2}, "xxx", "must contain at most 2 characters"),
        ({"Type": "String", "AllowedPattern": "[a-z]+"}, "ab1", "must match pattern [a-z]+"),
        ({"Type": "String", "AllowedPattern": "[a-z]+", "ConstraintDescription": "only letters"}, "1", "only letters"),
        ({"Type": "String", "AllowedPattern": "("}, "1", "expected a regular expression, got '('"),
        ({"Type": "Strin"}, "1", "Unrecognized parameter type: Strin"),
        ({"Default": "x"}, "1", "Every Parameters object must contain a Type member."),
        ({"Type": "String", "Defualt": "x"}, "1", "Invalid template parameter property 'Defualt'"),
        ({"Type": "String", "MinLength": "x"}, "1", "expected a number, got 'x' - at `Parameters.P.MinLength`"),
        (
            {"Type": "String", "AllowedValues": "x"},
            "1",
            "expected a list, got a text - at `Parameters.P.AllowedValues`",
        ),
    ],
)
def test_value_or_declaration_that_is_wrong_is_refused(declaration: dict[str, Any], given: str, text: str) -> None:
    (problem,) = refusals({"P": declaration}, {"P": given})
    assert text in problem


def test_default_must_be_scalar() -> None:
    assert "Every Default member must be a string." in refusals({"P": {"Type": "String", "Default": {}}}, {})[0]


def test_parameter_of_the_parameter_store_is_refused_by_name_unless_given() -> None:
    declaration = {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/shop/key"}
    (problem,) = refusals({"P": declaration}, {})
    assert "Parameter P has the type AWS::SSM::Parameter::Value<String>" in problem
    assert resolved(declaration, "the value") == "the value"


def test_no_echo_value_is_a_secret_and_not_in_a_refusal() -> None:
    declaration = {"Type": "String", "NoEcho": "true", "MinLength": 20}
    found = values({"P": {**declaration, "MinLength": 1}}, {"P": "hunter2"})
    assert isinstance(found.values["P"], Secret)
    assert found.secret == {"P"}
    assert "hunter2" not in refusals({"P": declaration}, {"P": "hunter2"})[0]
