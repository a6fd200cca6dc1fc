"""Which bus a request means, and whether its caller may do what it asks there.

An `EventBusName` is a name, which means the caller's own location, or the ARN of a bus in the caller's region. Another
account's bus is open to a caller as far as its resource policy allows the action; whether it exists is not told to
others (EventBridge user guide, "eb-event-bus-permissions-manage").
"""

from collections.abc import Callable, Mapping, Sequence

from router.archives import Archives
from router.aws.service import Caller
from router.catalog import buses, permissions
from router.catalog.catalog import Catalog
from router.catalog.model import Bus, Rule
from router.connections import Connections
from router.core.arn import InvalidArn, bus_arn, bus_name
from router.core.event import Location
from router.core.policy import Decision
from router.errors import ApiError, ValidationException
from router.global_endpoints import GlobalEndpoints
from router.partners import Partners
from router.sources.replay import Replays


class Access:
    """`organization` gives the organization that an account belongs to, or None. `archives`, `replays` and
    `connections` are needed by their own actions only."""

    def __init__(
        self,
        catalog: Catalog,
        organization: Callable[[str], str | None],
        *,
        archives: Archives | None = None,
        replays: Replays | None = None,
        connections: Connections | None = None,
    ) -> None:
        self.catalog = catalog
        self.endpoints = GlobalEndpoints(catalog)
        self.partners = Partners(catalog)
        self._organization = organization
        self._archives = archives
        self._replays = replays
        self._connections = connections

    @property
    def archives(self) -> Archives:
        assert self._archives is not None, "the hub serves archives"
        return self._archives

    @property
    def replays(self) -> Replays:
        assert self._replays is not None, "the hub serves replays"
        return self._replays

    @property
    def connections(self) -> Connections:
        assert self._connections is not None, "the hub serves connections"
        return self._connections

    def bus(self, caller: Caller, name: str | None, action: str) -> Bus:
        """The bus, for an action on the bus itself. Raises ResourceNotFoundException, AccessDeniedException."""
        bus, location, wanted = self._find(caller, name)
        resources = [bus_arn(location, wanted)]
        if bus is None:
            raise _missing(caller, location, wanted, _refusal(caller, action, resources))
        self._authorize(caller, bus, action, resources, {"aws:PrincipalAccount": caller.account})
        return bus

    def rules(self, caller: Caller, name: str | None, action: str) -> Bus:
        """The bus, for an action on all of its rules. Raises like `bus`."""
        bus, location, wanted = self._find(caller, name)
        resources = permissions.rule_resources(location, wanted, "*")
        if bus is None:
            raise _missing(caller, location, wanted, _refusal(caller, action, resources))
        self._authorize(caller, bus, action, resources, {"aws:PrincipalAccount": caller.account})
        return bus

    def rule(
        self,
        caller: Caller,
        name: str | None,
        rule: str,
        action: str,
        context: Callable[[], Mapping[str, str | list[str]]] = dict,
    ) -> tuple[Bus, Rule | None]:
        """The bus and the rule, where there is one, for an action on a rule. Raises like `bus`.

        `context` gives the condition keys that only this action has; it is asked where there is a policy.
        """
        bus, location, wanted = self._find(caller, name)
        resources = permissions.rule_resources(location, wanted, rule)
        if bus is None:
            raise _missing(caller, location, wanted, _refusal(caller, action, resources))
        found = self.catalog.rules(bus.location, bus.name).get(rule)
        keys = permissions.rule_context(found, caller.account)
        if bus.policy is not None:
            keys.update(context())
        self._authorize(caller, bus, action, resources, keys)
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
        decision = permissions.decide(bus, caller.principal, action, resources=resources, context=keys)
        if decision is not Decision.ALLOW:
            raise _refusal(caller, action, resources, decision)


def _missing(caller: Caller, location: Location, name: str, refusal: ApiError) -> ApiError:
    """Another account's bus that does not exist is refused in the words for one that is closed."""
    return buses.not_found(name) if location.account == caller.account else refusal


def _refusal(
    caller: Caller, action: str, resources: Sequence[str], decision: Decision = Decision.NOT_ALLOWED
) -> ApiError:
    return permissions.refusal(caller.principal, action, resources[0], decision)
