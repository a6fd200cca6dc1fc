"""The client's connections, over real sockets on both event loops: what is kept, who waits, what is sent again, and how
calls end at every point at which they can.
"""

import asyncio
import inspect
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from router.addresses import NAMED, Policy
from router.sinks import http_pool
from router.sinks.http_client import HttpClient, HttpFault, Request, Response, head_of, trusting
from router.sinks.http_connection import Connection
from router.sinks.http_dial import Dialer, Resolved
from router.sinks.http_messages import Origin
from tests.sinks.fakes import Talk, request_of, saying, talking
from tests.sinks.tls import Authority
from tests.sources.fast_port import LOOPS, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test, once on asyncio's own event loop and once on uvloop's."""

    def run(loop: str, **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(test(**arguments))

    found = inspect.signature(test)
    given = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = found.replace(parameters=[given, *found.parameters.values()])  # type: ignore[attr-defined]
    run.__name__ = test.__name__
    run.pytestmark = [pytest.mark.parametrize("loop", LOOPS).mark, *getattr(test, "pytestmark", [])]  # type: ignore[attr-defined]
    return run


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(**settings)
    try:
        yield made
    finally:
        await made.close()
        pool = made._pool
        assert (pool._count, pool._hosts, pool._calls, pool._pending, pool._waiting) == (0, {}, {}, set(), {})
        assert not pool._open


def a_request(url: str, name: str = "", *, body: bytes = b"", timeout_s: float = 30.0, **more: Any) -> Request:
    return head_of("POST", f"{url}/{name}", {}).request(body, timeout_s=timeout_s, **more)


async def outcome(made: HttpClient, request: Request) -> Response | HttpFault:
    try:
        return await made.call(request)
    except HttpFault as fault:
        return fault


async def kind(made: HttpClient, request: Request) -> str:
    """The fault's kind, or the answer's body."""
    result = await outcome(made, request)
    return result.kind if isinstance(result, HttpFault) else result.body.decode()


class Seen:
    """A server that says what requests asked for, once it is allowed to, and knows its connections."""

    def __init__(self, *, open_: bool = True) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self.now = 0
        self.most = 0
        self.gate = asyncio.Event()
        if open_:
            self.gate.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            while True:
                head = await request_of(reader)
                self.asked.append(head.split(b" ")[1].decode().strip("/"))
                await self.gate.wait()
                writer.write(OK)
        finally:
            self.now -= 1


# keeping


@on_both_loops
async def test_connection_that_was_used_last_is_used_next() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url, client() as made:
        calls = [asyncio.create_task(made.call(a_request(url))) for _ in range(3)]
        await until(lambda: len(seen.asked) == 3)
        seen.gate.set()
        await asyncio.gather(*calls)
        [host] = made._pool._hosts.values()
        last = host.idle[-1]
        for _ in range(5):
            await made.call(a_request(url))
            assert host.idle[-1] is last
        assert seen.connections == 3


@on_both_loops
async def test_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "IDLE_S_MAX", 0.05)
    seen = Seen()
    async with talking(seen.talk) as url, client() as made:
        await made.call(a_request(url))
        await until(lambda: seen.now == 0)
        assert made._pool._hosts == {}
        assert made._pool._timer is None


@pytest.mark.parametrize("more", [b"", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
@on_both_loops
async def test_connection_that_is_closed_or_says_what_nobody_asked_for_is_not_used_again(more: bytes) -> None:
    connections = 0
    said = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request_of(reader)
        writer.write(OK)
        await writer.drain()
        if connections == 1:
            await said.wait()
            writer.write(more)
            writer.close()
        await reader.read()

    async with talking(talk) as url, client() as made:
        assert await kind(made, a_request(url)) == "ok"
        said.set()
        await until(lambda: not made._pool._open)
        assert made._pool._count == 0
        assert await kind(made, a_request(url)) == "ok"
    assert connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 403 Smuggled\r\nContent-Length: 0\r\n\r\n",
    ],
)
@on_both_loops
async def test_answer_after_which_nothing_may_come_ends_its_connection(answer: bytes) -> None:
    async with talking(saying(answer, answer)) as url, client() as made:
        for _ in range(2):
            assert await kind(made, a_request(url)) == "ok"
            assert made._pool._count == 0


@on_both_loops
async def test_answer_that_comes_before_all_is_sent_ends_its_connection() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.Event().wait()

    async with talking(talk) as url, client() as made:
        for _ in range(2):
            assert await kind(made, a_request(url, body=b"x" * 50_000_000)) == "ok"
    assert connections == 2


@on_both_loops
async def test_answer_that_is_too_long_ends_its_connection() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    async with talking(saying(long, long)) as url, client() as made:
        got = await made.call(a_request(url, body_bytes_max=10))
        assert (got.body, got.truncated) == (b"x" * 10, True)
        assert made._pool._count == 0


# sending again


def closing_at(*, kept: int, said: bytes = b"", asked: list[str]) -> Talk:
    """Answers so many requests on a connection, and closes after the next, having said as much."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(kept + 1):
            head = await request_of(reader)
            asked.append(head.split(b" ")[1].decode().strip("/"))
            writer.write(OK if number < kept else said)
            await writer.drain()
        writer.close()

    return talk


