"""The shared HTTP client: bounds, faults, and what it never does."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from router.sinks.http_client import FaultKind, HttpClient, HttpFault, Response
from router.sinks.http_dial import reason
from tests.sinks.fakes import always, hang, refused_url, reset, saying, serving, talking


class Names(AbstractResolver):
    """A name service that answers as told."""

    def __init__(self, answer: str | socket.gaierror) -> None:
        self.answer = answer

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if isinstance(self.answer, socket.gaierror):
            raise self.answer
        is_v6 = ":" in self.answer
        return [
            ResolveResult(
                hostname=host,
                host=self.answer,
                port=port,
                family=socket.AF_INET6 if is_v6 else socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def client(**settings: object) -> AsyncIterator[HttpClient]:
    made = HttpClient(**settings)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


async def get(made: HttpClient, url: str, *, timeout_s: float = 5.0, **more: int) -> Response:
    return await made.request("POST", url, headers={"X-A": "1"}, body=b"body", timeout_s=timeout_s, **more)


async def fault(url: str, *, timeout_s: float = 5.0, **settings: object) -> HttpFault:
    async with client(**settings) as made:
        with pytest.raises(HttpFault) as caught:
            await get(made, url, timeout_s=timeout_s)
    return caught.value


async def test_sends_just_the_given_headers_and_gives_the_answer() -> None:
    async with serving(always(418, "tea", X_B="2")) as server, client() as made:
        response = await get(made, server.url + "/a%2Fb/..%2F?q=%7E")
        [(method, path, headers, body)] = server.requests
    assert (response.status, response.body, response.headers["x-b"]) == (418, b"tea", "2")
    assert (method, path, body) == ("POST", "/a%2Fb/..%2F?q=%7E", b"body")
    assert sorted(headers) == ["content-length", "host", "x-a"]


async def test_connection_is_kept_alive_and_cookies_are_not_kept() -> None:
    ports = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        assert "Cookie" not in request.headers
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with serving(answer) as server, client() as made:
        for _ in range(3):
            assert (await get(made, server.url)).status == 200
    assert len(ports) == 1


async def test_answer_is_cut_off_at_the_bound() -> None:
    async with serving(always(200, b"x" * 100_000)) as server, client() as made:
        cut = await get(made, server.url, body_bytes_max=1000)
        whole = await get(made, server.url, body_bytes_max=100_000)
    assert (len(cut.body), cut.truncated) == (1000, True)
    assert (len(whole.body), whole.truncated) == (100_000, False)


async def test_compressed_answer_is_not_expanded() -> None:
    async with serving(always(200, b"not gzip", Content_Encoding="gzip")) as server, client() as made:
        assert (await get(made, server.url)).body == b"not gzip"


async def test_redirect_is_not_followed() -> None:
    async with serving(always(302, Location="/elsewhere")) as server, client() as made:
        assert (await get(made, server.url)).status == 302
        assert len(server.requests) == 1


async def test_silent_server_is_a_timeout() -> None:
    async with serving(hang) as server:
        assert (await fault(server.url, timeout_s=0.1)).kind == "timeout"


async def test_body_that_never_ends_is_a_timeout() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some")
        await asyncio.sleep(3600)
        return response

    async with serving(answer) as server:
        assert (await fault(server.url, timeout_s=0.1)).kind == "timeout"


async def test_nobody_listening_is_a_connect_fault() -> None:
    async with refused_url() as url:
        assert (await fault(url)).kind == "connect"


async def test_broken_connection_is_a_reset() -> None:
    async with serving(reset) as server:
        assert (await fault(server.url)).kind == "reset"


async def test_plain_http_where_tls_is_wanted_is_a_tls_fault() -> None:
    async with serving(always(200)) as server:
        assert (await fault(server.url.replace("http:", "https:"))).kind == "tls"


@pytest.mark.parametrize(
    ("code", "kind"), [(socket.EAI_NONAME, "dns"), (socket.EAI_FAIL, "dns"), (socket.EAI_AGAIN, "connect")]
)
async def test_name_without_address_is_told_from_a_name_service_that_is_away(code: int, kind: FaultKind) -> None:
    resolver = Names(socket.gaierror(code, "no"))
    assert (await fault("http://orders.example/", resolver=resolver)).kind == kind


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.1.1", "64:ff9b::a9fe:a9fe"]
)
async def test_name_of_a_link_local_address_is_forbidden(address: str) -> None:
    assert (await fault("http://orders.example/", resolver=Names(address))).kind == "forbidden"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
async def test_link_local_address_is_forbidden(host: str) -> None:
    assert (await fault(f"http://{host}/")).kind == "forbidden"


@pytest.mark.parametrize("url", ["http://2852039166/", "http://0xa9fea9fe/", "http://169.254.43518/"])
async def test_odd_spelling_of_an_address_is_not_called(url: str) -> None:
    assert (await fault(url, timeout_s=1)).kind in ("invalid", "forbidden", "dns", "connect")


async def test_answer_that_is_not_http_is_a_protocol_fault() -> None:
    async with talking(saying(b"SSH-2.0-hello\r\n\r\n")) as url:
        assert (await fault(url)).kind == "protocol"


@pytest.mark.parametrize("url", ["http://[half", "/no-host", "http://a:99999/"])
async def test_malformed_url_is_invalid(url: str) -> None:
    assert (await fault(url)).kind == "invalid"


async def test_malformed_header_is_invalid_and_not_sent() -> None:
    async with serving(always(200)) as server, client() as made:
        with pytest.raises(HttpFault) as caught:
            await made.request("GET", server.url, headers={"X-A": "b\r\nX-C: d"}, body=b"", timeout_s=5)
        assert server.requests == []
    assert caught.value.kind == "invalid"


async def test_fault_does_not_tell_the_url() -> None:
    resolver = Names(socket.gaierror(socket.EAI_NONAME, "no"))
    told = await fault("http://orders.example/?key=the-secret", resolver=resolver)
    assert "the-secret" not in f"{told!r} {told} {told.__cause__!r}"
    assert told.__suppress_context__


def test_errno_is_told_in_words() -> None:
    assert reason(OSError(errno.ECONNREFUSED, "http://x?secret")) == "Connection refused"
