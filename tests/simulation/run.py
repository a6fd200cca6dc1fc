"""One run: a few processes one after the other on what each left on the disk, under one seed.

Events come in, rules and targets change and dead letters are redriven while targets and the disk fail, until the
machine goes down; that happens at least twice. The last process lives: in the end its world becomes calm, and all that
is pending must be settled by the time it is due. The judges look at the disk after each crash and at everything in the
end.
"""

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Literal, TextIO

import msgspec

from router import limits
from tests.simulation import checkers, counters, scenario, stories
from tests.simulation.audit import Found
from tests.simulation.clock import SimulatedLoop
from tests.simulation.faults import Weather
from tests.simulation.hub import Process, SimulatedWorld
from tests.simulation.ledger import Ledger
from tests.simulation.probes import Probes
from tests.simulation.store import CRASH_POINTS, Disk, Image, SimulatedStore
from tests.simulation.traffic import Traffic

EVENTS_MIN = 200
End = Literal["crash", "stop"]
COMMAND = ".venv/bin/python -m tests.simulation --seed"
_PEACE_SLACK_S = 60.0
_WRONG_SHOWN_MAX = 8


class Violation(AssertionError):
    """Promises that were broken, each in words, with the command that runs the seed again."""

    def __init__(self, seed: int, wrong: list[str]) -> None:
        self.wrong = wrong
        shown = list(dict.fromkeys(wrong))
        more = [f"… and {len(shown) - _WRONG_SHOWN_MAX} more"] if len(shown) > _WRONG_SHOWN_MAX else []
        super().__init__(
            "\n".join([f"seed {seed}:", *shown[:_WRONG_SHOWN_MAX], *more, f"run it again: {COMMAND} {seed}"])
        )


class Report(msgspec.Struct, frozen=True):
    """What a run was. `trace` is the digest of everything that happened in it, in order."""

    seed: int
    events: int
    attempts: int
    crashes: int
    hours: float
    reached: Counter[str]
    trace: str


