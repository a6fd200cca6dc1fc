"""A measurement of any EventBridge-compatible endpoint: rules and targets made by its API, events put, arrivals seen.

Into a queue with so many rules, one of which matches, and to an HTTP target that this process serves, if the endpoint
has API destinations. What is accepted and does not arrive is told. Everything made has a name of its own and is deleted
again, also when the measurement fails. What waits, waits only while something still arrives.

/proc is read between runs of the event loop, never in one.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec
import uvloop

from router.bench import process
from router.bench.endpoint import Endpoint, EndpointRefused, EndpointUnreachable
from router.bench.listener import HttpTarget
from router.bench.load import Put, PutRefused, paced, quantile, saturate, tasks
from router.bench.requests import PutEvents, pattern
from router.world import RealWorld

_AT_A_TIME = 8
_WARM_UP_MAX = 2_000
_POLL_S_MIN = 0.02
_POLL_S_MAX = 0.5
_PER_S = 20
"""The rate of the latency measurement."""
_RATE_LIMIT = 100_000
_T = TypeVar("_T")


class Plan(msgspec.Struct, frozen=True):
    """What to measure. `rules` has one measurement each; `wait_s` is how long nothing may arrive before it is given up;
    `pid` is the endpoint's process, if it is on this machine."""

    rules: tuple[int, ...] = (1,)
    events: int = 10_000
    connections: int = 16
    wait_s: float = 30.0
    http: bool = True
    latency_s: float = 10.0
    pid: int | None = None


class Outcome(msgspec.Struct):
    """One measurement. Figures are None where they could not be taken; `note` has what else there is to say."""

    path: str
    rules: int
    asked: int = 0
    accepted: int = 0
    refused: int = 0
    arrived: int = 0
    accepted_per_s: float | None = None
    arrived_per_s: float | None = None
    cpu_s: float | None = None
    arrived_per_cpu_s: float | None = None
    anonymous_mb: float | None = None
    p50_ms: float | None = None
    """Of a PutEvents request; with the path `latency`, from the PutEvents call to the event's arrival."""
    p99_ms: float | None = None
    is_supported: bool = True
    note: str = ""

    @property
    def lost(self) -> int:
        """Events that were accepted and did not arrive."""
        return max(0, self.accepted - self.arrived)


