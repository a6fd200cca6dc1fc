"""How often an event may go from bus to bus: once within a region and once across regions, in either order.

EventBridge user guide, "eb-cross-account" and "eb-bus-to-bus", as sharpened by captures (classic.md section 5.5): the
longest chain has three buses. A consumer that puts the event again starts anew. Knows no buses and no permissions.
"""

import msgspec

from router.core.event import Location


class Hops(msgspec.Struct, frozen=True, array_like=True):
    """The hops that an event has made."""

    local: int = 0
    regional: int = 0


class HopRefused(msgspec.Struct, frozen=True):
    """A hop too many: the dead letter's error code and message."""

    code: str
    message: str


HOP_CODES = frozenset({"THIRD_ACCOUNT_HOP_DETECTED", "THIRD_REGION_HOP_DETECTED"})
_REASON = "an event can be sent to an event bus target only once"


def hop(hops: Hops, here: Location, there: Location) -> Hops | HopRefused:
    """The hops after sending from a bus `here` to a bus `there`; another account in the same region is a local hop."""
    if here.region == there.region:
        if hops.local:
            return HopRefused(
                "THIRD_ACCOUNT_HOP_DETECTED",
                f"Ingestion rejected from {here} to {there}: within a region {_REASON}",
            )
        return Hops(hops.local + 1, hops.regional)
    if hops.regional:
        return HopRefused(
            "THIRD_REGION_HOP_DETECTED",
            f"Ingestion rejected from {here} to {there}: across regions {_REASON}",
        )
    return Hops(hops.local, hops.regional + 1)
