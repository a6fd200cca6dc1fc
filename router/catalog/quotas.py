"""How much may be configured: AWS's default quotas, or the raised ones that the hub file can ask for."""

from typing import Literal

import msgspec

from router import limits


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    rules_per_bus: int
    wildcard_rules_per_bus: int
    buses_per_location: int
    pattern_chars: int
    connections_per_location: int = limits.CONNECTIONS_MAX
    api_destinations_per_location: int = limits.API_DESTINATIONS_MAX
    invocations_per_s: int = limits.INVOCATIONS_PER_S_MAX


AWS = Quotas(
    rules_per_bus=limits.RULES_PER_BUS_MAX,
    wildcard_rules_per_bus=limits.WILDCARD_RULES_PER_BUS_MAX,
    buses_per_location=limits.BUSES_PER_LOCATION_MAX,
    pattern_chars=limits.PATTERN_CHARS_MAX,
)
RAISED = Quotas(
    rules_per_bus=limits.RULES_PER_BUS_RAISED,
    wildcard_rules_per_bus=limits.WILDCARD_RULES_PER_BUS_RAISED,
    buses_per_location=limits.BUSES_PER_LOCATION_RAISED,
    pattern_chars=limits.PATTERN_CHARS_RAISED,
    connections_per_location=limits.CONNECTIONS_RAISED,
    api_destinations_per_location=limits.API_DESTINATIONS_RAISED,
    invocations_per_s=limits.INVOCATIONS_PER_S_RAISED,
)


def named(name: Literal["aws", "raised"]) -> Quotas:
    """The quotas that the hub file's `quotas` setting means."""
    return AWS if name == "aws" else RAISED
