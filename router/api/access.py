"""Which bus a request means, and whether its caller may do what it asks there.

An `EventBusName` is a name, which means the caller's own location, or the ARN of a bus in the caller's region. Another
account's bus is open to a caller as far as its resource policy allows the action; whether it exists is not told to
others (EventBridge user guide, "eb-event-bus-permissions-manage").
"""

from collections.abc import Callable, Mapping

from router.aws.service import Caller
from router.catalog import buses, permissions
from router.catalog.catalog import Catalog
from router.catalog.model import Bus, Rule
from router.core.arn import InvalidArn, bus_name
from router.core.event import Location
from router.errors import AccessDeniedException, ValidationException


class Access:
    """`organization` gives the organization that an account belongs to, or None."""

    def __init__(self, catalog: Catalog, organization: Callable[[str], str | None]) -> None:
        self.catalog = catalog
        self._organization = organization

    def bus(self, caller: Caller, name: str | None, action: str) -> Bus:
        """The bus, for an action on the bus itself. Raises ResourceNotFoundException, AccessDeniedException."""
        bus, location, wanted = self._find(caller, name)
        if bus is None:
            raise self._missing(caller, location, wanted, action)
        self._authorize(caller, bus, action, [bus.arn], {"aws:PrincipalAccount": caller.account})
        return bus

    def rules(self, caller: Caller, name: str | None, action: str) -> Bus:
        """The bus, for an action on all of its rules. Raises like `bus`."""
        bus, location, wanted = self._find(caller, name)
        if bus is None:
            raise self._missing(caller, location, wanted, action)
        spellings = permissions.rule_resources(bus, "*")
        self._authorize(caller, bus, action, spellings, {"aws:PrincipalAccount": caller.account})
        return bus

    def rule(
        self,
        caller: Caller,
        name: str | None,
        rule: str,
        action: str,
        context: Mapping[str, str | list[str]] | None = None,
    ) -> tuple[Bus, Rule | None]:
        """The bus and the rule, where there is one, for an action on a rule. Raises like `bus`."""
        bus, location, wanted = self._find(caller, name)
        if bus is None:
            raise self._missing(caller, location, wanted, action)
        found = self.catalog.rules(bus.location, bus.name).get(rule)
        keys = {**permissions.rule_context(found, caller.account), **(context or {})}
        self._authorize(caller, bus, action, permissions.rule_resources(bus, rule), keys)
        return bus, found

    def _find(self, caller: Caller, name: str | None) -> tuple[Bus | None, Location, str]:
        own = Location(caller.account, caller.region)
        try:
            location, wanted = bus_name(name or buses.DEFAULT)
        except InvalidArn:
            raise ValidationException(
                f"Parameter EventBusName is not valid. Reason: Expected an event bus's name or ARN, got {name}."
            ) from None
        if location is None:
            location = own
        if location.region != caller.region:
            return None, location, wanted
        return self.catalog.bus(location, wanted), location, wanted

    def _missing(self, caller: Caller, location: Location, name: str, action: str) -> Exception:
        if location.account != caller.account:
            return _denied(caller, action, f"event bus {name} of account {location.account}")
        return buses.not_found(name)

    def _authorize(
        self,
        caller: Caller,
        bus: Bus,
        action: str,
        resources: list[str],
        context: Mapping[str, str | list[str]],
    ) -> None:
        if bus.policy is None and caller.account == bus.location.account:
            return
        organization = self._organization(caller.account)
        keys = {**context, "aws:PrincipalOrgID": organization} if organization else context
        if not permissions.allowed(bus, caller.account, action, resources, keys):
            raise _denied(caller, action, resources[0])


def _denied(caller: Caller, action: str, resource: str) -> AccessDeniedException:
    return AccessDeniedException(
        f"User: arn:aws:iam::{caller.account}:root is not authorized to perform: {action} on resource: {resource} "
        f"because no resource-based policy allows the {action} action"
    )
