"""Events from a queue of any SQS-protocol endpoint.

Promises: a message is deleted only after all of its events are on disk; a message with one event that cannot be taken
is left whole to the queue's own redrive policy, counted, and told in the log once a minute; a redelivered message
brings the same event ids. Errors of the endpoint and a store that cannot keep up slow the source down and never end
it; while the store fails or is full nothing is received. Cancelled, it lets the batch in hand finish and starts no
other. It knows messages, not what makes an event valid: that is the intake's, which takes a message's events all or
none.

Untrusted messages are PutEvents entries, trusted ones EventBridge's envelopes (bare or wrapped by SNS), one or a list.
"""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import anyio
import msgspec

from router import limits
from router.config import SqsSource as SqsSourceConfig
from router.core.arn import queue_arn
from router.core.event import Location, message_event_id
from router.errors import ServiceUnavailable, ThrottlingException
from router.metrics import QueueSourceCounters
from router.sinks.endpoints import Service
from router.sinks.failures import Failure
from router.sinks.http_client import HttpClient, Response
from router.sources.outcome import STORE_FAILED, THROTTLED, Refused, Taken
from router.store.base import StoreError
from router.world import World

_RECEIVED_BYTES_MAX = 64 * 1024 * 1024  # ours: ten messages of 1 MB, each byte of which may be six in JSON
_BACKOFF_BASE_S = 0.5  # ours
_BACKOFF_CAP_S = 30.0  # ours
_EMPTY_RECEIVE_S_MIN = 1.0  # ours: an empty queue is not asked more often by one poller
_FORGET_S = 60.0  # ours: a queue so long empty holds nothing that the hub could not take
_LOOK_AGAIN_S = 0.25  # ours: how often it is asked whether the hub takes events again
_DELETE_TRIES = 3  # ours: a message that is not deleted comes back and is put again

_log = logging.getLogger(__name__)


Message = Sequence[tuple[bytes, str]]
"""A queue message taken apart: each event's JSON object text, and the id that it gets where it brings none."""


class Intake(Protocol):
    """Where a source's events go."""

    async def put_messages(
        self, location: Location, bus: str, *, trusted: bool, messages: Sequence[Message]
    ) -> Sequence[Taken | Refused]:
        """One outcome for each message, in order; what is taken is on disk when this returns.

        All events of a message are taken (or withheld by the trails), or none is. `Refused` with the code of THROTTLED
        or STORE_FAILED means not now; StoreError, ThrottlingException and ServiceUnavailable mean that for all.
        """
        ...


class State(msgspec.Struct, frozen=True):
    """Whether the source works, since when, and the last error (without secrets)."""

    ok: bool
    since_ms: int
    error: str | None = None


