"""A store that cannot take more: every way in says so, sources stop receiving, and all of it goes on by itself once
there is room. Space that settled deliveries leave is used again, so that room comes.
"""

import json
import time
from pathlib import Path
from typing import Any

from tests.e2e.hub import HubProcess, eventually
from tests.e2e.queue_server import Depth, QueueServer
from tests.e2e.target import HttpTarget
from tests.e2e.test_full_disk import ENTRY, MIB, held
from tests.e2e.test_full_store import SETTINGS
from tests.e2e.test_sqs_source import entry, to_recorder

BYTES_MAX = 16 * MIB


def filled(hub: HubProcess) -> int:
    """Put events until not one finds room; how many were acknowledged."""
    events = hub.client("events")
    taken = 0
    for size in (4, 1):
        refused = 0
        while refused < 5:
            outcomes = events.put_events(Entries=[ENTRY] * size)["Entries"]
            kept = sum("EventId" in outcome for outcome in outcomes)
            refused = 0 if kept else refused + 1
            taken += kept
            assert {outcome["ErrorCode"] for outcome in outcomes if "ErrorCode" in outcome} <= {"ThrottlingException"}
        eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
    return taken


def source_of(hub: HubProcess) -> dict[str, Any]:
    (source,) = json.loads(hub.get("/_hub/v1/status")[1])["sqs_sources"]
    return source  # type: ignore[no-any-return]


def test_a_full_store_throttles_every_way_in_and_stops_sources_until_there_is_room(tmp_path: Path) -> None:
    event = {"source": "shop", "detail-type": "order", "detail": json.loads(ENTRY["Detail"])}
    with QueueServer() as server:
        url = server.create("incoming", visibility_s=30)
        settings = {**SETTINGS, "aws_events": True, "sqs_sources": [server.source(url, pollers=2)]}
        with HubProcess(tmp_path, settings) as hub:
            taken = filled(hub)
            answer = hub.client("events").put_events(Entries=[ENTRY, {**ENTRY, "Source": ""}, ENTRY])
            found = [outcome.get("ErrorCode") for outcome in answer["Entries"]]
            assert found == ["ThrottlingException", "InvalidArgument", "ThrottlingException"]
            answer = hub.service_events([event, event])
            assert (answer["accepted"], answer["failed"]) == (0, 2)
            assert {failure["code"] for failure in answer["failures"]} == {"ThrottlingException"}

            time.sleep(1.2)  # receives that were under way have ended
            server.send(url, [json.dumps(entry(number)) for number in range(8)])
            time.sleep(2.0)
            assert server.depth(url) == Depth(visible=8, in_flight=0), "no message was received for nothing"
            assert hub.metric("crossbus_sqs_source_received_total") == 0
            assert hub.get("/readyz") == (503, f"the store is full: all of its {BYTES_MAX} bytes are in use\n")
            assert hub.get("/healthz")[0] == 200
            assert source_of(hub) == {
                "queue": url,
                "ok": False,
                "error": f"the hub cannot take events: the store is full: all of its {BYTES_MAX} bytes are in use",
            }
            assert held(hub) == taken, "what was acknowledged was delivered meanwhile"
            assert hub.metric("crossbus_store_bytes") < 3 * BYTES_MAX, "deliveries may use a reserve, and no more"

            sqs = hub.client("sqs")
            sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName="orders")["QueueUrl"])
            eventually(lambda: hub.get("/readyz")[0] == 200)  # without any traffic
            eventually(lambda: held(hub) == 8)
            eventually(lambda: server.depth(url) == Depth(0, 0))
            assert hub.metric("crossbus_sqs_source_received_total") == 8
            assert "EventId" in hub.client("events").put_events(Entries=[ENTRY])["Entries"][0]
            eventually(lambda: source_of(hub)["ok"])
            assert hub.stop() == 0


def test_a_store_takes_many_times_its_size_because_settled_deliveries_leave_their_space(tmp_path: Path) -> None:
    with HttpTarget() as target:
        settings = {"store": {"bytes_max": BYTES_MAX}, "resources": [to_recorder(target)]}
        with HubProcess(tmp_path, settings) as hub:
            events = hub.client("events")
            put, used = 0, []
            for _ in range(5):
                for _ in range(BYTES_MAX // 200_000 // 4):
                    outcomes = events.put_events(Entries=[ENTRY] * 4)["Entries"]
                    assert all("EventId" in outcome for outcome in outcomes), outcomes
                    put += 4
                eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
                used.append(hub.metric("crossbus_store_bytes"))
            assert put * 200_000 > 4.5 * BYTES_MAX
            assert len(target.bodies) == put
            assert hub.metric("crossbus_store_bytes_max") == BYTES_MAX
            assert used[-1] <= BYTES_MAX
            assert used[-1] <= used[1] + 2 * MIB, used
            status = json.loads(hub.get("/_hub/v1/status")[1])
            assert status["store_bytes"] == hub.metric("crossbus_store_bytes")
            assert (tmp_path / "data" / "store" / "data.mdb").stat().st_size <= BYTES_MAX
