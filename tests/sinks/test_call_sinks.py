"""Sinks whose calls can be begun without a task: they say what `send` would say, later, once, or begin nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from router import limits
from router.catalog.connections import Connection, Update
from router.catalog.model import Target
from router.catalog.target_parameters import HttpParameters
from router.config import Endpoint, Keys
from router.secrets import SecretsError
from router.sinks.base import BUG, Attempt, CallSink, Delivered, Outcome, Rejected, Retryable
from router.sinks.endpoints import Endpoints
from router.sinks.http_client import HttpClient
from router.sinks.lambda_ import LambdaSink
from router.world import RealWorld
from tests.connections import Parts, parts_of
from tests.sinks.fakes import HERE, always, attempt, endpoints_at, hang, reset, serving
from tests.sinks.test_api_destination import (
    API_KEY,
    ARN,
    BASIC,
    KEYED,
    TARGET,
    hub_at,
    sink_of,
    target,
    with_parameters,
)
from tests.sinks.test_lambda import FUNCTION
from tests.test_tokens import Clock, Login, connected


async def begun(sink: CallSink, one: Attempt) -> Outcome | None:
    """The outcome of a call that was begun; None where none was."""
    outcomes: list[Outcome] = []
    came = asyncio.Event()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        came.set()

    if not sink.begin(one, done):
        await asyncio.sleep(0.01)
        assert outcomes == []
        return None
    assert outcomes == []  # not from within
    await asyncio.wait_for(came.wait(), 20)
    await asyncio.sleep(0.01)
    assert len(outcomes) == 1
    return outcomes[0]


FILLED = with_parameters(
    KEYED,
    HeaderParameters={"X-A": "connection"},
    QueryStringParameters={"q": "1 2"},
    BodyParameters={"hidden": "x"},
)


@pytest.mark.parametrize("connection", [BASIC, KEYED, FILLED])
@pytest.mark.parametrize(
    "one",
    [
        attempt(TARGET),
        attempt(target(header_parameters={"X-B": "fixed"}, query_string_parameters={"b": "fixed"})),
        attempt(target(header_parameters={"X-B": "$.detail.id"}, query_string_parameters={"b": "$.detail.group"})),
        attempt(TARGET, b"not json"),
    ],
)
async def test_begun_request_is_the_one_that_is_sent(connection: dict[str, Any], one: Attempt) -> None:
    async with serving(always(200)) as server, sink_of(hub_at(server.url + "/hook?x", connection)) as sink:
        assert await sink.send([one]) == [Delivered()]
        assert await begun(sink, one) == Delivered()
        assert await begun(sink, one) == Delivered()
        first, *others = server.requests
    assert others == [first, first]


async def test_parameters_of_the_event_are_each_events_own() -> None:
    dynamic = target(path_parameter_values=["$.detail.id"])
    fixed = target(path_parameter_values=["fixed"])
    async with serving(always(200)) as server, sink_of(hub_at(server.url + "/x/*")) as sink:
        for detail in ('{"id":"1"}', '{"id":"2"}'):
            for one in (dynamic, fixed):
                assert await begun(sink, attempt(one, detail=detail)) == Delivered()
    assert [path for _, path, _, _ in server.requests] == ["/x/1", "/x/fixed", "/x/2", "/x/fixed"]


@pytest.mark.parametrize("status", [200, 204, 301, 404, 409, 429, 503])
async def test_begun_call_has_the_outcome_of_a_sent_one(status: int) -> None:
    answer = always(status, "why", Retry_After="7", Location="/")
    async with serving(answer) as server, sink_of(hub_at(server.url)) as sink:
        assert [await begun(sink, attempt(TARGET))] == await sink.send([attempt(TARGET)])


async def test_fault_of_a_begun_call_is_its_outcome() -> None:
    async with serving(reset) as server, sink_of(hub_at(server.url + "/?" + API_KEY)) as sink:
        outcome = await begun(sink, attempt(TARGET))
    assert isinstance(outcome, Retryable)
    assert outcome.code == "CONNECTION_FAILURE"
    assert API_KEY not in outcome.message
    async with serving(hang) as server, sink_of(hub_at(server.url), timeout_s=0.05) as sink:
        outcome = await begun(sink, attempt(TARGET))
    assert outcome == Retryable("TIMEOUT", "API destination orders: no complete answer in time")


@pytest.mark.parametrize(
    "one",
    [
        attempt(Target(id="t", arn=ARN[:-1])),
        attempt(target(header_parameters={"X-A": "$.detail.absent"})),
        attempt(target(path_parameter_values=["one too many"])),
        attempt(target(header_parameters={"X-A": "a\r\nX-B: b"})),
    ],
)
async def test_what_would_be_rejected_is_not_begun(one: Attempt) -> None:
    async with serving(always(200)) as server, sink_of(hub_at(server.url)) as sink:
        assert await begun(sink, one) is None
        [outcome] = await sink.send([one])
        assert isinstance(outcome, Rejected)
        assert server.requests == []


async def test_call_whose_turn_is_not_now_is_not_begun_and_takes_no_turn() -> None:
    clock = Clock()
    hub = hub_at("http://127.0.0.1:1", InvocationRateLimitPerSecond=2)
    async with parts_of(hub, world=clock) as parts:
        sink = parts.sink()
        assert await begun(sink, attempt(TARGET)) is not None
        for _ in range(3):
            assert await begun(sink, attempt(TARGET)) is None
        clock.s += 0.5
        assert await begun(sink, attempt(TARGET)) is not None
        assert await begun(sink, attempt(TARGET)) is None


async def test_call_that_is_not_begun_for_another_reason_takes_no_turn() -> None:
    clock = Clock()
    hub = hub_at("http://127.0.0.1:1", InvocationRateLimitPerSecond=2)
    async with parts_of(hub, world=clock) as parts:
        sink = parts.sink()
        assert await begun(sink, attempt(target(path_parameter_values=["one too many"]))) is None
        assert await begun(sink, attempt(TARGET)) is not None


async def test_what_is_configured_now_counts() -> None:
    async with serving(always(200)) as server, parts_of(hub_at(server.url + "/a")) as parts:
        sink = parts.sink()
        assert await begun(sink, attempt(TARGET)) == Delivered()
        await parts.connections.update_destination(HERE, "orders", invocation_endpoint=server.url + "/b")
        assert await begun(sink, attempt(TARGET)) == Delivered()
        await parts.connections.deauthorize(HERE, "partner")
        assert await begun(sink, attempt(TARGET)) is None
        await parts.connections.delete(HERE, "partner")
        assert await begun(sink, attempt(TARGET)) is None
        await parts.connections.delete_destination(HERE, "orders")
        assert await begun(sink, attempt(TARGET)) is None
    assert [path for _, path, _, _ in server.requests] == ["/a", "/b"]


async def test_changed_credentials_are_sent_at_once() -> None:
    async with serving(always(200)) as server, parts_of(hub_at(server.url)) as parts:
        sink = parts.sink()
        assert await begun(sink, attempt(TARGET)) == Delivered()
        new = Update(auth={"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "another"}})
        await parts.connections.update(HERE, "partner", new)
        assert await begun(sink, attempt(TARGET)) == Delivered()
        shown = repr(sink._ways)
    assert [headers["x-key"] for _, _, headers, _ in server.requests] == [API_KEY, "another"]
    assert "another" not in shown


def the_connection(parts: Parts) -> Connection:
    [found] = parts.connections.things.all(Connection)
    return found


@pytest.mark.parametrize("status", [401, 407])
async def test_refused_credentials_are_noted_before_the_outcome_is_told(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTION_STATE_S_MIN", 0.0)
    answers = [status, status, 200, 200]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0))

    async with serving(answer) as server, parts_of(hub_at(server.url)) as parts:
        sink = parts.sink()
        states: list[str] = []
        while answers:
            told = asyncio.Event()

            def done(outcome: Outcome, told: Callable[[], None] = told.set) -> None:
                assert isinstance(outcome, Delivered) == (len(states) >= 2)
                states.append(the_connection(parts).state)
                told()

            assert sink.begin(attempt(TARGET), done)
            await told.wait()
    assert states == ["DEAUTHORIZED", "DEAUTHORIZED", "AUTHORIZED", "AUTHORIZED"]


async def test_outcome_is_told_where_the_connection_cannot_be_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(401)) as server, parts_of(hub_at(server.url)) as parts:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

        async def failing(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(parts.connections, "answered", failing)
        outcome = await begun(parts.sink(), attempt(TARGET))
        assert isinstance(outcome, Retryable)


@pytest.mark.parametrize("kind", ["api_destination", "lambda"])
async def test_bug_in_a_sink_leaves_no_delivery_without_an_outcome(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    def failing(*_: object) -> None:
        raise ZeroDivisionError

    async with (
        serving(always(500)) as server,
        parts_of(hub_at(server.url)) as parts,
        endpoints_at(server.url, "lambda") as endpoints,
    ):
        if kind == "lambda":
            monkeypatch.setattr("router.sinks.lambda_.json_error", failing)
            outcome = await begun(LambdaSink(endpoints), attempt(FUNCTION))
        else:
            monkeypatch.setattr("router.sinks.api_destination._failure", failing)
            outcome = await begun(parts.sink(), attempt(TARGET))
    assert outcome == BUG
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def test_secret_that_cannot_be_opened_is_sends_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(200)) as server, parts_of(hub_at(server.url)) as parts:

        def failing(_: object) -> None:
            raise SecretsError("no key")

        monkeypatch.setattr(parts.connections, "opened", failing)
        assert await begun(parts.sink(), attempt(TARGET)) is None
        assert server.requests == []


async def test_token_is_fetched_by_send_and_used_by_begin_until_it_is_refused() -> None:
    login, clock = Login(), Clock()

    async def guarded(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] != "Bearer token-2" else 401)

    async with serving(login.answer) as server, serving(guarded) as at, parts_of(world=clock) as parts:
        connection = await connected(parts, server.url)
        destination = await parts.connections.create_destination(
            HERE, "d", connection_arn=connection.arn, endpoint=at.url, method="POST", rate=None, description=None
        )
        sink, one = parts.sink(), attempt(Target(id="t", arn=destination.arn, http_parameters=HttpParameters()))
        assert await begun(sink, one) is None
        assert await sink.send([one]) == [Delivered()]
        assert await begun(sink, one) == Delivered()
        clock.s += 4000
        assert await begun(sink, one) is None  # it has ended
        assert isinstance((await sink.send([one]))[0], Retryable)
        clock.s += 2
        assert isinstance(await begun(sink, one), Retryable)
        assert await begun(sink, one) is None  # it was refused
        assert await sink.send([one]) == [Delivered()]
        assert await begun(sink, one) == Delivered()
    assert login.count == 3


# functions


class Still(RealWorld):
    """A wall clock that stands, so that signatures can be compared."""

    def now_ms(self) -> int:
        return 1_795_428_000_000


@pytest.mark.parametrize("status", [202, 404, 429, 500])
async def test_function_that_is_called_at_once_gets_and_says_what_it_would(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RealWorld, "now_ms", Still.now_ms)
    one = attempt(FUNCTION, trace_header="Root=1-2-3")
    async with serving(always(status, '{"message":"m"}')) as server, endpoints_at(server.url, "lambda") as endpoints:
        sink = LambdaSink(endpoints)
        assert [await begun(sink, one)] == await sink.send([one])
        first, second = server.requests
    assert first == second


async def test_fault_of_a_function_called_at_once_is_its_outcome() -> None:
    async with serving(reset) as server, endpoints_at(server.url, "lambda") as endpoints:
        outcome = await begun(LambdaSink(endpoints), attempt(FUNCTION))
    assert isinstance(outcome, Retryable)
    assert outcome.code == "CONNECTION_FAILURE"


async def test_key_that_is_no_header_value_is_sent_nowhere() -> None:
    keys = Keys(access_key_id="a\r\nX-Evil: 1", secret_access_key="b")
    client = HttpClient()
    async with serving(always(202)) as server:
        endpoint = Endpoint(service="lambda", url=server.url, credentials=keys)
        sink = LambdaSink(Endpoints([endpoint], client=client, world=RealWorld()))
        assert await begun(sink, attempt(FUNCTION)) is None
        [outcome] = await sink.send([attempt(FUNCTION)])
        assert isinstance(outcome, Rejected)
        assert outcome.code == "INVALID_PARAMETER"
        assert server.requests == []
        await client.close()
