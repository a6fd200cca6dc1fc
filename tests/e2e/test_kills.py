"""A real hub under load, killed with SIGKILL at random moments: every acknowledged event reaches a recorder outside it.

The moments come from a seed. A failure prints it, and `CROSSBUS_CRASH_SEED=…` runs the same moments again. `make crash`
is the same with 100 kills.
"""

import os
import secrets

from loadtest import crash

KILLS = 10


def test_no_acknowledged_event_is_lost_when_the_hub_is_killed_under_load() -> None:
    seed = int(os.environ.get("CROSSBUS_CRASH_SEED") or secrets.randbelow(10**6))
    again = f"again with CROSSBUS_CRASH_SEED={seed}"
    try:
        result = crash.run(KILLS, seed)
    except RuntimeError as error:
        raise AssertionError(again) from error
    told = f"{again}\n{crash.table(result)}"
    assert result.lost == 0, told
    assert [kill.number for kill in result.kills if kill.twice > crash.IN_FLIGHT_MAX] == [], told
    assert [kill.number for kill in result.kills if kill.broken] == [], told
    assert len(result.kills) == KILLS
    assert all(kill.unsettled > 0 and kill.rate >= crash.RATE_MIN for kill in result.kills)
