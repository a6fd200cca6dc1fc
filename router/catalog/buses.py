"""Event buses: what may be created, changed and deleted, as pure functions over values.

The hub does not encrypt: a KMS key and the dead-letter queue for events that could not be encrypted are kept and shown,
and change nothing ("eb-encryption").
"""

import re
from collections.abc import Mapping
from typing import Any

from router.catalog.model import Bus
from router.core.arn import InvalidArn, bus_arn, parse
from router.core.bus_log import Level, Logging
from router.core.event import Location
from router.errors import AccessDeniedException, ResourceNotFoundException, ValidationException

DEFAULT = "default"
_DLQ_FORM = (
    "Parameter DeadLetterConfig.Arn is not valid. Reason: Provide a valid SQS queue ARN, or an empty string to remove "
    "the dead-letter queue configuration."
)
_KEY = re.compile(r"(mrk-)?[0-9a-f-]{32,36}")
_KEY_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}")


def not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Event bus {name} does not exist.")


def default(location: Location, created_ms: int) -> Bus:
    """The bus that every location has."""
    return Bus(
        name=DEFAULT,
        location=location,
        arn=bus_arn(location, DEFAULT),
        created_ms=created_ms,
        modified_ms=created_ms,
    )


def check_name(name: str) -> None:
    """Whether a custom bus may have this name. Raises ValidationException."""
    if "/" in name:
        raise ValidationException("Event bus name must not contain '/'.")


def checked_attributes(given: Mapping[str, Any], location: Location, *, logs_leave: bool) -> dict[str, Any]:
    """KmsKeyIdentifier, DeadLetterConfig and LogConfig as a request gives them, without what is empty. `logs_leave`:
    the location's log groups are at an endpoint. Raises ValidationException, AccessDeniedException."""
    key = given.get("KmsKeyIdentifier")
    if key:
        _check_key(key, location)
    level = (given.get("LogConfig") or {}).get("Level", "OFF")
    if level != "OFF" and logs_leave:
        raise ValidationException(
            "Parameter LogConfig.Level is not valid. Reason: this hub writes event bus logs into its own log groups, "
            f"and those of {location} are at an endpoint (endpoints in the hub file); expected OFF, got {level}."
        )
    queue = given.get("DeadLetterConfig")
    if queue is not None:
        if queue.get("Arn") is None:
            raise ValidationException(_DLQ_FORM)
        if queue["Arn"]:
            check_dead_letter_queue(queue["Arn"], location)
    return _not_empty(given)


def merged_attributes(
    old: Mapping[str, Any], given: Mapping[str, Any], location: Location, *, logs_leave: bool
) -> dict[str, Any]:
    """UpdateEventBus: what is not given stays, what is empty removes (a dead-letter queue also without an ARN: the
    API's model, which clients check, takes no empty one), a LogConfig replaces the whole one. Raises what
    `checked_attributes` raises."""
    if given.get("DeadLetterConfig") == {}:
        given = {**given, "DeadLetterConfig": {"Arn": ""}}
    checked_attributes(given, location, logs_leave=logs_leave)
    return _not_empty({**old, **given})


def _not_empty(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value and value != {"Arn": ""}}


def logging(bus: Bus) -> Logging | None:
    """What the bus's log gets; None where it is off."""
    config = bus.attributes.get("LogConfig") or {}
    level = Level[config.get("Level", "OFF")]
    if level is Level.OFF:
        return None
    return Logging(bus.location, bus.name, bus.arn, level, config.get("IncludeDetail") == "FULL")


def _check_key(text: str, location: Location) -> None:
    """A key's id or ARN, or its alias or that one's ARN (API reference, "CreateEventBus"); KMS itself is not asked."""
    resource = text
    if text.startswith("arn:"):
        try:
            arn = parse(text)
        except InvalidArn:
            arn = None
        resource = arn.resource if arn is not None and arn.service == "kms" and arn.account.isdigit() else ""
        if arn is not None and resource and arn.region != location.region:
            raise ValidationException(
                f"Parameter KmsKeyIdentifier is not valid. Reason: expected a key in {location.region}, the region of "
                f"the event bus, got one in {arn.region}."
            )
        if resource.startswith("key/"):
            resource = resource.removeprefix("key/")
        elif not resource.startswith("alias/"):
            resource = ""
    if _KEY.fullmatch(resource) is None and _KEY_ALIAS.fullmatch(resource) is None:
        raise ValidationException(
            "Parameter KmsKeyIdentifier is not valid. Reason: expected the id or the ARN of a KMS key, or its alias "
            f"(alias/NAME) or the alias's ARN, got {text!r}."
        )


def check_dead_letter_queue(text: str, location: Location) -> None:
    """A dead-letter queue is a standard SQS queue in the region of its rule or bus, in any account."""
    try:
        arn = parse(text)
    except InvalidArn:
        raise ValidationException(
            f"Parameter {text} is not valid. Reason: Provided Arn is not in correct format."
        ) from None
    if arn.service != "sqs":
        raise ValidationException(f"{arn.service} is not supported as a dead letter resource.")
    if arn.resource.endswith(".fifo"):
        raise ValidationException("SQS FIFO is not supported by Dead Letter Queues.")
    if arn.region != location.region or not arn.account.isdigit():
        raise AccessDeniedException(
            f"Access to the resource {text} is denied. Reason: You must specify a standard dead letter queue in the "
            "same region."
        )
