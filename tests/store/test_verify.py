"""`crossbus store verify`: a store as the hub leaves it is good, and each kind of damage is told with its place."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import lmdb
import msgspec
import pytest

from router.catalog import records as records_of_the_catalog
from router.catalog.records import Fired
from router.simulator.records import DEDUPLICATION, DEDUPLICATION_END
from router.sinks.base import Rejected, Retryable
from router.store.base import Batch, Table, key32, key64
from router.store.lmdb import FolderInUse, LmdbStore
from router.trace import PLANNED, SETTLED, Planned, Settled
from router.verify import PROBLEMS_KEPT_MAX, verify
from router.world import RealWorld
from tests.cli.terminal import run
from tests.pipeline.hub import (
    FUNCTION,
    HERE,
    ORDERS,
    QUEUE,
    REAL_LETTERS,
    ScriptedSink,
    running,
    target,
    turns,
    until,
)

BUSY = Retryable("THROTTLING", "later")
FIFO = "arn:aws:sqs:us-east-1:111111111111:queue.fifo"


def opened(folder: Path) -> LmdbStore:
    return LmdbStore(folder, map_bytes_max=1 << 28, reserve_bytes=1 << 22, monotonic=RealWorld().monotonic)


async def fill(folder: Path) -> None:
    """A store with rows in every table: what is pending, parked, given up, on its way to a queue, deposited."""
    store = opened(folder)
    sink, letters_sink = ScriptedSink(), ScriptedSink()
    letters_sink.always = BUSY
    sink.always = lambda attempt: BUSY if attempt.target.id == "parked" else Rejected("NO_PERMISSIONS", "no")
    sink.hanging[FUNCTION] = asyncio.Event()
    async with running(store, sink, letters_sink=letters_sink) as hub:
        await hub.queue(QUEUE)
        await hub.inboxes.create(FIFO, "sqs", {}, {})
        await hub.catalog.create_bus(HERE, "custom")
        await hub.catalog.put_rule(HERE, "custom", "other", created_by=HERE.account, event_pattern=ORDERS)
        await hub.rule(
            "orders",
            ORDERS,
            target("pending", FUNCTION),
            target("parked", FUNCTION + "2"),
            target("kept", FUNCTION + "3"),
            target("sent-on", FUNCTION + "4", letters=REAL_LETTERS),
            target("queue", QUEUE),
        )
        await hub.archive("all", pattern=ORDERS)
        await hub.accept("e1", detail=json.dumps({"text": "x" * 9000}))
        await hub.accept("e2")
        batch = Batch()
        assert hub.inboxes.deposit(batch, arn=FIFO, body=b"{}", group_id="g", dedup_id="d") is None
        await store.commit(batch)
        await until(lambda: hub.lanes.parked == 4 and hub.dead_letters.count == 2 and len(hub.messages(QUEUE)) == 2)
        await turns()
        await hub.inboxes.close()
    await store.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "data"
    asyncio.run(fill(folder))
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "data")


class Raw:
    """A store's file, written by someone who does not know what is in it."""

    def __init__(self, folder: Path) -> None:
        self._env = lmdb.open(str(folder / "store"), max_dbs=20, lock=False)
        self._dbs = {table: self._env.open_db(table.name.lower().encode()) for table in Table}

    def rows(self, table: Table) -> list[tuple[bytes, bytes]]:
        with self._env.begin(db=self._dbs[table]) as txn:
            return [(bytes(key), bytes(value)) for key, value in txn.cursor()]

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        with self._env.begin(write=True, db=self._dbs[table]) as txn:
            txn.put(key, value)

    def put_many(self, table: Table, keys: Iterable[bytes]) -> None:
        with self._env.begin(write=True, db=self._dbs[table]) as txn:
            for key in keys:
                txn.put(key, b"")

    def delete(self, table: Table, key: bytes) -> None:
        with self._env.begin(write=True, db=self._dbs[table]) as txn:
            assert txn.delete(key)

    def close(self) -> None:
        self._env.close()


