"""Archives and replays through boto3 against a real daemon, and the daemon killed in the middle of them."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from router.verify import verify
from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually

BUS = f"arn:aws:events:{REGION}:{WORKLOAD}:event-bus/default"
ARCHIVE = f"arn:aws:events:{REGION}:{WORKLOAD}:archive/shop"
QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:events"
HUB_FILE: dict[str, Any] = {
    "resources": [
        {
            "account": WORKLOAD,
            "region": REGION,
            "queues": [{"QueueName": "events"}],
            "archives": [{"ArchiveName": "shop", "EventPattern": {"source": ["shop"]}, "RetentionDays": 30}],
        }
    ],
}
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def put(hub: HubProcess, count: int, start: int = 0) -> list[str]:
    """Events a second apart, numbered; their ids."""
    client = hub.client("events")
    ids: list[str] = []
    for first in range(start, start + count, 10):
        entries = [
            {
                "Source": "shop",
                "DetailType": "order",
                "Detail": json.dumps({"number": number}),
                "Time": LONG_AGO + timedelta(seconds=number),
            }
            for number in range(first, min(first + 10, start + count))
        ]
        answer = client.put_events(Entries=entries)
        assert answer["FailedEntryCount"] == 0
        ids += [entry["EventId"] for entry in answer["Entries"]]
    return ids


def rule(hub: HubProcess) -> str:
    client = hub.client("events")
    arn: str = client.put_rule(Name="to-queue", EventPattern='{"source":["shop"]}')["RuleArn"]
    client.put_targets(Rule="to-queue", Targets=[{"Id": "1", "Arn": QUEUE}])
    return arn


def start(hub: HubProcess, name: str, seconds: int, **destination: Any) -> dict[str, Any]:
    answer: dict[str, Any] = hub.client("events").start_replay(
        ReplayName=name,
        EventSourceArn=ARCHIVE,
        EventStartTime=LONG_AGO,
        EventEndTime=LONG_AGO + timedelta(seconds=seconds),
        Destination={"Arn": BUS, **destination},
    )
    return answer


def described(hub: HubProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = hub.client("events").describe_replay(ReplayName=name)
    return found


def is_in(hub: HubProcess, name: str, state: str) -> bool:
    return bool(described(hub, name)["State"] == state)


def received(hub: HubProcess, count: int) -> list[dict[str, Any]]:
    """The events in the queue, once they are so many."""
    page: dict[str, Any] = {}

    def there() -> bool:
        found: list[Any] = []
        while True:
            after = found[-1]["position"] if found else 0
            status, text = hub.get(f"/_hub/v1/inboxes/messages?arn={QUEUE}&limit=1000&after={after}")
            assert status == 200, text
            rows = json.loads(text)["messages"]
            found += rows
            if not rows:
                break
        page["events"] = [json.loads(row["body"]) for row in found]
        return len(found) >= count

    eventually(there)
    events: list[dict[str, Any]] = page["events"]
    return events


def test_the_life_of_an_archive_and_its_replays(tmp_path: Path) -> None:
    with HubProcess(tmp_path, HUB_FILE) as hub:
        client = hub.client("events")
        ids = put(hub, 25)
        client.put_events(Entries=[{"Source": "else", "DetailType": "t", "Detail": "{}"}])
        found = client.describe_archive(ArchiveName="shop")
        assert (found["EventCount"], found["State"], found["RetentionDays"]) == (25, "ENABLED", 30)
        assert found["SizeBytes"] > 25 * 26
        arn = rule(hub)
        started = start(hub, "again", 20, FilterArns=[arn])
        assert started["State"] == "STARTING"
        assert [replay["ReplayName"] for replay in client.list_replays()["Replays"]] == ["again"]
        eventually(lambda: is_in(hub, "again", "COMPLETED"))
        done = described(hub, "again")
        assert done["EventLastReplayedTime"] == LONG_AGO + timedelta(seconds=19)
        assert done["Destination"] == {"Arn": BUS, "FilterArns": [arn]}
        assert done["ReplayEndTime"] >= done["ReplayStartTime"] == started["ReplayStartTime"]
        events = received(hub, 20)
        assert [event["detail"]["number"] for event in events] == list(range(20))
        assert {event["replay-name"] for event in events} == {"again"}
        assert not {event["id"] for event in events} & set(ids)
        assert events[3]["time"] == "2026-01-01T00:00:03Z"
        assert client.describe_archive(ArchiveName="shop")["EventCount"] == 25
        with pytest.raises(ClientError, match="Replay again already exists"):
            start(hub, "again", 20)
        with pytest.raises(ClientError, match="IllegalStatusException"):
            client.cancel_replay(ReplayName="again")


def test_an_eleventh_replay_at_once_is_refused_and_one_can_be_cancelled_in_time(tmp_path: Path) -> None:
    with HubProcess(tmp_path, HUB_FILE) as hub:
        client = hub.client("events")
        for number in range(10):
            start(hub, f"r{number}", 20)
        with pytest.raises(ClientError, match="The requested resource exceeds the maximum number allowed") as refused:
            start(hub, "r10", 20)
        assert refused.value.response["Error"]["Code"] == "LimitExceededException"
        assert client.cancel_replay(ReplayName="r0")["State"] == "CANCELLING"
        assert is_in(hub, "r0", "CANCELLING")
        eventually(lambda: is_in(hub, "r0", "CANCELLED"))
        eventually(lambda: len(client.list_replays(State="COMPLETED")["Replays"]) == 9)
        first = client.list_replays(Limit=6)
        rest = client.list_replays(Limit=6, NextToken=first["NextToken"])
        assert (len(first["Replays"]), len(rest["Replays"]), "NextToken" in rest) == (6, 4, False)


def test_a_replay_survives_sigkill_with_nothing_lost_and_nothing_twice(tmp_path: Path) -> None:
    count = 6000
    with HubProcess(tmp_path, {**HUB_FILE, "inboxes": {"messages_max": 100_000}}) as hub:
        put(hub, count)
        rule(hub)
        start(hub, "again", count)
        for _ in range(3):
            eventually(lambda: described(hub, "again")["State"] != "STARTING")
            time.sleep(0.1)
            hub.kill()
            hub.start()
        eventually(lambda: is_in(hub, "again", "COMPLETED"))
        assert described(hub, "again")["EventLastReplayedTime"] == LONG_AGO + timedelta(seconds=count - 1)
        numbers = [event["detail"]["number"] for event in received(hub, count)]
        assert sorted(numbers) == list(range(count))
        assert hub.stop() == 0
    assert verify(tmp_path / "data").problems == []


def test_deleting_an_archive_survives_sigkill_and_its_counts_are_exact_after_one(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {}) as hub:
        client = hub.client("events")
        for name in ("shop", "kept"):
            client.create_archive(ArchiveName=name, EventSourceArn=BUS)
        put(hub, 4000)
        hub.kill()
        hub.start()
        client = hub.client("events")
        assert client.describe_archive(ArchiveName="kept")["EventCount"] == 4000
        client.delete_archive(ArchiveName="shop")
        hub.kill()
        hub.start()
        client = hub.client("events")
        assert [archive["ArchiveName"] for archive in client.list_archives()["Archives"]] == ["kept"]
        eventually(lambda: "crossbus_archive_events 4000.0" in hub.get("/metrics")[1])
        assert client.describe_archive(ArchiveName="kept")["EventCount"] == 4000
        assert hub.stop() == 0
    report = verify(tmp_path / "data")
    assert report.problems == []
    assert report.rows["archive"] == 4001
