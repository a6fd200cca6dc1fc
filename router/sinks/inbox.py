"""Sinks that deposit into the durable inboxes of simulated targets, one class a kind of target.

The messages of one call share one batch, which hangs on the first `Delivered`; the others have no effects of their own.
So the outcomes of one `send` must be settled in one transaction, and a batch is delivered whole or tried again whole.

Queues: the body is the payload; FIFO queues take `SqsParameters.MessageGroupId` and the queue's own deduplication.
Log groups: the payload is the event's text and the event's time its timestamp; an input transformer must make
`{"timestamp": …, "message": …}` (classic.md section 4.1), with a timestamp in ms or in ISO 8601 and a text. A time that
PutLogEvents would refuse (14 days old, 2 hours ahead) gives way to the time of ingestion.
"""

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar

import msgspec

from router import limits
from router.catalog.kinds import KINDS
from router.core.event import envelope
from router.core.jsonpath import InvalidPath, compile_path, get_json
from router.simulator.inboxes import Inboxes
from router.simulator.records import DELIVERY_STREAM, Draft, Stored, text_attributes
from router.sinks.base import Attempt, Delivered, Outcome, Rejected
from router.sinks.parameters import BadParameter, filled, value_of
from router.store.base import Batch

_DELIVERED = Delivered()
_TOO_OLD_MS = 14 * 86_400_000
_TOO_NEW_MS = 2 * 3_600_000


class InboxSink:
    """Deposits each payload as it is."""

    kind: ClassVar[str] = "inbox"
    batch_max: ClassVar[int] = 1000
    concurrency: ClassVar[int] = 1

    def __init__(self, inboxes: Inboxes) -> None:
        self._inboxes = inboxes

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        batch = Batch()
        outcomes = self.deposit(attempts, batch)
        if _DELIVERED in outcomes:
            outcomes[outcomes.index(_DELIVERED)] = Delivered(batch)
        return outcomes

    def deposit(self, attempts: Sequence[Attempt], batch: Batch) -> list[Outcome]:
        """See `sinks.base.DepositSink`."""
        drafts = [self._draft(attempt) for attempt in attempts]
        good = [draft for draft in drafts if isinstance(draft, Draft)]
        deposited = self._inboxes.deposit_many(batch, attempts[0].target.arn, good) if good else []
        told = [_DELIVERED if isinstance(outcome, Stored) else outcome for outcome in deposited]
        if len(good) == len(drafts):
            return told
        rest = iter(told)
        return [draft if isinstance(draft, Rejected) else next(rest) for draft in drafts]

    def _draft(self, attempt: Attempt) -> Draft | Rejected:
        accepted = attempt.accepted
        return Draft(
            attempt.payload,
            text_attributes(attempt.attributes),
            trace_header=accepted.trace_header,
            event_id=accepted.event.id,
        )


class SqsInboxSink(InboxSink):
    kind: ClassVar[str] = "sqs"

    def _draft(self, attempt: Attempt) -> Draft | Rejected:
        accepted = attempt.accepted
        parameters = attempt.target.sqs_parameters
        group_id = parameters.message_group_id if parameters is not None else None
        if group_id is not None:
            try:
                group_id = value_of(group_id, accepted.event)
            except BadParameter as error:
                return Rejected("INVALID_PARAMETER", f"MessageGroupId: {error}")
        attributes = text_attributes(attempt.attributes) if attempt.attributes else None
        return Draft(attempt.payload, attributes, accepted.trace_header, group_id, None, accepted.event.id)


class _LogEvent(msgspec.Struct):
    timestamp: int | str
    message: str


_decode_log_event = msgspec.json.Decoder(_LogEvent).decode


