"""Requests of every operation of the `events` service, each valid and different from the one before it, in an order in
which all of them succeed: what one step makes the next ones look at, change and delete.

Numbers count from 0. A step is for a lap of them, at most `LAP`: after the last step nothing is left of what the first
ones made, so that no quota is reached. What a step needs beside the steps before it stands in the hub file
(`resources`).
"""

import json
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from loadtest.hub import ACCOUNT, REGION
from router.core.arn import connection_arn
from router.core.event import Location
from router.world import uuid5

LAP = 50
"""AWS allows 100 global endpoints."""
OTHER_REGION = "us-west-2"
PARTNER = "222222222222"
_HERE = Location(ACCOUNT, REGION)
_TWIN = "twin"
_DECLARED = "declared"
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/events"
_QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"
_KEY = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "none-that-counts"}}

Body = dict[str, Any]


class Step(msgspec.Struct, frozen=True):
    """`body` gives the members of the request with a number, `account` who calls. `before` are called ahead of each and
    not measured."""

    operation: str
    body: Callable[[int], Body]
    account: Callable[[int], str] = lambda _: ACCOUNT
    before: "tuple[Step, ...]" = ()


def pattern(number: int, *, changed: int = 0) -> str:
    """A rule's pattern with four conditions, two of them in the detail; it matches the `event` of the number."""
    detail = {"kind": [f"kind-{number}"], "user": {"country": [{"anything-but": "nowhere"}, f"changed-{changed}"]}}
    return json.dumps({"source": ["shop"], "detail-type": ["order"], "detail": detail})


def event(number: int, **members: str) -> Body:
    """An entry that one rule matches."""
    detail = {"kind": f"kind-{number}", "user": {"country": "NL", "name": "x" * 60}, "text": "y" * 400}
    return {"Source": "shop", "DetailType": "order", "Detail": json.dumps(detail), **members}


def resources(calls: int) -> list[Body]:
    """What the steps need of the hub file: a queue, a connection, and buses of one name in two regions."""
    here, there = (
        {"account": ACCOUNT, "region": region, "buses": [{"Name": f"{_TWIN}-{n}"} for n in range(calls)]}
        for region in (REGION, OTHER_REGION)
    )
    connection = {"Name": _DECLARED, "AuthorizationType": "API_KEY", "AuthParameters": _KEY}
    return [{**here, "queues": [{"QueueName": "events"}], "connections": [connection]}, there]


def steps(operations: Collection[str]) -> list[Step]:
    """All of them. Raises RuntimeError where one of the operations has no step."""
    found = [*_BUSES, *_RULES, *_EVENTS, *_ARCHIVES, *_OUTBOUND, *_PARTNERS, *_ENDPOINTS, *_END]
    missing = sorted(set(operations) - {step.operation for step in found})
    if missing:
        raise RuntimeError(f"operations without a step in loadtest/control_plane_calls.py: {', '.join(missing)}")
    return found


def _arn(resource: str, region: str = REGION) -> str:
    return f"arn:aws:events:{region}:{ACCOUNT}:{resource}"


def _named(prefix: str, **members: Any) -> Callable[[int], Body]:
    return lambda number: {"Name": f"{prefix}-{number}", **members}


def _tagged(**members: Any) -> Callable[[int], Body]:
    return lambda number: {"ResourceARN": _arn(f"event-bus/bench-{number}"), **members}


_BUSES = (
    Step("CreateEventBus", _named("bench", Description="made by a benchmark")),
    Step("DescribeEventBus", _named("bench")),
    Step("UpdateEventBus", _named("bench", Description="changed by a benchmark")),
    Step("ListEventBuses", lambda _: {"Limit": 100}),
    Step(
        "PutPermission",
        lambda number: {
            "EventBusName": f"bench-{number}",
            "Action": "events:PutEvents",
            "Principal": PARTNER,
            "StatementId": "partner",
        },
    ),
    Step("RemovePermission", lambda number: {"EventBusName": f"bench-{number}", "StatementId": "partner"}),
    Step("TagResource", _tagged(Tags=[{"Key": "team", "Value": "orders"}])),
    Step("ListTagsForResource", _tagged()),
    Step("UntagResource", _tagged(TagKeys=["team"])),
)
_RULES = (
    Step("PutRule", lambda number: {"Name": f"bench-{number}", "EventPattern": pattern(number)}),
    Step("DescribeRule", _named("bench")),
    Step("ListRules", lambda _: {"Limit": 100}),
    Step("DisableRule", _named("bench")),
    Step("EnableRule", _named("bench")),
    Step("PutTargets", lambda number: {"Rule": f"bench-{number}", "Targets": [{"Id": "queue", "Arn": _QUEUE}]}),
    Step("ListTargetsByRule", lambda number: {"Rule": f"bench-{number}"}),
    Step("ListRuleNamesByTarget", lambda _: {"TargetArn": _QUEUE, "Limit": 100}),
)
_EVENTS = (
    Step("PutEvents", lambda number: {"Entries": [event(number)]}),
    Step(
        "TestEventPattern",
        lambda number: {
            "EventPattern": pattern(number),
            "Event": json.dumps(
                {
                    "version": "0",
                    "id": "1",
                    "account": ACCOUNT,
                    "source": "shop",
                    "time": "2026-11-27T09:00:00Z",
                    "region": REGION,
                    "resources": [],
                    "detail-type": "order",
                    "detail": json.loads(event(number)["Detail"]),
                }
            ),
        },
    ),
)


def _archive(number: int) -> Body:
    return {"ArchiveName": f"bench-{number}"}


def _alone(number: int) -> str:
    """An account of its own: not more than ten replays of one account run at a time."""
    return f"3{number:011}"


