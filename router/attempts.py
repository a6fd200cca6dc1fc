"""What each delivery sends: the event after the target's input transform, as the target is configured now; or, where
there is nothing to send, what that comes to. It awaits nothing and sends nothing.
"""

from collections.abc import Sequence

import msgspec

from router import attempt_counts, log
from router.catalog.catalog import Catalog
from router.catalog.model import Target
from router.catalog.routes import RoutedTarget, payload
from router.core.event import envelope
from router.core.transform import InvalidInput
from router.lanes import DEAD_LETTER_QUEUE, DeadLetterMessage, Delivery, Lane, origin_of
from router.metrics import Metrics
from router.sinks.base import Accepted, Attempt, Outcome, Rejected, Retryable, Sink
from router.world import World

NOT_SENT: Outcome = Retryable("INTERNAL_ERROR", "the attempt was not made")


class Attempts:
    """See the module."""

    def __init__(self, catalog: Catalog, world: World, metrics: Metrics) -> None:
        self._catalog = catalog
        self._world = world
        self._metrics = metrics

    def target(self, lane: Lane) -> RoutedTarget | None:
        """The target as it is configured now; None where it is gone, and for dead letters."""
        return self._catalog.compiled_target(lane.name.rule_arn, lane.name.target_id)

    def begin(
        self, lane: Lane, sink: Sink | None, deliveries: Sequence[Delivery]
    ) -> tuple[RoutedTarget | None, list[Attempt | None], list[Outcome]]:
        """What each delivery sends (its outcome is still `NOT_SENT`), or None and its outcome. The attempts are counted
        as begun."""
        attempts: list[Attempt | None] = []
        outcomes: list[Outcome] = []
        name = lane.name
        if name.rule_arn == DEAD_LETTER_QUEUE:
            queue = Target(id="dead-letter-queue", arn=name.target_id)
            for delivery in deliveries:
                message = delivery.body
                assert isinstance(message, DeadLetterMessage)
                letter = message.letter
                attempts.append(Attempt(letter.accepted, message.payload, letter.rule_arn, queue, message.attributes))
            return None, attempts, [NOT_SENT] * len(attempts)
        target = self.target(lane)
        if target is None or sink is None:
            gone = Rejected("NO_RESOURCE", f"Target {name.target_id} was removed from rule {name.rule_arn}")
            return None, [None] * len(deliveries), [gone] * len(deliveries)
        counters = self._metrics.sink(*origin_of(name), sink.kind)
        attempt_counts.begun(self._metrics, lane, deliveries, counters, now_ms=self._world.now_ms())
        for delivery in deliveries:
            made = self.attempt(lane, target, delivery.accepted)
            attempts.append(made if isinstance(made, Attempt) else None)
            outcomes.append(NOT_SENT if isinstance(made, Attempt) else made)
        return target, attempts, outcomes

    def attempt(self, lane: Lane, target: RoutedTarget, accepted: Accepted) -> Attempt | Outcome:
        """What is sent, or, where the target's input cannot be made, what that comes to."""
        try:
            made = payload(target, accepted.event, ingested_ms=accepted.ingested_ms)
        except (InvalidInput, msgspec.DecodeError) as error:
            # DecodeError: JSON by its grammar, yet no text (`"\ud800"`).
            return Rejected(InvalidInput.code, str(error))
        except Exception as error:  # noqa: BLE001 - as for a sink's bug; it must not hold up the other events
            self._metrics.sink_bugs += 1
            log.exception("transform.bug", rule=lane.name.rule_arn, target=lane.name.target_id)
            return Retryable("INTERNAL_ERROR", f"{type(error).__name__} in the input transform")
        return Attempt(accepted, made, lane.name.rule_arn, target.target)

    def untried(self, lane: Lane, target: RoutedTarget | None, delivery: Delivery) -> bytes:
        """What the target would have got; the event where that cannot be made."""
        made = self.attempt(lane, target, delivery.accepted) if target is not None else None
        return made.payload if isinstance(made, Attempt) else envelope(delivery.accepted.event)
