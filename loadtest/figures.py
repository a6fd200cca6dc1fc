"""Figures from a hub's `/metrics` text: sums of counters and quantiles of histograms, and what lies between two texts.

Only the families that load reports look at are kept, so that a text of a hub with hundreds of locations, which is
megabytes long, is read in a moment.
"""

import re
from collections.abc import Callable, Mapping
from math import inf

Labels = Mapping[str, str]
Where = Callable[[Labels], bool]
_KEPT = (
    "crossbus_events_accepted_total",
    "crossbus_events_withheld_total",
    "crossbus_deliveries_created_total",
    "crossbus_deliveries_total",
    "crossbus_deliveries_pending",
    "crossbus_deliveries_parked",
    "crossbus_faults_injected_total",
    "crossbus_ingestion_to_delivered_seconds_bucket",
    "crossbus_retries_total",
    "crossbus_sink_bugs_total",
    "crossbus_api_bugs_total",
    "crossbus_loop_lag_seconds_bucket",
    "crossbus_store_bytes",
    "crossbus_store_bytes_in_use",
    "crossbus_process_open_fds",
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Figures:
    """The samples of one text."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Labels, float]]] = {name: [] for name in _KEPT}
        for line in text.splitlines():
            name = line.partition("{")[0].partition(" ")[0]
            if name in self._samples:
                self._samples[name].append((dict(_LABEL.findall(line)), float(line.rpartition(" ")[2])))

    def sum(self, name: str, where: Where = lambda labels: True) -> float:
        return sum(value for labels, value in self._samples[name] if where(labels))

    def buckets(self, name: str, where: Where = lambda labels: True) -> dict[float, float]:
        """A histogram's cumulated counts by upper bound, summed over its series."""
        found: dict[float, float] = {}
        for labels, value in self._samples[f"{name}_bucket"]:
            if where(labels):
                bound = inf if labels["le"] == "+Inf" else float(labels["le"])
                found[bound] = found.get(bound, 0.0) + value
        return found


def between(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """The observations that came between two readings of a histogram."""
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """As Prometheus' `histogram_quantile`: evenly spread within a bucket. None where nothing was observed."""
    rows = sorted(buckets.items())
    if not rows or rows[-1][1] <= 0:
        return None
    wanted = share * rows[-1][1]
    low = below = 0.0
    for bound, count in rows:
        if count >= wanted:
            if bound == inf:
                return low
            return low + (bound - low) * (wanted - below) / (count - below) if count > below else bound
        low, below = bound, count
    return low


def bracket(buckets: Mapping[float, float], share: float) -> tuple[float, float] | None:
    """The bounds of the bucket that the quantile is in: what the histogram really says. None as for `quantile`."""
    rows = sorted(buckets.items())
    if not rows or rows[-1][1] <= 0:
        return None
    low = 0.0
    for bound, count in rows:
        if count >= share * rows[-1][1]:
            return low, bound
        low = bound
    raise AssertionError("the last bucket has all observations")
