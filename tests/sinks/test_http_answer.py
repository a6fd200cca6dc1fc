"""Answers out of bytes: every split of what servers send, what is refused, and a second reading without llhttp."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sinks.http_answer import HEAD_BYTES_MAX, HEADERS_MAX, AnswerReader, BrokenAnswer, Heads, _framing
from router.sinks.http_messages import Response

BYTES_MAX = 1000


class Read(NamedTuple):
    """What a reader makes of a connection's bytes. `said`: "broken", "waits" or "answer"."""

    said: str
    status: int = 0
    body: bytes = b""
    keeps: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    truncated: bool = False


def read(
    parts: Iterable[bytes],
    *,
    only_head: bool = False,
    bytes_max: int = BYTES_MAX,
    closed: bool = False,
    heads: Heads | None = None,
) -> Read:
    """Feed the parts until there is an answer; parts after it are what follows it."""
    reader = AnswerReader(heads or Heads())
    reader.begin(only_head=only_head, body_bytes_max=bytes_max)
    response: Response | None = None
    rest = list(parts)
    try:
        while rest and response is None:
            response = reader.feed(rest.pop(0))
    except BrokenAnswer:
        return Read("broken")
    keeps = reader.keeps and not any(rest)
    if response is None and closed:
        response, keeps = reader.end(), False
    if response is None:
        return Read("waits")
    headers = tuple(sorted(response.headers.items()))
    return Read("answer", response.status, response.body, keeps, headers, response.truncated)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
RECORDED = {
    "length": OK + b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    "no body": b"HTTP/1.1 204 No Content\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + EMPTY,
    "chunked": CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
    "chunked with trailers": CHUNKED + b"A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nStatus: 500\r\n\r\n",
    "closing": OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "old and kept": b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
    "without a reason": b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n",
    "with a long body": OK + b"Content-Length: 2000\r\n\r\n" + b"x" * 2000,
    "with a long chunk": CHUNKED + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n",
    "followed": OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    "chunked and followed": CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "broken": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "chunks broken": CHUNKED + b"5\r\nhelloX",
}


@pytest.mark.parametrize("name", RECORDED)
def test_every_split_is_read_like_the_whole(name: str) -> None:
    data = RECORDED[name]
    whole = read([data])
    assert read([bytes([byte]) for byte in data]) == whole
    for cut in range(len(data) + 1):
        assert read([data[:cut], data[cut:]]) == whole, cut


@pytest.mark.parametrize("name", RECORDED)
def test_no_part_of_an_answer_is_the_answer(name: str) -> None:
    """But for its end, and for a body that is longer than wanted."""
    data = RECORDED[name]
    whole = read([data])
    for cut in range(len(data)):
        got = read([data[:cut]])
        assert got.said == "waits" or whole.said == "broken" or got[:3] == whole[:3], cut


def test_what_answers_say() -> None:
    assert read([RECORDED["length"]])[1:4] == (200, b"hello", True)
    assert read([RECORDED["no body"]])[1:4] == (204, b"", True)
    assert read([RECORDED["not modified"]])[1:4] == (304, b"", True)
    assert read([RECORDED["interim"]])[1:5] == (200, b"", True, (("content-length", "0"),))
    assert read([RECORDED["chunked"]])[1:4] == (200, b"hello world", True)
    assert read([RECORDED["chunked with trailers"]])[4] == (("transfer-encoding", "chunked"),)
    assert read([RECORDED["closing"]])[1:4] == (200, b"ok", False)
    assert read([RECORDED["old"]])[1:4] == (200, b"ok", False)
    assert read([RECORDED["old and kept"]])[1:4] == (200, b"ok", True)
    assert read([RECORDED["with a long body"]])[2:] == (b"x" * 1000, False, (("content-length", "2000"),), True)
    assert read([RECORDED["with a long chunk"]])[5] is True


def test_answer_to_head_has_no_body() -> None:
    head = OK + b"Content-Length: 5\r\n\r\n"
    assert read([head], only_head=True)[:4] == ("answer", 200, b"", True)
    assert read([head + b"hello"], only_head=True)[:4] == ("answer", 200, b"", False)
    assert read([CHUNKED], only_head=True)[:4] == ("answer", 200, b"", True)


