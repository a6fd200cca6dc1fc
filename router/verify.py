"""Every invariant of a store, checked offline: what `crossbus store verify` says.

    pages         every page of the file that the tree refers to is there and is what it should be
    META          the format is one that this version reads; the last number given is not behind a number in use
    EVENTS        each body decodes, and at least one delivery needs it
    REFERENCES    each count is the number of deliveries that need the body
    DELIVERIES    each has its lane and its body, of the kind that its lane carries, and decodes; none is there twice
    LANES         each decodes; no two stand for the same target
    DEAD_LETTERS  each decodes
    CATALOG       each row decodes, has the key that its content says; a rule has what parses, and a bus
    INBOXES       each decodes; no two have the same ARN; the counts of a clean stop are the numbers of messages
    MESSAGES      each has its inbox and decodes; each deduplication id has the row that ends it, each such row its id
    TRACE         each row decodes, and what it says happened was in lanes that exist
    ARCHIVE       each event decodes; each archive's counters are what its events add up to

In all tables keys have their length and grow. It reads the store once from front to back, in memory that grows with the
deliveries that wait (a number each) and not with what they hold. Every problem is counted, the first are kept.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from router import archive_rows, stacks
from router.catalog import records as catalog_records
from router.catalog import replays
from router.catalog.model import Bus, Rule
from router.core import schedule
from router.core.pattern import InvalidPattern, parse
from router.importers.record import StackRecord
from router.lanes import DEAD_LETTER_QUEUE, DeadLetter, DeadLetterMessage, LaneName, Progress
from router.simulator import records
from router.simulator.deduplication import DeduplicationRow
from router.sinks.base import Accepted
from router.store import format, pages
from router.store.base import StoreError, Table, counters, key32, key64
from router.store.reader import StoreReader
from router.trace import PLANNED, SETTLED, read_plan, read_settled

PROBLEMS_KEPT_MAX = 1000
_TOLD_EVERY_ROWS = 5000
_KEY_BYTES = {
    Table.EVENTS: 8,
    Table.REFERENCES: 8,
    Table.DELIVERIES: 20,
    Table.LANES: 4,
    Table.DEAD_LETTERS: 8,
    Table.INBOXES: 4,
    Table.MESSAGES: 12,
    Table.TRACE: 8,
}
_T = TypeVar("_T")
Tell = Callable[[str, int, int], None]
"""Told now and then: the table, how many of its rows (or pages) are done, how many there are about."""


class Problem(msgspec.Struct, frozen=True):
    """One broken invariant: where, and what was expected and is not so."""

    table: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.text}" if self.key else f"{self.table}: {self.text}"


class Report(msgspec.Struct):
    """What was read and what was found. `problem_count` is all of them, `problems` the first."""

    pages: int
    rows: dict[str, int]
    problem_count: int
    problems: list[Problem]


def verify(folder: Path, progress: Tell = lambda what, done, total: None) -> Report:
    """Check the store of a data folder. Raises StoreError where there is none that can be read, FolderInUse."""
    with StoreReader(folder) as reader:
        return _Verification(reader, progress).run()


class _Verification:
    def __init__(self, reader: StoreReader, progress: Tell) -> None:
        self._reader = reader
        self._progress = progress
        self._report = Report(0, {}, 0, [])
        self._highest = (0, Table.META, b"")
        """The highest number in use, and where."""
        self._lanes: dict[bytes, LaneName] = {}
        self._lane_of: dict[LaneName, bytes] = {}
        self._needed: Counter[int] = Counter()
        """For each body, how many deliveries need it."""
        self._carried: set[int] = set()
        """Bodies that are dead letters on their way."""
        self._inboxes: dict[int, records.InboxRecord] = {}
        self._inbox_of: dict[str, int] = {}
        self._tallies: records.Tallies | None = None
        self._messages: dict[int, int] = {}
        self._counted: dict[int, list[int]] = {}
        """The counters of archives."""
        self._archives: dict[int, archive_rows.Tally] = {}
        """What the events of archives add up to."""

    def run(self) -> Report:
        try:
            self._report.pages = self._reader.check_pages(self._tell_pages())
        except pages.Damage as damage:
            self._problem("file", "", f"{damage}; its rows cannot be read")
            return self._report
        try:
            format.migrations(self._reader.get(Table.META, format.KEY))
        except StoreError as error:
            self._problem("meta", "format", str(error))
            return self._report
        checks: dict[Table, Callable[[bytes, bytes], None]] = {
            Table.LANES: self._lane,  # the order is that of their needs
            Table.DELIVERIES: self._delivery,
            Table.EVENTS: self._event,
            Table.REFERENCES: self._references,
            Table.DEAD_LETTERS: self._dead_letter,
            Table.CATALOG: self._catalog,
            Table.INBOXES: self._inbox,
            Table.MESSAGES: self._message,
            Table.TRACE: self._trace,
            Table.ARCHIVE: self._archived,
            Table.META: lambda key, value: None,
        }
        assert checks.keys() == set(Table), "each table has its check"
        for table, check in checks.items():
            self._table(table, check)
        self._check_sequence()
        self._check_tallies()
        self._check_archives()
        return self._report

    def _tell_pages(self) -> Callable[[int], None]:
        total = self._reader.file_bytes() // 4096
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            if done % _TOLD_EVERY_ROWS < count:
                self._progress("pages", min(done, total), total)

        return tell

    def _table(self, table: Table, check: Callable[[bytes, bytes], None]) -> None:
        name, total, before, done = table.name.lower(), self._reader.count(table), b"", 0
        length = _KEY_BYTES.get(table)
        for done, (key, value) in enumerate(self._reader.rows(table), start=1):
            if key <= before:
                self._problem(name, _shown(table, key), f"its key is not after {before.hex()}, the one before it")
            before = key
            if length is not None and len(key) != length:
                self._problem(name, _shown(table, key), f"expected a key of {length} bytes, got {len(key)}")
            else:
                check(key, value)
            if done % _TOLD_EVERY_ROWS == 0:
                self._progress(name, done, total)
        if done != total:
            self._problem(name, "", f"it has {done} rows and says that it has {total}")
        self._report.rows[name] = done

    def _problem(self, table: str, key: str, text: str) -> None:
        self._report.problem_count += 1
        if len(self._report.problems) < PROBLEMS_KEPT_MAX:
            self._report.problems.append(Problem(table, key, text))

    def _broken(self, table: Table, key: bytes, text: str) -> None:
        self._problem(table.name.lower(), _shown(table, key), text)

    def _decoded(self, table: Table, key: bytes, value: bytes, kind: type[_T]) -> _T | None:
        try:
            decode = msgspec.json.decode if table is Table.CATALOG else msgspec.msgpack.decode
            return decode(value, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._broken(table, key, f"it is no {kind.__name__}: {error}")
            return None

    def _used(self, table: Table, key: bytes, number: int) -> None:
        if number > self._highest[0]:
            self._highest = (number, table, key)

    # the journal

    def _lane(self, key: bytes, value: bytes) -> None:
        name = self._decoded(Table.LANES, key, value, LaneName)
        if name is None:
            return
        twin = self._lane_of.setdefault(name, key)
        if twin != key:
            self._broken(Table.LANES, key, f"it stands for the same target as lane {int.from_bytes(twin, 'big')}")
        self._lanes[key] = name

    def _delivery(self, key: bytes, value: bytes) -> None:
        sequence = int.from_bytes(key[12:], "big")
        self._used(Table.DELIVERIES, key, sequence)
        self._needed[sequence] += 1
        lane = self._lanes.get(key[:4])
        if lane is None:
            self._broken(Table.DELIVERIES, key, "its lane does not exist")
        elif lane.rule_arn == DEAD_LETTER_QUEUE:
            self._carried.add(sequence)
        if self._reader.get(Table.EVENTS, key[12:]) is None:
            self._broken(Table.DELIVERIES, key, f"event {sequence} does not exist")
        if value:
            self._decoded(Table.DELIVERIES, key, value, Progress)

    def _event(self, key: bytes, value: bytes) -> None:
        sequence = int.from_bytes(key, "big")
        self._used(Table.EVENTS, key, sequence)
        if sequence not in self._needed:
            self._broken(Table.EVENTS, key, "no delivery needs it")
        kind: type[Accepted | DeadLetterMessage] = DeadLetterMessage if sequence in self._carried else Accepted
        self._decoded(Table.EVENTS, key, value, kind)
        needed = self._needed[sequence]
        if needed > 1 and self._reader.get(Table.REFERENCES, key) is None:
            self._broken(Table.EVENTS, key, f"{needed} deliveries need it and there is no count of them")

    def _references(self, key: bytes, value: bytes) -> None:
        sequence = int.from_bytes(key, "big")
        needed, count = self._needed.get(sequence, 0), int.from_bytes(value, "big")
        if len(value) != 4 or count != needed:
            self._broken(Table.REFERENCES, key, f"it counts {count}, and {needed} deliveries need event {sequence}")

    def _dead_letter(self, key: bytes, value: bytes) -> None:
        self._used(Table.DEAD_LETTERS, key, int.from_bytes(key, "big"))
        self._decoded(Table.DEAD_LETTERS, key, value, DeadLetter)

    def _trace(self, key: bytes, value: bytes) -> None:
        self._used(Table.TRACE, key, int.from_bytes(key, "big"))
        if value[:1] not in (PLANNED, SETTLED) or len(value) < 9:
            self._broken(Table.TRACE, key, "it is no row of the trace")
            return
        try:
            if value[:1] == PLANNED:
                for event in read_plan(value[9:]):
                    self._traced(key, event.lanes, event.sequence if event.lanes else b"")
            else:
                settled = read_settled(value[9:])
                later = [sequence for sequence, _ in settled.delivered_later]
                failed = [failure.sequence for failure in settled.failures]
                self._traced(key, settled.lane, bytes(settled.delivered), *later, *failed)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._broken(Table.TRACE, key, f"it is no row of the trace: {error}")

    def _traced(self, key: bytes, lanes: bytes, *sequences: bytes) -> None:
        """Numbers of lanes, four bytes each, and of deliveries, eight bytes each."""
        for start in range(0, len(lanes), 4):
            if lanes[start : start + 4] not in self._lanes:
                self._broken(Table.TRACE, key, f"lane {lanes[start : start + 4].hex()} does not exist")
        for found in sequences:
            if len(found) % 8:
                self._broken(Table.TRACE, key, f"expected sequences of 8 bytes, got {len(found)} bytes")

    # archives

    def _archived(self, key: bytes, value: bytes) -> None:
        table = Table.ARCHIVE
        number = int.from_bytes(key[:4], "big")
        if len(key) == 4:
            self._counted[number] = counters(value)
            return
        if len(key) != 20:
            self._broken(table, key, f"expected a key of 4 or 20 bytes, got {len(key)}")
            return
        self._used(table, key, int.from_bytes(key[12:], "big"))
        try:
            event = archive_rows.read(key, value).event
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._broken(table, key, f"it is no archived event: {error}")
            return
        size = archive_rows.archived_size(event)
        if size != archive_rows.size_of(value):
            self._broken(table, key, f"it says that it has {archive_rows.size_of(value)} bytes, and has {size}")
        self._archives.setdefault(number, archive_rows.Tally()).add(key, value)

    def _check_archives(self) -> None:
        for number in sorted(self._counted.keys() | self._archives.keys()):
            held = list(self._archives.get(number, archive_rows.Tally()).numbers)
            counted = self._counted.get(number, [])
            if held != counted:
                names = "events, bytes and events dated ahead"
                self._broken(Table.ARCHIVE, key32(number), f"its {names} are {held}, and it counts {counted}")

    def _check_sequence(self) -> None:
        found = self._reader.get(Table.META, b"sequence")
        if found is not None and len(found) != 8:
            self._problem("meta", "sequence", f"expected 8 bytes, got {len(found)}")
            return
        given = int.from_bytes(found or b"", "big")
        number, table, key = self._highest
        if number > given:
            where = f"{table.name.lower()} {_shown(table, key)}"
            self._problem(
                "meta", "sequence", f"it is {given}, and {where} has number {number}: it would be given again"
            )

    # configuration

    def _catalog(self, key: bytes, value: bytes) -> None:
        table = Table.CATALOG
        kind = key.partition(b"\0")[0]
        if key == catalog_records.BORN:
            if not value.isdigit():
                self._broken(table, key, "expected a time in ms")
        elif kind == b"bus":
            bus = self._decoded(table, key, value, Bus)
            if bus is not None and catalog_records.bus_key(bus) != key:
                self._broken(table, key, f"its content is that of {bus.arn}")
        elif kind == b"rule":
            rule = self._decoded(table, key, value, Rule)
            if rule is not None:
                self._rule(key, rule)
        elif kind == replays.PROGRESS.encode():
            self._decoded(table, key, value, replays.Progress)
            if self._reader.get(table, replays.Replay.kind.encode() + key[len(kind) :]) is None:
                self._broken(table, key, "its replay does not exist")
        elif (of_kind := catalog_records.kind(kind.decode(errors="replace"))) is not None:
            thing = self._decoded(table, key, value, of_kind)
            if thing is not None and catalog_records.thing_key(thing) != key:
                self._broken(table, key, f"its content is that of {thing.arn}")
        elif kind == b"fired":
            fired = self._decoded(table, key, value, catalog_records.Fired)
            if fired is not None and not fired.rule_arn.endswith(f":rule/{key.decode().rpartition(chr(0))[2]}"):
                self._broken(table, key, f"its content is that of {fired.rule_arn}")
        elif kind == b"stack":
            stack = self._decoded(table, key, value, StackRecord)
            if stack is not None and stacks.key(stack) != key:
                self._broken(table, key, f"its content is that of stack {stack.stack}")
        else:
            self._broken(table, key, "expected a kind of thing that this version has")

    def _rule(self, key: bytes, rule: Rule) -> None:
        if catalog_records.rule_key(rule) != key:
            self._broken(Table.CATALOG, key, f"its content is that of {rule.arn}")
        parts = (b"bus", rule.location.account.encode(), rule.location.region.encode(), rule.bus.encode())
        if rule.bus != "default" and self._reader.get(Table.CATALOG, b"\0".join(parts)) is None:
            self._broken(Table.CATALOG, key, f"event bus {rule.bus} does not exist")
        try:
            if rule.event_pattern is not None:
                parse(rule.event_pattern)
            if rule.schedule_expression is not None:
                schedule.parse(rule.schedule_expression)
        except InvalidPattern as error:
            self._broken(Table.CATALOG, key, f"its pattern cannot be read: {error}")
        except schedule.InvalidSchedule as error:
            self._broken(Table.CATALOG, key, f"its schedule cannot be read: {error}")

    # inboxes

    def _inbox(self, key: bytes, value: bytes) -> None:
        if key == records.TALLIES_KEY:
            self._tallies = self._decoded(Table.INBOXES, key, value, records.Tallies)
            return
        record = self._decoded(Table.INBOXES, key, value, records.InboxRecord)
        if record is None:
            return
        number = int.from_bytes(key, "big")
        if record.gone_ms is None:
            twin = self._inbox_of.setdefault(record.arn, number)
            if twin != number:
                self._broken(Table.INBOXES, key, f"it has the ARN of inbox {twin}: {record.arn}")
        self._inboxes[number] = record

    def _message(self, key: bytes, value: bytes) -> None:
        table = Table.MESSAGES
        number, position = int.from_bytes(key[:4], "big"), records.position_of(key)
        if number not in self._inboxes:
            self._broken(table, key, f"inbox {number} does not exist")
        if position >= records.DEDUPLICATION_END:
            if not (len(value) == 12 and value[:4] == key[:4] and self._reader.get(table, value) is not None):
                self._broken(table, key, "it ends a deduplication id that does not exist")
        elif position >= records.DEDUPLICATION:
            row = self._decoded(table, key, value, DeduplicationRow)
            if row is not None:
                end = records.dedup_end_position(row.end_ms, row.stored.position)
                if self._reader.get(table, key[:4] + key64(end)) is None:
                    self._broken(table, key, f"nothing ends the deduplication id {row.id!r}")
        else:
            self._messages[number] = self._messages.get(number, 0) + 1
            if position < records.DELAYED:
                self._used(table, key, position)
            self._decoded(table, key, value, records.Message)

    def _check_tallies(self) -> None:
        if self._tallies is None:
            return
        for number, record in self._inboxes.items():
            held, counted = self._messages.get(number, 0), self._tallies.counts.get(number, 0)
            if record.gone_ms is None and held != counted:
                self._broken(
                    Table.INBOXES,
                    records.prefix_of(number),
                    f"{record.arn} holds {held} messages, and the last stop counted {counted}",
                )


def _shown(table: Table, key: bytes) -> str:
    """A key as its parts, where it has the form of its table."""
    if table in (Table.META, Table.CATALOG):
        return key.decode(errors="replace").replace("\0", "/")
    if table is Table.ARCHIVE and len(key) == 4:
        return str(int.from_bytes(key, "big"))
    if len(key) != _KEY_BYTES.get(table, 20):
        return key.hex()
    if table in (Table.DELIVERIES, Table.ARCHIVE):
        return "/".join(str(int.from_bytes(part, "big")) for part in (key[:4], key[4:12], key[12:]))
    if table is Table.MESSAGES:
        return f"{int.from_bytes(key[:4], 'big')}/{int.from_bytes(key[4:], 'big')}"
    return str(int.from_bytes(key, "big"))
