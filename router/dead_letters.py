"""Dead letters: deliveries that are given up, with their reason.

With a dead-letter queue the payload goes there, with the message attributes that AWS gives it ("eb-rule-dlq"): into
the queue's inbox within the transaction that settles the delivery, or on to the real queue as a delivery of its own.
Without one, or where the queue does not take it, the dead letter is kept here: it can be listed, shown and redriven.
AWS would lose it.
"""

from collections.abc import Callable, Iterator

import msgspec

from router.catalog.model import Target
from router.errors import ResourceNotFoundException, ValidationException
from router.lanes import DEAD_LETTER_QUEUE, DeadLetter, DeadLetterMessage, Lanes, Progress, encoded
from router.metrics import LetterCounters
from router.simulator.inboxes import Inboxes
from router.sinks.base import Accepted, Rejected, Retryable
from router.sinks.failures import shown
from router.store.base import Batch, Store, StoreError, Table, key64
from router.trace import LetterPlace, Trace, untraced
from router.world import World

_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(DeadLetter).decode
_SWEEP_ROWS = 1000


class DeadLetters:
    """The dead letters of one hub; `count` is how many are kept."""

    def __init__(
        self,
        store: Store,
        inboxes: Inboxes,
        world: World,
        *,
        is_real_queue: Callable[[str], bool],
        age_s_max: int,
        count_max: int,
        trace: Trace | None = None,
    ) -> None:
        self._store = store
        self._inboxes = inboxes
        self._world = world
        self._is_real_queue = is_real_queue
        self._age_s_max = age_s_max
        self._count_max = count_max
        self._trace = trace or untraced(store, world)
        self.count = 0
        self.expired = 0
        self._leaving: set[int] = set()
        """Those whose redrive or deletion is being written."""

    def load(self) -> None:
        self.count = sum(len(found) for found in self._pages())

    def give_up(
        self,
        batch: Batch,
        *,
        accepted: Accepted,
        payload: bytes,
        rule_arn: str,
        target_id: str,
        target: Target | None,
        failure: Retryable | Rejected,
        attempts: int,
        condition: str | None,
        counters: LetterCounters,
        lanes: Lanes,
    ) -> LetterPlace:
        """Put what follows from giving a delivery up into `batch`, the one that settles it."""
        letter = DeadLetter(
            accepted,
            rule_arn,
            target_id,
            target.arn if target else None,
            failure.code,
            failure.message,
            attempts,
            condition,
            self._world.now_ms(),
        )
        queue = target.dead_letter_config.arn if target and target.dead_letter_config else None
        if not queue:
            return LetterPlace(None, self._keep(batch, letter))
        if self._is_real_queue(queue):
            return self._send_on(batch, queue, DeadLetterMessage(letter, payload, _attributes(letter)), lanes)
        refusal = self._inboxes.deposit(
            batch, arn=queue, body=payload, attributes=_attributes(letter), trace_header=accepted.trace_header
        )
        if refusal is not None:
            return LetterPlace(queue, self.queue_failed(batch, letter, refusal, counters).number)
        batch.then(counters.queued)
        return LetterPlace(queue)

    def queue_failed(
        self, batch: Batch, letter: DeadLetter, refusal: Retryable | Rejected, counters: LetterCounters
    ) -> LetterPlace:
        """Keep a dead letter whose queue does not take it."""
        refused = msgspec.structs.replace(letter, queue_failure=f"{refusal.code}: {refusal.message}")
        batch.then(counters.queue_failed)
        return LetterPlace(None, self._keep(batch, refused))

    def _keep(self, batch: Batch, letter: DeadLetter) -> int:
        number = self._store.sequences(1)
        batch.put(Table.DEAD_LETTERS, key64(number), _encode(letter))
        batch.then(lambda: self._add(1))
        return number

    def _send_on(self, batch: Batch, queue: str, message: DeadLetterMessage, lanes: Lanes) -> LetterPlace:
        """The dead letter becomes a delivery of its own, to the queue, with its own retries."""
        sequence = self._store.sequences(1)
        batch.put(Table.EVENTS, key64(sequence), encoded(message))
        lane = lanes.lane(DEAD_LETTER_QUEUE, queue, batch)
        now_ms = self._world.now_ms()
        lanes.add(lane, batch, due_ms=now_ms, sequence=sequence, progress=Progress(0, now_ms))
        batch.then(lambda: lanes.admit(lane, now_ms))
        return LetterPlace(queue, None, key64(sequence), now_ms)

    # what people do with them

    def rows(self) -> Iterator[tuple[int, DeadLetter]]:
        """All of them, oldest first, with their numbers; durable ones only."""
        for found in self._pages():
            for key, value in found:
                yield int.from_bytes(key, "big"), decode(value)

    def _pages(self) -> Iterator[list[tuple[bytes, bytes]]]:
        start = b""
        while found := self._store.scan(Table.DEAD_LETTERS, start, limit=_SWEEP_ROWS):
            yield found
            start = found[-1][0] + b"\0"

    def page(self, after: int, limit: int) -> list[tuple[int, DeadLetter]]:
        found = self._store.scan(Table.DEAD_LETTERS, key64(after + 1), limit=limit)
        return [(int.from_bytes(key, "big"), decode(value)) for key, value in found]

    def find(self, number: int) -> DeadLetter | None:
        value = self._store.get(Table.DEAD_LETTERS, key64(number))
        return None if value is None else decode(value)

    def get(self, number: int) -> DeadLetter:
        """Raises ResourceNotFoundException."""
        letter = self.find(number)
        if letter is None:
            raise ResourceNotFoundException(f"Dead letter {number} does not exist.")
        return letter

    async def redrive(self, number: int, *, lanes: Lanes, target_exists: Callable[[str, str], bool]) -> None:
        """Deliver it after all, with all its retries before it again. Raises ResourceNotFoundException where the dead
        letter is gone, ValidationException where its target is."""
        letter = self.get(number)
        if number in self._leaving:
            raise ResourceNotFoundException(f"Dead letter {number} does not exist: it is being redriven or deleted.")
        if not target_exists(letter.rule_arn, letter.target_id):
            raise ValidationException(
                f"Dead letter {number} cannot be redriven: target {letter.target_id} of {letter.rule_arn} does not "
                "exist any more. Put the target again first."
            )
        batch = Batch()
        sequence = self._store.sequences(1)
        now_ms = self._world.now_ms()
        batch.delete(Table.DEAD_LETTERS, key64(number))
        batch.put(Table.EVENTS, key64(sequence), encoded(letter.accepted))
        lane = lanes.lane(letter.rule_arn, letter.target_id, batch)
        lanes.add(lane, batch, due_ms=now_ms, sequence=sequence, progress=Progress(0, now_ms))
        self._trace.redriven(batch, now_ms, letter.accepted, number=number, sequence=sequence, lane=lane)
        batch.then(lambda: lanes.admit(lane, now_ms))
        await self._remove(batch, {number})

    async def sweep(self) -> int:
        """Delete what is too old, and the oldest of what is too many; how many went."""
        oldest_ms = self._world.now_ms() - self._age_s_max * 1000
        batch = Batch(essential=True)
        gone: set[int] = set()
        for number, letter in self.page(-1, _SWEEP_ROWS):
            if letter.dead_ms >= oldest_ms and self.count - len(gone) <= self._count_max:
                break
            if number not in self._leaving:
                batch.delete(Table.DEAD_LETTERS, key64(number))
                gone.add(number)
        if gone:
            await self._remove(batch, gone)
            self.expired += len(gone)
        return len(gone)

    async def _remove(self, batch: Batch, numbers: set[int]) -> None:
        """Commit a batch that removes dead letters. A caller that is cancelled meanwhile leaves them marked until it is
        known to be durable, so that none is redriven twice."""
        batch.then(lambda: self._removed(numbers))
        self._leaving |= numbers
        try:
            await self._store.commit(batch)
        except StoreError:
            self._leaving -= numbers
            raise

    def _removed(self, numbers: set[int]) -> None:
        self._leaving -= numbers
        self.count -= len(numbers)

    def _add(self, change: int) -> None:
        self.count += change


def _attributes(letter: DeadLetter) -> dict[str, str]:
    """The message attributes of "eb-rule-dlq". A queue takes none that is empty or has control characters, and would
    refuse the whole message for it."""
    assert letter.target_arn is not None, "a target that is gone has no queue either"
    attributes = {
        "RULE_ARN": letter.rule_arn,
        "TARGET_ARN": letter.target_arn,
        "ERROR_CODE": letter.code,
        "ERROR_MESSAGE": shown(letter.message) or letter.code,
    }
    if letter.condition is not None:
        attributes["EXHAUSTED_RETRY_CONDITION"] = letter.condition
        # 0 also where the event grew too old without having been tried at all.
        attributes["RETRY_ATTEMPTS"] = str(max(letter.attempts - 1, 0))
    return attributes
