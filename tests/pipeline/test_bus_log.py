"""The log of a bus: each record where it must be and nowhere else, for everything that can become of an event, and what
is lost of it, counted, while the events go on."""

import json
import random
from collections import Counter
from functools import partial
from typing import Any

import msgspec
import pytest

from router import limits
from router.catalog.model import Target
from router.catalog.target_parameters import SqsParameters
from router.core.bus_log import LEVELS, Level
from router.core.pace import PaceSettings, Probing
from router.lanes import LaneName
from router.planning import Incoming
from router.simulator.records import decode_message, decode_record
from router.sinks.base import Delivered, Outcome, Rejected, Retryable
from router.sources.outcome import MALFORMED_DETAIL, STORE_FAILED, Taken
from router.store.base import StoreError, Table
from tests.pipeline.hub import (
    FAR,
    FUNCTION,
    HERE,
    LETTERS,
    ORDERS,
    QUEUE,
    REAL_LETTERS,
    ROLE,
    RULE_ARN,
    HandWorld,
    Hub,
    ScriptedSink,
    incoming,
    quick_pauses,
    running,
    target,
    until,
)
from tests.pipeline.memory_store import MemoryStore

GROUP = "arn:aws:logs:us-east-1:111111111111:log-group:/aws/vendedlogs/events/event-bus/"
RECEIVED = ["EVENT_RECEIPT", "EVENT_INGEST_SUCCESS", "RULE_MATCH_START"]
MATCHED = [*RECEIVED, "RULE_MATCH", "INVOCATION_START"]
ATTEMPT = "INVOCATION_ATTEMPT_"
BUSY = Retryable("TIMEOUT", "no answer")
Record = dict[str, Any]


async def log(hub: Hub, level: str = "TRACE", *, detail: str = "NONE", bus: str = "default") -> None:
    """Give the bus a log."""
    config = {"Level": level, "IncludeDetail": detail}
    await hub.catalog.update_bus(HERE, bus, description=None, attributes={"LogConfig": config})


def records(hub: Hub, bus: str = "default", *, group: str = GROUP) -> list[Record]:
    if hub.inboxes.find(group + bus) is None:
        return []
    return [json.loads(message.body) for message in hub.messages(group + bus)]


def types(found: list[Record]) -> list[str]:
    return [record["message_type"] for record in found]


def lost(hub: Hub, bus: str = "default") -> int:
    return hub.metrics.bus(HERE, bus).log_records_lost


async def settled(hub: Hub, *ids: str) -> list[str]:
    """The types of the records of events that are put and settled."""
    await hub.accept(*ids or ("e1",))
    await until(hub.settled)
    return types(records(hub))


def _tried(hub: Hub, sink: ScriptedSink, attempts: int) -> bool:
    return len(sink.sent) == attempts and hub.idle()


async def again(hub: Hub, sink: ScriptedSink, times: int) -> None:
    """Let the one delivery be tried so many times more, a minute apart, until it is settled."""
    for attempts in range(1, times + 1):
        await until(partial(_tried, hub, sink, attempts))
        hub.advance(60)
    await until(hub.settled)


# what is in it


async def test_a_bus_without_a_log_writes_nothing(hub: Hub, store: MemoryStore) -> None:
    await hub.rule()
    assert await settled(hub) == []
    assert store.rows(Table.MESSAGES, Table.INBOXES) == 0
    assert hub.metrics.bus(HERE, "default").log_records == 0


async def test_a_delivery_at_the_first_attempt_is_told_from_receipt_to_success(hub: Hub) -> None:
    await log(hub)
    await hub.rule()
    found = await settled(hub)
    assert found == [*MATCHED, ATTEMPT + "START", ATTEMPT + "SUCCESS", "INVOCATION_SUCCESS"]
    assert hub.metrics.bus(HERE, "default").log_records == len(found)
    assert lost(hub) == 0


@pytest.mark.parametrize("level", ["OFF", "ERROR", "INFO", "TRACE"])
async def test_each_level_has_the_records_of_its_types_and_no_others(hub: Hub, sink: ScriptedSink, level: str) -> None:
    sink.script = [Rejected("NO_PERMISSIONS", "no")]
    await log(hub, level)
    await hub.rule()
    found = await settled(hub)
    everything = [*MATCHED, ATTEMPT + "START", ATTEMPT + "PERMANENT_FAILURE", "INVOCATION_FAILURE"]
    assert found == [name for name in everything if LEVELS[name] <= Level[level]]


