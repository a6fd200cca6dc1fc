"""Kinds of resources: properties in the API's words, names, what Ref and GetAtt give, what is refused."""

from typing import Any

import pytest

from router.core.event import Location
from router.importers.kinds import Call, Where, generated_name
from tests.importers.templates import WHERE, FakeHub, problems, stack


def properties(type_: str, yaml: str) -> str:
    return f"Resources:\n  Thing:\n    Type: {type_}\n    Properties: {yaml}\n"


def requests(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls that deploying makes, without those that only look."""
    hub = FakeHub()
    hub.deploy(text)
    looking = ("Describe", "GetQueueUrl")
    return [(call.action, call.request) for call in hub.calls if not call.action.startswith(looking)]


def outputs(text: str, **values: str) -> dict[str, str]:
    """What values of outputs give once the template is deployed."""
    lines = "".join(f"  {name}: {{Value: {value}}}\n" for name, value in values.items())
    return FakeHub().deploy(f"{text}\nOutputs:\n{lines}").outputs


@pytest.mark.parametrize(
    ("type_", "before", "after", "expected"),
    [
        (
            "AWS::Events::Archive",
            "{ArchiveName: a, SourceArn: b, EventPattern: {x: [1]}, Description: d, RetentionDays: 3}",
            "{ArchiveName: a, SourceArn: b}",
            ("UpdateArchive", {"ArchiveName": "a", "EventPattern": "", "Description": "", "RetentionDays": 0}),
        ),
        (
            "AWS::Events::Connection",
            "{Name: c, AuthorizationType: OAUTH_CLIENT_CREDENTIALS, Description: d, AuthParameters: "
            "{OAuthParameters: {AuthorizationEndpoint: 'https://x.example/', HttpMethod: POST, "
            "ClientParameters: {ClientID: i, ClientSecret: s}, OAuthHttpParameters: "
            "{BodyParameters: [{Key: a, Value: b}]}}, "
            "InvocationHttpParameters: {HeaderParameters: [{Key: a, Value: b}]}}}",
            "{Name: c, AuthorizationType: OAUTH_CLIENT_CREDENTIALS, AuthParameters: "
            "{OAuthParameters: {AuthorizationEndpoint: 'https://x.example/', HttpMethod: POST, "
            "ClientParameters: {ClientID: i, ClientSecret: s}}}}",
            (
                "UpdateConnection",
                {
                    "Name": "c",
                    "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS",
                    "Description": "",
                    "AuthParameters": {
                        "InvocationHttpParameters": {},
                        "OAuthParameters": {
                            "AuthorizationEndpoint": "https://x.example/",
                            "HttpMethod": "POST",
                            "ClientParameters": {"ClientID": "i", "ClientSecret": "s"},
                            "OAuthHttpParameters": {},
                        },
                    },
                },
            ),
        ),
        (
            "AWS::Events::ApiDestination",
            "{Name: d, ConnectionArn: 'arn:aws:events:us-east-1:111111111111:connection/c/u', HttpMethod: POST, "
            "InvocationEndpoint: 'https://x.example/', Description: d, InvocationRateLimitPerSecond: 5}",
            "{Name: d, ConnectionArn: 'arn:aws:events:us-east-1:111111111111:connection/c/u', HttpMethod: POST, "
            "InvocationEndpoint: 'https://x.example/'}",
            (
                "UpdateApiDestination",
                {
                    "Name": "d",
                    "ConnectionArn": "arn:aws:events:us-east-1:111111111111:connection/c/u",
                    "HttpMethod": "POST",
                    "InvocationEndpoint": "https://x.example/",
                    "Description": "",
                    "InvocationRateLimitPerSecond": 300,
                },
            ),
        ),
    ],
)
def test_what_is_taken_out_of_a_template_is_taken_back(
    type_: str, before: str, after: str, expected: tuple[str, dict[str, Any]]
) -> None:
    hub = FakeHub()
    hub.deploy(properties(type_, before))
    hub.calls.clear()
    hub.deploy(properties(type_, after))
    assert [(call.action, call.request) for call in hub.calls if not call.action.startswith("Describe")] == [expected]


def test_rule_becomes_put_rule_and_put_targets() -> None:
    text = properties(
        "AWS::Events::Rule",
        "{Name: r, EventBusName: shop, EventPattern: {source: [shop], detail: {n: [{numeric: ['>', 1]}]}}, "
        "State: DISABLED, Tags: [{Key: a, Value: 1}], Targets: [{Id: q, Arn: 'arn:aws:sqs:us-east-1:111111111111:q', "
        "RetryPolicy: {MaximumRetryAttempts: '3'}, InputTransformer: {InputPathsMap: {a: $.b}, InputTemplate: <a>}}]}",
    )
    assert requests(text) == [
        (
            "PutRule",
            {
                "Name": "r",
                "EventBusName": "shop",
                "EventPattern": '{"source":["shop"],"detail":{"n":[{"numeric":[">",1]}]}}',
                "State": "DISABLED",
                "Tags": [{"Key": "a", "Value": "1"}],
            },
        ),
        (
            "PutTargets",
            {
                "Rule": "r",
                "EventBusName": "shop",
                "Targets": [
                    {
                        "Id": "q",
                        "Arn": "arn:aws:sqs:us-east-1:111111111111:q",
                        "RetryPolicy": {"MaximumRetryAttempts": 3},
                        "InputTransformer": {"InputPathsMap": {"a": "$.b"}, "InputTemplate": "<a>"},
                    }
                ],
            },
        ),
    ]


def test_names_that_cloudformation_writes_otherwise_are_renamed() -> None:
    from router.importers.property_types import api_value
    from router.importers.resources_events import Rule

    value = [
        {"Id": "a", "Arn": "b", "EcsParameters": {"TaskDefinitionArn": "t", "TagList": [{"Key": "k", "Value": "v"}]}}
    ]
    assert api_value(Rule.properties.members["Targets"], value) == [
        {"Id": "a", "Arn": "b", "EcsParameters": {"TaskDefinitionArn": "t", "Tags": [{"Key": "k", "Value": "v"}]}}
    ]


def test_bus_becomes_create_event_bus_and_its_policy_put_permission() -> None:
    text = properties(
        "AWS::Events::EventBus", "{Name: b, Description: d, Policy: {Version: 2012-10-17, Statement: []}}"
    )
    assert requests(text) == [
        ("CreateEventBus", {"Name": "b", "Description": "d"}),
        ("PutPermission", {"EventBusName": "b", "Policy": '{"Version":"2012-10-17","Statement":[]}'}),
    ]


def test_policy_statement_is_added_to_those_of_the_bus_with_its_id() -> None:
    text = properties("AWS::Events::EventBusPolicy", "{StatementId: s, Statement: {Effect: Allow, Principal: '*'}}")
    assert requests(text) == [
        (
            "PutPermission",
            {
                "EventBusName": "default",
                "Policy": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Sid":"s"}]}',
            },
        )
    ]


def test_old_form_of_a_policy_is_the_short_form_of_put_permission() -> None:
    text = properties(
        "AWS::Events::EventBusPolicy", "{StatementId: s, Action: 'events:PutEvents', Principal: 222222222222}"
    )
    assert requests(text) == [
        ("PutPermission", {"StatementId": "s", "Action": "events:PutEvents", "Principal": "222222222222"})
    ]


def test_archive_source_has_the_apis_name() -> None:
    text = properties(
        "AWS::Events::Archive", "{ArchiveName: a, SourceArn: b, RetentionDays: '3', EventPattern: {x: [1]}}"
    )
    assert requests(text) == [
        (
            "CreateArchive",
            {"ArchiveName": "a", "EventSourceArn": "b", "RetentionDays": 3, "EventPattern": '{"x":[1]}'},
        )
    ]


CONNECTED = """
Resources:
  Dest:
    Type: AWS::Events::ApiDestination
    Properties: {ConnectionArn: !GetAtt Conn.Arn, HttpMethod: POST, InvocationEndpoint: 'https://x.example/', Name: d}
  Conn:
    Type: AWS::Events::Connection
    Properties:
      Name: c
      AuthorizationType: API_KEY
      AuthParameters: {ApiKeyAuthParameters: {ApiKeyName: k, ApiKeyValue: hunter2}}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [x]}
      Targets: [{Id: d, Arn: !GetAtt Dest.Arn, RoleArn: !GetAtt Role.Arn}]
  Role: {Type: AWS::IAM::Role, Properties: {Path: /x/}}
