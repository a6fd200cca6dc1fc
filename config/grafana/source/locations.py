"""The dashboard "accounts and regions": what each does, what crosses between them, and where there is trouble."""

from source.panels import Limits, Query, Row, dashboard, graph, table
from source.queries import ACCOUNTS, HUBS, PLACE, REGIONS, WHERE, during, quantile, quotient, rate

_BY = "account, region"
_HOPS = f'{PLACE},sink="event_bus"'
_WHOLE = Row(
    "Locations in the time that is shown",
    9,
    [
        table(
            "Locations",
            "What each account did in each region.",
            ["account", "region"],
            Query(during("events_accepted_total", PLACE, _BY), "events"),
            Query(during("events_matched_total", PLACE, _BY), "matched"),
            Query(during("deliveries_created_total", PLACE, _BY), "deliveries"),
            Query(during("attempts_total", f'{_HOPS},outcome="delivered"', _BY), "hops sent"),
            Query(during("retries_total", PLACE, _BY), "retries"),
            Query(during("dead_letters_total", PLACE, _BY), "dead"),
            Query(during("put_requests_total", PLACE, _BY), "put requests"),
            Query(during("put_entries_failed_total", PLACE, _BY), "entries refused"),
            sort="events",
        ),
    ],
)
_EVENTS = Row(
    "Events and deliveries",
    8,
    [
        graph(
            "Accepted",
            "Events of all of a location's buses, hops from elsewhere included.",
            Query(rate("events_accepted_total", PLACE, _BY), WHERE),
            unit="eps",
            stacked=True,
        ),
        graph(
            "Deliveries created",
            "That follow from them.",
            Query(rate("deliveries_created_total", PLACE, _BY), WHERE),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Hops sent",
            "Deliveries that arrived on a bus, of this or another account or region.",
            Query(rate("attempts_total", f'{_HOPS},outcome="delivered"', _BY), WHERE),
            unit="ops",
        ),
        graph(
            "Hops refused",
            "No permission, no such bus, or a hop too many.",
            Query(rate("attempts_total", f'{_HOPS},outcome="rejected"', _BY), WHERE),
            unit="ops",
        ),
    ],
)
_PUTS = Row(
    "Putting events",
    8,
    [
        graph(
            "Requests",
            "PutEvents and PutPartnerEvents by outcome.",
            Query(rate("put_requests_total", PLACE, "account, region, outcome"), f"{WHERE} {{{{outcome}}}}"),
            unit="reqps",
        ),
        graph(
            "Entries refused",
            "Entries of requests that were otherwise answered.",
            Query(rate("put_entries_failed_total", PLACE, _BY), WHERE),
            unit="eps",
        ),
        graph(
            "Answers",
            "99 of 100 requests are answered faster.",
            Query(quantile(0.99, "put_request_seconds", PLACE, _BY), WHERE),
            unit="s",
        ),
        graph(
            "Size of a request",
            "Mean of the bodies.",
            Query(
                quotient(rate("put_request_bytes_sum", PLACE, _BY), rate("put_request_bytes_count", PLACE, _BY)), WHERE
            ),
            unit="bytes",
        ),
    ],
)
_TROUBLE = Row(
    "Trouble",
    8,
    [
        graph(
            "Failing",
            "The part of the attempts that did not deliver.",
            Query(
                quotient(
                    rate("attempts_total", f'{PLACE},outcome!="delivered"', _BY), rate("attempts_total", PLACE, _BY)
                ),
                WHERE,
            ),
            unit="percentunit",
            limits=Limits(red=0.1),
            maximum=1,
        ),
        graph(
            "Parked",
            "Deliveries waiting on disk for their next attempt.",
            Query(f"sum by ({_BY}) (crossbus_deliveries_parked{{{PLACE}}})", WHERE),
        ),
        graph(
            "Age of the oldest delivery",
            "That is not settled.",
            Query(f"max by ({_BY}) (crossbus_oldest_delivery_age_seconds{{{PLACE}}})", WHERE),
            unit="s",
            limits=Limits(red=900),
        ),
        graph("Dead letters", "Deliveries given up.", Query(rate("dead_letters_total", PLACE, _BY), WHERE), unit="ops"),
    ],
)
DASHBOARD = dashboard(
    "crossbus-locations",
    "crossbus: accounts and regions",
    "What each account does in each region, what crosses between them, and where there is trouble.",
    [HUBS, ACCOUNTS, REGIONS],
    [_WHOLE, _EVENTS, _PUTS, _TROUBLE],
)
