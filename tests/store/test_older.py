"""A store that the first version of the hub wrote, and was killed over: this version brings it up to date and goes on
with all that is in it.

`data/first-version.mdb.gz` is its file: five events of `orders`, of which each has come to a queue, is parked for a
target that was down, and has become a dead letter of another; a FIFO queue with a message; a rule made by a call. It
has neither the folder's file `format` nor the table of the trace. Its clock stood at `WRITTEN_MS`.
"""

import asyncio
import gzip
import json
from pathlib import Path

import lmdb
import pytest

from router.store.base import Table
from router.store.lmdb import LmdbStore
from router.verify import verify
from tests.pipeline.hub import HERE, QUEUE, HandWorld, ScriptedSink, running, until

FILE = Path(__file__).parent / "data" / "first-version.mdb.gz"
WRITTEN_MS = 1_795_770_373_046


def unpacked(folder: Path, *, versioned: bool) -> None:
    (folder / "store").mkdir(parents=True)
    (folder / "store" / "data.mdb").write_bytes(gzip.decompress(FILE.read_bytes()))
    if not versioned:  # as before there was a row for it
        with lmdb.open(str(folder / "store"), max_dbs=20, lock=False) as env, env.begin(write=True) as txn:
            assert txn.delete(b"format", db=env.open_db(b"meta", txn=txn))


@pytest.mark.parametrize("versioned", [True, False])
async def test_a_store_of_the_first_version_is_brought_up_to_date_and_nothing_of_it_is_lost(
    tmp_path: Path, versioned: bool
) -> None:
    folder = tmp_path / "data"
    unpacked(folder, versioned=versioned)
    assert (await asyncio.to_thread(verify, folder)).problems == []
    world = HandWorld()
    world.ms = WRITTEN_MS + 60_000
    sink = ScriptedSink()
    store = LmdbStore(folder, map_bytes_max=1 << 26, reserve_bytes=1 << 22, monotonic=world.monotonic)
    assert store.get(Table.META, b"format") == b"crossbus-store-2"
    assert (folder / "format").read_text() == "crossbus-store-2\n"
    async with running(store, sink, world=world) as hub:
        ids = [letter.accepted.event.id for letter in hub.letters()]
        assert len(set(ids)) == 5
        assert sorted(json.loads(message.body)["id"] for message in hub.messages(QUEUE)) == sorted(ids)
        assert [message.body for message in hub.messages(f"{QUEUE}.fifo")] == [b"first"]
        assert set(hub.catalog.rule_names(HERE, "default")) == {"orders", "made-by-call"}
        await until(hub.settled)
        assert sorted(sink.ids) == sorted(ids), "what was parked is delivered"
        assert {attempt.target.id for attempt in sink.sent} == {"down"}
        await hub.redrive(hub.numbers()[0])
        await until(hub.settled)
        await hub.accept("new")
        await until(hub.settled)
        assert sink.ids[5:].count("new") == 2
        assert len(hub.messages(QUEUE)) == 6
        await hub.inboxes.close()
    await store.close()
    report = await asyncio.to_thread(verify, folder)
    assert report.problems == []
    assert report.rows["trace"] > 0
