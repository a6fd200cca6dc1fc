"""CreateApiDestination, UpdateApiDestination, DescribeApiDestination, ListApiDestinations, DeleteApiDestination."""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog import api_destinations
from router.catalog.api_destinations import ApiDestination
from router.core.event import Location
from router.errors import ValidationException


async def create_api_destination(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    made = await access.connections.create_destination(
        Location(caller.account, caller.region),
        request["Name"],
        connection_arn=request["ConnectionArn"],
        endpoint=request["InvocationEndpoint"],
        method=request["HttpMethod"],
        rate=request.get("InvocationRateLimitPerSecond"),
        description=request.get("Description"),
    )
    return _changed(access, made)


async def update_api_destination(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    new = await access.connections.update_destination(
        Location(caller.account, caller.region),
        request["Name"],
        connection_arn=request.get("ConnectionArn"),
        invocation_endpoint=request.get("InvocationEndpoint"),
        http_method=request.get("HttpMethod"),
        invocation_rate_limit_per_second=request.get("InvocationRateLimitPerSecond"),
        description=request.get("Description"),
    )
    return _changed(access, new)


async def describe_api_destination(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    location = Location(caller.account, caller.region)
    found = access.catalog.things.get(ApiDestination, location, request["Name"])
    if found is None:
        raise api_destinations.not_found(request["Name"], "describe")
    item = _item(access, found)
    return item if found.description is None else {**item, "Description": found.description}


async def list_api_destinations(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    location = Location(caller.account, caller.region)
    connection = request.get("ConnectionArn")
    if connection is not None and request.get("NamePrefix") is not None:
        raise ValidationException(
            "Failed to list the api-destination(s). Request failed because only one filter is supported per request, "
            "either ConnectionArn or NamePrefix."
        )
    here = access.catalog.things.here(ApiDestination, location)
    known = {one.name: one for one in here if connection in (None, one.connection_arn)}
    names, more = page(list(known), request, "ListApiDestinations", str(location), connection or "")
    return {"ApiDestinations": [_item(access, known[name]) for name in names], **more}


async def delete_api_destination(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.connections.delete_destination(Location(caller.account, caller.region), request["Name"])
    return {}


def _changed(access: Access, destination: ApiDestination) -> dict[str, Any]:
    return {
        "ApiDestinationArn": destination.arn,
        "ApiDestinationState": api_destinations.state(access.catalog.things, destination),
        "CreationTime": destination.created_ms,
        "LastModifiedTime": destination.modified_ms,
    }


def _item(access: Access, destination: ApiDestination) -> dict[str, Any]:
    return {
        **_changed(access, destination),
        "Name": destination.name,
        "ConnectionArn": destination.connection_arn,
        "InvocationEndpoint": destination.invocation_endpoint,
        "HttpMethod": destination.http_method,
        "InvocationRateLimitPerSecond": destination.invocation_rate_limit_per_second,
    }
