"""Partner event sources: what a partner offers to an account, and what the account makes of it.

A partner (an account like any other here) creates a source for a customer's account; it is PENDING there until the
customer makes a bus of the same name (CreateEventBus with EventSourceName), which makes it ACTIVE. Without its bus it
is gone after two weeks (API reference, "EventSource"; classic.md section 1.4). Texts that nobody recorded are ours.
Pure functions over values.
"""

from typing import Any, ClassVar, Literal

import msgspec

from router import limits
from router.catalog.model import Thing
from router.core.event import Location
from router.errors import (
    InvalidStateException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    ValidationException,
)

SourceState = Literal["PENDING", "ACTIVE", "DELETED"]


class EventSource(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """A source as the customer has it: `location` is the customer's account in the partner's region."""

    kind: ClassVar[str] = "event-source"
    partner: Location
    state: SourceState = "PENDING"
    expires_ms: int | None = None


class PartnerSource(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """A source as the partner has it: for which accounts."""

    kind: ClassVar[str] = "partner-source"
    accounts: tuple[str, ...] = ()


def source_not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Event source {name} does not exist.")


def partner_source_not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Partner event source {name} does not exist.")


def offered(
    old: PartnerSource | None, theirs: EventSource | None, location: Location, name: str, *, account: str, now_ms: int
) -> tuple[PartnerSource, EventSource]:
    """What CreatePartnerEventSource makes on both sides; `theirs` is what the account has of this name, which may be
    another partner's. Raises ResourceAlreadyExistsException."""
    accounts = old.accounts if old else ()
    another = theirs is not None and theirs.partner != location and not is_over(theirs, now_ms)
    if another or account in accounts:
        raise ResourceAlreadyExistsException(f"Partner event source {name} already exists for account {account}.")
    created_ms = old.created_ms if old else now_ms
    partner = PartnerSource(
        name=name,
        location=location,
        arn=partner_arn(location, name),
        created_ms=created_ms,
        modified_ms=now_ms,
        accounts=(*accounts, account),
    )
    customer = Location(account, location.region)
    source = EventSource(
        name=name,
        location=customer,
        arn=f"{source_arn(customer, name)}#{account}",
        created_ms=now_ms,
        modified_ms=now_ms,
        partner=location,
        expires_ms=_expiry(now_ms),
    )
    return partner, source


def partner_arn(location: Location, name: str) -> str:
    return f"arn:aws:events:{location.region}:{location.account}:event-source/{name}"


def source_arn(location: Location, name: str) -> str:
    """The ARN that is shown; it names no account, so that it is none of the hub's keys."""
    return f"arn:aws:events:{location.region}::event-source/{name}"


def is_over(source: EventSource, now_ms: int) -> bool:
    """Whether its time to be taken is over: then it is as if it were not there."""
    return source.expires_ms is not None and source.expires_ms <= now_ms


def present(source: EventSource | None, name: str, now_ms: int) -> EventSource:
    """The source. Raises ResourceNotFoundException where it is not there, or no more."""
    if source is None or is_over(source, now_ms):
        raise source_not_found(name)
    return source


def no_bus(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Event bus {name} does not exist.")


def taken(source: EventSource, *, now_ms: int) -> EventSource:
    """With its bus, or activated again."""
    if source.state != "PENDING":
        raise InvalidStateException(f"Event source {source.name} is {source.state}, expected PENDING.")
    return msgspec.structs.replace(source, state="ACTIVE", expires_ms=None, modified_ms=now_ms)


def left(source: EventSource, *, now_ms: int) -> EventSource:
    """Deactivated, or without its bus again: two weeks begin."""
    if source.state != "ACTIVE":
        raise InvalidStateException(f"Event source {source.name} is {source.state}, expected ACTIVE.")
    return msgspec.structs.replace(source, state="PENDING", expires_ms=_expiry(now_ms), modified_ms=now_ms)


def withdrawn(source: EventSource, *, now_ms: int) -> EventSource:
    """The partner deleted it; a customer that had taken it still sees that."""
    return msgspec.structs.replace(source, state="DELETED", expires_ms=None, modified_ms=now_ms)


def taken_with_bus(source: EventSource | None, *, bus: str, name: str, now_ms: int) -> EventSource:
    """What CreateEventBus makes of the source that it names. Raises ApiError."""
    if bus != name:
        raise ValidationException(
            f"Parameter Name is not valid. Reason: the name of a partner event bus is that of its event source: "
            f"expected {name}, got {bus}."
        )
    return taken(present(source, name, now_ms), now_ms=now_ms)


def without(offer: PartnerSource, account: str, *, now_ms: int) -> PartnerSource:
    """The partner's source without one account."""
    accounts = tuple(one for one in offer.accounts if one != account)
    return msgspec.structs.replace(offer, accounts=accounts, modified_ms=now_ms)


def _expiry(now_ms: int) -> int:
    return now_ms + limits.PARTNER_SOURCE_PENDING_S_MAX * 1000


def source_answer(source: EventSource) -> dict[str, Any]:
    """As DescribeEventSource and ListEventSources show it."""
    answer: dict[str, Any] = {
        "Arn": source_arn(source.location, source.name),
        "CreatedBy": "/".join(source.name.split("/")[:2]),
        "CreationTime": source.created_ms,
        "Name": source.name,
        "State": source.state,
    }
    if source.expires_ms is not None:
        answer["ExpirationTime"] = source.expires_ms
    return answer
