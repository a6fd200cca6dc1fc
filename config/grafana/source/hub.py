"""The dashboard "hub": whether all is well, at a glance, and what the hub is doing."""

from source.panels import Limits, Query, Row, dashboard, graph, stat
from source.queries import ACCOUNTS, HUB, HUBS, PLACE, REGIONS, during, quantile, quantiles, quotient, rate

_NOW = Row(
    "Now: is anything lost, late, waiting or dead?",
    5,
    [
        stat(
            "Ready",
            "Whether events are taken. 'refuses': the store is full or its disk failed; GET /readyz says which.",
            Query(f"min(crossbus_ready{{{HUB}}})", "ready"),
            words={"1": ("yes", "green"), "0": ("refuses", "red")},
        ),
        stat(
            "Lost",
            "Always 0. Deliveries that memory and disk do not agree on; dead letters deleted before anybody redrove "
            "them, and records that a bus's log had no room for, in the time that is shown.",
            Query(f"sum(abs(crossbus_deliveries_unaccounted{{{HUB}}}))", "deliveries"),
            Query(during("dead_letters_expired_total", HUB), "dead letters"),
            Query(during("bus_log_records_lost_total", PLACE), "log records"),
            limits=Limits(red=0.5),
        ),
        stat(
            "Late",
            "How long the oldest delivery that is not settled has been waiting.",
            Query(f"max(crossbus_oldest_delivery_age_seconds{{{PLACE}}})", "oldest"),
            unit="s",
            limits=Limits(60, 900),
        ),
        stat(
            "Parked",
            "Deliveries that failed and wait on disk for their next attempt.",
            Query(f"sum(crossbus_deliveries_parked{{{PLACE}}})", "parked"),
            limits=Limits(1, 10_000),
        ),
        stat(
            "Dead",
            "Deliveries given up in the time that is shown; most are in their dead-letter queue.",
            Query(during("dead_letters_total", PLACE), "given up"),
            limits=Limits(red=1),
        ),
        stat(
            "Kept",
            "Dead letters that no queue took: `crossbus dlq list` shows them, `redrive` sends them again.",
            Query(f"sum(crossbus_dead_letters_kept{{{HUB}}})", "kept"),
            limits=Limits(1, 1000),
        ),
        stat("In", "Events accepted a second.", Query(rate("events_accepted_total", PLACE), "in"), unit="eps"),
        stat(
            "Out",
            "Deliveries made a second.",
            Query(rate("deliveries_total", f'{PLACE},outcome="delivered"'), "out"),
            unit="ops",
        ),
    ],
)
_TRAFFIC = Row(
    "Traffic",
    8,
    [
        graph(
            "Events",
            "What came to the buses. Accepted is matched and unmatched; refused and withheld are not in it.",
            *(
                Query(rate(f"events_{name}_total", PLACE), name)
                for name in ("accepted", "matched", "unmatched", "refused", "withheld")
            ),
            Query(rate("unknown_bus_events_total", HUB), "for no bus, dropped"),
            unit="eps",
        ),
        graph(
            "Deliveries",
            "Those that accepted events made, and how they ended. Where created stays above delivered, a "
            "backlog grows.",
            Query(rate("deliveries_created_total", PLACE), "created"),
            Query(rate("deliveries_total", PLACE, "outcome"), "{{outcome}}"),
            unit="ops",
        ),
        graph(
            "Attempts",
            "Calls of targets by what came of them. retryable: tried again. rejected: given up at once.",
            Query(rate("attempts_total", PLACE, "outcome"), "{{outcome}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Not settled",
            "Pending is everything accepted and not settled; parked and in flight are parts of it.",
            Query(f"sum(crossbus_deliveries_pending{{{HUB}}})", "pending"),
            Query(f"sum(crossbus_deliveries_parked{{{PLACE}}})", "parked"),
            Query(f"sum(crossbus_attempts_in_flight{{{HUB}}})", "in flight"),
        ),
    ],
)
_LATENCY = Row(
    "Latency",
    8,
    [
        graph(
            "Acceptance to first attempt",
            "The hub's own share: how long a delivery waits for its turn.",
            *quantiles("ingestion_to_first_attempt_seconds", PLACE),
            unit="s",
            limits=Limits(red=5),
        ),
        graph(
            "Acceptance to delivery",
            "With the targets' answers and all retries.",
            *quantiles("ingestion_to_delivered_seconds", PLACE),
            unit="s",
            limits=Limits(red=60),
        ),
        graph(
            "PutEvents' answer",
            "From a request's body to its answer, which is after the commit.",
            *quantiles("put_request_seconds", PLACE),
            unit="s",
        ),
        graph(
            "Event loop and commits",
            "How late the loop runs a timer, how long a commit takes (99 of 100), and from "
            "events at the door to their commit.",
            Query(quantile(0.99, "loop_lag_seconds", HUB), "loop lag"),
            Query(quantile(0.99, "store_commit_seconds", HUB), "commit"),
            Query(quantile(0.99, "accept_seconds", HUB), "accept"),
            unit="s",
            limits=Limits(red=0.25),
        ),
    ],
)
_WAYS = Row(
    "Ways in",
    8,
    [
        graph(
            "Requests that put events",
            "PutEvents and PutPartnerEvents. throttled: more wait for the store than may.",
            Query(rate("put_requests_total", PLACE, "operation, outcome"), "{{operation}} {{outcome}}"),
            unit="reqps",
        ),
        graph(
            "API requests",
            "The ten operations that are called most, and how they ended.",
            Query(f"topk(10, {rate('requests_total', HUB, 'operation, outcome')})", "{{operation}} {{outcome}}"),
            unit="reqps",
        ),
        graph(
            "Queue sources",
            "Messages received, deleted after their events were on disk, left because they are no events; "
            "events taken; receives that failed.",
            *(
                Query(rate(f"sqs_source_{name}_total", HUB), text)
                for name, text in (
                    ("received", "received"),
                    ("taken", "events taken"),
                    ("deleted", "deleted"),
                    ("refused", "refused"),
                    ("receive_errors", "receive errors"),
                )
            ),
            unit="ops",
        ),
        graph(
            "Schedules, archives, replays",
            "Fires and missed fires of schedules, events put into archives, events replayed.",
            Query(rate("schedule_fires_total", HUB), "fires"),
            Query(rate("schedule_missed_total", HUB), "fires missed"),
            Query(rate("events_archived_total", HUB), "archived"),
            Query(rate("events_replayed_total", HUB), "replayed"),
            unit="eps",
        ),
    ],
)
_MACHINE = Row(
    "The hub",
    8,
    [
        graph(
            "Store",
            "The tables take `in use`; at `bound` events are refused. Freed pages are used again, so the file "
            "(ever used) does not shrink.",
            Query(f"sum(crossbus_store_bytes_in_use{{{HUB}}})", "in use"),
            Query(f"sum(crossbus_store_bytes{{{HUB}}})", "ever used"),
            Query(f"sum(crossbus_trace_bytes{{{HUB}}})", "trace"),
            Query(f"sum(crossbus_archive_bytes{{{HUB}}})", "archives"),
            Query(f"sum(crossbus_store_bytes_max{{{HUB}}})", "bound"),
            unit="bytes",
        ),
        graph(
            "Full",
            "How much of the store's bound is in use.",
            Query(f"crossbus_store_bytes_in_use{{{HUB}}} / crossbus_store_bytes_max{{{HUB}}}", "{{instance}}"),
            unit="percentunit",
            limits=Limits(0.8, 0.95),
            maximum=1,
        ),
        graph(
            "Processor",
            "Seconds of a processor in a second; the event loop uses one at most.",
            Query(rate("process_cpu_seconds_total", HUB, "instance"), "{{instance}}"),
            unit="percentunit",
        ),
        graph(
            "Memory",
            "Of the process, and the bodies of deliveries in it (64 MiB at most).",
            Query(f"sum by (instance) (crossbus_process_resident_memory_bytes{{{HUB}}})", "{{instance}} process"),
            Query(f"sum by (instance) (crossbus_deliveries_in_memory_bytes{{{HUB}}})", "{{instance}} deliveries"),
            unit="bytes",
        ),
    ],
)
_MORE = Row(
    "Disk and group commit",
    7,
    [
        graph(
            "Disk free",
            "Under the data folder. At 0 events are refused.",
            Query(f"min by (instance) (crossbus_store_disk_bytes_free{{{HUB}}})", "{{instance}}"),
            unit="bytes",
        ),
        graph(
            "Batches in a commit",
            "How many requests and outcomes share one sync of the disk; grows with the load.",
            Query(quotient(rate("store_commit_batches_sum", HUB), rate("store_commit_batches_count", HUB)), "mean"),
        ),
        graph("Commits", "Syncs a second.", Query(rate("store_commit_seconds_count", HUB), "commits"), unit="ops"),
        graph(
            "Open files",
            "Connections and files of the process.",
            Query(f"sum by (instance) (crossbus_process_open_fds{{{HUB}}})", "{{instance}}"),
        ),
    ],
)
DASHBOARD = dashboard(
    "crossbus-hub",
    "crossbus: hub",
    "Whether all is well, at a glance, and what the hub is doing.",
    [HUBS, ACCOUNTS, REGIONS],
    [_NOW, _TRAFFIC, _LATENCY, _WAYS, _MACHINE, _MORE],
)
