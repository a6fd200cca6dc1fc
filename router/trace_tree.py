"""One event's story, read from the trace and from where deliveries live now: what accepted it, every delivery with its
attempts, and the same for what it became on other buses.

Theory. An event has one id within a region and one more after its hop across regions; everything that follows from it
names the id of its first put, as its own or as its parent's. So one pass over the log, in the order in which things
happened, finds the whole tree: rows that name the id, then the outcomes of the sequences that those rows gave. What is
not settled is then looked up in its row, without a wait in between, and where the two do not fit together (a commit
came between them) both are read again.

Rules.
- Work is done in small steps with turns for others between them, for one question at a time.
- Where the log does not go back to the event, what is pending and what is kept as a dead letter is looked through.
- An answer is bounded; what it leaves out is counted in it.

Nothing here changes anything.
"""

from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel
import msgspec

from router import limits
from router.core.delivery import State
from router.dead_letters import DeadLetters
from router.dead_letters import decode as decode_letter
from router.errors import ResourceNotFoundException
from router.lanes import (
    DEAD_LETTER_QUEUE,
    DeadLetter,
    Lane,
    LaneName,
    Lanes,
    decode_accepted,
    decode_dead_letter,
    decode_progress,
)
from router.sinks.base import Accepted
from router.store.base import Store, Table, key64
from router.trace import Failure, LetterPlace, Planned, Row, Settled, Trace, planned, read_plan, read_settled
from router.world import iso_ms

UNKNOWN = "unknown"
"""The state of a delivery of which the trace has the beginning, and nothing has the end."""
_STEP_ROWS = 200
_READS_MAX = 3


class TracedAttempt(msgspec.Struct, frozen=True):
    """One try; without a `code` it delivered. Its time is None where only its outcome is still known."""

    number: int
    at: str | None
    took_ms: int | None
    code: str | None
    message: str | None


class TracedLetter(msgspec.Struct):
    """Why a delivery was given up, and where it is: in a queue, on its way there, or kept under a number."""

    at: str
    code: str
    message: str
    condition: str | None
    queue: str | None
    number: int | None
    kept: bool = False
    """Whether it is still there under its number."""
    redriven: bool = False
    queue_failure: str | None = None
    to_queue: "TracedDelivery | None" = None


class TracedDelivery(msgspec.Struct):
    """`state` is one of `core.delivery`'s, or UNKNOWN; `attempts` are the latest, `target_arn` is today's."""

    rule_arn: str
    target_id: str
    target_arn: str | None
    state: str
    attempts_made: int
    attempts: list[TracedAttempt]
    next_attempt_at: str | None = None
    dead_letter: TracedLetter | None = None
    redriven_from: int | None = None
    event: "TracedEvent | None" = None
    """What it became on another bus."""


class TracedEvent(msgspec.Struct):
    """An event on one bus. `outcome` is matched, unmatched, or `dropped: unknown_bus`."""

    event_id: str
    parent_id: str | None
    source: str
    detail_type: str
    account: str
    region: str
    bus: str
    accepted_at: str
    outcome: str
    complete: bool
    """False where the record of its acceptance is not kept any more: it may have had more deliveries."""
    rules: list[str]
    deliveries: list[TracedDelivery]
    deliveries_left_out: int = 0
    archives: list[str] = []
    """Those of `rules` whose archives have it, settled with its acceptance."""


class TraceAnswer(msgspec.Struct, frozen=True):
    """`states` counts the deliveries of all events; `events` are those to which no other one here led."""

    event_id: str
    states: dict[str, int]
    age_s_max: int
    events: list[TracedEvent]


class _Outcome(msgspec.Struct, frozen=True):
    at_ms: int
    took_ms: int | None
    attempt: int
    failure: Failure | None = None


