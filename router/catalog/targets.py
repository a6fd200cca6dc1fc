"""Targets: what a target may be, as pure functions over values.

`check` is asked for every target before it is put, by the API and by the hub file alike, and says what AWS says
(classic.md section 4; PutTargets' recorded and published refusals). What no sink would honour is refused here and
nowhere later.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from router import limits
from router.catalog import kinds
from router.catalog.buses import check_dead_letter_queue
from router.catalog.kinds import Kind, UnsupportedKind
from router.catalog.model import Rule, Target
from router.catalog.tags import LIMIT_EXCEEDED
from router.core.arn import Arn, InvalidArn, bus_arn, parse
from router.core.jsonpath import InvalidPath
from router.core.transform import BadInput, BadTemplate, Slot, Template, Transform, compile_transform
from router.errors import AccessDeniedException, LimitExceededException, ValidationException

_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(Target))
_EVENT_VARIABLES = ("aws.events.event.json", "aws.events.event")


class Rules(msgspec.Struct, frozen=True):
    """What the hub file settles about targets."""

    cross_region: bool
    api_destination_exists: Callable[[str], bool]


def from_request(given: Mapping[str, Any]) -> Target:
    """A target of a PutTargets request, whose members are already of the right types."""
    for member in given:
        if member not in _KNOWN and given[member] is not None:
            kind = kinds.kind_of(given["Arn"])
            if kind is None:
                _check_arn(given["Id"], given["Arn"])
            raise ValidationException(f"Parameter(s) {member} not supported for target: {given['Id']}.")
    try:
        return msgspec.convert(given, Target)
    except msgspec.ValidationError as error:
        raise ValidationException(f"Target {given['Id']} is not valid. Reason: {error}") from error


def to_answer(target: Target) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.to_builtins(target)
    return answer


def put(rule: Rule, targets: Sequence[Target], settings: Rules) -> tuple[Target, ...]:
    """The rule's targets after PutTargets: a known id is replaced whole, in its place. Raises ApiError."""
    seen: set[str] = set()
    for target in targets:
        if target.id in seen:
            raise ValidationException(f"More than one target with Id '{target.id}' is provided.")
        seen.add(target.id)
        check(rule, target, settings)
    merged = {target.id: target for target in rule.targets} | {target.id: target for target in targets}
    if len(merged) > limits.TARGETS_PER_RULE_MAX:
        raise LimitExceededException(LIMIT_EXCEEDED)
    return tuple(merged.values())


def removed(rule: Rule, ids: Iterable[str]) -> tuple[Target, ...]:
    """The rule's targets after RemoveTargets; ids that are not there do not matter."""
    gone = set(ids)
    return tuple(target for target in rule.targets if target.id not in gone)


def check(rule: Rule, target: Target, settings: Rules) -> None:
    """Whether the rule may have this target. Raises ValidationException, AccessDeniedException."""
    arn, kind = _check_arn(target.id, target.arn)
    _check_role(rule, target, arn, kind)
    if kind.name == "event_bus":
        _check_bus_target(rule, target)
    elif arn.region != rule.location.region and not settings.cross_region:
        raise AccessDeniedException(
            f"Access to the resource {target.arn} is denied. Reason: Adding cross-region target is not permitted."
        )
    for member, value in _given(target):
        if member in kind.refuses and value is not None:
            raise ValidationException(f"Parameter(s) {member} not supported for target: {target.id}.")
    if kind.name == "api_destination" and not settings.api_destination_exists(target.arn):
        raise ValidationException(f"Parameter {target.arn} is not valid. Reason: API destination does not exist.")
    _check_parameters(target, kind)
    compiled(target)
    if target.dead_letter_config is not None and target.dead_letter_config.arn:
        check_dead_letter_queue(target.dead_letter_config.arn, rule.location)


