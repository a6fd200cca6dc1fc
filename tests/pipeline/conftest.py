"""A store in memory, a sink that answers as a test says, and a pipeline between them."""

from collections.abc import AsyncIterator

import pytest

from tests.pipeline.hub import Hub, ScriptedSink, running
from tests.pipeline.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def sink() -> ScriptedSink:
    return ScriptedSink()


@pytest.fixture
async def hub(store: MemoryStore, sink: ScriptedSink) -> AsyncIterator[Hub]:
    async with running(store, sink) as made:
        yield made