@on_both_loops
async def test_request_on_a_kept_connection_that_is_closed_is_sent_once_more_on_a_new_one() -> None:
    asked: list[str] = []
    async with talking(closing_at(kept=1, asked=asked)) as url, client() as made:
        assert [await kind(made, a_request(url, name)) for name in "abc"] == ["ok", "ok", "ok"]
    assert asked == ["a", "b", "b", "c", "c"]


LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@on_both_loops
async def test_request_that_crosses_with_a_408_on_a_kept_connection_is_sent_once_more() -> None:
    asked: list[str] = []
    async with talking(closing_at(kept=1, said=LATE, asked=asked)) as url, client() as made:
        results = [await made.call(a_request(url, name)) for name in "ab"]
    assert [result.status for result in results] == [200, 200]
    assert asked == ["a", "b", "b"]


@on_both_loops
async def test_408_on_a_new_connection_is_the_answer() -> None:
    asked: list[str] = []
    async with talking(closing_at(kept=0, said=LATE, asked=asked)) as url, client() as made:
        assert (await made.call(a_request(url, "a"))).status == 408
    assert asked == ["a"]


@on_both_loops
async def test_request_is_not_sent_more_than_once_more() -> None:
    asked: list[str] = []
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await closing_at(kept=int(connections == 1), asked=asked)(reader, writer)

    async with talking(talk) as url, client() as made:
        assert [await kind(made, a_request(url, name)) for name in "ab"] == ["ok", "reset"]
    assert asked == ["a", "b", "b"]


@on_both_loops
async def test_request_on_a_new_connection_is_not_sent_again() -> None:
    asked: list[str] = []
    async with talking(closing_at(kept=0, asked=asked)) as url, client() as made:
        assert await kind(made, a_request(url, "a")) == "reset"
    assert asked == ["a"]


@on_both_loops
async def test_request_whose_answer_has_begun_is_not_sent_again() -> None:
    asked: list[str] = []
    async with talking(closing_at(kept=1, said=b"H", asked=asked)) as url, client() as made:
        assert [await kind(made, a_request(url, name)) for name in "ab"] == ["ok", "reset"]
    assert asked == ["a", "b"]


@on_both_loops
async def test_sending_again_keeps_to_the_place_and_the_time() -> None:
    asked: list[str] = []
    async with talking(closing_at(kept=1, asked=asked)) as url, client(connections_max=1) as made:
        await made.call(a_request(url, "a"))
        later = [asyncio.create_task(kind(made, a_request(url, name))) for name in "bc"]
        assert await asyncio.gather(*later) == ["ok", "ok"]
        assert asked == ["a", "b", "b", "c", "c"]


# bounds and waiting


@on_both_loops
async def test_calls_wait_for_a_connection_in_their_order() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url, client(connections_per_host_max=2) as made:
        names = [str(number) for number in range(20)]
        calls = [asyncio.create_task(kind(made, a_request(url, name))) for name in names]
        await until(lambda: len(seen.asked) == 2)
        seen.gate.set()
        assert await asyncio.gather(*calls) == ["ok"] * 20
    assert seen.most == 2
    assert sorted(seen.asked[:2]) == names[:2]
    assert [int(name) for name in seen.asked] == pytest.approx(range(20), abs=1)


