"""Fault profiles of a running hub: from the hub file, changed through its own API, and seen by boto3's clients."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually, receive_all

QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"
FAR = "eu-west-1"
SETTINGS = {
    "probing": {"pause_s_max": 0.1},
    "profiles": [
        {"name": "link", "from": f"*/{REGION}", "to": f"*/{FAR}", "latency": {"fixed_ms": 5}},
        {"name": "away", "target": QUEUE, "outage": {"length_s": 3600}, "enabled": False},
    ],
    "resources": [
        {
            "account": WORKLOAD,
            "region": REGION,
            "queues": [{"QueueName": "orders"}, {"QueueName": "others"}],
            "rules": [
                {
                    "Name": "orders",
                    "EventPattern": {"source": ["shop"]},
                    "Targets": [
                        {"Id": "orders", "Arn": QUEUE},
                        {"Id": "others", "Arn": QUEUE.replace("orders", "others")},
                        {
                            "Id": "far",
                            "Arn": f"arn:aws:events:{FAR}:{SECURITY}:event-bus/central",
                            "RoleArn": f"arn:aws:iam::{WORKLOAD}:role/hop",
                        },
                    ],
                }
            ],
        },
        {
            "account": SECURITY,
            "region": FAR,
            "queues": [{"QueueName": "all"}],
            "buses": [
                {
                    "Name": "central",
                    "Policy": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Sid": "all",
                                "Effect": "Allow",
                                "Principal": "*",
                                "Action": "events:PutEvents",
                                "Resource": f"arn:aws:events:{FAR}:{SECURITY}:event-bus/central",
                            }
                        ],
                    },
                }
            ],
            "rules": [
                {
                    "Name": "all",
                    "EventBusName": "central",
                    "EventPattern": {"source": ["shop"]},
                    "Targets": [{"Id": "q", "Arn": f"arn:aws:sqs:{FAR}:{SECURITY}:all"}],
                }
            ],
        },
    ],
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    with HubProcess(tmp_path, SETTINGS) as running:
        yield running


def call(hub: HubProcess, method: str, body: object = None, query: str = "") -> tuple[int, Any]:
    status, text = hub.request(method, f"/_hub/v1/profiles{query}", json.dumps(body).encode() if body else None)
    return status, json.loads(text)


def shown(answer: Any) -> list[tuple[str, bool, bool, bool]]:
    return [(one["name"], one["enabled"], one["declared"], one["out"]) for one in answer["profiles"]]


def put(hub: HubProcess, count: int) -> None:
    entries = [{"Source": "shop", "DetailType": "order", "Detail": json.dumps({"n": n})} for n in range(count)]
    assert hub.client("events").put_events(Entries=entries)["FailedEntryCount"] == 0


def received(hub: HubProcess, name: str, expected: int, account: str = WORKLOAD, region: str = REGION) -> list[int]:
    sqs = hub.client("sqs", account, region)
    messages = receive_all(sqs, f"{hub.url}/{account}/{name}", expected=expected)
    return sorted(json.loads(message["Body"])["detail"]["n"] for message in messages)


def test_what_a_target_misses_while_it_is_away_arrives_once_it_is_back(hub: HubProcess) -> None:
    status, answer = call(hub, "PUT", {"name": "away", "enabled": True})
    assert (status, shown(answer)) == (200, [("link", True, True, False), ("away", True, False, True)])
    put(hub, 10)
    assert received(hub, "others", 10) == list(range(10))
    assert received(hub, "all", 10, SECURITY, FAR) == list(range(10))
    eventually(lambda: hub.metric("crossbus_deliveries_parked") == 10)
    assert hub.metric("crossbus_faults_injected_total", profile="away", fault="outage") >= 10
    assert hub.metric("crossbus_faults_injected_total", profile="link", fault="delay") == 10
    call(hub, "PUT", {"name": "away", "enabled": False})
    assert received(hub, "orders", 10) == list(range(10))
    eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
    changes = [(line["change"], line["profile"], line["in_force"]) for line in hub.log if "in_force" in line]
    assert changes == [("enabled", "away", ["link", "away"]), ("disabled", "away", ["link"])]


def test_a_fault_that_no_retry_mends_makes_dead_letters_that_name_the_profile(hub: HubProcess) -> None:
    call(hub, "PUT", {"name": "locked", "target": QUEUE, "errors": {"rate": 1, "outcome": 403}})
    put(hub, 3)
    eventually(lambda: hub.metric("crossbus_dead_letters_total") == 3)
    letters = json.loads(hub.get("/_hub/v1/dead-letters")[1])["dead_letters"]
    assert {(letter["code"], letter["message"]) for letter in letters} == {
        ("NO_PERMISSIONS", "sqs under fault profile locked: status 403")
    }
    call(hub, "DELETE", query="?name=locked")
    hub.request("POST", "/_hub/v1/dead-letters/redrive")
    assert received(hub, "orders", 3) == [0, 1, 2]


def test_changes_last_until_the_restart_and_the_answer_says_so(hub: HubProcess) -> None:
    _, answer = call(hub, "PUT", {"name": "more", "throttle_per_s": 5})
    assert answer["changes_last"] == "until the hub restarts; the hub file's profiles hold again then"
    assert [name for name, *_ in shown(answer)] == ["link", "away", "more"]
    hub.stop()
    hub.start()
    assert shown(call(hub, "GET")[1]) == [("link", True, True, False), ("away", False, True, False)]


def test_without_a_name_all_changes_are_undone(hub: HubProcess) -> None:
    call(hub, "PUT", {"name": "more", "throttle_per_s": 5})
    call(hub, "DELETE", query="?name=link")
    status, answer = call(hub, "DELETE")
    assert (status, shown(answer)) == (200, [("link", True, True, False), ("away", False, True, False)])


_AT = " - at `$.latency"
REFUSED: list[tuple[str, object, str, int, str]] = [
    ("DELETE", None, "?name=nobody", 404, "There is no fault profile nobody."),
    ("PUT", {"name": "nobody", "enabled": True}, "", 404, "There is no fault profile nobody."),
    ("PUT", {"name": "p"}, "", 400, "expected at least one of latency, errors, throttle_per_s and outage, got none"),
    ("PUT", {"name": "p", "latency": {"fixed_ms": -1}}, "", 400, f"Expected `float` >= 0.0{_AT}.fixed_ms`"),
    ("PUT", {"name": "p", "latency": {}}, "", 400, f"got none{_AT}`"),
    ("PUT", {"name": "p", "slow": 5}, "", 400, "Object contains unknown field `slow`"),
    ("PUT", [], "", 400, "expected a fault profile"),
]


def test_what_cannot_be_is_refused_and_changes_nothing(hub: HubProcess) -> None:
    before = shown(call(hub, "GET")[1])
    for method, body, query, status, said in REFUSED:
        found, answer = call(hub, method, body, query)
        assert (found, said in answer["message"]) == (status, True), answer
    assert shown(call(hub, "GET")[1]) == before


def test_profiles_are_for_admins_only(tmp_path: Path) -> None:
    keys = [{"access_key_id": "AKIAPRODUCER", "secret_access_key": "secret-of-the-producer", "account": WORKLOAD}]
    with HubProcess(tmp_path, {"auth": {"mode": "sigv4", "keys": keys}}) as hub:
        for method in ("GET", "PUT", "DELETE"):
            assert hub.request(method, "/_hub/v1/profiles", b"{}")[0] == 403
