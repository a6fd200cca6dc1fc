from typing import Any

import msgspec
import pytest

from router.catalog import kinds, targets
from router.catalog.kinds import kind_of
from router.catalog.model import Rule, Target
from router.errors import ApiError, LimitExceededException, ValidationException
from tests.catalog.hub import HERE, QUEUE, ROLE

LIMIT = r"^The requested resource exceeds the maximum number allowed\.$"
PREFIX = "arn:aws:events:us-east-1:111111111111:"
BUS = PREFIX + "event-bus/other"
DESTINATION = PREFIX + "api-destination/d/1b4e28ba-2fa1-11d2-883f-0016d3cca427"
SETTINGS = targets.Rules(cross_region=False, api_destination_exists=lambda arn: arn == DESTINATION)
RULE = Rule(name="r", bus="orders", location=HERE, arn=PREFIX + "rule/orders/r", created_by=HERE.account)
KINDS = {
    "sqs": QUEUE,
    "sns": "arn:aws:sns:us-east-1:111111111111:topic",
    "lambda": "arn:aws:lambda:us-east-1:111111111111:function:f:live",
    "logs": "arn:aws:logs:us-east-1:111111111111:log-group:/aws/events/x:*",
    "kinesis": "arn:aws:kinesis:us-east-1:111111111111:stream/s",
    "firehose": "arn:aws:firehose:us-east-1:111111111111:deliverystream/s",
    "states": "arn:aws:states:us-east-1:111111111111:stateMachine:m",
    "event_bus": BUS,
    "api_destination": DESTINATION,
    "apigateway": "arn:aws:execute-api:us-east-1:111111111111:a1b2c3/prod/POST/orders/*",
    "ecs": "arn:aws:ecs:us-east-1:111111111111:cluster/c",
    "batch": "arn:aws:batch:us-east-1:111111111111:job-queue/q",
    "run_command": "arn:aws:ssm:us-east-1:111111111111:document/AWS-RunShellScript",
    "automation": "arn:aws:ssm:us-east-1:111111111111:automation-definition/AWS-StopEC2Instance:$DEFAULT",
    "ops_item": "arn:aws:ssm:us-east-1:111111111111:opsitem",
    "redshift": "arn:aws:redshift:us-east-1:111111111111:cluster:c",
    "redshift_serverless": "arn:aws:redshift-serverless:us-east-1:111111111111:workgroup/1b4e28ba-2fa1",
    "sagemaker_pipeline": "arn:aws:sagemaker:us-east-1:111111111111:pipeline/p",
    "appsync": "arn:aws:appsync:us-east-1:111111111111:endpoints/graphql-api/abcdefg",
    "codebuild": "arn:aws:codebuild:us-east-1:111111111111:project/p1",
    "codepipeline": "arn:aws:codepipeline:us-east-1:111111111111:release",
    "glue_workflow": "arn:aws:glue:us-east-1:111111111111:workflow/w",
    "image_builder": "arn:aws:imagebuilder:us-east-1:111111111111:image-pipeline/p",
    "inspector": "arn:aws:inspector:us-east-1:111111111111:target/0-abc/template/0-def",
}
BLOCKS: dict[str, dict[str, Any]] = {
    "EcsParameters": {
        "TaskDefinitionArn": "arn:aws:ecs:us-east-1:111111111111:task-definition/t",
        "TaskCount": 2,
        "LaunchType": "FARGATE",
        "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": ["subnet-1"], "AssignPublicIp": "DISABLED"}},
        "CapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1, "base": 0}],
        "EnableECSManagedTags": True,
        "EnableExecuteCommand": False,
        "PlacementConstraints": [{"type": "memberOf", "expression": "x"}],
        "PlacementStrategy": [{"type": "spread", "field": "instanceId"}],
        "PropagateTags": "TASK_DEFINITION",
        "ReferenceId": "r",
        "Tags": [{"Key": "k", "Value": "v"}],
    },
    "BatchParameters": {
        "JobDefinition": "d",
        "JobName": "n",
        "ArrayProperties": {"Size": 2},
        "RetryStrategy": {"Attempts": 10},
    },
    "RunCommandParameters": {"RunCommandTargets": [{"Key": "InstanceIds", "Values": ["i-1"]}]},
    "RedshiftDataParameters": {
        "Database": "dev",
        "Sqls": ["select 1"],
        "WithEvent": True,
        "SecretManagerArn": "arn:aws:secretsmanager:us-east-1:111111111111:secret:s",
    },
    "SageMakerPipelineParameters": {"PipelineParameterList": [{"Name": "n", "Value": "v"}]},
    "AppSyncParameters": {"GraphQLOperation": "mutation { x }"},
    "HttpParameters": {"PathParameterValues": ["a"], "HeaderParameters": {"X-A": "b"}},
    "KinesisParameters": {"PartitionKeyPath": "$.id"},
}
OWN_BLOCK = {kind.name: kind.takes for kind in kinds.KINDS if kind.takes}
NEED_BLOCK = [kind.name for kind in kinds.KINDS if kind.needs_it]
WITH_ROLE = [name for name in KINDS if name not in ("sqs", "sns", "lambda", "logs", "apigateway")]
NOT_AN_ARN = "Parameter {} is not valid. Reason: Provided Arn is not in correct format."


