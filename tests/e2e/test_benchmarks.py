"""The benchmark of the control plane does what it says, on a small scale; `make bench-control-plane` measures."""

import pytest

from loadtest import control_plane, disturbance
from loadtest.control_plane_calls import steps


def test_every_operation_of_the_hub_is_called() -> None:
    assert {step.operation for step in steps(control_plane.OPERATIONS)} == control_plane.OPERATIONS


def test_an_operation_without_a_step_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"without a step in .*: MakeCoffee$"):
        steps({*control_plane.OPERATIONS, "MakeCoffee"})


@pytest.mark.timeout(60)
def test_every_call_succeeds_and_every_listing_is_whole() -> None:
    found = control_plane.measure_calls(3, control_plane.Sizes(rules=250, buses=120))
    assert set(found.operations) > control_plane.OPERATIONS
    assert {spread.count for spread in found.operations.values()} == {3}
    pages = {name.partition(",")[0]: spread.count for name, spread in found.listings.items()}
    assert (pages["ListRules"], pages["ListEventBuses"]) == (3, 2)
    assert len(control_plane.table(found).splitlines()) > len(found.operations) + len(found.listings)


@pytest.mark.timeout(60)
def test_all_events_arrive_while_rules_change() -> None:
    result = disturbance.measure(60, samples=80, slices=2)
    assert (result.undisturbed.delivery.count, result.disturbed.delivery.count) == (80, 80)
    assert result.undisturbed.put_rule is None
    assert result.disturbed.put_rule is not None
    assert [wanted for wanted, *_ in control_plane.goals(None, [result])] == [
        "delivery's p99 while rules change, 60 rules: <= 1.5 times"
    ]
