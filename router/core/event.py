"""The event: what a producer sent, with the envelope fields the hub gave it, and the bytes a target receives.

An `Event` never changes. `detail` stays the JSON text that the producer sent (checked to be one JSON object, white
space between tokens removed), so that the hot path never builds objects from it. Nothing here knows buses, rules or
targets.
"""

import uuid
from collections.abc import Sequence

import msgspec

_HOP_NAMESPACE = uuid.UUID("b3a3e1b6-4f0c-5a4e-9f57-6d1f0c3f2c11")


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


def hop_id(event_id: str, rule_arn: str, target_id: str) -> str:
    """The id an event gets on a cross-region hop: the same for every repeat of that hop."""
    return str(uuid.uuid5(_HOP_NAMESPACE, f"{event_id}\n{rule_arn}\n{target_id}"))


def message_event_id(queue_arn: str, message_id: str, index: int) -> str:
    """The id of an event that a queue message brought without one: the same for every redelivery of that message."""
    return str(uuid.uuid5(_HOP_NAMESPACE, f"{queue_arn}\n{message_id}\n{index}"))


def entry_size(*, has_time: bool, source: str, detail_type: str, detail: str, resources: Sequence[str]) -> int:
    """Bytes that an entry counts against the request limit (EventBridge user guide, "eb-putevents")."""
    size = 14 if has_time else 0
    for text in (source, detail_type, detail, *resources):
        size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size
