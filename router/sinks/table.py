"""Which sink takes a delivery: the real service where the hub file gives an endpoint, else the simulated inbox.

Around it are the fault profiles that fit; where none is in force, nothing is asked of them.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from router.core.arn import parse
from router.sinks.base import Sink


class Around(Protocol):
    """What may stand between the pipeline and a sink."""

    @property
    def in_force(self) -> bool:
        """Whether anything stands anywhere."""
        ...

    def around(self, sink: Sink, arn: str, rule_arn: str) -> Sink:
        """The sink for the deliveries of one rule to one target, or what stands around it."""
        ...


class SinkTable:
    """`inboxes` and `real` are by sink kind; `direct` holds kinds that have neither (event_bus, api_destination)."""

    def __init__(
        self,
        *,
        direct: Mapping[str, Sink],
        inboxes: Mapping[str, Sink],
        real: Mapping[str, Sink],
        has_endpoint: Callable[[str, str, str], bool],
        profiles: Around | None = None,
    ) -> None:
        self._direct = direct
        self._inboxes = inboxes
        self._real = real
        self._has_endpoint = has_endpoint
        self._profiles = profiles
        self._picked: dict[tuple[str, str], Sink] = {}

    def pick(self, kind: str, arn: str, rule_arn: str) -> Sink:
        """The sink for a rule's target of this kind; KeyError for a kind that PutTargets would have refused."""
        found = self._picked.get((kind, arn))
        if found is None:
            found = self._direct.get(kind) or (self._real[kind] if self.is_real(kind, arn) else self._inboxes[kind])
            self._picked[kind, arn] = found
        profiles = self._profiles
        return found if profiles is None or not profiles.in_force else profiles.around(found, arn, rule_arn)

    def is_real(self, kind: str, arn: str) -> bool:
        """Whether the hub file gives an endpoint for the service at the ARN's account and region."""
        where = parse(arn)
        return kind in self._real and self._has_endpoint(kind, where.account, where.region)
