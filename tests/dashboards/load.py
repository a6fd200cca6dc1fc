"""A hub in which everything happens that a dashboard shows: events that match, that do not, that are refused; targets
that fail now and then, always, or for good; dead-letter queues that take and that do not; hops over accounts and
regions; queues, schedules, archives and replays. `Load.round` is one turn of it.
"""

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess
from tests.e2e.queue_server import QueueServer
from tests.e2e.target import HttpTarget
from tests.e2e.test_schedules import age

OTHER = "222222222222"
FAR = "eu-west-1"
QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}"
ROLE = f"arn:aws:iam::{WORKLOAD}:role/events"
BUS = f"arn:aws:events:{REGION}:{WORKLOAD}:event-bus"
LETTERS = {"DeadLetterConfig": {"Arn": f"{QUEUE}:letters"}}
NO_LETTERS = {"DeadLetterConfig": {"Arn": f"{QUEUE}:nowhere"}}


def entry(source: str, detail: str = "{}", **members: str) -> dict[str, str]:
    return {"Source": source, "DetailType": "sold", "Detail": detail, **members}


def destination(name: str) -> dict[str, Any]:
    return {
        "Id": "1",
        "Arn": f"arn:aws:events:{REGION}:{WORKLOAD}:api-destination/{name}",
        "RoleArn": ROLE,
        "RetryPolicy": {"MaximumRetryAttempts": 185},
    }


class Load:
    """Entered, the hub runs with all its rules; left, everything is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rounds = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self._queues = enter(QueueServer())
        # One in three calls fails, one in nine for good; the other target never answers well.
        flaky = enter(HttpTarget(lambda number: (200, 503, 200, 200, 503, 200, 200, 400, 200)[number % 9]))
        broken = enter(HttpTarget(lambda number: 503))
        self._source = self._queues.create("orders")
        key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "open-sesame"}}
        resources = {
            "account": WORKLOAD,
            "region": REGION,
            "connections": [{"Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": key}],
            "api_destinations": [
                {"Name": name, "ConnectionName": "c", "InvocationEndpoint": target.url, "HttpMethod": "POST"}
                for name, target in (("flaky", flaky), ("broken", broken))
            ],
        }
        settings = {
            "aws_events": True,
            "trails": [{"management_events": {}}],
            "resources": [resources],
            "target_limits": [{"arn": f"{QUEUE}:slow", "rate_per_s": 2}],
            "sqs_sources": [
                self._queues.source(self._source),
                self._queues.source(f"{self._source}-missing"),
            ],
        }
        self.hub = enter(HubProcess(self._folder, settings))
        self._build()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        events, far = self.hub.client("events"), self.hub.client("events", SECURITY, FAR)
        for name in ("orders", "letters", "slow", "ticks"):
            self.hub.client("sqs").create_queue(QueueName=name)
        self.hub.client("sqs", SECURITY, FAR).create_queue(QueueName="seen")
        events.create_event_bus(Name="logged", LogConfig={"Level": "TRACE", "IncludeDetail": "FULL"})
        for name in ("second", "third"):
            events.create_event_bus(Name=name)
        far.put_permission(StatementId="all", Action="events:PutEvents", Principal=WORKLOAD)
        queue = {"Id": "1", "Arn": f"{QUEUE}:orders"}
        missing = {"Id": "1", "Arn": f"{QUEUE}:missing"}
        rules: list[tuple[str, str, dict[str, Any]]] = [
            ("shop", "default", queue),
            ("shop", "logged", queue),
            ("slow", "default", {"Id": "1", "Arn": f"{QUEUE}:slow"}),
            ("flaky", "default", destination("flaky") | LETTERS),
            ("broken", "default", destination("broken")),
            ("missing", "default", missing | LETTERS),
            ("missing", "logged", missing | NO_LETTERS),
            ("far", "default", {"Id": "1", "Arn": f"arn:aws:events:{FAR}:{SECURITY}:event-bus/default"}),
            ("round", "default", {"Id": "1", "Arn": f"{BUS}/second"} | LETTERS),
            ("round", "second", {"Id": "1", "Arn": f"{BUS}/third"} | LETTERS),
        ]
        for source, bus, target in rules:
            events.put_rule(Name=source, EventBusName=bus, EventPattern=json.dumps({"source": [source]}))
            given = {"RoleArn": ROLE, **target} if ":event-bus/" in target["Arn"] else target
            answer = events.put_targets(Rule=source, EventBusName=bus, Targets=[given])
            assert answer["FailedEntryCount"] == 0, answer
        far.put_rule(Name="far", EventPattern='{"source":["far"]}')
        far.put_targets(Rule="far", Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:{FAR}:{SECURITY}:seen"}])
        events.put_rule(Name="tick", ScheduleExpression="rate(1 minute)")
        events.put_targets(Rule="tick", Targets=[{"Id": "1", "Arn": f"{QUEUE}:ticks"}])
        events.create_archive(ArchiveName="all", EventSourceArn=f"{BUS}/default", EventPattern='{"source":["shop"]}')

    def round(self) -> None:
        """Some hundred events, more of them in every second round, so that rates and means move."""
        hub, number = self.hub, self._rounds
        self._rounds += 1
        events, other = hub.client("events"), hub.client("events", OTHER)
        for _ in range(1 + 4 * (number % 2)):
            many = [entry("shop", json.dumps({"text": "x" * (100 + 4000 * (number % 3))}))] * 7
            events.put_events(Entries=[*many, entry("nobody"), entry("far"), entry("round")])
        sources = ["flaky"] * 4 + ["broken", "missing", "slow", "slow", "slow"]
        events.put_events(Entries=[entry(source) for source in sources] + [entry("shop", EventBusName="logged")])
        events.put_events(
            Entries=[
                entry("shop", "no JSON"),
                entry("shop", EventBusName="nowhere"),
                *[entry("missing", EventBusName="logged")] * (1 + number % 3),
            ]
        )
        other.put_events(Entries=[entry("shop")] * (1 + number % 3) + [entry("shop", "no JSON")] * (number % 2))
        record = {"eventSource": "s3.amazonaws.com", "eventName": "GetObject", "eventCategory": "Data"}
        hub.service_events([record | {"managementEvent": False}] * (1 + number % 3))
        bodies = [json.dumps(entry("shop"))] * (1 + number % 4)
        self._queues.send(self._source, [*bodies, *["no JSON"] * (number % 2)])
        if number in (3, 9):
            now = datetime.now(UTC)
            events.start_replay(
                ReplayName=f"r{number}",
                EventSourceArn=f"arn:aws:events:{REGION}:{WORKLOAD}:archive/all",
                EventStartTime=now - timedelta(minutes=5),
                EventEndTime=now,
                Destination={"Arn": f"{BUS}/default"},
            )

    def restart(self) -> None:
        """Stopped in good order and started again on its port; meanwhile some fires of its schedule were missed."""
        port = self.hub.port
        assert self.hub.stop() == 0
        age(self._folder, 270_000)
        self.hub.start(port)
