"""What a message may hold and how a received one looks: checks with SQS's texts, attributes on the wire, MD5s.

Pure: values in, values out. The MD5 of attributes follows the developer guide, "Calculating the MD5 message digest for
message attributes".
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import md5
from typing import Any

from router.simulator.errors import (
    InvalidAttributeName,
    InvalidMessageContents,
    InvalidParameterValue,
    MissingParameter,
)
from router.simulator.records import Attributes, Draft, QueueSettings, is_binary, message_bytes
from router.simulator.visibility import Taken

_ATTRIBUTES_MAX = 10
_TYPE_CHARS_MAX = 256
_REFUSED_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME = re.compile(r"(?!(?i:aws\.|amazon\.))(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_ID = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|[+-]?[0-9]+\.?")
_DELAY_S_MAX = 900
_SYSTEM_NAMES = frozenset(
    {
        "All",
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "SequenceNumber",
        "MessageDeduplicationId",
        "MessageGroupId",
        "AWSTraceHeader",
        "DeadLetterQueueSourceArn",
    }
)


def draft_of(request: Mapping[str, Any], settings: QueueSettings, sender: str) -> Draft:
    """A SendMessage request, or one entry of a batch, as a draft; raises what SQS answers."""
    body = request["MessageBody"]
    if not body:
        raise MissingParameter("The request must contain the parameter MessageBody.")
    if _REFUSED_CHARACTER.search(body):
        raise InvalidMessageContents(
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | "
            "#xE000 to #xFFFD | #x10000 to #x10FFFF"
        )
    attributes = attributes_of(request.get("MessageAttributes") or {})
    encoded = body.encode()
    if message_bytes(encoded, attributes) > settings.message_bytes_max:
        raise InvalidParameterValue(
            "One or more parameters are invalid. "
            f"Reason: Message must be shorter than {settings.message_bytes_max} bytes."
        )
    group_id, dedup_id = _fifo_ids(request, settings)
    return Draft(
        encoded,
        attributes,
        _trace_header(request.get("MessageSystemAttributes") or {}),
        group_id,
        dedup_id,
        sender=sender,
        delay_s=_delay_s(request.get("DelaySeconds"), settings),
    )


def _delay_s(delay_s: int | None, settings: QueueSettings) -> int | None:
    if delay_s is None:
        return None
    if settings.fifo and delay_s:
        raise InvalidParameterValue(
            f"Value {delay_s} for parameter DelaySeconds is invalid. Reason: The request include parameter that is not "
            "valid for this queue type."
        )
    if not 0 <= delay_s <= _DELAY_S_MAX:
        raise InvalidParameterValue(
            f"Value {delay_s} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= "
            f"{_DELAY_S_MAX}."
        )
    return delay_s


def _fifo_ids(request: Mapping[str, Any], settings: QueueSettings) -> tuple[str | None, str | None]:
    """The group and deduplication id; standard queues take a group too ("fair queues")."""
    group_id: str | None = request.get("MessageGroupId")
    dedup_id: str | None = request.get("MessageDeduplicationId")
    for name, value in (("MessageGroupId", group_id), ("MessageDeduplicationId", dedup_id)):
        if value is not None and _ID.fullmatch(value) is None:
            raise InvalidParameterValue(
                f"Value {value} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and "
                "punctuation characters. 1 to 128 in length."
            )
    if not settings.fifo:
        if dedup_id is not None:
            raise InvalidParameterValue(
                f"Value {dedup_id} for parameter MessageDeduplicationId is invalid. Reason: The request include "
                "parameter that is not valid for this queue type."
            )
    elif group_id is None:
        raise MissingParameter("The request must contain the parameter MessageGroupId.")
    elif dedup_id is None and not settings.content_based:
        raise InvalidParameterValue(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
            "explicitly"
        )
    return group_id, dedup_id


def _trace_header(given: Mapping[str, Mapping[str, Any]]) -> str | None:
    value = given.get("AWSTraceHeader")
    if value is None:
        return None
    if value["DataType"] != "String" or not value.get("StringValue"):
        raise InvalidParameterValue("The message system attribute 'AWSTraceHeader' must be a non-empty String.")
    return str(value["StringValue"])


def attributes_of(given: Mapping[str, Mapping[str, Any]]) -> Attributes | None:
    """Message attributes as they are stored; raises InvalidParameterValue."""
    if len(given) > _ATTRIBUTES_MAX:
        raise InvalidParameterValue(
            f"Number of message attributes [{len(given)}] exceeds the allowed maximum [{_ATTRIBUTES_MAX}]."
        )
    return {name: _attribute(name, value) for name, value in given.items()} or None


def _attribute(name: str, given: Mapping[str, Any]) -> tuple[str, bytes]:
    if _ATTRIBUTE_NAME.fullmatch(name) is None:
        raise InvalidParameterValue(
            f"The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore "
            "(_), hyphen (-), and period (.) characters, 1 to 256 of them, and must not start with AWS. or Amazon."
        )
    data_type = given["DataType"]
    kind = data_type.partition(".")[0]
    if kind not in ("String", "Number", "Binary") or len(data_type) > _TYPE_CHARS_MAX:
        raise InvalidParameterValue(
            f"The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes "
            "is Binary, Number, and String."
        )
    field = "BinaryValue" if kind == "Binary" else "StringValue"
    unwanted = [
        other for other in ("StringValue", "BinaryValue", "StringListValues", "BinaryListValues") if other != field
    ]
    if any(given.get(other) for other in unwanted):
        raise InvalidParameterValue(f"The message attribute '{name}' of type '{data_type}' takes a {field} alone.")
    value = given.get(field)
    if not value:
        raise InvalidParameterValue(
            f"The message attribute '{name}' must contain non-empty message attribute value for message attribute type "
            f"'{data_type}'."
        )
    if isinstance(value, str) and _REFUSED_CHARACTER.search(value):
        raise InvalidMessageContents(f"The message attribute '{name}' has characters that are not allowed.")
    if kind == "Number" and (not isinstance(value, str) or _NUMBER.fullmatch(value) is None):
        raise InvalidParameterValue(f"Can't cast the value of message (user) attribute '{name}' to a number.")
    return data_type, value.encode() if isinstance(value, str) else value


def system_names(request: Mapping[str, Any]) -> frozenset[str]:
    """The system attributes a ReceiveMessage asks for, by either parameter; raises InvalidAttributeName."""
    names = frozenset(request.get("AttributeNames") or ()) | frozenset(request.get("MessageSystemAttributeNames") or ())
    for name in sorted(names - _SYSTEM_NAMES):
        raise InvalidAttributeName(f"Unknown Attribute {name}.")
    return names


def body_md5(body: bytes) -> str:
    return md5(body, usedforsecurity=False).hexdigest()


def attributes_md5(attributes: Attributes) -> str:
    digest = md5(usedforsecurity=False)
    for name in sorted(attributes):
        data_type, value = attributes[name]
        for text in (name, data_type):
            digest.update(len(text.encode()).to_bytes(4, "big") + text.encode())
        digest.update((b"\x02" if is_binary(data_type) else b"\x01") + len(value).to_bytes(4, "big") + value)
    return digest.hexdigest()


def received(taken: Taken, handle: str, system: frozenset[str], wanted: Iterable[str], *, fifo: bool) -> dict[str, Any]:
    """A message as ReceiveMessage answers it; `system` and `wanted` name the attributes that were asked for."""
    message = taken.message
    answer: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": handle,
        "MD5OfBody": body_md5(message.body),
        "Body": message.body.decode(errors="replace"),
    }
    if system:
        have = _system_attributes(taken, fifo=fifo)
        answer["Attributes"] = have if "All" in system else {name: have[name] for name in have if name in system}
    if message.attributes:
        asked = select(message.attributes, wanted)
        if asked:
            answer["MessageAttributes"] = {
                name: {"DataType": data_type, "BinaryValue": value}
                if is_binary(data_type)
                else {"DataType": data_type, "StringValue": value.decode()}
                for name, (data_type, value) in asked.items()
            }
            answer["MD5OfMessageAttributes"] = attributes_md5(asked)
    return answer


def select(attributes: Attributes, wanted: Iterable[str]) -> Attributes:
    """The attributes asked for by name, by `prefix.*`, or all by `All` or `.*`."""
    names = list(wanted)
    if "All" in names or ".*" in names:
        return attributes
    prefixes = tuple(name[:-2] for name in names if name.endswith(".*"))
    return {
        name: value for name, value in attributes.items() if name in names or (prefixes and name.startswith(prefixes))
    }


def _system_attributes(taken: Taken, *, fifo: bool) -> dict[str, str]:
    message = taken.message
    have = {
        "SenderId": message.sender or "events.amazonaws.com",
        "SentTimestamp": str(message.sent_ms),
        "ApproximateReceiveCount": str(taken.received),
        "ApproximateFirstReceiveTimestamp": str(taken.first_received_ms),
    }
    if fifo:
        have["SequenceNumber"] = sequence_number(taken.position)
        have["MessageDeduplicationId"] = message.dedup_id or ""
    optional = {
        "MessageGroupId": message.group_id,
        "AWSTraceHeader": message.trace_header,
        "DeadLetterQueueSourceArn": message.source_arn,
    }
    return have | {name: value for name, value in optional.items() if value is not None}


def sequence_number(position: int) -> str:
    """FIFO: 20 digits, growing."""
    return f"{position:020d}"
