"""Global endpoints of the hub: their changes, with the managed rules that replicate, and the bus that takes events now.

Decisions are `catalog/endpoints`'s. A change to an endpoint and its managed rules is one commit.
"""

from collections.abc import Mapping
from typing import Any

from router.catalog import endpoints
from router.catalog.catalog import Catalog
from router.catalog.endpoints import Endpoint
from router.catalog.model import Rule
from router.catalog.state import Changes
from router.catalog.tags import LIMIT_EXCEEDED
from router.core.arn import bus_name
from router.core.event import Location
from router.core.pattern import Pattern, parse
from router.errors import LimitExceededException, ResourceNotFoundException
from router.limits import ENDPOINTS_PER_LOCATION_MAX


class GlobalEndpoints:
    """See the module."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._world = catalog.world

    # reading

    def get(self, location: Location, name: str) -> Endpoint:
        """Raises ResourceNotFoundException."""
        found = self._catalog.things.get(Endpoint, location, name)
        if found is None:
            raise endpoints.not_found(name)
        return found

    def by_id(self, account: str, endpoint_id: str) -> Endpoint | None:
        """The account's endpoint with this id, wherever its home is."""
        found = self._catalog.things.by_id(Endpoint, endpoint_id)
        return found if found is not None and found.location.account == account else None

    # changing

    async def create(self, location: Location, request: Mapping[str, Any]) -> Endpoint:
        async with self._catalog.changing() as change:
            if self._catalog.things.get(Endpoint, location, request["Name"]) is not None:
                raise endpoints.already_exists(request["Name"])
            if len(self._catalog.things.names(Endpoint, location)) >= ENDPOINTS_PER_LOCATION_MAX:
                raise LimitExceededException(LIMIT_EXCEEDED)
            made = endpoints.made(
                location,
                request,
                endpoint_id=f"{self._world.token(8).hex()}.{self._world.token(2).hex()}",
                now_ms=self._world.now_ms(),
                known=self._known,
            )
            await change.commit(Changes(things=(made,), rules=_put(made)))
            return made

    async def update(self, location: Location, request: Mapping[str, Any]) -> Endpoint:
        async with self._catalog.changing() as change:
            old = self.get(location, request["Name"])
            new = endpoints.updated(old, request, now_ms=self._world.now_ms(), known=self._known)
            coming = _put(new)
            staying = {rule.arn for rule, _ in coming}
            gone = tuple(rule for rule in self._managed(old) if rule.arn not in staying)
            await change.commit(Changes(things=(new,), rules=coming, gone_rules=gone))
            return new

    async def delete(self, location: Location, name: str) -> None:
        async with self._catalog.changing() as change:
            old = self.get(location, name)
            await change.commit(Changes(gone_things=(old,), gone_rules=tuple(self._managed(old))))

    async def set_health(self, health_check: str, *, healthy: bool) -> list[Endpoint]:
        """Say what Route 53 would: the endpoints that ask this health check, as they are now. Raises
        ResourceNotFoundException where none does."""
        async with self._catalog.changing() as change:
            every = [one for one in self._catalog.things.all(Endpoint) if one.health_check == health_check]
            if not every:
                raise ResourceNotFoundException(f"No endpoint has the health check {health_check}.")
            changed = tuple(endpoints.with_health(one, healthy=healthy) for one in every)
            await change.commit(Changes(things=changed))
            return list(changed)

    def _known(self, bus_arn: str) -> bool:
        location, name = bus_name(bus_arn)
        return location is not None and self._catalog.bus(location, name) is not None

    def _managed(self, endpoint: Endpoint) -> list[Rule]:
        """Its rules that are there."""
        found = (
            self._catalog.rules(where, endpoint.bus).get(endpoints.rule_name(endpoint))
            for where in (endpoint.location, endpoint.other)
        )
        return [rule for rule in found if rule is not None]


def _put(endpoint: Endpoint) -> tuple[tuple[Rule, Pattern], ...]:
    return tuple((rule, parse(rule.event_pattern or "")) for rule in endpoints.rules_of(endpoint))
