"""A real hub, one of whose two targets is away while deliveries to it gather, killed meanwhile: nothing is lost.

`make outage` is the same with a million deliveries, and measures.
"""

import pytest

from loadtest import outage

PARKED = 20_000
SINK_CALLS_MIN = PARKED // 10
"""How many calls it takes to try each of the deliveries once."""


@pytest.mark.timeout(60)
def test_what_waits_for_a_target_that_is_away_outlives_a_kill_and_arrives_once_it_is_back() -> None:
    result = outage.run(PARKED, samples=100, alone=True)
    told = outage.table(result)
    assert result.parked == PARKED, told
    assert result.parked_after_restart == PARKED, told
    assert result.lost == 0, told
    assert result.dead_letters == 0, told
    assert result.twice == 0, told
    assert result.verified == "good", told
    assert max(result.memory_mb.values()) < outage.MEMORY_MB_MAX, told
    assert 0 < result.calls < SINK_CALLS_MIN, f"away, it is probed and not called for each delivery\n{told}"
