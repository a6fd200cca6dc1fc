"""Each intrinsic function with good and bad arguments, by what a rule's description becomes."""

import pytest

from router.importers.intrinsics import Later
from router.importers.parameters import Secret
from tests.importers.templates import described, refused, rule, stack

PARAMETERS = """
Parameters:
  Stage: {Type: String, Default: test}
  Names: {Type: CommaDelimitedList, Default: 'a,b,c'}
  Key: {Type: String, NoEcho: true, Default: hunter2}
Mappings:
  Stages: {test: {name: small, ports: [1, 2]}}
Conditions:
  IsTest: !Equals [!Ref Stage, test]
  IsProd: !Equals [!Ref Stage, prod]
  Both: !And [!Condition IsTest, !Condition IsProd]
  Either: !Or [!Condition IsTest, !Condition IsProd]
  NotTest: !Not [!Condition IsTest]
  Number: !Equals [1, '1']
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!Ref Stage", "test"),
        ("!Ref AWS::AccountId", "111111111111"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref AWS::StackName", "shop"),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        ("!Ref AWS::NoValue", None),
        ("!Sub '${Stage}-${AWS::Region}'", "test-us-east-1"),
        ("!Sub ['${A}/${Stage}', {A: !Ref Stage}]", "test/test"),
        ("!Sub '${!Stage} $Stage ${Stage}'", "${Stage} $Stage test"),
        ("!Sub 'no end ${Stage'", "no end ${Stage"),
        ("!Join ['-', [a, !Ref Stage, 1, true]]", "a-test-1-true"),
        ("!Join [',', !Ref Names]", "a,b,c"),
        ("!Join ['', []]", ""),
        ("!Select [1, !Ref Names]", "b"),
        ("!Select ['0', [x, y]]", "x"),
        ("!Select [2, !Split ['/', 'a/b/c']]", "c"),
        ("!FindInMap [Stages, !Ref Stage, name]", "small"),
        ("!Select [1, !FindInMap [Stages, test, ports]]", "2"),
        ("!Base64 'x y'", "eCB5"),
        ("!If [IsTest, yes it is, no]", "yes it is"),
        ("!If [IsProd, a, !If [IsTest, b, c]]", "b"),
        ("!If [Both, a, b]", "b"),
        ("!If [Either, a, b]", "a"),
        ("!If [NotTest, a, b]", "b"),
        ("!If [Number, a, b]", "a"),
        ("!If [IsProd, a, !Ref AWS::NoValue]", None),
        ("!ImportValue other-name", "exported"),
        ("!ImportValue {'Fn::Sub': '${Stage}-name'}", "of test"),
        ("!Sub 'a\\nb'", "a\\nb"),
    ],
)
def test_function_gives(value: str, expected: str | None) -> None:
    exports = {"other-name": "exported", "test-name": "of test"}
    assert described(value, above=PARAMETERS, exports=exports) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("!Ref Nothing", "Unresolved resource dependencies [Nothing] in the Resources block"),
        ("{Ref: [a]}", "expected a name in Ref, got a list"),
        ("{Ref: Stage, Other: x}", "expected Ref alone, got Other beside it"),
        ("!GetAtt Rule", "expected a logical id and an attribute in Fn::GetAtt, got a text"),
        ("!Sub [a]", "expected a text and a mapping in Fn::Sub, got a list"),
        ("!Sub {a: b}", "expected a text in Fn::Sub, got a mapping"),
        ("!Sub '${Names}'", "variable Names in Fn::Sub expression does not resolve to a string"),
        ("!Sub '${Nothing}'", "Unresolved resource dependencies [Nothing]"),
        ("!Sub ['${A}', {A: [x]}]", "expected a text for ${A} in Fn::Sub, got a list"),
        ("!Join [a]", "expected a delimiter and a list in Fn::Join, got a list"),
        ("!Join [[], []]", "expected a text as the delimiter of Fn::Join, got a list"),
        ("!Join ['', a]", "expected a list in Fn::Join, got a text"),
        ("!Join ['', [[a]]]", "expected texts in Fn::Join's list, got a list"),
        ("!Split ['', a]", "expected a text that is not empty as the delimiter of Fn::Split, got ''"),
        ("!Select [9, [a]]", "Fn::Select cannot select nonexistent value at index 9"),
        ("!Select [-1, [a]]", "Fn::Select cannot select nonexistent value at index -1"),
        ("!Select [0, a]", "expected a list in Fn::Select, got a text"),
        ("!FindInMap [Stages, prod, name]", "Unable to get mapping for Stages::prod::name"),
        ("!FindInMap [a]", "expected a map's name and two keys in Fn::FindInMap"),
        ("!Base64 [a]", "expected a text in Fn::Base64, got a list"),
        ("!If [Nothing, a, b]", "Unresolved condition dependency Nothing"),
        ("!If [IsTest, a]", "expected a condition's name and two values in Fn::If"),
        ("!If [[a], a, b]", "expected the name of a condition in Fn::If, got a list"),
        ("!ImportValue nothing", "No export named nothing found."),
        ("!Cidr [a, 1, 2]", "Fn::Cidr is not supported: give the blocks as a parameter"),
        ("!Select [0, !GetAZs '']", "Fn::GetAZs is not supported: this hub has no availability zones"),
        ("!Transform {Name: x}", "Fn::Transform is not supported: this hub has no macros"),
        ("{'Fn::Length': [a]}", "Fn::Length needs the Transform AWS::LanguageExtensions"),
        ("{'Fn::Nothing': a}", "expected a function that may stand here, got Fn::Nothing"),
        ("!Equals [a, b]", "expected a function that may stand here, got Fn::Equals"),
        ("!Ref Names", "expected a text, got a list - at `Resources.Rule.Properties.Description`"),
        ("'{{resolve:ssm:/a:1}}'", "{{resolve:ssm:/a:1}} cannot be looked up"),
        ("!Sub '{{resolve:secretsmanager:${Stage}}}'", "{{resolve:secretsmanager:test}} cannot be looked up"),
    ],
)
def test_wrong_argument_is_refused_with_its_place(value: str, text: str) -> None:
    (problem,) = refused(value, above=PARAMETERS)
    assert text in problem


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("!Equals [a]", "expected 2 values in Fn::Equals, got 1"),
        ("!Not [!Equals [a, b], !Equals [a, b]]", "expected 1 values in Fn::Not, got 2"),
        ("!And [!Equals [a, b]]", "expected 2 to 10 values in Fn::And, got 1"),
        ("!Equals a", "expected a list in Fn::Equals, got a text"),
        ("!Ref X", "expected one of Fn::And, Fn::Or, Fn::Not, Fn::Equals or Condition as a condition, got Ref"),
        ("yes", "or Condition as a condition, got a boolean"),
        ("!Condition Nothing", "Unresolved condition dependency Nothing"),
        ("!Not [!Condition C]", "Circular dependency between conditions: [C, C]"),
        ("!Equals [!Ref Rule, a]", "Cannot reference resources in the Conditions block"),
        ("!Equals [!ImportValue a, a]", "Fn::ImportValue may not stand in the Conditions block"),
    ],
)
def test_wrong_condition_is_refused(condition: str, text: str) -> None:
    (problem,) = refused("!If [C, a, b]", above=f"Conditions:\n  C: {condition}")
    assert text in problem


def test_several_problems_are_told_at_once() -> None:
    text = rule("!ImportValue one") + "      RoleArn: !ImportValue two\n      State: !Join [a]\n"
    with pytest.raises(Exception, match="one") as raised:
        stack(text)
    assert [problem.partition(" - at ")[2] for problem in raised.value.problems] == [  # type: ignore[attr-defined]
        "`Resources.Rule.Properties.State`",
        "`Resources.Rule.Properties.Description`",
        "`Resources.Rule.Properties.RoleArn`",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "!Ref Key",
        "!Sub 'x${Key}'",
        "!Join ['', [a, !Ref Key]]",
        "!Base64 {Ref: Key}",
        "!Select [0, !Split [t, !Ref Key]]",
        "!If [IsTest, !Ref Key, a]",
    ],
)
def test_text_made_with_a_secret_is_one(value: str) -> None:
    assert isinstance(described(value, above=PARAMETERS), Secret)


def test_what_only_the_hub_will_know_is_later() -> None:
    text = rule("!Sub 'of ${Queue}'") + "  Queue: {Type: AWS::SQS::Queue}\n"
    step = stack(text).plan.steps[1]
    assert step.properties["Description"] == Later({"Fn::Sub": "of ${Queue}"}, "Queue.Ref")
