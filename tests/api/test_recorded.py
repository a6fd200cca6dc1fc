"""Answers recorded on AWS, step by step: the steps are played again and the answers must fit, placeholder for
placeholder.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from router.core.event import Event
from router.errors import ApiError
from tests.api.hub import Api, serving
from tests.catalog.hub import HERE, OTHER, QUEUE
from tests.shared import needs_shared, rows

ROWS = rows("conformance/api.jsonl")
PATTERN = json.dumps(
    {
        "source": ["core.update-account-command"],
        "detail-type": ["core.update-account-command"],
        "detail": {"command": ["update-account"]},
    }
)
TAGS = [{"Key": "tag1", "Value": "value1"}, {"Key": "tag2", "Value": "value2"}]
Play = Callable[[Api, str], Awaitable[dict[str, Any]]]


async def step(api: Api, operation: str, **request: Any) -> Any:
    try:
        return await api.call(operation, **request)
    except ApiError as error:
        return {"Error": {"Code": error.code, "Message": error.message}}


async def bus_for(api: Api, variant: str) -> str:
    """The bus of a variant of a test: the default one or one of the test's own."""
    if "custom" not in variant:
        return "default"
    await api.call("CreateEventBus", Name="my-bus")
    return "my-bus"


async def buses(api: Api, variant: str) -> dict[str, Any]:
    created = await step(api, "CreateEventBus", Name="my-bus", Description="test bus")
    listed = await step(api, "ListEventBuses", NamePrefix="my")
    described = await step(api, "DescribeEventBus", Name="my-bus")
    deleted = await step(api, "DeleteEventBus", Name="my-bus")
    after = await step(api, "ListEventBuses", NamePrefix="my")
    return {
        "create-custom-event-bus-us-east-1": created,
        "list-event-buses-after-create-us-east-1": listed,
        "describe-custom-event-bus-us-east-1": described,
        "delete-custom-event-bus-us-east-1": deleted,
        "list-event-buses-after-delete-us-east-1": after,
    }


async def same_bus_twice(api: Api, variant: str) -> dict[str, Any]:
    await api.call("CreateEventBus", Name="my-bus")
    return {"create-multiple-event-buses-same-name": await step(api, "CreateEventBus", Name="my-bus")}


async def no_bus(api: Api, variant: str) -> dict[str, Any]:
    return {"describe-not-existing-event-bus-error": await step(api, "DescribeEventBus", Name="no-bus")}


async def bus_prefix(api: Api, variant: str) -> dict[str, Any]:
    await api.call("CreateEventBus", Name="my-bus")
    await api.call("CreateEventBus", Name="other")
    return {
        "list-event-buses-prefix-complete-name": await step(api, "ListEventBuses", NamePrefix="my-bus"),
        "list-event-buses-prefix": await step(api, "ListEventBuses", NamePrefix="my"),
    }


async def bus_limit(api: Api, variant: str) -> dict[str, Any]:
    for number in range(6):
        await api.call("CreateEventBus", Name=f"my-bus-{number}")
    first = await step(api, "ListEventBuses", NamePrefix="my", Limit=3)
    second = await step(api, "ListEventBuses", NamePrefix="my", Limit=3, NextToken=first["NextToken"])
    return {"list-event-buses-limit": first, "list-event-buses-limit-next-token": second}


