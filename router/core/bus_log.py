"""The records of an event bus's log: which level each type of record belongs to, and its JSON text.

Sources: user guide, "eb-event-bus-logs" (levels, what is left out), "eb-event-logs-schema" (fields of each type), and
records captured on AWS (`event_bus_name`, which the schema does not name). Where they are silent it is this module's
choice: what an INVOCATION_…_THROTTLE is, and that a field that is too large is left out whole.

Nothing here knows when a record is written, or where to.
"""

import uuid
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec

from router.core.event import Location

RECORD_BYTES_MAX: Final = 1024 * 1024
"""AWS: 1 MB, which is also what a log event may have."""
FAILURE_TEXT_CHARS_MAX: Final = 1000
"""Ours: of an error's message."""
THROTTLING: Final = "THROTTLING"
"""The code of an attempt that its target turned away for now."""

_INVOCATIONS = uuid.uuid5(uuid.NAMESPACE_URL, "crossbus:invocation")
_DROPPED_FIRST: Final = (
    "event_detail",
    "target_input",
    "target_properties",
    "resources",
    "detail_type",
    "source",
)
"""Of a record that is too large: the details that give way, in this order, until it fits."""


class Level(IntEnum):
    OFF = 0
    ERROR = 1
    INFO = 2
    TRACE = 3


LEVELS: Final[Mapping[str, Level]] = {
    "EVENT_INGEST_FAILURE": Level.ERROR,
    "INVOCATION_ATTEMPT_PERMANENT_FAILURE": Level.ERROR,
    "INVOCATION_ATTEMPT_RETRYABLE_FAILURE": Level.ERROR,
    "INVOCATION_ATTEMPT_THROTTLE": Level.ERROR,
    "INVOCATION_DLQ": Level.ERROR,
    "INVOCATION_FAILURE": Level.ERROR,
    "INVOCATION_THROTTLE_START": Level.ERROR,
    "EVENT_INGEST_SUCCESS": Level.INFO,
    "INVOCATION_START": Level.INFO,
    "INVOCATION_SUCCESS": Level.INFO,
    "NO_STANDARD_RULES_MATCHED": Level.INFO,
    "RULE_MATCH": Level.INFO,
    "EVENT_RECEIPT": Level.TRACE,
    "INVOCATION_ATTEMPT_START": Level.TRACE,
    "INVOCATION_ATTEMPT_SUCCESS": Level.TRACE,
    "RULE_MATCH_START": Level.TRACE,
}
"""Every type of record, and the lowest level at which it is written."""


class Logging(msgspec.Struct, frozen=True, eq=False):
    """A bus that writes a log. `full`: with the details of events and targets."""

    location: Location
    bus: str
    bus_arn: str
    level: Level
    full: bool

    @property
    def group(self) -> str:
        """The log group's name; on AWS whoever sets the delivery up chooses it, and the console proposes this."""
        return f"/aws/vendedlogs/events/event-bus/{self.bus}"

    def wants(self, message_type: str) -> bool:
        return LEVELS[message_type] <= self.level


class Invocation(msgspec.Struct, frozen=True):
    """A target that gets an event: what all records of it have in common."""

    event_id: str
    invocation_id: str
    rule_arn: str
    target_arn: str | None
    """None: the target was removed."""
    role_arn: str | None = None
    target_input: str | None = None
    target_properties: str | None = None

    def details(self, *, full: bool) -> dict[str, Any]:
        return _present(
            rule_arn=self.rule_arn,
            role_arn=self.role_arn,
            target_arn=self.target_arn,
            target_input=self.target_input if full else None,
            target_properties=self.target_properties if full else None,
        )


class Failure(msgspec.Struct, frozen=True):
    """Why a step failed: one of the codes of "eb-rule-dlq", and the text of who was called."""

    code: str
    message: str
    service: str


