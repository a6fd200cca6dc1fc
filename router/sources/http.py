"""The hub's HTTP server: AWS's APIs, service events, the hub's own API, health and metrics on one port.

A body is bounded before it is read. Health and metrics are open; everything else passes the authenticator first. The
access log is off: nothing is logged for a request that went well. Connections begin in the fast lane (`fast_lane`),
which hands over here whatever it does not answer itself. It must not know what an operation does.
"""

import asyncio
import logging
import re
import resource
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.http import HttpProcessingError

from router import limits, log
from router.api.hub import HubApi
from router.aws.service import Services, error_body
from router.aws.sigv4 import Authenticator
from router.core.event import Location
from router.errors import (
    ApiError,
    RequestTooLarge,
    ResourceNotFoundException,
    SerializationException,
    ServiceUnavailable,
    ValidationException,
)
from router.metrics import Metrics
from router.sources.calls import BodyUnread, Calls, RequestTimeout
from router.sources.fast_lane import FastLanes, hot_operations
from router.sources.intake import Intake, split_records
from router.sources.outcome import Refused, Taken, Withheld
from router.world import World

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

_AWS_EVENTS = re.compile(r"/aws-events/([^/]+)/([^/]+)")
_QUEUE_PATH = re.compile(r"/[0-9]{12}/[A-Za-z0-9_.-]{1,80}")
_HOST = re.compile(r"[A-Za-z0-9.\-_\[\]:]{1,255}")
_host: ContextVar[str] = ContextVar("host", default="127.0.0.1")
_encode = msgspec.json.Encoder().encode


class _Failure(msgspec.Struct):
    index: int
    code: str
    message: str


class _ServiceEventsAnswer(msgspec.Struct):
    accepted: int
    withheld: int
    failed: int
    failures: list[_Failure]
    """Why, for the first few of the failed ones."""


