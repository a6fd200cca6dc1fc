"""Where the hub's CPU goes on an event's way, by stage: microseconds an event, for each path of `loadtest.paths`.

    python -m loadtest.stages [--path inbox] [--path api-destination] [--events 60000]

The hub runs in this process with a timer that looks, every millisecond of CPU, at what its event loop's thread does;
the clients of `loadtest.ingest` and the targets run in others. A moment counts as the stage of the innermost file that
has one, system calls among it; what the process has used beside the loop's thread is the commit thread's. Prints a
table, and writes it to loadtest/results/stages.json and stages.md.
"""

import argparse
import asyncio
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import uvloop

from loadtest import ingest, paths
from loadtest.hub import ACCOUNT, REGION
from loadtest.report import RESULTS, write
from loadtest.targets import Targets
from router import daemon
from router.config import Hub

_WARM_UP = 2000
_WAIT_S_MAX = 120.0
_STAGES = {
    "sources/fast_lane_parser.py": "read the request",
    "sources/fast_lane.py": "read the request",
    "sources/calls.py": "read the request",
    "aws/sigv4.py": "signatures: who calls, or our own",
    "api/put_events.py": "decode the entries, encode the answer",
    "sources/intake.py": "check the entries",
    "core/event.py": "check the entries",
    "router/world.py": "make ids",
    "core/ruletable": "match",
    "<rules>": "match",
    "core/policy.py": "match",
    "router/planning.py": "plan",
    "router/archive_rows.py": "plan",
    "router/trace.py": "plan",
    "router/simulator/": "put into the inbox",
    "sinks/inbox.py": "put into the inbox",
    "store/": "fill the transaction",
    "router/lanes.py": "lanes: take, read from disk, forget",
    "router/pipeline.py": "deliver and settle",
    "router/attempts.py": "deliver and settle",
    "router/attempt_counts.py": "deliver and settle",
    "router/pacing.py": "deliver and settle",
    "sinks/http_": "HTTP out: write, read the answer",
    "router/sinks/": "the sink",
    "sources/sqs.py": "the queue's messages",
}
"""By a part of the path; the first that fits counts."""
_ORDER = (*dict.fromkeys(_STAGES.values()), "event loop, sockets in", "commit thread")


class Way(msgspec.Struct, frozen=True):
    """A path: its hub, and how many events have arrived at its end."""

    settings: Callable[[Targets], dict[str, Any]]
    arrived: Callable[[Targets, int], int] | None = None
    from_queue: bool = False


_PATHS = {
    "nothing": Way(lambda _: ingest.settings(100, into="nothing")),
    "archive": Way(lambda _: ingest.settings(1, into="archive")),
    "inbox": Way(lambda _: ingest.settings(1)),
    "api-destination": Way(paths.api_destination_settings, lambda targets, _: targets.counts().posts),
    "sqs-endpoint": Way(paths.sqs_endpoint_settings, lambda targets, _: targets.counts().messages),
    "sqs-source": Way(paths.sqs_source_settings, lambda targets, _: targets.counts().deleted, from_queue=True),
    "bus-to-bus": Way(lambda _: paths.bus_to_bus_settings()),
}


def stage(frame: FrameType | None) -> str:
    """The stage of a stack."""
    while frame is not None:
        path = frame.f_code.co_filename
        found = next((stage for part, stage in _STAGES.items() if part in path), "")
        if found:
            return found
        frame = frame.f_back
    return "event loop, sockets in"


def clients(port: int, events: int) -> None:
    """The load, in a process of its own."""
    uvloop.run(ingest.load(port, events))


async def run(hub: Hub, path: Way, targets: Targets, events: int) -> dict[str, float]:
    """Microseconds an event by stage."""
    samples: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        async with daemon.running(hub) as http:

            async def through(count: int, total: int) -> None:
                if path.from_queue:
                    targets.open(count)
                else:
                    await loop.run_in_executor(pool, clients, http.port, count)
                if path.arrived is None:
                    await asyncio.sleep(1)
                    return
                async with asyncio.timeout(_WAIT_S_MAX):
                    # The targets tell nobody when an event has come.
                    while await asyncio.to_thread(path.arrived, targets, http.port) < total:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)

            await through(_WARM_UP, _WARM_UP)
            process, thread = time.process_time(), time.thread_time()
            signal.signal(signal.SIGPROF, lambda _, frame: samples.update((stage(frame),)))
            signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
            await through(events, _WARM_UP + events)
            signal.setitimer(signal.ITIMER_PROF, 0)
            own = time.thread_time() - thread
            others = time.process_time() - process - own
    total = sum(samples.values())
    table = {name: round(own * count / total / events * 1e6, 2) for name, count in samples.items()}
    return {**table, "commit thread": round(others / events * 1e6, 2)}


def measured(name: str, events: int) -> dict[str, float]:
    """One path with a hub of its own."""
    with tempfile.TemporaryDirectory(prefix="crossbus-bench-") as folder, Targets() as targets:
        settings = {
            "accounts": [{"id": ACCOUNT}],
            "regions": [REGION],
            "quotas": "raised",
            **_PATHS[name].settings(targets),
            "listen": {"host": "127.0.0.1", "port": 0},
            "data_folder": str(Path(folder) / "data"),
        }
        return uvloop.run(run(msgspec.convert(settings, Hub), _PATHS[name], targets, events))


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown: a row a stage, a column a path."""
    lines = [f"| µs an event | {' | '.join(results)} |", f"| --- |{' --- |' * len(results)}"]
    for name in _ORDER:
        cells = [f"{found[name]:.1f}" if found.get(name, 0.0) >= 0.05 else "" for found in results.values()]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"| all | {' | '.join(f'{sum(found.values()):.1f}' for found in results.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=60_000, help="events (default 60000)")
    arguments.add_argument("--path", action="append", choices=tuple(_PATHS), help="this path alone; may be repeated")
    chosen = arguments.parse_args()
    results: dict[str, dict[str, float]] = {}
    for name in chosen.path or _PATHS:
        results[name] = measured(name, chosen.events)
        print(f"{name}: {sum(results[name].values()):.1f} µs an event", flush=True)
    print(f"\n{table(results)}")
    write("stages", {"events": chosen.events, "us_an_event": results})
    (RESULTS / "stages.md").write_text(table(results) + "\n")


if __name__ == "__main__":
    main()
