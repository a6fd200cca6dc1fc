"""What every simulated hub is configured to do: buses in three locations, and rules with one kind of target each.

Rules are described twice, so that the ledger need not ask the hub what they mean: as an event pattern, and as a plain
function of the few fields that the events have.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property

import msgspec

from router.catalog.declared_connections import destination_arn
from router.catalog.model import DeadLetterConfig, RetryPolicy, Target
from router.config import Hub, parse
from router.core import retry
from router.core.arn import bus_arn, queue_arn, rule_arn
from router.core.event import Event, Location
from router.planning import Incoming

HERE = Location("111111111111", "us-east-1")
OTHER = Location("222222222222", "us-east-1")
FAR = Location("111111111111", "eu-west-1")
LOCATIONS = frozenset({HERE, OTHER, FAR})
SOURCE = "orders"
ROLE = "arn:aws:iam::111111111111:role/events"
QUEUE = queue_arn(HERE, "queue")
FAR_QUEUE = queue_arn(FAR, "queue")
LETTERS = queue_arn(HERE, "letters")
REAL_LETTERS = queue_arn(OTHER, "letters")
"""At an endpoint: dead letters to it are deliveries of their own."""
NO_LETTERS = queue_arn(HERE, "missing")
"""Does not exist, so that dead letters for it are kept."""
QUEUES = (QUEUE, FAR_QUEUE, LETTERS)
KINDS = (("a", 25), ("b", 20), ("c", 14), ("d", 15), ("e", 15), ("f", 7), ("rare", 4))


class Fact(msgspec.Struct, frozen=True):
    """What the rules look at in one event."""

    id: str
    kind: str
    size: int

    @property
    def detail(self) -> str:
        return f'{{"kind":"{self.kind}","size":{self.size}}}'

    def incoming(self, location: Location, bus: str, *, malformed: bool = False) -> Incoming:
        detail = self.detail[:-1] if malformed else self.detail
        event = Event(self.id, "type", SOURCE, location.account, "2026-11-23T10:00:00Z", location.region, (), detail)
        return Incoming(event, location, bus)


class Condition(msgspec.Struct, frozen=True):
    """An event pattern, and whether it matches."""

    pattern: str
    holds: Callable[[Fact], bool]


def _kinds(*kinds: str) -> Condition:
    pattern = json.dumps({"source": [SOURCE], "detail": {"kind": list(kinds)}})
    return Condition(pattern, lambda fact: fact.kind in kinds)


def _sized(size: int, *kinds: str) -> Condition:
    tests: dict[str, object] = {"size": [{"numeric": [">=", size]}]}
    if kinds:
        tests["kind"] = list(kinds)
    pattern = json.dumps({"source": [SOURCE], "detail": tests})
    return Condition(pattern, lambda fact: fact.size >= size and (not kinds or fact.kind in kinds))


_ALL = Condition(json.dumps({"source": [SOURCE]}), lambda fact: True)
_RARE = Condition(json.dumps({"detail": {"kind": [{"prefix": "ra"}]}}), lambda fact: fact.kind.startswith("ra"))
_NOT_A = Condition(
    json.dumps({"source": [SOURCE], "detail": {"kind": [{"anything-but": ["a"]}]}}), lambda fact: fact.kind != "a"
)


class Rule(msgspec.Struct, frozen=True, dict=True):
    """`conditions`: the one it starts with and the one that a change may give it."""

    location: Location
    bus: str
    name: str
    conditions: tuple[Condition, Condition]
    targets: tuple[Target, ...]

    @cached_property
    def arn(self) -> str:
        return rule_arn(self.location, self.bus, self.name)


_DESTINATIONS = {"work": 300, "short": 300, "rare": 300, "second": 2}


def _hub() -> Hub:
    text = {
        "accounts": [{"id": HERE.account}, {"id": OTHER.account}],
        "regions": [HERE.region, FAR.region],
        "resources": [
            {
                "account": HERE.account,
                "region": HERE.region,
                "connections": [
                    {
                        "Name": "partner",
                        "AuthorizationType": "API_KEY",
                        "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "value"}},
                    }
                ],
                "api_destinations": [
                    {
                        "Name": name,
                        "ConnectionName": "partner",
                        "InvocationEndpoint": f"https://targets.example/{name}",
                        "HttpMethod": "POST",
                        "InvocationRateLimitPerSecond": rate,
                    }
                    for name, rate in _DESTINATIONS.items()
                ],
            }
        ],
    }
    return parse(json.dumps(text).encode(), "hub.yaml", {})


HUB = _hub()
_DESTINATION_ARNS = {name: destination_arn(HERE, name) for name in _DESTINATIONS}


def _target(
    name: str, arn: str, *, attempts_max: int | None = None, age_s_max: int | None = None, letters: str | None = None
) -> Target:
    given = attempts_max is not None or age_s_max is not None
    return Target(
        id=name,
        arn=arn,
        role_arn=ROLE if ":events:" in arn else None,
        retry_policy=RetryPolicy(attempts_max, age_s_max) if given else None,
        dead_letter_config=DeadLetterConfig(letters) if letters else None,
    )


def _http(name: str, *, attempts_max: int | None, age_s_max: int | None, letters: str | None = None) -> Target:
    arn = _DESTINATION_ARNS[name]
    return _target(name, arn, attempts_max=attempts_max, age_s_max=age_s_max, letters=letters)


def _function(name: str, location: Location, *, attempts_max: int, letters: str | None = None) -> Target:
    arn = f"arn:aws:lambda:{location.region}:{location.account}:function:{name}"
    return _target(name, arn, attempts_max=attempts_max, letters=letters)


RULES: Sequence[Rule] = (
    Rule(
        HERE,
        "default",
        "work",
        (_kinds("a", "b"), _kinds("a", "f")),
        (_http("work", attempts_max=5, age_s_max=3_600, letters=LETTERS), _target("queue", QUEUE)),
    ),
    Rule(
        HERE,
        "default",
        "batch",
        (_sized(50), _sized(60)),
        (_function("batch", HERE, attempts_max=3, letters=REAL_LETTERS),),
    ),
    Rule(
        HERE,
        "default",
        "short",
        (_kinds("c"), _sized(80, "c", "f")),
        (_http("short", attempts_max=None, age_s_max=120),),
    ),
    Rule(HERE, "default", "rare", (_RARE, _RARE), (_http("rare", attempts_max=None, age_s_max=None),)),
    Rule(HERE, "default", "over", (_kinds("d"), _kinds("d", "f")), (_target("over", bus_arn(OTHER, "hub")),)),
    Rule(HERE, "default", "far", (_kinds("e"), _kinds("e", "f")), (_target("far", bus_arn(FAR, "default")),)),
    Rule(
        HERE,
        "second",
        "second",
        (_ALL, _NOT_A),
        (_http("second", attempts_max=0, age_s_max=None, letters=NO_LETTERS),),
    ),
    Rule(OTHER, "hub", "hub", (_ALL, _sized(30)), (_function("hub", OTHER, attempts_max=2),)),
    Rule(OTHER, "hub", "back", (_sized(70), _sized(90)), (_target("back", bus_arn(HERE, "second")),)),
    Rule(FAR, "default", "far", (_ALL, _sized(10)), (_target("queue", FAR_QUEUE),)),
)
BY_ARN = {rule.arn: rule for rule in RULES}
RULES_AT = {
    (at.location, at.bus): [rule for rule in RULES if (rule.location, rule.bus) == (at.location, at.bus)]
    for at in RULES
}
BUSES = ((HERE, "second"), (OTHER, "hub"))
TARGETS = {(rule.arn, target.id): target for rule in RULES for target in rule.targets}
TARGET_ID_BY_ARN = {(rule.arn, target.arn): target.id for rule in RULES for target in rule.targets}
PAIR_OF_QUEUE = {target.arn: (rule.arn, target.id) for rule in RULES for target in rule.targets if target.arn in QUEUES}
HTTP_TARGETS = tuple(_DESTINATIONS)


def policy(rule_arn: str, target_id: str) -> retry.RetryPolicy:
    """The retry policy as the user guide says it: 185 times and a day where nothing is configured."""
    target = TARGETS.get((rule_arn, target_id))
    given = target.retry_policy if target else None
    attempts = given.maximum_retry_attempts if given else None
    age_s = given.maximum_event_age_in_seconds if given else None
    return retry.RetryPolicy(185 if attempts is None else attempts, 86_400 if age_s is None else age_s)


def concurrency(rule_arn: str, target_id: str) -> int:
    """How many calls for one target may be under way at once; `faults` and the hub's own sinks say the same."""
    target = TARGETS.get((rule_arn, target_id))
    if target is None:
        return 1  # a queue of dead letters
    return 16 if ":api-destination/" in target.arn else 2 if ":lambda:" in target.arn else 1
