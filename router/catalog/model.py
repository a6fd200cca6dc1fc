"""The configured things as values, in the API's own words: the same types are read from the hub file, kept in the store
and answered by the API. Nothing here checks rules between things; that is the catalog's work.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from router.catalog.target_parameters import (
    AppSyncParameters,
    BatchParameters,
    EcsParameters,
    HttpParameters,
    KinesisParameters,
    RedshiftDataParameters,
    RunCommandParameters,
    SageMakerPipelineParameters,
    SqsParameters,
)
from router.core.event import Location

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1600)]
_Input = Annotated[str, msgspec.Meta(max_length=8192)]
_Path = Annotated[str, msgspec.Meta(max_length=256)]
_TargetId = Annotated[str, msgspec.Meta(pattern=r"^[.\-_A-Za-z0-9]{1,64}$")]

RuleState = Literal["ENABLED", "DISABLED", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"]


class InputTransformer(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    input_template: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
    input_paths_map: Annotated[dict[str, _Path], msgspec.Meta(max_length=100)] = {}


class RetryPolicy(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    maximum_retry_attempts: Annotated[int, msgspec.Meta(ge=0, le=185)] | None = None
    maximum_event_age_in_seconds: Annotated[int, msgspec.Meta(ge=60, le=86_400)] | None = None


class DeadLetterConfig(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    arn: str | None = None


class LogConfig(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    """What a bus writes into its log ("eb-event-bus-logs")."""

    include_detail: Literal["NONE", "FULL"] | None = None
    level: Literal["OFF", "ERROR", "INFO", "TRACE"] | None = None


class Target(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    """Where a rule's events go (API reference, "Target"). The whole object is replaced by PutTargets."""

    id: _TargetId
    arn: _Text
    role_arn: _Text | None = None
    input: _Input | None = None
    input_path: _Path | None = None
    input_transformer: InputTransformer | None = None
    retry_policy: RetryPolicy | None = None
    dead_letter_config: DeadLetterConfig | None = None
    sqs_parameters: SqsParameters | None = None
    http_parameters: HttpParameters | None = None
    kinesis_parameters: KinesisParameters | None = None
    run_command_parameters: RunCommandParameters | None = None
    ecs_parameters: EcsParameters | None = None
    batch_parameters: BatchParameters | None = None
    redshift_data_parameters: RedshiftDataParameters | None = None
    sage_maker_pipeline_parameters: SageMakerPipelineParameters | None = None
    app_sync_parameters: AppSyncParameters | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pattern or a schedule on a bus, or both. `targets` are in the order in which they were put."""

    name: str
    bus: str
    location: Location
    arn: str
    state: RuleState = "ENABLED"
    event_pattern: str | None = None
    schedule_expression: str | None = None
    anchor_ms: int = 0
    """From when its schedule counts: its creation, its enabling, or its last change of expression."""
    description: str | None = None
    role_arn: str | None = None
    created_by: str
    managed_by: str | None = None
    targets: tuple[Target, ...] = ()
    tags: dict[str, str] = {}
    archive: int | None = None
    """The number of the archive whose managed rule it is; its one target is then that archive."""
    declared: bool = False
    """The hub file declares it: it is applied again at the next start."""


class Thing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something with a name of its own in a location, beside buses and rules: an archive, a connection, a replay…

    A subclass gives its `kind`, which is part of its key in the store, and is listed in `records.KINDS`.
    """

    kind: ClassVar[str]
    name: str
    location: Location
    arn: str
    created_ms: int
    modified_ms: int
    declared: bool = False
    """The hub file declares it: it is applied again at the next start."""

    @property
    def id(self) -> str:
        """Another name, which no other thing has; empty for kinds that have none."""
        return ""


class Bus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    location: Location
    arn: str
    description: str | None = None
    policy: str | None = None
    """The resource policy's JSON text."""
    created_ms: int
    modified_ms: int
    tags: dict[str, str] = {}
    attributes: dict[str, Any] = {}
    """KmsKeyIdentifier, DeadLetterConfig, LogConfig as they were given, those that are not empty."""
    declared: bool = False
