"""The sink for another bus of this hub: same or other account, same or other region.

A hop is one transaction: the settled delivery here and the accepted event there. It is refused at once, before anything
is written, when the event may not hop again or when the destination's policy does not allow the sending account
("eb-cross-account"; classic.md section 5.5).
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import msgspec

from router.catalog.model import Bus
from router.core.arn import bus_name
from router.core.event import Event, Location, hop_id
from router.core.hops import HopRefused, hop
from router.core.policy import Principal
from router.lanes import LaneName
from router.planning import Incoming
from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sources.outcome import Refused, Taken
from router.store.base import Batch
from router.world import World, iso_seconds

_Allowed = dict[tuple[str, str], bool]
"""By an event's source and detail type, which are all of it that a policy can look at."""


class Permission(Protocol):
    """Whether an account, or rather the role of its target, may send an event to a bus through a rule: the same for all
    events of one source and detail type."""

    def __call__(self, sender: Principal, bus: Bus, event: Event, rule_arn: str) -> bool: ...


class EventBusSink:
    """`plan` is the pipeline's: match at the destination and put what follows into a batch."""

    kind: ClassVar[str] = "event_bus"
    batch_max: ClassVar[int] = 500
    concurrency: ClassVar[int] = 1

    def __init__(
        self,
        *,
        find_bus: Callable[[Location, str], Bus | None],
        allowed: Permission,
        plan: Callable[[Sequence[Incoming], Batch], list[Taken | Refused]],
        world: World,
    ) -> None:
        self._find_bus = find_bus
        self._allowed = allowed
        self._plan = plan
        self._world = world

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        """What the other bus takes shares one batch, which hangs on the first `Delivered`."""
        allowed: _Allowed = {}
        hops = [self._hop(attempt, allowed) for attempt in attempts]
        batch = Batch(essential=True)
        effects: Batch | None = batch
        taken = iter(self._plan([one for one in hops if isinstance(one, Incoming)], batch))
        outcomes: list[Outcome] = []
        for attempt, one in zip(attempts, hops, strict=True):
            if isinstance(one, Rejected):
                outcomes.append(one)
                continue
            outcome = next(taken)
            outcomes.append(
                _refused(outcome, attempt.target.arn) if isinstance(outcome, Refused) else Delivered(effects)
            )
            if isinstance(outcome, Taken):
                effects = None
        return outcomes

    def _hop(self, attempt: Attempt, allowed: _Allowed) -> Incoming | Rejected:
        """The event at the other bus, or why it may not go there. What is `allowed` is asked once for events alike."""
        accepted = attempt.accepted
        here = accepted.location
        via = LaneName(attempt.rule_arn, attempt.target.id)
        there, name = bus_name(attempt.target.arn)
        assert there is not None, f"{attempt.target.arn} was accepted as an event bus target"
        bus = self._find_bus(there, name)
        if bus is None and there.account == here.account:
            # As AWS: acknowledged and dropped; the pipeline counts it, or refuses it where the hub file says so.
            return Incoming(accepted.event, there, name, via=via)
        sender = Principal(here.account, attempt.target.role_arn)
        if bus is None:
            return _no_permission(attempt)
        alike = accepted.event.source, accepted.event.detail_type
        may = allowed.get(alike)
        if may is None:
            may = allowed[alike] = self._allowed(sender, bus, accepted.event, attempt.rule_arn)
        if not may:
            return _no_permission(attempt)
        hops = hop(accepted.hops, here, there)
        if isinstance(hops, HopRefused):
            return Rejected(hops.code, hops.message)
        event, parent = accepted.event, accepted.parent_id
        if there.region != here.region:
            parent = event.id
            event = msgspec.structs.replace(
                event,
                id=hop_id(event.id, attempt.rule_arn, attempt.target.id),
                time=iso_seconds(self._world.now_ms()),
            )
        return Incoming(event, there, name, hops, accepted.trace_header, parent_id=parent, via=via)


def _refused(refused: Refused, bus_arn: str) -> Retryable | Rejected:
    """What it means that the other bus refuses the event ("eb-putevents": which errors may be tried again)."""
    text = f"{bus_arn}: {refused.code}: {refused.message}"
    match refused.code:
        case "ThrottlingException":
            return Retryable("THROTTLING", text)
        case "InternalFailure":
            return Retryable("INTERNAL_ERROR", text)
        case "ResourceNotFoundException":
            return Rejected("NO_RESOURCE", text)
        case "MalformedDetail":
            return Rejected("INVALID_JSON", text)
        case _:
            return Rejected("INVALID_PARAMETER", text)


def _no_permission(attempt: Attempt) -> Rejected:
    return Rejected(
        "NO_PERMISSIONS",
        f"Account {attempt.accepted.location.account} may not put events on {attempt.target.arn}: the bus does not "
        "exist or its policy does not allow it",
    )
