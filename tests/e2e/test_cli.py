"""The command line against a real daemon, and without one: what it prints, and how it fails."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from router import __version__
from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually

TOPIC = f"arn:aws:sns:{REGION}:{WORKLOAD}:orders"
MISSING = f"arn:aws:sqs:{REGION}:{WORKLOAD}:missing"
RULE = f"arn:aws:events:{REGION}:{WORKLOAD}:rule"
ENTRY = {"Source": "shop", "DetailType": "order", "Detail": '{"n":1}'}
COMMANDS = ["serve", "check", "test-pattern", "explain", "trace", "schedules", "put-events", "status", "version"]
COMMANDS += ["deploy", "bench"]
COMMANDS += ["inbox list", "inbox read", "inbox purge", "dlq list", "dlq show", "dlq redrive"]
ASKING = [
    "status",
    "deploy --stack shop --delete",
    "explain {}",
    "trace e1",
    "schedules",
    "inbox list",
    "inbox read x",
    "inbox purge x",
    "dlq list",
    "dlq show 1",
    "dlq redrive 1",
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("cli"), {}) as running:
        events = running.client("events")
        for name, arn in (("orders", TOPIC), ("lost", MISSING), ("lost-too", MISSING)):
            events.put_rule(Name=name, EventPattern=json.dumps({"source": ["shop" if name == "orders" else name]}))
            events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
        yield running


def crossbus(
    hub: HubProcess | None, *arguments: str, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """A command, without the keys of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CROSSBUS_"))}
    url = {"CROSSBUS_URL": hub.url} if hub else {}
    return subprocess.run(
        [sys.executable, "-m", "router", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env={**kept, **url, **environment},
    )


def answer(hub: HubProcess, *arguments: str, **options: Any) -> str:
    """What a command that succeeds prints."""
    done = crossbus(hub, *arguments, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def complaint(hub: HubProcess | None, *arguments: str, status: int = 1, **options: Any) -> str:
    """The one line of a command that fails."""
    done = crossbus(hub, *arguments, **options)
    assert (done.returncode, done.stdout) == (status, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("crossbus: ")
    return line.removeprefix("crossbus: ")


# without a hub


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    text = " ".join(crossbus(None, *command.split(), "--help").stdout.decode().split())
    assert re.search(rf"Examples?: crossbus {command}\b", text), text


def test_the_version_is_the_packages() -> None:
    assert crossbus(None, "version").stdout.decode() == f"{__version__}\n"


@pytest.mark.parametrize("command", [*ASKING, "put-events {}"])
def test_without_a_hub_a_command_says_what_to_do(command: str) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        line = complaint(None, *command.split(), "--url", url)
    assert line.startswith(f"no hub answers at {url} (")
    assert line.endswith("Start one with `crossbus serve`, or name another with --url.")


@pytest.mark.parametrize("url", ["hub", "http://", "ftp://hub", "http://127.0.0.1:99999", "http://[::1", "http://a b"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    assert complaint(None, "status", "--url", url).startswith(
        "expected the URL of a hub, such as http://127.0.0.1:4610"
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"220 mail ready\r\n", "no hub answers at "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "is not a hub"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nhi", "HTTP 502: Bad Gateway"),
    ],
)
def test_what_answers_and_is_no_hub_is_one_line(said: bytes, expected: str) -> None:
    def answer_once() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=answer_once)
        answering.start()
        line = complaint(None, "inbox", "list", "--url", f"http://127.0.0.1:{listening.getsockname()[1]}")
        answering.join()
    assert expected in line


def test_a_hub_file_is_checked_without_running_it(tmp_path: Path) -> None:
    rule = {"Name": "r", "EventPattern": {"source": ["shop"]}, "Targets": [{"Id": "1", "Arn": TOPIC}]}
    resources = {"account": WORKLOAD, "region": REGION, "rules": [rule]}
    hub = {"accounts": [{"id": WORKLOAD}], "regions": [REGION], "resources": [resources]}
    path = tmp_path / "hub.yaml"
    path.write_text(yaml.safe_dump({**hub, "data_folder": str(tmp_path / "data")}))
    good = crossbus(None, "check", str(path))
    assert (good.returncode, good.stderr) == (0, b"")
    assert good.stdout.decode() == f"{path} is good: 1 accounts, 1 regions, 1 declared rules\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hub.yaml"], "checking leaves nothing behind"
    rule["Targets"] = [{"Id": "1", "Arn": "nonsense"}]
    path.write_text(yaml.safe_dump(hub))
    line = complaint(None, "check", str(path))
    assert line.startswith(f"{path}: Parameter nonsense is not valid.")
    assert "$.resources[0].rules[0]" in line


# with one


def test_events_are_put_and_the_inbox_is_listed_read_and_purged(hub: HubProcess) -> None:
    put = json.loads(answer(hub, "put-events", json.dumps(ENTRY)))
    assert put["FailedEntryCount"] == 0
    more = json.loads(answer(hub, "put-events", "-", stdin=json.dumps([ENTRY, ENTRY]).encode()))
    ids = [entry["EventId"] for entry in put["Entries"] + more["Entries"]]

    def listed() -> list[list[str]]:
        return [line.split() for line in answer(hub, "inbox", "list").splitlines()]

    eventually(lambda: [TOPIC, "sns", "3"] in listed())
    rows = [json.loads(line) for line in answer(hub, "inbox", "read", TOPIC).splitlines()]
    assert [row["event_id"] for row in rows] == ids
    after = str(rows[0]["position"])
    (second,) = answer(hub, "inbox", "read", TOPIC, "--after", after, "--limit", "1").splitlines()
    assert json.loads(second) == rows[1]
    assert json.loads(answer(hub, "inbox", "purge", TOPIC)) == {"purged": 3}
    assert answer(hub, "inbox", "read", TOPIC) == ""


def test_events_are_put_as_the_named_account_and_region(hub: HubProcess) -> None:
    before = hub.metric("crossbus_events_accepted_total", account=SECURITY, region="eu-west-1")
    answer(hub, "put-events", json.dumps(ENTRY), "--account", SECURITY, "--region", "eu-west-1")
    answer(
        hub,
        "put-events",
        json.dumps(ENTRY),
        AWS_ACCESS_KEY_ID=SECURITY,
        AWS_SECRET_ACCESS_KEY="x",
        AWS_REGION="eu-west-1",
    )
    assert hub.metric("crossbus_events_accepted_total", account=SECURITY, region="eu-west-1") == before + 2


def test_entries_that_fail_are_shown_and_fail_the_command(hub: HubProcess) -> None:
    done = crossbus(hub, "put-events", '{"Source":"aws.s3","DetailType":"d","Detail":"{}"}')
    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads(done.stdout)["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"
    assert complaint(hub, "put-events", "[]").startswith("ValidationException: 1 validation error detected: ")
    assert complaint(hub, "put-events", '"x"').startswith("SerializationException: ")
    for text in ("{", "[" * 100_000):
        assert complaint(hub, "put-events", text).startswith("the entries are not JSON: ")
    assert complaint(hub, "put-events", "-", stdin=b"\xff").startswith("the entries are not JSON: ")


def test_an_event_is_explained_against_the_rules_of_a_bus(hub: HubProcess) -> None:
    event = {"source": "shop", "detail-type": "order", "detail": {"n": 1}}
    shown = answer(hub, "explain", json.dumps(event))
    assert re.fullmatch(rf"matches 1 of \d+ rules of default in {WORKLOAD}/{REGION}:\n  orders\n", shown)
    done = crossbus(hub, "explain", "-", "--json", stdin=json.dumps({**event, "source": "shops"}).encode())
    assert (done.returncode, done.stderr) == (1, b"")
    near = json.loads(done.stdout)["nearest"]
    assert near["summary"].startswith("differs in source: expected one of ")
    assert crossbus(hub, "explain", json.dumps(event), "--region", "eu-west-1").stdout.startswith(
        b"no rule gets it, of 0 "
    )
    assert complaint(hub, "explain", "{}", "--bus", "no") == (
        f"ResourceNotFoundException: Event bus no does not exist in {WORKLOAD}/{REGION}."
    )
    expected = (
        "ValidationException: Parameter Event is not valid. Reason: expected a JSON object, got another kind of value"
    )
    assert complaint(hub, "explain", "[]") == expected


def test_schedules_are_shown_with_their_next_fires(hub: HubProcess) -> None:
    assert answer(hub, "schedules").startswith("no rule has a schedule")
    events = hub.client("events")
    far = hub.client("events", account=SECURITY, region="eu-west-1")
    events.put_rule(Name="new-year", ScheduleExpression="cron(0 0 1 1 ? 2198-2199)")
    events.put_rule(Name="over", ScheduleExpression="cron(0 0 1 1 ? 2020)")
    far.put_rule(Name="off", ScheduleExpression="rate(1 day)", State="DISABLED")
    rows = [re.split(r" {2,}", line) for line in answer(hub, "schedules", "--count", "5").splitlines()]
    assert rows == [
        [f"{SECURITY}/eu-west-1", "off", "rate(1 day)", "disabled"],
        [
            f"{WORKLOAD}/{REGION}",
            "new-year",
            "cron(0 0 1 1 ? 2198-2199)",
            "2198-01-01T00:00:00Z",
            "2199-01-01T00:00:00Z",
        ],
        [f"{WORKLOAD}/{REGION}", "over", "cron(0 0 1 1 ? 2020)", "never again"],
    ]
    (_, first, _) = json.loads(answer(hub, "schedules", "--count", "1", "--json"))["schedules"]
    assert (first["rule_arn"], first["next"]) == (f"{RULE}/new-year", ["2198-01-01T00:00:00Z"])
    status, text = hub.get(f"/_hub/v1/schedules?limit=1&after={RULE}/new-year")
    assert (status, json.loads(text)["count"], json.loads(text)["schedules"][0]["rule"]) == (200, 3, "over")
    assert hub.get("/_hub/v1/schedules?count=101")[0] == 400
    for client, name in ((events, "new-year"), (events, "over"), (far, "off")):
        client.delete_rule(Name=name)


def test_the_state_is_shown(hub: HubProcess) -> None:
    state = json.loads(answer(hub, "status"))
    assert state["version"] == __version__
    assert state["store_failure"] is None
    assert {"pending", "parked", "in_flight", "dead_letters", "locations"} <= state.keys()


def dead_letters(hub: HubProcess) -> list[list[str]]:
    return [line.split() for line in answer(hub, "dlq", "list").splitlines()]


def test_dead_letters_are_listed_shown_and_redriven_one_by_one_by_rule_and_all(hub: HubProcess) -> None:
    for source in ("lost", "lost", "lost", "lost-too"):
        answer(hub, "put-events", json.dumps({**ENTRY, "Source": source}))
    eventually(lambda: json.loads(answer(hub, "status"))["dead_letters"] == 4)
    rows = dead_letters(hub)
    assert [(row[2], row[3], row[4]) for row in rows] == [
        ("NO_RESOURCE", f"{RULE}/{rule}", "1") for rule in ("lost", "lost", "lost", "lost-too")
    ]
    first = rows[0][0]
    assert [line.split() for line in answer(hub, "dlq", "list", "--after", first, "--limit", "1").splitlines()] == rows[
        1:2
    ]
    shown = json.loads(answer(hub, "dlq", "show", first))
    assert (shown["number"], shown["event_id"], shown["code"]) == (int(first), rows[0][5], "NO_RESOURCE")
    assert shown["event"]["detail"] == {"n": 1}
    sqs = hub.client("sqs")
    url = sqs.create_queue(QueueName="missing")["QueueUrl"]

    def arrived() -> int:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"])

    assert json.loads(answer(hub, "dlq", "redrive", first)) == {"redriven": 1, "failed": []}
    eventually(lambda: arrived() == 1)
    by_rule = json.loads(answer(hub, "dlq", "redrive", "--all", "--rule", f"{RULE}/lost"))
    assert by_rule["redriven"] == 2
    assert [row[3] for row in dead_letters(hub)] == [f"{RULE}/lost-too"], "other rules' dead letters stay"
    assert json.loads(answer(hub, "dlq", "redrive", "--all"))["redriven"] == 1
    eventually(lambda: arrived() == 4)
    assert dead_letters(hub) == []
    sqs.delete_queue(QueueUrl=url)


def test_a_dead_letter_that_cannot_be_redriven_stays(hub: HubProcess) -> None:
    events = hub.client("events")
    events.put_rule(Name="short", EventPattern='{"source":["short"]}')
    events.put_targets(Rule="short", Targets=[{"Id": "1", "Arn": f"{MISSING}-too"}])
    answer(hub, "put-events", json.dumps({**ENTRY, "Source": "short"}))
    eventually(lambda: dead_letters(hub))
    events.remove_targets(Rule="short", Ids=["1"])
    number = dead_letters(hub)[0][0]
    expected = f"Dead letter {number} cannot be redriven: target 1 of {RULE}/short does not exist any more."
    assert complaint(hub, "dlq", "redrive", number).startswith(f"ValidationException: {expected}")
    done = crossbus(hub, "dlq", "redrive", "--all")
    assert done.returncode == 1
    answered = json.loads(done.stdout)
    assert (answered["redriven"], answered["failed_count"]) == (0, 1)
    assert answered["failed"][0]["reason"].startswith(expected)
    assert [row[0] for row in dead_letters(hub)] == [number]


def test_what_does_not_exist_is_one_line(hub: HubProcess) -> None:
    assert complaint(hub, "inbox", "read", "arn:x") == "ResourceNotFoundException: There is no inbox arn:x."
    assert complaint(hub, "inbox", "purge", "arn:x") == "ResourceNotFoundException: There is no inbox arn:x."
    assert complaint(hub, "trace", "e1").startswith(
        "ResourceNotFoundException: Event e1 is not known, or its trace is "
    )
    expected = "ResourceNotFoundException: Dead letter 99999999 does not exist."
    assert complaint(hub, "dlq", "show", "99999999") == expected
    assert complaint(hub, "dlq", "redrive", "99999999") == expected
    for arguments in ([], ["1", "--all"], ["1", "--rule", RULE], ["--rule", RULE]):
        assert complaint(hub, "dlq", "redrive", *arguments, status=2).startswith("give either one number or --all")
