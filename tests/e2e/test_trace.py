"""`crossbus trace` and its call against a real daemon: over hops, retries, a dead letter, and a SIGKILL in between."""

import json
import threading
from pathlib import Path
from typing import Any

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually
from tests.e2e.target import HttpTarget
from tests.e2e.test_cli import answer
from tests.e2e.test_retry import ROLE, put, settings

FAR = "eu-west-1"
CENTRAL = f"arn:aws:events:{FAR}:{SECURITY}:event-bus/central"
AUDIT = f"arn:aws:sns:{FAR}:{SECURITY}:audit"
MISSING = f"arn:aws:sqs:{REGION}:{WORKLOAD}:missing"


def rule(name: str, target: str, **more: Any) -> dict[str, Any]:
    entry = {"Id": "1", "Arn": target, "RoleArn": ROLE}
    return {"Name": name, "EventPattern": {"source": ["shop"]}, "Targets": [entry], **more}


def hub_file(target: HttpTarget) -> dict[str, Any]:
    """A rule to an API destination, one to a queue that does not exist, one to a bus of another account and region."""
    made = settings(target)
    made["resources"][0]["rules"] += [rule("lost", MISSING), rule("forward", CENTRAL)]
    allow = {"Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": CENTRAL}
    there = {
        "account": SECURITY,
        "region": FAR,
        "buses": [{"Name": "central", "Policy": {"Version": "2012-10-17", "Statement": [allow]}}],
        "rules": [rule("audit", AUDIT, EventBusName="central")],
    }
    return {**made, "resources": [*made["resources"], there]}


def traced(hub: HubProcess, event_id: str) -> dict[str, Any]:
    status, text = hub.get(f"/_hub/v1/trace?event_id={event_id}")
    assert status == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


def test_an_event_is_traced_over_hops_retries_a_dead_letter_and_a_sigkill(tmp_path: Path) -> None:
    down = threading.Event()
    down.set()
    with (
        HttpTarget(lambda number: 503 if down.is_set() else 200) as target,
        HubProcess(tmp_path, hub_file(target)) as hub,
    ):
        (event_id,) = put(hub, range(1))
        eventually(lambda: traced(hub, event_id)["states"] == {"parked": 1, "dead_letter": 1, "delivered": 2})
        shown = answer(hub, "trace", event_id)
        assert shown.startswith(f"event {event_id}: 1 dead_letter, 2 delivered, 1 parked\n")
        assert "parked: attempt " in shown
        assert "`crossbus dlq redrive " in shown
        hub.kill()
        hub.start()
        down.clear()
        eventually(lambda: traced(hub, event_id)["states"] == {"dead_letter": 1, "delivered": 3})
        [event] = traced(hub, event_id)["events"]
        by_target = {delivery["target_arn"]: delivery for delivery in event["deliveries"]}
        letter = by_target[MISSING]["dead_letter"]
        assert (letter["code"], letter["kept"]) == ("NO_RESOURCE", True)
        far = by_target[CENTRAL]["event"]
        assert (far["account"], far["region"], far["bus"], far["parent_id"]) == (SECURITY, FAR, "central", event_id)
        assert [delivery["target_arn"] for delivery in far["deliveries"]] == [AUDIT]
        retried = next(delivery for delivery in event["deliveries"] if len(delivery["attempts"]) > 1)
        assert [attempt["number"] for attempt in retried["attempts"]] == list(range(1, retried["attempts_made"] + 1))
        assert json.loads(answer(hub, "trace", far["event_id"], "--json"))["events"] == [event]


def test_an_event_that_is_not_known_is_not_found_with_how_long_traces_are_kept(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {"trace": {"age_s_max": 77}}) as hub:
        status, text = hub.get("/_hub/v1/trace?event_id=nope")
        assert (status, json.loads(text)["__type"]) == (404, "ResourceNotFoundException")
        assert "traces are kept for 77 s" in json.loads(text)["message"]
        assert hub.get("/_hub/v1/trace")[0] == 400
