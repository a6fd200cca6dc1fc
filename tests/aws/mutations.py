"""Requests that are nearly right: the right ones of every operation, and random changes to them.

All chance comes from one `random.Random`, so a seed gives the same requests again. JSON inside a text (patterns,
policies, details, inputs) is changed as JSON, so that changes get past the first parser.
"""

import json
import string
from random import Random
from typing import Any

from tests.aws.model_walk import OPERATIONS, SHAPES, example

ACCOUNT = "111111111111"
EVENTS = f"arn:aws:events:us-east-1:{ACCOUNT}"
BUS, RULE = f"{EVENTS}:event-bus/orders", f"{EVENTS}:rule/orders/r"
QUEUE, ROLE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue", f"arn:aws:iam::{ACCOUNT}:role/r"
PATTERN = {
    "source": ["orders", {"prefix": "a."}, {"anything-but": ["x"]}],
    "detail": {
        "a": [1, None, True, {"numeric": [">", 0, "<=", 5]}, {"exists": False}],
        "b": {"c": [{"wildcard": "*x*"}, {"cidr": "10.0.0.0/8"}, {"suffix": {"equals-ignore-case": "Z"}}]},
    },
    "$or": [{"account": [ACCOUNT]}, {"region": [{"anything-but": {"prefix": ["eu-"]}}]}],
}
EVENT = {"id": "1", "account": ACCOUNT, "source": "orders", "time": "2026-01-01T00:00:00Z", "region": "us-east-1"} | {
    "detail-type": "t",
    "detail": {"a": [1, {"b": "x"}], "b": {"c": "10.1.2.3"}},
}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "s",
            "Effect": "Allow",
            "Principal": {"AWS": [ACCOUNT, ROLE]},
            "Action": ["events:Put*", "events:DescribeRule"],
            "Resource": [BUS, RULE],
            "Condition": {
                "ForAllValues:StringLikeIfExists": {"events:source": ["a*"]},
                "ArnLike": {"aws:SourceArn": "arn:aws:events:*:*:rule/*"},
                "Null": {"aws:SourceArn": True},
            },
        },
        {"Effect": "Deny", "NotPrincipal": "*", "NotAction": "*", "NotResource": "*"},
    ],
}
_TRANSFORMER = {"InputPathsMap": {"a": "$.detail.a[0]"}, "InputTemplate": '{"a": <a>, "b": <aws.events.rule-arn>}'}
_ENTRY = {"Source": "orders", "DetailType": "t", "Detail": json.dumps(EVENT["detail"]), "Time": 1_795_476_896.5}
_ADDED = {
    "HeaderParameters": [{"Key": "h", "Value": "v", "IsValueSecret": True}],
    "QueryStringParameters": [{"Key": "q", "Value": "v"}],
    "BodyParameters": [{"Key": "b", "Value": "v", "IsValueSecret": False}],
}
_OAUTH = {
    "ClientParameters": {"ClientID": "c", "ClientSecret": "s"},
    "AuthorizationEndpoint": "https://login.example.com/token",
    "HttpMethod": "POST",
    "OAuthHttpParameters": _ADDED,
}
_AUTHORIZATIONS: list[dict[str, Any]] = [
    {"AuthorizationType": "BASIC", "AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": "p"}}},
    {
        "AuthorizationType": "API_KEY",
        "AuthParameters": {
            "ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "v"},
            "InvocationHttpParameters": _ADDED,
        },
    },
    {"AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": {"OAuthParameters": _OAUTH}},
]
CONNECTION = f"{EVENTS}:connection/kept/u-1"
_DESTINATION = {"ConnectionArn": CONNECTION, "InvocationEndpoint": "https://example.com/*", "HttpMethod": "POST"}
RIGHT: dict[str, list[dict[str, Any]]] = {
    "CreateConnection": [{"Name": "c", "Description": "d", **one} for one in _AUTHORIZATIONS],
    "UpdateConnection": [{"Name": "kept", "Description": "d"}, *({"Name": "kept", **one} for one in _AUTHORIZATIONS)],
    "DescribeConnection": [{"Name": "kept"}],
    "ListConnections": [{"NamePrefix": "k", "ConnectionState": "AUTHORIZED", "Limit": 1}],
    "DeauthorizeConnection": [{"Name": "kept"}],
    "DeleteConnection": [{"Name": "c"}],
    "CreateApiDestination": [{"Name": "d", "InvocationRateLimitPerSecond": 7, **_DESTINATION}],
    "UpdateApiDestination": [{"Name": "kept", "Description": "d", **_DESTINATION}],
    "DescribeApiDestination": [{"Name": "kept"}],
    "ListApiDestinations": [{"ConnectionArn": CONNECTION, "Limit": 1}, {"NamePrefix": "k"}],
    "DeleteApiDestination": [{"Name": "d"}],
    "CreateEventBus": [{"Name": "new", "Description": "d", "Tags": [{"Key": "k", "Value": "v"}]}],
    "DeleteEventBus": [{"Name": "new"}],
    "DescribeEventBus": [{"Name": BUS}, {}],
    "ListEventBuses": [{"NamePrefix": "o", "Limit": 1}],
    "PutRule": [
        {"Name": "r", "EventBusName": "orders", "EventPattern": json.dumps(PATTERN), "RoleArn": ROLE},
        {"Name": "s", "ScheduleExpression": "rate(5 minutes)", "State": "DISABLED"},
        {"Name": "s", "ScheduleExpression": "cron(0/5 8-17 ? * MON-FRI *)"},
    ],
    "DescribeRule": [{"Name": "r", "EventBusName": BUS}],
    "EnableRule": [{"Name": "r", "EventBusName": "orders"}],
    "DisableRule": [{"Name": "r", "EventBusName": "orders"}],
    "DeleteRule": [{"Name": "r", "EventBusName": "orders", "Force": True}],
    "PutTargets": [
        {"Rule": "r", "EventBusName": "orders", "Targets": [{"Id": "a", "Arn": QUEUE, "InputPath": "$.detail"}]},
        {"Rule": "r", "EventBusName": BUS, "Targets": [{"Id": "b", "Arn": QUEUE, "InputTransformer": _TRANSFORMER}]},
        {
            "Rule": "r",
            "EventBusName": "orders",
            "Targets": [
                {"Id": "c", "Arn": f"{EVENTS}:event-bus/default", "RoleArn": ROLE},
                {
                    "Id": "d",
                    "Arn": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s",
                    "RoleArn": ROLE,
                    "KinesisParameters": {"PartitionKeyPath": "$.detail.a"},
                    "RetryPolicy": {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60},
                    "DeadLetterConfig": {"Arn": QUEUE},
                    "Input": '{"a": [1]}',
                },
            ],
        },
    ],
    "RemoveTargets": [{"Rule": "r", "EventBusName": "orders", "Ids": ["a", "b"], "Force": True}],
    "ListTargetsByRule": [{"Rule": "r", "EventBusName": "orders", "Limit": 1}],
    "ListRuleNamesByTarget": [{"TargetArn": QUEUE, "EventBusName": "orders", "Limit": 1}],
    "ListRules": [{"EventBusName": "orders", "NamePrefix": "r", "Limit": 1, "NextToken": "eA=="}],
    "PutEvents": [
        {"Entries": [_ENTRY, {**_ENTRY, "EventBusName": BUS, "Resources": [QUEUE], "TraceHeader": "Root=1"}]},
        {"Entries": [{**_ENTRY, "EventBusName": "orders"}], "EndpointId": "a.b"},
    ],
    "TestEventPattern": [{"EventPattern": json.dumps(PATTERN), "Event": json.dumps(EVENT)}],
    "PutPermission": [
        {"EventBusName": "orders", "Policy": json.dumps(POLICY)},
        {"Action": "events:PutEvents", "Principal": "*", "StatementId": "s"}
        | {"Condition": {"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-1"}},
    ],
    "RemovePermission": [{"StatementId": "s", "RemoveAllPermissions": False}],
    "TagResource": [{"ResourceARN": RULE, "Tags": [{"Key": "k", "Value": "v"}]}],
    "UntagResource": [{"ResourceARN": RULE, "TagKeys": ["k"]}],
    "ListTagsForResource": [{"ResourceARN": BUS}],
}
TEXTS = (
    *("", " ", "\x00", "é", "\ud800", "😀", "a" * 65, "a" * 5000, "*", "**", "${aws:username}", "default", "{", "[]"),
    *("arn:", BUS, RULE, QUEUE, ROLE, "arn:aws:events:::", f"{EVENTS}:rule/", f"{EVENTS}:event-bus/", "a/b", "..", "-"),
    *("rate(1 minute)", "rate(0 days)", "cron(* * * * ? *)", "cron(0 0 31 2 ? 2199)", "$.a[*]", "$", "<a>", "<<a>>"),
    *("10.0.0.0/33", "::/0", "1e999", "true", "null", "(" * 200, "9" * 400, "2026-01-01", "=", "a=b;Root=1-2-3"),
)
NUMBERS = (0, -1, 1, 10, 11, 101, 185, 2**31, -(2**31) - 1, 2**63, 10**400, 0.5, -0.0, 1e308, 253_402_300_800)
BODY_BYTES_MAX = 1 << 20
"""Lists in lists that are each made a hundred times longer get no further."""
KEYS = (
    *("prefix", "suffix", "wildcard", "numeric", "cidr", "exists", "anything-but", "equals-ignore-case", "$or", "a.b"),
    *("Effect", "Principal", "NotPrincipal", "Action", "Resource", "Condition", "StringLike", "Null", "AWS", "", "é"),
)


