"""CloudTrail's records: what is withheld, what a trail selects, and how a raw record becomes an event."""

import json
from typing import Any

import pytest

from router.core.cloudtrail import (
    DataSelector,
    InvalidRecord,
    RequestParameters,
    Resource,
    Trail,
    category,
    is_cloudtrail,
    record,
    selected,
    withheld_from_enabled,
    wrap,
)
from router.core.event import Event, Location
from tests.shared import needs_shared, rows

API_CALL = "AWS API Call via CloudTrail"
HERE = Location("111111111111", "us-east-1")


def detail(name: str = "ListBuckets", source: str = "s3.amazonaws.com", **fields: Any) -> str:
    return json.dumps({"eventName": name, "eventSource": source} | fields)


@pytest.mark.parametrize(
    ("detail_type", "expected"),
    [
        (API_CALL, True),
        ("AWS Console Signin via CloudTrail", True),
        ("AWS Console Sign In via CloudTrail", True),
        ("AWS Insight via CloudTrail", True),
        ("EC2 Instance State-change Notification", False),
        ("via CloudTrail", False),
    ],
)
def test_detail_type_says_whether_it_is_cloudtrails(detail_type: str, expected: bool) -> None:
    assert is_cloudtrail(detail_type) is expected


STS = "sts.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "by_name", "by_flag"),
    [
        (detail("ListBuckets", readOnly=True), True, True),
        (
            detail("GetSecretValue", "secretsmanager.amazonaws.com", readOnly=True, eventCategory="Management"),
            True,
            True,
        ),
        (detail("DescribeInstances", "ec2.amazonaws.com"), True, False),
        (detail("AssumeRole", STS, readOnly=True), False, True),
        (detail("Decrypt", "kms.amazonaws.com", readOnly=True), False, True),
        (detail("GetSessionToken", STS, readOnly=True), False, True),
        (detail("GetFederationToken", STS), False, False),
        ('{"eventName":"GetSessionToken"}', False, False),
        (detail("GetSessionToken", "other.amazonaws.com"), True, False),
        (detail("CreateBucket", readOnly=False), False, False),
        (detail("GetThing", readOnly=False), True, False),
        (detail("ForgetThing"), False, False),
        (detail("getThing"), False, False),
        (detail("GetObject", readOnly=True, eventCategory="Data", managementEvent=False), False, False),
        (detail("GetObject", readOnly=True, managementEvent=False), False, False),
        (detail("GetObject", readOnly=True, managementEvent=True), True, True),
        (detail("ListKeys", readOnly=True, eventCategory="NetworkActivity"), False, False),
        (detail("ListKeys", readOnly=True, eventType="AwsVpceEvent"), False, False),
        (detail("ListKeys", readOnly=True, eventCategory="Insight"), False, False),
        (detail("ListKeys", readOnly=True, eventType="AwsCloudTrailInsight"), False, False),
        (detail("ListKeys", readOnly=True, eventCategory="Unheard"), True, True),
        ("{}", False, False),
        (detail("ListBuckets", readOnly="true", eventCategory=7, managementEvent="no", eventType=[]), True, False),
        ('{"eventName":["ListBuckets"],"readOnly":true}', False, True),
        ('{"eventName":1e999,"readOnly":true}', False, True),
        ('{"eventName":null,"eventSource":null,"readOnly":null}', False, False),
        (detail("ListBuckets", requestParameters="odd", resources=3), True, False),
    ],
)
def test_enabled_rule_does_not_see_read_only_management_events(text: str, by_name: bool, by_flag: bool) -> None:
    assert withheld_from_enabled(API_CALL, text, by_flag=False) is by_name
    assert withheld_from_enabled(API_CALL, text, by_flag=True) is by_flag
    assert withheld_from_enabled("Something else", text, by_flag=False) is False
    assert withheld_from_enabled("Something else", text, by_flag=True) is False


