"""Deploying: what changes, in which order, what a refusal leaves, and that a second run changes nothing."""

import msgspec
import pytest

from router.importers import plan_text
from router.importers.apply import DeployFailed, deleting
from router.importers.record import StackRecord
from tests.importers.templates import WHERE, FakeHub, problems, stack

SHOP = """
Parameters: {Note: {Type: String, Default: one}, Name: {Type: String, Default: shop}}
Resources:
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: !Ref Name}}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventBusName: !Ref Bus
      Description: !Ref Note
      EventPattern: {source: [shop]}
      Targets: [{Id: q, Arn: !GetAtt Queue.Arn}]
  Queue: {Type: AWS::SQS::Queue}
Outputs:
  Arn: {Value: !GetAtt Rule.Arn, Export: {Name: rule-arn}}
"""
WITHOUT_RULE = SHOP[: SHOP.index("  Rule:")] + "  Queue: {Type: AWS::SQS::Queue}\n"


def actions(hub: FakeHub, text: str, **given: object) -> dict[str, str]:
    return {step.logical_id: step.action for step in stack(text, record=hub.record, **given).plan.steps}


def test_everything_is_made_in_order_and_kept_with_the_hub() -> None:
    hub = FakeHub()
    record = hub.deploy(SHOP)
    assert hub.actions() == ["CreateEventBus", "CreateQueue", "PutRule", "PutTargets"]
    assert record.status == "complete"
    assert record == hub.record
    assert record.exports == {"rule-arn": record.outputs["Arn"]}
    assert [resource.state for resource in record.resources.values()] == ["ready"] * 3


def test_second_run_changes_nothing() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    hub.actions()
    assert stack(SHOP, record=hub.record).plan.changes_nothing
    hub.deploy(SHOP)
    assert hub.actions() == []


def test_changed_property_is_updated_and_shown() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    hub.actions()
    plan = stack(SHOP, record=hub.record, parameters={"Note": "two"}).plan
    assert next(line for line in plan_text.lines(plan) if line[0] == "~").endswith("Description: one -> two")
    hub.deploy(SHOP, parameters={"Note": "two"})
    assert hub.actions() == ["PutRule"]


def test_property_that_a_bus_has_no_more_is_taken_from_it() -> None:
    text = "Resources:\n  B:\n    Type: AWS::Events::EventBus\n    Properties: {Name: b%s}\n"
    given = (
        ", Description: d, KmsKeyIdentifier: alias/k, DeadLetterConfig: {Arn: 'arn:aws:sqs:us-east-1:111111111111:q'}, "
        "LogConfig: {Level: INFO}"
    )
    hub = FakeHub()
    hub.deploy(text % given)
    hub.actions()
    hub.deploy(text % "")
    (update,) = [call.request for call in hub.calls if call.action == "UpdateEventBus"]
    gone = {"Description": "", "KmsKeyIdentifier": "", "DeadLetterConfig": {}, "LogConfig": {"Level": "OFF"}}
    assert update == {"Name": "b", **gone}


def test_parameter_that_is_not_given_again_keeps_its_value() -> None:
    hub = FakeHub()
    hub.deploy(SHOP, parameters={"Note": "two"})
    assert stack(SHOP, record=hub.record).plan.changes_nothing
    assert not stack(SHOP, record=hub.record, previous_parameters=False).plan.changes_nothing


def test_new_name_replaces_what_has_it_and_what_names_it_old_ones_last() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    hub.actions()
    given = {"Name": "other"}
    assert actions(hub, SHOP, parameters=given) == {"Bus": "replace", "Queue": "keep", "Rule": "replace"}
    record = hub.deploy(SHOP, parameters=given)
    assert hub.actions() == ["CreateEventBus", "PutRule", "PutTargets", "DeleteRule", "DeleteEventBus"]
    assert record.leftovers == ()
    assert record.resources["Rule"].identity.startswith("other|shop-Rule-")
    assert stack(SHOP, record=record).plan.changes_nothing


def test_replaced_resource_without_a_name_gets_a_new_one() -> None:
    text = "Resources: {A: {Type: AWS::Events::Archive, Properties: {SourceArn: %s}}}"
    hub = FakeHub()
    first = hub.deploy(text % "one").resources["A"].name
    second = hub.deploy(text % "two").resources["A"].name
    assert first != second
    assert stack(text % "two", record=hub.record).plan.changes_nothing


def test_named_resource_that_must_be_replaced_is_refused() -> None:
    text = "Resources: {A: {Type: AWS::Events::Archive, Properties: {ArchiveName: a, SourceArn: %s}}}"
    hub = FakeHub()
    hub.deploy(text % "one")
    (problem,) = problems(text % "two", record=hub.record)
    assert problem.startswith(
        "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename a and update"
    )


