"""Archives and replays through the API: the managed rule, refusals, filters and pages."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.catalog import quotas
from tests.api.hub import THEM, Api, serving
from tests.catalog.hub import QUEUE

BUS = "arn:aws:events:us-east-1:111111111111:event-bus/default"
ARCHIVE = "arn:aws:events:us-east-1:111111111111:archive/a"
RULE = "arn:aws:events:us-east-1:111111111111:rule/Events-Archive-a"
REPLAY: dict[str, Any] = {
    "ReplayName": "r",
    "EventSourceArn": ARCHIVE,
    "EventStartTime": 1_760_000_000,
    "EventEndTime": 1_800_000_000,
    "Destination": {"Arn": BUS},
}


async def create(api: Api, name: str = "a", source: str = BUS, **more: Any) -> Any:
    return await api.call("CreateArchive", ArchiveName=name, EventSourceArn=source, **more)


async def test_an_archive_is_a_managed_rule_on_its_bus(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await create(api, EventPattern='{"source": ["orders"]}')
        rule = await api.call("DescribeRule", Name="Events-Archive-a")
        assert json.loads(rule.pop("EventPattern")) == {"source": ["orders"], "replay-name": [{"exists": False}]}
        assert rule == {
            "Name": "Events-Archive-a",
            "Arn": RULE,
            "State": "ENABLED",
            "ManagedBy": "prod.vhs.events.aws.internal",
            "EventBusName": "default",
            "CreatedBy": "111111111111",
        }
        assert [found["Name"] for found in (await api.call("ListRules"))["Rules"]] == ["Events-Archive-a"]
        (target,) = (await api.call("ListTargetsByRule", Rule="Events-Archive-a"))["Targets"]
        assert (target["Id"], target["Arn"]) == ("Events-Archive-a", "arn:aws:events:us-east-1:::")
        template = target["InputTransformer"]["InputTemplate"]
        assert template.startswith(f'{{"archive-arn": "{ARCHIVE}:')
        assert template.endswith(
            '"event": <aws.events.event.json>, "ingestion-time": <aws.events.event.ingestion-time>}'
        )


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("PutRule", {"Name": "Events-Archive-a", "EventPattern": '{"source":["x"]}'}),
        ("DisableRule", {"Name": "Events-Archive-a"}),
        ("DeleteRule", {"Name": "Events-Archive-a"}),
        ("PutTargets", {"Rule": "Events-Archive-a", "Targets": [{"Id": "t", "Arn": QUEUE}]}),
        ("RemoveTargets", {"Rule": "Events-Archive-a", "Ids": ["Events-Archive-a"]}),
        ("TagResource", {"ResourceARN": RULE, "Tags": [{"Key": "k", "Value": "v"}]}),
    ],
)
async def test_the_managed_rule_is_not_the_customers(tmp_path: Path, operation: str, request_: dict[str, Any]) -> None:
    async with serving(tmp_path) as api:
        await create(api)
        assert (await api.refused(operation, **request_)).startswith(
            "ManagedRuleException: Events-Archive-a is a managed"
        )


async def test_a_bus_with_an_archive_cannot_be_deleted_and_without_it_can(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        mine = (await api.call("CreateEventBus", Name="mine"))["EventBusArn"]
        await create(api, source=mine)
        refused = await api.refused("DeleteEventBus", Name="mine")
        assert refused == "ValidationException: EventBus can't be deleted since it has rules."
        assert await api.call("DeleteArchive", ArchiveName="a") == {}
        await api.call("DeleteEventBus", Name="mine")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"EventSourceArn": BUS.replace("default", "no-bus")},
            "ResourceNotFoundException: Event bus no-bus does not exist.",
        ),
        (
            {"EventSourceArn": BUS.replace("1" * 12, "2" * 12)},
            "ResourceNotFoundException: Event bus default does not exist.",
        ),
        (
            {"EventSourceArn": BUS.replace("us-east-1", "eu-west-1")},
            "ResourceNotFoundException: Event bus default does not exist.",
        ),
        (
            {"EventSourceArn": "arn:aws:events:us-east-1:111111111111:rule/x"},
            "ValidationException: Parameter EventSourceArn is not valid. Reason: Must contain an event bus ARN.",
        ),
        ({"EventPattern": "{"}, "InvalidEventPatternException: Event pattern is not valid. Reason: "),
        ({"EventPattern": json.dumps({"source": ["x" * 2048]})}, "LimitExceededException: Parameter EventPattern for "),
        ({"ArchiveName": "a" * 49}, "ValidationException: 1 validation error detected: Value '"),
        (
            {"ArchiveName": "a/b"},
            "ValidationException: 1 validation error detected: Value 'a/b' at 'archiveName' failed",
        ),
        (
            {"RetentionDays": -1},
            "ValidationException: 1 validation error detected: Value '-1' at 'retentionDays' failed",
        ),
        ({"KmsKeyIdentifier": "alias/k"}, "ValidationException: Parameter KmsKeyIdentifier is not valid. Reason: "),
    ],
)
async def test_create_archive_refuses_what_cannot_be(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    async with serving(tmp_path, limits=quotas.AWS) as api:
        request = {"ArchiveName": "a", "EventSourceArn": BUS, **changed}
        assert (await api.refused("CreateArchive", **request)).startswith(told)
        assert (await api.call("ListArchives")) == {"Archives": []}
        assert (await api.call("ListRules")) == {"Rules": []}


async def test_an_archive_needs_a_name_that_no_rule_of_its_bus_has(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="Events-Archive-a", EventPattern='{"source":["x"]}')
        refused = await api.refused("CreateArchive", ArchiveName="a", EventSourceArn=BUS)
        assert refused.startswith(
            "ResourceAlreadyExistsException: Rule Events-Archive-a, which an archive of this name"
        )


async def test_an_archives_rule_counts_as_one_of_its_bus(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=quotas.AWS) as api:
        for number in range(300):
            await api.call("PutRule", Name=f"r{number}", EventPattern='{"source":["x"]}')
        refused = await api.refused("CreateArchive", ArchiveName="a", EventSourceArn=BUS)
        assert refused == "LimitExceededException: The requested resource exceeds the maximum number allowed."


async def test_update_changes_what_is_given_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await create(api, Description="d", RetentionDays=3, EventPattern='{"source":["x"]}')
        await api.call("UpdateArchive", ArchiveName="a", RetentionDays=0)
        found = await api.call("DescribeArchive", ArchiveName="a")
        assert (found["Description"], found["RetentionDays"], found["EventPattern"]) == ("d", 0, '{"source":["x"]}')
        await api.call("UpdateArchive", ArchiveName="a", EventPattern='{"source":["y"]}', Description="e")
        found = await api.call("DescribeArchive", ArchiveName="a")
        assert (found["Description"], found["RetentionDays"], found["EventPattern"]) == ("e", 0, '{"source":["y"]}')
        rule = await api.call("DescribeRule", Name="Events-Archive-a")
        assert json.loads(rule["EventPattern"])["source"] == ["y"]


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("UpdateArchive", {"RetentionDays": 1}),
        ("DescribeArchive", {}),
        ("DeleteArchive", {}),
    ],
)
async def test_an_archive_that_does_not_exist_is_said(tmp_path: Path, operation: str, request_: dict[str, Any]) -> None:
    async with serving(tmp_path) as api:
        await create(api)
        refused = await api.refused(operation, ArchiveName="no", **request_)
        assert refused == "ResourceNotFoundException: Archive no does not exist."
        refused = await api.refused(operation, THEM, ArchiveName="a", **request_)
        assert refused == "ResourceNotFoundException: Archive a does not exist."


@pytest.mark.parametrize("operation", ["ListArchives", "ListReplays"])
async def test_lists_take_one_filter_at_most(tmp_path: Path, operation: str) -> None:
    async with serving(tmp_path) as api:
        state = "ENABLED" if operation == "ListArchives" else "RUNNING"
        assert await api.refused(operation, NamePrefix="a", State=state) == (
            f"ValidationException: At most one filter is allowed for {operation}. "
            "Use either : State, EventSourceArn, or NamePrefix."
        )


async def test_archives_are_listed_by_bus_by_state_and_in_pages(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        mine = (await api.call("CreateEventBus", Name="mine"))["EventBusArn"]
        for number in range(7):
            await create(api, f"a{number}", BUS if number % 2 else mine)
        await api.call("RemoveTargets", Rule="Events-Archive-a1", Ids=["Events-Archive-a1"], Force=True)

        async def names(**request: Any) -> list[str]:
            found: list[str] = []
            while True:
                answer = await api.call("ListArchives", Limit=2, **request)
                assert len(answer["Archives"]) <= 2
                found += [archive["ArchiveName"] for archive in answer["Archives"]]
                if "NextToken" not in answer:
                    return found
                request["NextToken"] = answer["NextToken"]

        assert await names() == [f"a{number}" for number in range(7)]
        assert await names(EventSourceArn=mine) == ["a0", "a2", "a4", "a6"]
        assert await names(EventSourceArn=BUS) == ["a1", "a3", "a5"]
        assert await names(State="DISABLED") == ["a1"]
        assert await names(State="ENABLED") == ["a0", "a2", "a3", "a4", "a5", "a6"]
        assert await names(NamePrefix="a3") == ["a3"]
        token = (await api.call("ListArchives", Limit=2, EventSourceArn=mine))["NextToken"]
        refused = await api.refused("ListArchives", Limit=2, EventSourceArn=BUS, NextToken=token)
        assert refused == "ValidationException: Parameter NextToken is not valid."


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"EventSourceArn": "arn:aws:events:us-east-1:111111111111:rule/a"},
            "ValidationException: Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN.",
        ),
        (
            {"EventSourceArn": ARCHIVE.replace("1" * 12, "2" * 12)},
            "ValidationException: Parameter EventSourceArn is not valid. Reason: Archive a does not exist.",
        ),
        (
            {"Destination": {"Arn": QUEUE}},
            "ValidationException: Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN.",
        ),
        (
            {"Destination": {"Arn": BUS.replace("default", "no-bus")}},
            "ResourceNotFoundException: Event bus no-bus does not exist.",
        ),
        (
            {"Destination": {"Arn": BUS.replace("1" * 12, "2" * 12)}},
            "ResourceNotFoundException: Event bus default does not exist.",
        ),
        (
            {"Destination": {"Arn": BUS.replace("default", "mine")}},
            "ValidationException: Parameter Destination.Arn is not valid. "
            "Reason: Cross event bus replay is not permitted.",
        ),
        (
            {"EventEndTime": REPLAY["EventStartTime"]},
            "ValidationException: Parameter EventEndTime is not valid. Reason: EventStartTime must be before "
            "EventEndTime.",
        ),
        (
            {"Destination": {"Arn": BUS, "FilterArns": [RULE.replace("Events-Archive-a", "no")]}},
            "ValidationException: Parameter Destination.FilterArns is not valid. Reason: "
            "arn:aws:events:us-east-1:111111111111:rule/no is not the ARN of a rule on event bus default.",
        ),
    ],
)
async def test_start_replay_refuses_what_cannot_be(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="mine")
        await create(api)
        assert await api.refused("StartReplay", **{**REPLAY, **changed}) == told
        assert await api.call("ListReplays") == {"Replays": []}


@pytest.mark.parametrize("operation", ["DescribeReplay", "CancelReplay"])
async def test_a_replay_that_does_not_exist_is_said(tmp_path: Path, operation: str) -> None:
    async with serving(tmp_path) as api:
        assert await api.refused(operation, ReplayName="no") == ("ResourceNotFoundException: Replay no does not exist.")


async def test_a_replay_is_cancelled_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await create(api)
        await api.call("StartReplay", **REPLAY)
        cancelled = await api.call("CancelReplay", ReplayName="r")
        assert cancelled == {"ReplayArn": "arn:aws:events:us-east-1:111111111111:replay/r", "State": "CANCELLING"}
        assert await api.refused("CancelReplay", ReplayName="r") == (
            "IllegalStatusException: Replay r is not in a valid state for this operation."
        )


async def test_replays_are_listed_by_archive_by_state_and_in_pages(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await create(api)
        await create(api, "b")
        for number in range(5):
            source = ARCHIVE if number % 2 else ARCHIVE[:-1] + "b"
            await api.call("StartReplay", **{**REPLAY, "ReplayName": f"r{number}", "EventSourceArn": source})
        await api.call("CancelReplay", ReplayName="r3")

        async def names(**request: Any) -> list[str]:
            return [replay["ReplayName"] for replay in (await api.call("ListReplays", **request))["Replays"]]

        assert await names(EventSourceArn=ARCHIVE) == ["r1", "r3"]
        assert await names(State="STARTING") == ["r0", "r1", "r2", "r4"]
        assert await names(State="CANCELLING") == ["r3"]
        assert await names(NamePrefix="r2") == ["r2"]
        first = await api.call("ListReplays", Limit=3)
        assert [replay["ReplayName"] for replay in first["Replays"]] == ["r0", "r1", "r2"]
        assert await names(Limit=3, NextToken=first["NextToken"]) == ["r3", "r4"]


async def test_archives_and_replays_are_there_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await create(api, RetentionDays=3)
        await api.call("StartReplay", **REPLAY)
        before = [await api.call("DescribeArchive", ArchiveName="a"), await api.call("DescribeReplay", ReplayName="r")]
    async with serving(tmp_path) as api:
        after = [await api.call("DescribeArchive", ArchiveName="a"), await api.call("DescribeReplay", ReplayName="r")]
        assert after == before
