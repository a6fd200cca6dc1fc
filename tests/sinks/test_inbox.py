"""The sinks that deposit into inboxes: what arrives, with what it brings, and when."""

import msgspec
import pytest

from router.catalog.kinds import KINDS
from router.catalog.model import InputTransformer, Target
from router.catalog.target_parameters import KinesisParameters, SqsParameters
from router.config_profiles import Profile, ProfileLatency
from router.limits import MESSAGE_BYTES_MAX
from router.metrics import Metrics
from router.simulator.inboxes import Inboxes
from router.simulator.profiles import Profiles
from router.simulator.records import Message
from router.sinks.base import Delivered, Outcome, Rejected, Retryable
from router.sinks.inbox import inbox_sinks
from router.store.base import Batch
from tests.pipeline.hub import HandWorld
from tests.pipeline.memory_store import MemoryStore
from tests.sinks import suite
from tests.sinks.fakes import HERE, attempt

PREFIX = f"{HERE.region}:{HERE.account}"
ARNS = {
    "firehose": f"arn:aws:firehose:{PREFIX}:deliverystream/stream",
    "kinesis": f"arn:aws:kinesis:{PREFIX}:stream/stream",
    "lambda": f"arn:aws:lambda:{PREFIX}:function:work",
    "logs": f"arn:aws:logs:{PREFIX}:log-group:group",
    "sns": f"arn:aws:sns:{PREFIX}:topic",
    "sqs": f"arn:aws:sqs:{PREFIX}:queue",
    "states": f"arn:aws:states:{PREFIX}:stateMachine:machine",
}
FIFO = ARNS["sqs"] + ".fifo"


