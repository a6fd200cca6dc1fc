"""The sink for other buses of this hub: what it writes is the pipeline's plan, what it refuses it refuses at once."""

from collections.abc import Sequence

import msgspec
import pytest

from router.catalog.model import Bus, Target
from router.core.event import Location, hop_id
from router.core.hops import Hops
from router.lanes import LaneName
from router.planning import Incoming
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.event_bus import EventBusSink
from router.sources.outcome import MALFORMED_DETAIL, STORE_FAILED, THROTTLED, Refused, Taken
from router.store.base import Batch, Table
from tests.pipeline.hub import HandWorld
from tests.pipeline.memory_store import MemoryStore
from tests.sinks import suite
from tests.sinks.fakes import HERE, RULE_ARN, attempt

OTHER = Location("222222222222", HERE.region)
FAR = Location(HERE.account, "eu-west-1")


def arn(location: Location, name: str = "audit") -> str:
    return f"arn:aws:events:{location.region}:{location.account}:event-bus/{name}"


class Hub:
    """A sink, and what it planned; every bus called `audit` exists."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.planned: list[Incoming] = []
        self.refuses: Refused | None = None
        self.lets_in = True
        self.sink = EventBusSink(
            find_bus=self._find_bus,
            allowed=lambda sender, bus, event, rule_arn: self.lets_in,
            plan=self._plan,
            world=HandWorld(),
        )

    @staticmethod
    def _find_bus(location: Location, name: str) -> Bus | None:
        return (
            Bus(name=name, location=location, arn=arn(location), created_ms=0, modified_ms=0)
            if name == "audit"
            else None
        )

    def _plan(self, incoming: Sequence[Incoming], batch: Batch) -> list[Taken | Refused]:
        self.planned += incoming
        if self.refuses is not None:
            return [self.refuses] * len(incoming)
        for item in incoming:
            batch.put(Table.EVENTS, item.event.id.encode(), b"")
        return [Taken(item.event.id) for item in incoming]

    async def send(self, *attempts: Attempt) -> list[Outcome]:
        return await self.sink.send(attempts)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def to(location: Location, *, name: str = "audit", event_id: str = "e1", hops: Hops | None = None) -> Attempt:
    made = attempt(Target(id="t", arn=arn(location, name)), event_id=event_id, trace_header="Root=1-2-3")
    accepted = msgspec.structs.replace(made.accepted, hops=hops or Hops())
    return msgspec.structs.replace(made, accepted=accepted)


@pytest.mark.parametrize("fact", suite.LOCAL_FACTS)
async def test_event_bus_sink_keeps_the_suite(hub: Hub, fact: suite.LocalFact) -> None:
    await fact(
        suite.LocalCase(
            sink=hub.sink,
            store=hub.store,
            attempt=lambda index: to(OTHER, event_id=f"e{index}"),
            bad=to(OTHER, hops=Hops(local=1)),
            arrived=lambda: [key.decode() for key, _ in hub.store.scan(Table.EVENTS)],
        )
    )


@pytest.mark.parametrize("there", [HERE, OTHER])
async def test_within_a_region_the_event_stays_as_it_is(hub: Hub, there: Location) -> None:
    sent = to(there)
    await hub.send(sent)
    assert hub.planned == [
        Incoming(
            sent.accepted.event, there, "audit", Hops(local=1), trace_header="Root=1-2-3", via=LaneName(RULE_ARN, "t")
        )
    ]


async def test_across_regions_it_gets_an_id_and_a_time_of_its_own_and_keeps_its_origin(hub: Hub) -> None:
    sent = to(FAR)
    await hub.send(sent, sent)
    first, second = hub.planned
    assert first == second
    assert first.event.id == hop_id("e1", RULE_ARN, "t")
    assert (first.parent_id, first.location, first.hops) == ("e1", FAR, Hops(regional=1))
    assert (first.event.account, first.event.region) == (HERE.account, HERE.region)
    assert first.event.time == "2026-09-21T14:13:20Z"


@pytest.mark.parametrize(
    ("there", "hops", "code"),
    [
        (OTHER, Hops(local=1), "THIRD_ACCOUNT_HOP_DETECTED"),
        (HERE, Hops(local=1), "THIRD_ACCOUNT_HOP_DETECTED"),
        (FAR, Hops(regional=1), "THIRD_REGION_HOP_DETECTED"),
    ],
)
async def test_a_hop_too_many_is_refused_and_nothing_is_planned(
    hub: Hub, there: Location, hops: Hops, code: str
) -> None:
    [outcome] = await hub.send(to(there, hops=hops))
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert hub.planned == []


async def test_a_bus_that_does_not_let_the_account_in_is_no_permission(hub: Hub) -> None:
    hub.lets_in = False
    outcomes = await hub.send(to(OTHER), to(OTHER, name="nowhere"), to(HERE))
    assert [outcome.code for outcome in outcomes if isinstance(outcome, Rejected)] == ["NO_PERMISSIONS"] * 3
    assert hub.planned == []


async def test_an_own_bus_that_does_not_exist_is_left_to_the_pipeline(hub: Hub) -> None:
    hub.lets_in = False
    [outcome] = await hub.send(to(HERE, name="nowhere"))
    assert isinstance(outcome, Delivered)
    assert [(item.location, item.bus) for item in hub.planned] == [(HERE, "nowhere")]


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refused("ResourceNotFoundException", "Event bus nowhere does not exist."), "NO_RESOURCE"),
        (MALFORMED_DETAIL, "INVALID_JSON"),
        (Refused("InvalidArgument", "Parameter Detail is not valid. Reason: too many steps."), "INVALID_PARAMETER"),
    ],
)
async def test_what_the_other_bus_refuses_is_not_tried_again(hub: Hub, refusal: Refused, code: str) -> None:
    hub.refuses = refusal
    [outcome] = await hub.send(to(HERE, name="nowhere"))
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert refusal.message in outcome.message


@pytest.mark.parametrize(("refusal", "code"), [(THROTTLED, "THROTTLING"), (STORE_FAILED, "INTERNAL_ERROR")])
async def test_what_the_other_bus_refuses_for_now_is_tried_again(hub: Hub, refusal: Refused, code: str) -> None:
    hub.refuses = refusal
    [outcome] = await hub.send(to(HERE, name="nowhere"))
    assert isinstance(outcome, Retryable)
    assert outcome.code == code
