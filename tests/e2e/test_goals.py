"""Every path of `make bench` runs to its end on a small scale; `make bench` measures."""

import pytest

from loadtest import paths
from loadtest.goals import ROWS, Row, lines
from loadtest.paths import Sizes

SMALL = Sizes(events=200, warm_up=50, latency_events=10, half_s=0.3)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_a_path_is_measured(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_IDLE_S", 0.0)
    line, *_ = lines({row.name: [row.run(SMALL)]})
    assert [line.medians[goal.figure] > 0 for goal in row.goals] == [True] * len(row.goals)
