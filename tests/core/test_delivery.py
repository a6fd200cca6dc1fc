"""The life of a delivery: every edge and every non-edge."""

import itertools

import pytest

from router.core.delivery import EDGES, SETTLED, ImpossibleStep, State, Step, advance

EXPECTED = {
    ("pending", "attempt"): "in_flight",
    ("pending", "park"): "parked",
    ("pending", "give_up"): "dead_letter",
    ("pending", "target_gone"): "dead_letter",
    ("pending", "recover"): "pending",
    ("in_flight", "deliver"): "delivered",
    ("in_flight", "retry"): "parked",
    ("in_flight", "reject"): "dead_letter",
    ("in_flight", "give_up"): "dead_letter",
    ("in_flight", "target_gone"): "dead_letter",
    ("in_flight", "recover"): "pending",
    ("parked", "attempt"): "in_flight",
    ("parked", "give_up"): "dead_letter",
    ("parked", "target_gone"): "dead_letter",
    ("parked", "recover"): "parked",
    ("dead_letter", "redrive"): "pending",
}


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, Step)))
def test_step_leads_where_the_table_says_or_nowhere(state: State, step: Step) -> None:
    after = EXPECTED.get((state.value, step.value))
    if after is None:
        with pytest.raises(ImpossibleStep, match=f"{state} cannot {step}"):
            advance(state, step)
    else:
        assert advance(state, step) == after


def test_every_state_can_be_reached_and_settled() -> None:
    reached = {State.PENDING}
    for _ in State:
        reached |= {after for (state, _), after in EDGES.items() if state in reached}
    assert reached == set(State)
    for start in State:
        ends = {start}
        for _ in State:
            ends |= {after for (state, _), after in EDGES.items() if state in ends}
        assert ends & SETTLED


def test_only_a_redrive_leaves_a_settled_state() -> None:
    assert {step for state, step in EDGES if state in SETTLED} == {Step.REDRIVE}