def refusal(given: dict[str, Any], settings: targets.Rules = SETTINGS) -> str:
    with pytest.raises(ApiError) as caught:
        targets.put(RULE, [targets.from_request({"Id": "t", **given})], settings)
    return f"{caught.value.code}: {caught.value.message}"


@pytest.mark.parametrize(("kind", "arn"), KINDS.items())
def test_every_kind_is_told_by_its_arn_and_accepted(kind: str, arn: str) -> None:
    assert kind_of(arn) == kind
    given: dict[str, Any] = {"Id": "t", "Arn": arn}
    if kind in WITH_ROLE:
        given["RoleArn"] = ROLE
    if kind in NEED_BLOCK:
        given[OWN_BLOCK[kind]] = BLOCKS[OWN_BLOCK[kind]]
    (target,) = targets.put(RULE, [targets.from_request(given)], SETTINGS)
    assert targets.to_answer(target) == given


def test_there_is_an_example_of_every_kind() -> None:
    assert sorted(KINDS) == sorted(kind.name for kind in kinds.KINDS)


@pytest.mark.parametrize(("kind", "block"), OWN_BLOCK.items())
def test_a_block_is_answered_as_it_was_given(kind: str, block: str) -> None:
    given = {"Id": "t", "Arn": KINDS[kind], "RoleArn": ROLE, block: BLOCKS[block]}
    (target,) = targets.put(RULE, [targets.from_request(given)], SETTINGS)
    assert targets.to_answer(target) == given