def compiled(target: Target) -> Transform | None:
    """The target's input, ready to be rendered. Raises ValidationException."""
    transformer = target.input_transformer
    if (target.input is not None) + (target.input_path is not None) + (transformer is not None) > 1:
        raise ValidationException(
            f"Only one of Input, InputPath, or InputTransformer must be provided for target {target.id}."
        )
    paths_map = transformer.input_paths_map if transformer else None
    bad_path = ValidationException(f"InputPath for target {target.id} is invalid.")
    if any("['" in path for path in [target.input_path or "", *(paths_map or {}).values()]):
        raise bad_path  # dot notation only (PutTargets API reference)
    try:
        transform = compile_transform(
            input=target.input,
            input_path=target.input_path,
            paths_map=paths_map,
            template=transformer.input_template if transformer else None,
        )
    except BadInput as error:
        raise ValidationException(f"JSON syntax error in input for target {target.id}.") from error
    except BadTemplate as error:
        raise ValidationException(
            f"InputTemplate for target {target.id} contains invalid placeholder {error.placeholder}."
        ) from error
    except InvalidPath as error:
        raise bad_path from error
    if isinstance(transform, Template):
        _check_event_variables(target, transform)
    return transform


def _check_event_variables(target: Target, template: Template) -> None:
    """The whole event is inserted as a JSON value of an object template, never inside a string."""
    assert target.input_transformer is not None
    is_object = target.input_transformer.input_template.lstrip().startswith("{")
    for part in template.parts:
        if isinstance(part, Slot) and part.name in _EVENT_VARIABLES and (part.quoted or not is_object):
            raise ValidationException(
                f"InputTemplate for target {target.id} contains placeholder {part.name} valid only for JSON template."
            )


def _check_arn(target_id: str, text: str) -> tuple[Arn, Kind]:
    try:
        arn = parse(text)
        return arn, kinds.find(arn)
    except InvalidArn:
        raise ValidationException(
            f"Parameter {text} is not valid. Reason: Provided Arn is not in correct format."
        ) from None
    except UnsupportedKind as error:
        raise ValidationException(
            f"Parameter {text} is not valid. Reason: Targets of service {error} are not supported for target "
            f"{target_id}: expected one of {kinds.SUPPORTED}."
        ) from None


def _check_role(rule: Rule, target: Target, arn: Arn, kind: Kind) -> None:
    foreign = arn.account != rule.location.account
    if target.role_arn is None:
        if kind.role == "required" or (foreign and kind.other_account):
            raise ValidationException(f"RoleArn is required for target {target.arn}.")
    elif kind.role == "refused":
        raise ValidationException(f"Parameter(s) RoleArn not supported for target: {target.id}.")
    else:
        check_role(target.role_arn)
    if foreign and not kind.other_account:
        raise AccessDeniedException(
            f"Access to the resource {target.arn} is denied. Reason: Adding cross-account target is not permitted."
        )


def check_role(text: str) -> None:
    """Whether a text is a role's ARN; whether there is such a role is not known. Raises ValidationException."""
    try:
        arn = parse(text)
        valid = arn.service == "iam" and arn.resource.startswith("role/")
    except InvalidArn:
        valid = False
    if not valid:
        raise ValidationException(f"Parameter {text} is not valid. Reason: Provided Arn is not in correct format.")


def _check_bus_target(rule: Rule, target: Target) -> None:
    if target.input is not None or target.input_path is not None or target.input_transformer is not None:
        raise ValidationException(f"Modifying the input for target {target.id} is not supported.")
    if target.arn == bus_arn(rule.location, rule.bus):
        raise ValidationException(
            f"Parameter {target.arn} is not valid. Reason: An event bus can't be the target of its own rule."
        )


_BLOCKS = frozenset(kind.takes for kind in kinds.KINDS if kind.takes)


def _check_parameters(target: Target, kind: Kind) -> None:
    """Parameter blocks belong to their kind; SqsParameters is accepted on any, as on AWS."""
    group = target.sqs_parameters.message_group_id if target.sqs_parameters else None
    if kind.name == "sqs" and target.arn.endswith(".fifo") and not group:
        raise ValidationException(f"Parameter(s) SqsParameters must be specified for target: {target.id}.")
    for member, value in _given(target):
        if member in _BLOCKS and member != kind.takes and value is not None:
            raise ValidationException(f"Parameter(s) {member} not supported for target: {target.id}.")
        if kind.needs_it and member == kind.takes and value is None:
            raise ValidationException(f"Parameter(s) {member} must be specified for target: {target.id}.")


def _given(target: Target) -> Iterable[tuple[str, Any]]:
    for field in msgspec.structs.fields(target):
        yield field.encode_name, getattr(target, field.name)
