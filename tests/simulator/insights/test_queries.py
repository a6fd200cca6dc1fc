"""The life of queries: started, running in a process of their own, ended in every way there is, forgotten."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router import limits
from router.aws.errors import InvalidParameterException
from router.aws.service import Caller, Service
from router.errors import LimitExceededException, ResourceNotFoundException
from router.simulator.insights import queries as module
from router.simulator.insights.operations import Insights, MalformedQueryException
from router.simulator.insights.queries import Queries
from tests.simulator.bench import CALLER, Bench

GROUP = "/orders"
ARN = f"arn:aws:logs:us-east-1:111111111111:log-group:{GROUP}"


class Asker:
    """The operations, over a bench's inboxes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.queries = Queries(bench.inboxes)
        insights = Insights(bench.inboxes, self.queries, lambda name, body: self.service.read(name, body))
        self.service = Service("logs", insights.actions(), insights.raw_actions())

    async def __call__(self, operation: str, *, caller: Caller = CALLER, **members: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self.service.call(operation, json.dumps(members).encode(), caller))
        return answer

    async def start(self, text: str, **members: Any) -> str:
        now_s = self.bench.world.now_ms() // 1000
        wanted = {"logGroupName": GROUP, "startTime": now_s - 3600, "endTime": now_s, **members}
        query_id: str = (await self("StartQuery", queryString=text, **wanted))["queryId"]
        return query_id

    async def until(self, query_id: str, *statuses: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                answer = await self("GetQueryResults", queryId=query_id)
                if answer["status"] in statuses:
                    return answer
                await asyncio.sleep(0.01)

    async def ended(self, query_id: str) -> dict[str, Any]:
        return await self.until(query_id, "Complete", "Failed", "Cancelled", "Timeout")


@pytest.fixture
async def asker(bench: Bench) -> Asker:
    """Nothing runs yet: see `running`."""
    events = [json.dumps({"n": number}) for number in range(5)]
    await bench.deposit(*events, arn=ARN, stream="one", timestamp_ms=bench.world.now_ms())
    return Asker(bench)


@pytest.fixture
async def running(asker: Asker) -> AsyncIterator[Asker]:
    task = asyncio.get_running_loop().create_task(asker.queries.run())
    yield asker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_query_is_scheduled_then_complete(running: Asker) -> None:
    query_id = await running.start("fields n | sort n desc | limit 2")
    assert (await running("GetQueryResults", queryId=query_id))["status"] == "Scheduled"
    answer = await running.ended(query_id)
    assert answer["status"] == "Complete"
    assert [row[0] for row in answer["results"]] == [{"field": "n", "value": "4"}, {"field": "n", "value": "3"}]
    assert [row[1]["field"] for row in answer["results"]] == ["@ptr", "@ptr"]
    assert answer["statistics"] == {
        "recordsMatched": 5.0,
        "recordsScanned": 5.0,
        "estimatedRecordsSkipped": 0.0,
        "bytesScanned": 40.0,
        "estimatedBytesSkipped": 0.0,
        "logGroupsScanned": 1.0,
        "resultCount": 2.0,
    }


async def test_results_come_in_pages(running: Asker) -> None:
    query_id = await running.start("fields n | sort n")
    await running.ended(query_id)
    found: list[list[str]] = []
    token: dict[str, Any] = {}
    while True:
        answer = await running("GetQueryResults", queryId=query_id, maxItems=2, **token)
        found.append([row[0]["value"] for row in answer["results"]])
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert found == [["0", "1"], ["2", "3"], ["4"]]
    with pytest.raises(InvalidParameterException, match="nextToken"):
        await running("GetQueryResults", queryId=query_id, nextToken="x")


async def test_range_of_time_is_in_seconds_and_inclusive(running: Asker) -> None:
    bench = running.bench
    second = bench.world.now_ms() // 1000
    for ms in (-1, 0, 999, 1000):
        await bench.deposit("{}", arn=ARN + "-2", stream="one", timestamp_ms=second * 1000 + ms)
    query_id = await running.start("stats count(*) as n", logGroupName=GROUP + "-2", startTime=second, endTime=second)
    assert (await running.ended(query_id))["results"] == [[{"field": "n", "value": "2"}]]


async def test_several_groups_at_once(running: Asker) -> None:
    await running.bench.deposit("{}", arn=ARN + "-2", stream="one")
    groups = {"logGroupName": None, "logGroupIdentifiers": [GROUP, f"{ARN}-2", ARN]}
    query_id = await running.start("stats count(*) as n by @log", **groups)
    answer = await running.ended(query_id)
    assert [[cell["value"] for cell in row] for row in answer["results"]] == [
        ["111111111111:/orders", "5"],
        ["111111111111:/orders-2", "1"],
    ]
    assert answer["statistics"]["logGroupsScanned"] == 2.0


async def test_a_query_that_is_none_is_refused_with_its_place(asker: Asker) -> None:
    with pytest.raises(MalformedQueryException) as caught:
        await asker.start("fields n | limt 5")
    assert caught.value.code == "MalformedQueryException"
    error = caught.value.members()["queryCompileError"]
    assert error["location"] == {"startCharOffset": 11, "endCharOffset": 15}
    assert "unexpected symbol found limt" in error["message"]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"logGroupName": None}, "Exactly one of"),
        ({"logGroupNames": [GROUP]}, "Exactly one of"),
        ({"logGroupName": None, "logGroupNames": []}, "Expected 1 to 50 log groups, got 0"),
        ({"logGroupName": None, "logGroupNames": [GROUP] * 51}, "Expected 1 to 50 log groups, got 51"),
        ({"logGroupName": None, "logGroupIdentifiers": [ARN.replace("1111", "2222")]}, "links no accounts"),
        ({"logGroupName": None, "logGroupIdentifiers": [ARN.replace("us-east-1", "eu-west-1")]}, "links no accounts"),
        ({"startTime": 2, "endTime": 1}, "at or before the endTime"),
        ({"queryLanguage": "SQL"}, "CWLI only"),
        ({"limit": 100_001}, "less than or equal to 100000"),
        ({"queryString": "x" * 10_001}, "less than or equal to 10000"),
    ],
)
async def test_start_is_refused(asker: Asker, members: dict[str, Any], said: str) -> None:
    wanted = {"logGroupName": GROUP, "startTime": 0, "endTime": 1, "queryString": "limit 1", **members}
    with pytest.raises(InvalidParameterException, match=said):
        await asker("StartQuery", **wanted)


