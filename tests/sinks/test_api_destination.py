"""The API destination sink against a server of our own."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.catalog.declared_connections import destination_arn
from router.catalog.model import Target
from router.catalog.target_parameters import HttpParameters
from router.config import ConfigError, Hub, parse
from router.core.event import Location
from router.sinks.api_destination import ApiDestinationSink, RateLimit
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable, Sink
from router.sinks.http_client import Clients, Done, HttpClient, Request, Response, Started
from tests.connections import parts_of
from tests.pipeline.hub import until
from tests.sinks import suite
from tests.sinks.fakes import HERE, always, attempt, saying, serving, talking

API_KEY = "the-api-key-value"
PASSWORD = "the-password"
HIDDEN = "the-hidden-parameter"
BASIC = {
    "AuthorizationType": "BASIC",
    "AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": PASSWORD}},
}
KEYED = {
    "AuthorizationType": "API_KEY",
    "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": API_KEY}},
}


def hub_at(url: str, connection: dict[str, Any] | None = None, **destination: Any) -> Hub:
    text = {
        "accounts": [{"id": HERE.account}],
        "regions": [HERE.region],
        "resources": [
            {
                "account": HERE.account,
                "region": HERE.region,
                "connections": [{"Name": "partner", **(connection or KEYED)}],
                "api_destinations": [
                    {
                        "Name": "orders",
                        "ConnectionName": "partner",
                        "InvocationEndpoint": url,
                        "HttpMethod": "POST",
                        **destination,
                    }
                ],
            }
        ],
    }
    return parse(json.dumps(text).encode(), "hub.yaml", {})


ARN = destination_arn(HERE, "orders")
TARGET = Target(id="t", arn=ARN)


def target(**parameters: Any) -> Target:
    return Target(id="t", arn=ARN, http_parameters=HttpParameters(**parameters))


@asynccontextmanager
async def sink_of(hub: Hub, timeout_s: float = 5.0) -> AsyncIterator[ApiDestinationSink]:
    async with parts_of(hub) as parts:
        yield parts.sink(timeout_s)


@asynccontextmanager
async def sink_at(url: str, timeout_s: float = 5.0) -> AsyncIterator[Sink]:
    hidden = {"Key": "hidden", "Value": HIDDEN, "IsValueSecret": True}
    parameters = {name: [hidden] for name in ("HeaderParameters", "QueryStringParameters", "BodyParameters")}
    connection = {
        **KEYED,
        "AuthParameters": {**KEYED["AuthParameters"], "InvocationHttpParameters": parameters},  # type: ignore[dict-item]
    }
    async with sink_of(hub_at(url + "/hook", connection), timeout_s) as sink:
        yield sink


CASE = suite.Case(
    sink=sink_at, attempt=lambda _: attempt(TARGET), success=always(204), secrets=(API_KEY, PASSWORD, HIDDEN)
)


@pytest.mark.parametrize("fact", suite.FACTS)
async def test_api_destination_sink_keeps_the_suite(fact: suite.Fact) -> None:
    await fact(CASE)


async def received(
    one: Attempt, connection: dict[str, Any] | None = None, path: str = "/hook", **destination: Any
) -> tuple[str, str, dict[str, str], bytes]:
    """The one request that the server gets."""
    async with serving(always(200)) as server, sink_of(hub_at(server.url + path, connection, **destination)) as sink:
        assert await sink.send([one]) == [Delivered()]
        [request] = server.requests
        return request


def with_parameters(connection: dict[str, Any], **parameters: dict[str, str]) -> dict[str, Any]:
    lists = {name: [{"Key": key, "Value": value} for key, value in pairs.items()] for name, pairs in parameters.items()}
    return {**connection, "AuthParameters": {**connection["AuthParameters"], "InvocationHttpParameters": lists}}


async def test_request_has_the_headers_that_aws_sends() -> None:
    method, path, headers, body = await received(attempt(TARGET))
    assert (method, path, body) == ("POST", "/hook", b'{"n":1}')
    assert {name: value for name, value in headers.items() if name != "host"} == {
        "user-agent": "Amazon/EventBridge/ApiDestinations",
        "range": "bytes=0-1048575",
        "content-type": "application/json; charset=utf-8",
        "accept-encoding": "gzip,deflate",
        "content-length": "7",
        "x-key": API_KEY,
    }


async def test_basic_connection_sends_basic_authorization() -> None:
    _, _, headers, _ = await received(attempt(TARGET), BASIC)
    assert headers["authorization"] == "Basic " + base64.b64encode(f"u:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"])
async def test_method_is_the_destinations(method: str) -> None:
    assert (await received(attempt(TARGET), HttpMethod=method))[0] == method


async def test_connection_parameters_win_over_the_targets() -> None:
    connection = with_parameters(
        KEYED,
        HeaderParameters={"X-A": "connection", "content-type": "text/x"},
        QueryStringParameters={"a": "connection & more"},
        BodyParameters={"a": "connection"},
    )
    one = attempt(
        target(
            header_parameters={"x-a": "target", "X-B": "$.detail.id", "X-Key": "target"},
            query_string_parameters={"a": "target", "b": "$.detail.group"},
        ),
        b'{"a": 1, "n": 1.50}',
    )
    _, path, headers, body = await received(one, connection, path="/hook?fixed=1")
    assert path == "/hook?fixed=1&a=connection%20%26%20more&b=g%201"
    assert (headers["x-a"], headers["x-b"], headers["x-key"]) == ("connection", "o-1", API_KEY)
    assert headers["content-type"] == "text/x"
    assert body == b'{"a":"connection","n":1.50}'


@pytest.mark.parametrize("payload", [b'"text"', b"[1]", b"{broken"])
async def test_body_parameters_leave_a_payload_that_is_no_object(payload: bytes) -> None:
    connection = with_parameters(KEYED, BodyParameters={"a": "x"})
    assert (await received(attempt(TARGET, payload), connection))[3] == payload


async def test_headers_that_eventbridge_removes_are_not_sent() -> None:
    names = ["Host", "Via", "Expect", "User-Agent", "Range", "Transfer-Encoding", "Content-Length", "Cache-Control"]
    one = attempt(target(header_parameters=dict.fromkeys(names, "evil")))
    _, _, headers, _ = await received(one)
    assert "evil" not in headers.values()


async def test_path_wildcards_are_filled_in_order() -> None:
    one = attempt(target(path_parameter_values=["a/b", "$.detail.id"]))
    assert (await received(one, path="/x/*/y/*"))[1] == "/x/a%2Fb/y/o-1"


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/x/*", {}),
        ("/x/*", {"path_parameter_values": ["a", "b"]}),
        ("/x/*/y", {"path_parameter_values": [".."]}),
        ("/x/*", {"path_parameter_values": ["$.detail.absent"]}),
        ("/x", {"header_parameters": {"X-A": "a\r\nX-B: b"}}),
        ("/x", {"header_parameters": {"X A": "a"}}),
        ("/x y", {}),
    ],
)
async def test_request_that_cannot_be_built_is_rejected(path: str, parameters: dict[str, Any]) -> None:
    async with serving(always(200)) as server, sink_of(hub_at(server.url + path)) as sink:
        [outcome] = await sink.send([attempt(target(**parameters))])
        assert server.requests == []
    assert isinstance(outcome, Rejected)
    assert outcome.code == "INVALID_PARAMETER"


async def test_path_value_cannot_name_the_host() -> None:
    with pytest.raises(ConfigError, match="please provide a valid HTTPS endpoint URL"):
        async with sink_of(hub_at("https://*.example.com/")):
            pass


@pytest.mark.parametrize("url", ["https://169.254.169.254/latest", "https://[fe80::1]/", "https://[::ffff:a9fe:a9fe]/"])
async def test_link_local_address_is_rejected(url: str) -> None:
    async with sink_of(hub_at(url)) as sink:
        [outcome] = await sink.send([attempt(TARGET)])
    assert isinstance(outcome, Rejected)
    assert outcome.code == "CONNECTION_FAILURE"


async def status_outcome(status: int, **headers: str) -> Outcome:
    async with serving(always(status, "why", **headers)) as server, sink_of(hub_at(server.url)) as sink:
        [outcome] = await sink.send([attempt(TARGET)])
        return outcome


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_delivered(status: int) -> None:
    assert await status_outcome(status) == Delivered()


@pytest.mark.parametrize("status", [401, 407, 409, 429, 500, 501, 502, 503, 504, 599])
async def test_retried_statuses_are_retryable(status: int) -> None:
    outcome = await status_outcome(status)
    assert isinstance(outcome, Retryable)
    assert outcome.code == ("THROTTLING" if status == 429 else "ERROR_FROM_TARGET")
    assert str(status) in outcome.message


@pytest.mark.parametrize(
    "status", [300, 301, 304, 400, 402, 403, 404, 405, 408, 410, 413, 422, 425, 451, 499, 600, 999]
)
async def test_other_statuses_are_rejected(status: int) -> None:
    outcome = await status_outcome(status)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "ERROR_FROM_TARGET"
    assert str(status) in outcome.message


async def test_switching_protocols_is_rejected() -> None:
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    async with talking(saying(upgrade)) as url, sink_of(hub_at(url)) as sink:
        [outcome] = await sink.send([attempt(TARGET)])
    assert isinstance(outcome, Rejected)
    assert "101" in outcome.message


@pytest.mark.parametrize("status", [401, 407, 409, 429, 500, 503])
@pytest.mark.parametrize(
    ("text", "expected"),
    [("120", 120.0), ("0", 0.0), ("soon", None), ("999999999", 172_800.0), ("9" * 400, 172_800.0)],
)
async def test_retry_after_is_handed_on(status: int, text: str, expected: float | None) -> None:
    outcome = await status_outcome(status, Retry_After=text)
    assert isinstance(outcome, Retryable)
    assert outcome.retry_after_s == expected


@pytest.mark.parametrize(
    ("status", "code"), [(401, "ERROR_FROM_TARGET"), (429, "THROTTLING"), (503, "ERROR_FROM_TARGET")]
)
async def test_negative_retry_after_stops_retries_and_keeps_the_reason(status: int, code: str) -> None:
    outcome = await status_outcome(status, Retry_After="-1")
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert "Retry-After is negative" in outcome.message


async def test_retry_after_revives_no_status_that_is_not_retried() -> None:
    assert isinstance(await status_outcome(404, Retry_After="5"), Rejected)
    assert isinstance(await status_outcome(301, Retry_After="5", Location="/"), Rejected)


class Recorded(HttpClient):
    """Answers 200 and keeps each request's deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts_s: list[float] = []

    def start(self, request: Request, done: Done) -> Started:
        self.timeouts_s.append(request.timeout_s)
        return asyncio.get_running_loop().call_soon(done, Response(200, {}, b""))