class _Found:
    """What the log and the tables have of the event `root` and of what followed from it, undigested."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.plans: list[tuple[int, Planned]] = []
        self.older: list[tuple[int, Planned]] = []
        """Made up from what is still there of events of which the log has no plan any more."""
        self.sequences: set[bytes] = set()
        self.outcomes: dict[tuple[bytes, bytes], list[_Outcome]] = defaultdict(list)
        """By lane and sequence, in the order in which they came."""
        self.rows: dict[tuple[bytes, bytes], bytes] = {}
        """Keys of deliveries that are not settled, by lane and sequence, where the log may not know when one is due."""
        self._needle = root.encode(errors="replace")

    def is_meant(self, event_id: str, parent_id: str | None) -> bool:
        return self.root in (event_id, parent_id)

    def planned(self, at_ms: int, plan: Planned) -> None:
        if self.is_meant(plan.event_id, plan.parent_id):
            self.plans.append((at_ms, plan))
            if plan.sequence:
                self.sequences.add(plan.sequence)

    def read(self, row: Row) -> None:
        if row.is_plan:
            if self._needle in row.body:
                for plan in read_plan(row.body):
                    self.planned(row.at_ms, plan)
        elif any(sequence in row.body for sequence in self.sequences):
            self._settled(row.at_ms, read_settled(row.body))

    def _settled(self, at_ms: int, settled: Settled) -> None:
        text = bytes(settled.delivered)
        first = [text[start : start + 8] for start in range(0, len(text), 8)]
        attempts = dict.fromkeys(first, 1) | dict(settled.delivered_later)
        took_ms = dict(zip(first, settled.took_each, strict=False))
        for sequence in self.sequences & attempts.keys():
            outcome = _Outcome(at_ms, took_ms.get(sequence, settled.took_ms), attempts[sequence])
            self.outcomes[settled.lane, sequence].append(outcome)
        for failure in settled.failures:
            if failure.sequence in self.sequences:
                outcome = _Outcome(at_ms, settled.took_ms, failure.attempt, failure)
                self.outcomes[settled.lane, failure.sequence].append(outcome)
                if failure.place is not None and failure.place.sequence is not None:
                    self.sequences.add(failure.place.sequence)

    def letters(self) -> set[int]:
        """The numbers under which dead letters were kept."""
        failures = (outcome.failure for outcomes in self.outcomes.values() for outcome in outcomes)
        places = (failure.place for failure in failures if failure is not None)
        return {place.number for place in places if place is not None and place.number is not None}


class TraceTree:
    """Answers questions about events; `target_arn` gives a target's ARN by its rule's ARN and its id."""

    def __init__(
        self,
        *,
        store: Store,
        trace: Trace,
        lanes: Lanes,
        dead_letters: DeadLetters,
        target_arn: Callable[[str, str], str | None],
    ) -> None:
        self._store = store
        self._trace = trace
        self._lanes = lanes
        self._dead_letters = dead_letters
        self._target_arn = target_arn
        self._turn = anyio.Lock()

    async def of(self, event_id: str) -> TraceAnswer:
        """Raises ResourceNotFoundException for an event of which nothing is known, or nothing any more."""
        async with self._turn:
            digest = await self._digest(event_id)
            for _ in range(_READS_MAX - 1):
                if digest.unknown:
                    digest = await self._digest(event_id)
        if not digest.events:
            raise ResourceNotFoundException(self._not_found(event_id))
        return TraceAnswer(event_id, digest.states(), self._trace.age_s_max, digest.events)

    async def _digest(self, event_id: str) -> "_Digest":
        found = await self._found(event_id)
        return _Digest(found, self._store, self._lanes, self._dead_letters, self._target_arn)

    def _not_found(self, event_id: str) -> str:
        name = f"Event {event_id[:100]} is not known"
        if not self._trace.age_s_max:
            return f"{name}, or is settled: traces are not kept (`trace.age_s_max` in the hub file is 0)."
        return (
            f"{name}, or its trace is not kept any more: traces are kept for {self._trace.age_s_max} s and in at most "
            f"{self._trace.bytes_max} bytes (`trace` in the hub file); of the events that go nowhere the last "
            f"{limits.TRACE_NOWHERE_EVENTS_MAX} are remembered until the hub stops."
        )

    async def _found(self, event_id: str) -> _Found:
        found = await self._read(_Found(event_id))
        parent = next((plan.parent_id for _, plan in found.plans if plan.event_id == event_id and plan.parent_id), None)
        if parent is not None:
            found = await self._read(_Found(parent))
        if any(plan.via is None and plan.redriven is None for _, plan in found.plans):
            return found
        older = _Found(found.root)
        await self._find_pending(older, found.sequences)
        await self._find_letters(older, found.letters())
        return await self._read(older) if older.older else found

    async def _read(self, found: _Found) -> _Found:
        """One pass over the log, from its beginning."""
        after, rows = self._trace.rows(b"", _STEP_ROWS)
        while rows:
            for row in rows:
                found.read(row)
            await anyio.lowlevel.checkpoint()
            after, rows = self._trace.rows(after, _STEP_ROWS)
        for at_ms, plan in self._trace.nowhere:
            found.planned(at_ms, plan)
        return found

    async def _find_pending(self, found: _Found, known: set[bytes]) -> None:
        """Events with deliveries that are not settled."""
        bodies: dict[bytes, Accepted | DeadLetter] = {}
        needle = found.root.encode(errors="replace")
        async for key, value in self._rows(Table.EVENTS):
            if needle in value and key not in known:
                body = _body(value)
                accepted = body if isinstance(body, Accepted) else body.accepted
                if found.is_meant(accepted.event.id, accepted.parent_id):
                    bodies[key] = body
        if not bodies:
            return
        async for key, _ in self._rows(Table.DELIVERIES):
            number, sequence = key[:4], key[12:]
            if sequence not in bodies:
                continue
            body = bodies[sequence]
            found.rows[number, sequence] = key
            found.sequences.add(sequence)
            if isinstance(body, Accepted):
                found.older.append((body.ingested_ms, planned(body, sequence=sequence, lanes=number)))
            else:
                due_ms = int.from_bytes(key[4:12], "big")
                queue = self._lanes.numbered(number).name.target_id
                self._add_letter(found, body, sequence, LetterPlace(queue, None, sequence, due_ms))

    async def _find_letters(self, found: _Found, known: set[int]) -> None:
        """Kept dead letters."""
        needle = found.root.encode(errors="replace")
        async for key, value in self._rows(Table.DEAD_LETTERS):
            number = int.from_bytes(key, "big")
            if needle in value and number not in known:
                letter = decode_letter(value)
                if found.is_meant(letter.accepted.event.id, letter.accepted.parent_id):
                    self._add_letter(found, letter, key, LetterPlace(None, number))

    def _add_letter(self, found: _Found, letter: DeadLetter, sequence: bytes, place: LetterPlace) -> None:
        lane = self._lanes.named(LaneName(letter.rule_arn, letter.target_id))
        failure = Failure(
            sequence, letter.attempts, letter.code, letter.message, condition=letter.condition, place=place
        )
        found.older.append((letter.accepted.ingested_ms, planned(letter.accepted, sequence=sequence, lanes=lane.id)))
        found.outcomes[lane.id, sequence].append(_Outcome(letter.dead_ms, None, letter.attempts, failure))

    async def _rows(self, table: Table) -> AsyncIterator[tuple[bytes, bytes]]:
        """A table's rows, no more than the bound, with turns for others between."""
        start, left = b"", limits.TRACED_ROWS_MAX
        while left > 0 and (rows := self._store.scan(table, start, limit=_STEP_ROWS)):
            for row in rows:
                yield row
            left -= len(rows)
            start = rows[-1][0] + b"\0"
            await anyio.lowlevel.checkpoint()


