"""`crossbus bench` against a real hub, and against endpoints that are absent, refuse, or lose events."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.endpoint import FakeEndpoint
from tests.e2e.hub import HubProcess, eventually


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("bench"), {}) as running:
        yield running


def bench(url: str, *options: str, status: int = 0) -> tuple[list[str], str]:
    """The lines that it prints, and what it says meanwhile."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CROSSBUS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "router", "bench", "--against", url, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=kept,
    )
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines(), done.stderr


def complaint(url: str, *options: str, status: int = 1) -> str:
    """The last line of one that fails."""
    _, told = bench(url, *options, status=status)
    return told.splitlines()[-1].removeprefix("crossbus: ")


def outcomes(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_bytes())["outcomes"]
    return found


def test_all_that_a_hub_accepts_arrives_in_queues_and_at_the_http_target(hub: HubProcess, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    options = ["--rules", "1", "--rules", "12", "--events", "200", "--latency-s", "0.5"]
    lines, _ = bench(hub.url, *options, "--pid", str(hub.pid), "--json", str(file))
    assert [(o["path"], o["rules"], o["accepted"], o["arrived"], o["lost"]) for o in outcomes(file)] == [
        ("queue", 1, 200, 200, 0),
        ("queue", 12, 200, 200, 0),
        ("http", 1, 200, 200, 0),
        ("latency", 1, 10, 10, 0),
    ]
    assert [line.partition("  ")[0] for line in lines] == [
        "to",
        "queue, 1 rule",
        "queue, 12 rules",
        "HTTP target",
        "HTTP target, 20/s",
    ]
    for outcome in outcomes(file)[:3]:
        assert min(outcome["accepted_per_s"], outcome["arrived_per_s"], outcome["anonymous_mb"]) > 0
    assert 0 < outcomes(file)[3]["p50_ms"] <= outcomes(file)[3]["p99_ms"]


def test_nothing_that_it_made_is_left(hub: HubProcess) -> None:
    bench(hub.url, "--rules", "12", "--events", "20", "--latency-s", "0")
    events = hub.client("events")
    assert [rule["Name"] for rule in events.list_rules()["Rules"]] == []
    assert events.list_connections()["Connections"] == []
    assert events.list_api_destinations()["ApiDestinations"] == []
    assert hub.client("sqs").list_queues().get("QueueUrls", []) == []


def test_signed_with_the_keys_of_the_environment(tmp_path: Path) -> None:
    key = {"access_key_id": "AKIDBENCH", "secret_access_key": "bench/secret", "account": "111111111111"}
    with HubProcess(tmp_path, {"auth": {"mode": "sigv4", "keys": [key]}}) as hub:
        environment = {"AWS_ACCESS_KEY_ID": "AKIDBENCH", "AWS_SECRET_ACCESS_KEY": "bench/secret"}
        command = [sys.executable, "-m", "router", "bench", "--against", hub.url, "--events", "20", "--no-http"]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "bench/secret" not in done.stdout + done.stderr
        assert complaint(hub.url, "--no-http").startswith("the endpoint refused CreateQueue with ")


def test_where_nobody_answers_it_says_where() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert complaint(url).startswith(f"nothing answers at {url}, connecting: ")


@pytest.mark.parametrize("url", ["127.0.0.1:4610", "ftp://hub", "http://", "http://hub:port", "http://hub/path"])
def test_what_is_no_url_is_refused(url: str) -> None:
    assert complaint(url, status=2) == (f"expected the URL of an endpoint, such as http://127.0.0.1:4610, got {url!r}")


def test_a_process_that_is_not_there_is_told_before_anything_is_made() -> None:
    with FakeEndpoint() as endpoint:
        assert complaint(endpoint.url, "--pid", "999999999").startswith("cannot read what process 999999999 uses: ")
        assert endpoint.calls == []


@pytest.mark.parametrize("action", ["CreateQueue", "PutRule", "PutTargets", "PutEvents"])
def test_a_refused_call_is_named_with_its_code_and_everything_is_deleted(action: str) -> None:
    with FakeEndpoint(refuses=[action]) as endpoint:
        found = complaint(endpoint.url, "--rules", "20", "--events", "20")
        assert found == f"the endpoint refused {action} with AccessDeniedException: Not for you."
        assert endpoint.made == set()


def test_a_website_is_no_endpoint() -> None:
    with FakeEndpoint(is_website=True) as endpoint:
        assert complaint(endpoint.url) == (
            "the endpoint refused CreateQueue with HTTP 404: <html><body>It works!</body></html>"
        )


@pytest.mark.parametrize("speaks_json", [True, False])
def test_lost_events_are_told_and_fail_it(speaks_json: bool, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    options = ["--events", "200", "--wait-s", "0.3", "--no-http", "--json", str(file)]
    with FakeEndpoint(loses_every=10, speaks_json=speaks_json) as endpoint:
        found = complaint(endpoint.url, *options)
        assert endpoint.made == set()
    # Two of the warm-up's 20 are lost too: they were accepted like the others.
    assert found == "events lost, queue, 1 rule: accepted 200, arrived 178, and no more within 0.3 s"
    assert [(o["accepted"], o["arrived"], o["lost"]) for o in outcomes(file)] == [(200, 178, 22)]


def test_an_http_target_that_gets_nothing_is_told(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    with FakeEndpoint() as endpoint:
        lines, told = bench(endpoint.url, "--events", "20", "--wait-s", "0.3", "--json", str(file), status=1)
        assert endpoint.made == set()
    assert lines[-1] == "HTTP target: not delivered: nothing arrived within 0.3 s"
    assert told.splitlines()[-1] == (
        "crossbus: events lost, HTTP target: accepted 10, arrived 0, and no more within 0.3 s"
    )
    assert [(o["path"], o["arrived"]) for o in outcomes(file)] == [("queue", 20), ("http", 0)]


def test_an_endpoint_without_api_destinations_is_measured_all_the_same() -> None:
    with FakeEndpoint(refuses=["CreateApiDestination"]) as endpoint:
        lines, _ = bench(endpoint.url, "--events", "20")
        assert endpoint.made == set()
    assert lines[-1] == (
        "HTTP target: not supported: the endpoint refused CreateApiDestination with AccessDeniedException: Not for you."
    )


def test_refused_events_are_counted_and_are_not_lost() -> None:
    with FakeEndpoint(throttles=True) as endpoint:
        lines, _ = bench(endpoint.url, "--events", "100", "--no-http")
    assert lines[1].split()[3:5] == ["90", "90"]
    assert lines[-1] == "queue, 1 rule: 10 events were refused: ThrottlingException"


def test_interrupted_it_deletes_what_it_made() -> None:
    with FakeEndpoint(loses_every=2) as endpoint:
        command = [sys.executable, "-m", "router", "bench", "--against", endpoint.url, "--events", "100", "--no-http"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            eventually(lambda: "PutEvents" in endpoint.calls)  # from now on it waits for what is lost
            assert {kind for kind, _ in endpoint.made} == {"queue", "rule"}
            running.send_signal(signal.SIGINT)
            try:
                ended = running.wait(20)
            except subprocess.TimeoutExpired:  # asyncio can lose one that comes in the moment in which its tasks end
                running.send_signal(signal.SIGINT)
                ended = running.wait(20)
            assert ended != 0
        assert endpoint.made == set()


def test_figures_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        found = complaint(endpoint.url, "--events", "20", "--no-http", "--json", str(tmp_path / "no" / "file"))
    assert found == f"cannot write {tmp_path}/no/file: No such file or directory"
