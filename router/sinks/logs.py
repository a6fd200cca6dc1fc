"""Log groups of a real CloudWatch Logs endpoint: PutLogEvents in the JSON protocol.

A log event's message is the payload and its timestamp the event's time; a target with an input transformer makes
`{"timestamp": ms, "message": …}` itself (user guide, "eb-targets"). There is one stream a group, named by a UUID that
follows from the group's ARN; stream and group are made when the service says that one is missing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from router import limits
from router.core.arn import parse
from router.sinks.base import Attempt, Delivered, Outcome, Rejected
from router.sinks.batches import in_batches
from router.sinks.endpoints import Endpoints, Service
from router.sinks.failures import Failure, json_error
from router.sinks.http_client import Response
from router.world import uuid5

_EVENT_OVERHEAD_BYTES = 26  # CloudWatch Logs: PutLogEvents
_SPAN_MS_MAX = 24 * 3600 * 1000  # CloudWatch Logs: PutLogEvents, a batch's time span


class _LogEvent(msgspec.Struct, frozen=True):
    timestamp: int
    message: str


class _Transformed(msgspec.Struct, frozen=True):
    timestamp: int | str
    message: msgspec.Raw


class _Put(msgspec.Struct, frozen=True, rename="camel"):
    log_group_name: str
    log_stream_name: str
    log_events: Sequence[_LogEvent]


class _RejectedInfo(msgspec.Struct, frozen=True, rename="camel"):
    too_new_log_event_start_index: int | None = None
    too_old_log_event_end_index: int | None = None
    expired_log_event_end_index: int | None = None


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    rejected_log_events_info: _RejectedInfo | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode
_decode_transformed = msgspec.json.Decoder(_Transformed).decode


class LogsSink:
    """See the module's contract."""

    kind: ClassVar[str] = "logs"
    batch_max: ClassVar[int] = 100
    concurrency: ClassVar[int] = 4

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        arn = attempts[0].target.arn
        service = self._endpoints.service(arn)
        group = parse(arn).resource.removeprefix("log-group:").removesuffix(":*")
        stream = uuid5("log-stream", arn)
        deadline = self._endpoints.deadline()

        async def call(batch: Sequence[_LogEvent]) -> Sequence[Outcome] | Failure:
            body = _encode(_Put(group, stream, batch))
            answer = await service.json("Logs_20140328.PutLogEvents", "1.1", body, deadline=deadline)
            if isinstance(answer, Rejected) and answer.code == "NO_RESOURCE":
                failure = await _make(service, group, stream, deadline)
                if failure is not None:
                    return failure
                answer = await service.json("Logs_20140328.PutLogEvents", "1.1", body, deadline=deadline)
            return _outcomes(service, batch, answer) if isinstance(answer, Response) else answer

        entries = [_log_event(attempt) for attempt in attempts]
        # PutLogEvents takes a batch only in the order of time.
        order = sorted(range(len(entries)), key=lambda index: _time_ms(entries[index]))
        outcomes: list[Outcome] = []
        for span in _spans([entries[index] for index in order]):
            outcomes += await in_batches(
                span, _size, call, count_max=self.batch_max, bytes_max=limits.LOG_EVENT_BYTES_MAX
            )
        return [outcome for _, outcome in sorted(zip(order, outcomes, strict=True), key=lambda pair: pair[0])]


def _log_event(attempt: Attempt) -> _LogEvent | Rejected:
    try:
        if attempt.target.input_transformer is None:
            return _LogEvent(_ms(attempt.accepted.event.time), attempt.payload.decode())
        made = _decode_transformed(attempt.payload)
        message = bytes(made.message)
        text = msgspec.json.decode(message, type=str) if message[:1] == b'"' else message.decode()
        return _LogEvent(made.timestamp if isinstance(made.timestamp, int) else _ms(made.timestamp), text)
    except (ValueError, OverflowError):
        return Rejected(
            "INVALID_PARAMETER",
            'expected text with a timestamp (a log group\'s input transformer makes {"timestamp": ms, "message": …})',
        )


def _ms(time: str) -> int:
    if time.isdigit():
        return int(time)
    moment = datetime.fromisoformat(time)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _time_ms(entry: _LogEvent | Rejected) -> int:
    return 0 if isinstance(entry, Rejected) else entry.timestamp


def _size(entry: _LogEvent) -> int:
    return len(entry.message.encode()) + _EVENT_OVERHEAD_BYTES


def _spans(entries: Sequence[_LogEvent | Rejected]) -> list[list[_LogEvent | Rejected]]:
    """`entries`, which are in order of time, split so that no part spans more than a batch may."""
    spans: list[list[_LogEvent | Rejected]] = []
    start_ms = 0
    for entry in entries:
        if not spans or _time_ms(entry) - start_ms >= _SPAN_MS_MAX:
            spans.append([])
            start_ms = _time_ms(entry)
        spans[-1].append(entry)
    return spans


def _outcomes(service: Service, batch: Sequence[_LogEvent], response: Response) -> Sequence[Outcome] | Failure:
    """Success may still leave out the too old (before an index) and the too new (from an index on)."""
    try:
        rejected = _decode(response.body or b"{}").rejected_log_events_info or _RejectedInfo()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return service.failure(response)
    old_end = max(rejected.too_old_log_event_end_index or 0, rejected.expired_log_event_end_index or 0)
    new_start = rejected.too_new_log_event_start_index
    delivered = Delivered()
    too_old = Rejected("ERROR_FROM_TARGET", f"{service.what}: the log event is older than the group takes")
    too_new = Rejected("ERROR_FROM_TARGET", f"{service.what}: the log event is more than 2 hours in the future")
    return [
        too_old if index < old_end else too_new if new_start is not None and index >= new_start else delivered
        for index in range(len(batch))
    ]


async def _make(service: Service, group: str, stream: str, deadline: float) -> Failure | None:
    """Make the group and the stream where they are missing; None once both are there."""
    calls = (
        ("CreateLogGroup", {"logGroupName": group}),
        ("CreateLogStream", {"logGroupName": group, "logStreamName": stream}),
    )
    for operation, body in calls:
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Logs_20140328.{operation}"}
        answer = await service.call(headers, _encode(body), deadline=deadline)
        if not isinstance(answer, Response):
            return answer
        code, message = json_error(answer)
        if answer.status // 100 != 2 and code != "ResourceAlreadyExistsException":
            return service.failure(answer, code, message)
    return None