class _Digest:
    """Makes the tree of what was found. It reads the rows of what is not settled as they are now, without a wait."""

    def __init__(
        self,
        found: _Found,
        store: Store,
        lanes: Lanes,
        dead_letters: DeadLetters,
        target_arn: Callable[[str, str], str | None],
    ) -> None:
        self._found = found
        self._store = store
        self._lanes = lanes
        self._dead_letters = dead_letters
        self._target_arn = target_arn
        self._nodes: list[TracedEvent] = []
        self._letters: dict[int, tuple[TracedEvent, TracedLetter]] = {}
        self._left = limits.TRACED_DELIVERIES_MAX
        self.unknown = False
        """Whether there is a delivery of which neither the log nor its row says what became of it."""
        self.events = self._roots()

    def _roots(self) -> list[TracedEvent]:
        roots: list[TracedEvent] = []
        hopped: dict[tuple[str, str, str], deque[TracedEvent]] = defaultdict(deque)
        for at_ms, plan in self._found.plans:
            letter = self._letters.get(plan.redriven) if plan.redriven is not None else None
            if letter is not None:
                letter[1].redriven = True
                self._add_deliveries(letter[0], at_ms, plan)
                continue
            node = self._node(at_ms, plan, complete=plan.redriven is None)
            if plan.via is None:
                roots.append(node)
            else:
                hopped[_sender(plan), plan.via.rule_arn, plan.via.target_id].append(node)
        for at_ms, plan in self._found.older:
            here = (plan.event_id, plan.location.account, plan.location.region, plan.bus)
            known = next((node for node in roots if (node.event_id, node.account, node.region, node.bus) == here), None)
            if known is None:
                roots.append(self._node(at_ms, plan, complete=False))
            else:
                self._add_deliveries(known, at_ms, plan)
        for node in self._nodes:
            for delivery in node.deliveries:
                there = hopped.get((node.event_id, delivery.rule_arn, delivery.target_id))
                if there and delivery.state == State.DELIVERED:
                    delivery.event = there.popleft()
        return roots + [node for left in hopped.values() for node in left]

    def states(self) -> dict[str, int]:
        """How many deliveries are in which state; a dead letter that was redriven is none any more."""
        deliveries = (delivery for node in self._nodes for delivery in node.deliveries)
        return dict(Counter(one.state for one in deliveries if one.dead_letter is None or not one.dead_letter.redriven))

    def _node(self, at_ms: int, plan: Planned, *, complete: bool) -> TracedEvent:
        node = TracedEvent(
            event_id=plan.event_id,
            parent_id=plan.parent_id,
            source=plan.source,
            detail_type=plan.detail_type,
            account=plan.location.account,
            region=plan.location.region,
            bus=plan.bus,
            accepted_at=iso_ms(at_ms),
            outcome="dropped: unknown_bus"
            if plan.dropped
            else "matched"
            if plan.lanes or plan.idle_rules or plan.archive_rules
            else "unmatched",
            complete=complete,
            rules=[*plan.idle_rules, *plan.archive_rules],
            deliveries=[],
            archives=list(plan.archive_rules),
        )
        self._nodes.append(node)
        self._add_deliveries(node, at_ms, plan)
        return node

    def _add_deliveries(self, node: TracedEvent, at_ms: int, plan: Planned) -> None:
        for start in range(0, len(plan.lanes), 4):
            lane = self._lanes.numbered(plan.lanes[start : start + 4])
            if lane.name.rule_arn not in node.rules:
                node.rules.append(lane.name.rule_arn)
            if self._left:
                self._left -= 1
                delivery = self._delivery(node, lane, plan.sequence, due_ms=at_ms)
                delivery.redriven_from = plan.redriven
                node.deliveries.append(delivery)
            else:
                node.deliveries_left_out += 1

    def _delivery(self, node: TracedEvent, lane: Lane, sequence: bytes, *, due_ms: int) -> TracedDelivery:
        """`due_ms` is when its first attempt is due."""
        name = lane.name
        outcomes = self._found.outcomes.get((lane.id, sequence), [])
        delivery = TracedDelivery(
            rule_arn=name.rule_arn,
            target_id=name.target_id,
            target_arn=name.target_id
            if name.rule_arn == DEAD_LETTER_QUEUE
            else self._target_arn(name.rule_arn, name.target_id),
            state=State.DELIVERED,
            attempts_made=outcomes[-1].attempt if outcomes else 0,
            attempts=[_attempt(outcome) for outcome in outcomes[-limits.TRACED_ATTEMPTS_MAX :]],
        )
        last = outcomes[-1].failure if outcomes else None
        if last is not None and last.place is not None:
            delivery.state = State.DEAD_LETTER
            delivery.dead_letter = self._letter(node, outcomes[-1].at_ms, last, last.place)
        elif last is not None and last.due_ms is not None:
            self._not_settled(delivery, lane, sequence, last.due_ms)
        elif last is None and not outcomes:
            self._not_settled(delivery, lane, sequence, due_ms)
        return delivery

    def _not_settled(self, delivery: TracedDelivery, lane: Lane, sequence: bytes, due_ms: int) -> None:
        key = self._found.rows.get((lane.id, sequence), lane.id + key64(due_ms) + sequence)
        value = self._store.get(Table.DELIVERIES, key)
        if value is None:
            delivery.state = UNKNOWN
            self.unknown = True
            return
        progress = decode_progress(value) if value else None
        tried = progress is not None and progress.attempts > 0
        delivery.state = State.PARKED if tried else State.PENDING
        if self._lanes.in_flight(lane, key):
            delivery.state = State.IN_FLIGHT
        elif tried:
            delivery.next_attempt_at = iso_ms(int.from_bytes(key[4:12], "big"))
        if progress is not None and progress.attempts > delivery.attempts_made:
            delivery.attempts_made = progress.attempts
            delivery.attempts.append(TracedAttempt(progress.attempts, None, None, progress.code, progress.message))

    def _letter(self, node: TracedEvent, at_ms: int, failure: Failure, place: LetterPlace) -> TracedLetter:
        letter = TracedLetter(
            iso_ms(at_ms), failure.code, failure.message, failure.condition, place.queue, place.number
        )
        if place.number is not None:
            self._letters[place.number] = (node, letter)
            kept = self._dead_letters.find(place.number)
            letter.kept = kept is not None
            letter.queue_failure = kept.queue_failure if kept is not None else None
        if place.queue is not None and place.sequence is not None:
            lane = self._lanes.named(LaneName(DEAD_LETTER_QUEUE, place.queue))
            letter.to_queue = self._delivery(node, lane, place.sequence, due_ms=place.due_ms)
        return letter


def _attempt(outcome: _Outcome) -> TracedAttempt:
    failure = outcome.failure
    return TracedAttempt(
        outcome.attempt,
        iso_ms(outcome.at_ms),
        outcome.took_ms,
        failure.code if failure else None,
        failure.message if failure else None,
    )


def _sender(plan: Planned) -> str:
    """The id that the event had on the bus that sent it here."""
    assert plan.via is not None
    regional = plan.via.rule_arn.split(":", 4)[3] != plan.location.region
    return plan.parent_id if regional and plan.parent_id is not None else plan.event_id


def _body(value: bytes) -> Accepted | DeadLetter:
    """A journal's record: of an event, or of a dead letter on its way."""
    try:
        return decode_accepted(value)
    except msgspec.ValidationError:
        return decode_dead_letter(value).letter
