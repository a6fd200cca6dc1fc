"""Logs Insights as its users have it: boto3 and the command line against a real hub, over events of the corpus."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest.insights import record
from tests.e2e.hub import SECURITY, WORKLOAD, HubProcess
from tests.shared import rows

GROUP = "/aws/cloudtrail"
EVENTS = 400


def records() -> list[dict[str, Any]]:
    """CloudTrail records of the corpus; made-up ones where it is not there."""
    events = [row["event"] for row in rows("corpus/events.jsonl") if row["kind"].startswith("cloudtrail")]
    found = [event["detail"] for event in events if "userIdentity" in event["detail"]][:EVENTS]
    return found or [json.loads(record(number)) for number in range(EVENTS)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("insights"), {}) as running:
        logs = running.client("logs")
        logs.create_log_group(logGroupName=GROUP)
        logs.create_log_stream(logGroupName=GROUP, logStreamName="one")
        now_ms = int(time.time() * 1000)
        events = [{"timestamp": now_ms, "message": json.dumps(call)} for call in records()]
        for start in range(0, len(events), 100):
            logs.put_log_events(logGroupName=GROUP, logStreamName="one", logEvents=events[start : start + 100])
        yield running


@pytest.fixture(scope="module")
def logs(hub: HubProcess) -> Any:
    return hub.client("logs")


def answered(logs: Any, text: str, group: str = GROUP) -> Any:
    now_s = int(time.time())
    started = logs.start_query(logGroupName=group, startTime=now_s - 3600, endTime=now_s + 60, queryString=text)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = logs.get_query_results(queryId=started["queryId"])
        if answer["status"] not in ("Scheduled", "Running"):
            return answer
        time.sleep(0.02)
    raise AssertionError("the query has not ended after 30 s")


def table(answer: Any) -> list[dict[str, str]]:
    assert answer["status"] == "Complete", answer["results"]
    return [{cell["field"]: cell["value"] for cell in row} for row in answer["results"]]


def test_who_made_the_calls(logs: Any) -> None:
    text = (
        "fields eventName, userIdentity.arn | stats count(*) as calls by userIdentity.arn, eventName | sort calls desc"
    )
    found = table(answered(logs, text))
    counted = Counter((call["userIdentity"].get("arn"), call["eventName"]) for call in records())
    assert {(row.get("userIdentity.arn"), row["eventName"]): int(row["calls"]) for row in found} == counted
    assert [int(row["calls"]) for row in found] == sorted(counted.values(), reverse=True)


def test_nested_fields_of_real_records(logs: Any) -> None:
    text = (
        "filter ispresent(userIdentity.sessionContext.sessionIssuer.userName) and readOnly = 0"
        " | stats count_distinct(userIdentity.sessionContext.sessionIssuer.userName) as roles, count(*) as calls"
    )
    wanted = [
        call["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"]
        for call in records()
        if call["userIdentity"].get("sessionContext", {}).get("sessionIssuer", {}).get("userName")
        and call.get("readOnly") is False
    ]
    (row,) = table(answered(logs, text))
    assert row == {"roles": str(len(set(wanted))), "calls": str(len(wanted))}


def test_what_rules_delivered_is_asked_by_detail(hub: HubProcess, logs: Any) -> None:
    events = hub.client("events")
    events.put_rule(Name="shop", EventPattern=json.dumps({"source": ["shop"]}))
    arn = f"arn:aws:logs:us-east-1:{WORKLOAD}:log-group:/shop"
    events.put_targets(Rule="shop", Targets=[{"Id": "log", "Arn": arn}])
    entries = [{"Source": "shop", "DetailType": "order", "Detail": json.dumps({"price": n})} for n in range(4)]
    events.put_events(Entries=entries)
    end = time.monotonic() + 20
    found: list[dict[str, str]] = []
    while time.monotonic() < end and (not found or found[0]["n"] != "4"):
        try:
            found = table(answered(logs, "stats count(*) as n, sum(detail.price) as s by `detail-type`", "/shop"))
        except logs.exceptions.ResourceNotFoundException:
            time.sleep(0.05)
    assert found == [{"detail-type": "order", "n": "4", "s": "6"}]


def test_boto3_reads_the_place_of_a_mistake(logs: Any) -> None:
    with pytest.raises(logs.exceptions.MalformedQueryException) as caught:
        answered(logs, "fields a | filter b ==")
    error = caught.value.response["queryCompileError"]
    assert error["location"] == {"startCharOffset": 21, "endCharOffset": 22}
    assert "unexpected symbol found =" in error["message"]


def test_stop_and_describe(logs: Any) -> None:
    answered(logs, "limit 3")
    (query,) = logs.describe_queries(logGroupName=GROUP, status="Complete", maxResults=1)["queries"]
    with pytest.raises(logs.exceptions.InvalidParameterException, match="already ended"):
        logs.stop_query(queryId=query["queryId"])


def test_another_account_has_no_such_group_and_query(hub: HubProcess, logs: Any) -> None:
    other = hub.client("logs", SECURITY)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        answered(other, "limit 1")
    query_id = logs.describe_queries()["queries"][0]["queryId"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        other.get_query_results(queryId=query_id)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=80) | st.from_regex(r"(fields|filter|stats|parse) [-a-z@.()*/+\[\]'\"` ]{0,30}", fullmatch=True)
)
def test_no_text_is_answered_with_a_fault_of_the_hub(logs: Any, text: str) -> None:
    try:
        logs.start_query(logGroupName=GROUP, startTime=0, endTime=1, queryString=text)
    except ClientError as error:
        refusal = error.response["ResponseMetadata"]
    else:
        return
    assert refusal["HTTPStatusCode"] == 400


# the command line


def crossbus(hub: HubProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "router", "logs", "query", *arguments, "--url", hub.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_command_prints_a_table(hub: HubProcess) -> None:
    said = crossbus(hub, GROUP, "stats count(*) as calls by eventName | sort calls desc, eventName | limit 2")
    top = sorted(Counter(call["eventName"] for call in records()).items(), key=lambda one: (-one[1], one[0]))[:2]
    assert said.stdout.splitlines() == ["eventName\tcalls", *(f"{name}\t{count}" for name, count in top)]
    assert f"2 rows; {EVENTS} of {EVENTS} events matched" in said.stderr
    assert said.returncode == 0


def test_command_prints_the_whole_answer(hub: HubProcess) -> None:
    answer = json.loads(crossbus(hub, GROUP, "fields eventName | limit 1", "--json", "--start", "7d").stdout)
    assert answer["status"] == "Complete"
    assert [cell["field"] for cell in answer["results"][0]] == ["eventName", "@ptr"]


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["/none", "limit 1"], "ResourceNotFoundException", 1),
        ([GROUP, "limt 1"], "MalformedQueryException: unexpected symbol found limt", 1),
        ([GROUP], "expected one or more log groups, then the query", 2),
        ([GROUP, "limit 1", "--start", "yesterday"], "--start: expected an age such as 1h", 2),
        ([GROUP, r"filter @message like /((a{1000}){1000})/"], "the query ended as Failed: ", 1),
    ],
)
def test_command_says_what_is_wrong(hub: HubProcess, arguments: list[str], said: str, status: int) -> None:
    done = crossbus(hub, *arguments)
    assert said in done.stderr
    assert done.returncode == status


def test_command_takes_times_in_every_form(hub: HubProcess) -> None:
    for start, end, count in (("1h", "now", EVENTS), ("2020-01-01T00:00:00Z", "2020-01-02", 0), ("0", "1", 0)):
        said = crossbus(hub, GROUP, "stats count(*) as n", "--start", start, "--end", end)
        assert said.stdout.splitlines()[1] == str(count)
