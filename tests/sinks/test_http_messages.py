"""A request's bytes: what is sent, and what never is."""

import pytest

from router.sinks.http_messages import HttpFault, Origin, head_of, split

URL = "http://orders.example/hook"


def sent(method: str = "POST", url: str = URL, body: bytes = b"", **headers: str) -> bytes:
    return (
        head_of(method, url, {name.replace("_", "-"): value for name, value in headers.items()})
        .request(body, timeout_s=5)
        .data
    )


def test_request_is_its_line_its_headers_and_its_body() -> None:
    assert sent(body=b"body", X_A="é", B="") == (
        b"POST /hook HTTP/1.1\r\nHost: orders.example\r\nX-A: \xc3\xa9\r\nB: \r\nContent-Length: 4\r\n\r\nbody"
    )


def test_length_is_the_bodys_whatever_the_headers_say() -> None:
    assert sent(body=b"body", content_length="7").count(b"7") == 0
    assert sent(body=b"body", content_length="7").endswith(b"\r\nContent-Length: 4\r\n\r\nbody")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_method_without_a_body_says_no_length(method: str) -> None:
    assert b"Content-Length" not in sent(method)
    assert sent(method, body=b"x").endswith(b"Content-Length: 1\r\n\r\nx")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_method_says_that_it_has_no_body(method: str) -> None:
    assert sent(method).endswith(b"Content-Length: 0\r\n\r\n")


def test_host_that_is_given_is_sent_once() -> None:
    assert sent(host="other.example").lower().count(b"host:") == 1


@pytest.mark.parametrize(
    ("url", "origin", "host", "target"),
    [
        ("http://a", Origin(False, "a", 80), "a", "/"),
        ("HTTP://A:80/", Origin(False, "a", 80), "a", "/"),
        ("https://a:443/b", Origin(True, "a", 443), "a", "/b"),
        ("https://a:80/b?c", Origin(True, "a", 80), "a:80", "/b?c"),
        ("http://a:/b", Origin(False, "a", 80), "a", "/b"),
        ("http://a?b=/c", Origin(False, "a", 80), "a", "/?b=/c"),
        ("http://a/?", Origin(False, "a", 80), "a", "/?"),
        ("http://a/b//c/../%2F?#part", Origin(False, "a", 80), "a", "/b//c/../%2F?"),
        ("http://a.example.:8080/", Origin(False, "a.example.", 8080), "a.example:8080", "/"),
        ("http://[::1]:8080/", Origin(False, "::1", 8080), "[::1]:8080", "/"),
        ("http://127.0.0.1/a@b", Origin(False, "127.0.0.1", 80), "127.0.0.1", "/a@b"),
    ],
)
def test_url_is_split(url: str, origin: Origin, host: str, target: str) -> None:
    assert split(url) == (origin, host, target)


@pytest.mark.parametrize(
    "url",
    [
        "", "a", "/a", "//a/b", "ftp://a/", "http:/a", "http:///b", "http://:80/", "http://a:0/", "http://a:65536/",
        "http://a:-1/", "http://a:8a/", "http://[::1/", "http://::1/", "http://a b/", "http://a/b c",
        "http://a/\r\nX: y",
        "http://a/\0", "http://é.example/", "http://a/é", "http://u:p@a/", "http://a\\@b/", "http://a%2fb/", "http://./",
        "http://[::1%25eth0]/", "http://a,b/", " http://a/",
    ],
)  # fmt: skip
def test_url_that_is_not_plain_is_invalid(url: str) -> None:
    with pytest.raises(HttpFault) as caught:
        split(url)
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "b\r\nC: d"), ("A", "b\nC: d"), ("A", "b\r"), ("A", "\0"), ("A", "\x7f"), ("A", "\ud800"),
        ("A:", "b"), ("A ", "b"), ("", "b"), ("A\r\nB", "c"), ("é", "b"), ("Transfer-Encoding", "chunked"),
    ],
)  # fmt: skip
def test_header_that_could_be_another_is_invalid(name: str, value: str) -> None:
    with pytest.raises(HttpFault) as caught:
        head_of("POST", URL, {name: value})
    assert caught.value.kind == "invalid"


def test_two_spellings_of_a_header_are_invalid() -> None:
    with pytest.raises(HttpFault):
        head_of("POST", URL, {"X-A": "1", "x-a": "2"})


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "GET /x HTTP/1.1\r\nX:"])
def test_method_that_is_no_word_is_invalid(method: str) -> None:
    with pytest.raises(HttpFault):
        head_of(method, URL, {})


def test_no_repr_shows_what_a_request_holds() -> None:
    head = head_of("POST", URL + "?the-secret", {"A": "the-secret"})
    assert "secret" not in f"{head!r} {head.request(b'the-secret', timeout_s=5)!r}"
