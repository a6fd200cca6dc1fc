"""The hub that load scenarios run against: 50 accounts in 6 regions, and an account that watches them all.

    python -m loadtest.estate > estate.yaml     # the hub file, to look at or to serve

Each of the 300 locations sends its CloudTrail events to the central bus and keeps what concerns it. The central account
matches them with a hundred detections, keeps them all in a stream, hands some to a function, and mirrors the changes
in its own region to a bus in Ireland. Regions are as far from each other as fault profiles say.
"""

import json
from typing import Any

from loadtest.cloudtrail import ACCOUNTS, CALLS, REGIONS

CENTRAL = "999999999999"
CENTRAL_REGION = "us-east-1"
MIRROR_REGION = "eu-west-1"
ENRICH = f"arn:aws:lambda:{CENTRAL_REGION}:{CENTRAL}:function:enrich"
LAKE_KIND = "firehose"
_DETECTIONS = 100
_LINKS_MS = {
    ("us", "us"): 30,
    ("us", "eu"): 85,
    ("us", "ap"): 190,
    ("eu", "us"): 85,
    ("ap", "us"): 190,
    ("eu", "eu"): 20,
}
_CLOUDTRAIL = [{"suffix": " via CloudTrail"}]


def settings() -> dict[str, Any]:
    """The hub file, but for where it listens and keeps its data."""
    return {
        "accounts": [{"id": CENTRAL, "name": "security"}, *({"id": account} for account in ACCOUNTS)],
        "regions": list(REGIONS),
        "quotas": "raised",
        "aws_events": True,
        "trails": [
            {
                "management_events": {"read_write_type": "All"},
                "data_events": [
                    {"type": "AWS::S3::Object", "values": ["arn:aws:s3:::"], "read_write_type": "WriteOnly"}
                ],
            }
        ],
        "inboxes": {"messages_max": 10_000_000},
        "profiles": links(),
        "resources": [
            _central(),
            _mirror(),
            *(_workload(account, region) for account in ACCOUNTS for region in REGIONS),
        ],
    }


def links() -> list[dict[str, Any]]:
    """How far regions are from each other."""
    return [
        {
            "name": f"{here}-{there}",
            "from": f"*/{here}-*",
            "to": f"*/{there}-*",
            "sink": "event_bus",
            "latency": {"lognormal_ms": {"median_ms": median_ms, "sigma": 0.2}},
        }
        for (here, there), median_ms in _LINKS_MS.items()
    ]


def _target(name: str, arn: str, **more: str) -> dict[str, str]:
    return {"Id": name, "Arn": arn, **more}


def _bus(name: str, region: str) -> dict[str, Any]:
    arn = f"arn:aws:events:{region}:{CENTRAL}:event-bus/{name}"
    statement = {
        "Sid": "accounts",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "events:PutEvents",
        "Resource": arn,
    }
    return {"Name": name, "Policy": {"Version": "2012-10-17", "Statement": [statement]}}


def _workload(account: str, region: str) -> dict[str, Any]:
    place = f"{region}:{account}"
    central = f"arn:aws:events:{CENTRAL_REGION}:{CENTRAL}:event-bus/central"
    return {
        "account": account,
        "region": region,
        "queues": [{"QueueName": "changes"}, {"QueueName": "orders"}],
        "rules": [
            {
                "Name": "to-central",
                "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
                "EventPattern": {"detail-type": _CLOUDTRAIL},
                "Targets": [_target("central", central, RoleArn=f"arn:aws:iam::{account}:role/to-central")],
            },
            {
                "Name": "changes",
                "EventPattern": {"detail-type": _CLOUDTRAIL, "detail": {"readOnly": [False]}},
                "Targets": [_target("queue", f"arn:aws:sqs:{place}:changes")],
            },
            {
                "Name": "secrets",
                "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
                "EventPattern": {"source": ["aws.secretsmanager"], "detail": {"eventName": ["GetSecretValue"]}},
                "Targets": [_target("log", f"arn:aws:logs:{place}:log-group:/aws/events/secrets")],
            },
            {
                "Name": "orders",
                "EventPattern": {"source": ["shop"], "detail": {"state": ["paid", "refunded"]}},
                "Targets": [_target("queue", f"arn:aws:sqs:{place}:orders")],
            },
        ],
    }


def _central() -> dict[str, Any]:
    place = f"{CENTRAL_REGION}:{CENTRAL}"
    mirror = f"arn:aws:events:{MIRROR_REGION}:{CENTRAL}:event-bus/mirror"
    rules: list[dict[str, Any]] = [
        {
            "Name": "lake",
            "EventPattern": {"source": [{"prefix": "aws."}]},
            "Targets": [
                _target(
                    "lake", f"arn:aws:firehose:{place}:deliverystream/lake", RoleArn=f"arn:aws:iam::{CENTRAL}:role/lake"
                )
            ],
        },
        {
            "Name": "enrich",
            "EventPattern": {"detail": {"eventName": [{"prefix": "Describe"}], "awsRegion": ["us-east-1"]}},
            "Targets": [_target("function", ENRICH)],
        },
        {
            # Only what has not crossed regions yet may: EventBridge lets an event do so once.
            "Name": "mirror",
            "EventPattern": {"region": [CENTRAL_REGION], "detail": {"readOnly": [False]}},
            "Targets": [_target("mirror", mirror, RoleArn=f"arn:aws:iam::{CENTRAL}:role/mirror")],
        },
        *(detection(number) for number in range(_DETECTIONS)),
    ]
    everything = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
    return {
        "account": CENTRAL,
        "region": CENTRAL_REGION,
        "queues": [{"QueueName": "findings"}],
        "buses": [_bus("central", CENTRAL_REGION)],
        "rules": [{"EventBusName": "central", "State": everything, **rule} for rule in rules],
    }


def _mirror() -> dict[str, Any]:
    return {
        "account": CENTRAL,
        "region": MIRROR_REGION,
        "queues": [{"QueueName": "mirrored"}],
        "buses": [_bus("mirror", MIRROR_REGION)],
        "rules": [
            {
                "Name": "mirrored",
                "EventBusName": "mirror",
                "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
                "EventPattern": {"source": [{"prefix": "aws."}]},
                "Targets": [_target("queue", f"arn:aws:sqs:{MIRROR_REGION}:{CENTRAL}:mirrored")],
            }
        ],
    }


def detection(number: int) -> dict[str, Any]:
    """One of any number of detections: a call that changes something, made in some way by somebody of one account."""
    changes = [call for call in CALLS if not call.reads]
    call = changes[number % len(changes)]
    account = ACCOUNTS[number * 7 % len(ACCOUNTS)]
    return {
        "Name": f"detection-{number}",
        "EventPattern": {
            "source": [f"aws.{call.service}"],
            "account": [account],
            "detail": {
                "eventName": [call.name],
                "userIdentity": {"type": ["IAMUser", "Root"]},
                "userAgent": [{"anything-but": {"prefix": "console."}}],
            },
        },
        "Targets": [_target("findings", f"arn:aws:sqs:{CENTRAL_REGION}:{CENTRAL}:findings")],
    }


if __name__ == "__main__":
    print(json.dumps(settings(), indent=1))
