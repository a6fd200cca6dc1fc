"""Servers that answer as a test says, and what a sink needs to call them: attempts, endpoints, secret keys."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from router.catalog.model import Target
from router.config import Endpoint, Keys
from router.core.event import Event, Location
from router.core.hops import Hops
from router.sinks.base import Accepted, Attempt
from router.sinks.endpoints import Endpoints
from router.sinks.http_client import HttpClient
from router.world import RealWorld

SECRET = "the-secret-access-key"
TOKEN = "the-session-token"
KEYS = Keys(access_key_id="AKIDEXAMPLE", secret_access_key=SECRET, session_token=TOKEN)
HERE = Location("111111111111", "us-east-1")
RULE_ARN = "arn:aws:events:us-east-1:111111111111:rule/orders"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """An HTTP server on a free port; `answer` decides, `requests` keeps (method, path and query, headers, body)."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""
        self.stop = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.raw_path, headers, body))
        return await self.answer(request)

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, _, _, body in self.requests]


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    assert runner.addresses
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.stop.set()
        await runner.cleanup()


def always(status: int, body: bytes | str = b"", **headers: str) -> Answer:
    """Answers everything in the same way; header names have `_` for `-`."""
    raw = body.encode() if isinstance(body, str) else body

    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            status=status, body=raw, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("a test's server is stopped before")


async def drip(request: web.Request) -> web.StreamResponse:
    """An answer that is never quite finished: a byte of it comes all the time."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(72_000):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    raise AssertionError("a test's server is stopped before")


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def echo(request: web.Request) -> web.StreamResponse:
    """An error that repeats everything the request had, as careless servers do."""
    body = (await request.read()).decode()
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    return web.Response(status=400, text=f"{request.url}\n{headers}\n{SECRET}\n{TOKEN}\n{body}")


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server that says the bytes that `talk` writes; its connections end with the context."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test has ended
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """The head of the next request, its body read too."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            await reader.readexactly(int(line[15:]))
    return head


def saying(*answers: bytes) -> Talk:
    """Answers each request with the next bytes, and then closes in order."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_of(reader)
            writer.write(answer)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    return talk


@asynccontextmanager
async def refused_url() -> AsyncIterator[str]:
    """A URL where nobody listens."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def endpoints_at(url: str, service: Any, *, timeout_s: float = 5.0) -> AsyncIterator[Endpoints]:
    client = HttpClient()
    try:
        yield Endpoints(
            [Endpoint(service=service, url=url, credentials=KEYS)],
            client=client,
            world=RealWorld(),
            timeout_s=timeout_s,
        )
    finally:
        await client.close()


def attempt(
    target: Target,
    payload: bytes = b'{"n":1}',
    *,
    event_id: str = "11111111-2222-4333-8444-555555555555",
    detail: str = '{"id":"o-1","group":"g 1"}',
    time: str = "2026-11-23T10:00:00Z",
    trace_header: str | None = None,
    attributes: dict[str, str] | None = None,
) -> Attempt:
    event = Event(event_id, "Order Placed", "shop.orders", HERE.account, time, HERE.region, (), detail)
    accepted = Accepted(event, HERE, "default", Hops(), 1_795_428_000_000, trace_header)
    return Attempt(accepted, payload, RULE_ARN, target, attributes)
