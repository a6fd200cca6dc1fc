"""Where the hub's CPU goes on an event's way, by stage: microseconds an event.

    python -m loadtest.stages [--into archive] [--rules 1] [--verified] [--events 100000]

The hub runs in this process with a timer that looks, every millisecond of CPU, at what its event loop's thread does;
the clients of `loadtest.ingest` run in another. What a stage calls counts as the stage's; the commit thread's time is
what the process has used beside the loop's. Prints a table, and writes it to loadtest/results/stages.json.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

import msgspec
import uvloop

from loadtest import ingest
from loadtest.hub import ACCOUNT, REGION
from loadtest.report import write
from router import daemon
from router.config import Hub

# The innermost file that is named here says which stage it is; then what is measured by a function's name.
_STAGES = {
    "sources/fast_lane_parser.py": "read the request",
    "aws/sigv4.py": "find the caller",
    "api/put_events.py": "decode the entries, encode the answer",
    "sources/intake.py": "check the entries",
    "core/event.py": "check the entries",
    "core/ruletable.py": "match",
    "pipeline.py": "plan",
    "archive_rows.py": "plan",
    "trace.py": "plan",
    "store/lmdb.py": "fill the transaction",
    "sources/fast_lane.py": "begin, count, answer",
    "sources/calls.py": "begin, count, answer",
    "aiohttp/web_protocol.py": "aiohttp",
}
_FUNCTIONS = dict.fromkeys(
    ("_work", "_deliver", "_attempts", "_send", "_settle", "_settled", "_accepted", "_wake"), "deliver and settle"
)


def stage(frame: FrameType | None) -> str:
    """The stage of a stack."""
    found = ""
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if path.endswith("router/pipeline.py") and name in _FUNCTIONS:
            return _FUNCTIONS[name]
        if not found:
            found = next((stage for part, stage in _STAGES.items() if path.endswith(part)), "")
        frame = frame.f_back
    return found or "event loop, sockets"


def clients(port: int, events: int, verified: bool) -> None:
    """The load, in a process of its own."""
    asyncio.run(ingest.load(port, events, verified=verified))


async def run(hub: Hub, events: int, *, into: str, verified: bool) -> dict[str, float]:
    """Microseconds an event by stage."""
    samples: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        async with daemon.running(hub) as http:
            await loop.run_in_executor(pool, clients, http.port, 5000, verified)
            process, thread = time.process_time(), time.thread_time()
            signal.signal(signal.SIGPROF, lambda _, frame: samples.update((stage(frame),)))
            signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
            await loop.run_in_executor(pool, clients, http.port, events, verified)
            if into == "inbox":
                await loop.run_in_executor(pool, wait, http.port, events + 5000, verified)
            signal.setitimer(signal.ITIMER_PROF, 0)
            own, others = time.thread_time() - thread, 0.0
            others = time.process_time() - process - own
    total = sum(samples.values())
    table = {name: round(own * count / total / events * 1e6, 2) for name, count in samples.most_common()}
    return {**table, "commit thread": round(others / events * 1e6, 2)}


def wait(port: int, events: int, verified: bool) -> None:
    asyncio.run(ingest.delivered(port, events, verified=verified))


def main() -> None:
    """Run, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=100_000, help="events (default 100000)")
    arguments.add_argument("--rules", type=int, default=1, help="rules on the bus")
    arguments.add_argument("--into", choices=("inbox", "archive", "nothing"), default="archive", help="where events go")
    arguments.add_argument("--verified", action="store_true", help="the hub checks signatures")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="crossbus-bench-") as folder:
        settings = {
            "accounts": [{"id": ACCOUNT}],
            "regions": [REGION],
            "quotas": "raised",
            **ingest.settings(chosen.rules, into=chosen.into, verified=chosen.verified),
            "listen": {"host": "127.0.0.1", "port": 0},
            "data_folder": str(Path(folder) / "data"),
        }
        hub = msgspec.convert(settings, Hub)
        table = uvloop.run(run(hub, chosen.events, into=chosen.into, verified=chosen.verified))
    width = max(map(len, table))
    for name, microseconds in table.items():
        print(f"  {name:<{width}}  {microseconds:>6.2f}")
    print(f"  {'all':<{width}}  {sum(table.values()):>6.2f}", file=sys.stdout)
    write("stages", {"into": chosen.into, "rules": chosen.rules, "verified": chosen.verified, "us_an_event": table})


if __name__ == "__main__":
    main()
