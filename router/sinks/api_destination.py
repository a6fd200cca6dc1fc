"""API destinations: one HTTP request a delivery, with the connection's credentials (user guide, "eb-api-destinations").

Promises: 5 s a request; 401, 407, 409, 429 and 5xx are retried and other answers but 2xx are not; redirects are not
followed; a destination gets no more requests a second than its limit, what exceeds it waits here; plain HTTP goes to
loopback only. Requests carry the headers that AWS sends, except that connections are kept alive. The connection's
values win over the target's, and appear in no message, repr or log line. A delivery whose connection has no
credentials now is tried again later: it goes out once the connection is mended.

`begin` is for deliveries that need not wait: what all requests of a target have in common is made once, for as long as
its destination, connection and token are the same ones.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router import limits
from router.catalog.api_destinations import ApiDestination
from router.catalog.auth_parameters import AuthParameters, Parameter
from router.catalog.connections import Connection
from router.catalog.target_parameters import HttpParameters
from router.config import is_loopback
from router.connections import Connections
from router.core.event import Event
from router.secrets import SecretsError
from router.sinks import failures
from router.sinks.base import BUG, Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.http_client import Clients, Head, HttpFault, Request, Response, head_of
from router.sinks.oauth import Refused
from router.sinks.parameters import BadParameter, is_dynamic, value_of
from router.tokens import Token, Tokens
from router.world import World

_SENT_HEADERS = {
    "User-Agent": "Amazon/EventBridge/ApiDestinations",
    "Range": "bytes=0-1048575",
    "Accept-Encoding": "gzip,deflate",
}
# The headers that EventBridge removes (user guide, "eb-api-destinations").
_REMOVED_HEADERS = frozenset(
    {
        "a-im",
        "accept-charset",
        "accept-datetime",
        "accept-encoding",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-md5",
        "date",
        "expect",
        "forwarded",
        "from",
        "host",
        "http2-settings",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "max-forwards",
        "origin",
        "pragma",
        "proxy-authorization",
        "range",
        "referer",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "warning",
    }
)
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_URL = re.compile(r"[\x21-\x7e]+")
_RETRIED_STATUSES = (401, 407, 409, 429)
_LIMITS_MIN = 10_000  # ours: rate limits of destinations that are gone are forgotten when there are twice as many
_BURST_S = 0.1  # ours: how much of a second's requests may go at once
_KNOWN_MAX = 10_000  # ours: targets whose requests' heads are kept
_DELIVERED = Delivered()


class Credentials(msgspec.Struct, frozen=True):
    """What a connection adds to a request; `token` is the one among it, if there is one."""

    headers: dict[str, str]
    query: dict[str, str]
    body: dict[str, msgspec.Raw]
    token: Token | None = None

    def __repr__(self) -> str:
        return "<credentials>"


def _values(parameters: Iterable[Parameter]) -> dict[str, str]:
    return {parameter.key: parameter.value for parameter in parameters}


def _credentials(parameters: AuthParameters, token: Token | None) -> Credentials:
    added = parameters.invocation_http_parameters
    body = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in _values(added.body_parameters).items()}
    basic, key = parameters.basic_auth_parameters, parameters.api_key_auth_parameters
    if basic is not None:
        pair = base64.b64encode(f"{basic.username}:{basic.password}".encode()).decode()
        authorization = {"Authorization": f"Basic {pair}"}
    elif key is not None:
        authorization = {key.api_key_name: key.api_key_value}
    else:
        assert token is not None, "connections are checked to have what their type needs"
        authorization = {"Authorization": f"Bearer {token.value}"}
    headers = {name: value for name, value in _values(added.header_parameters).items() if name not in authorization}
    return Credentials(headers | authorization, _values(added.query_string_parameters), body, token)


class RateLimit:
    """Requests a second, evenly but for a short burst. Turns are given in the order in which they are asked for."""

    __slots__ = ("_ahead_s", "_gap_s", "_next")

    def __init__(self, per_second: int) -> None:
        self._gap_s = 1 / per_second
        self._ahead_s = max(0.0, _BURST_S - self._gap_s)
        self._next = float("-inf")

    def wait_s(self, now: float) -> float:
        """Seconds until the turn that this call takes."""
        turn = max(self._next, now - self._ahead_s)
        self._next = turn + self._gap_s
        return max(0.0, turn - now)

    def take(self, now: float) -> bool:
        """Take a turn if there is one now."""
        turn = max(self._next, now - self._ahead_s)
        if turn > now:
            return False
        self._next = turn + self._gap_s
        return True


class _Way(msgspec.Struct, frozen=True):
    """What all requests of a target have in common, and what that was made of."""

    destination: ApiDestination
    connection: Connection
    credentials: Credentials
    given: HttpParameters | None
    head: Head | None
    """None where the target's parameters depend on the event."""

    def __repr__(self) -> str:
        return "<way to an API destination>"