class _Error(msgspec.Struct, frozen=True):
    error_message: str
    aws_service: str


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The key order is the one captured on AWS."""

    resource_arn: str
    message_timestamp_ms: int
    event_bus_name: str
    event_id: str
    invocation_id: str | None = None
    message_type: str
    log_level: str
    details: Mapping[str, Any]
    dropped_fields: Sequence[str] = ()
    error: _Error | None = None


_encode = msgspec.json.Encoder().encode


def invocation_id(event_id: str, rule_arn: str, target_id: str) -> str:
    """The same for all attempts and across restarts."""
    return str(uuid.uuid5(_INVOCATIONS, f"{event_id}\n{rule_arn}\n{target_id}"))


def record(
    logging: Logging,
    message_type: str,
    event_id: str,
    details: Mapping[str, Any],
    *,
    at_ms: int,
    invocation_id: str | None = None,
    failure: Failure | None = None,
) -> bytes:
    """A record's text, of at most `RECORD_BYTES_MAX`; `dropped_fields` says which details it had no room for."""
    made = _Record(
        resource_arn=logging.bus_arn,
        message_timestamp_ms=at_ms,
        event_bus_name=logging.bus,
        event_id=event_id,
        invocation_id=invocation_id,
        message_type=message_type,
        log_level=LEVELS[message_type].name,
        details=details,
        error=_Error(failure.message[:FAILURE_TEXT_CHARS_MAX], failure.service) if failure else None,
    )
    text = _encode(made)
    dropped: list[str] = []
    for field in _DROPPED_FIRST:
        if len(text) <= RECORD_BYTES_MAX:
            break
        if field in details:
            dropped.append(field)
            kept = {name: value for name, value in details.items() if name not in dropped}
            text = _encode(msgspec.structs.replace(made, details=kept, dropped_fields=dropped))
    return text


def invocation_record(
    logging: Logging,
    message_type: str,
    invocation: Invocation,
    details: Mapping[str, Any],
    *,
    at_ms: int,
    failure: Failure | None = None,
) -> bytes:
    return record(
        logging,
        message_type,
        invocation.event_id,
        details,
        at_ms=at_ms,
        invocation_id=invocation.invocation_id,
        failure=failure,
    )


def start_details(logging: Logging, invocation: Invocation, *, attempt: int) -> dict[str, Any]:
    """Of INVOCATION_START, INVOCATION_ATTEMPT_START and INVOCATION_THROTTLE_START."""
    return {**invocation.details(full=logging.full), "attempt_count": attempt}


def attempt_details(
    invocation: Invocation, *, attempt: int, previous_code: str | None, status: str, took_ms: int
) -> dict[str, Any]:
    """Of INVOCATION_ATTEMPT_SUCCESS, …_RETRYABLE_FAILURE, …_PERMANENT_FAILURE and …_THROTTLE. `previous_code` is what
    the attempt before came to; None for the first one."""
    again = "THROTTLE" if previous_code == THROTTLING else "RETRY"
    return {
        **_present(rule_arn=invocation.rule_arn, role_arn=invocation.role_arn, target_arn=invocation.target_arn),
        "attempt_type": "FIRST" if previous_code is None else again,
        "attempt_count": attempt,
        "invocation_status": status,
        "target_duration_ms": took_ms,
    }


def final_details(
    logging: Logging, invocation: Invocation, *, attempts: int, status: str, took_ms: int, age_ms: int
) -> dict[str, Any]:
    """Of INVOCATION_SUCCESS, INVOCATION_FAILURE and INVOCATION_DLQ. `age_ms` is the time since the event's ingestion;
    the latencies to start and completion are those of a first attempt alone."""
    details: dict[str, Any] = {
        **invocation.details(full=logging.full),
        "total_attempts": attempts,
        "final_invocation_status": status,
    }
    if attempts == 1:
        details["ingestion_to_start_latency_ms"] = max(0, age_ms - took_ms)
        details["ingestion_to_complete_latency_ms"] = age_ms
    if status == SUCCESS:
        details["ingestion_to_success_latency_ms"] = age_ms
    return {**details, "target_duration_ms": took_ms}


SUCCESS: Final = "SUCCESS"
"""The status of an invocation, or an attempt, that did not fail; those that did have their failure's code."""


def failed_attempt_types(code: str, *, previous_code: str | None, permanent: bool) -> tuple[str, ...]:
    """The types of the records of an attempt that failed. A target that turns calls away is a throttle, which starts
    with the first one."""
    if permanent:
        return ("INVOCATION_ATTEMPT_PERMANENT_FAILURE",)
    if code != THROTTLING:
        return ("INVOCATION_ATTEMPT_RETRYABLE_FAILURE",)
    if previous_code == THROTTLING:
        return ("INVOCATION_ATTEMPT_THROTTLE",)
    return ("INVOCATION_ATTEMPT_THROTTLE", "INVOCATION_THROTTLE_START")


def _present(**fields: str | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
