"""CloudTrail's records on their way to a bus: which a trail selects, and which a rule in state ENABLED may not see.

EventBridge user guide, "eb-service-event-cloudtrail"; CloudTrail user guide, "logging-data-events-with-cloudtrail" and
"cloudtrail-event-reference-record-contents"; classic.md sections 3.1 and 6. Looks only at the few fields named here. A
field of the wrong type counts as absent and never raises. Knows no buses and no rules.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_type_hints

import msgspec

from router.core.event import Event, Location, compact


class InvalidRecord(ValueError):
    """The text is not a CloudTrail record that can become an event; the message says why."""


class Resource(msgspec.Struct, frozen=True):
    """A resource of a data event: an ARN, or the prefix of those that a listing looks at."""

    arn: str | None = msgspec.field(default=None, name="ARN")
    arn_prefix: str | None = msgspec.field(default=None, name="ARNPrefix")
    type: str | None = None


class RequestParameters(msgspec.Struct, frozen=True, rename="camel"):
    bucket_name: str | None = None
    key: str | None = None


class _Class(msgspec.Struct, frozen=True, rename="camel"):
    """What says whether a record is of a read-only management event."""

    event_name: str | None = None
    event_source: str | None = None
    event_category: str | None = None
    event_type: str | None = None
    read_only: bool | None = None
    management_event: bool | None = None


class Record(_Class, frozen=True, rename="camel"):
    """The fields of a record that decisions look at."""

    resources: tuple[Resource, ...] | None = None
    request_parameters: RequestParameters | None = None


Category = Literal["Management", "Data", "NetworkActivity", "Insight"]
_CATEGORIES: dict[str | None, Category] = {
    "Management": "Management",
    "Data": "Data",
    "NetworkActivity": "NetworkActivity",
    "Insight": "Insight",
}

_SUFFIX = " via CloudTrail"
_DETAIL_TYPES = {
    "AwsApiCall": "AWS API Call via CloudTrail",
    "AwsConsoleSignIn": "AWS Console Signin via CloudTrail",
    "AwsConsoleAction": "AWS Console Action via CloudTrail",
    "AwsServiceEvent": "AWS Service Event via CloudTrail",
    "AwsCloudTrailInsight": "AWS Insight via CloudTrail",
    "AwsVpceEvent": "AWS Network Activity Event via CloudTrail",
}
_FIELD_TYPES = {kind: get_type_hints(kind) for kind in (_Class, Record)}
_READ_NAME = re.compile(r"Describe|Get|List")
_STS_CHANGES = ("GetFederationToken", "GetSessionToken")
_decode_class = msgspec.json.Decoder(_Class).decode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def record(detail: str) -> Record:
    """The record in an event's `detail`, which must be the text of a JSON object."""
    try:
        return _decode_record(detail)
    except msgspec.ValidationError:
        return Record(**_lenient(Record, detail))


def _class_of(detail: str) -> _Class:
    try:
        return _decode_class(detail)
    except msgspec.ValidationError:
        return _Class(**_lenient(_Class, detail))


def _lenient(kind: type[_Class], detail: str) -> dict[str, Any]:
    """Field by field, leaving out what has the wrong type."""
    texts = _decode_fields(detail)
    types = _FIELD_TYPES[kind]
    fields: dict[str, Any] = {}
    for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        if encoded in texts:
            try:
                fields[name] = msgspec.json.decode(texts[encoded], type=types[name])
            except msgspec.ValidationError:
                continue
    return fields


def is_cloudtrail(detail_type: str) -> bool:
    """Whether events of that detail-type are CloudTrail's: every one that ends in " via CloudTrail"."""
    return detail_type.endswith(_SUFFIX)


def category(record: _Class) -> Category:
    """The record's category; without a known one it is management unless `managementEvent` is false."""
    named = _CATEGORIES.get(record.event_category)
    if named is not None:
        return named
    if record.event_type == "AwsVpceEvent":
        return "NetworkActivity"
    if record.event_type == "AwsCloudTrailInsight":
        return "Insight"
    return "Data" if record.management_event is False else "Management"


def withheld_from_enabled(detail_type: str, detail: str, *, by_flag: bool) -> bool:
    """Whether the event is a read-only management event, which a rule in state ENABLED must not see.

    Read-only is what is named Describe, Get or List (but for two calls of STS), or with `by_flag` what says `readOnly`.
    `detail` must be the text of a JSON object.
    """
    if not is_cloudtrail(detail_type):
        return False
    record = _class_of(detail)
    if category(record) != "Management":
        return False
    return record.read_only is True if by_flag else _is_named_read(record)


def _is_named_read(record: _Class) -> bool:
    if record.event_name is None or _READ_NAME.match(record.event_name) is None:
        return False
    return record.event_name not in _STS_CHANGES or record.event_source not in (None, "sts.amazonaws.com")


class DataSelector(msgspec.Struct, frozen=True):
    """One of a trail's DataResources: a type, and the ARNs or ARN prefixes of what is logged."""

    type: str
    values: tuple[str, ...]