class LogsInboxSink(InboxSink):
    kind: ClassVar[str] = "logs"

    def _draft(self, attempt: Attempt) -> Draft | Rejected:
        accepted = attempt.accepted
        body = attempt.payload
        time_ms = _time_ms(accepted.event.time)
        if attempt.target.input_transformer is not None:
            try:
                made = _decode_log_event(body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                return Rejected(
                    "INVALID_PARAMETER",
                    f'The input transformer of a log group target must make {{"timestamp": …, "message": …}}: {error}',
                )
            body = made.message.encode()
            time_ms = made.timestamp if isinstance(made.timestamp, int) else _time_ms(made.timestamp)
            if time_ms is None:
                return Rejected("INVALID_PARAMETER", f"Expected a timestamp in ms or ISO 8601, got {made.timestamp!r}")
        if not body or len(body) > limits.LOG_EVENT_BYTES_MAX:
            return Rejected(
                "INVALID_PARAMETER",
                f"Expected a log event of 1 to {limits.LOG_EVENT_BYTES_MAX} bytes, got {len(body)}",
            )
        ingested_ms = accepted.ingested_ms
        if time_ms is None or not ingested_ms - _TOO_OLD_MS <= time_ms <= ingested_ms + _TOO_NEW_MS:
            time_ms = ingested_ms
        return Draft(body, event_id=accepted.event.id, stream=DELIVERY_STREAM, timestamp_ms=time_ms)


class KinesisInboxSink(InboxSink):
    """The partition key goes along as an attribute: what the path finds, quotes kept, `{}` where it finds nothing, and
    the event's id without a path (classic.md section 4.1)."""

    kind: ClassVar[str] = "kinesis"

    def _draft(self, attempt: Attempt) -> Draft | Rejected:
        accepted = attempt.accepted
        key = accepted.event.id
        if attempt.target.kinesis_parameters is not None:
            try:
                path = compile_path(attempt.target.kinesis_parameters.partition_key_path)
                found = get_json(path, envelope(accepted.event))
            except (InvalidPath, msgspec.DecodeError) as error:
                return Rejected("INVALID_PARAMETER", f"PartitionKeyPath: {error}")
            key = found.decode() if isinstance(found, bytes) else "{}"
        return Draft(
            attempt.payload,
            {"PartitionKey": ("String", key.encode())},
            accepted.trace_header,
            event_id=accepted.event.id,
        )


class SnsInboxSink(InboxSink):
    kind: ClassVar[str] = "sns"


class LambdaInboxSink(InboxSink):
    kind: ClassVar[str] = "lambda"


class FirehoseInboxSink(InboxSink):
    kind: ClassVar[str] = "firehose"


class StatesInboxSink(InboxSink):
    kind: ClassVar[str] = "states"


class BlockInboxSink(InboxSink):
    """Kinds that are called with a parameter block: it goes along as an attribute of its name, its dynamic values
    filled in. ECS tasks and Run Command get the event only as far as an input says so (classic.md section 4.1)."""

    block: ClassVar[str | None] = None
    passes_event: ClassVar[bool] = True

    def _draft(self, attempt: Attempt) -> Draft | Rejected:
        target, accepted = attempt.target, attempt.accepted
        attributes: dict[str, tuple[str, bytes]] = {}
        if self.block is not None:
            given = msgspec.to_builtins(target).get(self.block)
            if given is not None:
                try:
                    attributes[self.block] = ("String", msgspec.json.encode(filled(given, accepted.event)))
                except BadParameter as error:
                    return Rejected("INVALID_PARAMETER", f"{self.block}: {error}")
        has_input = target.input is not None or target.input_path is not None or target.input_transformer is not None
        return Draft(
            attempt.payload if self.passes_event or has_input else b"{}",
            attributes or None,
            accepted.trace_header,
            event_id=accepted.event.id,
        )


_NO_EVENT = frozenset({"ecs", "run_command"})


def _block_sinks(inboxes: Inboxes, others: Container[str]) -> dict[str, InboxSink]:
    """The kinds of targets that need no code of their own."""
    return {
        kind.name: type(
            "BlockInboxSink",
            (BlockInboxSink,),
            {"kind": kind.name, "block": kind.takes, "passes_event": kind.name not in _NO_EVENT},
        )(inboxes)
        for kind in KINDS
        if kind.service != "events" and kind.name not in others
    }


def inbox_sinks(inboxes: Inboxes) -> dict[str, InboxSink]:
    """One sink for each kind of inbox."""
    kinds = (
        FirehoseInboxSink,
        KinesisInboxSink,
        LambdaInboxSink,
        LogsInboxSink,
        SnsInboxSink,
        SqsInboxSink,
        StatesInboxSink,
    )
    own: dict[str, InboxSink] = {kind.kind: kind(inboxes) for kind in kinds}
    return {**own, **_block_sinks(inboxes, own)}


@lru_cache(maxsize=4096)
def _time_ms(text: str) -> int | None:
    """An ISO 8601 time in ms; None for a text that is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
