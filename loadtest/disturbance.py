"""Does PutRule disturb delivery? Events for a target outside the hub, from PutEvents to their arrival, on a bus with
many rules: undisturbed, and while rules are put, changed and deleted on the same bus, in turns.

All of the bus's rules ask for the source of the events, so that each change touches the index that each event is held
against; one of them matches. Another connection asks for /healthz meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from loadtest.client import Connection, request
from loadtest.control_plane_calls import event, pattern
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.recorder import Recorder

RATE_PER_S = 200
CHANGES_PER_S = 20
_BUS = "busy"
_PROBE_S = 0.005
_ARRIVAL_S_MAX = 60.0
_REST_S = 0.5
"""After each slice, so that what follows from its changes is done before the next."""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"


class Spread(msgspec.Struct, frozen=True):
    """Of some durations, in ms."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def spread(took_ms: list[float]) -> Spread:
    ordered = sorted(took_ms)
    figures = (ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])
    return Spread(len(ordered), *(round(figure, 3) for figure in figures))


class Phase(msgspec.Struct):
    """What was measured of one kind, in ms; a number of slices add up to it. `hub_cpu_s` in `seconds`."""

    delivery_ms: list[float] = []
    put_rule_ms: list[float] = []
    health_ms: list[float] = []
    hub_cpu_s: float = 0.0
    seconds: float = 0.0

    def add(self, slice: "Phase") -> None:
        self.delivery_ms += slice.delivery_ms
        self.put_rule_ms += slice.put_rule_ms
        self.health_ms += slice.health_ms
        self.hub_cpu_s += slice.hub_cpu_s
        self.seconds += slice.seconds


class Told(msgspec.Struct, frozen=True):
    """A phase, summed up. `hub_busy` is the hub's share of one processor."""

    delivery: Spread
    put_rule: Spread | None
    health: Spread
    hub_busy: float

    @classmethod
    def of(cls, phase: Phase) -> "Told":
        return cls(
            spread(phase.delivery_ms),
            spread(phase.put_rule_ms) if phase.put_rule_ms else None,
            spread(phase.health_ms),
            round(phase.hub_cpu_s / phase.seconds, 2),
        )


class Result(msgspec.Struct, frozen=True):
    """`ratio` is the disturbed p99 of delivery to the undisturbed one, over all slices; `ratios` are those of each two
    slices that follow each other, sorted."""

    rules: int
    undisturbed: Told
    disturbed: Told
    ratio: float
    ratios: list[float]


def _settings(rules: int, port: int) -> dict[str, Any]:
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:outside"
    role = f"arn:aws:iam::{ACCOUNT}:role/events"
    keys = {"access_key_id": "none", "secret_access_key": "none-that-counts"}
    return {
        "endpoints": [{"service": "sqs", "url": f"http://127.0.0.1:{port}", "account": ACCOUNT, "credentials": keys}],
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "buses": [{"Name": _BUS}],
                "rules": [
                    {
                        "Name": f"rule-{number}",
                        "EventBusName": _BUS,
                        "EventPattern": msgspec.json.decode(pattern(number)),
                        "Targets": [{"Id": "queue", "Arn": queue, "RoleArn": role}],
                    }
                    for number in range(rules)
                ],
            }
        ],
    }


def call(operation: str, **members: Any) -> bytes:
    return request(f"AWSEvents.{operation}", members, account=ACCOUNT, region=REGION)


async def answered(connection: Connection, payload: bytes, what: str) -> bytes:
    """The answer's body. Raises RuntimeError for a refusal."""
    status, body = await connection.send(payload)
    if status != 200 or (b'"FailedEntryCount":' in body and b'"FailedEntryCount":0' not in body):
        raise RuntimeError(f"{what} failed: {status} {body[:300]!r}")
    return body


async def _every(seconds: float, once: Callable[[int], Coroutine[Any, Any, None]], count: int | None) -> None:
    """Begin one after the other at a steady rate, whether or not those before have ended; until cancelled where there
    is no count."""
    started = time.monotonic()
    number = 0
    async with asyncio.TaskGroup() as running:
        while count is None or number < count:
            await asyncio.sleep(max(0.0, started + number * seconds - time.monotonic()))
            running.create_task(once(number))
            number += 1


