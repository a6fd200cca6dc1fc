"""What producers and owners do to a hub, by the dice: they offer events, change rules and targets, and redrive dead
letters; and tell the ledger what they asked for and what they were answered.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from router.errors import ApiError
from router.sources.outcome import MALFORMED_DETAIL, Taken
from router.store.base import StoreError
from tests.simulation import scenario
from tests.simulation.hub import Process
from tests.simulation.ledger import GONE, Ledger, View
from tests.simulation.scenario import FAR, HERE, KINDS, Fact, Rule

_NOWHERE = (HERE, "nowhere")
_DOORS = ((HERE, "default"), (HERE, "second"), (FAR, "default"), _NOWHERE)
_DOOR_WEIGHTS = (84, 8, 5, 3)


class Traffic:
    """See the module. `events` is how many were offered so far."""

    def __init__(self, dice: random.Random, ledger: Ledger, ids: Callable[[], int]) -> None:
        self.dice = dice
        self.ledger = ledger
        self._ids = ids
        self.events = 0
        self.wrong: list[str] = []

    async def run(self, process: Process, events: int) -> None:
        """Until so many events were offered in all."""
        dice = self.dice
        while self.events < events:
            throw = dice.random()
            if throw < 0.72:
                process.begin(lambda: self._offer(process))
            elif throw < 0.84:
                process.begin(lambda: self._change(process))
            elif throw < 0.88:
                process.begin(lambda: self._redrive(process))
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        throw = self.dice.random()
        if throw < 0.45:
            return 0.0
        if throw < 0.75:
            return self.dice.uniform(0.001, 0.1)
        if throw < 0.95:
            return self.dice.uniform(0.1, 20)
        return self.dice.uniform(60, 900) if throw < 0.995 else self.dice.uniform(3600, 3 * 3600)

    async def _offer(self, process: Process) -> None:
        dice, ledger = self.dice, self.ledger
        kinds, weights = zip(*KINDS, strict=True)
        offered = [
            (Fact(f"e{self._ids()}", dice.choices(kinds, weights)[0], dice.randrange(100)), at)
            for at in dice.choices(_DOORS, _DOOR_WEIGHTS, k=dice.randint(1, 5))
        ]
        malformed = [at != _NOWHERE and dice.random() < 0.02 for _, at in offered]
        self.events += len(offered)
        offer = ledger.offered(offered)
        for one, bad in zip(offer.expected, malformed, strict=True):
            if bad:
                one.status = "refused"
        answers = await process.pipeline.accept(
            [fact.incoming(*at, malformed=bad) for (fact, at), bad in zip(offered, malformed, strict=True)]
        )
        if not process.world.alive:
            return
        if any(lane.more for lane in process.pipeline.lanes):
            self.ledger.hit("lane overflowed to disk")
        for one, answer, bad in zip(offer.expected, answers, malformed, strict=True):
            self.ledger.note(f"{answer}")
            if isinstance(answer, Taken):
                one.status = "taken"
                if bad:
                    self.wrong.append("a malformed event was taken")
                elif one.at == _NOWHERE:
                    self.ledger.hit("unknown bus")
            elif answer == MALFORMED_DETAIL:
                self.ledger.hit("malformed detail")
                if not bad:
                    self.wrong.append("a well-formed event was refused as malformed")
            elif not bad:
                self.ledger.hit("throttled at the door")
                one.status = "not stored"

    async def _change(self, process: Process) -> None:
        """Give a rule its other condition, switch it off or on, or take it or a target of it away or put it back."""
        dice, book = self.dice, self.ledger.book
        rule = dice.choice(scenario.RULES)
        arn, catalog = rule.arn, process.catalog
        if arn in book.coming:
            return
        now = book.now[arn]
        where = (rule.location, rule.bus, rule.name)
        missing = [target for target in rule.targets if target.id not in now.targets]
        throw = dice.random()
        change: Coroutine[Any, Any, object]
        if not now.exists:
            view, kind = View(rule.conditions[0], True, frozenset()), "rule changed in flight"
            change = process.put(rule, view.condition)
        elif not now.enabled:
            view, kind = msgspec.structs.replace(now, enabled=True), "rule changed in flight"
            change = catalog.set_rule_state(*where, "ENABLED")
        elif not now.targets and throw < 0.5:
            view, kind = GONE, "rule deleted in flight"
            change = catalog.delete_rule(*where)
        elif missing:
            view = msgspec.structs.replace(now, targets=now.targets | {missing[0].id})
            kind, change = "target put in flight", catalog.put_targets(*where, [missing[0]])
        elif throw < 0.6:
            view, kind = self._other_condition(rule, now), "rule changed in flight"
            change = process.put(rule, view.condition)
        elif throw < 0.75:
            view, kind = msgspec.structs.replace(now, enabled=False), "rule changed in flight"
            change = catalog.set_rule_state(*where, "DISABLED")
        else:
            gone = dice.choice(rule.targets).id
            view = msgspec.structs.replace(now, targets=now.targets - {gone})
            kind, change = "target removed in flight", catalog.remove_targets(*where, [gone])
        book.begin(arn, view)
        self.ledger.hit(kind)
        try:
            await change
        except ApiError:
            if process.world.alive:
                book.failed(arn)
                self.ledger.hit("catalog change refused by the store")
        else:
            if process.world.alive:
                book.confirmed(arn)

    @staticmethod
    def _other_condition(rule: Rule, now: View) -> View:
        first, second = rule.conditions
        return msgspec.structs.replace(now, condition=second if now.condition == first else first)

    async def _redrive(self, process: Process) -> None:
        letters = list(process.dead_letters.rows())
        if not letters:
            return
        number, letter = self.dice.choice(letters)
        self.ledger.redrive_asked(letter.accepted.event.id, letter.rule_arn, letter.target_id)
        self.ledger.hit("redrive")
        # Sometimes two people ask for the same.
        asked = 2 if self.dice.random() < 0.3 else 1
        answers = await asyncio.gather(*(self._redriven(process, number) for _ in range(asked)))
        if not process.world.alive:
            return
        if sum(answers) > 1:
            self.wrong.append(f"dead letter {number} was redriven twice")
        self.ledger.count[letter.rule_arn] += sum(answers)
        self.ledger.count["queue failed"] += sum(answers) * (letter.queue_failure is not None)

    @staticmethod
    async def _redriven(process: Process, number: int) -> bool:
        try:
            await process.dead_letters.redrive(
                number,
                lanes=process.pipeline.lanes,
                target_exists=lambda rule, name: process.catalog.target(rule, name) is not None,
            )
        except (ApiError, StoreError):
            return False
        return True
