"""What a sink is: it tries a batch of deliveries for one target and says what became of each, as values.

A sink never raises for a failed delivery, never retries, never sleeps (but for its turn under a destination's rate
limit, which AWS delays too), never touches the store: what must be written goes back as `effects` and becomes durable
in the same transaction as the outcome. It must not know rules' states, retry policies or dead-letter queues.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from router.catalog.model import Target
from router.core.event import Event, Location
from router.core.hops import Hops
from router.store.base import Batch


class Accepted(msgspec.Struct, frozen=True, array_like=True):
    """The journal's record of an event: the event, where it was accepted, and what follows it around."""

    event: Event
    location: Location
    bus: str
    hops: Hops
    ingested_ms: int
    trace_header: str | None = None
    parent_id: str | None = None
    """The id the event had before a cross-region hop."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try of one delivery. `payload` is what the target gets, after the input transform."""

    accepted: Accepted
    payload: bytes
    rule_arn: str
    target: Target
    attributes: dict[str, str] | None = None
    """Message attributes (all of type String) that go along; dead-letter queues get them."""


class Delivered(msgspec.Struct, frozen=True):
    """The target has it. `effects` become durable in the same transaction as this outcome."""

    effects: Batch | None = None


class Retryable(msgspec.Struct, frozen=True):
    """Not now. `code` is one of the codes of "eb-rule-dlq"; `retry_after_s` is what the target asked for."""

    code: str
    message: str
    retry_after_s: float | None = None


class Rejected(msgspec.Struct, frozen=True):
    """Never: trying again would not help."""

    code: str
    message: str


Outcome = Delivered | Retryable | Rejected

BUG: Outcome = Retryable("INTERNAL_ERROR", "a bug in the sink, told in the log")
"""What a call has come to whose answer the sink could not make an outcome of: no delivery is left without one."""


class Sink(Protocol):
    """Talks to one kind of target."""

    @property
    def kind(self) -> str:
        """The label in metrics: sqs, sns, logs, lambda, api_destination, event_bus…"""
        ...

    @property
    def batch_max(self) -> int:
        """Deliveries of one target that one call may carry."""
        ...

    @property
    def concurrency(self) -> int:
        """Calls for one target that may be in flight at once."""
        ...

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        """One outcome for each attempt, in order. All attempts have the same rule and target.

        Every wait on the outside world inside has its own deadline. A sink that returns at once must still be `async`.
        """
        ...


class CallSink(Sink, Protocol):
    """A sink of one delivery a call that can go without a task to wait in."""

    def begin(self, attempt: Attempt, done: Callable[[Outcome], None]) -> bool:
        """Begin the attempt's call and return True: `done` is then called once with its outcome, later, on the event
        loop, never from within. False: nothing was begun, because it cannot go without waiting (for a token, for a turn
        under the destination's rate limit) or would fail at once; `send` is the way, and says how."""
        ...


@runtime_checkable
class DepositSink(Sink, Protocol):
    """A sink into an inbox of this hub, whose store is the pipeline's."""

    def deposit(self, attempts: Sequence[Attempt], batch: Batch) -> list[Outcome]:
        """As `send`, at once: what is delivered is in `batch`, and nothing of the others is."""
        ...
