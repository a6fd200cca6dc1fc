"""StartReplay, DescribeReplay, ListReplays, CancelReplay."""

from typing import Any

from router.api.access import Access
from router.api.pages import only_filter, page
from router.aws.service import Caller
from router.catalog.replays import Replay
from router.core.event import Location
from router.sources.replay import Replays


async def start_replay(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    destination = request["Destination"]
    replay = await access.replays.start(
        Location(caller.account, caller.region),
        request["ReplayName"],
        archive_arn=request["EventSourceArn"],
        destination=destination["Arn"],
        filter_arns=destination.get("FilterArns") or (),
        start_ms=request["EventStartTime"],
        end_ms=request["EventEndTime"],
        description=request.get("Description"),
    )
    return {"ReplayArn": replay.arn, "State": replay.state, "ReplayStartTime": replay.created_ms}


async def describe_replay(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    replay = access.replays.get(Location(caller.account, caller.region), request["ReplayName"])
    destination: dict[str, Any] = {"Arn": replay.bus_arn}
    if replay.filter_arns:
        destination["FilterArns"] = list(replay.filter_arns)
    answer = {**_item(access.replays, replay), "ReplayArn": replay.arn, "Destination": destination}
    return answer if replay.description is None else {**answer, "Description": replay.description}


async def list_replays(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    here = Location(caller.account, caller.region)
    replays = access.replays
    chosen = only_filter(request, "ListReplays")
    source, state = request.get("EventSourceArn"), request.get("State")
    names = replays.names(here)
    if source is not None:
        names = [name for name in names if replays.get(here, name).archive_arn == source]
    elif state is not None:
        names = [name for name in names if replays.get(here, name).state == state]
    found, more = page(names, request, "ListReplays", str(here), chosen)
    return {"Replays": [_item(replays, replays.get(here, name)) for name in found], **more}


async def cancel_replay(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    replay = await access.replays.cancel(Location(caller.account, caller.region), request["ReplayName"])
    return {"ReplayArn": replay.arn, "State": replay.state}


def _item(replays: Replays, replay: Replay) -> dict[str, Any]:
    item = {
        "ReplayName": replay.name,
        "EventSourceArn": replay.archive_arn,
        "State": replay.state,
        "StateReason": replay.state_reason,
        "EventStartTime": replay.start_ms,
        "EventEndTime": replay.end_ms,
        "EventLastReplayedTime": replays.last_ms(replay),
        "ReplayStartTime": replay.created_ms,
        "ReplayEndTime": replay.ended_ms,
    }
    return {name: value for name, value in item.items() if value is not None}