def test_record_is_read_field_by_field() -> None:
    read = record(
        detail(
            "GetObject",
            eventCategory="Data",
            readOnly=True,
            resources=[{"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::b/k"}],
            requestParameters={"bucketName": "b", "key": "k", "more": [1]},
        )
    )
    assert read.event_name == "GetObject"
    assert read.resources == (Resource("arn:aws:s3:::b/k", None, "AWS::S3::Object"),)
    assert read.request_parameters == RequestParameters("b", "k")


def test_field_of_the_wrong_type_counts_as_absent() -> None:
    read = record('{"eventName":5,"readOnly":true,"resources":{},"requestParameters":[],"eventSource":"x"}')
    assert read.event_name is None
    assert read.resources is None
    assert read.request_parameters is None
    assert (read.read_only, read.event_source) == (True, "x")


def kinds(detail_text: str, detail_type: str = API_CALL) -> list[str]:
    """Which one-purpose trails select the record."""
    trails = {
        "all": Trail(),
        "read": Trail(read_write_type="ReadOnly"),
        "write": Trail(read_write_type="WriteOnly"),
        "no-kms": Trail(exclude_management_event_sources=("kms.amazonaws.com",)),
        "off": Trail(is_logging=False),
        "s3": Trail(
            include_management_events=False, data_event_selectors=(DataSelector("AWS::S3::Object", ("arn:aws:s3",)),)
        ),
        "insights": Trail(include_management_events=False, insights=True),
        "network": Trail(include_management_events=False, network_activity_event_sources=("kms.amazonaws.com",)),
    }
    read = record(detail_text)
    return [name for name, trail in trails.items() if selected([trail], read, detail_type)]


@pytest.mark.parametrize(
    ("text", "trails"),
    [
        (detail("ListBuckets", readOnly=True), ["all", "read", "no-kms"]),
        (detail("CreateBucket", readOnly=False), ["all", "write", "no-kms"]),
        (detail("ListBuckets"), ["all", "read", "no-kms"]),
        (detail("CreateBucket"), ["all", "write", "no-kms"]),
        ("{}", ["all", "write", "no-kms"]),
        (detail("Decrypt", "kms.amazonaws.com", readOnly=True), ["all", "read"]),
        (detail("GetObject", eventCategory="Data", readOnly=True), ["s3"]),
        (detail("PutItem", "dynamodb.amazonaws.com", eventCategory="Data"), []),
        (detail("Decrypt", "kms.amazonaws.com", eventType="AwsVpceEvent"), ["network"]),
        (detail("ListBuckets", eventCategory="NetworkActivity"), []),
        (detail("x", eventType="AwsCloudTrailInsight"), ["insights"]),
    ],
)
def test_trail_selects_what_it_logs(text: str, trails: list[str]) -> None:
    assert kinds(text) == trails


@pytest.mark.parametrize(
    ("detail_type", "trails"),
    [
        ("AWS Insight via CloudTrail", ["insights"]),
        ("AWS Network Activity Event via CloudTrail", ["network"]),
        ("AWS Console Signin via CloudTrail", ["all", "write"]),
    ],
)
def test_detail_type_tells_the_category_where_the_record_does_not(detail_type: str, trails: list[str]) -> None:
    assert kinds(detail("x", "kms.amazonaws.com"), detail_type) == trails


def test_any_of_several_trails_is_enough() -> None:
    read = record(detail("ListBuckets", readOnly=True))
    assert selected([Trail(read_write_type="WriteOnly"), Trail()], read, API_CALL)
    assert not selected([], read, API_CALL)


S3, LAMBDA, TABLE = "AWS::S3::Object", "AWS::Lambda::Function", "AWS::DynamoDB::Table"
FUNCTION = "arn:aws:lambda:us-east-1:111111111111:function:f"


def data(source: str, *resources: dict[str, str], **fields: Any) -> str:
    return detail("GetX", source, eventCategory="Data", readOnly=True, resources=list(resources), **fields)


