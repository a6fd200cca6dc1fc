"""Every metric: name, labels, help. Counters are plain ints that the data path adds to; a collector reads them when
Prometheus scrapes, and the text is rendered off the event loop.

Labels are bounded: account, region and bus are configured things, sink kinds and outcomes are closed lists, rules are
capped (`limits.RULE_SERIES_MAX`), the rest counts under `other`. There is no histogram per rule.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector, CollectorRegistry

from router import __version__, limits
from router.core.event import Location

# Each bound is a series of each location, bus and kind of target, so a histogram has those that somebody asks for. From
# acceptance to delivery is what dashboards and load tests compare, from a queue in the hub to retries over an hour.
_DELIVERED_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0),
    *(2.0, 5.0, 10.0, 20.0, 60.0, 600.0, 3600.0),
)
_FIRST_ATTEMPT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0, 600.0)
_CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BYTES = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
_COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


class Histogram:
    """Fixed buckets; one observation costs a bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = _CALL_SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        rows: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            rows.append((str(bound), running))
        rows.append(("+Inf", running + self.counts[-1]))
        return rows


class Mean:
    """How many there were and what they add up to: what a rule has instead of a histogram."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.count += times
        self.total += value * times


@dataclass(slots=True)
class BusCounters:
    accepted: int = 0
    matched: int = 0
    unmatched: int = 0
    rules_matched: int = 0
    deliveries: int = 0
    withheld: int = 0
    refused: int = 0
    log_records: int = 0
    log_records_lost: int = 0


@dataclass(slots=True)
class SinkCounters:
    delivered: int = 0
    retryable: int = 0
    rejected: int = 0
    attempts: int = 0
    retries: int = 0
    dead_letters: int = 0
    dead_letters_to_queue: int = 0
    dead_letters_queue_failed: int = 0
    throttled: int = 0
    first_attempt_s: Histogram = field(default_factory=lambda: Histogram(_FIRST_ATTEMPT_SECONDS))
    first_attempt_done_s: Histogram = field(default_factory=lambda: Histogram(_FIRST_ATTEMPT_SECONDS))
    delivered_s: Histogram = field(default_factory=lambda: Histogram(_DELIVERED_SECONDS))


@dataclass(slots=True)
class RuleCounters:
    matched: int = 0
    attempts: int = 0
    retries: int = 0
    throttled: int = 0
    delivered: int = 0
    hops: int = 0
    hops_refused: int = 0
    dead_letters: int = 0
    dead_letters_to_queue: int = 0
    dead_letters_queue_failed: int = 0
    first_attempt_s: Mean = field(default_factory=Mean)
    first_attempt_done_s: Mean = field(default_factory=Mean)
    delivered_s: Mean = field(default_factory=Mean)


class LetterCounters(NamedTuple):
    """What a dead letter counts with: the kind of target and the rule that it was for."""

    sink: SinkCounters
    rule: RuleCounters

    def queued(self) -> None:
        self.sink.dead_letters_to_queue += 1
        self.rule.dead_letters_to_queue += 1

    def queue_failed(self) -> None:
        self.sink.dead_letters_queue_failed += 1
        self.rule.dead_letters_queue_failed += 1


PUT_OPERATIONS = ("PutEvents", "PutPartnerEvents")


@dataclass(slots=True)
class PutCounters:
    """One of `PUT_OPERATIONS` in one location: what the server sees of a request, and what became of its entries."""

    requests: int = 0
    failed: int = 0
    throttled: int = 0
    entries: int = 0
    entries_failed: int = 0
    seconds: Histogram = field(default_factory=Histogram)
    size_bytes: Histogram = field(default_factory=lambda: Histogram(_BYTES))

    def answered(self, outcome: str, *, seconds: float, size_bytes: int) -> None:
        """A request was answered: `ok` or an error's code."""
        self.requests += 1
        self.throttled += outcome == "ThrottlingException"
        self.failed += outcome not in ("ok", "ThrottlingException")
        self.seconds.observe(seconds)
        self.size_bytes.observe(size_bytes)

    def took(self, entries: int, refused: Sequence[str]) -> None:
        """The entries of a request that is answered `ok`, and the codes of those that were refused."""
        self.entries += entries
        self.entries_failed += len(refused)
        self.throttled += "ThrottlingException" in refused


