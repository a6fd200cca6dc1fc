"""Which kind of target an ARN names, and what AWS lets a target of that kind have: one table.

A kind that is not in the table has neither a sink nor an inbox and is refused at the door. Sources: EventBridge user
guide, "eb-targets" and "eb-use-resource-based"; classic.md section 4.1.
"""

import re
from typing import Literal

import msgspec

from router.core.arn import Arn, InvalidArn, parse


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the sink's kind, `resource` what stands after the account in the ARN."""

    name: str
    service: str
    resource: str
    role: Literal["optional", "required", "refused"] = "optional"
    other_account: bool = False
    """A target in another account may be named directly; it then needs a role."""
    refuses: frozenset[str] = frozenset()
    """Members of a target that AWS refuses for this kind."""
    takes: str | None = None
    """The parameter block that is this kind's own."""
    needs_it: bool = False


KINDS = (
    Kind(name="sqs", service="sqs", resource=r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", other_account=True),
    Kind(name="sns", service="sns", resource=r"[A-Za-z0-9_-]{1,256}(\.fifo)?", other_account=True),
    Kind(name="lambda", service="lambda", resource=r"function:[A-Za-z0-9_-]+(:[A-Za-z0-9$_-]+)?", other_account=True),
    Kind(
        name="logs",
        service="logs",
        resource=r"log-group:[.\-_/#A-Za-z0-9]{1,512}(:\*)?",
        role="refused",
        refuses=frozenset({"Input", "InputPath"}),
    ),
    Kind(
        name="kinesis",
        service="kinesis",
        resource=r"stream/[A-Za-z0-9_.-]{1,128}",
        role="required",
        other_account=True,
        takes="KinesisParameters",
    ),
    Kind(name="firehose", service="firehose", resource=r"deliverystream/[A-Za-z0-9_.-]{1,64}", role="required"),
    Kind(
        name="states",
        service="states",
        resource=r"stateMachine:[A-Za-z0-9_-]{1,80}(:[A-Za-z0-9_.-]+)?",
        role="required",
    ),
    Kind(
        name="event_bus",
        service="events",
        resource=r"event-bus/[/.\-_A-Za-z0-9]{1,256}",
        role="required",
        other_account=True,
        refuses=frozenset({"RetryPolicy"}),
    ),
    Kind(
        name="api_destination",
        service="events",
        resource=r"api-destination/[.\-_A-Za-z0-9]{1,64}(/[A-Za-z0-9-]+)?",
        role="required",
        takes="HttpParameters",
    ),
    Kind(
        name="apigateway",
        service="execute-api",
        resource=r"[a-z0-9]+/[^/\s]+/[A-Z*]+(/\S*)?",
        other_account=True,
        takes="HttpParameters",
    ),
    Kind(
        name="ecs",
        service="ecs",
        resource=r"cluster/[A-Za-z0-9_-]{1,255}",
        role="required",
        refuses=frozenset({"InputPath"}),
        takes="EcsParameters",
        needs_it=True,
    ),
    Kind(
        name="batch",
        service="batch",
        resource=r"job-queue/[A-Za-z0-9_-]{1,128}",
        role="required",
        takes="BatchParameters",
        needs_it=True,
    ),
    Kind(
        name="run_command",
        service="ssm",
        resource=r"document/[A-Za-z0-9_.-]{3,128}",
        role="required",
        takes="RunCommandParameters",
        needs_it=True,
    ),
    Kind(
        name="automation",
        service="ssm",
        resource=r"automation-definition/[A-Za-z0-9_.-]{3,128}(:[^\s:]+)?",
        role="required",
    ),
    Kind(name="ops_item", service="ssm", resource=r"opsitem", role="required"),
    Kind(
        name="redshift",
        service="redshift",
        resource=r"cluster:[a-z0-9-]{1,63}",
        role="required",
        takes="RedshiftDataParameters",
        needs_it=True,
    ),
    Kind(
        name="redshift_serverless",
        service="redshift-serverless",
        resource=r"workgroup/[A-Za-z0-9-]{1,64}",
        role="required",
        takes="RedshiftDataParameters",
        needs_it=True,
    ),
    Kind(
        name="sagemaker_pipeline",
        service="sagemaker",
        resource=r"pipeline/[A-Za-z0-9-]{1,256}",
        role="required",
        takes="SageMakerPipelineParameters",
    ),
    Kind(
        name="appsync",
        service="appsync",
        resource=r"endpoints/graphql-api/[A-Za-z0-9_-]+",
        role="required",
        takes="AppSyncParameters",
        needs_it=True,
    ),
    Kind(name="codebuild", service="codebuild", resource=r"project/[A-Za-z0-9_-]{2,255}", role="required"),
    Kind(name="codepipeline", service="codepipeline", resource=r"[A-Za-z0-9.@_-]{1,100}", role="required"),
    Kind(name="glue_workflow", service="glue", resource=r"workflow/\S{1,255}", role="required"),
    Kind(name="image_builder", service="imagebuilder", resource=r"image-pipeline/[a-z0-9-_]+", role="required"),
    Kind(name="inspector", service="inspector", resource=r"target/[0-9]-\w+/template/[0-9]-\w+", role="required"),
)
SUPPORTED = ", ".join(kind.name for kind in KINDS)
"""For refusals."""

_SERVICES = frozenset(kind.service for kind in KINDS)
_TABLE = [(kind, re.compile(kind.resource)) for kind in KINDS]


class UnsupportedKind(ValueError):
    """The ARN is one, of a service that is no target here."""


def kind_of(arn: str) -> str | None:
    """The name of the kind of target that an ARN names; None where it names none."""
    try:
        return find(parse(arn)).name
    except (InvalidArn, UnsupportedKind):
        return None


def find(arn: Arn) -> Kind:
    """The kind that an ARN names.

    Raises UnsupportedKind for a service that is no target here, InvalidArn for one of a supported service that names
    no target of it.
    """
    if arn.service not in _SERVICES:
        raise UnsupportedKind(arn.service)
    if arn.account.isdigit() and arn.region:
        for kind, resource in _TABLE:
            if kind.service == arn.service and resource.fullmatch(arn.resource):
                return kind
    raise InvalidArn(str(arn))
