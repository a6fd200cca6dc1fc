from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.simulator.bench import Bench, HandWorld


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, HandWorld())
    yield made
    await made.store.close()
