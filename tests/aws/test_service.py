"""The protocol around operations: dispatch, bodies, answers and refusals, read by botocore's own parser."""

from typing import Any

import botocore.loaders
import botocore.model
import botocore.parsers
import msgspec
import pytest

from router.aws.service import Caller, Service, Services, error_body
from router.errors import (
    ApiError,
    InternalException,
    ResourceNotFoundException,
    SerializationException,
    UnknownOperationException,
    ValidationException,
)

_CALLER = Caller(account="111111111111", region="us-east-1")


class QueueDoesNotExist(ApiError):
    code = "QueueDoesNotExist"
    query_code = "AWS.SimpleQueueService.NonExistentQueue"


async def _echo(caller: Caller, members: dict[str, Any]) -> dict[str, Any]:
    return {"Name": members["Name"], "Arn": caller.account, "CreationTime": 1_700_000_000_123, "Policy": None}


async def _nothing(caller: Caller, members: dict[str, Any]) -> dict[str, Any]:
    return {}


async def _raw(caller: Caller, body: bytes) -> bytes:
    return body + caller.region.encode()


def _events() -> Service:
    operations = {"DescribeEventBus": _echo, "DeleteRule": _nothing, "TagResource": _nothing}
    return Service("events", operations, {"PutEvents": _raw})


def _sqs() -> Service:
    return Service("sqs", {"SendMessage": _nothing, "DeleteQueue": _nothing})


def _logs() -> Service:
    return Service("logs", {"CreateLogGroup": _nothing})


