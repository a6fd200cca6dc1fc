"""Which sink takes a delivery: the real service where the hub file gives an endpoint, else the simulated inbox.

Around it are the fault profiles that fit; where none is in force, nothing is asked of them.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from router.core.arn import parse
from router.sinks.base import DepositSink, Sink


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
        self._picked: dict[tuple[str, str], tuple[Sink, DepositSink | None]] = {}

    def pick(self, kind: str, arn: str, rule_arn: str) -> Sink:
        """The sink for a rule's target of this kind; KeyError for a kind that PutTargets would have refused."""
        found, _ = self._picked.get((kind, arn)) or self._pick(kind, arn)
        profiles = self._profiles
        return found if profiles is None or not profiles.in_force else profiles.around(found, arn, rule_arn)

    def inbox(self, kind: str, arn: str, rule_arn: str) -> DepositSink | None:
        """As `pick`, where that leads into an inbox of this hub and nothing stands around it."""
        found, inbox = self._picked.get((kind, arn)) or self._pick(kind, arn)
        profiles = self._profiles
        if inbox is None or profiles is None or not profiles.in_force:
            return inbox
        return inbox if profiles.around(found, arn, rule_arn) is found else None

    def _pick(self, kind: str, arn: str) -> tuple[Sink, DepositSink | None]:
        found = self._direct.get(kind) or (self._real[kind] if self.is_real(kind, arn) else self._inboxes[kind])
        picked = self._picked[kind, arn] = found, found if isinstance(found, DepositSink) else None
        return picked

    def is_real(self, kind: str, arn: str) -> bool:
        """Whether the hub file gives an endpoint for the service at the ARN's account and region."""
        where = parse(arn)
        return kind in self._real and self._has_endpoint(kind, where.account, where.region)
