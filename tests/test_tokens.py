"""OAuth: the request for a token, what its answers mean, and when it is asked for again."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from aiohttp import web

from router import limits
from router.catalog.auth_parameters import OAuth
from router.catalog.connections import Connection, New, Update
from router.catalog.model import Target
from router.sinks import oauth
from router.sinks.base import Delivered, Rejected, Retryable
from router.sinks.http_client import Response
from router.sinks.oauth import Granted, Refused
from router.tokens import Token
from router.world import RealWorld
from tests.connections import Parts, parts_of
from tests.sinks.fakes import HERE, Answer, Server, always, attempt, hang, refused_url, serving

CLIENT = {"ClientID": "id & more", "ClientSecret": "the-secret"}
ADDED = {
    "HeaderParameters": [{"Key": "X-A", "Value": "a"}, {"Key": "host", "Value": "evil"}],
    "QueryStringParameters": [{"Key": "q", "Value": "1 2", "IsValueSecret": True}],
    "BodyParameters": [{"Key": "scope", "Value": "write"}, {"Key": "client_id", "Value": "wins"}],
}


def parameters(url: str, method: str = "POST", **more: Any) -> dict[str, Any]:
    return {"AuthorizationEndpoint": url, "HttpMethod": method, "ClientParameters": CLIENT, **more}


def request(method: str, **more: Any) -> oauth.TokenRequest:
    return oauth.request(msgspec.convert(parameters("https://login.example.com/t?fixed=1", method, **more), OAuth))


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_credentials_go_as_a_form_in_the_body(method: str) -> None:
    made = request(method)
    assert (made.method, made.url) == (method, "https://login.example.com/t?fixed=1")
    assert made.body == b"grant_type=client_credentials&client_id=id%20%26%20more&client_secret=the-secret"
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_credentials_go_in_the_query_of_a_get() -> None:
    made = request("GET")
    assert made.body == b""
    assert made.url == (
        "https://login.example.com/t?fixed=1&grant_type=client_credentials&client_id=id%20%26%20more"
        "&client_secret=the-secret"
    )


def test_added_parameters_go_along_and_win() -> None:
    made = request("POST", OAuthHttpParameters=ADDED)
    assert made.url == "https://login.example.com/t?fixed=1&q=1%202"
    assert made.body == b"grant_type=client_credentials&client_id=wins&client_secret=the-secret&scope=write"
    assert made.headers["X-A"] == "a"
    assert "host" not in {name.lower() for name in made.headers}


def test_request_and_grant_show_no_secret() -> None:
    shown = f"{request('GET')!r} {Granted('the-token', 1.0)!r} {Token('the-token', 0, 1)!r}"
    assert "the-" not in shown


@pytest.mark.parametrize(
    ("body", "expires_s"),
    [
        ('{"access_token":"t","token_type":"Bearer","expires_in":3600}', 3600.0),
        ('{"access_token":"t","expires_in":"120"}', 120.0),
        ('{"access_token":"t"}', None),
        ('{"access_token":"t","expires_in":-5}', 0.0),
    ],
)
def test_answer_with_a_token_grants_it(body: str, expires_s: float | None) -> None:
    granted = oauth.granted(Response(200, {}, body.encode()))
    assert isinstance(granted, Granted)
    assert (granted.token, granted.expires_s) == ("t", expires_s)


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"access_token":7}', '{"access_token":""}', '{"access_token":"a b"}',
             '{"access_token":"t\\nX: y"}', '{"access_token":"t","expires_in":"soon"}', "\xff"],
)  # fmt: skip
def test_answer_without_a_token_is_final_and_not_told(body: str) -> None:
    refused = oauth.granted(Response(200, {}, body.encode("latin-1")))
    assert isinstance(refused, Refused)
    assert refused.final
    assert refused.reason.startswith("The authorization endpoint's a")


def test_token_that_is_too_long_is_refused() -> None:
    body = json.dumps({"access_token": "t" * (limits.OAUTH_TOKEN_CHARS_MAX + 1)}).encode()
    assert isinstance(oauth.granted(Response(200, {}, body)), Refused)


@pytest.mark.parametrize(
    ("status", "final"),
    [(302, True), (400, True), (401, True), (403, True), (408, False), (429, False), (500, False), (503, False)],
)
def test_refusal_is_final_unless_it_may_pass(status: int, final: bool) -> None:
    assert oauth.granted(Response(status, {}, b"the-secret")) == Refused(
        f"The authorization endpoint answered with status {status}.", final
    )


# against a server


class Clock(RealWorld):
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.s = 1000.0

    def monotonic(self) -> float:
        return self.s


class Login:
    """An authorization server: numbered tokens that live for `expires_in`."""

    def __init__(self, expires_in: float | None = 3600) -> None:
        self.expires_in = expires_in
        self.count = 0
        self.gate: asyncio.Event | None = None
        self.fails: list[int] = []

    async def answer(self, _: web.Request) -> web.Response:
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            return web.Response(status=self.fails.pop(0))
        self.count += 1
        expires = {} if self.expires_in is None else {"expires_in": self.expires_in}
        return web.json_response({"access_token": f"token-{self.count}", **expires})


async def connected(parts: Parts, url: str, name: str = "c") -> Connection:
    new = New(
        location=HERE,
        name=name,
        authorization_type="OAUTH_CLIENT_CREDENTIALS",
        auth={"OAuthParameters": parameters(url)},
    )
    return await parts.connections.create(new)


def now(parts: Parts, connection: Connection) -> Connection:
    found = parts.connections.connection(connection.arn)
    assert found is not None
    return found


async def value(parts: Parts, connection: Connection) -> str:
    token = await parts.tokens.get(now(parts, connection))
    assert isinstance(token, Token), token
    return token.value


@asynccontextmanager
async def logged_in(login: Login) -> AsyncIterator[tuple[Parts, Connection, Clock, Server]]:
    clock = Clock()
    async with serving(login.answer) as server, parts_of(world=clock) as parts:
        yield parts, await connected(parts, server.url), clock, server


async def test_token_is_kept_until_a_minute_before_its_end() -> None:
    async with logged_in(Login(3600)) as (parts, connection, clock, server):
        assert await value(parts, connection) == "token-1"
        clock.s += 3539
        assert await value(parts, connection) == "token-1"
        clock.s += 2
        assert await value(parts, connection) == "token-2"
        assert len(server.requests) == 2


async def test_short_lived_token_is_used_for_half_of_its_life() -> None:
    async with logged_in(Login(30)) as (parts, connection, clock, _):
        await value(parts, connection)
        clock.s += 14
        assert await value(parts, connection) == "token-1"
        clock.s += 2
        assert await value(parts, connection) == "token-2"


async def test_token_without_an_end_is_kept_until_it_is_refused() -> None:
    async with logged_in(Login(None)) as (parts, connection, clock, _):
        token = await parts.tokens.get(connection)
        assert isinstance(token, Token)
        clock.s += 1_000_000
        assert await value(parts, connection) == "token-1"
        parts.tokens.refused(now(parts, connection), token)
        assert await value(parts, connection) == "token-2"


async def test_many_who_need_a_token_make_one_request() -> None:
    login = Login()
    login.gate = asyncio.Event()
    async with logged_in(login) as (parts, connection, _, server):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(value, parts, connection)
            while not server.requests:
                await anyio.lowlevel.checkpoint()
            login.gate.set()
        assert len(server.requests) == 1


async def test_many_who_hear_of_a_refused_token_make_one_request() -> None:
    async with logged_in(Login()) as (parts, connection, clock, server):
        token = await parts.tokens.get(connection)
        assert isinstance(token, Token)
        clock.s += 2
        for _ in range(10):
            parts.tokens.refused(now(parts, connection), token)
            await value(parts, connection)
        assert len(server.requests) == 2


async def test_new_token_that_is_refused_is_not_asked_for_at_once() -> None:
    async with logged_in(Login()) as (parts, connection, _, server):
        token = await parts.tokens.get(connection)
        assert isinstance(token, Token)
        parts.tokens.refused(now(parts, connection), token)
        await value(parts, connection)
        assert len(server.requests) == 1


async def test_changed_connection_gets_a_token_of_its_own() -> None:
    async with logged_in(Login()) as (parts, connection, _, server):
        await value(parts, connection)
        update = Update(auth={"OAuthParameters": {"ClientParameters": {"ClientSecret": "another"}}})
        await parts.connections.update(HERE, "c", update)
        assert await value(parts, connection) == "token-2"
        assert b"client_secret=another" in server.bodies[1]


async def test_first_token_authorizes_and_a_refusal_deauthorizes() -> None:
    login = Login()
    async with logged_in(login) as (parts, connection, clock, _):
        assert connection.state == "AUTHORIZING"
        await value(parts, connection)
        assert now(parts, connection).state == "AUTHORIZED"
        clock.s += 4000
        login.fails = [403]
        assert isinstance(await parts.tokens.get(now(parts, connection)), Refused)
        refused = now(parts, connection)
        assert (refused.state, refused.state_reason) == (
            "DEAUTHORIZED",
            "The authorization endpoint answered with status 403.",
        )
        clock.s += 2
        await value(parts, connection)
        assert now(parts, connection).state == "AUTHORIZED"


async def test_failure_is_told_to_all_who_ask_within_a_second() -> None:
    login = Login()
    login.fails = [503, 503]
    async with logged_in(login) as (parts, connection, clock, server):
        for _ in range(5):
            assert isinstance(await parts.tokens.get(connection), Refused)
        assert len(server.requests) == 1
        assert now(parts, connection).state == "AUTHORIZING", "it may pass"
        clock.s += 1
        await parts.tokens.get(connection)
        assert len(server.requests) == 2


async def test_endpoint_that_cannot_be_reached_is_told_without_its_url() -> None:
    async with refused_url() as url, parts_of() as parts:
        connection = await connected(parts, f"{url}/?the-secret")
        refused = await parts.tokens.get(connection)
    assert refused == Refused("The authorization endpoint cannot be reached: Connection refused.", False)


async def test_endpoint_that_hangs_ends_after_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OAUTH_TIMEOUT_S", 0.1)
    async with serving(hang) as server, parts_of() as parts:
        refused = await parts.tokens.get(await connected(parts, server.url))
    assert refused == Refused("The authorization endpoint cannot be reached: no complete answer in time.", False)


# in the background


@asynccontextmanager
async def authorizing(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Parts, Server]]:
    monkeypatch.setattr(limits, "AUTHORIZE_DELAY_S", 0.001)
    monkeypatch.setattr(limits, "OAUTH_REFRESH_S_MIN", 0.0)
    async with serving(answer) as server, parts_of() as parts, anyio.create_task_group() as tasks:
        tasks.start_soon(parts.tokens.run)
        yield parts, server
        tasks.cancel_scope.cancel()


async def until(parts: Parts, connection: Connection, fits: Callable[[Connection], bool]) -> Connection:
    for _ in range(2000):
        if fits(found := now(parts, connection)):
            return found
        await anyio.sleep(0.005)
    raise AssertionError(f"still {now(parts, connection)!r}")


async def test_new_connection_is_authorized_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async with authorizing(Login().answer, monkeypatch) as (parts, server):
        for name in ("a", "b"):
            connection = await connected(parts, server.url, name)
            await until(parts, connection, lambda found: found.state == "AUTHORIZED")


async def test_failures_that_may_pass_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login()
    login.fails = [503] * (limits.AUTHORIZE_ATTEMPTS_MAX - 1)
    async with authorizing(login.answer, monkeypatch) as (parts, server):
        await until(parts, await connected(parts, server.url), lambda found: found.state == "AUTHORIZED")


async def test_connection_is_deauthorized_after_five_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    async with authorizing(always(503), monkeypatch) as (parts, server):
        found = await until(parts, await connected(parts, server.url), lambda found: found.state == "DEAUTHORIZED")
        assert found.state_reason == "The authorization endpoint answered with status 503."
        assert len(server.requests) == limits.AUTHORIZE_ATTEMPTS_MAX


async def test_refusal_deauthorizes_at_once_and_an_update_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login()
    login.fails = [401]
    async with authorizing(login.answer, monkeypatch) as (parts, server):
        connection = await connected(parts, server.url)
        await until(parts, connection, lambda found: found.state == "DEAUTHORIZED")
        assert len(server.requests) == 1
        await parts.connections.update(HERE, "c", Update(auth={"OAuthParameters": parameters(server.url)}))
        await until(parts, connection, lambda found: found.state == "AUTHORIZED")


# through the sink


async def test_delivery_carries_the_token_and_the_next_one_a_fresh_one_after_a_401() -> None:
    login, clock = Login(), Clock()

    async def guarded(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] == "Bearer token-2" else 401)

    async with serving(login.answer) as server, serving(guarded) as target, parts_of(world=clock) as parts:
        connection = await connected(parts, server.url)
        destination = await parts.connections.create_destination(
            HERE, "d", connection_arn=connection.arn, endpoint=target.url, method="POST", rate=None, description=None
        )
        sink, one = parts.sink(), attempt(Target(id="t", arn=destination.arn))
        await value(parts, connection)
        clock.s += 2
        [first] = await sink.send([one])
        assert isinstance(first, Retryable)
        assert first.code == "ERROR_FROM_TARGET"
        assert await sink.send([one]) == [Delivered()]
        assert now(parts, connection).state == "AUTHORIZED"
        assert login.count == 2


async def test_delivery_without_a_token_is_retried_and_says_why() -> None:
    async with serving(always(400, "the-secret")) as server, parts_of() as parts:
        connection = await connected(parts, server.url)
        destination = await parts.connections.create_destination(
            HERE, "d", connection_arn=connection.arn, endpoint=server.url, method="POST", rate=None, description=None
        )
        [outcome] = await parts.sink().send([attempt(Target(id="t", arn=destination.arn))])
    assert not isinstance(outcome, Delivered | Rejected)
    assert outcome == Retryable(
        "CONNECTION_FAILURE",
        "API destination d: connection c is not usable: The authorization endpoint answered with status 400.",
    )
