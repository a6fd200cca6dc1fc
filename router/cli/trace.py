"""`crossbus trace`: what happened to one event, as a tree: buses, deliveries, attempts, and what happens next."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from router.cli.client import HubClient
from router.cli.terminal import ACCOUNT, REGION, URL, AccountOption, RegionOption, Url, print_json, told
from router.trace_tree import TraceAnswer, TracedAttempt, TracedDelivery, TracedEvent, TracedLetter
from router.world import RealWorld

_INDENT = "    "


def trace(
    event_id: Annotated[str, typer.Argument(help="The event's id, as PutEvents answered it or a target got it.")],
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hub's whole answer as JSON.")] = False,
) -> None:
    """What happened to an event: where it was accepted, which rules matched, what became of each delivery.

    Example: crossbus trace 11710aed-79a6-4468-a9b3-3d5f8e1c7b52
    """
    with told():
        answer = HubClient(url, account=account, region=region).hub("GET", "trace", {"event_id": event_id})
    if as_json:
        print_json(answer)
        return
    now_ms = RealWorld().now_ms()
    shown = msgspec.convert(answer, TraceAnswer)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(shown.states.items()))
    typer.echo(f"event {event_id}: {counts or 'no deliveries'}")
    for event in shown.events:
        for line in _event(event, event_id, now_ms, first=True):
            typer.echo(line)


def _event(event: TracedEvent, asked: str, now_ms: int, *, first: bool) -> Iterator[str]:
    name = "" if event.event_id == asked else f" as event {event.event_id}"
    kind = f": {event.detail_type} from {event.source}" if first else ""
    yield f"{event.accepted_at}  accepted on bus {event.bus} in {event.account}/{event.region}{name}{kind}"
    if first and event.parent_id is not None:
        yield f"{_INDENT}it came from another region, where it was event {event.parent_id}"
    if not event.complete:
        yield f"{_INDENT}the record of that is not kept any more: this is what is still known, and it may be a part"
    if event.outcome == "unmatched":
        yield f"{_INDENT}no rule gets it; `crossbus explain` says why"
    elif event.outcome != "matched":
        yield f"{_INDENT}{event.outcome}: there is no such bus"
    for rule in event.archives:
        yield f"{_INDENT}rule {_short(rule)} archived it with its acceptance"
    sending = {delivery.rule_arn for delivery in event.deliveries} | set(event.archives)
    for rule in event.rules:
        if rule not in sending and not event.deliveries_left_out:
            yield f"{_INDENT}rule {_short(rule)} matched it and has no targets"
    for delivery in event.deliveries:
        for line in _delivery(delivery, event.accepted_at, asked, now_ms):
            yield _INDENT + line
    if event.deliveries_left_out:
        yield f"{_INDENT}and {event.deliveries_left_out} more deliveries that are not shown"


def _delivery(delivery: TracedDelivery, accepted_at: str, asked: str, now_ms: int) -> Iterator[str]:
    redriven = f", redriven from dead letter {delivery.redriven_from}" if delivery.redriven_from is not None else ""
    arn = delivery.target_arn or "a target that was removed"
    yield f"rule {_short(delivery.rule_arn)}, target {delivery.target_id} ({arn}){redriven}"
    for line in _progress(delivery, accepted_at, now_ms):
        yield _INDENT + line
    if delivery.event is not None:
        for line in _event(delivery.event, asked, now_ms, first=False):
            yield _INDENT + line


def _progress(delivery: TracedDelivery, accepted_at: str, now_ms: int) -> Iterator[str]:
    """Its attempts, and where it stands."""
    hidden = delivery.attempts_made - len(delivery.attempts)
    if hidden > 0:
        yield f"{hidden} earlier attempt{_s(hidden)} failed"
    for attempt in delivery.attempts:
        if attempt.code is not None:
            yield f"attempt {attempt.number}{_when(attempt, accepted_at)}: {attempt.code}: {attempt.message}"
    last = delivery.attempts[-1] if delivery.attempts else None
    if delivery.state == "delivered" and last is not None:
        yield f"delivered by attempt {last.number}{_when(last, accepted_at)}"
    elif delivery.state == "parked" and delivery.next_attempt_at is not None:
        wait_ms = _ms(delivery.next_attempt_at) - now_ms
        when = f"in {_span(wait_ms)}" if wait_ms > 0 else "due now"
        yield f"parked: attempt {delivery.attempts_made + 1} at {delivery.next_attempt_at} ({when})"
    elif delivery.state == "in_flight":
        yield f"in_flight: attempt {delivery.attempts_made + 1} is being made now"
    elif delivery.state == "pending":
        yield f"pending: attempt {delivery.attempts_made + 1} is made when its turn comes"
    elif delivery.dead_letter is not None:
        yield from _letter(delivery.dead_letter, now_ms)
    else:
        yield "unknown: what became of it was not kept"


def _letter(letter: TracedLetter, now_ms: int) -> Iterator[str]:
    yield f"dead_letter: given up {letter.at}{f' ({letter.condition})' if letter.condition else ''}"
    if letter.queue is not None and letter.number is None and letter.to_queue is None:
        yield f"it is in the queue {letter.queue}"
    if letter.to_queue is not None:
        yield f"it goes to the queue {letter.queue}"
        for line in _progress(letter.to_queue, letter.at, now_ms):
            yield _INDENT + line
    if letter.queue_failure is not None:
        yield f"its queue {letter.queue or ''} did not take it: {letter.queue_failure}".replace("  ", " ")
    if letter.kept:
        yield f"kept as number {letter.number}: `crossbus dlq redrive {letter.number}` delivers it after all"
    elif letter.redriven:
        yield f"it was kept as number {letter.number}, and redriven"
    elif letter.number is not None:
        yield f"it was kept as number {letter.number}, and is not any more"


def _when(attempt: TracedAttempt, accepted_at: str) -> str:
    """How long after acceptance its outcome was there, and how long it took."""
    after = f" after {_span(_ms(attempt.at) - _ms(accepted_at))}" if attempt.at is not None else ""
    return after + (f" (took {_span(attempt.took_ms)})" if attempt.took_ms is not None else "")


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _span(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(rule_arn: str) -> str:
    """`bus/name` of a rule, or its name on a default bus."""
    return rule_arn.rpartition(":rule/")[2]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
