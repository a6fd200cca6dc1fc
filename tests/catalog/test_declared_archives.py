"""The hub file's archives."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.config import ConfigError, Resources
from tests.api.hub import Api, serving
from tests.catalog.hub import HERE, matched

ORDERS: dict[str, Any] = {"ArchiveName": "orders", "EventPattern": {"source": ["orders"]}, "RetentionDays": 7}


@asynccontextmanager
async def declared(folder: Path, *archives: dict[str, Any]) -> AsyncIterator[Api]:
    """A start with these archives in the hub file."""
    async with serving(folder) as api:
        await declare(api, *archives)
        yield api


async def declare(api: Api, *archives: dict[str, Any]) -> None:
    given = {"account": HERE.account, "region": HERE.region, "archives": archives}
    await api.archives.declare([msgspec.convert(given, Resources)])


async def test_a_declared_archive_is_there_with_its_rule(tmp_path: Path) -> None:
    async with declared(tmp_path, ORDERS) as api:
        found = await api.call("DescribeArchive", ArchiveName="orders")
        assert (found["EventPattern"], found["RetentionDays"]) == ('{"source":["orders"]}', 7)
        assert found["EventSourceArn"] == "arn:aws:events:us-east-1:111111111111:event-bus/default"
        assert matched(api.catalog) == ["Events-Archive-orders"]


async def test_declaring_it_again_changes_nothing(tmp_path: Path) -> None:
    async with declared(tmp_path, ORDERS) as api:
        before = api.archives.get(HERE, "orders")
    async with declared(tmp_path, ORDERS) as api:
        assert api.archives.get(HERE, "orders") == before


async def test_a_change_by_the_api_lasts_until_the_next_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="crossbus")
    async with declared(tmp_path, ORDERS) as api:
        number = api.archives.get(HERE, "orders").number
        await api.call("UpdateArchive", ArchiveName="orders", RetentionDays=1, EventPattern='{"source":["x"]}')
        assert matched(api.catalog) == []
        assert "catalog.declared_changed" in caplog.text
    async with declared(tmp_path, ORDERS) as api:
        found = api.archives.get(HERE, "orders")
        assert (found.number, found.retention_days) == (number, 7)
        assert matched(api.catalog) == ["Events-Archive-orders"]


async def test_an_archive_that_is_not_declared_any_more_keeps_its_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with declared(tmp_path, ORDERS):
        pass
    async with declared(tmp_path) as api:
        assert not api.archives.get(HERE, "orders").declared
        assert "catalog.archive_kept" in caplog.text
        assert matched(api.catalog) == ["Events-Archive-orders"]


@pytest.mark.parametrize(
    ("archives", "told"),
    [
        ([{**ORDERS, "EventBusName": "no"}], r"Event bus no does not exist\. - at `\$\.resources\[0\]\.archives\[0\]`"),
        ([ORDERS, ORDERS], r"Archive orders is declared twice - at `\$\.resources\[0\]\.archives\[1\]`"),
        ([{**ORDERS, "EventPattern": {"source": "x"}}], r"(?s)Event pattern is not valid\. .* - at `\$\.resources"),
    ],
)
async def test_what_cannot_be_declared_is_refused_with_its_place(
    tmp_path: Path, archives: list[dict[str, Any]], told: str
) -> None:
    async with serving(tmp_path) as api:
        with pytest.raises(ConfigError, match=told):
            await declare(api, *archives)
        assert list(api.archives.names(HERE)) == []


async def test_a_declared_archive_stays_on_its_bus(tmp_path: Path) -> None:
    async with declared(tmp_path, ORDERS) as api:
        await api.call("CreateEventBus", Name="mine")
        with pytest.raises(ConfigError, match=r"an archive's bus cannot be changed"):
            await declare(api, {**ORDERS, "EventBusName": "mine"})
