"""A catalog over a real store, for the tests of the catalog and of the API."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from router.catalog import quotas
from router.catalog.catalog import Catalog
from router.catalog.model import Target
from router.catalog.quotas import Quotas
from router.core.event import Event, Location
from router.store.lmdb import LmdbStore
from router.world import RealWorld

HERE = Location("111111111111", "us-east-1")
OTHER = Location("222222222222", "us-east-1")
LOCATIONS = frozenset({HERE, OTHER, Location("111111111111", "eu-west-1")})
QUEUE = "arn:aws:sqs:us-east-1:111111111111:queue"
ROLE = "arn:aws:iam::111111111111:role/events"
PATTERN = '{"source":["orders"]}'


class Clock(RealWorld):
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.ms


@asynccontextmanager
async def running(
    folder: Path,
    *,
    clock: Clock | None = None,
    limits: Quotas = quotas.RAISED,
    exists: Callable[[Location], bool] = LOCATIONS.__contains__,
    **options: Any,
) -> AsyncIterator[Catalog]:
    """A loaded catalog; entering it again on the same folder is a restart."""
    world = clock or Clock()
    store = LmdbStore(folder, map_bytes_max=1 << 28, reserve_bytes=1 << 24, monotonic=world.monotonic)
    try:
        catalog = Catalog(store, world, quotas=limits, location_exists=exists, **options)
        catalog.load()
        yield catalog
    finally:
        await store.close()


async def put_rule(catalog: Catalog, name: str, pattern: str = PATTERN, *, bus: str = "default", **more: Any) -> str:
    rule = await catalog.put_rule(HERE, bus, name, created_by=HERE.account, event_pattern=pattern, **more)
    return rule.arn


async def put_targets(catalog: Catalog, rule: str, *targets: Target, bus: str = "default") -> None:
    await catalog.put_targets(HERE, bus, rule, targets)


def event(source: str = "orders", detail: str = "{}") -> Event:
    return Event("id", "type", source, HERE.account, "2026-11-23T10:00:00Z", HERE.region, (), detail)


def matched(catalog: Catalog, source: str = "orders", *, bus: str = "default") -> list[str]:
    """The names of the rules that an event of this source matches."""
    route = catalog.route(HERE, bus)
    assert route is not None
    return sorted(rule.name for rule in route.table.match(event(source)))
