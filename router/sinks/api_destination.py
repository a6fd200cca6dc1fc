"""API destinations: one HTTP request a delivery, with the connection's credentials (user guide, "eb-api-destinations").

Promises: 5 s a request; 401, 407, 409, 429 and 5xx are retried and other answers but 2xx are not; redirects are not
followed; a destination gets no more requests a second than its limit, what exceeds it waits here; plain HTTP goes to
loopback only. Requests carry the headers that AWS sends, except that connections are kept alive. The connection's
values win over the target's, and appear in no message, repr or log line.
"""

import asyncio
import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router import limits
from router.config import ApiDestination, Connection, Hub, Parameter, is_loopback
from router.core.arn import partition
from router.core.event import Event, Location
from router.sinks import failures
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.http_client import HttpClient, HttpFault, Response
from router.sinks.parameters import BadParameter, value_of
from router.world import World, uuid5

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
_BURST_S = 0.1  # ours: how much of a second's requests may go at once


class Destination:
    """An API destination with its connection; holds secrets and shows none."""

    __slots__ = ("_limit", "arn", "body", "headers", "method", "name", "query", "url")

    def __init__(self, arn: str, declared: ApiDestination, connection: Connection) -> None:
        parameters = connection.auth_parameters.invocation_http_parameters
        self.arn = arn
        self.name = declared.name
        self.method = declared.http_method
        self.url = declared.invocation_endpoint
        self.headers = {p.key: p.value for p in parameters.header_parameters} | _credentials(connection)
        self.query = _values(parameters.query_string_parameters)
        self.body = {key: msgspec.Raw(msgspec.json.encode(v)) for key, v in _values(parameters.body_parameters).items()}
        self._limit = RateLimit(declared.invocation_rate_limit_per_second)

    def __repr__(self) -> str:
        return f"<API destination {self.arn}>"

    def wait_s(self, now: float) -> float:
        """How long the next request has to wait for its turn; taken when asked for."""
        return self._limit.wait_s(now)


def _values(parameters: Iterable[Parameter]) -> dict[str, str]:
    return {parameter.key: parameter.value for parameter in parameters}


def _credentials(connection: Connection) -> dict[str, str]:
    basic = connection.auth_parameters.basic_auth_parameters
    key = connection.auth_parameters.api_key_auth_parameters
    if connection.authorization_type == "BASIC" and basic is not None:
        return {"Authorization": f"Basic {base64.b64encode(f'{basic.username}:{basic.password}'.encode()).decode()}"}
    assert key is not None, "the hub file's connections are checked to have what their type needs"
    return {key.api_key_name: key.api_key_value}


class ApiDestinations:
    """The hub file's API destinations by ARN. An ARN's last part, its UUID, may be left out."""

    def __init__(self, hub: Hub) -> None:
        self._by_arn: dict[str, Destination] = {}
        for resources in hub.resources:
            location = Location(resources.account, resources.region)
            connections = {connection.name: connection for connection in resources.connections}
            for declared in resources.api_destinations:
                arn = self.arn_of(location, declared.name)
                destination = Destination(arn, declared, connections[declared.connection_name])
                self._by_arn[arn] = destination
                self._by_arn[arn.rpartition("/")[0]] = destination

    def arn_of(self, location: Location, name: str) -> str:
        """The ARN that a destination of this name has there: the same on every hub, so that it is known in advance."""
        prefix = f"arn:{partition(location.region)}:events:{location.region}:{location.account}"
        return f"{prefix}:api-destination/{name}/{uuid5('api-destination', f'{location}/{name}')}"

    def exists(self, arn: str) -> bool:
        return self.resolve(arn) is not None

    def resolve(self, arn: str) -> Destination | None:
        return self._by_arn.get(arn)


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


class _Request(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return "<request of an API destination>"


class ApiDestinationSink:
    """See the module's contract."""

    kind: ClassVar[str] = "api_destination"
    batch_max: ClassVar[int] = 1
    concurrency: ClassVar[int] = 16

    def __init__(
        self,
        destinations: ApiDestinations,
        *,
        client: HttpClient,
        world: World,
        timeout_s: float = limits.API_DESTINATION_TIMEOUT_S,
    ) -> None:
        self._destinations = destinations
        self._client = client
        self._world = world
        self._timeout_s = timeout_s

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        destination = self._destinations.resolve(attempts[0].target.arn)
        if destination is None:
            gone = Rejected("NO_RESOURCE", f"There is no API destination {attempts[0].target.arn}.")
            return [gone] * len(attempts)
        return list(await asyncio.gather(*(self._invoke(destination, attempt) for attempt in attempts)))

    async def _invoke(self, destination: Destination, attempt: Attempt) -> Outcome:
        request = _request(destination, attempt)
        if isinstance(request, Rejected):
            return request
        if (wait_s := destination.wait_s(self._world.monotonic())) > 0:
            # Not a retry: AWS delays what exceeds the rate and does not count it as an attempt.
            await asyncio.sleep(wait_s)
        what = f"API destination {destination.name}"
        try:
            response = await self._client.request(
                destination.method,
                request.url,
                headers=request.headers,
                body=request.body,
                timeout_s=self._timeout_s,
            )
        except HttpFault as fault:
            return failures.of_fault(fault, what)
        return _outcome(response, what, self._world.now_ms())


def _outcome(response: Response, what: str, now_ms: int) -> Outcome:
    """What an answer means. Its body is not told: it may repeat the request's secrets."""
    status = response.status
    if 200 <= status <= 299:
        return Delivered()
    text = f"{what} answered with status {status}"
    code = "THROTTLING" if status == 429 else "ERROR_FROM_TARGET"
    if status not in _RETRIED_STATUSES and not 500 <= status <= 599:
        return Rejected(code, text)
    after_s = failures.retry_after_s(response.headers, now_ms)
    if after_s is not None and after_s < 0:
        return Rejected(code, f"{text} and asked not to be tried again (Retry-After is negative)")
    return Retryable(code, text, after_s)


def _request(destination: Destination, attempt: Attempt) -> _Request | Rejected:
    """The request for one delivery, or why there can be none."""
    given = attempt.target.http_parameters
    event = attempt.accepted.event
    try:
        path_values = [value_of(text, event) for text in given.path_parameter_values] if given else []
        target_headers = _dynamic(given.header_parameters, event) if given else {}
        target_query = _dynamic(given.query_string_parameters, event) if given else {}
        return _Request(
            _url(destination.url, path_values, target_query | destination.query),
            _headers(target_headers, destination.headers),
            _body(attempt.payload, destination.body),
        )
    except BadParameter as bad:
        return Rejected("INVALID_PARAMETER", f"API destination {destination.name}: {bad}")


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
