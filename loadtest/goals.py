"""The goals: the paths that `make bench` measures, what each must reach, and the table that says what it did.

Figures are medians of the runs, one fresh hub a run. `per_cpu_s` is events a CPU second of the hub, its children
included; `per_s` is wall-clock, with client, targets and hub on one machine.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from loadtest import latency, paths
from loadtest.paths import Figures, Sizes


class Goal(msgspec.Struct, frozen=True):
    """A figure and its bound: a floor, or what it must stay under."""

    figure: str
    bound: float
    is_floor: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.is_floor else value < self.bound

    def __str__(self) -> str:
        if self.is_floor:
            return f"{self.bound:,.0f}"
        name, _, unit = self.figure.rpartition("_")
        unit = unit.upper() if unit == "mb" else unit
        name = name.removesuffix("_anonymous")
        return f"{name} < {self.bound:g} {unit}"


class Row(msgspec.Struct, frozen=True):
    """One path: its name on the command line, what it is, how one run of it goes, its goals."""

    name: str
    path: str
    run: Callable[[Sizes], Figures]
    goals: tuple[Goal, ...]


def _floor(per_cpu_s: int) -> tuple[Goal, ...]:
    return (Goal("per_cpu_s", per_cpu_s, is_floor=True),)


ROWS = (
    Row("nothing", "PutEvents accepted, none of 100 rules matches", paths.nothing, _floor(55_000)),
    Row("archive", "PutEvents accepted durably into an archive", paths.archive, _floor(40_000)),
    Row("archive-verified", "… with SigV4 verified", partial(paths.archive, verified=True), _floor(33_000)),
    Row("inbox-1", "delivered to an SQS inbox, 1 rule", partial(paths.inbox, rules=1), _floor(28_000)),
    Row("inbox-1000", "… 1,000 rules", partial(paths.inbox, rules=1000), _floor(25_000)),
    Row("inbox-10000", "… 10,000 rules", partial(paths.inbox, rules=10_000), _floor(20_000)),
    Row(
        "api-destination",
        "delivered by one HTTP POST an event (API destination)",
        paths.api_destination,
        _floor(15_000),
    ),
    Row(
        "sqs-endpoint",
        "delivered to an SQS-protocol endpoint, batches of 10, signed",
        paths.sqs_endpoint,
        _floor(25_000),
    ),
    Row("sqs-source", "SQS source: receive 10, accept durably, delete 10", paths.sqs_source, _floor(20_000)),
    Row("bus-to-bus", "bus to bus across accounts, then to an inbox", paths.bus_to_bus, _floor(15_000)),
    Row(
        "latency",
        "20 events a second to an HTTP target",
        latency.at_20_a_second,
        (Goal("p50_ms", 2.5), Goal("p99_ms", 6)),
    ),
    Row("half-inbox", "half of saturation, to an inbox", latency.at_half_to_inbox, (Goal("p99_ms", 30),)),
    Row("half-http", "half of saturation, to an HTTP target", latency.at_half_to_http, (Goal("p99_ms", 30),)),
    Row("start", "just started, idle", paths.start, (Goal("ready_s", 0.8), Goal("idle_anonymous_mb", 80))),
)
SATURATED = Goal("loaded_anonymous_mb", 250)
"""Holds on every path."""


class Line(msgspec.Struct, frozen=True):
    """A row of the table: what was wanted and what was reached."""

    name: str
    path: str
    goals: tuple[Goal, ...]
    medians: Mapping[str, float]
    runs: Sequence[Figures]

    @property
    def is_met(self) -> bool:
        return all(goal.is_met(self.medians[goal.figure]) for goal in self.goals)


def lines(results: Mapping[str, Sequence[Figures]]) -> list[Line]:
    """One for each row that was run, in the table's order, and at the end the most memory of all of them."""
    found = [
        Line(row.name, row.path, row.goals, medians(results[row.name]), results[row.name])
        for row in ROWS
        if results.get(row.name)
    ]
    loaded = [line for line in found if SATURATED.figure in line.medians]
    if loaded:
        most = max(loaded, key=lambda line: line.medians[SATURATED.figure])
        runs = [{SATURATED.figure: run[SATURATED.figure]} for run in most.runs]
        found.append(
            Line("saturated", f"memory at saturation, at most ({most.name})", (SATURATED,), medians(runs), runs)
        )
    return found


def medians(runs: Sequence[Figures]) -> dict[str, float]:
    return {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}


_HEAD = """\
| path | floor | reached a CPU second (range) | wall-clock a second | p50 / p99 | anonymous memory | met |
| --- | --- | --- | --- | --- | --- | --- |"""


def table(found: Sequence[Line]) -> str:
    """Markdown."""
    return "\n".join((_HEAD, *map(_row, found)))


def _row(line: Line) -> str:
    cells = (
        line.path,
        ", ".join(map(str, line.goals)),
        _reached(line),
        _number(line.medians.get("per_s")),
        _latency(line.medians),
        _memory(line.medians),
        "yes" if line.is_met else "**no**",
    )
    return f"| {' | '.join(cells)} |"


def _reached(line: Line) -> str:
    if "per_cpu_s" not in line.medians:
        return f"ready after {line.medians['ready_s']:.2f} s" if line.name == "start" else ""
    each = [run["per_cpu_s"] for run in line.runs]
    return f"{_number(line.medians['per_cpu_s'])} ({_number(min(each))} to {_number(max(each))})"


def _latency(figures: Mapping[str, float]) -> str:
    return f"{figures['p50_ms']:.1f} / {figures['p99_ms']:.1f} ms" if "p50_ms" in figures else ""


def _memory(figures: Mapping[str, float]) -> str:
    found = figures.get("loaded_anonymous_mb", figures.get("idle_anonymous_mb"))
    return "" if found is None else f"{found:.0f} MB"


def _number(value: float | None) -> str:
    """Three digits that count: more would say what no run repeats."""
    if value is None:
        return ""
    step = 10 ** max(0, len(str(int(value))) - 3)
    return f"{round(value / step) * step:,}"