def test_resource_that_the_template_has_no_more_is_deleted() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    hub.actions()
    assert [left.logical_id for left in stack(WITHOUT_RULE, record=hub.record).plan.deletes] == ["Rule"]
    hub.deploy(WITHOUT_RULE)
    assert hub.actions() == ["DeleteRule"]


def test_changed_type_is_refused() -> None:
    hub = FakeHub()
    hub.deploy("Resources: {A: {Type: AWS::SQS::Queue}}")
    (problem,) = problems("Resources: {A: {Type: AWS::SNS::Topic}}", record=hub.record)
    assert "Update of resource type is not permitted." in problem


def test_retained_resource_stays() -> None:
    hub = FakeHub()
    hub.deploy("Resources: {A: {Type: AWS::SQS::Queue, DeletionPolicy: Retain}, B: {Type: AWS::SQS::Queue}}")
    hub.actions()
    hub.deploy("Resources: {B: {Type: AWS::SQS::Queue}}")
    assert hub.actions() == []
    assert hub.told[-1].startswith("kept A (")


def test_refused_step_takes_back_what_was_made_and_leaves_no_record() -> None:
    hub = FakeHub()
    hub.refuses["PutTargets"] = "no such target"
    with pytest.raises(DeployFailed, match="no such target") as failed:
        hub.deploy(SHOP)
    assert hub.actions()[4:] == ["DeleteRule", "DeleteQueue", "DeleteEventBus"]
    assert "everything is as it was before" in str(failed.value)
    assert hub.record is None
    assert hub.things == {}


def test_refused_update_changes_back_what_it_changed() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    before = hub.record
    hub.actions()
    hub.refuses["CreateArchive"] = "no archives here"
    more = SHOP.replace(
        "Outputs:", "  A: {Type: AWS::Events::Archive, DependsOn: Rule, Properties: {SourceArn: x}}\nOutputs:"
    )
    with pytest.raises(DeployFailed):
        hub.deploy(more, parameters={"Note": "two"})
    assert hub.actions() == ["PutRule", "CreateArchive", "DeleteArchive", "PutRule"]
    assert before is not None
    assert hub.record is not None
    assert msgspec.structs.replace(hub.record, version=before.version) == before


def test_changed_secret_cannot_be_changed_back_and_that_is_said() -> None:
    text = """
Resources:
  C:
    Type: AWS::Events::Connection
    Properties: {AuthorizationType: BASIC, AuthParameters: {BasicAuthParameters: {Username: u, Password: %s}}}
"""
    hub = FakeHub()
    hub.deploy(text % "hunter2")
    assert stack(text % "hunter2", record=hub.record).plan.changes_nothing
    plan = stack(text % "hunter3", record=hub.record).plan
    assert [change.after for change in plan.steps[0].changes] == ["(secret)"]
    hub.refuses["CreateArchive"] = "no"
    more = text % "hunter3" + "  A: {Type: AWS::Events::Archive, DependsOn: C, Properties: {SourceArn: x}}\n"
    with pytest.raises(DeployFailed, match="its secrets are not kept, so it cannot be changed back"):
        hub.deploy(more)
    assert hub.record is not None
    assert hub.record.status == "failed"


def test_thing_that_is_not_the_stacks_is_not_taken_over() -> None:
    hub = FakeHub()
    hub.things["EventBus", "shop"] = {}
    with pytest.raises(DeployFailed, match="AWS::Events::EventBus shop exists and is not of this stack"):
        hub.deploy(SHOP)
    assert ("EventBus", "shop") in hub.things


class _Died(Exception):
    pass


@pytest.mark.parametrize("action", ["CreateEventBus", "CreateQueue", "PutRule", "PutTargets"])
def test_next_run_goes_on_where_one_broke_off(action: str) -> None:
    hub = FakeHub()
    answer = hub._answer

    def dying(name: str, request: dict[str, object]) -> dict[str, object]:
        found = answer(name, request)
        if name == action:
            raise _Died
        return found

    hub._answer = dying  # type: ignore[method-assign,assignment]
    with pytest.raises(_Died):
        hub.deploy(SHOP)
    hub._answer = answer  # type: ignore[method-assign]
    record = hub.deploy(SHOP)
    assert record.status == "complete"
    assert len(hub.things) == 3
    assert stack(SHOP, record=record).plan.changes_nothing


