"""A queue's attributes: which there are, what they may be, and what SQS says to the rest (API reference, CreateQueue).

Honoured: VisibilityTimeout, DelaySeconds, MessageRetentionPeriod, ReceiveMessageWaitTimeSeconds, MaximumMessageSize,
RedrivePolicy, RedriveAllowPolicy (when a queue names another as its dead-letter queue), FifoQueue,
ContentBasedDeduplication, DeduplicationScope.
Kept and given back without effect: Policy (calls inside the simulated accounts are not judged by queue policies),
FifoThroughputLimit (there is no throughput limit), SqsManagedSseEnabled (encryption that no caller can see; who may
read the data folder is the operator's matter).
Refused: KmsMasterKeyId and KmsDataKeyReusePeriodSeconds (there are no keys to encrypt with).
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from router import limits
from router.core.arn import InvalidArn, parse
from router.simulator.errors import InvalidAttributeName, InvalidAttributeValue, InvalidParameterValue
from router.simulator.inboxes import Inboxes

_RANGES = {
    "VisibilityTimeout": (0, 43_200),
    "DelaySeconds": (0, 900),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, limits.WAIT_S_MAX),
    "MaximumMessageSize": (1024, limits.MESSAGE_BYTES_MAX),
}
_CHOICES = {
    "SqsManagedSseEnabled": ("true", "false"),
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
}
_JSON = ("Policy", "RedrivePolicy", "RedriveAllowPolicy")
_FIFO_ONLY = ("ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")
_REFUSED = ("KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds")
_DEFAULTS = {
    "VisibilityTimeout": str(limits.VISIBILITY_S_DEFAULT),
    "MaximumMessageSize": str(limits.MESSAGE_BYTES_MAX),
    "MessageRetentionPeriod": str(limits.QUEUE_RETENTION_S_DEFAULT),
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "false",
}
_FIFO_DEFAULTS = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
_NAMES = frozenset(
    {
        *_RANGES,
        *_CHOICES,
        *_JSON,
        *_REFUSED,
        "All",
        "FifoQueue",
        "QueueArn",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    }
)
_RECEIVES_MAX = 1000
_DEAD_LETTER_SOURCES_MAX = 10
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_name(name: str, attributes: Mapping[str, str]) -> None:
    """A queue's name; a FIFO queue's ends in `.fifo`, and no other's does. Raises InvalidParameterValue."""
    fifo = attributes.get("FifoQueue") == "true"
    if fifo and not name.endswith(".fifo"):
        raise InvalidParameterValue(
            f"Value {name} for parameter QueueName is invalid. Reason: The name of a FIFO queue can only include "
            "alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length."
        )
    if len(name) > 80 or _NAME.fullmatch(name.removesuffix(".fifo") if fifo else name) is None:
        raise InvalidParameterValue(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )


def check(inboxes: Inboxes, arn: str, given: Mapping[str, str]) -> dict[str, str]:
    """The attributes to keep; raises InvalidAttributeName, InvalidAttributeValue or InvalidParameterValue."""
    fifo = arn.endswith(".fifo")
    kept = {}
    for name, value in given.items():
        if name == "FifoQueue":
            if not fifo or value != "true":
                raise InvalidAttributeName("Unknown Attribute FifoQueue.")
            continue
        if name in _FIFO_ONLY and not fifo:
            raise InvalidAttributeName(f"Unknown Attribute {name}.")
        if name in _REFUSED:
            if value:
                raise InvalidAttributeValue(
                    f"Invalid value for the parameter {name}. Reason: this hub has no keys to encrypt messages with."
                )
            continue
        kept[name] = _checked(name, value)
    if kept.get("RedrivePolicy"):
        kept["RedrivePolicy"] = _redrive_policy(inboxes, arn, kept["RedrivePolicy"])
    if kept.get("RedriveAllowPolicy"):
        _allowed_sources(kept["RedriveAllowPolicy"])
    return kept


def _checked(name: str, value: str) -> str:
    if name in _RANGES:
        low, high = _RANGES[name]
        if not value.isascii() or not value.isdigit() or not low <= int(value[:10]) <= high:
            raise InvalidAttributeValue(
                f"Invalid value for the parameter {name}. Reason: expected a whole number from {low} to {high}."
            )
        return str(int(value))
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise InvalidAttributeValue(
                f"Invalid value for the parameter {name}. Reason: expected {' or '.join(_CHOICES[name])}."
            )
        return value
    if name in _JSON:
        if value:
            _json_object(name, value)
        return value
    raise InvalidAttributeName(f"Unknown Attribute {name}.")