async def test_records_say_who_sent_what_when_and_where_it_went(hub: Hub) -> None:
    await log(hub)
    await hub.rule()
    await hub.accept("e1", detail='{"a":1}')
    await until(hub.settled)
    by_type = {record["message_type"]: record for record in records(hub)}
    at_ms = hub.world.ms
    invocation_id = by_type["INVOCATION_START"]["invocation_id"]
    event = {
        "caller_account_id": "111111111111",
        "source_time_ms": 1_795_428_000_000,
        "source": "orders",
        "detail_type": "type",
        "resources": [],
    }
    assert {record["message_timestamp_ms"] for record in by_type.values()} == {at_ms}
    assert {record["event_id"] for record in by_type.values()} == {"e1"}
    assert {record["resource_arn"] for record in by_type.values()} == {
        "arn:aws:events:us-east-1:111111111111:event-bus/default"
    }
    assert [by_type[name]["details"] for name in RECEIVED] == [event] * 3
    assert by_type["RULE_MATCH"]["details"] == {
        "rule_arn": RULE_ARN,
        "target_arns": [FUNCTION],
        "invocation_ids": [invocation_id],
    }
    where = {"rule_arn": RULE_ARN, "target_arn": FUNCTION}
    for name in ("INVOCATION_START", ATTEMPT + "START"):
        assert by_type[name]["details"] == {**where, "attempt_count": 1}
    assert by_type[ATTEMPT + "SUCCESS"]["details"] == {
        **where,
        "attempt_type": "FIRST",
        "attempt_count": 1,
        "invocation_status": "SUCCESS",
        "target_duration_ms": 0,
    }
    assert by_type["INVOCATION_SUCCESS"]["details"] == {
        **where,
        "total_attempts": 1,
        "final_invocation_status": "SUCCESS",
        "ingestion_to_start_latency_ms": 0,
        "ingestion_to_complete_latency_ms": 0,
        "ingestion_to_success_latency_ms": 0,
        "target_duration_ms": 0,
    }
    for name in ("INVOCATION_START", ATTEMPT + "START", ATTEMPT + "SUCCESS", "INVOCATION_SUCCESS"):
        assert by_type[name]["invocation_id"] == invocation_id


async def test_details_of_events_and_targets_are_there_only_where_the_bus_says_so(hub: Hub) -> None:
    fifo = Target(id="q", arn=QUEUE + ".fifo", role_arn=ROLE, sqs_parameters=SqsParameters("$.source"))
    await hub.inboxes.create(QUEUE + ".fifo", "sqs", {"FifoQueue": "true", "ContentBasedDeduplication": "true"}, {})
    await hub.rule("orders", ORDERS, fifo, target("made", template='{"made": <aws.events.event.json>}'))
    for detail in ("NONE", "FULL"):
        await log(hub, detail=detail)
        await hub.accept(detail, detail='{"a":1}')
        await until(hub.settled)
    full = [record for record in records(hub) if record["event_id"] == "FULL"]
    bare = [record for record in records(hub) if record["event_id"] == "NONE"]
    known = {"event_detail", "target_input", "target_properties"}
    assert not known & {name for record in bare for name in record["details"]}
    assert [record["details"]["event_detail"] for record in full[:3]] == ['{"a":1}'] * 3
    body = hub.messages(QUEUE + ".fifo")[1].body.decode()
    of_queue = [record["details"] for record in full if record["details"].get("target_arn") == QUEUE + ".fifo"]
    assert {details["role_arn"] for details in of_queue} == {ROLE}
    shown = [details.get("target_input") for details in of_queue]
    assert shown == [body, body, None, body], "all but the attempt's outcome"
    properties = '{"SqsParameters":{"MessageGroupId":"$.source"}}'
    assert [details.get("target_properties") for details in of_queue] == [properties, properties, None, properties]
    made = [record["details"] for record in full if record["details"].get("target_arn") == FUNCTION]
    assert [json.loads(details.get("target_input", "0")) for details in made] == [
        0,
        {"made": json.loads(body)},
        0,
        {"made": json.loads(body)},
    ], "what a transformer makes is known with the attempt"


