"""PutEvents through 100 rules, one of which matches, into an SQS inbox: accepted durably and delivered.

    python -m loadtest.ingest [--events 40000] [--runs 5] [--rules 100] [--log TRACE] [--into inbox] [--verified]

`--into archive` has an archive instead of the matching rule, `--into nothing` neither; `--verified` has the hub check
signatures. Requests have the headers of boto3's and differ from one another. Client and hub share the machine. Reports
medians, and writes them to loadtest/results/ingest.json.
"""

import argparse
import asyncio
import json
import time
from typing import Any

from loadtest.client import Connection, sdk_requests
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.report import report
from router.aws.sigv4 import Credentials
from router.bench.load import saturate
from router.bench.requests import ENTRIES, PutEvents, entry, pattern

_KEY = "AKIDLOADTEST"
_SECRET = "load/test/secret"


def settings(rules: int, level: str = "OFF", *, into: str = "inbox", verified: bool = False) -> dict[str, Any]:
    """A hub with one queue and `rules` rules, of which one matches the events; `level` is that of the bus's log."""
    key = {"access_key_id": _KEY, "secret_access_key": _SECRET, "account": ACCOUNT, "admin": True}
    target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"}
    return {
        "inboxes": {"messages_max": 10_000_000},
        **({"auth": {"mode": "sigv4", "keys": [key]}} if verified else {}),
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "queues": [{"QueueName": "events"}],
                "buses": [{"Name": "default", "LogConfig": {"Level": level}}] if level != "OFF" else [],
                "archives": [{"ArchiveName": "all"}] if into == "archive" else [],
                "rules": [
                    {
                        "Name": f"rule-{number}",
                        "EventPattern": pattern(number + (into != "inbox")),
                        "Targets": [target],
                    }
                    for number in range(rules)
                ],
            }
        ],
    }


def entries(user: int = 17) -> list[dict[str, str]]:
    """Ten entries, each of about 1.3 KB in the request."""
    return [entry(user=user)] * ENTRIES


async def load(port: int, events: int, *, verified: bool = False) -> tuple[float, list[float]]:
    """Seconds until all were acknowledged, and each request's latency."""
    requests = PutEvents(Credentials(_KEY if verified else ACCOUNT, _SECRET), REGION)
    put = await saturate(lambda: Connection.open(port), requests, events)
    if put.refused:
        raise RuntimeError(f"PutEvents refused {put.refused} of {events} events: {put.first_refusal}")
    return put.seconds, put.latencies_s


async def delivered(
    port: int, events: int, *, verified: bool = False, account: str = ACCOUNT, wait_s_max: float = 60.0
) -> None:
    """Wait until the queue holds all events."""
    url = f"http://127.0.0.1:{port}/{account}/events"
    body = {"QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"]}
    (payload,) = sdk_requests(
        "AmazonSQS.GetQueueAttributes",
        [body],
        region=REGION,
        service="sqs",
        credentials=Credentials(_KEY if verified else account, _SECRET),
    )
    connection = await Connection.open(port)
    end = time.perf_counter() + wait_s_max
    held = 0
    try:
        while time.perf_counter() < end:
            _, answer = await connection.send(payload)
            held = int(json.loads(answer)["Attributes"]["ApproximateNumberOfMessages"])
            if held >= events:
                return
            await asyncio.sleep(0.02)
    finally:
        connection.close()
    raise RuntimeError(f"{held} of {events} events were delivered within {wait_s_max:g} s")


def one_run(
    events: int, rules: int, level: str = "OFF", *, into: str = "inbox", verified: bool = False
) -> dict[str, float]:
    """One fresh hub: the figures of a run."""
    with Hub(settings(rules, level, into=into, verified=verified)) as hub:
        time.sleep(1.0)
        idle_mb = hub.anonymous_mb()
        asyncio.run(load(hub.port, 2000, verified=verified))
        if into == "inbox":
            asyncio.run(delivered(hub.port, 2000, verified=verified))
        cpu = hub.cpu_s()
        started = time.perf_counter()
        accepted_s, latencies = asyncio.run(load(hub.port, events, verified=verified))
        if into == "inbox":
            asyncio.run(delivered(hub.port, events + 2000, verified=verified))
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
    arguments.add_argument("--into", choices=("inbox", "archive", "nothing"), default="inbox", help="where events go")
    arguments.add_argument("--verified", action="store_true", help="the hub checks signatures")
    chosen = arguments.parse_args()
    runs = []
    for number in range(chosen.runs):
        runs.append(one_run(chosen.events, chosen.rules, chosen.log, into=chosen.into, verified=chosen.verified))
        print(f"run {number + 1} of {chosen.runs}: {runs[-1]['delivered_per_s']:,} delivered a second", flush=True)
    signed = ", signatures checked" if chosen.verified else ""
    headline = f"{chosen.events} events each into {chosen.into}, {chosen.rules} rules, log {chosen.log}{signed}"
    report("ingest", headline, runs)


if __name__ == "__main__":
    main()
