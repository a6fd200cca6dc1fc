"""Real templates: each deploys, or is refused for exactly what it lacks.

Resources and reasons were read in the templates themselves; the corpus has no word on them.
"""

from collections import Counter

import pytest

from tests.importers.templates import WHERE, FakeHub, problems, stack
from tests.shared import SHARED, needs_shared, rows

pytestmark = needs_shared

ROWS = {row["file"].removeprefix("templates/"): row for row in rows("corpus/templates.jsonl")}
SAM = "AWS::Serverless-2016-10-31"
REAL = {
    "aws-samples__serverless-patterns__eventbridge-kinesis__template.yaml": [],
    "aws-samples__serverless-patterns__s3-eventbridge-sns-sam__template.yaml": [],
    "widdix__aws-cf-templates__ecs__cluster.yaml": ["Parameters: [ParentVPCStack] must have values"],
    "widdix__aws-cf-templates__ecs__cluster-cost-optimized.yaml": ["Parameters: [ParentVPCStack] must have values"],
    "widdix__aws-cf-templates__security__kms-key-legacy.yaml": ["Parameters: [KeyId] must have values"],
    "widdix__aws-cf-templates__fargate__service-dedicated-alb.yaml": [
        "Parameters: [ParentVPCStack, ParentClusterStack] must have values"
    ],
}
"""The templates of real projects without a Transform, and what they lack when nothing is given."""
OTHERS = {
    # Each is wrong on AWS too, or asks for what a test must give.
    "aws__serverless-application-model__tests__translator__output__connector_dependson_replace.json": (
        "Unresolved resource dependencies [SomeRole, Foo, Egg, Bar]"
    ),
    "aws__serverless-application-model__tests__translator__output__state_machine_with_event_schedule_state.json": (
        "Unresolved resource dependencies [ScheduleState]"
    ),
    "aws__serverless-application-model__tests__translator__output__embedded_connectors_rule_to.json": (
        "MyEventsRule1 and MyEventsRule2 have the same name"
    ),
    "aws__serverless-application-model__tests__translator__output__connector_rule_to_eventbus.json": (
        "MyNewEventsRule and MyNewEventsRuleToDefaultBus have the same name"
    ),
    "aws__serverless-application-model__tests__translator__output__function_with_events_and_propagate_tags.json": (
        "Parameters: [ScheduleName] must have values"
    ),
    "localstack__localstack__tests__aws__templates__events_rule_without_targets.yaml": (
        "Parameters: [EventRuleName] must have values"
    ),
    "localstack__localstack__tests__aws__templates__integration_events_sns_sqs_lambda.yaml": (
        "Parameters: [FunctionName, QueueName, TopicName, BusName, RuleName] must have values"
    ),
    "floci-io__floci___extracted__src_test_java_io_github_hectorvent_floci_services_cloudformation_"
    "CloudFormationEventBusIntegrationTest.java_3.json": "Expected the name of an event bus or its ARN, got '%s'",
}


def text(name: str) -> str:
    return (SHARED / "corpus" / "templates" / name).read_text(encoding="utf-8")


def is_sam(name: str) -> bool:
    return SAM in str(ROWS[name]["features"]) or any(
        type_.startswith("AWS::Serverless::") for type_ in ROWS[name]["resource_types"]
    )


def test_corpus_is_as_these_tests_know_it() -> None:
    assert Counter(is_sam(name) for name in ROWS) == {True: 93, False: 51}
    assert {name for name, row in ROWS.items() if row["kind"] == "template" and not is_sam(name)} == REAL.keys()


@pytest.mark.parametrize("name", [name for name in ROWS if is_sam(name)])
def test_sam_template_is_refused_by_the_name_of_its_transform(name: str) -> None:
    assert any(SAM in problem for problem in problems(text(name)))