async def test_a_record_lies_in_the_stream_that_aws_has_with_its_own_time_and_its_events_id(hub: Hub) -> None:
    await log(hub, "INFO")
    await hub.accept("e1")
    (success, nothing) = hub.messages(GROUP + "default")
    assert (success.stream, success.timestamp_ms, success.event_id) == ("EventBridgeEventBusLogs", hub.world.ms, "e1")
    assert nothing.stream == "EventBridgeEventBusLogs"


async def test_a_retry_is_told_attempt_by_attempt(hub: Hub, sink: ScriptedSink) -> None:
    sink.script = [BUSY, Retryable("ERROR_FROM_TARGET", "bad")]
    await log(hub)
    await hub.rule()
    await hub.accept("e1")
    await again(hub, sink, 2)
    found = records(hub)[len(MATCHED) :]
    assert types(found) == [
        ATTEMPT + "START",
        ATTEMPT + "RETRYABLE_FAILURE",
        ATTEMPT + "START",
        ATTEMPT + "RETRYABLE_FAILURE",
        ATTEMPT + "START",
        ATTEMPT + "SUCCESS",
        "INVOCATION_SUCCESS",
    ]
    outcomes = [record["details"] for record in found if "attempt_type" in record["details"]]
    shown = [(d["attempt_type"], d["attempt_count"], d["invocation_status"]) for d in outcomes]
    assert shown == [("FIRST", 1, "TIMEOUT"), ("RETRY", 2, "ERROR_FROM_TARGET"), ("RETRY", 3, "SUCCESS")]
    assert [record["error"] for record in found if "error" in record] == [
        {"error_message": "no answer", "aws_service": "lambda"},
        {"error_message": "bad", "aws_service": "lambda"},
    ]
    final = found[-1]["details"]
    assert (final["total_attempts"], final["ingestion_to_success_latency_ms"]) == (3, 120_000)
    assert "ingestion_to_start_latency_ms" not in final
    assert "ingestion_to_complete_latency_ms" not in final
    assert len({record["invocation_id"] for record in found}) == 1


async def test_a_target_that_turns_calls_away_is_a_throttle_that_starts_once(hub: Hub, sink: ScriptedSink) -> None:
    busy = Retryable("THROTTLING", "slow down")
    sink.script = [busy, busy, BUSY]
    await log(hub, "ERROR")
    await hub.rule()
    await hub.accept("e1")
    await again(hub, sink, 3)
    found = records(hub)
    assert types(found) == [
        ATTEMPT + "THROTTLE",
        "INVOCATION_THROTTLE_START",
        ATTEMPT + "THROTTLE",
        ATTEMPT + "RETRYABLE_FAILURE",
    ]
    assert [record["details"].get("attempt_type") for record in found] == ["FIRST", None, "THROTTLE", "THROTTLE"]
    assert found[1]["details"]["attempt_count"] == 1


async def test_retries_that_run_out_are_a_failure_with_the_last_reason(hub: Hub, sink: ScriptedSink) -> None:
    sink.script = [BUSY]
    await log(hub, "ERROR")
    await hub.rule("orders", ORDERS, target(attempts_max=0))
    assert await settled(hub) == [ATTEMPT + "RETRYABLE_FAILURE", "INVOCATION_FAILURE"]
    details = records(hub)[1]["details"]
    assert (details["total_attempts"], details["final_invocation_status"]) == (1, "TIMEOUT")


async def test_a_dead_letter_that_its_queue_takes_is_told_in_place_of_the_failure(hub: Hub, sink: ScriptedSink) -> None:
    sink.script = [Rejected("NO_PERMISSIONS", "no")]
    await hub.queue(LETTERS)
    await log(hub, "ERROR")
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    assert await settled(hub) == [ATTEMPT + "PERMANENT_FAILURE", "INVOCATION_DLQ"]
    letter = records(hub)[1]
    assert letter["details"]["final_invocation_status"] == "NO_PERMISSIONS"
    assert letter["error"] == {"error_message": "no", "aws_service": "lambda"}
    assert len(hub.messages(LETTERS)) == 1


