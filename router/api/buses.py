"""CreateEventBus, UpdateEventBus, DeleteEventBus, DescribeEventBus, ListEventBuses."""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog import tags
from router.catalog.buses import DEFAULT
from router.catalog.model import Bus
from router.core.event import Location

_ATTRIBUTES = ("KmsKeyIdentifier", "DeadLetterConfig", "LogConfig")


async def create_event_bus(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus = await access.catalog.create_bus(
        Location(caller.account, caller.region),
        request["Name"],
        description=request.get("Description"),
        tags_given=tags.from_request(request.get("Tags") or ()),
        attributes=_attributes(request),
        event_source=request.get("EventSourceName"),
    )
    return {"EventBusArn": bus.arn, **_shown(bus)}


async def update_event_bus(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus = await access.catalog.update_bus(
        Location(caller.account, caller.region),
        request.get("Name", DEFAULT),
        description=request.get("Description"),
        attributes=_attributes(request),
    )
    return {"Arn": bus.arn, "Name": bus.name, **_shown(bus)}


async def delete_event_bus(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.catalog.delete_bus(Location(caller.account, caller.region), request["Name"])
    return {}


async def describe_event_bus(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus = access.bus(caller, request.get("Name"), "events:DescribeEventBus")
    return {**_item(bus), **bus.attributes}


async def list_event_buses(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    location = Location(caller.account, caller.region)
    names, more = page(access.catalog.bus_names(location), request, "ListEventBuses", str(location))
    found = [access.catalog.bus(location, name) for name in names]
    return {"EventBuses": [_item(bus) for bus in found if bus is not None], **more}


def _attributes(request: dict[str, Any]) -> dict[str, Any]:
    return {name: request[name] for name in _ATTRIBUTES if request.get(name) is not None}


def _shown(bus: Bus) -> dict[str, Any]:
    return bus.attributes if bus.description is None else {**bus.attributes, "Description": bus.description}


def _item(bus: Bus) -> dict[str, Any]:
    item: dict[str, Any] = {
        "Name": bus.name,
        "Arn": bus.arn,
        "CreationTime": bus.created_ms,
        "LastModifiedTime": bus.modified_ms,
    }
    if bus.description is not None:
        item["Description"] = bus.description
    if bus.policy is not None:
        item["Policy"] = bus.policy
    return item
