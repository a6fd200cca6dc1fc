"""A call of AWS's APIs from its headers and body to its answer: who calls, what is counted, and how whatever goes wrong
is refused. Both ways into the port go through it, so that they decide alike. It must not know sockets or HTTP parsers.
"""

from collections.abc import Callable, Mapping

import msgspec

from router import log
from router.aws.service import Caller, Service
from router.aws.sigv4 import Authenticator
from router.core.event import Location
from router.errors import ApiError, InternalException, ServiceUnavailable, ValidationException
from router.metrics import PUT_OPERATIONS, Metrics
from router.store.base import StoreError
from router.world import World


class Calls:
    """`open_location` makes a location usable on first use or raises an ApiError."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        open_location: Callable[[Location], None],
        metrics: Metrics,
        world: World,
    ) -> None:
        self._authenticator = authenticator
        self._open_location = open_location
        self._metrics = metrics
        self._world = world

    def caller(self, service: Service, *, path: str, raw_query: str, headers: Mapping[str, str], body: bytes) -> Caller:
        """Who POSTs this to the service, with their location open. Raises ApiError."""
        caller = self._authenticator.authenticate(
            method="POST",
            path=path,
            raw_query=raw_query,
            headers=headers,
            body=body,
            service=service.name,
            now_ms=self._world.now_ms(),
        )
        self._open_location(Location(caller.account, caller.region))
        trace_header = headers.get("x-amzn-trace-id")
        return caller if trace_header is None else msgspec.structs.replace(caller, trace_header=trace_header)

    async def answer(self, service: Service, operation: str, body: bytes, caller: Caller) -> bytes:
        """The answer's body; the call is counted. Raises ApiError."""
        started = self._world.monotonic()
        try:
            answer = await service.call(operation, body, caller)
        except ApiError as error:
            self._count(operation, caller, error.code, size_bytes=len(body), started=started)
            raise
        self._count(operation, caller, "ok", size_bytes=len(body), started=started)
        return answer

    def _count(self, operation: str, caller: Caller, outcome: str, *, size_bytes: int, started: float) -> None:
        self._metrics.request(operation, outcome)
        if operation in PUT_OPERATIONS:
            counters = self._metrics.put(operation, Location(caller.account, caller.region))
            counters.answered(outcome, seconds=self._world.monotonic() - started, size_bytes=size_bytes)

    def refusal(self, error: Exception, *, method: str, path: str) -> ApiError:
        """What the client is told of the exception in hand; a bug is loud here and 500 there."""
        if isinstance(error, ApiError):
            return error
        if isinstance(error, RecursionError):
            # JSON in JSON (a policy, an input, a detail) is decoded where it is needed, before anything is changed.
            return ValidationException("JSON in the request is nested too deeply.")
        if isinstance(error, StoreError):
            log.warning("request.not_stored", method=method, path=path, error=str(error))
            return ServiceUnavailable("The hub's store cannot take this now. Try again.")
        self._metrics.api_errors += 1
        log.exception("request.bug", method=method, path=path)
        return InternalException("Internal Service Failure")


class BodyUnread(ApiError):
    """What is left of the body is not read: the connection ends with the answer."""


class RequestTimeout(BodyUnread):
    code = "RequestTimeoutException"
    status = 408
