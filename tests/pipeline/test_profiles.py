"""Fault profiles in the data path: deliveries are held up and fail as a profile says, and others notice nothing."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from router import limits
from router.catalog.model import Target
from router.config_profiles import Profile, ProfileErrors, ProfileLatency, ProfileOutage
from router.core.pace import PaceSettings, Probing
from router.errors import ValidationException
from router.metrics import FaultCounters, Metrics
from router.simulator.profiles import FaultySink, Profiles
from router.sinks.base import Delivered, Outcome, Rejected, Retryable
from tests.pipeline.hub import (
    ELSEWHERE,
    FAR,
    FUNCTION,
    HERE,
    QUEUE,
    REAL_LETTERS,
    ROLE,
    RULE_ARN,
    HandWorld,
    Hub,
    ScriptedSink,
    running,
    target,
    turns,
    until,
)
from tests.pipeline.memory_store import MemoryStore
from tests.sinks.fakes import attempt

OTHER_FUNCTION = FUNCTION + "-2"
SECOND_BUS = "arn:aws:events:us-east-1:111111111111:event-bus/second"
FAR_BUS = "arn:aws:events:eu-west-1:111111111111:event-bus/default"
SLOW = Profile(name="slow", target=FUNCTION, latency=ProfileLatency(fixed_ms=250))


class HandWait:
    """Whoever waits does so until the test lets go; `asked` has how long each was to wait."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.waiting = 0
        self._gate = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.waiting += 1
        await self._gate.wait()
        self.waiting -= 1

    def let_go(self) -> None:
        """Those that wait, and all that come."""
        self._gate.set()


@pytest.fixture
def wait() -> HandWait:
    return HandWait()


@pytest.fixture
def world() -> HandWorld:
    return HandWorld()


Start = Callable[..., AbstractAsyncContextManager[Hub]]


@pytest.fixture
def start(store: MemoryStore, sink: ScriptedSink, wait: HandWait, world: HandWorld) -> Start:
    """A hub with these profiles, in which nobody is probed."""

    def begin(*profiles: Profile) -> AbstractAsyncContextManager[Hub]:
        def made(metrics: Metrics) -> Profiles:
            return Profiles(profiles, world=world, metrics=metrics, wait=wait)

        paces = PaceSettings(Probing(0, 30.0))
        return running(store, sink, world=world, letters_sink=sink, paces=paces, profiles=made)

    return begin