@on_both_loops
async def test_pools_bound_is_for_all_hosts_and_the_longest_waiting_is_first() -> None:
    first, second = Seen(open_=False), Seen()
    async with talking(first.talk) as one, talking(second.talk) as two, client(connections_max=1) as made:
        order: list[str] = []

        def begin(url: str, name: str) -> None:
            made.start(a_request(url, name), lambda _result: order.append(name))

        for url, name in ((one, "a"), (two, "b"), (one, "c"), (two, "d")):
            begin(url, name)
        await until(lambda: first.asked)
        assert second.connections == 0
        first.gate.set()
        await until(lambda: len(order) == 4)
        assert order == ["a", "b", "c", "d"]
        assert made._pool._count == 1
    assert (first.most, second.most) == (1, 1)


@on_both_loops
async def test_idle_connection_makes_room_for_another_host() -> None:
    seen = [Seen(), Seen(), Seen()]
    async with (
        talking(seen[0].talk) as a,
        talking(seen[1].talk) as b,
        talking(seen[2].talk) as c,
        client(connections_max=2) as made,
    ):
        for url in (a, b, c):
            assert await kind(made, a_request(url)) == "ok"
        await until(lambda: seen[0].now == 0)
        assert [one.now for one in seen] == [0, 1, 1]


@on_both_loops
async def test_host_that_hangs_leaves_the_others_their_connections() -> None:
    hanging, seen = Seen(open_=False), Seen()
    async with (
        talking(hanging.talk) as one,
        talking(seen.talk) as two,
        client(connections_max=3, connections_per_host_max=2) as made,
    ):
        stuck = [asyncio.create_task(kind(made, a_request(one))) for _ in range(5)]
        await until(lambda: len(hanging.asked) == 2)
        for _ in range(3):
            assert await kind(made, a_request(two)) == "ok"
        hanging.gate.set()
        assert await asyncio.gather(*stuck) == ["ok"] * 5


@on_both_loops
async def test_bound_of_nought_is_none() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url, client(connections_max=0, connections_per_host_max=0) as made:
        calls = [asyncio.create_task(kind(made, a_request(url))) for _ in range(150)]
        await until(lambda: len(seen.asked) == 150)
        seen.gate.set()
        assert await asyncio.gather(*calls) == ["ok"] * 150


# cancelling


@on_both_loops
async def test_cancelled_call_closes_its_connection_and_gives_its_place() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url, client(connections_max=1) as made:
        first = asyncio.create_task(kind(made, a_request(url, "a")))
        second = asyncio.create_task(kind(made, a_request(url, "b")))
        await until(lambda: seen.asked == ["a"])
        first.cancel()
        await until(lambda: seen.asked == ["a", "b"])
        seen.gate.set()
        assert await second == "ok"
        assert first.cancelled()
        assert seen.connections == 2


@on_both_loops
async def test_cancelled_call_that_waits_is_not_served() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url, client(connections_max=1) as made:
        calls = [asyncio.create_task(kind(made, a_request(url, name))) for name in "abc"]
        await until(lambda: seen.asked == ["a"])
        calls[1].cancel()
        await asyncio.sleep(0)
        seen.gate.set()
        assert [await calls[0], await calls[2]] == ["ok", "ok"]
        assert calls[1].cancelled()
        assert seen.asked == ["a", "c"]


