"""Global endpoints: two buses of one name in two regions, and a health check that says which of them takes the events.

What may be created and changed, as pure functions over values (user guide, "eb-global-endpoints"; classic.md section
5.8). Texts that nobody recorded are ours. A health check belongs to Route 53, which is not here: the hub's own API says
whether it is healthy, and what nobody has said is healthy.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from router.catalog.model import Rule, Target, Thing
from router.core.arn import InvalidArn, bus_arn, endpoint_arn, parse, rule_arn
from router.core.event import Location
from router.errors import ResourceAlreadyExistsException, ResourceNotFoundException, ValidationException

MANAGED_BY = "events.amazonaws.com"
_RULE_PREFIX = "GlobalEndpointManagedRule-"
_TARGET_ID = "replication"


class Endpoint(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """`location` is the home: the account, and the region of the primary bus."""

    kind: ClassVar[str] = "endpoint"
    endpoint_id: str
    bus: str
    """The name of both buses."""
    other_region: str
    health_check: str
    replicates: bool = True
    role_arn: str | None = None
    description: str | None = None
    healthy: bool = True

    @property
    def id(self) -> str:
        return self.endpoint_id

    @property
    def other(self) -> Location:
        return Location(self.location.account, self.other_region)

    @property
    def takes(self) -> Location:
        """Where events go now."""
        return self.location if self.healthy else self.other


def not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Endpoint {name} does not exist.")


def already_exists(name: str) -> ResourceAlreadyExistsException:
    return ResourceAlreadyExistsException(f"Endpoint {name} already exists.")


def made(
    location: Location, request: Mapping[str, Any], *, endpoint_id: str, now_ms: int, known: Callable[[str], bool]
) -> Endpoint:
    """What CreateEndpoint makes; `known` says whether a bus of this ARN exists. Raises ApiError."""
    name = request["Name"]
    endpoint = Endpoint(
        name=name,
        location=location,
        arn=endpoint_arn(location, name),
        created_ms=now_ms,
        modified_ms=now_ms,
        endpoint_id=endpoint_id,
        bus="",
        other_region="",
        health_check="",
    )
    return updated(endpoint, request, now_ms=now_ms, known=known)


def updated(old: Endpoint, request: Mapping[str, Any], *, now_ms: int, known: Callable[[str], bool]) -> Endpoint:
    """What UpdateEndpoint makes of it: what is not given stays. Raises ApiError."""
    new = old
    if request.get("Description") is not None:
        new = msgspec.structs.replace(new, description=request["Description"] or None)
    if request.get("RoleArn") is not None:
        new = msgspec.structs.replace(new, role_arn=request["RoleArn"])
    if request.get("EventBuses") is not None:
        bus, other = _buses(old.location, [one["EventBusArn"] for one in request["EventBuses"]], known)
        new = msgspec.structs.replace(new, bus=bus, other_region=other)
    if request.get("RoutingConfig") is not None:
        failover = request["RoutingConfig"]["FailoverConfig"]
        route = failover["Secondary"]["Route"]
        if route != new.other_region:
            raise _invalid(
                "RoutingConfig.FailoverConfig.Secondary.Route",
                f"expected the region of the secondary event bus, {new.other_region}, got {route}",
            )
        new = msgspec.structs.replace(new, health_check=failover["Primary"]["HealthCheck"])
    if request.get("ReplicationConfig") is not None:
        state = request["ReplicationConfig"].get("State", "ENABLED")
        new = msgspec.structs.replace(new, replicates=state == "ENABLED")
    if new.replicates and new.role_arn is None:
        raise _invalid("RoleArn", "a role is required where ReplicationConfig.State is ENABLED, which is its default")
    if new.replicates and not all(known(bus_arn(where, new.bus)) for where in (new.location, new.other)):
        raise ResourceNotFoundException(f"Event bus {new.bus} does not exist.")
    return msgspec.structs.replace(new, modified_ms=now_ms)


def with_health(old: Endpoint, *, healthy: bool) -> Endpoint:
    return msgspec.structs.replace(old, healthy=healthy)


def _buses(home: Location, arns: list[str], known: Callable[[str], bool]) -> tuple[str, str]:
    """The name of both buses and the region of the second one."""
    found: dict[str, str] = {}
    for text in arns:
        try:
            arn = parse(text)
        except InvalidArn as error:
            raise _invalid("EventBuses", str(error)) from error
        if arn.account != home.account:
            raise _invalid("EventBuses", f"expected event buses of account {home.account}, got {text}")
        if not known(text):
            name = arn.resource.removeprefix("event-bus/")
            raise ResourceNotFoundException(f"Event bus {name} does not exist.")
        found[arn.region] = arn.resource.removeprefix("event-bus/")
    if len(found) != 2 or len({*found.values()}) != 1 or home.region not in found:
        raise _invalid(
            "EventBuses",
            f"expected two event buses of the same name, one of them in {home.region}, got {', '.join(arns)}",
        )
    (other,) = found.keys() - {home.region}
    return found[other], other


def _invalid(parameter: str, reason: str) -> ValidationException:
    return ValidationException(f"Parameter {parameter} is not valid. Reason: {reason}.")


def rules_of(endpoint: Endpoint) -> list[Rule]:
    """The managed rules that copy what the one bus got through the endpoint to the other. A copy keeps the region in
    which the event was put, so that the other bus's rule does not send it back."""
    if not endpoint.replicates:
        return []
    return [
        _rule(endpoint, here, there)
        for here, there in ((endpoint.location, endpoint.other), (endpoint.other, endpoint.location))
    ]


