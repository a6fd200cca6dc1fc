"""A target that is away while a million deliveries to it gather: whom it slows, what it costs, how it ends.

    python -m loadtest.outage [--parked 1000000] [--samples 2000] [--outage 500] [--stop kill]

Two rules on one bus. What matches the first goes to queue A, what matches the second to queue B; both are SQS endpoints
outside the hub, a process each. A second hub, whose queue A is never away, stands beside it and gets B's load at the
same time: what the machine does to both (its disk above all) is not the outage's doing. `--alone` leaves it out, for
figures from a machine that does nothing else. In one run, with hubs that sync their commits:

    1. B is measured with A idle: 200 events a second, each timed from just before its PutEvents call until it is at B.
    2. A goes away (`--outage`: it answers 500, refuses connections, or hangs). Events for it are put as fast as the
       hub takes them, until `--parked` deliveries wait. B is measured meanwhile, for information.
    3. B is measured while all of them wait. A's calls are counted: a target that is away is probed, not hammered.
    4. The hub is killed (`--stop term`: stopped) and started again; it is ready when `/readyz` says so.
    5. A comes back. Every event that was acknowledged must arrive; what comes twice is counted.
    6. B is measured with A idle once more, which tells what the machine itself did to the figures meanwhile.
    7. The hub stops, and `crossbus store verify` checks the store.

Ends with 1 when something is lost or a limit is not met. A smaller run, for a look:

    python -m loadtest.outage --parked 50000 --samples 500
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from loadtest.hub import Hub
from loadtest.outage_load import RATE, Memory, ReadHub, fill, settings, steady
from loadtest.outage_queue import SPAWN, Outage, QueueEndpoint
from loadtest.report import write

Stop = Literal["kill", "term"]
MEMORY_MB_MAX = 300.0
READY_S_MAX = 5.0
ARRIVED_PER_S_MIN = 5000
RATIO_MAX = 2.0
MORE_MS_MAX = 5.0
"""B's p99 may be so many times as long while A is away, or so much longer."""
_TOLD_EVERY_S = 5.0
_ARRIVAL_S_MAX = 60.0
"""How long after the last PutEvents an event may need to B; later it is lost."""
_SETTLED_S_MAX = 10.0
_RETURN_S_MAX = 1800.0
"""How long after A's return its events may need; the longest wait between two tries of one is 900 s."""


class Latency(msgspec.Struct, frozen=True):
    """From just before a PutEvents call of one entry to the event's arrival outside the hub."""

    samples: int
    p50_ms: float
    p99_ms: float
    most_ms: float

    def __str__(self) -> str:
        return f"{self.p50_ms:.2f} / {self.p99_ms:.2f} / {self.most_ms:.0f}"


