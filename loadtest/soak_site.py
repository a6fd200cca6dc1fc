"""What a soak puts on a hub: two buses, what becomes of each event, and what goes wrong meanwhile.

Events are numbered, and an event's number says what it is, so that whoever meets it can tell where it belongs, and an
hour of them is audited in a byte an event and route:

    orders   6 of 10 events   the bus `calm`, a hundred rules, a queue of the hub; nothing ever goes wrong here
    ledger   20 in 100        the bus `stormy`, fifty rules, a queue at an SQS endpoint: far away, and away now and then
    webhook  8 in 100         twenty rules, an API destination: flaky, and busy now and then
    audited  10 in 100        twenty-five rules, another account's bus, whose rule has a queue of the hub: slow, hangs
    failed   2 in 100         five rules, an API destination that always refuses; the dead-letter queue gets them

The hub is as its defaults make it, but for raised quotas and a smaller trace: full after some minutes, it does not hide
what grows behind it. There is no archive, for archives grow by design.
"""

import json
from typing import Any

import msgspec

from loadtest.hub import ACCOUNT, REGION

ROUTES = ("orders", "ledger", "webhook", "audited", "failed")
QUEUES = {"orders": ACCOUNT, "audited": "333333333333", "failed": ACCOUNT}
"""The routes that end in a queue of the hub, and the account of each."""
PERIOD = 1000
"""After so many events it begins anew."""
RULES = 100
"""On each bus."""
BATCH = 10
CALM_OF_BATCH = 6
TRACE_BYTES_MAX = 64 * 1024**2

_FAR = "222222222222"
_LEDGER = f"arn:aws:sqs:{REGION}:{_FAR}:ledger"
_AUDIT = f"arn:aws:events:{REGION}:{QUEUES['audited']}:event-bus/audit"
_AUDITED = f"arn:aws:sqs:{REGION}:{QUEUES['audited']}:audited"
_FAILED = f"arn:aws:sqs:{REGION}:{ACCOUNT}:failed"
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/events"
_WEBHOOK = f"arn:aws:events:{REGION}:{ACCOUNT}:api-destination/webhook"
_TEXT = "x" * 900
_QUOTE = '\\"'


