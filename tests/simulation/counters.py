"""The judge of the hub's own numbers: what Prometheus would read from one process equals what the ledger and the disk
say of that process. When a process was killed some numbers are only bounded, because an outcome may have been under
way; where it ended in peace every number is exact.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache

from router.catalog.kinds import kind_of
from router.core.arn import parse
from router.core.event import Location
from router.sinks.base import Rejected, Retryable
from tests.simulation import scenario
from tests.simulation.audit import Found
from tests.simulation.hub import Process
from tests.simulation.ledger import LETTER, Ledger, Try

Labels = tuple[str, ...]
Samples = dict[tuple[str, Labels], float]


def samples(process: Process) -> Samples:
    return {
        (sample.name.removeprefix("crossbus_"), tuple(sample.labels.values())): sample.value
        for family in process.metrics.families()
        for sample in family.samples
    }


def after_crash(process: Process, ledger: Ledger) -> list[str]:
    """Called in the moment of the crash."""
    seen = samples(process)
    wrong = _attempts(ledger, seen)
    expected = [one for offer in ledger.offers if offer.process == ledger.process for one in offer.expected]
    told = [one for number, one in ledger.hops_told if number == ledger.process]
    for at in _known_buses():
        accepted = seen.get(("events_accepted_total", _labels(at)), 0)
        certain = sum(one.at == at and one.status == "taken" for one in expected) + sum(one.at == at for one in told)
        possible = certain + sum(one.at == at and one.status == "open" for one in expected)
        if not certain <= accepted <= possible:
            wrong.append(f"events_accepted of {at} is {accepted}, expected {certain} to {possible}")
    for name, count in _outcomes(ledger).items():
        if seen.get(name, 0) > count:
            wrong.append(f"{name} is {seen[name]}, expected {count} at most")
    return wrong


def in_peace(process: Process, ledger: Ledger, before: Found, now: Found) -> list[str]:
    """Called when nothing is under way. `before` is the disk as the process found it."""
    seen = samples(process)
    wrong = _attempts(ledger, seen) + _events(ledger, seen) + _gauges(process, now)
    wrong += _letters(ledger, seen, before, now)
    outcomes = _outcomes(ledger)
    for (name, labels), value in seen.items():
        if name == "attempts_total" and labels[3] != "removed" and value != outcomes[name, labels]:
            wrong.append(f"{name} of {labels} is {value}, expected {outcomes[name, labels]}")
    wrong += [f"{name} is missing, expected {count}" for name, count in outcomes.items() if name not in seen]
    return wrong


def _labels(at: tuple[Location, str]) -> Labels:
    return (at[0].account, at[0].region, at[1])


def _known_buses() -> Iterable[tuple[Location, str]]:
    return scenario.RULES_AT


@cache
def _origin(rule_arn: str, target_id: str) -> Labels:
    if target_id.startswith(LETTER):
        arn = parse(scenario.REAL_LETTERS)
        return (arn.account, arn.region, "", "sqs")
    rule = scenario.BY_ARN[rule_arn]
    kind = kind_of(scenario.TARGETS[rule_arn, target_id].arn)
    assert kind is not None, "the scenario's targets are targets"
    return (*_labels((rule.location, rule.bus)), kind)


def _outcome(one: Try) -> str | None:
    if one.outcome is None or one.undone:
        return None
    if isinstance(one.outcome, Retryable):
        return "retryable"
    return "rejected" if isinstance(one.outcome, Rejected) else "delivered"


def _outcomes(ledger: Ledger) -> Counter[tuple[str, Labels]]:
    counts: Counter[tuple[str, Labels]] = Counter()
    for one in ledger.of_process(ledger.process):
        outcome = _outcome(one)
        if outcome is not None:
            counts["attempts_total", (*_origin(*one.pair[1:]), outcome)] += 1
    return counts


def _attempts(ledger: Ledger, seen: Samples) -> list[str]:
    """Attempts are counted as they begin, so that these are exact at any time."""
    begun: Counter[Labels] = Counter()
    certain: Counter[Labels] = Counter()
    possible: Counter[Labels] = Counter()
    for pair, tries in ledger.tries.items():
        if pair.target_id.startswith(LETTER):
            continue
        origin = _origin(*pair[1:])
        for number, one in enumerate(tries):
            if one.process != ledger.process:
                continue
            begun[origin] += 1
            if number:
                earlier = tries[number - 1]
                failed = isinstance(earlier.outcome, Retryable) and not earlier.undone
                certain[origin] += failed and earlier.process == one.process and pair not in ledger.redriven_ms
                possible[origin] += 1
    wrong = []
    for origin, count in begun.items():
        retried = seen.get(("retries_total", origin), 0)
        if not certain[origin] <= retried <= possible[origin]:
            wrong.append(f"retries of {origin} is {retried}, expected {certain[origin]} to {possible[origin]}")
        firsts = seen.get(("ingestion_to_first_attempt_seconds_count", origin), 0)
        if firsts + retried > count:
            wrong.append(f"{origin} counts {firsts} first attempts and {retried} retries, expected {count} together")
    if seen["sink_bugs_total", ()] != ledger.count["sink bugs"]:
        wrong.append(f"sink_bugs is {seen['sink_bugs_total', ()]}, expected {ledger.count['sink bugs']}")
    return wrong


def _events(ledger: Ledger, seen: Samples) -> list[str]:
    accepted: Counter[Labels] = Counter()
    matched: Counter[tuple[str, Labels]] = Counter()
    most: Counter[tuple[str, Labels]] = Counter()
    unknown = 0
    offered = (one for offer in ledger.offers if offer.process == ledger.process for one in offer.expected)
    told = (one for number, one in ledger.hops_told if number == ledger.process)
    for one in (*(one for one in offered if one.status == "taken"), *told):
        if one.at not in _known_buses():
            unknown += 1
            continue
        labels = _labels(one.at)
        accepted[labels] += 1
        for counts, rules in ((matched, one.rules_must), (most, one.rules_may)):
            counts["events_matched_total", labels] += bool(rules)
            counts.update(("rule_matched_total", (arn,)) for arn in rules)
    wrong = [
        f"{name} of {labels} is {seen.get((name, labels), 0)}, expected {matched[name, labels]} to {count}"
        for (name, labels), count in most.items()
        if not matched[name, labels] <= seen.get((name, labels), 0) <= count
    ]
    for labels, count in accepted.items():
        parts = [seen.get((f"events_{name}_total", labels), 0) for name in ("accepted", "matched", "unmatched")]
        if parts[0] != count or parts[1] + parts[2] != count:
            wrong.append(f"of {labels} {parts} events are accepted, matched and unmatched, expected {count}")
    if seen["unknown_bus_events_total", ()] != unknown:
        wrong.append(f"unknown_bus_events is {seen['unknown_bus_events_total', ()]}, expected {unknown}")
    return wrong


def _letters(ledger: Ledger, seen: Samples, before: Found, now: Found) -> list[str]:
    """Dead letters by rule, and over all where they went."""
    made: Counter[str] = ledger.count.copy()
    to_queue: Counter[str] = Counter()
    for found, sign in ((now, 1), (before, -1)):
        for pair, kept in found.kept.items():
            made[pair.rule_arn] += sign * len(kept)
            made["queue failed"] += sign * sum(letter.queue_failure is not None for letter in kept)
        for pair, queued in found.queued.items():
            made[pair.rule_arn] += sign * len(queued)
            to_queue[pair.rule_arn] += sign * len(queued)
        for pair, count in found.under_way.items():
            made[pair.rule_arn] += sign * count
    arrived: Counter[str] = Counter()
    for one in ledger.of_process(ledger.process):
        if one.delivered and one.pair.target_id.startswith(LETTER):
            made[one.pair.rule_arn] += 1
            to_queue[one.pair.rule_arn] += 1
        elif one.delivered:
            arrived[one.pair.rule_arn] += 1
    wrong = []
    for arn in scenario.BY_ARN:
        for name, count in (("rule_dead_letters_total", made[arn]), ("rule_delivered_total", arrived[arn])):
            if seen.get((name, (arn,)), 0) != count:
                wrong.append(f"{name} of {arn} is {seen.get((name, (arn,)), 0)}, expected {count}")
    for name, count in (
        ("dead_letters_total", sum(made[arn] for arn in scenario.BY_ARN)),
        ("dead_letters_to_queue_total", sum(to_queue.values())),
        ("dead_letters_queue_failed_total", made["queue failed"]),
    ):
        total = sum(value for (found_name, _), value in seen.items() if found_name == name)
        if total != count:
            wrong.append(f"{name} is {total} over all, expected {count}")
    return wrong


def _gauges(process: Process, now: Found) -> list[str]:
    lanes = process.pipeline.lanes
    facts: list[tuple[str, float, float]] = [
        ("deliveries_pending", lanes.pending, now.rows),
        ("deliveries_parked", sum(process.pipeline.parked().values()), now.rows),
        ("deliveries_in_memory_bytes", lanes.bytes_in_memory, 0),
        ("attempts_in_flight", process.pipeline.in_flight, 0),
        ("dead_letters_kept", process.dead_letters.count, sum(map(len, now.kept.values()))),
    ]
    facts += [
        (f"messages of {queue}", process.inboxes.describe(queue).messages, now.messages[queue])
        for queue in scenario.QUEUES
    ]
    return [f"{name} is {value}, expected {expected}" for name, value, expected in facts if value != expected]
