"""The documents say what the code does: metrics have their row, and every row its metric."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from router.core.delivery import EDGES, diagram
from router.core.event import Location
from router.metrics import Metrics
from tests.promql import selectors, table

DOCS = Path(__file__).resolve().parents[1] / "docs"
DAEMON = Path(__file__).resolve().parents[1] / "router" / "daemon.py"


def test_every_metric_has_its_row_and_every_row_its_metric() -> None:
    metrics = Metrics()
    metrics.bus(Location("111111111111", "us-east-1"), "default")
    families = text_string_to_metric_families(metrics.render().decode())
    gauges = set(re.findall(r'gauge\(\s*"(\w+)"', DAEMON.read_text(encoding="utf-8")))
    assert gauges, "the daemon registers gauges"
    exposed = {family.name + ("_total" if family.type == "counter" else "") for family in families} | {
        f"crossbus_{name}" for name in gauges
    }
    documented = set(
        re.findall(r"^\| `(crossbus_\w+)`", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert exposed == documented


# CloudWatch's AWS/Events (user guide, "eb-monitoring"; classic.md section 7.1): each metric and its dimensions.
_BOTH = "EventBusName none RuleName"
AWS_EVENTS = {
    "MatchedEvents": "EventBusName EventSourceName RuleName",
    "TriggeredRules": _BOTH,
    "ThrottledRules": _BOTH,
    "InvocationsCreated": "none",
    "Invocations": "none RuleName",
    "InvocationAttempts": _BOTH,
    "SuccessfulInvocationAttempts": _BOTH,
    "RetryInvocationAttempts": _BOTH,
    "FailedInvocations": "RuleName",
    "InvocationsSentToDlq": "RuleName",
    "InvocationsFailedToBeSentToDlq": "RuleName",
    "DeadLetterInvocations": "RuleName",
    "IngestionToInvocationStartLatency": _BOTH,
    "IngestionToInvocationCompleteLatency": _BOTH,
    "IngestionToInvocationSuccessLatency": _BOTH,
    "Events": "EventSourceName",
    **{f"EventBusEncryption{what}": "EventBusName" for what in ("Started", "Completed", "Failed")},
    **{
        f"{operation}{what}": "none"
        for operation in ("PutEvents", "PutPartnerEvents")
        for what in (
            *(f"Approximate{kind}Count" for kind in ("Call", "Success", "Failed", "Throttled")),
            *("EntriesCount", "FailedEntriesCount", "Latency"),
        )
    },
    "PutEventsRequestSize": "none",
}


def test_every_metric_of_aws_events_has_an_expression_for_each_of_its_dimensions() -> None:
    rows = table((DOCS / "metrics.md").read_text(encoding="utf-8"))
    found = {(row.metric, row.dimension) for row in rows}
    assert len(found) == len(rows) == 53
    assert found == {(name, dimension) for name, dimensions in AWS_EVENTS.items() for dimension in dimensions.split()}


def test_the_expressions_name_series_and_labels_that_there_are() -> None:
    metrics = Metrics()
    here = Location("111111111111", "us-east-1")
    metrics.bus(here, "default")
    metrics.sink(here, "default", "sqs")
    metrics.put("PutEvents", here)
    labels = {sample.name: set(sample.labels) for family in metrics.families() for sample in family.samples}
    rows = table((DOCS / "metrics.md").read_text(encoding="utf-8"))
    for row in rows:
        asked = selectors(row.expression)
        assert asked or (row.metric.startswith("EventBusEncryption") and row.expression == "vector(0)"), row
        for selector in asked:
            assert {label for label, _, _ in selector.tests} <= labels[selector.metric], row


def test_the_diagram_of_a_deliverys_life_is_made_from_its_table() -> None:
    (shown,) = re.findall(
        r"^```mermaid\n(.*?)\n```", (DOCS / "durability.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert shown == diagram()
    assert len(re.findall(r"^    \w+ --> \w+: \w+$", shown, re.MULTILINE)) == len(EDGES)
