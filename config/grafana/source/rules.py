"""The dashboard "buses and rules": what each bus gets and what each rule makes of it."""

from source.panels import Query, Row, dashboard, graph, table
from source.queries import (
    ACCOUNTS,
    BUS,
    BUSES,
    HUBS,
    REGIONS,
    RULE,
    RULES,
    WHERE_BUS,
    during,
    mean_of_rules,
    quotient,
    rate,
    top_rules,
)

_BY = "account, region, bus"
_ACCEPTED = rate("events_accepted_total", BUS, _BY)
_BUSES = Row(
    "Buses",
    8,
    [
        graph("Accepted", "Events of each bus.", Query(_ACCEPTED, WHERE_BUS), unit="eps"),
        graph(
            "Matched",
            "The part of the events that at least one rule matched.",
            Query(quotient(rate("events_matched_total", BUS, _BY), _ACCEPTED), WHERE_BUS),
            unit="percentunit",
            maximum=1,
        ),
        graph(
            "Deliveries an event",
            "How many deliveries an accepted event makes: the fan-out.",
            Query(quotient(rate("deliveries_created_total", BUS, _BY), _ACCEPTED), WHERE_BUS),
        ),
        graph(
            "Refused and withheld",
            "Entries refused at the door, and CloudTrail records that no trail logs.",
            Query(rate("events_refused_total", BUS, _BY), f"{WHERE_BUS} refused"),
            Query(rate("events_withheld_total", BUS, _BY), f"{WHERE_BUS} withheld"),
            unit="eps",
        ),
        graph(
            "Log records",
            "Records written into the buses' logs (LogConfig).",
            Query(rate("bus_log_records_total", BUS, _BY), WHERE_BUS),
            unit="ops",
        ),
    ],
)
_WHOLE = Row(
    "Rules in the time that is shown",
    9,
    [
        table(
            "Rules",
            "What became of each rule's events. 500 rules have their own line, the rest is `other`. "
            "Account, region and rule choose; the bus is in the rule's name.",
            ["rule"],
            *(
                Query(during(f"rule_{name}_total", RULE, "rule"), text)
                for name, text in (
                    ("matched", "matched"),
                    ("attempts", "attempts"),
                    ("delivered", "delivered"),
                    ("retries", "retries"),
                    ("throttled", "waited for rate"),
                    ("dead_letters", "dead"),
                    ("dead_letters_to_queue", "dead, in queue"),
                    ("dead_letters_queue_failed", "dead, queue failed"),
                )
            ),
            sort="matched",
        ),
    ],
)
_BUSIEST = Row(
    "The ten rules with most",
    8,
    [
        graph("Matched", "Events that matched.", top_rules("rule_matched_total"), unit="eps"),
        graph("Delivered", "Deliveries that arrived.", top_rules("rule_delivered_total"), unit="ops"),
        graph("Retries", "Attempts after the first one.", top_rules("rule_retries_total"), unit="ops"),
        graph("Dead letters", "Deliveries given up.", top_rules("rule_dead_letters_total"), unit="ops"),
    ],
)
_SLOWEST = Row(
    "The ten slowest rules (means; hops to other buses are not in them)",
    8,
    [
        graph(
            "Acceptance to first attempt",
            "How long a rule's deliveries wait for their turn.",
            mean_of_rules("rule_first_attempt_seconds"),
            unit="s",
        ),
        graph(
            "Acceptance to the first attempt's end",
            "With the target's answer: a slow target shows here.",
            mean_of_rules("rule_first_attempt_done_seconds"),
            unit="s",
        ),
        graph("Acceptance to delivery", "With retries.", mean_of_rules("rule_delivered_seconds"), unit="s"),
    ],
)
_HOPS = Row(
    "Hops and rates",
    8,
    [
        graph("Hops", "Deliveries of a rule that arrived on another bus.", top_rules("rule_hops_total"), unit="ops"),
        graph(
            "Hops refused",
            "Deliveries that were a hop too many: events that go round.",
            top_rules("rule_hops_refused_total"),
            unit="ops",
        ),
        graph(
            "Waited for their target's rate",
            "Times that a rule's deliveries waited (`target_limits`).",
            top_rules("rule_throttled_total"),
            unit="ops",
        ),
    ],
)
DASHBOARD = dashboard(
    "crossbus-rules",
    "crossbus: buses and rules",
    "What each bus gets and what each rule makes of it.",
    [HUBS, ACCOUNTS, REGIONS, BUSES, RULES],
    [_BUSES, _WHOLE, _BUSIEST, _SLOWEST, _HOPS],
)
