"""Bad input of every kind against a real daemon: each gets its clear error, and changes nothing."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from router.api.operations import _ACTIONS
from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all

MODEL = botocore.session.Session().get_service_model("events")
IMPLEMENTED = frozenset({*_ACTIONS, "PutEvents", "PutPartnerEvents"})
TARGETS = {"events": "AWSEvents", "sqs": "AmazonSQS", "logs": "Logs_20140328"}
QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:witness"
GOOD = {"Source": "shop", "DetailType": "order", "Detail": '{"n":1}'}
# Each makes the rule table look at a detail in another way; none but `default` has anything that matches.
BUSES = {
    "default": {"source": ["shop"]},
    "no-rule": None,
    "by-source": {"source": ["elsewhere"]},
    "by-field": {"source": ["elsewhere"], "detail": {"a": [{"exists": True}]}},
    "by-deep-field": {"source": ["shop"], "detail": {"a": {"b": {"c": [{"anything-but": ["x"]}]}}}},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    settings = {"aws_events": True, "trails": [{}]}
    with HubProcess(tmp_path_factory.mktemp("bad-input"), settings) as hub:
        events = hub.client("events")
        hub.client("sqs").create_queue(QueueName="witness")
        for bus, pattern in BUSES.items():
            if bus != "default":
                events.create_event_bus(Name=bus)
            if pattern is not None:
                events.put_rule(Name="watch", EventBusName=bus, EventPattern=json.dumps(pattern))
                events.put_targets(Rule="watch", EventBusName=bus, Targets=[{"Id": "witness", "Arn": QUEUE}])
        yield hub


@cache
def _client(hub: HubProcess) -> Any:
    return hub.client("events")


def state(hub: HubProcess) -> dict[str, Any]:
    """Everything configured, everything received and everything pending."""
    events = _client(hub)
    buses = events.list_event_buses()["EventBuses"]
    rules = {
        (bus["Name"], rule["Name"]): (rule, events.list_targets_by_rule(Rule=rule["Name"], EventBusName=bus["Name"]))
        for bus in buses
        for rule in events.list_rules(EventBusName=bus["Name"])["Rules"]
    }
    status = json.loads(hub.get("/_hub/v1/status")[1])
    return {
        "buses": buses,
        "rules": {key: (rule, answer["Targets"]) for key, (rule, answer) in rules.items()},
        "inboxes": json.loads(hub.get("/_hub/v1/inboxes")[1]),
        "status": {name: status[name] for name in ("pending", "parked", "dead_letters")},
    }


def bugs(hub: HubProcess) -> list[dict[str, Any]]:
    return [entry for entry in hub.log if entry.get("level") == "error" or "traceback" in entry]


@pytest.fixture
def hub(running: HubProcess) -> Iterator[HubProcess]:
    """A hub that is after the test as it was before, without having met a bug."""
    before = state(running)
    yield running
    assert state(running) == before
    assert bugs(running) == []
    assert running.metric("crossbus_api_bugs_total") == 0


@pytest.fixture
def taking(running: HubProcess) -> Iterator[HubProcess]:
    """The same hub for tests in which it takes some of what it is given."""
    yield running
    assert bugs(running) == []
    running.client("sqs").purge_queue(QueueUrl=f"{running.url}/{WORKLOAD}/witness")


def authorization(service: str = "events") -> str:
    scope = f"{WORKLOAD}/20260101/{REGION}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


def call(
    hub: HubProcess, operation: str, body: bytes | object, service: str = "events", **headers: str
) -> tuple[int, str, str]:
    """Status, code and message of a raw call; code and message are empty where it succeeds."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    all_headers = {"X-Amz-Target": f"{TARGETS[service]}.{operation}", "Authorization": authorization(service)}
    status, text = hub.request("POST", "/", raw, {**all_headers, **headers})
    answer = json.loads(text) if text else {}
    return status, answer.get("__type", "").rpartition("#")[2], answer.get("message", "")


