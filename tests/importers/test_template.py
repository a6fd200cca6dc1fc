"""Templates as a whole: sections, resources, references, order."""

import pytest

from router.importers.template import Reference, references
from tests.importers.templates import problems, stack

RULE = "Type: AWS::Events::Rule, Properties: {EventPattern: {source: [x]}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "At least one Resources member must be defined."),
        ("Resources: {}", "At least one Resources member must be defined."),
        ("Resources: [a]", "expected a mapping, got a list - at `Resources`"),
        (f"Foo: 1\nResources: {{R: {{{RULE}}}}}", "Invalid template property or properties [Foo]"),
        (
            f"AWSTemplateFormatVersion: 2011-01-01\nResources: {{R: {{{RULE}}}}}",
            "Template format error: unsupported value for AWSTemplateFormatVersion.",
        ),
        (
            f"Rules: {{A: {{}}}}\nResources: {{R: {{{RULE}}}}}",
            "the section Rules is not supported: take it out of the template - at `Rules`",
        ),
        ("Resources: {my-rule: {Type: AWS::SQS::Queue}}", "Resource name my-rule is non alphanumeric."),
        ("Resources: {R: a}", "expected a mapping with Type and Properties, got a text - at `Resources.R`"),
        ("Resources: {R: {Type: Rule}}", "expected a type such as AWS::Events::Rule, got 'Rule'"),
        (f"Resources: {{R: {{{RULE}, Proprties: 1}}}}", "Invalid template resource property 'Proprties'"),
        ("Resources: {R: {Type: AWS::SQS::Queue, Properties: [a]}}", "expected a mapping, got a list"),
        (f"Resources: {{R: {{{RULE}, DependsOn: {{}}}}}}", None),
        (
            f"Resources: {{R: {{{RULE}, DependsOn: {{a: b}}}}}}",
            "expected a logical id or a list of them, got a mapping",
        ),
        (f"Resources: {{R: {{{RULE}, DependsOn: X}}}}", "Unresolved resource dependencies [X]"),
        (f"Resources: {{R: {{{RULE}, Condition: C}}}}", "Unresolved condition dependency C"),
        (f"Resources: {{R: {{{RULE}, DeletionPolicy: Keep}}}}", "expected one of Delete, Retain"),
        (f"Mappings: {{M: a}}\nResources: {{R: {{{RULE}}}}}", "expected a mapping of mappings - at `Mappings.M`"),
        (f"Outputs: {{O: {{}}}}\nResources: {{R: {{{RULE}}}}}", "expected Value, got none - at `Outputs.O`"),
        (f"Outputs: {{O: a}}\nResources: {{R: {{{RULE}}}}}", "expected a mapping with Value, got a text"),
        (
            f"Outputs: {{O: {{Value: a, Export: b}}}}\nResources: {{R: {{{RULE}}}}}",
            "expected a mapping with Name alone - at `Outputs.O.Export`",
        ),
        (
            f"Outputs: {{O: {{Value: !Ref X}}}}\nResources: {{R: {{{RULE}}}}}",
            "Unresolved resource dependencies [X] in the Outputs block of the template",
        ),
        (
            f"Transform: AWS::Serverless-2016-10-31\nResources: {{R: {{{RULE}}}}}",
            "the template has the Transform AWS::Serverless-2016-10-31",
        ),
        (
            f"Transform: [{{Name: AWS::Include}}, Mine]\nResources: {{R: {{{RULE}}}}}",
            "the template has the Transform AWS::Include, Mine",
        ),
        (
            "Resources: {F: {Type: AWS::Serverless::Function}}",
            "Unrecognized resource types: [AWS::Serverless::Function]: they need the Transform",
        ),
    ],
)
def test_template_is_refused_with_its_reason(text: str, problem: str | None) -> None:
    found = problems(text)
    assert (not found) if problem is None else (problem in found[0])


def test_resources_that_need_each_other_are_refused() -> None:
    text = """
Resources:
  A: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref B}}
  B: {Type: AWS::Lambda::Function, DependsOn: [C]}
  C: {Type: AWS::Foo::Bar, Properties: {Name: !Sub '${A.Arn}'}}
  D: {Type: AWS::SQS::Queue}
"""
    assert problems(text) == ["Circular dependency between resources: [A, B, C]"]


def test_too_many_resources_are_refused() -> None:
    text = "Resources:\n" + "".join(f"  R{n}: {{Type: AWS::SQS::Queue}}\n" for n in range(501))
    assert problems(text) == ["expected at most 500 members, got 501 - at `Resources`"]


def test_references_are_found_in_all_branches_and_only_in_functions() -> None:
    value = [
        {"Fn::If": ["C", {"Ref": "A"}, {"Fn::GetAtt": ["B", "Arn"]}]},
        {"Fn::Sub": ["${D}${E.Arn}${!F}${G}", {"G": {"Ref": "H"}}]},
        {"Ref": ["not a name"]},
        {"$ref": "#/x", "Ref": "with another key"},
    ]
    assert list(references(value)) == [
        Reference("A"),
        Reference("B", "Arn"),
        Reference("H"),
        Reference("D"),
        Reference("E", "Arn"),
    ]


def test_resources_come_after_what_they_need_buses_first_rules_last() -> None:
    text = """
Resources:
  Rule: {Type: AWS::Events::Rule, Properties: {EventBusName: named-in-text, EventPattern: {source: [x]}}}
  Late: {Type: AWS::SQS::Queue, DependsOn: Rule}
  Archive: {Type: AWS::Events::Archive, Properties: {SourceArn: !GetAtt Bus.Arn}}
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: named-in-text}}
"""
    assert [step.logical_id for step in stack(text).plan.steps] == ["Bus", "Archive", "Rule", "Late"]


def test_resource_with_a_false_condition_is_absent() -> None:
    text = """
Conditions: {Never: !Equals [a, b], Always: !Not [!Condition Never]}
Resources:
  A: {Type: AWS::SQS::Queue, Condition: Never}
  B: {Type: AWS::SQS::Queue, Condition: Always}
Outputs:
  A: {Value: !GetAtt A.Arn, Condition: Never}
  B: {Value: !GetAtt B.QueueName, Condition: Always}
"""
    found = stack(text)
    assert [step.logical_id for step in found.plan.steps] == ["B"]
    assert list(found.outputs()[0]) == ["B"]


def test_reference_to_an_absent_resource_is_missing() -> None:
    text = """
Conditions: {Never: !Equals [a, b]}
Resources:
  A: {Type: AWS::SQS::Queue, Condition: Never}
  B: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt A.QueueName}}
"""
    assert problems(text) == [
        "Template format error: Unresolved resource dependencies [A] - at `Resources.B.Properties.QueueName`"
    ]
