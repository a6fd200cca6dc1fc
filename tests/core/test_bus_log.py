"""The records of a bus's log, text by text, and what belongs to which level."""

import json
from typing import Any

import pytest

from router.core.bus_log import (
    LEVELS,
    RECORD_BYTES_MAX,
    SUCCESS,
    Failure,
    Invocation,
    Level,
    Logging,
    attempt_details,
    failed_attempt_types,
    final_details,
    invocation_id,
    invocation_record,
    record,
    start_details,
)
from router.core.event import Location

BUS = "arn:aws:events:us-east-1:111111111111:event-bus/shop"
RULE = "arn:aws:events:us-east-1:111111111111:rule/shop/orders"
QUEUE = "arn:aws:sqs:us-east-1:111111111111:queue"
ROLE = "arn:aws:iam::111111111111:role/events"
INVOCATION = Invocation("e1", "i1", RULE, QUEUE, ROLE, '{"a":1}', '{"SqsParameters":{"MessageGroupId":"g"}}')
BARE = Invocation("e1", "i1", RULE, None)


def logging(level: Level = Level.TRACE, *, full: bool = True) -> Logging:
    return Logging(Location("111111111111", "us-east-1"), "shop", BUS, level, full)


ERROR = {
    "EVENT_INGEST_FAILURE",
    "INVOCATION_ATTEMPT_PERMANENT_FAILURE",
    "INVOCATION_ATTEMPT_RETRYABLE_FAILURE",
    "INVOCATION_ATTEMPT_THROTTLE",
    "INVOCATION_DLQ",
    "INVOCATION_FAILURE",
    "INVOCATION_THROTTLE_START",
}
INFO = ERROR | {
    "EVENT_INGEST_SUCCESS",
    "INVOCATION_START",
    "INVOCATION_SUCCESS",
    "NO_STANDARD_RULES_MATCHED",
    "RULE_MATCH",
}
TRACE = INFO | {"EVENT_RECEIPT", "INVOCATION_ATTEMPT_START", "INVOCATION_ATTEMPT_SUCCESS", "RULE_MATCH_START"}


@pytest.mark.parametrize(
    ("level", "types"), [(Level.OFF, set()), (Level.ERROR, ERROR), (Level.INFO, INFO), (Level.TRACE, TRACE)]
)
def test_each_level_has_its_types_and_those_below(level: Level, types: set[str]) -> None:
    assert {name for name in LEVELS if logging(level).wants(name)} == types


def test_a_log_is_in_the_group_that_the_console_proposes() -> None:
    assert logging().group == "/aws/vendedlogs/events/event-bus/shop"


@pytest.mark.parametrize("message_type", sorted(TRACE))
def test_a_record_names_its_bus_its_event_its_type_and_the_types_own_level(message_type: str) -> None:
    level = "ERROR" if message_type in ERROR else "INFO" if message_type in INFO else "TRACE"
    assert (
        record(logging(), message_type, "e1", {}, at_ms=7)
        == (
            f'{{"resource_arn":"{BUS}","message_timestamp_ms":7,"event_bus_name":"shop","event_id":"e1",'
            f'"message_type":"{message_type}","log_level":"{level}","details":{{}}}}'
        ).encode()
    )


def test_a_record_of_an_invocation_has_its_id_and_an_error_where_it_failed() -> None:
    failure = Failure("NO_RESOURCE", "x" * 2000, "sqs")
    text = invocation_record(logging(), "INVOCATION_FAILURE", INVOCATION, {"a": 1}, at_ms=7, failure=failure)
    assert json.loads(text) == {
        "resource_arn": BUS,
        "message_timestamp_ms": 7,
        "event_bus_name": "shop",
        "event_id": "e1",
        "invocation_id": "i1",
        "message_type": "INVOCATION_FAILURE",
        "log_level": "ERROR",
        "details": {"a": 1},
        "error": {"error_message": "x" * 1000, "aws_service": "sqs"},
    }


def test_an_invocations_id_is_that_of_its_event_rule_and_target() -> None:
    ids = {invocation_id(*names) for names in (("a", "r", "t"), ("b", "r", "t"), ("a", "s", "t"), ("a", "r", "u"))}
    assert len(ids) == 4
    assert invocation_id("a", "r", "t") == "059b69a5-4903-51a6-98e5-8d7921802dd0"


def test_a_start_has_what_the_target_gets_only_with_details() -> None:
    known = {"rule_arn": RULE, "role_arn": ROLE, "target_arn": QUEUE, "attempt_count": 3}
    full = {"target_input": '{"a":1}', "target_properties": '{"SqsParameters":{"MessageGroupId":"g"}}'}
    assert start_details(logging(full=False), INVOCATION, attempt=3) == known
    assert start_details(logging(), INVOCATION, attempt=3) == {**known, **full}
    assert start_details(logging(), BARE, attempt=1) == {"rule_arn": RULE, "attempt_count": 1}