def put(hub: HubProcess, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    """PutEvents without boto3 looking at the entries first; the answer's entries."""
    headers = {"X-Amz-Target": "AWSEvents.PutEvents", "Authorization": authorization()}
    status, text = hub.request("POST", "/", json.dumps({"Entries": entries}).encode(), headers)
    assert status == 200, text
    answer = json.loads(text)
    assert answer["FailedEntryCount"] == sum("ErrorCode" in entry for entry in answer["Entries"])
    found: list[dict[str, Any]] = answer["Entries"]
    return found


def nested(levels: int, opening: str = '{"a":', inner: str = "1", closing: str = "}") -> str:
    return opening * levels + inner + closing * levels


# the protocol


def test_an_operation_that_nobody_has_is_unknown(hub: HubProcess) -> None:
    status, code, message = call(hub, "NoSuchOperation", {})
    assert (status, code) == (400, "UnknownOperationException")
    assert "NoSuchOperation" in message


def test_every_operation_of_the_model_is_there() -> None:
    assert sorted(IMPLEMENTED) == sorted(MODEL.operation_names)
    assert len(IMPLEMENTED) == 57


@pytest.mark.parametrize("operation", sorted(IMPLEMENTED))
def test_members_of_a_wrong_type_are_refused(hub: HubProcess, operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    required: dict[str, Any] = {}
    for member, kind in shape.members.items():
        wrong: list[Any] = [{}, [[]]] if kind.type_name == "list" else [["x"], "x" if kind.type_name != "string" else 5]
        for value in wrong:
            status, code, message = call(hub, operation, {**required, member: value})
            assert (status, code) == (400, "SerializationException"), (operation, member, value, message)
            assert member[1:] in message or not message


@pytest.mark.parametrize("service", ["events", "sqs", "logs"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"Name":"\xff"}',
        b'{"Name":NaN}',
        b"{}{}",
        b'{"Name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Unknown":' + nested(100_000).encode() + b"}",
        b'{"Name":1e999}',
    ],
)
def test_a_body_that_is_no_json_object_is_refused(hub: HubProcess, service: str, body: bytes) -> None:
    for operation in {
        "events": ("PutEvents", "PutRule"),
        "sqs": ("SendMessage",),
        "logs": ("FilterLogEvents",),
    }[service]:
        status, code, message = call(hub, operation, body, service)
        assert (status, code) == (400, "SerializationException")
        assert message


@pytest.mark.parametrize(
    "target",
    [None, "", "AWSEvents", "AWSEvents.", "AWSEvents.putEvents", "Nobody.PutEvents", "AWSEvents.ÿ", "X" * 5000],
)
def test_a_missing_or_unknown_target_is_an_unknown_operation(hub: HubProcess, target: str | None) -> None:
    headers = {"Authorization": authorization(), "Content-Type": "application/x-amz-json-1.1"}
    headers |= {} if target is None else {"X-Amz-Target": target}
    status, text = hub.request("POST", "/", b"{}", headers)
    assert status == 400
    assert json.loads(text)["__type"] == "UnknownOperationException"
    assert len(text) < 1000


def test_the_query_protocol_is_refused_in_the_xml_that_its_clients_read(hub: HubProcess) -> None:
    body = b"Action=SendMessage&Version=2012-11-05&MessageBody=x"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": authorization("sqs")}
    status, text = hub.request("POST", f"/{WORKLOAD}/witness", body, headers)
    assert status == 400
    assert "<Code>UnknownOperationException</Code>" in text
    assert "X-Amz-Target" in text


def test_unknown_members_are_passed_over(hub: HubProcess) -> None:
    assert call(hub, "ListRules", {"Unknown": {"deep": [1]}, "Limit": 1})[0] == 200


@pytest.mark.parametrize("path", ["/nothing", "/_hub/v1/nothing", "/_hub/v1/dead-letters/1", "/_hub/v1/dead-letters/x"])
def test_a_path_without_anything_behind_it_is_404(hub: HubProcess, path: str) -> None:
    status, text = hub.get(path)
    assert (status, json.loads(text)["__type"]) == (404, "ResourceNotFoundException")
    assert "(?P" not in text


@pytest.mark.parametrize(
    "query", ["", "?arn=", f"?arn={QUEUE}&limit=x", f"?arn={QUEUE}&limit=1001", f"?arn={QUEUE}&after=-1"]
)
def test_bad_query_parameters_of_the_hubs_api_are_refused(hub: HubProcess, query: str) -> None:
    status, text = hub.get(f"/_hub/v1/inboxes/messages{query}")
    assert (status, json.loads(text)["__type"]) == (400, "ValidationException")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"rule":"x"}', b'{"rule_arn":1}', b'{"rule_arn":"\xff"}', b"[" * 10**5]
)
def test_a_bad_redrive_is_refused(hub: HubProcess, body: bytes) -> None:
    status, text = hub.request("POST", "/_hub/v1/dead-letters/redrive", body)
    assert (status, json.loads(text)["__type"]) == (400, "ValidationException")


