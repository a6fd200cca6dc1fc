"""The event: what a producer sent, with the envelope fields the hub gave it, and the bytes a target receives.

An `Event` never changes. `detail` stays the JSON text that the producer sent (checked to be one JSON object, white
space between tokens removed), so that the hot path never builds objects from it. Nothing here knows buses, rules or
targets.
"""

import hashlib
import re
import uuid
from collections.abc import Sequence

import msgspec

_INTEGER_MAX = 2**63 - 1
_LONG_DIGITS = b"0" * len(str(_INTEGER_MAX))
_DIGITS_ARE_ZEROS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
# Texts as a whole, also one that does not end: nothing is looked at twice.
_next_token = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?', re.DOTALL).finditer
_trace_field = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=([!-:<-~]*)", re.ASCII).fullmatch
_TRACE_FORMS = {
    "Root": re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}", re.ASCII),
    "Parent": re.compile(r"[0-9a-fA-F]{16}", re.ASCII),
    "Sampled": re.compile(r"[01?]", re.ASCII),
}
_TRACE_CHARS_MAX = 500  # PutEvents API reference
_HOP_NAMESPACE = uuid.UUID("b3a3e1b6-4f0c-5a4e-9f57-6d1f0c3f2c11").bytes


class Location(msgspec.Struct, frozen=True, order=True, array_like=True):
    """An (account, region) pair: where a bus, a rule or an inbox lives."""

    account: str
    region: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One event with its envelope fields.

    `time` is whole-second UTC (`2026-11-23T10:00:00Z`). `detail` is the text of one JSON object. `account` and
    `region` are those of the first put and survive every hop (EventBridge user guide, "eb-cross-account").
    """

    id: str
    detail_type: str
    source: str
    account: str
    time: str
    region: str
    resources: tuple[str, ...]
    detail: str
    replay_name: str | None = None


class _Envelope(msgspec.Struct):
    """The key order is the one recorded on AWS's wire."""

    version: str
    id: str
    detail_type: str = msgspec.field(name="detail-type")
    source: str
    account: str
    time: str
    region: str
    resources: tuple[str, ...]
    detail: msgspec.Raw


class _ReplayedEnvelope(msgspec.Struct):
    version: str
    id: str
    detail_type: str = msgspec.field(name="detail-type")
    source: str
    account: str
    time: str
    region: str
    replay_name: str = msgspec.field(name="replay-name")
    resources: tuple[str, ...]
    detail: msgspec.Raw


_encode = msgspec.json.Encoder().encode


def envelope(event: Event) -> bytes:
    """The event as delivered: compact JSON, keys in AWS's order."""
    detail = msgspec.Raw(event.detail.encode())
    if event.replay_name is not None:
        return _encode(
            _ReplayedEnvelope(
                "0",
                event.id,
                event.detail_type,
                event.source,
                event.account,
                event.time,
                event.region,
                event.replay_name,
                event.resources,
                detail,
            )
        )
    return _encode(
        _Envelope(
            "0",
            event.id,
            event.detail_type,
            event.source,
            event.account,
            event.time,
            event.region,
            event.resources,
            detail,
        )
    )


def compact(detail: str) -> str:
    """`detail` without white space between tokens; key order, duplicate keys and number texts stay as they are.

    A text nested deeper than the formatter goes stays as it is. Raises msgspec.DecodeError where it is no JSON.
    """
    if " " in detail or "\n" in detail or "\t" in detail or "\r" in detail:
        try:
            return msgspec.json.format(detail, indent=-1)
        except RecursionError:
            return detail
    return detail


def has_long_integer(detail: str) -> bool:
    """Whether a whole number in a JSON text does not fit 64 bits with a sign (PutEvents API reference)."""
    # Nearly always there are not even enough digits in a row. Of so many in a row, every sixth makes at least three.
    if b"000" not in detail[::6].encode("utf-8", "surrogatepass").translate(_DIGITS_ARE_ZEROS):
        return False
    if _LONG_DIGITS not in detail.encode("utf-8", "surrogatepass").translate(_DIGITS_ARE_ZEROS):
        return False
    return any(
        len(text) >= len(_LONG_DIGITS)
        and text.lstrip("-").isdigit()
        and not -_INTEGER_MAX - 1 <= _bounded(text) <= _INTEGER_MAX
        for text in (match[0] for match in _next_token(detail))
    )


def _bounded(integer: str) -> int:
    """The value of a whole number, or where it has far too many digits another one that is too large as well."""
    return int(integer[:40])


def trace_header(text: str) -> str | None:
    """The X-Ray trace header, or None where it is not well formed and therefore dropped.

    It is `key=value` fields with `;` between them; Root must be there ("xray-concepts-tracingheader").
    """
    if len(text) > _TRACE_CHARS_MAX:
        return None
    rooted = False
    for part in text.rstrip(";").split(";"):
        field = _trace_field(part.strip(" "))
        if field is None:
            return None
        form = _TRACE_FORMS.get(field[1])
        if form is not None and form.fullmatch(field[2]) is None:
            return None
        rooted = rooted or field[1] == "Root"
    return text if rooted else None


def hop_id(event_id: str, rule_arn: str, target_id: str) -> str:
    """The id an event gets on a cross-region hop: the same for every repeat of that hop."""
    return _uuid5(f"{event_id}\n{rule_arn}\n{target_id}")


def message_event_id(queue_arn: str, message_id: str, index: int) -> str:
    """The id of an event that a queue message brought without one: the same for every redelivery of that message."""
    return _uuid5(f"{queue_arn}\n{message_id}\n{index}")


def _uuid5(name: str) -> str:
    """UUIDv5 in the namespace of ids that follow from others (RFC 9562, section 5.5): a third of the standard library's
    cost, which a queue's messages pay one by one."""
    h = hashlib.sha1(_HOP_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:32]}"


def entry_size(*, has_time: bool, source: str, detail_type: str, detail: str, resources: Sequence[str]) -> int:
    """Bytes that an entry counts against the request limit (EventBridge user guide, "eb-putevents")."""
    size = 14 if has_time else 0
    if not resources and detail.isascii() and source.isascii() and detail_type.isascii():
        return size + len(source) + len(detail_type) + len(detail)
    for text in (source, detail_type, detail, *resources):
        size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size
