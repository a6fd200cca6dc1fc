"""What an HTTP call is made of: the request's bytes, the answer, the fault. Pure values; nothing here opens anything.

A request's bytes are made once and are then sent as they are. Promises: nothing that a URL, a header or a body holds
can end a line or a header early, name another length than the body's, or reach a fault's text; no repr shows a header
or a body.
"""

import functools
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

RESPONSE_BYTES_MAX = 1024 * 1024  # ours: what a target answers is looked at for its error code only

FaultKind = Literal["timeout", "dns", "connect", "tls", "reset", "protocol", "forbidden", "invalid"]

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._~-]+))(?::([0-9]{0,5}))?")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_PORTS = {"http": 80, "https": 443}
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods of which nobody expects a body: without one they get no Content-Length (RFC 9110, section 8.6)."""
_INVALID = "the URL or a header is not well-formed"


class HttpFault(Exception):
    """No usable answer.

    `timeout` the deadline passed · `dns` the name has no address · `connect` no connection (or the name service is
    away for now) · `tls` the other side is not who it should be · `reset` the connection broke · `protocol` what came
    is not HTTP · `forbidden` the address may not be called · `invalid` the request cannot be sent as it is.
    """

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason


class Response(msgspec.Struct, frozen=True):
    """An answer. Header names are in lower case; answers with the same head share the mapping, which nobody may change.
    `truncated` says that the body was longer than what is here."""

    status: int
    headers: dict[str, str]
    body: bytes
    truncated: bool = False


class Origin(msgspec.Struct, frozen=True):
    """Where a request goes. Connections are shared by the requests of one origin."""

    tls: bool
    host: str
    port: int


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request that is ready to be sent: `data` is all of it. `answers_head` says that its answer has no body."""

    origin: Origin
    data: bytes
    timeout_s: float
    answers_head: bool = False
    body_bytes_max: int = RESPONSE_BYTES_MAX

    def __repr__(self) -> str:
        return f"<request to {self.origin.host}>"


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request without its body, for requests that differ in nothing else."""

    origin: Origin
    start: bytes
    """The request line and all headers but Content-Length."""
    method: str

    def __repr__(self) -> str:
        return f"<head of a request to {self.origin.host}>"

    def request(
        self, body: bytes, *, timeout_s: float, body_bytes_max: int = RESPONSE_BYTES_MAX, more: bytes = b""
    ) -> Request:
        """`more` are header `lines` of this request alone."""
        if body or self.method not in _WITHOUT_BODY:
            data = b"%b%bContent-Length: %d\r\n\r\n%b" % (self.start, more, len(body), body)
        else:
            data = self.start + more + b"\r\n"
        return Request(self.origin, data, timeout_s, self.method == "HEAD", body_bytes_max)


def head_of(method: str, url: str, headers: Mapping[str, str]) -> Head:
    """The head of a request with exactly these headers, and Host where it is not among them. Raises HttpFault."""
    origin, host, target = split(url)
    names = {name.lower() for name in headers}
    if len(names) != len(headers) or "transfer-encoding" in names or not _TOKEN.fullmatch(method):
        raise HttpFault("invalid", _INVALID)
    start = f"{method} {target} HTTP/1.1\r\n".encode()
    if "host" not in names:
        start += f"Host: {host}\r\n".encode()
    own = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    return Head(origin, start + lines(own), method)


def lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent. Raises HttpFault."""
    made = []
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HttpFault("invalid", _INVALID)
        made.append(f"{name}: {value}\r\n")
    return "".join(made).encode()


def split(url: str) -> tuple[Origin, str, str]:
    """A URL's origin, its Host header, and what is asked for there (path and query, as they are). Raises HttpFault."""
    parts = _URL.fullmatch(url) if _VISIBLE.fullmatch(url) else None
    if parts is None:
        raise HttpFault("invalid", _INVALID)
    scheme, authority, target = parts.groups()
    origin, host = _origin(scheme.lower(), authority)
    return origin, host, target if target.startswith("/") else f"/{target}"


@functools.lru_cache(maxsize=4096)
def _origin(scheme: str, authority: str) -> tuple[Origin, str]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise HttpFault("invalid", _INVALID)
    v6, name, port_text = parts.groups()
    port = int(port_text) if port_text else _PORTS[scheme]
    host = (v6 or name).lower()
    shown = f"[{host}]" if v6 else host.rstrip(".")
    if not 1 <= port <= 65535 or shown == "":
        raise HttpFault("invalid", _INVALID)
    return Origin(scheme == "https", host, port), shown if port == _PORTS[scheme] else f"{shown}:{port}"