# entries


@pytest.mark.parametrize("missing", ["Source", "DetailType", "Detail"])
@pytest.mark.parametrize("value", [None, "", "absent"])
def test_an_entry_without_a_required_argument_fails_alone(hub: HubProcess, missing: str, value: str | None) -> None:
    entry = {key: text for key, text in GOOD.items() if key != missing}
    (answer,) = put(hub, entry if value == "absent" else {**entry, missing: value})
    message = f"Parameter {missing} is not valid. Reason: {missing} is a required argument."
    assert answer == {"ErrorCode": "InvalidArgument", "ErrorMessage": message}


def test_customers_may_not_use_the_services_sources(hub: HubProcess) -> None:
    (answer,) = put(hub, {**GOOD, "Source": "aws.s3"})
    assert answer == {
        "ErrorCode": "NotAuthorizedForSourceException",
        "ErrorMessage": "Not authorized for the source.",
    }


_MALFORMED = {
    "a text": '"x"',
    "a list": "[1]",
    "a text that holds an object": json.dumps('{"a":1}'),
    "half an object": '{"a":',
    "a number": "1",
    "null": "null",
    "NaN": '{"a":NaN}',
    "infinity": '{"a":-Infinity}',
    "a control character": '{"a":"\x01"}',
    "a tab in a text": '{"a":"\t"}',
    "a control character in a key": '{"a\x00":1}',
    "a bad escape": '{"a":"\\x"}',
    "more behind it": '{"a":1}x',
    "two objects": "{}{}",
    "a comma too many": '{"a":1,}',
    "a comment": '{"a":1/*x*/}',
    "single quotes": "{'a':1}",
    "a byte order mark": "\ufeff{}",
    "a leading zero": '{"a":01}',
    "a whole number beyond 64 bits": '{"a":[9223372036854775808]}',
    "a form feed": '{"a":1}\x0c',
    "1,001 levels": nested(1001),
    "1,001 levels of lists": '{"a":' + nested(1000, "[", "1", "]") + "}",
    "100,000 levels": nested(100_000),
    "100,000 levels with spaces": nested(100_000, '{"a": '),
    "100,000 lists that do not end": '{"a":' + "[" * 100_000,
}