async def test_a_dead_letter_that_its_queue_refuses_is_a_failure(hub: Hub, sink: ScriptedSink) -> None:
    sink.script = [Rejected("NO_PERMISSIONS", "no")]
    await log(hub, "ERROR")
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    assert await settled(hub) == [ATTEMPT + "PERMANENT_FAILURE", "INVOCATION_FAILURE"]


async def test_a_dead_letter_on_its_way_to_a_real_queue_is_told_once(store: MemoryStore, sink: ScriptedSink) -> None:
    sink.script = [Rejected("NO_PERMISSIONS", "no")]
    letters = ScriptedSink()
    letters.script = [BUSY]
    async with running(store, sink, letters_sink=letters) as hub:
        await log(hub)
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        await hub.accept("e1")
        await until(lambda: hub.lanes.parked == 1)
        hub.advance(60)
        await until(hub.settled)
        assert types(records(hub))[len(MATCHED) :] == [
            ATTEMPT + "START",
            ATTEMPT + "PERMANENT_FAILURE",
            "INVOCATION_DLQ",
        ]


async def test_a_target_that_was_removed_fails_without_an_attempt(hub: Hub, sink: ScriptedSink) -> None:
    sink.script = [BUSY]
    await log(hub)
    await hub.rule()
    await hub.accept("e1")
    await until(lambda: hub.lanes.parked == 1)
    await hub.catalog.remove_targets(HERE, "default", "orders", ["t"])
    hub.advance(60)
    await until(hub.settled)
    found = records(hub)[-2:]
    assert types(found) == [ATTEMPT + "PERMANENT_FAILURE", "INVOCATION_FAILURE"]
    assert [record["error"]["aws_service"] for record in found] == ["events", "events"]
    assert "target_arn" not in found[1]["details"]


async def test_an_input_that_cannot_be_made_fails_without_a_call(hub: Hub) -> None:
    await log(hub, "TRACE", detail="FULL")
    await hub.rule("orders", ORDERS, target(template="not JSON: <"))
    await hub.accept("e1")
    await until(hub.settled)
    found = records(hub)[len(MATCHED) :]
    assert types(found) == [ATTEMPT + "PERMANENT_FAILURE", "INVOCATION_FAILURE"]
    assert found[0]["error"]["aws_service"] == "events"
    assert "target_input" not in found[1]["details"]


