"""Each load scenario for a few seconds: it runs to its end, loses nothing and writes its report."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from loadtest.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.deep
@pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed: `make load` installs it")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_runs_and_loses_nothing(scenario: str, tmp_path: Path) -> None:
    options = ["--scenario", scenario, "--users", "10", "--seconds", "12", "--results", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "loadtest.load", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"load-hub.yaml"} | {f"load-{scenario}.{kind}" for kind in ("html", "md", "metrics.txt", "log")}
    assert "crossbus_events_accepted_total" in (tmp_path / f"load-{scenario}.metrics.txt").read_text()
    assert (tmp_path / f"load-{scenario}.md").read_text().startswith(f"# {scenario}\n")


def test_without_locust_it_says_how_to_get_it() -> None:
    hidden = "import runpy, sys; sys.modules['locust'] = None; runpy.run_module('loadtest.load', run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "locust is not installed here: `make load` installs it (requirements-load.lock)\n"
