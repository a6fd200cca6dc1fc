"""A queue's message is taken whole or refused whole: what is refused leaves nothing that a redelivery would double."""

import msgspec
import pytest

from router.core.cloudtrail import Trail
from router.core.policy import Decision
from router.planning import Settings
from router.sources.intake import Intake
from router.sources.outcome import Refused, Taken
from router.store.base import StoreError
from tests.pipeline.hub import HERE, Hub, ScriptedSink, running, until
from tests.pipeline.memory_store import MemoryStore

GOOD = b'{"Source":"orders","DetailType":"type","Detail":"{}"}'
NOWHERE = b'{"Source":"orders","DetailType":"type","Detail":"{}","EventBusName":"nowhere"}'
MALFORMED = b'{"Source":"orders","DetailType":"type","Detail":"["}'
OF_AWS = b'{"Source":"aws.s3","DetailType":"type","Detail":"{}"}'


def intake_of(hub: Hub, *trails: Trail) -> Intake:
    return Intake(
        pipeline=hub.pipeline,
        find_bus=hub.catalog.bus,
        authorize=lambda sender, bus, source, detail_type: Decision.ALLOW,
        trails=lambda location: trails,
        world=hub.world,
        metrics=hub.metrics,
        put_events_bytes_max=1 << 20,
    )


@pytest.mark.parametrize("bad", [NOWHERE, MALFORMED, OF_AWS, b"7"])
async def test_one_entry_that_cannot_be_taken_keeps_the_whole_message_out(bad: bytes) -> None:
    sink = ScriptedSink()
    async with running(MemoryStore(), sink, settings=Settings(refuse_unknown_bus=True, read_only_by_flag=False)) as hub:
        await hub.rule()
        outcomes = await intake_of(hub).put_messages(
            HERE, "default", trusted=False, messages=[[(GOOD, "a-0"), (bad, "a-1")], [(GOOD, "b-0"), (GOOD, "b-1")]]
        )
        assert [type(outcome) for outcome in outcomes] == [Refused, Taken]
        await until(hub.settled)
    assert sink.ids == ["b-0", "b-1"]


@pytest.mark.parametrize("bad", [NOWHERE, MALFORMED, MALFORMED[:-1] + b',"EventBusName":"nowhere"}', OF_AWS, b"7"])
async def test_event_that_cannot_be_taken_is_refused_where_it_is_alone_too(bad: bytes) -> None:
    sink = ScriptedSink()
    async with running(MemoryStore(), sink, settings=Settings(refuse_unknown_bus=True, read_only_by_flag=False)) as hub:
        await hub.rule()
        outcomes = await intake_of(hub).put_messages(
            HERE, "default", trusted=False, messages=[[(bad, "a")], [(GOOD, "b")], [(bad, "c")]]
        )
        assert [type(outcome) for outcome in outcomes] == [Refused, Taken, Refused]
        await until(hub.settled)
    assert sink.ids == ["b"]


async def test_malformed_event_of_an_unknown_bus_is_refused_before_it_is_dropped() -> None:
    bad = MALFORMED[:-1] + b',"EventBusName":"nowhere"}'
    async with running(MemoryStore(), ScriptedSink()) as hub:
        [outcome] = await intake_of(hub).put_messages(HERE, "default", trusted=False, messages=[[(bad, "a")]])
        assert isinstance(outcome, Refused)
        assert outcome.code == "MalformedDetail"


async def test_where_unknown_buses_are_dropped_the_message_is_taken() -> None:
    sink = ScriptedSink()
    async with running(MemoryStore(), sink) as hub:
        await hub.rule()
        messages = [[(GOOD, "a-0"), (NOWHERE, "a-1")]]
        [outcome] = await intake_of(hub).put_messages(HERE, "default", trusted=False, messages=messages)
        assert isinstance(outcome, Taken)
        await until(hub.settled)
    assert sink.ids == ["a-0"]


async def test_a_store_that_fails_refuses_every_message() -> None:
    store = MemoryStore()
    sink = ScriptedSink()
    async with running(store, sink) as hub:
        await hub.rule()
        store.refuses = lambda batch: StoreError("broken")
        messages = [[(GOOD, "a")], [(GOOD, "b")]]
        outcomes = await intake_of(hub).put_messages(HERE, "default", trusted=False, messages=messages)
        assert [type(outcome) for outcome in outcomes] == [Refused, Refused]
        assert hub.settled()
    assert sink.sent == []


ENVELOPE = b'{"id":"e","source":"orders","detail-type":"type","detail":{}}'
RAW_RECORD = b'{"eventSource":"s3.amazonaws.com","eventName":"ListBuckets","text":"\\ud8"}'
BAD_ENVELOPE = b'{"id":"f","source":"orders","detail-type":"type","detail":[]}'


@pytest.mark.parametrize("bad", [RAW_RECORD, BAD_ENVELOPE])
async def test_one_trusted_event_that_cannot_be_taken_keeps_the_whole_message_out(bad: bytes) -> None:
    sink = ScriptedSink()
    async with running(MemoryStore(), sink) as hub:
        await hub.rule()
        messages = [[(ENVELOPE, "a-0"), (bad, "a-1")]]
        [outcome] = await intake_of(hub).put_messages(HERE, "default", trusted=True, messages=messages)
        assert isinstance(outcome, Refused)
        assert hub.settled()
    assert sink.sent == []


RESOURCES = [{"accountId": "111111111111", "type": "AWS::S3::Object", "ARN": "arn:aws:s3:::orders/1"}]


async def test_a_cloudtrail_record_that_names_its_resources_is_taken() -> None:
    sink = ScriptedSink()
    record = {"eventSource": "s3.amazonaws.com", "eventName": "PutObject", "resources": RESOURCES}
    async with running(MemoryStore(), sink) as hub:
        await hub.rule(pattern='{"detail":{"resources":{"type":["AWS::S3::Object"]}}}')
        intake = intake_of(hub, Trail())
        [outcome] = await intake.put_service_events(HERE, [msgspec.json.encode(record)])
        assert isinstance(outcome, Taken)
        await until(hub.settled)
    [sent] = sink.sent
    assert sent.accepted.event.resources == ()
    assert msgspec.json.decode(sent.accepted.event.detail) == record


async def test_an_envelope_whose_resources_are_no_texts_is_refused() -> None:
    event = {"source": "aws.s3", "detail-type": "type", "detail": {}, "resources": RESOURCES}
    async with running(MemoryStore(), ScriptedSink()) as hub:
        [outcome] = await intake_of(hub).put_service_events(HERE, [msgspec.json.encode(event)])
    reason = "Expected `str`, got `object` - at `$[0]`"
    assert outcome == Refused("InvalidArgument", f"Parameter resources is not valid. Reason: {reason}.")
