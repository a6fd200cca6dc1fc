"""PutEvents through 100 rules, one of which matches, into an SQS inbox: accepted durably and delivered.

    python -m loadtest.ingest [--events 40000] [--runs 5] [--rules 100] [--log TRACE]

Client and hub share the machine. Reports medians, and writes them to loadtest/results/ingest.json.
"""

import argparse
import asyncio
import json
import time
from typing import Any

from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.report import report

_CONNECTIONS = 16


def settings(rules: int, level: str = "OFF") -> dict[str, Any]:
    """A hub with one queue and `rules` rules, of which one matches the events; `level` is that of the bus's log."""
    target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"}
    return {
        "inboxes": {"messages_max": 10_000_000},
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "queues": [{"QueueName": "events"}],
                "buses": [{"Name": "default", "LogConfig": {"Level": level}}] if level != "OFF" else [],
                "rules": [
                    {
                        "Name": f"rule-{number}",
                        "EventPattern": {
                            "source": ["shop"],
                            "detail-type": ["order"],
                            "detail": {"kind": [f"kind-{number}"], "user": {"country": [{"anything-but": "nowhere"}]}},
                        },
                        "Targets": [target],
                    }
                    for number in range(rules)
                ],
            }
        ],
    }


def entries() -> list[dict[str, str]]:
    """Ten entries with details of about 1.3 KB."""
    detail = {
        "kind": "kind-0",
        "user": {"id": 17, "country": "NL", "name": "x" * 60},
        "items": [{"sku": f"sku-{number}", "price": number * 1.5, "text": "y" * 60} for number in range(10)],
    }
    return [{"Source": "shop", "DetailType": "order", "Detail": json.dumps(detail, separators=(",", ":"))}] * 10


async def load(port: int, events: int) -> tuple[float, list[float]]:
    """Seconds until all were acknowledged, and each request's latency."""
    payload = request("AWSEvents.PutEvents", {"Entries": entries()}, account=ACCOUNT, region=REGION)
    left = events // 10
    latencies: list[float] = []

    async def worker() -> None:
        nonlocal left
        connection = await Connection.open(port)
        while left > 0:
            left -= 1
            started = time.perf_counter()
            status, body = await connection.send(payload)
            latencies.append(time.perf_counter() - started)
            if status != 200 or b'"FailedEntryCount":0' not in body:
                raise RuntimeError(f"PutEvents failed: {status} {body[:300]!r}")
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(_CONNECTIONS)))
    return time.perf_counter() - started, latencies


async def delivered(port: int, events: int) -> None:
    """Wait until the queue holds all events."""
    url = f"http://127.0.0.1:{port}/{ACCOUNT}/events"
    body = {"QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"]}
    payload = request("AmazonSQS.GetQueueAttributes", body, account=ACCOUNT, region=REGION, service="sqs")
    connection = await Connection.open(port)
    end = time.perf_counter() + 60
    while time.perf_counter() < end:
        _, answer = await connection.send(payload)
        if int(json.loads(answer)["Attributes"]["ApproximateNumberOfMessages"]) >= events:
            return
        await asyncio.sleep(0.02)
    raise RuntimeError("not all events were delivered within 60 s")


def one_run(events: int, rules: int, level: str) -> dict[str, float]:
    """One fresh hub: the figures of a run."""
    with Hub(settings(rules, level)) as hub:
        time.sleep(1.0)
        idle_mb = hub.anonymous_mb()
        asyncio.run(load(hub.port, 2000))
        asyncio.run(delivered(hub.port, 2000))
        cpu = hub.cpu_s()
        started = time.perf_counter()
        accepted_s, latencies = asyncio.run(load(hub.port, events))
        asyncio.run(delivered(hub.port, events + 2000))
        delivered_s = time.perf_counter() - started
        latencies.sort()
        return {
            "ready_s": round(hub.ready_s, 3),
            "idle_anonymous_mb": round(idle_mb, 1),
            "loaded_anonymous_mb": round(hub.anonymous_mb(), 1),
            "accepted_per_s": round(events / accepted_s),
            "delivered_per_s": round(events / delivered_s),
            "delivered_per_hub_cpu_s": round(events / (hub.cpu_s() - cpu)),
            "accept_p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
            "accept_p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
        }


def main() -> None:
    """Run, print a table of medians, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=40_000, help="events a run (default 40000)")
    arguments.add_argument("--runs", type=int, default=5, help="runs, each with a fresh hub (default 5)")
    arguments.add_argument("--rules", type=int, default=100, help="rules on the bus, one of which matches")
    arguments.add_argument("--log", default="OFF", help="level of the bus's log: OFF (default), ERROR, INFO or TRACE")
    chosen = arguments.parse_args()
    runs = []
    for number in range(chosen.runs):
        runs.append(one_run(chosen.events, chosen.rules, chosen.log))
        print(f"run {number + 1} of {chosen.runs}: {runs[-1]['delivered_per_s']:,} delivered a second", flush=True)
    report("ingest", f"{chosen.events} events each, {chosen.rules} rules, one matches, log {chosen.log}", runs)


if __name__ == "__main__":
    main()