class Result(msgspec.Struct, kw_only=True):
    """What came of a run."""

    asked: int
    outage: Outage
    stop: Stop
    parked: int = 0
    """Deliveries that waited for A, as the hub said."""
    parked_after_restart: int = 0
    filled_per_s: int = 0
    latency: dict[str, Latency] = {}
    """B's, by phase."""
    beside: dict[str, Latency] = {}
    """That of B at the hub beside it, at the same time; empty where there is none."""
    busy: dict[str, float] = {}
    """Processors that were busy meanwhile, with whatever the machine did."""
    calls: int = 0
    """That A got while it was away; none can be counted where it refuses connections."""
    calls_per_s: float = 0.0
    """While all deliveries waited."""
    calls_per_s_most: int = 0
    tries: int = 0
    """Deliveries that the hub tried while A was away, as it counts them, up to the restart."""
    memory_mb: dict[str, float] = {}
    """The most anonymous memory of the hub, by phase."""
    store_mb: float = 0.0
    stop_s: float = 0.0
    ready_s: float = 0.0
    ready_cpu_s: float = 0.0
    """Of the hub; other work on the machine does not lengthen it."""
    first_s: float = 0.0
    """From A's return to its first event."""
    most_arrived_s: float = 0.0
    """Until 99 of 100 have arrived."""
    arrived_s: float = 0.0
    """Until all have arrived."""
    arrived_cpu_s: float = 0.0
    """Of the hub, meanwhile."""
    lost: int = 0
    """Acknowledged events that did not come, of A's and of B's; of those beside it too."""
    twice: int = 0
    dead_letters: int = 0
    verified: str = ""
    """`good`, or what `crossbus store verify` said last."""
    seconds: float = 0.0

    @property
    def arrived_per_s(self) -> float:
        return self.parked / self.arrived_s if self.arrived_s else 0.0

    def rows(self, *, ratio_max: float | None = None) -> list[tuple[str, str, str, bool]]:
        """What was measured, what was asked (or `-`), what was reached, whether that is met."""
        memory = max(self.memory_mb, key=self.memory_mb.__getitem__)
        kept = self.parked_after_restart == self.asked
        calls = ("-", "-") if self.outage == "refuse" else (f"{self.calls_per_s:.2f}", f"{self.calls_per_s_most:,}")
        return [
            ("deliveries that waited for A", f"{self.asked:,}", f"{self.parked:,}", self.parked == self.asked),
            ("  put a second", "-", f"{self.filled_per_s:,}", True),
            *((f"B, {phase}: p50 / p99 / most ms", "-", self._told(phase), True) for phase in self.latency),
            *self._ratios(ratio_max),
            ("calls to A a second, all parked", "-", calls[0], True),
            ("  most in a second of its outage", "-", f"{calls[1]} of {self.calls:,}", True),
            ("deliveries tried before the restart", "-", f"{self.tries:,}", True),
            (
                "anonymous memory, most MB",
                f"< {MEMORY_MB_MAX:g}",
                f"{self.memory_mb[memory]:.0f} ({memory})",
                self.memory_mb[memory] < MEMORY_MB_MAX,
            ),
            ("store, MB", "-", f"{self.store_mb:,.0f}", True),
            (f"stopped ({self.stop}) after s", "-", f"{self.stop_s:.2f}", True),
            ("ready again after s", f"< {READY_S_MAX:g}", f"{self.ready_s:.2f}", self.ready_s < READY_S_MAX),
            ("  of the hub's CPU", "-", f"{self.ready_cpu_s:.2f}", True),
            ("  waiting then", f"{self.asked:,}", f"{self.parked_after_restart:,}", kept),
            ("A's first event after s", "-", f"{self.first_s:.2f}", True),
            ("99 of 100 of A's events after s", "-", f"{self.most_arrived_s:.1f}", True),
            ("all of A's events after s", "-", f"{self.arrived_s:.1f}", True),
            (
                "  events a second",
                f">= {ARRIVED_PER_S_MIN:,}",
                f"{self.arrived_per_s:,.0f}",
                self.arrived_per_s >= ARRIVED_PER_S_MIN,
            ),
            ("  a second of the hub's CPU", "-", f"{self.parked / max(self.arrived_cpu_s, 0.01):,.0f}", True),
            ("lost, of all events", "0", f"{self.lost:,}", self.lost == 0),
            ("dead letters", "0", f"{self.dead_letters:,}", self.dead_letters == 0),
            ("came twice", "-", f"{self.twice:,}", True),
            ("crossbus store verify", "good", self.verified, self.verified == "good"),
        ]

    def _told(self, phase: str) -> str:
        figures = f"{self.latency[phase]!s:<21}"
        if self.beside:
            figures += f"  beside it {self.beside[phase]!s:<21}"
        return f"{figures}  {self.busy[phase]:.1f} of {os.cpu_count()} processors busy"

    def _ratios(self, ratio_max: float | None) -> Iterator[tuple[str, str, str, bool]]:
        """B's p99 while all waited, to that before and to that beside it; a limit is for the last of them."""
        found = {"undisturbed": self.latency["undisturbed"]}
        if self.beside:
            found["beside it"] = self.beside["parked"]
        parked_ms = self.latency["parked"].p99_ms
        for name, other in found.items():
            ratio = parked_ms / other.p99_ms
            limit = ratio_max if name == list(found)[-1] else None
            more_ms = parked_ms - other.p99_ms
            yield (
                f"B's p99, parked / {name}",
                "-" if limit is None else f"<= {limit:g} or +{MORE_MS_MAX:g} ms",
                f"{ratio:.2f} ({more_ms:+.2f} ms)",
                limit is None or ratio <= limit or more_ms <= MORE_MS_MAX,
            )

    def good(self, *, ratio_max: float | None = None) -> bool:
        return all(met for *_, met in self.rows(ratio_max=ratio_max))


