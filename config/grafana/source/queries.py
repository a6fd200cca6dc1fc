"""What the panels ask: series with the variables' labels, and the usual forms around them.

Every query names the hub, and the place where its series have one, so that the variables at the top hold for all
panels. No query invents a value: where there are no data, the panel says so.
"""

from source.panels import Query, variable

HUB = 'instance=~"$hub"'
PLACE = f'{HUB},account=~"$account",region=~"$region"'
BUS = f'{PLACE},bus=~"$bus"'
ORIGIN = f'{BUS},sink=~"$sink"'
RULE = f'{HUB},rule=~"$rule",rule=~"arn:[^:]+:events:$region:$account:rule/.+|other"'
WHERE = "{{account}} {{region}}"
WHERE_BUS = f"{WHERE} {{{{bus}}}}"
WHERE_SINK = f"{WHERE_BUS} → {{{{sink}}}}"

HUBS = variable("hub", "Hub", "label_values(crossbus_build_info, instance)")
ACCOUNTS = variable("account", "Account", f"label_values(crossbus_events_accepted_total{{{HUB}}}, account)")
REGIONS = variable(
    "region", "Region", f'label_values(crossbus_events_accepted_total{{{HUB},account=~"$account"}}, region)'
)
BUSES = variable("bus", "Bus", f"label_values(crossbus_events_accepted_total{{{PLACE}}}, bus)")
SINKS = variable("sink", "Kind of target", f"label_values(crossbus_attempts_total{{{BUS}}}, sink)")
RULES = variable(
    "rule", "Rule",
    f'label_values(crossbus_rule_matched_total{{{HUB},rule=~"arn:[^:]+:events:$region:$account:rule/.+|other"}}, rule)',
)  # fmt: skip


def rate(metric: str, selector: str, by: str = "") -> str:
    """A counter's events a second, in all or by labels."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate(crossbus_{metric}{{{selector}}}[$__rate_interval]))"


def during(metric: str, selector: str, by: str = "") -> str:
    """What a counter came to in the time that is shown."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (increase(crossbus_{metric}{{{selector}}}[$__range]))"


def quantile(part: float, metric: str, selector: str, by: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({part}, {rate(f'{metric}_bucket', selector, labels)})"


def quotient(above: str, below: str) -> str:
    """Nothing where nothing was counted."""
    return f"{above} / ({below} > 0)"


def quantiles(metric: str, selector: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(part, metric, selector), name) for part, name in ((0.5, "half"), (0.99, "99 of 100")))


def mean_of_rules(metric: str) -> Query:
    selector = RULE
    return Query(
        f"topk(10, {quotient(rate(f'{metric}_sum', selector, 'rule'), rate(f'{metric}_count', selector, 'rule'))})",
        "{{rule}}",
    )


def top_rules(metric: str) -> Query:
    return Query(f"topk(10, {rate(metric, RULE, 'rule')})", "{{rule}}")


FAILED = quotient(rate("attempts_total", f'{ORIGIN},outcome!="delivered"'), rate("attempts_total", ORIGIN))
