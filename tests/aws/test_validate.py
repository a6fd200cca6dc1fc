"""Input against the model: AWS's texts."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.aws.model import Model, load_model
from router.aws.validate import VALUE_CHARS_MAX, read_input, violations_text, write_output
from router.errors import SerializationException
from tests.shared import needs_shared, rows

_EVENTS = load_model(
    "events",
    {"PutEvents", "PutRule", "PutTargets", "ListRules", "TagResource", "UntagResource"}
    | {"CreateConnection", "CreateApiDestination", "StartReplay", "DescribeReplay"},
)
_SQS = load_model("sqs", ["SendMessage", "ReceiveMessage", "CreateQueue"], enums=False)
_LOGS = load_model("logs", ["FilterLogEvents", "CreateLogGroup", "DescribeLogGroups"])


def _text(operation: str, data: Any, model: Model = _EVENTS) -> str:
    shape = model.operations[operation].input
    assert shape is not None
    _, violations = read_input(model, shape, data)
    return violations_text(model, violations) if violations else ""


def _members(operation: str, data: Any, model: Model = _EVENTS) -> dict[str, Any]:
    shape = model.operations[operation].input
    assert shape is not None
    members, violations = read_input(model, shape, data)
    assert violations == []
    return members


_ENTRY = {
    "Source": "core.update-account-command",
    "DetailType": "core.update-account-command",
    "Detail": '{"command": "update-account", "payload": {"acc_id": "0a787ecb-4015", "sf_id": "baz"}}',
    "EventBusName": "bus",
}
_SECRET = {"ApiKeyAuthParameters": {"ApiKeyName": "n", "ApiKeyValue": "v"}}
_LONG_NAME = "This should fail with two errors 123467890123412341234123412341234"
_DESTINATION = {
    "Name": "n",
    "ConnectionArn": "arn:aws:events:us-east-1:111111111111:connection/n/x",
    "InvocationEndpoint": "https://example.com/hook",
    "HttpMethod": "POST",
}


@needs_shared
@pytest.mark.parametrize(
    ("row_id", "operation", "request_"),
    [
        (
            "api-0020",
            "CreateConnection",
            {"Name": "Invalid Name With Spaces!", "AuthorizationType": "API_KEY", "AuthParameters": _SECRET},
        ),
        (
            "api-0051",
            "CreateApiDestination",
            {**_DESTINATION, "ConnectionArn": "invalid-connection-arn", "HttpMethod": "INVALID_METHOD"},
        ),
        ("api-0052", "CreateApiDestination", {**_DESTINATION, "Name": "Invalid Name With Spaces!"}),
        ("api-0123", "PutEvents", {"Entries": [_ENTRY] * 11}),
        ("api-0124", "PutEvents", {"Entries": [_ENTRY] * 11}),
        (
            "api-0125",
            "CreateConnection",
            {"Name": _LONG_NAME, "AuthorizationType": "INVALID", "AuthParameters": _SECRET},
        ),
    ],
)
def test_refusals_are_worded_as_recorded_on_aws(row_id: str, operation: str, request_: dict[str, Any]) -> None:
    row = next(row for row in rows("conformance/api.jsonl") if row["id"] == row_id)
    assert _text(operation, request_) == row["error_message"].replace("<bus-name>", "bus")


_NOT_NULL = "Member must not be null"
_NAME = r"Member must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+"
_TAG_KEY = "Member must have length less than or equal to 128, Member must have length greater than or equal to 1"


def _target(**members: Any) -> dict[str, Any]:
    return {"Rule": "r", "Targets": [{"Id": "a", "Arn": "x", **members}]}


@pytest.mark.parametrize(
    ("operation", "data", "expected"),
    [
        ("PutRule", {}, [("null at 'name'", _NOT_NULL)]),
        ("PutRule", {"Name": None}, [("null at 'name'", _NOT_NULL)]),
        ("PutTargets", _target(Id="a b"), [("'a b' at 'targets.1.member.id'", _NAME)]),
        (
            "PutTargets",
            {"Rule": "r", "Targets": [{"Id": "a", "Arn": "x"}, {"Id": "b" * 65}]},
            [
                (f"'{'b' * 65}' at 'targets.2.member.id'", "Member must have length less than or equal to 64"),
                ("null at 'targets.2.member.arn'", _NOT_NULL),
            ],
        ),
        ("PutTargets", {"Rule": "r", "Targets": [None]}, [("null at 'targets.1.member'", _NOT_NULL)]),
        (
            "PutTargets",
            {"Rule": "r", "Targets": []},
            [("'[]' at 'targets'", "Member must have length greater than or equal to 1")],
        ),
        ("ListRules", {"Limit": 101}, [("'101' at 'limit'", "Member must have value less than or equal to 100")]),
        ("ListRules", {"Limit": 0}, [("'0' at 'limit'", "Member must have value greater than or equal to 1")]),
        (
            "ListRules",
            {"Limit": 99_999_999_999},
            [("'99999999999' at 'limit'", "Member must have value less than or equal to 100")],
        ),
        (
            "PutTargets",
            _target(InputTransformer={"InputPathsMap": {"o que?": "$.a"}, "InputTemplate": "t"}),
            [
                (
                    "'{o que?=$.a}' at 'targets.1.member.inputTransformer.inputPathsMap'",
                    "Map keys must satisfy constraint: [Member must have length less than or equal to 256, Member must "
                    "have length greater than or equal to 1, Member must satisfy regular expression pattern: "
                    r"[A-Za-z0-9\_\-]+]",
                )
            ],
        ),
        (
            "PutTargets",
            _target(RetryPolicy={"MaximumRetryAttempts": 186, "MaximumEventAgeInSeconds": 59}),
            [
                (
                    "'186' at 'targets.1.member.retryPolicy.maximumRetryAttempts'",
                    "Member must have value less than or equal to 185",
                ),
                (
                    "'59' at 'targets.1.member.retryPolicy.maximumEventAgeInSeconds'",
                    "Member must have value greater than or equal to 60",
                ),
            ],
        ),
        (
            "UntagResource",
            {"ResourceARN": "arn", "TagKeys": ["", "b"]},
            [("'[, b]' at 'tagKeys'", f"Member must satisfy constraint: [{_TAG_KEY}]")],
        ),
        (
            "UntagResource",
            {"ResourceARN": "arn", "TagKeys": [None]},
            [("'[null]' at 'tagKeys'", f"Member must satisfy constraint: [{_TAG_KEY}, {_NOT_NULL}]")],
        ),
        (
            "PutRule",
            {"Name": "r", "State": "on"},
            [
                (
                    "'on' at 'state'",
                    "Member must satisfy enum value set: [ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS, ENABLED, "
                    "DISABLED]",
                )
            ],
        ),
        (
            "CreateConnection",
            {
                "Name": "n",
                "AuthorizationType": "API_KEY",
                "AuthParameters": {"ApiKeyAuthParameters": {"ApiKeyName": "n", "ApiKeyValue": "hush:hush"}},
            },
            [
                (
                    "at 'authParameters.apiKeyAuthParameters.apiKeyValue'",
                    "Member must satisfy regular expression pattern: "
                    r"^[ \t]*[^\x00-\x1F:\x7F]+([ \t]+[^\x00-\x1F:\x7F]+)*[ \t]*$",
                )
            ],
        ),
        (
            "TagResource",
            {"ResourceARN": "arn", "Tags": [{"Key": "k", "Value": "v", "Extra": [1, {}]}], "Unknown": {"a": 1}},
            [],
        ),
    ],
)
def test_violated_constraints_have_awss_text(operation: str, data: Any, expected: list[tuple[str, str]]) -> None:
    noun = "error" if len(expected) == 1 else "errors"
    listed = "; ".join(f"Value {value} failed to satisfy constraint: {constraint}" for value, constraint in expected)
    assert _text(operation, data) == (f"{len(expected)} validation {noun} detected: {listed}" if expected else "")


def test_ten_violations_are_reported_at_most() -> None:
    text = _text("PutTargets", {"Rule": "r", "Targets": [{"Id": "", "Arn": "x"}] * 50})
    assert text.startswith("10 validation errors detected: Value ''")
    assert text.count("failed to satisfy constraint") == 10


def test_a_refused_structure_prints_its_time_as_java_does() -> None:
    text = _text("PutEvents", {"Entries": [{"Time": 1_795_476_896.5, "Resources": ["a", "b"]}] * 11})
    assert "PutEventsRequestEntry(time=Mon Nov 23 23:34:56 UTC 2026, source=null, resources=[a, b], " in text


def test_a_long_refused_value_is_cut() -> None:
    text = _text("PutRule", {"Name": "n" * 1_000_000})
    assert len(text) < VALUE_CHARS_MAX + 500


@pytest.mark.parametrize(
    ("operation", "data", "expected"),
    [
        ("ListRules", {"Limit": "1"}, "STRING_VALUE can not be converted to an Integer (at 'limit')"),
        ("ListRules", {"Limit": True}, "TRUE_VALUE can not be converted to an Integer (at 'limit')"),
        ("ListRules", {"Limit": 1.5}, "DECIMAL_VALUE can not be converted to an Integer (at 'limit')"),
        ("ListRules", {"Limit": [1]}, "Start of list found where not expected (at 'limit')"),
        ("ListRules", {"Limit": {}}, "Start of structure or map found where not expected. (at 'limit')"),
        ("ListRules", {"NamePrefix": 1}, "NUMBER_VALUE can not be converted to a String (at 'namePrefix')"),
        ("ListRules", {"NamePrefix": False}, "FALSE_VALUE can not be converted to a String (at 'namePrefix')"),
        ("ListRules", [], "Start of list found where not expected"),
        ("ListRules", None, "Expected null"),
        ("PutTargets", {"Rule": "r", "Targets": "x"}, "Expected list or null (at 'targets')"),
        ("PutTargets", {"Targets": {}}, "Start of structure or map found where not expected. (at 'targets')"),
        ("PutTargets", {"Rule": "r", "Targets": ["x"]}, "Expected null (at 'targets.1.member')"),
        ("UntagResource", {"TagKeys": [[]]}, "Start of list found where not expected (at 'tagKeys')"),
        (
            "PutEvents",
            {"Entries": [{"Time": "now"}]},
            "STRING_VALUE can not be converted to milliseconds since epoch (at 'entries.1.member.time')",
        ),
        (
            "PutEvents",
            {"Entries": [{"Time": 1e300}]},
            "DECIMAL_VALUE can not be converted to milliseconds since epoch (at 'entries.1.member.time')",
        ),
    ],
)
def test_a_wrong_json_type_is_refused_saying_what_and_where(operation: str, data: Any, expected: str) -> None:
    with pytest.raises(SerializationException) as refusal:
        _text(operation, data)
    assert refusal.value.message == expected


def test_a_wrong_type_is_refused_before_a_violated_constraint() -> None:
    with pytest.raises(SerializationException, match="STRING_VALUE"):
        _text("PutTargets", {"Targets": [{"Id": "", "RetryPolicy": {"MaximumRetryAttempts": "1"}}]})


def test_null_and_unknown_members_are_as_absent() -> None:
    assert _members("ListRules", {"Limit": None, "Foo": {"deep": []}, "NamePrefix": "a"}) == {"NamePrefix": "a"}


def test_numbers_that_are_whole_are_whole() -> None:
    assert _members("ListRules", {"Limit": 5.0}) == {"Limit": 5}


def test_a_number_beyond_its_type_is_refused() -> None:
    with pytest.raises(SerializationException, match="NUMBER_VALUE can not be converted to an Integer"):
        _text("SendMessage", {"QueueUrl": "u", "MessageBody": "b", "DelaySeconds": 2**31}, _SQS)


def test_timestamps_are_milliseconds_inside_and_seconds_outside() -> None:
    window = {"EventStartTime": 1_700_000_000, "EventEndTime": 1_700_000_000.123}
    destination = {"Arn": "arn:aws:events:us-east-1:111111111111:event-bus/default"}
    source = "arn:aws:events:us-east-1:111111111111:archive/a"
    members = _members(
        "StartReplay", {"ReplayName": "r", "EventSourceArn": source, "Destination": destination, **window}
    )
    assert (members["EventStartTime"], members["EventEndTime"]) == (1_700_000_000_000, 1_700_000_000_123)
    output = {"EventStartTime": 1_700_000_000_000, "EventEndTime": 1_700_000_000_123, "Description": None}
    written = write_output(_EVENTS, "DescribeReplayResponse", output)
    assert written == b'{"EventStartTime":1700000000,"EventEndTime":1700000000.123}'


@given(st.binary(max_size=40))
def test_blobs_are_bytes_inside_and_base64_outside(data: bytes) -> None:
    attributes = {"a": {"DataType": "Binary", "BinaryValue": base64.b64encode(data).decode()}}
    members = _members("SendMessage", {"QueueUrl": "u", "MessageBody": "b", "MessageAttributes": attributes}, _SQS)
    assert members["MessageAttributes"]["a"]["BinaryValue"] == data
    messages = {"Messages": [{"MessageAttributes": members["MessageAttributes"]}]}
    written = write_output(_SQS, "ReceiveMessageResult", messages)
    assert msgspec.json.decode(written)["Messages"][0]["MessageAttributes"] == attributes


@pytest.mark.parametrize("text", ["abc", "ab*=", "====", "é==="])
def test_a_blob_that_is_not_base64_is_refused(text: str) -> None:
    attributes = {"a": {"DataType": "Binary", "BinaryValue": text}}
    with pytest.raises(SerializationException, match="can not be converted to a Blob"):
        _text("SendMessage", {"QueueUrl": "u", "MessageBody": "b", "MessageAttributes": attributes}, _SQS)


def test_sqs_attribute_names_are_left_to_the_operation() -> None:
    assert _members("CreateQueue", {"QueueName": "q", "Attributes": {"Odd": "1"}}, _SQS)["Attributes"] == {"Odd": "1"}


def test_logs_names_are_checked() -> None:
    assert _text("CreateLogGroup", {"logGroupName": "a b"}, _LOGS) == (
        "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: Member must satisfy "
        r"regular expression pattern: [\.\-_/#A-Za-z0-9]+"
    )


def test_an_output_member_that_the_model_lacks_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="ListRulesResponse has no Rule"):
        write_output(_EVENTS, "ListRulesResponse", {"Rule": []})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
_TARGETS = st.fixed_dictionaries(
    {},
    optional={
        "Rule": _JSON,
        "Targets": _JSON
        | st.lists(
            st.fixed_dictionaries({}, optional=dict.fromkeys(_EVENTS.shapes["Target"].members, _JSON)), max_size=3
        ),
    },
)


@given(_TARGETS)
def test_any_json_is_read_or_refused(data: Any) -> None:
    try:
        text = _text("PutTargets", data)
    except SerializationException:
        return
    assert text == "" or "failed to satisfy constraint" in text
