"""The lean client connection: it finds where every answer ends, and never sends a request twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from router.bench.connection import Broken, Connection

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(answers: Sequence[bytes], *, closes: bool = False) -> AsyncIterator[tuple[int, list[int]]]:
    """A server that gives one answer a request: its port, and how many requests each connection brought."""
    left = iter(answers)
    counts: list[int] = []
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        mine = len(counts)
        counts.append(0)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                counts[mine] += 1
                writer.write(next(left))
                await writer.drain()
                if closes:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], counts
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*serving), 5)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nX-Content-Length: 9\r\ncontent-length:5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
async def test_the_next_answer_is_read_from_where_the_last_one_ends(answer: bytes, body: bytes) -> None:
    async with answering([answer, b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnext"]) as (port, counts):
        connection = await Connection.open(port)
        assert await connection.send(REQUEST) == (200, body)
        assert await connection.send(REQUEST) == (404, b"next")
        connection.close()
    assert counts == [2]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_a_connection_that_the_server_closes_is_opened_again(answer: bytes) -> None:
    async with answering([answer, answer], closes=True) as (port, counts):
        connection = await Connection.open(port)
        for _ in range(2):
            assert await connection.send(REQUEST) == (200, b"hello")
            await asyncio.sleep(0.05)  # until the end of the connection has come
        connection.close()
    assert counts == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: much\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2 and more\r\n\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_an_error_and_nothing_is_sent_again(answer: bytes) -> None:
    async with answering([answer], closes=True) as (port, counts):
        connection = await Connection.open(port)
        with pytest.raises(Broken):
            await connection.send(REQUEST)
        connection.close()
    assert counts == [1]


async def test_an_answer_that_does_not_come_ends_at_the_deadline() -> None:
    async with answering([b"HTTP/1.1 200 OK\r\n"]) as (port, _):
        connection = await Connection.open(port, timeout_s=0.1)
        with pytest.raises(TimeoutError):
            await connection.send(REQUEST)
        connection.close()
