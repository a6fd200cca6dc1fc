"""The dashboard "targets, retries and dead letters": which targets fail, what waits for them, what was given up."""

from source.panels import Limits, Query, Row, dashboard, graph, heatmap, stat
from source.queries import (
    ACCOUNTS,
    BUSES,
    FAILED,
    HUB,
    HUBS,
    ORIGIN,
    REGIONS,
    SINKS,
    WHERE_SINK,
    during,
    quantile,
    quotient,
    rate,
)

_BY = "account, region, bus, sink"
_NOW = Row(
    "Now",
    5,
    [
        stat(
            "Failing",
            "The part of all attempts that did not deliver.",
            Query(FAILED, "failing"),
            unit="percentunit",
            limits=Limits(0.01, 0.1),
        ),
        stat(
            "Oldest",
            "How long the oldest delivery that is not settled has been waiting.",
            Query(f"max(crossbus_oldest_delivery_age_seconds{{{ORIGIN}}})", "oldest"),
            unit="s",
            limits=Limits(60, 900),
        ),
        stat(
            "Parked",
            "Deliveries that failed and wait on disk for their next attempt.",
            Query(f"sum(crossbus_deliveries_parked{{{ORIGIN}}})", "parked"),
            limits=Limits(1, 10_000),
        ),
        stat(
            "Probed",
            "Targets that keep failing: they get one call at a time, with pauses that grow.",
            Query(f"sum(crossbus_targets_probed{{{HUB}}})", "probed"),
            limits=Limits(1),
        ),
        stat(
            "Dead",
            "Deliveries given up in the time that is shown.",
            Query(during("dead_letters_total", ORIGIN), "given up"),
            limits=Limits(red=1),
        ),
        stat(
            "Queue failed",
            "Dead letters that their queue did not take, in the time that is shown. They are kept.",
            Query(during("dead_letters_queue_failed_total", ORIGIN), "queue failed"),
            limits=Limits(red=1),
        ),
    ],
)
_ATTEMPTS = Row(
    "Attempts and retries",
    8,
    [
        graph(
            "Attempts by kind of target",
            "Calls by what came of them.",
            Query(rate("attempts_total", ORIGIN, "sink, outcome"), "{{sink}} {{outcome}}"),
            unit="ops",
        ),
        graph(
            "Failing",
            "The part of the attempts that did not deliver, by where they come from.",
            Query(
                quotient(
                    rate("attempts_total", f'{ORIGIN},outcome!="delivered"', _BY), rate("attempts_total", ORIGIN, _BY)
                ),
                WHERE_SINK,
            ),
            unit="percentunit",
            limits=Limits(red=0.1),
            maximum=1,
        ),
        graph(
            "Retries",
            "Attempts after the first one.",
            Query(rate("retries_total", ORIGIN, _BY), WHERE_SINK),
            unit="ops",
        ),
        graph(
            "Waited for their target's rate",
            "Times that deliveries waited (`target_limits`).",
            Query(rate("throttled_total", ORIGIN, _BY), WHERE_SINK),
            unit="ops",
        ),
    ],
)
_WAITING = Row(
    "Waiting",
    8,
    [
        graph(
            "Parked",
            "Deliveries waiting on disk for their next attempt.",
            Query(f"sum by ({_BY}) (crossbus_deliveries_parked{{{ORIGIN}}})", WHERE_SINK),
        ),
        graph(
            "Age of the oldest",
            "After 24 hours, or MaximumEventAgeInSeconds, a delivery becomes a dead letter.",
            Query(f"max by ({_BY}) (crossbus_oldest_delivery_age_seconds{{{ORIGIN}}})", WHERE_SINK),
            unit="s",
            limits=Limits(red=900),
        ),
        graph(
            "Pending and in flight",
            "Of the whole hub: accepted and not settled; being attempted now.",
            Query(f"sum(crossbus_deliveries_pending{{{HUB}}})", "pending"),
            Query(f"sum(crossbus_attempts_in_flight{{{HUB}}})", "in flight"),
        ),
        graph(
            "Targets probed",
            "Of the whole hub: targets that keep failing.",
            Query(f"sum(crossbus_targets_probed{{{HUB}}})", "probed"),
        ),
    ],
)
_DEAD = Row(
    "Dead letters",
    8,
    [
        graph(
            "Given up",
            "Deliveries that had no attempt left, or were refused for good.",
            Query(rate("dead_letters_total", ORIGIN, _BY), WHERE_SINK),
            unit="ops",
        ),
        graph(
            "In their queue",
            "Dead letters that arrived in their dead-letter queue.",
            Query(rate("dead_letters_to_queue_total", ORIGIN, _BY), WHERE_SINK),
            unit="ops",
        ),
        graph(
            "Their queue failed",
            "Dead letters that their queue did not take. AWS would lose them, the hub keeps them.",
            Query(rate("dead_letters_queue_failed_total", ORIGIN, _BY), WHERE_SINK),
            unit="ops",
        ),
        graph(
            "Kept",
            "Of the whole hub: dead letters that no queue took, and those that were deleted unredriven.",
            Query(f"sum(crossbus_dead_letters_kept{{{HUB}}})", "kept"),
            Query(during("dead_letters_expired_total", HUB), "expired in the time shown"),
        ),
    ],
)
_LATENCY = Row(
    "Latency",
    9,
    [
        heatmap(
            "Acceptance to delivery",
            "How many deliveries took how long, retries included.",
            Query(
                f"sum by (le) (increase(crossbus_ingestion_to_delivered_seconds_bucket{{{ORIGIN}}}[$__rate_interval]))",
                "{{le}}",
            ),
            unit="s",
        ),
        graph(
            "Acceptance to delivery by kind of target",
            "99 of 100 deliveries are faster.",
            Query(quantile(0.99, "ingestion_to_delivered_seconds", ORIGIN, "sink"), "{{sink}}"),
            unit="s",
        ),
        graph(
            "Acceptance to the first attempt's end by kind of target",
            "99 of 100 are faster: a slow target shows here.",
            Query(quantile(0.99, "ingestion_to_first_attempt_done_seconds", ORIGIN, "sink"), "{{sink}}"),
            unit="s",
        ),
    ],
)
DASHBOARD = dashboard(
    "crossbus-targets",
    "crossbus: targets, retries and dead letters",
    "Which targets fail, what waits for them, and what was given up.",
    [HUBS, ACCOUNTS, REGIONS, BUSES, SINKS],
    [_NOW, _ATTEMPTS, _WAITING, _DEAD, _LATENCY],
)
