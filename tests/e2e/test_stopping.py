"""SIGTERM: nothing new is taken, what is in flight may finish within the drain limit, what does not finish is delivered
after the next start, and the hub ends with 0. A second signal ends it at once with 1, and loses nothing either.
"""

import os
import signal
import threading
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from router.verify import verify
from tests.e2e.hub import HubProcess, eventually
from tests.e2e.target import HttpTarget
from tests.e2e.test_retry import ids_of, put, settings
from tests.e2e.test_syncing import received
from tests.e2e.test_syncing import settings as to_inbox


class Hanging:
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, number: int) -> int:
        self.go.wait(30)
        return 200


def states(hub: HubProcess) -> set[str]:
    """What a client sees of a hub that is stopping."""
    seen = set()
    for path, body in (("/readyz", None), ("/aws-events/111111111111/us-east-1", b"{}")):
        try:
            status, text = hub.request("GET" if body is None else "POST", path, body)
            seen.add(f"{status}" if "the hub is stopping" in text.lower() else text)
        except (OSError, HTTPException):
            seen.add("refused")
    return seen


def test_what_does_not_finish_within_the_drain_limit_is_delivered_after_the_restart(tmp_path: Path) -> None:
    hanging = Hanging()
    with HttpTarget(hanging) as target, HubProcess(tmp_path, {**settings(target), "drain_s_max": 2}) as hub:
        ids = put(hub, range(40))
        in_flight = eventually(lambda: (found := hub.metric("crossbus_attempts_in_flight")) >= 10 and found)
        assert in_flight < 40, "most of them wait"
        os.kill(hub.pid, signal.SIGTERM)
        started = time.monotonic()
        eventually(lambda: [line for line in hub.log if line["event"] == "hub.stopping"])
        assert states(hub) <= {"503", "refused"}
        with pytest.raises((ClientError, BotoCoreError)) as error:
            put(hub, range(1))
        if isinstance(error.value, ClientError):
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert hub.ended() == 0
        assert 1.5 < time.monotonic() - started < 6.0, "it waited for the limit and no longer"
        assert hub.log[-1]["event"] == "hub.stopped"
        report = verify(tmp_path / "data")
        assert (report.problems, report.rows["deliveries"]) == ([], 40)
        hanging.go.set()
        hub.start()
        eventually(lambda: ids_of(target) == set(ids))
        eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)


def test_a_second_signal_loses_nothing(tmp_path: Path) -> None:
    hanging = Hanging()
    with HttpTarget(hanging) as target, HubProcess(tmp_path, settings(target)) as hub:
        ids = put(hub, range(20))
        eventually(lambda: hub.metric("crossbus_attempts_in_flight") >= 10)
        os.kill(hub.pid, signal.SIGTERM)
        time.sleep(1.2)
        os.kill(hub.pid, signal.SIGTERM)
        assert hub.ended() == 1
        eventually(lambda: hub.log[-1]["event"] == "hub.aborted")
        assert verify(tmp_path / "data").problems == []
        hanging.go.set()
        hub.start()
        eventually(lambda: ids_of(target) == set(ids))


def test_whatever_is_acknowledged_while_the_hub_stops_is_kept(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    refused: list[Any] = []

    def load(hub: HubProcess) -> None:
        events = hub.client("events")
        try:
            while True:
                entries = [
                    {"Source": "shop", "DetailType": "order", "Detail": f'{{"marker":"{len(acknowledged)}"}}'}
                ] * 2
                for outcome in events.put_events(Entries=entries)["Entries"]:
                    (acknowledged if "EventId" in outcome else refused).append(outcome.get("EventId"))
        except (ClientError, BotoCoreError) as error:
            refused.append(error)

    with HubProcess(tmp_path, to_inbox()) as hub:
        loaders = [threading.Thread(target=load, args=(hub,)) for _ in range(4)]
        for loader in loaders:
            loader.start()
        eventually(lambda: len(acknowledged) > 200)
        assert hub.stop() == 0
        for loader in loaders:
            loader.join()
        assert refused, "the load went on until it was refused"
        assert verify(tmp_path / "data").problems == []
        hub.start()
        assert hub.metric("crossbus_deliveries_pending") == 0 or eventually(
            lambda: hub.metric("crossbus_deliveries_pending") == 0
        )
        assert len(received(hub, len(acknowledged))) >= len(acknowledged)
