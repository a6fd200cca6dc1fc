"""The log of a bus as its users read it: set up, filled and filtered with boto3, across a kill, from the hub file."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually

GROUP = "/aws/vendedlogs/events/event-bus/"
QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"
DELIVERED = [
    "EVENT_RECEIPT",
    "EVENT_INGEST_SUCCESS",
    "RULE_MATCH_START",
    "RULE_MATCH",
    "INVOCATION_START",
    "INVOCATION_ATTEMPT_START",
    "INVOCATION_ATTEMPT_SUCCESS",
    "INVOCATION_SUCCESS",
]


def records(hub: HubProcess, bus: str, pattern: str = "") -> list[dict[str, Any]]:
    logs = hub.client("logs")
    try:
        found = logs.filter_log_events(logGroupName=GROUP + bus, filterPattern=pattern)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [json.loads(event["message"]) for event in found]


def put(hub: HubProcess, bus: str, source: str = "shop") -> str:
    entry = {"EventBusName": bus, "Source": source, "DetailType": "order", "Detail": '{"id":1}'}
    answer = hub.client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0
    event_id: str = answer["Entries"][0]["EventId"]
    return event_id


def test_what_a_bus_did_is_read_from_its_log_group(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "hub", {}) as hub:
        events, logs = hub.client("events"), hub.client("logs")
        hub.client("sqs").create_queue(QueueName="orders")
        events.create_event_bus(Name="shop", LogConfig={"Level": "TRACE", "IncludeDetail": "FULL"})
        events.put_rule(Name="orders", EventBusName="shop", EventPattern='{"source":["shop"]}')
        gone = {"Id": "gone", "Arn": QUEUE.replace("orders", "nowhere")}
        events.put_targets(Rule="orders", EventBusName="shop", Targets=[{"Id": "queue", "Arn": QUEUE}, gone])
        event_id = put(hub, "shop")
        put(hub, "default")
        eventually(lambda: len(records(hub, "shop")) == 12)

        found = records(hub, "shop", '{ $.message_type = "INVOCATION_FAILURE" }')
        assert [record["details"]["target_arn"] for record in found] == [gone["Arn"]]
        assert found[0]["error"]["aws_service"] == "sqs"
        assert found[0]["details"]["final_invocation_status"] == "NO_RESOURCE"
        (start,) = records(hub, "shop", '{ $.message_type = "RULE_MATCH" }')
        queue_id = start["details"]["invocation_ids"][start["details"]["target_arns"].index(QUEUE)]
        of_queue = [record for record in records(hub, "shop") if record.get("invocation_id", queue_id) == queue_id]
        assert [record["message_type"] for record in of_queue] == DELIVERED
        assert {record["event_id"] for record in of_queue} == {event_id}
        assert json.loads(of_queue[-1]["details"]["target_input"])["detail"] == {"id": 1}
        (stream,) = logs.describe_log_streams(logGroupName=GROUP + "shop")["logStreams"]
        assert stream["logStreamName"] == "EventBridgeEventBusLogs"
        assert [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]] == [GROUP + "shop"]

        hub.kill()
        hub.start()
        assert len(records(hub, "shop")) == 12
        events = hub.client("events")
        assert events.update_event_bus(Name="shop", LogConfig={"Level": "OFF"})["LogConfig"] == {"Level": "OFF"}
        events.update_event_bus(Name="default", LogConfig={"Level": "INFO"})
        put(hub, "shop")
        put(hub, "default", "other")
        assert [record["message_type"] for record in records(hub, "default")] == [
            "EVENT_INGEST_SUCCESS",
            "NO_STANDARD_RULES_MATCHED",
        ]
        assert len(records(hub, "shop")) == 12
        metrics = hub.get("/metrics")[1]
        labels = f'account="{WORKLOAD}",bus="default",region="{REGION}"'
        assert f"crossbus_bus_log_records_total{{{labels}}} 2.0" in metrics
        assert f"crossbus_bus_log_records_lost_total{{{labels}}} 0.0" in metrics


def declared(**bus: Any) -> dict[str, Any]:
    return {"resources": [{"account": WORKLOAD, "region": REGION, "buses": [{"Name": "shop", **bus}]}]}


def test_a_bus_of_the_hub_file_has_all_that_the_api_gives_one(tmp_path: Path) -> None:
    given = {
        "KmsKeyIdentifier": "alias/shop",
        "DeadLetterConfig": {"Arn": QUEUE},
        "LogConfig": {"Level": "INFO", "IncludeDetail": "NONE"},
    }
    with HubProcess(tmp_path / "hub", declared(**given)) as hub:
        described = hub.client("events").describe_event_bus(Name="shop")
        assert {name: described[name] for name in given} == given
        put(hub, "shop")
        assert len(records(hub, "shop")) == 2


@pytest.mark.parametrize(
    ("bus", "reason"),
    [
        ({"LogConfig": {"Level": "INFO"}}, "this hub writes event bus logs into its own log groups"),
        ({"KmsKeyIdentifier": "no-key"}, "expected the id or the ARN of a KMS key"),
        ({"DeadLetterConfig": {"Arn": "no-arn"}}, "Provided Arn is not in correct format"),
    ],
)
def test_a_bus_of_the_hub_file_that_cannot_be_ends_the_start_with_its_place(
    tmp_path: Path, bus: dict[str, Any], reason: str
) -> None:
    keys = {"access_key_id": "somebody", "secret_access_key": "something"}
    endpoint = {"service": "logs", "url": "http://127.0.0.1:1", "credentials": keys}
    hub = HubProcess(tmp_path / "hub", {**declared(**bus), "endpoints": [endpoint]})
    hub.launch()
    assert hub.ended() != 0
    said = json.dumps(hub.log)
    assert reason in said
    assert "$.resources[0].buses[0]" in said


def test_a_log_that_is_set_before_log_groups_went_to_an_endpoint_is_lost_and_said_once(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "hub", {}) as hub:
        hub.client("events").update_event_bus(Name="default", LogConfig={"Level": "INFO"})
        put(hub, "default")
        assert len(records(hub, "default")) == 2
        hub.stop()
    keys = {"access_key_id": "somebody", "secret_access_key": "something"}
    endpoint = {"service": "logs", "url": "http://127.0.0.1:1", "credentials": keys}
    with HubProcess(tmp_path / "hub", {"endpoints": [endpoint]}) as hub:
        put(hub, "default")
        put(hub, "default")
        assert len(records(hub, "default")) == 2
        assert "crossbus_bus_log_records_lost_total" in hub.get("/metrics")[1]
        hub.stop()
        assert [entry["event"] for entry in hub.log].count("bus_log.lost") == 1
