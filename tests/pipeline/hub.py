"""A hub's data path for tests: the real pipeline, catalog and inboxes, sinks that do as they are told, a clock by hand.

`running` is one process; leaving it cancels everything, as a crash does, and entering it again on the same store (or on
`MemoryStore.crashed()`) is a restart.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import ClassVar, TypeVar

import anyio
import pytest

from router import limits
from router import pipeline as pipeline_module
from router.archive_rows import ArchiveRows
from router.archives import Archives
from router.bus_log import BusLog
from router.catalog import quotas
from router.catalog.archives import Archive
from router.catalog.catalog import Catalog
from router.catalog.model import DeadLetterConfig, InputTransformer, RetryPolicy, Target
from router.catalog.replays import Replay
from router.core.event import Event, Location
from router.core.pace import PaceSettings
from router.dead_letters import DeadLetters
from router.lanes import DeadLetter, Lane
from router.metrics import Metrics, SinkCounters
from router.pipeline import Pipeline
from router.planning import Incoming, Settings
from router.simulator.inboxes import Inboxes
from router.simulator.profiles import Profiles
from router.simulator.records import Message
from router.sinks.base import Attempt, Delivered, Outcome, Retryable, Sink
from router.sinks.event_bus import EventBusSink
from router.sinks.inbox import inbox_sinks
from router.sinks.table import SinkTable
from router.sources.outcome import Refused, Taken
from router.sources.replay import Replays
from router.store.base import Store, Table
from router.trace import Trace
from router.trace_tree import TraceTree

HERE = Location("111111111111", "us-east-1")
OTHER = Location("222222222222", "us-east-1")
FAR = Location("111111111111", "eu-west-1")
ELSEWHERE = Location("222222222222", "eu-west-1")
ORDERS = '{"source":["orders"]}'
FUNCTION = "arn:aws:lambda:us-east-1:111111111111:function:work"
QUEUE = "arn:aws:sqs:us-east-1:111111111111:queue"
LETTERS = "arn:aws:sqs:us-east-1:111111111111:letters"
REAL_LETTERS = "arn:aws:sqs:us-east-1:222222222222:letters"
ROLE = "arn:aws:iam::111111111111:role/events"
BUS = "arn:aws:events:us-east-1:111111111111:event-bus/default"
RULE_ARN = "arn:aws:events:us-east-1:111111111111:rule/orders"
_T = TypeVar("_T")
JOURNAL = (Table.EVENTS, Table.REFERENCES, Table.DELIVERIES)


class HandWorld:
    """Time moves and dice fall as they are told."""

    def __init__(self) -> None:
        self.ms = 1_790_000_000_000
        self.dice = 0.5
        self._ids = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def random(self) -> float:
        return self.dice

    def uuids(self, count: int) -> list[str]:
        self._ids += count
        return [f"00000000-0000-4000-8000-{self._ids - index:012d}" for index in range(count)]

    def token(self, size: int) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(size, "big")


class ScriptedSink:
    """Answers with the next of `script`, or else with Delivered; keeps what it was asked to send, in `sent`."""

    kind: ClassVar[str] = "lambda"
    batch_max: ClassVar[int] = 1
    concurrency: ClassVar[int] = 1

    def __init__(self, *, batch_max: int = 1, concurrency: int = 1) -> None:
        self.bound(batch_max=batch_max, concurrency=concurrency)
        self.script: list[Outcome | Exception | Callable[[Attempt], Outcome]] = []
        self.always: Outcome | Callable[[Attempt], Outcome] = Delivered()
        self.sent: list[Attempt] = []
        self.hanging: dict[str, asyncio.Event] = {}
        """Targets whose calls wait, by ARN."""
        self.calls = 0
        self.at_once_max = 0

    def bound(self, *, batch_max: int = 1, concurrency: int = 1) -> None:
        """Give this one sink bounds of its own."""
        vars(self).update(batch_max=batch_max, concurrency=concurrency)

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        self.sent += attempts
        self.calls += 1
        self.at_once_max = max(self.at_once_max, self.calls)
        try:
            gate = self.hanging.get(attempts[0].target.arn)
            if gate is not None:
                await gate.wait()
            else:
                await asyncio.sleep(0)
            return [self._outcome(attempt) for attempt in attempts]
        finally:
            self.calls -= 1

    def _outcome(self, attempt: Attempt) -> Outcome:
        told = self.script.pop(0) if self.script else self.always
        if isinstance(told, Exception):
            raise told
        return told(attempt) if callable(told) else told

    @property
    def ids(self) -> list[str]:
        """The ids of the events that were sent, in order."""
        return [attempt.accepted.event.id for attempt in self.sent]


class Hub:
    """One running data path and everything around it."""

    def __init__(
        self,
        store: Store,
        world: HandWorld,
        sink: Sink,
        letters_sink: Sink | None,
        settings: Settings,
        trace_age_s_max: int,
        paces: PaceSettings | None,
        profiles: Callable[[Metrics], Profiles] | None = None,
    ) -> None:
        self.store = store
        self.world = world
        self.open_to_all = False
        """Whether the buses let other accounts in."""
        self.metrics = Metrics()
        self.profiles = profiles(self.metrics) if profiles else Profiles((), world=world, metrics=self.metrics)
        self.logs_leave = False
        """Whether log groups are at an endpoint, as far as the log of a bus is told."""
        self.inboxes = Inboxes(store, world, messages_max=1000)
        self.inboxes.load()
        self.catalog = Catalog(
            store,
            world,
            quotas=quotas.RAISED,
            location_exists={HERE, OTHER, FAR, ELSEWHERE}.__contains__,
        )
        self.catalog.load()
        bus_sink = EventBusSink(
            find_bus=self.catalog.bus,
            allowed=lambda sender, bus, event, rule_arn: self.open_to_all or sender.account == bus.location.account,
            plan=lambda incoming, batch: self.pipeline.planner.plan(incoming, batch),
            world=world,
        )
        self.sinks = SinkTable(
            direct={"event_bus": bus_sink},
            inboxes={**inbox_sinks(self.inboxes), "lambda": sink},
            real={"sqs": letters_sink} if letters_sink else {},
            has_endpoint=lambda service, account, region: account == OTHER.account,
            profiles=self.profiles,
        )
        self.archives = Archives(self.catalog, ArchiveRows(store, self.metrics), world)
        self.archives.load()
        self.trace = Trace(store, world, age_s_max=trace_age_s_max, bytes_max=1 << 20)
        self.dead_letters = DeadLetters(
            store,
            self.inboxes,
            world,
            is_real_queue=lambda arn: self.sinks.is_real("sqs", arn),
            age_s_max=14 * 86_400,
            count_max=1000,
            trace=self.trace,
        )
        self.dead_letters.load()
        self.pipeline = Pipeline(
            store=store,
            catalog=self.catalog,
            sinks=self.sinks,
            dead_letters=self.dead_letters,
            world=world,
            metrics=self.metrics,
            settings=settings,
            trace=self.trace,
            paces=paces,
            archive=self.archives.rows,
            bus_log=BusLog(self.catalog, self.inboxes, self.metrics, logs_leave=lambda location: self.logs_leave),
        )
        self.lanes = self.pipeline.lanes
        self.replays = Replays(
            catalog=self.catalog,
            store=store,
            rows=self.archives.rows,
            accept=self.pipeline.accept,
            pending=lambda: self.lanes.pending,
            world=world,
            metrics=self.metrics,
            state_s_min=0.0,
            pause_s=0.0,
        )
        self.traces = TraceTree(
            store=store,
            trace=self.trace,
            lanes=self.lanes,
            dead_letters=self.dead_letters,
            target_arn=self._target_arn,
        )

    def _target_arn(self, rule_arn: str, target_id: str) -> str | None:
        found = self.catalog.target(rule_arn, target_id)
        return found.arn if found else None

    # what a test does

    async def rule(self, name: str = "orders", pattern: str = ORDERS, *targets: Target, bus: str = "default") -> None:
        await self.catalog.put_rule(HERE, bus, name, created_by=HERE.account, event_pattern=pattern)
        await self.targets(name, *(targets or (target(),)), bus=bus)

    async def targets(self, rule: str, *targets: Target, bus: str = "default") -> None:
        await self.catalog.put_targets(HERE, bus, rule, targets)

    async def archive(self, name: str = "all", *, pattern: str | None = None, days: int = 0) -> Archive:
        return await self.archives.create(HERE, name, source_arn=BUS, event_pattern=pattern, retention_days=days)

    async def replay(
        self,
        name: str = "again",
        archive: str = "all",
        *,
        start_ms: int = 0,
        end_ms: int = 1 << 42,
        rules: Sequence[str] = (),
    ) -> Replay:
        return await self.replays.start(
            HERE,
            name,
            archive_arn=f"arn:aws:events:us-east-1:111111111111:archive/{archive}",
            destination=BUS,
            filter_arns=rules,
            start_ms=start_ms,
            end_ms=end_ms,
        )

    async def queue(self, arn: str) -> None:
        await self.inboxes.create(arn, "sqs", {}, {})

    async def accept(self, *ids: str, detail: str = "{}", source: str = "orders") -> list[Taken | Refused]:
        return await self.pipeline.accept([incoming(event_id, detail=detail, source=source) for event_id in ids])

    async def redrive(self, number: int) -> None:
        await self.dead_letters.redrive(
            number, lanes=self.lanes, target_exists=lambda rule, name: self.catalog.target(rule, name) is not None
        )

    def advance(self, seconds: float) -> None:
        """The clock goes on, and the timers that are set go off."""
        self.world.ms += round(seconds * 1000)
        for lane in list(self.lanes):
            if lane.timer is not None:
                lane.timer.cancel()
                self.lanes._due(lane)

    # what a test sees

    @property
    def lane(self) -> Lane:
        (lane,) = self.lanes
        return lane

    @property
    def counters(self) -> SinkCounters:
        return self.metrics.sink(HERE, "default", "lambda")

    def letters(self) -> list[DeadLetter]:
        return [letter for _, letter in self.dead_letters.rows()]

    def numbers(self) -> list[int]:
        return [number for number, _ in self.dead_letters.rows()]

    def messages(self, arn: str) -> list[Message]:
        return [row.message for row in self.inboxes.read(arn, limit=10_000)]

    def archived(self, name: str = "all") -> tuple[int, int]:
        """How many events and bytes an archive has."""
        totals = self.archives.totals(self.archives.get(HERE, name))
        return totals.events, totals.size

    def replay_state(self, name: str = "again") -> str:
        return self.replays.get(HERE, name).state

    def journal(self) -> int:
        """How many rows the events and deliveries that are not settled have."""
        return sum(len(self.store.scan(table, limit=10_000)) for table in JOURNAL)

    def settled(self) -> bool:
        return self.lanes.pending == 0 and self.journal() == 0

    def idle(self) -> bool:
        """No worker has anything to do: everything is settled or parked."""
        return self.idle_workers() and not any(lane.ready for lane in self.lanes)

    def idle_workers(self) -> bool:
        """No call is under way."""
        return self.pipeline.in_flight == 0 and not any(lane.workers for lane in self.lanes)


@asynccontextmanager
async def running(
    store: Store,
    sink: Sink,
    *,
    world: HandWorld | None = None,
    letters_sink: Sink | None = None,
    settings: Settings | None = None,
    trace_age_s_max: int = 3600,
    paces: PaceSettings | None = None,
    profiles: Callable[[Metrics], Profiles] | None = None,
) -> AsyncIterator[Hub]:
    hub = Hub(
        store,
        world or HandWorld(),
        sink,
        letters_sink,
        settings or Settings(refuse_unknown_bus=False, read_only_by_flag=False),
        trace_age_s_max,
        paces,
        profiles,
    )
    # A task of its own, so that fixtures may enter and leave it.
    owner = asyncio.create_task(_own(hub.pipeline, ready := asyncio.Event()))
    await asyncio.wait({owner, waiting := asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    hub.pipeline.recover()
    try:
        yield hub
    finally:
        hub.lanes.stop()
        died = owner.done()
        owner.cancel()
        with suppress(asyncio.CancelledError):
            await owner
        assert not died, "the data path ended by itself"


async def _own(pipeline: Pipeline, ready: asyncio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(pipeline.run)
        ready.set()


@asynccontextmanager
async def replaying(hub: Hub) -> AsyncIterator[None]:
    """Replays run."""
    owner = asyncio.create_task(hub.replays.run())
    try:
        await asyncio.sleep(0)
        yield
        assert not owner.done(), "replays ended by themselves"
    finally:
        owner.cancel()
        with suppress(asyncio.CancelledError):
            await owner


async def until(fact: Callable[[], bool]) -> None:
    """Let the hub work until the fact holds; fails when it does not come to that."""
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110 - the hub has no event for every fact
            await asyncio.sleep(0.001)


async def turns(count: int = 50) -> None:
    """Let the hub do whatever it would do now."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextmanager
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "_STORE_PAUSE_S", 0.0)
        yield