class ApiDestinationSink:
    """See the module's contract."""

    kind: ClassVar[str] = "api_destination"
    batch_max: ClassVar[int] = 1
    concurrency: ClassVar[int] = 16

    def __init__(
        self,
        connections: Connections,
        tokens: Tokens,
        *,
        clients: Clients,
        world: World,
        timeout_s: float = limits.API_DESTINATION_TIMEOUT_S,
    ) -> None:
        self._connections = connections
        self._tokens = tokens
        self._clients = clients
        self._world = world
        self._timeout_s = timeout_s
        self._limits: dict[str, tuple[int, RateLimit]] = {}
        self._ways: dict[tuple[str, int], _Way] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> bool:
        destination = self._connections.destination(attempt.target.arn)
        connection = None if destination is None else self._connections.connection(destination.connection_arn)
        if destination is None or connection is None or not connection.sealed:
            return False
        token = None
        if connection.authorization_type == "OAUTH_CLIENT_CREDENTIALS":
            token = self._tokens.current(connection)
            if token is None:
                return False
        try:
            way = self._way(attempt, destination, connection, token)
            request = self._request(way, attempt)
        except (BadParameter, HttpFault, SecretsError):
            return False
        if not self._limit(destination).take(self._world.monotonic()):
            return False

        def answered(result: Response | HttpFault) -> None:
            if isinstance(result, Response):
                if token is None:
                    if self._connections.follows(connection, result.status):
                        self._follow(connection, result, destination, done)
                        return
                elif result.status in (401, 407):
                    self._tokens.refused(connection, token)
            self._tell(result, destination, done)

        self._clients.of(destination.named).start(request, answered)
        return True

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        return list(await asyncio.gather(*(self._send(attempt) for attempt in attempts)))

    async def _send(self, attempt: Attempt) -> Outcome:
        await self._turn(attempt.target.arn)
        destination = self._connections.destination(attempt.target.arn)
        if destination is None:
            return Rejected("NO_RESOURCE", f"There is no API destination {attempt.target.arn}.")
        what = _named(destination)
        connection = self._connections.connection(destination.connection_arn)
        if connection is None:
            return Retryable("CONNECTION_FAILURE", f"{what} is INACTIVE: its connection does not exist")
        token = await self._token_of(connection)
        if isinstance(token, str):
            return Retryable("CONNECTION_FAILURE", f"{what}: connection {connection.name} is not usable: {token}")
        try:
            request = self._request(self._way(attempt, destination, connection, token), attempt)
            response = await self._clients.of(destination.named).call(request)
        except BadParameter as bad:
            return Rejected("INVALID_PARAMETER", f"{what}: {bad}")
        except HttpFault as fault:
            return failures.of_fault(fault, what)
        if token is None:
            await self._connections.answered(connection, response.status)
        elif response.status in (401, 407):
            self._tokens.refused(connection, token)
        return self._outcome(response, destination)

    async def _token_of(self, connection: Connection) -> Token | str | None:
        """The connection's token, where it has one, or why there are no credentials."""
        if not connection.sealed:
            return connection.state_reason or connection.state
        if connection.authorization_type != "OAUTH_CLIENT_CREDENTIALS":
            return None
        given = await self._tokens.get(connection)
        return given.reason if isinstance(given, Refused) else given

    async def _turn(self, arn: str) -> None:
        """Wait as long as the destination's rate says: AWS delays what exceeds it and does not count it as an attempt.
        The request is made afterwards, because destination and connection may change meanwhile."""
        destination = self._connections.destination(arn)
        if destination is not None and (wait_s := self._limit(destination).wait_s(self._world.monotonic())) > 0:
            await asyncio.sleep(wait_s)

    def _way(self, attempt: Attempt, destination: ApiDestination, connection: Connection, token: Token | None) -> _Way:
        """Raises BadParameter, HttpFault, SecretsError."""
        given = attempt.target.http_parameters
        key = (destination.arn, id(given))
        known = self._ways.get(key)
        if (
            known is not None
            and known.destination is destination
            and known.connection is connection
            and known.credentials.token is token
            and known.given is given
        ):
            return known
        credentials = _credentials(self._connections.opened(connection), token)
        head = None
        if given is None or not _is_dynamic(given):
            head = _head(destination, given, attempt.accepted.event, credentials)
        if len(self._ways) >= _KNOWN_MAX:
            self._ways.clear()
        way = self._ways[key] = _Way(destination, connection, credentials, given, head)
        return way

    def _request(self, way: _Way, attempt: Attempt) -> Request:
        """The request for one delivery. Raises BadParameter, HttpFault."""
        credentials = way.credentials
        head = way.head or _head(way.destination, way.given, attempt.accepted.event, credentials)
        payload = attempt.payload
        if credentials.query or credentials.body:
            _check_size(payload, credentials)
            payload = _body(payload, credentials.body)
        return head.request(payload, timeout_s=self._timeout_s)

    def _outcome(self, response: Response, destination: ApiDestination) -> Outcome:
        if 200 <= response.status <= 299:
            return _DELIVERED
        return _failure(response, _named(destination), self._world.now_ms())

    def _tell(self, result: Response | HttpFault, destination: ApiDestination, done: Callable[[Outcome], None]) -> None:
        outcome = BUG
        try:
            if isinstance(result, HttpFault):
                outcome = failures.of_fault(result, _named(destination))
            else:
                outcome = self._outcome(result, destination)
        finally:
            done(outcome)

    def _follow(
        self, connection: Connection, response: Response, destination: ApiDestination, done: Callable[[Outcome], None]
    ) -> None:
        """The answer changes the connection's state, which is on disk before the outcome is known."""

        async def follow() -> None:
            try:
                await self._connections.answered(connection, response.status)
            finally:  # whatever becomes of the connection, the delivery has its outcome
                self._tell(response, destination, done)

        task = asyncio.get_running_loop().create_task(follow())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _limit(self, destination: ApiDestination) -> RateLimit:
        rate = destination.invocation_rate_limit_per_second
        known = self._limits.get(destination.arn)
        if known is None or known[0] != rate:
            if len(self._limits) >= 2 * _LIMITS_MIN:
                self._limits = {arn: one for arn, one in self._limits.items() if self._connections.exists(arn)}
            known = self._limits[destination.arn] = (rate, RateLimit(rate))
        return known[1]


