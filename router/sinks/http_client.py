"""The outbound HTTP client that all sinks and sources share: one request, one answer or one typed fault.

Promises: every request ends within its `timeout_s`; redirects are not followed, cookies not kept, bodies not
decompressed, and an answer's body is cut off at a bound; connections are kept alive and bounded; addresses that only
lead to a machine's own metadata (link-local ones) are never connected to, whatever name leads there. A fault's text
never holds the URL, a header or a body, which may hold secrets. It knows nothing of AWS, targets or outcomes, and
nothing outside this file knows which library makes the connections.
"""

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
import msgspec
import yarl
from aiohttp.abc import AbstractResolver

CONNECTIONS_MAX = 1024  # ours
CONNECTIONS_PER_HOST_MAX = 128  # ours: one host that hangs cannot use up the connections of the others
RESPONSE_BYTES_MAX = 1024 * 1024  # ours: what a target answers is looked at for its error code only

FaultKind = Literal["timeout", "dns", "connect", "tls", "reset", "protocol", "forbidden", "invalid"]


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
    """An answer. Header names are in lower case; `truncated` says that the body was longer than what is here."""

    status: int
    headers: dict[str, str]
    body: bytes
    truncated: bool = False


class HttpClient:
    """See the module's contract. Needs a running event loop at the first request; `close` ends all connections."""

    def __init__(
        self,
        *,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_host_max: int = CONNECTIONS_PER_HOST_MAX,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
        body_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> Response:
        """Send exactly these headers (and Host, Content-Length) to exactly this URL. Raises HttpFault."""
        session = self._session or self._open()
        try:
            async with (
                asyncio.timeout(timeout_s),
                session.request(
                    method,
                    yarl.URL(url, encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as response,
            ):
                received, truncated = await _bounded(response.content, body_bytes_max)
                if truncated:
                    response.close()
                return Response(
                    response.status,
                    {name.lower(): value for name, value in response.headers.items()},
                    received,
                    truncated,
                )
        except TimeoutError:
            raise HttpFault("timeout", "no complete answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # `from None`: the library's own texts may hold the URL.
            raise _fault(error) from None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections_max,
            limit_per_host=self._connections_per_host_max,
            resolver=self._resolver,
            socket_factory=_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        return self._session


async def _bounded(content: aiohttp.StreamReader, bytes_max: int) -> tuple[bytes, bool]:
    """What was received, and whether it was cut off."""
    parts: list[bytes] = []
    left = bytes_max
    async for part in content.iter_any():
        if len(part) > left:
            parts.append(part[:left])
            return b"".join(parts), True
        parts.append(part)
        left -= len(part)
    return b"".join(parts), False


_FORBIDDEN = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::/32"),  # AWS's instance metadata over IPv6
)


class _Forbidden(OSError):
    """The address only leads to a machine's own metadata."""


def _is_forbidden(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # IPv4 in IPv6's clothes: ::ffff:169.254.169.254, 64:ff9b::a9fe:a9fe, ::169.254.169.254.
        if ip.ipv4_mapped or int(ip) >> 32 in (0, 0x64FF9B << 64):
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.sixtofour:
            ip = ip.sixtofour
    return any(ip in network for network in _FORBIDDEN)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """The socket for one resolved address: every connection passes here, so that no name gets around the check."""
    family, kind, protocol, _, where = address
    if _is_forbidden(where[0]):
        raise _Forbidden(errno.EACCES, "a link-local address is never called")
    return socket.socket(family, kind, protocol)


_NAME_SERVICE_AWAY = (socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM)


def _fault(error: Exception) -> HttpFault:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if error.os_error.errno in _NAME_SERVICE_AWAY:
            return HttpFault("connect", "the name service does not answer")
        return HttpFault("dns", "the host's name has no address")
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return HttpFault("tls", "the TLS handshake failed or the certificate is not trusted")
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, _Forbidden):
            return HttpFault("forbidden", "the host's address is link-local, which is never called")
        return HttpFault("connect", _reason(error.os_error))
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return HttpFault("invalid", "the URL or a header is not well-formed")
    if isinstance(error, aiohttp.ClientResponseError):
        return HttpFault("protocol", "the answer is not well-formed HTTP")
    if isinstance(error, OSError):
        return HttpFault("reset", _reason(error))
    return HttpFault("reset", "the connection was closed before the answer was complete")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else "no connection"