@pytest.mark.parametrize("name", REAL)
def test_real_template_deploys_or_names_what_is_missing(name: str) -> None:
    assert problems(text(name)) == REAL[name]
    if not REAL[name]:
        assert FakeHub().deploy(text(name)).status == "complete"


@pytest.mark.parametrize("name", [name for name in ROWS if not is_sam(name) and name not in REAL])
def test_other_template_deploys_or_names_what_is_wrong(name: str) -> None:
    if name in OTHERS:
        assert OTHERS[name] in problems(text(name))[0]
    else:
        assert FakeHub().deploy(text(name)).status == "complete"


def test_rule_to_a_stream_of_the_same_template_resolves() -> None:
    found = stack(text("aws-samples__serverless-patterns__eventbridge-kinesis__template.yaml"))
    bus, rule = found.plan.steps
    assert (bus.identity, rule.identity) == ("test-bus", "test-bus|test-rule")
    (target,) = rule.properties["Targets"]
    assert target["Arn"] == "arn:aws:kinesis:us-east-1:111111111111:stream/test-stream"
    assert [item.type for item in found.plan.skipped] == ["AWS::Kinesis::Stream", "AWS::IAM::Role"]


def test_rule_with_a_condition_needs_its_export_only_where_it_is_true() -> None:
    template = text("widdix__aws-cf-templates__security__kms-key-legacy.yaml")
    assert stack(template, parameters={"KeyId": "k"}).plan.steps == ()
    given = {"KeyId": "k", "ParentAlertStack": "alert"}
    assert problems(template, parameters=given) == [
        "No export named alert-TopicARN found. - at `Resources.DeletionNotification.Properties.Targets[0].Arn`"
    ]
    topic = "arn:aws:sns:us-east-1:111111111111:alerts"
    (step,) = stack(template, parameters=given, exports={"alert-TopicARN": topic}).plan.steps
    assert step.properties["Targets"] == [{"Id": "rule", "Arn": topic}]


def test_cluster_template_becomes_its_rule_queues_and_log_groups() -> None:
    found = stack(text("widdix__aws-cf-templates__ecs__cluster.yaml"), parameters={"ParentVPCStack": "vpc"})
    assert [(step.logical_id, step.type) for step in found.plan.steps] == [
        ("LogGroup", "AWS::Logs::LogGroup"),
        ("AutoScalingGroupLifecycleHookDeadLetterQueue", "AWS::SQS::Queue"),
        ("AutoScalingGroupLifecycleHookQueue", "AWS::SQS::Queue"),
        ("SchedulableContainersLogGroup", "AWS::Logs::LogGroup"),
        ("DrainInstanceLogGroup", "AWS::Logs::LogGroup"),
        ("SchedulableContainersCron", "AWS::Events::Rule"),
    ]
    function = found.plan.steps[3].name.removeprefix("/aws/lambda/")
    (target,) = found.plan.steps[5].properties["Targets"]
    assert target["Arn"] == f"arn:aws:lambda:us-east-1:111111111111:function:{function}"


def test_service_template_names_both_exports_that_it_needs() -> None:
    given = {"ParentVPCStack": "vpc", "ParentClusterStack": "cluster", "ParentAlertStack": "alert"}
    template = text("widdix__aws-cf-templates__fargate__service-dedicated-alb.yaml")
    where = "Resources.ServiceFailedNotification.Properties"
    assert problems(template, parameters=given) == [
        f"No export named cluster-Cluster found. - at `{where}.EventPattern.resources[0]`",
        f"No export named alert-TopicARN found. - at `{where}.Targets[0].Arn`",
    ]
    exports = {"cluster-Cluster": "main", "alert-TopicARN": "arn:aws:sns:us-east-1:111111111111:alerts"}
    rule = stack(template, parameters=given, exports=exports).plan.steps[-1]
    (service,) = rule.properties["EventPattern"]["resources"]
    assert service.startswith(f"arn:aws:ecs:us-east-1:111111111111:service/main/{WHERE.stack}-Service-")