def damaged(folder: Path, damage: Callable[[Raw], object]) -> list[str]:
    """What is told of a store after the damage."""
    raw = Raw(folder)
    damage(raw)
    raw.close()
    report = verify(folder)
    assert report.problem_count == len(report.problems)
    return [str(problem) for problem in report.problems]


def bus(raw: Raw) -> bytes:
    return first(raw, Table.CATALOG, lambda key, _: key.startswith(b"bus\0"))


def counters_of_archive(raw: Raw) -> bytes:
    return first(raw, Table.ARCHIVE, lambda key, _: len(key) == 4)


def archived(raw: Raw) -> bytes:
    return first(raw, Table.ARCHIVE, lambda key, _: len(key) == 20)


def archived_as(size: int) -> Callable[[Raw], None]:
    """Another size in the row of an archived event."""

    def damage(raw: Raw) -> None:
        key = archived(raw)
        value = dict(raw.rows(Table.ARCHIVE))[key]
        raw.put(Table.ARCHIVE, key, value[:8] + size.to_bytes(4, "big") + value[12:])

    return damage


def first(raw: Raw, table: Table, wanted: Callable[[bytes, bytes], bool] = lambda key, value: True) -> bytes:
    return next(key for key, value in raw.rows(table) if wanted(key, value))


def shared(raw: Raw) -> bytes:
    """The sequence of a body that several deliveries need."""
    return first(raw, Table.REFERENCES)


def delivery_of(raw: Raw, sequence: bytes) -> bytes:
    return first(raw, Table.DELIVERIES, lambda key, _: key[12:] == sequence)


def put_first(table: Table, value: bytes) -> Callable[[Raw], None]:
    """Other content in the table's first row."""
    return lambda raw: raw.put(table, first(raw, table), value)


def message(raw: Raw, area: int) -> bytes:
    """The key of a message's row in one of the areas of its inbox."""
    return first(raw, Table.MESSAGES, lambda key, _: int.from_bytes(key[4:], "big") >> 62 == area >> 62)


def other_inbox_of_the_same_arn(raw: Raw) -> None:
    rows = [value for key, value in raw.rows(Table.INBOXES) if key != key32(0)]
    raw.put(Table.INBOXES, key32(99), rows[0])


def rule_of(**changed: object) -> Callable[[Raw], None]:
    def damage(raw: Raw) -> None:
        key = first(raw, Table.CATALOG, lambda key, _: key.endswith(b"other"))
        rule = json.loads(dict(raw.rows(Table.CATALOG))[key])
        raw.put(Table.CATALOG, key, json.dumps({**rule, **changed}).encode())

    return damage


def traced(content: Settled | list[Planned]) -> Callable[[Raw], None]:
    """A row of the trace more."""
    kind = SETTLED if isinstance(content, Settled) else PLANNED
    return lambda raw: raw.put(Table.TRACE, key64(1), kind + bytes(8) + msgspec.msgpack.encode(content))


def event_of(*, lanes: bytes, sequence: bytes = bytes(8)) -> Planned:
    return Planned("id", "orders", "type", HERE, "default", None, None, sequence, lanes)


def test_each_row_of_the_trace_that_was_cut_off_is_told(folder: Path) -> None:
    raw = Raw(folder)
    last = max(key for key, _ in raw.rows(Table.TRACE))
    for number in range(1, 4):
        raw.put(Table.META, b"sequence", key64(1 << 50))
        key = key64(int.from_bytes(last, "big") + number)
        raw.put(Table.TRACE, key, SETTLED + bytes(8) + msgspec.msgpack.encode(Settled(key32(1), 0))[: 8 - number])
    raw.close()
    report = verify(folder)
    assert [problem.table for problem in report.problems] == ["trace"] * 3


def fired_value(name: str) -> bytes:
    return records_of_the_catalog.value(Fired(f"arn:aws:events:us-east-1:111111111111:rule/{name}", 1, 2))


def fired_row(name: bytes, value: bytes) -> Callable[[Raw], None]:
    return lambda raw: raw.put(Table.CATALOG, b"fired\x00111111111111\0us-east-1\0" + name, value)


