"""PutPermission and RemovePermission: the resource policies of buses."""

from typing import Any

from router.api.access import Access
from router.aws.service import Caller
from router.catalog import permissions
from router.errors import ValidationException

_SHORT_FORM = ("Action", "Principal", "StatementId", "Condition")


async def put_permission(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus = access.bus(caller, request.get("EventBusName"), "events:PutPermission")
    policy = request.get("Policy")
    if policy is None:
        permission = permissions.from_request(request)
        await access.catalog.put_permission(bus.location, bus.name, permission)
        return {}
    beside = [name for name in _SHORT_FORM if request.get(name) is not None]
    if beside:
        raise ValidationException(f"Parameter(s) {', '.join(beside)} must not be specified together with Policy.")
    await access.catalog.put_policy(bus.location, bus.name, policy)
    return {}


async def remove_permission(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    bus = access.bus(caller, request.get("EventBusName"), "events:RemovePermission")
    everything = bool(request.get("RemoveAllPermissions"))
    statement_id = request.get("StatementId")
    if not everything and not statement_id:
        raise ValidationException("Parameter(s) StatementId or RemoveAllPermissions must be specified.")
    await access.catalog.remove_permission(bus.location, bus.name, None if everything else statement_id)
    return {}
