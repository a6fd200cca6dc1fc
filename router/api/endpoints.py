"""CreateEndpoint, UpdateEndpoint, DescribeEndpoint, ListEndpoints, DeleteEndpoint."""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog.endpoints import Endpoint, to_answer, to_change_answer
from router.core.event import Location


async def create_endpoint(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    return to_change_answer(await access.endpoints.create(Location(caller.account, caller.region), request))


async def update_endpoint(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    shown = to_answer(await access.endpoints.update(Location(caller.account, caller.region), request))
    return {name: value for name, value in shown.items() if name not in _NOT_AFTER_UPDATE}


async def describe_endpoint(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    return to_answer(access.endpoints.get(_home(caller, request), request["Name"]))


async def list_endpoints(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    home = _home(caller, request)
    known = {one.name: one for one in access.catalog.things.here(Endpoint, home)}
    names, more = page(list(known), {**request, "Limit": request.get("MaxResults")}, "ListEndpoints", str(home))
    return {"Endpoints": [to_answer(known[name]) for name in names], **more}


async def delete_endpoint(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.endpoints.delete(Location(caller.account, caller.region), request["Name"])
    return {}


_NOT_AFTER_UPDATE = ("CreationTime", "LastModifiedTime", "Description")


def _home(caller: Caller, request: dict[str, Any]) -> Location:
    """Endpoints are seen from every region by their home's."""
    return Location(caller.account, request.get("HomeRegion") or caller.region)
