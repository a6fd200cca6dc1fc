"""What attempts count: when they begin, when they have to wait, and when their outcomes are durable.

Everything is counted twice: by where the rule is and the kind of target, and by rule. Dead letters on their way to a
queue are no deliveries of a rule and count with their queue only. Plain additions; it must not know why an outcome is
what it is, and it changes nothing but counters.
"""

from collections.abc import Iterable, Iterator, Sequence

from router.core.hops import HOP_CODES
from router.lanes import DEAD_LETTER_QUEUE, Delivery, Lane
from router.metrics import Metrics, RuleCounters, SinkCounters
from router.retries import AgedOut
from router.sinks.base import Attempt, Delivered, Outcome, Rejected

_HOP = "event_bus"
"""AWS has no latencies of what goes to another bus, so a rule's are those of its other targets."""


def begun(metrics: Metrics, lane: Lane, deliveries: Sequence[Delivery], counters: SinkCounters, *, now_ms: int) -> None:
    """Attempts of a rule's deliveries begin."""
    rule = metrics.rule(lane.name.rule_arn)
    counters.attempts += len(deliveries)
    fresh: list[Delivery] = []
    for delivery in deliveries:
        if delivery.progress is None:
            fresh.append(delivery)
        elif delivery.progress.attempts:
            counters.retries += 1
            rule.retries += 1
    for waited_s, count in _ages_s(fresh, now_ms):
        counters.first_attempt_s.observe(waited_s, count)
        if lane.kind != _HOP:
            rule.first_attempt_s.observe(waited_s, count)


def at_once(metrics: Metrics, lane: Lane, count: int, counters: SinkCounters, *, took_ms: int) -> None:
    """So many deliveries were delivered with the acceptance of their events, which took so long: all that `begun` and
    `ended` say of them."""
    rule = metrics.rule(lane.name.rule_arn)
    counters.attempts += count
    counters.delivered += count
    rule.attempts += count
    rule.delivered += count
    took_s = max(0, took_ms) / 1000
    for first_attempt_s, first_attempt_done_s, delivered_s in (
        (counters.first_attempt_s, counters.first_attempt_done_s, counters.delivered_s),
        (rule.first_attempt_s, rule.first_attempt_done_s, rule.delivered_s),
    ):
        first_attempt_s.observe(0.0, count)
        first_attempt_done_s.observe(took_s, count)
        delivered_s.observe(took_s, count)


def throttled(metrics: Metrics, lane: Lane, counters: SinkCounters) -> None:
    """What a lane has ready must wait for its target's rate."""
    counters.throttled += 1
    if lane.name.rule_arn != DEAD_LETTER_QUEUE:
        metrics.rule(lane.name.rule_arn).throttled += 1


def ended(
    metrics: Metrics,
    lane: Lane,
    tried: Sequence[tuple[Delivery, Attempt | None, Outcome | AgedOut]],
    counters: SinkCounters,
    *,
    kind: str,
    settled: int,
    now_ms: int,
) -> None:
    """The outcomes of attempts are durable; `settled` of the deliveries are delivered or given up."""
    rule = RuleCounters() if lane.name.rule_arn == DEAD_LETTER_QUEUE else metrics.rule(lane.name.rule_arn)
    rejected = hops_refused = aged = 0
    attempted, timed = kind != "removed", kind not in (_HOP, "removed")
    fresh: list[Delivery] = []
    arrived: list[Delivery] = []
    for delivery, _, outcome in tried:
        if isinstance(outcome, AgedOut):
            aged += 1
            continue
        if delivery.progress is None and attempted:
            fresh.append(delivery)
        if isinstance(outcome, Delivered):
            arrived.append(delivery)
        elif isinstance(outcome, Rejected):
            rejected += 1
            hops_refused += outcome.code in HOP_CODES
    for some, of_sink, of_rule in (
        (fresh, counters.first_attempt_done_s, rule.first_attempt_done_s),
        (arrived, counters.delivered_s, rule.delivered_s),
    ):
        for age_s, count in _ages_s(some, now_ms):
            of_sink.observe(age_s, count)
            if timed:
                of_rule.observe(age_s, count)
    made, delivered = len(tried) - aged, len(arrived)
    counters.delivered += delivered
    counters.rejected += rejected
    counters.retryable += made - delivered - rejected
    rule.attempts += made if attempted else 0
    rule.delivered += delivered
    rule.hops += delivered if kind == _HOP else 0
    rule.hops_refused += hops_refused
    rule.dead_letters += settled - delivered
    if lane.name.rule_arn != DEAD_LETTER_QUEUE:
        counters.dead_letters += settled - delivered


def _ages_s(deliveries: Iterable[Delivery], now_ms: int) -> Iterator[tuple[float, int]]:
    """How old the events are, and how many in a row are so old: what was put together is delivered together."""
    ingested_ms, count = 0, 0
    for delivery in deliveries:
        this_ms = delivery.accepted.ingested_ms
        if this_ms != ingested_ms:
            if count:
                yield max(0, now_ms - ingested_ms) / 1000, count
            ingested_ms, count = this_ms, 0
        count += 1
    if count:
        yield max(0, now_ms - ingested_ms) / 1000, count
