"""What Ref and GetAtt give for kinds that the hub does not deploy, where AWS's form follows from the name.

So a rule whose target is a function or a state machine of the same template resolves: deliveries to it land in its
inbox. A version is the first one. What is not in the table, or holds a part that only AWS makes up (an id, a time), is
not known, and who needs it is told so. Sources: the resource types' pages ("Return values") and the service
authorization reference (ARN forms).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from router.importers.kinds import Where, generated_name

_FIELD = re.compile(r"\{(\w+)(?:=([^}]*))?\}")


class SkippedKind(msgspec.Struct, frozen=True):
    """`attributes` has `Ref` and GetAtt's names. In a form, `{name}` is the physical name, `{Property}` a property's
    value (the last part of an ARN), `{Property=x}` the same with x where it is left out."""

    name_property: str | None
    name_chars_max: int
    attributes: Mapping[str, str]
    lower: bool = False


def _arn(service: str, resource: str) -> str:
    return f"arn:{{partition}}:{service}:{{region}}:{{account}}:{resource}"


def _named(property_: str | None, chars_max: int, arn: str, **more: str) -> SkippedKind:
    return SkippedKind(property_, chars_max, {"Ref": "{name}", "Arn": arn, **more})


def _by_arn(property_: str | None, chars_max: int, arn: str, **more: str) -> SkippedKind:
    return SkippedKind(property_, chars_max, {"Ref": arn, "Arn": arn, **more})


_FUNCTION = _arn("lambda", "function:{name}")
_ALIAS = _arn("lambda", "function:{FunctionName}:{Name}")
_TABLE: Mapping[str, SkippedKind] = {
    "AWS::Lambda::Function": _named("FunctionName", 64, _FUNCTION),
    "AWS::Lambda::Alias": SkippedKind(None, 128, {"Ref": _ALIAS, "AliasArn": _ALIAS}),
    "AWS::Lambda::Version": SkippedKind(None, 64, {"Ref": _arn("lambda", "function:{FunctionName}:1"), "Version": "1"}),
    "AWS::IAM::Role": _named("RoleName", 64, "arn:{partition}:iam::{account}:role{Path=/}{name}"),
    "AWS::IAM::User": _named("UserName", 64, "arn:{partition}:iam::{account}:user{Path=/}{name}"),
    "AWS::IAM::Group": _named("GroupName", 128, "arn:{partition}:iam::{account}:group{Path=/}{name}"),
    "AWS::IAM::ManagedPolicy": SkippedKind(
        "ManagedPolicyName", 128, {"Ref": "arn:{partition}:iam::{account}:policy{Path=/}{name}"}
    ),
    "AWS::StepFunctions::StateMachine": _by_arn(
        "StateMachineName", 80, _arn("states", "stateMachine:{name}"), Name="{name}"
    ),
    "AWS::StepFunctions::StateMachineVersion": SkippedKind(
        None,
        80,
        {
            "Ref": _arn("states", "stateMachine:{StateMachineArn}:1"),
            "Arn": _arn("states", "stateMachine:{StateMachineArn}:1"),
        },
    ),
    "AWS::StepFunctions::StateMachineAlias": SkippedKind(
        "Name", 80, {"Ref": _arn("states", "stateMachine:{machine}:{name}")}
    ),
    "AWS::Kinesis::Stream": _named("Name", 128, _arn("kinesis", "stream/{name}")),
    "AWS::KinesisFirehose::DeliveryStream": _named("DeliveryStreamName", 64, _arn("firehose", "deliverystream/{name}")),
    "AWS::S3::Bucket": SkippedKind(
        "BucketName",
        63,
        {
            "Ref": "{name}",
            "Arn": "arn:{partition}:s3:::{name}",
            "DomainName": "{name}.s3.{url_suffix}",
            "RegionalDomainName": "{name}.s3.{region}.{url_suffix}",
        },
        lower=True,
    ),
    "AWS::DynamoDB::Table": _named("TableName", 255, _arn("dynamodb", "table/{name}")),
    "AWS::ECS::Cluster": _named("ClusterName", 255, _arn("ecs", "cluster/{name}")),
    "AWS::ECS::Service": SkippedKind(
        "ServiceName",
        255,
        {"Ref": _arn("ecs", "service/{Cluster=default}/{name}"), "Name": "{name}"},
    ),
    "AWS::ECR::Repository": SkippedKind(
        "RepositoryName", 256, {"Ref": "{name}", "Arn": _arn("ecr", "repository/{name}")}, lower=True
    ),
    "AWS::Batch::JobQueue": SkippedKind(
        "JobQueueName",
        128,
        {"Ref": _arn("batch", "job-queue/{name}"), "JobQueueArn": _arn("batch", "job-queue/{name}")},
    ),
    "AWS::CodeBuild::Project": _named("Name", 255, _arn("codebuild", "project/{name}")),
    "AWS::CodePipeline::Pipeline": SkippedKind("Name", 100, {"Ref": "{name}"}),
    "AWS::CloudWatch::Alarm": _named("AlarmName", 255, _arn("cloudwatch", "alarm:{name}")),
    "AWS::SSM::Parameter": SkippedKind("Name", 1011, {"Ref": "{name}"}),
    "AWS::SSM::Document": SkippedKind("Name", 128, {"Ref": "{name}"}),
    "AWS::Scheduler::Schedule": _named("Name", 64, _arn("scheduler", "schedule/{GroupName=default}/{name}")),
    "AWS::Pipes::Pipe": _named("Name", 64, _arn("pipes", "pipe/{name}")),
    "AWS::CloudTrail::Trail": _named("TrailName", 128, _arn("cloudtrail", "trail/{name}")),
    "AWS::Config::ConfigRule": SkippedKind("ConfigRuleName", 128, {"Ref": "{name}"}),
    "AWS::ImageBuilder::ImagePipeline": _by_arn("Name", 128, _arn("imagebuilder", "image-pipeline/{name}")),
}


class Unknown(Exception):
    """The attribute's form is not known; the text says of what."""