def events(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


async def failure(hub: Hub, wait: HandWait) -> tuple[str, str, str]:
    """Kind, code and message of what the one event comes to that is accepted now, without a retry."""
    wait.let_go()
    await hub.rule("orders", '{"source":["orders"]}', target(attempts_max=0))
    await hub.accept("e1")
    await until(hub.settled)
    [letter] = hub.letters()
    return "retryable" if letter.condition else "rejected", letter.code, letter.message


async def test_a_delayed_delivery_arrives_after_its_latency(start: Start, sink: ScriptedSink, wait: HandWait) -> None:
    async with start(SLOW) as hub:
        await hub.rule()
        await hub.accept("e1")
        await until(lambda: wait.waiting == 1)
        assert (wait.asked, sink.ids, hub.pipeline.in_flight) == ([0.25], [], 1)
        wait.let_go()
        await until(hub.settled)
        assert sink.ids == ["e1"]
        assert hub.metrics.faults("slow") == FaultCounters(delay=1)


async def test_delayed_deliveries_hold_their_slots(start: Start, sink: ScriptedSink, wait: HandWait) -> None:
    async with start(SLOW) as hub:
        await hub.rule()
        await hub.accept(*events(40))
        await until(lambda: wait.waiting == limits.FAULTED_CALLS_MAX)
        await turns()
        assert (wait.waiting, hub.pipeline.in_flight, sink.ids) == (16, 16, [])
        wait.let_go()
        await until(hub.settled)
        assert sorted(sink.ids) == sorted(events(40))


async def test_a_slow_target_holds_up_no_other(start: Start, sink: ScriptedSink, wait: HandWait) -> None:
    async with start(SLOW) as hub:
        await hub.rule("orders", '{"source":["orders"]}', target("slow"), target("quick", OTHER_FUNCTION))
        await hub.accept(*events(40))
        await until(lambda: len(sink.sent) == 40)
        assert {attempt.target.id for attempt in sink.sent} == {"quick"}
        assert wait.waiting == 16


async def test_a_target_that_no_profile_fits_has_its_sink_as_it_is(start: Start, sink: ScriptedSink) -> None:
    async with start(SLOW) as hub:
        assert hub.sinks.pick("lambda", OTHER_FUNCTION, RULE_ARN) is sink
        assert isinstance(hub.sinks.pick("lambda", FUNCTION, RULE_ARN), FaultySink)


async def test_a_call_under_a_profile_is_never_begun_without_waiting(start: Start, sink: ScriptedSink) -> None:
    async with start(SLOW) as hub:
        picked = hub.sinks.pick("lambda", FUNCTION, RULE_ARN)
        assert isinstance(picked, FaultySink)
        assert not hasattr(picked, "begin")


async def test_a_profile_that_is_switched_off_does_nothing_until_it_is_on(start: Start, sink: ScriptedSink) -> None:
    off = Profile(name="slow", latency=ProfileLatency(fixed_ms=1), enabled=False)
    async with start(off) as hub:
        assert not hub.profiles.in_force
        assert hub.sinks.pick("lambda", FUNCTION, RULE_ARN) is sink
        hub.profiles.switch("slow", enabled=True)
        assert isinstance(hub.sinks.pick("lambda", FUNCTION, RULE_ARN), FaultySink)
        hub.profiles.switch("slow", enabled=False)
        assert hub.sinks.pick("lambda", FUNCTION, RULE_ARN) is sink


@pytest.mark.parametrize(
    ("outcome", "expected", "waited_s"),
    [
        ("timeout", ("retryable", "TIMEOUT", "lambda under fault profile bad: no answer within 10 s"), [10.0]),
        ("reset", ("retryable", "CONNECTION_FAILURE", "lambda under fault profile bad: the connection was reset"), []),
        (429, ("retryable", "THROTTLING", "lambda under fault profile bad: status 429"), []),
        (503, ("retryable", "ERROR_FROM_TARGET", "lambda under fault profile bad: status 503"), []),
        (403, ("rejected", "NO_PERMISSIONS", "lambda under fault profile bad: status 403"), []),
        (404, ("rejected", "NO_RESOURCE", "lambda under fault profile bad: status 404"), []),
    ],
)
async def test_a_fault_comes_to_what_the_sink_would_say_of_it(
    start: Start,
    sink: ScriptedSink,
    wait: HandWait,
    outcome: str | int,
    expected: tuple[str, str, str],
    waited_s: list[float],
) -> None:
    bad = Profile(name="bad", errors=ProfileErrors(rate=1.0, outcome=outcome))  # type: ignore[arg-type]
    async with start(bad) as hub:
        assert await failure(hub, wait) == expected
        assert (sink.sent, wait.asked) == ([], waited_s)
        assert hub.metrics.faults("bad") == FaultCounters(error=1)


async def test_latency_beyond_the_deadline_is_a_timeout(start: Start, sink: ScriptedSink, wait: HandWait) -> None:
    async with start(Profile(name="slow", latency=ProfileLatency(fixed_ms=11_000))) as hub:
        said = "lambda under fault profile slow: no answer within 10 s"
        assert await failure(hub, wait) == ("retryable", "TIMEOUT", said)
        assert (sink.sent, wait.asked) == ([], [10.0])


async def test_after_an_outage_everything_arrives(
    start: Start, sink: ScriptedSink, world: HandWorld, wait: HandWait
) -> None:
    async with start(Profile(name="away", to_location="*/us-east-1", outage=ProfileOutage(length_s=60))) as hub:
        await hub.rule()
        await hub.accept(*events(20))
        await until(lambda: hub.lanes.parked == 20)
        assert (sink.sent, hub.counters.retryable) == ([], 20)
        world.ms += 60_000
        hub.advance(1)
        await until(hub.settled)
        assert set(sink.ids) == set(events(20))
        assert hub.metrics.faults("away") == FaultCounters(outage=20)
        assert wait.asked == []


async def test_an_outage_is_counted_from_when_its_profile_is_switched_on(start: Start, world: HandWorld) -> None:
    away = Profile(name="away", outage=ProfileOutage(start_s=10, length_s=60))
    async with start(away) as hub:
        world.ms += 20_000
        assert [one["out"] for one in hub.profiles.shown()] == [True]
        hub.profiles.switch("away", enabled=True)
        assert [one["out"] for one in hub.profiles.shown()] == [False]
        world.ms += 10_000
        assert [one["out"] for one in hub.profiles.shown()] == [True]


async def test_what_a_throttle_holds_back_is_retried(start: Start, sink: ScriptedSink, world: HandWorld) -> None:
    async with start(Profile(name="tight", throttle_per_s=5)) as hub:
        await hub.rule()
        await hub.accept(*events(12))
        await until(lambda: hub.lanes.parked == 7)
        assert len(sink.sent) == 5
        assert hub.metrics.faults("tight").throttle == 7
        for _ in range(20):
            hub.advance(10)
            await until(hub.idle)
        assert hub.settled()
        assert set(sink.ids) == set(events(12))


async def test_a_throttle_is_shared_by_all_rules_with_the_target(start: Start, sink: ScriptedSink) -> None:
    async with start(Profile(name="tight", throttle_per_s=5)) as hub:
        await hub.rule("one")
        await hub.rule("two")
        await hub.rule("three", '{"source":["orders"]}', target("other", OTHER_FUNCTION))
        await hub.accept(*events(10))
        await until(lambda: hub.lanes.parked == 20 - 5 + 10 - 5)
        assert len(sink.sent) == 10
        assert sum(attempt.target.arn == FUNCTION for attempt in sink.sent) == 5


async def test_a_throttled_batch_arrives_as_far_as_its_turns_go(start: Start, wait: HandWait) -> None:
    async with start(Profile(name="tight", sink="sqs", throttle_per_s=3)) as hub:
        await hub.queue(QUEUE)
        await hub.rule("orders", '{"source":["orders"]}', target("queue", QUEUE))
        await hub.accept(*events(8))
        await until(lambda: hub.lanes.parked == 5)
        assert len(hub.messages(QUEUE)) == 3
        [lane] = hub.lanes
        assert lane.kind == "sqs"


async def test_an_inbox_under_a_profile_is_called_as_the_service_would_be(start: Start, wait: HandWait) -> None:
    async with start(Profile(name="slow", sink="sqs", latency=ProfileLatency(fixed_ms=100))) as hub:
        await hub.queue(QUEUE)
        await hub.rule("orders", '{"source":["orders"]}', target("queue", QUEUE))
        await hub.accept(*events(200))
        await until(lambda: wait.waiting == 8)
        await turns()
        assert (wait.waiting, hub.pipeline.in_flight, len(hub.messages(QUEUE))) == (8, 80, 0)
        wait.let_go()
        await until(hub.settled)
        assert sorted(message.event_id or "" for message in hub.messages(QUEUE)) == sorted(events(200))


async def test_a_link_between_regions_delays_hops_and_nothing_else(
    start: Start, sink: ScriptedSink, wait: HandWait
) -> None:
    link = Profile(
        name="link", from_location="*/us-east-1", to_location="*/eu-west-1", latency=ProfileLatency(fixed_ms=80)
    )
    async with start(link) as hub:
        await hub.catalog.put_rule(FAR, "default", "far", created_by=FAR.account, event_pattern='{"source":["orders"]}')
        await hub.catalog.put_targets(FAR, "default", "far", [target("t", FUNCTION.replace("us-east-1", FAR.region))])
        hops = [target("hop", FAR_BUS, role_arn=ROLE), target("here")]
        await hub.rule("orders", '{"source":["orders"]}', *hops)
        await hub.accept("e1")
        await until(lambda: wait.waiting == 1 and len(sink.sent) == 1)
        assert (wait.asked, sink.sent[0].target.id) == ([0.08], "here")
        wait.let_go()
        await until(hub.settled)
        assert [attempt.target.id for attempt in sink.sent] == ["here", "t"]


async def test_a_sender_is_the_rules_location_and_a_receiver_the_targets(start: Start, sink: ScriptedSink) -> None:
    rules = {HERE: RULE_ARN, FAR: RULE_ARN.replace("us-east-1", "eu-west-1")}
    async with start(
        Profile(name="from", from_location=str(FAR), latency=ProfileLatency(fixed_ms=1)),
        Profile(name="to", to_location=str(ELSEWHERE), latency=ProfileLatency(fixed_ms=1)),
    ) as hub:
        elsewhere = FUNCTION.replace("111111111111", ELSEWHERE.account).replace("us-east-1", ELSEWHERE.region)
        assert hub.sinks.pick("lambda", FUNCTION, rules[HERE]) is sink
        assert isinstance(hub.sinks.pick("lambda", FUNCTION, rules[FAR]), FaultySink)
        assert isinstance(hub.sinks.pick("lambda", elsewhere, rules[HERE]), FaultySink)


async def test_a_dead_letter_queue_at_an_endpoint_is_a_target_too(
    start: Start, sink: ScriptedSink, wait: HandWait
) -> None:
    slow_queue = Profile(name="letters", target=REAL_LETTERS, latency=ProfileLatency(fixed_ms=30))
    async with start(slow_queue) as hub:
        sink.script = [Retryable("TIMEOUT", "no")]
        await hub.rule("orders", '{"source":["orders"]}', target(attempts_max=0, letters=REAL_LETTERS))
        await hub.accept("e1")
        await until(lambda: wait.waiting == 1)
        assert wait.asked == [0.03]
        wait.let_go()
        await until(hub.settled)
        assert sink.sent[-1].target.arn == REAL_LETTERS


async def test_two_profiles_that_fit_add_up(start: Start, wait: HandWait) -> None:
    async with start(SLOW, Profile(name="more", sink="lambda", latency=ProfileLatency(fixed_ms=500))) as hub:
        await hub.rule()
        await hub.accept("e1")
        await until(lambda: wait.waiting == 1)
        assert wait.asked == [0.75]


async def test_the_same_seed_fails_the_same_calls(start: Start, sink: ScriptedSink, wait: HandWait) -> None:
    async def failed(seed: int) -> list[bool]:
        profile = Profile(name="some", errors=ProfileErrors(rate=0.3, outcome="reset"), seed=seed)
        hub.profiles.put(profile)
        faulty = hub.sinks.pick("lambda", FUNCTION, RULE_ARN)
        return [not isinstance((await faulty.send([given]))[0], Retryable) for _ in range(300)]

    async with start() as hub:
        await hub.rule()
        await hub.accept("e1")
        await until(hub.settled)
        given = sink.sent[0]
        first, second, other = await failed(1), await failed(1), await failed(2)
        assert first == second != other
        assert 60 <= first.count(False) <= 120


async def test_the_dice_go_on_when_another_profile_changes(start: Start, sink: ScriptedSink) -> None:
    some = Profile(name="some", errors=ProfileErrors(rate=0.5, outcome="reset"))
    off = Profile(name="other", target="nothing", latency=ProfileLatency(fixed_ms=1))

    async def failed(count: int) -> list[bool]:
        faulty = hub.sinks.pick("lambda", FUNCTION, RULE_ARN)
        return [isinstance((await faulty.send([given]))[0], Retryable) for _ in range(count)]

    async with start() as hub:
        await hub.rule()
        await hub.accept("e1")
        await until(hub.settled)
        given = sink.sent[0]
        hub.profiles.put(some)
        whole = await failed(60)
        hub.profiles.put(some)
        begun = await failed(30)
        hub.profiles.put(off)
        assert begun + await failed(30) == whole


async def test_a_profile_put_while_a_target_works_holds_for_what_comes(
    start: Start, sink: ScriptedSink, wait: HandWait
) -> None:
    sink.bound(concurrency=2)
    async with start() as hub:
        await hub.rule()
        await hub.accept("before")
        await until(hub.settled)
        hub.profiles.put(SLOW)
        await hub.accept("during")
        await until(lambda: wait.waiting == 1)
        hub.profiles.remove("slow")
        await hub.accept("after")
        await until(lambda: sink.ids == ["before", "after"])
        wait.let_go()
        await until(hub.settled)
        assert sink.ids == ["before", "after", "during"]


async def test_back_to_the_hub_files_profiles(start: Start) -> None:
    async with start(SLOW) as hub:
        hub.profiles.put(Profile(name="more", throttle_per_s=1))
        hub.profiles.switch("slow", enabled=False)
        assert [(one["name"], one["declared"]) for one in hub.profiles.shown()] == [("slow", False), ("more", False)]
        hub.profiles.reset()
        assert [(one["name"], one["declared"]) for one in hub.profiles.shown()] == [("slow", True)]
        assert hub.profiles.in_force


async def test_there_are_so_many_profiles_and_no_more(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROFILES_MAX", 1)
    async with start(SLOW) as hub:
        hub.profiles.put(SLOW)
        with pytest.raises(ValidationException, match="expected at most 1 profiles: remove one first"):
            hub.profiles.put(Profile(name="more", throttle_per_s=1))


@pytest.mark.parametrize(
    ("outcome", "kind", "code"),
    [
        (429, Retryable, "THROTTLING"),
        (401, Retryable, "ERROR_FROM_TARGET"),
        (503, Retryable, "ERROR_FROM_TARGET"),
        (404, Rejected, "ERROR_FROM_TARGET"),
    ],
)
async def test_a_status_of_an_api_destination_means_what_it_does_there(
    world: HandWorld, sink: ScriptedSink, outcome: int, kind: type[Outcome], code: str
) -> None:
    profile = Profile(name="bad", errors=ProfileErrors(rate=1.0, outcome=outcome))
    vars(sink)["kind"] = "api_destination"
    around = Profiles([profile], world=world, metrics=Metrics())
    arn = "arn:aws:events:us-east-1:111111111111:api-destination/shop/1"
    given = attempt(Target(id="t", arn=arn))
    [found] = await around.around(sink, arn, RULE_ARN).send([given])
    assert isinstance(found, kind)
    assert not isinstance(found, Delivered)
    assert (found.code, found.message) == (
        code,
        f"api_destination under fault profile bad answered with status {outcome}",
    )


async def test_an_api_destination_is_waited_for_5_s(world: HandWorld, sink: ScriptedSink, wait: HandWait) -> None:
    profile = Profile(name="bad", errors=ProfileErrors(rate=1.0, outcome="timeout"))
    vars(sink)["kind"] = "api_destination"
    around = Profiles([profile], world=world, metrics=Metrics(), wait=wait)
    arn = "arn:aws:events:us-east-1:111111111111:api-destination/shop/1"
    wait.let_go()
    [found] = await around.around(sink, arn, RULE_ARN).send([attempt(Target(id="t", arn=arn))])
    assert found == Retryable("TIMEOUT", "api_destination under fault profile bad: no answer within 5 s")
    assert wait.asked == [5.0]


async def test_names_of_profiles_are_bounded_as_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROFILE_SERIES_MAX", 2)
    metrics = Metrics()
    for number in range(5):
        metrics.faults(f"p{number}").delay += 1
    assert (metrics.faults("p0").delay, metrics.faults("p1").delay, metrics.faults("other").delay) == (1, 1, 3)


async def test_memory_of_pairs_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FAULT_LINES_MAX", 4)
    tight = Profile(name="tight", throttle_per_s=5, errors=ProfileErrors(rate=0.1))
    async with start(tight) as hub:
        for number in range(20):
            assert isinstance(hub.sinks.pick("lambda", f"{FUNCTION}-{number}", RULE_ARN), FaultySink)
        assert len(hub.profiles._sinks) <= 4
        assert len(hub.profiles._running["tight"]._dice) <= 4
        assert len(hub.profiles._running["tight"]._buckets) <= 4


async def test_a_bus_in_the_same_place_is_a_link_too(start: Start, wait: HandWait) -> None:
    async with start(Profile(name="hop", sink="event_bus", latency=ProfileLatency(fixed_ms=5))) as hub:
        await hub.catalog.create_bus(HERE, "second")
        await hub.rule("orders", '{"source":["orders"]}', target("hop", SECOND_BUS, role_arn=ROLE))
        await hub.accept("e1")
        await until(lambda: wait.waiting == 1)
        assert wait.asked == [0.005]
