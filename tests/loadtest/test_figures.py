"""What load reports read from a hub's metrics."""

from math import inf

import pytest

from loadtest.figures import Figures, between, bracket, quantile
from router.core.event import Location
from router.metrics import Metrics

HERE = Location("111111111111", "us-east-1")
DELIVERED = "crossbus_ingestion_to_delivered_seconds"


def text(*latencies_s: float) -> str:
    """The metrics of a hub that delivered with these latencies."""
    metrics = Metrics()
    metrics.bus(HERE, "default").accepted = len(latencies_s)
    for kind in ("sqs", "lambda"):
        for latency_s in latencies_s:
            metrics.sink(HERE, "default", kind).delivered_s.observe(latency_s)
    metrics.gauge("deliveries_pending", "", lambda: 3)
    return metrics.render().decode()


def test_counters_are_summed_over_the_labels_that_are_asked_for() -> None:
    figures = Figures(text(0.01, 0.02))
    assert figures.sum("crossbus_events_accepted_total") == 2
    assert figures.sum("crossbus_events_accepted_total", lambda labels: labels["bus"] == "other") == 0
    assert figures.sum("crossbus_deliveries_pending") == 3


def test_histograms_are_summed_over_the_series_that_are_asked_for() -> None:
    figures = Figures(text(0.002, 0.02, 7000.0))
    only_sqs = figures.buckets(DELIVERED, lambda labels: labels["sink"] == "sqs")
    assert (only_sqs[0.001], only_sqs[0.0025], only_sqs[0.02], only_sqs[inf]) == (0, 1, 2, 3)
    assert figures.buckets(DELIVERED)[inf] == 6


def test_what_lies_between_two_readings_is_the_later_ones_alone() -> None:
    before, after = Figures(text(0.02)), Figures(text(0.02, 2.0))
    came = between(before.buckets(DELIVERED), after.buckets(DELIVERED))
    assert (came[1.0], came[2.0], came[inf]) == (0, 2, 2)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_a_quantile_lies_within_its_bucket(share: float, expected: float) -> None:
    assert quantile({1.0: 2, 2.0: 4, inf: 4}, share) == expected


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile({1.0: 1, inf: 4}, 0.99) == 1.0


def test_without_observations_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0, inf: 0}, 0.5) is None
    assert bracket({}, 0.5) is None


def test_the_bounds_of_a_quantile_are_its_buckets() -> None:
    buckets = {1.0: 2, 2.0: 4, inf: 5}
    assert [bracket(buckets, share) for share in (0.2, 0.6, 0.99)] == [(0.0, 1.0), (1.0, 2.0), (2.0, inf)]