@pytest.mark.parametrize("kind", NEED_BLOCK)
def test_a_kind_that_is_called_with_a_block_needs_it(kind: str) -> None:
    assert refusal({"Arn": KINDS[kind], "RoleArn": ROLE}) == (
        f"ValidationException: Parameter(s) {OWN_BLOCK[kind]} must be specified for target: t."
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_another_kind_is_refused(block: str) -> None:
    assert refusal({"Arn": QUEUE, block: BLOCKS[block]}) == (
        f"ValidationException: Parameter(s) {block} not supported for target: t."
    )


@pytest.mark.parametrize("arn", ["", "queue", "arn:aws:sqs:us-east-1:111111111111", QUEUE + ":x", QUEUE + " "])
def test_what_is_no_arn_of_a_kind_is_none(arn: str) -> None:
    assert kind_of(arn) is None


@pytest.mark.parametrize("kind", WITH_ROLE)
def test_kinds_that_are_called_through_a_role_need_one(kind: str) -> None:
    arn = KINDS[kind]
    assert refusal({"Arn": arn}) == f"ValidationException: RoleArn is required for target {arn}."


@pytest.mark.parametrize("kind", ["sqs", "sns", "lambda"])
def test_a_target_in_another_account_needs_a_role(kind: str) -> None:
    arn = KINDS[kind].replace("111111111111", "222222222222")
    assert refusal({"Arn": arn}) == f"ValidationException: RoleArn is required for target {arn}."
    targets.check(RULE, Target(id="t", arn=arn, role_arn=ROLE), SETTINGS)


@pytest.mark.parametrize("kind", ["logs", "firehose", "states"])
def test_other_kinds_cannot_be_in_another_account(kind: str) -> None:
    arn = KINDS[kind].replace("111111111111", "222222222222")
    role = {} if kind == "logs" else {"RoleArn": ROLE}
    assert refusal({"Arn": arn, **role}) == (
        f"AccessDeniedException: Access to the resource {arn} is denied. "
        "Reason: Adding cross-account target is not permitted."
    )


def test_a_target_in_another_region_is_refused_unless_the_hub_file_allows_it() -> None:
    arn = QUEUE.replace("us-east-1", "eu-west-1")
    assert refusal({"Arn": arn}) == (
        f"AccessDeniedException: Access to the resource {arn} is denied. "
        "Reason: Adding cross-region target is not permitted."
    )
    targets.check(RULE, Target(id="t", arn=arn), targets.Rules(True, lambda arn: False))


def test_a_bus_in_another_region_and_account_is_a_target() -> None:
    arn = "arn:aws:events:eu-west-1:333333333333:event-bus/default"
    targets.check(RULE, Target(id="t", arn=arn, role_arn=ROLE), SETTINGS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"Arn": "nonsense"}, NOT_AN_ARN.format("nonsense")),
        (
            {"Arn": KINDS["lambda"].replace("function", "layer")},
            NOT_AN_ARN.format(KINDS["lambda"].replace("function", "layer")),
        ),
        ({"Arn": "arn:aws:sqs:::queue"}, NOT_AN_ARN.format("arn:aws:sqs:::queue")),
        (
            {"Arn": "arn:aws:dynamodb:us-east-1:111111111111:table/t"},
            "Parameter arn:aws:dynamodb:us-east-1:111111111111:table/t is not valid. Reason: Targets of service "
            f"dynamodb are not supported for target t: expected one of {kinds.SUPPORTED}.",
        ),
        (
            {"Arn": KINDS["ecs"], "RoleArn": ROLE, "InputPath": "$.detail"}
            | {"EcsParameters": BLOCKS["EcsParameters"]},
            "Parameter(s) InputPath not supported for target: t.",
        ),
        (
            {
                "Arn": KINDS["batch"],
                "RoleArn": ROLE,
                "BatchParameters": {**BLOCKS["BatchParameters"], "ArrayProperties": {"Size": 1}},
            },
            "Target t is not valid. Reason: Expected `int` >= 2 - at `$.BatchParameters.ArrayProperties.Size`",
        ),
        (
            {"Arn": QUEUE, "Input": "{}", "InputPath": "$.id"},
            "Only one of Input, InputPath, or InputTransformer must be provided for target t.",
        ),
        ({"Arn": QUEUE, "Input": "not json"}, "JSON syntax error in input for target t."),
        ({"Arn": QUEUE, "InputPath": "detail"}, "InputPath for target t is invalid."),
        ({"Arn": QUEUE, "InputPath": "$.detail['a']"}, "InputPath for target t is invalid."),
        (
            {"Arn": QUEUE, "InputTransformer": {"InputPathsMap": {"a": "x"}, "InputTemplate": "<a>"}},
            "InputPath for target t is invalid.",
        ),
        (
            {"Arn": QUEUE, "InputTransformer": {"InputPathsMap": {"a": "$.id"}, "InputTemplate": '"<a> <b>"'}},
            "InputTemplate for target t contains invalid placeholder b.",
        ),
        (
            {"Arn": QUEUE, "InputTransformer": {"InputTemplate": '"<aws.events.event.json>"'}},
            "InputTemplate for target t contains placeholder aws.events.event.json valid only for JSON template.",
        ),
        (
            {"Arn": QUEUE, "InputTransformer": {"InputTemplate": "[<aws.events.event.json>]"}},
            "InputTemplate for target t contains placeholder aws.events.event.json valid only for JSON template.",
        ),
        ({"Arn": QUEUE + ".fifo"}, "Parameter(s) SqsParameters must be specified for target: t."),
        ({"Arn": QUEUE + ".fifo", "SqsParameters": {}}, "Parameter(s) SqsParameters must be specified for target: t."),
        ({"Arn": KINDS["logs"], "RoleArn": ROLE}, "Parameter(s) RoleArn not supported for target: t."),
        ({"Arn": KINDS["logs"], "Input": "{}"}, "Parameter(s) Input not supported for target: t."),
        ({"Arn": KINDS["logs"], "InputPath": "$.detail"}, "Parameter(s) InputPath not supported for target: t."),
        ({"Arn": BUS, "RoleArn": ROLE, "Input": "{}"}, "Modifying the input for target t is not supported."),
        ({"Arn": BUS, "RoleArn": ROLE, "InputPath": "$"}, "Modifying the input for target t is not supported."),
        (
            {"Arn": BUS, "RoleArn": ROLE, "RetryPolicy": {"MaximumRetryAttempts": 1}},
            "Parameter(s) RetryPolicy not supported for target: t.",
        ),
        (
            {"Arn": PREFIX + "event-bus/orders", "RoleArn": ROLE},
            f"Parameter {PREFIX}event-bus/orders is not valid. Reason: An event bus can't be the target of its own "
            "rule.",
        ),
        ({"Arn": BUS, "RoleArn": QUEUE}, NOT_AN_ARN.format(QUEUE)),
        (
            {"Arn": PREFIX + "api-destination/unknown/1", "RoleArn": ROLE},
            f"Parameter {PREFIX}api-destination/unknown/1 is not valid. Reason: API destination does not exist.",
        ),
        (
            {"Arn": QUEUE, "DeadLetterConfig": {"Arn": KINDS["sns"]}},
            "sns is not supported as a dead letter resource.",
        ),
        (
            {"Arn": QUEUE, "DeadLetterConfig": {"Arn": QUEUE + ".fifo"}},
            "SQS FIFO is not supported by Dead Letter Queues.",
        ),
        ({"Arn": QUEUE, "DeadLetterConfig": {"Arn": "dlq"}}, NOT_AN_ARN.format("dlq")),
    ],
)
def test_a_target_that_aws_refuses_is_refused_in_its_words(given: dict[str, Any], expected: str) -> None:
    assert refusal(given) == f"ValidationException: {expected}"