@dataclass(slots=True)
class QueueSourceCounters:
    """One SQS source."""

    received: int = 0
    taken: int = 0
    refused: int = 0
    deleted: int = 0
    receive_errors: int = 0


FAULTS = ("delay", "error", "outage", "throttle")


@dataclass(slots=True)
class FaultCounters:
    """Attempts that one fault profile did something to, by `FAULTS`."""

    delay: int = 0
    error: int = 0
    outage: int = 0
    throttle: int = 0


Origin = tuple[Location, str, str]
"""Where deliveries come from and what takes them: the rule's location and bus, and the kind of sink."""


@dataclass(slots=True)
class _Gauge:
    name: str
    help: str
    read: Callable[[], float]


@dataclass(slots=True)
class _OriginGauge:
    name: str
    help: str
    read: Callable[[], Mapping[Origin, float]]


class Metrics:
    """All counts of one hub. The get-or-create calls return the same object for the same labels; keep it."""

    def __init__(self) -> None:
        self._buses: dict[tuple[Location, str], BusCounters] = {}
        self._sinks: dict[Origin, SinkCounters] = {}
        self._rules: dict[str, RuleCounters] = {}
        self._queue_sources: dict[str, QueueSourceCounters] = {}
        self._puts: dict[tuple[str, Location], PutCounters] = {}
        self._other_rules = RuleCounters()
        self._faults: dict[str, FaultCounters] = {}
        self._gauges: list[_Gauge] = []
        self._origin_gauges: list[_OriginGauge] = []
        self._looks: list[Callable[[], None]] = []
        self.unknown_bus = 0
        self.archived = 0
        self.replayed = 0
        self.sink_bugs = 0
        self.schedule_fires = 0
        self.schedule_missed = 0
        self.dead_letters_expired = 0
        self.api_errors = 0
        self.fast_lane_requests = 0
        self.connections_refused = 0
        self.requests: dict[tuple[str, str], int] = {}
        self.accept_s = Histogram()
        self.commit_s = Histogram()
        self.commit_batches = Histogram(_COUNTS)
        self.loop_lag_s = Histogram()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_HubCollector(self))
        ProcessCollector(namespace="crossbus", registry=self._registry)

    def bus(self, location: Location, bus: str) -> BusCounters:
        key = (location, bus)
        found = self._buses.get(key)
        if found is None:
            found = self._buses[key] = BusCounters()
        return found

    def sink(self, location: Location, bus: str, kind: str) -> SinkCounters:
        """`location` and `bus` are those of the rule that sends."""
        key = (location, bus, kind)
        found = self._sinks.get(key)
        if found is None:
            found = self._sinks[key] = SinkCounters()
        return found

    def rule(self, arn: str) -> RuleCounters:
        found = self._rules.get(arn)
        if found is None:
            if len(self._rules) >= limits.RULE_SERIES_MAX:
                return self._other_rules
            found = self._rules[arn] = RuleCounters()
        return found

    def faults(self, profile: str) -> FaultCounters:
        """Kept when the profile goes; with too many names, all further ones share `other`."""
        if profile not in self._faults and len(self._faults) >= limits.PROFILE_SERIES_MAX:
            profile = "other"
        return self._faults.setdefault(profile, FaultCounters())

    def put(self, operation: str, location: Location) -> PutCounters:
        """`operation` is one of `PUT_OPERATIONS`, `location` the one that the caller puts events in."""
        key = (operation, location)
        found = self._puts.get(key)
        if found is None:
            found = self._puts[key] = PutCounters()
        return found

    def queue_source(self, queue_url: str) -> QueueSourceCounters:
        return self._queue_sources.setdefault(queue_url, QueueSourceCounters())

    def request(self, operation: str, outcome: str) -> None:
        """One API request; `operation` must be a known name, so that the label stays bounded."""
        key = (operation, outcome)
        self.requests[key] = self.requests.get(key, 0) + 1

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A number that is read at scrape."""
        self._gauges.append(_Gauge(name, help_text, read))

    def origin_gauge(self, name: str, help_text: str, read: Callable[[], Mapping[Origin, float]]) -> None:
        """A number of each origin that is read at scrape; where `read` says nothing of an origin it is 0."""
        self._origin_gauges.append(_OriginGauge(name, help_text, read))

    def before_scrape(self, look: Callable[[], None]) -> None:
        """What must be read on the event loop: `look` runs there before each scrape, and must be short."""
        self._looks.append(look)

    def look(self) -> None:
        for look in self._looks:
            look()

    def committed(self, seconds: float, batches: int) -> None:
        self.commit_s.observe(seconds)
        self.commit_batches.observe(batches)

    def render(self) -> bytes:
        """The text that Prometheus reads, after `look`. Slow (tens of ms with many series): call it on another
        thread."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """Everything that the hub counts now. The copies taken here make it safe beside a running event loop."""
        yield from self._bus_families(list(self._buses.items()))
        yield from self._sink_families(list(self._sinks.items()))
        for by_origin in self._origin_gauges:
            family = GaugeMetricFamily(f"crossbus_{by_origin.name}", by_origin.help, labels=_ORIGIN)
            for origin, value in {**dict.fromkeys(list(self._sinks), 0), **by_origin.read()}.items():
                family.add_metric(_labels(origin), value)
            yield family
        yield from self._rule_families([*self._rules.items(), ("other", self._other_rules)])
        yield from self._put_families(list(self._puts.items()))
        yield from self._source_families(list(self._queue_sources.items()))
        faults = CounterMetricFamily(
            "crossbus_faults_injected", "Attempts that a fault profile did something to.", labels=["profile", "fault"]
        )
        for profile, injected in list(self._faults.items()):
            for fault in FAULTS:
                faults.add_metric([profile, fault], getattr(injected, fault))
        yield faults
        yield _counter("unknown_bus_events", "Events put to a bus that does not exist, dropped.", self.unknown_bus)
        yield _counter("schedule_fires", "Events that schedules made.", self.schedule_fires)
        yield _counter("schedule_missed", "Fires of schedules that were not made up.", self.schedule_missed)
        yield _counter(
            "dead_letters_expired", "Dead letters deleted for their age or number.", self.dead_letters_expired
        )
        yield _counter("events_archived", "Events put into an archive, once for each archive.", self.archived)
        yield _counter("events_replayed", "Events of archives that replays put on their bus.", self.replayed)
        yield _counter("sink_bugs", "Exceptions that a sink should not have raised; each is retried.", self.sink_bugs)
        yield _counter("api_bugs", "Requests answered with an internal error because of a bug.", self.api_errors)
        yield _counter("fast_lane_requests", "Requests that took the fast lane.", self.fast_lane_requests)
        yield _counter(
            "connections_refused", "Connections refused because there were too many.", self.connections_refused
        )
        requests = CounterMetricFamily("crossbus_requests", "API requests.", labels=["operation", "outcome"])
        for labels, count in list(self.requests.items()):
            requests.add_metric(list(labels), count)
        yield requests
        for name, text, histogram in (
            ("accept_seconds", "From a PutEvents request to its answer.", self.accept_s),
            ("store_commit_seconds", "One commit of the store, synced.", self.commit_s),
            ("store_commit_batches", "Batches that shared one commit.", self.commit_batches),
            ("loop_lag_seconds", "How late the event loop ran a timer.", self.loop_lag_s),
        ):
            yield _histogram(name, text, [], [((), histogram)])
        for gauge in self._gauges:
            yield GaugeMetricFamily(f"crossbus_{gauge.name}", gauge.help, value=gauge.read())
        build = GaugeMetricFamily("crossbus_build_info", "1; the labels say what runs.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build

    @staticmethod
    def _bus_families(rows: list[tuple[tuple[Location, str], BusCounters]]) -> Iterator[Metric]:
        rows_of: tuple[tuple[str, str, Callable[[BusCounters], int]], ...] = (
            ("events_accepted", "Events accepted on a bus.", lambda c: c.accepted),
            ("events_matched", "Accepted events that at least one rule matched.", lambda c: c.matched),
            ("events_unmatched", "Accepted events that no rule matched.", lambda c: c.unmatched),
            ("rules_matched", "Rules that accepted events matched, once for each event.", lambda c: c.rules_matched),
            ("deliveries_created", "Deliveries that follow from accepted events.", lambda c: c.deliveries),
            ("events_withheld", "CloudTrail records that no trail of the location logs.", lambda c: c.withheld),
            ("events_refused", "Entries refused.", lambda c: c.refused),
            ("bus_log_records", "Records written into a bus's log.", lambda c: c.log_records),
            ("bus_log_records_lost", "Records that a bus's log had no room for.", lambda c: c.log_records_lost),
        )
        for name, text, read in rows_of:
            family = CounterMetricFamily(f"crossbus_{name}", text, labels=["account", "region", "bus"])
            for (location, bus), counters in rows:
                family.add_metric([location.account, location.region, bus], read(counters))
            yield family

    @staticmethod
    def _sink_families(rows: list[tuple[Origin, SinkCounters]]) -> Iterator[Metric]:
        for name, text, outcomes in (
            ("attempts", "Attempts by outcome.", ("delivered", "retryable", "rejected")),
            ("deliveries", "Deliveries settled, by outcome.", ("delivered", "dead_letters")),
        ):
            family = CounterMetricFamily(f"crossbus_{name}", text, labels=[*_ORIGIN, "outcome"])
            for origin, counters in rows:
                for outcome in outcomes:
                    family.add_metric([*_labels(origin), outcome.removesuffix("s")], getattr(counters, outcome))
            yield family
        for name, text, read in (
            ("retries", "Attempts after the first one.", lambda c: c.retries),
            ("dead_letters", "Deliveries given up.", lambda c: c.dead_letters),
            ("dead_letters_to_queue", "Deliveries given up and put into their dead-letter queue.", _to_queue),
            ("dead_letters_queue_failed", "Dead-letter queues that did not take their message.", _queue_failed),
            ("throttled", "Times that deliveries waited for their target's rate.", lambda c: c.throttled),
        ):
            family = CounterMetricFamily(f"crossbus_{name}", text, labels=_ORIGIN)
            for origin, counters in rows:
                family.add_metric(_labels(origin), read(counters))
            yield family
        for name, text, read_histogram in (
            ("ingestion_to_first_attempt_seconds", "From acceptance to the first attempt.", _first_attempt),
            (
                "ingestion_to_first_attempt_done_seconds",
                "From acceptance to the end of the first attempt.",
                lambda c: c.first_attempt_done_s,
            ),
            ("ingestion_to_delivered_seconds", "From acceptance to the delivery.", _delivered),
        ):
            yield _histogram(
                name,
                text,
                _ORIGIN,
                [(tuple(_labels(origin)), read_histogram(counters)) for origin, counters in rows],
            )

    @staticmethod
    def _rule_families(rows: list[tuple[str, RuleCounters]]) -> Iterator[Metric]:
        rows_of: tuple[tuple[str, str, Callable[[RuleCounters], int]], ...] = (
            ("rule_matched", "Events that a rule matched.", lambda c: c.matched),
            ("rule_attempts", "Attempts of a rule's deliveries.", lambda c: c.attempts),
            ("rule_retries", "Attempts of a rule's deliveries after the first one.", lambda c: c.retries),
            ("rule_throttled", "Times that a rule's deliveries waited for a target's rate.", lambda c: c.throttled),
            ("rule_delivered", "Deliveries of a rule that arrived.", lambda c: c.delivered),
            ("rule_hops", "Deliveries of a rule that arrived on another bus.", lambda c: c.hops),
            ("rule_hops_refused", "Deliveries of a rule that were a hop too many.", lambda c: c.hops_refused),
            ("rule_dead_letters", "Deliveries of a rule that were given up.", lambda c: c.dead_letters),
            ("rule_dead_letters_to_queue", "Dead letters of a rule in their queue.", lambda c: c.dead_letters_to_queue),
            (
                "rule_dead_letters_queue_failed",
                "Dead letters of a rule that their queue did not take.",
                lambda c: c.dead_letters_queue_failed,
            ),
        )
        for name, text, read in rows_of:
            family = CounterMetricFamily(f"crossbus_{name}", text, labels=["rule"])
            for arn, counters in rows:
                family.add_metric([arn], read(counters))
            yield family
        means: tuple[tuple[str, str, Callable[[RuleCounters], Mean]], ...] = (
            ("rule_first_attempt_seconds", "From acceptance to the first attempt.", lambda c: c.first_attempt_s),
            (
                "rule_first_attempt_done_seconds",
                "From acceptance to the first attempt's end.",
                lambda c: c.first_attempt_done_s,
            ),
            ("rule_delivered_seconds", "From acceptance to the delivery.", lambda c: c.delivered_s),
        )
        for name, text, read_mean in means:
            summary = SummaryMetricFamily(f"crossbus_{name}", text, labels=["rule"])
            for arn, counters in rows:
                mean = read_mean(counters)
                summary.add_metric([arn], count_value=mean.count, sum_value=mean.total)
            yield summary

    @staticmethod
    def _put_families(rows: list[tuple[tuple[str, Location], PutCounters]]) -> Iterator[Metric]:
        names = ["operation", "account", "region"]
        labelled = [([operation, where.account, where.region], counters) for (operation, where), counters in rows]
        requests = CounterMetricFamily(
            "crossbus_put_requests", "Requests that put events, by outcome.", labels=[*names, "outcome"]
        )
        for labels, counters in labelled:
            done = counters.requests - counters.failed - counters.throttled
            for outcome, count in (("ok", done), ("failed", counters.failed), ("throttled", counters.throttled)):
                requests.add_metric([*labels, outcome], count)
        yield requests
        rows_of: tuple[tuple[str, str, Callable[[PutCounters], int]], ...] = (
            ("put_entries", "Entries of requests that put events.", lambda c: c.entries),
            ("put_entries_failed", "Entries that were refused.", lambda c: c.entries_failed),
        )
        for name, text, read in rows_of:
            family = CounterMetricFamily(f"crossbus_{name}", text, labels=names)
            for labels, counters in labelled:
                family.add_metric(labels, read(counters))
            yield family
        histograms: tuple[tuple[str, str, Callable[[PutCounters], Histogram]], ...] = (
            ("put_request_seconds", "From a request that puts events to its answer.", lambda c: c.seconds),
            ("put_request_bytes", "Bodies of requests that put events.", lambda c: c.size_bytes),
        )
        for name, text, read_histogram in histograms:
            yield _histogram(
                name, text, names, [(tuple(labels), read_histogram(counters)) for labels, counters in labelled]
            )

    @staticmethod
    def _source_families(rows: list[tuple[str, QueueSourceCounters]]) -> Iterator[Metric]:
        rows_of: tuple[tuple[str, str, Callable[[QueueSourceCounters], int]], ...] = (
            ("sqs_source_received", "Messages received from a queue.", lambda c: c.received),
            ("sqs_source_taken", "Events taken from a queue's messages.", lambda c: c.taken),
            ("sqs_source_refused", "Messages left in their queue because they cannot be taken.", lambda c: c.refused),
            ("sqs_source_deleted", "Messages deleted after their events were on disk.", lambda c: c.deleted),
            ("sqs_source_receive_errors", "Receive calls that failed.", lambda c: c.receive_errors),
        )
        for name, text, read in rows_of:
            family = CounterMetricFamily(f"crossbus_{name}", text, labels=["queue"])
            for queue, counters in rows:
                family.add_metric([queue], read(counters))
            yield family


class _HubCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families()


_ORIGIN = ["account", "region", "bus", "sink"]


def _labels(origin: Origin) -> list[str]:
    location, bus, kind = origin
    return [location.account, location.region, bus, kind]


def _to_queue(counters: SinkCounters) -> int:
    return counters.dead_letters_to_queue


def _queue_failed(counters: SinkCounters) -> int:
    return counters.dead_letters_queue_failed


def _first_attempt(counters: SinkCounters) -> Histogram:
    return counters.first_attempt_s


def _delivered(counters: SinkCounters) -> Histogram:
    return counters.delivered_s


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"crossbus_{name}", text, value=value)


def _histogram(
    name: str, text: str, labels: list[str], rows: Iterable[tuple[tuple[str, ...], Histogram]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"crossbus_{name}", text, labels=labels)
    for values, histogram in rows:
        family.add_metric(list(values), buckets=histogram.buckets(), sum_value=histogram.total)
    return family