def test_how_far_a_schedule_has_come_is_good(folder: Path) -> None:
    assert damaged(folder, fired_row(b"r", fired_value("r"))) == []


def test_a_store_as_the_hub_leaves_it_is_good(folder: Path) -> None:
    report = verify(folder)
    assert report.problems == []
    assert {name for name, rows in report.rows.items() if not rows} == set()


@pytest.mark.parametrize(
    ("damage", "table", "told"),
    [
        (lambda raw: raw.delete(Table.EVENTS, shared(raw)), "deliveries", r"event \d+ does not exist"),
        (lambda raw: raw.put(Table.EVENTS, key64(1 << 40), b"x"), "events", "no delivery needs it"),
        (lambda raw: raw.put(Table.EVENTS, shared(raw), b"x"), "events", "it is no Accepted: "),
        (lambda raw: raw.delete(Table.REFERENCES, shared(raw)), "events", "2 deliveries need it and there is no count"),
        (put_first(Table.REFERENCES, (7).to_bytes(4, "big")), "references", "it counts 7, and 2 deliveries need event"),
        (put_first(Table.REFERENCES, b"2"), "references", "it counts 50, and 2 deliveries"),
        (lambda raw: raw.delete(Table.DELIVERIES, delivery_of(raw, shared(raw))), "references", "it counts 2, and 1 "),
        (put_first(Table.DELIVERIES, b"x"), "deliveries", "it is no Progress: "),
        (lambda raw: raw.put(Table.DELIVERIES, b"short", b""), "deliveries", "expected a key of 20 bytes, got 5"),
        (lambda raw: raw.delete(Table.LANES, first(raw, Table.LANES)), "deliveries", "its lane does not exist"),
        (put_first(Table.LANES, b"x"), "lanes", "it is no LaneName: "),
        (
            lambda raw: raw.put(Table.LANES, key32(99), raw.rows(Table.LANES)[0][1]),
            "lanes",
            "it stands for the same target as lane 1",
        ),
        (lambda raw: raw.delete(Table.ARCHIVE, archived(raw)), "archive 1:", r"dated ahead are \[1, .*it counts \[2, "),
        (lambda raw: raw.delete(Table.ARCHIVE, counters_of_archive(raw)), "archive 1:", r"and it counts \[\]"),
        (lambda raw: raw.put(Table.ARCHIVE, archived(raw), b"x" * 20), "archive 1/", "it is no archived event: "),
        (lambda raw: raw.put(Table.ARCHIVE, b"12345", b""), "archive", "expected a key of 4 or 20 bytes, got 5"),
        (archived_as(7), "archive 1/", "it says that it has 7 bytes, and has "),
        (
            lambda raw: raw.put(Table.CATALOG, b"replay-progress\x00111111111111\0us-east-1\0r", b"{}"),
            "catalog",
            "its replay does not exist",
        ),
        (lambda raw: raw.put(Table.TRACE, key64(1), b"x"), "trace", "it is no row of the trace"),
        (lambda raw: raw.put(Table.TRACE, key64(1), b"P" + bytes(8) + b"x"), "trace", "it is no row of the trace: "),
        (lambda raw: raw.put(Table.TRACE, key64(1), b"S" + bytes(8) + b"x"), "trace", "it is no row of the trace: "),
        (traced(Settled(key32(1) + b"x", 0)), "trace", "lane 78 does not exist"),
        (traced(Settled(key32(99), 0)), "trace", "lane 00000063 does not exist"),
        (traced(Settled(key32(1), 0, bytearray(7))), "trace", "expected sequences of 8 bytes, got 7 bytes"),
        (traced(Settled(key32(1), 0, delivered_later=[(b"", 2), (b"x", 2)])), "trace", "8 bytes, got 1 bytes"),
        (traced([event_of(lanes=key32(99))]), "trace", "lane 00000063 does not exist"),
        (traced([event_of(lanes=key32(1), sequence=b"x")]), "trace", "8 bytes, got 1 bytes"),
        (put_first(Table.DEAD_LETTERS, b"x"), "dead_letters", "it is no DeadLetter: "),
        (lambda raw: raw.put(Table.META, b"sequence", key64(1)), "meta", "it would be given again"),
        (lambda raw: raw.put(Table.META, b"sequence", b"1"), "meta", "expected 8 bytes, got 1"),
        (lambda raw: raw.put(Table.META, b"format", b"crossbus-store-99"), "meta", "newer than"),
        (lambda raw: raw.put(Table.CATALOG, bus(raw), b"{"), "catalog", "it is no Bus: "),
        (put_first(Table.CATALOG, b"{"), "catalog", "it is no Archive: "),
        (lambda raw: raw.put(Table.CATALOG, b"hub\0born", b"x"), "catalog", "expected a time in ms"),
        (
            lambda raw: raw.put(Table.CATALOG, b"queue\0x", b"{}"),
            "catalog",
            "expected a kind of thing that this version has",
        ),
        (lambda raw: raw.put(Table.CATALOG, b"stack\0x", b"{}"), "catalog", "it is no StackRecord: "),
        (
            lambda raw: raw.put(Table.CATALOG, b"stack\0x", b'{"account":"1","region":"r","stack":"s"}'),
            "catalog",
            "its content is that of stack s",
        ),
        (
            lambda raw: raw.delete(Table.CATALOG, bus(raw)),
            "catalog",
            "event bus custom does not exist",
        ),
        (rule_of(name="else"), "catalog", "its content is that of arn:aws:events:"),
        (rule_of(event_pattern='{"source":"x"}'), "catalog", "its pattern cannot be read: "),
        (rule_of(schedule_expression="rate(x)"), "catalog", "its schedule cannot be read: expected rate"),
        (fired_row(b"r", b"{"), "catalog", "it is no Fired: "),
        (fired_row(b"r", fired_value("else")), "catalog", "its content is that of arn:aws:events:us-east-1:1"),
        (lambda raw: raw.put(Table.INBOXES, key32(9), b"x"), "inboxes", "it is no InboxRecord: "),
        (other_inbox_of_the_same_arn, "inboxes", "it has the ARN of inbox 1"),
        (
            lambda raw: raw.delete(Table.MESSAGES, message(raw, 0)),
            "inboxes",
            "holds 1 messages, and the last stop counted 2",
        ),
        (lambda raw: raw.put(Table.MESSAGES, message(raw, 0), b"x"), "messages", "it is no Message: "),
        (lambda raw: raw.put(Table.MESSAGES, key32(77) + key64(1), b"x"), "messages", "inbox 77 does not exist"),
        (
            lambda raw: raw.delete(Table.MESSAGES, message(raw, DEDUPLICATION)),
            "messages",
            "ends a deduplication id that",
        ),
        (lambda raw: raw.delete(Table.MESSAGES, message(raw, DEDUPLICATION_END)), "messages", "nothing ends the dedup"),
        (lambda raw: raw.put(Table.MESSAGES, message(raw, DEDUPLICATION), b"x"), "messages", "it is no Deduplication"),
    ],
)
def test_damage_is_told_with_its_table(folder: Path, damage: Callable[[Raw], object], table: str, told: str) -> None:
    found = damaged(folder, damage)
    assert any(line.startswith(table) and re.search(told, line) for line in found), found


