"""Fixtures for all tests: hypothesis profiles and a guard against blocking calls on the event loop."""

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", parent=settings.get_profile("ci"), derandomize=False, max_examples=10_000)
settings.load_profile("deep" if os.environ.get("CROSSBUS_TEST_DEEP") else "ci")


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """A test fails when the hub's own code makes a blocking call on a running event loop."""
    with blockbuster_ctx("router") as guard:
        for function in guard.functions.values():
            # The data folder is taken, and keys are read, before anything is served.
            function.can_block_in("router/store/lmdb.py", {"_lock_folder", "__init__"})
            function.can_block_in("router/secrets.py", {"load"})
            # Benchmarks read /proc, which is no disk; the hub does not.
            function.can_block_in("router/bench/process.py", {"family", "_times_s", "_anonymous_mb"})
        yield guard
