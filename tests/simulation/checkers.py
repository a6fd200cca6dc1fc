"""The judges of a run. Each compares what the world outside knows (`ledger`) with what is on the disk (`audit`) or with
what the hub says of itself, and answers with what is wrong, in words; nothing wrong is an empty list.

    answered  nobody waits for an answer when nothing is left to do.
    account   every acknowledged delivery is pending, or settled in exactly one way; a hop and a deposit happened once;
              what was refused, or never stored, is nowhere; nothing went where no rule sent it.
    retries   gaps between attempts respect the retry policy and Retry-After, nothing waits longer than it must, nobody
              is asked too often, a target that keeps failing is left alone between probes, and dead letters say why
              they are ones.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from router.core import retry
from router.sinks.base import Rejected
from tests.simulation import scenario
from tests.simulation.audit import Found, QueuedLetter
from tests.simulation.ledger import LETTER, Expected, Ledger, Pair, Reach, Try
from tests.simulation.probes import Probes

_SLACK_MS = 1500
_WAITS_MIN = 30
_MEAN_WAIT_MIN = 0.2


def _base(pair: Pair) -> Pair:
    """The delivery that a dead letter's delivery stands for."""
    return pair._replace(target_id=pair.target_id.removeprefix(LETTER))


# where everything is


def settle_answers(ledger: Ledger, found: Found, *, ghost_kept: bool) -> None:
    """After a crash: what was offered and never answered is there whole or not at all; so is what was refused because
    the store failed, where that commit turned out to be on the disk."""
    there = found.pairs() | {_base(pair) for pair in ledger.tries}
    for offer in ledger.offers:
        if offer.process != ledger.process:
            continue
        doubtful = [
            one for one in offer.expected if one.status == "open" or (ghost_kept and one.status == "not stored")
        ]
        came_through = any(pair in there for one in doubtful for pair in one.may)
        for one in doubtful:
            if one.status == "open":
                ledger.hit("answer lost in a crash")
            one.status = "taken" if came_through else "refused"


def answered(ledger: Ledger) -> list[str]:
    """What a process that lives in peace still owes somebody an answer for."""
    offers = (offer.expected for offer in ledger.offers if offer.process == ledger.process)
    return [f"the change of {arn} was never answered" for arn in ledger.book.coming] + [
        f"events offered at {expected[0].planned_ms} were never answered"
        for expected in offers
        if any(one.status == "open" for one in expected)
    ]


def account(ledger: Ledger, found: Found) -> list[str]:
    wrong = [*found.wrong]
    allowed: set[Pair] = set()
    left: list[Reach] = [one for offer in ledger.offers for one in offer.expected if one.status == "taken"]
    while left:
        one = left.pop()
        allowed |= one.may
        for pair in one.may:
            hops = ledger.hops.get(pair, ())
            allowed.update(*(hop.may for hop in hops))
            exists = found.rows_of(pair) or found.inboxes[pair] or pair in ledger.tries
            if pair in one.must or exists:
                wrong += _settled_once(ledger, found, pair)
                if hops and not found.rows_of(pair):
                    left.append(_any_of(hops))
    there = found.pairs() | {_base(pair) for pair in ledger.tries}
    wrong += [f"{pair} is there, but no rule sent it" for pair in sorted(there - allowed)]
    return wrong


def _any_of(hops: Sequence[Expected]) -> Reach:
    """A hop that was planned more than once: one of the plans came to be."""
    must = hops[0].must.intersection(*(hop.must for hop in hops))
    return Reach(must, hops[0].may.union(*(hop.may for hop in hops)))


def _settled_once(ledger: Ledger, found: Found, pair: Pair) -> list[str]:
    rows = found.rows_of(pair)
    if rows > 1:
        return [
            f"{pair} is there {rows} times: {found.pending[pair]} pending, {len(found.kept[pair])} kept, "
            f"{len(found.queued[pair])} in a queue, {found.under_way[pair]} under way to one"
        ]
    if scenario.TARGETS[pair.rule_arn, pair.target_id].arn in scenario.PAIR_OF_QUEUE:
        if rows + found.inboxes[pair] != 1:
            return [f"{pair} is {rows} times pending or dead, and {found.inboxes[pair]} times in its inbox"]
        return []
    hops = ledger.hops.get(pair, ())
    tries = ledger.tries.get(pair, ())
    if rows:
        if tries and tries[-1].delivered and not found.pending[pair] and pair[1:] not in ledger.book.ever_without:
            return [f"{pair} was delivered, yet it is a dead letter"]
        strays = [other for hop in hops for other in hop.may if found.rows_of(other) or found.inboxes[other]]
        return [f"{pair} is not settled, yet it went on to {stray}" for stray in strays]
    letters = ledger.tries.get(pair._replace(target_id=LETTER + pair.target_id), ())
    if hops or any(one.delivered for one in (*tries, *letters)):
        return []
    return [f"{pair} was lost: neither pending nor delivered nor dead"]