def test_a_key_is_shown_as_its_parts(folder: Path) -> None:
    raw = Raw(folder)
    key = delivery_of(raw, shared(raw))
    raw.put(Table.DELIVERIES, key, b"x")
    raw.close()
    (problem,) = verify(folder).problems
    lane, due_ms, sequence = (int.from_bytes(part, "big") for part in (key[:4], key[4:12], key[12:]))
    assert (problem.table, problem.key) == ("deliveries", f"{lane}/{due_ms}/{sequence}")


def test_every_problem_is_counted_and_the_first_are_kept(folder: Path) -> None:
    raw = Raw(folder)
    raw.put_many(Table.CATALOG, (b"bad\0%d" % number for number in range(PROBLEMS_KEPT_MAX + 5)))
    raw.close()
    report = verify(folder)
    assert (len(report.problems), report.problem_count) == (PROBLEMS_KEPT_MAX, PROBLEMS_KEPT_MAX + 5)


def test_progress_is_told_of_long_tables(folder: Path) -> None:
    raw = Raw(folder)
    raw.put_many(Table.CATALOG, (b"bad\0%d" % number for number in range(6000)))
    raw.close()
    told: list[tuple[str, int, int]] = []
    verify(folder, lambda what, done, total: told.append((what, done, total)))
    assert ("catalog", 5000, 6006) in told


