"""Things by kind: durable, listed by name, found by ARN, and gone when they are deleted."""

from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from router.catalog import records
from router.catalog.catalog import Catalog
from router.catalog.model import Thing
from router.catalog.state import Changes
from router.core.event import Location
from router.errors import ServiceUnavailable
from router.store.base import Batch, Store, StoreError, Table
from tests.catalog.hub import HERE, OTHER, running


class Lamp(Thing, frozen=True, kw_only=True):
    kind: ClassVar[str] = "lamp"
    watts: int = 0


class Chair(Thing, frozen=True, kw_only=True):
    kind: ClassVar[str] = "chair"


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KINDS", (Lamp, Chair))


def lamp(name: str, location: Location = HERE, *, watts: int = 0, arn: str = "") -> Lamp:
    arn = arn or f"arn:aws:events:{location.region}:{location.account}:lamp/{name}"
    return Lamp(name=name, location=location, arn=arn, created_ms=1, modified_ms=2, watts=watts)


def chair(name: str) -> Chair:
    return Chair(name=name, location=HERE, arn=f"arn:chair/{name}", created_ms=1, modified_ms=1)


async def commit(catalog: Catalog, changes: Changes, batch: Batch | None = None) -> None:
    async with catalog.changing() as change:
        await change.commit(changes, batch)


def stored(catalog: Catalog) -> Store:
    return catalog._store


async def test_things_are_listed_by_name_and_kind_and_location(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await commit(catalog, Changes(things=(lamp("b"), chair("b"), lamp("a"), lamp("z", OTHER))))
        things = catalog.things
        assert (things.names(Lamp, HERE), things.names(Chair, HERE), things.names(Lamp, OTHER)) == (
            ["a", "b"],
            ["b"],
            ["z"],
        )
        assert [one.name for one in things.here(Lamp, HERE)] == ["a", "b"]
        assert sorted(one.name for one in things.all(Lamp)) == ["a", "b", "z"]
        assert things.get(Chair, HERE, "a") is None
        assert things.names(Chair, OTHER) == ()


async def test_things_are_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await commit(catalog, Changes(things=(lamp("a", watts=40), chair("a"))))
    async with running(tmp_path) as catalog:
        assert catalog.things.get(Lamp, HERE, "a") == lamp("a", watts=40)
        assert catalog.things.get(Chair, HERE, "a") == chair("a")


async def test_a_thing_that_is_put_again_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await commit(catalog, Changes(things=(lamp("a", arn="arn:old"),)))
        await commit(catalog, Changes(things=(lamp("a", watts=60, arn="arn:new"),)))
        assert catalog.things.names(Lamp, HERE) == ["a"]
        assert catalog.things.by_arn(Lamp, "arn:old") is None
        assert catalog.things.by_arn(Lamp, "arn:new") == lamp("a", watts=60, arn="arn:new")
        assert catalog.things.by_arn(Chair, "arn:new") is None


async def test_a_thing_that_goes_is_gone_after_a_restart_too(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await commit(catalog, Changes(things=(lamp("a"), lamp("b"))))
        await commit(catalog, Changes(gone_things=(lamp("a"),)))
        assert catalog.things.names(Lamp, HERE) == ["b"]
        assert catalog.things.by_arn(Lamp, lamp("a").arn) is None
    async with running(tmp_path) as catalog:
        assert catalog.things.names(Lamp, HERE) == ["b"]


async def test_other_rows_become_durable_with_the_change(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        batch = Batch()
        batch.put(Table.META, b"beside", b"row")
        await commit(catalog, Changes(things=(lamp("a"),)), batch)
        assert stored(catalog).get(Table.META, b"beside") == b"row"


async def test_nothing_changes_where_the_store_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as catalog:

        async def fails(batch: Batch) -> None:
            raise StoreError("broken")

        monkeypatch.setattr(stored(catalog), "commit", fails)
        with pytest.raises(ServiceUnavailable, match="broken"):
            await commit(catalog, Changes(things=(lamp("a"),)))
        assert catalog.things.names(Lamp, HERE) == ()


async def test_a_row_that_cannot_be_read_stops_the_start_and_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        batch = Batch()
        batch.put(Table.CATALOG, records.thing_key(lamp("a")), msgspec.json.encode({"watts": "many"}))
        await stored(catalog).commit(batch)
    with pytest.raises(StoreError, match=r"lamp.*us-east-1.*cannot be read"):
        async with running(tmp_path):
            pass
