"""`python -m tests.simulation`: run fresh seeds on all processors until one fails, and say which faults were reached.

With `--seed N` it runs that one again, with everything that happens in it where `--verbose` is given.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import TextIO

from tests.simulation.faults import REACHED
from tests.simulation.run import Report, Run, Violation

_SEEDS_A_TASK = 20
_SEEDS_ENOUGH = 200
"""From so many seeds on everything must have been reached."""
_FAILURES_SHOWN_MAX = 5
Outcome = tuple[list[Report], list[str]]


def run_some(seeds: range) -> Outcome:
    """The reports of those that kept every promise, and what the others say."""
    reports: list[Report] = []
    failures: list[str] = []
    for seed in seeds:
        try:
            reports.append(Run(seed).execute())
        except Violation as violation:
            failures.append(str(violation))
    return reports, failures


class Summary:
    """What a set of runs was."""

    def __init__(self) -> None:
        self.runs = 0
        self.events = 0
        self.attempts = 0
        self.crashes = 0
        self.hours = 0.0
        self.reached: Counter[str] = Counter()
        self.failures: list[str] = []

    def add(self, outcome: Outcome) -> None:
        reports, failures = outcome
        self.failures += failures
        for report in reports:
            self.runs += 1
            self.events += report.events
            self.attempts += report.attempts
            self.crashes += report.crashes
            self.hours += report.hours
            self.reached += report.reached

    def missed(self) -> list[str]:
        """What was never reached."""
        return [kind for kind in REACHED if not self.reached[kind]]

    def table(self) -> str:
        width = max(map(len, REACHED))
        rows = [f"{kind:{width}} {self.reached[kind]:>10,}" for kind in REACHED]
        half = -(-len(rows) // 2)
        left, right = rows[:half], [*rows[half:], ""]
        return "\n".join(f"{one}    {two}".rstrip() for one, two in zip(left, right, strict=False))

    def __str__(self) -> str:
        return (
            f"{self.runs:,} runs, {self.events:,} events, {self.attempts:,} attempts, {self.crashes:,} crashes, "
            f"{self.hours:,.0f} simulated hours"
        )


def _simulate(first: int, count: int, to: TextIO) -> int:
    """The process's exit status."""
    summary = Summary()
    seeds = range(first, first + count)
    started = time.monotonic()
    to.write(f"seeds {first} to {seeds[-1]}\n")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, outcome in enumerate(_outcomes(pool, seeds), start=1):
            summary.add(outcome)
            finished = min(count, done * _SEEDS_A_TASK)
            line = (
                f"{finished:,} of {count:,} seeds, {len(summary.failures)} failed, {time.monotonic() - started:.0f} s"
            )
            if to.isatty():
                to.write(f"\r{line}")
            elif finished == count or finished % (count // 10 or 1) < _SEEDS_A_TASK:
                to.write(f"{line}\n")
            to.flush()
            if len(summary.failures) >= _FAILURES_SHOWN_MAX:
                pool.shutdown(cancel_futures=True)
                break
    to.write(f"\n\n{summary}, {time.monotonic() - started:.0f} s\n\nhow often each fault and each end was reached:\n")
    to.write(f"{summary.table()}\n")
    for failure in summary.failures[:_FAILURES_SHOWN_MAX]:
        to.write(f"\n{failure}\n")
    if missed := summary.missed():
        to.write(f"\nnever reached: {', '.join(missed)}\n")
    # A few runs may well miss something.
    return 1 if summary.failures or (missed and count >= _SEEDS_ENOUGH) else 0


def _outcomes(pool: Executor, seeds: range) -> Iterator[Outcome]:
    tasks = [
        pool.submit(run_some, seeds[start : start + _SEEDS_A_TASK]) for start in range(0, len(seeds), _SEEDS_A_TASK)
    ]
    for task in as_completed(tasks):
        yield task.result()


def _run_again(seed: int, *, verbose: bool, to: TextIO) -> int:
    run = Run(seed, to if verbose else None)
    try:
        report = run.execute()
    except Violation as violation:
        to.write(f"{violation}\n")
        return 1
    summary = Summary()
    summary.add(([report], []))
    to.write(f"{summary}\n\n{summary.table()}\n\ntrace {report.trace}: every promise was kept\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Deterministic simulation.")
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--verbose", action="store_true", help="with --seed: say everything that happens")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many fresh seeds to run")
    parser.add_argument("--first", type=int, help="the first of them, where they are to be the same again")
    given = parser.parse_args()
    if given.seed is not None:
        return _run_again(given.seed, verbose=given.verbose, to=sys.stdout)
    first = random.SystemRandom().randrange(1_000_000, 1_000_000_000) if given.first is None else given.first
    return _simulate(first, given.seeds, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