async def test_an_unknown_group_is_not_found(asker: Asker) -> None:
    with pytest.raises(ResourceNotFoundException, match="'/none' does not exist"):
        await asker.start("limit 1", logGroupName="/none")


async def test_more_events_than_a_query_may_look_through_are_refused(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INSIGHTS_EVENTS_MAX", 4)
    with pytest.raises(InvalidParameterException, match="hold 5 events, a query may look through at most 4"):
        await asker.start("limit 1")


async def test_more_queries_at_once_than_may_be_are_refused(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INSIGHTS_QUERIES_MAX", 2)
    first = await asker.start("limit 1")
    await asker.start("limit 1")
    with pytest.raises(LimitExceededException):
        await asker.start("limit 1")
    await asker("StopQuery", queryId=first)
    await asker.start("limit 1")


async def test_another_account_or_region_does_not_see_the_query(running: Asker) -> None:
    query_id = await running.start("limit 1")
    for other in (Caller("222222222222", "us-east-1"), Caller("111111111111", "eu-west-1")):
        for operation in ("GetQueryResults", "StopQuery"):
            with pytest.raises(ResourceNotFoundException):
                await running(operation, caller=other, queryId=query_id)
        assert await running("DescribeQueries", caller=other) == {"queries": []}


async def test_a_scheduled_query_is_stopped_and_never_runs(asker: Asker) -> None:
    query_id = await asker.start("limit 1")
    assert await asker("StopQuery", queryId=query_id) == {"success": True}
    task = asyncio.get_running_loop().create_task(asker.queries.run())
    assert (await asker.ended(await asker.start("limit 1")))["status"] == "Complete"
    answer = await asker("GetQueryResults", queryId=query_id)
    assert (answer["status"], answer["results"]) == ("Cancelled", [])
    with pytest.raises(InvalidParameterException, match="Query is already ended with Status Cancelled"):
        await asker("StopQuery", queryId=query_id)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_running_query_is_stopped_with_its_process(running: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORKER", "tests.simulator.insights.stuck")
    query_id = await running.start("limit 1")
    await running.until(query_id, "Running")
    await running("StopQuery", queryId=query_id)
    assert (await running.ended(query_id))["status"] == "Cancelled"
    monkeypatch.undo()
    assert (await running.ended(await running.start("limit 1")))["status"] == "Complete"


async def test_a_query_that_takes_too_long_times_out(running: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORKER", "tests.simulator.insights.stuck")
    monkeypatch.setattr(limits, "INSIGHTS_TIMEOUT_S", 0.2)
    answer = await running.ended(await running.start("limit 1"))
    assert answer["status"] == "Timeout"
    assert answer["results"][0][0]["field"] == "@error"
    assert "longer than 0.2 s" in answer["results"][0][0]["value"]


async def test_a_process_that_dies_fails_the_query(running: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORKER", "tests.simulator.insights.not_there")
    answer = await running.ended(await running.start("limit 1"))
    assert answer["status"] == "Failed"
    assert "ended without an answer" in answer["results"][0][0]["value"]


async def test_what_the_process_could_not_do_is_told(running: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INSIGHTS_BYTES_MAX", 10)
    answer = await running.ended(await running.start("limit 1"))
    assert answer["status"] == "Failed"
    assert "hold more than 10 bytes" in answer["results"][0][0]["value"]


async def test_queries_are_described_newest_first(running: Asker) -> None:
    first = await running.start("limit 1")
    await running.ended(first)
    second = await running.start("limit 2")
    await running.ended(second)
    found = (await running("DescribeQueries"))["queries"]
    assert [(one["queryId"], one["queryString"], one["status"]) for one in found] == [
        (second, "limit 2", "Complete"),
        (first, "limit 1", "Complete"),
    ]
    assert found[0]["logGroupName"] == GROUP
    page = await running("DescribeQueries", maxResults=1)
    rest = await running("DescribeQueries", nextToken=page["nextToken"])
    assert [one["queryId"] for one in page["queries"] + rest["queries"]] == [second, first]
    assert await running("DescribeQueries", status="Failed") == {"queries": []}
    assert await running("DescribeQueries", logGroupName="/other") == {"queries": []}


async def test_ended_queries_are_forgotten_by_age_count_and_size(
    running: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await running.start("fields n")
    await running.ended(first)
    second = await running.start("fields n")
    size = len(json.dumps((await running.ended(second))["results"], separators=(",", ":")))
    monkeypatch.setattr(limits, "INSIGHTS_KEPT_BYTES_MAX", size)
    assert [one["queryId"] for one in (await running("DescribeQueries"))["queries"]] == [second]
    running.bench.world.advance(limits.INSIGHTS_KEPT_S_MAX + 1)
    with pytest.raises(ResourceNotFoundException):
        await running("GetQueryResults", queryId=second)
    monkeypatch.setattr(limits, "INSIGHTS_KEPT_MAX", 1)
    last = [await running.ended(await running.start("limit 1")) for _ in range(3)]
    assert len((await running("DescribeQueries"))["queries"]) == 1
    assert {answer["status"] for answer in last} == {"Complete"}


@pytest.mark.parametrize("turns", [0, 1, 3, 1000])
async def test_the_hubs_stop_ends_a_query_wherever_it_stands(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(module, "_WORKER", "tests.simulator.insights.stuck")
    query_id = await asker.start("limit 1")
    task = asyncio.get_running_loop().create_task(asker.queries.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    status = (await asker("GetQueryResults", queryId=query_id))["status"]
    assert status == ("Cancelled" if turns else "Scheduled")
