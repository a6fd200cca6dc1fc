"""The goals, measured: every path of `loadtest.goals`, each the median of several runs with a fresh hub.

    python -m loadtest [--runs 5] [--events 40000] [--only inbox-1 --only latency] [--quick]

The runs of the paths take turns, so that a machine that is slower for a while is so for all of them. Writes bench.json
(every run), bench.md (the table) and bench.svg into loadtest/results, anew after every round, so that a suite that is
broken off leaves what it has. Ends with 1 when a path could not be measured; a goal that is missed is no error.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest import picture
from loadtest.goals import ROWS, Row, lines, table
from loadtest.paths import Figures, Sizes
from loadtest.report import processor, write
from router import __version__

_QUICK = Sizes(events=4_000, warm_up=500, latency_events=60, half_s=2.0)


def measure(rows: Sequence[Row], runs: int, sizes: Sizes) -> tuple[dict[str, list[Figures]], dict[str, str]]:
    """The figures of each row's runs, and why rows could not be measured; such a row is not tried again."""
    results: dict[str, list[Figures]] = {row.name: [] for row in rows}
    failed: dict[str, str] = {}
    started = time.perf_counter()
    for number in range(1, runs + 1):
        for row in rows:
            if row.name in failed:
                continue
            print(f"[{time.perf_counter() - started:5.0f} s] run {number} of {runs}: {row.path} … ", end="", flush=True)
            try:
                figures = row.run(sizes)
            except (RuntimeError, OSError) as error:
                failed[row.name] = f"{type(error).__name__}: {error}"
                print(f"failed: {failed[row.name]}", flush=True)
                continue
            results[row.name].append(figures)
            print(told(figures), flush=True)
        save(results, failed, sizes)
    return results, failed


def told(figures: Figures) -> str:
    """A run in a few words."""
    parts = []
    if "per_cpu_s" in figures:
        parts.append(f"{figures['per_cpu_s']:,} a CPU second, {figures['per_s']:,} a second")
    if "max_ms" in figures:
        parts.append(f"p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms")
    if not parts:
        parts.append(f"ready after {figures['ready_s']} s, {figures['idle_anonymous_mb']} MB")
    return ", ".join(parts)


def save(results: Mapping[str, Sequence[Figures]], failed: Mapping[str, str], sizes: Sizes) -> Path:
    """Write the three files; the folder that they are in."""
    found = lines(results)
    runs = max((len(line.runs) for line in found), default=0)
    loads = [run["load_average"] for line in found for run in line.runs if "load_average" in run]
    load = f"load average {min(loads):.1f} to {max(loads):.1f}" if loads else f"load average {os.getloadavg()[0]:.1f}"
    on = f"crossbus {__version__}, {processor()}, CPython {platform.python_version()}, median of {runs} runs, {load}"
    path = write(
        "bench",
        {
            "version": __version__,
            "sizes": {name: getattr(sizes, name) for name in sizes.__struct_fields__},
            "rows": [
                {
                    "name": line.name,
                    "path": line.path,
                    "goals": [{"figure": goal.figure, "bound": goal.bound} for goal in line.goals],
                    "met": line.is_met,
                    "medians": line.medians,
                    "runs": line.runs,
                }
                for line in found
            ],
            "failed": failed,
        },
    )
    missing = "".join(f"\nNot measured: {name}: {reason}\n" for name, reason in failed.items())
    path.with_suffix(".md").write_text(
        f"{table(found)}\n{missing}\n{on}; {sizes.events:,} events of 1.3 KB a run, ten a request, 16 connections, "
        "client and targets on the same machine. p50 and p99 are of a PutEvents request at saturation; at 20 a second "
        "and at half of saturation, from the PutEvents call to the event's arrival.\n"
    )
    path.with_suffix(".svg").write_text(picture.draw(found, on))
    return path.parent


def main() -> None:
    """Measure, print the table, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=5, help="runs of each path, each with a fresh hub (default 5)")
    arguments.add_argument("--events", type=int, help="events a run (default 40000)")
    arguments.add_argument(
        "--only", action="append", choices=[row.name for row in ROWS], help="measure this path, and others named so"
    )
    arguments.add_argument("--quick", action="store_true", help="small sizes: shows that it works, measures nothing")
    chosen = arguments.parse_args()
    if chosen.runs < 1 or (chosen.events is not None and chosen.events < 1000):
        arguments.error("expected at least 1 run and 1000 events")
    sizes = _QUICK if chosen.quick else Sizes()
    if chosen.events is not None:
        sizes = Sizes(chosen.events, sizes.warm_up, sizes.latency_events, sizes.half_s)
    rows = [row for row in ROWS if not chosen.only or row.name in chosen.only]
    results, failed = measure(rows, chosen.runs, sizes)
    folder = save(results, failed, sizes)
    print(f"\n{(folder / 'bench.md').read_text()}\nwrote bench.json, bench.md and bench.svg into {folder}")
    if failed:
        sys.exit(1)