def _parsed(service: str, operation: str, status: int, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    data = botocore.loaders.Loader().load_service_model(service, "service-2")
    shape = botocore.model.ServiceModel(data).operation_model(operation).output_shape
    response = {
        "status_code": status,
        "headers": {name.lower(): value for name, value in headers.items()},
        "body": body,
    }
    parsed: dict[str, Any] = botocore.parsers.create_parser("json").parse(response, shape)
    return parsed


async def test_an_answer_is_written_as_the_model_has_it() -> None:
    body = await _events().call("DescribeEventBus", b'{"Name":"b"}', _CALLER)
    assert body == b'{"Name":"b","Arn":"111111111111","CreationTime":1700000000.123}'


async def test_an_answer_of_an_operation_without_output_is_empty() -> None:
    assert await _events().call("DeleteRule", b'{"Name":"r"}', _CALLER) == b""


async def test_an_answer_without_members_is_an_empty_object() -> None:
    body = await _events().call("TagResource", b'{"ResourceARN":"arn","Tags":[]}', _CALLER)
    assert body == b"{}"


@pytest.mark.parametrize(("operation", "body"), [("DeleteRule", b""), ("TagResource", b"{}")])
def test_botocore_reads_both_kinds_of_empty_answer(operation: str, body: bytes) -> None:
    assert _parsed("events", operation, 200, body, {})["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_a_raw_operation_gets_and_gives_bytes() -> None:
    assert await _events().call("PutEvents", b"{not json", _CALLER) == b"{not jsonus-east-1"


def test_a_raw_operation_can_have_its_body_checked() -> None:
    with pytest.raises(ValidationException, match="Value '\\[\\]' at 'entries' failed"):
        _events().read("PutEvents", b'{"Entries":[]}')


@pytest.mark.parametrize("operation", ["CreateArchive", "PutRules", "", "x" * 10_000])
async def test_an_operation_that_is_not_there_is_unknown(operation: str) -> None:
    with pytest.raises(UnknownOperationException) as refusal:
        await _events().call(operation, b"{}", _CALLER)
    assert refusal.value.message.startswith(f"AWSEvents.{operation[:128]}")
    assert len(refusal.value.message) < 300


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The body is not JSON"),
        (b"{", "The body is not JSON"),
        (b'{"Name":"\xff"}', "The body is not JSON"),
        (b'{"Name":1e999}', "The body is not JSON"),
        (b"[" * 100_000, "The body is nested too deeply"),
        (b'{"Name":' + b'{"a":' * 3000, "The body is nested too deeply"),
        (b"[]", "Start of list found where not expected"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(SerializationException, match=text):
        await _events().call("DescribeEventBus", body, _CALLER)


async def test_each_service_refuses_with_its_own_code() -> None:
    refusals = []
    for service, operation, body in [
        (_events(), "DeleteRule", b"{}"),
        (_logs(), "CreateLogGroup", b"{}"),
        (_sqs(), "SendMessage", b'{"QueueUrl":"u"}'),
        (_sqs(), "SendMessage", b'{"QueueUrl":1}'),
    ]:
        with pytest.raises(ApiError) as refusal:
            await service.call(operation, body, _CALLER)
        refusals.append((refusal.value.code, refusal.value.query_code, refusal.value.message))
    missing = "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null"
    assert refusals == [
        ("ValidationException", None, missing.format("name")),
        ("InvalidParameterException", None, missing.format("logGroupName")),
        (
            "MissingRequiredParameterException",
            "MissingParameter",
            "The request must contain the parameter MessageBody.",
        ),
        ("SerializationException", "MalformedInput", "NUMBER_VALUE can not be converted to a String (at 'queueUrl')"),
    ]


def test_an_operation_that_the_model_lacks_cannot_be_served() -> None:
    with pytest.raises(KeyError):
        Service("events", {"PutRules": _nothing})


def test_services_are_told_apart_by_the_target_header() -> None:
    services = Services([_events(), _sqs(), _logs()])
    found = [
        services.find({"x-amz-target": target})
        for target in ("AWSEvents.PutEvents", "AmazonSQS.DeleteQueue", "Logs_20140328.CreateLogGroup")
    ]
    assert [(service.name, operation, service.content_type) for service, operation in found] == [
        ("events", "PutEvents", "application/x-amz-json-1.1"),
        ("sqs", "DeleteQueue", "application/x-amz-json-1.0"),
        ("logs", "CreateLogGroup", "application/x-amz-json-1.1"),
    ]


@pytest.mark.parametrize(
    ("headers", "body", "query", "text"),
    [
        ({}, b"{}", "", "The header X-Amz-Target is missing"),
        ({"x-amz-target": "AWSEvents"}, b"{}", "", "AWSEvents. is not an operation"),
        ({"x-amz-target": "AWSEvents.CreateArchive"}, b"{}", "", "AWSEvents.CreateArchive is not an operation"),
        ({"x-amz-target": "DynamoDB_20120810.Query"}, b"{}", "", "must be one of AWSEvents.<operation>, AmazonSQS"),
        ({"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, b"", "", "query protocol"),
        ({}, b"Action=SendMessage&Version=2012-11-05", "", "query protocol"),
        ({}, b"", "Version=2012-11-05&Action=SendMessage", "query protocol"),
    ],
)
def test_a_request_without_a_known_operation_is_refused_saying_why(
    headers: dict[str, str], body: bytes, query: str, text: str
) -> None:
    with pytest.raises(UnknownOperationException, match=text):
        Services([_events(), _sqs()]).find(headers, body, query)


def test_botocore_reads_a_refusal() -> None:
    status, body, headers = error_body(ResourceNotFoundException("Rule r does not exist on EventBus default."))
    parsed = _parsed("events", "DescribeRule", status, body, headers)
    assert (status, parsed["Error"]) == (
        400,
        {"Code": "ResourceNotFoundException", "Message": "Rule r does not exist on EventBus default."},
    )


def test_a_client_of_the_query_protocol_reads_its_refusal() -> None:
    with pytest.raises(UnknownOperationException) as refusal:
        Services([_events()]).find({}, b"Action=ListTopics")
    status, body, headers = error_body(refusal.value)
    response = {"status_code": status, "headers": headers, "body": body}
    error = botocore.parsers.create_parser("query").parse(response, None)["Error"]
    assert (error["Code"], error["Message"].split(" is not")[0]) == (
        "UnknownOperationException",
        "The AWS query protocol (Action=...)",
    )


def test_botocore_reads_a_refusal_of_sqs_by_its_old_name() -> None:
    status, body, headers = error_body(QueueDoesNotExist("The specified queue does not exist."))
    assert msgspec.json.decode(body)["__type"] == "com.amazonaws.sqs#QueueDoesNotExist"
    assert _parsed("sqs", "SendMessage", status, body, headers)["Error"] == {
        "Code": "AWS.SimpleQueueService.NonExistentQueue",
        "Message": "The specified queue does not exist.",
        "QueryErrorCode": "QueueDoesNotExist",
        "Type": "Sender",
    }


async def test_a_framework_refusal_of_sqs_has_the_frameworks_namespace() -> None:
    with pytest.raises(SerializationException) as refusal:
        await _sqs().call("SendMessage", b"{", _CALLER)
    status, body, headers = error_body(refusal.value, "application/x-amz-json-1.0")
    assert msgspec.json.decode(body)["__type"] == "com.amazon.coral.service#SerializationException"
    assert (status, headers) == (
        400,
        {
            "Content-Type": "application/x-amz-json-1.0",
            "x-amzn-ErrorType": "SerializationException",
            "x-amzn-query-error": "MalformedInput;Sender",
        },
    )


def test_a_refusals_text_may_hold_stray_bytes() -> None:
    status, body, _ = error_body(InternalException("bad \udcff"))
    assert (status, msgspec.json.decode(body)["message"]) == (500, "bad ?")
