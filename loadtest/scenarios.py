"""What the load scenarios do, phase by phase, and what each must show. No load is made here.

A phase lasts a share of the whole time. At its beginning it puts and removes fault profiles; while it lasts, users
send at its rate. Comparisons are of the p99 from acceptance to delivery, read from the hub's own histograms, between
two phases and over the deliveries that the scenario says must not notice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.cloudtrail import ACCOUNTS
from loadtest.estate import CENTRAL, ENRICH, MIRROR_REGION

NOISY = ACCOUNTS[0]
NOISY_REGION = "us-east-1"
Labels = Mapping[str, str]
_FOR_EVER_S = 86_400


@dataclass(frozen=True)
class Phase:
    """`rate` multiplies what producers send; `noisy` and `deploying` wake the users that do so."""

    name: str
    share: float
    rate: float = 1.0
    noisy: bool = False
    deploying: bool = False
    put: tuple[Mapping[str, Any], ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The p99 of the deliveries with these labels (those of the sending rule, and the kind of sink) in two phases."""

    who: str
    of: Callable[[Labels], bool]
    before: str
    during: str


@dataclass(frozen=True)
class Scenario:
    """`users` are the classes of the locustfile."""

    name: str
    about: str
    phases: tuple[Phase, ...]
    users: tuple[str, ...] = ("Producer",)
    comparisons: tuple[Comparison, ...] = ()


def _everybody(_: Labels) -> bool:
    return True


def _others(labels: Labels) -> bool:
    return labels["account"] not in (NOISY, CENTRAL)


def _not_the_function(labels: Labels) -> bool:
    return labels["sink"] != "lambda"


def _away_from_ireland(labels: Labels) -> bool:
    """What neither comes from the region nor goes there: at the center, buses are the one in it."""
    return labels["region"] != MIRROR_REGION and (labels["account"], labels["sink"]) != (CENTRAL, "event_bus")


_ALL = (
    Scenario(
        "steady",
        "The traffic of 50 accounts in 6 regions at one rate.",
        (Phase("first", 0.5), Phase("second", 0.5)),
        comparisons=(Comparison("everybody", _everybody, "first", "second"),),
    ),
    Scenario(
        "burst",
        "Five times the traffic for a third of the time. Nothing is lost, and afterwards all is as before.",
        (Phase("before", 0.3), Phase("burst", 0.35, rate=5.0), Phase("after", 0.35)),
        comparisons=(Comparison("everybody", _everybody, "before", "after"),),
    ),
    Scenario(
        "noisy-neighbour",
        "One account sends as much as all others together, and its own queue takes 20 a second. Nobody else notices.",
        (
            Phase("before", 0.35),
            Phase(
                "noise",
                0.35,
                noisy=True,
                put=({"name": "noisy-queue", "target": f"arn:aws:sqs:*:{NOISY}:changes", "throttle_per_s": 20},),
            ),
            Phase("after", 0.3, removed=("noisy-queue",)),
        ),
        users=("Producer", "Neighbour"),
        comparisons=(Comparison("the other accounts", _others, "before", "noise"),),
    ),
    Scenario(
        "slow-target",
        "The central account's function becomes slow: half a second a call. Its backlog waits, no other target's does.",
        (
            Phase("before", 0.35),
            Phase(
                "slow",
                0.35,
                put=(
                    {
                        "name": "slow-function",
                        "target": ENRICH,
                        "latency": {"lognormal_ms": {"median_ms": 500, "sigma": 0.6}},
                    },
                ),
            ),
            Phase("after", 0.3, removed=("slow-function",)),
        ),
        comparisons=(Comparison("all other targets", _not_the_function, "before", "slow"),),
    ),
    Scenario(
        "region-outage",
        "Ireland is away: nothing gets there or comes from there. What waits arrives once it is back.",
        (
            Phase("before", 0.35),
            Phase(
                "outage",
                0.3,
                put=tuple(
                    {"name": f"outage-{way}", way: f"*/{MIRROR_REGION}", "outage": {"length_s": _FOR_EVER_S}}
                    for way in ("from", "to")
                ),
            ),
            Phase("recovery", 0.35, removed=("outage-from", "outage-to")),
        ),
        comparisons=(Comparison("everything else", _away_from_ireland, "before", "outage"),),
    ),
    Scenario(
        "rule-deployment",
        "Ten rules a second are put on the central bus while it works. No event misses a rule that did not change.",
        (Phase("before", 0.4), Phase("deployment", 0.4, deploying=True), Phase("after", 0.2)),
        users=("Producer", "Deployer"),
        comparisons=(Comparison("everybody", _everybody, "before", "deployment"),),
    ),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
