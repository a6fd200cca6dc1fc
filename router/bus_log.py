"""The logs of event buses: what happened to each event, as records in the bus's log group.

Promises. A record becomes durable in the transaction of what it tells of, and is deposited like what a rule sends to a
log group: nothing is in a log that did not happen, and a crash leaves both or neither. It is put *beside* the batch
(`store.base`), so that where there is no room for it, in the store or in the log group's inbox, it is lost and counted,
and the events go on as if there were no log. A bus without a log costs a look into an empty mapping a batch.

The texts are `core/bus_log`'s. Nothing is decided here: what became of a delivery is read from what the trace is told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec

from router import log
from router.catalog.catalog import Catalog
from router.catalog.model import Rule, Target
from router.catalog.routes import RoutedRule, RoutedTarget
from router.core import bus_log as texts
from router.core.arn import log_group_arn
from router.core.bus_log import SUCCESS, Failure, Invocation, Logging
from router.core.event import Event, Location, envelope
from router.lanes import DEAD_LETTER_QUEUE, Delivery, LaneName, Progress, origin_of
from router.metrics import BusCounters, Metrics
from router.retries import AgedOut
from router.simulator.inboxes import Inboxes
from router.simulator.records import Draft, Stored
from router.sinks.base import Attempt, Delivered, Outcome, Rejected
from router.sources.outcome import Refused, Taken
from router.store.base import Batch
from router.trace import Failure as Told
from router.trace import Settled

STREAM = "EventBridgeEventBusLogs"
"""The log stream's name, as captured on AWS."""


class Arrival(Protocol):
    """An event at a bus, whoever has it."""

    @property
    def event(self) -> Event: ...
    @property
    def location(self) -> Location: ...
    @property
    def bus(self) -> str: ...
    @property
    def via(self) -> LaneName | None: ...


class _Written:
    """Whether records that were put beside a batch are durable."""

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records = 0


class BusLog:
    """Writes the logs of one hub's buses."""

    def __init__(
        self, catalog: Catalog, inboxes: Inboxes, metrics: Metrics, *, logs_leave: Callable[[Location], bool]
    ) -> None:
        """`logs_leave`: whether a location's log groups are at an endpoint; then its buses may not have a log, and what
        a bus from before would write is lost."""
        self._catalog = catalog
        self._inboxes = inboxes
        self._metrics = metrics
        self._logs_leave = logs_leave
        self._warned: set[str] = set()

    # accept

    def planned(
        self,
        batch: Batch,
        at_ms: int,
        *,
        incoming: Sequence[Arrival],
        outcomes: Sequence[Taken | Refused],
        matched: Iterable[tuple[Arrival, Sequence[RoutedRule]]],
    ) -> None:
        """These events came to their buses, with one outcome for each; those that were taken, with the rules that they
        matched."""
        logs = self._catalog.logs
        if not logs:
            return
        drafts: dict[Logging, list[Draft]] = {}
        for item, outcome in zip(incoming, outcomes, strict=True):
            logging = logs.get((item.location, item.bus))
            if logging is not None and isinstance(outcome, Refused) and not _is_service(item.event):
                drafts.setdefault(logging, []).extend(_refused(logging, item, outcome, at_ms))
        for item, rules in matched:
            logging = logs.get((item.location, item.bus))
            if logging is not None:
                drafts.setdefault(logging, []).extend(_accepted(logging, item, rules, at_ms))
        for logging, made in drafts.items():
            self._deposit(batch, logging, made)

    # settle

    def settled(
        self,
        batch: Batch,
        at_ms: int,
        *,
        lane: LaneName,
        target: RoutedTarget | None,
        tried: Sequence[tuple[Delivery, Attempt | None, Outcome | AgedOut]],
        told: Settled,
    ) -> None:
        """`batch` writes what became of deliveries of one lane; `told` is what the trace is told of them. A dead letter
        on its way to a queue is no invocation of its own."""
        logs = self._catalog.logs
        if not logs or lane.rule_arn == DEAD_LETTER_QUEUE:
            return
        logging = logs.get(origin_of(lane))
        if logging is None:
            return
        rule = self._catalog.rule_by_arn(lane.rule_arn)
        if rule is not None and rule.managed_by is not None:
            return
        failures = iter(told.failures)
        drafts: list[Draft] = []
        for index, (delivery, attempt, outcome) in enumerate(tried):
            took_ms = told.took_each[index] if told.took_each else told.took_ms
            failed = None if isinstance(outcome, Delivered) else next(failures)
            tale = _Tale(
                logging,
                delivery,
                _invocation(logging, delivery.accepted.event, lane, rule=rule, target=target, attempt=attempt),
                at_ms,
                0 if isinstance(outcome, AgedOut) else took_ms,
            )
            drafts += tale.records(attempt, outcome, failed)
        self._deposit(batch, logging, drafts)

    def _deposit(self, batch: Batch, logging: Logging, drafts: list[Draft]) -> None:
        if not drafts:
            return
        written = _Written()
        if self._logs_leave(logging.location):
            self._warn(logging)
        else:
            beside = batch.beside()
            arn = log_group_arn(logging.location, logging.group)
            stored = sum(isinstance(one, Stored) for one in self._inboxes.deposit_many(beside, arn, drafts))
            beside.then(lambda: setattr(written, "records", stored))
        counters = self._metrics.bus(logging.location, logging.bus)
        batch.then(partial(_count, counters, written, len(drafts)))

    def _warn(self, logging: Logging) -> None:
        if logging.bus_arn not in self._warned:
            self._warned.add(logging.bus_arn)
            log.warning(
                "bus_log.lost",
                bus=logging.bus_arn,
                reason="the hub writes bus logs into its own log groups, and those of this location are at an endpoint",
            )