class Hanging:
    """A name service that does not answer until it is told to."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        self.gate = asyncio.Event()

    async def resolve(self, host: str, port: int) -> Sequence[Resolved]:
        self.asked += 1
        await self.gate.wait()
        return [{"host": address} for address in self.addresses]


@on_both_loops
async def test_cancelled_call_that_connects_gives_its_place() -> None:
    resolver = Hanging("127.0.0.1")
    async with talking(Seen().talk) as url, client(connections_max=1, resolver=resolver) as made:
        named = url.replace("127.0.0.1", "orders.example")
        begun = made.start(a_request(named), lambda _result: pytest.fail("it was cancelled"))
        begun.cancel()  # before its task has run
        first = asyncio.create_task(kind(made, a_request(named, "a")))
        second = asyncio.create_task(kind(made, a_request(named, "b")))
        await until(lambda: resolver.asked)
        first.cancel()
        resolver.gate.set()
        assert await second == "ok"


@on_both_loops
async def test_cancelled_twice_and_cancelled_when_done_is_nothing() -> None:
    async with talking(Seen().talk) as url, client(connections_max=1) as made:
        results: list[Response | HttpFault] = []
        begun = made.start(a_request(url), results.append)
        await until(lambda: results)
        begun.cancel()
        other = made.start(a_request(url), results.append)
        other.cancel()
        other.cancel()
        assert await kind(made, a_request(url)) == "ok"
        assert len(results) == 1


class Deaf:
    """Stands in for the dialer: it was connected just before it was told to stop."""

    def __init__(self) -> None:
        self.made: list[Connection] = []

    async def dial(self, origin: Origin, make: Callable[[], Connection], deadline: float) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(make, origin.host, origin.port)
        self.made.append(connection)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return connection


@on_both_loops
async def test_connection_that_comes_too_late_for_its_call_is_closed() -> None:
    seen, dialing = Seen(), Deaf()
    async with talking(seen.talk) as url, client() as made:
        made._pool._dialer = cast(Dialer, dialing)
        begun = made.start(a_request(url), lambda _result: pytest.fail("it was cancelled"))
        await until(lambda: dialing.made and seen.now)
        begun.cancel()
        await until(lambda: seen.now == 0)
        assert seen.asked == []


@on_both_loops
async def test_connection_that_closes_at_once_is_a_reset() -> None:
    async with talking(saying()) as url, client() as made:
        real = made._pool._dialer

        class Slow:
            async def dial(self, origin: Origin, make: Callable[[], Connection], deadline: float) -> Connection:
                connection = await real.dial(origin, make, deadline)
                await until(lambda: connection.lost)
                return connection

        made._pool._dialer = cast(Dialer, Slow())
        assert await kind(made, a_request(url)) == "reset"


@on_both_loops
async def test_connection_that_is_closing_is_not_used() -> None:
    seen = Seen()
    async with talking(seen.talk) as url, client(connections_max=1) as made:
        assert await kind(made, a_request(url)) == "ok"
        [host] = made._pool._hosts.values()
        transport = host.idle[0]._transport
        assert transport is not None
        transport.abort()  # nobody has been told yet
        assert await kind(made, a_request(url)) == "ok"
    assert seen.connections == 2


@on_both_loops
async def test_host_name_that_cannot_be_asked_for_is_invalid() -> None:
    async with client() as made:
        assert await kind(made, a_request(f"http://{'a' * 70}.example")) in ("invalid", "dns")
        assert await kind(made, a_request("http://a..example")) in ("invalid", "dns")


# being told


@on_both_loops
async def test_done_is_called_once_and_never_from_within() -> None:
    async with talking(Seen().talk) as url, client() as made:
        for timeout_s in (30.0, 30.0, 0.0, -1.0):
            results: list[Response | HttpFault] = []
            made.start(a_request(url, timeout_s=timeout_s), results.append)
            assert results == []
            await until(lambda: results)  # noqa: B023
            await asyncio.sleep(0.03)
            assert len(results) == 1
            assert isinstance(results[0], HttpFault) == (timeout_s <= 0)


@on_both_loops
async def test_call_that_is_begun_when_another_is_done_takes_its_connection() -> None:
    seen = Seen()
    ended = asyncio.Event()
    async with talking(seen.talk) as url, client(connections_max=1) as made:

        def done(result: Response | HttpFault) -> None:
            assert isinstance(result, Response)
            if len(seen.asked) < 50:
                made.start(a_request(url), done)
            else:
                ended.set()

        made.start(a_request(url), done)
        await ended.wait()
    assert seen.connections == 1


@on_both_loops
async def test_calls_under_way_when_the_client_closes_are_resets() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url:
        async with client(connections_max=2) as made:
            calls = [asyncio.create_task(kind(made, a_request(url))) for _ in range(4)]
            await until(lambda: len(seen.asked) == 2)
        assert await asyncio.gather(*calls) == ["reset"] * 4
        seen.gate.set()
        await until(lambda: seen.now == 0)


# ends: at every byte, and by time at every stage


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
@on_both_loops
async def test_connection_that_closes_at_any_byte_is_a_reset(answer: bytes) -> None:
    for cut in range(len(answer) + 1):
        async with talking(saying(answer[:cut])) as url, client() as made:
            assert await kind(made, a_request(url)) == ("ok" if cut == len(answer) else "reset")


@on_both_loops
async def test_connection_that_closes_ends_a_body_of_no_length() -> None:
    async with talking(saying(b"HTTP/1.1 200 OK\r\n\r\nok")) as url, client() as made:
        assert await kind(made, a_request(url)) == "ok"
        assert made._pool._count == 0


@on_both_loops
async def test_connection_that_is_reset_ends_no_body() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)  # the rest stays unread, so that closing is a reset
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nok")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + b"\0" * 4
        )
        writer.transport.abort()

    async with talking(talk) as url, client() as made:
        assert await kind(made, a_request(url, body=b"x" * 10_000_000)) == "reset"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 ", OK[:-4], OK[:-1], b"HTTP/1.1 200 OK\r\n\r\nok"])
@on_both_loops
async def test_silence_at_any_point_is_a_timeout(said: bytes) -> None:
    seen = Seen()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)
        await reader.read()
        seen.connections += 1

    async with talking(talk) as url, client() as made:
        assert await kind(made, a_request(url, timeout_s=0.05)) == "timeout"
        await until(lambda: seen.connections == 1)  # it was closed


@on_both_loops
async def test_waiting_is_part_of_the_time() -> None:
    seen = Seen(open_=False)
    async with talking(seen.talk) as url, client(connections_max=1) as made:
        first = asyncio.create_task(kind(made, a_request(url, "a")))
        await until(lambda: seen.asked)
        assert await kind(made, a_request(url, "b", timeout_s=0.05)) == "timeout"
        seen.gate.set()
        assert await first == "ok"
        assert seen.asked == ["a"]


@on_both_loops
async def test_name_service_that_hangs_is_a_timeout() -> None:
    resolver = Hanging("127.0.0.1")
    async with client(resolver=resolver) as made:
        assert await kind(made, a_request("http://orders.example", timeout_s=0.05)) == "timeout"


@on_both_loops
async def test_tls_handshake_that_hangs_is_a_timeout(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    tls = trusting(str(Authority(tmp_path).ca_file))
    async with talking(talk) as url, client(tls=tls) as made:
        assert await kind(made, a_request(url.replace("http:", "https:"), timeout_s=0.1)) == "timeout"


@pytest.fixture
def full() -> Iterator[int]:
    """A port that takes no more connections: who connects waits."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        with socket.socket() as first, socket.socket() as second:
            for one in (first, second):
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            yield port


