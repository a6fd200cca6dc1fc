"""Plays of what was recorded of archives and replays; what replays deliver is played against a hub process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from router.core.event import Event
from tests.api.hub import Api
from tests.api.recorded import PATTERN, Play, bus_for, step
from tests.catalog.hub import HERE
from tests.recorded import variant_of

ARCHIVED = {"command": "update-account", "payload": {"acc_id": "0a787ecb-4015", "sf_id": "baz"}}


async def source_of(api: Api, variant: str) -> str:
    """The ARN of the bus of a variant of a test."""
    arn = (await api.call("DescribeEventBus", Name=await bus_for(api, variant)))["Arn"]
    assert isinstance(arn, str)
    return arn


async def archive_of(api: Api, source: str, name: str = "my-archive", **more: Any) -> Any:
    return await step(api, "CreateArchive", ArchiveName=name, EventSourceArn=source, RetentionDays=1, **more)


async def archive_life(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    created = await archive_of(api, source, EventPattern=PATTERN, Description="description of the archive")
    return {
        "create-archive": created,
        "list-archives": await step(api, "ListArchives", NamePrefix="my-archive"),
        "describe-archive": await step(api, "DescribeArchive", ArchiveName="my-archive"),
        "update-archive": await step(api, "UpdateArchive", ArchiveName="my-archive", RetentionDays=2),
        "delete-archive": await step(api, "DeleteArchive", ArchiveName="my-archive"),
    }


async def archive_twice(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    await archive_of(api, source)
    return {"create-archive-duplicate-error": await archive_of(api, source)}


async def archive_prefix(api: Api, variant: str) -> dict[str, Any]:
    await archive_of(api, await source_of(api, variant))
    return {
        "list-archives-with-name-prefix": await step(api, "ListArchives", NamePrefix="my"),
        "list-archives-with-full-name": await step(api, "ListArchives", NamePrefix="my-archive"),
        "list-archives-not-existing-archive": await step(api, "ListArchives", NamePrefix="no"),
    }


async def archives_of_no_bus(api: Api, variant: str) -> dict[str, Any]:
    no_bus = "arn:aws:events:us-east-1:111111111111:event-bus/no-bus"
    return {"list-archives-unknown-event-bus-error": await step(api, "ListArchives", EventSourceArn=no_bus)}


async def update_no_archive(api: Api, variant: str) -> dict[str, Any]:
    return {"update-archive-unknown-archive-error": await step(api, "UpdateArchive", ArchiveName="nothing")}


async def archives_enabled(api: Api, variant: str) -> dict[str, Any]:
    await archive_of(api, await source_of(api, variant))
    return {"list-archives-state-enabled": await step(api, "ListArchives", State="ENABLED")}


async def archived_events(api: Api, variant: str) -> dict[str, Any]:
    pattern = {"EventPattern": PATTERN} if "True" in variant else {}
    await archive_of(api, await source_of(api, variant), Description="description of the archive", **pattern)
    await api.archive(api.archives.get(HERE, "my-archive").number, *archived(10))
    return {
        "list-archives": await step(api, "ListArchives", NamePrefix="my-archive"),
        "describe-archive": await step(api, "DescribeArchive", ArchiveName="my-archive"),
    }


def archived(count: int) -> list[Event]:
    kind, detail = "core.update-account-command", json.dumps(ARCHIVED, separators=(",", ":"))
    time = "2026-11-23T10:00:00Z"
    return [Event(f"id-{number}", kind, kind, HERE.account, time, HERE.region, (), detail) for number in range(count)]


async def replay_of(api: Api, name: str, source: str, archive: str = "my-archive", **more: Any) -> Any:
    request = {
        "EventSourceArn": f"arn:aws:events:us-east-1:111111111111:archive/{archive}",
        "EventStartTime": 1_760_000_000,
        "EventEndTime": 1_800_000_000,
        "Destination": {"Arn": source},
        **more,
    }
    return await step(api, "StartReplay", ReplayName=name, **request)


@asynccontextmanager
async def replaying(api: Api) -> AsyncIterator[None]:
    running = asyncio.create_task(api.replays.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def ended(api: Api, name: str) -> None:
    async with asyncio.timeout(10):
        while api.replays.get(HERE, name).state in ("STARTING", "RUNNING"):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


async def replay_prefix(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    await archive_of(api, source)
    async with replaying(api):
        await replay_of(api, "my-prefix-test-replay", source)
        await ended(api, "my-prefix-test-replay")
    return {
        "list-replays-with-full-name": await step(api, "ListReplays", NamePrefix="my-prefix-test-replay"),
        "list-replays-with-prefix": await step(api, "ListReplays", NamePrefix="my-prefix"),
    }


async def replay_of_no_archive(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    return {"start-replay-unknown-archive-error": await replay_of(api, "r", source, "no-archive")}


async def replay_twice(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    await archive_of(api, source)
    await archive_of(api, source, "other")
    await replay_of(api, "r", source)
    archive = "other" if "different" in variant else "my-archive"
    return {"start-replay-duplicate-error": await replay_of(api, "r", source, archive)}


async def replay_backwards(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    await archive_of(api, source)
    seconds = int(variant_of(variant))
    refused = await replay_of(api, "r", source, EventEndTime=1_760_000_000 - seconds)
    return {"start-replay-invalid-end-time-error": refused}


async def no_replay(api: Api, variant: str) -> dict[str, Any]:
    return {"describe-replay-unknown-replay-error": await step(api, "DescribeReplay", ReplayName="nothing")}


async def eleven_replays(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    await archive_of(api, source)
    for number in range(10):
        assert (await replay_of(api, f"r{number}", source))["State"] == "STARTING"
    return {"list-replays-with-limit": await replay_of(api, "r10", source)}


PLAYS: dict[str, Play] = {
    "test_create_list_describe_update_delete_archive": archive_life,
    "test_create_archive_error_duplicate": archive_twice,
    "test_list_archive_with_name_prefix": archive_prefix,
    "test_list_archive_error_unknown_source_arn": archives_of_no_bus,
    "test_update_archive_error_unknown_archive": update_no_archive,
    "test_list_archive_state_enabled": archives_enabled,
    "test_list_archive_with_events": archived_events,
    "test_list_replays_with_prefix": replay_prefix,
    "test_start_replay_error_unknown_archive": replay_of_no_archive,
    "test_start_replay_error_duplicate_name_same_archive": replay_twice,
    "test_start_replay_error_duplicate_different_archive": replay_twice,
    "test_start_replay_error_invalid_end_time": replay_backwards,
    "test_describe_replay_error_unknown_replay": no_replay,
    "tests_concurrency_error_too_many_active_replays": eleven_replays,
}