class _Site(msgspec.Struct):
    """A hub, its queue B, and when each PutEvents call for B began, by the event's id."""

    hub: Hub
    b: QueueEndpoint
    put: dict[str, int] = {}

    async def measure(self, more: Callable[[int], bool]) -> Latency:
        put: dict[str, int] = {}
        await steady(self.hub.port, put, more=more)
        self.put |= put
        arrived = await asyncio.to_thread(self.b.arrived_of, len(self.put), within_s=_ARRIVAL_S_MAX)
        took = sorted((arrived[event_id] - put_ns) / 1e6 for event_id, put_ns in put.items() if event_id in arrived)
        if not took:
            raise RuntimeError("expected events at B, got none")
        figures = (took[len(took) // 2], took[len(took) * 99 // 100], took[-1])
        return Latency(len(took), *(round(figure, 3) for figure in figures))

    def lost(self) -> int:
        return len(self.put.keys() - self.b.arrived().keys())


class _Run:
    """The steps of a run; the module says which there are."""

    def __init__(self, result: Result, a: QueueEndpoint, site: _Site, beside: _Site | None, memory: Memory) -> None:
        self._result = result
        self._a = a
        self._hub = site.hub
        self._site = site
        self._beside = beside
        self._memory = memory
        self._put_a: list[str] = []

    def steps(self, samples: int, tell: Callable[[str], None]) -> None:
        """One after the other, each with an event loop of its own."""

        def more(count: int) -> bool:
            return count < samples

        tell("B is measured, undisturbed")
        asyncio.run(self.warm_up())
        asyncio.run(self.measure("undisturbed", more))
        tell("A goes away")
        asyncio.run(self.fill(tell))
        tell("all wait for A; B is measured")
        asyncio.run(self.all_wait(more))
        tell("the hub is stopped and started again; B is measured")
        self.restart()
        asyncio.run(self.measure("restarted", more))
        tell("A comes back")
        asyncio.run(self.come_back(more, tell))
        tell("B is measured, undisturbed again")
        asyncio.run(self.measure("undisturbed again", more))
        self.account()
        tell("the store is verified")
        self.verify()

    async def measure(self, phase: str, more: Callable[[int], bool]) -> None:
        """Put events for B while there are `more`, wait until all are there, and keep how long they took."""
        self._memory.phase = phase
        busy_s, started = _busy_s(), time.monotonic()
        sites = [self._site] if self._beside is None else [self._site, self._beside]
        latency, *beside = await asyncio.gather(*(site.measure(more) for site in sites))
        self._result.busy[phase] = round((_busy_s() - busy_s) / (time.monotonic() - started), 2)
        self._result.latency[phase] = latency
        if beside:
            self._result.beside[phase] = beside[0]

    async def warm_up(self) -> None:
        """A second of load that does not count."""
        await self.measure("warm-up", lambda count: count < RATE)
        for figures in (self._result.latency, self._result.beside):
            figures.pop("warm-up", None)

    async def fill(self, tell: Callable[[str], None]) -> None:
        """Let A go away, and put events for it until as many wait as were asked for; measure B meanwhile."""
        self._a.leave()
        asked = self._result.asked
        pipe, other = SPAWN.Pipe()
        process = SPAWN.Process(target=fill, args=(other, self._hub.port, asked), daemon=True)
        process.start()
        other.close()
        taken = 0
        started = time.monotonic()

        async def follow() -> None:
            nonlocal taken
            told = started
            while taken < asked:
                await asyncio.sleep(0.1)
                while taken < asked and pipe.poll():
                    taken = pipe.recv()
                if time.monotonic() > told + _TOLD_EVERY_S:
                    told = time.monotonic()
                    rate, memory_mb = taken / (told - started), self._memory.most_mb.get("filling", 0.0)
                    tell(f"{taken:,} of {asked:,} put for A, {rate:,.0f} a second, {memory_mb:.0f} MB")
            self._result.filled_per_s = round(asked / (time.monotonic() - started))

        following = asyncio.create_task(follow())
        await self.measure("filling", lambda count: taken < asked and not following.done())
        await following
        self._put_a = pipe.recv()
        pipe.close()
        process.join(10)
        process.close()

    async def all_wait(self, more: Callable[[int], bool]) -> None:
        """Measure B, and count A's calls, while all that were put for A wait."""
        before, started = self._a.stats(), time.monotonic()
        await self.measure("parked", more)
        calls = self._a.stats().calls - before.calls
        self._result.calls_per_s = round(calls / (time.monotonic() - started), 2)
        self._result.parked = self._waiting()
        self._result.tries = _tried(self._hub)
        self._result.store_mb = round(_status(self._hub)["store_bytes"] / 1e6)

    def restart(self) -> None:
        """Stop the hub, one way or the other, and start it on what it has on disk."""
        self._memory.phase = "starting"
        started = time.monotonic()
        if self._result.stop == "kill":
            self._hub.kill()
        else:
            _terminate(self._hub)
        self._result.stop_s = round(time.monotonic() - started, 3)
        started = time.monotonic()
        self._hub.start()
        while not _ready(self._hub):
            time.sleep(0.01)
        self._result.ready_s = round(time.monotonic() - started, 3)
        self._result.ready_cpu_s = round(self._hub.cpu_s(), 3)
        self._result.parked_after_restart = self._waiting()

    def _waiting(self) -> int:
        """Deliveries that wait, once B's are settled: that takes a moment after they have come."""
        end = time.monotonic() + _SETTLED_S_MAX
        while (pending := int(_status(self._hub)["pending"])) > self._result.asked and time.monotonic() < end:
            time.sleep(0.02)
        return pending

    async def come_back(self, more: Callable[[int], bool], tell: Callable[[str], None]) -> None:
        """Let A come back, and wait until it has all; measure B at the beginning."""
        result, asked = self._result, self._result.asked
        away = self._a.stats()
        result.calls, result.calls_per_s_most = away.calls, away.calls_per_s_most
        cpu_s = self._hub.cpu_s()
        back_ns = self._a.come_back()

        async def follow() -> None:
            started = told = time.monotonic()
            while (events := (await asyncio.to_thread(self._a.stats)).events) < asked:
                if time.monotonic() > told + _TOLD_EVERY_S:
                    told = time.monotonic()
                    memory_mb = self._memory.most_mb.get("returning", 0.0)
                    rate = events / (told - started)
                    tell(f"{events:,} of {asked:,} have come to A, {rate:,.0f} a second, {memory_mb:.0f} MB")
                if time.monotonic() > started + _RETURN_S_MAX or self._hub.process.poll() is not None:
                    return
                await asyncio.sleep(0.2)

        following = asyncio.create_task(follow())
        await self.measure("returning", more)
        await following
        result.arrived_cpu_s = round(self._hub.cpu_s() - cpu_s, 3)
        took_s = sorted((arrived_ns - back_ns) / 1e9 for arrived_ns in self._a.arrived().values())
        if took_s:
            result.first_s = round(took_s[0], 3)
            result.most_arrived_s = round(took_s[len(took_s) * 99 // 100], 3)
            result.arrived_s = round(took_s[-1], 3)

    def account(self) -> None:
        """Look for every event that was acknowledged, and for what else became of any."""
        beside = self._beside
        self._result.lost = len(set(self._put_a) - self._a.arrived().keys()) + self._site.lost()
        self._result.lost += beside.lost() if beside else 0
        self._result.twice = self._a.stats().repeats + self._site.b.stats().repeats
        self._result.dead_letters = _status(self._hub)["dead_letters"]
        self._result.memory_mb = self._memory.most_mb

    def verify(self) -> None:
        """Stop the hub and have its store verified."""
        _terminate(self._hub)
        command = [sys.executable, "-m", "router", "store", "verify", "--data-folder", str(self._hub.data_folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self._result.verified = "good" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def _busy_s() -> float:
    """Processor time that the machine has spent on anything since it started."""
    spent = [int(field) for field in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return (sum(spent) - spent[3] - spent[4]) / os.sysconf("SC_CLK_TCK")  # without idling and waiting for a disk


def _get(hub: Hub, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{hub.port}{path}", timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def _status(hub: Hub) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_get(hub, "/_hub/v1/status"))
    return found


def _tried(hub: Hub) -> int:
    """Attempts that failed and are made again; all of them are A's."""
    lines = _get(hub, "/metrics").splitlines()
    found = [line for line in lines if line.startswith("crossbus_attempts_total{") and 'outcome="retryable"' in line]
    return round(sum(float(line.rpartition(" ")[2]) for line in found))


def _ready(hub: Hub) -> bool:
    try:
        return _get(hub, "/readyz") == "ready\n"
    except urllib.error.HTTPError:
        return False


def _terminate(hub: Hub) -> None:
    """SIGTERM, and wait until it is gone."""
    hub.process.terminate()
    hub.process.wait(60)
    assert hub.process.stderr is not None
    hub.process.stderr.close()


def run(
    parked: int,
    *,
    samples: int = 2000,
    outage: Outage = "500",
    stop: Stop = "kill",
    alone: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """One run; `tell` hears how far it is."""
    started = time.monotonic()
    result = Result(asked=parked, outage=outage, stop=stop)
    with ExitStack() as stack:
        a = stack.enter_context(QueueEndpoint(outage))
        site = _site(stack, a)
        beside = None if alone else _site(stack, a)
        memory = stack.enter_context(Memory(site.hub))
        _Run(result, a, site, beside, memory).steps(samples, tell)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def _site(stack: ExitStack, a: QueueEndpoint) -> _Site:
    b = stack.enter_context(QueueEndpoint())
    return _Site(stack.enter_context(ReadHub(settings(a.port, b.port))), b)


def table(result: Result, *, ratio_max: float | None = None) -> str:
    """The run as people read it."""
    rows: list[tuple[str, str, str, bool]] = [("", "asked", "reached", True), *result.rows(ratio_max=ratio_max)]
    widths = [max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)]
    return "\n".join(
        f"{what:<{widths[0]}}  {asked:>{widths[1]}}  {reached}{'' if met else '   NOT MET'}"
        for what, asked, reached, met in rows
    )


def main() -> None:
    """Run once, print the table, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--parked", type=int, default=1_000_000, help="deliveries that wait for A (default 1000000)")
    arguments.add_argument("--samples", type=int, default=2000, help="events for B in each phase (default 2000)")
    arguments.add_argument("--outage", choices=get_args(Outage), default="500", help="what A does (default 500)")
    arguments.add_argument(
        "--stop", choices=get_args(Stop), default="kill", help="how the hub is stopped (default kill)"
    )
    arguments.add_argument("--alone", action="store_true", help="without a second hub beside it")
    arguments.add_argument(
        "--ratio-max",
        type=float,
        default=RATIO_MAX,
        help="fail where B's p99 becomes more than so many times as long, and more than 5 ms longer (default 2)",
    )
    chosen = arguments.parse_args()
    started = time.monotonic()
    result = run(
        chosen.parked,
        samples=chosen.samples,
        outage=chosen.outage,
        stop=chosen.stop,
        alone=chosen.alone,
        tell=lambda line: print(f"{time.monotonic() - started:7.1f} s  {line}", flush=True),
    )
    print(f"\n{table(result, ratio_max=chosen.ratio_max)}\n{result.seconds:g} s")
    write("outage", msgspec.to_builtins(result))
    sys.exit(0 if result.good(ratio_max=chosen.ratio_max) else 1)


if __name__ == "__main__":
    main()
