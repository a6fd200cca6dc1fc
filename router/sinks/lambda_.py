"""Functions of a real Lambda endpoint: Invoke with invocation type Event.

Accepted (202) is delivered: what the function then does, and Lambda's own retries, are not the hub's. The function is
named by its ARN, so that credentials of one account never call a namesake in their own.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import ClassVar
from urllib.parse import quote

from router.core.arn import parse
from router.sinks.base import BUG, Attempt, Delivered, Outcome
from router.sinks.endpoints import Endpoints, Service
from router.sinks.failures import Failure, json_error
from router.sinks.http_client import Response

_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class LambdaSink:
    """See the module's contract."""

    kind: ClassVar[str] = "lambda"
    batch_max: ClassVar[int] = 1
    concurrency: ClassVar[int] = 16

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> bool:
        service = self._endpoints.service(attempt.target.arn)
        path, query = _place(attempt)

        def answered(answer: Response | Failure) -> None:
            outcome = BUG
            try:
                outcome = _outcome(service, answer)
            finally:
                done(outcome)

        return service.start(
            _headers(attempt),
            attempt.payload,
            answered,
            deadline=self._endpoints.deadline(),
            path=path,
            query=query,
        )

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        deadline = self._endpoints.deadline()
        return list(await asyncio.gather(*(self._invoke(attempt, deadline) for attempt in attempts)))

    async def _invoke(self, attempt: Attempt, deadline: float) -> Outcome:
        service = self._endpoints.service(attempt.target.arn)
        path, query = _place(attempt)
        answer = await service.call(_headers(attempt), attempt.payload, deadline=deadline, path=path, query=query)
        return _outcome(service, answer)


def _place(attempt: Attempt) -> tuple[str, str]:
    """Path and query of the function."""
    where = parse(attempt.target.arn)
    _, name, *qualifier = where.resource.split(":", 2)
    function = f"arn:{where.partition}:lambda:{where.region}:{where.account}:function:{name}"
    query = f"Qualifier={quote(qualifier[0], safe='')}" if qualifier else ""
    return f"/2015-03-31/functions/{quote(function, safe='')}/invocations", query


def _headers(attempt: Attempt) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "X-Amz-Invocation-Type": "Event"}
    trace = attempt.accepted.trace_header
    if trace and _HEADER_VALUE.fullmatch(trace):
        headers["X-Amzn-Trace-Id"] = trace
    return headers


def _outcome(service: Service, answer: Response | Failure) -> Outcome:
    if not isinstance(answer, Response):
        return answer
    if answer.status // 100 == 2:
        return Delivered()
    return service.failure(answer, *json_error(answer))