def attribute(
    where: Where,
    logical_id: str,
    type_: str,
    name: str,
    property_of: Callable[[str], Any],
) -> str:
    """The attribute `name` (`Ref` too) of a resource that is skipped. Raises Unknown, and what `property_of` raises."""
    kind = _TABLE.get(type_)
    form = kind.attributes.get(name) if kind else None
    if kind is None or form is None:
        raise Unknown(f"{name} of {logical_id} is not known: this hub has no {type_}")

    def physical() -> str:
        given = property_of(kind.name_property) if kind.name_property else None
        if given is not None:
            return str(given)
        return generated_name(where, logical_id, kind.name_chars_max, 0, lower=kind.lower)

    fields: Mapping[str, Callable[[], str]] = {
        "partition": lambda: where.partition,
        "region": lambda: where.location.region,
        "account": lambda: where.location.account,
        "url_suffix": lambda: where.url_suffix,
        "name": physical,
        "machine": lambda: _machine(property_of, logical_id),
    }

    def filled(match: re.Match[str]) -> str:
        if match[1] in fields:
            return fields[match[1]]()
        value = property_of(match[1])
        if value is None:
            value = match[2]
        if not isinstance(value, str) or (not value and match[2] is None):
            raise Unknown(f"{name} of {logical_id} is not known: it has no {match[1]}")
        return value if match[1] == "Path" else re.split(r"[:/]", value)[-1]

    return _FIELD.sub(filled, form)


def _machine(property_of: Callable[[str], Any], logical_id: str) -> str:
    """The state machine of an alias: that of its first version's ARN, which is `…:stateMachine:NAME:1`."""
    routes = property_of("RoutingConfiguration") or [property_of("DeploymentPreference")]
    first = routes[0] if isinstance(routes, list) and routes else None
    arn = first.get("StateMachineVersionArn") if isinstance(first, dict) else None
    parts = arn.split(":") if isinstance(arn, str) else []
    if len(parts) != 8:
        raise Unknown(f"Ref of {logical_id} is not known: it names no version of a state machine")
    return parts[6]