def full(name: str, depth: int = 0) -> Any:
    """A right value of a shape with all of its members."""
    shape = SHAPES[name]
    if depth > 6:
        return example(name)
    match shape["type"]:
        case "structure":
            return {member: full(there["shape"], depth + 1) for member, there in shape["members"].items()}
        case "list":
            return [full(shape["member"]["shape"], depth + 1)] * max(1, shape.get("min", 0))
        case "map":
            return {full(shape["key"]["shape"], depth + 1) or "k": full(shape["value"]["shape"], depth + 1)}
        case _:
            return example(name)


def request(random: Random, operation: str) -> bytes:
    """The body of a request that was right before something happened to it."""
    right = RIGHT.get(operation, ())
    value = random.choice(right) if right and random.random() < 0.8 else full(OPERATIONS[operation])
    ascii_only = random.random() < 0.7
    body = b""
    for _ in range(random.choice((1, 2, 2, 2, 3, 4, 7))):
        larger = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        if len(larger) > BODY_BYTES_MAX:
            break
        body, value = larger, changed(random, value)
    return broken(random, body) if random.random() < 0.1 else body


def changed(random: Random, value: Any) -> Any:
    """One change, somewhere in the value."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        match random.randrange(10):
            case 0:
                return rest
            case 1:
                return {**rest, random.choice(KEYS): value[key]}
            case 2:
                return {**value, random.choice(KEYS): anything(random)}
            case _:
                return {**value, key: changed(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        match random.randrange(10):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value * random.choice((2, 6, 11, 101))
            case 2:
                return [*value, anything(random)]
            case _:
                return [*value[:at], changed(random, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and value[:1] == "{" and random.random() < 0.85:
        return inside(random, value)
    if isinstance(value, str) and value and random.random() < 0.5:
        at = random.randrange(len(value))
        return value[:at] + random.choice((*TEXTS, *string.printable)) + value[at + random.randrange(3) :]
    return anything(random)


def inside(random: Random, text: str) -> str:
    """A text that holds JSON, with a change in it."""
    try:
        return json.dumps(changed(random, json.loads(text)))
    except ValueError:
        return text + random.choice(TEXTS)


def anything(random: Random) -> Any:
    match random.randrange(9):
        case 0 | 1 | 2:
            return random.choice(TEXTS)
        case 3 | 4:
            return random.choice(NUMBERS)
        case 5:
            return random.choice((True, False, None))
        case 6:
            return [anything(random) for _ in range(random.randrange(4))]
        case 7:
            return {random.choice(KEYS): anything(random) for _ in range(random.randrange(3))}
        case _:
            return deep(random)


def deep(random: Random) -> Any:
    value: Any = random.choice(NUMBERS)
    for _ in range(random.choice((5, 50, 400))):
        value = [value] if random.random() < 0.5 else {random.choice(KEYS): value}
    return value


def broken(random: Random, body: bytes) -> bytes:
    """Bytes changed without regard to JSON."""
    at = random.randrange(len(body) + 1)
    match random.randrange(4):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + bytes([random.randrange(256)]) + body[at + 1 :]
        case 2:
            return body[:at] + body[at // 2 :]
        case _:
            return body[:at] + random.choice((b"\xff", b"[" * 5000, b'{"a":' * 5000, b"NaN", b"\\u")) + body[at:]