class Bench:
    """Measures one endpoint. `tell` gets a line for each step. Raises EndpointUnreachable and EndpointRefused."""

    def __init__(self, endpoint: Endpoint, plan: Plan, tell: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._plan = plan
        self._tell = tell
        self._now = RealWorld().monotonic
        self._name = f"crossbus-bench-{RealWorld().token(4).hex()}"
        self._rules: list[Callable[[], Awaitable[object]]] = []
        self._undo: list[Callable[[], Awaitable[object]]] = []
        """What deletes what was made: the rules, and, in order, what they need."""
        self._runner: asyncio.Runner

    def run(self) -> list[Outcome]:
        """All measurements, one after the other."""
        outcomes = []
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as self._runner:
            try:
                for rules in self._plan.rules:
                    with self._cleaned_up():
                        outcomes.append(self._queue(rules))
                if self._plan.http:
                    with self._cleaned_up():
                        outcomes += self._http()
            finally:
                self._endpoint.close()
        return outcomes

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return self._runner.run(work)
        except PutRefused as refused:
            raise EndpointRefused.of("PutEvents", refused.status, refused.body) from refused
        except OSError as error:
            raise self._endpoint.unreachable("asked for PutEvents", error) from error

    @contextmanager
    def _cleaned_up(self) -> Iterator[None]:
        """Deletes what is made meanwhile, the last first; what cannot be deleted is told and left."""
        self._rules.clear()
        self._undo.clear()
        try:
            yield
        finally:
            self._runner.run(self._clean_up())

    async def _clean_up(self) -> None:
        kept: list[str] = []

        async def delete(what: Callable[[], Awaitable[object]]) -> None:
            try:
                await what()
            except EndpointRefused as refused:
                if refused.code != "ResourceNotFoundException":
                    kept.append(str(refused))

        async def rules() -> None:
            while self._rules:
                await delete(self._rules.pop())

        try:
            async with tasks() as group:
                for _ in range(_AT_A_TIME):
                    group.create_task(rules())
            while self._undo:
                await delete(self._undo.pop())
        except EndpointUnreachable as unreachable:
            kept.append(str(unreachable))
        if kept:
            self._tell(f"not all things named {self._name}-* could be deleted: {kept[0]}")

    def _queue(self, rules: int) -> Outcome:
        name = f"{self._name}-{rules}"
        outcome = Outcome("queue", rules)
        self._tell(f"{_named(outcome)}: making it")
        url, arn = self._do(self._make_queue(name))
        self._do(self._make_rules(name, rules, {"Id": "queue", "Arn": arn}))
        self._measure(outcome, name, lambda: self._endpoint.held(url))
        return outcome

    def _http(self) -> list[Outcome]:
        """To an HTTP target: at saturation, and the latency at a small rate."""
        name = f"{self._name}-http"
        outcome = Outcome("http", 1)
        target = self._do(HttpTarget().__aenter__())
        try:
            self._tell("HTTP target: making a connection, an API destination and a rule")
            try:
                self._do(self._make_http(name, target.port))
            except EndpointRefused as refused:
                outcome.is_supported = False
                outcome.note = f"not supported: {refused}"
                return [outcome]

            async def count() -> int:
                return target.requests

            self._measure(outcome, name, count)
            if outcome.lost or self._plan.latency_s <= 0:
                return [outcome]
            return [outcome, self._latency(name, target)]
        finally:
            self._do(target.__aexit__())

    def _measure(self, outcome: Outcome, source: str, count: Callable[[], Awaitable[int]]) -> None:
        """Load at saturation until all has arrived; `count` says how many have."""
        plan = self._plan
        requests = self._requests(source)
        warm = self._do(self._put(requests, min(_WARM_UP_MAX, max(10, plan.events // 10))))
        held, _ = self._do(self._arrive(count, warm.accepted))
        if warm.accepted and not held:
            outcome.asked = outcome.accepted = warm.accepted
            outcome.note = f"not delivered: nothing arrived within {plan.wait_s:g} s"
            return
        self._tell(f"{_named(outcome)}: putting {plan.events:,} events")
        cpu = self._cpu_s()
        started = self._now()
        put = self._do(self._put(requests, plan.events))
        # What the warm-up lost counts as lost too: it was accepted.
        held, last_s = self._do(self._arrive(count, warm.accepted + put.accepted))
        outcome.asked = put.accepted + put.refused
        outcome.accepted = put.accepted
        outcome.refused = put.refused
        outcome.arrived = max(0, held - warm.accepted)
        if put.refused:
            outcome.note = f"{put.refused:,} events were refused: {put.first_refusal}"
        outcome.accepted_per_s = round(put.accepted / put.seconds, 1)
        if outcome.arrived:
            outcome.arrived_per_s = round(outcome.arrived / max(last_s - started, put.seconds), 1)
        outcome.p50_ms = _ms(quantile(put.latencies_s, 0.5))
        outcome.p99_ms = _ms(quantile(put.latencies_s, 0.99))
        if cpu is not None and plan.pid is not None:
            outcome.cpu_s = round((self._cpu_s() or cpu) - cpu, 2)
            outcome.anonymous_mb = round(process.anonymous_mb(plan.pid), 1)
            if outcome.cpu_s and not outcome.lost:
                outcome.arrived_per_cpu_s = round(outcome.arrived / outcome.cpu_s, 1)

    def _latency(self, source: str, target: HttpTarget) -> Outcome:
        """From the PutEvents call to the event's arrival, at 20 events a second."""
        count = max(1, round(_PER_S * self._plan.latency_s))
        self._tell(f"HTTP target: {count} events, {_PER_S} a second")
        requests = self._requests(source, entries=1)
        before = target.requests
        put = self._do(
            paced(self._endpoint.connect, lambda _: requests.take(), per_s=_PER_S, count=count, connections=_AT_A_TIME)
        )

        async def arrived() -> int:
            return target.requests - before

        self._do(self._arrive(arrived, put.accepted))
        found = [target.arrived[event_id] - at for event_id, at in put.at.items() if event_id in target.arrived]
        outcome = Outcome("latency", 1, asked=count, accepted=put.accepted, refused=put.refused)
        outcome.arrived = len(found)
        if found:
            outcome.p50_ms, outcome.p99_ms = _ms(quantile(found, 0.5)), _ms(quantile(found, 0.99))
        elif target.requests > before:
            outcome.arrived = target.requests - before
            outcome.note = "deliveries do not carry the ids that PutEvents gave: no latency"
        return outcome

    def _cpu_s(self) -> float | None:
        return None if self._plan.pid is None else process.cpu_s(self._plan.pid)

    def _requests(self, source: str, *, entries: int = 10) -> PutEvents:
        endpoint = self._endpoint
        return PutEvents(endpoint.credentials, endpoint.region, host=endpoint.host, entries=entries, source=source)

    async def _put(self, requests: PutEvents, events: int) -> Put:
        return await saturate(self._endpoint.connect, requests, events, connections=self._plan.connections)

    async def _arrive(self, count: Callable[[], Awaitable[int]], expected: int) -> tuple[int, float]:
        """How many have arrived, and when the last was seen to: once all have, or none more have for `wait_s`."""
        held, started = 0, self._now()
        last = told = started
        while True:
            found = await count()
            now = self._now()
            if found != held:
                held, last = found, now
            if held >= expected or now - last > self._plan.wait_s:
                return held, last
            if now - told > 5:
                told = now
                self._tell(f"  {held:,} of {expected:,} have arrived")
            # The longer it takes, the less often it is asked, since asking has a price.
            await asyncio.sleep(min(_POLL_S_MAX, max(_POLL_S_MIN, (now - started) / 50)))

    async def _make_queue(self, name: str) -> tuple[str, str]:
        url, arn = await self._endpoint.create_queue(name)
        self._undo.append(lambda: self._endpoint.delete_queue(url))
        return url, arn

    async def _make_rules(self, name: str, rules: int, target: dict[str, Any]) -> None:
        """Rules of which the first matches, all with the target."""
        numbers = iter(range(rules))
        events = self._endpoint.events

        async def worker() -> None:
            for number in numbers:
                rule = f"{name}-{number}"
                self._rules.append(partial(self._delete_rule, rule, target["Id"]))
                text = json.dumps(pattern(number, source=name))
                await events("PutRule", {"Name": rule, "EventPattern": text, "State": "ENABLED"})
                answer = await events("PutTargets", {"Rule": rule, "Targets": [target]})
                for failed in answer.get("FailedEntries") or ():
                    raise EndpointRefused("PutTargets", str(failed.get("ErrorCode")), str(failed.get("ErrorMessage")))

        async with tasks() as group:
            for _ in range(min(_AT_A_TIME, rules)):
                group.create_task(worker())

    async def _delete_rule(self, rule: str, target_id: str) -> None:
        await self._endpoint.events("RemoveTargets", {"Rule": rule, "Ids": [target_id]})
        await self._endpoint.events("DeleteRule", {"Name": rule})

    async def _make_http(self, name: str, port: int) -> None:
        events = self._endpoint.events
        key = {"ApiKeyName": "X-Bench", "ApiKeyValue": "none-that-counts"}
        connection = await events(
            "CreateConnection",
            {"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": key}},
        )
        self._undo.append(lambda: events("DeleteConnection", {"Name": name}))
        destination: dict[str, Any] = {
            "Name": name,
            "ConnectionArn": connection.get("ConnectionArn", ""),
            "InvocationEndpoint": f"http://127.0.0.1:{port}/events",
            "HttpMethod": "POST",
        }
        try:
            limited = {**destination, "InvocationRateLimitPerSecond": _RATE_LIMIT}
            made = await events("CreateApiDestination", limited)
        except EndpointRefused:  # its quota is lower: then its default rate
            made = await events("CreateApiDestination", destination)
        arn = str(made.get("ApiDestinationArn", ""))
        self._undo.append(lambda: events("DeleteApiDestination", {"Name": name}))
        account = (arn.split(":") + [""] * 5)[4]
        target = {"Id": "http", "Arn": arn, "RoleArn": f"arn:aws:iam::{account}:role/{self._name}"}
        await self._make_rules(name, 1, target)


def _named(outcome: Outcome) -> str:
    return (
        f"queue, {outcome.rules:,} rule{'s' if outcome.rules > 1 else ''}" if outcome.path == "queue" else "HTTP target"
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
