"""What goes wrong outside the hub: HTTP targets behind the real sink for API destinations, and sinks that do as the
dice say. And the list of everything that a set of runs must have reached.

Each target has its own weather: a share of bad answers at any time, and outages of minutes or hours in which it gives
nothing else. When the world is calm every target answers at once.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.http_client import Done, HttpClient, HttpFault, Request, Response, Started
from tests.simulation.clock import SimulatedLoop

Kind = Literal[
    "ok", "slow answer", "timeout", "reset", "connection refused", "4xx", "5xx", "429 with Retry-After",
    "401 or 407 or 409", "negative Retry-After",
]  # fmt: skip
_BAD: tuple[tuple[Kind, int], ...] = (
    ("slow answer", 5),
    ("timeout", 3),
    ("reset", 4),
    ("connection refused", 3),
    ("4xx", 1),
    ("5xx", 8),
    ("429 with Retry-After", 4),
    ("401 or 407 or 409", 2),
    ("negative Retry-After", 1),
)
_OUTAGES: tuple[Kind, ...] = ("timeout", "connection refused", "5xx", "reset", "429 with Retry-After")

REACHED = (
    *(kind for kind, _ in _BAD),
    "outage of minutes",
    "outage of hours",
    "sink exception",
    "sink hang",
    "sink with outcomes missing",
    "sink rejects",
    "slow commit",
    "commit failed",
    "batch refused",
    "store full",
    "crash before the sync",
    "crash during the sync",
    "crash before telling",
    "crash after telling",
    "crash after a failed commit",
    "crash while idle",
    "stopped in order",
    "crash lost unsynced batches",
    "crash left a commit that nobody was told of",
    "refused commit there after a crash",
    "answer lost in a crash",
    "attempt cut off by a crash",
    "delivered with its acceptance",
    "throttled at the door",
    "malformed detail",
    "unknown bus",
    "rule changed in flight",
    "rule deleted in flight",
    "target put in flight",
    "target removed in flight",
    "catalog change refused by the store",
    "catalog change cut off by a crash",
    "event under a change",
    "local hop",
    "regional hop",
    "hop too many",
    "retries exhausted",
    "age exhausted",
    "rejected",
    "target gone",
    "dead letter kept",
    "dead letter in an inbox queue",
    "dead letter at a real queue",
    "dead letter refused by its queue",
    "redrive",
    "lane overflowed to disk",
    "target probed",
    "aged out while probed",
)
"""Everything that is counted; over a set of runs none may be zero."""


class Outage:
    """From when to when, in seconds of the loop's time, and what is answered meanwhile."""

    __slots__ = ("kind", "start", "stop")

    def __init__(self, start: float, stop: float, kind: Kind) -> None:
        self.start = start
        self.stop = stop
        self.kind = kind


class Weather:
    """What one target does with a request that comes now."""

    def __init__(
        self, dice: random.Random, loop: SimulatedLoop, hit: Callable[[str], None], *, bad: float, long_outage: bool
    ) -> None:
        self.dice = dice
        self.hit = hit
        self.calm = False
        self._loop = loop
        self._bad = bad
        self._outages: list[Outage] = []
        for _ in range(dice.randint(0, 2)):
            start = dice.uniform(0, 20_000)
            self._outages.append(Outage(start, start + dice.uniform(60, 1800), dice.choice(_OUTAGES)))
        if long_outage:
            start = dice.uniform(0, 3_000)
            self._outages.append(Outage(start, start + dice.uniform(3_600, 6 * 3_600), dice.choice(_OUTAGES)))

    def now(self) -> Kind:
        if self.calm:
            return "ok"
        moment = self._loop.time()
        for outage in self._outages:
            if outage.start <= moment < outage.stop:
                self.hit("outage of hours" if outage.stop - outage.start >= 3_600 else "outage of minutes")
                self.hit(outage.kind)
                return outage.kind
        if self.dice.random() >= self._bad:
            return "ok"
        (kind,) = self.dice.choices([kind for kind, _ in _BAD], [weight for _, weight in _BAD])
        self.hit(kind)
        return kind


class Targets(HttpClient):
    """Stands for the network and every HTTP target on it, by the path of the URL."""

    def __init__(self, weathers: Mapping[str, Weather]) -> None:
        super().__init__()
        self._weathers = weathers
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: Request, done: Done) -> Started:
        async def answer() -> None:
            try:
                result: Response | HttpFault = await self._answer(request)
            except HttpFault as fault:
                result = fault
            done(result)

        task = asyncio.create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(self, request: Request) -> Response:
        weather = self._weathers[request.data.split(b" ", 2)[1].decode().rpartition("/")[2]]
        kind, dice, timeout_s = weather.now(), weather.dice, request.timeout_s
        if kind == "timeout":
            await asyncio.sleep(timeout_s)
            raise HttpFault("timeout", "no complete answer in time")
        await asyncio.sleep(dice.uniform(0.5, timeout_s) if kind == "slow answer" else 0.02)
        match kind:
            case "ok" | "slow answer":
                return Response(dice.choice((200, 202, 204)), {}, b"")
            case "reset":
                raise HttpFault("reset", "the connection was closed before the answer was complete")
            case "connection refused":
                raise HttpFault("connect", "Connection refused")
            case "4xx":
                return Response(dice.choice((400, 403, 404, 410, 413)), {}, b"")
            case "5xx":
                return Response(dice.choice((500, 502, 503, 504)), {}, b"")
            case "429 with Retry-After":
                return Response(429, {"retry-after": str(dice.choice((1, 7, 60, 600, 4000)))}, b"")
            case "401 or 407 or 409":
                return Response(dice.choice((401, 407, 409)), {}, b"")
            case "negative Retry-After":
                return Response(503, {"retry-after": "-1"}, b"")


class ScriptedSink:
    """A sink of many deliveries a call, with everything that a sink may do, and some that it may not."""

    kind: ClassVar[str] = "lambda"
    batch_max: ClassVar[int] = 10
    concurrency: ClassVar[int] = 2

    def __init__(self, weather: Weather, *, kind: str, concurrency: int) -> None:
        vars(self).update(kind=kind, concurrency=concurrency)
        self._weather = weather
        self.bugs = 0

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        weather, dice = self._weather, self._weather.dice
        await asyncio.sleep(0.01)
        if weather.calm:
            return [Delivered()] * len(attempts)
        throw = dice.random()
        if throw < 0.02:
            weather.hit("sink hang")
            await asyncio.sleep(dice.uniform(60, 900))
            return [Retryable("TIMEOUT", "no answer")] * len(attempts)
        if throw < 0.04:
            weather.hit("sink exception")
            raise ZeroDivisionError
        outcomes = [self._outcome() for _ in attempts]
        if throw < 0.06:
            weather.hit("sink with outcomes missing")
            return outcomes[1:]
        return outcomes

    def _outcome(self) -> Outcome:
        throw = self._weather.dice.random()
        if throw < 0.65:
            return Delivered()
        if throw < 0.92:
            after_s = self._weather.dice.choice((None, None, None, 2.0, 30.0))
            return Retryable("THROTTLING", "busy", after_s)
        self._weather.hit("sink rejects")
        return Rejected("NO_PERMISSIONS", "no")
