"""Load at saturation and at a rate, against a server in the same process."""

import asyncio
import json
from typing import Any

import pytest

from router.aws.sigv4 import Credentials
from router.bench.connection import Connection
from router.bench.listener import HttpConnection, HttpTarget, Request, event_id
from router.bench.load import PutRefused, paced, quantile, saturate
from router.bench.requests import PutEvents, entry, pattern
from tests.oracle import matches

CREDENTIALS = Credentials("111111111111", "none")


class Server:
    """Answers PutEvents; `delay_s` and `answer` as the test says."""

    def __init__(self, *, delay_s: float = 0.0, answer: dict[str, Any] | None = None, is_broken: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.connections = 0
        self._delay_s = delay_s
        self._answer = answer
        self._is_broken = is_broken

    def _respond(self, request: Request, connection: HttpConnection) -> bytes | None:
        self.bodies.append(request.body)
        if self._is_broken:
            return b"<html>"
        ids = [{"EventId": f"{len(self.bodies)}-{n}"} for n in range(len(json.loads(request.body)["Entries"]))]
        answer = json.dumps(self._answer or {"FailedEntryCount": 0, "Entries": ids}, separators=(",", ":")).encode()
        if not self._delay_s:
            return answer
        asyncio.get_running_loop().call_later(self._delay_s, connection.answer, answer)
        return None

    async def __aenter__(self) -> "Server":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HttpConnection(self._respond), "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def connect(self) -> Connection:
        self.connections += 1
        return await Connection.open(self._port)


def requests(entries: int = 10) -> PutEvents:
    return PutEvents(CREDENTIALS, "us-east-1", entries=entries)


async def test_all_events_are_put_and_requests_differ() -> None:
    async with Server() as server:
        put = await saturate(server.connect, requests(), 205, connections=4)
    assert (put.accepted, put.refused, len(put.latencies_s), len(set(server.bodies))) == (210, 0, 21, 21)
    assert server.connections == 4


async def test_no_more_connections_than_requests_are_opened() -> None:
    async with Server() as server:
        await saturate(server.connect, requests(), 20, connections=16)
    assert server.connections == 2


async def test_refused_entries_are_counted_with_the_first_reason() -> None:
    answer = {"FailedEntryCount": 1, "Entries": [{"EventId": "e"}, {"ErrorCode": "ThrottlingException"}]}
    async with Server(answer=answer) as server:
        put = await saturate(server.connect, requests(), 50)
    assert (put.accepted, put.refused, put.first_refusal) == (5, 5, "ThrottlingException")


async def test_an_answer_that_is_none_ends_the_load() -> None:
    async with Server(is_broken=True) as server:
        with pytest.raises(PutRefused, match="200 b'<html>'"):
            await saturate(server.connect, requests(), 50)


async def test_paced_requests_go_at_their_rate_whether_or_not_those_before_are_answered() -> None:
    made = requests(entries=1)
    async with Server(delay_s=0.2) as server:
        put = await paced(server.connect, lambda _: made.take(), per_s=100, count=10, connections=64)
    assert (put.accepted, len(put.at)) == (10, 10)
    assert server.connections == 10  # none was answered before the last had gone
    assert min(put.latencies_s) >= 0.19


async def test_a_request_that_waits_for_a_connection_waits_on_its_own_account() -> None:
    made = requests(entries=1)
    async with Server(delay_s=0.05) as server:
        put = await paced(server.connect, lambda _: made.take(), per_s=10_000, count=4, connections=1)
    assert server.connections == 1
    assert [latency >= 0.049 * n for n, latency in enumerate(sorted(put.latencies_s), 1)] == [True] * 4


def test_only_the_first_rule_matches_an_entry_and_it_has_1300_bytes_in_a_request() -> None:
    made = entry(source="bench")
    assert 1250 <= len(json.dumps(made)) <= 1400
    event = {"source": made["Source"], "detail-type": made["DetailType"], "detail": json.loads(made["Detail"])}
    assert matching(event, 5, "bench") == {0}
    assert matching(event, 5, "other") == set()


def matching(event: dict[str, Any], rules: int, source: str) -> set[int]:
    text = json.dumps(event)
    return {number for number in range(rules) if matches(json.dumps(pattern(number, source=source)), text)}


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"version":"0","id":"a-1","detail":{"id":"b"}}', "a-1"),
        (b'{"version": "0", "id": "a-2"}', "a-2"),
        (b'{"version":"0"}', None),
        (b"", None),
        (b'{"id":7}', None),
    ],
)
def test_an_events_id_is_found_in_its_envelope(body: bytes, found: str | None) -> None:
    assert event_id(body) == found


async def test_an_http_target_counts_requests_that_are_no_events_too() -> None:
    async with HttpTarget() as target:
        connection = await Connection.open(target.port)
        for body in (b'{"id":"e1"}', b"", b'{"id":"e1"}'):
            await connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.close()
    assert (target.requests, list(target.arrived)) == (3, ["e1"])