async def test_a_request_has_five_seconds_in_all() -> None:
    client = Recorded()
    async with parts_of(hub_at("https://example.com")) as parts:
        clients = Clients(named=client, guarded=client)
        sink = ApiDestinationSink(parts.connections, parts.tokens, clients=clients, world=parts.world)
        assert await sink.send([attempt(TARGET)]) == [Delivered()]
    assert client.timeouts_s == [5.0]


async def test_waiting_for_its_turn_takes_nothing_from_a_requests_time() -> None:
    async with (
        serving(always(200)) as server,
        sink_of(hub_at(server.url, InvocationRateLimitPerSecond=4), timeout_s=0.4) as sink,
    ):
        assert await sink.send([attempt(TARGET) for _ in range(4)]) == [Delivered()] * 4


async def test_unknown_destination_is_rejected() -> None:
    async with sink_of(hub_at("https://example.com")) as sink:
        [outcome] = await sink.send([attempt(Target(id="t", arn=ARN[:-1]))])
    assert isinstance(outcome, Rejected)
    assert outcome.code == "NO_RESOURCE"


async def test_destination_is_known_by_its_arn_with_and_without_uuid() -> None:
    short = f"arn:aws:events:{HERE.region}:{HERE.account}:api-destination/orders"
    async with parts_of(hub_at("https://example.com")) as parts:
        assert parts.connections.destination(ARN) is parts.connections.destination(short)
        assert parts.connections.exists(ARN)
        assert not parts.connections.exists(short + "x")
        assert not parts.connections.exists(short + "/another")
        assert not parts.connections.exists("orders")
        assert not parts.connections.exists(destination_arn(Location(HERE.account, "eu-west-1"), "orders"))
    assert ARN.startswith(short + "/")