async def remove_permission(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    for sid in ("one", "two"):
        await api.call(
            "PutPermission",
            EventBusName=bus,
            Action="events:PutEvents",
            Principal=OTHER.account,
            StatementId=sid,
        )
    removed = await step(api, "RemovePermission", EventBusName=bus, StatementId="two")
    described = await step(api, "DescribeEventBus", Name=bus)
    cleared = await step(api, "RemovePermission", EventBusName=bus, RemoveAllPermissions=True)
    return {
        "remove-permission": removed,
        "describe-event-bus-remove-permission": described,
        "remove-permission-all": cleared,
        "describe-event-bus-remove-permission-all": await step(api, "DescribeEventBus", Name=bus),
    }


async def remove_unknown_permission(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    if "True" in variant:
        await api.call("PutPermission", EventBusName=bus, Action="events:PutEvents", Principal="*", StatementId="one")
    refused = await step(api, "RemovePermission", EventBusName=bus, StatementId="two")
    return {"remove-permission-non-existing-sid-error": refused}


async def rule_life(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    put = await step(api, "PutRule", Name="my-rule", EventBusName=bus, EventPattern=PATTERN)
    listed = await step(api, "ListRules", NamePrefix="my", EventBusName=bus)
    described = await step(api, "DescribeRule", Name="my-rule", EventBusName=bus)
    deleted = await step(api, "DeleteRule", Name="my-rule", EventBusName=bus)
    after = await step(api, "ListRules", NamePrefix="my", EventBusName=bus)
    return {
        "put-rule": put,
        "list-rules": listed,
        "describe-rule": described,
        "delete-rule": deleted,
        "list-rules-after-delete": after,
    }


async def switching(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    await api.call("PutRule", Name="my-rule", EventBusName=bus, EventPattern=PATTERN)
    disabled = await step(api, "DisableRule", Name="my-rule", EventBusName=bus)
    described = await step(api, "DescribeRule", Name="my-rule", EventBusName=bus)
    enabled = await step(api, "EnableRule", Name="my-rule", EventBusName=bus)
    return {
        "disable-rule": disabled,
        "describe-rule-disabled": described,
        "enable-rule": enabled,
        "describe-rule-enabled": await step(api, "DescribeRule", Name="my-rule", EventBusName=bus),
    }


async def delete_with_targets(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    await api.call("PutTargets", Rule="my-rule", Targets=[{"Id": "t", "Arn": QUEUE}])
    return {"delete-rule-with-targets-error": await step(api, "DeleteRule", Name="my-rule")}


async def target_life(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    await api.call("PutRule", Name="my-rule", EventBusName=bus, EventPattern=PATTERN)
    put = await step(api, "PutTargets", Rule="my-rule", EventBusName=bus, Targets=[{"Id": "my-target", "Arn": QUEUE}])
    listed = await step(api, "ListTargetsByRule", Rule="my-rule", EventBusName=bus)
    removed = await step(api, "RemoveTargets", Rule="my-rule", EventBusName=bus, Ids=["my-target"])
    after = await step(api, "ListTargetsByRule", Rule="my-rule", EventBusName=bus)
    return {
        "put-target": put,
        "list-targets": listed,
        "remove-target": removed,
        "list-targets-after-delete": after,
    }


async def six_targets(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    targets = [{"Id": str(number), "Arn": QUEUE} for number in range(7)]
    return {"put-targets-client-error": await step(api, "PutTargets", Rule="my-rule", Targets=targets)}


async def target_limit(api: Api, variant: str) -> dict[str, Any]:
    await api.call("PutRule", Name="my-rule", EventPattern=PATTERN)
    targets = [{"Id": f"target{number}", "Arn": QUEUE} for number in range(5)]
    await api.call("PutTargets", Rule="my-rule", Targets=targets)
    first = await step(api, "ListTargetsByRule", Rule="my-rule", Limit=3)
    second = await step(api, "ListTargetsByRule", Rule="my-rule", Limit=3, NextToken=first["NextToken"])
    return {"list-targets-limit": first, "list-targets-limit-next-token": second}


async def names_by_target(api: Api, variant: str) -> dict[str, Any]:
    bus = await bus_for(api, variant)
    for number in range(3):
        await api.call("PutRule", Name=f"rule{number}", EventBusName=bus, EventPattern=PATTERN)
        targets = [{"Id": "t", "Arn": QUEUE}]
        await api.call("PutTargets", Rule=f"rule{number}", EventBusName=bus, Targets=targets)
    found = await step(api, "ListRuleNamesByTarget", TargetArn=QUEUE, EventBusName=bus)
    return {"list_rule_names_by_target": found}


async def tagging(api: Api, variant: str) -> dict[str, Any]:
    arn = (await api.call("CreateEventBus", Name="my-bus"))["EventBusArn"]
    if "[rule" in variant:
        put = await api.call("PutRule", Name="r", EventBusName="my-bus", EventPattern=PATTERN)
        arn = put["RuleArn"]
    tagged = await step(api, "TagResource", ResourceARN=arn, Tags=TAGS)
    listed = await step(api, "ListTagsForResource", ResourceARN=arn)
    untagged = await step(api, "UntagResource", ResourceARN=arn, TagKeys=["tag2"])
    after = await step(api, "ListTagsForResource", ResourceARN=arn)
    return {
        "tag_resource": tagged,
        "list_tags_for_resource": listed,
        "untag_resource": untagged,
        "list_tags_for_untagged_resource": after,
        "untag_resource_not_existing_tag": await step(api, "UntagResource", ResourceARN=arn, TagKeys=["tag2"]),
    }


async def tag_nothing(api: Api, variant: str) -> dict[str, Any]:
    kind = "rule" if "rule" in variant else "event-bus"
    arn = f"arn:aws:events:us-east-1:111111111111:{kind}/nothing"
    return {
        "tag_not_existing_resource_error": await step(api, "TagResource", ResourceARN=arn, Tags=TAGS),
        "list_tags_for_not_existing_resource_error": await step(api, "ListTagsForResource", ResourceARN=arn),
        "untag_not_existing_resource_error": await step(api, "UntagResource", ResourceARN=arn, TagKeys=["tag1"]),
    }


async def rule_with_tags(api: Api, variant: str) -> dict[str, Any]:
    put = await step(api, "PutRule", Name="my_rule", EventPattern=PATTERN, Tags=TAGS)
    listed = await step(api, "ListTagsForResource", ResourceARN=put["RuleArn"])
    return {"put_rule_with_tags": put, "list_tags_for_rule": listed}


async def bad_schedule(api: Api, variant: str) -> dict[str, Any]:
    expression = variant[variant.index("[") + 1 : -1]
    refused = await step(api, "PutRule", Name="my-rule", ScheduleExpression=expression)
    return {"invalid-put-rule": refused, "put-rule": refused}


async def good_schedule(api: Api, variant: str) -> dict[str, Any]:
    expression = variant[variant.index("[") + 1 : -1] if "[" in variant else "rate(1 minute)"
    if variant.endswith("::tests_put_rule_with_schedule_cron"):  # which expression it was is in its answer only
        (expression,) = (row["response"]["Rules"][0]["ScheduleExpression"] for row in ROWS
                         if row["test"] == variant and row["step"] == "list-rules")  # fmt: skip
    put = await step(api, "PutRule", Name="my-rule", ScheduleExpression=expression)
    return {"put-rule": put, "list-rules": await step(api, "ListRules", NamePrefix="my")}


ARCHIVED = {"command": "update-account", "payload": {"acc_id": "0a787ecb-4015", "sf_id": "baz"}}


async def source_of(api: Api, variant: str) -> str:
    """The ARN of the bus of a variant of a test."""
    arn = (await api.call("DescribeEventBus", Name=await bus_for(api, variant)))["Arn"]
    assert isinstance(arn, str)
    return arn


async def archive_of(api: Api, source: str, name: str = "my-archive", **more: Any) -> Any:
    return await step(
        api, "CreateArchive", ArchiveName=name, EventSourceArn=source, RetentionDays=1, **more
    )  # fmt: skip


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


async def replay_life(api: Api, variant: str) -> dict[str, Any]:
    source = await source_of(api, variant)
    await archive_of(api, source, EventPattern=PATTERN)
    await api.archive(api.archives.get(HERE, "my-archive").number, *archived(5))
    rule = (await api.call("PutRule", Name="my-rule", EventPattern=PATTERN, EventBusName=source))["RuleArn"]
    more: dict[str, Any] = {
        "Destination": {"Arn": source, "FilterArns": [rule]},
        "Description": "description of the replay",
    }
    async with replaying(api):
        started = await replay_of(api, "replay-name", source, **more)
        await ended(api, "replay-name")
        listed = await step(api, "ListReplays", NamePrefix="replay-name")
        described = await step(api, "DescribeReplay", ReplayName="replay-name")
    await replay_of(api, "replay-name-canceled", source, **more)
    cancelled = await step(api, "CancelReplay", ReplayName="replay-name-canceled")
    return {
        "start-replay": started,
        "list-replays": listed,
        "describe-replay": described,
        "cancel-replay": cancelled,
        "describe-replay-canceled": {
            **await step(api, "DescribeReplay", ReplayName="replay-name-canceled"),
            "ReplayName": "replay-name",  # recorded so
        },
    }


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
    seconds = int(variant[variant.index("[") + 1 : -1])
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


API_KEY = {"ApiKeyAuthParameters": {"ApiKeyName": "ApiKey", "ApiKeyValue": "secret"}}
OAUTH = {
    "OAuthParameters": {
        "AuthorizationEndpoint": "https://example.com/oauth",
        "HttpMethod": "POST",
        "ClientParameters": {"ClientID": "client_id", "ClientSecret": "client_secret"},
    }
}
AUTHORIZATIONS = {
    "auth_params0": ("BASIC", {"BasicAuthParameters": {"Username": "user", "Password": "pass"}}),
    "auth_params2": ("OAUTH_CLIENT_CREDENTIALS", OAUTH),
    "oauth": ("OAUTH_CLIENT_CREDENTIALS", OAUTH),
    "auth0": ("BASIC", {"BasicAuthParameters": {"Username": "user", "Password": "pass"}}),
    "auth1": ("API_KEY", API_KEY),
    "auth2": ("OAUTH_CLIENT_CREDENTIALS", OAUTH),
}


def authorization(variant: str) -> dict[str, Any]:
    kind, parameters = AUTHORIZATIONS.get(variant.partition("[")[2].rstrip("]"), ("API_KEY", API_KEY))
    return {"Name": "my-connection", "AuthorizationType": kind, "AuthParameters": parameters}


async def connection(api: Api, variant: str) -> dict[str, Any]:
    request = authorization(variant)
    if "[" not in variant:
        request["AuthParameters"] = {**request["AuthParameters"], "InvocationHttpParameters": {}}
    created = await step(api, "CreateConnection", **request)
    described = await step(api, "DescribeConnection", Name="my-connection")
    return {
        "create-connection": created,
        "create-connection-auth": created,
        "describe-connection": described,
        "describe-connection-auth": described,
    }


async def deleted_connection(api: Api, variant: str) -> dict[str, Any]:
    created = await step(api, "CreateConnection", **authorization(variant))
    deleted = await step(api, "DeleteConnection", Name="my-connection")
    return {
        "create-connection-response": created,
        "delete-connection": deleted,
        "describe-deleted-connection": await step(api, "DescribeConnection", Name="my-connection"),
    }


async def bad_connection_name(api: Api, variant: str) -> dict[str, Any]:
    request = {**authorization(variant), "Name": "Invalid Name With Spaces!"}
    return {"create-connection-invalid-name-error": await step(api, "CreateConnection", **request)}


async def bad_connection(api: Api, variant: str) -> dict[str, Any]:
    name = "This should fail with two errors 123467890123412341234123412341234"
    request = {**authorization(variant), "Name": name, "AuthorizationType": "INVALID"}
    return {"create_connection_exc": await step(api, "CreateConnection", **request)}


async def api_destination(api: Api, variant: str) -> dict[str, Any]:
    arn = (await api.call("CreateConnection", **authorization(variant)))["ConnectionArn"]
    played = {
        "create-api-destination": await step(
            api,
            "CreateApiDestination",
            Name="my-destination",
            ConnectionArn=arn,
            HttpMethod="POST",
            InvocationEndpoint="https://example.com/api",
            Description="Test API destination",
        ),
        "describe-api-destination": await step(api, "DescribeApiDestination", Name="my-destination"),
        "list-api-destinations": await step(api, "ListApiDestinations", NamePrefix="my-destination"),
        "update-api-destination": await step(
            api,
            "UpdateApiDestination",
            Name="my-destination",
            ConnectionArn=arn,
            HttpMethod="PUT",
            InvocationEndpoint="https://example.com/api/v2",
            Description="Updated API destination",
        ),
        "describe-updated-api-destination": await step(api, "DescribeApiDestination", Name="my-destination"),
        "delete-api-destination": await step(api, "DeleteApiDestination", Name="my-destination"),
        "describe-api-destination-not-found-error": await step(api, "DescribeApiDestination", Name="my-destination"),
    }
    # The recording calls ARNs by these names, whatever they are.
    return json.loads(  # type: ignore[no-any-return]
        re.sub(r"arn:aws:events:[^\"]*:(connection|api-destination)/[^\"]*", r"\1-arn", json.dumps(played))
    )


async def bad_api_destination(api: Api, variant: str) -> dict[str, Any]:
    request = {"Name": "d", "InvocationEndpoint": "https://example.com/api"}
    refused = await step(
        api,
        "CreateApiDestination",
        **{**request, "ConnectionArn": "invalid-connection-arn", "HttpMethod": "INVALID_METHOD"},
    )
    return {"create-api-destination-invalid-parameters-error": refused}


async def bad_api_destination_name(api: Api, variant: str) -> dict[str, Any]:
    arn = (await api.call("CreateConnection", **authorization(variant)))["ConnectionArn"]
    refused = await step(
        api,
        "CreateApiDestination",
        Name="Invalid Name With Spaces!",
        ConnectionArn=arn,
        HttpMethod="POST",
        InvocationEndpoint="https://example.com/api",
    )
    return {"create-api-destination-invalid-name-error": refused}


PLAYS: dict[str, Play] = {
    "test_create_list_describe_update_delete_archive": archive_life,
    "test_create_archive_error_duplicate": archive_twice,
    "test_list_archive_with_name_prefix": archive_prefix,
    "test_list_archive_error_unknown_source_arn": archives_of_no_bus,
    "test_update_archive_error_unknown_archive": update_no_archive,
    "test_list_archive_state_enabled": archives_enabled,
    "test_list_archive_with_events": archived_events,
    "test_start_list_describe_canceled_replay": replay_life,
    "test_list_replays_with_prefix": replay_prefix,
    "test_start_replay_error_unknown_archive": replay_of_no_archive,
    "test_start_replay_error_duplicate_name_same_archive": replay_twice,
    "test_start_replay_error_duplicate_different_archive": replay_twice,
    "test_start_replay_error_invalid_end_time": replay_backwards,
    "test_describe_replay_error_unknown_replay": no_replay,
    "tests_concurrency_error_too_many_active_replays": eleven_replays,
    "test_create_list_describe_delete_custom_event_buses": buses,
    "test_create_multiple_event_buses_same_name": same_bus_twice,
    "test_describe_delete_not_existing_event_bus": no_bus,
    "test_list_event_buses_with_prefix": bus_prefix,
    "test_list_event_buses_with_limit": bus_limit,
    "test_remove_permission": remove_permission,
    "test_remove_permission_non_existing_sid": remove_unknown_permission,
    "test_put_list_with_prefix_describe_delete_rule": rule_life,
    "test_disable_re_enable_rule": switching,
    "test_delete_rule_with_targets": delete_with_targets,
    "test_put_list_remove_target": target_life,
    "test_add_exceed_fife_targets_per_rule": six_targets,
    "test_list_target_by_rule_limit": target_limit,
    "test_list_rule_names_by_target": names_by_target,
    "tests_tag_untag_resource": tagging,
    "tests_tag_list_untag_not_existing_resource": tag_nothing,
    "test_put_rule_with_tags": rule_with_tags,
    "test_put_rule_with_schedule_rate": good_schedule,
    "tests_put_rule_with_schedule_cron": good_schedule,
    "test_create_connection": connection,
    "test_create_connection_with_auth": connection,
    "test_connection_secrets": connection,
    "test_delete_connection": deleted_connection,
    "test_create_connection_name_validation": bad_connection_name,
    "test_create_connection_validations": bad_connection,
    "test_api_destinations": api_destination,
    "test_create_api_destination_invalid_parameters": bad_api_destination,
    "test_create_api_destination_name_validation": bad_api_destination_name,
    "tests_put_rule_with_invalid_schedule_cron": bad_schedule,
    "test_put_rule_with_invalid_schedule_rate": bad_schedule,
}


def name_of(test: str) -> str:
    return test.partition("[")[0].rpartition("::")[2]


CASES = sorted({row["test"] for row in ROWS if name_of(row["test"]) in PLAYS})


def mismatch(expected: Any, got: Any, path: str = "$") -> str | None:
    """Where the answer does not fit what was recorded, or None."""
    if isinstance(expected, dict) and isinstance(got, str):
        got = json.loads(got)  # patterns and policies are recorded as the values of their texts
    if isinstance(expected, dict) and isinstance(got, dict):
        names = expected.keys() - {"ResponseMetadata"}
        if names != got.keys():
            return f"{path}: expected {sorted(names)}, got {sorted(got)}"
        return next(filter(None, (mismatch(expected[name], got[name], f"{path}.{name}") for name in names)), None)
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return next(filter(None, (mismatch(one, two, f"{path}[{index}]") for index, (one, two) in pairs)), None)
    if expected == "datetime":
        return None if isinstance(got, (int, float)) else f"{path}: expected a time, got {got!r}"
    if isinstance(expected, str) and isinstance(got, str):
        parts = re.split(r"<+[a-zA-Z_:>0-9-]+>", expected)
        fits = re.fullmatch(".+".join(re.escape(part) for part in parts), got)
        return None if fits else f"{path}: expected {expected!r}, got {got!r}"
    return None if expected == got else f"{path}: expected {expected!r}, got {got!r}"


@needs_shared
@pytest.mark.parametrize("case", CASES)
async def test_answers_fit_what_was_recorded_on_aws(tmp_path: Path, case: str) -> None:
    recorded = {
        row["step"]: row["response"] or {"Error": {"Code": row["error_code"], "Message": row["error_message"]}}
        for row in ROWS
        if row["test"] == case and not row.get("misleading")
    }
    async with serving(tmp_path) as api:
        played = await PLAYS[name_of(case)](api, case)
    compared = recorded.keys() & played.keys()
    assert compared
    assert [found for name in sorted(compared) if (found := mismatch(recorded[name], played[name], name))] == []
