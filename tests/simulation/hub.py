"""One simulated process of the hub: the real pipeline, lanes, catalog, inboxes, dead letters and sinks, built and
recovered as the daemon does it, on what the process before left on the disk.

Every sink is watched, so that the ledger knows what it was asked. When the machine goes down nothing that the process
still does counts: its store refuses, its sinks never answer, its dice always fall the same.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, cast

import anyio
import anyio.abc

from router import limits
from router.addresses import NAMED
from router.catalog import declared_connections, quotas
from router.catalog.catalog import Catalog
from router.connections import Connections
from router.core.pace import PaceSettings, Probing
from router.dead_letters import DeadLetters
from router.metrics import Metrics
from router.pipeline import Pipeline
from router.planning import Incoming, Settings
from router.secrets import Secrets
from router.simulator.inboxes import Inboxes
from router.sinks.api_destination import ApiDestinationSink
from router.sinks.base import Attempt, CallSink, Delivered, DepositSink, Outcome, Retryable, Sink
from router.sinks.event_bus import EventBusSink
from router.sinks.http_client import Clients
from router.sinks.inbox import inbox_sinks
from router.sinks.table import SinkTable
from router.sources.outcome import Refused, Taken
from router.store.base import Batch, StoreError
from router.tokens import Tokens
from router.trace import Trace
from tests.simulation import scenario
from tests.simulation.clock import SimulatedLoop
from tests.simulation.faults import ScriptedSink, Targets, Weather
from tests.simulation.ledger import GONE, LETTER, Ledger, Pair, Try, View
from tests.simulation.probes import PAUSE_S_MAX
from tests.simulation.scenario import Condition, Rule
from tests.simulation.store import SimulatedStore

_INBOX_MESSAGES_MAX = 100_000


class SimulatedWorld:
    """The loop's clock and the run's dice, for as long as the process lives."""

    def __init__(self, loop: SimulatedLoop, dice: random.Random, ids: Callable[[], int]) -> None:
        self._loop = loop
        self._dice = dice
        self._ids = ids
        self.alive = True

    def now_ms(self) -> int:
        return self._loop.now_ms()

    def monotonic(self) -> float:
        return self._loop.time()

    def random(self) -> float:
        return self._dice.random() if self.alive else 0.5

    def uuids(self, count: int) -> list[str]:
        return [f"00000000-0000-4000-8000-{self._ids():012d}" for _ in range(count)] if self.alive else ["dead"] * count

    def token(self, size: int) -> bytes:
        return bytes(size)


class Watched:
    """A sink, and the ledger beside it."""

    kind: ClassVar[str] = ""
    batch_max: ClassVar[int] = 1
    concurrency: ClassVar[int] = 1

    def __init__(self, sink: Sink, ledger: Ledger, world: SimulatedWorld, *, letters: bool = False) -> None:
        vars(self).update(kind=sink.kind, batch_max=sink.batch_max, concurrency=sink.concurrency)
        self._sink = sink
        self._ledger = ledger
        self._world = world
        self._letters = letters

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        if not self._world.alive:
            await anyio.sleep_forever()
        tries = self._called(attempts)
        try:
            outcomes = await self._asked(attempts, tries)
        except Exception:
            self._ended(tries, [_BUG] * len(tries))
            raise
        if not self._world.alive:
            await anyio.sleep_forever()
        self._ended(tries, outcomes if len(outcomes) == len(tries) else [_BUG] * len(tries))
        return outcomes

    def _called(self, attempts: Sequence[Attempt]) -> list[Try]:
        return self._ledger.called([self._pair(attempt) for attempt in attempts])

    async def _asked(self, attempts: Sequence[Attempt], tries: Sequence[Try]) -> list[Outcome]:
        outcomes = await self._sink.send(attempts)
        _mark(tries, outcomes)
        return outcomes

    def _ended(self, tries: Sequence[Try], outcomes: Sequence[Outcome]) -> None:
        if self._world.alive:
            self._ledger.ended(zip(tries, outcomes, strict=True))
            self._ledger.count["sink bugs"] += outcomes[0] is _BUG

    def _pair(self, attempt: Attempt) -> Pair:
        target_id = attempt.target.id
        if self._letters:
            arn = attempt.attributes["TARGET_ARN"] if attempt.attributes else ""
            target_id = LETTER + scenario.TARGET_ID_BY_ARN[attempt.rule_arn, arn]
        pair = Pair(attempt.accepted.event.id, attempt.rule_arn, target_id)
        self._ledger.payload(pair, attempt.payload)
        return pair


class WatchedInbox(Watched):
    """A sink into an inbox, which may be asked to deliver with the acceptance: that is an attempt once it is durable,
    and nothing before."""

    def deposit(self, attempts: Sequence[Attempt], batch: Batch) -> list[Outcome]:
        assert isinstance(self._sink, DepositSink), "inboxes take deposits"
        outcomes = self._sink.deposit(attempts, batch)
        pairs = [
            self._pair(attempt)
            for attempt, outcome in zip(attempts, outcomes, strict=True)
            if isinstance(outcome, Delivered)
        ]
        if pairs:
            batch.then(lambda: self._deposited(pairs))
        return outcomes

    def _deposited(self, pairs: Sequence[Pair]) -> None:
        tries = self._ledger.called(pairs)
        self._ended(tries, [Delivered()] * len(tries))
        self._ledger.hit("delivered with its acceptance")


class WatchedCalls(Watched):
    """A sink whose calls are begun without being waited for, as far as they can be; where they cannot, an attempt has
    begun all the same, and is sent a turn later."""

    def __init__(self, sink: Sink, ledger: Ledger, world: SimulatedWorld) -> None:
        super().__init__(sink, ledger, world)
        self._to_be_sent: dict[int, Try] = {}

    def begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> bool:
        if not self._world.alive:
            return True  # nobody will hear of it
        tries: list[Try] = []

        def ended(outcome: Outcome) -> None:
            if self._world.alive:
                self._ended(tries, [outcome])
                done(outcome)

        begun = cast("CallSink", self._sink).begin(attempt, ended)
        tries += self._ledger.called([self._pair(attempt)])
        if not begun:
            self._to_be_sent[id(attempt)] = tries[0]
        return begun

    def _called(self, attempts: Sequence[Attempt]) -> list[Try]:
        known = self._to_be_sent.pop(id(attempts[0]), None)
        return super()._called(attempts) if known is None else [known]


class WatchedHops(Watched):
    """The sink for other buses, asked for one delivery at a time, as it treats them anyway; what is planned at the
    other bus meanwhile is that delivery's hop."""

    def __init__(self, sink: Sink, ledger: Ledger, world: SimulatedWorld) -> None:
        super().__init__(sink, ledger, world)
        self.planned: list[tuple[Incoming, Taken | Refused]] = []

    async def _asked(self, attempts: Sequence[Attempt], tries: Sequence[Try]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for attempt, one in zip(attempts, tries, strict=True):
            self.planned = []
            (outcome,) = await self._sink.send([attempt])
            outcomes.append(outcome)
            if isinstance(outcome, Delivered):
                assert outcome.effects is not None, "a hop has effects"
                self._hopped(attempt, one, outcome.effects)
        _mark(tries, outcomes)
        return outcomes

    def _hopped(self, attempt: Attempt, one: Try, effects: Batch) -> None:
        ledger, process = self._ledger, self._ledger.process
        ((incoming, _),) = self.planned
        fact = ledger.known(incoming.event.id, attempt.accepted.event.id)
        expected = ledger.expected(fact, (incoming.location, incoming.bus))
        ledger.hops[one.pair].append(expected)
        effects.then(lambda: ledger.hops_told.append((process, expected)))
        regional = incoming.location.region != attempt.accepted.location.region
        ledger.hit("regional hop" if regional else "local hop")


def _mark(tries: Sequence[Try], outcomes: Sequence[Outcome]) -> None:
    """Where something inside the hub follows from a call, its outcomes count once that is durable, and not before."""
    effects = [outcome.effects for outcome in outcomes if isinstance(outcome, Delivered) and outcome.effects]
    if not effects:
        return
    for one in tries:
        one.durable = False

    def durable() -> None:
        for one in tries:
            one.durable = True

    effects[0].then(durable)


_BUG = Retryable("INTERNAL_ERROR", "the sink has a bug")


class Process:
    """See the module. `run` must be entered before anything is done with it; `weathers` are by target."""

    def __init__(
        self,
        store: SimulatedStore,
        world: SimulatedWorld,
        ledger: Ledger,
        weathers: Mapping[str, Weather],
        probed_after: int,
        *,
        deposits: bool = True,
    ) -> None:
        """With `deposits` what goes into an inbox may be delivered with its acceptance."""
        self.store = store
        self._deposits = deposits
        self.world = world
        self.ledger = ledger
        self.metrics = Metrics()
        self.inboxes = Inboxes(store, world, messages_max=_INBOX_MESSAGES_MAX)
        self.catalog = Catalog(
            store,
            world,
            quotas=quotas.RAISED,
            location_exists=scenario.LOCATIONS.__contains__,
            api_destination_exists=lambda arn: self.connections.exists(arn),
        )
        self._secrets = Secrets([bytes(32)], world)
        self.connections = Connections(self.catalog, self._secrets, world, policy=NAMED)
        self.trace = Trace(store, world, age_s_max=30 * 86_400, bytes_max=1 << 30)
        self.dead_letters = DeadLetters(
            store,
            self.inboxes,
            world,
            is_real_queue=lambda arn: self.sinks.is_real("sqs", arn),
            age_s_max=14 * 86_400,
            count_max=100_000,
            trace=self.trace,
        )
        self.sinks = self._sinks(weathers)
        self.pipeline = Pipeline(
            store=store,
            catalog=self.catalog,
            sinks=self.sinks,
            dead_letters=self.dead_letters,
            world=world,
            metrics=self.metrics,
            settings=Settings(refuse_unknown_bus=False, read_only_by_flag=False),
            trace=self.trace,
            paces=PaceSettings(Probing(probed_after, PAUSE_S_MAX)),
        )
        self._owner: asyncio.Task[None] | None = None
        self._work: anyio.abc.TaskGroup | None = None

    def _sinks(self, weathers: Mapping[str, Weather]) -> SinkTable:
        watched = partial(Watched, ledger=self.ledger, world=self.world)
        into_inbox = partial(WatchedInbox if self._deposits else Watched, ledger=self.ledger, world=self.world)
        hops = WatchedHops(
            EventBusSink(
                find_bus=self.catalog.bus,
                allowed=lambda sender, bus, event, rule_arn: True,
                plan=self._plan_hop,
                world=self.world,
            ),
            self.ledger,
            self.world,
        )
        self._hops = hops
        clients = Clients(named=Targets(weathers), guarded=Targets(weathers))
        tokens = Tokens(self.connections, clients, self.world)
        destinations = ApiDestinationSink(self.connections, tokens, clients=clients, world=self.world)
        functions = ScriptedSink(weathers["function"], kind="lambda", concurrency=2)
        letters = ScriptedSink(weathers["letters"], kind="sqs", concurrency=1)
        return SinkTable(
            direct={"event_bus": hops, "api_destination": WatchedCalls(destinations, self.ledger, self.world)},
            inboxes={kind: into_inbox(sink) for kind, sink in inbox_sinks(self.inboxes).items()}
            | {"lambda": watched(functions)},
            real={"sqs": watched(letters, letters=True)},
            has_endpoint=lambda service, account, region: account == scenario.OTHER.account,
        )

    def _plan_hop(self, incoming: Sequence[Incoming], batch: Batch) -> list[Taken | Refused]:
        for item in incoming:
            self.ledger.known(item.event.id, item.parent_id or item.event.id)
        outcomes = self.pipeline.planner.plan(incoming, batch)
        self._hops.planned += zip(incoming, outcomes, strict=True)
        return outcomes

    def load(self) -> None:
        """As the daemon does before it delivers."""
        self.inboxes.load()
        self.catalog.load()
        self._declare()
        self.dead_letters.load()
        self.catalog.prepare()

    def _declare(self) -> None:
        """The hub file's connections and API destinations, which are the same at every start and so need no commit."""
        things = self.catalog.things
        changes, _ = declared_connections.plan(
            scenario.HUB.resources, things, quotas=quotas.RAISED, sealing=self._secrets, now_ms=self.world.now_ms()
        )
        things.apply(changes.things, changes.gone_things)

    async def configure(self) -> None:
        """What the first process sets up."""
        for queue in scenario.QUEUES:
            await self.inboxes.create(queue, "sqs", {}, {})
        for location, bus in scenario.BUSES:
            await self.catalog.create_bus(location, bus)
        for rule in scenario.RULES:
            await self.put(rule, rule.conditions[0])
            await self.catalog.put_targets(rule.location, rule.bus, rule.name, rule.targets)

    async def put(self, rule: Rule, condition: Condition) -> None:
        await self.catalog.put_rule(
            rule.location, rule.bus, rule.name, created_by=rule.location.account, event_pattern=condition.pattern
        )

    def views(self) -> dict[str, View]:
        """The rules as this process has them."""
        found = dict.fromkeys(scenario.BY_ARN, GONE)
        for arn, rule in scenario.BY_ARN.items():
            stored = self.catalog.rule_by_arn(arn)
            if stored is not None:
                (condition, *_) = [one for one in rule.conditions if one.pattern == stored.event_pattern]
                targets = frozenset(target.id for target in stored.targets)
                found[arn] = View(condition, stored.state == "ENABLED", targets)
        return found

    # running and dying

    async def start(self) -> None:
        ready = asyncio.Event()
        self._owner = asyncio.get_running_loop().create_task(self._own(ready))
        await ready.wait()

    async def _own(self, ready: asyncio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.pipeline.run)
            self.pipeline.recover()
            tasks.start_soon(self.catalog.keep_merged)
            self._work = tasks
            ready.set()

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something that ends with the process."""
        assert self._work is not None, "the process was started"
        self._work.start_soon(work)

    async def until(self, event: asyncio.Event) -> None:
        """Wait for the event; raises what the process ended by, where it ended by itself."""
        assert self._owner is not None, "the process was started"
        waiting = asyncio.get_running_loop().create_task(event.wait())
        await asyncio.wait({waiting, self._owner}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._owner.done():
            await self._owner
            raise AssertionError("the hub ended by itself")

    async def stop(self) -> None:
        """As the daemon does when it is asked to."""
        await self.pipeline.drain(limits.DRAIN_S_MAX)
        await self.end()
        with suppress(StoreError):
            await self.inboxes.close()
        await self.store.close()

    async def end(self) -> None:
        """Clear away what is left of it."""
        assert self._owner is not None, "the process was started"
        self.pipeline.lanes.stop()
        self._owner.cancel()
        with suppress(asyncio.CancelledError):
            await self._owner
        self.pipeline.lanes.stop()