OBJECT = data(
    "s3.amazonaws.com",
    {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::b/p/k"},
    {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::b"},
)
NAMED = data("s3.amazonaws.com", requestParameters={"bucketName": "b", "key": "p/k"})
LISTING = data(
    "s3.amazonaws.com",
    {"type": "AWS::S3::Object", "ARNPrefix": "arn:aws:s3:::b/"},
    requestParameters={"bucketName": "b"},
)
CALL = data("lambda.amazonaws.com", {"type": LAMBDA, "ARN": FUNCTION})
TOPIC = data("sns.amazonaws.com", {"type": "AWS::SNS::Topic", "ARN": "arn:aws:sns:us-east-1:111111111111:t"})


@pytest.mark.parametrize(
    ("text", "kind", "value", "expected"),
    [
        (OBJECT, S3, "arn:aws:s3", True),
        (OBJECT, S3, "arn:aws:s3:::", True),
        (OBJECT, S3, "arn:aws:s3:::b/", True),
        (OBJECT, S3, "arn:aws:s3:::b/p", True),
        (OBJECT, S3, "arn:aws:s3:::b/q", False),
        (OBJECT, S3, "arn:aws:s3:::bb/", False),
        (OBJECT, LAMBDA, "arn:aws:lambda", False),
        (NAMED, S3, "arn:aws:s3:::b/p/k", True),
        (NAMED, S3, "arn:aws:s3:::c/", False),
        (LISTING, S3, "arn:aws:s3:::b/", True),
        (LISTING, S3, "arn:aws:s3:::b/p", False),
        (data("s3.amazonaws.com"), S3, "arn:aws:s3", True),
        (data("s3.amazonaws.com"), S3, "arn:aws:s3:::b/", False),
        (data("s3.amazonaws.com", requestParameters={"host": "x"}), S3, "arn:aws:s3:::b/", False),
        (CALL, LAMBDA, "arn:aws:lambda", True),
        (CALL, LAMBDA, FUNCTION, True),
        (CALL, LAMBDA, FUNCTION[:-1], False),
        (CALL, LAMBDA, FUNCTION + "oo", False),
        (CALL, LAMBDA, "arn:aws:lambda:us-east-1:111111111111:function", True),
        (CALL, TABLE, "arn:aws:dynamodb", False),
        (TOPIC, "AWS::SNS::Topic", "arn:aws:sns", True),
        (TOPIC, "AWS::SNS::Topic", "arn:aws:sns:us-east-1:111111111111:t", True),
        (TOPIC, "AWS::SNS::PlatformEndpoint", "arn:aws:sns", False),
    ],
)
def test_data_selector_covers_by_type_and_arn(text: str, kind: str, value: str, expected: bool) -> None:
    trail = Trail(include_management_events=False, data_event_selectors=(DataSelector(kind, (value,)),))
    assert selected([trail], record(text), API_CALL) is expected


def test_data_selector_covers_by_any_of_its_values() -> None:
    trail = Trail(data_event_selectors=(DataSelector(S3, ("arn:aws:s3:::x/", "arn:aws:s3:::b/")), DataSelector(S3, ())))
    assert selected([trail], record(OBJECT), API_CALL)


def test_write_only_trail_logs_no_data_reads() -> None:
    trail = Trail(read_write_type="WriteOnly", data_event_selectors=(DataSelector(S3, ("arn:aws:s3",)),))
    assert not selected([trail], record(OBJECT), API_CALL)


def wrapped(text: str | bytes) -> Event:
    encoded = text if isinstance(text, bytes) else text.encode()
    return wrap(encoded, location=HERE, event_id="id-1", now_ms=1_718_094_785_999)


def test_record_is_put_into_the_envelope() -> None:
    text = '{"eventSource":"s3.amazonaws.com","eventTime":"2024-06-11T08:33:04Z","eventType":"AwsApiCall","n":1.10}'
    assert wrapped(text) == Event(
        "id-1", API_CALL, "aws.s3", "111111111111", "2024-06-11T08:33:04Z", "us-east-1", (), text
    )


@pytest.mark.parametrize(
    ("event_type", "detail_type"),
    [
        ("AwsApiCall", "AWS API Call via CloudTrail"),
        ("AwsConsoleSignIn", "AWS Console Signin via CloudTrail"),
        ("AwsConsoleAction", "AWS Console Action via CloudTrail"),
        ("AwsServiceEvent", "AWS Service Event via CloudTrail"),
        ("AwsCloudTrailInsight", "AWS Insight via CloudTrail"),
        ("AwsVpceEvent", "AWS Network Activity Event via CloudTrail"),
        (None, "AWS API Call via CloudTrail"),
    ],
)
def test_event_type_gives_the_detail_type(event_type: str | None, detail_type: str) -> None:
    assert wrapped(detail(eventType=event_type)).detail_type == detail_type


@pytest.mark.parametrize(
    ("event_time", "time"),
    [
        ("2024-06-11T08:33:04Z", "2024-06-11T08:33:04Z"),
        ("2024-06-11T08:33:04.987Z", "2024-06-11T08:33:04Z"),
        ("2024-06-11T10:33:04+02:00", "2024-06-11T08:33:04Z"),
        ("2024-06-11 08:33:04.000000000", "2024-06-11T08:33:04Z"),
        ("0999-06-11T08:33:04Z", "0999-06-11T08:33:04Z"),
        (None, "2024-06-11T08:33:05Z"),
    ],
)
def test_event_time_gives_the_time(event_time: str | None, time: str) -> None:
    assert wrapped(detail(eventTime=event_time)).time == time


def test_event_context_is_left_out_and_the_rest_stays_as_sent() -> None:
    text = '{ "eventSource": "ec2.amazonaws.com", "a": [1.10, "é"], "eventContext": {"x": 1}, "z": 1e400 }'
    assert wrapped(text).detail == '{"eventSource":"ec2.amazonaws.com","a":[1.10,"é"],"z":1e400}'
    assert (
        wrapped(text.replace('{"x": 1}', "null")).detail
        == '{"eventSource":"ec2.amazonaws.com","a":[1.10,"é"],"z":1e400}'
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "Expected a CloudTrail record"),
        (b"[]", "Expected a CloudTrail record"),
        (b'{"eventSource":"x"', "Expected a CloudTrail record"),
        (b'{"eventSource":"\xff"}', "Expected a CloudTrail record|eventSource"),
        (b'{"x":"\xff"}', "Expected a CloudTrail record"),
        (b"{}", "no eventSource"),
        (b'{"eventSource":""}', "no eventSource"),
        (b'{"eventSource":5}', "eventSource: Expected"),
        (detail(eventType="AwsNews"), "Unknown eventType 'AwsNews'; expected one of AwsApiCall"),
        (detail(eventTime="yesterday"), "eventTime: expected an ISO 8601 time, got 'yesterday'"),
        (detail(eventTime="0001-01-01T00:00:00+12:00"), "eventTime: expected an ISO 8601 time"),
        (detail(eventTime=17), "eventTime: Expected"),
    ],
)
def test_what_is_no_record_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidRecord, match=says):
        wrapped(text)


@needs_shared
def test_real_records_are_read_as_they_were_recorded() -> None:
    seen = 0
    for row in rows("corpus/events.jsonl"):
        event = row["event"]
        detail_type = event.get("detail-type")
        if not isinstance(detail_type, str) or not is_cloudtrail(detail_type) or "detail" not in event:
            continue
        text = json.dumps(event["detail"], separators=(",", ":"))
        read = record(text)
        named = event["detail"].get("eventCategory")
        assert category(read) == (named or category(read))
        assert withheld_from_enabled(detail_type, text, by_flag=True) is (
            category(read) == "Management" and event["detail"].get("readOnly") is True
        )
        seen += 1
    assert seen > 1500
