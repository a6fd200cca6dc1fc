"""The simulated accounts' durable inboxes: one for each queue, log group, topic, function or stream.

Promises. A message is there once the batch it was deposited into is durable, and only then; its bytes stay on disk, so
memory does not grow with what waits (see `visibility` for what does). Queues must exist before they are deposited into;
every other inbox appears on first use, in the batch of its first message.

Counts. `Inbox.count` is what is durable: it goes up in a batch's callback, which a batch that failed never runs, and
down once for each durable deletion; so there is nothing to give back. The bound `messages_max` is checked against that
count and what the same batch brings; it can be overshot by what other batches are writing at that moment (at most one
`batch_max` a target, and the requests in flight). Counts are written at a clean stop (`close`), and the first change
after it deletes them in its own batch; a start that finds none counts the rows (about 0.9 s a million).

Deleting or purging is one small transaction whatever the size: the inbox gets another number, the old one is marked
gone and `Housekeeping` removes its rows. What is being deposited at that moment may go with them, as on AWS.

It must not know requests, rules or retries.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from router import limits
from router.core.arn import InvalidArn, parse
from router.errors import LimitExceededException, ResourceNotFoundException
from router.simulator.arrival import Arrival
from router.simulator.inbox import Inbox, InboxInfo, Row, settings_of
from router.simulator.records import (
    DEDUPLICATION,
    KINDS,
    TALLIES_KEY,
    Draft,
    InboxRecord,
    Message,
    Stored,
    Tallies,
    decode_message,
    decode_record,
    decode_tallies,
    delayed_position,
    encode_message,
    encode_record,
    message_bytes,
    message_key,
    position_of,
    text_attributes,
)
from router.simulator.visibility import Taking
from router.sinks.base import Rejected, Retryable
from router.store.base import Batch, Store, StoreError, Table, key32
from router.world import World

INBOXES_MAX = 100_000
"""Ours: over all locations."""
NO_QUEUE = Rejected("NO_RESOURCE", "The specified queue does not exist or you do not have access to it.")
_PAGE_ROWS = 1000
_IDS_AT_ONCE = 256

Deposited = Stored | Retryable | Rejected


class Inboxes:
    """All inboxes of the hub. Call `load` before anything else and `close` before the store is closed."""

    def __init__(self, store: Store, world: World, *, messages_max: int) -> None:
        self.store = store
        self.world = world
        self._messages_max = messages_max
        self._by_arn: dict[str, Inbox] = {}
        self.gone: dict[int, InboxRecord] = {}
        """Deleted and purged inboxes whose rows are to be removed, by number."""
        self._next_number = 1
        self._tallies_on_disk = False
        self._arrivals: dict[int, Arrival] = {}
        self._ids: list[str] = []
        self._changes = asyncio.Lock()
        self.removals = asyncio.Event()
        """Set when there is something new in `gone`."""
        self.stopping = False

    # start and stop

    def load(self) -> None:
        """Read what inboxes there are; raises StoreError for a row that cannot be read."""
        tallies: Tallies | None = None
        start = b""
        while rows := self.store.scan(Table.INBOXES, start, limit=_PAGE_ROWS):
            start = rows[-1][0] + b"\0"
            for key, value in rows:
                try:
                    if key == TALLIES_KEY:
                        tallies = decode_tallies(value)
                    else:
                        self._load_row(int.from_bytes(key, "big"), decode_record(value))
                except msgspec.DecodeError as error:
                    raise StoreError(f"row {key.hex()} of the table of inboxes cannot be read: {error}") from error
        self._tallies_on_disk = tallies is not None
        for inbox in self._by_arn.values():
            if tallies is not None:
                inbox.count = tallies.counts.get(inbox.number, 0)
                inbox.streams = tallies.streams.get(inbox.number, {})
            if tallies is None or inbox.settings is not None:
                self._count(inbox, everything=tallies is None)

    def _load_row(self, number: int, record: InboxRecord) -> None:
        self._next_number = max(self._next_number, number + 1)
        if record.gone_ms is not None:
            self.gone[number] = record
        else:
            self._by_arn[record.arn] = Inbox(number, record, durable=True)

    def _count(self, inbox: Inbox, *, everything: bool) -> None:
        """Count what is not in the tallies: all rows, or only the delayed ones that are not due."""
        (start, stop), (delayed_start, delayed_stop) = inbox.areas()
        if everything:
            for rows in self._pages(start, stop):
                inbox.count += len(rows)
                if inbox.record.kind == "logs":
                    for _, value in rows:
                        inbox.tally(decode_message(value))
        else:
            delayed_start = message_key(inbox.prefix, delayed_position(self.world.now_ms(), 0))
        for rows in self._pages(delayed_start, delayed_stop):
            inbox.count += len(rows) if everything else 0
            for key, _ in rows:
                inbox.note_delayed(position_of(key))

    def _pages(self, start: bytes, stop: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        while rows := self.store.scan(Table.MESSAGES, start, stop, limit=_PAGE_ROWS):
            yield rows
            start = rows[-1][0] + b"\0"

    def stop(self) -> None:
        """Let every long poll answer now, with what there is."""
        self.stopping = True
        for inbox in self._by_arn.values():
            inbox.wake()

    async def close(self) -> None:
        """Write the counts. Nothing may be deposited or deleted after this; raises StoreError."""
        self.stop()
        tallies = Tallies(
            {inbox.number: inbox.count for inbox in self._by_arn.values() if inbox.count and inbox.durable},
            {inbox.number: inbox.streams for inbox in self._by_arn.values() if inbox.streams and inbox.durable},
        )
        batch = Batch(essential=True)
        batch.put(Table.INBOXES, TALLIES_KEY, encode_record(tallies))
        batch.then(partial(self._set_tallied, True))
        await self.store.commit(batch)

    # depositing: the hot path

    def deposit(
        self,
        batch: Batch,
        *,
        arn: str,
        body: bytes,
        attributes: Mapping[str, str] | None = None,
        trace_header: str | None = None,
        group_id: str | None = None,
        dedup_id: str | None = None,
        event_id: str | None = None,
    ) -> Retryable | Rejected | None:
        """Put one message into `batch`; None: it will be there once the batch is durable."""
        draft = Draft(body, text_attributes(attributes), trace_header, group_id, dedup_id, event_id)
        outcome = self.deposit_many(batch, arn, (draft,))[0]
        return None if isinstance(outcome, Stored) else outcome

    def deposit_many(self, batch: Batch, arn: str, drafts: Sequence[Draft]) -> list[Deposited]:
        """Put messages for one inbox into `batch`; what became of each, in order.

        A FIFO duplicate gets what its original got, and adds nothing.
        """
        inbox = self._by_arn.get(arn) or self._open(arn)
        if not isinstance(inbox, Inbox):
            return [inbox] * len(drafts)
        settings = inbox.settings
        if not inbox.durable:
            if settings is not None:
                return [NO_QUEUE] * len(drafts)
            batch.put(Table.INBOXES, key32(inbox.number), encode_record(inbox.record))
        arrival = self._arriving(batch, inbox)
        now_ms = self.world.now_ms()
        first = self.store.sequences(len(drafts))
        bytes_max = settings.message_bytes_max if settings else limits.MESSAGE_BYTES_MAX
        delay_s = settings.delay_s if settings else 0
        room = self._messages_max - inbox.count - arrival.count
        outcomes: list[Deposited] = []
        fifo = settings is not None and settings.fifo
        for sequence, draft in enumerate(drafts, first):
            scoped: str | None = None
            if len(draft.body) > bytes_max or (
                draft.attributes and message_bytes(draft.body, draft.attributes) > bytes_max
            ):
                outcomes.append(
                    Rejected(
                        "INVALID_PARAMETER",
                        f"One or more parameters are invalid. Reason: Message must be shorter than {bytes_max} bytes.",
                    )
                )
                continue
            if fifo:
                known = arrival.check(draft)
                if not isinstance(known, str):
                    outcomes.append(known)
                    continue
                scoped = known
            if room <= 0:
                outcomes.append(self._full(inbox))
                continue
            room -= 1
            position = sequence
            wait_s = delay_s if draft.delay_s is None else draft.delay_s
            if wait_s and scoped is None:
                position = delayed_position(now_ms + wait_s * 1000, sequence)
            stored = Stored((self._ids or self._more_ids()).pop(), position)
            message = Message(
                stored.message_id,
                now_ms,
                draft.body,
                draft.event_id,
                draft.attributes,
                draft.trace_header,
                draft.group_id,
                draft.dedup_id if scoped is None else scoped.rpartition("\0")[2],
                draft.sender,
                stream=draft.stream,
                timestamp_ms=draft.timestamp_ms,
            )
            batch.put(Table.MESSAGES, message_key(inbox.prefix, position), encode_message(message))
            arrival.add(stored, message, scoped)
            outcomes.append(stored)
        return outcomes

    def _arriving(self, batch: Batch, inbox: Inbox) -> Arrival:
        """The one record of what `batch` brings to `inbox`; its callback runs when the batch is durable."""
        arrival = self._arrivals.get(inbox.number)
        if arrival is None or arrival.batch is not batch:
            arrival = self._arrivals[inbox.number] = Arrival(batch, inbox, self.store, self.world)
            self._untally(batch)
            batch.then(partial(self._arrived, arrival))
        return arrival

    def _arrived(self, arrival: Arrival) -> None:
        if self._arrivals.get(arrival.inbox.number) is arrival:
            del self._arrivals[arrival.inbox.number]
        arrival.durable()

    def _untally(self, batch: Batch) -> None:
        if self._tallies_on_disk:
            batch.delete(Table.INBOXES, TALLIES_KEY)
            batch.then(partial(self._set_tallied, False))

    def _set_tallied(self, on_disk: bool) -> None:
        self._tallies_on_disk = on_disk

    def _more_ids(self) -> list[str]:
        self._ids = self.world.uuids(_IDS_AT_ONCE)
        return self._ids

    def _full(self, inbox: Inbox) -> Retryable:
        return Retryable(
            "RESOURCE_LIMIT_EXCEEDED",
            f"The inbox {inbox.record.arn} is full: it holds {inbox.count} messages, at most {self._messages_max} "
            "may wait in one (inboxes.messages_max)",
        )

    def _open(self, arn: str) -> Inbox | Rejected | Retryable:
        """The inbox of an ARN that is not in its plain form or has none yet."""
        try:
            parsed = parse(arn)
        except InvalidArn as error:
            return Rejected("INVALID_PARAMETER", str(error))
        if parsed.service not in KINDS:
            return Rejected("NO_RESOURCE", f"No inbox can stand for {arn}: expected one of {', '.join(KINDS)}")
        plain = arn.removesuffix(":*") if parsed.service == "logs" else arn
        found = self._by_arn.get(plain)
        if found is not None:
            return found
        if parsed.service == "sqs":
            return NO_QUEUE
        if len(self._by_arn) >= INBOXES_MAX:
            return Retryable(
                "RESOURCE_LIMIT_EXCEEDED", f"There are {len(self._by_arn)} inboxes, at most {INBOXES_MAX} may be"
            )
        return self._new(plain, parsed.service, {}, {})

    def _new(self, arn: str, kind: str, attributes: dict[str, str], tags: dict[str, str]) -> Inbox:
        now_ms = self.world.now_ms()
        record = InboxRecord(
            arn=arn, kind=kind, created_ms=now_ms, modified_ms=now_ms, attributes=attributes, tags=tags
        )
        inbox = self._by_arn[arn] = Inbox(self._take_number(), record, durable=False)
        return inbox

    def _take_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    # receiving and deleting

    def take(self, inbox: Inbox, wanted: int, *, visibility_s: float) -> tuple[Taking, Batch]:
        """Hand out at most `wanted` messages of a queue; commit the batch, where it holds anything, before they leave.

        The batch deletes what is too old, moves what was received too often to the dead-letter queue, and keeps
        receive counts for queues that have one. A dead-letter queue that is gone or full takes nothing: its messages
        are handed out again.
        """
        settings = inbox.settings
        assert settings is not None, f"{inbox.record.arn} is not a queue"
        letters = self.find(settings.dead_letter_arn) if settings.dead_letter_arn else None
        if letters is not None and letters.count >= self._messages_max:
            letters = None
        taking = Taking(
            wanted,
            settings,
            visibility_s=visibility_s,
            receives_max=settings.receives_max if letters else 0,
            world=self.world,
        )
        inbox.queue(self.store, self.world).take(taking)
        batch = Batch(essential=not taking.moved)
        if taking.expired:
            self.remove(batch, inbox, taking.expired)
        if taking.moved and letters is not None:
            self._move(batch, inbox, letters, taking.moved)
        if settings.receives_max:
            for taken in taking.messages:
                counted = msgspec.structs.replace(
                    taken.message, received=taken.received, first_received_ms=taken.first_received_ms
                )
                batch.put(Table.MESSAGES, taken.key, encode_message(counted))
        return taking, batch

    def _move(self, batch: Batch, inbox: Inbox, letters: Inbox, messages: list[tuple[bytes, Message]]) -> None:
        """To the dead-letter queue: the same id, and in standard queues the time sent ("SQS dead-letter queues")."""
        now_ms = self.world.now_ms()
        first = self.store.sequences(len(messages))
        arrival = self._arriving(batch, letters)
        for position, (_, message) in enumerate(messages, first):
            fifo = letters.settings is not None and letters.settings.fifo
            moved = msgspec.structs.replace(
                message,
                sent_ms=now_ms if fifo else message.sent_ms,
                received=0,
                first_received_ms=0,
                source_arn=inbox.record.arn,
            )
            batch.put(Table.MESSAGES, message_key(letters.prefix, position), encode_message(moved))
            arrival.add(Stored(message.id, position), moved, None)
        self.remove(batch, inbox, [key for key, _ in messages])

    def remove(self, batch: Batch, inbox: Inbox, keys: Sequence[bytes]) -> None:
        """Delete messages that `inbox.queue` has read."""
        self._untally(batch)
        for key in keys:
            batch.delete(Table.MESSAGES, key)
        batch.then(partial(self._removed, inbox, keys))

    def _removed(self, inbox: Inbox, keys: Sequence[bytes]) -> None:
        queue = inbox.queue(self.store, self.world)
        inbox.count -= sum(queue.gone(key) for key in keys)
        inbox.wake()

    def get(self, inbox: Inbox, key: bytes) -> Message | None:
        value = self.store.get(Table.MESSAGES, key)
        return None if value is None else decode_message(value)

    # reading

    def all(self) -> Iterator[Inbox]:
        """Every durable inbox there is now."""
        return iter([inbox for inbox in self._by_arn.values() if inbox.durable])

    def find(self, arn: str) -> Inbox | None:
        """The durable inbox of this ARN."""
        inbox = self._by_arn.get(arn)
        return inbox if inbox is not None and inbox.durable else None

    def arns(self, prefix: str) -> list[str]:
        """The ARNs of durable inboxes that start with `prefix`, sorted."""
        return sorted(arn for arn, inbox in self._by_arn.items() if inbox.durable and arn.startswith(prefix))

    def page(
        self, *, kind: str | None = None, account: str | None = None, after: str = "", limit: int = 100
    ) -> list[InboxInfo]:
        """Inboxes by ARN, those after the ARN `after`."""
        arns = self.arns("")
        if kind:
            arns = [arn for arn in arns if self._by_arn[arn].record.kind == kind]
        if account:
            arns = [arn for arn in arns if arn.split(":", 5)[4] == account]
        start = bisect_right(arns, after)
        return [self._info(self._by_arn[arn]) for arn in arns[start : start + limit]]

    def describe(self, arn: str) -> InboxInfo:
        """Raises ResourceNotFoundException."""
        return self._info(self._existing(arn))

    @staticmethod
    def _info(inbox: Inbox) -> InboxInfo:
        record = inbox.record
        return InboxInfo(record.arn, record.kind, inbox.count, record.created_ms, record.attributes)

    def read(self, arn: str, *, after: int = -1, limit: int = 100) -> list[Row]:
        """Messages after a position, oldest first; nothing is removed or hidden. Raises ResourceNotFoundException."""
        return self.rows(self._existing(arn), after + 1, limit=limit)

    def rows(self, inbox: Inbox, start: int, stop: int = DEDUPLICATION, *, limit: int) -> list[Row]:
        """The messages at start <= position < stop, at most `limit`."""
        rows = self.store.scan(
            Table.MESSAGES, message_key(inbox.prefix, start), message_key(inbox.prefix, stop), limit=limit
        )
        return [Row(position_of(key), decode_message(value)) for key, value in rows]

    def is_used(self, number: int) -> bool:
        """Whether an inbox that still exists has this number."""
        return any(inbox.number == number for inbox in self._by_arn.values())

    def _existing(self, arn: str) -> Inbox:
        inbox = self.find(arn)
        if inbox is None:
            raise ResourceNotFoundException(f"There is no inbox {arn}.")
        return inbox

    # configuring; each returns once it is on disk and raises StoreError when it is not

    async def create(
        self, arn: str, kind: str, attributes: dict[str, str], tags: dict[str, str]
    ) -> tuple[InboxRecord, bool]:
        """The inbox's record, and whether it is new; one that exists stays as it is."""
        async with self._changes:
            inbox = self._by_arn.get(arn)
            if inbox is not None and inbox.durable:
                return inbox.record, False
            if inbox is None:
                if len(self._by_arn) >= INBOXES_MAX:
                    raise LimitExceededException(
                        f"There are {len(self._by_arn)} inboxes, at most {INBOXES_MAX} may be."
                    )
                inbox = self._new(arn, kind, attributes, tags)
            await self._save(inbox, msgspec.structs.replace(inbox.record, attributes=attributes, tags=tags))
            return inbox.record, True

    async def change(self, inbox: Inbox, edit: Callable[[InboxRecord], InboxRecord]) -> None:
        """Replace an inbox's record by what `edit` makes of it; raises ResourceNotFoundException."""
        async with self._changes:
            if self._by_arn.get(inbox.record.arn) is not inbox:
                raise ResourceNotFoundException(f"The inbox {inbox.record.arn} was deleted meanwhile.")
            await self._save(inbox, edit(inbox.record))

    async def _save(self, inbox: Inbox, record: InboxRecord) -> None:
        batch = Batch()
        batch.put(Table.INBOXES, key32(inbox.number), encode_record(record))
        batch.then(partial(inbox.saved, record, settings_of(record)))
        await self.store.commit(batch)

    async def delete(self, arn: str) -> bool:
        """Remove an inbox and all it holds; False when there is none."""
        return await self._replace(arn, keep=False)

    async def purge(self, arn: str) -> bool:
        """Remove all that an inbox holds; False when there is no such inbox."""
        return await self._replace(arn, keep=True)

    async def _replace(self, arn: str, *, keep: bool) -> bool:
        async with self._changes:
            old = self.find(arn)
            if old is None:
                return False
            batch = Batch(essential=True)
            self._untally(batch)
            gone = msgspec.structs.replace(old.record, gone_ms=self.world.now_ms())
            batch.put(Table.INBOXES, key32(old.number), encode_record(gone))
            new = None
            if keep:
                new = Inbox(self._take_number(), old.record, durable=True)
                batch.put(Table.INBOXES, key32(new.number), encode_record(new.record))
            batch.then(partial(self._replaced, old, new, gone))
            await self.store.commit(batch)
            return True

    def _replaced(self, old: Inbox, new: Inbox | None, gone: InboxRecord) -> None:
        if new is None:
            del self._by_arn[old.record.arn]
        else:
            self._by_arn[old.record.arn] = new
        self.gone[old.number] = gone
        self.removals.set()
        old.wake()