class HttpServer:
    """`failure` says why the hub is not ready, or None. `open_location` makes a location usable on first use or raises
    an ApiError."""

    def __init__(
        self,
        *,
        services: Services,
        authenticator: Authenticator,
        intake: Intake,
        hub_api: HubApi,
        metrics: Metrics,
        world: World,
        failure: Callable[[], str | None],
        open_location: Callable[[Location], None],
        aws_events: bool,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._intake = intake
        self._hub_api = hub_api
        self._metrics = metrics
        self._world = world
        self._failure = failure
        self._open_location = open_location
        self._aws_events = aws_events
        self._calls = Calls(authenticator=authenticator, open_location=open_location, metrics=metrics, world=world)
        self._stopping = False
        self._lanes: FastLanes | None = None
        self._runner: web.ServerRunner | None = None
        self.port = 0
        """The port it listens on; 0 before it does."""

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken (`port` 0 takes a free one). Raises OSError when the port is in use."""
        # A compressed body is refused, not decompressed: it could grow a thousandfold past the bound.
        # A client that has gone gets its handler cancelled, so that a long poll takes no message for nobody. What is on
        # its way to the disk gets there all the same.
        self._lanes = FastLanes(
            self._handle,
            hot=hot_operations(self._services),
            calls=self._calls,
            metrics=self._metrics,
            world=self._world,
            connections_max=_connections_max(),
            access_log=None,
            logger=_http_log,
            auto_decompress=False,
            keepalive_timeout=limits.KEEP_ALIVE_S,
            handler_cancellation=True,
        )
        self._runner = web.ServerRunner(self._lanes, handle_signals=False, shutdown_timeout=5.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self.port

    def base_url(self) -> str:
        """How the request in hand reached the hub, as its client wrote it: what the client is told to call again."""
        return f"http://{_host.get()}"

    @property
    def connections(self) -> int:
        """How many there are now."""
        return self._lanes.count if self._lanes is not None else 0

    def stop_intake(self) -> None:
        """Requests from now on are answered that the hub is stopping."""
        self._stopping = True
        if self._lanes is not None:
            self._lanes.taking = False

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except _ClientGone:
            return web.Response(status=499)
        except Exception as error:  # noqa: BLE001 - the outermost edge: a bug is loud here and 500 there
            return _refused(request, self._calls.refusal(error, method=request.method, path=request.path))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if request.method in ("GET", "HEAD") and path in _OPEN:
            return await _OPEN[path](self)
        if self._stopping:
            raise ServiceUnavailable("The hub is stopping. Try again.")
        body = await _read(request)
        if request.method == "POST" and (path == "/" or _QUEUE_PATH.fullmatch(path)):
            return await self._aws(request, body)
        match = _AWS_EVENTS.fullmatch(path)
        if match is not None and request.method == "POST":
            return await self._service_events(request, body, match[1], match[2])
        if path.startswith("/_hub/v1/"):
            self._admin(request, body)
            answer = await self._hub_api.call(request.method, path.removeprefix("/_hub/v1/"), request.query, body)
            return web.Response(body=answer, content_type="application/json")
        raise _NotFound(f"there is nothing at {request.method} {path[:200]}; AWS's APIs are at POST /")

    async def _aws(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        service, operation = self._services.find(request.headers, body, request.query_string)
        path, _, raw_query = request.raw_path.partition("?")
        caller = self._calls.caller(
            service, path=path, raw_query=raw_query, headers=_joined(request.headers), body=body
        )
        if _HOST.fullmatch(request.host):
            _host.set(request.host)
        answer = await self._calls.answer(service, operation, body, caller)
        return web.Response(body=answer, headers={"Content-Type": service.content_type})

    def _admin(self, request: web.BaseRequest, body: bytes) -> None:
        self._authenticator.authenticate_admin(
            method=request.method,
            path=request.raw_path.partition("?")[0],
            raw_query=request.raw_path.partition("?")[2],
            headers=_joined(request.headers),
            body=body,
            now_ms=self._world.now_ms(),
        )

    async def _service_events(
        self, request: web.BaseRequest, body: bytes, account: str, region: str
    ) -> web.StreamResponse:
        if not self._aws_events:
            raise _NotFound("service events are off: set `aws_events: true` in the hub file to take them")
        self._admin(request, body)
        location = _location(account, region)
        self._open_location(location)
        try:
            outcomes = await self._intake.put_service_events(location, split_records(body))
        except UnicodeDecodeError as error:  # comes up while the records are read, before any of them is taken
            raise ValidationException(f"expected JSON in UTF-8: {error}") from error
        failures = [
            _Failure(index, outcome.code, outcome.message)
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, Refused)
        ]
        answer = _ServiceEventsAnswer(
            sum(isinstance(outcome, Taken) for outcome in outcomes),
            sum(isinstance(outcome, Withheld) for outcome in outcomes),
            len(failures),
            failures[:10],
        )
        return web.Response(body=_encode(answer), content_type="application/json")

    # open to everybody

    async def _healthz(self) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def _readyz(self) -> web.StreamResponse:
        failure = "the hub is stopping" if self._stopping else self._failure()
        return web.Response(status=503 if failure else 200, text=f"{failure or 'ready'}\n")

    async def _prometheus(self) -> web.StreamResponse:
        self._metrics.look()
        body = await asyncio.to_thread(self._metrics.render)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


_OPEN: Mapping[str, Callable[[HttpServer], Awaitable[web.StreamResponse]]] = {
    "/healthz": HttpServer._healthz,
    "/readyz": HttpServer._readyz,
    "/metrics": HttpServer._prometheus,
}


class _NotFound(ResourceNotFoundException):
    status = 404


def _joined(headers: "CIMultiDictProxy[str]") -> Mapping[str, str]:
    """The headers as they are signed: the values of one that came several times are joined."""
    names = {name.lower() for name in headers}
    if len(names) == len(headers):
        return headers
    return {name: ",".join(headers.getall(name)) for name in names}


def _connections_max() -> int:
    """As many as there may be open files for, after asking for as many as may be asked for."""
    wanted = limits.CONNECTIONS_MAX + limits.CONNECTIONS_RESERVED_FILES
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits.CONNECTIONS_MAX
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if files < allowed:
        files = allowed
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(1, min(limits.CONNECTIONS_MAX, files - limits.CONNECTIONS_RESERVED_FILES))


def _location(account: str, region: str) -> Location:
    if re.fullmatch(r"[0-9]{12}", account) is None:
        raise ValidationException(f"expected a 12-digit account in the path, got {account[:64]!r}")
    if re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)+-[0-9]{1,2}[a-z]?", region) is None or len(region) > 32:
        raise ValidationException(f"expected a region such as us-east-1 in the path, got {region[:64]!r}")
    return Location(account, region)


def _refused(request: web.BaseRequest, error: ApiError) -> web.Response:
    status, body, headers = error_body(error, _content_type(request))
    response = web.Response(status=status, body=body, headers=headers)
    if isinstance(error, BodyUnread):
        response.force_close()
    return response


def _content_type(request: web.BaseRequest) -> str:
    sqs = request.headers.get("X-Amz-Target", "").startswith("AmazonSQS.")
    return "application/x-amz-json-1.0" if sqs else "application/x-amz-json-1.1"


async def _read(request: web.BaseRequest) -> bytes:
    """The body, refused before it is read when its length is known to be too much, and as soon as it grows too long."""
    bound = limits.REQUEST_BODY_BYTES_MAX
    length = request.content_length
    if length is not None and length > bound:
        raise _TooLarge(f"The request body has {length} bytes, at most {bound} are taken.")
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise _CompressedBody(f"Expected a body without Content-Encoding, got {encoding[:64]!r}.")
    if not request.can_read_body:
        return b""
    try:
        async with asyncio.timeout(limits.REQUEST_READ_S_MAX):
            if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            if length is not None:
                return await request.content.read(-1) if length else b""
            return await _read_unknown(request, bound)
    except TimeoutError as error:
        raise RequestTimeout(f"The request body did not arrive within {limits.REQUEST_READ_S_MAX} s.") from error
    except web.RequestPayloadError as error:
        raise _BrokenBody("The request body is not what its Transfer-Encoding says.") from error
    except ConnectionError as error:
        raise _ClientGone from error


async def _read_unknown(request: web.BaseRequest, bound: int) -> bytes:
    parts = bytearray()
    while chunk := await request.content.readany():
        parts += chunk
        if len(parts) > bound:
            raise _TooLarge(f"The request body has more than {bound} bytes.")
    return bytes(parts)


class _ClientGone(Exception):
    """Nobody is there to be answered."""


class _TooLarge(BodyUnread, RequestTooLarge):
    pass


class _CompressedBody(BodyUnread):
    code = "UnsupportedMediaTypeException"
    status = 415


class _BrokenBody(BodyUnread, SerializationException):
    pass


class _UnreadableRequests(logging.Filter):
    """A request that is not HTTP is its client's fault: one line without a traceback, and without the client's bytes,
    which may be credentials."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        log.warning("request.unreadable", reason=error.message.partition(":")[0])
        return False


_http_log = logging.getLogger("aiohttp.server")
_http_log.addFilter(_UnreadableRequests())
