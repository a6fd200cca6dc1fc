"""The SQS calls about messages: send, receive, delete, change visibility, and their batch forms.

A send or delete answers only when it is on disk. A receipt handle names the queue's inbox, the message and the receipt;
one from before a restart still deletes, unless the message was received again. As on AWS, a standard queue answers a
delete with an outdated receipt as if it had worked and keeps the message, and a FIFO queue refuses it.
ReceiveRequestAttemptId is refused: answers are not kept to be repeated. A change of visibility counts from now, to at
most 12 hours at a time.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from router import limits
from router.errors import ApiError, ServiceUnavailable
from router.simulator.errors import (
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InvalidBatchEntryId,
    InvalidParameterValue,
    MessageNotInflight,
    OverLimit,
    ReceiptHandleIsInvalid,
    RequestThrottled,
    TooManyEntriesInBatchRequest,
    UnsupportedOperation,
)
from router.simulator.inbox import Inbox
from router.simulator.inboxes import Deposited, Inboxes
from router.simulator.message_contents import (
    attributes_md5,
    body_md5,
    draft_of,
    received,
    sequence_number,
    system_names,
)
from router.simulator.queues import Queues
from router.simulator.records import DEDUPLICATION, Draft, Stored, message_bytes, message_key, position_of
from router.simulator.visibility import Queue, Taken
from router.sinks.base import Retryable
from router.store.base import Batch, StoreError, key32, key64

if TYPE_CHECKING:
    from router.aws.service import Caller

_BATCH_ENTRIES_MAX = 10
_VISIBILITY_S_MAX = 43_200
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_HANDLE_BYTES = 20


class Messages:
    """`queues` finds the queue a request means."""

    def __init__(self, inboxes: Inboxes, queues: Queues) -> None:
        self._inboxes = inboxes
        self._queues = queues

    async def _commit(self, batch: Batch) -> None:
        try:
            await self._inboxes.store.commit(batch)
        except StoreError as error:
            raise ServiceUnavailable(f"Nothing was changed: {error}") from error

    def _queue_of(self, inbox: Inbox) -> Queue:
        return inbox.queue(self._inboxes.store, self._inboxes.world)

    # sending

    async def send(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self._queues.find(caller, request["QueueUrl"])
        assert inbox.settings is not None, f"{inbox.record.arn} is not a queue"
        draft = draft_of(request, inbox.settings, caller.account)
        batch = Batch()
        (outcome,) = self._inboxes.deposit_many(batch, inbox.record.arn, (draft,))
        stored = _stored(outcome)
        await self._commit(batch)
        return _sent(draft, stored, fifo=inbox.settings.fifo)

    async def send_batch(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self._queues.find(caller, request["QueueUrl"])
        assert inbox.settings is not None, f"{inbox.record.arn} is not a queue"
        entries = _entries(request, "SendMessageBatchRequestEntry")
        answer = _Answer()
        drafts: list[tuple[str, Draft]] = []
        for entry in entries:
            try:
                drafts.append((entry["Id"], draft_of(entry, inbox.settings, caller.account)))
            except ApiError as error:
                answer.fail(entry["Id"], error)
        size = sum(message_bytes(draft.body, draft.attributes) for _, draft in drafts)
        if size > limits.MESSAGE_BYTES_MAX:
            raise BatchRequestTooLong(
                f"Batch requests cannot be longer than {limits.MESSAGE_BYTES_MAX} bytes. You have sent {size} bytes."
            )
        batch = Batch()
        outcomes = self._inboxes.deposit_many(batch, inbox.record.arn, [draft for _, draft in drafts])
        if batch.ops:
            await self._commit(batch)
        for (entry_id, draft), outcome in zip(drafts, outcomes, strict=True):
            try:
                answer.succeed(entry_id, **_sent(draft, _stored(outcome), fifo=inbox.settings.fifo))
            except ApiError as error:
                answer.fail(entry_id, error)
        return answer.answer()

    # receiving

    async def receive(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self._queues.find(caller, request["QueueUrl"])
        settings = inbox.settings
        assert settings is not None, f"{inbox.record.arn} is not a queue"
        if request.get("ReceiveRequestAttemptId"):
            raise UnsupportedOperation("ReceiveRequestAttemptId is not supported by this hub.")
        wanted = _within(request, "MaxNumberOfMessages", 1, limits.RECEIVE_MESSAGES_MAX, default=1)
        wait_s = _within(request, "WaitTimeSeconds", 0, limits.WAIT_S_MAX, default=settings.wait_s)
        visibility_s = _within(request, "VisibilityTimeout", 0, _VISIBILITY_S_MAX, default=settings.visibility_s)
        system = system_names(request)
        taken, number = await self._poll(inbox.record.arn, wanted, wait_s=wait_s, visibility_s=visibility_s)
        names = request.get("MessageAttributeNames") or ()
        messages = [
            received(one, _handle(number, one.key, one.receipt), system, names, fifo=settings.fifo) for one in taken
        ]
        return {"Messages": messages} if messages else {}

    async def _poll(self, arn: str, wanted: int, *, wait_s: int, visibility_s: int) -> tuple[list[Taken], int]:
        """Messages, at the latest after `wait_s`, and the number of the inbox they are from."""
        world = self._inboxes.world
        until_s = world.monotonic() + wait_s
        while True:
            inbox = self._queues.get(arn)
            taking, batch = self._inboxes.take(inbox, wanted, visibility_s=visibility_s)
            if batch.ops:
                try:
                    await self._commit(batch)
                except ServiceUnavailable:
                    for one in taking.messages:
                        self._queue_of(inbox).change(one.key, one.receipt, 0)
                    raise
            if taking.messages:
                return taking.messages, inbox.number
            if taking.budget <= 0:
                await asyncio.sleep(0)  # a long row of messages that may not go out: let others run
                continue
            if inbox.in_flight >= limits.QUEUE_IN_FLIGHT_MAX and not wait_s and not arn.endswith(".fifo"):
                raise OverLimit(
                    f"{inbox.in_flight} messages are in flight, at most {limits.QUEUE_IN_FLIGHT_MAX} may be."
                )
            left_s = until_s - world.monotonic()
            if left_s <= 0 or self._inboxes.stopping:
                return [], inbox.number
            await self._queue_of(inbox).wait(left_s)

    # deleting

    async def delete(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self._queues.find(caller, request["QueueUrl"])
        batch = Batch(essential=True)
        self._delete(inbox, request["ReceiptHandle"], batch)
        if batch.ops:
            await self._commit(batch)
        return {}

    async def delete_batch(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        batch = Batch(essential=True)
        inbox = self._queues.find(caller, request["QueueUrl"])
        answer = _each(
            _entries(request, "DeleteMessageBatchRequestEntry"),
            lambda entry: self._delete(inbox, entry["ReceiptHandle"], batch),
        )
        if batch.ops:
            await self._commit(batch)
        return answer

    def _delete(self, inbox: Inbox, handle: str, batch: Batch) -> None:
        key, receipt = self._receipt(inbox, handle)
        if key is None:
            return
        queue = self._queue_of(inbox)
        held = queue.holds(key, receipt)
        if held is None:
            message = self._inboxes.get(inbox, key)
            if message is None:
                return
            queue.removing([(key, message)])
        elif inbox.record.arn.endswith(".fifo"):
            if not queue.in_flight_under(key, receipt):
                raise InvalidParameterValue(
                    f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
                )
        elif not held:
            return
        self._inboxes.remove(batch, inbox, [key])

    def _receipt(self, inbox: Inbox, handle: str) -> tuple[bytes | None, int]:
        """The message's key, None for one that was purged, and the receipt; raises ReceiptHandleIsInvalid."""
        try:
            data = base64.urlsafe_b64decode(handle + "=" * (-len(handle) % 4))
        except (binascii.Error, ValueError):
            data = b""
        if len(data) != _HANDLE_BYTES or position_of(data[:12]) >= DEDUPLICATION:
            raise ReceiptHandleIsInvalid(handle)
        number = int.from_bytes(data[:4], "big")
        if number != inbox.number:
            if self._inboxes.is_used(number):
                raise ReceiptHandleIsInvalid(handle)
            return None, 0
        return message_key(inbox.prefix, position_of(data[:12])), int.from_bytes(data[12:], "big")

    # visibility

    async def change_visibility(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        self._change(self._queues.find(caller, request["QueueUrl"]), request)
        return {}

    async def change_visibility_batch(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self._queues.find(caller, request["QueueUrl"])
        return _each(
            _entries(request, "ChangeMessageVisibilityBatchRequestEntry"), lambda entry: self._change(inbox, entry)
        )

    def _change(self, inbox: Inbox, request: dict[str, Any]) -> None:
        visibility_s = _within(request, "VisibilityTimeout", 0, _VISIBILITY_S_MAX, default=limits.VISIBILITY_S_DEFAULT)
        handle = request["ReceiptHandle"]
        key, receipt = self._receipt(inbox, handle)
        if key is None or self._inboxes.get(inbox, key) is None:
            raise InvalidParameterValue(
                f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not "
                "available for visibility timeout change."
            )
        if not self._queue_of(inbox).change(key, receipt, visibility_s):
            raise MessageNotInflight("The specified message isn't in flight.")


class _Answer:
    """What a batch call answers."""

    def __init__(self) -> None:
        self._successful: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []

    def succeed(self, entry_id: str, **fields: str) -> None:
        self._successful.append({"Id": entry_id, **fields})

    def fail(self, entry_id: str, error: ApiError) -> None:
        self._failed.append(
            {
                "Id": entry_id,
                "SenderFault": not isinstance(error, RequestThrottled),
                "Code": error.query_code or error.code,
                "Message": error.message,
            }
        )

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"Successful": self._successful}
        if self._failed:
            answer["Failed"] = self._failed
        return answer


def _each(entries: list[dict[str, Any]], act: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    answer = _Answer()
    for entry in entries:
        try:
            act(entry)
        except ApiError as error:
            answer.fail(entry["Id"], error)
        else:
            answer.succeed(entry["Id"])
    return answer.answer()


def _entries(request: dict[str, Any], shape: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = request["Entries"]
    if not entries:
        raise EmptyBatchRequest(f"There should be at least one {shape} in the request.")
    if len(entries) > _BATCH_ENTRIES_MAX:
        raise TooManyEntriesInBatchRequest(
            f"Maximum number of entries per request are {_BATCH_ENTRIES_MAX}. You have sent {len(entries)}."
        )
    seen: set[str] = set()
    for entry in entries:
        if _ENTRY_ID.fullmatch(entry["Id"]) is None:
            raise InvalidBatchEntryId(
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most "
                "80 letters long."
            )
        if entry["Id"] in seen:
            raise BatchEntryIdsNotDistinct(f"Id {entry['Id']} repeated.")
        seen.add(entry["Id"])
    return entries


def _within(request: dict[str, Any], name: str, low: int, high: int, *, default: int) -> int:
    value: int | None = request.get(name)
    if value is None:
        return default
    if not low <= value <= high:
        raise InvalidParameterValue(
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {low} and {high}, if provided."
        )
    return value


def _handle(number: int, key: bytes, receipt: int) -> str:
    return base64.urlsafe_b64encode(key32(number) + key[4:12] + key64(receipt)).decode().rstrip("=")


def _stored(outcome: Deposited) -> Stored:
    if isinstance(outcome, Stored):
        return outcome
    if isinstance(outcome, Retryable):
        raise RequestThrottled(outcome.message)
    raise InvalidParameterValue(outcome.message)


def _sent(draft: Draft, stored: Stored, *, fifo: bool) -> dict[str, str]:
    answer = {"MessageId": stored.message_id, "MD5OfMessageBody": body_md5(draft.body)}
    if draft.attributes:
        answer["MD5OfMessageAttributes"] = attributes_md5(draft.attributes)
    if draft.trace_header:
        answer["MD5OfMessageSystemAttributes"] = attributes_md5(
            {"AWSTraceHeader": ("String", draft.trace_header.encode())}
        )
    if fifo:
        answer["SequenceNumber"] = sequence_number(stored.position)
    return answer