@pytest.mark.parametrize(
    ("previous_code", "attempt_type"), [(None, "FIRST"), ("TIMEOUT", "RETRY"), ("THROTTLING", "THROTTLE")]
)
def test_an_attempts_type_says_what_came_before_it(previous_code: str | None, attempt_type: str) -> None:
    found = attempt_details(INVOCATION, attempt=2, previous_code=previous_code, status=SUCCESS, took_ms=5)
    assert found == {
        "rule_arn": RULE,
        "role_arn": ROLE,
        "target_arn": QUEUE,
        "attempt_type": attempt_type,
        "attempt_count": 2,
        "invocation_status": "SUCCESS",
        "target_duration_ms": 5,
    }


@pytest.mark.parametrize(
    ("attempts", "status", "latencies"),
    [
        (1, SUCCESS, {"start": 40, "complete": 50, "success": 50}),
        (1, "NO_RESOURCE", {"start": 40, "complete": 50}),
        (2, SUCCESS, {"success": 50}),
        (2, "NO_RESOURCE", {}),
    ],
)
def test_latencies_are_those_of_the_first_attempt_and_of_success(
    attempts: int, status: str, latencies: dict[str, int]
) -> None:
    found = final_details(logging(full=False), INVOCATION, attempts=attempts, status=status, took_ms=10, age_ms=50)
    assert found == {
        "rule_arn": RULE,
        "role_arn": ROLE,
        "target_arn": QUEUE,
        "total_attempts": attempts,
        "final_invocation_status": status,
        **{f"ingestion_to_{name}_latency_ms": value for name, value in latencies.items()},
        "target_duration_ms": 10,
    }


def test_a_start_is_not_before_the_ingestion_when_a_batch_took_longer_than_the_event_is_old() -> None:
    found = final_details(logging(), INVOCATION, attempts=1, status=SUCCESS, took_ms=80, age_ms=50)
    assert found["ingestion_to_start_latency_ms"] == 0


@pytest.mark.parametrize(
    ("code", "previous_code", "permanent", "types"),
    [
        ("NO_RESOURCE", None, True, ["INVOCATION_ATTEMPT_PERMANENT_FAILURE"]),
        ("TIMEOUT", None, False, ["INVOCATION_ATTEMPT_RETRYABLE_FAILURE"]),
        ("THROTTLING", None, False, ["INVOCATION_ATTEMPT_THROTTLE", "INVOCATION_THROTTLE_START"]),
        ("THROTTLING", "TIMEOUT", False, ["INVOCATION_ATTEMPT_THROTTLE", "INVOCATION_THROTTLE_START"]),
        ("THROTTLING", "THROTTLING", False, ["INVOCATION_ATTEMPT_THROTTLE"]),
        ("TIMEOUT", "THROTTLING", False, ["INVOCATION_ATTEMPT_RETRYABLE_FAILURE"]),
    ],
)
def test_a_failed_attempts_types_follow_from_its_code(
    code: str, previous_code: str | None, permanent: bool, types: list[str]
) -> None:
    assert list(failed_attempt_types(code, previous_code=previous_code, permanent=permanent)) == types


def dropped(details: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    text = record(logging(), "EVENT_RECEIPT", "e1", details, at_ms=7)
    assert len(text) <= RECORD_BYTES_MAX
    found = json.loads(text)
    return found.get("dropped_fields", []), found["details"]


def test_a_record_at_the_bound_has_everything() -> None:
    room = RECORD_BYTES_MAX - len(record(logging(), "EVENT_RECEIPT", "e1", {"event_detail": ""}, at_ms=7))
    assert dropped({"event_detail": "x" * room}) == ([], {"event_detail": "x" * room})
    assert dropped({"event_detail": "x" * (room + 1)}) == (["event_detail"], {})


def test_fields_of_a_record_that_is_too_large_give_way_one_after_the_other() -> None:
    big = '"' * (RECORD_BYTES_MAX // 4)  # twice as large as JSON text
    assert dropped({"source": "s", "event_detail": big, "resources": ["r"]}) == ([], {
        "source": "s",
        "event_detail": big,
        "resources": ["r"],
    })  # fmt: skip
    assert dropped({"source": big, "event_detail": big, "resources": ["r"]}) == (
        ["event_detail"],
        {"source": big, "resources": ["r"]},
    )
    assert dropped({"source": big, "detail_type": big, "resources": [big], "event_detail": big, "kept": 1}) == (
        ["event_detail", "resources", "detail_type"],
        {"source": big, "kept": 1},
    )
    assert dropped({"source": big * 2, "kept": 1}) == (["source"], {"kept": 1})