class SqsSource:
    """One queue of the hub file; see the module's contract. `run` until cancelled. `failure` says why the hub cannot
    take events now, or None."""

    def __init__(
        self,
        config: SqsSourceConfig,
        *,
        intake: Intake,
        client: HttpClient,
        world: World,
        counters: QueueSourceCounters,
        failure: Callable[[], str | None],
        timeout_s: float = limits.SINK_TIMEOUT_S,
        take_s_max: float = limits.DRAIN_S_MAX,
        backoff_base_s: float = _BACKOFF_BASE_S,
        empty_receive_s_min: float = _EMPTY_RECEIVE_S_MIN,
    ) -> None:
        self.name = config.queue_url
        self.counters = counters
        self.postponed = 0
        """Messages left in the queue because the hub could not take events, each time."""
        self.delete_errors = 0
        """Messages that were taken and could not be deleted."""
        self.state = State(ok=True, since_ms=world.now_ms())
        self._config = config
        self._location = Location(config.account, config.region)
        self._arn = _arn_of(config.queue_url, config.queue_region)
        self._intake = intake
        self._failure = failure
        self._world = world
        self._timeout_s = timeout_s
        self._take_s_max = take_s_max
        self._backoff_base_s = backoff_base_s
        self._empty_receive_s_min = empty_receive_s_min
        self._service = Service(
            "sqs",
            config.queue_region,
            url=config.endpoint,
            keys=config.credentials,
            client=client,
            world=world,
            body_bytes_max=_RECEIVED_BYTES_MAX,
        )
        self._receive_request = _encode(_Receive(config.queue_url, 10, config.wait_s))
        self._failures = 0
        self._postponements = 0
        self._resume_at = 0.0
        self._refused_untold = 0
        self._refused_last = ""

    async def run(self) -> None:
        """Take events until cancelled."""
        async with anyio.create_task_group() as group:
            for _ in range(self._config.pollers):
                group.start_soon(self._poll)
            group.start_soon(self._tell_refused)

    async def _poll(self) -> None:
        while True:
            if (pause_s := self._pause_s()) > 0:
                await anyio.sleep(pause_s)
                continue
            started = self._world.monotonic()
            messages = await self._receive()
            if isinstance(messages, str):
                await anyio.sleep(self._failed(messages))
                continue
            self._failures = 0
            if not messages and started - self._resume_at > _FORGET_S:
                self._postponements = 0
            self._works()
            if messages:
                # A cancelled hub first finishes what it has in hand: events taken but not deleted would come again.
                with anyio.CancelScope(shield=True):
                    await self._process(messages)
            elif (left_s := self._empty_receive_s_min - (self._world.monotonic() - started)) > 0:
                await anyio.sleep(left_s)

    def _pause_s(self) -> float:
        """How long not to receive: a message that the hub could not take would be received for nothing, and a queue
        counts that against it."""
        failure = self._failure()
        if failure is not None:
            self._note(f"the hub cannot take events: {failure}")
            return _LOOK_AGAIN_S
        return self._resume_at - self._world.monotonic()

    async def _receive(self) -> "list[_Received] | str":
        """Up to ten messages, or what went wrong."""
        answer = await self._service.json(
            "AmazonSQS.ReceiveMessage",
            "1.0",
            self._receive_request,
            deadline=self._world.monotonic() + self._config.wait_s + self._timeout_s,
        )
        if not isinstance(answer, Response):
            return _told(answer)
        try:
            messages = _decode_received(answer.body).messages or []
        except (msgspec.DecodeError, UnicodeDecodeError):
            return f"{self._service.what}: expected the answer of ReceiveMessage, got something else"
        self.counters.received += len(messages)
        return messages

    async def _process(self, received: "Sequence[_Received]") -> None:
        """Have the events taken, then delete the messages whose events are all on disk."""
        messages: list[Message] = []
        sources: list[_Received] = []
        for source in received:
            try:
                messages.append(read_message(self._arn, source.message_id, source.body, trusted=self._config.trusted))
                sources.append(source)
            except BadMessage as bad:
                self._refuse(source.message_id, str(bad))
        if not messages:
            return
        outcomes: Sequence[Taken | Refused] | None = None
        reason = f"it did not take them within {self._take_s_max:g} s"
        with anyio.move_on_after(self._take_s_max):
            try:
                outcomes = await self._intake.put_messages(
                    self._location, self._config.bus, trusted=self._config.trusted, messages=messages
                )
            except (StoreError, ThrottlingException, ServiceUnavailable) as error:
                reason = str(error)
        if outcomes is None:
            self._postpone(len(messages), reason)
            return
        finished = []
        postponed = 0
        for source, message, outcome in zip(sources, messages, outcomes, strict=True):
            if isinstance(outcome, Taken):
                self.counters.taken += len(message)
                finished.append(source.receipt_handle)
            elif outcome.code in (THROTTLED.code, STORE_FAILED.code):
                postponed += 1
            else:
                self._refuse(source.message_id, f"{outcome.code}: {outcome.message}")
        if postponed:
            self._postpone(postponed, "it is not keeping up")
        else:
            self._postponements = 0
        if finished:
            await self._delete(finished)

    async def _delete(self, handles: Sequence[str]) -> None:
        """Delete messages, again where that fails for now: one that stays is put again when it comes back."""
        left = dict(enumerate(handles))
        deadline = self._world.monotonic() + self._timeout_s
        for attempt in range(_DELETE_TRIES):
            if attempt:
                await anyio.sleep(self._jittered_s(attempt))
            entries = [_DeleteEntry(str(index), handle) for index, handle in left.items()]
            answer = await self._service.json(
                "AmazonSQS.DeleteMessageBatch",
                "1.0",
                _encode(_Delete(self._config.queue_url, entries)),
                deadline=deadline,
            )
            for index in _deleted(answer):
                if left.pop(index, None) is not None:
                    self.counters.deleted += 1
            if not left:
                return
        self.delete_errors += len(left)

    def _refuse(self, message_id: str, reason: str) -> None:
        self.counters.refused += 1
        self._refused_untold += 1
        self._refused_last = f"message {message_id}: {reason}"

    async def _tell_refused(self) -> None:
        while True:
            await anyio.sleep(limits.SQS_SOURCE_LOG_INTERVAL_S)
            self.tell_refused()

    def tell_refused(self) -> None:
        """Log how many messages could not be taken since the last time, if any."""
        if self._refused_untold:
            _log.warning(
                "%d messages of %s cannot be taken and stay in the queue; the last was %s",
                self._refused_untold,
                self.name,
                self._refused_last,
            )
            self._refused_untold = 0

    def _postpone(self, count: int, reason: str) -> None:
        """Leave messages that the hub cannot take now, and stop all pollers for a while."""
        self.postponed += count
        now = self._world.monotonic()
        if now >= self._resume_at:
            self._postponements += 1
            self._resume_at = now + self._jittered_s(self._postponements)
        self._note(f"the hub cannot take events: {reason}")

    def _failed(self, reason: str) -> float:
        """Note that receiving failed; how long to wait before the next try."""
        self.counters.receive_errors += 1
        self._failures += 1
        self._note(reason)
        return self._jittered_s(self._failures)

    def _note(self, error: str) -> None:
        if self.state.ok:
            _log.warning("taking events from %s fails: %s", self.name, error)
            self.state = State(ok=False, since_ms=self._world.now_ms(), error=error)
        else:
            self.state = State(ok=False, since_ms=self.state.since_ms, error=error)

    def _works(self) -> None:
        if not self.state.ok and not self._postponements:
            _log.warning("taking events from %s works again", self.name)
            self.state = State(ok=True, since_ms=self._world.now_ms())

    def _jittered_s(self, failures: int) -> float:
        """Half of it is random, so that many pollers do not come back in step; never near zero."""
        ceiling_s = min(_BACKOFF_CAP_S, self._backoff_base_s * 2.0 ** min(failures - 1, 16))
        return ceiling_s * (0.5 + 0.5 * self._world.random())