class Bench:
    """Inboxes with a queue and a FIFO queue, and their sinks."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.inboxes = Inboxes(self.store, HandWorld(), messages_max=100)
        self.inboxes.load()
        self.sinks = inbox_sinks(self.inboxes)

    async def create_queues(self) -> None:
        await self.inboxes.create(ARNS["sqs"], "sqs", {}, {})
        await self.inboxes.create(FIFO, "sqs", {"FifoQueue": "true", "ContentBasedDeduplication": "true"}, {})

    def messages(self, arn: str) -> list[Message]:
        return [row.message for row in self.inboxes.read(arn)] if self.inboxes.find(arn) else []

    async def settle(self, outcomes: list[Outcome]) -> None:
        batch = Batch()
        for outcome in outcomes:
            if isinstance(outcome, Delivered) and outcome.effects is not None:
                batch.extend(outcome.effects)
        await self.store.commit(batch)


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.create_queues()
    return made


@pytest.mark.parametrize("kind", ARNS)
@pytest.mark.parametrize("fact", suite.LOCAL_FACTS)
async def test_inbox_sink_keeps_the_suite(bench: Bench, fact: suite.LocalFact, kind: str) -> None:
    target = Target(id="t", arn=ARNS[kind])
    await fact(
        suite.LocalCase(
            sink=bench.sinks[kind],
            store=bench.store,
            attempt=lambda index: attempt(target, event_id=f"e{index}"),
            bad=attempt(target, b"x" * (MESSAGE_BYTES_MAX + 1)),
            arrived=lambda: [message.event_id or "" for message in bench.messages(ARNS[kind])],
        )
    )


@pytest.mark.parametrize("fact", suite.LOCAL_FACTS)
async def test_an_inbox_sink_under_a_fault_profile_keeps_the_suite(bench: Bench, fact: suite.LocalFact) -> None:
    profile = Profile(name="link", latency=ProfileLatency(fixed_ms=0.01), throttle_per_s=1_000_000)
    profiles = Profiles([profile], world=HandWorld(), metrics=Metrics())
    rule_arn = f"arn:aws:events:{PREFIX}:rule/r"
    target = Target(id="t", arn=ARNS["sqs"])
    await fact(
        suite.LocalCase(
            sink=profiles.around(bench.sinks["sqs"], ARNS["sqs"], rule_arn),
            store=bench.store,
            attempt=lambda index: attempt(target, event_id=f"e{index}"),
            bad=attempt(target, b"x" * (MESSAGE_BYTES_MAX + 1)),
            arrived=lambda: [message.event_id or "" for message in bench.messages(ARNS["sqs"])],
        )
    )


async def test_a_queue_that_does_not_exist_is_no_resource(bench: Bench) -> None:
    [outcome] = await bench.sinks["sqs"].send([attempt(Target(id="t", arn=ARNS["sqs"] + "-else"))])
    assert isinstance(outcome, Rejected)
    assert outcome.code == "NO_RESOURCE"


async def test_a_full_inbox_is_retryable_and_takes_what_has_room(bench: Bench) -> None:
    target = Target(id="t", arn=ARNS["sqs"])
    outcomes = await bench.sinks["sqs"].send([attempt(target, event_id=f"e{number}") for number in range(102)])
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 100 + [Retryable] * 2
    await bench.settle(outcomes)
    assert len(bench.messages(ARNS["sqs"])) == 100


async def test_a_fifo_queue_takes_its_group_from_the_event_and_a_duplicate_once(bench: Bench) -> None:
    target = Target(id="t", arn=FIFO, sqs_parameters=SqsParameters("$.detail.group"))
    outcomes = await bench.sinks["sqs"].send([attempt(target), attempt(target, b"other"), attempt(target)])
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
    await bench.settle(outcomes)
    assert [(message.body, message.group_id) for message in bench.messages(FIFO)] == [
        (b'{"n":1}', "g 1"),
        (b"other", "g 1"),
    ]


async def test_a_fifo_duplicate_of_what_is_being_written_is_tried_again(bench: Bench) -> None:
    target = Target(id="t", arn=FIFO, sqs_parameters=SqsParameters("group"))
    first = await bench.sinks["sqs"].send([attempt(target)])
    [second] = await bench.sinks["sqs"].send([attempt(target)])
    assert isinstance(second, Retryable)
    await bench.settle(first)
    [third] = await bench.sinks["sqs"].send([attempt(target)])
    assert isinstance(third, Delivered)
    await bench.settle([third])
    assert len(bench.messages(FIFO)) == 1


async def test_attributes_and_trace_header_go_along(bench: Bench) -> None:
    target = Target(id="t", arn=ARNS["sqs"])
    sent = attempt(target, trace_header="Root=1-2-3", attributes={"RULE_ARN": "r"})
    await bench.settle(await bench.sinks["sqs"].send([sent]))
    [message] = bench.messages(ARNS["sqs"])
    assert (message.trace_header, message.attributes) == ("Root=1-2-3", {"RULE_ARN": ("String", b"r")})


@pytest.mark.parametrize(("path", "key"), [("$.detail.id", b'"o-1"'), ("$.detail.nothing", b"{}"), (None, b"e1")])
async def test_a_stream_gets_its_partition_key(bench: Bench, path: str | None, key: bytes) -> None:
    parameters = KinesisParameters(path) if path else None
    target = Target(id="t", arn=ARNS["kinesis"], kinesis_parameters=parameters)
    await bench.settle(await bench.sinks["kinesis"].send([attempt(target, event_id="e1")]))
    [message] = bench.messages(ARNS["kinesis"])
    assert message.attributes == {"PartitionKey": ("String", key)}


@pytest.mark.parametrize(
    ("payload", "text", "timestamp_ms"),
    [
        (b'{"timestamp":"2026-11-23T10:00:00Z","message":"m"}', b"m", 1_795_428_000_000),
        (b'{"timestamp":1795428000001,"message":"m"}', b"m", 1_795_428_000_001),
        (b'{"message":"m"}', None, None),
        (b'{"timestamp":"soon","message":"m"}', None, None),
        (b'{"timestamp":1795428000001,"message":""}', None, None),
        (b"m", None, None),
    ],
)
async def test_a_log_groups_transformer_makes_time_and_text(
    bench: Bench, payload: bytes, text: bytes | None, timestamp_ms: int | None
) -> None:
    target = Target(id="t", arn=ARNS["logs"], input_transformer=InputTransformer("x"))
    [outcome] = await bench.sinks["logs"].send([attempt(target, payload)])
    if text is None:
        assert isinstance(outcome, Rejected)
        assert outcome.code == "INVALID_PARAMETER"
        return
    await bench.settle([outcome])
    [message] = bench.messages(ARNS["logs"])
    assert message.body == text
    assert message.timestamp_ms in (timestamp_ms, attempt(target).accepted.ingested_ms)


BLOCK = {"Database": "dev", "Sql": "select 1", "DbUser": "$.detail.user"}
REDSHIFT = f"arn:aws:redshift:{PREFIX}:cluster:c"


def _redshift(**block: str) -> Target:
    return msgspec.convert({"Id": "t", "Arn": REDSHIFT, "RedshiftDataParameters": {**BLOCK, **block}}, Target)


async def test_a_parameter_block_goes_along_with_its_paths_filled_in(bench: Bench) -> None:
    sent = attempt(detail='{"user":"ann"}', target=_redshift())
    await bench.settle(await bench.sinks["redshift"].send([sent]))
    (message,) = bench.messages(REDSHIFT)
    assert message.body == sent.payload
    kind, text = (message.attributes or {})["RedshiftDataParameters"]
    assert (kind, msgspec.json.decode(text)) == ("String", {**BLOCK, "DbUser": "ann"})


async def test_a_path_that_finds_nothing_rejects_the_delivery(bench: Bench) -> None:
    (outcome,) = await bench.sinks["redshift"].send([attempt(target=_redshift(DbUser="$.detail.nobody"))])
    assert outcome == Rejected("INVALID_PARAMETER", "RedshiftDataParameters: the event has nothing at $.detail.nobody")


async def test_a_task_gets_the_event_only_through_an_input(bench: Bench) -> None:
    arn = f"arn:aws:ecs:{PREFIX}:cluster/c"
    block = {"TaskDefinitionArn": "arn:aws:ecs:x"}
    plain = msgspec.convert({"Id": "t", "Arn": arn, "EcsParameters": block}, Target)
    given = msgspec.structs.replace(plain, input='{"containerOverrides":[]}')
    for target in (plain, given):
        await bench.settle(await bench.sinks["ecs"].send([attempt(target=target)]))
    first, second = bench.messages(arn)
    assert (first.body, second.body != b"{}") == (b"{}", True)


def test_every_kind_of_target_has_an_inbox_or_a_sink_of_its_own(bench: Bench) -> None:
    assert {kind.name for kind in KINDS} == {*bench.sinks, "event_bus", "api_destination"}
