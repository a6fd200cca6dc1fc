"""Event buses: what may be created, changed and deleted, as pure functions over values."""

from collections.abc import Mapping
from typing import Any

from router.catalog.model import Bus
from router.core.arn import InvalidArn, bus_arn, parse
from router.core.event import Location
from router.errors import AccessDeniedException, ResourceNotFoundException, ValidationException

DEFAULT = "default"
_DLQ_FORM = (
    "Parameter DeadLetterConfig.Arn is not valid. Reason: Provide a valid SQS queue ARN, or an empty string to remove "
    "the dead-letter queue configuration."
)


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


def check_attributes(attributes: Mapping[str, Any], location: Location) -> dict[str, Any]:
    """What CreateEventBus gives beside name, description and tags; what the hub would not honour is refused."""
    if attributes.get("KmsKeyIdentifier"):
        raise ValidationException(
            "Parameter KmsKeyIdentifier is not valid. Reason: this hub does not encrypt events with customer keys."
        )
    level = (attributes.get("LogConfig") or {}).get("Level", "OFF")
    if level != "OFF":
        raise ValidationException(
            f"Parameter LogConfig.Level is not valid. Reason: this hub does not write event bus logs; expected OFF, "
            f"got {level}."
        )
    queue = attributes.get("DeadLetterConfig")
    if queue is not None:
        if queue.get("Arn") is None:
            raise ValidationException(_DLQ_FORM)
        if queue["Arn"]:
            check_dead_letter_queue(queue["Arn"], location)
    return {key: value for key, value in attributes.items() if value}


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
