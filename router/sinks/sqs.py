"""Queues of a real SQS-protocol endpoint: SendMessageBatch in the JSON protocol.

Each delivery becomes one message and has its own outcome, also where only some of a batch are taken. A FIFO queue must
have content-based deduplication, as with AWS (user guide, "eb-targets"): an id of the hub's own would make one message
of the two that two targets make of one event. The event's trace header rides as the system attribute `AWSTraceHeader`;
a dead letter's attributes are message attributes of type String.

A queue's URL is `{endpoint}/{account}/{name}`, as with AWS and most others; an endpoint that knows no queue by that URL
is asked for its own (GetQueueUrl), which is then kept.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from router import limits
from router.core.arn import Arn, parse
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.batches import in_batches
from router.sinks.endpoints import Endpoints, Service
from router.sinks.failures import Failure
from router.sinks.http_client import Response
from router.sinks.parameters import BadParameter, value_of

# What SQS takes as text (API reference, "SendMessage"); one other character would fail the whole batch.
_NOT_TEXT = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n\r"
_KNOWN_MAX = 10_000  # ours: queues whose parts are remembered
_DELIVERED = Delivered()


class _Attribute(msgspec.Struct, frozen=True, rename="pascal"):
    string_value: str
    data_type: str = "String"


class _Entry(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    id: str
    message_body: str
    message_attributes: dict[str, _Attribute] | None = None
    message_system_attributes: dict[str, _Attribute] | None = None
    message_group_id: str | None = None


class _Request(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str
    entries: Sequence[_Entry]


class _Sent(msgspec.Struct, frozen=True, rename="pascal"):
    id: str


class _Failed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    code: str = ""
    sender_fault: bool = False
    message: str | None = None


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    successful: list[_Sent] | None = None
    failed: list[_Failed] | None = None


class _Url(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str


class _Queue:
    """A target's parts, which are the same for all that goes to it."""

    __slots__ = ("is_fifo", "service", "url", "where")

    def __init__(self, arn: str, service: Service) -> None:
        self.service = service
        self.where = parse(arn)
        self.is_fifo = self.where.resource.endswith(".fifo")
        self.url = f"{service.url}/{self.where.account}/{self.where.resource}"
        """Until the endpoint has given one of its own."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode
_decode_url = msgspec.json.Decoder(_Url).decode


class SqsSink:
    """See the module's contract."""

    kind: ClassVar[str] = "sqs"
    batch_max: ClassVar[int] = 10
    concurrency: ClassVar[int] = 8

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._queues: dict[str, _Queue] = {}

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        queue = self._queue(attempts[0].target.arn)
        deadline = self._endpoints.deadline()

        async def call(batch: Sequence[_Entry]) -> Sequence[Outcome] | Failure:
            service, queue_url = queue.service, queue.url
            answer = await _send(service, queue_url, batch, deadline=deadline)
            if isinstance(answer, Rejected) and answer.code == "NO_RESOURCE":
                own_url = await _ask_for_url(service, queue.where, deadline=deadline)
                if own_url is not None and own_url != queue_url:
                    queue.url = own_url
                    answer = await _send(service, own_url, batch, deadline=deadline)
            return _outcomes(service, batch, answer) if isinstance(answer, Response) else answer

        entries = [_entry(str(index), attempt, is_fifo=queue.is_fifo) for index, attempt in enumerate(attempts)]
        return await in_batches(entries, _size, call, count_max=self.batch_max, bytes_max=limits.MESSAGE_BYTES_MAX)

    def _queue(self, arn: str) -> _Queue:
        known = self._queues.get(arn)
        if known is None:
            if len(self._queues) >= _KNOWN_MAX:
                self._queues.clear()
            known = self._queues[arn] = _Queue(arn, self._endpoints.service(arn))
        return known


async def _send(service: Service, queue_url: str, batch: Sequence[_Entry], *, deadline: float) -> Response | Failure:
    body = _encode(_Request(queue_url, batch))
    return await service.json("AmazonSQS.SendMessageBatch", "1.0", body, deadline=deadline)


async def _ask_for_url(service: Service, where: Arn, *, deadline: float) -> str | None:
    """The queue's URL in the endpoint's own words; None where it does not say."""
    body = _encode({"QueueName": where.resource, "QueueOwnerAWSAccountId": where.account})
    answer = await service.json("AmazonSQS.GetQueueUrl", "1.0", body, deadline=deadline)
    if not isinstance(answer, Response):
        return None
    try:
        return _decode_url(answer.body).queue_url
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _entry(entry_id: str, attempt: Attempt, *, is_fifo: bool) -> _Entry | Rejected:
    """The message for one attempt, or why SQS would never take it."""
    try:
        body = attempt.payload.decode()
    except UnicodeDecodeError:
        return Rejected("INVALID_PARAMETER", "the payload is not UTF-8 text")
    # Most payloads are plain; of the others only what is not is looked at one by one.
    if not body or ((rest := attempt.payload.translate(None, _PLAIN)) and _NOT_TEXT.search(rest.decode())):
        return Rejected("INVALID_PARAMETER", "the payload is empty or has characters that SQS does not take")
    event = attempt.accepted.event
    group = attempt.target.sqs_parameters.message_group_id if attempt.target.sqs_parameters else None
    if is_fifo and group is None:
        return Rejected("INVALID_PARAMETER", "a FIFO queue needs SqsParameters with a MessageGroupId")
    try:
        group_id = None if group is None else value_of(group, event)
    except BadParameter as bad:
        return Rejected("INVALID_PARAMETER", f"MessageGroupId: {bad}")
    trace = attempt.accepted.trace_header
    entry = _Entry(
        entry_id,
        body,
        {name: _Attribute(value) for name, value in attempt.attributes.items()} if attempt.attributes else None,
        {"AWSTraceHeader": _Attribute(trace)} if trace and not _NOT_TEXT.search(trace) else None,
        group_id,
    )
    if (size := _size(entry)) > limits.MESSAGE_BYTES_MAX:
        return Rejected("INVALID_PARAMETER", f"the message has {size} bytes, SQS takes {limits.MESSAGE_BYTES_MAX}")
    return entry


def _size(entry: _Entry) -> int:
    """Bytes that count against SQS's limits: the body, and the attributes' names, types and values."""
    size = _bytes(entry.message_body)
    if entry.message_attributes is None:
        return size
    for name, attribute in entry.message_attributes.items():
        size += _bytes(name) + _bytes(attribute.data_type) + _bytes(attribute.string_value)
    return size


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _outcomes(service: Service, batch: Sequence[_Entry], response: Response) -> Sequence[Outcome] | Failure:
    try:
        answer = _decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return service.failure(response)
    if not answer.failed and [sent.id for sent in answer.successful or ()] == [entry.id for entry in batch]:
        return [_DELIVERED] * len(batch)
    by_id: dict[str, Outcome] = {sent.id: _DELIVERED for sent in answer.successful or ()}
    for failed in answer.failed or ():
        by_id[failed.id] = service.entry_failure(failed.code, failed.message or "", is_sender_fault=failed.sender_fault)
    unheard = Retryable("SDK_CLIENT_ERROR", f"{service.what}: the answer does not say what became of the message")
    return [by_id.get(entry.id, unheard) for entry in batch]
