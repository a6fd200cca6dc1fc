"""The scenarios that crossbus grew out of, against a real daemon process through boto3 and the AWS CLI."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually, receive_all

ALL = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
ROLE = "arn:aws:iam::{}:role/forward"
TRAIL = {"data_events": [{"type": "AWS::S3::Object", "values": ["arn:aws:s3"]}]}


def record(
    name: str, *, source: str = "secretsmanager", data: bool = False, agent: str = "aws-cli/2.9"
) -> dict[str, Any]:
    """A raw CloudTrail record."""
    return {
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{WORKLOAD}:user/eve"},
        "eventTime": "2026-11-23T10:00:00Z",
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": REGION,
        "userAgent": agent,
        "requestParameters": {"bucketName": "payroll", "key": "2026.csv"},
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": not data,
        "eventCategory": "Data" if data else "Management",
    }


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    with HubProcess(tmp_path, {"aws_events": True, "trails": [TRAIL]}) as running:
        yield running


def get_secret_pattern() -> str:
    return json.dumps(
        {
            "source": ["aws.secretsmanager"],
            "detail-type": ["AWS API Call via CloudTrail"],
            "detail": {"eventName": ["GetSecretValue"], "userAgent": [{"wildcard": "aws-cli/*"}]},
        }
    )


def put_rule(
    events: Any,
    name: str,
    pattern: object,
    targets: list[dict[str, Any]],
    *,
    state: str = "ENABLED",
    bus: str = "default",
) -> str:
    text = pattern if isinstance(pattern, str) else json.dumps(pattern)
    arn: str = events.put_rule(Name=name, EventPattern=text, State=state, EventBusName=bus)["RuleArn"]
    answer = events.put_targets(Rule=name, EventBusName=bus, Targets=targets)
    assert answer["FailedEntryCount"] == 0, answer
    return arn


def queue(hub: HubProcess, name: str, account: str = WORKLOAD, region: str = REGION) -> tuple[str, str]:
    """A queue's URL and ARN."""
    url = hub.client("sqs", account, region).create_queue(QueueName=name)["QueueUrl"]
    return url, f"arn:aws:sqs:{region}:{account}:{name}"