def memory(monkeypatch: pytest.MonkeyPatch, *, deliveries: int | None = None, size: int | None = None) -> None:
    """Make the bounds of what lanes hold in memory small."""
    if deliveries is not None:
        monkeypatch.setattr(limits, "LANE_DELIVERIES_IN_MEMORY_MAX", deliveries)
    if size is not None:
        monkeypatch.setattr(limits, "DELIVERIES_IN_MEMORY_BYTES_MAX", size)


def target(
    name: str = "t",
    arn: str = FUNCTION,
    *,
    attempts_max: int | None = None,
    age_s_max: int | None = None,
    letters: str | None = None,
    template: str | None = None,
    **more: str,
) -> Target:
    given = attempts_max is not None or age_s_max is not None
    return Target(
        id=name,
        arn=arn,
        role_arn=more.get("role_arn"),
        input_path=more.get("input_path"),
        retry_policy=RetryPolicy(attempts_max, age_s_max) if given else None,
        dead_letter_config=DeadLetterConfig(letters) if letters else None,
        input_transformer=InputTransformer(template) if template else None,
    )


def incoming(
    event_id: str = "e1",
    *,
    detail: str = "{}",
    source: str = "orders",
    detail_type: str = "type",
    bus: str = "default",
    at: Location = HERE,
) -> Incoming:
    event = Event(event_id, detail_type, source, at.account, "2026-11-23T10:00:00Z", at.region, (), detail)
    return Incoming(event, at, bus)


def started(work: Coroutine[None, None, _T]) -> "asyncio.Task[_T]":
    return asyncio.create_task(work)


class CalledSink(ScriptedSink):
    """As `ScriptedSink`, and its calls can be begun without being waited for."""

    def __init__(self, *, concurrency: int = 1) -> None:
        super().__init__(concurrency=concurrency)
        self.begins = True
        self._begun: set[asyncio.Task[None]] = set()

    def begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> bool:
        if not self.begins:
            return False

        async def call() -> None:
            try:
                (outcome,) = await self.send([attempt])
            except ZeroDivisionError:
                outcome = Retryable("INTERNAL_ERROR", "bug")
            done(outcome)

        task = asyncio.create_task(call())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return True
