"""Retries, dead letters and restarts, against a real daemon process and an HTTP target outside it."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all
from tests.e2e.target import HttpTarget

ROLE = f"arn:aws:iam::{WORKLOAD}:role/invoke"
DESTINATION = f"arn:aws:events:{REGION}:{WORKLOAD}:api-destination/recorder"


def settings(target: HttpTarget, **target_members: Any) -> dict[str, Any]:
    """A hub with one rule to one API destination."""
    entry = {"Id": "recorder", "Arn": DESTINATION, "RoleArn": ROLE, **target_members}
    connection = {
        "Name": "recorder",
        "AuthorizationType": "API_KEY",
        "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "open-sesame"}},
    }
    destination = {
        "Name": "recorder",
        "ConnectionName": "recorder",
        "InvocationEndpoint": target.url,
        "HttpMethod": "POST",
        "InvocationRateLimitPerSecond": 1000,
    }
    return {
        "resources": [
            {
                "account": WORKLOAD,
                "region": REGION,
                "queues": [{"QueueName": "dlq"}],
                "connections": [connection],
                "api_destinations": [destination],
                "rules": [{"Name": "to-recorder", "EventPattern": {"source": ["shop"]}, "Targets": [entry]}],
            }
        ]
    }


DLQ = {"DeadLetterConfig": {"Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:dlq"}}


def put(hub: HubProcess, numbers: range) -> list[str]:
    """Put one event for each number; their ids."""
    events = hub.client("events")
    ids: list[str] = []
    for start in range(numbers.start, numbers.stop, 10):
        entries = [
            {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"n": n})}
            for n in range(start, min(start + 10, numbers.stop))
        ]
        answer = events.put_events(Entries=entries)
        assert answer["FailedEntryCount"] == 0, answer
        ids += [entry["EventId"] for entry in answer["Entries"]]
    return ids


def ids_of(target: HttpTarget) -> set[str]:
    return {json.loads(body)["id"] for body in list(target.bodies)}


def test_a_failed_delivery_is_tried_again_until_the_target_takes_it(tmp_path: Path) -> None:
    with HttpTarget(lambda number: 503 if number < 2 else 200) as target, HubProcess(tmp_path, settings(target)) as hub:
        (event_id,) = put(hub, range(1))
        eventually(lambda: target.bodies)
        assert ids_of(target) == {event_id}
        assert target.requests == 3
        assert {headers["X-Key"] for headers in target.headers} == {"open-sesame"}
        assert eventually(lambda: hub.metric("crossbus_retries_total", sink="api_destination") == 2)
        failed = [line for line in hub.log if line["event"] == "attempt.failed"]
        assert [line["attempt"] for line in failed] == [1, 2]
        assert "open-sesame" not in json.dumps(hub.log)


def test_what_is_parked_is_delivered_after_sigkill_and_restart(tmp_path: Path) -> None:
    down = threading.Event()
    down.set()
    with (
        HttpTarget(lambda number: 500 if down.is_set() else 200) as target,
        HubProcess(tmp_path, settings(target)) as hub,
    ):
        ids = put(hub, range(50))
        eventually(lambda: target.requests >= 50)
        hub.kill()
        hub.start()
        assert hub.metric("crossbus_deliveries_pending") == 50
        # Those that are due are being tried; they fail, and are parked again.
        eventually(lambda: hub.metric("crossbus_deliveries_parked", bus="default", sink="api_destination") > 0)
        down.clear()
        assert eventually(lambda: ids_of(target) == set(ids), seconds=40)
        assert eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)


def test_exhausted_retries_go_to_the_dead_letter_queue_with_their_reason(tmp_path: Path) -> None:
    policy = {"RetryPolicy": {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60}}
    with HttpTarget(lambda number: 500) as target, HubProcess(tmp_path, settings(target, **policy, **DLQ)) as hub:
        (event_id,) = put(hub, range(1))
        sqs = hub.client("sqs")
        url = sqs.get_queue_url(QueueName="dlq")["QueueUrl"]
        (message,) = receive_all(sqs, url, expected=1)
        assert json.loads(message["Body"])["id"] == event_id
        attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
        assert attributes.pop("ERROR_MESSAGE")
        assert attributes == {
            "RULE_ARN": f"arn:aws:events:{REGION}:{WORKLOAD}:rule/to-recorder",
            "TARGET_ARN": DESTINATION,
            "ERROR_CODE": "ERROR_FROM_TARGET",
            "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
            "RETRY_ATTEMPTS": "1",
        }
        assert target.requests == 2


def test_what_no_retry_mends_goes_to_the_dead_letter_queue_at_once(tmp_path: Path) -> None:
    with HttpTarget(lambda number: 400) as target, HubProcess(tmp_path, settings(target, **DLQ)) as hub:
        put(hub, range(1))
        sqs = hub.client("sqs")
        (message,) = receive_all(sqs, sqs.get_queue_url(QueueName="dlq")["QueueUrl"], expected=1)
        assert "RETRY_ATTEMPTS" not in message["MessageAttributes"]
        assert target.requests == 1


def test_a_dead_letter_without_a_queue_is_kept_and_can_be_redriven(tmp_path: Path) -> None:
    broken = threading.Event()
    broken.set()
    with (
        HttpTarget(lambda number: 400 if broken.is_set() else 200) as target,
        HubProcess(tmp_path, settings(target)) as hub,
    ):
        (event_id,) = put(hub, range(1))
        letter = eventually(lambda: json.loads(hub.get("/_hub/v1/dead-letters")[1])["dead_letters"])[0]
        assert (letter["event_id"], letter["attempts"]) == (event_id, 1)
        hub.kill()
        hub.start()
        broken.clear()
        status, text = hub.request("POST", f"/_hub/v1/dead-letters/{letter['number']}/redrive")
        assert (status, json.loads(text)["redriven"]) == (200, 1)
        eventually(lambda: target.bodies)
        assert ids_of(target) == {event_id}
        assert json.loads(hub.get("/_hub/v1/dead-letters")[1])["count"] == 0


def test_every_acknowledged_event_survives_sigkill_under_load(tmp_path: Path) -> None:
    with HttpTarget() as target, HubProcess(tmp_path, settings(target)) as hub:
        acknowledged: list[str] = []

        def load() -> None:
            try:
                for start in range(0, 5000, 10):
                    acknowledged.extend(put(hub, range(start, start + 10)))
            except BotoCoreError:  # the hub is gone: what was acknowledged counts
                return

        for _ in range(3):
            before = len(acknowledged)
            loader = threading.Thread(target=load)
            loader.start()
            eventually(lambda before=before: len(acknowledged) > before + 200)
            hub.kill()
            loader.join()
            hub.start()
        assert eventually(lambda: set(acknowledged) <= ids_of(target), seconds=40)


def test_sigterm_finishes_what_is_in_flight_and_exits_with_0(tmp_path: Path) -> None:
    slow = threading.Event()

    def answer(number: int) -> int:
        slow.wait(1.0)
        return 200

    with HttpTarget(answer) as target, HubProcess(tmp_path, settings(target)) as hub:
        put(hub, range(3))
        eventually(lambda: hub.metric("crossbus_attempts_in_flight") >= 1)
        assert hub.stop() == 0
        events = [line["event"] for line in hub.log]
        assert events[-1] == "hub.stopped"
        hub.start()
        assert eventually(lambda: len(ids_of(target)) == 3)
        assert target.requests == 3, "what was in flight at SIGTERM was settled before the hub stopped"


def test_a_second_signal_at_once_is_the_same_one_and_a_later_one_does_not_wait(tmp_path: Path) -> None:
    slow = threading.Event()

    def answer(number: int) -> int:
        slow.wait(10.0)
        return 200

    with HttpTarget(answer) as target, HubProcess(tmp_path, settings(target)) as hub:
        put(hub, range(1))
        eventually(lambda: hub.metric("crossbus_attempts_in_flight") >= 1)
        os.kill(hub.pid, signal.SIGTERM)
        os.kill(hub.pid, signal.SIGINT)
        time.sleep(1.2)
        assert [line["event"] for line in hub.log][-1] == "hub.stopping"
        assert hub.stop() == 1
        assert [line["event"] for line in hub.log][-1] == "hub.aborted"
        slow.set()