@on_both_loops
async def test_connect_that_hangs_is_a_timeout(full: int) -> None:
    async with client() as made:
        assert await kind(made, a_request(f"http://127.0.0.1:{full}", timeout_s=0.1)) == "timeout"


@on_both_loops
async def test_address_that_hangs_leaves_time_for_the_next(full: int) -> None:
    server = await asyncio.start_server(saying(OK), "127.0.0.2", full)
    async with server:
        resolver = Hanging("127.0.0.1", "127.0.0.2")
        resolver.gate.set()
        async with client(resolver=resolver) as made:
            assert await kind(made, a_request(f"http://orders.example:{full}", timeout_s=1.0)) == "ok"


@on_both_loops
async def test_earlier_deadline_is_kept_beside_later_ones() -> None:
    seen = Seen(open_=False)
    ended: list[str] = []
    async with talking(seen.talk) as url, client() as made:

        async def run(name: str, timeout_s: float) -> None:
            assert await kind(made, a_request(url, name, timeout_s=timeout_s)) == "timeout"
            ended.append(name)

        times = {"c": 0.3, "a": 0.1, "d": 0.4, "b": 0.2}
        await asyncio.gather(*(run(name, timeout_s) for name, timeout_s in times.items()))
        assert ended == ["a", "b", "c", "d"]


# addresses and TLS


class Watching(Policy, frozen=True):
    """Refuses what it is told to, and keeps what it was asked."""

    refused: tuple[str, ...] = ()
    asked: list[str] = []  # noqa: RUF012

    def refusal(self, address: str) -> str | None:
        self.asked.append(address)
        return "a test goes elsewhere" if address in self.refused else None


