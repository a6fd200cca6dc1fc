"""Connections over a catalog in memory, for the tests of what uses them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from router.addresses import Policy
from router.catalog import quotas
from router.catalog.catalog import Catalog
from router.catalog.quotas import Quotas
from router.config import Hub
from router.connections import Connections
from router.secrets import Secrets
from router.sinks.api_destination import ApiDestinationSink
from router.sinks.http_client import Clients, HttpClient
from router.store.base import Store
from router.tokens import Tokens
from router.world import RealWorld, World
from tests.pipeline.memory_store import MemoryStore

KEY = bytes(range(32))
LOOPBACK = Policy(loopback=True)


class Parts(msgspec.Struct, frozen=True):
    """What stands behind API destinations. Whoever wants tokens fetched in the background runs `tokens.run`."""

    catalog: Catalog
    connections: Connections
    tokens: Tokens
    clients: Clients
    world: World

    def sink(self, timeout_s: float = 5.0) -> ApiDestinationSink:
        return ApiDestinationSink(
            self.connections, self.tokens, clients=self.clients, world=self.world, timeout_s=timeout_s
        )


def connections_of(
    catalog: Catalog, world: World, *, policy: Policy = LOOPBACK, keys: tuple[bytes, ...] = (KEY,)
) -> Connections:
    return Connections(catalog, Secrets(keys, world), world, policy=policy)


@asynccontextmanager
async def parts_of(
    hub: Hub | None = None,
    *,
    store: Store | None = None,
    policy: Policy = LOOPBACK,
    keys: tuple[bytes, ...] = (KEY,),
    limits: Quotas = quotas.RAISED,
    clients: dict[str, Any] | None = None,
    world: World | None = None,
) -> AsyncIterator[Parts]:
    world = world or RealWorld()
    catalog = Catalog(store or MemoryStore(), world, quotas=limits, location_exists=lambda location: True)
    catalog.load()
    connections = connections_of(catalog, world, policy=policy, keys=keys)
    await connections.load()
    await connections.declare(hub.resources if hub is not None else [])
    made = Clients(named=HttpClient(**(clients or {})), guarded=HttpClient(policy=policy, **(clients or {})))
    try:
        yield Parts(catalog, connections, Tokens(connections, made, world), made, world)
    finally:
        await made.named.close()
        await made.guarded.close()