"""


def test_destination_gets_the_arn_that_only_the_hub_knows() -> None:
    made = dict(requests(CONNECTED))
    assert made["CreateConnection"]["AuthParameters"] == {
        "ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "hunter2"}
    }
    assert made["CreateApiDestination"]["ConnectionArn"].endswith(":connection/c/uuid-1")
    (target,) = made["PutTargets"]["Targets"]
    assert target["Arn"].endswith(":api-destination/d/uuid-2")
    assert target["RoleArn"].startswith("arn:aws:iam::111111111111:role/x/shop-Role-")


def test_secret_is_not_in_what_the_hub_keeps() -> None:
    hub = FakeHub()
    hub.deploy(CONNECTED)
    assert "hunter2" not in repr(hub.record)


def test_queue_becomes_create_queue_with_attributes_as_text() -> None:
    text = properties(
        "AWS::SQS::Queue",
        "{QueueName: q.fifo, FifoQueue: true, VisibilityTimeout: 5, Tags: [{Key: a, Value: b}], "
        "RedrivePolicy: {deadLetterTargetArn: x, maxReceiveCount: 3}}",
    )
    assert requests(text) == [
        (
            "CreateQueue",
            {
                "QueueName": "q.fifo",
                "Attributes": {
                    "FifoQueue": "true",
                    "VisibilityTimeout": "5",
                    "RedrivePolicy": '{"deadLetterTargetArn":"x","maxReceiveCount":3}',
                },
                "tags": {"a": "b"},
            },
        )
    ]


def test_fifo_queue_without_a_name_gets_one_that_ends_in_fifo() -> None:
    step = stack(properties("AWS::SQS::Queue", "{FifoQueue: true}")).plan.steps[0]
    assert step.name.endswith(".fifo")
    assert len(step.name) <= 80


def test_topic_needs_no_call_and_names_what_has_no_effect() -> None:
    text = properties("AWS::SNS::Topic", "{TopicName: t, DisplayName: x, Subscription: [{Endpoint: a, Protocol: sqs}]}")
    assert requests(text) == []
    assert [item.what for item in stack(text).plan.skipped] == [
        "DisplayName (it has no effect here)",
        "Subscription (it has no effect here)",
    ]


@pytest.mark.parametrize(
    ("type_", "given", "values", "expected"),
    [
        (
            "AWS::Events::Rule",
            "{Name: r, EventPattern: {source: [x]}}",
            ("!Ref Thing", "!GetAtt Thing.Arn"),
            ["r", "arn:aws:events:us-east-1:111111111111:rule/r"],
        ),
        (
            "AWS::Events::Rule",
            "{Name: r, EventBusName: 'arn:aws:events:us-east-1:111111111111:event-bus/b', EventPattern: {source: [x]}}",
            ("!Ref Thing", "!GetAtt Thing.Arn"),
            ["b|r", "arn:aws:events:us-east-1:111111111111:rule/b/r"],
        ),
        (
            "AWS::Events::EventBus",
            "{Name: b}",
            ("!Ref Thing", "!GetAtt Thing.Arn", "!GetAtt Thing.Name"),
            ["b", "arn:aws:events:us-east-1:111111111111:event-bus/b", "b"],
        ),
        (
            "AWS::Events::Archive",
            "{ArchiveName: a, SourceArn: x}",
            ("!Ref Thing", "!GetAtt Thing.Arn"),
            ["a", "arn:aws:events:us-east-1:111111111111:archive/a"],
        ),
        (
            "AWS::SQS::Queue",
            "{QueueName: q}",
            ("!Ref Thing", "!GetAtt Thing.Arn", "!GetAtt Thing.QueueName"),
            ["http://hub/111111111111/q", "arn:aws:sqs:us-east-1:111111111111:q", "q"],
        ),
        (
            "AWS::SNS::Topic",
            "{TopicName: t}",
            ("!Ref Thing", "!GetAtt Thing.TopicName"),
            ["arn:aws:sns:us-east-1:111111111111:t", "t"],
        ),
        (
            "AWS::Logs::LogGroup",
            "{LogGroupName: /a/b}",
            ("!Ref Thing", "!GetAtt Thing.Arn"),
            ["/a/b", "arn:aws:logs:us-east-1:111111111111:log-group:/a/b:*"],
        ),
        (
            "AWS::Lambda::Function",
            "{FunctionName: f}",
            ("!Ref Thing", "!GetAtt Thing.Arn"),
            ["f", "arn:aws:lambda:us-east-1:111111111111:function:f"],
        ),
        (
            "AWS::StepFunctions::StateMachine",
            "{StateMachineName: m}",
            ("!Ref Thing", "!GetAtt Thing.Name"),
            ["arn:aws:states:us-east-1:111111111111:stateMachine:m", "m"],
        ),
        (
            "AWS::S3::Bucket",
            "{BucketName: b}",
            ("!Ref Thing", "!GetAtt Thing.Arn", "!GetAtt Thing.DomainName"),
            ["b", "arn:aws:s3:::b", "b.s3.amazonaws.com"],
        ),
        (
            "AWS::ECS::Service",
            "{ServiceName: s, Cluster: 'arn:aws:ecs:us-east-1:111111111111:cluster/c'}",
            ("!Ref Thing",),
            ["arn:aws:ecs:us-east-1:111111111111:service/c/s"],
        ),
        (
            "AWS::Lambda::Alias",
            "{FunctionName: f, Name: live}",
            ("!Ref Thing",),
            ["arn:aws:lambda:us-east-1:111111111111:function:f:live"],
        ),
    ],
)
def test_ref_and_get_att_give(type_: str, given: str, values: tuple[str, ...], expected: list[str]) -> None:
    names = dict(zip("abc", values, strict=False))
    assert list(outputs(properties(type_, given), **names).values()) == expected


@pytest.mark.parametrize(
    ("type_", "given", "problem"),
    [
        (
            "AWS::Events::Rule",
            "{EventPatern: {}, ScheduleExpression: rate(1 minute)}",
            "got EventPatern - at `Resources.Thing",
        ),
        (
            "AWS::Events::Rule",
            "{EventPattern: {}, Targets: [{Id: a, Arn: b, Foo: c}]}",
            "got Foo - at `Resources.Thing.Properties.Targets[0]`",
        ),
        ("AWS::Events::Rule", "{EventPattern: {}, Targets: [{Id: a}]}", "expected Arn, got none"),
        ("AWS::Events::Rule", "{EventPattern: {}, Targets: {Id: a}}", "expected a list, got a mapping"),
        ("AWS::Events::Rule", "{EventPattern: {}, State: ON}", "got True - at `Resources.Thing.Properties.State`"),
        ("AWS::Events::Rule", "{EventPattern: '['}", "expected an object or its JSON text, got a text"),
        ("AWS::Events::Rule", "{Name: x}", "expected EventPattern or ScheduleExpression, got neither"),
        (
            "AWS::Events::Rule",
            "{EventPattern: {}, EventBusName: 'a b'}",
            "Expected the name of an event bus or its ARN",
        ),
        (
            "AWS::Events::Rule",
            "{EventPattern: {}, Targets: [{Id: a, Arn: 'arn:aws:foo:us-east-1:111111111111:x'}]}",
            "this hub has no targets such as",
        ),
        (
            "AWS::Events::Rule",
            "{EventPattern: {}, Targets: [{Id: a, Arn: b, RetryPolicy: {MaximumRetryAttempts: x}}]}",
            "expected an integer, got 'x'",
        ),
        ("AWS::Events::EventBus", "{}", "expected Name, got none"),
        ("AWS::Events::EventBusPolicy", "{StatementId: a}", "expected Statement, or Action and Principal, got neither"),
        (
            "AWS::Events::EventBusPolicy",
            "{StatementId: a, Statement: {}, Action: b}",
            "expected either Statement or Action, got both",
        ),
        ("AWS::Events::Archive", "{EventSourceArn: a}", "got EventSourceArn"),
        ("AWS::Events::Connection", "{Name: a}", "expected AuthorizationType, got none"),
        ("AWS::Events::Connection", "{AuthorizationType: NTLM, AuthParameters: {}}", "got 'NTLM'"),
        (
            "AWS::Events::ApiDestination",
            "{ConnectionArn: a, HttpMethod: POST, InvocationEndpoint: 'https://x'}",
            "Expected arn:",
        ),
        ("AWS::SQS::Queue", "{FifoQueue: maybe}", "expected a boolean, got 'maybe'"),
        ("AWS::SQS::Queue", "{KmsMasterKeyId: alias/aws/sqs}", "expected no key, this hub has none"),
        ("AWS::SQS::Queue", "{Name: a}", "got Name - at `Resources.Thing.Properties`"),
        ("AWS::Logs::LogGroup", "{RetentionInDays: x}", "expected an integer, got 'x'"),
    ],
)
def test_wrong_property_is_refused(type_: str, given: str, problem: str) -> None:
    assert problem in problems(properties(type_, given))[0]


def test_attribute_that_a_kind_has_not_is_missing() -> None:
    text = (
        properties("AWS::SQS::Queue", "{}")
        + "  Other: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt Thing.Foo}}"
    )
    assert "resource Thing does not support attribute type Foo in Fn::GetAtt" in problems(text)[0]


def test_attribute_of_a_kind_that_the_hub_has_not_is_named() -> None:
    text = properties("AWS::Foo::Bar", "{}") + "  Q: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt Thing.Id}}"
    assert problems(text) == [
        "Id of Thing is not known: this hub has no AWS::Foo::Bar - at `Resources.Q.Properties.QueueName`"
    ]


def test_output_that_cannot_be_known_is_skipped_with_its_reason() -> None:
    text = properties("AWS::EC2::Instance", "{}") + "  Q: {Type: AWS::SQS::Queue}\n"
    found = stack(text + "Outputs: {Ip: {Value: !GetAtt Thing.PublicIp}}")
    assert found.outputs() == ({}, {})
    assert found.skipped_outputs == {
        "Ip": "PublicIp of Thing is not known: this hub has no AWS::EC2::Instance - at `Outputs.Ip.Value`"
    }


def test_generated_name_has_stack_logical_id_and_a_lasting_suffix() -> None:
    name = generated_name(WHERE, "Rule", 64, 0)
    assert name.startswith("shop-Rule-")
    assert len(name) == len("shop-Rule-") + 12
    assert generated_name(WHERE, "Rule", 64, 0) == name
    assert generated_name(WHERE, "Rule", 64, 1) != name
    assert generated_name(Where(Location("222222222222", "us-east-1"), "shop"), "Rule", 64, 0) != name


def test_generated_name_keeps_to_its_length() -> None:
    where = Where(Location("111111111111", "us-east-1"), "s" * 128)
    assert len(generated_name(where, "L" * 255, 64, 0)) == 64
    assert generated_name(where, "Rule", 64, 0).split("-")[1] == "Rule"


def test_partition_follows_the_region() -> None:
    where = Where(Location("111111111111", "cn-north-1"), "s")
    assert (where.arn("sqs", "q"), where.url_suffix) == ("arn:aws-cn:sqs:cn-north-1:111111111111:q", "amazonaws.com.cn")


def test_calls_name_their_service() -> None:
    hub = FakeHub()
    hub.deploy(properties("AWS::Logs::LogGroup", "{LogGroupName: g}"))
    assert hub.calls == [Call("logs", "CreateLogGroup", {"logGroupName": "g"})]
