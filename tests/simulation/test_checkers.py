"""The judges, judged: each bug that is put into the hub on purpose is caught, and called by its name.

A bug is put in by replacing one function of the hub or of the simulated disk. It must show within a few seeds.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from router import attempts as attempts_module
from router import pipeline as pipeline_module
from router import retries
from router.catalog.catalog import Catalog
from router.catalog.routes import RoutedRule
from router.catalog.state import Changes
from router.core import pace, retry
from router.core.event import Event, envelope
from router.lanes import DeadLetter, Delivery, Lane, Lanes, Progress
from router.pacing import Pacing
from router.pipeline import Pipeline
from router.planning import Incoming, Planner
from router.sinks.base import Attempt, Delivered, Outcome
from router.sinks.event_bus import EventBusSink
from router.store.base import Batch, StoreError, Table
from router.trace import Settled
from tests.simulation.run import COMMAND, Run, Violation
from tests.simulation.store import Image

SEEDS = range(12)
Patch = pytest.MonkeyPatch


def a_settle_is_lost(patch: Patch) -> None:
    """What failed for the second time is neither parked nor given up."""
    add = Lanes.add

    def bad(self: Lanes, lane: Lane, batch: Batch, *, progress: Progress | None = None, **more: Any) -> bytes:
        lost = progress is not None and progress.attempts == 2
        return add(self, lane, Batch() if lost else batch, progress=progress, **more)

    patch.setattr(Lanes, "add", bad)


def a_delivery_is_parked_twice(patch: Patch) -> None:
    add = Lanes.add

    def bad(self: Lanes, lane: Lane, batch: Batch, *, due_ms: int, **more: Any) -> bytes:
        if more.get("progress"):
            add(self, lane, batch, due_ms=due_ms + 500, **more)
        return add(self, lane, batch, due_ms=due_ms, **more)

    patch.setattr(Lanes, "add", bad)


def an_event_is_acknowledged_before_it_is_on_disk(patch: Patch) -> None:
    commit = Pipeline._commit

    async def later(self: Pipeline, batch: Batch) -> None:
        with suppress(StoreError):
            await commit(self, batch)

    async def bad(self: Pipeline, batch: Batch) -> None:
        if batch.essential:
            await commit(self, batch)
        elif self._tasks is not None:
            self._tasks.start_soon(later, self, batch)

    patch.setattr(Pipeline, "_commit", bad)


def _deciding(patch: Patch, **changed: object) -> None:
    decide = retry.decide

    def bad(policy: retry.RetryPolicy, **given: Any) -> retry.RetryAt | retry.DeadLetter:
        return decide(policy, **(given | changed))

    patch.setattr(retry, "decide", bad)


def an_answer_is_forgotten(patch: Patch) -> None:
    accept = Pipeline.accept

    async def bad(self: Pipeline, incoming: Sequence[Incoming]) -> list[Any]:
        answers = await accept(self, incoming)
        if len(incoming) == 4:
            await asyncio.get_running_loop().create_future()
        return answers

    patch.setattr(Pipeline, "accept", bad)


def retry_after_is_not_heeded(patch: Patch) -> None:
    _deciding(patch, retry_after_s=None)


def there_is_no_back_off(patch: Patch) -> None:
    _deciding(patch, random=0.0)


def back_off_is_longer_than_the_policy_says(patch: Patch) -> None:
    _deciding(patch, random=3.0)


def a_delivery_is_tried_once_too_often(patch: Patch) -> None:
    policy = retries.retry_policy

    def bad(target: Any) -> retry.RetryPolicy:
        given = policy(target)
        return retry.RetryPolicy(given.attempts_max + 1, given.age_s_max)

    patch.setattr(retries, "retry_policy", bad)


def nobody_looks_when_a_retry_is_due(patch: Patch) -> None:
    def bad(self: Lanes, lane: Lane, due_ms: int) -> None:
        lane.parked += 1

    patch.setattr(Lanes, "park", bad)


def a_hanging_call_holds_up_its_target(patch: Patch) -> None:
    patch.setattr(Pacing, "calls", lambda self, lane, sink: 1)


def what_a_restart_finds_waits_for_the_next_event(patch: Patch) -> None:
    recover = Lanes.recover

    def bad(self: Lanes) -> None:
        wake, self._wake = self._wake, lambda lane: None
        recover(self)
        self._wake = wake

    patch.setattr(Lanes, "recover", bad)


def an_event_goes_where_the_one_before_it_went(patch: Patch) -> None:
    deliveries = Planner._deliveries
    before: list[Sequence[RoutedRule]] = [()]

    def bad(self: Planner, plan: Any, item: Incoming, rules: Sequence[RoutedRule]) -> Any:
        wrong, before[0] = before[0] or rules, rules
        return deliveries(self, plan, item, wrong)

    patch.setattr(Planner, "_deliveries", bad)


def a_delivery_goes_to_one_of_two_targets(patch: Patch) -> None:
    row = Planner._row

    def bad(self: Planner, plan: Any, line: Any, *more: Any) -> Delivery:
        batch = plan.batch
        if line.lane.name.target_id == "work":
            plan.batch = Batch()
        made = row(self, plan, line, *more)
        plan.batch = batch
        return made

    patch.setattr(Planner, "_row", bad)


def what_an_inbox_takes_at_once_is_delivered_again(patch: Patch) -> None:
    deliver = Planner._deliver_at_once

    def bad(self: Planner, plan: Any, line: Any) -> None:
        deliver(self, plan, line)
        if not line.offered:
            self._leave_for_later(plan, line, *line.at_once[0])

    patch.setattr(Planner, "_deliver_at_once", bad)


def what_follows_is_written_apart_from_its_settlement(patch: Patch) -> None:
    settle = Pipeline._settle

    async def bad(self: Pipeline, lane: Lane, tried_by: Mapping[Any, list[Any]]) -> None:
        apart: dict[Any, list[Any]] = {}
        for made, tried in tried_by.items():
            for delivery, attempt, outcome in tried:
                if isinstance(outcome, Delivered) and outcome.effects is not None:
                    with suppress(StoreError):
                        await self._store.commit(outcome.effects)
                        outcome = Delivered()
                apart.setdefault(made, []).append((delivery, attempt, outcome))
        await settle(self, lane, apart)

    patch.setattr(Pipeline, "_settle", bad)


def a_delivered_event_is_a_dead_letter_too(patch: Patch) -> None:
    settle = Pipeline._settle

    async def bad(self: Pipeline, lane: Lane, tried_by: Mapping[Any, list[Any]]) -> None:
        await settle(self, lane, tried_by)
        batch = Batch()
        for delivery, _, outcome in (one for tried in tried_by.values() for one in tried):
            if isinstance(outcome, Delivered) and outcome.effects is None and lane.name.target_id == "work":
                name = lane.name
                letter = DeadLetter(delivery.accepted, name.rule_arn, name.target_id, None, "CODE", "", 1, None, 0)
                self._retries._dead_letters._keep(batch, letter)
        with suppress(StoreError):
            await self._store.commit(batch)

    patch.setattr(Pipeline, "_settle", bad)


def what_a_hop_becomes_is_forgotten(patch: Patch) -> None:
    send = EventBusSink.send

    async def bad(self: EventBusSink, attempts: Sequence[Attempt]) -> list[Outcome]:
        outcomes = await send(self, attempts)
        for outcome in outcomes:
            if isinstance(outcome, Delivered) and outcome.effects is not None:
                outcome.effects.ops.clear()
        return outcomes

    patch.setattr(EventBusSink, "send", bad)


def an_event_carries_the_body_of_another(patch: Patch) -> None:
    def bad(target: Any, event: Event, *, ingested_ms: int) -> bytes:
        last[0], before = envelope(event), last[0]
        return before or last[0]

    last = [b""]
    patch.setattr(attempts_module, "payload", bad)


def a_change_of_the_catalog_is_not_stored(patch: Patch) -> None:
    commit = Catalog._commit
    changes = [0]

    async def bad(self: Catalog, change: Changes) -> None:
        changes[0] += 1
        if changes[0] > 40 and change.rules:
            self._committed(change)
        else:
            await commit(self, change)

    patch.setattr(Catalog, "_commit", bad)


def a_delivery_is_counted_twice(patch: Patch) -> None:
    settled = Pipeline._settled

    def bad(self: Pipeline, lane: Lane, made: Any, tried: list[Any], **more: Any) -> None:
        settled(self, lane, made, tried, **more)
        more["counters"].delivered += any(isinstance(outcome, Delivered) for _, _, outcome in tried)

    patch.setattr(Pipeline, "_settled", bad)


def a_refused_event_for_an_unknown_bus_is_counted(patch: Patch) -> None:
    plan = Planner.plan

    def bad(self: Planner, incoming: Sequence[Incoming], batch: Batch) -> Any:
        self._metrics.unknown_bus += sum(item.bus == "nowhere" for item in incoming)
        return plan(self, incoming, batch)

    patch.setattr(Planner, "plan", bad)
    patch.setattr(Planner, "_dropped", lambda self: None)


def a_pending_delivery_is_not_counted(patch: Patch) -> None:
    offer = Lanes.offer

    def bad(self: Lanes, lane: Lane, deliveries: Sequence[Delivery]) -> None:
        offer(self, lane, deliveries)
        self.pending -= len(deliveries) > 2

    patch.setattr(Lanes, "offer", bad)


def a_dead_letter_says_the_wrong_reason(patch: Patch) -> None:
    decide = retry.decide

    def bad(policy: retry.RetryPolicy, **given: Any) -> retry.RetryAt | retry.DeadLetter:
        decision = decide(policy, **given)
        return retry.DeadLetter("MaximumEventAgeInSeconds") if isinstance(decision, retry.DeadLetter) else decision

    patch.setattr(retry, "decide", bad)


def the_trace_misses_what_was_settled(patch: Patch) -> None:
    patch.setattr(Settled, "took", lambda self, delivery: None)


def the_disk_keeps_half_of_a_batch(patch: Patch) -> None:
    apply = Image.apply

    def bad(self: Image, batch: Batch) -> None:
        half = Batch()
        half.ops = [op for op in batch.ops if op[0] != Table.REFERENCES]
        apply(self, half)

    patch.setattr(Image, "apply", bad)


def a_target_that_fails_is_called_without_a_pause(patch: Patch) -> None:
    patch.setattr(pace, "pause_s", lambda *given, **more: 0.0)


def a_delivery_is_given_up_before_its_age_runs_out(patch: Patch) -> None:
    patch.setattr(pipeline_module, "over", lambda target, **more: lambda delivery: True)


BUGS: Sequence[tuple[Callable[[Patch], None], str]] = (
    (a_settle_is_lost, "was lost"),
    (a_delivery_is_parked_twice, "is there 2 times"),
    (an_event_is_acknowledged_before_it_is_on_disk, "was lost|times pending or dead, and 0 times in its inbox"),
    (an_answer_is_forgotten, "never answered"),
    (retry_after_is_not_heeded, "Retry-After asked for"),
    (there_is_no_back_off, "of their longest time, expected about half"),
    (back_off_is_longer_than_the_policy_says, "ms too late"),
    (a_delivery_is_tried_once_too_often, "at most [0-9]+ were allowed"),
    (nobody_looks_when_a_retry_is_due, "ms too late"),
    (a_hanging_call_holds_up_its_target, "ms too late"),
    (what_a_restart_finds_waits_for_the_next_event, "ms too late"),
    (an_event_goes_where_the_one_before_it_went, "no rule sent it"),
    (a_delivery_goes_to_one_of_two_targets, "was lost"),
    (what_an_inbox_takes_at_once_is_delivered_again, "after it was delivered|times in its inbox"),
    (what_follows_is_written_apart_from_its_settlement, "times in its inbox|is not settled, yet it went on"),
    (a_delivered_event_is_a_dead_letter_too, "yet it is a dead letter"),
    (what_a_hop_becomes_is_forgotten, "was lost|times in its inbox"),
    (an_event_carries_the_body_of_another, " carries "),
    (a_change_of_the_catalog_is_not_stored, "after a crash, expected one of"),
    (a_delivery_is_counted_twice, "attempts_total"),
    (a_refused_event_for_an_unknown_bus_is_counted, "unknown_bus_events is"),
    (a_pending_delivery_is_not_counted, "deliveries_pending is"),
    (a_dead_letter_says_the_wrong_reason, "is dead by"),
    (the_trace_misses_what_was_settled, "the trace says"),
    (a_target_that_fails_is_called_without_a_pause, "keeps failing and was called at"),
    (a_delivery_is_given_up_before_its_age_runs_out, "is dead by"),
    (the_disk_keeps_half_of_a_batch, "references"),
)


@pytest.mark.parametrize(("bug", "expected"), BUGS, ids=[bug.__name__ for bug, _ in BUGS])
def test_a_bug_is_caught(bug: Callable[[Patch], None], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    wrong: list[str] = []
    for seed in SEEDS:
        try:
            Run(seed).execute()
        except Violation as violation:
            wrong += violation.wrong
            if any(re.search(expected, text) for text in wrong):
                return
    pytest.fail(f"not caught: {wrong[:5]}")


def test_a_failure_says_how_to_run_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a_pending_delivery_is_not_counted(monkeypatch)
    with pytest.raises(Violation, match=re.escape(f"{COMMAND} 0")):
        Run(0).execute()