async def test_a_delivery_given_up_for_its_age_untried_has_its_end_alone(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    sink.always = BUSY
    async with running(store, sink, paces=PaceSettings(Probing(1, 10.0), [])) as hub:
        await log(hub, "ERROR")
        await hub.rule("orders", ORDERS, target(age_s_max=60))
        await hub.accept("e1")
        await until(lambda: hub.lanes.parked == 1)
        await hub.accept("e2")
        hub.advance(600)
        await until(hub.settled)
        ends = [record for record in records(hub) if record["message_type"] == "INVOCATION_FAILURE"]
        assert {record["event_id"]: record["details"]["total_attempts"] for record in ends} == {"e1": 1, "e2": 0}
        assert [record["event_id"] for record in records(hub) if record not in ends] == ["e1"]


async def test_a_redriven_delivery_begins_with_a_first_attempt_again(hub: Hub, sink: ScriptedSink) -> None:
    sink.script = [Rejected("NO_PERMISSIONS", "no")]
    await log(hub)
    await hub.rule()
    before = len(await settled(hub))
    await hub.redrive(hub.numbers()[0])
    await until(hub.settled)
    found = records(hub)[before:]
    assert types(found) == [ATTEMPT + "START", ATTEMPT + "SUCCESS", "INVOCATION_SUCCESS"]
    assert found[1]["details"]["attempt_type"] == "FIRST"


async def test_each_bus_of_a_hop_tells_its_own_part(hub: Hub) -> None:
    await hub.catalog.create_bus(HERE, "second", attributes={"LogConfig": {"Level": "TRACE"}})
    await log(hub)
    there = "arn:aws:events:us-east-1:111111111111:event-bus/second"
    await hub.rule("orders", ORDERS, target("hop", there, role_arn=ROLE))
    await hub.rule("orders", ORDERS, target("end"), bus="second")
    delivered = [ATTEMPT + "START", ATTEMPT + "SUCCESS", "INVOCATION_SUCCESS"]
    assert await settled(hub) == [*MATCHED, *delivered]
    assert types(records(hub, "second")) == [*MATCHED, *delivered]
    assert {record["event_bus_name"] for record in records(hub, "second")} == {"second"}
    assert records(hub, "second")[0]["details"]["caller_account_id"] == HERE.account


async def test_a_hop_is_in_the_log_of_the_bus_that_has_one(hub: Hub) -> None:
    await hub.catalog.create_bus(FAR, "far", attributes={"LogConfig": {"Level": "INFO"}})
    there = "arn:aws:events:eu-west-1:111111111111:event-bus/far"
    await hub.rule("orders", ORDERS, target("hop", there, role_arn=ROLE))
    assert await settled(hub) == []
    group = GROUP.replace("us-east-1", "eu-west-1")
    assert types(records(hub, "far", group=group)) == ["EVENT_INGEST_SUCCESS", "NO_STANDARD_RULES_MATCHED"]


async def test_the_caller_of_a_hop_is_the_account_of_the_rule_that_sent_it(hub: Hub) -> None:
    await log(hub, "INFO")
    rule = "arn:aws:events:us-east-1:222222222222:rule/r"
    await hub.pipeline.accept([_from_rule(rule)])
    assert records(hub)[0]["details"]["caller_account_id"] == "222222222222"


def _from_rule(arn: str) -> Incoming:
    return msgspec.structs.replace(incoming(), via=LaneName(arn, "t"))


async def test_an_event_that_matches_nothing_is_told_and_stored_nowhere_else(hub: Hub, store: MemoryStore) -> None:
    await log(hub)
    await hub.rule()
    assert await hub.accept("e1", source="other") == [Taken("e1")]
    assert types(records(hub)) == [*RECEIVED, "NO_STANDARD_RULES_MATCHED"]
    assert store.rows(Table.EVENTS, Table.DELIVERIES, Table.TRACE) == 0


async def test_a_rule_without_targets_is_matched_and_nothing_is_invoked(hub: Hub) -> None:
    await log(hub, "INFO")
    await hub.catalog.put_rule(HERE, "default", "idle", created_by=HERE.account, event_pattern=ORDERS)
    await hub.accept("e1")
    assert types(records(hub)) == ["EVENT_INGEST_SUCCESS", "RULE_MATCH"]
    assert records(hub)[1]["details"]["invocation_ids"] == []


async def test_an_aws_services_event_is_told_only_where_it_matches(hub: Hub) -> None:
    await log(hub)
    await hub.rule("objects", '{"source":["aws.s3"]}')
    await hub.accept("e1", source="aws.ec2")
    assert records(hub) == []
    await hub.accept("e2", source="aws.s3")
    await until(hub.settled)
    assert {record["event_id"] for record in records(hub)} == {"e2"}
    await hub.accept("e3", source="aws.s3", detail="[]")
    assert {record["event_id"] for record in records(hub)} == {"e2"}


async def test_managed_rules_are_not_told_of_nor_events_that_match_only_them(hub: Hub) -> None:
    await log(hub)
    await hub.rule("managed", '{"source":[{"prefix":""}]}')
    (rule,) = hub.catalog.rules(HERE, "default").values()
    await hub.catalog._replace_rule(hub.catalog._entry(HERE, "default"), rule, managed_by="events")
    await hub.accept("e1")
    await until(hub.settled)
    assert records(hub) == []
    await hub.rule()
    await hub.accept("e2")
    await until(hub.settled)
    assert types(records(hub)) == [*MATCHED, ATTEMPT + "START", ATTEMPT + "SUCCESS", "INVOCATION_SUCCESS"]
    assert "rule/managed" not in json.dumps(records(hub))


async def test_what_only_an_archive_takes_is_told_when_it_is_replayed(hub: Hub) -> None:
    await log(hub, "INFO")
    await hub.archive()
    await hub.accept("e1")
    await hub.accept("e2", source="aws.ec2")
    assert records(hub) == []
    replayed = incoming("e3", source="aws.ec2")
    item = msgspec.structs.replace(replayed, event=msgspec.structs.replace(replayed.event, replay_name="again"))
    await hub.pipeline.accept([item, incoming("e4", source="aws.partner/shop/x")])
    assert [(record["event_id"], record["message_type"]) for record in records(hub)] == [
        ("e3", "EVENT_INGEST_SUCCESS"),
        ("e3", "NO_STANDARD_RULES_MATCHED"),
    ]


async def test_a_partners_event_that_matches_nothing_is_told(hub: Hub) -> None:
    await log(hub, "INFO")
    await hub.accept("e1", source="aws.partner/shop/x")
    assert types(records(hub)) == ["EVENT_INGEST_SUCCESS", "NO_STANDARD_RULES_MATCHED"]


async def test_an_event_that_its_bus_refuses_is_told_with_the_reason(hub: Hub, store: MemoryStore) -> None:
    await log(hub)
    assert await hub.accept("bad", detail="[]") == [MALFORMED_DETAIL]
    found = records(hub)
    assert types(found) == ["EVENT_RECEIPT", "EVENT_INGEST_FAILURE"]
    assert found[1]["error"] == {"error_message": "MalformedDetail: Detail is malformed.", "aws_service": "events"}
    assert "error" not in found[0]
    await log(hub, "ERROR")
    await hub.accept("worse", detail="[]")
    assert types(records(hub)[2:]) == ["EVENT_INGEST_FAILURE"]


async def test_events_for_other_buses_are_in_no_log(hub: Hub) -> None:
    await log(hub)
    await hub.pipeline.accept([incoming(bus="no"), incoming(at=FAR)])
    assert records(hub) == []


async def test_a_text_that_is_no_time_is_left_out(hub: Hub) -> None:
    await log(hub, "INFO")
    item = incoming()
    odd = msgspec.structs.replace(item, event=msgspec.structs.replace(item.event, time="at noon"))
    await hub.pipeline.accept([odd])
    assert records(hub)[0]["details"]["source_time_ms"] is None


# what is lost of it, and what is not


async def test_a_log_whose_inbox_is_full_loses_records_and_no_event(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    await log(hub, "INFO")
    await hub.rule()
    monkeypatch.setattr(hub.inboxes, "_messages_max", 3)
    assert await hub.accept("e1") == [Taken("e1")]
    await until(hub.settled)
    assert types(records(hub)) == ["EVENT_INGEST_SUCCESS", "RULE_MATCH", "INVOCATION_START"]
    assert (hub.metrics.bus(HERE, "default").log_records, lost(hub)) == (3, 1)
    assert hub.counters.delivered == 1


async def test_a_store_without_room_for_records_loses_them_and_no_event(hub: Hub, store: MemoryStore) -> None:
    await log(hub, "INFO")
    await hub.rule()
    store.leaves_out = True
    assert await hub.accept("e1") == [Taken("e1")]
    await until(hub.settled)
    assert (records(hub), lost(hub)) == ([], 4)
    store.leaves_out = False
    assert len(await settled(hub, "e2")) == 4
    assert lost(hub) == 4


async def test_a_store_that_fails_costs_an_event_that_matches_nothing_its_record_alone(
    hub: Hub, store: MemoryStore
) -> None:
    await log(hub, "INFO")
    store.refuses = lambda batch: StoreError("broken")
    assert await hub.accept("e1") == [Taken("e1")]
    assert (records(hub), lost(hub)) == ([], 2)
    assert hub.metrics.bus(HERE, "default").unmatched == 1


async def test_an_event_that_could_not_be_stored_is_in_no_log_and_no_record_counts_as_lost(
    hub: Hub, store: MemoryStore
) -> None:
    await log(hub, "INFO")
    await hub.rule()
    store.refuses = lambda batch: StoreError("broken")
    assert await hub.accept("e1") == [STORE_FAILED]
    assert (records(hub), lost(hub)) == ([], 0)


async def test_an_outcome_that_is_written_at_the_second_try_is_told_once(
    hub: Hub, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(hub, "INFO")
    await hub.rule()
    failures = [StoreError("broken")]
    store.refuses = lambda batch: failures.pop() if batch.essential and failures else None
    with quick_pauses(monkeypatch):
        found = await settled(hub)
    assert Counter(found)["INVOCATION_SUCCESS"] == 1
    assert lost(hub) == 0


async def test_a_location_whose_log_groups_went_to_an_endpoint_loses_records_and_no_event(hub: Hub) -> None:
    await log(hub, "INFO")
    await hub.rule()
    hub.logs_leave = True
    assert await settled(hub) == []
    assert lost(hub) == 4


async def test_a_record_that_is_too_large_says_what_it_had_no_room_for(hub: Hub) -> None:
    await log(hub, "INFO", detail="FULL")
    big = json.dumps({"text": '"' * (limits.LOG_EVENT_BYTES_MAX // 3)})
    await hub.accept("e1", detail=big)
    (success, _) = records(hub)
    assert success["dropped_fields"] == ["event_detail"]
    assert lost(hub) == 0


# crashes


@pytest.mark.parametrize("seed", range(12))
async def test_records_and_what_they_tell_of_agree_after_every_kill(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is on disk when the process dies: an accepted event has its records, a delivery that has a final record
    is gone from the journal, and each has one."""
    dice = random.Random(seed)
    store, world = MemoryStore(), HandWorld()
    number = 0
    with quick_pauses(monkeypatch):
        for _ in range(6):
            sink = ScriptedSink(batch_max=dice.choice([1, 3]))
            sink.always = lambda attempt: _outcome(dice)
            async with running(store, sink, world=world) as hub:
                hub.inboxes._messages_max = 100_000
                if not hub.catalog.logs:
                    await log(hub)
                    await hub.queue(QUEUE)
                    await hub.rule("orders", ORDERS, target("work", attempts_max=2), target("queue", QUEUE))
                kill_after = len(store.commits) + dice.randint(1, 12)
                while len(store.commits) < kill_after:
                    number += 1
                    await hub.accept(f"e{number}")
                    hub.advance(dice.choice([0, 1, 30]))
                after = store.crashed()
            store = after
            _check(store)
        sink = ScriptedSink()
        async with running(store, sink, world=world) as hub:
            while not hub.settled():
                hub.advance(60)
                await until(hub.idle)
            _check(store)
            ends = Counter((r["event_id"], r["invocation_id"]) for r in records(hub) if _is_end(r))
            starts = {(r["event_id"], r["invocation_id"]) for r in records(hub) if r["message_type"] == MATCHED[-1]}
            assert set(ends) == starts
            assert set(ends.values()) == {1}
            assert lost(hub) == 0


def _outcome(dice: random.Random) -> Outcome:
    throw = dice.random()
    return Delivered() if throw < 0.5 else BUSY if throw < 0.8 else Rejected("NO_PERMISSIONS", "no")


def _is_end(record: Record) -> bool:
    return record["message_type"] in ("INVOCATION_SUCCESS", "INVOCATION_FAILURE")


def _check(store: MemoryStore) -> None:
    """Of what is durable: as many invocations are started and not ended as there are deliveries."""
    logs = {key for key, row in store.tables[Table.INBOXES].items() if decode_record(row).kind == "logs"}
    found = [
        json.loads(decode_message(row).body) for key, row in store.tables[Table.MESSAGES].items() if key[:4] in logs
    ]
    started = sum(record["message_type"] == "INVOCATION_START" for record in found)
    assert started - sum(map(_is_end, found)) == len(store.tables[Table.DELIVERIES])


async def test_a_batch_of_many_buses_puts_each_record_into_its_own_log(hub: Hub) -> None:
    for name in ("a", "b"):
        await hub.catalog.create_bus(HERE, name, attributes={"LogConfig": {"Level": "INFO"}})
    await hub.pipeline.accept([incoming(f"e{number}", bus=bus) for number, bus in enumerate("abab")])
    for name, ids in (("a", ["e0", "e2"]), ("b", ["e1", "e3"])):
        found = records(hub, name)
        assert types(found) == ["EVENT_INGEST_SUCCESS", "NO_STANDARD_RULES_MATCHED"] * 2
        assert [record["event_id"] for record in found][::2] == ids
