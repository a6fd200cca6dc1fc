"""CloudWatch Logs: groups, streams, events in both directions, filter patterns."""

from typing import Any

import pytest

from router.aws.errors import InvalidParameterException
from router.errors import ResourceAlreadyExistsException, ResourceNotFoundException
from router.simulator.filter_patterns import compile_filter
from router.simulator.records import DELIVERY_STREAM, Draft
from router.store.base import Batch
from tests.simulator.bench import Bench

GROUP = "/aws/events/x"
ARN = f"arn:aws:logs:us-east-1:111111111111:log-group:{GROUP}"


async def fill(bench: Bench, count: int, *, size: int = 0) -> None:
    now_ms = bench.world.now_ms()
    for start in range(0, count, 1000):
        bodies = [f"{number:06d}" + "x" * size for number in range(start, min(count, start + 1000))]
        await bench.deposit(*bodies, arn=ARN, stream=DELIVERY_STREAM, timestamp_ms=now_ms)


async def messages(bench: Bench, **fields: Any) -> list[str]:
    """All pages of FilterLogEvents."""
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        request: dict[str, Any] = {"logGroupName": GROUP, **fields, **token}
        answer = await bench("FilterLogEvents", **request)
        found += [event["message"] for event in answer["events"]]
        if "nextToken" not in answer:
            return found
        token = {"nextToken": answer["nextToken"]}


async def test_a_group_appears_with_its_first_event(bench: Bench) -> None:
    await bench.deposit("hello", arn=ARN + ":*", stream=DELIVERY_STREAM)
    await bench.reopen()
    answer = await bench("FilterLogEvents", logGroupName=GROUP)
    (event,) = answer["events"]
    assert (event["message"], event["logStreamName"]) == ("hello", DELIVERY_STREAM)
    assert event["timestamp"] == event["ingestionTime"] == bench.world.now_ms()
    (stream,) = (await bench("DescribeLogStreams", logGroupName=GROUP))["logStreams"]
    assert (stream["logStreamName"], stream["storedBytes"]) == (DELIVERY_STREAM, 5)


async def test_a_group_whose_first_batch_failed_is_not_there(bench: Bench) -> None:
    bench.inboxes.deposit_many(Batch(), ARN, [Draft(b"lost")])
    assert await bench("DescribeLogGroups") == {"logGroups": []}
    await bench("CreateLogGroup", logGroupName=GROUP)
    assert await messages(bench) == []
    await bench.reopen()
    assert len((await bench("DescribeLogGroups"))["logGroups"]) == 1


async def test_groups_are_made_listed_and_deleted(bench: Bench) -> None:
    for name in ("/b", "/a/1", "/a/2"):
        await bench("CreateLogGroup", logGroupName=name)
    with pytest.raises(ResourceAlreadyExistsException, match="The specified log group already exists"):
        await bench("CreateLogGroup", logGroupName="/b")
    first = await bench("DescribeLogGroups", logGroupNamePrefix="/a", limit=1)
    rest = await bench("DescribeLogGroups", logGroupNamePrefix="/a", nextToken=first["nextToken"])
    assert [group["logGroupName"] for group in first["logGroups"] + rest["logGroups"]] == ["/a/1", "/a/2"]
    assert first["logGroups"][0]["arn"] == "arn:aws:logs:us-east-1:111111111111:log-group:/a/1:*"
    await bench("DeleteLogGroup", logGroupName="/b")
    with pytest.raises(ResourceNotFoundException, match="The specified log group does not exist"):
        await bench("FilterLogEvents", logGroupName="/b")


@pytest.mark.parametrize("clean", [True, False])
async def test_streams_are_described_after_every_kind_of_restart(bench: Bench, clean: bool) -> None:
    await bench("CreateLogGroup", logGroupName=GROUP)
    await bench("CreateLogStream", logGroupName=GROUP, logStreamName="own")
    now_ms = bench.world.now_ms()
    events = [{"timestamp": now_ms - 1000 + number, "message": f"m{number}"} for number in range(3)]
    await bench("PutLogEvents", logGroupName=GROUP, logStreamName="own", logEvents=events)
    await bench.reopen(clean=clean)
    (stream,) = (await bench("DescribeLogStreams", logGroupName=GROUP))["logStreams"]
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"]) == (now_ms - 1000, now_ms - 998)
    assert (stream["storedBytes"], stream["lastIngestionTime"]) == (6, now_ms)
    with pytest.raises(ResourceAlreadyExistsException):
        await bench("CreateLogStream", logGroupName=GROUP, logStreamName="own")