@on_both_loops
async def test_addresses_are_tried_in_their_order_and_each_is_asked_for() -> None:
    policy = Watching(loopback=True, refused=("127.0.0.3",), asked=[])
    resolver = Hanging("127.0.0.3", "127.0.0.2", "127.0.0.1", "127.0.0.4")
    resolver.gate.set()
    async with talking(Seen().talk) as url, client(resolver=resolver, policy=policy) as made:
        named = url.replace("127.0.0.1", "orders.example")
        assert await kind(made, a_request(named)) == "ok"
        assert policy.asked == ["127.0.0.3", "127.0.0.2", "127.0.0.1"]
        await kind(made, a_request(named))
        assert len(policy.asked) == 3  # the connection was kept
    assert resolver.asked == 1


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [(("127.0.0.3",), "forbidden"), (("127.0.0.3", "127.0.0.2"), "connect"), ((), "dns"), (("orders",), "dns")],
)
@on_both_loops
async def test_address_that_may_not_be_called_is_told_only_where_there_is_no_other(
    addresses: tuple[str, ...], expected: str
) -> None:
    policy = Watching(loopback=True, refused=("127.0.0.3",), asked=[])
    resolver = Hanging(*addresses)
    resolver.gate.set()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    chosen = NAMED if addresses == ("orders",) else policy
    async with client(resolver=resolver, policy=chosen) as made:
        assert await kind(made, a_request(f"http://orders.example:{port}")) == expected


@on_both_loops
async def test_name_is_looked_up_once_for_all_who_want_it() -> None:
    resolver = Hanging("127.0.0.1")
    async with talking(Seen().talk) as url, client(resolver=resolver) as made:
        named = url.replace("127.0.0.1", "orders.example")
        calls = [asyncio.create_task(kind(made, a_request(named))) for _ in range(10)]
        await until(lambda: resolver.asked)
        resolver.gate.set()
        assert await asyncio.gather(*calls) == ["ok"] * 10
    assert resolver.asked == 1


@on_both_loops
async def test_answers_come_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    talk = saying(OK, chunked, big, OK)
    async with (
        talking(talk, authority.server("127.0.0.1")) as url,
        client(tls=trusting(str(authority.ca_file))) as made,
    ):
        bodies = [(await made.call(a_request(url, body=b"y" * 500_000))).body for _ in range(4)]
        assert [len(body) for body in bodies] == [2, 2, 900_000, 2]


@on_both_loops
async def test_connection_of_a_certificate_that_is_not_trusted_is_a_tls_fault(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    trusted = trusting(str(Authority(tmp_path / "other").ca_file))
    seen = Seen()
    async with talking(seen.talk, Authority(tmp_path).server("127.0.0.1")) as url, client(tls=trusted) as made:
        assert await kind(made, a_request(url)) == "tls"
    assert seen.asked == []


# everything at once


@pytest.mark.parametrize("seed", range(6))
@on_both_loops
async def test_whatever_servers_and_callers_do_each_call_is_done_once_and_no_bound_is_passed(seed: int) -> None:
    dice = random.Random(seed)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            what = dice.random()
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.003)))
            if what < 0.1:
                return
            if what < 0.15:
                writer.write(OK + b"\r\n")
            elif what < 0.2:
                writer.write(OK[: dice.randrange(len(OK))])
                await writer.drain()
                return
            elif what < 0.25:
                writer.write(b"nonsense\r\n\r\n")
            elif what < 0.3:
                await asyncio.sleep(0.05)
                return
            else:
                writer.write(OK)
            await writer.drain()

    async with (
        talking(talk) as one,
        talking(talk) as two,
        client(connections_max=5, connections_per_host_max=3) as made,
    ):
        done = [0] * 400
        cancelled: set[int] = set()

        def begin(number: int) -> Callable[[], None]:
            def called(_result: Response | HttpFault) -> None:
                done[number] += 1
                assert number not in cancelled

            timeout_s = dice.choice((0.0, 0.02, 0.5, 30.0))
            call = made.start(a_request(dice.choice((one, two)), timeout_s=timeout_s), called)

            def cancel() -> None:
                if not done[number]:
                    cancelled.add(number)
                    call.cancel()

            return cancel

        for number in range(400):
            cancel = begin(number)
            if dice.random() < 0.15:
                asyncio.get_running_loop().call_later(dice.choice((0, 0.001, 0.005)), cancel)
            if dice.random() < 0.2:
                await asyncio.sleep(0.002)
            counts = [host.count for host in made._pool._hosts.values()]
            assert made._pool._count == sum(counts) <= 5
            assert all(count <= 3 for count in counts)
        await until(lambda: sum(done) + len(cancelled) == 400)
        assert all(count == (number not in cancelled) for number, count in enumerate(done))
