"""The numbers of a small known scenario, as Prometheus reads them, and the two health answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually
from tests.e2e.target import HttpTarget

DESTINATION = f"arn:aws:events:{REGION}:{WORKLOAD}:api-destination/refuser"
RULE = f"arn:aws:events:{REGION}:{WORKLOAD}:rule"
ROLE = f"arn:aws:iam::{WORKLOAD}:role/r"


class Series:
    """The parsed text: each sample by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of exactly this series; None where there is none."""
        return self._samples.get((f"crossbus_{name}", frozenset(labels.items())))


@pytest.fixture(scope="module")
def target() -> Iterator[HttpTarget]:
    """Refuses the first request for now and the second for good; takes the rest."""
    with HttpTarget(lambda number: (503, 400)[number] if number < 2 else 200) as running:
        yield running


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, target: HttpTarget) -> Iterator[HubProcess]:
    resources = {
        "account": WORKLOAD,
        "region": REGION,
        "connections": [
            {
                "Name": "c",
                "AuthorizationType": "API_KEY",
                "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "open-sesame"}},
            }
        ],
        "api_destinations": [
            {"Name": "refuser", "ConnectionName": "c", "InvocationEndpoint": target.url, "HttpMethod": "POST"}
        ],
    }
    settings = {"aws_events": True, "trails": [{"management_events": {}}], "resources": [resources]}
    with HubProcess(tmp_path_factory.mktemp("metrics"), settings) as running:
        yield running


@pytest.fixture(scope="module")
def series(hub: HubProcess, target: HttpTarget) -> Series:
    """After the scenario: on the workload's default bus 7 events of 3 kinds, on the security account's bus 2."""
    play(hub)
    eventually(lambda: target.requests == 3 and hub.metric("crossbus_deliveries_pending") == 0)
    status, text = hub.get("/metrics")
    assert status == 200
    return Series(text)


def play(hub: HubProcess) -> None:
    events, security = hub.client("events"), hub.client("events", SECURITY, "eu-west-1")
    for client, account, region in ((events, WORKLOAD, REGION), (security, SECURITY, "eu-west-1")):
        hub.client("sqs", account, region).create_queue(QueueName="orders")
        client.create_event_bus(Name="orders")
        for bus in ("default", "orders"):
            client.put_rule(Name="all", EventBusName=bus, EventPattern='{"source":["shop"]}')
            arn = f"arn:aws:sqs:{region}:{account}:orders"
            client.put_targets(Rule="all", EventBusName=bus, Targets=[{"Id": "1", "Arn": arn}])
    topic = {"Id": "2", "Arn": f"arn:aws:sns:{REGION}:{WORKLOAD}:orders"}
    missing = {"Id": "3", "Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:missing"}
    events.put_rule(Name="two", EventPattern='{"detail-type":["second"]}')
    events.put_targets(
        Rule="two", Targets=[topic, {**missing, "DeadLetterConfig": {"Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"}}]
    )
    events.put_rule(Name="web", EventPattern='{"source":["web"]}')
    events.put_targets(Rule="web", Targets=[{"Id": "web", "Arn": DESTINATION, "RoleArn": ROLE}])
    events.put_rule(Name="idle", EventPattern='{"source":["nobody"]}')

    def entry(source: str, kind: str = "first", detail: str = "{}", **members: str) -> dict[str, Any]:
        return {"Source": source, "DetailType": kind, "Detail": detail, **members}

    put = [entry("shop")] * 3 + [entry("shop", "second")] + [entry("other")]
    assert events.put_events(Entries=put)["FailedEntryCount"] == 0
    refused = [entry("shop", detail="x"), entry("aws.s3"), entry("shop", EventBusName="nowhere")]
    assert events.put_events(Entries=refused)["FailedEntryCount"] == 2
    security.put_events(Entries=[entry("shop", EventBusName="orders"), entry("other", EventBusName="orders")])
    record = {
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "managementEvent": False,
        "eventCategory": "Data",
    }
    assert hub.service_events(record)["withheld"] == 1
    # One at a time, so that each event meets the answer meant for it.
    events.put_events(Entries=[entry("web")])
    eventually(lambda: hub.metric("crossbus_attempts_total", sink="api_destination", outcome="retryable") == 1)
    events.put_events(Entries=[entry("web")])
    eventually(lambda: hub.metric("crossbus_dead_letters_total", sink="api_destination") == 1)


HERE = {"account": WORKLOAD, "region": REGION}
THERE = {"account": SECURITY, "region": "eu-west-1"}


@pytest.mark.parametrize(
    ("where", "bus", "accepted", "matched", "unmatched"),
    [(HERE, "default", 7, 6, 1), (THERE, "orders", 2, 1, 1)],
)
def test_events_are_counted_by_account_region_and_bus(
    series: Series, where: dict[str, str], bus: str, accepted: int, matched: int, unmatched: int
) -> None:
    found = [series(f"events_{name}_total", **where, bus=bus) for name in ("accepted", "matched", "unmatched")]
    assert found == [accepted, matched, unmatched]


def test_what_was_not_taken_is_counted_with_its_kind(series: Series) -> None:
    assert series("events_refused_total", **HERE, bus="default") == 2
    assert series("events_withheld_total", **HERE, bus="default") == 1
    assert series("unknown_bus_events_total") == 1
    assert series("api_bugs_total") == series("sink_bugs_total") == 0


@pytest.mark.parametrize(
    ("where", "sink", "delivered", "retryable", "rejected", "retries", "dead"),
    [
        (HERE, "sqs", 4, 0, 1, 0, 1),
        (HERE, "sns", 1, 0, 0, 0, 0),
        (HERE, "api_destination", 1, 1, 1, 1, 1),
        (THERE, "sqs", 1, 0, 0, 0, 0),
    ],
)
def test_attempts_are_counted_by_account_region_sink_and_outcome(
    series: Series,
    where: dict[str, str],
    sink: str,
    delivered: int,
    retryable: int,
    rejected: int,
    retries: int,
    dead: int,
) -> None:
    labels = {**where, "bus": "default" if where is HERE else "orders", "sink": sink}
    outcomes = [series("attempts_total", **labels, outcome=name) for name in ("delivered", "retryable", "rejected")]
    assert outcomes == [delivered, retryable, rejected]
    assert (series("retries_total", **labels), series("dead_letters_total", **labels)) == (retries, dead)
    first, arrived = (series(f"ingestion_to_{name}_seconds_count", **labels) for name in ("first_attempt", "delivered"))
    assert (first, arrived) == (delivered + retryable + rejected - retries, delivered)


def test_dead_letters_are_counted_by_where_they_went(series: Series) -> None:
    bus = {**HERE, "bus": "default"}
    assert series("dead_letters_to_queue_total", **bus, sink="sqs") == 1
    assert series("dead_letters_to_queue_total", **bus, sink="api_destination") == 0
    assert series("dead_letters_queue_failed_total", **bus, sink="sqs") == 0
    assert series("dead_letters_kept") == 1
    assert (series("deliveries_pending"), series("attempts_in_flight")) == (0, 0)


def test_deliveries_are_counted_by_how_they_were_settled(series: Series) -> None:
    labels = {**HERE, "bus": "default", "sink": "api_destination"}
    settled = [series("deliveries_total", **labels, outcome=outcome) for outcome in ("delivered", "dead_letter")]
    assert settled == [1, 1]


@pytest.mark.parametrize(
    ("rule", "matched", "delivered", "dead"), [("all", 4, 4, 0), ("two", 1, 1, 1), ("web", 2, 1, 1)]
)
def test_rules_have_series_of_their_own(series: Series, rule: str, matched: int, delivered: int, dead: int) -> None:
    found = [series(f"rule_{name}_total", rule=f"{RULE}/{rule}") for name in ("matched", "delivered", "dead_letters")]
    assert found == [matched, delivered, dead]
    assert series("rule_matched_total", rule=f"{RULE}/idle") is None, "a rule without events has no series"


def test_every_histogram_is_whole(series: Series) -> None:
    histograms = [family for family in series.families.values() if family.type == "histogram"]
    names = {family.name.removeprefix("crossbus_") for family in histograms}
    assert names == {
        "accept_seconds",
        "ingestion_to_first_attempt_seconds",
        "ingestion_to_first_attempt_done_seconds",
        "ingestion_to_delivered_seconds",
        "put_request_seconds",
        "put_request_bytes",
        "store_commit_seconds",
        "store_commit_batches",
        "loop_lag_seconds",
    }
    for family in histograms:
        buckets: dict[frozenset[tuple[str, str]], list[float]] = {}
        counts = {}
        for sample in family.samples:
            labels = frozenset((key, value) for key, value in sample.labels.items() if key != "le")
            if sample.name.endswith("_bucket"):
                buckets.setdefault(labels, []).append(sample.value)
            elif sample.name.endswith("_count"):
                counts[labels] = sample.value
        assert counts
        for labels, values in buckets.items():
            assert values == sorted(values)
            assert values[-1] == counts[labels]
    assert series("accept_seconds_count") == 5, "five requests had something to accept"
    commits = series("store_commit_seconds_count")
    assert commits == series("store_commit_batches_count")
    assert commits


def test_requests_are_counted_by_operation_and_outcome(hub: HubProcess, series: Series) -> None:
    assert series("requests_total", operation="PutEvents", outcome="ok") == 5
    headers = {"X-Amz-Target": "AWSEvents.Nonsense", "Content-Type": "application/x-amz-json-1.1"}
    hub.request("POST", "/", b"{}", headers)
    assert "Nonsense" not in hub.get("/metrics")[1], "a caller's words never become a label"


def test_every_family_is_described_and_named_alike(series: Series) -> None:
    assert [family.name for family in series.families.values() if not family.name.startswith("crossbus_")] == []
    assert [family.name for family in series.families.values() if not family.documentation.endswith(".")] == []


def test_health_is_told_apart_from_readiness(hub: HubProcess) -> None:
    assert hub.get("/healthz") == (200, "ok\n")
    assert hub.get("/readyz") == (200, "ready\n")
    assert hub.request("POST", "/healthz", b"")[0] == 404
    assert json.loads(hub.get("/_hub/v1/status")[1])["store_failure"] is None
