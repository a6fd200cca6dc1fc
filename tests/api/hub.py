"""The control plane behind AWS's wire: requests are checked against the model and answers written by it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from router import archive_rows
from router.api.operations import operations
from router.archive_rows import ArchiveRows, Tally
from router.archives import Archives
from router.aws.service import Caller, Service
from router.catalog.catalog import Catalog
from router.core.event import Event
from router.errors import ApiError
from router.metrics import Metrics
from router.planning import Incoming
from router.sources.outcome import Refused, Taken
from router.sources.replay import Replays
from router.store.base import Batch
from tests.catalog.hub import HERE, OTHER, running
from tests.connections import connections_of

ME = Caller(HERE.account, HERE.region)
THEM = Caller(OTHER.account, OTHER.region)
ORGANIZATIONS = {OTHER.account: "o-1234567890"}


class Api:
    """Calls operations as a client would; `call` gives the answer, `refused` the code and text of a refusal."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.store, world, metrics = catalog._store, catalog.world, Metrics()
        self.archives = Archives(catalog, ArchiveRows(self.store, metrics), world)
        self.archives.load()
        self.replayed: list[Incoming] = []
        self.replays = Replays(
            catalog=catalog,
            store=self.store,
            rows=self.archives.rows,
            accept=self._accept,
            pending=lambda: 0,
            world=world,
            metrics=metrics,
            state_s_min=0.0,
        )
        self.connections = connections_of(catalog, world)
        control = operations(
            catalog,
            organization=ORGANIZATIONS.get,
            archives=self.archives,
            replays=self.replays,
            connections=self.connections,
        )
        self._service = Service("events", control)

    async def _accept(self, incoming: Sequence[Incoming], batch: Batch) -> list[Taken | Refused]:
        """For replays: what they put is only noted."""
        await self.store.commit(batch)
        self.replayed += incoming
        return [Taken(item.event.id) for item in incoming]

    async def archive(self, number: int, *events: Event) -> None:
        """Put events into an archive as if they had been accepted."""
        batch, tallies = Batch(), dict[int, Tally]()
        now_ms = self.catalog.world.now_ms()
        for event in events:
            archive_rows.put(batch, tallies, [number], event, now_ms=now_ms, sequence=self.store.sequences(1))
        self.archives.rows.count(batch, tallies)
        await self.store.commit(batch)

    async def call(self, operation: str, caller: Caller = ME, **request: Any) -> Any:
        body = await self._service.call(operation, json.dumps(request).encode(), caller)
        return json.loads(body) if body else {}

    async def refused(self, operation: str, caller: Caller = ME, **request: Any) -> str:
        try:
            answer = await self.call(operation, caller, **request)
        except ApiError as error:
            return f"{error.code}: {error.message}"
        raise AssertionError(f"{operation} was accepted: {answer}")


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Api]:
    async with running(folder, **options) as catalog:
        yield Api(catalog)