class Trail(msgspec.Struct, frozen=True):
    """What one trail logs. `read_write_type` holds for management and data events, as in one event selector of AWS."""

    read_write_type: Literal["All", "ReadOnly", "WriteOnly"] = "All"
    include_management_events: bool = True
    exclude_management_event_sources: tuple[str, ...] = ()
    data_event_selectors: tuple[DataSelector, ...] = ()
    network_activity_event_sources: tuple[str, ...] = ()
    insights: bool = False
    is_logging: bool = True


def selected(trails: Sequence[Trail], record: Record, detail_type: str) -> bool:
    """Whether any of the trails logs the record, so that it reaches the bus at all."""
    kind = category(record)
    if kind == "Management" and record.event_category is None:
        kind = _category_by_detail_type(detail_type)
    return any(_logs(trail, record, kind) for trail in trails)


def _category_by_detail_type(detail_type: str) -> Category:
    if detail_type == _DETAIL_TYPES["AwsVpceEvent"]:
        return "NetworkActivity"
    return "Insight" if detail_type == _DETAIL_TYPES["AwsCloudTrailInsight"] else "Management"


def _logs(trail: Trail, record: Record, kind: Category) -> bool:
    if not trail.is_logging:
        return False
    if kind == "Insight":
        return trail.insights
    if kind == "NetworkActivity":
        return record.event_source in trail.network_activity_event_sources
    if not _has_access(trail, record):
        return False
    if kind == "Data":
        return any(_covers(selector, record) for selector in trail.data_event_selectors)
    return trail.include_management_events and record.event_source not in trail.exclude_management_event_sources


def _has_access(trail: Trail, record: Record) -> bool:
    """Whether the record reads or writes as the trail asks; without `readOnly` its name says which it does."""
    if trail.read_write_type == "All":
        return True
    reads = _is_named_read(record) if record.read_only is None else record.read_only
    return reads is (trail.read_write_type == "ReadOnly")


_SERVICES = {
    "AWS::S3::Object": "s3.amazonaws.com",
    "AWS::Lambda::Function": "lambda.amazonaws.com",
    "AWS::DynamoDB::Table": "dynamodb.amazonaws.com",
}


def _covers(selector: DataSelector, record: Record) -> bool:
    """Whether a data event is on what the selector names.

    The resources' types or, for the three types of basic selectors, the event source say whether it is of the
    selector's type. A value such as `arn:aws:s3` stands for all of that service. Otherwise a value for S3 is a prefix
    of the object's ARN (a listing's is that of the bucket, with `/`), and any other one an ARN, alone or with a `:` or
    `/` part after it.
    """
    resources = record.resources or ()
    if record.event_source != _SERVICES.get(selector.type, "") and all(
        resource.type != selector.type for resource in resources
    ):
        return False
    arns = [arn for resource in resources for arn in (resource.arn, resource.arn_prefix) if arn is not None]
    is_s3 = selector.type == "AWS::S3::Object"
    if is_s3 and record.request_parameters is not None and record.request_parameters.bucket_name is not None:
        parameters = record.request_parameters
        arns.append(f"arn:aws:s3:::{parameters.bucket_name}/{parameters.key or ''}")
    for value in selector.values:
        if value.rstrip(":").count(":") == 2:
            return True
        if any(arn.startswith(value) and (is_s3 or arn[len(value) :][:1] in ("", ":", "/")) for arn in arns):
            return True
    return False


def wrap(record_json: bytes, *, location: Location, event_id: str, now_ms: int) -> Event:
    """A raw record in EventBridge's envelope, or `InvalidRecord`.

    The detail is the record as sent, without `eventContext`, which EventBridge never shows. A record without
    `eventType` is an API call; one without `eventTime` happened now; a time without a zone is UTC, as all of
    CloudTrail's are.
    """
    try:
        texts = _decode_fields(record_json)
        detail = str(record_json, "utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecord(f"Expected a CloudTrail record, the text of one JSON object: {error}") from error
    event_source = _text(texts, "eventSource")
    if not event_source:
        raise InvalidRecord("The record has no eventSource")
    event_type = _text(texts, "eventType") or "AwsApiCall"
    if event_type not in _DETAIL_TYPES:
        raise InvalidRecord(f"Unknown eventType {event_type!r}; expected one of {', '.join(_DETAIL_TYPES)}")
    event_time = _text(texts, "eventTime")
    if texts.pop("eventContext", None) is not None:
        detail = _encode(texts).decode()
    return Event(
        event_id,
        _DETAIL_TYPES[event_type],
        "aws." + event_source.partition(".")[0],
        location.account,
        _seconds(datetime.fromtimestamp(now_ms // 1000, tz=UTC) if event_time is None else _parsed_time(event_time)),
        location.region,
        (),
        compact(detail),
    )


def _text(texts: dict[str, msgspec.Raw], name: str) -> str | None:
    raw = texts.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str | None)
    except msgspec.ValidationError as error:
        raise InvalidRecord(f"{name}: {error}") from error


def _parsed_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRecord(f"eventTime: expected an ISO 8601 time, got {text!r}") from error


def _seconds(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