def test_refused_deletion_is_tried_again_by_the_next_run() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    hub.refuses["DeleteRule"] = "not now"
    with pytest.raises(DeployFailed, match="is as its template says, but Rule"):
        hub.deploy(WITHOUT_RULE)
    assert hub.record is not None
    assert [left.logical_id for left in hub.record.leftovers] == ["Rule"]
    hub.refuses.clear()
    assert hub.deploy(WITHOUT_RULE).leftovers == ()


def test_listed_template_makes_again_what_was_deleted_by_hand() -> None:
    from router.importers.apply import deploying

    hub = FakeHub()
    hub.deploy(SHOP)
    del hub.things["EventBus", "shop"]
    hub.actions()
    hub.run(deploying(stack(SHOP, record=hub.record), declared=True))
    assert hub.actions() == ["CreateEventBus"]


def test_deleting_goes_backwards_and_forgets_the_stack() -> None:
    hub = FakeHub()
    record = hub.deploy(SHOP)
    hub.actions()
    hub.run(deleting(record, WHERE))
    assert hub.actions() == ["DeleteRule", "DeleteQueue", "DeleteEventBus"]
    assert hub.record is None


def test_refused_deleting_says_what_stands_and_goes_on_later() -> None:
    hub = FakeHub()
    record = hub.deploy(SHOP)
    hub.refuses["DeleteEventBus"] = "it has rules"
    with pytest.raises(DeployFailed, match="What stands: Bus"):
        hub.run(deleting(record, WHERE))
    hub.refuses.clear()
    assert hub.record is not None
    hub.run(deleting(hub.record, WHERE))
    assert hub.record is None


def test_export_in_use_is_neither_changed_nor_taken_away() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    used = {"rule-arn": "consumer"}
    assert problems(SHOP, record=hub.record, used=used, parameters={"Name": "other"}) == [
        "Export rule-arn cannot be updated as it is in use by consumer"
    ]
    assert problems(WITHOUT_RULE, record=hub.record, used=used) == [
        "Export rule-arn cannot be deleted as it is in use by consumer"
    ]


def test_export_of_another_stack_is_not_exported_twice() -> None:
    assert problems(SHOP, exports={"rule-arn": "x"}) == [
        "Export with name rule-arn is already exported by another stack"
    ]


def test_no_echo_parameter_is_not_kept_and_its_output_not_shown() -> None:
    text = """
Parameters: {Key: {Type: String, NoEcho: true}}
Resources: {Q: {Type: AWS::SQS::Queue}}
Outputs: {Key: {Value: !Sub 'x${Key}'}, Exported: {Value: !Ref Key, Export: {Name: k}}}
"""
    hub = FakeHub()
    record = hub.deploy(text, parameters={"Key": "hunter2"})
    assert (record.parameters, record.outputs, record.exports) == ({}, {"Key": "****"}, {})
    assert problems(text, record=record) == ["Parameters: [Key] must have values"]


def test_two_resources_of_one_name_are_refused() -> None:
    text = "Resources: {A: %s, B: %s}" % (("{Type: AWS::SQS::Queue, Properties: {QueueName: q}}",) * 2)
    assert "q already exists in stack" in problems(text)[0]


def test_name_that_only_the_hub_will_know_is_refused() -> None:
    text = "Resources: {A: {Type: AWS::SQS::Queue}, B: {Type: AWS::SQS::Queue, Properties: {QueueName: !Ref A}}}"
    assert problems(text) == [
        "expected a value that is known before anything is made, got one that needs A.Ref - at "
        "`Resources.B.Properties.QueueName`"
    ]


def test_plan_as_text_and_as_json() -> None:
    hub = FakeHub()
    hub.deploy(SHOP)
    text = (
        WITHOUT_RULE.replace("Bus}", "Bus}") + "  New: {Type: AWS::SQS::Queue}\n  Fn: {Type: AWS::Lambda::Function}\n"
    )
    plan = stack(text, record=hub.record, parameters={"Name": "other"}).plan
    lines = list(plan_text.lines(plan))
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["-/+", "Bus"],
        ["+", "New"],
        ["-", "Rule"],
        ["skip", "Fn"],
    ]
    assert lines[-1] == "1 to make, 0 to change, 1 to replace, 1 to delete, 1 as they are, 1 skipped"
    shown = plan_text.as_json(plan)
    assert [(change["action"], change["logical_id"]) for change in shown["changes"]] == [
        ("replace", "Bus"),
        ("create", "New"),
        ("delete", "Rule"),
    ]
    assert shown["skipped"] == [{"logical_id": "Fn", "type": "AWS::Lambda::Function"}]
    msgspec.json.encode(shown)


def test_record_survives_its_encoding() -> None:
    record = FakeHub().deploy(SHOP)
    assert msgspec.json.decode(msgspec.json.encode(record), type=StackRecord) == record
