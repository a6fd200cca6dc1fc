"""The life of a delivery as a table: which step leads from which state to which.

    pending ──attempt──▶ in_flight ──deliver──▶ delivered
       │ park               │ retry
       ▼                    ▼
    parked ◀────────────────┘      reject, give_up, target_gone: ──▶ dead_letter ──redrive──▶ pending

Promises that nothing else ever happens: what is not in the table raises. `delivered` is final; a dead letter leaves
only by a redrive. Knows nothing of why a step is taken, of times or of storage.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class State(enum.StrEnum):
    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    PARKED = "parked"
    DELIVERED = "delivered"
    DEAD_LETTER = "dead_letter"


class Step(enum.StrEnum):
    ATTEMPT = "attempt"
    """A sink is asked."""
    DELIVER = "deliver"
    """The target accepted."""
    RETRY = "retry"
    """The try failed and another is due later."""
    REJECT = "reject"
    """The try failed in a way that no retry mends."""
    GIVE_UP = "give_up"
    """The retries or the age ran out."""
    PARK = "park"
    """The target cannot keep up: the delivery waits on disk without having been tried."""
    TARGET_GONE = "target_gone"
    """The target was removed."""
    RECOVER = "recover"
    """The hub starts again: what was in flight is tried again."""
    REDRIVE = "redrive"
    """Someone asked for the dead letter to be delivered after all."""


class ImpossibleStep(Exception):
    """A delivery was asked to do what its state does not allow: a bug."""


_TABLE: Final[Mapping[State, Mapping[Step, State]]] = {
    State.PENDING: {
        Step.ATTEMPT: State.IN_FLIGHT,
        Step.PARK: State.PARKED,
        Step.GIVE_UP: State.DEAD_LETTER,
        Step.TARGET_GONE: State.DEAD_LETTER,
        Step.RECOVER: State.PENDING,
    },
    State.IN_FLIGHT: {
        Step.DELIVER: State.DELIVERED,
        Step.RETRY: State.PARKED,
        Step.REJECT: State.DEAD_LETTER,
        Step.GIVE_UP: State.DEAD_LETTER,
        Step.TARGET_GONE: State.DEAD_LETTER,
        Step.RECOVER: State.PENDING,
    },
    State.PARKED: {
        Step.ATTEMPT: State.IN_FLIGHT,
        Step.GIVE_UP: State.DEAD_LETTER,
        Step.TARGET_GONE: State.DEAD_LETTER,
        Step.RECOVER: State.PARKED,
    },
    State.DELIVERED: {},
    State.DEAD_LETTER: {Step.REDRIVE: State.PENDING},
}
EDGES: Final[Mapping[tuple[State, Step], State]] = MappingProxyType(
    {(state, step): after for state, steps in _TABLE.items() for step, after in steps.items()}
)
SETTLED: Final = frozenset({State.DELIVERED, State.DEAD_LETTER})


def advance(state: State, step: Step) -> State:
    """The state after the step; raises `ImpossibleStep`."""
    after = EDGES.get((state, step))
    if after is None:
        raise ImpossibleStep(f"A delivery that is {state} cannot {step}")
    return after


def diagram() -> str:
    """The table as a Mermaid state diagram, an edge a line: what docs/durability.md shows."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.PENDING}: accept"]
    lines += [f"    {state} --> {after}: {step}" for (state, step), after in EDGES.items()]
    lines.append(f"    {State.DELIVERED} --> [*]")
    return "\n".join(lines)