class _Tale(msgspec.Struct, frozen=True):
    """What is told of one delivery that was tried or given up."""

    logging: Logging
    delivery: Delivery
    invocation: Invocation
    at_ms: int
    took_ms: int

    def records(self, attempt: Attempt | None, outcome: Outcome | AgedOut, failed: Told | None) -> list[Draft]:
        before = self.delivery.progress
        number = failed.attempt if failed is not None else (before.attempts if before is not None else 0) + 1
        drafts: list[Draft] = []
        if attempt is not None:
            self._add(drafts, "INVOCATION_ATTEMPT_START", self._start(number), at_ms=self.at_ms - self.took_ms)
        if failed is None:
            self._add(drafts, "INVOCATION_ATTEMPT_SUCCESS", self._attempt(number, before, SUCCESS))
            self._add(drafts, "INVOCATION_SUCCESS", self._final(number, SUCCESS))
            return drafts
        assert not isinstance(outcome, Delivered)
        service = self.invocation.target_arn.split(":")[2] if attempt and self.invocation.target_arn else "events"
        failure = Failure(outcome.code, outcome.message, service)
        if not isinstance(outcome, AgedOut):
            previous = _code_of(before)
            permanent = isinstance(outcome, Rejected)
            for kind in texts.failed_attempt_types(outcome.code, previous_code=previous, permanent=permanent):
                is_start = kind == "INVOCATION_THROTTLE_START"
                details = self._start(number) if is_start else self._attempt(number, before, outcome.code)
                self._add(drafts, kind, details, failure=failure)
        if failed.due_ms is None:
            to_queue = failed.place is not None and failed.place.queue is not None and failed.place.number is None
            kind = "INVOCATION_DLQ" if to_queue else "INVOCATION_FAILURE"
            self._add(drafts, kind, self._final(number, outcome.code), failure=failure)
        return drafts

    def _add(
        self,
        drafts: list[Draft],
        message_type: str,
        details: Mapping[str, Any],
        *,
        at_ms: int | None = None,
        failure: Failure | None = None,
    ) -> None:
        if self.logging.wants(message_type):
            at_ms = self.at_ms if at_ms is None else at_ms
            text = texts.invocation_record(
                self.logging, message_type, self.invocation, details, at_ms=at_ms, failure=failure
            )
            drafts.append(_draft(text, self.invocation.event_id, at_ms))

    def _start(self, number: int) -> dict[str, Any]:
        return texts.start_details(self.logging, self.invocation, attempt=number)

    def _attempt(self, number: int, before: Progress | None, status: str) -> dict[str, Any]:
        return texts.attempt_details(
            self.invocation, attempt=number, previous_code=_code_of(before), status=status, took_ms=self.took_ms
        )

    def _final(self, attempts: int, status: str) -> dict[str, Any]:
        return texts.final_details(
            self.logging,
            self.invocation,
            attempts=attempts,
            status=status,
            took_ms=self.took_ms,
            age_ms=max(0, self.at_ms - self.delivery.accepted.ingested_ms),
        )


def _code_of(progress: Progress | None) -> str | None:
    """What the attempt before came to; None where there was none."""
    return progress.code if progress is not None and progress.attempts else None


def _count(counters: BusCounters, written: _Written, count: int) -> None:
    """What the records tell of is durable."""
    counters.log_records += written.records
    counters.log_records_lost += count - written.records