def _named(destination: ApiDestination) -> str:
    return f"API destination {destination.name}"


def _failure(response: Response, what: str, now_ms: int) -> Outcome:
    """What an answer means that is no success. Its body is not told: it may repeat the request's secrets."""
    failure = of_status(response.status, what)
    after_s = failures.retry_after_s(response.headers, now_ms)
    if isinstance(failure, Rejected) or after_s is None:
        return failure
    if after_s < 0:
        return Rejected(failure.code, f"{failure.message} and asked not to be tried again (Retry-After is negative)")
    return Retryable(failure.code, failure.message, after_s)


def of_status(status: int, what: str) -> failures.Failure:
    """What a status means that is no success."""
    text = f"{what} answered with status {status}"
    code = "THROTTLING" if status == 429 else "ERROR_FROM_TARGET"
    retried = status in _RETRIED_STATUSES or 500 <= status <= 599
    return Retryable(code, text) if retried else Rejected(code, text)


def _is_dynamic(given: HttpParameters) -> bool:
    """Whether any of a target's parameters takes its value from the event."""
    return any(
        is_dynamic(text)
        for texts in (
            given.path_parameter_values,
            given.header_parameters.values(),
            given.query_string_parameters.values(),
        )
        for text in texts
    )


def _head(destination: ApiDestination, given: HttpParameters | None, event: Event, credentials: Credentials) -> Head:
    """The head of a request for an event. Raises BadParameter, HttpFault."""
    path_values = [value_of(text, event) for text in given.path_parameter_values] if given else []
    target_headers = _dynamic(given.header_parameters, event) if given else {}
    target_query = _dynamic(given.query_string_parameters, event) if given else {}
    return head_of(
        destination.http_method,
        _url(destination.invocation_endpoint, path_values, target_query | credentials.query),
        _headers(target_headers, credentials.headers),
    )