def test_a_dead_letter_queue_is_in_the_rules_region_and_may_be_in_another_account() -> None:
    elsewhere = QUEUE.replace("us-east-1", "eu-west-1")
    assert refusal({"Arn": QUEUE, "DeadLetterConfig": {"Arn": elsewhere}}) == (
        f"AccessDeniedException: Access to the resource {elsewhere} is denied. Reason: You must specify a standard "
        "dead letter queue in the same region."
    )
    foreign = targets.from_request(
        {"Id": "t", "Arn": QUEUE, "DeadLetterConfig": {"Arn": QUEUE.replace("111111111111", "222222222222")}}
    )
    targets.check(RULE, foreign, SETTINGS)


def test_the_whole_event_is_accepted_as_a_value_of_an_object_template() -> None:
    template = '{"a": <aws.events.event>, "b": <aws.events.event.json>}'
    targets.check(
        RULE, targets.from_request({"Id": "t", "Arn": QUEUE, "InputTransformer": {"InputTemplate": template}}), SETTINGS
    )


def test_sqs_parameters_are_accepted_on_any_kind() -> None:
    target = targets.from_request({"Id": "t", "Arn": KINDS["sns"], "SqsParameters": {"MessageGroupId": "g"}})
    targets.check(RULE, target, SETTINGS)


def test_an_answer_is_the_target_as_it_was_given() -> None:
    given = {
        "Id": "t",
        "Arn": KINDS["kinesis"],
        "RoleArn": ROLE,
        "InputTransformer": {"InputPathsMap": {"a": "$.detail.a"}, "InputTemplate": '{"a": <a>}'},
        "KinesisParameters": {"PartitionKeyPath": "$.detail.id"},
        "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
        "DeadLetterConfig": {"Arn": QUEUE},
    }
    assert targets.to_answer(targets.from_request(given)) == given


def test_an_id_twice_in_one_request_is_refused() -> None:
    target = Target(id="t", arn=QUEUE)
    with pytest.raises(ValidationException, match=r"^More than one target with Id 't' is provided.$"):
        targets.put(RULE, [target, target], SETTINGS)


def test_a_known_id_is_replaced_whole_in_its_place() -> None:
    rule = msgspec.structs.replace(RULE, targets=(Target(id="a", arn=QUEUE, input="1"), Target(id="b", arn=QUEUE)))
    assert targets.put(rule, [Target(id="a", arn=QUEUE)], SETTINGS) == (
        Target(id="a", arn=QUEUE),
        Target(id="b", arn=QUEUE),
    )


def test_a_sixth_target_is_refused_and_a_fifth_is_not() -> None:
    five = [Target(id=str(number), arn=QUEUE) for number in range(5)]
    rule = msgspec.structs.replace(RULE, targets=targets.put(RULE, five, SETTINGS))
    with pytest.raises(LimitExceededException, match=LIMIT):
        targets.put(rule, [Target(id="6", arn=QUEUE)], SETTINGS)
