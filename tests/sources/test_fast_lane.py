"""The fast lane on real sockets and both event loops: it answers as aiohttp's way does, in order, once; it hands over
what is not its own; and nobody can hold it up or hold on to it."""

import asyncio
import random
import re
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from router import limits
from router.aws.service import Caller
from router.errors import ThrottlingException, ValidationException
from router.sources import fast_lane
from router.store.base import StoreError
from tests.sources.fast_port import LOOPS, Port, echo, opened, post, until

Run = Callable[[Coroutine[Any, Any, None]], None]
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
TO_AIOHTTP = b"TE: trailers\r\n"
"""A header that means nothing to the hub and is not for the lane."""


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run_it(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(work)

    return run_it


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def status_of(answer: bytes) -> int:
    return int(answer[9:12])


# the same answers


async def misbehave(caller: Caller, body: bytes) -> bytes:
    """Does what the body says, at once or after a wait."""
    if body.startswith(b"later "):
        await asyncio.sleep(0)
        body = body.removeprefix(b"later ")
    match body:
        case b"refuse":
            raise ValidationException("no, \u00e9")
        case b"throttle":
            raise ThrottlingException("slow down")
        case b"store":
            raise StoreError("full")
        case b"deep":
            raise RecursionError
        case b"bug":
            raise ZeroDivisionError
        case b"empty":
            return b""
        case _:
            pass
    return b'{"caller": "%s"}' % caller.account.encode()


SAME = {
    **{
        what + when: post(when.encode() + what.encode())
        for when in ("", "later ")
        for what in ("ok", "empty", "refuse", "throttle", "store", "deep", "bug")
    },
    "no signature": re.sub(rb"Authorization: [^\r]*\r\n", b"", post()),
    "no scope": re.sub(rb"us-east-1/", b"", post()),
    "no region": re.sub(rb"us-east-1/", b"nowhere/", post()),
    "queue": post(b'{"QueueUrl": "http://hub/1/q"}', target="AmazonSQS.ReceiveMessage", service="sqs"),
    "queue refuses": post(b"{}", target="AmazonSQS.ReceiveMessage", service="sqs"),
    "queue refuses what is no JSON": post(b"{", target="AmazonSQS.ReceiveMessage", service="sqs"),
}


@pytest.mark.parametrize("request_bytes", SAME.values(), ids=SAME.keys())
def test_an_answer_is_byte_for_byte_aiohttps(run: Run, request_bytes: bytes) -> None:
    async def receive(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        return {"Messages": []}

    async def both() -> None:
        async with opened(misbehave, {"ReceiveMessage": receive}) as port:
            lane, other = await port.connect(), await port.connect()
            lane.write(request_bytes)
            mine = await lane.answer()
            assert port.metrics.fast_lane_requests == 1
            counted = dict(port.metrics.requests)
            other.write(request_bytes.replace(b"Host: hub\r\n", b"Host: hub\r\n" + TO_AIOHTTP))
            theirs = await other.answer()
            assert port.metrics.fast_lane_requests == 1
            without = [re.sub(rb"Date: [^\r]*\r\n", b"Date: \r\n", answer) for answer in (mine, theirs)]
            assert without[0] == without[1]
            assert b"Date: " in mine
            assert {name: 2 * count for name, count in counted.items()} == port.metrics.requests

    run(both())


# order and framing


def test_requests_sent_ahead_are_answered_in_their_order(run: Run) -> None:
    async def slow_first(caller: Caller, body: bytes) -> bytes:
        await asyncio.sleep(0.02 if body == b"0" else 0)
        return body

    async def ahead() -> None:
        async with opened(slow_first) as port:
            client = await port.connect()
            client.write(b"".join(post(b"%d" % number) for number in range(20)) + HEALTH + post(b"after"))
            for number in range(20):
                assert body_of(await client.answer()) == b"%d" % number
            assert body_of(await client.answer()) == b"ok\n"
            assert body_of(await client.answer()) == b"after"
            assert port.metrics.fast_lane_requests == 20

    run(ahead())


def test_a_connection_is_handed_over_at_a_boundary_and_stays_so(run: Run) -> None:
    async def mixed() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            for sent in (post(b"1"), HEALTH, post(b"2"), HEALTH):
                client.write(sent)
                assert status_of(await client.answer()) == 200
            assert port.metrics.fast_lane_requests == 1
            assert port.lanes.count == 1
            await client.close()
            await until(lambda: port.lanes.count == 0)

    run(mixed())


def test_bytes_may_come_one_by_one(run: Run) -> None:
    async def slowly() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            for byte in post(b"{}") + HEALTH + post(b"x"):
                client.write(bytes((byte,)))
                await asyncio.sleep(0)
            assert [body_of(await client.answer()) for _ in range(3)] == [b"[{}]", b"ok\n", b"[x]"]

    run(slowly())


def test_however_a_stream_is_cut_it_is_answered_the_same(run: Run) -> None:
    async def cut() -> None:
        dice = random.Random(7)
        async with opened(echo) as port:
            for _ in range(30):
                bodies = [dice.randbytes(dice.choice((1, 20, 3000, 70_000))) for _ in range(dice.randrange(1, 6))]
                sent = b"".join(map(post, bodies)) + HEALTH
                client = await port.connect()
                while sent:
                    size = dice.choice((1, 7, 300, 40_000, 200_000))
                    client.write(sent[:size])
                    sent = sent[size:]
                    await asyncio.sleep(0)
                for body in bodies:
                    assert body_of(await client.answer()) == b"[" + body + b"]"
                assert body_of(await client.answer()) == b"ok\n"
                await client.close()

    run(cut())


def test_a_connection_takes_many_requests(run: Run) -> None:
    async def many() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            for _ in range(2000):
                client.write(post())
                assert status_of(await client.answer()) == 200
            assert port.metrics.fast_lane_requests == 2000

    run(many())


def test_a_client_that_asks_whether_to_go_on_is_aiohttps(run: Run) -> None:
    async def asks() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            client.write(post(b"", headers=b"Expect: 100-continue\r\n").replace(b"Length: 0", b"Length: 2"))
            assert (await client.answer()).startswith(b"HTTP/1.1 100 Continue\r\n")
            client.write(b"{}")
            assert body_of(await client.answer()) == b"[{}]"
            assert port.metrics.fast_lane_requests == 0

    run(asks())


# slow clients


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_lane, "_SWEEP_S", 0.05)
    for name in ("REQUEST_READ_S_MAX", "ANSWER_READ_S_MAX", "KEEP_ALIVE_S"):
        monkeypatch.setattr(limits, name, 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("cut", [1, 30, -1], ids=["request line", "header", "body"])
def test_a_request_that_does_not_end_is_told_so_and_closed(run: Run, cut: int) -> None:
    async def slow() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            client.write(post())
            await client.answer()
            client.write(post()[:cut])
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"\r\nConnection: close\r\n" in answer
            assert b'"RequestTimeoutException"' in answer

    run(slow())


@pytest.mark.usefixtures("impatient")
def test_bytes_that_trickle_in_do_not_prolong_a_request(run: Run) -> None:
    async def trickle() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            client.write(post(b" " * 10_000)[:-9_999])
            await until(lambda: port.lanes.count == 1)
            async with asyncio.timeout(20):
                while port.lanes.count:
                    client.write(b" ")
                    await asyncio.sleep(0.02)
            assert port.metrics.fast_lane_requests == 0

    run(trickle())


@pytest.mark.usefixtures("impatient")
def test_a_connection_without_a_request_is_closed(run: Run) -> None:
    async def idle() -> None:
        async with opened(echo) as port:
            fresh, used = await port.connect(), await port.connect()
            used.write(post())
            await used.answer()
            assert await fresh.rest() == b""
            assert await used.rest() == b""
            await until(lambda: port.lanes.count == 0)

    run(idle())


@pytest.mark.usefixtures("impatient")
def test_aiohttps_connections_end_too_when_a_header_does_not(run: Run) -> None:
    async def slow() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            client.write(b"GET /healthz HTTP/1.1\r\nX-A: ")
            await until(lambda: not port.lanes._lanes)
            assert port.lanes.count == 1
            await client.rest()
            await until(lambda: port.lanes.count == 0)

    run(slow())


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_takes_long_ends_nothing(run: Run) -> None:
    async def long(caller: Caller, body: bytes) -> bytes:
        await asyncio.sleep(0.6)
        return body

    async def wait() -> None:
        async with opened(long) as port:
            client = await port.connect()
            client.write(post(b"late"))
            assert body_of(await client.answer()) == b"late"

    run(wait())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("headers", [b"", TO_AIOHTTP], ids=["lane", "aiohttp"])
def test_a_client_that_does_not_read_its_answers_is_dropped(run: Run, headers: bytes) -> None:
    asked = 0

    async def large(caller: Caller, body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return b"x" * 1_000_000

    async def deaf() -> None:
        async with opened(large) as port:
            client = await port.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.write(post(headers=headers) * 100)
            await until(lambda: asked > 0)
            await until(lambda: port.lanes.count == 0)
            assert asked < 100

    run(deaf())


# bounds


def test_what_is_sent_ahead_is_not_read_before_its_turn(run: Run) -> None:
    async def ahead() -> None:
        go = asyncio.Event()

        async def wait(caller: Caller, body: bytes) -> bytes:
            await go.wait()
            return b""

        async with opened(wait) as port:
            client = await port.connect()
            request = post(b" " * 10_000)
            client.write(request * 2000)
            await until(lambda: port.metrics.fast_lane_requests == 1)
            (lane,) = port.lanes._lanes
            await until(lambda: lane._reading_paused)
            # One read more than the bound: 256 KiB is what either loop reads at most.
            assert lane._parser.buffered <= limits.FAST_LANE_AHEAD_BYTES_MAX + 262_144
            go.set()
            for _ in range(2000):
                assert status_of(await client.answer()) == 200

    run(ahead())


def test_reading_goes_on_after_a_hand_over(run: Run) -> None:
    async def ahead() -> None:
        go = asyncio.Event()

        async def wait(caller: Caller, body: bytes) -> bytes:
            await go.wait()
            return b""

        async with opened(wait) as port:
            client = await port.connect()
            client.write(post() + HEALTH * 5000)
            await until(lambda: port.metrics.fast_lane_requests == 1)
            (lane,) = port.lanes._lanes
            await until(lambda: lane._reading_paused)
            go.set()
            for _ in range(5001):
                assert status_of(await client.answer()) == 200

    run(ahead())


def test_answers_wait_while_a_client_does_not_read(run: Run) -> None:
    asked = 0

    async def large(caller: Caller, body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return b"x" * 1_000_000

    async def deaf() -> None:
        async with opened(large) as port:
            client = await port.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.write(post() * 40 + HEALTH)
            (lane,) = await taken(port)
            await until(lambda: lane._writing_paused)
            before = asked
            assert before < 40
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(40):
                assert len(body_of(await client.answer())) == 1_000_000
            assert body_of(await client.answer()) == b"ok\n"

    async def taken(port: Port) -> list[Any]:
        await until(lambda: port.lanes._lanes)
        return list(port.lanes._lanes)

    run(deaf())


def test_connections_are_counted_and_bounded(run: Run) -> None:
    async def crowd() -> None:
        async with opened(echo) as port:
            port.lanes.connections_max = 3
            clients = [await port.connect() for _ in range(3)]
            clients[0].write(HEALTH)
            await clients[0].answer()
            await until(lambda: port.lanes.count == 3)
            refused = await (await port.connect()).rest()
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"The hub has 3 connections and takes no more." in refused
            assert port.metrics.connections_refused == 1
            for client in clients:
                client.write(HEALTH)
                assert status_of(await client.answer()) == 200
            await clients[0].close()
            await until(lambda: port.lanes.count == 2)
            again = await port.connect()
            again.write(post())
            assert status_of(await again.answer()) == 200

    run(crowd())


# clients that go, and a hub that stops


def test_who_is_gone_is_not_waited_for(run: Run) -> None:
    cancelled: list[bool] = []

    async def receive(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return {}

    async def gone(half: bool) -> None:
        async with opened(echo, {"ReceiveMessage": receive}) as port:
            client = await port.connect()
            client.write(post(b'{"QueueUrl": "q"}', target="AmazonSQS.ReceiveMessage", service="sqs"))
            await until(lambda: port.metrics.fast_lane_requests == 1)
            if half:
                client.writer.write_eof()
            else:
                await client.close()
            await until(lambda: cancelled)
            await until(lambda: port.lanes.count == 0)

    run(gone(half=False))
    cancelled.clear()
    run(gone(half=True))


def test_what_came_before_the_end_is_answered_where_that_takes_no_wait(run: Run) -> None:
    async def last() -> None:
        async with opened(echo) as port:
            client = await port.connect()
            client.write(post(b"1") + post(b"2"))
            client.writer.write_eof()
            assert (await client.rest()).count(b"HTTP/1.1 200 OK") == 2

    run(last())


def test_a_reset_is_nobodys_error(run: Run) -> None:
    async def reset() -> None:
        async with opened(misbehave) as port:
            for _ in range(20):
                client = await port.connect()
                client.write(post(b"later ok") * 3)
                raw = client.writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                client.writer.transport.abort()
            await until(lambda: port.lanes.count == 0)
            assert port.metrics.api_errors == 0

    run(reset())


def test_a_hub_that_stops_finishes_what_it_has_begun(run: Run) -> None:
    async def stop() -> None:
        go = asyncio.Event()

        async def wait(caller: Caller, body: bytes) -> bytes:
            await go.wait()
            return b"done"

        async with opened(wait) as port:
            idle, busy, late = [await port.connect() for _ in range(3)]
            busy.write(post() * 2)
            await until(lambda: port.metrics.fast_lane_requests == 1)
            port.server.stop_intake()
            late.write(post())
            refused = await late.answer()
            assert (status_of(refused), b"The hub is stopping. Try again." in refused) == (503, True)
            closing = asyncio.ensure_future(port.server.close())
            assert await idle.rest() == b""
            go.set()
            answers = await busy.rest()
            await closing
            assert answers.count(b"HTTP/1.1 ") == 1
            assert answers.endswith(b"\r\nConnection: close\r\n\r\ndone")

    run(stop())


def test_a_hub_that_stops_lets_an_answer_be_read(run: Run) -> None:
    async def large(caller: Caller, body: bytes) -> bytes:
        return b"x" * 20_000_000

    async def stop() -> None:
        async with opened(large) as port:
            client = await port.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.write(post())
            await until(lambda: port.metrics.fast_lane_requests == 1)
            closing = asyncio.ensure_future(port.server.close())
            await asyncio.sleep(0.1)
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(body_of(await client.rest())) == 20_000_000
            await closing

    run(stop())


def test_a_hub_that_stops_does_not_wait_for_ever(run: Run) -> None:
    async def never(caller: Caller, body: bytes) -> bytes:
        await asyncio.sleep(3600)
        return b""

    async def stop() -> None:
        async with opened(never) as port:
            client = await port.connect()
            client.write(post())
            await until(lambda: port.metrics.fast_lane_requests == 1)
            await port.lanes.shutdown(0.05)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.answer()

    run(stop())


# an operation that runs without a task


def test_an_operation_waits_without_a_task(run: Run) -> None:
    tasks: list[object] = []

    async def waits(caller: Caller, body: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        for seconds in (0.0, 0.001, 0.002):
            future = loop.create_future()
            loop.call_later(seconds, future.set_result, None)
            await future
        failing = loop.create_future()
        loop.call_soon(failing.set_exception, ValidationException("no"))
        done: asyncio.Future[bytes] = loop.create_future()
        done.set_result(b"done")
        try:
            await failing
        except ValidationException:
            return await done
        return b"not refused"

    async def both() -> None:
        async with opened(waits) as port:
            client = await port.connect()
            client.write(post() * 3)
            for _ in range(3):
                assert body_of(await client.answer()) == b"done"
            assert tasks == [None] * 3

    run(both())


def test_an_operation_ends_when_its_client_has_gone(run: Run) -> None:
    async def gone() -> None:
        future = asyncio.get_running_loop().create_future()

        async def waits(caller: Caller, body: bytes) -> bytes:
            await future
            return b""

        async with opened(waits) as port:
            client = await port.connect()
            client.write(post() * 2)
            await until(lambda: port.metrics.fast_lane_requests == 1)
            await client.close()
            await until(lambda: port.lanes.count == 0)
            future.set_result(None)
            await until(lambda: port.metrics.requests == {("PutEvents", "ok"): 1})
            assert port.metrics.fast_lane_requests == 1

    run(gone())
