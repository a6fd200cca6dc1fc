"""What durability costs: the same load on hubs with `durability: fsync` and `durability: os`, in turns, in one run.

    python -m loadtest.durability [--pairs 5] [--events 30000]

Each pair is two fresh hubs on the same disk, one for each setting; which one comes first changes from pair to pair. The
load is that of `loadtest.ingest`: ten entries of 1.1 KB a request, 16 connections, 100 rules of which one matches,
delivered to an inbox. Then one PutEvents of one entry at a time. Ratios are taken within a pair. Before each hub the
disk itself is asked: how long the two syncs of a commit take on it without any hub, which a lone PutEvents cannot beat
and which changes with what else the machine does. Exits with 1 when durability costs more than a quarter of the events
per CPU second, or a lone PutEvents takes more than 5 ms (p50).
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.ingest import delivered, entries, load, settings
from loadtest.report import write

Setting = Literal["fsync", "os"]
RATIO_MIN = 0.75
LONE_P50_MS_MAX = 5.0
_RULES = 100
_LONE_REQUESTS = 300
_LONE_PAUSE_S = 0.01
_SYNCS = 100
_FIGURES = ("accepted_per_hub_cpu_s", "accepted_per_s", "lone_p50_ms", "lone_p99_ms", "disk_p50_ms")


async def _lone(port: int) -> list[float]:
    """How long each of a number of PutEvents takes that come one by one, in ms, sorted."""
    payload = request("AWSEvents.PutEvents", {"Entries": entries()[:1]}, account=ACCOUNT, region=REGION)
    connection = await Connection.open(port)
    took = []
    for _ in range(_LONE_REQUESTS):
        await asyncio.sleep(_LONE_PAUSE_S)
        started = time.perf_counter()
        status, body = await connection.send(payload)
        took.append((time.perf_counter() - started) * 1000)
        if status != 200 or b'"FailedEntryCount":0' not in body:
            raise RuntimeError(f"PutEvents failed: {status} {body[:300]!r}")
    connection.close()
    return sorted(took)


def disk_ms() -> float:
    """The median of what a commit waits for: some pages and fdatasync, then a head through O_DSYNC; in ms."""
    took = []
    with tempfile.NamedTemporaryFile(prefix="crossbus-bench-") as file:
        head = os.open(file.name, os.O_WRONLY | os.O_DSYNC)
        for number in range(_SYNCS):
            os.pwrite(file.fileno(), os.urandom(4 * 4096), (1 + number % 16) * 4 * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            os.pwrite(head, os.urandom(120), 0)
            took.append((time.perf_counter() - started) * 1000)
        os.close(head)
    return statistics.median(took)


def one_run(setting: Setting, events: int) -> dict[str, float]:
    """One fresh hub."""
    synced_ms = disk_ms()
    with Hub({**settings(_RULES), "store": {"durability": setting}}) as hub:
        asyncio.run(load(hub.port, 2000))
        asyncio.run(delivered(hub.port, 2000))
        cpu_s = hub.cpu_s()
        seconds, _ = asyncio.run(load(hub.port, events))
        asyncio.run(delivered(hub.port, events + 2000))
        used_s = hub.cpu_s() - cpu_s
        lone = asyncio.run(_lone(hub.port))
        return {
            "accepted_per_hub_cpu_s": round(events / used_s),
            "accepted_per_s": round(events / seconds),
            "lone_p50_ms": round(lone[len(lone) // 2], 2),
            "lone_p99_ms": round(lone[len(lone) * 99 // 100], 2),
            "disk_p50_ms": round(synced_ms, 2),
        }


def disk() -> str:
    """The file system that the hubs' folders are on."""
    folder = Path(tempfile.gettempdir()).resolve()
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mounted, kind, *_ = line.split(" ")
        if folder.is_relative_to(mounted) and len(mounted) >= len(best[0]):
            best = (mounted, kind)
    return best[1]


def main() -> None:
    """Run, print the table, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=5, help="pairs of hubs (default 5)")
    arguments.add_argument("--events", type=int, default=30_000, help="events a hub (default 30000)")
    chosen = arguments.parse_args()
    orders: tuple[tuple[Setting, Setting], ...] = (("fsync", "os"), ("os", "fsync"))
    pairs: list[dict[Setting, dict[str, float]]] = []
    for number in range(chosen.pairs):
        pairs.append({setting: one_run(setting, chosen.events) for setting in orders[number % 2]})
        print(f"pair {number + 1} of {chosen.pairs}: {_ratio(pairs[-1]):.3f}", flush=True)
    medians: dict[str, dict[str, float]] = {
        setting: {figure: statistics.median(pair[setting][figure] for pair in pairs) for figure in _FIGURES}
        for setting in orders[0]
    }
    ratio = statistics.median(map(_ratio, pairs))
    _print(medians, ratio, len(pairs), chosen.events)
    results: dict[str, Any] = {"ratio": ratio, "ratio_min": RATIO_MIN, "medians": medians, "pairs": pairs}
    write("durability", {**results, "file_system": disk()})
    sys.exit(0 if ratio >= RATIO_MIN and medians["fsync"]["lone_p50_ms"] < LONE_P50_MS_MAX else 1)


def _ratio(pair: dict[Setting, dict[str, float]]) -> float:
    figure = "accepted_per_hub_cpu_s"
    return round(pair["fsync"][figure] / pair["os"][figure], 3)


def _print(medians: dict[str, dict[str, float]], ratio: float, pairs: int, events: int) -> None:
    print(f"\nmedians of {pairs} pairs, {events:,} events each, {_RULES} rules, on {disk()}")
    print(f"  {'':<24}{'fsync':>10}{'os':>10}{'fsync / os':>12}")
    for figure in _FIGURES:
        synced, left = medians["fsync"][figure], medians["os"][figure]
        print(f"  {figure:<24}{round(synced, 2):>10,}{round(left, 2):>10,}{synced / left:>12.3f}")
    print(f"  within pairs, accepted_per_hub_cpu_s: {ratio:.3f} (at least {RATIO_MIN} is wanted)")


if __name__ == "__main__":
    main()