class _Site:
    """A hub, and the ways in which it is called; each keeps how long it took."""

    def __init__(self, hub: Hub, recorder: Recorder, rules: int) -> None:
        self._hub = hub
        self._recorder = recorder
        self._rules = rules
        self._changes = 0
        self._opened: list[Connection] = []
        self._idle: list[Connection] = []

    async def _call(self, payload: bytes, what: str) -> bytes:
        if not self._idle:
            self._opened.append(await Connection.open(self._hub.port))
            self._idle.append(self._opened[-1])
        connection = self._idle.pop()
        body = await answered(connection, payload, what)
        self._idle.append(connection)
        return body

    async def slice(self, samples: int, *, disturbed: bool) -> Phase:
        """Put so many events, wait until all have come; change rules meanwhile where it is to be disturbed."""
        put_ns: dict[str, int] = {}
        found = Phase()
        put_event = call("PutEvents", Entries=[event(0, EventBusName=_BUS)])

        async def put(_: int) -> None:
            before_ns = time.monotonic_ns()
            body = await self._call(put_event, "PutEvents")
            put_ns[msgspec.json.decode(body)["Entries"][0]["EventId"]] = before_ns

        async def change(_: int) -> None:
            operation, payload = self._change()
            before_ns = time.monotonic_ns()
            await self._call(payload, operation)
            if operation == "PutRule":
                found.put_rule_ms.append((time.monotonic_ns() - before_ns) / 1e6)

        async def probe(_: int) -> None:
            before_ns = time.monotonic_ns()
            await self._call(HEALTH, "GET /healthz")
            found.health_ms.append((time.monotonic_ns() - before_ns) / 1e6)

        cpu_s, started = self._hub.cpu_s(), time.monotonic()
        beside = [asyncio.create_task(_every(_PROBE_S, probe, None))]
        if disturbed:
            beside.append(asyncio.create_task(_every(1 / CHANGES_PER_S, change, None)))
        await _every(1 / RATE_PER_S, put, samples)
        found.hub_cpu_s, found.seconds = self._hub.cpu_s() - cpu_s, time.monotonic() - started
        for task in beside:
            if task.done():
                task.result()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        arrived_ns = await self._arrived(put_ns)
        found.delivery_ms = [(arrived_ns[event_id] - before_ns) / 1e6 for event_id, before_ns in put_ns.items()]
        await asyncio.sleep(_REST_S)
        return found

    def _change(self) -> tuple[str, bytes]:
        """In turn: a new rule, another pattern for one that there is, and the new rule deleted."""
        number, kind = divmod(self._changes, 3)
        self._changes += 1
        if kind == 2:
            return "DeleteRule", call("DeleteRule", Name=f"new-{number}", EventBusName=_BUS)
        if kind == 0:
            name, text = f"new-{number}", pattern(self._rules + number)
        else:
            # The first one is that of the events.
            known = 1 + number * 7919 % (self._rules - 1)
            name, text = f"rule-{known}", pattern(known, changed=1 + number)
        return "PutRule", call("PutRule", Name=name, EventBusName=_BUS, EventPattern=text)

    async def _arrived(self, put: dict[str, int]) -> dict[str, int]:
        end = time.monotonic() + _ARRIVAL_S_MAX
        while True:
            arrived = await asyncio.to_thread(self._recorder.arrived)
            missing = len(put.keys() - arrived.keys())
            if not missing:
                return arrived
            if time.monotonic() > end:
                raise RuntimeError(f"{missing} of {len(put)} events have not come within {_ARRIVAL_S_MAX:g} s")
            await asyncio.sleep(0.1)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


def measure(rules: int, *, samples: int, slices: int, tell: Callable[[str], None] = lambda line: None) -> Result:
    """One hub, undisturbed and disturbed in turns: so many slices of each, `samples` events of each in all."""

    async def all_slices(site: _Site) -> Result:
        await site.slice(RATE_PER_S, disturbed=False)
        await site.slice(RATE_PER_S, disturbed=True)
        undisturbed, disturbed = Phase(), Phase()
        ratios = []
        for _ in range(slices):
            before = await site.slice(samples // slices, disturbed=False)
            after = await site.slice(samples // slices, disturbed=True)
            undisturbed.add(before)
            disturbed.add(after)
            ratios.append(round(spread(after.delivery_ms).p99_ms / spread(before.delivery_ms).p99_ms, 2))
        site.close()
        quiet, busy = Told.of(undisturbed), Told.of(disturbed)
        return Result(rules, quiet, busy, round(busy.delivery.p99_ms / quiet.delivery.p99_ms, 3), sorted(ratios))

    with Recorder(delay_ms=0) as recorder, Hub(_settings(rules, recorder.port)) as hub:
        result = asyncio.run(all_slices(_Site(hub, recorder, rules)))
    tell(f"undisturbed    {described(result.undisturbed)}")
    tell(f"rules change   {described(result.disturbed)}")
    return result


def described(told: Told) -> str:
    """A phase in one line."""
    delivery, health = told.delivery, told.health
    line = (
        f"delivered p50 {delivery.p50_ms:6.2f} p99 {delivery.p99_ms:7.2f} max {delivery.max_ms:7.2f} ms   "
        f"/healthz p99 {health.p99_ms:6.2f} max {health.max_ms:6.2f} ms   hub {told.hub_busy:.0%} busy"
    )
    if told.put_rule:
        line += f"   PutRule p50 {told.put_rule.p50_ms:.2f} p99 {told.put_rule.p99_ms:.2f} ms"
    return line