# when it was tried


def retries(ledger: Ledger, found: Found, probes: Probes) -> list[str]:
    planned = _planned(ledger)
    lanes = _lanes(ledger)
    wrong: list[str] = [*probes.hammered(), *_untried(ledger, found, probes, planned)]
    waits: list[float] = []
    for pair, tries in ledger.tries.items():
        policy = scenario.policy(pair.rule_arn, pair.target_id)
        first, last = planned.get(pair, (0, 0))
        for index, later in enumerate(tries):
            earlier = tries[index - 1] if index else None
            if earlier is not None and later.process == earlier.process:
                wrong += _too_early(ledger, earlier, later)
            if earlier is not None:
                due_ms = _latest(ledger, policy, last, index, earlier, later)
            else:
                # Redriven before its first attempt: its target was gone when its turn came.
                due_ms = last and pair not in ledger.redriven_ms and max(last, ledger.started_ms[later.process])
            if due_ms and later.started_ms - due_ms > _SLACK_MS:
                idle_ms = _idle(due_ms, later.started_ms, [*lanes[pair[1:]], *probes.busy(pair), *ledger.troubles])
                if idle_ms > _SLACK_MS:
                    wrong.append(f"attempt {index + 1} of {pair} was due at {due_ms} and came {idle_ms} ms too late")
        if pair not in ledger.redriven_ms and pair in planned:
            wrong += _too_often(policy, tries)
            waits += _waits(policy, tries)
            wrong += _reasons(ledger, found, pair, policy, first, probes)
    if len(waits) >= _WAITS_MIN and sum(waits) / len(waits) < _MEAN_WAIT_MIN:
        wrong.append(
            f"{len(waits)} waits took {sum(waits) / len(waits):.3f} of their longest time, expected about half"
        )
    return wrong


def _planned(ledger: Ledger) -> dict[Pair, tuple[int, int]]:
    """When each delivery was planned: the first and the last time, in ms."""
    planned: dict[Pair, tuple[int, int]] = {}
    offered = (one for offer in ledger.offers for one in offer.expected)
    hopped = (one for hops in ledger.hops.values() for one in hops)
    for one in (*offered, *hopped):
        for pair in one.may:
            first, last = planned.get(pair, (one.planned_ms, 0))
            planned[pair] = (min(first, one.planned_ms), max(last, one.planned_ms))
    return planned


def _lanes(ledger: Ledger) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """When each lane had as many calls under way as its sink takes."""
    calls: defaultdict[tuple[str, ...], dict[int, tuple[int, int]]] = defaultdict(dict)
    for pair, tries in ledger.tries.items():
        calls[pair[1:]].update((one.call, (one.started_ms, _end(ledger, one))) for one in tries)
    return {lane: list(_full(found.values(), scenario.concurrency(*lane))) for lane, found in calls.items()}


def _full(calls: Iterable[tuple[int, int]], count: int) -> Iterator[tuple[int, int]]:
    """When at least `count` of the calls overlapped."""
    turns = sorted((moment, step) for start, stop in calls for moment, step in ((start, 1), (stop, -1)))
    depth, since_ms = 0, 0
    for moment, step in turns:
        if depth >= count:
            yield since_ms, moment
        depth += step
        since_ms = moment


def _end(ledger: Ledger, one: Try) -> int:
    if one.ended_ms is not None:
        return one.ended_ms
    return ledger.lives_ended_ms[one.process] if one.process < len(ledger.lives_ended_ms) else ledger.now_ms()


def _redriven(ledger: Ledger, earlier: Try, later: Try) -> bool:
    asked = ledger.redriven_ms.get(_base(earlier.pair), ())
    return any(earlier.started_ms <= moment <= later.started_ms for moment in asked)


def _too_early(ledger: Ledger, earlier: Try, later: Try) -> list[str]:
    if earlier.undone or earlier.ended_ms is None or _redriven(ledger, earlier, later):
        return []
    if isinstance(earlier.outcome, Rejected):
        return [f"{earlier.pair} was attempted again after it was rejected"]
    if earlier.retryable is None:
        return []
    wait_ms = later.started_ms - earlier.ended_ms
    after_ms = (earlier.retryable.retry_after_s or 0) * 1000
    if wait_ms < after_ms:
        return [f"{earlier.pair} was attempted again after {wait_ms} ms, but Retry-After asked for {after_ms:.0f}"]
    return []