def _check_size(payload: bytes, credentials: Credentials) -> None:
    """Where the connection adds parameters, they and the payload are 64 KB at most (API reference,
    "ConnectionQueryStringParameter"); a payload to which nothing is added has the size of an event."""
    size = len(payload) + sum(len(key) + len(value) for key, value in credentials.query.items())
    size += sum(len(key) + len(bytes(value)) for key, value in credentials.body.items())
    if size > limits.CONNECTION_PAYLOAD_BYTES_MAX:
        raise BadParameter(
            f"expected a payload of at most {limits.CONNECTION_PAYLOAD_BYTES_MAX} bytes with what the connection adds, "
            f"got {size}"
        )


def _dynamic(parameters: Mapping[str, str], event: Event) -> dict[str, str]:
    return {key: value_of(text, event) for key, text in parameters.items()}


def _url(template: str, path_values: Sequence[str], query: Mapping[str, str]) -> str:
    """The endpoint with each `*` filled and the query added. A value can never lead to another host or folder."""
    parts = template.split("*")
    if len(parts) - 1 != len(path_values):
        raise BadParameter(f"expected {len(parts) - 1} path parameter values, got {len(path_values)}")
    if any(value in (".", "..") or not value for value in path_values):
        raise BadParameter("expected path parameter values that name something, got an empty one or dots")
    filled = parts[0] + "".join(
        quote(value, safe="") + part for value, part in zip(path_values, parts[1:], strict=True)
    )
    url = urlsplit(filled)
    if path_values and "*" in urlsplit(template).netloc:
        raise BadParameter("expected * in the endpoint's path, got it in the host")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
        raise BadParameter("expected an https endpoint (http only to loopback)")
    if not _URL.fullmatch(filled):
        raise BadParameter("expected an endpoint of visible ASCII characters")
    added = urlencode(query, quote_via=quote, safe="")
    whole = "&".join(text for text in (url.query, added) if text)
    return f"{url.scheme}://{url.netloc}{url.path or '/'}{'?' if whole else ''}{whole}"


def _headers(target: Mapping[str, str], connection: Mapping[str, str]) -> dict[str, str]:
    """The headers to send: AWS's own above the connection's above the target's, names compared without case."""
    merged: dict[str, tuple[str, str]] = {"content-type": ("Content-Type", "application/json; charset=utf-8")}
    for headers in (target, connection):
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise BadParameter("expected headers of visible characters, got a name or value with others")
            if name.lower() not in _REMOVED_HEADERS:
                merged[name.lower()] = (name, value)
    return dict(merged.values()) | _SENT_HEADERS


def _body(payload: bytes, added: dict[str, msgspec.Raw]) -> bytes:
    """The payload; where it is a JSON object, with the connection's body parameters set in it."""
    if not added or payload[:1] != b"{":
        return payload
    try:
        return msgspec.json.encode(msgspec.json.decode(payload, type=dict[str, msgspec.Raw]) | added)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload
