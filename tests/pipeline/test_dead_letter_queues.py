"""Dead-letter queues: in any account of the region, with a message that a queue can take; and what becomes of a dead
letter whose queue does not take it, which AWS would lose."""

from collections.abc import Sequence

import msgspec
import pytest
from aiohttp import web

from router import limits
from router.catalog.model import DeadLetterConfig, Target
from router.metrics import LetterCounters
from router.sinks.base import Accepted, Attempt, Outcome, Rejected, Retryable
from router.sinks.sqs import SqsSink
from router.store.base import Batch, StoreError
from tests.pipeline.hub import (
    FUNCTION,
    LETTERS,
    ORDERS,
    REAL_LETTERS,
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
from tests.sinks.fakes import Answer, always, endpoints_at, serving

BUSY = Retryable("ERROR_FROM_TARGET", "busy")
GONE = Rejected("NO_PERMISSIONS", "no")
LARGE = '{"a":"' + "x" * (limits.MESSAGE_BYTES_MAX - 100) + '"}'


async def test_a_queue_of_another_account_gets_the_dead_letter(store: MemoryStore, sink: ScriptedSink) -> None:
    async with running(store, sink) as hub:
        await hub.queue(REAL_LETTERS)
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        sink.script = [GONE]
        await hub.accept("e1")
        await until(hub.settled)
        [message] = hub.messages(REAL_LETTERS)
        assert message.attributes is not None
        assert message.attributes["RULE_ARN"] == ("String", RULE_ARN.encode())
        assert (hub.counters.dead_letters_to_queue, hub.counters.dead_letters_queue_failed) == (1, 0)


async def test_the_trace_header_rides_along_and_the_body_is_what_was_attempted(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(letters=LETTERS, template='{"made":<aws.events.rule-name>}'))
    sink.script = [GONE]
    await hub.pipeline.accept([msgspec.structs.replace(incoming("e1"), trace_header="Root=1-2-3")])
    await until(hub.settled)
    [message] = hub.messages(LETTERS)
    assert message.trace_header == "Root=1-2-3"
    assert message.body == sink.sent[0].payload


async def test_input_that_cannot_be_made_goes_to_the_queue_as_the_event(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(letters=LETTERS, input_path="$.detail.absent"))
    await hub.accept("e1")
    await until(hub.settled)
    [message] = hub.messages(LETTERS)
    assert message.attributes is not None
    assert message.attributes["ERROR_CODE"] == ("String", b"INVALID_JSON")
    assert "RETRY_ATTEMPTS" not in message.attributes
    assert b'"id":"e1"' in message.body
    assert sink.sent == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", b"ERROR_FROM_TARGET"),
        ("a\x00b\x1b[31m\ufffe", b"a b [31m "),
        ("x" * 5000, b"x" * 499 + "…".encode()),
        ("straße\ttab", "straße tab".encode()),
    ],
)
async def test_error_message_is_one_that_a_queue_takes(hub: Hub, sink: ScriptedSink, said: str, told: bytes) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(letters=LETTERS))
    sink.script = [Rejected("ERROR_FROM_TARGET", said)]
    await hub.accept("e1")
    await until(hub.settled)
    [message] = hub.messages(LETTERS)
    assert message.attributes is not None
    assert message.attributes["ERROR_MESSAGE"] == ("String", told)


async def given_up(hub: Hub, given: Target, *, attempts: int) -> None:
    batch = Batch(essential=True)
    event = incoming("e1").event
    hub.dead_letters.give_up(
        batch,
        accepted=Accepted(event, incoming("e1").location, "default", incoming("e1").hops, hub.world.ms),
        payload=b"{}",
        rule_arn=RULE_ARN,
        target_id="t",
        target=given,
        failure=BUSY,
        attempts=attempts,
        condition="MaximumEventAgeInSeconds",
        counters=LetterCounters(hub.counters, hub.metrics.rule(RULE_ARN)),
        lanes=hub.lanes,
    )
    await hub.store.commit(batch)


@pytest.mark.parametrize(("attempts", "retries"), [(0, b"0"), (1, b"0"), (2, b"1"), (186, b"185")])
async def test_retry_attempts_are_the_attempts_after_the_first_and_never_fewer_than_none(
    hub: Hub, attempts: int, retries: bytes
) -> None:
    await hub.queue(LETTERS)
    await given_up(hub, target(letters=LETTERS), attempts=attempts)
    [message] = hub.messages(LETTERS)
    assert message.attributes is not None
    assert message.attributes["RETRY_ATTEMPTS"] == ("String", retries)


@pytest.mark.parametrize("arn", [None, ""])
async def test_a_configuration_without_a_queue_is_none(hub: Hub, arn: str | None) -> None:
    await given_up(hub, Target(id="t", arn=FUNCTION, dead_letter_config=DeadLetterConfig(arn)), attempts=1)
    [letter] = hub.letters()
    assert letter.queue_failure is None
    assert hub.counters.dead_letters_queue_failed == 0


# a queue that does not take it


async def deleted(hub: Hub) -> None:
    await hub.queue(LETTERS)
    await hub.inboxes.delete(LETTERS)


async def full(hub: Hub) -> None:
    await hub.queue(LETTERS)
    hub.inboxes._messages_max = 0


async def too_small(hub: Hub) -> None:
    await hub.inboxes.create(LETTERS, "sqs", {"MaximumMessageSize": "1024"}, {})


async def missing(hub: Hub) -> None:
    assert hub.inboxes.find(LETTERS) is None


@pytest.mark.parametrize(
    ("make", "detail", "reason"),
    [
        (missing, "{}", "NO_RESOURCE: The specified queue does not exist or you do not have access to it."),
        (deleted, "{}", "NO_RESOURCE: The specified queue does not exist or you do not have access to it."),
        (full, "{}", "RESOURCE_LIMIT_EXCEEDED: "),
        (too_small, '{"a":"' + "x" * 1000 + '"}', "INVALID_PARAMETER: One or more parameters are invalid."),
    ],
)
async def test_a_dead_letter_that_its_inbox_does_not_take_is_kept_counted_and_can_be_redriven(
    hub: Hub, sink: ScriptedSink, make: object, detail: str, reason: str
) -> None:
    assert callable(make)
    await make(hub)
    await hub.rule("orders", ORDERS, target(letters=LETTERS, attempts_max=0))
    sink.script = [BUSY]
    await hub.accept("e1", detail=detail)
    await until(hub.settled)
    [letter] = hub.letters()
    assert (letter.code, letter.message, letter.condition) == ("ERROR_FROM_TARGET", "busy", "MaximumRetryAttempts")
    assert letter.queue_failure is not None
    assert letter.queue_failure.startswith(reason)
    assert letter.accepted.event.detail == detail
    counters = hub.counters
    assert (counters.dead_letters, counters.dead_letters_to_queue, counters.dead_letters_queue_failed) == (1, 0, 1)
    await hub.redrive(hub.numbers()[0])
    hub.advance(1)
    await until(hub.settled)
    assert sink.ids == ["e1", "e1"]
    assert hub.dead_letters.count == 0


async def test_a_message_that_its_attributes_make_too_large_is_kept(hub: Hub, sink: ScriptedSink) -> None:
    await hub.queue(LETTERS)
    await hub.rule("orders", ORDERS, target(letters=LETTERS, input_path="$.detail"))
    sink.always = GONE
    await hub.accept("fits", detail=LARGE[:-200] + '"}')
    await hub.accept("does-not", detail=LARGE)
    await until(hub.settled)
    assert len(hub.messages(LETTERS)) == 1
    [letter] = hub.letters()
    assert letter.accepted.event.id == "does-not"
    assert letter.queue_failure is not None
    assert "shorter than 1048576 bytes" in letter.queue_failure


def attributes(attempt: Attempt) -> dict[str, str]:
    assert attempt.attributes is not None
    return attempt.attributes


@pytest.mark.parametrize(
    "refusal",
    [
        Rejected("NO_PERMISSIONS", "sqs at host: AccessDenied: no"),
        Rejected("NO_RESOURCE", "sqs at host: QueueDoesNotExist: no"),
        Rejected("INVALID_PARAMETER", "the message has 1048577 bytes, SQS takes 1048576"),
        Rejected("ERROR_FROM_TARGET", "sqs at host: UnsupportedOperation: no"),
    ],
)
async def test_a_dead_letter_that_a_real_queue_refuses_is_kept_with_both_reasons_also_after_a_crash(
    store: MemoryStore, sink: ScriptedSink, refusal: Rejected
) -> None:
    queue = ScriptedSink()
    queue.script = [refusal]
    async with running(store, sink, letters_sink=queue) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS, attempts_max=0))
        sink.script = [BUSY]
        await hub.accept("e1")
        await until(hub.settled)
    assert attributes(queue.sent[0])["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    async with running(store.crashed(), sink, letters_sink=queue) as hub:
        [letter] = hub.letters()
        assert (letter.code, letter.message, letter.condition) == ("ERROR_FROM_TARGET", "busy", "MaximumRetryAttempts")
        assert letter.queue_failure == f"{refusal.code}: {refusal.message}"


async def test_a_dead_letter_that_a_real_queue_does_not_take_for_a_day_is_kept(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    queue = ScriptedSink()
    queue.always = Retryable("THROTTLING", "slow down")
    world = HandWorld()
    async with running(store, sink, world=world, letters_sink=queue) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS, attempts_max=0))
        sink.script = [BUSY]
        await hub.accept("e1")
        await until(lambda: len(queue.sent) == 1 and hub.lanes.parked == 1 and hub.idle())
        hub.advance(80_000)
        await until(lambda: len(queue.sent) == 2 and hub.lanes.parked == 1 and hub.idle())
        assert hub.letters() == []
    async with running(store.crashed(), sink, world=world, letters_sink=queue) as hub:
        hub.advance(10_000)
        await until(hub.settled)
        [letter] = hub.letters()
        assert letter.queue_failure == "THROTTLING: slow down"
    assert len(queue.sent) == 3


async def test_a_store_that_fails_while_a_real_queues_refusal_is_written_loses_nothing(
    store: MemoryStore, sink: ScriptedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = ScriptedSink()
    queue.always = GONE
    failures = [StoreError("broken")] * 3

    def refuses(batch: Batch) -> StoreError | None:
        return failures.pop() if queue.sent and batch.essential and failures else None

    store.refuses = refuses
    async with running(store, sink, letters_sink=queue) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        sink.script = [GONE]
        with quick_pauses(monkeypatch):
            await hub.accept("e1")
            await until(hub.settled)
        assert failures == []
        assert (hub.dead_letters.count, len(hub.letters()), len(queue.sent)) == (1, 1, 1)


# the real queue, spoken to by the real sink


async def through_sqs(
    store: MemoryStore, answer: Answer, *, detail: str = "{}"
) -> tuple[list[str | None], list[bytes]]:
    """Why the dead letters that are kept were not taken, and what the endpoint got."""
    sink = ScriptedSink()
    sink.script = [GONE]
    async with (
        serving(answer) as server,
        endpoints_at(server.url, "sqs") as endpoints,
        running(store, sink, letters_sink=SqsSink(endpoints)) as hub,
    ):
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS, input_path="$.detail"))
        await hub.accept("e1", detail=detail)
        await until(hub.settled)
        return [letter.queue_failure for letter in hub.letters()], server.bodies


async def test_a_real_queue_gets_the_dead_letter_in_one_message(store: MemoryStore) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"Successful": [{"Id": entry["Id"]} for entry in (await request.json())["Entries"]]})

    kept, [body] = await through_sqs(store, answer)
    assert kept == []
    [entry] = msgspec.json.decode(body)["Entries"]
    assert entry["MessageBody"] == "{}"
    assert {name: value["StringValue"] for name, value in entry["MessageAttributes"].items()} == {
        "RULE_ARN": RULE_ARN,
        "TARGET_ARN": FUNCTION,
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "no",
    }


def failed(code: str) -> bytes:
    return msgspec.json.encode({"Failed": [{"Id": "0", "Code": code, "Message": "no", "SenderFault": True}]})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (always(403, b'{"__type":"AccessDeniedException","message":"denied"}'), "NO_PERMISSIONS"),
        (always(400, b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}'), "NO_RESOURCE"),
        (always(400, b'{"__type":"com.amazonaws.sqs#KmsDisabled"}'), "NO_RESOURCE"),
        (always(200, failed("InvalidParameterValue")), "INVALID_PARAMETER"),
        (always(200, failed("AccessDenied")), "NO_PERMISSIONS"),
    ],
)
async def test_what_a_real_queue_refuses_is_kept_with_its_words(
    store: MemoryStore, answer: Answer, reason: str
) -> None:
    [kept], _ = await through_sqs(store, answer)
    assert kept is not None
    assert kept.startswith(f"{reason}: ")


async def test_a_dead_letter_too_large_for_a_real_queue_is_kept_without_being_sent(store: MemoryStore) -> None:
    [kept], bodies = await through_sqs(store, always(500), detail=LARGE)
    assert kept is not None
    assert kept.startswith("INVALID_PARAMETER: the message has ")
    assert kept.endswith("bytes, SQS takes 1048576")
    assert bodies == []


async def test_many_dead_letters_for_a_real_queue_have_each_its_own_outcome(
    store: MemoryStore, sink: ScriptedSink
) -> None:
    class Picky(ScriptedSink):
        async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
            await super().send(attempts)
            return [GONE if b'"e2"' in attempt.payload else self._outcome(attempt) for attempt in attempts]

    queue = Picky(batch_max=10)
    async with running(store, sink, letters_sink=queue) as hub:
        await hub.rule("orders", ORDERS, target(letters=REAL_LETTERS))
        sink.always = GONE
        await hub.accept("e1", "e2", "e3")
        await until(hub.settled)
        assert [letter.accepted.event.id for letter in hub.letters()] == ["e2"]
        assert sorted(queue.ids) == ["e1", "e2", "e3"]
