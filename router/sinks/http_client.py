"""The outbound HTTP client that all sinks and sources share: one request, one answer or one typed fault.

Promises: every request ends within its `timeout_s`; redirects are not followed, cookies not kept, bodies not
decompressed, and an answer's body is cut off at a bound; connections are kept alive and bounded; the other side of an
https URL must have a trusted certificate for its name; addresses that the client's policy does not allow, link-local
ones always among them, are never connected to, whatever name leads there. A fault's text never holds the URL, a header
or a body, which may hold secrets. It knows nothing of AWS, targets or outcomes, and nothing outside this file knows
which library makes the connections.
"""

import asyncio
import errno
import functools
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
import msgspec
import yarl
from aiohttp.abc import AbstractResolver

from router.addresses import NAMED, Policy

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


class UnusableCertificates(Exception):
    """The file of certificates cannot be used; the text says why."""


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """TLS with checked certificates: the system's authorities, and those in `ca_file`. Raises UnusableCertificates."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError:
            raise UnusableCertificates(f"{ca_file} has no certificates in PEM") from None
        except OSError as error:
            raise UnusableCertificates(f"cannot read {ca_file}: {error.strerror}") from error
    return context


class HttpClient:
    """See the module's contract. Needs a running event loop at the first request; `close` ends all connections."""

    def __init__(
        self,
        *,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_host_max: int = CONNECTIONS_PER_HOST_MAX,
        resolver: AbstractResolver | None = None,
        policy: Policy = NAMED,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`policy` is asked for every address that is connected to; `tls` has the certificates that are trusted."""
        self._connections_max = connections_max
        self._connections_per_host_max = connections_per_host_max
        self._resolver = resolver
        self._policy = policy
        self._tls = tls
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
            socket_factory=functools.partial(_socket, self._policy),
            ssl=self._tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        return self._session


class Clients(msgspec.Struct, frozen=True):
    """`named` calls what the hub file names, `guarded` what the API's callers name. They share no connection: what one
    may not call is not reached over what the other has open."""

    named: HttpClient
    guarded: HttpClient

    def of(self, named: bool) -> HttpClient:
        return self.named if named else self.guarded


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


class _Forbidden(OSError):
    """The address may not be called; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, "the address may not be called")
        self.reason = reason


def _socket(policy: Policy, address: tuple[Any, ...]) -> socket.socket:
    """The socket for one resolved address: every connection passes here, so that no name gets around the check."""
    family, kind, protocol, _, where = address
    refusal = policy.refusal(where[0])
    if refusal is not None:
        raise _Forbidden(refusal)
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
            return HttpFault("forbidden", error.os_error.reason)
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