async def test_events_too_old_or_new_are_said_to_be_rejected(bench: Bench) -> None:
    await bench("CreateLogGroup", logGroupName=GROUP)
    await bench("CreateLogStream", logGroupName=GROUP, logStreamName="own")
    old = {"timestamp": bench.world.now_ms() - 15 * 86_400_000, "message": "old"}
    answer = await bench("PutLogEvents", logGroupName=GROUP, logStreamName="own", logEvents=[old])
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    assert await messages(bench) == []


async def test_filtering_pages_through_everything_once(bench: Bench) -> None:
    await fill(bench, 2500, size=1000)
    assert await messages(bench, limit=400) == [f"{number:06d}" + "x" * 1000 for number in range(2500)]
    assert len(await messages(bench)) == 2500
    assert [text[:6] for text in await messages(bench, filterPattern="0012")][:2] == ["000012", "000120"]


async def test_filtering_by_time_is_inclusive(bench: Bench) -> None:
    for number in range(4):
        await bench.deposit(str(number), arn=ARN, timestamp_ms=1000 + number)
    assert await messages(bench, startTime=1001, endTime=1002) == ["1", "2"]


async def test_events_come_back_in_the_order_of_their_times(bench: Bench) -> None:
    for time_ms in (30, 10, 20):
        await bench.deposit(str(time_ms), arn=ARN, timestamp_ms=time_ms)
    assert await messages(bench) == ["10", "20", "30"]


async def test_the_latest_events_come_first_and_tokens_go_both_ways(bench: Bench) -> None:
    await fill(bench, 1300)
    await bench.deposit("elsewhere", arn="arn:aws:sns:us-east-1:111111111111:t")
    request: dict[str, Any] = {"logGroupName": GROUP, "logStreamName": DELIVERY_STREAM, "limit": 100}

    async def get(**fields: Any) -> tuple[list[str], dict[str, Any]]:
        answer = await bench("GetLogEvents", **{**request, **fields})
        return [event["message"] for event in answer["events"]], answer

    tail, answer = await get()
    assert tail == [f"{number:06d}" for number in range(1200, 1300)]
    before, _ = await get(nextToken=answer["nextBackwardToken"])
    assert before == [f"{number:06d}" for number in range(1100, 1200)]
    after, end = await get(nextToken=answer["nextForwardToken"])
    assert (after, end["nextForwardToken"]) == ([], answer["nextForwardToken"])
    head, answer = await get(startFromHead=True)
    assert head == [f"{number:06d}" for number in range(100)]
    following, _ = await get(nextToken=answer["nextForwardToken"])
    assert following[0] == "000100"


@pytest.mark.parametrize("token", ["x", "p/", "p/-1", "p/" + "9" * 60])
async def test_a_bad_token_is_refused(bench: Bench, token: str) -> None:
    await bench("CreateLogGroup", logGroupName=GROUP)
    with pytest.raises(InvalidParameterException, match="nextToken is invalid"):
        await bench("FilterLogEvents", logGroupName=GROUP, nextToken=token)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "anything", True),
        ("ERROR timeout", "a timeout ERROR", True),
        ("ERROR timeout", "ERROR", False),
        ("?ERROR ?WARN", "WARN", True),
        ("?ERROR ?WARN", "INFO", False),
        ("ERROR -retry", "ERROR retry", False),
        ('"two words"', "here two words", True),
        ('"two words"', "words two", False),
        ('{ $.detail.eventName = "GetSecretValue" }', '{"detail":{"eventName":"GetSecretValue"}}', True),
        ('{ $.detail.eventName = "Get*" }', '{"detail":{"eventName":"GetSecretValue"}}', True),
        ('{ $.detail.eventName = "Get*" }', '{"detail":{"eventName":"PutSecretValue"}}', False),
        ('{ $.a != "x" }', '{"a":"y"}', True),
        ('{ $.a != "x" }', "{}", False),
        ("{ $.n >= 5 }", '{"n":5}', True),
        ("{ $.n = 5 }", '{"n":true}', False),
        ('{ $.a = "x" && $.n < 3 }', '{"a":"x","n":2}', True),
        ('{ $.a = "x" || $.n < 3 }', '{"a":"y","n":2}', True),
        ('{ $.a = "x" }', "not json", False),
    ],
)
def test_filter_patterns(pattern: str, text: str, expected: bool) -> None:
    test = compile_filter(pattern)
    assert (test is None or test(text)) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a IS NULL }",
        "[ip, user]",
        "%regex%",
        '{ $.a = "x"',
        "{ $.a = 1 && $.b = 2 || $.c = 3 }",
        '{ $.a > "x" }',
        "{ }",
    ],
)
def test_other_filter_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidParameterException, match="Invalid filter pattern"):
        compile_filter(pattern)