def _json_object(name: str, value: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(value, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise InvalidAttributeValue(f"Invalid value for the parameter {name}. Reason: {error}") from error


def _redrive_policy(inboxes: Inboxes, arn: str, text: str) -> str:
    """The policy in the form in which SQS gives it back."""

    def refuse(reason: str) -> InvalidParameterValue:
        return InvalidParameterValue(f"Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}")

    policy = _json_object("RedrivePolicy", text)
    if set(policy) != {"deadLetterTargetArn", "maxReceiveCount"}:
        raise refuse("Redrive policy must have exactly the parameters deadLetterTargetArn and maxReceiveCount.")
    target, count = policy["deadLetterTargetArn"], str(policy["maxReceiveCount"])
    if not count.isascii() or not count.isdigit() or not 1 <= int(count[:6]) <= _RECEIVES_MAX:
        raise refuse(
            f"Invalid value for maxReceiveCount: {count}, valid values are from 1 to {_RECEIVES_MAX} both inclusive."
        )
    try:
        there, here = parse(str(target)), parse(arn)
    except InvalidArn as error:
        raise refuse(f"deadLetterTargetArn is no ARN: {error}.") from error
    if there.service != "sqs" or (there.account, there.region) != (here.account, here.region):
        raise refuse("Dead letter target must be a queue of the same account and region.")
    if str(target) == arn:
        raise refuse("Dead letter queue ARN must not be that of the source queue.")
    if str(target).endswith(".fifo") != arn.endswith(".fifo"):
        raise refuse("Dead letter queue must be same type of queue as the source.")
    letters = inboxes.find(str(target))
    if letters is None:
        raise refuse("Dead letter target does not exist.")
    allow = letters.record.attributes.get("RedriveAllowPolicy")
    if allow:
        allowed = _allowed_sources(allow)
        if allowed is not None and arn not in allowed:
            raise refuse("The dead letter queue's RedriveAllowPolicy does not allow this source queue.")
    return msgspec.json.encode({"deadLetterTargetArn": target, "maxReceiveCount": int(count)}).decode()


def _allowed_sources(text: str) -> list[str] | None:
    """Which queues may name this one as their dead-letter queue; None: all."""

    def refuse(reason: str) -> InvalidParameterValue:
        return InvalidParameterValue(f"Value {text} for parameter RedriveAllowPolicy is invalid. Reason: {reason}")

    policy = _json_object("RedriveAllowPolicy", text)
    unknown = set(policy) - {"redrivePermission", "sourceQueueArns"}
    if unknown:
        raise refuse(f"unknown parameters {', '.join(sorted(unknown))}.")
    sources = policy.get("sourceQueueArns")
    match policy.get("redrivePermission"):
        case "allowAll" if sources is None:
            return None
        case "denyAll" if sources is None:
            return []
        case "byQueue" if isinstance(sources, list) and 1 <= len(sources) <= _DEAD_LETTER_SOURCES_MAX:
            return [str(source) for source in sources]
    raise refuse(
        "expected redrivePermission allowAll or denyAll alone, or byQueue with 1 to "
        f"{_DEAD_LETTER_SOURCES_MAX} sourceQueueArns."
    )


def check_names(names: Iterable[str]) -> None:
    """Names of attributes that are asked for; raises InvalidAttributeName."""
    for name in names:
        if name not in _NAMES:
            raise InvalidAttributeName(f"Unknown Attribute {name}.")


def merged(old: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """`changes` over `old`; an empty text takes an attribute away."""
    return {name: value for name, value in {**old, **changes}.items() if value}


def difference(arn: str, kept: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """The first wanted attribute that the queue does not have in this value."""
    have = configured(arn, kept)
    return next((name for name, value in wanted.items() if have.get(name, "") != value), None)


def configured(arn: str, kept: Mapping[str, str]) -> dict[str, str]:
    """What was set, and SQS's defaults for the rest."""
    fifo = _FIFO_DEFAULTS if arn.endswith(".fifo") else {}
    return {**_DEFAULTS, **fifo, **kept}
