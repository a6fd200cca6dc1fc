"""The hub's HTTP server on a free port, over services whose operations a test makes, on either event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import uvloop

from router.aws.service import Caller, RawOperation, Service, Services
from router.aws.sigv4 import Authenticator
from router.metrics import Metrics
from router.sources.http import HttpServer
from router.world import RealWorld

ACCOUNT = "111111111111"
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Port:
    """The server and what it counted."""

    def __init__(self, put_events: RawOperation, sqs: Mapping[str, Callable[..., Awaitable[dict[str, Any]]]]) -> None:
        self.metrics = Metrics()
        self._clients: list[Client] = []
        self.server = HttpServer(
            services=Services([Service("events", {}, {"PutEvents": put_events}), Service("sqs", dict(sqs))]),
            authenticator=Authenticator("none", default_account=ACCOUNT, keys={}),
            intake=cast("Any", None),
            hub_api=cast("Any", None),
            metrics=self.metrics,
            world=RealWorld(),
            failure=lambda: None,
            open_location=lambda location: None,
            aws_events=False,
        )

    async def connect(self) -> "Client":
        client = Client(*await asyncio.open_connection("127.0.0.1", self.server.port))
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self.server.close()

    @property
    def lanes(self) -> Any:
        return self.server._lanes


class Client:
    """Raw bytes out; whole answers, or whatever comes, in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        """The next answer, head and body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        start = head.lower().find(b"content-length:")
        if start < 0:
            return head
        length = int(head[start + 15 : head.index(b"\r\n", start)])
        return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that comes until the hub closes."""
        return await asyncio.wait_for(self.reader.read(), 20)

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def opened(
    put_events: RawOperation, sqs: Mapping[str, Callable[..., Awaitable[dict[str, Any]]]] | None = None
) -> AsyncIterator[Port]:
    port = Port(put_events, sqs or {})
    await port.server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await port.close()


async def echo(caller: Caller, body: bytes) -> bytes:
    """An operation that does not wait."""
    return b"[" + body + b"]"


def post(
    body: bytes = b"{}", *, target: str = "AWSEvents.PutEvents", headers: bytes = b"", service: str = "events"
) -> bytes:
    return (
        (
            f"POST / HTTP/1.1\r\nHost: hub\r\nX-Amz-Target: {target}\r\nAuthorization: AWS4-HMAC-SHA256 "
            f"Credential={ACCOUNT}/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n"
        ).encode()
        + headers
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


async def until(check: Callable[[], object]) -> None:
    """Until `check()` is true; fails when it does not become so."""
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - what it looks at tells nobody
            await asyncio.sleep(0.005)