class Run:
    """See the module. `execute` may be called once; everything that happens is told `to` a stream."""

    def __init__(self, seed: int, to: TextIO | None = None) -> None:
        self.seed = seed
        self._to = to
        self.dice = random.Random(seed)
        self.reached: Counter[str] = Counter()
        self.loop = SimulatedLoop()
        self.ledger = Ledger(self.loop.now_ms, self.hit, self.note)
        self.image = Image()
        self.disk = Disk(self.dice, self.hit, self._trouble)
        self.weathers = {
            name: Weather(self.dice, self.loop, self.hit, bad=self.dice.uniform(0.1, 0.4), long_outage=name == "rare")
            for name in (*scenario.HTTP_TARGETS, "function", "letters")
        }
        self.crashes = self.dice.randint(2, 3)
        self._probed_after = self.dice.choice((3, 10))
        self._deposits = self.dice.random() < 0.7
        self.wrong: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._ids = count(1)
        self.traffic = Traffic(self.dice, self.ledger, self._ids.__next__)
        self._before = Found(self.image)
        self._over = asyncio.Event()
        self._world: SimulatedWorld | None = None
        self.loop.set_exception_handler(self._escaped)

    # what is noted

    def _escaped(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.wrong.append(f"{context['message']}: {context.get('exception')!r}")

    def hit(self, kind: str) -> None:
        self.reached[kind] += 1
        self.note(kind)

    def note(self, text: str) -> None:
        line = f"{self.loop.now_ms()} {text}\n"
        self._digest.update(line.encode())
        if self._to is not None:
            self._to.write(line)

    def _trouble(self, start: float, stop: float) -> None:
        offset = self.loop.now_ms() - self.loop.time() * 1000
        self.ledger.troubles.append((int(start * 1000 + offset), int(stop * 1000 + offset) + 1))

    def _alarmed(self, text: str) -> None:
        if self._world is not None and self._world.alive:
            self.wrong.append(text)

    # the run

    def execute(self) -> Report:
        """Raises Violation."""
        try:
            with _bounds(self.dice), _listening(self._alarmed), asyncio.Runner(loop_factory=self._its_loop) as runner:
                runner.run(self._lives())
        except Violation:
            raise
        except Exception as error:
            raise Violation(self.seed, [*self.wrong, f"the run broke off: {error!r}"]) from error
        return Report(
            self.seed,
            self.traffic.events,
            sum(map(len, self.ledger.tries.values())),
            self.crashes,
            self.loop.time() / 3600,
            self.reached,
            self._digest.hexdigest(),
        )

    def _its_loop(self) -> SimulatedLoop:
        return self.loop

    async def _lives(self) -> None:
        ends: list[End] = ["crash"] * self.crashes
        if self.dice.random() < 0.3:
            ends.insert(self.dice.randint(0, len(ends)), "stop")
        for number, end in enumerate(ends, start=1):
            await self._life(end, EVENTS_MIN * number // (len(ends) + 1))
            await self._pause()
        await self._last(await self._started())

    async def _started(self) -> Process:
        world = self._world = SimulatedWorld(self.loop, self.dice, self._ids.__next__)
        store = SimulatedStore(self.image, self.disk, lambda: self._died(process))
        process = Process(store, world, self.ledger, self.weathers, self._probed_after, deposits=self._deposits)
        self.ledger.started()
        self.note("start")
        process.load()
        if self.ledger.process == 0:
            await process.configure()
        else:
            self._judge(self.ledger.book.after_crash(process.views()))
        self.disk.calm = False
        self._before = Found(self.image)
        await process.start()
        return process

    async def _life(self, end: End, events: int) -> None:
        """One process, until so many events were offered in all, or until a commit at which it dies."""
        process = await self._started()
        if end == "crash":
            process.store.crash_after = (self.dice.randint(1, 140), self.dice.choice(CRASH_POINTS))
        over = asyncio.Event()
        self._over = over
        process.begin(lambda: self._work(process, events, over))
        await process.until(over)
        if process.world.alive and end == "stop":
            self.hit("stopped in order")
            await process.stop()
            self._died(process)
        elif process.world.alive:
            self.hit("crash while idle")
            process.store.crash()
        await process.end()
        found = Found(self.image)
        checkers.settle_answers(self.ledger, found, ghost_kept=process.store.ghost_kept)
        self._judge(checkers.account(self.ledger, found))

    async def _work(self, process: Process, events: int, done: asyncio.Event) -> None:
        await self.traffic.run(process, events)
        done.set()

    def _died(self, process: Process) -> None:
        self.wrong += counters.after_crash(process, self.ledger)
        process.world.alive = False
        self.ledger.ended_life()
        self.note("end")
        self._over.set()

    async def _pause(self) -> None:
        """Until the next process is started."""
        throw = self.dice.random()
        await asyncio.sleep(self.dice.uniform(1, 120) if throw < 0.8 else self.dice.uniform(600, 3 * 3600))

    async def _last(self, process: Process) -> None:
        done = asyncio.Event()
        process.begin(lambda: self._work(process, EVENTS_MIN, done))
        await process.until(done)
        self.disk.calm = True
        for weather in self.weathers.values():
            weather.calm = True
        # What is under way ends, and what is parked comes when it is due.
        await asyncio.sleep(1000)
        found = Found(self.image)
        await asyncio.sleep(max(0, found.due_ms - self.loop.now_ms()) / 1000 + _PEACE_SLACK_S)
        found = Found(self.image)
        if found.rows:
            self.wrong.append(f"{found.rows} deliveries are overdue: {sorted(found.pairs())[:3]}")
        self.wrong += counters.in_peace(process, self.ledger, self._before, found)
        probes = Probes(self.ledger, self._probed_after)
        self.reached["target probed"] += probes.count
        self.wrong += checkers.answered(self.ledger) + checkers.retries(self.ledger, found, probes) + self.traffic.wrong
        certain = stories.candidates(self.ledger)
        self.wrong += await stories.told(process, self.ledger, found, self.dice.sample(certain, min(2, len(certain))))
        self._kinds_of_letters(found)
        self._judge(checkers.account(self.ledger, found))
        process.world.alive = False
        await process.end()

    def _kinds_of_letters(self, found: Found) -> None:
        self.reached["dead letter kept"] += sum(map(len, found.kept.values()))
        self.reached["dead letter in an inbox queue"] += sum(map(len, found.queued.values()))
        self.reached["dead letter refused by its queue"] += sum(
            letter.queue_failure is not None for letters in found.kept.values() for letter in letters
        )
        self.reached["dead letter at a real queue"] += sum(
            one.delivered for pair, tries in self.ledger.tries.items() for one in tries if " " in pair.target_id
        )

    def _judge(self, wrong: list[str]) -> None:
        wrong = [*wrong, *self.ledger.wrong, *self.wrong]
        if wrong:
            raise Violation(self.seed, wrong)


@contextmanager
def _bounds(dice: random.Random) -> Iterator[None]:
    """Make what the hub holds in memory small, in some runs."""
    lane, accepts = limits.LANE_DELIVERIES_IN_MEMORY_MAX, limits.ACCEPTS_IN_FLIGHT_MAX
    limits.LANE_DELIVERIES_IN_MEMORY_MAX = dice.choice((3, 10, lane))
    limits.ACCEPTS_IN_FLIGHT_MAX = dice.choice((6, accepts))
    try:
        yield
    finally:
        limits.LANE_DELIVERIES_IN_MEMORY_MAX, limits.ACCEPTS_IN_FLIGHT_MAX = lane, accepts


_ALARMS = frozenset({"deliver.bug", "transform.bug", "store.callback_bug", "delivery.unreadable"})


@contextmanager
def _listening(alarmed: Callable[[str], None]) -> Iterator[None]:
    """Keep the hub's log quiet, but for what it says of its own bugs."""

    def heard(record: logging.LogRecord) -> bool:
        if record.msg in _ALARMS:
            alarmed(f"the hub logged {record.msg}: {record.exc_info[1] if record.exc_info else ''}")
        return False

    logger = logging.getLogger("crossbus")
    level = logger.level
    logger.setLevel(logging.ERROR)
    logger.addFilter(heard)
    try:
        yield
    finally:
        logger.removeFilter(heard)
        logger.setLevel(level)