class BadMessage(ValueError):
    """The message's body is not what the queue is said to bring."""


def read_message(queue_arn: str, message_id: str, body: str, *, trusted: bool) -> Message:
    """A message's events, not looked into, with their ids. Raises `BadMessage`."""
    text = body.encode("utf-8", "surrogatepass").strip(b" \t\r\n")
    try:
        if trusted and text[:1] == b"{" and b'"Notification"' in text:
            text = _unwrapped(text).strip(b" \t\r\n")
        events = _decode_list(text) if text[:1] == b"[" else [_decode_one(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"expected one JSON object or a list of them: {error}") from error
    texts = [bytes(event) for event in events]
    for index, event in enumerate(texts):
        if event[:1] != b"{":
            raise BadMessage(f"expected JSON objects, got something else - at `$[{index}]`")
    if not texts:
        raise BadMessage("expected at least one event, got an empty list")
    return [(event, message_event_id(queue_arn, message_id, index)) for index, event in enumerate(texts)]


def _unwrapped(text: bytes) -> bytes:
    """What SNS carries in a notification; an envelope that only speaks of notifications stays as it is."""
    try:
        notification = _decode_notification(text)
    except msgspec.ValidationError:
        return text
    return notification.message.encode() if notification.type == "Notification" else text


_QUEUE_PATH = re.compile(r"/([0-9]{12})/([A-Za-z0-9_-]+(?:\.fifo)?)")


def _arn_of(queue_url: str, region: str) -> str:
    """The queue's ARN, which stays when its endpoint moves; the URL itself where that does not tell it."""
    match = _QUEUE_PATH.fullmatch(urlsplit(queue_url).path)
    return queue_arn(Location(match[1], region), match[2]) if match else queue_url


class _Receive(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str
    max_number_of_messages: int
    wait_time_seconds: int


class _Received(msgspec.Struct, frozen=True, rename="pascal"):
    message_id: str
    receipt_handle: str
    body: str


class _ReceiveAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    messages: list[_Received] | None = None


class _DeleteEntry(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    receipt_handle: str


class _Delete(msgspec.Struct, frozen=True, rename="pascal"):
    queue_url: str
    entries: list[_DeleteEntry]


class _Deleted(msgspec.Struct, frozen=True, rename="pascal"):
    id: str


class _DeleteAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    successful: list[_Deleted] | None = None


class _Notification(msgspec.Struct, frozen=True, rename="pascal"):
    type: str
    message: str


_encode = msgspec.json.Encoder().encode
_decode_received = msgspec.json.Decoder(_ReceiveAnswer).decode
_decode_deleted = msgspec.json.Decoder(_DeleteAnswer).decode
_decode_notification = msgspec.json.Decoder(_Notification).decode
_decode_one = msgspec.json.Decoder(msgspec.Raw).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _deleted(answer: Response | Failure) -> list[int]:
    """The indices of the entries that are deleted."""
    if not isinstance(answer, Response):
        return []
    try:
        return [int(entry.id) for entry in _decode_deleted(answer.body).successful or ()]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return []


def _told(failure: Failure) -> str:
    return f"{failure.code}: {failure.message}"
