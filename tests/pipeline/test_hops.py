"""Chains of up to four buses and loops of two and three, over two accounts and two regions: how far an event gets, what
it is when it arrives, and where the refusal of a hop too many goes.
"""

from itertools import pairwise, product

import pytest

from router.core.event import Location, hop_id
from router.world import iso_seconds
from tests.pipeline.hub import ELSEWHERE, FAR, HERE, ORDERS, OTHER, ROLE, Hub, ScriptedSink, incoming, target, until

ACCOUNT_HOP, REGION_HOP = "THIRD_ACCOUNT_HOP_DETECTED", "THIRD_REGION_HOP_DETECTED"
# The order of local (L) and regional (R) hops; which of them is refused, and with which code (classic.md section 5.5).
ENDS: dict[str, tuple[int, str] | None] = {
    "L": None,
    "R": None,
    "LR": None,
    "RL": None,
    "LL": (2, ACCOUNT_HOP),
    "RR": (2, REGION_HOP),
    "LLL": (2, ACCOUNT_HOP),
    "LLR": (2, ACCOUNT_HOP),
    "LRL": (3, ACCOUNT_HOP),
    "LRR": (3, REGION_HOP),
    "RLL": (3, ACCOUNT_HOP),
    "RLR": (3, REGION_HOP),
    "RRL": (2, REGION_HOP),
    "RRR": (2, REGION_HOP),
}
PLACES = (HERE, OTHER, FAR, ELSEWHERE)
PATHS = [(HERE, *rest) for length in (1, 2, 3) for rest in product(PLACES, repeat=length)]
"""Every way over up to four buses: each is another bus, in any of the places."""
LOOPS = [(HERE, *rest) for length in (1, 2) for rest in product(PLACES, repeat=length)]


def kinds(path: tuple[Location, ...]) -> str:
    return "".join("L" if one.region == two.region else "R" for one, two in pairwise(path))


def bus(number: int) -> str:
    return f"bus{number}"


def function(number: int, at: Location) -> str:
    return f"arn:aws:lambda:{at.region}:{at.account}:function:f{number}"


def letters(number: int, at: Location) -> str:
    return f"arn:aws:sqs:{at.region}:{at.account}:letters{number}"


async def build(hub: Hub, places: tuple[Location, ...], *, loop: bool = False) -> None:
    """A bus at each place, with a function that gets what arrives there, and a rule that sends it on to the next."""
    hub.open_to_all = True
    for number, at in enumerate(places):
        await hub.catalog.create_bus(at, bus(number))
        await hub.queue(letters(number, at))
        await hub.catalog.put_rule(at, bus(number), "on", created_by=at.account, event_pattern=ORDERS)
        await hub.catalog.put_targets(at, bus(number), "on", [target("function", function(number, at))])
    count = len(places)
    for number in range(count if loop else count - 1):
        at, following = places[number], (number + 1) % count
        there = places[following]
        arn = f"arn:aws:events:{there.region}:{there.account}:event-bus/{bus(following)}"
        onward = target("onward", arn, role_arn=ROLE, letters=letters(number, at))
        await hub.catalog.put_targets(at, bus(number), "on", [onward])


def rule(number: int, at: Location) -> str:
    return f"arn:aws:events:{at.region}:{at.account}:rule/{bus(number)}/on"


async def check_hops(hub: Hub, sink: ScriptedSink, way: tuple[Location, ...], buses: list[int]) -> None:
    """Put an event on the first bus; `way` and `buses` are the stations it would have without any limit."""
    event = incoming("e1", at=HERE).event
    await hub.pipeline.accept([incoming("e1", at=HERE, bus=bus(0))])
    await until(hub.settled)
    end = ENDS[kinds(way[:4])]
    reached = len(way) if end is None else end[0]
    assert [attempt.target.arn for attempt in sink.sent] == [
        function(number, at) for number, at in zip(buses[:reached], way[:reached], strict=True)
    ]
    event_id, time = event.id, event.time
    for station, attempt in enumerate(sink.sent):
        if station and way[station].region != way[station - 1].region:
            event_id = hop_id(event_id, rule(buses[station - 1], way[station - 1]), "onward")
            time = iso_seconds(hub.world.ms)
        arrived = attempt.accepted.event
        assert (arrived.id, arrived.time) == (event_id, time)
        assert (arrived.account, arrived.region, arrived.source) == (HERE.account, HERE.region, "orders")
        assert (arrived.detail, arrived.detail_type, arrived.resources) == (event.detail, event.detail_type, ())
    for number, at in dict(zip(buses, way, strict=True)).items():
        refusing = end is not None and number == buses[reached - 1]
        found = hub.messages(letters(number, at))
        assert len(found) == refusing
        assert hub.metrics.rule(rule(number, at)).dead_letters == refusing
        if end is not None and refusing:
            attributes = {name: value.decode() for name, (_, value) in (found[0].attributes or {}).items()}
            assert (attributes["RULE_ARN"], attributes["ERROR_CODE"]) == (rule(number, at), end[1])
            assert "EXHAUSTED_RETRY_CONDITION" not in attributes
    assert hub.letters() == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: "→".join(map(str, path)))
async def test_a_chain_of_buses_is_gone_as_far_as_its_hops_allow(
    hub: Hub, sink: ScriptedSink, path: tuple[Location, ...]
) -> None:
    await build(hub, path)
    await check_hops(hub, sink, path, list(range(len(path))))


@pytest.mark.parametrize("places", LOOPS, ids=lambda places: "→".join(map(str, places)))
async def test_a_loop_of_buses_ends(hub: Hub, sink: ScriptedSink, places: tuple[Location, ...]) -> None:
    await build(hub, places, loop=True)
    buses = [station % len(places) for station in range(4)]
    await check_hops(hub, sink, tuple(places[number] for number in buses), buses)


def test_every_order_of_hops_is_in_the_table_and_on_a_path() -> None:
    assert {kinds(path) for path in PATHS} == ENDS.keys()
    assert (len(ENDS), len(PATHS), len(LOOPS)) == (14, 84, 20)