def _rule(endpoint: Endpoint, here: Location, there: Location) -> Rule:
    name = rule_name(endpoint)
    pattern = msgspec.json.encode({"resources": [endpoint.arn], "region": [here.region]}).decode()
    return Rule(
        name=name,
        bus=endpoint.bus,
        location=here,
        arn=rule_arn(here, endpoint.bus, name),
        event_pattern=pattern,
        role_arn=endpoint.role_arn,
        created_by=here.account,
        managed_by=MANAGED_BY,
        targets=(Target(id=_TARGET_ID, arn=bus_arn(there, endpoint.bus), role_arn=endpoint.role_arn),),
    )


def rule_name(endpoint: Endpoint) -> str:
    return _RULE_PREFIX + endpoint.endpoint_id


def to_answer(endpoint: Endpoint) -> dict[str, Any]:
    """As DescribeEndpoint and ListEndpoints show it."""
    answer: dict[str, Any] = {
        **to_change_answer(endpoint),
        "EndpointId": endpoint.endpoint_id,
        "EndpointUrl": f"https://{endpoint.endpoint_id}.endpoint.events.amazonaws.com",
        "CreationTime": endpoint.created_ms,
        "LastModifiedTime": endpoint.modified_ms,
    }
    if endpoint.description is not None:
        answer["Description"] = endpoint.description
    return answer


def to_change_answer(endpoint: Endpoint) -> dict[str, Any]:
    """As CreateEndpoint and, with the id and the URL, UpdateEndpoint answer."""
    answer: dict[str, Any] = {
        "Name": endpoint.name,
        "Arn": endpoint.arn,
        "RoutingConfig": {
            "FailoverConfig": {
                "Primary": {"HealthCheck": endpoint.health_check},
                "Secondary": {"Route": endpoint.other_region},
            }
        },
        "ReplicationConfig": {"State": "ENABLED" if endpoint.replicates else "DISABLED"},
        "EventBuses": [{"EventBusArn": bus_arn(where, endpoint.bus)} for where in (endpoint.location, endpoint.other)],
        "State": "ACTIVE",
    }
    if endpoint.role_arn is not None:
        answer["RoleArn"] = endpoint.role_arn
    return answer