def _latest(ledger: Ledger, policy: retry.RetryPolicy, planned_ms: int, number: int, earlier: Try, later: Try) -> int:
    """When the attempt after `earlier`, retry number `number` at most, had to begin, in ms; 0 where nobody can say."""
    if _redriven(ledger, earlier, later):
        return 0
    if earlier.retryable is not None and not earlier.undone:
        after_s = earlier.retryable.retry_after_s or 0
        due_ms = _end(ledger, earlier) + round(1000 * max(retry.ceiling_s(number), after_s))
        if planned_ms and earlier.pair not in ledger.redriven_ms:
            due_ms = min(due_ms, planned_ms + policy.age_s_max * 1000)
    else:
        due_ms = _end(ledger, earlier)
    return max(due_ms, ledger.started_ms[later.process])


def _idle(start_ms: int, stop_ms: int, busy: Iterable[tuple[int, int]]) -> int:
    """How much of the time is not covered."""
    idle_ms, reached_ms = 0, start_ms
    for begin, end in sorted(busy):
        if begin >= stop_ms:
            break
        if end > reached_ms:
            idle_ms += max(0, begin - reached_ms)
            reached_ms = end
    return idle_ms + max(0, stop_ms - reached_ms)


def _too_often(policy: retry.RetryPolicy, tries: Sequence[Try]) -> list[str]:
    """A crash may forget an outcome, and a store that fails one inside the hub; each costs one attempt more."""
    forgotten = sum(one.undone for one in tries)
    forgotten += sum(one.process != after.process for one, after in pairwise(tries))
    if len(tries) > policy.attempts_max + 1 + forgotten:
        return [f"{tries[0].pair} was attempted {len(tries)} times, at most {policy.attempts_max + 1} were allowed"]
    return []


def _waits(policy: retry.RetryPolicy, tries: Sequence[Try]) -> Iterator[float]:
    """Waits as shares of the longest possible one, where their number is certain and nothing cut them."""
    for number, (earlier, later) in enumerate(pairwise(tries), start=1):
        if earlier.process != tries[0].process or later.process != earlier.process or earlier.undone:
            return
        outcome = earlier.retryable
        if outcome is not None and not outcome.retry_after_s and number >= 3 and policy.age_s_max >= 3_600:
            assert earlier.ended_ms is not None, "the process went on"
            yield min(1.0, (later.started_ms - earlier.ended_ms) / (1000 * retry.ceiling_s(number)))


def _letters(found: Found, pair: Pair) -> list[QueuedLetter]:
    kept = [
        QueuedLetter(letter.code, letter.condition, max(0, letter.attempts - 1) if letter.condition else None)
        for letter in found.kept.get(pair, ())
    ]
    return [*kept, *found.queued.get(pair, ())]


def _untried(ledger: Ledger, found: Found, probes: Probes, planned: dict[Pair, tuple[int, int]]) -> Iterator[str]:
    """Whether deliveries that were given up without any attempt were so rightly."""
    for pair in {*found.kept, *found.queued} - ledger.tries.keys():
        if pair in ledger.redriven_ms or pair not in planned:
            continue
        for letter in _letters(found, pair):
            if letter.condition == "MaximumEventAgeInSeconds":
                age_ms = scenario.policy(pair.rule_arn, pair.target_id).age_s_max * 1000
                right = letter.retries == 0 and probes.probed_after(pair, planned[pair][0] + age_ms)
                ledger.hit("aged out while probed")
            else:
                right = letter.code == "NO_RESOURCE" and pair[1:] in ledger.book.ever_without
            if not right:
                yield f"{pair} is dead by {letter} without an attempt"


def _reasons(
    ledger: Ledger, found: Found, pair: Pair, policy: retry.RetryPolicy, planned_ms: int, probes: Probes
) -> list[str]:
    """Whether dead letters say rightly why they are ones."""
    tries = ledger.tries[pair]
    for letter in _letters(found, pair):
        last = tries[-1]
        end_ms = _end(ledger, last)
        if letter.condition == "MaximumRetryAttempts":
            right = letter.retries == policy.attempts_max and len(tries) > policy.attempts_max
            ledger.hit("retries exhausted")
        elif letter.condition == "MaximumEventAgeInSeconds":
            asked_ms = ((last.retryable.retry_after_s if last.retryable else 0) or 0) * 1000
            age_end_ms = planned_ms + policy.age_s_max * 1000
            right = end_ms + asked_ms >= age_end_ms
            if not right and probes.probed_after(pair, age_end_ms):
                right = True
                ledger.hit("aged out while probed")
            ledger.hit("age exhausted")
        elif letter.code == "NO_RESOURCE" and pair[1:] in ledger.book.ever_without:
            right = True
            ledger.hit("target gone")
        else:
            right = any(isinstance(one.outcome, Rejected) and one.outcome.code == letter.code for one in tries)
            ledger.hit("hop too many" if letter.code.startswith("THIRD") else "rejected")
        if not right:
            return [f"{pair} is dead by {letter}, but its attempts ended with {[one.outcome for one in tries][-3:]}"]
    return []
