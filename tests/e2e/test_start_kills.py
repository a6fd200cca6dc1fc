"""A hub killed with SIGKILL while it starts: on thousands of deliveries that wait, and in a folder that is still empty.
Whatever it had done by then, the next start succeeds and nothing is lost.

The moments come from a seed; `CROSSBUS_CRASH_SEED=…` runs those of a failure again.
"""

import os
import random
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from loadtest import crash
from router.store.base import StoreError
from router.verify import verify
from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually
from tests.e2e.test_syncing import entry, received

PENDING_KILLS = 5
FIRST_KILLS = 4
RULES = 150


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CROSSBUS_CRASH_SEED") or secrets.randbelow(10**6))


def test_a_hub_killed_while_it_starts_on_thousands_of_pending_deliveries_loses_none(seed: int) -> None:
    result = crash.run_starts(PENDING_KILLS, seed)
    told = f"again with CROSSBUS_CRASH_SEED={seed}: {result}"
    assert (result.lost, result.broken) == (0, 0), told
    assert len(result.moments_s) == PENDING_KILLS
    assert result.pending > 3000, told
    assert result.good(), told


def settings() -> dict[str, Any]:
    """As much to declare at the first start as takes a while."""
    target = {"Id": "orders", "Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"}
    rules = [{"Name": f"unused-{n}", "EventPattern": {"source": [f"s{n}"]}, "Targets": [target]} for n in range(RULES)]
    rules.append({"Name": "orders", "EventPattern": {"source": ["shop"]}, "Targets": [target]})
    queues = [{"QueueName": name} for name in ("orders", "other")]
    return {"resources": [{"account": WORKLOAD, "region": REGION, "queues": queues, "rules": rules}]}


@pytest.mark.parametrize("number", range(FIRST_KILLS))
def test_a_hub_killed_at_its_first_start_starts_after_all(tmp_path: Path, seed: int, number: int) -> None:
    # The first is killed as soon as its folder is there, the others within the time that the start takes.
    moment_s = random.Random(seed + number).uniform(0.0, 0.25) if number else 0.0
    hub = HubProcess(tmp_path, settings())
    data = tmp_path / "data"
    hub.launch()
    while not data.exists() and not hub.has_ended():
        time.sleep(0.001)
    time.sleep(moment_s)
    assert not hub.has_ended(), hub.log
    hub.kill()
    with suppress(StoreError):  # it had not come to make one
        assert verify(data).problems == [], moment_s
    with hub:
        hub.client("events").put_events(Entries=[entry("after")])
        eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
        assert received(hub, 1) == ["after"]
        assert hub.stop() == 0
    report = verify(data)
    assert report.problems == []
    assert report.rows["catalog"] > RULES, "every rule is there"