def _draft(text: bytes, event_id: str, at_ms: int) -> Draft:
    return Draft(text, event_id=event_id, stream=STREAM, timestamp_ms=at_ms)


def _is_service(event: Event) -> bool:
    """Whether an AWS service sent it. What partners send and what is replayed is always told."""
    return event.source.startswith("aws.") and not event.source.startswith("aws.partner/") and event.replay_name is None


def _event_details(logging: Logging, item: Arrival) -> dict[str, Any]:
    event = item.event
    details: dict[str, Any] = {
        "caller_account_id": item.via.rule_arn.split(":", 5)[4] if item.via is not None else event.account,
        "source_time_ms": _time_ms(event.time),
        "source": event.source,
        "detail_type": event.detail_type,
        "resources": event.resources,
    }
    return {**details, "event_detail": event.detail} if logging.full else details


def _refused(logging: Logging, item: Arrival, refused: Refused, at_ms: int) -> list[Draft]:
    event_id = item.event.id
    details = _event_details(logging, item)
    failure = Failure(refused.code, f"{refused.code}: {refused.message}", "events")
    made = [
        texts.record(logging, kind, event_id, details, at_ms=at_ms, failure=why)
        for kind, why in (("EVENT_RECEIPT", None), ("EVENT_INGEST_FAILURE", failure))
        if logging.wants(kind)
    ]
    return [_draft(text, event_id, at_ms) for text in made]


def _accepted(logging: Logging, item: Arrival, rules: Sequence[RoutedRule], at_ms: int) -> list[Draft]:
    """Nothing for events that match managed rules alone, and for those of services that match none."""
    standard = [rule for rule in rules if rule.rule.managed_by is None]
    if not standard and (rules or _is_service(item.event)):
        return []
    event_id = item.event.id
    details = _event_details(logging, item)
    made = [
        texts.record(logging, kind, event_id, details, at_ms=at_ms)
        for kind in ("EVENT_RECEIPT", "EVENT_INGEST_SUCCESS", "RULE_MATCH_START")
        if logging.wants(kind)
    ]
    if not standard and logging.wants("NO_STANDARD_RULES_MATCHED"):
        made.append(texts.record(logging, "NO_STANDARD_RULES_MATCHED", event_id, {}, at_ms=at_ms))
    for rule in standard:
        if logging.wants("RULE_MATCH"):
            made += _matched(logging, item.event, rule, at_ms)
    return [_draft(text, event_id, at_ms) for text in made]


def _matched(logging: Logging, event: Event, rule: RoutedRule, at_ms: int) -> Iterable[bytes]:
    """RULE_MATCH, and an INVOCATION_START a target; both are of one level."""
    invocations = [
        _invocation(logging, event, LaneName(rule.arn, target.target.id), rule=rule.rule, target=target)
        for target in rule.targets
    ]
    details = {
        "rule_arn": rule.arn,
        "target_arns": [target.target.arn for target in rule.targets],
        "invocation_ids": [invocation.invocation_id for invocation in invocations],
    }
    yield texts.record(logging, "RULE_MATCH", event.id, details, at_ms=at_ms)
    for invocation, target in zip(invocations, rule.targets, strict=True):
        if logging.full and target.transform is None:  # what has to be made first, its attempt shows
            invocation = msgspec.structs.replace(invocation, target_input=envelope(event).decode(errors="replace"))
        start = texts.start_details(logging, invocation, attempt=1)
        yield texts.invocation_record(logging, "INVOCATION_START", invocation, start, at_ms=at_ms)


def _invocation(
    logging: Logging,
    event: Event,
    lane: LaneName,
    *,
    rule: Rule | None,
    target: RoutedTarget | None,
    attempt: Attempt | None = None,
) -> Invocation:
    configured = target.target if target is not None else None
    role_arn = (configured.role_arn if configured else None) or (rule.role_arn if rule else None)
    return Invocation(
        event.id,
        texts.invocation_id(event.id, lane.rule_arn, lane.target_id),
        lane.rule_arn,
        configured.arn if configured else None,
        role_arn,
        attempt.payload.decode(errors="replace") if attempt and logging.full else None,
        _properties(configured) if configured and logging.full else None,
    )


def _properties(target: Target) -> str | None:
    """The target's parameter block, as it is configured; None where it has none."""
    blocks = {name: block for name, block in msgspec.to_builtins(target).items() if name.endswith("Parameters")}
    return msgspec.json.encode(blocks).decode() if blocks else None


@lru_cache(maxsize=4096)
def _time_ms(text: str) -> int | None:
    """An event's own time; None for a text that is none."""
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 1000
    except ValueError:
        return None
