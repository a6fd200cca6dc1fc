"""Schedules of a real daemon: over boto3, declared in the hub file, and fired, through a SIGKILL.

No test waits for a minute: where something must fire, the stopped hub's store is told that the rule is an hour older.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from router.catalog import records
from router.store.base import Batch, Table
from router.store.lmdb import LmdbStore
from router.world import RealWorld, iso_seconds
from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all

PREFIX = f"arn:aws:events:{REGION}:{WORKLOAD}:rule/"
QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:ticks"
TARGET = {"Id": "queue", "Arn": QUEUE}
PERIOD_MS = 3_600_000


def age(folder: Path, by_ms: int) -> dict[str, int]:
    """Make the scheduled rules in a stopped hub's store older; their anchors then."""

    async def change() -> dict[str, int]:
        world = RealWorld()
        store = LmdbStore(folder / "data", map_bytes_max=1 << 30, reserve_bytes=1 << 22, monotonic=world.monotonic)
        batch = Batch()
        anchors: dict[str, int] = {}
        for rule in records.rules(store):
            if rule.schedule_expression is not None:
                anchors[rule.name] = world.now_ms() - by_ms
                older = msgspec.structs.replace(rule, anchor_ms=anchors[rule.name])
                batch.put(Table.CATALOG, records.rule_key(rule), records.value(older))
        await store.commit(batch)
        await store.close()
        return anchors

    return asyncio.run(change())


def queue_url(hub: HubProcess) -> str:
    url: str = hub.client("sqs").create_queue(QueueName="ticks")["QueueUrl"]
    return url


def test_scheduled_rules_are_put_described_listed_and_refused(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {}) as hub:
        events = hub.client("events")
        assert events.put_rule(Name="r", ScheduleExpression="rate(1 hour)")["RuleArn"] == PREFIX + "r"
        described = events.describe_rule(Name="r")
        assert (described["ScheduleExpression"], described["State"]) == ("rate(1 hour)", "ENABLED")
        assert "EventPattern" not in described
        (listed,) = events.list_rules()["Rules"]
        assert listed == {
            "Name": "r",
            "Arn": PREFIX + "r",
            "ScheduleExpression": "rate(1 hour)",
            "State": "ENABLED",
            "EventBusName": "default",
        }
        for expression in ("rate(1 hours)", "cron(0 1 * * * *)"):
            with pytest.raises(ClientError) as refused:
                events.put_rule(Name="r", ScheduleExpression=expression)
            assert refused.value.response["Error"] == {
                "Code": "ValidationException",
                "Message": "Parameter ScheduleExpression is not valid.",
            }
        hub.kill()
        hub.start()
        assert hub.client("events").describe_rule(Name="r")["ScheduleExpression"] == "rate(1 hour)"


@pytest.mark.parametrize("declared", [False, True])
def test_a_schedule_fires_once_and_a_killed_hub_does_not_repeat_it(tmp_path: Path, *, declared: bool) -> None:
    rule: dict[str, Any] = {"Name": "hourly", "ScheduleExpression": "rate(1 hour)", "Targets": [TARGET]}
    resources = {"account": WORKLOAD, "region": REGION, "queues": [{"QueueName": "ticks"}], "rules": [rule]}
    with HubProcess(tmp_path, {"resources": [resources]} if declared else {}) as hub:
        url = queue_url(hub)
        if not declared:
            events = hub.client("events")
            events.put_rule(Name="hourly", ScheduleExpression="rate(1 hour)")
            events.put_targets(Rule="hourly", Targets=[TARGET])
        assert hub.stop() == 0
        anchor = age(tmp_path, PERIOD_MS + 1000)["hourly"]
        hub.start()
        (message,) = receive_all(hub.client("sqs"), url, expected=1)
        body = json.loads(message["Body"])
        assert (body["source"], body["detail-type"], body["detail"]) == ("aws.events", "Scheduled Event", {})
        assert (body["resources"], body["time"]) == ([PREFIX + "hourly"], iso_seconds(anchor + PERIOD_MS))
        assert hub.metric("crossbus_schedule_fires_total") == 1
        hub.kill()
        hub.start()
        eventually(lambda: hub.metric("crossbus_schedules") == 1)
        (shown,) = json.loads(hub.get("/_hub/v1/schedules?count=1")[1])["schedules"]
        assert shown["next"] == [iso_seconds(anchor + 2 * PERIOD_MS)]
        assert receive_all(hub.client("sqs"), url, expected=1, seconds=1) == []
        assert hub.metric("crossbus_schedule_fires_total") == 0


def test_what_is_too_late_is_not_made_up_and_is_told(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {"schedules": {"late_s_max": 60}}) as hub:
        url = queue_url(hub)
        events = hub.client("events")
        events.put_rule(Name="hourly", ScheduleExpression="rate(1 hour)")
        events.put_targets(Rule="hourly", Targets=[TARGET])
        assert hub.stop() == 0
        age(tmp_path, 10 * PERIOD_MS + 120_000)
        hub.start()
        eventually(lambda: hub.metric("crossbus_schedule_missed_total") == 10)
        told = eventually(lambda: [line for line in hub.log if line["event"] == "schedules.missed"])[0]
        assert (told["fires"], told["rules"], told["first_rule"]) == (10, 1, PREFIX + "hourly")
        assert receive_all(hub.client("sqs"), url, expected=1, seconds=1) == []
