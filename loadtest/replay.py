"""PutEvents into an archive, then a replay of all of it to an SQS inbox while a client goes on putting events.

    python -m loadtest.replay [--events 200000] [--runs 1]

Client and hub share the machine. Reports how many events were archived and replayed, a second and a CPU second of the
hub, the hub's memory, and what the replay does to a live client that sends a hundred events a second. Results go to
loadtest/results/replay.json.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.ingest import load
from loadtest.report import report

_LIVE_PAUSE_S = 0.01
_LIVE_S = 5.0
_REPLAY_S_MAX = 1800.0
_BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"


def settings() -> dict[str, Any]:
    """A hub with an archive of the shop's events, and a queue that gets what is replayed and what is live."""
    target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"}
    return {
        "inboxes": {"messages_max": 10_000_000},
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "queues": [{"QueueName": "events"}],
                "archives": [{"ArchiveName": "shop", "EventPattern": {"source": ["shop"]}}],
                "rules": [
                    {"Name": "replayed", "EventPattern": {"replay-name": [{"exists": True}]}, "Targets": [target]},
                    {"Name": "live", "EventPattern": {"source": ["live"]}, "Targets": [target]},
                ],
            }
        ],
    }


async def call(connection: Connection, operation: str, **body: Any) -> dict[str, Any]:
    status, answer = await connection.send(request(f"AWSEvents.{operation}", body, account=ACCOUNT, region=REGION))
    if status != 200:
        raise RuntimeError(f"{operation} failed: {status} {answer[:300]!r}")
    found: dict[str, Any] = json.loads(answer)
    return found


async def live(port: int, ended: Callable[[], bool]) -> list[float]:
    """One event after the other, with pauses, until it has ended: each request's latency, sorted."""
    entry = {"Source": "live", "DetailType": "t", "Detail": "{}"}
    payload = request("AWSEvents.PutEvents", {"Entries": [entry]}, account=ACCOUNT, region=REGION)
    connection = await Connection.open(port)
    latencies: list[float] = []
    while not ended():
        started = time.perf_counter()
        status, body = await connection.send(payload)
        latencies.append(time.perf_counter() - started)
        if status != 200 or b'"FailedEntryCount":0' not in body:
            raise RuntimeError(f"PutEvents failed: {status} {body[:300]!r}")
        await asyncio.sleep(_LIVE_PAUSE_S)
    connection.close()
    return sorted(latencies)


async def replay(hub: Hub) -> tuple[float, float]:
    """Start it and wait for its end: seconds, and the most anonymous memory that was seen, in MB."""
    connection = await Connection.open(hub.port)
    started = time.perf_counter()
    await call(
        connection,
        "StartReplay",
        ReplayName="again",
        EventSourceArn=f"arn:aws:events:{REGION}:{ACCOUNT}:archive/shop",
        EventStartTime=0,
        EventEndTime=4_000_000_000,
        Destination={"Arn": _BUS},
    )
    memory_mb = 0.0
    while (seconds := time.perf_counter() - started) < _REPLAY_S_MAX:
        memory_mb = max(memory_mb, hub.anonymous_mb())
        state = (await call(connection, "DescribeReplay", ReplayName="again"))["State"]
        if state == "COMPLETED":
            connection.close()
            return seconds, memory_mb
        if state not in ("STARTING", "RUNNING"):
            raise RuntimeError(f"the replay is {state}")
        await asyncio.sleep(0.25)
    raise RuntimeError(f"the replay has not ended after {_REPLAY_S_MAX} s")


async def replayed(hub: Hub) -> tuple[float, float, list[float]]:
    """The replay with a live client beside it: seconds, memory, the client's latencies."""
    done = False
    beside = asyncio.create_task(live(hub.port, lambda: done))
    seconds, memory_mb = await replay(hub)
    done = True
    return seconds, memory_mb, await beside


async def archived(port: int) -> int:
    connection = await Connection.open(port)
    found = await call(connection, "DescribeArchive", ArchiveName="shop")
    connection.close()
    count: int = found["EventCount"]
    return count


def one_run(events: int) -> dict[str, float]:
    """One fresh hub: the figures of a run."""
    with Hub(settings()) as hub:
        asyncio.run(load(hub.port, 2000))
        cpu = hub.cpu_s()
        archived_s, _ = asyncio.run(load(hub.port, events))
        archived_cpu = hub.cpu_s() - cpu
        count = asyncio.run(archived(hub.port))
        if count < events:
            raise RuntimeError(f"{count} events are in the archive, {events} were put")
        end = time.perf_counter() + _LIVE_S
        alone = asyncio.run(live(hub.port, lambda: time.perf_counter() > end))
        before_mb = hub.anonymous_mb()
        cpu = hub.cpu_s()
        seconds, memory_mb, beside = asyncio.run(replayed(hub))
        return {
            "archived_per_s": round(events / archived_s),
            "archived_per_hub_cpu_s": round(events / archived_cpu),
            "replayed_per_s": round(count / seconds),
            "replayed_per_hub_cpu_s": round(count / (hub.cpu_s() - cpu)),
            "anonymous_mb_before": round(before_mb, 1),
            "anonymous_mb_most": round(memory_mb, 1),
            "live_alone_p50_ms": _ms(alone, 50),
            "live_alone_p99_ms": _ms(alone, 99),
            "live_beside_p50_ms": _ms(beside, 50),
            "live_beside_p99_ms": _ms(beside, 99),
        }


def _ms(latencies: list[float], percent: int) -> float:
    return round(latencies[len(latencies) * percent // 100] * 1000, 2)


def main() -> None:
    """Run, print a table of medians, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=200_000, help="events a run (default 200000)")
    arguments.add_argument("--runs", type=int, default=1, help="runs, each with a fresh hub (default 1)")
    chosen = arguments.parse_args()
    runs = []
    for number in range(chosen.runs):
        runs.append(one_run(chosen.events))
        print(f"run {number + 1} of {chosen.runs}: {runs[-1]['replayed_per_s']:,} replayed a second", flush=True)
    report("replay", f"{chosen.events} events each", runs)


if __name__ == "__main__":
    main()