class Cycle(msgspec.Struct, frozen=True):
    """What goes wrong is repeated every `repeat_s` seconds."""

    repeat_s: float = 300.0

    @property
    def away(self) -> tuple[float, float]:
        """From when to when the ledger is away: a tenth of the time."""
        return self.repeat_s * 0.2, self.repeat_s * 0.3

    @property
    def busy(self) -> tuple[float, float]:
        """From when to when the webhook takes half of what comes: a fifth of the time."""
        return self.repeat_s * 0.6, self.repeat_s * 0.8

    def within(self, window: tuple[float, float], moment_s: float) -> bool:
        return window[0] <= moment_s % self.repeat_s < window[1]

    def touches(self, window: tuple[float, float], start_s: float, end_s: float) -> bool:
        """Whether some of the window, in any round, lies between the two moments."""
        first = window[0] + self.repeat_s * (max(0.0, start_s - window[1]) // self.repeat_s)
        return any(
            begin < end_s and begin + window[1] - window[0] > start_s for begin in (first, first + self.repeat_s)
        )


def kind(number: int) -> int:
    """Which of its bus's rules an event matches."""
    return (number // BATCH + 25 * (number % BATCH)) % RULES


def route(number: int) -> str:
    """Where an event must arrive."""
    return "orders" if number % BATCH < CALM_OF_BATCH else _stormy(kind(number))


def _stormy(rule: int) -> str:
    if rule < 50:
        return "ledger"
    if rule < 70:
        return "webhook"
    return "audited" if rule < 95 else "failed"


def masks() -> dict[str, bytes]:
    """For each route a byte for each event of a period: 1 where it must arrive."""
    wanted = [route(number) for number in range(PERIOD)]
    return {name: bytes(found == name for found in wanted) for name in ROUTES}


def entries(first: int) -> bytes:
    """The body of a PutEvents request for the events from `first` on."""
    made = []
    for number in range(first, first + BATCH):
        bus = "calm" if number % BATCH < CALM_OF_BATCH else "stormy"
        detail = f'{{"number":{number},"kind":"kind-{kind(number)}","user":{{"country":"NL"}},"text":"{_TEXT}"}}'
        escaped = detail.replace('"', _QUOTE)
        made.append(f'{{"Source":"shop","DetailType":"order","EventBusName":"{bus}","Detail":"{escaped}"}}')
    return f'{{"Entries":[{",".join(made)}]}}'.encode()


def settings(target_port: int) -> dict[str, Any]:
    """The hub file, but for where it listens and keeps its data."""
    url = f"http://127.0.0.1:{target_port}"
    keys = {"access_key_id": "none", "secret_access_key": "none-that-counts"}
    return {
        "accounts": [{"id": account} for account in (ACCOUNT, _FAR, QUEUES["audited"])],
        "trace": {"bytes_max": TRACE_BYTES_MAX},
        "endpoints": [{"service": "sqs", "account": _FAR, "url": url, "credentials": keys}],
        "resources": [_here(url), _audit()],
    }


def _here(url: str) -> dict[str, Any]:
    key = {"ApiKeyName": "X-Key", "ApiKeyValue": "none-that-counts"}
    return {
        "account": ACCOUNT,
        "region": REGION,
        "buses": [{"Name": "calm"}, {"Name": "stormy"}],
        "queues": [{"QueueName": "orders"}, {"QueueName": "failed"}],
        "connections": [
            {"Name": "target", "AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": key}}
        ],
        "api_destinations": [
            {
                "Name": name,
                "ConnectionName": "target",
                "InvocationEndpoint": f"{url}/{name}",
                "HttpMethod": "POST",
                "InvocationRateLimitPerSecond": 100_000,
            }
            for name in ("webhook", "refusing")
        ],
        "rules": [_rule(bus, number) for bus in ("calm", "stormy") for number in range(RULES)],
    }


def _rule(bus: str, number: int) -> dict[str, Any]:
    targets: dict[str, dict[str, Any]] = {
        "orders": {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:orders"},
        "ledger": {"Arn": _LEDGER, "RoleArn": _ROLE},
        "webhook": {"Arn": _WEBHOOK, "RoleArn": _ROLE},
        "audited": {"Arn": _AUDIT, "RoleArn": _ROLE},
        "failed": {
            "Arn": _WEBHOOK.replace("webhook", "refusing"),
            "RoleArn": _ROLE,
            "DeadLetterConfig": {"Arn": _FAILED},
        },
    }
    return {
        "Name": f"{bus}-{number}",
        "EventBusName": bus,
        "EventPattern": {
            "source": ["shop"],
            "detail-type": ["order"],
            "detail": {"kind": [f"kind-{number}"], "user": {"country": [{"anything-but": "nowhere"}]}},
        },
        "Targets": [{"Id": "target", **targets["orders" if bus == "calm" else _stormy(number)]}],
    }


def _audit() -> dict[str, Any]:
    account = QUEUES["audited"]
    policy = {"Sid": "shop", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    policy |= {"Action": "events:PutEvents", "Resource": _AUDIT}
    return {
        "account": account,
        "region": REGION,
        "buses": [{"Name": "audit", "Policy": {"Version": "2012-10-17", "Statement": [policy]}}],
        "queues": [{"QueueName": "audited"}],
        "rules": [
            {
                "Name": "all",
                "EventBusName": "audit",
                "EventPattern": {"source": ["shop"]},
                "Targets": [{"Id": "target", "Arn": _AUDITED}],
            }
        ],
    }


BUSY = "webhook-busy"
"""The profile that the soak switches on and off; the others look after themselves."""


def profiles(rate: float, cycle: Cycle) -> list[dict[str, Any]]:
    """What goes wrong, for so many events a second."""
    away_s, back_s = cycle.away
    webhook_per_s = rate * masks()["webhook"].count(1) / PERIOD
    return [
        {
            "name": "ledger-far",
            "target": _LEDGER,
            "latency": {"lognormal_ms": {"median_ms": 15, "sigma": 0.5}},
            "errors": {"rate": 0.01, "outcome": "reset"},
        },
        {
            "name": "ledger-away",
            "target": _LEDGER,
            "outage": {"start_s": away_s, "length_s": back_s - away_s, "repeat_s": cycle.repeat_s},
        },
        {
            "name": "webhook-flaky",
            "target": _WEBHOOK,
            "latency": {"lognormal_ms": {"median_ms": 5, "sigma": 0.5}},
            "errors": {"rate": 0.02, "outcome": 503},
        },
        {"name": BUSY, "target": _WEBHOOK, "throttle_per_s": max(1.0, webhook_per_s / 2), "enabled": False},
        {
            "name": "bus-hangs",
            "sink": "event_bus",
            "latency": {"uniform_ms": [2, 20]},
            "errors": {"rate": 0.002, "outcome": "timeout"},
        },
        {"name": "audited-fails", "target": _AUDITED, "errors": {"rate": 0.01, "outcome": 500}},
    ]


if __name__ == "__main__":
    print(json.dumps(settings(9), indent=1))