@pytest.mark.parametrize("detail", _MALFORMED.values(), ids=_MALFORMED.keys())
def test_a_detail_that_is_no_object_in_strict_json_is_malformed(hub: HubProcess, detail: str) -> None:
    for bus in BUSES:
        answer = put(hub, {**GOOD, "Detail": detail, "EventBusName": bus})
        assert answer == [{"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}], bus


_ODD = {
    "a key given twice": '{"a":1,"a":2}',
    "1,000 levels": nested(1000),
    "a number beyond every double": '{"a":1e999,"b":123456789012345678901234567890.0}',
    "half a surrogate pair": '{"a":"\\ud800"}',
    "the delete character": '{"a":"\x7f"}',
    "other alphabets": '{"ключ":"😀"}',
}


@pytest.mark.parametrize("detail", _ODD.values(), ids=_ODD.keys())
def test_an_odd_detail_is_taken_and_delivered_as_it_was_sent(taking: HubProcess, detail: str) -> None:
    answers = put(taking, *({**GOOD, "Detail": detail, "EventBusName": bus} for bus in BUSES))
    assert ["EventId" in answer for answer in answers] == [True] * len(BUSES)
    (message,) = receive_all(taking.client("sqs"), f"{taking.url}/{WORKLOAD}/witness", expected=1)
    assert message["Body"].endswith(f'"detail":{detail}}}')


def test_good_entries_beside_bad_ones_are_taken(taking: HubProcess) -> None:
    answers = put(taking, {**GOOD, "Detail": "x"}, GOOD, {**GOOD, "Source": "aws.x"}, {}, {**GOOD, "Time": -1})
    codes = ["MalformedDetail", None, "NotAuthorizedForSourceException", "InvalidArgument", "InvalidArgument"]
    assert [answer.get("ErrorCode") for answer in answers] == codes
    (message,) = receive_all(taking.client("sqs"), f"{taking.url}/{WORKLOAD}/witness", expected=1)
    assert json.loads(message["Body"])["id"] == answers[1]["EventId"]


def test_a_time_before_1970_fails_its_entry(hub: HubProcess) -> None:
    (answer,) = put(hub, {**GOOD, "Time": -1})
    assert answer["ErrorCode"] == "InvalidArgument"
    assert answer["ErrorMessage"].startswith("Parameter Time is not valid. Reason: expected a timestamp, got ")


@pytest.mark.parametrize("time", ["yesterday", "", "2026-01-01T00:00:00Z", True, 1e300, 253_402_300_800])
def test_a_time_that_is_no_number_of_seconds_refuses_the_request(hub: HubProcess, time: object) -> None:
    status, code, message = call(hub, "PutEvents", {"Entries": [GOOD, {**GOOD, "Time": time}]})
    assert (status, code) == (400, "SerializationException")
    assert message.endswith("can not be converted to milliseconds since epoch (at 'entries.2.member.time')")


def test_no_entry_and_eleven_entries_are_refused_in_awss_words(hub: HubProcess) -> None:
    one = (
        "PutEventsRequestEntry(time=null, source=shop, resources=null, detailType=order, detail={}, eventBusName=null, "
        "traceHeader=null, kmsKeyIdentifier=null, internalMetadata=null)"
    )
    entry = {**GOOD, "Detail": "{}"}
    expected = {
        0: "Value '[]' at 'entries' failed to satisfy constraint: Member must have length greater than or equal to 1",
        11: f"Value '[{', '.join([one] * 11)}]' at 'entries' failed to satisfy constraint: Member must have length "
        "less than or equal to 10",
    }
    for count, text in expected.items():
        answer = call(hub, "PutEvents", {"Entries": [entry] * count})
        assert answer == (400, "ValidationException", f"1 validation error detected: {text}")


def test_entries_that_are_too_large_together_are_refused(hub: HubProcess) -> None:
    half = {**GOOD, "Detail": json.dumps({"a": "x" * (512 * 1024)})}
    with pytest.raises(ClientError) as refused:
        hub.client("events").put_events(Entries=[half, half])
    error = refused.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"] == "Total size of the entries in the request is over the limit."


@pytest.mark.parametrize(
    "bus", ["a b", "", f"arn:aws:events:{REGION}:11:event-bus/x", f"arn:aws:events:{REGION}:{WORKLOAD}:rule/x"]
)
def test_a_bus_name_or_arn_out_of_form_refuses_the_request(hub: HubProcess, bus: str) -> None:
    status, code, message = call(hub, "PutEvents", {"Entries": [GOOD, {**GOOD, "EventBusName": bus}]})
    assert (status, code) == (400, "ValidationException")
    assert f"Value '{bus}' at 'entries.2.member.eventBusName' failed to satisfy constraint" in message


def test_an_endpoint_that_does_not_exist_refuses_the_request(hub: HubProcess) -> None:
    assert call(hub, "PutEvents", {"Entries": [GOOD], "EndpointId": "abcde.veo"})[1:] == (
        "ValidationException",
        "Parameter EndpointId is not valid. Reason: Endpoint abcde.veo does not exist.",
    )
    assert "failed to satisfy constraint" in call(hub, "PutEvents", {"Entries": [GOOD], "EndpointId": "a b"})[2]


# the control plane

_PATTERN = '{"source":["shop"]}'
_RULE = {"Name": "new", "EventPattern": _PATTERN}
_NO_BUS = ("ResourceNotFoundException", "Event bus nowhere does not exist.")
_NO_RULE = ("ResourceNotFoundException", "Rule nothing does not exist on EventBus default.")
_TARGET = {"Id": "1", "Arn": QUEUE}
_OTHER_REGION = f"arn:aws:sqs:eu-west-1:{WORKLOAD}:q"


def _targets(*targets: dict[str, Any]) -> dict[str, Any]:
    return {"Rule": "watch", "Targets": list(targets)}


@pytest.mark.parametrize(
    ("operation", "request_", "code", "message"),
    [
        ("DescribeEventBus", {"Name": "nowhere"}, *_NO_BUS),
        ("PutRule", {**_RULE, "EventBusName": "nowhere"}, *_NO_BUS),
        ("ListRules", {"EventBusName": "nowhere"}, *_NO_BUS),
        ("PutPermission", {"EventBusName": "nowhere", "Policy": "{}"}, *_NO_BUS),
        ("CreateEventBus", {"Name": "no-rule"}, "ResourceAlreadyExistsException", "Event bus no-rule already exists."),
        ("DeleteEventBus", {"Name": "default"}, "ValidationException", "Cannot delete event bus default."),
        ("DescribeRule", {"Name": "nothing"}, *_NO_RULE),
        ("EnableRule", {"Name": "nothing"}, *_NO_RULE),
        ("DisableRule", {"Name": "nothing"}, *_NO_RULE),
        ("PutTargets", {**_targets(_TARGET), "Rule": "nothing"}, *_NO_RULE),
        ("RemoveTargets", {"Rule": "nothing", "Ids": ["1"]}, *_NO_RULE),
        ("ListTargetsByRule", {"Rule": "nothing"}, *_NO_RULE),
        ("DeleteRule", {"Name": "watch"}, "ValidationException", "Rule can't be deleted since it has targets."),
        (
            "RemovePermission",
            {"StatementId": "nothing"},
            "ResourceNotFoundException",
            "Statement with the provided id does not exist.",
        ),
        (
            "PutTargets",
            _targets(*({**_TARGET, "Id": str(number)} for number in range(6))),
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ),
        (
            "PutTargets",
            _targets({**_TARGET, "Id": "a b"}),
            "ValidationException",
            "1 validation error detected: Value 'a b' at 'targets.1.member.id' failed to satisfy constraint: Member "
            r"must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+",
        ),
        (
            "PutTargets",
            _targets(_TARGET, {"Id": "2", "Arn": "queue"}),
            "ValidationException",
            "Parameter queue is not valid. Reason: Provided Arn is not in correct format.",
        ),
        (
            "PutTargets",
            _targets({"Id": "2", "Arn": _OTHER_REGION}),
            "AccessDeniedException",
            f"Access to the resource {_OTHER_REGION} is denied. Reason: Adding cross-region target is not permitted.",
        ),
        (
            "PutTargets",
            _targets({**_TARGET, "InputTransformer": {"InputTemplate": '{"a": <b>}'}}),
            "ValidationException",
            "InputTemplate for target 1 contains invalid placeholder b.",
        ),
        (
            "PutTargets",
            _targets({**_TARGET, "Input": "{}", "InputPath": "$.detail"}),
            "ValidationException",
            "Only one of Input, InputPath, or InputTransformer must be provided for target 1.",
        ),
        (
            "PutRule",
            {**_RULE, "EventPattern": '{"source": "shop"}'},
            "InvalidEventPatternException",
            'Event pattern is not valid. Reason: "source" must be an object or an array\n at [Source: (String)'
            '"{"source": "shop"}"; line: 1, column: 13]',
        ),
        (
            "PutRule",
            {**_RULE, "EventPattern": '{"source": [{"prefx": "a"}]}'},
            "InvalidEventPatternException",
            "Event pattern is not valid. Reason: Unrecognized match type prefx\n at [Source: (String)"
            '"{"source": [{"prefx": "a"}]}"; line: 1, column: 24]',
        ),
        (
            "TestEventPattern",
            {"EventPattern": '{"a":[]}', "Event": "{}"},
            "InvalidEventPatternException",
            'Event pattern is not valid. Reason: Empty arrays are not allowed\n at [Source: (String)"{"a":[]}"; '
            "line: 1, column: 8]",
        ),
        (
            "TestEventPattern",
            {"EventPattern": _PATTERN, "Event": "{}"},
            "ValidationException",
            "Parameter Event is not valid.",
        ),
        (
            "PutRule",
            {"Name": "new"},
            "ValidationException",
            "Parameter(s) EventPattern or ScheduleExpression must be specified.",
        ),
        (
            "TagResource",
            {"ResourceARN": "rule/x", "Tags": []},
            "ValidationException",
            "Parameter rule/x is not valid. Reason: Provided Arn is not in correct format.",
        ),
        ("ListRules", {"NextToken": "bm8="}, "ValidationException", "Parameter NextToken is not valid."),
    ],
)
def test_a_refusal_of_the_control_plane_says_what_aws_says(
    hub: HubProcess, operation: str, request_: dict[str, Any], code: str, message: str
) -> None:
    assert call(hub, operation, request_) == (400, code, message)


@pytest.mark.parametrize("levels", [1001, 100_000])
@pytest.mark.parametrize(
    ("operation", "request_", "member"),
    [
        ("PutRule", {"Name": "new"}, "EventPattern"),
        ("TestEventPattern", {"Event": "{}"}, "EventPattern"),
        ("TestEventPattern", {"EventPattern": _PATTERN}, "Event"),
        ("PutPermission", {}, "Policy"),
        ("PutTargets", _targets(_TARGET), "Input"),
    ],
)
def test_deeply_nested_json_in_a_member_is_refused(
    hub: HubProcess, operation: str, request_: dict[str, Any], member: str, levels: int
) -> None:
    text = nested(levels, inner="[1]")
    given = _targets({**_TARGET, member: text}) if operation == "PutTargets" else {**request_, member: text}
    status, code, _ = call(hub, operation, given)
    assert (status, code != "SerializationException") == (400, True)


# service events


def service_events(hub: HubProcess, body: bytes, where: str = f"{WORKLOAD}/{REGION}") -> tuple[int, dict[str, Any]]:
    status, text = hub.request("POST", f"/aws-events/{where}", body)
    return status, json.loads(text)


@pytest.mark.parametrize(
    "where", ["1/us-east-1", f"{WORKLOAD}/moon", f"{WORKLOAD}/US-EAST-1", "١١١١١١١١١١١١/us-east-1"]
)
def test_a_path_that_names_no_location_is_refused(hub: HubProcess, where: str) -> None:
    quoted = where.encode().decode("latin-1") if where.isascii() else "%D9%A1" * 12 + "/us-east-1"
    status, answer = service_events(hub, b"{}", quoted)
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert "in the path, got" in answer["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"1", b'"x"', b'{"Records":1}', b"[{]", nested(100_000).encode(), b"[" * 100_000, b'{"source":"\xff"}'],
)
def test_a_body_that_holds_no_records_is_refused(hub: HubProcess, body: bytes) -> None:
    status, answer = service_events(hub, body)
    if status == 200:  # one record that is none
        assert (answer["accepted"], answer["failed"]) == (0, 1)
    else:
        assert (status, answer["__type"]) == (400, "ValidationException")


def _record(name: str) -> dict[str, Any]:
    return {"eventSource": "s3.amazonaws.com", "eventName": name, "eventTime": "2026-11-23T10:00:00Z"}


def _data_record() -> dict[str, Any]:
    return {**_record("GetObject"), "managementEvent": False, "eventCategory": "Data"}


def test_each_form_of_service_events_is_taken(taking: HubProcess) -> None:
    one, two = _record("CreateBucket"), _record("DeleteBucket")
    envelope = {"source": "aws.s3", "detail-type": "Object Created", "detail": {"n": 1}}
    forms = {
        json.dumps(one): 1,
        json.dumps(envelope): 1,
        json.dumps([one, envelope]): 2,
        json.dumps({"Records": [one, two]}): 2,
        f"{json.dumps(one)}\n{json.dumps(envelope)}\n\n": 2,
        json.dumps(one, indent=2): 1,
        "[]": 0,
    }
    for body, count in forms.items():
        status, answer = service_events(taking, body.encode())
        assert (status, answer) == (200, {"accepted": count, "withheld": 0, "failed": 0, "failures": []})


@pytest.mark.parametrize("lines", [False, True])
def test_broken_records_of_a_mixed_list_fail_alone(taking: HubProcess, lines: bool) -> None:
    records: list[Any] = [_record("CreateBucket"), {"detail-type": 1}, _data_record(), 7, {"source": "aws.s3"}]
    body = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
    status, answer = service_events(taking, body.encode())
    failures = answer.pop("failures")
    assert (status, answer) == (200, {"accepted": 1, "withheld": 1, "failed": 3})
    assert [failure["index"] for failure in failures] == [1, 3, 4]
    assert all(failure["code"] and failure["message"] for failure in failures)


def test_service_events_are_off_unless_the_hub_file_allows_them(tmp_path: Path) -> None:
    with HubProcess(tmp_path, {}) as hub:
        status, answer = service_events(hub, json.dumps(_record("CreateBucket")).encode())
        assert (status, answer["__type"]) == (404, "ResourceNotFoundException")
        assert answer["message"] == "service events are off: set `aws_events: true` in the hub file to take them"


# messages of a queue source


@pytest.mark.parametrize("trusted", [False, True])
def test_a_deeply_nested_message_is_left_in_its_queue_and_ends_nothing(
    running: HubProcess, tmp_path: Path, trusted: bool
) -> None:
    sqs = running.client("sqs")
    url = sqs.create_queue(QueueName=f"nested-{trusted}")["QueueUrl"]
    source = {
        "queue_url": url,
        "endpoint": running.url,
        "queue_region": REGION,
        "credentials": {"access_key_id": WORKLOAD, "secret_access_key": "none"},
        "account": WORKLOAD,
        "region": REGION,
        "trusted": trusted,
        "wait_s": 1,
    }
    sqs.send_message(QueueUrl=url, MessageBody='{"Unknown":' + nested(50_000) + "}")
    with HubProcess(tmp_path, {"sqs_sources": [source]}) as hub:
        eventually(lambda: hub.metric("crossbus_sqs_source_refused_total") >= 1)
        assert hub.get("/readyz") == (200, "ready\n")
