"""Out of the hub and into it over its own HTTP client: one POST an event to an API destination, batches of ten to an
SQS-protocol endpoint, messages of a queue taken and deleted.

    python -m loadtest.delivery --path api-destination|sqs-endpoint|sqs-source [--events 40000] [--runs 5] [--rules 100]

One rule of `--rules` matches. The first two paths begin with PutEvents requests of ten entries and count their cost;
the third ends in an archive: every message is durably accepted and then deleted. The other side is a process of its own
that is faster than the hub (`loadtest.fast_targets`). What counts is the hub's CPU, so that a shared machine blurs it
less.
Reports medians, and writes them to loadtest/results/delivery-PATH.json.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Any

from loadtest import ingest
from loadtest.fast_targets import FastTarget
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.report import report
from router.catalog.declared_connections import destination_arn
from router.core.event import Location

PATHS = {"api-destination": "http", "sqs-endpoint": "sqs-endpoint", "sqs-source": "sqs-source"}
_KEYS = {"access_key_id": "AKIDLOADTEST", "secret_access_key": "load/test/secret"}
_WARM_UP = 2000
_WAIT_S_MAX = 300
_POLLERS = 8


def settings(path: str, target: FastTarget, rules: int) -> dict[str, Any]:
    """The hub of `ingest`, with the other side as its matching rule's target or as its source."""
    if path == "sqs-source":
        source = {
            "queue_url": target.queue_url,
            "endpoint": f"http://127.0.0.1:{target.port}",
            "queue_region": REGION,
            "credentials": _KEYS,
            "account": ACCOUNT,
            "region": REGION,
            "pollers": _POLLERS,
        }
        return {**ingest.settings(rules, into="archive"), "sqs_sources": [source]}
    found = ingest.settings(rules)
    if path == "sqs-endpoint":
        return {
            **found,
            "endpoints": [{"service": "sqs", "url": f"http://127.0.0.1:{target.port}", "credentials": _KEYS}],
        }
    [resources] = found["resources"]
    resources["connections"] = [
        {
            "Name": "partner",
            "AuthorizationType": "API_KEY",
            "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "load-test"}},
        }
    ]
    resources["api_destinations"] = [
        {
            "Name": "orders",
            "ConnectionName": "partner",
            "InvocationEndpoint": f"http://127.0.0.1:{target.port}/hook",
            "HttpMethod": "POST",
            "InvocationRateLimitPerSecond": 100_000,
        }
    ]
    arn = destination_arn(Location(ACCOUNT, REGION), "orders")
    resources["rules"][0]["Targets"] = [{"Id": "hook", "Arn": arn, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/hub"}]
    return found


def _until(counts: Callable[[], int], events: int) -> None:
    """Wait until the other side has counted so many."""
    end = time.perf_counter() + _WAIT_S_MAX
    while time.perf_counter() < end:
        if counts() >= events:
            return
        time.sleep(0.02)
    raise RuntimeError(f"{counts()} of {events} events came within {_WAIT_S_MAX} s")


def one_run(path: str, events: int, rules: int) -> dict[str, float]:
    """One fresh hub and other side: the figures of a run."""
    with FastTarget(PATHS[path], messages=events) as target, Hub(settings(path, target, rules)) as hub:
        if path != "sqs-source":
            time.sleep(1.0)
            asyncio.run(ingest.load(hub.port, _WARM_UP))
            _until(lambda: target.counts()["messages"], _WARM_UP)
        cpu = hub.cpu_s()
        before = target.counts()
        started = time.perf_counter()
        if path == "sqs-source":
            _until(lambda: target.counts()["deleted"], events)
        else:
            asyncio.run(ingest.load(hub.port, events))
            _until(lambda: target.counts()["messages"], _WARM_UP + events)
        took_s = time.perf_counter() - started
        used_s = hub.cpu_s() - cpu
        return {
            "events_per_hub_cpu_s": round(events / used_s),
            "events_per_s": round(events / took_s),
            "events_per_request": round(events / max(target.counts()["requests"] - before["requests"], 1), 2),
            "hub_cpu_us_per_event": round(used_s / events * 1e6, 1),
            "loaded_anonymous_mb": round(hub.anonymous_mb(), 1),
        }


def measure(path: str, *, events: int = 40_000, runs: int = 5, rules: int = 100) -> None:
    """Run, print a table of medians, write the results."""
    figures = []
    for number in range(runs):
        figures.append(one_run(path, events, rules))
        print(f"run {number + 1} of {runs}: {figures[-1]['events_per_hub_cpu_s']:,} a CPU second", flush=True)
    report(f"delivery-{path}", f"{events} events each, {path}, {rules} rules", figures)


def main() -> None:
    """One path, as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--path", choices=PATHS, required=True, help="what is measured")
    arguments.add_argument("--events", type=int, default=40_000, help="events a run (default 40000)")
    arguments.add_argument("--runs", type=int, default=5, help="runs, each with a fresh hub (default 5)")
    arguments.add_argument("--rules", type=int, default=100, help="rules on the bus, one of which matches")
    chosen = arguments.parse_args()
    measure(chosen.path, events=chosen.events, runs=chosen.runs, rules=chosen.rules)


if __name__ == "__main__":
    main()
