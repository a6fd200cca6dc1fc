"""What CloudWatch would count under AWS/Events in a small known scenario, by the expressions of docs/metrics.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually
from tests.e2e.target import HttpTarget
from tests.promql import Samples, table

METRICS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
DESTINATION = f"arn:aws:events:{REGION}:{WORKLOAD}:api-destination/web"
SLOW = f"arn:aws:sqs:{REGION}:{WORKLOAD}:slow"
SOURCE = "aws.partner/example.com/orders"
ROLE = f"arn:aws:iam::{WORKLOAD}:role/events"
RULE = f"arn:aws:events:{REGION}:{WORKLOAD}:rule"
BUS = f"arn:aws:events:{REGION}:{WORKLOAD}:event-bus"


@pytest.fixture(scope="module")
def target() -> Iterator[HttpTarget]:
    """Refuses the first request for now."""
    with HttpTarget(lambda number: 200 if number else 503) as running:
        yield running


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, target: HttpTarget) -> Iterator[Samples]:
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "open-sesame"}}
    destination = {"Name": "web", "ConnectionName": "c", "InvocationEndpoint": target.url, "HttpMethod": "POST"}
    resources = {
        "account": WORKLOAD,
        "region": REGION,
        "connections": [{"Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": key}],
        "api_destinations": [destination],
    }
    settings = {"resources": [resources], "target_limits": [{"arn": SLOW, "rate_per_s": 1}]}
    with HubProcess(tmp_path_factory.mktemp("aws-metrics"), settings) as hub:
        build(hub)
        put(hub)
        eventually(lambda: target.requests == 2 and hub.metric("crossbus_deliveries_pending") == 0)
        yield Samples(hub.get("/metrics")[1])


def build(hub: HubProcess) -> None:
    events, sqs = hub.client("events"), hub.client("sqs")
    partner = hub.client("events", SECURITY)
    partner.create_partner_event_source(Name=SOURCE, Account=WORKLOAD)
    events.create_event_bus(Name=SOURCE, EventSourceName=SOURCE)
    for name in ("second", "third"):
        events.create_event_bus(Name=name)
    for name in ("orders", "letters", "slow"):
        sqs.create_queue(QueueName=name)
    queue = f"arn:aws:sqs:{REGION}:{WORKLOAD}"
    letters = {"DeadLetterConfig": {"Arn": f"{queue}:letters"}}
    nowhere = {"DeadLetterConfig": {"Arn": f"{queue}:nowhere"}}
    rules: list[tuple[str, str, dict[str, Any]]] = [
        ("shop", "default", {"Arn": f"{queue}:orders"}),
        ("hop", "default", {"Arn": f"{BUS}/second", "RoleArn": ROLE, **letters}),
        ("hop", "second", {"Arn": f"{BUS}/third", "RoleArn": ROLE, **letters}),
        ("broken", "default", {"Arn": f"{queue}:missing", **letters}),
        ("lost", "default", {"Arn": f"{queue}:missing", **nowhere}),
        ("web", "default", {"Arn": DESTINATION, "RoleArn": ROLE}),
        ("slow", "default", {"Arn": SLOW}),
    ]
    for source, bus, given in rules:
        events.put_rule(Name=source, EventBusName=bus, EventPattern=f'{{"source":["{source}"]}}')
        answer = events.put_targets(Rule=source, EventBusName=bus, Targets=[{"Id": "1", **given}])
        assert answer["FailedEntryCount"] == 0, answer
    events.put_rule(Name="partner", EventBusName=SOURCE, EventPattern='{"detail-type":["sold"]}')
    events.put_targets(Rule="partner", EventBusName=SOURCE, Targets=[{"Id": "1", "Arn": f"{queue}:orders"}])


def put(hub: HubProcess) -> None:
    """Seven requests of PutEvents, one of which fails, and one of PutPartnerEvents."""
    events, partner = hub.client("events"), hub.client("events", SECURITY)

    def entry(source: str, detail: str = "{}") -> dict[str, str]:
        return {"Source": source, "DetailType": "sold", "Detail": detail}

    for entries in (
        [entry("shop")] * 3,
        [entry("hop"), entry("broken"), entry("lost")],
        [entry("web")],
        [entry("slow")] * 2,
        [entry("shop"), entry("shop", "no JSON")],
        [entry("shop", "no JSON")],
    ):
        events.put_events(Entries=entries)
    with pytest.raises(ClientError):
        events.put_events(Entries=[entry("shop")] * 11)
    partner.put_partner_events(Entries=[entry(SOURCE), entry(SOURCE, "no JSON")])


AT_LEAST = -1.0
"""A number that depends on how fast things went: more than none."""
Expected = dict[str, float]
EVENTS: dict[tuple[str, str], Expected] = {
    ("MatchedEvents", "EventBusName"): {"default": 10, "second": 1, "third": 0},
    ("MatchedEvents", "EventSourceName"): {SOURCE: 1},
    ("MatchedEvents", "RuleName"): {"shop": 4, "slow": 2, "second/hop": 1, "nobody": 0},
    ("TriggeredRules", "EventBusName"): {"default": 10, "second": 1},
    ("TriggeredRules", "none"): {"": 12},
    ("TriggeredRules", "RuleName"): {"shop": 4, "hop": 1},
    ("ThrottledRules", "EventBusName"): {"default": AT_LEAST, "second": 0},
    ("ThrottledRules", "none"): {"": AT_LEAST},
    ("ThrottledRules", "RuleName"): {"slow": AT_LEAST, "shop": 0},
    ("InvocationsCreated", "none"): {"": 12},
    ("Invocations", "none"): {"": 12},
    ("Invocations", "RuleName"): {"shop": 4, "lost": 1, "web": 1},
    ("InvocationAttempts", "EventBusName"): {"default": 10, "second": 1},
    ("InvocationAttempts", "none"): {"": 12},
    ("InvocationAttempts", "RuleName"): {"shop": 4, "web": 2, "hop": 0, "second/hop": 1},
    ("SuccessfulInvocationAttempts", "EventBusName"): {"default": 7, "second": 0},
    ("SuccessfulInvocationAttempts", "none"): {"": 8},
    ("SuccessfulInvocationAttempts", "RuleName"): {"shop": 4, "web": 1, "hop": 0, "lost": 0},
    ("RetryInvocationAttempts", "EventBusName"): {"default": 1, "second": 0},
    ("RetryInvocationAttempts", "none"): {"": 1},
    ("RetryInvocationAttempts", "RuleName"): {"web": 1, "shop": 0},
    ("FailedInvocations", "RuleName"): {"broken": 1, "lost": 1, "second/hop": 1, "hop": 0, "web": 0},
    ("InvocationsSentToDlq", "RuleName"): {"broken": 1, "lost": 0, "second/hop": 1},
    ("InvocationsFailedToBeSentToDlq", "RuleName"): {"broken": 0, "lost": 1},
    ("DeadLetterInvocations", "RuleName"): {"second/hop": 1, "broken": 0, "hop": 0},
    **{
        (f"IngestionToInvocation{end}Latency", dimension): {value: AT_LEAST}
        for end in ("Start", "Complete", "Success")
        for dimension, value in (("EventBusName", "default"), ("none", ""), ("RuleName", "slow"))
    },
    ("Events", "EventSourceName"): {SOURCE: 1},
    **{(f"EventBusEncryption{what}", "EventBusName"): {"default": 0} for what in ("Started", "Completed", "Failed")},
    ("PutEventsApproximateCallCount", "none"): {"": 7},
    ("PutEventsApproximateSuccessCount", "none"): {"": 6},
    ("PutEventsApproximateFailedCount", "none"): {"": 1},
    ("PutEventsApproximateThrottledCount", "none"): {"": 0},
    ("PutEventsEntriesCount", "none"): {"": 12},
    ("PutEventsFailedEntriesCount", "none"): {"": 2},
    ("PutEventsLatency", "none"): {"": AT_LEAST},
    ("PutEventsRequestSize", "none"): {"": AT_LEAST},
    ("PutPartnerEventsApproximateCallCount", "none"): {SECURITY: 1, WORKLOAD: 0},
    ("PutPartnerEventsApproximateSuccessCount", "none"): {SECURITY: 1},
    ("PutPartnerEventsApproximateFailedCount", "none"): {SECURITY: 0},
    ("PutPartnerEventsApproximateThrottledCount", "none"): {SECURITY: 0},
    ("PutPartnerEventsEntriesCount", "none"): {SECURITY: 2},
    ("PutPartnerEventsFailedEntriesCount", "none"): {SECURITY: 1},
    ("PutPartnerEventsLatency", "none"): {SECURITY: AT_LEAST},
}
_VARIABLE = {"EventBusName": "bus", "EventSourceName": "source", "RuleName": "rule", "none": "account"}


@pytest.mark.parametrize("row", table(METRICS.read_text(encoding="utf-8")), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_documents_expression_gives_awss_number(samples: Samples, row: tuple[str, str, str]) -> None:
    metric, dimension, expression = row
    for value, expected in EVENTS[metric, dimension].items():
        given = f"{RULE}/{value}" if dimension == "RuleName" else value
        variables = {"account": WORKLOAD, "region": REGION, _VARIABLE[dimension]: given or WORKLOAD}
        found = samples.value(expression, **variables)
        assert found > 0 if expected == AT_LEAST else found == expected, (value, found, expected)


def test_latencies_end_with_the_delivery(samples: Samples) -> None:
    """The web target took its second attempt: from start to end of the first one, and then to the delivery."""
    rows = {(row.metric, row.dimension): row.expression for row in table(METRICS.read_text(encoding="utf-8"))}
    start, complete, success = (
        samples.value(rows[f"IngestionToInvocation{end}Latency", "RuleName"], rule=f"{RULE}/web")
        for end in ("Start", "Complete", "Success")
    )
    assert start <= complete <= success
    assert samples.value('increase(crossbus_rule_delivered_seconds_count{rule="$rule"}[1m])', rule=f"{RULE}/hop") == 0
