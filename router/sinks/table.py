"""Which sink takes a delivery: the real service where the hub file gives an endpoint, else the simulated inbox."""

from collections.abc import Callable, Mapping

from router.core.arn import parse
from router.sinks.base import Sink


class SinkTable:
    """`inboxes` and `real` are by sink kind; `direct` holds kinds that have neither (event_bus, api_destination)."""

    def __init__(
        self,
        *,
        direct: Mapping[str, Sink],
        inboxes: Mapping[str, Sink],
        real: Mapping[str, Sink],
        has_endpoint: Callable[[str, str, str], bool],
    ) -> None:
        self._direct = direct
        self._inboxes = inboxes
        self._real = real
        self._has_endpoint = has_endpoint
        self._picked: dict[tuple[str, str], Sink] = {}

    def pick(self, kind: str, arn: str) -> Sink:
        """The sink for a target of this kind; KeyError for a kind that PutTargets would have refused."""
        found = self._picked.get((kind, arn))
        if found is None:
            found = self._direct.get(kind) or (self._real[kind] if self.is_real(kind, arn) else self._inboxes[kind])
            self._picked[kind, arn] = found
        return found

    def is_real(self, kind: str, arn: str) -> bool:
        """Whether the hub file gives an endpoint for the service at the ARN's account and region."""
        where = parse(arn)
        return kind in self._real and self._has_endpoint(kind, where.account, where.region)
