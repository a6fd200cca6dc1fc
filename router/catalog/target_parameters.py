"""The parameter blocks of a target, one a kind, in the API's own words (API reference, "Target").

They are kept and answered as they were given; what is not in the model is refused. Values that are whole JSON paths
are filled in for each event (`sinks/parameters`).
"""

from typing import Annotated, Literal

import msgspec

_Arn = Annotated[str, msgspec.Meta(min_length=1, max_length=1600)]
_SECRET = r"(^arn:aws([a-z]|\-)*:secretsmanager:[a-z0-9-.]+:.*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)"
_Sql = Annotated[str, msgspec.Meta(min_length=1, max_length=100_000)]


class _Block(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    pass


class _CamelBlock(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    pass


class SqsParameters(_Block, frozen=True):
    message_group_id: str | None = None


class HttpParameters(_Block, frozen=True):
    path_parameter_values: list[str] = []
    header_parameters: dict[str, str] = {}
    query_string_parameters: dict[str, str] = {}


class KinesisParameters(_Block, frozen=True):
    partition_key_path: Annotated[str, msgspec.Meta(max_length=256)]


class RunCommandTarget(_Block, frozen=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    values: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=256)]], msgspec.Meta(min_length=1, max_length=50)
    ]


class RunCommandParameters(_Block, frozen=True):
    run_command_targets: Annotated[list[RunCommandTarget], msgspec.Meta(min_length=1, max_length=5)]


class AwsVpcConfiguration(_Block, frozen=True):
    subnets: list[str]
    security_groups: list[str] = []
    assign_public_ip: Literal["ENABLED", "DISABLED"] | None = None


class NetworkConfiguration(_Block, frozen=True, rename={"awsvpc_configuration": "awsvpcConfiguration"}):
    awsvpc_configuration: AwsVpcConfiguration | None = None


class CapacityProviderStrategyItem(_CamelBlock, frozen=True):
    capacity_provider: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    weight: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    base: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None


class PlacementConstraint(_CamelBlock, frozen=True):
    type: Literal["distinctInstance", "memberOf"] | None = None
    expression: Annotated[str, msgspec.Meta(max_length=2000)] | None = None


class PlacementStrategy(_CamelBlock, frozen=True):
    type: Literal["random", "spread", "binpack"] | None = None
    field: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class Tag(_Block, frozen=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    value: Annotated[str, msgspec.Meta(max_length=256)]


def _ecs_name(name: str) -> str:
    return "".join("ECS" if word == "ecs" else word.capitalize() for word in name.split("_"))


class EcsParameters(_Block, frozen=True, rename=_ecs_name):
    task_definition_arn: _Arn
    task_count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    launch_type: Literal["EC2", "FARGATE", "EXTERNAL"] | None = None
    network_configuration: NetworkConfiguration | None = None
    platform_version: str | None = None
    group: str | None = None
    capacity_provider_strategy: Annotated[list[CapacityProviderStrategyItem], msgspec.Meta(max_length=6)] | None = None
    enable_ecs_managed_tags: bool | None = None
    enable_execute_command: bool | None = None
    placement_constraints: Annotated[list[PlacementConstraint], msgspec.Meta(max_length=10)] | None = None
    placement_strategy: Annotated[list[PlacementStrategy], msgspec.Meta(max_length=5)] | None = None
    propagate_tags: Literal["TASK_DEFINITION"] | None = None
    reference_id: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    tags: list[Tag] | None = None


class BatchArrayProperties(_Block, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=2, le=10_000)] | None = None


class BatchRetryStrategy(_Block, frozen=True):
    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None


class BatchParameters(_Block, frozen=True):
    job_definition: str
    job_name: str
    array_properties: BatchArrayProperties | None = None
    retry_strategy: BatchRetryStrategy | None = None


class RedshiftDataParameters(_Block, frozen=True):
    database: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    secret_manager_arn: Annotated[str, msgspec.Meta(min_length=1, max_length=1600, pattern=_SECRET)] | None = None
    db_user: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    sql: _Sql | None = None
    statement_name: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None
    with_event: bool | None = None
    sqls: Annotated[list[_Sql], msgspec.Meta(max_length=40)] | None = None


class SageMakerPipelineParameter(_Block, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$")]
    value: Annotated[str, msgspec.Meta(max_length=1024)]


class SageMakerPipelineParameters(_Block, frozen=True):
    pipeline_parameter_list: Annotated[list[SageMakerPipelineParameter], msgspec.Meta(max_length=200)] | None = None


class AppSyncParameters(_Block, frozen=True, rename={"graphql_operation": "GraphQLOperation"}):
    graphql_operation: Annotated[str, msgspec.Meta(min_length=1, max_length=1_048_576)] | None = None
