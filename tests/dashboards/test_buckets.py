"""The bounds of the hub's histograms: documentation, alerts and the alerts' tests go by those that there are."""

import re
from collections.abc import Iterator

import pytest
import yaml

from loadtest.figures import Figures, between, bracket
from router.core.event import Location
from router.metrics import Metrics
from tests.dashboards.files import PROMETHEUS, ROOT, rules

HERE = Location("111111111111", "us-east-1")
_P99 = re.compile(r"crossbus:(\w+):p99_5m > ([\d.]+)")
_SERIES = re.compile(r'(crossbus_\w+)_bucket\{.*le="([^"]+)"')


def metrics() -> Metrics:
    made = Metrics()
    made.sink(HERE, "default", "sqs")
    made.put("PutEvents", HERE)
    return made


def bounds() -> dict[str, set[float]]:
    """Of each histogram, as `/metrics` shows them."""
    found: dict[str, set[float]] = {}
    for name, bound in _SERIES.findall(metrics().render().decode()):
        found.setdefault(name, set()).add(float(bound))
    return found


def p99_alerts() -> Iterator[tuple[str, float]]:
    for rule in rules("alerts.yml"):
        for name, threshold in _P99.findall(rule.get("expr", "")):
            yield f"crossbus_{name}", float(threshold)


def test_every_alert_about_a_p99_has_its_threshold_among_the_bounds() -> None:
    asked = list(p99_alerts())
    assert len(asked) == 4
    assert [(name, threshold) for name, threshold in asked if threshold not in bounds()[name]] == []


def test_the_tests_of_the_alerts_have_buckets_that_there_are() -> None:
    scenarios = yaml.safe_load((PROMETHEUS / "alerts-test.yml").read_text(encoding="utf-8"))["tests"]
    text = "\n".join(series["series"] for scenario in scenarios for series in scenario["input_series"])
    named = [(name, float(bound)) for name, bound in _SERIES.findall(text)]
    assert len(named) > 20
    assert [pair for pair in named if pair[1] not in bounds()[pair[0]]] == []


def test_the_bounds_are_those_that_are_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = {
        what: {*map(float, numbers.split()), float("inf")}
        for what, numbers in re.findall(r"^\| ([a-z][^|]+?) \| ([\d. ]+) \|$", text, re.MULTILINE)
    }
    found = bounds()
    assert rows["acceptance to delivery"] == found["crossbus_ingestion_to_delivered_seconds"]
    for name in ("first_attempt", "first_attempt_done"):
        assert rows["acceptance to first attempt, and to its end"] == found[f"crossbus_ingestion_to_{name}_seconds"], (
            name
        )
    for name in ("accept", "store_commit", "loop_lag", "put_request"):
        assert rows["all others: requests, commits, loop lag"] == found[f"crossbus_{name}_seconds"], name


@pytest.mark.parametrize(
    ("before_s", "after_s"), [(0.25, 0.35), (0.35, 0.45), (0.55, 0.85), (0.11, 0.18), (12.0, 30.0)]
)
def test_phases_that_differ_by_half_are_told_apart(before_s: float, after_s: float) -> None:
    made = metrics()
    found = []
    for latency_s in (before_s, after_s):
        start = Figures(made.render().decode()).buckets("crossbus_ingestion_to_delivered_seconds")
        for _ in range(100):
            made.sink(HERE, "default", "sqs").delivered_s.observe(latency_s)
        end = Figures(made.render().decode()).buckets("crossbus_ingestion_to_delivered_seconds")
        found.append(bracket(between(start, end), 0.99))
    assert None not in found
    assert found[0] != found[1]


def test_a_location_and_kind_of_target_has_a_bounded_number_of_series() -> None:
    lines = [line for line in metrics().render().decode().splitlines() if 'sink="sqs"' in line]
    assert len([line for line in lines if "_bucket{" in line]) <= 55