# the file under the tables


def data_of(folder: Path) -> Path:
    return folder / "store" / "data.mdb"


def overwritten(folder: Path, page: int, content: bytes) -> None:
    with data_of(folder).open("r+b") as file:
        file.seek(page * 4096)
        file.write(content)


def used_pages(folder: Path) -> list[int]:
    """Pages of the tree, without their bodies."""
    env = lmdb.open(str(folder / "store"), lock=False, readonly=True)
    last: int = env.info()["last_pgno"]
    env.close()
    return [number for number in range(2, last + 1) if _breaks(folder, number)]


def _breaks(folder: Path, page: int) -> bool:
    before = data_of(folder).read_bytes()
    overwritten(folder, page, bytes(4096))
    problems = verify(folder).problems
    data_of(folder).write_bytes(before)
    return bool(problems)


def test_a_page_of_the_tree_that_holds_something_else_is_told_and_never_read(folder: Path) -> None:
    pages = used_pages(folder)
    assert len(pages) > 9
    overwritten(folder, pages[0], b"\xff" * 4096)
    (problem,) = verify(folder).problems
    assert re.search(r"page \d+ holds something else; its rows cannot be read", str(problem))


def test_a_file_that_was_cut_off_is_told_at_every_length_that_matters(folder: Path) -> None:
    whole = data_of(folder).read_bytes()
    told = 0
    for length in range(4096, len(whole), 4096):
        data_of(folder).write_bytes(whole[:length])
        told += any("it has been cut off" in str(problem) for problem in verify(folder).problems)
    assert told > 5
    for length in (0, 100, 4095):
        data_of(folder).write_bytes(whole[:length])
        (problem,) = verify(folder).problems
        assert re.search("is empty|which no store has|not that of a store|cut off", str(problem)), (length, problem)


# the command


def test_the_command_ends_with_0_for_a_good_store(folder: Path) -> None:
    status, out, err = run("store", "verify", "--data-folder", str(folder))
    assert (status, out) == (0, f"{folder} is good: every invariant holds\n")
    assert "deliveries 6" in err


def test_the_command_takes_the_hub_files_data_folder(folder: Path, tmp_path: Path) -> None:
    hub_file = tmp_path / "hub.yaml"
    hub_file.write_text(f'accounts: [{{id: "111111111111"}}]\nregions: [us-east-1]\ndata_folder: {folder}\n')
    assert run("store", "verify", str(hub_file))[0] == 0


def test_the_command_prints_problems_up_to_its_limit_and_ends_with_1(folder: Path) -> None:
    raw = Raw(folder)
    for number in range(3):
        raw.put(Table.CATALOG, b"bad\0%d" % number, b"")
    raw.close()
    status, out, err = run("store", "verify", "--data-folder", str(folder), "--limit", "2")
    assert status == 1
    assert out.splitlines() == [
        "catalog bad/0: expected a kind of thing that this version has",
        "catalog bad/1: expected a kind of thing that this version has",
        "… and 1 more",
    ]
    assert "has 3 broken invariants" in err


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    status, _, err = run("store", "verify", "--data-folder", str(tmp_path))
    assert status == 1
    assert "there is no store in" in err
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_a_hub_has_is_refused(folder: Path) -> None:
    store = opened(folder)
    with pytest.raises(FolderInUse, match=r"a hub has the data folder .* \(process \d+\): stop it first"):
        await asyncio.to_thread(verify, folder)
    await store.close()
    assert (await asyncio.to_thread(verify, folder)).problems == []


def test_a_copy_of_the_store_alone_can_be_verified(folder: Path) -> None:
    (folder / "lock").unlink()
    assert verify(folder).problems == []


def test_verifying_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    verify(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
