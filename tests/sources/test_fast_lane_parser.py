"""The fast lane's reader: it gives a request only where nothing about it is in doubt, however the bytes come, and
aiohttp's own parser reads the same in it."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given
from hypothesis import strategies as st

from router import limits
from router.sources.fast_lane_parser import FastLaneParser, Request, Verdict

TARGET = "AWSEvents.PutEvents"
HEADERS = (
    b"Host: hub\r\nX-Amz-Target: AWSEvents.PutEvents\r\nContent-Type: application/x-amz-json-1.1\r\n"
    b"User-Agent: a b/1 (c; d)\r\nX-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4 x=1, y=2\r\n"
)
LINE = b"POST / HTTP/1.1\r\n"
# A request that a smuggler would have in a body, or behind one.
SMUGGLED = LINE + HEADERS + b"Content-Length: 2\r\n\r\n{}"


def message(body: bytes = b"{}", *, headers: bytes = HEADERS) -> bytes:
    return LINE + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def read(data: bytes, *cuts: int) -> tuple[list[Request], Verdict, bytes]:
    """The requests in data that comes in pieces, the last verdict, and what is unread."""
    parser = FastLaneParser({TARGET})
    requests = []
    verdict = Verdict.WAIT
    places = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        parser.feed(data[start:end])
        if verdict is Verdict.HAND_OVER:
            continue  # a connection that is handed over gets nothing more; here it only collects
        while isinstance(found := parser.next(), Request):
            requests.append(found)
        verdict = found
    return requests, verdict, parser.unread


def test_a_request_is_read_whole() -> None:
    requests, verdict, unread = read(message(b'{"Entries": []}'))
    (request,) = requests
    assert (request.target, request.body, verdict, unread) == (TARGET, b'{"Entries": []}', Verdict.WAIT, b"")
    assert request.headers == {
        "host": "hub",
        "x-amz-target": TARGET,
        "content-type": "application/x-amz-json-1.1",
        "user-agent": "a b/1 (c; d)",
        "x-amz-date": "20260101T000000Z",
        "authorization": "AWS4 x=1, y=2",
        "content-length": "15",
    }


def test_byte_by_byte_is_the_same() -> None:
    data = message(b'{"a": 1}') + message(b"{}") + b"GET / HTTP/1.1\r\n"
    assert read(data, *range(1, len(data))) == read(data)
    requests, verdict, unread = read(data)
    assert [request.body for request in requests] == [b'{"a": 1}', b"{}"]
    assert (verdict, unread) == (Verdict.HAND_OVER, b"GET / HTTP/1.1\r\n")


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=300), max_size=4),
    tail=st.sampled_from([b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n", b"\x00", SMUGGLED[:-1]]),
    cuts=st.lists(st.integers(0, 2500), max_size=12),
)
def test_however_it_is_cut_the_same_is_read(bodies: list[bytes], tail: bytes, cuts: list[int]) -> None:
    data = b"".join(map(message, bodies)) + tail
    requests, verdict, unread = read(data, *(cut for cut in cuts if cut < len(data)))
    assert [request.body for request in requests] == bodies
    assert unread == tail
    assert verdict is (Verdict.HAND_OVER if tail and tail != SMUGGLED[:-1] else Verdict.WAIT)


def test_a_body_is_not_looked_into() -> None:
    requests, verdict, _ = read(message(SMUGGLED) + message(b"\r\n\r\n"))
    assert [request.body for request in requests] == [SMUGGLED, b"\r\n\r\n"]
    assert verdict is Verdict.WAIT


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive"])
def test_a_connection_that_is_to_stay_may_say_so(value: bytes) -> None:
    assert len(read(message(headers=HEADERS + b"Connection: " + value + b"\r\n"))[0]) == 1


def test_space_around_a_value_is_no_part_of_it() -> None:
    (request,), _, _ = read(message(headers=HEADERS + b"X-A:   b c  \r\nX-Empty:\r\n"))
    assert (request.headers["x-a"], request.headers["x-empty"]) == ("b c", "")


NOT_FOR_THE_LANE = {
    "another method": b"PUT" + SMUGGLED[4:],
    "method in lower case": b"post" + SMUGGLED[4:],
    "another path": SMUGGLED.replace(b"POST / ", b"POST /111111111111/q "),
    "query": SMUGGLED.replace(b"POST / ", b"POST /?a=b "),
    "absolute path": SMUGGLED.replace(b"POST / ", b"POST http://hub/ "),
    "HTTP/1.0": SMUGGLED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.10": SMUGGLED.replace(b"HTTP/1.1", b"HTTP/1.10"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "empty line before": b"\r\n" + SMUGGLED,
    "two spaces": SMUGGLED.replace(b"POST / ", b"POST  / "),
    "tab": SMUGGLED.replace(b"POST / ", b"POST\t/ "),
    "another operation": SMUGGLED.replace(b"PutEvents", b"ListRules"),
    "no operation": SMUGGLED.replace(b"X-Amz-Target", b"X-Amz-Targe"),
    "operation in lower case": SMUGGLED.replace(b"AWSEvents.PutEvents", b"awsevents.putevents"),
    "operation twice": message(headers=HEADERS + b"X-Amz-Target: AWSEvents.PutEvents\r\n"),
    "a header twice": message(headers=HEADERS + b"X-A: 1\r\nx-a: 1\r\n"),
    "no Host": SMUGGLED.replace(b"Host: hub\r\n", b""),
    "two Hosts": message(headers=HEADERS + b"Host: other\r\n"),
    "no length": LINE + HEADERS + b"\r\n{}",
    "length 0": LINE + HEADERS + b"Content-Length: 0\r\n\r\n",
    "Expect": message(headers=HEADERS + b"Expect: 100-continue\r\n"),
    "Upgrade": message(headers=HEADERS + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "Upgrade without Connection": message(headers=HEADERS + b"Upgrade: h2c\r\n"),
    "Connection: close": message(headers=HEADERS + b"Connection: close\r\n"),
    "Connection names a header": message(headers=HEADERS + b"Connection: keep-alive, Content-Length\r\n"),
    "compressed": message(headers=HEADERS + b"Content-Encoding: gzip\r\n"),
    "trailers": message(headers=HEADERS + b"Trailer: X-A\r\n"),
    "header of many bytes": message(headers=HEADERS + b"X-A: " + b"a" * 8192 + b"\r\n"),
    "head without end": LINE + b"X-A: " + b"a" * 8192,
    "many headers": message(headers=HEADERS + b"".join(b"X-%d: a\r\n" % number for number in range(60))),
    "too long": LINE + HEADERS + b"Content-Length: 4194305\r\n\r\n",
    "as long as no number": LINE + HEADERS + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
}
SMUGGLING = {
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunks alone": b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks, folded": b"Content-Length: 4\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "chunks, space before the colon": b"Content-Length: 4\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks, a tab": b"Content-Length: 4\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "chunks, a vertical tab": b"Content-Length: 4\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks, a control character": b"Content-Length: 4\r\nTransfer-Encoding: \x01chunked\r\n\r\n0\r\n\r\n",
    "chunks, misspelt": b"Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks, named oddly": b"Content-Length: 4\r\nTransfer_Encoding\x00: chunked\r\n\r\n0\r\n\r\n",
    "chunks, quoted": b'Content-Length: 4\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunks, twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "identity": b"Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "one length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "lengths in a list": b"Content-Length: 2, 2\r\n\r\n{}",
    "length with a plus": b"Content-Length: +2\r\n\r\n{}",
    "length with a minus": b"Content-Length: -2\r\n\r\n{}",
    "length in hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "length with zeros": b"Content-Length: 002\r\n\r\n{}",
    "length with a space in it": b"Content-Length: 0 2\r\n\r\n{}",
    "length with an underscore": b"Content-Length: 1_0\r\n\r\n{}",
    "length with a fraction": b"Content-Length: 2.0\r\n\r\n{}",
    "length in other digits": "Content-Length: \u0662\r\n\r\n{}".encode(),
    "length with a tab": b"Content-Length:\t2\r\n\r\n{}",
    "length without a value": b"Content-Length:\r\n\r\n{}",
    "length, folded": b"Content-Length:\r\n 2\r\n\r\n{}",
    "length, space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "length, space before the name": b" Content-Length: 2\r\n\r\n{}",
    "length, with a NUL": b"Content-Length: 2\x00\r\n\r\n{}",
    "a folded header": b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "a header folded with a tab": b"X-A: b\r\n\tc\r\nContent-Length: 2\r\n\r\n{}",
    "bare line feed": b"X-A: b\nContent-Length: 2\r\n\r\n{}",
    "bare line feeds at the end": b"Content-Length: 2\n\n{}",
    "bare carriage return": b"X-A: b\rContent-Length: 9\r\nContent-Length: 2\r\n\r\n{}",
    "carriage return twice": b"Content-Length: 2\r\r\n\r\n{}",
    "line feed before carriage return": b"X-A: b\n\rContent-Length: 2\r\n\r\n{}",
    "NUL in a value": b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in a name": b"X-\x00A: b\r\nContent-Length: 2\r\n\r\n{}",
    "a byte that is not ASCII": b"X-A: \xff\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"X-A\r\nContent-Length: 2\r\n\r\n{}",
    "no name": b": b\r\nContent-Length: 2\r\n\r\n{}",
    "a space in a name": b"X A: b\r\nContent-Length: 2\r\n\r\n{}",
    "a bracket in a name": b"X(A): b\r\nContent-Length: 2\r\n\r\n{}",
    "delete character": b"X-A: \x7f\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("data", NOT_FOR_THE_LANE.values(), ids=NOT_FOR_THE_LANE.keys())
def test_what_is_not_for_the_lane_is_handed_over_untouched(data: bytes) -> None:
    assert read(data) == ([], Verdict.HAND_OVER, data)
    assert read(data, *range(1, len(data)))[0] == []
    assert read(message() + data)[1:] == (Verdict.HAND_OVER, data)


@pytest.mark.parametrize("rest", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_framing_in_doubt_is_handed_over_with_all_that_follows(rest: bytes) -> None:
    data = LINE + HEADERS + rest + SMUGGLED
    assert read(data) == ([], Verdict.HAND_OVER, data)
    assert read(data, *range(1, len(data)))[:2] == ([], Verdict.HAND_OVER)
    assert read(message() + data)[1:] == (Verdict.HAND_OVER, data)


def test_a_head_may_be_as_long_as_its_bound() -> None:
    fixed = len(message(b"{}", headers=HEADERS + b"X-A: \r\n")) - 2
    for length, verdict in ((limits.FAST_LANE_HEAD_BYTES_MAX - fixed, Verdict.WAIT), (8192, Verdict.HAND_OVER)):
        requests, found, _ = read(message(headers=HEADERS + b"X-A: " + b"a" * length + b"\r\n"))
        assert (len(requests), found) == (verdict is Verdict.WAIT, verdict)


def test_a_body_may_be_as_long_as_its_bound() -> None:
    body = b" " * limits.REQUEST_BODY_BYTES_MAX
    (request,), _, _ = read(message(body), 100, 1000, 2_000_000)
    assert request.body == body


def test_what_is_buffered_is_counted() -> None:
    parser = FastLaneParser({TARGET})
    data = message(b"{}")
    parser.feed(data + data[:10])
    assert parser.buffered == len(data) + 10
    assert isinstance(parser.next(), Request)
    assert (parser.buffered, parser.target) == (10, None)
    parser.feed(data[10:-1])
    assert parser.next() is Verdict.WAIT
    assert (parser.buffered, parser.target) == (len(data) - 1, TARGET)


# aiohttp reads the same in it


class _Protocol(asyncio.Protocol):
    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


def aiohttp_reads(data: bytes) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Method, path, headers and body of every message in it. Raises HttpProcessingError."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(_Protocol(), loop, 2**16, auto_decompress=False)  # type: ignore[arg-type]
        messages, _, _ = parser.feed_data(data)
        for head, payload in messages:
            body = b"".join(getattr(payload, "_buffer", ()))
            headers = {name.lower(): value for name, value in head.headers.items()}
            assert len(headers) == len(head.headers)
            yield head.method, head.path, headers, body
    finally:
        loop.close()


@given(
    head=st.lists(
        st.tuples(
            st.integers(0, len(LINE + HEADERS) + 20),
            st.sampled_from(
                [b"", b" ", b"\r", b"\n", b"\r\n", b"\x00", b":", b"\t", b"\x80", b"a", b"0", b",", b"\r\n "]
            ),
            st.booleans(),
        ),
        max_size=3,
    ),
    extra=st.sampled_from([b"", *[line.partition(b"\r\n\r\n")[0] + b"\r\n" for line in SMUGGLING.values()]]),
)
def test_what_the_lane_takes_aiohttp_reads_the_same(head: list[tuple[int, bytes, bool]], extra: bytes) -> None:
    data = LINE + HEADERS + extra + b"Content-Length: 12\r\n\r\n"
    for place, put, instead in head:
        data = data[:place] + put + data[place + instead :]
    data += b"0\r\n\r\n" + b"abcdefg" + message(b"[]")
    requests, _, unread = read(data)
    try:
        expected = list(aiohttp_reads(data[: len(data) - len(unread)])) if requests else []
    except HttpProcessingError as error:
        pytest.fail(f"the lane took what aiohttp refuses: {error} in {data!r}")
    assert [("POST", "/", request.headers, request.body) for request in requests] == expected