async def test_what_waited_for_its_turn_goes_with_what_is_configured_then() -> None:
    async with (
        serving(always(200)) as server,
        parts_of(hub_at(server.url, InvocationRateLimitPerSecond=1)) as parts,
    ):
        sending = asyncio.create_task(parts.sink().send([attempt(TARGET), attempt(TARGET)]))
        await until(lambda: bool(server.requests))
        await parts.connections.deauthorize(HERE, "partner")
        first, second = await sending
        assert first == Delivered()
        assert isinstance(second, Retryable)
        assert "connection partner is not usable" in second.message
        assert len(server.requests) == 1


def test_rate_limit_delays_what_exceeds_it() -> None:
    limit = RateLimit(2)
    assert [limit.wait_s(100.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert limit.wait_s(101.75) == 0.25
    assert limit.wait_s(200.0) == 0.0


def test_rate_limit_lets_a_tenth_of_a_second_go_at_once() -> None:
    limit = RateLimit(300)
    waits = [limit.wait_s(100.0) for _ in range(330)]
    assert sum(wait == 0 for wait in waits) == 30
    assert waits[-1] == pytest.approx(1.0)


async def test_rate_limit_delays_and_does_not_fail() -> None:
    async with serving(always(200)) as server, sink_of(hub_at(server.url, InvocationRateLimitPerSecond=20)) as sink:
        outcomes = await sink.send([attempt(TARGET) for _ in range(5)])
        assert outcomes == [Delivered()] * 5
        assert len(server.requests) == 5