def test_get_secret_value_through_the_cli_reaches_its_log_group_and_only_in_the_all_cloudtrail_state(
    hub: HubProcess,
) -> None:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": WORKLOAD,
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
    }

    def aws(*arguments: str) -> Any:
        command = [str(Path(sys.executable).parent / "aws"), "--endpoint-url", hub.url, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else {}

    group = "/aws/events/getsecretvaluelogs"
    for name, state, target in (
        ("monitor-secretsmanager", ALL, group),
        ("monitor-secretsmanager-enabled", "ENABLED", "/aws/events/nothing"),
    ):
        aws("events", "put-rule", "--name", name, "--event-pattern", get_secret_pattern(), "--state", state)
        arn = f"arn:aws:logs:{REGION}:{WORKLOAD}:log-group:{target}"
        aws("events", "put-targets", "--rule", name, "--targets", f"Id=1,Arn={arn}")
    assert hub.service_events(record("GetSecretValue"))["accepted"] == 1
    assert hub.service_events(record("GetSecretValue", agent="Boto3/1.44"))["accepted"] == 1
    events = eventually(
        lambda: (
            aws("logs", "filter-log-events", "--log-group-name", group)["events"] if _has_group(hub, group) else None
        )
    )
    (message,) = [json.loads(event["message"]) for event in events]
    assert message["source"] == "aws.secretsmanager"
    assert message["detail"]["userAgent"] == "aws-cli/2.9"
    assert message["account"] == WORKLOAD
    assert not _has_group(hub, "/aws/events/nothing")


def _has_group(hub: HubProcess, name: str) -> bool:
    groups = hub.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return any(group["logGroupName"] == name for group in groups)


def test_bucket_listing_and_object_reads_reach_a_topic_and_a_queue(hub: HubProcess) -> None:
    events = hub.client("events")
    url, arn = queue(hub, "exfiltration")
    topic = f"arn:aws:sns:{REGION}:{WORKLOAD}:exfiltration"
    targets = [{"Id": "queue", "Arn": arn}, {"Id": "topic", "Arn": topic}]
    base = {"source": ["aws.s3"], "detail-type": ["AWS API Call via CloudTrail"]}
    put_rule(events, "list-buckets", {**base, "detail": {"eventName": ["ListBuckets"]}}, targets, state=ALL)
    names = ["ListObjects", "ListObjectsV2", "GetObject"]
    put_rule(events, "read-objects", {**base, "detail": {"eventName": names}}, targets)
    hub.service_events(record("ListBuckets", source="s3"))
    hub.service_events([record(name, source="s3", data=True) for name in names])
    messages = receive_all(hub.client("sqs"), url, expected=4)
    seen = sorted(json.loads(message["Body"])["detail"]["eventName"] for message in messages)
    assert seen == ["GetObject", "ListBuckets", "ListObjects", "ListObjectsV2"]

    def in_topic() -> list[Any] | None:
        _, text = hub.get(f"/_hub/v1/inboxes/messages?arn={topic}")
        found = json.loads(text).get("messages", [])
        return found if len(found) == 4 else None

    assert len(eventually(in_topic)) == 4


def test_data_events_that_no_trail_logs_are_withheld(hub: HubProcess) -> None:
    lambda_invoke = {**record("Invoke", source="lambda", data=True), "readOnly": False}
    assert hub.service_events(lambda_invoke) == {"accepted": 0, "withheld": 1, "failed": 0, "failures": []}


def central_bus(hub: HubProcess, *, permission: bool = True) -> tuple[str, str]:
    """The security account's bus in eu-west-1, with a queue behind its two rules; the bus's ARN and the queue's URL."""
    security = hub.client("events", SECURITY, "eu-west-1")
    arn = security.create_event_bus(Name="central")["EventBusArn"]
    if permission:
        for account in (WORKLOAD, "222222222222"):
            security.put_permission(
                EventBusName="central", StatementId=f"from-{account}", Action="events:PutEvents", Principal=account
            )
    url, queue_arn = queue(hub, "alerts", SECURITY, "eu-west-1")
    pattern = {"source": ["aws.secretsmanager"]}
    put_rule(security, "route", pattern, [{"Id": "alerts", "Arn": queue_arn}], state=ALL, bus="central")
    enabled = [{"Id": "enabled", "Arn": f"arn:aws:sns:eu-west-1:{SECURITY}:enabled"}]
    put_rule(security, "route-enabled", pattern, enabled, bus="central")
    return arn, url


def forward(hub: HubProcess, account: str, region: str, bus_arn: str, **target: Any) -> None:
    events = hub.client("events", account, region)
    entry = {"Id": "central", "Arn": bus_arn, "RoleArn": ROLE.format(account), **target}
    put_rule(events, "forward", {"source": ["aws.secretsmanager"]}, [entry], state=ALL)


def test_two_accounts_in_two_regions_forward_to_the_security_account(hub: HubProcess) -> None:
    bus, url = central_bus(hub)
    forward(hub, WORKLOAD, "us-east-1", bus)
    forward(hub, "222222222222", "eu-west-1", bus)
    envelope = {
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.secretsmanager",
        "time": "2026-11-23T10:00:00Z",
        "resources": [],
        "detail": record("GetSecretValue"),
    }
    assert hub.service_events(envelope)["accepted"] == 1
    assert hub.service_events(envelope, "222222222222", "eu-west-1")["accepted"] == 1
    messages = receive_all(hub.client("sqs", SECURITY, "eu-west-1"), url, expected=2)
    received = {body["account"]: body for body in (json.loads(message["Body"]) for message in messages)}
    assert set(received) == {WORKLOAD, "222222222222"}
    far, near = received[WORKLOAD], received["222222222222"]
    assert (far["region"], near["region"]) == ("us-east-1", "eu-west-1")
    assert near["id"] == envelope["id"], "a hop within the region keeps the id"
    assert near["time"] == envelope["time"]
    assert far["id"] != envelope["id"], "a hop across regions makes a new id"
    _, text = hub.get("/_hub/v1/inboxes")
    assert "sns" not in {row["kind"] for row in json.loads(text)["inboxes"]}, "ENABLED must not see read-only events"


def test_forwarding_without_permission_is_dead_lettered_at_once(hub: HubProcess) -> None:
    bus, _ = central_bus(hub, permission=False)
    dlq, dlq_arn = queue(hub, "forward-dlq")
    forward(hub, WORKLOAD, REGION, bus, DeadLetterConfig={"Arn": dlq_arn})
    hub.service_events(record("GetSecretValue"))
    (message,) = receive_all(hub.client("sqs"), dlq, expected=1)
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert attributes["TARGET_ARN"] == bus
    assert attributes["RULE_ARN"] == f"arn:aws:events:{REGION}:{WORKLOAD}:rule/forward"
    assert "RETRY_ATTEMPTS" not in attributes
    assert json.loads(message["Body"])["detail"]["eventName"] == "GetSecretValue"


@pytest.mark.parametrize(
    ("first", "second", "third", "code"),
    [
        ((WORKLOAD, REGION), (WORKLOAD, REGION), (SECURITY, REGION), "THIRD_ACCOUNT_HOP_DETECTED"),
        ((WORKLOAD, "us-east-1"), (SECURITY, "eu-west-1"), (WORKLOAD, "us-east-1"), "THIRD_REGION_HOP_DETECTED"),
    ],
)
def test_a_second_hop_of_a_kind_is_refused_with_its_code(
    hub: HubProcess, first: tuple[str, str], second: tuple[str, str], third: tuple[str, str], code: str
) -> None:
    arns = {}
    for number, (account, region) in enumerate((first, second, third)):
        events = hub.client("events", account, region)
        arns[number] = events.create_event_bus(Name=f"bus{number}")["EventBusArn"]
        events.put_permission(EventBusName=f"bus{number}", StatementId="all", Action="events:PutEvents", Principal="*")
    dlq, dlq_arn = queue(hub, "hops", *second)
    for number, (account, region) in enumerate((first, second)):
        target: dict[str, Any] = {"Id": "next", "Arn": arns[number + 1], "RoleArn": ROLE.format(account)}
        if number == 1:
            target["DeadLetterConfig"] = {"Arn": dlq_arn}
        put_rule(hub.client("events", account, region), "hop", {"source": ["shop"]}, [target], bus=f"bus{number}")
    entry = {"Source": "shop", "DetailType": "order", "Detail": "{}", "EventBusName": "bus0"}
    assert hub.client("events", *first).put_events(Entries=[entry])["FailedEntryCount"] == 0
    (message,) = receive_all(hub.client("sqs", *second), dlq, expected=1)
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == code


def test_one_local_and_one_regional_hop_succeed(hub: HubProcess) -> None:
    path = [(WORKLOAD, "us-east-1"), (SECURITY, "us-east-1"), (SECURITY, "eu-west-1")]
    arns = []
    for account, region in path:
        events = hub.client("events", account, region)
        arns.append(events.create_event_bus(Name="bus")["EventBusArn"])
        events.put_permission(EventBusName="bus", StatementId="all", Action="events:PutEvents", Principal="*")
    for (account, region), arn in zip(path, arns[1:], strict=False):
        target = {"Id": "next", "Arn": arn, "RoleArn": ROLE.format(account)}
        put_rule(hub.client("events", account, region), "hop", {"source": ["shop"]}, [target], bus="bus")
    url, queue_arn = queue(hub, "end", *path[2])
    put_rule(hub.client("events", *path[2]), "end", {"account": [WORKLOAD]}, [{"Id": "q", "Arn": queue_arn}], bus="bus")
    entry = {"Source": "shop", "DetailType": "order", "Detail": "{}", "EventBusName": "bus"}
    hub.client("events").put_events(Entries=[entry])
    (message,) = receive_all(hub.client("sqs", *path[2]), url, expected=1)
    body = json.loads(message["Body"])
    assert (body["account"], body["region"]) == (WORKLOAD, "us-east-1")
