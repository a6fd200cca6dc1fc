"""EventBridge's whole API over the real data path in memory, without HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.api.operations import operations
from router.api.put_events import PutEvents
from router.aws.service import Service
from router.core.policy import Decision
from router.sources.intake import Intake
from tests.connections import connections_of
from tests.pipeline.hub import Hub, ScriptedSink, running
from tests.pipeline.memory_store import MemoryStore


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Hub, Service]]:
    async with running(MemoryStore(), ScriptedSink()) as hub:
        intake = Intake(
            pipeline=hub.pipeline,
            find_bus=hub.catalog.bus,
            authorize=lambda sender, bus, source, detail_type: Decision.ALLOW,
            trails=lambda location: [],
            world=hub.world,
            metrics=hub.metrics,
            put_events_bytes_max=1 << 20,
        )
        put_events = PutEvents(intake, lambda body: service.read("PutEvents", body))
        control = operations(
            hub.catalog,
            archives=hub.archives,
            replays=hub.replays,
            connections=connections_of(hub.catalog, hub.world),
        )
        service = Service("events", control, {"PutEvents": put_events})
        yield hub, service
