"""What becomes of a delivery that did not succeed: parked until its next attempt, or given up as a dead letter.

The decisions are `core/retry`'s and the states `core/delivery`'s; this puts what follows from them into the batch that
settles the delivery, says it to the trace, and writes the one log line of a failed attempt. It awaits nothing.
"""

from collections.abc import Callable

import msgspec

from router import limits, log
from router.catalog.routes import RoutedTarget
from router.core import retry
from router.core.delivery import State, Step, advance
from router.core.event import envelope
from router.core.pace import Failing
from router.dead_letters import DeadLetters
from router.lanes import DeadLetterMessage, Delivery, Lane, Lanes, Progress
from router.metrics import LetterCounters
from router.sinks.base import Attempt, Rejected, Retryable
from router.store.base import Batch, Table
from router.trace import Settled
from router.world import World

_DEFAULT = retry.RetryPolicy(limits.RETRY_ATTEMPTS_DEFAULT, limits.EVENT_AGE_S_DEFAULT)
_TURN_MS = 1000  # a lane's turn may come a little after its timer


class AgedOut(msgspec.Struct, frozen=True):
    """Its age ran out while its target was being probed: it is given up without another attempt."""

    code: str
    message: str
    payload: bytes
    """What its target would have got."""


class Retries:
    """See the module."""

    def __init__(self, *, lanes: Lanes, dead_letters: DeadLetters, world: World) -> None:
        self._lanes = lanes
        self._dead_letters = dead_letters
        self._world = world

    def failed(
        self,
        lane: Lane,
        target: RoutedTarget | None,
        delivery: Delivery,
        attempt: Attempt | None,
        outcome: Retryable | Rejected | AgedOut,
        *,
        batch: Batch,
        traced: Settled,
        counters: LetterCounters,
        now_ms: int,
    ) -> int | None:
        """Park the delivery and say until when, or give it up (None)."""
        before = delivery.progress or Progress(0, delivery.accepted.ingested_ms)
        made = before.attempts + (not isinstance(outcome, AgedOut))
        progress = Progress(made, before.started_ms, outcome.code, outcome.message[:1000])
        decision = self._decision(target, progress, outcome, now_ms)
        state = _state_after(delivery, decision, outcome, target_gone=attempt is None and target is None)
        if not isinstance(outcome, AgedOut):
            _say(lane, delivery, outcome, decision, attempts=made, now_ms=now_ms, state=state)
        batch.delete(Table.DELIVERIES, delivery.key)
        if isinstance(decision, retry.RetryAt):
            sequence = int.from_bytes(delivery.sequence, "big")
            self._lanes.add(lane, batch, due_ms=decision.due_ms, sequence=sequence, progress=progress)
            traced.parked(delivery, progress, decision.due_ms)
            return decision.due_ms
        batch.release(delivery.sequence)
        payload, failure = _given_up(delivery, attempt, outcome)
        condition = decision.condition if decision else None
        if isinstance(delivery.body, DeadLetterMessage):
            place = self._dead_letters.queue_failed(batch, delivery.body.letter, failure, counters)
            traced.given_up(delivery, progress, condition, place)
            return None
        place = self._dead_letters.give_up(
            batch,
            accepted=delivery.body,
            payload=payload,
            rule_arn=lane.name.rule_arn,
            target_id=lane.name.target_id,
            target=target.target if target else None,
            failure=failure,
            attempts=progress.attempts,
            condition=condition,
            counters=counters,
            lanes=self._lanes,
        )
        traced.given_up(delivery, progress, condition, place)
        return None

    def _decision(
        self, target: RoutedTarget | None, progress: Progress, outcome: Retryable | Rejected | AgedOut, now_ms: int
    ) -> retry.RetryAt | retry.DeadLetter | None:
        if isinstance(outcome, AgedOut):
            return retry.DeadLetter("MaximumEventAgeInSeconds")
        if isinstance(outcome, Rejected):
            return None
        return retry.decide(
            retry_policy(target),
            attempts=progress.attempts,
            accepted_ms=progress.started_ms,
            now_ms=now_ms,
            random=self._world.random(),
            retry_after_s=outcome.retry_after_s,
        )


def retry_policy(target: RoutedTarget | None) -> retry.RetryPolicy:
    """The target's, with AWS's defaults for what it does not say."""
    configured = target.target.retry_policy if target else None
    if configured is None:
        return _DEFAULT
    attempts, age_s = configured.maximum_retry_attempts, configured.maximum_event_age_in_seconds
    return retry.RetryPolicy(
        _DEFAULT.attempts_max if attempts is None else attempts,
        _DEFAULT.age_s_max if age_s is None else age_s,
    )


def over(target: RoutedTarget | None, *, pause_s_max: float, now_ms: int) -> Callable[[Delivery], bool]:
    """Whether a delivery to a target that is probed has no attempt left within its age. The last attempt is made as the
    age runs out: it is waited for as long as a pause may take."""
    age_ms = retry_policy(target).age_s_max * 1000
    late_ms = now_ms - int(pause_s_max * 1000) - _TURN_MS

    def test(delivery: Delivery) -> bool:
        progress = delivery.progress
        end_ms = (progress.started_ms if progress else delivery.accepted.ingested_ms) + age_ms
        return end_ms <= late_ms or (end_ms <= now_ms and delivery.due_ms < end_ms)

    return test


def aged_out(delivery: Delivery, failing: Failing | None, payload: bytes) -> AgedOut:
    """Why it is given up: what it failed by, or, where it never had an attempt, what others failed by."""
    progress = delivery.progress
    if progress is not None and progress.attempts:
        return AgedOut(progress.code, progress.message, payload)
    assert failing is not None, "only what waits for a failing target is given up untried"
    return AgedOut(failing.code, f"Not attempted, the target kept failing: {failing.message}", payload)


def _given_up(
    delivery: Delivery, attempt: Attempt | None, outcome: Retryable | Rejected | AgedOut
) -> tuple[bytes, Retryable | Rejected]:
    """A dead letter's payload (the event where there could be none) and why it is one."""
    if isinstance(outcome, AgedOut):
        return outcome.payload, Retryable(outcome.code, outcome.message)
    return attempt.payload if attempt else envelope(delivery.accepted.event), outcome


def _state_after(
    delivery: Delivery,
    decision: retry.RetryAt | retry.DeadLetter | None,
    outcome: Retryable | Rejected | AgedOut,
    *,
    target_gone: bool,
) -> State:
    """The delivery's new state; that an edge leads to it is what `advance` asserts."""
    state = State.PENDING if delivery.progress is None else State.PARKED
    if target_gone:
        return advance(state, Step.TARGET_GONE)
    if isinstance(outcome, AgedOut):
        return advance(state, Step.GIVE_UP)
    step = Step.REJECT if decision is None else Step.RETRY if isinstance(decision, retry.RetryAt) else Step.GIVE_UP
    return advance(advance(state, Step.ATTEMPT), step)


def _say(
    lane: Lane,
    delivery: Delivery,
    outcome: Retryable | Rejected,
    decision: retry.RetryAt | retry.DeadLetter | None,
    *,
    attempts: int,
    now_ms: int,
    state: State,
) -> None:
    log.warning(
        "attempt.failed",
        rule=lane.name.rule_arn,
        target=lane.name.target_id,
        event_id=delivery.accepted.event.id,
        attempt=attempts,
        code=outcome.code,
        message=outcome.message,
        retry_in_ms=decision.due_ms - now_ms if isinstance(decision, retry.RetryAt) else None,
        state=state,
    )
