"""Any EventBridge-compatible endpoint, as its callers know it: the AWS calls that set a measurement up, over kept
connections, signed.

Queues are asked for in SQS's JSON protocol, and in the older query protocol where an endpoint refuses that. Failures
say which call it was and what came back; secrets appear in none.
"""

import re
from collections import deque
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit
from xml.sax.saxutils import unescape

import msgspec

from router.aws.sigv4 import Credentials, Signer
from router.bench.connection import Connection
from router.bench.requests import sdk_requests, signed_request

_TEXT_CHARS_MAX = 300
_SQS_VERSION = "2012-11-05"
_EVENTS = "AWSEvents"
_SQS = "AmazonSQS"


class EndpointUnreachable(Exception):
    """Nothing answers, or the connection broke; the text says at what."""


class EndpointRefused(Exception):
    """A call was refused."""

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(f"the endpoint refused {action} with {code}" + (f": {message}" if message else ""))
        self.action = action
        self.code = code

    @classmethod
    def of(cls, action: str, status: int, body: bytes) -> "EndpointRefused":
        """From an answer: AWS's JSON or XML error, or whatever text it is."""
        text = body[:4096].decode("utf-8", "replace")
        value = _decoded(body)
        if isinstance(value, dict):
            code = str(value.get("__type") or value.get("code") or value.get("Code") or f"HTTP {status}")
            message = str(value.get("message") or value.get("Message") or "")
            return cls(action, code.rpartition("#")[2], message[:_TEXT_CHARS_MAX])
        if found := _tag("Code", text):
            return cls(action, found, (_tag("Message", text) or "")[:_TEXT_CHARS_MAX])
        return cls(action, f"HTTP {status}", " ".join(text.split())[:_TEXT_CHARS_MAX])


class Endpoint:
    """One endpoint, called with `credentials` in `region`. Raises EndpointUnreachable and EndpointRefused.

    ValueError means that the URL is none.
    """

    def __init__(self, url: str, *, credentials: Credentials, region: str) -> None:
        parts = _parts(url)
        self.url = url
        self.host = parts.netloc
        self.credentials = credentials
        self.region = region
        self._hostname = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._idle: deque[Connection] = deque()
        self._has_query_only = False
        self._sqs_signer = Signer(credentials, "sqs", region)

    async def connect(self) -> Connection:
        try:
            return await Connection.open(self._port, self._hostname, tls=self._tls)
        except OSError as error:
            raise self.unreachable("connecting", error) from error

    def unreachable(self, doing: str, error: OSError) -> EndpointUnreachable:
        reason = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        return EndpointUnreachable(f"nothing answers at {self.url}, {doing}: {reason}")

    async def events(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """A call of EventBridge's."""
        return await self._json(_EVENTS, "events", action, body)

    async def create_queue(self, name: str) -> tuple[str, str]:
        """URL and ARN of a new queue."""
        url = (await self._sqs("CreateQueue", {"QueueName": name}, ("QueueUrl",)))["QueueUrl"]
        return url, (await self._attributes(url, "QueueArn"))["QueueArn"]

    async def held(self, queue_url: str) -> int:
        """How many messages the queue says that it has."""
        name = "ApproximateNumberOfMessages"
        return int((await self._attributes(queue_url, name))[name])

    async def delete_queue(self, queue_url: str) -> None:
        await self._sqs("DeleteQueue", {"QueueUrl": queue_url}, ())

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _attributes(self, queue_url: str, name: str) -> dict[str, str]:
        answer = await self._sqs("GetQueueAttributes", {"QueueUrl": queue_url, "AttributeNames": [name]}, (name,))
        found = answer.get("Attributes", answer)
        if name not in found:
            raise EndpointRefused("GetQueueAttributes", "no answer", f"expected {name}, got {str(answer)[:200]}")
        return {name: str(found[name])}

    async def _sqs(self, action: str, body: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
        """In the protocol that the endpoint speaks; of an XML answer the `wanted` texts."""
        if self._has_query_only:
            return await self._query(action, body, wanted)
        try:
            return await self._json(_SQS, "sqs", action, body)
        except EndpointRefused as refused:
            if action != "CreateQueue":  # the first call has shown that it speaks JSON
                raise
            try:
                answer = await self._query(action, body, wanted)
            except EndpointRefused as also:
                raise (also if refused.code.startswith("HTTP ") else refused) from also
            self._has_query_only = True
            return answer

    async def _json(self, prefix: str, service: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
        (request,) = sdk_requests(
            f"{prefix}.{action}",
            [body],
            region=self.region,
            service=service,
            credentials=self.credentials,
            host=self.host,
        )
        status, raw = await self._send(action, request)
        value = _decoded(raw) if raw else {}
        if status != 200 or not isinstance(value, dict):
            raise EndpointRefused.of(action, status, raw)
        return value

    async def _query(self, action: str, body: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
        fields = {"Action": action, "Version": _SQS_VERSION}
        for name, value in body.items():
            if isinstance(value, list):
                fields |= {f"{name.removesuffix('s')}.{n}": str(each) for n, each in enumerate(value, 1)}
            else:
                fields[name] = str(value)
        payload = urlencode(fields).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(payload))}
        path = (urlsplit(body["QueueUrl"]).path if "QueueUrl" in body else "") or "/"
        status, raw = await self._send(action, signed_request(self._sqs_signer, self.host, path, headers, payload))
        text = raw.decode("utf-8", "replace")
        if status != 200 or f"<{action}Response" not in text:
            raise EndpointRefused.of(action, status, raw)
        return {name: found for name in wanted if (found := _tag(name, text) or _attribute(name, text)) is not None}

    async def _send(self, action: str, request: bytes) -> tuple[int, bytes]:
        connection = self._idle.popleft() if self._idle else await self.connect()
        try:
            return await connection.send(request)
        except OSError as error:
            raise self.unreachable(f"asked for {action}", error) from error
        finally:
            self._idle.append(connection)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and not re.search(r"\s", url):
        return parts
    raise ValueError(f"expected the URL of an endpoint, such as http://127.0.0.1:4610, got {url!r}")


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _tag(name: str, text: str) -> str | None:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return unescape(found[1]) if found else None


def _attribute(name: str, text: str) -> str | None:
    found = re.search(rf"<Name>{name}</Name>\s*<Value>([^<]*)</Value>", text)
    return unescape(found[1]) if found else None
