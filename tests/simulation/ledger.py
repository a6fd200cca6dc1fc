"""The ledger: what the world outside the hub knows. What was offered and what was answered, what each sink was asked
and when and what it said, which changes of the catalog were asked for and which were confirmed. It is kept outside the
hub and survives its crashes; it judges nothing (`checkers` does), except that two attempts of one delivery at once or
after its delivery, and payloads of other events, are noted where they happen.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from router.core.event import Location
from router.sinks.base import Delivered, Outcome, Retryable
from tests.simulation import scenario
from tests.simulation.scenario import Condition, Fact, Rule


class Pair(NamedTuple):
    """A delivery as everybody outside names it."""

    event_id: str
    rule_arn: str
    target_id: str


LETTER = "letter of "
"""Before the target id of the delivery of a dead letter to a real queue."""


class Try:
    """One attempt, in one call of a sink. `outcome` None: the hub never got one, because it died. `durable`: where
    something inside the hub follows from the outcome, whether that is committed and told; None where only the hub
    knows."""

    __slots__ = ("call", "durable", "ended", "ended_ms", "outcome", "pair", "process", "started_ms")

    def __init__(self, pair: Pair, call: int, process: int, started_ms: int) -> None:
        self.pair = pair
        self.call = call
        self.process = process
        self.started_ms = started_ms
        self.ended: int | None = None
        """The how manieth end it was; several may come in one millisecond."""
        self.ended_ms: int | None = None
        self.outcome: Outcome | None = None
        self.durable: bool | None = None

    @property
    def undone(self) -> bool:
        """Its outcome never came to be: the store refused what follows from it."""
        return self.durable is False

    @property
    def retryable(self) -> Retryable | None:
        return self.outcome if isinstance(self.outcome, Retryable) else None

    @property
    def delivered(self) -> bool:
        """The hub was told so, and nothing undid it."""
        return isinstance(self.outcome, Delivered) and not self.undone


Status = Literal["open", "taken", "refused", "not stored"]


class Reach:
    """Where something goes: `must` by every rule that may be in force, `may` by any."""

    __slots__ = ("may", "must")

    def __init__(self, must: set[Pair], may: set[Pair]) -> None:
        self.must = must
        self.may = may


class Expected(Reach):
    """One event on one bus, and where the rules send it."""

    __slots__ = ("at", "planned_ms", "rules_may", "rules_must", "status")

    def __init__(
        self, fact: Fact, at: tuple[Location, str], planned_ms: int, rules: Iterable[tuple[Rule, "list[View]"]]
    ) -> None:
        super().__init__(set(), set())
        self.at = at
        self.planned_ms = planned_ms
        self.status: Status = "open"
        self.rules_must: set[str] = set()
        self.rules_may: set[str] = set()
        for rule, views in rules:
            arn = rule.arn
            matching = [view for view in views if view.enabled and view.condition.holds(fact)]
            sent = [view.targets if view in matching else frozenset() for view in views]
            self.may |= {Pair(fact.id, arn, target) for target in frozenset().union(*sent)}
            self.must |= {Pair(fact.id, arn, target) for target in sent[0].intersection(*sent)}
            if matching:
                self.rules_may.add(arn)
            if len(matching) == len(views):
                self.rules_must.add(arn)


class Offer:
    """One call of `accept`."""

    __slots__ = ("expected", "process")

    def __init__(self, process: int, expected: list[Expected]) -> None:
        self.process = process
        self.expected = expected


class View(msgspec.Struct, frozen=True):
    """A rule as somebody may see it."""

    condition: Condition
    enabled: bool
    targets: frozenset[str]
    exists: bool = True


GONE = View(Condition("", lambda fact: False), False, frozenset(), False)


class Book:
    """The rules in force: what is confirmed, what is being changed, and changes that were refused and that may be on
    the disk all the same."""

    def __init__(self) -> None:
        self.now = {
            rule.arn: View(rule.conditions[0], True, frozenset(target.id for target in rule.targets))
            for rule in scenario.RULES
        }
        self.coming: dict[str, View] = {}
        self.refused: defaultdict[str, list[View]] = defaultdict(list)
        self.ever_without: set[tuple[str, str]] = set()
        """Targets that were asked to go at some time."""

    def expected(self, fact: Fact, at: tuple[Location, str], now_ms: int) -> Expected:
        rules = scenario.RULES_AT.get(at, ())
        return Expected(fact, at, now_ms, [(rule, self.views(rule.arn)) for rule in rules])

    def views(self, arn: str) -> list[View]:
        return [self.now[arn], self.coming[arn]] if arn in self.coming else [self.now[arn]]

    def begin(self, arn: str, view: View) -> None:
        self.coming[arn] = view
        self.ever_without |= {(arn, target) for target in self.now[arn].targets - view.targets}

    def confirmed(self, arn: str) -> None:
        self.now[arn] = self.coming.pop(arn)
        self.refused.pop(arn, None)

    def failed(self, arn: str) -> None:
        self.refused[arn].append(self.coming.pop(arn))

    def after_crash(self, found: dict[str, View]) -> list[str]:
        """Take over what a new process has; what it may not have."""
        wrong = [
            f"rule {arn} is {found[arn]} after a crash, expected one of {possible}"
            for arn in self.now
            if found[arn] not in (possible := [*self.views(arn), *self.refused[arn]])
        ]
        self.now.update(found)
        self.coming.clear()
        self.refused.clear()
        return wrong


class Ledger:
    """See the module. `process` counts the hub's processes; times are the wall's, in ms."""

    def __init__(self, now_ms: Callable[[], int], hit: Callable[[str], None], note: Callable[[str], None]) -> None:
        self.now_ms = now_ms
        self.hit = hit
        self.note = note
        self.process = -1
        self._calls = 0
        self._ends = 0
        self.book = Book()
        self.facts: dict[str, Fact] = {}
        self.offers: list[Offer] = []
        self.hops: defaultdict[Pair, list[Expected]] = defaultdict(list)
        self.hops_told: list[tuple[int, Expected]] = []
        """By process: hops that were committed and told."""
        self.tries: defaultdict[Pair, list[Try]] = defaultdict(list)
        self.running: dict[Pair, Try] = {}
        self.redriven_ms: defaultdict[Pair, list[int]] = defaultdict(list)
        self.started_ms: list[int] = []
        self.lives_ended_ms: list[int] = []
        self.troubles: list[tuple[int, int]] = []
        """When commits were held up."""
        self.wrong: list[str] = []
        self.counts: list[Counter[str]] = []
        """By process: what no list above holds."""

    @property
    def count(self) -> Counter[str]:
        return self.counts[self.process]

    def started(self) -> None:
        self.process += 1
        self.started_ms.append(self.now_ms())
        self.counts.append(Counter())

    def ended_life(self) -> None:
        """The process died, or was stopped."""
        self.lives_ended_ms.append(self.now_ms())
        for _ in self.running:
            self.hit("attempt cut off by a crash")
        self.running.clear()
        if self.book.coming:
            self.hit("catalog change cut off by a crash")

    # what is offered

    def expected(self, fact: Fact, at: tuple[Location, str]) -> Expected:
        """Where an event that is planned now may go."""
        return self.book.expected(fact, at, self.now_ms())

    def offered(self, events: Sequence[tuple[Fact, tuple[Location, str]]]) -> Offer:
        self.facts.update((fact.id, fact) for fact, _ in events)
        expected = [self.expected(fact, at) for fact, at in events]
        if any(one.must != one.may for one in expected):
            self.hit("event under a change")
        offer = Offer(self.process, expected)
        self.offers.append(offer)
        return offer

    def known(self, event_id: str, parent_id: str) -> Fact:
        """The event that a hop makes of another; its id may be new."""
        fact = self.facts[event_id] = msgspec.structs.replace(self.facts[parent_id], id=event_id)
        return fact

    # what sinks are asked

    def called(self, pairs: Sequence[Pair]) -> list[Try]:
        """A sink is asked to send these in one call."""
        self._calls += 1
        return [self._attempted(pair) for pair in pairs]

    def _attempted(self, pair: Pair) -> Try:
        one = Try(pair, self._calls, self.process, self.now_ms())
        if pair in self.running:
            self.wrong.append(f"{pair} was attempted twice at once")
        before = [known for known in self.tries[pair] if known.process == self.process and known.delivered]
        if before:
            self.wrong.append(f"{pair} was attempted again after it was delivered, in the same process")
        self.tries[pair].append(one)
        self.running[pair] = one
        self.note(f"attempt {pair}")
        return one

    def payload(self, pair: Pair, payload: bytes) -> None:
        """What a sink is to send for a delivery must be that event."""
        fact = self.facts.get(pair.event_id)
        if fact is None or f'"id":"{fact.id}"' not in (text := payload.decode()) or fact.detail not in text:
            self.wrong.append(f"{pair} carries {payload!r}, expected {fact}")

    def ended(self, tried: Iterable[tuple[Try, Outcome]]) -> None:
        for one, outcome in tried:
            self._ends += 1
            one.ended, one.ended_ms, one.outcome = self._ends, self.now_ms(), outcome
            self.running.pop(one.pair, None)
            self.note(f"{type(outcome).__name__} {one.pair}")

    def of_process(self, process: int) -> Iterable[Try]:
        return (one for tries in self.tries.values() for one in tries if one.process == process)

    def redrive_asked(self, event_id: str, rule_arn: str, target_id: str) -> None:
        self.redriven_ms[Pair(event_id, rule_arn, target_id)].append(self.now_ms())
