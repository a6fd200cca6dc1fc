"""A real Prometheus scrapes a real hub under load: every query of every panel has data, and they move with the load.

Prometheus comes with Debian's package of that name; without it these tests are skipped.
"""

import time
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards.files import PanelQuery, filled, grouped_by, panel_queries, rules, selectors, variables
from tests.dashboards.load import Load
from tests.dashboards.prometheus import PROGRAM, Prometheus

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed")
ROUNDS_MIN = 15
LOAD_S_MAX = 180.0
RESTART_AFTER = 8
PROMISED = {
    ("crossbus-hub", "Ready", "ready"): 1.0,
    ("crossbus-hub", "Lost", "deliveries"): 0.0,
    ("crossbus-hub", "Lost", "dead letters"): 0.0,
    ("crossbus-hub", "Lost", "log records"): 0.0,
    ("crossbus-targets", "Kept", "expired in the time shown"): 0.0,
    ("crossbus-hub", "Store", "bound"): float(16 * 1024**3),
}
"""What no load moves: it is so from the beginning to the end, through a restart."""


class Seen(NamedTuple):
    prometheus: Prometheus
    since_s: float
    text: str
    """What the hub said of itself at the end."""

    def values(self, query: PanelQuery) -> list[list[float]]:
        return self.prometheus.values(filled(query.expr), since_s=self.since_s)


def moving(values: list[list[float]]) -> bool:
    return any(len(set(series)) > 1 for series in values)


def is_promised(query: PanelQuery) -> bool:
    return query[:3] in PROMISED


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """The load goes on until everything has moved, fifteen seconds at least."""
    folder = tmp_path_factory.mktemp("dashboards")
    with Load(folder / "hub") as load, Prometheus(folder / "prometheus", f"127.0.0.1:{load.hub.port}") as prometheus:
        found = Seen(prometheus, time.time(), "")
        still = [query for query in panel_queries() if not is_promised(query)]
        end = time.monotonic() + LOAD_S_MAX
        for number in count():
            began = time.monotonic()
            load.round()
            if number == RESTART_AFTER:
                load.restart()
            if number >= ROUNDS_MIN:
                still = [query for query in still if not moving(found.values(query))]
                if not still or began > end:
                    break
            time.sleep(max(0.0, began + 1 - time.monotonic()))
        yield found._replace(text=load.hub.get("/metrics")[1])


@pytest.mark.parametrize("query", [query for query in panel_queries() if not is_promised(query)], ids=str)
def test_a_panels_query_has_data_that_move_with_the_load(seen: Seen, query: PanelQuery) -> None:
    values = seen.values(query)
    assert values, "no data"
    assert moving(values), values


@pytest.mark.parametrize("query", [query for query in panel_queries() if is_promised(query)], ids=str)
def test_what_is_promised_holds_all_the_time(seen: Seen, query: PanelQuery) -> None:
    values = seen.values(query)
    assert values, "no data"
    assert {value for series in values for value in series} == {PROMISED[query[:3]]}


def test_every_variable_has_values_to_choose_from(seen: Seen) -> None:
    for dashboard, name, query in variables():
        metric, _, label = filled(query).removeprefix("label_values(").removesuffix(")").rpartition(", ")
        found = seen.prometheus.get(f"label/{label}/values", **{"match[]": metric})
        assert found, (dashboard, name)


def test_the_hub_has_all_series_and_labels_that_panels_and_rules_ask_for(seen: Seen) -> None:
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(seen.text):
        for sample in family.samples:
            labels.setdefault(sample.name, {"instance"}).update(sample.labels)
    expressions = [query.expr for query in panel_queries()]
    expressions += [rule["expr"] for rule in (*rules("recording.yml"), *rules("alerts.yml"))]
    for expr in expressions:
        for metric, tested in selectors(expr):
            if metric.startswith("crossbus:"):
                continue
            assert tested <= labels[metric], expr
            assert grouped_by(expr) <= labels[metric], expr


def test_rules_are_computed_and_the_hubs_troubles_raise_their_alerts(seen: Seen) -> None:
    groups = seen.prometheus.get("rules")["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert len(found) == len(rules("recording.yml")) + len(rules("alerts.yml"))
    assert {name: rule["lastError"] for name, rule in found.items() if rule["health"] != "ok"} == {}
    for rule in rules("recording.yml"):
        assert seen.prometheus.values(rule["record"], since_s=seen.since_s), rule["record"]
    assert {name for name, rule in found.items() if rule.get("state") == "firing"} >= {
        "CrossbusDeadLetters",
        "CrossbusDeadLetterQueueFails",
        "CrossbusQueueSourceRefuses",
    }
    quiet = {"CrossbusDeliveriesUnaccounted", "CrossbusDeadLettersExpired", "CrossbusBug", "CrossbusRefusesEvents"}
    assert {name for name in quiet if found[name]["state"] != "inactive"} == set()