def test_switched_protocol_ends_the_connections_use() -> None:
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    assert read([upgrade])[:4] == ("answer", 101, b"", False)
    assert read([upgrade + b"anything"])[:4] == ("answer", 101, b"", False)
    assert read([b"HTTP/1.1 101 \r\n\r\n"])[:4] == ("answer", 101, b"", False)


@pytest.mark.parametrize("start", [OK + b"A: b\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_body_without_a_length_ends_with_the_connection(start: bytes) -> None:
    assert read([start, b"some", b" more"]).said == "waits"
    assert read([start, b"some", b" more"], closed=True)[1:4] == (200, b"some more", False)
    assert read([start], closed=True)[1:4] == (200, b"", False)
    assert read([start + b"x" * 1001]).truncated


@pytest.mark.parametrize("data", [b"", OK, OK + b"Content-Length: 5\r\n\r\nhell", CHUNKED + b"5\r\nhello\r\n"])
def test_answer_that_is_cut_off_is_none(data: bytes) -> None:
    assert read([data], closed=True).said == "waits"


def test_body_at_the_bound_is_whole() -> None:
    for data in (OK + b"Content-Length: 5\r\n\r\nhello", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"):
        assert read([data], bytes_max=5)[2:6] == (b"hello", True, read([data]).headers, False)
        assert read([data], bytes_max=4)[2:6] == (b"hell", False, read([data]).headers, True)
        assert read([data], bytes_max=0).truncated


REFUSED = {
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "the same length twice": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "a list of lengths": OK + b"Content-Length: 1, 1\r\n\r\nx",
    "a signed length": OK + b"Content-Length: +1\r\n\r\nx",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": OK + b"Content-Length: 0x1\r\n\r\nx",
    "a length with a line feed": OK + b"Content-Length: 1\n\r\n\r\nx",
    "an empty length": OK + b"Content-Length:\r\n\r\n",
    "a length beyond all": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length and a coding": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding and a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an identity coding": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "a coding with a tab": OK + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a folded line with a tab": OK + b"A: b\r\n\tc\r\nContent-Length: 0\r\n\r\n",
    "a folded length": OK + b"Content-Length:\r\n 5\r\n\r\nhello",
    "a first line that is folded": OK + b" A: b\r\n\r\n",
    "NUL in a value": OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "NUL in a name": OK + b"A\0: b\r\nContent-Length: 0\r\n\r\n",
    "a control character": OK + b"A: b\x1fc\r\nContent-Length: 0\r\n\r\n",
    "DEL": OK + b"A: b\x7fc\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "one bare line feed": OK + b"A: b\nContent-Length: 5\r\n\r\nhello",
    "a bare carriage return": OK + b"A: b\rContent-Length: 5\r\n\r\nhello",
    "a space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "a line without a colon": OK + b"Content-Length\r\n\r\n",
    "a header without a name": OK + b": b\r\n\r\n",
    "another protocol": b"SSH-2.0-hello\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "an old version": b"HTTP/0.9 200 OK\r\n\r\n",
    "a version of letters": b"HTTP/1.x 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "an empty line first": b"\r\n" + EMPTY,
    "a chunk's size with a sign": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size with a space": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "a chunk's size beyond all": CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than it says": CHUNKED + b"4\r\nhello\r\n0\r\n\r\n",
    "a chunk ended by a line feed": CHUNKED + b"5\nhello\n0\n\n",
    "a chunk's data ended by a line feed": CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "a trailer that is folded": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_answer_whose_end_could_be_doubted_is_refused(name: str) -> None:
    data = REFUSED[name]
    assert read([data]).said == "broken"
    assert read([bytes([byte]) for byte in data]).said == "broken"


@pytest.mark.parametrize(
    ("lengths", "codings"),
    [
        (["1", "1"], []),
        (["1"], ["chunked"]),
        (["+1"], []),
        (["1_0"], []),
        (["١"], []),
        ([""], []),
        (["1" * 16], []),
        ([], ["chunked", "chunked"]),
        ([], ["gzip, chunked"]),
        ([], ["identity"]),
    ],
)
def test_framing_is_judged_without_llhttp_too(lengths: list[str], codings: list[str]) -> None:
    with pytest.raises(BrokenAnswer):
        _framing(200, True, lengths, codings)


@pytest.mark.parametrize("more", [b"\r\n", b"\n", b"\r", b"x", b"\0", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", EMPTY])
@pytest.mark.parametrize("name", ["length", "no body", "interim", "chunked", "chunked with trailers"])
def test_what_follows_an_answer_ends_the_connections_use(name: str, more: bytes) -> None:
    whole = read([RECORDED[name]])
    assert whole.keeps
    assert read([RECORDED[name] + more]) == whole._replace(keeps=False)


@pytest.mark.parametrize("extra", [0, 1])
def test_heads_are_bounded(extra: int) -> None:
    def head(size: int) -> bytes:
        return OK + b"A: " + b"b" * (size - len(OK) - 26) + b"\r\nContent-Length: 0\r\n\r\n"

    said = "answer" if not extra else "broken"
    assert len(head(HEAD_BYTES_MAX)) == HEAD_BYTES_MAX
    assert read([head(HEAD_BYTES_MAX + extra)]).said == said
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert read([interim, head(HEAD_BYTES_MAX - len(interim) + extra)]).said == said
    lines = b"".join(b"A-%d: b\r\n" % number for number in range(HEADERS_MAX - 1 + extra))
    assert read([OK + b"Content-Length: 0\r\n" + lines + b"\r\n"]).said == said


def test_head_that_never_ends_is_refused_while_it_comes() -> None:
    assert read([OK + b"A: ", *[b"b" * 1024] * (HEAD_BYTES_MAX // 1024)]).said == "broken"
    assert read([b"HTTP/1.1 100 Continue\r\n\r\n"] * (HEAD_BYTES_MAX // 25 + 1)).said == "broken"


def test_what_comes_between_chunks_is_bounded() -> None:
    assert read([CHUNKED, b"5;", *[b"a" * 1024] * (HEAD_BYTES_MAX // 1024 + 1)]).said == "broken"
    assert read([CHUNKED, b"0\r\nA: ", *[b"a" * 1024] * (HEAD_BYTES_MAX // 1024 + 1)]).said == "broken"
    assert read([CHUNKED, b"0\r\n" + b"A: b\r\n" * (HEADERS_MAX + 2)]).said == "broken"


def test_reader_goes_on_with_the_next_answer() -> None:
    reader = AnswerReader(Heads())
    for name in ("length", "chunked", "no body", "interim", "chunked with trailers", "length"):
        reader.begin(only_head=False, body_bytes_max=BYTES_MAX)
        started = reader.started
        response = reader.feed(RECORDED[name])
        assert (started, reader.started) == (False, True)
        assert response is not None
        assert (response.status, response.body) == read([RECORDED[name]])[1:3]
        assert reader.keeps


def test_remembered_heads_are_bounded_and_read_as_new_ones() -> None:
    heads = Heads()
    for number in range(2000):
        data = OK + b"X-Id: %d\r\nContent-Length: 1\r\n\r\nx" % number
        assert read([data], heads=heads) == read([data], heads=heads) == read([data])
    assert len(heads._read) <= 256
    long = OK + b"A: %s\r\nContent-Length: 0\r\n\r\n" % (b"b" * 2000)
    assert read([long], heads=heads).said == "answer"
    assert long not in heads._read


def test_name_is_in_lower_case_and_the_last_value_counts() -> None:
    got = read([OK + b"X-A: 1\r\nx-a:\t2 \r\nX-Other: \xc3\xa9\r\nContent-Length: 0\r\n\r\n"])
    assert dict(got.headers) == {"x-a": "2", "x-other": "é", "content-length": "0"}


# A second reading, from RFC 9112 alone: no parser's code, whole bytes only.

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]*)?")


def second_reading(data: bytes) -> Read:
    """Of a connection that stays open. "waits" also where it cannot tell yet."""
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return Read("waits")
        first, *lines = head.split(b"\r\n")
        status_line = _STATUS.fullmatch(first)
        pairs = [_LINE.fullmatch(line) for line in lines]
        if status_line is None or None in pairs:
            return Read("broken")
        status = int(status_line[2])
        if status == 101 or status >= 200:
            break
        data = rest
    fields = [(pair[1].decode().lower(), pair[2].decode("utf-8", "surrogateescape")) for pair in pairs if pair]
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
    options = {one.strip().lower() for name, value in fields if name == "connection" for one in value.split(",")}
    newest = status_line[1] == b"1"
    keeps = status != 101 and "close" not in options and (newest or "keep-alive" in options)
    if len(lengths) + len(codings) > 1 or not all(re.fullmatch("[0-9]{1,15}", one) for one in lengths):
        return Read("broken")
    if codings and (codings != ["chunked"] or not newest):
        return Read("broken")
    if status in (101, 204, 304):
        body, left = b"", rest
    elif lengths:
        body, left = rest[: int(lengths[0])], rest[int(lengths[0]) :]
        if len(body) < int(lengths[0]):
            return Read("waits")
    elif codings:
        found = unchunked(rest)
        if isinstance(found, str):
            return Read(found)
        body, left = found
    else:
        return Read("waits")
    return Read("answer", status, body, keeps and not left, tuple(sorted(dict(fields).items())))


def unchunked(rest: bytes) -> tuple[bytes, bytes] | str:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return "waits"
        size = _SIZE.fullmatch(line)
        if size is None:
            return "broken"
        length = int(size[1], 16)
        if not length:
            break
        if len(rest) < length + 2:
            return "waits"
        if rest[length : length + 2] != b"\r\n":
            return "broken"
        body, rest = body + rest[:length], rest[length + 2 :]
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return "waits"
        if not line:
            return body, rest
        if _LINE.fullmatch(line) is None:
            return "broken"


PIECES = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.0 500 Oh\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 \r\n", b"HTTP/1.1 304 X\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
    b"content-length:3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, x\r\n", b"X-A: b\r\n", b" folded\r\n", b"\r\n", b"\r\n", b"hello", b"5\r\nhello\r\n",
    b"0\r\n\r\n", b"0\r\n", b"3;x=y\r\nabc\r\n", b"\r", b"\n", b"\0", b": ", b"abc",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Answers, and what looks almost like one: pieces in any order, some with bytes changed."""
    if draw(st.booleans()):
        data = draw(st.sampled_from(list(RECORDED.values())))
        data += draw(st.sampled_from([b"", b"", b"", b"\r\n", b"x", EMPTY]))
    else:
        chosen = draw(st.lists(st.sampled_from(PIECES), max_size=8))
        data = draw(st.sampled_from(PIECES[:6])) + b"".join(chosen)
    for _ in range(draw(st.integers(0, 2))):
        where = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from([b"\r", b"\n", b"\0", b" ", b":", b"0", b"\xff", b"\t", b"", b"\r\n"]))
        data = data[:where] + what + data[where + draw(st.integers(0, 1)) :]
    return data


@given(texts(), st.lists(st.integers(0, 200), max_size=4))
def test_two_readings_agree_on_every_answer(data: bytes, cuts: Sequence[int]) -> None:
    """What is taken for an answer is the answer that the other reading finds, however its bytes come; and what the
    other finds is taken, but for what is refused out of caution."""
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    mine = read([data[start:end] for start, end in itertools.pairwise(bounds)], bytes_max=10_000)
    whole = read([data], bytes_max=10_000)
    other = second_reading(data)
    assert mine == whole
    if mine.said == "answer":
        assert mine == other
    if other.said == "answer":
        assert mine.said in ("answer", "broken")


@given(st.binary(max_size=300), st.sampled_from([b"", OK, CHUNKED, b"HTTP/1.1 "]))
def test_no_bytes_do_anything_but_wait_break_or_answer(data: bytes, start: bytes) -> None:
    whole = read([start + data])
    assert whole == read([start, *(bytes([byte]) for byte in data)])
