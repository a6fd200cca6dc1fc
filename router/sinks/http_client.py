"""The outbound HTTP client that all sinks and sources share: one request, one answer or one typed fault.

Promises: every request ends within its `timeout_s`, waiting for a connection included; redirects are not followed,
cookies not kept, bodies not decompressed, and an answer's body is cut off at a bound; connections are kept alive and
bounded; the other side of an https URL must have a trusted certificate for its name; addresses that the client's policy
does not allow, link-local ones always among them, are never connected to, whatever name leads there. A fault's text
never holds the URL, a header or a body, which may hold secrets. It knows nothing of AWS, targets or outcomes.

`start` is its core: bytes that were made once are written once, and a function is called with what comes of them.
`request` waits for that. What the parts are: `http_messages` requests and answers, `http_answer` the reading of
answers, `http_connection` one connection, `http_pool` all of them and their deadlines, `http_dial` new ones.
"""

import asyncio
import ssl
from collections.abc import Mapping

import msgspec

from router.addresses import NAMED, Policy
from router.sinks.http_dial import Dialer, Resolver, UnusableCertificates, trusting
from router.sinks.http_messages import (
    RESPONSE_BYTES_MAX,
    FaultKind,
    Head,
    HttpFault,
    Request,
    Response,
    head_of,
    lines,
)
from router.sinks.http_pool import Done, Pool, Started

__all__ = [
    "CONNECTIONS_MAX",
    "CONNECTIONS_PER_HOST_MAX",
    "RESPONSE_BYTES_MAX",
    "Clients",
    "Done",
    "FaultKind",
    "Head",
    "HttpClient",
    "HttpFault",
    "Request",
    "Resolver",
    "Response",
    "Started",
    "UnusableCertificates",
    "head_of",
    "lines",
    "trusting",
]

CONNECTIONS_MAX = 1024  # ours
CONNECTIONS_PER_HOST_MAX = 128  # ours: one host that hangs cannot use up the connections of the others


class HttpClient:
    """See the module's contract. Needs a running event loop at the first request; `close` ends all connections."""

    def __init__(
        self,
        *,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_host_max: int = CONNECTIONS_PER_HOST_MAX,
        resolver: Resolver | None = None,
        policy: Policy = NAMED,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`policy` is asked for every address that is connected to; `tls` has the certificates that are trusted. A
        bound of 0 is none."""
        self._pool = Pool(
            Dialer(resolver=resolver, policy=policy, tls=tls),
            connections_max=connections_max,
            connections_per_host_max=connections_per_host_max,
        )

    def start(self, request: Request, done: Done) -> Started:
        """Send a request. `done` is called once on the event loop, with the answer or the fault, and never from within
        this call; not at all once the call is cancelled."""
        return self._pool.start(request, done)

    async def call(self, request: Request) -> Response:
        """Send a request and wait for its answer. Raises HttpFault."""
        answer: asyncio.Future[Response | HttpFault] = asyncio.get_running_loop().create_future()

        def done(result: Response | HttpFault) -> None:
            if not answer.done():
                answer.set_result(result)

        started = self.start(request, done)
        try:
            result = await answer
        except asyncio.CancelledError:
            started.cancel()
            raise
        if isinstance(result, HttpFault):
            raise result from None
        return result

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
        head = head_of(method, url, headers)
        return await self.call(head.request(body, timeout_s=timeout_s, body_bytes_max=body_bytes_max))

    async def close(self) -> None:
        await self._pool.close()


class Clients(msgspec.Struct, frozen=True):
    """`named` calls what the hub file names, `guarded` what the API's callers name. They share no connection: what one
    may not call is not reached over what the other has open."""

    named: HttpClient
    guarded: HttpClient

    def of(self, named: bool) -> HttpClient:
        return self.named if named else self.guarded