def _replay(name: str) -> Callable[[int], Body]:
    return lambda number: {
        "ReplayName": f"{name}-{number}",
        "EventSourceArn": f"arn:aws:events:{REGION}:{_alone(number)}:archive/own",
        "EventStartTime": 1_790_000_000,
        "EventEndTime": 1_790_000_060,
        "Destination": {"Arn": f"arn:aws:events:{REGION}:{_alone(number)}:event-bus/default"},
    }


def _own_archive(number: int) -> Body:
    bus = f"arn:aws:events:{REGION}:{_alone(number)}:event-bus/default"
    return {"ArchiveName": "own", "EventSourceArn": bus}


_ARCHIVES = (
    Step("CreateArchive", lambda number: {**_archive(number), "EventSourceArn": _arn("event-bus/default")}),
    Step("UpdateArchive", lambda number: {**_archive(number), "RetentionDays": 3}),
    Step("DescribeArchive", _archive),
    Step("ListArchives", lambda _: {"Limit": 100}),
    Step("StartReplay", _replay("bench"), _alone, before=(Step("CreateArchive", _own_archive, _alone),)),
    Step("DescribeReplay", lambda number: {"ReplayName": f"bench-{number}"}, _alone),
    Step("ListReplays", lambda _: {"Limit": 100}, _alone),
    Step(
        "CancelReplay",
        lambda number: {"ReplayName": f"cancelled-{number}"},
        _alone,
        before=(Step("StartReplay", _replay("cancelled"), _alone),),
    ),
    Step("DeleteArchive", _archive),
)
_connection = _named("bench", AuthorizationType="API_KEY", AuthParameters=_KEY)


def _destination(number: int) -> Body:
    return {
        "Name": f"bench-{number}",
        "ConnectionArn": connection_arn(_HERE, _DECLARED, uuid5("connection", f"{_HERE}/{_DECLARED}")),
        "InvocationEndpoint": f"https://partner.example.com/orders/{number}",
        "HttpMethod": "POST",
    }


_OUTBOUND = (
    Step("CreateConnection", _connection),
    Step("UpdateConnection", _named("bench", Description="changed")),
    Step("DescribeConnection", _named("bench")),
    Step("ListConnections", lambda _: {"Limit": 100}),
    Step("CreateApiDestination", _destination),
    Step("UpdateApiDestination", _named("bench", InvocationRateLimitPerSecond=10)),
    Step("DescribeApiDestination", _named("bench")),
    Step("ListApiDestinations", lambda _: {"Limit": 100}),
    Step("DeleteApiDestination", _named("bench")),
    Step("DeauthorizeConnection", _named("bench")),
    Step("DeleteConnection", _named("bench")),
)


def _partner(_: int) -> str:
    return PARTNER


def _source(number: int) -> str:
    return f"aws.partner/example.com/bench/{number}"


def _source_named(number: int) -> Body:
    return {"Name": _source(number)}


def _on_partner_bus(**members: Any) -> Callable[[int], Body]:
    return lambda number: {"EventBusName": _source(number), **members}


def _for_account(number: int) -> Body:
    return {"Name": _source(number), "Account": ACCOUNT}


_PARTNERS = (
    Step("CreatePartnerEventSource", _for_account, _partner),
    Step("DescribePartnerEventSource", _source_named, _partner),
    Step("ListPartnerEventSources", lambda _: {"NamePrefix": "aws.partner/example.com/", "Limit": 100}, _partner),
    Step("ListPartnerEventSourceAccounts", lambda number: {"EventSourceName": _source(number)}, _partner),
    Step("DescribeEventSource", _source_named),
    Step("ListEventSources", lambda _: {"Limit": 100}),
    Step(
        "DeactivateEventSource",
        _source_named,
        before=(Step("CreateEventBus", lambda number: {**_source_named(number), "EventSourceName": _source(number)}),),
    ),
    Step("ActivateEventSource", _source_named),
    Step(
        "PutPartnerEvents",
        lambda number: {"Entries": [event(number, Source=_source(number))]},
        _partner,
        before=(
            Step("PutRule", _on_partner_bus(Name="all", EventPattern='{"account":[{"exists":true}]}')),
            Step("PutTargets", _on_partner_bus(Rule="all", Targets=[{"Id": "queue", "Arn": _QUEUE}])),
        ),
    ),
    Step("DeletePartnerEventSource", _for_account, _partner),
)


def _endpoint(number: int) -> Body:
    health_check = f"arn:aws:route53:::healthcheck/{number:08d}-0000-0000-0000-000000000000"
    return {
        "Name": f"bench-{number}",
        "RoutingConfig": {
            "FailoverConfig": {"Primary": {"HealthCheck": health_check}, "Secondary": {"Route": OTHER_REGION}}
        },
        "ReplicationConfig": {"State": "ENABLED"},
        "EventBuses": [
            {"EventBusArn": _arn(f"event-bus/{_TWIN}-{number}", region)} for region in (REGION, OTHER_REGION)
        ],
        "RoleArn": _ROLE,
    }


_ENDPOINTS = (
    Step("CreateEndpoint", _endpoint),
    Step("DescribeEndpoint", _named("bench")),
    Step("ListEndpoints", lambda _: {"MaxResults": 100}),
    Step("UpdateEndpoint", _named("bench", Description="changed")),
    Step("DeleteEndpoint", _named("bench")),
)
_END = (
    Step("RemoveTargets", lambda number: {"Rule": f"bench-{number}", "Ids": ["queue"]}),
    Step("DeleteRule", _named("bench")),
    Step("DeleteEventBus", _named("bench")),
)
